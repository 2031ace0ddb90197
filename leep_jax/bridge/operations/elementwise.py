"""Operations on each number by itself, and on pairs of numbers."""

from collections.abc import Callable, Sequence
import functools
import math
import operator
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np


def same_rank(*values: Any) -> list[Any]:
  """Gives arrays equally many axes, as PyTorch does before it broadcasts.

  Args:
    *values: arrays, and Python numbers, which stay as they are.

  Example:
    >>> import jax.numpy as jnp
    >>> from leep_jax.bridge.operations import elementwise
    >>> a, b, c = elementwise.same_rank(jnp.ones((2, 3)), jnp.ones(3), 2.0)
    >>> b.shape, c
    ((1, 3), 2.0)
  """
  rank = max((np.ndim(value) for value in values), default=0)
  return [
    jnp.expand_dims(value, tuple(range(rank - np.ndim(value))))
    if isinstance(value, (jax.Array, np.ndarray)) and np.ndim(value) < rank
    else value
    for value in values
  ]


def _broadcast(function: Callable[..., Any]) -> Callable[..., Any]:
  """Returns a function whose arrays are broadcast by PyTorch's rule."""

  @functools.wraps(function)
  def broadcast(*args: Any, **kwargs: Any) -> Any:
    return function(*same_rank(*args), **kwargs)

  return broadcast


def _real(function: Callable[..., Any]) -> Callable[..., Any]:
  """Returns a function that takes integers as real numbers, as PyTorch does."""

  @functools.wraps(function)
  def real(x, *args, **kwargs):
    x = jnp.asarray(x)
    if not jnp.issubdtype(x.dtype, jnp.floating):
      x = x.astype(jnp.float32)
    return function(x, *args, **kwargs)

  return real


def _add(x, y, *, alpha=1):
  scaled = y if alpha == 1 else y * alpha
  if _is_bool(x) and _is_bool(scaled):
    return x | scaled
  return x + scaled


def _mul(x, y):
  return x & y if _is_bool(x) and _is_bool(y) else x * y


def _is_bool(x):
  return getattr(x, "dtype", None) == jnp.bool_ or isinstance(x, bool)


def _sub(x, y, *, alpha=1):
  return x - (y if alpha == 1 else y * alpha)


def _div(x, y, *, rounding_mode=None):
  if rounding_mode is None:
    return jnp.true_divide(x, y)
  if rounding_mode == "floor":
    return jnp.floor_divide(x, y)
  if jnp.issubdtype(jnp.result_type(x, y), jnp.integer):
    return jax.lax.div(*_promoted(x, y))
  return jnp.trunc(x / y)


def _promoted(x, y):
  x, y = jnp.broadcast_arrays(jnp.asarray(x), jnp.asarray(y))
  dtype = jnp.result_type(x, y)
  return x.astype(dtype), y.astype(dtype)


def _fmod(x, y):
  # The sign is that of x, in JAX's `remainder` that of y.
  return jax.lax.rem(*_promoted(x, _like(x, y)))


def _like(x, number):
  """A Python number with the type that the result has."""
  if isinstance(number, (bool, int, float)):
    return jnp.asarray(number, jnp.result_type(x, number))
  return number


def _pow(x, y):
  # A product is exact and differentiable at 0, where a power need not be.
  if isinstance(y, (int, float)) and y in (2, 3) and not isinstance(y, bool):
    return x * x if y == 2 else x * x * x
  return jnp.power(x, _like(x, y))


def _clamp(x, min=None, max=None):
  if min is not None:
    x = jnp.maximum(x, min)
  return x if max is None else jnp.minimum(x, max)


def _gelu(x, *, approximate="none"):
  return jax.nn.gelu(x, approximate=approximate == "tanh")


def _hardtanh(x, min_val=-1.0, max_val=1.0):
  return jnp.clip(x, min_val, max_val)


def _leaky_relu(x, negative_slope=0.01):
  return jnp.where(x > 0, x, x * negative_slope)


def _elu(x, alpha=1.0, scale=1.0, input_scale=1.0):
  # Below 0 only: the exponential of a large number is infinite.
  negative = alpha * jnp.expm1(jnp.minimum(x, 0) * input_scale)
  return scale * jnp.where(x > 0, x, negative)


def _softplus(x, beta=1.0, threshold=20.0):
  return jnp.where(x * beta > threshold, x, jax.nn.softplus(x * beta) / beta)


def _hardswish(x):
  return x * jnp.clip(x + 3, 0, 6) / 6


def _hardsigmoid(x):
  return jnp.clip(x + 3, 0, 6) / 6


def _mish(x):
  return x * jnp.tanh(jax.nn.softplus(x))


def _where(condition, x, y):
  return jnp.where(condition, x, y)


def _masked_fill(x, mask, value):
  return jnp.where(mask, jnp.asarray(value, x.dtype), x)


def _to_copy(x, *, dtype=None, non_blocking=False):
  return x if dtype is None else jnp.asarray(x).astype(dtype)


def _same(x, *_, **__):
  return x


def _prelu(x, weight):
  # One slope a channel, which is the second axis; or one for all.
  if weight.size > 1:
    weight = weight.reshape(-1, *(1,) * (x.ndim - 2))
  return _prelu_kernel(x, weight)


def _prelu_kernel(x, weight):
  x, weight = same_rank(x, weight)
  return jnp.where(x > 0, x, x * weight)


def _nan_to_num(x, nan=None, posinf=None, neginf=None):
  return jnp.nan_to_num(x, nan=nan or 0.0, posinf=posinf, neginf=neginf)


def _glu(x, dim=-1):
  return jax.nn.glu(x, axis=dim)


_COMPARE: dict[str, Callable[..., Any]] = {
  "eq": jnp.equal, "ne": jnp.not_equal, "lt": jnp.less, "le": jnp.less_equal,
  "gt": jnp.greater, "ge": jnp.greater_equal,
}  # fmt: skip
_PAIRS: dict[str, Callable[..., Any]] = {
  "add": _add, "sub": _sub, "mul": _mul, "div": _div, "pow": _pow,
  "fmod": _fmod, "remainder": jnp.remainder,
  "bitwise_and": jnp.bitwise_and, "bitwise_or": jnp.bitwise_or,
  "bitwise_xor": jnp.bitwise_xor, **_COMPARE,
}  # fmt: skip
# Overloads differ in which operands are Python numbers.
_OVERLOADS: dict[str, Sequence[str]] = {
  "div": ("Tensor", "Scalar", "Tensor_mode", "Scalar_mode"),
  "pow": ("Tensor_Tensor", "Tensor_Scalar", "Scalar"),
}
_UNARY: dict[str, Callable[..., Any]] = {
  "abs": jnp.abs, "neg": jnp.negative, "sign": jnp.sign, "ceil": jnp.ceil,
  "floor": jnp.floor, "trunc": jnp.trunc, "round": jnp.round,
  "relu": jax.nn.relu, "relu6": jax.nn.relu6, "bitwise_not": jnp.bitwise_not,
  "logical_not": jnp.logical_not, "isinf": jnp.isinf, "isnan": jnp.isnan,
  "square": jnp.square,
}  # fmt: skip
_UNARY_REAL: dict[str, Callable[..., Any]] = {
  "exp": jnp.exp, "expm1": jnp.expm1, "log": jnp.log, "log1p": jnp.log1p,
  "log2": jnp.log2, "sqrt": jnp.sqrt, "rsqrt": jax.lax.rsqrt,
  "reciprocal": jnp.reciprocal, "sin": jnp.sin, "cos": jnp.cos,
  "tan": jnp.tan, "atan": jnp.arctan, "asin": jnp.arcsin,
  "acos": jnp.arccos, "sinh": jnp.sinh, "cosh": jnp.cosh, "tanh": jnp.tanh,
  "erf": jax.lax.erf, "sigmoid": jax.nn.sigmoid, "silu": jax.nn.silu,
}  # fmt: skip
# Of one array, with the same result in any order of its axes.
UNARY: dict[str, Callable[..., Any]] = {
  **_UNARY,
  **{name: _real(function) for name, function in _UNARY_REAL.items()},
  "clamp": _clamp,
  "clamp_min": jnp.maximum,
  "clamp_max": jnp.minimum,
  "gelu": _gelu,
  "hardtanh": _hardtanh,
  "leaky_relu": _leaky_relu,
  "elu": _elu,
  "softplus": _softplus,
  "hardswish": _hardswish,
  "hardsigmoid": _hardsigmoid,
  "mish": _mish,
  "nan_to_num": _nan_to_num,
  "_to_copy": _to_copy,
  # The layout in memory is JAX's matter; dropout is off.
  "alias": _same,
  "clone": _same,
  "detach": _same,
  "lift_fresh_copy": _same,
  "contiguous": _same,
}
# Of arrays that are broadcast, with the same result in any order of their axes.
BROADCAST: dict[str, Callable[..., Any]] = {
  **{
    f"{name}.{overload}": _broadcast(function)
    for name, function in _PAIRS.items()
    for overload in _OVERLOADS.get(name, ("Tensor", "Scalar"))
  },
  "where.self": _broadcast(_where),
  "where.ScalarOther": _broadcast(_where),
  "where.ScalarSelf": _broadcast(_where),
  "masked_fill.Scalar": _broadcast(_masked_fill),
  "masked_fill.Tensor": _broadcast(_masked_fill),
  "maximum": _broadcast(jnp.maximum),
  "minimum": _broadcast(jnp.minimum),
  "logical_and": _broadcast(jnp.logical_and),
  "logical_or": _broadcast(jnp.logical_or),
  "logical_xor": _broadcast(jnp.logical_xor),
  "atan2": _broadcast(jnp.arctan2),
  "clamp.Tensor": lambda x, min=None, max=None: _clamp(*same_rank(x, min, max)),
}
_PYTHON: dict[str, Callable[..., Any]] = {
  "add": operator.add, "sub": operator.sub, "mul": operator.mul,
  "floordiv": operator.floordiv, "truediv": operator.truediv,
  "mod": operator.mod, "pow": operator.pow, "neg": operator.neg,
  "eq": operator.eq, "ne": operator.ne, "lt": operator.lt, "le": operator.le,
  "gt": operator.gt, "ge": operator.ge, "sym_max": max, "sym_min": min,
  "sym_float": float, "ceil": math.ceil, "floor": math.floor,
  "trunc": math.trunc, "sym_ite": lambda test, a, b: a if test else b,
}  # fmt: skip
OPERATIONS: dict[str, Callable[..., Any]] = {
  **UNARY,
  **BROADCAST,
  "prelu": _prelu,
  "_prelu_kernel": _prelu_kernel,
  "glu": _glu,
  # Arithmetic with lengths of axes, which are Python's integers.
  **{f"python.{name}": function for name, function in _PYTHON.items()},
}
