"""Parts of the blocks of mobile networks, and the style that these share.

Attributes have timm's names.
"""

from collections.abc import Callable, Mapping
import dataclasses

from flax import nnx
import jax
import jax.numpy as jnp
import numpy as np

from leep_jax.models import block_strings, layers
from leep_jax.models.block_strings import Block


def _exact_gelu(x: jax.Array) -> jax.Array:
  # JAX's default is the approximation by tanh; PyTorch's is the exact one.
  return jax.nn.gelu(x, approximate=False)


# Activations by the names that `Style` and `Block` have.
ACTIVATIONS: Mapping[str, Callable[[jax.Array], jax.Array]] = {
  "relu": nnx.relu,
  "relu6": jax.nn.relu6,
  "hard_swish": jax.nn.hard_swish,
  "silu": nnx.silu,
  "gelu": _exact_gelu,
}


@dataclasses.dataclass(frozen=True)
class Squeeze:
  """How the blocks of a network squeeze and excite.

  Attributes:
    hard: whether gates are a piecewise linear function, not a sigmoid.
    activation: between the two layers; "" for the block's.
    of_expanded: whether the number of squeezed channels is relative to the
      widened channels, not to the block's input.
    divisor: that number is a multiple of it.
    smallest: see `block_strings.rounded`; used with a divisor above 1.
    context: whether channels are summarised by a learnt mean over pixels
      (global context, Cao et al., 2019), not by the plain one.

  Example:
    >>> from leep_jax.models import mobile_layers
    >>> mobile_layers.Squeeze().channels(96, 0.25, 6)
    4
    >>> mobile_layers.Squeeze(of_expanded=True).channels(96, 0.25, 6)
    24
  """

  hard: bool = False
  activation: str = ""
  of_expanded: bool = False
  divisor: int = 1
  smallest: float = 0.9
  context: bool = False

  def channels(self, wide: int, ratio: float, expansion: float) -> int:
    """Returns the number of squeezed channels.

    Args:
      wide: number of channels that are gated.
      ratio: `Block.squeezed`.
      expansion: factor by which the block widens its input.
    """
    exact = wide * (ratio if self.of_expanded else ratio / expansion)
    if self.divisor == 1:
      return round(exact)
    return block_strings.rounded(
      exact, divisor=self.divisor, smallest=self.smallest
    )


@dataclasses.dataclass(frozen=True)
class Style:
  """What all blocks of a network share.

  Attributes:
    activation: name of the activation.
    squeeze: how blocks squeeze and excite.
    norm_eps: added to variances.
    padding: of convolutions, see `layers.conv`.
    pooling: how images are made smaller where a convolution has no stride of
      its own: "average" or "blur"; "" if it has.
    layer_scale: whether the last blocks' outputs are scaled.

  Example:
    >>> from leep_jax.models import mobile_layers
    >>> mobile_layers.Style("relu6").norm_eps
    1e-05
  """

  activation: str
  squeeze: Squeeze = Squeeze()
  norm_eps: float = 1e-5
  padding: str | None = None
  pooling: str = ""
  layer_scale: bool = False

  def of(self, block: Block) -> Callable[[jax.Array], jax.Array]:
    """Returns the activation of a block.

    Args:
      block: may have an activation of its own.
    """
    return ACTIVATIONS[block.activation or self.activation]

  def norm(self, channels: int, *, rngs: nnx.Rngs) -> nnx.BatchNorm:
    """Returns a BatchNorm.

    Args:
      channels: number of channels.
      rngs: as all layers take them.
    """
    return layers.batch_norm(channels, eps=self.norm_eps, rngs=rngs)

  def conv(
    self,
    inputs: int,
    outputs: int,
    kernels: tuple[int, ...],
    *,
    rngs: nnx.Rngs,
    stride: int = 1,
    groups: int = 1,
  ) -> nnx.Module:
    """Returns a convolution, of parts of the channels if there are kernels.

    Args:
      inputs: number of input channels.
      outputs: number of output channels.
      kernels: sides of the kernels.
      rngs: of the initial weights.
      stride: step, in pixels; 1 where the network pools instead.
      groups: number of groups.
    """
    stride = 1 if self.pooling else stride
    if len(kernels) > 1:
      return MixedConv(
        inputs,
        outputs,
        kernels,
        stride=stride,
        depthwise=groups == inputs,
        padding=self.padding,
        rngs=rngs,
      )
    return layers.conv(
      inputs,
      outputs,
      kernels[0],
      stride=stride,
      groups=groups,
      # A kernel of even side has no middle.
      padding="SAME" if kernels[0] % 2 == 0 else self.padding,
      rngs=rngs,
    )

  def pool(self, x: jax.Array, stride: int) -> jax.Array:
    """Returns the image that a convolution without its stride leaves too large.

    Args:
      x: `[B, H, W, C]`.
      stride: of the convolution.
    """
    if not self.pooling or stride == 1:
      return x
    if self.pooling == "average":
      pooled: jax.Array = nnx.avg_pool(x, (2, 2), strides=(2, 2))
      return pooled
    return _blurred(x)

  def excite(
    self, wide: int, block: Block, *, rngs: nnx.Rngs
  ) -> nnx.Module | None:
    """Returns the squeeze-and-excitation of a block, or None.

    Args:
      wide: number of channels that are gated.
      block: the block.
      rngs: of the initial weights.
    """
    if not block.squeezed:
      return None
    squeeze = self.squeeze
    channels = squeeze.channels(wide, block.squeezed, block.expansion)
    name = squeeze.activation or block.activation or self.activation
    if squeeze.context:
      return GlobalContext(
        wide, channels, activation=ACTIVATIONS[name], rngs=rngs
      )
    return layers.SqueezeExcite(
      wide,
      channels,
      names=("conv_reduce", "conv_expand"),
      activation=ACTIVATIONS[name],
      gate=jax.nn.hard_sigmoid if squeeze.hard else jax.nn.sigmoid,
      rngs=rngs,
    )


def _blurred(x):
  """Weights three pixels of each axis by 1, 2 and 1, and takes every second."""
  for axis in (1, 2):
    ends = [(1, 1) if a == axis else (0, 0) for a in range(4)]
    padded = jnp.pad(x, ends)
    span = 2 * ((x.shape[axis] - 1) // 2) + 1
    before, middle, after = (
      jax.lax.slice_in_dim(padded, i, i + span, stride=2, axis=axis)
      for i in range(3)
    )
    x = (before + 2 * middle + after) / 4
  return x


class MixedConv(nnx.Module):
  """Convolutions of parts of the channels, each with a kernel of its own.

  Reference: Tan & Le, MixConv: Mixed Depthwise Convolutional Kernels, 2019.

  Example:
    >>> from flax import nnx
    >>> import jax.numpy as jnp
    >>> from leep_jax.models import mobile_layers
    >>> conv = mobile_layers.MixedConv(
    ...   20, 20, (3, 5, 7), stride=2, depthwise=True, padding=None,
    ...   rngs=nnx.Rngs(0))
    >>> conv.parts, conv(jnp.ones((2, 8, 8, 20))).shape
    ((8, 6, 6), (2, 4, 4, 20))
  """

  def __init__(
    self,
    inputs: int,
    outputs: int,
    kernels: tuple[int, ...],
    *,
    stride: int,
    depthwise: bool,
    padding: str | None,
    rngs: nnx.Rngs,
  ):
    self.parts = _shares(inputs, len(kernels))
    for i, (kernel, part, out) in enumerate(
      zip(kernels, self.parts, _shares(outputs, len(kernels)), strict=True)
    ):
      conv = layers.conv(
        part,
        out,
        kernel,
        stride=stride,
        groups=part if depthwise else 1,
        padding=padding,
        rngs=rngs,
      )
      setattr(self, str(i), conv)  # their published names

  def __call__(self, x: jax.Array) -> jax.Array:
    ends = np.cumsum(self.parts)[:-1].tolist()
    parts = jnp.split(x, ends, axis=-1)
    return jnp.concatenate(
      [getattr(self, str(i))(part) for i, part in enumerate(parts)], axis=-1
    )


def _shares(channels, count):
  """Returns equal numbers of channels, of which the first has the rest."""
  share = channels // count
  return (channels - share * (count - 1), *[share] * (count - 1))


class GlobalContext(nnx.Module):
  """Multiplies channels by a gate computed from a learnt mean over pixels.

  Reference: Cao et al., GCNet, 2019.

  Example:
    >>> from flax import nnx
    >>> import jax.numpy as jnp
    >>> from leep_jax.models import mobile_layers
    >>> gate = mobile_layers.GlobalContext(
    ...   8, 2, activation=nnx.silu, rngs=nnx.Rngs(0))
    >>> gate(jnp.ones((2, 4, 4, 8))).shape
    (2, 4, 4, 8)
  """

  def __init__(
    self,
    channels: int,
    squeezed: int,
    *,
    activation: Callable[[jax.Array], jax.Array],
    rngs: nnx.Rngs,
  ):
    def conv(inputs, outputs):
      return layers.conv(inputs, outputs, 1, use_bias=True, rngs=rngs)

    self.conv_attn = conv(channels, 1)
    self.mlp_scale = nnx.Dict(
      fc1=conv(channels, squeezed),
      norm=nnx.LayerNorm(squeezed, epsilon=1e-6, rngs=rngs),
      fc2=conv(squeezed, channels),
    )
    self.activation = activation

  def __call__(self, x: jax.Array) -> jax.Array:
    weights = jax.nn.softmax(self.conv_attn(x), axis=(1, 2))
    y = (x * weights).sum(axis=(1, 2), keepdims=True)
    layers_of = self.mlp_scale
    y = layers_of.fc2(self.activation(layers_of.norm(layers_of.fc1(y))))
    return x * jax.nn.sigmoid(y)


class ConvNorm(nnx.Module):
  """A convolution and BatchNorm, with an activation or without.

  Example:
    >>> from flax import nnx
    >>> import jax.numpy as jnp
    >>> from leep_jax.models import mobile_layers
    >>> layer = mobile_layers.ConvNorm(
    ...   8, 16, 3, mobile_layers.Style("relu"), stride=2, activation=nnx.relu,
    ...   rngs=nnx.Rngs(0))
    >>> layer(jnp.ones((2, 8, 8, 8))).shape
    (2, 4, 4, 16)
  """

  def __init__(
    self,
    inputs: int,
    outputs: int,
    kernel: int,
    style: Style,
    *,
    rngs: nnx.Rngs,
    stride: int = 1,
    groups: int = 1,
    activation: Callable[[jax.Array], jax.Array] | None = None,
  ):
    self.conv = style.conv(
      inputs, outputs, (kernel,), stride=stride, groups=groups, rngs=rngs
    )
    self.bn = style.norm(outputs, rngs=rngs)
    self.stride = stride
    self.style = style
    self.activation = activation

  def __call__(self, x: jax.Array) -> jax.Array:
    x = self.bn(self.conv(x))
    if self.activation is not None:
      x = self.activation(x)
    return self.style.pool(x, self.stride)
