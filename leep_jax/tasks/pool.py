"""Pools: the examples from which samplers draw tasks, by class."""

import dataclasses

import numpy as np
import numpy.typing as npt

from leep_jax import validation
from leep_jax.data import splits
from leep_jax.tasks import values


@dataclasses.dataclass(frozen=True)
class Pool:
  """The examples from which tasks are drawn, by class.

  Attributes:
    train_labels: `[N]` labels of the training set.
    test_labels: `[M]` labels of the test set.
    train: by class, indices of its training examples.
    test: by class, indices of its test examples.
    classes: classes that tasks may have, ascending.

  Example:
    >>> import numpy as np
    >>> from leep_jax.tasks import pool
    >>> both = pool.of_two_sets(np.array([0, 1, 1, 2]), np.array([1, 0]))
    >>> both.train[1], both.classes  # no test example is of class 2
    (array([1, 2], dtype=int32), array([0, 1]))
    >>> both.check_examples(2, 2)
    Traceback (most recent call last):
      ...
    leep_jax...InputError: class 0 has 1 examples to draw from, but 2 are needed
  """

  train_labels: np.ndarray
  test_labels: np.ndarray
  train: dict[int, np.ndarray]
  test: dict[int, np.ndarray]
  classes: np.ndarray

  def among(self, low: int, high: int) -> "Pool":
    """Returns the pool with the classes of a range alone.

    Args:
      low: smallest label of a class that tasks may have.
      high: largest label.
    """
    inside = (self.classes >= low) & (self.classes <= high)
    return dataclasses.replace(self, classes=self.classes[inside])

  def choose(self, rng: np.random.Generator, count: int) -> list[int]:
    """Draws classes.

    Args:
      rng: to draw with.
      count: number of classes.

    Returns:
      The classes, ascending.
    """
    return np.sort(rng.choice(self.classes, count, replace=False)).tolist()

  def check_classes(self, given: values.Argument, most: int) -> None:
    """Checks that there are enough classes.

    Args:
      given: the sampler's field, for the message.
      most: largest number of classes of a task.

    Raises:
      InputError: if there are fewer.
    """
    if most > len(self.classes):
      raise validation.InputError(
        f"classes is {values.text_of(given)}, but the number of those with "
        f"training and test examples is {len(self.classes)}"
      )

  def check_examples(self, least: int, needed: int | str) -> None:
    """Checks that each class has enough training examples.

    Args:
      least: smallest number of examples of a class.
      needed: the same number, as the message writes it.

    Raises:
      InputError: if a class has fewer.
    """
    counts = [len(self.train[c]) for c in self.classes.tolist()]
    fewest = int(np.argmin(counts))
    if counts[fewest] < least:
      raise validation.InputError(
        f"class {self.classes[fewest]} has {counts[fewest]} examples to draw "
        f"from, but {needed} are needed"
      )


def of_two_sets(
  train_labels: npt.ArrayLike, test_labels: npt.ArrayLike
) -> Pool:
  """Returns the pool of a training and a test set.

  Args:
    train_labels: `[N]` class labels.
    test_labels: `[M]` class labels.

  Raises:
    InputError: if they are not class labels, or are the same array.

  Example:
    >>> import numpy as np
    >>> from leep_jax.tasks import pool
    >>> both = pool.of_two_sets(np.array([0, 1, 2]), np.array([0, 2, 2]))
    >>> print(both.classes)  # that occur in both
    [0 2]
  """
  # By identity: two sets may have equal labels and other examples.
  if train_labels is test_labels:
    raise validation.InputError(
      "training and test labels are one array: tasks would be tested on what "
      "they are trained on; split the set with holdout, or use few_shot"
    )
  train = validation.class_labels(train_labels)
  test = validation.class_labels(test_labels)
  indices, test_indices = map(splits.indices_by_class, (train, test))
  # Each class of a task is both trained and tested.
  both = np.intersect1d(list(indices), list(test_indices))
  return Pool(train, test, indices, test_indices, both)


def of_one_set(labels: npt.ArrayLike) -> Pool:
  """Returns the pool of one set, from which tasks take all their examples.

  Args:
    labels: `[M]` class labels.

  Raises:
    InputError: if they are not class labels.

  Example:
    >>> import numpy as np
    >>> from leep_jax.tasks import pool
    >>> one = pool.of_one_set(np.array([0, 1, 1]))
    >>> one.train is one.test
    True
  """
  labels = validation.class_labels(labels)
  indices = splits.indices_by_class(labels)
  return Pool(labels, labels, indices, indices, np.array(list(indices)))
