"""Rows of results: flat dictionaries, as JSON lines or CSV.

`write_rows` replaces a file atomically: it writes a temporary file and then
renames it. `Rows` appends to a file row by row, here or in an object store; a
row is on disk when `append` returns. `read_folder` reads what many processes
have written so.
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

import filelock

from leep_jax import validation
from leep_jax.reports import row_parts

Row = Mapping[str, Any]


def _temporary(path: pathlib.Path) -> tuple[int, str]:
  # In the same folder, as a file cannot be moved atomically between file
  # systems.
  return tempfile.mkstemp(prefix=f".{path.name}-", dir=path.parent)


def check_path(
  what: str, path: str | os.PathLike[str], suffixes: tuple[str, ...]
) -> pathlib.Path:
  """Checks that a file can be written, before the work that it is for.

  Args:
    what: what error messages call the file.
    path: of the file; `~` is the home folder.
    suffixes: the suffixes it may have.

  Returns:
    The path, with the home folder in place of `~`.

  Raises:
    InputError: if the suffix is not among them, or the file cannot be made or
      replaced.

  Example:
    >>> from leep_jax.reports import results
    >>> results.check_path("plot", "ranking.jpg", (".png", ".pdf"))
    Traceback (most recent call last):
      ...
    leep_jax...InputError: plot ranking.jpg must end in .png or .pdf, not '.jpg'
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
  # Only writing shows whether a file can be written: permissions say nothing of
  # a full disk or a read-only file system.
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
  """Checks that rows can be written to a path, before they are computed.

  Args:
    path: of the file, `.jsonl` or `.csv`.

  Raises:
    InputError: as `check_path`.

  Example:
    >>> from leep_jax.reports import results
    >>> results.check_output("rows.txt")
    Traceback (most recent call last):
      ...
    leep_jax...InputError: output rows.txt must end in .jsonl or .csv, not ...
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

  Example:
    >>> import pathlib, tempfile
    >>> from leep_jax.reports import results
    >>> with tempfile.TemporaryDirectory() as folder:
    ...   path = pathlib.Path(folder) / "rows.csv"
    ...   results.write_rows(
    ...     path, [{"model": "a", "leep": -1.5}, {"model": "b"}])
    ...   print(path.read_text())
    model,leep
    a,-1.5
    b,
    <BLANKLINE>
  """
  check_output(path)
  path = pathlib.Path(path).expanduser()
  rows = list(rows)
  text = io.StringIO(newline="")
  if path.suffix.lower() == ".csv":
    columns = list(dict.fromkeys(key for row in rows for key in row))
    # By default, the module ends lines by \r\n.
    writer = csv.DictWriter(text, columns, lineterminator="\n")
    writer.writeheader()
    writer.writerows(rows)
  else:
    for row in rows:
      text.write(json.dumps(row, allow_nan=False) + "\n")
  # Names of files may contain bytes that are not UTF-8.
  replace_file(path, text.getvalue().encode(errors="backslashreplace"))


def replace_file(path: pathlib.Path, content: bytes) -> None:
  """Writes a file atomically: a reader sees the old content or the new one.

  Args:
    path: of the file.
    content: to write.

  Example:
    >>> import pathlib, tempfile
    >>> from leep_jax.reports import results
    >>> with tempfile.TemporaryDirectory() as folder:
    ...   path = pathlib.Path(folder) / "notes.txt"
    ...   results.replace_file(path, b"one")
    ...   results.replace_file(path, b"two")
    ...   print(path.read_text(), len(list(path.parent.iterdir())))
    two 1
  """
  handle, name = _temporary(path)
  try:
    with open(handle, "wb") as file:
      file.write(content)
      file.flush()
      # On disk before it is renamed: after a crash, an empty file might
      # otherwise have taken the place of the old one.
      os.fsync(file.fileno())
    # The mask can only be read by setting it.
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
  """Returns the rows of a file, and the number of its bytes they take.

  A last line that was not written completely is left out: it has no newline, or
  it is not valid JSON, as a full disk may leave zero bytes. A line `{"header":
  {...}}` is not a row: its fields are added to all rows after it, up to the
  next header, that do not have them (committed rows are stored in this form,
  see `experiments.compact`).

  Args:
    content: of the file.
    name: what error messages call it.

  Returns:
    The rows, and the size in bytes of the part of the file that is valid.

  Raises:
    InputError: if a line before the last is not a row.

  Example:
    >>> from leep_jax.reports import results
    >>> content = b'{"header": {"model": "a"}}\\n{"leep": -1}\\n{"leep": -'
    >>> rows, size = results.parse_rows(content, name="rows.jsonl")
    >>> rows, content[size:]
    ([{'model': 'a', 'leep': -1}], b'{"leep": -')
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
      # As after a crash in the middle of a write; the row is computed again.
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
  """Rows cannot be written any more, so a command should stop.

  Example:
    >>> import leep_jax
    >>> from leep_jax.reports import results
    >>> issubclass(results.CannotWriteError, leep_jax.InputError)
    True
  """


class NoRows:
  """Rows in memory alone, with the interface of `Rows`.

  Example:
    >>> from leep_jax.reports import results
    >>> rows = results.NoRows()
    >>> rows.append({"model": "a"})
    >>> rows.rows
    [{'model': 'a'}]
  """

  def __init__(self) -> None:
    """Starts without rows."""
    self.rows: list[dict[str, Any]] = []

  def append(self, row: Row) -> None:
    """Adds a row."""
    self.rows.append(dict(row))


def read_folder(
  folder: str | os.PathLike[str], *, prefix: str = "rows-"
) -> list[dict[str, Any]]:
  """Returns the rows of all files of a folder, whichever processes write them.

  Args:
    folder: local, or with `://` in a store that fsspec knows; it need not
      exist.
    prefix: with which the names of the files begin; they end in `.jsonl`.

  Raises:
    InputError: if it cannot be read, or a line before the last of a file is not
      a row.

  Example:
    >>> from leep_jax.reports import results
    >>> for worker in range(2):
    ...   with results.Rows(f"memory://sweep/rows-{worker}-of-2.jsonl") as rows:
    ...     rows.append({"worker": worker})
    >>> results.read_folder("memory://sweep")
    [{'worker': 0}, {'worker': 1}]
  """
  try:
    if row_parts.is_store(folder):
      contents = row_parts.read(folder, prefix=prefix)
    else:
      files = pathlib.Path(folder).expanduser().glob(f"{prefix}*.jsonl")
      contents = {str(file): file.read_bytes() for file in sorted(files)}
  except OSError as e:
    raise validation.InputError(
      f"cannot read {folder}: {validation.reason(e)}"
    ) from e
  rows = []
  for name, content in contents.items():
    rows += parse_rows(content, name=name)[0]
  return rows


class GrowingFolder:
  """Rows of a local folder of files to which processes append.

  Example:
    >>> import tempfile
    >>> from leep_jax.reports import results
    >>> with tempfile.TemporaryDirectory() as folder:
    ...   growing = results.GrowingFolder(folder)
    ...   with results.Rows(f"{folder}/rows-a.jsonl") as rows:
    ...     rows.append({"model": "a"})
    ...     before = len(growing.read())
    ...     rows.append({"model": "b"})
    ...   print(before, growing.read())
    1 [{'model': 'a'}, {'model': 'b'}]
  """

  def __init__(self, folder: str | os.PathLike[str], *, prefix: str = "rows-"):
    """Reads nothing yet.

    Args:
      folder: as of `read_folder`.
      prefix: as of `read_folder`.
    """
    self._folder = pathlib.Path(folder).expanduser()
    self._prefix = prefix
    self._sizes: dict[pathlib.Path, int] = {}
    self._rows: list[dict[str, Any]] = []

  def read(self) -> list[dict[str, Any]]:
    """Returns all rows, of which it reads those that are new.

    Raises:
      InputError: as `read_folder`.
    """
    try:
      for path in sorted(self._folder.glob(f"{self._prefix}*.jsonl")):
        size = self._sizes.get(path, 0)
        with open(path, "rb") as file:
          file.seek(size)
          rows, added = parse_rows(file.read(), name=str(path))
        self._sizes[path] = size + added
        self._rows += rows
    except OSError as e:
      raise validation.InputError(
        f"cannot read {self._folder}: {validation.reason(e)}"
      ) from e
    return self._rows


class Rows:
  """A file of JSON lines to which rows are appended, also in a later run.

  Only one process may open a local file at a time. If a crash has left an
  incomplete last line, opening the file removes it. In an object store (such as
  `gs://`, `s3://`) the rows are in several files, see `row_parts`, and several
  processes may add to them: each reads once what there is.

  Attributes:
    path: of the file.
    rows: all rows of the file.

  Example:
    >>> import pathlib, tempfile
    >>> from leep_jax.reports import results
    >>> with tempfile.TemporaryDirectory() as folder:
    ...   path = pathlib.Path(folder) / "rows.jsonl"
    ...   with results.Rows(path) as rows:
    ...     rows.append({"model": "a", "leep": -1.5})
    ...   with results.Rows(path) as rows:  # the command was started again
    ...     print(rows.rows)
    [{'model': 'a', 'leep': -1.5}]
  """

  def __init__(self, path: str | os.PathLike[str]):
    """Opens a file, or creates it.

    Args:
      path: `.jsonl`, local or with `://` in a store that fsspec knows.

    Raises:
      InputError: if it cannot be written, another process has it open, or a
        line before the last is not a row.
    """
    self.path = os.fspath(path)
    self.rows: list[dict[str, Any]] = []
    self._file: IO[bytes] | None = None
    self._lock: filelock.BaseFileLock | None = None
    self._parts: row_parts.Parts | None = None
    self._size = 0
    if not self.path.endswith(".jsonl"):
      suffix = pathlib.PurePath(self.path).suffix
      raise validation.InputError(
        f"output {self.path} must end in .jsonl, not {suffix!r}"
      )
    try:
      if row_parts.is_store(path):
        self._open_parts()
      else:
        self._open_file()
    except OSError as e:
      self.close()
      raise validation.InputError(
        f"cannot write output {self.path}: {validation.reason(e)}"
      ) from e
    except BaseException:
      self.close()
      raise

  def _open_parts(self):
    self._parts = row_parts.Parts(self.path)
    row_parts.check(self.path)
    folder, _, name = self.path.rpartition("/")
    # Those of an earlier run, and a whole file of this name.
    stem = name.removesuffix(".jsonl")
    self.rows = read_folder(folder, prefix=f"{stem}.")

  def _open_file(self):
    path = pathlib.Path(self.path).expanduser()
    self.path = os.fspath(path)
    path.parent.mkdir(parents=True, exist_ok=True)
    self._take_lock(path)
    self._file = open(path, "ab")
    content = path.read_bytes()
    self.rows, self._size = parse_rows(content, name=self.path)
    if self._size < len(content):
      self._file.truncate(self._size)

  def _take_lock(self, path):
    # Beside the rows, as taking a lock empties its file. The file stays: if it
    # were deleted, two processes could hold locks on two files of one name.
    lock = path.with_name(f".{path.name}.lock")
    # The thread that closes the rows may not be the one that opened them.
    self._lock = filelock.FileLock(os.fspath(lock), thread_local=False)
    try:
      self._lock.acquire(timeout=0)
    except filelock.Timeout as e:
      raise validation.InputError(
        f"output {self.path} is being written by another process"
      ) from e

  def append(self, row: Row) -> None:
    """Appends a row; it is on disk when this returns.

    Raises:
      InputError: if it cannot be written; the file is then as before.
    """
    line = (json.dumps(row, allow_nan=False) + "\n").encode()
    try:
      if self._parts is not None:
        self._parts.append(line)
      else:
        assert self._file is not None
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
    """Removes an incomplete row from the file."""
    if self._file is None:
      return
    with contextlib.suppress(OSError):
      self._file.close()  # its buffer would otherwise be written later
    with contextlib.suppress(OSError):
      os.truncate(self.path, self._size)
    with contextlib.suppress(OSError):
      self._file = open(self.path, "ab")

  def close(self) -> None:
    """Closes the file, so that other processes may open it."""
    if self._file is not None:
      self._file.close()
    if self._lock is not None:
      self._lock.release()

  def __enter__(self) -> "Rows":
    return self

  def __exit__(self, *_: Any) -> None:
    self.close()
