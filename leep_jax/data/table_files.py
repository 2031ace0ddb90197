"""Files with one example a row: csv, tsv, JSON lines, Parquet.

Rows of csv files are read by Python's own csv module, which keeps line ends
inside quoted texts, and numbers and words such as "NA" as they are written;
Parquet by pyarrow.
"""

from collections.abc import Callable, Iterator, Sequence
import contextlib
import csv
import dataclasses
import json
import os
import sys
from typing import Any

from leep_jax import validation

_SEPARATORS = ",;\t|"
# Of a field; by default the csv module refuses texts above 128 KiB.
_LONGEST_FIELD = min(sys.maxsize, (1 << 31) - 1)


@dataclasses.dataclass(frozen=True)
class Table:
  """Columns with names.

  Attributes:
    path: of the file.
    names: of the columns.
    column: returns the values of a column, by its index.
    places: where each row is, for error messages: the number of its last line,
      or of the row.
    unit: what these numbers count: `line` or `row`.

  Example:
    >>> import pathlib, tempfile
    >>> from leep_jax.data import table_files
    >>> with tempfile.TemporaryDirectory() as folder:
    ...   path = pathlib.Path(folder) / "a.csv"
    ...   _ = path.write_text("text,label\\ngood,1\\nbad,0\\n")
    ...   table = table_files.read(str(path))
    >>> table.names, table.column(0), table.places
    (['text', 'label'], ['good', 'bad'], [2, 3])
  """

  path: str
  names: list[str]
  column: Callable[[int], list[Any]]
  places: Sequence[int]
  unit: str

  def __len__(self) -> int:
    return len(self.places)

  def where(self, rows: Sequence[int]) -> str:
    """Returns the places of some rows as text, the first three and a count.

    Args:
      rows: their indices.
    """
    unit = self.unit if len(rows) == 1 else f"{self.unit}s"
    return f"{unit} {validation.some([self.places[i] for i in rows])}"


def read(path: str) -> Table:
  """Opens a table; the suffix of its name says of which format it is.

  Args:
    path: of a file: `.parquet`; `.jsonl`, `.ndjson` or `.json`, an object a
      row; any other is csv, whose first row names the columns, separated by the
      comma, semicolon, tab or | of which that row has most.

  Raises:
    InputError: if it cannot be read, or has no rows.

  Example:
    >>> import pathlib, tempfile
    >>> from leep_jax.data import table_files
    >>> with tempfile.TemporaryDirectory() as folder:
    ...   path = pathlib.Path(folder) / "a.jsonl"
    ...   _ = path.write_text('{"text": "good", "label": 1}\\n')
    ...   table_files.read(str(path)).column(1)
    [1]
  """
  validation.check_file(path)
  suffix = os.path.splitext(path)[1].lower()
  table = _FORMATS.get(suffix, _read_csv)(path)
  if not len(table):
    raise validation.InputError(
      f"{path} has no examples: no rows below line 1"
      if table.unit == "line" and suffix not in _FORMATS
      else f"{path} has no examples"
    )
  return table


def _read_parquet(path):
  try:
    import pyarrow
    from pyarrow import parquet
  except ImportError as e:
    raise validation.InputError(
      f"{path} is read by pyarrow, which is not there "
      f"({validation.reason(e)}): pip install pyarrow"
    ) from e

  try:
    file = parquet.ParquetFile(path)
    names, count = list(file.schema_arrow.names), file.metadata.num_rows
  except (OSError, pyarrow.ArrowException) as e:
    raise validation.InputError(
      f"cannot read {path} as Parquet ({validation.reason(e)}): is the "
      "download cut short?"
    ) from e

  def column(index):
    # Others may be large, such as images that are not used.
    read = parquet.read_table(path, columns=[names[index]])
    return read.column(0).to_pylist()

  return Table(path, names, column, range(1, count + 1), "row")


def _refuse_other_json(path, text):
  """Refuses one object that is no row: of COCO, or with columns as keys."""
  try:
    whole = json.loads(text) if text.lstrip()[:1] == "{" else None
  except ValueError:
    return
  if not isinstance(whole, dict):
    return
  if {"images", "annotations"} <= set(whole):
    raise validation.InputError(
      f"{path} has boxes in COCO's form: write coco:{path}"
    )
  values = list(whole.values())
  if values and all(isinstance(value, dict | list) for value in values):
    raise validation.InputError(
      f"{path} is one object with a list for each column, not an object a row: "
      'write it again, with pandas by to_json(orient="records")'
    )


def _read_json(path):
  """JSON lines, or one list of objects."""
  try:
    with open(path, encoding="utf-8-sig") as file:
      text = file.read()
  except (OSError, UnicodeDecodeError) as e:
    raise validation.InputError(
      f"cannot read {path} as UTF-8 ({validation.reason(e)})"
    ) from e
  _refuse_other_json(path, text)
  rows: list[tuple[int, dict[str, Any]]] = []
  bad = []
  if text.lstrip().startswith("["):
    try:
      found = json.loads(text)
    except ValueError as e:
      raise validation.InputError(
        f"cannot read {path} as JSON ({validation.reason(e)})"
      ) from e
    rows = list(enumerate(found, 1))
    bad = [number for number, row in rows if not isinstance(row, dict)]
    unit = "object"
  else:
    unit = "line"
    for number, line in enumerate(text.split("\n"), 1):
      if not line.strip():
        continue
      try:
        row = json.loads(line)
      except ValueError:
        row = None
      rows.append((number, row))
      if not isinstance(row, dict):
        bad.append(number)
  if bad:
    raise validation.InputError(
      f"{len(bad):,} of {len(rows):,} {unit}s of {path} are no JSON object: "
      f"{unit} {validation.some(bad)}"
    )
  names = list(dict.fromkeys(name for _, row in rows for name in row))
  return Table(
    path,
    names,
    lambda index: [row.get(names[index]) for _, row in rows],
    [number for number, _ in rows],
    unit,
  )


def _read_csv(path):
  try:
    # Excel writes a byte order mark, which would be part of the first name.
    with _long_fields(), open(path, encoding="utf-8-sig", newline="") as file:
      head = file.readline()
      separator = max(_SEPARATORS, key=head.count)
      file.seek(0)
      try:
        rows = list(_rows(path, file, separator, csv.QUOTE_MINIMAL))
      except (csv.Error, validation.InputError):
        if separator != "\t":
          raise
        # Many tsv files have no quoting: a quote in them is a character.
        file.seek(0)
        rows = list(_rows(path, file, separator, csv.QUOTE_NONE))
  except UnicodeDecodeError as e:
    with open(path, "rb") as binary:
      packed = binary.read(2) == b"\x1f\x8b"
    advice = "it is packed by gzip, unpack it" if packed else "save it so"
    raise validation.InputError(
      f"cannot read {path} as UTF-8 ({validation.reason(e)}): {advice}"
    ) from e
  except (OSError, csv.Error) as e:
    raise validation.InputError(
      f"cannot read {path} as a table ({validation.reason(e)}): is a quote not "
      "closed, or not doubled inside a quoted text?"
    ) from e
  (_, names), *rows = rows
  return Table(
    path,
    names,
    lambda index: [row[index] for _, row in rows],
    [line for line, _ in rows],
    "line",
  )


def _rows(path, file, separator, quoting) -> Iterator[tuple[int, list[str]]]:
  """Yields the rows, each with the number of its last line."""
  # Strict: a quote that is not closed would hide the lines after it.
  reader = csv.reader(file, delimiter=separator, quoting=quoting, strict=True)
  count, total, bad = 0, 0, []
  for row in reader:
    if not row:
      continue
    if not count:
      count, row = len(row), [name.strip() for name in row]
    total += 1
    if len(row) != count:
      bad.append((reader.line_num, len(row)))
    yield reader.line_num, row
  if not count:
    raise validation.InputError(f"{path} is empty")
  if bad:
    shown = validation.some(f"line {line} has {n}" for line, n in bad)
    raise validation.InputError(
      f"{len(bad):,} of {total - 1:,} rows of {path} have another number of "
      f"values than line 1 has names, {count}: {shown}; is a text with "
      f"{separator!r} inside not quoted?"
    )


@contextlib.contextmanager
def _long_fields() -> Iterator[None]:
  """Allows long fields; the csv module has one limit for the process."""
  before = csv.field_size_limit(_LONGEST_FIELD)
  try:
    yield
  finally:
    csv.field_size_limit(before)


_FORMATS: dict[str, Callable[[str], Table]] = {
  ".parquet": _read_parquet,
  ".jsonl": _read_json,
  ".ndjson": _read_json,
  ".json": _read_json,
}
SUFFIXES = (".csv", ".tsv", *_FORMATS)
