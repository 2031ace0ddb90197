"""k nearest neighbours: whether examples look like others of their class.

The accuracy is between 0 and 1; higher means that the source transfers better.
Every example is predicted by others, so that a source with more features cannot
inflate it. Symbols: n examples of Y target classes with D features f; k
neighbours.
"""

import functools
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np
import numpy.typing as npt

from leep_jax import validation
from leep_jax.engine import outputs as outputs_lib
from leep_jax.scores import per_example, sampling

NEIGHBOURS = 1
# A hundred million similarities: seconds on a processor of two cores.
MAX_EXAMPLES = 10_000
# Examples whose similarities to all others are in memory at a time.
_ROWS = 256
# Differences of similarities that may be rounding, which must not decide, as a
# share of the largest squared distance from the mean.
_ROUNDING = 1e-6
# Distances of rows of length 1 from their mean that are rounding alone, as the
# features are float32.
_CONSTANT = 1e-6
# Of an interval of length 5, to below the rounding of a float32.
_HALVINGS = 28
_PRECISION = jax.lax.Precision.HIGHEST


def knn_accuracy(
  features: npt.ArrayLike,
  labels: npt.ArrayLike,
  *,
  num_classes: int | None = None,
  neighbours: int = NEIGHBOURS,
  max_examples: int = MAX_EXAMPLES,
) -> float:
  """Leave-one-out accuracy of the k nearest neighbours; 0 to 1.

  The neighbours of an example are the k others with the largest cosine
  similarity f_i . f_j / (|f_i| |f_j|), and all others as similar as the last of
  them (up to 1e-6 of the largest squared distance of a row of length 1 from the
  mean of all). The class that most of them have is predicted; of several,
  the one whose neighbours have the largest mean similarity, and then the first.
  So features that tell nothing give the most frequent class. Where examples are
  in groups (`Outputs.clusters`), those of an example's own group are no
  neighbours.

  One neighbour is the usual number for choosing a source, with few examples a
  class; monitoring of self-supervised training takes 20 to 200 and weights
  them.

  Args:
    features: `[n, D]`, the source model's penultimate features. A row of zeros
      has similarity 0 to all others.
    labels: `[n]`, target labels from 0.
    num_classes: Y; by default the largest label plus 1. The accuracy does not
      depend on it.
    neighbours: k. Of fewer others, all are neighbours.
    max_examples: of more examples, this many are drawn at random, and predict
      each other. The draw depends on n only, so that all sources are compared
      on the same examples. The cost grows with its square.

  Raises:
    InputError: if there are no examples, lengths differ, labels are not
      integers in 0..Y-1, features are not finite, or an option is not an
      integer from 1.
    UndefinedScore: if there is only one example, or all are in one group.

  Reference: Cover & Hart, "Nearest neighbor pattern classification", IEEE
  Transactions on Information Theory 1967; Wu, Xiong, Yu & Lin, "Unsupervised
  Feature Learning via Non-Parametric Instance Discrimination", CVPR 2018, arXiv
  1805.01978 (cosine similarity); Puigcerver et al., "Scalable Transfer Learning
  with Expert Models", ICLR 2021, arXiv 2009.13239 (leaving one out, to choose a
  source).

  Example:
    The first source gives the classes different directions, the second does
    not.

    >>> import leep_jax
    >>> features = [[1.0, 0.0], [0.9, 0.1], [0.1, 0.9], [0.0, 1.0]]
    >>> leep_jax.knn_accuracy(features, [0, 0, 1, 1])
    1.0
    >>> leep_jax.knn_accuracy(features, [0, 1, 0, 1])
    0.0
  """
  return knn_accuracy_parts(
    outputs_lib.Outputs.from_arrays(
      features=features, labels=labels, num_classes=num_classes
    ),
    neighbours=neighbours,
    max_examples=max_examples,
  ).value


def knn_accuracy_parts(
  outputs: outputs_lib.Outputs,
  *,
  neighbours: int = NEIGHBOURS,
  max_examples: int = MAX_EXAMPLES,
) -> per_example.PerExample:
  """Returns `knn_accuracy` as a mean over examples.

  Args:
    outputs: with features and labels.
    neighbours: see `knn_accuracy`.
    max_examples: see `knn_accuracy`.

  Raises:
    InputError: as `knn_accuracy`.
    UndefinedScore: as `knn_accuracy`.

  Example:
    >>> import leep_jax
    >>> from leep_jax.scores import knn
    >>> outputs = leep_jax.Outputs.from_arrays(
    ...   features=[[1.0, 0.0], [0.9, 0.1], [0.1, 0.9], [0.0, 1.0]],
    ...   labels=[0, 0, 1, 0])
    >>> knn.knn_accuracy_parts(outputs).contributions.tolist()
    [1.0, 1.0, 0.0, 0.0]
  """
  validation.at_least_1("neighbours", neighbours)
  chosen = sampling.sample(len(outputs), most=max_examples)
  outputs.check("features")
  rows, shift = _centred_units(np.asarray(outputs.features)[chosen])
  codes = outputs.codes[chosen]
  groups = np.arange(len(rows))
  if outputs.clusters is not None:
    groups = np.unique(outputs.clusters[chosen], return_inverse=True)[1]
  if not np.any(groups != groups[0]):
    raise validation.UndefinedScore(
      "knn_accuracy is undefined: no example has another, of another group"
    )
  predicted = _predict(
    rows,
    shift,
    codes,
    groups,
    num_classes=len(outputs.classes),
    neighbours=min(neighbours, len(rows) - 1),
  )
  correct = (predicted == codes).astype(np.float64)
  return per_example.PerExample.mean(correct, chosen=chosen)


def _centred_units(features) -> tuple[np.ndarray, np.ndarray]:
  """Rows v `[m, D]` and shifts `[m]`, float32, from which similarities follow.

  With rows u of length 1 (or 0), their mean, and v = (u - mean) / s, the
  similarity of i and j is a constant of i plus s^2 (v_i . v_j + shift_j). Of
  features far from the origin, all u are nearly the same: u_i . u_j itself
  would lose their differences in float32. s is the largest |u - mean|.
  """
  blocks = [
    slice(start, start + _ROWS) for start in range(0, len(features), _ROWS)
  ]
  mean = sum(_units(features[block]).sum(axis=0) for block in blocks)
  mean = mean / len(features)
  rows = np.empty(features.shape, np.float32)
  shift, length = np.empty(len(features)), 0.0
  for block in blocks:
    centred = _units(features[block]) - mean
    rows[block], shift[block] = centred, centred @ mean
    length = max(length, np.linalg.norm(centred, axis=1).max())
  if length <= _CONSTANT:
    return 0 * rows, 0 * rows[:, 0]
  rows /= np.float32(length)
  return rows, (shift / length**2).astype(np.float32)


def _units(features) -> np.ndarray:
  """Rows of length 1, float64; rows of zeros stay so."""
  rows = features.astype(np.float64)
  largest = np.abs(rows).max(axis=1, keepdims=True)
  rows /= np.where(largest > 0, largest, 1)  # else squares may overflow
  length = np.linalg.norm(rows, axis=1, keepdims=True)
  found: np.ndarray = rows / np.where(length > 0, length, 1)
  return found


def _predict(
  rows, shift, codes, groups, *, num_classes, neighbours
) -> np.ndarray:
  """Predicted codes `[m]`, a block of rows at a time."""
  size = min(_ROWS, len(rows))
  placed = jax.device_put((rows, shift, codes, groups.astype(np.int32)))
  predicted = np.empty(len(rows), np.int32)
  for start in range(0, len(rows), size):
    # The last block reaches back, so that all have one shape.
    start = min(start, len(rows) - size)
    predicted[start : start + size] = _predict_block(
      *placed,
      start,
      size=size,
      num_classes=num_classes,
      neighbours=neighbours,
    )
  return predicted


@functools.partial(
  jax.jit, static_argnames=("size", "num_classes", "neighbours")
)
def _predict_block(
  rows: Any, shift: Any, codes: Any, groups: Any, start: Any, *, size: int,
  num_classes: int, neighbours: int,
) -> Any:  # fmt: skip
  """Predicted codes `[size]` of the rows from `start`."""
  queries = jax.lax.dynamic_slice_in_dim(rows, start, size)
  own = jax.lax.dynamic_slice_in_dim(groups, start, size)
  other = own[:, None] != groups[None]
  similar = jnp.matmul(queries, rows.T, precision=_PRECISION) + shift[None]
  similar = jnp.where(other, similar, -jnp.inf)
  last = _last_of(similar, neighbours)
  near = other & (similar >= last[:, None] - _ROUNDING)
  classes = jax.nn.one_hot(codes, num_classes, dtype=jnp.float32)
  votes = jnp.matmul(near.astype(jnp.float32), classes, precision=_PRECISION)
  total = jnp.matmul(jnp.where(near, similar, 0), classes, precision=_PRECISION)
  leads = votes == votes.max(axis=1, keepdims=True)
  total = jnp.where(leads, total / jnp.maximum(votes, 1), -jnp.inf)
  # The first of equal sums.
  return jnp.argmax(total >= total.max(axis=1, keepdims=True) - _ROUNDING, 1)


def _last_of(similar, neighbours):
  """The similarity `[size]` of the last neighbour; less if there are fewer.

  Where a maximum does not do, by halving an interval: XLA's partial sort takes
  ten times as long on a CPU.
  """
  if neighbours == 1:
    return similar.max(axis=1)

  def halve(_, ends):
    low, high = ends
    middle = (low + high) / 2
    enough = (similar >= middle[:, None]).sum(axis=1) >= neighbours
    return jnp.where(enough, middle, low), jnp.where(enough, high, middle)

  ends = jnp.full(len(similar), -2.5), jnp.full(len(similar), 2.5)
  return jax.lax.fori_loop(0, _HALVINGS, halve, ends)[0]
