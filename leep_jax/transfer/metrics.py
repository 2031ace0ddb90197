"""What a transferred model reached on its test set, and on the way there."""

import dataclasses
import math
from typing import Any

import numpy as np


@dataclasses.dataclass(frozen=True)
class Transferred:
  """One task, trained with one seed by one method.

  Attributes:
    task: its name.
    seed: of initial weights, the order of examples and augmentation.
    method: `retrain_head`, `probe`, `fine_tune`, `scratch` or `cnaps`.
    accuracy: on the test set after the last epoch, 0 to 1.
    macro_f1: mean of the F1 over the classes that the test set or the
      predictions have.
    binary_f1: F1 of the second class, where there are two; else None.
    nll: mean negative log-likelihood of the test set, in nats.
    losses: `[E]` mean training loss of each epoch, in nats.
    accuracies: `[E]` test accuracy after each epoch, NaN where not measured.
    diverged: the first epoch (from 1) with a loss that is not finite, or None.
      The numbers after it mean nothing, and those above are then NaN.
    seconds: its share of the time of the group it trained in, compilation
      included.
    params: what was trained: kernel `[D, Y]` and bias `[Y]` of a head; for a
      network, `(body, (kernel, bias))` if asked for, with `body` as
      `source.Weights`.
  """

  task: str
  seed: int
  method: str
  accuracy: float
  macro_f1: float
  binary_f1: float | None
  nll: float
  losses: np.ndarray
  accuracies: np.ndarray
  diverged: int | None
  seconds: float
  params: Any = None

  def row(self) -> dict[str, Any]:
    """Returns it as JSON holds it, without the weights."""
    fields = dataclasses.asdict(dataclasses.replace(self, params=None))
    del fields["params"]
    fields["seconds"] = round(self.seconds, 3)
    return {key: _plain(value) for key, value in fields.items()}


def _plain(value):
  """NaN is None, and 6 digits of a curve are enough."""
  if isinstance(value, np.ndarray):
    return [_plain(round(float(v), 6)) for v in value]
  if isinstance(value, float) and not math.isfinite(value):
    return None
  return value


def f1(confusion: np.ndarray) -> np.ndarray:
  """Returns the F1 of each class, 0 for one that is never right.

  Args:
    confusion: `[Y, Y]` counts of true (rows) and predicted classes.

  Returns:
    `[Y]`: 2 right / (true + predicted).
  """
  right = np.diag(confusion)
  total = confusion.sum(axis=0) + confusion.sum(axis=1)
  return 2 * right / np.maximum(total, 1)


def transferred(
  confusion: np.ndarray,
  nll: float,
  *,
  losses: np.ndarray,
  accuracies: np.ndarray,
  **about: Any,
) -> Transferred:
  """Returns what a test set's confusion says.

  Args:
    confusion: `[Y, Y]` counts of true (rows) and predicted classes.
    nll: summed negative log-likelihood, in nats.
    losses: `[E]` mean training loss of each epoch.
    accuracies: `[E]` test accuracy after each epoch.
    **about: other fields of `Transferred`.
  """
  confusion = np.asarray(confusion, np.float64)
  count = confusion.sum()
  odd = ~np.isfinite(losses)
  diverged = int(odd.argmax()) + 1 if odd.any() else None
  if diverged is None and not np.isfinite(nll):
    diverged = len(losses)
  scores = f1(confusion)
  occurs = confusion.sum(axis=0) + confusion.sum(axis=1) > 0
  macro = scores[occurs].mean()
  numbers = [np.trace(confusion) / count, macro, scores[-1], nll / count]
  if diverged is not None:
    numbers = [math.nan] * 4
  accuracy, macro, binary, mean_nll = map(float, numbers)
  return Transferred(
    accuracy=accuracy,
    macro_f1=macro,
    binary_f1=binary if len(confusion) == 2 else None,
    nll=mean_nll,
    losses=losses,
    accuracies=accuracies,
    diverged=diverged,
    **about,
  )
