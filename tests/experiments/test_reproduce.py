"""One command for all experiments: what is left, how long, what goes wrong."""

import dataclasses
import functools
import json
import re
import types

import numpy as np
import pytest

from experiments import (
  blocks,
  meta_transfer,
  remaining,
  reproduce,
  score_benchmark,
  section,
)
import leep_jax
from leep_jax import estimates, sweep
from leep_jax.reports import results
from leep_jax.sources import catalog

SOURCE, OTHER = "cifar100_resnet14", "fashion_mnist_resnet8"


def run(*flags):
  return reproduce.main(["reproduce", "--scale=smoke", *flags])


@pytest.fixture(scope="module")
def folder(tmp_path_factory):
  """The folder that the runs of this file share."""
  return tmp_path_factory.mktemp("runs") / "smoke"


def steps_of(printed):
  """The lines on steps, before and after each."""
  return re.findall(r"^step (\d+) of (\d+): ([^:]*): (.*)$", printed, re.M)


def test_one_section_at_the_smallest_scale(folder, capsys, one_device):
  flags = ["--only=5.1", f"--output={folder}"]
  assert run(*flags, "--dry_run") == 0
  printed = capsys.readouterr().out
  assert re.search(
    rf"^ +1  large_tasks digits retrain_head {SOURCE} +0 of 8 ", printed, re.M
  )
  assert "all: 0 of 8 rows; " in printed
  assert not folder.exists()
  assert run(*flags) == 0
  printed = capsys.readouterr().out
  lines = steps_of(printed)
  assert [line[:2] for line in lines] == [("1", "2")] * 2 + [("2", "2")] * 2
  assert [line[3].partition(" rows")[0] for line in lines[:2]] == [
    "0 of 8",
    "8 of 8",
  ]
  assert "about 0 s left of all" in lines[1][3]
  assert lines[0][2] == f"large_tasks digits retrain_head {SOURCE}"
  assert "not run:" in (folder / "table_1.md").read_text()
  # The same command again has nothing to do but the table.
  assert run(*flags) == 0
  printed = capsys.readouterr().out
  assert "8 rows, 0 of them new" in printed
  assert "all: 8 of 8 rows; about 0 s left of all" in printed
  assert len(section.measured("large_tasks", "digits", folder)) == 8


@pytest.mark.exhaustive
def test_all_sections_at_the_smallest_scale(folder, capsys, one_device):
  assert run(f"--output={folder}") == 0
  printed = capsys.readouterr().out
  assert "left out: benchmark, which needs --photos" in printed
  for paper in reproduce.SECTIONS.values():
    assert section.measured(paper.name, "digits", folder)
  names = [line[2] for line in steps_of(printed)]
  # Section 5.5 takes the fine-tuned networks of 5.2.
  assert names.count(f"small_tasks digits fine_tune {SOURCE}") == 2
  assert [line[3] for line in steps_of(printed)][-1] == "about 0 s left of all"


@pytest.mark.parametrize("scale", ["cpu", "paper"])
def test_steps_are_those_of_the_sections(scale, monkeypatch, tmp_path, capsys):
  monkeypatch.setattr(remaining.Estimator, "measure", lambda self, steps: None)
  flags = [f"--scale={scale}", f"--output={tmp_path}", "--dry_run"]
  assert reproduce.main(["reproduce", *flags]) == 0
  printed = capsys.readouterr().out
  parts = {
    (part.folder, part.transfer, part.tasks, part.flags, model)
    for paper in reproduce.SECTIONS.values()
    for target in paper.targets
    for part in paper.parts(scale, target)
    for model in part.models
  }
  lines = re.findall(r"^ *\d+  (\w+) (\w+) (\w+) \S+ .* of ", printed, re.M)
  assert len(lines) == len(parts)
  assert {line[0] for line in lines} == {
    part[0].partition("/")[0] for part in parts
  }
  # There are no data here: nothing of any step is known to the end, nor of the
  # two steps that explain differences from the paper.
  steps = len(parts) + 2 * (scale == "cpu")
  assert f"(not all known of {steps} steps)" in printed


def test_an_interruption_says_how_to_go_on(
  folder, tmp_path, capsys, monkeypatch
):
  calls = []
  monkeypatch.setattr(remaining.Estimator, "measure", lambda self, steps: None)
  monkeypatch.setattr(sweep, "main", lambda line: calls.append(line) or 130)
  monkeypatch.chdir(tmp_path)
  (tmp_path / "weights").mkdir()
  flags = ["--only=5.2", f"--output={folder}", "--data_dir=data"]
  assert run(*flags, "--weights=weights") == 130
  assert len(calls) == 1
  # Not of the folder in which sweeps run, so that rows name no folder.
  assert f"--data_dir={tmp_path / 'data'}" in calls[0]
  line = capsys.readouterr().err.splitlines()[-1]
  assert line.startswith("interrupted; to go on: python -m experiments.repro")
  assert set(line.split()) >= {"--scale=smoke", *flags}

  def interrupted(self, steps):
    raise KeyboardInterrupt

  monkeypatch.setattr(remaining.Estimator, "measure", interrupted)
  assert run(*flags) == 130
  assert "to go on" in capsys.readouterr().err


def test_measured_times_correct_the_rest(tmp_path, capsys, monkeypatch):
  clock, there = [0.0], [0, 0]

  def main(line):
    clock[0] += 300
    there[0 if "retrain_head" in " ".join(line) else 1] = 8
    return 0

  def left(self, steps):
    return [
      remaining.Left(done, 8, assumed=seconds * (8 - done) / 8)
      for done, seconds in zip(there, (100.0, 200.0), strict=True)
    ]

  monkeypatch.setattr(
    reproduce, "time", types.SimpleNamespace(monotonic=lambda: clock[0])
  )
  monkeypatch.setattr(remaining.Estimator, "measure", lambda self, steps: None)
  monkeypatch.setattr(remaining.Estimator, "left", left)
  monkeypatch.setattr(sweep, "main", main)
  assert run("--only=5.2", f"--output={tmp_path}") == 0
  lines = [line[3] for line in steps_of(capsys.readouterr().out)]
  assert lines[0] == "0 of 8 rows; about 5 min left of all"
  # The first step took three times as long as it should have.
  assert lines[1] == "8 of 8 rows; about 10 min left of all"


def test_a_step_that_fails_does_not_stop_the_others(
  tmp_path, capsys, monkeypatch
):
  calls = []

  def main(line):
    calls.append(line)
    if len(calls) == 1:
      raise RuntimeError("out of memory")
    return 2 if len(calls) == 3 else 0

  monkeypatch.setattr(remaining.Estimator, "measure", lambda self, steps: None)
  monkeypatch.setattr(sweep, "main", main)
  assert run("--only=5.2,5.3", f"--output={tmp_path}") == 2
  assert len(calls) == 4
  assert (tmp_path / "table_1.md").exists()
  captured = capsys.readouterr()
  assert "out of memory" in captured.err
  assert re.findall(r"error: this failed: (\w+) \w+ (\w+)", captured.err) == [
    ("small_tasks", "retrain_head"),
    ("imbalanced_tasks", "retrain_head"),
  ]


def test_the_benchmark_keeps_its_rows_in_the_same_folder(
  tmp_path, capsys, monkeypatch
):
  calls = []
  monkeypatch.setattr(
    score_benchmark, "main", lambda line: calls.append(line) or 0
  )
  flags = [f"--photos={tmp_path}", f"--output={tmp_path / 'out'}"]
  assert run("--only=benchmark", *flags) == 0
  assert f"--rows={tmp_path / 'out' / 'score_benchmark'}" in calls[0]
  assert f"--photos={tmp_path}" in calls[0]
  printed = capsys.readouterr().out
  assert "step 1 of 2: score_benchmark: at least 0 s left of all" in printed
  assert "step 2 of 2: table_1 and figures: about 0 s left" in printed


def test_all_sections_have_a_row():
  named = [paper.name for paper in reproduce.SECTIONS.values()]
  known = [n for n in blocks._SECTIONS if n != meta_transfer.UNTRAINED]
  assert named == known


def test_mistakes_are_told(tmp_path, capsys):
  assert run("--only=5.6") == 2
  assert "unknown section '5.6'" in capsys.readouterr().err
  assert run("--only=benchmark") == 2
  assert "benchmark needs --photos" in capsys.readouterr().err
  assert run(f"--weights={tmp_path / 'none'}") == 2
  assert "none is no folder" in capsys.readouterr().err


# What is left, by hand.

PART = section.Part(
  "small_tasks/digits", "digits", (SOURCE,),
  "small(count=4,classes=3,examples=20)", "fine_tune",
  ("--epochs=6", "--scores=leep,nce"),
)  # fmt: skip


def asked(part=PART):
  return remaining.Asked(
    part, ["sweep", f"--dataset={part.dataset}", *part.flags]
  )


@functools.cache
def sizes():
  return asked().sizes


def row(method="fine_tune", index=0, *, model=SOURCE, seconds=10.0, **more):
  """A row of PART."""
  found = {
    "model": model, "method": method, "task_index": index,
    "sampler": "small(classes=3,examples=20)", "seed": 0,
    "train_set": sizes()[0], "test_set": sizes()[1], "device": "1 cpu",
    "recipe": json.loads(asked().recipes["fine_tune"]), "seconds": seconds,
  }  # fmt: skip
  if method == "score":
    found |= {"recipe": ["leep", "nce"], "seed": None}
  return found | more


def write(folder, *rows, part=PART):
  with results.Rows(folder / part.folder / "rows-0-of-1.jsonl") as file:
    for each in rows:
      file.append(each)


@pytest.fixture
def nothing_committed(monkeypatch, tmp_path, one_device):
  """Neither rows of others nor speeds that were measured before."""
  monkeypatch.setattr(section, "RESULTS", tmp_path / "committed")
  monkeypatch.setenv("LEEP_JAX_CACHE", str(tmp_path / "user"))


def left(folder, *parts):
  steps = [
    remaining.Step(asked(part), model)
    for part in parts or (PART,)
    for model in part.models
  ]
  return remaining.Estimator(folder).left(steps)


def speed(model, per_second, width):
  kept = estimates.KeptRates(catalog.Overrides(), "float32", None, "image")
  kept.put(model, estimates.Rate(per_second, width, 1.0, "digits"))


def test_rows_that_are_there(tmp_path, nothing_committed):
  other = {**row()["recipe"], "epochs": 5}
  write(
    tmp_path,
    *(row(index=i) for i in (0, 1, 9)),  # of the tasks 0 to 3
    row(index=2, recipe=other),
    row(index=2, train_set=7),
    row(index=2, model=OTHER),
    row(index=2, sampler="small(classes=2,examples=20)"),
    row("score", 3, seconds=1.0),
  )
  (found,) = left(tmp_path)
  assert (found.there, found.wanted) == (3, 8)


def test_seconds_of_this_run_come_first(tmp_path, nothing_committed):
  write(tmp_path / "committed", row(seconds=50.0), row("score", seconds=2.0))
  speed(SOURCE, 100.0, 400)
  (found,) = left(tmp_path)
  assert found.unknown == ()
  assert found.measured == 0
  # Four trainings, four rows of scores, and a pass over the training set.
  np.testing.assert_allclose(found.assumed, 4 * 50 + 4 * 2 + sizes()[0] / 100)
  write(tmp_path, row(seconds=30.0), row(index=1, seconds=40.0))
  (found,) = left(tmp_path)
  np.testing.assert_allclose(found.measured, 2 * 35)
  np.testing.assert_allclose(found.assumed, 4 * 2 + sizes()[0] / 100)
  np.testing.assert_allclose(found.seconds(3.0), 70 + 3 * found.assumed)


@pytest.mark.parametrize(
  ("tasks", "factor"),
  [
    (PART.tasks, 2),
    # Tasks of all examples have twice as many, too.
    ("subsets(count=4,classes=2..10)", 4),
  ],
)
def test_seconds_follow_epochs_and_sizes(
  tmp_path, nothing_committed, tasks, factor
):
  recipe = {**row()["recipe"], "epochs": 3}
  half = {
    "train_set": sizes()[0] / 2, "sampler": tasks.replace("count=4,", ""),
  }  # fmt: skip
  rows = row(recipe=recipe, **half), row("score", seconds=0.0, **half)
  write(tmp_path / "committed", *rows)
  speed(SOURCE, 1e9, 400)
  (found,) = left(tmp_path, dataclasses.replace(PART, tasks=tasks))
  np.testing.assert_allclose(found.assumed, 4 * 10 * factor, rtol=1e-5)


def test_seconds_of_other_sources(tmp_path, nothing_committed):
  write(tmp_path, row(model=OTHER), row("score", model=OTHER, seconds=1.0))
  (found,) = left(tmp_path)
  assert found.unknown == ("4 fine_tune", "4 score", "a forward pass")
  assert found.seconds(1.0) == 0
  speed(SOURCE, 50.0, 400)
  speed(OTHER, 100.0, 100)
  (found,) = left(tmp_path)
  assert found.unknown == ()
  assert found.measured == 0  # not of this source
  # The network takes twice as long, its outputs are four times as many.
  expected = 4 * 10 * 2 + 4 * 1 * 4 + sizes()[0] / 50
  np.testing.assert_allclose(found.assumed, expected)


def test_rows_of_other_devices_say_nothing(tmp_path, nothing_committed):
  write(tmp_path, row(device="8 TPU v5"))
  (found,) = left(tmp_path)
  assert "3 fine_tune" in found.unknown


def test_what_two_steps_need_counts_once(tmp_path, nothing_committed):
  heads = section.Part(
    PART.folder, "digits", (SOURCE,), PART.tasks, "retrain_head", PART.flags
  )
  speed(SOURCE, 100.0, 400)
  write(tmp_path / "committed", row("score", seconds=1.0))
  one, two = left(tmp_path, heads, PART)
  train, test = sizes()
  np.testing.assert_allclose(one.assumed, 4 + (train + test) / 100)
  assert two.assumed == 0
  assert two.unknown == ("4 fine_tune",)
  assert two.wanted == 8


def test_passes_that_are_there(tmp_path, nothing_committed):
  speed(SOURCE, 100.0, 400)
  write(tmp_path / "committed", row(), row("score", seconds=0.0))
  (before,) = left(tmp_path)
  train, _ = asked().sets
  about = {
    "model": SOURCE, "dataset": train.name, "split": train.split,
    "examples": [len(train), 0],
  }  # fmt: skip
  part = section.cache_folder(tmp_path) / ".part-abc"
  part.mkdir(parents=True)
  journal = {"about": about, "count": 200}
  (part / "journal.json").write_text(json.dumps(journal))
  (found,) = left(tmp_path)
  np.testing.assert_allclose(before.assumed - found.assumed, 200 / 100)
  (part / "journal.json").unlink()
  part = part.rename(part.with_name("abc"))
  (part / "checksums.json").write_text(json.dumps({"about": about}))
  (found,) = left(tmp_path)
  np.testing.assert_allclose(found.assumed, 4 * 10)


def test_a_source_is_measured_if_it_has_to_run(
  tmp_path, nothing_committed, monkeypatch
):
  calls = []

  def measured(model, load, dataset, **options):
    calls.append((model, len(dataset)))
    if model == OTHER:
      raise leep_jax.InputError("there is no such file")
    return estimates.Rate(100.0, 400, 1.0, "digits")

  monkeypatch.setattr(estimates, "measured", measured)
  estimator = remaining.Estimator(tmp_path)
  step = remaining.Step(asked(), SOURCE)
  for _ in range(2):
    estimator.measure([step, step])
    assert calls == [(SOURCE, sizes()[0])]
  calls.clear()
  other = remaining.Step(asked(), OTHER)
  estimator.measure([other, other])  # not measured in vain again
  assert calls == [(OTHER, sizes()[0])]
  assert "a forward pass" in estimator.left([other])[0].unknown
  calls.clear()
  write(
    tmp_path, *(row(m, i) for m in ("fine_tune", "score") for i in range(4))
  )
  remaining.Estimator(tmp_path).measure([step])
  assert calls == []
