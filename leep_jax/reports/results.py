"""Rows of results: flat dictionaries, as JSON lines or CSV.

`write_rows` replaces a file atomically: it writes a temporary file and then
renames it. `Rows` adds to a file row by row, each safe once it is appended.
"""

from collections.abc import Iterable, Mapping
import contextlib
import csv
import io
import json
import os
import pathlib
import tempfile
from typing import IO, Any

from etils import epath
import filelock

from leep_jax import validation

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
    raise validation.InputError(
      f"{what} {path} must end in {', '.join(most)} or {last}, not "
      f"{path.suffix!r}"
    )
  if path.is_dir():
    raise validation.InputError(f"{what} {path} is a folder")
  try:
    handle, name = _temporary(path)
    os.close(handle)
    os.unlink(name)
  except OSError as e:
    raise validation.InputError(
      f"cannot write {what} {path}: {e.strerror}"
    ) from e
  return path


def check_output(path: str | os.PathLike[str]) -> None:
  """Finds out before the work whether rows can be written to a path.

  Raises:
    InputError: as `check_path`, with `.jsonl` and `.csv`.
  """
  check_path("output", path, (".jsonl", ".csv"))


def write_rows(path: str | os.PathLike[str], rows: Iterable[Row]) -> None:
  """Writes rows, replacing the file atomically.

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
  # Names of files may hold bytes that are no text.
  replace_file(path, text.getvalue().encode(errors="backslashreplace"))


def replace_file(path: pathlib.Path, content: bytes) -> None:
  """Writes a file atomically: a temporary one, then renamed."""
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


def parse_rows(
  content: bytes, *, name: str
) -> tuple[list[dict[str, Any]], int]:
  """Returns the rows of a file, and how many of its bytes they are.

  A last line that is torn, or that a full disk has left a hole in, is no row.
  A line `{"header": {...}}` is none either: its fields are those of all rows
  after it, up to the next header, that do not state them (committed rows are
  kept so, see `experiments.compact`).

  Args:
    content: of the file.
    name: what error messages call it.

  Raises:
    InputError: if a line before the last is no row.
  """
  size = content.rfind(b"\n") + 1
  rows = []
  header: dict[str, Any] = {}
  lines = content[:size].splitlines()
  for i, line in enumerate(lines):
    try:
      row = json.loads(line)
      if not isinstance(row, dict):
        raise ValueError("it is no object")
    except ValueError as e:
      if i + 1 == len(lines):
        size -= len(line) + 1
        break
      raise validation.InputError(
        f"line {i + 1} of output {name} is no row ({validation.reason(e)}): is "
        "it another file?"
      ) from e
    if row.keys() == {"header"} and isinstance(row["header"], dict):
      header = row["header"]
    else:
      rows.append({**header, **row})
  return rows, size


class CannotWriteError(validation.InputError):
  """Rows cannot be written any more, so a command should stop."""


class NoRows:
  """Rows where no file was asked for."""

  def __init__(self) -> None:
    """Has none yet."""
    self.rows: list[dict[str, Any]] = []

  def append(self, row: Row) -> None:
    """Remembers a row."""
    self.rows.append(dict(row))


class Rows:
  """JSON lines that are added to, also by the same command started again.

  One process has the file at a time. A last line that a crash has torn is cut
  off. Where files cannot be added to (`gs://`, `s3://`), it is written anew.
  """

  def __init__(self, path: str | os.PathLike[str]):
    """Opens a file, or makes it.

    Args:
      path: `.jsonl`, local or of any file system that `etils.epath` knows.

    Raises:
      InputError: if it cannot be written, another process has it, or a line
        before the last is no row.
    """
    self.path = epath.Path(path).expanduser()
    self.rows: list[dict[str, Any]] = []
    self._file: IO[bytes] | None = None
    self._lock: filelock.BaseFileLock | None = None
    self._size = 0
    if self.path.suffix != ".jsonl":
      raise validation.InputError(
        f"output {self.path} must end in .jsonl, not {self.path.suffix!r}"
      )
    try:
      if "://" not in os.fspath(path):
        self.path.parent.mkdir(parents=True, exist_ok=True)
        self._take_lock()
        self._file = open(self.path, "ab")
      self._read(self.path.read_bytes() if self.path.exists() else b"")
    except (OSError, ImportError) as e:  # of the package of an object store
      self.close()
      raise validation.InputError(
        f"cannot write output {self.path}: {validation.reason(e)}"
      ) from e
    except BaseException:
      self.close()
      raise

  def _take_lock(self):
    # A file of its own, beside the rows: taking a lock empties its file. It
    # stays, as who waits for a lock must find the file that another holds.
    lock = self.path.with_name(f".{self.path.name}.lock")
    # Shared by threads: rows may be closed by another than opened them.
    self._lock = filelock.FileLock(os.fspath(lock), thread_local=False)
    try:
      self._lock.acquire(timeout=0)
    except filelock.Timeout as e:
      raise validation.InputError(
        f"output {self.path} is being written by another process"
      ) from e

  def _read(self, content):
    self.rows, self._size = parse_rows(content, name=str(self.path))
    if self._file is not None and self._size < len(content):
      self._file.truncate(self._size)

  def append(self, row: Row) -> None:
    """Adds a row; it is on disk when this returns.

    Raises:
      InputError: if it cannot be written; the file is then as before.
    """
    line = (json.dumps(row, allow_nan=False) + "\n").encode()
    try:
      if self._file is None:
        lines = [json.dumps(r, allow_nan=False) for r in [*self.rows, row]]
        self.path.write_text("\n".join(lines) + "\n")
      else:
        self._file.write(line)
        self._file.flush()
        os.fsync(self._file.fileno())
    except OSError as e:
      self._undo()
      raise CannotWriteError(
        f"cannot write output {self.path}: {e.strerror or e}"
      ) from e
    self._size += len(line)
    self.rows.append(dict(row))

  def _undo(self):
    """Takes back what was written of a row."""
    if self._file is None:
      return
    with contextlib.suppress(OSError):
      self._file.close()  # what is in its buffer would be written later
    with contextlib.suppress(OSError):
      os.truncate(self.path, self._size)
    with contextlib.suppress(OSError):
      self._file = open(self.path, "ab")

  def close(self) -> None:
    """Lets others have the file."""
    if self._file is not None:
      self._file.close()
    if self._lock is not None:
      self._lock.release()

  def __enter__(self) -> "Rows":
    return self

  def __exit__(self, *_: Any) -> None:
    self.close()
