"""Layers that several architectures share.

Images are `[B, H, W, C]`, the layout of Flax and TensorFlow. Padding, momentum
and epsilon are PyTorch's by default, as most published weights were trained
with it.
"""

from collections.abc import Callable
import functools
import math

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
  """Returns a square convolution.

  Args:
    inputs: number of input channels.
    outputs: number of output channels.
    kernel: side of the kernel.
    rngs: of the initial weights.
    stride: step, in pixels.
    groups: number of groups into which channels are divided.
    use_bias: whether there is a bias.
    padding: pixels on every side; or "SAME" for TensorFlow's padding, which
      puts an odd pixel at the end and depends on the image size. By default,
      half of the kernel, also at stride 2, as in PyTorch.

  Example:
    >>> from flax import nnx
    >>> import jax.numpy as jnp
    >>> from leep_jax.models import layers
    >>> conv = layers.conv(3, 8, 3, stride=2, rngs=nnx.Rngs(0))
    >>> conv(jnp.ones((2, 32, 32, 3))).shape
    (2, 16, 16, 8)
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
    # A layer's parameters are the same whichever function convolves them.
    conv_general_dilated=_depthwise
    if groups == inputs == outputs
    else jax.lax.conv_general_dilated,
    rngs=rngs,
  )


def _depthwise(x, kernel, strides, padding, **options):
  """A convolution of each channel with its own kernel.

  On a CPU, XLA's depthwise convolution takes 30 to 70 times as long as a sum of
  shifted products, which XLA fuses into one loop.
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
  """A depthwise convolution as a sum over the kernel's pixels."""
  sides, shape = kernel.shape[:2], x.shape[1:3]
  if isinstance(padding, str):
    padding = jax.lax.padtype_to_pads(shape, sides, strides, padding)
  padded = jnp.pad(x, ((0, 0), *padding, (0, 0)))
  # Position of the last window along each axis, a multiple of the stride.
  last = [
    (size - side) // stride * stride
    for size, side, stride in zip(
      padded.shape[1:3], sides, strides, strict=True
    )
  ]
  # Added in float32 and rounded at the end, as XLA's convolution does.
  total = jnp.float32(0)
  for row, column in np.ndindex(*sides):
    part = padded[
      :,
      row : row + last[0] + 1 : strides[0],
      column : column + last[1] + 1 : strides[1],
    ]
    # Its kernel is [side, side, 1, C]: each group has one input channel.
    weight = kernel[row, column, 0].astype(jnp.float32)
    total = total + part.astype(jnp.float32) * weight[None, None, None]
  return total.astype(x.dtype)


def batch_norm(
  channels: int, *, rngs: nnx.Rngs, eps: float = 1e-5
) -> nnx.BatchNorm:
  """Returns a BatchNorm with PyTorch's momentum and epsilon.

  Args:
    channels: number of channels.
    rngs: as all layers take them; scale and bias are 1 and 0.
    eps: added to variances.

  Example:
    >>> from flax import nnx
    >>> from leep_jax.models import layers
    >>> norm = layers.batch_norm(8, rngs=nnx.Rngs(0))
    >>> norm.momentum, norm.epsilon
    (0.9, 1e-05)
  """
  # Flax's momentum is what is kept of the running mean, PyTorch's what is new:
  # its 0.1 is 0.9 here.
  return nnx.BatchNorm(channels, momentum=0.9, epsilon=eps, rngs=rngs)


def max_pool(
  x: jax.Array, *, before: int = 0, after: int | None = None, stride: int = 2
) -> jax.Array:
  """Applies 3x3 max-pooling.

  Args:
    x: `[B, H, W, C]`.
    before: pixels of padding at the top and on the left.
    after: pixels of padding at the bottom and on the right. By default, as many
      as the last window needs that begins inside the image (PyTorch's
      `ceil_mode`).
    stride: step, in pixels.

  Example:
    >>> import jax.numpy as jnp
    >>> from leep_jax.models import layers
    >>> x = jnp.ones((2, 8, 8, 3))
    >>> layers.max_pool(x).shape, layers.max_pool(x, after=0).shape
    ((2, 4, 4, 3), (2, 3, 3, 3))
  """
  # An image of even side lacks one pixel for the last window.
  ends = [1 - size % 2 if after is None else after for size in x.shape[1:3]]
  padding = [(before, end) for end in ends]
  pooled: jax.Array = nnx.max_pool(
    x, (3, 3), strides=(stride, stride), padding=padding
  )
  return pooled


def average_pool(x: jax.Array, *, partial: bool = False) -> jax.Array:
  """Replaces 2x2 pixels by their mean.

  Args:
    x: `[B, H, W, C]`.
    partial: whether windows at the end that are partly outside count (PyTorch's
      `ceil_mode`); the mean is of the pixels inside.

  Example:
    >>> import jax.numpy as jnp
    >>> from leep_jax.models import layers
    >>> x = jnp.ones((2, 5, 5, 3))
    >>> layers.average_pool(x).shape, layers.average_pool(x, partial=True).shape
    ((2, 2, 2, 3), (2, 3, 3, 3))
  """
  padding = [(0, size % 2 if partial else 0) for size in x.shape[1:3]]
  pooled: jax.Array = nnx.avg_pool(
    x, (2, 2), strides=(2, 2), padding=padding, count_include_pad=False
  )
  return pooled


def blur_pool(x: jax.Array) -> jax.Array:
  """Blurs an image and takes every second pixel (Zhang, 2019).

  The kernel is the outer product of (1/4, 1/2, 1/4) with itself. The image is
  mirrored at its border.

  Args:
    x: `[B, H, W, C]`, of at least 2 pixels on each side.

  Example:
    >>> import jax.numpy as jnp
    >>> from leep_jax.models import layers
    >>> layers.blur_pool(jnp.ones((2, 8, 8, 3))).shape
    (2, 4, 4, 3)
  """
  padded = jnp.pad(x, ((0, 0), (1, 1), (1, 1), (0, 0)), mode="reflect")
  line = np.array([0.25, 0.5, 0.25], np.float32)
  kernel = jnp.asarray(np.outer(line, line)[:, :, None, None])
  return _shifted(padded, kernel, strides=(2, 2), padding=((0, 0), (0, 0)))


class SqueezeExcite(nnx.Module):
  """Multiplies channels by a gate computed from their means (Hu et al., 2018).

  The two layers are 1x1 convolutions. Their names are arguments, as publishers
  of weights call them differently. `gate` is the function of the second one's
  result, a sigmoid by default.

  Example:
    >>> from flax import nnx
    >>> import jax.numpy as jnp
    >>> from leep_jax.models import layers
    >>> gate = layers.SqueezeExcite(
    ...   8, 2, names=("fc1", "fc2"), activation=nnx.relu, rngs=nnx.Rngs(0))
    >>> gate(jnp.ones((2, 4, 4, 8))).shape
    (2, 4, 4, 8)
  """

  def __init__(
    self,
    channels: int,
    squeezed: int,
    *,
    names: tuple[str, str],
    activation: Callable[[jax.Array], jax.Array],
    gate: Callable[[jax.Array], jax.Array] = jax.nn.sigmoid,
    rngs: nnx.Rngs,
  ):
    reduce, expand = names
    setattr(self, reduce, conv(channels, squeezed, 1, use_bias=True, rngs=rngs))
    setattr(self, expand, conv(squeezed, channels, 1, use_bias=True, rngs=rngs))
    self.names = names
    self.activation = activation
    self.gate = gate

  def __call__(self, x: jax.Array) -> jax.Array:
    reduce, expand = (getattr(self, name) for name in self.names)
    # 1x1 convolutions take the means as an image of one pixel.
    means = x.mean(axis=(1, 2), keepdims=True)
    return x * self.gate(expand(self.activation(reduce(means))))


class ChannelAttention(nnx.Module):
  """Multiplies channels by a gate of the means of their neighbours (ECA-Net).

  Wang et al., 2020. The more channels, the more neighbours count.

  Example:
    >>> from flax import nnx
    >>> import jax.numpy as jnp
    >>> from leep_jax.models import layers
    >>> gate = layers.ChannelAttention(256, rngs=nnx.Rngs(0))
    >>> gate.conv["weight"].shape, gate(jnp.ones((2, 4, 4, 256))).shape
    ((1, 1, 5), (2, 4, 4, 256))
  """

  def __init__(self, channels: int, *, rngs: nnx.Rngs):
    side = int((math.log2(channels) + 1) / 2)
    side = max(3, side + 1 - side % 2)  # the next odd number
    weight = nnx.initializers.normal(side**-0.5)(rngs.params(), (1, 1, side))
    self.conv = nnx.Dict(weight=nnx.Param(weight))

  def __call__(self, x: jax.Array) -> jax.Array:
    weight = self.conv["weight"][0, 0]
    means = x.mean(axis=(1, 2))
    # Channels beyond the first and the last are zero.
    padded = jnp.pad(means, ((0, 0), (len(weight) // 2,) * 2))
    shifted = [
      weight[i] * padded[:, i : i + means.shape[1]] for i in range(len(weight))
    ]
    return x * jax.nn.sigmoid(sum(shifted))[:, None, None]


class Mlp(nnx.Module):
  """Two fully connected layers with an exact GELU between them.

  Example:
    >>> from flax import nnx
    >>> import jax.numpy as jnp
    >>> from leep_jax.models import layers
    >>> layers.Mlp(8, 32, rngs=nnx.Rngs(0))(jnp.ones((2, 5, 8))).shape
    (2, 5, 8)
  """

  def __init__(self, width: int, hidden: int, *, rngs: nnx.Rngs):
    self.fc1 = nnx.Linear(width, hidden, rngs=rngs)
    self.fc2 = nnx.Linear(hidden, width, rngs=rngs)

  def __call__(self, x: jax.Array) -> jax.Array:
    # JAX's default is the approximation by tanh; PyTorch's is the exact one.
    return self.fc2(jax.nn.gelu(self.fc1(x), approximate=False))


def global_average(x: jax.Array) -> jax.Array:
  """Returns the mean over pixels in float32, of `[B, H, W, C]` as `[B, C]`.

  Example:
    >>> import jax.numpy as jnp
    >>> from leep_jax.models import layers
    >>> mean = layers.global_average(jnp.ones((2, 4, 4, 8), jnp.bfloat16))
    >>> mean.shape, mean.dtype.name
    ((2, 8), 'float32')
  """
  # The results are features, which scores read: float32 also where the network
  # runs in bfloat16.
  return jnp.mean(x, axis=(1, 2), dtype=jnp.float32)


def head(features: int, num_classes: int, *, rngs: nnx.Rngs) -> nnx.Linear:
  """Returns the last fully connected layer, which is always in float32.

  In bfloat16, the largest logits of an example are often equal, and NCE depends
  on which is the largest.

  Args:
    features: number of features, D.
    num_classes: number of source classes, Z.
    rngs: of the initial weights.

  Example:
    >>> from flax import nnx
    >>> import jax.numpy as jnp
    >>> from leep_jax.models import layers
    >>> head = layers.head(8, 10, rngs=nnx.Rngs(0))
    >>> head(jnp.ones((2, 8), jnp.bfloat16)).dtype.name
    'float32'
  """
  return nnx.Linear(features, num_classes, dtype=jnp.float32, rngs=rngs)
