"""Moments of features, in coordinates where float32 sums are accurate.

All scores of features share these moments, which each `Outputs` caches. They
take one pass over the features, or a second one if the sums of the first are of
float32 and cannot resolve directions of little variance.

Symbols: n examples, Y target classes, D features f, T columns of real-valued
targets, G groups of examples. The moments are those of K coordinates u =
(f - mean) basis, near unit covariance and zero mean, with f - mean = u root.
"""

from collections.abc import Callable
import dataclasses
import functools
from typing import Any

import numpy as np

from leep_jax.engine import (
  host_sums,
  outputs as outputs_lib,
  passes,
  statistics,
)
from leep_jax.scores import jackknife

# One pass in float32 gives six correct digits if the ratio of the smallest and
# the largest eigenvalue of the correlation matrix, times the share of the sums
# of squares that is left when the mean is subtracted, is at least this.
_WELL_CONDITIONED = 1e-2
# Variances below this share of the largest are rounding, also of a second pass:
# up to 2e-10 has been seen, depending on the processor and the devices.
_ZERO_VARIANCE = 1e-9
# Sums of the groups are cached if they have at most this many numbers in all:
# 128 MiB of float64.
_MAX_CACHED = 1 << 24

Sums = dict[str, np.ndarray]


@dataclasses.dataclass(frozen=True, eq=False)
class Moments:
  """Sums over u = (f - mean) basis `[K]`, near unit covariance and zero mean.

  f are the features as statistics read them: shifted and scaled by
  `Outputs.feature_centre`.

  Attributes:
    total: sums over all examples: `counts` `[Y]`, `gram` `[K, K]` of u u^T, and
      `class_sums` `[Y, K]` of u. With real-valued targets t, standardised, also
      `cross` `[T, K]` of t u^T, `target_sums` `[T]` of t, and `squares` `[T]`
      of t^2.
    of_group: function of a group's number that returns the same sums over its
      examples. It makes a pass over these alone: G matrices `[K, K]` might not
      fit in memory at once.
    mean: `[D]`, the mean of f.
    basis: `[D, K]`; it leaves out features that are constant.
    root: `[K, D]`; u root is f - mean.
    offset: `[D]`, the mean of the original features, divided by `scale`.
    scale: the unit of f in that of the original features.

  Example:
    >>> import leep_jax
    >>> from leep_jax.scores import moments
    >>> outputs = leep_jax.Outputs.from_arrays(
    ...   features=[[0.0], [1.0], [1.0], [2.0]], labels=[0, 0, 1, 1])
    >>> known = moments.moments(outputs)
    >>> print(known.total["gram"] / len(outputs))  # the covariance of u
    [[1.]]
    >>> print(known.scale * known.offset)  # the mean of the features
    [1.]
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
    """Returns a score that is a function of these sums.

    Args:
      finalise: function of the sums that returns the score.
      more: further sums that it takes, arrays `[G, ...]`.
    """
    others = jackknife.Parts.by_group(finalise, more or {})

    def finalise_in_one_thread(sums):
      with host_sums.small_matrices(len(self.root)):
        return finalise(sums)

    return jackknife.Parts(
      finalise_in_one_thread,
      {**self.total, **others.total},
      lambda group: {**self.of_group(group), **others.of_group(group)},
    )


def scatters(sums: Sums) -> tuple[np.ndarray, np.ndarray]:
  """Returns the scatter of u, and a square root of the scatter between classes.

  The scatter `[K, K]` is n times the covariance of u. The second result, rows
  `[Y, K]`, gives n times the covariance of the class means by rows^T rows.
  Classes without examples have no row.

  Args:
    sums: as `Moments.total`.

  Example:
    >>> import numpy as np
    >>> from leep_jax.scores import moments
    >>> u = np.array([0.0, 1.0, 1.0, 2.0])  # of two classes
    >>> scatter, rows = moments.scatters({
    ...   "counts": np.array([2.0, 2.0]),
    ...   "gram": np.array([[u @ u]]),
    ...   "class_sums": np.array([[1.0], [3.0]]),
    ... })
    >>> print(scatter, (rows.T @ rows).round(6))
    [[2.]] [[1.]]
  """
  counts = sums["counts"]
  n = counts.sum()
  total = sums["class_sums"].sum(axis=0)
  present = counts > 0
  # sqrt(n_y) times the difference of the class mean and the mean.
  weight = np.sqrt(counts[present])[:, None]
  means = sums["class_sums"][present] / weight - weight * (total / n)
  # The mean of u is near 0, so that this subtraction loses no digits.
  return sums["gram"] - np.outer(total, total) / n, means


def explained(scatter: np.ndarray, rows: np.ndarray) -> float:
  """Returns tr(rows scatter^+ rows^T), with the pseudo-inverse of scatter.

  Args:
    scatter: `[K, K]`, symmetric. Eigenvalues that are rounding count as 0.
    rows: `[R, K]`.

  Example:
    >>> import numpy as np
    >>> from leep_jax.scores import moments
    >>> scatter = np.diag([4.0, 0.0])  # the second direction has no variance
    >>> round(moments.explained(scatter, np.array([[2.0, 0.0]])), 6)
    1.0
  """
  values, vectors = np.linalg.eigh(scatter)
  floor = rounding(len(values)) * max(values, default=0)
  kept = values > max(floor, 0)
  return float(np.sum((rows @ vectors[:, kept]) ** 2 / values[kept]))


def moments(outputs: outputs_lib.Outputs) -> Moments:
  """Returns the moments of the outputs' features; they are cached.

  Args:
    outputs: with features, and labels or targets.

  Raises:
    InputError: if features are not finite.

  Example:
    >>> import leep_jax
    >>> from leep_jax.scores import moments
    >>> outputs = leep_jax.Outputs.from_arrays(
    ...   features=[[0.0, 5.0], [1.0, 5.0], [2.0, 5.0]], labels=[0, 0, 1])
    >>> known = moments.moments(outputs)
    >>> known.basis.shape  # the second feature is constant, so K is 1
    (2, 1)
    >>> moments.moments(outputs) is known
    True
  """
  return outputs.cached(_moments)


def _moments(outputs):
  with host_sums.small_matrices(outputs.num_features):
    coordinates = _coordinates(outputs)

  def of_group(group):
    examples = outputs.features_of_group(group)
    return _sums(coordinates, outputs, examples, group)

  # Several scores ask for the same groups.
  if outputs.groups * len(coordinates.root) ** 2 <= _MAX_CACHED:
    of_group = functools.cache(of_group)
  shift, unit = outputs.feature_centre
  return Moments(
    total=_sums(coordinates, outputs, outputs.ungrouped, None),
    of_group=of_group,
    mean=coordinates.mean,
    basis=coordinates.basis,
    root=coordinates.root,
    offset=coordinates.mean + shift / float(unit),
    scale=float(unit),
  )


@dataclasses.dataclass(frozen=True, eq=False)
class _Coordinates:
  """The coordinates u = (f - mean) basis, and how their moments are summed.

  Attributes:
    mean: `[D]`.
    basis: `[D, K]`.
    root: `[K, D]`; u root is f - mean.
    used: `[D]` booleans, which features are not constant.
    factors: `[K]`, where u are the used features times these, or None.
    follow: whether moments of u follow from those of f. They do not where u are
      linear combinations of features and sums are of float32.
  """

  mean: np.ndarray
  basis: np.ndarray
  root: np.ndarray
  used: np.ndarray
  factors: np.ndarray | None
  follow: bool


def _coordinates(outputs) -> _Coordinates:
  """Chooses coordinates by a first pass, in which float32 sums are accurate."""
  n = len(outputs)
  sums = outputs.ungrouped.sum(statistics.moments)
  gram, total = sums["gram"], sums["class_sums"].sum(axis=0)
  # Rounded to the float32 that the devices will subtract, so that all sums are
  # about the same point.
  mean = (total / n).astype(np.float32).astype(np.float64)
  scatter = gram - np.outer(total, total) / n
  scale = _scale(scatter, gram, outputs)
  used = np.isfinite(scale)
  scale = scale[used]
  # Of the correlation matrix: whether float32 resolves a direction must not
  # depend on the units of the features.
  correlation = scatter[np.ix_(used, used)] / np.outer(scale, scale)
  basis = np.zeros((len(used), len(scale)))
  root = np.zeros((len(scale), len(used)))
  exact = passes.over(outputs, {"features"}).runs_on_host(statistics.moments)
  if exact:
    plain = _is_well_conditioned(correlation)
  else:
    share = np.diag(scatter)[used] / np.diag(gram)[used]
    # The feature that loses most digits when its mean is subtracted decides.
    limit = _WELL_CONDITIONED / min(share, default=1)
    values, vectors = np.linalg.eigh(correlation)
    plain = not len(scale) or values[0] >= limit * values[-1]
  if plain:
    # u are the features, standardised one by one.
    factors = np.sqrt(n) / scale
    basis[used] = np.diag(factors)
    root[:, used] = np.diag(1 / factors)
    return _Coordinates(mean, basis, root, used, factors, follow=True)
  if exact:
    values, vectors = np.linalg.eigh(correlation)
  # Small eigenvalues are differences of large sums: of float32, they have few
  # correct digits. A second pass over u, which the first brings near unit
  # covariance, then sums all directions with the same relative accuracy.
  # Eigenvalues below the floor are rounding, and may be negative. Raised to it,
  # they leave a basis that is finite and invertible.
  floor = max(rounding(len(values)) * values[-1], np.finfo(np.float64).tiny)
  length = np.sqrt(np.maximum(values, floor))
  basis[used] = vectors / length / scale[:, None] * np.sqrt(n)
  # The devices multiply by the rounded basis, so its inverse is the root.
  basis = basis.astype(np.float32).astype(np.float64)
  # Inverted in the coordinates of the correlation matrix: features may have
  # units of very different size.
  root[:, used] = np.linalg.inv(basis[used] * scale[:, None]) * scale
  return _Coordinates(mean, basis, root, used, None, follow=exact)


def _is_well_conditioned(correlation) -> bool:
  """Whether a pseudo-inverse of float64 sums would leave no direction out."""
  import scipy.linalg.lapack

  if not len(correlation):
    return True
  # Estimated from the Cholesky factor, a tenth of an eigen-decomposition.
  factor, failed = scipy.linalg.lapack.dpotrf(correlation, lower=1)
  if failed:
    return False
  norm = np.abs(correlation).sum(axis=0).max()
  inverse_condition, _ = scipy.linalg.lapack.dpocon(factor, norm, uplo="L")
  return inverse_condition >= 10 * rounding(len(correlation))


def _sums(coordinates, outputs, examples, group):
  """Sums over u as `Moments.total`, of one group or, for None, of all.

  Args:
    coordinates: u.
    outputs: all examples.
    examples: those of the group, or all, without groups.
    group: its number, or None.
  """
  known = {"counts": outputs.group_counts}
  if outputs.targets is not None:
    known.update(outputs.cached(_target_sums))
  # These need no pass over the features.
  labels = {
    k: v.sum(axis=0) if group is None else v[group] for k, v in known.items()
  }
  if coordinates.follow:
    return _transformed(
      {**examples.sum(statistics.moments), **labels}, coordinates
    )
  sums = examples.sum(
    statistics.whitened_moments,
    coordinates.mean.astype(np.float32),
    coordinates.basis.astype(np.float32),
  )
  return {**sums, **labels}


def _transformed(sums, coordinates):
  """Sums over u = (f - mean) basis, from those over f."""
  # Nothing is lost, as f are shifted to near their mean before they are summed.
  mean, used = coordinates.mean, coordinates.used
  total, n = sums["class_sums"].sum(axis=0), sums["counts"].sum()
  outer = np.outer(total, mean)
  gram = sums["gram"] - outer - outer.T + n * np.outer(mean, mean)
  factors, basis = coordinates.factors, coordinates.basis[used]

  def of_rows(rows):  # `[R, D]`
    rows = rows[:, used]
    return rows @ basis if factors is None else rows * factors

  class_sums = sums["class_sums"] - np.outer(sums["counts"], mean)
  found = {
    **sums,
    # `[D, D]` to `[D, K]`, and its transpose `[K, D]` to `[K, K]`.
    "gram": of_rows(of_rows(gram).T),
    "class_sums": of_rows(class_sums),
  }
  if "cross" in sums:
    found["cross"] = of_rows(
      sums["cross"] - np.outer(sums["target_sums"], mean)
    )
  return found


def _target_sums(outputs):
  """Sums `[G, T]` of the standardised targets, and of their squares."""
  mean, scale = outputs.target_centre
  # Rounded as the devices read them in `statistics.moments`.
  targets = ((outputs.targets - mean) / scale).astype(np.float32)
  targets = targets.astype(np.float64)
  sums = np.zeros((2, outputs.groups, targets.shape[1]))
  for power in (1, 2):
    # Groups repeat in the index: `+=` would add one example of each.
    np.add.at(sums[power - 1], outputs.group_of, targets**power)
  return {"target_sums": sums[0], "squares": sums[1]}


def rounding(dimensions: int) -> float:
  """Returns the share of the largest eigenvalue below which one is rounding.

  Args:
    dimensions: number of eigenvalues of a matrix of float32 sums.

  Example:
    >>> from leep_jax.scores import moments
    >>> f"{moments.rounding(64):.1e}"
    '7.6e-06'
  """
  return dimensions * float(np.finfo(np.float32).eps)


def _scale(scatter, gram, outputs):
  """Each feature's scale `[D]`: sqrt(n) times its standard deviation.

  A feature that varies by no more than the rounding of its own values counts as
  constant. Its scale is infinite, which marks it to be left out.
  """
  n = len(outputs)
  shift, unit = outputs.feature_centre
  # Values are rounded twice: as f on the device, and as they were stored.
  limit = np.finfo(np.float32).eps * np.sqrt(np.diag(gram) / n)
  limit += np.finfo(shift.dtype).eps * np.abs(shift) / unit
  deviation = np.sqrt(np.maximum(np.diag(scatter), 0) / n)
  return np.where(deviation > limit, deviation * np.sqrt(n), np.inf)


@dataclasses.dataclass(frozen=True, eq=False)
class Principal:
  """Principal components of the features f, as statistics read them.

  Attributes:
    mean: `[D]`, the mean of f, rounded to float32.
    variances: `[K]`, the largest first. Directions without variance are left
      out.
    axes: `[D, K]`.
    class_means: `[Y, K]`, of (f - mean) axes.

  Example:
    Features that are multiples of each other have one principal component.

    >>> import leep_jax
    >>> from leep_jax.scores import moments
    >>> outputs = leep_jax.Outputs.from_arrays(
    ...   features=[[0.0, 0.0], [1.0, 2.0], [2.0, 4.0]], labels=[0, 0, 1])
    >>> found = moments.principal(outputs)
    >>> found.variances.shape, found.axes.shape
    ((1,), (2, 1))
  """

  mean: np.ndarray
  variances: np.ndarray
  axes: np.ndarray
  class_means: np.ndarray


def principal(outputs: outputs_lib.Outputs) -> Principal:
  """Returns the principal components of the features; they are cached.

  With no more examples than features, they are computed from the products of
  examples, the smaller matrix.

  Args:
    outputs: with features and labels.

  Raises:
    InputError: if features are not finite.

  Example:
    >>> import leep_jax
    >>> from leep_jax.scores import moments
    >>> outputs = leep_jax.Outputs.from_arrays(
    ...   features=[[0.0], [1.0], [1.0], [2.0]], labels=[0, 0, 1, 1])
    >>> print(moments.principal(outputs).class_means.round(2).T)
    [[-1.  1.]]
  """
  return outputs.ungrouped.cached(_principal)


def _principal(outputs):
  if len(outputs) <= outputs.num_features:
    return _principal_of_products(outputs)
  known = moments(outputs)
  scatter = known.root.T @ scatters(known.total)[0] @ known.root
  values, axes = _large(*np.linalg.eigh(scatter / len(outputs)))
  counts = known.total["counts"][:, None]
  means = known.total["class_sums"] / counts @ known.root @ axes
  return Principal(known.mean, values, axes, means)


def _principal_of_products(outputs):
  rows = centred(outputs)
  values, vectors = _large(*np.linalg.eigh(rows @ rows.T / len(rows)))
  axes = rows.T @ (vectors / np.sqrt(values * len(rows)))
  shift, unit = outputs.feature_centre
  mean = ((outputs.features - shift) / float(unit)).mean(axis=0, dtype=float)
  projected = rows @ axes
  labels = outputs.codes == np.arange(len(outputs.classes))[:, None]
  means = labels @ projected / outputs.class_counts[:, None]
  return Principal(mean.astype(np.float32).astype(float), values, axes, means)


def _large(values, vectors):
  """Eigenvalues that are not rounding, largest first, and their vectors."""
  kept = values > _ZERO_VARIANCE * max(values[-1], 0)
  # `eigh` has the smallest first.
  return values[kept][::-1], vectors[:, kept][:, ::-1]


def centred(outputs: outputs_lib.Outputs) -> np.ndarray:
  """Returns f minus its mean, `[n, D]` float64, without rounding noise.

  Args:
    outputs: with features, few enough for float64 on the host.

  Raises:
    InputError: if features are not finite.

  Example:
    >>> import leep_jax
    >>> from leep_jax.scores import moments
    >>> outputs = leep_jax.Outputs.from_arrays(
    ...   features=[[1.0, 7.0], [3.0, 7.0]], labels=[0, 1])
    >>> print(moments.centred(outputs))
    [[-2.  0.]
     [ 2.  0.]]
  """
  outputs.check("features")
  shift, unit = outputs.feature_centre
  features = np.asarray(outputs.features, np.float64)
  rows = (features - shift) / float(unit)
  rows = rows - rows.mean(axis=0)
  # A feature that varies by no more than the rounding of its values counts as
  # constant.
  wide = outputs.store.is_wide("features")
  eps = np.finfo(np.float64 if wide else np.float32).eps
  size = np.abs(features).max(axis=0) / float(unit)
  return np.where(rows.std(axis=0) > eps * size, rows, 0.0)
