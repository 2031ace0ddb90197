"""Nested samples of a data set: each contains the one before."""

import math

import numpy as np

# At least this many examples in the first sample, and on average of each class.
LEAST = 100
LEAST_OF_CLASS = 10
# A larger part of the examples is no sample: running the rest costs little.
_MOST = 0.75


def sizes(
  count: int, *, num_classes: int, start: int | None = None
) -> list[int]:
  """Returns the sizes of the samples, each twice the one before.

  Args:
    count: n, the number of examples.
    num_classes: Y, of classes that occur; 0 for regression.
    start: size of the first sample; by default 100, or 10 for each class where
      that is more.

  Returns:
    Sizes up to three quarters of n; none where n is too small for a sample.

  Example:
    >>> from leep_jax.racing import samples
    >>> samples.sizes(1000, num_classes=7)
    [100, 200, 400]
    >>> samples.sizes(120, num_classes=7)
    []
  """
  if start is None:
    start = max(LEAST, LEAST_OF_CLASS * num_classes)
  doublings = math.floor(math.log2(max(_MOST * count / start, 0.5))) + 1
  return [start * 2**i for i in range(doublings)]


def order(
  count: int, *, labels: np.ndarray | None = None, seed: int = 0
) -> np.ndarray:
  """Returns an order of examples whose beginnings are random samples.

  Args:
    count: n, the number of examples.
    labels: `[n]`. The first m examples then have each class in proportion to
      its size, up to one example (a stratified sample).
    seed: of the order.

  Returns:
    `[n]` positions.

  Example:
    >>> import numpy as np
    >>> from leep_jax.racing import samples
    >>> labels = np.repeat([0, 1], [30, 10])
    >>> first = samples.order(40, labels=labels)[:20]
    >>> np.bincount(labels[first]).tolist()
    [15, 5]
  """
  rng = np.random.default_rng(seed)
  shuffled = rng.permutation(count)
  if labels is None:
    return shuffled
  # The k-th example of a class of c examples comes at (k + u) / c, with one
  # random u for each class: classes that are rare are not all late.
  key = np.empty(count)
  for label in np.unique(labels):
    mine = shuffled[labels[shuffled] == label]
    key[mine] = (np.arange(len(mine)) + rng.random()) / len(mine)
  return shuffled[np.argsort(key[shuffled], kind="stable")]
