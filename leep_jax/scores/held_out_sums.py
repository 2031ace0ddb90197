"""Sums of leave-one-out LEEP: the others' mass, likelihoods, their gradient.

The others' mass of an example's class and source label is J(y, z) - probs[i,
z]. Where the example has nearly all of J(y, z), that difference is rounding. So
it is taken only if the example has at most about half of J(y, z). Otherwise
the example is the only one with so much, and a pass over the examples sums the
mass of the rest. All terms are then right to a few units in the last place.
"""

from typing import Any

import jax
import jax.numpy as jnp

from leep_jax.engine import segments, statistics
from leep_jax.engine.batch import Batch, class_sums, reads

# An example with more than this share of the mass J(y, z) is dominant there.
_DOMINANT = 0.6


@reads("probs")
def label_squares(batch: Batch) -> jax.Array:
  """Sums the squared probabilities of each source label, `[Z]`.

  Example:
    >>> import numpy as np
    >>> from leep_jax.engine import statistics
    >>> from leep_jax.scores import held_out_sums
    >>> batch = statistics.Batch(
    ...   labels=np.array([0, 1], np.int32), weights=np.ones(2, np.float32),
    ...   num_classes=2, probs=np.array([[0.75, 0.25], [0.5, 0.5]], np.float32)
    ... )
    >>> held_out_sums.label_squares(batch).tolist()
    [0.8125, 0.3125]
  """
  probs = statistics.distributions(batch.probs) * batch.weights[:, None]
  squares: jax.Array = (probs**2).sum(axis=0)
  return squares


@reads("probs")
def mass_of_the_rest(batch: Batch, joint: jax.Array) -> jax.Array:
  """Joint mass of both labels without dominant probabilities, `[Y, Z]`.

  A probability is dominant if it is more than 0.6 of the mass of its two
  labels. At most one example has such a one, and the sum is the mass without
  it: to all digits of float32, however small it is.

  Args:
    batch: examples with probabilities.
    joint: `[Y, Z]`, their `statistics.joint`.

  Example:
    >>> import numpy as np
    >>> from leep_jax.engine import statistics
    >>> from leep_jax.scores import held_out_sums
    >>> batch = statistics.Batch(
    ...   labels=np.array([0, 0], np.int32), weights=np.ones(2, np.float32),
    ...   num_classes=1, probs=np.array([[0.75, 0.25], [0.5, 0.5]], np.float32)
    ... )
    >>> joint = statistics.joint(batch)
    >>> held_out_sums.mass_of_the_rest(batch, joint).tolist()  # .5 > .6 * .75
    [[1.25, 0.25]]
  """
  probs = statistics.distributions(batch.probs)
  dominant = probs > _DOMINANT * segments.rows_of(joint, batch.labels)
  return class_sums(jnp.where(dominant, 0, probs), batch)


@reads("probs")
def log_likelihood(
  batch: Batch,
  joint: jax.Array,
  rest: jax.Array,
  other: jax.Array,
  weight: jax.Array,
  frequency: jax.Array,
) -> dict[str, jax.Array]:
  """Sums the logarithms of the probabilities by the other examples' counts.

  Args:
    batch: examples with probabilities, which the next arrays have counted.
    joint: `[Y, Z]`, the mass of both labels.
    rest: `[Y, Z]`, that without a dominant example, see `mass_of_the_rest`.
    other: `[Y, Z]`, the mass of z in all other classes.
    weight: `[Z]`, the weight of the frequencies.
    frequency: `[Y]`, of the class among the others; 0 leaves the class out.

  Returns:
    `log_likelihood`, the sum over the examples with a probability above 0, and
    `zero` `[Y]`, the number of those of each class with probability 0.

  Example:
    >>> import numpy as np
    >>> from leep_jax.engine import statistics
    >>> from leep_jax.scores import held_out_sums
    >>> batch = statistics.Batch(
    ...   labels=np.array([0, 0, 1, 1], np.int32), num_classes=2,
    ...   weights=np.ones(4, np.float32), probs=np.full((4, 1), 1, np.float32)
    ... )
    >>> sums = held_out_sums.log_likelihood(
    ...   batch, *[np.array([[2.0], [2.0]])] * 3, np.array([0.0]),
    ...   np.array([1 / 3, 1 / 3]))
    >>> float(sums["log_likelihood"])  # 4 log 1/3
    -4.394...
  """
  sums: dict[str, jax.Array]
  sums, *_ = _held_out(batch, joint, rest, other, weight, frequency)
  return sums


@reads("probs")
def responsibilities(
  batch: Batch,
  joint: jax.Array,
  rest: jax.Array,
  other: jax.Array,
  weight: jax.Array,
  frequency: jax.Array,
) -> dict[str, Any]:
  """`log_likelihood` and its gradient by what it takes.

  An example counts as often as its weight says: a mixture of sources gives each
  the share of the example that it explains.

  Args:
    batch: see `log_likelihood`, as for the others.
    joint: `[Y, Z]`.
    rest: `[Y, Z]`.
    other: `[Y, Z]`.
    weight: `[Z]`.
    frequency: `[Y]`.

  Returns:
    The same, and `gradient`, a dictionary of the derivatives of the
    log-likelihood by the logarithms of `joint`, `rest`, `other` and `weight`,
    which are small also where little mass is left; by `frequency`; and by the
    share `own` (here 1) of the probabilities that is subtracted from `joint`.

  Example:
    >>> import numpy as np
    >>> from leep_jax.engine import statistics
    >>> from leep_jax.scores import held_out_sums
    >>> batch = statistics.Batch(
    ...   labels=np.array([0, 0, 1, 1], np.int32), num_classes=2,
    ...   weights=np.ones(4, np.float32), probs=np.full((4, 1), 1, np.float32)
    ... )
    >>> sums = held_out_sums.responsibilities(
    ...   batch, *[np.array([[2.0], [2.0]])] * 3, np.array([0.0]),
    ...   np.array([1 / 3, 1 / 3]))
    >>> print(sums["gradient"]["other"])  # 2 examples; -2 / (2 - 1 + 2) of each
    [[-1.333...]
     [-1.333...]]
  """
  sums, rows, _ = _held_out(batch, joint, rest, other, weight, frequency)
  probs, dominant, divisor, given, wrong, share = rows
  label = frequency[batch.labels][:, None]
  unused = divisor == 0
  # P = (own + s f) / (own + other + s). A quotient of a term and the divisor is
  # small; their inverses need not be.
  divisor = jnp.where(unused, 1, divisor)
  share_used = jnp.where(unused, 0, share)
  by_own = share_used * wrong
  by_joint = jnp.where(dominant, 0, by_own)
  weights = share_used * (weight[None] / divisor)
  joint, rest, other = (
    segments.rows_of(x, batch.labels) for x in (joint, rest, other)
  )
  # A label that no other example has predicts the frequency itself.
  by_label = (weights + share - share_used).sum(axis=1)
  counted = batch.weights[:, None]  # as `class_sums` counts examples
  gradient = {
    "joint": class_sums(by_joint * (joint / divisor), batch),
    "rest": class_sums((by_own - by_joint) * (rest / divisor), batch),
    "other": -class_sums(share_used * given * (other / divisor), batch),
    "weight": (counted * weights * (label - given)).sum(axis=0),
    "own": -(counted * by_joint * (probs / divisor)).sum(),
    "frequency": class_sums(by_label[:, None], batch)[:, 0],
  }
  return {**sums, "gradient": gradient}


def likelihoods(
  batch: Batch,
  joint: jax.Array,
  rest: jax.Array,
  other: jax.Array,
  weight: jax.Array,
  frequency: jax.Array,
) -> jax.Array:
  """Probabilities of the labels by the other examples' counts, `[B, 1]`.

  They are what `log_likelihood` sums the logarithms of; 0 also of an example
  whose class is left out.

  Args:
    batch: see `log_likelihood`, as for the others.
    joint: `[Y, Z]`.
    rest: `[Y, Z]`.
    other: `[Y, Z]`.
    weight: `[Z]`.
    frequency: `[Y]`.

  Example:
    >>> import numpy as np
    >>> from leep_jax.engine import statistics
    >>> batch = statistics.Batch(
    ...   labels=np.array([0, 0, 1, 1], np.int32), num_classes=2,
    ...   weights=np.ones(4, np.float32), probs=np.full((4, 1), 1, np.float32)
    ... )
    >>> from leep_jax.scores import held_out_sums
    >>> print(held_out_sums.likelihoods(
    ...   batch, *[np.array([[2.0], [2.0]])] * 3, np.array([0.0]),
    ...   np.array([1 / 3, 1 / 3])).round(3).T)
    [[0.333 0.333 0.333 0.333]]
  """
  _, _, (known, likelihood) = _held_out(
    batch, joint, rest, other, weight, frequency
  )
  return jnp.where(known, likelihood, 0)[:, None]


def _held_out(batch, joint, rest, other, weight, frequency):
  """Returns sums, arrays `[B, Z]`, and arrays `[B]`.

  The arrays `[B, Z]` are the probabilities, whether they are dominant, the
  denominators of P(y given z) without the example (0 where no other example has
  z), P(y given z), 1 minus it, and the probabilities over the likelihood. Those
  `[B]` are whether the likelihood is above 0, and the likelihood.
  """
  probs = statistics.distributions(batch.probs)
  label = frequency[batch.labels]
  f, weight = label[:, None], weight[None]
  joint, rest, other = (
    segments.rows_of(x, batch.labels) for x in (joint, rest, other)
  )
  # Another margin than that of the sum: a probability near it, which two
  # programs may round differently, is subtracted.
  dominant = (rest < 0.45 * joint) & (probs > 0.5 * joint)
  # Rounding may make the difference negative if joint is 0.
  own = jnp.where(dominant, rest, jnp.maximum(joint - probs, 0))
  every = own + other + weight
  unused = every <= 0
  divisor = jnp.where(unused, 1, every)
  given = jnp.where(unused, f, (own + weight * f) / divisor)
  # As in `statistics.log_likelihood`, where P(y given z) = 1 for all z, the
  # likelihood is exactly 1.
  wrong = jnp.where(unused, 1 - f, (other + weight * (1 - f)) / divisor)
  right, miss = (probs * given).sum(axis=1), (probs * wrong).sum(axis=1)
  used = (batch.weights > 0) & (label > 0)
  known = used & (right > 0)
  likelihood = jnp.where(known, right / jnp.where(known, right + miss, 1), 1)
  zero = (used & ~known).astype(jnp.float32)
  sums = {
    "log_likelihood": statistics.long_sum(batch.weights * jnp.log(likelihood)),
    "zero": class_sums(zero[:, None], batch)[:, 0],
  }
  share = probs * jnp.where(known, 1 / jnp.where(known, right, 1), 0)[:, None]
  rows = probs, dominant, every, given, wrong, share
  return sums, rows, (known, likelihood)
