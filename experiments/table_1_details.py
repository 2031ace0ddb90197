"""Tables that go with Table 1: other metrics, scores and numbers of classes."""

from collections.abc import Sequence

import numpy as np

from experiments import h_score_forms, section, table_1
from leep_jax.reports import correlation, results, sweep_report

TABLE = section.RESULTS / "table_1_details.md"
# Sections whose tasks have few examples, with their targets.
_FEW = (
  ("small_tasks", "cifar100"),
  ("small_tasks", "fashion_mnist"),
  ("imbalanced_tasks", "cifar100"),
  ("imbalanced_tasks", "fashion_mnist"),
  ("meta_transfer", "cifar100"),
)


def classes(rows: Sequence[results.Row]) -> str:
  """Returns a table of LEEP and H-score beside the number of classes.

  It compares how well each of them predicts accuracy.
  """
  text = [
    "| source | LEEP | -log(classes) | difference (95 %) | LEEP at equal "
    "classes | H-score | H-score / (classes - 1) |",
    "|---|---|---|---|---|---|---|",
  ]
  count = {row["task_checksum"]: row["num_classes"] for row in rows}
  for model in dict.fromkeys(row["model"] for row in rows):
    own = [row for row in rows if row["model"] == model]
    pairs = section.pairs_of(own, "retrain_head", "accuracy")
    if not pairs:
      continue
    leep, accuracy = map(np.array, sweep_report.columns(pairs, "leep"))
    h_score = np.array(sweep_report.columns(pairs, "h_score")[0])
    number = np.array([count[pair["target"][-1]] for pair in pairs])
    logs = -np.log(number)
    gain = correlation.difference(leep, logs, accuracy)
    rest = [h_score_forms.residuals(x, logs) for x in (leep, accuracy)]
    cells = [
      _r(leep, accuracy), _r(logs, accuracy), _difference(gain), _r(*rest),
      # Y - 1 is the largest H-score of Y classes.
      _r(h_score, accuracy), _r(h_score / (number - 1), accuracy),
    ]  # fmt: skip
    text.append(f"| {section.short_name(model)} | {' | '.join(cells)} |")
  return "\n".join(text)


def metrics(found: Sequence[table_1.Line]) -> str:
  """Returns correlations with accuracy and with both F1 on imbalanced tasks.

  Args:
    found: lines of Table 1.
  """
  names = {
    "accuracy": "accuracy",
    "macro_f1": "macro F1",
    "binary_f1": "F1 of the smaller class",
  }
  lines = [
    f"| transfer | target | source | score | {' | '.join(names.values())} | "
    "published |",
    "|---|---|---|---|" + "---|" * len(names) + "---|",
  ]
  nearest = dict.fromkeys(names.values(), 0)
  for line in found:
    if line.published["section"] != "5.3" or line.model is None:
      continue
    facts = line.published
    rows = [
      row
      for row in section.measured(line.section, facts["target"])
      if row["model"] == line.model
    ]
    for score in table_1.SCORES:
      cells, size = [], {}
      for metric, name in names.items():
        pairs = section.pairs_of(rows, facts["method"], metric)
        r = table_1.pearson(*sweep_report.columns(pairs, score))
        cells.append(_cell(r))
        if r is not None:
          size[name] = abs(r - line.value(score))
      if size:
        nearest[min(size, key=lambda name: size[name])] += 1
      lines.append(
        f"| {facts['method']} | {facts['target']} | "
        f"{section.short_name(line.model)} | {score} | "
        f"{' | '.join(cells)} | {line.value(score):.3f} |"
      )
  counts = ", ".join(f"{name} in {count}" for name, count in nearest.items())
  return "\n".join(lines) + (
    f"\n\nOf {sum(nearest.values())} cells, nearest to the published r is r "
    f"with {counts}."
  )


def _r(x, y):
  return _cell(table_1.pearson(x, y))


def _cell(r):
  return "-" if r is None else f"{r:.3f}"


def _difference(found):
  if found.interval is None:
    return "-"
  low, high = found.interval
  return f"{found.value:.3f} ({low:.3f} to {high:.3f})"


def tuned_on_the_same() -> str:
  """Returns correlations with heads and with fine-tuning on the same tasks."""
  lines = [
    "| tasks | n | score | heads | fine-tuning | difference (95 %) |",
    "|---|---|---|---|---|---|",
  ]
  for name, target in _FEW:
    metric = section.metric_of(name)
    rows = [
      row
      for row in section.measured(name, target)
      if row["model"] == section.CIFAR10
    ]
    reached: dict[str, dict[str, float]] = {}
    for row in rows:
      if row["method"] != sweep_report.SCORED and row[metric] is not None:
        reached.setdefault(row["method"], {})[row["task"]] = row[metric]
    heads, tuned = reached.get("retrain_head", {}), reached.get("fine_tune", {})
    both = [task for task in tuned if task in heads]
    # Fewer tasks would give no useful interval.
    if len(both) < 5:
      continue
    scores = {
      row["task"]: row["scores"]
      for row in rows
      if row["method"] == sweep_report.SCORED
    }
    for score in table_1.SCORES:
      x = [scores[task][score] for task in both]
      y, z = [heads[t] for t in both], [tuned[t] for t in both]
      # `difference` compares two scores of one result. The correlation is
      # symmetric, so it also compares two results of one score.
      more = correlation.difference(z, y, x)
      lines.append(
        f"| {name} {target} | {len(both)} | {score} | {_r(x, y)} | "
        f"{_r(x, z)} | {_difference(more)} |"
      )
  return "\n".join(lines)


def regularized() -> str:
  """Returns correlations of both variants of H-score on few examples."""
  scores = ("h_score", "regularized_h_score", "leep")
  lines = [
    "| tasks | source | H-score | regularised | LEEP |",
    "|---|---|---|---|---|",
  ]
  for name, target in _FEW:
    rows = section.measured(name, target)
    for model in dict.fromkeys(row["model"] for row in rows):
      own = [row for row in rows if row["model"] == model]
      method = "cnaps" if name == "meta_transfer" else "retrain_head"
      pairs = section.pairs_of(own, method, section.metric_of(name))
      # Some older rows have no regularised H-score.
      if pairs and "regularized_h_score" in pairs[0]["scores"]:
        cells = [_r(*sweep_report.columns(pairs, score)) for score in scores]
        lines.append(
          f"| {name} {target} | {section.short_name(model)} | "
          f"{' | '.join(cells)} |"
        )
  return "\n".join(lines)
