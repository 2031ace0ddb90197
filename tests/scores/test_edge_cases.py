"""Defined answers: one example, equal rows, redundant features."""

import cases
import numpy as np
import pytest

import leep_jax
from leep_jax import scores as scores_lib


@cases.every_score
def test_one_example_has_an_answer(score, rng, device_count):
  values, _ = score.example(rng, n=1)
  y_true = np.array(
    {"labels": [3], "targets": [[3.0, 4.0]], "multi_labels": [[1, 0]]}[
      score.kind
    ]
  )
  assert score(values, y_true) == score.near(score.oracle(values, y_true))


@cases.every_score
def test_identical_rows_have_an_answer(score, rng, device_count):
  values, y_true = score.example(rng)
  same = np.repeat(values[:1], len(values), axis=0)
  assert score(same, y_true) == score.near(score.oracle(same, y_true))


def test_identical_rows_tell_nothing(rng):
  probs, labels = cases.example("leep", rng)
  same = np.repeat(probs[:1], len(probs), axis=0)
  share = np.bincount(labels) / len(labels)
  entropy = -(share * np.log(share)).sum()
  assert leep_jax.leep(same, labels) == pytest.approx(-entropy, abs=1e-6)
  assert leep_jax.nce(same, labels) == pytest.approx(-entropy, abs=1e-6)
  assert leep_jax.eep_accuracy(same, labels) == pytest.approx(share.max())
  assert leep_jax.h_score(same, labels) == 0
  assert leep_jax.n_leep(same, labels) == pytest.approx(-entropy, abs=1e-6)
  assert leep_jax.trans_rate(same, labels) == 0
  assert leep_jax.gbc(same, labels) == -5 * 4
  variance = labels.var()
  assert leep_jax.lin_mse(same, labels) == pytest.approx(-variance, abs=1e-6)


@pytest.mark.parametrize("bad", ["constant", "copy", "sum", "large constant"])
@pytest.mark.parametrize("name", ["h_score", "gbc", "lin_mse"])
def test_redundant_features_are_ignored(bad, name, rng, device_count):
  score = cases.Case(name, scores_lib.SCORES[name].target_kinds[0])
  features, y_true = score.example(rng)
  extra = {
    "constant": np.full((len(y_true), 1), 0.1),
    "copy": features[:, :1],
    "sum": features.sum(1, keepdims=True),
    "large constant": np.full((len(y_true), 1), 1e6),
  }[bad]
  wide = np.concatenate([features, extra], axis=1).astype(np.float32)
  expected = score.oracle(wide, y_true)
  if "constant" in bad or name == "h_score":
    expected = score(features, y_true)
  assert score(wide, y_true) == pytest.approx(expected, rel=1e-4)
