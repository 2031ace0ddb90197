"""Joins outputs of parts of a data set, which ran one after another."""

from collections.abc import Sequence
import dataclasses

import numpy as np

from leep_jax.data import dataset as dataset_lib
from leep_jax.engine import (
  collecting,
  forward,
  outputs as outputs_lib,
  programs,
)
from leep_jax.sources import source as source_lib


def join(
  parts: Sequence[outputs_lib.Outputs],
  positions: Sequence[np.ndarray],
  dataset: dataset_lib.Dataset,
  *,
  source: source_lib.Source,
  batch_size: int | None = None,
) -> outputs_lib.Outputs:
  """Joins outputs of `forward.compute_part` in the order of the data set.

  Args:
    parts: outputs of one source.
    positions: for each part, the positions `[m]` of its examples; no two parts
      have one in common.
    dataset: of all examples. Where parts do not have all, the outputs are of
      those that they have.
    source: the model.
    batch_size: as of `forward.compute_part`.

  Example:
    >>> import numpy as np
    >>> import leep_jax
    >>> from leep_jax.engine import forward, joining
    >>> digits = leep_jax.load_dataset("digits", limit=100)
    >>> source = leep_jax.load_source("fashion_mnist_resnet8")
    >>> halves = np.arange(0, 100, 2), np.arange(1, 100, 2)
    >>> parts = [forward.compute_part(source, digits, half) for half in halves]
    >>> joined = joining.join(parts, halves, digits, source=source)
    >>> whole = leep_jax.compute_outputs(source, digits)
    >>> np.allclose(joined.probs, whole.probs, atol=1e-6)
    True
  """
  rows = forward.rows_per_device(source, dataset, batch_size=batch_size)
  step = rows * programs.device_count()
  place = np.concatenate(list(positions))
  order = np.argsort(place)
  part_of = np.repeat(np.arange(len(parts)), list(map(len, positions)))[order]
  row_of = np.concatenate([np.arange(len(p)) for p in positions])[order]
  (label_key,) = parts[0].targets_by_name
  # As `compute_outputs` keeps them: sums depend on it in the last digit.
  arrays = [{k: p.store.array(k) for k in p.store.keys()} for p in parts]

  def pick(each, start):
    chosen = part_of[start : start + step]
    at = row_of[start : start + step]
    found = np.empty((len(at), *each[0].shape[1:]), each[0].dtype)
    for i, array in enumerate(each):
      found[chosen == i] = array[at[chosen == i]]
    return found

  def batches():
    for start in range(0, len(place), step):
      yield (
        {
          key: _place(
            programs.split(pick([a[key] for a in arrays], start), rows)
          )
          for key in arrays[0]
        },
        pick([p.targets_by_name[label_key] for p in parts], start),
      )

  outputs = collecting.collect(
    source,
    batches(),
    keep="auto",
    directory=None,
    count=len(place),
    num_classes=dataset.num_classes or None,
    progress=lambda done: None,
  )
  kept = dataclasses.replace(dataset, indices=dataset.indices[np.sort(place)])
  outputs.data, outputs.clusters = forward.identity(kept), kept.clusters
  return outputs


def _place(batch):
  """Puts a batch `[d, b, K]` on the devices, where they are not the host."""
  if programs.platform() == "cpu":
    return batch
  return programs.parallel(_unchanged)(batch)


def _unchanged(x):
  return x
