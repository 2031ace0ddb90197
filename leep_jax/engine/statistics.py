"""Statistics: pure functions from a batch of examples to sums over it.

Symbols, used throughout the package: n examples, B of them in a batch; Y
target classes, Z source classes, D features. `probs[i, z]` is the source
model's probability of its own label z for example i, `labels[i]` the target
label. `sums.py` adds statistics over batches and devices, so a statistic knows
nothing of either. Examples of weight 0 are padding.

Values are float32. A sum over a batch of at most `MAX_BATCH` examples is
exact to a few units in the last place, and `sums.py` adds batches with
compensation: a million examples lose no more digits than one batch.
"""

from typing import Any

import jax
import jax.numpy as jnp

from leep_jax.engine import host_sums, segments
from leep_jax.engine.batch import (
  Batch,
  class_sums,
  reads,
  row_sum_tolerance,
)

# Accelerators would round the inputs of float32 products to bfloat16.
_PRECISION = jax.lax.Precision.HIGHEST


def distributions(probs: jax.Array) -> jax.Array:
  """Rows `[B, Z]` scaled to sum to 1: rounding of the input is not signal.

  Example:
    >>> import numpy as np
    >>> from leep_jax.engine import statistics
    >>> statistics.distributions(np.array([[0.25, 0.25]])).tolist()
    [[0.5, 0.5]]
  """
  probs = probs.astype(jnp.float32)
  total = probs.sum(axis=1, keepdims=True)
  # Rows of padding are all 0, and stay so.
  return probs / jnp.where(total > 0, total, 1)


@reads("probs", on_host=host_sums.joint)
def joint(batch: Batch) -> jax.Array:
  """Joint mass of target and source labels, n P(y, z); `[Y, Z]`.

  Reference: Nguyen et al., ICML 2020, equation 1.

  Example:
    >>> import numpy as np
    >>> from leep_jax.engine import statistics
    >>> batch = statistics.Batch(
    ...   labels=np.array([0, 1], np.int32), weights=np.ones(2, np.float32),
    ...   num_classes=2, probs=np.array([[0.75, 0.25], [0.5, 0.5]], np.float32)
    ... )
    >>> statistics.joint(batch).tolist()
    [[0.75, 0.25], [0.5, 0.5]]
  """
  return class_sums(distributions(batch.probs), batch)


@reads("probs", on_host=host_sums.dummy_label_counts)
def dummy_label_counts(batch: Batch) -> jax.Array:
  """Counts the pairs of target label and most probable source label, `[Y, Z]`.

  The most probable ("dummy") label is the first of several.

  Reference: Tran et al., ICCV 2019, section 4.

  Example:
    >>> import numpy as np
    >>> from leep_jax.engine import statistics
    >>> batch = statistics.Batch(
    ...   labels=np.array([0, 1], np.int32), weights=np.ones(2, np.float32),
    ...   num_classes=2, probs=np.array([[0.75, 0.25], [0.5, 0.5]], np.float32)
    ... )
    >>> statistics.dummy_label_counts(batch).tolist()
    [[1.0, 0.0], [1.0, 0.0]]
  """
  return segments.pair_counts(
    batch.labels,
    first_argmax(batch.probs),
    batch.weights,
    shape=(batch.num_classes, batch.probs.shape[1]),
  )


def first_argmax(values: jax.Array) -> jax.Array:
  """`argmax` over the last axis by two maxima; XLA's is 4 times slower on CPUs.

  Example:
    >>> import numpy as np
    >>> from leep_jax.engine import statistics
    >>> statistics.first_argmax(np.array([[0.25, 0.5, 0.5]])).tolist()
    [1]
  """
  size = values.shape[1]
  best = values.max(axis=1, keepdims=True)
  # float32 counts exactly up to 2^24 labels. A row of NaN equals nothing and
  # gets the last label, which is in range; `probs_faults` refuses it.
  from_end = jnp.arange(size, 0, -1, dtype=jnp.float32)
  return size - jnp.where(values == best, from_end, 1).max(1).astype(jnp.int32)


@reads("probs")
def spread(batch: Batch, row: jax.Array) -> dict[str, jax.Array]:
  """Sums the differences of probabilities from those of one example.

  Args:
    batch: examples with probabilities.
    row: `[Z]` float32, the probabilities of one example.

  Returns:
    `total` `[Z]`, the sum of the differences, and `square`, the sum of their
    squared lengths.

  Example:
    >>> import numpy as np
    >>> from leep_jax.engine import statistics
    >>> batch = statistics.Batch(
    ...   labels=np.array([0, 1], np.int32), weights=np.ones(2, np.float32),
    ...   num_classes=2, probs=np.array([[0.75, 0.25], [0.5, 0.5]], np.float32)
    ... )
    >>> sums = statistics.spread(batch, batch.probs[0])
    >>> sums["total"].tolist(), float(sums["square"])
    ([-0.25, 0.25], 0.125)
  """
  difference = distributions(batch.probs) - row[None]
  difference *= batch.weights[:, None]
  return {"total": difference.sum(axis=0), "square": (difference**2).sum()}


@reads("probs", on_host=host_sums.log_likelihood)
def log_likelihood(batch: Batch, conditional: jax.Array) -> jax.Array:
  """Summed log-probability of the true labels under the EEP; scalar.

  Args:
    batch: examples with probabilities.
    conditional: `[Y, Z]` float32, P(y given z).

  Reference: Nguyen et al., ICML 2020, equation 2.

  Example:
    >>> import numpy as np
    >>> from leep_jax.engine import statistics
    >>> batch = statistics.Batch(
    ...   labels=np.array([0, 1], np.int32), weights=np.ones(2, np.float32),
    ...   num_classes=2, probs=np.array([[0.75, 0.25], [0.5, 0.5]], np.float32)
    ... )
    >>> table = np.array([[0.6, 1 / 3], [0.4, 2 / 3]], np.float32)
    >>> float(statistics.log_likelihood(batch, table))  # ln 0.533 + ln 0.533
    -1.257...
  """
  return _log_likelihood(batch, conditional)[0]


def _log_likelihood(batch, conditional):
  """Returns the sum, and each example's P(z given x, y), `[B, Z]`."""
  probs = batch.probs.astype(jnp.float32)
  table = segments.rows_of(conditional, batch.labels)
  parts = probs * table
  right = parts.sum(axis=1)
  # Right and wrong mass are summed separately: where P(y given z) = 1 for all
  # z, the likelihood is then exactly 1, whatever the rounding of the row.
  wrong = (probs * (1 - table)).sum(axis=1)
  likelihood = right / (right + wrong)
  used = batch.weights > 0
  # The likelihood of padding is 0 / 0.
  log = jnp.log(jnp.where(used, likelihood, 1))
  return long_sum(log), parts / jnp.where(right > 0, right, 1)[:, None]


@reads("probs", on_host=host_sums.responsibilities)
def responsibilities(batch: Batch, conditional: jax.Array) -> dict[str, Any]:
  """The log-likelihood and its gradient by the logarithm of the table.

  Args:
    batch: examples with probabilities.
    conditional: `[Y, Z]` float32, P(y given z).

  Returns:
    `log_likelihood`, as the function of that name, and `parts` `[Y, Z]`, the
    sum of P(z given x, y) = P(y given z) probs[z] / p(y given x) over the
    examples of each label: the derivative of the log-likelihood by the
    logarithm of a cell.

  Example:
    >>> import numpy as np
    >>> from leep_jax.engine import statistics
    >>> batch = statistics.Batch(
    ...   labels=np.array([0, 1], np.int32), weights=np.ones(2, np.float32),
    ...   num_classes=2, probs=np.array([[0.75, 0.25], [0.5, 0.5]], np.float32)
    ... )
    >>> table = np.array([[0.5, 0.5], [0.5, 0.5]], np.float32)
    >>> statistics.responsibilities(batch, table)["parts"].tolist()
    [[0.75, 0.25], [0.5, 0.5]]
  """
  log, parts = _log_likelihood(batch, conditional)
  return {"log_likelihood": log, "parts": class_sums(parts, batch)}


def long_sum(values: jax.Array) -> jax.Array:
  """Sums `[B]` in two levels, which rounds sqrt(B) times instead of B.

  Example:
    >>> import numpy as np
    >>> from leep_jax.engine import statistics
    >>> float(statistics.long_sum(np.arange(5.0)))
    10.0
  """
  side = max(1, int(values.size**0.5))
  full = values.size // side * side
  return values[:full].reshape(-1, side).sum(1).sum() + values[full:].sum()


@reads("probs")
def log_largest(batch: Batch) -> jax.Array:
  """Summed logarithm of the largest probability of each example; scalar.

  Example:
    >>> import numpy as np
    >>> from leep_jax.engine import statistics
    >>> batch = statistics.Batch(
    ...   labels=np.array([0, 1], np.int32), weights=np.ones(2, np.float32),
    ...   num_classes=2, probs=np.array([[0.75, 0.25], [0.5, 0.5]], np.float32)
    ... )
    >>> float(statistics.log_largest(batch))  # ln 0.75 + ln 0.5
    -0.98...
  """
  largest = distributions(batch.probs).max(axis=1)
  return long_sum(jnp.log(jnp.where(batch.weights > 0, largest, 1)))


@reads("probs")
def correct(batch: Batch, conditional: jax.Array) -> jax.Array:
  """Counts the labels that the EEP predicts correctly; scalar.

  Args:
    batch: examples with probabilities.
    conditional: `[Y, Z]` float32, P(y given z).

  Example:
    >>> import numpy as np
    >>> from leep_jax.engine import statistics
    >>> batch = statistics.Batch(
    ...   labels=np.array([0, 1], np.int32), weights=np.ones(2, np.float32),
    ...   num_classes=2, probs=np.array([[0.75, 0.25], [0.5, 0.5]], np.float32)
    ... )
    >>> float(statistics.correct(batch, np.eye(2, dtype=np.float32)))
    1.0
  """
  predicted = predictive(batch.probs, conditional).argmax(axis=1)
  return jnp.sum((predicted == batch.labels) * batch.weights)


def predictive(probs: jax.Array, conditional: jax.Array) -> jax.Array:
  """The EEP's distributions over target labels, `[B, Y]`, of `[B, Z]`.

  Reference: Nguyen et al., ICML 2020, section 2.

  Example:
    >>> import numpy as np
    >>> from leep_jax.engine import statistics
    >>> table = np.array([[1.0, 0.5], [0.0, 0.5]])
    >>> statistics.predictive(np.array([[0.5, 0.5]]), table).tolist()
    [[0.75, 0.25]]
  """
  return jnp.matmul(distributions(probs), conditional.T, precision=_PRECISION)


@reads("features")
def feature_spread(batch: Batch) -> dict[str, jax.Array]:
  """Sums `[D]` of the features and of their squares, `total` and `square`.

  Example:
    >>> import numpy as np
    >>> from leep_jax.engine import statistics
    >>> batch = statistics.Batch(
    ...   labels=np.array([0, 1], np.int32), weights=np.ones(2, np.float32),
    ...   num_classes=2, features=np.array([[1, 2], [3, 4]], np.float32)
    ... )
    >>> sums = statistics.feature_spread(batch)
    >>> sums["total"].tolist(), sums["square"].tolist()
    ([4.0, 6.0], [10.0, 20.0])
  """
  # Weights are 0 or 1, so that this is right for the squares as well.
  features = batch.features * batch.weights[:, None]
  return {"total": features.sum(axis=0), "square": (features**2).sum(axis=0)}


@reads("features", on_host=host_sums.moments)
def moments(batch: Batch) -> dict[str, jax.Array]:
  """First and second moments of the features, and class sums.

  Returns:
    `gram` `[D, D]`, the sum of f f^T, `class_sums` `[Y, D]`, the sum of f for
    each label, and, where there are real-valued targets t, `cross` `[T, D]`,
    the sum of t f^T, all of the shifted features.

  Example:
    >>> import numpy as np
    >>> from leep_jax.engine import statistics
    >>> batch = statistics.Batch(
    ...   labels=np.array([0, 1], np.int32), weights=np.ones(2, np.float32),
    ...   num_classes=2, features=np.array([[1, 2], [3, 4]], np.float32)
    ... )
    >>> statistics.moments(batch)["gram"].tolist()
    [[10.0, 14.0], [14.0, 20.0]]
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
  """`moments` of `(f - mean) basis`, for a second, more accurate pass.

  Args:
    batch: examples with features.
    mean: `[D]` float32.
    basis: `[D, K]` float32, near a square root of the inverse covariance:
      directions of little variance then keep all their digits.

  Example:
    >>> import numpy as np
    >>> from leep_jax.engine import statistics
    >>> batch = statistics.Batch(
    ...   labels=np.array([0, 1], np.int32), weights=np.ones(2, np.float32),
    ...   num_classes=2, features=np.array([[1, 2], [3, 4]], np.float32)
    ... )
    >>> mean, basis = np.array([2, 3], np.float32), np.eye(2, dtype=np.float32)
    >>> statistics.whitened_moments(batch, mean, basis)["gram"].tolist()
    [[2.0, 2.0], [2.0, 2.0]]
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

  Example:
    >>> import numpy as np
    >>> from leep_jax.engine import statistics
    >>> statistics.project(np.ones((1, 2)), np.zeros(2), np.eye(2)).tolist()
    [[1.0, 1.0]]
  """
  return jnp.matmul(features - mean[None], basis, precision=_PRECISION)


@reads("features")
def norm_moments(batch: Batch, mean: jax.Array) -> dict[str, jax.Array]:
  """Third and fourth moments of u = f - mean, for Ledoit-Wolf shrinkage.

  Args:
    batch: examples with features.
    mean: `[D]` float32.

  Returns:
    `third` `[D]`, the sum of |u|^2 u, and `fourth`, the sum of |u|^4.

  Example:
    >>> import numpy as np
    >>> from leep_jax.engine import statistics
    >>> batch = statistics.Batch(
    ...   labels=np.array([0, 1], np.int32), weights=np.ones(2, np.float32),
    ...   num_classes=2, features=np.array([[1, 2], [3, 4]], np.float32)
    ... )
    >>> sums = statistics.norm_moments(batch, np.zeros(2, np.float32))
    >>> sums["third"].tolist(), float(sums["fourth"])  # |u|^2 is 5, then 25
    ([80.0, 110.0], 650.0)
  """
  features = (batch.features - mean[None]) * batch.weights[:, None]
  square = (features**2).sum(axis=1)
  return {
    "third": (square[:, None] * features).sum(axis=0),
    "fourth": (square**2).sum(),
  }


@reads("probs")
def probs_faults(batch: Batch) -> dict[str, jax.Array]:
  """Counts rows of probabilities with faults.

  Returns:
    Scalars: `not_finite` and `negative` count the rows with such entries, `off`
    those that do not sum to 1. Of the latter, `off_sum` is the sum of their
    sums, and `above` counts the rows with an entry above 1.

  Example:
    >>> import numpy as np
    >>> from leep_jax.engine import statistics
    >>> batch = statistics.Batch(
    ...   labels=np.array([0, 1], np.int32), weights=np.ones(2, np.float32),
    ...   num_classes=2, probs=np.array([[0.5, 0.5], [30, 70]], np.float32)
    ... )
    >>> faults = statistics.probs_faults(batch)
    >>> float(faults["off"]), float(faults["off_sum"]), float(faults["above"])
    (1.0, 100.0, 1.0)
  """
  probs = batch.probs.astype(jnp.float32)
  tolerance = row_sum_tolerance(batch.probs.dtype.name)
  used = batch.weights > 0
  total = probs.sum(axis=1)
  # NaN or infinity in an entry is in the sum of its row.
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
  """Counts rows of features with entries that are not finite.

  Example:
    >>> import numpy as np
    >>> from leep_jax.engine import statistics
    >>> batch = statistics.Batch(
    ...   labels=np.array([0, 1], np.int32), weights=np.ones(2, np.float32),
    ...   num_classes=2, features=np.array([[1, 2], [3, 4]], np.float32)
    ... )
    >>> float(statistics.features_faults(batch)["not_finite"])
    0.0
  """
  finite = jnp.isfinite(batch.features).all(axis=1)
  bad = jnp.sum((batch.weights > 0) & ~finite, dtype=jnp.float32)
  return {"not_finite": bad}
