"""The three terms of NCTI: how near features are to neural collapse.

A network that was trained long on the target data has features that vary little
within a class, class means that are far apart, and a nearest-class-mean
classifier that is right. NCTI adds a term for each after scaling it over all
sources that are compared (`pools`), so that it is no score of one source.

All terms are of a linear discriminant analysis of at most 64 principal
components x, of which K have variance. The covariance within classes is shrunk
to (1 - a) S + a tr(S) / K I, where a is exp of minus the variance of the first
32 components, at least 1e-10. So the terms depend on the unit of the features.

Higher means that the source transfers better. Symbols: n examples, Y target
classes, P_c the probabilities `[n_c, Y]` of the n_c examples of class c.
"""

import numpy as np
import numpy.typing as npt

from leep_jax import validation
from leep_jax.engine import outputs as outputs_lib, passes
from leep_jax.scores import coordinates, discriminant, jackknife

COMPONENTS = 64
# Components whose variances decide the shrinkage.
_FIRST = 32
# Of variances that are shares of 1: rounding of float32 sums.
_TOO_SMALL = 1e-7


def ncti_variability(
  features: npt.ArrayLike,
  labels: npt.ArrayLike,
  *,
  num_classes: int | None = None,
) -> float:
  """Minus the logarithm of the variability of probabilities.

  It is - log(sum_c ||P_c||_* / sqrt(n)), with the nuclear norm, the sum of
  singular values: low where the examples of a class have unlike probabilities.
  Higher transfers better. The authors' code does not divide by sqrt(n), which
  all sources share.

  Args:
    features: `[n, D]`, the source model's penultimate features.
    labels: `[n]`, target labels from 0.
    num_classes: Y; by default the largest label plus 1. The term does not
      depend on it.

  Returns:
    The term, between - log(Y) and log(Y) / 2.

  Raises:
    InputError: if there are no examples, lengths differ, labels are not
      integers in 0..Y-1, or features are not finite.

  Reference: Wang, Luo, Zheng, Huang & Baktashmotlagh, "How Far Pre-trained
  Models Are from Neural Collapse on the Target Dataset Informs their
  Transferability", ICCV 2023.

  Example:
    Probabilities of two classes that are certain and right have a singular
    value each, of sqrt(n / 2).

    >>> import leep_jax
    >>> features, labels = [[0.0], [0.01], [9.0], [9.01]], [0, 0, 1, 1]
    >>> f"{leep_jax.ncti_variability(features, labels):.4f}"
    '-0.3466'
  """
  return jackknife.value(
    ncti_variability_parts(_outputs(features, labels, num_classes))
  )


def ncti_seli(
  features: npt.ArrayLike,
  labels: npt.ArrayLike,
  *,
  num_classes: int | None = None,
) -> float:
  """The nuclear norm of discriminant coordinates, at least 0.

  It is ||Z||_* / sqrt(n), with the sum of singular values of Z = X U `[n, Y -
  1]`, where X are the centred components, and the columns of U `[K, Y - 1]` are
  the generalised eigenvectors of the shrunk covariances between and within
  classes with the largest eigenvalues, of length 1 under the latter. Label
  geometry with equally distant classes (SELI) has the largest. Higher transfers
  better. The authors' code does not divide by sqrt(n), which all sources share.

  Args:
    features: `[n, D]`, the source model's penultimate features.
    labels: `[n]`, target labels from 0.
    num_classes: Y; by default the largest label plus 1. The term does not
      depend on it.

  Raises:
    InputError: as `ncti_variability`.

  Reference: Wang, Luo, Zheng, Huang & Baktashmotlagh, "How Far Pre-trained
  Models Are from Neural Collapse on the Target Dataset Informs their
  Transferability", ICCV 2023.

  Example:
    >>> import leep_jax
    >>> labels = [0, 0, 1, 1]
    >>> apart = leep_jax.ncti_seli([[0.0], [2.0], [8.0], [10.0]], labels)
    >>> near = leep_jax.ncti_seli([[0.0], [2.0], [1.0], [3.0]], labels)
    >>> f"{apart:.3f} {near:.3f}"
    '4.123 1.118'
  """
  return jackknife.value(
    ncti_seli_parts(_outputs(features, labels, num_classes))
  )


def ncti_ncc(
  features: npt.ArrayLike,
  labels: npt.ArrayLike,
  *,
  num_classes: int | None = None,
) -> float:
  """Mean probability of the true label, from 0 to 1.

  It is that of the discriminant analysis, whose classes are the nearest class
  means (NCC) in the discriminant coordinates. Higher transfers better.

  Args:
    features: `[n, D]`, the source model's penultimate features.
    labels: `[n]`, target labels from 0.
    num_classes: Y; by default the largest label plus 1. The term does not
      depend on it.

  Raises:
    InputError: as `ncti_variability`.

  Reference: Wang, Luo, Zheng, Huang & Baktashmotlagh, "How Far Pre-trained
  Models Are from Neural Collapse on the Target Dataset Informs their
  Transferability", ICCV 2023.

  Example:
    >>> import leep_jax
    >>> labels = [0, 0, 1, 1]
    >>> apart = leep_jax.ncti_ncc([[0.0], [2.0], [8.0], [10.0]], labels)
    >>> same = leep_jax.ncti_ncc([[0.0], [2.0], [0.0], [2.0]], labels)
    >>> f"{apart:.3f} {same:.3f}"
    '1.000 0.500'
  """
  return jackknife.value(
    ncti_ncc_parts(_outputs(features, labels, num_classes))
  )


def _outputs(features, labels, num_classes):
  return outputs_lib.Outputs.from_arrays(
    features=features, labels=labels, num_classes=num_classes
  )


def _coordinates(outputs):
  return coordinates.coordinates(outputs, components=COMPONENTS)


def _shrinkage(known):
  """a, of the variances of the coordinates."""
  variances = np.diag(known.total)[:_FIRST] * known.deviations[:_FIRST] ** 2
  return max(float(np.exp(-variances.sum())), discriminant.LEAST)


def _classifier(known):
  amount = _shrinkage(known)
  return discriminant.of_coordinates(known, amount, len(known.deviations))


def ncti_variability_parts(outputs: outputs_lib.Outputs) -> jackknife.Parts:
  """Returns `ncti_variability` as sums and a function of them.

  The probabilities `[n, Y]` are copied to the host. The principal axes are
  those of all examples, also if the jackknife leaves a group out; all else is
  computed again.

  Args:
    outputs: with features and labels.

  Raises:
    InputError: as `ncti_variability`.

  Example:
    >>> import leep_jax
    >>> from leep_jax.scores import jackknife
    >>> from leep_jax.scores import ncti
    >>> outputs = leep_jax.Outputs.from_arrays(
    ...   features=[[0.0], [0.1], [0.2]], labels=[0, 0, 0])
    >>> jackknife.value(ncti.ncti_variability_parts(outputs))
    0.0
  """
  known = _coordinates(outputs)

  def finalise(here, kept):
    if np.count_nonzero(here.counts) == 1:  # all probabilities are 1
      return 0.0
    probs = _probabilities(outputs, known, _classifier(here))
    chosen = kept[outputs.group_of]
    total = 0.0
    for code in np.flatnonzero(here.counts):
      rows = probs[chosen & (outputs.codes == code)].astype(np.float64)
      # The products of the fewer: a class has few examples, or Y is small.
      products = rows @ rows.T if len(rows) < rows.shape[1] else rows.T @ rows
      total += np.sqrt(np.maximum(np.linalg.eigvalsh(products), 0)).sum()
    return float(-np.log(total / np.sqrt(here.counts.sum())))

  return known.parts(outputs, finalise)


def _probabilities(outputs, known, classifier):
  """P(y given x) of all examples, `[n, Y]`."""
  if known.points is not None:
    return classifier.of_points(known.points)
  rows = passes.over(outputs, {"features"}).stream(
    "features",
    discriminant.probabilities,
    (known.mean.astype(np.float32), *classifier.arrays(known.basis)),
  )
  return outputs.gathered(np.concatenate(list(rows)))


def ncti_seli_parts(outputs: outputs_lib.Outputs) -> jackknife.Parts:
  """Returns `ncti_seli` as sums and a function of them.

  The principal axes are computed from all examples, also if the jackknife
  leaves a group out; all else is computed again.

  Args:
    outputs: with features and labels.

  Raises:
    InputError: as `ncti_variability`.

  Example:
    >>> import leep_jax
    >>> from leep_jax.scores import jackknife
    >>> from leep_jax.scores import ncti
    >>> outputs = leep_jax.Outputs.from_arrays(
    ...   features=[[0.0], [0.1], [0.2]], labels=[0, 0, 0])
    >>> jackknife.value(ncti.ncti_seli_parts(outputs))
    0.0
  """
  return _coordinates(outputs).parts(
    outputs, lambda here, kept: _nuclear_norm(here)
  )


def _nuclear_norm(known) -> float:
  """||Z||_* / sqrt(n), from the covariances of the coordinates."""
  import scipy.linalg

  size = len(known.total)
  count = min(int(np.count_nonzero(known.counts)) - 1, size)
  if not count or not np.trace(known.total):
    return 0.0
  amount = _shrinkage(known)
  if 1 - amount < _TOO_SMALL:
    raise validation.UndefinedScore(
      "ncti_seli is undefined: the variances of the features are so small that "
      "the shrunk covariance is that of no direction"
    )
  total, within = (
    discriminant.shrunk(
      matrix,
      known.deviations,
      amount,
      dimensions=size,
      instead=known.total,
    )
    for matrix in (known.total, known.within)
  )
  # Coordinates have the variance 1 over all examples.
  if np.linalg.eigvalsh(within)[0] < _TOO_SMALL:
    raise validation.UndefinedScore(
      f"ncti_seli is undefined: within classes, {len(within)} components do "
      f"not all vary, as with fewer examples than components and classes"
    )
  _, directions = scipy.linalg.eigh(
    total - within,
    discriminant.positive(within),
    subset_by_index=[size - count, size - 1],
  )
  # Of the covariance of Z, which has the squared singular values over n.
  squares = np.linalg.eigvalsh(directions.T @ known.total @ directions)
  return float(np.sqrt(np.maximum(squares, 0)).sum())


def ncti_ncc_parts(outputs: outputs_lib.Outputs) -> jackknife.Parts:
  """Returns `ncti_ncc` as sums and a function of them.

  The principal axes are computed from all examples, also if the jackknife
  leaves a group out; all else is computed again.

  Args:
    outputs: with features and labels.

  Raises:
    InputError: as `ncti_variability`.

  Example:
    >>> import leep_jax
    >>> from leep_jax.scores import jackknife
    >>> from leep_jax.scores import ncti
    >>> outputs = leep_jax.Outputs.from_arrays(
    ...   features=[[0.0], [0.0], [0.0], [0.0]], labels=[0, 0, 1, 1])
    >>> jackknife.value(ncti.ncti_ncc_parts(outputs))
    0.5
  """
  known = _coordinates(outputs)
  return discriminant.mean_probability(outputs, known, _classifier)
