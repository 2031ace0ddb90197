"""EfficientNets (Tan & Le, 2019) and their Lite variants, in Flax NNX.

A `Design` states the sizes of a network, MobileNet V2's too. Attributes have
timm's names; files of torchvision are read too. `tf_padding` and `norm_eps` are
for weights that were trained in TensorFlow. Images are `[B, H, W, 3]`,
normalised, with sides of at least 32 pixels.
"""

from collections.abc import Callable
import dataclasses
import functools
import math
import re
from typing import NamedTuple

from flax import nnx
import jax

from leep_jax.models import layers
from leep_jax.models.architecture import Architecture, imagenet


class Stage(NamedTuple):
  """Consecutive blocks of which the first strides and widens.

  Attributes:
    blocks: number of blocks.
    kernel: side of the kernels of the depthwise convolutions.
    stride: step of the first block's.
    expansion: factor by which each block widens its input.
    channels: of the output.

  Example:
    >>> from leep_jax.models import efficientnet
    >>> efficientnet.Stage(2, 3, 2, 6, 24).channels
    24
  """

  blocks: int
  kernel: int
  stride: int
  expansion: int
  channels: int


@dataclasses.dataclass(frozen=True)
class Design:
  """The sizes of a network of `MBConv` blocks.

  Attributes:
    stages: the stages, in order.
    activation: applied after BatchNorm, except at the end of a block.
    gated: whether blocks have squeeze-and-excitation.
    stem: number of channels of the first layer.
    features: number of features, D.

  Example:
    >>> from flax import nnx
    >>> from leep_jax.models import efficientnet
    >>> design = efficientnet.Design(
    ...   (efficientnet.Stage(1, 3, 1, 1, 16),), activation=nnx.relu,
    ...   gated=False)
    >>> design.stem, design.features
    (32, 1280)
  """

  stages: tuple[Stage, ...]
  activation: Callable[[jax.Array], jax.Array]
  gated: bool
  stem: int = 32
  features: int = 1280


# Of B0 and Lite0.
_STAGES = (
  Stage(1, 3, 1, 1, 16),
  Stage(2, 3, 2, 6, 24),
  Stage(2, 5, 2, 6, 40),
  Stage(3, 3, 2, 6, 80),
  Stage(3, 5, 1, 6, 112),
  Stage(4, 5, 2, 6, 192),
  Stage(1, 3, 1, 6, 320),
)


class MBConv(nnx.Module):
  """Expansion, depthwise convolution, squeeze-and-excitation and projection.

  The result is added to the input where both have the same shape. If the block
  is not `gated`, it has no squeeze-and-excitation.

  Example:
    >>> from flax import nnx
    >>> import jax.numpy as jnp
    >>> from leep_jax.models import efficientnet
    >>> block = efficientnet.MBConv(
    ...   8, 16, kernel=3, stride=2, expansion=6, activation=nnx.silu,
    ...   gated=True, norm_eps=1e-5, padding=None, rngs=nnx.Rngs(0))
    >>> block(jnp.ones((2, 8, 8, 8))).shape
    (2, 4, 4, 16)
  """

  def __init__(
    self,
    inputs: int,
    outputs: int,
    *,
    kernel: int,
    stride: int,
    expansion: int,
    activation: Callable[[jax.Array], jax.Array],
    gated: bool,
    norm_eps: float,
    padding: str | None,
    rngs: nnx.Rngs,
  ):
    wide = inputs * expansion
    self.activation = activation
    self.gated = gated
    self.expands = expansion > 1
    self.shortcut = stride == 1 and inputs == outputs

    def norm(channels):
      return layers.batch_norm(channels, eps=norm_eps, rngs=rngs)

    self.conv_dw = layers.conv(
      wide,
      wide,
      kernel,
      stride=stride,
      groups=wide,
      padding=padding,
      rngs=rngs,
    )
    if gated:
      # Squeezed to a quarter of the block's input, not of the wider channels
      # that are gated.
      self.se = layers.SqueezeExcite(
        wide,
        inputs // 4,
        names=("conv_reduce", "conv_expand"),
        activation=activation,
        rngs=rngs,
      )
    if self.expands:
      self.conv_pw = layers.conv(inputs, wide, 1, rngs=rngs)
      self.bn1, self.bn2, self.bn3 = norm(wide), norm(wide), norm(outputs)
      self.conv_pwl = layers.conv(wide, outputs, 1, rngs=rngs)
    else:
      # Without an expansion timm calls the projection conv_pw, not conv_pwl.
      self.bn1, self.bn2 = norm(wide), norm(outputs)
      self.conv_pw = layers.conv(wide, outputs, 1, rngs=rngs)

  def __call__(self, x: jax.Array) -> jax.Array:
    y: jax.Array
    # No activation after the projection: it would set the negative values of
    # the few channels to 0, which loses information.
    if self.expands:
      y = self.activation(self.bn1(self.conv_pw(x)))
      y = self._gate(self.activation(self.bn2(self.conv_dw(y))))
      y = self.bn3(self.conv_pwl(y))
    else:
      y = self._gate(self.activation(self.bn1(self.conv_dw(x))))
      y = self.bn2(self.conv_pw(y))
    return x + y if self.shortcut else y

  def _gate(self, x: jax.Array) -> jax.Array:
    gated: jax.Array = self.se(x) if self.gated else x
    return gated


class EfficientNet(nnx.Module):
  """On images `[B, H, W, 3]`: logits `[B, Z]`, features `[B, D]`.

  Example:
    >>> from flax import nnx
    >>> import jax.numpy as jnp
    >>> from leep_jax.sources import catalog
    >>> model = catalog.shapes("efficientnet_b0", 10)  # no values
    >>> images = jnp.zeros((2, 64, 64, 3))
    >>> logits, features = nnx.eval_shape(lambda m: m(images), model)
    >>> logits.shape, features.shape
    ((2, 10), (2, 1280))
  """

  def __init__(
    self,
    design: Design,
    num_classes: int,
    *,
    norm_eps: float = 1e-5,
    tf_padding: bool = False,
    rngs: nnx.Rngs,
  ):
    padding = "SAME" if tf_padding else None
    self.activation = design.activation
    inputs = design.stem
    self.conv_stem = layers.conv(
      3, inputs, 3, stride=2, padding=padding, rngs=rngs
    )
    self.bn1 = layers.batch_norm(inputs, eps=norm_eps, rngs=rngs)
    stages = []
    for stage in design.stages:
      blocks = []
      for i in range(stage.blocks):
        block = MBConv(
          inputs,
          stage.channels,
          kernel=stage.kernel,
          stride=1 if i else stage.stride,
          expansion=stage.expansion,
          activation=design.activation,
          gated=design.gated,
          norm_eps=norm_eps,
          padding=padding,
          rngs=rngs,
        )
        inputs = stage.channels
        blocks.append(block)
      stages.append(nnx.List(blocks))
    self.blocks = nnx.List(stages)
    features = design.features
    self.conv_head = layers.conv(inputs, features, 1, rngs=rngs)
    self.bn2 = layers.batch_norm(features, eps=norm_eps, rngs=rngs)
    self.classifier = layers.head(features, num_classes, rngs=rngs)

  def __call__(self, x: jax.Array) -> tuple[jax.Array, jax.Array]:
    x = self.activation(self.bn1(self.conv_stem(x)))
    for stage in self.blocks:
      for block in stage:
        x = block(x)
    x = self.activation(self.bn2(self.conv_head(x)))
    features = layers.global_average(x)
    return self.classifier(features), features


def _scaled(width: float, depth: float) -> tuple[Stage, ...]:
  """The stages of a larger network.

  Args:
    width: factor of the channels.
    depth: factor of the blocks, except in the first and last stage.
  """
  stages = []
  for i, stage in enumerate(_STAGES):
    inner = 0 < i < len(_STAGES) - 1
    wanted = stage.channels * width
    # The nearest multiple of 8 that is not more than a tenth smaller.
    channels = int(wanted + 4) // 8 * 8
    if channels < 0.9 * wanted:
      channels += 8
    blocks = math.ceil(stage.blocks * depth) if inner else stage.blocks
    stages.append(stage._replace(blocks=blocks, channels=channels))
  return tuple(stages)


# Factors of width and depth, image size and crop of each Lite network.
_LITE = (
  (1.0, 1.0, 224, 0.875),
  (1.0, 1.1, 240, 0.882),
  (1.1, 1.2, 260, 0.890),
  (1.2, 1.4, 300, 0.904),
  (1.4, 1.8, 380, 0.922),
)


# torchvision numbers the layers of a block. The numbers differ between blocks
# without an expansion (those of the first stage) and with one.
_PLAIN = {"0.0": "conv_dw", "0.1": "bn1", "2.0": "conv_pw", "2.1": "bn2"}
_EXPANDED = {
  "0.0": "conv_pw", "0.1": "bn1", "1.0": "conv_dw", "1.1": "bn2",
  "3.0": "conv_pwl", "3.1": "bn3",
}  # fmt: skip


def _block(match):
  """The published name of a layer of a block in torchvision's files."""
  # features.0 is the stem, and the stages follow.
  stage, block, rest = int(match[1]) - 1, match[2], match[3]
  layers_of = _EXPANDED if stage else _PLAIN
  # The gate has a number too, and layers of its own with names.
  layer = re.sub(
    rf"^{2 if stage else 1}\.fc([12])\.",
    lambda m: ("se.conv_reduce.", "se.conv_expand.")[int(m[1]) - 1],
    rest,
  )
  number, _, name = layer.rpartition(".")
  return f"blocks.{stage}.{block}.{layers_of.get(number, number)}.{name}"


ARCHITECTURES = {
  "efficientnet_b0": Architecture(
    build=functools.partial(
      EfficientNet, Design(_STAGES, activation=nnx.silu, gated=True)
    ),
    head="classifier.weight",
    preprocessing=imagenet(),
    min_image_size=32,
    names=(  # torchvision
      (r"^features\.0\.0\.", "conv_stem."),
      (r"^features\.0\.1\.", "bn1."),
      (r"^features\.8\.0\.", "conv_head."),
      (r"^features\.8\.1\.", "bn2."),
      (r"^features\.([1-7])\.(\d+)\.block\.(.*)$", _block),
      (r"^classifier\.1\.", "classifier."),
    ),
    options=("norm_eps", "tf_padding"),
    timm=("efficientnet_b0", "tf_efficientnet_b0"),
  ),
  **{
    f"efficientnet_lite{i}": Architecture(
      build=functools.partial(
        EfficientNet,
        # Their stem and features are as wide as Lite0's.
        Design(_scaled(width, depth), activation=jax.nn.relu6, gated=False),
      ),
      head="classifier.weight",
      preprocessing=imagenet(image_size=size, crop=crop),
      min_image_size=32,
      options=("norm_eps", "tf_padding"),
      timm=(f"efficientnet_lite{i}", f"tf_efficientnet_lite{i}"),
    )
    for i, (width, depth, size, crop) in enumerate(_LITE)
  },
}
