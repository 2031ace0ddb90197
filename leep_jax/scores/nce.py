"""Negative conditional entropy of target labels given hard source labels."""

from typing import Any

import numpy as np

from leep_jax import outputs as outputs_lib, statistics


def nce(probs: Any, labels: Any, *, num_classes: int | None = None) -> float:
  """Negative conditional entropy -H(Y given Z), in nats; at most 0.

  NCE = sum_yz P(y, z) log P(y given z), where each example's source label z
  is the one with the largest probability (the first of several). Higher
  transfers better.

  Args:
    probs: `[n, Z]`, the source model's probabilities.
    labels: `[n]`, target labels from 0.
    num_classes: Y; by default the largest label plus 1. NCE does not depend
      on it.

  Raises:
    InputError: if there are no examples, lengths differ, labels are not
      integers in 0..Y-1, or rows of `probs` are not distributions.

  Reference: Tran, Nguyen & Hassner, "Transferability and Hardness of
  Supervised Classification Tasks", ICCV 2019.
  """
  return nce_of(
    outputs_lib.Outputs.from_arrays(
      probs=probs, labels=labels, num_classes=num_classes
    )
  )


def nce_of(outputs: outputs_lib.Outputs) -> float:
  """`nce` of kept outputs."""
  return negative_conditional_entropy(
    outputs.sum(statistics.dummy_label_counts)
  )


def negative_conditional_entropy(counts: np.ndarray) -> float:
  """-H(Y given Z) of a table of counts `[Y, Z]`; empty cells count as 0."""
  mass = np.broadcast_to(counts.sum(axis=0), counts.shape)
  some = counts > 0
  log = np.log(counts[some] / mass[some])
  return min(float(np.sum(counts[some] * log) / counts.sum()), 0.0)
