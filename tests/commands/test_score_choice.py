"""The option `--choose` of the command that ranks sources."""

import json
import pathlib

import numpy as np
import oracles
import pytest
import running

import leep_jax
from leep_jax import ensembles, score


def run(capsys, *args):
  return running.run(capsys, score, *args)


def rows(path):
  found = map(json.loads, pathlib.Path(path).read_text().splitlines())
  return {row["model"]: row for row in found}


@pytest.fixture
def files(tmp_path, rng, monkeypatch):
  """Outputs of two sources that know the same classes, and one of others."""
  monkeypatch.chdir(tmp_path)
  labels = np.arange(600) % 12
  eye = np.eye(12)[labels]
  best = eye * (np.arange(12) < 7) + 0.25 * rng.normal(size=eye.shape)
  other = eye * (np.arange(12) >= 7) + 0.25 * rng.normal(size=eye.shape)
  second = best + 0.1 * rng.normal(size=eye.shape)
  for name, x in {"best": best, "second": second, "other": other}.items():
    probs = oracles.softmax(8 * x)
    np.savez(f"{name}.npz", features=x, probs=probs, labels=labels)
  np.savez("bare.npz", probs=probs, labels=labels)
  np.savez("turned.npz", features=best[::-1], labels=labels[::-1])
  np.savez("targets.npz", features=best, targets=eye[:, :2])
  np.savez("more.npz", features=other, targets=eye[:, :2])
  return tmp_path


def test_bundled_sources_on_digits(capsys, tmp_path):
  path = tmp_path / "rows.csv"
  status, out, err = run(capsys, "--choose=3", f"--output={path}")
  assert (status, err) == (0, "")
  lines = out.splitlines()
  assert all(len(line) <= 80 for line in lines)
  start = next(i for i, x in enumerate(lines) if x.startswith("To use togethe"))
  assert "1 cpu device" in lines[start - 2] or "cpu devices" in lines[start - 2]
  text = " ".join(" ".join(lines[start:]).split())
  assert text.startswith(
    "To use together (--choose=3), by probe_accuracy of one head on their "
    "joined features. Each source adds most to those above it:"
  )
  table = [line.split() for line in lines[start:] if line[:1].isdigit()]
  assert [row[1] for row in table] == [
    "tiny_imagenet32_resnet14", "cifar100_resnet14", "cifar10_resnet14",
  ]  # fmt: skip
  assert "* more than chance (paired difference, 95%, as the best of up" in text
  assert "All 3 reach 2.9 ± 0.4 points more than tiny_imagenet32" in text
  assert " ms through all 3 (" in text
  assert "is best with all weight on cifar100_resnet14: leep_loo -1.88" in text
  head, *values = (line.split(",") for line in path.read_text().splitlines())
  chosen = [dict(zip(head, v, strict=True))["chosen"] for v in values]
  assert sorted(chosen) == ["", "1", "2", "3"]


def test_rows_are_those_of_the_choice(capsys, files):
  names = [f"{name}.npz" for name in ("second", "best", "other")]
  status, out, err = run(
    capsys, f"--predictions={','.join(names)}", "--choose=3", "--output=r.jsonl"
  )
  assert (status, err) == (0, "")
  expected = leep_jax.choose(
    {n: leep_jax.Outputs.from_arrays(**np.load(n)) for n in names}
  )
  assert expected.names == ["best.npz", "other.npz"]
  found = rows("r.jsonl")
  for place, added in enumerate(expected.members):
    row = found[added.name]
    assert row["chosen"] == place + 1
    assert row["set_score"] == added.score.value
    assert row["set_score_se"] == added.score.standard_error
    assert row["set_gain"] == (added.gain and added.gain.value)
    assert row["mixture_weight"] == pytest.approx(
      expected.mixture.weights[added.name]
    )
  left = found["second.npz"]
  assert [left[k] for k in ("chosen", "set_score", "set_gain_se")] == [None] * 3
  text = " ".join(out.split())
  assert "Both reach" in text
  assert "No other source adds more than its error." in text
  assert " ms through" not in text  # files say nothing of speed
  assert "is best with weights 0." in text


def test_by_mixtures(capsys, files):
  status, out, err = run(
    capsys, "--predictions=best.npz,other.npz,targets.npz",
    "--rank_by=leep_loo", "--choose=2",
  )  # fmt: skip
  assert status == 2  # of targets.npz, which is an error of its own
  assert len(err.splitlines()) == 1
  assert "by leep_loo of a mixture of their EEPs" in " ".join(out.split())
  assert "2  other" in out
  assert "*" in out.partition("To use together")[2]


def test_regression(capsys, files):
  status, out, err = run(
    capsys, "--predictions=targets.npz,more.npz", "--choose=2"
  )
  assert (status, err) == (0, "")
  text = " ".join(out.split())
  assert "by probe_r2 of one head on their joined features" in text
  assert "1 targets" in text


def test_sources_without_features_are_named(capsys, files):
  status, out, err = run(
    capsys, "--predictions=best.npz,bare.npz,other.npz", "--choose=3"
  )
  assert (status, err) == (0, "")
  text = " ".join(out.split())
  assert "bare was not tried: the source gives no features." in text


@pytest.mark.parametrize(
  ("args", "message"),
  [
    (["--choose=1"], "--choose=1 makes no set"),
    (["--choose=0"], "--choose=0 makes no set"),
    (["--choose=5"], "--choose=5 of 4 sources: name more by --model"),
    (
      ["--choose=2", "--model=cifar10_resnet14,cifar10_resnet14"],
      "--choose=2 of 1 source",
    ),
    (["--choose=2", "--race"], "which --race does not have"),
    (
      ["--choose=2", "--dataset=digits,images.npz"],
      "--choose is for one data set, but there are 2",
    ),
    (
      ["--choose=2", "--rank_by=nce"],
      "--choose=2: a set is chosen by a held-out score (probe_accuracy, ",
    ),
    (["--choose=2", "--predictions=best.npz"], "--choose=2 of 1 source"),
    (["--choose=two"], "--choose=two"),
  ],
)
def test_mistakes_are_one_line(capsys, files, args, message):
  images = np.zeros((4, 8, 8, 3), np.uint8)
  np.savez("images.npz", images=images, labels=np.arange(4) % 2)
  status, out, err = run(capsys, *args)
  assert (status, out) == (2, "")
  assert message in err
  assert len(err.splitlines()) == 1


def test_several_processes_are_refused(capsys, monkeypatch):
  monkeypatch.setattr("leep_jax.engine.hosts.count", lambda: 2)
  monkeypatch.setattr("leep_jax.engine.hosts.on_first_host", lambda f: f())
  status, _, err = run(capsys, "--choose=2")
  assert status == 2
  assert "--choose runs in one process" in err


@pytest.mark.parametrize(
  ("error", "status", "message"),
  [
    (MemoryError("24 GiB"), 2, "--choose=2 failed: MemoryError: 24 GiB"),
    (leep_jax.InputError("no"), 2, "--choose=2: no"),
    (KeyboardInterrupt(), 130, "interrupted"),
  ],
)
def test_the_table_is_printed_without_a_choice(
  capsys, files, monkeypatch, error, status, message
):
  def fail(*_, **options):
    raise error

  monkeypatch.setattr(ensembles, "choose", fail)
  got, out, err = run(
    capsys, "--predictions=best.npz,other.npz", "--choose=2", "--output=r.jsonl"
  )
  assert got == status
  assert message in err
  assert "Start from best" in out
  assert "To use together" not in out
  assert len(rows("r.jsonl")) == 2


def test_other_labels_make_no_set(capsys, files):
  status, out, err = run(
    capsys, "--predictions=best.npz,turned.npz", "--choose=2"
  )
  assert status == 2
  assert "best.npz and turned.npz are not of the same examples" in err
  assert "1  " in out


def test_one_source_that_is_left_makes_no_set(capsys, files):
  status, out, err = run(
    capsys, "--predictions=best.npz,missing.npz", "--choose=2"
  )
  assert status == 2
  assert "no file at missing.npz" in err
  assert "To use together" not in out
