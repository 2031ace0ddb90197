"""CIFAR residual networks (He et al., 2016, section 4.2), in Flax NNX.

A network of depth 6n+2 has three stages of n blocks with 16, 32 and 64
channels. Shortcuts carry no parameters ("option A"): where the shape changes,
the input is sub-sampled by two and padded with zero channels on both sides.

Images are `[B, H, W, 3]`, normalised; the network is fully convolutional up to
a global average, so any size of at least 8 pixels a side works.
"""

from collections.abc import Callable
import functools

from flax import nnx
import jax
import jax.numpy as jnp

MIN_IMAGE_SIZE = 8
DEPTHS = (8, 14, 20, 32, 44, 56, 110)


def _conv(inputs, outputs, *, stride, rngs):
  return nnx.Conv(
    inputs,
    outputs,
    (3, 3),
    strides=stride,
    padding=1,  # as PyTorch pads: one pixel on every side, also at stride 2
    use_bias=False,
    kernel_init=nnx.initializers.he_normal(),
    rngs=rngs,
  )


def _norm(channels, *, rngs):
  return nnx.BatchNorm(channels, momentum=0.9, epsilon=1e-5, rngs=rngs)


class BasicBlock(nnx.Module):
  """Two 3x3 convolutions and a shortcut without parameters."""

  def __init__(self, inputs: int, outputs: int, *, stride: int, rngs: nnx.Rngs):
    self.conv1 = _conv(inputs, outputs, stride=stride, rngs=rngs)
    self.bn1 = _norm(outputs, rngs=rngs)
    self.conv2 = _conv(outputs, outputs, stride=1, rngs=rngs)
    self.bn2 = _norm(outputs, rngs=rngs)
    self.stride = stride
    self.pad = (outputs - inputs) // 2

  def __call__(self, x: jax.Array) -> jax.Array:
    y = nnx.relu(self.bn1(self.conv1(x)))
    y = self.bn2(self.conv2(y))
    if self.stride != 1:
      x = x[:, :: self.stride, :: self.stride]
    if self.pad:
      x = jnp.pad(x, ((0, 0), (0, 0), (0, 0), (self.pad, self.pad)))
    return nnx.relu(x + y)


def _stage(inputs, outputs, count, *, rngs):
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
  """

  def __init__(self, depth: int, num_classes: int, *, rngs: nnx.Rngs):
    self.conv1 = _conv(3, 16, stride=1, rngs=rngs)
    self.bn1 = _norm(16, rngs=rngs)
    n = (depth - 2) // 6
    self.layer1 = _stage(16, 16, n, rngs=rngs)
    self.layer2 = _stage(16, 32, n, rngs=rngs)
    self.layer3 = _stage(32, 64, n, rngs=rngs)
    self.linear = nnx.Linear(64, num_classes, rngs=rngs)

  def __call__(self, x: jax.Array) -> tuple[jax.Array, jax.Array]:
    x = nnx.relu(self.bn1(self.conv1(x)))
    for stage in (self.layer1, self.layer2, self.layer3):
      for block in stage:
        x = block(x)
    features = x.mean(axis=(1, 2))
    return self.linear(features), features


def build(depth: int) -> Callable[..., CifarResNet]:
  """Returns a constructor `(num_classes, *, rngs)` for one depth."""
  return functools.partial(CifarResNet, depth)
