r"""Runs all experiments of the LEEP paper, resumably.

    python -m experiments.reproduce --scale=cpu --data_dir=DIR --weights=DIR \
      --photos=DIR

Purpose: one command for sections 5.1 to 5.5 and 5.7 of the paper, for Table 1
(section 5.6) and the figures. A step is one source in one part of a section;
their rows go to the folder `--output`, by default `runs/SCALE`, where the last
step writes the table and the figures. At the scale `cpu`,
`experiments.h_score_forms` and `experiments.factors` run too, and with
`--photos` at all scales the benchmark of scores
(`experiments.score_benchmark`); their rows go to the same folder.
`--only=5.2,5.3` chooses sections, `benchmark` the benchmark.

First it prints a table of the steps: the rows there are and should be, and how
long the others take. `--dry_run` prints the table alone. Before and after each
step it says where it is, and about how long all the rest takes; measured times
correct that as it goes. `experiments.remaining` says how it is estimated, and
what is not counted.

It can be interrupted at any time: the same command goes on, in the middle of a
forward pass too. A step that fails does not stop the others.

Cost: that of the sections, which the files of the sections state, and the
table.

What came out is in `experiments/results`.

Exit status 0; 2 if a step failed, with a list of them; 130 when interrupted.
"""

from collections.abc import Callable, Sequence
import dataclasses
import functools
import pathlib
import sys
import time
import traceback

from absl import flags

from experiments import (
  convergence,
  factors,
  h_score_forms,
  imbalanced_tasks,
  large_tasks,
  meta_transfer,
  remaining,
  score_benchmark,
  section,
  small_tasks,
  source_selection,
  table_1,
)
from leep_jax import command, estimates, sweep, validation
from leep_jax.reports import tables

SECTIONS = {
  "5.1": large_tasks.SECTION,
  "5.2": small_tasks.SECTION,
  "5.3": imbalanced_tasks.SECTION,
  "5.4": meta_transfer.SECTION,
  "5.5": convergence.SECTION,
  "5.7": source_selection.SECTION,
}
BENCHMARK = "benchmark"
FLAGS = flags.FlagValues()
_SCALE = flags.DEFINE_enum(
  "scale", "cpu", section.SCALES, "Size of the experiments.", flag_values=FLAGS
)
_DATA_DIR = flags.DEFINE_string(
  "data_dir", None, "Folder of TFDS data sets.", flag_values=FLAGS
)
_WEIGHTS = flags.DEFINE_string(
  "weights", ".", "Folder of the sources' files.", flag_values=FLAGS
)
_PHOTOS = flags.DEFINE_string(
  "photos",
  None,
  "Folder of folders of photos, for the benchmark of scores.",
  flag_values=FLAGS,
)
_OUTPUT = flags.DEFINE_string(
  "output", None, "Folder of all rows. Default: runs/SCALE.", flag_values=FLAGS
)
_ONLY = flags.DEFINE_list(
  "only",
  None,
  f"Sections to run: {', '.join([*SECTIONS, BENCHMARK])}. Default: all.",
  flag_values=FLAGS,
)
_DRY_RUN = flags.DEFINE_boolean(
  "dry_run", False, "Print the table of steps alone.", flag_values=FLAGS
)
# Of less, most is loading and compilation, which say little of what is left.
_ENOUGH_SECONDS = 60.0


@dataclasses.dataclass(frozen=True)
class Step:
  """A step of the command.

  Attributes:
    name: of the step, in lines.
    run: runs what is missing of it; returns an exit status.
    sweep: what it asks for, if it is a sweep.
  """

  name: str
  run: Callable[[], int]
  sweep: remaining.Step | None = None


def _chosen() -> list[str]:
  """The names of --only."""
  known = [*SECTIONS, BENCHMARK]
  chosen = _ONLY.value or known
  for name in chosen:
    if name not in known:
      raise validation.unknown("section", name, known)
  return [name for name in known if name in chosen]


def _sweeps(chosen: Sequence[str], folder: pathlib.Path) -> list[Step]:
  """The sweeps of sections, of one source each."""
  found: dict[section.Part, Step] = {}
  scale = _SCALE.value

  def line(part):
    return section.arguments(part, folder, data_dir=_DATA_DIR.value)

  for paper in map(SECTIONS.__getitem__, chosen):
    targets = (section.TINY,) if scale == "smoke" else paper.targets
    for part in (p for t in targets for p in paper.parts(scale, t)):
      asked = remaining.Asked(part, line(part))
      for step in (remaining.Step(asked, model) for model in part.models):
        run = functools.partial(sweep.main, line(step.part))
        # Sections share parts: 5.5 uses the fine-tuned networks of 5.2.
        found.setdefault(step.part, Step(_name(step.part), run, step))
  return list(found.values())


def _name(part):
  (model,) = part.models
  folder = part.folder.replace("/", " ")
  return f"{folder} {part.transfer} {section.short_name(model)}"


def _data_and_weights() -> list[str]:
  """The flags of these names; absolute, as steps run in another folder."""
  found = [f"--weights={pathlib.Path(_WEIGHTS.value).resolve()}"]
  if _DATA_DIR.value:
    found.append(f"--data_dir={pathlib.Path(_DATA_DIR.value).resolve()}")
  return found


def _others(chosen: Sequence[str], folder: pathlib.Path) -> list[Step]:
  """The benchmark of scores, if it is to run, and the table."""
  found = []
  photos = _PHOTOS.value
  if BENCHMARK in chosen and not photos:
    if _ONLY.value:
      raise validation.InputError(f"{BENCHMARK} needs --photos")
    print(f"left out: {BENCHMARK}, which needs --photos")
  elif BENCHMARK in chosen and photos:
    rows = folder / score_benchmark.FOLDER.name
    line = [
      "score_benchmark",
      f"--photos={pathlib.Path(photos).resolve()}",
      f"--rows={rows}",
      f"--outputs={section.cache_folder(folder) / rows.name}",
      *_data_and_weights(),
    ]
    found.append(Step("score_benchmark", lambda: score_benchmark.main(line)))
  table = ["table_1", f"--results={folder}"]
  return [
    *found,
    *_explaining(chosen, folder),
    Step("table_1 and figures", lambda: table_1.main(table)),
  ]


def _explaining(chosen: Sequence[str], folder: pathlib.Path) -> list[Step]:
  """What explains differences from the paper, at the scale of two cores."""
  if _SCALE.value != "cpu":
    return []
  common = [
    f"--cache_dir={section.cache_folder(folder)}",
    *_data_and_weights(),
  ]
  found = []
  if "5.1" in chosen:
    forms = ["h_score_forms", f"--results={folder}", *common]
    found.append(Step("h_score_forms", lambda: h_score_forms.main(forms)))
  if "5.2" in chosen or "5.3" in chosen:
    line = [
      "factors",
      f"--output={folder / 'factors.jsonl'}",
      f"--recipes={folder / 'recipes'}",
      "--train_recipes",
      *common,
    ]
    found.append(Step("factors", lambda: factors.main(line)))
  return found


class _Reproduction:
  """Runs steps, and says how far it is."""

  def __init__(self, steps: list[Step], folder: pathlib.Path):
    self._steps = steps
    self.failed: list[str] = []
    self._estimator = remaining.Estimator(folder)
    # Seconds that steps took, and should have taken.
    self._taken = self._expected = 0.0

  def _left(self):
    """What is left of each sweep, by its place."""
    sweeps = {i: s.sweep for i, s in enumerate(self._steps) if s.sweep}
    left = self._estimator.left(list(sweeps.values()))
    return dict(zip(sweeps, left, strict=True))

  @property
  def _ratio(self):
    enough = self._expected > 0 and self._taken >= _ENOUGH_SECONDS
    return self._taken / self._expected if enough else 1.0

  def _rest(self, left, begin):
    """Says how long the steps from `begin` take."""
    rest = [x for i, x in left.items() if i >= begin]
    seconds = estimates.duration(sum(x.seconds(self._ratio) for x in rest))
    unknown = sum(bool(x.unknown) for x in rest)
    unknown += sum(step.sweep is None for step in self._steps[begin:-1])
    if unknown:
      steps = tables.count(unknown, "step")
      return f"at least {seconds} left of all (not all known of {steps})"
    return f"about {seconds} left of all"

  def print_table(self) -> None:
    """Measures sources whose speed is unknown, and prints all steps."""
    self._estimator.measure([s.sweep for s in self._steps if s.sweep])
    left = self._left()
    lines = [["step", "", "rows", "time left"]]
    for i, step in enumerate(self._steps):
      rows, seconds = "", "" if i + 1 == len(self._steps) else "unknown"
      if i in left:
        rows = f"{left[i].there:,} of {left[i].wanted:,}"
        seconds = _time(left[i])
      lines.append([f"{i + 1}", step.name, rows, seconds])
    widths = [max(map(len, column)) for column in zip(*lines, strict=True)]
    for number, name, *rest in lines:
      cells = [number.rjust(widths[0]), name.ljust(widths[1])]
      cells += [c.rjust(w) for c, w in zip(rest, widths[2:], strict=True)]
      print("  ".join(cells).rstrip())
    there, wanted = (
      sum(getattr(x, key) for x in left.values()) for key in ("there", "wanted")
    )
    print(f"all: {there:,} of {wanted:,} rows; {self._rest(left, 0)}\n")

  def run(self) -> None:
    """Runs all steps.

    Raises:
      KeyboardInterrupt: if it is interrupted.
    """
    for place, step in enumerate(self._steps):
      left = self._left()
      self._tell(place, left, begin=place)
      start = time.monotonic()
      try:
        status = step.run()
      except Exception:  # whatever goes wrong, the others may do
        traceback.print_exc()
        status = 2
      if status == section.INTERRUPTED:
        raise KeyboardInterrupt
      if status:
        self.failed.append(step.name)
      elif place in left and not left[place].unknown:
        self._taken += time.monotonic() - start
        self._expected += left[place].seconds(1.0)
      self._tell(place, self._left(), begin=place + 1)

  def _tell(self, place, left, *, begin):
    name = self._steps[place].name
    rows = ""
    if place in left:
      rows = f"{left[place].there:,} of {left[place].wanted:,} rows; "
    print(
      f"step {place + 1} of {len(self._steps)}: {name}: {rows}"
      f"{self._rest(left, begin)}",
      flush=True,
    )


def _time(left):
  """The time of a step, in words."""
  seconds = left.seconds(1.0)
  if not seconds:
    return "unknown" if left.unknown else "-"
  return "at least " * bool(left.unknown) + estimates.duration(seconds)


def _run() -> int:
  folder = pathlib.Path(_OUTPUT.value or f"runs/{_SCALE.value}").resolve()
  chosen = _chosen()
  sections = [name for name in chosen if name in SECTIONS]
  # Here, where paths are those that the user gave.
  steps = [*_sweeps(sections, folder), *_others(chosen, folder)]
  with section.working_directory(_WEIGHTS.value):
    everything = _Reproduction(steps, folder)
    try:
      everything.print_table()
      if _DRY_RUN.value:
        return 0
      folder.mkdir(parents=True, exist_ok=True)
      everything.run()
    except KeyboardInterrupt:
      again = command.line("experiments.reproduce", FLAGS)
      print(f"interrupted; to go on: {again}", file=sys.stderr)
      return section.INTERRUPTED
  for name in everything.failed:
    command.print_error(f"this failed: {name}")
  return 2 if everything.failed else 0


def main(argv: list[str]) -> int:
  """Runs the command; returns its exit status.

  Args:
    argv: the program's name and its flags.
  """
  return command.main(argv, FLAGS, __doc__ or "", _run)


if __name__ == "__main__":
  sys.exit(main(sys.argv))
