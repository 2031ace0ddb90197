"""Nearest class mean: whether examples are nearest to the mean of their class.

The accuracy is between 0 and 1; higher means that the source transfers better.
Every example is left out of the mean of its own class. Symbols: n examples of Y
target classes, n_c of them of class c, with D features f.
"""

from collections.abc import Iterator

import jax
import jax.numpy as jnp
import numpy as np
import numpy.typing as npt

from leep_jax import validation
from leep_jax.engine import outputs as outputs_lib, passes, statistics
from leep_jax.scores import held_out_clusters, per_example

# Differences of squared distances, as a share of the squared lengths that they
# are computed from, that may be rounding, which must not decide.
_ROUNDING = 1e-6
_PRECISION = jax.lax.Precision.HIGHEST


def class_mean_accuracy(
  features: npt.ArrayLike,
  labels: npt.ArrayLike,
  *,
  num_classes: int | None = None,
) -> float:
  """Leave-one-out accuracy of the nearest class mean; 0 to 1.

  The class whose mean has the smallest Euclidean distance to f_i is predicted,
  where the mean of i's own class is that of its other examples: its distance
  is n_c / (n_c - 1) times the distance to the mean of all of them. Distances
  that are equal up to rounding give the first class. A class with one example
  is not predicted for it. Where examples are in groups (`Outputs.clusters`),
  whole groups are left out.

  The distance is Euclidean, as in the classifier's definition, so that the
  accuracy depends neither on the origin nor on the unit of the features; it
  does depend on the units of single features.

  Args:
    features: `[n, D]`, the source model's penultimate features.
    labels: `[n]`, target labels from 0.
    num_classes: Y; by default the largest label plus 1. The accuracy does not
      depend on it.

  Raises:
    InputError: if there are no examples, lengths differ, labels are not
      integers in 0..Y-1, or features are not finite.
    UndefinedScore: if there is only one example, or all are in one group.

  Reference: Mensink, Verbeek, Perronnin & Csurka, "Distance-based image
  classification: Generalizing to new classes at near-zero cost", IEEE TPAMI
  2013, section 3.2.

  Example:
    >>> import leep_jax
    >>> features = [[0.0], [1.0], [5.0], [6.0]]
    >>> leep_jax.class_mean_accuracy(features, [0, 0, 1, 1])
    1.0
    >>> leep_jax.class_mean_accuracy(features, [0, 1, 0, 1])
    0.0
  """
  return class_mean_accuracy_parts(
    outputs_lib.Outputs.from_arrays(
      features=features, labels=labels, num_classes=num_classes
    )
  ).value


def class_mean_accuracy_parts(
  outputs: outputs_lib.Outputs,
) -> per_example.PerExample:
  """Returns `class_mean_accuracy` as a mean over examples.

  Args:
    outputs: with features and labels.

  Raises:
    InputError: as `class_mean_accuracy`.
    UndefinedScore: as `class_mean_accuracy`.

  Example:
    >>> import leep_jax
    >>> from leep_jax.scores import class_means
    >>> outputs = leep_jax.Outputs.from_arrays(
    ...   features=[[0.0], [1.0], [5.0], [2.0]], labels=[0, 0, 1, 1])
    >>> class_means.class_mean_accuracy_parts(outputs).contributions.tolist()
    [1.0, 1.0, 1.0, 0.0]
  """
  if len(outputs) == 1:
    raise validation.UndefinedScore(
      "class_mean_accuracy is undefined: without its only example, no class "
      "has a mean"
    )
  if outputs.clusters is not None:
    held_out_clusters.check(outputs)
  sums = outputs.ungrouped.sum(class_totals)
  right = np.zeros(outputs.share.stop - outputs.share.start)
  codes = outputs.codes[outputs.share]
  of = _each if outputs.clusters is None else _of_clusters
  for rows, squares, size in of(outputs, sums):
    limit = squares.min(axis=1) + _ROUNDING * size
    # The first of equal distances.
    right[rows] = (squares <= limit[:, None]).argmax(axis=1) == codes[rows]
  return per_example.PerExample.mean(outputs.gathered(right))


@statistics.reads("features")
def class_totals(batch: statistics.Batch) -> jax.Array:
  """Sums of the features for each label, `[Y, D]`.

  Example:
    >>> import numpy as np
    >>> from leep_jax.engine import statistics
    >>> from leep_jax.scores import class_means
    >>> batch = statistics.Batch(
    ...   labels=np.array([0, 1], np.int32), weights=np.ones(2, np.float32),
    ...   num_classes=2, features=np.array([[1, 2], [3, 4]], np.float32)
    ... )
    >>> class_means.class_totals(batch).tolist()
    [[1.0, 2.0], [3.0, 4.0]]
  """
  return statistics.class_sums(batch.features, batch)


Block = tuple[np.ndarray, np.ndarray, np.ndarray]


def _each(outputs, sums) -> Iterator[Block]:
  """Yields positions `[m]`, squared distances `[m, Y]`, and lengths `[m]`.

  The lengths are the largest squared numbers that the distances of an example
  are the sum of.
  """
  counts, codes = outputs.class_counts, outputs.codes[outputs.share]
  means = (sums / counts[:, None]).astype(np.float32)
  lengths = (means.astype(np.float64) ** 2).sum(axis=1)
  # What leaves an example out of the mean of its class; a class of one example
  # has none.
  alone = counts == 1
  grow = np.where(alone, np.inf, counts / np.where(alone, 1, counts - 1)) ** 2
  stream = passes.over(outputs, {"features"}).stream(
    "features", _products, (means,)
  )
  start = 0
  for block in stream:
    rows = np.arange(start, start + len(block))
    products, length = block[:, :-1].astype(np.float64), block[:, -1]
    squares = np.maximum(length[:, None] - 2 * products + lengths, 0)
    at = np.arange(len(rows)), codes[rows]
    own = squares[at]
    # 0 times infinity is no number.
    squares[at] = np.where(
      alone[codes[rows]], np.inf, own * np.where(alone, 1, grow)[codes[rows]]
    )
    yield rows, squares, length + lengths.max()
    start += len(block)


def _products(features, means):
  """f . mean_c, and |f|^2 as a further column, `[B, Y + 1]`."""
  products = jnp.matmul(features, means.T, precision=_PRECISION)
  length = (features**2).sum(axis=1, keepdims=True)
  return jnp.concatenate([products, length], axis=1)


def _of_clusters(outputs, sums) -> Iterator[Block]:
  """`_each` where whole clusters are left out, one by one on the host."""
  counts = outputs.class_counts
  shift, unit = outputs.feature_centre
  features = outputs.features
  order = np.argsort(outputs.clusters, kind="stable")
  ends = np.flatnonzero(np.diff(outputs.clusters[order])) + 1
  for rows in np.split(order, ends):
    f = (np.asarray(features[rows], np.float64) - shift) / float(unit)
    there, code = np.unique(outputs.codes[rows], return_inverse=True)
    one_hot = code == np.arange(len(there))[:, None]
    rest = counts.astype(np.float64)
    rest[there] -= one_hot.sum(axis=1)
    left = np.array(sums)
    left[there] -= one_hot @ f
    means = left / np.where(rest > 0, rest, 1)[:, None]
    lengths = (means**2).sum(axis=1)
    length = (f**2).sum(axis=1)
    squares = np.maximum(length[:, None] - 2 * f @ means.T + lengths, 0)
    squares[:, rest == 0] = np.inf
    yield rows, squares, length + lengths.max()
