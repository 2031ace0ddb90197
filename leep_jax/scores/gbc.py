"""Gaussian Bhattacharyya Coefficient: how much the target classes overlap.

GBC is at most 0 and has no unit; higher means that the source transfers
better. Symbols: n examples, Y target classes, D features, of which K principal
components are used; u are their coordinates.
"""

import jax
import jax.numpy as jnp
import numpy as np
import numpy.typing as npt

from leep_jax import validation
from leep_jax.engine import outputs as outputs_lib, segments, statistics
from leep_jax.scores import jackknife, moments as moments_lib

DIMENSIONS = 64
COVARIANCES = ("spherical", "diagonal")
# Smallest variance of a class, as a share of the components' mean variance. A
# class with one example has a variance of 0, whose logarithm is infinite.
_FLOOR = 1e-6


def gbc(
  features: npt.ArrayLike,
  labels: npt.ArrayLike,
  *,
  num_classes: int | None = None,
  covariance: str = "spherical",
  dimensions: int = DIMENSIONS,
) -> float:
  """Minus the summed overlap of classes, at most 0; higher transfers better.

  GBC = - sum over ordered pairs of classes c != d of exp(-B(c, d)), where B is
  the Bhattacharyya distance between Gaussians that are fitted to the features
  of both classes:

    B = 1/8 (m_c - m_d)^T V^-1 (m_c - m_d) + 1/2 log(det V / sqrt(det V_c det
    V_d)), V = (V_c + V_d) / 2.

  Features are first reduced to their largest principal components. The sum of
  squares of a class is divided by its number of examples n_c. Variances are at
  least a millionth of the components' mean variance. GBC of one class is 0.
  Published code takes the log-determinant of a spherical Gaussian from one
  dimension; here it is that of all dimensions.

  Args:
    features: `[n, D]`, the source model's penultimate features.
    labels: `[n]`, target labels from 0.
    num_classes: Y; by default the largest label plus 1. GBC does not depend on
      it.
    covariance: form of each class's covariance: `spherical` (one variance for
      all components) or `diagonal` (one for each principal component).
    dimensions: largest number of principal components to keep.

  Returns:
    GBC, between -Y (Y - 1) and 0.

  Raises:
    InputError: if there are no examples, lengths differ, labels are not
      integers in 0..Y-1, features are not finite, or an option is unknown.

  Reference: Pandy, Agostinelli, Uijlings, Ferrari & Mensink, "Transferability
  Estimation Using Bhattacharyya Class Separability", CVPR 2022, arXiv
  2111.12780, equations 2 to 5.

  Example:
    Two classes of features that lie far apart do not overlap. Two classes with
    the same features overlap fully: both ordered pairs count 1.

    >>> import leep_jax
    >>> labels = [0, 0, 1, 1]
    >>> apart = leep_jax.gbc([[0.0], [0.1], [5.0], [5.1]], labels)
    >>> same = leep_jax.gbc([[0.0], [1.0], [0.0], [1.0]], labels)
    >>> f"{apart:.4f} {same:.4f}"
    '0.0000 -2.0000'
  """
  return jackknife.value(
    gbc_parts(
      outputs_lib.Outputs.from_arrays(
        features=features, labels=labels, num_classes=num_classes
      ),
      covariance=covariance,
      dimensions=dimensions,
    )
  )


@statistics.reads("features")
def class_squares(
  batch: statistics.Batch, mean: jax.Array, basis: jax.Array, means: jax.Array
) -> dict[str, jax.Array]:
  """Sums over each class of u - m_y and of its square, u = (f - mean) basis.

  Args:
    batch: examples with features f.
    mean: `[D]` float32.
    basis: `[D, K]` float32.
    means: `[Y, K]` float32, m, near the class means of u, so that squares keep
      their digits where classes are far apart.

  Returns:
    `sums` and `squares`, `[Y, K]`.

  Example:
    >>> import jax.numpy as jnp
    >>> from leep_jax.engine import statistics
    >>> from leep_jax.scores import gbc
    >>> batch = statistics.Batch(
    ...   labels=jnp.array([0, 0]), weights=jnp.ones(2), num_classes=1,
    ...   features=jnp.array([[1.0], [4.0]]))
    >>> means = jnp.full((1, 1), 2.0)
    >>> sums = gbc.class_squares(batch, jnp.zeros(1), jnp.eye(1), means)
    >>> float(sums["sums"][0, 0]), float(sums["squares"][0, 0])
    (1.0, 5.0)
  """
  projected = statistics.project(batch.features, mean, basis)
  projected = projected - segments.rows_of(means, batch.labels)
  # Both at once: one segment sum instead of two.
  columns = jnp.concatenate([projected, projected**2], axis=1)
  sums, squares = jnp.split(statistics.class_sums(columns, batch), 2, axis=1)
  return {"sums": sums, "squares": squares}


def gbc_parts(
  outputs: outputs_lib.Outputs,
  *,
  covariance: str = "spherical",
  dimensions: int = DIMENSIONS,
) -> jackknife.Parts:
  """Returns `gbc` as sums and a function of them.

  The principal axes are computed from all examples, also if the jackknife
  leaves a group out.

  Args:
    outputs: with features and labels.
    covariance: see `gbc`.
    dimensions: see `gbc`.

  Raises:
    InputError: as `gbc`.

  Example:
    >>> import leep_jax
    >>> from leep_jax.scores import jackknife
    >>> from leep_jax.scores import gbc
    >>> outputs = leep_jax.Outputs.from_arrays(
    ...   features=[[0.0], [1.0], [0.0], [1.0]], labels=[0, 0, 1, 1])
    >>> round(jackknife.value(gbc.gbc_parts(outputs)), 4)
    -2.0
  """
  if covariance not in COVARIANCES:
    raise validation.unknown("covariance", covariance, COVARIANCES)
  validation.at_least_1("dimensions", dimensions)
  known = moments_lib.principal(outputs)
  variances, axes = known.variances, known.axes[:, :dimensions]
  # Rounded as the devices will round them, so that adding them back below
  # cancels exactly.
  centres = known.class_means[:, :dimensions].astype(np.float32)
  squares = outputs.group_sums(
    class_squares,
    known.mean.astype(np.float32),
    axes.astype(np.float32),
    centres,
  )
  floor = _FLOOR * variances[:dimensions].mean() if len(variances) else 0.0

  def finalise(sums):
    # Without a group of examples, a class may have none left.
    present = sums["counts"] > 0
    counts = sums["counts"][present][:, None]
    if not len(variances):  # constant features: each pair overlaps fully
      return float(len(counts) * (1 - len(counts)))
    # Sums are about the class means of all examples, so `shift` is near 0, and
    # subtracting its square loses no digits.
    shift = sums["sums"][present] / counts
    means = centres[present] + shift
    spread = np.maximum(sums["squares"][present] / counts - shift**2, 0)
    if covariance == "spherical":
      spread = np.broadcast_to(spread.mean(axis=1)[:, None], spread.shape)
    # 0 - x and not -x, which is -0.0 for one class.
    return 0 - _overlap(means, np.maximum(spread, floor))

  sums = {**squares, "counts": outputs.group_counts}
  return jackknife.Parts.by_group(finalise, sums)


def _overlap(means, variances) -> float:
  """Sum over ordered pairs of classes of exp(-Bhattacharyya distance).

  Args:
    means: `[Y, K]`.
    variances: `[Y, K]`, above 0.
  """
  total = 0.0
  # Logarithms of the determinants: products of many variances would underflow.
  logs = np.log(variances).sum(axis=1)
  # One class against all at a time: a table [Y, Y, K] may not fit in memory.
  for c in range(len(means)):
    middle = (variances[c] + variances) / 2
    distance = ((means[c] - means) ** 2 / middle).sum(axis=1) / 8
    distance += (np.log(middle).sum(axis=1) - (logs[c] + logs) / 2) / 2
    # A class and itself are no pair.
    total += np.exp(-np.delete(distance, c)).sum()
  return float(total)
