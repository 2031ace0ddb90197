"""Outputs on disk that an interrupted process can go on with.

A forward pass may take hours. Its outputs are appended to the npy files of a
folder, and now and then a journal beside them says of how many examples the
files are complete, with checksums. A process that finds such a folder cuts the
files to what the journal says, and appends the outputs of the other examples.
Batches begin at the same examples whenever a pass was interrupted, so the files
are those of a pass that was not.
"""

from collections.abc import Callable, Mapping, Set
import contextlib
import json
import os
import shutil
import time
from typing import Any, BinaryIO
import zlib

import numpy as np

from leep_jax import validation
from leep_jax.engine import storage

JOURNAL = "journal.json"
# A killed process loses the work of so many seconds, and of one batch. Making
# files durable takes some hundredths of a second.
_SECONDS = 30.0
_CHUNK = 1 << 24  # bytes


def crc(file: BinaryIO, size: int) -> int:
  """Returns the CRC-32 of the next bytes of a file.

  Args:
    file: open for reading.
    size: how many bytes.

  Raises:
    ValueError: if the file ends before.

  Example:
    >>> import io
    >>> from leep_jax.engine import unfinished
    >>> unfinished.crc(io.BytesIO(b"123456789"), 9) == 0xCBF43926
    True
  """
  found = 0
  while size:
    chunk = file.read(min(size, _CHUNK))
    if not chunk:
      raise ValueError("a file is too short")
    found = zlib.crc32(chunk, found)
    size -= len(chunk)
  return found


class UnfinishedFolder(storage.NewFolder):
  """A folder of npy files that keeps what it has if it is not finished.

  Only one process may have it open. It does not change its name: whoever
  finishes it gives it another, and removes the journal.

  Attributes:
    count: the examples that it has.
    state: what `add` was called with last, by this process or one before.

  Example:
    >>> import pathlib, tempfile
    >>> import numpy as np
    >>> from leep_jax.engine import unfinished
    >>> rows = {"features": np.ones((3, 2)), "labels": np.zeros(3, np.int32)}
    >>> with tempfile.TemporaryDirectory() as temporary:
    ...   path = pathlib.Path(temporary) / "outputs"
    ...   for _ in range(2):  # the second process goes on
    ...     with unfinished.UnfinishedFolder(path, {"of": "mine"}) as folder:
    ...       print(folder.count)
    ...       folder.add(rows, state=None)
    ...     # Left before it was finished.
    0
    3
  """

  def __init__(
    self,
    directory: str | os.PathLike[str],
    about: Mapping[str, Any],
    *,
    on_note: Callable[[str], Any] = print,
  ):
    """Reads nothing yet.

    Args:
      directory: the folder.
      about: all that the outputs depend on, as JSON has it. A folder of
        something else is removed.
      on_note: called with a line when a folder is damaged and removed.
    """
    super().__init__(directory)
    self._about = json.loads(json.dumps(about))
    self._on_note = on_note
    # Of the bytes after the header of each file.
    self._checksums: dict[str, int] = {}
    # Whether all arrays have `count` rows, and their files are open.
    self._whole, self._saved = True, time.monotonic()
    self.count = 0
    self.state: Any = None

  def __enter__(self):
    self._partial = self.path
    try:
      if (self.path / JOURNAL).exists():
        self._resume()
      if not self.count:  # also one of which nothing was complete
        shutil.rmtree(self.path, ignore_errors=True)
        self.path.mkdir(parents=True)
    except OSError as e:
      raise validation.InputError(f"cannot write outputs: {e}") from e
    return self

  def _resume(self):
    """Opens the files there are, if they are what the journal says."""
    try:
      journal = json.loads((self.path / JOURNAL).read_text())
      if journal["about"] != self._about:
        raise ValueError("they are of something else")
      for key, checksum in journal["checksums"].items():
        self._open(key, journal["count"], checksum)
      self.count, self.state = int(journal["count"]), journal["state"]
    except (OSError, ValueError, KeyError, TypeError, AttributeError) as e:
      self._on_note(
        f"unfinished outputs {self.path} cannot be continued "
        f"({validation.reason(e)}): they are computed again"
      )
      self._close()
      for kept in (self._files, self._shapes, self._dtypes, self._checksums):
        kept.clear()

  def _open(self, key, count, checksum):
    """Opens a file, and cuts it to the rows that are complete."""
    file = self._files[key] = open(self.path / f"{key}.npy", "rb+")
    np.lib.format.read_magic(file)
    shape, _, dtype = np.lib.format.read_array_header_1_0(file)
    begin, width = file.tell(), shape[1:]
    size = count * int(np.prod(width)) * dtype.itemsize
    if crc(file, size) != checksum:
      raise ValueError(f"{key}.npy has changed")
    file.truncate(begin + size)
    file.seek(begin + size)
    self._shapes[key], self._dtypes[key] = (count, *width), dtype
    self._checksums[key] = checksum

  def _write(self, key, data):
    super()._write(key, data)
    self._checksums[key] = zlib.crc32(data, self._checksums.get(key, 0))

  def add(self, arrays: Mapping[str, np.ndarray], *, state: Any) -> None:
    """Appends a batch to all arrays, those of labels or targets among them.

    Args:
      arrays: `[m, ...]` by name, of the same m examples.
      state: whatever the next process needs to go on, as JSON has it.
    """
    self._whole = False
    for key, rows in arrays.items():
      self.append(key, rows)
    self.count += len(next(iter(arrays.values())))
    self.state, self._whole = state, True
    if time.monotonic() - self._saved >= _SECONDS:
      self._save()

  def _save(self):
    """Makes durable what there is, and then says so."""
    for file in self._files.values():
      file.flush()
      os.fsync(file.fileno())
    journal = {
      "about": self._about,
      "count": self.count,
      "checksums": self._checksums,
      "state": self.state,
    }
    new = self.path / f"{JOURNAL}.new"
    with open(new, "w") as file:
      json.dump(journal, file)
      file.flush()
      os.fsync(file.fileno())
    new.replace(self.path / JOURNAL)
    self._saved = time.monotonic()

  def keys(self) -> Set[str]:
    """Returns the names of the arrays."""
    return self._files.keys()

  def read(self, key: str) -> np.ndarray:
    """Returns an array `[n, ...]` as far as there is one; it is copied.

    Args:
      key: its name.
    """
    self._header(key)
    self._files[key].flush()
    array = np.load(self.path / f"{key}.npy", allow_pickle=False)
    self._files[key].seek(0, os.SEEK_END)
    return array

  def finish(
    self,
    targets: dict[str, np.ndarray],
    *,
    num_classes: int,
    name: str,
    without_probs: str = "",
  ) -> None:
    """Writes the manifest; labels or targets are there already.

    Args:
      targets: by their names, which `add` was called with.
      num_classes: number of classes.
      name: of the source, for error messages.
      without_probs: the reason why there are no probabilities, or empty.
    """
    self._save()
    # The journal stays as it is: another process can finish the folder again.
    self._whole = False
    self._complete(targets, num_classes, name, without_probs)

  def _close(self):
    for file in self._files.values():
      file.close()

  def __exit__(self, kind, error, traceback):
    refused = isinstance(error, validation.InputError)
    if refused and not isinstance(error, validation.DataError):
      # It would be refused again. Data that cannot be read may be repaired.
      self._close()
      shutil.rmtree(self.path, ignore_errors=True)
      return
    # The disk may be full; what an earlier journal says is still there.
    with contextlib.suppress(OSError):
      if self._whole and self.count:
        self._save()
    self._close()
