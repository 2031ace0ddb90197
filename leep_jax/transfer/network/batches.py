"""Batches of a group of runs, as arrays on the host.

Symbols: T runs, S steps of an epoch, B examples of a batch. Runs with fewer
steps than others have batches of weight 0 at the end.
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
    rngs: what draws the order of each, epoch after epoch.
    steps: S.
    batch_size: B.

  Returns:
    Indices in the training set, labels and weights `[T, S, B]`. Weights of a
    batch sum to 1, or to 0 if the run has no such batch.
  """
  shape = (len(group), steps * batch_size)
  indices, labels = np.zeros(shape, np.int32), np.zeros(shape, np.int32)
  weights = np.zeros(shape, np.float32)
  for i, (run, rng) in enumerate(zip(group, rngs, strict=True)):
    n = len(run.labels)
    filled = run.steps(batch_size) * batch_size
    # The same draw as for heads.
    order = rng.permuted(np.arange(n)[None], axis=1)[0]
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
    rows: examples of a batch; their number is rounded up to a multiple.

  Returns:
    Indices in the test set, labels and weights `[T, M]`, 0 for padding.
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
  """Returns learning rates of head and body, `[T, E, S, 2]`.

  Args:
    group: T runs.
    config: how they train, for E epochs.
    steps: S.
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
  """Returns what augmentation draws from, `[T, K, 3]`: seed, epoch and step.

  Args:
    group: T runs.
    epoch: from 0.
    first: the first of the steps, from 0.
    steps: K.
  """
  return np.array(
    [
      [(run.seed & 0xFFFFFFFF, epoch, first + k) for k in range(steps)]
      for run in group
    ],
    np.uint32,
  )
