"""EfficientNet-B0 (Tan & Le, 2019), in Flax NNX.

Attributes have timm's names; files of torchvision are read too. `tf_padding`
and `norm_eps` are for weights that were trained in TensorFlow. Images are
`[B, H, W, 3]`, normalised, with sides of at least 32 pixels.
"""

import re

from flax import nnx
import jax

from leep_jax.models import layers
from leep_jax.models.architecture import Architecture, imagenet

# Blocks, kernel, stride, expansion and output channels of each stage.
_STAGES = (
  (1, 3, 1, 1, 16),
  (2, 3, 2, 6, 24),
  (2, 5, 2, 6, 40),
  (3, 3, 2, 6, 80),
  (3, 5, 1, 6, 112),
  (4, 5, 2, 6, 192),
  (1, 3, 1, 6, 320),
)


class MBConv(nnx.Module):
  """Expansion, depthwise convolution, squeeze-and-excitation and projection.

  The result is added to the input where both have the same shape.

  Example:
    >>> from flax import nnx
    >>> import jax.numpy as jnp
    >>> from leep_jax.models import efficientnet
    >>> block = efficientnet.MBConv(
    ...   8, 16, kernel=3, stride=2, expansion=6, norm_eps=1e-5, same=False,
    ...   rngs=nnx.Rngs(0))
    >>> block(jnp.ones((2, 8, 8, 8))).shape
    (2, 4, 4, 16)
  """

  def __init__(
    self,
    inputs: int,
    outputs: int,
    *,
    kernel: int,
    stride: int,
    expansion: int,
    norm_eps: float,
    same: bool,
    rngs: nnx.Rngs,
  ):
    wide = inputs * expansion
    self.expands = expansion > 1
    self.shortcut = stride == 1 and inputs == outputs

    def norm(channels):
      return layers.batch_norm(channels, eps=norm_eps, rngs=rngs)

    self.conv_dw = layers.conv(
      wide,
      wide,
      kernel,
      stride=stride,
      groups=wide,
      padding="SAME" if same else None,
      rngs=rngs,
    )
    # Squeezed to a quarter of the block's input, not of the wider channels that
    # are gated.
    self.se = layers.SqueezeExcite(
      wide,
      inputs // 4,
      names=("conv_reduce", "conv_expand"),
      activation=nnx.silu,
      rngs=rngs,
    )
    if self.expands:
      self.conv_pw = layers.conv(inputs, wide, 1, rngs=rngs)
      self.bn1, self.bn2, self.bn3 = norm(wide), norm(wide), norm(outputs)
      self.conv_pwl = layers.conv(wide, outputs, 1, rngs=rngs)
    else:
      # Without an expansion timm calls the projection conv_pw, not conv_pwl.
      self.bn1, self.bn2 = norm(wide), norm(outputs)
      self.conv_pw = layers.conv(wide, outputs, 1, rngs=rngs)

  def __call__(self, x: jax.Array) -> jax.Array:
    y: jax.Array = x
    if self.expands:
      y = nnx.silu(self.bn1(self.conv_pw(y)))
      y = self.se(nnx.silu(self.bn2(self.conv_dw(y))))
      # No activation after the projection: it would set the negative values of
      # the few channels to 0, which loses information.
      y = self.bn3(self.conv_pwl(y))
    else:
      y = self.se(nnx.silu(self.bn1(self.conv_dw(y))))
      y = self.bn2(self.conv_pw(y))
    return x + y if self.shortcut else y


class EfficientNetB0(nnx.Module):
  """On images `[B, H, W, 3]`: logits `[B, Z]`, features `[B, 1280]`.

  Example:
    >>> from flax import nnx
    >>> import jax.numpy as jnp
    >>> from leep_jax.sources import catalog
    >>> model = catalog.shapes("efficientnet_b0", 10)  # no values
    >>> images = jnp.zeros((2, 64, 64, 3))
    >>> logits, features = nnx.eval_shape(lambda m: m(images), model)
    >>> logits.shape, features.shape
    ((2, 10), (2, 1280))
  """

  def __init__(
    self,
    num_classes: int,
    *,
    norm_eps: float = 1e-5,
    tf_padding: bool = False,
    rngs: nnx.Rngs,
  ):
    padding = "SAME" if tf_padding else None
    self.conv_stem = layers.conv(3, 32, 3, stride=2, padding=padding, rngs=rngs)
    self.bn1 = layers.batch_norm(32, eps=norm_eps, rngs=rngs)
    inputs, stages = 32, []
    for depth, kernel, stride, expansion, outputs in _STAGES:
      blocks = []
      for i in range(depth):
        block = MBConv(
          inputs,
          outputs,
          kernel=kernel,
          stride=1 if i else stride,  # the first block of a stage strides
          expansion=expansion,
          norm_eps=norm_eps,
          same=tf_padding,
          rngs=rngs,
        )
        inputs = outputs
        blocks.append(block)
      stages.append(nnx.List(blocks))
    self.blocks = nnx.List(stages)
    self.conv_head = layers.conv(inputs, 1280, 1, rngs=rngs)
    self.bn2 = layers.batch_norm(1280, eps=norm_eps, rngs=rngs)
    self.classifier = layers.head(1280, num_classes, rngs=rngs)

  def __call__(self, x: jax.Array) -> tuple[jax.Array, jax.Array]:
    x = nnx.silu(self.bn1(self.conv_stem(x)))
    for stage in self.blocks:
      for block in stage:
        x = block(x)
    x = nnx.silu(self.bn2(self.conv_head(x)))
    features = layers.global_average(x)
    return self.classifier(features), features


# torchvision numbers the layers of a block. The numbers differ between blocks
# without an expansion (those of the first stage) and with one.
_PLAIN = {"0.0": "conv_dw", "0.1": "bn1", "2.0": "conv_pw", "2.1": "bn2"}
_EXPANDED = {
  "0.0": "conv_pw", "0.1": "bn1", "1.0": "conv_dw", "1.1": "bn2",
  "3.0": "conv_pwl", "3.1": "bn3",
}  # fmt: skip


def _block(match):
  """The published name of a layer of a block in torchvision's files."""
  # features.0 is the stem, and the stages follow.
  stage, block, rest = int(match[1]) - 1, match[2], match[3]
  layers_of = _EXPANDED if stage else _PLAIN
  # The gate has a number too, and layers of its own with names.
  layer = re.sub(
    rf"^{2 if stage else 1}\.fc([12])\.",
    lambda m: ("se.conv_reduce.", "se.conv_expand.")[int(m[1]) - 1],
    rest,
  )
  number, _, name = layer.rpartition(".")
  return f"blocks.{stage}.{block}.{layers_of.get(number, number)}.{name}"


ARCHITECTURES = {
  "efficientnet_b0": Architecture(
    build=EfficientNetB0,
    head="classifier.weight",
    preprocessing=imagenet(),
    min_image_size=32,
    names=(  # torchvision
      (r"^features\.0\.0\.", "conv_stem."),
      (r"^features\.0\.1\.", "bn1."),
      (r"^features\.8\.0\.", "conv_head."),
      (r"^features\.8\.1\.", "bn2."),
      (r"^features\.([1-7])\.(\d+)\.block\.(.*)$", _block),
      (r"^classifier\.1\.", "classifier."),
    ),
    options=("norm_eps", "tf_padding"),
    timm=("efficientnet_b0", "tf_efficientnet_b0"),
  )
}
