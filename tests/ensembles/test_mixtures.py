"""Mixtures of sources: their held-out likelihood, and its errors."""

import numpy as np
import oracles
from oracles import ensembles as oracle
import pytest

import leep_jax
from leep_jax import ensembles, validation
from leep_jax.scores import jackknife


def outputs(probs, labels, name="outputs"):
  return leep_jax.Outputs.from_arrays(probs=probs, labels=labels, name=name)


def sources(rng, n=400, classes=4, signals=(2.0, 1.5, 0.0)):
  """Probabilities of sources with 5, 6, ... labels, and target labels."""
  labels = rng.integers(0, classes, n)
  found = {}
  for i, signal in enumerate(signals):
    centres = rng.normal(size=(classes, 5 + i))
    logits = signal * centres[labels] + rng.normal(size=(n, 5 + i))
    found["abcdef"[i]] = oracles.softmax(logits)
  return found, labels


def mix(probs, labels, **options):
  named = {name: outputs(p, labels, name) for name, p in probs.items()}
  return ensembles.mix(named, **options)


def test_by_hand():
  # Source a tells class 0 from the others, b class 2. Of the others' counts,
  # class 0 has probability 1 by a and 1/3 by b, class 1 1/3 by both.
  labels = np.array([0, 0, 1, 1, 2, 2])
  a, b = (np.eye(2)[(labels == y).astype(int)] for y in (0, 2))
  found = mix({"a": a, "b": b}, labels, groups=1)
  assert found.weights == pytest.approx({"a": 0.5, "b": 0.5}, abs=1e-9)
  expected = np.log([2 / 3, 1 / 3, 2 / 3]).mean()
  assert found.maximum == pytest.approx(expected, abs=1e-6)
  # One free weight, of 6 examples.
  assert found.score.value == pytest.approx(expected - 1 / 6, abs=1e-6)
  assert found.equal.value == pytest.approx(expected, abs=1e-6)
  assert found.score.standard_error is None


def test_float64_oracle(rng, device_count):
  probs, labels = sources(rng)
  found = mix(probs, labels)
  q = np.stack([oracle.held_out(p, labels) for p in probs.values()], axis=1)
  best = oracle.stacking_weights(q)
  assert list(found.weights.values()) == pytest.approx(best, abs=1e-3)
  assert found.maximum == pytest.approx(np.log(q @ best).mean(), abs=1e-6)
  assert found.equal.value == pytest.approx(np.log(q.mean(axis=1)).mean())
  assert found.gap <= 1e-9


def test_one_source_is_leep_loo(rng):
  probs, labels = sources(rng)
  for p in probs.values():
    found = mix({"a": p}, labels).score
    row = leep_jax.estimate_scores(outputs(p, labels), names=["leep_loo"])
    expected = row["leep_loo"]
    assert found.value == pytest.approx(expected.value, abs=1e-6)
    assert found.deleted == pytest.approx(expected.deleted, abs=1e-6)
    assert found.sizes.tolist() == expected.sizes.tolist()
    assert found.examples == expected.examples


def test_a_copy_adds_nothing(rng):
  probs, labels = sources(rng)
  found = mix(probs, labels)
  copied = mix({**probs, "copy": probs["a"]}, labels)
  assert copied.score.value == found.score.value
  difference = jackknife.paired_difference(copied.score, found.score)
  assert difference.standard_error == pytest.approx(0, abs=1e-9)
  share = found.weights["a"] / 2
  assert copied.weights["copy"] == pytest.approx(share, abs=1e-12)
  assert copied.weights["a"] == pytest.approx(share, abs=1e-12)


def test_orders_change_nothing(rng):
  probs, labels = sources(rng)
  found = mix(probs, labels)
  turned = mix(dict(reversed(probs.items())), labels)
  assert turned.weights == pytest.approx(found.weights, abs=1e-12)
  assert turned.score.value == pytest.approx(found.score.value, abs=1e-12)
  order = rng.permutation(len(labels))
  moved = mix({k: p[order] for k, p in probs.items()}, labels[order])
  assert moved.score.value == pytest.approx(found.score.value, abs=1e-6)
  assert moved.weights == pytest.approx(found.weights, abs=1e-3)


def test_noise_gets_no_weight(rng):
  probs, labels = sources(rng, n=4000, signals=(2.0, 0.0))
  assert mix(probs, labels).weights["b"] < 0.05


def test_errors_are_those_of_recomputation_without_each_group(rng):
  # Many examples for each source label, where first order is enough.
  probs, labels = sources(rng, n=3000)
  found = mix(probs, labels).score
  deleted = []
  for group in range(20):
    rest = np.arange(len(labels)) % 20 != group
    part = mix({k: p[rest] for k, p in probs.items()}, labels[rest], groups=1)
    deleted.append(part.score.value)
  exact = jackknife.Estimate(found.value, np.array(deleted), found.sizes)
  assert found.standard_error == pytest.approx(exact.standard_error, rel=0.1)
  assert np.corrcoef(found.deleted, deleted)[0, 1] > 0.99


def test_clusters_are_left_out_whole(rng):
  probs, labels = sources(rng)
  named = {name: outputs(p, labels) for name, p in probs.items()}
  for one in named.values():
    one.clusters = np.arange(len(labels)) // 8
  found = ensembles.mix(named)
  alone = ensembles.mix({"a": named["a"]}).score
  row = leep_jax.estimate_scores(named["a"], names=["leep_loo"])["leep_loo"]
  assert alone.deleted == pytest.approx(row.deleted, abs=1e-6)
  assert found.score.standard_error > 0


def test_classes_of_one_example_are_not_predicted(rng):
  probs, labels = sources(rng, n=61)
  labels[7] = 4
  found = mix(probs, labels)
  q = np.stack([oracle.held_out(p, labels) for p in probs.values()], axis=1)
  used = labels != 4
  expected = np.log(q[used].mean(axis=1)).mean()
  assert found.equal.value == pytest.approx(expected, abs=1e-6)
  with pytest.raises(validation.UndefinedScore, match="only one of its class"):
    mix({"a": np.eye(3)}, np.arange(3))


def test_a_single_class_is_predicted_surely(rng):
  probs, _ = sources(rng, n=20)
  found = mix(probs, np.zeros(20, int))
  assert (found.score.value, found.equal.value, found.gap) == (0, 0, 0)
  assert found.score.standard_error == 0


def test_a_mixture_has_a_value_where_its_sources_have_none():
  # Each gives the two examples of a class different labels, another class each.
  labels = np.repeat([0, 1, 2], 4)
  a, b = (np.where(labels == y, np.arange(12) % 2, 2) for y in (0, 1))
  a[labels == 0], b[labels == 1] = [0, 3, 4, 5], [0, 3, 4, 5]
  a[labels == 2], b[labels == 2] = 0, 0
  a, b = np.eye(6)[a], np.eye(6)[b]
  for probs in (a, b):
    with pytest.raises(validation.UndefinedScore, match="minus infinity"):
      mix({"a": probs}, labels)
  assert mix({"a": a, "b": b}, labels, groups=1).score.value < 0


def test_what_makes_no_mixture(rng):
  probs, labels = sources(rng, n=30)
  one, other = outputs(probs["a"], labels), outputs(probs["b"], labels[::-1])
  with pytest.raises(leep_jax.InputError, match="not of the same examples"):
    ensembles.mix({"a": one, "b": other})
  features = leep_jax.Outputs.from_arrays(features=probs["a"], labels=labels)
  with pytest.raises(leep_jax.InputError, match="b has no probs"):
    ensembles.mix({"a": outputs(probs["a"], labels), "b": features})
  targets = leep_jax.Outputs.from_arrays(probs=probs["a"], targets=labels / 2)
  with pytest.raises(leep_jax.InputError, match="a has no labels"):
    ensembles.mix({"a": targets})
  with pytest.raises(leep_jax.InputError, match="there are no outputs"):
    ensembles.mix({})
