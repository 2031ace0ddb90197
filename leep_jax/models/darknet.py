"""DarkNet-53 (Redmon & Farhadi, 2018), in Flax NNX, named as in timm.

Images are `[B, H, W, 3]`, normalised, with sides of at least 32 pixels.
"""

from flax import nnx
import jax

from leep_jax.models import layers
from leep_jax.models.architecture import Architecture, imagenet

# Blocks and output channels of each stage, which begins by halving the image.
_STAGES = ((1, 64), (2, 128), (8, 256), (8, 512), (4, 1024))


class ConvNorm(nnx.Module):
  """A convolution with BatchNorm and leaky ReLU.

  Example:
    >>> from flax import nnx
    >>> import jax.numpy as jnp
    >>> from leep_jax.models import darknet
    >>> block = darknet.ConvNorm(3, 8, 3, stride=2, rngs=nnx.Rngs(0))
    >>> block(jnp.ones((2, 8, 8, 3))).shape
    (2, 4, 4, 8)
  """

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
    # The slope that timm's weights were trained with; Darknet's own is 0.1.
    return nnx.leaky_relu(self.bn(self.conv(x)), 0.01)


class DarkBlock(nnx.Module):
  """1x1 and 3x3 convolutions, added to the input.

  Example:
    >>> from flax import nnx
    >>> import jax.numpy as jnp
    >>> from leep_jax.models import darknet
    >>> block = darknet.DarkBlock(8, rngs=nnx.Rngs(0))
    >>> block(jnp.ones((2, 8, 8, 8))).shape
    (2, 8, 8, 8)
  """

  def __init__(self, channels: int, *, rngs: nnx.Rngs):
    # The 1x1 convolution halves the channels, so that the 3x3 one costs half.
    self.conv1 = ConvNorm(channels, channels // 2, 1, rngs=rngs)
    self.conv2 = ConvNorm(channels // 2, channels, 3, rngs=rngs)

  def __call__(self, x: jax.Array) -> jax.Array:
    return x + self.conv2(self.conv1(x))


class Stage(nnx.Module):
  """A convolution that halves the image, then blocks.

  Example:
    >>> from flax import nnx
    >>> import jax.numpy as jnp
    >>> from leep_jax.models import darknet
    >>> block = darknet.Stage(8, 16, 2, rngs=nnx.Rngs(0))
    >>> block(jnp.ones((2, 8, 8, 8))).shape
    (2, 4, 4, 16)
  """

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
  """On images `[B, H, W, 3]`: logits `[B, Z]`, features `[B, 1024]`.

  Example:
    >>> from flax import nnx
    >>> import jax.numpy as jnp
    >>> from leep_jax.sources import catalog
    >>> model = catalog.shapes("darknet53", 10)  # no values
    >>> images = jnp.zeros((2, 64, 64, 3))
    >>> logits, features = nnx.eval_shape(lambda m: m(images), model)
    >>> logits.shape, features.shape
    ((2, 10), (2, 1024))
  """

  def __init__(self, num_classes: int, *, rngs: nnx.Rngs):
    # Lists and dictionaries have the names under which timm publishes weights.
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
    # Side and crop of timm's evaluation.
    preprocessing=imagenet(image_size=256, crop=0.887),
    min_image_size=32,
    timm=("darknet53",),
  )
}
