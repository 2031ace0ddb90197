"""Images and tables of positions in another size.

Each axis is multiplied by a matrix that is known before anything runs.
"""

from collections.abc import Callable
import functools
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np


def _centres(size, wanted, align_corners, scale):
  """Where the new numbers lie between the old ones."""
  at = np.arange(wanted, dtype=np.float64)
  if align_corners:
    return at * ((size - 1) / (wanted - 1) if wanted > 1 else 0.0)
  step = 1 / scale if scale else size / wanted
  return (at + 0.5) * step - 0.5


def _cubic(x, a):
  x = np.abs(x)
  near = ((a + 2) * x - (a + 3)) * x * x + 1
  far = ((a * x - 5 * a) * x + 8 * a) * x - 4 * a
  return np.where(x < 1, near, np.where(x < 2, far, 0))


def _triangle(x):
  return np.maximum(1 - np.abs(x), 0)


# Kernel and reach, without and with anti-aliasing: PyTorch takes Pillow's
# parameter of the cubic kernel for the second.
_KERNELS: dict[tuple[str, bool], tuple[Callable[..., Any], int]] = {
  ("bilinear", False): (_triangle, 1),
  ("bilinear", True): (_triangle, 1),
  ("bicubic", False): (functools.partial(_cubic, a=-0.75), 2),
  ("bicubic", True): (functools.partial(_cubic, a=-0.5), 2),
}


@functools.cache
def _matrix(size, wanted, kind, antialias, align_corners, scale):
  """`[wanted, size]`, the weights of the old numbers in each new one."""
  kernel, reach = _KERNELS[kind, antialias]
  if not antialias:
    centres = _centres(size, wanted, align_corners, scale)
    if not align_corners and kind == "bilinear":
      centres = np.maximum(centres, 0)
    matrix = np.zeros((wanted, size))
    first = np.floor(centres).astype(int) - reach + 1
    for offset in range(2 * reach):
      pixel = first + offset
      weight = kernel(centres - pixel)
      # The border is repeated.
      np.add.at(
        matrix, (np.arange(wanted), np.clip(pixel, 0, size - 1)), weight
      )
    return matrix
  step = 1 / scale if scale else size / wanted
  if align_corners:
    step = (size - 1) / (wanted - 1) if wanted > 1 else 0.0
  # Also with aligned corners, PyTorch takes the middle of pixels here.
  centres = (np.arange(wanted) + 0.5) * step - 0.5
  widened = max(step, 1.0)
  weight = kernel((np.arange(size) - centres[:, None]) / widened)
  # Pillow's bounds of the window: numbers further away do not count.
  low = np.maximum((centres + 0.5 - reach * widened + 0.5).astype(int), 0)
  high = np.minimum((centres + 0.5 + reach * widened + 0.5).astype(int), size)
  inside = (np.arange(size) >= low[:, None]) & (np.arange(size) < high[:, None])
  weight = np.where(inside, weight, 0)
  return weight / weight.sum(axis=1, keepdims=True)


def _nearest(size, wanted, scale, exact):
  step = 1 / scale if scale else size / wanted
  at = (np.arange(wanted) + (0.5 if exact else 0)) * step
  return np.minimum(np.floor(at).astype(int), size - 1)


def _sizes(x, size, factors):
  """The new sizes, and the factor of each axis or None.

  Args:
    x: `[B, C, ...]`.
    size: the new sizes; None if the factors say them.
    factors: as overloads `.vec` have them, one list or None; else one number an
      axis, or none at all.
  """
  if len(factors) == 1 and isinstance(factors[0], (list, tuple)):
    (factors,) = factors
    if size is None:
      old = x.shape[-len(factors) :]
      new = [int(n * f) for n, f in zip(old, factors, strict=True)]
      return new, list(factors)
    factors = ()
  scales = factors if len(factors) == len(size) else [None] * len(size)
  return [int(n) for n in size], list(scales)


def _linear(kind, antialias):
  def resample(x, size, align_corners, *factors):
    sizes, scales = _sizes(x, size, factors)
    for i, (wanted, scale) in enumerate(zip(sizes, scales, strict=True)):
      axis = x.ndim - len(sizes) + i
      matrix = _matrix(
        x.shape[axis], wanted, kind, antialias, bool(align_corners), scale
      )
      product = jnp.tensordot(x, jnp.asarray(matrix, x.dtype), (axis, 1))
      x = jnp.moveaxis(product, -1, axis)
    return x

  return resample


def _upsample_nearest(exact):
  def resample(x, size, *factors):
    sizes, scales = _sizes(x, size, factors)
    for i, (wanted, scale) in enumerate(zip(sizes, scales, strict=True)):
      axis = x.ndim - len(sizes) + i
      index = _nearest(x.shape[axis], wanted, scale, exact)
      x = jnp.take(x, index, axis=axis)
    return x

  return resample


def _grid_sample(x, grid, mode=0, padding=0, align_corners=False):
  """Numbers of images at points between pixels; points are in [-1, 1].

  Modes are 0 bilinear and 1 nearest; padding is 0 zeros and 1 border.
  """
  height, width = x.shape[2:]

  def pixels(at, size):
    if align_corners:
      return (at + 1) / 2 * (size - 1)
    return ((at + 1) * size - 1) / 2

  columns, rows = pixels(grid[..., 0], width), pixels(grid[..., 1], height)
  if padding == 1:
    columns = jnp.clip(columns, 0, width - 1)
    rows = jnp.clip(rows, 0, height - 1)

  def at(row, column):
    inside = (row >= 0) & (row < height) & (column >= 0) & (column < width)
    row = jnp.clip(row, 0, height - 1).astype(jnp.int32)
    column = jnp.clip(column, 0, width - 1).astype(jnp.int32)
    found = jax.vmap(lambda image, r, c: image[:, r, c])(x, row, column)
    return found * inside[:, None].astype(x.dtype)

  if mode == 1:
    return at(jnp.round(rows), jnp.round(columns))
  top, left = jnp.floor(rows), jnp.floor(columns)
  down, right = (rows - top)[:, None], (columns - left)[:, None]
  return (
    at(top, left) * (1 - down) * (1 - right)
    + at(top, left + 1) * (1 - down) * right
    + at(top + 1, left) * down * (1 - right)
    + at(top + 1, left + 1) * down * right
  )


OPERATIONS: dict[str, Callable[..., Any]] = {
  **{
    f"upsample_nearest{rank}d": _upsample_nearest(False) for rank in (1, 2, 3)
  },
  "upsample_nearest2d.vec": _upsample_nearest(False),
  "_upsample_nearest_exact2d": _upsample_nearest(True),
  "_upsample_nearest_exact2d.vec": _upsample_nearest(True),
  **{
    f"upsample_bilinear2d{o}": _linear("bilinear", False) for o in ("", ".vec")
  },
  **{
    f"_upsample_bilinear2d_aa{o}": _linear("bilinear", True)
    for o in ("", ".vec")
  },
  **{f"upsample_bicubic2d{o}": _linear("bicubic", False) for o in ("", ".vec")},
  **{
    f"_upsample_bicubic2d_aa{o}": _linear("bicubic", True) for o in ("", ".vec")
  },
  "grid_sampler_2d": _grid_sample,
}
