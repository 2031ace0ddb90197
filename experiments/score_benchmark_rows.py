"""What `experiments.score_benchmark` measured, as arrays.

A *cell* is a target at one size, in examples a class. Symbols: S sources, in
the order of `score_benchmark.SOURCES`.
"""

from collections.abc import Sequence
import csv
import dataclasses
import functools
import pathlib

import numpy as np

from experiments import score_benchmark, section, source_selection
from leep_jax.reports import results
from leep_jax.scores import pools

NAMES = tuple(score_benchmark.SOURCES)
# Rankings that do not look at the target's examples.
ELSEWHERE = "accuracy on other targets"
STATIC = (
  ELSEWHERE, "published accuracy", "parameters", "features", "source labels",
  "any source",
)  # fmt: skip
# Sums of terms that are scaled over the sources, see `leep_jax.scores.pools`.
POOLED = {"etran": pools.ETRAN, "ncti": pools.NCTI}
Cell = tuple[str, int]  # target, examples a class


def rows_of(
  stage: str, folder: pathlib.Path | None = None
) -> Sequence[results.Row]:
  """Returns the rows of a stage; none if it was not run."""
  return section.rows_in((folder or score_benchmark.FOLDER) / f"{stage}.jsonl")


@dataclasses.dataclass(frozen=True)
class Measured:
  """Accuracies and scores of all sources; NaN where there are none.

  Attributes:
    reached: `[S]` by cell.
    values: `[samples, S]` by score and cell.
  """

  reached: dict[Cell, np.ndarray]
  values: dict[str, dict[Cell, np.ndarray]]

  def cells(self, *, size: int | None = None) -> list[Cell]:
    """Returns the cells, of one size or of all."""
    return [cell for cell in self.reached if size in (None, cell[1])]


def by_cell(
  rows: Sequence[results.Row], column: str, *, score: str | None = None
) -> dict[Cell, np.ndarray]:
  """Returns values `[samples, S]` of a column, NaN where there is none.

  Args:
    rows: of one stage.
    column: of the rows.
    score: one of the column `scores`.
  """
  found: dict[Cell, dict[int, dict[str, float]]] = {}
  for row in rows:
    value = row[column] if score is None else row[column].get(score)
    if value is not None:
      sample = found.setdefault((row["target"], row["size"]), {})
      sample.setdefault(row["seed"], {})[row["model"]] = value
  return {
    cell: np.array(
      [[sample.get(name, np.nan) for name in NAMES] for sample in of.values()],
      float,
    )
    for cell, of in found.items()
  }


@functools.cache
def measured(
  stage: str = "heads", *, folder: pathlib.Path | None = None
) -> Measured:
  """Returns what the rows say.

  Args:
    stage: `heads` or `fine_tuning`, the accuracies to predict.
    folder: of the rows; by default those that are committed.
  """
  accuracies = by_cell(rows_of(stage, folder), "accuracy")
  order = [
    (target, size)
    for target in score_benchmark.TARGETS
    for size in score_benchmark.SIZES
    if (target, size) in accuracies
  ]
  reached = {cell: np.mean(accuracies[cell], axis=0) for cell in order}
  scored = rows_of("scores", folder)
  values: dict[str, dict[Cell, np.ndarray]] = {
    name: by_cell(scored, "scores", score=name)
    for name in score_benchmark.SCORES
  }
  for name, weights in POOLED.items():
    values[name] = {
      cell: _pooled({term: values[term][cell] for term in weights}, weights)
      for cell in order
      if all(cell in values[term] for term in weights)
    }
  heads = by_cell(rows_of("heads", folder), "accuracy")
  everywhere = {cell: np.mean(found, axis=0) for cell, found in heads.items()}
  for name in STATIC:
    values[name] = {
      cell: _static(name, cell, everywhere, rows_of("facts", folder))[None]
      for cell in order
    }
  return Measured(reached, values)


def _pooled(terms, weights) -> np.ndarray:
  """Sums of terms `[samples, S]`, of the sources that have all of them."""
  found = np.full(next(iter(terms.values())).shape, np.nan)
  for sample, total in enumerate(found):
    of_sample = {name: values[sample] for name, values in terms.items()}
    known = np.isfinite(list(of_sample.values())).all(axis=0)
    if known.any():
      total[known] = pools.over_pool(
        [
          {k: v[i] for k, v in of_sample.items()} for i in np.flatnonzero(known)
        ],
        weights,
      )
  return found


def _static(name, cell, reached, facts) -> np.ndarray:
  """What a ranking without the target's examples gives each source."""
  if name == "any source":
    return np.zeros(len(NAMES))
  if name == "published accuracy":
    known = published()
    return np.array([known.get(n, np.nan) for n in NAMES])
  if name == ELSEWHERE:
    target, size = cell
    others = np.reshape(
      [a for (t, s), a in reached.items() if t != target and s == size],
      (-1, len(NAMES)),
    )
    # A source has no accuracy on its own data.
    counts = np.isfinite(others).sum(axis=0)
    total = np.nansum(others, axis=0)
    return np.where(counts > 0, total / np.maximum(counts, 1), np.nan)
  column = {"source labels": "labels"}.get(name, name)
  known = {row["model"]: row[column] for row in facts}
  return np.array([known.get(n, np.nan) for n in NAMES], float)


@functools.cache
def published() -> dict[str, float]:
  """Returns the published accuracy of sources on their own data."""
  path = pathlib.Path(__file__).parent / "published" / "timm_top1.csv"
  with path.open(newline="") as file:
    top1 = {
      row["name"]: float(row["top1"]) / 100 for row in csv.DictReader(file)
    }
  # Of these architectures as others trained them: for the ResNet-50 itself, no
  # accuracy is published.
  known = {
    "resnet50": top1["resnet50.tv_in1k"],
    "efficientnet_lite0": top1["tf_efficientnet_lite0.in1k"],
  }
  by_name = source_selection.accuracies()
  for name, source in score_benchmark.SOURCES.items():
    plain = source.name.replace("@{}/", "@")
    if plain in by_name:
      known.setdefault(name, by_name[plain])
  return known
