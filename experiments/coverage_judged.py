"""Judges the intervals of scores of samples, for `coverage`.

The functions return how often intervals hold a value, and which sources may be
the best. Symbols: S sources, P pairs of sources.

Purpose, command, cost and results: see `experiments.coverage`.
"""

from collections.abc import Sequence
import itertools
from typing import Any

import numpy as np
import scipy.stats

from leep_jax.scores import jackknife

EXAMPLES = 20_000
SOURCES = (
  "fashion_mnist_resnet8", "cifar10_resnet14", "cifar100_resnet14",
  "tiny_imagenet32_resnet14", "resnet20", "resnet32", "resnet44", "resnet56",
)  # fmt: skip
PAIRS = tuple(itertools.combinations(range(len(SOURCES)), 2))


def judged(
  size: int,
  facts_of: Sequence[dict[str, Any]],
  truth: np.ndarray,
  *,
  others: bool = False,
  degrees: float = jackknife.GROUPS - 1,
  trained_on_it: int | None = None,
) -> dict[str, Any]:
  """Returns how often intervals hold the truth, over samples and sources.

  Args:
    size: n.
    facts_of: `facts` of one score, for each sample.
    truth: `[S]`, the value of each source, or `[samples, S]`.
    others: whether the truth is of the images that are not in the sample.
    degrees: of freedom of the intervals.
    trained_on_it: a source to leave out of the set of best sources.
  """
  # Of the difference between a sample and all images, and between it and the
  # other images, over the standard error.
  factor = np.sqrt(1 - size / EXAMPLES)
  width = 1 / factor if others else factor
  single, pairs = (
    np.array([f[key] for f in facts_of], float) for key in ("single", "pairs")
  )
  truth = np.broadcast_to(truth, single.shape[:2])
  values, errors = single[..., 0], single[..., 1]
  means = values.mean(axis=0)
  spread = values.std(axis=0, ddof=1)
  i, j = np.array(PAIRS).T
  apart = truth[:, i] - truth[:, j]
  low, high = pairs[..., 2], pairs[..., 3]
  told = (low > 0) | (high < 0)
  right = told & (np.sign(pairs[..., 0]) == np.sign(apart))
  kept = [k for k in range(len(SOURCES)) if k != trained_on_it]
  best = truth[:, kept].argmax(axis=1)
  marked = may_be_best(values, pairs, kept, degrees)
  saturated = np.median(spread) < 1e-6 * np.abs(means).max()
  row = {
    "n": size,
    "samples": len(facts_of),
    "no_interval": float(np.isnan(single[..., 2]).mean()),
    "bias": float(np.mean(means - truth.mean(axis=0))),
    # Of the standard error in use, and of the scatter that it estimates.
    "sd": float(np.mean(spread) / factor),
    "error_ratio": _mean(
      np.nanmean(errors, axis=0) * factor / np.maximum(spread, 1e-300)
    ),
    "holds": _holds(single, truth, width),
    "holds_mean": _holds(single, means, factor),
    "pair_holds": _holds(pairs, apart, width),
    "told_apart": float(told.mean()),
    "right": float(right.sum() / told.sum()) if told.any() else None,
    "set_size": float(marked.sum(axis=1).mean()),
    "set_holds": float(marked[np.arange(len(best)), best].mean()),
  }
  if saturated:
    row |= dict.fromkeys(
      ("error_ratio", "holds", "holds_mean", "pair_holds", "right"), None
    )
  return {
    key: round(x, 5) if isinstance(x, float) else x for key, x in row.items()
  }


def may_be_best(
  values: np.ndarray, pairs: np.ndarray, kept: Sequence[int], degrees: float
) -> np.ndarray:
  """`jackknife.indistinguishable` among some of the sources, `[samples, K]`.

  Args:
    values: `[samples, S]`.
    pairs: `[samples, P, 4]`, values, standard errors and 95 % intervals.
    kept: K numbers of sources.
    degrees: of freedom of the intervals.
  """
  each = (1 - jackknife.LEVEL) / max(len(kept) - 1, 1)
  longer = scipy.stats.t.ppf(1 - each / 2, degrees) / scipy.stats.t.ppf(
    (1 + jackknife.LEVEL) / 2, degrees
  )
  marked = np.ones((len(values), len(kept)), bool)
  for sample, row in enumerate(values):
    best = max(kept, key=lambda k: row[k])
    for place, k in enumerate(kept):
      if k != best:
        low, high = pairs[sample, PAIRS.index((min(k, best), max(k, best))), 2:]
        middle = (low + high) / 2 if best < k else -(low + high) / 2
        marked[sample, place] = not middle - longer * (high - low) / 2 > 0
  return marked


def _mean(values):
  return None if np.isnan(values).all() else float(np.nanmean(values))


def _holds(found, truth, factor):
  """Share of intervals, shortened by a factor, that hold the truth."""
  value, _, low, high = np.moveaxis(found, -1, 0)
  inside = (value + factor * (low - value) <= truth) & (
    truth <= value + factor * (high - value)
  )
  known = ~np.isnan(low)
  return float(inside[known].mean()) if known.any() else None
