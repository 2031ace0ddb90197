"""What is left of scripts that are no sweeps, by hand."""

import numpy as np
import pytest

from experiments import (
  factors,
  h_score_forms,
  remaining_scripts,
  score_benchmark,
  source_selection,
)
from experiments.score_benchmark_rows import rows_of
from leep_jax.reports import results


def test_factors(tmp_path):
  file = tmp_path / "factors.jsonl"
  committed = factors.rows_of()
  recipes = [row for row in committed if "recipe" in row["setting"]]
  others = [row for row in committed if "recipe" not in row["setting"]]
  lines = sum(len([*line.settings()]) for line in factors.LINES)
  count = len(factors.RECIPES)
  sections = {line.section for line in factors.LINES}
  script = remaining_scripts.of_factors(file, sections=sections, recipes=True)
  left = script.left()
  assert (left.there, left.wanted) == (0, lines + count)
  # As the docstring of `experiments.factors` states it.
  assert "Cost: 20 minutes" in factors.__doc__
  np.testing.assert_allclose(left.assumed, 60 * (20 + 4 * count))
  moved = {**recipes[0], "model": "resnet8@/elsewhere/recipe.safetensors"}
  unknown = {**others[0], "target": "another"}
  results.write_rows(file, [*others, moved, unknown])
  left = script.left()
  assert left.there == len(others) + 1
  lacking = lines - len(others)
  seconds = 20 * 60 * lacking / lines
  np.testing.assert_allclose(left.assumed, seconds + 4 * 60 * (count - 1))
  without = remaining_scripts.of_factors(
    file, sections=sections, recipes=False
  ).left()
  assert (without.there, without.wanted) == (len(others), lines)
  np.testing.assert_allclose(without.assumed, seconds)
  part = remaining_scripts.of_factors(
    file, sections=["imbalanced_tasks"], recipes=False
  ).left()
  assert part.wanted == sum(
    len([*line.settings()])
    for line in factors.LINES
    if line.section == "imbalanced_tasks"
  )


def test_forms(tmp_path):
  file = tmp_path / "h_score_forms.jsonl"
  rows = h_score_forms.rows_of()
  script = remaining_scripts.of_forms(file)
  assert "Cost: 5 minutes" in h_score_forms.__doc__
  np.testing.assert_allclose(script.left().assumed, 5 * 60)
  results.write_rows(file, rows[: len(rows) // 2])
  assert script.left().there == len(rows) // 2
  np.testing.assert_allclose(script.left().assumed, 5 * 60 / 2)


@pytest.mark.parametrize("everything", [True, False])
def test_benchmark(tmp_path, everything):
  stages, targets = ("facts", "heads"), source_selection.SECTION.targets
  if everything:
    stages, targets = score_benchmark.STAGES, score_benchmark.TARGETS
  script = remaining_scripts.of_benchmark(
    tmp_path, stages=stages, targets=targets
  )
  heads = [row for row in rows_of("heads") if row["target"] in targets]
  left = script.left()
  if everything:
    assert "Cost: about four hours" in score_benchmark.__doc__
    np.testing.assert_allclose(left.assumed, 4 * 3600)
  else:
    assert left.wanted == len(heads) + len(rows_of("facts"))
  results.write_rows(tmp_path / "heads.jsonl", heads[:100])
  np.testing.assert_allclose(
    script.left().assumed, left.assumed * (1 - 100 / left.wanted)
  )
