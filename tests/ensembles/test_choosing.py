"""Greedy choice: complements before runners-up, and when it ends."""

import numpy as np
import oracles
import pytest

import leep_jax
from leep_jax import ensembles, validation


def source(rng, labels, known, noise, *, like=None, name="source"):
  """A source that tells the known of twelve classes apart.

  Its features are those of another source, with more noise, if there is one.
  """
  signal = np.eye(12)[labels] * np.isin(np.arange(12), known)
  values = signal if like is None else like.features
  values = values + noise * rng.normal(size=signal.shape)
  return leep_jax.Outputs.from_arrays(
    features=values, probs=oracles.softmax(8 * values), labels=labels, name=name
  )


def pool(rng, n=1200):
  """The best two know the same classes, the third, which is worse, others."""
  labels = np.arange(n) % 12
  best = source(rng, labels, range(7), 0.25)
  return {
    "best": best,
    "second": source(rng, labels, [], 0.1, like=best),
    "other": source(rng, labels, range(7, 12), 0.25),
    "nothing": source(rng, labels, [], 0.3),
  }


@pytest.mark.parametrize("rank_by", ["probe_accuracy", "leep_loo"])
def test_a_complement_comes_before_the_second_best(rank_by, rng):
  sources = pool(rng)
  alone = {
    name: leep_jax.compute_scores(one, names=[rank_by])[rank_by]
    for name, one in sources.items()
  }
  order = sorted(alone, key=alone.get, reverse=True)
  assert order == ["best", "second", "other", "nothing"]
  choice = leep_jax.choose(sources, count=2, rank_by=rank_by)
  assert choice.names == ["best", "other"]
  first, second = choice.members
  assert first.score.value == pytest.approx(alone["best"], abs=1e-6)
  assert second.gain.value == pytest.approx(
    second.score.value - first.score.value
  )
  assert second.surely_adds
  assert (first.compared, second.compared) == (4, 3)
  pair = leep_jax.choose(
    {name: sources[name] for name in ("best", "second")}, rank_by=rank_by,
    count=2, groups=1,
  )  # fmt: skip
  assert second.score.value > pair.members[-1].score.value + 0.1
  assert choice.gain.value == pytest.approx(second.gain.value)
  assert set(choice.mixture.weights) == {"best", "other"}


def test_a_set_has_the_score_of_joined_features(rng):
  sources = pool(rng)
  choice = leep_jax.choose(sources)
  for i, added in enumerate(choice.members):
    joined = np.concatenate(
      [sources[name].features for name in choice.names[: i + 1]], axis=1
    )
    assert added.score.value == leep_jax.probe_accuracy(
      joined, sources["best"].labels
    )
    assert added.log_loss.value == pytest.approx(
      leep_jax.probe_log_loss(joined, sources["best"].labels), abs=1e-9
    )


@pytest.mark.parametrize("rank_by", ["probe_log_loss", "leep_loo"])
def test_order_of_sources_changes_nothing(rank_by, rng):
  sources = pool(rng)
  one = leep_jax.choose(sources, rank_by=rank_by)
  other = leep_jax.choose(dict(reversed(sources.items())), rank_by=rank_by)
  assert one.names == other.names
  for a, b in zip(one.members, other.members, strict=True):
    assert a.score.value == b.score.value


def test_a_copy_is_not_added(rng):
  labels = np.arange(300) % 6
  one = source(rng, labels, [0, 1, 2, 3], 0.25)
  copies = {"a": one, "b": one, "c": one}
  choice = leep_jax.choose(copies, rank_by="leep_loo")
  assert choice.names == ["a"]
  assert choice.rejected.gain.value == 0
  assert not choice.rejected.adds
  # A copy in the features halves the penalty, which changes little.
  choice = leep_jax.choose(copies)
  assert choice.names == ["a"]
  assert abs(choice.rejected.gain.value) < 0.01


def test_constant_features_add_nothing(rng):
  sources = pool(rng)
  flat = leep_jax.Outputs.from_arrays(
    features=np.full((1200, 3), 7.0), labels=sources["best"].labels
  )
  choice = leep_jax.choose({"best": sources["best"], "flat": flat}, count=2)
  assert choice.names == ["best"]
  assert choice.rejected.gain.value == 0
  assert choice.mixture.weights == {"best": 1.0}


def test_regression_and_sets_of_labels(rng):
  labels = np.arange(300) % 6
  parts = {
    name: source(rng, labels, known, 0.3).features
    for name, known in {"a": [0, 1, 2], "b": [0, 1], "c": [3, 4, 5]}.items()
  }
  for targets, name in (
    ({"targets": np.eye(6)[labels]}, "probe_r2"),
    ({"multi_labels": np.eye(6, dtype=int)[labels]}, "probe_map"),
  ):
    outputs = {
      k: leep_jax.Outputs.from_arrays(features=v, **targets)
      for k, v in parts.items()
    }
    choice = leep_jax.choose(outputs, count=2)
    assert choice.rank_by == name
    assert set(choice.names) == {"a", "c"}
    assert choice.members[1].surely_adds
    assert choice.mixture is None
    assert "has no labels" in choice.without_mixture
    assert choice.members[1].log_loss is None


def test_sources_without_what_is_needed_are_left_out(rng):
  sources = pool(rng)
  labels = sources["best"].labels
  bare = leep_jax.Outputs.from_arrays(
    probs=sources["best"].probs, labels=labels
  )
  features = leep_jax.Outputs.from_arrays(
    features=sources["other"].features, labels=labels
  )
  named = {"best": sources["best"], "bare": bare, "features": features}
  choice = leep_jax.choose(named)
  assert choice.names == ["best", "features"]
  assert choice.left_out == {"bare": "the source gives no features"}
  assert choice.without_mixture == "features has no probs"
  choice = leep_jax.choose(named, rank_by="leep_loo")
  assert choice.left_out == {"features": "the source gives no probs"}
  with pytest.raises(validation.UndefinedScore, match="no source has probe_ac"):
    leep_jax.choose({"bare": bare}, count=1)


def test_without_groups_there_are_no_errors(rng):
  choice = leep_jax.choose(pool(rng), groups=1, count=4)
  assert choice.members[0].score.standard_error is None
  assert all(added.gain.value > 0 for added in choice.members[1:])
  assert choice.members[1].surely_adds is None


def test_every_set_is_announced(rng):
  seen = []
  choice = leep_jax.choose(pool(rng), count=2, on_set=seen.append)
  assert [len(names) for names in seen] == [1] * 4 + [2] * 3
  assert all(names[0] == choice.names[0] for names in seen[4:])


def test_a_set_is_not_judged_by_the_largest_of_many_gains_alone(rng):
  # Of 30 sources of noise one adds more than its error, but not surely.
  labels = np.arange(240) % 6
  sources = {"best": source(rng, labels, [0, 1, 2, 3], 0.3)}
  for i in range(30):
    sources[f"noise {i}"] = source(rng, labels, [], 0.3)
  choice = leep_jax.choose(sources, count=2, rank_by="probe_log_loss")
  added = choice.rejected or choice.members[1]
  assert added.compared == 30
  assert not added.surely_adds


@pytest.mark.parametrize(
  ("options", "message"),
  [
    ({"count": 0}, "count is 0"),
    ({"count": 5}, "count is 5, but there are 4 sources"),
    ({"rank_by": "leep"}, "chosen by a held-out score .probe_acc.*not by leep"),
    ({"rank_by": "probe_r2"}, "not by probe_r2"),
  ],
)
def test_mistakes(options, message, rng):
  with pytest.raises(leep_jax.InputError, match=message):
    leep_jax.choose(pool(rng), **options)


def test_other_examples_are_refused(rng):
  labels = np.arange(60) % 6
  outputs = {
    "a": source(rng, labels, [0], 0.3, name="a"),
    "b": source(rng, labels[::-1], [0], 0.3, name="b"),
  }
  with pytest.raises(leep_jax.InputError, match="a and b are not of the same"):
    leep_jax.choose(outputs, count=2)
  with pytest.raises(leep_jax.InputError, match="there are no outputs"):
    ensembles.choose({})
