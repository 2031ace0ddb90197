"""H-scores: how much of the features' variance the target labels explain.

Both scores are between 0 and Y - 1 and have no unit; higher means that the
source transfers better. Symbols: n examples, Y target classes, D features f.
"""

import numpy as np
import numpy.typing as npt

from leep_jax import validation
from leep_jax.engine import outputs as outputs_lib, statistics
from leep_jax.scores import jackknife, moments as moments_lib, standardised


def h_score(
  features: npt.ArrayLike,
  labels: npt.ArrayLike,
  *,
  num_classes: int | None = None,
) -> float:
  """H-score, between 0 and Y - 1; higher transfers better.

  H = tr(cov(f)^-1 cov(E[f given y])). The inverse is a pseudo-inverse where
  features are constant, or linear combinations of others, or there are fewer
  examples than features. With n <= D features the H-score usually reaches its
  upper bound for any labels: it is then uninformative and has no standard
  error. `regularized_h_score` is meant for that case.

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

  Example:
    With two classes, a source whose features determine the class reaches the
    upper bound 1, and a source whose features have the same mean in both
    classes gets 0.

    >>> import leep_jax
    >>> labels = [0, 0, 0, 1, 1, 1]
    >>> perfect = [[-1.0], [-1.0], [-1.0], [1.0], [1.0], [1.0]]
    >>> partial = [[-2.0], [-1.0], [0.0], [0.0], [1.0], [2.0]]
    >>> uninformative = [[-1.0], [0.0], [1.0], [-1.0], [0.0], [1.0]]
    >>> for features in (perfect, partial, uninformative):
    ...   print(round(leep_jax.h_score(features, labels), 4))
    1.0
    0.6
    0.0

    The H-score does not change if features are scaled, shifted or combined
    linearly without loss.

    >>> scaled = [[1000 * value + 7] for (value,) in partial]
    >>> round(leep_jax.h_score(scaled, labels), 4)
    0.6
  """
  return jackknife.value(
    h_score_parts(
      outputs_lib.Outputs.from_arrays(
        features=features, labels=labels, num_classes=num_classes
      )
    )
  )


def regularized_h_score(
  features: npt.ArrayLike,
  labels: npt.ArrayLike,
  *,
  num_classes: int | None = None,
) -> float:
  """H-score with a shrunk covariance; higher transfers better.

  H = tr(((1 - a) S + a s I)^-1 (1 - a) S_between), where S is the covariance of
  the features, S_between that of their class means, s = tr(S) / D, and a the
  shrinkage intensity of Ledoit and Wolf. Unlike `h_score`, it distinguishes
  sources if there are few examples for the number of features.

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

  Example:
    Ten examples with twenty features of pure noise: the H-score is at its
    upper bound, the shrunk one is not.

    >>> import leep_jax
    >>> import numpy as np
    >>> rng = np.random.default_rng(0)
    >>> noise, labels = rng.normal(size=(10, 20)), [0, 1] * 5
    >>> f"{leep_jax.h_score(noise, labels):.2f}"
    '1.00'
    >>> f"{leep_jax.regularized_h_score(noise, labels):.2f}"
    '0.17'
  """
  return jackknife.value(
    regularized_h_score_parts(
      outputs_lib.Outputs.from_arrays(
        features=features, labels=labels, num_classes=num_classes
      )
    )
  )


def h_score_parts(outputs: outputs_lib.Outputs) -> jackknife.Parts:
  """Returns `h_score` as sums and a function of them.

  Args:
    outputs: with features and labels.

  Raises:
    InputError: as `h_score`.

  Example:
    >>> import leep_jax
    >>> from leep_jax.scores import jackknife
    >>> from leep_jax.scores import h_score
    >>> outputs = leep_jax.Outputs.from_arrays(
    ...   features=[[0.0], [1.0], [1.0], [2.0]], labels=[0, 0, 1, 1])
    >>> round(jackknife.value(h_score.h_score_parts(outputs)), 4)
    0.5
  """
  if len(outputs) <= (outputs.num_features or 0):
    return _parts_from_kernel(outputs)
  return moments_lib.moments(outputs).parts(_h_score)


def _parts_from_kernel(outputs) -> jackknife.Parts:
  """`h_score_parts` from the products of examples `[n, n]`, for n <= D.

  F F^T has the non-zero eigenvalues of F^T F, and is the smaller matrix here.
  """
  # H-score does not depend on the features' units, and so must not the limit
  # for eigenvalues below.
  products = standardised.products(outputs)
  labels = outputs.labels[:, None] == outputs.classes

  def finalise(kept):
    kernel = products[np.ix_(kept, kept)]
    mean = kernel.mean(axis=0)
    # Centred on the mean of the examples that are kept, without new products.
    values, vectors = np.linalg.eigh(
      kernel - mean - mean[:, None] + mean.mean()
    )
    # Eigenvalues are squares of the features' singular values, whose only error
    # is the rounding of float32: so the limit is squared.
    floor = moments_lib.rounding(len(values)) ** 2
    used = values > max(floor * values[-1], 0)
    if not kept.all() and used.sum() >= kept.sum() - 1:
      # Any labels reach the upper bound, also without a group. The standard
      # error would be 0, although the value is uninformative.
      raise validation.UndefinedScore("h_score is its bound: n <= D")
    counts = labels[kept].sum(axis=0)
    present = counts > 0
    # With the left singular vectors U of F, H-score is the sum over classes of
    # |U^T 1_y|^2 / n_y: the between-class scatter is the sum of F^T 1_y 1_y^T F
    # / n_y, and F (F^T F)^+ F^T = U U^T.
    projections = (labels[kept][:, present].T @ vectors[:, used]) ** 2
    explained = np.sum(projections / counts[present][:, None])
    return float(np.clip(explained, 0, present.sum() - 1))

  return jackknife.Parts.of_examples(finalise, outputs.group_of, outputs.groups)


def _h_score(sums):
  """The H-score of moments, as `moments.Moments.total`."""
  scatter, means = moments_lib.scatters(sums)
  explained = _explained_by_cholesky(scatter, means)
  if explained is None:  # needs a pseudo-inverse
    explained = moments_lib.explained(scatter, means)
  return float(np.clip(explained, 0, len(means) - 1))


def _explained_by_cholesky(scatter, means):
  """tr(scatter^-1 means^T means), or None if scatter is ill-conditioned.

  This is several times faster than the eigendecomposition in
  `moments.explained`, and the jackknife computes it for each group.
  """
  if not len(scatter):
    return 0.0
  try:
    factor = np.linalg.cholesky(scatter)
  except np.linalg.LinAlgError:
    return None
  pivots = np.diag(factor) ** 2
  # `moments` gives features a covariance near the identity, so all pivots are
  # about equal, unless a direction has no variance without a group.
  if pivots.min() < 1e-3 * pivots.max():
    return None
  import scipy.linalg

  # With scatter = L L^T, the trace is the squared norm of L^-1 means^T.
  half = scipy.linalg.solve_triangular(factor, means.T, lower=True)
  return np.sum(half**2)


def regularized_h_score_parts(outputs: outputs_lib.Outputs) -> jackknife.Parts:
  """Returns `regularized_h_score` as sums and a function of them.

  Args:
    outputs: with features and labels.

  Raises:
    InputError: as `h_score`.

  Example:
    >>> import leep_jax
    >>> from leep_jax.scores import jackknife
    >>> from leep_jax.scores import h_score
    >>> outputs = leep_jax.Outputs.from_arrays(
    ...   features=[[0.0], [1.0], [1.0], [2.0]], labels=[0, 0, 1, 1])
    >>> round(jackknife.value(h_score.regularized_h_score_parts(outputs)), 4)
    0.5
  """
  if len(outputs) <= (outputs.num_features or 0):
    return _regularized_from_kernel(outputs)
  known = moments_lib.moments(outputs)
  mean, root = known.mean, known.root
  more = outputs.group_sums(statistics.norm_moments, mean.astype(np.float32))

  def finalise(sums):
    scatter, means = moments_lib.scatters(sums)
    # Back to the features' own unit: shrinkage towards a multiple of the
    # identity depends on it.
    scatter, means = root.T @ scatter @ root, means @ root
    n, dimensions = sums["counts"].sum(), len(scatter)
    average = np.trace(scatter) / dimensions
    if average <= 0 or len(means) == 1:  # constant features, or one class
      return 0.0
    shrinkage = _ledoit_wolf(sums, scatter / n, root)
    if shrinkage == 0:  # nothing makes the covariance invertible
      return _h_score(sums)
    shrunk = (1 - shrinkage) * scatter
    shrunk += shrinkage * average * np.eye(dimensions)
    explained = means * np.linalg.solve(shrunk, means.T).T
    return float(np.clip((1 - shrinkage) * explained.sum(), 0, len(means) - 1))

  return known.parts(finalise, more=more)


def _regularized_from_kernel(outputs) -> jackknife.Parts:
  """`regularized_h_score_parts` from the products of examples, for n <= D.

  For centred features F, F (a F^T F + c I)^-1 F^T = K (a K + c I)^-1 with the
  products K = F F^T, and the norms of F^T F are those of K.
  """
  rows = moments_lib.centred(outputs)
  products, dimensions = rows @ rows.T, rows.shape[1]
  labels = outputs.labels[:, None] == outputs.classes

  def finalise(kept):
    kernel = products[np.ix_(kept, kept)]
    mean = kernel.mean(axis=0)
    kernel = kernel - mean - mean[:, None] + mean.mean()
    n, trace = len(kernel), np.trace(kernel)
    indicators = labels[kept]
    indicators = indicators[:, indicators.any(axis=0)].T.astype(np.float64)
    if trace <= 0 or len(indicators) == 1:
      return 0.0
    norm, fourth = np.sum(kernel**2) / n**2, np.mean(np.diag(kernel) ** 2)
    shrinkage = _intensity(norm, trace / n, fourth, n, dimensions)
    rows = indicators / np.sqrt(indicators.sum(axis=1, keepdims=True))
    if shrinkage == 0:  # nothing makes the covariance invertible
      explained = moments_lib.explained(kernel, rows @ kernel)
    else:
      shrunk = (1 - shrinkage) * kernel
      shrunk += shrinkage * trace / dimensions * np.eye(n)
      explained = np.sum(rows @ kernel * np.linalg.solve(shrunk, rows.T).T)
    return float(np.clip((1 - shrinkage) * explained, 0, len(rows) - 1))

  return jackknife.Parts.of_examples(finalise, outputs.group_of, outputs.groups)


def _ledoit_wolf(sums, covariance, root) -> float:
  """The Ledoit-Wolf shrinkage intensity, in [0, 1], from moments alone.

  The lemma sums |x x^T - S|^2 over examples; expanded, it needs their third and
  fourth moments only, which one pass over the outputs sums.

  Reference: Ledoit & Wolf, "A well-conditioned estimator for large-dimensional
  covariance matrices", J. Multivariate Analysis 2004, lemma 3.2.
  """
  n, dimensions = sums["counts"].sum(), len(covariance)
  # The mean of f minus the point about which moments are taken. It is not 0:
  # the point is rounded to float32, and without a group the mean is another.
  mean = sums["class_sums"].sum(axis=0) @ root / n
  square = mean @ mean
  second = covariance + np.outer(mean, mean)
  # E |f - mean|^4 about the examples' own mean, by the binomial expansion.
  fourth = (
    sums["fourth"] / n
    - 4 * mean @ sums["third"] / n
    + 4 * mean @ second @ mean
    + 2 * square * np.trace(second)
    - 3 * square**2
  )
  norm = np.sum(covariance**2)
  return _intensity(norm, np.trace(covariance), fourth, n, dimensions)


def _intensity(norm, trace, fourth, n, dimensions) -> float:
  """The intensity from |S|^2, tr S and E |x|^4 about the mean."""
  # The mean of |x x^T - S|^2 is E |x|^4 - |S|^2. Divided by n it is the lemma's
  # b^2; the squared distance of S from its multiple of the identity is d^2.
  spread = norm - trace**2 / dimensions
  noise = (fourth - norm) / n
  if spread <= 0:
    return 0.0
  return float(np.clip(noise / spread, 0, 1))
