"""Arrays, batches and folders as the arguments of an `Outputs`.

Each function checks what a user hands in and returns keyword arguments for
`Outputs`: a store, labels or targets, and what is known about them.
"""

from collections.abc import Iterable, Mapping
import json
import os
import pathlib
from typing import Any

import numpy as np
from numpy.typing import ArrayLike

from leep_jax import validation
from leep_jax.engine import row_checks, storage

# Arguments of `Outputs.from_arrays`: those that are predicted, and all that a
# batch of `from_batches` or a file may hold.
TARGETS = ("labels", "targets", "multi_labels")
FIELDS = ("probs", "logits", "features", "outputs", *TARGETS)
# Further ones, of examples of the source's own data.
SOURCE_FIELDS = ("source_features", "source_labels")
# Rows of logits whose softmax is taken at a time, in float64.
_SOFTMAX_ROWS = 4096


def from_arrays(
  *,
  name: str,
  labels: ArrayLike | None = None,
  targets: ArrayLike | None = None,
  multi_labels: ArrayLike | None = None,
  probs: ArrayLike | None = None,
  logits: ArrayLike | None = None,
  features: ArrayLike | None = None,
  outputs: ArrayLike | None = None,
  source_features: ArrayLike | None = None,
  source_labels: ArrayLike | None = None,
  num_classes: int | None = None,
) -> dict[str, Any]:
  """Checks arrays of any framework; arguments as of `Outputs.from_arrays`.

  Raises:
    InputError: if shapes, lengths or labels are wrong, or fields are missing.

  Example:
    >>> import numpy as np
    >>> from leep_jax.engine import building
    >>> made = building.from_arrays(
    ...   name="mine", labels=[0, 1], logits=np.log([[0.75, 0.25], [0.5, 0.5]])
    ... )
    >>> made["store"].array("probs").tolist()
    [[0.75, 0.25], [0.5, 0.5]]
  """
  targets_by_name = _targets_by_name(
    name,
    num_classes,
    {"labels": labels, "targets": targets, "multi_labels": multi_labels},
  )
  ((what, known),) = targets_by_name.items()
  count = len(known)
  if probs is not None and logits is not None:
    raise validation.InputError(f"{name} has both probs and logits: pass one")
  arrays = {}
  if logits is not None:
    rows = validation.rows("logits", logits, count, what)
    arrays["probs"] = softmax(rows, name=name)
  if probs is not None:
    arrays["probs"] = validation.rows("probs", probs, count, what)
  if features is not None:
    arrays["features"] = validation.rows("features", features, count, what)
  if outputs is not None:
    arrays["outputs"] = validation.rows("outputs", outputs, count, what)
  if not arrays:
    raise validation.InputError(
      f"{name} has neither probs, logits nor features"
    )
  return {
    "store": storage.HostArrays(arrays),
    **targets_by_name,
    "num_classes": num_classes,
    "name": name,
    "source_examples": _source_examples(
      source_features, source_labels, arrays.get("features"), name
    ),
  }


def _source_examples(features, labels, of_target, name):
  """Returns features and labels of source examples, or None."""
  if features is None and labels is None:
    return None
  if features is None or labels is None or of_target is None:
    raise validation.InputError(
      f"{name} needs source_features, source_labels and features together"
    )
  labels = validation.class_labels(labels)
  found = validation.rows(
    "source_features", features, len(labels), "source_labels"
  )
  if found.shape[1] != of_target.shape[1]:
    raise validation.InputError(
      f"source_features of {name} have {found.shape[1]} columns, but features "
      f"{of_target.shape[1]}: both must be of one source model"
    )
  bad = ~np.isfinite(found).all(axis=1)
  if bad.any():
    raise validation.InputError(
      f"source_features of {name}: {bad.sum()} of {len(found)} rows hold NaN "
      "or infinity"
    )
  return found, labels


def _targets_by_name(name, num_classes, given):
  """Returns the labels, targets or sets of labels, whichever there are."""
  there = [key for key, values in given.items() if values is not None]
  if not there:
    raise validation.InputError(f"{name} has neither labels nor targets")
  if len(there) > 1:
    words = {
      "labels": "labels (classes)",
      "targets": "targets (real numbers)",
      "multi_labels": "multi_labels (sets of labels)",
    }
    both = " and ".join(words[key] for key in there[:2])
    raise validation.InputError(f"{name} has both {both}: pass one of them")
  (key,) = there
  if key == "labels":
    found = validation.class_labels(given[key], num_classes=num_classes)
  elif key == "targets":
    found = validation.real_targets(given[key])
  else:
    found = validation.label_sets(given[key])
  return {key: found}


def join_batches(batches: Iterable[Any], *, name: str) -> dict[str, np.ndarray]:
  """Concatenates batches of outputs, arguments as of `Outputs.from_batches`.

  Raises:
    InputError: if there is no batch, or batches differ in their fields.

  Example:
    >>> import numpy as np
    >>> from leep_jax.engine import building
    >>> batches = [(np.full((2, 3), 1 / 3), [0, 1]), (np.eye(3)[:1], [1])]
    >>> building.join_batches(batches, name="mine")["labels"].tolist()
    [0, 1, 1]
  """
  parts: dict[str, list[np.ndarray]] = {}
  if not isinstance(batches, Iterable):
    raise validation.InputError(
      f"batches of {name} are a {type(batches).__name__}, which cannot be "
      "iterated"
    )
  for batch in batches:
    checked = _checked_batch(batch, name)
    if parts and set(checked) != set(parts):
      raise validation.InputError(
        f"a batch of {name} has {', '.join(sorted(checked))}, an earlier one "
        f"{', '.join(sorted(parts))}"
      )
    for key, value in checked.items():
      # Copied: whoever yields batches may reuse a buffer.
      parts.setdefault(key, []).append(np.array(value))
  if not parts:
    raise validation.InputError(f"there are no examples: {name} had no batch")
  try:
    return {key: np.concatenate(value) for key, value in parts.items()}
  except ValueError as e:
    raise validation.InputError(
      f"batches of {name} do not fit together: {e}"
    ) from e


def _checked_batch(batch: Any, name: str) -> Mapping[str, np.ndarray]:
  """Returns the arrays of a batch, which are of one length."""
  if not isinstance(batch, dict):
    if not isinstance(batch, (tuple, list)) or len(batch) != 2:
      raise validation.InputError(
        f"a batch of {name} is a {type(batch).__name__}, neither a "
        "dictionary nor a pair (probs, labels)"
      )
    batch = dict(zip(("probs", "labels"), batch, strict=True))
  if set(batch) - set(FIELDS) or not set(TARGETS) & set(batch):
    raise validation.InputError(
      f"a batch of {name} has {', '.join(sorted(batch))}; it needs labels "
      "(or targets) and probs or logits or features"
    )
  batch = {key: validation.as_array(key, v) for key, v in batch.items()}
  lengths = {key: len(np.atleast_1d(v)) for key, v in batch.items()}
  if len(set(lengths.values())) > 1:
    raise validation.InputError(f"a batch of {name} has lengths {lengths}")
  return batch


def from_folder(root: pathlib.Path) -> dict[str, Any]:
  """Opens a folder that `Outputs.save` wrote; arrays stay memory-mapped.

  Raises:
    InputError: if there are no complete outputs in the folder.

  Example:
    >>> import pathlib, tempfile
    >>> import numpy as np
    >>> import leep_jax
    >>> from leep_jax.engine import building
    >>> outputs = leep_jax.Outputs.from_arrays(
    ...   probs=np.full((4, 2), 0.5), labels=[0, 1, 0, 1], name="mine"
    ... )
    >>> with tempfile.TemporaryDirectory() as folder:
    ...   outputs.save(f"{folder}/mine")
    ...   made = building.from_folder(pathlib.Path(folder) / "mine")
    ...   print(made["name"], made["labels"], made["num_classes"])
    mine [0 1 0 1] 2
  """
  try:
    manifest = json.loads((root / storage.MANIFEST).read_text())
    arrays = {
      key: storage.FileArray(root / f"{key}.npy") for key in manifest["arrays"]
    }
    targets = {
      key: np.load(root / f"{key}.npy", allow_pickle=False)
      # Folders of early versions have labels, and do not say so.
      for key in manifest.get("truth", ["labels"])
    }
    known = {
      "num_classes": manifest["num_classes"],
      "name": manifest["name"],
      "without_probs": manifest.get("without_probs", ""),
    }
  except (OSError, ValueError, KeyError) as e:
    raise validation.InputError(
      f"no outputs to load in {root} ({validation.reason(e)})"
    ) from e
  for key, array in arrays.items():
    for what, values in targets.items():
      if array.shape[0] != len(values):
        raise validation.InputError(
          f"{root} is damaged: {array.shape[0]} rows of {key}, but "
          f"{len(values)} {what}"
        )
  return {"store": storage.HostArrays(arrays), **targets, **known}


def write(
  directory: str | os.PathLike[str],
  store: storage.Store,
  targets: dict[str, np.ndarray],
  **known: Any,
) -> None:
  """Writes the folder that `from_folder` reads; it appears when complete.

  Args:
    directory: of the new folder.
    store: the arrays.
    targets: labels or targets by their name, an argument of `Outputs`.
    **known: others of `storage.NewFolder.finish`.

  Raises:
    InputError: if the folder exists or cannot be made.

  Example:
    >>> import pathlib, tempfile
    >>> import numpy as np
    >>> from leep_jax.engine import building, storage
    >>> store = storage.HostArrays({"features": np.eye(3)})
    >>> with tempfile.TemporaryDirectory() as folder:
    ...   path = pathlib.Path(folder) / "kept"
    ...   building.write(
    ...     path, store, {"labels": np.arange(3)}, num_classes=3, name="mine"
    ...   )
    ...   sorted(file.name for file in path.iterdir())
    ['features.npy', 'labels.npy', 'manifest.json']
  """
  with storage.NewFolder(directory) as files:
    for key in store.keys():
      for chunk in store.chunks(key):
        files.append(key, chunk)
    files.finish(targets, **known)


def softmax(logits: np.ndarray, *, name: str) -> np.ndarray:
  """Returns the softmax of logits `[n, Z]` as float32.

  A logit of minus infinity is a probability of 0.

  Args:
    logits: `[n, Z]` real numbers.
    name: what error messages call their source.

  Raises:
    InputError: if logits are not finite, or are probabilities.

  Example:
    >>> import numpy as np
    >>> from leep_jax.engine import building
    >>> building.softmax(np.array([[0.0, -np.inf]]), name="mine").tolist()
    [[1.0, 0.0]]
  """
  bits = -1  # `&` of all rows: what every row looks like
  probs = np.empty(logits.shape, np.float32)
  for start in range(0, len(logits), _SOFTMAX_ROWS):
    part = logits[start : start + _SOFTMAX_ROWS].astype(np.float64)
    top = part.max(axis=1, keepdims=True)
    if not np.all(np.isfinite(top)):  # the largest shows NaN and infinity
      raise validation.InputError(
        f"logits of {name}: {np.sum(~np.isfinite(top))} of {len(part)} rows "
        f"from row {start} hold NaN or infinity"
      )
    kinds = row_checks.looks_like(part)
    bits &= int(np.bitwise_and.reduce(kinds))
    part = np.exp(part - top)
    probs[start : start + _SOFTMAX_ROWS] = part / part.sum(
      axis=1, keepdims=True
    )
  if len(logits) and bits & row_checks.IS_DISTRIBUTION:
    raise validation.InputError(
      f"logits of {name} are probabilities: every row is non-negative and sums "
      "to 1 (or 100 %). Pass them as probs, each row divided by its sum"
    )
  return probs
