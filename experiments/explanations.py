"""Explains each correlation that differs from the published one, by a number.

Each sentence is made from committed rows: what the definition of H-score
implies, or the variant of the line that is nearest to the paper, if it differs
from it in none of the line's scores. Variants are the settings of
`experiments.factors`, other epochs and metrics, and other sources of the same
training data. If there is none, the sentence says how many were tried.
"""

import collections
from collections.abc import Sequence
import dataclasses
import math
from typing import Any

import numpy as np

from experiments import (
  factors,
  meta_transfer,
  section,
  table_1,
)
from leep_jax.reports import results, sweep_report, tables

# What a setting of `factors.Setting` is, in words.
_WORDS = {
  "epochs": "{} times the epochs",
  "learning_rate": "learning rate {}",
  "head": "{} heads",
  "features": "features {}",
  "head_seed": "another seed of the heads",
  "tested_on": "tested on {}",
  "scored_on": "scored on {}",
  "task_seed": "200 other tasks (seed {})",
  "class_sizes": "class sizes {}",
  "temperature": "source probabilities of temperature {}",
  "recipe": "a source of {}",
}
_VALUES = {
  "test": "the tasks' test images",
  "all": "all training images of the classes",
  "half": "half of the test images",
  "unused": "training images that the task leaves",
  "standardised": "standardised",
  "unit": "of length 1",
}
_MOVED = 0.1  # of r; experiments/README.md and the details state it


@dataclasses.dataclass(frozen=True)
class Difference:
  """A correlation that differs from the published one.

  Attributes:
    line: of Table 1.
    score: name of the score.
    reason: a sentence with numbers.
    explained: whether the reason leads to the published value.
  """

  line: table_1.Line
  score: str
  reason: str
  explained: bool

  @property
  def size(self) -> float:
    """Returns the absolute difference."""
    return abs((self.line.found[self.score].pearson or 0.0) - self.published)

  @property
  def published(self) -> float:
    """Returns the published r."""
    return self.line.value(self.score)


def _comparable(line) -> list[str]:
  """Returns the scores that a variant must reproduce to explain a line."""
  found = ["leep", "nce"]
  # Not the r of a constant, nor that of subsets of classes: see `_reason`.
  constant = line.published["h_score_significant"] != "true"
  if not constant and line.published["section"] != "5.1":
    found.append("h_score")
  return found


def agrees(variant: table_1.Variant, line: table_1.Line) -> bool:
  """Returns whether a variant differs from the paper in no score of a line."""
  return all(
    variant.r[score] is not None
    and not variant.differs(score, line.value(score))
    for score in _comparable(line)
  )


def distance(variant: table_1.Variant, line: table_1.Line) -> float:
  """Returns the root mean square of a line's differences of Fisher's z.

  It is infinite if a score is undefined.
  """
  squares = []
  for score in _comparable(line):
    r = variant.r[score]
    if r is None:
      return math.inf
    there = table_1.fisher_z(line.value(score))
    squares.append((table_1.fisher_z(r) - there) ** 2)
  return math.sqrt(sum(squares) / len(squares))


def differences(lines: Sequence[table_1.Line]) -> list[Difference]:
  """Returns all differences that Table 1 marks, the largest first."""
  rows = list(factors.rows_of())
  found = []
  for line in lines:
    for score in table_1.SCORES:
      if line.contradicts(score) or line.differs(score):
        found.append(Difference(line, score, *_reason(line, score, rows)))
  return sorted(found, key=lambda one: -one.size)


def _reason(line, score, rows) -> tuple[str, bool]:
  """Returns the sentence for a difference, and whether it explains it."""
  if score == "h_score" and line.published["section"] == "5.1":
    return _of_subsets(line)
  if score == "h_score" and line.published["h_score_significant"] != "true":
    return _of_few_examples(line), True
  heads = line.published["method"] == "retrain_head"
  tried = _of_heads(line, rows) if heads else _of_trained(line)
  return _of_variants(line, score, tried)


def _of_subsets(line) -> tuple[str, bool]:
  """The number of classes alone decides H-scores of subsets (5.1)."""
  known, trained = _of_line(line)
  y = np.array([row["num_classes"] for row in trained])
  accuracy = np.array([row["accuracy"] for row in trained])
  h_score = np.array([known[_task(row)]["h_score"] for row in trained])
  divided = table_1.pearson(h_score / (y - 1), accuracy)
  counted = table_1.pearson(h_score, y * accuracy)
  explained = any(
    r is not None and not table_1.differ(r, len(trained), line.value("h_score"))
    for r in (divided, counted)
  )
  so = "" if explained else "; the value is unexplained after trying both"
  constant = " (where it is constant)" if divided is None else ""
  return (
    "H-score is at most Y - 1 and grows with the number of classes Y, while "
    f"accuracy falls; r is {_cell(divided)} if it is divided by Y - 1"
    f"{constant}, and {_cell(counted)} against Y times accuracy{so}"
  ), explained


def _of_few_examples(line) -> str:
  """The published r is that of a score which was constant."""
  _, trained = _of_line(line)
  most = max(row["train_examples"] for row in trained)
  return (
    f"the paper's ResNet-18 has 512 features and the tasks at most {most} "
    "examples, for which any H-score is Y - 1: the published value would be "
    f"that of a constant (p > 0.05); `{section.short_name(line.model)}` has "
    "fewer features than examples"
  )


def _of_variants(line, score, tried) -> tuple[str, bool]:
  """The variant or source nearest to the paper, if it agrees in all scores."""
  # In all of them: among many variants, one would fit any one score.
  sources = [
    dataclasses.replace(one, name=f"`{one.name}` as the source")
    for one in line.others
  ]
  tried = [one for one in (*tried, *sources) if one.r[score] is not None]
  if not tried:
    return "unexplained after trying nothing else on these tasks", False
  span = table_1.span([one.r[score] for one in tried])
  fitting = [one for one in tried if agrees(one, line)]
  if not fitting:
    what = f"{len(tried)} variants" if len(tried) > 1 else tried[0].name
    return f"unexplained after trying {what} ({span})", False
  best = min(fitting, key=lambda one: distance(one, line))
  scores = _comparable(line)
  names = " / ".join(scores)
  values = " / ".join(_cell(best.r[one]) for one in scores)
  return (
    f"with {best.name}, {names} are {values}, which agrees with the paper "
    f"(agreeing: {len(fitting)} of {tables.count(len(tried), 'variant')}, with "
    f"{span})"
  ), True


def _of_heads(line, rows) -> list[table_1.Variant]:
  """Returns the settings of `experiments.factors` for a line of heads."""
  own = section.metric_of(line.section)
  return [
    _of_setting(row, metric, _with_metric(row["setting"], metric, own))
    for row in rows
    if (row["section"], row["target"], row["model"])
    == (line.section, line.published["target"], line.model)
    for metric in row["r"]
    # The line itself is no variant, nor is the macro F1 of equal classes.
    if (row["setting"] or metric != own) and own in (metric, "binary_f1")
  ]


def _of_setting(row, metric, name):
  """Returns a row of `experiments.factors` as a variant."""
  known = row["r"][metric]
  r = {score: known[score] and known[score][0] for score in table_1.SCORES}
  return table_1.Variant(name, r, row["n"])


def _with_metric(setting, metric, own):
  parts = [words(setting)] if setting else []
  if metric != own:
    parts.append(f"{metric} instead of {own}")
  return " and ".join(parts)


def _of_trained(line) -> list[table_1.Variant]:
  """Returns variants of a line of fine-tuning or CNAPs, of the same tasks.

  They are other epochs, other metrics, heads, and untrained CNAPs.
  """
  method, metric = line.published["method"], section.metric_of(line.section)
  rows = [
    row
    for row in section.at_all_scales(line.section, line.published["target"])
    if row["model"] == line.model
  ]
  largest = section.of_one_recipe(rows)
  known, trained = _scored_and_trained(largest, line)
  runs = [row for row in rows if row["method"] == method]
  reached = _of_other_epochs(trained) | _of_other_runs(runs, trained, metric)
  for other in sweep_report.METRICS:
    # The macro F1 of equal classes is nearly their accuracy.
    if other != metric and metric == "binary_f1":
      reached[f"{other} instead of {metric}"] = [row[other] for row in trained]
  heads = {
    row["task"]: row[metric]
    for row in largest
    if row["method"] == "retrain_head"
  }
  if all(row["task"] in heads for row in trained):
    name = f"heads of the same {len(trained)} tasks"
    reached[name] = [heads[row["task"]] for row in trained]
  found = [
    _variant(name, known, trained, values) for name, values in reached.items()
  ]
  if method == "cnaps":
    found += _before_meta_training(line, metric)
  return found


def _of_line(line):
  """Returns the scores of a line's tasks, and the rows of its transfer."""
  return _scored_and_trained(
    section.measured(line.section, line.published["target"]), line
  )


def _scored_and_trained(rows, line):
  own = [row for row in rows if row["model"] == line.model]
  known: dict[tuple[str, str], dict[str, Any]] = {}
  for row in own:
    if row["method"] == sweep_report.SCORED:
      known.setdefault(_task(row), {}).update(row["scores"])
  method = line.published["method"]
  return known, [row for row in own if row["method"] == method]


def _variant(name, known, trained, values) -> table_1.Variant:
  scores = [known[_task(row)] for row in trained]
  r = {
    score: table_1.pearson([one[score] for one in scores], values)
    for score in table_1.SCORES
  }
  return table_1.Variant(name, r, len(trained))


def _before_meta_training(line, metric) -> list[table_1.Variant]:
  rows = section.measured(meta_transfer.UNTRAINED, line.published["target"])
  known, trained = _scored_and_trained(rows, line)
  if not trained:
    return []
  values = [row[metric] for row in trained]
  return [_variant("the model before meta-training", known, trained, values)]


def _of_other_epochs(trained) -> dict[str, list[float]]:
  """Returns test accuracies after epochs that all curves have."""
  curves = [row["accuracies"] or [] for row in trained]
  return {
    f"{epoch + 1} epochs": [curve[epoch] for curve in curves]
    for epoch in range(min(map(len, curves)) - 1)
    if all(curve[epoch] is not None for curve in curves)
  }


def _of_other_runs(rows, trained, metric) -> dict[str, list[float]]:
  """Returns what training for fewer epochs reached on the same tasks."""
  reached: dict[int, dict[tuple[str, str], float]] = {}
  for row in rows:
    if "epochs" in row["recipe"]:
      of_run = reached.setdefault(row["recipe"]["epochs"], {})
      of_run[_task(row)] = row[metric]
  own = {row["recipe"].get("epochs") for row in trained}
  return {
    f"{epochs} epochs": [of_run[_task(row)] for row in trained]
    for epochs, of_run in sorted(reached.items())
    if epochs not in own and all(_task(row) in of_run for row in trained)
  }


def _task(row):
  return row["task"], row["task_checksum"]


def words(setting: dict[str, Any]) -> str:
  """Returns a changed setting in words."""
  return " and ".join(
    _WORDS[name].format(_VALUES.get(value, value))
    for name, value in setting.items()
  )


def agreement(lines: Sequence[table_1.Line]) -> str:
  """Returns a sentence on how many correlations agree with the published."""
  measured = [line for line in lines if line.model is not None]
  cells = [(line, score) for line in measured for score in table_1.SCORES]
  known = [
    (line, score)
    for line, score in cells
    if line.found[score].pearson is not None
  ]
  marks = collections.Counter(table_1.mark(*one) for one in known)
  of_leep = [line for line, score in known if score == "leep"]
  signs = sum((line.found["leep"].pearson or 0) > 0 for line in of_leep)
  leep = sum(line.differs("leep") for line in of_leep)
  p = [line.found["leep"].p_value for line in of_leep]
  significant = sum(one is not None and one < 0.05 for one in p)
  return (
    f"{len(measured)} of {len(lines)} lines are measured: {len(known)} "
    f"correlations, and {len(cells) - len(known)} H-scores that are constant. "
    f"In {marks['']} the interval holds the published r, in {marks[' †']} more "
    f"the difference is within the chance in both samples (†), {marks[' ‡']} "
    f"differ (‡), {leep} of them of LEEP. LEEP correlates positively in "
    f"{signs} of {len(of_leep)} lines, as published, and significantly "
    f"(p < 0.05) in {significant}."
  )


def text(found: Sequence[Difference]) -> str:
  """Returns a list of differences as Markdown."""
  listed = []
  for one in found:
    facts, got = one.line.published, one.line.found[one.score]
    source = section.short_name(one.line.model or "")
    listed.append(
      f"- {facts['section']}, {facts['method']}, {facts['source']} → "
      f"{facts['target']}, {one.score}: {got.pearson or 0.0:.3f}"
      f"{table_1.mark(one.line, one.score)} (`{source}`, "
      f"{got.n} tasks), published {one.published:.3f}: {one.reason}."
    )
  return "\n".join(listed or ["- none"])


def counted(found: Sequence[Difference]) -> str:
  """Returns a sentence on how many differences have a reason."""
  explained = [one for one in found if one.explained]
  of_h_score = [
    one
    for one in explained
    if one.score == "h_score" and "h_score" not in _comparable(one.line)
  ]
  return (
    f"Of the {len(found)} marked cells, {len(of_h_score)} are H-scores that "
    "their definition explains; "
    f"{len(explained) - len(of_h_score)} are of lines of which a variant or "
    "another source agrees with the paper in all scores; "
    f"{len(found) - len(explained)} are unexplained. Each cell is judged "
    "alone, so that one in twenty would have ‡ by chance."
  )


def together(lines: Sequence[table_1.Line]) -> str:
  """Returns a table of settings: how near they bring all lines at once.

  The lines are those of heads from the CIFAR-10 ResNet-20 on few examples, the
  settings those that `experiments.factors` measured for all of them.
  """
  few = [
    line
    for line in lines
    if line.model == section.CIFAR10
    and line.published["method"] == "retrain_head"
    and line.published["section"] in ("5.2", "5.3")
  ]
  by_line = _by_line()
  known: dict[str, list[tuple[table_1.Line, table_1.Variant]]] = {}
  for line in few:
    metric = section.metric_of(line.section)
    key = line.section, line.published["target"], section.CIFAR10
    for row in by_line.get(key, []):
      name = words(row["setting"]) if row["setting"] else "as in Table 1"
      known.setdefault(name, []).append((line, _of_setting(row, metric, name)))
  found = []
  for name, own in known.items():
    squares = [distance(variant, line) ** 2 for line, variant in own]
    if len(own) == len(few) and all(map(math.isfinite, squares)):
      agreeing = sum(agrees(variant, line) for line, variant in own)
      found.append((math.sqrt(np.mean(squares)), name, agreeing))
  return "\n".join(
    [
      "| setting | distance | lines that agree in all scores |",
      "|---|---|---|",
      *(
        f"| {name} | {size:.3f} | {agreeing} of {len(few)} |"
        for size, name, agreeing in sorted(found)
      ),
    ]
  )


def moves() -> str:
  """Returns a list of the settings that move r of LEEP by 0.1, and the others.

  There is one item for each line of Table 1 that `experiments.factors` measured
  in all settings.
  """
  items = []
  for (name, target, model), own in _by_line().items():
    metric = section.metric_of(name)
    bases = [row["r"][metric] for row in own if not row["setting"]]
    if not bases:
      continue  # sources of several recipes have a line of their own
    base = bases[0]
    moved, rest = [], []
    for row in own:
      r = row["r"][metric]["leep"]
      if not row["setting"] or r is None:
        continue
      shift = r[0] - base["leep"][0]
      if round(abs(shift), 2) >= _MOVED:
        moved.append(f"{words(row['setting'])} ({shift:+.2f})")
      else:
        rest.append(shift)
    if not rest:
      continue
    items.append(
      f"- {table_1.number(name)}, {target}, `{section.short_name(model)}`, "
      f"{base['leep'][0]:.3f}: {'; '.join(moved) or 'nothing'}. "
      f"The {len(rest)} other settings move it by {min(rest):+.2f} to "
      f"{max(rest):+.2f}."
    )
  return "\n".join([*items, _recipes()])


def _recipes() -> str:
  """Returns r of sources of one architecture by how they were trained."""
  rows = [row for row in factors.rows_of() if "recipe" in row["setting"]]
  cells = []
  for row in rows:
    r = _of_setting(row, "accuracy", "").r
    values = " / ".join(_cell(r[score]) for score in table_1.SCORES)
    cells.append(f"{row['setting']['recipe']} {values}")
  if not cells:
    return "- Sources of several recipes were not trained."
  facts = rows[0]
  return (
    f"- {table_1.number(facts['section'])}, {facts['target']}, with a source "
    f"of our own training on CIFAR-10 (`{facts['model']}`), LEEP / NCE / "
    f"H-score: {'; '.join(cells)}."
  )


def _by_line() -> dict[tuple[str, str, str], list[results.Row]]:
  """Returns the rows of `experiments.factors` by section, target and source."""
  groups: dict[tuple[str, str, str], list[results.Row]] = {}
  for row in factors.rows_of():
    key = row["section"], row["target"], row["model"]
    groups.setdefault(key, []).append(row)
  return groups


def settings_tables() -> str:
  """Returns tables of r by setting, for each section, target and source."""
  found = []
  for (name, target, model), own in _by_line().items():
    metric = section.metric_of(name)
    lines = [
      f"`{section.short_name(model)}`, {table_1.number(name)}, {target}:\n",
      f"| setting | mean {metric} | leep | nce | h_score |",
      "|---|---|---|---|---|",
    ]
    for row in own:
      r = _of_setting(row, metric, "").r
      cells = [_cell(r[score]) for score in table_1.SCORES]
      what = words(row["setting"]) if row["setting"] else "as in Table 1"
      lines.append(
        f"| {what} | {row['mean'][metric]:.3f} | {' | '.join(cells)} |"
      )
    found.append("\n".join(lines))
  return "\n\n".join(found)


def _cell(r):
  return "-" if r is None else f"{r:.3f}"
