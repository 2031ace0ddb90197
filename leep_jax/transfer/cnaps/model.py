"""The CNAPs network: a frozen CIFAR ResNet, and the networks that adapt it."""

import itertools
from typing import NamedTuple

from flax import nnx
import jax
import jax.numpy as jnp

from leep_jax import validation
from leep_jax.models import (
  cifar_resnet,
  layers,
  preprocessing as preprocessing_lib,
)
from leep_jax.sources import catalog

_ENCODED = 64  # width of z_G, of z_AR and of hidden layers
_CHANNELS = 32  # of the set encoder's convolutions
# Factor of generated differences, so that the first steps change little.
_SCALE = 0.1
# Factor of the initial head's logits. With 1, the bundled ResNets are so sure
# of the nearest mean that training would first spoil their features.
_GAIN = 0.15


class Adapted(NamedTuple):
  """The generated parameters of one task.

  Attributes:
    films: for each block `[2, 2, channels]`: for each of its two BatchNorms
      gamma and beta.
    kernel: of the head, `[D, W]`.
    bias: of the head, `[W]`; minus infinity for a class without images.

  Example:
    >>> import jax.numpy as jnp
    >>> from leep_jax.transfer import cnaps
    >>> cnaps.Adapted((), jnp.zeros((4, 3)), jnp.zeros(3)).kernel.shape
    (4, 3)
  """

  films: tuple[jax.Array, ...]
  kernel: jax.Array
  bias: jax.Array


def _linear(
  inputs: int, outputs: int, *, rngs: nnx.Rngs, zero: bool = False
) -> nnx.Linear:
  if not zero:
    return nnx.Linear(inputs, outputs, rngs=rngs)
  init = nnx.initializers.zeros_init()
  return nnx.Linear(inputs, outputs, kernel_init=init, rngs=rngs)


class SetEncoder(nnx.Module):
  """z_G: a small convolutional network, averaged over the support set.

  Example:
    >>> from flax import nnx
    >>> import jax.numpy as jnp
    >>> from leep_jax.transfer.cnaps import model
    >>> encoder = model.SetEncoder(rngs=nnx.Rngs(0))
    >>> encoder(jnp.ones((4, 8, 8, 3)), jnp.full(4, 0.25)).shape
    (64,)
  """

  def __init__(self, *, rngs: nnx.Rngs):
    widths = (3, *(_CHANNELS,) * 3, _ENCODED)
    self.convs = nnx.List(
      [
        layers.conv(a, b, 3, use_bias=True, rngs=rngs)
        for a, b in itertools.pairwise(widths)
      ]
    )

  def __call__(self, images: jax.Array, weights: jax.Array) -> jax.Array:
    """Returns `[64]` of images `[N, H, W, 3]` whose weights sum to 1."""
    x = images
    for conv in self.convs:
      x = nnx.relu(conv(x))
      # Images of any size: pooled as long as there is something to pool.
      if min(x.shape[1:3]) > 1:
        x = nnx.max_pool(x, (2, 2), strides=(2, 2))
    return weights @ layers.global_average(x)


class BlockAdapter(nnx.Module):
  """Generates the FiLM parameters of a block from z_G and its z_AR.

  Example:
    >>> from flax import nnx
    >>> import jax.numpy as jnp
    >>> from leep_jax.transfer.cnaps import model
    >>> adapter = model.BlockAdapter(16, 32, rngs=nnx.Rngs(0))
    >>> adapter(jnp.ones(64), jnp.ones((4, 8, 8, 16)), jnp.full(4, 0.25)).shape
    (2, 2, 32)
  """

  def __init__(self, inputs: int, outputs: int, *, rngs: nnx.Rngs):
    # Names of attributes are names of tensors in files: they have to stay.
    self.each = _linear(inputs, _ENCODED, rngs=rngs)
    self.together = _linear(_ENCODED, _ENCODED, rngs=rngs)
    self.first = _linear(2 * _ENCODED, _ENCODED, rngs=rngs)
    self.second = _linear(_ENCODED, _ENCODED, rngs=rngs)
    self.last = _linear(_ENCODED, 4 * outputs, rngs=rngs, zero=True)

  def __call__(
    self, z_g: jax.Array, x: jax.Array, weights: jax.Array
  ) -> jax.Array:
    """Returns `[2, 2, outputs]` from the block's input `[N, H, W, inputs]`."""
    each = nnx.relu(self.each(layers.global_average(x)))
    z_ar = self.together(weights @ each)
    h = nnx.elu(self.first(jnp.concatenate([z_g, z_ar])))
    h = h + nnx.elu(self.second(h))
    change = _SCALE * self.last(h).reshape(2, 2, -1)
    # Gamma is 1 without a change, beta 0.
    return change.at[:, 0].add(1)


class HeadGenerator(nnx.Module):
  """Generates weight and bias of a class from the mean of its features.

  Example:
    >>> from flax import nnx
    >>> import jax.numpy as jnp
    >>> from leep_jax.transfer.cnaps import model
    >>> head = model.HeadGenerator(8, rngs=nnx.Rngs(0))
    >>> kernel, bias = head(jnp.ones((3, 8)))
    >>> kernel.shape, bias.shape
    ((8, 3), (3,))
  """

  def __init__(self, features: int, *, rngs: nnx.Rngs):
    self.gain = nnx.Param(jnp.full(features, _GAIN))
    self.first = _linear(features, _ENCODED, rngs=rngs)
    self.second = _linear(_ENCODED, _ENCODED, rngs=rngs)
    self.last = _linear(_ENCODED, features + 1, rngs=rngs, zero=True)

  def __call__(self, means: jax.Array) -> tuple[jax.Array, jax.Array]:
    """Returns kernel `[D, W]` and bias `[W]` from means `[W, D]`."""
    h = nnx.elu(self.first(means))
    h = h + nnx.elu(self.second(h))
    change = _SCALE * self.last(h)
    scaled = means * self.gain[...][None]
    # Without changes, m g x - m g m / 2 is the classifier by the nearest mean,
    # in distances that g weighs.
    bias = change[:, -1] - jnp.sum(means * scaled, axis=1) / 2
    return (scaled + change[:, :-1]).T, bias


class Cnaps(nnx.Module):
  """A frozen CIFAR ResNet and the networks that adapt it; made by `create`.

  Attributes:
    backbone: the network that is modulated.
    encoder: computes z_G.
    adapters: generate the FiLM parameters, one for each block of the backbone.
    head: generates the classifier.
    architecture: name of the backbone's architecture.
    preprocessing: of the backbone's input.

  Example:
    >>> from leep_jax.transfer import cnaps
    >>> model = cnaps.create("fashion_mnist_resnet8")
    >>> model.architecture, len(model.adapters)
    ('resnet8', 3)
  """

  def __init__(
    self,
    backbone: cifar_resnet.CifarResNet,
    *,
    architecture: str,
    preprocessing: preprocessing_lib.Preprocessing,
    rngs: nnx.Rngs,
  ):
    self.backbone = backbone
    self.architecture = architecture
    self.preprocessing = preprocessing
    self.encoder = SetEncoder(rngs=rngs)
    self.adapters = nnx.List(
      [
        BlockAdapter(
          block.conv1.in_features, block.conv2.out_features, rngs=rngs
        )
        for block in backbone.blocks
      ]
    )
    self.head = HeadGenerator(backbone.linear.in_features, rngs=rngs)

  def adapt(
    self,
    images: jax.Array,
    labels: jax.Array,
    weights: jax.Array,
    *,
    ways: int,
  ) -> Adapted:
    """Generates the parameters of a task from its support set.

    Args:
      images: `[N, H, W, C]`, as `Preprocessing` takes them.
      labels: `[N]` integers from 0 to `ways` - 1.
      weights: `[N]`, 1 for an example and 0 for padding.
      ways: W.
    """
    x = self.preprocessing(images)
    shares = weights / weights.sum()
    z_g = self.encoder(x, shares)
    films = []
    x = self.backbone.stem(x)
    for block, adapter in zip(self.backbone.blocks, self.adapters, strict=True):
      # In turn: a block's z_AR depends on the modulation of those before it.
      films.append(adapter(z_g, x, shares))
      x = block(x, films[-1])
    member = jax.nn.one_hot(labels, ways) * weights[:, None]
    count = member.sum(axis=0)
    means = member.T @ layers.global_average(x)
    kernel, bias = self.head(means / jnp.maximum(count, 1)[:, None])
    # Classes without support, as those that pad `ways`, get probability 0.
    return Adapted(tuple(films), kernel, jnp.where(count > 0, bias, -jnp.inf))

  def __call__(self, adapted: Adapted, images: jax.Array) -> jax.Array:
    """Returns logits `[M, W]` of queries `[M, H, W, C]`."""
    x = self.backbone.stem(self.preprocessing(images))
    for block, film in zip(self.backbone.blocks, adapted.films, strict=True):
      x = block(x, film)
    logits = layers.global_average(x) @ adapted.kernel
    return logits + adapted.bias[None]


def assemble(
  architecture: str,
  num_classes: int,
  preprocessing: preprocessing_lib.Preprocessing,
  *,
  seed: int = 0,
) -> Cnaps:
  """Returns a CNAPs whose weights are yet to be loaded.

  Args:
    architecture: name of the backbone's architecture.
    num_classes: of the backbone's own head.
    preprocessing: of the backbone's input.
    seed: of the adaptation networks.

  Example:
    >>> import leep_jax
    >>> from leep_jax.transfer.cnaps import model
    >>> made = model.assemble("resnet8", 10, leep_jax.Preprocessing())
    >>> made.architecture
    'resnet8'
  """
  backbone = catalog.build(architecture, num_classes)
  assert isinstance(backbone, cifar_resnet.CifarResNet)
  model = Cnaps(
    backbone,
    architecture=architecture,
    preprocessing=preprocessing,
    rngs=nnx.Rngs(seed),
  )
  model.eval()
  return model


def create(backbone: str, *, seed: int = 0) -> Cnaps:
  """Returns a CNAPs that is not meta-trained.

  It classifies by the nearest class mean in the backbone's features.

  Args:
    backbone: name of a source for `catalog.load_source`, a CIFAR ResNet.
    seed: of the adaptation networks.

  Raises:
    InputError: if there is no such source, or it is another network.

  Example:
    >>> from leep_jax.transfer import cnaps
    >>> cnaps.create("fashion_mnist_resnet8", seed=1).architecture
    'resnet8'
  """
  known = {entry.name: entry.architecture for entry in catalog.entries()}
  architecture = known.get(backbone, backbone.partition("@")[0])
  catalog.check_source(backbone)
  if architecture not in cifar_resnet.ARCHITECTURES:
    raise validation.InputError(
      f"{backbone} is no CIFAR ResNet, whose blocks are what is modulated: "
      f"take one of {', '.join(cifar_resnet.ARCHITECTURES)}"
    )
  source = catalog.load_source(backbone)
  classes = source.state["linear"]["bias"].shape[0]
  preprocessing = source.preprocessing
  assert isinstance(preprocessing, preprocessing_lib.Preprocessing)
  model = assemble(architecture, classes, preprocessing, seed=seed)
  nnx.update(model.backbone, source.state)
  return model
