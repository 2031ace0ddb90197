"""The option `--race` of the command that ranks sources."""

import json
import pathlib

import numpy as np
import pytest
import running

from leep_jax import score
from leep_jax.engine import forward

# Sources of digits: one sees all pixels, one their mean; and one fails.
MODULE = """
import leep_jax

GREY = leep_jax.Preprocessing(mean=(0.0,), std=(1.0,))

def source(name, apply):
  return leep_jax.Source(name=name, apply=apply, state={}, preprocessing=GREY)

def pixels():
  def apply(state, images):
    features = images.reshape(len(images), -1)
    return 4 * features[:, :20] - 1, features
  return source("pixels", apply)

def mean():
  def apply(state, images):
    features = images.mean(axis=(1, 2))
    return 9 * features - 1 - 2 * features[:, [0, 0]], features
  return source("mean", apply)

def broken():
  raise ValueError("no weights")
"""
PIXELS, MEAN, BROKEN = (
  f"race_sources:{name}" for name in ("pixels", "mean", "broken")
)


def run(capsys, *args):
  return running.run(capsys, score, *args)


def rows(path):
  found = map(json.loads, pathlib.Path(path).read_text().splitlines())
  return {row["model"]: row for row in found}


@pytest.fixture
def in_a_folder(tmp_path, monkeypatch):
  monkeypatch.chdir(tmp_path)
  monkeypatch.syspath_prepend(tmp_path)
  (tmp_path / "race_sources.py").write_text(MODULE)


def test_survivors_have_the_scores_of_the_command_without(capsys, in_a_folder):
  both = (
    f"--model={MEAN},{PIXELS}", "--limit=400", "--scores=probe_accuracy,leep",
  )  # fmt: skip
  assert run(capsys, *both, "--output=plain.jsonl")[0] == 0
  status, out, err = run(capsys, *both, "--race", "--output=race.jsonl")
  assert (status, err) == (0, "")
  plain, raced = rows("plain.jsonl"), rows("race.jsonl")
  assert list(raced) == [PIXELS, MEAN]
  assert [*plain[MEAN], "eliminated_in_round"] == list(raced[MEAN])
  for key in plain[PIXELS].keys() - {"seconds", "examples_per_second"}:
    assert raced[PIXELS][key] == plain[PIXELS][key], key
  assert raced[PIXELS]["eliminated_in_round"] is None
  assert raced[MEAN]["eliminated_in_round"] == 1
  assert raced[MEAN]["num_examples"] == 100
  assert raced[MEAN]["probe_accuracy"] < 0.5
  lines = out.splitlines()
  assert all(len(line) <= 80 for line in lines)
  assert f"1  {PIXELS} " in out
  (left,) = (line.split() for line in lines if line.startswith("-  "))
  assert left[1] == MEAN
  assert left[5:7] == ["100", "1"]  # images, round
  assert lines[-1] == "forwarded 500 of 800 images (62 %)"


def test_sources_that_fail_are_reported(capsys, in_a_folder):
  status, out, err = run(
    capsys,
    f"--model={PIXELS},{BROKEN}",
    "--limit=50",
    "--scores=nce",
    "--race",
  )
  assert status == 2
  assert "no weights" in err
  assert len(err.splitlines()) == 1
  assert f"1  {PIXELS}" in out
  assert "forwarded 50 of 50 images (100 %)" in out


def test_an_interruption_loses_no_outputs(capsys, in_a_folder, monkeypatch):
  compute, calls = forward.compute_part, []

  def interrupt(*args, **options):
    calls.append(args)
    if len(calls) == 2:
      raise KeyboardInterrupt
    return compute(*args, **options)

  monkeypatch.setattr(forward, "compute_part", interrupt)
  status, out, err = run(
    capsys,
    f"--model={PIXELS},{MEAN}",
    "--limit=200",
    "--scores=nce",
    "--race",
    "--output=race.jsonl",
  )
  assert status == 130
  assert "interrupted" in err
  assert "interrupted: scores are of the images" in out
  assert [row["num_examples"] for row in rows("race.jsonl").values()] == [100]


@pytest.mark.parametrize(
  ("args", "message"),
  [
    (["--tolerance=0.1"], "--tolerance has no meaning without --race"),
    (["--race", "--tolerance=-1"], "tolerance is -1.0"),
    (
      ["--race", "--predictions=a.npz"],
      "--race has no meaning with --predictions",
    ),
  ],
)
def test_mistakes_are_one_line(capsys, in_a_folder, args, message):
  np.savez("a.npz", logits=np.eye(3), labels=np.arange(3))
  if "--predictions=a.npz" not in args:
    args = [*args, "--model=fashion_mnist_resnet8", "--limit=10"]
  status, out, err = run(capsys, *args)
  assert (status, out) == (2, "")
  assert message in err
  assert len(err.splitlines()) == 1


def test_several_processes_are_refused(capsys, monkeypatch):
  monkeypatch.setattr("leep_jax.engine.hosts.count", lambda: 2)
  monkeypatch.setattr(
    "leep_jax.engine.hosts.on_first_host", lambda function: function()
  )
  status, _, err = run(capsys, "--race", "--model=fashion_mnist_resnet8")
  assert status == 2
  assert "--race runs in one process" in err
