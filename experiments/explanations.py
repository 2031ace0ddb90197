"""Explains each correlation that differs from the published one, by a number.

Each sentence is made from committed rows, in this order of reasons: what the
definition of H-score implies; another source of the same training data with the
published correlation; a setting of `experiments.factors` with it. If none
applies, the sentence says what was tried.
"""

from collections.abc import Sequence
import dataclasses
import math
from typing import Any

from experiments import (
  factors,
  h_score_forms,
  meta_transfer,
  section,
  table_1,
)
from leep_jax.reports import results, sweep_report

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
_MOVED = 0.1  # of r


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


@dataclasses.dataclass(frozen=True)
class Trial:
  """A variant of a line of Table 1.

  Attributes:
    name: what was changed.
    r: `[r, low, high]` by score, None where undefined.
  """

  name: str
  r: dict[str, list[float] | None]

  def distance(self, line: table_1.Line) -> float:
    """Returns the root mean square of differences of Fisher's z."""
    known = {
      score: self.r[score]
      for score in table_1.SCORES
      # A published value that is not significant is that of a constant.
      if score != "h_score" or line.published["h_score_significant"] == "true"
    }
    if any(r is None for r in known.values()):
      return math.inf
    squares = [
      (table_1.fisher_z(r[0]) - table_1.fisher_z(line.value(score))) ** 2
      for score, r in known.items()
      if r is not None
    ]
    return math.sqrt(sum(squares) / len(squares))

  def cells(self) -> str:
    """Returns r of the three scores as text."""
    r = [self.r[score] for score in table_1.SCORES]
    return " / ".join("-" if one is None else f"{one[0]:.3f}" for one in r)


def differences(lines: Sequence[table_1.Line]) -> list[Difference]:
  """Returns all differences that Table 1 marks, the largest first."""
  rows, forms = list(factors.rows_of()), h_score_forms.rows_of()
  found = []
  for line in lines:
    for score in table_1.SCORES:
      if line.contradicts(score) or line.differs(score):
        reason, explained = _reason(line, score, rows, forms)
        found.append(Difference(line, score, reason, explained))
  return sorted(found, key=lambda one: -one.size)


def _reason(line, score, rows, forms) -> tuple[str, bool]:
  """Returns the sentence for a difference, and whether it explains it."""
  if score == "h_score":
    reason = _of_subsets(line, forms) or _of_few_examples(line)
    if reason:
      return reason, True
  heads = line.published["method"] == "retrain_head"
  tried = _of_heads(line, rows) if heads else _of_trained(line)
  for reason in (
    _of_another_source(line, score),
    _of_a_trial(line, score, tried),
  ):
    if reason:
      return reason, True
  return _unexplained(line, score, tried), False


def _of_subsets(line, forms) -> str | None:
  """The number of classes alone decides H-scores of subsets (5.1)."""
  if line.published["section"] != "5.1":
    return None
  cifar10 = line.published["source"] == "cifar10"
  model = section.CIFAR10 if cifar10 else section.MOBILENET
  own = [row for row in forms if row["model"] == model]
  if not own:
    return None
  r = {row["form"]: row["r"] for row in own}
  divided = r["divided by Y - 1"]["accuracy"][0]
  counted = r["tr(S^-1 B), its definition"]["Y accuracy"][0]
  return (
    "H-score is at most Y - 1 and grows with the number of classes Y, while "
    f"accuracy falls; with heads of `{section.short_name(model)}` it "
    f"has r = {divided:.3f} if divided by Y - 1, and {counted:.3f} against Y "
    "times accuracy"
  )


def _of_few_examples(line) -> str | None:
  """The published r is that of a score which was constant."""
  if line.published["h_score_significant"] != "false":
    return None
  return (
    "the paper's ResNet-18 has 512 features and the tasks at most 360 "
    "examples, for which any H-score is Y - 1: the published value is that of "
    f"a constant (p > 0.05); `{section.short_name(line.model)}` has fewer "
    "features than examples in some or all of the tasks"
  )


def _of_another_source(line, score) -> str | None:
  """The published r lies between that of the source and those of others."""
  known = line.other(score)
  r = [line.found[score].pearson, *known.values()]
  if not known or not min(r) <= line.value(score) <= max(r):
    return None
  nearest = min(known, key=lambda m: abs(known[m] - line.value(score)))
  others = f"`{section.short_name(nearest)}` has {known[nearest]:.3f}"
  if len(known) > 1:
    low, high = min(known.values()), max(known.values())
    others = f"{len(known)} others have {low:.3f} to {high:.3f}, {others}"
  return f"the source decides: {others}"


def _of_heads(line, rows) -> list[Trial]:
  """Returns the settings of `experiments.factors` for a line of heads."""
  own = section.metric_of(line.section)
  return [
    Trial(_with_metric(row["setting"], metric, own), row["r"][metric])
    for row in rows
    if (row["section"], row["target"], row["model"])
    == (line.section, line.published["target"], line.model)
    for metric in row["r"]
    # The line itself is no trial, nor is the macro F1 of equal classes.
    if (row["setting"] or metric != own) and own in (metric, "binary_f1")
  ]


def _with_metric(setting, metric, own):
  parts = [words(setting)] if setting else []
  if metric != own:
    parts.append(f"{metric} instead of {own}")
  return " and ".join(parts)


def _of_trained(line) -> list[Trial]:
  """Returns variants of a line of fine-tuning or CNAPs, of the same tasks.

  They are other epochs, other metrics, heads, and scores of other sources.
  """
  at_all_scales = section.at_all_scales(line.section, line.published["target"])
  every = section.of_one_recipe(at_all_scales)
  method = line.published["method"]
  own = [row for row in every if row["model"] == line.model]
  trained = [row for row in own if row["method"] == method]
  metric = section.metric_of(line.section)
  runs = [
    row
    for row in at_all_scales
    if (row["model"], row["method"]) == (line.model, method)
  ]
  reached = _of_other_epochs(trained) | _of_other_runs(runs, trained, metric)
  for other in sweep_report.METRICS:
    # The macro F1 of equal classes is nearly their accuracy.
    if other != metric and metric == "binary_f1":
      reached[f"{other} instead of {metric}"] = [row[other] for row in trained]
  heads = {
    row["task"]: row[metric] for row in own if row["method"] == "retrain_head"
  }
  if all(row["task"] in heads for row in trained):
    name = f"heads of the same {len(trained)} tasks in place of {method}"
    reached[name] = [heads[row["task"]] for row in trained]
  scores = _scores_by_model(every)
  values = [row[metric] for row in trained]
  found = [
    Trial(name, _correlations(_of_tasks(scores[line.model], trained), values))
    for name, values in reached.items()
  ]
  if method == "cnaps":
    found += _before_meta_training(line, metric)
  if line.published["section"] == "5.1":
    found.append(
      Trial(
        "minus the logarithm of the number of classes in place of a score",
        _correlations([_of_classes_alone(row) for row in trained], values),
      )
    )
  for model, known in scores.items():
    if model != line.model and all(_task(row) in known for row in trained):
      name = f"scores of `{section.short_name(model)}` in place of its own"
      correlated = _correlations(_of_tasks(known, trained), values)
      found.append(Trial(name, correlated))
  return found


def _of_classes_alone(row):
  return dict.fromkeys(table_1.SCORES, -math.log(row["num_classes"]))


def _before_meta_training(line, metric) -> list[Trial]:
  rows = section.measured(meta_transfer.UNTRAINED, line.published["target"])
  trained = [row for row in rows if row["method"] == "cnaps"]
  if not trained:
    return []
  scores = _of_tasks(_scores_by_model(rows)[line.model], trained)
  values = [row[metric] for row in trained]
  return [
    Trial("the model before meta-training", _correlations(scores, values))
  ]


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


def _scores_by_model(rows) -> dict[str, dict[tuple[str, str], dict[str, Any]]]:
  found: dict[str, dict[tuple[str, str], dict[str, Any]]] = {}
  for row in rows:
    if row["method"] == sweep_report.SCORED:
      of_model = found.setdefault(row["model"], {})
      of_model.setdefault(_task(row), {}).update(row["scores"])
  return found


def _of_tasks(scores, trained):
  return [scores[_task(row)] for row in trained]


def _task(row):
  return row["task"], row["task_checksum"]


def _correlations(scores, values) -> dict[str, list[float] | None]:
  return {
    name: section.r_with_interval([row[name] for row in scores], values)
    for name in table_1.SCORES
  }


def _of_a_trial(line, score, tried) -> str | None:
  """The trial that fits the line best, if it has the published value."""
  # Of the line as a whole: among many trials, one would fit any one score.
  best = min(tried, key=lambda trial: trial.distance(line), default=None)
  if best is None or best.r[score] is None:
    return None
  r, low, high = best.r[score]
  wanted = table_1.fisher_z(line.value(score))
  before = abs(table_1.fisher_z(line.found[score].pearson) - wanted)
  if (
    not low <= line.value(score) <= high
    or abs(table_1.fisher_z(r) - wanted) > before / 2
  ):
    return None
  return (
    f"with {best.name}, r is {r:.3f} ({low:.3f} to {high:.3f}), of all three "
    f"scores {best.cells()}; {len(tried)} variants gave {_ends(tried, score)}"
  )


def _ends(tried, score):
  values = [trial.r[score][0] for trial in tried if trial.r[score] is not None]
  low, high = f"{min(values):.3f}", f"{max(values):.3f}"
  return low if len(values) == 1 else f"{low} to {high}"


def words(setting: dict[str, Any]) -> str:
  """Returns a changed setting in words."""
  return " and ".join(
    _WORDS[name].format(_VALUES.get(value, value))
    for name, value in setting.items()
  )


def _unexplained(line, score, tried) -> str:
  parts = []
  ends = line.range(score)
  if ends is not None:
    count = len(line.other(score))
    parts.append(
      f"{count} other sources ({ends[0]:.3f} to {ends[1]:.3f})"
      if count > 1
      else f"another source ({ends[0]:.3f})"
    )
  if any(trial.r[score] is not None for trial in tried):
    names = tried[0].name if len(tried) == 1 else f"{len(tried)} variants"
    parts.append(f"{names} ({_ends(tried, score)})")
  if not parts:
    return "unexplained after trying nothing else on these tasks"
  return f"unexplained after trying {' and '.join(parts)}"


def agreement(lines: Sequence[table_1.Line]) -> str:
  """Returns a sentence on how many correlations agree with the published."""
  measured = [line for line in lines if line.model is not None]
  cells = [(line, score) for line in measured for score in table_1.SCORES]
  known = [
    (line, score)
    for line, score in cells
    if line.found[score].pearson is not None
  ]
  differ = [(line, score) for line, score in known if line.differs(score)]
  of_leep = [one for one in known if one[1] == "leep"]
  signs = sum((line.found[score].pearson or 0) > 0 for line, score in of_leep)
  leep = sum(one in differ for one in of_leep)
  weak = sum((line.found[s].p_value or 0) > 0.05 for line, s in of_leep)
  return (
    f"{len(measured)} of {len(lines)} lines are measured: {len(known)} "
    f"correlations, and {len(cells) - len(known)} H-scores that are constant. "
    f"{len(known) - len(differ)} correlations agree with the published ones, "
    f"{len(differ)} differ by more than chance (‡), {leep} of them of LEEP. "
    f"LEEP correlates positively in {signs} of {len(of_leep)} lines, as "
    f"published; in {weak} of them not significantly (p > 0.05)."
  )


def text(lines: Sequence[table_1.Line]) -> str:
  """Returns the list of all differences as Markdown.

  Args:
    lines: of Table 1.
  """
  found = differences(lines)
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
  explained = sum(one.explained for one in found)
  return "\n".join(
    [
      *(listed or ["- none"]),
      f"\n{explained} of these {len(found)} have an explanation. Each is "
      "judged alone, so that one in twenty would be marked by chance.",
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
      f"  - {name}, {target}, `{section.short_name(model)}`, from "
      f"{base['leep'][0]:.3f}: {'; '.join(moved) or 'nothing'}. "
      f"The {len(rest)} other settings move it by {min(rest):+.2f} to "
      f"{max(rest):+.2f}."
    )
  return (
    f"- **What moves r of LEEP by {_MOVED} or more**, and by how much:\n\n"
    + "\n".join([*items, _recipes()])
  )


def _recipes() -> str:
  """Returns r of sources of one architecture by how they were trained."""
  rows = [row for row in factors.rows_of() if "recipe" in row["setting"]]
  cells = []
  for row in rows:
    r = row["r"]["accuracy"]
    values = " / ".join(_cell(r[score]) for score in table_1.SCORES)
    cells.append(f"{row['setting']['recipe']} {values}")
  if not cells:
    return "  - Sources of several recipes were not trained."
  facts = rows[0]
  return (
    f"  - {facts['section']}, {facts['target']}, with a source of our own "
    f"training on CIFAR-10 (`{facts['model']}`), LEEP / NCE / H-score: "
    f"{'; '.join(cells)}."
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
  tables = []
  for (name, target, model), own in _by_line().items():
    metric = section.metric_of(name)
    lines = [
      f"`{section.short_name(model)}`, {name} {target}:\n",
      f"| setting | mean {metric} | leep | nce | h_score |",
      "|---|---|---|---|---|",
    ]
    for row in own:
      cells = [_cell(row["r"][metric][score]) for score in table_1.SCORES]
      what = words(row["setting"]) if row["setting"] else "as in Table 1"
      lines.append(
        f"| {what} | {row['mean'][metric]:.3f} | {' | '.join(cells)} |"
      )
    tables.append("\n".join(lines))
  return "\n\n".join(tables)


def _cell(r):
  return "-" if r is None else f"{r[0]:.3f}"
