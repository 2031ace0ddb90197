"""Rows of a sweep as a table, correlations and figures.

A pair is one source on one task: its scores, and by method the truth, that is
the transfer performance, the mean over seeds. Correlations are over the pairs
of one source, and over those of all sources.
"""

from collections.abc import Iterable, Sequence
import contextlib
import json
import pathlib
import re
from typing import Any

import numpy as np

from leep_jax import validation
from leep_jax.reports import correlation, plots, results, tables

SCORED = "score"  # the method of rows that hold scores
TRUTHS = ("accuracy", "macro_f1", "binary_f1")
_ALL = "all sources"
# What tells targets apart; the task's name is the last but one.
_TARGET = (
  "dataset", "data_version", "split", "test_split", "task", "task_checksum",
)  # fmt: skip

Pair = dict[str, Any]


def pairs(
  rows: Iterable[results.Row], *, truth: str = "accuracy"
) -> dict[str, list[Pair]]:
  """Returns, by method of transfer, scores and truths.

  Args:
    rows: of a sweep.
    truth: one of `TRUTHS`, on the test set.

  Returns:
    For each method pairs `{"model", "target", "task", "scores", "truth",
    "seeds"}`, where `target` tells data and examples apart; a run that diverged
    counts as missing. A method with several recipes is several, named by what
    they differ in.

  Raises:
    InputError: if rows of one source are of two that differ.
  """
  labels = _labels(rows := list(rows))
  _check_sources(rows)
  scores: dict[tuple[str, ...], dict[str, Any]] = {}
  reached: dict[str, dict[tuple[str, ...], list[float]]] = {}
  for row in rows:
    pair = (row["model"], *(str(row.get(key)) for key in _TARGET))
    if row["method"] == SCORED:
      scores.setdefault(pair, {}).update(row["scores"])
    else:
      found = reached.setdefault(labels[_recipe(row)], {}).setdefault(pair, [])
      if row[truth] is not None:
        found.append(row[truth])
  return {
    method: [
      {
        "model": pair[0],
        "target": pair[1:],
        "task": pair[-2],
        "scores": scores[pair],
        "truth": float(np.mean(values)) if values else None,
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
  """What methods are called, by method and recipe."""
  recipes: dict[str, list[str]] = {}
  for method, recipe in dict.fromkeys(map(_recipe, rows)):
    recipes.setdefault(method, []).append(recipe)
  labels = {}
  for method, found in recipes.items():
    read = [json.loads(recipe) or {} for recipe in found]
    differ = (
      [k for k in read[0] if any(r.get(k) != read[0][k] for r in read)]
      if len(found) > 1 and method != SCORED
      else []
    )
    for recipe, values in zip(found, read, strict=True):
      named = ", ".join(f"{key}={values.get(key)}" for key in differ)
      labels[method, recipe] = f"{method} ({named})" if named else method
  return labels


def _check_sources(rows):
  known: dict[str, Any] = {}
  for row in rows:
    digest = row.get("source_digest"), row.get("forward_dtype")
    if known.setdefault(row["model"], digest) != digest:
      raise validation.InputError(
        f"rows of {row['model']} are of two sources that differ in weights, "
        "preprocessing or type: report them apart"
      )


def correlations(
  rows: Sequence[results.Row], *, truth: str = "accuracy"
) -> list[dict[str, Any]]:
  """Returns a row for each method, source (or all of them) and score.

  Args:
    rows: of a sweep.
    truth: as for `pairs`.
  """
  found = []
  for method, held in pairs(rows, truth=truth).items():
    models = list(dict.fromkeys(pair["model"] for pair in held))
    for model in models if len(models) == 1 else [*models, _ALL]:
      chosen = [p for p in held if model in (p["model"], _ALL)]
      for score in _scores(chosen):
        values, truths = columns(chosen, score)
        got = correlation.correlate(values, truths)
        low, high = got.interval or (None, None)
        found.append(
          {
            "method": method,
            "model": model,
            "score": score,
            "truth": truth,
            "n": got.n,
            "dropped": got.dropped,
            "pearson": got.pearson,
            "p_value": got.p_value,
            "low": low,
            "high": high,
            "spearman": got.spearman,
            "kendall": got.kendall,
            "weighted_kendall": got.weighted_kendall,
            **_selection(held, score, model),
            "reason": got.reason,
          }
        )
  return found


def _selection(held, score, model):
  """Means over tasks of how good a choice among sources the score makes."""
  by_task: dict[tuple[str, ...], list[Pair]] = {}
  for pair in held:
    by_task.setdefault(pair["target"], []).append(pair)
  chosen: dict[str, list[float]] = {"top_1": [], "top_3": [], "regret": []}
  for group in by_task.values():
    values, truths = columns(group, score)
    if model != _ALL or len(group) < 2 or None in values:
      continue
    if all(truth is not None and truth > 0 for truth in truths):
      chosen["top_1"].append(correlation.relative_top_k(values, truths, k=1))
      if len(group) > 3:  # of three it would be 1 whatever the score
        top_3 = correlation.relative_top_k(values, truths, k=3)
        chosen["top_3"].append(top_3)
      chosen["regret"].append(correlation.regret(values, truths))
  return {
    name: float(np.mean(values)) if values else None
    for name, values in chosen.items()
  }


def columns(
  held: Sequence[Pair], score: str
) -> tuple[list[float | None], list[float | None]]:
  """Returns one score and the truth of some pairs."""
  return (
    [pair["scores"].get(score) for pair in held],
    [pair["truth"] for pair in held],
  )


def _scores(held):
  return list(dict.fromkeys(s for pair in held for s in pair["scores"]))


def table(found: Sequence[dict[str, Any]]) -> str:
  """Returns correlations as a Markdown table."""
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
  truth: str = "accuracy",
  title: str = "",
) -> list[dict[str, Any]]:
  """Writes `correlations.csv`, `.md`, and a scatter and bars of each score.

  Args:
    rows: of a sweep.
    folder: where to; it is made.
    truth: as for `pairs`.
    title: above the figures.

  Returns:
    The correlations.
  """
  folder.mkdir(parents=True, exist_ok=True)
  found = correlations(rows, truth=truth)
  results.write_rows(folder / "correlations.csv", found)
  results.replace_file(
    folder / "correlations.md", (table(found) + "\n").encode()
  )
  for method, held in pairs(rows, truth=truth).items():
    file = re.sub(r"[^\w.=-]+", "_", method)
    models = list(dict.fromkeys(pair["model"] for pair in held))
    short = dict(zip(models, tables.short_names(models), strict=True))
    for score in _scores(held):
      complete = [
        p
        for p in held
        if p["truth"] is not None and p["scores"].get(score) is not None
      ]
      if len(complete) < 3:
        continue
      values, truths = columns(complete, score)
      plots.scatter(
        values,
        truths,
        score=score,
        truth=f"test {truth}, {method}",
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
          truth=f"test {truth}, {method}",
          title=title,
          path=folder / f"{file}_{score}_levels.png",
        )
  return found
