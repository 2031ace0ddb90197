"""The table of architectures, and networks built by their names in it."""

import functools
from typing import Any

from flax import nnx
import jax

from leep_jax import validation
from leep_jax.models import (
  cifar_resnet,
  convnext,
  darknet,
  efficientnet,
  efficientnet_v2,
  mnasnet,
  mobilenet_v1,
  mobilenet_v2,
  mobilenet_v3,
  mobilenet_v4,
  resnet,
  senet,
  vit_rows,
)
from leep_jax.models.architecture import Architecture

ARCHITECTURES: dict[str, Architecture] = {
  name: architecture
  for module in (
    cifar_resnet, resnet, mobilenet_v1, mobilenet_v2, darknet, senet, convnext,
    vit_rows, efficientnet, efficientnet_v2, mobilenet_v3, mobilenet_v4,
    mnasnet,
  )
  for name, architecture in module.ARCHITECTURES.items()
}  # fmt: skip


@functools.cache
def aliases() -> dict[str, str]:
  """Returns the names of architectures, by all names that publishers use.

  Returns:
    Keys of `ARCHITECTURES`, by names in lower case.

  Example:
    >>> from leep_jax.sources import architectures
    >>> architectures.aliases()["vit_base_patch16_224"]  # timm's name
    'vit_base_16'
  """
  theirs = {"vit_b_16": "vit_base_16", "vit_s_16": "vit_small_16"}
  for arch, architecture in ARCHITECTURES.items():
    theirs |= dict.fromkeys(architecture.timm, arch)
  ours = {arch: arch for arch in ARCHITECTURES}
  # Our own names come last, so that they win.
  return {key.lower(): arch for key, arch in (theirs | ours).items()}


@functools.cache
def of_timm() -> dict[str, str]:
  """Returns the names of architectures, by timm's names in lower case.

  Where the two differ, timm's go before ours: its `senet154` is another network
  than ours, which is its `legacy_senet154`.

  Example:
    >>> from leep_jax.sources import architectures
    >>> architectures.of_timm()["senet154"], architectures.aliases()["senet154"]
    ('gluon_senet154', 'senet154')
  """
  theirs = {
    name.lower(): arch
    for arch, architecture in ARCHITECTURES.items()
    for name in architecture.timm
  }
  return aliases() | theirs


def build(
  arch: str, num_classes: int, *, seed: int = 0, **options: Any
) -> nnx.Module:
  """Returns a freshly initialised network in evaluation mode.

  Args:
    arch: name of an architecture.
    num_classes: number of source classes.
    seed: of the initial weights.
    **options: those of `Architecture.options`.

  Raises:
    InputError: if the architecture is unknown.

  Example:
    >>> import jax.numpy as jnp
    >>> from leep_jax.sources import catalog
    >>> network = catalog.build("resnet8", 10)
    >>> logits, features = network(jnp.zeros((2, 32, 32, 3)))
    >>> logits.shape, features.shape
    ((2, 10), (2, 64))
  """
  if arch not in ARCHITECTURES:
    raise validation.unknown("architecture", arch, ARCHITECTURES)
  constructor = ARCHITECTURES[arch].build
  model: nnx.Module = constructor(num_classes, rngs=nnx.Rngs(seed), **options)
  model.eval()
  return model


class _OneKey:
  """Stands in for `nnx.Rngs` where only shapes are wanted.

  Drawing keys in a trace takes ten times as long as everything else.
  """

  def __getattr__(self, name: str) -> Any:
    return lambda: jax.random.key(0)


def shapes(arch: str, num_classes: int, **options: Any) -> nnx.Module:
  """Returns the network of `build` without values, for `matching.load_into`.

  Args:
    arch: name of an architecture.
    num_classes: number of source classes.
    **options: those of `Architecture.options`.

  Example:
    >>> from leep_jax.sources import catalog
    >>> catalog.shapes("resnet50", 1000).fc.kernel.shape
    (2048, 1000)
  """

  def make() -> nnx.Module:
    model: nnx.Module = ARCHITECTURES[arch].build(
      num_classes, rngs=_OneKey(), **options
    )
    model.eval()
    return model

  found: nnx.Module = nnx.eval_shape(make)
  return found


@functools.cache
def parameter_count(arch: str, num_classes: int) -> int:
  """Returns the number of parameters, without BatchNorm's running statistics.

  Args:
    arch: name of an architecture.
    num_classes: number of source classes.

  Example:
    >>> from leep_jax.sources import catalog
    >>> catalog.parameter_count("resnet50", 1000)
    25557032
  """
  model = shapes(arch, num_classes)
  leaves = jax.tree.leaves(nnx.state(model, nnx.Param))
  return sum(leaf.size for leaf in leaves)
