"""Sums over batches and devices: the same everywhere, and honest."""

import jax
import jax.numpy as jnp
import numpy as np
import pytest

from leep_jax.engine import programs, statistics, sums as sums_lib


@statistics.reads("probs")
def total(batch):
  return jnp.sum(batch.probs * batch.weights[:, None])


def batches(values, rows):
  count = programs.device_count()
  step = rows * count
  for start in range(0, len(values), step):
    part = values[start : start + step]
    yield statistics.Batch(
      start=start + rows * np.arange(count, dtype=np.int32),
      labels=programs.split(np.zeros(len(part), np.int32), rows),
      weights=programs.split(np.ones(len(part), np.float32), rows),
      probs=programs.split(part[:, None], rows),
      num_classes=1,
    )


@pytest.mark.parametrize("rows", [1, 7, 64, 1024, 1025, 5000])
def test_sum_of_any_batches(rows, rng, device_count):
  values = rng.random(10_000, dtype=np.float32)
  (result,) = sums_lib.sum_batches((total,), batches(values, rows), ((),))
  assert result.dtype == np.float64
  assert result.shape == (1,)
  assert result[0] == pytest.approx(values.sum(dtype=np.float64), rel=2e-7)


@pytest.mark.parametrize("rows", [1, 7, 64, 1024, 1025, 5000])
def test_groups_are_places_among_all_examples(rows, rng, device_count):
  values = rng.random(10_000, dtype=np.float32)
  (result,) = sums_lib.sum_batches(
    (total,), batches(values, rows), ((),), groups=7
  )
  assert result.shape == (7,)
  for group in range(7):
    expected = values[group::7].sum(dtype=np.float64)
    assert result[group] == pytest.approx(expected, rel=2e-7)


@pytest.mark.parametrize("groups", [1, 3, 20])
def test_groups_without_an_example_are_0(groups, device_count):
  values = np.arange(1, 4, dtype=np.float32)
  (result,) = sums_lib.sum_batches(
    (total,), batches(values, 2), ((),), groups=groups
  )
  expected = [sum(values[g::groups]) for g in range(groups)]
  np.testing.assert_array_equal(result, expected)


def test_batches_are_added_with_compensation(device_count):
  # In float32, 2^25 + 1 = 2^25: plain running sums would lose every 1.
  values = np.array([2.0**25] * device_count + [1.0] * 999, np.float32)
  (result,) = sums_lib.sum_batches((total,), batches(values, 1), ((),))
  assert result == device_count * 2**25 + 999


def test_like_amounts_on_devices_are_added_exactly(rng):
  # 24 bits each: a float32 sum of a few has no room for the last ones.
  values = rng.integers(2**23, 2**24, 8).astype(np.float32)
  assert programs.device_count() == len(values)
  assert values.sum() != values.sum(dtype=np.float64)
  (result,) = sums_lib.sum_batches((total,), batches(values, 1), ((),))
  assert result == values.sum(dtype=np.float64)


@pytest.mark.parametrize("groups", [1, 5])
def test_one_collective_per_pass_and_donated_sums(groups, rng):
  values = rng.random(4096, dtype=np.float32)
  step, finish = sums_lib.compiled((total,), groups)
  sums_lib.sum_batches((total,), batches(values, 64), ((),), groups=groups)
  steps = [c.as_text() for c in step.programs()]
  last = [c.as_text() for c in finish.programs()]
  assert steps
  for text in steps:
    assert "all-reduce" not in text
    assert "input_output_alias" in text  # donated
  for text in last:
    assert text.count("all-reduce(") + text.count("all-reduce-start(") == 1


@pytest.mark.parametrize("groups", [1, 5])
def test_shift_is_taken_from_features_and_not_from_padding(
  groups, rng, device_count
):
  features = (rng.normal(size=(37, 3)) + 100).astype(np.float32)
  step = 8 * programs.device_count()
  parts = [features[i : i + step] for i in range(0, 37, step)]
  data = [
    statistics.Batch(
      labels=programs.split(np.zeros(len(part), np.int32), 8),
      weights=programs.split(np.ones(len(part), np.float32), 8),
      features=programs.split(part, 8),
      num_classes=1,
      start=i * step + 8 * np.arange(programs.device_count(), dtype=np.int32),
    )
    for i, part in enumerate(parts)
  ]
  shift = np.full(3, 100, np.float32)
  (sums,) = sums_lib.sum_batches(
    (statistics.moments,),
    data,
    ((),),
    centre=(shift, np.float32(4)),
    groups=groups,
  )
  moved = (features.astype(np.float64) - 100) / 4
  for group in range(groups):
    part = moved[group::groups]
    np.testing.assert_allclose(sums["gram"][group], part.T @ part, rtol=1e-5)


def test_no_batch_is_an_error():
  with pytest.raises(ValueError, match="no batch"):
    sums_lib.sum_batches((total,), iter(()), ((),))


def test_split_pads_with_zeros_and_does_not_copy_full_batches(device_count):
  full = np.arange(device_count * 3)
  assert np.shares_memory(programs.split(full, 3), full)
  padded = programs.split(full[:-1], 3)
  assert padded.shape == (device_count, 3)
  assert padded[-1, -1] == 0


def test_parallel_applies_a_function_everywhere(device_count):
  spread = programs.parallel(lambda state, x: x * state)
  x = np.arange(device_count * 4, dtype=np.float32).reshape(device_count, 4)
  state = programs.replicate(jnp.float32(3))
  before = programs.compile_seconds()
  np.testing.assert_array_equal(spread(state, x), 3 * x)
  compiled = programs.compile_seconds()
  assert compiled > before
  np.testing.assert_array_equal(spread(state, x + 1), 3 * (x + 1))
  assert programs.compile_seconds() == compiled


def test_programs_used_long_ago_are_given_back(monkeypatch):
  # Else a long sweep runs out of memory maps, which ends the process.
  monkeypatch.setattr(programs, "_MOST_PROGRAMS", 2)
  spread = programs.parallel(lambda state, x: x * state)
  with programs.limit(1):
    three = programs.replicate(jnp.float32(3))
    for size in (1, 2, 1, 3, 1, 4):
      np.testing.assert_array_equal(spread(three, np.ones((1, size))), 3)
    before = programs.compile_seconds()
    spread(three, np.ones((1, 1)))  # used again and again: it is still there
    assert programs.compile_seconds() == before
    assert len(spread.programs()) == 2
    spread(three, np.ones((1, 2)))
    assert programs.compile_seconds() > before
    programs.forget_programs()
    assert not spread.programs()


def test_limit_is_undone():
  before = programs.device_count()
  with programs.limit(2):
    assert programs.device_count() == 2
  assert programs.device_count() == before == len(jax.devices())
