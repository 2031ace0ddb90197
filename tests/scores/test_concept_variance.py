"""Concept variance: how often neighbouring examples differ in class."""

import numpy as np
import pytest

import leep_jax
from leep_jax import validation
from leep_jax.scores import concept_variance


def test_by_hand():
  # Scaled to 0, 1/4 and 1, of which the first two share a class. With alpha =
  # 1, a distance of 1/4 has the weight 2^(-1/3), 3/4 has 2^-3, and 1 has 0.
  near, far = 2 ** (-1 / 3), 2**-3
  expected = (0 / near + far / (near + far) + 1) / 3
  found = leep_jax.concept_variance([[2.0], [3.0], [6.0]], [0, 0, 1], alpha=1)
  assert found == pytest.approx(-expected)


def test_features_that_tell_nothing(rng):
  """Minus the share of pairs that differ in class, of many features."""
  labels = np.repeat([0, 1, 2], [20, 20, 60])
  found = leep_jax.concept_variance(rng.normal(size=(100, 400)), labels)
  shares = [1 - (count - 1) / 99 for count in (20, 20, 60)]
  expected = -np.average(shares, weights=[20, 20, 60])
  assert found == pytest.approx(expected, abs=0.02)


def test_standard_error_is_that_of_examples_left_out(rng):
  labels = rng.integers(0, 2, 40)
  features = rng.normal(size=(40, 3)) + labels[:, None]
  # The ends of all features are in the last group, which is not left out.
  features[-1], features[-2] = -9, 9
  outputs = leep_jax.Outputs.from_arrays(features=features, labels=labels)
  names = ["concept_variance"]
  (found,) = leep_jax.estimate_scores(outputs, names=names, groups=10).values()
  rest = np.arange(40) % 10 != 3
  (expected,) = leep_jax.compute_scores(
    outputs.select(rest), names=names
  ).values()
  assert found.deleted[3] == pytest.approx(expected)


def test_sample_of_many_examples(rng):
  labels = rng.integers(0, 2, 50)
  features = rng.normal(size=(50, 3))
  found = leep_jax.concept_variance(features, labels, max_examples=20)
  some = concept_variance.sampling.sample(50, most=20)
  assert found == leep_jax.concept_variance(features[some], labels[some])


@pytest.mark.parametrize("features", [[[1.0]], [[1.0], [1.0]]])
def test_undefined(features):
  with pytest.raises(validation.UndefinedScore, match="concept_variance is"):
    leep_jax.concept_variance(features, [0] * len(features))


@pytest.mark.parametrize("alpha", [0, -1.0, np.nan])
def test_bad_alpha(alpha):
  with pytest.raises(leep_jax.InputError, match="alpha is .* above 0"):
    leep_jax.concept_variance([[0.0], [1.0]], [0, 1], alpha=alpha)
