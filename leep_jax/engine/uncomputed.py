"""Results of programs that were compiled for other devices, and did not run."""

from typing import Any

import jax
import jax.numpy as jnp
import numpy as np


class NotComputed(RuntimeError):
  """A result was read of a program that was only compiled.

  Example:
    >>> from leep_jax.engine import uncomputed
    >>> issubclass(uncomputed.NotComputed, RuntimeError)
    True
  """


class Result(jax.ShapeDtypeStruct):
  """The shape of a result that cannot be read.

  Example:
    >>> import numpy as np
    >>> from leep_jax.engine import uncomputed
    >>> uncomputed.Result((2, 3), np.float32).shape
    (2, 3)
  """

  def _refuse(self, *_: Any, **__: Any) -> Any:
    """Raises `NotComputed`, as all do that read an array."""
    raise NotComputed(
      "this was only compiled, for other devices: there is no result to read"
    )

  __array__ = __getitem__ = __iter__ = _refuse
  addressable_data = block_until_ready = _refuse


def results(tree: Any, *, axes: tuple[int, ...] = ()) -> Any:
  """Returns a `Result` for each array or shape of a pytree.

  Args:
    tree: of arrays, or of anything with a shape and a dtype.
    axes: lengths of axes that are put before those of each array.

  Example:
    >>> import numpy as np
    >>> from leep_jax.engine import uncomputed
    >>> uncomputed.results(np.ones(3), axes=(8,)).shape
    (8, 3)
  """
  return jax.tree.map(
    lambda x: Result((*axes, *np.shape(x)), jnp.result_type(x)), tree
  )


def as_shapes(tree: Any) -> Any:
  """Returns a pytree with `jax.ShapeDtypeStruct` for each `Result`.

  Args:
    tree: of arrays and results. JAX knows no types that are derived from its.

  Example:
    >>> import numpy as np
    >>> from leep_jax.engine import uncomputed
    >>> shape = uncomputed.as_shapes(uncomputed.Result((2,), np.float32))
    >>> type(shape).__name__
    'ShapeDtypeStruct'
  """
  return jax.tree.map(
    lambda x: (
      jax.ShapeDtypeStruct(x.shape, x.dtype) if isinstance(x, Result) else x
    ),
    tree,
  )
