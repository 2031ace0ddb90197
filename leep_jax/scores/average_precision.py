"""The ridge probe of sets of labels: mean average precision, held out.

Symbols: n examples, T labels, D features.
"""

import numpy as np
import numpy.typing as npt

from leep_jax.engine import outputs as outputs_lib
from leep_jax.scores import (
  held_out_clusters,
  label_sets,
  per_example,
  ridge,
)

# Of predictions, which are near 0 and 1 and have the digits of float32.
_DIGITS = 6


def probe_map(features: npt.ArrayLike, multi_labels: npt.ArrayLike) -> float:
  """Expected mean average precision (mAP) of a new linear head; 0 to 1.

  The labels are regressed on the standardised features as by `probe_accuracy`,
  with one penalty for all, and each example is predicted by the fit to all
  others, at the shares of labels of all examples. For each label, the average
  precision (AP) of these predictions is the mean, over the examples that have
  it, of the share of such examples among those with at least their prediction.
  The score is the mean of AP over labels; those that never or always occur do
  not count. AP of a source that knows nothing is about the label's share.

  The standard error follows from the derivative of AP by the weight of each
  example; it is too small for labels of a few examples.

  Args:
    features: `[n, D]`, the source model's penultimate features.
    multi_labels: `[n, T]` of 0 and 1, the labels that each example has.

  Raises:
    InputError: if there are no examples, lengths differ, labels are not 0 or 1,
      or features are not finite.
    UndefinedScore: if there is only one example, or every label never or always
      occurs.

  Reference: Everingham, Van Gool, Williams, Winn & Zisserman, "The PASCAL
  Visual Object Classes (VOC) Challenge", IJCV 2010, section 4.2 (AP, here
  without interpolation); Allen, Technometrics 1974 (held-out predictions).

  Example:
    The feature tells who has the first label, and nothing of the second.

    >>> import leep_jax
    >>> features = [[0], [1], [2], [5], [6], [7]]
    >>> labels = [[0, 1], [0, 0], [0, 1], [1, 0], [1, 1], [1, 0]]
    >>> round(leep_jax.probe_map(features, [[a] for a, _ in labels]), 2)
    1.0
    >>> round(leep_jax.probe_map(features, labels), 2)
    0.78
  """
  return map_parts(
    outputs_lib.Outputs.from_arrays(
      features=features, multi_labels=multi_labels
    )
  ).value


def map_parts(outputs: outputs_lib.Outputs) -> per_example.PerExample:
  """Returns `probe_map` as a mean over examples.

  Args:
    outputs: with features and sets of labels.

  Raises:
    InputError: as `probe_map`.
    UndefinedScore: as `probe_map`.

  Example:
    >>> import leep_jax
    >>> from leep_jax.scores import average_precision
    >>> outputs = leep_jax.Outputs.from_arrays(
    ...   features=[[0.0], [0.1], [1.0], [1.1]],
    ...   multi_labels=[[0], [0], [1], [1]])
    >>> average_precision.map_parts(outputs).value
    1.0
  """
  kept = np.flatnonzero(label_sets.varying(outputs))
  n, targets = len(outputs), np.asarray(outputs.targets)
  predictions = outputs.gathered(ridge.held_out(outputs).predictions)
  values, derivative = [], np.zeros(n)
  for t in kept:
    there = targets[:, t] > 0
    # The intercept without an example is lower if it has the label: at the
    # share of all examples instead, it does not tell who has it.
    moved = predictions[:, t].astype(np.float64)
    moved += held_out_clusters.mean_shift(there, outputs.clusters)
    # Rounding must not rank equal predictions.
    value, change = average_precision(moved.round(_DIGITS), there)
    values.append(value)
    derivative += change / len(kept)
  value = float(np.mean(values))
  # All is right: no derivative, but no certainty either.
  if value == 1:
    return per_example.PerExample.mean(np.ones(n))
  return per_example.PerExample(value, value + n * derivative)


def average_precision(
  predictions: np.ndarray, there: np.ndarray
) -> tuple[float, np.ndarray]:
  """Returns the average precision, and its derivative by examples' weights.

  Args:
    predictions: `[n]`, higher for examples that rather have the label.
    there: `[n]` booleans, those that have it; at least one.

  Returns:
    The value, and `[n]`. Equal predictions have one rank.

  Example:
    >>> import numpy as np
    >>> from leep_jax.scores import average_precision
    >>> value, change = average_precision.average_precision(
    ...   np.array([0.9, 0.8, 0.7]), np.array([True, False, True]))
    >>> round(value, 4), change.round(4).tolist()  # (1 + 2 / 3) / 2
    (0.8333, [0.1389, -0.1111, -0.0278])
  """
  order = np.argsort(-predictions, kind="stable")
  ranked, hit = predictions[order], there[order].astype(np.float64)
  ends = np.flatnonzero(np.append(ranked[1:] != ranked[:-1], True))
  rank = np.repeat(np.arange(len(ends)), np.diff(ends, prepend=-1))
  # Of each example, those with at least its prediction: all, and those with it.
  seen = (ends + 1)[rank]
  precision = np.cumsum(hit)[ends][rank] / seen
  total = hit.sum()
  value = hit @ precision / total
  # An example counts in the precision of itself and of all below it.
  starts = np.append(0, ends[:-1] + 1)[rank]

  def below(each):
    return np.cumsum(each[::-1])[::-1][starts]

  change = np.empty(len(hit))
  change[order] = (
    hit * (precision - value + below(hit / seen))
    - below(hit * precision / seen)
  ) / total
  return float(value), change
