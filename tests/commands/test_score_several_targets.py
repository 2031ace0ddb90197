"""`leep_jax.score --dataset=a,b,c`: one table of sources and targets."""

import csv
import json

import numpy as np
import pytest

import leep_jax
from leep_jax import score
from leep_jax.data import names as data_names
from leep_jax.transfer import __main__ as transfer_main

MODELS = "--model=fashion_mnist_resnet8,cifar10_resnet14"


@pytest.fixture
def arrays(tmp_path, rng):
  """Two npz files: of classes, and of real-valued targets."""
  images = rng.integers(0, 256, (60, 8, 8, 1), dtype=np.uint8)
  labels = np.arange(60) % 3
  images[np.arange(60), labels] = 255
  np.savez(tmp_path / "a.npz", images=images, labels=labels)
  np.savez(tmp_path / "b.npz", images=images, targets=images.mean((1, 2, 3)))
  return tmp_path


def test_the_names_of_several(tmp_path):
  several = data_names.several
  assert several("digits") == ["digits"]
  assert several("a, b,a") == ["a", "b"]
  assert several("wds:x-{0,1}.tar,b") == ["wds:x-{0,1}.tar", "b"]
  (tmp_path / "a,b").mkdir()
  assert several(f"folder:{tmp_path}/a,b") == [f"folder:{tmp_path}/a,b"]
  with pytest.raises(leep_jax.InputError, match="has an empty name"):
    several("a,,b")


def test_one_table(arrays, capsys):
  files = {k: arrays / f"o.{k}" for k in ("jsonl", "csv", "png")}
  status = score.main([
    "score", MODELS, f"--dataset=digits,npz:{arrays}/a.npz",
    "--limit=60", f"--output={files['jsonl']}", f"--matrix={files['csv']}",
    f"--plot={files['png']}",
  ])  # fmt: skip
  out = capsys.readouterr().out
  assert status == 0
  assert out.startswith(
    "2 sources on 2 data sets, by probe_accuracy. Best first by mean rank."
  )
  assert "digits: Start from" in out
  rows = [json.loads(line) for line in files["jsonl"].read_text().splitlines()]
  assert [row["dataset"] for row in rows] == [
    "digits", f"npz:{arrays}/a.npz",
  ] * 2  # fmt: skip
  with open(files["csv"], newline="") as file:
    matrix = list(csv.DictReader(file))
  assert {row["model"] for row in matrix} == {
    "fashion_mnist_resnet8", "cifar10_resnet14",
  }  # fmt: skip
  by_model = {row["model"]: row for row in matrix}
  for row in rows:
    name = row["dataset"]
    column = next(c for c in matrix[0] if c.startswith(name))
    found = float(by_model[row["model"]][column])
    assert found == pytest.approx(row["probe_accuracy"])
  assert files["png"].stat().st_size > 5000
  # The values are those of one data set alone.
  alone = arrays / "alone.jsonl"
  score.main([
    "score", "--model=fashion_mnist_resnet8", "--limit=60",
    f"--output={alone}",
  ])  # fmt: skip
  assert json.loads(alone.read_text())["leep"] == pytest.approx(rows[0]["leep"])


def test_classes_and_numbers_have_their_own_scores(arrays, capsys):
  status = score.main([
    "score", MODELS,
    f"--dataset=npz:{arrays}/a.npz,npz:{arrays}/b.npz",
  ])  # fmt: skip
  out = capsys.readouterr().out
  assert status == 0
  assert "by probe_accuracy or probe_r2" in out


def test_what_is_wrong_with_one_leaves_the_others(arrays, capsys):
  bad = arrays / "bad"
  for name in ("x", "y"):
    (bad / name).mkdir(parents=True)
    (bad / name / "1.png").write_bytes(b"\x89PNG\r\n\x1a\n")
  status = score.main([
    "score", MODELS, f"--dataset=folder:{bad},npz:{arrays}/a.npz",
  ])  # fmt: skip
  found = capsys.readouterr()
  assert status == 2
  assert found.err.count("cannot be read") == 1
  assert f"npz:{arrays}/a.npz" in found.out
  assert "60 examples, 3 classes" in found.out


def test_what_takes_one_data_set(arrays, capsys):
  both = f"--dataset=digits,npz:{arrays}/a.npz"
  report = f"--report={arrays}/r.html"
  assert score.main(["score", MODELS, both, report]) == 2
  assert "takes one at a time" in capsys.readouterr().err
  assert transfer_main.main(["transfer", both]) == 2
  assert "names 2 data sets" in capsys.readouterr().err
