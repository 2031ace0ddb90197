"""LogME: how probable the target labels are, given the features.

Each target column y `[n]` is modelled as Bayesian linear regression on the
features F `[n, D]`: weights ~ N(0, 1/alpha), noise ~ N(0, 1/beta), with both
precisions chosen to maximise the evidence p(y given F). All columns share one
eigen-decomposition of F^T F.
"""

from typing import Any

import jax
import jax.numpy as jnp
import numpy as np

from leep_jax import checks, jackknife, outputs as outputs_lib, statistics
from leep_jax.scores import moments as moments_lib

# alpha / beta is searched from this many decades below the smallest to as many
# above the largest eigenvalue: on a grid, then by golden section.
_DECADES = 8
_GRID_PER_DECADE = 2
# How much higher than a point of the grid the maximum beside it may be.
_NEAR = 0.1
# The maximum is flat: 1e-5 of its place are 1e-10 of its value.
_GOLDEN_STEPS = 24
# Share of a target that features leave, above which one look is exact to six
# digits.
_CLEAR = 0.05
# Share of a target's square that is rounding.
_EXACT = 1e-13
# Squared mean over variance of features, above which their products about 0
# lose digits of float64.
_FAR = 1e6
_GOLDEN = (5**0.5 - 1) / 2


def logme(
  features: Any,
  labels: Any,
  *,
  targets: Any = None,
  num_classes: int | None = None,
) -> float:
  """Log of maximum evidence, in nats per example; higher transfers better.

  LogME = mean over the classes c that occur of max over (alpha, beta) of 1/n
  log p(y_c given F, alpha, beta), where y_c is 1 for examples of class c and
  else 0; for regression, the mean over the columns of the targets but those
  that are 0 throughout. As in the paper there is no intercept.

  Args:
    features: `[n, D]`, the source model's penultimate features.
    labels: `[n]`, target labels from 0; or None, with `targets`.
    targets: `[n, T]` or `[n]` real numbers, for regression instead of labels.
    num_classes: Y; by default the largest label plus 1. LogME does not depend
      on it (published code counts absent classes, or divides by zero).

  Raises:
    InputError: if there are no examples, lengths differ, labels are not
      integers in 0..Y-1, or features are not finite.
    UndefinedScore: if fewer features than examples fit a class exactly, which
      makes its evidence infinite.

  Reference: You et al., "LogME: Practical Assessment of Pre-trained Models for
  Transfer Learning", ICML 2021, algorithm 1. Published code omits the zero
  eigenvalues of F^T F from log|A| where n < D.
  """
  return jackknife.value(
    logme_parts(
      outputs_lib.Outputs.from_arrays(
        features=features,
        labels=labels,
        targets=targets,
        num_classes=num_classes,
      )
    )
  )


def logme_parts(outputs: outputs_lib.Outputs) -> jackknife.Parts:
  """`logme` as a function of sums."""
  if len(outputs) <= (outputs.num_features or 0):
    return _parts_of_examples(outputs)
  known = moments_lib.moments(outputs)
  mean: Any = 0.0
  scale: Any = 1.0
  if outputs.targets is not None:  # statistics see (targets - mean) / scale
    mean, scale = outputs.target_centre

  whole = _spectrum(known.total, known)

  def finalise(sums):
    of_all = sums["gram"] is known.total["gram"]
    values, axes = whole if of_all else _spectrum(sums, known)
    cross, energy = _products(sums, known, mean, scale)
    inside = (cross @ axes) ** 2 / values
    outside = energy - inside.sum(axis=1)
    n = sums["counts"].sum()
    least = _EXACT * energy
    if "left" in sums:
      left = sums["left"]
      moved = np.outer(left["sums"], known.offset) + left["cross"] @ known.root
      moved = moved * np.reshape(scale, (-1, 1))
      outside = scale**2 * left["squares"]
      outside = outside - ((moved @ axes) ** 2 / values).sum(axis=1)
      least = _EXACT * scale**2 * n  # of targets as statistics see them
    return _mean_evidence(outputs, values, inside, outside, least, n)

  values, axes = whole
  cross, energy = _products(known.total, known, mean, scale)
  outside = energy - ((cross @ axes) ** 2 / values).sum(axis=1)
  if np.all(outside >= _CLEAR * energy):
    return known.parts(finalise)
  # Float32 sums know a small remainder badly: a look at what is left of the
  # targets by their least squares fit sees it in full.
  fit = (cross @ axes / values) @ axes.T
  intercept = (fit @ known.offset - mean) / scale
  weights = known.root @ fit.T / np.reshape(scale, (1, -1))
  look = (known.mean, known.basis, weights, intercept)
  left = outputs.group_sums(remainders, *(x.astype(np.float32) for x in look))
  return known.parts(finalise, more={"left": left})


@statistics.reads("features")
def remainders(
  batch: statistics.Batch,
  mean: jax.Array,
  basis: jax.Array,
  weights: jax.Array,
  intercept: jax.Array,
) -> dict[str, jax.Array]:
  """What a linear fit leaves of C targets: labels, one-hot, or real numbers.

  Args:
    batch: examples with features.
    mean: `[D]` float32.
    basis: `[D, K]` float32; u = (f - mean) basis.
    weights: `[K, C]` float32.
    intercept: `[C]` float32.

  Returns:
    Of r = target - u weights - intercept, `sums` `[C]`, `squares` `[C]`, and
    `cross` `[C, K]`, the sum of r u^T.
  """
  u = statistics.project(batch.features, mean, basis)
  targets = batch.targets
  if targets is None:
    targets = jax.nn.one_hot(batch.labels, batch.num_classes)
  fit = jnp.matmul(u, weights, precision=jax.lax.Precision.HIGHEST)
  left = (targets - fit - intercept[None]) * batch.weights[:, None]
  cross = jnp.matmul(left.T, u, precision=jax.lax.Precision.HIGHEST)
  return {"sums": left.sum(0), "squares": (left**2).sum(0), "cross": cross}


def _spectrum(sums, known):
  """Eigenvalues `[K]` of F^T F and their vectors `[D, K]`, zeros left out."""
  n = sums["counts"].sum()
  # Back to features about 0, as there is no intercept: f = offset + u root.
  mean = known.offset + sums["class_sums"].sum(axis=0) / n @ known.root
  scatter = known.root.T @ moments_lib.scatters(sums)[0] @ known.root
  if n * (mean @ mean) <= _FAR * np.trace(scatter):
    values, axes = np.linalg.eigh(scatter + n * np.outer(mean, mean))
    kept = values > len(values) * np.finfo(np.float64).eps * max(values[-1], 0)
    return values[kept], axes[:, kept]
  # The square of a large mean would leave no digits for the rest.
  values, axes = np.linalg.eigh(scatter)
  some = values > moments_lib.rounding(len(values)) ** 2 * max(values[-1], 0)
  root = np.sqrt(values[some])[:, None] * axes[:, some].T
  root = np.concatenate([root, np.sqrt(n) * mean[None]])
  _, singular, axes = np.linalg.svd(root, full_matrices=False)
  return singular**2, axes.T


def _products(sums, known, mean, scale):
  """Targets times features `[C, D]`, and their squared lengths `[C]`."""
  n = sums["counts"].sum()
  if "cross" not in sums:
    counts = sums["counts"]
    cross = sums["class_sums"] @ known.root + np.outer(counts, known.offset)
    return cross, counts
  cross = sums["cross"] @ known.root
  cross += np.outer(sums["target_sums"], known.offset)
  total = sums["class_sums"].sum(axis=0) @ known.root + n * known.offset
  energy = scale**2 * sums["squares"] + n * mean**2
  energy += 2 * mean * scale * sums["target_sums"]
  return cross * scale[:, None] + np.outer(mean, total), energy


def _parts_of_examples(outputs):
  """The same from the n x n products of features, where examples are few."""
  outputs.check("features")
  features = np.asarray(outputs.features, np.float64)
  features = features / (np.abs(features).max() or 1)
  products = features @ features.T
  targets = outputs.targets
  if targets is None:
    targets = (outputs.labels[:, None] == outputs.classes).astype(np.float64)

  def finalise(kept):
    values, vectors = np.linalg.eigh(products[np.ix_(kept, kept)])
    floor = len(values) * np.finfo(np.float64).eps * values[-1]
    some = values > max(floor, 0)
    inside = (targets[kept].T @ vectors[:, some]) ** 2
    outside = (targets[kept] ** 2).sum(axis=0) - inside.sum(axis=1)
    least = _EXACT * (inside.sum(axis=1) + np.abs(outside))
    n = kept.sum()
    return _mean_evidence(outputs, values[some], inside, outside, least, n)

  return jackknife.Parts.of_examples(finalise, outputs.group_of, outputs.groups)


def _mean_evidence(outputs, values, inside, outside, least, n):
  """Mean evidence of the target columns that are not all 0.

  An `outside` of no more than `least` is rounding: the fit is exact.
  """
  energy = inside.sum(axis=1) + np.maximum(outside, 0)
  some = energy > 1e-12 * energy.max(initial=0)
  if not some.any():
    raise checks.UndefinedScore("logme is infinite: all targets are 0")
  exact = some & (outside <= least)
  if np.any(exact) and len(values) < n:
    which = np.argmax(exact)
    what = f"target {which}"
    if outputs.targets is None:
      what = f"class {outputs.classes[which]}"
    raise checks.UndefinedScore(
      f"logme is infinite: {len(values)} dimensions of features fit {what} "
      f"exactly on {n:.0f} examples"
    )
  inside, outside = inside[some], np.maximum(outside[some], 0)
  return float(max_log_evidence(values, inside, outside, n).mean())


def max_log_evidence(
  values: np.ndarray, inside: np.ndarray, outside: np.ndarray, n: int
) -> np.ndarray:
  """Maximises the evidence of Bayesian linear regressions that share features.

  With r = alpha / beta, the evidence is that of independent Gaussians along
  the eigenvectors of F F^T, with variances (1 + values / r) / beta; the best
  beta for a given r is known, which leaves one dimension to search.

  Args:
    values: `[K]`, positive eigenvalues of F^T F.
    inside: `[C, K]`, squared projections of each target on the eigenvectors.
    outside: `[C]`, what is left of each target's squared length, >= 0.
    n: number of examples.

  Returns:
    `[C]`, log evidence in nats per example.

  Reference: You et al., ICML 2021, equation 2; MacKay, "Bayesian
  Interpolation", Neural Computation 1992.
  """

  if not len(values):  # features are 0: all is noise
    return -0.5 * np.log(2 * np.pi * np.e * outside / n)
  margin = _DECADES * np.log(10)
  low, high = np.log(values.min()) - margin, np.log(values.max()) + margin
  steps = int((high - low) / np.log(10) * _GRID_PER_DECADE) + 2
  grid = np.linspace(low, high, steps)
  odds = values / np.exp(grid)[:, None]
  rest = outside[:, None] + inside @ (1 / (1 + odds)).T
  fit = n * np.log(2 * np.pi * np.e * rest / n)
  scores = -0.5 * (fit + np.log1p(odds).sum(axis=1)) / n
  highest = scores.max(axis=1)
  # There may be two maxima of like height: all that may be the highest count.
  inner = scores[:, 1:-1]
  target, place = np.nonzero(
    (inner > scores[:, :-2])
    & (inner >= scores[:, 2:])
    & (inner > highest[:, None] - _NEAR)
  )
  inside, outside = inside[target], outside[target]

  def evidence(log_ratio):
    """Of one log ratio for each maximum."""
    odds = values / np.exp(log_ratio)[:, None]
    rest = outside + (inside / (1 + odds)).sum(axis=1)
    fit = n * np.log(2 * np.pi * np.e * rest / n)
    return -0.5 * (fit + np.log1p(odds).sum(axis=1)) / n

  # Golden section: each step looks at one new point of each interval.
  a, b = grid[place], grid[place + 2]
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
