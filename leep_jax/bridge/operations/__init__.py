"""The table of core ATen operations: name -> a function of JAX arrays.

Each function has the arguments of the PyTorch operation of that name
(native_functions.yaml of PyTorch 2.13), without what is about memory. Lists of
results are tuples. Shapes are known when a program is traced, so that lengths
of axes are Python integers.
"""

from collections.abc import Callable
from typing import Any

from leep_jax.bridge.operations import (
  elementwise,
  fourier,
  indexing,
  normalisation,
  pooling,
  products,
  reductions,
  resampling,
  shapes,
)

OPERATIONS: dict[str, Callable[..., Any]] = {
  name: function
  for module in (
    elementwise, shapes, reductions, products, normalisation, pooling,
    resampling, indexing, fourier,
  )
  for name, function in module.OPERATIONS.items()
}  # fmt: skip
