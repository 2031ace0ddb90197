"""Sizes are rounded up, so that few are compiled."""

import numpy as np

LEAST_SUPPORT = 32  # what numbers of support images and classes are rounded up
LEAST_WAYS = 8  # to, or a power of two


def rounded(count: int, least: int) -> int:
  """Returns the next power of two, at least `least`."""
  return max(least, 1 << (count - 1).bit_length())


def padded(array: np.ndarray, count: int) -> np.ndarray:
  """Returns an array with zeros at the end of its first axis."""
  missing = ((0, count - len(array)), *((0, 0),) * (array.ndim - 1))
  return np.pad(array, missing)
