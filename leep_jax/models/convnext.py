"""ConvNeXt (Liu et al., 2022): tiny, small and base, in Flax NNX.

Attributes have timm's names; files of torchvision and transformers are read
too. Images are `[B, H, W, 3]`, normalised, with sides of at least 32 pixels.
"""

import functools

from flax import nnx
import jax
import jax.numpy as jnp

from leep_jax.models import layers
from leep_jax.models.architecture import Architecture, Names, imagenet


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


# The epsilon of the published networks; PyTorch's default is 1e-5.
def _norm(channels, *, eps=1e-6, rngs):
  return nnx.LayerNorm(channels, epsilon=eps, rngs=rngs)


class Block(nnx.Module):
  """A depthwise 7x7 convolution, LayerNorm and an MLP, added to the input.

  Example:
    >>> from flax import nnx
    >>> import jax.numpy as jnp
    >>> from leep_jax.models import convnext
    >>> block = convnext.Block(16, rngs=nnx.Rngs(0))
    >>> block(jnp.ones((2, 8, 8, 16))).shape
    (2, 8, 8, 16)
  """

  def __init__(self, channels: int, *, rngs: nnx.Rngs):
    self.conv_dw = _conv(
      channels, channels, 7, padding=3, groups=channels, rngs=rngs
    )
    self.norm = _norm(channels, rngs=rngs)
    self.mlp = layers.Mlp(channels, 4 * channels, rngs=rngs)
    # LayerScale: blocks begin near the identity, which keeps deep networks
    # stable in early training. 1e-6 is the paper's value.
    self.gamma = nnx.Param(jnp.full(channels, 1e-6))

  def __call__(self, x: jax.Array) -> jax.Array:
    # Channels are last, so that the norm and the MLP need no transposition.
    # They act on every pixel, as 1x1 convolutions do.
    y = self.mlp(self.norm(self.conv_dw(x)))
    return x + y * self.gamma[None, None, None]


class Stage(nnx.Module):
  """LayerNorm and a 2x2 convolution that halves the image, then blocks.

  Example:
    >>> from flax import nnx
    >>> import jax.numpy as jnp
    >>> from leep_jax.models import convnext
    >>> block = convnext.Stage(16, 32, 2, rngs=nnx.Rngs(0))
    >>> block(jnp.ones((2, 8, 8, 16))).shape
    (2, 4, 4, 32)
  """

  def __init__(self, inputs: int, outputs: int, depth: int, *, rngs: nnx.Rngs):
    self.downsample: nnx.List[nnx.Module] = nnx.List([])
    if inputs != outputs:  # in all stages but the first, which follows the stem
      self.downsample = nnx.List(
        [
          _norm(inputs, rngs=rngs),
          _conv(inputs, outputs, 2, stride=2, rngs=rngs),
        ]
      )
    self.blocks = nnx.List([Block(outputs, rngs=rngs) for _ in range(depth)])

  def __call__(self, x: jax.Array) -> jax.Array:
    for layer in (*self.downsample, *self.blocks):
      x = layer(x)
    return x


class ConvNeXt(nnx.Module):
  """On images `[B, H, W, 3]`: logits `[B, Z]`, features `[B, D]`.

  D is 8 times the width.

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
    width: int,
    depths: tuple[int, int, int, int],
    num_classes: int,
    *,
    # An option of its own: transformers' `layer_norm_eps` is that of the last
    # norm alone, and the others have 1e-6 there too.
    head_norm_eps: float = 1e-6,
    rngs: nnx.Rngs,
  ):
    # Patches of 4x4 pixels.
    self.stem = nnx.List(
      [
        _conv(3, width, 4, stride=4, rngs=rngs),
        _norm(width, rngs=rngs),
      ]
    )
    inputs, stages = width, []
    for stage, depth in enumerate(depths):
      stages.append(Stage(inputs, width << stage, depth, rngs=rngs))
      inputs = width << stage
    self.stages = nnx.List(stages)
    self.head = nnx.Dict(
      norm=_norm(inputs, eps=head_norm_eps, rngs=rngs),
      fc=layers.head(inputs, num_classes, rngs=rngs),
    )

  def __call__(self, x: jax.Array) -> tuple[jax.Array, jax.Array]:
    for layer in (*self.stem, *self.stages):
      x = layer(x)
    # The norm is after the average, and its result is the input of the last
    # layer: these are the features.
    features = self.head.norm(layers.global_average(x))
    return self.head.fc(features), features


_TRANSFORMERS: Names = (
  (r"^convnext\.embeddings\.patch_embeddings\.", "stem.0."),
  (r"^convnext\.embeddings\.layernorm\.", "stem.1."),
  (
    r"^convnext\.encoder\.(stages\.\d+)\.downsampling_layer\.",
    r"\1.downsample.",
  ),
  (r"^convnext\.encoder\.(stages\.\d+)\.layers\.(\d+)\.", r"\1.blocks.\2."),
  (r"^(stages\..*)\.dwconv\.", r"\1.conv_dw."),
  (r"^(stages\..*)\.layernorm\.", r"\1.norm."),
  (r"^(stages\..*)\.pwconv(\d)\.", r"\1.mlp.fc\2."),
  (r"^(stages\..*)\.layer_scale_parameter$", r"\1.gamma"),
  (r"^convnext\.layernorm\.", "head.norm."),
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

ARCHITECTURES = {
  f"convnext_{name}": Architecture(
    build=functools.partial(ConvNeXt, width, depths),
    head="head.fc.weight",
    preprocessing=imagenet(crop=crop),
    min_image_size=32,
    names=_TRANSFORMERS + _TORCHVISION,
    options=("head_norm_eps",),
    stated={
      "depths": depths,
      "hidden_sizes": tuple(width << stage for stage in range(4)),
      "dims": tuple(width << stage for stage in range(4)),  # timm's name
    },
    timm=(f"convnext_{name}",),
    transformers="convnext",
  )
  for name, width, depths, crop in (
    # Width, blocks of each stage, and the crop of the published evaluation.
    ("tiny", 96, (3, 3, 9, 3), 0.95),
    ("small", 96, (3, 3, 27, 3), 0.95),
    ("base", 128, (3, 3, 27, 3), 0.875),
  )
}
