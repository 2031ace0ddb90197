"""Target tasks: some classes of a data set, and some of their examples.

A task refers to examples by their indices in a training and a test set, so that
one forward pass over each set serves any number of tasks. Within a task, labels
are 0 to Y - 1, in the order of its classes: its own labels.
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
    name: of the task in rows of results.
    classes: the data set's labels of its Y classes, in the task's order.
    train: `[n]` indices of its examples in the training set.
    test: `[m]` indices of its examples in the test set.
    noisy: `[n]` own labels that replace those of the training examples, or
      None.
    one_set: whether `train` are also indices in the test set.
    spec: the sampler with all its arguments but `count`, as `parse` reads it;
      empty if the task was not drawn by a sampler.
    seed: of the sampler.
    index: number of the task among the sampler's, from 0.
    drawn: other numbers that the sampler drew, such as the examples of a class.

  Example:
    >>> import numpy as np
    >>> from leep_jax import tasks
    >>> labels = np.array([0, 7, 3, 7, 0])
    >>> task = tasks.Task(
    ...   "7 or 0", classes=(7, 0), train=np.array([1, 4]), test=np.array([3]))
    >>> print(task.train_labels(labels), task.test_labels(labels))
    [0 1] [0]
    >>> task.row()["train_examples"]
    2
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
  drawn: Mapping[str, float] = dataclasses.field(default_factory=dict)

  def labels(self, labels: np.ndarray, indices: np.ndarray) -> np.ndarray:
    """Returns the task's own labels, 0 to Y - 1, of some examples.

    Args:
      labels: `[N]` labels of the training or the test set.
      indices: `train` or `test`.

    Raises:
      InputError: if the class of an example is not among the task's.
    """
    # By binary search, as labels may be large: a table of all would be, too.
    order = np.argsort(self.classes)
    ranked = np.asarray(self.classes)[order]
    wanted = labels[indices]
    # For a label above all of the task's, the search returns the length.
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
    """Returns `[n]` int32, own labels of the training examples, with noise.

    Args:
      labels: `[N]` labels of the training set (of the test set if `one_set`).

    Raises:
      InputError: as `labels`.
    """
    clean = self.labels(labels, self.train)
    return clean if self.noisy is None else self.noisy

  def test_labels(self, labels: np.ndarray) -> np.ndarray:
    """Returns `[m]` int32, own labels of the test examples, without noise.

    Args:
      labels: `[M]` labels of the test set.

    Raises:
      InputError: as `labels`.
    """
    return self.labels(labels, self.test)

  def row(self) -> dict[str, Any]:
    """Returns JSON values from which `from_row` draws the task again."""
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
    """A checksum of its examples, in eight hexadecimal digits."""
    # The size comes before the values of each array. Otherwise an example that
    # moved from the training to the test set would change nothing.
    found = 0
    for array in (self.classes, self.train, self.test, self.noisy):
      # Little-endian on every machine, as rows of results contain the checksum.
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

  Example:
    >>> import numpy as np
    >>> from leep_jax import tasks
    >>> task = tasks.all_examples(np.array([0, 2, 2]), np.array([2, 0]))
    >>> task.classes, len(task.train), len(task.test)
    ((0, 2), 3, 2)
  """
  return Task(
    name=name,
    classes=tuple(int(c) for c in np.unique(train)),
    train=np.arange(len(train), dtype=np.int32),
    test=np.arange(len(test), dtype=np.int32),
    spec="all",
  )


def share(name: str, count: int) -> int:
  """Assigns a task, or anything with a name, to one of several workers.

  Args:
    name: of the task.
    count: number of workers.

  Returns:
    The number of the worker, from 0. It depends on nothing else, so that
    workers agree without communication, also when they are started again.

  Example:
    >>> from leep_jax import tasks
    >>> [tasks.share(f"small#{i}", 3) for i in range(5)]
    [2, 1, 2, 0, 2]
  """
  # Not `hash`, whose value for a text differs from process to process.
  return zlib.crc32(name.encode()) % count


def check(tasks: Sequence[Task], train: np.ndarray, test: np.ndarray) -> None:
  """Checks that tasks can be trained and tested on.

  Args:
    tasks: to check.
    train: `[N]` labels of the training set.
    test: `[M]` labels of the test set.

  Raises:
    InputError: if there is no task; or one has no examples, indices outside the
      sets, fewer than two classes in training, or test examples of classes
      without training examples; or if it is tested on training examples, or was
      drawn from another training set.

  Example:
    >>> import numpy as np
    >>> from leep_jax import tasks
    >>> train, test = np.array([0, 1]), np.array([0, 1])
    >>> one = tasks.Task("one", (0,), np.array([0]), np.array([0]))
    >>> tasks.check([one], train, test)
    Traceback (most recent call last):
      ...
    leep_jax...InputError: task one has one class in training: a classifier ...
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
    # NumPy would count negative indices from the end, without an error.
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
