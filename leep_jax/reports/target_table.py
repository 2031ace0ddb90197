"""Several target data sets: one table of sources and targets, and its heat map.

Each target has sources, scores and a ranking of its own, as `score_report` of
it would say; here they stand side by side.
"""

from collections.abc import Callable, Iterator, Sequence
import dataclasses
import os
from typing import Any

import numpy as np

from leep_jax.reports import (
  answer,
  plots,
  results,
  score_report,
  scored_source,
  tables,
)
from leep_jax.reports.scored_source import ScoredSource


@dataclasses.dataclass(frozen=True)
class Target:
  """One target data set, and the sources that were scored on it.

  Attributes:
    name: of the data set, with its split.
    scored: the sources.
    names: of scores, the first of which ranks.
    best: see `score_report.best_sources`.
    left: names of sources that a race has left behind these, best first.

  Example:
    >>> from leep_jax.reports import target_table
    >>> target_table.Target("digits", [], ["leep"], None).rank_by
    'leep'
  """

  name: str
  scored: Sequence[ScoredSource]
  names: Sequence[str]
  best: dict[str, list[bool]] | None
  left: Sequence[str] = ()

  @property
  def rank_by(self) -> str:
    """The score that ranks."""
    return self.names[0]

  def values(self, models: Sequence[str], *, suffix: str = "") -> list[Any]:
    """Returns the score that ranks, None where a model has none.

    Args:
      models: names of sources.
      suffix: of the column of rows, such as `_se` for standard errors.
    """
    rows = {s.row["model"]: s.row for s in self.scored}
    return [rows.get(m, {}).get(self.rank_by + suffix) for m in models]


def targets(
  scored: Sequence[ScoredSource],
  names: Callable[[str], Sequence[str]],
  *,
  left: Sequence[results.Row] = (),
) -> list[Target]:
  """Groups sources by the data set that they were scored on.

  Args:
    scored: the sources, each once for every data set.
    names: from a kind of targets to the scores, the first of which should rank.
    left: rows of sources that left a race, those of a data set best first.

  Example:
    >>> import numpy as np
    >>> from leep_jax.reports import scored_source, target_table
    >>> scored = [
    ...   scored_source.ScoredSource(
    ...     {"model": "mine", "dataset": d, "split": "all", "leep": -1.0,
    ...      "leep_se": None}, {}, {}, np.zeros(2, int))
    ...   for d in ("a", "b")]
    >>> [t.name for t in target_table.targets(scored, lambda kind: ["leep"])]
    ['a', 'b']
  """
  by_name: dict[str, list[ScoredSource]] = {}
  for source in scored:
    name = scored_source.dataset_and_split(source.row)
    by_name.setdefault(name, []).append(source)
  behind: dict[str, list[str]] = {}
  for row in left:
    name = scored_source.dataset_and_split(row)
    behind.setdefault(name, []).append(row["model"])
  found = []
  for name, some in by_name.items():
    ranked = score_report.ranked_first(some, list(names(some[0].kind)))
    best = score_report.best_sources(some, ranked)
    found.append(Target(name, some, ranked, best, behind.get(name, ())))
  return found


def _models(found):
  """All sources, the best on average first, and their mean ranks."""
  models = list(dict.fromkeys(s.row["model"] for t in found for s in t.scored))
  ranks = np.full((len(found), len(models)), np.nan)
  for row, target in zip(ranks, found, strict=True):
    values = target.values(models)
    for rank, i in enumerate(tables.best_first(values)):
      if values[i] is not None:
        row[i] = rank + 1
    # Without a rank, a source that wins one race and loses all others would
    # have the best mean.
    places = {name: i for i, name in enumerate(models)}
    for rank, name in enumerate(target.left, len(target.scored) + 1):
      if name in places:
        row[places[name]] = rank
  mean = [
    float(column[~np.isnan(column)].mean()) if (~np.isnan(column)).any() else
    float("inf") for column in ranks.T
  ]  # fmt: skip
  order = np.argsort(mean, kind="stable")
  return [models[i] for i in order], [mean[i] for i in order]


def _short(found):
  """Names of the targets for columns, without their splits where they can."""
  names = [t.scored[0].row["dataset"] for t in found]
  if len(set(names)) < len(names):
    names = [t.name for t in found]
  return tables.short_names(names, width=20)


def _by(found):
  return " or ".join(dict.fromkeys(t.rank_by for t in found))


def format_report(found: Sequence[Target]) -> str:
  """Returns the table of sources and targets, and the answer for each target.

  Args:
    found: as `targets` returns them.

  Example:
    >>> import leep_jax
    >>> from leep_jax.reports import scored_source, target_table
    >>> def scored(model, dataset, probs):
    ...   outputs = leep_jax.Outputs.from_arrays(probs=probs, labels=[0, 1])
    ...   estimates = leep_jax.estimate_scores(
    ...     outputs, names=["leep"], groups=1)
    ...   row = scored_source.make_row(
    ...     model, outputs, estimates, dataset=dataset, split="all", seconds=1)
    ...   return scored_source.ScoredSource(
    ...     row, estimates, {}, outputs.labels)
    >>> good, poor = [[0.9, 0.1], [0.1, 0.9]], [[0.6, 0.4], [0.4, 0.6]]
    >>> found = target_table.targets(
    ...   [scored("x", "a", good), scored("y", "a", poor),
    ...    scored("x", "b", good), scored("y", "b", good)],
    ...   lambda kind: ["leep"])
    >>> print(target_table.format_report(found))
    2 sources on 2 data sets, by leep. Best first by mean rank.
    <BLANKLINE>
       model        a        b  mean rank
    1  x      -0.1985  -0.1985        1.0
    2  y      -0.6539  -0.1985        2.0
    <BLANKLINE>
    a: Best by leep: x (-0.1985).
    b: Best by leep: x (-0.1985).
    ...
  """
  models, mean = _models(found)
  columns = []
  for name, target in zip(_short(found), found, strict=True):
    marks = None
    if target.best and target.rank_by in target.best:
      like_best = dict(
        zip(
          (s.row["model"] for s in target.scored),
          target.best[target.rank_by],
          strict=True,
        )
      )
      marks = [like_best.get(model, False) for model in models]
    columns.append(
      tables.column(
        name,
        target.values(models),
        target.values(models, suffix="_se"),
        marks=marks,
      )
    )
  shown = ["-" if m == float("inf") else f"{m:.1f}" for m in mean]
  columns.append(["mean rank", *shown])
  return "\n".join([
    f"{tables.count(len(models), 'source')} on {len(found)} data sets, by "
    f"{_by(found)}. Best first by mean rank.",
    "",
    tables.blocks(models, columns),
    "",
    *score_report.wrapped(_answers(found)),
    *score_report.wrapped(score_report.legend(found[0].scored, found[0].best)),
    *score_report.wrapped(_remarks(found)),
    score_report.cost([s.row for t in found for s in t.scored]),
  ])  # fmt: skip


def _answers(found) -> Iterator[str]:
  for name, target in zip(_short(found), found, strict=True):
    said = answer.sentences(target.scored, target.rank_by, target.best)
    if said:
      yield f"{name}: {said[0]}"


def _remarks(found) -> Iterator[str]:
  """What is to be known of single targets and the score that ranks."""
  for name, target in zip(_short(found), found, strict=True):
    for text in score_report.remarks(target.scored, [target.rank_by]):
      yield f"{name}: {text}"


def write_matrix(found: Sequence[Target], path: str | os.PathLike[str]) -> None:
  """Writes the score that ranks: a row a source, a column a target.

  Args:
    found: as `targets` returns them.
    path: .csv or .jsonl; replaced. Next to the column of a target stands its
      standard error, with `_se` at the end of the name.

  Raises:
    InputError: if the file cannot be written.

  Example:
    >>> import pathlib, tempfile
    >>> import numpy as np
    >>> from leep_jax.reports import scored_source, target_table
    >>> scored = scored_source.ScoredSource(
    ...   {"model": "x", "dataset": "a", "split": "all", "leep": -1.0,
    ...    "leep_se": 0.5}, {"leep": None}, {}, np.zeros(2, int))
    >>> found = target_table.targets([scored], lambda kind: ["leep"])
    >>> with tempfile.TemporaryDirectory() as folder:
    ...   path = pathlib.Path(folder) / "matrix.csv"
    ...   target_table.write_matrix(found, path)
    ...   print(path.read_text().replace("\\r", ""))
    model,a,a_se,mean_rank
    x,-1.0,0.5,1.0
    <BLANKLINE>
  """
  models, mean = _models(found)
  rows: list[dict[str, Any]] = [{"model": model} for model in models]
  for target in found:
    for suffix in ("", "_se"):
      for row, value in zip(
        rows, target.values(models, suffix=suffix), strict=True
      ):
        row[target.name + suffix] = value
  for row, rank in zip(rows, mean, strict=True):
    row["mean_rank"] = None if rank == float("inf") else rank
  results.write_rows(path, rows)


def draw(found: Sequence[Target], path: str | os.PathLike[str]) -> None:
  """Draws the score that ranks as a heat map of sources and targets.

  Args:
    found: as `targets` returns them.
    path: file to write, `.png`, `.pdf` or `.svg`; replaced.

  Raises:
    InputError: as `plots.matrix`.

  Example:
    >>> import pathlib, tempfile
    >>> import numpy as np
    >>> from leep_jax.reports import scored_source, target_table
    >>> scored = scored_source.ScoredSource(
    ...   {"model": "x", "dataset": "a", "split": "all", "leep": -1.0,
    ...    "leep_se": 0.5}, {"leep": None}, {}, np.zeros(2, int))
    >>> found = target_table.targets([scored], lambda kind: ["leep"])
    >>> with tempfile.TemporaryDirectory() as folder:
    ...   path = pathlib.Path(folder) / "matrix.svg"
    ...   target_table.draw(found, path)
    ...   path.exists()
    True
  """
  models, _ = _models(found)
  values = [target.values(models) for target in found]
  plots.matrix(
    np.array(values, float).T,
    tables.short_names(models),
    targets=_short(found),
    title=f"{tables.count(len(models), 'source')} on {len(found)} data sets",
    label=_by(found),
    by_target=True,
    path=path,
  )
