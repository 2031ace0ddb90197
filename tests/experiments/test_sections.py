"""Sections of the paper at the smallest scale; tables and figures from rows."""

import csv
import json
import re

import marks
import matplotlib
from matplotlib import image
import numpy as np
import PIL.Image
import pytest

from experiments import (
  blocks,
  compact,
  convergence,
  coverage,
  figures,
  imbalanced_tasks,
  large_tasks,
  meta_transfer,
  model_coverage,
  section,
  small_tasks,
  source_selection,
  table_1,
  train_cnaps,
  transfer_methods,
)
from leep_jax import sweep
from leep_jax.reports import results, sweep_report
from leep_jax.tasks import specs

MODULES = {
  m.SECTION.name: m
  for m in (
    large_tasks, small_tasks, imbalanced_tasks, meta_transfer, convergence,
    source_selection,
  )
}  # fmt: skip
METHODS = {
  "large_tasks": {"retrain_head"},
  "small_tasks": {"retrain_head", "fine_tune"},
  "imbalanced_tasks": {"retrain_head", "fine_tune"},
  "meta_transfer": {"cnaps"},
  "convergence": {"scratch"},
  "source_selection": {"retrain_head", "fine_tune"},
}


@pytest.fixture(scope="module")
def smoke(tmp_path_factory):
  """The folder that sections at the smallest scale share."""
  return tmp_path_factory.mktemp("smoke")


def run(module, *flags):
  return section.main(["a", *flags], module.SECTION, module.__doc__)


@pytest.mark.parametrize(
  "name",
  [
    "large_tasks",
    *marks.exhaustive(*(n for n in MODULES if n != "large_tasks")),
  ],
)
def test_section_runs_at_the_smallest_scale(name, smoke, capsys, one_device):
  module = MODULES[name]
  assert run(module, "--scale=smoke", f"--output={smoke}") == 0
  printed = capsys.readouterr().out
  assert f"{name}/digits: {module.SECTION.metric}" in printed
  assert "| leep |" in printed
  rows = section.measured(name, "digits", smoke)
  assert {row["method"] for row in rows} == {
    sweep_report.SCORED,
    *METHODS[name],
  }
  for row in rows:
    assert row["device"] == "1 cpu"
    assert row["commit"] is None or re.fullmatch(r"\w{12}\+?", row["commit"])
    if row["method"] == sweep_report.SCORED:
      assert {"leep", "nce", "h_score"} <= set(row["scores"])
    else:
      assert 0 <= row["accuracy"] <= 1
  if name == "source_selection":
    assert "source_accuracy" in printed
  # Nothing is done twice.
  assert run(module, "--scale=smoke", f"--output={smoke}") == 0
  assert len(section.measured(name, "digits", smoke)) == len(rows)


def test_other_scales_name_real_data():
  for name, module in MODULES.items():
    for target in module.SECTION.targets:
      for scale in ("cpu", "paper"):
        parts = module.parts(scale, target)
        for part in parts:
          assert part.folder.endswith(f"/{target}")
          assert part.dataset == target
      trained = {p.transfer for p in parts}
      assert trained >= METHODS[name]
      assert "fine_tune" in trained or name == "meta_transfer"
  for target, epochs in (("cifar100", 100), ("fashion_mnist", 40)):
    tuned, reference = convergence.parts("paper", target)
    assert tuned == small_tasks.parts("paper", target)[1]
    assert tuned.tasks == reference.tasks
    assert f"--epochs={epochs}" in reference.flags
    assert "--epochs=100" in tuned.flags
  for part in large_tasks.parts("paper", "cifar100"):
    assert part.tasks == "subsets(count=200,classes=2..100)"
    assert part.flags == ("--curve=0", "--epochs=100")
  tasks = {p.tasks for p in small_tasks.parts("paper", "fashion_mnist")}
  assert tasks == {"small(count=200,classes=4,examples=30)"}
  (head, tuned) = imbalanced_tasks.parts("paper", "cifar100")
  assert "--epochs=20" in head.flags
  assert tuned.tasks == head.tasks
  assert tuned.tasks == "imbalanced(count=200,minority=30..60,ratio=5)"
  for target in ("cifar100", "fashion_mnist"):
    names = [
      model
      for part in source_selection.parts("cpu", target)
      for model in part.models
    ]
    assert len(names) == 10
    assert not any(name.startswith(f"{target}_") for name in names)
    names += source_selection.sources("paper", target)
    known = source_selection.accuracies()
    assert all(0 < known[name] < 1 for name in names)


def test_mistakes_are_told(tmp_path, capsys):
  assert run(small_tasks, f"--weights={tmp_path / 'none'}") == 2
  assert (
    f"--weights={tmp_path / 'none'} is no folder" in capsys.readouterr().err
  )
  assert run(small_tasks, "--transfer=probe") == 2
  said = capsys.readouterr().err
  assert "unknown method of small_tasks 'probe'" in said
  assert run(small_tasks, "--transfer=retrain_head,fine_tun") == 2
  assert "fine_tun" in capsys.readouterr().err
  output = f"--output={tmp_path / 'out'}"
  assert run(large_tasks, "--scale=cpu", "--datasets=none", output) == 2
  said = capsys.readouterr().err
  assert "error: " in said
  assert "Name it with --weights" in said
  assert table_1.main(["a", f"--results={tmp_path / 'none'}"]) == 2
  assert "is no folder" in capsys.readouterr().err


def test_table_1_says_what_was_not_run(tmp_path, capsys):
  assert table_1.main(["a", f"--results={tmp_path}"]) == 0
  printed = capsys.readouterr().out
  with table_1.PUBLISHED.open(newline="") as file:
    count = len(list(csv.DictReader(file)))
  assert count == 21
  assert printed.count("not run: `python -m experiments.") == count
  assert "figure" not in printed
  assert (tmp_path / "table_1.md").read_text().strip() in printed


def test_target_classes_of_cnaps_are_new_to_it():
  """None is a class of training or validation, as the model's card has them."""
  card = json.loads(meta_transfer.MODEL.with_suffix(".json").read_text())
  named = [*card["data"].partition(";")[0].split(", "),
           card["validation"].partition(",")[0]]  # fmt: skip
  seen = [
    among
    for name, among in map(train_cnaps.classes_of, named)
    if name == "cifar100"
  ]
  assert len(seen) == 2
  sampler, _ = specs.sampler_of(meta_transfer.TASKS)
  low, high = sampler.among
  assert all(last < low or high < first for first, last in seen)
  # The curve is whole, and the card is of its best epoch.
  path = meta_transfer.MODEL.with_suffix(".jsonl")
  rows, _ = results.parse_rows(path.read_bytes(), name=path.name)
  assert [row["epoch"] for row in rows] == list(
    range(card["recipe"]["epochs"] + 1)
  )
  best = max(rows[1:], key=lambda row: row["validation_accuracy"])
  assert best["epoch"] == card["kept_epoch"]


def test_lines_contradict_and_differ():
  line = next(x for x in table_1.lines() if x.model is not None)
  got = line.found["leep"]
  low, _ = got.interval
  same = table_1.Line({"leep": f"{got.pearson}"}, "m", line.found, "")
  assert not same.contradicts("leep")
  assert not same.differs("leep")
  out = table_1.Line({"leep": f"{low - 1e-3}"}, "m", line.found, "")
  assert out.contradicts("leep")
  far = table_1.Line({"leep": f"{-got.pearson}"}, "m", line.found, "")
  assert far.contradicts("leep")
  assert far.differs("leep")
  assert not table_1.Line({"leep": "0"}, None, {}, "").differs("leep")


def curve_rows(count, epochs=3):
  """Rows of tasks whose fine-tuning gains with LEEP: by hand."""
  tuned, references = [], []
  for i in range(count):
    task = {"task": f"t{i}", "task_checksum": f"{i}", "model": "m"}
    gain = i / 10
    curve = [0.5, None, 0.5 + gain][:epochs]
    tuned += [
      {**task, "method": "score", "scores": {"leep": -1.0 + i}},
      {**task, "method": "fine_tune", "accuracy": 1, "accuracies": curve},
    ]
    references.append({**task, "method": "scratch", "accuracy": 0.6})
  return tuned, references


def test_convergence_by_level():
  tuned, references = curve_rows(4)
  found = convergence.differences(tuned, references, count=2)
  assert list(found.levels) == ["level 1", "level 2"]
  # Tasks 0 and 1, and 2 and 3; measured after epochs 1 and 3.
  np.testing.assert_allclose(found.levels["level 1"], [[-0.1, -0.1], [-0.1, 0]])
  np.testing.assert_allclose(
    found.levels["level 2"], [[-0.1, 0.1], [-0.1, 0.2]]
  )
  assert (found.start, found.step) == (1, 2)
  assert found.matched == {"level 1": None, "level 2": 3}
  text = convergence.table(found)
  assert "| 1 | 2 | none | -0.050 ± 0.050 |" in text
  assert "| 2 | 2 | 3 | +0.150 ± 0.050 |" in text
  assert found.gain.pearson == pytest.approx(1)
  assert "r = 1.00 (p = 0) with the final difference" in text
  assert text.endswith("r = undefined with the accuracy of the reference.")
  references[0]["accuracy"] = 0.4
  found = convergence.differences(tuned, references, count=2)
  expected = np.corrcoef([0, 1, 2, 3], [0.4, 0.6, 0.6, 0.6])[0, 1]
  assert found.reference.pearson == pytest.approx(expected)
  references[0]["accuracy"] = 0.6
  # Tasks without a reference, or that diverged, are left out.
  assert convergence.differences(tuned, references[:1]) is None
  tuned[1]["accuracy"] = None
  found = convergence.differences(tuned, references, count=1)
  assert len(found.levels["level 1"]) == 3


def test_files_are_those_of_the_rows(tmp_path):
  """Writing every table anew from committed rows changes nothing."""
  for name, text, path in blocks.blocks():
    body = text.strip("\n")
    block = f"<!-- {name} -->\n\n{body}\n\n<!-- /{name} -->"
    assert block in path.read_text(), (
      f"run python -m experiments.blocks: {name}"
    )
  written = table_1.page(table_1.lines())
  assert (section.RESULTS / "table_1.md").read_text() == written
  for module in (coverage, model_coverage):
    written = f"{module.table(module.measured())}\n"
    assert module.TABLE.read_text() == written


@pytest.mark.exhaustive
def test_figures_are_those_of_the_rows(tmp_path):
  drawn = list(figures.draw(section.RESULTS, tmp_path))
  kept = {path.name for path in section.RESULTS.glob("figure_*")}
  assert set(drawn) == kept
  assert len(kept) == len(figures.FIGURES)
  rows, _ = results.parse_rows(transfer_methods.ROWS.read_bytes(), name="rows")
  transfer_methods.draw(rows, tmp_path / "transfer_methods.png")
  # Another version would draw the same a little differently: see BUILD.md.
  drawn_by = PIL.Image.open(section.RESULTS / "figure_1.png").text["Software"]
  assert f"version{matplotlib.__version__}," in drawn_by
  for name in (*drawn, "transfer_methods.png"):
    here, there = tmp_path / name, section.RESULTS / name
    pixels = image.imread(here), image.imread(there)
    np.testing.assert_array_equal(*pixels, err_msg=name)


def test_rows_of_two_scales():
  """The larger one counts, for tables and figures alike."""

  def rows(epochs, count, **more):
    return [
      {
        "model": "m", "method": "fine_tune", "recipe": {"epochs": epochs},
        "train_set": 9, "test_set": 9, "task": f"{i}", **more,
      }
      for i in range(count)
    ]  # fmt: skip

  scores = [{"model": "m", "method": "score", "recipe": ["leep"]}]
  found = section.of_one_recipe([*rows(10, 3), *scores, *rows(20, 2)])
  assert found == [*scores, *rows(20, 2)]
  found = section.of_one_recipe([*rows(9, 2), *rows(9, 3, test_set=5)])
  assert found == rows(9, 3, test_set=5)
  other = rows(1, 1, model="n")
  assert section.of_one_recipe([*rows(2, 1), *other]) == [*rows(2, 1), *other]


def test_committed_rows_are_compact():
  for path in compact.files():
    content = path.read_bytes()
    rows, _ = results.parse_rows(content, name=str(path))
    assert compact.compact(rows) == content, "python -m experiments.compact"


def test_compact_rows_are_the_same_rows():
  rows = [
    {"model": m, "task": t, "losses": [1.23456, None], "accuracies": a}
    for m, t, a in (
      ("a", "0", [None, 0.5]),
      ("a", "1", [0.25, 0.5]),
      ("b", "0", []),
      ("a", "0", None),
    )
  ]
  text = compact.compact(rows)
  found, _ = results.parse_rows(text, name="rows")
  for row in rows:
    row["losses"] = [1.235, None]
  rows[0]["accuracies"] = None
  assert found == rows
  headers = [line for line in text.splitlines() if b"header" in line]
  assert json.loads(headers[0])["header"] == {
    "model": "a",
    "losses": [1.235, None],
  }
  assert headers[-1] == b'{"header":{}}'


def test_committed_rows_are_whole():
  """Enough tasks of each kind, each row saying how it was made."""
  counts = {}
  for name in (*MODULES, meta_transfer.UNTRAINED):
    for folder in (section.RESULTS / name).glob("*/"):
      for row in sweep.read_rows(folder):
        place = (name, folder.name, row["model"].partition("@")[0])
        counts[*place, row["method"]] = (
          counts.get((*place, row["method"]), 0) + 1
        )
        assert row["commit"]
        assert row["jax"]
        assert row["device"]
        name_of_file = row["model"].partition("@hf://")[0]
        assert "/" not in name_of_file
  heads = (
    "resnet20", "cifar10_resnet14", "resnet50", "mobilenet_v1_100",
    "mobilenet_v1_025", "tiny_imagenet32_resnet14",
  )  # fmt: skip
  places = [
    (name, target)
    for target in ("cifar100", "fashion_mnist")
    for name in ("small_tasks", "imbalanced_tasks")
  ]
  places.append(("large_tasks", "cifar100"))
  for place in places:
    for model in heads:
      large = place[0] == "large_tasks" and model in (
        "resnet50",
        "mobilenet_v1_100",
      )
      least = 60 if large else 200
      assert counts[*place, model, "retrain_head"] == least
    for model in ("resnet20", "tf_efficientnet_lite0"):
      assert counts[*place, model, "fine_tune"] >= 30
  for target in ("cifar100", "fashion_mnist"):
    assert counts["convergence", target, "resnet20", "scratch"] >= 30
    names = source_selection.sources("cpu", target)
    done = [
      counts.get(
        ("source_selection", target, name.partition("@")[0], "fine_tune")
      )
      for name in names
    ]
    assert sum(count == 1 for count in done) >= 5
  cnaps = "tiny_imagenet32_resnet14"
  for name in ("meta_transfer", meta_transfer.UNTRAINED):
    assert counts[name, "cifar100", cnaps, "cnaps"] == 200
  rows, _ = results.parse_rows(transfer_methods.ROWS.read_bytes(), name="rows")
  assert len(rows) == 60
  tuned, scratch = (
    np.mean([r["accuracy"] for r in rows if r["method"] == method])
    for method in ("fine_tune", "scratch")
  )
  assert tuned > scratch
