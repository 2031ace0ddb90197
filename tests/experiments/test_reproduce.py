"""One command for all experiments: its steps, and what goes wrong."""

import re
import signal
import subprocess
import sys
import time
import types

import pytest

from experiments import (
  blocks,
  factors,
  given_paths,
  h_score_forms,
  meta_transfer,
  remaining,
  reproduce,
  score_benchmark,
  section,
  source_selection_tables,
  table_1,
)
from leep_jax import sweep

SOURCE = "cifar100_resnet14"


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
  # All lines of Table 1 would be lines that were not run.
  assert "no Table 1: it needs rows of the scale cpu or paper" in printed
  assert "not run" not in printed
  assert not (folder / "table_1.md").exists()
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
  monkeypatch.setattr(given_paths, "check_all", lambda checks: None)
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
  # There are no data here: no sweep is known to the end.
  assert f"(not all known of {len(parts)} steps)" in printed


def test_an_interruption_says_how_to_go_on(
  folder, tmp_path, capsys, monkeypatch
):
  calls = []
  monkeypatch.setattr(remaining.Estimator, "measure", lambda self, steps: None)
  monkeypatch.setattr(sweep, "main", lambda line: calls.append(line) or 130)
  monkeypatch.chdir(tmp_path)
  (tmp_path / "weights").mkdir()
  monkeypatch.setattr(given_paths, "check_all", lambda checks: None)
  flags = ["--only=5.2", f"--output={folder}", "--data_dir=data"]
  assert reproduce.main(["reproduce", *flags, "--weights=weights"]) == 130
  assert len(calls) == 1
  # Not of the folder in which sweeps run, so that rows name no folder.
  assert f"--data_dir={tmp_path / 'data'}" in calls[0]
  line = capsys.readouterr().err.splitlines()[-1]
  assert line.startswith("interrupted; to go on: python -m experiments.repro")
  assert set(line.split()) >= {"--weights=weights", *flags}

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
  captured = capsys.readouterr()
  assert "step 5 of 5: figures" in captured.out
  assert "out of memory" in captured.err
  assert re.findall(r"error: this failed: (\w+) \w+ (\w+)", captured.err) == [
    ("small_tasks", "retrain_head"),
    ("imbalanced_tasks", "retrain_head"),
  ]


@pytest.fixture
def called(monkeypatch):
  """Command lines of the scripts, which are not run, and no checks of paths."""
  calls = []
  monkeypatch.setattr(given_paths, "check_all", lambda checks: None)
  monkeypatch.setattr(remaining.Estimator, "measure", lambda self, steps: None)
  monkeypatch.setattr(
    remaining.Estimator,
    "left",
    lambda self, sweeps: [remaining.Left(0, 8)] * len(sweeps),
  )
  for module in (factors, h_score_forms, score_benchmark, sweep, table_1):
    monkeypatch.setattr(module, "main", lambda line: calls.append(line) or 0)
  return calls


def test_the_benchmark_keeps_its_rows_in_the_same_folder(
  tmp_path, capsys, called
):
  flags = [f"--photos={tmp_path}", f"--output={tmp_path / 'out'}"]
  assert run("--only=benchmark", *flags) == 0
  (line,) = called
  assert f"--rows={tmp_path / 'out' / 'score_benchmark'}" in line
  assert f"--photos={tmp_path}" in line
  assert f"--stages={','.join(score_benchmark.STAGES)}" in line
  printed = capsys.readouterr().out
  pattern = r"score_benchmark: 0 of [\d,]+ rows; about 4 hours left of all"
  assert re.search(rf"step 1 of 2: {pattern}", printed)
  assert "step 2 of 2: figures: about 0 s left" in printed


def of(lines, name):
  """The one command line of a script."""
  (line,) = (line for line in lines if line[0] == name)
  return line


@pytest.mark.parametrize(
  ("photos", "targets"),
  [
    (True, source_selection_tables.TARGETS),
    (False, ("cifar100", "fashion_mnist")),
  ],
)
def test_section_5_7_has_its_heads(tmp_path, called, photos, targets):
  flags = ["--scale=cpu", "--only=5.7", f"--output={tmp_path}"]
  flags += [f"--photos={tmp_path}"] * photos
  assert run(*flags) == 0
  line = of(called, "score_benchmark")
  assert "--stages=facts,heads,scores" in line
  assert f"--targets={','.join(targets)}" in line
  assert (f"--photos={tmp_path}" in line) == photos


@pytest.mark.parametrize(
  ("name", "module", "trains"),
  [("5.2", "small_tasks", True), ("5.3", "imbalanced_tasks", False)],
)
def test_factors_are_of_the_sections(tmp_path, called, name, module, trains):
  assert run("--scale=cpu", f"--only={name}", f"--output={tmp_path}") == 0
  line = of(called, "factors")
  assert f"--sections={module}" in line
  assert ("--train_recipes" in line) == trains
  assert (f"--recipes={tmp_path / 'recipes'}" in line) == trains


def test_digits_are_in_no_folder(tmp_path, called):
  # The command of another scale is tried at the smallest one first.
  flags = "--only=5.2", f"--output={tmp_path}", f"--data_dir={tmp_path}"
  assert run(*flags) == 0
  assert not any("--data_dir" in flag for line in called for flag in line)


class InDestructor:
  """Is interrupted where Python drops exceptions."""

  def __del__(self):
    signal.raise_signal(signal.SIGINT)


def dropped():
  InDestructor()
  for _ in range(500):  # 10 seconds, unless the interruption comes again
    time.sleep(0.02)
  return 0


def translated():
  try:
    signal.raise_signal(signal.SIGINT)
  except KeyboardInterrupt as e:
    raise RuntimeError("a callback failed") from e


@pytest.mark.parametrize("interrupted", [dropped, translated])
def test_an_interruption_is_not_lost(
  tmp_path, capsys, called, monkeypatch, interrupted
):
  def main(line):
    called.append(line)
    interrupted()
    called.append("the end")
    return 0

  monkeypatch.setattr(sweep, "main", main)
  handler = signal.getsignal(signal.SIGINT)
  assert run("--only=5.2", f"--output={tmp_path}") == 130
  assert len(called) == 1
  assert "interrupted; to go on:" in capsys.readouterr().err
  assert signal.getsignal(signal.SIGINT) == handler


def test_an_interruption_of_imports_is_one_line():
  arguments = ["-X", "importtime", "-m", "experiments.reproduce", "--help"]
  with subprocess.Popen(
    [sys.executable, *arguments], stderr=subprocess.PIPE, text=True,
    stdout=subprocess.DEVNULL, cwd=section.RESULTS.parents[1],
  ) as process:  # fmt: skip
    for line in process.stderr:
      if line.endswith(" numpy\n"):  # of the first imports of the experiments
        break
    process.send_signal(signal.SIGINT)
    printed = process.stderr.read()
  assert process.returncode == 130
  assert "Traceback" not in printed
  assert printed.endswith("\ninterrupted\n")


def test_all_sections_have_a_row():
  named = [paper.name for paper in reproduce.SECTIONS.values()]
  known = [n for n in blocks._SECTIONS if n != meta_transfer.UNTRAINED]
  assert named == known


def test_mistakes_are_told(capsys):
  assert run("--only=5.6") == 2
  assert "unknown section '5.6'" in capsys.readouterr().err
  assert run("--only=benchmark") == 2
  assert "benchmark needs --photos" in capsys.readouterr().err
