"""`Batch`, the examples that a statistic sums, and what a `Statistic` is."""

from collections.abc import Callable
import dataclasses
from typing import Any, Protocol

import jax

from leep_jax.engine import segments

# Above this many examples a plain float32 sum over a batch loses digits.
MAX_BATCH = 1024
# How far the sum of a row of probabilities may be from 1. Half precision rounds
# each of up to thousands of entries.
ROW_SUM_TOLERANCE = {"float16": 1e-2, "bfloat16": 3e-2}
DEFAULT_ROW_SUM_TOLERANCE = 1e-3


@jax.tree_util.register_dataclass
@dataclasses.dataclass(frozen=True)
class Batch:
  """B examples, as statistics see them.

  Attributes:
    labels: `[B]` int32, the target labels.
    weights: `[B]` float32, 0 for padding and 1 for an example, or how much it
      counts in the passes that have such weights.
    num_classes: Y. All labels must be below it: `class_sums` drops others.
    probs: `[B, Z]`, the source model's probabilities, or None.
    features: `[B, D]` float32, (f - shift) / scale with the same shift and
      scale in all batches of a pass, which keeps sums of squares accurate; or
      None.
    targets: `[B, T]` float32, (t - mean) / scale of real-valued targets, or
      None.
    start: int32, the index of the first example among all n.
    odd_padding: whether padding may contain NaN, which a source may return for
      blank images, instead of 0.

  Example:
    >>> import numpy as np
    >>> from leep_jax.engine import statistics
    >>> batch = statistics.Batch(
    ...   labels=np.array([0, 1, 1], np.int32),
    ...   weights=np.array([1, 1, 0], np.float32),  # the last is padding
    ...   num_classes=2,
    ...   probs=np.array([[3, 1], [1, 3], [2, 2]], np.float32) / 4,
    ... )
    >>> statistics.joint(batch).tolist()
    [[0.75, 0.25], [0.25, 0.75]]
  """

  labels: Any
  weights: Any
  num_classes: int = dataclasses.field(metadata={"static": True})
  probs: Any = None
  features: Any = None
  targets: Any = None
  start: Any = 0
  odd_padding: bool = dataclasses.field(
    default=False, metadata={"static": True}
  )


class Statistic(Protocol):
  """A function of a batch and further arrays to a pytree of sums.

  Attributes:
    reads: the field of the batch that it reads, `probs` or `features`.
    max_batch: the most examples that it may sum at a time.
    on_host: the same statistic by NumPy, or None; see `reads`.

  Example:
    >>> from leep_jax.engine import statistics
    >>> statistics.joint.reads, statistics.joint.max_batch
    ('probs', 1024)
  """

  reads: str
  max_batch: int
  on_host: Callable[..., Any] | None

  def __call__(self, batch: Batch, *arguments: Any) -> Any:
    """Returns the sums of one batch."""


def reads(
  field: str,
  *,
  max_batch: int = MAX_BATCH,
  on_host: Callable[..., Any] | None = None,
) -> Callable[[Callable[..., Any]], Statistic]:
  """Makes a function a `Statistic`: the decorator of all of them.

  Args:
    field: the field of a batch that it reads, `probs` or `features`.
    max_batch: the most examples of a batch; more than `MAX_BATCH` for a
      statistic that has digits to lose.
    on_host: the same sums by NumPy, for arrays on the host where that is faster
      than XLA on a CPU: a function of `host_sums.HostRows` and further arrays.
      It returns None for rows with faults, which the statistic then counts.

  Example:
    >>> import jax.numpy as jnp
    >>> import leep_jax
    >>> from leep_jax.engine import statistics
    >>> @statistics.reads("probs")
    ... def confidence(batch):  # summed largest probability
    ...   return jnp.sum(batch.probs.max(axis=1) * batch.weights)
    >>> outputs = leep_jax.Outputs.from_arrays(
    ...   probs=[[0.75, 0.25], [0.5, 0.5]], labels=[0, 1]
    ... )
    >>> float(outputs.sum(confidence))
    1.25
  """

  def mark(function):
    function.reads, function.max_batch = field, max_batch
    function.on_host = on_host
    return function

  return mark


def row_sum_tolerance(dtype: str) -> float:
  """Returns how far a row of probabilities of a dtype may be from sum 1.

  Example:
    >>> from leep_jax.engine import batch
    >>> batch.row_sum_tolerance("float32")
    0.001
  """
  return ROW_SUM_TOLERANCE.get(dtype, DEFAULT_ROW_SUM_TOLERANCE)


def class_sums(values: jax.Array, batch: Batch) -> jax.Array:
  """Sums rows `[B, K]` over the examples of each label, `[Y, K]`.

  Example:
    >>> import numpy as np
    >>> from leep_jax.engine import statistics
    >>> batch = statistics.Batch(
    ...   labels=np.array([0, 1], np.int32), weights=np.ones(2, np.float32),
    ...   num_classes=2, features=np.array([[1, 2], [3, 4]], np.float32)
    ... )
    >>> statistics.class_sums(batch.features, batch).tolist()
    [[1.0, 2.0], [3.0, 4.0]]
  """
  values = values * batch.weights[:, None]
  return segments.segment_sums(values, batch.labels, batch.num_classes)
