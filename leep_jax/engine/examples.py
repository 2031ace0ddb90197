"""Labels and targets of examples: which classes occur, and a digest."""

from collections.abc import Mapping
import hashlib

import numpy as np


def compact(labels: np.ndarray) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
  """Returns the labels that occur, each example's index in them, and counts.

  Args:
    labels: `[n]` int32, from 0.

  Returns:
    `[Y]` labels, ascending; `[n]` int32; and `[Y]` the examples of each.

  Example:
    >>> import numpy as np
    >>> from leep_jax.engine import examples
    >>> classes, codes, counts = examples.compact(np.array([7, 2, 7], np.int32))
    >>> classes.tolist(), codes.tolist(), counts.tolist()
    ([2, 7], [1, 0, 1], [1, 2])
  """
  # Counting takes an array as long as the largest label: fine for classes, not
  # for numbers of another kind, such as identifiers.
  if labels.max() > 1_000_000:
    classes, codes, counts = np.unique(
      labels, return_inverse=True, return_counts=True
    )
    return classes, codes.astype(np.int32), counts
  counts = np.bincount(labels)
  classes = np.flatnonzero(counts)
  index_of = np.cumsum(counts > 0, dtype=np.int32) - 1
  return classes, index_of[labels], counts[classes]


def digest(targets: Mapping[str, np.ndarray], *, data: str = "") -> str:
  """Returns a digest of labels or targets in their order, 16 hex digits.

  Args:
    targets: arrays by their names, `labels` or `targets`.
    data: a description of the data set. If there is one, a colon and a digest
      of it follow.

  Example:
    >>> import numpy as np
    >>> from leep_jax.engine import examples
    >>> len(examples.digest({"labels": np.array([0, 1], np.int32)}))
    16
  """
  found = hashlib.sha256()
  for key, values in targets.items():
    found.update(f"{key} {values.shape} {values.dtype}".encode())
    found.update(np.ascontiguousarray(values).data)
  labels = found.hexdigest()[:16]
  if not data:
    return labels
  encoded = data.encode(errors="surrogateescape")  # names of any bytes
  return f"{labels}:{hashlib.sha256(encoded).hexdigest()[:16]}"
