"""DarkNet-53 (Redmon & Farhadi, 2018), in Flax NNX, named as in timm.

Images are `[B, H, W, 3]`, normalised, of any size from 32.
"""

from flax import nnx
import jax

from leep_jax.models import layers
from leep_jax.models.architecture import Architecture, imagenet

# Blocks and output channels of each stage, which begins by halving the image.
_STAGES = ((1, 64), (2, 128), (8, 256), (8, 512), (4, 1024))


class ConvNorm(nnx.Module):
  """A convolution with BatchNorm and leaky ReLU (slope 0.01, as in timm)."""

  def __init__(
    self,
    inputs: int,
    outputs: int,
    kernel: int,
    *,
    rngs: nnx.Rngs,
    stride: int = 1,
  ):
    self.conv = layers.conv(inputs, outputs, kernel, stride=stride, rngs=rngs)
    self.bn = layers.batch_norm(outputs, rngs=rngs)

  def __call__(self, x: jax.Array) -> jax.Array:
    return nnx.leaky_relu(self.bn(self.conv(x)), 0.01)


class DarkBlock(nnx.Module):
  """1x1 and 3x3 convolutions and a shortcut."""

  def __init__(self, channels: int, *, rngs: nnx.Rngs):
    self.conv1 = ConvNorm(channels, channels // 2, 1, rngs=rngs)
    self.conv2 = ConvNorm(channels // 2, channels, 3, rngs=rngs)

  def __call__(self, x: jax.Array) -> jax.Array:
    return x + self.conv2(self.conv1(x))


class Stage(nnx.Module):
  """A convolution that halves the image, then blocks."""

  def __init__(self, inputs: int, outputs: int, depth: int, *, rngs: nnx.Rngs):
    self.conv_down = ConvNorm(inputs, outputs, 3, stride=2, rngs=rngs)
    self.blocks = nnx.List(
      [DarkBlock(outputs, rngs=rngs) for _ in range(depth)]
    )

  def __call__(self, x: jax.Array) -> jax.Array:
    x = self.conv_down(x)
    for block in self.blocks:
      x = block(x)
    return x


class DarkNet53(nnx.Module):
  """On images `[B, H, W, 3]`: logits `[B, Z]`, features `[B, 1024]`."""

  def __init__(self, num_classes: int, *, rngs: nnx.Rngs):
    self.stem = nnx.Dict(conv1=ConvNorm(3, 32, 3, rngs=rngs))
    inputs, stages = 32, []
    for depth, outputs in _STAGES:
      stages.append(Stage(inputs, outputs, depth, rngs=rngs))
      inputs = outputs
    self.stages = nnx.List(stages)
    self.head = nnx.Dict(fc=layers.head(inputs, num_classes, rngs=rngs))

  def __call__(self, x: jax.Array) -> tuple[jax.Array, jax.Array]:
    x = self.stem.conv1(x)
    for stage in self.stages:
      x = stage(x)
    features = layers.global_average(x)
    return self.head.fc(features), features


ARCHITECTURES = {
  "darknet53": Architecture(
    build=DarkNet53,
    head="head.fc.weight",
    preprocessing=imagenet(image_size=256, crop=0.887),
    min_image_size=32,
    timm=("darknet53",),
  )
}
