"""P2L: mean features of data sets, their divergence, and sizes."""

import math

import numpy as np
import pytest
import scipy.stats

import leep_jax
from leep_jax import relations, validation
from leep_jax.relations import p2l


def outputs_of(features):
  return leep_jax.Outputs.from_arrays(
    features=features.astype(np.float32), labels=np.arange(len(features)) % 2
  )


def test_divergence_by_hand():
  # s is (1/4, 3/4), t is (1/2, 1/2): 1/2 log 2 + 1/2 log 2/3 = log(4/3) / 2
  found = relations.divergence([1, 3], [5, 5])
  assert found == pytest.approx(math.log(4 / 3) / 2, abs=1e-15)
  assert relations.divergence([1, 3, 1], [1, 1, 0]) == pytest.approx(
    0.5 * math.log(2.5) + 0.5 * math.log(2.5 / 3), abs=1e-15
  )
  assert relations.divergence([1, 0], [1, 1]) == math.inf
  assert relations.divergence([1, 1], [1, 0]) == pytest.approx(math.log(2))


def test_divergence_is_that_of_scipy_from_the_target_to_the_source(rng):
  s, t = rng.gamma(0.5, size=(2, 64))
  assert relations.divergence(s, t) == pytest.approx(scipy.stats.entropy(t, s))
  assert relations.divergence(s, t) != pytest.approx(scipy.stats.entropy(s, t))
  assert relations.divergence(s, 7 * s) == pytest.approx(0, abs=1e-12)


def test_mean_features_are_those_of_float64(rng, device_count):
  features = np.maximum(rng.normal(size=(999, 12)), 0) * 1e3 + 1e4
  features[:, 3] = 0
  found = p2l.mean_features(outputs_of(features))
  expected = features.astype(np.float32).mean(axis=0, dtype=np.float64)
  np.testing.assert_allclose(found, expected, rtol=1e-6)
  assert found[3] == 0


def test_size_and_divergence_in_all_pairs(rng):
  means, sizes = rng.gamma(0.5, size=(3, 10)), [100, 2000, 30]
  found = p2l.p2l(means, sizes, alpha=2.5)
  for i in range(3):
    for j in range(3):
      expected = math.log(sizes[i]) - 2.5 * scipy.stats.entropy(
        means[j], means[i]
      )
      assert found[i, j] == pytest.approx(expected)


@pytest.mark.parametrize(
  ("s", "t", "error", "text"),
  [
    ([1, 2], [1, 2, 3], leep_jax.InputError, "has 2 features and the target 3"),
    ([1, -2], [1, 2], validation.UndefinedScore, "feature 1 of the source has"),
    ([1, 2], [0, 0], validation.UndefinedScore, "all features of the target"),
    ([1, np.nan], [1, 2], leep_jax.InputError, "source must be finite"),
    ([[1, 2]], [1, 2], leep_jax.InputError, "source must be finite"),
  ],
)
def test_what_is_no_mean_is_refused(s, t, error, text):
  with pytest.raises(error, match=text):
    relations.divergence(s, t)
