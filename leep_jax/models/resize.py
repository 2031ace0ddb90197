"""Resizes images on the device, to the same bits as Pillow.

Pre-trained networks are evaluated on images that Pillow resized. Its filters
are linear and separable: along each axis, the new pixels are the product of a
matrix and the old ones. Each row has few numbers that are not 0, around the
diagonal, and only these are multiplied.
"""

from collections.abc import Callable
import functools

import jax
import jax.numpy as jnp
import numpy as np

from leep_jax import validation

# Pillow's weights for 8-bit images are integers, in units of 2^-22.
_BITS = 22


def _box(x):
  # Half open, as Pillow's: a pixel on the border of two counts for one.
  return (x > -0.5) & (x <= 0.5)


def _bilinear(x):
  return np.maximum(1 - np.abs(x), 0)


def _hamming(x):
  # Pillow has these two constants in single precision.
  a, b = float(np.float32(0.54)), float(np.float32(0.46))
  window = a + b * np.cos(np.pi * x)
  return np.where(np.abs(x) < 1, np.sinc(x) * window, 0)


def _bicubic(x):
  # Keys' cubic convolution (1981); PyTorch and OpenCV have a = -0.75.
  a, x = -0.5, np.abs(x)
  near = ((a + 2) * x - (a + 3)) * x * x + 1
  far = (((x - 5) * x + 8) * x - 4) * a
  return np.where(x < 1, near, np.where(x < 2, far, 0))


def _lanczos(x):
  # Half open, as Pillow's.
  return np.where((x >= -3) & (x < 3), np.sinc(x) * np.sinc(x / 3), 0)


# Pillow's names, the kernels, and the kernels' supports: half the width, in
# pixels of the output if images shrink, else of the input. "nearest" has none.
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
  """Returns the matrix that resizes one axis.

  Args:
    size: number of pixels along the axis.
    new_size: number of pixels after resizing.
    interpolation: one of `INTERPOLATIONS`.

  Returns:
    `[new_size, size]` float64, read-only; rows sum to 1.

  Raises:
    InputError: if there is no such interpolation.

  Example:
    >>> from leep_jax.models import resize
    >>> resize.matrix(4, 2, "box")
    array([[0.5, 0.5, 0. , 0. ],
           [0. , 0. , 0.5, 0.5]])
  """
  if interpolation not in INTERPOLATIONS:
    raise validation.unknown("interpolation", interpolation, INTERPOLATIONS)
  kernel, support = INTERPOLATIONS[interpolation]
  scale = size / new_size
  if kernel is None:
    # Pillow adds up the steps: products would be rounded otherwise.
    at = np.cumsum(np.r_[scale * 0.5, np.full(new_size - 1, scale)])
    weights = np.zeros((new_size, size))
    weights[np.arange(new_size), np.minimum(at.astype(int), size - 1)] = 1
  else:
    # The operations are in Pillow's order: if a kernel ends at a pixel's
    # centre, rounding decides whether that pixel counts. Where images shrink,
    # the kernel is stretched, so that it averages.
    stretch = max(scale, 1.0)
    centre = ((np.arange(new_size) + 0.5) * scale)[:, None]
    reach = support * stretch
    start = (centre - reach + 0.5).astype(int)
    stop = (centre + reach + 0.5).astype(int)
    pixel = np.arange(size)
    weights = kernel((pixel - centre + 0.5) * (1 / stretch))
    weights = np.where((pixel >= start) & (pixel < stop), weights, 0.0)
    weights /= weights.sum(axis=1, keepdims=True)
  # All callers get the same cached array.
  weights.flags.writeable = False
  return weights


def resize(
  images: jax.Array,
  rows: np.ndarray,
  columns: np.ndarray,
  *,
  limit: float | None = None,
  rounded: bool = False,
) -> jax.Array:
  """Multiplies images by the matrices of both axes, the width's first.

  Args:
    images: `[B, H, W, C]`, uint8 or float32; with `rounded`, integers.
    rows: `[new H, H]`, rows of a `matrix`.
    columns: `[new W, W]`, rows of a `matrix`.
    limit: the result of each axis is clipped to `[0, limit]`, unless None.
    rounded: whether the result of each axis is rounded to integers, in Pillow's
      arithmetic for 8 bits.

  Returns:
    `[B, new H, new W, C]` float32.

  Example:
    >>> import numpy as np
    >>> from leep_jax.models import resize
    >>> halve = resize.matrix(4, 2, "bilinear")
    >>> images = np.arange(16).reshape(1, 4, 4, 1)
    >>> resize.resize(images, halve, halve, rounded=True)[0, :, :, 0].tolist()
    [[4.0, 5.0], [10.0, 11.0]]
  """
  # Rows of pixels that only the cropped part needs are left out.
  used = np.flatnonzero(rows.any(axis=0))
  images = images[:, used[0] : used[-1] + 1]
  images = _multiply(images, columns, 2, limit, rounded)
  images = _multiply(images, rows[:, used[0] : used[-1] + 1], 1, limit, rounded)
  return images.astype(jnp.float32)


def _multiply(images, weights, axis, limit, rounded):
  """Multiplies one axis by a matrix, whose rows are short bands.

  A product with the full matrix would do more work. It would also need float32,
  which has 24 bits where Pillow's sums have 30: halves would be rounded at
  random.
  """
  size = weights.shape[1]
  first = (weights != 0).argmax(axis=1)
  last = size - 1 - (weights != 0)[:, ::-1].argmax(axis=1)
  shape = tuple(-1 if i == axis else 1 for i in range(4))
  dtype = jnp.int32 if rounded else jnp.float32
  if rounded:
    weights = np.rint(weights * (1 << _BITS))
  # Half a unit is added first, so that the shift below rounds.
  total = jnp.asarray(1 << (_BITS - 1) if rounded else 0, dtype)
  for offset in range(max(last - first) + 1):
    # Bands shorter than the longest are filled up with weights of 0.
    pixel = np.minimum(first + offset, size - 1)
    weight = np.take_along_axis(weights, pixel[:, None], axis=1)
    weight = np.where(first + offset <= last, weight[:, 0], 0)
    pixels = jnp.take(images, pixel, axis=axis).astype(dtype)
    total += pixels * jnp.asarray(weight, dtype).reshape(shape)
  if rounded:
    total >>= _BITS
  return total if limit is None else jnp.clip(total, 0, limit)
