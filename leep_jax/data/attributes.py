"""Binary attributes of examples, read without their images."""

from collections.abc import Sequence
import csv
import os

import numpy as np
from numpy import typing as npt

from leep_jax import validation
from leep_jax.data import tfds as tfds_lib


def load_attributes(
  name: str,
  *,
  attributes: Sequence[str] | None = None,
  split: str | None = None,
  data_dir: str | None = None,
) -> tuple[np.ndarray, tuple[str, ...]]:
  """Reads binary attributes of examples, without their images.

  Args:
    name: `csv:FILE` (a row of names, then rows of 0 and 1, or of -1 and 1 as
      in CelebA's list), `npz:FILE` (an array `attributes` `[n, A]` of 0 and 1,
      optionally `attribute_names` `[A]`), or the name of a TFDS data set.
    attributes: names of those to read, in order; nested TFDS features are
      written `attributes/Smiling`. By default, all columns of a file that have
      only two values, or all boolean or two-class TFDS features.
    split: TFDS split with slicing (default `train`).
    data_dir: where TFDS data sets are.

  Returns:
    `[n, A]` uint8, each 0 or 1, and the A names.

  Raises:
    InputError: if there is no such data set, split or attribute, no attribute
      or no example at all, or a value that is neither 0 nor 1.

  Example:
    >>> import pathlib, tempfile
    >>> import leep_jax
    >>> from leep_jax import data
    >>> with tempfile.TemporaryDirectory() as folder:
    ...   path = pathlib.Path(folder) / "list.csv"
    ...   _ = path.write_text("smiling,hat\\n1,-1\\n-1,-1\\n1,1\\n")
    ...   values, names = data.load_attributes(f"csv:{path}")
    >>> names, values.tolist()
    (('smiling', 'hat'), [[1, 0], [0, 0], [1, 1]])
  """
  kind, _, path = name.partition(":")
  if attributes is not None:
    attributes = tuple(dict.fromkeys(attributes))
    if not attributes:
      raise validation.InputError(
        "attributes is empty: leave it out to read all"
      )
  if name == "digits" or kind == "folder":  # of `kinds.KINDS`
    raise validation.InputError(
      f"{name} has one label an example, no attributes: they come from "
      "csv:FILE, npz:FILE or a TFDS data set"
    )
  if kind in _FILES:
    if data_dir is not None:
      raise validation.InputError(
        f"data_dir is for TFDS data sets, not for {name}"
      )
    if split not in (None, "all"):
      raise validation.InputError(
        f"{name} has no splits, but split is {split!r}"
      )
    read, _ = _FILES[kind]
    values, names = read(os.path.expanduser(path), attributes)
  else:
    values, names = _tfds_attributes(
      name, split or "train", data_dir, attributes
    )
  return binary(values, names=names), tuple(names)


def binary(
  values: npt.ArrayLike, *, names: Sequence[str] | None = None
) -> np.ndarray:
  """Returns attributes as `[n, A]` uint8, each 0 or 1.

  Args:
    values: `[n, A]` booleans or numbers.
    names: what error messages call the A attributes; by default, their index.

  Raises:
    InputError: if there are no examples or no attributes, or a value is
      neither 0 nor 1.

  Example:
    >>> import numpy as np
    >>> from leep_jax import data
    >>> data.binary(np.array([[True, False], [False, False]]))
    array([[1, 0],
           [0, 0]], dtype=uint8)
  """
  array = validation.as_array("attributes", values)
  if array.ndim != 2:
    raise validation.InputError(
      f"attributes have shape {array.shape}, not [n, A]: one row an example, "
      "one column an attribute"
    )
  if not array.size:
    what = "attributes" if len(array) else "examples"
    raise validation.InputError(
      f"there are no {what}: the shape is {array.shape}"
    )
  if array.dtype.kind not in "biuf":
    raise validation.InputError(f"attributes are {array.dtype}, not 0 and 1")
  odd = (array != 0) & (array != 1)
  if odd.any():
    row, column = map(int, np.unravel_index(odd.argmax(), odd.shape))
    value = float(array[row, column])
    cause = "has it more than two values?"
    if value == -1:
      cause = "does -1 mean no? Then pass attributes > 0"
    elif np.isnan(value):
      cause = "is it missing?"
    raise validation.InputError(
      f"attribute {column if names is None else names[column]} of example "
      f"{row} is {value:g}, not 0 or 1: {cause}"
    )
  return array.astype(np.uint8)


def _known(names, chosen):
  """Returns the chosen names, by default all; refuses unknown ones."""
  for name in names if chosen is None else chosen:
    if name not in names:
      inside = [path for path in names if path.endswith(f"/{name}")]
      raise validation.unknown("attribute", name, inside or names)
  return names if chosen is None else chosen


def _unique(path, names):
  for name in names:
    if names.count(name) > 1:
      raise validation.InputError(
        f"{path} names two attributes {name!r}: is the row of names missing?"
      )


def _npz_attributes(path, chosen):

  def choose(names):
    if "attributes" not in names:
      raise validation.InputError(
        f"{path} has no array 'attributes'; it has "
        f"{validation.some(names) or 'none'}"
      )
    return [n for n in ("attributes", "attribute_names") if n in names]

  arrays = validation.read_npz(path, choose=choose)
  values = arrays["attributes"]
  count = values.shape[1] if values.ndim == 2 else 0
  names = [f"attribute_{i}" for i in range(count)]
  if "attribute_names" in arrays:
    names = arrays["attribute_names"].astype(str).ravel().tolist()
    if count and len(names) != count:
      raise validation.InputError(
        f"{path} has {count} attributes, but {len(names)} attribute_names"
      )
    _unique(path, names)
  if not count:  # of a shape that is refused later
    return values, names
  chosen = _known(names, chosen)
  return values[:, [names.index(name) for name in chosen]], chosen


# Codes of the cells of a CSV file. A column has 0 and 1, or -1 and 1: -1 has a
# code of its own, so that a column with all three is noticed.
_CELLS = {
  "0": 0, "0.0": 0, "false": 0, "1": 1, "1.0": 1, "true": 1, "-1": 2, "-1.0": 2,
}  # fmt: skip
_NO_CELL = 3


def _csv_attributes(path, chosen):
  header, table, odd = _read_csv(path)
  if all(name.lower() in _CELLS for name in header):
    raise validation.InputError(
      f"line 1 of {path} has {validation.some(header)}, not names of "
      "attributes: is the row of names missing? Write one above it"
    )
  # In which columns each code occurs.
  zero, _, minus, other = ((table == code).any(axis=0) for code in range(4))
  usable = ~other & ~(zero & minus)
  if chosen is None:
    names = [n for n, good in zip(header, usable, strict=True) if good and n]
    if not names:
      raise validation.InputError(
        f"{path} has no column of 0 and 1, or -1 and 1, of "
        f"{validation.some(header)}: are values written otherwise, such as yes "
        "and no, or is there something else than commas between them?"
      )
    # A column without a name is an index, as pandas writes it.
    left_out = [repr(name) for name in header if name and name not in names]
    if left_out:
      were = "column was" if len(left_out) == 1 else "columns were"
      validation.note(
        f"{len(left_out)} {were} left out of {path}, not of 0 and 1, or -1 and "
        f"1, in all rows: {validation.some(left_out)}"
      )
  else:
    names = _known([name for name in header if name], chosen)
  columns = [header.index(name) for name in names]
  for name, column in zip(names, columns, strict=True):
    if other[column]:
      line, cell = odd[column]
      cause = "has it more than two values" if cell.strip() else "is it missing"
      raise validation.InputError(
        f"{name} in line {line} of {path} is {cell!r}, not 0 or 1: {cause}?"
      )
    if not usable[column]:
      raise validation.InputError(
        f"{name} of {path} is both 0 and -1, not 0 and 1 or -1 and 1: does one "
        "of them mark what is unknown?"
      )
  return table[:, columns] == 1, names


def _read_csv(path):
  """Reads a CSV file as codes: text would take far more memory.

  Returns:
    The header; the codes of the cells, `[n, columns]`; and for each column, if
    it has one, the first cell without a code, with its line number.
  """
  validation.check_file(path)
  codes = bytearray()
  odd: dict[int, tuple[int, str]] = {}
  try:
    # Excel writes a byte order mark, which would be part of the first name.
    with open(path, encoding="utf-8-sig", newline="") as file:
      reader = csv.reader(file)
      header = [name.strip() for name in next(reader, [])]
      _unique(path, [name for name in header if name])
      for row in reader:
        if not row:
          continue
        if len(row) != len(header):
          raise validation.InputError(
            f"line {reader.line_num} of {path} has {len(row)} values, but "
            f"there are {len(header)} names in line 1"
          )
        new = bytes(_CELLS.get(c.strip().lower(), _NO_CELL) for c in row)
        if _NO_CELL in new:
          for i, code in enumerate(new):
            if code == _NO_CELL:
              # The error shows the first of each column.
              odd.setdefault(i, (reader.line_num, row[i]))
        codes += new
  except (OSError, UnicodeDecodeError, csv.Error) as e:
    raise validation.InputError(
      f"cannot read {path} as CSV ({validation.reason(e)})"
    ) from e
  if not codes:
    raise validation.InputError(f"{path} has no examples: no rows below line 1")
  table = np.frombuffer(codes, np.uint8).reshape(-1, len(header))
  return header, table, odd


def _tfds_attributes(name, split, data_dir, chosen):
  forms = {kind: form for kind, (_, form) in _FILES.items()}
  builder = tfds_lib.open_builder(name, data_dir, forms)
  leaves = tfds_lib.leaves(builder)
  if chosen is None:
    chosen = [path for path, f in leaves.items() if tfds_lib.is_binary(f)]
    if not chosen:
      raise validation.InputError(
        f"TFDS data set {name!r} has no boolean or two-class features; it has "
        f"{validation.some(leaves)}"
      )
  for path in _known(list(leaves), chosen):
    if not tfds_lib.is_scalar(leaves[path], "biu"):
      what = " ".join(repr(leaves[path]).split())
      raise validation.InputError(
        f"feature {path} of TFDS data set {name!r} is {what}, not one boolean "
        "or integer an example"
      )
  rows = list(tfds_lib.read_features(builder, name, split, chosen))
  if not rows:
    raise validation.InputError(f"data set {name} ({split}) is empty")
  return np.asarray(rows), chosen


# Kinds of files of attributes: how each is read, and how its names are written.
_FILES = {
  "csv": (_csv_attributes, "csv:FILE"),
  "npz": (_npz_attributes, "npz:FILE"),
}
