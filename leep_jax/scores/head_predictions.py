"""What a new head will predict for each example, held out.

The predictions are those of `ridge.py`, by a head that was fitted to all other
examples, with two steps that make them those of a trained head. Leaving out an
example lowers the share of its own class, which with few examples would count
against that class; predictions are moved back to the class shares of all
examples. And probabilities are a softmax of beta times the predictions, where
beta has the smallest log loss on the examples of other folds.

Symbols: n examples, Y target classes that occur.
"""

import dataclasses
import functools

import numpy as np

from leep_jax import validation
from leep_jax.engine import outputs as outputs_lib
from leep_jax.scores import ridge

# Folds of examples, each of which has a beta from the others.
_FOLDS = 5
# Examples that beta is fitted to, at most: more would not change two digits.
_MOST = 1 << 15
# No prediction of a probability is more certain than exp(-_MOST_CERTAIN).
_MOST_CERTAIN = 50.0
_NEWTON_STEPS = 50
# Examples whose predictions are float64 at a time.
_ROWS = 1 << 14


@dataclasses.dataclass(frozen=True, eq=False)
class Judged:
  """What scores read of the predictions, of all examples.

  Attributes:
    predicted: `[n]`, labels.
    log_likelihood: `[n]`, of the true labels.
    betas: `[folds]`; example i is in fold i modulo their number.

  Example:
    >>> import numpy as np
    >>> from leep_jax.scores import head_predictions
    >>> found = head_predictions.Judged(
    ...   np.array([0, 1]), np.array([-0.1, -0.2]), np.array([5.0]))
    >>> found.betas.tolist()
    [5.0]
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
    each = betas[rows % len(betas)][:, None] * scores
    predicted.append(scores.argmax(axis=1))
    logs.append(_log_softmax(each)[np.arange(len(rows)), outputs.codes[rows]])
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
  for start in range(0, len(found), _ROWS):
    scores = found[start : start + _ROWS].astype(np.float64)
    rows = outputs.share.start + start + np.arange(len(scores))
    yield rows, _at_all_shares(scores, outputs.codes[rows], shares, n)


def _at_all_shares(scores, codes, shares, n):
  """Adds the class shares of all examples, minus those of all but one.

  The shares of all but i are (n shares - t_i) / (n - 1) for the one-hot t_i.
  """
  moved = scores - shares / (n - 1)
  moved[np.arange(len(codes)), codes] += 1 / (n - 1)
  # Where the features say nothing, what is left of the differences between
  # classes is rounding to float32, which must not decide.
  return moved.round(6)


def _betas(outputs):
  """The beta of each fold, fitted to the examples of the other folds."""
  n = len(outputs)
  step = -(-n // _MOST)
  some = [
    (rows[rows // _FOLDS % step == 0], scores[rows // _FOLDS % step == 0])
    for rows, scores in _predictions(outputs)
  ]
  rows = outputs.gathered(np.concatenate([rows for rows, _ in some]))
  scores = outputs.gathered(np.concatenate([scores for _, scores in some]))
  folds = min(_FOLDS, n)
  codes = outputs.codes[rows]
  return np.array(
    [
      _best_beta(scores[rows % folds != fold], codes[rows % folds != fold])
      for fold in range(folds)
    ]
  )


def _best_beta(scores, codes):
  """The beta in [0, _MOST_CERTAIN] with the smallest log loss, by Newton."""
  true = scores[np.arange(len(codes)), codes]
  low, high, beta = 0.0, _MOST_CERTAIN, 1.0
  for _ in range(_NEWTON_STEPS):
    probs = np.exp(_log_softmax(beta * scores))
    mean = (probs * scores).sum(axis=1)
    slope = np.sum(mean - true)
    curvature = np.sum((probs * scores**2).sum(axis=1) - mean**2)
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


def _log_softmax(values):
  values = values - values.max(axis=1, keepdims=True)
  return values - np.log(np.exp(values).sum(axis=1, keepdims=True))


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
    >>> found.surprising(1).tolist()  # its label may be wrong
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
    found = np.zeros((len(self.classes), len(self.classes)), np.int64)
    predicted = np.searchsorted(self.classes, self.predicted)
    np.add.at(found, (self.codes, predicted), 1)
    return found

  @property
  def recall(self) -> np.ndarray:
    """`[Y]`, the expected share of each class that is predicted correctly."""
    return np.diag(self.confusion) / self.confusion.sum(axis=1)

  @property
  def surprise(self) -> np.ndarray:
    """`[n]`, minus the log probability of the label, in nats."""
    true = self.probabilities[np.arange(len(self.labels)), self.codes]
    # A probability may be 0 in float32.
    return -np.log(np.maximum(true, np.exp(-_MOST_CERTAIN)))

  def surprising(self, count: int = 10) -> np.ndarray:
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
    np.exp(_log_softmax(found.betas[rows % len(found.betas)][:, None] * each))
    for rows, each in _predictions(outputs)
  ]
  probabilities = np.concatenate(blocks).astype(np.float32)
  return ProbePredictions(
    outputs.labels,
    outputs.classes,
    outputs.gathered(probabilities),
    found.predicted,
  )
