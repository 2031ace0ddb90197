"""The row that describes an architecture: how to build it and what it takes."""

from collections.abc import Callable, Mapping
import dataclasses
import re
from typing import Any

from flax import nnx

from leep_jax.models.preprocessing import Preprocessing

# Substitutions (pattern, replacement), applied in order to a name in a file:
# they make the published name. Names with "#0", "#1", ... at their end are
# pieces of one tensor, joined along the first axis.
Names = tuple[tuple[str, str | Callable[[re.Match], str]], ...]

# Of the red, green and blue values, in [0, 1], of ImageNet's training images.
# Nearly all publishers of weights use these numbers.
IMAGENET_MEAN = (0.485, 0.456, 0.406)
IMAGENET_STD = (0.229, 0.224, 0.225)


@dataclasses.dataclass(frozen=True)
class Architecture:
  """A network definition, and what checkpoints of it need.

  Attributes:
    build: `(num_classes, *, rngs, **options) -> nnx.Module`; called on images
      `[B, H, W, 3]` it gives `(logits [B, Z], features [B, D])`.
    head: published name of the last layer's weight, `[Z, D]`. Its shape tells
      how many classes a checkpoint has.
    preprocessing: of images, for a checkpoint without a configuration.
    min_image_size: smallest side of an image, in pixels.
    fixed_image_size: whether images must have the side of `preprocessing`.
    names: what other publishers call its tensors, see `Names`.
    options: what a checkpoint's configuration may say to `build`: `norm_eps`,
      `head_norm_eps`, `num_heads`, `tf_padding`.
    stated: what the configurations of such a network must say, by their keys,
      where they say it: a value, or the range from 0 to a bound.
    timm: what timm's configurations call it. Other networks have tensors of the
      same names (ResNets with blurred pooling), so others are refused.
    transformers: the `model_type` of transformers' configurations.
    pool: what timm's configurations call the pooling before the head.

  Example:
    >>> from leep_jax.models import resnet
    >>> row = resnet.ARCHITECTURES["resnet50"]
    >>> row.head, row.preprocessing.image_size, row.min_image_size
    ('fc.weight', 224, 32)
  """

  build: Callable[..., nnx.Module]
  head: str
  preprocessing: Preprocessing
  min_image_size: int
  fixed_image_size: bool = False
  names: Names = ()
  options: tuple[str, ...] = ()
  stated: Mapping[str, Any] = dataclasses.field(default_factory=dict)
  timm: tuple[str, ...] = ()
  transformers: str | None = None
  pool: str = "avg"


def imagenet(**fields: Any) -> Preprocessing:
  """Returns the preprocessing of most networks trained on ImageNet.

  Args:
    **fields: of `Preprocessing`, where a network differs.

  Example:
    >>> from leep_jax.models import architecture
    >>> usual = architecture.imagenet()
    >>> usual.image_size, usual.crop, usual.interpolation
    (224, 0.875, 'bicubic')
    >>> architecture.imagenet(image_size=256).image_size
    256
  """
  # 0.875 is 224 / 256: the shorter side is resized to 256, and 224 are kept.
  usual: dict[str, Any] = {
    "image_size": 224,
    "mean": IMAGENET_MEAN,
    "std": IMAGENET_STD,
    "crop": 0.875,
    "interpolation": "bicubic",
  }
  return Preprocessing(**usual | fields)
