"""Data sets and outputs that several hosts share."""

import dataclasses
from typing import Any

import numpy as np

from leep_jax import data, validation
from leep_jax.engine import hosts, outputs as outputs_lib


def host_part(dataset: data.Dataset) -> data.Dataset:
  """Returns this host's share of the examples of a data set.

  Raises:
    InputError: if it has no numbered examples, fewer than there are hosts, or
      hosts see different numbers of them.

  Example:
    >>> from leep_jax import data
    >>> from leep_jax.engine import sharing
    >>> len(sharing.host_part(data.load_dataset("digits", limit=10)))
    10
  """
  if not hasattr(dataset, "indices"):
    raise validation.InputError(
      f"hosts can share a Dataset, whose examples have numbers, but not a "
      f"{type(dataset).__name__}"
    )
  # All hosts see all counts, so that all raise the same error or none.
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


def join(outputs: outputs_lib.Outputs) -> outputs_lib.Outputs:
  """Returns outputs of all hosts' examples, in the order of hosts.

  Each host keeps its own arrays and gets the labels of all.

  Raises:
    LostHost: if a host has died.

  Example:
    >>> import leep_jax
    >>> from leep_jax.engine import sharing
    >>> outputs = leep_jax.Outputs.from_arrays(
    ...   probs=[[0.5, 0.5]] * 2, labels=[0, 1]
    ... )
    >>> len(sharing.join(outputs))  # of one host
    2
  """
  if hosts.count() == 1:
    return outputs
  ((key, mine),) = outputs.targets_by_name.items()
  parts = hosts.gather(mine)
  start = sum(map(len, parts[: hosts.index()]))
  counts = hosts.gather(np.asarray([outputs.num_classes]))
  targets: dict[str, Any] = {key: np.concatenate(parts)}
  return outputs_lib.Outputs(
    outputs.store,
    **targets,
    num_classes=int(np.max(counts)),
    name=outputs.name,
    share=slice(start, start + len(mine)),
    without_probs=outputs.without_probs,
  )
