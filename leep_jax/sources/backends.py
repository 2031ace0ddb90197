"""Which code runs the model of a folder: its own network here, or the bridge.

A folder whose configuration names a network of `models/` uses it. Any other one
is built by the library that wrote it, exported by PyTorch and run by JAX.
"""

import dataclasses
import pathlib

from leep_jax import validation
from leep_jax.sources import (
  configs,
  conversion,
  converted,
  eager,
  kept_conversions,
  loading,
  named as named_lib,
  overrides as overrides_lib,
  source as source_lib,
  torch_model,
  transformers_models,
)


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
  folder = path if path.is_dir() else path.parent
  if converted.is_converted(folder):
    if arch or backend not in (None, "bridge"):
      raise validation.InputError(
        f"{name} is a converted model, which the bridge runs, not "
        f"{backend or arch}: leave that out"
      )
    return converted.load(name, folder, overrides)
  if path in named_lib.bundled().values() and backend in ("bridge", "torch"):
    raise validation.InputError(
      f"{name} is a bundled source, whose network is native: leave out "
      f"--backend={backend}"
    )
  if arch and backend in ("bridge", "torch"):
    _check_architecture(name, path, arch)
  config = {} if arch else transformers_models.read_config(folder)
  inputs = transformers_models.inputs_of(config)
  overrides.check_inputs(name, inputs)
  if backend == "torch":
    return _eager(name, path, overrides)
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


def _check_architecture(name, path, arch):
  """Refuses an architecture that is not that of the configuration."""
  try:
    stated = loading.architecture_of(name, path)
  except configs.OtherNetworkError:
    stated = "another network"
  if stated != arch:
    raise validation.InputError(
      f"{name} asks for {arch}, but the configuration beside the weights "
      f"states {stated}: leave out {arch}@"
    )


def _eager(name, path, overrides):
  """Runs the model of a folder in PyTorch itself."""
  torch_model.require_torch(name)
  _check_native_options(name, overrides)
  if overrides.features is not None:
    raise validation.InputError(
      "features are chosen in a graph: pass --backend=bridge"
    )
  size = overrides.image_size
  found, preprocessing = conversion.in_torch(
    name, path, image_size=size, pooling=overrides.pooling
  )
  stated = dataclasses.replace(overrides, image_size=None, pooling=None)
  return eager.from_model(
    name,
    found,
    preprocessing=stated.applied(name, preprocessing),
    options=f"{sorted(conversion.versions().items())}",
  )


def _check_native_options(name, overrides):
  if overrides.tf_padding is not None or overrides.num_classes is not None:
    raise validation.InputError(
      f"{name} is run through PyTorch, as its configuration states: tf_padding "
      "and source_classes are for native networks"
    )


def _through_torch(name, path, overrides, *, native=""):
  """Converts the model of a folder with PyTorch, or takes it from the cache.

  Args:
    name: of the source.
    path: of a file or folder.
    overrides: what the user states.
    native: why it has no native network, if that was tried.
  """
  _check_native_options(name, overrides)
  size = overrides.image_size
  chosen = f"{size} {overrides.features} {overrides.pooling}"
  kept = kept_conversions.folder_of(path, chosen)
  stated = dataclasses.replace(
    overrides, image_size=None, features=None, pooling=None
  )
  model = kept_conversions.read(kept) if kept is not None else None
  if model is not None:
    return converted.as_source(name, model, stated)
  try:
    torch_model.require_torch(name)
  except validation.InputError as e:
    raise validation.InputError(f"{native}: {e}" if native else str(e)) from e
  model = conversion.convert(
    name,
    path,
    image_size=size,
    features=overrides.features,
    pooling=overrides.pooling,
  )
  if kept is not None:
    kept_conversions.keep(kept, model)
  return converted.as_source(name, model, stated)
