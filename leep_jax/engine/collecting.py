"""Keeping what the forward pass yields: on devices, on the host, or on disk."""

from collections.abc import Callable, Iterator
import itertools
import os
import pathlib
import shutil
import tempfile
from typing import Any
import weakref

import numpy as np

from leep_jax import validation
from leep_jax.engine import (
  outputs as outputs_lib,
  programs,
  storage,
  unfinished,
)
from leep_jax.sources import source as source_lib

_EMPTY = "there are no examples: the data set is empty"
# Arguments of `Outputs` that are no outputs of the source.
_TARGETS = {"labels", "targets", "multi_labels"}


def collect(
  source: source_lib.Source,
  forwarded: Iterator[tuple[dict[str, Any], np.ndarray]],
  *,
  keep: str,
  directory: str | os.PathLike[str] | None,
  count: int | None,
  num_classes: int | None,
  progress: Callable[[int], None],
) -> outputs_lib.Outputs:
  """Keeps the outputs that the forward pass yields.

  Args:
    source: the model.
    forwarded: yields arrays `[d, b, K]` by name, and the labels or targets of
      their examples.
    keep: as of `compute_outputs`.
    directory: as of `compute_outputs`.
    count: n, or None if it is unknown.
    num_classes: Y, or None for the largest label plus 1.
    progress: called with the number of examples done.

  Raises:
    InputError: if there are no examples, or the folder cannot be written.

  Example:
    >>> import jax.numpy as jnp
    >>> import numpy as np
    >>> import leep_jax
    >>> from leep_jax.engine import collecting
    >>> source = leep_jax.Source(name="mine", apply=None, state={})
    >>> batch = {"probs": jnp.full((1, 4, 2), 0.5)}, np.array([0, 1, 1])
    >>> collecting.collect(  # of 4 rows, the last is padding
    ...   source, iter([batch]), keep="host", directory=None, count=3,
    ...   num_classes=2, progress=print,
    ... )
    3
    Outputs(mine: probs=(3, 2), 2 classes)
  """
  first = next(forwarded, None)
  if first is None:
    raise validation.InputError(_EMPTY)
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
  else:  # the number of examples is unknown
    held, size, stream = [], 0, parts()
    for arrays, rows in stream:
      held.append(({key: np.asarray(v) for key, v in arrays.items()}, rows))
      size += sum(v.nbytes for v in held[-1][0].values())
      # Twice the size, because `gather` copies what is held.
      if keep == "auto" and 2 * size > on_host:
        rest = itertools.chain(held, stream)
        return _collect_on_disk(source, rest, labels, directory, num_classes)
    store = storage.HostArrays(storage.gather(held, sum(map(len, labels))))
  return outputs_lib.Outputs(
    store,
    **_targets(labels),
    num_classes=num_classes,
    name=source.name,
    without_probs=source.without_probs,
  )


def _targets(parts):
  """Returns joined labels or targets under the argument of `Outputs`."""
  try:
    values = np.concatenate(parts)
  except ValueError as e:
    raise validation.InputError(
      f"batches differ in their number of targets ({validation.reason(e)})"
    ) from e
  if values.ndim == 1:
    return {"labels": values}
  # `validation.label_sets` makes booleans.
  return {"multi_labels" if values.dtype == bool else "targets": values}


def _collect_on_disk(source, parts, labels, directory, num_classes):
  """Writes parts to a folder as they come; `labels` grows with them."""
  temporary = None
  if directory is None:
    temporary = tempfile.mkdtemp(prefix="leep_jax-")
    directory = pathlib.Path(temporary) / "outputs"
  try:
    with storage.NewFolder(directory) as folder:
      for arrays, rows in parts:
        for key, value in arrays.items():
          folder.append(key, storage.on_host(value)[:rows])
      _finish(folder, _targets(labels), source, num_classes=num_classes)
  # Also if the user interrupts: nothing else deletes the folder yet.
  except BaseException:
    if temporary is not None:
      shutil.rmtree(temporary, ignore_errors=True)
    raise
  outputs = outputs_lib.Outputs.load(directory)
  if temporary is not None:
    # Views of these outputs share the store: the files live as long as it does.
    weakref.finalize(
      outputs.store, shutil.rmtree, temporary, ignore_errors=True
    )
  return outputs


def collect_rest(
  source: source_lib.Source,
  forwarded: Iterator[tuple[dict[str, Any], np.ndarray]],
  folder: unfinished.UnfinishedFolder,
  *,
  state: Callable[[], Any],
  num_classes: int | None,
  progress: Callable[[int], None],
) -> None:
  """Appends outputs to a folder that has some, and finishes it.

  Args:
    source: the model.
    forwarded: as of `collect`, of the examples that the folder lacks.
    folder: of the outputs of the examples before.
    state: returns what the folder keeps beside the outputs so far.
    num_classes: as of `collect`.
    progress: called with the number of examples that the folder has.

  Raises:
    InputError: as `collect`.

  Example:
    >>> import pathlib, tempfile
    >>> import numpy as np
    >>> import leep_jax
    >>> from leep_jax.engine import collecting, unfinished
    >>> source = leep_jax.Source(name="mine", apply=None, state={})
    >>> batch = {"probs": np.full((1, 4, 2), 0.5)}, np.array([0, 1, 1])
    >>> with tempfile.TemporaryDirectory() as temporary:
    ...   path = pathlib.Path(temporary) / "outputs"
    ...   with unfinished.UnfinishedFolder(path, {}) as folder:
    ...     collecting.collect_rest(
    ...       source, iter([batch] * 2), folder, state=lambda: None,
    ...       num_classes=2, progress=print,
    ...     )
    ...   np.load(path / "probs.npy").shape
    3
    6
    (6, 2)
  """
  for arrays, part in forwarded:
    rows = {k: storage.on_host(v)[: len(part)] for k, v in arrays.items()}
    folder.add({**rows, **_targets([part])}, state=state())
    progress(folder.count)
  if not folder.count:
    raise validation.InputError(_EMPTY)
  targets = {key: folder.read(key) for key in folder.keys() & _TARGETS}
  _finish(folder, targets, source, num_classes=num_classes)


def _finish(folder, targets, source, *, num_classes):
  """Writes what a folder has besides the outputs of a source."""
  if "labels" not in targets:
    # `Outputs` gives examples with targets the label 0.
    num_classes = 1
  else:
    if num_classes is None:
      num_classes = int(targets["labels"].max()) + 1
    # Labels out of range must not get into a complete folder.
    validation.class_labels(targets["labels"], num_classes=num_classes)
  folder.finish(
    targets,
    num_classes=num_classes,
    name=source.name,
    without_probs=source.without_probs,
  )


def _where_it_fits(arrays, count, on_device, on_host):
  """Returns where n = `count` rows like these fit."""
  width = sum(x.shape[-1] * x.dtype.itemsize for x in arrays.values())
  total = count * width
  if total // programs.device_count() <= on_device:
    return "device"
  return "host" if total <= on_host else "disk"
