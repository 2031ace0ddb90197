"""Races from beginning to end, of sources or of outputs."""

from collections.abc import Callable, Mapping, Sequence

import numpy as np

from leep_jax import validation
from leep_jax.data import dataset as dataset_lib
from leep_jax.engine import outputs as outputs_lib
from leep_jax.racing import (
  contest as contest_lib,
  forwarded as forwarded_lib,
  result as result_lib,
)
from leep_jax.scores import jackknife


def race(
  sources: Sequence[forwarded_lib.AnySource],
  dataset: dataset_lib.Dataset,
  *,
  rank_by: str | None = None,
  tolerance: float = result_lib.TOLERANCE,
  level: float = jackknife.LEVEL,
  start: int | None = None,
  batch_size: int | None = None,
  dtype: str = "float32",
  seed: int = 0,
  on_round: Callable[[result_lib.Round], None] | None = None,
  progress: Callable[[str, int, int, int], None] | None = None,
) -> result_lib.Race:
  """Finds the best of several sources; poor ones see few of the examples.

  All sources run on a sample. Those that are surely worse than the best leave,
  and the others go on with twice as many examples. The race stops when one is
  left, when those left are tied, or when three quarters of the examples are
  used. Those left run on all examples and have the scores of
  `compute_outputs` and `estimate_scores`, to the last digit (on a GPU or TPU,
  whose arithmetic may depend on the place in a batch, nearly so).

  How well a source does on a sample is the accuracy of a head trained on it.
  Sources with more features gain more from more examples, so that a source
  which is surely worse on the first sample may be the best on all examples.
  That is not part of `level`; with a larger `start` it is rarer.

  Args:
    sources: names (see `load_source`), `Source`s, or functions without
      arguments that load one. Those of names and functions stay in memory
      while all of them take less than a quarter of the free memory; others are
      loaded again in every round.
    dataset: all examples. Its labels are read first, for samples with each
      class in proportion to its size; those of regression are random.
    rank_by: row of `SCORES` with which sources compete; by default
      `probe_accuracy`, for regression `probe_r2`.
    tolerance: sources are tied if the intervals of their differences from the
      best lie within plus and minus this number, in units of the score.
    level: the probability that the source that is best in every round is never
      eliminated.
    start: examples of the first sample; by default 100, or 10 for each class if
      that is more. With less than 4/3 times as many examples in all there is no
      sample: everything runs.
    batch_size: as of `compute_outputs`. Batches are padded to it, so where the
      forward pass is slow it should not be above `start`.
    dtype: as of `compute_outputs`.
    seed: of the samples.
    on_round: called after each round.
    progress: called after each batch with the name of the source, the number of
      the round, and how many of this round's examples of the source are done,
      of how many.

  Raises:
    InputError: if there are no sources, or an argument is wrong; what loading
      and `compute_outputs` raise.

  Reference: Maron & Moore, "Hoeffding races", NeurIPS 1993.

  Example:
    One source sees colours, of two no more than the brightness is left. They
    leave after the first 100 of 400 images.

    >>> import functools
    >>> import numpy as np
    >>> import leep_jax
    >>> from leep_jax import data
    >>> def colour(weights, images):
    ...   features = images.mean(axis=(1, 2)) * weights[None]
    ...   return 9 * features - 1, features
    >>> sources = [
    ...   leep_jax.Source(name=name, apply=colour, state=np.float32(weights))
    ...   for name, weights in {
    ...     "red": [1, 0, 0], "blue": [0, 0, 1], "colour": [1, 1, 1]}.items()
    ... ]
    >>> labels = np.arange(400) % 3
    >>> images = np.zeros((400, 2, 2, 3), np.uint8)
    >>> images[np.arange(400), ..., labels] = 255
    >>> dataset = data.Dataset(
    ...   name="colours", split="all", num_classes=3, indices=np.arange(400),
    ...   image_shape=(2, 2, 3), fetch=lambda i: (images[i], labels[i]),
    ...   all_labels=labels)
    >>> race = leep_jax.race(sources, dataset)
    >>> [(x.name, x.estimate.value) for x in race.survivors]
    [('colour', 1.0)]
    >>> race.forwarded, race.without_racing
    (600, 1200)
  """
  forwarded = forwarded_lib.Forwarded(
    sources, dataset, batch_size=batch_size, dtype=dtype, progress=progress
  )
  contest = contest_lib.Contest(
    forwarded,
    labels=forwarded.labels,
    rank_by=rank_by,
    tolerance=tolerance,
    level=level,
    start=start,
    seed=seed,
    on_round=on_round,
  )
  contest.run()
  return contest.result()


def race_outputs(
  outputs: Mapping[str, outputs_lib.Outputs],
  *,
  rank_by: str | None = None,
  tolerance: float = result_lib.TOLERANCE,
  level: float = jackknife.LEVEL,
  start: int | None = None,
  seed: int = 0,
  on_round: Callable[[result_lib.Round], None] | None = None,
) -> result_lib.Race:
  """Runs the race of sources whose outputs are known: what would it save?

  Args:
    outputs: of all sources, on the same examples in one order.
    rank_by: as of `race`.
    tolerance: as of `race`.
    level: as of `race`.
    start: as of `race`.
    seed: as of `race`.
    on_round: as of `race`.

  Raises:
    InputError: as `race`; if outputs are not of the same examples.

  Example:
    >>> import numpy as np
    >>> import leep_jax
    >>> from leep_jax import racing
    >>> rng = np.random.default_rng(0)
    >>> labels = np.arange(800) % 4
    >>> outputs = {
    ...   name: leep_jax.Outputs.from_arrays(
    ...     features=signal * np.eye(4)[labels] + rng.normal(size=(800, 4)),
    ...     labels=labels)
    ...   for name, signal in {"good": 3.0, "fair": 2.6, "poor": 0.5}.items()
    ... }
    >>> race = racing.race_outputs(outputs)
    >>> [survivor.name for survivor in race.survivors]
    ['good']
    >>> [(x.name, len(x.outputs)) for x in race.eliminated]
    [('fair', 400), ('poor', 100)]
  """
  if not outputs:
    raise validation.InputError("there are no sources to race")
  first = next(iter(outputs.values()))
  if any(other.examples != first.examples for other in outputs.values()):
    raise validation.InputError("outputs are not of the same examples")
  contest = contest_lib.Contest(
    _Saved(outputs),
    labels=first.labels if first.targets is None else None,
    rank_by=rank_by,
    tolerance=tolerance,
    level=level,
    start=start,
    seed=seed,
    on_round=on_round,
  )
  contest.run()
  return contest.result()


class _Saved:
  """Sources whose outputs on all examples are known."""

  def __init__(self, outputs):
    self.names, self._all = list(outputs), list(outputs.values())
    self.seconds = [0.0] * len(self.names)
    self._run = [np.zeros(0, np.int64)] * len(self.names)

  def __len__(self):
    return len(self._all[0])

  def run(self, source, positions, number):
    self._run[source] = np.sort(np.concatenate([self._run[source], positions]))

  def outputs(self, source):
    if len(self._run[source]) == len(self):
      return self._all[source]
    return self._all[source].select(self._run[source])

  def leave(self, source):
    pass
