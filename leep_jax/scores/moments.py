"""Moments of features in coordinates where float32 sums know them well.

The feature scores share these: computed once for kept outputs, in one look at
the features, or in a second one where the first cannot resolve directions of
little variance.
"""

from collections.abc import Callable
import dataclasses
import functools
from typing import Any

import numpy as np

from leep_jax import jackknife, outputs as outputs_lib, statistics

# Smallest over largest eigenvalue of the correlations, times what of the sums
# of squares is left without the mean, above which one look in float32 is exact
# to six digits.
_WELL_CONDITIONED = 1e-2

# Variances below this share of the largest are rounding of a second look.
_NOTHING = 1e-10
# Sums of all groups together are remembered up to this many numbers.
_REMEMBERED = 1 << 24

Sums = dict[str, np.ndarray]


@dataclasses.dataclass(frozen=True, eq=False)
class Moments:
  """Sums over u = (f - mean) basis `[K]`, near unit covariance and zero mean.

  Attributes:
    total: `counts` `[Y]`, `gram` `[K, K]` of u, `class_sums` `[Y, K]`, and, of
      regression targets less their mean and over their scale, `cross` `[T, K]`
      with u, `target_sums` `[T]` and `squares` `[T]`.
    of_group: the same sums over the examples of one group, from a look at
      those alone: G matrices `[K, K]` at once would be too many.
    mean: `[D]`, of the features as sums see them.
    basis: `[D, K]`, which leaves out features that are constant.
    root: `[K, D]`; u root is f - mean.
    offset: `[D]`, the mean in the features' own unit over `scale`.
    scale: of the features as sums see them, in their own unit.
  """

  total: Sums
  of_group: Callable[[int], Sums]
  mean: np.ndarray
  basis: np.ndarray
  root: np.ndarray
  offset: np.ndarray
  scale: float

  def parts(
    self,
    finalise: Callable[[Sums], float],
    *,
    more: dict[str, Any] | None = None,
  ) -> jackknife.Parts:
    """A score that is a function of these sums.

    Args:
      finalise: sums to score.
      more: other sums that it takes, arrays `[G, ...]`.
    """
    others = jackknife.Parts.by_group(finalise, more or {})
    return jackknife.Parts(
      finalise,
      {**self.total, **others.total},
      lambda group: {**self.of_group(group), **others.of_group(group)},
    )


def scatters(sums: Sums) -> tuple[np.ndarray, np.ndarray]:
  """n S `[K, K]`, and a root `[Y, K]` of n S_between, without absent classes.

  S is the covariance of u, and S_between that of its class means.
  """
  counts = sums["counts"]
  n = counts.sum()
  total = sums["class_sums"].sum(axis=0)
  here = counts > 0
  # Class means weighted by sqrt(n_y), less the same part of the mean.
  weight = np.sqrt(counts[here])[:, None]
  means = sums["class_sums"][here] / weight - weight * (total / n)
  return sums["gram"] - np.outer(total, total) / n, means


def explained(scatter: np.ndarray, rows: np.ndarray) -> float:
  """tr(rows scatter^+ rows^T), leaving out directions that are rounding.

  Args:
    scatter: `[K, K]`.
    rows: `[R, K]`.
  """
  values, vectors = np.linalg.eigh(scatter)
  floor = rounding(len(values)) * max(values, default=0)
  kept = values > max(floor, 0)
  return float(np.sum((rows @ vectors[:, kept]) ** 2 / values[kept]))


def moments(outputs: outputs_lib.Outputs) -> Moments:
  """Returns the moments of kept outputs, computed once."""
  return outputs.once(_moments)


def _moments(outputs):
  whole, n = outputs.whole, len(outputs)
  sums = whole.sum(statistics.moments)
  gram, total = sums["gram"], sums["class_sums"].sum(axis=0)
  # As the devices will have it, so that all sums are about one point.
  mean = (total / n).astype(np.float32).astype(np.float64)
  scatter = gram - np.outer(total, total) / n
  scale = _scale(scatter, gram, outputs)
  used = np.isfinite(scale)
  scale = scale[used]
  values, vectors = np.linalg.eigh(
    scatter[np.ix_(used, used)] / np.outer(scale, scale)
  )
  basis = np.zeros((len(used), len(scale)))
  root = np.zeros((len(scale), len(used)))
  share = np.diag(scatter)[used] / np.diag(gram)[used]
  limit = _WELL_CONDITIONED / min(share, default=1)
  if not len(scale) or values[0] >= limit * values[-1]:
    factors = np.sqrt(n) / scale
    basis[used] = np.diag(factors)
    root[:, used] = np.diag(1 / factors)

    def look(examples, group):
      sums = {**examples.sum(statistics.moments), **labels(group)}
      return _moved(sums, mean, used, factors)

  else:
    # Float32 sums know the small eigenvalues badly: a second look at features
    # brought near unit covariance by the first sees them as well as the rest.
    floor = max(rounding(len(values)) * values[-1], np.finfo(np.float64).tiny)
    length = np.sqrt(np.maximum(values, floor))
    basis[used] = vectors / length / scale[:, None] * np.sqrt(n)
    # As the devices will have it; the inverse is of what was rounded.
    rounded = basis.astype(np.float32)
    basis = rounded.astype(np.float64)
    root[:, used] = np.linalg.inv(basis[used] * scale[:, None]) * scale

    def look(examples, group):
      at = mean.astype(np.float32)
      sums = examples.sum(statistics.whitened_moments, at, rounded)
      return {**sums, **labels(group)}

  def labels(group):
    """Sums of what needs no look, over a group or, for None, all."""
    known = {"counts": outputs.group_counts}
    if outputs.targets is not None:
      known.update(outputs.once(_target_sums))
    return {
      k: v.sum(axis=0) if group is None else v[group] for k, v in known.items()
    }

  def of_group(group):
    return look(outputs.features_of_group(group), group)

  if outputs.groups * len(scale) ** 2 <= _REMEMBERED:
    of_group = functools.cache(of_group)
  shift, unit = outputs.feature_centre
  return Moments(
    total=look(whole, None),
    of_group=of_group,
    mean=mean,
    basis=basis,
    root=root,
    offset=mean + shift / float(unit),
    scale=float(unit),
  )


def _moved(sums, mean, used, factors):
  """Sums of (f - mean) factors for the features used, from those of f."""
  total, n = sums["class_sums"].sum(axis=0), sums["counts"].sum()
  outer = np.outer(total, mean)
  gram = sums["gram"] - outer - outer.T + n * np.outer(mean, mean)
  class_sums = sums["class_sums"] - np.outer(sums["counts"], mean)
  moved = {
    **sums,
    "gram": gram[np.ix_(used, used)] * np.outer(factors, factors),
    "class_sums": class_sums[:, used] * factors,
  }
  if "cross" in sums:
    cross = sums["cross"] - np.outer(sums["target_sums"], mean)
    moved["cross"] = cross[:, used] * factors
  return moved


def _target_sums(outputs):
  """Sums `[G, T]` of targets as statistics see them, and of their squares."""
  mean, scale = outputs.target_centre
  targets = ((outputs.targets - mean) / scale).astype(np.float32)
  targets = targets.astype(np.float64)
  sums = np.zeros((2, outputs.groups, targets.shape[1]))
  for power in (1, 2):
    np.add.at(sums[power - 1], outputs.group_of, targets**power)
  return {"target_sums": sums[0], "squares": sums[1]}


def rounding(dimensions: int) -> float:
  """Eigenvalues below this share of the largest are rounding of float32."""
  return dimensions * float(np.finfo(np.float32).eps)


def _scale(scatter, gram, outputs):
  """Each feature's scale `[D]`, so that scores do not depend on its unit.

  A feature that varies by no more than the rounding of its own values is
  constant: its scale is infinite, which takes it out.
  """
  n = len(outputs)
  shift, unit = outputs.feature_centre
  limit = np.finfo(np.float32).eps * np.sqrt(np.diag(gram) / n)
  limit += np.finfo(shift.dtype).eps * np.abs(shift) / unit
  deviation = np.sqrt(np.maximum(np.diag(scatter), 0) / n)
  return np.where(deviation > limit, deviation * np.sqrt(n), np.inf)


def principal_axes(known: Moments) -> tuple[np.ndarray, np.ndarray]:
  """Variances `[K]` of the features, and axes `[D, K]`, largest first.

  Directions without variance are left out. Units are those of the features as
  sums see them.
  """
  scatter = known.root.T @ scatters(known.total)[0] @ known.root
  values, vectors = np.linalg.eigh(scatter / known.total["counts"].sum())
  kept = values > _NOTHING * max(values[-1], 0)
  return values[kept][::-1], vectors[:, kept][:, ::-1]
