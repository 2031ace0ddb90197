"""Checks of files, and npz files as arrays."""

from collections.abc import Callable, Sequence
import os

import numpy as np

from leep_jax import file_kinds
from leep_jax.validation import errors


def read_npz(
  path: str | os.PathLike[str],
  *,
  choose: Callable[[list[str]], Sequence[str]] | None = None,
) -> dict[str, np.ndarray]:
  """Reads arrays of an npz file, without running pickled code.

  Args:
    path: of the file.
    choose: takes the names of all arrays and returns those to read; by default,
      all are read.

  Returns:
    The arrays by their names.

  Raises:
    InputError: if the file is missing or is not an npz file, or one of the
      arrays cannot be read.

  Example:
    >>> import pathlib, tempfile
    >>> import numpy as np
    >>> from leep_jax import validation
    >>> with tempfile.TemporaryDirectory() as folder:
    ...   path = pathlib.Path(folder) / "a.npz"
    ...   np.savez(path, images=np.zeros((2, 4, 4)), labels=np.arange(2))
    ...   found = validation.read_npz(path, choose=lambda names: ["labels"])
    >>> found
    {'labels': array([0, 1])}
  """
  path = os.path.expanduser(path)
  check_file(path)
  try:
    file = open(path, "rb")
  except OSError as e:
    raise errors.InputError(f"cannot read {path}: {e.strerror}") from e
  with file:
    try:
      arrays = np.load(file, allow_pickle=False)
    except Exception as e:  # zipfile, OSError, ValueError: all mean the same
      raise errors.InputError(
        f"cannot read {path} as npz: {_no_npz(path, e)}"
      ) from e
    if isinstance(arrays, np.ndarray):
      raise errors.InputError(
        f"{path} holds one array {arrays.shape}, no npz file of named ones: "
        "write np.savez(FILE, images=..., labels=...)"
      )
    with arrays:
      names = list(arrays.files)
      names = names if choose is None else list(choose(names))
      # Arrays are read from the file only here: others may be large.
      return {name: _array(arrays, path, name) for name in names}


def check_file(path: str) -> None:
  """Checks that a path is that of a file.

  Raises:
    InputError: if there is none, or it is a folder.

  Example:
    >>> from leep_jax import validation
    >>> try:
    ...   validation.check_file("no/such/file")
    ... except validation.InputError as error:
    ...   print(error)
    no file at no/such/file
  """
  if exists(path, "dir"):
    raise errors.InputError(f"{path} is a folder, not a file")
  if not exists(path, "file"):
    raise errors.InputError(f"no file at {path}")


def exists(path: str | os.PathLike[str], kind: str) -> bool:
  """Returns whether a path exists, for any text as the path.

  Args:
    path: of the file or folder.
    kind: what must be there: `file` or `dir`.

  Example:
    >>> import os
    >>> from leep_jax import validation
    >>> validation.exists(os.curdir, "dir"), validation.exists("\\0", "file")
    (True, False)
  """
  try:
    return os.path.isfile(path) if kind == "file" else os.path.isdir(path)
  except ValueError:  # the path contains a null character
    return False


def _array(arrays, path, name):
  """One array of an open npz file."""
  try:
    found = arrays[name]
  except Exception as e:
    if "allow_pickle" in f"{e}":
      raise errors.InputError(
        f"array {name!r} of {path} holds Python objects, which are not read: "
        "is it text? Save it .astype(str); lists of arrays, of one shape"
      ) from e
    why = errors.reason(e)
    raise errors.InputError(
      f"cannot read array {name!r} of {path} ({why}): is it damaged?"
    ) from e
  # NumPy returns members that are no arrays as bytes.
  if not isinstance(found, np.ndarray):
    raise errors.InputError(
      f"{name!r} of {path} is no array: is it another archive?"
    )
  return found


def _no_npz(path, error):
  """Says why a file is no npz file."""
  try:
    with open(path, "rb") as file:
      kind = file_kinds.of_data(file.read(file_kinds.HEAD_SIZE))
  except OSError as e:
    return e.strerror or f"{e}"
  # An npz file is a zip archive: that NumPy cannot read it means damage.
  if kind is not None and not kind.startswith("a zip"):
    return f"it is {kind}"
  return f"{errors.reason(error)}; is it damaged?"
