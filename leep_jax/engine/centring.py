"""Shifts and scales of features and targets, applied before sums.

Sums over features are of (f - shift) / scale: near the mean and the typical
deviation, sums of squares in float32 neither cancel nor overflow.
"""

from typing import Any

import numpy as np

from leep_jax import validation
from leep_jax.engine import hosts

_ROWS = 4096  # of which shift and scale are taken


def feature_centre(outputs: Any) -> tuple[np.ndarray, np.float32]:
  """Returns the shift `[D]` and the scale of features.

  They are the mean and the mean absolute deviation of the first examples, which
  are enough for accuracy and cost no pass. The shift is float32 unless the
  features have more digits.

  Args:
    outputs: the `Outputs`, whose module imports this one. If several hosts hold
      parts of the features, all of them get the values of the first, as their
      sums are added.

  Example:
    >>> import numpy as np
    >>> import leep_jax
    >>> from leep_jax.engine import centring
    >>> features = np.array([[10.0, 2.0], [12.0, 4.0]], np.float32)
    >>> shift, scale = centring.feature_centre(
    ...   leep_jax.Outputs.from_arrays(features=features, labels=[0, 1])
    ... )
    >>> shift.tolist(), float(scale)
    ([11.0, 3.0], 1.0)
  """
  store = outputs.store
  first = next(iter(store.chunks("features")))[:_ROWS].astype(np.float64)
  # Values that are not finite are refused by the first pass, by name.
  with np.errstate(over="ignore", invalid="ignore"):
    shift = np.nan_to_num(first.mean(axis=0), posinf=0, neginf=0)
    if not store.is_wide("features"):
      shift = shift.astype(np.float32)
    scale = np.float32(np.abs(first - shift).mean())
  # Constant features have no scale; a subnormal one would overflow others.
  usable = np.isfinite(scale) and scale > np.finfo(np.float32).tiny
  scale = scale if usable else np.float32(1)
  if outputs.over_hosts:
    shift = hosts.gather(shift)[0]
    scale = hosts.gather(np.asarray([scale]))[0][0]
  return shift, scale


def target_centre(outputs: Any) -> tuple[np.ndarray, np.ndarray]:
  """Returns the mean and the largest deviation `[T]` of targets `[n, T]`.

  A constant target has scale 1, and so have labels that are there or absent,
  as labels of classes have.

  Args:
    outputs: the `Outputs`.

  Raises:
    InputError: if there are no targets.

  Example:
    >>> import numpy as np
    >>> import leep_jax
    >>> from leep_jax.engine import centring
    >>> mean, scale = centring.target_centre(
    ...   leep_jax.Outputs.from_arrays(
    ...     features=[[1.0], [2.0]], targets=np.array([[1.0, 5.0], [3.0, 5.0]])
    ...   )
    ... )
    >>> mean.tolist(), scale.tolist()
    ([2.0, 5.0], [1.0, 1.0])
  """
  targets = outputs.targets
  if targets is None:
    raise validation.InputError(f"{outputs.name} has no targets")
  mean = targets.mean(axis=0)
  if outputs.multi_label:
    return mean, np.ones(len(mean))
  scale = np.abs(targets - mean).max(axis=0)
  return mean, np.where(scale > 0, scale, 1)
