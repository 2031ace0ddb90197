"""PARC: where it is undefined, and of a sample of examples."""

import cases
import pytest

import leep_jax
from leep_jax import validation


@pytest.mark.parametrize(
  ("features", "labels", "message"),
  [
    ([[1.0, 2], [2, 1], [3, 1]], [1, 1, 1], "no two examples differ in a"),
    ([[1.0, 2], [2, 1], [3, 1]], [0, 1, 2], "no two share a label"),
    ([[1.0, 2], [3, 3], [3, 1]], [0, 1, 1], "1 of 3 examples have equal feat"),
    ([[1.0, 2], [3, 4], [5, 6]], [0, 1, 1], "all examples are equally far"),
    ([[1.0], [2.0], [3.0]], [0, 1, 1], "3 of 3 examples have equal features"),
  ],
)
def test_undefined_parc(features, labels, message):
  with pytest.raises(
    validation.UndefinedScore, match=f"parc is undefined: {message}"
  ):
    leep_jax.parc(features, labels)


def test_parc_of_many_examples_is_that_of_some(rng):
  features, labels = cases.example("parc", rng)
  value = leep_jax.parc(features, labels, max_examples=150)
  assert value == leep_jax.parc(features, labels, max_examples=150)
  everything = leep_jax.parc(features, labels)
  assert value != everything
  assert value == pytest.approx(everything, abs=0.1)


@pytest.mark.parametrize("value", [0.1, 0.3, 1e7])
def test_parc_of_equal_features_is_undefined(value, rng):
  features = rng.random((6, 3))
  features[0] = value
  with pytest.raises(validation.UndefinedScore, match="1 of 6 examples"):
    leep_jax.parc(features, [0, 1, 0, 1, 0, 1])
