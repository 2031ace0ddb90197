"""Sums by segment: products that a TPU computes, compared on a CPU."""

import jax
import numpy as np
import pytest

from leep_jax.engine import segments, statistics, sums

COUNT, ROWS, WIDTH = 7, 200, 30


@pytest.fixture
def rows(rng):
  return rng.random((ROWS, WIDTH), np.float32), rng.integers(0, COUNT, ROWS)


def oracle(values, of, count):
  total = np.zeros((count, values.shape[1]))
  np.add.at(total, of, values.astype(np.float64))
  return total


@pytest.mark.parametrize(
  "function", [segments.segment_sums, segments.by_product]
)
def test_sums(function, rows):
  np.testing.assert_allclose(
    function(*rows, COUNT), oracle(*rows, COUNT), rtol=1e-6
  )


@pytest.mark.parametrize(
  "function", [segments.segment_sums, segments.by_product]
)
def test_rows_of_no_segment_are_dropped(function, rows):
  values, of = rows
  kept = of < COUNT - 1
  np.testing.assert_allclose(
    function(values, of, COUNT - 1),
    oracle(values[kept], of[kept], COUNT - 1),
    rtol=1e-6,
  )


@pytest.mark.parametrize(
  "function", [segments.pair_counts, segments.pairs_by_product]
)
def test_pairs(function, rng):
  row, column = rng.integers(0, 5, ROWS), rng.integers(0, 9, ROWS)
  weights = rng.integers(0, 2, ROWS).astype(np.float32)
  expected = np.zeros((5, 9))
  np.add.at(expected, (row, column), weights)
  found = function(row, column, weights, shape=(5, 9))
  assert np.array_equal(found, expected)


def test_few_segments_become_fewer_with_more_columns():
  limits = [segments.few(columns) for columns in (1, 100, 1000, 100_000)]
  assert limits == sorted(limits, reverse=True)
  assert limits[-1] > 0


def test_each_device_has_its_form():
  """Lowered for a TPU and for a CPU; many segments are scattered on both."""

  def text(platform, count):
    traced = jax.jit(segments.segment_sums, static_argnums=2).trace(
      jax.ShapeDtypeStruct((ROWS, WIDTH), np.float32),
      jax.ShapeDtypeStruct((ROWS,), np.int32),
      count,
    )
    return traced.lower(lowering_platforms=(platform,)).as_text()

  assert "scatter" in text("cpu", COUNT)
  assert "dot_general" in text("tpu", COUNT)
  assert "scatter" not in text("tpu", COUNT)
  assert "scatter" in text("tpu", segments.few(WIDTH) + 1)


@pytest.mark.parametrize("form", ["default", "product"])
def test_rows_of_a_table_are_its_rows(form, rng, monkeypatch):
  if form == "product":
    monkeypatch.setattr(segments, "_choose", lambda f, _, *args: f(*args))
  table = rng.normal(size=(COUNT, WIDTH)).astype(np.float32)
  of = rng.integers(0, COUNT, ROWS)
  assert np.array_equal(segments.rows_of(table, of), table[of])


def test_a_million_examples_by_products(one_device, monkeypatch):
  """As `test_leep` has it of the form for a CPU."""
  monkeypatch.setattr(segments, "_choose", lambda f, _, *args: f(*args))
  rng = np.random.default_rng(0)
  n, classes, width = 1 << 20, 3, 4
  probs = rng.dirichlet(np.full(width, 0.3), n).astype(np.float32)
  labels = rng.integers(0, classes, n).astype(np.int32)
  size = 1 << 16
  batches = [
    statistics.Batch(
      labels=labels[None, i : i + size],
      weights=np.ones((1, size), np.float32),
      num_classes=classes,
      probs=probs[None, i : i + size],
      start=np.full(1, i, np.int32),
    )
    for i in range(0, n, size)
  ]

  @statistics.reads("probs")
  def joint(batch):  # a function of its own shares no program compiled before
    return statistics.class_sums(batch.probs, batch)

  (found,) = sums.sum_batches([joint], batches, [()])
  np.testing.assert_allclose(found[0], oracle(probs, labels, 3), rtol=1e-6)
