"""TransRate: its precision eps."""

import cases
import numpy as np
import oracles
import pytest

import leep_jax


@pytest.mark.parametrize("eps", [1e-2, 10])
def test_eps_of_trans_rate(eps, rng):
  features, labels = cases.example("trans_rate", rng)
  moved = oracles.centred(features)
  expected = oracles.coding_rate(moved, eps)
  for y in range(5):
    share = np.mean(labels == y)
    expected -= share * oracles.coding_rate(moved[labels == y], eps)
  value = leep_jax.trans_rate(features, labels, eps=eps)
  assert value == pytest.approx(expected, rel=1e-6)


@pytest.mark.parametrize("scale", [1, 1e3, 1e5])
@pytest.mark.parametrize("n", [480, 900])
def test_large_features_of_few_examples(scale, n, rng):
  """Such a class has directions without variance."""
  mixing = rng.normal(size=(64, 64))
  features = np.maximum(rng.normal(size=(n, 64)) @ mixing, 0) * scale
  features = features.astype(np.float32)
  labels = np.arange(n) % 10
  expected = oracles.trans_rate(features, labels)
  assert leep_jax.trans_rate(features, labels) == pytest.approx(
    expected, rel=1e-5
  )


def test_features_whose_squares_overflow(rng):
  features = rng.normal(size=(480, 64)) * 1e200
  with pytest.raises(leep_jax.InputError, match="beyond float32"):
    leep_jax.trans_rate(features, np.arange(480) % 10)
