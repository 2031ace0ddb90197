"""Orbax checkpoints of one training, so that it can be resumed."""

import contextlib
import functools
import json
import pathlib
import shutil
import tempfile
from typing import Any

from leep_jax import validation


class Checkpoints:
  """The latest checkpoint of one training, by the number of epochs done.

  Attributes:
    folder: where the checkpoint is.
    epochs: done when it was written; 0 if there is none.

  Example:
    >>> import pathlib, tempfile
    >>> import numpy as np
    >>> from leep_jax.transfer.checkpoints import Checkpoints
    >>> with tempfile.TemporaryDirectory() as folder:
    ...   path = pathlib.Path(folder) / "training"
    ...   checkpoints = Checkpoints(path, {"seed": 0})
    ...   checkpoints.save(3, state={"bias": np.arange(2.0)})
    ...   checkpoints.close()
    ...   resumed = Checkpoints(path, {"seed": 0})
    ...   found = resumed.restore(state={"bias": np.zeros(2)})
    ...   resumed.close()
    >>> resumed.epochs, found["state"]["bias"].tolist()
    (3, [0.0, 1.0])
  """

  def __init__(self, folder: pathlib.Path, what: dict[str, Any]):
    """Looks for a checkpoint; `save` makes the folder if it is missing.

    Args:
      folder: where checkpoints are read and written.
      what: everything that decides the result, of JSON's types.

    Raises:
      InputError: if the folder has a checkpoint of another training, or cannot
        be read.
    """
    self.folder = folder.resolve()
    self.epochs = 0
    # As it will be read again: tuples become lists.
    self._what = json.loads(json.dumps(what))
    if self.folder.exists():
      with contextlib.ExitStack() as stack:
        # Closed only where reading fails; otherwise `pop_all` leaves it open.
        stack.callback(self.close)
        self._read_latest()
        stack.pop_all()

  @functools.cached_property
  def _manager(self):
    import orbax.checkpoint as ocp

    # Only the latest is ever read.
    return ocp.CheckpointManager(
      self.folder, options=ocp.CheckpointManagerOptions(max_to_keep=1)
    )

  def _read_latest(self):
    """Sets `epochs`, and refuses a folder of another training."""
    import orbax.checkpoint as ocp

    args = ocp.args.Composite(what=ocp.args.JsonRestore())
    found = self._what
    try:
      self.epochs = self._manager.latest_step() or 0
      if self.epochs:
        found = dict(self._manager.restore(self.epochs, args=args)["what"])
    except Exception as e:  # Orbax raises several types
      raise validation.InputError(
        f"cannot read {self.folder} ({validation.reason(e)}): if it is "
        "damaged, remove it to start anew"
      ) from e
    for key, value in self._what.items():
      if found.get(key) != value:
        raise validation.InputError(
          f"{self.folder} holds a training with {key} {found.get(key)!r}, not "
          f"{value!r}: remove it to start anew"
        )

  def save(self, epochs: int, **trees: Any) -> None:
    """Writes a checkpoint in the background.

    Args:
      epochs: number of epochs done.
      **trees: pytrees of dictionaries, lists and arrays, by name.
    """
    import orbax.checkpoint as ocp

    items = {key: ocp.args.StandardSave(tree) for key, tree in trees.items()}
    args = ocp.args.Composite(what=ocp.args.JsonSave(self._what), **items)
    self._manager.save(epochs, args=args)

  def restore(self, **like: Any) -> dict[str, Any]:
    """Returns the pytrees of the latest checkpoint, by name.

    Args:
      **like: pytrees of the structure, shapes and types that were saved.
    """
    import orbax.checkpoint as ocp

    items = {key: ocp.args.StandardRestore(tree) for key, tree in like.items()}
    found = self._manager.restore(self.epochs, args=ocp.args.Composite(**items))
    return {key: found[key] for key in like}

  def close(self) -> None:
    """Waits until the checkpoint is written."""
    # Without this check, closing would make the manager, and so the folder.
    if "_manager" in vars(self):
      self._manager.close()

  def remove(self) -> None:
    """Removes the folder, after `close`."""
    if not self.folder.exists():
      return
    # Renamed first: a process that is killed meanwhile must not leave half a
    # checkpoint under the name that the next start reads.
    gone = self.folder.with_name(f"{self.folder.name}.removed")
    shutil.rmtree(gone, ignore_errors=True)
    self.folder.rename(gone)
    shutil.rmtree(gone)


def check_folder(folder: pathlib.Path) -> None:
  """Makes a folder for checkpoints, before training starts.

  Args:
    folder: to make, unless it exists.

  Raises:
    InputError: if the folder cannot be made or written to.

  Example:
    >>> import pathlib, tempfile
    >>> from leep_jax.transfer import checkpoints
    >>> with tempfile.TemporaryDirectory() as folder:
    ...   checkpoints.check_folder(pathlib.Path(folder) / "new")
  """
  try:
    folder.mkdir(parents=True, exist_ok=True)
    with tempfile.TemporaryFile(dir=folder):
      pass
  except OSError as e:
    raise validation.InputError(
      f"cannot write checkpoints to {folder}: {e.strerror}"
    ) from e
