"""What the experiments of the LEEP paper share: scales, sources, sweeps.

Each section of the paper is a file in this folder that defines a list of
`Part`s. A part is one call of `leep_jax.sweep`, which writes its rows to the
folder `--output`/section/target. A sweep skips rows that exist, so that a
section can be interrupted, and continued at a larger scale.

Scales: `smoke` runs the code on digits and a bundled source, in seconds; `cpu`
is for two cores and an hour, with fewer tasks, epochs or images than the paper,
as each file says; `paper` is the paper's protocol, for an accelerator.
"""

from collections.abc import Callable, Iterator, Mapping, Sequence
import contextlib
import dataclasses
import json
import pathlib
import sys
from typing import Any

from absl import flags

from leep_jax import command, sweep, validation
from leep_jax.reports import correlation, results, sweep_report

RESULTS = pathlib.Path(__file__).parent / "results"
SCALES = ("smoke", "cpu", "paper")
TINY = "digits"  # the target at the smallest scale
# The paper's CIFAR-10 ResNet-20. Files are in the folder --weights.
CIFAR10 = "resnet20@resnet20_cifar10.safetensors"
CIFAR10_BUNDLED = "cifar10_resnet14"  # of another recipe
# Other sources trained on CIFAR-10, deeper or by another recipe.
OTHER_CIFAR10 = (
  *(f"resnet{n}@resnet{n}_cifar10.safetensors" for n in (32, 44, 56)),
  CIFAR10_BUNDLED,
)
# Sources trained on ImageNet: the paper's, and others. `cpu` must run without a
# network connection, so it does not take the paper's.
RESNET18 = "resnet18@hf://timm/resnet18.tv_in1k"
RESNET50 = "resnet50@resnet50_tf"
MOBILENET_100 = "mobilenet_v1_100@mobilenet_v1_1.0_224"
MOBILENET = "mobilenet_v1_025@mobilenet_v1_0.25_128"
TINY_IMAGENET = "tiny_imagenet32_resnet14"
# Of the ImageNet networks whose BatchNorm is not folded into the weights, this
# is the smallest. The MobileNets, which have none, hardly learn at the learning
# rate of the paper. Two cores afford images of this size.
FINE_TUNED = "tf_efficientnet_lite0@tf_efficientnet_lite0"
FINE_TUNED_SIZE = 48
BUNDLED = "cifar100_resnet14"
# Options for large networks, which see fewer images, by target: those of
# CIFAR-100 leave 300 of each class, as imbalanced tasks need.
FEWER_IMAGES = {
  "cifar100": {"limit": 35000},
  "fashion_mnist": {"limit": 5000, "test_limit": 2000},
}
# Sources by method and scale, in one group or two. The second one has large
# networks, for which other flags than those of the first are affordable.
SOURCES: dict[str, dict[str, list[tuple[str, ...]]]] = {
  "retrain_head": {
    "smoke": [(BUNDLED,)],
    "cpu": [
      (CIFAR10, *OTHER_CIFAR10, MOBILENET, TINY_IMAGENET),
      (MOBILENET_100, RESNET50),
    ],
    "paper": [(CIFAR10, RESNET18)],
  },
  "fine_tune": {
    "smoke": [(BUNDLED,)],
    "cpu": [(CIFAR10, CIFAR10_BUNDLED, TINY_IMAGENET), (FINE_TUNED,)],
    "paper": [(CIFAR10, RESNET18)],
  },
}
# The paper's sources and their substitutes. The key is the start of a source's
# name; the value is its training data as Table 1 names it, and its name in
# figures. If several fit a line of Table 1, the first one that has rows is
# shown: the paper's own source comes before its substitutes, of which larger
# networks come first.
STAND_INS = {
  "resnet20@": ("cifar10", "CIFAR-10 ResNet-20"),
  "resnet32@": ("cifar10", "CIFAR-10 ResNet-32"),
  "resnet44@": ("cifar10", "CIFAR-10 ResNet-44"),
  "resnet56@": ("cifar10", "CIFAR-10 ResNet-56"),
  "cifar10_resnet14": ("cifar10", "CIFAR-10 ResNet-14"),
  "resnet18": ("imagenet", "ImageNet ResNet-18"),
  "resnet50@": ("imagenet", "ImageNet ResNet-50"),
  "mobilenet_v1_100@": ("imagenet", "ImageNet MobileNet V1 1.0"),
  "tf_efficientnet_lite0@": ("imagenet", "ImageNet Lite0"),
  "mobilenet_v1_025@": ("imagenet", "ImageNet MobileNet V1 0.25"),
  "tiny_imagenet32_": ("imagenet", "Tiny-ImageNet ResNet-14"),
}
# The status of a command that received SIGINT, as shells define it.
INTERRUPTED = 130
# The paper's scores, and the variant of H-score for few examples.
SCORES = {"scores": "leep,nce,h_score,regularized_h_score"}
Options = Mapping[str, str | int]  # flags of `leep_jax.sweep`


@dataclasses.dataclass(frozen=True)
class Part:
  """One sweep of a section.

  Attributes:
    folder: folder of its rows within `--output`, as `section/target`.
    dataset: the target data set.
    models: the sources.
    tasks: value of the flag `--tasks` of `leep_jax.sweep`.
    transfer: the transfer method whose performance the scores should predict.
    flags: further flags of `leep_jax.sweep`.
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
    name: name of its module and of the folder of its rows.
    targets: target data sets. The scale `smoke` uses digits instead.
    parts: function `(scale, target) -> sweeps`.
    prepare: function that changes rows before correlations are computed.
  """

  name: str
  targets: tuple[str, ...]
  parts: Callable[[str, str], list[Part]]
  prepare: Callable[[Sequence[results.Row]], Sequence[results.Row]] = list

  @property
  def metric(self) -> str:
    """Returns the metric of transfer performance, see `metric_of`."""
    return metric_of(self.name)


def metric_of(name: str) -> str:
  """Returns the metric that the scores of a section should predict.

  It is one of `sweep_report.METRICS`: accuracy, or F1 for imbalanced tasks.
  """
  return "binary_f1" if name == "imbalanced_tasks" else "accuracy"


def parts_of(
  method: str,
  scale: str,
  folder: str,
  target: str,
  *,
  tasks: str,
  options: Options,
  changed: Options,
  fewer_tasks: str | None = None,
) -> list[Part]:
  """Returns the sweeps of a transfer method, with all sources of a scale.

  Args:
    method: `retrain_head` or `fine_tune`.
    scale: one of `SCALES`.
    folder: folder of the rows.
    target: the target data set.
    tasks: value of the flag `--tasks`.
    options: further flags.
    changed: those that differ for the second group of sources, see `SOURCES`.
    fewer_tasks: value of the flag `--tasks` for the second group, if it is
      another one.
  """
  found = []
  for i, models in enumerate(SOURCES[method][scale]):
    own = {**options, **changed} if i else {**options}
    if FINE_TUNED in models:
      own["image_size"] = FINE_TUNED_SIZE
    drawn = (fewer_tasks or tasks) if i else tasks
    found.append(Part(folder, target, models, drawn, method, flags_of(own)))
  return found


def flags_of(options: Options) -> tuple[str, ...]:
  """Returns options as flags of a command."""
  return tuple(f"--{name}={value}" for name, value in options.items())


def measured(
  name: str, target: str, folder: pathlib.Path = RESULTS
) -> Sequence[results.Row]:
  """Returns the rows of `at_all_scales`, only those of the largest scale."""
  return of_one_recipe(at_all_scales(name, target, folder))


def at_all_scales(
  name: str, target: str, folder: pathlib.Path = RESULTS
) -> Sequence[results.Row]:
  """Returns all rows of a section and target; none if it was not run.

  Args:
    name: name of the section.
    target: target data set.
    folder: folder of the rows of all sections.
  """
  path = folder / name / target
  return sweep.read_rows(path) if path.is_dir() else []


def of_one_recipe(rows: Sequence[results.Row]) -> list[results.Row]:
  """Drops the rows of smaller scales, for each source and method.

  Rows with the same recipe and the same sizes of the data form a group. For
  each source and method, the group with the most epochs is kept, and among
  equals the one with the most tasks. All rows of scores are kept: they are
  matched to the others by task.
  """
  # Groups by source and method, then by what distinguishes two scales.
  groups: dict[tuple[str, str], dict[str, list[results.Row]]] = {}
  for row in rows:
    if row["method"] != sweep_report.SCORED:
      recipe = [row["recipe"], row["train_set"], row["test_set"]]
      # Recipes are dictionaries, which cannot be keys; their JSON text can.
      key = json.dumps(recipe, sort_keys=True)
      by_recipe = groups.setdefault((row["model"], row["method"]), {})
      by_recipe.setdefault(key, []).append(row)

  def size(group):
    epochs = group[0]["recipe"].get("epochs", 0)
    return epochs, len({row["task"] for row in group})

  chosen = [
    row
    for by_recipe in groups.values()
    for row in max(by_recipe.values(), key=size)
  ]
  return [*(r for r in rows if r["method"] == sweep_report.SCORED), *chosen]


def pairs_of(
  rows: Sequence[results.Row], method: str, metric: str
) -> list[sweep_report.Pair]:
  """Returns the pairs of one transfer method, or an empty list.

  Args:
    rows: of one source.
    method: of transfer.
    metric: of `sweep_report.METRICS`.
  """
  for name, pairs in sweep_report.pairs(rows, metric=metric).items():
    # A method with several recipes is followed by a space and its options.
    if pairs and name.partition(" ")[0] == method:
      return pairs
  return []


def short_name(model: str) -> str:
  """Returns the name of a source without its file, for tables."""
  return model.partition("@")[0]


def r_with_interval(scores: Any, performances: Any) -> list[float] | None:
  """Returns r and its 95 % interval, or None if a column is constant.

  They are rounded as rows have them, to four digits.

  Args:
    scores: `[n]`.
    performances: `[n]`.
  """
  found = correlation.correlate(scores, performances)
  if found.pearson is None or found.interval is None:
    return None
  return [round(value, 4) for value in (found.pearson, *found.interval)]


def rows_in(path: pathlib.Path) -> list[results.Row]:
  """Returns the rows of a file; none if there is no such file."""
  if not path.exists():
    return []
  return list(results.parse_rows(path.read_bytes(), name=path.name)[0])


def main(argv: list[str], section: Section, doc: str) -> int:
  """Runs the command of a section; returns its exit status.

  Args:
    argv: the program's name and its flags.
    section: the section to run.
    doc: the text that `--help` prints.
  """
  defined = _define_flags(section)
  return command.main(argv, defined, doc, lambda: _run(section, defined))


def _define_flags(section):
  """Returns the flags of a section's command."""
  defined = flags.FlagValues()
  flags.DEFINE_enum(
    "scale", "cpu", SCALES, "Size of the experiment.", flag_values=defined
  )
  flags.DEFINE_string(
    "data_dir", None, "Folder of TFDS data sets.", flag_values=defined
  )
  flags.DEFINE_string(
    "weights",
    ".",
    "Folder of the sources' files. Rows name the files without this folder.",
    flag_values=defined,
  )
  flags.DEFINE_list(
    "datasets",
    None,
    f"Targets. Default: {','.join(section.targets)}.",
    flag_values=defined,
  )
  flags.DEFINE_list(
    "models", None, "Sources. Default: those of the scale.", flag_values=defined
  )
  flags.DEFINE_list(
    "transfer", None, "Methods of transfer. Default: all.", flag_values=defined
  )
  flags.DEFINE_string(
    "output",
    None,
    "Folder for the rows of all sections. Default: runs/SCALE.",
    flag_values=defined,
  )
  flags.DEFINE_string(
    "worker", "0/1", "The flag of leep_jax.sweep.", flag_values=defined
  )
  return defined


def _run(section, given):
  """Runs the sweeps of a section, then prints correlations."""
  folder = pathlib.Path(given.output or f"runs/{given.scale}").resolve()
  parts = _chosen_parts(section, given)
  # Here, where paths are those that the user gave.
  commands = [
    arguments(part, folder, data_dir=given.data_dir, worker=given.worker)
    for part in parts
  ]
  # A failed part does not stop the others; the command's status reports it.
  worst = 0
  with working_directory(given.weights):
    for part, command_line in zip(parts, commands, strict=True):
      print(f"{part.folder}: {part.transfer}, {part.tasks}", file=sys.stderr)
      status = sweep.main(command_line)
      worst = max(worst, status)
      if status == INTERRUPTED:
        return status
  if worst and given.weights == ".":
    print(
      "are files of sources in another folder? Name it with --weights",
      file=sys.stderr,
    )
  for name in dict.fromkeys(part.folder for part in parts):
    # A worker whose share of a part is empty has written no rows.
    with contextlib.suppress(validation.InputError):
      rows = section.prepare(of_one_recipe(sweep.read_rows(folder / name)))
      print(f"\n{name}: {section.metric}\n")
      print(
        sweep_report.table(
          sweep_report.correlations(rows, metric=section.metric)
        )
      )
  return worst


def _chosen_parts(section, given):
  """Returns the parts that the flags choose."""
  default = (TINY,) if given.scale == "smoke" else section.targets
  every = [
    part
    for target in given.datasets or default
    for part in section.parts(given.scale, target)
  ]
  known = tuple(dict.fromkeys(part.transfer for part in every))
  for method in given.transfer or ():
    if method not in known:
      raise validation.unknown(f"method of {section.name}", method, known)
  wanted = given.transfer or known
  models = {"models": tuple(given.models)} if given.models else {}
  return [
    dataclasses.replace(part, **models)
    for part in every
    if part.transfer in wanted
  ]


@contextlib.contextmanager
def working_directory(folder: str) -> Iterator[None]:
  """Changes to a folder, so that rows contain no path of this machine."""
  try:
    with contextlib.chdir(folder):
      yield
  except FileNotFoundError as e:
    # The body may also fail to find a file, which is another error.
    if e.filename != folder:
      raise
    raise validation.InputError(f"--weights={folder} is no folder") from e


def arguments(
  part: Part,
  folder: pathlib.Path,
  *,
  data_dir: str | None,
  worker: str = "0/1",
) -> list[str]:
  """Returns the command line of `leep_jax.sweep` for a part.

  Args:
    part: to run.
    folder: of the rows of all sections.
    data_dir: folder of TFDS data sets.
    worker: the flag of this name.
  """
  found = [
    "leep_jax.sweep",
    f"--dataset={part.dataset}",
    f"--model={','.join(part.models)}",
    f"--tasks={part.tasks}",
    f"--transfer={part.transfer}",
    f"--output={folder / part.folder}",
    f"--cache_dir={cache_folder(folder)}",
    f"--worker={worker}",
  ]
  if data_dir is not None:
    # Absolute, because the sweep runs in another working directory.
    found.append(f"--data_dir={pathlib.Path(data_dir).resolve()}")
  return [*found, *part.flags]


def cache_folder(folder: pathlib.Path) -> pathlib.Path:
  """Returns where the sweeps of all sections keep outputs of sources.

  Args:
    folder: of the rows of all sections.
  """
  return folder / "cache"
