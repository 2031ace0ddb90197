"""Linear discriminant analysis with a covariance shrunk by its own size.

Each class is a Gaussian around its mean, with one covariance S for all classes,
that within them. An example has P(y given x) in proportion to pi_y exp(-(x -
m_y)^T S^-1 (x - m_y) / 2). S is shrunk towards a multiple of the identity:
(1 - a) S + a tr(S) / D I, with a = exp(-5 v), v its largest eigenvalue, and a
at least 1e-10. So the fit depends on the unit of the features.

Symbols: n examples, Y target classes, pi_y their shares, D features f, K
coordinates t of these (`coordinates`).

Reference: Shao et al., "Not All Models Are Equal: Predicting Model
Transferability in a Self-challenging Fisher Space", ECCV 2022, arXiv
2207.03036, whose authors' code has this shrinkage.
"""

from collections.abc import Callable
import dataclasses

import jax
import jax.numpy as jnp
import numpy as np

from leep_jax.engine import outputs as outputs_lib, statistics
from leep_jax.scores import coordinates, jackknife, moments as moments_lib

# The constants of the authors' code.
RATE = 5.0
LEAST = 1e-10


@dataclasses.dataclass(frozen=True, eq=False)
class Classifier:
  """Logits `t coefficients^T + intercepts` of a linear discriminant analysis.

  Attributes:
    coefficients: `[Y, K]`.
    intercepts: `[Y]`.

  Example:
    >>> import numpy as np
    >>> from leep_jax.scores import discriminant
    >>> found = discriminant.Classifier(np.array([[-1.0], [1.0]]), np.zeros(2))
    >>> found.arrays(np.eye(1))[0].tolist()
    [[-1.0, 1.0]]
  """

  coefficients: np.ndarray
  intercepts: np.ndarray

  def arrays(self, basis: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
    """What statistics take: `[D, Y]` for features, and `[Y]`, of float32.

    Args:
      basis: `[D, K]`, of the coordinates.
    """
    kernel = basis @ self.coefficients.T
    return kernel.astype(np.float32), self.intercepts.astype(np.float32)

  def of_points(self, points: np.ndarray) -> np.ndarray:
    """Returns P(y given t), `[n, Y]` float64.

    Args:
      points: `[n, K]`, coordinates.
    """
    import scipy.special

    logits = points @ self.coefficients.T + self.intercepts
    return scipy.special.softmax(logits, axis=1)


def shrinkage(within: np.ndarray, deviations: np.ndarray) -> float:
  """Returns a, the share of the identity in the shrunk covariance.

  Args:
    within: `[K, K]`, see `coordinates`.
    deviations: `[K]`, see `coordinates`.

  Example:
    >>> import numpy as np
    >>> from leep_jax.scores import discriminant
    >>> round(discriminant.shrinkage(np.eye(1), np.array([0.5])), 4)
    0.2865
  """
  import scipy.linalg

  covariance = within * np.outer(deviations, deviations)
  # The largest eigenvalue is no less than the largest variance.
  if np.exp(-RATE * np.diag(covariance).max()) <= LEAST:
    return LEAST
  (largest,) = scipy.linalg.eigh(
    covariance, eigvals_only=True, subset_by_index=[len(within) - 1] * 2
  )
  return max(float(np.exp(-RATE * largest)), LEAST)


def shrunk(
  matrix: np.ndarray,
  deviations: np.ndarray,
  amount: float,
  *,
  dimensions: int,
  instead: np.ndarray,
) -> np.ndarray:
  """Returns a covariance of t, shrunk in the unit of the features.

  Args:
    matrix: `[K, K]`, a covariance of t.
    deviations: `[K]`, see `coordinates`.
    amount: a, from 0 to 1.
    dimensions: D, over which the variances are averaged.
    instead: `[K, K]`, whose variances are averaged if those of the matrix are
      0, as they are within classes of equal examples.

  Example:
    >>> import numpy as np
    >>> from leep_jax.scores import discriminant
    >>> discriminant.shrunk(  # variances 3 and 1: their mean is 2
    ...   np.diag([3.0, 1.0]), np.ones(2), 0.5, dimensions=2, instead=np.eye(2)
    ... ).tolist()
    [[2.5, 0.0], [0.0, 1.5]]
  """
  variances = np.diag(matrix) * deviations**2
  if variances.sum() <= 1e-12 * np.sum(np.diag(instead) * deviations**2):
    variances = np.diag(instead) * deviations**2
  average = variances.sum() / dimensions
  return (1 - amount) * matrix + np.diag(amount * average / deviations**2)


def positive(covariance: np.ndarray) -> np.ndarray:
  """Returns a covariance of t without eigenvalues that are rounding.

  It is the same matrix unless it cannot be inverted: then such eigenvalues are
  raised to what sums of float32 resolve.

  Args:
    covariance: `[K, K]`.

  Example:
    >>> import numpy as np
    >>> from leep_jax.scores import discriminant
    >>> discriminant.positive(np.diag([1.0, -1e-9])).round(8).tolist()
    [[1.0, 0.0], [0.0, 2.4e-07]]
  """
  try:
    np.linalg.cholesky(covariance)
  except np.linalg.LinAlgError:
    values, vectors = np.linalg.eigh(covariance)
    least = moments_lib.rounding(len(values)) * values[-1]
    return (vectors * np.maximum(values, least)) @ vectors.T
  return covariance


def fit(
  total: np.ndarray,
  means: np.ndarray,
  shares: np.ndarray,
  covariance: np.ndarray,
) -> Classifier:
  """Returns the classifier of classes with the same covariance.

  Args:
    total: `[K, K]`, the covariance of all examples. If it is 0, all have the
      shares of the classes as probabilities.
    means: `[Y, K]`.
    shares: `[Y]`; a class whose share is 0 has the probability 0.
    covariance: `[K, K]`, that within classes, shrunk.

  Example:
    >>> import numpy as np
    >>> from leep_jax.scores import discriminant
    >>> found = discriminant.fit(
    ...   np.eye(1), np.array([[-1.0], [1.0]]), np.full(2, 0.5), np.eye(1) / 2)
    >>> print(found.coefficients.round(4).T, found.intercepts.round(4))
    [[-2.  2.]] [-1.6931 -1.6931]
  """
  with np.errstate(divide="ignore"):
    logs = np.log(shares)
  if not np.trace(total):
    return Classifier(np.zeros_like(means), logs)
  import scipy.linalg

  factor = scipy.linalg.cho_factor(positive(covariance), lower=True)
  coefficients = scipy.linalg.cho_solve(factor, means.T).T
  squares = (coefficients * means).sum(axis=1)
  return Classifier(coefficients, logs - squares / 2)


def of_coordinates(
  known: coordinates.Coordinates, amount: float, dimensions: int
) -> Classifier:
  """Returns the classifier of all examples.

  Args:
    known: the coordinates.
    amount: a, from 0 to 1.
    dimensions: D, over which the variances are averaged.

  Example:
    >>> import leep_jax
    >>> from leep_jax.scores import coordinates
    >>> from leep_jax.scores import discriminant
    >>> outputs = leep_jax.Outputs.from_arrays(
    ...   features=[[0.0], [2.0], [2.0], [4.0]], labels=[0, 0, 1, 1])
    >>> known = coordinates.coordinates(outputs)
    >>> found = discriminant.of_coordinates(known, 0.5, 1)
    >>> print(found.coefficients.round(4).T)
    [[-1.4142  1.4142]]
  """
  covariance = shrunk(
    known.within,
    known.deviations,
    amount,
    dimensions=dimensions,
    instead=known.total,
  )
  return fit(known.total, known.means, known.shares, covariance)


def probabilities(
  features: jax.Array, mean: jax.Array, kernel: jax.Array, intercepts: jax.Array
) -> jax.Array:
  """Returns P(y given f), `[B, Y]`.

  Args:
    features: `[B, D]`.
    mean: `[D]`.
    kernel: `[D, Y]`.
    intercepts: `[Y]`.

  Example:
    >>> import jax.numpy as jnp
    >>> from leep_jax.scores import discriminant
    >>> discriminant.probabilities(
    ...   jnp.zeros((1, 3)), jnp.zeros(3), jnp.ones((3, 2)), jnp.zeros(2)
    ... ).tolist()
    [[0.5, 0.5]]
  """
  logits = statistics.project(features, mean, kernel) + intercepts[None]
  return jax.nn.softmax(logits)


def of_label(values: jax.Array, batch: statistics.Batch) -> jax.Array:
  """Returns the value `[B]` in the column of each example's label.

  Args:
    values: `[B, Y]`.
    batch: the examples.

  Example:
    >>> import jax.numpy as jnp
    >>> from leep_jax.engine import statistics
    >>> from leep_jax.scores import discriminant
    >>> batch = statistics.Batch(
    ...   labels=jnp.array([1]), weights=jnp.ones(1), num_classes=2)
    >>> discriminant.of_label(jnp.array([[3.0, 4.0]]), batch).tolist()
    [4.0]
  """
  chosen = jax.nn.one_hot(batch.labels, values.shape[1])
  return jnp.sum(values * chosen, axis=1)


@statistics.reads("features")
def true_probability(
  batch: statistics.Batch,
  mean: jax.Array,
  kernel: jax.Array,
  intercepts: jax.Array,
) -> jax.Array:
  """The summed probability of the true labels; scalar.

  Args:
    batch: examples with features f.
    mean: `[D]`.
    kernel: `[D, Y]`.
    intercepts: `[Y]`.

  Example:
    >>> import jax.numpy as jnp
    >>> from leep_jax.engine import statistics
    >>> from leep_jax.scores import discriminant
    >>> batch = statistics.Batch(
    ...   labels=jnp.array([0, 1]), weights=jnp.ones(2), num_classes=2,
    ...   features=jnp.array([[3.0], [4.0]]))
    >>> float(discriminant.true_probability(
    ...   batch, jnp.zeros(1), jnp.zeros((1, 2)), jnp.zeros(2)))
    1.0
  """
  found = probabilities(batch.features, mean, kernel, intercepts)
  return statistics.long_sum(of_label(found, batch) * batch.weights)


def mean_probability(
  outputs: outputs_lib.Outputs,
  known: coordinates.Coordinates,
  fit_to: Callable[[coordinates.Coordinates], Classifier],
) -> jackknife.Parts:
  """Returns the mean probability of the true labels, and without each group.

  The classifier is fitted again without each group, in a pass of its own.

  Args:
    outputs: with features and labels.
    known: the coordinates.
    fit_to: function of moments of examples that returns their classifier.

  Example:
    >>> import leep_jax
    >>> from leep_jax.scores import coordinates
    >>> from leep_jax.scores import discriminant
    >>> outputs = leep_jax.Outputs.from_arrays(
    ...   features=[[0.0], [0.0]], labels=[0, 1])
    >>> discriminant.mean_probability(
    ...   outputs, coordinates.coordinates(outputs),
    ...   lambda here: discriminant.of_coordinates(here, 0.5, 1)).value
    0.5
  """

  def finalise(here, kept):
    classifier = fit_to(here)
    if known.points is not None:
      right = right_by_group(outputs, classifier.of_points(known.points))
    else:
      right = outputs.group_sums(
        true_probability,
        known.mean.astype(np.float32),
        *classifier.arrays(known.basis),
      )
    return mean_of(outputs, right, kept)

  return known.parts(outputs, finalise)


def right_by_group(
  outputs: outputs_lib.Outputs, probs: np.ndarray
) -> np.ndarray:
  """Returns the summed probability of the true labels in each group, `[G]`.

  Args:
    outputs: with labels, in groups.
    probs: `[n, Y]`, of the classes that occur.

  Example:
    >>> import leep_jax
    >>> import numpy as np
    >>> from leep_jax.scores import discriminant
    >>> outputs = leep_jax.Outputs.from_arrays(
    ...   features=[[0.0], [0.0]], labels=[0, 1])
    >>> print(discriminant.right_by_group(outputs, np.array([[0.5, 0.5]] * 2)))
    [1.]
  """
  right = probs[np.arange(len(probs)), outputs.codes]
  return np.bincount(outputs.group_of, right, minlength=outputs.groups)


def mean_of(
  outputs: outputs_lib.Outputs, right: np.ndarray, kept: np.ndarray
) -> float:
  """Returns a mean probability over the examples of some groups.

  Args:
    outputs: in groups.
    right: `[G]`, the summed probability in each.
    kept: `[G]` booleans, the groups.

  Example:
    >>> import leep_jax
    >>> import numpy as np
    >>> from leep_jax.scores import discriminant
    >>> outputs = leep_jax.Outputs.from_arrays(
    ...   features=[[0.0], [0.0]], labels=[0, 1])
    >>> discriminant.mean_of(outputs, np.array([1.0]), np.array([True]))
    0.5
  """
  sizes = outputs.group_counts.sum(axis=1)
  # Probabilities of 1 may add up to a little more.
  return min(float(right[kept].sum() / sizes[kept].sum()), 1.0)
