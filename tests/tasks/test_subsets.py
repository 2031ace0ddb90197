"""Scores of class subsets: equal to the scores of each subset's examples."""

import math

import numpy as np
import oracles
import pytest

import leep_jax
from leep_jax.engine import programs, statistics, storage, sums as sums_lib
from leep_jax.tasks import subset_leep, subset_scores

FUNCTIONS = {
  "leep": subset_scores.leep_of_subsets,
  "nce": subset_scores.nce_of_subsets,
  "h_score": subset_scores.h_score_of_subsets,
}
each_score = pytest.mark.parametrize("name", FUNCTIONS)


def sample(name, rng, n=600, width=9, classes=12):
  """What a score takes, with something to find, and labels that skip one."""
  labels = rng.choice(np.delete(np.arange(classes), 4), n)
  values = (
    rng.normal(size=(n, width)) + rng.normal(size=(classes, width))[labels]
  )
  if name != "h_score":
    values = oracles.softmax(2 * values)
  return values.astype(np.float32), labels


def masks(rng, count, classes=12):
  """Subsets `[count, classes]` of 1 to all classes, one of which occurs."""
  chosen = np.zeros((count, classes), bool)
  for row in chosen:
    size = rng.integers(1, classes + 1)
    row[rng.choice(classes, size, replace=False)] = True
    row[0] |= row.sum() == row[4]
  return chosen


def one_by_one(function, values, labels, chosen):
  rows = [mask[labels] for mask in chosen]
  return [function(values[row], labels[row]) for row in rows]


def test_scores_by_hand():
  probs = [[1, 0], [0.5, 0.5], [0, 1], [1, 0]]
  labels = [0, 0, 1, 2]
  chosen = [[True, True, False], [False, True, True], [True, False, True]]
  # Joint mass: class 0 (1.5, 0.5), class 1 (0, 1), class 2 (1, 0).
  # {0, 1}: P(0 given z) = 1, 1/3; the EEP gives 1, 1/2 + 1/6, and 2/3.
  # {1, 2}: each class has a source label of its own.
  # {0, 2}: P(0 given z) = 3/5, 1; it gives 3/5, 3/10 + 1/2, and 2/5.
  leep = [
    2 * math.log(2 / 3) / 3,
    0,
    (math.log(0.6) + math.log(0.8) + math.log(0.4)) / 3,
  ]
  found = subset_scores.leep_of_subsets(probs, labels, chosen)
  np.testing.assert_allclose(found, leep, atol=1e-7)
  # Hard source labels 0, 0, 1, 0 tell 1 from others, and not 0, 0 from 2.
  nce = [0, 0, (2 * math.log(2 / 3) + math.log(1 / 3)) / 3]
  for source in (probs, [0, 0, 1, 0]):
    found = subset_scores.nce_of_subsets(source, labels, chosen)
    np.testing.assert_allclose(found, nce, atol=1e-12)


def test_h_score_by_hand():
  # {0, 1}: means 1 and 3 about 2 vary by 1, and all of 0, 2, 2, 4 by 2.
  # {0, 2}: means 1 and 1 do not vary.
  found = subset_scores.h_score_of_subsets(
    [[0.0], [2], [2], [4], [1], [1]],
    [0, 0, 1, 1, 2, 2],
    np.array([[True, True, False], [True, False, True]]),
  )
  np.testing.assert_allclose(found, [0.5, 0], atol=1e-12)


@each_score
@pytest.mark.parametrize("count", [1, 7, 300])
def test_equal_to_the_score_of_each_subset(name, count, rng, device_count):
  values, labels = sample(name, rng)
  chosen = masks(rng, count)
  found = FUNCTIONS[name](values, labels, chosen)
  assert found.shape == (count,)
  assert found.dtype == np.float64
  oracle = one_by_one(oracles.ORACLES[name], values, labels, chosen)
  np.testing.assert_allclose(found, oracle, atol=1e-6)
  few = slice(0, 4)
  score = leep_jax.SCORES[name].function
  expected = one_by_one(score, values, labels, chosen[few])
  np.testing.assert_allclose(found[few], expected, atol=1e-6)


@each_score
def test_same_of_kept_outputs(name, rng, tmp_path, device_count):
  values, labels = sample(name, rng)
  chosen = masks(rng, 9)
  expected = FUNCTIONS[name](values, labels, chosen)
  field = "features" if name == "h_score" else "probs"
  outputs = leep_jax.Outputs.from_arrays(
    **{field: values}, labels=labels, num_classes=12
  )
  outputs.save(tmp_path / "kept")
  wide = leep_jax.Outputs.from_arrays(
    **{field: values.astype(np.float64)}, labels=labels, num_classes=12
  )
  placed = leep_jax.Outputs(
    storage.DeviceArrays(
      [
        (
          {field: values.reshape(programs.device_count(), -1, values.shape[1])},
          600,
        )
      ]
    ),
    labels,
    num_classes=12,
  )
  on_disk = leep_jax.Outputs.load(tmp_path / "kept")
  for kept in (outputs, on_disk, wide, placed, outputs.grouped(5)):
    found = subset_scores.OF_SUBSETS[name](kept, chosen)
    np.testing.assert_allclose(found, expected, atol=1e-6)


@each_score
def test_one_class_is_exactly_0(name, rng, one_device):
  values, labels = sample(name, rng)
  present = np.delete(np.eye(12, dtype=bool), 4, axis=0)
  assert not FUNCTIONS[name](values, labels, present).any()
  # One more class that never occurs makes no difference.
  present[:, 4] = True
  assert not FUNCTIONS[name](values, labels, present).any()


@each_score
def test_order_does_not_matter(name, rng, one_device):
  values, labels = sample(name, rng)
  chosen = masks(rng, 20)
  expected = FUNCTIONS[name](values, labels, chosen)
  order, turn, names = map(rng.permutation, (600, 20, 12))
  found = FUNCTIONS[name](
    values[order], names[labels[order]], chosen[turn][:, np.argsort(names)]
  )
  np.testing.assert_allclose(found, expected[turn], atol=1e-6)


@each_score
def test_classes_of_one_to_many_examples(name, rng, one_device):
  labels = np.repeat(np.arange(6), [1, 2, 63, 64, 65, 700])
  values, _ = sample(name, rng, n=len(labels), width=5)
  chosen = masks(rng, 30, classes=6)
  found = FUNCTIONS[name](values, labels, chosen)
  oracle = one_by_one(oracles.ORACLES[name], values, labels, chosen)
  np.testing.assert_allclose(found, oracle, atol=1e-6)


@each_score
def test_parts_do_not_show(name, rng, one_device, monkeypatch):
  values, labels = sample(name, rng)
  chosen = masks(rng, 50)
  expected = FUNCTIONS[name](values, labels, chosen)
  monkeypatch.setattr(subset_scores, "_AT_ONCE", 7)
  monkeypatch.setattr(subset_leep, "_BLOCK", 32)
  monkeypatch.setattr(subset_leep, "_CALL_BYTES", 1 << 12)
  monkeypatch.setattr(subset_scores, "_SCATTER_BYTES", 5 * 8 * 9**2)
  found = FUNCTIONS[name](values, labels, chosen)
  np.testing.assert_allclose(found, expected, atol=1e-6)


def test_leep_of_many_examples_is_as_exact(rng, one_device):
  n, width, classes = 200_000, 20, 10
  labels = rng.integers(0, classes, n)
  logits = rng.normal(size=(n, width)) + 2 * np.eye(width)[labels]
  probs = oracles.softmax(logits).astype(np.float32)
  chosen = masks(rng, 6, classes=classes)
  found = subset_scores.leep_of_subsets(probs, labels, chosen)
  oracle = one_by_one(oracles.leep, probs, labels, chosen)
  np.testing.assert_allclose(found, oracle, atol=1e-6)


@pytest.mark.parametrize("source", [0, 5])
def test_source_labels_without_mass_count_as_0(source, rng, one_device):
  values, labels = sample("leep", rng)
  values[labels < 6, source] = 0
  values /= values.sum(axis=1, keepdims=True)
  chosen = np.arange(12)[None] < [[6], [12]]
  found = subset_scores.leep_of_subsets(values, labels, chosen)
  oracle = one_by_one(oracles.leep, values, labels, chosen)
  np.testing.assert_allclose(found, oracle, atol=1e-6)


def test_constant_probabilities_give_the_entropy_of_labels():
  probs = np.full((300, 1000), 1e-3, np.float32)
  labels = np.repeat([0, 1, 2], 100)
  chosen = np.array([[True, True, False], [True, True, True]])
  found = subset_scores.leep_of_subsets(probs, labels, chosen)
  np.testing.assert_allclose(found, [-math.log(2), -math.log(3)], atol=1e-6)


@pytest.mark.parametrize("dtype", ["float32", "float64"])
def test_h_score_of_features_without_rank_in_some_subset(
  dtype, rng, one_device
):
  values, labels = sample("h_score", rng)
  values[labels < 3, 0] = 0  # as of a rectifier, about another mean
  values[labels >= 3, 0] += 100
  values[:, 1] = 7
  values[:, 3] = values[:, 2]
  values[:, 5] *= 1e-6
  values[:, 6] *= 1e6
  values = values.astype(dtype)
  chosen = masks(rng, 6)
  chosen[0] = np.arange(12) < 3
  found = subset_scores.h_score_of_subsets(values, labels, chosen)
  expected = one_by_one(leep_jax.h_score, values, labels, chosen)
  np.testing.assert_allclose(found, expected, rtol=1e-5, atol=1e-6)


def test_h_score_of_fewer_examples_than_features(rng, one_device):
  values, labels = sample("h_score", rng, n=90, width=40)
  chosen = masks(rng, 12)
  sizes = chosen[:, labels].sum(axis=1)
  assert (sizes <= 40).any()
  assert (sizes > 40).any()
  found = subset_scores.h_score_of_subsets(values, labels, chosen)
  oracle = one_by_one(oracles.h_score, values, labels, chosen)
  np.testing.assert_allclose(found, oracle, atol=1e-5)


def test_sums_of_outputs_are_shared(rng, one_device, monkeypatch):
  values, labels = sample("leep", rng)
  outputs = leep_jax.Outputs.from_arrays(
    probs=values, labels=labels, num_classes=12
  )
  outputs.sum_all((statistics.joint, statistics.dummy_label_counts))

  def refuse(*args, **kwargs):
    raise AssertionError("a pass over the outputs")

  monkeypatch.setattr(sums_lib, "sum_batches", refuse)
  subset_scores.nce_of(outputs, masks(rng, 3))
  subset_scores.leep_of(outputs, masks(rng, 3))
  with pytest.raises(AssertionError, match="a pass"):
    outputs.sum(statistics.correct, np.eye(12, values.shape[1], dtype="f4"))


EMPTY = [[True, True], [False, False]]
ABSENT = [[True, True, False], [False, False, True]]


@each_score
@pytest.mark.parametrize(
  ("chosen", "message"),
  [
    (EMPTY, "subset 1 of 2 is empty: it has no class"),
    (ABSENT, r"subset 1 of 2 has no example: none of its 1 class\(es\)"),
    ([[1, 0], [1, 1]], "subsets are int64, not booleans: are they lists"),
    ([True, False], r"subsets have shape \(2,\), not \[tasks, classes\]"),
    ([[True], [True]], "subsets have 1 columns, but labels contain 1"),
    ([[True], [True, False]], "subsets cannot be made an array"),
  ],
)
def test_bad_subsets(name, chosen, message):
  with pytest.raises(leep_jax.InputError, match=message):
    FUNCTIONS[name]([[1.0, 0], [0, 1]], [0, 1], chosen)


@each_score
def test_bad_subsets_of_outputs(name):
  field = "features" if name == "h_score" else "probs"
  values = {field: np.eye(2)}
  outputs = leep_jax.Outputs.from_arrays(**values, labels=[0, 1])
  with pytest.raises(
    leep_jax.InputError, match="3 columns, but outputs has 2 classes"
  ):
    subset_scores.OF_SUBSETS[name](outputs, [[True, True, True]])
  regression = leep_jax.Outputs.from_arrays(**values, targets=[0.5, 1])
  with pytest.raises(leep_jax.InputError, match="no classes to take subsets"):
    subset_scores.OF_SUBSETS[name](regression, [[True]])
  other = "probs" if name == "h_score" else "features"
  lacking = leep_jax.Outputs.from_arrays(**{other: np.eye(2)}, labels=[0, 1])
  with pytest.raises(leep_jax.InputError, match=f"outputs has no {field}"):
    subset_scores.OF_SUBSETS[name](lacking, [[True, True]])


def test_bad_values():
  chosen = [[True, True]]
  with pytest.raises(leep_jax.InputError, match="are these logits"):
    subset_scores.leep_of_subsets([[3.0, 1], [0, 1]], [0, 1], chosen)
  with pytest.raises(leep_jax.InputError, match="NaN or infinity"):
    subset_scores.h_score_of_subsets([[np.nan], [0]], [0, 1], chosen)
  with pytest.raises(leep_jax.InputError, match="2 rows, but there are 3"):
    subset_scores.nce_of_subsets([0, 1], [0, 1, 1], chosen)
