"""Races of sources: who wins, what runs, and that numbers are those without."""

import collections

import marks
import networks
import numpy as np
import pytest

import leep_jax
from leep_jax import data, racing, scores
from leep_jax.engine import programs
from leep_jax.racing import elimination
from leep_jax.scores import per_example

CLASSES = 3


@pytest.fixture
def share(monkeypatch):
  """A score that is the mean of a feature of 0 and 1: no head to fit."""

  def parts(outputs):
    return per_example.PerExample.mean(outputs.features[:, 0])

  row = scores.Score(leep_jax.probe_accuracy, parts, "features")
  monkeypatch.setitem(scores.SCORES, "share", row)
  return "share"


def right(seed, accuracies, count=1000):
  """Outputs whose feature is whether an example is right, hard ones for all."""
  rng = np.random.default_rng(seed)
  hard, labels = rng.random(count), rng.integers(0, 4, count)
  return {
    f"s{i}": leep_jax.Outputs.from_arrays(
      features=(0.7 * hard + 0.3 * rng.random(count) < a)[:, None] * 1.0,
      labels=labels,
    )
    for i, a in enumerate(accuracies)
  }


def lost(share, races):
  """The share of races that drop the source that is best on all examples."""
  accuracies = [0.7, 0.69, 0.69, 0.68, 0.68, 0.68]
  count = 0
  for seed in range(races):
    outputs = right(seed, accuracies)
    full = {name: o.features.mean() for name, o in outputs.items()}
    race = racing.race_outputs(outputs, rank_by=share, seed=seed)
    best = max(full.values())
    count += all(full[x.name] < best for x in race.survivors)
  return count / races


@pytest.mark.parametrize("races", [40, *marks.exhaustive(500)])
def test_the_best_is_hardly_ever_eliminated(share, races):
  assert lost(share, races) <= 0.05


def test_too_short_intervals_eliminate_it_more_often(share, monkeypatch):
  """So that the test above can fail."""
  judge = elimination.judge
  monkeypatch.setattr(
    elimination,
    "judge",
    lambda estimates, *, level, **options: judge(
      estimates, level=0.5, **options
    ),
  )
  assert lost(share, 40) > 0.05


def test_poor_sources_leave_early(share):
  race = racing.race_outputs(
    right(0, [0.5, 0.9, 0.2, 0.75]), rank_by=share, tolerance=0
  )
  assert [x.name for x in race.survivors] == ["s1"]
  seen = {x.name: len(x.outputs) for x in race.eliminated}
  assert seen["s2"] == seen["s0"] == 100
  assert seen["s3"] in (100, 200)
  # The last to leave is first, then the better one.
  assert [x.name for x in race.eliminated] == ["s3", "s0", "s2"]
  for left in race.eliminated:
    assert left.best == "s1"
    low, high = left.interval
    assert 0 < low < high
    assert left.estimate.value == left.outputs.features.mean()
  assert race.forwarded == 1000 + sum(seen.values())
  assert race.saved == 4000 - race.forwarded


def test_rounds_are_told(share):
  rounds = []
  race = racing.race_outputs(
    right(0, [0.5, 0.9, 0.88]), rank_by=share, on_round=rounds.append
  )
  assert [r.number for r in rounds] == [*range(1, len(rounds)), 4]
  assert rounds[0].num_examples == 100
  assert rounds[0].eliminated == ("s0",)
  assert rounds[-1].num_examples == 1000
  assert rounds[-1].forwarded == race.forwarded
  assert all(r.of == 4 for r in rounds)


@pytest.mark.parametrize(("tolerance", "tied"), [(0.05, True), (0.0, False)])
def test_the_race_stops_when_the_sources_left_are_tied(share, tolerance, tied):
  outputs = right(0, [0.7, 0.1])
  outputs["twin"] = outputs["s0"]
  rounds = []
  race = racing.race_outputs(
    outputs, rank_by=share, tolerance=tolerance, on_round=rounds.append
  )
  assert race.tied == tied
  assert len(rounds) == (2 if tied else 4)
  assert {x.name for x in race.survivors} == {"s0", "twin"}
  assert all(len(x.outputs) == 1000 for x in race.survivors)


def test_few_examples_all_run(share):
  race = racing.race_outputs(right(0, [0.9, 0.1], count=120), rank_by=share)
  assert race.saved == 0
  assert [x.name for x in race.survivors] == ["s0", "s1"]


def test_one_source_runs_on_all(share):
  race = racing.race_outputs(right(0, [0.3]), rank_by=share)
  assert (race.forwarded, len(race.survivors[0].outputs)) == (1000, 1000)


def test_a_source_without_the_score_leaves():
  outputs = {"s": networks.clusters(0, 300)}
  outputs["no"] = leep_jax.Outputs.from_arrays(
    probs=np.full((300, 2), 0.5), labels=outputs["s"].labels
  )
  race = racing.race_outputs(outputs)
  (left,) = race.eliminated
  assert (left.name, left.interval, left.estimate) == ("no", None, None)
  assert "no features" in left.why
  with pytest.raises(leep_jax.InputError, match="no source has probe_accuracy"):
    racing.race_outputs({"no": outputs["no"], "too": outputs["no"]})


def noisy(weights):
  """A source that sees the three colours with some weights."""

  def apply(state, images):
    features = images.mean(axis=(1, 2)) * state[None]
    return 9 * features - 1, features

  return leep_jax.Source(
    name=f"{weights}", apply=apply, state=np.asarray(weights, np.float32)
  )


def colours(count=400, *, targets=False, seen=None):
  """Images with noise and one brighter colour, of which fetches are counted."""
  rng = np.random.default_rng(0)
  labels = rng.integers(0, CLASSES, count)
  images = rng.integers(0, 120, (count, 4, 4, 3), dtype=np.uint8)
  for i, label in enumerate(labels):
    images[i, ..., label] += np.uint8(rng.integers(0, 100))
  numbers = labels[:, None] * [1.0, 0.5]
  truth = numbers if targets else labels

  def fetch(indices):
    if seen is not None:
      seen.update(indices.tolist())
    return images[indices], truth[indices]

  return data.Dataset(
    name="colours",
    split="all",
    num_classes=0 if targets else CLASSES,
    indices=np.arange(count)[::-1].copy(),
    image_shape=(4, 4, 3),
    fetch=fetch,
    all_labels=None if targets else labels,
    version="1",
    in_memory=True,
  )


SOURCES = [(1, 0, 0), (1, 1, 1), (0, 0, 1)]


@pytest.mark.parametrize("targets", [False, True])
def test_survivors_have_the_numbers_of_all_examples(device_count, targets):
  dataset = colours(targets=targets)
  sources = [noisy(weights) for weights in SOURCES]
  race = leep_jax.race(sources, dataset)
  assert race.rank_by == ("probe_r2" if targets else "probe_accuracy")
  assert race.survivors[0].name == "(1, 1, 1)"
  assert race.eliminated
  by_name = {source.name: source for source in sources}
  for survivor in race.survivors:
    full = leep_jax.compute_outputs(by_name[survivor.name], dataset)
    raced = survivor.outputs
    for key in full.store.keys():
      assert np.array_equal(full.store.array(key), raced.store.array(key))
    assert full.examples == raced.examples
    names = [race.rank_by, "lab_mse" if targets else "leep"]
    expected = leep_jax.estimate_scores(full, names=names)
    found = leep_jax.estimate_scores(raced, names=names)
    for name, estimate in expected.items():
      assert found[name].value == estimate.value
      assert found[name].standard_error == estimate.standard_error
    assert survivor.estimate.value == expected[race.rank_by].value


def test_no_image_runs_twice():
  seen = collections.Counter()
  leep_jax.race([noisy((1, 1, 1))], colours(seen=seen))
  assert set(seen.values()) == {1}
  seen.clear()
  race = leep_jax.race([noisy(x) for x in SOURCES], colours(seen=seen))
  assert sum(seen.values()) == race.forwarded < race.without_racing == 1200
  assert len(seen) == 400


@pytest.mark.parametrize("memory", [1 << 30, 0])
def test_functions_load_sources_once_if_memory_allows(monkeypatch, memory):
  monkeypatch.setattr(programs, "memory_budget", lambda: (0, memory))
  loaded = collections.Counter()

  def loader(weights):
    def load():
      loaded[weights] += 1
      return noisy(weights)

    return load

  race = leep_jax.race([loader(x) for x in SOURCES[:2]], colours())
  assert race.survivors[0].name == "(1, 1, 1)"
  assert race.eliminated[0].round == 1
  assert loaded[1, 1, 1] == (1 if memory else 2)
  assert loaded[1, 0, 0] == 1


def test_what_ran_can_be_read_after_an_interruption():
  def interrupt(name, number, done, total):
    if number == 2:
      raise KeyboardInterrupt

  twins = [noisy((1, 1, 1)), noisy((1, 1, 1))]
  sources = racing.Forwarded(twins, colours(), progress=interrupt)
  contest = racing.Contest(sources, labels=sources.labels)
  with pytest.raises(KeyboardInterrupt):
    contest.run()
  race = contest.result()
  assert [len(x.outputs) for x in race.survivors] == [100, 100]
  assert race.forwarded == 200


def test_a_source_that_fails_leaves_or_raises():
  def fail():
    raise leep_jax.InputError("no such file")

  with pytest.raises(leep_jax.InputError, match="no such file"):
    leep_jax.race([noisy((1, 1, 1)), fail], colours())
  failed = []
  sources = racing.Forwarded([noisy((1, 1, 1)), fail], colours())
  contest = racing.Contest(
    sources, labels=sources.labels, on_error=lambda *error: failed.append(error)
  )
  contest.run()
  assert [x.name for x in contest.result().survivors] == ["(1, 1, 1)"]
  assert contest.result().without_racing == 400
  assert [(name, str(error)) for name, error in failed] == [
    ("fail", "no such file")
  ]


@pytest.mark.parametrize(
  ("options", "message"),
  [
    ({"rank_by": "leap"}, "leap"),
    ({"rank_by": "probe_r2"}, "not defined for classes"),
    ({"tolerance": -1.0}, "tolerance"),
    ({"level": 1.0}, "level"),
    ({"start": 0}, "start"),
    ({"batch_size": 0}, "batch_size"),
  ],
)
def test_wrong_arguments_are_refused(options, message):
  with pytest.raises(leep_jax.InputError, match=message):
    leep_jax.race([noisy((1, 1, 1))], colours(), **options)


def test_what_is_no_race_is_refused():
  with pytest.raises(leep_jax.InputError, match="no sources"):
    leep_jax.race([], colours())
  with pytest.raises(leep_jax.InputError, match="needs a Dataset"):
    leep_jax.race([noisy((1, 1, 1))], [(np.zeros((1, 2, 2, 3)), [0])])
  with pytest.raises(leep_jax.InputError, match="not a Source"):
    leep_jax.race([dict, dict], colours())
  with pytest.raises(leep_jax.InputError, match="same examples"):
    racing.race_outputs(
      {"a": networks.clusters(0, 50), "b": networks.clusters(1, 50)}
    )
