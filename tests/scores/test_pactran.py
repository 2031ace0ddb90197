"""PACTran: bounds of the log evidence, and how they depend on steps."""

import numpy as np
import oracles
import pytest
import scipy.special

import leep_jax
from leep_jax.scores import softmax_head


def evidence(probs, labels, weights):
  """Log of the mean likelihood of drawn weights `[draws, Z, Y]`, over n."""
  odds = np.einsum("iz,dzy->diy", probs, weights)
  logs = np.log(odds[:, np.arange(len(labels)), labels] / odds.sum(axis=2))
  logs = scipy.special.logsumexp(logs.sum(axis=1)) - np.log(len(weights))
  return logs / len(labels)


def test_scores_are_bounds_of_the_evidence(rng):
  labels = np.array([0, 0, 1, 0, 1, 1, 1, 0])
  probs = oracles.softmax(rng.normal(size=(8, 3)) + 2 * np.eye(3)[labels])
  weights = rng.dirichlet([0.5, 0.5], size=(100_000, 3))
  drawn = evidence(probs, labels, weights)
  value = leep_jax.pactran_dirichlet(probs, labels)
  assert drawn - 0.1 < value < drawn + 0.005
  drawn = evidence(probs, labels, rng.gamma(0.5, size=(100_000, 3, 2)))
  value = leep_jax.pactran_gamma(probs, labels)
  assert drawn - 0.3 < value < drawn + 0.005


@pytest.mark.parametrize("name", ["pactran_dirichlet", "pactran_gamma"])
def test_steps_improve_the_bound(name, rng):
  labels = rng.integers(0, 5, 300)
  probs = oracles.softmax(rng.normal(size=(300, 20)) + 2 * np.eye(20)[labels])
  function = getattr(leep_jax, name)
  values = [function(probs, labels, steps=k) for k in (1, 2, 5, 10, 50)]
  assert np.all(np.diff(values) > 0)
  assert values[3] == pytest.approx(values[4], abs=0.03)


def test_a_larger_prior_costs_less_for_many_source_labels(rng):
  labels = rng.integers(0, 2, 100)
  probs = oracles.softmax(rng.normal(size=(100, 50)))
  values = [
    leep_jax.pactran_dirichlet(probs, labels, concentration=c)
    for c in (1, 10, 100)
  ]
  assert np.all(np.diff(values) > 0)
  # All source labels then have the distribution of the target labels.
  share = np.bincount(labels) / 100
  entropy = -(share * np.log(share)).sum()
  assert values[-1] == pytest.approx(-entropy, abs=0.02)


def test_a_strong_ridge_leaves_the_entropy_of_labels(rng):
  labels = rng.integers(0, 2, 100)
  features = rng.normal(size=(100, 3)) + labels[:, None]
  share = np.bincount(labels) / 100
  entropy = -(share * np.log(share)).sum()
  value = leep_jax.pactran_gaussian(
    features, labels, spread=1e-6, variance=1e-9
  )
  assert value == pytest.approx(-entropy, abs=1e-3)


@pytest.mark.parametrize("unit", [1.0, 1e3, 1e4])
def test_the_optimal_head_of_separable_classes_in_any_unit(unit, rng):
  labels = np.arange(40) % 4
  features = rng.normal(size=(40, 16)) + np.eye(16)[labels]
  outputs = leep_jax.Outputs.from_arrays(
    features=unit * features, labels=labels
  )
  found = softmax_head.optimum(outputs, ridge=0.25)
  # At the optimum, the derivative by the length of W is 0: the slope of the
  # loss along W is minus twice the penalty.
  head = found.head.copy()
  head[:, -1] = 0
  sums = outputs_sum(found, head)
  # The head is rounded to float32 in each pass.
  assert sums == pytest.approx(-found.ridge * found.squares, rel=0.05)


def outputs_sum(found, along):
  """The derivative of the mean loss at the optimum, along a direction."""
  slopes = found.outputs.sum(
    softmax_head.slopes, found.head.astype(np.float32)
  )["slope"]
  return np.sum(slopes * along) / len(found.outputs)
