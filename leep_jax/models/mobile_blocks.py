"""The blocks of mobile networks: EfficientNets, MobileNets and their relatives.

`KINDS` has them by the first letters of their strings (`block_strings.py`).
Each is built from the number of input and output channels, its description, and
a `Style`, which all blocks of a network share. Attributes have timm's names.
"""

from collections.abc import Callable, Mapping
from typing import Any

from flax import nnx
import jax
import jax.numpy as jnp

from leep_jax.models import block_strings, layers
from leep_jax.models.block_strings import Block
from leep_jax.models.mobile_layers import ConvNorm, Style


class _Block(nnx.Module):
  """What the blocks share: the gate, pooling and the shortcut."""

  def _begin(self, inputs, outputs, block, style):
    self.style = style
    self.stride = block.stride
    self.activation = style.of(block)
    fits = block.stride == 1 and inputs == outputs
    # A plain convolution adds its input only if the string says so, a block
    # with an activation at its end never.
    usual = block.kind not in ("cn", "dsa")
    wanted = usual if block.skip is None else block.skip
    self.shortcut = fits and wanted and block.kind != "dsa"

  def _gated(self, wide, block, *, rngs):
    gate = self.style.excite(wide, block, rngs=rngs)
    self.gated = gate is not None
    if gate is not None:
      self.se = gate

  def _gate(self, x: jax.Array) -> jax.Array:
    """The end of a convolution: pooling if it did not stride, and the gate."""
    x = self.style.pool(x, self.stride)
    gated: jax.Array = self.se(x) if self.gated else x
    return gated

  def _end(self, x: jax.Array, y: jax.Array) -> jax.Array:
    return x + y if self.shortcut else y


class Convolution(_Block):
  """`cn`: a convolution, BatchNorm and activation.

  Example:
    >>> from flax import nnx
    >>> import jax.numpy as jnp
    >>> from leep_jax.models import block_strings, mobile_blocks, mobile_layers
    >>> described, _ = block_strings.parse("cn_r1_k3_s2_c16")
    >>> block = mobile_blocks.Convolution(
    ...   8, 16, described, mobile_layers.Style("relu"), rngs=nnx.Rngs(0))
    >>> block(jnp.ones((2, 8, 8, 8))).shape
    (2, 4, 4, 16)
  """

  def __init__(
    self,
    inputs: int,
    outputs: int,
    block: Block,
    style: Style,
    *,
    rngs: nnx.Rngs,
  ):
    self._begin(inputs, outputs, block, style)
    self.conv = style.conv(
      inputs, outputs, block.kernels, stride=block.stride,
      groups=_groups(inputs, block, usual=0), rngs=rngs,
    )  # fmt: skip
    self.bn1 = style.norm(outputs, rngs=rngs)

  def __call__(self, x: jax.Array) -> jax.Array:
    y = self.activation(self.bn1(self.conv(x)))
    return self._end(x, self.style.pool(y, self.stride))


def _groups(channels, block, *, usual):
  """The number of groups; a group size of 0 means one group."""
  size = usual if block.group_size is None else block.group_size
  return channels // size if size else 1


class DepthwiseSeparable(_Block):
  """`ds`: depthwise convolution, gate and projection; `dsa` ends in activation.

  Example:
    >>> from flax import nnx
    >>> import jax.numpy as jnp
    >>> from leep_jax.models import block_strings, mobile_blocks, mobile_layers
    >>> described, _ = block_strings.parse("dsa_r1_k3_s2_c16_se0.25")
    >>> block = mobile_blocks.DepthwiseSeparable(
    ...   8, 16, described, mobile_layers.Style("relu"), rngs=nnx.Rngs(0))
    >>> block(jnp.ones((2, 8, 8, 8))).shape
    (2, 4, 4, 16)
  """

  def __init__(
    self,
    inputs: int,
    outputs: int,
    block: Block,
    style: Style,
    *,
    rngs: nnx.Rngs,
  ):
    self._begin(inputs, outputs, block, style)
    self.ends_active = block.kind == "dsa"
    self.fold = block.fold
    kernels = block.kernels
    if block.fold:
      # Of 2x2 pixels, so that the next kernel is half as large.
      self.conv_s2d = layers.conv(
        inputs, 4 * inputs, 2, stride=2, padding="SAME", rngs=rngs
      )
      inputs *= 4
      self.bn_s2d = style.norm(inputs, rngs=rngs)
      kernels = tuple((side + 1) // 2 for side in kernels)
    self.conv_dw = style.conv(
      inputs, inputs, kernels, stride=block.stride,
      groups=_groups(inputs, block, usual=1), rngs=rngs,
    )  # fmt: skip
    self.bn1 = style.norm(inputs, rngs=rngs)
    self._gated(inputs, block, rngs=rngs)
    self.conv_pw = style.conv(inputs, outputs, block.last, rngs=rngs)
    self.bn2 = style.norm(outputs, rngs=rngs)

  def __call__(self, x: jax.Array) -> jax.Array:
    y: jax.Array = x
    if self.fold:
      y = self.activation(self.bn_s2d(self.conv_s2d(y)))
    y = self._gate(self.activation(self.bn1(self.conv_dw(y))))
    y = self.bn2(self.conv_pw(y))
    if self.ends_active:
      y = self.activation(y)
    return self._end(x, y)


class InvertedResidual(_Block):
  """`ir`: expansion, depthwise convolution, gate and projection.

  Reference: Sandler et al., MobileNetV2, 2018.

  Example:
    >>> from flax import nnx
    >>> import jax.numpy as jnp
    >>> from leep_jax.models import block_strings, mobile_blocks, mobile_layers
    >>> described, _ = block_strings.parse("ir_r1_k3_s2_e6_c16_se0.25")
    >>> block = mobile_blocks.InvertedResidual(
    ...   8, 16, described, mobile_layers.Style("silu"), rngs=nnx.Rngs(0))
    >>> block(jnp.ones((2, 8, 8, 8))).shape
    (2, 4, 4, 16)
  """

  def __init__(
    self,
    inputs: int,
    outputs: int,
    block: Block,
    style: Style,
    *,
    rngs: nnx.Rngs,
  ):
    self._begin(inputs, outputs, block, style)
    wide = block_strings.rounded(inputs * block.expansion)
    self.conv_pw = style.conv(inputs, wide, block.first, rngs=rngs)
    self.bn1 = style.norm(wide, rngs=rngs)
    self.conv_dw = style.conv(
      wide, wide, block.kernels, stride=block.stride,
      groups=_groups(wide, block, usual=1), rngs=rngs,
    )  # fmt: skip
    self.bn2 = style.norm(wide, rngs=rngs)
    self._gated(wide, block, rngs=rngs)
    self.conv_pwl = style.conv(wide, outputs, block.last, rngs=rngs)
    self.bn3 = style.norm(outputs, rngs=rngs)

  def __call__(self, x: jax.Array) -> jax.Array:
    y = self.activation(self.bn1(self.conv_pw(x)))
    y = self._gate(self.activation(self.bn2(self.conv_dw(y))))
    # No activation after the projection: it would set the negative values of
    # the few channels to 0, which loses information.
    return self._end(x, self.bn3(self.conv_pwl(y)))


class FusedResidual(_Block):
  """`er`: one convolution that expands, gate and projection.

  Reference: Gupta & Tan, EfficientNet-EdgeTPU, 2019.

  Example:
    >>> from flax import nnx
    >>> import jax.numpy as jnp
    >>> from leep_jax.models import block_strings, mobile_blocks, mobile_layers
    >>> described, _ = block_strings.parse("er_r1_k3_s2_e4_c16")
    >>> block = mobile_blocks.FusedResidual(
    ...   8, 16, described, mobile_layers.Style("silu"), rngs=nnx.Rngs(0))
    >>> block(jnp.ones((2, 8, 8, 8))).shape
    (2, 4, 4, 16)
  """

  def __init__(
    self,
    inputs: int,
    outputs: int,
    block: Block,
    style: Style,
    *,
    rngs: nnx.Rngs,
  ):
    self._begin(inputs, outputs, block, style)
    wide = block_strings.rounded(
      (block.expanded_from or inputs) * block.expansion
    )
    self.conv_exp = style.conv(
      inputs, wide, block.kernels, stride=block.stride,
      groups=_groups(wide, block, usual=0), rngs=rngs,
    )  # fmt: skip
    self.bn1 = style.norm(wide, rngs=rngs)
    self._gated(wide, block, rngs=rngs)
    self.conv_pwl = style.conv(wide, outputs, block.last, rngs=rngs)
    self.bn2 = style.norm(outputs, rngs=rngs)

  def __call__(self, x: jax.Array) -> jax.Array:
    y = self._gate(self.activation(self.bn1(self.conv_exp(x))))
    return self._end(x, self.bn2(self.conv_pwl(y)))


class _Scale(nnx.Module):
  """Multiplies each channel by a number."""

  def __init__(self, channels: int):
    self.gamma = nnx.Param(jnp.full(channels, 1e-5))

  def __call__(self, x: jax.Array) -> jax.Array:
    return x * self.gamma[None, None, None]


class UniversalInverted(_Block):
  """`uir`: expansion and projection, with depthwise convolutions or without.

  One may be before the expansion (`a`), one after it (`k`); their sides are 0
  where there is none.

  Reference: Qin et al., MobileNetV4, 2024.

  Example:
    >>> from flax import nnx
    >>> import jax.numpy as jnp
    >>> from leep_jax.models import block_strings, mobile_blocks, mobile_layers
    >>> described, _ = block_strings.parse("uir_r1_a3_k0_s2_e4_c16")
    >>> block = mobile_blocks.UniversalInverted(
    ...   8, 16, described, mobile_layers.Style("relu"), rngs=nnx.Rngs(0))
    >>> block(jnp.ones((2, 8, 8, 8))).shape
    (2, 4, 4, 16)
  """

  def __init__(
    self,
    inputs: int,
    outputs: int,
    block: Block,
    style: Style,
    *,
    rngs: nnx.Rngs,
  ):
    self._begin(inputs, outputs, block, style)
    wide = block_strings.rounded(inputs * block.expansion)
    (before,), (middle,) = block.first, block.kernels
    if before:
      self.dw_start = ConvNorm(
        inputs, inputs, before, style, stride=1 if middle else block.stride,
        groups=_groups(inputs, block, usual=1), rngs=rngs,
      )  # fmt: skip
    self.pw_exp = ConvNorm(
      inputs, wide, 1, style, activation=self.activation, rngs=rngs
    )
    if middle:
      self.dw_mid = ConvNorm(
        wide, wide, middle, style, stride=block.stride,
        groups=_groups(wide, block, usual=1), activation=self.activation,
        rngs=rngs,
      )  # fmt: skip
    self.pw_proj = ConvNorm(wide, outputs, 1, style, rngs=rngs)
    if style.layer_scale:
      self.layer_scale = _Scale(outputs)
    names = ("dw_start", "pw_exp", "dw_mid", "pw_proj", "layer_scale")
    self.order = tuple(name for name in names if hasattr(self, name))

  def __call__(self, x: jax.Array) -> jax.Array:
    y = x
    for name in self.order:
      y = getattr(self, name)(y)
    return self._end(x, y)


class QueryAttention(_Block):
  """`mqa`: attention whose heads share keys and values.

  References: Shazeer, Fast Transformer Decoding, 2019; Qin et al., MobileNetV4,
  2024, where keys and values are of a smaller image.

  Example:
    >>> from flax import nnx
    >>> import jax.numpy as jnp
    >>> from leep_jax.models import block_strings, mobile_blocks, mobile_layers
    >>> described, _ = block_strings.parse("mqa_r1_k3_h2_s1_v2_d4_c8")
    >>> block = mobile_blocks.QueryAttention(
    ...   8, 8, described, mobile_layers.Style("relu"), rngs=nnx.Rngs(0))
    >>> block(jnp.ones((2, 8, 8, 8))).shape
    (2, 8, 8, 8)
  """

  def __init__(
    self,
    inputs: int,
    outputs: int,
    block: Block,
    style: Style,
    *,
    rngs: nnx.Rngs,
  ):
    self._begin(inputs, outputs, block, style)
    self.heads, self.size = block.heads, block.head_size
    self.smaller = block.key_stride > 1
    wide = block.heads * block.head_size
    self.norm = style.norm(inputs, rngs=rngs)

    def projected() -> nnx.Dict[nnx.Module]:
      found: dict[str, nnx.Module] = {
        "proj": layers.conv(inputs, block.head_size, 1, rngs=rngs)
      }
      if self.smaller:
        (kernel,) = block.kernels
        found["down_conv"] = layers.conv(
          inputs, inputs, kernel, stride=block.key_stride, groups=inputs,
          padding=style.padding, rngs=rngs,
        )  # fmt: skip
        found["norm"] = style.norm(inputs, rngs=rngs)
      return nnx.Dict(found)

    self.attn: Any = nnx.Dict(
      query=nnx.Dict(proj=layers.conv(inputs, wide, 1, rngs=rngs)),
      key=projected(),
      value=projected(),
      output=nnx.Dict(proj=layers.conv(wide, outputs, 1, rngs=rngs)),
    )
    self.scaled = style.layer_scale
    if self.scaled:
      self.layer_scale = _Scale(outputs)

  def __call__(self, x: jax.Array) -> jax.Array:
    y = self.norm(x)
    batch, height, width, _ = x.shape
    query = self.attn.query.proj(y)
    # One head of keys and values serves all heads of queries.
    mixed = jax.nn.dot_product_attention(
      query.reshape(batch, -1, self.heads, self.size),
      self._projected(self.attn.key, y),
      self._projected(self.attn.value, y),
    )
    y = self.attn.output.proj(mixed.reshape(batch, height, width, -1))
    return self._end(x, self.layer_scale(y) if self.scaled else y)

  def _projected(self, part, x):
    if self.smaller:
      x = part.norm(part.down_conv(x))
    return part.proj(x).reshape(len(x), -1, 1, self.size)


KINDS: Mapping[str, Callable[..., nnx.Module]] = {
  "cn": Convolution,
  "ds": DepthwiseSeparable,
  "dsa": DepthwiseSeparable,
  "ir": InvertedResidual,
  "er": FusedResidual,
  "uir": UniversalInverted,
  "mqa": QueryAttention,
}
