"""Padding of support sets, so that few shapes are compiled."""

import numpy as np

# Support images and classes are padded to a power of two, at least these.
LEAST_SUPPORT = 32
LEAST_WAYS = 8


def rounded(count: int, least: int) -> int:
  """Rounds a number up to a power of two, at least `least`.

  Args:
    count: to round.
    least: a power of two.

  Example:
    >>> from leep_jax.transfer.cnaps import padding
    >>> padding.rounded(33, padding.LEAST_SUPPORT)
    64
  """
  return max(least, 1 << (count - 1).bit_length())


def padded(array: np.ndarray, count: int) -> np.ndarray:
  """Appends zeros along the first axis.

  Args:
    array: `[n, ...]`.
    count: length of the result's first axis, at least n.

  Example:
    >>> import numpy as np
    >>> from leep_jax.transfer.cnaps import padding
    >>> padding.padded(np.array([1, 2]), 4).tolist()
    [1, 2, 0, 0]
  """
  missing = ((0, count - len(array)), *((0, 0),) * (array.ndim - 1))
  return np.pad(array, missing)
