"""The sentences about which source to start from."""

import numpy as np
import pytest

import leep_jax
from leep_jax.reports import answer, score_report, scored_source
from leep_jax.scores import jackknife, per_example

NAME = "probe_accuracy"


def source(model, correct, *, speed=100.0, **others):
  """A source whose held-out predictions are right where `correct` is 1."""
  estimate = per_example.PerExample.mean(np.asarray(correct, float)).estimate()
  row = {
    "model": model, "dataset": "made", "num_examples": len(correct),
    NAME: estimate.value, f"{NAME}_se": estimate.standard_error,
    "examples_per_second": speed, **others,
  }  # fmt: skip
  estimates = {NAME: estimate, **dict.fromkeys(others)}
  return scored_source.ScoredSource(row, estimates, {}, np.zeros(len(correct)))


def right(count, *, n=200, first=0):
  found = np.zeros(n)
  found[(first + np.arange(count)) % n] = 1
  return found


def said(*scored, rank_by=NAME):
  best = score_report.best_sources(scored, [rank_by])
  return answer.sentences(scored, rank_by, best)


def test_a_clear_winner():
  (text,) = said(source("good", right(190)), source("bad", right(100)))
  assert text == (
    "Start from good (expected accuracy of a new head 95.0 % ± 1.6). It is "
    "told apart from all others."
  )


def test_ties_and_the_fastest_of_them():
  text = said(
    source("slow", right(182), speed=10),
    source("quick", right(180, first=5), speed=52),
    source("bad", right(60), speed=900),
  )[0]
  assert text.endswith(
    "Not told apart: quick; of these quick is the fastest (x 5)."
  )
  text = said(
    source("a", right(182), speed=90),
    source("b", right(180, first=5), speed=52),
  )[0]
  assert text.endswith("Not told apart: b; of these a is the fastest.")
  # About as fast: nothing is said. Nor of files of predictions.
  same = source("b", right(180, first=5), speed=101)
  assert said(source("a", right(182)), same)[0].endswith("apart: b.")


def test_more_examples_that_would_tell_apart():
  scored = source("a", right(182)), source("b", right(175, first=20))
  text = said(*scored)[1]
  number = int(text.split("about ")[1].split(" ")[0].replace(",", ""))
  # With so many examples of the same kind they are.
  times = -(-number // 200) + 1
  again = said(
    source("a", np.tile(right(182), times)),
    source("b", np.tile(right(175, first=20), times)),
  )
  assert again[0].endswith("It is told apart from all others.")
  fewer = max(number // 200 // 2, 1)
  again = said(
    source("a", np.tile(right(182), fewer)),
    source("b", np.tile(right(175, first=20), fewer)),
  )
  assert "Not told apart: b" in again[0]


def test_equal_sources_need_no_more_examples():
  text = said(source("a", right(180)), source("b", right(180, first=20)))[1]
  assert text.startswith(
    "200 examples cannot tell the best two apart, nor could 50 times as many"
  )


def test_disagreement_is_said():
  text = said(
    source("a", right(190), leep=-1.0, nce=-0.5, gbc=-3.0),
    source("b", right(100), leep=-0.9, nce=-0.4, gbc=-4.0),
  )[-1]
  assert text == (
    "leep and nce rank b first, which is expected to reach 45.0 points less."
  )


def test_no_disagreement_with_ties_or_other_examples():
  a = source("a", right(182), leep=-1.0)
  b = source("b", right(175, first=20), leep=-0.5)
  assert not any("first, which" in text for text in said(a, b))
  far = source("c", right(90), leep=-0.5)
  assert "leep ranks c first" in said(a, far)[-1]
  assert not any(
    "first, which" in text for text in answer.sentences([a, far], NAME, None)
  )


def test_sources_without_the_score_are_not_told_apart():
  a = source("a", right(182), leep=-1.0)
  none = source("b", right(100), leep=-0.5)
  none.row[NAME], none.estimates[NAME] = None, None
  assert said(a, none)[0].endswith("The others have no probe_accuracy.")
  worse = source("c", right(60), leep=-3.0)
  text = said(a, none, worse)[0]
  assert text.endswith("told apart from all others that have this score.")


def test_the_expected_accuracy_contradicts_another_ranking():
  scored = [
    source("a", right(100), leep=-0.5, leep_se=0.1),
    source("b", right(190), leep=-1.0, leep_se=0.1),
  ]
  best = score_report.best_sources(scored, [NAME])
  assert answer.sentences(scored, "leep", best)[-1] == (
    "But a new head on b is expected to reach 45.0 points more "
    "(probe_accuracy)."
  )


def test_other_scores_only_rank():
  scored = [
    source("a", right(190), leep=-1.0, leep_se=0.1),
    source("b", right(100), leep=-0.9, leep_se=0.1),
  ]
  text = answer.sentences(scored, "leep", None)[0]
  assert text.startswith("Best by leep: b (-0.90 ± 0.10).")
  assert "different examples" in text


def test_one_source():
  assert said(source("a", right(190))) == [
    "a: expected accuracy of a new head on it 95.0 % ± 1.6."
  ]


def test_the_last_of_a_race():
  last = source("a", right(190), eliminated_in_round=None)
  assert said(last) == [
    "Start from a (expected accuracy of a new head 95.0 % ± 1.6), which is "
    "left of the race."
  ]


def test_no_source_has_the_score():
  assert answer.sentences([source("a", right(9))], "nce", None) == []


@pytest.mark.parametrize("comparisons", [1, 2])
def test_examples_needed_are_those_of_the_normal_interval(comparisons):
  rng = np.random.default_rng(0)
  noise = rng.normal(size=400)
  values = 0.05 + (noise - noise.mean()) / noise.std(ddof=1)
  difference = per_example.PerExample.mean(values).estimate()
  needed = answer.examples_needed(difference, 400, comparisons)
  quantile = {1: 1.95996, 2: 2.24140}[comparisons]
  assert needed == pytest.approx((quantile / 0.05) ** 2, rel=1e-4)
  nothing = jackknife.Estimate(0.0, np.zeros(0), np.array([3]))
  assert answer.examples_needed(nothing, 3, 1) == np.inf


def test_regression():
  rng = np.random.default_rng(0)
  targets = rng.normal(size=80)
  scored = []
  for model, noise in (("a", 0.3), ("b", 2.0)):
    features = targets[:, None] + noise * rng.normal(size=(80, 1))
    outputs = leep_jax.Outputs.from_arrays(features=features, targets=targets)
    estimates = leep_jax.estimate_scores(outputs, names=["probe_r2"])
    row = scored_source.make_row(
      model, outputs, estimates, dataset="made", split="all", seconds=1
    )
    scored.append(scored_source.ScoredSource(row, estimates, {}, targets))
  text = said(*scored, rank_by="probe_r2")[0]
  assert text.startswith("Start from a (expected R^2 of a new head 0.9")
