"""Rows in object stores, which cannot append to a file.

Every process writes files of its own. A file holds some rows in sequence, and
its name says which: `STEM.PROCESS.FIRST-END.jsonl`. For each further row, the
file is written anew under the name with the next END, and the old one is
deleted; a file of 64 KiB is followed by another. So no file is overwritten, and
two processes never write one file. A process that is killed leaves at worst two
files with the same FIRST, of which the one with more rows counts, if it is
complete: its name says how many lines it should have.

In the order of their names, the files of a process are one file of JSON lines.
"""

from collections.abc import Mapping
import contextlib
import os
import posixpath
import re
from typing import Any
import uuid

import fsspec

from leep_jax import validation

_FULL = 1 << 16  # bytes of a file that is followed by another
_NAME = re.compile(r"(.+\.[0-9a-f]{12})\.(\d{10})-(\d{10})\.jsonl")
# Of listings, in which a file that its process has just replaced is missing.
_ATTEMPTS = 20


def is_store(path: str | os.PathLike[str]) -> bool:
  """Returns whether a path is that of a store, such as `gs://bucket/runs`.

  Args:
    path: to a folder or file.

  Example:
    >>> from leep_jax.reports import row_parts
    >>> row_parts.is_store("s3://bucket/rows.jsonl")
    True
    >>> row_parts.is_store("runs/rows.jsonl")
    False
  """
  return "://" in os.fspath(path)


@contextlib.contextmanager
def _as_os_errors():
  """Raises what the client of a store raises as an `OSError`.

  Each client has errors of its own, such as of a missing login, and its package
  may not be installed.
  """
  try:
    yield
  except OSError:
    raise
  except Exception as e:
    raise OSError(validation.reason(e)) from e


def _file_system(url):
  with _as_os_errors():
    return fsspec.url_to_fs(os.fspath(url))


def read(folder: str | os.PathLike[str], *, prefix: str) -> Mapping[str, bytes]:
  """Returns the files of rows in a folder of a store, none of them twice.

  Args:
    folder: with `://`; it need not exist.
    prefix: with which their names begin.

  Returns:
    Contents by name: of each file that is not replaced by a longer one.

  Raises:
    OSError: if the store cannot be read.

  Example:
    >>> from leep_jax.reports import row_parts
    >>> parts = row_parts.Parts("memory://example/rows-0-of-1.jsonl")
    >>> parts.append(b'{"model": "a"}\\n')
    >>> parts.append(b'{"model": "b"}\\n')
    >>> list(row_parts.read("memory://example", prefix="rows-").values())
    [b'{"model": "a"}\\n{"model": "b"}\\n']
  """
  files, root = _file_system(folder)
  for _ in range(_ATTEMPTS):
    with _as_os_errors():
      found = _read(files, root, prefix)
    if found is not None:
      return found
  raise OSError("its files change all the time")


def _read(files, root, prefix):
  """Contents by name; None if a file has gone since they were listed."""
  files.invalidate_cache()  # other processes write there
  try:
    paths = files.ls(root, detail=False)
  except FileNotFoundError:
    return {}
  by_name = {posixpath.basename(path): path for path in paths}
  chosen = sorted(
    name
    for name in by_name
    if name.startswith(prefix) and name.endswith(".jsonl")
  )
  if not chosen:
    return {}
  contents = files.cat([by_name[name] for name in chosen], on_error="return")
  found: dict[str, bytes] = {}
  for name in chosen:
    content = contents[by_name[name]]
    if isinstance(content, FileNotFoundError):
      return None
    if isinstance(content, Exception):
      raise content
    found[name] = content
  return _longest(found)


def _longest(contents):
  """Leaves out files that are cut, or that a longer one replaces."""
  found: dict[Any, tuple[int, str]] = {}
  for name, content in contents.items():
    match = _NAME.fullmatch(name)
    if match is None:  # a whole file, which something else has put there
      found[name] = 0, name
      continue
    process, first, end = match[1], int(match[2]), int(match[3])
    complete = content.endswith(b"\n") and content.count(b"\n") == end - first
    if complete:
      others = found.get((process, first), (0, ""))
      found[process, first] = max(others, (end, name))
  return {name: contents[name] for name in sorted(n for _, n in found.values())}


class Parts:
  """The files that one process adds to a store.

  Example:
    >>> from leep_jax.reports import row_parts
    >>> parts = row_parts.Parts("memory://example_of_parts/rows.jsonl")
    >>> parts.append(b'{"model": "a"}\\n')
    >>> list(row_parts.read("memory://example_of_parts", prefix="rows."))
    ['rows....0000000000-0000000001.jsonl']
  """

  def __init__(self, path: str | os.PathLike[str]):
    """Writes nothing yet.

    Args:
      path: with `://`, ending in `.jsonl`, before which the process and the
        numbers of rows are put.

    Raises:
      OSError: if there is no such kind of store, or its package is missing.
    """
    self._files, inside = _file_system(path)
    stem = inside.removesuffix(".jsonl")
    self._stem = f"{stem}.{uuid.uuid4().hex[:12]}"
    self._first = self._end = 0
    self._content = b""

  def _path(self):
    return f"{self._stem}.{self._first:010}-{self._end:010}.jsonl"

  def append(self, line: bytes) -> None:
    """Adds a line; it is in the store when this returns.

    Args:
      line: with a newline at its end.

    Raises:
      OSError: if it cannot be written; the rows before it stay.
    """
    old, before = self._path(), self._content
    try:
      self._content, self._end = before + line, self._end + 1
      with _as_os_errors():
        self._files.pipe_file(self._path(), self._content)
    except BaseException:
      self._content, self._end = before, self._end - 1
      raise
    if before:
      # What stays is recognised by its name.
      with contextlib.suppress(Exception):
        self._files.rm_file(old)
    if len(self._content) >= _FULL:
      self._first, self._content = self._end, b""


def check(path: str | os.PathLike[str]) -> None:
  """Checks that files can be written where those of a path will be.

  Makes the folder, where a file system has folders.

  Args:
    path: as of `Parts`.

  Raises:
    OSError: if not.

  Example:
    >>> from leep_jax.reports import row_parts
    >>> row_parts.check("memory://example/rows.jsonl")
    >>> row_parts.check("nowhere://example/rows.jsonl")
    Traceback (most recent call last):
      ...
    OSError: Protocol not known: nowhere
  """
  files, path = _file_system(path)
  # Only writing shows whether one can be written.
  trial = f"{path}.{uuid.uuid4().hex[:12]}.check"
  with _as_os_errors():
    _make_folder(files, posixpath.dirname(path))
    files.pipe_file(trial, b"")
    files.rm_file(trial)


def _make_folder(files, path):
  # Of other kinds, stores have no folders, and a bucket that is missing (a
  # mistake in its name) would be made.
  if "file" in files.protocol:
    files.makedirs(path, exist_ok=True)


def put_folder(
  folder: str | os.PathLike[str], url: str | os.PathLike[str]
) -> None:
  """Copies the files of a local folder into a store.

  Args:
    folder: whose files, not those of folders inside it, are copied.
    url: of the folder in the store.

  Raises:
    OSError: if they cannot be written.

  Example:
    >>> import pathlib, tempfile
    >>> import fsspec
    >>> from leep_jax.reports import row_parts
    >>> with tempfile.TemporaryDirectory() as folder:
    ...   _ = pathlib.Path(folder, "a.csv").write_text("1")
    ...   row_parts.put_folder(folder, "memory://copied/report")
    >>> fsspec.filesystem("memory").cat("/copied/report/a.csv")
    b'1'
  """
  files, root = _file_system(url)
  with _as_os_errors():
    _make_folder(files, root)
    for entry in os.scandir(folder):
      if entry.is_file():
        files.put_file(entry.path, posixpath.join(root, entry.name))
