"""PACTran: bounds of the log evidence, and how they depend on steps."""

import numpy as np
import oracles
import pytest
import scipy.special

import leep_jax


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
