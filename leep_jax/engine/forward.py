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
import jax.numpy as jnp
import numpy as np

from leep_jax import validation
from leep_jax.data import dataset as dataset_lib
from leep_jax.engine import (
  collecting,
  hosts,
  output_checks,
  outputs as outputs_lib,
  programs,
  row_checks,
  sharing,
)
from leep_jax.sources import source as source_lib

DTYPES = ("float32", "bfloat16")
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
  regression: bool = False,
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
  if dtype not in DTYPES:
    raise validation.unknown("dtype", str(dtype), DTYPES)
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
    return sharing.join(own)
  count = None
  if hasattr(dataset, "batches"):
    count = len(dataset)
    # A `Dataset` of real-valued targets has 0 classes.
    regression = not dataset.num_classes
    if num_classes is None:
      num_classes = dataset.num_classes or None
    rows = rows_per_device(source, dataset, batch_size=batch_size)
    source, batches = _dataset_batches(source, dataset, rows)
  else:
    batches = _pairs(dataset)
  outputs = collecting.collect(
    source,
    _forward_all(source, batches, dtype, regression),
    keep=keep,
    directory=directory,
    count=count,
    num_classes=num_classes,
    progress=progress or (lambda done: None),
  )
  outputs.data = identity(dataset)
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
      not dataset.num_classes,
      rows=rows,
      check_mode=check_mode,
    ),
    keep="auto",
    directory=None,
    count=len(part),
    num_classes=dataset.num_classes or None,
    progress=progress or (lambda done: None),
  )
  outputs.data = identity(part)
  return outputs


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
  pixels = (1 << 18) if jax.default_backend() == "cpu" else (1 << 24)
  rows = pixels // source.preprocessing.size(dataset)
  rows = min(max(rows, 16), 1024)
  count = programs.device_count()
  # Batches are padded to one size: a small data set must not be padded to a
  # full batch.
  return min(rows, -(-len(dataset) // count)) * count


def _forward(source, dtype):
  """Returns the function `(state, images) -> outputs by name` to compile."""
  apply, preprocessing = source.apply, source.preprocessing
  without_probs = bool(source.without_probs)

  def forward(state, inputs):
    with jax.default_matmul_precision(programs.precision(dtype)):
      # Only the network runs in `dtype`: images are resized and normalised in
      # float32. Tokens are integers, and stay so.
      prepared = preprocessing(inputs)
      if jnp.issubdtype(prepared.dtype, jnp.floating):
        prepared = prepared.astype(dtype)
      outputs = apply(state, prepared)
    if not isinstance(outputs, (tuple, list)):
      outputs = (outputs,)
    if len(outputs) not in (1, 2):
      raise TypeError(
        f"it returned {len(outputs)} values, not logits or (logits, features)"
      )
    # Not strict: a source may return logits alone.
    named = dict(zip(("logits", "features"), outputs, strict=False))
    for what, values in list(named.items()):
      if values is None and (what == "features" or without_probs):
        del named[what]
        continue
      kind = getattr(values, "dtype", type(values).__name__)
      if isinstance(kind, str) or not jnp.issubdtype(kind, jnp.floating):
        raise TypeError(f"it returned {what} of type {kind}, not real numbers")
      # Before the softmax: rows of a softmax in bfloat16 do not sum to 1.
      named[what] = values.astype(jnp.float32)
    if without_probs:
      if "logits" in named:  # regression scores can read any numbers
        named["outputs"] = named.pop("logits")
    else:
      logits = named.pop("logits")
      named["probs"] = jax.nn.softmax(logits)
      # Logits of another shape are refused by `_trace`.
      if logits.ndim == 2 and logits.shape[1]:
        named[output_checks.LOOKS_LIKE] = row_checks.looks_like(logits)
    return named

  return forward


def _forward_all(
  source, batches, dtype, regression, *, rows=0, check_mode=True
) -> Iterator[tuple[dict[str, jax.Array], np.ndarray]]:
  """Yields outputs on the devices and their labels, one batch behind.

  The delay lets the devices run the next batch while this one is fetched.
  Batches have at least `rows` rows for each device.
  """
  try:
    state = jax.tree.map(jnp.asarray, source.state)
  except Exception as e:  # each type that is no array raises its own
    raise validation.InputError(
      f"the state of {source.name} is not all arrays: {validation.reason(e)}"
    ) from e
  if dtype != "float32":
    state = jax.tree.map(
      lambda x: x.astype(dtype) if jnp.issubdtype(x.dtype, jnp.floating) else x,
      state,
    )
  forward = _forward(source, dtype)
  # Texts have several shapes, which come in any order.
  compiled: dict[tuple[Any, ...], tuple[Callable[..., Any], Any]] = {}
  placed = None
  check_logits = output_checks.LogitsCheck(source.name)
  ahead: collections.deque[tuple[Any, np.ndarray]] = collections.deque()
  check = validation.real_targets if regression else validation.class_labels
  for inputs, labels in batches:
    labels = check(labels)
    inputs = source.preprocessing.checked(inputs)
    if len(inputs) != len(labels):
      raise validation.InputError(
        f"a batch has {len(inputs)} {_noun(source)} but {len(labels)} "
        f"{'targets' if regression else 'labels'}"
      )
    # Shorter batches, such as the last, are padded to the longest so far:
    # another length would be compiled anew.
    rows = max(rows, -(-len(inputs) // programs.device_count()))
    # Images that were enlarged are floats, in batches of their own.
    kind = (rows, *inputs.shape[1:], inputs.dtype)
    first = not compiled
    if kind not in compiled:
      traced, constants = _trace(source, forward, state, inputs, rows)
      given = programs.replicate(traced.given(constants))
      compiled[kind] = programs.parallel(traced), given
    if placed is None:
      # Only now that the first inputs are known to be of the right shape.
      placed = programs.replicate(state)
    spread, given = compiled[kind]
    outputs = spread(placed, programs.split(inputs, rows), given)
    # Our own networks are in evaluation mode; only others can be in training.
    may_train = check_mode and not output_checks.in_evaluation(source.apply)
    if first and len(inputs) > 1 and may_train:
      repeated = np.broadcast_to(inputs[:1], inputs.shape)
      alone = spread(placed, programs.split(np.array(repeated), rows), given)
      output_checks.note_training_mode(
        source, outputs, alone, len(inputs), dtype
      )
    ahead.append((outputs, labels))
    if len(ahead) > 1:
      yield check_logits.checked(*ahead.popleft())
  for item in ahead:
    yield check_logits.checked(*item)
  check_logits.finish()


def _noun(source):
  return dataset_lib.INPUTS[source.preprocessing.inputs]


def _trace(source, forward, state, inputs, rows):
  """Traces the forward pass of `rows` inputs for each device.

  Inputs and outputs of a wrong shape are refused here, before anything runs.
  """
  source.check_inputs(inputs.shape)
  example = jax.ShapeDtypeStruct((rows, *inputs.shape[1:]), inputs.dtype)
  try:
    traced, constants = programs.trace(forward, state, example)
  except Exception as e:  # whatever the user's own code raises
    raise validation.InputError(
      f"{source.name} cannot be applied to {_noun(source)} {inputs.shape}: "
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
        f"{rows} {_noun(source)}, not [{rows}, K]"
      )
    if shape.shape[1] < (2 if key == "probs" else 1):
      hint = ""
      if shape.shape[1]:
        hint = ": is it the logit s of a sigmoid? Return (0, s)"
      raise validation.InputError(
        f"{source.name} returns {shape.shape[1]} {what_of[key]} an "
        f"{source.preprocessing.inputs}, which tell nothing{hint}"
      )
  return traced, constants
