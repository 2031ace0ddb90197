"""LEEP, NCE and the EEP: properties, extremes, and many examples."""

import math

import cases
import numpy as np
import oracles
import pytest

import leep_jax
from leep_jax.scores import (
  leep as leep_lib,
  nce as nce_lib,
)


@pytest.mark.parametrize("layout", ["random", "sorted", "identical rows"])
def test_leep_of_a_million_examples(layout, rng, device_count):
  n, classes = 1_000_000, 10
  probs = rng.dirichlet(np.full(classes, 0.3), n).astype(np.float32) + 1e-9
  labels = np.where(
    rng.random(n) < 0.7, probs.argmax(1), rng.integers(0, classes, n)
  )
  if layout == "sorted":
    order = np.argsort(labels, kind="stable")
    probs, labels = probs[order], labels[order]
  if layout == "identical rows":
    probs = np.broadcast_to(probs[:1], probs.shape)
  expected = oracles.leep(probs, labels)
  assert leep_jax.leep(probs, labels) == pytest.approx(expected, abs=1e-6)


def test_leep_of_many_source_classes(rng, device_count):
  probs = rng.random((50_000, 1_000), dtype=np.float32) ** 20 + 1e-12
  probs /= probs.sum(1, keepdims=True)
  labels = rng.integers(0, 100, len(probs))
  expected = oracles.leep(probs, labels)
  assert leep_jax.leep(probs, labels) == pytest.approx(expected, abs=1e-5)


def test_labels_may_be_large_numbers(rng):
  probs, labels = cases.example("leep", rng)
  assert leep_jax.leep(probs, labels * 10**8) == leep_jax.leep(probs, labels)
  assert leep_jax.nce(probs, labels * 10**8) == leep_jax.nce(probs, labels)


def test_one_hot_probabilities_make_leep_nce(rng, device_count):
  probs, labels = cases.example("nce", rng)
  hard = np.eye(7)[probs.argmax(1)]
  assert leep_jax.leep(hard, labels) == pytest.approx(
    leep_jax.nce(hard, labels), abs=1e-6
  )
  assert leep_jax.leep(hard.astype(int), labels) == pytest.approx(
    leep_jax.leep(hard, labels), abs=1e-6
  )
  bounds = leep_jax.leep_bounds(hard, labels)
  assert bounds.lower == pytest.approx(bounds.leep, abs=1e-6)
  assert bounds.proven == pytest.approx(bounds.leep, abs=1e-6)


def test_property_1(rng):
  # The family of p(y given x) = sum_z A[y, z] theta[z] holds the EEP. EM from
  # it climbs towards the best of that family.
  probs, labels = cases.example("leep", rng)
  probs = probs.astype(np.float64)
  table = leep_jax.EEP.fit(probs, labels).conditional
  for _ in range(200):
    parts = probs * table[labels]
    parts /= parts.sum(axis=1, keepdims=True)
    table = np.stack([parts[labels == y].sum(0) for y in range(5)])
    table /= table.sum(axis=0)
  bounds = leep_jax.leep_bounds(probs, labels, head_probs=probs @ table.T)
  best = np.log((probs * table[labels]).sum(axis=1)).mean()
  assert bounds.head == pytest.approx(best, abs=1e-6)
  assert bounds.leep == leep_jax.leep(probs, labels) < bounds.head


def test_property_2(rng):
  for n in (3, 300):
    for sharpness in (0.1, 1, 10):
      probs = oracles.softmax(sharpness * rng.normal(size=(n, 7)))
      bounds = leep_jax.leep_bounds(probs, rng.integers(0, 3, n))
      assert bounds.proven <= min(bounds.leep, bounds.lower) + 1e-6


def test_property_2_may_fail_with_hard_labels():
  # The paper's proof takes P(y given z) of soft labels for that of hard ones.
  bounds = leep_jax.leep_bounds([[0.8, 0.2], [0.6, 0.4], [0.3, 0.7]], [0, 0, 1])
  assert bounds.proven < bounds.leep < bounds.lower


def test_a_source_label_without_mass_counts_as_0(rng, device_count):
  probs, labels = cases.example("leep", rng)
  wide = np.insert(probs, 3, 0, axis=1)
  assert leep_jax.leep(wide, labels) == pytest.approx(
    leep_jax.leep(probs, labels), abs=1e-6
  )
  assert leep_jax.nce(wide, labels) == leep_jax.nce(probs, labels)


def test_perfect_source_gives_0(device_count):
  probs = np.eye(3)[[0, 1, 2, 0, 1]]
  labels = [2, 0, 1, 2, 0]
  assert leep_jax.leep(probs, labels) == 0
  assert leep_jax.nce(probs, labels) == 0
  assert leep_jax.eep_accuracy(probs, labels) == 1


def test_tiny_probabilities_do_not_underflow(device_count):
  probs = np.array([[1 - 1e-30, 1e-30], [1, 0], [1e-38, 1]])
  expected = oracles.leep(probs, np.array([1, 0, 0]))
  value = leep_jax.leep(probs, [1, 0, 0])
  assert value == pytest.approx(expected, abs=1e-6)


def test_nce_of_label_lists():
  # z = 5, 5, 5, 9 with y = 0, 0, 7, 7: as the example by hand above.
  value = leep_jax.nce([5, 5, 5, 9], [0, 0, 7, 7])
  assert value == pytest.approx(-0.477386, abs=1e-6)
  with pytest.raises(leep_jax.InputError, match="2 source labels, but 3"):
    leep_jax.nce([0, 1], [0, 1, 1])


def test_task_hardness(rng):
  assert leep_jax.task_hardness([0, 1, 2, 3]) == pytest.approx(math.log(4))
  assert leep_jax.task_hardness([4, 4, 4]) == 0
  labels = rng.integers(0, 9, 300)
  constant = np.full((300, 4), 0.25)
  assert leep_jax.task_hardness(labels) == pytest.approx(
    -leep_jax.nce(constant, labels)
  )


def test_num_classes_score(rng):
  assert nce_lib.num_classes_score([0, 3, 3, 9]) == pytest.approx(-math.log(3))
  assert str(nce_lib.num_classes_score([4, 4])) == "0.0"
  labels = rng.integers(0, 9, 300)
  assert nce_lib.num_classes_score(labels) < -leep_jax.task_hardness(labels)
  with pytest.raises(leep_jax.InputError, match="empty"):
    nce_lib.num_classes_score([])


def test_eep_predicts_new_examples(rng, device_count):
  probs, labels = cases.example("leep", rng)
  other, y_true = probs[200:], labels[200:]
  eep = leep_jax.EEP.fit(probs[:200], labels[:200])
  predicted = eep.predict_proba(other)
  table = oracles.joint(probs[:200], labels[:200], 5)
  np.testing.assert_allclose(
    predicted, other @ (table / table.sum(0)).T, atol=1e-6
  )
  assert predicted.shape == (100, 5)
  np.testing.assert_array_equal(eep.predict(other), predicted.argmax(1))
  assert np.mean(eep.predict(other) == y_true) > 0.4


def test_leep_is_the_likelihood_of_the_eep(rng, device_count):
  probs, labels = cases.example("leep", rng)
  predicted = leep_jax.EEP.fit(probs, labels).predict_proba(probs)
  mean = np.log(predicted[np.arange(len(labels)), labels]).mean()
  assert leep_jax.leep(probs, labels) == pytest.approx(mean, abs=1e-6)


def test_eep_gives_the_prior_for_an_unseen_source_label():
  eep = leep_jax.EEP.fit([[1.0, 0.0], [1.0, 0.0], [1.0, 0.0]], [0, 0, 1])
  np.testing.assert_allclose(eep.predict_proba([[0, 1]]), [[2 / 3, 1 / 3]])


def test_eep_refuses_another_source():
  eep = leep_jax.EEP.fit([[1.0, 0.0]], [0])
  with pytest.raises(
    leep_jax.InputError, match="3 source classes.*fitted to 2"
  ):
    eep.predict_proba([[1.0, 0.0, 0.0]])


def test_conditional_and_entropy_of_tables():
  table = np.array([[2.0, 0, 1], [0, 0, 1]])
  np.testing.assert_allclose(
    leep_lib.conditional_distribution(table), [[1, 0.75, 0.5], [0, 0.25, 0.5]]
  )
  assert nce_lib.negative_conditional_entropy(table) == pytest.approx(
    -0.5 * math.log(2)
  )


def test_no_negative_zero():
  assert math.copysign(1, leep_jax.task_hardness([0, 0])) == 1
