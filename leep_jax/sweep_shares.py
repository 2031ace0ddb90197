"""How processes share the work of a sweep, without talking to each other.

`Share` gives each of N processes a fixed part. `Claims` lets processes take
sources one after another from one list, where they have a folder in common.
"""

from collections.abc import Iterator, Sequence
import contextlib
import hashlib
import os
import pathlib

import filelock

from leep_jax import tasks as tasks_lib, validation

ANY = "any"


class Share:
  """The part of a sweep that one of several processes does.

  A source belongs to one process as a whole, so that its forward pass runs once
  and not in each of them. Only the sources that are left when each process has
  equally many are divided by their tasks.

  Example:
    >>> from leep_jax import sweep_shares
    >>> share = sweep_shares.Share(0, 2, ["a", "b", "c"])
    >>> [share.has(model, "all") for model in "abc"]
    [True, False, False]
    >>> share.may_have("c")  # some tasks of it
    True
  """

  def __init__(self, index: int, count: int, models: Sequence[str]):
    """Divides the sources.

    Args:
      index: of this process.
      count: of processes.
      models: names of all sources, in the same order for every process.
    """
    self._index, self._count = index, count
    whole = len(models) // count * count
    self._owner = {model: i % count for i, model in enumerate(models[:whole])}

  def has(self, model: str, task: str) -> bool:
    """Returns whether a source on a task is this process's.

    Args:
      model: name of the source.
      task: name of the task.
    """
    # By a hash of the names, if not by the source.
    owner = self._owner.get(model)
    if owner is None:
      owner = tasks_lib.share(f"{model} {task}", self._count)
    return owner == self._index

  def may_have(self, model: str) -> bool:
    """Returns whether any task of a source may be this process's.

    Args:
      model: name of the source.
    """
    return self._owner.get(model, self._index) == self._index


def parse(text: str, models: Sequence[str]) -> Share:
  """Returns the share that `--worker` names.

  Args:
    text: such as `0/4`; `any` for all of it.
    models: names of all sources.

  Raises:
    InputError: if it is not of this form.

  Example:
    >>> from leep_jax import sweep_shares
    >>> sweep_shares.parse("1/2", ["a", "b"]).has("b", "all")
    True
  """
  if text == ANY:
    return Share(0, 1, models)
  index, slash, count = text.partition("/")
  numbers = slash and index.isdecimal() and count.isdecimal()
  if not (numbers and int(count)):
    raise validation.InputError(
      f"worker is {text!r}, but must be like 0/4, or any"
    )
  if not int(index) < int(count):
    raise validation.InputError(
      f"worker is {text}, but they are counted from 0 to {int(count) - 1}"
    )
  return Share(int(index), int(count), models)


class Claims:
  """Sources that processes take one after another.

  A claim is the lock of a file: the system releases it when the process ends,
  also if it is killed.

  Attributes:
    left: names of the sources that another process had when they were asked
      for.

  Example:
    >>> import tempfile
    >>> from leep_jax import sweep_shares
    >>> with tempfile.TemporaryDirectory() as folder:
    ...   one, other = (sweep_shares.Claims(folder) for _ in range(2))
    ...   with one.take("a") as mine, other.take("a") as others:
    ...     print(mine, others, other.left)
    True False ['a']
  """

  def __init__(self, folder: str | os.PathLike[str]):
    """Claims nothing yet.

    Args:
      folder: of the locks, which all processes can write; created if it does
        not exist.
    """
    self._folder = pathlib.Path(folder)
    self.left: list[str] = []

  @contextlib.contextmanager
  def take(self, model: str) -> Iterator[bool]:
    """Holds a source while the body of a `with` statement runs.

    Args:
      model: name of the source.

    Yields:
      Whether no other process has it.

    Raises:
      InputError: if the folder cannot be written, or knows no locks.
    """
    name = hashlib.sha256(model.encode(errors="surrogateescape")).hexdigest()
    try:
      self._folder.mkdir(parents=True, exist_ok=True)
      lock = filelock.FileLock(self._folder / f"{name[:24]}.lock")
      lock.acquire(timeout=0)
    except filelock.Timeout:
      self.left.append(model)
      yield False
      return
    except (OSError, NotImplementedError) as e:
      raise validation.InputError(
        f"cannot lock files in {self._folder}: {validation.reason(e)}; "
        "--worker=0/4 needs no locks"
      ) from e
    try:
      yield True
    finally:
      lock.release()
