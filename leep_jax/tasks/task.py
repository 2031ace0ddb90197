"""Target tasks: which classes of a data set, and which of its examples.

Pure NumPy. A task names examples by their indices in a training and a test set,
so that one forward pass over each serves any number of tasks. Its own labels
are 0 to Y - 1, in the order of its classes.
"""

from collections.abc import Mapping, Sequence
import dataclasses
from typing import Any
import zlib

import numpy as np

from leep_jax import validation


@dataclasses.dataclass(frozen=True)
class Task:
  """A classification task.

  Attributes:
    name: its name in rows.
    classes: the data set's labels of its Y classes, in the task's order.
    train: `[n]` indices of its examples in the training set.
    test: `[m]` indices of its examples in the test set.
    noisy: `[n]` own labels in place of those of the training examples, or None.
    one_set: whether `train`, too, holds indices in the test set.
    spec: the sampler with all its arguments but `count`, as `parse` reads it;
      empty where none drew the task.
    seed: of the sampler.
    index: its number among the sampler's tasks, from 0.
    drawn: what else the sampler chose for it, such as examples a class.
  """

  name: str
  classes: tuple[int, ...]
  train: np.ndarray
  test: np.ndarray
  noisy: np.ndarray | None = None
  one_set: bool = False
  spec: str = ""
  seed: int = 0
  index: int = 0
  drawn: Mapping[str, int | float] = dataclasses.field(default_factory=dict)

  def labels(self, labels: np.ndarray, indices: np.ndarray) -> np.ndarray:
    """Returns the task's own labels, 0 to Y - 1, of some examples.

    Args:
      labels: `[N]` labels of the training or the test set.
      indices: `train` or `test`.

    Raises:
      InputError: if an example is of none of the task's classes.
    """
    order = np.argsort(self.classes)
    ranked = np.asarray(self.classes)[order]
    wanted = labels[indices]
    found = np.minimum(np.searchsorted(ranked, wanted), len(ranked) - 1)
    odd = ranked[found] != wanted
    if odd.any():
      raise validation.InputError(
        f"task {self.name}: example {int(indices[odd.argmax()])} is of class "
        f"{int(wanted[odd.argmax()])}, which is none of its {len(ranked)} "
        "classes: does the test set have classes that training has not?"
      )
    return order[found].astype(np.int32)

  def train_labels(self, labels: np.ndarray) -> np.ndarray:
    """Returns `[n]` int32, own labels to train with, noise included.

    Args:
      labels: `[N]` labels of the training set (of the test set if `one_set`).

    Raises:
      InputError: as `labels`.
    """
    clean = self.labels(labels, self.train)
    return clean if self.noisy is None else self.noisy

  def test_labels(self, labels: np.ndarray) -> np.ndarray:
    """Returns `[m]` int32, own labels to test with; they have no noise.

    Args:
      labels: `[M]` labels of the test set.

    Raises:
      InputError: as `labels`.
    """
    return self.labels(labels, self.test)

  def row(self) -> dict[str, Any]:
    """Returns plain JSON values, from which `from_row` draws the task again."""
    return {
      "task": self.name,
      "sampler": self.spec,
      "task_seed": self.seed,
      "task_index": self.index,
      "num_classes": len(self.classes),
      "classes": list(self.classes),
      "train_examples": len(self.train),
      "test_examples": len(self.test),
      **self.drawn,
      "task_checksum": self._checksum(),
    }

  def _checksum(self):
    """Of its examples, as eight hexadecimal digits."""
    found = 0
    for array in (self.classes, self.train, self.test, self.noisy):
      values = np.asarray(() if array is None else array, "<i4")
      found = zlib.crc32(
        values.tobytes(), zlib.crc32(b"%d " % values.size, found)
      )
    return f"{found:08x}"


def all_examples(
  train: np.ndarray, test: np.ndarray, *, name: str = "all"
) -> Task:
  """Returns the task of all examples of a training and a test set.

  Args:
    train: `[N]` labels of the training set.
    test: `[M]` labels of the test set.
    name: of the task.
  """
  return Task(
    name=name,
    classes=tuple(int(c) for c in np.unique(train)),
    train=np.arange(len(train), dtype=np.int32),
    test=np.arange(len(test), dtype=np.int32),
    spec="all",
  )


def share(name: str, count: int) -> int:
  """Returns which of `count` workers has what is called so, from 0."""
  return zlib.crc32(name.encode()) % count


def check(tasks: Sequence[Task], train: np.ndarray, test: np.ndarray) -> None:
  """Refuses tasks that nothing can be trained or tested on.

  Args:
    tasks: to check.
    train: `[N]` labels of the training set.
    test: `[M]` labels of the test set.

  Raises:
    InputError: if there is no task; or one has no examples, indices outside the
      sets, fewer than two classes in training, or test examples of other
      classes; or trains on test examples, or on a set it was not drawn from.
  """
  if not tasks:
    raise validation.InputError("there are no tasks to train")
  for task in tasks:
    _check_one(task, train, test)


def _check_one(task, train, test):
  if task.one_set and not np.array_equal(train, test):
    raise validation.InputError(
      f"task {task.name} trains on examples of the test set, but another "
      "training set is given: pass the test set for both"
    )
  for what, indices, labels in (
    ("training", task.train, train),
    ("test", task.test, test),
  ):
    if not len(indices):
      raise validation.InputError(f"task {task.name} has no {what} examples")
    if np.min(indices) < 0 or np.max(indices) >= len(labels):
      raise validation.InputError(
        f"task {task.name} names {what} example {int(np.max(indices))}, but "
        f"there are {len(labels)}"
      )
  own = task.train_labels(train)
  if len(own) != len(task.train):
    raise validation.InputError(
      f"task {task.name} has {len(own)} noisy labels of {len(task.train)} "
      "training examples"
    )
  present = np.unique(own)
  if present[0] < 0 or present[-1] >= len(task.classes):
    raise validation.InputError(
      f"task {task.name} has noisy labels {present[0]} to {present[-1]}, but "
      f"its own are 0 to {len(task.classes) - 1}"
    )
  if len(present) < 2:
    raise validation.InputError(
      f"task {task.name} has one class in training: a classifier needs two"
    )
  tested = np.unique(task.test_labels(test))
  missing = np.setdiff1d(tested, present)
  if len(missing):
    raise validation.InputError(
      f"task {task.name} is tested on class {task.classes[missing[0]]}, of "
      "which it has no training example"
    )
  if task.one_set:
    both = np.intersect1d(task.train, task.test)
    if len(both):
      raise validation.InputError(
        f"task {task.name} is tested on {len(both)} of its training "
        f"examples, the first of them {int(both[0])}"
      )
