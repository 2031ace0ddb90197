"""Linear fits of real-valued targets: LinMSE and LabMSE."""

from typing import Any

import numpy as np

from leep_jax import checks, jackknife, outputs as outputs_lib
from leep_jax.scores import moments as moments_lib

RIDGE = 1.0


def lin_mse(features: Any, targets: Any, *, ridge: float = RIDGE) -> float:
  """Minus the ridge regression error of targets on features; at most 0.

  LinMSE = - min over (A, b) of 1/n sum_i |y_i - A f_i - b|^2 + ridge |A|^2.
  Higher transfers better. It is in squared units of the targets, summed over
  their columns, and with `ridge` above 0 depends on the unit of the features.

  Args:
    features: `[n, D]`, the source model's penultimate features.
    targets: `[n, T]` or `[n]` real numbers.
    ridge: weight of the penalty (lambda), at least 0. 0 is plain least squares,
      which tells nothing where n <= D.

  Raises:
    InputError: if there are no examples, lengths differ, targets or features
      are not finite, or `ridge` is negative.

  Reference: C. N. Nguyen, P. Tran, L. S. T. Ho, V. Dinh, A. T. Tran, T.
  Hassner & C. V. Nguyen, "Simple Transferability Estimation for Regression
  Tasks", UAI 2023, arXiv 2312.00656, section 4.
  """
  return jackknife.value(
    lin_mse_parts(
      outputs_lib.Outputs.from_arrays(features=features, targets=targets),
      ridge=ridge,
    )
  )


def lab_mse(outputs: Any, targets: Any, *, ridge: float = RIDGE) -> float:
  """`lin_mse` with the source model's outputs in place of its features.

  Args:
    outputs: `[n, Z]`, what the source model gives: probabilities of its labels,
      or the real numbers that a regressor predicts.
    targets: `[n, T]` or `[n]` real numbers.
    ridge: weight of the penalty (lambda), at least 0.

  Raises:
    InputError: as `lin_mse`.

  Reference: Nguyen et al., UAI 2023, arXiv 2312.00656, section 4.
  """
  return lin_mse(outputs, targets, ridge=ridge)


def lin_mse_parts(
  outputs: outputs_lib.Outputs, *, ridge: float = RIDGE
) -> jackknife.Parts:
  """`lin_mse` as a function of sums."""
  if not ridge >= 0 or not np.isfinite(ridge):
    raise checks.InputError(f"ridge is {ridge}, but must be at least 0")
  known = moments_lib.moments(outputs)
  unit = outputs.target_centre[1]
  # Penalises A in the features' own unit, which u is far from.
  penalty = np.zeros(())
  if ridge and len(known.root):
    penalty = np.linalg.inv(known.root @ known.root.T * known.scale**2)

  def finalise(sums):
    n, total = sums["counts"].sum(), sums["class_sums"].sum(axis=0)
    scatter, _ = moments_lib.scatters(sums)
    targets = sums["target_sums"] / n
    cross = (sums["cross"] - np.outer(targets, total)) * unit[:, None]
    left = unit**2 * (sums["squares"] - n * targets**2)
    if ridge:
      shrunk = scatter + n * ridge * penalty
      explained = np.sum(cross * np.linalg.solve(shrunk, cross.T).T)
    else:
      explained = moments_lib.explained(scatter, cross)
    return min(float((explained - left.sum()) / n), 0.0)

  return known.parts(finalise)


def lab_mse_parts(outputs: outputs_lib.Outputs) -> jackknife.Parts:
  """`lab_mse` as a function of sums."""
  return lin_mse_parts(outputs.once(_outputs_as_features))


def _outputs_as_features(outputs):
  key = "outputs" if "outputs" in outputs.store.keys() else "probs"
  return outputs.with_features(outputs.store.only(key, name="features"))
