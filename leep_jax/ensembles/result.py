"""What a choice of a set of sources returns."""

from collections.abc import Mapping
import dataclasses

from leep_jax.ensembles import mixtures
from leep_jax.scores import jackknife


@dataclasses.dataclass(frozen=True, eq=False)
class Added:
  """A source, and what it adds to those that were chosen before it.

  Attributes:
    name: of the source.
    score: of the set that ends with it, by the score that ranks.
    gain: that minus the score of the set before, a paired difference on the
      same examples; None of the first.
    compared: how many sources could have been added; this one adds most.
    log_loss: minus the expected log loss of a head on the joined features
      (`probe_log_loss`); None where there are no classes, or mixtures rank.
    log_loss_gain: by how much that is higher than of the set before; None of
      the first.

  Example:
    >>> import numpy as np
    >>> from leep_jax import ensembles
    >>> from leep_jax.scores import jackknife
    >>> sizes = np.array([9, 9])
    >>> score = jackknife.Estimate(0.9, np.array([0.89, 0.91]), sizes)
    >>> gain = jackknife.Estimate(0.1, np.array([0.09, 0.11]), sizes)
    >>> added = ensembles.Added("b", score, gain, compared=3)
    >>> added.adds, added.surely_adds
    (True, False)
  """

  name: str
  score: jackknife.Estimate
  gain: jackknife.Estimate | None
  compared: int
  log_loss: jackknife.Estimate | None = None
  log_loss_gain: jackknife.Estimate | None = None

  @property
  def adds(self) -> bool:
    """Whether it adds more than one standard error of what it adds."""
    if self.gain is None:
      return True
    return self.gain.value > (self.gain.standard_error or 0.0)

  @property
  def surely_adds(self) -> bool | None:
    """Whether it adds more than chance explains.

    The interval of the gain is then above 0, although the largest gain of
    several was taken: `compared` intervals share the error probability of 5 %.
    None without standard errors.
    """
    if self.gain is None:
      return True
    level = 1 - (1 - jackknife.LEVEL) / self.compared
    interval = self.gain.interval(level=level)
    return None if interval is None else bool(interval[0] > 0)


@dataclasses.dataclass(frozen=True, eq=False)
class Choice:
  """A set of sources, chosen one after another.

  Attributes:
    rank_by: the score that decided.
    members: the sources, the best one first, then each as it was added.
    rejected: the source that would have added most next, if the choice ended
      before the set was complete, as it adds no more than its error.
    left_out: by source that could not take part, why.
    mixture: of the members, with the best weights; or None.
    without_mixture: why there is none.

  Example:
    >>> from leep_jax import ensembles
    >>> ensembles.Choice("probe_accuracy", (), None, {}, None, "no probs").names
    []
  """

  rank_by: str
  members: tuple[Added, ...]
  rejected: Added | None
  left_out: Mapping[str, str]
  mixture: mixtures.Mixture | None
  without_mixture: str = ""

  @property
  def names(self) -> list[str]:
    """The names of the members."""
    return [added.name for added in self.members]

  @property
  def gain(self) -> jackknife.Estimate:
    """What all members have more than the first, which is the best alone."""
    first, last = self.members[0], self.members[-1]
    return jackknife.paired_difference(last.score, first.score)
