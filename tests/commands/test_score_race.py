"""The option `--race` of the command that ranks sources."""

import json
import pathlib

import numpy as np
import pytest
import running

from leep_jax import data, score, score_race
from leep_jax.engine import forward
from leep_jax.racing import forwarded
from leep_jax.reports import scored_source, target_table
from leep_jax.sources import catalog

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

mean2 = mean3 = mean

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


BOTH = f"--model={PIXELS},{MEAN}"


def two_sets(tmp_path):
  """The digits, and their images with other labels."""
  digits = data.load_dataset("digits", limit=400)
  images, labels = digits.load()
  np.savez("one.npz", images=images, labels=labels)
  np.savez("two.npz", images=images[:300], labels=labels[:300] // 5)
  return "npz:one.npz", "npz:two.npz"


def test_several_data_sets(capsys, in_a_folder, tmp_path, monkeypatch):
  """Each race is as it is alone; sources are loaded once a round for all."""
  names = two_sets(tmp_path)
  alone = {}
  for name in names:
    status, out, _ = run(
      capsys, BOTH, f"--dataset={name}", "--scores=probe_accuracy", "--race",
      "--output=alone.jsonl",
    )  # fmt: skip
    assert status == 0
    alone[name] = rows("alone.jsonl"), out.splitlines()[-1]
  loads = []
  load = catalog.load_source

  def counted(name, **options):
    loads.append(name)
    return load(name, **options)

  monkeypatch.setattr(catalog, "load_source", counted)
  # No source fits in what memory there is.
  monkeypatch.setattr(forwarded, "_bytes", lambda source: 1 << 62)
  status, out, err = run(
    capsys, BOTH, f"--dataset={','.join(names)}", "--scores=probe_accuracy",
    "--race", "--output=race.jsonl",
  )  # fmt: skip
  assert (status, err) == (0, "")
  found = map(json.loads, pathlib.Path("race.jsonl").read_text().splitlines())
  count = 0
  for row in found:
    count += 1
    expected = alone[row["dataset"]][0][row["model"]]
    for key in expected.keys() - {"seconds", "examples_per_second"}:
      assert row[key] == expected[key], key
  assert count == 4
  for name in names:
    share = alone[name][1].removeprefix("forwarded ")
    ending = f": 1 of 2 sources left; forwarded {share}"
    assert any(line.endswith(ending) for line in out.splitlines())
  # In the first round both sources, in the last one the one that is left.
  assert loads == [PIXELS, MEAN, PIXELS]
  assert "all races: forwarded 900 of 1,400 images (64 %)" in out


def test_a_faulty_data_set_leaves_the_other_races(
  capsys, in_a_folder, tmp_path
):
  one, _ = two_sets(tmp_path)
  bad = tmp_path / "bad"
  for name in ("x", "y"):
    (bad / name).mkdir(parents=True)
    (bad / name / "1.png").write_bytes(b"\x89PNG\r\n\x1a\n")
  status, out, err = run(
    capsys, "--model=fashion_mnist_resnet8,cifar10_resnet14", "--race",
    f"--dataset=folder:{bad},{one}", "--scores=nce",
  )  # fmt: skip
  assert status == 2
  assert err.count("cannot be read") == err.count("\n") == 1
  assert "400 examples, 10 classes" in out


def test_a_loss_is_no_better_than_a_last_place(in_a_folder):
  """Of mean ranks, where a source has left a race."""

  def scored(model, dataset, value):
    row = {
      "model": model, "dataset": dataset, "split": "all", "leep": value,
      "leep_se": None,
    }  # fmt: skip
    return scored_source.ScoredSource(row, {}, {}, np.zeros(2, int))

  left = [{"model": "x", "dataset": d, "split": "all"} for d in ("b", "c")]
  found = target_table.targets(
    [scored("x", "a", -1.0), scored("y", "a", -2.0)]
    + [scored("y", d, -2.0) for d in ("b", "c")],
    lambda kind: ["leep"],
    left=left,
  )
  target_table.write_matrix(found, "matrix.jsonl")
  ranks = {m: row["mean_rank"] for m, row in rows("matrix.jsonl").items()}
  assert ranks == {"y": pytest.approx(4 / 3), "x": pytest.approx(5 / 3)}


def test_many_that_left_are_counted(capsys, in_a_folder, monkeypatch):
  monkeypatch.setattr(score_race, "_MOST", 1)
  names = f"{MEAN},{MEAN}2,{MEAN}3"
  status, out, _ = run(
    capsys, f"--model={PIXELS},{names}", "--limit=400",
    "--scores=probe_accuracy", "--race",
  )  # fmt: skip
  assert status == 0
  assert "-  and 2 that left before; --output has all" in out
  assert sum(line.startswith("-  ") for line in out.splitlines()) == 2
