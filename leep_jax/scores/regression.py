"""Scores for regression by linear fits of the targets: LinMSE and LabMSE.

Both are minus a mean squared error, in squared units of the targets, and at
most 0; higher means that the source transfers better. Symbols: n examples, D
features f, Z source outputs, T columns of targets y.
"""

import numpy as np
import numpy.typing as npt

from leep_jax import validation
from leep_jax.engine import outputs as outputs_lib
from leep_jax.scores import jackknife, moments as moments_lib

RIDGE = 1.0


def lin_mse(
  features: npt.ArrayLike, targets: npt.ArrayLike, *, ridge: float = RIDGE
) -> float:
  """Minus the ridge regression error of targets on features; at most 0.

  LinMSE = - min over (A, b) of 1/n sum_i |y_i - A f_i - b|^2 + ridge |A|^2.
  Higher transfers better. Squared errors are summed over the columns of the
  targets. With `ridge` above 0, LinMSE depends on the unit of the features.

  Args:
    features: `[n, D]`, the source model's penultimate features.
    targets: `[n, T]` or `[n]` real numbers.
    ridge: weight of the penalty (lambda), at least 0. 0 is ordinary least
      squares, whose error is 0 for any features where n <= D.

  Raises:
    InputError: if there are no examples, lengths differ, targets or features
      are not finite, or `ridge` is negative.

  Reference: C. N. Nguyen, P. Tran, L. S. T. Ho, V. Dinh, A. T. Tran, T.
  Hassner & C. V. Nguyen, "Simple Transferability Estimation for Regression
  Tasks", UAI 2023, arXiv 2312.00656, section 4.

  Example:
    The targets are a linear function of the first source's features. Those of
    the second have no linear relation to them: what is left is the variance of
    the targets.

    >>> import leep_jax
    >>> targets = [1.0, 3.0, 5.0, 7.0]
    >>> linear, unrelated = [[0], [1], [2], [3]], [[1], [-1], [-1], [1]]
    >>> for features in (linear, unrelated):
    ...   print(f"{leep_jax.lin_mse(features, targets, ridge=0):z.4f}")
    0.0000
    -5.0000

    With `ridge`, a fit with large weights counts less than its error says:

    >>> f"{leep_jax.lin_mse(linear, targets):.4f}"
    '-2.2222'
  """
  return jackknife.value(
    lin_mse_parts(
      outputs_lib.Outputs.from_arrays(features=features, targets=targets),
      ridge=ridge,
    )
  )


def lab_mse(
  outputs: npt.ArrayLike, targets: npt.ArrayLike, *, ridge: float = RIDGE
) -> float:
  """`lin_mse` with the source model's outputs in place of its features.

  Args:
    outputs: `[n, Z]`, the source model's outputs: probabilities of its labels,
      or the real numbers that a regressor predicts.
    targets: `[n, T]` or `[n]` real numbers.
    ridge: weight of the penalty (lambda), at least 0.

  Raises:
    InputError: as `lin_mse`.

  Reference: Nguyen et al., UAI 2023, arXiv 2312.00656, section 4.

  Example:
    >>> import leep_jax
    >>> probs = [[0.9, 0.1], [0.6, 0.4], [0.2, 0.8]]
    >>> f"{leep_jax.lab_mse(probs, [1.0, 4.0, 8.0]):.4f}"
    '-7.0611'
  """
  return lin_mse(outputs, targets, ridge=ridge)


def lin_mse_parts(
  outputs: outputs_lib.Outputs, *, ridge: float = RIDGE
) -> jackknife.Parts:
  """Returns `lin_mse` as sums and a function of them.

  Args:
    outputs: with features and targets.
    ridge: see `lin_mse`.

  Raises:
    InputError: as `lin_mse`.

  Example:
    >>> import leep_jax
    >>> from leep_jax.scores import jackknife
    >>> from leep_jax.scores import regression
    >>> outputs = leep_jax.Outputs.from_arrays(
    ...   features=[[0.0], [1.0], [2.0], [3.0]], targets=[1.0, 3.0, 5.0, 7.0])
    >>> round(jackknife.value(regression.lin_mse_parts(outputs)), 4)
    -2.2222
  """
  if not ridge >= 0 or not np.isfinite(ridge):
    raise validation.InputError(f"ridge is {ridge}, but must be at least 0")
  known = moments_lib.moments(outputs)
  unit = outputs.target_centre[1]
  # |A|^2 is of weights on the original features, f = scale u root. The sums are
  # of u: in terms of weights on u, the penalty is a quadratic form.
  penalty = np.zeros(())
  if ridge and len(known.root):
    penalty = np.linalg.inv(known.root @ known.root.T * known.scale**2)

  def finalise(sums):
    n, total = sums["counts"].sum(), sums["class_sums"].sum(axis=0)
    scatter, _ = moments_lib.scatters(sums)
    targets = sums["target_sums"] / n
    cross = (sums["cross"] - np.outer(targets, total)) * unit[:, None]
    variation = unit**2 * (sums["squares"] - n * targets**2)
    # The part of the targets' variation about their mean that the fit explains;
    # for ridge regression, minus the penalty.
    # Ridge makes the matrix invertible. Without it, features may be linearly
    # dependent, so that a pseudo-inverse is needed.
    if ridge:
      shrunk = scatter + n * ridge * penalty
      explained = np.sum(cross * np.linalg.solve(shrunk, cross.T).T)
    else:
      explained = moments_lib.explained(scatter, cross)
    # Because of rounding, the explained part may exceed the variation.
    return min(float((explained - variation.sum()) / n), 0.0)

  return known.parts(finalise)


def lab_mse_parts(outputs: outputs_lib.Outputs) -> jackknife.Parts:
  """Returns `lab_mse` as sums and a function of them.

  Args:
    outputs: with a regressor's outputs or probabilities, and targets.

  Raises:
    InputError: as `lin_mse`.

  Example:
    >>> import leep_jax
    >>> from leep_jax.scores import jackknife
    >>> from leep_jax.scores import regression
    >>> outputs = leep_jax.Outputs.from_arrays(
    ...   probs=[[0.9, 0.1], [0.6, 0.4], [0.2, 0.8]], targets=[1.0, 4.0, 8.0])
    >>> round(jackknife.value(regression.lab_mse_parts(outputs)), 4)
    -7.0611
  """
  # Cached, so that their moments are too.
  return lin_mse_parts(outputs.cached(_outputs_as_features))


def _outputs_as_features(outputs):
  key = "outputs" if "outputs" in outputs.store.keys() else "probs"
  return outputs.with_features(outputs.store.only(key, name="features"))
