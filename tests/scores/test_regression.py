"""The scores of real-valued targets."""

import cases
import numpy as np
import oracles
import pytest

import leep_jax


def test_lab_mse_is_lin_mse_of_the_outputs(rng):
  probs, targets = cases.Case("lab_mse", "targets").example(rng, n=50)
  assert leep_jax.lab_mse(probs, targets) == leep_jax.lin_mse(probs, targets)
  # A regressor's predictions are outputs, too.
  values = 100 * rng.normal(size=(50, 3))
  assert leep_jax.lab_mse(values, targets) == pytest.approx(
    oracles.lin_mse(values, targets), rel=1e-6
  )


@pytest.mark.parametrize("ridge", [0, 1e-3, 10])
@pytest.mark.parametrize("width", [7, 64])
def test_ridge_of_lin_mse(ridge, width, rng):
  score = cases.Case("lin_mse", "targets")
  features, targets = score.example(rng, n=200, width=width)
  features *= np.logspace(-2, 2, width).astype(np.float32)
  expected = oracles.lin_mse(features, targets, ridge=ridge)
  value = leep_jax.lin_mse(features, targets, ridge=ridge)
  assert value == pytest.approx(expected, rel=1e-5)
