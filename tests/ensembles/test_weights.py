"""The best weights of a mixture: the optimum, and what changes nothing."""

import numpy as np
from oracles import ensembles as oracle
import pytest

from leep_jax.ensembles import weights


def probabilities(rng, n=200, sources=4, sharpness=1.0):
  logits = sharpness * rng.normal(size=(n, sources))
  return 1 / (1 + np.exp(-logits))


def value(q, w):
  return np.log(q @ w).mean()


def test_by_hand():
  # 2 log(0.2 + 0.6 w) + log(0.8 - 0.6 w) is largest at w = 7/9.
  q = np.array([[0.8, 0.2], [0.8, 0.2], [0.2, 0.8]])
  found = weights.best(q)
  assert found.weights == pytest.approx([7 / 9, 2 / 9], abs=1e-9)
  assert found.value == pytest.approx(np.log([2 / 3, 2 / 3, 1 / 3]).mean())
  assert found.free == 1


@pytest.mark.parametrize("sharpness", [0.1, 1, 10, 100])
@pytest.mark.parametrize("sources", [1, 2, 5, 12])
def test_optimum_of_scipy(sharpness, sources, rng):
  q = probabilities(rng, sources=sources, sharpness=sharpness)
  found = weights.best(q)
  assert found.weights.sum() == pytest.approx(1, abs=1e-12)
  assert found.weights.min() >= 0
  assert found.gap <= 1e-9
  assert found.value == pytest.approx(value(q, found.weights), abs=1e-12)
  assert found.value >= value(q, oracle.stacking_weights(q)) - 1e-9
  # No weights are better, by any of a thousand others either.
  others = rng.dirichlet(np.ones(sources), 1000)
  assert np.log(q @ others.T).mean(axis=0).max() <= found.value + 1e-9


def test_weights_of_scipy(rng):
  q = probabilities(rng, n=500, sources=5)
  found = weights.best(q).weights
  assert found == pytest.approx(oracle.stacking_weights(q), abs=1e-4)


def test_order_changes_nothing(rng):
  q = probabilities(rng)
  found, order = weights.best(q), rng.permutation(4)
  assert weights.best(q[:, order]).weights.tolist() == (
    found.weights[order].tolist()
  )
  again = weights.best(q[rng.permutation(len(q))]).weights
  assert again == pytest.approx(found.weights, abs=1e-6)


def test_copies_share_a_weight(rng):
  q = probabilities(rng)
  found = weights.best(q)
  copied = weights.best(np.concatenate([q, q[:, :1], q[:, :1]], axis=1))
  assert copied.value == found.value
  assert copied.free == found.free
  assert copied.weights[1:4].tolist() == found.weights[1:].tolist()
  third = found.weights[0] / 3
  assert copied.weights[[0, 4, 5]] == pytest.approx([third] * 3, abs=1e-12)


def test_near_copies_have_an_optimum(rng):
  q = probabilities(rng)
  near = q[:, :1] * (1 + 1e-9 * rng.normal(size=(len(q), 3)))
  found = weights.best(np.concatenate([q, near], axis=1))
  assert found.gap <= 1e-9
  assert found.value == pytest.approx(weights.best(q).value, abs=1e-8)


def test_a_source_that_knows_less_of_every_example_gets_no_weight(rng):
  q = probabilities(rng)
  worse = q.max(axis=1, keepdims=True) * 0.5
  worse = np.minimum(worse, q.min(axis=1, keepdims=True) * 0.9)
  found = weights.best(np.concatenate([q, worse], axis=1))
  assert found.weights[-1] == pytest.approx(0, abs=1e-12)
  assert found.free <= 3


@pytest.mark.parametrize("seed", range(5))
def test_another_source_never_lowers_the_maximum(seed):
  rng = np.random.default_rng(seed)
  q = probabilities(rng, sources=6, sharpness=3)
  values = [weights.best(q[:, : i + 1]).value for i in range(6)]
  assert np.all(np.diff(values) >= -1e-9)


def test_probabilities_of_0(rng):
  # Each source is sure that some examples do not exist.
  q = probabilities(rng, sources=3)
  q[np.arange(len(q)), rng.integers(0, 3, len(q))] = 0
  found = weights.best(q)
  assert found.gap <= 1e-9
  assert found.weights.min() > 0
  assert found.value >= value(q, np.full(3, 1 / 3))


def test_probabilities_of_very_different_size(rng):
  q = np.exp(-rng.exponential(20, size=(300, 5)))
  found = weights.best(q)
  assert found.gap <= 1e-9
  assert found.value >= value(q, oracle.stacking_weights(q)) - 1e-9


def test_expectation_maximisation_where_newton_fails(rng, monkeypatch):
  q = probabilities(rng)
  expected = weights.best(q).value
  monkeypatch.setattr(weights, "_newton", lambda *_: None)
  monkeypatch.setattr(weights, "_STEPS", 3000)
  assert weights.best(q).value == pytest.approx(expected, abs=1e-6)


@pytest.mark.parametrize("sources", [2, 4])
def test_the_fit_is_too_high_by_free_weights_over_examples(sources, rng):
  # Against the likelihood of each example by weights fitted to the others.
  q = probabilities(rng, n=200, sources=sources, sharpness=2)
  found = weights.best(q)
  assert found.free == sources - 1
  rows = np.arange(len(q))
  each = [np.log(q[i] @ weights.best(q[rows != i]).weights) for i in rows]
  excess = found.value - np.mean(each)
  assert excess == pytest.approx(found.free / len(q), rel=0.15)
