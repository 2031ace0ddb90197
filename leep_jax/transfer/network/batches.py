"""The batches of a group of runs, as arrays on the host.

Symbols: T runs, E epochs, S steps of an epoch, B examples of a batch. A run
with fewer steps than others has batches of weight 0 at the end.
"""

from collections.abc import Sequence

import numpy as np

from leep_jax.transfer.config import NetworkConfig
from leep_jax.transfer.runs import Run

Examples = tuple[np.ndarray, np.ndarray, np.ndarray]


def of_epoch(
  group: Sequence[Run],
  rngs: Sequence[np.random.Generator],
  *,
  steps: int,
  batch_size: int,
) -> Examples:
  """Draws the order of the training examples in an epoch.

  Args:
    group: T runs.
    rngs: a generator for each run, see `Run.orders`.
    steps: S.
    batch_size: B.

  Returns:
    Indices in the training set, labels and weights `[T, S, B]`. The weights of
    a batch sum to 1, or to 0 if the run has no such batch.

  Example:
    >>> import numpy as np
    >>> from leep_jax.transfer import runs
    >>> from leep_jax.transfer.network import batches
    >>> labels = np.arange(6) % 2
    >>> group = runs.make(labels, labels, None, [0])
    >>> indices, own_labels, weights = batches.of_epoch(
    ...   group, [run.orders() for run in group], steps=2, batch_size=4
    ... )
    >>> weights.tolist()
    [[[0.25, 0.25, 0.25, 0.25], [0.5, 0.5, 0.0, 0.0]]]
  """
  shape = (len(group), steps * batch_size)
  indices, labels = np.zeros(shape, np.int32), np.zeros(shape, np.int32)
  weights = np.zeros(shape, np.float32)
  for i, (run, rng) in enumerate(zip(group, rngs, strict=True)):
    n = len(run.labels)
    filled = run.steps(batch_size) * batch_size
    # Drawn as in `retrain_head`, so that a frozen body gives the same head.
    order = rng.permuted(np.arange(n)[None], axis=1)[0]
    # Repeats the order from its start, up to full batches.
    order = np.resize(order, filled)
    indices[i, :filled] = run.task.train[order]
    labels[i, :filled] = run.labels[order]
    weights[i, :n] = 1
  full = (len(group), steps, batch_size)
  weights = weights.reshape(full)
  weights /= np.maximum(weights.sum(axis=2, keepdims=True), 1)
  return indices.reshape(full), labels.reshape(full), weights


def of_test(group: Sequence[Run], *, rows: int) -> Examples:
  """Returns the test examples of runs.

  Args:
    group: T runs.
    rows: examples of a batch; M is a multiple of it.

  Returns:
    Indices in the test set, labels and weights `[T, M]`; padding has weight 0.

  Example:
    >>> import numpy as np
    >>> from leep_jax.transfer import runs
    >>> from leep_jax.transfer.network import batches
    >>> labels = np.arange(3) % 2
    >>> group = runs.make(labels, labels, None, [0])
    >>> batches.of_test(group, rows=2)[2].tolist()
    [[1.0, 1.0, 1.0, 0.0]]
  """
  most = max(len(run.test_labels) for run in group)
  shape = (len(group), -(-most // rows) * rows)
  indices, labels = np.zeros(shape, np.int32), np.zeros(shape, np.int32)
  weights = np.zeros(shape, np.float32)
  for i, run in enumerate(group):
    n = len(run.test_labels)
    indices[i, :n], labels[i, :n] = run.task.test, run.test_labels
    weights[i, :n] = 1
  return indices, labels, weights


def learning_rates(
  group: Sequence[Run], config: NetworkConfig, *, steps: int
) -> np.ndarray:
  """Returns the learning rates of head and body.

  Args:
    group: T runs.
    config: how they train, for E epochs.
    steps: S.

  Returns:
    `[T, E, S, 2]`; 0 where a run has no more steps.

  Example:
    >>> import numpy as np
    >>> from leep_jax import transfer
    >>> from leep_jax.transfer import runs
    >>> from leep_jax.transfer.network import batches
    >>> labels = np.arange(4) % 2
    >>> group = runs.make(labels, labels, None, [0])
    >>> config = transfer.NetworkConfig(
    ...   epochs=1, batch_size=4, learning_rate=0.5, body_learning_rate=0.25
    ... )
    >>> batches.learning_rates(group, config, steps=2).tolist()
    [[[[0.5, 0.25], [0.0, 0.0]]]]
  """
  body = config.body_learning_rate
  both = [config.learning_rate, config.learning_rate if body is None else body]
  rates = np.zeros((len(group), config.epochs, steps, 2), np.float32)
  for rate, run in zip(rates, group, strict=True):
    own = run.steps(config.batch_size)
    factors = config.factors(own)[:, :, None]
    rate[:, :own] = factors * np.asarray(both, np.float32)
  return rates


def random_roots(
  group: Sequence[Run], *, epoch: int, first: int, steps: int
) -> np.ndarray:
  """Returns the numbers from which keys of augmentation are made.

  Args:
    group: T runs.
    epoch: counted from 0.
    first: the first of the steps, counted from 0.
    steps: K.

  Returns:
    `[T, K, 3]`: seed, epoch and step.

  Example:
    >>> import numpy as np
    >>> from leep_jax.transfer import runs
    >>> from leep_jax.transfer.network import batches
    >>> labels = np.arange(4) % 2
    >>> group = runs.make(labels, labels, None, [7])
    >>> batches.random_roots(group, epoch=1, first=4, steps=2).tolist()
    [[[7, 1, 4], [7, 1, 5]]]
  """
  # Cut to 32 bits, as larger seeds would not fit into uint32.
  return np.array(
    [
      [(run.seed & 0xFFFFFFFF, epoch, first + k) for k in range(steps)]
      for run in group
    ],
    np.uint32,
  )
