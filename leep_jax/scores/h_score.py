"""H-score: how much of the features' variance the target labels explain."""

from typing import Any

import numpy as np

from leep_jax import outputs as outputs_lib, statistics


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


def h_score_of(outputs: outputs_lib.Outputs) -> float:
  """`h_score` of kept outputs."""
  sums = outputs.sum(statistics.moments)
  counts = np.bincount(outputs.labels, minlength=outputs.num_classes)
  present = counts > 0
  counts, class_sums = counts[present], sums["class_sums"][present]
  n = len(outputs)
  total = class_sums.sum(axis=0)
  scatter = sums["gram"] - np.outer(total, total) / n
  # Class means weighted by sqrt(n_y), less the same part of the mean.
  root = np.sqrt(counts)[:, None]
  means = class_sums / root - root * (total / n)
  scale = _scale(scatter, sums["gram"], outputs.feature_shift, n)
  scatter = scatter / np.outer(scale, scale)
  means = means / scale
  values, vectors = np.linalg.eigh(scatter)
  # The moments are float32 sums: smaller eigenvalues are their rounding.
  kept = values > len(values) * np.finfo(np.float32).eps * values[-1]
  explained = (means @ vectors[:, kept]) ** 2 / values[kept]
  return float(np.clip(explained.sum(), 0, len(counts) - 1))


def _scale(scatter, gram, shift, n):
  """Each feature's scale, so that H does not depend on its unit.

  A feature that varies by no more than the rounding of its own values is
  constant: its scale is infinite, which takes it out.
  """
  rounding = np.finfo(np.float32).eps * (
    np.abs(shift) + np.sqrt(np.diag(gram) / n)
  )
  deviation = np.sqrt(np.maximum(np.diag(scatter), 0) / n)
  return np.where(deviation > rounding, deviation * np.sqrt(n), np.inf)
