"""Standard errors, confidence intervals and paired differences of scores.

Every score is a function of sums over examples. If each of G groups of examples
has its own sums, the sums without a group are the total minus those of the
group, and the score without the group needs no second pass over the data. This
is the delete-a-group jackknife.
"""

from collections.abc import Callable
import dataclasses
import math
from typing import Any, Protocol

import jax
import numpy as np

from leep_jax import validation

GROUPS = 20
LEVEL = 0.95


class HasValue(Protocol):
  """A score in parts: `Parts`, or `per_example.PerExample`.

  Example:
    >>> import numpy as np
    >>> from leep_jax.scores import jackknife
    >>> from leep_jax.scores import per_example
    >>> jackknife.value(per_example.PerExample.mean(np.array([1.0, 0.0])))
    0.5
  """

  @property
  def value(self) -> float:
    """The score of all examples."""


@dataclasses.dataclass(frozen=True, eq=False)
class Parts:
  """A score as a function of sums over examples, and those sums.

  Attributes:
    finalise: function of sums that returns the score.
    total: the sums over all examples, a pytree of arrays.
    of_group: function of a group's number that returns the sums over the
      examples of the group.

  Example:
    A mean, of three groups with 2, 2 and 4 examples:

    >>> import numpy as np
    >>> from leep_jax.scores import jackknife
    >>> parts = jackknife.Parts.by_group(
    ...   lambda sums: float(sums["x"] / sums["n"]),
    ...   {"x": np.array([2.0, 6.0, 8.0]), "n": np.array([2, 2, 4])})
    >>> jackknife.value(parts)
    2.0
    >>> jackknife.estimate(parts, np.array([2, 2, 4])).deleted.round(3).tolist()
    [2.333, 1.667, 2.0]
  """

  finalise: Callable[[Any], float]
  total: Any
  of_group: Callable[[int], Any]

  @property
  def value(self) -> float:
    """The score of all examples."""
    return float(self.finalise(self.total))

  @classmethod
  def by_group(cls, finalise: Callable[[Any], float], sums: Any) -> "Parts":
    """Returns the parts of a score whose sums of all groups are in memory.

    Args:
      finalise: function of sums that returns the score.
      sums: a pytree of arrays `[G, ...]`.
    """
    return cls(
      finalise,
      jax.tree.map(lambda x: x.sum(axis=0), sums),
      lambda group: jax.tree.map(lambda x: x[group], sums),
    )

  @classmethod
  def of_mean(
    cls, values: np.ndarray, group_of: np.ndarray, groups: int
  ) -> "Parts":
    """Returns the parts of a score that is a mean of numbers of examples.

    Args:
      values: `[n]`, of which the score is the mean.
      group_of: `[n]`, the group of each example.
      groups: G.
    """
    return cls.by_group(
      lambda sums: float(sums["sum"] / sums["size"]),
      {
        "sum": np.bincount(group_of, values, minlength=groups),
        "size": np.bincount(group_of, minlength=groups),
      },
    )

  @classmethod
  def of_examples(
    cls,
    finalise: Callable[[np.ndarray], float],
    group_of: np.ndarray,
    groups: int,
  ) -> "Parts":
    """Returns the parts of a score that is not a function of sums.

    Such a score is computed again without each group, so it must be cheap.

    Args:
      finalise: function of booleans `[n]`, the examples that take part, that
        returns their score.
      group_of: `[n]`, the group of each example.
      groups: G.
    """
    # The sums of group g are row g of an identity matrix. Without the group,
    # the total has a 0 there, which marks the examples to leave out.
    return cls.by_group(
      lambda kept: finalise(kept[group_of] > 0), np.eye(groups)
    )


@dataclasses.dataclass(frozen=True, eq=False)
class Estimate:
  """A score, with its values when one group of examples is left out.

  Attributes:
    value: the score.
    deleted: `[G]`, the score without the examples of each group.
    sizes: `[G]`, the number of examples in each group.
    examples: a digest of the labels or targets in their order
      (`Outputs.examples`), which identifies scores of the same examples; empty
      if it is not known.

  Example:
    >>> import numpy as np
    >>> from leep_jax.scores import jackknife
    >>> leep = jackknife.Estimate(
    ...   -0.7, np.array([-0.68, -0.71, -0.69, -0.72]), np.full(4, 100))
    >>> round(leep.standard_error, 3)
    0.027
    >>> low, high = leep.interval()
    >>> f"{low:.2f} to {high:.2f}"
    '-0.79 to -0.61'
  """

  value: float
  deleted: np.ndarray
  sizes: np.ndarray
  examples: str = ""

  @property
  def standard_error(self) -> float | None:
    """Standard error of the value; None if there are fewer than 2 groups.

    Of n examples in G groups of m_g, se^2 = 1/G sum_g (p_g - p)^2 / (n/m_g -
    1), with pseudo-values p_g = n/m_g value - (n/m_g - 1) deleted_g and their
    mean p weighted by m_g; for groups of one size that is (G-1)/G sum_g
    (deleted_g - mean deleted)^2. It measures how the score varies from sample
    to sample. It does not include the bias of small samples (scores that fit
    many numbers to few examples are too high).

    Reference: Busing, Meijer & van der Leeden, "Delete-m jackknife for unequal
    m", Statistics and Computing 1999, equation 9.
    """
    if len(self.deleted) < 2 or not np.all(np.isfinite(self.deleted)):
      return None
    odds = self.sizes.sum() / self.sizes
    pseudo = odds * self.value - (odds - 1) * self.deleted
    mean = np.average(pseudo, weights=self.sizes)
    return float(np.sqrt(np.mean((pseudo - mean) ** 2 / (odds - 1))))

  def interval(self, *, level: float = LEVEL) -> tuple[float, float] | None:
    """Confidence interval by Student's t with G - 1 degrees of freedom.

    Args:
      level: about the share of samples whose interval covers the mean of the
        score over samples of this size.

    Returns:
      The ends of the interval, or None if there is no standard error.

    Raises:
      InputError: if `level` is not between 0 and 1.
    """
    check_level(level)
    error = self.standard_error
    if error is None:
      return None
    import scipy.stats

    half = scipy.stats.t.ppf((1 + level) / 2, len(self.deleted) - 1) * error
    return self.value - float(half), self.value + float(half)

  def minus(self, other: "Estimate") -> "Estimate":
    """The difference from a score of the same groups of examples.

    Args:
      other: to subtract.
    """
    return Estimate(
      self.value - other.value,
      self.deleted - other.deleted,
      self.sizes,
      self.examples,
    )


def check_level(level: float) -> None:
  """Refuses a confidence level that is not between 0 and 1.

  Args:
    level: of an interval.

  Raises:
    InputError: if it is not.

  Example:
    >>> from leep_jax.scores import jackknife
    >>> jackknife.check_level(0.95)
  """
  if not 0 < level < 1:
    raise validation.InputError(
      f"level is {level}, but must be between 0 and 1"
    )


def paired_difference(first: Estimate, second: Estimate) -> Estimate:
  """The difference `first - second` of two scores of the same examples.

  Groups contain the same examples for both sources, so the influence of easy
  and hard examples cancels: the interval is usually far narrower than those of
  the scores.

  Args:
    first: one source's score.
    second: the same score of another source, on the same examples in the same
      order.

  Returns:
    The difference, with a standard error and an interval of its own. If the
    interval excludes 0, the scores differ significantly.

  Raises:
    InputError: if examples, their order or groups are not the same.

  Example:
    >>> import numpy as np
    >>> from leep_jax.scores import jackknife
    >>> sizes = np.full(4, 100)
    >>> first = jackknife.Estimate(
    ...   -0.70, np.array([-0.68, -0.71, -0.69, -0.72]), sizes)
    >>> second = jackknife.Estimate(
    ...   -0.75, np.array([-0.73, -0.76, -0.745, -0.765]), sizes)
    >>> difference = jackknife.paired_difference(first, second)
    >>> round(difference.standard_error, 3), round(second.standard_error, 3)
    (0.006, 0.024)
  """
  if not np.array_equal(first.sizes, second.sizes):
    raise validation.InputError(
      f"scores of {first.sizes.sum():.0f} and {second.sizes.sum():.0f} "
      f"examples in {len(first.sizes)} and {len(second.sizes)} groups are no "
      "pair: both sources need the same examples"
    )
  if not same_examples(first.examples, second.examples):
    raise validation.InputError(
      "scores of the same number of examples, but with other labels, in "
      "another order or of other data, are no pair: does a loader shuffle, or "
      "were data changed in between? Compute both on the same examples in one "
      "order"
    )
  return first.minus(second)


def same_examples(first: str, second: str) -> bool:
  """Returns whether two digests may be of the same examples in one order.

  A digest is of labels, and of data where they are known; an empty part matches
  any.

  Args:
    first: of `Outputs.examples`, or empty.
    second: another.

  Example:
    >>> from leep_jax.scores import jackknife
    >>> jackknife.same_examples("3f:a0", "3f")  # of data that are not known
    True
    >>> jackknife.same_examples("3f:a0", "3f:b1")
    False
  """
  (labels, _, data), (other_labels, _, other_data) = (
    digest.partition(":") for digest in (first, second)
  )
  return (not labels or not other_labels or labels == other_labels) and (
    not data or not other_data or data == other_data
  )


def indistinguishable(
  estimates: list[Estimate | None], *, level: float = LEVEL
) -> list[bool]:
  """Marks the scores that do not differ significantly from the largest.

  A score differs from the largest if the interval of their paired difference
  excludes 0. The m - 1 comparisons share the error probability 1 - `level`
  (Bonferroni correction), so that the best source is marked with a probability
  of about `level`, whichever it is. It is somewhat lower if several sources are
  equally good, as the same data decide which of them has the largest score.

  Args:
    estimates: one score of several sources, None where it is undefined.
    level: of all comparisons taken as one.

  Returns:
    For each score, whether it is the largest or not significantly smaller.

  Example:
    >>> import numpy as np
    >>> from leep_jax.scores import jackknife
    >>> sizes, noise = np.full(4, 100), np.array([0.02, -0.01, 0.01, -0.02])
    >>> scores = [
    ...   jackknife.Estimate(-0.70, -0.70 + noise, sizes),
    ...   jackknife.Estimate(-0.71, -0.71 - noise, sizes),
    ...   jackknife.Estimate(-1.40, -1.40 + 2 * noise, sizes),
    ... ]
    >>> jackknife.indistinguishable(scores)
    [True, True, False]
  """
  known = [e for e in estimates if e is not None]
  if not known:
    return [False] * len(estimates)
  best = max(known, key=lambda estimate: estimate.value)
  each = 1 - (1 - level) / max(len(known) - 1, 1)

  def may_be_best(estimate):
    if estimate is None:
      return False
    if estimate.value == best.value:  # also if it is the best itself
      return True
    interval = paired_difference(best, estimate).interval(level=each)
    # Without a standard error, nothing shows that it is worse.
    return interval is None or bool(interval[0] <= 0)

  return [may_be_best(estimate) for estimate in estimates]


def value(parts: "HasValue") -> float:
  """Returns the score of all examples.

  Args:
    parts: the score and its sums, or what examples contribute to it.

  Example:
    >>> import numpy as np
    >>> from leep_jax.scores import jackknife
    >>> parts = jackknife.Parts.by_group(
    ...   lambda sums: float(sums.mean()), np.array([[1.0, 2.0], [3.0, 2.0]]))
    >>> jackknife.value(parts)
    4.0
  """
  return parts.value


def estimate(
  parts: Parts, sizes: np.ndarray, *, examples: str = ""
) -> Estimate:
  """Returns the score, with its values without each group.

  Args:
    parts: the score and its sums.
    sizes: `[G]`, the number of examples in each group.
    examples: see `Estimate`.

  Example:
    >>> import numpy as np
    >>> from leep_jax.scores import jackknife
    >>> parts = jackknife.Parts.by_group(
    ...   lambda sums: float(sums["x"] / sums["n"]),
    ...   {"x": np.array([2.0, 6.0]), "n": np.array([2, 2])})
    >>> found = jackknife.estimate(parts, np.array([2, 2]))
    >>> found.value, found.deleted.tolist()
    (2.0, [3.0, 1.0])
  """

  def without(group):
    rest = jax.tree.map(np.subtract, parts.total, parts.of_group(group))
    try:
      return parts.finalise(rest)
    except validation.UndefinedScore:
      # As where all examples of a class are in this group: the score has a
      # value, but no standard error.
      return math.nan

  # A single group has all examples: without it, none are left.
  deleted = [without(g) for g in range(len(sizes))] if len(sizes) > 1 else []
  return Estimate(
    value(parts), np.array(deleted, np.float64), np.array(sizes), examples
  )
