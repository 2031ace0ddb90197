"""How sure a score is: standard errors, intervals and paired differences.

Every score is a function of sums over examples. With the sums kept apart for G
groups of examples, the sums without a group are a difference, and the score of
the other groups takes no second pass. This is the delete-a-group jackknife.
"""

from collections.abc import Callable
import dataclasses
import math
from typing import Any

import jax
import numpy as np

from leep_jax import validation

GROUPS = 20
LEVEL = 0.95


@dataclasses.dataclass(frozen=True, eq=False)
class Parts:
  """A score as a function of sums over examples, and those sums.

  Attributes:
    finalise: sums to score.
    total: the sums over all examples, a pytree of arrays.
    of_group: returns those over the examples of one group.
  """

  finalise: Callable[[Any], float]
  total: Any
  of_group: Callable[[int], Any]

  @classmethod
  def by_group(cls, finalise: Callable[[Any], float], sums: Any) -> "Parts":
    """Of sums that are at hand for all groups: arrays `[G, ...]`."""
    return cls(
      finalise,
      jax.tree.map(lambda x: x.sum(axis=0), sums),
      lambda group: jax.tree.map(lambda x: x[group], sums),
    )

  @classmethod
  def of_examples(
    cls,
    finalise: Callable[[np.ndarray], float],
    group_of: np.ndarray,
    groups: int,
  ) -> "Parts":
    """Of a score that is no function of sums, but is cheap to compute again.

    Args:
      finalise: booleans `[n]`, which examples take part, to score.
      group_of: `[n]`, the group of each.
      groups: G.
    """
    return cls.by_group(
      lambda kept: finalise(kept[group_of] > 0), np.eye(groups)
    )


@dataclasses.dataclass(frozen=True, eq=False)
class Estimate:
  """A score with what its value would be without each group of examples.

  Attributes:
    value: the score.
    deleted: `[G]`, the score of all examples but those of each group.
    sizes: `[G]`, how many examples are in each group.
    examples: a digest of the labels or targets in their order
      (`Outputs.examples`), by which scores of other examples are told; empty
      where it is not known.
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
    (deleted_g - mean deleted)^2. It says how the score varies with the examples
    that were drawn, not how far a small sample is off in one direction (scores
    that fit many numbers to few examples are too high).

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
      level: the share of samples whose interval covers the score's mean over
        samples of that size, about; a bias of small samples is not covered.

    Returns:
      Its ends, or None without a standard error.

    Raises:
      InputError: if `level` is not between 0 and 1.
    """
    if not 0 < level < 1:
      raise validation.InputError(
        f"level is {level}, but must be between 0 and 1"
      )
    error = self.standard_error
    if error is None:
      return None
    import scipy.stats

    half = scipy.stats.t.ppf((1 + level) / 2, len(self.deleted) - 1) * error
    return self.value - float(half), self.value + float(half)


def paired_difference(first: Estimate, second: Estimate) -> Estimate:
  """The difference `first - second` of two scores of the same examples.

  Groups hold the same examples, so what both scores owe to easy or hard ones
  cancels: the interval is usually far narrower than those of the scores.

  Args:
    first: one source's score.
    second: the same score of another source, on the same examples in the same
      order.

  Raises:
    InputError: if examples, their order or groups are not the same.
  """
  if not np.array_equal(first.sizes, second.sizes):
    raise validation.InputError(
      f"scores of {first.sizes.sum():.0f} and {second.sizes.sum():.0f} "
      f"examples in {len(first.sizes)} and {len(second.sizes)} groups are no "
      "pair: both sources need the same examples"
    )
  if not _same_examples(first.examples, second.examples):
    raise validation.InputError(
      "scores of the same number of examples, but with other labels, in "
      "another order or of other data, are no pair: does a loader shuffle, or "
      "were data changed in between? Compute both on the same examples in one "
      "order"
    )
  return Estimate(
    first.value - second.value,
    first.deleted - second.deleted,
    first.sizes,
    first.examples,
  )


def _same_examples(first, second):
  """Whether two digests may be of the same examples; see `Outputs.examples`."""
  (labels, _, data), (other_labels, _, other_data) = (
    digest.partition(":") for digest in (first, second)
  )
  return (not labels or not other_labels or labels == other_labels) and (
    not data or not other_data or data == other_data
  )


def indistinguishable(
  estimates: list[Estimate | None], *, level: float = LEVEL
) -> list[bool]:
  """Which of several scores of the same examples may be the best.

  A score is told apart from the largest if the interval of their paired
  difference leaves out 0. The m - 1 comparisons share the error of 1 - `level`
  (Bonferroni), so that the truly best source is among those returned with
  about that probability, whichever it is. Sources that are equally good may
  more often miss each other, as the largest is chosen by the same data.

  Args:
    estimates: one score of several sources, None where it is undefined.
    level: of all comparisons together.

  Returns:
    For each, whether it is the largest or cannot be told apart from it.
  """
  known = [e for e in estimates if e is not None]
  if not known:
    return [False] * len(estimates)
  best = max(known, key=lambda estimate: estimate.value)
  each = 1 - (1 - level) / max(len(known) - 1, 1)

  def may_be_best(estimate):
    if estimate is None:
      return False
    if estimate.value == best.value:
      return True
    interval = paired_difference(best, estimate).interval(level=each)
    return interval is None or interval[0] <= 0

  return [may_be_best(estimate) for estimate in estimates]


def value(parts: Parts) -> float:
  """Returns the score of all examples."""
  return float(parts.finalise(parts.total))


def estimate(
  parts: Parts, sizes: np.ndarray, *, examples: str = ""
) -> Estimate:
  """Returns the score with its values without each group.

  Args:
    parts: the score and its sums.
    sizes: `[G]`, how many examples are in each group.
    examples: see `Estimate`.
  """

  def without(group):
    rest = jax.tree.map(np.subtract, parts.total, parts.of_group(group))
    try:
      return parts.finalise(rest)
    except validation.UndefinedScore:
      return math.nan

  deleted = [without(g) for g in range(len(sizes))] if len(sizes) > 1 else []
  return Estimate(
    value(parts), np.array(deleted, np.float64), np.array(sizes), examples
  )
