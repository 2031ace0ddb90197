"""Scores that are means of one number per example, and their intervals.

Such a score needs no groups: its standard error follows from the variation of
the numbers. If they are 0 or 1, such as whether a prediction is correct, the
score is a proportion, whose intervals hold for few examples as well, and the
difference of two is judged by the examples on which they disagree.

References: Wilson, "Probable inference, the law of succession, and statistical
inference", JASA 1927; Agresti & Coull, "Approximate is better than exact",
American Statistician 1998; Agresti & Min, "Simple improved confidence intervals
for comparing matched proportions", Statistics in Medicine 2005.
"""

import dataclasses

import numpy as np

from leep_jax.scores import jackknife


@dataclasses.dataclass(frozen=True, eq=False)
class PerExample:
  """A score, and how much each example contributes to it.

  Attributes:
    value: the score.
    contributions: `[n]`, numbers whose mean is the score. Their variance over n
      is its squared standard error.
    proportion: whether all contributions are 0 or 1.
    chosen: the examples that contribute, if they are a sample of all.

  Example:
    >>> import numpy as np
    >>> from leep_jax.scores import per_example
    >>> correct = per_example.PerExample.mean(np.array([1.0, 1.0, 0.0, 1.0]))
    >>> correct.value, correct.proportion
    (0.75, True)
  """

  value: float
  contributions: np.ndarray
  proportion: bool = False
  chosen: np.ndarray | None = None

  @classmethod
  def mean(
    cls, values: np.ndarray, *, chosen: np.ndarray | None = None
  ) -> "PerExample":
    """Returns the mean of values `[n]`, of some examples or all."""
    proportion = bool(np.all((values == 0) | (values == 1)))
    return cls(float(values.mean()), values, proportion, chosen)

  def estimate(
    self,
    *,
    errors: bool = True,
    examples: str = "",
    clusters: np.ndarray | None = None,
  ) -> jackknife.Estimate:
    """Returns the score with its standard error, from groups of one example.

    Args:
      errors: whether there is a standard error.
      examples: see `jackknife.Estimate`.
      clusters: `[n]` integers, equal for examples that depend on each other.
        The groups are then the clusters, also for a proportion.
    """
    n = len(self.contributions)
    if clusters is not None and self.chosen is not None:
      clusters = clusters[self.chosen]
    if clusters is not None:
      _, code = np.unique(clusters, return_inverse=True)
      if errors and code.max() > 0:
        sizes = np.bincount(code)
        sums = np.bincount(code, self.contributions - self.value)
        deleted = self.value - sums / (n - sizes)
        return jackknife.Estimate(self.value, deleted, sizes, examples)
      errors = False
    if not errors or n < 2:
      return jackknife.Estimate(
        self.value, np.zeros(0), np.array([n]), examples
      )
    # The mean without one example.
    deleted = self.value - (self.contributions - self.value) / (n - 1)
    kind = Proportion if self.proportion else jackknife.Estimate
    return kind(self.value, deleted, np.ones(n), examples)


class Proportion(jackknife.Estimate):
  """The share of examples with a property, such as an accuracy.

  Example:
    All of 20 predictions are correct. The interval does not have length 0:

    >>> import numpy as np
    >>> from leep_jax.scores import per_example
    >>> estimate = per_example.PerExample.mean(np.ones(20)).estimate()
    >>> low, high = estimate.interval()
    >>> f"{estimate.value} in {low:.2f} to {high:.2f}"
    '1.0 in 0.84 to 1.00'
  """

  @property
  def standard_error(self) -> float | None:
    """By two more examples of each kind (Agresti & Coull), never 0."""
    n = len(self.deleted)
    share = (n * self.value + 2) / (n + 4)
    return float(np.sqrt(share * (1 - share) / (n + 4)))

  def interval(
    self, *, level: float = jackknife.LEVEL
  ) -> tuple[float, float] | None:
    """Wilson's interval, which lies within 0 and 1."""
    z, n, share = _quantile(level), len(self.deleted), self.value
    middle = (share + z**2 / (2 * n)) / (1 + z**2 / n)
    half = np.sqrt(share * (1 - share) / n + z**2 / (4 * n**2)) * z
    half /= 1 + z**2 / n
    return max(middle - half, 0.0), min(middle + half, 1.0)

  def minus(self, other: jackknife.Estimate) -> jackknife.Estimate:
    """The difference; see `jackknife.paired_difference`."""
    difference = super().minus(other)
    if not isinstance(other, Proportion):
      return difference
    return MatchedDifference(
      difference.value, difference.deleted, difference.sizes,
      difference.examples,
    )  # fmt: skip


class MatchedDifference(jackknife.Estimate):
  """The difference of two proportions of the same examples.

  Only examples of which one has the property for one source alone count, as in
  McNemar's test. Half an example is added to each of the four cells of the
  table of both properties, without which few examples give intervals that are
  too short (Agresti & Min).

  Example:
    One source is right on 5 of 20 examples on which the other is wrong, and the
    other way round on 1:

    >>> import numpy as np
    >>> from leep_jax.scores import jackknife
    >>> from leep_jax.scores import per_example
    >>> a = per_example.PerExample.mean(np.repeat([1.0, 0.0], [15, 5]))
    >>> b = per_example.PerExample.mean(np.repeat([1.0, 0.0, 1.0], [10, 9, 1]))
    >>> difference = jackknife.paired_difference(a.estimate(), b.estimate())
    >>> low, high = difference.interval()
    >>> f"{difference.value:.2f} in {low:.2f} to {high:.2f}"
    '0.20 in -0.04 to 0.40'
  """

  def _adjusted(self):
    n = len(self.deleted)
    # The differences of single examples: -1, 0 or 1.
    each = np.rint(n * self.value - (n - 1) * self.deleted)
    middle = each.sum() / (n + 2)
    variance = ((each**2).sum() + 1) / (n + 2) - middle**2
    return middle, float(np.sqrt(variance / (n + 2)))

  @property
  def standard_error(self) -> float | None:
    """With half an example more in each cell; never 0."""
    return self._adjusted()[1]

  def interval(
    self, *, level: float = jackknife.LEVEL
  ) -> tuple[float, float] | None:
    """Agresti and Min's interval."""
    middle, error = self._adjusted()
    half = _quantile(level) * error
    return float(middle - half), float(middle + half)


def _quantile(level):
  jackknife.check_level(level)
  import scipy.stats

  return float(scipy.stats.norm.ppf((1 + level) / 2))
