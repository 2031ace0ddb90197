"""Samples of a race, and who leaves after one."""

import numpy as np
import pytest

from leep_jax.racing import elimination, samples
from leep_jax.scores import per_example


def proportion(*parts):
  """The estimate of examples `(right, count)`, one after another."""
  right = [np.repeat([1.0, 0.0], (a, n - a)) for a, n in parts]
  return per_example.PerExample.mean(np.concatenate(right)).estimate()


def test_an_order_has_every_example_once(rng):
  labels = rng.integers(0, 5, 333)
  for order in (samples.order(333), samples.order(333, labels=labels)):
    assert np.array_equal(np.sort(order), np.arange(333))


@pytest.mark.parametrize("size", [50, 100, 200])
def test_beginnings_have_the_shares_of_all_classes(rng, size):
  labels = rng.choice(4, 500, p=[0.6, 0.3, 0.08, 0.02])
  first = labels[samples.order(500, labels=labels, seed=3)[:size]]
  expected = np.bincount(labels) * size / 500
  assert np.all(np.abs(np.bincount(first, minlength=4) - expected) <= 2)


def test_other_seeds_draw_other_samples():
  first, again, other = (samples.order(200, seed=s)[:50] for s in (0, 0, 1))
  assert np.array_equal(first, again)
  assert not np.array_equal(first, other)


def test_samples_of_one_class_are_random():
  """Not the first examples: folders are often sorted."""
  order = samples.order(1000, labels=np.zeros(1000, int))
  assert 400 < order[:100].mean() < 600


@pytest.mark.parametrize(
  ("count", "classes", "start", "expected"),
  [
    (1000, 10, None, [100, 200, 400]),
    (10_000, 100, None, [1000, 2000, 4000]),
    (420, 0, None, [100, 200]),
    (133, 2, None, []),
    (134, 2, None, [100]),
    (100, 2, 10, [10, 20, 40]),
    (10, 2, None, []),
  ],
)
def test_sizes(count, classes, start, expected):
  assert samples.sizes(count, num_classes=classes, start=start) == expected


def test_a_source_that_is_surely_worse_is_named():
  best, close = proportion((90, 100)), proportion((89, 100))
  poor = proportion((60, 100))
  verdict = elimination.judge([close, poor, best, None], level=0.99)
  assert (verdict.best, verdict.worse, verdict.tied) == (2, (1,), False)
  assert sorted(verdict.intervals) == [0, 1]


def test_intervals_shrink_to_the_difference_where_all_are_seen():
  estimates = [proportion((900, 1000)), proportion((895, 1000))]
  half = {}
  for share in (0, 0.75, 1):
    verdict = elimination.judge(estimates, level=0.95, share=share)
    low, high = verdict.intervals[1]
    half[share] = (high - low) / 2
  assert half[0.75] == pytest.approx(half[0] / 2)
  assert half[1] == 0


def test_sources_are_tied_within_the_tolerance():
  estimates = [proportion((900, 1000)), proportion((900, 1000))]
  half = elimination.judge(estimates, level=0.95).intervals[1][1]
  for tolerance, tied in ((half * 1.01, True), (half * 0.99, False)):
    verdict = elimination.judge(estimates, level=0.95, tolerance=tolerance)
    assert verdict.tied == tied
    # What is not known may differ by any amount.
    verdict = elimination.judge(
      [*estimates, None], level=0.95, tolerance=tolerance
    )
    assert not verdict.tied


def test_without_scores_there_is_no_best():
  verdict = elimination.judge([None, None], level=0.95)
  assert (verdict.best, verdict.worse) == (None, ())
