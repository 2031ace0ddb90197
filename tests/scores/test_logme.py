"""LogME where its digits are hard to keep."""

import cases
import numpy as np
import oracles
import pytest

import leep_jax
from leep_jax.scores import (
  logme as logme_lib,
)


@pytest.mark.parametrize("n", [100, 300])
@pytest.mark.parametrize("change", ["offset", "spectrum", "sorted"])
def test_logme_of_ill_conditioned_features(n, change, rng):
  features, labels = cases.example("logme", rng, n=n, width=32)
  if change == "offset":
    features = features + 100
  if change == "spectrum":
    features = features * np.logspace(-3, 3, 32)
  if change == "sorted":
    features = features + 100.0 * labels[:, None]
  features = features.astype(np.float32)
  expected = oracles.logme(features, labels)
  assert leep_jax.logme(features, labels) == pytest.approx(expected, abs=2e-6)


def test_logme_has_the_higher_of_two_maxima(rng):
  # In 5 of these 5,000 the highest point of a coarse grid is by the lower one.
  ratios = np.logspace(-15, 15, 2001)
  for _ in range(100):
    values = np.exp(4 * rng.normal(size=5))
    inside = np.exp(3 * rng.normal(size=(50, 5)))
    outside = 10 * np.exp(rng.normal(size=50))
    odds = values / ratios[:, None]
    noise = (outside[:, None] + inside @ (1 / (1 + odds)).T) / 100
    fit = np.log(2 * np.pi * np.e * noise)
    some = -0.5 * (fit + np.log1p(odds).sum(axis=1) / 100)
    found = logme_lib.max_log_evidence(values, inside, outside, 100)
    assert np.all(found > some.max(axis=1) - 1e-9)


def test_an_infinite_logme_leaves_the_other_scores(rng):
  labels = np.array([0, 1, 0, 1])
  outputs = leep_jax.Outputs.from_arrays(
    probs=np.eye(2)[labels], features=np.eye(2)[labels], labels=labels
  )
  values = leep_jax.compute_scores(outputs, names=["leep", "logme"])
  assert values == {"leep": 0, "logme": None}


def test_logme_of_features_that_hold_the_answer():
  with pytest.raises(leep_jax.InputError, match="infinite: 2 dimensions .*fit"):
    leep_jax.logme(np.eye(2)[[0, 1, 0, 1]], [0, 1, 0, 1])
  with pytest.raises(leep_jax.InputError, match="infinite: .* fit target 0"):
    leep_jax.logme([[1.0], [2.0], [3.0]], None, targets=[2, 4, 6])
  with pytest.raises(leep_jax.InputError, match="infinite: all targets are 0"):
    leep_jax.logme([[1.0], [2.0], [3.0]], None, targets=[0, 0, 0])


def exact_logme(features, targets):
  """By singular values, with what is left of the targets projected twice."""
  u, singular, _ = np.linalg.svd(
    features.astype(np.float64), full_matrices=False
  )
  left = targets - u @ (u.T @ targets)
  left -= u @ (u.T @ left)
  return logme_lib.max_log_evidence(
    singular**2, (u.T @ targets).T ** 2, (left**2).sum(0), len(features)
  ).mean()


@pytest.mark.parametrize("apart", [30, 1000])
@pytest.mark.parametrize("order", ["random", "sorted"])
def test_logme_of_classes_far_apart(apart, order, rng, device_count):
  labels = rng.integers(0, 4, 2000)
  if order == "sorted":
    labels = np.sort(labels)
  features = rng.normal(size=(2000, 20))
  features += apart * rng.normal(size=(4, 20))[labels]
  features = features.astype(np.float32)
  # The residuals are a millionth of the features' squares: their float32 sums
  # are off by up to 5e-6, depending on the processor.
  assert leep_jax.logme(features, labels) == pytest.approx(
    exact_logme(features, np.eye(4)[labels]), abs=1e-5
  )


@pytest.mark.parametrize("offset", [1e4, 1e7])
def test_logme_of_float64_features_with_an_offset(offset, rng):
  labels = rng.integers(0, 3, 400)
  features = rng.normal(size=(400, 10)) + np.eye(10)[labels] + offset
  assert leep_jax.logme(features, labels) == pytest.approx(
    exact_logme(features, np.eye(3)[labels]), abs=1e-6
  )


def test_logme_of_targets_with_an_offset(rng):
  features = np.append(rng.normal(size=(500, 5)), np.ones((500, 1)), axis=1)
  features = features.astype(np.float32)
  targets = features[:, :2] + rng.normal(size=(500, 2)) + 1e6
  assert leep_jax.logme(features, None, targets=targets) == pytest.approx(
    exact_logme(features, targets), abs=1e-6
  )
