"""LogME: how probable the target labels are, given the features.

Each target column y `[n]` is modelled as Bayesian linear regression on the
features F `[n, D]`: weights ~ N(0, 1/alpha), noise ~ N(0, 1/beta), with both
precisions chosen to maximise the evidence p(y given F). All columns share one
eigen-decomposition of F^T F.
"""

from typing import Any

import numpy as np

from leep_jax import checks, outputs as outputs_lib, statistics

# alpha / beta is searched from this many decades below the smallest to as many
# above the largest eigenvalue: on a grid, then by golden section.
_DECADES = 8
_GRID_PER_DECADE = 2
_GOLDEN_STEPS = 40
_GOLDEN = (5**0.5 - 1) / 2


def logme(
  features: Any, labels: Any, *, num_classes: int | None = None
) -> float:
  """Log of maximum evidence, in nats per example; higher transfers better.

  LogME = mean over the classes c that occur of max over (alpha, beta) of 1/n
  log p(y_c given F, alpha, beta), where y_c is 1 for examples of class c and
  else 0. As in the paper there is no intercept.

  Args:
    features: `[n, D]`, the source model's penultimate features.
    labels: `[n]`, target labels from 0.
    num_classes: Y; by default the largest label plus 1. LogME does not depend
      on it (published code counts absent classes, or divides by zero).

  Raises:
    InputError: if there are no examples, lengths differ, labels are not
      integers in 0..Y-1, or features are not finite; or if fewer features
      than examples fit a class exactly, which makes its evidence infinite.

  Reference: You et al., "LogME: Practical Assessment of Pre-trained Models for
  Transfer Learning", ICML 2021, algorithm 1. Published code omits the zero
  eigenvalues of F^T F from log|A| where n < D.
  """
  return logme_of(
    outputs_lib.Outputs.from_arrays(
      features=features, labels=labels, num_classes=num_classes
    )
  )


def logme_of(outputs: outputs_lib.Outputs) -> float:
  """`logme` of kept outputs."""
  outputs.sum(statistics.features_faults)  # refuses what is not finite
  n, dimensions = len(outputs), outputs.num_features or 0
  decompose = _by_features if n <= 2 * dimensions else _by_moments
  values, inside = decompose(outputs)
  energy = outputs.class_counts.astype(np.float64)  # y^T y of one-hot columns
  outside = energy - inside.sum(axis=1)
  exact = outside <= 1e-9 * energy
  if np.any(exact) and len(values) < n:
    raise checks.UndefinedScore(
      f"logme of {outputs.name} is infinite: {len(values)} dimensions of "
      f"features fit class {outputs.classes[exact][0]} exactly on {n} examples"
    )
  evidence = max_log_evidence(values, inside, np.maximum(outside, 0), n)
  return float(evidence.mean())


def _by_moments(outputs):
  """Eigenvalues of F^T F `[K]` and squared projections of targets `[Y, K]`.

  Moments are float64 sums on the host: the evidence weighs small eigenvalues
  as much as large ones, and an offset of the features makes most of them small.
  """
  gram, cross, start = np.zeros(()), np.zeros(()), 0
  for chunk in outputs.feature_chunks():
    features = np.asarray(chunk, np.float64)
    labels = outputs.labels[start : start + len(features)]
    gram = gram + features.T @ features
    cross = cross + (outputs.classes[:, None] == labels) @ features
    start += len(features)
  values, vectors = np.linalg.eigh(gram)
  kept = values > len(values) * np.finfo(np.float64).eps * values[-1]
  values = values[kept]
  return values, (cross @ vectors[:, kept]) ** 2 / values


def _by_features(outputs):
  """The same from the features themselves, where examples are few."""
  features = np.asarray(outputs.features, np.float64)
  vectors, singular, _ = np.linalg.svd(features, full_matrices=False)
  tolerance = max(features.shape) * np.finfo(np.float64).eps
  kept = singular > tolerance * singular[:1]
  targets = (outputs.labels[:, None] == outputs.classes).astype(np.float64)
  return singular[kept] ** 2, (targets.T @ vectors[:, kept]) ** 2


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

  def evidence(log_ratio):
    """Of one log ratio for each target, `[C]`."""
    odds = values / np.exp(log_ratio)[:, None]
    rest = outside + (inside / (1 + odds)).sum(axis=1)
    fit = n * np.log(2 * np.pi * np.e * rest / n)
    return -0.5 * (fit + np.log1p(odds).sum(axis=1)) / n

  if not len(values):  # features are 0: all is noise
    return -0.5 * np.log(2 * np.pi * np.e * outside / n)
  margin = _DECADES * np.log(10)
  low, high = np.log(values.min()) - margin, np.log(values.max()) + margin
  steps = int((high - low) / np.log(10) * _GRID_PER_DECADE) + 2
  grid = np.linspace(low, high, steps)
  columns = len(inside)
  scores = np.stack([evidence(np.full(columns, point)) for point in grid])
  best = grid[scores.argmax(axis=0)]
  a, b = best - (grid[1] - grid[0]), best + (grid[1] - grid[0])
  for _ in range(_GOLDEN_STEPS):
    left, right = b - _GOLDEN * (b - a), a + _GOLDEN * (b - a)
    better = evidence(left) > evidence(right)
    a, b = np.where(better, a, left), np.where(better, right, b)
  return np.maximum(evidence((a + b) / 2), scores.max(axis=0))
