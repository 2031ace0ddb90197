"""The rounds of a race: who runs on which sample, and who leaves."""

from collections.abc import Callable, Sequence
import functools
from typing import Protocol

import numpy as np

from leep_jax import scores as scores_lib, validation
from leep_jax.engine import outputs as outputs_lib
from leep_jax.racing import elimination, result as result_lib, samples
from leep_jax.scores import jackknife


class Entrants(Protocol):
  """Sources as a contest sees them, by their index.

  Attributes:
    names: of the sources.
    seconds: that each of them has run, without loading and compilation.

  Example:
    >>> import leep_jax
    >>> from leep_jax import racing
    >>> from leep_jax.racing import contest
    >>> digits = leep_jax.load_dataset("digits", limit=100)
    >>> entrants: contest.Entrants = racing.Forwarded(["resnet8"], digits)
    >>> entrants.names, len(entrants)
    (['resnet8'], 100)
  """

  names: list[str]
  seconds: list[float]

  def __len__(self) -> int:
    """The number of examples."""

  def run(self, source: int, positions: np.ndarray, number: int) -> None:
    """Runs further examples through a source, in a round."""

  def outputs(self, source: int) -> outputs_lib.Outputs:
    """Returns the outputs of all examples that have run."""

  def leave(self, source: int) -> None:
    """The source will run no further examples."""


class Contest:
  """A race under way, whose result so far can be read after an interruption.

  Example:
    `race` and `race_outputs` run one from beginning to end.

    >>> import numpy as np
    >>> import leep_jax
    >>> from leep_jax import racing
    >>> digits = leep_jax.load_dataset("digits", limit=100)
    >>> sources = racing.Forwarded(["fashion_mnist_resnet8"], digits)
    >>> contest = racing.Contest(sources, labels=sources.labels)
    >>> contest.run()
    >>> contest.result().forwarded
    100
  """

  def __init__(
    self,
    entrants: Entrants,
    *,
    labels: np.ndarray | None,
    rank_by: str | None = None,
    tolerance: float = result_lib.TOLERANCE,
    level: float = jackknife.LEVEL,
    start: int | None = None,
    seed: int = 0,
    on_round: Callable[[result_lib.Round], None] | None = None,
    on_error: Callable[[str, Exception], None] | None = None,
  ):
    """Draws the samples; runs nothing.

    Args:
      entrants: the sources.
      labels: `[n]`, or None for regression.
      rank_by: as of `race`.
      tolerance: as of `race`.
      level: as of `race`.
      start: as of `race`.
      seed: as of `race`.
      on_round: as of `race`.
      on_error: called with the name of a source that fails, and the exception;
        the others go on. By default the exception is raised.

    Raises:
      InputError: as `race`.
    """
    self.rank_by = rank_by or (
      "probe_r2" if labels is None else "probe_accuracy"
    )
    if self.rank_by not in scores_lib.SCORES:
      raise validation.unknown("score", self.rank_by, scores_lib.SCORES)
    kind = "targets" if labels is None else "labels"
    if kind not in scores_lib.SCORES[self.rank_by].target_kinds:
      raise validation.InputError(
        f"{self.rank_by} is not defined for "
        + ("real-valued targets" if labels is None else "classes")
      )
    if not entrants.names:
      raise validation.InputError("there are no sources to race")
    jackknife.check_level(level)
    if tolerance < 0:
      raise validation.InputError(f"tolerance is {tolerance}, but must be >= 0")
    if start is not None:
      validation.at_least_1("start", start)
    self._entrants, self._tolerance = entrants, tolerance
    classes = 0 if labels is None else len(np.unique(labels))
    count = len(entrants)
    self._sizes = samples.sizes(count, num_classes=classes, start=start)
    self._order = samples.order(count, labels=labels, seed=seed)
    comparisons = max(len(entrants.names) - 1, 1) * max(len(self._sizes), 1)
    self._level = 1 - (1 - level) / comparisons
    self._on_round, self._on_error = on_round or (lambda _: None), on_error
    self._left = list(range(len(entrants.names)))
    # Of the round under way. A single source needs no samples.
    self._number = 1 if len(self._left) > 1 else len(self._sizes) + 1
    self._seen = [0] * len(entrants.names)
    self._estimates: dict[int, jackknife.Estimate | None] = {}
    self._eliminated: list[result_lib.Eliminated] = []
    self.tied = False

  @property
  def num_sources(self) -> int:
    """How many sources began."""
    return len(self._seen)

  @property
  def forwarded(self) -> int:
    """Images that have run through sources, without those that failed."""
    left = sum(self._seen[i] for i in self._left)
    return left + sum(len(x.outputs) for x in self._eliminated)

  def run(self) -> None:
    """Runs the rounds, and then all examples through those left.

    Raises:
      InputError: as `race`.
    """
    run_together([self])

  @property
  def finished(self) -> bool:
    """Whether the last round has run."""
    return self._number > len(self._sizes) + 1

  def _size(self):
    """The number of examples of the round under way."""
    if self._number <= len(self._sizes):
      return self._sizes[self._number - 1]
    return len(self._entrants)

  def extend(self, source: int) -> None:
    """Runs a source on the sample of the round under way, if it is left.

    Args:
      source: its index.

    Raises:
      InputError: as `race`.
    """
    if source not in self._left:
      return
    size = self._size()
    try:
      new = np.sort(self._order[self._seen[source] : size])
      self._entrants.run(source, new, self._number)
      # In this order: an interruption while it is scored loses no outputs.
      self._seen[source] = size
      outputs = self._entrants.outputs(source)
      self._estimates[source] = _estimate(outputs, self.rank_by)
    except validation.DataError:
      raise
    except Exception as e:
      if self._on_error is None:
        raise
      self._left.remove(source)
      self._entrants.leave(source)
      self._on_error(self._entrants.names[source], e)

  def end_round(self) -> None:
    """Takes out poor sources; the next round is then under way.

    Raises:
      InputError: if no source has the score that ranks.
    """
    number, last = self._number, len(self._sizes) + 1
    self._tell(number, self._eliminate(number) if number < last else [])
    # Samples that would tell nothing more are left out.
    over = len(self._left) < 2 or self.tied
    self._number = last if number < last and over else number + 1

  def _eliminate(self, number):
    """Takes out the sources that are surely worse; returns their names."""
    verdict = elimination.judge(
      [self._estimates[i] for i in self._left],
      level=self._level,
      tolerance=self._tolerance,
      share=self._sizes[number - 1] / len(self._entrants),
    )
    reasons: dict[int, tuple[tuple[float, float] | None, str]] = {}
    names, best = self._entrants.names, ""
    if verdict.best is not None:
      best = names[self._left[verdict.best]]
    row = scores_lib.SCORES[self.rank_by]
    for at, i in enumerate(self._left):
      missing = row.missing(self._entrants.outputs(i))
      # If no source has the score, more examples will not change that.
      if missing is not None and not best:
        raise validation.InputError(f"no source has {self.rank_by}: {missing}")
      if missing is not None:
        reasons[i] = None, f"no {self.rank_by}: {missing}"
      elif at in verdict.worse:
        low, high = verdict.intervals[at]
        reasons[i] = (low, high), f"{low:.3g} to {high:.3g} below {best}"
    for i, (interval, why) in reasons.items():
      self._eliminated.append(
        result_lib.Eliminated(
          **self._entry(i), round=number, best=best, interval=interval, why=why
        )
      )
      self._left.remove(i)
      self._entrants.leave(i)
    self.tied = verdict.tied and len(self._left) > 1
    return [names[i] for i in reasons]

  def _tell(self, number, eliminated):
    self._on_round(
      result_lib.Round(
        number=number,
        of=len(self._sizes) + 1,
        num_examples=max((self._seen[i] for i in self._left), default=0),
        left=tuple(self._entrants.names[i] for i in self._ranked()),
        eliminated=tuple(eliminated),
        forwarded=self.forwarded,
      )
    )

  def _ranked(self):
    """Indices of the sources left that have outputs, best first."""
    return sorted(
      (i for i in self._left if self._seen[i]),
      key=lambda i: _key(self._estimates.get(i)),
    )

  def _entry(self, i):
    """Values of a `Survivor`."""
    return {
      "name": self._entrants.names[i],
      "outputs": self._entrants.outputs(i),
      "estimate": self._estimates.get(i),
      "seconds": self._entrants.seconds[i],
    }

  def result(self) -> result_lib.Race:
    """Returns the result; after an interruption, of what has run.

    Sources that were left are then survivors, with the examples they have seen.
    """
    return result_lib.Race(
      rank_by=self.rank_by,
      survivors=tuple(
        result_lib.Survivor(**self._entry(i)) for i in self._ranked()
      ),
      eliminated=tuple(
        sorted(self._eliminated, key=lambda x: (-x.round, _key(x.estimate)))
      ),
      num_examples=len(self._entrants),
      forwarded=self.forwarded,
      tied=self.tied,
    )


def run_together(
  contests: Sequence[Contest],
  *,
  on_data_error: Callable[[Contest, validation.DataError], None] | None = None,
) -> None:
  """Runs contests of the same sources round by round, source by source.

  In each round a source runs in all contests before the next source does, so
  that one which does not stay in memory is loaded once a round for all of them.

  Args:
    contests: of the same sources in the same order, each on other examples.
    on_data_error: called with a contest whose data are faulty, and the error;
      the others go on. By default the error is raised.

  Raises:
    InputError: as `race`.

  Example:
    >>> import leep_jax
    >>> from leep_jax import racing
    >>> from leep_jax.racing import contest
    >>> names = ["fashion_mnist_resnet8", "cifar10_resnet14"]
    >>> contests = []
    >>> for limit in (50, 60):
    ...   digits = leep_jax.load_dataset("digits", limit=limit)
    ...   sources = racing.Forwarded(names, digits)
    ...   contests.append(racing.Contest(sources, labels=sources.labels))
    >>> contest.run_together(contests)
    >>> [one.result().forwarded for one in contests]
    [100, 120]
  """
  running = list(contests)

  def go_on(contest, step):
    try:
      step()
    except validation.DataError as e:
      if on_data_error is None:
        raise
      running.remove(contest)
      on_data_error(contest, e)

  while running := [contest for contest in running if not contest.finished]:
    for source in range(max(contest.num_sources for contest in running)):
      for contest in list(running):
        go_on(contest, functools.partial(contest.extend, source))
    for contest in list(running):
      go_on(contest, contest.end_round)


def _key(estimate):
  """Sorts the best first, and sources without a score last."""
  return float("inf") if estimate is None else -estimate.value


def _estimate(outputs, name):
  """The score that ranks, without the pass that other scores would share."""
  row, outputs = scores_lib.SCORES[name], outputs.grouped(jackknife.GROUPS)
  if row.missing(outputs) is not None:
    return None
  found = scores_lib.estimate_row(row, outputs)
  return found if isinstance(found, jackknife.Estimate) else None
