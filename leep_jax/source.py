"""A source model as the rest of the package sees it: one pure function.

A source is a pure function of a state and normalised images, with the
preprocessing that its weights were trained with. Whoever has a Flax, Haiku or
plain JAX model builds a `Source` from it and is served as the bundled models.
"""

from collections.abc import Callable
import dataclasses
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np

from leep_jax import checks

# apply(state, images [B, H, W, C]) -> logits [B, Z], or (logits, features
# [B, D]); images are float32 or bfloat16.
Apply = Callable[[Any, jax.Array], Any]


@dataclasses.dataclass(frozen=True)
class Preprocessing:
  """What a network expects of an image; applied on the device.

  Attributes:
    image_size: side of the square network input in pixels, or None to feed
      images at the size they have.
    mean: per-channel mean of pixels scaled to [0, 1].
    std: per-channel standard deviation of pixels scaled to [0, 1].
  """

  image_size: int | None = None
  mean: tuple[float, ...] = (0.0, 0.0, 0.0)
  std: tuple[float, ...] = (1.0, 1.0, 1.0)

  def __post_init__(self):
    for name in ("mean", "std"):
      values = np.ravel(getattr(self, name)).astype(float)
      object.__setattr__(self, name, tuple(values.tolist()))
    if len(self.mean) != len(self.std) or not all(v > 0 for v in self.std):
      raise checks.InputError(
        f"mean {self.mean} and std {self.std} must have one number a channel, "
        "those of std above 0"
      )
    if self.image_size is not None:
      checks.at_least_1("image_size", self.image_size)

  @property
  def takes_any_range(self) -> bool:
    """Whether floats need not be in [0, 1]: nothing is normalised here."""
    return not any(self.mean) and all(value == 1 for value in self.std)

  def __call__(self, images: jax.Array) -> jax.Array:
    """Scales, repeats grey channels, resizes and normalises.

    Args:
      images: `[B, H, W, C]`, uint8 in 0..255 or floating point in [0, 1];
        `C` is 1 or the number of channels of `mean`.

    Returns:
      `[B, image_size, image_size, len(mean)]` float32. Of images that are not
      square the centre is taken. Resizing is bilinear with half-pixel centres,
      antialiased where it shrinks.
    """
    if images.dtype == jnp.uint8:
      images = images.astype(jnp.float32) / 255
    x = images.astype(jnp.float32)
    size, channels = self.image_size, len(self.mean)
    if size is not None and x.shape[1:3] != (size, size):
      side = min(x.shape[1:3])
      top, left = (x.shape[1] - side) // 2, (x.shape[2] - side) // 2
      x = x[:, top : top + side, left : left + side]
      shape = (x.shape[0], size, size, x.shape[3])
      x = jax.image.resize(x, shape, "bilinear")
    if x.shape[3] != channels:
      x = jnp.repeat(x, channels, axis=3)
    mean, std = (
      jnp.asarray(v)[None, None, None] for v in (self.mean, self.std)
    )
    return (x - mean) / std


@dataclasses.dataclass(frozen=True)
class Source:
  """A pre-trained classifier.

  Attributes:
    name: what tables and rows call it.
    apply: pure function `(state, images) -> logits [B, Z]`, or
      `-> (logits [B, Z], features [B, D])`; a source without features has no
      feature scores.
    state: pytree of arrays handed to `apply`.
    preprocessing: what turns raw images into the network's input.
    min_image_size: smallest side, in pixels, of an image it can be fed.
  """

  name: str
  apply: Apply
  state: Any
  preprocessing: Preprocessing = Preprocessing()
  min_image_size: int = 1
