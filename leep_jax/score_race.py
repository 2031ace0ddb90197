"""The option `--race` of `python -m leep_jax.score`.

Survivors of the race are ranked in the table as without it. Sources that left
have scores of fewer examples, which do not compare with those: they are listed
below the table, and have rows in `--output` whose `num_examples` and
`eliminated_in_round` say so.

With several data sets there is a race for each. They run together: a source is
loaded once a round for all of them.
"""

from collections.abc import Callable, Sequence
import dataclasses
import functools
from typing import Any

from absl import flags

from leep_jax import progress, racing, validation
from leep_jax.data import dataset as dataset_lib
from leep_jax.engine import hosts, outputs as outputs_lib
from leep_jax.reports import scored_source, tables
from leep_jax.sources import source as source_lib

COLUMN = "eliminated_in_round"
_MOST = 20  # sources that left, in the table
# Races of sources and data sets that run together keep outputs of this many
# pairs, each of a few MB, in memory at once.
_PAIRS = 2000


class RaceFlags:
  """The flags of a race.

  Attributes:
    all: their holders.

  Example:
    >>> from absl import flags
    >>> from leep_jax import score_race
    >>> defined = flags.FlagValues()
    >>> racing = score_race.RaceFlags(defined)
    >>> defined(["program", "--race", "--tolerance=0.01"])
    ['program']
    >>> racing.report().tolerance
    0.01
  """

  def __init__(self, defined: flags.FlagValues):
    self._race = flags.DEFINE_boolean(
      "race",
      False,
      "Run all sources on a sample, and only those that are not surely worse "
      "than the best on more images. The score that ranks decides.",
      flag_values=defined,
    )
    self._tolerance = flags.DEFINE_float(
      "tolerance",
      racing.TOLERANCE,
      "With --race: a difference that does not matter. The race stops when the "
      "sources that are left are within it.",
      flag_values=defined,
    )
    self.all = (self._race, self._tolerance)

  def report(self) -> "RaceReport | None":
    """Returns what a race will report to, or None if none is asked for.

    Raises:
      InputError: if flags contradict each other, or there are several
        processes.
    """
    if not self._race.value:
      if self._tolerance.present:
        raise validation.InputError("--tolerance has no meaning without --race")
      return None
    if hosts.count() > 1:
      raise validation.InputError(
        "--race runs in one process: leave it out, or start one process"
      )
    return RaceReport(tolerance=self._tolerance.value)


class RaceReport:
  """What races leave besides the table of their survivors.

  Attributes:
    tolerance: a difference that does not matter.
    rows: of the sources that left, for `--output`.

  Example:
    >>> from leep_jax import score_race
    >>> score_race.RaceReport(tolerance=0.005).text()
    ''
  """

  def __init__(self, *, tolerance: float):
    self.tolerance = tolerance
    self.rows: list[dict[str, Any]] = []
    self._done: list[_Done] = []

  def add(
    self,
    race: racing.Race,
    rows: list[dict[str, Any]],
    dataset: dataset_lib.Dataset,
    *,
    complete: bool,
  ) -> None:
    """Adds a race.

    Args:
      race: its result.
      rows: of the sources that left, in the order of `race.eliminated`.
      dataset: that it was on.
      complete: whether it was not interrupted.
    """
    self.rows += rows
    self._done.append(_Done(race, rows, dataset, complete))

  def text(self) -> str:
    """Returns lines for the terminal, to print below the table."""
    if len(self._done) == 1:
      return "\n".join(self._of_one(self._done[0]))
    return "\n".join(self._of_all())

  def _of_one(self, done):
    race, inputs = done.race, done.dataset.noun
    lines = _eliminated(race, done.rows, inputs)
    if not done.complete:
      seen = (f"{x.name} {len(x.outputs):,}" for x in race.survivors)
      lines.append(
        f"interrupted: scores are of the {inputs} that each source had "
        "seen: " + validation.some(list(seen))
      )
    elif race.tied:
      lines.append(
        f"The race stopped as those left are within {self.tolerance:g}."
      )
    lines.append(_share(race.forwarded, race.without_racing, inputs))
    return lines

  def _of_all(self):
    """One line for each data set, and one for all."""
    if not self._done:
      return []
    names = tables.short_names([done.dataset.name for done in self._done])
    lines = []
    if self.rows:
      lines.append("- in the table: out of the race on that data set")
    for name, done in zip(names, self._done, strict=True):
      race = done.race
      count = len(race.survivors) + len(race.eliminated)
      if not count:
        continue
      share = _share(race.forwarded, race.without_racing, done.dataset.noun)
      ended = "" if done.complete else "interrupted; "
      lines.append(
        f"{name}: {ended}{len(race.survivors)} of "
        f"{tables.count(count, 'source')} left; {share}"
      )
    races = [done.race for done in self._done]
    nouns = {done.dataset.noun for done in self._done}
    lines.append(
      "all races: "
      + _share(
        sum(race.forwarded for race in races),
        sum(race.without_racing for race in races),
        nouns.pop() if len(nouns) == 1 else "examples",
      )
    )
    return lines


@dataclasses.dataclass(frozen=True)
class _Done:
  """A race that is over."""

  race: racing.Race
  rows: list[dict[str, Any]]
  dataset: dataset_lib.Dataset
  complete: bool


def _share(part, whole, inputs):
  return (
    f"forwarded {part:,} of {whole:,} {inputs} "
    f"({100 * part / max(whole, 1):.0f} %)"
  )


def _eliminated(race, rows, inputs):
  """One line for each source that left, of many the last to leave."""
  if not race.eliminated:
    return []
  name, more = race.rank_by, len(rows) - _MOST
  if more > 0:
    rows = rows[:_MOST]
  columns = [
    ["out of the race", *tables.short_names([row["model"] for row in rows])],
    [
      name,
      *tables.cells(
        [row[name] for row in rows], [row.get(f"{name}_se") for row in rows]
      ),
    ],
    [f"of {inputs}", *(f"{row['num_examples']:,}" for row in rows)],
    ["round", *(f"{row[COLUMN]}" for row in rows)],
    ["behind the best by", *map(_behind, race.eliminated[: len(rows)])],
  ]
  widths = [max(map(len, column)) for column in columns]
  lines = []
  for cells in zip(*columns, strict=True):
    first, *rest = (
      cell.rjust(width) if i else cell.ljust(width)
      for i, (cell, width) in enumerate(zip(cells, widths, strict=True))
    )
    lines.append(f"-  {'  '.join([first, *rest])}".rstrip())
  if more > 0:
    lines.append(f"-  and {more:,} that left before; --output has all")
  return [f"   {lines[0][3:]}", *lines[1:], ""]


def _behind(left):
  if left.interval is None:
    return "no score"
  return f"{left.interval[0]:.3g} to {left.interval[1]:.3g}"


class _Count:
  """Shows how far the source that runs is in its round."""

  def __init__(self, unit):
    self._unit = unit
    self._lines: dict[tuple[str, int], progress.Progress] = {}

  def __call__(self, name, number, done, total):
    if (name, number) not in self._lines:
      self.clear()
      label = f"{tables.short(name, 30)}, round {number}"
      self._lines = {(name, number): progress.Progress(label, unit=self._unit)}
    self._lines[name, number](done, total)

  def clear(self):
    for line in self._lines.values():
      line.clear()


def like(dataset: dataset_lib.Dataset) -> outputs_lib.Outputs:
  """Returns outputs with labels or targets, as those of a data set will have.

  Args:
    dataset: of classes or for regression.

  Example:
    >>> import leep_jax
    >>> from leep_jax import score_race
    >>> score_race.like(leep_jax.load_dataset("digits")).has("labels")
    True
  """
  if dataset.num_classes:
    return outputs_lib.Outputs.from_arrays(features=[[0.0]], labels=[0])
  targets = [[0.0]]
  if dataset.num_labels:
    return outputs_lib.Outputs.from_arrays(
      features=[[0.0]], multi_labels=targets
    )
  return outputs_lib.Outputs.from_arrays(features=[[0.0]], targets=targets)


def run(
  report: RaceReport,
  models: Sequence[str],
  datasets: Sequence[dataset_lib.Dataset],
  *,
  rank_by: Callable[[dataset_lib.Dataset], str],
  load: Callable[[str], source_lib.Source],
  score: Callable[..., scored_source.ScoredSource],
  batch_size: int | None,
  dtype: str,
  on_row: Callable[[scored_source.ScoredSource], None],
  on_error: Callable[[str], None],
) -> None:
  """Runs a race on each data set; scores sources on what they have seen.

  Args:
    report: is filled.
    models: names of the sources.
    datasets: of all examples.
    rank_by: returns the score with which sources compete on a data set.
    load: returns a source.
    score: returns a source's scores, of its name, its outputs and the data set.
    batch_size: as of `racing.race`.
    dtype: as of `racing.race`.
    on_row: called with the scores of each survivor, best first.
    on_error: called with one line for each source that fails.

  Raises:
    KeyboardInterrupt: after what has run is scored.

  Example:
    >>> import leep_jax
    >>> from leep_jax import score_race
    >>> from leep_jax.reports import scored_source
    >>> def score(name, outputs, dataset):
    ...   estimates = leep_jax.estimate_scores(outputs, names=["nce"])
    ...   row = scored_source.make_row(
    ...     name, outputs, estimates, dataset="digits", split="all", seconds=1)
    ...   return scored_source.ScoredSource(row, estimates, {}, outputs.labels)
    >>> report = score_race.RaceReport(tolerance=0.0)
    >>> score_race.run(
    ...   report, ["fashion_mnist_resnet8"],
    ...   [leep_jax.load_dataset("digits", limit=100)],
    ...   rank_by=lambda dataset: "nce", load=leep_jax.load_source, score=score,
    ...   batch_size=None, dtype="float32",
    ...   on_row=lambda scored: print(scored.row["model"]), on_error=print)
    fashion_mnist_resnet8
    >>> report.text()
    'forwarded 100 of 100 images (100 %)'
  """
  for dataset in datasets:
    if dataset.num_labels:
      raise validation.InputError(
        f"{dataset.name} has sets of labels (multi-label), of which a race "
        "draws no samples: score it without --race"
      )
  told: dict[str, None] = {}  # a source that cannot be loaded fails every race

  def tell(line):
    if line not in told:
      told[line] = None
      on_error(line)

  at_once = max(_PAIRS // len(models), 1)
  for start in range(0, len(datasets), at_once):
    some = datasets[start : start + at_once]
    loaded = racing.Loaded(
      [functools.partial(load, name) for name in models],
      names=models,
      races=len(some),
    )
    counts = [_Count(dataset.noun) for dataset in some]
    contests = [
      racing.Contest(
        entrants := racing.Forwarded(
          loaded, dataset, batch_size=batch_size, dtype=dtype, progress=count
        ),
        labels=entrants.labels,
        rank_by=rank_by(dataset),
        tolerance=report.tolerance,
        on_error=lambda name, error: tell(_failure(name, error)),
      )
      for dataset, count in zip(some, counts, strict=True)
    ]
    try:
      racing.run_together(
        contests, on_data_error=lambda contest, error: tell(f"{error}")
      )
    finally:
      for count in counts:
        count.clear()
      for contest, dataset in zip(contests, some, strict=True):
        _add(report, contest, dataset, score, on_row)


def _add(report, contest, dataset, score, on_row):
  """Scores the sources of a race and reports it."""
  race = contest.result()
  for raced in race.survivors:
    on_row(_scored(raced, functools.partial(score, dataset=dataset), None))
  rows = [
    _scored(raced, functools.partial(score, dataset=dataset), raced.round).row
    for raced in race.eliminated
  ]
  report.add(race, rows, dataset, complete=contest.finished)


def _scored(raced, score, number):
  """Scores of one source, with the seconds that its forward passes took."""
  scored = score(raced.name, raced.outputs)
  seconds = scored.row["seconds"] + raced.seconds
  scored.row["seconds"] = round(seconds, 3)
  speed = len(raced.outputs) / max(raced.seconds, 1e-9)
  scored.row["examples_per_second"] = round(speed, 1)
  scored.row[COLUMN] = number
  return scored


def _failure(name, error):
  """The line about a source that failed."""
  if isinstance(error, validation.InputError):
    return f"{error}" if name in f"{error}" else f"{name}: {error}"
  kind = type(error).__name__
  return f"{name} failed: {kind}: {validation.reason(error)}"
