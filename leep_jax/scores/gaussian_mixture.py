"""A mixture of Gaussians, fitted to features by expectation-maximisation (EM).

Covariances are diagonal. Each step of EM is a sum over examples, in which the
posterior over the components is computed again: no array of size n x C is
stored, and a step is one pass over the outputs, on all devices and hosts.
scikit-learn's `GaussianMixture` needs all features, and all posteriors, in the
memory of one host.

Symbols: n examples with features x `[K]`, C Gaussians in a mixture, R restarts
of EM, which run side by side.
"""

import functools
import math

import jax
import jax.numpy as jnp
import numpy as np

from leep_jax import validation
from leep_jax.engine import outputs as outputs_lib, statistics

RESTARTS = 3
# The defaults of scikit-learn's GaussianMixture.
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


def fit(
  outputs: outputs_lib.Outputs,
  keys: np.ndarray,
  *,
  components: int,
  restarts: int = RESTARTS,
  iterations: int = ITERATIONS,
  tolerance: float = TOLERANCE,
  floor: float = FLOOR,
) -> tuple[Mixture, float]:
  """Fits mixtures of Gaussians and returns the most likely one.

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
    log-likelihood in nats per example. They are in the unit in which statistics
    read the features, see `Outputs.feature_centre`.

  Raises:
    InputError: if a count is below 1, or `tolerance` is negative.

  Reference: Dempster, Laird & Rubin, J. Royal Statistical Society B 1977;
  Arthur & Vassilvitskii, "k-means++", SODA 2007 (the start).

  Example:
    >>> import leep_jax
    >>> from leep_jax.scores import gaussian_mixture
    >>> outputs = leep_jax.Outputs.from_arrays(
    ...   features=[[-1.0], [-1.1], [1.0], [1.1], [0.9], [1.0]], labels=[0] * 6)
    >>> keys = gaussian_mixture.hashes(outputs)
    >>> mixture, _ = gaussian_mixture.fit(outputs, keys, components=2)
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
    >>> from leep_jax.scores import gaussian_mixture
    >>> batch = statistics.Batch(
    ...   labels=jnp.array([0, 0]), weights=jnp.ones(2), num_classes=1,
    ...   features=jnp.array([[-3.0], [3.0]]))
    >>> one_mixture = (  # of two Gaussians, at -3 and 3
    ...   jnp.log(jnp.array([[0.5, 0.5]])), jnp.array([[[-3.0], [3.0]]]),
    ...   jnp.ones((1, 2, 1)))
    >>> sums = gaussian_mixture.expectation(batch, *one_mixture)
    >>> print(sums["mass"].round(4), sums["sums"][0, :, 0].round(4))
    [[1. 1.]] [-3.  3.]
  """
  shares, total = posterior(batch.features, log_weights, centres, precisions)
  restarts, components, width = centres.shape
  shares = shares * batch.weights[:, None, None]
  # First and second moments of all components and restarts are one product.
  both = jnp.concatenate([batch.features, batch.features**2], axis=1)
  flat = shares.reshape(len(both), restarts * components)
  moments = jnp.matmul(flat.T, both, precision=_PRECISION)
  moments = moments.reshape(restarts, components, 2 * width)
  return {
    "log_likelihood": jnp.sum(total * batch.weights[:, None], axis=0),
    "mass": shares.sum(axis=0),
    "sums": moments[..., :width],
    "squares": moments[..., width:],
  }


def posterior(
  x: jax.Array,
  log_weights: jax.Array,
  centres: jax.Array,
  precisions: jax.Array,
) -> tuple[jax.Array, jax.Array]:
  """Returns the posterior over components, and the log-likelihood.

  Args:
    x: `[B, K]`, features of examples.
    log_weights: `[R, C]`.
    centres: `[R, C, K]`.
    precisions: `[R, C, K]`, inverse variances.

  Returns:
    P(component given x) `[B, R, C]`, and log p(x) `[B, R]`.

  Example:
    An example halfway between two equal Gaussians belongs to both alike.

    >>> import jax.numpy as jnp
    >>> from leep_jax.scores import gaussian_mixture
    >>> shares, _ = gaussian_mixture.posterior(
    ...   jnp.array([[0.0], [3.0]]), jnp.log(jnp.array([[0.5, 0.5]])),
    ...   jnp.array([[[-3.0], [3.0]]]), jnp.ones((1, 2, 1)))
    >>> print(shares[:, 0].round(4))
    [[0.5 0.5]
     [0.  1. ]]
  """
  # -(x - m)^2 p / 2 = x m p - x^2 p / 2 - m^2 p / 2: the exponents of all
  # mixtures are one matrix product with x and its squares.
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

  Greedy k-means++: of several points drawn, the one becomes a centre that most
  reduces the distances to the nearest centre.

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

  Its author found the constants by a search for good mixing.
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
    >>> from leep_jax.scores import gaussian_mixture
    >>> outputs = leep_jax.Outputs.from_arrays(
    ...   features=[[0.5], [1.5], [0.5]], labels=[0, 1, 0])
    >>> first, second, third = gaussian_mixture.hashes(outputs).tolist()
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
