"""Sources by name: the table of kinds of source, one row a kind.

`load_source` turns what a user writes after `--model=` into a `Source`. What is
known of sources and architectures is found here, too, as `catalog.NAME`.
"""

from collections.abc import Callable
import dataclasses
import os
import pathlib
import re
from typing import Any

from leep_jax import validation
from leep_jax.sources import (
  architectures,
  factory,
  keras_models,
  keras_names,
  locations,
  source as source_lib,
  timm_names,
)
from leep_jax.sources.architectures import (
  ARCHITECTURES,
  build,
  parameter_count,
  shapes,
)
from leep_jax.sources.named import bundled, entries, names
from leep_jax.sources.overrides import Overrides

__all__ = [
  "ARCHITECTURES", "KINDS", "Kind", "Overrides", "build", "bundled",
  "check_source", "entries", "fetch", "load_source", "names",
  "parameter_count", "parse", "shapes",
]  # fmt: skip

# How alike a name must be to one that is suggested for it, 0 to 1. Much alike:
# other weights of the same network are not what the user meant.
_ALIKE = 0.85
_NO_OVERRIDES = Overrides()


@dataclasses.dataclass(frozen=True)
class Kind:
  """One kind of source.

  Attributes:
    form: how names of this kind are written, for people.
    parse: takes a name; returns what it means, for `check` and `load`, or None
      if it is of another kind.
    check: `(name, parsed) -> None` refuses, by an InputError, what cannot be
      loaded, without loading it.
    load: `(name, parsed, overrides) -> Source`.

  Example:
    >>> from leep_jax.sources import catalog
    >>> catalog.KINDS["checkpoint"].form
    'ARCH@PATH'
  """

  form: str
  parse: Callable[[str], Any]
  check: Callable[[str, Any], None]
  load: Callable[[str, Any, Overrides], source_lib.Source]


# A name is of the first kind that recognises it. The listed names come before
# timm's, which some of them are: those that cannot be fetched have to be known.
KINDS: dict[str, Kind] = {
  "named": Kind(
    "NAME", locations.with_name, locations.check_with_name, locations.load
  ),
  "keras": Kind(
    "keras/NAME", keras_names.parse, keras_names.check, keras_names.load
  ),
  "checkpoint": Kind(
    "ARCH@PATH", locations.at_path, locations.check, locations.load
  ),
  "folder": Kind("PATH", locations.in_folder, locations.check, locations.load),
  "hub": Kind(
    "hf://OWNER/NAME", locations.on_hub, locations.check_on_hub, locations.load
  ),
  "timm": Kind(
    "ARCH.TAG", locations.of_timm, locations.check_on_hub, locations.load
  ),
  "factory": Kind(
    "package.module:function", factory.parse, factory.check, factory.load
  ),
}


def parse(name: str) -> tuple[Kind, Any]:
  """Returns the kind of a name, and what the name means to that kind.

  Args:
    name: see `load_source`.

  Raises:
    InputError: if it is of no kind; it says what the name seems to be.

  Example:
    >>> from leep_jax.sources import catalog
    >>> kind, parsed = catalog.parse("resnet50@weights.safetensors")
    >>> kind.form, parsed.path
    ('ARCH@PATH', 'weights.safetensors')
  """
  for kind in KINDS.values():
    parsed = kind.parse(name)
    if parsed is not None:
      return kind, parsed
  raise _no_source(name)


def check_source(name: str) -> None:
  """Refuses a name that cannot be loaded, without loading it.

  Args:
    name: see `load_source`.

  Raises:
    InputError: if the architecture or source is unknown, or there is no
      checkpoint at the path.

  Example:
    >>> import leep_jax
    >>> from leep_jax.sources import catalog
    >>> catalog.check_source("cifar10_resnet14")
    >>> try:
    ...   catalog.check_source("resnet20")
    ... except leep_jax.InputError as error:
    ...   print(error)
    resnet20 is an architecture, not trained weights: pass
    resnet20@CHECKPOINT.safetensors or resnet20@hf://OWNER/NAME
  """
  kind, parsed = parse(name)
  kind.check(name, parsed)


def load_source(
  name: str, *, overrides: Overrides = _NO_OVERRIDES
) -> source_lib.Source:
  """Loads a source model by name.

  Args:
    name: a bundled or published source (`python -m leep_jax.models` lists
      them); `ARCH@PATH`, an architecture with a checkpoint, which is a file, a
      folder laid out as on the hub, an Orbax checkpoint, or
      `hf://owner/name[@revision]`; `owner/name` of a repository alone, or a
      folder or file, whose configuration of timm or transformers states the
      network; a name of timm such as `resnet50.a1_in1k`; a folder of `python
      -m leep_jax.convert`; `keras/NAME`, a model of keras.applications, or
      `FILE.keras` (see `keras_names`); or `package.module:function`, a function
      without arguments that returns a `Source`.
    overrides: what replaces the checkpoint's own configuration.

  Raises:
    InputError: if there is no such source, or its checkpoint is missing,
      damaged, of another architecture, or of another number of classes.

  Example:
    >>> import leep_jax
    >>> source = leep_jax.load_source("cifar10_resnet14")
    >>> source.preprocessing.image_size, source.min_image_size
    (32, 8)
  """
  kind, parsed = parse(name)
  kind.check(name, parsed)
  return kind.load(name, parsed, overrides)


def fetch(name: str) -> pathlib.Path:
  """Returns the path of a checkpoint, downloaded if it is on the hub.

  Args:
    name: of a checkpoint, see `load_source`.

  Raises:
    InputError: if it is no checkpoint, or cannot be fetched.

  Example:
    >>> import tempfile
    >>> from leep_jax.sources import catalog
    >>> with tempfile.TemporaryDirectory() as folder:
    ...   str(catalog.fetch(folder)) == folder
    True
  """
  kind, parsed = parse(name)
  if not isinstance(parsed, locations.Location):
    raise validation.InputError(
      f"{name} is a source of the form {kind.form}, not a checkpoint"
    )
  kind.check(name, parsed)
  return locations.fetch(parsed)


def _no_source(name: str) -> validation.InputError:
  """Returns the error for a name of no kind, and what to write instead."""
  arch = architectures.aliases().get(name.lower())
  if arch is not None:
    known = "" if arch == name else f" ({arch} here)"
    return validation.InputError(
      f"{name}{known} is an architecture, not trained weights: pass "
      f"{arch}@CHECKPOINT.safetensors or {arch}@hf://OWNER/NAME"
    )
  if "*" in name:
    return validation.InputError(
      f"{name} is a pattern: python -m leep_jax.models --list='{name}' lists "
      "the names"
    )
  if re.match(r"\w+://", name):
    return validation.InputError(
      f"{name} is an address, which is not fetched: download it, then pass "
      "ARCH@FILE"
    )
  if name.endswith((".safetensors", ".npz")) or os.path.exists(name):
    return validation.InputError(
      f"{name} is a checkpoint without an architecture: put the config.json of "
      f"its network beside it, or pass ARCH@{name}; python -m leep_jax.models "
      "lists architectures"
    )
  if name.startswith((".", "/", "~")) or name.count("/") > 1:
    return validation.InputError(f"no folder or file at {name}")
  names = [row.name for row in entries()]
  names += [model.name for model in timm_names.models().values()]
  names += [f"keras/{known}" for known in keras_models.applications()]
  # A tag that was cut short, Keras's path of a model, a name without keras/.
  last = name.rpartition(".")[2] if "keras." in name else name
  alike = [
    known
    for known in names
    if known.lower().startswith((name.lower(), f"keras/{last.lower()}"))
  ]
  if alike:
    return validation.InputError(
      f"unknown model {name!r}; did you mean {validation.some(alike)}?"
    )
  return validation.unknown("model", name, names, cutoff=_ALIKE)
