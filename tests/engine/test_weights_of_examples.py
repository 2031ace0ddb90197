"""Passes in which examples count more or less, and functions of batches."""

import numpy as np
import oracles
import pytest

import leep_jax
from leep_jax.engine import passes, statistics


def example(rng, n=300):
  probs = oracles.softmax(rng.normal(size=(n, 5))).astype(np.float32)
  labels = rng.integers(0, 3, n)
  return leep_jax.Outputs.from_arrays(probs=probs, labels=labels)


@pytest.mark.parametrize("clustered", [False, True])
def test_weighted_sums_of_groups(clustered, rng, device_count):
  outputs = example(rng)
  if clustered:
    outputs.clusters = np.arange(300) // 7
  outputs = outputs.grouped(4)
  weights = rng.random(300) * (rng.random(300) < 0.8)
  (found,) = passes.over(outputs, {"probs"}, weights=weights).sums(
    [statistics.joint], [()], check=()
  )
  for group in range(4):
    for label in range(3):
      rows = (outputs.group_of == group) & (outputs.labels == label)
      expected = weights[rows] @ outputs.probs[rows]
      assert found[group, label] == pytest.approx(expected, abs=1e-5)


def test_functions_of_batches_see_labels(rng, device_count):
  outputs = example(rng, n=77)

  def of_label(batch, power):
    rows = batch.probs[np.arange(len(batch.labels)), batch.labels]
    return rows[:, None] ** power

  blocks = passes.over(outputs, {"probs"}).stream_of_batches(
    "probs", of_label, (np.float32(2),)
  )
  found = np.concatenate(list(blocks))
  expected = outputs.probs[np.arange(77), outputs.labels] ** 2
  assert found[:, 0] == pytest.approx(expected, rel=1e-6)
