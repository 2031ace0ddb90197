"""Which code runs the model of a folder: its own network here, or the bridge.

A folder whose configuration names a network of `models/` uses it. Any other one
is built by the library that wrote it, exported by PyTorch and run by JAX.
"""

import contextlib
import dataclasses
import hashlib
import importlib.metadata
import os
import pathlib
import shutil
import tempfile
from typing import Any

from leep_jax import user_cache, validation, version
from leep_jax.bridge import program as program_lib
from leep_jax.models.preprocessing import Preprocessing
from leep_jax.sources import (
  checkpoints,
  configs,
  converted,
  eager,
  hearing,
  loading,
  overrides as overrides_lib,
  source as source_lib,
  timm_models,
  tokenizing,
  torch_model,
  transformers_models,
)

# Of the operations and the form of programs: programs that an earlier version
# made are made again.
_BRIDGE = 2


def load(
  name: str,
  path: pathlib.Path,
  arch: str,
  overrides: overrides_lib.Overrides,
) -> source_lib.Source:
  """Loads the model of a folder or file.

  Args:
    name: of the source, in tables and rows of results.
    path: of a file, or a folder laid out as on the hub.
    arch: name of the architecture; empty if the configuration states it.
    overrides: what the user states, the backend included.

  Raises:
    InputError: if it cannot be loaded, by that backend or by any.

  Example:
    >>> from leep_jax.sources import backends, catalog
    >>> path = catalog.bundled()["cifar10_resnet14"]
    >>> source = backends.load("mine", path, "resnet14", catalog.Overrides())
    >>> source.options
    'resnet14 []'
  """
  backend = overrides.backend
  if converted.is_converted(path):
    if backend not in (None, "bridge"):
      raise validation.InputError(
        f"{name} is a converted model, which the bridge runs, not {backend}"
      )
    return converted.load(name, path, overrides)
  folder = path if path.is_dir() else path.parent
  config = {} if arch else transformers_models.read_config(folder)
  inputs = transformers_models.inputs_of(config)
  overrides.check_inputs(name, inputs)
  if backend == "torch":
    return _eager(name, folder, overrides)
  if backend == "keras":
    raise validation.InputError(
      f"{name} is no model of Keras: leave out --backend=keras"
    )
  if backend == "bridge" or inputs != "image":
    if backend == "native":
      raise validation.InputError(
        f"{name} is a {config.get('model_type')}, which has no native network: "
        "leave out --backend"
      )
    return _through_torch(name, path, overrides)
  try:
    named = arch or loading.architecture_of(name, path)
    source = loading.from_checkpoint(name, named, path, overrides=overrides)
  except configs.OtherNetworkError as e:
    # Who names an architecture wants that one.
    if backend == "native" or arch:
      raise
    return _through_torch(name, path, overrides, native=str(e))
  if overrides.features is not None:
    raise validation.InputError(
      f"{name} has a native network, whose features are fixed: pass "
      "--backend=bridge to choose them with --features"
    )
  return source


def _eager(name, folder, overrides):
  """Runs the model of a folder in PyTorch itself."""
  torch_model.require_torch(name)
  if overrides.features is not None:
    raise validation.InputError(
      "features are chosen in a graph: pass --backend=bridge"
    )
  size = overrides.image_size
  found, preprocessing = _in_torch(name, folder, size, overrides.pooling)
  stated = dataclasses.replace(overrides, image_size=None, pooling=None)
  return eager.from_model(
    name,
    found,
    preprocessing=stated.applied(name, preprocessing),
    options=f"{sorted(_versions().items())}",
  )


def _through_torch(name, path, overrides, *, native=""):
  """Converts the model of a folder with PyTorch, or takes it from the cache.

  Args:
    name: of the source.
    path: of a file or folder.
    overrides: what the user states.
    native: why it has no native network, if that was tried.
  """
  folder = path if path.is_dir() else path.parent
  if overrides.tf_padding is not None or overrides.num_classes is not None:
    raise validation.InputError(
      f"{name} is run through PyTorch, as its configuration states: tf_padding "
      "and source_classes are for native networks"
    )
  size = overrides.image_size
  chosen = f"{size} {overrides.features} {overrides.pooling}"
  kept = _kept_folder(folder, chosen)
  stated = dataclasses.replace(
    overrides, image_size=None, features=None, pooling=None
  )
  if kept is not None and converted.is_converted(kept):
    with contextlib.suppress(validation.InputError):  # damaged: made again
      return converted.load(name, kept, stated)
  try:
    torch_model.require_torch(name)
  except validation.InputError as e:
    raise validation.InputError(f"{native}: {e}" if native else str(e)) from e
  model = convert(
    name,
    folder,
    image_size=size,
    features=overrides.features,
    pooling=overrides.pooling,
  )
  if kept is not None:
    _keep(kept, model)
  return converted.as_source(name, model, stated)


def convert(
  name: str,
  folder: pathlib.Path,
  *,
  image_size: int | None = None,
  features: str | None = None,
  pooling: str | None = None,
) -> converted.Converted:
  """Converts the model of a folder with PyTorch.

  Args:
    name: of the model, in error messages.
    folder: laid out as on the hub by timm or transformers.
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
    >>> from leep_jax.sources import backends
    >>> try:
    ...   backends.convert("mine", pathlib.Path("no_such_folder"))
    ... except leep_jax.InputError as error:
    ...   print(error)
    mine has no configuration that names its network: ...
  """
  found, preprocessing = _in_torch(name, folder, image_size, pooling)
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
  origin = {"name": name, **_versions()}
  if found.inputs == "image":
    return converted.Converted(program, arrays, preprocessing, origin)
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


def _in_torch(name, folder, image_size, pooling):
  """Builds the PyTorch network of a folder, and reads its preprocessing."""
  stated = transformers_models.read_config(folder)
  inputs = transformers_models.inputs_of(stated)
  preprocessing: Any
  # What is missing is told before the network is built.
  if inputs == "text":
    preprocessing = tokenizing.read(folder, stated)
  elif inputs == "audio":
    preprocessing = hearing.read(folder)
  else:
    return _images_in_torch(name, folder, image_size)
  found = transformers_models.build(name, folder, pooling=pooling)
  return found, preprocessing


def _images_in_torch(name, folder, image_size):
  config = configs.read(folder, network=False)
  configs.check_named(name, config)
  if config.timm is not None:
    found = timm_models.build(name, folder, config, image_size=image_size)
  else:
    size = image_size or config.preprocessing.get("image_size")
    found = transformers_models.build(
      name, folder, image_size=size, blue_first=config.blue_first
    )
    if config.without_probs and not found.without_probs:
      found = found._replace(without_probs=config.without_probs)
  fields = dict(config.preprocessing)
  fields["image_size"] = tuple(found.example[0].shape[-2:])
  return found, Preprocessing(**fields)


def _versions() -> dict[str, str]:
  """Versions of the libraries that a conversion depends on."""
  found = {"leep_jax": version.__version__, "bridge": str(_BRIDGE)}
  for library in ("torch", "timm", "transformers"):
    with contextlib.suppress(importlib.metadata.PackageNotFoundError):
      found[library] = importlib.metadata.version(library)
  return found


def _kept_folder(folder: pathlib.Path, options: str) -> pathlib.Path | None:
  """The folder of the cache for the conversion of a model, made or not."""
  cache = user_cache.folder()
  if cache is None:
    return None
  # Not versions of PyTorch: what was converted runs without it.
  made_by = f"{version.__version__} {_BRIDGE} {options}"
  digest = hashlib.sha256(made_by.encode())
  # What is beside the weights says how they are read.
  names = (*tokenizing.FILES, tokenizing.POOLING)
  found = {*folder.glob("*.json"), *(folder / name for name in names)}
  beside = sorted(file for file in found if file.is_file())
  weights = {checkpoints.find(folder), *folder.glob("*.safetensors")}
  for file in [*beside, *sorted(weights)]:
    digest.update(f"{file.name} ".encode())
    with file.open("rb") as opened:
      digest.update(hashlib.file_digest(opened, "sha256").digest())
  return cache / "converted" / digest.hexdigest()[:24]


def _keep(kept: pathlib.Path, model: converted.Converted) -> None:
  """Writes a conversion to the cache; one that has no room is not kept."""
  try:
    kept.parent.mkdir(parents=True, exist_ok=True)
    part = pathlib.Path(tempfile.mkdtemp(dir=kept.parent, prefix="part-"))
    try:
      converted.write(part, model)
      shutil.rmtree(kept, ignore_errors=True)
      os.replace(part, kept)
    finally:
      shutil.rmtree(part, ignore_errors=True)
  except (OSError, validation.InputError) as e:
    validation.note(
      f"the conversion was not kept in {kept.parent}: {validation.reason(e)}"
    )
