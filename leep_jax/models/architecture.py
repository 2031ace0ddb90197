"""The row that describes an architecture: how to build it and what it takes."""

from collections.abc import Callable, Mapping
import dataclasses
import re
from typing import Any

from flax import nnx
import numpy as np

from leep_jax.models.preprocessing import Preprocessing

# Substitutions (pattern, replacement) that turn the names in a file into the
# published names; all are applied, in this order. Names that then end in "#0",
# "#1", ... are pieces of one tensor, to be joined along the first axis.
Names = tuple[tuple[str, str | Callable[[re.Match[str]], str]], ...]

# Mean and standard deviation of red, green and blue in ImageNet's training
# images, in [0, 1]. Nearly all publishers of weights use these numbers.
IMAGENET_MEAN = (0.485, 0.456, 0.406)
IMAGENET_STD = (0.229, 0.224, 0.225)


@dataclasses.dataclass(frozen=True)
class Architecture:
  """A network definition, and how checkpoints of it are read.

  Attributes:
    build: `(num_classes, *, rngs, **options) -> nnx.Module`; called on images
      `[B, H, W, 3]` it gives `(logits [B, Z], features [B, D])`.
    head: published name of the last layer's weight, `[Z, D]`. Its shape shows
      how many classes a checkpoint has.
    preprocessing: of images, if the checkpoint has no configuration.
    min_image_size: smallest side of an image, in pixels.
    fixed_image_size: whether images must have the side of `preprocessing`.
    names: translates the names of tensors that other publishers use.
    options: the arguments of `build` that a checkpoint's configuration may set:
      `norm_eps`, `head_norm_eps`, `num_heads`, `tf_padding`, `activation`,
      `pool`, `image_size`.
    stated: sizes of the network, by the keys of configurations: a configuration
      that has such a key must state this value, or one in this range. With
      `infer`, a function of the options that returns them.
    timm: names of the network in timm's configurations. A configuration with
      another name is refused: other networks may have tensors of the same names
      and shapes, such as ResNets with blurred pooling.
    configured: further names that its configurations may have.
    transformers: the `model_type` in transformers' configurations.
    pool: name of the pooling before the head in timm's configurations; None if
      it is an option.
    infer: `(tensors, options) -> options`: adds what the tensors of a file tell
      of the network, by their published names.
    adapt: `(tensors, options, *, image_size, publisher) -> (options, changes)`:
      brings them to a size of images; `changes` are tensors that replace those
      of the file, or None for those that are left out. `publisher` is the
      `model_type` of transformers, or None.
    projects: whether a head whose bias is 0 projects to a space that images
      share with texts, and is no classifier.

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
  stated: Mapping[str, Any] | Callable[..., Mapping[str, Any]] = (
    dataclasses.field(default_factory=dict)
  )
  timm: tuple[str, ...] = ()
  configured: tuple[str, ...] = ()
  transformers: str | None = None
  pool: str | None = "avg"
  infer: Callable[..., dict[str, Any]] | None = None
  adapt: (
    Callable[..., tuple[dict[str, Any], dict[str, np.ndarray | None]]] | None
  ) = None
  projects: bool = False


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
