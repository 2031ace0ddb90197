"""The README: its commands are those of CI, and its code runs."""

import json
import pathlib
import re

import pytest

from experiments import blocks, readme
import leep_jax
from leep_jax import score, sweep, task_matrix
from leep_jax.relations import __main__ as relations
from leep_jax.sources import catalog
from leep_jax.transfer import __main__ as transfer

ROOT = pathlib.Path(__file__).resolve().parents[1]
README = (ROOT / "README.md").read_text()
MODELS = (ROOT / "experiments" / "guide" / "models.md").read_text()
DOCUMENTS = [
  ROOT / "README.md",
  ROOT / "BUILD.md",
  *(ROOT / "experiments").rglob("*.md"),
]


EXHAUSTIVE = pytest.mark.exhaustive


@pytest.mark.parametrize(
  ("name", "count"),
  [
    ("README.md", 1),
    *(
      pytest.param(f"experiments/guide/{name}.md", n, marks=EXHAUSTIVE)
      for name, n in (("library", 6), ("models", 1), ("commands", 1))
    ),
  ],
)
def test_python_examples_run(tmp_path, monkeypatch, name, count):
  monkeypatch.chdir(tmp_path)
  text = (ROOT / name).read_text()
  blocks = re.findall(r"```python\n(.*?)```", text, re.DOTALL)
  assert len(blocks) == count
  scope: dict = {}
  for block in blocks:
    exec(compile(block, name, "exec"), scope)
  if "make" in scope:
    assert scope["make"]().name == "mine"


def test_ci_runs_the_commands_of_the_readme():
  commands = re.findall(r"^    (python3 -m venv .*)$", README, re.MULTILINE)
  assert len(commands) == 2
  ci = (ROOT / ".ci" / "run").read_text()
  for command in commands:
    assert command in ci


def test_every_flag_is_explained():
  commands = (score, sweep, task_matrix, transfer, relations)
  for command in commands:
    for name in command.FLAGS:
      assert len(command.FLAGS[name].help) > 4, name


def test_readme_is_short():
  assert len(README.splitlines()) <= 230


def test_links_lead_somewhere():
  for path in DOCUMENTS:
    for link in re.findall(r"\]\(([^)]+)\)", path.read_text()):
      if link.startswith("https://raw.githubusercontent.com/"):
        link = link.partition("/main/")[2]
        assert (ROOT / link).is_file(), f"{path}: {link}"
      elif not link.startswith("https:"):
        file, _, anchor = link.partition("#")
        file = path.parent / file if file else path
        assert file.exists(), f"{path}: {link}"
        assert not anchor or anchor in anchors(file), f"{path}: {link}"


def anchors(path):
  """What GitHub calls the headings of a Markdown file."""
  titles = re.findall(r"^#+ (.*)$", path.read_text(), re.MULTILINE)
  return {
    re.sub(r"[^\w\- ]", "", title.lower()).replace(" ", "-") for title in titles
  }


def test_every_score_is_explained():
  # The first cells of rows; some name two scores.
  table = README.partition("## The scores")[2]
  cells = re.findall(r"^\| ((?:`\w+`(?:, )?)+) \|", table, re.MULTILINE)
  names = re.findall(r"`(\w+)`", " ".join(cells))
  guide = (ROOT / "experiments" / "guide" / "scores.md").read_text()
  for name in leep_jax.SCORES:
    assert names.count(name) == 1
    assert f"| `{name}` |" in guide


def test_accuracies_are_those_of_the_cards():
  for name, path in catalog.bundled().items():
    card = json.loads(path.with_suffix(".json").read_text())
    assert f"| `{name}` |" in MODELS
    assert f"{card['test_accuracy']:.4f}" in MODELS


def test_tables_are_what_their_script_writes(tmp_path):
  assert readme.bundled() in MODELS
  path = tmp_path / "README.md"
  path.write_text("<!-- a -->\nold\n<!-- /a --> end")
  blocks.fill("a", "    new\n", path)
  text = "<!-- a -->\n\n    new\n\n<!-- /a --> end"
  assert path.read_text() == text
  with pytest.raises(SystemExit, match="exactly one block b"):
    blocks.fill("b", "", path)
