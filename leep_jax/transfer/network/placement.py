"""Where the arrays of a group of runs are: each run on a device, or on all."""

import dataclasses
from typing import Any

import jax
import numpy as np

from leep_jax.engine import programs
from leep_jax.transfer import runs as runs_lib


@dataclasses.dataclass(frozen=True)
class Placement:
  """How T runs are spread over devices.

  Attributes:
    count: T.
    data_parallel: whether all devices train the one run, each on its part of a
      batch, or each its own runs.
  """

  count: int
  data_parallel: bool

  def device_count(self, batch_size: int) -> int:
    """Returns how many devices are used: as many as a batch can be split over.

    Args:
      batch_size: examples of a step.
    """
    count = programs.device_count()
    if self.data_parallel:
      return largest_divisor(batch_size, count)
    return count

  def put_state(self, state: Any) -> Any:
    """Returns a state `[T, ...]` on the devices."""
    if self.data_parallel:
      return programs.replicate(jax.tree.map(lambda x: np.asarray(x)[0], state))
    return runs_lib.spread(state, self.count)

  def put_scalars(self, tree: Any) -> Any:
    """Returns arrays `[T, ...]` of runs on the devices."""
    if self.data_parallel:
      return programs.replicate(jax.tree.map(lambda x: x[0], tree))
    return runs_lib.spread(tree, self.count)

  def put_examples(self, tree: Any) -> Any:
    """Returns arrays `[T, S, B, ...]` of S batches on the devices."""
    if not self.data_parallel:
      return runs_lib.spread(tree, self.count)
    count = programs.device_count()

    def split(x):
      x = x[0]
      x = x.reshape(x.shape[0], count, -1, *x.shape[2:])
      return np.ascontiguousarray(np.moveaxis(x, 1, 0))

    return jax.tree.map(split, tree)

  def get(self, tree: Any) -> Any:
    """Returns arrays `[T, ...]` on the host."""
    return jax.tree.map(self._get, tree)

  def _get(self, array):
    if self.data_parallel:  # the same on every device
      return np.asarray(array.addressable_data(0))
    return runs_lib.gather(array, self.count)

  def first_examples(self, batch_size: int) -> np.ndarray:
    """Returns the index in a batch of the first example of each device."""
    count = programs.device_count()
    if not self.data_parallel:
      return np.zeros(count, np.int32)
    return np.arange(count, dtype=np.int32) * (batch_size // count)


def largest_divisor(number: int, most: int) -> int:
  """Returns the largest divisor of a number that is at most `most`."""
  return next(k for k in range(most, 0, -1) if number % k == 0)
