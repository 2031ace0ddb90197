"""SENet-154 (Hu, Shen & Sun, 2018), in Flax NNX.

As Cadene's port and timm (`legacy_senet154`) publish it. Images are
`[B, H, W, 3]`, normalised, with sides of at least 32 pixels.
"""

from flax import nnx
import jax

from leep_jax.models import layers
from leep_jax.models.architecture import Architecture, imagenet

# Blocks of each stage; three convolutions each, three of the stem and the last
# layer are 154.
_DEPTHS = (3, 8, 36, 3)
_GROUPS = 64
_REDUCTION = 16  # channels over those that the gate is computed from


class SEBottleneck(nnx.Module):
  """A grouped bottleneck with squeeze-and-excitation of its output channels.

  Example:
    >>> from flax import nnx
    >>> import jax.numpy as jnp
    >>> from leep_jax.models import senet
    >>> block = senet.SEBottleneck(
    ...   64, 64, stride=2, shortcut=3, rngs=nnx.Rngs(0))
    >>> block(jnp.ones((2, 8, 8, 64))).shape
    (2, 4, 4, 256)
  """

  def __init__(
    self,
    inputs: int,
    width: int,
    *,
    rngs: nnx.Rngs,
    stride: int = 1,
    shortcut: int = 0,
  ):
    wide = 4 * width
    # Half as many channels as `conv2` gives: the paper halves them to save
    # computation.
    self.conv1 = layers.conv(inputs, 2 * width, 1, rngs=rngs)
    self.bn1 = layers.batch_norm(2 * width, rngs=rngs)
    self.conv2 = layers.conv(
      2 * width, wide, 3, stride=stride, groups=_GROUPS, rngs=rngs
    )
    self.bn2 = layers.batch_norm(wide, rngs=rngs)
    self.conv3 = layers.conv(wide, wide, 1, rngs=rngs)
    self.bn3 = layers.batch_norm(wide, rngs=rngs)
    self.se_module = layers.SqueezeExcite(
      wide,
      wide // _REDUCTION,
      names=("fc1", "fc2"),
      activation=nnx.relu,
      rngs=rngs,
    )
    self.downsample: nnx.List[nnx.Module] = nnx.List([])
    if shortcut:  # the side of its kernel; 0 if it is the input itself
      self.downsample = nnx.List(
        [
          layers.conv(inputs, wide, shortcut, stride=stride, rngs=rngs),
          layers.batch_norm(wide, rngs=rngs),
        ]
      )

  def __call__(self, x: jax.Array) -> jax.Array:
    y = nnx.relu(self.bn1(self.conv1(x)))
    y = nnx.relu(self.bn2(self.conv2(y)))
    y = self.se_module(self.bn3(self.conv3(y)))
    for layer in self.downsample:  # the shortcut
      x = layer(x)
    return nnx.relu(x + y)


class SENet154(nnx.Module):
  """On images `[B, H, W, 3]`: logits `[B, Z]`, features `[B, 2048]`.

  Example:
    >>> from flax import nnx
    >>> import jax.numpy as jnp
    >>> from leep_jax.sources import catalog
    >>> model = catalog.shapes("senet154", 10)  # no values
    >>> images = jnp.zeros((2, 64, 64, 3))
    >>> logits, features = nnx.eval_shape(lambda m: m(images), model)
    >>> logits.shape, features.shape
    ((2, 10), (2, 2048))
  """

  def __init__(self, num_classes: int, *, rngs: nnx.Rngs):
    # Three 3x3 convolutions in place of ResNet's 7x7 one.
    self.layer0 = nnx.Dict(
      conv1=layers.conv(3, 64, 3, stride=2, rngs=rngs),
      bn1=layers.batch_norm(64, rngs=rngs),
      conv2=layers.conv(64, 64, 3, rngs=rngs),
      bn2=layers.batch_norm(64, rngs=rngs),
      conv3=layers.conv(64, 128, 3, rngs=rngs),
      bn3=layers.batch_norm(128, rngs=rngs),
    )
    inputs = 128
    for stage, depth in enumerate(_DEPTHS):
      width, blocks = 64 << stage, []
      for i in range(depth):
        # The shortcut's kernel has a side of 3 where it strides: one of side 1
        # would skip three of four pixels.
        first = {"stride": 2, "shortcut": 3} if stage else {"shortcut": 1}
        options = {} if i else first
        blocks.append(SEBottleneck(inputs, width, rngs=rngs, **options))
        inputs = 4 * width
      setattr(self, f"layer{stage + 1}", nnx.List(blocks))
    self.last_linear = layers.head(inputs, num_classes, rngs=rngs)

  def __call__(self, x: jax.Array) -> tuple[jax.Array, jax.Array]:
    stem = self.layer0
    x = nnx.relu(stem.bn1(stem.conv1(x)))
    x = nnx.relu(stem.bn2(stem.conv2(x)))
    x = nnx.relu(stem.bn3(stem.conv3(x)))
    # Padded at the end only (PyTorch's `ceil_mode`).
    x = layers.max_pool(x)
    for name in ("layer1", "layer2", "layer3", "layer4"):
      for block in getattr(self, name):
        x = block(x)
    features = layers.global_average(x)
    return self.last_linear(features), features


ARCHITECTURES = {
  "senet154": Architecture(
    build=SENet154,
    head="last_linear.weight",
    preprocessing=imagenet(interpolation="bilinear"),
    min_image_size=32,
    timm=("legacy_senet154",),
  )
}
