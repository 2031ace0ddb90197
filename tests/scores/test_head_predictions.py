"""What a new head is expected to predict: classes, probabilities, betas."""

import numpy as np
import oracles
import pytest
import scipy.special

import leep_jax
from leep_jax import validation
from leep_jax.scores import head_predictions


def example(rng, n=300, classes=4, noise=1.0):
  """Labels that skip some numbers, with unequal shares."""
  codes = rng.choice(classes, n, p=np.arange(1, classes + 1) / 10)
  centres = rng.normal(size=(classes, 6))
  features = centres[codes] + noise * rng.normal(size=(n, 6))
  return features, 3 * codes + 2


def outputs_of(features, labels):
  return leep_jax.Outputs.from_arrays(
    features=features, labels=labels, num_classes=20
  )


def test_predictions_equal_refits(rng):
  features, labels = example(rng)
  found = leep_jax.probe_predictions(outputs_of(features, labels))
  scores, one_hot = oracles.head_scores(features, labels)
  classes = np.unique(labels)
  np.testing.assert_array_equal(found.classes, classes)
  np.testing.assert_array_equal(found.labels, labels)
  np.testing.assert_array_equal(found.predicted, classes[scores.argmax(axis=1)])
  betas = oracles.held_out_betas(scores, one_hot)
  expected = scipy.special.softmax(betas[:, None] * scores, axis=1)
  np.testing.assert_allclose(found.probabilities, expected, atol=1e-5)
  np.testing.assert_allclose(found.probabilities.sum(axis=1), 1, atol=1e-6)
  assert found.probabilities.min() >= 0


def test_scores_are_those_of_the_predictions(rng):
  outputs = outputs_of(*example(rng))
  found = leep_jax.probe_predictions(outputs)
  names = ("probe_accuracy", "probe_log_loss", "probe_balanced_accuracy")
  scores = leep_jax.compute_scores(outputs, names=names)
  right = found.predicted == found.labels
  assert 0.5 < right.mean() < 1
  assert scores["probe_accuracy"] == pytest.approx(right.mean())
  recall = [right[found.labels == y].mean() for y in found.classes]
  assert scores["probe_balanced_accuracy"] == pytest.approx(np.mean(recall))
  np.testing.assert_allclose(found.recall, recall)
  assert scores["probe_log_loss"] == pytest.approx(
    -found.surprise.mean(), abs=1e-6
  )


def test_confusion_counts_pairs(rng):
  found = leep_jax.probe_predictions(outputs_of(*example(rng)))
  for i, y in enumerate(found.classes):
    for j, other in enumerate(found.classes):
      count = np.sum((found.labels == y) & (found.predicted == other))
      assert found.confusion[i, j] == count
  assert found.confusion.sum() == 300
  assert np.trace(found.confusion) < 300


def test_wrong_labels_are_surprising(rng):
  features, labels = example(rng, noise=0.2)
  wrong = np.array([5, 80, 200])
  labels[wrong] = np.where(labels[wrong] == 2, 5, 2)
  found = leep_jax.probe_predictions(outputs_of(features, labels))
  assert set(found.surprising(count=3)) == set(wrong)
  every = found.surprising(count=300)
  np.testing.assert_array_equal(
    np.sort(every), np.flatnonzero(found.predicted != labels)
  )
  assert np.all(np.diff(found.surprise[every]) <= 0)


def test_a_probability_of_0_has_a_surprise():
  found = head_predictions.ProbePredictions(
    np.array([0]), np.array([0, 1]), np.array([[0.0, 1.0]]), np.array([1])
  )
  assert np.isfinite(found.surprise).all()


@pytest.mark.parametrize("noise", [0.7, 2.0])
def test_probabilities_are_calibrated(noise, rng):
  features, labels = example(rng, n=3000, noise=noise)
  found = leep_jax.probe_predictions(outputs_of(features, labels))
  right = found.predicted == found.labels
  sure = found.probabilities.max(axis=1)
  assert sure.mean() == pytest.approx(right.mean(), abs=0.05)
  # Also for half of the examples: those predicted with least certainty.
  unsure = sure < np.median(sure)
  assert sure[unsure].mean() == pytest.approx(right[unsure].mean(), abs=0.08)


@pytest.mark.parametrize(("n", "near"), [(60, 0.005), (300, 2e-4)])
def test_betas_are_near_those_of_the_other_examples(n, near, rng):
  scores, one_hot = oracles.head_scores(*example(rng, n=n))
  exact = oracles.held_out_betas(scores, one_hot, short=0)
  found = head_predictions._without_each(
    oracles.best_beta(scores, one_hot), scores, one_hot.argmax(axis=1)
  )
  assert not np.array_equal(found, exact)

  def log_loss(betas):
    return np.sum(oracles.log_softmax(scores, betas) * one_hot) / n

  assert log_loss(found) == pytest.approx(log_loss(exact), abs=near)


def test_one_wrong_example_does_not_hide_itself(rng):
  # Without it, all are predicted correctly, and beta has no bound but 50.
  scores, codes = np.zeros((20, 2)), np.arange(20) % 2
  scores[np.arange(20), codes] = 1
  scores[3] = [0.6, 0.4]
  best = head_predictions._best_beta(scores, codes)
  betas = head_predictions._without_each(best, scores, codes)
  assert best < 30
  assert betas[3] == 50
  assert np.all(np.delete(betas, 3) <= best)


def test_beta_of_useless_scores_is_0():
  scores, codes = np.zeros((10, 2)), np.arange(10) % 2
  scores[np.arange(10), 1 - codes] = 1
  assert head_predictions._best_beta(scores, codes) == pytest.approx(
    0, abs=1e-6
  )


def test_beta_may_be_fitted_to_some(rng, monkeypatch):
  features, labels = example(rng, n=3000)
  expected = leep_jax.probe_log_loss(features, labels)
  monkeypatch.setattr(head_predictions, "_MOST", 4 * 1000)
  monkeypatch.setattr(head_predictions, "_MOST_EXAMPLES", 1)
  outputs = outputs_of(features, labels)
  betas = head_predictions.judged(outputs).betas
  # The others are predicted with the beta of those.
  values, counts = np.unique(betas, return_counts=True)
  assert 1900 < counts.max() < 2100
  assert values[counts.argmax()] == pytest.approx(np.median(betas))
  assert leep_jax.probe_log_loss(features, labels) == pytest.approx(
    expected, abs=1e-3
  )


@pytest.mark.parametrize("period", [2, 5, 64])
def test_examples_for_beta_are_of_all_classes(period):
  used = head_predictions._some(100_000, 5000)
  assert used.sum() == pytest.approx(5000, rel=0.1)
  counts = np.bincount(np.arange(100_000)[used] % period)
  assert counts.min() > 0.5 * counts.mean()


@pytest.mark.parametrize(
  ("arrays", "message"),
  [
    ({"probs": [[1.0]] * 3, "labels": [0, 0, 0]}, "has no features"),
    ({"features": [[1.0], [2], [3]], "targets": [1, 2, 3]}, "has no labels"),
  ],
)
def test_what_predictions_need(arrays, message):
  outputs = leep_jax.Outputs.from_arrays(**arrays)
  with pytest.raises(leep_jax.InputError, match=message):
    leep_jax.probe_predictions(outputs)


def test_one_example_has_no_predictions():
  with pytest.raises(validation.UndefinedScore, match="at least 2 examples"):
    leep_jax.probe_predictions(outputs_of([[1.0]], [0]))
