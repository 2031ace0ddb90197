"""Users' own sources, `package.module:function`."""

import dataclasses
import importlib
import os
import re
from typing import Any

from leep_jax import validation
from leep_jax.sources import overrides as overrides_lib, source as source_lib


def parse(name: str) -> str | None:
  """Returns a name of the form `MODULE:FUNCTION`, or None for another one.

  Example:
    >>> from leep_jax.sources import factory
    >>> factory.parse("my_models:small"), factory.parse("resnet50")
    ('my_models:small', None)
  """
  # Addresses, and paths with a colon in them, are not meant.
  is_path = name.endswith((".safetensors", ".npz")) or os.path.exists(name)
  if ":" not in name or is_path or re.match(r"\w+://", name):
    return None
  return name


def check(name: str, parsed: str) -> None:
  """Checks nothing: importing the module may take as long as loading does.

  Example:
    >>> from leep_jax.sources import factory
    >>> factory.check("my_models:small", "my_models:small")
  """


def load(
  name: str, parsed: str, overrides: overrides_lib.Overrides
) -> source_lib.Source:
  """Calls a user's function without arguments, which returns a source.

  Args:
    name: what the user wrote.
    parsed: the same, see `parse`.
    overrides: what replaces the source's preprocessing.

  Raises:
    InputError: if there is no such function, it fails, or it returns something
      else than a `Source`; or if overrides are for checkpoints.

  Example:
    >>> import leep_jax
    >>> from leep_jax.sources import catalog, factory
    >>> name = "no_such_module:small"
    >>> try:
    ...   factory.load(name, name, catalog.Overrides())
    ... except leep_jax.InputError as error:
    ...   print(error)
    cannot make a source with no_such_module:small: ModuleNotFoundError: ...
  """
  module_name, _, attribute = parsed.partition(":")
  try:
    function: Any = importlib.import_module(module_name)
    for part in attribute.split("."):
      function = getattr(function, part)
    source = function()
  except (Exception, SystemExit) as e:  # whatever the user's code raises
    raise validation.InputError(
      f"cannot make a source with {name}: {type(e).__name__}: "
      f"{validation.reason(e)}"
    ) from e
  if not isinstance(source, source_lib.Source):
    raise validation.InputError(
      f"{name} returned a {type(source).__name__}, not a leep_jax.Source"
    )
  # A source has its network already, which these would change.
  if overrides.num_classes is not None or overrides.tf_padding is not None:
    raise validation.InputError(
      f"num_classes and tf_padding are for checkpoints, not for {name}"
    )
  return dataclasses.replace(
    source, preprocessing=overrides.applied(name, source.preprocessing)
  )
