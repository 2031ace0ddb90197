"""What a function computes, as a value: the operations that JAX traces in it.

Functions that compute the same are equal here, whatever Python made them. Their
compiled programs can then be shared, and need not keep the arrays that a
function refers to, such as the weights of a network in a closure.
"""

from collections.abc import Callable, Iterator, Sequence
import dataclasses
import functools
import hashlib
import re
import types
from typing import Any

import jax
import numpy as np

# The largest array, in bytes, that is part of the operations. A larger one may
# be weights, which no compiled program may keep.
_TABLE_BYTES = 1 << 16
# JAX prints some operations with the addresses of Python functions.
_ADDRESS = re.compile(r"0x[0-9a-fX]+")
_FUNCTIONS = (types.FunctionType, types.MethodType, functools.partial)
# Operations that only call an inner jaxpr, which can stand in their place.
_CALLS = frozenset(
  {
    "jit", "pjit", "closed_call", "core_call", "remat", "remat2", "checkpoint",
    "custom_jvp_call", "custom_vjp_call", "custom_vjp_call_jaxpr",
  }
)  # fmt: skip


@dataclasses.dataclass(frozen=True)
class Table:
  """A small NumPy array as a value, such as the mean of each channel.

  XLA divides by a constant in another way than by an argument. With values that
  the compiler knows, results are those of the function itself, to the last bit.

  Example:
    >>> import numpy as np
    >>> from leep_jax.engine import tracing
    >>> table = tracing.Table.of(np.array([0.5, 2.0]))
    >>> table == tracing.Table.of(np.array([0.5, 2.0])), table.array().tolist()
    (True, [0.5, 2.0])
  """

  content: bytes
  dtype: np.dtype
  shape: tuple[int, ...]

  @classmethod
  def of(cls, constant: jax.Array | np.ndarray) -> "Table | None":
    """Returns the table, or None for what may be a network's weights."""
    if isinstance(constant, jax.Array) or constant.nbytes > _TABLE_BYTES:
      return None
    array = np.asarray(constant)
    return cls(array.tobytes(), array.dtype, array.shape)

  def array(self) -> np.ndarray:
    """Returns the array."""
    return np.frombuffer(self.content, self.dtype).reshape(self.shape)


@dataclasses.dataclass(frozen=True, eq=False)
class Traced:
  """The operations of a function of arrays, from `trace`.

  Attributes:
    text: the operations, as JAX prints them.
    jaxpr: the same as JAX's data structure, with the constants of the function
      as its first arguments or as its constants.
    shapes: of the results, a pytree of `jax.ShapeDtypeStruct`.
    tables: for each constant its value, or None for one that is an argument.
    is_value: whether the text and the tables say all that the function
      computes. They do not for one that calls Python, whose code is unknown.
      Such a function is equal to itself only.

  Example:
    >>> import jax.numpy as jnp
    >>> from leep_jax.engine import programs
    >>> x = jnp.ones(3)
    >>> one, _ = programs.trace(lambda x: 2 * x, x)
    >>> other, _ = programs.trace(lambda y: 2 * y, x)
    >>> one == other
    True
  """

  text: str
  jaxpr: Any
  shapes: Any
  tables: tuple[Table | None, ...]
  is_value: bool

  def given(self, constants: Sequence[Any]) -> list[Any]:
    """Returns those of the constants that a call takes: all but the tables."""
    return [c for c, t in zip(constants, self.tables, strict=True) if t is None]

  def __call__(self, *args: Any) -> Any:
    """Computes the function of its arguments and, last, `given` constants."""
    given = iter(args[-1])
    constants = [t.array() if t else next(given) for t in self.tables]
    values = [*constants, *jax.tree.leaves(args[:-1])]
    count = len(self.jaxpr.constvars)
    results = jax.core.eval_jaxpr(self.jaxpr, values[:count], *values[count:])
    return jax.tree.unflatten(jax.tree.structure(self.shapes), results)

  def __eq__(self, other: object) -> bool:
    return isinstance(other, Traced) and self._key == other._key

  def __hash__(self) -> int:
    return hash(self._key)

  @functools.cached_property
  def _key(self):
    digest = hashlib.sha256(self.text.encode()).hexdigest()
    unique = 0 if self.is_value else id(self)
    return digest, jax.tree.structure(self.shapes), self.tables, unique


def trace(
  function: Callable[..., Any],
  *args: Any,
  axis_env: list[tuple[str, int]] | None = None,
) -> tuple[Traced, list[Any]]:
  """Returns the operations of a function, and the arrays that it refers to.

  Args:
    function: pure, of pytrees of arrays.
    *args: its arguments: arrays, or shapes (`jax.ShapeDtypeStruct`).
    axis_env: axes over which it may sum, with their sizes.

  Example:
    >>> import jax, jax.numpy as jnp
    >>> from leep_jax.engine import tracing
    >>> def scale(weights):
    ...   return jax.jit(lambda x: x @ weights)  # the user's own jit
    >>> x = jnp.ones((2, 3))
    >>> one, constants = tracing.trace(scale(jnp.ones(3)), x)
    >>> one(x, one.given(constants)).tolist()
    [3.0, 3.0]
    >>> other, constants = tracing.trace(scale(jnp.zeros(3)), x)
    >>> one == other, one(x, one.given(constants)).tolist()
    (True, [0.0, 0.0])
  """

  def jaxpr_of(function, *args, **options):
    return jax.make_jaxpr(function, axis_env=axis_env, **options)(*args)

  closed, shapes = jaxpr_of(function, *args, return_shape=True)
  leaves = jax.tree.leaves(args)
  if _has_inner_constants(closed.jaxpr):
    outer = closed
    closed = jaxpr_of(
      lambda *leaves: _inlined(outer.jaxpr, outer.consts, leaves), *leaves
    )
  jaxpr, constants = closed.jaxpr, list(closed.consts)
  if getattr(jaxpr, "consts", ()):
    # Since JAX 0.11 a jaxpr contains its constants. Traced again as arguments,
    # they are no part of it, and a program does not keep them alive.
    jaxpr = jaxpr_of(
      lambda constants, leaves: jax.core.eval_jaxpr(
        closed.jaxpr, constants, *leaves
      ),
      constants,
      leaves,
    ).jaxpr
  traced = Traced(
    text=_ADDRESS.sub("0x", str(jaxpr)),
    jaxpr=jaxpr,
    shapes=shapes,
    tables=tuple(map(Table.of, constants)),
    is_value=not (_has_inner_constants(jaxpr) or _calls_python(jaxpr)),
  )
  return traced, constants


def _inner(equation: Any) -> Iterator[Any]:
  """Yields the jaxprs that are parameters of an operation."""
  for value in equation.params.values():
    for part in value if type(value) in (tuple, list) else (value,):
      if hasattr(part, "eqns"):
        yield part


def _has_inner_constants(jaxpr: Any) -> bool:
  """Returns whether inner jaxprs contain arrays, which the text does not show.

  A function that the user compiled with `jax.jit` keeps those it refers to.
  """
  return any(
    _has_constants(inner)
    for equation in jaxpr.eqns
    for inner in _inner(equation)
  )


def _has_constants(inner: Any) -> bool:
  """Returns whether an inner jaxpr, or one inside it, contains arrays."""
  return len(getattr(inner, "consts", ())) > 0 or _has_inner_constants(inner)


def _calls_python(jaxpr: Any) -> bool:
  """Returns whether an operation has a Python function, as callbacks do."""
  for equation in jaxpr.eqns:
    name = equation.primitive.name
    if "callback" in name:
      return True
    # Rules of differentiation do not matter: derivatives are traced already.
    if not name.startswith("custom_"):
      for value in equation.params.values():
        if isinstance(value, _FUNCTIONS):
          return True
    if any(map(_calls_python, _inner(equation))):
      return True
  return False


def _inlined(
  jaxpr: Any, constants: Sequence[Any], args: Sequence[Any]
) -> list[Any]:
  """Evaluates a jaxpr; inner jaxprs that contain arrays replace their calls.

  Traced again, these arrays are then constants of the whole function.
  """
  values: dict[Any, Any] = {}

  def read(atom):
    return atom.val if hasattr(atom, "val") else values[atom]

  def write(variables, results):
    values.update(zip(variables, results, strict=True))

  write(jaxpr.constvars, constants)
  write(jaxpr.invars, args)
  for equation in jaxpr.eqns:
    inputs = [read(atom) for atom in equation.invars]
    inner = list(_inner(equation))
    call = equation.primitive.name in _CALLS and len(inner) == 1
    if call and _has_constants(inner[0]):
      called = inner[0]
      body = getattr(called, "jaxpr", called)
      results = _inlined(body, getattr(called, "consts", ()), inputs)
    else:
      bound = equation.primitive.get_bind_params(equation.params)
      # Before JAX 0.11, functions among the parameters are apart.
      functions, params = bound if isinstance(bound, tuple) else ((), bound)
      with equation.ctx.manager:
        results = equation.primitive.bind(*functions, *inputs, **params)
      if not equation.primitive.multiple_results:
        results = [results]
    write(equation.outvars, results)
  return [read(atom) for atom in jaxpr.outvars]
