"""What a network expects of an image: size, crop and normalisation."""

from collections.abc import Callable
import dataclasses
import math
from typing import Any, ClassVar

import jax
import jax.numpy as jnp
import numpy as np

from leep_jax import validation
from leep_jax.data import dataset as dataset_lib
from leep_jax.models import resize

# Sides with which a network is traced that takes images of any size.
_TRIED_SIZES = (32, 64, 224, 28)
# Rounds the corner of a crop that cannot be centred to the pixel.
_ORIGINS: dict[str, Callable[[float], int]] = {
  "round": round,
  "floor": math.floor,
}


def _check_unit(mean, std):
  """Refuses a mean or deviation of pixels in 0..255, instead of [0, 1]."""
  wrong = {
    name: max(values, key=abs)
    for name, values in (("mean", mean), ("std", std))
    # A deviation of 1 may have become a little more by rounding.
    if max(map(abs, values)) > 1.001
  }
  if not wrong:
    return
  name, value = next(iter(wrong.items()))
  # Caffe's networks subtract a mean from 0..255 and divide by nothing.
  both = len(wrong) == 2 or (name == "mean" and set(std) == {1})
  raise validation.InputError(
    f"{name} {value:g} is on the scale 0..255: divide by 255"
    f"{', and std too' if both else ''}; here pixels are in [0, 1] before they "
    "are normalised"
  )


@dataclasses.dataclass(frozen=True)
class Preprocessing:
  """Prepares images as in the evaluation of a network's weights.

  The shorter side is resized to `image_size / crop` and the centre is kept. The
  pixels equal those of torchvision's `Resize` and `CenterCrop` on Pillow
  images, or those of transformers' image processors.

  Attributes:
    image_size: side of the square network input in pixels; None if images are
      not resized.
    mean: mean of each channel of pixels in [0, 1].
    std: standard deviation of each channel of pixels in [0, 1].
    crop: the part of the resized image's shorter side that is kept, in
      (0, 1].
    interpolation: name of the filter, one of `resize.INTERPOLATIONS`.
    squash: whether both sides are resized to `image_size / crop`, so that the
      aspect ratio changes.
    crop_origin: how half a pixel of the crop's top left corner is rounded:
      "round" to the even number, as torchvision and timm do, or "floor", as
      transformers does.

  Example:
    >>> import numpy as np
    >>> import leep_jax
    >>> preprocessing = leep_jax.Preprocessing(
    ...   image_size=2, mean=(0.5,) * 3, std=(0.5,) * 3, crop=0.5
    ... )
    >>> photos = np.full((1, 8, 6, 3), 255, np.uint8)  # white
    >>> preprocessing(photos).shape, float(preprocessing(photos).min())
    ((1, 2, 2, 3), 1.0)
  """

  inputs: ClassVar[str] = "image"

  image_size: int | None = None
  mean: tuple[float, ...] = (0.0, 0.0, 0.0)
  std: tuple[float, ...] = (1.0, 1.0, 1.0)
  crop: float = 1.0
  interpolation: str = "bilinear"
  squash: bool = False
  crop_origin: str = "round"

  def __post_init__(self) -> None:
    for name in ("mean", "std"):
      # Tuples of floats have one text for equal values, which is part of the
      # digest of cached outputs.
      values = np.ravel(getattr(self, name)).astype(float)
      object.__setattr__(self, name, tuple(values.tolist()))
    if (
      len(self.mean) != len(self.std)
      or not all(0 < v < math.inf for v in self.std)
      or not np.all(np.isfinite(self.mean))
    ):
      raise validation.InputError(
        f"mean {self.mean} and std {self.std} must have one finite number a "
        "channel, those of std above 0"
      )
    _check_unit(self.mean, self.std)
    if self.image_size is not None:
      validation.at_least_1("image_size", self.image_size)
    real = isinstance(self.crop, (int, float, np.integer, np.floating))
    if not (real and 0 < self.crop <= 1):
      raise validation.InputError(
        f"crop is {self.crop!r}, but must be above 0 and at most 1: is it in "
        "percent or pixels?"
      )
    object.__setattr__(self, "crop", float(self.crop))
    # A list: a value from a file may not be hashable, as keys must be.
    if self.interpolation not in list(resize.INTERPOLATIONS):
      raise validation.unknown(
        "interpolation", str(self.interpolation), resize.INTERPOLATIONS
      )
    if not isinstance(self.squash, bool):
      raise validation.InputError(
        f"squash is {self.squash!r}, but must be True or False: is it text "
        "from a file?"
      )
    if self.crop_origin not in _ORIGINS:
      raise validation.unknown("crop_origin", str(self.crop_origin), _ORIGINS)
    if self.image_size is None and (self.crop != 1 or self.squash):
      option = "squash is True" if self.squash else f"crop is {self.crop:g}"
      raise validation.InputError(
        f"{option}, but image_size is None: which size should images have?"
      )

  @property
  def takes_any_range(self) -> bool:
    """Whether floats may be outside [0, 1], as nothing is normalised."""
    return not any(self.mean) and all(value == 1 for value in self.std)

  @property
  def fitted(self) -> "Preprocessing":
    """The normalisation alone, for images that `fit` has resized."""
    return Preprocessing(mean=self.mean, std=self.std)

  def reading(
    self, dataset: dataset_lib.Dataset
  ) -> tuple[dict[str, Any], "Preprocessing"]:
    """Returns options of `Dataset.batches`, and what is left to do then."""
    # Images of different sizes cannot be stacked: they are resized when read.
    if dataset.image_shape is None and self.image_size is not None:
      return {"fit": self.fit}, self.fitted
    return {}, self

  def checked(self, batch: Any) -> np.ndarray:
    """Returns a batch as `__call__` takes it, uint8 or float32.

    Args:
      batch: `[B, H, W, C]`.

    Raises:
      InputError: if these are no images, or their values are out of range.
    """
    images = validation.as_array("images", batch)
    if images.dtype.kind in "UO":
      raise validation.InputError(
        f"images are {images.dtype}: are these texts? The source takes images"
      )
    if images.dtype == np.uint8:
      return images
    images = validation.images(
      "images", images, normalised=self.takes_any_range
    )
    return images.astype(np.float32, copy=False)

  def check_shape(self, shape: tuple[int, ...]) -> None:
    """Refuses arrays that are no images of this number of channels.

    Args:
      shape: which should be `[B, H, W, C]`.

    Raises:
      InputError: if it is another.
    """
    channels = len(self.mean)
    if len(shape) != 4 or shape[3] not in (1, channels):
      hint = ": are channels first?" if shape[1:2] == (channels,) else ""
      raise validation.InputError(
        f"images have shape {shape}, not [B, H, W, 1 or {channels}]{hint}"
      )

  def trials(self, least: int) -> list[jax.ShapeDtypeStruct]:
    """Returns inputs with which a network can be traced, if it takes them.

    Args:
      least: smallest side of an image.
    """
    sizes = _TRIED_SIZES if self.image_size is None else (self.image_size,)
    return [
      jax.ShapeDtypeStruct((2, size, size, len(self.mean)), np.float32)
      for size in sorted({max(size, least) for size in sizes})
    ]

  def size(self, dataset: dataset_lib.Dataset) -> int:
    """Returns the most pixels of an image, before or after it is resized."""
    stored = math.prod((dataset.image_shape or (1,))[:2])
    return max(stored, (self.image_size or 1) ** 2)

  def __call__(self, images: jax.Array) -> jax.Array:
    """Resizes, crops, repeats grey channels and normalises, on the device.

    Images of uint8 that shrink are rounded to integers, as Pillow does.
    Enlarged images and floats are not rounded.

    Args:
      images: `[B, H, W, C]`, uint8 in 0..255 or floating point in [0, 1];
        `C` is 1 or the number of channels of `mean`.

    Returns:
      `[B, image_size, image_size, len(mean)]` float32.
    """
    is_uint8 = images.dtype == jnp.uint8
    x = jnp.asarray(images) if is_uint8 else jnp.asarray(images, jnp.float32)
    if self.image_size is not None:
      x = self._resize(x, self.image_size, is_uint8)
    if is_uint8:
      # After resizing, which torchvision does to 8 bits too, before `ToTensor`.
      x = x.astype(jnp.float32) / 255
    channels = len(self.mean)
    if x.shape[3] != channels:
      # Also after resizing, which then has one channel to do.
      x = jnp.repeat(x, channels, axis=3)
    mean, std = (
      jnp.asarray(v)[None, None, None] for v in (self.mean, self.std)
    )
    return (x - mean) / std

  def _resize(self, images, side, is_uint8):
    size = images.shape[1:3]
    new_size, corner = self._geometry(side, *size)
    kept = [slice(start, start + side) for start in corner]
    if new_size == size:
      return images[:, *kept]
    rows, columns = (
      resize.matrix(old, new, self.interpolation)[part]
      for old, new, part in zip(size, new_size, kept, strict=True)
    )
    # Filters with negative weights overshoot: results are clipped to the range
    # of pixels, as Pillow does, where pixels have a range.
    limit = 255 if is_uint8 else None if self.takes_any_range else 1.0
    rounded = is_uint8 and _shrinks(size, new_size)
    return resize.resize(images, rows, columns, limit=limit, rounded=rounded)

  def _geometry(self, side, height, width):
    """Returns the new size, and the top left corner of the crop in it."""
    # Rounded down as in timm; the longer side too, as in torchvision.
    short, shorter = math.floor(side / self.crop), min(height, width)
    size = (short, short)
    if not self.squash:
      size = (int(short * height / shorter), int(short * width / shorter))
    origin = _ORIGINS[self.crop_origin]
    return size, tuple(origin((length - side) / 2) for length in size)

  def fit(self, image: np.ndarray) -> np.ndarray:
    """Resizes and crops one image on the host, with Pillow.

    Images of a folder differ in size: they cannot be stacked for the device
    before they are resized. The result is rounded where it would be there.

    Args:
      image: `[H, W, C]` uint8 of any size.

    Returns:
      `[image_size, image_size, C]`, for `fitted`: float32 in [0, 1] if the
      image is enlarged, uint8 if a side shrinks or none changes.

    Raises:
      InputError: if `image_size` is None, or the image is not as above.
    """
    import PIL.Image

    side = self.image_size
    if side is None:
      raise validation.InputError(
        "image_size is None: which size should the image be brought to?"
      )
    if image.ndim != 3 or image.dtype != np.uint8 or not image.size:
      raise validation.InputError(
        f"an image is {image.dtype} of shape {image.shape}, not uint8 of "
        "shape [H, W, C]"
      )
    size = image.shape[:2]
    new_size, (top, left) = self._geometry(side, *size)
    enlarged = new_size != size and not _shrinks(size, new_size)
    how = PIL.Image.Resampling[self.interpolation.upper()]

    def resized(part: np.ndarray) -> np.ndarray:
      # Width first, as Pillow did when published networks were evaluated. From
      # version 13 on it begins with the height of tall images.
      for height in (size[0], new_size[0]):
        picture = PIL.Image.fromarray(part)
        part = np.asarray(picture.resize((new_size[1], height), how))
        # Pillow clips 8 bits, but not floats, which overshoot too.
        part = part.clip(0, 255)
      # A copy: a slice would keep the whole resized image in memory.
      return part[top : top + side, left : left + side].copy()

    if image.shape[2] == 3 and not enlarged:
      return resized(image)
    # Channel by channel: Pillow takes a second or fourth channel for alpha, and
    # has float32 images of one channel only.
    if enlarged:
      image = image.astype(np.float32)
    parts = [resized(part) for part in np.moveaxis(image, 2, 0)]
    fitted = np.stack(parts, axis=2)
    if enlarged:
      fitted = fitted / np.float32(255)
    return fitted


def _shrinks(size, new_size):
  return any(new < old for old, new in zip(size, new_size, strict=True))
