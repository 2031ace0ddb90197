"""The one forward pass: a data set through a source model, once.

Images go to the devices as they are stored, and are resized and normalised
there (those that differ in size are resized while they are read); softmax is
taken there too. Reading a batch, running the one before and fetching the
outputs of the one before that overlap.
"""

import collections
from collections.abc import Callable, Iterator
import dataclasses
import hashlib
import itertools
import math
import os
import pathlib
import shutil
import tempfile
from typing import Any
import weakref

import jax
import jax.numpy as jnp
import numpy as np

from leep_jax import validation
from leep_jax.engine import (
  hosts,
  outputs as outputs_lib,
  programs,
  statistics,
  storage,
)
from leep_jax.sources import source as source_lib

KEEP = ("auto", "device", "host", "disk")
# An output of the compiled pass, `[B]`: what an image's logits look like
# (`statistics.looks_like`). It is checked and not kept.
_LOOKS_LIKE = "looks_like"
# So many images whose logits all are distributions are no coincidence.
_ENOUGH_ROWS = 16
# How far outputs of an image may depend on the others of its batch, in parts of
# the largest output: rounding stays far below, batch statistics far above.
_SAME_ALONE = {"float32": 1e-2, "bfloat16": 1e-1}


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
  regression: bool = False,
  over_hosts: bool = False,
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
    regression: whether an iterable pairs images with real-valued targets `[B,
      T]` or `[B]` instead of labels; a `data.Dataset` knows.
    over_hosts: whether the hosts of a job (see `hosts.start`) share a
      `data.Dataset` that all of them can read: each runs a part of it, and
      scores are those of all examples.

  Returns:
    The outputs, `float32`.

  Raises:
    InputError: if the data are empty, images are not `[B, H, W, C]` or are
      too small, or the source does not return `[B, Z]` (and `[B, D]`); on all
      hosts, if on one.
    LostHost: if another host has died.
  """
  if dtype not in ("float32", "bfloat16"):
    raise validation.unknown("dtype", str(dtype), ("float32", "bfloat16"))
  if keep not in KEEP:
    raise validation.unknown("keep", str(keep), KEEP)
  if directory is not None and keep != "disk":
    raise validation.InputError(f'a directory needs keep="disk", not {keep!r}')
  if batch_size is not None:
    validation.at_least_1("batch_size", batch_size)
  if over_hosts and hosts.count() > 1:
    if directory is not None:
      raise validation.InputError(
        "a directory cannot hold outputs of several hosts"
      )
    part = _host_part(dataset)
    return hosts.agree(
      lambda: compute_outputs(
        source,
        part,
        num_classes=num_classes,
        batch_size=batch_size,
        dtype=dtype,
        keep=keep,
        progress=progress,
      )
    ).join_hosts()
  count = None
  if hasattr(dataset, "batches"):
    count = len(dataset)
    regression = not dataset.num_classes
    if num_classes is None:
      num_classes = dataset.num_classes or None
    preprocessing = source.preprocessing
    size = preprocessing.image_size
    batch_size = batch_size or _default_batch_size(size, dataset)
    batch_size = -(-batch_size // programs.device_count())
    batch_size *= programs.device_count()
    fit = None
    if dataset.image_shape is None and size is not None:
      fit = preprocessing.fit
      source = dataclasses.replace(source, preprocessing=preprocessing.fitted)
    batches = dataset.batches(batch_size, fit=fit)
  else:
    batches = _pairs(dataset)
  outputs = _collect(
    source,
    _forward_all(source, batches, dtype, regression),
    keep=keep,
    directory=directory,
    count=count,
    num_classes=num_classes,
    progress=progress or (lambda done: None),
  )
  outputs.data = _identity(dataset)
  return outputs


def _identity(dataset):
  """What tells the examples of a data set from others, or empty."""
  if not getattr(dataset, "version", ""):
    return ""
  indices = hashlib.sha256(dataset.indices.tobytes()).hexdigest()
  return f"{dataset.name} {dataset.version} {dataset.split} {indices}"


def _host_part(dataset):
  """This host's share of a data set."""
  if not hasattr(dataset, "indices"):
    raise validation.InputError(
      f"hosts can share a Dataset, whose examples have numbers, but not a "
      f"{type(dataset).__name__}"
    )
  counts = np.concatenate(hosts.gather(np.asarray([len(dataset)])))
  if counts.min() != counts.max():
    raise validation.InputError(
      f"hosts see from {counts.min()} to {counts.max()} examples of "
      f"{dataset.name}, but must see the same: do all read the same data?"
    )
  if counts[0] < hosts.count():
    raise validation.InputError(
      f"{counts[0]} examples are too few for {hosts.count()} hosts"
    )
  share = hosts.share(len(dataset))
  return dataclasses.replace(dataset, indices=dataset.indices[share])


def _pairs(loader) -> Iterator[tuple[np.ndarray, Any]]:
  """Images and labels of any iterable, checked to be pairs."""
  try:
    batches = iter(loader)
  except TypeError as e:
    raise validation.InputError(
      f"the data set is a {type(loader).__name__}, which cannot be iterated: "
      "pass a Dataset, or batches (images, labels)"
    ) from e
  for batch in batches:
    if not isinstance(batch, (tuple, list)) or len(batch) != 2:
      size = f" of {len(batch)}" if isinstance(batch, (tuple, list)) else ""
      raise validation.InputError(
        f"a batch is a {type(batch).__name__}{size}, not a pair (images, "
        "labels)"
      )
    images = validation.as_array("images", batch[0])
    if len(np.atleast_1d(images)):
      # Copied: a loader may reuse its buffer while devices still read it.
      yield np.array(images), batch[1]


def _default_batch_size(image_size, dataset):
  """About 1/4 megapixel a device on a CPU, more where more runs at once."""
  stored = math.prod((dataset.image_shape or (1,))[:2])
  pixels = (1 << 18) if jax.default_backend() == "cpu" else (1 << 24)
  rows = pixels // max(stored, (image_size or 1) ** 2)
  rows = min(max(rows, 16), 1024)
  return min(rows, -(-len(dataset) // programs.device_count())) * (
    programs.device_count()
  )


def _forward(source, dtype):
  """Returns `(state, images) -> outputs by name`, see `_Pass`."""
  apply, preprocessing = source.apply, source.preprocessing
  without_probs = bool(source.without_probs)

  def forward(state, images):
    with jax.default_matmul_precision(programs.precision(dtype)):
      outputs = apply(state, preprocessing(images).astype(dtype))
    if not isinstance(outputs, (tuple, list)):
      outputs = (outputs,)
    if len(outputs) not in (1, 2):
      raise TypeError(
        f"it returned {len(outputs)} values, not logits or (logits, features)"
      )
    named = dict(zip(("logits", "features"), outputs, strict=False))
    for what, values in list(named.items()):
      if values is None and (what == "features" or without_probs):
        del named[what]
        continue
      kind = getattr(values, "dtype", type(values).__name__)
      if isinstance(kind, str) or not jnp.issubdtype(kind, jnp.floating):
        raise TypeError(f"it returned {what} of type {kind}, not real numbers")
      named[what] = values.astype(jnp.float32)
    if without_probs:
      if "logits" in named:  # numbers, which regression scores can read
        named["outputs"] = named.pop("logits")
    else:
      logits = named.pop("logits")
      named["probs"] = jax.nn.softmax(logits)
      if (
        logits.ndim == 2 and logits.shape[1]
      ):  # others are refused below, by their shape
        named[_LOOKS_LIKE] = statistics.looks_like(logits)
    return named

  return forward


@dataclasses.dataclass(frozen=True)
class _Traced:
  """A traced forward pass, in the form that `programs.parallel` takes."""

  forward: programs.Traced

  def __call__(self, placed, images):
    state, constants = placed
    return self.forward(constants, state, images)


def _forward_all(
  source, batches, dtype, regression
) -> Iterator[tuple[dict[str, jax.Array], np.ndarray]]:
  """Yields outputs on the devices and their labels, one batch behind."""
  try:
    state = jax.tree.map(jnp.asarray, source.state)
  except Exception as e:  # whatever is no array raises its own
    raise validation.InputError(
      f"the state of {source.name} is not all arrays: {validation.reason(e)}"
    ) from e
  if dtype != "float32":
    state = jax.tree.map(
      lambda x: x.astype(dtype) if jnp.issubdtype(x.dtype, jnp.floating) else x,
      state,
    )
  forward = _forward(source, dtype)
  rows, shape = 0, None
  check_logits = _LogitsCheck(source.name)
  ahead: collections.deque[tuple[Any, np.ndarray]] = collections.deque()
  check = validation.real_targets if regression else validation.class_labels
  for images, labels in batches:
    labels = check(labels)
    if images.dtype != np.uint8:
      normalised = source.preprocessing.takes_any_range
      images = validation.images("images", images, normalised=normalised)
      images = images.astype(np.float32, copy=False)
    if len(images) != len(labels):
      raise validation.InputError(
        f"a batch has {len(images)} images but {len(labels)} "
        f"{'targets' if regression else 'labels'}"
      )
    rows = max(rows, -(-len(images) // programs.device_count()))
    first = shape is None
    if (rows, *images.shape[1:]) != shape:
      shape = (rows, *images.shape[1:])
      traced, constants = _trace(source, forward, state, images, rows)
      spread = programs.parallel(_Traced(traced))
      placed = programs.replicate((state, constants))
    outputs = spread(placed, programs.split(images, rows))
    if first and len(images) > 1 and not _in_evaluation(source.apply):
      repeated = np.broadcast_to(images[:1], images.shape)
      alone = spread(placed, programs.split(np.array(repeated), rows))
      _tell_training_mode(source, outputs, alone, len(images), dtype)
    ahead.append((outputs, labels))
    if len(ahead) > 1:
      yield check_logits.checked(*ahead.popleft())
  for item in ahead:
    yield check_logits.checked(*item)
  check_logits.finish()


def _in_evaluation(apply):
  """Whether `models.network` made a function, of a network in that mode."""
  return getattr(apply, "in_evaluation", False)


class _LogitsCheck:
  """Refuses logits that are probabilities: softmax would be taken twice."""

  def __init__(self, name):
    self._name, self._rows = name, 0
    self._all, self._any = -1, 0  # bits of `looks_like`

  def checked(self, outputs, labels):
    """Returns outputs, without what tells what their logits look like."""
    if _LOOKS_LIKE in outputs:
      bits = storage.on_host(outputs.pop(_LOOKS_LIKE))[: len(labels)]
      self._all &= int(np.bitwise_and.reduce(bits))
      self._any |= int(np.bitwise_or.reduce(bits))
      self._rows += len(labels)
      if self._rows >= _ENOUGH_ROWS:
        self._refuse_distributions()
    return outputs, labels

  def _refuse_distributions(self):
    if self._all & statistics.IS_DISTRIBUTION:
      raise validation.InputError(
        f"{self._name} returns probabilities, not logits: every row is "
        "non-negative and sums to 1 (or 100 %), and a softmax would be taken a "
        "second time. Return what comes before its softmax, or jnp.log(probs)"
      )

  def finish(self):
    """Judges all rows."""
    if not self._rows:
      return
    self._refuse_distributions()
    confident = self._any & statistics.IS_CONFIDENT
    if self._all & statistics.IN_UNIT_RANGE and confident:
      validation.note(
        f"all logits of {self._name} are from 0 to 1: are they a sigmoid's, "
        "one for each of several labels? LEEP and NCE need logits of labels of "
        "which one is true; for scores of features alone, set without_probs of "
        "the Source"
      )


def _tell_training_mode(source, outputs, alone, count, dtype):
  """Notes outputs of an image that depend on the others of its batch.

  Args:
    source: whose outputs they are.
    outputs: of a batch.
    alone: of a batch of copies of its first image.
    count: of images in either.
    dtype: of the arithmetic.
  """
  for key in set(outputs) - {_LOOKS_LIKE}:
    mixed = storage.on_host(outputs[key])[:1]
    copies = storage.on_host(alone[key])[:count]
    unit = max(np.abs(mixed).max(), np.abs(copies).max())
    if np.abs(copies - mixed).max() > _SAME_ALONE[dtype] * unit:
      validation.note(
        f"{source.name} gives an image other {key} among other images than "
        "among copies of itself: is the network in training mode (batch "
        "statistics, dropout)? Its scores change with the batch size; set "
        "evaluation mode (model.eval(), train=False)"
      )
      return


def _trace(source, forward, state, images, rows):
  """Traces the forward pass of `rows` images a device.

  Images or outputs of the wrong shape are refused before anything runs.
  """
  source.check_images(images.shape)
  example = jax.ShapeDtypeStruct((rows, *images.shape[1:]), images.dtype)
  try:
    traced, constants = programs.trace(forward, state, example)
  except Exception as e:  # whatever the user's own code raises
    raise validation.InputError(
      f"{source.name} cannot be applied to images {images.shape}: "
      f"{type(e).__name__}: {validation.reason(e)}"
    ) from e
  if not traced.shapes:
    raise validation.InputError(
      f"{source.name} returns neither logits nor features"
    )
  what_of = {"probs": "logits", "outputs": "logits", "features": "features"}
  for key, shape in traced.shapes.items():
    if key not in what_of:
      continue
    if len(shape.shape) != 2 or shape.shape[0] != rows:
      raise validation.InputError(
        f"{source.name} returns {what_of[key]} of shape {shape.shape} for "
        f"{rows} images, not [{rows}, K]"
      )
    if shape.shape[1] < (2 if key == "probs" else 1):
      hint = ""
      if shape.shape[1]:
        hint = ": is it the logit s of a sigmoid? Return (0, s)"
      raise validation.InputError(
        f"{source.name} returns {shape.shape[1]} {what_of[key]} an "
        f"image, which tell nothing{hint}"
      )
  return traced, constants


def _collect(
  source, forwarded, *, keep, directory, count, num_classes, progress
):
  """Keeps what the forward pass yields where `keep` says."""
  first = next(forwarded, None)
  if first is None:
    raise validation.InputError("there are no examples: the data set is empty")
  on_device, on_host = programs.memory_budget()
  if keep == "auto" and count is not None:
    keep = _where_it_fits(first[0], count, on_device, on_host)
  labels: list[np.ndarray] = []

  def parts() -> Iterator[storage.Part]:
    done = 0
    for arrays, part in itertools.chain([first], forwarded):
      labels.append(part)
      yield arrays, len(part)
      done += len(part)
      progress(done)

  if keep == "disk":
    return _collect_on_disk(source, parts(), labels, directory, num_classes)
  if keep == "device":
    store: storage.Store = storage.DeviceArrays(list(parts()))
  elif count is not None:
    store = storage.HostArrays(storage.gather(parts(), count))
  else:  # how much will come is unknown
    held, size, stream = [], 0, parts()
    for arrays, rows in stream:
      held.append(({key: np.asarray(v) for key, v in arrays.items()}, rows))
      size += sum(v.nbytes for v in held[-1][0].values())
      if keep == "auto" and 2 * size > on_host:  # twice: they are joined below
        rest = itertools.chain(held, stream)
        return _collect_on_disk(source, rest, labels, directory, num_classes)
    store = storage.HostArrays(storage.gather(held, sum(map(len, labels))))
  return outputs_lib.Outputs(
    store,
    **_truth(labels),
    num_classes=num_classes,
    name=source.name,
    without_probs=source.without_probs,
  )


def _truth(parts):
  """Labels or targets, by the name that `Outputs` has for them."""
  try:
    values = np.concatenate(parts)
  except ValueError as e:
    raise validation.InputError(
      f"batches differ in their number of targets ({validation.reason(e)})"
    ) from e
  return {"targets" if values.ndim == 2 else "labels": values}


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
      truth = _truth(labels)
      if "targets" in truth:
        num_classes = 1
      else:
        if num_classes is None:
          num_classes = int(truth["labels"].max()) + 1
        validation.class_labels(truth["labels"], num_classes=num_classes)
      folder.finish(
        truth,
        num_classes=num_classes,
        name=source.name,
        without_probs=source.without_probs,
      )
  except BaseException:
    if temporary is not None:
      shutil.rmtree(temporary, ignore_errors=True)
    raise
  outputs = outputs_lib.Outputs.load(directory)
  if temporary is not None:
    # Views of these outputs share the store, so the files live as long as it.
    weakref.finalize(
      outputs.store, shutil.rmtree, temporary, ignore_errors=True
    )
  return outputs


def _where_it_fits(arrays, count, on_device, on_host):
  width = sum(x.shape[-1] * x.dtype.itemsize for x in arrays.values())
  total = count * width
  if total // programs.device_count() <= on_device:
    return "device"
  return "host" if total <= on_host else "disk"
