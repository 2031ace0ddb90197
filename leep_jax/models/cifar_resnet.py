"""CIFAR residual networks (He et al., 2016, section 4.2), in Flax NNX.

A network of depth 6n+2 has three stages of n blocks with 16, 32 and 64
channels. Shortcuts carry no parameters ("option A"): where the shape changes,
the input is sub-sampled by two and padded with zero channels on both sides.

Images are `[B, H, W, 3]`, normalised. The network is fully convolutional up to
a global average, so that images may have any side of at least 8 pixels.
"""

import functools

from flax import nnx
import jax
import jax.numpy as jnp

from leep_jax.models import layers, preprocessing as preprocessing_lib
from leep_jax.models.architecture import (
  IMAGENET_MEAN,
  IMAGENET_STD,
  Architecture,
)


class BasicBlock(nnx.Module):
  """Two 3x3 convolutions and a shortcut without parameters.

  Example:
    >>> from flax import nnx
    >>> import jax.numpy as jnp
    >>> from leep_jax.models import cifar_resnet
    >>> block = cifar_resnet.BasicBlock(16, 32, stride=2, rngs=nnx.Rngs(0))
    >>> block(jnp.ones((2, 8, 8, 16))).shape
    (2, 4, 4, 32)
  """

  def __init__(self, inputs: int, outputs: int, *, stride: int, rngs: nnx.Rngs):
    self.conv1 = layers.conv(inputs, outputs, 3, stride=stride, rngs=rngs)
    self.bn1 = layers.batch_norm(outputs, rngs=rngs)
    self.conv2 = layers.conv(outputs, outputs, 3, rngs=rngs)
    self.bn2 = layers.batch_norm(outputs, rngs=rngs)
    self.stride = stride
    # New channels of the shortcut, on each side of those of the input.
    self.pad = (outputs - inputs) // 2

  def __call__(self, x: jax.Array, film: jax.Array | None = None) -> jax.Array:
    """Runs the block on `[B, H, W, inputs]`.

    Args:
      x: its input.
      film: `[2, 2, outputs]`, for each of the two BatchNorms the factors and
        the terms that its result is multiplied by and that are then added
        (Perez et al., 2018, "FiLM"); or None.
    """
    first, second = (None, None) if film is None else film
    y = nnx.relu(_modulate(self.bn1(self.conv1(x)), first))
    y = _modulate(self.bn2(self.conv2(y)), second)
    if self.stride != 1:
      x = x[:, :: self.stride, :: self.stride]
    if self.pad:
      x = jnp.pad(x, ((0, 0), (0, 0), (0, 0), (self.pad, self.pad)))
    return nnx.relu(x + y)


def _modulate(x, film):
  if film is None:
    return x
  # The axes of the batch and the image are explicit, as the tests refuse
  # broadcasting between arrays of different rank.
  gamma, beta = film[:, None, None, None]
  return gamma * x + beta


def _stage(inputs, outputs, count, *, rngs):
  # The first block halves the image where it doubles the channels, so that all
  # stages cost the same.
  first = BasicBlock(
    inputs, outputs, stride=1 if inputs == outputs else 2, rngs=rngs
  )
  rest = [
    BasicBlock(outputs, outputs, stride=1, rngs=rngs) for _ in range(count - 1)
  ]
  return nnx.List([first, *rest])


class CifarResNet(nnx.Module):
  """A CIFAR ResNet of 6n+2 layers.

  Calling it on images `[B, H, W, 3]` gives `(logits [B, Z], features [B, 64])`;
  the features are the input of the last fully connected layer.

  Example:
    >>> from flax import nnx
    >>> import jax.numpy as jnp
    >>> from leep_jax.sources import catalog
    >>> model = catalog.shapes("resnet20", 10)  # no values
    >>> images = jnp.zeros((2, 32, 32, 3))
    >>> logits, features = nnx.eval_shape(lambda m: m(images), model)
    >>> logits.shape, features.shape
    ((2, 10), (2, 64))
  """

  def __init__(self, depth: int, num_classes: int, *, rngs: nnx.Rngs):
    self.conv1 = layers.conv(3, 16, 3, rngs=rngs)
    self.bn1 = layers.batch_norm(16, rngs=rngs)
    # Three stages of n blocks of two convolutions, plus first and last layer.
    n = (depth - 2) // 6
    self.layer1 = _stage(16, 16, n, rngs=rngs)
    self.layer2 = _stage(16, 32, n, rngs=rngs)
    self.layer3 = _stage(32, 64, n, rngs=rngs)
    self.linear = layers.head(64, num_classes, rngs=rngs)

  @property
  def blocks(self) -> list[BasicBlock]:
    """All blocks of all stages, in order."""
    return [*self.layer1, *self.layer2, *self.layer3]

  def stem(self, x: jax.Array) -> jax.Array:
    """Returns the input of the first block, `[B, H, W, 16]`."""
    return nnx.relu(self.bn1(self.conv1(x)))

  def __call__(self, x: jax.Array) -> tuple[jax.Array, jax.Array]:
    x = self.stem(x)
    for block in self.blocks:
      x = block(x)
    features = layers.global_average(x)
    return self.linear(features), features


ARCHITECTURES = {
  f"resnet{depth}": Architecture(
    build=functools.partial(CifarResNet, depth),
    # `linear` in the published weights, where ImageNet's ResNets have `fc`.
    head="linear.weight",
    preprocessing=preprocessing_lib.Preprocessing(
      image_size=32, mean=IMAGENET_MEAN, std=IMAGENET_STD
    ),
    min_image_size=8,
    timm=(f"resnet{depth}",),
  )
  for depth in (8, 14, 20, 32, 44, 56, 110)
}
