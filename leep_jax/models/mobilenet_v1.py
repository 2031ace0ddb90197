"""MobileNet V1 (Howard et al., 2017) at four widths, in Flax NNX.

Depthwise 3x3 and pointwise 1x1 convolutions with ReLU6; attributes have timm's
names. With `tf_padding`, convolutions pad as TensorFlow does, for weights that
were trained there.

Images are `[B, H, W, 3]`, normalised, with sides of at least 32 pixels.
"""

import functools

from flax import nnx
import jax

from leep_jax.models import layers
from leep_jax.models.architecture import Architecture, imagenet

# Blocks and output channels of each stage; all but the first halve the image.
_STAGES = ((1, 64), (2, 128), (2, 256), (6, 512), (2, 1024))


class SeparableBlock(nnx.Module):
  """A depthwise and a pointwise convolution, each with BatchNorm and ReLU6.

  Example:
    >>> from flax import nnx
    >>> import jax.numpy as jnp
    >>> from leep_jax.models import mobilenet_v1
    >>> block = mobilenet_v1.SeparableBlock(
    ...   8, 16, stride=2, norm_eps=1e-5, padding=None, rngs=nnx.Rngs(0))
    >>> block(jnp.ones((2, 8, 8, 8))).shape
    (2, 4, 4, 16)
  """

  def __init__(
    self,
    inputs: int,
    outputs: int,
    *,
    stride: int,
    norm_eps: float,
    padding: str | None,
    rngs: nnx.Rngs,
  ):
    self.conv_dw = layers.conv(
      inputs, inputs, 3, stride=stride, groups=inputs, padding=padding,
      rngs=rngs,
    )  # fmt: skip
    self.bn1 = layers.batch_norm(inputs, eps=norm_eps, rngs=rngs)
    self.conv_pw = layers.conv(inputs, outputs, 1, rngs=rngs)
    self.bn2 = layers.batch_norm(outputs, eps=norm_eps, rngs=rngs)

  def __call__(self, x: jax.Array) -> jax.Array:
    x = jax.nn.relu6(self.bn1(self.conv_dw(x)))
    return jax.nn.relu6(self.bn2(self.conv_pw(x)))


class MobileNetV1(nnx.Module):
  """On images `[B, H, W, 3]`: logits `[B, Z]`, features `[B, 1024 * width]`.

  Example:
    >>> from flax import nnx
    >>> import jax.numpy as jnp
    >>> from leep_jax.sources import catalog
    >>> model = catalog.shapes("mobilenet_v1_025", 10)  # no values
    >>> images = jnp.zeros((2, 64, 64, 3))
    >>> logits, features = nnx.eval_shape(lambda m: m(images), model)
    >>> logits.shape, features.shape
    ((2, 10), (2, 256))
  """

  def __init__(
    self,
    width: float,
    num_classes: int,
    *,
    norm_eps: float = 1e-5,
    tf_padding: bool = False,
    rngs: nnx.Rngs,
  ):
    padding = "SAME" if tf_padding else None
    # The width multiplies the channels of all layers.
    inputs = int(32 * width)
    self.conv_stem = layers.conv(
      3, inputs, 3, stride=2, padding=padding, rngs=rngs
    )
    self.bn1 = layers.batch_norm(inputs, eps=norm_eps, rngs=rngs)
    stages: list[nnx.List[SeparableBlock]] = []
    for depth, channels in _STAGES:
      blocks = []
      for i in range(depth):
        block = SeparableBlock(
          inputs,
          int(channels * width),
          stride=2 if stages and not i else 1,
          norm_eps=norm_eps,
          padding=padding,
          rngs=rngs,
        )
        inputs = int(channels * width)
        blocks.append(block)
      stages.append(nnx.List(blocks))
    self.blocks = nnx.List(stages)
    self.classifier = layers.head(inputs, num_classes, rngs=rngs)

  def __call__(self, x: jax.Array) -> tuple[jax.Array, jax.Array]:
    x = jax.nn.relu6(self.bn1(self.conv_stem(x)))
    for stage in self.blocks:
      for block in stage:
        x = block(x)
    features = layers.global_average(x)
    return self.classifier(features), features


# Stage and index of all blocks in order. transformers counts depthwise and
# pointwise convolutions through all stages, two a block.
_BLOCKS = [(s, b) for s, (depth, _) in enumerate(_STAGES) for b in range(depth)]


def _layer(match):
  """The published name of a layer in transformers' files."""
  number = int(match[1])
  if number >= 2 * len(_BLOCKS):  # left as it is, and listed as unmatched
    return match[0]
  stage, block = _BLOCKS[number // 2]
  point = number % 2
  # Of each pair, the depthwise convolution is first.
  layer = ("conv_dw", "conv_pw")[point]
  if match[2] == "normalization":
    layer = ("bn1", "bn2")[point]
  return f"blocks.{stage}.{block}.{layer}."


ARCHITECTURES = {
  f"mobilenet_v1_{percent:03}": Architecture(
    build=functools.partial(MobileNetV1, percent / 100),
    head="classifier.weight",
    # TensorFlow's networks take pixels in [-1, 1].
    preprocessing=imagenet(mean=(0.5,) * 3, std=(0.5,) * 3),
    min_image_size=32,
    # timm's names need no translation.
    names=(  # transformers
      (r"^mobilenet_v1\.conv_stem\.convolution\.", "conv_stem."),
      (r"^mobilenet_v1\.conv_stem\.normalization\.", "bn1."),
      (
        r"^mobilenet_v1\.layer\.(\d+)\.(convolution|normalization)\.",
        _layer,
      ),
    ),
    options=("norm_eps", "tf_padding"),
    stated={
      "depth_multiplier": percent / 100,
      # A lower bound of channels, which no layer here goes below.
      "min_depth": range(32 * percent // 100 + 1),
    },
    timm=(f"mobilenetv1_{percent:03}",),
    transformers="mobilenet_v1",
  )
  for percent in (100, 75, 50, 25)
}
