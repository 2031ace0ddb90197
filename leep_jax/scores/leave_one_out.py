"""LEEP and NCE with each example predicted by the counts of the others.

LEEP and NCE judge P(y given z) on the examples that it was counted on, which
raises them the more, the fewer examples there are for a source label. Here
example i is left out of the counts that predict its own target label.

A source label that few others have does not tell the target labels apart. Its
counts are smoothed with one further example, whose target label is distributed
as those of the others: a Dirichlet prior about the frequencies of the labels.
Without smoothing, one example whose pair of labels is the only one of its kind
has probability 0, and the score is minus infinity.

Both scores are in nats and at most 0; higher means that the source transfers
better. Symbols: n examples, Y target classes, Z source classes; `probs[i, z]`
is the source model's probability of its label z for example i.
"""

from typing import Any

import jax
import jax.numpy as jnp
import numpy as np
import numpy.typing as npt

from leep_jax import validation
from leep_jax.engine import outputs as outputs_lib, statistics
from leep_jax.engine.batch import Batch, class_sums, reads
from leep_jax.scores import jackknife, nce

SMOOTHING = 1.0
# Sums of float32 numbers are exact to about this share: where an example has
# all but this share of a source label's mass, nothing is known of the others'.
_ROUNDING = 1e-5


def leep_loo(
  probs: npt.ArrayLike,
  labels: npt.ArrayLike,
  *,
  num_classes: int | None = None,
  smoothing: float = SMOOTHING,
) -> float:
  """Leave-one-out LEEP, in nats; at most 0, higher transfers better.

  The mean over examples i of log sum_z P_i(y_i given z) probs[i, z], where i is
  left out of the table P_i, with J(y, z) and m(z) the sums of probs[k, z] over
  the examples k of class y, and over all:

    P_i(y_i given z) = (J(y_i, z) - probs[i, z] + s(z) f_i) /
                       (m(z) - probs[i, z] + s(z)).

  f_i is the frequency of the class y_i among the others. The weight s(z) =
  `smoothing` * sum_k probs[k, z]^2 / m(z) is the probability of z for an
  example that is typical of those that have z (of all examples, also i: it does
  not depend on labels). It is at most 1, so that smoothing vanishes where a
  label has much mass. One-hot rows make the score `nce_loo`; dividing a source
  label into several equal ones changes nothing.

  LEEP is at least minus the entropy of the labels even if the source's outputs
  are noise. Here, such a source has about the value of constant outputs, which
  is the mean of log f_i, or less.

  An example that is the only one of its class cannot be predicted from the
  others. It is left out of the mean, for every source alike, but not out of the
  others' counts. With a single target class the score is 0.

  Args:
    probs: `[n, Z]`, the source model's probabilities. Rows are scaled to sum
      to exactly 1.
    labels: `[n]`, target labels from 0.
    num_classes: Y; by default the largest label plus 1. The score does not
      depend on it.
    smoothing: at least 0. With 0, a source label to which the others give less
      than 1e-5 of the probability that i gives it predicts f_i, no
      example is more likely than in LEEP, and the score is undefined (minus
      infinity) if all source labels of an example exclude its class.

  Raises:
    InputError: as `leep`, or if `smoothing` is negative.
    UndefinedScore: if no class has two examples; without smoothing, also if an
      example has probability 0.

  Reference: Nguyen et al., "LEEP", ICML 2020, equation 2; left out as of
  Stone, "Cross-Validatory Choice and Assessment of Statistical Predictions",
  JRSS B 1974; smoothed as of MacKay & Peto, "A Hierarchical Dirichlet Language
  Model", Natural Language Engineering 1995.

  Example:
    The outputs of this source are noise. LEEP is above minus the entropy of the
    labels, -log 2, because 40 examples are few for 50 source labels.

    >>> import leep_jax
    >>> import numpy as np
    >>> probs = np.random.default_rng(0).dirichlet(np.full(50, 0.1), 40)
    >>> labels = np.arange(40) % 2
    >>> f"{leep_jax.leep(probs, labels):.2f}"
    '-0.55'
    >>> f"{leep_jax.leep_loo(probs, labels):.2f}"
    '-0.74'
  """
  outputs = outputs_lib.Outputs.from_arrays(
    probs=probs, labels=labels, num_classes=num_classes
  )
  return jackknife.value(leep_loo_parts(outputs, smoothing=smoothing))


def nce_loo(
  probs: npt.ArrayLike,
  labels: npt.ArrayLike,
  *,
  num_classes: int | None = None,
  smoothing: float = SMOOTHING,
) -> float:
  """Leave-one-out NCE, in nats; at most 0, higher transfers better.

  The mean over examples i, with N(y, z) examples of target label y and source
  label z and N(z) of source label z, of the logarithm of

    P_i(y_i given z_i) = (N(y_i, z_i) - 1 + s f_i) / (N(z_i) - 1 + s).

  f_i is the frequency of the class y_i among the other examples, and s is
  `smoothing`: each source label has s further examples, by default one. The
  constant is a choice; without it (s = 0), an example whose class no other of
  its source label has would make the score minus infinity. A source label that
  only i has predicts f_i for any s. A source with fewer examples for a label
  than there are classes may have less than the mean of log f_i, the value of a
  constant source label: its counts predict worse than frequencies do.

  An example that is the only one of its class cannot be predicted from the
  others. It is left out of the mean, for every source alike, but not out of the
  others' counts. With a single target class the score is 0.

  Args:
    probs: `[n, Z]`, the source model's probabilities, of which the largest (the
      first of several) is the source label; or `[n]`, source labels from 0.
    labels: `[n]`, target labels from 0.
    num_classes: Y; by default the largest label plus 1. The score does not
      depend on it.
    smoothing: s, at least 0.

  Raises:
    InputError: as `nce`, or if `smoothing` is negative.
    UndefinedScore: if no class has two examples; without smoothing, also if an
      example has probability 0.

  Reference: Tran et al., ICCV 2019; left out as of Stone, JRSS B 1974; smoothed
  as of MacKay & Peto, Natural Language Engineering 1995 (see `leep_loo`).

  Example:
    Each example has a source label of its own: NCE takes that for knowledge of
    the target labels. Of other examples, they say nothing.

    >>> import leep_jax
    >>> labels = [0, 0, 1, 1]
    >>> leep_jax.nce([0, 1, 2, 3], labels)
    0.0
    >>> f"{leep_jax.nce_loo([0, 1, 2, 3], labels):.4f}"  # log 1/3
    '-1.0986'
    >>> f"{leep_jax.nce_loo([5, 5, 9, 9], labels):.4f}"  # log 2/3
    '-0.4055'
  """
  if np.ndim(probs) == 1:
    _check(smoothing)
    pairs = nce.pairs_of_labels(probs, labels, num_classes=num_classes)
    return _mean_log(*pairs, smoothing)
  outputs = outputs_lib.Outputs.from_arrays(
    probs=probs, labels=labels, num_classes=num_classes
  )
  return jackknife.value(nce_loo_parts(outputs, smoothing=smoothing))


def nce_loo_parts(
  outputs: outputs_lib.Outputs, *, smoothing: float = SMOOTHING
) -> jackknife.Parts:
  """Returns `nce_loo` as sums and a function of them.

  It is a function of the counts, so that its values without a group are exact.

  Args:
    outputs: with probabilities and labels.
    smoothing: see `nce_loo`.

  Raises:
    InputError: as `nce_loo`.

  Example:
    >>> import leep_jax
    >>> from leep_jax.scores import jackknife, leave_one_out
    >>> outputs = leep_jax.Outputs.from_arrays(
    ...   probs=[[0.9, 0.1], [0.8, 0.2], [0.1, 0.9], [0.3, 0.7]],
    ...   labels=[0, 0, 1, 1])
    >>> round(jackknife.value(leave_one_out.nce_loo_parts(outputs)), 4)
    -0.4055
  """
  _check(smoothing)

  def finalise(counts):
    pairs = counts > 0
    size = np.broadcast_to(counts.sum(axis=1, keepdims=True), counts.shape)
    mass = np.broadcast_to(counts.sum(axis=0), counts.shape)
    return _mean_log(counts[pairs], size[pairs], mass[pairs], smoothing)

  return jackknife.Parts.by_group(
    finalise, outputs.group_sums(statistics.dummy_label_counts)
  )


def _mean_log(
  counts: np.ndarray, size: np.ndarray, mass: np.ndarray, smoothing: float
) -> float:
  """`nce_loo` of the pairs of labels that occur, see `nce.pairs_of_labels`."""
  n = counts.sum()
  if np.all(size == n):
    return 0.0  # a single class
  known = size > 1
  counts, size, mass = counts[known], size[known], mass[known]
  if not len(counts):
    raise _no_pairs("nce_loo")
  frequency = (size - 1) / (n - 1)
  others = mass - 1 + smoothing
  given = np.where(
    others > 0,
    (counts - 1 + smoothing * frequency) / np.where(others > 0, others, 1),
    frequency,
  )
  if not np.all(given > 0):
    raise _no_likelihood("nce_loo", counts[given <= 0].sum())
  return min(float(counts @ np.log(given) / counts.sum()), 0.0)


def leep_loo_parts(
  outputs: outputs_lib.Outputs, *, smoothing: float = SMOOTHING
) -> jackknife.Parts:
  """Returns `leep_loo` as sums and a function of them.

  As for LEEP, the log-likelihoods without a group are expanded to first order
  about the table of all examples.

  Args:
    outputs: with probabilities and labels.
    smoothing: see `leep_loo`.

  Raises:
    InputError: as `leep_loo`.
    UndefinedScore: without smoothing, if an example has probability 0.

  Example:
    >>> import leep_jax
    >>> from leep_jax.scores import jackknife, leave_one_out
    >>> outputs = leep_jax.Outputs.from_arrays(
    ...   probs=[[0.5, 0.5]] * 4, labels=[0, 0, 1, 1])
    >>> parts = leave_one_out.leep_loo_parts(outputs)
    >>> round(jackknife.value(parts), 4)  # log 1/3
    -1.0986
  """
  _check(smoothing)
  joints = outputs.group_sums(statistics.joint)
  squares = outputs.group_sums(label_squares)
  counts = outputs.group_counts
  table = _Table(
    joints.sum(0), squares.sum(0), counts.sum(0), smoothing, len(outputs)
  )
  # A class with one example is not predicted, but a single class is.
  known = table.frequency > 0
  if not known.any():
    raise _no_pairs("leep_loo")
  arguments = [
    np.asarray(x, np.float32)
    for x in (table.joint, table.mass, table.weight, table.frequency)
  ]
  alone = outputs.groups == 1  # without the jackknife
  found = outputs.group_sums(
    held_out_log_likelihood if alone else held_out_responsibilities, *arguments
  )
  if found["zero"].sum() > 0:
    raise _no_likelihood("leep_loo", found["zero"].sum())
  sums = {"log": found["log_likelihood"], "used": counts[:, known].sum(axis=1)}
  if not alone:
    sums |= {"joint": joints, "squares": squares, "counts": counts}
    sums["gradient"] = found["gradient"]

  def finalise(sums):
    if not sums["used"]:
      raise _no_pairs("leep_loo")
    gain = 0.0
    if not alone:
      now = _Table(
        sums["joint"], sums["squares"], sums["counts"], smoothing, len(outputs)
      )
      for name, slope in sums["gradient"].items():
        gain += np.sum(slope * (getattr(now, name) - getattr(table, name)))
    return min(float((sums["log"] + gain) / sums["used"]), 0.0)

  return jackknife.Parts.by_group(finalise, sums)


class _Table:
  """What predicts the label of an example, before that example is left out.

  Attributes:
    joint: `[Y, Z]`, the mass of both labels.
    mass: `[Z]`, that of the source label.
    weight: `[Z]`, the weight s(z) of the label frequencies.
    own: what an example adds to the mass, as a share of its probabilities.
    frequency: `[Y]`, the frequency of a class among the others of an example
      of this class.
  """

  def __init__(self, joint, squares, counts, smoothing, size):
    # P(y given z) is of ratios. Without a group, all terms are scaled to the
    # size that all groups have: otherwise, each of them would change by the
    # share of the group, and not by how the group differs from the others.
    self.own = size / counts.sum()
    self.joint = np.maximum(joint, 0) * self.own
    self.mass = self.joint.sum(axis=0)
    # Without the group that has all its mass, a label has rounding instead of
    # 0, and no ratio. A weight is at most 1.
    some = self.mass > 1e-9 * size
    ratio = np.maximum(squares, 0) / np.where(some, self.mass, np.inf)
    self.weight = smoothing * np.minimum(ratio * self.own, 1) * self.own
    others = counts.sum() - 1
    single = np.count_nonzero(counts) == 1
    self.frequency = np.maximum(counts - 1, 0) / max(others, 1)
    if single:  # also if it has one example
      self.frequency = (counts > 0).astype(np.float64)


@reads("probs")
def label_squares(batch: Batch) -> jax.Array:
  """Sums the squared probabilities of each source label, `[Z]`.

  Example:
    >>> import numpy as np
    >>> from leep_jax.engine import statistics
    >>> from leep_jax.scores import leave_one_out
    >>> batch = statistics.Batch(
    ...   labels=np.array([0, 1], np.int32), weights=np.ones(2, np.float32),
    ...   num_classes=2, probs=np.array([[0.75, 0.25], [0.5, 0.5]], np.float32)
    ... )
    >>> leave_one_out.label_squares(batch).tolist()
    [0.8125, 0.3125]
  """
  probs = statistics.distributions(batch.probs) * batch.weights[:, None]
  squares: jax.Array = (probs**2).sum(axis=0)
  return squares


@reads("probs")
def held_out_log_likelihood(
  batch: Batch,
  joint: jax.Array,
  mass: jax.Array,
  weight: jax.Array,
  frequency: jax.Array,
) -> dict[str, jax.Array]:
  """Sums the logarithms of the probabilities by the other examples' counts.

  Args:
    batch: examples with probabilities, which the next arrays have counted.
    joint: `[Y, Z]`, the mass of both labels.
    mass: `[Z]`, that of the source label.
    weight: `[Z]`, the weight of the frequencies.
    frequency: `[Y]`, of the class among the others; 0 leaves the class out.

  Returns:
    `log_likelihood`, the sum over the examples with a probability above 0, and
    `zero`, the number of those with probability 0.

  Example:
    >>> import numpy as np
    >>> from leep_jax.engine import statistics
    >>> from leep_jax.scores import leave_one_out
    >>> batch = statistics.Batch(
    ...   labels=np.array([0, 0, 1, 1], np.int32), num_classes=2,
    ...   weights=np.ones(4, np.float32), probs=np.full((4, 1), 1, np.float32)
    ... )
    >>> sums = leave_one_out.held_out_log_likelihood(
    ...   batch, np.array([[2.0], [2.0]]), np.array([4.0]), np.array([0.0]),
    ...   np.array([1 / 3, 1 / 3]))
    >>> float(sums["log_likelihood"])  # 4 log 1/3
    -4.394...
  """
  sums: dict[str, jax.Array]
  sums, _ = _held_out(batch, joint, mass, weight, frequency)
  return sums


@reads("probs")
def held_out_responsibilities(
  batch: Batch,
  joint: jax.Array,
  mass: jax.Array,
  weight: jax.Array,
  frequency: jax.Array,
) -> dict[str, Any]:
  """`held_out_log_likelihood` and its gradient by what it takes.

  Args:
    batch: see `held_out_log_likelihood`, as for the others.
    joint: `[Y, Z]`.
    mass: `[Z]`.
    weight: `[Z]`.
    frequency: `[Y]`.

  Returns:
    The same, and `gradient`, a dictionary of the derivatives of the
    log-likelihood by the four arrays, and by the share `own` of the example's
    probabilities (here 1) that is subtracted from `joint` and `mass`.

  Example:
    >>> import numpy as np
    >>> from leep_jax.engine import statistics
    >>> from leep_jax.scores import leave_one_out
    >>> batch = statistics.Batch(
    ...   labels=np.array([0, 0, 1, 1], np.int32), num_classes=2,
    ...   weights=np.ones(4, np.float32), probs=np.full((4, 1), 1, np.float32)
    ... )
    >>> sums = leave_one_out.held_out_responsibilities(
    ...   batch, np.array([[2.0], [2.0]]), np.array([4.0]), np.array([0.0]),
    ...   np.array([1 / 3, 1 / 3]))
    >>> print(sums["gradient"]["joint"])  # 2 examples; 1 / (2 - 1) of each
    [[2.]
     [2.]]
  """
  sums, (probs, below, given, share) = _held_out(
    batch, joint, mass, weight, frequency
  )
  label = frequency[batch.labels][:, None]
  # The derivative of an example's log-likelihood by a numerator of P, which is
  # J - probs + s f. That by a denominator is -P times as much.
  slope = jnp.where(below > 0, share / jnp.where(below > 0, below, 1), 0)
  by_mass = -(slope * given).sum(axis=0)
  # A label that no other example has predicts the frequency itself.
  by_label = jnp.where(below > 0, slope * weight[None], share).sum(axis=1)
  gradient = {
    "joint": class_sums(slope, batch),
    "mass": by_mass,
    "weight": by_mass + (slope * label).sum(axis=0),
    "own": -(slope * (1 - given) * probs).sum(),
    "frequency": class_sums(by_label[:, None], batch)[:, 0],
  }
  return {**sums, "gradient": gradient}


def _held_out(batch, joint, mass, weight, frequency):
  """Returns sums, and arrays `[B, Z]`.

  They are the probabilities, the denominators of P(y given z) without the
  example (0 where no other example has z), P(y given z) itself, and the
  probabilities over the likelihood.
  """
  probs = statistics.distributions(batch.probs)
  label = frequency[batch.labels]
  f, mass, weight = label[:, None], mass[None], weight[None]
  # What is left of the label's own mass may be negative by rounding.
  own = jnp.maximum(joint[batch.labels] - probs, 0)
  rest = jnp.maximum(mass - probs - own, 0)
  every = own + rest + weight
  unused = every <= _ROUNDING * probs
  below = jnp.where(unused, 0, every)
  divisor = jnp.where(unused, 1, every)
  given = jnp.where(unused, f, (own + weight * f) / divisor)
  # As in `statistics.log_likelihood`, where P(y given z) = 1 for all z, the
  # likelihood is exactly 1.
  other = jnp.where(unused, 1 - f, (rest + weight * (1 - f)) / divisor)
  right = (probs * given).sum(axis=1)
  wrong = (probs * other).sum(axis=1)
  used = (batch.weights > 0) & (label > 0)
  known = used & (right > 0)
  likelihood = jnp.where(known, right / jnp.where(known, right + wrong, 1), 1)
  sums = {
    "log_likelihood": statistics.long_sum(jnp.log(likelihood)),
    "zero": jnp.sum(used & ~(right > 0), dtype=jnp.float32),
  }
  share = probs * jnp.where(known, 1 / jnp.where(known, right, 1), 0)[:, None]
  return sums, (probs, below, given, share)


def _check(smoothing):
  if not 0 <= smoothing < np.inf:
    raise validation.InputError(
      f"smoothing is {smoothing}, but must be at least 0"
    )


def _no_pairs(name):
  return validation.UndefinedScore(
    f"{name} is undefined: each example is the only one of its class, so that "
    "none is predicted by others"
  )


def _no_likelihood(name, count):
  return validation.UndefinedScore(
    f"{name} without smoothing is minus infinity: the others' counts give "
    f"{count:.0f} examples probability 0"
  )
