"""The notebooks run from the first cell to the last, and say where they are."""

import pathlib
import re
import shutil

import nbclient
import nbformat
import pytest

from experiments import blocks

FOLDER = blocks.ROOT / "experiments" / "notebooks"
NOTEBOOKS = sorted(FOLDER.glob("*.ipynb"))
PHOTOS = FOLDER / "trashnet"
# Of what packages below them say as they start; ours are errors elsewhere.
pytestmark = pytest.mark.filterwarnings("ignore")


def text_of(notebook):
  return "\n".join(
    output.get("text", "") + str(output.get("data", {}).get("text/plain", ""))
    for cell in notebook.cells
    if cell.cell_type == "code"
    for output in cell.outputs
  )


@pytest.mark.exhaustive
@pytest.mark.parametrize("path", NOTEBOOKS, ids=lambda p: p.stem)
def test_notebook_runs(path, tmp_path, monkeypatch):
  # One device, as a reader's laptop has, and a folder of its own, in which the
  # sample of photos is as it is beside the notebooks.
  monkeypatch.setenv("XLA_FLAGS", "")
  shutil.copytree(PHOTOS, tmp_path / PHOTOS.name)
  notebook = nbformat.read(path, as_version=4)
  client = nbclient.NotebookClient(
    notebook, timeout=None, resources={"metadata": {"path": str(tmp_path)}}
  )
  client.execute()
  said = text_of(notebook)
  assert "error:" not in said
  expected = {
    "choose_a_model": [
      "Start from",
      "ahead of",
      "recall",
      "forwarded",
      "reached",
    ],
    "quickstart": ["Best first by probe_accuracy", "photos", "accuracy"],
    "reproduce_table_1": ["figure_1.png", "retrain_head"],
    "your_own_model": ["mine", "95 % interval", "logme"],
  }
  for part in expected[path.stem]:
    assert part in said


def test_notebooks_name_one_repository():
  assert len(NOTEBOOKS) == 4
  badge = "https://colab.research.google.com/github/"
  found = set()
  for path in NOTEBOOKS:
    text = path.read_text()
    assert f"blob/main/experiments/notebooks/{path.name}" in text
    named = re.findall(r"github(?:\.com)?/([\w-]+/[\w-]+)", text)
    assert badge in text
    found |= {name for name in named if "colab" not in name}
  assert len(found) == 1


def test_notebooks_hold_no_paths_of_a_machine():
  for path in NOTEBOOKS:
    assert not re.search(r"/(home|root|tmp|work|Users)/", path.read_text())
    assert str(pathlib.Path.home()) not in path.read_text()


def test_photos_are_small_and_state_their_licence():
  files = list(PHOTOS.glob("*/*.jpg"))
  assert len(files) == 180
  assert {path.parent.name for path in files} == {
    "cardboard", "glass", "metal", "paper", "plastic", "trash",
  }  # fmt: skip
  assert sum(path.stat().st_size for path in files) < 400_000
  assert "Copyright (c) 2017 Gary Thung" in (PHOTOS / "LICENSE").read_text()
  assert "Mindy Yang" in (PHOTOS / "README.md").read_text()
