"""H-score of features in any unit, and of few examples."""

import cases
import numpy as np
import oracles
import pytest

import leep_jax


def test_h_score_with_a_large_offset(rng):
  features, labels = cases.example("h_score", rng, n=5000)
  expected = oracles.h_score(features, labels)
  moved = (features.astype(np.float64) + 1000).astype(np.float32)
  # The features themselves lose 1000 * 2^-24 to the offset, the sums nothing.
  assert leep_jax.h_score(moved, labels) == pytest.approx(expected, rel=1e-4)


@pytest.mark.parametrize("dtype", [np.float32, np.float64])
@pytest.mark.parametrize("offset", [0, 1e4])
@pytest.mark.parametrize("unit", [1e-18, 1, 1e18])
def test_h_score_in_any_unit(dtype, offset, unit, rng):
  features, labels = cases.example("h_score", rng)
  moved = ((features.astype(np.float64) + offset) * unit).astype(dtype)
  expected = oracles.h_score(moved.astype(np.float64) / unit, labels)
  assert leep_jax.h_score(moved, labels) == pytest.approx(expected, rel=1e-4)


@pytest.mark.parametrize("condition", [1e2, 1e3, 1e4])
def test_h_score_of_ill_conditioned_features(condition, rng, device_count):
  features, labels = cases.example("h_score", rng, n=2000, width=64)
  rotation = np.linalg.qr(rng.normal(size=(64, 64)))[0]
  spread = np.logspace(0, -np.log10(condition), 64)
  features = ((features * spread) @ rotation).astype(np.float32)
  values = features.astype(np.float64) - features.mean(0, dtype=np.float64)
  u, _, _ = np.linalg.svd(values, full_matrices=False)
  means = np.stack([u[labels == y].sum(0) for y in range(5)])
  expected = (means**2 / np.bincount(labels)[:, None]).sum()
  assert leep_jax.h_score(features, labels) == pytest.approx(expected, rel=1e-5)


@pytest.mark.parametrize("n", [127, 128, 129, 130])
def test_h_score_about_as_many_examples_as_features(n, rng, device_count):
  features, labels = cases.example("h_score", rng, n=n, width=128)
  assert leep_jax.h_score(features, labels) == pytest.approx(
    oracles.h_score(features, labels), rel=1e-4
  )
  if n <= 129:  # n - 1 dimensions between n examples explain every label
    assert leep_jax.h_score(features, labels) == pytest.approx(4, rel=1e-4)


def test_h_score_with_fewer_examples_than_features(rng, device_count):
  features, labels = cases.example("h_score", rng, n=20, width=64)
  # The features span all directions between examples: labels are explained.
  classes = len(np.unique(labels))
  assert leep_jax.h_score(features, labels) == pytest.approx(
    classes - 1, rel=1e-5
  )


@pytest.mark.parametrize("offset", [1e4, 1e8])
def test_h_score_of_few_float64_examples_with_an_offset(offset, rng):
  labels = np.arange(15) % 5
  features = rng.normal(size=(15, 20)) + offset
  assert leep_jax.h_score(features, labels) == pytest.approx(4, abs=1e-6)
