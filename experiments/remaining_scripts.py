"""What is left of scripts that are no sweeps, and how long it takes.

`experiments.reproduce` prints it, as `experiments.remaining` says it of sweeps.
The rows that there should be are those of the settings of `factors`, and of the
committed files of the others. Rows have no seconds: one that is missing takes
its share of the cost that the docstring of its script states, for two CPU
cores. `h_score_forms` computes its rows anew in each run, which is not counted
once they are there.
"""

from collections.abc import Callable, Collection, Iterable, Mapping
import dataclasses
import pathlib
from typing import Any

from experiments import (
  factors,
  h_score_forms,
  remaining,
  score_benchmark,
  score_benchmark_rows,
  section,
)

# Seconds, as the docstrings of the scripts state them.
_OF_BENCHMARK = 4 * 3600.0
_OF_FORMS = 5 * 60.0
_OF_FACTORS = 20 * 60.0  # of all rows without recipes
_OF_RECIPE = 4 * 60.0


@dataclasses.dataclass(frozen=True)
class Script:
  """A script that appends the rows that are missing.

  Attributes:
    wanted: seconds that each row takes, by what tells it from others.
    done: returns what tells the rows that are there from others.
  """

  wanted: Mapping[Any, float]
  done: Callable[[], Iterable[Any]]

  def left(self) -> remaining.Left:
    """Returns what is left of it."""
    lacking = self.wanted.keys() - set(self.done())
    seconds = sum(self.wanted[key] for key in lacking)
    there = len(self.wanted) - len(lacking)
    return remaining.Left(there, len(self.wanted), assumed=seconds)


def of_benchmark(
  folder: pathlib.Path, *, stages: Collection[str], targets: Collection[str]
) -> Script:
  """Returns what says how much is left of `experiments.score_benchmark`.

  Args:
    folder: of its rows.
    stages: those that run.
    targets: likewise.
  """
  rows = _rows_of_benchmark(None, score_benchmark.STAGES)
  each = _OF_BENCHMARK / max(1, len(rows))
  wanted = {
    (stage, target, *others): each
    for stage, target, *others in rows
    if stage in stages and (target is None or target in targets)
  }
  return Script(wanted, lambda: _rows_of_benchmark(folder, stages))


def _rows_of_benchmark(folder, stages):
  """What tells rows of stages apart; of those committed, if no folder."""
  columns = "target", "model", "size", "seed", "score"
  return {
    (stage, *(row.get(column) for column in columns))
    for stage in stages
    for row in score_benchmark_rows.rows_of(stage, folder)
  }


def of_forms(file: pathlib.Path) -> Script:
  """Returns what says how much is left of `experiments.h_score_forms`.

  Args:
    file: of its rows.
  """

  def key(row):
    return row["model"], row["form"]

  wanted = set(map(key, h_score_forms.rows_of()))
  each = _OF_FORMS / max(1, len(wanted))
  return Script(
    dict.fromkeys(wanted, each), lambda: map(key, section.rows_in(file))
  )


def of_factors(
  file: pathlib.Path, *, sections: Collection[str], recipes: bool
) -> Script:
  """Returns what says how much is left of `experiments.factors`.

  Args:
    file: of its rows.
    sections: names of the sections whose lines are wanted.
    recipes: whether the rows of recipes are wanted, too.
  """
  rows = [
    {**vars(line), "setting": factors.changed(setting)}
    for line in factors.LINES
    for setting in line.settings()
  ]
  each = _OF_FACTORS / len(rows)
  wanted = {_factor(row): each for row in rows if row["section"] in sections}
  if recipes:
    wanted |= dict.fromkeys(factors.RECIPES, _OF_RECIPE)
  return Script(wanted, lambda: map(_factor, section.rows_in(file)))


def _factor(row):
  # The sources of recipes are in a folder of the machine that trained them.
  return row["setting"].get("recipe") or factors.key(row)
