"""Which examples a score of pairs reads, where all pairs would be too many."""

import numpy as np

from leep_jax import validation


def sample(count: int, *, most: int) -> np.ndarray:
  """Returns the indices of all examples, or of a random sample, ascending.

  The sample depends on the numbers alone: scores of several sources are then of
  the same examples, and differ by the sources only.

  Args:
    count: n, the number of examples.
    most: the size of the sample, if there are more.

  Raises:
    InputError: if `most` is not an integer from 1.

  Example:
    >>> from leep_jax.scores import sampling
    >>> sampling.sample(3, most=5).tolist(), len(sampling.sample(9, most=5))
    ([0, 1, 2], 5)
  """
  validation.at_least_1("max_examples", most)
  every = np.arange(count)
  if count <= most:
    return every
  return np.sort(np.random.default_rng(0).choice(every, most, replace=False))
