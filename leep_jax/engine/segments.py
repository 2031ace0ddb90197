"""Sums of rows by segment, such as by label, in the form a device is fast at.

A CPU adds each row to its sum. A TPU would do that one row after the other; its
matrix unit multiplies by a matrix of zeros and ones instead, while segments are
few. Products are in the precision in which a float32 is the exact sum of three
numbers that the unit multiplies, so that nothing is rounded but sums.

Symbols: B rows of K columns.
"""

from collections.abc import Callable
import functools
from typing import Any

import jax
import jax.numpy as jnp

# Up to `_FEW_SEGMENTS + _FEW_CELLS / K` segments the product is used. By the
# cycles that the compiler for TPU v5e schedules for 1,024 rows, it is faster
# there, and with few columns somewhat beyond: see `experiments/results/tpu.md`.
_FEW_SEGMENTS, _FEW_CELLS = 150, 100_000
_EXACT = jax.lax.Precision.HIGHEST


def segment_sums(
  values: jax.Array, segments: jax.Array, count: int
) -> jax.Array:
  """Sums rows `[B, K]` over those of each segment, `[count, K]`.

  Args:
    values: `[B, K]` float32.
    segments: `[B]`, from 0 to `count` - 1; other rows are dropped.
    count: of segments.

  Example:
    >>> import numpy as np
    >>> from leep_jax.engine import segments
    >>> rows, of = np.array([[1.0], [2.0], [3.0]]), np.array([1, 0, 1])
    >>> segments.segment_sums(rows, of, 2).tolist()
    [[2.0], [4.0]]
  """
  by_row = functools.partial(jax.ops.segment_sum, num_segments=count)
  if count > few(values.shape[1]):
    return by_row(values, segments)
  product = functools.partial(by_product, count=count)
  return _on_tpu(product, by_row)(values, segments)


def few(columns: int) -> int:
  """Returns up to how many segments of rows a TPU is faster by products.

  Args:
    columns: K.

  Example:
    >>> from leep_jax.engine import segments
    >>> segments.few(1000)
    250
  """
  return _FEW_SEGMENTS + _FEW_CELLS // max(columns, 1)


def by_product(values: jax.Array, segments: jax.Array, count: int) -> jax.Array:
  """`segment_sums` as a product, on any device.

  Args:
    values: `[B, K]` float32.
    segments: `[B]`, from 0 to `count` - 1; other rows are dropped.
    count: of segments.

  Example:
    >>> import numpy as np
    >>> from leep_jax.engine import segments
    >>> rows, of = np.array([[1.0], [2.0], [3.0]]), np.array([1, 0, 1])
    >>> segments.by_product(rows, of, 2).tolist()
    [[2.0], [4.0]]
  """
  ones = jax.nn.one_hot(segments, count, dtype=jnp.float32)
  return jnp.matmul(ones.T, values, precision=_EXACT)


def pair_counts(
  rows: jax.Array,
  columns: jax.Array,
  weights: jax.Array,
  *,
  shape: tuple[int, int],
) -> jax.Array:
  """Adds each weight to a cell of a table, `[Y, Z]` float32.

  Args:
    rows: `[B]`, the cell's row.
    columns: `[B]`, the cell's column.
    weights: `[B]` float32, 0 or 1.
    shape: Y and Z.

  Example:
    >>> import numpy as np
    >>> from leep_jax.engine import segments
    >>> rows, columns = np.array([0, 1, 1]), np.array([1, 0, 0])
    >>> weights = np.ones(3, np.float32)
    >>> segments.pair_counts(rows, columns, weights, shape=(2, 2)).tolist()
    [[0.0, 1.0], [2.0, 0.0]]
  """

  def by_cell(rows, columns, weights):
    cells = rows * shape[1] + columns
    counts = jax.ops.segment_sum(
      weights, cells, num_segments=shape[0] * shape[1]
    )
    return counts.reshape(shape)

  product = functools.partial(pairs_by_product, shape=shape)
  # At any size: a TPU adds one cell at a time, each in its main memory.
  return _on_tpu(product, by_cell)(rows, columns, weights)


def pairs_by_product(
  rows: jax.Array,
  columns: jax.Array,
  weights: jax.Array,
  *,
  shape: tuple[int, int],
) -> jax.Array:
  """`pair_counts` as a product, on any device.

  Args:
    rows: `[B]`, the cell's row.
    columns: `[B]`, the cell's column.
    weights: `[B]` float32, 0 or 1.
    shape: Y and Z.

  Example:
    >>> import numpy as np
    >>> from leep_jax.engine import segments
    >>> rows, columns = np.array([0, 1, 1]), np.array([1, 0, 0])
    >>> weights = np.ones(3, np.float32)
    >>> segments.pairs_by_product(rows, columns, weights, shape=(2, 2)).tolist()
    [[0.0, 1.0], [2.0, 0.0]]
  """
  # Zeros and ones are exact in bfloat16, and so are float32 sums of up to 2^24.
  left, right = (
    jax.nn.one_hot(x, size, dtype=jnp.bfloat16)
    for x, size in zip((rows, columns), shape, strict=True)
  )
  left *= weights[:, None].astype(jnp.bfloat16)
  return jnp.matmul(left.T, right, preferred_element_type=jnp.float32)


def rows_of(table: jax.Array, rows: jax.Array) -> jax.Array:
  """Returns a table's rows, `[B, K]`.

  Args:
    table: `[Y, K]` float32, of finite numbers.
    rows: `[B]`, from 0 to Y - 1.

  Example:
    >>> import numpy as np
    >>> from leep_jax.engine import segments
    >>> table = np.array([[1.0, 2.0], [3.0, 4.0]], np.float32)
    >>> segments.rows_of(table, np.array([1, 1, 0])).tolist()
    [[3.0, 4.0], [3.0, 4.0], [1.0, 2.0]]
  """
  if table.shape[0] > few(table.shape[1]):
    return table[rows]

  def by_product(table, rows):
    ones = jax.nn.one_hot(rows, table.shape[0], dtype=jnp.float32)
    return jnp.matmul(ones, table, precision=_EXACT)

  return _on_tpu(by_product, lambda table, rows: table[rows])(table, rows)


def _on_tpu(
  function: Callable[..., Any], default: Callable[..., Any]
) -> Callable[..., Any]:
  """One function for a TPU, another for all other devices."""
  return functools.partial(_choose, function, default)


def _choose(function, default, *args):
  return jax.lax.platform_dependent(*args, tpu=function, default=default)
