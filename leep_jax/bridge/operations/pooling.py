"""Pooling over windows, and to a given size."""

from collections.abc import Callable, Sequence
import functools
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np

from leep_jax.bridge.operations import products


def _extra(size, kernel, stride, pad, dilation, ceil_mode):
  """Numbers that the last window needs after the padding at the end."""
  reach = dilation * (kernel - 1) + 1
  free = size + 2 * pad - reach
  if not ceil_mode:
    return 0
  windows = -(-free // stride) + 1
  # A window must not begin in the padding at the end.
  if (windows - 1) * stride >= size + pad:
    windows -= 1
  return max((windows - 1) * stride + reach - size - 2 * pad, 0)


def _windows(x, axes, kernel, stride, padding, dilation, ceil_mode):
  """Arguments of `reduce_window` of all axes of x, for those of an image."""
  rank = len(axes)
  stride = stride or kernel
  ones = [1] * x.ndim
  sizes, steps, holes = list(ones), list(ones), list(ones)
  pads = [(0, 0)] * x.ndim
  for axis, k, s, p, d in zip(
    axes,
    *(products.per_axis(v, rank) for v in (kernel, stride, padding, dilation)),
    strict=True,
  ):
    sizes[axis], steps[axis], holes[axis] = k, s, d
    extra = _extra(x.shape[axis], k, s, p, d, ceil_mode)
    pads[axis] = (p, p + extra)
  return tuple(sizes), tuple(steps), pads, tuple(holes)


def _image_axes(x, rank):
  return tuple(range(x.ndim - rank, x.ndim))


def _max_pool(
  x, kernel, stride=(), padding=0, dilation=1, ceil_mode=False, *, rank
):
  """The largest number of each window, and None for its index."""
  axes = _image_axes(x, rank)
  sizes, steps, pads, holes = _windows(
    x, axes, kernel, stride, padding, dilation, ceil_mode
  )
  lowest: Any = -jnp.inf
  if not jnp.issubdtype(x.dtype, jnp.floating):
    lowest = jnp.iinfo(x.dtype).min
  lowest = np.asarray(lowest, x.dtype)
  return jax.lax.reduce_window(
    x, lowest, jax.lax.max, sizes, steps, pads, window_dilation=holes
  ), None


def _avg_pool(
  x, kernel, stride=(), padding=0, ceil_mode=False, count_include_pad=True,
  divisor_override=None, *, rank,
):  # fmt: skip
  """The mean of each window."""
  axes = _image_axes(x, rank)
  sizes, steps, pads, _ = _windows(
    x, axes, kernel, stride, padding, 1, ceil_mode
  )
  total = jax.lax.reduce_window(
    x, np.zeros((), x.dtype), jax.lax.add, sizes, steps, pads
  )
  if divisor_override:
    return total / divisor_override
  # How many numbers are in a window, which is known before anything runs.
  count = np.ones((1,) * x.ndim)
  for axis, p in zip(axes, products.per_axis(padding, rank), strict=True):
    size = x.shape[axis]
    present = np.ones(size + 2 * p)
    if not count_include_pad:
      present[:p] = present[size + p :] = 0
    present = np.pad(present, (0, pads[axis][1] - p))
    starts = np.arange(total.shape[axis]) * steps[axis]
    counts = np.array([present[s : s + sizes[axis]].sum() for s in starts])
    count = count * counts.reshape(
      [-1 if i == axis else 1 for i in range(x.ndim)]
    )
  return total / count.astype(x.dtype)


def _means(size, wanted):
  """`[wanted, size]`, rows that take the mean of each part of an axis."""
  matrix = np.zeros((wanted, size))
  for i in range(wanted):
    start, end = i * size // wanted, -(-(i + 1) * size // wanted)
    matrix[i, start:end] = 1 / (end - start)
  return matrix


def _adaptive_avg_pool(x, size, *, rank):
  sizes = products.per_axis(size, rank)
  for axis, wanted in zip(range(x.ndim - rank, x.ndim), sizes, strict=True):
    if wanted is None or wanted == x.shape[axis]:
      continue
    means = jnp.asarray(_means(x.shape[axis], wanted), x.dtype)
    x = jnp.moveaxis(jnp.tensordot(x, means, (axis, 1)), -1, axis)
  return x


def _adaptive_max_pool(x, size, *, rank):
  sizes = products.per_axis(size, rank)
  for axis, wanted in zip(range(x.ndim - rank, x.ndim), sizes, strict=True):
    n = x.shape[axis]
    parts = [
      jnp.max(
        jax.lax.slice_in_dim(
          x, i * n // wanted, -(-(i + 1) * n // wanted), axis=axis
        ),
        axis,
      )
      for i in range(wanted)
    ]
    x = jnp.stack(parts, axis)
  return x, None


def _im2col(x, kernel, dilation, padding, stride):
  """`[B, C k k, windows]`, the numbers of each window as a column."""
  batch, channels = x.shape[:2]
  patches = jax.lax.conv_general_dilated_patches(
    x, kernel, stride, [(p, p) for p in padding], rhs_dilation=dilation
  )
  return patches.reshape(batch, channels * int(np.prod(kernel)), -1)


def _col2im(x, size, kernel, dilation, padding, stride):
  """Adds columns of `_im2col` up, each number where it came from."""
  batch, rows, _ = x.shape
  channels = rows // int(np.prod(kernel))
  shape = (batch, channels, *size)
  undo = jax.linear_transpose(
    functools.partial(
      _im2col,
      kernel=kernel,
      dilation=dilation,
      padding=padding,
      stride=stride,
    ),
    jax.ShapeDtypeStruct(shape, x.dtype),
  )
  return undo(x)[0]


def _max_alone(*args, **options):
  return _max_pool(*args, **options)[0]


def _of_rank(
  function: Callable[..., Any], ranks: Sequence[int], name: str
) -> dict[str, Callable[..., Any]]:
  return {
    name.format(rank): functools.partial(function, rank=rank) for rank in ranks
  }


OPERATIONS: dict[str, Callable[..., Any]] = {
  **_of_rank(_max_pool, (2, 3), "max_pool{}d_with_indices"),
  **_of_rank(_max_alone, (1, 2, 3), "max_pool{}d"),
  **_of_rank(_avg_pool, (1, 2, 3), "avg_pool{}d"),
  **_of_rank(_adaptive_avg_pool, (2, 3), "_adaptive_avg_pool{}d"),
  **_of_rank(_adaptive_avg_pool, (1, 2, 3), "adaptive_avg_pool{}d"),
  **_of_rank(_adaptive_max_pool, (1, 2, 3), "adaptive_max_pool{}d"),
  "im2col": _im2col,
  "col2im": _col2im,
}
