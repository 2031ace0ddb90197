r"""Transfer between yes-or-no tasks on the same examples, with no model.

    python -m leep_jax.task_matrix --dataset=csv:attributes.csv
    python -m leep_jax.task_matrix --dataset=celeb_a --data_dir=DIR \
      --output=matrix.csv --plot=matrix.png

Each attribute is a task. For every pair, NCE says from labels alone how well
the first transfers to the second; the hardness of a task is what NCE is for a
source that knows nothing, without its sign. Both are in nats.

Prints the attributes, hardest first, each with its best source. Exit status 0;
2 for a mistake in what was asked (one line on standard error), 130 when
interrupted.

Reference: Tran, Nguyen & Hassner, "Transferability and Hardness of Supervised
Classification Tasks", ICCV 2019.
"""

from collections.abc import Sequence
import sys
from typing import Any

from absl import flags
import numpy as np

from leep_jax import command, data, validation
from leep_jax.reports import plots, results, tables

FLAGS = flags.FlagValues()  # of this command alone, as in `score`
_DATASET = flags.DEFINE_string(
  "dataset",
  None,
  "Attributes of examples: csv:FILE (a row of names, then rows of 0 and 1, or "
  "-1 and 1), npz:FILE (arrays attributes [n, A], attribute_names), or a TFDS "
  "name.",
  flag_values=FLAGS,
)
_ATTRIBUTES = flags.DEFINE_list(
  "attributes",
  None,
  "Names of those to use, comma-separated; inside another TFDS feature, such "
  "as attributes/Smiling. Default: all that are yes or no.",
  flag_values=FLAGS,
)
_SPLIT = flags.DEFINE_string(
  "split",
  None,
  "TFDS split, slices such as train[:20%] included (default train).",
  flag_values=FLAGS,
)
_DATA_DIR = flags.DEFINE_string(
  "data_dir", None, "Where prepared TFDS data sets are.", flag_values=FLAGS
)
_OUTPUT = flags.DEFINE_string(
  "output",
  None,
  "File for the matrix, .csv or .jsonl: one row per source, one column per "
  "target, and the hardness of the row's task; replaced.",
  flag_values=FLAGS,
)
_PLOT = flags.DEFINE_string(
  "plot",
  None,
  "File for a heat map, .png, .pdf or .svg; replaced.",
  flag_values=FLAGS,
)

_NAME = 21  # most columns of a name, so that tables have at most 80
_BLOCK = 1 << 22  # numbers in float32 at a time; few enough to count exactly
_ROW_NAME = "source (row) to target (column)"


def nce_matrix(attributes: Any) -> np.ndarray:
  """NCE of transfer between all pairs of attributes, in nats; at most 0.

  Row a, column b is -H(b given a) = `nce(attributes[:, a], attributes[:, b])`:
  how well the source task a transfers to the target task b; higher transfers
  better. On the diagonal it is 0.

  Args:
    attributes: `[n, A]`, each 0 or 1.

  Returns:
    `[A, A]` float64.

  Raises:
    InputError: if there are no examples or attributes, or values are neither
      0 nor 1.

  Reference: Tran, Nguyen & Hassner, "Transferability and Hardness of
  Supervised Classification Tasks", ICCV 2019.
  """
  attributes = data.binary(attributes)
  both = _co_occurrences(attributes)
  ones = np.diagonal(both)
  sources, targets = ones[:, None], ones[None, :]
  total = _log_likelihood(both, sources)
  total += _log_likelihood(sources - both, sources)
  zeros = len(attributes) - sources
  total += _log_likelihood(targets - both, zeros)
  total += _log_likelihood(zeros - (targets - both), zeros)
  return total / len(attributes)


def hardness(attributes: Any) -> np.ndarray:
  """Entropy of each attribute, in nats: 0 to log 2; higher is harder.

  Minus the NCE of a source that gives every example the same label;
  `task_hardness` of each column.

  Args:
    attributes: `[n, A]`, each 0 or 1.

  Returns:
    `[A]` float64.

  Raises:
    InputError: as `nce_matrix`.

  Reference: Tran, Nguyen & Hassner, "Transferability and Hardness of
  Supervised Classification Tasks", ICCV 2019, section 5.
  """
  attributes = data.binary(attributes)
  count = len(attributes)
  ones = attributes.sum(axis=0, dtype=np.int64)
  total = _log_likelihood(ones, count) + _log_likelihood(count - ones, count)
  return np.abs(total / count)  # abs: never minus zero


def _co_occurrences(attributes):
  """How many examples have both of two attributes, exactly: `[A, A]` int64."""
  count, width = attributes.shape
  rows = max(1, _BLOCK // width)
  both = np.zeros((width, width), np.int64)
  for start in range(0, count, rows):
    block = attributes[start : start + rows].astype(np.float32)
    both += (block.T @ block).astype(np.int64)
  return both


def _log_likelihood(cells, mass):
  """cells log(cells / mass), where 0 log 0 is 0."""
  share = np.ones(cells.shape)
  np.divide(cells, mass, out=share, where=cells > 0)
  return cells * np.log(share)


def format_table(
  attributes: np.ndarray, names: Sequence[str], matrix: np.ndarray
) -> str:
  """Formats attributes, hardest first, in at most 80 columns.

  Args:
    attributes: `[n, A]`, each 0 or 1.
    names: of the A attributes.
    matrix: their `nce_matrix`.

  Returns:
    Lines without a final newline: the share of examples that have the
    attribute, its hardness, the other attribute that transfers best to it with
    its NCE, and the part of the hardness that this one leaves.
  """
  hard = hardness(attributes)
  others = np.where(np.eye(len(names), dtype=bool), -np.inf, matrix)
  best = others.argmax(axis=0)
  short = [tables.cut(name, _NAME) for name in names]
  columns = [["attribute"], ["frequency"], ["hardness"], ["best source"]]
  columns += [["nce"], ["left"]]
  for i in np.argsort(-hard, kind="stable"):
    cells = [short[i], f"{attributes[:, i].mean():.4f}", f"{hard[i]:.4f}"]
    if len(names) > 1 and hard[i] > 0:
      nce = matrix[best[i], i]
      cells += [short[best[i]], f"{nce:z.4f}", f"{-nce / hard[i]:.0%}"]
    else:  # nothing to transfer, or from nowhere
      cells += ["-", "-", "-"]
    for column, cell in zip(columns, cells, strict=True):
      column.append(cell)
  widths = [max(map(len, column)) for column in columns]
  lines = []
  for row in zip(*columns, strict=True):
    cells = [
      cell.ljust(width) if column in (0, 3) else cell.rjust(width)
      for column, (cell, width) in enumerate(zip(row, widths, strict=True))
    ]
    lines.append("  ".join(cells))
  return "\n".join(lines)


def _rows(names, matrix, hard):
  """One row per source; both are named in the header."""
  for name, row, its in zip(names, matrix, hard, strict=True):
    cells = zip(names, row.tolist(), strict=True)
    yield {_ROW_NAME: name, **dict(cells), "hardness": float(its)}


def _run() -> int:
  if not _DATASET.value:
    raise validation.InputError(
      "--dataset is missing: csv:FILE, npz:FILE or a TFDS name"
    )
  if _OUTPUT.value is not None:
    results.check_output(_OUTPUT.value)
  if _PLOT.value is not None:
    plots.check_plot(_PLOT.value)
  chosen = _ATTRIBUTES.value
  if chosen is not None:
    chosen = [name.strip() for name in chosen]
    if not chosen or not all(chosen):
      raise validation.InputError("--attributes has an empty name")
  attributes, names = data.load_attributes(
    _DATASET.value,
    attributes=chosen,
    split=_SPLIT.value,
    data_dir=_DATA_DIR.value,
  )
  if _OUTPUT.value is not None and {"hardness", _ROW_NAME} & set(names):
    raise validation.InputError(
      "an attribute is called hardness, as a column of --output is: rename it"
    )
  matrix, hard = nce_matrix(attributes), hardness(attributes)
  title = _DATASET.value + (f" {_SPLIT.value}" if _SPLIT.value else "")
  title += f": {tables.count(len(attributes), 'example')}, "
  title += tables.count(len(names), "attribute")
  shown = list(names)
  if len({name.rpartition("/")[0] for name in names}) == 1:
    shown = [name.rpartition("/")[2] for name in names]  # in one TFDS feature
  if _OUTPUT.value is not None:  # first: printing can fail
    results.write_rows(_OUTPUT.value, _rows(names, matrix, hard))
  if _PLOT.value is not None:
    plots.matrix(
      matrix,
      shown,
      title=title,
      label="NCE (nats)",
      path=_PLOT.value,
      side=hard,
      side_label="hardness\n(nats)",
    )
  print(f"{title}. Hardest first.\n")
  print(format_table(attributes, shown, matrix))
  print(
    "\nhardness and nce are in nats: 0.6931 is the hardest there is, nce 0 a "
    "perfect\nsource. left: the part of the hardness that the best source "
    "leaves."
  )
  return 0


def main(argv: list[str]) -> int:
  """Runs the command; returns its exit status.

  Args:
    argv: the program's name and its flags.
  """
  return command.main(argv, FLAGS, __doc__ or "", _run)


script = command.script(main)  # `leep-task-matrix`

if __name__ == "__main__":
  sys.exit(script())
