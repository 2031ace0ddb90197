"""Statistics: what is added up, padding, and the faults they count."""

import inspect

import jax.numpy as jnp
import numpy as np
import oracles
import pytest

from leep_jax import statistics

ALL = [
  function
  for _, function in inspect.getmembers(statistics, inspect.isfunction)
  if hasattr(function, "reads")
]


def batch(rng, n=20, padding=0):
  probs = oracles.softmax(rng.normal(size=(n + padding, 4)))
  features = rng.normal(size=(n + padding, 3))
  labels = rng.integers(0, 3, n + padding)
  if padding:  # whatever stands there must not matter
    probs[n:], features[n:], labels[n:] = 0, 7, 2
  weights = np.arange(n + padding) < n
  return statistics.Batch(
    labels=jnp.asarray(labels, jnp.int32),
    weights=jnp.asarray(weights, jnp.float32),
    probs=jnp.asarray(probs, jnp.float32),
    features=jnp.asarray(features, jnp.float32),
    num_classes=3,
  )


def arguments(function):
  if function is statistics.whitened_moments:
    return jnp.arange(3.0), jnp.eye(3)[:, :2]
  count = len(inspect.signature(function).parameters) - 1
  return (jnp.full((3, 4), 1 / 3),) * count


def first(big, n):
  fields = ("labels", "weights", "probs", "features")
  values = {f: getattr(big, f)[:n] for f in fields}
  return statistics.Batch(**values, num_classes=3)


@pytest.mark.parametrize("function", ALL, ids=lambda f: f.__name__)
def test_padding_adds_nothing(function, rng):
  if function is statistics.predictive:
    pytest.skip("maps examples, adds nothing up")
  padded = batch(rng, padding=5)
  extra = arguments(function)
  got, expected = function(padded, *extra), function(first(padded, 20), *extra)
  assert_close(got, expected)


def assert_close(got, expected):
  if isinstance(expected, dict):
    assert got.keys() == expected.keys()
    for key in expected:
      np.testing.assert_allclose(got[key], expected[key], atol=1e-5)
  else:
    np.testing.assert_allclose(got, expected, atol=1e-5)


def test_joint_adds_up_distributions(rng):
  examples = batch(rng)
  expected = oracles.joint(examples.probs, np.asarray(examples.labels), 3)
  np.testing.assert_allclose(statistics.joint(examples), expected, rtol=1e-6)


def test_dummy_labels_are_the_first_maximum():
  examples = statistics.Batch(
    labels=jnp.array([0, 1, 1]),
    weights=jnp.ones(3),
    probs=jnp.array([[0.4, 0.4, 0.2], [0.2, 0.4, 0.4], [0.3, 0.3, 0.4]]),
    num_classes=2,
  )
  np.testing.assert_array_equal(
    statistics.dummy_label_counts(examples), [[1, 0, 0], [0, 1, 1]]
  )


def test_moments_are_sums_of_products(rng):
  examples = batch(rng)
  sums = statistics.moments(examples)
  features = np.asarray(examples.features, np.float64)
  np.testing.assert_allclose(sums["gram"], features.T @ features, rtol=1e-5)
  for y in range(3):
    np.testing.assert_allclose(
      sums["class_sums"][y],
      features[np.asarray(examples.labels) == y].sum(0),
      rtol=1e-5,
    )


def test_faults_are_counted_by_kind():
  rows = [[0.5, 0.5], [2.0, 2.0], [2.0, -1.0], [np.nan, 1.0], [3.0, 3.0]]
  examples = statistics.Batch(
    labels=jnp.zeros(5, jnp.int32),
    weights=jnp.array([1.0, 1, 1, 1, 0]),  # the last one is padding
    probs=jnp.array(rows),
    num_classes=1,
  )
  faults = {k: float(v) for k, v in statistics.probs_faults(examples).items()}
  assert faults == {"not_finite": 1, "negative": 1, "off": 1, "off_sum": 4}
