"""Correlations: by hand, against SciPy, what cannot change them, coverage."""

import dataclasses
import math
import warnings

import numpy as np
import pytest
import scipy.stats

import leep_jax
from leep_jax import validation
from leep_jax.reports import bootstrap, correlation, selection

STATISTICS = ("pearson", "kendall", "weighted_kendall", "spearman")


def pair(rng, n, r):
  """Draws `[n]` scores and performances of a bivariate normal distribution."""
  x, noise = rng.normal(size=(2, n))
  return x, r * x + math.sqrt(1 - r**2) * noise


def test_golden():
  """Deviations are -1.5, -0.5, 0.5, 1.5 and -1.5, 0.5, -0.5, 1.5.

  r = (2.25 - 0.25 - 0.25 + 2.25) / 5 = 0.8, and so is Spearman's rho. t = 0.8
  sqrt(2) / 0.6 with 2 degrees of freedom, whose two-sided p is 1 - r.
  5 of 6 pairs agree: tau = 4/6. Ranked by performance from the best, only ranks
  1 and 2 are swapped: weight 1/2 + 1/3 of a total of 3 (1 + 1/2 + 1/3 + 1/4) =
  6.25, and the same ranked by score: 1 - 2 (5/6) / 6.25 = 11/15.
  z = atanh(0.8) = ln(9)/2, standard error 1 / sqrt(4 - 3) = 1.
  """
  found = correlation.correlate([1, 2, 3, 4], [1, 3, 2, 4])
  assert (found.n, found.dropped, found.reason) == (4, 0, None)
  assert found.pearson == pytest.approx(0.8, abs=1e-12)
  assert found.spearman == pytest.approx(0.8, abs=1e-12)
  assert found.p_value == pytest.approx(0.2, abs=1e-12)
  assert found.kendall == pytest.approx(2 / 3, abs=1e-12)
  assert found.weighted_kendall == pytest.approx(11 / 15, abs=1e-12)
  z = math.log(9) / 2
  assert found.fisher_interval == pytest.approx(
    (math.tanh(z - 1.959964), math.tanh(z + 1.959964)), abs=1e-6
  )
  assert found.interval is None  # of 4 rows


@pytest.mark.parametrize("level", [0.8, 0.95])
@pytest.mark.parametrize("n", [9, 40, 200])
@pytest.mark.parametrize("ties", [False, True])
def test_scipy_gives_the_same(rng, n, level, ties):
  x, y = pair(rng, n, 0.7)
  if ties:
    x, y = np.round(x), np.round(2 * y)
  found = correlation.correlate(x, y, level=level)
  pearson = scipy.stats.pearsonr(x, y)
  assert found.pearson == pytest.approx(pearson.statistic, abs=1e-12)
  assert found.p_value == pytest.approx(pearson.pvalue, rel=1e-9)
  assert found.fisher_interval == pytest.approx(
    tuple(pearson.confidence_interval(level)), abs=1e-9
  )
  for name, oracle in (
    ("kendall", scipy.stats.kendalltau),
    ("weighted_kendall", scipy.stats.weightedtau),
    ("spearman", scipy.stats.spearmanr),
  ):
    value = oracle(x, y).statistic
    assert getattr(found, name) == pytest.approx(value, abs=1e-12), name


def scipy_interval(statistic, columns, seed):
  return tuple(
    scipy.stats.bootstrap(
      columns,
      statistic,
      paired=True,
      vectorized=True,
      method="BCa",
      n_resamples=2000,
      rng=np.random.default_rng(seed),
    ).confidence_interval
  )


def r(x, y, axis):
  return scipy.stats.pearsonr(x, y, axis=axis).statistic


def r_or_nan(x, y, axis):
  with warnings.catch_warnings():
    warnings.simplefilter("ignore")
    return r(x, y, axis)


@pytest.mark.parametrize("n", [12, 60])
def test_intervals_are_those_of_scipy(rng, n):
  """By one call, with its own r: of the same draws, so to rounding."""
  x, y = pair(rng, n, 0.7)
  found = correlation.correlate(x, y, samples=2000, seed=1)
  expected = scipy_interval(r, (x, y), seed=1)
  assert found.interval == pytest.approx(expected, abs=1e-9)
  other = x + rng.normal(size=n)
  apart = correlation.difference(x, other, y, samples=2000, seed=1)
  expected = scipy_interval(
    lambda a, b, y, axis: r(a, y, axis) - r(b, y, axis), (x, other, y), seed=1
  )
  assert apart.interval == pytest.approx(expected, abs=1e-9)


@pytest.mark.filterwarnings("ignore:.*BCa.*")
def test_draws_without_a_value_are_left_out(rng):
  """Of 5 rows, some draws are of one row alone: SciPy then has no interval."""
  x, y = pair(rng, 5, 0.7)
  assert np.isnan(scipy_interval(r_or_nan, (x, y), seed=1)).all()
  low, high = correlation.correlate(x, y, seed=1).interval
  assert -1 <= low < high <= 1


def test_no_interval_where_no_row_matters():
  x, y = [0, -1, 0, 1, 0], [2, 1, 2, 1, -1]
  assert correlation.correlate(x, y).pearson == pytest.approx(0, abs=1e-9)
  assert correlation.correlate(x, y).interval is None


@pytest.mark.parametrize(("n", "true"), [(9, 0.5), (30, 0.8)])
def test_intervals_cover_r_as_often_as_they_say(rng, n, true):
  """0.95 of 200 trials with a standard error of 0.0154."""
  held = np.zeros(2)
  for trial in range(200):
    x, y = pair(rng, n, true)
    found = correlation.correlate(x, y, samples=400, seed=trial)
    ends = (found.interval, found.fisher_interval)
    held += [low <= true <= high for low, high in ends]
  assert (held / 200 > 0.95 - 3 * 0.0154).all(), held
  assert (held / 200 < 0.995).all(), held


def test_intervals_of_differences_hold_zero(rng):
  """Two scores that are equally good; 150 trials, standard error 0.018."""
  held = 0
  for trial in range(150):
    y, a, b = rng.normal(size=(3, 25))
    found = correlation.difference(y + a, y + b, y, samples=400, seed=trial)
    held += found.interval[0] <= 0 <= found.interval[1]
  assert 0.95 - 3 * 0.018 < held / 150 < 0.995


def numbers(found):
  return np.hstack([
    [np.nan if v is None else v for v in np.atleast_1d(value)]
    for value in dataclasses.astuple(found)
    if not isinstance(value, str | None)
  ])  # fmt: skip


def test_affine_maps_change_nothing(rng):
  x, y = pair(rng, 40, 0.6)
  found = numbers(correlation.correlate(x, y))
  for a, b in ((3.7, -11), (1e-150, 0), (1e150, 1e150)):
    again = correlation.correlate(a * x + b, 2 * y - 5)
    assert numbers(again) == pytest.approx(found, abs=1e-9)
  turned = correlation.correlate(-x, y)
  before = correlation.correlate(x, y)
  for name in ("pearson", "kendall", "spearman"):
    assert getattr(turned, name) == pytest.approx(-getattr(before, name))
  assert turned.p_value == pytest.approx(before.p_value)


def test_ranks_are_all_that_rank_statistics_see(rng):
  x, y = pair(rng, 40, 0.6)
  before = correlation.correlate(x, y)
  after = correlation.correlate(np.exp(x), y**3)
  for name in STATISTICS[1:]:
    assert getattr(after, name) == pytest.approx(getattr(before, name))
  assert after.pearson != pytest.approx(before.pearson, abs=1e-3)


def test_order_of_rows_and_of_arguments(rng):
  x, y = pair(rng, 30, 0.6)
  before = correlation.correlate(x, y)
  order = rng.permutation(30)
  for after in (
    correlation.correlate(x[order], y[order]),
    correlation.correlate(y, x),
  ):
    for name in (*STATISTICS, "p_value", "fisher_interval"):
      assert getattr(after, name) == pytest.approx(getattr(before, name))


def test_seeds_and_blocks(rng, monkeypatch):
  x, y = pair(rng, 30, 0.6)
  first = correlation.correlate(x, y)
  assert correlation.correlate(x, y) == first
  assert correlation.correlate(x, y, seed=1).interval != first.interval
  narrow = correlation.correlate(x, y, level=0.5).interval
  assert first.interval[0] < narrow[0] < narrow[1] < first.interval[1]
  monkeypatch.setattr(bootstrap, "_BLOCK", 7 * 30)
  again = correlation.correlate(x, y).interval
  assert again == pytest.approx(first.interval, abs=0.02)


def test_more_samples_than_fit_at_once(rng):
  x, y = pair(rng, 5000, 0.6)
  found = correlation.correlate(x, y, samples=1000)
  # For n this large, both intervals are the same.
  assert found.interval == pytest.approx(found.fisher_interval, abs=3e-3)


def test_missing_values_are_left_out_and_counted(rng):
  x, y = pair(rng, 20, 0.6)
  clean = correlation.correlate(x, y)
  scores = [*x, None, 1.0, float("nan"), 2.0, np.inf]
  performances = [*y, 1.0, None, 1.0, float("nan"), 2.0]
  found = correlation.correlate(scores, performances)
  assert found == dataclasses.replace(clean, dropped=5)
  apart = correlation.difference(scores, [*x[::-1], *[1.0] * 5], performances)
  assert (apart.n, apart.dropped) == (20, 5)


@pytest.mark.parametrize(
  ("scores", "performances", "reason"),
  [
    ([], [], "a correlation needs 3 complete rows, not 0"),
    ([1.0, 2.0], [1.0, 2.0], "needs 3 complete rows, not 2"),
    ([1.0, 2.0, None], [1.0, 2.0, 3.0], "not 2"),
    ([0.25] * 9, range(9), "scores are all the same, 0.25"),
    ([0.1 + 0.2, 0.3, 0.3], [1, 2, 3], "scores are all the same, 0.3"),
    (range(9), [0.0] * 9, "performances are all the same, 0"),
  ],
)
def test_undefined_is_none_with_the_reason(scores, performances, reason):
  found = correlation.correlate(scores, performances)
  assert found.reason.endswith(reason)
  for name in (*STATISTICS, "p_value", "interval", "fisher_interval"):
    assert getattr(found, name) is None


def test_few_rows_and_lines():
  found = correlation.correlate([1, 2, 3], [1, 2, 4])
  assert found.pearson is not None
  assert found.interval is found.fisher_interval is None
  found = correlation.correlate([1, 2, 3, 4, 5, 6], [2, 4, 6, 8, 10, 12])
  assert found.pearson == pytest.approx(1)
  assert found.interval == pytest.approx((1, 1))
  assert found.fisher_interval == pytest.approx((1, 1))
  # One row alone decides what r is: a bootstrap cannot say how sure that is.
  found = correlation.correlate([1, 1, 1, 1, 1, 6], [2, 4, 6, 8, 10, 12])
  assert found.pearson is not None
  assert found.interval is None


def test_difference_golden():
  """r of 0.8 as above, and of -0.8 with the first scores turned round."""
  found = correlation.difference([1, 2, 3, 4], [4, 3, 2, 1], [1, 3, 2, 4])
  assert found.pearson_a == pytest.approx(0.8)
  assert found.pearson_b == pytest.approx(-0.8)
  assert found.value == pytest.approx(1.6)
  assert found.interval is None
  assert (found.n, found.dropped, found.level) == (4, 0, 0.95)


def test_difference_pairs_rows(rng):
  """A score against itself, rounded: no interval of one r is as short."""
  x, y = pair(rng, 60, 0.6)
  found = correlation.difference(x, x + 1e-3 * rng.normal(size=60), y)
  assert found.value == pytest.approx(0, abs=1e-3)
  low, high = found.interval
  assert -2e-3 < low < high < 2e-3
  other = correlation.difference(x, rng.normal(size=60), y)
  assert other.interval[0] > 0
  turned = correlation.difference(x, y**3, y)
  assert turned.value == pytest.approx(
    -correlation.difference(y**3, x, y).value
  )


def test_difference_undefined():
  found = correlation.difference([1, 2, 3, 4], [5, 5, 5, 5], [1, 3, 2, 4])
  assert found.pearson_a == pytest.approx(0.8)
  assert found.pearson_b is found.value is found.interval is None
  assert found.reason == "scores_b are all the same, 5"


# Model 2 has the highest score, then 0 and 3; model 3 is the best.
SCORES, REACHED = [-1.0, -3.0, -0.5, -2.0], [0.6, 0.5, 0.4, 0.8]


@pytest.mark.parametrize(
  ("k", "expected"), [(1, 0.4 / 0.8), (2, 0.6 / 0.8), (3, 1.0), (4, 1.0)]
)
def test_relative_top_k(rng, k, expected):
  def top(scores, performances):
    return selection.relative_top_k(scores, performances, k=k)

  assert top(SCORES, REACHED) == pytest.approx(expected)
  order = rng.permutation(4)
  assert top(np.take(SCORES, order), np.take(REACHED, order)) == pytest.approx(
    expected
  )
  assert top(np.exp(SCORES), np.multiply(REACHED, 3)) == pytest.approx(expected)


def test_regret():
  assert selection.regret(SCORES, REACHED) == pytest.approx((0.8 - 0.4) / 0.8)
  assert selection.regret(REACHED, REACHED) == 0


def test_selection_from_equal_and_missing_scores():
  # The worst of equal scores is chosen, in any order.
  assert selection.regret([1, 1, 0], [0.5, 1.0, 0.9]) == pytest.approx(0.5)
  assert selection.regret([1, 1, 0], [1.0, 0.5, 0.9]) == pytest.approx(0.5)
  # A model without a score is never chosen, but may have been the best.
  assert selection.regret([None, 1, 2], [1.0, 0.2, 0.7]) == pytest.approx(0.3)
  assert selection.relative_top_k(
    [None, np.nan, 2], [1.0, 0.2, 0.7], k=2
  ) == pytest.approx(0.7)


@pytest.mark.parametrize(
  ("scores", "performances", "k", "message"),
  [
    (
      [1, 2],
      [0.5, None],
      1,
      "performances: 1 of 2 are missing, so the best model",
    ),
    ([1, 2], [0.5, 0.6], 3, "k is 3, but there are 2 models"),
    ([1, 2], [0.5, 0.6], 0, "k is 0, but must be an integer from 1"),
    ([], [], 1, "k is 1, but there are 0 models"),
    ([1, 2], [0.0, 0.0], 1, "the best performance is 0: .* cannot be divided"),
    ([None, None], [0.5, 0.6], 1, "none of 2 models has a score"),
    ([1, 2, 3], [0.5, 0.6], 1, "scores has 3 values, but performances has 2"),
  ],
)
def test_selections_that_are_refused(scores, performances, k, message):
  with pytest.raises(leep_jax.InputError, match=message):
    selection.relative_top_k(scores, performances, k=k)


def test_levels_golden():
  """Scores from 0 to 10: bins of width 2; an edge belongs to the bin above.

  Bin 1 holds 0 and 1: mean 0.15, standard deviation 0.1 / sqrt(2), over
  sqrt(2): 0.05. The highest score is in the last bin.
  """
  scores = [1.0, 2.0, None, 0.0, 5.0, 10.0, 9.0, 3.0]
  performances = [0.2, 0.3, 0.9, 0.1, 0.4, 0.5, 0.7, None]
  found = correlation.levels(scores, performances)
  assert [(b.low, b.high) for b in found] == [
    (0, 2), (2, 4), (4, 6), (6, 8), (8, 10),
  ]  # fmt: skip
  assert [b.rows for b in found] == [(0, 3), (1,), (4,), (), (5, 6)]
  assert [b.n for b in found] == [2, 1, 1, 0, 2]
  assert found[0].mean == pytest.approx(0.15)
  assert found[0].standard_error == pytest.approx(0.05)
  assert (found[1].mean, found[1].standard_error) == (0.3, None)
  assert (found[3].mean, found[3].standard_error) == (None, None)
  assert found[4].mean == pytest.approx(0.6)


@pytest.mark.parametrize("count", [1, 2, 5, 13])
def test_levels_are_those_of_scipy(rng, count):
  x, y = pair(rng, 200, 0.6)
  found = correlation.levels(x, y, count=count)
  means, edges, _ = scipy.stats.binned_statistic(x, y, "mean", count)
  assert [b.low for b in found] == pytest.approx(edges[:-1])
  assert [b.high for b in found] == pytest.approx(edges[1:])
  assert sorted(i for b in found for i in b.rows) == list(range(200))
  for level, mean in zip(found, means, strict=True):
    if level.n:
      assert level.mean == pytest.approx(mean)
    if level.n > 1:
      error = scipy.stats.sem(y[list(level.rows)])
      assert level.standard_error == pytest.approx(error)


@pytest.mark.parametrize(
  ("scores", "performances", "message"),
  [
    ([2.5, 2.5], [1, 2], "no levels: scores are all the same, 2.5"),
    ([None, 1], [1, None], "none of 2 rows has a score and a performance"),
  ],
)
def test_no_levels(scores, performances, message):
  with pytest.raises(validation.UndefinedScore, match=message):
    correlation.levels(scores, performances)


@pytest.mark.parametrize(
  ("scores", "performances", "message"),
  [
    (
      [1, 2, 3],
      [1, 2],
      "scores has 3 values, but performances has 2: one of each",
    ),
    ([[1, 2, 3]], [1, 2, 3], r"scores has shape \(1, 3\), not \[n\]"),
    ([1, 2, 3], ["0.1", "0.2", "0.3"], "performances is <U3, not real numbers"),
    ([1, 2, "a"], [1, 2, 3], "scores is <U.*, not real numbers"),
    ([1, None, "a"], [1, 2, 3], "scores is <U.*, not real numbers"),
    ([1j, 2, 3], [1, 2, 3], "scores is complex128, not real numbers"),
    ([1, [2], 3], [1, 2, 3], "scores cannot be made an array"),
  ],
)
def test_bad_columns(scores, performances, message):
  for function in (correlation.correlate, correlation.levels):
    with pytest.raises(leep_jax.InputError, match=message) as caught:
      function(scores, performances)
    assert "\n" not in str(caught.value)


@pytest.mark.parametrize(
  ("options", "message"),
  [
    ({"level": 95}, "level is 95, but must be between 0 and 1: 0.95 for 95 %"),
    ({"level": float("nan")}, "level is nan"),
    ({"samples": 0}, "samples is 0, but must be an integer from 1"),
    ({"seed": -1}, "seed is -1, but must be an integer from 0"),
    ({"seed": 0.5}, "seed is 0.5"),
  ],
)
def test_bad_options(options, message):
  with pytest.raises(leep_jax.InputError, match=message):
    correlation.correlate([1, 2, 3], [1, 2, 3], **options)
  with pytest.raises(leep_jax.InputError, match=message):
    correlation.difference([1, 2, 3], [1, 2, 3], [1, 2, 3], **options)


def test_arrays_of_other_frameworks(rng):
  import jax.numpy as jnp

  x, y = pair(rng, 20, 0.6)
  single = correlation.correlate(x.astype(np.float32), y.astype(np.float32))
  assert correlation.correlate(jnp.asarray(x), jnp.asarray(y)) == single
  half = correlation.correlate(jnp.asarray(x, jnp.bfloat16), y)
  assert half.pearson == pytest.approx(single.pearson, abs=0.01)


def test_levels_between_given_scores():
  found = correlation.levels(
    [-1, 0, 4, 9, 11], [1, 2, 3, 4, 5], count=2, between=(0, 10)
  )
  assert [(level.low, level.high, level.rows) for level in found] == [
    (0, 5, (1, 2)), (5, 10, (3,)),
  ]  # fmt: skip
