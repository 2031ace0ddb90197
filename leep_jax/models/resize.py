"""Resizing on the device, bit for bit as Pillow does.

Pre-trained networks are evaluated on images that Pillow resized. Its filters
are linear and separable, so that the weights of each axis form a matrix; it has
few diagonals, and these are what is added up.
"""

from collections.abc import Callable
import functools

import jax
import jax.numpy as jnp
import numpy as np

from leep_jax import validation

# The fraction bits of Pillow's weights for 8-bit images.
_BITS = 22


def _box(x):
  return (x > -0.5) & (x <= 0.5)


def _bilinear(x):
  return np.maximum(1 - np.abs(x), 0)


def _hamming(x):
  # These constants are of single precision in Pillow.
  a, b = float(np.float32(0.54)), float(np.float32(0.46))
  window = a + b * np.cos(np.pi * x)
  return np.where(np.abs(x) < 1, np.sinc(x) * window, 0)


def _bicubic(x):
  a, x = -0.5, np.abs(x)
  near = ((a + 2) * x - (a + 3)) * x * x + 1
  far = (((x - 5) * x + 8) * x - 4) * a
  return np.where(x < 1, near, np.where(x < 2, far, 0))


def _lanczos(x):
  return np.where((x >= -3) & (x < 3), np.sinc(x) * np.sinc(x / 3), 0)


# By Pillow's names: the kernel and its support, in pixels of the output where
# images shrink, else of the input. The nearest pixel is taken without one.
INTERPOLATIONS: dict[
  str, tuple[Callable[[np.ndarray], np.ndarray] | None, float]
] = {
  "nearest": (None, 0.0),
  "box": (_box, 0.5),
  "bilinear": (_bilinear, 1.0),
  "hamming": (_hamming, 1.0),
  "bicubic": (_bicubic, 2.0),
  "lanczos": (_lanczos, 3.0),
}


@functools.lru_cache(maxsize=64)
def matrix(size: int, new_size: int, interpolation: str) -> np.ndarray:
  """Returns what resizing one axis multiplies it by.

  Operations are in Pillow's order: where a kernel ends at a pixel's centre,
  rounding decides whether that pixel counts.

  Args:
    size: pixels along the axis.
    new_size: pixels along it afterwards.
    interpolation: one of `INTERPOLATIONS`.

  Returns:
    `[new_size, size]` float64, read-only; rows sum to 1.

  Raises:
    InputError: if there is no such interpolation.
  """
  if interpolation not in INTERPOLATIONS:
    raise validation.unknown("interpolation", interpolation, INTERPOLATIONS)
  kernel, support = INTERPOLATIONS[interpolation]
  scale = size / new_size
  if kernel is None:
    place = np.cumsum(np.r_[scale * 0.5, np.full(new_size - 1, scale)])
    weights = np.zeros((new_size, size))
    weights[np.arange(new_size), np.minimum(place.astype(int), size - 1)] = 1
  else:
    stretch = max(scale, 1.0)
    centre = ((np.arange(new_size) + 0.5) * scale)[:, None]
    reach = support * stretch
    start = (centre - reach + 0.5).astype(int)
    stop = (centre + reach + 0.5).astype(int)
    pixel = np.arange(size)
    weights = kernel((pixel - centre + 0.5) * (1 / stretch))
    weights = np.where((pixel >= start) & (pixel < stop), weights, 0.0)
    weights /= weights.sum(axis=1, keepdims=True)
  weights.flags.writeable = False
  return weights


def resize(
  images: jax.Array,
  rows: np.ndarray,
  columns: np.ndarray,
  *,
  limit: float | None = None,
  whole: bool = False,
) -> jax.Array:
  """Multiplies images by the matrices of both axes, the width's first.

  Args:
    images: `[B, H, W, C]`, uint8 or float32; whole numbers where `whole`.
    rows: `[new H, H]`, rows of a `matrix`.
    columns: `[new W, W]`, rows of a `matrix`.
    limit: each pass is clipped to `[0, limit]`, unless it is None.
    whole: whether each pass gives whole numbers, in the arithmetic of Pillow
      for 8 bits.

  Returns:
    `[B, new H, new W, C]` float32.
  """
  used = np.flatnonzero(rows.any(axis=0))  # the others are cropped away
  images = images[:, used[0] : used[-1] + 1]
  images = _pass(images, columns, 2, limit, whole)
  images = _pass(images, rows[:, used[0] : used[-1] + 1], 1, limit, whole)
  return images.astype(jnp.float32)


def _pass(images, weights, axis, limit, whole):
  """Multiplies one axis by a matrix of few diagonals.

  Products of whole matrices do more work, and float32 cannot hold Pillow's sums
  of 30 bits: it would round halves at random.
  """
  size = weights.shape[1]
  first = (weights != 0).argmax(axis=1)
  last = size - 1 - (weights != 0)[:, ::-1].argmax(axis=1)
  shape = tuple(-1 if i == axis else 1 for i in range(4))
  dtype = jnp.int32 if whole else jnp.float32
  if whole:
    weights = np.rint(weights * (1 << _BITS))
  total = jnp.asarray(1 << (_BITS - 1) if whole else 0, dtype)
  for offset in range(max(last - first) + 1):
    pixel = np.minimum(first + offset, size - 1)
    weight = np.take_along_axis(weights, pixel[:, None], axis=1)
    weight = np.where(first + offset <= last, weight[:, 0], 0)
    pixels = jnp.take(images, pixel, axis=axis).astype(dtype)
    total += pixels * jnp.asarray(weight, dtype).reshape(shape)
  if whole:
    total >>= _BITS
  return total if limit is None else jnp.clip(total, 0, limit)
