"""LEEP and the accuracy of the same classifier, the EEP.

The Expected Empirical Predictor (EEP) draws a source label z from the source
model's distribution and then a target label from P(y given z), as counted on
the target data. LEEP is its mean log-likelihood there: in nats, at most 0,
higher transfers better.
"""

import dataclasses
from typing import Any

import numpy as np

from leep_jax import checks, outputs as outputs_lib, statistics


def leep(probs: Any, labels: Any, *, num_classes: int | None = None) -> float:
  """Log Expected Empirical Prediction, in nats; at most 0.

  LEEP = 1/n sum_i log sum_z P(y_i given z) probs[i, z], with P(y, z) = 1/n
  sum over i with y_i = y of probs[i, z].

  A source label that no example gives mass counts as 0, and so does a target
  class that never occurs. One class alone gives 0.

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
  return leep_of(_outputs(probs, labels, num_classes))


def eep_accuracy(
  probs: Any, labels: Any, *, num_classes: int | None = None
) -> float:
  """Accuracy of the EEP on the data that it was counted on; in [0, 1].

  The share of examples whose label maximises sum_z P(y given z) probs[i, z];
  the first of several maxima is the prediction.

  Args:
    probs: `[n, Z]`, the source model's probabilities.
    labels: `[n]`, target labels from 0.
    num_classes: Y; by default the largest label plus 1.

  Raises:
    InputError: as `leep`.

  Reference: Nguyen et al., ICML 2020, section 2 (the classifier).
  """
  return eep_accuracy_of(_outputs(probs, labels, num_classes))


def _outputs(probs, labels, num_classes):
  return outputs_lib.Outputs.from_arrays(
    probs=probs, labels=labels, num_classes=num_classes
  )


def leep_of(outputs: outputs_lib.Outputs) -> float:
  """`leep` of kept outputs."""
  conditional = conditional_distribution(outputs.sum(statistics.joint))
  total = outputs.sum(statistics.log_likelihood, conditional.astype(np.float32))
  return min(float(total) / len(outputs), 0.0)


def eep_accuracy_of(outputs: outputs_lib.Outputs) -> float:
  """`eep_accuracy` of kept outputs."""
  conditional = conditional_distribution(outputs.sum(statistics.joint))
  total = outputs.sum(statistics.correct, conditional.astype(np.float32))
  return float(total) / len(outputs)


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
    return outputs.map_probs(
      statistics.predictive, self.conditional.astype(np.float32)
    )

  def predict(self, probs: Any) -> np.ndarray:
    """Returns the most probable target labels, `[m]`; see `predict_proba`."""
    return self.predict_proba(probs).argmax(axis=1)
