"""What a transferred model reached on its test set, and on the way there."""

import dataclasses

import numpy as np


@dataclasses.dataclass(frozen=True)
class Transferred:
  """One task, trained with one seed by one method.

  Attributes:
    task: its name.
    seed: of initial weights and the order of examples.
    method: `retrain_head`, `fine_tune` or `scratch`.
    accuracy: on the test set after the last epoch, 0 to 1.
    macro_f1: mean over classes of the F1 on the test set.
    binary_f1: F1 of the second class, where there are two; else None.
    nll: mean negative log-likelihood of the test set, in nats.
    losses: `[E]` mean training loss of each epoch, in nats.
    accuracies: `[E]` test accuracy after each epoch.
    diverged: the first epoch (from 1) with a loss that is not finite, or None.
      The numbers after it mean nothing, and those above are then NaN.
    params: kernel and bias of the head, `[D, Y]` and `[Y]`.
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
  params: tuple[np.ndarray, np.ndarray]


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
