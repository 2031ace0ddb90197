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
import pathlib
import re
import sys

from absl import flags

from experiments import (
  convergence,
  coverage,
  explanations,
  h_score_forms,
  meta_transfer,
  model_coverage,
  score_benchmark_tables,
  score_features,
  section,
  source_selection_tables,
  table_1,
  table_1_details,
  task_relations,
  transfer_methods,
)
from leep_jax import command, relations, sweep
from leep_jax.reports import results, sweep_report

ROOT = pathlib.Path(__file__).resolve().parents[1]
README = ROOT / "README.md"
HERE = ROOT / "experiments" / "README.md"
GUIDE = ROOT / "experiments" / "guide"
# Method and section of lines of Table 1, of which the README shows the first.
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
  yield "table_1", f"{short_table_1(excerpt(found))}\n\n{_cells(found)}", README
  yield "table_1", short_table_1(found), HERE
  yield "agreement", explanations.agreement(found), HERE
  differences = explanations.differences(found)
  yield "counted", explanations.counted(differences), HERE
  yield "meta", meta_transfer.text(), HERE
  details = {
    "differences": explanations.text(differences),
    "moves": explanations.moves(),
    "together": explanations.together(found),
    "meta_training": meta_transfer.validation_curve(),
    "factors": explanations.settings_tables(),
    "h_score_forms": h_score_forms.table(h_score_forms.rows_of()),
    "classes": table_1_details.classes(large),
    "metrics": table_1_details.metrics(found),
    "regularized": table_1_details.regularized(),
    "tuned": table_1_details.tuned_on_the_same(),
    "rows": provenance(),
  }
  for name, text in details.items():
    yield name, text, table_1_details.TABLE
  yield "convergence", convergence_tables(), HERE
  yield "selection", source_selection_tables.summary(), HERE
  yield "within_imagenet", source_selection_tables.sentence(), HERE
  for name, text in source_selection_tables.blocks():
    yield name, text, source_selection_tables.TABLE
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


def excerpt(found: Sequence[table_1.Line]) -> list[table_1.Line]:
  """Returns the first measured line of Table 1 for each row of `_EXCERPT`."""
  first: dict[tuple[str, str], table_1.Line] = {}
  for line in found:
    key = line.published["method"], line.published["section"]
    if line.model is not None and key in _EXCERPT:
      first.setdefault(key, line)
  return list(first.values())


def _cells(found):
  measured = sum(line.model is not None for line in found)
  return (
    f"Each cell: measured r (published r); {measured} of the {len(found)} "
    f"lines were measured. {table_1.NOTES}"
  )


def short_table_1(found: Sequence[table_1.Line]) -> str:
  """Returns a table of lines that are measured, a row for each.

  Args:
    found: lines of Table 1.
  """
  text = [
    "| transfer | source → target | section | LEEP | 95 % | NCE | H-score | "
    "measured with |",
    "|---|---|---|---|---|---|---|---|",
  ]
  for line in found:
    if line.model is None:
      continue
    facts = line.published
    leep, *others = [
      table_1.measured_beside_published(line, score) for score in table_1.SCORES
    ]
    text.append(
      f"| {facts['method']} | {facts['source']} → {facts['target']} | "
      f"{facts['section']} | {leep} | {table_1.interval(line.found['leep'])} | "
      f"{' | '.join(others)} | `{section.short_name(line.model)}`, "
      f"{line.setting} |"
    )
  return "\n".join(text)


def convergence_tables() -> str:
  """Returns the tables of convergence, by target and source."""
  text = []
  for target in convergence.SECTION.targets:
    for model, found in convergence.measured(target).items():
      name = section.short_name(model)
      text.append(f"`{name}` → {target}:\n\n{convergence.table(found)}")
  return "\n\n".join(text)


def provenance() -> str:
  """Returns a table of how rows were made: devices, versions, commits."""
  total = 0.0
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
        seconds = sum(row["seconds"] for row in rows)
        total += seconds
        cells = [
          f"`{name}/{folder.name}`", method, f"{len(rows):,}",
          f"{seconds:,.0f}",
          *(_distinct(rows, key) for key in ("device", "jax", "commit")),
        ]  # fmt: skip
        text.append(f"| {' | '.join(cells)} |")
  together = (
    f"Together {total / 3600:.1f} hours on a core, without forward passes."
  )
  return "\n".join([*text, "", together])


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
