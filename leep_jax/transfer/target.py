"""The target: the data and tasks that sources are transferred to."""

from collections.abc import Sequence
from typing import Any

from leep_jax import data, tasks as tasks_lib


class Target:
  """A training set, a test set, and tasks on them.

  Attributes:
    train: the training set.
    test: the test set.
    tasks: what sources are transferred to.

  Example:
    >>> from leep_jax import data, tasks
    >>> from leep_jax.transfer import target
    >>> train, test = data.load_pair("digits", limit=60, test_limit=60)
    >>> labels = train.labels(), test.labels()
    >>> found = target.Target(train, test, [tasks.all_examples(*labels)])
    >>> found.row()["dataset"], found.row()["train_set"]
    ('digits', 60)
  """

  def __init__(
    self,
    train: data.Dataset,
    test: data.Dataset,
    tasks: Sequence[tasks_lib.Task],
  ):
    """Takes the data, whose images are read when `images` is called.

    Args:
      train: the training set.
      test: the test set.
      tasks: on these sets.
    """
    self.train, self.test, self.tasks = train, test, tasks
    self._loaded: dict[int, Any] = {}

  def sets(self, one_set: bool) -> tuple[data.Dataset, data.Dataset]:
    """Returns the sets that the indices of tasks refer to.

    Args:
      one_set: whether the training indices, too, refer to the test set.

    Returns:
      The set of the training indices, and that of the test indices.
    """
    return (self.test if one_set else self.train), self.test

  def row(self) -> dict[str, Any]:
    """Returns the columns of rows that describe the data."""
    return {
      "dataset": self.train.name,
      "data_version": self.train.read_version,
      "split": self.train.split,
      "test_split": self.test.split,
      "train_set": len(self.train),
      "test_set": len(self.test),
    }

  def images(self, dataset: data.Dataset) -> Any:
    """Returns a set in memory, or the set itself if its images differ in size.

    Each source resizes such images in its own way, so it has to read them.

    Args:
      dataset: `train` or `test`.
    """
    if dataset.image_shape is None:
      return dataset
    if id(dataset) not in self._loaded:
      self._loaded[id(dataset)] = dataset.load()
    return self._loaded[id(dataset)]
