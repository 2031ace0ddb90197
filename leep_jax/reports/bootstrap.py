"""The bias-corrected and accelerated bootstrap (BCa).

Reference: Efron, "Better Bootstrap Confidence Intervals", JASA 1987.
"""

from collections.abc import Callable

import numpy as np

_FEWEST = 5  # rows that an interval needs: see `correlation.correlate`
_BLOCK = 2**22  # rows drawn at a time: 32 MB a column


def bca_interval(
  statistic: Callable[..., np.ndarray],
  without_one: Callable[..., np.ndarray],
  columns: tuple[np.ndarray, ...],
  level: float,
  samples: int,
  seed: int,
) -> tuple[float, float] | None:
  """BCa interval of a statistic, over rows drawn with replacement.

  Draws for which the statistic is undefined do not count. None if there are
  few rows, or it is undefined without one of them: that row decides alone.
  """
  n = len(columns[0])
  if n < _FEWEST:
    return None
  from scipy.special import ndtr, ndtri

  rng = np.random.default_rng(seed)
  block = max(1, _BLOCK // n)
  drawn = []
  for start in range(0, samples, block):
    rows = rng.integers(n, size=(min(block, samples - start), n))
    drawn.append(statistic(*(column[rows] for column in columns)))
  draws = np.concatenate(drawn)
  draws = draws[np.isfinite(draws)]
  if not len(draws):
    return None
  value = statistic(*columns)
  below = (np.mean(draws < value) + np.mean(draws <= value)) / 2
  rim = 1 / (2 * len(draws))
  bias = ndtri(np.clip(below, rim, 1 - rim))
  deleted = without_one(*columns)
  if not np.isfinite(deleted).all():
    return None
  change = deleted.mean() - deleted
  power = np.sum(change**2) ** 1.5
  acceleration = np.sum(change**3) / (6 * power) if power > 0 else 0.0
  z = bias + ndtri([(1 - level) / 2, (1 + level) / 2])
  shrink = 1 - acceleration * z
  # Where it vanishes, the end is that of all draws.
  shares = np.where(
    shrink > 0, ndtr(bias + z / np.where(shrink > 0, shrink, 1)), z > 0
  )
  low, high = np.quantile(draws, shares)
  return float(low), float(high)
