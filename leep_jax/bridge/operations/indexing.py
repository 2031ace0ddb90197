"""Operations that pick numbers by their indices, or put them there."""

from collections.abc import Callable
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np

from leep_jax import validation


def _whole(indices):
  """One index an axis, with a full slice where PyTorch has None."""
  return tuple(slice(None) if i is None else i for i in indices)


def _check_static(indices):
  for index in indices:
    if getattr(index, "dtype", None) == jnp.bool_ and not isinstance(
      index, np.ndarray
    ):
      raise validation.InputError(
        "a mask picks as many numbers as there happen to be, which a compiled "
        "program cannot have"
      )


def _index(x, indices):
  indices = [None if i is None else _concrete_mask(i) for i in indices]
  _check_static(indices)
  return x[_whole(indices)]


def _concrete_mask(index):
  # A mask of constants is known when the program is traced.
  if getattr(index, "dtype", None) == jnp.bool_:
    try:
      return np.asarray(index)
    except Exception:  # it depends on the input
      return index
  return index


def _index_put(x, indices, values, accumulate=False):
  indices = [None if i is None else _concrete_mask(i) for i in indices]
  (first, *others) = [i for i in indices if i is not None]
  if (
    not others
    and getattr(first, "dtype", None) == jnp.bool_
    and (jnp.size(values) == 1 and not accumulate)
  ):
    # A mask and one number: no number of places needs to be known.
    mask = jnp.asarray(first)
    mask = mask.reshape(mask.shape + (1,) * (x.ndim - mask.ndim))
    return jnp.where(mask, jnp.reshape(values, (1,) * x.ndim), x)
  _check_static(indices)
  at = x.at[_whole(indices)]
  values = values.astype(x.dtype)
  return at.add(values) if accumulate else at.set(values)


def _index_select(x, dim, index):
  return jnp.take(x, index, axis=dim)


def _gather(x, dim, index, *, sparse_grad=False):
  # Other axes of the index may be shorter.
  dim %= x.ndim
  shape = [
    slice(None) if a == dim else slice(n) for a, n in enumerate(index.shape)
  ]
  return jnp.take_along_axis(x[tuple(shape)], index, dim)


def _where_scattered(x, dim, index):
  grid = list(jnp.ix_(*(jnp.arange(n) for n in index.shape)))
  grid[dim % x.ndim] = index
  return tuple(jnp.broadcast_arrays(*grid))


def _scatter(x, dim, index, source):
  where = _where_scattered(x, dim, index)
  if jnp.ndim(source):
    source = source[tuple(slice(n) for n in index.shape)]
  return x.at[where].set(source)


def _scatter_add(x, dim, index, source):
  where = _where_scattered(x, dim, index)
  return x.at[where].add(source[tuple(slice(n) for n in index.shape)])


def _embedding(weight, index, padding_idx=-1, scale=False, sparse=False):
  return jnp.take(weight, index, axis=0)


def _one_hot(index, num_classes=-1):
  return jax.nn.one_hot(index, num_classes, dtype=jnp.int32)


def _bucketize(x, boundaries, *, out_int32=False, right=False):
  return jnp.searchsorted(
    boundaries, x, side="right" if right else "left"
  ).astype(jnp.int32)


OPERATIONS: dict[str, Callable[..., Any]] = {
  "index.Tensor": _index,
  "index_put": _index_put,
  "index_select": _index_select,
  "gather": _gather,
  "scatter.src": _scatter,
  "scatter.value": _scatter,
  "scatter_add": _scatter_add,
  "embedding": _embedding,
  "one_hot": _one_hot,
  "bucketize.Tensor": _bucketize,
}
