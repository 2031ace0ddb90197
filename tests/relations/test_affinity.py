"""Affinities of sources to targets, from rows of trained transfers."""

import numpy as np
import pytest

import leep_jax
from leep_jax import relations
from leep_jax.relations import affinity


def rows_of(table, **columns):
  """Rows of a table `{source: [accuracies of tasks]}`."""
  return [
    {
      "model": model, "dataset": "d", "task": f"t{i}", "seed": 0,
      "method": "probe", "accuracy": value, **columns,
    }
    for model, values in table.items()
    for i, value in enumerate(values)
  ]  # fmt: skip


TABLE = {"a": [0.9, 0.8, 0.7, 0.9], "b": [0.5, 0.8, 0.75, 0.6]}


def test_win_rates_by_hand():
  # a wins twice, loses once, and one trial is even: 2.5 of 4.
  found = relations.win_rates(list(TABLE.values()))
  np.testing.assert_allclose(found, [[0.5, 0.625], [0.375, 0.5]])
  # What diverged loses, and two of them are equal.
  found = relations.win_rates([[np.nan, np.nan], [0.1, np.nan]])
  np.testing.assert_allclose(found, [[0.5, 0.25], [0.75, 0.5]])


def test_two_sources_by_hand():
  found = relations.affinities(rows_of(TABLE))
  assert found.sources == ("a", "b")
  assert found.targets == ("d",)
  assert found.trials == (4,)
  # The ratio of 0.625 and 0.375 is 5 to 3.
  np.testing.assert_allclose(found.values, [[5 / 8], [3 / 8]], atol=1e-12)


def test_consistent_ratios_give_their_strengths(rng):
  # If i wins with a_i / (a_i + a_j), it is a_i / a_j times better.
  strengths = rng.gamma(1, size=6)
  strengths /= strengths.sum()
  rates = strengths[:, None] / (strengths[:, None] + strengths[None])
  np.testing.assert_allclose(affinity.eigenvector(rates), strengths)


def test_eigenvector_is_that_of_power_iteration(rng):
  rates = relations.win_rates(rng.integers(0, 4, (5, 9)))
  clipped = np.clip(rates, 0.001, 0.999)
  vector = np.ones(5)
  for _ in range(500):
    vector = clipped / clipped.T @ vector
    vector /= vector.sum()
  np.testing.assert_allclose(affinity.eigenvector(rates), vector, atol=1e-12)


def test_who_always_wins_is_not_infinitely_better():
  found = relations.affinities(rows_of({"a": [1.0], "b": [0.9]}))
  np.testing.assert_allclose(found.values[:, 0], [0.999, 0.001])


def test_only_the_order_within_a_trial_counts(rng):
  values = rng.random((4, 8))
  names = "abcd"
  table = dict(zip(names, values, strict=True))
  expected = relations.affinities(rows_of(table)).values
  other = dict(zip(names, np.exp(values * np.arange(1, 9)), strict=True))
  rows = rows_of(other)
  order = rng.permutation(len(rows))
  found = relations.affinities([rows[i] for i in order])
  by_name = [found.sources.index(name) for name in names]
  np.testing.assert_allclose(found.values[by_name], expected, atol=1e-12)


def test_targets_may_have_different_sources():
  rows = rows_of(TABLE) + rows_of({"b": [0.1], "c": [0.2]}, dataset="e")
  found = relations.affinities(rows)
  assert found.sources == ("a", "b", "c")
  assert found.targets == ("d", "e")
  assert np.isnan(found.values).tolist() == [
    [False, True],
    [False, False],
    [True, False],
  ]
  np.testing.assert_allclose(np.nansum(found.values, axis=0), 1)


def test_tasks_as_targets():
  found = relations.affinities(rows_of(TABLE), by="task")
  assert found.targets == ("d t0", "d t1", "d t2", "d t3")
  np.testing.assert_allclose(found.values[0], [0.999, 0.5, 0.001, 0.999])


def test_splits_of_a_data_set_are_targets_of_their_own():
  rows = rows_of(TABLE, split="x") + rows_of(TABLE, split="y")
  found = relations.affinities(rows)
  assert len(found.targets) == 2


def test_scores_are_left_out_and_methods_chosen():
  scored = [{"model": "a", "method": "score", "scores": {}}]
  tuned = rows_of({"a": [0.1] * 4, "b": [0.2] * 4}, method="fine_tune")
  rows = scored + rows_of(TABLE) + tuned
  found = relations.affinities(rows, method="fine_tune")
  np.testing.assert_allclose(found.values[:, 0], [0.001, 0.999])
  with pytest.raises(leep_jax.InputError, match="of 2 methods .*choose one"):
    relations.affinities(rows)
  with pytest.raises(leep_jax.InputError, match="unknown method"):
    relations.affinities(rows, method="scratch")


def without(column):
  rows = rows_of(TABLE)
  del rows[3][column]
  return rows


@pytest.mark.parametrize(
  ("rows", "text"),
  [
    ([], "no rows of trained transfers"),
    (rows_of({"a": [0.5]}), "d has one source, a"),
    (rows_of(TABLE)[:-1], "b lacks 1 of the 4 trials .* such as task t3, seed"),
    (without("accuracy"), "a row has no column accuracy, but model"),
    (without("task"), "a row has no column task"),
    (
      rows_of(TABLE) + rows_of({"a": [0.1] * 5}, recipe={"epochs": 9}),
      "rows of d were trained by probe with different options",
    ),
    (
      rows_of({"a": [0.1]}, source_digest="x")
      + rows_of({"a": [0.1]}, source_digest="y"),
      "rows of a are of two sources",
    ),
  ],
)
def test_rows_that_do_not_compare_are_refused(rows, text):
  with pytest.raises(leep_jax.InputError, match=text):
    relations.affinities(rows)


@pytest.mark.parametrize(
  ("options", "text"),
  [({"metric": "f1"}, "unknown metric"), ({"by": "model"}, "unknown kind of")],
)
def test_unknown_options_are_refused(options, text):
  with pytest.raises(leep_jax.InputError, match=text):
    relations.affinities(rows_of(TABLE), **options)


def test_metrics_without_trials_are_refused():
  with pytest.raises(leep_jax.InputError, match="at least a trial"):
    relations.win_rates(np.zeros((2, 0)))


def test_a_metric_that_tasks_do_not_have():
  rows = rows_of({"a": [None], "b": [None]}, diverged=False)
  with pytest.raises(leep_jax.InputError, match="accuracy of task t0 .* null"):
    relations.affinities(rows)
  rows = rows_of({"a": [None], "b": [0.5]}, diverged=True)
  found = relations.affinities(rows)
  assert found.values[0, 0] < found.values[1, 0]
