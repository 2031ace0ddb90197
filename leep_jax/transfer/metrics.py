"""The result of a training: test performance, and curves over the epochs."""

import dataclasses
import math
from typing import Any

import numpy as np


@dataclasses.dataclass(frozen=True)
class Transferred:
  """The result of training for one task by one method with one seed.

  Attributes:
    task: name of the task.
    seed: of initial weights, the order of examples and augmentation.
    method: name of the method, such as `fine_tune`.
    accuracy: on the test set after the last epoch, 0 to 1.
    macro_f1: mean F1 of the classes that occur in the test set or among the
      predictions.
    binary_f1: F1 of the second of two classes; None for more classes.
    nll: mean negative log-likelihood of the test set, in nats.
    losses: `[E]` mean training loss of each epoch, in nats.
    accuracies: `[E]` test accuracy after each epoch, NaN where not measured.
    diverged: the first epoch (from 1) whose loss is not finite, or None. With
      it, `accuracy`, `macro_f1`, `binary_f1` and `nll` are NaN.
    seconds: wall time, compilation included. Trainings that ran in one group
      have an equal share of the group's time.
    params: trained weights: kernel `[D, Y]` and bias `[Y]` of a head; of a
      network `(body, (kernel, bias))`, where `body` is a `source.Weights`, or
      None if `keep_params` was not set.

  Example:
    >>> import numpy as np
    >>> from leep_jax.transfer import metrics
    >>> found = metrics.transferred(
    ...   np.array([[3, 1], [0, 4]]), 1.6,
    ...   losses=np.array([0.9, 0.4]), accuracies=np.array([0.5, 0.875]),
    ...   task="all", seed=0, method="probe", seconds=0.1,
    ... )
    >>> found.accuracy, found.nll, found.row()["losses"]
    (0.875, 0.2, [0.9, 0.4])
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
    """Returns the fields as JSON types, without the weights."""
    fields = dataclasses.asdict(dataclasses.replace(self, params=None))
    del fields["params"]
    fields["seconds"] = round(self.seconds, 3)
    return {key: _plain(value) for key, value in fields.items()}


def _plain(value):
  """A value of JSON's types: NaN becomes None, curves are rounded."""
  if isinstance(value, np.ndarray):
    return [_plain(round(float(v), 6)) for v in value]
  if isinstance(value, float) and not math.isfinite(value):
    return None
  return value


def f1(confusion: np.ndarray) -> np.ndarray:
  """Returns the F1 of each class; 0 for a class that is never predicted right.

  Args:
    confusion: `[Y, Y]` counts of true (rows) and predicted (columns) classes.

  Returns:
    `[Y]`: 2 right / (true + predicted).

  Example:
    >>> import numpy as np
    >>> from leep_jax.transfer import metrics
    >>> metrics.f1(np.array([[3, 1], [0, 4]])).round(3).tolist()
    [0.857, 0.889]
  """
  right = np.diag(confusion)
  total = confusion.sum(axis=0) + confusion.sum(axis=1)
  found: np.ndarray = 2 * right / np.maximum(total, 1)
  return found


def transferred(
  confusion: np.ndarray,
  nll: float,
  *,
  losses: np.ndarray,
  accuracies: np.ndarray,
  **about: Any,
) -> Transferred:
  """Returns a result, with the metrics that follow from the confusion matrix.

  Args:
    confusion: `[Y, Y]` counts of true (rows) and predicted (columns) classes.
    nll: summed negative log-likelihood of the test set, in nats.
    losses: `[E]` mean training loss of each epoch.
    accuracies: `[E]` test accuracy after each epoch.
    **about: other fields of `Transferred`.

  Example:
    >>> import numpy as np
    >>> from leep_jax.transfer import metrics
    >>> found = metrics.transferred(
    ...   np.eye(2), np.nan, losses=np.ones(3), accuracies=np.ones(3),
    ...   task="all", seed=0, method="fine_tune", seconds=0.1,
    ... )
    >>> found.diverged, found.accuracy
    (3, nan)
  """
  confusion = np.asarray(confusion, np.float64)
  count = confusion.sum()
  odd = ~np.isfinite(losses)
  diverged = int(odd.argmax()) + 1 if odd.any() else None
  # The loss of an epoch is measured before its last step: weights can be lost
  # in that step, and only the test set shows it.
  if diverged is None and not np.isfinite(nll):
    diverged = len(losses)
  scores = f1(confusion)
  occurs = confusion.sum(axis=0) + confusion.sum(axis=1) > 0
  # As scikit-learn: a class that neither occurs nor is predicted has no F1.
  macro = scores[occurs].mean()
  # The last of two classes is the smaller one in tasks of `Imbalanced`.
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
