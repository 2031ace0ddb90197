"""H-scores: how much of the features' variance the target labels explain."""

from typing import Any

import numpy as np

from leep_jax import outputs as outputs_lib, statistics

# Smallest over largest eigenvalue of the correlations, above which one look in
# float32 is exact to about six digits.
_WELL_CONDITIONED = 0.05


def h_score(
  features: Any, labels: Any, *, num_classes: int | None = None
) -> float:
  """H-score, between 0 and Y - 1; higher transfers better.

  H = tr(cov(f)^-1 cov(E[f given y])), with the pseudo-inverse where features
  are constant, copies or combinations of each other, or there are fewer
  examples than features. With n <= D the features can always explain every
  label, and H tells nothing.

  Args:
    features: `[n, D]`, the source model's penultimate features.
    labels: `[n]`, target labels from 0.
    num_classes: Y; by default the largest label plus 1. H does not depend on
      it.

  Raises:
    InputError: if there are no examples, lengths differ, labels are not
      integers in 0..Y-1, or features are not finite.

  Reference: Bao et al., "An Information-Theoretic Approach to Transferability
  in Task Transfer Learning", ICIP 2019, definition 2.
  """
  return h_score_of(
    outputs_lib.Outputs.from_arrays(
      features=features, labels=labels, num_classes=num_classes
    )
  )


def regularized_h_score(
  features: Any, labels: Any, *, num_classes: int | None = None
) -> float:
  """H-score with a shrunk covariance; higher transfers better.

  H = tr(((1 - a) S + a s I)^-1 (1 - a) S_between), with S the covariance of
  the features, S_between that of their class means, s = tr(S) / D, and a the
  Ledoit-Wolf intensity. It keeps its meaning where there are few examples for
  the number of features.

  Args:
    features: `[n, D]`, the source model's penultimate features.
    labels: `[n]`, target labels from 0.
    num_classes: Y; by default the largest label plus 1. H does not depend on
      it.

  Raises:
    InputError: as `h_score`.

  Reference: Ibrahim, Ponomareva & Mazumder, "Newer is not always better:
  Rethinking transferability metrics, their peculiarities, stability and
  performance", 2022, arXiv 2110.06893; Ledoit & Wolf, 2004.
  """
  return regularized_h_score_of(
    outputs_lib.Outputs.from_arrays(
      features=features, labels=labels, num_classes=num_classes
    )
  )


def h_score_of(outputs: outputs_lib.Outputs) -> float:
  """`h_score` of kept outputs."""
  sums = outputs.sum(statistics.moments)
  scatter, means, mean = _scatters(sums, outputs)
  scale = _scale(scatter, sums["gram"], outputs)
  values, vectors = np.linalg.eigh(scatter / np.outer(scale, scale))
  if values[0] < _WELL_CONDITIONED * values[-1]:
    # Float32 sums know the small eigenvalues badly: a second look at features
    # brought near unit covariance by the first sees them as well as the rest.
    floor = max(_rounding(len(values)) * values[-1], np.finfo(np.float64).tiny)
    basis = vectors / np.sqrt(np.maximum(values, floor)) / scale[:, None]
    sums = outputs.sum(
      statistics.whitened_moments,
      mean.astype(np.float32),
      (basis * np.sqrt(len(outputs))).astype(np.float32),
    )
    scatter, means, _ = _scatters(sums, outputs)
    values, vectors = np.linalg.eigh(scatter)
  else:
    means = means / scale
  kept = values > max(_rounding(len(values)) * values[-1], 0)
  explained = (means @ vectors[:, kept]) ** 2 / values[kept]
  return float(np.clip(explained.sum(), 0, len(means) - 1))


def regularized_h_score_of(outputs: outputs_lib.Outputs) -> float:
  """`regularized_h_score` of kept outputs."""
  sums = outputs.sum(statistics.moments)
  scatter, means, _ = _scatters(sums, outputs)
  n, dimensions = len(outputs), len(scatter)
  average = np.trace(scatter) / dimensions
  if average <= 0 or len(means) == 1:  # constant features, or one class
    return 0.0
  shrinkage = _ledoit_wolf(outputs, scatter / n)
  if shrinkage == 0:
    return h_score_of(outputs)
  shrunk = (1 - shrinkage) * scatter + shrinkage * average * np.eye(dimensions)
  explained = means * np.linalg.solve(shrunk, means.T).T
  return float(np.clip((1 - shrinkage) * explained.sum(), 0, len(means) - 1))


def _rounding(dimensions):
  """Eigenvalues below this share of the largest are rounding of float32."""
  return dimensions * np.finfo(np.float32).eps


def _scatters(sums, outputs):
  """n S `[D, D]`, a root `[Y, D]` of n S_between, and the mean `[D]`."""
  n = len(outputs)
  total = sums["class_sums"].sum(axis=0)
  scatter = sums["gram"] - np.outer(total, total) / n
  # Class means weighted by sqrt(n_y), less the same part of the mean.
  root = np.sqrt(outputs.class_counts)[:, None]
  return scatter, sums["class_sums"] / root - root * (total / n), total / n


def _ledoit_wolf(outputs, covariance) -> float:
  """The Ledoit-Wolf shrinkage intensity, in [0, 1], from moments alone.

  Reference: Ledoit & Wolf, "A well-conditioned estimator for large-dimensional
  covariance matrices", J. Multivariate Analysis 2004, lemma 3.2.
  """
  sums, more = (
    outputs.sum(statistics.moments),
    outputs.sum(statistics.norm_moments),
  )
  n, dimensions = len(outputs), len(covariance)
  first = sums["class_sums"].sum(axis=0)
  mean = first / n
  square = mean @ mean
  # sum |f - mean|^4, expanded in moments about the shift.
  fourth = (
    more["fourth"]
    - 4 * mean @ more["third"]
    + 4 * mean @ sums["gram"] @ mean
    + 2 * square * np.trace(sums["gram"])
    - 4 * square * mean @ first
    + n * square**2
  )
  norm = np.sum(covariance**2)
  spread = norm - np.trace(covariance) ** 2 / dimensions
  noise = (fourth / n - norm) / n
  if spread <= 0:
    return 0.0
  return float(np.clip(noise / spread, 0, 1))


def _scale(scatter, gram, outputs):
  """Each feature's scale `[D]`, so that H does not depend on its unit.

  A feature that varies by no more than the rounding of its own values is
  constant: its scale is infinite, which takes it out.
  """
  n = len(outputs)
  shift, unit = outputs.feature_centre
  rounding = np.finfo(np.float32).eps * np.sqrt(np.diag(gram) / n)
  rounding += np.finfo(shift.dtype).eps * np.abs(shift) / unit
  deviation = np.sqrt(np.maximum(np.diag(scatter), 0) / n)
  return np.where(deviation > rounding, deviation * np.sqrt(n), np.inf)
