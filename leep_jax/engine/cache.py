"""A cache of outputs on disk: a data set goes through a source only once.

An entry is a folder. Its name is a digest of all that its content depends on:
the source's name, weights and operations, preprocessing, data set, version,
split, examples, dtype, and the version of this package. It gets its name when
it is complete, contains a checksum of each file, and is checked when it is
opened. Until then it is a hidden folder, which another process goes on with if
the first is interrupted.
"""

from collections.abc import Callable, Sequence
import contextlib
import dataclasses
import functools
import hashlib
import json
import os
import pathlib
import shutil
from typing import Any
import zlib

import filelock
import jax
import numpy as np

from leep_jax import data, validation, version
from leep_jax.engine import (
  forward,
  outputs as outputs_lib,
  programs,
  unfinished,
)
from leep_jax.sources import catalog, source

_CHECKSUMS = "checksums.json"
# Fields that `Preprocessing` did not have when the first rows were written.
_ADDED_FIELDS = {"crop_origin": "round"}


def source_digest(model: source.Source) -> str:
  """Returns a digest of a source's weights and operations, 16 hex digits.

  It covers weights, preprocessing and options. For a source that this package
  did not make, it also covers the operations that JAX traces in its function,
  and the arrays that the function refers to. Changes of the function's text, or
  of code that it does not call, leave the digest as it is.

  Raises:
    InputError: if there are no weights in the state or the function, or the
      function cannot be traced.

  Example:
    >>> import jax.numpy as jnp
    >>> import leep_jax
    >>> from leep_jax.engine import cache
    >>> def source(weights):
    ...   return leep_jax.Source(
    ...     name="mine", state=weights,
    ...     apply=lambda state, images: images.mean(axis=(1, 2)) @ state,
    ...   )
    >>> one, same, other = jnp.eye(3), jnp.eye(3), jnp.ones((3, 3))
    >>> cache.source_digest(source(one)) == cache.source_digest(source(same))
    True
    >>> cache.source_digest(source(one)) == cache.source_digest(source(other))
    False
  """
  about = [_described(model.preprocessing), repr(model.options)]
  if model.without_probs:
    about.append(repr(model.without_probs))
  digest = hashlib.sha256(f"({', '.join(about)})".encode())
  constants: Sequence[Any] = ()
  if model.on_host and not model.options:
    raise validation.InputError(
      f"{model.name} runs on the host, where its code cannot be read: state in "
      "its options what it computes, such as a version"
    )
  if not (model.on_host or _is_listed(model)):
    traced, constants = _traced(model)
    if not traced.is_value:
      raise validation.InputError(
        f"{model.name} cannot be told from other sources: it calls Python code "
        "(a callback), or a loop inside it calls a function under jax.jit that "
        "refers to arrays; pass them as its state"
      )
    digest.update(traced.text.encode())
  if not jax.tree.leaves((model.state, list(constants))):
    raise validation.InputError(
      f"{model.name} hands over no weights: what is kept of it could not be "
      "told from that of other weights; pass them as its state"
    )
  for array in map(np.asarray, constants):
    digest.update(repr((array.shape, array.dtype.name)).encode())
    digest.update(array.tobytes())
  leaves = jax.tree_util.tree_leaves_with_path(model.state)
  for path, leaf in leaves:
    array = np.asarray(leaf)
    leaf_about = (jax.tree_util.keystr(path), array.shape, array.dtype.name)
    digest.update(repr(leaf_about).encode())
    digest.update(array.tobytes())
  return digest.hexdigest()[:16]


def _described(preprocessing):
  """Returns the fields of a preprocessing as text.

  Functions are left out, for which another field has a digest. So is a field
  that was added later where it has its default: digests in rows and caches that
  are older than the field stay valid.
  """
  fields = {
    field.name: getattr(preprocessing, field.name)
    for field in dataclasses.fields(preprocessing)
    if field.repr
  }
  for name, default in _ADDED_FIELDS.items():
    if name in fields and fields[name] == default:
      del fields[name]
  # Before it had three values, this field was called squash: older digests of
  # the two that there were stay valid, too.
  if fields.get("crop_mode") in ("center", "squash"):
    fields = {
      "squash" if name == "crop_mode" else name: (
        value == "squash" if name == "crop_mode" else value
      )
      for name, value in fields.items()
    }
  values = ", ".join(f"{name}={value!r}" for name, value in fields.items())
  return f"{type(preprocessing).__name__}({values})"


def _is_listed(model):
  """Returns whether `catalog.load_source` made a source from a checkpoint.

  Its options then name an architecture of this package, whose version is part
  of every key: the operations need no digest.
  """
  return model.options.partition(" ")[0] in catalog.ARCHITECTURES


def _traced(model):
  """Traces the source's function for inputs that it takes."""
  tried = model.preprocessing.trials(model.min_image_size)
  failure = Exception()
  for inputs in tried:
    try:
      return programs.trace(model.apply, model.state, inputs)
    except Exception as e:  # whatever the user's own code raises
      failure = e
  advice = ""
  if model.preprocessing.inputs == "image":
    advice = ": give its preprocessing an image_size"
  raise validation.InputError(
    f"{model.name} cannot be traced with inputs of shape "
    f"{' or '.join(str(inputs.shape) for inputs in tried)} "
    f"({type(failure).__name__}: {validation.reason(failure)}){advice}"
  )


class Cache:
  """A folder of outputs, which several processes may share.

  Example:
    >>> import tempfile
    >>> import leep_jax
    >>> from leep_jax.engine import cache
    >>> source = leep_jax.load_source("fashion_mnist_resnet8")
    >>> digits = leep_jax.load_dataset("digits", limit=20)
    >>> with tempfile.TemporaryDirectory() as folder:
    ...   cached = cache.Cache(folder)
    ...   outputs = cached.outputs(source, digits)  # computed and written
    ...   cached.has(source, digits), outputs.probs.shape
    (True, (20, 10))
  """

  def __init__(
    self,
    folder: str | os.PathLike[str],
    *,
    on_note: Callable[[str], Any] = print,
  ):
    """Opens a cache; the folder is made when there is something to keep.

    Args:
      folder: of the entries.
      on_note: called with a line when an entry is damaged and computed again,
        or an interrupted pass goes on.
    """
    self.folder = pathlib.Path(folder).expanduser()
    self._on_note = on_note

  def outputs(
    self,
    model: source.Source,
    dataset: data.Dataset,
    *,
    dtype: str = "float32",
    num_classes: int | None = None,
    batch_size: int | None = None,
    progress: Callable[[int], None] | None = None,
  ) -> outputs_lib.Outputs:
    """Returns cached outputs, or computes and caches them.

    A pass that was interrupted, even by SIGKILL, goes on where it was some
    seconds before.

    Args:
      model: the source.
      dataset: the target data.
      dtype: of the forward pass.
      num_classes: as of `compute_outputs`.
      batch_size: as of `compute_outputs`.
      progress: called with the number of examples done, those of interrupted
        passes among them.

    Raises:
      InputError: as `compute_outputs`, or if the folder cannot be written.
    """
    about = self._about(model, dataset, dtype)
    entry = self._entry(about)
    with self._alone(entry):
      found = self._open(entry, about)
      if found is None:
        self._make(
          entry,
          about,
          functools.partial(
            forward.compute_rest,
            model,
            dataset,
            num_classes=num_classes,
            batch_size=batch_size,
            dtype=dtype,
            progress=progress,
          ),
          batch=forward.rows_per_device(model, dataset, batch_size=batch_size),
        )
        found = self._open(entry, about)
    if found is None:
      raise validation.InputError(
        f"{entry} is damaged again as soon as it is written: is the disk "
        "failing?"
      )
    found.clusters = dataset.clusters  # which the forward pass does not read
    return found

  def has(
    self, model: source.Source, dataset: data.Dataset, *, dtype: str = "float32"
  ) -> bool:
    """Returns whether there is an entry, without checking its content."""
    entry = self._entry(self._about(model, dataset, dtype))
    return (entry / _CHECKSUMS).exists()

  @contextlib.contextmanager
  def _alone(self, entry):
    """Holds the lock of an entry; other processes wait for it."""
    try:
      self.folder.mkdir(parents=True, exist_ok=True)
      lock = filelock.FileLock(self.folder / f".{entry.name}.lock")
      lock.acquire()
    except OSError as e:
      raise validation.InputError(
        f"cannot write cache_dir {self.folder}: {e.strerror}"
      ) from e
    try:
      yield
    finally:
      lock.release()

  def _entry(self, about):
    text = json.dumps(about, sort_keys=True)
    return self.folder / hashlib.sha256(text.encode()).hexdigest()[:24]

  def _about(self, model, dataset, dtype):
    # One width and byte order, so that the checksum is the same everywhere.
    indices = np.ascontiguousarray(dataset.indices, "<i8")
    return {
      "model": model.name,
      "source": source_digest(model),
      "dataset": dataset.name,
      "data_version": dataset.read_version,
      "split": dataset.split,
      "examples": [len(indices), zlib.crc32(indices.tobytes())],
      "dtype": dtype,
      "leep_jax": version.__version__,
    }

  def _open(self, entry, about):
    """Returns the outputs of an entry, or None if it is missing or damaged."""
    if not entry.exists():
      return None
    try:
      kept = json.loads((entry / _CHECKSUMS).read_text())
      if kept["about"] != json.loads(json.dumps(about)):
        raise ValueError("it is of something else")
      for name, checksum in kept["files"].items():
        if _checksum(entry / name) != checksum:
          raise ValueError(f"{name} has changed")
      return outputs_lib.Outputs.load(entry)
    except (OSError, ValueError, KeyError, TypeError) as e:
      self._on_note(
        f"cached outputs {entry} are damaged ({validation.reason(e)}): they "
        "are computed again"
      )
      shutil.rmtree(entry, ignore_errors=True)
      return None

  def _make(self, entry, about, compute_rest, *, batch):
    """Computes an entry, or what a pass that was interrupted left of it."""
    # Numbers of the same examples differ in their last digits between devices,
    # and between sizes of batches.
    same = [batch, programs.device_count(), jax.devices()[0].device_kind]
    made = unfinished.UnfinishedFolder(
      self.folder / f".part-{entry.name}",
      {**about, "computed_by": [*same, jax.__version__]},
      on_note=self._on_note,
    )
    try:
      with made:
        if made.count:
          self._on_note(
            f"{about['model']} on {about['dataset']} goes on after "
            f"{made.count:,} of {about['examples'][0]:,} examples"
          )
        compute_rest(made)
      files = {
        path.name: _checksum(path)
        for path in sorted(made.path.iterdir())
        if path.name not in (unfinished.JOURNAL, _CHECKSUMS)
      }
      text = json.dumps({"about": about, "files": files}, indent=2)
      # Flushed to the disk before the entry gets its name, as `has` takes an
      # entry with this file for complete.
      with open(made.path / _CHECKSUMS, "w") as file:
        file.write(text + "\n")
        file.flush()
        os.fsync(file.fileno())
      made.path.rename(entry)
      # Only now: a process that is killed before can go on with it.
      (entry / unfinished.JOURNAL).unlink()
    except OSError as e:
      raise validation.InputError(
        f"cannot write cache_dir {self.folder}: {e.strerror or e}"
      ) from e


def _checksum(path):
  """Size and CRC-32 of a file."""
  size = path.stat().st_size
  with open(path, "rb") as file:
    return [size, f"{unfinished.crc(file, size):08x}"]
