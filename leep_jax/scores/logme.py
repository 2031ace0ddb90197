"""LogME: how probable the target labels are, given the features.

Each target column y `[n]` is modelled as Bayesian linear regression on the
features F `[n, D]`: weights ~ N(0, 1/alpha), noise ~ N(0, 1/beta), with both
precisions chosen to maximise the evidence p(y given F). All columns share one
eigendecomposition of F^T F.

LogME is in nats per example and has no bounds; higher means that the source
transfers better. Symbols: n examples, Y target classes, D features, K of them
with a non-zero eigenvalue, C target columns (Y classes, or T real numbers).
"""

from typing import Any

import jax
import jax.numpy as jnp
import numpy as np
import numpy.typing as npt

from leep_jax import validation
from leep_jax.engine import host_sums, outputs as outputs_lib, statistics
from leep_jax.scores import jackknife, label_sets, moments as moments_lib

# alpha / beta is searched from this many decades below the smallest eigenvalue
# to as many above the largest: first on a grid, then by golden section search.
_DECADES = 8
_GRID_PER_DECADE = 2
# The evidence of a maximum, in nats per example, is at most this much above
# that of the nearest point of the grid.
_GRID_ERROR = 0.1
# The evidence is flat at its maximum: an error of 1e-5 in log(alpha / beta) is
# about 1e-10 in the evidence. 0.618^24 of two grid steps (2.3) is about 2e-5.
_GOLDEN_STEPS = 24
# Where the residual is at least this share of a target's squared length, its
# difference of float32 sums is exact to six digits.
_ACCURATE_RESIDUAL = 0.05
# Residuals up to this share of a target's squared length are rounding.
_ZERO_RESIDUAL = 1e-13
# Where n |mean|^2 is more than this many times the features' scatter, forming
# the products about 0 would lose too many digits of float64.
_LARGE_MEAN = 1e6
_GOLDEN = (5**0.5 - 1) / 2  # what golden section keeps of an interval


def logme(
  features: npt.ArrayLike,
  labels: npt.ArrayLike | None,
  *,
  targets: npt.ArrayLike | None = None,
  multi_labels: npt.ArrayLike | None = None,
  num_classes: int | None = None,
) -> float:
  """Log of maximum evidence, in nats per example; higher transfers better.

  LogME = mean over the classes c that occur of max over (alpha, beta) of 1/n
  log p(y_c given F, alpha, beta), where y_c is 1 for examples of class c and 0
  for others. For regression, y_c are the columns of the targets; columns that
  are 0 for all examples are left out. For sets of labels, they are the labels,
  0 or 1, without those that never or always occur. As in the paper, there is no
  intercept.

  Args:
    features: `[n, D]`, the source model's penultimate features.
    labels: `[n]`, target labels from 0; or None, with one of the next two.
    targets: `[n, T]` or `[n]` real numbers, for regression instead of labels.
    multi_labels: `[n, T]` of 0 and 1, sets of labels instead of labels.
    num_classes: Y; by default the largest label plus 1. LogME does not depend
      on it (published code counts absent classes, or divides by zero).

  Raises:
    InputError: if there are no examples, lengths differ, labels are not
      integers in 0..Y-1, or features are not finite.
    UndefinedScore: if the features fit a class exactly although they are fewer
      than the examples, which makes its evidence infinite.

  Reference: You et al., "LogME: Practical Assessment of Pre-trained Models for
  Transfer Learning", ICML 2021, algorithm 1. Published code omits the zero
  eigenvalues of F^T F from log|A| where n < D.

  Example:
    Two sources on the same 200 examples. The first has features whose means
    differ between the classes; the features of the second are noise.

    >>> import leep_jax
    >>> import numpy as np
    >>> rng = np.random.default_rng(0)
    >>> labels = np.arange(200) % 2
    >>> noise = rng.normal(size=(200, 3))
    >>> informative = noise + 2 * np.eye(3)[labels]
    >>> for features in (informative, noise):
    ...   print(f"{leep_jax.logme(features, labels):.3f}")
    -0.577
    -1.065

    For regression, pass real-valued targets instead of labels:

    >>> targets = informative @ [1.0, 2.0, 3.0] + 0.1 * rng.normal(size=200)
    >>> for features in (informative, noise):
    ...   print(f"{leep_jax.logme(features, None, targets=targets):.3f}")
    0.782
    -2.603
  """
  return jackknife.value(
    logme_parts(
      outputs_lib.Outputs.from_arrays(
        features=features,
        labels=labels,
        targets=targets,
        multi_labels=multi_labels,
        num_classes=num_classes,
      )
    )
  )


def logme_parts(outputs: outputs_lib.Outputs) -> jackknife.Parts:
  """Returns `logme` as sums and a function of them.

  Args:
    outputs: with features, and labels or targets.

  Raises:
    InputError: as `logme`.
    UndefinedScore: as `logme`, when the score is computed.

  Example:
    >>> import leep_jax
    >>> from leep_jax.scores import jackknife
    >>> from leep_jax.scores import logme
    >>> outputs = leep_jax.Outputs.from_arrays(
    ...   features=[[0.0], [1.0], [2.0], [4.0]], labels=[0, 0, 1, 1])
    >>> round(jackknife.value(logme.logme_parts(outputs)), 4)
    -0.8385
  """
  if len(outputs) <= (outputs.num_features or 0):
    return _parts_from_kernel(outputs)
  known = moments_lib.moments(outputs)
  mean: Any = 0.0
  scale: Any = 1.0
  if outputs.targets is not None:  # statistics see (targets - mean) / scale
    mean, scale = outputs.target_centre

  with host_sums.small_matrices(len(known.mean)):
    spectrum = _spectrum(known.total, known)

  def finalise(sums):
    # For the sums over all examples it is computed above: it takes most of the
    # time.
    is_total = sums["gram"] is known.total["gram"]
    values, axes = spectrum if is_total else _spectrum(sums, known)
    cross, energy = _products(sums, known, mean, scale)
    # A target's squared length, inside and outside the span of the features.
    inside = (cross @ axes) ** 2 / values
    outside = energy - inside.sum(axis=1)
    n = sums["counts"].sum()
    zero = _ZERO_RESIDUAL * energy
    if "residuals" in sums:
      # The residuals are of the best fit to all examples. Without a group
      # another fit may be better, so their part inside the span of the features
      # is subtracted.
      rest = sums["residuals"]
      cross = np.outer(rest["sums"], known.offset) + rest["cross"] @ known.root
      cross = cross * np.reshape(scale, (-1, 1))
      outside = scale**2 * rest["squares"]
      outside = outside - ((cross @ axes) ** 2 / values).sum(axis=1)
      # Residuals are of scaled targets, whose squared length is about n.
      zero = _ZERO_RESIDUAL * scale**2 * n
    return _mean_evidence(outputs, values, inside, outside, zero, n)

  values, axes = spectrum
  cross, energy = _products(known.total, known, mean, scale)
  outside = energy - ((cross @ axes) ** 2 / values).sum(axis=1)
  if np.all(outside >= _ACCURATE_RESIDUAL * energy):
    return known.parts(finalise)
  # A small residual is the difference of two large float32 sums, so it has few
  # correct digits. A second pass sums the residuals of the least-squares fit
  # directly, without a difference.
  fit = (cross @ axes / values) @ axes.T
  intercept = (fit @ known.offset - mean) / scale
  weights = known.root @ fit.T / np.reshape(scale, (1, -1))
  fitted = (known.mean, known.basis, weights, intercept)
  rest = outputs.group_sums(residuals, *(x.astype(np.float32) for x in fitted))
  return known.parts(finalise, more={"residuals": rest})


@statistics.reads("features")
def residuals(
  batch: statistics.Batch,
  mean: jax.Array,
  basis: jax.Array,
  weights: jax.Array,
  intercept: jax.Array,
) -> dict[str, jax.Array]:
  """Sums of the residuals of a linear fit to one-hot labels or real targets.

  Args:
    batch: examples with features.
    mean: `[D]` float32.
    basis: `[D, K]` float32; u = (f - mean) basis.
    weights: `[K, C]` float32.
    intercept: `[C]` float32.

  Returns:
    For r = target - u weights - intercept: `sums` `[C]` of r, `squares` `[C]`
    of r^2, and `cross` `[C, K]` of r u^T.

  Example:
    >>> import jax.numpy as jnp
    >>> from leep_jax.engine import statistics
    >>> from leep_jax.scores import logme
    >>> batch = statistics.Batch(
    ...   labels=jnp.array([0, 0]), weights=jnp.ones(2), num_classes=1,
    ...   features=jnp.array([[1.0], [2.0]]))
    >>> zero, one = jnp.zeros(1), jnp.ones((1, 1))
    >>> sums = logme.residuals(batch, zero, one, one, zero)
    >>> float(sums["sums"][0]), float(sums["squares"][0])
    (-1.0, 1.0)
  """
  u = statistics.project(batch.features, mean, basis)
  targets = batch.targets
  if targets is None:
    targets = jax.nn.one_hot(batch.labels, batch.num_classes)
  fit = jnp.matmul(u, weights, precision=jax.lax.Precision.HIGHEST)
  rest = (targets - fit - intercept[None]) * batch.weights[:, None]
  cross = jnp.matmul(rest.T, u, precision=jax.lax.Precision.HIGHEST)
  return {"sums": rest.sum(0), "squares": (rest**2).sum(0), "cross": cross}


def _spectrum(sums, known):
  """Non-zero eigenvalues `[K]` of F^T F, and their eigenvectors `[D, K]`."""
  n = sums["counts"].sum()
  # Moments are about the mean, but the model has no intercept: products of the
  # features about 0 are needed, f = offset + u root.
  mean = known.offset + sums["class_sums"].sum(axis=0) / n @ known.root
  scatter = known.root.T @ moments_lib.scatters(sums)[0] @ known.root
  if n * (mean @ mean) <= _LARGE_MEAN * np.trace(scatter):
    values, axes = np.linalg.eigh(scatter + n * np.outer(mean, mean))
    kept = values > len(values) * np.finfo(np.float64).eps * max(values[-1], 0)
    return values[kept], axes[:, kept]
  # In the sum of the scatter and the square of a large mean, the scatter would
  # lose its digits. The singular values of a square root of the sum keep them.
  values, axes = np.linalg.eigh(scatter)
  used = values > moments_lib.rounding(len(values)) ** 2 * max(values[-1], 0)
  root = np.sqrt(values[used])[:, None] * axes[:, used].T
  root = np.concatenate([root, np.sqrt(n) * mean[None]])
  _, singular, axes = np.linalg.svd(root, full_matrices=False)
  return singular**2, axes.T


def _products(sums, known, mean, scale):
  """Targets times features `[C, D]`, and the targets' squared lengths `[C]`."""
  n = sums["counts"].sum()
  if "cross" not in sums:  # one-hot labels: sums over classes are the products
    counts = sums["counts"]
    cross = sums["class_sums"] @ known.root + np.outer(counts, known.offset)
    return cross, counts
  cross = sums["cross"] @ known.root
  cross += np.outer(sums["target_sums"], known.offset)
  total = sums["class_sums"].sum(axis=0) @ known.root + n * known.offset
  energy = scale**2 * sums["squares"] + n * mean**2
  energy += 2 * mean * scale * sums["target_sums"]
  return cross * scale[:, None] + np.outer(mean, total), energy


def _parts_from_kernel(outputs) -> jackknife.Parts:
  """`logme_parts` from the products of examples `[n, n]`, for n <= D.

  F F^T has the non-zero eigenvalues of F^T F, and is the smaller matrix here.
  """
  outputs.check("features")
  features = np.asarray(outputs.features, np.float64)
  # LogME does not depend on the features' scale; products then do not overflow.
  features = features / (np.abs(features).max() or 1)
  products = features @ features.T
  targets = outputs.targets
  if targets is None:
    targets = (outputs.labels[:, None] == outputs.classes).astype(np.float64)

  def finalise(kept):
    values, vectors = np.linalg.eigh(products[np.ix_(kept, kept)])
    floor = len(values) * np.finfo(np.float64).eps * values[-1]
    used = values > max(floor, 0)
    inside = (targets[kept].T @ vectors[:, used]) ** 2
    outside = (targets[kept] ** 2).sum(axis=0) - inside.sum(axis=1)
    zero = _ZERO_RESIDUAL * (inside.sum(axis=1) + np.abs(outside))
    n = kept.sum()
    return _mean_evidence(outputs, values[used], inside, outside, zero, n)

  return jackknife.Parts.of_examples(finalise, outputs.group_of, outputs.groups)


def _mean_evidence(outputs, values, inside, outside, zero, n):
  """Mean evidence of the target columns that are not all 0.

  An `outside` of at most `zero` is rounding: the fit is exact.
  """
  energy = inside.sum(axis=1) + np.maximum(outside, 0)
  # Without a group, a class may have no examples left: its column is then 0 up
  # to rounding, and has no evidence.
  used = energy > 1e-12 * energy.max(initial=0)
  if outputs.multi_label:
    used &= label_sets.varying(outputs)
  if not used.any():
    raise validation.UndefinedScore("logme is infinite: all targets are 0")
  exact = used & (outside <= zero)
  # With as many dimensions as examples, any targets are fitted exactly. The
  # best beta is then finite, as the prior on the weights explains them.
  if np.any(exact) and len(values) < n:
    which = np.argmax(exact)
    what = f"{'label' if outputs.multi_label else 'target'} {which}"
    if outputs.targets is None:
      what = f"class {outputs.classes[which]}"
    raise validation.UndefinedScore(
      f"logme is infinite: {len(values)} dimensions of features fit {what} "
      f"exactly on {n:.0f} examples"
    )
  inside, outside = inside[used], np.maximum(outside[used], 0)
  return float(max_log_evidence(values, inside, outside, n).mean())


def max_log_evidence(
  values: np.ndarray, inside: np.ndarray, outside: np.ndarray, n: int
) -> np.ndarray:
  """Maximises the evidence of Bayesian linear regressions that share features.

  With r = alpha / beta, the projections of a target on the eigenvectors of
  F F^T are independent Gaussians with variances (1 + values / r) / beta. For a
  given r the best beta has a closed form, so that r alone is searched.

  Args:
    values: `[K]`, positive eigenvalues of F^T F.
    inside: `[C, K]`, squared projections of each target on the eigenvectors.
    outside: `[C]`, the rest of each target's squared length, >= 0.
    n: number of examples.

  Returns:
    `[C]`, log evidence in nats per example.

  Reference: You et al., ICML 2021, equation 2; MacKay, "Bayesian
  Interpolation", Neural Computation 1992.

  Example:
    A target that lies in the direction of the only feature is more probable
    than one at a right angle to it, which the model takes for noise.

    >>> import numpy as np
    >>> from leep_jax.scores import logme
    >>> values, n = np.array([10.0]), 10
    >>> inside, outside = np.array([[9.0], [0.0]]), np.array([1.0, 10.0])
    >>> print(logme.max_log_evidence(values, inside, outside, n).round(3))
    [-0.54  -1.419]
  """

  if not len(values):  # features are 0, so the target is noise
    return -0.5 * np.log(2 * np.pi * np.e * outside / n)
  margin = _DECADES * np.log(10)
  low, high = np.log(values.min()) - margin, np.log(values.max()) + margin
  steps = int((high - low) / np.log(10) * _GRID_PER_DECADE) + 2
  grid = np.linspace(low, high, steps)
  odds = values / np.exp(grid)[:, None]  # signal over noise, `[steps, K]`
  rest = outside[:, None] + inside @ (1 / (1 + odds)).T
  # n / rest is the best beta; with it, the exponents of the Gaussians add up to
  # n / 2, which is the e in the logarithm.
  fit = n * np.log(2 * np.pi * np.e * rest / n)
  scores = -0.5 * (fit + np.log1p(odds).sum(axis=1)) / n
  highest = scores.max(axis=1)
  # The evidence may have two maxima of about the same height. All local maxima
  # of the grid that may be the highest are refined.
  inner = scores[:, 1:-1]
  target, before = np.nonzero(
    (inner > scores[:, :-2])
    & (inner >= scores[:, 2:])
    & (inner > highest[:, None] - _GRID_ERROR)
  )
  inside, outside = inside[target], outside[target]

  def evidence(log_ratio):
    """Evidence at one log(alpha / beta) for each of the maxima."""
    odds = values / np.exp(log_ratio)[:, None]
    rest = outside + (inside / (1 + odds)).sum(axis=1)
    fit = n * np.log(2 * np.pi * np.e * rest / n)
    return -0.5 * (fit + np.log1p(odds).sum(axis=1)) / n

  # Golden section search: each step evaluates one new point of each interval,
  # as the other is one of the step before.
  a, b = grid[before], grid[before + 2]
  left, right = b - _GOLDEN * (b - a), a + _GOLDEN * (b - a)
  at_left, at_right = evidence(left), evidence(right)
  for _ in range(_GOLDEN_STEPS):
    lower = at_left > at_right
    a, b = np.where(lower, a, left), np.where(lower, right, b)
    new = np.where(lower, b - _GOLDEN * (b - a), a + _GOLDEN * (b - a))
    at_new = evidence(new)
    left, right = np.where(lower, new, right), np.where(lower, left, new)
    at_left, at_right = (
      np.where(lower, at_new, at_right),
      np.where(lower, at_left, at_new),
    )
  np.maximum.at(highest, target, np.maximum(at_left, at_right))
  return highest
