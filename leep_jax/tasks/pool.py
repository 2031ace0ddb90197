"""Pools: the examples that samplers draw from, by class."""

import dataclasses
from typing import Any

import numpy as np

from leep_jax import validation
from leep_jax.data import splits
from leep_jax.tasks import values


@dataclasses.dataclass(frozen=True)
class Pool:
  """What tasks are drawn from: examples by class.

  Attributes:
    train_labels: `[N]` labels of the training set.
    test_labels: `[M]` labels of the test set.
    train: indices of the training examples of each class.
    test: indices of the test examples of each class.
    classes: those to choose among, ascending.
  """

  train_labels: np.ndarray
  test_labels: np.ndarray
  train: dict[int, np.ndarray]
  test: dict[int, np.ndarray]
  classes: np.ndarray

  def choose(self, rng: np.random.Generator, count: int) -> list[int]:
    """Returns that many classes, ascending."""
    return np.sort(rng.choice(self.classes, count, replace=False)).tolist()

  def check_classes(self, given: Any, most: int) -> None:
    """Refuses to draw more classes than there are.

    Args:
      given: the sampler's field, for the message.
      most: classes of a task.

    Raises:
      InputError: if there are fewer.
    """
    if most > len(self.classes):
      raise validation.InputError(
        f"classes is {values.text_of(given)}, but the number of those with "
        f"training and test examples is {len(self.classes)}"
      )

  def check_examples(self, least: int, needed: Any) -> None:
    """Refuses classes with too few training examples.

    Args:
      least: examples that each class must have.
      needed: the same, as the message writes it.

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


def of_two_sets(train_labels: Any, test_labels: Any) -> Pool:
  """Returns the pool of a training and a test set.

  Raises:
    InputError: if they are no class labels, or one array.
  """
  if train_labels is test_labels:
    raise validation.InputError(
      "training and test labels are one array: tasks would be tested on what "
      "they are trained on; split the set with holdout, or use few_shot"
    )
  train = validation.class_labels(train_labels)
  test = validation.class_labels(test_labels)
  indices, test_indices = map(splits.indices_by_class, (train, test))
  both = np.intersect1d(list(indices), list(test_indices))
  return Pool(train, test, indices, test_indices, both)


def of_one_set(labels: Any) -> Pool:
  """Returns the pool of a set in which tasks both train and test.

  Raises:
    InputError: if they are no class labels.
  """
  labels = validation.class_labels(labels)
  indices = splits.indices_by_class(labels)
  return Pool(labels, labels, indices, indices, np.array(list(indices)))
