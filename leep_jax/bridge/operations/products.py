"""Matrix products, attention and convolutions."""

from collections.abc import Callable
import math
from typing import Any

import jax
import jax.numpy as jnp

from leep_jax.bridge.operations import elementwise


def _linear(x, weight, bias=None):
  y = jax.lax.dot_general(x, weight, (((x.ndim - 1,), (1,)), ((), ())))
  return y if bias is None else _plus(y, bias)


def _plus(x, y):
  x, y = elementwise.same_rank(x, y)
  return x + y


def _addmm(bias, x, y, *, beta=1, alpha=1):
  product = jnp.matmul(x, y)
  product = product if alpha == 1 else product * alpha
  return _plus(product, bias if beta == 1 else bias * beta)


def _attention(
  query, key, value, mask=None, dropout_p=0.0, is_causal=False, *,
  scale=None, enable_gqa=False,
):  # fmt: skip
  """Softmax of scaled products of queries and keys, times the values."""
  if enable_gqa:
    groups = query.shape[-3] // key.shape[-3]
    key, value = (jnp.repeat(x, groups, -3) for x in (key, value))
  scale = 1 / math.sqrt(query.shape[-1]) if scale is None else scale
  scores = jnp.matmul(query * scale, jnp.swapaxes(key, -1, -2))
  if is_causal:
    shape = scores.shape[-2:]
    mask = jnp.tril(jnp.ones(shape, bool))
  if mask is not None:
    scores, mask = elementwise.same_rank(scores, mask)
    if mask.dtype == jnp.bool_:
      # A row without any key gets zeros, as in PyTorch.
      seen = jnp.any(mask, -1, keepdims=True)
      scores = jnp.where(mask, scores, -jnp.inf)
      weights = jax.nn.softmax(jnp.where(seen, scores, 0), -1)
      weights = jnp.where(seen, weights, 0).astype(value.dtype)
      return jnp.matmul(weights, value)
    scores = scores + mask
  return jnp.matmul(jax.nn.softmax(scores, -1).astype(value.dtype), value)


def per_axis(value: Any, rank: int) -> list[Any]:
  """Returns one number an axis.

  Args:
    value: one number for all axes, or a list of one or of `rank` numbers.
    rank: number of axes.

  Example:
    >>> from leep_jax.bridge.operations import products
    >>> products.per_axis(2, 3), products.per_axis([1, 2], 2)
    ([2, 2, 2], [1, 2])
  """
  values = value if isinstance(value, (list, tuple)) else [value]
  return list(values) * rank if len(values) == 1 else list(values)


def _convolution(
  x, weight, bias, stride, padding, dilation, transposed=False,
  output_padding=0, groups=1,
):  # fmt: skip
  """A convolution of one to three axes, of `[B, C, ...]`."""
  rank = weight.ndim - 2
  stride, padding, dilation, output_padding = (
    per_axis(value, rank)
    for value in (stride, padding, dilation, output_padding)
  )
  axes = "DHW"[3 - rank :]
  form = f"NC{axes}"
  pads = [(p, p) for p in padding]
  options: dict[str, Any] = {"window_strides": stride}
  if transposed:
    weight = _as_forward(weight, groups)
    # Zeros between the numbers of x stand for the stride.
    reach = [d * (k - 1) for d, k in zip(dilation, weight.shape[2:])]  # noqa: B905
    pads = [
      (r - p, r - p + extra)
      for r, p, extra in zip(reach, padding, output_padding, strict=True)
    ]
    options = {"window_strides": [1] * rank, "lhs_dilation": stride}
  y = jax.lax.conv_general_dilated(
    x,
    weight.astype(x.dtype),
    padding=pads,
    rhs_dilation=dilation,
    dimension_numbers=(form, f"OI{axes}", form),
    feature_group_count=groups,
    **options,
  )
  if bias is None:
    return y
  return _plus(y, bias.reshape(-1, *(1,) * rank))


def _as_forward(weight, groups):
  """The weight of the convolution that a transposed one is, flipped."""
  inputs, outputs, *size = weight.shape
  weight = weight.reshape(groups, inputs // groups, outputs, *size)
  weight = jnp.swapaxes(weight, 1, 2)
  weight = weight.reshape(groups * outputs, inputs // groups, *size)
  return jnp.flip(weight, tuple(range(2, weight.ndim)))


def _convolution_of(x, weight, bias=None, stride=1, padding=0, dilation=1,
                    groups=1):  # fmt: skip
  return _convolution(x, weight, bias, stride, padding, dilation, groups=groups)


def _grouped(x, weights, ends):
  """Each row times the matrix of its group; rows of a group are together.

  Args:
    x: `[S, K]`.
    weights: `[E, K, N]`, of the experts of a mixture, for example.
    ends: `[E]`, where each group ends; rows after the last one give 0.
  """
  # Every row meets every matrix: `jax.lax.ragged_dot` has no rule for batches.
  group = jnp.searchsorted(ends, jnp.arange(len(x)), side="right")

  def add(total, expert):
    number, weight = expert
    mine = jnp.where((group == number)[:, None], x, 0)
    return total + mine @ weight, None

  zeros = jnp.zeros((len(x), weights.shape[2]), x.dtype)
  numbers = jnp.arange(len(weights))
  return jax.lax.scan(add, zeros, (numbers, weights))[0]


OPERATIONS: dict[str, Callable[..., Any]] = {
  "linear": _linear,
  "addmm": _addmm,
  "mm": jnp.matmul,
  "bmm": jnp.matmul,
  "matmul": jnp.matmul,
  "baddbmm": _addmm,
  "mv": jnp.matmul,
  "dot": jnp.dot,
  "scaled_dot_product_attention": _attention,
  "convolution": _convolution,
  "transformers.grouped_mm_fallback.default": _grouped,
  "_grouped_mm": _grouped,
  "conv1d": _convolution_of,
  "conv2d": _convolution_of,
}
