"""Operations that take an axis together: sums, maxima, softmax, sorting."""

from collections.abc import Callable
from typing import Any

import jax
import jax.numpy as jnp


def _axes(x, dim):
  """The axes of a reduction; None or an empty list means all."""
  if dim is None or (isinstance(dim, (list, tuple)) and not dim):
    return tuple(range(x.ndim))
  dims = dim if isinstance(dim, (list, tuple)) else [dim]
  return tuple(d % x.ndim for d in dims) if x.ndim else ()


def _mean(x, dim=None, keepdim=False, *, dtype=None):
  return jnp.mean(x, _axes(x, dim), dtype, keepdims=keepdim)


def _sum(x, dim=None, keepdim=False, *, dtype=None):
  return jnp.sum(x, _axes(x, dim), dtype, keepdims=keepdim)


def _prod(x, dim=None, keepdim=False, *, dtype=None):
  return jnp.prod(x, _axes(x, dim), dtype, keepdims=keepdim)


def _amax(x, dim=(), keepdim=False):
  return jnp.max(x, _axes(x, dim), keepdims=keepdim)


def _amin(x, dim=(), keepdim=False):
  return jnp.min(x, _axes(x, dim), keepdims=keepdim)


def _extremum(values, indices):
  def reduce(x, dim, keepdim=False):
    return (
      values(x, dim, keepdims=keepdim),
      indices(x, dim, keepdims=keepdim).astype(jnp.int32),
    )

  return reduce


def _argument(function):
  def reduce(x, dim=None, keepdim=False):
    return function(x, dim, keepdims=keepdim).astype(jnp.int32)

  return reduce


def _any(x, dim=None, keepdim=False):
  return jnp.any(x, _axes(x, dim), keepdims=keepdim)


def _all(x, dim=None, keepdim=False):
  return jnp.all(x, _axes(x, dim), keepdims=keepdim)


def _norm(x, ord=2, dim=None, keepdim=False, *, dtype=None):
  if dtype is not None:
    x = x.astype(dtype)
  axes = _axes(x, dim)
  size = jnp.abs(x)
  if ord == float("inf"):
    return jnp.max(size, axes, keepdims=keepdim)
  if ord == float("-inf"):
    return jnp.min(size, axes, keepdims=keepdim)
  if ord == 0:
    return jnp.sum(size != 0, axes, x.dtype, keepdims=keepdim)
  if ord == 1:
    return jnp.sum(size, axes, keepdims=keepdim)
  if ord == 2:
    return jnp.sqrt(jnp.sum(x * x, axes, keepdims=keepdim))
  return jnp.sum(size**ord, axes, keepdims=keepdim) ** (1 / ord)


def _var(x, dim=None, *, correction=1, keepdim=False):
  correction = 1 if correction is None else correction
  return jnp.var(x, _axes(x, dim), ddof=correction, keepdims=keepdim)


def _var_mean(x, dim=None, *, correction=1, keepdim=False):
  var = _var(x, dim, correction=correction, keepdim=keepdim)
  return var, jnp.mean(x, _axes(x, dim), keepdims=keepdim)


def _std(x, dim=None, *, correction=1, keepdim=False):
  return jnp.sqrt(_var(x, dim, correction=correction, keepdim=keepdim))


def _softmax(x, dim, half_to_float=False):
  return jax.nn.softmax(x, dim)


def _log_softmax(x, dim, half_to_float=False):
  return jax.nn.log_softmax(x, dim)


def _safe_softmax(x, dim, dtype=None):
  # Rows of minus infinity become zeros, not nan.
  x = x if dtype is None else x.astype(dtype)
  empty = jnp.all(jnp.isneginf(x), dim, keepdims=True)
  return jnp.where(empty, 0, jax.nn.softmax(jnp.where(empty, 0, x), dim))


def _logsumexp(x, dim, keepdim=False):
  return jax.nn.logsumexp(x, _axes(x, dim), keepdims=keepdim)


def _cumsum(x, dim, *, dtype=None):
  return jnp.cumsum(x, dim, dtype)


def _cumprod(x, dim, *, dtype=None):
  return jnp.cumprod(x, dim, dtype)


def _topk(x, k, dim=-1, largest=True, sorted=True):
  moved = jnp.moveaxis(x, dim, -1)
  values, indices = jax.lax.top_k(moved if largest else -moved, k)
  values = values if largest else -values
  return jnp.moveaxis(values, -1, dim), jnp.moveaxis(indices, -1, dim)


def _sort(x, dim=-1, descending=False):
  order = jnp.argsort(x, dim, descending=descending, stable=True)
  return jnp.take_along_axis(x, order, dim), order.astype(jnp.int32)


def _sort_stable(x, *, stable=True, dim=-1, descending=False):
  return _sort(x, dim, descending)


def _argsort(x, dim=-1, descending=False):
  return _sort(x, dim, descending)[1]


def _histc(x, bins=100, min=0, max=0):
  x = x.reshape(-1)
  if min == max:
    min, max = jnp.min(x), jnp.max(x)
  place = jnp.floor((x - min) * (bins / (max - min))).astype(jnp.int32)
  # The last bin has both of its ends; what is outside is in none.
  place = jnp.where(x == max, bins - 1, place)
  place = jnp.where((x < min) | (x > max), bins, place)
  return jnp.zeros(bins, x.dtype).at[place].add(1, mode="drop")


OPERATIONS: dict[str, Callable[..., Any]] = {
  "mean": _mean,
  "mean.dim": _mean,
  "sum": _sum,
  "sum.dim_IntList": _sum,
  "prod": lambda x, *, dtype=None: _prod(x, dtype=dtype),
  "prod.dim_int": _prod,
  "amax": _amax,
  "amin": _amin,
  "max": jnp.max,
  "min": jnp.min,
  "max.dim": _extremum(jnp.max, jnp.argmax),
  "min.dim": _extremum(jnp.min, jnp.argmin),
  "argmax": _argument(jnp.argmax),
  "argmin": _argument(jnp.argmin),
  "any": _any,
  "any.dim": _any,
  "any.dims": _any,
  "all": _all,
  "all.dim": _all,
  "linalg_vector_norm": _norm,
  "norm.ScalarOpt_dim": lambda x, p, dim, keepdim=False: _norm(
    x, 2 if p is None else p, dim, keepdim
  ),
  "var.correction": _var,
  "var.dim": lambda x, dim, unbiased=True, keepdim=False: _var(
    x, dim, correction=int(unbiased), keepdim=keepdim
  ),
  "var_mean.correction": _var_mean,
  "std.correction": _std,
  "_softmax": _softmax,
  "_safe_softmax": _safe_softmax,
  "_log_softmax": _log_softmax,
  "logsumexp": _logsumexp,
  "cumsum": _cumsum,
  "cumprod": _cumprod,
  "topk": _topk,
  "sort": _sort,
  "sort.stable": _sort_stable,
  "argsort": _argsort,
  "histc": _histc,
}
