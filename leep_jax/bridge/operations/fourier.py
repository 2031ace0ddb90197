"""Fourier transforms and complex numbers, as FNet and GFNet have them."""

from collections.abc import Callable, Sequence
import math
from typing import Any

import jax
import jax.numpy as jnp

# PyTorch's numbers for what a transform is divided by: the transform's length
# to this power.
_POWERS = {0: 0.0, 1: 0.5, 2: 1.0}


def _scaled(y, lengths, normalization):
  return y / math.prod(lengths) ** _POWERS[normalization]


def _complex_to_complex(x, dim, normalization, forward):
  transform = jnp.fft.fftn if forward else jnp.fft.ifftn
  lengths = [x.shape[d] for d in dim]
  # JAX divides the inverse by the length.
  y = transform(x, axes=tuple(dim)) * (1 if forward else math.prod(lengths))
  return _scaled(y, lengths, normalization)


def _real_to_complex(x, dim, normalization, onesided):
  x = x.astype(jnp.float32)  # there is no transform of bfloat16
  transform = jnp.fft.rfftn if onesided else jnp.fft.fftn
  y = transform(x, axes=tuple(dim))
  return _scaled(y, [x.shape[d] for d in dim], normalization)


def _complex_to_real(x, dim: Sequence[int], normalization, last_dim_size):
  lengths = [*(x.shape[d] for d in dim[:-1]), last_dim_size]
  y = jnp.fft.irfftn(x, s=lengths, axes=tuple(dim)) * math.prod(lengths)
  return _scaled(y, lengths, normalization)


def _as_real(x):
  return jnp.stack([x.real, x.imag], axis=-1)


def _as_complex(x):
  return jax.lax.complex(x[..., 0], x[..., 1])


OPERATIONS: dict[str, Callable[..., Any]] = {
  "_fft_c2c": _complex_to_complex,
  "_fft_r2c": _real_to_complex,
  "_fft_c2r": _complex_to_real,
  "view_as_real": _as_real,
  "view_as_complex": _as_complex,
}
