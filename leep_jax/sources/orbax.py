"""Checkpoints that Orbax wrote, in any layout of folders.

A *tree* is a folder with arrays. A *step* is a folder with one or more trees,
each in its own sub-folder, which is called an item. The folder of a checkpoint
manager contains steps.
"""

import pathlib
import re

import jax
import numpy as np

from leep_jax import validation

_TREE = ("_METADATA", "manifest.ocdbt")
_STEP = "_CHECKPOINT_METADATA"
# Usual names of the item with the network; the first that occurs is read.
_ITEMS = ("default", "model", "state", "params", "pytree", "train_state")
_OPTIMIZER = re.compile(r"(opt|optim|optimizer|opt_state|optimizer_state|tx)")
# An optimizer, as that of Flax NNX, may have the network as an attribute.
_NETWORK = ("model", "params", "target")


def is_tree(path: pathlib.Path) -> bool:
  """Returns whether a folder contains arrays of Orbax.

  Example:
    >>> import pathlib, tempfile
    >>> from leep_jax.sources import orbax
    >>> with tempfile.TemporaryDirectory() as folder:
    ...   (pathlib.Path(folder) / "_METADATA").touch()
    ...   orbax.is_tree(pathlib.Path(folder))
    True
  """
  return path.is_dir() and any((path / mark).exists() for mark in _TREE)


def find(folder: pathlib.Path) -> pathlib.Path | None:
  """Returns the tree to read in a folder, that of the newest step.

  Args:
    folder: a tree, a step, or the folder of a checkpoint manager.

  Returns:
    The folder of the tree; None if there is none.

  Raises:
    InputError: if there are several items, none with a usual name.

  Example:
    >>> import pathlib, tempfile
    >>> from leep_jax.sources import orbax
    >>> with tempfile.TemporaryDirectory() as folder:
    ...   folder = pathlib.Path(folder)
    ...   for step in ("9", "10"):
    ...     (folder / step / "model").mkdir(parents=True)
    ...     (folder / step / "model" / "_METADATA").touch()
    ...   orbax.find(folder).relative_to(folder).as_posix()
    '10/model'
  """
  if is_tree(folder):
    return folder
  items = sorted(p for p in folder.iterdir() if is_tree(p))
  if items:
    named = [folder / name for name in _ITEMS if folder / name in items]
    if len(items) > 1 and not named:
      some = ", ".join(path.name for path in items[:3])
      raise validation.InputError(
        f"{folder} has {len(items)} items ({some}): name the folder of one"
      )
    return (named or items)[0]
  steps = []
  for path in folder.iterdir():
    # Such as 100 or step_100. While Orbax writes a step, its name has a suffix.
    number = re.fullmatch(r"(?:\w*[_-])?(\d+)", path.name)
    if number and path.is_dir():
      steps.append((int(number[1]), path))
  for _, path in sorted(steps, reverse=True):
    inside = find(path)
    if inside is not None:
      return inside
  if (folder / _STEP).exists():
    raise validation.InputError(
      f"{folder} has Orbax's {_STEP} but no arrays: cannot read it as an Orbax "
      "checkpoint; was it written to its end?"
    )
  return None


def read(path: pathlib.Path) -> dict[tuple[str, ...], np.ndarray]:
  """Returns the network's arrays in a tree, by their paths.

  Optimizers, step counters and random keys are left out; a note counts the
  arrays of optimizers.

  Args:
    path: of the tree.

  Raises:
    InputError: if it is damaged.

  Example:
    >>> import pathlib, tempfile
    >>> import numpy as np
    >>> import orbax.checkpoint
    >>> from leep_jax.sources import orbax as reader
    >>> state = {"fc": {"kernel": np.ones((4, 2), np.float32)}, "step": 7}
    >>> with tempfile.TemporaryDirectory() as folder:
    ...   path = pathlib.Path(folder) / "model"
    ...   with orbax.checkpoint.StandardCheckpointer() as checkpointer:
    ...     checkpointer.save(path, state)
    ...   found = reader.read(path)
    >>> {"/".join(keys): array.shape for keys, array in found.items()}
    {'fc/kernel': (4, 2)}
  """
  import orbax.checkpoint as ocp

  try:
    with ocp.Checkpointer(ocp.PyTreeCheckpointHandler()) as checkpointer:
      tree = checkpointer.metadata(path.resolve()).item_metadata.tree
      # Read to the host: the devices that wrote them may not exist here.
      as_numpy = jax.tree.map(
        lambda _: ocp.RestoreArgs(restore_type=np.ndarray), tree
      )
      args = ocp.args.PyTreeRestore(restore_args=as_numpy)
      state = checkpointer.restore(path.resolve(), args=args)
  except Exception as e:  # Orbax raises many types
    why = validation.reason(e).replace("\n", " ")[:200]
    raise validation.InputError(
      f"cannot read {path} as an Orbax checkpoint ({why}): was it written to "
      "its end?"
    ) from e
  found, left_out = {}, []
  for keys, value in jax.tree_util.tree_leaves_with_path(state):
    parts = tuple(str(getattr(k, "key", getattr(k, "idx", k))) for k in keys)
    # NNX saves a variable as a mapping with its value.
    if parts and parts[-1] in ("value", "raw_value"):
      parts = parts[:-1]
    array = np.asarray(value)
    if _of_optimizer(parts):
      left_out.append(".".join(parts))
    # NumPy gives bfloat16 the kind "V".
    elif parts and array.dtype.kind in "fV" and "rngs" not in parts:
      found[parts] = array
  if left_out:
    validation.note(
      f"{path}: left out {len(left_out)} values of an optimizer "
      f"({', '.join(sorted(left_out)[:3])[:200]}, ...)"
    )
  # Flax Linen has parameters and statistics in two collections.
  collections = {"params", "batch_stats"}
  if collections <= {parts[0] for parts in found}:
    found = {
      parts[parts[0] in collections :]: array for parts, array in found.items()
    }
  return found


def _of_optimizer(parts):
  """Whether a path leads into an optimizer, but not to the network in it."""
  for part, following in zip(parts, (*parts[1:], ""), strict=True):
    if _OPTIMIZER.fullmatch(part):
      return following not in _NETWORK
  return False
