"""Writes the tables and figures that are computed from committed rows.

    python -m experiments.blocks

Purpose: one command regenerates every table and figure from the rows in
`experiments/results`, and a test checks that this changes no file. In a
Markdown file, a generated table is the block between `<!-- name -->` and
`<!-- /name -->`.

Cost: 20 seconds on two CPU cores; nothing is trained.

What came out: the blocks in `README.md`, `experiments/README.md` and
`experiments/guide/commands.md`, the files `results/table_1.md`,
`results/coverage.md` and `results/model_coverage.md`, and the figures.
"""

from collections.abc import Iterator, Sequence
import functools
import pathlib
import re
import sys
from typing import Any

from absl import flags
import numpy as np

from experiments import (
  convergence,
  coverage,
  meta_transfer,
  model_coverage,
  score_benchmark_tables,
  score_features,
  section,
  source_selection,
  table_1,
  task_relations,
  transfer_methods,
)
from leep_jax import command, relations, sweep
from leep_jax.reports import correlation, results, sweep_report

ROOT = pathlib.Path(__file__).resolve().parents[1]
README = ROOT / "README.md"
HERE = ROOT / "experiments" / "README.md"
GUIDE = ROOT / "experiments" / "guide"
# Method and section of the lines of Table 1 that the README shows.
_EXCERPT = (
  ("retrain_head", "5.1"),
  ("retrain_head", "5.2"),
  ("retrain_head", "5.3"),
  ("fine_tune", "5.2"),
  ("cnaps", "5.4"),
)
_SECTIONS = (
  "large_tasks", "small_tasks", "imbalanced_tasks", "meta_transfer",
  meta_transfer.UNTRAINED, "convergence", "source_selection",
)  # fmt: skip
# CIFAR-10 ResNets that only the table `networks` shows.
_DEEPER = ("resnet32", "resnet44", "resnet56")
# Sections whose tasks have few examples, with their targets.
_FEW = (
  ("small_tasks", "cifar100"),
  ("small_tasks", "fashion_mnist"),
  ("imbalanced_tasks", "cifar100"),
  ("imbalanced_tasks", "fashion_mnist"),
  ("meta_transfer", "cifar100"),
)


def fill(name: str, text: str, path: pathlib.Path) -> None:
  """Replaces a block of a Markdown file.

  Args:
    name: name of the block.
    text: the new contents, without the markers.
    path: the file, which must contain exactly one block of this name.

  Raises:
    SystemExit: if it contains none or several.
  """
  block = re.compile(f"<!-- {name} -->.*?<!-- /{name} -->", re.DOTALL)
  old = path.read_text()
  if len(block.findall(old)) != 1:
    raise SystemExit(f"{path.name} must have exactly one block {name}")
  body = text.strip("\n")
  new = f"<!-- {name} -->\n\n{body}\n\n<!-- /{name} -->"
  # A function, because `sub` would interpret backslashes of a text.
  path.write_text(block.sub(lambda _: new, old))
  print(f"wrote {name}", flush=True)


def blocks() -> Iterator[tuple[str, str, pathlib.Path]]:
  """Yields the name, text and file of each block computed from rows."""
  found = table_1.lines()
  large = section.measured("large_tasks", "cifar100")
  yield (
    "sweep",
    sweep_report.table(sweep_report.correlations(large)),
    GUIDE / "commands.md",
  )
  yield "table_1", short_table_1(found), README
  yield "table_1", f"{table_1.table(found)}\n\n{table_1.NOTES}", HERE
  yield "classes", classes(large), HERE
  yield "contradictions", contradictions(found), HERE
  yield "regularized", regularized(), HERE
  yield "networks", networks(), HERE
  yield "meta", meta_transfer.text(), HERE
  yield "tuned", tuned_on_the_same(), HERE
  yield "convergence", convergence_tables(), HERE
  yield "selection", selection(), HERE
  yield "rows", provenance(), HERE
  for name, text in score_benchmark_tables.blocks():
    yield name, text, score_benchmark_tables.TABLE
  yield "which_score", score_benchmark_tables.short(), README
  yield "features", score_features.table(), GUIDE / "scores.md"
  yield (
    "task_relations",
    task_relations.table(
      task_relations.read(task_relations.ROWS),
      relations.affinities(task_relations.read(task_relations.TRAINED)),
    ),
    task_relations.TABLE,
  )
  trained = results.parse_rows(transfer_methods.ROWS.read_bytes(), name="")[0]
  yield "transfer_methods", transfer_methods.table(trained), HERE


def short_table_1(found: Sequence[table_1.Line]) -> str:
  """Returns the first measured line of Table 1 for each row of `_EXCERPT`."""
  missing = list(_EXCERPT)
  text = [
    "| transfer | source → target | section | LEEP | 95 % | NCE | H-score | "
    "measured with |",
    "|---|---|---|---|---|---|---|---|",
  ]
  for line in found:
    facts = line.published
    key = facts["method"], facts["section"]
    if line.model is None or key not in missing:
      continue
    missing.remove(key)
    leep, *others = [
      table_1.measured_beside_published(line, score) for score in table_1.SCORES
    ]
    text.append(
      f"| {facts['method']} | {facts['source']} → {facts['target']} | "
      f"{facts['section']} | {leep} | {table_1.interval(line.found['leep'])} | "
      f"{' | '.join(others)} | `{line.model.partition('@')[0]}`, "
      f"{line.setting} |"
    )
  measured = sum(line.model is not None for line in found)
  return (
    "\n".join(text) + "\n\nEach cell: measured r (published r); "
    f"{measured} of the {len(found)} lines were measured. {table_1.NOTES}"
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
  for pairs in sweep_report.pairs(rows).values():
    names = list(dict.fromkeys(pair["model"] for pair in pairs))
    shown = source_selection.labels(names)
    for name, short in zip(names, shown, strict=True):
      chosen = [pair for pair in pairs if pair["model"] == name]
      leep, accuracy = map(np.array, sweep_report.columns(chosen, "leep"))
      h_score = np.array(sweep_report.columns(chosen, "h_score")[0])
      number = np.array([count[pair["target"][-1]] for pair in chosen])
      logs = -np.log(number)
      gain = correlation.difference(leep, logs, accuracy)
      cells = [
        _r(leep, accuracy), _r(logs, accuracy), _difference(gain),
        _r(_residuals(leep, logs), _residuals(accuracy, logs)),
        # Y - 1 is the largest H-score of Y classes.
        _r(h_score, accuracy), _r(h_score / (number - 1), accuracy),
      ]  # fmt: skip
      text.append(f"| {short} | {' | '.join(cells)} |")
  return "\n".join(text)


def _r(x, y):
  # With too few examples, H-scores are equal up to rounding.
  if np.ptp(x) < 1e-9 or np.ptp(y) < 1e-9:
    return "-"
  return f"{np.corrcoef(x, y)[0, 1]:.3f}"


def _difference(found):
  if found.interval is None:
    return "-"
  low, high = found.interval
  return f"{found.value:.3f} ({low:.3f} to {high:.3f})"


def _residuals(values, other):
  """Returns residuals of a linear regression on `other`.

  The correlation of two such residuals is the partial correlation given
  `other`.
  """
  design = np.stack([np.ones(len(other)), other], axis=1)
  return values - design @ np.linalg.lstsq(design, values, rcond=None)[0]


def contradictions(found: Sequence[table_1.Line]) -> str:
  """Lists correlations that differ from the published ones, largest first."""
  lines = []
  compared = 0
  for line in found:
    for score in table_1.SCORES:
      compared += line.found.get(score) is not None
      if line.contradicts(score) or line.differs(score):
        facts = line.published
        got = line.found[score].pearson or 0.0
        lines.append(
          (
            -abs(got - line.value(score)),
            f"- {facts['section']}, {facts['method']}, {facts['source']} → "
            f"{facts['target']}, {score}: {got:.3f}"
            f"{table_1.mark(line, score)} ({line.found[score].n} tasks), "
            f"published {line.value(score):.3f}",
          )
        )
  listed = "\n".join(text for _, text in sorted(lines)) or "- none"
  return (
    f"{listed}\n\n({len(lines)} of {compared} correlations that were measured; "
    "each is judged alone, so that one in twenty would be marked by chance.)"
  )


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
  lines = [
    "| tasks | source | H-score | regularised | LEEP |",
    "|---|---|---|---|---|",
  ]
  for where, model, scores in _few():
    if "regularized_h_score" in scores and not model.startswith(_DEEPER):
      cells = [
        _or_dash(scores[name]["pearson"])
        for name in ("h_score", "regularized_h_score", "leep")
      ]
      lines.append(f"| {where} | {model} | {' | '.join(cells)} |")
  return "\n".join(lines)


def networks() -> str:
  """Returns correlations of LEEP and NCE for ResNets of several depths."""
  lines = [
    "| tasks | source | LEEP | 95 % | NCE | 95 % |",
    "|---|---|---|---|---|---|",
  ]
  found = list(_few())
  compared = {where for where, model, _ in found if model.startswith(_DEEPER)}
  for where, model, scores in found:
    if where in compared and model.startswith("resnet"):
      cells = []
      for name in ("leep", "nce"):
        row = scores[name]
        cells += [
          _or_dash(row["pearson"]),
          f"{row['low']:.3f} to {row['high']:.3f}",
        ]
      lines.append(f"| {where} | {model} | {' | '.join(cells)} |")
  return "\n".join(lines)


@functools.cache
def _few():
  """Returns correlations with heads or CNAPs in the sections `_FEW`.

  There is one item for each section and source. The result is cached because
  two tables use it, and the bootstrap takes seconds.
  """
  found = []
  for name, target in _FEW:
    metric = section.metric_of(name)
    rows = [
      row
      for row in section.measured(name, target)
      if row["method"] in (sweep_report.SCORED, "retrain_head", "cnaps")
    ]
    by_model: dict[str, dict[str, dict[str, Any]]] = {}
    for row in sweep_report.correlations(rows, metric=metric):
      by_model.setdefault(row["model"], {})[row["score"]] = row
    where = f"{name} {target}"
    found += [
      (where, model.partition("@")[0], scores)
      for model, scores in by_model.items()
      if model != "all sources"
    ]
  return found


def _or_dash(value):
  return "-" if value is None else f"{value:.3f}"


def convergence_tables() -> str:
  """Returns the tables of convergence, by target and source."""
  text = []
  for target in convergence.SECTION.targets:
    for model, found in convergence.measured(target).items():
      name = model.partition("@")[0]
      text.append(f"`{name}` → {target}:\n\n{convergence.table(found)}")
  return "\n\n".join(text)


def selection() -> str:
  """Returns the tables of section 5.7.

  For each target they are scores and accuracies by source, and correlations.
  """
  text = []
  for target in source_selection.SECTION.targets:
    rows = source_selection.with_accuracy(
      section.measured("source_selection", target)
    )
    found_by_method = sweep_report.pairs(rows)
    scored = [r["model"] for r in rows if r["method"] == sweep_report.SCORED]
    for method, pairs in found_by_method.items():
      done = {pair["model"] for pair in pairs}
      missing = [m for m in dict.fromkeys(scored) if m not in done]
      note = ""
      if missing:
        named = ", ".join(f"`{x}`" for x in source_selection.labels(missing))
        note = f"\n\nNot run: {named}."
      text.append(f"{target}, {method}:\n\n{_sources(pairs)}{note}")
    found = [
      row
      for row in sweep_report.correlations(rows)
      if row["model"] == "all sources"
    ]
    text.append(f"{target}:\n\n{sweep_report.table(found)}")
  return "\n\n".join(text)


def _sources(pairs):
  """Returns the table of sources, the most accurate first."""
  scores = list(pairs[0]["scores"])
  lines = [
    f"| source | test accuracy | {' | '.join(scores)} |",
    "|---|---|" + "---|" * len(scores),
  ]
  names = source_selection.labels([pair["model"] for pair in pairs])
  order = sorted(
    zip(names, pairs, strict=True),
    key=lambda item: -(item[1]["performance"] or 0),
  )
  for name, pair in order:
    accuracy = (
      "diverged"
      if pair["performance"] is None
      else f"{pair['performance']:.4f}"
    )
    cells = [
      "-" if pair["scores"][score] is None else f"{pair['scores'][score]:.4f}"
      for score in scores
    ]
    lines.append(f"| {name} | {accuracy} | {' | '.join(cells)} |")
  return "\n".join(lines)


def provenance() -> str:
  """Returns a table of how rows were made: devices, versions, commits."""
  text = [
    "| rows | method | runs | seconds | device | jax | commit |",
    "|---|---|---|---|---|---|---|",
  ]
  for name in _SECTIONS:
    for folder in sorted((section.RESULTS / name).glob("*/")):
      groups: dict[str, list[results.Row]] = {}
      for row in sweep.read_rows(folder):
        groups.setdefault(row["method"], []).append(row)
      for method, rows in groups.items():
        cells = [
          f"`{name}/{folder.name}`", method, f"{len(rows):,}",
          f"{sum(row['seconds'] for row in rows):,.0f}",
          *(_distinct(rows, key) for key in ("device", "jax", "commit")),
        ]  # fmt: skip
        text.append(f"| {' | '.join(cells)} |")
  return "\n".join(text)


def _distinct(rows, key):
  return ", ".join(sorted({str(row.get(key) or "-") for row in rows}))


def _run() -> int:
  status = table_1.main(["experiments.table_1"])
  if status:
    return status
  for name, text, path in blocks():
    fill(name, text, path)
  for module in (coverage, model_coverage):
    module.TABLE.write_text(f"{module.table(module.measured())}\n")
  rows, _ = results.parse_rows(transfer_methods.ROWS.read_bytes(), name="rows")
  transfer_methods.draw(rows, section.RESULTS / "transfer_methods.png")
  return 0


if __name__ == "__main__":
  sys.exit(command.main(sys.argv, flags.FlagValues(), __doc__ or "", _run))
