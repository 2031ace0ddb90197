"""What a race returns, and what it tells after each round."""

import dataclasses

from leep_jax.engine import outputs as outputs_lib
from leep_jax.scores import jackknife

# Within this difference of probe accuracies, sources are equally good.
TOLERANCE = 0.005
# The lowest and the highest median share of images that ran in measured races:
# of 8 to 11 real sources (experiments/results/racing.md), and of 200 or 1,000
# synthetic ones (experiments/results/racing_many.md).
MEASURED_SHARES = (0.13, 0.56)
MEASURED_SHARES_OF_SYNTHETIC = (0.01, 0.79)


@dataclasses.dataclass(frozen=True, eq=False)
class Survivor:
  """A source that was not eliminated.

  Attributes:
    name: of the source.
    outputs: of all examples, in the order of the data set.
    estimate: the score that ranks, of these outputs; None if it is undefined.
    seconds: that its forward passes took, without loading and compilation.

  Example:
    >>> import leep_jax
    >>> from leep_jax.racing import result
    >>> outputs = leep_jax.Outputs.from_arrays(
    ...   features=[[0.0], [0.1], [1.0], [1.1]], labels=[0, 0, 1, 1])
    >>> estimate = leep_jax.estimate_scores(outputs, names=["probe_accuracy"])
    >>> result.Survivor("a", outputs, estimate["probe_accuracy"], 0.1).name
    'a'
  """

  name: str
  outputs: outputs_lib.Outputs
  estimate: jackknife.Estimate | None
  seconds: float


@dataclasses.dataclass(frozen=True, eq=False)
class Eliminated(Survivor):
  """A source that left the race.

  Its outputs and score are of the examples that it saw, `len(outputs)`.

  Attributes:
    round: in which it left, from 1.
    best: the name of the source that was ahead.
    interval: of the best's score minus that of this source, on all examples;
      None if the source has no such score.
    why: the reason in words.

  Example:
    >>> import leep_jax
    >>> from leep_jax.racing import result
    >>> outputs = leep_jax.Outputs.from_arrays(
    ...   features=[[0.0], [0.1], [1.0], [1.1]], labels=[0, 0, 1, 1])
    >>> result.Eliminated(
    ...   "b", outputs, None, 0.1, round=1, best="a", interval=(0.1, 0.3),
    ...   why="0.100 to 0.300 below a",
    ... ).interval
    (0.1, 0.3)
  """

  round: int
  best: str
  interval: tuple[float, float] | None
  why: str


@dataclasses.dataclass(frozen=True)
class Round:
  """What `on_round` is told after each round.

  Attributes:
    number: of the round, from 1; the last one has all examples.
    of: how many rounds there are, if the race does not stop before.
    num_examples: examples that the sources have seen.
    left: names of the sources that go on, best first.
    eliminated: names of those that leave.
    forwarded: images that have run through sources so far, counted for each.

  Example:
    >>> from leep_jax.racing import result
    >>> result.Round(1, 3, 100, ("a", "c"), ("b",), 300).left
    ('a', 'c')
  """

  number: int
  of: int
  num_examples: int
  left: tuple[str, ...]
  eliminated: tuple[str, ...]
  forwarded: int


@dataclasses.dataclass(frozen=True, eq=False)
class Race:
  """The result of a race.

  Attributes:
    rank_by: the score that ranks.
    survivors: best first.
    eliminated: the last to leave first.
    num_examples: n, of the data set.
    forwarded: images that ran through sources, counted for each source.
    tied: whether the race stopped because the sources left are tied.

  Example:
    >>> from leep_jax.racing import result
    >>> race = result.Race("probe_accuracy", (), (), 100, 0, tied=False)
    >>> race.without_racing
    0
  """

  rank_by: str
  survivors: tuple[Survivor, ...]
  eliminated: tuple[Eliminated, ...]
  num_examples: int
  forwarded: int
  tied: bool

  @property
  def without_racing(self) -> int:
    """Images that would have run through all these sources."""
    return self.num_examples * (len(self.survivors) + len(self.eliminated))

  @property
  def saved(self) -> int:
    """Images that did not have to run through a source."""
    return self.without_racing - self.forwarded
