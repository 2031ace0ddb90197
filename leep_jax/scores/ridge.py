"""Leave-one-out predictions of a ridge regression, in closed form.

Targets T `[n, C]` (one-hot labels, or real numbers) are regressed on the
standardised features X `[n, D]`, with an intercept that is not penalised. With
the hat matrix H = 1 1^T / n + X (X^T X + lambda I)^-1 X^T, the prediction of
example i by the fit to all other examples is (fit_i - h_ii t_i) / (1 - h_ii).
So one decomposition gives the n fits, for every penalty lambda. The penalty is
the one of `PENALTIES`, times n, with the smallest squared leave-one-out error.

Where examples lie in clusters, such as photos of one patient, a whole cluster g
is left out: t_g - (I - H_gg)^-1 (t_g - fit_g), with the block H_gg of the hat
matrix.

The features are standardised once, with the means and variances of all
examples.

References: Allen, "The relationship between variable selection and data
augmentation and a method for prediction", Technometrics 1974; Golub, Heath &
Wahba, "Generalized cross-validation as a method for choosing a good ridge
parameter", Technometrics 1979.
"""

import dataclasses
import tempfile

import jax
import jax.numpy as jnp
import numpy as np

from leep_jax import validation
from leep_jax.engine import outputs as outputs_lib, passes, statistics
from leep_jax.scores import (
  held_out_clusters,
  moments as moments_lib,
  standardised,
)

# Penalties per example: features of unit variance make X^T X about n large.
PENALTIES = tuple(10 ** (k / 2) for k in range(-8, 7))
# Features of at most so many numbers are decomposed on the host, in float64.
# That compiles nothing, and takes at most about a second.
_FEW = 1 << 22
# Predictions above this many bytes are kept in a temporary file.
_IN_MEMORY = 1 << 30

_PRECISION = jax.lax.Precision.HIGHEST


@dataclasses.dataclass(frozen=True, eq=False)
class HeldOut:
  """Leave-one-out predictions.

  Attributes:
    predictions: `[m, C]`, of the examples of this host: of one-hot labels in
      the order of `Outputs.classes`, of sets of labels as 0 and 1, or of
      targets in their own unit.
    penalty: lambda / n.
    errors: `[L]`, the mean squared error of each of `PENALTIES`, summed over
      the columns; those of targets are of standardised ones.

  Example:
    >>> import leep_jax
    >>> from leep_jax.scores import ridge
    >>> outputs = leep_jax.Outputs.from_arrays(
    ...   features=[[0.0], [1.0], [2.0], [3.0]], targets=[0.0, 1.0, 2.0, 3.0])
    >>> print(ridge.held_out(outputs).predictions.round(2).T)
    [[0. 1. 2. 3.]]
  """

  predictions: np.ndarray
  penalty: float
  errors: np.ndarray


def held_out(outputs: outputs_lib.Outputs) -> HeldOut:
  """Returns the leave-one-out predictions of all examples; they are cached.

  Of examples in clusters, whole clusters are left out.

  With more examples than features, it takes two passes over the features
  besides that of their moments: one for the errors of all penalties, and one
  for the predictions with the best. With fewer, or few of both, the products of
  examples `[n, n]` take the place of those of features.

  Args:
    outputs: with features, and labels or targets.

  Raises:
    InputError: if features are not finite.
    UndefinedScore: if there is only one example, or one cluster, or hosts share
      examples in clusters.

  Example:
    >>> import leep_jax
    >>> from leep_jax.scores import ridge
    >>> outputs = leep_jax.Outputs.from_arrays(
    ...   features=[[0.0], [0.1], [1.0], [1.1]], labels=[0, 0, 1, 1])
    >>> found = ridge.held_out(outputs)
    >>> print(found.predictions.round(2))
    [[ 1.06 -0.06]
     [ 0.88  0.12]
     [ 0.12  0.88]
     [-0.06  1.06]]
    >>> round(found.penalty, 3)
    0.032
  """
  # Predictions do not depend on the jackknife's groups.
  return outputs.ungrouped.cached(_held_out)


def _held_out(outputs) -> HeldOut:
  if len(outputs) < 2:
    raise validation.UndefinedScore(
      "leaving out one example needs at least 2 examples"
    )
  if outputs.clusters is not None:
    held_out_clusters.check(outputs)
  if len(outputs) <= outputs.num_features:
    found = _from_vectors(
      outputs, *np.linalg.eigh(standardised.products(outputs))
    )
  elif len(outputs) * outputs.num_features <= _FEW:
    found = _from_vectors(outputs, *_left_vectors(outputs))
  else:
    found = _from_moments(outputs)
  if outputs.targets is not None:
    mean, unit = outputs.target_centre
    scaled = found.predictions * unit + mean
    found = dataclasses.replace(found, predictions=scaled)
  return found


def _target_columns(outputs):
  """One-hot labels or standardised targets, `[n, C]` float64."""
  if outputs.targets is None:
    return (outputs.codes[:, None] == np.arange(len(outputs.classes))).astype(
      np.float64
    )
  mean, unit = outputs.target_centre
  return (outputs.targets - mean) / unit


def _from_vectors(outputs, values, vectors) -> HeldOut:
  """`held_out` from the eigenvectors `[n, K]` of X X^T, in float64."""
  n = len(outputs)
  targets = _target_columns(outputs)
  mean = targets.mean(axis=0)
  values = np.maximum(values, 0)
  inside = vectors.T @ (targets - mean)
  squares = vectors**2

  def predictions(penalty):
    shrink = values / (values + n * penalty)
    fit = mean + (vectors * shrink) @ inside
    if outputs.clusters is not None:
      rest = held_out_clusters.rest(
        targets - fit, vectors, shrink, outputs.clusters
      )
      return targets - rest
    # Other examples always leave some weight, as n * penalty is above 0.
    leverage = np.minimum(1 / n + squares @ shrink, 1 - 1e-12)[:, None]
    return (fit - leverage * targets) / (1 - leverage)

  errors = np.array(
    [np.sum((predictions(p) - targets) ** 2) / n for p in PENALTIES]
  )
  penalty = PENALTIES[int(errors.argmin())]
  return HeldOut(predictions(penalty)[outputs.share], penalty, errors)


def _left_vectors(outputs):
  """Eigenvalues of X^T X `[D, D]` and the eigenvectors `[n, K]` of X X^T."""
  x = np.concatenate(list(standardised.blocks(outputs)), axis=1)
  values, vectors = np.linalg.eigh(x.T @ x)
  # Smaller ones are rounding. They are far below any penalty.
  kept = values > 1e-13 * max(values[-1:], default=0)
  values = values[kept]
  return values, x @ vectors[:, kept] / np.sqrt(values)


@dataclasses.dataclass(frozen=True, eq=False)
class _Spectrum:
  """The decomposition X^T X = V diag(values) V^T, as the devices use it.

  Attributes:
    mean: `[D]`, the mean of the features, rounded to float32.
    basis: `[D, K]`; z = (f - mean) basis - offset are X V.
    offset: `[K]`, what rounding of the mean leaves of the mean of z.
    values: `[K]`, eigenvalues.
    cross: `[K, C]`, V^T X^T T.
    intercept: `[C]`, the mean of T.
  """

  mean: np.ndarray
  basis: np.ndarray
  offset: np.ndarray
  values: np.ndarray
  cross: np.ndarray
  intercept: np.ndarray

  def arguments(self):
    """Returns what functions of a batch take, in float32."""
    return tuple(
      np.asarray(x, np.float32)
      for x in (
        self.mean, self.basis, self.offset, self.cross, self.intercept,
      )
    )  # fmt: skip


def _spectrum(outputs) -> _Spectrum:
  known = moments_lib.moments(outputs)
  sums, n = known.total, len(outputs)
  total = sums["class_sums"].sum(axis=0)
  scatter = sums["gram"] - np.outer(total, total) / n
  # Variances of the features themselves, from those of the coordinates u.
  variance = np.einsum("kd,kd->d", known.root, scatter @ known.root) / n
  used = variance > 0
  scale = np.where(used, np.sqrt(np.where(used, variance, 1)), np.inf)
  root = known.root / scale
  values, vectors = np.linalg.eigh(root.T @ scatter @ root)
  kept = values > moments_lib.rounding(len(root)) ** 2 * max(
    values[-1:], default=0
  )
  values, vectors = values[kept], vectors[:, kept]
  if outputs.targets is None:
    intercept = sums["counts"] / n
    cross = sums["class_sums"] - np.outer(intercept, total)
  else:
    intercept = sums["target_sums"] / n
    cross = sums["cross"] - np.outer(intercept, total)
  if not len(values):
    # One direction that is 0: JAX 0.11 cannot place arrays without elements.
    values, vectors = np.ones(1), np.zeros((len(scale), 1))
  axes = root @ vectors  # [K of u, K]: u axes = X V
  return _Spectrum(
    mean=known.mean,
    basis=vectors / scale[:, None],
    offset=total / n @ axes,
    values=values,
    cross=(cross @ axes).T,
    intercept=intercept,
  )


def _from_moments(outputs) -> HeldOut:
  """`held_out` from the moments of features, on the devices."""
  n = len(outputs)
  spectrum = _spectrum(outputs)
  shrink = np.stack([1 / (spectrum.values + n * p) for p in PENALTIES])
  if outputs.clusters is not None:
    return _clusters_from_moments(outputs, spectrum, shrink)
  squares = outputs.sum(
    squared_errors,
    *spectrum.arguments(),
    shrink.astype(np.float32),
    np.float32(1 / n),
  )
  best = int(squares.argmin())
  rows = outputs.share.stop - outputs.share.start
  columns = len(spectrum.intercept)
  predictions = _empty(rows, columns)
  codes, targets = outputs.codes[outputs.share], None
  if outputs.targets is not None:
    targets = _target_columns(outputs)[outputs.share]
  start = 0
  stream = passes.over(outputs, {"features"}).stream(
    "features",
    fits_and_leverages,
    (*spectrum.arguments(), shrink[best].astype(np.float32), np.float32(1 / n)),
  )
  for block in stream:
    stop = start + len(block)
    fit = block[:, :-1].astype(np.float64)
    leverage = block[:, -1:].astype(np.float64)
    if targets is None:
      fit[np.arange(len(fit)), codes[start:stop]] -= leverage[:, 0]
    else:
      fit -= leverage * targets[start:stop]
    predictions[start:stop] = fit / (1 - leverage)
    start = stop
  return HeldOut(predictions, PENALTIES[best], squares / n)


def _clusters_from_moments(outputs, spectrum, shrinks) -> HeldOut:
  """`held_out` of clusters: z from the devices, their blocks on the host."""
  n, targets = len(outputs), _target_columns(outputs)
  z = _empty(n, len(spectrum.values))
  start = 0
  stream = passes.over(outputs, {"features"}).stream(
    "features", _coordinates, spectrum.arguments()[:3]
  )
  for block in stream:
    z[start : start + len(block)] = block
    start += len(block)

  def rest(shrink):
    fit = spectrum.intercept + z @ (shrink[:, None] * spectrum.cross)
    return held_out_clusters.rest(targets - fit, z, shrink, outputs.clusters)

  errors = np.array([np.sum(rest(shrink) ** 2) / n for shrink in shrinks])
  best = int(errors.argmin())
  return HeldOut(targets - rest(shrinks[best]), PENALTIES[best], errors)


def _empty(rows, columns):
  """Room for float32 predictions, in memory or in a file that is deleted."""
  if rows * columns * 4 <= _IN_MEMORY:
    return np.empty((rows, columns), np.float32)
  with tempfile.TemporaryFile() as file:  # the map keeps it open
    return np.memmap(file, np.float32, "w+", shape=(rows, columns))


def _coordinates(features, mean, basis, offset):
  """z = X V `[B, K]`."""
  return statistics.project(features, mean, basis) - offset[None]


def _fit(z, cross, intercept, shrink, share):
  """Fits `[B, C]` and leverages `[B]` with one penalty."""
  fit = jnp.matmul(z * shrink[None], cross, precision=_PRECISION)
  leverage = share + jnp.matmul(z**2, shrink, precision=_PRECISION)
  # Rounding may leave 1 or more where an example decides a direction alone.
  return fit + intercept[None], jnp.minimum(leverage, 1 - 1e-6)


@statistics.reads("features")
def squared_errors(
  batch: statistics.Batch,
  mean: jax.Array,
  basis: jax.Array,
  offset: jax.Array,
  cross: jax.Array,
  intercept: jax.Array,
  shrink: jax.Array,
  share: jax.Array,
) -> jax.Array:
  """Sums the squared leave-one-out errors for each penalty, `[L]`.

  Args:
    batch: examples with features.
    mean: `[D]`; z = (f - mean) basis - offset are the features on the
      eigenvectors of X^T X.
    basis: `[D, K]`.
    offset: `[K]`.
    cross: `[K, C]`, the sum of z t^T over all examples.
    intercept: `[C]`, the mean of t.
    shrink: `[L, K]`, 1 / (eigenvalue + lambda).
    share: 1 / n.

  Example:
    >>> import jax.numpy as jnp
    >>> from leep_jax.engine import statistics
    >>> from leep_jax.scores import ridge
    >>> batch = statistics.Batch(  # one example of two, of class 0
    ...   labels=jnp.array([0]), weights=jnp.ones(1), num_classes=2,
    ...   features=jnp.array([[1.0]]))
    >>> ridge.squared_errors(
    ...   batch, jnp.zeros(1), jnp.ones((1, 1)), jnp.zeros(1),
    ...   jnp.array([[1.0, -1.0]]), jnp.array([0.5, 0.5]),
    ...   jnp.array([[0.0], [0.25]]), 0.5).tolist()
    [2.0, 2.0]
  """
  z = _coordinates(batch.features, mean, basis, offset)
  targets = batch.targets
  if targets is None:
    targets = jax.nn.one_hot(batch.labels, batch.num_classes)

  def add(_, one):
    fit, leverage = _fit(z, cross, intercept, one, share)
    # t - (fit - h t) / (1 - h) is the residual over 1 - h.
    rest = (targets - fit) / (1 - leverage)[:, None]
    return None, jnp.sum(rest**2 * batch.weights[:, None])

  # A loop: only the fits with one penalty are in memory.
  return jax.lax.scan(add, None, shrink)[1]


def fits_and_leverages(
  features: jax.Array,
  mean: jax.Array,
  basis: jax.Array,
  offset: jax.Array,
  cross: jax.Array,
  intercept: jax.Array,
  shrink: jax.Array,
  share: jax.Array,
) -> jax.Array:
  """Fits of all examples with one penalty, then their leverages, `[B, C + 1]`.

  Args:
    features: `[B, D]`.
    mean: as `squared_errors` takes them, also the following.
    basis: `[D, K]`.
    offset: `[K]`.
    cross: `[K, C]`.
    intercept: `[C]`.
    shrink: `[K]`.
    share: 1 / n.

  Example:
    >>> import jax.numpy as jnp
    >>> from leep_jax.scores import ridge
    >>> ridge.fits_and_leverages(
    ...   jnp.array([[1.0]]), jnp.zeros(1), jnp.ones((1, 1)), jnp.zeros(1),
    ...   jnp.array([[1.0, -1.0]]), jnp.array([0.5, 0.5]), jnp.array([0.25]),
    ...   0.5).tolist()
    [[0.75, 0.25, 0.75]]
  """
  z = _coordinates(features, mean, basis, offset)
  fit, leverage = _fit(z, cross, intercept, shrink, share)
  return jnp.concatenate([fit, leverage[:, None]], axis=1)
