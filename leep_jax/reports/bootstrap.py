"""Bootstrap intervals by SciPy, also where some draws have no value.

The interval is the bias-corrected and accelerated one (BCa). Of few rows, or of
rows with ties, a draw may take the same value again and again, and then has no
correlation. `scipy.stats.bootstrap` is undefined if a single draw is; here such
draws are left out.

Reference: Efron, "Better Bootstrap Confidence Intervals", JASA 1987.
"""

from collections.abc import Callable
import dataclasses
import functools
import warnings

import numpy as np

# With fewer rows BCa covers too little: see `correlation.correlate`.
_FEWEST = 5
# Rows drawn at a time. A draw of 8 bytes a row and column is then 32 MiB.
_BLOCK = 2**22


def bca_interval(
  statistic: Callable[..., np.ndarray],
  columns: tuple[np.ndarray, ...],
  *,
  level: float,
  samples: int,
  seed: int,
) -> tuple[float, float] | None:
  """Returns the BCa interval of a statistic of rows.

  Args:
    statistic: function of the columns, `[..., n]`, to `[...]`; NaN where it is
      undefined.
    columns: each `[n]`.
    level: of the interval, between 0 and 1.
    samples: how many times n rows are drawn with replacement.
    seed: of the draws.

  Returns:
    Its ends; or None with fewer than 5 rows, if the statistic is undefined
    without one of the rows, which then decides it alone, or if all values
    without a row are equal but those of the draws are not.

  Example:
    >>> import numpy as np
    >>> from leep_jax.reports import bootstrap
    >>> def mean(x):
    ...   return x.mean(axis=-1)
    >>> low, high = bootstrap.bca_interval(
    ...   mean, (np.arange(50.0),), level=0.95, samples=1000, seed=0)
    >>> low < 24.5 < high
    True
  """
  n = len(columns[0])
  if n < _FEWEST:
    return None
  import scipy.stats

  def along_last_axis(*drawn, axis):
    del axis  # always -1
    return statistic(*drawn)

  bootstrap = functools.partial(
    scipy.stats.bootstrap,
    columns,
    along_last_axis,
    paired=True,
    vectorized=True,
    batch=max(1, _BLOCK // n),
    confidence_level=level,
  )
  with warnings.catch_warnings():
    # SciPy warns of what is undefined. Here it is None or has been left out.
    warnings.simplefilter("ignore")
    found = bootstrap(
      n_resamples=samples, method="percentile", rng=np.random.default_rng(seed)
    )
    draws = found.bootstrap_distribution
    draws = draws[np.isfinite(draws)]
    if not len(draws):
      return None
    # Draws nothing more: the interval is of the draws that are defined.
    low, high = bootstrap(
      n_resamples=0,
      method="BCa",
      bootstrap_result=dataclasses.replace(found, bootstrap_distribution=draws),
    ).confidence_interval
  if np.isfinite(low) and np.isfinite(high):
    return float(low), float(high)
  # BCa divides by the spread of the statistic, which on an exact line is 0 or
  # rounding alone.
  low, high = draws.min(), draws.max()
  one_value = high - low <= 1e-12 * max(abs(low), abs(high))
  if one_value and _defined_without_each(statistic, columns):
    return float(low), float(high)
  return None


def _defined_without_each(statistic, columns):
  return all(
    np.isfinite(statistic(*(np.delete(column, i) for column in columns)))
    for i in range(len(columns[0]))
  )
