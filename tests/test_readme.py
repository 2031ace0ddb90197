"""The README: its commands are those of CI, and its code runs."""

import json
import pathlib
import re

import pytest

from experiments import readme
import leep_jax
from leep_jax import score, sweep, task_matrix
from leep_jax.models import zoo
from leep_jax.transfer import __main__ as transfer

ROOT = pathlib.Path(__file__).resolve().parents[1]
README = (ROOT / "README.md").read_text()


def test_python_examples_run(tmp_path, monkeypatch):
  monkeypatch.chdir(tmp_path)
  blocks = re.findall(r"```python\n(.*?)```", README, re.DOTALL)
  assert len(blocks) >= 4
  scope: dict = {}
  for block in blocks:
    exec(compile(block, "README.md", "exec"), scope)
  assert scope["make"]().name == "mine"


def test_ci_runs_the_commands_of_the_readme():
  commands = re.findall(r"^    (python3 -m venv .*)$", README, re.MULTILINE)
  assert len(commands) == 2
  ci = (ROOT / ".ci" / "run").read_text()
  for command in commands:
    assert command in ci


def test_every_flag_is_explained():
  assert len(list(score.FLAGS)) == 26
  for name in score.FLAGS:
    assert f"`--{name}`" in README
  for name in task_matrix.FLAGS:
    assert f"`--{name}" in README
  for name in [*transfer.FLAGS, *sweep.FLAGS]:
    assert f"`--{name}" in README


def test_every_score_is_explained():
  for name in leep_jax.SCORES:
    assert f"| `{name}` |" in README


def test_accuracies_are_those_of_the_cards():
  for name, path in zoo.bundled().items():
    card = json.loads(path.with_suffix(".json").read_text())
    assert f"| `{name}` |" in README
    assert f"{card['test_accuracy']:.4f}" in README


def test_tables_are_what_their_script_writes(tmp_path, monkeypatch):
  assert readme.bundled() in README
  monkeypatch.setattr(readme, "README", tmp_path / "README.md")
  readme.README.write_text("<!-- a -->\nold\n<!-- /a --> end")
  readme.fill("a", "    new\n")
  text = "<!-- a -->\n\n    new\n\n<!-- /a --> end"
  assert readme.README.read_text() == text
  with pytest.raises(SystemExit, match="no one block b"):
    readme.fill("b", "")
