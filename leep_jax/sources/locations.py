"""Names of checkpoints: their architecture, and where their weights are.

    NAME                     bundled, or published and listed in `named.py`
    ARCH@PATH                a file or folder, or a repository of the hub
    PATH                     a folder laid out as on the hub, or a file in one
    hf://OWNER/NAME          a repository that states its architecture
    ARCH.TAG, ARCH           a name of timm, whose repository is on the hub

For each there is a function that returns the `Location` that a name means, or
None if the name has another form. `check` and `load` serve all of them.
"""

import json
import os
import pathlib
import re
from typing import NamedTuple

from leep_jax import file_kinds, validation
from leep_jax.sources import (
  architectures,
  backends,
  checkpoints,
  converted,
  hub,
  named,
  overrides as overrides_lib,
  source as source_lib,
  timm_names,
)

_TIMM = "hf://timm/"


class Location(NamedTuple):
  """Where a checkpoint is, and what it is of.

  Attributes:
    architecture: name of the architecture, known or not; empty if the
      configuration beside the weights states it.
    path: of a file or folder, or `hf://OWNER/NAME[@REVISION]`.

  Example:
    >>> from leep_jax.sources import locations
    >>> locations.at_path("ResNet50@timm/resnet50.tv_in1k")
    Location(architecture='resnet50', path='hf://timm/resnet50.tv_in1k')
  """

  architecture: str
  path: str


def with_name(name: str) -> Location | None:
  """Returns the location of a bundled or published source.

  Args:
    name: of the source; the case of letters does not matter.

  Example:
    >>> from leep_jax.sources import locations
    >>> locations.with_name("ResNet50.TV_in1k")
    Location(architecture='resnet50', path='hf://timm/resnet50.tv_in1k')
    >>> locations.with_name("resnet50") is None  # an architecture
    True
  """
  for bundled, path in named.bundled().items():
    if bundled.lower() == name.lower():
      card = json.loads(checkpoints.read_metadata(path)["leep_jax"])
      return Location(card["architecture"], os.fspath(path))
  for entry in named.PUBLISHED:
    if entry.name.lower() == name.lower():
      return Location(entry.architecture, entry.origin)
  return None


def at_path(name: str) -> Location | None:
  """Returns the location of `ARCH@PATH`.

  Args:
    name: what the user wrote. PATH may be any spelling of a repository.

  Example:
    >>> from leep_jax.sources import locations
    >>> locations.at_path("resnet50@weights.safetensors").path
    'weights.safetensors'
  """
  arch, _, path = name.partition("@")
  # In hf://OWNER/NAME@REVISION, a revision comes after the @.
  if not path or "/" in arch or ":" in arch:
    return None
  # A file of the user's goes before a repository of that name.
  if not os.path.exists(os.path.expanduser(path)):
    path = hub.spelled(path) or path
  return Location(architectures.aliases().get(arch.lower(), arch), path)


def in_folder(name: str) -> Location | None:
  """Returns the location of a folder or file that states its architecture.

  Args:
    name: of a folder, or of a file of weights with a `config.json` beside it,
      or a file of a converted folder.

  Example:
    >>> from leep_jax.sources import locations
    >>> locations.in_folder("no_such_folder") is None
    True
  """
  path = pathlib.Path(name).expanduser()
  known = path.suffix in (".safetensors", ".npz") or name.endswith(
    ".index.json"
  )
  beside = known and path.is_file() and (path.parent / "config.json").is_file()
  inside = path.is_file() and converted.is_converted(path.parent)
  return Location("", name) if beside or inside or path.is_dir() else None


def on_hub(name: str) -> Location | None:
  """Returns the location of a repository of the hub.

  Args:
    name: any spelling of a repository, see `hub.spelled`.

  Example:
    >>> from leep_jax.sources import locations
    >>> locations.on_hub("google/vit-base-patch16-224").path
    'hf://google/vit-base-patch16-224'
  """
  # OWNER/NAME may be a path, too.
  repository = "" if os.path.exists(name) else hub.spelled(name)
  if not repository:
    return None
  # timm's repositories have tags: an architecture alone means its default.
  known = timm_names.find(repository.removeprefix(_TIMM))
  if known is not None and repository.startswith(_TIMM):
    repository = _TIMM + known.name
  return Location("", repository)


def of_timm(name: str) -> Location | None:
  """Returns the location of a name of timm, whose weights are on the hub.

  Args:
    name: what the user wrote: `ARCH.TAG`, or an architecture that timm has
      weights of, which means its default tag.

  Example:
    >>> from leep_jax.sources import locations
    >>> locations.of_timm("resnet50.a1_in1k").path
    'hf://timm/resnet50.a1_in1k'
    >>> locations.of_timm("swin_tiny_patch4_window7_224").path
    'hf://timm/swin_tiny_patch4_window7_224.ms_in1k'
  """
  found = timm_names.find(name)
  return None if found is None else Location("", _TIMM + found.name)


def check(name: str, location: Location) -> None:
  """Refuses a location that cannot be loaded, without loading it.

  Args:
    name: what the user wrote.
    location: what it means.

  Raises:
    InputError: if the architecture is unknown, or nothing is at the path.

  Example:
    >>> import leep_jax
    >>> from leep_jax.sources import locations
    >>> try:
    ...   locations.check("resnet50@a", locations.Location("resnet50", "a"))
    ... except leep_jax.InputError as error:
    ...   print(error)
    no checkpoint at a
  """
  arch, path = location
  if arch in named.bundled():
    own = with_name(arch)
    raise validation.InputError(
      f"{arch} is a bundled source, with weights of its own: for the weights "
      f"in {path} pass {own.architecture if own else 'ARCH'}@{path}"
    )
  # Without one, the configuration states it.
  if arch and arch not in architectures.ARCHITECTURES:
    if timm_names.find(arch) is not None:
      raise validation.InputError(
        f"{arch} is of timm, and has no network in this package: put timm's "
        f"config.json beside the weights, and pass {path}"
      )
    raise validation.unknown("architecture", arch, architectures.ARCHITECTURES)
  if hub.is_hub(path):
    hub.check(path)
  elif re.match(r"\w+://|https?:", path):
    raise validation.InputError(
      f"{path} is not fetched: download it, then pass {arch}@FILE"
    )
  elif not os.path.exists(os.path.expanduser(path)):
    # A TensorFlow checkpoint is named by the prefix of its files: reading one
    # of them says what to do about it.
    index = os.path.expanduser(f"{path}.index")
    if os.path.exists(index):
      checkpoints.read_tensors(index)
    raise validation.InputError(f"no checkpoint at {path}")


def check_with_name(name: str, location: Location) -> None:
  """Refuses a published source that has to be downloaded and converted first.

  Args:
    name: of a bundled or published source.
    location: of it.

  Raises:
    InputError: if its weights are published as a pickle.

  Example:
    >>> from leep_jax.sources import locations
    >>> name = "cifar10_resnet14"
    >>> locations.check_with_name(name, locations.with_name(name))
  """
  if location.path.startswith("https:"):
    raise validation.InputError(
      f"{name} is published as a pickle at {location.path}: download and "
      f"convert it ({file_kinds.CONVERT}), then pass "
      f"{location.architecture}@OUT.safetensors"
    )
  check(name, location)


def check_on_hub(name: str, location: Location) -> None:
  """Checks a repository; notes which of timm an architecture alone means.

  Args:
    name: what the user wrote.
    location: of it.

  Example:
    >>> from leep_jax.sources import locations
    >>> name = "resnet50.a1_in1k"
    >>> locations.check_on_hub(name, locations.of_timm(name))
  """
  full = location.path.removeprefix(_TIMM)
  stated = (hub.spelled(name) or name).removeprefix(_TIMM)
  if full.lower() != stated.lower() and location.path.startswith(_TIMM):
    validation.note(f"{name} means {full} here, as in timm")
  elif (
    location.path.startswith(_TIMM)
    and "@" not in full
    and timm_names.find(full) is None
  ):
    arch = full.partition(".")[0]
    near = [
      n for n in timm_names.models() if n.partition(".")[0] == arch.lower()
    ]
    known = f"; known are {validation.some(near)}" if near else ""
    validation.note(f"timm 1.0.31 has no weights {full}{known}")
  check(name, location)


def load(
  name: str, location: Location, overrides: overrides_lib.Overrides
) -> source_lib.Source:
  """Loads the checkpoint at a location; fetches it if it is on the hub.

  Args:
    name: what the user wrote, which names the source.
    location: what it means.
    overrides: what replaces the checkpoint's own configuration.

  Raises:
    InputError: as `catalog.load_source`.

  Example:
    >>> from leep_jax.sources import catalog, locations
    >>> name = "cifar10_resnet14"
    >>> at = locations.with_name(name)
    >>> locations.load(name, at, catalog.Overrides()).min_image_size
    8
  """
  path = fetch(location)
  return backends.load(name, path, location.architecture, overrides)


def fetch(location: Location) -> pathlib.Path:
  """Returns the path of a checkpoint; downloads it if it is on the hub.

  Args:
    location: of the checkpoint.

  Raises:
    InputError: if it cannot be downloaded.

  Example:
    >>> from leep_jax.sources import locations
    >>> locations.fetch(locations.Location("", "folder")).name
    'folder'
  """
  path = location.path
  return (
    hub.fetch(path) if hub.is_hub(path) else pathlib.Path(path).expanduser()
  )
