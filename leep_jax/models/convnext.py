"""ConvNeXt (Liu et al., 2022) and ConvNeXt V2 (Woo et al., 2023), in Flax NNX.

A `Design` (convnext_designs.py) says what a network is made of. Attributes have
timm's names; files of torchvision and transformers are read too. Images are
`[B, H, W, 3]`, normalised, with sides of at least 32 pixels.
"""

from collections.abc import Callable
import dataclasses
import functools
from typing import Any

from flax import nnx
import jax
import jax.numpy as jnp

from leep_jax.models import convnext_designs, layers
from leep_jax.models.architecture import Architecture, Names, imagenet
from leep_jax.models.convnext_designs import Design

_ACTIVATIONS: dict[str, Callable[[jax.Array], jax.Array]] = {
  # JAX's default is the approximation by tanh; PyTorch's is the exact one.
  "gelu": functools.partial(jax.nn.gelu, approximate=False),
  "gelu_tanh": functools.partial(jax.nn.gelu, approximate=True),
  "silu": jax.nn.silu,
}


# Unlike networks with BatchNorm, all convolutions have a bias, and padding is
# given, as most have none.
def _conv(inputs, outputs, kernel, *, stride=1, padding=0, groups=1, rngs):
  return layers.conv(
    inputs,
    outputs,
    kernel,
    stride=stride,
    padding=padding,
    groups=groups,
    use_bias=True,
    rngs=rngs,
  )


class SimpleNorm(nnx.Module):
  """Divides channels by their standard deviation, without a mean or a bias.

  timm's `SimpleNorm`; the variance is that of n - 1.

  Example:
    >>> from flax import nnx
    >>> import jax.numpy as jnp
    >>> from leep_jax.models import convnext
    >>> norm = convnext.SimpleNorm(3, eps=0.0, rngs=nnx.Rngs(0))
    >>> norm(jnp.array([[1.0, 3.0, 5.0]])).tolist()
    [[0.5, 1.5, 2.5]]
  """

  def __init__(self, channels: int, *, eps: float, rngs: nnx.Rngs):
    self.scale = nnx.Param(jnp.ones(channels))
    self.eps = eps

  def __call__(self, x: jax.Array) -> jax.Array:
    exact = x.astype(jnp.float32)
    variance = exact.var(axis=-1, keepdims=True, ddof=1)
    scale = jnp.expand_dims(self.scale[...], tuple(range(x.ndim - 1)))
    return (exact * jax.lax.rsqrt(variance + self.eps) * scale).astype(x.dtype)


def _norm(channels, design, *, eps=None, rngs):
  eps = design.norm_eps if eps is None else eps
  if design.norm == "simple":
    return SimpleNorm(channels, eps=eps, rngs=rngs)
  kind = nnx.RMSNorm if design.norm == "rms" else nnx.LayerNorm
  return kind(channels, epsilon=eps, rngs=rngs)


class ResponseNorm(nnx.Module):
  """Global response normalisation: channels compete by their norms (V2).

  The norm of each channel over the pixels is divided by the mean of all
  channels, and multiplies that channel.

  Example:
    >>> from flax import nnx
    >>> import jax.numpy as jnp
    >>> from leep_jax.models import convnext
    >>> norm = convnext.ResponseNorm(16)
    >>> norm(jnp.ones((2, 8, 8, 16))).shape
    (2, 8, 8, 16)
  """

  def __init__(self, channels: int):
    # The identity at first.
    self.weight = nnx.Param(jnp.zeros(channels))
    self.bias = nnx.Param(jnp.zeros(channels))

  def __call__(self, x: jax.Array) -> jax.Array:
    exact = x.astype(jnp.float32)
    norms = jnp.sqrt((exact**2).sum(axis=(1, 2), keepdims=True))
    # 1e-6 in timm, in transformers and in the authors' code.
    relative = norms / (norms.mean(axis=-1, keepdims=True) + 1e-6)
    weight, bias = (p[None, None, None] for p in (self.weight, self.bias))
    return x + (bias + weight * exact * relative).astype(x.dtype)


class Mlp(nnx.Module):
  """Two fully connected layers for each pixel, with an activation between them.

  Example:
    >>> from flax import nnx
    >>> import jax.numpy as jnp
    >>> from leep_jax.models import convnext, convnext_designs
    >>> design = convnext_designs.DESIGNS["convnextv2_atto"]
    >>> mlp = convnext.Mlp(16, design, rngs=nnx.Rngs(0))
    >>> mlp(jnp.ones((2, 8, 8, 16))).shape
    (2, 8, 8, 16)
  """

  def __init__(self, width: int, design: Design, *, rngs: nnx.Rngs):
    self.fc1 = nnx.Linear(width, 4 * width, rngs=rngs)
    self.grn = ResponseNorm(4 * width) if design.response_norm else None
    self.fc2 = nnx.Linear(4 * width, width, rngs=rngs)
    self.activation = _ACTIVATIONS[design.activation]

  def __call__(self, x: jax.Array) -> jax.Array:
    x = self.activation(self.fc1(x))
    return self.fc2(x if self.grn is None else self.grn(x))


class Block(nnx.Module):
  """A depthwise convolution, a norm and an MLP, added to the input.

  Example:
    >>> from flax import nnx
    >>> import jax.numpy as jnp
    >>> from leep_jax.models import convnext, convnext_designs
    >>> design = convnext_designs.DESIGNS["convnext_tiny"]
    >>> block = convnext.Block(16, 7, design, rngs=nnx.Rngs(0))
    >>> block(jnp.ones((2, 8, 8, 16))).shape
    (2, 8, 8, 16)
  """

  def __init__(
    self, channels: int, kernel: int, design: Design, *, rngs: nnx.Rngs
  ):
    self.conv_dw = _conv(
      channels,
      channels,
      kernel,
      padding=kernel // 2,
      groups=channels,
      rngs=rngs,
    )
    self.norm = _norm(channels, design, rngs=rngs)
    self.mlp = Mlp(channels, design, rngs=rngs)
    # LayerScale: blocks begin near the identity, which keeps deep networks
    # stable in early training. 1e-6 is the paper's value.
    self.gamma = nnx.Param(jnp.full(channels, 1e-6)) if design.scale else None

  def __call__(self, x: jax.Array) -> jax.Array:
    # Channels are last, so that the norm and the MLP need no transposition.
    # They act on every pixel, as 1x1 convolutions do.
    y = self.mlp(self.norm(self.conv_dw(x)))
    return x + (y if self.gamma is None else y * self.gamma[None, None, None])


class Stage(nnx.Module):
  """A norm and a 2x2 convolution that halves the image, then blocks.

  Example:
    >>> from flax import nnx
    >>> import jax.numpy as jnp
    >>> from leep_jax.models import convnext, convnext_designs
    >>> design = convnext_designs.DESIGNS["convnext_tiny"]
    >>> stage = convnext.Stage(1, 96, design, rngs=nnx.Rngs(0))
    >>> stage(jnp.ones((2, 8, 8, 96))).shape
    (2, 4, 4, 192)
  """

  def __init__(
    self, number: int, inputs: int, design: Design, *, rngs: nnx.Rngs
  ):
    outputs, kernel = design.widths[number], design.kernels[number]
    self.downsample: nnx.List[nnx.Module] = nnx.List([])
    if number:  # in all stages but the first, which follows the stem
      self.downsample = nnx.List(
        [
          _norm(inputs, design, rngs=rngs),
          _conv(inputs, outputs, 2, stride=2, rngs=rngs),
        ]
      )
    self.blocks = nnx.List(
      [
        Block(outputs, kernel, design, rngs=rngs)
        for _ in range(design.depths[number])
      ]
    )

  def __call__(self, x: jax.Array) -> jax.Array:
    for layer in (*self.downsample, *self.blocks):
      x = layer(x)
    return x


def _stem(design, *, rngs):
  """Returns the layers that make one pixel of 4x4."""
  width = design.widths[0]
  norm = _norm(width, design, rngs=rngs)
  if design.stem == "patch":
    return nnx.List([_conv(3, width, 4, stride=4, rngs=rngs), norm])
  # timm rounds to multiples of 8.
  tiered = design.stem == "overlap_tiered"
  between = (width // 2 + 4) // 8 * 8 if tiered else width
  convs = [
    _conv(3, between, 3, stride=2, padding=1, rngs=rngs),
    _conv(between, width, 3, stride=2, padding=1, rngs=rngs),
  ]
  if design.stem == "overlap_act":
    # Published tensors count it.
    convs.insert(1, _ACTIVATIONS[design.activation])
  return nnx.List([*convs, norm])


class ConvNeXt(nnx.Module):
  """On images `[B, H, W, 3]`: logits `[B, Z]`, features `[B, D]`.

  D is the width of the last stage, or of the hidden layer before the last.

  Example:
    >>> from flax import nnx
    >>> import jax.numpy as jnp
    >>> from leep_jax.sources import catalog
    >>> model = catalog.shapes("convnext_tiny", 10)  # no values
    >>> images = jnp.zeros((2, 64, 64, 3))
    >>> logits, features = nnx.eval_shape(lambda m: m(images), model)
    >>> logits.shape, features.shape
    ((2, 10), (2, 768))
  """

  def __init__(
    self,
    design: Design,
    num_classes: int,
    *,
    # An option of its own: transformers' `layer_norm_eps` is that of the last
    # norm alone, and the others have 1e-6 there too.
    head_norm_eps: float | None = None,
    rngs: nnx.Rngs,
  ):
    self.stem = _stem(design, rngs=rngs)
    inputs, stages = design.widths[0], []
    for number, width in enumerate(design.widths):
      stages.append(Stage(number, inputs, design, rngs=rngs))
      inputs = width
    self.stages = nnx.List(stages)
    norm = _norm(inputs, design, eps=head_norm_eps, rngs=rngs)
    head: dict[str, Any] = {} if design.norm_first else {"norm": norm}
    self.norm_pre = norm if design.norm_first else None
    if design.hidden:
      hidden = nnx.Linear(inputs, design.hidden, rngs=rngs)
      head["pre_logits"] = nnx.Dict(fc=hidden)
    head["fc"] = layers.head(design.hidden or inputs, num_classes, rngs=rngs)
    self.head = nnx.Dict(head)

  def __call__(self, x: jax.Array) -> tuple[jax.Array, jax.Array]:
    for layer in (*self.stem, *self.stages):
      x = layer(x)
    if self.norm_pre is not None:
      features = layers.global_average(self.norm_pre(x))
    else:
      # The norm is after the average, and its result is the input of the last
      # layer: these are the features.
      features = self.head.norm(layers.global_average(x))
    if "pre_logits" in self.head:
      # Whatever the activation of the blocks is.
      features = _ACTIVATIONS["gelu"](self.head.pre_logits.fc(features))
    return self.head.fc(features), features


_TRANSFORMERS: Names = (
  (r"^convnext(?:v2)?\.embeddings\.patch_embeddings\.", "stem.0."),
  (r"^convnext(?:v2)?\.embeddings\.layernorm\.", "stem.1."),
  (
    r"^convnext(?:v2)?\.encoder\.(stages\.\d+)\.downsampling_layer\.",
    r"\1.downsample.",
  ),
  (
    r"^convnext(?:v2)?\.encoder\.(stages\.\d+)\.layers\.(\d+)\.",
    r"\1.blocks.\2.",
  ),
  (r"^(stages\..*)\.dwconv\.", r"\1.conv_dw."),
  (r"^(stages\..*)\.layernorm\.", r"\1.norm."),
  (r"^(stages\..*)\.pwconv(\d)\.", r"\1.mlp.fc\2."),
  (r"^(stages\.\d+\.blocks\.\d+)\.grn\.", r"\1.mlp.grn."),
  (r"^(stages\..*)\.layer_scale_parameter$", r"\1.gamma"),
  (r"^convnext(?:v2)?\.layernorm\.", "head.norm."),
  (r"^classifier\.(weight|bias)$", r"head.fc.\1"),
)


def _features(match):
  """torchvision's numbers of the stem, the stages and the layers between them.

  0 is the stem; 1, 3, 5 and 7 are stages, 2, 4 and 6 the layers before them.
  """
  number, rest = int(match[1]), match[2]
  if not number:
    return f"stem.{rest}"
  stage = number // 2
  return (
    f"stages.{stage}.downsample.{rest}"
    if number % 2 == 0
    else (f"stages.{stage}.blocks.{rest}")
  )


_TORCHVISION: Names = (
  (r"^features\.(\d+)\.(.*)$", _features),
  (r"^(stages\.\d+\.blocks\.\d+)\.block\.0\.", r"\1.conv_dw."),
  (r"^(stages\.\d+\.blocks\.\d+)\.block\.2\.", r"\1.norm."),
  (r"^(stages\.\d+\.blocks\.\d+)\.block\.3\.", r"\1.mlp.fc1."),
  (r"^(stages\.\d+\.blocks\.\d+)\.block\.5\.", r"\1.mlp.fc2."),
  (r"^(stages\.\d+\.blocks\.\d+)\.layer_scale$", r"\1.gamma"),
  (r"^classifier\.0\.", "head.norm."),
  (r"^classifier\.2\.", "head.fc."),
)


def _row(name: str) -> Architecture:
  """Returns the row of a network, by timm's name of it."""
  design = convnext_designs.DESIGNS[name]
  # transformers' networks have other depths and widths alone.
  plain = Design(design.depths, design.widths)
  second = dataclasses.replace(plain, scale=False, response_norm=True)
  return Architecture(
    build=functools.partial(ConvNeXt, design),
    head="head.fc.weight",
    preprocessing=imagenet(**convnext_designs.EVALUATED.get(name, {})),
    min_image_size=32,
    names=_TRANSFORMERS + _TORCHVISION,
    options=("head_norm_eps",),
    stated=design.stated(),
    timm=(name,),
    transformers={plain: "convnext", second: "convnextv2"}.get(design),
    # CLIP's towers have these names.
    projects=name
    in ("convnext_base", "convnext_large_mlp", "convnext_xxlarge"),
  )


ARCHITECTURES = {name: _row(name) for name in convnext_designs.DESIGNS}
