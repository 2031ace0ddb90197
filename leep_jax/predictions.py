"""Files of outputs that were computed elsewhere, as `Outputs`."""

from collections.abc import Sequence
from typing import Any

from leep_jax import data, validation
from leep_jax.data import label_sets
from leep_jax.engine import building, outputs as outputs_lib


def read(path: str, *, ignored: Sequence[int] = ()) -> outputs_lib.Outputs:
  """Reads the outputs in an npz file.

  Args:
    path: of the file, whose arrays are called as the arguments of
      `Outputs.from_arrays`. Labels `[n, T]` of 0 and 1 are sets of labels.
    ignored: labels of examples that are left out.

  Raises:
    InputError: if the file cannot be read, or arrays are missing or wrong.

  Example:
    >>> import pathlib, tempfile
    >>> import numpy as np
    >>> from leep_jax import predictions
    >>> with tempfile.TemporaryDirectory() as folder:
    ...   path = pathlib.Path(folder) / "a.npz"
    ...   np.savez(path, probs=np.full((3, 2), 0.5), labels=[0, 1, 1])
    ...   len(predictions.read(str(path), ignored=()))
    3
  """
  arrays: dict[str, Any] = validation.read_npz(path)
  if not set(building.TARGETS) & set(arrays):
    raise validation.InputError(
      "no array labels (classes, or [n, T] of 0 and 1) or targets (real "
      f"numbers); the file has {', '.join(arrays) or 'none'}"
    )
  source = {k: arrays[k] for k in building.SOURCE_FIELDS if k in arrays}
  arrays = {key: arrays[key] for key in building.FIELDS if key in arrays}
  if "labels" in arrays:
    labels = data.plain_labels(arrays.pop("labels"))
    sets = validation.are_label_sets(labels)
    arrays["multi_labels" if sets else "labels"] = labels
    if sets:
      label_sets.note(path, validation.label_sets(labels))
  if "labels" in arrays and ignored:
    labels = arrays["labels"]
    kept = data.not_ignored(path, labels, ignored)
    arrays = {
      key: array[kept] if array.shape[:1] == labels.shape else array
      for key, array in arrays.items()
    }
  elif "multi_labels" in arrays and ignored:
    raise validation.InputError(
      f"{path} has sets of labels, but no integer labels to ignore"
    )
  return outputs_lib.Outputs.from_arrays(**arrays, **source, name=path)
