"""Predictions of whole clusters, such as all photos of a patient, held out.

Photos of one patient resemble each other. A head that was fitted to some of
them predicts the others too well, so that leaving out one example says nothing
of new patients: all of a patient must be left out.
"""

import numpy as np

from leep_jax import validation
from leep_jax.engine import outputs as outputs_lib

# Numbers of the hat matrix's blocks in memory at a time.
_MOST = 1 << 24


def check(outputs: outputs_lib.Outputs) -> None:
  """Refuses outputs of which no cluster can be left out.

  Args:
    outputs: with clusters.

  Raises:
    UndefinedScore: if there is one cluster, or hosts share the examples.

  Example:
    >>> import numpy as np
    >>> import leep_jax
    >>> from leep_jax.scores import held_out_clusters
    >>> outputs = leep_jax.Outputs.from_arrays(
    ...   features=[[0.0], [0.1], [1.0]], labels=[0, 0, 1])
    >>> outputs.clusters = np.array([0, 0, 1])
    >>> held_out_clusters.check(outputs)
  """
  assert outputs.clusters is not None
  if outputs.over_hosts:
    raise validation.UndefinedScore(
      "leaving out groups of examples needs all of them on one host"
    )
  if len(set(outputs.clusters.tolist())) < 2:
    raise validation.UndefinedScore(
      "leaving out a group needs at least 2 groups of examples"
    )


def rest(
  residuals: np.ndarray,
  z: np.ndarray,
  shrink: np.ndarray,
  clusters: np.ndarray,
) -> np.ndarray:
  """Returns the errors of examples by the fit without their cluster, `[n, C]`.

  They are (I - H_gg)^-1 (t - fit)_g for the blocks H_gg of the hat matrix
  H = 1 1^T / n + z diag(shrink) z^T, float64.

  Args:
    residuals: `[n, C]`, targets minus fits to all examples.
    z: `[n, K]`, centred coordinates.
    shrink: `[K]`.
    clusters: `[n]` integers.

  Example:
    Without examples 0 and 1, the mean of the others is 8.0:

    >>> import numpy as np
    >>> from leep_jax.scores import held_out_clusters
    >>> targets = np.array([[1.0], [3.0], [7.0], [9.0]])
    >>> rest = held_out_clusters.rest(
    ...   targets - 5.0, np.zeros((4, 1)), np.zeros(1), np.array([0, 0, 1, 1])
    ... )
    >>> print(rest.round(6).T)
    [[-7. -5.  5.  7.]]
  """
  n = len(residuals)
  found = np.empty(residuals.shape)
  for rows in _of_one_size(clusters):
    size = rows.shape[1]
    step = max(_MOST // (size * max(size, z.shape[1])), 1)
    for start in range(0, len(rows), step):
      some = rows[start : start + step]
      block = z[some].astype(np.float64)
      hat = 1 / n + (block * shrink) @ block.swapaxes(1, 2)
      found[some] = np.linalg.solve(np.eye(size) - hat, residuals[some])
  return found


def _of_one_size(clusters):
  """Yields the examples of all clusters of one size, `[clusters, size]`."""
  _, code, sizes = np.unique(clusters, return_inverse=True, return_counts=True)
  order = np.argsort(code, kind="stable")
  starts = np.cumsum(sizes) - sizes
  for size in np.unique(sizes):
    first = starts[sizes == size]
    yield order[first[:, None] + np.arange(size)]


def mean_shift(values: np.ndarray, clusters: np.ndarray | None) -> np.ndarray:
  """Returns the mean of all values minus that without each one's cluster.

  Args:
    values: `[n]`.
    clusters: `[n]` integers; None if each example is a cluster.

  Example:
    >>> import numpy as np
    >>> from leep_jax.scores import held_out_clusters
    >>> held_out_clusters.mean_shift(np.array([1.0, 1.0, 0.0]), None)
    array([ 0.16666667,  0.16666667, -0.33333333])
  """
  n, mean = len(values), values.mean()
  if clusters is None:
    return np.asarray((values - mean) / (n - 1))
  _, code = np.unique(clusters, return_inverse=True)
  more = np.bincount(code, values - mean)
  return np.asarray((more / (n - np.bincount(code)))[code])


class Shifts:
  """Class shares of all examples minus those of all but a cluster.

  Without clusters, each example is one.

  Example:
    >>> import numpy as np
    >>> from leep_jax.scores import held_out_clusters
    >>> found = held_out_clusters.Shifts(
    ...   np.array([0, 0, 1, 2]), np.array([0, 0, 1, 1]), np.full(2, 0.5))
    >>> found.of(np.array([0]))  # the others are of class 1
    array([[ 0.5, -0.5]])
  """

  def __init__(
    self, clusters: np.ndarray | None, codes: np.ndarray, shares: np.ndarray
  ):
    """Counts the classes of each cluster.

    Args:
      clusters: `[n]` integers, or None.
      codes: `[n]`, the class of each example.
      shares: `[Y]`, of the classes among all examples.
    """
    import scipy.sparse

    if clusters is None:
      clusters = np.arange(len(codes))
    _, self._code = np.unique(clusters, return_inverse=True)
    self._sizes = np.bincount(self._code)
    self._shares = shares
    # Most clusters have examples of few classes.
    self._counts = scipy.sparse.csr_matrix(
      (np.ones(len(codes)), (self._code, codes)),
      (len(self._sizes), len(shares)),
    )

  def of(self, rows: np.ndarray) -> np.ndarray:
    """Returns the differences `[m, Y]` for the clusters of some examples.

    Args:
      rows: `[m]`, of the examples.
    """
    code = self._code[rows]
    sizes = self._sizes[code][:, None]
    more = self._counts[code].toarray() - sizes * self._shares
    return np.asarray(more / (len(self._code) - sizes))
