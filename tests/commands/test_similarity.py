"""The command that compares sources."""

import csv

import numpy as np
import pytest
import running

import leep_jax
from leep_jax import similarity

SOURCES = ("cifar10_resnet14", "fashion_mnist_resnet8")


def run(capsys, *flags):
  return running.run(capsys, similarity, *flags)


def saved(folder, rng, count=3, n=40):
  labels = rng.integers(0, 3, n)
  paths, features = [], []
  for i in range(count):
    features.append(rng.normal(size=(n, 4 + i)))
    paths.append(f"{folder}/{i}.npz")
    np.savez(paths[-1], features=features[-1], labels=labels)
  return paths, features


def test_models_are_compared_on_some_examples(capsys, tmp_path):
  status, out, err = run(
    capsys,
    f"--model={','.join(SOURCES)}",
    "--max_examples=80",
    f"--output={tmp_path}/matrix.csv",
    f"--plot={tmp_path}/matrix.svg",
  )
  assert (status, err) == (0, "")
  assert "digits: 80 of 1,797 images, 2 sources. Similarity by cka." in out
  text = (tmp_path / "matrix.csv").read_text()
  rows = list(csv.DictReader(text.splitlines()))
  assert [row["model"] for row in rows] == list(SOURCES)
  dataset = leep_jax.load_dataset("digits").take(80)
  expected = leep_jax.cka(
    *(
      leep_jax.compute_outputs(leep_jax.load_source(name), dataset)
      for name in SOURCES
    )
  )
  assert float(rows[0][SOURCES[1]]) == pytest.approx(expected, rel=1e-5)
  assert f"{expected:.3f}" in out
  assert (tmp_path / "matrix.svg").exists()


@pytest.mark.parametrize("measure", ["cka", "debiased_cka", "rsa"])
def test_files_of_outputs(measure, rng, tmp_path, capsys):
  paths, features = saved(tmp_path, rng)
  status, out, err = run(
    capsys, f"--predictions={','.join(paths)}", f"--measure={measure}"
  )
  assert (status, err) == (0, "")
  matrix = leep_jax.similarity_matrix(features, measure=measure)
  for i, row in enumerate(matrix):
    line = next(x for x in out.splitlines() if x.startswith(f"{i + 1}  "))
    assert line.split()[2:] == [f"{value:.3f}" for value in row]
  assert f"predictions, 3 sources. Similarity by {measure}." in out


def test_a_source_that_does_not_compare_is_left_out(rng, tmp_path, capsys):
  paths, _ = saved(tmp_path, rng)
  np.savez(f"{tmp_path}/few.npz", features=np.eye(5), labels=np.arange(5))
  np.savez(f"{tmp_path}/none.npz", probs=np.eye(40)[:, :9], labels=[0] * 40)
  more = [paths[0], f"{tmp_path}/few.npz", f"{tmp_path}/no.npz", paths[1]]
  status, out, err = run(capsys, f"--predictions={','.join(more)}")
  assert status == 2
  assert "few.npz 5: sources are compared on the same examples" in err
  assert "no.npz" in err
  assert err.count("\n") == 2
  assert "2 sources" in out


@pytest.mark.parametrize(
  ("flags", "message"),
  [
    (["--max_examples=0"], "max_examples is 0"),
    (["--batch_size=0"], "batch_size is 0"),
    (["--predictions=a.npz", "--model=b"], "--model has no meaning with"),
    (["--plot=matrix.gif"], "matrix.gif"),
    (["--output=matrix.txt"], "matrix.txt"),
    (["--measure=svcca"], "measure"),
    (["--model=no_such_source"], "no_such_source"),
  ],
)
def test_mistakes(flags, message, capsys):
  status, out, err = run(capsys, *flags)
  assert (status, out) == (2, "")
  assert message in err
  assert err.count("\n") == 1
