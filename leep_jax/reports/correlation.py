"""How closely scores follow transfer performance, over tasks or over models.

`scores` and `performances` are `[n]`, one pair a row: of n target tasks for one
model, or of n models for one task. A performance is the accuracy or F1 on test
data after transfer. Of both, higher is better. None, NaN and infinities are
missing values.
"""

from collections.abc import Mapping, Sequence
import dataclasses
import math
from typing import TypeAlias

import numpy as np
import numpy.typing as npt

from leep_jax import validation
from leep_jax.reports import bootstrap

_LEVEL = 0.95
_SAMPLES = 2000
# Spread, relative to the values, that is rounding alone: about a thousand times
# the spacing of float64, as values are themselves results of long sums.
_SAME = 2e-13

# `[n]` numbers, in which None is a missing value.
Column: TypeAlias = npt.ArrayLike | Sequence[float | None]


@dataclasses.dataclass(frozen=True)
class Correlation:
  """Agreement of scores and performances; statistics are None where undefined.

  Attributes:
    n: number of rows that were used.
    dropped: number of rows left out because a value is missing.
    pearson: r.
    p_value: two-sided, of no linear relation (exact for normal values).
    interval: of r, by the bootstrap (BCa). None with n < 5, or if r is
      undefined without one of the rows.
    fisher_interval: of r, by Fisher's z; needs n >= 4.
    kendall: tau-b, which allows for ties.
    weighted_kendall: hyperbolically weighted tau, in which the best rows count
      most.
    spearman: rho.
    level: of both intervals.
    reason: why the statistics are undefined, or None.

  Example:
    >>> import leep_jax
    >>> found = leep_jax.correlate([-1.0, -2.0, -3.0], [0.9, 0.7, 0.8])
    >>> found.n, round(found.pearson, 6)
    (3, 0.5)
    >>> leep_jax.correlate([-1.0, -1.0, -1.0], [0.9, 0.7, 0.8]).reason
    'scores are all the same, -1'
  """

  n: int
  dropped: int
  pearson: float | None
  p_value: float | None
  interval: tuple[float, float] | None
  fisher_interval: tuple[float, float] | None
  kendall: float | None
  weighted_kendall: float | None
  spearman: float | None
  level: float
  reason: str | None


@dataclasses.dataclass(frozen=True)
class Difference:
  """Which of two scores predicts the same performances better.

  Attributes:
    n: number of rows that were used.
    dropped: number of rows left out because a value is missing.
    pearson_a: r of the first scores, None if undefined.
    pearson_b: r of the second scores, None if undefined.
    value: `pearson_a - pearson_b`, None if one is undefined.
    interval: of the value, by the paired bootstrap (BCa); None as in
      `Correlation`. The two scores differ significantly if it excludes 0.
    level: of the interval.
    reason: why the difference is undefined, or None.

  Example:
    >>> from leep_jax.reports import correlation
    >>> found = correlation.difference([1, 2, 3], [3, 2, 1], [0.1, 0.2, 0.3])
    >>> round(found.pearson_a, 6), round(found.pearson_b, 6)
    (1.0, -1.0)
  """

  n: int
  dropped: int
  pearson_a: float | None
  pearson_b: float | None
  value: float | None
  interval: tuple[float, float] | None
  level: float
  reason: str | None


@dataclasses.dataclass(frozen=True)
class Level:
  """Rows whose scores lie in one of several bins of equal width.

  Attributes:
    low: lower edge, which belongs to the bin.
    high: upper edge, which belongs to the bin only if it is the last one.
    rows: indices of its rows in the arrays given.
    mean: mean performance of these rows, None if there are none.
    standard_error: of that mean, None if there are fewer than 2 rows.

  Example:
    >>> from leep_jax.reports import correlation
    >>> low, high = correlation.levels([0, 1, 9], [0.2, 0.4, 0.8], count=2)
    >>> low.rows, low.n, high.rows
    ((0, 1), 2, (2,))
  """

  low: float
  high: float
  rows: tuple[int, ...]
  mean: float | None
  standard_error: float | None

  @property
  def n(self) -> int:
    """Number of rows in the bin."""
    return len(self.rows)


def correlate(
  scores: Column,
  performances: Column,
  *,
  level: float = _LEVEL,
  samples: int = _SAMPLES,
  seed: int = 0,
) -> Correlation:
  """Correlates scores with performances, linearly and by rank.

  Weighted tau gives the pair of rows with ranks r and s, counted from 0 at the
  best, the weight 1/(r+1) + 1/(s+1). It is the mean of two values: one ranks by
  score, the other by performance. That is SciPy's default, which papers since
  LogME report (as the code of Agostinelli et al. and of SFDA, both ECCV 2022).

  The bootstrap interval is the bias-corrected and accelerated one (BCa), as a
  percentile interval is too short for few rows. For normal values with r = 0,
  0.5 and 0.9, percentile intervals of 95 % covered r in 86 to 92 % of 500
  trials with 5 to 9 rows, and BCa intervals in 90 to 97 %; with 200 rows both
  cover it in 94 to 95 %. With 4 rows neither can be trusted (71 % at r = 0.9).

  Args:
    scores: `[n]`, numbers or None.
    performances: `[n]`, numbers or None.
    level: of the intervals, between 0 and 1.
    samples: how many times the bootstrap draws n rows.
    seed: of the bootstrap.

  Returns:
    The statistics. They are None, with the reason, if fewer than 3 rows have
    both values, or all scores or all performances are the same.

  Raises:
    InputError: if lengths differ, values are not real numbers, or an option is
      out of range.

  Reference: Efron, "Better Bootstrap Confidence Intervals", JASA 1987 (BCa);
  Fisher, "On the 'Probable Error' of a Coefficient of Correlation", Metron
  1921; Vigna, "A Weighted Correlation Index for Rankings with Ties", WWW 2015;
  You et al., "LogME", ICML 2021 (weighted tau for transferability).

  Example:
    LEEP of eight source models on one target task, and the test accuracy that
    each reached after transfer: does LEEP find the best model?

    >>> import leep_jax
    >>> leep = [-0.9, -1.4, -0.7, -2.1, -1.1, -1.8, -0.6, -1.5]
    >>> accuracy = [0.84, 0.77, 0.88, 0.61, 0.82, 0.70, 0.86, None]
    >>> found = leep_jax.correlate(leep, accuracy)
    >>> print(f"{found.n} models, {found.dropped} left out")
    7 models, 1 left out
    >>> print(f"r = {found.pearson:.2f}, p = {found.p_value:.4f}")
    r = 0.98, p = 0.0001
    >>> print("95 % interval: {:.2f} to {:.2f}".format(*found.interval))
    95 % interval: 0.57 to 0.99
    >>> print(f"tau = {found.kendall:.2f}, rho = {found.spearman:.2f}")
    tau = 0.90, rho = 0.96
  """
  _check_options(level, samples, seed)
  (x, y), kept = complete({"scores": scores, "performances": performances})
  n, dropped = len(x), int(np.sum(~kept))
  reason = _undefined(scores=x, performances=y)
  if reason:
    nothing = (None,) * 7
    return Correlation(n, dropped, *nothing, level=level, reason=reason)
  import scipy.stats

  x, y = _scaled(x), _scaled(y)
  pearson, p_value = scipy.stats.pearsonr(x, y)
  return Correlation(
    n=n,
    dropped=dropped,
    pearson=float(pearson),
    p_value=float(p_value),
    interval=bootstrap.bca_interval(
      _pearson, (x, y), level=level, samples=samples, seed=seed
    ),
    fisher_interval=_fisher(float(pearson), n, level),
    kendall=float(scipy.stats.kendalltau(x, y).statistic),
    weighted_kendall=float(scipy.stats.weightedtau(x, y).statistic),
    spearman=float(scipy.stats.spearmanr(x, y).statistic),
    level=level,
    reason=None,
  )


def difference(
  scores_a: Column,
  scores_b: Column,
  performances: Column,
  *,
  level: float = _LEVEL,
  samples: int = _SAMPLES,
  seed: int = 0,
) -> Difference:
  """Compares how well two scores predict the same performances: r_a - r_b.

  Each draw of the bootstrap takes the same rows for both scores, so that a row
  that raises or lowers both correlations hardly changes their difference.

  Args:
    scores_a: `[n]`, numbers or None.
    scores_b: `[n]`, numbers or None.
    performances: `[n]`, numbers or None.
    level: of the interval, between 0 and 1.
    samples: how many times the bootstrap draws n rows.
    seed: of the bootstrap.

  Raises:
    InputError: as `correlate`.

  Reference: Efron, "Better Bootstrap Confidence Intervals", JASA 1987.

  Example:
    >>> from leep_jax.reports import correlation
    >>> accuracy = [0.61, 0.70, 0.77, 0.82, 0.84, 0.86, 0.88]
    >>> leep = [-2.1, -1.8, -1.4, -1.1, -0.9, -0.6, -0.7]
    >>> nce = [-1.9, -1.2, -1.6, -0.8, -1.3, -0.7, -1.1]
    >>> found = correlation.difference(leep, nce, accuracy)
    >>> f"{found.pearson_a:.2f} - {found.pearson_b:.2f} = {found.value:.2f}"
    '0.98 - 0.74 = 0.24'
  """
  _check_options(level, samples, seed)
  (a, b, y), kept = complete(
    {"scores_a": scores_a, "scores_b": scores_b, "performances": performances}
  )
  reason_a = _undefined(scores_a=a, performances=y)
  reason_b = _undefined(scores_b=b, performances=y)
  a, b, y = _scaled(a), _scaled(b), _scaled(y)
  pearson_a = None if reason_a else float(_pearson(a, y))
  pearson_b = None if reason_b else float(_pearson(b, y))
  value = interval = None
  if pearson_a is not None and pearson_b is not None:
    value = pearson_a - pearson_b
    interval = bootstrap.bca_interval(
      lambda a, b, y: _pearson(a, y) - _pearson(b, y),
      (a, b, y),
      level=level,
      samples=samples,
      seed=seed,
    )
  return Difference(
    n=len(y),
    dropped=int(np.sum(~kept)),
    pearson_a=pearson_a,
    pearson_b=pearson_b,
    value=value,
    interval=interval,
    level=level,
    reason=reason_a or reason_b,
  )


def levels(
  scores: Column,
  performances: Column,
  *,
  count: int = 5,
  between: tuple[float, float] | None = None,
) -> tuple[Level, ...]:
  """Mean performance in bins of equal width between lowest and highest score.

  Rows with a missing value are in no bin. Bins without rows are kept.

  Args:
    scores: `[n]`, numbers or None.
    performances: `[n]`, numbers or None.
    count: number of bins.
    between: lowest edge of the first bin and highest of the last, so that bins
      of several calls agree; by default the lowest and highest score. Scores
      beyond are in no bin.

  Returns:
    The bins, lowest scores first.

  Raises:
    InputError: as `correlate`, or if `count` is not at least 1.
    UndefinedScore: if no row has both values, or all scores are the same.

  Reference: Nguyen, Hassner, Archambeau & Seeger, "LEEP: A New Measure to
  Evaluate Transferability of Learned Representations", ICML 2020, section 5.2.

  Example:
    >>> from leep_jax.reports import correlation
    >>> scores, accuracy = [-2.0, -1.9, -1.1, -1.0], [0.5, 0.7, 0.8, 0.9]
    >>> for level in correlation.levels(scores, accuracy, count=2):
    ...   print(f"{level.low} to {level.high}: {level.n}, {level.mean:.2f}")
    -2.0 to -1.5: 2, 0.60
    -1.5 to -1.0: 2, 0.85
  """
  validation.at_least_1("count", count)
  (x, y), kept = complete({"scores": scores, "performances": performances})
  if not len(x):
    raise validation.UndefinedScore(
      f"there are no levels: none of {len(kept)} rows has a score and a "
      "performance"
    )
  if _same(x):
    raise validation.UndefinedScore(
      f"there are no levels: scores are all the same, {x[0]:g}"
    )
  indices = np.flatnonzero(kept)
  low, high = between or (x.min(), x.max())
  edges = np.linspace(low, high, count + 1)
  # An edge belongs to the bin above it; the last edge to the last bin.
  bins = np.minimum(np.searchsorted(edges, x, side="right") - 1, count - 1)
  # Outside `between`. Rows below it have bin -1 already.
  bins[x > high] = -1
  found = []
  for i in range(count):
    inside = bins == i
    n = int(inside.sum())
    error = float(y[inside].std(ddof=1)) / math.sqrt(n) if n > 1 else None
    found.append(
      Level(
        low=float(edges[i]),
        high=float(edges[i + 1]),
        rows=tuple(indices[inside].tolist()),
        mean=float(y[inside].mean()) if n else None,
        standard_error=error,
      )
    )
  return tuple(found)


def complete(
  columns: Mapping[str, Column],
) -> tuple[list[np.ndarray], np.ndarray]:
  """Returns the rows in which no column lacks a value.

  Args:
    columns: by the name that error messages call them, each `[n]`, numbers,
      None, NaN or infinities.

  Returns:
    The columns of the m complete rows as `[m]` float64, and `[n]` booleans that
    mark these rows.

  Raises:
    InputError: if a column is not one-dimensional or not of real numbers, or
      lengths differ.

  Example:
    >>> from leep_jax.reports import correlation
    >>> columns, kept = correlation.complete(
    ...   {"scores": [1, None, 3], "performances": [4, 5, 6]})
    >>> print(*columns, kept)
    [1. 3.] [4. 6.] [ True False  True]
  """
  arrays = as_columns(columns)
  kept = np.logical_and.reduce([np.isfinite(array) for array in arrays])
  return [array[kept] for array in arrays], kept


def as_columns(columns: Mapping[str, Column]) -> list[np.ndarray]:
  """Returns columns as `[n]` float64; a missing value is NaN or infinite.

  Args:
    columns: as for `complete`.

  Raises:
    InputError: as `complete`.

  Example:
    >>> from leep_jax.reports import correlation
    >>> correlation.as_columns({"scores": [1, None]})
    [array([ 1., nan])]
  """
  arrays = [_column(name, values) for name, values in columns.items()]
  first, *others = columns
  for name, array in zip(others, arrays[1:], strict=True):
    if len(array) != len(arrays[0]):
      raise validation.InputError(
        f"{first} has {len(arrays[0])} values, but {name} has {len(array)}: "
        "one of each belongs to a row"
      )
  return arrays


def _column(name, values):
  array = validation.as_array(name, values)
  if array.ndim != 1:
    raise validation.InputError(f"{name} has shape {array.shape}, not [n]")
  # A missing value makes it an array of objects.
  if array.dtype == object:
    array = validation.as_array(
      name, [np.nan if v is None else v for v in array]
    )
  # NumPy has no kind for bfloat16: it is `V`, as of raw bytes.
  if array.dtype.kind not in "fiub" and array.dtype.name != "bfloat16":
    raise validation.InputError(f"{name} is {array.dtype}, not real numbers")
  return array.astype(np.float64)


def _check_options(level, samples, seed):
  if not 0 < level < 1:
    raise validation.InputError(
      f"level is {level!r}, but must be between 0 and 1: 0.95 for 95 %"
    )
  validation.at_least_1("samples", samples)
  if not isinstance(seed, (int, np.integer)) or seed < 0:
    raise validation.InputError(
      f"seed is {seed!r}, but must be an integer from 0"
    )


def _undefined(**columns):
  """Why columns without missing values have no correlation, or None."""
  n = min(map(len, columns.values()))
  # Two points always lie on a line.
  if n < 3:
    return f"a correlation needs 3 complete rows, not {n}"
  for name, array in columns.items():
    if _same(array):
      return f"{name} are all the same, {array[0]:g}"
  return None


def _same(x):
  return np.ptp(x) <= _SAME * np.abs(x).max()


def _scaled(x):
  """Centred and within [-1, 1]: squares neither overflow nor vanish."""
  if not len(x) or _same(x):
    return np.zeros_like(x)
  # Before the mean is taken, as the sum of very large values may overflow.
  x = x / np.abs(x).max()
  x = x - x.mean()
  return x / np.abs(x).max()


def _pearson(x, y):
  """r over the last axis; NaN where all x or all y are the same."""
  # By comparison: of equal values, the mean and the sum of squares about it are
  # rounded, so that r would be a quotient of two roundings.
  varied = (x != x[..., :1]).any(axis=-1) & (y != y[..., :1]).any(axis=-1)
  x = x - x.mean(axis=-1, keepdims=True)
  y = y - y.mean(axis=-1, keepdims=True)
  xx, yy, xy = (
    np.einsum("...n,...n->...", *pair) for pair in ((x, x), (y, y), (x, y))
  )
  scale = np.sqrt(np.where(varied, xx * yy, 1))
  return np.where(varied, np.clip(xy / scale, -1, 1), np.nan)


def _fisher(r, n, level):
  if n <= 3:
    return None
  # atanh would be infinite.
  if abs(r) >= 1:
    return r, r
  from scipy.special import ndtri

  # atanh r is about normal, with standard error 1 / sqrt(n - 3).
  half = float(ndtri((1 + level) / 2)) / math.sqrt(n - 3)
  return math.tanh(math.atanh(r) - half), math.tanh(math.atanh(r) + half)
