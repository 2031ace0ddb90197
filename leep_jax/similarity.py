r"""Says how similar the features of source models are, on the same data.

    python -m leep_jax.similarity --dataset=folder:photos \
      --model=resnet18.a1_in1k,resnet50.a1_in1k,convnext_tiny.fb_in1k
    python -m leep_jax.similarity --predictions=a.npz,b.npz --measure=rsa

Prints a matrix of sources, 1 where they are the same up to what the measure
does not see. Sources that are much alike transfer alike: try one of them. It
does not say which transfers better, as `leep_jax.score` does. Exit status 0; 2
for an error in the input, 130 when interrupted.
"""

import functools
import sys

from absl import flags

from leep_jax import (
  command,
  common_flags,
  predictions as predictions_lib,
  progress,
  source_flags,
  validation,
)
from leep_jax.engine import forward
from leep_jax.reports import plots, results, tables
from leep_jax.scores import between_sources

FLAGS = flags.FlagValues()
_SOURCES = source_flags.SourceFlags(FLAGS)
_DATA = common_flags.DataFlags(FLAGS)
_PREDICTIONS = flags.DEFINE_list(
  "predictions",
  None,
  "Instead of models and data: npz files of outputs with features, of the same "
  "examples, as those of leep_jax.score.",
  flag_values=FLAGS,
)
_MEASURE = flags.DEFINE_enum(
  "measure",
  "cka",
  list(between_sources.MEASURES),
  "Linear centred kernel alignment, without its bias for few examples, or the "
  "rank correlation of dissimilarities.",
  flag_values=FLAGS,
)
_MAX_EXAMPLES = flags.DEFINE_integer(
  "max_examples",
  between_sources.MAX_EXAMPLES,
  "Of more examples, this many are drawn at random, and alone run through the "
  "sources.",
  flag_values=FLAGS,
)
_BATCH_SIZE = flags.DEFINE_integer(
  "batch_size", None, "Inputs per forward call.", flag_values=FLAGS
)
_OUTPUT = flags.DEFINE_string(
  "output",
  None,
  "File for the matrix, a row for each source, .csv or .jsonl; replaced.",
  flag_values=FLAGS,
)
_PLOT = flags.DEFINE_string(
  "plot",
  None,
  "File for the matrix as a heat map, .png, .pdf or .svg; replaced.",
  flag_values=FLAGS,
)


def _of_models(found) -> tuple[int, str]:
  """Adds the representation of each source; returns the status and a title."""
  names, overrides, dataset = (
    _SOURCES.names(), _SOURCES.overrides(), _DATA.load(),
  )  # fmt: skip
  _SOURCES.check_default(dataset)
  every, noun = len(dataset), dataset.noun
  dataset = dataset.take(min(every, _MAX_EXAMPLES.value))

  def one(name):
    source = command.load_source(name, overrides=overrides)
    count = progress.Progress(
      tables.short(name, 30), total=len(dataset), unit=noun
    )
    try:
      outputs = forward.compute_outputs(
        source, dataset, batch_size=_BATCH_SIZE.value, progress=count
      )
      _add(found, name, outputs)
    finally:
      count.clear()

  status = command.for_each_source(names, one)
  used = f"{len(dataset):,} of " if len(dataset) < every else ""
  return status, f"{dataset.name}: {used}{every:,} {noun}"


def _of_files(found) -> tuple[int, str]:
  for flag in (*_SOURCES.all, *_DATA.all, _BATCH_SIZE):
    if flag.present:
      raise validation.InputError(
        f"--{flag.name} has no meaning with --predictions, which hold outputs "
        "and labels"
      )
  paths = common_flags.names(_PREDICTIONS, "file")
  read = functools.partial(predictions_lib.read, ignored=_DATA.ignored())
  status = command.for_each_source(
    paths, lambda path: _add(found, path, read(path))
  )
  return status, "predictions"


def _add(found, name, outputs):
  """Compares with the first source at once: an error is of this one."""
  new = between_sources.representation(
    outputs, measure=_MEASURE.value, max_examples=_MAX_EXAMPLES.value
  )
  between_sources.similarities([*list(found.values())[:1], new])
  found[name] = new


def _run() -> int:
  validation.at_least_1("max_examples", _MAX_EXAMPLES.value)
  if _BATCH_SIZE.value is not None:
    validation.at_least_1("batch_size", _BATCH_SIZE.value)
  if _OUTPUT.value is not None:
    results.check_output(_OUTPUT.value)
  if _PLOT.value is not None:
    plots.check_plot(_PLOT.value)
  found: dict[str, between_sources.Representation] = {}
  of = _of_models if _PREDICTIONS.value is None else _of_files
  status, title = of(found)
  if not found:
    return status
  matrix = between_sources.similarities(list(found.values()))
  names = list(found)
  short = tables.short_names(names)
  # Files come first: whoever reads the table may close the pipe.
  if _OUTPUT.value is not None:
    rows = [
      {"model": name, **dict(zip(names, row, strict=True))}
      for name, row in zip(names, matrix.tolist(), strict=True)
    ]
    results.write_rows(_OUTPUT.value, rows)
  title = f"{title}, {tables.count(len(names), 'source')}"
  if _PLOT.value is not None:
    plots.matrix(
      matrix,
      short,
      title=title,
      label=_MEASURE.value,
      column_label="source",
      path=_PLOT.value,
    )
  columns = [
    [f"{i + 1}", *(f"{value:.3f}" for value in column)]
    for i, column in enumerate(matrix.T)
  ]
  print(f"{title}. Similarity by {_MEASURE.value}.\n")
  print(tables.blocks(names, columns))
  print("\nColumns are the sources by their numbers; 1 is the same.")
  if _MEASURE.value == "cka" and any(one.wide for one in found.values()):
    print(
      "cka is too high where there are fewer examples than features: see\n"
      "--measure=debiased_cka."
    )
  return status


def main(argv: list[str]) -> int:
  """Runs the command; returns its exit status.

  Args:
    argv: the program's name and its flags.

  Example:
    >>> from leep_jax import similarity
    >>> similarity.main(
    ...   ["similarity", "--model=cifar10_resnet14,cifar100_resnet14",
    ...    "--limit=100"]
    ... )
    digits: 100 images, 2 sources. Similarity by cka.
    <BLANKLINE>
       model                  1      2
    1  cifar10_resnet14   1.000  0...
    2  cifar100_resnet14  0...  1.000
    <BLANKLINE>
    Columns are the sources by their numbers; 1 is the same.
    0
  """
  return command.main(argv, FLAGS, __doc__ or "", _run)


script = command.script(main)  # `leep-similarity`

if __name__ == "__main__":
  sys.exit(script())
