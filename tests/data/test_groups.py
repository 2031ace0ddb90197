"""Groups of examples that depend on each other, such as photos of a patient."""

import json

import numpy as np
import pandas as pd
import PIL.Image
import pytest

import leep_jax
from leep_jax import data, score
from leep_jax.data import splits
from leep_jax.scores import held_out_clusters, ridge


def patients(folder, rng, *, count=24, photos=4, column="patient"):
  """Writes a table of several photos a patient, whose pictures are alike."""
  rows = []
  for patient in range(count):
    picture = rng.integers(0, 256, (8, 8, 3))
    for photo in range(photos):
      name = f"{patient}_{photo}.png"
      noisy = picture + rng.integers(-5, 6, picture.shape)
      noisy = noisy.clip(0, 255).astype(np.uint8)
      PIL.Image.fromarray(noisy).resize((32, 32)).save(folder / name)
      rows.append((name, "ab"[patient % 2], f"p{patient}"))
  table = pd.DataFrame(rows, columns=["file", "label", column])
  table = table.sample(frac=1, random_state=0)
  table.to_csv(folder / "t.csv", index=False)
  return str(folder / "t.csv")


def test_groups_of_a_table(tmp_path, rng):
  path = patients(tmp_path, rng)
  dataset = leep_jax.load_dataset(path, group_column="patient")
  assert len(set(dataset.groups)) == 24
  names = [dataset.files[i].split("_")[0] for i in dataset.indices]
  assert [f"p{name}" for name in names] == dataset.groups.tolist()
  assert dataset.take(10).clusters.shape == (10,)
  assert leep_jax.load_dataset(path).groups is None
  # Outputs do not depend on groups: a cached forward pass serves both.
  assert dataset.version == leep_jax.load_dataset(path).version


@pytest.mark.parametrize("suffix", ["parquet", "jsonl"])
def test_other_tables(tmp_path, suffix):
  table = pd.DataFrame(
    {"text": ["a", "b", "c"], "label": [0, 1, 0], "author": [7, 7, 9]}
  )
  path = tmp_path / f"t.{suffix}"
  if suffix == "parquet":
    table.to_parquet(path)
  else:
    path.write_text(table.to_json(orient="records", lines=True))
  dataset = leep_jax.load_dataset(str(path), group_column="author")
  assert dataset.groups.tolist() == ["7", "7", "9"]


def test_groups_of_python_objects():
  texts = [("a", "x"), ("b", "y"), ("c", "x")]
  dataset = data.from_examples(texts, groups=["p", "q", "p"])
  assert dataset.clusters.tolist() == [0, 1, 0]
  with pytest.raises(leep_jax.InputError, match="are 2, but it has 3"):
    data.from_examples(texts, groups=["p", "q"])


def test_groups_are_on_one_side_of_a_split(tmp_path, rng):
  path = patients(tmp_path, rng)
  train, test = data.load_pair(path, group_column="patient")
  sides = [set(each.groups[each.indices]) for each in (train, test)]
  assert not sides[0] & sides[1]
  assert len(sides[0] | sides[1]) == 24
  assert 3 <= len(sides[1]) <= 7
  assert set(test.labels()) == {0, 1}
  # Without them, photos of one patient are on both.
  train, test = data.load_pair(path)
  sides = [
    {each.files[i].split("_")[0] for i in each.indices}
    for each in (train, test)
  ]
  assert sides[0] & sides[1]


def test_given_splits_that_share_a_group(tmp_path, rng):
  path = patients(tmp_path, rng)
  table = pd.read_csv(path)
  table["split"] = ["train"] * 80 + ["test"] * 16
  table.to_csv(path, index=False)
  with pytest.raises(leep_jax.InputError, match=r"groups of .* are in both"):
    data.load_pair(path, group_column="patient")


def test_a_class_keeps_a_group_for_training():
  labels = np.repeat([0, 0, 0, 1], 5)
  clusters = np.repeat([0, 1, 2, 3], 5)
  for seed in range(8):
    train, test = splits.holdout(labels, seed=seed, clusters=clusters)
    assert set(labels[train]) == {0, 1}
    assert not set(clusters[train]) & set(clusters[test])
    assert len(train) + len(test) == 20
  with pytest.raises(leep_jax.InputError, match="none can be held out"):
    splits.holdout([0, 0, 1, 1], seed=0, clusters=np.array([0, 0, 1, 1]))
  with pytest.raises(leep_jax.InputError, match="are of one group"):
    splits.holdout([0, 1], seed=0, clusters=np.zeros(2, int))


def test_what_is_refused(tmp_path, rng):
  path = patients(tmp_path, rng)
  with pytest.raises(leep_jax.InputError, match="has no column 'owner'"):
    leep_jax.load_dataset(path, group_column="owner")
  with pytest.raises(leep_jax.InputError, match="group_column are for tables"):
    leep_jax.load_dataset("digits", group_column="patient")
  table = pd.read_csv(path)
  table.loc[[1, 4], "patient"] = None
  table.to_csv(path, index=False)
  with pytest.raises(leep_jax.InputError, match="2 of 96 .* no patient"):
    leep_jax.load_dataset(path, group_column="patient")


def clustered(rng, clusters, *, classes=3, width=6):
  """Outputs whose errors are shared by the examples of a cluster."""
  n = len(clusters)
  labels = rng.integers(0, classes, clusters.max() + 1)[clusters]
  labels[:classes] = np.arange(classes)
  shared = rng.normal(size=(clusters.max() + 1, width))[clusters]
  features = 2 * np.eye(classes, width)[labels] + shared
  features += 0.1 * rng.normal(size=(n, width))
  probs = np.exp(features)
  outputs = leep_jax.Outputs.from_arrays(
    features=features.astype(np.float32),
    probs=(probs / probs.sum(axis=1, keepdims=True)).astype(np.float32),
    labels=labels,
  )
  outputs.clusters = clusters
  return outputs


def test_groups_by_cluster_are_those_by_position(rng):
  n = 200
  alone = clustered(rng, np.arange(n) % 20)
  by_cluster = leep_jax.estimate_scores(alone, groups=20)
  alone.clusters = None
  alone._memo.clear()
  by_position = leep_jax.estimate_scores(alone, groups=20)
  compared = 0
  for name, expected in by_position.items():
    if expected is None or len(expected.deleted) == n:  # of examples
      continue
    found = by_cluster[name]
    assert found.value == pytest.approx(expected.value, rel=1e-5, abs=1e-6)
    np.testing.assert_allclose(
      found.deleted, expected.deleted, rtol=1e-4, atol=1e-5
    )
    compared += 1
  assert compared >= 10


def test_errors_cover_new_clusters(rng):
  """The errors are the spread over samples of clusters, not of examples."""
  clusters = np.repeat(np.arange(40), 5)
  values, errors, naive = [], [], []
  for _ in range(40):
    outputs = clustered(rng, clusters)
    found = leep_jax.estimate_scores(outputs, names=["leep", "probe_accuracy"])
    values.append([e.value for e in found.values()])
    errors.append([e.standard_error for e in found.values()])
    outputs = outputs.select(np.arange(200))
    outputs.clusters = None
    found = leep_jax.estimate_scores(outputs, names=["leep", "probe_accuracy"])
    naive.append([e.standard_error for e in found.values()])
  spread = np.std(values, axis=0, ddof=1)
  ratio = np.mean(errors, axis=0) / spread
  assert (ratio > 0.7).all()
  assert (ratio < 1.4).all()
  assert (np.mean(naive, axis=0) < 0.75 * spread).all()


@pytest.mark.parametrize(
  ("n", "width", "few"), [(60, 5, 1 << 22), (60, 5, 0), (30, 50, 1 << 22)]
)
def test_heads_are_fitted_without_the_cluster(n, width, few, rng, monkeypatch):
  monkeypatch.setattr(ridge, "_FEW", few)
  outputs = clustered(rng, rng.permutation(np.arange(n) % 9), width=width)
  found = ridge.held_out(outputs)
  x = outputs.features.astype(np.float64)
  x = (x - x.mean(axis=0)) / x.std(axis=0)
  targets = np.eye(3)[outputs.labels]
  penalty = np.eye(width + 1) * n * found.penalty
  penalty[0, 0] = 0
  for cluster in range(9):
    out = outputs.clusters == cluster
    design = np.c_[np.ones((~out).sum()), x[~out]]
    weights = np.linalg.solve(
      design.T @ design + penalty, design.T @ targets[~out]
    )
    np.testing.assert_allclose(
      found.predictions[out],
      np.c_[np.ones(out.sum()), x[out]] @ weights,
      atol=1e-5,
    )


def test_copies_are_no_evidence(rng):
  """Random labels of patients cannot be known of new patients."""
  clusters = np.repeat(np.arange(60), 4)
  labels = rng.integers(0, 2, 60)[clusters]
  features = rng.normal(size=(60, 150))[clusters]
  features += 0.01 * rng.normal(size=features.shape)
  outputs = leep_jax.Outputs.from_arrays(features=features, labels=labels)
  seen = leep_jax.compute_scores(outputs, names=["probe_accuracy"])
  outputs = leep_jax.Outputs.from_arrays(features=features, labels=labels)
  outputs.clusters = clusters
  new = leep_jax.compute_scores(outputs, names=["probe_accuracy"])
  assert seen["probe_accuracy"] > 0.8
  assert new["probe_accuracy"] < 0.7


def test_one_cluster_has_no_probe(rng):
  outputs = clustered(rng, np.zeros(20, int))
  found = leep_jax.estimate_scores(outputs, names=["leep", "probe_accuracy"])
  assert found["probe_accuracy"] is None
  assert found["leep"].standard_error is None


def test_shifts_are_differences_of_shares(rng):
  clusters, codes = rng.integers(0, 5, 30), rng.integers(0, 4, 30)
  shares = np.bincount(codes, minlength=4) / 30
  found = held_out_clusters.Shifts(clusters, codes, shares)
  for i in range(30):
    others = codes[clusters != clusters[i]]
    expected = shares - np.bincount(others, minlength=4) / len(others)
    np.testing.assert_allclose(found.of(np.array([i]))[0], expected, atol=1e-12)


def test_sets_of_labels_in_clusters(rng):
  clusters = np.arange(60) % 12
  labels = rng.integers(0, 2, (60, 3))
  features = rng.normal(size=(60, 4)) + labels @ np.eye(3, 4)
  outputs = leep_jax.Outputs.from_arrays(features=features, multi_labels=labels)
  alone = leep_jax.estimate_scores(outputs, names=["probe_map"])["probe_map"]
  outputs = leep_jax.Outputs.from_arrays(features=features, multi_labels=labels)
  outputs.clusters = clusters
  found = leep_jax.estimate_scores(outputs, names=["probe_map", "logme"])
  assert found["probe_map"].value == pytest.approx(alone.value, abs=0.1)
  assert len(found["probe_map"].deleted) == 12
  assert len(found["logme"].deleted) == 12


def test_mean_shifts_are_differences_of_means(rng):
  clusters, values = rng.integers(0, 5, 30), rng.integers(0, 2, 30)
  found = held_out_clusters.mean_shift(values, clusters)
  for i in range(30):
    others = values[clusters != clusters[i]]
    assert found[i] == pytest.approx(values.mean() - others.mean())


def test_the_command_says_so(tmp_path, rng, capsys):
  path = patients(tmp_path, rng)
  options = ["--model=fashion_mnist_resnet8", f"--dataset={path}"]
  out = tmp_path / "rows.jsonl"
  assert score.main(["score", *options, f"--output={out}"]) == 0
  alone = json.loads(out.read_text())
  capsys.readouterr()
  options.append("--group_column=patient")
  assert score.main(["score", *options, f"--output={out}"]) == 0
  shown = capsys.readouterr().out
  assert "between 24 groups of examples that belong together" in " ".join(
    shown.split()
  )
  row = json.loads(out.read_text())
  assert row["leep"] == pytest.approx(alone["leep"], rel=1e-5)
  assert row["leep_se"] > 1.3 * alone["leep_se"]
