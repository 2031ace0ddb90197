"""Scores against float64 references, in every type of numbers."""

import cases
import jax.numpy as jnp
import marks
import numpy as np
import pytest

import leep_jax


@cases.every_score_and_n_leep
@pytest.mark.parametrize("n", [2, *marks.exhaustive(17), 300])
def test_equals_float64_oracle(score, n, rng, device_count):
  values, y_true = score.example(rng, n=n)
  assert score(values, y_true) == score.near(score.oracle(values, y_true))


@cases.every_score
def test_more_features_than_examples(score, rng):
  values, y_true = score.example(rng, n=30, width=64)
  # Where features explain all, a little of what is left is rounding.
  assert score(values, y_true) == score.near(
    score.oracle(values, y_true), times=10
  )


def test_features_too_large_for_float32():
  with pytest.raises(leep_jax.InputError, match="values beyond float32"):
    leep_jax.h_score(np.array([[1e39], [-1e39], [0]]), [0, 1, 1])


@cases.every_score
@pytest.mark.parametrize("dtype", [np.float16, jnp.bfloat16, np.float64])
def test_other_dtypes_lose_only_what_they_round(
  score, dtype, rng, device_count
):
  values, y_true = score.example(rng)
  rounded = values.astype(dtype)
  if score.name == "eep_accuracy":
    expected = score.oracle(rounded.astype(np.float32), y_true)
    expected = pytest.approx(expected, abs=1 / len(y_true))  # of ties
  else:
    expected = score.near(score.oracle(rounded.astype(np.float64), y_true))
  assert score(rounded, y_true) == expected
  assert score(jnp.asarray(rounded), y_true) == expected
