"""Named sources: architectures, bundled weights, checkpoints, user factories.

`load_source` turns what a user writes after `--model=` into a `Source`.
"""

from collections.abc import Callable
import dataclasses
import importlib
import json
import os
import pathlib
from typing import Any

from flax import nnx
import numpy as np

from leep_jax import checks, source as source_lib, weights
from leep_jax.models import resnet


@dataclasses.dataclass(frozen=True)
class Architecture:
  """One network definition.

  Attributes:
    build: `(num_classes, *, rngs) -> nnx.Module`.
    table: row of `weights.TABLES` that names its parameters.
    head: published name of the last layer's weight, `[Z, D]`: it tells the
      number of classes of a checkpoint.
    preprocessing: what a checkpoint with no configuration of its own is fed.
    min_image_size: smallest side of an image, in pixels.
  """

  build: Callable[..., nnx.Module]
  table: str
  head: str
  preprocessing: source_lib.Preprocessing
  min_image_size: int


_IMAGENET_MEAN = (0.485, 0.456, 0.406)
_IMAGENET_STD = (0.229, 0.224, 0.225)

ARCHITECTURES: dict[str, Architecture] = {
  f"resnet{depth}": Architecture(
    build=resnet.build(depth),
    table="cifar_resnet",
    head="linear.weight",
    preprocessing=source_lib.Preprocessing(
      image_size=32, mean=_IMAGENET_MEAN, std=_IMAGENET_STD
    ),
    min_image_size=resnet.MIN_IMAGE_SIZE,
  )
  for depth in resnet.DEPTHS
}

_BUNDLED_DIR = pathlib.Path(__file__).parent / "bundled"


def bundled() -> dict[str, pathlib.Path]:
  """Returns the checkpoint of each bundled source, by its name."""
  return {p.stem: p for p in sorted(_BUNDLED_DIR.glob("*.safetensors"))}


def build(arch: str, num_classes: int, *, seed: int = 0) -> nnx.Module:
  """Returns a freshly initialised network in evaluation mode."""
  if arch not in ARCHITECTURES:
    raise checks.unknown("architecture", arch, ARCHITECTURES)
  model = ARCHITECTURES[arch].build(num_classes, rngs=nnx.Rngs(seed))
  model.eval()
  return model


def names() -> tuple[str, ...]:
  """Returns the names that `load_source` takes without a checkpoint."""
  return tuple(bundled())


def check_source(name: str) -> None:
  """Refuses a name that cannot be loaded, without loading it.

  Raises:
    InputError: if the architecture or bundled source is unknown, or there is
      no checkpoint at the path.
  """
  arch, at, path = name.partition("@")
  if at:
    if arch not in ARCHITECTURES:
      raise checks.unknown("architecture", arch, ARCHITECTURES)
    if not os.path.isfile(os.path.expanduser(path)):
      raise checks.InputError(f"no checkpoint file at {path}")
  elif ":" not in name and name not in bundled():
    if name in ARCHITECTURES:
      raise checks.InputError(
        f"{name} is an architecture, not trained weights: pass "
        f"{name}@CHECKPOINT.safetensors"
      )
    if name.endswith((".safetensors", ".npz")) or os.path.exists(name):
      raise checks.InputError(
        f"{name} is a checkpoint without an architecture: pass ARCH@{name}, "
        f"ARCH being one of {', '.join(ARCHITECTURES)}"
      )
    raise checks.unknown("model", name, bundled())


def load_source(name: str) -> source_lib.Source:
  """Loads a source model by name.

  Args:
    name: a bundled source (see `names`); `ARCH@PATH`, an architecture with a
      checkpoint file; or `package.module:factory`, a function without
      arguments that returns a `Source`.

  Raises:
    InputError: if there is no such source, or its checkpoint is missing,
      damaged or of another architecture.
  """
  check_source(name)
  arch, at, path = name.partition("@")
  if not at and ":" in name:
    return _from_factory(name)
  if not at:
    path = os.fspath(bundled()[name])
    _, metadata = weights.read_tensors(path)
    arch = json.loads(metadata["leep_jax"])["architecture"]
  return _from_checkpoint(name, arch, os.path.expanduser(path))


def _from_checkpoint(name, arch, path):
  architecture = ARCHITECTURES[arch]
  tensors, metadata = weights.read_tensors(path)
  # Without a head to count classes by, loading lists it with what else is odd.
  head = tensors.get(architecture.head, np.empty(()))
  bias = tensors.get(architecture.head.replace("weight", "bias"), head)
  num_classes = (*head.shape, *bias.shape, 1)[0]
  # Shapes alone: every value comes from the checkpoint.
  model = nnx.eval_shape(lambda: build(arch, num_classes))
  weights.load_into(model, tensors, table=architecture.table, origin=path)
  preprocessing = architecture.preprocessing
  if "leep_jax" in metadata:
    try:
      card = json.loads(metadata["leep_jax"])
      preprocessing = source_lib.Preprocessing(
        image_size=card["image_size"], mean=card["mean"], std=card["std"]
      )
    except (ValueError, TypeError, KeyError) as e:
      raise checks.InputError(
        f"the card inside {path} cannot be read: {checks.reason(e)}"
      ) from e
  graph, state = nnx.split(model)

  def apply(state, images):
    return nnx.merge(graph, state)(images)

  return source_lib.Source(
    name=name,
    apply=apply,
    state=state,
    preprocessing=preprocessing,
    min_image_size=architecture.min_image_size,
  )


def _from_factory(name):
  module_name, _, attribute = name.partition(":")
  try:
    factory: Any = importlib.import_module(module_name)
    for part in attribute.split("."):
      factory = getattr(factory, part)
    source = factory()
  except (Exception, SystemExit) as e:  # whatever the user's code raises
    raise checks.InputError(
      f"cannot make a source with {name}: {type(e).__name__}: "
      f"{checks.reason(e)}"
    ) from e
  if not isinstance(source, source_lib.Source):
    raise checks.InputError(
      f"{name} returned a {type(source).__name__}, not a leep_jax.Source"
    )
  return source
