"""Negative conditional entropy (NCE), and the hardness of a task.

NCE is in nats and at most 0; higher means that the source transfers better.
Symbols: n examples, Y target classes, Z source classes.
"""

import numpy as np
import numpy.typing as npt

from leep_jax import validation
from leep_jax.engine import outputs as outputs_lib, statistics
from leep_jax.scores import jackknife


def nce(
  probs: npt.ArrayLike, labels: npt.ArrayLike, *, num_classes: int | None = None
) -> float:
  """Negative conditional entropy -H(Y given Z), in nats; at most 0.

  NCE = sum_yz P(y, z) log P(y given z), where the source label z of an example
  is the one with the largest probability (the first of several). Higher
  transfers better. Published code adds a number such as 1e-5 to every cell of
  the joint distribution, which can change the value by nats; here an empty cell
  counts as 0.

  Args:
    probs: `[n, Z]`, the source model's probabilities; or `[n]`, source labels
      from 0, if the same examples have labels of both tasks.
    labels: `[n]`, target labels from 0.
    num_classes: Y; by default the largest label plus 1. NCE does not depend
      on it.

  Raises:
    InputError: if there are no examples, lengths differ, labels are not
      integers in 0..Y-1, or rows of `probs` are not distributions.

  Reference: Tran, Nguyen & Hassner, "Transferability and Hardness of
  Supervised Classification Tasks", ICCV 2019.

  Example:
    The source predicts label 0 for all examples of class 0 and one of class 1:
    given label 0, the class is uncertain.

    >>> import leep_jax
    >>> probs = [[0.9, 0.1], [0.7, 0.3], [0.6, 0.4], [0.2, 0.8]]
    >>> f"{leep_jax.nce(probs, [0, 0, 1, 1]):.4f}"
    '-0.4774'
    >>> leep_jax.nce([0, 0, 0, 1], [0, 0, 1, 1]) == leep_jax.nce(
    ...   probs, [0, 0, 1, 1])  # labels instead of probabilities
    True
  """
  if np.ndim(probs) == 1:
    return _nce_of_labels(probs, labels, num_classes)
  return jackknife.value(
    nce_parts(
      outputs_lib.Outputs.from_arrays(
        probs=probs, labels=labels, num_classes=num_classes
      )
    )
  )


def _nce_of_labels(source, target, num_classes) -> float:
  counts, _, mass = pairs_of_labels(source, target, num_classes=num_classes)
  # The logarithm of P(y given z) of each pair.
  log = np.log(counts / mass)
  return min(float(np.sum(counts * log) / counts.sum()), 0.0)


def pairs_of_labels(
  source: npt.ArrayLike,
  target: npt.ArrayLike,
  *,
  num_classes: int | None = None,
) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
  """Counts the pairs of a target and a source label that occur.

  Args:
    source: `[n]`, source labels from 0.
    target: `[n]`, target labels from 0.
    num_classes: Y; by default the largest target label plus 1.

  Returns:
    For each pair: the examples that have both labels, those that have the
    target label, and those that have the source label.

  Raises:
    InputError: if lengths differ, or labels are not integers from 0.

  Example:
    >>> from leep_jax.scores import nce
    >>> counts, size, mass = nce.pairs_of_labels([0, 0, 0, 1], [0, 0, 1, 1])
    >>> counts.tolist(), size.tolist(), mass.tolist()
    ([2, 1, 1], [2, 2, 2], [3, 3, 1])
  """
  target = validation.class_labels(target, num_classes=num_classes)
  source = validation.class_labels(source)
  if len(source) != len(target):
    raise validation.InputError(
      f"there are {len(source)} source labels, but {len(target)} target labels"
    )
  # Only pairs that occur are counted: labels may be any large integers.
  _, target, size = np.unique(target, return_inverse=True, return_counts=True)
  _, source, mass = np.unique(source, return_inverse=True, return_counts=True)
  # One integer for each pair of labels.
  codes = source.astype(np.int64) * len(size) + target
  codes, counts = np.unique(codes, return_counts=True)
  return counts, size[codes % len(size)], mass[codes // len(size)]


def task_hardness(labels: npt.ArrayLike) -> float:
  """Entropy H(Y) of the target labels, in nats: 0 to log Y; higher is harder.

  This is minus the NCE of a source that gives every example the same label,
  that is, of transfer from the trivial task. Unlike the scores, it is better
  when lower.

  Args:
    labels: `[n]`, target labels from 0.

  Raises:
    InputError: if there are no examples, or labels are not integers from 0.

  Reference: Tran, Nguyen & Hassner, "Transferability and Hardness of
  Supervised Classification Tasks", ICCV 2019, section 5.

  Example:
    >>> import leep_jax
    >>> balanced, imbalanced = [0, 1, 0, 1], [0, 0, 0, 1]
    >>> for labels in (balanced, imbalanced):
    ...   print(f"{leep_jax.task_hardness(labels):.4f}")
    0.6931
    0.5623
  """
  labels = validation.class_labels(labels)
  # `abs` and not a minus, which would give -0.0 for a single class.
  return abs(_nce_of_labels(np.zeros_like(labels), labels, None))


def num_classes_score(labels: npt.ArrayLike) -> float:
  """Minus the logarithm of the number of target classes, in nats; at most 0.

  A baseline for comparing tasks, as accuracy falls with the number of classes:
  a score of tasks that predicts no better says nothing more. It is the same for
  every source, and at most minus the task's hardness.

  Args:
    labels: `[n]`, target labels from 0. Classes that do not occur do not count.

  Raises:
    InputError: if there are no examples, or labels are not integers from 0.

  Reference: Ibrahim, Ponomareva & Mazumder, "Newer is not always better:
  Rethinking transferability metrics, their peculiarities, stability and
  performance", ECML PKDD 2022, arXiv 2110.06893 ("NumC", the number itself).

  Example:
    >>> from leep_jax.scores import nce
    >>> f"{nce.num_classes_score([0, 0, 0, 1]):.4f}"
    '-0.6931'
  """
  count = len(np.unique(validation.class_labels(labels)))
  # 0 - x and not -x, which is -0.0 for one class.
  return 0 - float(np.log(count))


def nce_parts(outputs: outputs_lib.Outputs) -> jackknife.Parts:
  """Returns `nce` as sums and a function of them.

  Args:
    outputs: with probabilities and labels.

  Raises:
    InputError: as `nce`.

  Example:
    >>> import leep_jax
    >>> from leep_jax.scores import jackknife
    >>> from leep_jax.scores import nce
    >>> outputs = leep_jax.Outputs.from_arrays(
    ...   probs=[[0.9, 0.1], [0.7, 0.3], [0.6, 0.4], [0.2, 0.8]],
    ...   labels=[0, 0, 1, 1])
    >>> round(jackknife.value(nce.nce_parts(outputs)), 4)
    -0.4774
  """
  return jackknife.Parts.by_group(
    negative_conditional_entropy,
    outputs.group_sums(statistics.dummy_label_counts),
  )


def negative_conditional_entropy(counts: np.ndarray) -> float:
  """Returns -H(Y given Z) of a table of counts; empty cells count as 0.

  Args:
    counts: `[Y, Z]`; or `[T, Y, Z]` of T tasks on the same examples, of which
      the result is the mean.

  Example:
    >>> import numpy as np
    >>> from leep_jax.scores import nce
    >>> counts = np.array([[2.0, 0.0], [1.0, 1.0]])
    >>> round(nce.negative_conditional_entropy(counts), 4)
    -0.4774
  """
  mass = np.broadcast_to(counts.sum(axis=-2, keepdims=True), counts.shape)
  some = counts > 0
  log = np.log(counts[some] / mass[some])
  # Logarithms that are rounded may sum to a little more than 0.
  return min(float(np.sum(counts[some] * log) / counts.sum()), 0.0)
