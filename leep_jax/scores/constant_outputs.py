"""Outputs that do not, or hardly, depend on the example: they say nothing."""

import contextlib
import dataclasses

import numpy as np

from leep_jax import validation
from leep_jax.engine import hosts, outputs as outputs_lib, statistics

# Z times the variance of the probabilities over examples, summed over source
# labels. Measured: 1.3 to 47 for trained networks on data of another kind,
# 0.0003 to 0.04 for a fresh head on trained features, and rounding alone, below
# 1e-10, for a zeroed one.
_SMALL_SPREAD = 0.05
_NO_SPREAD = 1e-9


@dataclasses.dataclass(frozen=True)
class Uninformative:
  """A field of outputs that does not, or hardly, depend on the example.

  Attributes:
    why: the finding and its likely cause.
    constant: whether all examples have the same values, so that scores of the
      field say nothing about the source.

  Example:
    >>> from leep_jax import scores
    >>> scores.Uninformative("its head is zero", constant=True).constant
    True
  """

  why: str
  constant: bool


def uninformative(outputs: outputs_lib.Outputs) -> dict[str, Uninformative]:
  """Finds fields of outputs that do not, or hardly, depend on the example.

  LEEP and NCE of constant probabilities are minus the entropy of the labels, as
  of a poor source. But they say nothing about the source: most likely its head
  is untrained, or its inputs have the wrong form.

  Args:
    outputs: from `compute_outputs` or `Outputs.from_arrays`.

  Returns:
    The findings, by field (`probs` or `features`). Fields that vary as much as
    those of trained networks are left out.

  Example:
    >>> import numpy as np
    >>> import leep_jax
    >>> from leep_jax import scores
    >>> outputs = leep_jax.Outputs.from_arrays(
    ...   probs=np.full((4, 5), 0.2), labels=[0, 0, 1, 1]
    ... )
    >>> scores.uninformative(outputs)["probs"].constant
    True
  """
  found: dict[str, Uninformative | None] = {}
  for field, judge in (
    ("probs", _uninformative_probs),
    ("features", _uninformative_features),
  ):
    if len(outputs) > 1 and outputs.has(field):
      # Invalid values are reported by the scores.
      with contextlib.suppress(validation.InputError):
        found[field] = judge(outputs.ungrouped, len(outputs))
  return {field: what for field, what in found.items() if what is not None}


def _uninformative_probs(outputs, count):
  outputs.check("probs")
  # Differences from one example, and not the values, are summed: where all rows
  # are equal, sums are then 0 up to rounding. The row is scaled to sum 1, as
  # `spread` scales all.
  row = np.asarray(next(outputs.store.chunks("probs"))[0], np.float64)
  # All hosts use the row of the first, or their sums would be of different
  # statistics.
  row = hosts.gather((row / row.sum()).astype(np.float32))[0]
  sums = outputs.sum(statistics.spread, row)
  mean = sums["total"] / count
  spread = len(mean) * (sums["square"] / count - mean @ mean)
  if spread >= _SMALL_SPREAD:
    return None
  if spread < _NO_SPREAD:
    return Uninformative(
      "it gives every example the same probabilities: is its head untrained "
      "or zeroed, or are its inputs fed wrongly?",
      constant=True,
    )
  return Uninformative(
    "its probabilities hardly depend on the example: is its head trained, and "
    "are its inputs fed as it expects?",
    constant=False,
  )


def _uninformative_features(outputs, count):
  sums = outputs.sum(statistics.feature_spread)
  mean, square = sums["total"] / count, sums["square"] / count
  # A standard deviation of 1e-5 of the values. Rounding of float32 alone is
  # below 1e-7; features of trained networks vary far more.
  if np.any(square - mean**2 > 1e-10 * np.maximum(square, 1e-30)):
    return None
  return Uninformative(
    "it gives every example the same features: are its weights zero, or its "
    "inputs fed wrongly?",
    constant=True,
  )
