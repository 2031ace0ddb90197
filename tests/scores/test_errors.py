"""Input that no score takes: the value, the bound, the likely cause."""

import math

import cases
import numpy as np
import pytest

import leep_jax
from leep_jax import scores as scores_lib, validation


@pytest.mark.parametrize(
  ("probs", "message"),
  [
    ([[2.0, 5.0], [1.0, 0.5]], "do not sum to 1, but to 4.25 .*logits"),
    ([[2.0, -1.0], [0.5, 0.5]], "1 of 2 rows hold negative .*logits"),
    ([[0.5, 0.4], [0.5, 0.5]], "1 of 2 rows do not sum to 1, but to 0.9"),
    ([[math.nan, 1.0], [0.5, 0.5]], "1 of 2 rows hold NaN"),
    ([[math.inf, 1.0], [0.5, 0.5]], "1 of 2 rows hold NaN or inf"),
    ([[0.0, 0.0], [0.5, 0.5]], "do not sum to 1, but to 0 "),
    ([[[0.5, 0.5]]], r"shape \(1, 1, 2\), not \[n, columns\]"),
    ([[1.0]], "1 rows, but there are 2 labels"),
    ([[], []], "not \\[n, columns\\]"),
    ([["a", "b"], ["c", "d"]], "not real numbers"),
  ],
)
@pytest.mark.parametrize(
  "name",
  [
    "leep",
    "leep_loo",
    "nce",
    "nce_loo",
    "eep_accuracy",
    "leep_bounds",
    "pactran_dirichlet",
    "pactran_gamma",
  ],
)
def test_bad_probabilities(name, probs, message):
  with pytest.raises(leep_jax.InputError, match=message):
    getattr(leep_jax, name)(probs, [0, 1])


@pytest.mark.parametrize(
  ("head", "error", "message"),
  [
    ([[1.0], [1.0]], leep_jax.InputError, "1 columns, but labels contain 1"),
    ([[2.0, 3], [1, 0]], leep_jax.InputError, "do not sum to 1"),
    (
      [[1.0, 0], [1, 0]],
      validation.UndefinedScore,
      "1 true labels probability 0",
    ),
  ],
)
def test_bad_heads(head, error, message):
  with pytest.raises(error, match=message):
    leep_jax.leep_bounds([[0.5, 0.5]] * 2, [0, 1], head_probs=head)


@pytest.mark.parametrize(
  ("labels", "message"),
  [
    ([0, -1], "contain -1, but classes are counted from 0"),
    ([0, 1.5], "contain 1.5, not an integer"),
    ([0, math.nan], "hold NaN, not an integer"),
    ([0, 5], "contain 5, but there are 3 classes"),
    ([[1, 0], [0, 1]], "one-hot"),
    ([[1], [0]], "a column.* Pass labels.ravel"),
    (0, r"labels have shape \(\), not \[n\]$"),
    (["cat", "dog"], "not integers"),
    ([1j, 0], "complex128, not integers"),
    ([[0], [1, 2]], "cannot be made an array"),
    ([0, 1, 1], "2 rows, but there are 3 labels"),
    ([], "empty"),
  ],
)
@cases.every_score_of_labels
def test_bad_labels(score, labels, message):
  with pytest.raises(leep_jax.InputError, match=message):
    score([[0.5, 0.5], [0.5, 0.5]], labels, num_classes=3)


@pytest.mark.parametrize(
  ("targets", "message"),
  [
    ([0.5, math.nan], "1 of 2 rows hold NaN or infinity: do they mark missing"),
    ([[[1.0]]], r"targets have shape \(1, 1, 1\), not \[n, T\]"),
    (["a", "b"], "not real numbers"),
    ([1.0, 2.0, 3.0], "2 rows, but there are 3 targets"),
    ([], "empty"),
  ],
)
@cases.every_score_of_targets
def test_bad_targets(score, targets, message):
  with pytest.raises(leep_jax.InputError, match=message):
    score([[0.5, 0.5], [0.5, 0.5]], targets)


@pytest.mark.parametrize(
  "name",
  [name for name, row in scores_lib.SCORES.items() if row.needs == "features"],
)
def test_bad_features(name):
  score = cases.Case(name, scores_lib.SCORES[name].target_kinds[0])
  with pytest.raises(leep_jax.InputError, match="1 of 2 rows hold NaN"):
    score([[math.nan], [1.0]], [[0], [1]] if "multi" in score.kind else [0, 1])


@pytest.mark.parametrize(
  ("sets", "message"),
  [
    ([[0, 1], [2, 1]], "contain 2, not 0 or 1, in 1 of 2 examples"),
    ([[0, math.nan], [-1, 1]], "contain nan, not 0 or 1, in 2 of 2"),
    ([0, 1], r"shape \(2,\), not \[n, T\]"),
    (np.zeros((0, 2)), "there are no examples"),
    ([["a"], ["b"]], "not 0 and 1"),
    ([[0, 1], [1, 1], [0, 0]], "2 rows, but there are 3 multi_labels"),
  ],
)
@cases.every_score_of_sets
def test_bad_sets_of_labels(score, sets, message):
  with pytest.raises(leep_jax.InputError, match=message):
    score([[0.5, 0.5], [0.5, 0.5]], sets)


@pytest.mark.parametrize(
  ("name", "options", "message"),
  [
    ("gbc", {"covariance": "diag"}, "'diag'; did you mean diagonal"),
    ("gbc", {"dimensions": 0}, "dimensions is 0"),
    ("parc", {"max_examples": 1.5}, "max_examples is 1.5"),
    ("trans_rate", {"eps": 0}, "eps is 0, but must be above 0"),
    ("trans_rate", {"eps": math.inf}, "eps is inf"),
    ("lin_mse", {"ridge": -1}, "ridge is -1, but must be at least 0"),
    ("lin_mse", {"ridge": math.nan}, "ridge is nan"),
    ("pactran_gaussian", {"spread": 0}, "spread is 0, but must be above 0"),
    ("pactran_gaussian", {"variance": math.inf}, "variance is inf"),
    ("etran_energy", {"share": 0}, r"share is 0, but must be in \(0, 1\]"),
    ("etran_energy", {"share": 1.5}, "share is 1.5"),
    ("n_leep", {"variance": 0}, r"variance is 0, but must be in \(0, 1\]"),
    ("n_leep", {"components": 0}, "components is 0"),
    ("n_leep", {"restarts": 0}, "restarts is 0"),
    ("n_leep", {"iterations": 0}, "iterations is 0"),
    ("n_leep", {"tolerance": -1}, "tolerance is -1"),
  ],
)
def test_bad_options(name, options, message):
  features = [[1.0, 2.0], [2.0, 1.0], [0.0, 3.0]]
  with pytest.raises(leep_jax.InputError, match=message):
    scores_lib.SCORES[name].function(features, [0, 1, 1], **options)


@pytest.mark.parametrize("name", ["pactran_dirichlet", "pactran_gamma"])
@pytest.mark.parametrize(
  ("options", "message"),
  [
    ({"concentration": 0}, "concentration is 0, but must be above 0"),
    ({"concentration": math.nan}, "concentration is nan"),
    ({"steps": 0}, "steps is 0"),
  ],
)
def test_bad_options_of_probabilities(name, options, message):
  with pytest.raises(leep_jax.InputError, match=message):
    scores_lib.SCORES[name].function([[0.5, 0.5]], [0], **options)


def test_rows_may_be_off_by_rounding_only(rng):
  probs, labels = cases.example("leep", rng)
  expected = leep_jax.leep(probs, labels)
  assert leep_jax.leep(probs * 1.0005, labels) == pytest.approx(
    expected, abs=1e-6
  )
  with pytest.raises(leep_jax.InputError, match="do not sum to 1"):
    leep_jax.leep(probs * 1.01, labels)
