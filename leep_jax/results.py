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


def check_path(
  what: str, path: str | os.PathLike[str], suffixes: tuple[str, ...]
) -> pathlib.Path:
  """Finds out before the work whether a file can be written.

  Args:
    what: what error messages call the file.
    path: where it is to be; `~` is the home folder.
    suffixes: those it may have.

  Raises:
    InputError: if the suffix is another, or the file cannot be made or
      replaced.
  """
  path = pathlib.Path(path).expanduser()
  if path.suffix.lower() not in suffixes:
    *most, last = suffixes
    raise checks.InputError(
      f"{what} {path} must end in {', '.join(most)} or {last}, not "
      f"{path.suffix!r}"
    )
  if path.is_dir():
    raise checks.InputError(f"{what} {path} is a folder")
  try:
    handle, name = _temporary(path)
    os.close(handle)
    os.unlink(name)
  except OSError as e:
    raise checks.InputError(f"cannot write {what} {path}: {e.strerror}") from e
  return path


def check_output(path: str | os.PathLike[str]) -> None:
  """Finds out before the work whether rows can be written to a path.

  Raises:
    InputError: as `check_path`, with `.jsonl` and `.csv`.
  """
  check_path("output", path, (".jsonl", ".csv"))


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
  replace_file(path, text.getvalue().encode())


def replace_file(path: pathlib.Path, content: bytes) -> None:
  """Writes a file beside its name and then renames it, so at once."""
  handle, name = _temporary(path)
  try:
    with open(handle, "wb") as file:
      file.write(content)
      file.flush()
      os.fsync(file.fileno())
    mask = os.umask(0)
    os.umask(mask)
    os.chmod(name, 0o666 & ~mask)  # mkstemp's files are private
    os.replace(name, path)
  except BaseException:
    os.unlink(name)
    raise
