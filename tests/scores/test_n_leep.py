"""N-LEEP: its mixture against scikit-learn's, and its value."""

import numpy as np
import oracles
import pytest
import sklearn.mixture

import leep_jax
from leep_jax.engine import programs
from leep_jax.scores import (
  gaussian_mixture,
)


def test_n_leep_of_well_separated_clusters_is_their_nce(rng):
  cluster = rng.integers(0, 6, 300)
  features = 20 * np.eye(6)[cluster] + rng.normal(size=(300, 6))
  labels = np.where(rng.random(300) < 0.7, cluster % 3, 2)
  value = leep_jax.n_leep(features, labels, components=6, variance=1.0)
  assert value == pytest.approx(leep_jax.nce(cluster, labels), abs=1e-6)


def mixtures(rng, n=400):
  """A function of iterations that fits a mixture to clusters that overlap."""
  features = rng.normal(size=(n, 3)) + 3 * rng.integers(0, 3, (n, 1))
  outputs = leep_jax.Outputs.from_arrays(features=features, labels=[0] * n)
  keys = rng.integers(0, 2**32, n, dtype=np.uint32)

  def fit(iterations):
    return gaussian_mixture.fit(
      outputs,
      keys,
      components=4,
      restarts=1,
      iterations=iterations,
      tolerance=0.0,
    )

  shift, scale = outputs.feature_centre
  return (features - shift) / scale, fit


@pytest.mark.parametrize("steps", [1, 20])
@pytest.mark.filterwarnings("ignore:.*did not converge")
def test_n_leep_fits_as_scikit_learn(steps, rng, device_count):
  points, fit = mixtures(rng)
  weights, centres, precisions = fit(2)[0]
  theirs = sklearn.mixture.GaussianMixture(
    len(weights),
    covariance_type="diag",
    weights_init=np.exp(weights) / np.exp(weights).sum(),
    means_init=centres,
    precisions_init=precisions,
    reg_covar=0,
    tol=0,
    max_iter=steps,
  ).fit(points)
  (weights, centres, precisions), likelihood = fit(2 + steps)
  np.testing.assert_allclose(np.exp(weights), theirs.weights_, rtol=1e-3)
  np.testing.assert_allclose(centres, theirs.means_, atol=1e-3)
  np.testing.assert_allclose(precisions, theirs.precisions_, rtol=1e-3)
  assert likelihood == pytest.approx(theirs.score(points), abs=1e-5)


def test_likelihood_of_a_mixture_never_falls(rng):
  _, fit = mixtures(rng)
  values = [fit(steps)[1] for steps in range(1, 30)]
  assert np.all(np.diff(values) > -1e-6)
  assert values[-1] > values[0] + 0.01


def test_n_leep_is_leep_of_the_posterior(rng):
  # Clusters that overlap: components are shared.
  labels = rng.integers(0, 3, 300)
  features = rng.normal(size=(300, 4)) + labels[:, None]
  posterior = oracles.posterior_of_fit(features, labels)
  assert np.sum((posterior > 0.1) & (posterior < 0.9)) > 100
  assert leep_jax.n_leep(features, labels) == pytest.approx(
    oracles.leep(posterior, labels), abs=1e-5
  )


def test_order_and_devices_do_not_matter_to_the_start_of_n_leep(rng):
  labels = rng.integers(0, 3, 300)
  features = rng.normal(size=(300, 4)) + labels[:, None]
  expected = leep_jax.n_leep(features, labels)
  order = rng.permutation(300)
  with programs.limit(3):
    value = leep_jax.n_leep(features[order], labels[order])
  assert value == pytest.approx(expected, abs=1e-4)
