"""Models that PyTorch builds, as graphs that JAX runs."""

import contextlib
import dataclasses
import importlib.metadata
import pathlib
from typing import Any

from leep_jax import version
from leep_jax.bridge import program as program_lib
from leep_jax.models.preprocessing import Preprocessing
from leep_jax.sources import (
  checkpoints,
  configs,
  converted,
  hearing,
  timm_models,
  tokenizing,
  torch_model,
  transformers_models,
)

# Of the operations and the form of programs: programs that an earlier version
# made are made again.
BRIDGE = 3


def convert(
  name: str,
  path: pathlib.Path,
  *,
  image_size: int | None = None,
  features: str | None = None,
  pooling: str | None = None,
) -> converted.Converted:
  """Converts the model of a folder with PyTorch.

  Args:
    name: of the model, in error messages.
    path: of a folder laid out as on the hub by timm or transformers, or of a
      safetensors file in one.
    image_size: side of its images, instead of what the configuration says.
    features: name of a value in its graph, instead of the input of its last
      linear layer.
    pooling: of an encoder of texts or sounds, see `Overrides`.

  Returns:
    The model as a graph with its weights and its preprocessing.

  Raises:
    InputError: if a library is missing, the folder cannot be read, PyTorch
      cannot export the network, or operations are not known here.

  Example:
    >>> import pathlib
    >>> import leep_jax
    >>> from leep_jax.sources import conversion
    >>> try:
    ...   conversion.convert("mine", pathlib.Path("no_such_folder"))
    ... except leep_jax.InputError as error:
    ...   print(error)
    mine has no configuration that names its network: ...
  """
  found, preprocessing = in_torch(
    name, path, image_size=image_size, pooling=pooling
  )
  program, arrays = program_lib.from_module(
    found.module,
    found.example,
    name=name,
    inputs=found.inputs,
    without_probs="" if found.has_classifier else found.without_probs,
    features=features,
    dynamic=found.dynamic,
  )
  if found.without_probs:
    # Of several labels at once, for example: there are logits, but no softmax.
    head = program.head._replace(without_probs=found.without_probs)
    program = dataclasses.replace(program, head=head)
  origin = {"name": name, **versions()}
  if found.inputs == "image":
    return converted.Converted(program, arrays, preprocessing, origin)
  folder = path if path.is_dir() else path.parent
  wanted = ("config.json", *tokenizing.FILES, hearing.FILE)
  return converted.Converted(
    program,
    arrays,
    preprocessing,
    origin,
    files={
      file: (folder / file).read_bytes()
      for file in wanted
      if (folder / file).is_file()
    },
  )


def in_torch(
  name: str,
  path: pathlib.Path,
  *,
  image_size: int | None = None,
  pooling: str | None = None,
) -> tuple[torch_model.TorchModel, Any]:
  """Returns the PyTorch network of a folder, and its preprocessing.

  Args:
    name: of the model, in error messages.
    path: of a folder laid out as on the hub by timm or transformers, or of a
      safetensors file in one.
    image_size: side of its images, instead of what the configuration says.
    pooling: of an encoder of texts or sounds, see `Overrides`.

  Raises:
    InputError: if a library is missing, or the folder cannot be read.

  Example:
    >>> import pathlib
    >>> import leep_jax
    >>> from leep_jax.sources import conversion
    >>> try:
    ...   conversion.in_torch("mine", pathlib.Path("no_such_folder"))
    ... except leep_jax.InputError as error:
    ...   print(error)
    mine has no configuration that names its network: ...
  """
  folder = path if path.is_dir() else path.parent
  stated = transformers_models.read_config(folder)
  inputs = transformers_models.inputs_of(stated)
  preprocessing: Any
  # What is missing is told before the network is built.
  if inputs == "text":
    preprocessing = tokenizing.read(folder, stated)
  elif inputs == "audio":
    preprocessing = hearing.read(folder)
  else:
    return _images_in_torch(name, path, folder, image_size)
  with checkpoints.alone(path) as weights:
    found = transformers_models.build(name, folder, weights, pooling=pooling)
  return found, preprocessing


def _images_in_torch(name, path, folder, image_size):
  config = configs.read(folder, network=False)
  configs.check_named(name, config)
  with checkpoints.alone(path) as weights:
    if config.timm is not None:
      found = timm_models.build(name, weights, config, image_size=image_size)
    else:
      size = image_size or config.preprocessing.get("image_size")
      found = transformers_models.build(
        name, folder, weights, image_size=size, blue_first=config.blue_first
      )
  if config.timm is None and not found.without_probs:
    found = found._replace(without_probs=config.without_probs)
  fields = dict(config.preprocessing)
  fields["image_size"] = tuple(found.example[0].shape[-2:])
  return found, Preprocessing(**fields)


def versions() -> dict[str, str]:
  """Returns the versions of the libraries that a conversion depends on.

  Example:
    >>> from leep_jax.sources import conversion
    >>> sorted(conversion.versions())[:2]
    ['bridge', 'leep_jax']
  """
  found = {"leep_jax": version.__version__, "bridge": str(BRIDGE)}
  for library in ("torch", "timm", "transformers"):
    with contextlib.suppress(importlib.metadata.PackageNotFoundError):
      found[library] = importlib.metadata.version(library)
  return found
