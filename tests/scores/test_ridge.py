"""Leave-one-out ridge predictions against fits without each example."""

import jax
import jax.numpy as jnp
import marks
import numpy as np
import oracles
import pytest
import sklearn.linear_model

import leep_jax
from leep_jax import validation
from leep_jax.engine import programs, storage
from leep_jax.scores import head_predictions, probe, ridge, standardised


@pytest.fixture(params=["host", "device"])
def few(request, monkeypatch):
  """Runs a test with products of examples and with moments on devices."""
  monkeypatch.setattr(ridge, "_FEW", 1 << 22 if request.param == "host" else 0)
  return request.param


def clusters(rng, n=60, width=7, classes=3):
  labels = rng.integers(0, classes, n)
  centres = rng.normal(size=(classes, width))
  return centres[labels] + rng.normal(size=(n, width)), labels


def one_hot(labels):
  return (labels[:, None] == np.unique(labels)).astype(np.float64)


def held_out(features, labels=None, targets=None):
  return ridge.held_out(
    leep_jax.Outputs.from_arrays(
      features=features, labels=labels, targets=targets
    )
  )


def check(features, labels, *, near=1e-6):
  """Compares errors of all penalties, and predictions with the chosen one."""
  found = held_out(features, labels)
  expected = oracles.refits(features, one_hot(labels))
  errors = ((expected - one_hot(labels)) ** 2).sum(axis=2).mean(axis=1)
  np.testing.assert_allclose(found.errors, errors, rtol=near, atol=near)
  chosen = ridge.PENALTIES.index(found.penalty)
  assert errors[chosen] == pytest.approx(errors.min(), rel=near, abs=near)
  np.testing.assert_allclose(found.predictions, expected[chosen], atol=near)
  return found


def features_of(kind, rng):
  features, labels = clusters(rng)
  width = features.shape[1]
  match kind:
    case "correlated":
      features = features @ rng.normal(size=(width, width))
    case "nearly equal":
      features[:, 1] = features[:, 0] + 1e-5 * rng.normal(size=60)
    case "equal":
      features[:, 1] = features[:, 0]
    case "constant":
      features[:, :2] = [0.1, 1e6]
    case "large mean":
      features = 1e-2 * features + 100 * np.arange(width)
    case "units":
      features = features * 10.0 ** np.linspace(-6, 6, width)
    case "large":
      features = features * 1e25
    case "copies of examples":
      features[30:] = features[:30]
    case "one feature":
      features = features[:, :1]
    case "zero":
      features = 0 * features
    case "imbalanced":
      labels = (np.arange(60) > 55).astype(int)
      features = features + labels[:, None]
    case "one example of a class":
      labels = np.arange(60) % 2
      labels[5] = 2
  return features, labels


@pytest.mark.parametrize(
  "kind",
  [
    "plain",
    "correlated",
    "nearly equal",
    "equal",
    "constant",
    "large mean",
    "units",
    "large",
    "copies of examples",
    "one feature",
    "zero",
    "imbalanced",
    "one example of a class",
  ],
)
def test_predictions_are_those_of_fits_without_each_example(kind, few, rng):
  features, labels = features_of(kind, rng)
  check(features.astype(np.float32), labels)


@pytest.mark.parametrize("dtype", [np.float16, jnp.bfloat16, np.float64])
def test_types_of_features(dtype, few, rng):
  features, labels = clusters(rng)
  rounded = features.astype(dtype)
  check(rounded, labels)
  if dtype == np.float64:
    # Digits that float32 does not have.
    check(features + 1e6, labels)


@pytest.mark.parametrize(("n", "width"), [(20, 20), (20, 50), (21, 20), (2, 3)])
def test_fewer_examples_than_features(n, width, few, rng):
  features, _ = clusters(rng, n, width)
  # An example that alone decides a direction is predicted with fewer digits by
  # float32 sums.
  check(features, np.arange(n) % 2, near=1e-3 if n > width else 1e-6)


@pytest.mark.parametrize("count", [*marks.exhaustive(1), 3, 8])
def test_devices(count, rng, monkeypatch):
  monkeypatch.setattr(ridge, "_FEW", 0)
  features, labels = clusters(rng, n=61)
  with programs.limit(count):
    check(features, labels)


def test_two_examples_of_one_feature(few):
  found = held_out([[0.0], [1.0]], [0, 1])
  # All that is known of the other class is the other example.
  np.testing.assert_allclose(found.predictions, [[0, 1], [1, 0]], atol=1e-4)


def test_one_class_is_predicted_exactly(few, rng):
  features, labels = clusters(rng)
  found = held_out(features, 0 * labels)
  np.testing.assert_allclose(found.predictions, 1, atol=1e-6)
  np.testing.assert_allclose(found.errors, 0, atol=1e-12)


def test_one_example_is_undefined():
  with pytest.raises(validation.UndefinedScore, match="at least 2 examples"):
    held_out([[0.0]], [0])


@pytest.mark.parametrize(("n", "width"), [(60, 7), (300, 7), (40, 50)])
def test_scikit_learn_predicts_the_same(n, width, rng):
  features, labels = clusters(rng, n, width, classes=2)
  scaled = (features - features.mean(axis=0)) / features.std(axis=0)
  model = sklearn.linear_model.RidgeClassifierCV(
    n * np.array(ridge.PENALTIES), store_cv_results=True
  ).fit(scaled, labels)
  found = held_out(features, labels)
  assert model.alpha_ == pytest.approx(n * found.penalty)
  # Of labels -1 and 1, in one column.
  errors = model.cv_results_.reshape(n, -1).mean(axis=0)
  np.testing.assert_allclose(4 * found.errors / 2, errors, rtol=1e-6)
  chosen = ridge.PENALTIES.index(found.penalty)
  squares = model.cv_results_.reshape(n, -1)[:, chosen]
  ours = 2 * found.predictions[:, 1] - 1
  sign = np.where(labels == 1, 1, -1)
  np.testing.assert_allclose((ours - sign) ** 2, squares, atol=1e-5)


@pytest.mark.parametrize(("n", "width"), [(60, 7), (30, 40)])
def test_several_targets(n, width, few, rng):
  features = rng.normal(size=(n, width))
  targets = features[:, :3] @ rng.normal(size=(3, 3))
  targets = targets + 0.5 * rng.normal(size=(n, 3))
  targets = targets * [1, 1e3, 1e-3] + [0, 1e4, 0]
  deviations = targets - targets.mean(axis=0)
  unit = np.abs(deviations).max(axis=0)
  expected = oracles.best_refit(features, deviations / unit)
  found = held_out(features, targets=targets)
  standard = (found.predictions - targets.mean(axis=0)) / unit
  np.testing.assert_allclose(standard, expected, atol=1e-6)


def test_features_that_say_nothing(few, rng):
  # 43 examples of each of two classes: shares that six digits round either way.
  labels = rng.permutation(np.repeat([3, 1, 2], [43, 43, 42]))
  features = np.zeros((128, 4), np.float32)
  assert leep_jax.probe_accuracy(features, labels) == 43 / 128
  outputs = leep_jax.Outputs.from_arrays(features=features, labels=labels)
  assert set(head_predictions.judged(outputs).predicted) == {1}
  value = leep_jax.probe_log_loss(features, labels)
  assert -1.2 < value < -1.09
  assert leep_jax.probe_balanced_accuracy(features, labels) == pytest.approx(
    1 / 3
  )


def test_predictions_do_not_depend_on_groups(rng):
  features, labels = clusters(rng, n=300)
  outputs = leep_jax.Outputs.from_arrays(features=features, labels=labels)
  assert ridge.held_out(outputs.grouped(7)) is ridge.held_out(outputs)


def test_blocks_of_features(rng, monkeypatch):
  features, labels = clusters(rng, 30, 64)
  monkeypatch.setattr(standardised, "_BLOCK", 5)
  check(features, labels)


@pytest.mark.parametrize("rows", [7, 1 << 14])
def test_predictions_in_a_file(rows, rng, monkeypatch):
  features, labels = clusters(rng, n=300)
  expected = leep_jax.probe_log_loss(features, labels)
  monkeypatch.setattr(ridge, "_FEW", 0)
  monkeypatch.setattr(ridge, "_IN_MEMORY", 1)
  monkeypatch.setattr(head_predictions, "_ROWS", rows)
  outputs = leep_jax.Outputs.from_arrays(features=features, labels=labels)
  assert isinstance(ridge.held_out(outputs).predictions, np.memmap)
  value = probe.log_loss_parts(outputs).value
  assert value == pytest.approx(expected, abs=1e-6)


def test_batches_with_padding(rng, monkeypatch):
  monkeypatch.setattr(ridge, "_FEW", 0)
  features, labels = clusters(rng, n=301)
  expected = held_out(features, labels).predictions
  monkeypatch.setattr(storage, "_CHUNK_BYTES", 1)
  with programs.limit(1):
    found = held_out(features, labels).predictions
  np.testing.assert_allclose(found, expected, atol=1e-6)


@pytest.mark.parametrize("n", marks.exhaustive(1_000_000))
def test_a_million_examples_are_streamed(n, rng, monkeypatch):
  labels = rng.integers(0, 4, n).astype(np.int32)
  features = rng.normal(size=(n, 8)).astype(np.float32)
  features[:, :4] += np.eye(4, dtype=np.float32)[labels]
  outputs = leep_jax.Outputs.from_arrays(features=features, labels=labels)
  on_devices = []
  monkeypatch.setattr(ridge, "_FEW", 0)
  original = storage.on_host

  def spy(array):
    on_devices.append(sum(x.nbytes for x in jax.live_arrays()))
    return original(array)

  monkeypatch.setattr(storage, "on_host", spy)
  with programs.limit(1):
    found = ridge.held_out(outputs)
  assert len(on_devices) > 5
  assert max(on_devices) < 16e6  # features are 32e6, predictions 16e6
  # 200 examples by fits without them, of moments in float64.
  scaled = (features - features.mean(axis=0, dtype=float)) / features.std(
    axis=0, dtype=float
  )
  inputs = np.concatenate([np.ones((n, 1)), scaled], axis=1)
  targets = one_hot(labels)
  matrix = inputs.T @ inputs
  matrix[1:, 1:] += n * found.penalty * np.eye(8)
  right = inputs.T @ targets
  for i in range(0, n, n // 200):
    x = inputs[i]
    beta = np.linalg.solve(
      matrix - np.outer(x, x), right - np.outer(x, targets[i])
    )
    np.testing.assert_allclose(found.predictions[i], x @ beta, atol=1e-6)
