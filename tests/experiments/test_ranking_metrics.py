"""Metrics of many samples at once, against SciPy's of one."""

import numpy as np
import pytest
import scipy.stats

from experiments import ranking_metrics, source_selection_tables

PAIRS = [
  (ranking_metrics.pearson, scipy.stats.pearsonr),
  (ranking_metrics.spearman, scipy.stats.spearmanr),
  (ranking_metrics.weighted_kendall, scipy.stats.weightedtau),
]


@pytest.mark.parametrize(("ours", "theirs"), PAIRS)
@pytest.mark.parametrize("missing", [(), (3,), (0, 5)])
def test_as_scipy_with_ties_and_missing_sources(ours, theirs, missing, rng):
  scores = rng.normal(size=(20, 9)).round(1)
  reached = scores + rng.normal(size=(20, 9)).round(1)
  kept = np.setdiff1d(np.arange(9), missing)
  expected = [
    theirs(x[kept], y[kept]).statistic
    for x, y in zip(scores, reached, strict=True)
  ]
  scores[:, list(missing)] = np.nan
  assert ours(scores, reached) == pytest.approx(expected, abs=1e-12)


@pytest.mark.parametrize("metric", [metric for metric, _ in PAIRS])
def test_undefined_metrics(metric):
  same, two = [[1.0, 1.0, 1.0]], [[1.0, 2.0, np.nan]]
  reached = np.array([[0.1, 0.2, 0.3]])
  assert np.isnan(metric(np.array(same), reached)).all()
  assert np.isnan(metric(np.array(two), reached)).all()


def test_regret_by_hand():
  reached = np.array([[0.9, 0.7, 0.8, np.nan]])
  for scores, expected in [
    ([3.0, 2.0, 1.0, 9.0], 0.0),  # the source of 9 was not trained
    ([1.0, 2.0, 1.0, 0.0], 0.2),
    ([np.nan, 1.0, 2.0, 0.0], 0.1),  # the best has no score
    ([0.0, 0.0, 0.0, 0.0], 0.1),  # any of them: the mean
  ]:
    found = ranking_metrics.regret(np.array([scores]), reached)
    assert found == pytest.approx([expected])
  assert np.isnan(ranking_metrics.regret(np.full((1, 4), np.nan), reached))


def test_regret_of_a_ranker_of_section_5_7():
  # Two sources are first: their mean is 0.75, whichever of them is named first.
  reached = np.array([0.9, 0.6, 0.8, 0.5])
  values = {"leep": np.array([2.0, 2.0, 1.0, 0.0]), "nce": np.ones(4)}
  cell = source_selection_tables.Cell("digits", 5, reached, values)
  every = np.ones(4, bool)
  found, regret = source_selection_tables.correlated(cell, "leep", every)
  assert regret == pytest.approx(15)
  assert found.pearson == pytest.approx(
    scipy.stats.pearsonr(values["leep"], reached).statistic
  )
  _, regret = source_selection_tables.correlated(cell, "leep", reached < 0.9)
  assert regret == pytest.approx(20)
  assert source_selection_tables.correlated(cell, "nce", every)[1] is None


def test_pairs_in_order_by_hand():
  reached = np.array([[0.9, 0.8, 0.795, 0.5]])
  # Of five pairs at least a point apart, one is tied and one in wrong order.
  scores = np.array([[4.0, 4.0, 3.0, 3.5]])
  found = ranking_metrics.pairs_in_order(scores, reached, apart=0.01)
  assert found == pytest.approx([3.5 / 5])
