"""Negative conditional entropy, and the hardness of a task by itself."""

from typing import Any

import numpy as np

from leep_jax import validation
from leep_jax.engine import outputs as outputs_lib, statistics
from leep_jax.scores import jackknife


def nce(probs: Any, labels: Any, *, num_classes: int | None = None) -> float:
  """Negative conditional entropy -H(Y given Z), in nats; at most 0.

  NCE = sum_yz P(y, z) log P(y given z), where each example's source label z
  is the one with the largest probability (the first of several). Higher
  transfers better. Published code adds 1e-5 or the like to every cell of the
  joint, which moves the value by nats; here an empty cell counts as 0.

  Args:
    probs: `[n, Z]`, the source model's probabilities; or `[n]`, source labels
      from 0 of the same examples, as where two tasks label the same inputs.
    labels: `[n]`, target labels from 0.
    num_classes: Y; by default the largest label plus 1. NCE does not depend
      on it.

  Raises:
    InputError: if there are no examples, lengths differ, labels are not
      integers in 0..Y-1, or rows of `probs` are not distributions.

  Reference: Tran, Nguyen & Hassner, "Transferability and Hardness of
  Supervised Classification Tasks", ICCV 2019.
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


def _nce_of_labels(source, target, num_classes):
  target = validation.class_labels(target, num_classes=num_classes)
  source = validation.class_labels(source)
  if len(source) != len(target):
    raise validation.InputError(
      f"there are {len(source)} source labels, but {len(target)} target labels"
    )
  # Only pairs that occur are counted: labels may be any large integers.
  target = np.unique(target, return_inverse=True)[1]
  mass = np.unique(source, return_inverse=True, return_counts=True)[1:]
  codes = mass[0].astype(np.int64) * (target.max() + 1) + target
  codes, counts = np.unique(codes, return_counts=True)
  share = counts / mass[1][codes // (target.max() + 1)]
  return min(float(np.sum(counts * np.log(share)) / len(target)), 0.0)


def task_hardness(labels: Any) -> float:
  """Entropy H(Y) of the target labels, in nats: 0 to log Y; higher is harder.

  Minus the NCE of a source that gives every example the same label, that is,
  of transfer from the trivial task. The one function here where less is
  better.

  Args:
    labels: `[n]`, target labels from 0.

  Raises:
    InputError: if there are no examples, or labels are not integers from 0.

  Reference: Tran, Nguyen & Hassner, "Transferability and Hardness of
  Supervised Classification Tasks", ICCV 2019, section 5.
  """
  labels = validation.class_labels(labels)
  return abs(_nce_of_labels(np.zeros_like(labels), labels, None))


def nce_parts(outputs: outputs_lib.Outputs) -> jackknife.Parts:
  """`nce` as a function of sums."""
  return jackknife.Parts.by_group(
    negative_conditional_entropy,
    outputs.group_sums(statistics.dummy_label_counts),
  )


def negative_conditional_entropy(counts: np.ndarray) -> float:
  """-H(Y given Z) of a table of counts `[Y, Z]`; empty cells count as 0."""
  mass = np.broadcast_to(counts.sum(axis=0), counts.shape)
  some = counts > 0
  log = np.log(counts[some] / mass[some])
  return min(float(np.sum(counts[some] * log) / counts.sum()), 0.0)
