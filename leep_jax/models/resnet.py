"""ImageNet residual networks (He et al., 2016) and their relatives, in NNX.

A `Design` (resnet_designs.py) says what a network is made of: blocks, groups of
channels (ResNeXt, Xie et al., 2017), wider blocks (Zagoruyko and Komodakis,
2016), stems and shortcuts of several layers ("-C", "-D", "-S", "-T"; He et al.,
2019), attention to channels (SENet, Hu et al., 2018; ECA-Net, Wang et al.,
2020), strides that smooth first (Zhang, 2019) and ResNet-RS (Bello et al.,
2021).

In bottleneck blocks, the 3x3 convolution has the stride and not the first one
("v1.5"). Images are `[B, H, W, 3]`, normalised, with sides of at least 32
pixels.
"""

from collections.abc import Callable, Iterable
import functools
from typing import Any

from flax import nnx
import jax

from leep_jax.models import layers, resnet_designs
from leep_jax.models.architecture import Architecture, Names, imagenet
from leep_jax.models.resnet_designs import Design


def _norm(channels, design, *, rngs):
  if design.norm == "group":
    return nnx.GroupNorm(channels, num_groups=32, epsilon=1e-5, rngs=rngs)
  return layers.batch_norm(channels, rngs=rngs)


def _attention(channels, design, *, rngs):
  if design.attention == "eca":
    return layers.ChannelAttention(channels, rngs=rngs)
  if not design.attention:
    return None
  # timm rounds to multiples of 8 (`make_divisible` in timm/layers/helpers.py).
  squeezed = max(8, int(channels * design.squeeze + 4) // 8 * 8)
  return layers.SqueezeExcite(
    channels, squeezed, names=("fc1", "fc2"), activation=nnx.relu, rngs=rngs
  )


_Pool = Callable[[jax.Array], jax.Array]
_SMOOTH: dict[str, _Pool] = {
  "blur": layers.blur_pool,
  "average": layers.average_pool,
}


def _strided(stride, design):
  """Returns the stride of a convolution, and what strides after it instead."""
  if stride == 1 or not design.smooth:
    return stride, None
  return 1, _SMOOTH[design.smooth]


class BasicBlock(nnx.Module):
  """Two 3x3 convolutions and a shortcut.

  Example:
    >>> from flax import nnx
    >>> import jax.numpy as jnp
    >>> from leep_jax.models import resnet, resnet_designs
    >>> design = resnet_designs.design("resnet18")
    >>> block = resnet.BasicBlock(8, 16, design, stride=2, rngs=nnx.Rngs(0))
    >>> block(jnp.ones((2, 8, 8, 8))).shape
    (2, 4, 4, 16)
  """

  expansion = 1

  def __init__(
    self,
    inputs: int,
    width: int,
    design: Design,
    *,
    stride: int,
    rngs: nnx.Rngs,
  ):
    first = width // design.reduced
    step, self.smooth = _strided(stride, design)
    self.conv1 = layers.conv(inputs, first, 3, stride=step, rngs=rngs)
    self.bn1 = _norm(first, design, rngs=rngs)
    self.conv2 = layers.conv(first, width, 3, rngs=rngs)
    self.bn2 = _norm(width, design, rngs=rngs)
    self.se = _attention(width, design, rngs=rngs)
    self.downsample = _shortcut(inputs, width, design, stride=stride, rngs=rngs)

  def __call__(self, x: jax.Array) -> jax.Array:
    y = nnx.relu(self.bn1(self.conv1(x)))
    y = self.bn2(self.conv2(y if self.smooth is None else self.smooth(y)))
    y = y if self.se is None else self.se(y)
    return nnx.relu(y + _apply(self.downsample, x))


class Bottleneck(nnx.Module):
  """1x1, 3x3 and 1x1 convolutions and a shortcut.

  Example:
    >>> from flax import nnx
    >>> import jax.numpy as jnp
    >>> from leep_jax.models import resnet, resnet_designs
    >>> design = resnet_designs.design("resnet50")
    >>> block = resnet.Bottleneck(8, 4, design, stride=1, rngs=nnx.Rngs(0))
    >>> block(jnp.ones((2, 8, 8, 8))).shape
    (2, 8, 8, 16)
  """

  expansion = 4

  def __init__(
    self,
    inputs: int,
    width: int,
    design: Design,
    *,
    stride: int,
    rngs: nnx.Rngs,
  ):
    outputs = self.expansion * width
    width = width * design.group_width // 64 * design.groups
    first = width // design.reduced
    step, self.smooth = _strided(stride, design)
    self.conv1 = layers.conv(inputs, first, 1, rngs=rngs)
    self.bn1 = _norm(first, design, rngs=rngs)
    # The 3x3 convolution strides, as in torchvision and timm ("v1.5"); in the
    # paper, the first 1x1 one does.
    self.conv2 = layers.conv(
      first, width, 3, stride=step, groups=design.groups, rngs=rngs
    )
    self.bn2 = _norm(width, design, rngs=rngs)
    self.conv3 = layers.conv(width, outputs, 1, rngs=rngs)
    self.bn3 = _norm(outputs, design, rngs=rngs)
    self.se = _attention(outputs, design, rngs=rngs)
    self.downsample = _shortcut(
      inputs, outputs, design, stride=stride, rngs=rngs
    )

  def __call__(self, x: jax.Array) -> jax.Array:
    y = nnx.relu(self.bn1(self.conv1(x)))
    y = nnx.relu(self.bn2(self.conv2(y)))
    y = self.bn3(self.conv3(y if self.smooth is None else self.smooth(y)))
    y = y if self.se is None else self.se(y)
    # The last activation is after the sum, as in `BasicBlock`.
    return nnx.relu(y + _apply(self.downsample, x))


_BLOCKS: dict[str, type[BasicBlock] | type[Bottleneck]] = {
  "basic": BasicBlock,
  "bottleneck": Bottleneck,
}


# Functions of this module, not made anew for each layer: the definitions of two
# networks of one design are then equal, and one program runs both.
def _same(x):
  return x


def _average(x):
  return layers.average_pool(x, partial=True)


def _max(x):
  # Padded on both sides, as PyTorch pads, unlike SENet's.
  return layers.max_pool(x, before=1, after=1)


def _all_max(x):
  return layers.max_pool(x, before=1, after=1, stride=1)


def _shortcut(inputs, outputs, design, *, stride, rngs):
  # An empty list where the shapes agree: the shortcut is the input itself.
  if stride == 1 and inputs == outputs:
    return nnx.List([])
  norm = _norm(outputs, design, rngs=rngs)
  if design.shortcut:
    side = 1 if stride == 1 else design.shortcut
    conv = layers.conv(inputs, outputs, side, stride=stride, rngs=rngs)
    return nnx.List([conv, norm])
  # Published tensors count the average as a layer, also where there is none.
  return nnx.List(
    [
      _same if stride == 1 else _average,
      layers.conv(inputs, outputs, 1, rngs=rngs),
      norm,
    ]
  )


def _apply(sequence: Iterable[Any], x: jax.Array) -> jax.Array:
  for layer in sequence:
    x = layer(x)
  return x


def _stem(design, *, rngs):
  """Returns the first layers, up to a norm, and the number of their channels.

  Activations are among them, as published tensors count them, too.
  """
  if design.stem == "plain":
    return layers.conv(3, 64, 7, stride=2, rngs=rngs), 64
  second = design.stem_width
  first = second // 4 * 3 if design.stem == "tiered" else second
  return nnx.List(
    [
      layers.conv(3, first, 3, stride=2, rngs=rngs),
      _norm(first, design, rngs=rngs),
      nnx.relu,
      layers.conv(first, second, 3, rngs=rngs),
      _norm(second, design, rngs=rngs),
      nnx.relu,
      layers.conv(second, 2 * second, 3, rngs=rngs),
    ]
  ), 2 * second


def _pool(channels, design, *, rngs):
  """Returns the layers that halve the image after the stem."""
  if design.pool == "conv":
    conv = layers.conv(channels, channels, 3, stride=2, rngs=rngs)
    return nnx.List([conv, _norm(channels, design, rngs=rngs), nnx.relu])
  if design.smooth == "average":
    return nnx.List([layers.average_pool])
  if design.smooth == "blur":
    return nnx.List([_all_max, layers.blur_pool])
  return nnx.List([_max])


class ResNet(nnx.Module):
  """A ResNet; on images `[B, H, W, 3]`: logits `[B, Z]`, features `[B, D]`.

  D is 512 with basic blocks and 2048 with bottlenecks, in all published designs
  but one for tests.

  Example:
    >>> from flax import nnx
    >>> import jax.numpy as jnp
    >>> from leep_jax.sources import catalog
    >>> model = catalog.shapes("resnet18", 10)  # no values
    >>> images = jnp.zeros((2, 64, 64, 3))
    >>> logits, features = nnx.eval_shape(lambda m: m(images), model)
    >>> logits.shape, features.shape
    ((2, 10), (2, 512))
  """

  def __init__(self, design: Design, num_classes: int, *, rngs: nnx.Rngs):
    # The stem and pooling reduce each side to a quarter before the blocks.
    # Attributes have the names under which weights are published.
    self.conv1, inputs = _stem(design, rngs=rngs)
    self.bn1 = _norm(inputs, design, rngs=rngs)
    self.maxpool = _pool(inputs, design, rngs=rngs)
    self.stages = tuple(f"layer{i + 1}" for i in range(len(design.depths)))
    for name, kind, width, depth in zip(
      self.stages, design.blocks, design.widths, design.depths, strict=True
    ):
      blocks = []
      for i in range(depth):
        # Pooling has halved the image before the first stage.
        stride = 2 if name != "layer1" and not i else 1
        block = _BLOCKS[kind](inputs, width, design, stride=stride, rngs=rngs)
        blocks.append(block)
        inputs = block.expansion * width
      setattr(self, name, nnx.List(blocks))
    self.fc = layers.head(inputs, num_classes, rngs=rngs)

  def __call__(self, x: jax.Array) -> tuple[jax.Array, jax.Array]:
    deep = isinstance(self.conv1, nnx.List)
    x = _apply(self.conv1 if deep else [self.conv1], x)
    x = _apply(self.maxpool, nnx.relu(self.bn1(x)))
    for name in self.stages:
      x = _apply(getattr(self, name), x)
    features = layers.global_average(x)
    return self.fc(features), features


def _stage(match):
  """Renames a stage: transformers counts from 0 what is counted from 1 here."""
  stage, block, rest = match.groups()
  return f"layer{int(stage) + 1}.{block}.{rest}"


def _layer(match):
  layer = int(match[2]) + 1
  kind = {"convolution": "conv", "normalization": "bn"}[match[3]]
  return f"{match[1]}.{kind}{layer}."


_KINDS = {"convolution": "0", "normalization": "1"}
# What transformers calls layers of a stage are blocks here. Each has `layer.0`,
# `layer.1`, ..., which consist of a convolution and a norm.
_TRANSFORMERS: Names = (
  (r"^resnet\.embedder\.embedder\.convolution\.", "conv1."),
  (r"^resnet\.embedder\.embedder\.normalization\.", "bn1."),
  (r"^resnet\.encoder\.stages\.(\d+)\.layers\.(\d+)\.(.*)$", _stage),
  (
    r"^(layer\d+\.\d+)\.layer\.(\d+)\.(convolution|normalization)\.",
    _layer,
  ),
  (
    r"^(layer\d+\.\d+)\.shortcut\.(convolution|normalization)\.",
    lambda match: f"{match[1]}.downsample.{_KINDS[match[2]]}.",
  ),
  (r"^classifier\.1\.", "fc."),
)


def _row(name: str) -> Architecture:
  """Returns the row of a network, by timm's name of it."""
  design = resnet_designs.design(name)
  # transformers' networks have other depths, widths and blocks alone.
  plain = Design(design.depths, design.blocks, design.widths)
  return Architecture(
    build=functools.partial(ResNet, design),
    head="fc.weight",
    preprocessing=imagenet(**resnet_designs.evaluation(name)),
    min_image_size=32,
    names=_TRANSFORMERS,
    stated=design.stated(),
    timm=(name,),
    transformers="resnet" if design == plain else None,
  )


ARCHITECTURES = {
  # `senet154` here is the network of the paper's authors, with other tensors.
  "gluon_senet154" if name == "senet154" else name: _row(name)
  for name in resnet_designs.NAMES
}
