"""Shared by the experiments of the LEEP paper: scales, sources, sweeps.

Each section of the paper is a file in this folder with a list of `Part`s. A
part is one call of `leep_jax.sweep`; its rows are in the folder
`--output`/section/target. Existing rows are not computed again, so a section
can be interrupted, and continued at a larger scale.

Scales: `smoke` runs the code on digits and a bundled source, in seconds; `cpu`
is for two cores and an hour, with fewer tasks, epochs or images than the paper,
as each file says; `paper` is the paper's protocol, for an accelerator.
"""

from collections.abc import Callable, Sequence
import contextlib
import dataclasses
import json
import pathlib
import sys

from absl import flags

from leep_jax import command, sweep, validation
from leep_jax.reports import results, sweep_report

RESULTS = pathlib.Path(__file__).parent / "results"
SCALES = ("smoke", "cpu", "paper")
TINY = "digits"  # the target at the smallest scale
# The paper's CIFAR-10 ResNet-20. Files are in the folder --weights.
CIFAR10 = "resnet20@resnet20_cifar10.safetensors"
MOBILENET = "mobilenet_v1_025@mobilenet_v1_0.25_128"
# The ImageNet source by scale. `cpu` must run without a network connection, so
# it takes another network than the paper's ResNet-18.
IMAGENET = {"cpu": MOBILENET, "paper": "resnet18@hf://timm/resnet18.tv_in1k"}
BUNDLED = "cifar100_resnet14"
# The paper's sources and their substitutes, by the start of their names: the
# data they were trained on as Table 1 names it, and their names in figures. If
# several fit a line of Table 1, the first one that has rows is shown.
STAND_INS = {
  "resnet20@": ("cifar10", "CIFAR-10 ResNet-20"),
  "resnet18": ("imagenet", "ImageNet ResNet-18"),
  "mobilenet_v1_025@": ("imagenet", "ImageNet MobileNet"),
  "tiny_imagenet32_": ("imagenet", "Tiny-ImageNet ResNet-14"),
}
_INTERRUPTED = 130
# The paper's scores, and the H-score for few examples.
SCORES = "--scores=leep,nce,h_score,regularized_h_score"


@dataclasses.dataclass(frozen=True)
class Part:
  """One sweep of a section.

  Attributes:
    folder: folder of its rows, `section/target`.
    dataset: the target data set.
    models: the sources.
    tasks: value of `--tasks` of `leep_jax.sweep`.
    transfer: the transfer method whose results the scores should predict.
    flags: other flags of `leep_jax.sweep`.
  """

  folder: str
  dataset: str
  models: tuple[str, ...]
  tasks: str
  transfer: str
  flags: tuple[str, ...] = ()


@dataclasses.dataclass(frozen=True)
class Section:
  """A section of the paper.

  Attributes:
    name: name of its file and of its folder of rows.
    targets: target data sets, except at the scale `smoke`.
    parts: `(scale, target) -> sweeps`.
    prepare: changes rows before correlations are computed.
  """

  name: str
  targets: tuple[str, ...]
  parts: Callable[[str, str], list[Part]]
  prepare: Callable[[Sequence[results.Row]], Sequence[results.Row]] = list

  @property
  def truth(self) -> str:
    """Returns the performance measure of this section, see `truth_of`."""
    return truth_of(self.name)


def truth_of(name: str) -> str:
  """Returns the performance measure that scores of a section should predict.

  It is one of `sweep_report.METRICS`: accuracy, or for imbalanced tasks F1.
  """
  return "binary_f1" if name == "imbalanced_tasks" else "accuracy"


def sources(scale: str) -> tuple[str, ...]:
  """Returns the sources of CIFAR-10 and ImageNet at a scale."""
  return (BUNDLED,) if scale == "smoke" else (CIFAR10, IMAGENET[scale])


def measured(
  name: str, target: str, folder: pathlib.Path = RESULTS
) -> Sequence[results.Row]:
  """Returns the rows of a section and target, of the largest scale only.

  Args:
    name: name of the section.
    target: target data set.
    folder: folder of the rows of all sections.

  Returns:
    No rows if the section was not run.
  """
  place = folder / name / target
  return of_one_recipe(sweep.read_rows(place)) if place.is_dir() else []


def of_one_recipe(rows: Sequence[results.Row]) -> list[results.Row]:
  """Drops rows of smaller scales, for each source and method.

  Rows with one recipe and one size of the data are a group. The group with the
  most epochs is kept, of equal ones that with the most tasks. Rows of scores
  are all kept, since they are matched to the others by task.
  """
  kinds: dict[tuple[str, str], dict[str, list[results.Row]]] = {}
  for row in rows:
    if row["method"] != sweep_report.SCORED:
      how = [row["recipe"], row["train_set"], row["test_set"]]
      kind = kinds.setdefault((row["model"], row["method"]), {})
      kind.setdefault(json.dumps(how, sort_keys=True), []).append(row)

  def size(found):
    epochs = found[0]["recipe"].get("epochs", 0)
    return epochs, len({row["task"] for row in found})

  chosen = [
    row for kind in kinds.values() for row in max(kind.values(), key=size)
  ]
  return [*(r for r in rows if r["method"] == sweep_report.SCORED), *chosen]


def main(argv: list[str], section: Section, doc: str) -> int:
  """Runs a section's command; returns its exit status.

  Args:
    argv: the program's name and its flags.
    section: what to run.
    doc: what `--help` prints.
  """
  defined = flags.FlagValues()
  scale = flags.DEFINE_enum(
    "scale", "cpu", SCALES, "How much is run.", flag_values=defined
  )
  data_dir = flags.DEFINE_string(
    "data_dir", None, "Folder of TFDS data sets.", flag_values=defined
  )
  weights = flags.DEFINE_string(
    "weights",
    ".",
    "Folder that the files of sources are in; rows name them within it.",
    flag_values=defined,
  )
  datasets = flags.DEFINE_list(
    "datasets",
    None,
    f"Targets. Default: {','.join(section.targets)}.",
    flag_values=defined,
  )
  models = flags.DEFINE_list(
    "models", None, "Sources, instead of the scale's.", flag_values=defined
  )
  transfer = flags.DEFINE_list(
    "transfer", None, "Methods, instead of all.", flag_values=defined
  )
  output = flags.DEFINE_string(
    "output",
    None,
    "Folder for the rows of all sections. Default: runs/SCALE.",
    flag_values=defined,
  )
  worker = flags.DEFINE_string(
    "worker", "0/1", "As of leep_jax.sweep.", flag_values=defined
  )

  def run() -> int:
    folder = pathlib.Path(output.value or f"runs/{scale.value}").resolve()
    default = (TINY,) if scale.value == "smoke" else section.targets
    every = [
      part
      for target in datasets.value or default
      for part in section.parts(scale.value, target)
    ]
    known = tuple(dict.fromkeys(part.transfer for part in every))
    for method in transfer.value or ():
      if method not in known:
        raise validation.unknown(f"method of {section.name}", method, known)
    wanted = transfer.value or known
    parts = [part for part in every if part.transfer in wanted]
    common = [
      f"--cache_dir={folder / 'cache'}",
      f"--worker={worker.value}",
      *_given("data_dir", data_dir.value),
    ]
    worst = 0
    with _inside(weights.value):
      for part in parts:
        if models.value:
          part = dataclasses.replace(part, models=tuple(models.value))
        status = sweep.main(_arguments(part, folder, common))
        worst = max(worst, status)
        if status == _INTERRUPTED:
          return status
    if worst and weights.value == ".":
      print(
        "are files of sources in another folder? Name it with --weights",
        file=sys.stderr,
      )
    for place in dict.fromkeys(part.folder for part in parts):
      # A worker whose share of a part is empty has written no rows.
      with contextlib.suppress(validation.InputError):
        rows = section.prepare(of_one_recipe(sweep.read_rows(folder / place)))
        print(f"\n{place}: {section.truth}\n")
        print(
          sweep_report.table(
            sweep_report.correlations(rows, metric=section.truth)
          )
        )
    return worst

  return command.main(argv, defined, doc, run)


def _given(name, path):
  return [] if path is None else [f"--{name}={pathlib.Path(path).resolve()}"]


@contextlib.contextmanager
def _inside(folder):
  """Changes to a folder, so that rows contain no path of this machine."""
  try:
    inside = contextlib.chdir(folder)
    with inside:
      yield
  except FileNotFoundError as e:
    if e.filename != folder:
      raise
    raise validation.InputError(f"--weights={folder} is no folder") from e


def _arguments(part, folder, common):
  line = [
    "leep_jax.sweep",
    f"--dataset={part.dataset}",
    f"--model={','.join(part.models)}",
    f"--tasks={part.tasks}",
    f"--transfer={part.transfer}",
    f"--output={folder / part.folder}",
    *common,
    *part.flags,
  ]
  print(f"{part.folder}: {part.transfer}, {part.tasks}", file=sys.stderr)
  return line
