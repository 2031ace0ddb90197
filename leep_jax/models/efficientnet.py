"""EfficientNets in Flax NNX, and the network of all their kin.

`EfficientNet` is the network; a `Design` says which: MobileNets and networks
found by architecture search are designs, too. Attributes have timm's names;
files of torchvision are read too. Images are `[B, H, W, 3]`, normalised, with
sides of at least 32 pixels.

Reference: Tan & Le, EfficientNet, 2019. The blocks' strings, the factors and
the preprocessing are facts of timm 1.0.31 (`models/efficientnet.py`).
"""

import dataclasses
import functools
import re
from typing import Any

from flax import nnx
import jax

from leep_jax.models import block_strings, layers, mobile_blocks
from leep_jax.models.architecture import Architecture, Names, imagenet
from leep_jax.models.block_strings import rounded
from leep_jax.models.mobile_layers import ACTIVATIONS, Squeeze, Style


@dataclasses.dataclass(frozen=True)
class Design:
  """A network of mobile blocks.

  Attributes:
    stages: the blocks' strings of each stage, separated by spaces.
    activation: name of the activation; blocks may have others.
    width: factor of the stages' channels.
    depth: factor of the stages' numbers of blocks, or one for each stage.
    nearest: see `block_strings.stages`.
    fixed_ends: see `block_strings.stages`.
    smallest: see `block_strings.rounded`.
    stem: number of channels of the first layer.
    stem_kernel: side of its kernel.
    features: number of features, D; 0 for the channels of the last stage,
      without another layer.
    pooled: whether the last layer before the head comes after pooling.
    head_bias: whether that layer then has a bias.
    head_norm: whether that layer then has a BatchNorm.
    squeeze: how blocks squeeze and excite.
    pooling: see `Style`.
    layer_scale: see `Style`.
    norm_eps: added to variances, if the weights' configuration says nothing.
    tf_padding: whether padding is TensorFlow's, likewise.

  Example:
    >>> from leep_jax.models import efficientnet
    >>> design = efficientnet.Design(("ds_r1_k3_s1_c16",), activation="relu")
    >>> design.stem, design.features
    (32, 1280)
  """

  stages: tuple[str, ...]
  activation: str
  width: float = 1.0
  depth: float | tuple[float, ...] = 1.0
  nearest: bool = False
  fixed_ends: bool = False
  smallest: float = 0.9
  stem: int = 32
  stem_kernel: int = 3
  features: int = 1280
  pooled: bool = False
  head_bias: bool = True
  head_norm: bool = False
  squeeze: Squeeze = dataclasses.field(default_factory=Squeeze)
  pooling: str = ""
  layer_scale: bool = False
  norm_eps: float = 1e-5
  tf_padding: bool = False

  def channels(self, number: int) -> int:
    """Returns a number of channels times the network's width.

    Args:
      number: as the strings have it.
    """
    return rounded(number * self.width, smallest=self.smallest)


class EfficientNet(nnx.Module):
  """On images `[B, H, W, 3]`: logits `[B, Z]`, features `[B, D]`.

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
    design: Design,
    num_classes: int,
    *,
    norm_eps: float | None = None,
    tf_padding: bool | None = None,
    rngs: nnx.Rngs,
  ):
    same = design.tf_padding if tf_padding is None else tf_padding
    style = Style(
      design.activation,
      squeeze=design.squeeze,
      norm_eps=design.norm_eps if norm_eps is None else norm_eps,
      padding="SAME" if same else None,
      pooling=design.pooling,
      layer_scale=design.layer_scale,
    )
    self.activation = ACTIVATIONS[design.activation]
    self.conv_stem = layers.conv(
      3, design.stem, design.stem_kernel, stride=2, padding=style.padding,
      rngs=rngs,
    )  # fmt: skip
    self.bn1 = style.norm(design.stem, rngs=rngs)
    self.blocks, channels = _stages(design, style, rngs=rngs)
    features = design.features or channels
    self.head = (
      "" if not design.features else "pooled" if design.pooled else "usual"
    )
    if self.head:
      self.conv_head = layers.conv(
        channels,
        features,
        1,
        use_bias=design.pooled and design.head_bias,
        rngs=rngs,
      )
    if self.head == "usual":
      self.bn2 = style.norm(features, rngs=rngs)
    self.normed = design.head_norm
    if design.head_norm:
      self.norm_head = style.norm(features, rngs=rngs)
    self.classifier = layers.head(features, num_classes, rngs=rngs)

  def __call__(self, x: jax.Array) -> tuple[jax.Array, jax.Array]:
    x = self.activation(self.bn1(self.conv_stem(x)))
    for stage in self.blocks:
      for block in stage:
        x = block(x)
    if self.head == "usual":
      x = self.activation(self.bn2(self.conv_head(x)))
    features = layers.global_average(x)
    if self.head == "pooled":
      # The layer takes the means as an image of one pixel.
      y = self.conv_head(features[:, None, None])
      y = self.norm_head(y) if self.normed else y
      # Features are float32 also where the network runs in bfloat16.
      features = self.activation(y)[:, 0, 0].astype(features.dtype)
    return self.classifier(features), features


def _stages(
  design: Design, style: Style, *, rngs: nnx.Rngs
) -> tuple[nnx.List[nnx.List[nnx.Module]], int]:
  """Returns the stages of a network, and the channels of the last one."""
  inputs, found = design.stem, []
  for stage in block_strings.stages(
    design.stages,
    depth=design.depth,
    nearest=design.nearest,
    fixed_ends=design.fixed_ends,
  ):
    blocks = []
    for block in stage:
      outputs = design.channels(block.channels) * block.widening
      if block.expanded_from:
        block = dataclasses.replace(
          block, expanded_from=design.channels(block.expanded_from)
        )
      build = mobile_blocks.KINDS[block.kind]
      blocks.append(build(inputs, outputs, block, style, rngs=rngs))
      inputs = outputs
    found.append(nnx.List(blocks))
  return nnx.List(found), inputs


def row(
  design: Design, *timm: str, names: Names = (), **preprocessing: Any
) -> Architecture:
  """Returns the row of a design in the table of architectures.

  Args:
    design: of the network.
    *timm: its names in timm. Those with `tf_` are of weights trained in
      TensorFlow, for which configurations set `norm_eps` and `tf_padding`.
    names: translates the names of other publishers.
    **preprocessing: fields in which timm's configuration of the first name
      differs from what is usual.

  Example:
    >>> from leep_jax.models import efficientnet
    >>> design = efficientnet.Design(("ds_r1_k3_s1_c16",), activation="relu")
    >>> efficientnet.row(design, "tiny", image_size=96).preprocessing.image_size
    96
  """
  return Architecture(
    build=functools.partial(EfficientNet, design),
    head="classifier.weight",
    preprocessing=imagenet(**preprocessing),
    min_image_size=32,
    names=names,
    options=("norm_eps", "tf_padding"),
    timm=timm,
  )


# What timm's configurations have for pixels in [-1, 1].
INCEPTION: dict[str, Any] = {"mean": (0.5,) * 3, "std": (0.5,) * 3}


def twins(name: str) -> tuple[str, str]:
  """Returns a name in timm, and that of weights trained in TensorFlow.

  Args:
    name: in timm.

  Example:
    >>> from leep_jax.models import efficientnet
    >>> efficientnet.twins("mixnet_s")
    ('mixnet_s', 'tf_mixnet_s')
  """
  return name, f"tf_{name}"


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


_TORCHVISION = (
  (r"^features\.0\.0\.", "conv_stem."),
  (r"^features\.0\.1\.", "bn1."),
  (r"^features\.8\.0\.", "conv_head."),
  (r"^features\.8\.1\.", "bn2."),
  (r"^features\.([1-7])\.(\d+)\.block\.(.*)$", _block),
  (r"^classifier\.1\.", "classifier."),
)

_LITE_STAGES = (
  "ds_r1_k3_s1_e1_c16",
  "ir_r2_k3_s2_e6_c24",
  "ir_r2_k5_s2_e6_c40",
  "ir_r3_k3_s2_e6_c80",
  "ir_r3_k5_s1_e6_c112",
  "ir_r4_k5_s2_e6_c192",
  "ir_r1_k3_s1_e6_c320",
)
# EfficientNets for Edge TPUs.
_EDGE_STAGES = (
  # Expanded from the channels that the stem would have without a factor.
  "er_r1_k3_s1_e4_c24_fc24_noskip",
  "er_r2_k3_s2_e8_c32",
  "er_r4_k3_s2_e8_c48",
  "ir_r5_k5_s2_e8_c96",
  "ir_r4_k5_s1_e8_c144",
  "ir_r2_k5_s2_e8_c192",
)
# The stages of B0, as TinyNet has them, too.
STAGES = tuple(f"{stage}_se0.25" for stage in _LITE_STAGES)


def _scaled(stages, width, depth, **options):
  """A design whose stem and features are as much wider as its stages."""
  return Design(
    stages,
    width=width,
    depth=depth,
    stem=rounded(32 * width),
    features=rounded(1280 * width),
    **options,
  )


# Factors of width and depth, image size and crop.
_B = {
  "b0": (1.0, 1.0, 224, 0.875),
  "b1": (1.0, 1.1, 240, 0.9),
  "b2": (1.1, 1.2, 256, 0.875),
  "b3": (1.2, 1.4, 288, 0.875),
  "b4": (1.4, 1.8, 320, 0.875),
  "b5": (1.6, 2.2, 448, 1.0),
  "b6": (1.8, 2.6, 528, 0.942),
  "b7": (2.0, 3.1, 600, 0.949),
  "b8": (2.2, 3.6, 672, 0.954),
  "l2": (4.3, 5.3, 800, 0.961),
}
_LITE = (
  (1.0, 1.0, 224, 0.875),
  (1.0, 1.1, 240, 0.882),
  (1.1, 1.2, 260, 0.890),
  (1.2, 1.4, 300, 0.904),
  (1.4, 1.8, 380, 0.922),
)
ARCHITECTURES = {
  **{
    f"efficientnet_{name}": row(
      _scaled(STAGES, width, depth, activation="silu"),
      *twins(f"efficientnet_{name}"),
      # torchvision's larger ones have another epsilon, which no file states.
      names=_TORCHVISION if name in ("b0", "b1", "b2", "b3", "b4") else (),
      image_size=size,
      crop=crop,
      crop_mode="squash" if name == "b5" else "center",
      **(INCEPTION if name == "b1" else {}),
    )
    for name, (width, depth, size, crop) in _B.items()
  },
  **{
    f"efficientnet_lite{i}": row(
      # Their stem and features are as wide as Lite0's.
      Design(
        _LITE_STAGES,
        "relu6",
        width=width,
        depth=depth,
        fixed_ends=True,
      ),
      *twins(f"efficientnet_lite{i}"),
      image_size=size,
      crop=crop,
    )
    for i, (width, depth, size, crop) in enumerate(_LITE)
  },
  **{
    f"efficientnet_{name}": row(
      _scaled(_EDGE_STAGES, width, depth, activation="relu"),
      *twins(f"efficientnet_{name}"),
      *pruned,
      image_size=size,
      crop=crop,
    )
    # Pruned ones have tensors of the same shapes.
    for name, width, depth, size, crop, pruned in (
      ("es", 1.0, 1.0, 224, 0.875, ("efficientnet_es_pruned",)),
      ("em", 1.0, 1.1, 240, 0.882, ()),
      ("el", 1.2, 1.4, 300, 0.904, ("efficientnet_el_pruned",)),
    )
  },
}
