"""Checkpoints that Orbax wrote, whatever the layout of their folders.

A *tree* is a folder with arrays; a *step* has one or more trees, each in a
folder of its own, called an item; a manager's folder has steps.
"""

import pathlib
import re

import jax
import numpy as np

from leep_jax import validation

_TREE = ("_METADATA", "manifest.ocdbt")
_STEP = "_CHECKPOINT_METADATA"
# Which of several items is the network, the likeliest first.
_ITEMS = ("default", "model", "state", "params", "pytree", "train_state")
_OPTIMIZER = re.compile(r"(opt|optim|optimizer|opt_state|optimizer_state|tx)")
# An optimizer may hold the network that it changes.
_NETWORK = ("model", "params", "target")


def is_tree(path: pathlib.Path) -> bool:
  """Whether a folder holds arrays."""
  return path.is_dir() and any((path / mark).exists() for mark in _TREE)


def find(folder: pathlib.Path) -> pathlib.Path | None:
  """Returns the tree in a folder: its newest step's, or None if it has none.

  Raises:
    InputError: if there are several items of which none is the network.
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
    # A name such as 100 or step_100; others are being written.
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

  What belongs to an optimizer, counters of steps and random keys are left out;
  arrays of an optimizer are told in a note.

  Raises:
    InputError: if it is damaged.
  """
  import orbax.checkpoint as ocp

  try:
    with ocp.Checkpointer(ocp.PyTreeCheckpointHandler()) as checkpointer:
      tree = checkpointer.metadata(path.resolve()).item_metadata.tree
      # As arrays of the host, whatever devices they were written from.
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
    if parts and parts[-1] in ("value", "raw_value"):  # with its variables
      parts = parts[:-1]
    array = np.asarray(value)
    if _of_optimizer(parts):
      left_out.append(".".join(parts))
    elif parts and array.dtype.kind in "fV" and "rngs" not in parts:
      found[parts] = array
  if left_out:
    validation.note(
      f"{path}: left out {len(left_out)} values of an optimizer "
      f"({', '.join(sorted(left_out)[:3])[:200]}, ...)"
    )
  collections = {"params", "batch_stats"}  # of Flax Linen
  if collections <= {parts[0] for parts in found}:
    found = {
      parts[parts[0] in collections :]: array for parts, array in found.items()
    }
  return found


def _of_optimizer(parts):
  """Whether a path leads into an optimizer, and not to its network."""
  for part, following in zip(parts, (*parts[1:], ""), strict=True):
    if _OPTIMIZER.fullmatch(part):
      return following not in _NETWORK
  return False
