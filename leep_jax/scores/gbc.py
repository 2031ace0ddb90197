"""Gaussian Bhattacharyya Coefficient: how much the target classes overlap."""

from typing import Any

import jax
import jax.numpy as jnp
import numpy as np

from leep_jax import checks, jackknife, outputs as outputs_lib, statistics
from leep_jax.scores import moments as moments_lib

DIMENSIONS = 64
COVARIANCES = ("spherical", "diagonal")
# Smallest variance of a class, as a share of the components' mean variance: a
# class with one example has none.
_FLOOR = 1e-6


def gbc(
  features: Any,
  labels: Any,
  *,
  num_classes: int | None = None,
  covariance: str = "spherical",
  dimensions: int = DIMENSIONS,
) -> float:
  """Minus the summed overlap of classes, at most 0; higher transfers better.

  GBC = - sum over ordered pairs of classes c != d of exp(-B(c, d)), with B the
  Bhattacharyya distance between Gaussians fitted to the features of each:

    B = 1/8 (m_c - m_d)^T V^-1 (m_c - m_d) + 1/2 log(det V / sqrt(det V_c det
    V_d)), V = (V_c + V_d) / 2.

  Features are reduced to their largest principal components first. It is 0
  for one class; n_c examples give variances over n_c. Variances are at least a
  millionth of the components' mean variance. Published code reads 1/2 |log V|
  of a spherical Gaussian as that of one dimension instead of all; here the
  determinant is of all dimensions.

  Args:
    features: `[n, D]`, the source model's penultimate features.
    labels: `[n]`, target labels from 0.
    num_classes: Y; by default the largest label plus 1. GBC does not depend on
      it.
    covariance: of each class, `spherical` (one variance) or `diagonal` (in the
      principal axes).
    dimensions: most principal components to keep.

  Raises:
    InputError: if there are no examples, lengths differ, labels are not
      integers in 0..Y-1, features are not finite, or an option is unknown.

  Reference: Pandy, Agostinelli, Uijlings, Ferrari & Mensink, "Transferability
  Estimation Using Bhattacharyya Class Separability", CVPR 2022, arXiv
  2111.12780, equations 2 to 5.
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
  """Sums of u = (f - mean) basis less a mean of its class, and of its squares.

  Args:
    batch: examples with features.
    mean: `[D]` float32.
    basis: `[D, K]` float32.
    means: `[Y, K]` float32, near those of u, so that squares keep their digits
      where classes are far apart.

  Returns:
    `sums` and `squares`, `[Y, K]`.
  """
  projected = statistics.project(batch.features, mean, basis)
  projected = projected - means[batch.labels]
  both = jnp.concatenate([projected, projected**2], axis=1)
  sums, squares = jnp.split(statistics.class_sums(both, batch), 2, axis=1)
  return {"sums": sums, "squares": squares}


def gbc_parts(
  outputs: outputs_lib.Outputs,
  *,
  covariance: str = "spherical",
  dimensions: int = DIMENSIONS,
) -> jackknife.Parts:
  """`gbc` as a function of sums; the principal axes are those of all."""
  if covariance not in COVARIANCES:
    raise checks.unknown("covariance", covariance, COVARIANCES)
  checks.at_least_1("dimensions", dimensions)
  known = moments_lib.moments(outputs)
  variances, axes = moments_lib.principal_axes(known)
  axes = axes[:, :dimensions]
  counts = known.total["counts"][:, None]
  centres = known.total["class_sums"] / counts @ known.root @ axes
  centres = centres.astype(np.float32)
  looked = outputs.group_sums(
    class_squares,
    known.mean.astype(np.float32),
    axes.astype(np.float32),
    centres,
  )
  floor = _FLOOR * variances[:dimensions].mean() if len(variances) else 0.0

  def finalise(sums):
    here = sums["counts"] > 0
    counts = sums["counts"][here][:, None]
    if not len(variances):  # features are constant: all classes are the same
      return float(len(counts) * (1 - len(counts)))
    moved = sums["sums"][here] / counts
    means = centres[here] + moved
    spread = np.maximum(sums["squares"][here] / counts - moved**2, 0)
    if covariance == "spherical":
      spread = np.broadcast_to(spread.mean(axis=1)[:, None], spread.shape)
    return 0 - _overlap(means, np.maximum(spread, floor))

  sums = {**looked, "counts": outputs.group_counts}
  return jackknife.Parts.by_group(finalise, sums)


def _overlap(means, variances) -> float:
  """Sum over ordered pairs of classes of exp(-Bhattacharyya distance)."""
  total = 0.0
  logs = np.log(variances).sum(axis=1)
  for c in range(len(means)):
    both = (variances[c] + variances) / 2
    distance = ((means[c] - means) ** 2 / both).sum(axis=1) / 8
    distance += (np.log(both).sum(axis=1) - (logs[c] + logs) / 2) / 2
    total += np.exp(-np.delete(distance, c)).sum()
  return float(total)
