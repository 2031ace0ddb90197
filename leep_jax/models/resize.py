"""Resizes images on the device, to the same bits as Pillow.

Pre-trained networks are evaluated on images that Pillow resized. Its filters
are linear and separable: along each axis, the new pixels are the product of a
matrix and the old ones. Each row has few numbers that are not 0, around the
diagonal, and only these are multiplied. A TPU multiplies by the whole matrices
instead: its matrix unit does so in less time than picking pixels takes.
"""

from collections.abc import Callable
import functools

import jax
import jax.numpy as jnp
import numpy as np

from leep_jax import validation

# Pillow's weights for 8-bit images are integers, in units of 2^-22.
_BITS = 22
# Integers up to 2^8 are exact in bfloat16, and sums up to 2^24 in float32.
_DIGIT_BITS, _SUM_BITS = 8, 24


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

  def form(function):
    return lambda images: function(
      images, rows=rows, columns=columns, limit=limit, rounded=rounded
    )

  bands = form(by_bands)
  if rounded and not _is_exact(rows, columns, limit):
    return bands(images)
  return jax.lax.platform_dependent(
    images, tpu=form(by_products), default=bands
  )


def by_bands(
  images: jax.Array,
  *,
  rows: np.ndarray,
  columns: np.ndarray,
  limit: float | None = None,
  rounded: bool = False,
) -> jax.Array:
  """`resize` by multiplying only what is not 0, on any device.

  Args:
    images: as of `resize`.
    rows: as of `resize`.
    columns: as of `resize`.
    limit: as of `resize`.
    rounded: as of `resize`.

  Returns:
    `[B, new H, new W, C]` float32.

  Example:
    >>> import numpy as np
    >>> from leep_jax.models import resize
    >>> halve = resize.matrix(4, 2, "bilinear")
    >>> images = np.arange(16).reshape(1, 4, 4, 1)
    >>> resize.by_bands(
    ...   images, rows=halve, columns=halve, rounded=True
    ... )[0, :, :, 0].tolist()
    [[4.0, 5.0], [10.0, 11.0]]
  """
  # Rows of pixels that only the cropped part needs are left out.
  used = np.flatnonzero(rows.any(axis=0))
  images = images[:, used[0] : used[-1] + 1]
  images = _multiply(images, columns, 2, limit, rounded)
  images = _multiply(images, rows[:, used[0] : used[-1] + 1], 1, limit, rounded)
  return images.astype(jnp.float32)


def by_products(
  images: jax.Array,
  *,
  rows: np.ndarray,
  columns: np.ndarray,
  limit: float | None = None,
  rounded: bool = False,
) -> jax.Array:
  """`resize` as products with the whole matrices, on any device.

  With `rounded` the results are the same to the last bit.

  Args:
    images: as of `resize`; with `rounded`, up to 255.
    rows: as of `resize`.
    columns: as of `resize`.
    limit: as of `resize`; with `rounded`, at most 255.
    rounded: as of `resize`.

  Returns:
    `[B, new H, new W, C]` float32.

  Example:
    >>> import numpy as np
    >>> from leep_jax.models import resize
    >>> halve = resize.matrix(4, 2, "bilinear")
    >>> images = np.arange(16).reshape(1, 4, 4, 1)
    >>> resize.by_products(
    ...   images, rows=halve, columns=halve, limit=255, rounded=True
    ... )[0, :, :, 0].tolist()
    [[4.0, 5.0], [10.0, 11.0]]
  """
  for weights, axes in ((columns, "bhwc,vw->bhvc"), (rows, "bhwc,vh->bvwc")):
    if rounded:
      # Each digit's product is a sum of integers without rounding.
      total = jnp.int32(1 << (_BITS - 1))
      for place, digit in enumerate(_digits(weights)):
        part = jnp.einsum(
          axes,
          images.astype(jnp.bfloat16),
          digit.astype(jnp.bfloat16),
          preferred_element_type=jnp.float32,
        )
        total += part.astype(jnp.int32) << (_DIGIT_BITS * place)
      images = total >> _BITS
    else:
      images = jnp.einsum(
        axes,
        images.astype(jnp.float32),
        weights.astype(np.float32),
        precision=jax.lax.Precision.HIGHEST,
      )
    if limit is not None:
      images = jnp.clip(images, 0, limit)
  return images.astype(jnp.float32)


def _digits(weights):
  """Three arrays of integers, of which Pillow's integer weights are made.

  All but the last are from -128 to 127, and each stands for 2^8 times the one
  before.
  """
  rest = np.rint(weights * (1 << _BITS)).astype(np.int64)
  half, base = 1 << (_DIGIT_BITS - 1), 1 << _DIGIT_BITS
  digits = []
  for _ in range(2):
    digits.append((rest + half) % base - half)
    rest = (rest - digits[-1]) // base
  return [*digits, rest]


def _is_exact(rows, columns, limit):
  """Whether no product of `by_products` rounds a sum."""
  most = max(
    np.abs(digit).sum(axis=1).max() * 255
    for weights in (rows, columns)
    for digit in _digits(weights)
  )
  return limit is not None and limit <= 255 and most < 1 << _SUM_BITS


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
