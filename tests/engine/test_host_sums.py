"""Sums by NumPy: those of devices, in more digits."""

from concurrent import futures

import numpy as np
import oracles
import pytest
import threadpoolctl

import leep_jax
from leep_jax.engine import host_sums, passes, programs, statistics, storage

TABLE = np.array([[0.5, 0.25, 0.0], [0.5, 0.75, 1.0]], np.float32)
FUNCTIONS = [
  (statistics.joint, ()),
  (statistics.dummy_label_counts, ()),
  (statistics.log_likelihood, (TABLE,)),
  (statistics.responsibilities, (TABLE,)),
  (statistics.moments, ()),
]
EACH = pytest.mark.parametrize(
  ("function", "arguments"),
  FUNCTIONS,
  ids=[function.__name__ for function, _ in FUNCTIONS],
)


def outputs(rng, n=1001, dtype=np.float32, **options):
  probs = oracles.softmax(rng.normal(size=(n, 3))).astype(dtype)
  # The first of several that are largest is the label.
  probs[::10] = 1 / 3
  return leep_jax.Outputs.from_arrays(
    probs=probs,
    features=rng.normal(size=(n, 5)).astype(dtype) + dtype(3),
    labels=rng.integers(0, 2, n),
    **options,
  )


def both(function, arguments, given):
  """The sums of one device, by NumPy, and those of eight."""
  view = passes.over(given, {function.reads})
  results = []
  for count in (1, 8):
    with programs.limit(count):
      assert view.runs_on_host(function) == (count == 1)
      (sums,) = view.sums([function], [arguments], check=[function.reads])
      results.append(sums if isinstance(sums, dict) else {"": sums})
  return results


@EACH
@pytest.mark.parametrize("dtype", [np.float32, np.float64])
@pytest.mark.parametrize("groups", [1, 7])
def test_sums_are_those_of_devices(
  function, arguments, dtype, groups, rng, monkeypatch
):
  # Blocks, threads, pieces and chunks all end within the rows.
  monkeypatch.setattr(host_sums, "_BLOCK", 100)
  monkeypatch.setattr(host_sums, "_LEAST_OF_THREAD", 1)
  monkeypatch.setattr(host_sums, "_CHUNK_ROWS", 400)
  if function is statistics.moments:
    groups = 1  # a pass for each group sums them
  given = outputs(rng, dtype=dtype).grouped(groups)
  here, there = both(function, arguments, given)
  assert here.keys() == there.keys()
  for key, sums in here.items():
    assert sums.shape == there[key].shape
    # Products of float32 that cancel leave some rounding.
    absolute = 1e-4 if function is statistics.moments else 1e-6
    np.testing.assert_allclose(sums, there[key], rtol=2e-6, atol=absolute)


@EACH
def test_groups_can_be_any_examples(function, arguments, rng):
  if function is statistics.moments:
    pytest.skip("a pass for each group sums them")
  given = outputs(rng)
  given.clusters = rng.integers(0, 30, len(given))
  here, there = both(function, arguments, given.grouped(4))
  for key, sums in here.items():
    np.testing.assert_allclose(sums, there[key], rtol=2e-6, atol=1e-6)


def test_targets_are_multiplied_by_features(rng):
  given = leep_jax.Outputs.from_arrays(
    features=rng.normal(size=(300, 4)), targets=rng.normal(size=(300, 2))
  )
  here, there = both(statistics.moments, (), given)
  np.testing.assert_allclose(here["cross"], there["cross"], atol=1e-5)


def test_a_million_examples_lose_no_digits(rng):
  probs = oracles.softmax(rng.normal(size=(1_000_000, 3))).astype(np.float32)
  labels = rng.integers(0, 2, len(probs))
  given = leep_jax.Outputs.from_arrays(probs=probs, labels=labels)
  exact = probs.astype(np.float64)
  exact /= exact.sum(axis=1, keepdims=True)
  with programs.limit(1):
    found = given.sum(statistics.joint)
  expected = np.stack([exact[labels == y].sum(axis=0) for y in (0, 1)])
  np.testing.assert_allclose(found, expected, rtol=1e-7)


def test_files_are_read_in_chunks(rng, tmp_path, one_device, monkeypatch):
  given = outputs(rng)
  given.save(tmp_path / "saved")
  monkeypatch.setattr(storage, "_CHUNK_BYTES", 1)
  for name in ("leep", "nce", "h_score", "logme"):
    kept = leep_jax.Outputs.load(tmp_path / "saved")
    (value,) = leep_jax.compute_scores(kept, names=[name]).values()
    (expected,) = leep_jax.compute_scores(given, names=[name]).values()
    assert value == pytest.approx(expected, abs=1e-7)


@pytest.mark.parametrize("score", ["leep", "nce", "eep_accuracy"])
@pytest.mark.parametrize(
  ("value", "message"),
  [
    (np.nan, "1 of 300 rows hold NaN"),
    (-0.1, "negative entries"),
    (0.9, "do not sum to 1"),
  ],
)
def test_probabilities_are_checked(score, value, message, rng, one_device):
  probs = rng.dirichlet(np.ones(7), 300)
  probs[211, 3] = value
  with pytest.raises(leep_jax.InputError, match=message):
    leep_jax.SCORES[score].function(probs, rng.integers(0, 3, 300))


@pytest.mark.parametrize("value", [np.nan, np.inf])
def test_features_are_checked(value, rng, one_device):
  features = rng.normal(size=(300, 4)).astype(np.float32)
  features[7, 2] = value
  with pytest.raises(leep_jax.InputError, match="1 of 300 rows hold NaN"):
    leep_jax.h_score(features, rng.integers(0, 3, 300))


def test_a_certain_label_has_a_likelihood_of_exactly_1(rng, one_device):
  probs = oracles.softmax(rng.normal(size=(777, 37))).astype(np.float32)
  assert leep_jax.leep(probs, np.zeros(777, int)) == 0


@pytest.mark.parametrize("dtype", [np.float16, np.int64])
def test_other_types_are_summed_by_devices(dtype, rng, one_device):
  features = np.round(4 * rng.normal(size=(64, 2))).astype(dtype)
  given = leep_jax.Outputs.from_arrays(
    features=features, labels=np.arange(64) % 2
  )
  assert not passes.over(given, {"features"}).runs_on_host(statistics.moments)
  assert leep_jax.h_score(features, given.labels) >= 0


@pytest.mark.parametrize("order", ["F", "reversed", "some columns"])
def test_arrays_in_another_order_are_summed_by_devices(order, rng, one_device):
  features = rng.normal(size=(64, 6)).astype(np.float32)
  labels = np.arange(64) % 2
  given = {
    "F": np.asfortranarray(features),
    "reversed": features[::-1],
    "some columns": features[:, ::2],
  }[order]
  outputs = leep_jax.Outputs.from_arrays(features=given, labels=labels)
  view = passes.over(outputs, {"features"})
  assert not view.runs_on_host(statistics.moments)
  assert leep_jax.h_score(given, labels) == pytest.approx(
    leep_jax.h_score(given.copy(order="C"), labels), abs=1e-5
  )


def test_threads_of_openblas_are_restored(rng, one_device):
  probs = oracles.softmax(rng.normal(size=(4000, 50)))
  labels = rng.integers(0, 5, 4000)
  leep_jax.leep(probs, labels)

  def threads():
    return [x["num_threads"] for x in threadpoolctl.threadpool_info()]

  before = threads()
  with futures.ThreadPoolExecutor(4) as pool:
    values = list(pool.map(lambda _: leep_jax.leep(probs, labels), range(20)))
  assert len(set(values)) == 1
  assert threads() == before
