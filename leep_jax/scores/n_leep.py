"""N-LEEP: LEEP with clusters of the features in place of source labels.

A mixture of C Gaussians is fitted to the largest principal components of the
features by expectation-maximisation (EM). N-LEEP is LEEP of the posterior over
the mixture's components. Each step of EM, and LEEP itself, is a sum over
examples, in which the posterior is computed again: no array of size n x C is
stored.

N-LEEP is in nats and at most 0; higher means that the source transfers better.
Symbols: n examples x, Y target classes, D features, K principal components, C
Gaussians in a mixture, R restarts of EM, which run side by side.
"""

import functools
import math
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np

from leep_jax import validation
from leep_jax.engine import outputs as outputs_lib, statistics
from leep_jax.scores import jackknife, leep as leep_lib, moments as moments_lib

# Share of the variance, and Gaussians for each class, in the paper.
VARIANCE = 0.8
PER_CLASS = 5
RESTARTS = 3
# As scikit-learn's GaussianMixture.
ITERATIONS = 100
TOLERANCE = 1e-3
# Smallest variance of a component, as a share of the mean variance of the
# principal components. A component with a single example has a variance of 0,
# at which the likelihood is infinite.
FLOOR = 1e-4
# The start of the mixture is chosen from this many examples: its cost is that
# of C passes over them.
_START_EXAMPLES = 10_000
# By default, accelerators round the factors of products to bfloat16.
_PRECISION = jax.lax.Precision.HIGHEST

# Log weights [R, C], centres [R, C, K], and precisions [R, C, K], which are
# inverse variances. Without the first axis, the mixture of one restart.
Mixture = tuple[np.ndarray, np.ndarray, np.ndarray]


def n_leep(
  features: Any,
  labels: Any,
  *,
  num_classes: int | None = None,
  components: int | None = None,
  variance: float = VARIANCE,
  restarts: int = RESTARTS,
  iterations: int = ITERATIONS,
  tolerance: float = TOLERANCE,
) -> float:
  """LEEP of the posterior of a Gaussian mixture, in nats; at most 0.

  Features are reduced to the principal components that hold 80 % of their
  variance. A mixture of Gaussians with diagonal covariances, five for each
  class that occurs, is fitted to them by expectation-maximisation from a
  k-means++ start. Of several restarts, the most likely mixture is used. N-LEEP
  is LEEP with the mixture's posterior in place of the source model's
  probabilities. Higher transfers better.

  The start is drawn by a hash of the features, so that it depends neither on
  their order nor on the number of devices. Published code fits full covariances
  with scikit-learn, from a start that depends on a seed and on the order. The
  standard error uses the mixture of all examples for all jackknife groups, and
  is somewhat too small.

  Args:
    features: `[n, D]`, the source model's penultimate features.
    labels: `[n]`, target labels from 0.
    num_classes: Y; by default the largest label plus 1. N-LEEP does not depend
      on it.
    components: number of Gaussians, C; by default 5 for each class that occurs.
      At most n are used.
    variance: share of the variance that principal components keep, in (0, 1].
    restarts: number of mixtures that are fitted.
    iterations: largest number of EM steps.
    tolerance: EM ends when the mean log-likelihood, in nats per example,
      changes by less than this in a step.

  Raises:
    InputError: if there are no examples, lengths differ, labels are not
      integers in 0..Y-1, features are not finite, or an option is out of
      range.

  Reference: Li et al., "Ranking Neural Checkpoints", CVPR 2021, arXiv
  2011.11200, section 3.3.

  Example:
    The features of the first source form a cluster for each class. Those of
    the second do not depend on the class: N-LEEP is near minus the entropy of
    the labels, -log 2.

    >>> import leep_jax
    >>> import numpy as np
    >>> rng = np.random.default_rng(0)
    >>> labels = np.arange(200) % 2
    >>> noise = rng.normal(size=(200, 2))
    >>> for features in (noise + 3 * labels[:, None], noise):
    ...   print(f"{leep_jax.n_leep(features, labels, components=2):.2f}")
    -0.08
    -0.69
  """
  return jackknife.value(
    n_leep_parts(
      outputs_lib.Outputs.from_arrays(
        features=features, labels=labels, num_classes=num_classes
      ),
      components=components,
      variance=variance,
      restarts=restarts,
      iterations=iterations,
      tolerance=tolerance,
    )
  )


def n_leep_parts(
  outputs: outputs_lib.Outputs,
  *,
  components: int | None = None,
  variance: float = VARIANCE,
  restarts: int = RESTARTS,
  iterations: int = ITERATIONS,
  tolerance: float = TOLERANCE,
) -> jackknife.Parts:
  """Returns `n_leep` as sums and a function of them.

  The mixture is that of all examples, also where the jackknife leaves a group
  out.

  Args:
    outputs: with features and labels.
    components: as of `n_leep`.
    variance: as of `n_leep`.
    restarts: as of `n_leep`.
    iterations: as of `n_leep`.
    tolerance: as of `n_leep`.

  Raises:
    InputError: as `n_leep`.

  Example:
    >>> import leep_jax
    >>> from leep_jax.scores import jackknife
    >>> from leep_jax.scores import n_leep
    >>> outputs = leep_jax.Outputs.from_arrays(
    ...   features=[[0.0], [0.1], [5.0], [5.1]], labels=[0, 0, 1, 1])
    >>> parts = n_leep.n_leep_parts(outputs, components=2)
    >>> jackknife.value(parts) > -0.001
    True
  """
  if not 0 < variance <= 1:
    raise validation.InputError(
      f"variance is {variance}, but must be in (0, 1]"
    )
  known = moments_lib.moments(outputs)
  shares, axes = moments_lib.principal_axes(known)
  # A little less than asked for: with `variance` 1, rounding of the cumulative
  # sum must not ask for more components than there are.
  enough = variance * shares.sum() * (1 - 1e-9)
  kept = int(np.searchsorted(np.cumsum(shares), enough)) + 1
  if len(shares):
    # One scale for all components: their mean variance is then 1, which is what
    # the smallest variance is relative to.
    axes = axes[:, :kept] / np.sqrt(shares[:kept].mean())
  else:  # features are constant: one component that is 0
    axes = np.zeros((len(axes), 1))
  # Projected in one pass before EM reads them in up to a hundred.
  projected = outputs.with_features(
    outputs.map(
      "features",
      statistics.project,
      known.mean.astype(np.float32),
      axes.astype(np.float32),
    )
  )
  if components is None:
    components = PER_CLASS * len(outputs.classes)
  mixture, _ = fit_mixture(
    projected.whole,
    hashes(outputs),
    components=components,
    restarts=restarts,
    iterations=iterations,
    tolerance=tolerance,
  )
  return leep_lib.parts_of(
    projected,
    *(x.astype(np.float32) for x in mixture),
    joint=mixture_joint,
    log_likelihood=mixture_log_likelihood,
    responsibilities=mixture_responsibilities,
  )


def fit_mixture(
  outputs: outputs_lib.Outputs,
  keys: np.ndarray,
  *,
  components: int,
  restarts: int = RESTARTS,
  iterations: int = ITERATIONS,
  tolerance: float = TOLERANCE,
  floor: float = FLOOR,
) -> tuple[Mixture, float]:
  """Fits mixtures of Gaussians with diagonal covariances to features.

  Args:
    outputs: with features `[n, K]` of variances near 1.
    keys: `[n]` uint32, hashes of the examples, from which the start is drawn.
    components: C; at most n are used.
    restarts: R, of which the most likely mixture is returned.
    iterations: largest number of EM steps.
    tolerance: smallest change of the mean log-likelihood, in nats per example,
      for another step.
    floor: smallest variance of a component.

  Returns:
    Log weights `[C]`, centres `[C, K]` and precisions `[C, K]`, and their mean
    log-likelihood in nats per example. The unit is that of the features as
    statistics read them, see `Outputs.feature_centre`.

  Raises:
    InputError: if a count is below 1, or `tolerance` is negative.

  Reference: Dempster, Laird & Rubin, J. Royal Statistical Society B 1977;
  Arthur & Vassilvitskii, "k-means++", SODA 2007 (the start).

  Example:
    >>> import leep_jax
    >>> from leep_jax.scores import n_leep
    >>> outputs = leep_jax.Outputs.from_arrays(
    ...   features=[[-1.0], [-1.1], [1.0], [1.1], [0.9], [1.0]], labels=[0] * 6)
    >>> keys = n_leep.hashes(outputs)
    >>> mixture, _ = n_leep.fit_mixture(outputs, keys, components=2)
    >>> log_weights, centres, precisions = mixture
    >>> import numpy as np
    >>> print(np.sort(np.exp(log_weights)).round(3))
    [0.333 0.667]
  """
  for name, count in (
    ("components", components),
    ("restarts", restarts),
    ("iterations", iterations),
  ):
    validation.at_least_1(name, count)
  if not tolerance >= 0:
    raise validation.InputError(
      f"tolerance is {tolerance}, but must be at least 0"
    )
  n = len(outputs)
  components = min(components, n)
  mixture = _start(outputs, keys, components, restarts, floor)
  before = np.full(restarts, -np.inf)
  # The last pass only computes the likelihood of the mixture that is returned.
  for step in range(iterations + 1):
    sums = outputs.sum(expectation, *(x.astype(np.float32) for x in mixture))
    likelihood = sums["log_likelihood"] / n
    # Restarts share each pass, so that one that has converged costs nothing.
    if step == iterations or np.all(np.abs(likelihood - before) < tolerance):
      break
    before = likelihood
    mixture = _maximise(sums, mixture, n, floor)
  best = int(np.argmax(likelihood))
  log_weights, centres, precisions = mixture
  return (log_weights[best], centres[best], precisions[best]), likelihood[best]


# Larger batches than for other statistics: EM does not need the digits that a
# longer float32 sum loses, and larger matrix products are faster.
@statistics.reads("features", max_batch=4096)
def expectation(
  batch: statistics.Batch,
  log_weights: jax.Array,
  centres: jax.Array,
  precisions: jax.Array,
) -> dict[str, jax.Array]:
  """Sums that a step of expectation-maximisation needs, of R mixtures.

  Args:
    batch: examples with features x `[B, K]`.
    log_weights: `[R, C]`.
    centres: `[R, C, K]`.
    precisions: `[R, C, K]`, inverse variances.

  Returns:
    `log_likelihood` `[R]`; `mass` `[R, C]`, the summed posterior r of each
    component; `sums` and `squares` `[R, C, K]`, the sums of r x and r x^2.

  Example:
    >>> import jax.numpy as jnp
    >>> from leep_jax.engine import statistics
    >>> from leep_jax.scores import n_leep
    >>> batch = statistics.Batch(
    ...   labels=jnp.array([0, 0]), weights=jnp.ones(2), num_classes=1,
    ...   features=jnp.array([[-3.0], [3.0]]))
    >>> one_mixture = (  # of two Gaussians, at -3 and 3
    ...   jnp.log(jnp.array([[0.5, 0.5]])), jnp.array([[[-3.0], [3.0]]]),
    ...   jnp.ones((1, 2, 1)))
    >>> sums = n_leep.expectation(batch, *one_mixture)
    >>> print(sums["mass"].round(4), sums["sums"][0, :, 0].round(4))
    [[1. 1.]] [-3.  3.]
  """
  posterior, total = _posterior(
    batch.features, log_weights, centres, precisions
  )
  restarts, components, width = centres.shape
  posterior = posterior * batch.weights[:, None, None]
  # First and second moments of all components and restarts are one product.
  both = jnp.concatenate([batch.features, batch.features**2], axis=1)
  flat = posterior.reshape(len(both), restarts * components)
  moments = jnp.matmul(flat.T, both, precision=_PRECISION)
  moments = moments.reshape(restarts, components, 2 * width)
  return {
    "log_likelihood": jnp.sum(total * batch.weights[:, None], axis=0),
    "mass": posterior.sum(axis=0),
    "sums": moments[..., :width],
    "squares": moments[..., width:],
  }


def _posterior(x, log_weights, centres, precisions):
  """Posterior `[B, R, C]` over components, and log-likelihood `[B, R]`.

  -(x - m)^2 p / 2 = x m p - x^2 p / 2 - m^2 p / 2: the exponents of all
  mixtures are one matrix product with x and its squares.
  """
  both = jnp.concatenate([x, x**2], axis=1)
  table = jnp.concatenate([precisions * centres, -0.5 * precisions], axis=2)
  constant = 0.5 * jnp.sum(
    jnp.log(precisions / (2 * jnp.pi)) - precisions * centres**2, axis=2
  )
  table = table.reshape(log_weights.size, both.shape[1])
  logs = jnp.matmul(both, table.T, precision=_PRECISION)
  logs = logs.reshape(len(x), *log_weights.shape)
  logs = logs + (log_weights + constant)[None]
  # The largest exponent is taken out, or all might underflow to 0.
  largest = logs.max(axis=2, keepdims=True)
  odds = jnp.exp(logs - largest)
  total = odds.sum(axis=2, keepdims=True)
  return odds / total, (jnp.log(total) + largest)[:, :, 0]


def _as_probs(batch, mixture):
  """The batch with the mixture's posterior in place of probabilities."""
  posterior, _ = _posterior(batch.features, *(part[None] for part in mixture))
  return statistics.Batch(
    labels=batch.labels,
    weights=batch.weights,
    num_classes=batch.num_classes,
    probs=posterior[:, 0],
  )


@statistics.reads("features")
def mixture_joint(batch: statistics.Batch, *mixture: jax.Array) -> Any:
  """`statistics.joint` of the posterior of a mixture, `[Y, C]`.

  Args:
    batch: examples with features.
    *mixture: log weights `[C]`, centres `[C, K]`, precisions `[C, K]`.

  Example:
    >>> import jax.numpy as jnp
    >>> from leep_jax.engine import statistics
    >>> from leep_jax.scores import n_leep
    >>> batch = statistics.Batch(
    ...   labels=jnp.array([0, 1]), weights=jnp.ones(2), num_classes=2,
    ...   features=jnp.array([[-3.0], [3.0]]))
    >>> mixture = (
    ...   jnp.log(jnp.array([0.5, 0.5])), jnp.array([[-3.0], [3.0]]),
    ...   jnp.ones((2, 1)))
    >>> print(n_leep.mixture_joint(batch, *mixture).round(4))
    [[1. 0.]
     [0. 1.]]
  """
  return statistics.joint(_as_probs(batch, mixture))


@statistics.reads("features")
def mixture_log_likelihood(batch: statistics.Batch, *arguments: Any) -> Any:
  """`statistics.log_likelihood` of the posterior of a mixture; scalar.

  Args:
    batch: examples with features.
    *arguments: the mixture, as of `mixture_joint`, and P(y given component)
      `[Y, C]`.

  Example:
    >>> import jax.numpy as jnp
    >>> from leep_jax.engine import statistics
    >>> from leep_jax.scores import n_leep
    >>> batch = statistics.Batch(
    ...   labels=jnp.array([0, 1]), weights=jnp.ones(2), num_classes=2,
    ...   features=jnp.array([[-3.0], [3.0]]))
    >>> mixture = (
    ...   jnp.log(jnp.array([0.5, 0.5])), jnp.array([[-3.0], [3.0]]),
    ...   jnp.ones((2, 1)))
    >>> table = jnp.full((2, 2), 0.5)  # tells nothing: 2 log 0.5
    >>> f"{n_leep.mixture_log_likelihood(batch, *mixture, table):.4f}"
    '-1.3863'
  """
  *mixture, table = arguments
  return statistics.log_likelihood(_as_probs(batch, mixture), table)


@statistics.reads("features")
def mixture_responsibilities(batch: statistics.Batch, *arguments: Any) -> Any:
  """`statistics.responsibilities` of the posterior of a mixture.

  Args:
    batch: examples with features.
    *arguments: as of `mixture_log_likelihood`.

  Example:
    >>> import jax.numpy as jnp
    >>> from leep_jax.engine import statistics
    >>> from leep_jax.scores import n_leep
    >>> batch = statistics.Batch(
    ...   labels=jnp.array([0, 1]), weights=jnp.ones(2), num_classes=2,
    ...   features=jnp.array([[-3.0], [3.0]]))
    >>> mixture = (
    ...   jnp.log(jnp.array([0.5, 0.5])), jnp.array([[-3.0], [3.0]]),
    ...   jnp.ones((2, 1)))
    >>> table = jnp.full((2, 2), 0.5)
    >>> sums = n_leep.mixture_responsibilities(batch, *mixture, table)
    >>> print(sums["parts"].round(4))
    [[1. 0.]
     [0. 1.]]
  """
  *mixture, table = arguments
  return statistics.responsibilities(_as_probs(batch, mixture), table)


def _maximise(sums, mixture, n, floor) -> Mixture:
  """The maximisation step: new mixtures from the sums of the expectation."""
  _, centres, precisions = mixture
  mass = sums["mass"][..., None]
  # A component that has lost all examples keeps its centre and precision.
  alive = mass > 1e-6
  safe = np.where(alive, mass, 1)
  means = np.where(alive, sums["sums"] / safe, centres)
  spread = np.maximum(sums["squares"] / safe - means**2, floor)
  log_weights = np.log(np.maximum(sums["mass"], 1e-30) / n)
  return log_weights, means, np.where(alive, 1 / spread, precisions)


def _start(outputs, keys, components, restarts, floor) -> Mixture:
  """Mixtures of equal weights and one variance, centred by k-means++.

  Examples are chosen by the order of their hashes, so that the start does not
  depend on the order in which the data set lists them.
  """
  shift, scale = outputs.feature_centre
  count = min(len(keys), max(_START_EXAMPLES, components))
  chosen = np.lexsort((np.arange(len(keys)), keys))[:count]
  points = (np.asarray(outputs.features)[chosen] - shift) / scale
  centres, far = _k_means_plus_plus(
    jnp.asarray(points, jnp.float32),
    jnp.asarray(keys[chosen]),
    jnp.arange(restarts, dtype=jnp.uint32),
    components,
  )
  # Centres are examples, and the mean squared distance between two examples of
  # a cluster is twice its variance.
  width = 0.5 * np.asarray(far, np.float64) / points.shape[1]
  width = np.maximum(width, floor)[:, None, None]
  centres = np.asarray(centres, np.float64)
  return (
    np.full(centres.shape[:2], -np.log(components)),
    centres,
    np.broadcast_to(1 / width, centres.shape),
  )


@functools.partial(jax.jit, static_argnums=3)
def _k_means_plus_plus(points, keys, restarts, components):
  """Centres `[R, C, K]`, and the mean squared distance `[R]` to the nearest.

  Greedy k-means++: several points are drawn, and the one becomes a centre that
  reduces the distances to the nearest centre most.

  Args:
    points: `[m, K]` float32.
    keys: `[m]` uint32, hashes of the points.
    restarts: `[R]` uint32, their numbers.
    components: C.
  """

  # More draws than the usual 2 + log C: EM seldom finds a cluster that has no
  # centre at the start, and draws are cheap.
  tries = min(2 + 5 * int(math.log(components)), len(points))
  squares = (points**2).sum(axis=1)

  def one(restart):
    def choose(step, state):
      nearest, centres = state
      noise = _gumbel(keys, restart * jnp.uint32(components) + step)
      # Gumbel noise on log weights: the largest sums are a draw without
      # replacement, with chances in proportion to the squared distances.
      _, drawn = jax.lax.top_k(jnp.log(nearest) + noise, tries)
      products = jnp.matmul(points[drawn], points.T, precision=_PRECISION)
      distance = squares[drawn][:, None] + squares[None] - 2 * products
      # Above 0, as its logarithm is taken in the next step.
      after = jnp.minimum(nearest[None], jnp.maximum(distance, 1e-30))
      best = jnp.argmin(after.sum(axis=1))
      return after[best], centres.at[step].set(points[drawn[best]])

    # All are equally far at first, so that the first draw is uniform.
    nearest = jnp.full(len(points), 1e30, jnp.float32)
    centres = jnp.zeros((components, points.shape[1]), jnp.float32)
    nearest, centres = jax.lax.fori_loop(
      jnp.uint32(0), jnp.uint32(components), choose, (nearest, centres)
    )
    return centres, nearest.mean()

  # One restart after another: side by side they would need R times the memory.
  return jax.lax.map(one, restarts)


def _mix(x):
  """The finaliser of MurmurHash3: a bijection of 32 bits that mixes them all.

  The constants are those of its author, found by search for good mixing.
  """
  x = (x ^ (x >> 16)) * jnp.uint32(0x85EBCA6B)
  x = (x ^ (x >> 13)) * jnp.uint32(0xC2B2AE35)
  return x ^ (x >> 16)


def _gumbel(keys, step):
  """Gumbel noise `[m]`, a function of each example's hash and the step."""
  bits = _mix(keys ^ _mix(step + jnp.uint32(1)))
  # The 24 bits that float32 can hold, in the middle of their interval: neither
  # 0 nor 1, where a logarithm is infinite.
  uniform = (bits >> 8).astype(jnp.float32) * 2**-24 + 2**-25
  return -jnp.log(-jnp.log(uniform))


def hashes(outputs: outputs_lib.Outputs) -> np.ndarray:
  """Returns hashes `[n]` uint32 of the features of each example.

  Equal features have equal hashes, on any machine and in any order of examples.

  Args:
    outputs: with features.

  Example:
    >>> import leep_jax
    >>> from leep_jax.scores import n_leep
    >>> outputs = leep_jax.Outputs.from_arrays(
    ...   features=[[0.5], [1.5], [0.5]], labels=[0, 1, 0])
    >>> first, second, third = n_leep.hashes(outputs).tolist()
    >>> first == third, first == second
    (True, False)
  """
  parts = []
  rng = np.random.default_rng(0)
  width = outputs.num_features or 0
  # An odd factor for each feature: multiplication modulo 2^32 is then a
  # bijection, so that no bit of a feature is lost.
  odd = rng.integers(0, 2**31, width, dtype=np.uint32) * 2 + 1
  for chunk in outputs.feature_chunks():
    bits = np.ascontiguousarray(chunk, np.float32).view(np.uint32)
    # Shifted, as products carry bits upwards only: low bits would not depend on
    # the sign and the exponent.
    parts.append(((bits ^ (bits >> 15)) * odd).sum(axis=1, dtype=np.uint32))
  return np.asarray(_mix(jnp.asarray(np.concatenate(parts))))
