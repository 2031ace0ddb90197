"""Operations that make, move, cut and join arrays, without arithmetic."""

from collections.abc import Callable
import math
import operator
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np

from leep_jax.bridge.operations import elementwise


def _view(x, size):
  return jnp.reshape(x, [int(n) for n in size])


def _permute(x, dims):
  return jnp.transpose(x, [d % x.ndim for d in dims])


def _expand(x, size, *, implicit=False):
  added = len(size) - x.ndim
  shape = [
    x.shape[i - added] if n == -1 else int(n) for i, n in enumerate(size)
  ]
  return jnp.broadcast_to(jnp.expand_dims(x, tuple(range(added))), shape)


def _squeeze(x, dims=None):
  if dims is None:
    return jnp.squeeze(x)
  dims = dims if isinstance(dims, (list, tuple)) else [dims]
  axes = {d % max(x.ndim, 1) for d in dims}
  # PyTorch leaves an axis of another length as it is.
  return jnp.squeeze(x, tuple(a for a in axes if x.shape[a] == 1))


def _unsqueeze(x, dim):
  return jnp.expand_dims(x, dim)


def _bounds(length, start, end):
  """Start and end of a slice, as PyTorch reads them."""
  start = 0 if start is None else start
  end = length if end is None else end
  start, end = (n + length if n < 0 else n for n in (start, end))
  start = min(max(start, 0), length)
  return start, min(max(end, start), length)


def _slice(x, dim=0, start=None, end=None, step=1):
  start, end = _bounds(x.shape[dim], start, end)
  return jax.lax.slice_in_dim(x, start, end, step, dim % x.ndim)


def _select(x, dim, index):
  return jax.lax.index_in_dim(
    x, index % x.shape[dim], dim % x.ndim, keepdims=False
  )


def _narrow(x, dim, start, length):
  return _slice(x, dim, start, start + length)


def _split_with_sizes(x, sizes, dim=0):
  ends = np.cumsum(sizes)
  return [
    jax.lax.slice_in_dim(x, int(end) - size, int(end), 1, dim % x.ndim)
    for size, end in zip(sizes, ends, strict=True)
  ]


def _split(x, size, dim=0):
  length = x.shape[dim]
  sizes = [min(size, length - at) for at in range(0, length, size)]
  return _split_with_sizes(x, sizes, dim)


def _cat(arrays, dim=0):
  # An empty vector joins anything, an old rule of PyTorch.
  arrays = [x for x in arrays if x.shape != (0,)]
  dtype = jnp.result_type(*arrays)
  return jnp.concatenate([x.astype(dtype) for x in arrays], dim)


def _stack(arrays, dim=0):
  return jnp.stack(arrays, dim)


def _unbind(x, dim=0):
  return [_select(x, dim, i) for i in range(x.shape[dim])]


def _repeat(x, repeats):
  added = len(repeats) - x.ndim
  x = jnp.expand_dims(x, tuple(range(added)))
  return jnp.tile(x, repeats)


def _constant_pad(x, pad, value=0.0):
  # PyTorch lists the last axis first. Negative numbers cut.
  pairs = [(0, 0)] * (x.ndim - len(pad) // 2)
  pairs += [(pad[i], pad[i + 1]) for i in range(len(pad) - 2, -1, -2)]
  filled = jnp.asarray(value, x.dtype)
  return jax.lax.pad(x, filled, [(low, high, 0) for low, high in pairs])


def _padded_by(mode):
  def pad(x, padding):
    axes = len(padding) // 2
    pairs = [(0, 0)] * (x.ndim - axes)
    pairs += [
      (padding[2 * i], padding[2 * i + 1]) for i in reversed(range(axes))
    ]
    return jnp.pad(x, pairs, mode=mode)

  return pad


def _flip(x, dims):
  return jnp.flip(x, tuple(dims))


def _roll(x, shifts, dims=()):
  if not dims:
    return jnp.roll(x.reshape(-1), shifts[0]).reshape(x.shape)
  return jnp.roll(x, tuple(shifts), tuple(dims))


def _unfold(x, dim, size, step):
  dim %= x.ndim
  starts = np.arange(0, x.shape[dim] - size + 1, step)
  index = starts[:, None] + np.arange(size)
  windows = jnp.take(x, index, axis=dim)  # [..., windows, size, ...]
  return jnp.moveaxis(windows, dim + 1, -1)


def _as_strided(x, size, stride, storage_offset=None):
  # Of a contiguous array: indices into its numbers in order.
  index = np.full((), storage_offset or 0)
  for n, step in zip(size, stride, strict=True):
    index = index[..., None] + np.arange(n) * step
  return jnp.take(x.reshape(-1), index.reshape(size))


def _arange(start, end=None, step=1, *, dtype=None):
  if end is None:
    start, end = 0, start
  if dtype is None:
    whole = all(isinstance(n, int) for n in (start, end, step))
    dtype = jnp.int32 if whole else jnp.float32
  count = max(math.ceil((end - start) / step), 0)
  return (start + step * jnp.arange(count)).astype(dtype)


def _full(size, fill_value, *, dtype=None):
  return jnp.full(tuple(int(n) for n in size), fill_value, dtype)


def _full_like(x, fill_value, *, dtype=None):
  return jnp.full(x.shape, fill_value, dtype or x.dtype)


def _scalar_tensor(value, *, dtype=None):
  return jnp.asarray(value, dtype)


def _filled(value):
  return lambda size, *, dtype=None: _full(size, value, dtype=dtype)


def _filled_like(value):
  return lambda x, *, dtype=None: _full_like(x, value, dtype=dtype)


def _new_full(x, size, fill_value, *, dtype=None):
  return _full(size, fill_value, dtype=dtype or x.dtype)


def _linspace(start, end, steps, *, dtype=None):
  return jnp.linspace(start, end, steps, dtype=dtype)


def _eye(n, m=None, *, dtype=None):
  return jnp.eye(n, m, dtype=dtype)


def _triangle(function):
  return lambda x, diagonal=0: function(x, diagonal)


def _diagonal(x, offset=0, dim1=0, dim2=1):
  return jnp.diagonal(x, offset, dim1, dim2)


def _pixel_shuffle(x, factor):
  *batch, channels, height, width = x.shape
  inner = channels // factor**2
  x = x.reshape(*batch, inner, factor, factor, height, width)
  n = len(batch)
  x = x.transpose(*range(n), n, n + 3, n + 1, n + 4, n + 2)
  return x.reshape(*batch, inner, height * factor, width * factor)


def _pixel_unshuffle(x, factor):
  *batch, channels, height, width = x.shape
  x = x.reshape(
    *batch, channels, height // factor, factor, width // factor, factor
  )
  n = len(batch)
  x = x.transpose(*range(n), n, n + 2, n + 4, n + 1, n + 3)
  return x.reshape(
    *batch, channels * factor**2, height // factor, width // factor
  )


def _copy(target, source, non_blocking=False):
  source = elementwise.same_rank(target, source)[1]
  return jnp.broadcast_to(source, target.shape).astype(target.dtype)


def _fill(x, value):
  return jnp.broadcast_to(jnp.asarray(value, x.dtype), x.shape)


def _slice_scatter(x, source, dim=0, start=None, end=None, step=1):
  start, end = _bounds(x.shape[dim], start, end)
  where = (slice(None),) * (dim % x.ndim) + (slice(start, end, step),)
  return x.at[where].set(source)


def _select_scatter(x, source, dim, index):
  return x.at[(slice(None),) * (dim % x.ndim) + (index,)].set(source)


OPERATIONS: dict[str, Callable[..., Any]] = {
  "getitem": operator.getitem,
  "sym_size.int": lambda x, dim: x.shape[dim],
  "sym_numel": lambda x: x.size,
  "view": _view,
  "reshape": _view,
  "_unsafe_view": _view,
  "permute": _permute,
  "t": jnp.transpose,
  "transpose.int": jnp.swapaxes,
  "expand": _expand,
  "squeeze": _squeeze,
  "squeeze.dim": _squeeze,
  "squeeze.dims": _squeeze,
  "unsqueeze": _unsqueeze,
  "slice.Tensor": _slice,
  "select.int": _select,
  "narrow": _narrow,
  "split_with_sizes": _split_with_sizes,
  "split.Tensor": _split,
  "unbind.int": _unbind,
  "cat": _cat,
  "stack": _stack,
  "repeat": _repeat,
  "constant_pad_nd": _constant_pad,
  "reflection_pad1d": _padded_by("reflect"),
  "reflection_pad2d": _padded_by("reflect"),
  "replication_pad2d": _padded_by("edge"),
  "flip": _flip,
  "roll": _roll,
  "unfold": _unfold,
  "as_strided": _as_strided,
  "arange": _arange,
  "arange.start": _arange,
  "arange.start_step": _arange,
  "full": _full,
  "full_like": _full_like,
  "scalar_tensor": _scalar_tensor,
  "zeros": _filled(0),
  "ones": _filled(1),
  "empty.memory_format": _filled(0),
  "zeros_like": _filled_like(0),
  "ones_like": _filled_like(1),
  "empty_like": _filled_like(0),
  "new_full": _new_full,
  "new_zeros": lambda x, size, *, dtype=None: _new_full(
    x, size, 0, dtype=dtype
  ),
  "new_ones": lambda x, size, *, dtype=None: _new_full(x, size, 1, dtype=dtype),
  "linspace": _linspace,
  "eye": _eye,
  "eye.m": _eye,
  "tril": _triangle(jnp.tril),
  "triu": _triangle(jnp.triu),
  "diagonal": _diagonal,
  "pixel_shuffle": _pixel_shuffle,
  "pixel_unshuffle": _pixel_unshuffle,
  "copy": _copy,
  "fill.Scalar": _fill,
  "slice_scatter": _slice_scatter,
  "select_scatter": _select_scatter,
}
