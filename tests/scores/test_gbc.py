"""GBC: its options, and classes far apart."""

import cases
import numpy as np
import oracles
import pytest

import leep_jax


@pytest.mark.parametrize("covariance", ["spherical", "diagonal"])
@pytest.mark.parametrize("dimensions", [2, 64])
def test_options_of_gbc(covariance, dimensions, rng, device_count):
  features, labels = cases.example("gbc", rng)
  options = {"covariance": covariance, "dimensions": dimensions}
  expected = oracles.gbc(features, labels, **options)
  assert leep_jax.gbc(features, labels, **options) == pytest.approx(
    expected, rel=1e-5
  )


def test_gbc_of_classes_with_one_example_each():
  # Variances of 0 become a millionth of that of all, and nothing overlaps.
  assert leep_jax.gbc([[0.0, 1], [2, 0], [3, 5]], [0, 1, 2]) == 0


@pytest.mark.parametrize("apart", [10, 1000])
@pytest.mark.parametrize("covariance", ["spherical", "diagonal"])
def test_gbc_of_classes_far_apart(apart, covariance, rng, device_count):
  labels = rng.integers(0, 4, 400)
  features = rng.normal(size=(400, 5))
  features[:, 0] += np.where(labels < 2, apart, -apart)
  features = features.astype(np.float32)
  value = leep_jax.gbc(features, labels, covariance=covariance)
  expected = oracles.gbc(features, labels, covariance=covariance)
  assert value == pytest.approx(expected, rel=1e-6)
