"""The study of intervals: what is judged, and the committed rows."""

import numpy as np
import pytest

from experiments import coverage, coverage_judged
import leep_jax
from leep_jax.scores import jackknife


def estimates(values, error):
  """Estimates of all sources with one standard error, from 20 groups."""
  noise = np.tile([1.0, -1.0], 10)
  # (G - 1) / G * sum of squared deviations is error^2.
  noise *= error / np.sqrt(19)
  sizes = np.full(20, 5)
  return [
    jackknife.Estimate(v, v + noise * (1 + i), sizes)
    for i, v in enumerate(values)
  ]


def test_samples_are_disjoint_and_the_same_again():
  found = list(coverage.samples(5000, 5))
  assert len(set(np.concatenate(found[:4]))) == 20_000
  assert not np.array_equal(found[4], found[0])
  for one, again in zip(found, coverage.samples(5000, 5), strict=True):
    np.testing.assert_array_equal(one, again)


def test_intervals_are_judged():
  truth = np.arange(8.0)
  right = coverage.facts(estimates(truth, 0.01))
  wrong = coverage.facts(estimates(truth[::-1], 0.01))
  above = coverage.facts(estimates(truth + 5, 0.01))
  row = coverage_judged.judged(100, [right, right, wrong, wrong], truth)
  assert row["holds"] == row["pair_holds"] == 0.5
  assert row["told_apart"] == 1
  assert row["right"] == 0.5
  assert row["set_size"] == 1
  assert row["set_holds"] == 0.5
  assert row["holds_mean"] == 0
  # Bias of all sources leaves their differences as they are.
  row = coverage_judged.judged(100, [right, above], truth)
  assert (row["holds"], row["pair_holds"], row["bias"]) == (0.5, 1, 2.5)
  # A truth for each sample.
  row = coverage_judged.judged(
    100, [right, wrong], np.stack([truth, truth[::-1]])
  )
  assert row["holds"] == row["set_holds"] == 1
  # Samples that all have one value.
  row = coverage_judged.judged(100, [right, right], truth)
  assert row["holds"] is None
  assert "| saturated |" in coverage.table(
    [{**row, "target": "cifar100", "score": "leep", "groups": "",
      "truth": "large n"}]
  )  # fmt: skip


def test_intervals_are_shortened_as_the_images_are_all_there_is():
  truth = np.zeros(8)
  first, second = (
    coverage.facts(estimates(truth + shift, 0.01)) for shift in (0.0, 0.02)
  )
  # t of 19 degrees of freedom is 2.09; all but the first are wider.
  assert coverage_judged.judged(100, [first, second], truth)["holds"] == 1
  row = coverage_judged.judged(5000, [first, second], truth)
  assert row["holds"] == pytest.approx(15 / 16)


def test_sets_are_those_of_the_package():
  rng = np.random.default_rng(0)
  for scale in (0.01, 1.0, 10.0):
    values = rng.normal(size=8)
    deleted = values + scale * rng.normal(size=(20, 8))
    found = [
      jackknife.Estimate(value, column, np.full(20, 5))
      for value, column in zip(values, deleted.T, strict=True)
    ]
    kept = coverage.facts(found)
    single, pairs = (
      np.array([kept[key]], float) for key in ("single", "pairs")
    )
    for some in (range(8), (0, 2, 5)):
      got = coverage_judged.may_be_best(single[..., 0], pairs, list(some), 19)
      want = jackknife.indistinguishable([found[k] for k in some])
      assert got[0].tolist() == want


def test_heads_are_those_of_the_probe():
  rng = np.random.default_rng(0)
  labels = rng.integers(0, 3, 400)
  features = np.eye(3)[labels] + rng.normal(size=(400, 3))
  sample = leep_jax.Outputs.from_arrays(
    features=features[:200], labels=labels[:200]
  )
  probe = leep_jax.probe_accuracy(features[:200], labels[:200])
  got = coverage.reached(sample, features[200:], labels[200:])
  assert got == pytest.approx(probe, abs=0.1)
  assert got > 0.45
  # Labels that no example of the sample has are never right.
  assert coverage.reached(sample, features[200:], labels[200:] + 3) == 0


def test_a_sample_is_scored(monkeypatch):
  rng = np.random.default_rng(0)
  monkeypatch.setattr(coverage, "EXAMPLES", 120)
  labels = rng.integers(0, 3, 120)
  sources = [
    leep_jax.Outputs.from_arrays(
      probs=rng.dirichlet(np.ones(4), 120),
      features=rng.normal(size=(120, 2)),
      labels=labels,
    )
    for _ in coverage.SOURCES
  ]
  found = coverage.draw(
    sources, np.arange(60), ("probe_accuracy", *coverage.TRIED)
  )
  assert len(found[coverage.REACHED]) == len(sources)
  assert set(found["scores"]) == {
    "", *coverage.VARIANTS, coverage.BIAS_CORRECTED,
  }  # fmt: skip
  usual, sorted_by_class = (
    found["scores"][kind]["leep"]["single"][0] for kind in ("", "stratified")
  )
  # The same examples in other groups.
  assert usual[0] == pytest.approx(sorted_by_class[0], abs=1e-6)
  assert usual[1] != sorted_by_class[1]


def test_committed_rows_are_whole():
  rows = coverage.measured()
  found = {(r["target"], r["score"], r["n"]) for r in rows if r["groups"] == ""}
  assert len(found) == 2 * len(coverage.SCORES) * len(coverage.SIZES)
  for row in rows:
    fewer = coverage.FEWER.get(row["score"], coverage.DRAWS)
    assert row["samples"] == fewer
  # Held-out scores tell sources apart the right way.
  for row in rows:
    if row["score"] == "leep_loo" and row["n"] == 5000:
      assert row["right"] > 0.99
