"""Rows of results: flat dictionaries, as JSON lines or CSV.

A file appears complete or not at all: it is written beside its name and then
renamed.
"""

from collections.abc import Iterable, Mapping
import csv
import io
import json
import os
import pathlib
import tempfile
from typing import Any

from leep_jax import checks

Row = Mapping[str, Any]


def _temporary(path: pathlib.Path) -> tuple[int, str]:
  return tempfile.mkstemp(prefix=f".{path.name}-", dir=path.parent)


def check_output(path: str | os.PathLike[str]) -> None:
  """Finds out before the work whether rows can be written to a path.

  Raises:
    InputError: if the suffix is neither `.jsonl` nor `.csv`, or the file
      cannot be made or replaced.
  """
  path = pathlib.Path(path).expanduser()
  if path.suffix.lower() not in (".jsonl", ".csv"):
    raise checks.InputError(
      f"output {path} must end in .jsonl or .csv, not {path.suffix!r}"
    )
  if path.is_dir():
    raise checks.InputError(f"output {path} is a folder")
  try:
    handle, name = _temporary(path)
    os.close(handle)
    os.unlink(name)
  except OSError as e:
    raise checks.InputError(f"cannot write output {path}: {e.strerror}") from e


def write_rows(path: str | os.PathLike[str], rows: Iterable[Row]) -> None:
  """Writes rows, replacing the file at once.

  Args:
    path: `.jsonl`, one object per line, or `.csv`, with the union of the
      rows' keys as its columns; None is `null` or empty.
    rows: flat dictionaries.

  Raises:
    InputError: as `check_output`.
  """
  check_output(path)
  path = pathlib.Path(path).expanduser()
  rows = list(rows)
  text = io.StringIO(newline="")
  if path.suffix.lower() == ".csv":
    columns = list(dict.fromkeys(key for row in rows for key in row))
    writer = csv.DictWriter(text, columns, lineterminator="\n")
    writer.writeheader()
    writer.writerows(rows)
  else:
    for row in rows:
      text.write(json.dumps(row, allow_nan=False) + "\n")
  handle, name = _temporary(path)
  try:
    with open(handle, "w", encoding="utf-8", newline="") as file:
      file.write(text.getvalue())
      file.flush()
      os.fsync(file.fileno())
    mask = os.umask(0)
    os.umask(mask)
    os.chmod(name, 0o666 & ~mask)  # mkstemp's files are private
    os.replace(name, path)
  except BaseException:
    os.unlink(name)
    raise
