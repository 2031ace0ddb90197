"""What the zoo knows of an architecture."""

from collections.abc import Callable, Mapping
import dataclasses
from typing import Any

from flax import nnx

from leep_jax import source as source_lib, weights

IMAGENET_MEAN = (0.485, 0.456, 0.406)
IMAGENET_STD = (0.229, 0.224, 0.225)


@dataclasses.dataclass(frozen=True)
class Architecture:
  """One network definition.

  Attributes:
    build: `(num_classes, *, rngs, **options) -> nnx.Module`; called on images
      `[B, H, W, 3]` it gives `(logits [B, Z], features [B, D])`.
    head: published name of the last layer's weight, `[Z, D]`: it tells the
      number of classes of a checkpoint.
    preprocessing: what a checkpoint with no configuration of its own is fed.
    min_image_size: smallest side of an image, in pixels.
    fixed_image_size: whether images must have the side of `preprocessing`.
    names: what other publishers call its tensors, see `weights.Names`.
    options: what a checkpoint's configuration may say to `build`: `norm_eps`,
      `head_norm_eps`, `num_heads`, `tf_padding`.
    stated: what the configurations of such a network must say, by their keys,
      where they say it: a value, or the range from 0 to a bound.
    timm: what timm's configurations call it. Other networks have tensors of the
      same names (ResNets with blurred pooling), so others are refused.
    transformers: the `model_type` of transformers' configurations.
    pool: what timm's configurations call the pooling before the head.
  """

  build: Callable[..., nnx.Module]
  head: str
  preprocessing: source_lib.Preprocessing
  min_image_size: int
  fixed_image_size: bool = False
  names: weights.Names = ()
  options: tuple[str, ...] = ()
  stated: Mapping[str, Any] = dataclasses.field(default_factory=dict)
  timm: tuple[str, ...] = ()
  transformers: str | None = None
  pool: str = "avg"


def imagenet(**fields: Any) -> source_lib.Preprocessing:
  """What networks trained on ImageNet are mostly fed.

  Args:
    **fields: of `Preprocessing`, where they differ.
  """
  usual: dict[str, Any] = {
    "image_size": 224,
    "mean": IMAGENET_MEAN,
    "std": IMAGENET_STD,
    "crop": 0.875,
    "interpolation": "bicubic",
  }
  return source_lib.Preprocessing(**usual | fields)
