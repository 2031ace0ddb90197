"""How well scores rank sources, of many samples at once.

Symbols: B samples (of sources or of targets), S sources. `scores` and `reached`
are `[B, S]`; a source that is NaN in one of them takes no part. Results are
`[B]`, NaN where they are undefined: fewer than 3 sources, or all of one value.
"""

import numpy as np


def _known(scores, reached):
  known = np.isfinite(scores) & np.isfinite(reached)
  return np.where(known, scores, 0), np.where(known, reached, 0), known


def _varies(values, known):
  """Whether known values differ by more than rounding."""
  high = np.where(known, values, -np.inf).max(axis=1)
  low = np.where(known, values, np.inf).min(axis=1)
  size = np.maximum(np.abs(high), np.abs(low))
  with np.errstate(invalid="ignore"):  # no source is known
    return (known.sum(axis=1) >= 3) & (high - low > 1e-9 * size)


def pearson(scores: np.ndarray, reached: np.ndarray) -> np.ndarray:
  """Returns Pearson's r of each sample."""
  x, y, known = _known(scores, reached)
  defined = _varies(x, known) & _varies(y, known)
  count = np.maximum(known.sum(axis=1, keepdims=True), 1)
  x, y = (
    np.where(known, v - v.sum(axis=1, keepdims=True) / count, 0) for v in (x, y)
  )
  size = np.sqrt((x**2).sum(axis=1) * (y**2).sum(axis=1))
  r = (x * y).sum(axis=1) / np.where(defined, size, 1)
  return np.where(defined, r, np.nan)


def _signs(values, known):
  """Sign of the difference of each pair, int8 `[B, S, S]`, 0 where unknown."""
  first, second = values[:, :, None], values[:, None, :]
  # Comparisons and int8 are several times faster than the sign of a float.
  signs = (first > second).astype(np.int8) - (first < second).astype(np.int8)
  return signs * (known[:, :, None] & known[:, None, :])


def spearman(scores: np.ndarray, reached: np.ndarray) -> np.ndarray:
  """Returns Spearman's rank correlation of each sample."""
  x, y, known = _known(scores, reached)
  # Twice the mean rank, but for a constant: how many are below minus above.
  x, y = (
    np.where(known, _signs(v, known).sum(axis=2, dtype=float), np.nan)
    for v in (x, y)
  )
  return pearson(x, y)


def weighted_kendall(scores: np.ndarray, reached: np.ndarray) -> np.ndarray:
  """Returns the hyperbolically weighted tau of each sample, as SciPy does.

  A pair of sources has the weight 1/(r+1) + 1/(s+1) with their ranks; the
  result is the mean of the value with ranks by score (ties by accuracy) and the
  one with ranks by accuracy (ties by score).

  Reference: Vigna, "A Weighted Correlation Index for Rankings with Ties", WWW
  2015.
  """
  x, y, known = _known(scores, reached)
  defined = _varies(x, known) & _varies(y, known)
  of_x, of_y = _signs(x, known), _signs(y, known)
  # Weights are sums, so that sums over the pairs of each source are enough.
  sums = [
    (a * b).sum(axis=2, dtype=float)
    for a, b in ((of_x, of_y), (of_x, of_x), (of_y, of_y))
  ]
  taus = []
  for first, second in ((x, y), (y, x)):
    order = np.lexsort((second, first, known), axis=1)[:, ::-1]
    ranks = np.empty_like(order)
    np.put_along_axis(ranks, order, np.arange(order.shape[1])[None], axis=1)
    both, *each = ((s / (ranks + 1)).sum(axis=1) for s in sums)
    taus.append(both / np.sqrt(np.where(defined, each[0] * each[1], 1)))
  return np.where(defined, np.mean(taus, axis=0), np.nan)


def regret(scores: np.ndarray, reached: np.ndarray) -> np.ndarray:
  """Returns what the first place loses against the best source.

  Of sources with equal scores the mean is taken. A source without a score is
  not chosen.
  """
  scored = np.isfinite(scores) & np.isfinite(reached)
  best = np.where(np.isfinite(reached), reached, -np.inf).max(axis=1)
  high = np.where(scored, scores, -np.inf).max(axis=1, keepdims=True)
  first = scored & (scores >= high - 1e-9 * np.abs(high))
  count = first.sum(axis=1)
  chosen = np.where(first, reached, 0).sum(axis=1) / np.maximum(count, 1)
  return np.where(count > 0, best - chosen, np.nan)


def pairs_in_order(
  scores: np.ndarray, reached: np.ndarray, *, apart: float
) -> np.ndarray:
  """Returns the share of pairs in the right order; ties count a half.

  Args:
    scores: `[B, S]`.
    reached: `[B, S]`.
    apart: least difference of the reached accuracies of a pair that counts.
  """
  x, y, known = _known(scores, reached)
  difference = y[:, :, None] - y[:, None, :]
  counted = (difference >= apart) & known[:, :, None] & known[:, None, :]
  right = (_signs(x, known) + 1) / 2
  total = counted.sum(axis=(1, 2))
  share = (right * counted).sum(axis=(1, 2)) / np.maximum(total, 1)
  return np.where(total > 0, share, np.nan)
