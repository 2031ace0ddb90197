"""Scores of tasks together equal those of each alone."""

import numpy as np
import pytest

import leep_jax
from leep_jax import tasks
from leep_jax.tasks import task_scores

NAMES = ["leep", "nce", "h_score", "logme"]


@pytest.fixture(scope="module")
def outputs():
  rng = np.random.default_rng(0)
  labels = rng.permutation(np.arange(600) % 8)
  logits = rng.normal(size=(600, 12)) * 2
  logits[np.arange(600), labels] += 2
  features = rng.normal(size=(8, 6))[labels] + rng.normal(size=(600, 6))
  return leep_jax.Outputs.from_arrays(
    logits=logits.astype(np.float32),
    features=features.astype(np.float32),
    labels=labels,
    num_classes=9,  # one that never occurs
  )


SPEC = (
  "subsets(count=6,classes=2..8)+small(count=4,classes=3,examples=20)"
  "+imbalanced(count=4,minority=5..10)"
  "+label_noise(count=3,classes=4,examples=15,fraction=[0,0.2,0.5])"
)


def test_equal_to_each_alone(outputs, device_count):
  test_labels = np.arange(80) % 8
  chosen = tasks.parse(SPEC, outputs.labels, test_labels, seed=3)
  done = []
  found = task_scores.score_tasks(
    outputs, chosen, names=NAMES, on_row=lambda *x: done.append(x)
  )
  assert done == list(enumerate(found))
  for task, row in zip(chosen, found, strict=True):
    own = leep_jax.Outputs.from_arrays(
      probs=outputs.probs[task.train],
      features=outputs.features[task.train],
      labels=task.train_labels(outputs.labels),
    )
    expected = leep_jax.compute_scores(own, names=NAMES)
    assert list(row) == NAMES
    for name in NAMES:
      assert row[name] == pytest.approx(expected[name], abs=1e-5), task.name
    assert row["leep"] == pytest.approx(expected["leep"], abs=1e-6)


def test_a_source_without_probabilities_or_features(outputs):
  test_labels = np.arange(80) % 8
  chosen = tasks.parse("small(count=2)", outputs.labels, test_labels, seed=0)
  only = leep_jax.Outputs.from_arrays(
    probs=outputs.probs, labels=outputs.labels
  )
  rows = task_scores.score_tasks(only, chosen, names=["leep", "h_score"])
  assert [row["h_score"] for row in rows] == [None, None]
  assert all(row["leep"] < 0 for row in rows)
  only = leep_jax.Outputs.from_arrays(
    features=outputs.features, labels=outputs.labels
  )
  for spec in ("small(count=2)", "subsets(count=2)"):
    chosen = tasks.parse(spec, outputs.labels, test_labels, seed=0)
    rows = task_scores.score_tasks(only, chosen, names=["leep", "h_score"])
    assert [row["leep"] for row in rows] == [None, None]
    assert all(row["h_score"] > 0 for row in rows)


def test_unknown_scores_are_told(outputs):
  with pytest.raises(leep_jax.InputError, match="did you mean leep"):
    task_scores.score_tasks(outputs, [], names=["leap"])
