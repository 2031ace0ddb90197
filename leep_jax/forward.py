"""The one forward pass: a data set through a source model, once.

Images go to the devices as they are stored, and are scaled, resized and
normalised there; softmax is taken there too. Reading a batch, running the one
before and fetching the outputs of the one before that overlap.
"""

import collections
from collections.abc import Callable, Hashable, Iterator
import functools
import itertools
import os
import pathlib
import shutil
import tempfile
from typing import Any
import weakref

import jax
import jax.numpy as jnp
import numpy as np

from leep_jax import (
  checks,
  devices,
  outputs as outputs_lib,
  source as source_lib,
  storage,
)

KEEP = ("auto", "device", "host", "disk")


def compute_outputs(
  source: source_lib.Source,
  dataset: Any,
  *,
  num_classes: int | None = None,
  batch_size: int | None = None,
  dtype: str = "float32",
  keep: str = "auto",
  directory: str | os.PathLike[str] | None = None,
  progress: Callable[[int], None] | None = None,
) -> outputs_lib.Outputs:
  """Runs a data set once through a source model.

  Args:
    source: the model.
    dataset: a `data.Dataset`, or any iterable of `(images [B, H, W, C],
      labels [B])`, for instance a PyTorch loader; batches may differ in
      length.
    num_classes: Y; by default the data set's own, else the largest label
      plus 1.
    batch_size: images per forward call, over all devices; by default as many
      as keep the devices busy. An iterable brings its own.
    dtype: of the forward pass, `float32` (in full precision, also where the
      device has a faster, coarser default) or `bfloat16`. Softmax and outputs
      are float32.
    keep: where outputs stay: `device`, `host`, `disk`, or `auto`, the first
      of these where they fit in half of the free memory.
    directory: folder for `keep="disk"`, written as `Outputs.save` does; by
      default a temporary one that goes with the outputs.
    progress: called with the number of examples done after each batch.

  Returns:
    The outputs, `float32`.

  Raises:
    InputError: if the data are empty, images are not `[B, H, W, C]` or are
      too small, or the source does not return `[B, Z]` (and `[B, D]`).
  """
  if dtype not in ("float32", "bfloat16"):
    raise checks.unknown("dtype", dtype, ("float32", "bfloat16"))
  if keep not in KEEP:
    raise checks.unknown("keep", keep, KEEP)
  if directory is not None and keep != "disk":
    raise checks.InputError(f'a directory needs keep="disk", not {keep!r}')
  if batch_size is not None and batch_size < 1:
    raise checks.InputError(
      f"batch_size is {batch_size}, but must be at least 1"
    )
  count = None
  if hasattr(dataset, "batches"):
    count = len(dataset)
    num_classes = num_classes or dataset.num_classes
    size = source.preprocessing.image_size
    batch_size = batch_size or _default_batch_size(size, dataset)
    batch_size = -(-batch_size // devices.device_count())
    batch_size *= devices.device_count()
    batches = dataset.batches(batch_size, image_size=size)
  else:
    # Copied: a loader may reuse its buffer while devices still read it.
    batches = ((np.array(images), labels) for images, labels in dataset)
  return _collect(
    source,
    _forward_all(source, batches, dtype),
    keep=keep,
    directory=directory,
    count=count,
    num_classes=num_classes,
    progress=progress or (lambda done: None),
  )


def _default_batch_size(image_size, dataset):
  """About 1/4 megapixel a device on a CPU, more where more runs at once."""
  side = image_size or max((dataset.image_shape or (224,))[:2])
  pixels = (1 << 18) if jax.default_backend() == "cpu" else (1 << 24)
  rows = min(max(pixels // side**2, 16), 1024)
  return min(rows, -(-len(dataset) // devices.device_count())) * (
    devices.device_count()
  )


@functools.lru_cache(maxsize=16)
def _forward(apply, preprocessing, dtype):
  """Returns `(state, images) -> outputs by name`, plain and over devices."""

  # Left to themselves, accelerators multiply float32 in fewer bits.
  precision = "highest" if dtype == "float32" else None

  def forward(state, images):
    with jax.default_matmul_precision(precision):
      outputs = apply(state, preprocessing(images).astype(dtype))
    if not isinstance(outputs, tuple):
      outputs = (outputs,)
    logits, features = (*outputs, None)[:2]
    named = {"probs": jax.nn.softmax(logits.astype(jnp.float32))}
    if features is not None:
      named["features"] = features.astype(jnp.float32)
    return named

  return forward, devices.parallel(forward)


def _forward_all(
  source, batches, dtype
) -> Iterator[tuple[dict[str, jax.Array], np.ndarray]]:
  """Yields outputs on the devices and their labels, one batch behind."""
  state = jax.tree.map(jnp.asarray, source.state)
  if dtype != "float32":
    state = jax.tree.map(
      lambda x: x.astype(dtype) if jnp.issubdtype(x.dtype, jnp.floating) else x,
      state,
    )
  apply = source.apply
  if not isinstance(apply, Hashable):
    apply = functools.partial(apply)  # is told apart by identity
  forward, spread = _forward(apply, source.preprocessing, dtype)
  placed = devices.replicate(state)
  rows = 0
  ahead: collections.deque[tuple[Any, np.ndarray]] = collections.deque()
  for images, labels in batches:
    images, labels = np.asarray(images), checks.class_labels(labels)
    if images.dtype != np.uint8:
      images = images.astype(np.float32, copy=False)
    if len(images) != len(labels):
      raise checks.InputError(
        f"a batch has {len(images)} images but {len(labels)} labels"
      )
    needed = -(-len(images) // devices.device_count())
    if needed > rows:
      rows = needed
      _check_shapes(source, forward, state, images)
    ahead.append((spread(placed, devices.split(images, rows)), labels))
    if len(ahead) > 1:
      yield ahead.popleft()
  yield from ahead


def _check_shapes(source, function, state, images):
  """Refuses images or outputs of the wrong shape before anything runs."""
  channels = len(source.preprocessing.mean)
  if images.ndim != 4 or images.shape[3] not in (1, channels):
    hint = ": are channels first?" if images.shape[1:2] == (channels,) else ""
    raise checks.InputError(
      f"images have shape {images.shape}, not [B, H, W, 1 or {channels}]{hint}"
    )
  side = source.preprocessing.image_size or min(images.shape[1:3])
  if side < source.min_image_size:
    raise checks.InputError(
      f"images are {side} pixels a side, but {source.name} takes at least "
      f"{source.min_image_size}"
    )
  try:
    shapes = jax.eval_shape(function, state, images)
  except (TypeError, ValueError) as e:
    raise checks.InputError(
      f"{source.name} cannot be applied to images {images.shape}: "
      f"{checks.reason(e)}"
    ) from e
  for key, shape in shapes.items():
    if len(shape.shape) != 2 or shape.shape[0] != len(images):
      what = "logits" if key == "probs" else key
      raise checks.InputError(
        f"{source.name} returns {what} of shape {shape.shape} for "
        f"{len(images)} images, not [{len(images)}, K]"
      )


def _collect(
  source, forwarded, *, keep, directory, count, num_classes, progress
):
  """Keeps what the forward pass yields where `keep` says."""
  first = next(forwarded, None)
  if first is None:
    raise checks.InputError("there are no examples: the data set is empty")
  if keep == "auto":
    keep = _where_it_fits(first[0], count)
  labels: list[np.ndarray] = []

  def parts() -> Iterator[tuple[dict[str, jax.Array], int]]:
    done = 0
    for arrays, part in itertools.chain([first], forwarded):
      labels.append(part)
      yield arrays, len(part)
      done += len(part)
      progress(done)

  if keep == "disk":
    return _collect_on_disk(source, parts(), labels, directory, num_classes)
  if keep == "device":
    store: storage.Store = storage.PlacedArrays(list(parts()))
  else:
    store = storage.HostArrays(storage.gather(parts(), count))
  return outputs_lib.Outputs(
    store, np.concatenate(labels), num_classes=num_classes, name=source.name
  )


def _collect_on_disk(source, parts, labels, directory, num_classes):
  temporary = None
  if directory is None:
    temporary = tempfile.mkdtemp(prefix="leep_jax-")
    directory = pathlib.Path(temporary) / "outputs"
  try:
    with storage.NewFolder(directory) as folder:
      for arrays, rows in parts:
        for key, value in arrays.items():
          folder.append(key, storage.on_host(value)[:rows])
      target = checks.class_labels(
        np.concatenate(labels), num_classes=num_classes
      )
      classes = int(num_classes or target.max() + 1)
      folder.finish(target, num_classes=classes, name=source.name)
  except BaseException:
    if temporary is not None:
      shutil.rmtree(temporary, ignore_errors=True)
    raise
  outputs = outputs_lib.Outputs.load(directory)
  if temporary is not None:
    weakref.finalize(outputs, shutil.rmtree, temporary, ignore_errors=True)
  return outputs


def _where_it_fits(arrays, count):
  on_device, on_host = devices.memory_budget()
  if count is None:
    return "host"
  width = sum(x.shape[-1] * x.dtype.itemsize for x in arrays.values())
  total = count * width
  if total // devices.device_count() <= on_device:
    return "device"
  return "host" if total <= on_host else "disk"
