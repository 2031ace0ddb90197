"""LEEP and the accuracy of the same classifier, the EEP.

The Expected Empirical Predictor (EEP) draws a source label z from the source
model's distribution and then a target label from P(y given z), as counted on
the target data. LEEP is its mean log-likelihood there: in nats, at most 0,
higher transfers better.
"""

from collections.abc import Callable
import dataclasses
from typing import Any

import numpy as np

from leep_jax import checks, jackknife, outputs as outputs_lib, statistics
from leep_jax.scores import nce


def leep(probs: Any, labels: Any, *, num_classes: int | None = None) -> float:
  """Log Expected Empirical Prediction, in nats; at most 0.

  LEEP = 1/n sum_i log sum_z P(y_i given z) probs[i, z], with P(y, z) = 1/n
  sum over i with y_i = y of probs[i, z].

  A source label that no example gives mass counts as 0, and so does a target
  class that never occurs. One class alone gives 0. Published code gives NaN for
  such a source label, and some leaves out the logarithm.

  Args:
    probs: `[n, Z]`, the source model's probabilities. Rows are scaled to sum
      to exactly 1, so rounding (also to half precision) is not signal.
    labels: `[n]`, target labels from 0.
    num_classes: Y; by default the largest label plus 1. LEEP does not depend
      on it.

  Raises:
    InputError: if there are no examples, lengths differ, labels are not
      integers in 0..Y-1, or rows of `probs` are not distributions.

  Reference: Nguyen, Hassner, Archambeau & Seeger, "LEEP: A New Measure to
  Evaluate Transferability of Learned Representations", ICML 2020, equation 2.
  """
  return jackknife.value(leep_parts(_outputs(probs, labels, num_classes)))


def eep_accuracy(
  probs: Any, labels: Any, *, num_classes: int | None = None
) -> float:
  """Accuracy of the EEP on the data that it was counted on; in [0, 1].

  The share of examples whose label maximises sum_z P(y given z) probs[i, z];
  the first of several maxima is the prediction. Its standard error keeps the
  table of all examples, so it is too small where few examples decide that.

  Args:
    probs: `[n, Z]`, the source model's probabilities.
    labels: `[n]`, target labels from 0.
    num_classes: Y; by default the largest label plus 1.

  Raises:
    InputError: as `leep`.

  Reference: Nguyen et al., ICML 2020, section 2 (the classifier).
  """
  return jackknife.value(
    eep_accuracy_parts(_outputs(probs, labels, num_classes))
  )


def _outputs(probs, labels, num_classes):
  return outputs_lib.Outputs.from_arrays(
    probs=probs, labels=labels, num_classes=num_classes
  )


def leep_parts(outputs: outputs_lib.Outputs) -> jackknife.Parts:
  """`leep` as a function of sums."""
  return parts_of(
    outputs,
    joint=statistics.joint,
    log_likelihood=statistics.log_likelihood,
    responsibilities=statistics.responsibilities,
  )


def parts_of(
  outputs: outputs_lib.Outputs,
  *arguments: Any,
  joint: Callable[..., Any],
  log_likelihood: Callable[..., Any],
  responsibilities: Callable[..., Any],
) -> jackknife.Parts:
  """LEEP as a function of sums, of whatever distributions statistics see.

  Without a group of examples the table P(y given z) is another one. The sums
  for that are at hand; the log-likelihood under it is expanded to first order
  about the table of all examples, so that no third look is needed.

  Args:
    outputs: kept outputs.
    *arguments: what the statistics take first after the batch.
    joint: as `statistics.joint`.
    log_likelihood: as `statistics.log_likelihood`.
    responsibilities: as `statistics.responsibilities`.
  """
  joints = outputs.group_sums(joint, *arguments)
  sizes = outputs.group_counts.sum(axis=1)
  table = conditional_distribution(joints.sum(axis=0))
  look = (*arguments, table.astype(np.float32))
  if outputs.groups == 1:
    total = outputs.group_sums(log_likelihood, *look)
    return jackknife.Parts.by_group(
      lambda sums: min(float(sums["log"] / sums["size"]), 0.0),
      {"log": total, "size": sizes},
    )
  looked = outputs.group_sums(responsibilities, *look)
  used = table > 0

  def finalise(sums):
    mass = sums["joint"].sum(axis=0)
    # What examples counted before is gone, but for rounding.
    left = np.where(mass > 1e-9 * sums["size"], mass, np.inf)
    now = np.maximum(sums["joint"], 0) / left
    change = now[used] / table[used] - 1
    gain = np.sum(sums["parts"][used] * change)
    return min(float((sums["log"] + gain) / sums["size"]), 0.0)

  return jackknife.Parts.by_group(
    finalise,
    {
      "joint": joints,
      "size": sizes,
      "log": looked["log_likelihood"],
      "parts": looked["parts"],
    },
  )


def eep_accuracy_parts(outputs: outputs_lib.Outputs) -> jackknife.Parts:
  """`eep_accuracy` as a function of sums; the table is that of all examples."""
  table = conditional_distribution(outputs.sum(statistics.joint))
  right = outputs.group_sums(statistics.correct, table.astype(np.float32))
  sizes = outputs.group_counts.sum(axis=1)
  return jackknife.Parts.by_group(
    lambda sums: float(sums["right"] / sums["size"]),
    {"right": right, "size": sizes},
  )


@dataclasses.dataclass(frozen=True)
class LeepBounds:
  """LEEP between its bounds, in nats.

  Attributes:
    lower: NCE + mean log max_z theta[z], the bound of the paper's Property 2.
    leep: the score.
    head: mean log-likelihood of a re-trained head, or None (Property 1). LEEP
      is never above that of the best head in a family that contains the EEP; a
      head that stopped short of it may be below.
    proven: the lower bound with LEEP's own P(y given z) in NCE, at each
      example's most probable source label z: LEEP is never below it.
  """

  lower: float
  leep: float
  head: float | None
  proven: float


def leep_bounds(
  probs: Any,
  labels: Any,
  *,
  num_classes: int | None = None,
  head_probs: Any = None,
) -> LeepBounds:
  """LEEP with its lower bound, and the head re-training that it predicts.

  The proof of Property 2 takes NCE's P(y given z) to be that of LEEP. Counted
  from hard labels, as NCE has it, the bound is the larger: it usually holds,
  but LEEP can be below it, and is never below `proven`.

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
  """
  outputs = _outputs(probs, labels, num_classes)
  outputs.sum_all((statistics.joint, statistics.dummy_label_counts))
  counts = outputs.sum(statistics.dummy_label_counts)
  table = conditional_distribution(outputs.sum(statistics.joint))
  some = counts > 0
  largest = float(outputs.sum(statistics.log_largest)) / len(outputs)
  hard = float(np.sum(counts[some] * np.log(table[some]))) / len(outputs)
  head = None
  if head_probs is not None:
    given = _outputs(head_probs, labels, num_classes)
    classes = given.num_source_classes or 0
    if classes <= outputs.labels.max():
      raise checks.InputError(
        f"head_probs has {classes} columns, but labels contain "
        f"{outputs.labels.max()}"
      )
    given.sum(statistics.probs_faults)
    rows = np.asarray(given.probs).astype(np.float64)
    rows = rows / rows.sum(axis=1, keepdims=True)
    chosen = rows[np.arange(len(given)), given.labels]
    if not np.all(chosen > 0):
      raise checks.UndefinedScore(
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
  """P(y given z) of a joint mass `[Y, Z]`; every column sums to 1.

  A source label without mass gets the distribution of the target labels: it
  has no weight on the data that were counted, and on others the EEP then
  remains a distribution.
  """
  mass = joint.sum(axis=0)
  prior = joint.sum(axis=1, keepdims=True) / joint.sum()
  return np.where(mass > 0, joint / np.where(mass > 0, mass, 1), prior)


@dataclasses.dataclass(frozen=True)
class EEP:
  """The Expected Empirical Predictor: a classifier of target labels.

  Attributes:
    conditional: `[Y, Z]` float64, P(y given z).

  Reference: Nguyen et al., ICML 2020, section 2.
  """

  conditional: np.ndarray

  @classmethod
  def fit(
    cls, probs: Any, labels: Any, *, num_classes: int | None = None
  ) -> "EEP":
    """Counts P(y given z) on labelled target data.

    Args:
      probs: `[n, Z]`, the source model's probabilities.
      labels: `[n]`, target labels from 0.
      num_classes: Y; by default the largest label plus 1.

    Raises:
      InputError: as `leep`.
    """
    outputs = _outputs(probs, labels, num_classes)
    present = conditional_distribution(outputs.sum(statistics.joint))
    conditional = np.zeros((outputs.num_classes, present.shape[1]))
    conditional[outputs.classes] = present
    return cls(conditional)

  def predict_proba(self, probs: Any) -> np.ndarray:
    """Returns distributions over target labels, `[m, Y]` float32.

    Args:
      probs: `[m, Z]`, the source model's probabilities of other examples.

    Raises:
      InputError: if Z differs from the fit, or rows are not distributions.
    """
    probs = checks.as_array("probs", probs)
    if probs.ndim != 2 or not len(probs):
      raise checks.InputError(f"probs have shape {probs.shape}, not [m, Z]")
    outputs = _outputs(probs, np.zeros(len(probs), np.int32), 1)
    if outputs.num_source_classes != self.conditional.shape[1]:
      raise checks.InputError(
        f"probs have {outputs.num_source_classes} source classes, but the EEP "
        f"was fitted to {self.conditional.shape[1]}"
      )
    return outputs.map(
      "probs", statistics.predictive, self.conditional.astype(np.float32)
    ).array("probs")

  def predict(self, probs: Any) -> np.ndarray:
    """Returns the most probable target labels, `[m]`; see `predict_proba`."""
    return self.predict_proba(probs).argmax(axis=1)
