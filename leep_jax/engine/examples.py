"""Labels and targets of examples: classes that occur, groups, a digest."""

from collections.abc import Mapping
import hashlib

import numpy as np

from leep_jax import validation
from leep_jax.engine import hosts


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


def groups_of(
  count: int, groups: int, clusters: np.ndarray | None
) -> np.ndarray:
  """Returns the group of each example, `[n]` in 0 to G - 1.

  Without clusters that is its index modulo G. Of clusters, the largest comes
  first, and each goes whole to the group with the fewest examples so far.

  Args:
    count: n.
    groups: G, at most the number of clusters.
    clusters: `[n]` integers, the cluster of each example.

  Example:
    >>> import numpy as np
    >>> from leep_jax.engine import examples
    >>> examples.groups_of(5, 2, None)
    array([0, 1, 0, 1, 0])
    >>> examples.groups_of(6, 2, np.array([7, 7, 7, 2, 5, 2]))
    array([0, 0, 0, 1, 1, 1])
  """
  if clusters is None:
    return np.arange(count) % groups
  _, code, sizes = np.unique(clusters, return_inverse=True, return_counts=True)
  group_of = np.empty(len(sizes), np.int64)
  filled = np.zeros(groups, np.int64)
  for cluster in np.argsort(-sizes, kind="stable"):
    group = filled.argmin()
    group_of[cluster] = group
    filled[group] += sizes[cluster]
  return group_of[code]


def check_over_hosts(
  count: int, groups: int, clusters: np.ndarray | None
) -> None:
  """Refuses groups that cannot be made where hosts share the examples.

  Args:
    count: n.
    groups: G, at least 2.
    clusters: `[n]`, or None.

  Raises:
    InputError: if there are clusters, or too few examples for one of each group
      on each host.

  Example:
    >>> from leep_jax.engine import examples
    >>> examples.check_over_hosts(100, 20, None)  # of one host
  """
  if clusters is not None:
    raise validation.InputError(
      "examples in groups, such as of a patient, have errors on one host only: "
      "run on one host, or without errors by --groups=1"
    )
  if count < groups * hosts.count():
    raise validation.InputError(
      f"{count} examples are too few for {groups} groups on each of "
      f"{hosts.count()} hosts: use fewer hosts or groups"
    )
