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
  """The latest checkpoint of one training, by the number of epochs done."""

  def __init__(self, folder: pathlib.Path, what: dict[str, Any]):
    """Reads what a folder holds, if it is there; `save` makes it otherwise.

    Args:
      folder: where the checkpoints are.
      what: all that decides the result, as JSON holds it.

    Raises:
      InputError: if the folder holds a training of something else, or cannot
        be read.
    """
    self.folder = folder.resolve()
    self.epochs = 0
    self._what = json.loads(json.dumps(what))
    if self.folder.exists():
      with contextlib.ExitStack() as stack:
        stack.callback(self.close)
        self._read_latest()
        stack.pop_all()

  @functools.cached_property
  def _manager(self):
    import orbax.checkpoint as ocp

    return ocp.CheckpointManager(
      self.folder, options=ocp.CheckpointManagerOptions(max_to_keep=1)
    )

  def _read_latest(self):
    """Reads the last epoch, and refuses a folder of another training."""
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
    """Writes pytrees of dictionaries, lists and arrays, in the background."""
    import orbax.checkpoint as ocp

    items = {key: ocp.args.StandardSave(tree) for key, tree in trees.items()}
    args = ocp.args.Composite(what=ocp.args.JsonSave(self._what), **items)
    self._manager.save(epochs, args=args)

  def restore(self, **like: Any) -> dict[str, Any]:
    """Returns the latest trees, of the structure and types of these."""
    import orbax.checkpoint as ocp

    items = {key: ocp.args.StandardRestore(tree) for key, tree in like.items()}
    found = self._manager.restore(self.epochs, args=ocp.args.Composite(**items))
    return {key: found[key] for key in like}

  def close(self) -> None:
    """Waits for what is being written."""
    if "_manager" in vars(self):
      self._manager.close()

  def remove(self) -> None:
    """Removes the closed folder; it is renamed first, so atomically."""
    if not self.folder.exists():
      return
    gone = self.folder.with_name(f"{self.folder.name}.removed")
    shutil.rmtree(gone, ignore_errors=True)  # left by one that was killed
    self.folder.rename(gone)
    shutil.rmtree(gone)


def check_folder(folder: pathlib.Path) -> None:
  """Makes a folder for checkpoints, before training starts.

  Raises:
    InputError: if it cannot be made or written to.
  """
  try:
    folder.mkdir(parents=True, exist_ok=True)
    with tempfile.TemporaryFile(dir=folder):
      pass
  except OSError as e:
    raise validation.InputError(
      f"cannot write checkpoints to {folder}: {e.strerror}"
    ) from e
