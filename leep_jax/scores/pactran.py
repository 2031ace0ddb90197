"""PACTran of the source's probabilities: bounds of a log evidence.

A source label z stands for a distribution over target labels, as in LEEP, but
it is drawn from a prior instead of counted. The PAC-Bayesian bound of the error
of the best posterior is minus the log evidence of the labels (and a constant).
It has no closed form; a variational posterior over the source label of each
example bounds it, and improves in steps that are one pass over the outputs
each. No posterior of size n x Z is stored.

Both scores are in nats per example, and higher means that the source transfers
better. Symbols: n examples, Y target classes, Z source classes; s_i the
source's distribution for example i, q_i its variational posterior over z, pi_y
the share of class y.
"""

from collections.abc import Callable
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np
import numpy.typing as npt

from leep_jax import validation
from leep_jax.engine import outputs as outputs_lib, segments, statistics
from leep_jax.engine.batch import Statistic
from leep_jax.scores import jackknife

# As in the authors' code: the prior's weight is that of one example for each
# source label.
CONCENTRATION = 1.0
STEPS = 10

Sums = dict[str, np.ndarray]


def pactran_dirichlet(
  probs: npt.ArrayLike,
  labels: npt.ArrayLike,
  *,
  num_classes: int | None = None,
  concentration: float = CONCENTRATION,
  steps: int = STEPS,
) -> float:
  """Log evidence of P(y given z) with a Dirichlet prior, at most 0, in nats.

  The evidence is E[prod_i sum_z s_i(z) w(y_i, z)], where the columns of w are
  drawn from a Dirichlet distribution with parameters a0(y) = `concentration`
  pi_y. With a(y, z) = a0(y) + the sum of q_i(z) over the examples of class y,
  and C the normaliser of a Dirichlet distribution, its logarithm is at least

    sum_z (log C(a0) - log C(a(., z))) - sum_i KL(q_i || s_i).

  The score is this bound divided by n: minus the published metric. q starts at
  s and takes `steps` steps of coordinate ascent, q_i(z) in proportion to
  s_i(z) exp(psi(a(y_i, z)) - psi(sum_y a(y, z))). Higher transfers better.

  Each source label costs the evidence of its own distribution, which with few
  examples is a disadvantage of sources with many labels, where it is an
  advantage in LEEP. Published code divides by n Y instead of n, and takes q of
  the last step, but a of the step before.

  Args:
    probs: `[n, Z]`, the source model's probabilities.
    labels: `[n]`, target labels from 0.
    num_classes: Y; by default the largest label plus 1. The score does not
      depend on it.
    concentration: weight of the prior of a source label, in examples.
    steps: of coordinate ascent.

  Raises:
    InputError: if there are no examples, lengths differ, labels are not
      integers in 0..Y-1, rows of `probs` are not distributions, or an option is
      out of range.

  Reference: Ding, Chen, Levinboim, Changpinyo & Soricut, "PACTran: PAC-Bayesian
  Metrics for Estimating the Transferability of Pretrained Models to
  Classification Tasks", ECCV 2022, arXiv 2203.05126.

  Example:
    The first source gives both target classes to different source classes, the
    second gives every example the same distribution.

    >>> import leep_jax
    >>> labels = [0, 1] * 20
    >>> informative = [[0.9, 0.1], [0.1, 0.9]] * 20
    >>> for probs in (informative, [[0.5, 0.5]] * 40):
    ...   print(f"{leep_jax.pactran_dirichlet(probs, labels):.3f}")
    -0.208
    -0.780
  """
  return jackknife.value(
    pactran_dirichlet_parts(
      outputs_lib.Outputs.from_arrays(
        probs=probs, labels=labels, num_classes=num_classes
      ),
      concentration=concentration,
      steps=steps,
    )
  )


def pactran_gamma(
  probs: npt.ArrayLike,
  labels: npt.ArrayLike,
  *,
  num_classes: int | None = None,
  concentration: float = CONCENTRATION,
  steps: int = STEPS,
) -> float:
  """Log evidence of weights with Gamma priors, at most 0, in nats.

  As `pactran_dirichlet`, for p(y given x_i) = sum_z s_i(z) v(y, z) / sum_z,c
  s_i(z) v(c, z), where each v(y, z) is drawn from a Gamma distribution of shape
  a0(y) = `concentration` pi_y and rate 1. With a as there, l_i an approximation
  of the denominator, and b(z) = 1 + sum_i s_i(z) / l_i, the log evidence is at
  least

    sum_y,z (log Gamma(a(y, z)) - log Gamma(a0(y)) - a(y, z) log b(z))
    - sum_i (KL(q_i || s_i) + log l_i - 1).

  Steps are q_i(z) in proportion to s_i(z) exp(psi(a(y_i, z))) / b(z), and l_i =
  sum_z s_i(z) sum_y a(y, z) / b(z). Higher transfers better.

  Published code leaves b at 1, the rate of the prior, which is a looser bound,
  and divides by n Y instead of n.

  Args:
    probs: `[n, Z]`, the source model's probabilities.
    labels: `[n]`, target labels from 0.
    num_classes: see `pactran_dirichlet`.
    concentration: see `pactran_dirichlet`.
    steps: see `pactran_dirichlet`.

  Raises:
    InputError: as `pactran_dirichlet`.

  Reference: Ding, Chen, Levinboim, Changpinyo & Soricut, "PACTran: PAC-Bayesian
  Metrics for Estimating the Transferability of Pretrained Models to
  Classification Tasks", ECCV 2022, arXiv 2203.05126.

  Example:
    >>> import leep_jax
    >>> labels = [0, 1] * 20
    >>> informative = [[0.9, 0.1], [0.1, 0.9]] * 20
    >>> for probs in (informative, [[0.5, 0.5]] * 40):
    ...   print(f"{leep_jax.pactran_gamma(probs, labels):.3f}")
    -0.288
    -0.860
  """
  return jackknife.value(
    pactran_gamma_parts(
      outputs_lib.Outputs.from_arrays(
        probs=probs, labels=labels, num_classes=num_classes
      ),
      concentration=concentration,
      steps=steps,
    )
  )


@statistics.reads("probs")
def assignments(batch: statistics.Batch, table: jax.Array) -> dict[str, Any]:
  """Sums of the posterior over source labels, q in proportion to s exp(table).

  Args:
    batch: examples with probabilities s.
    table: `[Y, Z]`, logarithms.

  Returns:
    `mass` `[Y, Z]`, the sum of q over the examples of each class, and `log`,
    the sum of the logarithms of what q is divided by.

  Example:
    >>> import jax.numpy as jnp
    >>> from leep_jax.engine import statistics
    >>> from leep_jax.scores import pactran
    >>> batch = statistics.Batch(
    ...   labels=jnp.array([0]), weights=jnp.ones(1), num_classes=1,
    ...   probs=jnp.array([[0.5, 0.5]]))
    >>> sums = pactran.assignments(batch, jnp.log(jnp.array([[0.2, 0.6]])))
    >>> print(sums["mass"].tolist()[0][0], f"{jnp.exp(sums['log']):.3f}")
    0.25 0.400
  """
  probs = statistics.distributions(batch.probs)
  # Logarithms: weights of a class that is rare may underflow.
  logs = jnp.where(probs > 0, jnp.log(probs), -jnp.inf)
  logs = logs + segments.rows_of(table, batch.labels)
  largest = logs.max(axis=1, keepdims=True)
  largest = jnp.where(jnp.isfinite(largest), largest, 0)  # rows of padding
  odds = jnp.exp(logs - largest)
  total = odds.sum(axis=1, keepdims=True)
  total = jnp.where(total > 0, total, 1)
  log = (jnp.log(total) + largest)[:, 0] * batch.weights
  return {
    "mass": statistics.class_sums(odds / total, batch),
    "log": statistics.long_sum(log),
  }


@statistics.reads("probs")
def scaled_assignments(
  batch: statistics.Batch, table: jax.Array, totals: jax.Array
) -> dict[str, Any]:
  """`assignments`, and sums of the denominators l = s . totals.

  Args:
    batch: examples with probabilities s.
    table: `[Y, Z]`, logarithms.
    totals: `[Z]`, above 0.

  Returns:
    `mass` and `log` as `assignments`; `scale`, the sum of log l; and `inverse`
    `[Z]`, that of s / l.

  Example:
    >>> import jax.numpy as jnp
    >>> from leep_jax.engine import statistics
    >>> from leep_jax.scores import pactran
    >>> batch = statistics.Batch(
    ...   labels=jnp.array([0]), weights=jnp.ones(1), num_classes=1,
    ...   probs=jnp.array([[0.5, 0.5]]))
    >>> sums = pactran.scaled_assignments(
    ...   batch, jnp.zeros((1, 2)), jnp.array([1.0, 3.0]))
    >>> print(sums["inverse"], f"{jnp.exp(sums['scale']):.3f}")
    [0.25 0.25] 2.000
  """
  probs = statistics.distributions(batch.probs)
  scale = (probs * totals[None]).sum(axis=1)
  scale = jnp.where(batch.weights > 0, scale, 1)
  return {
    **assignments(batch, table),
    "scale": statistics.long_sum(jnp.log(scale)),
    "inverse": (probs / scale[:, None] * batch.weights[:, None]).sum(axis=0),
  }


def pactran_dirichlet_parts(
  outputs: outputs_lib.Outputs,
  *,
  concentration: float = CONCENTRATION,
  steps: int = STEPS,
) -> jackknife.Parts:
  """Returns `pactran_dirichlet` as sums and a function of them.

  Without a group of examples, the posterior q of the others stays that of all
  examples; a and the bound are computed again. As q maximises the bound, what
  is neglected is of second order.

  Args:
    outputs: with probabilities and labels.
    concentration: see `pactran_dirichlet`.
    steps: see `pactran_dirichlet`.

  Raises:
    InputError: as `pactran_dirichlet`.

  Example:
    >>> import leep_jax
    >>> from leep_jax.scores import jackknife
    >>> from leep_jax.scores import pactran
    >>> outputs = leep_jax.Outputs.from_arrays(
    ...   probs=[[0.5, 0.5]] * 4, labels=[0, 0, 1, 1])
    >>> round(jackknife.value(pactran.pactran_dirichlet_parts(outputs)), 4)
    -1.0397
  """
  import scipy.special

  def expected(sums):
    prior = _prior(sums["counts"], concentration)
    shapes = prior + sums["mass"]
    digamma = scipy.special.digamma
    return (digamma(shapes) - digamma(shapes.sum(axis=0)),)

  def finalise(sums):
    # Without a group, a class may have no examples left.
    present = sums["counts"] > 0
    prior = _prior(sums["counts"][present], concentration)
    shapes = prior + np.maximum(sums["mass"][present], 0)
    log_gamma = scipy.special.gammaln
    bound = log_gamma(shapes).sum(axis=0) - log_gamma(shapes.sum(axis=0))
    bound -= log_gamma(prior).sum() - log_gamma(concentration)
    n = sums["counts"].sum()
    return min(float(bound.sum() - sums["divergence"]) / n, 0.0)

  return _ascend(outputs, assignments, expected, finalise, concentration, steps)


def pactran_gamma_parts(
  outputs: outputs_lib.Outputs,
  *,
  concentration: float = CONCENTRATION,
  steps: int = STEPS,
) -> jackknife.Parts:
  """Returns `pactran_gamma` as sums and a function of them.

  As in `pactran_dirichlet_parts`, q and l stay those of all examples.

  Args:
    outputs: with probabilities and labels.
    concentration: see `pactran_dirichlet`.
    steps: see `pactran_dirichlet`.

  Raises:
    InputError: as `pactran_dirichlet`.

  Example:
    >>> import leep_jax
    >>> from leep_jax.scores import jackknife
    >>> from leep_jax.scores import pactran
    >>> outputs = leep_jax.Outputs.from_arrays(
    ...   probs=[[0.5, 0.5]] * 4, labels=[0, 0, 1, 1])
    >>> round(jackknife.value(pactran.pactran_gamma_parts(outputs)), 4)
    -1.3411
  """
  import scipy.special

  def expected(sums):
    shapes = _prior(sums["counts"], concentration) + sums["mass"]
    # At first, l is 1, to which the probabilities of an example sum.
    rates = 1 + sums.get("inverse", sums["mass"].sum(axis=0))
    logs = scipy.special.digamma(shapes) - np.log(rates)
    return logs, shapes.sum(axis=0) / rates

  def finalise(sums):
    present = sums["counts"] > 0
    prior = _prior(sums["counts"][present], concentration)
    shapes = prior + np.maximum(sums["mass"][present], 0)
    rates = 1 + np.maximum(sums["inverse"], 0)
    log_gamma = scipy.special.gammaln
    bound = log_gamma(shapes) - log_gamma(prior) - shapes * np.log(rates)
    n = sums["counts"].sum()
    rest = sums["divergence"] + sums["scale"] - n
    return min(float(bound.sum() - rest) / n, 0.0)

  return _ascend(
    outputs, scaled_assignments, expected, finalise, concentration, steps
  )


def _prior(counts, concentration):
  """Shapes `[Y, 1]` of the prior, in proportion to the classes' examples."""
  return concentration * counts[:, None] / counts.sum()


def _ascend(
  outputs: outputs_lib.Outputs,
  statistic: Statistic,
  expected: Callable[[Sums], tuple[np.ndarray, ...]],
  finalise: Callable[[Sums], float],
  concentration: float,
  steps: int,
) -> jackknife.Parts:
  """Steps of coordinate ascent, and the bound of the posterior that they reach.

  Args:
    outputs: with probabilities and labels.
    statistic: of what `expected` returns, that sums the posterior.
    expected: the expected logarithms `[Y, Z]` of the weights under the sums of
      a posterior, and what else the statistic takes.
    finalise: the score of such sums and `divergence`, that of all q_i from s_i.
    concentration: checked here.
    steps: checked here.
  """
  validation.at_least_1("steps", steps)
  if not 0 < concentration < np.inf:
    raise validation.InputError(
      f"concentration is {concentration}, but must be above 0"
    )
  counts = outputs.class_counts.astype(np.float64)
  one = outputs.ungrouped
  sums: Sums = {"mass": one.sum(statistics.joint)}  # q = s
  for _ in range(steps - 1):
    arguments = expected({**sums, "counts": counts})
    sums = one.sum(statistic, *(x.astype(np.float32) for x in arguments))
  # Rounded as the devices read it, for what is added and subtracted to cancel.
  arguments = tuple(
    x.astype(np.float32) for x in expected({**sums, "counts": counts})
  )
  last = outputs.group_sums(statistic, *arguments)
  # log q_i - log s_i is the table less the logarithm of the divisor.
  along = (last["mass"] * arguments[0].astype(np.float64)).sum(axis=(1, 2))
  return jackknife.Parts.by_group(
    finalise,
    {**last, "divergence": along - last["log"], "counts": outputs.group_counts},
  )
