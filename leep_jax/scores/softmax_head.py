"""The optimal softmax head on the features, with a ridge, by Newton's method.

The objective is the mean cross entropy of all examples plus `ridge / 2 ||W||^2`
over the weights W `[Y, D]` of a head with biases. It is convex. A step of
conjugate gradients, and one of Newton's method, is one pass over the outputs:
no Hessian is stored.

Features x = f - mean are read in coordinates of their principal components in
which the Hessian is near the identity, so that few steps suffice. With fewer
examples than features, these span the examples, in whose span the optimum lies.

Symbols: n examples, Y target classes, D features f, K principal components. A
head is `[Y, K + 1]`: a weight for each coordinate, and the bias.
"""

import dataclasses

import jax
import jax.numpy as jnp
import numpy as np

from leep_jax.engine import outputs as outputs_lib, statistics
from leep_jax.engine.batch import Statistic
from leep_jax.scores import moments as moments_lib

# Newton's method ends when no element of the gradient is larger, as a share of
# the objective where that is below 1: classes that are far apart leave hardly
# any loss, and all of the gradient is small. Sums of float32 do not resolve
# much less.
_TOLERANCE = 1e-6
_ITERATIONS = 100
# Products with the Hessian for one system of equations, at most.
_PRODUCTS = 250
# Of a Hessian near the identity, curvature below this is rounding.
_NO_BEND = 1e-7
_PRECISION = jax.lax.Precision.HIGHEST


@dataclasses.dataclass(frozen=True, eq=False)
class Optimum:
  """The optimal head, and what the passes over the outputs need.

  Attributes:
    outputs: with the coordinates as features.
    head: `[Y, K + 1]`, of the coordinates as statistics read them.
    stretch: `[K]`; x has the coordinates times this plus `shift`, on the
      principal axes and in the unit of the features.
    shift: `[K]`.
    ridge: the penalty.

  Example:
    >>> import leep_jax
    >>> from leep_jax.scores import softmax_head
    >>> outputs = leep_jax.Outputs.from_arrays(
    ...   features=[[0.0], [1.0], [2.0], [3.0]], labels=[0, 0, 1, 1])
    >>> found = softmax_head.optimum(outputs, ridge=1.0)
    >>> round(found.squares, 4)
    0.1988
  """

  outputs: outputs_lib.Outputs
  head: np.ndarray
  stretch: np.ndarray
  shift: np.ndarray
  ridge: float

  @property
  def squares(self) -> float:
    """||W||^2, in the unit of the features."""
    return float(np.sum((self.head[:, :-1] / self.stretch) ** 2))

  @property
  def penalties(self) -> np.ndarray:
    """`[K + 1]`, the second derivative of the penalty by a weight."""
    return np.append(self.ridge / self.stretch**2, 0)

  def solve(self, wanted: np.ndarray, *, accuracy: float) -> np.ndarray:
    """Solves H step = wanted, where H is the Hessian of the objective.

    Args:
      wanted: `[Y, K + 1]`.
      accuracy: the largest length of the residual, relative to `wanted`.
    """
    return _solve(self, self.head, wanted, accuracy)


def optimum(outputs: outputs_lib.Outputs, *, ridge: float) -> Optimum:
  """Returns the optimal head of all examples.

  Args:
    outputs: with features and labels.
    ridge: penalty of the squared weights, above 0.

  Raises:
    InputError: if features are not finite.

  Reference: Nocedal & Wright, "Numerical Optimization", 2006, algorithm 7.1.

  Example:
    One example of each class, at 1 and -1, with weights w and -w: each example
    has the loss log(1 + exp(-2 w)), and w is 1 / (1 + exp(2 w)).

    >>> import leep_jax
    >>> from leep_jax.scores import softmax_head
    >>> outputs = leep_jax.Outputs.from_arrays(
    ...   features=[[1.0], [-1.0]], labels=[0, 1])
    >>> found = softmax_head.optimum(outputs, ridge=1.0)
    >>> w = (found.squares / 2) ** 0.5
    >>> import numpy as np
    >>> print(round(w, 4), round(1 / (1 + np.exp(2 * w)), 4))
    0.3374 0.3374
  """
  found = _start(outputs, ridge)
  value, gradient = _objective(found, found.head)
  head = found.head
  for _ in range(_ITERATIONS):
    if np.abs(gradient).max() <= _TOLERANCE * min(value, 1):
      break
    # Far from the optimum, the quadratic is not worth solving exactly.
    length = np.sqrt(np.sum(gradient**2))
    step = _solve(found, head, -gradient, min(0.1, np.sqrt(length)))
    slope, rate = np.sum(gradient * step), 1.0
    while True:
      new_value, new_gradient = _objective(found, head + rate * step)
      # What sums of float32 do not resolve is no increase.
      if new_value <= value + 1e-4 * rate * slope + 1e-6 * abs(value):
        break
      rate /= 2
      if rate < 1e-6:
        return dataclasses.replace(found, head=head)
    head, value, gradient = head + rate * step, new_value, new_gradient
  return dataclasses.replace(found, head=head)


def _start(outputs, ridge) -> Optimum:
  """Coordinates, and a head of zeros."""
  known = moments_lib.principal(outputs)
  classes = len(outputs.classes)
  unit = float(outputs.feature_centre[1])
  axes, variances = known.axes, known.variances * unit**2
  if not len(variances):  # constant features: one coordinate that is 0
    axes, variances = np.zeros((len(axes), 1)), np.ones(1)
  # At a head of zeros, the Hessian has p (1 - p) with p = 1 / Y of the variance
  # of each component.
  curvature = (1 - 1 / classes) / classes * variances + ridge
  factors = 1 / np.sqrt(curvature)
  projected = outputs.with_features(
    outputs.map(
      "features",
      statistics.project,
      known.mean.astype(np.float32),
      (axes * (unit * factors)).astype(np.float32),
    )
  )
  shift, scale = projected.feature_centre
  return Optimum(
    outputs=projected,
    head=np.zeros((classes, len(factors) + 1)),
    stretch=float(scale) / factors,
    shift=shift.astype(np.float64) / factors,
    ridge=ridge,
  )


def _sum(found: Optimum, statistic: Statistic, *arguments):
  rounded = (x.astype(np.float32) for x in arguments)
  return found.outputs.ungrouped.sum(statistic, *rounded)


def _objective(found, head):
  """The objective, and its gradient `[Y, K + 1]`."""
  sums = _sum(found, slopes, head)
  n = len(found.outputs)
  value = sums["loss"] / n + np.sum(found.penalties * head**2) / 2
  return float(value), sums["slope"] / n + found.penalties * head


def _solve(found, head, wanted, accuracy):
  """Conjugate gradients for H step = wanted, at a head."""
  n = len(found.outputs)
  step, residual = np.zeros_like(wanted), _without_shift(wanted)
  direction, square = residual, np.sum(residual**2)
  enough = accuracy**2 * square
  for _ in range(_PRODUCTS):
    if square <= enough:
      break
    product = _sum(found, curvature, head, direction) / n
    product = _without_shift(product + found.penalties * direction)
    bend = np.sum(direction * product)
    if bend <= _NO_BEND * np.sum(direction**2):
      break
    step = step + square / bend * direction
    residual = residual - square / bend * product
    before, square = square, np.sum(residual**2)
    direction = residual + square / before * direction
  return step


def _without_shift(head):
  """A head whose biases add up to 0, as the same bias for all changes nothing.

  Along it the objective has no curvature, and rounding would lead far away.
  """
  head = head.copy()
  head[:, -1] -= head[:, -1].mean()
  return head


def _with_one(batch):
  return jnp.pad(batch.features, ((0, 0), (0, 1)), constant_values=1)


def _logits(rows, head):
  return jnp.matmul(rows, head.T, precision=_PRECISION)


def _pulled(by_logit, rows, batch):
  """The derivative by the head of a sum with derivatives by the logits."""
  by_logit = by_logit * batch.weights[:, None]
  return jnp.matmul(by_logit.T, rows, precision=_PRECISION)


def _losses(logits, batch):
  """The cross entropy of each example `[B]`, and its derivative by logits."""
  logs = jax.nn.log_softmax(logits)
  wanted = jax.nn.one_hot(batch.labels, logits.shape[1])
  losses = -(logs * wanted).sum(axis=1)
  return losses * batch.weights, jnp.exp(logs) - wanted


@statistics.reads("features")
def slopes(batch: statistics.Batch, head: jax.Array) -> dict[str, jax.Array]:
  """The summed cross entropy of a head, and its derivative.

  Args:
    batch: examples with features `[B, K]`.
    head: `[Y, K + 1]`.

  Returns:
    `loss`, and `slope` `[Y, K + 1]`.

  Example:
    >>> import jax.numpy as jnp
    >>> from leep_jax.engine import statistics
    >>> from leep_jax.scores import softmax_head
    >>> batch = statistics.Batch(
    ...   labels=jnp.array([0]), weights=jnp.ones(1), num_classes=2,
    ...   features=jnp.array([[3.0]]))
    >>> sums = softmax_head.slopes(batch, jnp.zeros((2, 2)))
    >>> print(sums["loss"].round(4), sums["slope"].tolist())
    0.6931 [[-1.5, -0.5], [1.5, 0.5]]
  """
  rows = _with_one(batch)
  losses, by_logit = _losses(_logits(rows, head), batch)
  return {
    "loss": statistics.long_sum(losses),
    "slope": _pulled(by_logit, rows, batch),
  }


@statistics.reads("features")
def curvature(
  batch: statistics.Batch, head: jax.Array, step: jax.Array
) -> jax.Array:
  """The derivative of the slope of `slopes` along a step, `[Y, K + 1]`.

  Args:
    batch: examples with features `[B, K]`.
    head: `[Y, K + 1]`.
    step: `[Y, K + 1]`.

  Example:
    >>> import jax.numpy as jnp
    >>> from leep_jax.engine import statistics
    >>> from leep_jax.scores import softmax_head
    >>> batch = statistics.Batch(
    ...   labels=jnp.array([0]), weights=jnp.ones(1), num_classes=2,
    ...   features=jnp.array([[3.0]]))
    >>> step = jnp.array([[1.0, 0.0], [0.0, 0.0]])
    >>> softmax_head.curvature(batch, jnp.zeros((2, 2)), step).tolist()
    [[2.25, 0.75], [-2.25, -0.75]]
  """
  rows = _with_one(batch)
  probs = jax.nn.softmax(_logits(rows, head))
  change = _logits(rows, step)
  change = change - (probs * change).sum(axis=1, keepdims=True)
  return _pulled(probs * change, rows, batch)


def _traces(logits, batch, stretch, shift):
  """|x|^2 and p of examples, whose part of the trace is |x|^2 sum p (1 - p)."""
  x = batch.features * stretch[None] + shift[None]
  return (x**2).sum(axis=1) * batch.weights, jax.nn.softmax(logits)


@statistics.reads("features")
def trace_slopes(
  batch: statistics.Batch,
  head: jax.Array,
  stretch: jax.Array,
  shift: jax.Array,
) -> jax.Array:
  """The derivative by the head of the trace of the Hessian, `[Y, K + 1]`.

  The trace by the weights is the sum of |x|^2 sum_y p_y (1 - p_y).

  Args:
    batch: examples with features `[B, K]`.
    head: `[Y, K + 1]`.
    stretch: `[K]`, see `Optimum`.
    shift: `[K]`, see `Optimum`.

  Example:
    >>> import jax.numpy as jnp
    >>> from leep_jax.engine import statistics
    >>> from leep_jax.scores import softmax_head
    >>> batch = statistics.Batch(
    ...   labels=jnp.array([0]), weights=jnp.ones(1), num_classes=2,
    ...   features=jnp.array([[3.0]]))
    >>> sums = softmax_head.trace_slopes(  # at equal probabilities the largest
    ...   batch, jnp.zeros((2, 2)), jnp.ones(1), jnp.zeros(1))
    >>> sums.tolist()
    [[0.0, 0.0], [0.0, 0.0]]
  """
  rows = _with_one(batch)
  square, probs = _traces(_logits(rows, head), batch, stretch, shift)
  same = (probs**2).sum(axis=1, keepdims=True)
  by_logit = 2 * square[:, None] * probs * (same - probs)
  return _pulled(by_logit, rows, batch)


@statistics.reads("features")
def outcome(
  batch: statistics.Batch,
  head: jax.Array,
  stretch: jax.Array,
  shift: jax.Array,
  step: jax.Array,
) -> dict[str, jax.Array]:
  """Sums at the optimum: cross entropy, trace, and slope along a step.

  Args:
    batch: examples with features `[B, K]`.
    head: `[Y, K + 1]`.
    stretch: `[K]`, see `Optimum`.
    shift: `[K]`, see `Optimum`.
    step: `[Y, K + 1]`.

  Returns:
    Scalars `loss`, `trace`, as in `trace_slopes`, and `along`.

  Example:
    >>> import jax.numpy as jnp
    >>> from leep_jax.engine import statistics
    >>> from leep_jax.scores import softmax_head
    >>> batch = statistics.Batch(
    ...   labels=jnp.array([0]), weights=jnp.ones(1), num_classes=2,
    ...   features=jnp.array([[3.0]]))
    >>> sums = softmax_head.outcome(
    ...   batch, jnp.zeros((2, 2)), jnp.ones(1), jnp.zeros(1), jnp.eye(2))
    >>> float(sums["trace"]), float(sums["along"])  # 9/2, and -3/2 + 1/2
    (4.5, -1.0)
  """
  rows = _with_one(batch)
  logits = _logits(rows, head)
  losses, by_logit = _losses(logits, batch)
  square, probs = _traces(logits, batch, stretch, shift)
  uncertain = (probs * (1 - probs)).sum(axis=1)
  along = (by_logit * _logits(rows, step)).sum(axis=1) * batch.weights
  return {
    "loss": statistics.long_sum(losses),
    "trace": statistics.long_sum(square * uncertain),
    "along": statistics.long_sum(along),
  }
