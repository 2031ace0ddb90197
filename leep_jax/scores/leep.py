"""LEEP, and the accuracy of the classifier that it is about, the EEP.

The Expected Empirical Predictor (EEP) draws a source label z from the source
model's distribution, and then a target label y from P(y given z), which is
counted on the target data. LEEP is the mean log-likelihood of the EEP on these
data: in nats, at most 0; higher means that the source transfers better.

Symbols: n examples, Y target classes, Z source classes; `probs[i, z]` is the
source model's probability of its label z for example i.
"""

import dataclasses
from typing import Any

import numpy as np
import numpy.typing as npt

from leep_jax import validation
from leep_jax.engine import outputs as outputs_lib, statistics
from leep_jax.engine.batch import Statistic
from leep_jax.scores import jackknife, nce


def leep(
  probs: npt.ArrayLike, labels: npt.ArrayLike, *, num_classes: int | None = None
) -> float:
  """Log Expected Empirical Prediction, in nats; at most 0.

  LEEP = 1/n sum_i log sum_z P(y_i given z) probs[i, z], with P(y, z) = 1/n
  sum over i with y_i = y of probs[i, z].

  A source label that no example gives any probability contributes 0, and so
  does a target class that does not occur. With a single target class LEEP is 0.
  Some published code returns NaN for such a source label, and some leaves out
  the logarithm.

  Args:
    probs: `[n, Z]`, the source model's probabilities. Rows are scaled to sum
      to exactly 1, so that rounding (also to half precision) has no influence.
    labels: `[n]`, target labels from 0.
    num_classes: Y; by default the largest label plus 1. LEEP does not depend
      on it.

  Raises:
    InputError: if there are no examples, lengths differ, labels are not
      integers in 0..Y-1, or rows of `probs` are not distributions.

  Reference: Nguyen, Hassner, Archambeau & Seeger, "LEEP: A New Measure to
  Evaluate Transferability of Learned Representations", ICML 2020, equation 2.

  Example:
    A perfect source gives each target class source labels of its own: LEEP is
    0. An uninformative source gives all examples the same distribution: LEEP is
    minus the entropy of the target labels, here -log 2. Of two sources, the one
    with the higher LEEP is expected to transfer better.

    >>> import leep_jax
    >>> labels = [0, 0, 1, 1]
    >>> sources = {
    ...   "perfect": [[1.0, 0.0], [1.0, 0.0], [0.0, 1.0], [0.0, 1.0]],
    ...   "better": [[0.9, 0.1], [0.7, 0.3], [0.1, 0.9], [0.2, 0.8]],
    ...   "worse": [[0.6, 0.4], [0.5, 0.5], [0.4, 0.6], [0.3, 0.7]],
    ...   "uninformative": [[0.7, 0.3]] * 4,
    ... }
    >>> for name, probs in sources.items():
    ...   print(f"{name:14}{leep_jax.leep(probs, labels):.4f}")
    perfect       0.0000
    better        -0.3426
    worse         -0.6537
    uninformative -0.6931

    Source labels need not correspond to target labels: permuting them changes
    nothing.

    >>> swapped = [row[::-1] for row in sources["better"]]
    >>> f"{leep_jax.leep(swapped, labels):.4f}"
    '-0.3426'
  """
  return jackknife.value(leep_parts(_outputs(probs, labels, num_classes)))


def eep_accuracy(
  probs: npt.ArrayLike, labels: npt.ArrayLike, *, num_classes: int | None = None
) -> float:
  """Accuracy of the EEP on the data that it was counted on; in [0, 1].

  This is the share of examples whose label maximises sum_z P(y given z)
  probs[i, z]. Of several maxima, the first is the prediction. The standard
  error uses the table P(y given z) of all examples for all jackknife groups;
  it is too small where a few examples decide which class is predicted.

  Args:
    probs: `[n, Z]`, the source model's probabilities.
    labels: `[n]`, target labels from 0.
    num_classes: Y; by default the largest label plus 1.

  Raises:
    InputError: as `leep`.

  Reference: Nguyen et al., ICML 2020, section 2 (the classifier).

  Example:
    >>> import leep_jax
    >>> probs = [[0.9, 0.1], [0.8, 0.2], [0.2, 0.8], [0.7, 0.3]]
    >>> leep_jax.eep_accuracy(probs, [0, 0, 1, 1])
    0.75
  """
  return jackknife.value(
    eep_accuracy_parts(_outputs(probs, labels, num_classes))
  )


def _outputs(probs, labels, num_classes):
  return outputs_lib.Outputs.from_arrays(
    probs=probs, labels=labels, num_classes=num_classes
  )


def leep_parts(outputs: outputs_lib.Outputs) -> jackknife.Parts:
  """Returns `leep` as sums and a function of them.

  Args:
    outputs: with probabilities and labels.

  Raises:
    InputError: as `leep`.

  Example:
    >>> import leep_jax
    >>> from leep_jax.scores import jackknife
    >>> from leep_jax.scores import leep
    >>> outputs = leep_jax.Outputs.from_arrays(
    ...   probs=[[0.5, 0.5]] * 4, labels=[0, 0, 1, 1])
    >>> round(jackknife.value(leep.leep_parts(outputs)), 4)
    -0.6931
  """
  return parts_of(
    outputs,
    joint=statistics.joint,
    log_likelihood=statistics.log_likelihood,
    responsibilities=statistics.responsibilities,
  )


def parts_of(
  outputs: outputs_lib.Outputs,
  *arguments: Any,
  joint: Statistic,
  log_likelihood: Statistic,
  responsibilities: Statistic,
  tasks: int = 1,
) -> jackknife.Parts:
  """Returns LEEP of distributions that the statistics compute.

  The first pass sums the joint mass, the second the log-likelihood under the
  table P(y given z) that follows from it. With a group of examples left out,
  the table is another one. It is known from the sums of the first pass, and the
  log-likelihood under it is expanded to first order about the table of all
  examples, so that no third pass is needed.

  Args:
    outputs: with labels, and the field that the statistics read.
    *arguments: arrays that all three statistics take after the batch.
    joint: as `statistics.joint`.
    log_likelihood: as `statistics.log_likelihood`.
    responsibilities: as `statistics.responsibilities`.
    tasks: how many tasks the log-likelihood is summed over. The result is their
      mean, and tables are `[T, Y, Z]`.

  Example:
    N-LEEP is LEEP of a mixture's posterior, see `n_leep.n_leep_parts`. Here the
    statistics read the source's probabilities:

    >>> import leep_jax
    >>> from leep_jax.engine import statistics
    >>> from leep_jax.scores import jackknife
    >>> from leep_jax.scores import leep
    >>> outputs = leep_jax.Outputs.from_arrays(
    ...   probs=[[0.5, 0.5]] * 4, labels=[0, 0, 1, 1])
    >>> parts = leep.parts_of(
    ...   outputs,
    ...   joint=statistics.joint,
    ...   log_likelihood=statistics.log_likelihood,
    ...   responsibilities=statistics.responsibilities,
    ... )
    >>> round(jackknife.value(parts), 4)
    -0.6931
  """
  joints = outputs.group_sums(joint, *arguments)
  sizes = tasks * outputs.group_counts.sum(axis=1)
  table = conditional_distribution(joints.sum(axis=0))
  second = (*arguments, table.astype(np.float32))
  # Without the jackknife the [Y, Z] sums of responsibilities are not needed.
  if outputs.groups == 1:
    total = outputs.group_sums(log_likelihood, *second)
    return jackknife.Parts.by_group(
      # At most 0, but rounding of sums may leave a little more.
      lambda sums: min(float(sums["log"] / sums["size"]), 0.0),
      {"log": total, "size": sizes},
    )
  likelihoods = outputs.group_sums(responsibilities, *second)
  # Other cells have no mass in any group, and their relative change is 0 / 0.
  used = table > 0

  def finalise(sums):
    mass = sums["joint"].sum(axis=-2, keepdims=True)
    # If a group has all the mass of a source label, subtracting the group
    # leaves rounding instead of 0. Divided by infinity, such a column is 0.
    divisor = np.where(mass > 1e-9 * sums["size"], mass, np.inf)
    without = np.maximum(sums["joint"], 0) / divisor
    # d log-likelihood = sum over cells of responsibility * d log P(y given z),
    # and d log P is the relative change of the cell.
    change = without[used] / table[used] - 1
    gain = np.sum(sums["parts"][used] * change)
    return min(float((sums["log"] + gain) / sums["size"]), 0.0)

  return jackknife.Parts.by_group(
    finalise,
    {
      "joint": joints,
      "size": sizes,
      "log": likelihoods["log_likelihood"],
      "parts": likelihoods["parts"],
    },
  )


def eep_accuracy_parts(outputs: outputs_lib.Outputs) -> jackknife.Parts:
  """Returns `eep_accuracy` as sums and a function of them.

  The table P(y given z) is counted on all examples, also if the jackknife
  leaves a group out: an argmax has no expansion to first order.

  Args:
    outputs: with probabilities and labels.

  Raises:
    InputError: as `leep`.

  Example:
    >>> import leep_jax
    >>> from leep_jax.scores import jackknife
    >>> from leep_jax.scores import leep
    >>> outputs = leep_jax.Outputs.from_arrays(
    ...   probs=[[0.9, 0.1], [0.8, 0.2], [0.2, 0.8], [0.7, 0.3]],
    ...   labels=[0, 0, 1, 1])
    >>> jackknife.value(leep.eep_accuracy_parts(outputs))
    0.75
  """
  table = conditional_distribution(outputs.sum(statistics.joint))
  right = outputs.group_sums(statistics.correct, table.astype(np.float32))
  sizes = outputs.group_counts.sum(axis=1)
  return jackknife.Parts.by_group(
    lambda sums: float(sums["right"] / sums["size"]),
    {"right": right, "size": sizes},
  )


@dataclasses.dataclass(frozen=True)
class LeepBounds:
  """LEEP and its bounds, in nats.

  Attributes:
    lower: NCE + mean log max_z probs[i, z], the lower bound of the paper's
      Property 2.
    leep: the score.
    head: mean log-likelihood of a re-trained head (Property 1), or None. LEEP
      is never above that of the best head of a family that contains the EEP. A
      head whose training stopped early may be below LEEP.
    proven: the lower bound with LEEP's own P(y given z) in place of NCE's, at
      each example's most probable source label z. LEEP is never below it.

  Example:
    >>> from leep_jax.scores import leep
    >>> bounds = leep.LeepBounds(lower=-0.4, leep=-0.5, head=-0.3, proven=-0.7)
    >>> bounds.proven <= bounds.leep <= bounds.head
    True
  """

  lower: float
  leep: float
  head: float | None
  proven: float


def leep_bounds(
  probs: npt.ArrayLike,
  labels: npt.ArrayLike,
  *,
  num_classes: int | None = None,
  head_probs: npt.ArrayLike | None = None,
) -> LeepBounds:
  """Returns LEEP with its lower bounds and the log-likelihood of a head.

  The paper's proof of Property 2 uses LEEP's P(y given z) for that of NCE. NCE
  counts P(y given z) from hard labels, which makes the bound larger. LEEP is
  usually above that bound, but need not be; it is never below `proven`.

  Args:
    probs: `[n, Z]`, the source model's probabilities.
    labels: `[n]`, target labels from 0.
    num_classes: Y; by default the largest label plus 1.
    head_probs: `[n, Y]`, the distributions over target labels that a
      re-trained head gives the same examples, or None.

  Raises:
    InputError: as `leep`; or if rows of `head_probs` are not distributions or
      lack a class.
    UndefinedScore: if the head gives a true label probability 0.

  Reference: Nguyen et al., ICML 2020, properties 1 and 2.

  Example:
    >>> import leep_jax
    >>> probs = [[0.9, 0.1], [0.7, 0.3], [0.1, 0.9], [0.2, 0.8]]
    >>> head = [[0.95, 0.05], [0.9, 0.1], [0.1, 0.9], [0.1, 0.9]]
    >>> bounds = leep_jax.leep_bounds(probs, [0, 0, 1, 1], head_probs=head)
    >>> print(f"{bounds.proven:.3f} <= {bounds.leep:.3f} <= {bounds.head:.3f}")
    -0.389 <= -0.343 <= -0.092
  """
  outputs = _outputs(probs, labels, num_classes)
  # One pass for both; the sums are cached for the calls below.
  outputs.sum_all((statistics.joint, statistics.dummy_label_counts))
  counts = outputs.sum(statistics.dummy_label_counts)
  table = conditional_distribution(outputs.sum(statistics.joint))
  used = counts > 0  # elsewhere the logarithm may be of 0
  largest = float(outputs.sum(statistics.log_largest)) / len(outputs)
  hard = float(np.sum(counts[used] * np.log(table[used]))) / len(outputs)
  head = None
  if head_probs is not None:
    # Heads give distributions over target labels, which are checked like the
    # source's over source labels.
    given = _outputs(head_probs, labels, num_classes)
    classes = given.num_source_classes or 0
    if classes <= outputs.labels.max():
      raise validation.InputError(
        f"head_probs has {classes} columns, but labels contain "
        f"{outputs.labels.max()}"
      )
    given.sum(statistics.probs_faults)  # raises if rows are not distributions
    rows = np.asarray(given.probs).astype(np.float64)
    # Checked rows sum to 1 only within a tolerance.
    rows = rows / rows.sum(axis=1, keepdims=True)
    chosen = rows[np.arange(len(given)), given.labels]
    if not np.all(chosen > 0):
      raise validation.UndefinedScore(
        f"head_probs give {np.sum(~(chosen > 0))} true labels probability 0: "
        "the log-likelihood is minus infinity"
      )
    head = float(np.log(chosen).mean())
  return LeepBounds(
    lower=nce.negative_conditional_entropy(counts) + largest,
    leep=jackknife.value(leep_parts(outputs)),
    head=head,
    proven=hard + largest,
  )


def conditional_distribution(joint: np.ndarray) -> np.ndarray:
  """Returns P(y given z) of a joint mass `[..., Y, Z]`; columns sum to 1.

  A source label z without mass gets the distribution of the target labels. It
  has no influence on the data that were counted; on other data, the EEP remains
  a distribution.

  Example:
    >>> import numpy as np
    >>> from leep_jax.scores import leep
    >>> joint = np.array([[3.0, 0.0, 0.0], [1.0, 4.0, 0.0]])
    >>> print(leep.conditional_distribution(joint))
    [[0.75  0.    0.375]
     [0.25  1.    0.625]]
  """
  mass = joint.sum(axis=-2, keepdims=True)
  # Division by 1 where the quotient is not used: 0 / 0 would warn.
  total = joint.sum(axis=(-2, -1), keepdims=True)
  prior = joint.sum(axis=-1, keepdims=True) / total
  return np.where(mass > 0, joint / np.where(mass > 0, mass, 1), prior)


@dataclasses.dataclass(frozen=True)
class EEP:
  """The Expected Empirical Predictor: a classifier of target labels.

  Attributes:
    conditional: `[Y, Z]` float64, P(y given z).

  Reference: Nguyen et al., ICML 2020, section 2.

  Example:
    The source tells animals from vehicles; the target labels are 0 for cats and
    1 for cars. The EEP is counted on four labelled examples and then used on
    new ones, without any training.

    >>> import leep_jax
    >>> probs = [[0.9, 0.1], [0.8, 0.2], [0.1, 0.9], [0.2, 0.8]]
    >>> eep = leep_jax.EEP.fit(probs, [0, 0, 1, 1])
    >>> print(eep.conditional)
    [[0.85 0.15]
     [0.15 0.85]]
    >>> new = [[1.0, 0.0], [0.3, 0.7]]
    >>> print(eep.predict_proba(new))
    [[0.85 0.15]
     [0.36 0.64]]
    >>> print(eep.predict(new))
    [0 1]

    LEEP is its mean log-likelihood on the examples that it was counted on:

    >>> import numpy as np
    >>> likelihood = eep.predict_proba(probs)[range(4), [0, 0, 1, 1]]
    >>> f"{np.log(likelihood).mean():.4f}"
    '-0.2955'
    >>> f"{leep_jax.leep(probs, [0, 0, 1, 1]):.4f}"
    '-0.2955'
  """

  conditional: np.ndarray

  @classmethod
  def fit(
    cls,
    probs: npt.ArrayLike,
    labels: npt.ArrayLike,
    *,
    num_classes: int | None = None,
  ) -> "EEP":
    """Returns the EEP with P(y given z) counted on labelled target data.

    Args:
      probs: `[n, Z]`, the source model's probabilities.
      labels: `[n]`, target labels from 0.
      num_classes: Y; by default the largest label plus 1.

    Raises:
      InputError: as `leep`.
    """
    outputs = _outputs(probs, labels, num_classes)
    present = conditional_distribution(outputs.sum(statistics.joint))
    # Sums are over the classes that occur: others have probability 0.
    conditional = np.zeros((outputs.num_classes, present.shape[1]))
    conditional[outputs.classes] = present
    return cls(conditional)

  def predict_proba(self, probs: npt.ArrayLike) -> np.ndarray:
    """Returns distributions over target labels, `[m, Y]` float32.

    Args:
      probs: `[m, Z]`, the source model's probabilities of other examples.

    Raises:
      InputError: if Z differs from the fit, or rows are not distributions.
    """
    probs = validation.as_array("probs", probs)
    if probs.ndim != 2 or not len(probs):
      raise validation.InputError(f"probs have shape {probs.shape}, not [m, Z]")
    # `Outputs` checks and reads the rows; the labels are not used.
    outputs = _outputs(probs, np.zeros(len(probs), np.int32), 1)
    if outputs.num_source_classes != self.conditional.shape[1]:
      raise validation.InputError(
        f"probs have {outputs.num_source_classes} source classes, but the EEP "
        f"was fitted to {self.conditional.shape[1]}"
      )
    return outputs.map(
      "probs", statistics.predictive, self.conditional.astype(np.float32)
    ).array("probs")

  def predict(self, probs: npt.ArrayLike) -> np.ndarray:
    """Returns the most probable target labels, `[m]`; see `predict_proba`."""
    return self.predict_proba(probs).argmax(axis=1)
