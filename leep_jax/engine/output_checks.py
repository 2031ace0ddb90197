"""Checks of a source's outputs during the forward pass."""

from collections.abc import Callable, Mapping, Sequence
from typing import Any

import jax
import numpy as np

from leep_jax import validation
from leep_jax.engine import row_checks, storage
from leep_jax.sources import source as source_lib

# The name of an output `[B]` of the compiled pass, the bits of
# `row_checks.looks_like`. It is checked and not kept.
LOOKS_LIKE = "looks_like"
# Logits of this many images are not all distributions by coincidence.
_ENOUGH_ROWS = 16
# How much outputs of an image may change with the other images of its batch,
# relative to the largest output. Rounding changes far less, batch statistics
# far more.
_SAME_ALONE = {"float32": 1e-2, "bfloat16": 1e-1}


def in_evaluation(apply: Callable[..., Any]) -> bool:
  """Returns whether `sources.network` made this function.

  Its networks are in evaluation mode.

  Example:
    >>> from leep_jax.engine import output_checks
    >>> output_checks.in_evaluation(lambda state, images: images)
    False
  """
  return getattr(apply, "in_evaluation", False)


class LogitsCheck:
  """Refuses logits that are probabilities: softmax would be computed twice.

  Example:
    >>> import numpy as np
    >>> from leep_jax.engine import output_checks, row_checks
    >>> check = output_checks.LogitsCheck("mine")
    >>> bits = row_checks.looks_like(np.full((1, 32, 4), 0.25)[0])
    >>> check.checked({output_checks.LOOKS_LIKE: bits[None]}, np.zeros(32))
    Traceback (most recent call last):
    ...
    leep_jax.validation.errors.InputError: mine returns probabilities, not ...
  """

  def __init__(self, name: str, *, seen: Sequence[int] | None = None):
    """Takes what there is to know.

    Args:
      name: of the source.
      seen: of earlier batches, as `seen` returned it.
    """
    self._name = name
    self._rows, self._all, self._any = seen or (0, -1, 0)

  def seen(self) -> list[int]:
    """Returns how many rows it saw, and bits that all and that any of them had.

    The bits are those of `row_checks.looks_like`.
    """
    return [self._rows, self._all, self._any]

  def checked(
    self, outputs: dict[str, Any], labels: np.ndarray
  ) -> tuple[dict[str, Any], np.ndarray]:
    """Returns a batch without the bits of `looks_like`, which it checks.

    Raises:
      InputError: if all rows so far are distributions.
    """
    if LOOKS_LIKE in outputs:
      # The rest of the rows is padding.
      bits = storage.on_host(outputs.pop(LOOKS_LIKE))[: len(labels)]
      self._all &= int(np.bitwise_and.reduce(bits))
      self._any |= int(np.bitwise_or.reduce(bits))
      self._rows += len(labels)
      if self._rows >= _ENOUGH_ROWS:
        self._refuse_distributions()
    return outputs, labels

  def _refuse_distributions(self):
    if self._all & row_checks.IS_DISTRIBUTION:
      raise validation.InputError(
        f"{self._name} returns probabilities, not logits: every row is "
        "non-negative and sums to 1 (or 100 %), and a softmax would be taken a "
        "second time. Return what comes before its softmax, or jnp.log(probs)"
      )

  def finish(self) -> None:
    """Checks what needs all rows; notes logits that may be a sigmoid's.

    Raises:
      InputError: if all rows are distributions.
    """
    if not self._rows:
      return
    self._refuse_distributions()
    confident = self._any & row_checks.IS_CONFIDENT
    if self._all & row_checks.IN_UNIT_RANGE and confident:
      validation.note(
        f"all logits of {self._name} are from 0 to 1: are they a sigmoid's, "
        "one for each of several labels? LEEP and NCE need logits of labels of "
        "which one is true; for scores of features alone, set without_probs of "
        "the Source"
      )


def note_training_mode(
  source: source_lib.Source,
  outputs: Mapping[str, jax.Array],
  alone: Mapping[str, jax.Array],
  count: int,
  dtype: str,
) -> None:
  """Notes outputs of an image that change with the other images of its batch.

  Args:
    source: the model.
    outputs: its outputs for a batch.
    alone: its outputs for a batch of copies of the first image.
    count: the images in each batch.
    dtype: of the arithmetic.

  Example:
    >>> import numpy as np
    >>> import leep_jax
    >>> from leep_jax.engine import output_checks
    >>> source = leep_jax.Source(name="mine", apply=None, state={})
    >>> probs = {"probs": np.full((1, 4, 2), 0.5)}
    >>> output_checks.note_training_mode(source, probs, probs, 4, "float32")
  """
  for key in set(outputs) - {LOOKS_LIKE}:
    mixed = storage.on_host(outputs[key])[:1]
    copies = storage.on_host(alone[key])[:count]
    unit = max(np.abs(mixed).max(), np.abs(copies).max())
    if np.abs(copies - mixed).max() > _SAME_ALONE[dtype] * unit:
      validation.note(
        f"{source.name} gives an image other {key} among other images than "
        "among copies of itself: is the network in training mode (batch "
        "statistics, dropout)? Its scores change with the batch size; set "
        "evaluation mode (model.eval(), train=False)"
      )
      return
