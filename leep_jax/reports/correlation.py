"""How well scores predict what transfer reached, over tasks or over models.

`scores` and `truths` are `[n]`, one pair a row: of n target tasks for one
model, or of n models for one task. A truth is the transfer performance, test
accuracy or F1; scores and truths are better when higher. None and NaN, and
infinities, are missing values.
"""

from collections.abc import Mapping
import dataclasses
import math
from typing import Any

import numpy as np

from leep_jax import validation
from leep_jax.reports import bootstrap

_LEVEL = 0.95
_SAMPLES = 2000
_SAME = 2e-13  # spread, relative to the values, that is rounding alone


@dataclasses.dataclass(frozen=True)
class Correlation:
  """Agreement of scores and truths; statistics are None where undefined.

  Attributes:
    n: rows that were used.
    dropped: rows left out, for a missing score or truth.
    pearson: r.
    p_value: two-sided, of no linear relation (exact for normal values).
    interval: of r, by the bootstrap (BCa). None with n < 5, or if r is
      undefined without one of the rows.
    fisher_interval: of r, by Fisher's z; needs n >= 4.
    kendall: tau-b, which allows for ties.
    weighted_kendall: hyperbolically weighted tau, led by the best rows.
    spearman: rho.
    level: of both intervals.
    reason: why the statistics are undefined, or None.
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
  """Which of two scores follows the same truths more closely.

  Attributes:
    n: rows that were used for both.
    dropped: rows left out, for a missing score of either or a missing truth.
    pearson_a: r of the first scores, None if undefined.
    pearson_b: r of the second scores, None if undefined.
    value: `pearson_a - pearson_b`, None if one is undefined.
    interval: of the value, by the paired bootstrap (BCa); None as there. The
      two can be told apart if it excludes 0.
    level: of the interval.
    reason: why the difference is undefined, or None.
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
    rows: indices of its rows in what was given.
    mean: of their truths, None if there are no rows.
    standard_error: of that mean, None if there are fewer than 2 rows.
  """

  low: float
  high: float
  rows: tuple[int, ...]
  mean: float | None
  standard_error: float | None

  @property
  def n(self) -> int:
    """How many rows there are."""
    return len(self.rows)


def correlate(
  scores: Any,
  truths: Any,
  *,
  level: float = _LEVEL,
  samples: int = _SAMPLES,
  seed: int = 0,
) -> Correlation:
  """Correlates scores with truths, linearly and by rank.

  Weighted tau has the weight 1/(r+1) + 1/(s+1) for the pair of rows with ranks
  r and s, counted from 0 at the best. It is the mean of two: ranked by score,
  and ranked by truth. That is SciPy's default, which comparisons since LogME
  report: the code of Agostinelli et al. and of SFDA, both ECCV 2022, does.

  The bootstrap interval is the bias-corrected and accelerated one (BCa): a
  percentile interval is too short for few rows. Of normal values with r = 0,
  0.5 and 0.9, 95 % intervals held r in 86 to 92 % of 500 trials with 5 to 9
  rows, and BCa ones in 90 to 97 %; with 200 rows both do in 94 to 95 %. With 4
  rows neither can be trusted (71 % at r = 0.9).

  Args:
    scores: `[n]`, numbers or None.
    truths: `[n]`, numbers or None.
    level: of the intervals, between 0 and 1.
    samples: how many times the bootstrap draws n rows.
    seed: of the bootstrap.

  Returns:
    The statistics. They are None, with the reason, if fewer than 3 rows have
    both values, or all scores or all truths are the same.

  Raises:
    InputError: if lengths differ, values are not real numbers, or an option is
      out of range.

  Reference: Efron, "Better Bootstrap Confidence Intervals", JASA 1987 (BCa);
  Fisher, "On the 'Probable Error' of a Coefficient of Correlation", Metron
  1921; Vigna, "A Weighted Correlation Index for Rankings with Ties", WWW 2015;
  You et al., "LogME", ICML 2021 (weighted tau for transferability).
  """
  _check_options(level, samples, seed)
  (x, y), kept = complete({"scores": scores, "truths": truths})
  n, dropped = len(x), int(np.sum(~kept))
  reason = _undefined(scores=x, truths=y)
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
  scores_a: Any,
  scores_b: Any,
  truths: Any,
  *,
  level: float = _LEVEL,
  samples: int = _SAMPLES,
  seed: int = 0,
) -> Difference:
  """Compares how closely two scores follow the same truths: r_a - r_b.

  Each draw of the bootstrap takes the same rows for both scores, so what moves
  both correlations cancels.

  Args:
    scores_a: `[n]`, numbers or None.
    scores_b: `[n]`, numbers or None.
    truths: `[n]`, numbers or None.
    level: of the interval, between 0 and 1.
    samples: how many times the bootstrap draws n rows.
    seed: of the bootstrap.

  Raises:
    InputError: as `correlate`.

  Reference: Efron, "Better Bootstrap Confidence Intervals", JASA 1987.
  """
  _check_options(level, samples, seed)
  (a, b, y), kept = complete(
    {"scores_a": scores_a, "scores_b": scores_b, "truths": truths}
  )
  reason_a = _undefined(scores_a=a, truths=y)
  reason_b = _undefined(scores_b=b, truths=y)
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


def relative_top_k(scores: Any, truths: Any, *, k: int) -> float:
  """Rel@k: best truth among the k highest scores, by the best truth; at most 1.

  A model without a score is not chosen, but may be the best. Equal scores
  count against the score: of those, the worst models are taken first.

  Args:
    scores: `[n]` of n models for one task, numbers or None.
    truths: `[n]`, numbers.
    k: how many models are tried.

  Raises:
    InputError: if a truth is missing, as the best model is then not known, k
      is not in 1..n, or the arrays are no columns of one length.
    UndefinedScore: if no model has a score, or no truth is above 0.

  Reference: Li et al., "Ranking Neural Checkpoints", CVPR 2021.
  """
  x, y = _columns({"scores": scores, "truths": truths})
  if validation.at_least_1("k", k) > len(y):
    raise validation.InputError(f"k is {k}, but there are {len(y)} models")
  missing = int(np.sum(~np.isfinite(y)))
  if missing:
    raise validation.InputError(
      f"truths: {missing} of {len(y)} are missing, so the best model is not "
      "known: leave those models out?"
    )
  best = float(y.max())
  if best <= 0:
    raise validation.UndefinedScore(
      f"the best truth is {best:g}: what is reached cannot be divided by it"
    )
  scored = np.isfinite(x)
  if not scored.any():
    raise validation.UndefinedScore(f"none of {len(y)} models has a score")
  order = np.lexsort((y[scored], -x[scored]))
  return float(y[scored][order[:k]].max()) / best


def regret(scores: Any, truths: Any) -> float:
  """What choosing by score loses: (best truth - truth of the chosen) / best.

  The chosen model is the one with the highest score; of equal scores, the
  worst. 0 is the best regret; it is `1 - relative_top_k(..., k=1)`.

  Args:
    scores: `[n]` of n models for one task, numbers or None.
    truths: `[n]`, numbers.

  Raises:
    InputError: as `relative_top_k`.
    UndefinedScore: as `relative_top_k`.

  Reference: after Renggli et al., "Which Model to Transfer? Finding the Needle
  in the Growing Haystack", CVPR 2022, whose regret is the difference itself.
  """
  return 1 - relative_top_k(scores, truths, k=1)


def levels(
  scores: Any,
  truths: Any,
  *,
  count: int = 5,
  between: tuple[float, float] | None = None,
) -> tuple[Level, ...]:
  """Mean truth in bins of equal width between the lowest and highest score.

  Rows that lack a value are in no bin. Bins without rows stay.

  Args:
    scores: `[n]`, numbers or None.
    truths: `[n]`, numbers or None.
    count: how many bins.
    between: lowest and highest score of all bins, where those of other rows are
      to have the same; scores beyond are in no bin.

  Returns:
    The bins, lowest scores first.

  Raises:
    InputError: as `correlate`, or if `count` is not at least 1.
    UndefinedScore: if no row has both values, or all scores are the same.

  Reference: Nguyen, Hassner, Archambeau & Seeger, "LEEP: A New Measure to
  Evaluate Transferability of Learned Representations", ICML 2020, section 5.2.
  """
  validation.at_least_1("count", count)
  (x, y), kept = complete({"scores": scores, "truths": truths})
  if not len(x):
    raise validation.UndefinedScore(
      f"there are no levels: none of {len(kept)} rows has a score and a truth"
    )
  if _same(x):
    raise validation.UndefinedScore(
      f"there are no levels: scores are all the same, {x[0]:g}"
    )
  indices = np.flatnonzero(kept)
  low, high = between or (x.min(), x.max())
  edges = np.linspace(low, high, count + 1)
  bins = np.minimum(np.searchsorted(edges, x, side="right") - 1, count - 1)
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
  columns: Mapping[str, Any],
) -> tuple[list[np.ndarray], np.ndarray]:
  """Returns the rows in which no column lacks a value.

  Args:
    columns: by the name that error messages call them, each `[n]`, numbers,
      None, NaN or infinities.

  Returns:
    The columns as `[m]` float64, and `[n]` booleans: which rows those are.

  Raises:
    InputError: if a column is not one-dimensional or not of real numbers, or
      lengths differ.
  """
  arrays = _columns(columns)
  kept = np.logical_and.reduce([np.isfinite(array) for array in arrays])
  return [array[kept] for array in arrays], kept


def _columns(columns):
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
  if array.dtype == object:
    array = validation.as_array(
      name, [np.nan if v is None else v for v in array]
    )
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
  x = x / np.abs(x).max()
  x = x - x.mean()
  return x / np.abs(x).max()


def _pearson(x, y):
  """r over the last axis; NaN where all x or all y are the same."""
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
  if abs(r) >= 1:
    return r, r
  from scipy.special import ndtri

  half = float(ndtri((1 + level) / 2)) / math.sqrt(n - 3)
  return math.tanh(math.atanh(r) - half), math.tanh(math.atanh(r) + half)
