"""SFDA: how well classes are told apart where confident examples are hard.

The score is between 0 and 1 and has no unit; higher means that the source
transfers better. Symbols as in `discriminant`.
"""

import dataclasses

import jax
import jax.numpy as jnp
import numpy as np
import numpy.typing as npt

from leep_jax.engine import outputs as outputs_lib, segments, statistics
from leep_jax.scores import coordinates, discriminant, jackknife


def sfda(
  features: npt.ArrayLike,
  labels: npt.ArrayLike,
  *,
  num_classes: int | None = None,
) -> float:
  """Mean probability of the true label after mixing, from 0 to 1.

  A linear discriminant analysis with a shrunk covariance (`discriminant`) gives
  p_i, the probabilities of example i. Features are mixed with those of other
  classes, f_i' = c_i f_i + (1 - c_i) o(y_i), where o(y) is the mean of the
  other classes' means and c_i = softmax(p_i)(y_i). The score is the mean
  probability of the true label under a second analysis, of f', with the
  shrinkage of the first. Higher transfers better.

  c_i is a softmax of probabilities, as in the authors' code: it is between 1 /
  (Y - 1 + e) and e / (Y - 1 + e), so that also certain examples are mixed. That
  code approximates the largest eigenvalue by six products; here it is exact.
  The score depends on the unit of the features. With no more examples than
  features and little shrinkage, it is 1 for any labels.

  Args:
    features: `[n, D]`, the source model's penultimate features.
    labels: `[n]`, target labels from 0.
    num_classes: Y; by default the largest label plus 1. SFDA does not depend on
      it.

  Raises:
    InputError: if there are no examples, lengths differ, labels are not
      integers in 0..Y-1, or features are not finite.

  Reference: Shao, Zhao, Ge, Zhang, Yang, Wang, Shan & Luo, "Not All Models Are
  Equal: Predicting Model Transferability in a Self-challenging Fisher Space",
  ECCV 2022, arXiv 2207.03036.

  Example:
    >>> import leep_jax
    >>> import numpy as np
    >>> rng = np.random.default_rng(0)
    >>> labels = np.arange(200) % 2
    >>> noise = rng.normal(size=(200, 2))
    >>> for features in (noise + 3 * labels[:, None], noise):
    ...   print(f"{leep_jax.sfda(features, labels):.3f}")
    0.836
    0.501
  """
  return jackknife.value(
    sfda_parts(
      outputs_lib.Outputs.from_arrays(
        features=features, labels=labels, num_classes=num_classes
      )
    )
  )


def _kept(batch, logits):
  """c of each example, `[B, 1]`."""
  soft = jax.nn.softmax(jax.nn.softmax(logits))
  return discriminant.of_label(soft, batch)[:, None]


@statistics.reads("features")
def mixed_moments(
  batch: statistics.Batch,
  mean: jax.Array,
  basis: jax.Array,
  coefficients: jax.Array,
  intercepts: jax.Array,
  others: jax.Array,
) -> dict[str, jax.Array]:
  """`statistics.moments` of the mixed coordinates t'.

  Args:
    batch: examples with features f.
    mean: `[D]`.
    basis: `[D, K]`; t = (f - mean) basis.
    coefficients: `[K, Y]`.
    intercepts: `[Y]`.
    others: `[Y, K]`, o, of t.

  Example:
    >>> import jax.numpy as jnp
    >>> from leep_jax.engine import statistics
    >>> from leep_jax.scores import sfda
    >>> batch = statistics.Batch(
    ...   labels=jnp.array([0]), weights=jnp.ones(1), num_classes=2,
    ...   features=jnp.array([[3.0]]))
    >>> sums = sfda.mixed_moments(
    ...   batch, jnp.zeros(1), jnp.eye(1), jnp.zeros((1, 2)), jnp.zeros(2),
    ...   jnp.ones((2, 1)))
    >>> sums["class_sums"].tolist()  # halfway from 3 to 1
    [[2.0], [0.0]]
  """
  t = statistics.project(batch.features, mean, basis)
  logits = jnp.matmul(t, coefficients, precision=jax.lax.Precision.HIGHEST)
  kept = _kept(batch, logits + intercepts[None])
  mixed = kept * t + (1 - kept) * segments.rows_of(others, batch.labels)
  return statistics.moments(
    dataclasses.replace(batch, features=mixed, targets=None)
  )


@statistics.reads("features")
def mixed_probability(
  batch: statistics.Batch,
  mean: jax.Array,
  first: jax.Array,
  first_intercepts: jax.Array,
  second: jax.Array,
  intercepts: jax.Array,
  others: jax.Array,
) -> jax.Array:
  """The summed probability of the true labels of mixed examples; scalar.

  Args:
    batch: examples with features f.
    mean: `[D]`.
    first: `[D, Y]`, the kernel of the first analysis.
    first_intercepts: `[Y]`.
    second: `[D, Y]`, that of the second.
    intercepts: `[Y]`.
    others: `[Y, Y]`, the logits of o under the second, without intercepts.

  Example:
    >>> import jax.numpy as jnp
    >>> from leep_jax.engine import statistics
    >>> from leep_jax.scores import sfda
    >>> batch = statistics.Batch(
    ...   labels=jnp.array([0]), weights=jnp.ones(1), num_classes=2,
    ...   features=jnp.array([[3.0]]))
    >>> kernel, zero = jnp.zeros((1, 2)), jnp.zeros(2)
    >>> float(sfda.mixed_probability(
    ...   batch, jnp.zeros(1), kernel, zero, kernel, zero, jnp.zeros((2, 2))))
    0.5
  """
  logits = statistics.project(batch.features, mean, first)
  kept = _kept(batch, logits + first_intercepts[None])
  # The analysis is linear, and so is mixing.
  logits = kept * statistics.project(batch.features, mean, second)
  logits = logits + (1 - kept) * segments.rows_of(others, batch.labels)
  found = jax.nn.softmax(logits + intercepts[None])
  right = discriminant.of_label(found, batch) * batch.weights
  return statistics.long_sum(right)


def sfda_parts(outputs: outputs_lib.Outputs) -> jackknife.Parts:
  """Returns `sfda` as sums and a function of them.

  Both analyses are fitted again without each group.

  Args:
    outputs: with features and labels.

  Raises:
    InputError: as `sfda`.

  Example:
    >>> import leep_jax
    >>> from leep_jax.scores import jackknife
    >>> from leep_jax.scores import sfda
    >>> outputs = leep_jax.Outputs.from_arrays(
    ...   features=[[0.0], [0.0], [0.0], [0.0]], labels=[0, 0, 1, 1])
    >>> jackknife.value(sfda.sfda_parts(outputs))
    0.5
  """
  known = coordinates.coordinates(outputs)
  dimensions = outputs.num_features or 0
  after = _on_devices if known.points is None else _on_host

  def finalise(here, kept):
    amount = discriminant.shrinkage(here.within, here.deviations)
    first = discriminant.of_coordinates(here, amount, dimensions)
    # Of one class there are no others: its examples stay as they are.
    others, classes = here.means, np.count_nonzero(here.counts)
    if classes > 1:
      others = (others.sum(axis=0) - others) / (classes - 1)
    sums, right = after(outputs, known, kept, first, others)
    second = discriminant.of_coordinates(
      here.of_sums({**sums, "counts": here.counts}), amount, dimensions
    )
    return discriminant.mean_of(outputs, right(second), kept)

  return known.parts(outputs, finalise)


def _on_devices(outputs, known, kept, first, others):
  """The moments of mixed examples, and a function of the second analysis.

  The function returns the summed probability of the true labels in each group.
  """
  mean, others = known.mean.astype(np.float32), others.astype(np.float32)
  arguments = (
    mean,
    known.basis.astype(np.float32),
    *first.arrays(np.eye(len(known.deviations))),
    others,
  )
  sums = outputs.ungrouped.sum(mixed_moments, *arguments)
  for group in np.flatnonzero(~kept):
    left = outputs.features_of_group(group).sum(mixed_moments, *arguments)
    sums = {key: sums[key] - left[key] for key in sums}

  def right(second):
    return outputs.group_sums(
      mixed_probability,
      mean,
      *first.arrays(known.basis),
      *second.arrays(known.basis),
      (others @ second.coefficients.T).astype(np.float32),
    )

  return sums, right


def _on_host(outputs, known, kept, first, others):
  """As `_on_devices`, of points on the host."""
  import scipy.special

  codes = outputs.codes
  soft = scipy.special.softmax(first.of_points(known.points), axis=1)
  stay = soft[np.arange(len(codes)), codes][:, None]
  mixed = stay * known.points + (1 - stay) * others[codes]
  return (
    coordinates.sums_of(outputs, mixed, kept[outputs.group_of]),
    lambda second: discriminant.right_by_group(
      outputs, second.of_points(mixed)
    ),
  )
