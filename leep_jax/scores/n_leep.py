"""N-LEEP: LEEP with the clusters of the features for source labels.

A mixture of C Gaussians is fitted to the largest principal components of the
features by expectation-maximisation, in which each step is one sum over
examples. LEEP is then that of the posterior over the mixture's components:
nothing of size n x C is kept.
"""

import functools
import math
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np

from leep_jax import checks, jackknife, outputs as outputs_lib, statistics
from leep_jax.scores import leep as leep_lib, moments as moments_lib

VARIANCE = 0.8
PER_CLASS = 5
RESTARTS = 3
ITERATIONS = 100
TOLERANCE = 1e-3
# Smallest variance of a component, as a share of the mean variance of the
# principal components: a component on one example has none.
FLOOR = 1e-4
# The start of the mixture is chosen from this many examples.
_START_EXAMPLES = 10_000
_PRECISION = jax.lax.Precision.HIGHEST

# Of R restarts: log weights [R, C], centres and precisions [R, C, K].
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
  variance. A mixture of five Gaussians per class that occurs, with diagonal
  covariances, is fitted to them by expectation-maximisation from a k-means++
  start; of several restarts the most likely one counts. N-LEEP is LEEP with
  the mixture's posterior for the source model's probabilities. Higher
  transfers better.

  The start is chosen by a hash of the features, so that neither their order
  nor the number of devices changes it. Published code fits full covariances
  with scikit-learn, from a start that depends on a seed and on the order. The
  standard error keeps the mixture of all examples, so it is somewhat too small.

  Args:
    features: `[n, D]`, the source model's penultimate features.
    labels: `[n]`, target labels from 0.
    num_classes: Y; by default the largest label plus 1. N-LEEP does not depend
      on it.
    components: of the mixture; by default 5 for each class that occurs. There
      are never more than examples.
    variance: share of the variance that principal components keep, in (0, 1].
    restarts: mixtures fitted, side by side.
    iterations: most steps of expectation-maximisation.
    tolerance: fitting ends when the mean log-likelihood, in nats per example,
      gains less than this in a step.

  Raises:
    InputError: if there are no examples, lengths differ, labels are not
      integers in 0..Y-1, features are not finite, or an option is out of
      range.

  Reference: Li et al., "Ranking Neural Checkpoints", CVPR 2021, arXiv
  2011.11200, section 3.3.
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
  """`n_leep` as a function of sums; the mixture is that of all examples."""
  if not 0 < variance <= 1:
    raise checks.InputError(f"variance is {variance}, but must be in (0, 1]")
  known = moments_lib.moments(outputs)
  shares, axes = moments_lib.principal_axes(known)
  enough = variance * shares.sum() * (1 - 1e-9)
  kept = int(np.searchsorted(np.cumsum(shares), enough)) + 1
  if len(shares):
    axes = axes[:, :kept] / np.sqrt(shares[:kept].mean())
  else:  # features are constant
    axes = np.zeros((len(axes), 1))
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
    keys: `[n]` uint32, the examples' part in the random start.
    components: C, at most n of which there will be.
    restarts: R, of which the most likely mixture is returned.
    iterations: most steps.
    tolerance: of the mean log-likelihood, in nats per example.
    floor: smallest variance of a component.

  Returns:
    Log weights `[C]`, centres `[C, K]` and precisions `[C, K]`, and their mean
    log-likelihood in nats per example, all in the unit of sums over features.

  Raises:
    InputError: if a count is below 1.

  Reference: Dempster, Laird & Rubin, J. Royal Statistical Society B 1977;
  Arthur & Vassilvitskii, "k-means++", SODA 2007 (the start).
  """
  for name, count in (
    ("components", components),
    ("restarts", restarts),
    ("iterations", iterations),
  ):
    checks.at_least_1(name, count)
  if not tolerance >= 0:
    raise checks.InputError(f"tolerance is {tolerance}, but must be at least 0")
  n = len(outputs)
  components = min(components, n)
  mixture = _start(outputs, keys, components, restarts, floor)
  before = np.full(restarts, -np.inf)
  for step in range(iterations + 1):
    sums = outputs.sum(expectation, *(x.astype(np.float32) for x in mixture))
    likelihood = sums["log_likelihood"] / n
    if step == iterations or np.all(np.abs(likelihood - before) < tolerance):
      break
    before = likelihood
    mixture = _maximise(sums, mixture, n, floor)
  best = int(np.argmax(likelihood))
  log_weights, centres, precisions = mixture
  return (log_weights[best], centres[best], precisions[best]), likelihood[best]


# Of a mixture no digit is lost that fitting would need, and large products of
# matrices are fast.
@statistics.reads("features", max_batch=4096)
def expectation(
  batch: statistics.Batch,
  log_weights: jax.Array,
  centres: jax.Array,
  precisions: jax.Array,
) -> dict[str, jax.Array]:
  """What a step of expectation-maximisation needs, of R mixtures at once.

  Args:
    batch: examples with features x `[B, K]`.
    log_weights: `[R, C]`.
    centres: `[R, C, K]`.
    precisions: `[R, C, K]`, inverse variances.

  Returns:
    `log_likelihood` `[R]`; `mass` `[R, C]`, the summed posterior r of each
    component, `sums` and `squares` `[R, C, K]`, those of r x and r x^2.
  """
  posterior, total = _posterior(
    batch.features, log_weights, centres, precisions
  )
  restarts, components, width = centres.shape
  posterior = posterior * batch.weights[:, None, None]
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

  All mixtures are one matrix product with x and its squares.
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
  largest = logs.max(axis=2, keepdims=True)
  odds = jnp.exp(logs - largest)
  total = odds.sum(axis=2, keepdims=True)
  return odds / total, (jnp.log(total) + largest)[:, :, 0]


def _as_probs(batch, mixture):
  """The batch with the mixture's posterior for probabilities."""
  posterior, _ = _posterior(batch.features, *(part[None] for part in mixture))
  return statistics.Batch(
    labels=batch.labels,
    weights=batch.weights,
    num_classes=batch.num_classes,
    probs=posterior[:, 0],
  )


@statistics.reads("features")
def mixture_joint(batch: statistics.Batch, *mixture: jax.Array) -> Any:
  """`statistics.joint` of the posterior of a mixture."""
  return statistics.joint(_as_probs(batch, mixture))


@statistics.reads("features")
def mixture_log_likelihood(batch: statistics.Batch, *arguments: Any) -> Any:
  """`statistics.log_likelihood` of the posterior of a mixture."""
  *mixture, table = arguments
  return statistics.log_likelihood(_as_probs(batch, mixture), table)


@statistics.reads("features")
def mixture_responsibilities(batch: statistics.Batch, *arguments: Any) -> Any:
  """`statistics.responsibilities` of the posterior of a mixture."""
  *mixture, table = arguments
  return statistics.responsibilities(_as_probs(batch, mixture), table)


def _maximise(sums, mixture, n, floor) -> Mixture:
  """The mixtures that the sums of a step make most likely."""
  _, centres, precisions = mixture
  mass = sums["mass"][..., None]
  some = mass > 1e-6  # a component that has lost all examples stays
  safe = np.where(some, mass, 1)
  means = np.where(some, sums["sums"] / safe, centres)
  spread = np.maximum(sums["squares"] / safe - means**2, floor)
  log_weights = np.log(np.maximum(sums["mass"], 1e-30) / n)
  return log_weights, means, np.where(some, 1 / spread, precisions)


def _start(outputs, keys, components, restarts, floor) -> Mixture:
  """Equal mixtures of one width about centres from k-means++."""
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
  # Half: between two examples of a cluster lies twice its variance.
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

  Greedy k-means++: of several points drawn, the best becomes a centre.
  """

  # More tries than the usual 2 + log C: a cluster without a centre costs the
  # mixture far more than looking for it here.
  tries = min(2 + 5 * int(math.log(components)), len(points))
  squares = (points**2).sum(axis=1)

  def one(restart):
    def choose(step, state):
      nearest, centres = state
      noise = _gumbel(keys, restart * jnp.uint32(components) + step)
      # The largest are drawn with chances in proportion to the distance; of
      # those, the one that leaves the others nearest is taken.
      _, drawn = jax.lax.top_k(jnp.log(nearest) + noise, tries)
      products = jnp.matmul(points[drawn], points.T, precision=_PRECISION)
      distance = squares[drawn][:, None] + squares[None] - 2 * products
      left = jnp.minimum(nearest[None], jnp.maximum(distance, 1e-30))
      best = jnp.argmin(left.sum(axis=1))
      return left[best], centres.at[step].set(points[drawn[best]])

    nearest = jnp.full(len(points), 1e30, jnp.float32)
    centres = jnp.zeros((components, points.shape[1]), jnp.float32)
    nearest, centres = jax.lax.fori_loop(
      jnp.uint32(0), jnp.uint32(components), choose, (nearest, centres)
    )
    return centres, nearest.mean()

  return jax.lax.map(one, restarts)


def _mix(x):
  """A bijection of 32 bits that leaves no trace of order (MurmurHash3)."""
  x = (x ^ (x >> 16)) * jnp.uint32(0x85EBCA6B)
  x = (x ^ (x >> 13)) * jnp.uint32(0xC2B2AE35)
  return x ^ (x >> 16)


def _gumbel(keys, step):
  bits = _mix(keys ^ _mix(step + jnp.uint32(1)))
  uniform = (bits >> 8).astype(jnp.float32) * 2**-24 + 2**-25
  return -jnp.log(-jnp.log(uniform))


def hashes(outputs: outputs_lib.Outputs) -> np.ndarray:
  """Returns hashes `[n]` uint32 of the features of each example."""
  parts = []
  rng = np.random.default_rng(0)
  width = outputs.num_features or 0
  odd = rng.integers(0, 2**31, width, dtype=np.uint32) * 2 + 1
  for chunk in outputs.feature_chunks():
    bits = np.ascontiguousarray(chunk, np.float32).view(np.uint32)
    parts.append(((bits ^ (bits >> 15)) * odd).sum(axis=1, dtype=np.uint32))
  return np.asarray(_mix(jnp.asarray(np.concatenate(parts))))
