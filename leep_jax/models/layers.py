"""Layers that several architectures share, laid out as PyTorch's."""

from collections.abc import Callable
import functools

from flax import nnx
import jax
import jax.numpy as jnp
import numpy as np


def conv(
  inputs: int,
  outputs: int,
  kernel: int,
  *,
  rngs: nnx.Rngs,
  stride: int = 1,
  groups: int = 1,
  use_bias: bool = False,
  padding: int | str | None = None,
) -> nnx.Conv:
  """A square convolution.

  Args:
    inputs: number of input channels.
    outputs: number of output channels.
    kernel: side of the kernel.
    rngs: of the initial weights.
    stride: step, in pixels.
    groups: in how many groups channels are convolved.
    use_bias: whether there is a bias.
    padding: pixels on every side, or "SAME" as TensorFlow pads (at the end
      first). Default: half of the kernel, also at stride 2, as PyTorch.
  """
  return nnx.Conv(
    inputs,
    outputs,
    (kernel, kernel),
    strides=stride,
    padding=(kernel - 1) // 2 if padding is None else padding,
    feature_group_count=groups,
    use_bias=use_bias,
    kernel_init=nnx.initializers.he_normal(),
    conv_general_dilated=_depthwise
    if groups == inputs == outputs
    else jax.lax.conv_general_dilated,
    rngs=rngs,
  )


def _depthwise(x, kernel, strides, padding, **options):
  """A convolution of each channel with a kernel of its own.

  XLA's own is 30 to 70 times slower on a CPU than shifted products added up,
  which it fuses into one loop.
  """
  return jax.lax.platform_dependent(
    x,
    kernel,
    cpu=functools.partial(_shifted, strides=strides, padding=padding),
    default=functools.partial(
      jax.lax.conv_general_dilated,
      window_strides=strides,
      padding=padding,
      **options,
    ),
  )


def _shifted(x, kernel, *, strides, padding):
  sides, shape = kernel.shape[:2], x.shape[1:3]
  if isinstance(padding, str):
    padding = jax.lax.padtype_to_pads(shape, sides, strides, padding)
  padded = jnp.pad(x, ((0, 0), *padding, (0, 0)))
  last = [
    (size - side) // stride * stride
    for size, side, stride in zip(
      padded.shape[1:3], sides, strides, strict=True
    )
  ]
  total = jnp.float32(0)
  for row, column in np.ndindex(*sides):
    part = padded[
      :,
      row : row + last[0] + 1 : strides[0],
      column : column + last[1] + 1 : strides[1],
    ]
    weight = kernel[row, column, 0].astype(jnp.float32)
    total = total + part.astype(jnp.float32) * weight[None, None, None]
  return total.astype(x.dtype)


def batch_norm(
  channels: int, *, rngs: nnx.Rngs, eps: float = 1e-5
) -> nnx.BatchNorm:
  """BatchNorm with PyTorch's momentum and epsilon."""
  return nnx.BatchNorm(channels, momentum=0.9, epsilon=eps, rngs=rngs)


def max_pool(
  x: jax.Array, *, before: int = 0, after: int | None = None
) -> jax.Array:
  """3x3 max-pooling with stride 2.

  Args:
    x: `[B, H, W, C]`.
    before: pixels of padding at the start of both sides.
    after: the same at their end. Default: as many as a last window needs that
      starts inside the image (PyTorch's `ceil_mode`).
  """
  ends = [1 - size % 2 if after is None else after for size in x.shape[1:3]]
  padding = [(before, end) for end in ends]
  return nnx.max_pool(x, (3, 3), strides=(2, 2), padding=padding)


class SqueezeExcite(nnx.Module):
  """Rescales channels by a gate computed from their means (Hu et al., 2018).

  The two layers are 1x1 convolutions, named as the publisher of the weights
  does.
  """

  def __init__(
    self,
    channels: int,
    squeezed: int,
    *,
    names: tuple[str, str],
    activation: Callable[[jax.Array], jax.Array],
    rngs: nnx.Rngs,
  ):
    reduce, expand = names
    setattr(self, reduce, conv(channels, squeezed, 1, use_bias=True, rngs=rngs))
    setattr(self, expand, conv(squeezed, channels, 1, use_bias=True, rngs=rngs))
    self.names = names
    self.activation = activation

  def __call__(self, x: jax.Array) -> jax.Array:
    reduce, expand = (getattr(self, name) for name in self.names)
    gate = x.mean(axis=(1, 2), keepdims=True)
    return x * jax.nn.sigmoid(expand(self.activation(reduce(gate))))


class Mlp(nnx.Module):
  """Two fully connected layers with an exact GELU between them."""

  def __init__(self, width: int, hidden: int, *, rngs: nnx.Rngs):
    self.fc1 = nnx.Linear(width, hidden, rngs=rngs)
    self.fc2 = nnx.Linear(hidden, width, rngs=rngs)

  def __call__(self, x: jax.Array) -> jax.Array:
    return self.fc2(jax.nn.gelu(self.fc1(x), approximate=False))


def global_average(x: jax.Array) -> jax.Array:
  """Mean over pixels in float32, `[B, H, W, C]` to `[B, C]`."""
  return jnp.mean(x, axis=(1, 2), dtype=jnp.float32)


def head(features: int, num_classes: int, *, rngs: nnx.Rngs) -> nnx.Linear:
  """The last layer, in float32 always.

  Logits in bfloat16 are often equal, and NCE asks which is largest.
  """
  return nnx.Linear(features, num_classes, dtype=jnp.float32, rngs=rngs)
