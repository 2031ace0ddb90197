"""Intervals of scores that are means of one number per example."""

import math

import numpy as np
import pytest
import scipy.stats
import sklearn.metrics

import leep_jax
from leep_jax.scores import (
  average_precision,
  jackknife,
  per_example,
  probe,
  ridge,
)


def proportion(correct):
  return per_example.PerExample.mean(np.asarray(correct, float)).estimate()


def counted(*cells):
  """Two proportions of examples right for both, the first, the second, none."""
  first = proportion(np.repeat([1, 1, 0, 0], cells))
  second = proportion(np.repeat([1, 0, 1, 0], cells))
  return first, second


@pytest.mark.parametrize(("right", "n"), [(0, 5), (3, 10), (20, 20), (57, 60)])
@pytest.mark.parametrize("level", [0.9, 0.95])
def test_wilsons_interval(right, n, level):
  found = proportion(np.arange(n) < right).interval(level=level)
  expected = scipy.stats.binomtest(right, n).proportion_ci(
    level, method="wilson"
  )
  assert found == pytest.approx((expected.low, expected.high), abs=1e-12)


def test_standard_error_of_a_proportion_by_hand():
  # 8 of 10, and 2 more of each kind: sqrt(10/14 * 4/14 / 14) = .120736.
  estimate = proportion(np.arange(10) < 8)
  assert estimate.standard_error == pytest.approx(0.120736, abs=1e-6)
  assert estimate.value == 0.8
  assert proportion(np.ones(10)).standard_error > 0


def test_agresti_and_mins_interval_by_hand():
  # Of 20, the first is right alone on 5 and the second on 1. With half an
  # example more in each cell: (5.5 - 1.5) / 22 = .181818, and its variance (7 -
  # 16/22) / 22^2 = .0129602; 1.959964 times its root .113843 is .223128.
  first, second = counted(10, 5, 1, 4)
  difference = leep_jax.paired_difference(first, second)
  assert difference.value == pytest.approx(0.2)
  assert difference.standard_error == pytest.approx(0.113843, abs=1e-6)
  low, high = difference.interval()
  assert low == pytest.approx(0.181818 - 0.223128, abs=2e-6)
  assert high == pytest.approx(0.181818 + 0.223128, abs=2e-6)
  # The other way round.
  back = leep_jax.paired_difference(second, first).interval()
  assert back == pytest.approx((-high, -low))


def test_only_disagreement_counts():
  few, many = (
    leep_jax.paired_difference(*counted(both, 9, 2, 0)) for both in (20, 200)
  )
  # In numbers of examples.
  assert 213 * many.standard_error == pytest.approx(
    33 * few.standard_error, rel=0.1
  )
  assert leep_jax.paired_difference(*counted(50, 0, 0, 9)).standard_error > 0


def test_intervals_of_proportions_cover(rng):
  covered = 0
  for draw in rng.random((2000, 60)) < 0.9:
    low, high = proportion(draw).interval()
    covered += low <= 0.9 <= high
  assert covered >= 0.93 * 2000


def test_intervals_of_paired_differences_cover(rng):
  shares = [0.8, 0.1, 0.04, 0.06]  # a difference of 0.06
  covered = 0
  for cells in rng.multinomial(60, shares, 2000):
    low, high = leep_jax.paired_difference(*counted(*cells)).interval()
    covered += low <= 0.06 <= high
  assert covered >= 0.93 * 2000


def test_indistinguishable_proportions():
  best = proportion(np.arange(100) < 90)
  near = proportion(np.arange(100) < 88)
  far = proportion(np.arange(100) < 70)
  found = jackknife.indistinguishable([far, best, None, near, best])
  assert found == [False, True, False, True, True]
  # Of many examples, the same shares differ.
  many = [proportion(np.arange(10_000) < x) for x in (9000, 8800)]
  assert jackknife.indistinguishable(many) == [True, False]


def test_proportions_of_other_examples_are_no_pair():
  with pytest.raises(leep_jax.InputError, match="no pair"):
    leep_jax.paired_difference(proportion(np.ones(5)), proportion(np.ones(6)))


def test_a_proportion_minus_another_mean(rng):
  first = proportion(rng.random(50) < 0.5)
  second = per_example.PerExample.mean(rng.random(50)).estimate()
  difference = leep_jax.paired_difference(first, second)
  each = (first.value - second.value) * 50 - 49 * (
    first.deleted - second.deleted
  )
  assert difference.standard_error == pytest.approx(
    each.std(ddof=1) / math.sqrt(50)
  )


def test_bad_levels():
  first, second = counted(5, 2, 1, 1)
  for estimate in (first, leep_jax.paired_difference(first, second)):
    with pytest.raises(leep_jax.InputError, match="level is 95"):
      estimate.interval(level=95)


# The scores.


def outputs_of(rng, n=300, kind="labels"):
  labels = rng.choice(3, n, p=[0.6, 0.25, 0.15])
  features = rng.normal(size=(3, 5))[labels] + rng.normal(size=(n, 5))
  targets = features[:, :2] + rng.normal(size=(n, 2))
  known = {
    "labels": labels, "targets": targets, "multi_labels": targets > 0,
  }[kind]  # fmt: skip
  return leep_jax.Outputs.from_arrays(features=features, **{kind: known})


PROBES = [
  ("probe_accuracy", "labels"),
  ("probe_log_loss", "labels"),
  ("probe_balanced_accuracy", "labels"),
  ("knn_accuracy", "labels"),
  ("class_mean_accuracy", "labels"),
  ("probe_r2", "targets"),
  ("probe_mse", "targets"),
  ("probe_map", "multi_labels"),
]


@pytest.mark.parametrize(("name", "kind"), PROBES)
def test_one_group_gives_no_error(name, kind, rng):
  outputs = outputs_of(rng, 60, kind)
  (alone,) = leep_jax.estimate_scores(outputs, names=[name], groups=1).values()
  assert alone.standard_error is None
  assert alone.interval() is None
  (whole,) = leep_jax.estimate_scores(outputs, names=[name]).values()
  assert whole.value == alone.value
  # Any other number of groups gives the same: those of one example each.
  (other,) = leep_jax.estimate_scores(outputs, names=[name], groups=7).values()
  assert other.standard_error == whole.standard_error > 0
  low, high = whole.interval()
  assert low < whole.value < high
  is_proportion = isinstance(whole, per_example.Proportion)
  assert is_proportion == (
    name in ("probe_accuracy", "knn_accuracy", "class_mean_accuracy")
  )


@pytest.mark.parametrize(("name", "kind"), PROBES)
def test_contributions_have_the_score_as_mean(name, kind, rng):
  parts = leep_jax.SCORES[name].parts(outputs_of(rng, kind=kind))
  assert parts.contributions.mean() == pytest.approx(parts.value)


def leave_one_out_error(statistic, n):
  """The jackknife's standard error, by the statistic without each example."""
  deleted = [statistic(np.arange(n) != i) for i in range(n)]
  return leep_jax.Estimate(
    statistic(np.ones(n, bool)), np.array(deleted), np.ones(n)
  )


def test_error_of_balanced_accuracy(rng):
  outputs = outputs_of(rng)
  right = probe.accuracy_parts(outputs).contributions

  def balanced(kept):
    return np.mean(
      [right[kept & (outputs.labels == y)].mean() for y in range(3)]
    )

  expected = leave_one_out_error(balanced, 300)
  found = probe.balanced_accuracy_parts(outputs).estimate()
  assert found.value == pytest.approx(expected.value)
  assert found.standard_error == pytest.approx(
    expected.standard_error, rel=0.03
  )


def test_error_of_r2(rng):
  outputs = outputs_of(rng, kind="targets")
  targets = outputs.targets
  errors = probe._target_errors(outputs)

  def r2(kept):
    variation = targets[kept].var(axis=0)
    return np.mean(1 - errors[kept].mean(axis=0) / variation)

  expected = leave_one_out_error(r2, 300)
  found = probe.r2_parts(outputs).estimate()
  assert found.value == pytest.approx(expected.value)
  assert found.standard_error == pytest.approx(
    expected.standard_error, rel=0.03
  )


def test_error_of_mean_average_precision(rng):
  outputs = outputs_of(rng, kind="multi_labels")
  there = outputs.targets
  predictions = ridge.held_out(outputs).predictions
  predictions = predictions + (there - there.mean(axis=0)) / 299

  def mean_ap(kept):
    return sklearn.metrics.average_precision_score(
      there[kept], predictions[kept], average="macro"
    )

  expected = leave_one_out_error(mean_ap, 300)
  found = average_precision.map_parts(outputs).estimate()
  assert found.value == pytest.approx(expected.value)
  assert found.standard_error == pytest.approx(
    expected.standard_error, rel=0.03
  )


def test_a_perfect_source_is_not_certain():
  features = np.repeat([[0.0], [1.0]], 20, axis=0)
  found = leep_jax.estimate_scores(
    leep_jax.Outputs.from_arrays(features=features, multi_labels=features),
    names=["probe_map"],
  )["probe_map"]
  assert found.value == 1
  assert found.standard_error > 0


def test_a_better_source_is_told_apart(rng):
  labels = rng.integers(0, 3, 200)
  good = 2 * np.eye(3)[labels] + rng.normal(size=(200, 3))
  poor = rng.normal(size=(200, 3))
  for name in ("probe_accuracy", "probe_log_loss", "probe_balanced_accuracy"):
    first, second = (
      leep_jax.estimate_scores(
        leep_jax.Outputs.from_arrays(features=x, labels=labels), names=[name]
      )[name]
      for x in (good, poor)
    )
    difference = leep_jax.paired_difference(first, second)
    assert difference.interval()[0] > 0
    assert jackknife.indistinguishable([second, first]) == [False, True]
