r"""Relations between data sets, tasks and sources: a matrix of pairs.

    python -m leep_jax.relations --model=tiny_imagenet32_resnet14 \
      --dataset=fashion_mnist,cifar10,cifar100 --data_dir=DIR --limit=1000
    python -m leep_jax.relations --kind=p2l --model=tiny_imagenet32_resnet14 \
      --dataset=fashion_mnist,cifar10,cifar100 --data_dir=DIR
    python -m leep_jax.relations --kind=affinity --results=rows.jsonl \
      --matrix=affinity.csv --plot=affinity.png

--kind says what is compared:

- task2vec: the distances of data sets, or of the tasks of --tasks on them, by
  the Fisher information of a probe network, --model (Achille et al., 2019).
- p2l: the sizes of data sets, and the divergence of their mean features from
  --model (Bhattacharjee et al., 2020).
- affinity: how well sources transferred to data sets, from rows that
  leep_jax.transfer or leep_jax.sweep wrote (Zamir et al., 2018).

Rows are sources, columns targets. Exit status 0; 2 for an error in the input
(one line on standard error), 130 when interrupted.
"""

from collections.abc import Iterator, Sequence
import dataclasses
import pathlib
import sys
import textwrap

from absl import flags
import numpy as np

from leep_jax import (
  command,
  common_flags,
  progress,
  source_flags,
  tasks as tasks_lib,
  validation,
)
from leep_jax.engine import forward
from leep_jax.relations import affinity, fisher, p2l, task2vec
from leep_jax.reports import plots, results, sweep_report, tables

FLAGS = flags.FlagValues()
_SOURCES = source_flags.SourceFlags(FLAGS)
_DATA = common_flags.DataFlags(FLAGS)
_KINDS = ("task2vec", "p2l", "affinity")
_KIND = flags.DEFINE_enum(
  "kind", "task2vec", _KINDS, "What is compared.", flag_values=FLAGS
)
_TASKS = flags.DEFINE_string(
  "tasks",
  "all",
  "Of task2vec, the tasks on each data set, such as small(count=5,classes=4); "
  f"several are joined by +. Samplers: {', '.join(tasks_lib.SAMPLERS)}.",
  flag_values=FLAGS,
)
_SEED = flags.DEFINE_integer(
  "seed", 0, "Of the tasks, and of monte_carlo.", flag_values=FLAGS
)
_FISHER = flags.DEFINE_enum(
  "fisher",
  "exact",
  fisher.FORMS,
  "Of task2vec, over which classes the information is the mean: all of them as "
  "the head predicts them, in a backward pass for each; one that is drawn so; "
  "or the true one.",
  flag_values=FLAGS,
)
_L2 = flags.DEFINE_float(
  "l2",
  task2vec.L2,
  "Of task2vec, strength of the head's penalty, for features of unit variance.",
  flag_values=FLAGS,
)
_ALPHA = flags.DEFINE_float(
  "alpha",
  None,
  "Of task2vec, the weight of a source task's complexity, which lowers its "
  f"distances (default 0: symmetric; the paper's is {task2vec.ALPHA}); of p2l, "
  "the weight of the divergence (default 1).",
  flag_values=FLAGS,
)
_SIZES = flags.DEFINE_list(
  "sizes",
  None,
  "Of p2l, the number of examples of each data set, comma-separated. Needed "
  "with --limit, which then only bounds the examples that are read.",
  flag_values=FLAGS,
)
_RESULTS = flags.DEFINE_string(
  "results",
  None,
  "Of affinity: a file of rows, .jsonl, or the folder of a sweep.",
  flag_values=FLAGS,
)
_METHOD = flags.DEFINE_string(
  "method",
  None,
  "Of affinity, the method of transfer, if rows are of several.",
  flag_values=FLAGS,
)
_METRIC = flags.DEFINE_enum(
  "metric",
  "accuracy",
  sweep_report.METRICS,
  "Of affinity, what is compared on the test set.",
  flag_values=FLAGS,
)
_TARGET = flags.DEFINE_enum(
  "target",
  "dataset",
  affinity.TARGETS,
  "Of affinity, what a column is: a data set, whose tasks and seeds are the "
  "trials, or a task, whose seeds are.",
  flag_values=FLAGS,
)
_MATRIX = flags.DEFINE_string(
  "matrix",
  None,
  "File for the matrix, a row for each source and a column for each target, "
  ".csv or .jsonl; replaced.",
  flag_values=FLAGS,
)
_PLOT = flags.DEFINE_string(
  "plot",
  None,
  "File for a heat map, .png, .pdf or .svg; replaced.",
  flag_values=FLAGS,
)
# Flags that only some kinds read.
_ONLY = {
  "tasks": ("task2vec",),
  "fisher": ("task2vec",),
  "l2": ("task2vec",),
  "alpha": ("task2vec", "p2l"),
  "sizes": ("p2l",),
  "results": ("affinity",),
  "method": ("affinity",),
  "metric": ("affinity",),
  "target": ("affinity",),
  "seed": ("task2vec",),
  "model": ("task2vec", "p2l"),
  "dataset": ("task2vec", "p2l"),
}
_ROW_NAME = "source (row) to target (column)"


@dataclasses.dataclass(frozen=True)
class _Matrix:
  """Numbers of pairs, and what is said of them.

  Attributes:
    values: sources in rows, targets in columns; NaN where there is none.
    sources: names of the rows.
    targets: names of the columns.
    title: what was compared.
    label: name of the values.
    legend: a sentence on how to read them.
  """

  values: np.ndarray
  sources: Sequence[str]
  targets: Sequence[str]
  title: str
  label: str
  legend: str


def _probe():
  """The one source that is named."""
  if not (FLAGS["model"].present or FLAGS["models"].present):
    raise validation.InputError(
      f"--kind={_KIND.value} needs one network that all data sets share, such "
      "as --model=tiny_imagenet32_resnet14"
    )
  names = _SOURCES.names()
  if len(names) > 1:
    raise validation.InputError(
      f"--kind={_KIND.value} takes one source, not {len(names)} "
      f"({validation.some(names)})"
    )
  return command.load_source(names[0], overrides=_SOURCES.overrides())


def _task2vec() -> _Matrix:
  probe = _probe()
  fisher.probe_network(probe)  # refused before data are read
  names: list[str] = []
  found: list[np.ndarray] = []
  for dataset in _DATA.load_all():
    labels = dataset.labels()
    # Nothing is tested, so the examples of the test may be those of training.
    tasks = tasks_lib.parse(
      _TASKS.value, labels, labels.copy(), seed=_SEED.value
    )
    count = progress.Progress(
      f"{tables.short(dataset.name, 30)}: information", unit="passes"
    )
    try:
      found.extend(
        task2vec.embed(
          probe,
          dataset,
          tasks=tasks,
          form=_FISHER.value,
          l2=_L2.value,
          seed=_SEED.value,
          progress=count,
        )
      )
    finally:
      count.clear()
    if len(tasks) == 1:
      names.append(dataset.name)
    else:
      names += [f"{dataset.name} {task.name}" for task in tasks]
  alpha = _ALPHA.value or 0.0
  return _Matrix(
    task2vec.distances(np.array(found), names=names, alpha=alpha),
    names,
    names,
    f"Task2Vec, {probe.name}, {_FISHER.value}",
    "distance",
    "Distances of the tasks' embeddings: lower is nearer."
    + f" {alpha:g} times a source's complexity is subtracted." * bool(alpha),
  )


def _sizes(datasets) -> list[int]:
  if _SIZES.value is None:
    if FLAGS["limit"].present:
      raise validation.InputError(
        "with --limit, p2l needs the numbers of examples of the data sets: "
        "--sizes=60000,50000 for two of them"
      )
    return [len(dataset) for dataset in datasets]
  try:
    sizes = [int(size) for size in _SIZES.value]
  except ValueError as e:
    raise validation.InputError(
      f"--sizes={','.join(_SIZES.value)} must be integers"
    ) from e
  if len(sizes) != len(datasets):
    raise validation.InputError(
      f"--sizes has {len(sizes)} numbers for "
      f"{tables.count(len(datasets), 'data set')}"
    )
  return [validation.at_least_1("size", size) for size in sizes]


def _p2l() -> _Matrix:
  probe = _probe()
  datasets = _DATA.load_all()
  sizes = _sizes(datasets)
  means = []
  for dataset in datasets:
    count = progress.Progress(
      tables.short(dataset.name, 30), total=len(dataset)
    )
    try:
      outputs = forward.compute_outputs(probe, dataset, progress=count)
    finally:
      count.clear()
    means.append(p2l.mean_features(outputs))
  alpha = 1.0 if _ALPHA.value is None else _ALPHA.value
  names = [dataset.name for dataset in datasets]
  return _Matrix(
    p2l.p2l(means, sizes, alpha=alpha),
    names,
    names,
    f"P2L, {probe.name}",
    "P2L (nats)",
    f"log(examples of the source) - {alpha:g} KL(target || source), in nats: "
    "higher transfers better.",
  )


def _affinity() -> _Matrix:
  if _RESULTS.value is None:
    raise validation.InputError(
      "--kind=affinity needs --results, rows of python -m leep_jax.transfer"
    )
  path = pathlib.Path(_RESULTS.value).expanduser()
  if path.is_dir():
    rows = results.read_folder(path)
  else:
    try:
      rows, _ = results.parse_rows(path.read_bytes(), name=_RESULTS.value)
    except OSError as e:
      raise validation.InputError(
        f"cannot read {_RESULTS.value}: {validation.reason(e)}"
      ) from e
  found = affinity.affinities(
    rows, metric=_METRIC.value, method=_METHOD.value, by=_TARGET.value
  )
  least, most = min(found.trials), max(found.trials)
  trials = tables.count(least, "trial")
  if least < most:
    trials = f"{least} to {tables.count(most, 'trial')}"
  return _Matrix(
    found.values,
    tables.short_names(found.sources),
    found.targets,
    f"affinity by {_METRIC.value}, {trials} of each source on a target",
    "affinity",
    "Affinities of a target's sources sum to 1: higher transfers better. A "
    "trial is a task and a seed.",
  )


def _rows(matrix) -> Iterator[dict[str, str | float | None]]:
  for name, values in zip(matrix.sources, matrix.values, strict=True):
    cells = [float(v) if np.isfinite(v) else None for v in values]
    yield {_ROW_NAME: name, **dict(zip(matrix.targets, cells, strict=True))}


def _print(matrix):
  print(f"{matrix.title}.\n")
  # Of a matrix of tasks with each other, columns have the numbers of the rows.
  square = list(matrix.sources) == list(matrix.targets)
  heads = (
    [str(i + 1) for i in range(len(matrix.targets))]
    if square
    else tables.short_names(matrix.targets, width=20)
  )
  columns = [
    [head, *("-" if np.isnan(v) else f"{v:.3f}" for v in values)]
    for head, values in zip(heads, matrix.values.T, strict=True)
  ]
  print(tables.blocks(matrix.sources, columns, what="source"))
  print(f"\n{textwrap.fill(matrix.legend, tables.WIDTH)}")


def _run() -> int:
  for name, kinds in _ONLY.items():
    if FLAGS[name].present and _KIND.value not in kinds:
      raise validation.InputError(
        f"--{name} is of --kind={' or '.join(kinds)}, not {_KIND.value}"
      )
  if _KIND.value == "affinity":
    for flag in (*_SOURCES.all, *_DATA.all):
      if flag.present:
        raise validation.InputError(
          f"--{flag.name} has no meaning with --kind=affinity, which reads rows"
        )
  if _MATRIX.value is not None:
    results.check_path("matrix", _MATRIX.value, (".csv", ".jsonl"))
  if _PLOT.value is not None:
    plots.check_plot(_PLOT.value)
  matrix = {"task2vec": _task2vec, "p2l": _p2l, "affinity": _affinity}[
    _KIND.value
  ]()
  if len(set(matrix.sources) | set(matrix.targets)) < 2:
    raise validation.InputError(
      f"{matrix.sources[0]} alone has no relation: name several data sets, or "
      "--tasks"
    )
  # Files come first: whoever reads the table may close the pipe.
  if _MATRIX.value is not None:
    results.write_rows(_MATRIX.value, _rows(matrix))
  if _PLOT.value is not None:
    plots.matrix(
      np.where(np.isfinite(matrix.values), matrix.values, np.nan),
      matrix.sources,
      targets=matrix.targets,
      title=matrix.title,
      label=matrix.label,
      path=_PLOT.value,
    )
  _print(matrix)
  return 0


def main(argv: list[str]) -> int:
  """Runs the command; returns its exit status.

  Args:
    argv: the program's name and its flags.
  """
  return command.main(argv, FLAGS, __doc__ or "", _run)


script = command.script(main)  # `leep-relations`

if __name__ == "__main__":
  sys.exit(script())
