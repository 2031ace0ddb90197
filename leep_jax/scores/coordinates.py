"""Features as principal components of unit variance, and their moments.

In such coordinates t, sums of float32 resolve all directions of the features
alike. With few examples for the number of features, where the covariance within
classes is singular or nearly so, they are float64 on the host.

Symbols: n examples, Y target classes, D features f, K coordinates t = (f -
mean) basis, G groups of examples.
"""

from collections.abc import Callable
import dataclasses

import numpy as np

from leep_jax.engine import outputs as outputs_lib, statistics
from leep_jax.scores import jackknife, moments as moments_lib

Sums = dict[str, np.ndarray]


@dataclasses.dataclass(frozen=True, eq=False)
class Coordinates:
  """The coordinates t, and moments of some examples in them.

  Attributes:
    mean: `[D]`, of all features, as statistics read them.
    basis: `[D, K]`.
    deviations: `[K]`, of the principal components of all features, in the
      features' own unit.
    total: `[K, K]`, the covariance of t: the identity for all examples, or 0 if
      features are constant.
    means: `[Y, K]`, class means of t, 0 for classes without examples.
    counts: `[Y]`, the examples of each class.
    points: `[n, K]` float64, t of all examples, or None where they are many.

  Example:
    >>> import leep_jax
    >>> from leep_jax.scores import coordinates
    >>> outputs = leep_jax.Outputs.from_arrays(
    ...   features=[[0.0], [2.0], [2.0], [4.0]], labels=[0, 0, 1, 1])
    >>> known = coordinates.coordinates(outputs)
    >>> print(known.deviations.round(4), known.means.round(4).T)
    [1.4142] [[-0.7071  0.7071]]
    >>> print(known.within.round(4))  # half of the variance
    [[0.5]]
  """

  mean: np.ndarray
  basis: np.ndarray
  deviations: np.ndarray
  total: np.ndarray
  means: np.ndarray
  counts: np.ndarray
  points: np.ndarray | None = None

  @property
  def shares(self) -> np.ndarray:
    """`[Y]`, the share of the examples of each class."""
    return self.counts / self.counts.sum()

  @property
  def within(self) -> np.ndarray:
    """`[K, K]`, the covariance of t within classes."""
    means = self.means - self.shares @ self.means
    return self.total - (means.T * self.shares) @ means

  @property
  def sums(self) -> Sums:
    """The moments as sums, of which `of_sums` makes these again."""
    mean = self.shares @ self.means
    return {
      "gram": self.counts.sum() * (self.total + np.outer(mean, mean)),
      "class_sums": self.counts[:, None] * self.means,
      "counts": self.counts,
    }

  def of_sums(self, sums: Sums) -> "Coordinates":
    """Returns these coordinates with the moments of other points.

    Args:
      sums: `gram` `[K, K]` and `class_sums` `[Y, K]`, as of
        `statistics.moments`, of points; and `counts` `[Y]`.
    """
    counts = sums["counts"]
    means = sums["class_sums"] / np.maximum(counts, 1)[:, None]
    means = np.where(counts[:, None] > 0, means, 0)
    mean = counts @ means / counts.sum()
    total = sums["gram"] / counts.sum() - np.outer(mean, mean)
    return dataclasses.replace(self, total=total, means=means, counts=counts)

  def parts(
    self,
    outputs: outputs_lib.Outputs,
    finalise: Callable[["Coordinates", np.ndarray], float],
  ) -> jackknife.Parts:
    """Returns a score of these coordinates, and of those without each group.

    The basis stays that of all examples; moments are computed again.

    Args:
      outputs: with the features, in groups.
      finalise: function of coordinates and booleans `[G]`, the groups that take
        part, that returns the score.
    """
    arguments = self.mean.astype(np.float32), self.basis.astype(np.float32)
    marks = np.eye(outputs.groups)

    def of_group(group):
      if self.points is not None:
        chosen = outputs.group_of == group
        found = sums_of(outputs, self.points, chosen)
      else:
        part = outputs.features_of_group(group)
        found = {
          **part.sum(statistics.whitened_moments, *arguments),
          "counts": outputs.group_counts[group],
        }
      return {**found, "kept": marks[group]}

    return jackknife.Parts(
      lambda sums: finalise(self.of_sums(sums), sums["kept"] > 0),
      {**self.sums, "kept": marks.sum(axis=0)},
      of_group,
    )


def sums_of(
  outputs: outputs_lib.Outputs, points: np.ndarray, chosen: np.ndarray
) -> Sums:
  """Returns moments of points on the host, as `Coordinates.sums`.

  Args:
    outputs: with labels.
    points: `[n, K]`, of all examples.
    chosen: `[n]` booleans, those that are summed.

  Example:
    >>> import leep_jax
    >>> import numpy as np
    >>> from leep_jax.scores import coordinates
    >>> outputs = leep_jax.Outputs.from_arrays(
    ...   features=[[0.0], [2.0]], labels=[0, 1])
    >>> points, chosen = np.array([[1.0], [2.0]]), np.array([False, True])
    >>> sums = coordinates.sums_of(outputs, points, chosen)
    >>> sums["gram"].tolist(), sums["class_sums"].tolist()
    ([[4.0]], [[0.0], [2.0]])
  """
  points, codes = points[chosen], outputs.codes[chosen]
  wanted = (codes == np.arange(len(outputs.classes))[:, None]).astype(float)
  return {
    "gram": points.T @ points,
    "class_sums": wanted @ points,
    "counts": wanted.sum(axis=1),
  }


def coordinates(
  outputs: outputs_lib.Outputs, *, components: int | None = None
) -> Coordinates:
  """Returns the coordinates of the features of all examples.

  Args:
    outputs: with features and labels.
    components: largest number of principal components to keep; by default all.

  Raises:
    InputError: if features are not finite.

  Example:
    >>> import leep_jax
    >>> from leep_jax.scores import coordinates
    >>> outputs = leep_jax.Outputs.from_arrays(
    ...   features=[[0.0, 7.0], [2.0, 7.0]], labels=[0, 1])
    >>> coordinates.coordinates(outputs).basis.shape
    (2, 1)
  """
  known = moments_lib.principal(outputs)
  counts = outputs.class_counts.astype(np.float64)
  deviations = np.sqrt(known.variances[:components])
  unit = float(outputs.feature_centre[1])
  if not len(deviations):  # constant features: one coordinate that is 0
    return Coordinates(
      known.mean,
      np.zeros((len(known.axes), 1)),
      np.ones(1),
      np.zeros((1, 1)),
      np.zeros((len(counts), 1)),
      counts,
    )
  found = Coordinates(
    known.mean,
    known.axes[:, :components] / deviations,
    unit * deviations,
    np.eye(len(deviations)),
    known.class_means[:, :components] / deviations,
    counts,
  )
  if len(outputs) > 2 * (len(known.axes) + len(counts)):
    return found
  points = moments_lib.centred(outputs) @ found.basis
  found = found.of_sums(sums_of(outputs, points, outputs.codes >= 0))
  return dataclasses.replace(found, points=points)
