"""The data that sources are transferred to."""

from collections.abc import Sequence
from typing import Any

from leep_jax import data, tasks as tasks_lib


class Target:
  """A training and a test set, and tasks on them."""

  def __init__(
    self,
    train: data.Dataset,
    test: data.Dataset,
    tasks: Sequence[tasks_lib.Task],
  ):
    """Holds them; images are read when a network is trained on them."""
    self.train, self.test, self.tasks = train, test, tasks
    self._loaded: dict[int, Any] = {}

  def sets(self, one_set: bool) -> tuple[data.Dataset, data.Dataset]:
    """Returns the sets of which tasks hold training and test indices."""
    return (self.test if one_set else self.train), self.test

  def row(self) -> dict[str, Any]:
    """Returns what rows say of the data."""
    return {
      "dataset": self.train.name,
      "data_version": self.train.version,
      "split": self.train.split,
      "test_split": self.test.split,
      "train_set": len(self.train),
      "test_set": len(self.test),
    }

  def images(self, dataset: data.Dataset) -> Any:
    """Returns a set in memory, or itself where a source must fit images."""
    if dataset.image_shape is None:
      return dataset
    if id(dataset) not in self._loaded:
      self._loaded[id(dataset)] = dataset.load()
    return self._loaded[id(dataset)]
