"""H-scores: how much of the features' variance the target labels explain."""

from typing import Any

import numpy as np

from leep_jax import checks, jackknife, outputs as outputs_lib, statistics
from leep_jax.scores import moments as moments_lib


def h_score(
  features: Any, labels: Any, *, num_classes: int | None = None
) -> float:
  """H-score, between 0 and Y - 1; higher transfers better.

  H = tr(cov(f)^-1 cov(E[f given y])), with the pseudo-inverse where features
  are constant, copies or combinations of each other, or there are fewer
  examples than features. With n <= D the features can always explain every
  label, and H tells nothing: it has no standard error then.

  Some published code multiplies pinv(cov) and cov element by element, which is
  not the trace of their product.

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
  return jackknife.value(
    h_score_parts(
      outputs_lib.Outputs.from_arrays(
        features=features, labels=labels, num_classes=num_classes
      )
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
  return jackknife.value(
    regularized_h_score_parts(
      outputs_lib.Outputs.from_arrays(
        features=features, labels=labels, num_classes=num_classes
      )
    )
  )


def h_score_parts(outputs: outputs_lib.Outputs) -> jackknife.Parts:
  """`h_score` as a function of sums."""
  if len(outputs) <= (outputs.num_features or 0):
    return _parts_of_examples(outputs)
  return moments_lib.moments(outputs).parts(_h_score)


def _parts_of_examples(outputs):
  """The same from the n x n products of features, where examples are few."""
  outputs.check("features")
  features = np.asarray(outputs.features, np.float64)
  size = np.abs(features).max(axis=0)
  features = features - features.mean(axis=0)
  # A feature that varies by no more than the rounding of its values is none.
  deviation = features.std(axis=0)
  wide = outputs.store.is_wide("features")
  used = deviation > np.finfo(np.float64 if wide else np.float32).eps * size
  features = features[:, used] / deviation[used]
  products = features @ features.T
  labels = outputs.labels[:, None] == outputs.classes

  def finalise(kept):
    inside = products[np.ix_(kept, kept)]
    mean = inside.mean(axis=0)
    values, vectors = np.linalg.eigh(
      inside - mean - mean[:, None] + mean.mean()
    )
    # These are squares, and exact but for the rounding of the features.
    floor = moments_lib.rounding(len(values)) ** 2
    some = values > max(floor * values[-1], 0)
    if not kept.all() and some.sum() >= kept.sum() - 1:
      # It is its bound, and would be for any examples: that says nothing.
      raise checks.UndefinedScore("h_score is its bound: n <= D")
    counts = labels[kept].sum(axis=0)
    here = counts > 0
    sides = (labels[kept][:, here].T @ vectors[:, some]) ** 2
    explained = np.sum(sides / counts[here][:, None])
    return float(np.clip(explained, 0, here.sum() - 1))

  return jackknife.Parts.of_examples(finalise, outputs.group_of, outputs.groups)


def _h_score(sums):
  scatter, means = moments_lib.scatters(sums)
  explained = _well_explained(scatter, means)
  if explained is None:
    explained = moments_lib.explained(scatter, means)
  return float(np.clip(explained, 0, len(means) - 1))


def _well_explained(scatter, means):
  """tr(scatter^-1 means^T means), or None if that is not well-conditioned."""
  if not len(scatter):
    return 0.0
  try:
    factor = np.linalg.cholesky(scatter)
  except np.linalg.LinAlgError:
    return None
  pivots = np.diag(factor) ** 2
  if pivots.min() < 1e-3 * pivots.max():
    return None
  import scipy.linalg

  half = scipy.linalg.solve_triangular(factor, means.T, lower=True)
  return np.sum(half**2)


def regularized_h_score_parts(outputs: outputs_lib.Outputs) -> jackknife.Parts:
  """`regularized_h_score` as a function of sums."""
  known = moments_lib.moments(outputs)
  mean, root = known.mean, known.root
  more = outputs.group_sums(statistics.norm_moments, mean.astype(np.float32))

  def finalise(sums):
    scatter, means = moments_lib.scatters(sums)
    scatter, means = root.T @ scatter @ root, means @ root
    n, dimensions = sums["counts"].sum(), len(scatter)
    average = np.trace(scatter) / dimensions
    if average <= 0 or len(means) == 1:  # constant features, or one class
      return 0.0
    shrinkage = _ledoit_wolf(sums, scatter / n, root)
    if shrinkage == 0:
      return _h_score(sums)
    shrunk = (1 - shrinkage) * scatter
    shrunk += shrinkage * average * np.eye(dimensions)
    explained = means * np.linalg.solve(shrunk, means.T).T
    return float(np.clip((1 - shrinkage) * explained.sum(), 0, len(means) - 1))

  return known.parts(finalise, more=more)


def _ledoit_wolf(sums, covariance, root) -> float:
  """The Ledoit-Wolf shrinkage intensity, in [0, 1], from moments alone.

  Reference: Ledoit & Wolf, "A well-conditioned estimator for large-dimensional
  covariance matrices", J. Multivariate Analysis 2004, lemma 3.2.
  """
  n, dimensions = sums["counts"].sum(), len(covariance)
  # Of f less the mean that the moments are about, which may not be quite that
  # of these examples.
  mean = sums["class_sums"].sum(axis=0) @ root / n
  square = mean @ mean
  second = covariance + np.outer(mean, mean)
  # E |f - mean|^4, expanded.
  fourth = (
    sums["fourth"] / n
    - 4 * mean @ sums["third"] / n
    + 4 * mean @ second @ mean
    + 2 * square * np.trace(second)
    - 3 * square**2
  )
  norm = np.sum(covariance**2)
  spread = norm - np.trace(covariance) ** 2 / dimensions
  noise = (fourth - norm) / n
  if spread <= 0:
    return 0.0
  return float(np.clip(noise / spread, 0, 1))
