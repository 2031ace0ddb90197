r"""P2L: the size of a source data set, and its divergence from the target's.

A reference network gives the mean features of two data sets. Divided by their
sums they are distributions over the D features: s of the source data and t of
the target data. P2L compares sources by the number of their examples and by the
divergence KL(t || s), in nats; it looks at no labels.

The paper combines both numbers into one. Here it is the plain linear form,
which may not be the paper's own: a source data set of n examples has

    log(n) - alpha KL(t || s),

higher transfers better. No `alpha` suits all data: look at both numbers. Other
published code for it (mml_tf of IMSY-DKFZ) is linear too, in numbers that are
standardised over the sources, and weighs the divergence 1.5 times.

Reference: Bhattacharjee, Kender, Hill, Dube, Huo, Glass, Belgodere, Pankanti,
Codella, Watson. P2L: Predicting Transfer Learning for Images and Semantic
Relations. CVPR Workshops 2020, arXiv 1908.07630.
"""

from collections.abc import Sequence
import math

import numpy as np
import numpy.typing as npt

from leep_jax import validation
from leep_jax.engine import outputs as outputs_lib, statistics


def mean_features(outputs: outputs_lib.Outputs) -> np.ndarray:
  """Returns the mean features `[D]` of a data set, from one pass.

  Args:
    outputs: of the reference network on it.

  Raises:
    InputError: if there are no features, or they are not finite.

  Example:
    >>> import leep_jax
    >>> from leep_jax.relations import p2l
    >>> outputs = leep_jax.Outputs.from_arrays(
    ...   features=[[1.0, 2.0], [3.0, 2.0]], labels=[0, 1])
    >>> p2l.mean_features(outputs).tolist()
    [2.0, 2.0]
  """
  total = outputs.sum(statistics.feature_spread)["total"]
  shift, scale = outputs.feature_centre
  found: np.ndarray = total / len(outputs) * float(scale) + shift
  # The sums are of shifted numbers: a mean of about 0 may be rounded below it.
  rounded = (found < 0) & (found > -1e-6 * float(scale))
  return np.where(rounded, 0, found)


def divergence(source: npt.ArrayLike, target: npt.ArrayLike) -> float:
  """Computes KL(t || s) of mean features, in nats; lower is nearer.

  sum_d t_d log(t_d / s_d), where s and t are the mean features divided by their
  sums, and 0 log 0 is 0.

  Args:
    source: mean features `[D]` of the source data, at least 0.
    target: mean features `[D]` of the target data.

  Returns:
    At least 0; infinite if the target has a feature that the source lacks.

  Raises:
    InputError: if the numbers of features differ, or values are not finite.
    UndefinedScore: if a mean is negative, or all are 0.

  Example:
    >>> from leep_jax import relations
    >>> round(relations.divergence([1.0, 3.0], [1.0, 1.0]), 4)  # log(4/3) / 2
    0.1438

  Reference: Bhattacharjee et al. P2L. CVPR Workshops 2020, arXiv 1908.07630.
  """
  s, t = _distribution("source", source), _distribution("target", target)
  if len(s) != len(t):
    raise validation.InputError(
      f"the source has {len(s)} features and the target {len(t)}: both must be "
      "of one reference network"
    )
  used = t > 0
  if (s[used] == 0).any():
    return math.inf
  return max(0.0, float(t[used] @ np.log(t[used] / s[used])))


def _distribution(what, means):
  means = validation.as_array(what, means).astype(np.float64)
  if means.ndim != 1 or not np.isfinite(means).all():
    raise validation.InputError(f"{what} must be finite numbers [D]")
  if (means < 0).any():
    raise validation.UndefinedScore(
      f"feature {int(means.argmin())} of the {what} has a negative mean: P2L "
      "needs features that are at least 0, as after a ReLU"
    )
  if not means.any():
    raise validation.UndefinedScore(f"all features of the {what} are 0")
  return means / means.sum()


def p2l(
  means: Sequence[npt.ArrayLike], sizes: Sequence[int], *, alpha: float = 1.0
) -> np.ndarray:
  """Computes P2L of all pairs of data sets; higher transfers better.

  log(n_s) - alpha KL(t || s), in nats.

  Args:
    means: mean features `[D]` of the A data sets.
    sizes: numbers of examples of the A data sets, as sources.
    alpha: weight of the divergence.

  Returns:
    `[A, A]` float64, sources in rows and targets in columns.

  Raises:
    InputError: as `divergence`, or if a size is below 1.
    UndefinedScore: as `divergence`.

  Example:
    >>> from leep_jax.relations import p2l
    >>> p2l.p2l([[1, 3], [1, 1]], [100, 1000]).round(3).tolist()
    [[4.605, 4.461], [6.777, 6.908]]

  Reference: Bhattacharjee et al. P2L. CVPR Workshops 2020, arXiv 1908.07630.
  """
  sizes = [validation.at_least_1("size", size) for size in sizes]
  return np.array([
    [math.log(size) - alpha * divergence(s, t) for t in means]
    for s, size in zip(means, sizes, strict=True)
  ])  # fmt: skip
