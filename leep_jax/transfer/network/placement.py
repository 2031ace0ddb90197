"""Placement of a group of runs: on a device each, or all devices for one."""

import dataclasses
from typing import Any

import jax
import numpy as np

from leep_jax.engine import programs
from leep_jax.transfer import runs as runs_lib


@dataclasses.dataclass(frozen=True)
class Placement:
  """How T runs are placed on the devices.

  Attributes:
    count: T; 1 if `data_parallel`.
    data_parallel: whether all devices train one run, each on its part of a
      batch. Otherwise each device trains runs of its own.

  Example:
    >>> import numpy as np
    >>> from leep_jax.engine import programs
    >>> from leep_jax.transfer.network.placement import Placement
    >>> with programs.limit(1):
    ...   placement = Placement(1, data_parallel=True)
    ...   examples = placement.put_examples(np.zeros((1, 3, 16)))
    >>> examples.shape  # devices, steps, examples
    (1, 3, 16)
  """

  count: int
  data_parallel: bool

  def device_count(self, batch_size: int) -> int:
    """Returns the number of devices to use.

    A data-parallel batch has to be divided into equal parts.

    Args:
      batch_size: examples of a step.
    """
    count = programs.device_count()
    if self.data_parallel:
      return largest_divisor(batch_size, count)
    return count

  def put_state(self, state: Any) -> Any:
    """Places a state, a pytree of arrays `[T, ...]`, on the devices."""
    # A data-parallel group has one run: the axis of runs is left out.
    if self.data_parallel:
      return programs.replicate(jax.tree.map(lambda x: np.asarray(x)[0], state))
    return runs_lib.spread(state, self.count)

  def put_scalars(self, tree: Any) -> Any:
    """Places what a run has once, such as a learning rate.

    Args:
      tree: pytree of arrays `[T, ...]`.
    """
    if self.data_parallel:
      return programs.replicate(jax.tree.map(lambda x: x[0], tree))
    return runs_lib.spread(tree, self.count)

  def put_examples(self, tree: Any) -> Any:
    """Arranges S batches for the devices.

    Args:
      tree: pytree of arrays `[T, S, B, ...]`.

    Returns:
      Arrays `[d, S, B / d, ...]` if `data_parallel`, else `[d, t, S, B, ...]`.
    """
    if not self.data_parallel:
      return runs_lib.spread(tree, self.count)
    count = programs.device_count()

    def split(x):
      x = x[0]
      x = x.reshape(x.shape[0], count, -1, *x.shape[2:])
      # The axis of devices is the first; what is sent must be contiguous.
      return np.ascontiguousarray(np.moveaxis(x, 1, 0))

    return jax.tree.map(split, tree)

  def get(self, tree: Any) -> Any:
    """Returns placed arrays as `[T, ...]` on the host."""
    return jax.tree.map(self._get, tree)

  def _get(self, array):
    if self.data_parallel:
      # Every device has the same values: one copy is read.
      return np.asarray(array.addressable_data(0))
    return runs_lib.gather(array, self.count)

  def first_examples(self, batch_size: int) -> np.ndarray:
    """Returns the position in a batch of the first example of each device.

    Args:
      batch_size: examples of a step.

    Returns:
      `[d]` int32; 0 where each device has whole batches.
    """
    count = programs.device_count()
    if not self.data_parallel:
      return np.zeros(count, np.int32)
    return np.arange(count, dtype=np.int32) * (batch_size // count)


def largest_divisor(number: int, most: int) -> int:
  """Returns the largest divisor of a number that is at most `most`.

  Args:
    number: to divide.
    most: bound of the divisor.

  Example:
    >>> from leep_jax.transfer.network import placement
    >>> placement.largest_divisor(12, 5)
    4
  """
  return next(k for k in range(most, 0, -1) if number % k == 0)
