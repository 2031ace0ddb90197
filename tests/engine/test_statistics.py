"""Statistics: what is added up, padding, and the faults they count."""

import inspect

import jax.numpy as jnp
import numpy as np
import oracles
import pytest

from leep_jax.engine import statistics
from leep_jax.scores import (
  class_means,
  discriminant,
  gaussian_mixture,
  gbc,
  held_out_sums,
  label_sets,
  logme,
  n_leep,
  pactran,
  sfda,
  softmax_head,
)

ALL = [
  function
  for module in (
    statistics,
    class_means,
    discriminant,
    gaussian_mixture,
    gbc,
    held_out_sums,
    label_sets,
    logme,
    n_leep,
    pactran,
    sfda,
    softmax_head,
  )
  for _, function in inspect.getmembers(module, inspect.isfunction)
  if hasattr(function, "reads")
]
# What some take after the batch, for 3 classes, 4 source classes, 3 features,
# mixtures of 4 Gaussians, and a head.
TABLE = jnp.full((3, 4), 1 / 3)
MIXTURE = (jnp.log(jnp.full(4, 0.25)), jnp.eye(4)[:, :3], jnp.full((4, 3), 2.0))
HEAD = jnp.linspace(-1.0, 1.0, 12).reshape(3, 4)
ARGUMENTS = {
  statistics.spread: (jnp.full(4, 0.25),),
  statistics.log_likelihood: (TABLE,),
  statistics.responsibilities: (TABLE,),
  statistics.correct: (TABLE,),
  **dict.fromkeys(
    (
      held_out_sums.log_likelihood,
      held_out_sums.responsibilities,
    ),
    (*(9 * TABLE,) * 3, jnp.full(4, 0.5), jnp.full(3, 0.3)),
  ),
  held_out_sums.mass_of_the_rest: (TABLE,),
  **dict.fromkeys(
    (label_sets.label_log_likelihood, label_sets.label_responsibilities),
    (jnp.stack([TABLE[:2], 1 - TABLE[:2]], axis=1),),
  ),
  statistics.whitened_moments: (jnp.arange(3.0), jnp.eye(3)[:, :2]),
  statistics.norm_moments: (jnp.arange(3.0),),
  gbc.class_squares: (
    jnp.arange(3.0),
    jnp.eye(3)[:, :2],
    jnp.ones((3, 2)),
  ),
  logme.residuals: (
    jnp.arange(3.0),
    jnp.eye(3)[:, :2],
    jnp.ones((2, 2)),
    jnp.ones(2),
  ),
  discriminant.true_probability: (jnp.arange(3.0), jnp.eye(3), jnp.arange(3.0)),
  sfda.mixed_moments: (
    jnp.arange(3.0),
    jnp.eye(3)[:, :2],
    jnp.eye(3)[:2],
    jnp.arange(3.0),
    jnp.ones((3, 2)),
  ),
  sfda.mixed_probability: (
    jnp.arange(3.0),
    *(jnp.eye(3), jnp.arange(3.0)) * 2,
    jnp.eye(3),
  ),
  pactran.assignments: (jnp.log(TABLE),),
  pactran.scaled_assignments: (jnp.log(TABLE), jnp.arange(1.0, 5.0)),
  softmax_head.slopes: (HEAD,),
  softmax_head.curvature: (HEAD, HEAD[::-1]),
  softmax_head.trace_slopes: (HEAD, jnp.arange(3.0), jnp.ones(3)),
  softmax_head.outcome: (HEAD, jnp.arange(3.0), jnp.ones(3), HEAD[::-1]),
  gaussian_mixture.expectation: tuple(jnp.stack([x, 2 * x]) for x in MIXTURE),
  n_leep.mixture_joint: MIXTURE,
  n_leep.mixture_log_likelihood: (*MIXTURE, TABLE),
  n_leep.mixture_responsibilities: (*MIXTURE, TABLE),
}


def batch(rng, n=20, padding=0):
  probs = oracles.softmax(rng.normal(size=(n + padding, 4)))
  features = rng.normal(size=(n + padding, 3))
  targets = rng.normal(size=(n + padding, 2))
  labels = rng.integers(0, 3, n + padding)
  if padding:  # whatever stands there must not matter
    probs[n:], features[n:], targets[n:], labels[n:] = 0, 7, 9, 2
  weights = np.arange(n + padding) < n
  return statistics.Batch(
    labels=jnp.asarray(labels, jnp.int32),
    weights=jnp.asarray(weights, jnp.float32),
    probs=jnp.asarray(probs, jnp.float32),
    features=jnp.asarray(features, jnp.float32),
    targets=jnp.asarray(targets, jnp.float32),
    num_classes=3,
  )


def first(big, n):
  fields = ("labels", "weights", "probs", "features", "targets")
  values = {f: getattr(big, f)[:n] for f in fields}
  return statistics.Batch(**values, num_classes=3)


@pytest.mark.parametrize("function", ALL, ids=lambda f: f.__name__)
def test_padding_adds_nothing(function, rng):
  padded = batch(rng, padding=5)
  extra = ARGUMENTS.get(function, ())
  got, expected = function(padded, *extra), function(first(padded, 20), *extra)
  assert_close(got, expected)


@pytest.mark.parametrize("function", ALL, ids=lambda f: f.__name__)
def test_sums_of_halves_add_up(function, rng):
  whole = batch(rng)
  half = first(whole, 8)
  rest = statistics.Batch(
    **{
      f: getattr(whole, f)[8:]
      for f in ("labels", "weights", "probs", "features", "targets")
    },
    num_classes=3,
  )
  extra = ARGUMENTS.get(function, ())
  parts = [as_dict(function(part, *extra)) for part in (half, rest)]
  added = {key: parts[0][key] + parts[1][key] for key in parts[0]}
  assert_close(added, as_dict(function(whole, *extra)))


def as_dict(sums):
  if not isinstance(sums, dict):
    return {"sum": sums}
  inner = sums.get("gradient", {})
  return {k: v for k, v in sums.items() if k != "gradient"} | inner


def assert_close(got, expected):
  got, expected = as_dict(got), as_dict(expected)
  assert got.keys() == expected.keys()
  for key in expected:
    np.testing.assert_allclose(got[key], expected[key], rtol=1e-5, atol=1e-5)


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
  targets = np.asarray(examples.targets, np.float64)
  np.testing.assert_allclose(sums["gram"], features.T @ features, rtol=1e-5)
  np.testing.assert_allclose(sums["cross"], targets.T @ features, rtol=1e-5)
  for y in range(3):
    np.testing.assert_allclose(
      sums["class_sums"][y],
      features[np.asarray(examples.labels) == y].sum(0),
      rtol=1e-5,
    )


def test_higher_moments_are_about_the_mean(rng):
  examples = batch(rng)
  mean = np.array([1.0, 2.0, 3.0])
  sums = statistics.norm_moments(examples, jnp.asarray(mean, jnp.float32))
  moved = np.asarray(examples.features, np.float64) - mean
  square = (moved**2).sum(axis=1)
  np.testing.assert_allclose(sums["third"], square @ moved, rtol=1e-5)
  np.testing.assert_allclose(sums["fourth"], square @ square, rtol=1e-5)


def test_responsibilities_are_shares_of_examples(rng):
  # Those of one example add up to 1, so those of a label to its count.
  examples = batch(rng)
  table = jnp.asarray(oracles.softmax(rng.normal(size=(4, 3))).T, jnp.float32)
  found = statistics.responsibilities(examples, table)
  counts = np.bincount(examples.labels, minlength=3)
  np.testing.assert_allclose(found["parts"].sum(axis=1), counts, rtol=1e-5)
  assert found["log_likelihood"] == pytest.approx(
    statistics.log_likelihood(examples, table)
  )


def test_responsibilities_are_the_gradient_of_the_log_likelihood(rng):
  examples = batch(rng)
  table = np.full((3, 4), 1 / 3)
  parts = statistics.responsibilities(examples, TABLE)["parts"]
  step = 1e-2
  up, down = table.copy(), table.copy()
  up[1, 2] *= 1 + step
  down[1, 2] *= 1 - step

  def log_likelihood(table):
    probs = np.asarray(examples.probs, np.float64)
    return np.log((probs * table[examples.labels]).sum(axis=1)).sum()

  slope = (log_likelihood(up) - log_likelihood(down)) / (2 * step)
  assert parts[1, 2] == pytest.approx(slope, rel=1e-3)


def test_largest_probabilities(rng):
  examples = batch(rng)
  expected = np.log(np.asarray(examples.probs, np.float64).max(axis=1)).sum()
  assert statistics.log_largest(examples) == pytest.approx(expected)


def test_faults_are_counted_by_kind():
  rows = [[0.5, 0.5], [2.0, 2.0], [2.0, -1.0], [np.nan, 1.0], [3.0, 3.0]]
  examples = statistics.Batch(
    labels=jnp.zeros(5, jnp.int32),
    weights=jnp.array([1.0, 1, 1, 1, 0]),  # the last one is padding
    probs=jnp.array(rows),
    num_classes=1,
  )
  faults = {k: float(v) for k, v in statistics.probs_faults(examples).items()}
  assert faults == {
    "not_finite": 1,
    "negative": 1,
    "off": 1,
    "off_sum": 4,
    "above": 1,
  }
