"""Splitting a labelled set into training and test examples. Pure NumPy."""

from typing import Any

import numpy as np

from leep_jax import validation


def holdout(
  labels: Any, *, fraction: float = 0.2, seed: int
) -> tuple[np.ndarray, np.ndarray]:
  """Splits a set without a test split into two, class by class.

  Of a class with k examples, round(fraction k) are for test, but at least one
  and not all; the example of a class with only one is for training.

  Args:
    labels: `[N]` integers.
    fraction: of the examples, for test; between 0 and 1.
    seed: of the draw.

  Returns:
    Indices of training and of test examples, int32, ascending: disjoint, and
    each example is in one of them.

  Raises:
    InputError: if the fraction is out of range, or no class has two examples.
  """
  if not 0 < fraction < 1:
    raise validation.InputError(
      f"fraction is {fraction!r}, but must be above 0 and below 1"
    )
  if not isinstance(seed, (int, np.integer)) or seed < 0:
    raise validation.InputError(
      f"seed is {seed}, but must be an integer from 0"
    )
  rng = np.random.default_rng(seed)
  train, test = [], []
  for indices in indices_by_class(validation.class_labels(labels)).values():
    size = max(round(fraction * len(indices)), 1)
    size = min(size, len(indices) - 1)
    shuffled = rng.permutation(indices)
    test.append(shuffled[:size])
    train.append(shuffled[size:])
  if not any(map(len, test)):
    raise validation.InputError(
      f"no class has two examples, so none of {len(train)} can be held out for "
      "test: are these class labels?"
    )
  return ascending(train), ascending(test)


def indices_by_class(labels: np.ndarray) -> dict[int, np.ndarray]:
  """Returns the indices of each class's examples, int32, ascending.

  Args:
    labels: `[N]` integers.
  """
  order = np.argsort(labels, kind="stable").astype(np.int32)
  classes, starts = np.unique(labels[order], return_index=True)
  return dict(zip(classes.tolist(), np.split(order, starts[1:]), strict=True))


def ascending(parts: list[np.ndarray]) -> np.ndarray:
  """Returns all of several arrays of indices, sorted."""
  return np.sort(np.concatenate(parts))
