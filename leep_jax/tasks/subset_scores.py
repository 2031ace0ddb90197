"""Scores of many class-subset tasks at once, from one source's outputs.

A class-subset task consists of some classes of a labelled data set and all
their examples. Of T tasks over Y classes, the sums of each class are computed
once. The sums of a task are those of its classes added up, so nothing is
approximate:

- LEEP needs P(y given z) of each task, from the joint mass of its classes. All
  tasks that contain a class then share one matrix product with its examples.
- NCE needs only the counts of hard source labels.
- H-score needs the scatter and the mean of each class.

Values equal those of `leep`, `nce` and `h_score` on the examples of each
subset: LEEP and NCE are in nats and at most 0; H-score is between 0 and the
number of classes minus 1. Higher means that the source transfers better.
"""

from collections.abc import Callable, Iterator

import numpy as np
import numpy.typing as npt

from leep_jax import validation
from leep_jax.engine import outputs as outputs_lib, statistics
from leep_jax.scores import (
  h_score as h_score_lib,
  jackknife,
  moments as moments_lib,
)
from leep_jax.tasks import subset_leep

# Subsets scored at a time: enough for matrix products to be efficient, and few
# enough for tables `[T, Z]` to stay small.
_AT_ONCE = 1024
# Bytes of the scatters `[D, D]` of tasks, and of classes, in memory at a time.
_SCATTER_BYTES = 512 << 20


def leep_of_subsets(
  probs: npt.ArrayLike, labels: npt.ArrayLike, subsets: npt.ArrayLike
) -> np.ndarray:
  """LEEP of every class-subset task, `[T]` float64, in nats; at most 0.

  LEEP of subset S is the mean over examples with y_i in S of
  log sum_z P_S(y_i given z) probs[i, z], with P_S(y given z) = J[y, z] / sum
  over y' in S of J[y', z], and J[y, z] the sum of probs[i, z] over the examples
  of class y. This equals `leep` of the examples of each subset. Memory does not
  grow with n T.

  Args:
    probs: `[n, Z]`, the source model's probabilities.
    labels: `[n]`, target labels from 0 to Y - 1.
    subsets: `[T, Y]` booleans, the classes of each task. Classes without
      examples have no influence.

  Raises:
    InputError: as `leep`; if `subsets` are not booleans `[T, Y]`, or a subset
      is empty or has no example.

  Reference: Nguyen, Hassner, Archambeau & Seeger, "LEEP: A New Measure to
  Evaluate Transferability of Learned Representations", ICML 2020, equation 2,
  and section 5.1 for the tasks.

  Example:
    The source separates class 2 from classes 0 and 1, which it confuses.

    >>> import leep_jax
    >>> probs = [[0.9, 0.1], [0.8, 0.2], [0.9, 0.1], [0.8, 0.2], [0, 1], [0, 1]]
    >>> labels = [0, 0, 1, 1, 2, 2]
    >>> subsets = [[True, True, False], [True, False, True]]
    >>> print(leep_jax.leep_of_subsets(probs, labels, subsets).round(3))
    [-0.693 -0.14 ]
  """
  return leep_of(_outputs(labels, subsets, probs=probs), subsets)


def nce_of_subsets(
  probs: npt.ArrayLike, labels: npt.ArrayLike, subsets: npt.ArrayLike
) -> np.ndarray:
  """NCE of every class-subset task, `[T]` float64, in nats; at most 0.

  This equals `nce` of the examples of each subset.

  Args:
    probs: `[n, Z]`, the source model's probabilities; or `[n]`, source labels
      from 0 of the same examples.
    labels: `[n]`, target labels from 0 to Y - 1.
    subsets: `[T, Y]` booleans, the classes of each task.

  Raises:
    InputError: as `nce`; if `subsets` are not booleans `[T, Y]`, or a subset
      is empty or has no example.

  Reference: Tran, Nguyen & Hassner, "Transferability and Hardness of
  Supervised Classification Tasks", ICCV 2019.

  Example:
    >>> import leep_jax
    >>> source_labels, labels = [0, 0, 0, 0, 1, 1], [0, 0, 1, 1, 2, 2]
    >>> subsets = [[True, True, False], [True, False, True]]
    >>> print(leep_jax.nce_of_subsets(source_labels, labels, subsets).round(3))
    [-0.693  0.   ]
  """
  if np.ndim(probs) != 1:
    return nce_of(_outputs(labels, subsets, probs=probs), subsets)
  # Only labels that occur have a column: they may be any large integers.
  source = np.unique(validation.class_labels(probs), return_inverse=True)[1]
  outputs = _outputs(labels, subsets, features=source[:, None])
  target = np.searchsorted(outputs.classes, outputs.labels)
  counts = np.zeros((len(outputs.classes), source.max() + 1))
  np.add.at(counts, (target, source), 1)
  return _nce(counts, _mask(outputs, subsets))


def h_score_of_subsets(
  features: npt.ArrayLike, labels: npt.ArrayLike, subsets: npt.ArrayLike
) -> np.ndarray:
  """H-score of every class-subset task, `[T]` float64.

  This equals `h_score` of the examples of each subset.

  Args:
    features: `[n, D]`, the source model's penultimate features.
    labels: `[n]`, target labels from 0 to Y - 1.
    subsets: `[T, Y]` booleans, the classes of each task.

  Raises:
    InputError: as `h_score`; if `subsets` are not booleans `[T, Y]`, or a
      subset is empty or has no example.

  Reference: Bao et al., "An Information-Theoretic Approach to Transferability
  in Task Transfer Learning", ICIP 2019, definition 2.

  Example:
    >>> import leep_jax
    >>> features = [[0.0], [1.0], [0.0], [1.0], [4.0], [5.0]]
    >>> labels = [0, 0, 1, 1, 2, 2]
    >>> subsets = [[True, True, False], [True, False, True]]
    >>> print(leep_jax.h_score_of_subsets(features, labels, subsets).round(3))
    [0.    0.941]
  """
  return h_score_of(_outputs(labels, subsets, features=features), subsets)


def _outputs(labels, subsets, **arrays) -> outputs_lib.Outputs:
  labels = validation.class_labels(labels)
  width = _shape(subsets)[1]
  if labels.max() >= width:
    raise validation.InputError(
      f"subsets have {width} columns, but labels contain {labels.max()}: is "
      "there one column for each class?"
    )
  return outputs_lib.Outputs.from_arrays(
    **arrays, labels=labels, num_classes=width
  )


def _shape(subsets):
  """The shape `[T, Y]` of subsets; raises `InputError` if they are not."""
  subsets = validation.as_array("subsets", subsets)
  if subsets.ndim != 2 or not subsets.shape[1]:
    raise validation.InputError(
      f"subsets have shape {subsets.shape}, not [tasks, classes]"
    )
  if subsets.dtype != np.bool_:
    raise validation.InputError(
      f"subsets are {subsets.dtype}, not booleans: are they lists of classes? "
      "Pass one column for each class, True where it is in"
    )
  return subsets.shape


def _mask(outputs, subsets):
  """Subsets over the classes that occur, `[T, Y]`; checks them."""
  if not outputs.has("labels"):
    raise validation.InputError(
      f"{outputs.name} has targets that are real numbers: there are no classes "
      "to take subsets of"
    )
  width = _shape(subsets)[1]
  if width != outputs.num_classes:
    raise validation.InputError(
      f"subsets have {width} columns, but {outputs.name} has "
      f"{outputs.num_classes} classes"
    )
  subsets = np.asarray(subsets)
  mask = subsets[:, outputs.classes]
  empty = ~mask.any(axis=1)
  if empty.any():
    task = int(empty.argmax())
    wanted = int(subsets[task].sum())
    what = "is empty: it has no class"
    if wanted:
      what = f"has no example: none of its {wanted} class(es) occurs in labels"
    raise validation.InputError(f"subset {task} of {len(mask)} {what}")
  return mask


def nce_of(outputs: outputs_lib.Outputs, subsets: npt.ArrayLike) -> np.ndarray:
  """Returns `nce_of_subsets` of `Outputs`, `[T]`.

  Args:
    outputs: with probabilities.
    subsets: `[T, Y]` booleans.

  Raises:
    InputError: as `nce_of_subsets`.

  Example:
    >>> import leep_jax
    >>> from leep_jax.tasks import subset_scores
    >>> outputs = leep_jax.Outputs.from_arrays(
    ...   probs=[[0.9, 0.1], [0.2, 0.8]], labels=[0, 1])
    >>> print(subset_scores.nce_of(outputs, [[True, True], [True, False]]))
    [0. 0.]
  """
  mask = _mask(outputs, subsets)
  return _nce(outputs.ungrouped.sum(statistics.dummy_label_counts), mask)


def _nce(counts, mask) -> np.ndarray:
  """NCE `[T]` of counts `[Y, Z]` and subsets `[T, Y]`."""
  from scipy import special

  # sum_yz c log(c / m) = sum_yz c log c - sum_z m log m, where m = sum_y c. The
  # first term is a sum over classes, so each class's is computed once.
  own = special.xlogy(counts, counts).sum(axis=1)
  scores = np.empty(len(mask))
  for part in _parts(len(mask), _AT_ONCE):
    mass = mask[part].astype(np.float64) @ counts
    gain = mask[part] @ own - special.xlogy(mass, mass).sum(axis=1)
    scores[part] = gain / mass.sum(axis=1)
  return _at_most_0(scores, mask)


def _parts(count: int, most: int) -> Iterator[slice]:
  """Divides `count` into slices of about equal size, at most `most`."""
  pieces = -(-count // most)
  for piece in range(pieces):
    yield slice(piece * count // pieces, (piece + 1) * count // pieces)


def _at_most_0(scores, mask) -> np.ndarray:
  """Scores without rounding above 0; those of one class are exactly 0."""
  return np.where(mask.sum(axis=1) == 1, 0.0, np.minimum(scores, 0.0))


def leep_of(outputs: outputs_lib.Outputs, subsets: npt.ArrayLike) -> np.ndarray:
  """Returns `leep_of_subsets` of `Outputs`, `[T]`, computed on the devices.

  Args:
    outputs: with probabilities.
    subsets: `[T, Y]` booleans.

  Raises:
    InputError: as `leep_of_subsets`.

  Example:
    >>> import leep_jax
    >>> from leep_jax.tasks import subset_scores
    >>> outputs = leep_jax.Outputs.from_arrays(
    ...   probs=[[0.9, 0.1], [0.2, 0.8]], labels=[0, 1])
    >>> subsets = [[True, True], [True, False]]
    >>> print(subset_scores.leep_of(outputs, subsets).round(4))
    [-0.2911  0.    ]
  """
  outputs, mask = outputs.ungrouped, _mask(outputs, subsets)
  joint = outputs.sum(statistics.joint)
  probs = outputs.probs
  assert probs is not None  # else there is no joint mass
  order = np.argsort(
    np.searchsorted(outputs.classes, outputs.labels), kind="stable"
  )
  indices = np.split(order, np.cumsum(outputs.class_counts)[:-1])
  scores = np.empty(len(mask))
  for part in _parts(len(mask), _AT_ONCE):
    scores[part] = subset_leep.log_likelihoods(
      probs, indices, joint, mask[part]
    )
  scores /= mask @ outputs.class_counts.astype(np.float64)
  return _at_most_0(scores, mask)


def h_score_of(
  outputs: outputs_lib.Outputs, subsets: npt.ArrayLike
) -> np.ndarray:
  """Returns `h_score_of_subsets` of `Outputs`, `[T]`, in float64 on the host.

  The scatter of a task follows from those of its classes. If a task has at most
  as many examples as features, its H-score is computed from the examples.

  Args:
    outputs: with features.
    subsets: `[T, Y]` booleans.

  Raises:
    InputError: as `h_score_of_subsets`.

  Example:
    >>> import leep_jax
    >>> from leep_jax.tasks import subset_scores
    >>> outputs = leep_jax.Outputs.from_arrays(
    ...   features=[[0.0], [1.0], [4.0], [5.0]], labels=[0, 0, 1, 1])
    >>> print(subset_scores.h_score_of(outputs, [[True, True]]).round(3))
    [0.941]
  """
  outputs, mask = outputs.ungrouped, _mask(outputs, subsets)
  features, labels = outputs.features, outputs.labels
  if features is None:
    raise validation.InputError(f"{outputs.name} has no features")
  outputs.check("features")
  few = mask @ outputs.class_counts <= features.shape[1]
  scores = np.zeros(len(mask))
  for task in np.flatnonzero(few):
    rows = np.isin(labels, outputs.classes[mask[task]])
    examples = outputs_lib.Outputs.from_arrays(
      features=features[rows], labels=labels[rows], name=outputs.name
    )
    scores[task] = jackknife.value(h_score_lib.h_score_parts(examples))
  many = np.flatnonzero(~few)
  most = max(_SCATTER_BYTES // (8 * features.shape[1] ** 2), 1)
  for part in _parts(len(many), most):
    tasks = many[part]
    scores[tasks] = _h_scores(outputs, features, mask[tasks], most)
  return scores


def _h_scores(outputs, features, mask, most):
  """H-scores `[T]` of tasks with more examples than features.

  Args:
    outputs: with features.
    features: `[n, D]`.
    mask: `[T, Y]`.
    most: number of classes whose scatters are in memory at a time.
  """
  shift, unit = outputs.feature_centre
  counts = outputs.class_counts.astype(np.float64)
  dimensions = features.shape[1]
  means = np.zeros((len(counts), dimensions))
  within = np.zeros((len(mask), dimensions**2))
  for part in _parts(len(counts), most):
    scatters = []
    for y in range(part.start, part.stop):
      rows = features[outputs.labels == outputs.classes[y]]
      rows = (rows.astype(np.float64) - shift) / unit
      means[y] = rows.mean(axis=0)
      # About the class's own mean, as products about another point would lose
      # digits where classes are far apart.
      rows -= means[y]
      # Flattened: the scatters of all tasks are one matrix product.
      scatters.append((rows.T @ rows).ravel())
    within += mask[:, part].astype(np.float64) @ np.stack(scatters)
  scores = np.empty(len(mask))
  for task, classes in enumerate(mask):
    share = counts[classes] / counts[classes].sum()
    mean = share @ means[classes]
    between = np.sqrt(counts[classes])[:, None] * (means[classes] - mean)
    scatter = within[task].reshape(dimensions, dimensions)
    scatter += between.T @ between
    deviation = np.sqrt(np.diag(scatter) / counts[classes].sum())
    # A feature that varies by no more than the rounding of its values, or of
    # these sums, counts as constant.
    limit = np.finfo(shift.dtype).eps * np.abs(mean + shift / float(unit))
    used = deviation > np.maximum(limit, 1e-10 * np.abs(mean))
    scale = np.sqrt(np.diag(scatter)[used])
    scatter = scatter[np.ix_(used, used)] / np.outer(scale, scale)
    explained = _explained(scatter, between[:, used] / scale)
    scores[task] = np.clip(explained, 0, classes.sum() - 1)
  return scores


def _explained(scatter, rows):
  """tr(rows scatter^+ rows^T) of a correlation matrix `[K, K]` in float64."""
  import scipy.linalg

  if not len(scatter):
    return 0.0
  try:
    factor = np.linalg.cholesky(scatter)
  except np.linalg.LinAlgError:
    # Not positive definite: zero pivots lead to the eigenvalues below.
    factor = np.zeros_like(scatter)
  # If all pivots of a correlation matrix are this large, it is far from
  # singular, and the fast solution is exact.
  if np.diag(factor).min() > 1e-3:
    return np.sum(
      scipy.linalg.solve_triangular(factor, rows.T, lower=True) ** 2
    )
  values, vectors = np.linalg.eigh(scatter)
  # The square of the limit for features, as eigenvalues are squares of their
  # singular values.
  kept = values > moments_lib.rounding(len(values)) ** 2 * values[-1]
  return np.sum((rows @ vectors[:, kept]) ** 2 / values[kept])


# Functions of outputs and subsets `[T, Y]`, by the names of `scores.SCORES`.
OF_SUBSETS: dict[
  str, Callable[[outputs_lib.Outputs, npt.ArrayLike], np.ndarray]
] = {
  "leep": leep_of,
  "nce": nce_of,
  "h_score": h_score_of,
}
