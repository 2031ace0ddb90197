"""The terms of NCTI where they have no meaning."""

import numpy as np
import pytest
import scipy.linalg

import leep_jax
from leep_jax import validation


@pytest.mark.parametrize(
  ("size", "unit", "why"), [(40, 1.0, "do not all vary"), (300, 1e-9, "small")]
)
def test_seli_without_a_value(size, unit, why, rng):
  """Else the floor of eigenvalues decides, or rounding."""
  features, labels = unit * rng.normal(size=(size, 100)), np.arange(size) % 10
  with pytest.raises(validation.UndefinedScore, match=f"ncti_seli.*{why}"):
    leep_jax.ncti_seli(features, labels)


def test_variability_of_many_classes(rng):
  """Singular values by products of the fewer are those of the matrix."""
  labels = np.arange(200) % 40
  features = rng.normal(size=(200, 30)) + 3 * rng.normal(size=(40, 30))[labels]
  found = leep_jax.ncti_variability(features, labels)
  means = np.stack([features[labels == y].mean(axis=0) for y in range(40)])
  within = (features - means[labels]).T @ (features - means[labels]) / 200
  # Variances are far above 0, so that nothing is shrunk.
  precision = scipy.linalg.inv(within)
  centre = features.mean(axis=0)
  logits = (features - centre) @ precision @ (means - centre).T
  logits -= np.sum((means - centre) @ precision * (means - centre), axis=1) / 2
  logits += np.log(1 / 40)
  probs = np.exp(logits - logits.max(axis=1, keepdims=True))
  probs /= probs.sum(axis=1, keepdims=True)
  norms = [np.linalg.norm(probs[labels == y], "nuc") for y in range(40)]
  expected = -np.log(np.sum(norms) / np.sqrt(200))
  assert found == pytest.approx(expected, abs=1e-4)
