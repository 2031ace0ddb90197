"""N-LEEP: LEEP with clusters of the features in place of source labels.

A mixture of C Gaussians is fitted to the largest principal components of the
features (`gaussian_mixture`). N-LEEP is LEEP of the posterior over the
mixture's components. As in the fit, the posterior is computed again in each
pass: no array of size n x C is stored.

N-LEEP is in nats and at most 0; higher means that the source transfers better.
Symbols: n examples, Y target classes, D features, K principal components, C
Gaussians in a mixture.
"""

import jax
import numpy as np
import numpy.typing as npt

from leep_jax import validation
from leep_jax.engine import outputs as outputs_lib, statistics
from leep_jax.scores import (
  gaussian_mixture,
  jackknife,
  leep as leep_lib,
  moments as moments_lib,
)

# Share of the variance, and Gaussians for each class, in the paper.
VARIANCE = 0.8
PER_CLASS = 5


def n_leep(
  features: npt.ArrayLike,
  labels: npt.ArrayLike,
  *,
  num_classes: int | None = None,
  components: int | None = None,
  variance: float = VARIANCE,
  restarts: int = gaussian_mixture.RESTARTS,
  iterations: int = gaussian_mixture.ITERATIONS,
  tolerance: float = gaussian_mixture.TOLERANCE,
) -> float:
  """LEEP of the posterior of a Gaussian mixture, in nats; at most 0.

  Features are reduced to the principal components that have 80 % of their
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
  restarts: int = gaussian_mixture.RESTARTS,
  iterations: int = gaussian_mixture.ITERATIONS,
  tolerance: float = gaussian_mixture.TOLERANCE,
) -> jackknife.Parts:
  """Returns `n_leep` as sums and a function of them.

  The mixture is fitted to all examples, also if the jackknife leaves a group
  out.

  Args:
    outputs: with features and labels.
    components: see `n_leep`.
    variance: see `n_leep`.
    restarts: see `n_leep`.
    iterations: see `n_leep`.
    tolerance: see `n_leep`.

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
  known = moments_lib.principal(outputs)
  shares, axes = known.variances, known.axes
  # A little less than `variance`: if it is 1, rounding of the cumulative sum
  # must not select more components than there are.
  enough = variance * shares.sum() * (1 - 1e-9)
  kept = int(np.searchsorted(np.cumsum(shares), enough)) + 1
  if len(shares):
    # One scale for all components, so that their mean variance is 1: the
    # smallest variance of a Gaussian is a share of it.
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
  mixture, _ = gaussian_mixture.fit(
    projected.ungrouped,
    # Of the features as given: the last bits of projections depend on devices.
    gaussian_mixture.hashes(outputs),
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


def _as_probs(batch, mixture):
  """The batch with the mixture's posterior in place of probabilities."""
  # One restart: the axis of restarts has length 1.
  posterior, _ = gaussian_mixture.posterior(
    batch.features, *(part[None] for part in mixture)
  )
  return statistics.Batch(
    labels=batch.labels,
    weights=batch.weights,
    num_classes=batch.num_classes,
    probs=posterior[:, 0],
  )


@statistics.reads("features")
def mixture_joint(batch: statistics.Batch, *mixture: jax.Array) -> jax.Array:
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
def mixture_log_likelihood(
  batch: statistics.Batch, *arguments: jax.Array
) -> jax.Array:
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
    >>> table = jnp.full((2, 2), 0.5)  # uninformative: 2 log 0.5
    >>> f"{n_leep.mixture_log_likelihood(batch, *mixture, table):.4f}"
    '-1.3863'
  """
  *mixture, table = arguments
  return statistics.log_likelihood(_as_probs(batch, mixture), table)


@statistics.reads("features")
def mixture_responsibilities(
  batch: statistics.Batch, *arguments: jax.Array
) -> dict[str, jax.Array]:
  """`statistics.responsibilities` of the posterior of a mixture.

  Args:
    batch: examples with features.
    *arguments: see `mixture_log_likelihood`.

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
