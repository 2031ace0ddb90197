"""Scores of sets of labels, as means over labels: mean LEEP and mean NCE.

An example can have any number of T labels. Each label is a target task of its
own with two classes: the label is absent (0) or there (1). Labels that never or
always occur tell nothing of a source, and are left out of means. Scores are in
nats and at most 0; higher means that the source transfers better.

Symbols: n examples, T labels, Z source classes.
"""

import jax
import jax.numpy as jnp
import numpy as np
import numpy.typing as npt

from leep_jax import validation
from leep_jax.engine import outputs as outputs_lib, segments, statistics
from leep_jax.scores import jackknife, leep, nce

_PRECISION = jax.lax.Precision.HIGHEST


def mean_leep(probs: npt.ArrayLike, multi_labels: npt.ArrayLike) -> float:
  """Mean over labels of LEEP, each label taken as two classes; at most 0.

  mean LEEP = 1/T sum_t LEEP(probs, y_t), where y_t in {0, 1} says which
  examples have label t. LEEP is defined for one class an example; this mean is
  no other score of sets, as labels are taken one by one. Higher transfers
  better. Labels that never or always occur do not count.

  Args:
    probs: `[n, Z]`, the source model's probabilities.
    multi_labels: `[n, T]` of 0 and 1, the labels that each example has.

  Raises:
    InputError: if there are no examples, lengths differ, labels are not 0 or 1,
      or rows of `probs` are not distributions.
    UndefinedScore: if every label never or always occurs.

  Reference: Nguyen, Hassner, Archambeau & Seeger, "LEEP: A New Measure to
  Evaluate Transferability of Learned Representations", ICML 2020, equation 2,
  of each label.

  Example:
    The source tells which examples have the first label, and nothing of the
    second.

    >>> import leep_jax
    >>> probs = [[1.0, 0.0], [1.0, 0.0], [0.0, 1.0], [0.0, 1.0]]
    >>> round(leep_jax.mean_leep(probs, [[1, 0], [1, 1], [0, 0], [0, 1]]), 4)
    -0.3466
    >>> both = leep_jax.leep(probs, [1, 1, 0, 0]), leep_jax.leep(
    ...   probs, [0, 1, 0, 1])
    >>> round(sum(both) / 2, 4)
    -0.3466
  """
  return jackknife.value(mean_leep_parts(_outputs(probs, multi_labels)))


def mean_nce(probs: npt.ArrayLike, multi_labels: npt.ArrayLike) -> float:
  """Mean over labels of NCE, each label taken as two classes; at most 0.

  mean NCE = 1/T sum_t NCE(probs, y_t), see `mean_leep`.

  Args:
    probs: `[n, Z]`, the source model's probabilities.
    multi_labels: `[n, T]` of 0 and 1, the labels that each example has.

  Raises:
    InputError: as `mean_leep`.
    UndefinedScore: as `mean_leep`.

  Reference: Tran, Nguyen & Hassner, "Transferability and Hardness of
  Supervised Classification Tasks", ICCV 2019, of each label.

  Example:
    >>> import leep_jax
    >>> probs = [[0.9, 0.1], [0.8, 0.2], [0.3, 0.7], [0.4, 0.6]]
    >>> round(leep_jax.mean_nce(probs, [[1, 0], [1, 1], [0, 0], [0, 1]]), 4)
    -0.3466
  """
  return jackknife.value(mean_nce_parts(_outputs(probs, multi_labels)))


def _outputs(probs, multi_labels):
  return outputs_lib.Outputs.from_arrays(probs=probs, multi_labels=multi_labels)


def varying(outputs: outputs_lib.Outputs) -> np.ndarray:
  """Returns which labels count: `[T]`, those that some examples have, not all.

  Args:
    outputs: with sets of labels.

  Raises:
    UndefinedScore: if there are none.

  Example:
    >>> import leep_jax
    >>> from leep_jax.scores import label_sets
    >>> outputs = leep_jax.Outputs.from_arrays(
    ...   features=[[0.0], [1.0]], multi_labels=[[0, 1, 0], [1, 1, 0]])
    >>> label_sets.varying(outputs).tolist()
    [True, False, False]
  """
  found = np.ptp(np.asarray(outputs.targets), axis=0) > 0
  if not found.any():
    raise validation.UndefinedScore("every label never or always occurs")
  return found


def mean_leep_parts(outputs: outputs_lib.Outputs) -> jackknife.Parts:
  """Returns `mean_leep` as sums and a function of them.

  Args:
    outputs: with probabilities and sets of labels.

  Raises:
    InputError: as `mean_leep`.
    UndefinedScore: as `mean_leep`.

  Example:
    >>> import leep_jax
    >>> from leep_jax.scores import jackknife, label_sets
    >>> outputs = leep_jax.Outputs.from_arrays(
    ...   probs=[[0.5, 0.5]] * 2, multi_labels=[[0, 1], [1, 0]])
    >>> round(jackknife.value(label_sets.mean_leep_parts(outputs)), 4)
    -0.6931
  """
  # Labels that do not vary have likelihood 1, whose logarithm adds nothing.
  return leep.parts_of(
    outputs,
    joint=label_joint,
    log_likelihood=label_log_likelihood,
    responsibilities=label_responsibilities,
    tasks=int(varying(outputs).sum()),
  )


def mean_nce_parts(outputs: outputs_lib.Outputs) -> jackknife.Parts:
  """Returns `mean_nce` as sums and a function of them.

  Args:
    outputs: with probabilities and sets of labels.

  Raises:
    InputError: as `mean_leep`.
    UndefinedScore: as `mean_leep`.

  Example:
    >>> import leep_jax
    >>> from leep_jax.scores import jackknife, label_sets
    >>> outputs = leep_jax.Outputs.from_arrays(
    ...   probs=[[0.5, 0.5]] * 2, multi_labels=[[0, 1], [1, 0]])
    >>> round(jackknife.value(label_sets.mean_nce_parts(outputs)), 4)
    -0.6931
  """
  kept = varying(outputs)
  return jackknife.Parts.by_group(
    lambda counts: nce.negative_conditional_entropy(counts[kept]),
    outputs.group_sums(label_counts),
  )


def _there(batch):
  """`[B, T]`, whether an example has a label."""
  # Targets are moved to their mean: of 0 and 1, only 1 is above it.
  return batch.targets > 0


def _both(values, batch):
  """Sums `[B, Z]` over examples without, and with each label, `[T, 2, Z]`."""
  there = _there(batch).T.astype(jnp.float32)
  values = values * batch.weights[:, None]
  sums = (
    jnp.matmul(which, values, precision=_PRECISION)
    for which in (1 - there, there)
  )
  return jnp.stack(list(sums), axis=1)


@statistics.reads("probs")
def label_joint(batch: statistics.Batch) -> jax.Array:
  """Joint mass of each label, absent or there, and source labels; `[T, 2, Z]`.

  Example:
    >>> import numpy as np
    >>> from leep_jax.engine import statistics
    >>> from leep_jax.scores import label_sets
    >>> batch = statistics.Batch(
    ...   labels=np.zeros(2, np.int32), weights=np.ones(2, np.float32),
    ...   num_classes=1, targets=np.array([[-0.5], [0.5]], np.float32),
    ...   probs=np.array([[0.75, 0.25], [0.5, 0.5]], np.float32))
    >>> label_sets.label_joint(batch).tolist()
    [[[0.75, 0.25], [0.5, 0.5]]]
  """
  return _both(statistics.distributions(batch.probs), batch)


@statistics.reads("probs")
def label_counts(batch: statistics.Batch) -> jax.Array:
  """Counts each label, absent or there, by most probable source label.

  Returns:
    `[T, 2, Z]`. The most probable source label is the first of several.

  Example:
    >>> import numpy as np
    >>> from leep_jax.engine import statistics
    >>> from leep_jax.scores import label_sets
    >>> batch = statistics.Batch(
    ...   labels=np.zeros(2, np.int32), weights=np.ones(2, np.float32),
    ...   num_classes=1, targets=np.array([[-0.5], [0.5]], np.float32),
    ...   probs=np.array([[0.75, 0.25], [0.5, 0.5]], np.float32))
    >>> label_sets.label_counts(batch).tolist()
    [[[1.0, 0.0], [1.0, 0.0]]]
  """
  there = _there(batch).astype(jnp.float32)
  each = jnp.stack([1 - there, there], axis=2) * batch.weights[:, None, None]
  counts = segments.segment_sums(
    each.reshape(len(each), -1),
    statistics.first_argmax(batch.probs),
    batch.probs.shape[1],
  )
  return jnp.moveaxis(counts.reshape(-1, *each.shape[1:]), 0, 2)


@statistics.reads("probs")
def label_log_likelihood(
  batch: statistics.Batch, conditional: jax.Array
) -> jax.Array:
  """Summed log-probability of all labels under the EEP of each; scalar.

  Args:
    batch: examples with probabilities and sets of labels.
    conditional: `[T, 2, Z]` float32, P(y_t given z).

  Example:
    >>> import numpy as np
    >>> from leep_jax.engine import statistics
    >>> from leep_jax.scores import label_sets
    >>> batch = statistics.Batch(
    ...   labels=np.zeros(2, np.int32), weights=np.ones(2, np.float32),
    ...   num_classes=1, targets=np.array([[-0.5], [0.5]], np.float32),
    ...   probs=np.array([[0.75, 0.25], [0.5, 0.5]], np.float32))
    >>> table = np.array([[[0.6, 1 / 3], [0.4, 2 / 3]]], np.float32)
    >>> float(label_sets.label_log_likelihood(batch, table))  # 2 ln 0.533
    -1.257...
  """
  return _log_likelihood(batch, conditional)[0]


def _log_likelihood(batch, conditional):
  """The sum, and 1 / sum_z P(y_t given z) probs[z] of both y_t, `[B, T]`."""
  probs = batch.probs.astype(jnp.float32)
  absent, there = (
    jnp.matmul(probs, conditional[:, y].T, precision=_PRECISION) for y in (0, 1)
  )
  right = jnp.where(_there(batch), there, absent)
  # Where P(y_t given z) = 1 for all z, the likelihood is exactly 1, whatever
  # the rounding of the row. That of padding is 0 / 0.
  used = batch.weights[:, None] > 0
  log = jnp.log(jnp.where(used, right / (absent + there), 1))
  return statistics.long_sum(log.sum(axis=1)), right


@statistics.reads("probs")
def label_responsibilities(
  batch: statistics.Batch, conditional: jax.Array
) -> dict[str, jax.Array]:
  """The log-likelihood and its gradient by the logarithm of the table.

  Args:
    batch: examples with probabilities and sets of labels.
    conditional: `[T, 2, Z]` float32, P(y_t given z).

  Returns:
    `log_likelihood`, as `label_log_likelihood`, and `parts` `[T, 2, Z]`, the
    sum of P(z given x, y_t) over the examples with each y_t.

  Example:
    >>> import numpy as np
    >>> from leep_jax.engine import statistics
    >>> from leep_jax.scores import label_sets
    >>> batch = statistics.Batch(
    ...   labels=np.zeros(2, np.int32), weights=np.ones(2, np.float32),
    ...   num_classes=1, targets=np.array([[-0.5], [0.5]], np.float32),
    ...   probs=np.array([[0.75, 0.25], [0.5, 0.5]], np.float32))
    >>> table = np.full((1, 2, 2), 0.5, np.float32)
    >>> label_sets.label_responsibilities(batch, table)["parts"].tolist()
    [[[0.75, 0.25], [0.5, 0.5]]]
  """
  log, right = _log_likelihood(batch, conditional)
  there = _there(batch)
  inverse = batch.weights[:, None] / jnp.where(right > 0, right, 1)
  sums = (
    jnp.matmul(
      jnp.where(which, inverse, 0).T,
      batch.probs.astype(jnp.float32),
      precision=_PRECISION,
    )
    for which in (~there, there)
  )
  parts = jnp.stack(list(sums), axis=1) * conditional
  return {"log_likelihood": log, "parts": parts}
