"""The score command on data with several labels an example."""

import json

import numpy as np
import pytest
import sklearn.datasets

import leep_jax
from leep_jax import score

MODEL = "--model=fashion_mnist_resnet8"


@pytest.fixture
def digits(tmp_path):
  found = sklearn.datasets.load_digits(n_class=10)
  images = (found.images[:200] * 15).astype(np.uint8)
  digit = found.target[:200]
  sets = np.stack([digit % 2 == 0, digit > 4, digit > 9], axis=1)
  np.savez(tmp_path / "a.npz", images=images, labels=sets)
  return f"--dataset=npz:{tmp_path}/a.npz", sets


def test_ranking(digits, tmp_path, capsys):
  flag, sets = digits
  output = tmp_path / "rows.jsonl"
  assert score.main(["score", flag, MODEL, f"--output={output}"]) == 0
  out, err = capsys.readouterr()
  assert "3 labels, of which an example can have any number" in err
  assert "200 examples, 3 labels (multi-label, 1.0 on average)" in out
  assert "1 of 3 labels never or always occur (2)" in " ".join(out.split())
  row = json.loads(output.read_text())
  assert (row["num_labels"], row["num_target_classes"]) == (3, None)
  shares = sets.mean(axis=0)[:2]
  entropy = -(shares * np.log(shares) + (1 - shares) * np.log(1 - shares))
  assert f"{-entropy.mean():.4f} is a source that knows" in out
  for name in ("probe_map", "mean_leep", "mean_nce", "logme"):
    assert row[name] is not None
    assert row[f"{name}_se"] > 0
  assert -entropy.mean() < row["mean_leep"] < 0


def test_predictions(tmp_path, capsys, rng):
  probs, sets = rng.dirichlet(np.ones(4), 50), rng.random((50, 3)) < 0.4
  np.savez(tmp_path / "a.npz", probs=probs, labels=sets)
  files = f"--predictions={tmp_path}/a.npz"
  assert score.main(["score", files, "--scores=all", "--groups=1"]) == 0
  out, _ = capsys.readouterr()
  assert f"{leep_jax.mean_leep(probs, sets):.4f}" in out
  np.savez(tmp_path / "b.npz", probs=probs, labels=sets[:, 0].astype(int))
  assert score.main(["score", f"{files},{tmp_path}/b.npz"]) == 2
  assert "hold sets of labels and classes" in capsys.readouterr().err


@pytest.mark.parametrize(
  ("flags", "message"),
  [
    (
      ["--scores=leep"],
      "need classes, but these are sets of labels; they",
    ),
    (["--rank_by=probe_r2"], "needs real-valued targets, but these are sets"),
    (["--race"], "score it without --race"),
  ],
)
def test_what_sets_of_labels_do_not_have(digits, flags, message, capsys):
  assert score.main(["score", digits[0], MODEL, *flags]) == 2
  assert message in capsys.readouterr().err
