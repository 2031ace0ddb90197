"""Rows of a sweep as a table, correlations and figures.

A pair is one source on one task, with its scores and its transfer performance:
the metric on the test set after transfer by one method, averaged over seeds.
Correlations are over the pairs of one source, and over those of all sources.
"""

from collections.abc import Iterable, Sequence
import contextlib
import json
import pathlib
import re
from typing import Any

import numpy as np

from leep_jax import validation
from leep_jax.reports import correlation, plots, results, selection, tables

SCORED = "score"  # the method of rows that contain scores
METRICS = ("accuracy", "macro_f1", "binary_f1")
_ALL = "all sources"
# The fields that identify a target; the task's name is the last but one.
_TARGET = (
  "dataset", "data_version", "split", "test_split", "task", "task_checksum",
)  # fmt: skip

Pair = dict[str, Any]


def pairs(
  rows: Iterable[results.Row], *, metric: str = "accuracy"
) -> dict[str, list[Pair]]:
  """Pairs the scores of a sweep with the transfer performance they predict.

  Args:
    rows: of a sweep.
    metric: one of `METRICS`, on the test set.

  Returns:
    For each method a list of pairs `{"model", "target", "task", "scores",
    "performance", "seeds"}`, where `target` identifies data and examples. A run
    that diverged counts as missing. A method with several recipes gives several
    lists, named by the options in which the recipes differ.

  Raises:
    InputError: if rows with the same source name have different weights,
      preprocessing or types.

  Example:
    >>> from leep_jax.reports import sweep_report
    >>> same = {"model": "a", "dataset": "digits", "task": "small(classes=5)#0"}
    >>> rows = [
    ...   {**same, "method": "score", "scores": {"leep": -0.7}},
    ...   {**same, "method": "probe", "accuracy": 0.8},  # of two seeds
    ...   {**same, "method": "probe", "accuracy": 0.9},
    ... ]
    >>> (pair,) = sweep_report.pairs(rows)["probe"]
    >>> pair["scores"], round(pair["performance"], 3), pair["seeds"]
    ({'leep': -0.7}, 0.85, 2)
  """
  labels = _labels(rows := list(rows))
  check_sources(rows)
  scores: dict[tuple[str, ...], dict[str, Any]] = {}
  reached: dict[str, dict[tuple[str, ...], list[float]]] = {}
  for row in rows:
    pair = (row["model"], *(str(row.get(key)) for key in _TARGET))
    if row["method"] == SCORED:
      scores.setdefault(pair, {}).update(row["scores"])
    else:
      found = reached.setdefault(labels[_recipe(row)], {}).setdefault(pair, [])
      if row[metric] is not None:
        found.append(row[metric])
  return {
    method: [
      {
        "model": pair[0],
        "target": pair[1:],
        "task": pair[-2],
        "scores": scores[pair],
        "performance": float(np.mean(values)) if values else None,
        "seeds": len(values),
      }
      for pair, values in found.items()
      if pair in scores
    ]
    for method, found in reached.items()
  }


def _recipe(row):
  return row["method"], json.dumps(row.get("recipe"), sort_keys=True)


def _labels(rows):
  """Names of methods, by method and recipe."""
  recipes: dict[str, list[str]] = {}
  for method, recipe in dict.fromkeys(map(_recipe, rows)):
    recipes.setdefault(method, []).append(recipe)
  labels = {}
  for method, found in recipes.items():
    # Rows without a recipe have null.
    read = [json.loads(recipe) or {} for recipe in found]
    # Scores have the list of their names as recipe. Those of several calls are
    # merged.
    differ = (
      [k for k in read[0] if any(r.get(k) != read[0][k] for r in read)]
      if len(found) > 1 and method != SCORED
      else []
    )
    for recipe, values in zip(found, read, strict=True):
      named = ", ".join(f"{key}={values.get(key)}" for key in differ)
      labels[method, recipe] = f"{method} ({named})" if named else method
  return labels


def check_sources(rows: Iterable[results.Row]) -> None:
  """Refuses rows that call two sources by one name.

  Args:
    rows: of results.

  Raises:
    InputError: if sources of a name differ in weights, preprocessing or type.

  Example:
    >>> from leep_jax.reports import sweep_report
    >>> rows = [{"model": "a", "source_digest": digest} for digest in "xy"]
    >>> sweep_report.check_sources(rows)
    Traceback (most recent call last):
    ...
    leep_jax.validation.errors.InputError: rows of a are of two sources that ...
  """
  known: dict[str, Any] = {}
  for row in rows:
    digest = row.get("source_digest"), row.get("forward_dtype")
    if known.setdefault(row["model"], digest) != digest:
      raise validation.InputError(
        f"rows of {row['model']} are of two sources that differ in weights, "
        "preprocessing or type: report them apart"
      )


def correlations(
  rows: Sequence[results.Row], *, metric: str = "accuracy"
) -> list[dict[str, Any]]:
  """Returns a row for each method, source (or all of them) and score.

  Args:
    rows: of a sweep.
    metric: as for `pairs`.

  Raises:
    InputError: as `pairs`.

  Example:
    >>> from leep_jax.reports import sweep_report
    >>> rows = []
    >>> for i, (leep, accuracy) in enumerate(
    ...   [(-2.0, 0.5), (-1.0, 0.7), (-0.5, 0.9), (-0.2, 0.8)]):
    ...   same = {"model": "a", "task": f"task {i}"}
    ...   rows += [{**same, "method": "score", "scores": {"leep": leep}},
    ...            {**same, "method": "probe", "accuracy": accuracy}]
    >>> (row,) = sweep_report.correlations(rows)
    >>> row["method"], row["score"], row["n"], round(row["pearson"], 2)
    ('probe', 'leep', 4, 0.92)
  """
  found = []
  for method, paired in pairs(rows, metric=metric).items():
    models = list(dict.fromkeys(pair["model"] for pair in paired))
    for model in models if len(models) == 1 else [*models, _ALL]:
      chosen = [p for p in paired if model in (p["model"], _ALL)]
      for score in _scores(chosen):
        values, performances = columns(chosen, score)
        got = correlation.correlate(values, performances)
        low, high = got.interval or (None, None)
        found.append(
          {
            "method": method,
            "model": model,
            "score": score,
            "truth": metric,
            "n": got.n,
            "dropped": got.dropped,
            "pearson": got.pearson,
            "p_value": got.p_value,
            "low": low,
            "high": high,
            "spearman": got.spearman,
            "kendall": got.kendall,
            "weighted_kendall": got.weighted_kendall,
            **_selection(paired, score, model),
            "reason": got.reason,
          }
        )
  return found


def _selection(paired, score, model):
  """Means over tasks of `selection`'s measures of choosing by the score."""
  by_task: dict[tuple[str, ...], list[Pair]] = {}
  for pair in paired:
    by_task.setdefault(pair["target"], []).append(pair)
  chosen: dict[str, list[float]] = {"top_1": [], "top_3": [], "regret": []}
  for group in by_task.values():
    values, performances = columns(group, score)
    # A choice is among sources: it needs two, and the scores of all.
    if model != _ALL or len(group) < 2 or None in values:
      continue
    if all(
      performance is not None and performance > 0
      for performance in performances
    ):
      chosen["top_1"].append(
        selection.relative_top_k(values, performances, k=1)
      )
      if len(group) > 3:  # the best of three is 1 for any score
        top_3 = selection.relative_top_k(values, performances, k=3)
        chosen["top_3"].append(top_3)
      chosen["regret"].append(selection.regret(values, performances))
  return {
    name: float(np.mean(values)) if values else None
    for name, values in chosen.items()
  }


def columns(
  paired: Sequence[Pair], score: str
) -> tuple[list[float | None], list[float | None]]:
  """Returns one score and the performance of some pairs.

  Args:
    paired: pairs, as `pairs` returns them.
    score: name of the score; None in a pair that lacks it.

  Example:
    >>> from leep_jax.reports import sweep_report
    >>> paired = [{"scores": {"leep": -0.7}, "performance": 0.8},
    ...         {"scores": {}, "performance": 0.9}]
    >>> sweep_report.columns(paired, "leep")
    ([-0.7, None], [0.8, 0.9])
  """
  return (
    [pair["scores"].get(score) for pair in paired],
    [pair["performance"] for pair in paired],
  )


def _scores(paired):
  return list(dict.fromkeys(s for pair in paired for s in pair["scores"]))


def table(found: Sequence[dict[str, Any]]) -> str:
  """Returns correlations as a Markdown table.

  Args:
    found: rows, as `correlations` returns them.

  Example:
    >>> from leep_jax.reports import sweep_report
    >>> rows = []
    >>> for i, value in enumerate((0.1, 0.2, 0.3)):
    ...   same = {"model": "a", "task": f"task {i}"}
    ...   rows += [{**same, "method": "score", "scores": {"leep": value}},
    ...            {**same, "method": "probe", "accuracy": value}]
    >>> text = sweep_report.table(sweep_report.correlations(rows))
    >>> print(text.splitlines()[-1])
    | probe | a | leep | 3 | 1.000 | - | ... | 1.000 | 1.000 | 1.000 | - | - |
  """
  head = ("method", "source", "score", "n", "Pearson r", "95 %", "p",
          "Spearman", "Kendall", "weighted", "top 1", "regret")  # fmt: skip
  lines = [f"| {' | '.join(head)} |", f"|{'---|' * len(head)}"]
  models = list(dict.fromkeys(row["model"] for row in found))
  short = dict(zip(models, tables.short_names(models), strict=True))
  for row in found:
    interval = "-"
    if row["low"] is not None:
      interval = f"{row['low']:.3f} to {row['high']:.3f}"
    p = "-"
    if row["p_value"] is not None:
      # A p-value below the smallest float64 is stored as 0.
      p = f"{row['p_value']:.1e}" if row["p_value"] else "< 1e-300"
    cells = [
      row["method"], short[row["model"]], row["score"], f"{row['n']}",
      _number(row["pearson"]), interval, p, _number(row["spearman"]),
      _number(row["kendall"]), _number(row["weighted_kendall"]),
      _number(row["top_1"]), _number(row["regret"]),
    ]  # fmt: skip
    lines.append(f"| {' | '.join(cells)} |")
  return "\n".join(lines)


def _number(value):
  return "-" if value is None else f"{value:.3f}"


def write(
  rows: Sequence[results.Row],
  folder: pathlib.Path,
  *,
  metric: str = "accuracy",
  title: str = "",
) -> list[dict[str, Any]]:
  """Writes `correlations.csv` and `.md`, and two figures for each score.

  Args:
    rows: of a sweep.
    folder: to write to; created if it does not exist.
    metric: as for `pairs`.
    title: above the figures.

  Returns:
    The rows of `correlations`.

  Raises:
    InputError: as `pairs`, or if a file cannot be written.

  Example:
    >>> import pathlib, tempfile
    >>> from leep_jax.reports import sweep_report
    >>> same = {"model": "a", "task": "all"}
    >>> rows = [{**same, "method": "score", "scores": {"leep": -0.7}},
    ...         {**same, "method": "probe", "accuracy": 0.8}]
    >>> with tempfile.TemporaryDirectory() as folder:
    ...   _ = sweep_report.write(rows, pathlib.Path(folder))
    ...   sorted(path.name for path in pathlib.Path(folder).iterdir())
    ['correlations.csv', 'correlations.md']
  """
  folder.mkdir(parents=True, exist_ok=True)
  found = correlations(rows, metric=metric)
  results.write_rows(folder / "correlations.csv", found)
  results.replace_file(
    folder / "correlations.md", (table(found) + "\n").encode()
  )
  for method, paired in pairs(rows, metric=metric).items():
    # Labels of methods may contain spaces, brackets and commas of recipes.
    file = re.sub(r"[^\w.=-]+", "_", method)
    models = list(dict.fromkeys(pair["model"] for pair in paired))
    short = dict(zip(models, tables.short_names(models), strict=True))
    for score in _scores(paired):
      complete = [
        p
        for p in paired
        if p["performance"] is not None and p["scores"].get(score) is not None
      ]
      if len(complete) < 3:  # a figure would show nothing
        continue
      values, performances = columns(complete, score)
      plots.scatter(
        values,
        performances,
        score=score,
        performance=f"test {metric}, {method}",
        title=title,
        groups=[short[p["model"]] for p in complete],
        path=folder / f"{file}_{score}.png",
      )
      series = {}
      for model in models:
        one = columns([p for p in complete if p["model"] == model], score)
        # Scores that are all the same have no levels.
        with contextlib.suppress(validation.InputError):
          series[short[model]] = correlation.levels(*one)
      if series:
        plots.levels(
          series,
          score=score,
          performance=f"test {metric}, {method}",
          title=title,
          path=folder / f"{file}_{score}_levels.png",
        )
  return found
