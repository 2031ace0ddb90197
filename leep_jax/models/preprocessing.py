"""What a network expects of an image: size, crop and normalisation."""

from collections.abc import Callable
import dataclasses
import functools
import math
from typing import Any, ClassVar

import jax
import jax.numpy as jnp
import numpy as np

from leep_jax import validation
from leep_jax.data import dataset as dataset_lib, jpeg
from leep_jax.models import resize

# Sides with which a network is traced that takes images of any size.
_TRIED_SIZES = (32, 64, 224, 28)
# How an image of another aspect ratio is brought to the network's: the parts
# that stick out are cut off, both sides are resized each, or a border is added.
CROP_MODES = ("center", "squash", "border")
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
    image_size: side of the network's input in pixels, or its height and width;
      None if images are not resized.
    mean: mean of each channel of pixels in [0, 1].
    std: standard deviation of each channel of pixels in [0, 1].
    crop: the part of the resized image's shorter side that is kept, in
      (0, 1].
    interpolation: name of the filter, one of `resize.INTERPOLATIONS`.
    crop_mode: one of `CROP_MODES`: with "squash" both sides are resized to
      `image_size / crop`, so that the aspect ratio changes; with "border" the
      longer side is, and `mean` fills what is missing.
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

  image_size: int | tuple[int, int] | None = None
  mean: tuple[float, ...] = (0.0, 0.0, 0.0)
  std: tuple[float, ...] = (1.0, 1.0, 1.0)
  crop: float = 1.0
  interpolation: str = "bilinear"
  crop_mode: str = "center"
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
      object.__setattr__(self, "image_size", _size(self.image_size))
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
    for name, known in (("crop_mode", CROP_MODES), ("crop_origin", _ORIGINS)):
      if getattr(self, name) not in list(known):
        raise validation.unknown(name, str(getattr(self, name)), known)
    changed = self.crop_mode != "center"
    if self.image_size is None and (self.crop != 1 or changed):
      option = f"crop_mode is {self.crop_mode}"
      raise validation.InputError(
        f"{option if changed else f'crop is {self.crop:g}'}, but image_size is "
        "None: which size should images have?"
      )

  @property
  def sides(self) -> tuple[int, int] | None:
    """Height and width of the network's input; None if images keep theirs."""
    size = self.image_size
    return (size, size) if isinstance(size, int) else size

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
      options: dict[str, Any] = {"fit": self.fit}
      # Those filters take whole pixels, which are others in a smaller image.
      if self.interpolation not in ("nearest", "box"):
        options["wanted"] = self.resized
      return options, self.fitted
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
    sizes = [(side, side) for side in _TRIED_SIZES]
    if self.sides is not None:
      sizes = [self.sides]
    return [
      jax.ShapeDtypeStruct((2, *size, len(self.mean)), np.float32)
      for size in sorted({(max(h, least), max(w, least)) for h, w in sizes})
    ]

  def size(self, dataset: dataset_lib.Dataset) -> int:
    """Returns the most pixels of an image, before or after it is resized."""
    stored = math.prod((dataset.image_shape or (1,))[:2])
    return max(stored, math.prod(self.sides or (1,)))

  def __call__(self, images: jax.Array) -> jax.Array:
    """Resizes, crops, repeats grey channels and normalises, on the device.

    Images of uint8 that shrink are rounded to integers, as Pillow does.
    Enlarged images and floats are not rounded.

    Args:
      images: `[B, H, W, C]`, uint8 in 0..255 or floating point in [0, 1];
        `C` is 1 or the number of channels of `mean`.

    Returns:
      `[B, height, width, len(mean)]` float32.
    """
    is_uint8 = images.dtype == jnp.uint8
    x = jnp.asarray(images) if is_uint8 else jnp.asarray(images, jnp.float32)
    if self.sides is not None:
      x = self._resize(x, self.sides, is_uint8)
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

  def _resize(self, images, sides, is_uint8):
    size = images.shape[1:3]
    new_size, kept, border = self._geometry(sides, *size)
    if new_size == size:
      found = images[:, *kept]
    else:
      rows, columns = (
        resize.matrix(old, new, self.interpolation)[part]
        for old, new, part in zip(size, new_size, kept, strict=True)
      )
      # Filters with negative weights overshoot: results are clipped to the
      # range of pixels, as Pillow does, where pixels have a range.
      limit = 255 if is_uint8 else None if self.takes_any_range else 1.0
      rounded = is_uint8 and _shrinks(size, new_size)
      found = resize.resize(images, rows, columns, limit=limit, rounded=rounded)
    return self._framed(jnp, found, border, 255 if is_uint8 else 1)

  def _geometry(self, sides, height, width):
    """Where an image goes.

    Returns:
      The new size, the part of each axis that is kept, and the pixels that are
      added before and after it.
    """
    # Rounded down as in timm; the longer side too, as in torchvision.
    size = tuple(math.floor(side / self.crop) for side in sides)
    ratios = height / size[0], width / size[1]
    if self.crop_mode == "center" and size[0] == size[1]:
      shorter = min(height, width)
      size = tuple(int(size[0] * x / shorter) for x in (height, width))
    elif self.crop_mode != "squash":
      # To the nearest pixel, as in timm; of a thin image, at least one.
      by = (max if self.crop_mode == "border" else min)(ratios)
      size = max(round(height / by), 1), max(round(width / by), 1)
    origin = _ORIGINS[self.crop_origin]
    kept, border = [], []
    for length, side in zip(size, sides, strict=True):
      first = origin(max(length - side, 0) / 2)
      kept.append(slice(first, first + side))
      missing = max(side - length, 0)
      border.append((missing // 2, missing - missing // 2))
    return size, kept, border

  def _framed(self, numpy, images, border, white):
    """Adds a border of the mean to images `[..., H, W, C]`.

    Args:
      numpy: the library that has the images.
      images: of integers in 0..255, or floats.
      border: pixels before and after, for both axes.
      white: the value of a white pixel.
    """
    if not any(map(sum, border)):
      return images
    fill = [round(255 * value) * white / 255 for value in self.mean]
    if images.shape[-1] == 1:
      images = numpy.repeat(images, len(fill), axis=-1)
    widths = [(0, 0)] * (images.ndim - 3) + border
    planes = [
      numpy.pad(images[..., i], widths, constant_values=value)
      for i, value in enumerate(fill)
    ]
    return numpy.stack(planes, axis=-1)

  def resized(self, height: int, width: int) -> tuple[int, int]:
    """Returns the size that `fit` brings an image to before it is cropped.

    Args:
      height: of the image.
      width: of the image.

    Raises:
      InputError: if `image_size` is None.

    Example:
      >>> import leep_jax
      >>> leep_jax.Preprocessing(image_size=224, crop=0.875).resized(3000, 4000)
      (256, 341)
    """
    size, *_ = self._geometry(self._known_sides(), height, width)
    return int(size[0]), int(size[1])

  def _known_sides(self):
    if self.sides is None:
      raise validation.InputError(
        "image_size is None: which size should the image be brought to?"
      )
    return self.sides

  def fit(self, image: np.ndarray | jpeg.Reduced) -> np.ndarray:
    """Resizes and crops one image on the host, with Pillow.

    Images of a folder differ in size: they cannot be stacked for the device
    before they are resized. The result is rounded where it would be there.

    Args:
      image: `[H, W, C]` uint8 of any size, or a photo that was decoded at a
        part of it: the result is nearly that of the whole photo.

    Returns:
      `[height, width, C]`, for `fitted`: float32 in [0, 1] if the image is
      enlarged, uint8 if a side shrinks or none changes.

    Raises:
      InputError: if `image_size` is None, or the image is not as above.
    """
    sides = self._known_sides()
    reduced = image if isinstance(image, jpeg.Reduced) else None
    image = reduced.pixels if reduced else np.asarray(image)
    if image.ndim != 3 or image.dtype != np.uint8 or not image.size:
      raise validation.InputError(
        f"an image is {image.dtype} of shape {image.shape}, not uint8 of "
        "shape [H, W, C]"
      )
    size = reduced.size if reduced else image.shape[:2]
    new_size, kept, border = self._geometry(sides, *size)
    enlarged = new_size != size and not _shrinks(size, new_size)
    resized = functools.partial(
      _resized,
      size=new_size,
      kept=kept,
      box=reduced.box if reduced else (0, 0, *size[::-1]),
      interpolation=self.interpolation,
    )
    if image.shape[2] == 3 and not enlarged:
      return self._framed(np, resized(image), border, 255)
    # Channel by channel: Pillow takes a second or fourth channel for alpha, and
    # has float32 images of one channel only.
    if enlarged:
      image = image.astype(np.float32)
    parts = [resized(part) for part in np.moveaxis(image, 2, 0)]
    fitted = self._framed(np, np.stack(parts, axis=2), border, 255)
    if enlarged:
      fitted = fitted / np.float32(255)
    return fitted


def _size(size):
  """One integer for a square, so that equal sizes have one text."""
  if not isinstance(size, list | tuple):
    return int(validation.at_least_1("image_size", size))
  if len(size) != 2:
    raise validation.InputError(
      f"image_size is {size}, but must be one side, or height and width"
    )
  height, width = (int(validation.at_least_1("image_size", x)) for x in size)
  return height if height == width else (height, width)


def _resized(part, *, size, kept, box, interpolation):
  """Resizes a part of an image, of uint8 or floats, with Pillow.

  Width first, as Pillow did when published networks were evaluated. From
  version 13 on it begins with the height of tall images.

  Args:
    part: `[H, W, 3]` or `[H, W]`.
    size: the new height and width.
    kept: the rows and the columns that are wanted of those.
    box: where the image lies in `part`: left, upper, right, lower.
    interpolation: name of the filter.
  """
  import PIL.Image

  rows, columns = kept
  if size == part.shape[:2]:
    return part[rows, columns].copy()
  how = PIL.Image.Resampling[interpolation.upper()]
  left, upper, right, lower = box
  # Rows that no row that is kept is made of are not resized. Two more than
  # needed make up for rounding.
  scale = (lower - upper) / size[0]
  reach = resize.INTERPOLATIONS[interpolation][1] * max(scale, 1) + 2
  first = max(int(upper + rows.start * scale - reach), 0)
  used = part[first : math.ceil(upper + rows.stop * scale + reach)]
  narrow = _clipped(
    PIL.Image.fromarray(used).resize(
      (size[1], len(used)), how, box=(left, 0, right, len(used))
    )
  )[:, columns]
  # The others stay, so that Pillow's weights are those of the whole height.
  whole = np.zeros((len(part), *narrow.shape[1:]), part.dtype)
  whole[first : first + len(used)] = narrow
  width = whole.shape[1]
  short = PIL.Image.fromarray(whole).resize(
    (width, size[0]), how, box=(0, upper, width, lower)
  )
  # A copy: a slice would keep the whole resized image in memory.
  return _clipped(short)[rows].copy()


def _clipped(picture):
  """Pillow clips 8 bits, but not floats, which overshoot too."""
  found = np.asarray(picture)
  return found if found.dtype == np.uint8 else found.clip(0, 255)


def _shrinks(size, new_size):
  return any(new < old for old, new in zip(size, new_size, strict=True))
