"""Statistics: pure functions from a batch of examples to sums over it.

Symbols, used throughout the package: n examples, B of them in a batch; Y
target classes, Z source classes, D features. `probs[i, z]` is the source
model's probability of its own label z for example i, `labels[i]` the target
label. Sums over batches and devices add up (`devices.py` does that), so a
statistic says nothing about either; examples of weight 0 are padding.

Values are float32. A sum over a batch of at most `MAX_BATCH` examples is
exact to a few units in the last place, and `devices.py` adds batches with
compensation, so that a million examples cost no more precision than one.
"""

from collections.abc import Callable, Iterable
from concurrent import futures
import dataclasses
import os
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np

# Above this many examples a plain float32 sum over a batch loses digits.
MAX_BATCH = 1024
# How far a row of probabilities may be from 1 before it is refused; half
# precision rounds each of up to thousands of entries.
ROW_SUM_TOLERANCE = {"float16": 1e-2, "bfloat16": 3e-2}
DEFAULT_ROW_SUM_TOLERANCE = 1e-3
_PRECISION = jax.lax.Precision.HIGHEST  # else accelerators round to bfloat16


@jax.tree_util.register_dataclass
@dataclasses.dataclass(frozen=True)
class Batch:
  """B examples, as statistics see them.

  Attributes:
    labels: `[B]` int32, the target labels.
    weights: `[B]` float32, 1 for an example and 0 for padding.
    num_classes: Y, of which every label is below: `segment_sum` drops others.
    probs: `[B, Z]`, the source model's probabilities, or None.
    features: `[B, D]` float32, its features less a shift and over a scale that
      are the same for the whole pass (so that sums of squares stay accurate),
      or None.
    targets: `[B, T]` float32, real-valued targets less their mean and over
      their deviation, or None.
    start: int32, where among all n examples the first one stands.
    odd_padding: whether padding may hold NaN, as a source may give for blank
      images, and not 0.
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


def reads(
  field: str,
  *,
  max_batch: int = MAX_BATCH,
  on_host: Callable[..., np.ndarray | None] | None = None,
):
  """Marks a statistic with the field of a batch that it looks at.

  Args:
    field: `probs` or `features`.
    max_batch: most examples of a batch; more than `MAX_BATCH` for one that has
      digits to lose.
    on_host: the same for float arrays on the host, where NumPy is faster than
      XLA is on a CPU: `(chunks [m, K], rows [n], number of rows) -> [number of
      rows, ...]`, `rows` being where an example is added. None for values that
      need the other form's closer look.
  """

  def mark(function):
    function.reads, function.max_batch = field, max_batch
    function.on_host = on_host
    return function

  return mark


def row_sum_tolerance(dtype: str) -> float:
  """How far the sum of a row of probabilities of a type may be from 1."""
  return ROW_SUM_TOLERANCE.get(dtype, DEFAULT_ROW_SUM_TOLERANCE)


# What rows that are said to be logits may look like: bits of `looks_like`.
IN_UNIT_RANGE, IS_DISTRIBUTION, IS_CONFIDENT = 1, 2, 4
# How far sums of probabilities may be from 1, or 100 %, that are taken for
# logits: they may be rounded. No logits are that near, in all rows.
_ROUNDED_SUM = 0.05


def looks_like(values: Any) -> Any:
  """What rows `[B, K]` look like that are said to be logits: `[B]` integers.

  Args:
    values: a NumPy or JAX array.

  Returns:
    Sums of `IN_UNIT_RANGE` (from 0 to 1, as sigmoids are), `IS_DISTRIBUTION`
    (non-negative, sums to 1 or 100) and `IS_CONFIDENT` (an entry is above 0.9).
  """
  low, high = values.min(axis=1), values.max(axis=1)
  total = values.sum(axis=1)
  sums_to_1 = abs(total - 1) <= _ROUNDED_SUM
  sums_to_100 = abs(total / 100 - 1) <= _ROUNDED_SUM
  return (
    IN_UNIT_RANGE * ((low >= 0) & (high <= 1))
    + IS_DISTRIBUTION * ((low >= 0) & (sums_to_1 | sums_to_100))
    + IS_CONFIDENT * (high > 0.9)
  )


def class_sums(values: jax.Array, batch: Batch) -> jax.Array:
  """Sums rows `[B, K]` over the examples of each label, `[Y, K]`."""
  return jax.ops.segment_sum(
    values * batch.weights[:, None],
    batch.labels,
    num_segments=batch.num_classes,
  )


def _distributions(probs):
  """Rows scaled to sum to 1 exactly: rounding of the input is not signal."""
  probs = probs.astype(jnp.float32)
  total = probs.sum(axis=1, keepdims=True)
  return probs / jnp.where(total > 0, total, 1)


@reads("probs")
def joint(batch: Batch) -> jax.Array:
  """Joint mass of target and source labels, n P(y, z); `[Y, Z]`.

  Reference: Nguyen et al., ICML 2020, equation 1.
  """
  return class_sums(_distributions(batch.probs), batch)


# Rows that are looked at while they are in a core's cache.
_HOST_ROWS = 128


def _counts_on_host(
  chunks: Iterable[np.ndarray], rows: np.ndarray, count: int
) -> np.ndarray | None:
  """`dummy_label_counts` by NumPy, whose argmax is vectorised; in threads."""

  def labels(part):
    """The first largest entry of each row; None if a row is invalid."""
    found = np.empty(len(part), np.intp)
    ones = np.ones(part.shape[1], part.dtype)
    for start in range(0, len(part), _HOST_ROWS):
      some = part[start : start + _HOST_ROWS]
      some.argmax(axis=1, out=found[start : start + _HOST_ROWS])
      off = np.abs(some @ ones - 1).max()
      if not (some.min() >= 0 and off <= DEFAULT_ROW_SUM_TOLERANCE):
        return None
    return found

  threads = os.cpu_count() or 1
  labelled: list[np.ndarray] = []
  with futures.ThreadPoolExecutor(threads) as pool:
    for chunk in chunks:
      parts = np.array_split(chunk, threads)
      for found in pool.map(labels, parts):
        if found is None:
          return None
        labelled.append(found)
  num_source = chunk.shape[1]
  cells = rows.astype(np.int64) * num_source + np.concatenate(labelled)
  counts = np.bincount(cells, minlength=count * num_source)
  return counts.reshape(count, num_source).astype(np.float64)


@reads("probs", on_host=_counts_on_host)
def dummy_label_counts(batch: Batch) -> jax.Array:
  """How often target label y meets hard source label z; `[Y, Z]`.

  The hard ("dummy") label is the most probable one, the first of several.
  Reference: Tran et al., ICCV 2019, section 4.
  """
  num_source = batch.probs.shape[1]
  cell = batch.labels * num_source + _first_argmax(batch.probs)
  counts = jax.ops.segment_sum(
    batch.weights, cell, num_segments=batch.num_classes * num_source
  )
  return counts.reshape(batch.num_classes, num_source)


def _first_argmax(values):
  """`argmax` over the last axis by two float maxima.

  XLA's own argmax carries pairs, which a CPU does not vectorise: this one was
  4 times as fast there.
  """
  size = values.shape[1]
  best = values.max(axis=1, keepdims=True)
  from_end = jnp.arange(size, 0, -1, dtype=jnp.float32)
  return size - jnp.where(values == best, from_end, 1).max(1).astype(jnp.int32)


@reads("probs")
def spread(batch: Batch, row: jax.Array) -> dict[str, jax.Array]:
  """How much probabilities differ from those of one example, as sums.

  Args:
    batch: examples with probabilities.
    row: `[Z]` float32, the probabilities of one example.

  Returns:
    `total` `[Z]`, the sum of the differences, and `square`, the sum of their
    squared lengths.
  """
  difference = _distributions(batch.probs) - row[None]
  difference *= batch.weights[:, None]
  return {"total": difference.sum(axis=0), "square": (difference**2).sum()}


@reads("probs")
def log_likelihood(batch: Batch, conditional: jax.Array) -> jax.Array:
  """Summed log-probability of the true labels under the EEP; scalar.

  Args:
    batch: examples with probabilities.
    conditional: `[Y, Z]` float32, P(y given z).

  Reference: Nguyen et al., ICML 2020, equation 2.
  """
  return _log_likelihood(batch, conditional)[0]


def _log_likelihood(batch, conditional):
  """Its sum, and the parts `[B, Z]` of the likelihood relative to it."""
  probs = batch.probs.astype(jnp.float32)
  table = conditional[batch.labels]
  parts = probs * table
  right = parts.sum(axis=1)
  # Added up apart, so that P(y given z) = 1 makes a likelihood of exactly 1.
  wrong = (probs * (1 - table)).sum(axis=1)
  likelihood = right / (right + wrong)
  used = batch.weights > 0
  log = jnp.log(jnp.where(used, likelihood, 1))
  return _long_sum(log), parts / jnp.where(right > 0, right, 1)[:, None]


@reads("probs")
def responsibilities(batch: Batch, conditional: jax.Array) -> dict[str, Any]:
  """The log-likelihood, and how much of it each cell of the table carries.

  Args:
    batch: examples with probabilities.
    conditional: `[Y, Z]` float32, P(y given z).

  Returns:
    `log_likelihood`, as the function of that name, and `parts` `[Y, Z]`, the
    sum of P(z given x, y) = P(y given z) probs[z] / p(y given x) over the
    examples of each label: what the log-likelihood gains if the logarithm of a
    cell grows.
  """
  log, parts = _log_likelihood(batch, conditional)
  return {"log_likelihood": log, "parts": class_sums(parts, batch)}


def _long_sum(values):
  """Sums `[B]` in two levels, which rounds sqrt(B) times instead of B."""
  side = max(1, int(values.size**0.5))
  whole = values.size // side * side
  return values[:whole].reshape(-1, side).sum(1).sum() + values[whole:].sum()


@reads("probs")
def log_largest(batch: Batch) -> jax.Array:
  """Summed logarithm of the largest probability of each example; scalar."""
  largest = _distributions(batch.probs).max(axis=1)
  return _long_sum(jnp.log(jnp.where(batch.weights > 0, largest, 1)))


@reads("probs")
def correct(batch: Batch, conditional: jax.Array) -> jax.Array:
  """How many labels the EEP predicts right; scalar.

  Args:
    batch: examples with probabilities.
    conditional: `[Y, Z]` float32, P(y given z).
  """
  predicted = predictive(batch.probs, conditional).argmax(axis=1)
  return jnp.sum((predicted == batch.labels) * batch.weights)


def predictive(probs: jax.Array, conditional: jax.Array) -> jax.Array:
  """The EEP's distributions over target labels, `[B, Y]`, of `[B, Z]`.

  Reference: Nguyen et al., ICML 2020, section 2.
  """
  return jnp.matmul(_distributions(probs), conditional.T, precision=_PRECISION)


@reads("features")
def feature_spread(batch: Batch) -> dict[str, jax.Array]:
  """Sums `[D]` of the features and of their squares, `total` and `square`."""
  features = batch.features * batch.weights[:, None]
  return {"total": features.sum(axis=0), "square": (features**2).sum(axis=0)}


@reads("features")
def moments(batch: Batch) -> dict[str, jax.Array]:
  """First and second moments of the features, and class sums.

  Returns:
    `gram` `[D, D]`, the sum of f f^T, `class_sums` `[Y, D]`, the sum of f for
    each label, and, where there are real-valued targets t, `cross` `[T, D]`,
    the sum of t f^T, all of the shifted features.
  """
  return _moments(batch.features, batch)


def _moments(features, batch):
  features = features * batch.weights[:, None]
  sums = {
    "gram": jnp.matmul(features.T, features, precision=_PRECISION),
    "class_sums": class_sums(features, batch),
  }
  if batch.targets is not None:
    sums["cross"] = jnp.matmul(batch.targets.T, features, precision=_PRECISION)
  return sums


@reads("features")
def whitened_moments(
  batch: Batch, mean: jax.Array, basis: jax.Array
) -> dict[str, jax.Array]:
  """`moments` of `(f - mean) basis`, for a second and closer look.

  Args:
    batch: examples with features.
    mean: `[D]` float32.
    basis: `[D, K]` float32, near a square root of the inverse covariance, so
      that directions of little variance count in full.
  """
  return _moments(project(batch.features, mean, basis), batch)


def project(
  features: jax.Array, mean: jax.Array, basis: jax.Array
) -> jax.Array:
  """Returns `(features - mean) basis`, `[B, K]`.

  Args:
    features: `[B, D]`.
    mean: `[D]`.
    basis: `[D, K]`.
  """
  return jnp.matmul(features - mean[None], basis, precision=_PRECISION)


@reads("features")
def norm_moments(batch: Batch, mean: jax.Array) -> dict[str, jax.Array]:
  """Higher moments of the length of u = f - mean, as shrinkage needs them.

  Args:
    batch: examples with features.
    mean: `[D]` float32.

  Returns:
    `third` `[D]`, the sum of |u|^2 u, and `fourth`, the sum of |u|^4.
  """
  features = (batch.features - mean[None]) * batch.weights[:, None]
  square = (features**2).sum(axis=1)
  return {
    "third": (square[:, None] * features).sum(axis=0),
    "fourth": (square**2).sum(),
  }


@reads("probs")
def probs_faults(batch: Batch) -> dict[str, jax.Array]:
  """What is wrong with the probabilities: counts, and sums to tell examples.

  Returns:
    Scalars: `not_finite`, `negative` and `off` count the rows with entries
    that are not finite, negative, or do not sum to 1; `off_sum` adds up the
    sums of the latter; `above` counts those of them with an entry above 1.
  """
  probs = batch.probs.astype(jnp.float32)
  tolerance = row_sum_tolerance(batch.probs.dtype.name)
  used = batch.weights > 0
  total = probs.sum(axis=1)
  finite = jnp.isfinite(total)
  off = used & finite & ~(jnp.abs(total - 1) <= tolerance)
  return {
    "not_finite": jnp.sum(used & ~finite, dtype=jnp.float32),
    "negative": jnp.sum(used & (probs.min(axis=1) < 0), dtype=jnp.float32),
    "off": jnp.sum(off, dtype=jnp.float32),
    "off_sum": jnp.sum(jnp.where(off, total, 0)),
    "above": jnp.sum(off & (probs.max(axis=1) > 1), dtype=jnp.float32),
  }


@reads("features")
def features_faults(batch: Batch) -> dict[str, jax.Array]:
  """How many rows of features have entries that are not finite."""
  finite = jnp.isfinite(batch.features).all(axis=1)
  bad = jnp.sum((batch.weights > 0) & ~finite, dtype=jnp.float32)
  return {"not_finite": bad}
