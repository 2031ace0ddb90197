"""The forward pass: a data set through a source model, once.

Images go to the devices as they are stored and are resized and normalised
there, except that images of different sizes are resized while they are read.
Texts become tokens, and sounds get one length, while they are read.
Softmax is computed on the devices too. Three steps overlap: a batch is read,
the one before it runs, and the outputs of the one before that are fetched.
"""

import collections
from collections.abc import Callable, Iterator
import dataclasses
import hashlib
import os
from typing import Any

import jax
import numpy as np

from leep_jax import validation
from leep_jax.data import dataset as dataset_lib
from leep_jax.engine import (
  collecting,
  hosts,
  output_checks,
  outputs as outputs_lib,
  programs,
  runners,
  sharing,
  unfinished,
)
from leep_jax.sources import source as source_lib

DTYPES = ("float32", "bfloat16")
KEEP = ("auto", "device", "host", "disk")
_TILE = 128  # examples that a TPU computes side by side


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
  multi_label: bool = False,
  over_hosts: bool = False,
) -> outputs_lib.Outputs:
  """Runs a data set once through a source model.

  Args:
    source: the model.
    dataset: a `data.Dataset`, or any iterable of `(images [B, H, W, C],
      labels [B])`, for instance a PyTorch loader; batches may have different
      lengths. For a source of texts, the first is a list of them; for one of
      sounds, an array `[B, T]` at the source's rate.
    num_classes: Y; by default the data set's own, else the largest label
      plus 1.
    batch_size: inputs in one call of the forward function, over all devices;
      by default enough to keep the devices busy. Batches of an iterable stay
      as they are.
    dtype: of the forward pass, `float32` (in full precision, even if the
      device has a faster, coarser default) or `bfloat16`. Softmax and outputs
      are float32.
    keep: where outputs are kept: `device`, `host`, `disk`, or `auto` for the
      first of these in whose free memory they take less than half.
    directory: folder for `keep="disk"`, in the format of `Outputs.save`; by
      default a temporary one, which is deleted with the outputs.
    progress: called with the number of examples done after each batch.
    regression: whether an iterable pairs images with real-valued targets `[B,
      T]` or `[B]` instead of labels; a `data.Dataset` states it itself.
    multi_label: whether an iterable pairs images with sets of labels `[B, T]`,
      0 or 1; a `data.Dataset` states it itself.
    over_hosts: whether the hosts of a job (see `hosts.start`) share a
      `data.Dataset` that all of them can read. Each runs a part of it, and
      scores are those of all examples.

  Returns:
    The outputs, `float32`.

  Raises:
    InputError: if the data are empty, or are not what the source takes; images
      are not `[B, H, W, C]` or are too small; or the source does not return
      `[B, Z]` (and `[B, D]`); on all hosts, if on one.
    LostHost: if another host has died.

  Example:
    >>> import jax.numpy as jnp
    >>> import numpy as np
    >>> import leep_jax
    >>> def apply(state, images):  # a classifier into two colours
    ...   features = images.mean(axis=(1, 2))
    ...   return features @ state, features
    >>> source = leep_jax.Source(
    ...   name="colours", apply=apply, state=9.0 * jnp.eye(3)[:, :2]
    ... )
    >>> images = np.zeros((4, 8, 8, 3), np.uint8)
    >>> images[:2, ..., 0] = images[2:, ..., 1] = 255  # two red, two green
    >>> labels = np.array([0, 0, 1, 1])
    >>> outputs = leep_jax.compute_outputs(source, [(images, labels)])
    >>> round(leep_jax.compute_scores(outputs, names=["leep"])["leep"], 3)
    -0.0...
  """
  _check_options(dtype, batch_size)
  if keep not in KEEP:
    raise validation.unknown("keep", str(keep), KEEP)
  if directory is not None and keep != "disk":
    raise validation.InputError(f'a directory needs keep="disk", not {keep!r}')
  if over_hosts and hosts.count() > 1:
    if directory is not None:
      raise validation.InputError(
        "a directory cannot hold outputs of several hosts"
      )
    part = sharing.host_part(dataset)
    own = hosts.agree(
      lambda: compute_outputs(
        source,
        part,
        num_classes=num_classes,
        batch_size=batch_size,
        dtype=dtype,
        keep=keep,
        progress=progress,
      )
    )
    joined = sharing.join(own)
    joined.clusters = dataset.clusters
    return joined
  count = None
  if hasattr(dataset, "batches"):
    count = len(dataset)
    # A `Dataset` of real-valued targets has 0 classes.
    regression, multi_label = not dataset.num_classes, dataset.num_labels > 0
    if num_classes is None:
      num_classes = dataset.num_classes or None
    rows = rows_per_device(source, dataset, batch_size=batch_size)
    source, batches = _dataset_batches(source, dataset, rows)
  else:
    batches = _pairs(dataset)
  outputs = collecting.collect(
    source,
    _forward_all(source, batches, dtype, _check(regression, multi_label)),
    keep=keep,
    directory=directory,
    count=count,
    num_classes=num_classes,
    progress=progress or (lambda done: None),
  )
  outputs.data = identity(dataset)
  outputs.clusters = getattr(dataset, "clusters", None)
  return outputs


def identity(dataset: Any) -> str:
  """Describes the examples of a data set; "" for one without a version.

  Args:
    dataset: as of `compute_outputs`.

  Example:
    >>> import leep_jax
    >>> from leep_jax.engine import forward
    >>> digits = leep_jax.load_dataset("digits")
    >>> forward.identity(digits) == forward.identity(digits.take(5))
    False
  """
  if not getattr(dataset, "version", ""):
    return ""
  # Other examples of the same data are other data.
  indices = hashlib.sha256(dataset.indices.tobytes()).hexdigest()
  return f"{dataset.name} {dataset.version} {dataset.split} {indices}"


def compute_part(
  source: source_lib.Source,
  dataset: dataset_lib.Dataset,
  positions: np.ndarray,
  *,
  batch_size: int | None = None,
  dtype: str = "float32",
  progress: Callable[[int], None] | None = None,
  check_mode: bool = True,
) -> outputs_lib.Outputs:
  """Runs some examples of a data set; `joining.join` makes them one `Outputs`.

  Batches have the size that those of all examples have, so that an example gets
  the numbers of `compute_outputs`, whichever others run with it.

  Args:
    source: the model.
    dataset: of all examples.
    positions: `[m]`, those to run, as positions in the data set.
    batch_size: as of `compute_outputs`, with the default of all examples.
    dtype: as of `compute_outputs`.
    progress: as of `compute_outputs`.
    check_mode: whether to run one more batch that shows networks in training
      mode; once for each source is enough.

  Raises:
    InputError: as `compute_outputs`.

  Example:
    >>> import numpy as np
    >>> import leep_jax
    >>> from leep_jax.engine import forward
    >>> digits = leep_jax.load_dataset("digits", limit=100)
    >>> source = leep_jax.load_source("fashion_mnist_resnet8")
    >>> forward.compute_part(source, digits, np.array([2, 5, 7]))
    Outputs(fashion_mnist_resnet8: features=(3, 64), probs=(3, 10), 10 classes)
  """
  rows = rows_per_device(source, dataset, batch_size=batch_size)
  part = dataclasses.replace(dataset, indices=dataset.indices[positions])
  source, batches = _dataset_batches(source, part, rows)
  outputs = collecting.collect(
    source,
    _forward_all(
      source,
      batches,
      dtype,
      _check(not dataset.num_classes, dataset.num_labels > 0),
      rows=rows,
      check_mode=check_mode,
    ),
    keep="auto",
    directory=None,
    count=len(part),
    num_classes=dataset.num_classes or None,
    progress=progress or (lambda done: None),
  )
  outputs.data, outputs.clusters = identity(part), part.clusters
  return outputs


def compute_rest(
  source: source_lib.Source,
  dataset: dataset_lib.Dataset,
  folder: unfinished.UnfinishedFolder,
  *,
  num_classes: int | None = None,
  batch_size: int | None = None,
  dtype: str = "float32",
  progress: Callable[[int], None] | None = None,
) -> None:
  """Runs the examples whose outputs a folder lacks, and finishes the folder.

  The files are then those of `compute_outputs` with this `directory`.

  Args:
    source: the model.
    dataset: of all examples.
    folder: with the outputs of the first so many of them.
    num_classes: as of `compute_outputs`.
    batch_size: as of `compute_outputs`; that of all who append to the folder.
    dtype: as of `compute_outputs`.
    progress: called with the number of examples that the folder has.

  Raises:
    InputError: as `compute_outputs`.

  Example:
    >>> import pathlib, tempfile
    >>> import leep_jax
    >>> from leep_jax.engine import forward, unfinished
    >>> digits = leep_jax.load_dataset("digits", limit=100)
    >>> source = leep_jax.load_source("fashion_mnist_resnet8")
    >>> with tempfile.TemporaryDirectory() as temporary:
    ...   path = pathlib.Path(temporary) / "outputs"
    ...   with unfinished.UnfinishedFolder(path, {"of": "digits"}) as folder:
    ...     forward.compute_rest(source, digits, folder)
    ...   leep_jax.Outputs.load(path).probs.shape
    (100, 10)
  """
  _check_options(dtype, batch_size)
  rows = rows_per_device(source, dataset, batch_size=batch_size)
  devices = programs.device_count()
  begun = folder.count
  if begun % (rows * devices) and begun < len(dataset):
    raise validation.InputError(
      f"{folder.path} has {begun} {source.noun}, which are no batches of "
      f"{rows * devices}"
    )
  rest = dataclasses.replace(dataset, indices=dataset.indices[begun:])
  ready, batches = _dataset_batches(source, rest, rows)
  check = output_checks.LogitsCheck(source.name, seen=folder.state)
  collecting.collect_rest(
    ready,
    _forward_all(
      ready,
      batches,
      dtype,
      _check(not dataset.num_classes, dataset.num_labels > 0),
      # A batch may be larger than all examples: they are not padded to it.
      rows=min(rows, -(-len(dataset) // devices)),
      check_mode=not begun,
      check_logits=check,
    ),
    folder,
    state=check.seen,
    num_classes=num_classes or dataset.num_classes or None,
    progress=progress or (lambda done: None),
  )


def _check_options(dtype, batch_size):
  if dtype not in DTYPES:
    raise validation.unknown("dtype", str(dtype), DTYPES)
  if batch_size is not None:
    validation.at_least_1("batch_size", batch_size)


def rows_per_device(
  source: source_lib.Source,
  dataset: dataset_lib.Dataset,
  *,
  batch_size: int | None = None,
) -> int:
  """Returns how many inputs each device computes in one call.

  Args:
    source: the model.
    dataset: of all examples.
    batch_size: as of `compute_outputs`.

  Example:
    >>> import leep_jax
    >>> from leep_jax.engine import forward, programs
    >>> digits = leep_jax.load_dataset("digits", limit=100)
    >>> source = leep_jax.load_source("fashion_mnist_resnet8")
    >>> with programs.limit(1):
    ...   forward.rows_per_device(source, digits, batch_size=32)
    32
  """
  batch_size = batch_size or _default_batch_size(source, dataset)
  # Every device computes as many inputs as the one with the most: the rest
  # would be padding.
  return -(-batch_size // programs.device_count())


def _dataset_batches(source, dataset, rows):
  """Returns batches of a `Dataset`, and the source that they are ready for."""
  options, source = source.reading(dataset)
  batch_size = rows * programs.device_count()
  return source, dataset.batches(batch_size, **options)


def _pairs(loader) -> Iterator[tuple[np.ndarray, Any]]:
  """Yields inputs and labels of any iterable of pairs."""
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
    inputs = validation.as_array("images", batch[0])
    if len(np.atleast_1d(inputs)):
      # Copied: a loader may reuse its buffer while devices still read it.
      yield np.array(inputs), batch[1]


def _default_batch_size(source, dataset):
  """Returns a batch size that keeps the devices busy."""
  # Pixels for each device: a CPU core is fastest while activations fit in its
  # cache, accelerators need many examples at once.
  on_cpu = programs.platform() == "cpu"
  rows = ((1 << 18) if on_cpu else (1 << 23)) // source.preprocessing.size(
    dataset
  )
  rows = min(max(rows, 16), 1024)
  if not on_cpu and rows > _TILE:
    # A TPU has examples along an axis that it pads to full tiles.
    rows -= rows % _TILE
  count = programs.device_count()
  # Batches are padded to one size: a small data set must not be padded to a
  # full batch.
  return min(rows, -(-len(dataset) // count)) * count


def _check(regression, multi_label):
  """The check of labels or targets of a batch."""
  if multi_label:
    return validation.label_sets
  return validation.real_targets if regression else validation.class_labels


def _forward_all(
  source, batches, dtype, check, *, rows=0, check_mode=True, check_logits=None
) -> Iterator[tuple[dict[str, jax.Array], np.ndarray]]:
  """Yields outputs on the devices and their labels, one batch behind.

  The delay lets the devices run the next batch while this one is fetched.
  Batches have at least `rows` rows for each device.
  """
  runner = runners.of(source, dtype)
  first = True
  check_logits = check_logits or output_checks.LogitsCheck(source.name)
  ahead: collections.deque[tuple[Any, np.ndarray]] = collections.deque()
  for inputs, labels in batches:
    labels = check(labels)
    inputs = source.preprocessing.checked(inputs)
    if len(inputs) != len(labels):
      raise validation.InputError(
        f"a batch has {len(inputs)} {source.noun} but {len(labels)} "
        f"{'targets' if check is validation.real_targets else 'labels'}"
      )
    # Shorter batches, such as the last, are padded to the longest so far:
    # another length would be compiled anew.
    rows = max(rows, -(-len(inputs) // programs.device_count()))
    outputs = runner.run(inputs, rows)
    # Our own networks are in evaluation mode; only others can be in training.
    may_train = check_mode and not output_checks.in_evaluation(source.apply)
    if first and len(inputs) > 1 and may_train:
      repeated = np.broadcast_to(inputs[:1], inputs.shape)
      alone = runner.run(np.array(repeated), rows)
      output_checks.note_training_mode(
        source, outputs, alone, len(inputs), dtype
      )
    first = False
    ahead.append((outputs, labels))
    if len(ahead) > 1:
      yield check_logits.checked(*ahead.popleft())
  for item in ahead:
    yield check_logits.checked(*item)
  check_logits.finish()
