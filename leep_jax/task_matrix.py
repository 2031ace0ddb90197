r"""Transfer between binary tasks on the same examples, without a model.

    python -m leep_jax.task_matrix --dataset=csv:attributes.csv
    python -m leep_jax.task_matrix --dataset=celeb_a --data_dir=DIR \
      --output=matrix.csv --plot=matrix.png

Each attribute is a task. For every pair of attributes, NCE estimates from
labels alone how well the first transfers to the second. The hardness of a task
is its entropy: minus the NCE of a source that knows nothing. Both are in nats.

Prints the attributes, hardest first, each with its best source. Exit status 0;
2 for an error in the input (one line on standard error), 130 when interrupted.

Reference: Tran, Nguyen & Hassner, "Transferability and Hardness of Supervised
Classification Tasks", ICCV 2019.
"""

from collections.abc import Sequence
import sys

from absl import flags
import numpy as np
import numpy.typing as npt

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

_NAME = 21  # columns of a name, so that tables have at most 80
# Numbers of a block that is multiplied in float32. It has at most so many
# examples, and float32 represents every integer up to 2^24.
_BLOCK = 1 << 22
_ROW_NAME = "source (row) to target (column)"


def nce_matrix(attributes: npt.ArrayLike) -> np.ndarray:
  """Computes NCE for all pairs of attributes, in nats; higher transfers better.

  Row a, column b is -H(b given a) = `nce(attributes[:, a], attributes[:, b])`,
  for transfer from the source task a to the target task b. It is at most 0, and
  0 on the diagonal.

  Args:
    attributes: `[n, A]`, each 0 or 1.

  Returns:
    `[A, A]` float64.

  Raises:
    InputError: if there are no examples or attributes, or values are neither
      0 nor 1.

  Example:
    >>> from leep_jax import task_matrix
    >>> attributes = [[0, 0], [0, 0], [1, 0], [1, 1]]
    >>> task_matrix.nce_matrix(attributes).round(4).tolist()
    [[0.0, -0.3466], [-0.4774, 0.0]]

  Reference: Tran, Nguyen & Hassner, "Transferability and Hardness of
  Supervised Classification Tasks", ICCV 2019.
  """
  values = data.binary(attributes)
  both = _co_occurrences(values)
  ones = np.diagonal(both)
  sources, targets = ones[:, None], ones[None, :]
  # The four cells of the table of two attributes: both are 1, the source alone,
  # the target alone, and neither.
  total = _log_likelihood(both, sources)
  total += _log_likelihood(sources - both, sources)
  zeros = len(values) - sources
  total += _log_likelihood(targets - both, zeros)
  total += _log_likelihood(zeros - (targets - both), zeros)
  return total / len(values)


def hardness(attributes: npt.ArrayLike) -> np.ndarray:
  """Computes the entropy of each attribute, in nats; higher is harder.

  It is `task_hardness` of each column, from 0 to log 2: minus the NCE of a
  source that gives every example the same label.

  Args:
    attributes: `[n, A]`, each 0 or 1.

  Returns:
    `[A]` float64.

  Raises:
    InputError: as `nce_matrix`.

  Example:
    >>> from leep_jax import task_matrix
    >>> task_matrix.hardness([[0, 0], [0, 0], [1, 0], [1, 1]]).round(4).tolist()
    [0.6931, 0.5623]

  Reference: Tran, Nguyen & Hassner, "Transferability and Hardness of
  Supervised Classification Tasks", ICCV 2019, section 5.
  """
  values = data.binary(attributes)
  count = len(values)
  ones = values.sum(axis=0, dtype=np.int64)
  total = _log_likelihood(ones, count) + _log_likelihood(count - ones, count)
  # `abs` instead of a minus, which would print a hardness of 0 as -0.
  found: np.ndarray = np.abs(total / count)
  return found


def _co_occurrences(attributes: np.ndarray) -> np.ndarray:
  """The number of examples with both of two attributes, `[A, A]` int64."""
  count, width = attributes.shape
  rows = max(1, _BLOCK // width)
  both = np.zeros((width, width), np.int64)
  for start in range(0, count, rows):
    block = attributes[start : start + rows].astype(np.float32)
    both += (block.T @ block).astype(np.int64)
  return both


def _log_likelihood(cells: np.ndarray, mass: np.ndarray | int) -> np.ndarray:
  """cells log(cells / mass), where 0 log 0 is 0."""
  share = np.ones(cells.shape)
  np.divide(cells, mass, out=share, where=cells > 0)
  found: np.ndarray = cells * np.log(share)
  return found


def format_table(
  attributes: np.ndarray, names: Sequence[str], matrix: np.ndarray
) -> str:
  """Formats attributes, hardest first, in at most 80 columns.

  Args:
    attributes: `[n, A]`, each 0 or 1.
    names: of the A attributes.
    matrix: their `nce_matrix`.

  Returns:
    Lines without a final newline. The columns are the fraction of examples that
    have the attribute, its hardness, the other attribute that transfers best to
    it, the NCE of that transfer, and which part of the hardness is left.

  Example:
    >>> import numpy as np
    >>> from leep_jax import task_matrix
    >>> attributes = np.array([[0, 0], [0, 0], [1, 0], [1, 1]])
    >>> matrix = task_matrix.nce_matrix(attributes)
    >>> print(task_matrix.format_table(attributes, ["hat", "smile"], matrix))
    attribute  frequency  hardness  best source      nce  left
    hat           0.5000    0.6931  smile        -0.4774   69%
    smile         0.2500    0.5623  hat          -0.3466   62%
  """
  hard = hardness(attributes)
  # An attribute is a perfect source of itself, so the diagonal is left out.
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
    else:  # a constant attribute, or no other one
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
  """The rows of `--output`, one for each source task."""
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
    # All are in one TFDS feature, whose name is left out of tables.
    shown = [name.rpartition("/")[2] for name in names]
  # Files come first: whoever reads the table may close the pipe.
  if _OUTPUT.value is not None:
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

  Example:
    >>> import pathlib, tempfile
    >>> from leep_jax import task_matrix
    >>> with tempfile.TemporaryDirectory() as folder:
    ...   file = pathlib.Path(folder) / "attributes.csv"
    ...   _ = file.write_text("hat,smile\\n0,0\\n0,0\\n1,0\\n1,1\\n")
    ...   task_matrix.main(["task_matrix", f"--dataset=csv:{file}"])
    csv:...: 4 examples, 2 attributes. Hardest first.
    ...
    0
  """
  return command.main(argv, FLAGS, __doc__ or "", _run)


script = command.script(main)  # `leep-task-matrix`

if __name__ == "__main__":
  sys.exit(script())
