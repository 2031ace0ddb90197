"""LEEP and NCE with each example predicted by the counts of the others.

LEEP and NCE judge P(y given z) on the examples that it was counted on, which
raises them the more, the fewer examples there are for a source label. Here
example i is left out of the counts that predict its own target label.

A source label that no other example has predicts the frequencies of the target
labels. With smoothing, all source labels do in part: their counts include one
further example, whose target label is distributed as those of the others (a
Dirichlet prior). NCE needs it: without smoothing, one example whose pair of
labels is the only one of its kind has probability 0, and the score is minus
infinity. LEEP does not, unless the source's probabilities are one-hot.

Both scores are in nats and at most 0; higher means that the source transfers
better. Symbols: n examples, Y target classes, Z source classes; `probs[i, z]`
is the source model's probability of its label z for example i.
"""

import numpy as np
import numpy.typing as npt

from leep_jax import validation
from leep_jax.engine import outputs as outputs_lib, statistics
from leep_jax.scores import held_out_sums, held_out_table, jackknife, nce

SMOOTHING = 1.0


def leep_loo(
  probs: npt.ArrayLike,
  labels: npt.ArrayLike,
  *,
  num_classes: int | None = None,
  smoothing: float = 0.0,
) -> float:
  """Leave-one-out LEEP, in nats; at most 0, higher transfers better.

  The mean over examples i of log sum_z P_i(y_i given z) probs[i, z], where i is
  left out of the table P_i, with J(y, z) and m(z) the sums of probs[k, z] over
  the examples k of class y, and over all:

    P_i(y_i given z) = (J(y_i, z) - probs[i, z] + s(z) f_i) /
                       (m(z) - probs[i, z] + s(z)).

  f_i is the frequency of the class y_i among the others; it is what a source
  label predicts to which the others give no mass (none above 1e-38, the least
  of float32). s(z) = `smoothing` * sum_k probs[k, z]^2 / m(z), by default 0.
  With a smoothing of 1 it is the probability of z for an example that is
  typical of those that have z; it is at most 1, so that it vanishes where a
  label has much mass. One-hot rows then make the score `nce_loo`.

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
    smoothing: at least 0. With 0 the score is at most LEEP.

  Raises:
    InputError: as `leep`, or if `smoothing` is negative.
    UndefinedScore: if no class has two examples; without smoothing, also if an
      example has only source labels that others have, but none of its class, so
      that the score is minus infinity. That takes probabilities of exactly 0,
      such as one-hot ones; `nce_loo` is for those.

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
    '-0.76'
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
  outputs: outputs_lib.Outputs, *, smoothing: float = 0.0
) -> jackknife.Parts:
  """Returns `leep_loo` as sums and a function of them.

  As for LEEP, the log-likelihoods without a group are expanded to first order
  about the table of all examples. At about five examples for each source label,
  these standard errors are a quarter to a half larger than the variation from
  sample to sample, and those of exact scores without each group up to twice it.
  The variation over examples alone, with the table fixed, would give errors up
  to a third too small, also with many examples for each source label.

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
  groups, table = held_out_table.of(outputs, smoothing=smoothing)
  # A class with one example is not predicted, but a single class is.
  known = table.frequency > 0
  if not known.any():
    raise _no_pairs("leep_loo")
  alone = outputs.groups == 1  # without the jackknife
  found = outputs.group_sums(
    held_out_sums.log_likelihood if alone else held_out_sums.responsibilities,
    *table.arguments(),
  )
  zero = found["zero"].sum(axis=0)
  if zero.any():
    raise _no_label_in_common(zero, outputs.classes)
  used = groups["counts"][:, known].sum(axis=1)
  sums = {"log": found["log_likelihood"], "used": used}
  if not alone:
    sums |= {"groups": groups, "gradient": found["gradient"]}

  def finalise(sums):
    if not sums["used"]:
      raise _no_pairs("leep_loo")
    gain = 0.0
    if not alone:
      gain = table.change(sums["groups"], sums["gradient"])
    return min(float((sums["log"] + gain) / sums["used"]), 0.0)

  return jackknife.Parts.by_group(finalise, sums)


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


def _no_label_in_common(zero, classes):
  """Why LEEP has no value, of the numbers of examples with probability 0."""
  first = int(np.flatnonzero(zero)[0])
  count, more = zero[first], zero.sum() - zero[first]
  return validation.UndefinedScore(
    "leep_loo without smoothing is minus infinity: the others' counts give "
    f"{count:.0f} {'example' if count == 1 else 'examples'} of class "
    f"{classes[first]}"
    + (f" and {more:.0f} of other classes" if more else "")
    + " probability 0, as no other of the class has their source labels: use "
    "nce_loo, or smoothing=1"
  )
