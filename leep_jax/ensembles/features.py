"""Joined features: a head on the features of several sources at once.

The features of the sources stand side by side, `[n, D_1 + D_2 + ...]`. The
ridge probe standardises each feature, so that no source counts more because its
features are larger, and its leave-one-out errors choose the penalty of all.
"""

from collections.abc import Sequence
from typing import Any

import numpy as np

from leep_jax import validation
from leep_jax.engine import outputs as outputs_lib, storage
from leep_jax.scores import jackknife


class JoinedArrays:
  """Arrays `[n, K]` side by side, of which only slices of rows are copied.

  Example:
    >>> import numpy as np
    >>> from leep_jax.ensembles import features
    >>> joined = features.JoinedArrays([np.zeros((3, 2)), np.ones((3, 1))])
    >>> joined.shape, joined[1:2].tolist()
    ((3, 3), [[0.0, 0.0, 1.0]])
  """

  def __init__(self, arrays: Sequence[Any]):
    """Keeps arrays, or `storage.FileArray`s.

    Args:
      arrays: of as many rows.
    """
    self._arrays = arrays
    self.shape = len(arrays[0]), sum(array.shape[1] for array in arrays)
    self.dtype = np.result_type(*(array.dtype for array in arrays))

  def __len__(self):
    return self.shape[0]

  def __getitem__(self, part):
    return np.concatenate([array[part] for array in self._arrays], axis=1)

  def array(self) -> np.ndarray:
    """Returns all rows in memory."""
    return self[:]


def join(outputs: Sequence[outputs_lib.Outputs]) -> outputs_lib.Outputs:
  """Returns the examples of several sources with their joined features.

  Features on the host or in files stay where they are; batches of rows are
  copied as they are read. Those on accelerators are copied to the host. Scores
  of no more examples than features, or of at most 4 million numbers, copy all
  joined features while they are computed. What is computed from the result is
  not kept with the outputs of the sources.

  Args:
    outputs: with features, of the same examples in the same order.

  Raises:
    InputError: if they are of other examples, or one has no features.

  Example:
    Each source tells one of three classes from the others. Together they tell
    all apart.

    >>> import numpy as np
    >>> import leep_jax
    >>> from leep_jax import ensembles
    >>> labels = np.arange(30) % 3
    >>> sources = [
    ...   leep_jax.Outputs.from_arrays(
    ...     features=(labels == y)[:, None] + 0.0, labels=labels)
    ...   for y in range(2)
    ... ]
    >>> joined = ensembles.join(sources)
    >>> joined.num_features
    2
    >>> leep_jax.compute_scores(joined, names=["probe_accuracy"])
    {'probe_accuracy': 1.0}
  """
  check_same_examples(outputs)
  for one in outputs:
    if not one.has("features"):
      raise validation.InputError(f"{one.name} has no features to join")
  first = outputs[0]
  if len(outputs) == 1:
    return first.with_features(first.store)
  arrays = [_rows(one) for one in outputs]
  joined = first.with_features(
    storage.HostArrays({"features": JoinedArrays(arrays)})
  )
  joined.name = " + ".join(one.name for one in outputs)
  return joined


def _rows(outputs):
  """The features, as what can be cut into slices of rows on the host."""
  store = outputs.store
  if isinstance(store, storage.HostArrays):
    return store.rows("features")
  return outputs.cached(lambda o: o.store.array("features"), key="features")


def check_same_examples(outputs: Sequence[outputs_lib.Outputs]) -> None:
  """Refuses outputs that are not of the same examples in the same order.

  Args:
    outputs: of several sources.

  Raises:
    InputError: if there are none, or they are of other examples.

  Example:
    >>> import leep_jax
    >>> from leep_jax.ensembles import features
    >>> outputs = leep_jax.Outputs.from_arrays(features=[[0.0]], labels=[0])
    >>> features.check_same_examples([outputs, outputs])
  """
  if not outputs:
    raise validation.InputError("there are no outputs")
  first = outputs[0]
  for other in outputs[1:]:
    if not jackknife.same_examples(first.examples, other.examples):
      raise validation.InputError(
        f"{first.name} and {other.name} are not of the same examples in the "
        "same order, so that they make no set"
      )
