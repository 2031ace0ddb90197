r"""Runs all experiments of the LEEP paper, resumably.

    python -m experiments.reproduce --scale=cpu --data_dir=DIR --weights=DIR \
      --photos=DIR

Purpose: one command for sections 5.1 to 5.5 and 5.7 of the paper, for Table 1
(section 5.6) and the figures. A step is one source in one part of a section;
their rows go to the folder `--output`, by default `runs/SCALE`, where the last
step writes the table and the figures. At the scale `cpu`,
`experiments.h_score_forms` and `experiments.factors` run too, and the heads and
scores of `experiments.score_benchmark` that section 5.7 compares: without
`--photos`, those of the targets that are no photos. With `--photos`, all of the
benchmark of scores runs, at all scales. Their rows go to the same folder, too.
`--only=5.2,5.3` chooses sections, `benchmark` the benchmark.

First it checks that the folders have the data sets, photos and files of sources
that the chosen sections need. Then it prints a table of the steps: the rows
there are and should be, and how long the others take. `--dry_run` prints the
table alone. Before and after each step it says where it is, and about how long
all the rest takes; measured times correct that as it goes.
`experiments.remaining` and `remaining_scripts` say how it is estimated, and
what is not counted.

It can be interrupted at any time: the same command goes on, in the middle of a
forward pass too. A step that fails does not stop the others.

Cost: that of the sections and scripts, which their files state, and the table.

What came out is in `experiments/results`.

Exit status 0; 2 if a step failed, with a list of them; 130 when interrupted.
"""

import os
import signal
import sys

if __name__ == "__main__" and signal.getsignal(signal.SIGINT) != signal.SIG_IGN:
  # While modules are imported, which takes seconds, there is nothing to undo.
  signal.signal(
    signal.SIGINT, lambda *_: (os.write(2, b"\ninterrupted\n"), os._exit(130))
  )

from collections.abc import Callable, Iterable, Iterator, Sequence
import contextlib
import dataclasses
import functools
import pathlib
import threading
import time
import traceback

from absl import flags

from experiments import (
  convergence,
  factors,
  figures,
  given_paths,
  h_score_forms,
  imbalanced_tasks,
  large_tasks,
  meta_transfer,
  remaining,
  remaining_scripts,
  score_benchmark,
  section,
  small_tasks,
  source_selection,
  source_selection_tables,
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
# The stages of the benchmark that section 5.7 reads.
_STAGES_OF_5_7 = ("facts", "heads", "scores")


@dataclasses.dataclass(frozen=True)
class Step:
  """A step of the command.

  Attributes:
    name: of the step, in lines.
    run: runs what is missing of it; returns an exit status.
    asked: what says how much of it is left; None for what is quick.
  """

  name: str
  run: Callable[[], int]
  asked: remaining.Sweep | remaining_scripts.Script | None = None


def _chosen() -> list[str]:
  """The names of --only, without the benchmark if there are no photos."""
  known = [*SECTIONS, BENCHMARK]
  chosen = _ONLY.value or known
  for name in chosen:
    if name not in known:
      raise validation.unknown("section", name, known)
  if BENCHMARK in chosen and not _PHOTOS.value:
    if _ONLY.value:
      raise validation.InputError(
        f"--only={','.join(chosen)}: {BENCHMARK} needs --photos"
      )
    print(f"left out: {BENCHMARK}, which needs --photos")
    known.remove(BENCHMARK)
  return [name for name in known if name in chosen]


def _parts(chosen: Sequence[str]) -> list[section.Part]:
  """The sweeps of the sections that are chosen."""
  scale, found = _SCALE.value, []
  for name in chosen:
    if name in SECTIONS:
      paper = SECTIONS[name]
      for target in (section.TINY,) if scale == "smoke" else paper.targets:
        found += paper.parts(scale, target)
  return found


def _benchmarked(chosen: Sequence[str]) -> tuple[Sequence[str], Sequence[str]]:
  """The stages and the targets of the benchmark that are to run."""
  if BENCHMARK in chosen:
    return tuple(score_benchmark.STAGES), tuple(score_benchmark.TARGETS)
  if "5.7" not in chosen or _SCALE.value != "cpu":
    return (), ()
  every = tuple(source_selection_tables.TARGETS)
  return _STAGES_OF_5_7, every if _PHOTOS.value else _of_tfds(every)


def _of_tfds(targets: Iterable[str]) -> list[str]:
  """Those of the benchmark's targets that are in --data_dir."""
  return [name for name in targets if score_benchmark.TARGETS[name].split]


def _check(chosen: Sequence[str], folder: pathlib.Path) -> None:
  """Checks that everything is there that the steps need.

  Args:
    chosen: sections.
    folder: of the rows.

  Raises:
    InputError: if something is missing.
  """
  parts, (stages, targets) = _parts(chosen), _benchmarked(chosen)
  models = [model for part in parts for model in part.models]
  if stages:
    models += [
      source.name.replace("{}/", "")
      for source in score_benchmark.SOURCES.values()
    ]
  sets = [part.dataset for part in parts if part.dataset != section.TINY]
  sets += _of_tfds(targets)
  if "5.2" in chosen and _SCALE.value == "cpu":
    sets.append("cifar10")  # of the recipes of `factors`
  checks = [
    functools.partial(given_paths.check_output, folder),
    functools.partial(given_paths.check_weights, _WEIGHTS.value, models),
    functools.partial(given_paths.check_data, _DATA_DIR.value, sets),
  ]
  if _PHOTOS.value:
    of_photos = [
      name
      for name, target in score_benchmark.TARGETS.items()
      if target.name.startswith("folder:")
    ]
    checks.append(
      functools.partial(given_paths.check_photos, _PHOTOS.value, of_photos)
    )
  given_paths.check_all(checks)


def _sweeps(chosen: Sequence[str], folder: pathlib.Path) -> list[Step]:
  """The sweeps of sections, of one source each."""
  found: dict[section.Part, Step] = {}

  def line(part):
    data_dir = None if part.dataset == section.TINY else _DATA_DIR.value
    return section.arguments(part, folder, data_dir=data_dir)

  for part in _parts(chosen):
    asked = remaining.Asked(part, line(part))
    for step in (remaining.Sweep(asked, model) for model in part.models):
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
  """The other scripts, and the table."""
  found = [*_benchmark(chosen, folder), *_explaining(chosen, folder)]
  if _SCALE.value == "smoke":
    return [*found, Step("figures", functools.partial(_draw, folder))]
  table = ["table_1", f"--results={folder}"]
  return [*found, Step("table_1 and figures", lambda: table_1.main(table))]


def _draw(folder):
  """Draws the figures that have rows at the smallest scale."""
  print("no Table 1: it needs rows of the scale cpu or paper")
  for name in figures.draw(folder):
    print(f"wrote {folder / name}")
  return 0


def _benchmark(chosen: Sequence[str], folder: pathlib.Path) -> list[Step]:
  """The benchmark of scores, or what section 5.7 reads of it."""
  stages, targets = _benchmarked(chosen)
  if not stages:
    return []
  rows = folder / score_benchmark.FOLDER.name
  line = [
    "score_benchmark",
    f"--rows={rows}",
    f"--outputs={section.cache_folder(folder) / rows.name}",
    f"--stages={','.join(stages)}",
    f"--targets={','.join(targets)}",
    *_data_and_weights(),
  ]
  if _PHOTOS.value:
    line.append(f"--photos={pathlib.Path(_PHOTOS.value).resolve()}")
  name = "score_benchmark" + " (5.7)" * (BENCHMARK not in chosen)
  script = remaining_scripts.of_benchmark(rows, stages=stages, targets=targets)
  return [Step(name, lambda: score_benchmark.main(line), script)]


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
    script = remaining_scripts.of_forms(folder / "h_score_forms.jsonl")
    found.append(
      Step("h_score_forms", lambda: h_score_forms.main(forms), script)
    )
  sections = [SECTIONS[n].name for n in ("5.2", "5.3") if n in chosen]
  if sections:
    file = folder / "factors.jsonl"
    line = ["factors", f"--output={file}", *common]
    line.append(f"--sections={','.join(sections)}")
    recipes = "5.2" in chosen  # sources for tasks of that section
    if recipes:
      line += [f"--recipes={folder / 'recipes'}", "--train_recipes"]
    script = remaining_scripts.of_factors(
      file, sections=sections, recipes=recipes
    )
    found.append(Step("factors", lambda: factors.main(line), script))
  return found


@contextlib.contextmanager
def _interruptible() -> Iterator[threading.Event]:
  """Makes sure that SIGINT ends the body of a `with` statement.

  Python drops a KeyboardInterrupt that is raised in a destructor, or in a
  callback of the garbage collector, of which JAX has one; and it can become
  another error on its way.

  Yields:
    What is set once SIGINT has come.
  """
  came = threading.Event()
  handler, hook = signal.getsignal(signal.SIGINT), sys.unraisablehook

  def interrupt(*_):
    came.set()
    raise KeyboardInterrupt

  def dropped(error):
    if issubclass(error.exc_type, KeyboardInterrupt):
      # Once more, but not here, where it would be dropped as well.
      again = threading.Timer(0.1, os.kill, [os.getpid(), signal.SIGINT])
      again.start()
    else:
      hook(error)

  # A shell's script that runs this in the background has it ignored.
  if handler != signal.SIG_IGN:
    signal.signal(signal.SIGINT, interrupt)
  sys.unraisablehook = dropped
  try:
    yield came
  finally:
    sys.unraisablehook = hook
    signal.signal(signal.SIGINT, handler)


class _Reproduction:
  """Runs steps, and says how far it is."""

  def __init__(
    self, steps: list[Step], folder: pathlib.Path, interrupted: threading.Event
  ):
    self._steps = steps
    self._interrupted = interrupted
    self.failed: list[str] = []
    self._estimator = remaining.Estimator(folder)
    # Seconds that steps took, and should have taken.
    self._taken = self._expected = 0.0

  def _left(self):
    """What is left of each step that says it, by its place."""
    asked = {i: step.asked for i, step in enumerate(self._steps) if step.asked}
    sweeps = {
      i: each for i, each in asked.items() if isinstance(each, remaining.Sweep)
    }
    left = self._estimator.left(list(sweeps.values()))
    return dict(zip(sweeps, left, strict=True)) | {
      i: each.left()
      for i, each in asked.items()
      if isinstance(each, remaining_scripts.Script)
    }

  @property
  def _ratio(self):
    enough = self._expected > 0 and self._taken >= _ENOUGH_SECONDS
    return self._taken / self._expected if enough else 1.0

  def _rest(self, left, begin):
    """Says how long the steps from `begin` take."""
    rest = [x for i, x in left.items() if i >= begin]
    seconds = estimates.duration(sum(x.seconds(self._ratio) for x in rest))
    unknown = sum(bool(x.unknown) for x in rest)
    if unknown:
      steps = tables.count(unknown, "step")
      return f"at least {seconds} left of all (not all known of {steps})"
    return f"about {seconds} left of all"

  def print_table(self) -> None:
    """Measures sources whose speed is unknown, and prints all steps."""
    asked = [step.asked for step in self._steps]
    self._estimator.measure(
      [each for each in asked if isinstance(each, remaining.Sweep)]
    )
    left = self._left()
    lines = [["step", "", "rows", "time left"]]
    for i, step in enumerate(self._steps):
      rows = seconds = ""
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
      if status == section.INTERRUPTED or self._interrupted.is_set():
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


def _make(folder):
  try:
    folder.mkdir(parents=True, exist_ok=True)
  except OSError as e:
    raise validation.InputError(
      f"--output={folder} cannot be made: {e.strerror}"
    ) from e


def _run() -> int:
  folder = pathlib.Path(_OUTPUT.value or f"runs/{_SCALE.value}").resolve()
  chosen = _chosen()
  with _interruptible() as interrupted:
    try:
      _check(chosen, folder)
      # Here, where paths are those that the user gave.
      steps = [*_sweeps(chosen, folder), *_others(chosen, folder)]
      with section.working_directory(_WEIGHTS.value):
        everything = _Reproduction(steps, folder, interrupted)
        everything.print_table()
        if _DRY_RUN.value:
          return 0
        _make(folder)
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
