"""Standardised features X on the host, in float64, and products of examples.

For few examples, or few features: X X^T `[n, n]` has the non-zero eigenvalues
of X^T X `[D, D]`, and is the smaller matrix if n <= D.
"""

from collections.abc import Iterator

import numpy as np

from leep_jax.engine import outputs as outputs_lib

# Columns of features that are in memory as float64 at a time.
_BLOCK = 4096


def blocks(outputs: outputs_lib.Outputs) -> Iterator[np.ndarray]:
  """Yields X in blocks of columns `[n, K]`; constant features have none.

  Args:
    outputs: with features.

  Raises:
    InputError: if features are not finite.

  Example:
    >>> import leep_jax
    >>> from leep_jax.scores import standardised
    >>> outputs = leep_jax.Outputs.from_arrays(
    ...   features=[[1.0, 7.0], [3.0, 7.0]], labels=[0, 1])
    >>> [block.round(6).tolist() for block in standardised.blocks(outputs)]
    [[[-1.0], [1.0]]]
  """
  outputs.check("features")
  features = outputs.features
  assert features is not None
  wide = outputs.store.is_wide("features")
  eps = np.finfo(np.float64 if wide else np.float32).eps
  for start in range(0, features.shape[1], _BLOCK):
    block = np.asarray(features[:, start : start + _BLOCK], np.float64)
    # Features far from 1 could overflow when they are squared.
    largest = np.abs(block).max(axis=0)
    block = block / np.where(largest > 0, largest, 1)
    mean, deviation = block.mean(axis=0), block.std(axis=0)
    # A feature that varies by no more than the rounding of its values counts as
    # constant.
    used = deviation > eps
    yield (block[:, used] - mean[used]) / deviation[used]


def products(outputs: outputs_lib.Outputs) -> np.ndarray:
  """Returns X X^T `[n, n]`; it is cached.

  Args:
    outputs: with features.

  Raises:
    InputError: if features are not finite.

  Example:
    >>> import leep_jax
    >>> from leep_jax.scores import standardised
    >>> outputs = leep_jax.Outputs.from_arrays(
    ...   features=[[1.0, 7.0], [3.0, 7.0]], labels=[0, 1])
    >>> standardised.products(outputs).round(6).tolist()
    [[1.0, -1.0], [-1.0, 1.0]]
  """
  return outputs.ungrouped.cached(_products)


def _products(outputs):
  found = np.zeros((len(outputs), len(outputs)))
  for block in blocks(outputs):
    found += block @ block.T
  return found
