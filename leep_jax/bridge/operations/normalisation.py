"""Batch, layer, group and instance norms, in evaluation mode."""

from collections.abc import Callable
import math
from typing import Any

import jax
import jax.numpy as jnp


def _by_channel(vector, rank):
  """A vector of one number a channel, to be multiplied with `[B, C, ...]`."""
  return vector.reshape(1, -1, *(1,) * (rank - 2))


def _batch_norm(x, weight, bias, running_mean, running_var, momentum, eps):
  """BatchNorm by its running statistics."""
  # One product and one sum: the vectors are made once.
  scale = jax.lax.rsqrt(running_var.astype(jnp.float32) + eps)
  scale = scale if weight is None else scale * weight
  shift = -running_mean * scale
  shift = shift if bias is None else shift + bias
  scale, shift = (
    _by_channel(v.astype(x.dtype), x.ndim) for v in (scale, shift)
  )
  return x * scale + shift, None, None


def _batch_norm_of_batch(x, weight, bias, training, momentum, eps):
  """BatchNorm by the statistics of the input: of each image here."""
  axes = (0, *range(2, x.ndim))
  mean = jnp.mean(x, axes)
  var = jnp.var(x, axes)
  return _batch_norm(x, weight, bias, mean, var, momentum, eps)


def _layer_norm(x, shape, weight, bias, eps):
  axes = tuple(range(x.ndim - len(shape), x.ndim))
  # Sums of many numbers: in float32, whatever the network's type.
  wide = x.astype(jnp.float32)
  mean = jnp.mean(wide, axes, keepdims=True)
  var = jnp.mean(jnp.square(wide - mean), axes, keepdims=True)
  inverse = jax.lax.rsqrt(var + eps)
  y = (wide - mean) * inverse
  for vector, function in ((weight, jnp.multiply), (bias, jnp.add)):
    if vector is not None:
      ones = (1,) * (x.ndim - vector.ndim)
      y = function(y, vector.reshape(*ones, *vector.shape))
  return y.astype(x.dtype), mean, inverse


def _group_norm(x, weight, bias, n, channels, size, groups, eps):
  flat = x.reshape(x.shape[0], groups, -1).astype(jnp.float32)
  mean = jnp.mean(flat, -1, keepdims=True)
  var = jnp.mean(jnp.square(flat - mean), -1, keepdims=True)
  inverse = jax.lax.rsqrt(var + eps)
  y = ((flat - mean) * inverse).reshape(x.shape)
  if weight is not None:
    y = y * _by_channel(weight, x.ndim)
  if bias is not None:
    y = y + _by_channel(bias, x.ndim)
  return y.astype(x.dtype), mean[..., 0], inverse[..., 0]


def _of_group_norm(x, groups, weight=None, bias=None, eps=1e-5, cudnn=True):
  size = math.prod(x.shape[2:])
  return _group_norm(
    x, weight, bias, x.shape[0], x.shape[1], size, groups, eps
  )[0]


def _of_layer_norm(x, shape, weight=None, bias=None, eps=1e-5, cudnn=True):
  return _layer_norm(x, shape, weight, bias, eps)[0]


def _rms_norm(x, shape, weight=None, eps=None):
  axes = tuple(range(x.ndim - len(shape), x.ndim))
  wide = x.astype(jnp.float32)
  eps = jnp.finfo(x.dtype).eps if eps is None else eps
  y = wide * jax.lax.rsqrt(jnp.mean(wide * wide, axes, keepdims=True) + eps)
  if weight is not None:
    y = y * weight.reshape((1,) * (x.ndim - weight.ndim) + weight.shape)
  return y.astype(x.dtype)


def _evaluation_batch_norm(
  x, weight, bias, mean, var, training, momentum, eps, cudnn=True
):
  return _batch_norm(x, weight, bias, mean, var, momentum, eps)[0]


OPERATIONS: dict[str, Callable[..., Any]] = {
  "_native_batch_norm_legit_no_training": _batch_norm,
  "_native_batch_norm_legit.no_stats": _batch_norm_of_batch,
  "batch_norm": _evaluation_batch_norm,
  "native_layer_norm": _layer_norm,
  "layer_norm": _of_layer_norm,
  "native_group_norm": _group_norm,
  "group_norm": _of_group_norm,
  "rms_norm": _rms_norm,
}
