"""What a new head will predict for each example, held out.

The predictions are those of `ridge.py`, by a head that was fitted to all other
examples, with two steps that make them those of a trained head. Leaving out an
example lowers the share of its own class, which with few examples would count
against that class; predictions are moved back to the class shares of all
examples. And probabilities are a softmax of beta times the predictions, where
beta has the smallest log loss on the other examples. Of examples in clusters,
whole clusters are left out.

Symbols: n examples, Y target classes that occur.
"""

import dataclasses
import functools

import numpy as np

from leep_jax import validation
from leep_jax.engine import outputs as outputs_lib
from leep_jax.scores import held_out_clusters, ridge

# Beta is fitted to so many predictions, or to those of so many examples if they
# have more: others would not change two digits.
_MOST = 1 << 20
_MOST_EXAMPLES = 1 << 12
_LARGEST_BETA = 50.0
# One Newton step gives the beta without an example if it is shorter than this
# share of beta.
_SHORT_STEP = 0.05
_NEWTON_STEPS = 50
# Differences of predictions that may be rounding, which must not decide.
_ROUNDING = 1e-6
# Examples whose predictions are float64 at a time.
_ROWS = 1 << 14


@dataclasses.dataclass(frozen=True, eq=False)
class Judged:
  """What scores read of the predictions, of all examples.

  Attributes:
    predicted: `[n]`, labels.
    log_likelihood: `[n]`, of the true labels.
    betas: `[n]`, each fitted to the other examples.

  Example:
    >>> import numpy as np
    >>> from leep_jax.scores import head_predictions
    >>> found = head_predictions.Judged(
    ...   np.array([0, 1]), np.array([-0.1, -0.2]), np.array([5.0, 4.0]))
    >>> found.betas.tolist()
    [5.0, 4.0]
  """

  predicted: np.ndarray
  log_likelihood: np.ndarray
  betas: np.ndarray


def judged(outputs: outputs_lib.Outputs) -> Judged:
  """Returns the predicted labels and likelihoods of all examples; cached.

  Args:
    outputs: with features and labels.

  Raises:
    InputError: if features are not finite.
    UndefinedScore: if there is only one example.

  Example:
    >>> import leep_jax
    >>> from leep_jax.scores import head_predictions
    >>> outputs = leep_jax.Outputs.from_arrays(
    ...   features=[[0.0], [0.1], [1.0], [1.1]], labels=[3, 3, 5, 5])
    >>> head_predictions.judged(outputs).predicted.tolist()
    [3, 3, 5, 5]
  """
  return outputs.ungrouped.cached(_judge)


def _judge(outputs):
  betas = _betas(outputs)
  predicted, logs = [], []
  for rows, scores in _predictions(outputs):
    # The first of equal predictions, as where the features say nothing.
    largest = scores.max(axis=1, keepdims=True)
    predicted.append((scores >= largest - _ROUNDING).argmax(axis=1))
    each = _log_softmax(betas[rows][:, None] * scores)
    logs.append(each[np.arange(len(rows)), outputs.codes[rows]])
  return Judged(
    outputs.classes[outputs.gathered(np.concatenate(predicted))],
    outputs.gathered(np.concatenate(logs)),
    betas,
  )


def _predictions(outputs):
  """Yields positions `[m]` and predictions `[m, Y]` of this host's examples.

  Of classes that occur; moved to the class shares of all examples.
  """
  n, found = len(outputs), ridge.held_out(outputs).predictions
  shares = outputs.class_counts / n
  shifts = held_out_clusters.Shifts(outputs.clusters, outputs.codes, shares)
  for start in range(0, len(found), _ROWS):
    scores = found[start : start + _ROWS].astype(np.float64)
    rows = outputs.share.start + start + np.arange(len(scores))
    yield rows, scores + shifts.of(rows)


def _betas(outputs):
  """The beta of each example, fitted to the others, `[n]`."""
  n = len(outputs)
  used = _some(n, max(_MOST // len(outputs.classes), _MOST_EXAMPLES))
  parts = [(r[used[r]], x[used[r]]) for r, x in _predictions(outputs)]
  rows = outputs.gathered(np.concatenate([rows for rows, _ in parts]))
  scores = outputs.gathered(np.concatenate([scores for _, scores in parts]))
  codes = outputs.codes[rows]
  best = _best_beta(scores, codes)
  betas = np.full(n, best)
  betas[rows] = _without_each(best, scores, codes)
  return betas


def _some(n, most):
  """Marks about `most` of n examples, whatever the order of their labels."""
  hashes = np.arange(n, dtype=np.uint64) * 2654435761 % 2**32
  return hashes * n < most * 2**32


def _without_each(best, scores, codes):
  """The best betas without each example `[m]`, by one Newton step if short."""
  slopes, curvatures = _derivatives(best, scores, codes)
  slope = slopes.sum() - slopes
  curvature = curvatures.sum() - curvatures
  flat = curvature <= np.finfo(np.float64).eps * curvatures.sum()
  step = slope / np.where(flat, 1, curvature)
  betas = np.where(flat, best, np.clip(best - step, 0, _LARGEST_BETA))
  for i in np.flatnonzero(np.abs(betas - best) > _SHORT_STEP * best):
    others = np.arange(len(codes)) != i
    betas[i] = _best_beta(scores[others], codes[others], start=betas[i])
  return betas


def _best_beta(scores, codes, *, start=1.0):
  """The beta in [0, _LARGEST_BETA] with the smallest log loss, by Newton."""

  def derivatives(beta):
    return (x.sum() for x in _derivatives(beta, scores, codes))

  low, high, beta = 0.0, _LARGEST_BETA, start
  if next(derivatives(high)) <= 0:
    return high
  for _ in range(_NEWTON_STEPS):
    slope, curvature = derivatives(beta)
    # The log loss is convex in beta: the slope tells on which side it is.
    if slope > 0:
      high = beta
    else:
      low = beta
    new = beta - slope / curvature if curvature > 0 else high
    if not low < new < high:
      new = (low + high) / 2
    if abs(new - beta) < 1e-9 * (1 + beta):
      return new
    beta = new
  return beta


def _derivatives(beta, scores, codes):
  """The first two of the log loss of each example by beta, `[m]` each."""
  probs = np.exp(_log_softmax(beta * scores))
  mean = (probs * scores).sum(axis=1)
  slopes = mean - scores[np.arange(len(codes)), codes]
  return slopes, (probs * (scores - mean[:, None]) ** 2).sum(axis=1)


def _log_softmax(values):
  import scipy.special

  return scipy.special.log_softmax(values, axis=1)


def confusion_matrix(
  labels: np.ndarray, predicted: np.ndarray, classes: np.ndarray
) -> np.ndarray:
  """Counts examples by true (row) and predicted (column) class, `[Y, Y]`.

  Args:
    labels: `[n]`.
    predicted: `[n]`.
    classes: `[Y]`, the labels of the rows and columns, ascending.

  Example:
    >>> import numpy as np
    >>> from leep_jax.scores import head_predictions
    >>> head_predictions.confusion_matrix(
    ...   np.array([3, 3, 5]), np.array([3, 5, 5]), np.array([3, 5])).tolist()
    [[1, 1], [0, 1]]
  """
  found = np.zeros((len(classes), len(classes)), np.int64)
  at = np.searchsorted(classes, labels), np.searchsorted(classes, predicted)
  np.add.at(found, at, 1)
  return found


@dataclasses.dataclass(frozen=True, eq=False)
class ProbePredictions:
  """What a new head will predict for each example, before any training.

  Attributes:
    labels: `[n]`, the target labels.
    classes: `[Y]`, the labels that occur: the columns of `probabilities`.
    probabilities: `[n, Y]`, of the head that was fitted to all other examples.
    predicted: `[n]`, the most probable labels.

  Example:
    >>> import leep_jax
    >>> outputs = leep_jax.Outputs.from_arrays(
    ...   features=[[0.0], [0.1], [0.2], [1.0], [1.1], [0.05]],
    ...   labels=[0, 0, 0, 1, 1, 1])
    >>> found = leep_jax.probe_predictions(outputs)
    >>> found.confusion.tolist(), found.recall.round(2).tolist()
    ([[3, 0], [1, 2]], [1.0, 0.67])
    >>> found.surprising(count=1).tolist()  # its label may be wrong
    [5]
  """

  labels: np.ndarray
  classes: np.ndarray
  probabilities: np.ndarray
  predicted: np.ndarray

  @functools.cached_property
  def codes(self) -> np.ndarray:
    """`[n]`, the index in `classes` of each label."""
    return np.searchsorted(self.classes, self.labels)

  @functools.cached_property
  def confusion(self) -> np.ndarray:
    """`[Y, Y]`, counts by true (row) and predicted (column) class."""
    return confusion_matrix(self.labels, self.predicted, self.classes)

  @property
  def recall(self) -> np.ndarray:
    """`[Y]`, the expected share of each class that is predicted correctly."""
    return np.diag(self.confusion) / self.confusion.sum(axis=1)

  @property
  def surprise(self) -> np.ndarray:
    """`[n]`, minus the log probability of the label, in nats."""
    true = self.probabilities[np.arange(len(self.labels)), self.codes]
    # A probability may be 0 in float32.
    return -np.log(np.maximum(true, np.finfo(np.float32).tiny))

  def surprising(self, *, count: int = 10) -> np.ndarray:
    """Returns the examples whose labels are least expected, in this order.

    Args:
      count: how many; fewer if there are fewer that are predicted wrongly.
    """
    wrong = np.flatnonzero(self.predicted != self.labels)
    order = np.argsort(-self.surprise[wrong], kind="stable")
    return wrong[order][:count]


def probe_predictions(outputs: outputs_lib.Outputs) -> ProbePredictions:
  """Returns the held-out predictions behind `probe_accuracy`.

  Args:
    outputs: with features and labels, from `compute_outputs` or
      `Outputs.from_arrays`.

  Raises:
    InputError: if there are no features or labels, or features are not finite.
    UndefinedScore: if there is only one example.

  Example:
    >>> import leep_jax
    >>> outputs = leep_jax.Outputs.from_arrays(
    ...   features=[[0.0], [0.1], [1.0], [1.1]], labels=[0, 0, 1, 1])
    >>> leep_jax.probe_predictions(outputs).predicted.tolist()
    [0, 0, 1, 1]
  """
  for field in ("features", "labels"):
    if not outputs.has(field):
      raise validation.InputError(
        f"{outputs.name} has no {field}, which predictions need"
      )
  found = judged(outputs)
  blocks = [
    np.exp(_log_softmax(found.betas[rows][:, None] * each))
    for rows, each in _predictions(outputs)
  ]
  probabilities = np.concatenate(blocks).astype(np.float32)
  return ProbePredictions(
    outputs.labels,
    outputs.classes,
    outputs.gathered(probabilities),
    found.predicted,
  )
