"""ImageNet residual networks (He et al., 2016), in Flax NNX.

As torchvision and timm publish them: a stem of a 7x7 convolution and pooling,
then four stages. In bottleneck blocks, the 3x3 convolution has the stride and
not the first one ("v1.5"). Images are `[B, H, W, 3]`, normalised, with sides of
at least 32 pixels.
"""

import functools

from flax import nnx
import jax

from leep_jax.models import layers
from leep_jax.models.architecture import Architecture, Names, imagenet


class BasicBlock(nnx.Module):
  """Two 3x3 convolutions and a shortcut.

  Example:
    >>> from flax import nnx
    >>> import jax.numpy as jnp
    >>> from leep_jax.models import resnet
    >>> block = resnet.BasicBlock(8, 16, stride=2, rngs=nnx.Rngs(0))
    >>> block(jnp.ones((2, 8, 8, 8))).shape
    (2, 4, 4, 16)
  """

  expansion = 1

  def __init__(self, inputs: int, width: int, *, stride: int, rngs: nnx.Rngs):
    self.conv1 = layers.conv(inputs, width, 3, stride=stride, rngs=rngs)
    self.bn1 = layers.batch_norm(width, rngs=rngs)
    self.conv2 = layers.conv(width, width, 3, rngs=rngs)
    self.bn2 = layers.batch_norm(width, rngs=rngs)
    self.downsample = _downsample(inputs, width, stride=stride, rngs=rngs)

  def __call__(self, x: jax.Array) -> jax.Array:
    y = nnx.relu(self.bn1(self.conv1(x)))
    y = self.bn2(self.conv2(y))
    return nnx.relu(y + _apply(self.downsample, x))


class Bottleneck(nnx.Module):
  """1x1, 3x3 and 1x1 convolutions and a shortcut.

  Example:
    >>> from flax import nnx
    >>> import jax.numpy as jnp
    >>> from leep_jax.models import resnet
    >>> block = resnet.Bottleneck(8, 4, stride=1, rngs=nnx.Rngs(0))
    >>> block(jnp.ones((2, 8, 8, 8))).shape
    (2, 8, 8, 16)
  """

  expansion = 4

  def __init__(self, inputs: int, width: int, *, stride: int, rngs: nnx.Rngs):
    outputs = self.expansion * width
    self.conv1 = layers.conv(inputs, width, 1, rngs=rngs)
    self.bn1 = layers.batch_norm(width, rngs=rngs)
    # The 3x3 convolution strides, as in torchvision and timm ("v1.5"); in the
    # paper, the first 1x1 one does.
    self.conv2 = layers.conv(width, width, 3, stride=stride, rngs=rngs)
    self.bn2 = layers.batch_norm(width, rngs=rngs)
    self.conv3 = layers.conv(width, outputs, 1, rngs=rngs)
    self.bn3 = layers.batch_norm(outputs, rngs=rngs)
    self.downsample = _downsample(inputs, outputs, stride=stride, rngs=rngs)

  def __call__(self, x: jax.Array) -> jax.Array:
    y = nnx.relu(self.bn1(self.conv1(x)))
    y = nnx.relu(self.bn2(self.conv2(y)))
    y = self.bn3(self.conv3(y))
    # The last activation is after the sum, as in `BasicBlock`.
    return nnx.relu(y + _apply(self.downsample, x))


def _downsample(inputs, outputs, *, stride, rngs):
  # An empty list where the shapes agree: the shortcut is the input itself.
  if stride == 1 and inputs == outputs:
    return nnx.List([])
  return nnx.List(
    [
      layers.conv(inputs, outputs, 1, stride=stride, rngs=rngs),
      layers.batch_norm(outputs, rngs=rngs),
    ]
  )


def _apply(sequence, x):
  for layer in sequence:
    x = layer(x)
  return x


class ResNet(nnx.Module):
  """A ResNet; on images `[B, H, W, 3]`: logits `[B, Z]`, features `[B, D]`.

  D is 512 with basic blocks and 2048 with bottlenecks.

  Example:
    >>> from flax import nnx
    >>> import jax.numpy as jnp
    >>> from leep_jax.sources import catalog
    >>> model = catalog.shapes("resnet18", 10)  # no values
    >>> images = jnp.zeros((2, 64, 64, 3))
    >>> logits, features = nnx.eval_shape(lambda m: m(images), model)
    >>> logits.shape, features.shape
    ((2, 10), (2, 512))
  """

  def __init__(
    self,
    block: type[BasicBlock] | type[Bottleneck],
    depths: tuple[int, int, int, int],
    num_classes: int,
    *,
    rngs: nnx.Rngs,
  ):
    # The stem and pooling reduce each side to a quarter before the blocks.
    self.conv1 = layers.conv(3, 64, 7, stride=2, rngs=rngs)
    self.bn1 = layers.batch_norm(64, rngs=rngs)
    inputs = 64
    for stage, depth in enumerate(depths):
      width, blocks = 64 << stage, []
      for i in range(depth):
        # Pooling has halved the image before the first stage.
        stride = 2 if stage and not i else 1
        blocks.append(block(inputs, width, stride=stride, rngs=rngs))
        inputs = block.expansion * width
      # Attributes have the names under which weights are published.
      setattr(self, f"layer{stage + 1}", nnx.List(blocks))
    self.fc = layers.head(inputs, num_classes, rngs=rngs)

  def __call__(self, x: jax.Array) -> tuple[jax.Array, jax.Array]:
    x = nnx.relu(self.bn1(self.conv1(x)))
    # Padded on both sides, as PyTorch pads, unlike SENet's.
    x = layers.max_pool(x, before=1, after=1)
    for name in ("layer1", "layer2", "layer3", "layer4"):
      x = _apply(getattr(self, name), x)
    features = layers.global_average(x)
    return self.fc(features), features


# Blocks of each stage; two or three convolutions each, and the first and last
# layer, add up to the depth.
_DEPTHS: dict[
  int, tuple[type[BasicBlock] | type[Bottleneck], tuple[int, int, int, int]]
] = {
  18: (BasicBlock, (2, 2, 2, 2)),
  34: (BasicBlock, (3, 4, 6, 3)),
  50: (Bottleneck, (3, 4, 6, 3)),
  101: (Bottleneck, (3, 4, 23, 3)),
  152: (Bottleneck, (3, 8, 36, 3)),
}


def _stage(match):
  """Renames a stage: transformers counts from 0 what is counted from 1 here."""
  stage, block, rest = match.groups()
  return f"layer{int(stage) + 1}.{block}.{rest}"


def _layer(match):
  layer = int(match[2]) + 1
  kind = {"convolution": "conv", "normalization": "bn"}[match[3]]
  return f"{match[1]}.{kind}{layer}."


_KINDS = {"convolution": "0", "normalization": "1"}
# What transformers calls layers of a stage are blocks here. Each has `layer.0`,
# `layer.1`, ..., which consist of a convolution and a norm.
_TRANSFORMERS: Names = (
  (r"^resnet\.embedder\.embedder\.convolution\.", "conv1."),
  (r"^resnet\.embedder\.embedder\.normalization\.", "bn1."),
  (r"^resnet\.encoder\.stages\.(\d+)\.layers\.(\d+)\.(.*)$", _stage),
  (
    r"^(layer\d+\.\d+)\.layer\.(\d+)\.(convolution|normalization)\.",
    _layer,
  ),
  (
    r"^(layer\d+\.\d+)\.shortcut\.(convolution|normalization)\.",
    lambda match: f"{match[1]}.downsample.{_KINDS[match[2]]}.",
  ),
  (r"^classifier\.1\.", "fc."),
)

ARCHITECTURES = {
  f"resnet{depth}": Architecture(
    build=functools.partial(ResNet, *blocks),
    head="fc.weight",
    # torchvision's training, which most of these weights are from, resizes so.
    preprocessing=imagenet(interpolation="bilinear"),
    min_image_size=32,
    stated={
      "layer_type": "basic" if blocks[0] is BasicBlock else "bottleneck",
      "depths": blocks[1],
      "hidden_sizes": tuple(
        blocks[0].expansion * 64 << stage for stage in range(4)
      ),
    },
    names=_TRANSFORMERS,
    timm=(f"resnet{depth}",),
    transformers="resnet",
  )
  for depth, blocks in _DEPTHS.items()
}
