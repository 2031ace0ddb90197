"""Target tasks: which classes of a data set, and which of its examples.

Pure NumPy. A task names examples by their places in a training and a test set,
so that one forward pass over each serves any number of tasks.
"""

from collections.abc import Sequence
import dataclasses

import numpy as np

from leep_jax import checks


@dataclasses.dataclass(frozen=True)
class Task:
  """A classification task.

  Attributes:
    name: what rows call it.
    classes: the data set's labels of its Y classes, in the task's order.
    train: `[n]` places of its examples in the training set.
    test: `[m]` places of its examples in the test set.
  """

  name: str
  classes: tuple[int, ...]
  train: np.ndarray
  test: np.ndarray

  def labels(self, labels: np.ndarray, places: np.ndarray) -> np.ndarray:
    """Returns the task's own labels, 0 to Y - 1, of some examples.

    Args:
      labels: `[N]` labels of the training or the test set.
      places: `train` or `test`.

    Raises:
      InputError: if an example is of none of the task's classes.
    """
    order = np.argsort(self.classes)
    ranked = np.asarray(self.classes)[order]
    wanted = labels[places]
    found = np.minimum(np.searchsorted(ranked, wanted), len(ranked) - 1)
    odd = ranked[found] != wanted
    if odd.any():
      raise checks.InputError(
        f"task {self.name}: example {int(places[odd.argmax()])} is of class "
        f"{int(wanted[odd.argmax()])}, which is none of its {len(ranked)} "
        "classes: does the test set have classes that training has not?"
      )
    return order[found].astype(np.int32)


def whole(train: np.ndarray, test: np.ndarray, *, name: str = "all") -> Task:
  """Returns the task of all examples of a training and a test set.

  Args:
    train: `[N]` labels of the training set.
    test: `[M]` labels of the test set.
    name: of the task.
  """
  return Task(
    name=name,
    classes=tuple(int(c) for c in np.unique(train)),
    train=np.arange(len(train)),
    test=np.arange(len(test)),
  )


def check(tasks: Sequence[Task], train: np.ndarray, test: np.ndarray) -> None:
  """Refuses tasks that nothing can be trained or tested on.

  Args:
    tasks: to check.
    train: `[N]` labels of the training set.
    test: `[M]` labels of the test set.

  Raises:
    InputError: if there is no task; or one has no examples, places outside the
      sets, fewer than two classes in training, or test examples of other
      classes.
  """
  if not tasks:
    raise checks.InputError("there are no tasks to train")
  for task in tasks:
    for what, places, labels in (
      ("training", task.train, train),
      ("test", task.test, test),
    ):
      if not len(places):
        raise checks.InputError(f"task {task.name} has no {what} examples")
      if min(places) < 0 or max(places) >= len(labels):
        raise checks.InputError(
          f"task {task.name} names {what} example {int(max(places))}, but "
          f"there are {len(labels)}"
        )
    present = np.unique(task.labels(train, task.train))
    if len(present) < 2:
      raise checks.InputError(
        f"task {task.name} has one class in training: a classifier needs two"
      )
    tested = np.unique(task.labels(test, task.test))
    missing = np.setdiff1d(tested, present)
    if len(missing):
      raise checks.InputError(
        f"task {task.name} is tested on class {task.classes[missing[0]]}, of "
        "which it has no training example"
      )
