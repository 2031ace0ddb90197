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
