"""The user's cache of models that PyTorch converted."""

import contextlib
import hashlib
import os
import pathlib
import shutil
import tempfile
import time

from leep_jax import user_cache, validation, version
from leep_jax.sources import checkpoints, conversion, converted, tokenizing

# What was not used for so long is deleted when something new is kept.
UNUSED_DAYS = 90
_FOLDER = "converted"


def folder_of(model: pathlib.Path, options: str) -> pathlib.Path | None:
  """Returns the folder for the conversion of a model, made or not.

  Args:
    model: its folder, laid out as on the hub, or a file of weights in it.
    options: what else the conversion depends on.

  Returns:
    The folder; None if the cache is turned off.

  Example:
    >>> import pathlib, tempfile
    >>> from leep_jax.sources import kept_conversions
    >>> with tempfile.TemporaryDirectory() as name:
    ...   model = pathlib.Path(name)
    ...   _ = (model / "model.safetensors").write_bytes(b"weights")
    ...   one, other = (
    ...     kept_conversions.folder_of(model, size) for size in ("224", "256"))
    >>> one is None or one != other
    True
  """
  cache = user_cache.folder()
  if cache is None:
    return None
  # Not versions of PyTorch: what was converted runs without it.
  made_by = f"{version.__version__} {conversion.BRIDGE} {options}"
  digest = hashlib.sha256(made_by.encode())
  folder = model if model.is_dir() else model.parent
  # What is beside the weights says how they are read.
  names = (*tokenizing.FILES, tokenizing.POOLING)
  found = {*folder.glob("*.json"), *(folder / name for name in names)}
  beside = sorted(file for file in found if file.is_file())
  file = checkpoints.find(folder) if model.is_dir() else model
  weights = {file}
  if file.name.endswith(".index.json"):
    weights |= set(folder.glob("*.safetensors"))
  for file in [*beside, *sorted(weights)]:
    digest.update(f"{file.name} ".encode())
    with file.open("rb") as opened:
      digest.update(hashlib.file_digest(opened, "sha256").digest())
  return cache / _FOLDER / digest.hexdigest()[:24]


def read(kept: pathlib.Path) -> converted.Converted | None:
  """Returns a conversion of the cache; None if it has none, or a damaged one.

  Args:
    kept: what `folder_of` returned.

  Example:
    >>> import pathlib
    >>> from leep_jax.sources import kept_conversions
    >>> kept_conversions.read(pathlib.Path("no_such_folder")) is None
    True
  """
  if not converted.is_converted(kept):
    return None
  with contextlib.suppress(OSError):
    os.utime(kept)  # when it was used last
  try:
    return converted.read(kept)
  except validation.InputError:
    return None


def keep(kept: pathlib.Path, model: converted.Converted) -> None:
  """Writes a conversion to the cache; one that has no room is not kept.

  Conversions that were not used for long are deleted.

  Args:
    kept: what `folder_of` returned.
    model: the conversion.

  Example:
    >>> import pathlib, tempfile
    >>> from leep_jax.bridge import graph, heads, program
    >>> from leep_jax.models.preprocessing import Preprocessing
    >>> from leep_jax.sources import converted, kept_conversions
    >>> network = graph.Graph(("x",), {}, (), (), (), "x")
    >>> head = heads.without_classifier(network, "it has none")
    >>> model = converted.Converted(
    ...   program.Program(network, head, "image"),
    ...   {"weights": {}, "constants": {}}, Preprocessing(image_size=8), {})
    >>> with tempfile.TemporaryDirectory() as folder:
    ...   kept = pathlib.Path(folder) / "mine"
    ...   kept_conversions.keep(kept, model)
    ...   kept_conversions.read(kept).preprocessing.image_size
    8
  """
  try:
    kept.parent.mkdir(parents=True, exist_ok=True)
    _delete_unused(kept.parent)
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


def _delete_unused(folder):
  oldest = time.time() - 86400 * UNUSED_DAYS
  for kept in folder.iterdir():
    if kept.is_dir() and kept.stat().st_mtime < oldest:
      shutil.rmtree(kept, ignore_errors=True)
