"""Laws that every row of SCORES obeys, and laws that a row states."""

import math

import cases
import jax.numpy as jnp
import marks
import numpy as np
import oracles
import pytest

import leep_jax
from leep_jax import scores as scores_lib
from leep_jax.engine import programs, storage, sums as sums_lib
from leep_jax.scores import (
  jackknife,
)

# What each row of SCORES obeys besides the laws of all of them.
LAWS = {
  # A copy of an example tells its label, and features are standardised one by
  # one.
  "probe_accuracy": {"0 to 1", "move", "unit", "unit of each feature"},
  "probe_log_loss": {
    "at most 0",
    "0 for one class",
    "move",
    "unit",
    "unit of each feature",
  },
  "probe_balanced_accuracy": {"0 to 1", "move", "unit", "unit of each feature"},
  "probe_r2": {
    "move",
    "move targets",
    "unit",
    "unit of each feature",
    "unit of each target",
  },
  "probe_mse": {
    "at most 0",
    "move",
    "move targets",
    "square of the targets' unit",
    "unit",
    "unit of each feature",
  },
  "leep": {"at most 0", "permute source", "0 for one class", "duplicate"},
  # A copy of an example tells its label.
  "leep_loo": {
    "at most 0",
    "at most leep",
    "permute source",
    "0 for one class",
  },
  "nce": {"at most 0", "permute source", "0 for one class", "duplicate"},
  "nce_loo": {"at most 0", "permute source", "0 for one class"},
  "eep_accuracy": {"0 to 1", "permute source", "duplicate"},
  "h_score": {
    "0 to Y - 1",
    "0 for one class",
    "affine",
    "duplicate",
    "move",
    "rotate",
    "unit",
  },
  "regularized_h_score": {
    "0 to Y - 1",
    "0 for one class",
    "move",
    "rotate",
    "unit",
  },
  "logme": {"rotate", "unit", "log of the targets' unit"},
  "n_leep": {
    "at most 0",
    "0 for one class",
    "duplicate",
    "move",
    "rotate",
    "unit",
  },
  "trans_rate": {
    "at least 0",
    "0 for one class",
    "duplicate",
    "move",
    "rotate",
  },
  "gbc": {
    "at most 0",
    "0 for one class",
    "duplicate",
    "move",
    "rotate",
    "unit",
  },
  "pactran_dirichlet": {"at most 0", "permute source", "0 for one class"},
  "pactran_gamma": {"at most 0", "permute source"},
  "pactran_gaussian": {"at most 0", "0 for one class", "move", "rotate"},
  "sfda": {"0 to 1", "duplicate", "move", "rotate"},
  "etran_energy": {"duplicate", "permute source"},
  "etran_lda": {"0 to 1", "duplicate", "move", "rotate"},
  "ncti_variability": {"0 for one class", "duplicate", "move", "rotate"},
  "ncti_seli": {"at least 0", "0 for one class", "duplicate", "move", "rotate"},
  "ncti_ncc": {"0 to 1", "duplicate", "move", "rotate"},
  "parc": {"-1 to 1", "move each example", "unit"},
  # A copy of an example is its nearest neighbour.
  "concept_variance": {
    "at most 0",
    "0 for one class",
    "move",
    "unit",
    "unit of each feature",
  },
  "knn_accuracy": {"0 to 1", "rotate", "unit"},
  "class_mean_accuracy": {"0 to 1", "move", "rotate", "unit"},
  # Its source examples stay where they are.
  "f_otce": {"at most 0", "0 for one class", "duplicate"},
  "lin_mse": {
    "affine without ridge",
    "at most 0",
    "duplicate",
    "move",
    "move targets",
    "rotate",
    "square of the targets' unit",
  },
  "lab_mse": {
    "at most 0",
    "duplicate",
    "move targets",
    "permute source",
    "square of the targets' unit",
  },
  "probe_map": {"0 to 1", "move", "unit", "unit of each feature"},
  "mean_leep": {"at most 0", "permute source", "duplicate"},
  "mean_nce": {"at most 0", "permute source", "duplicate"},
}
TESTED = set()


def with_law(law, *kinds):
  """Runs a test for all rows that state a law."""
  TESTED.add(law)
  kinds = kinds or tuple(scores_lib.TARGET_KINDS)
  return cases.each(
    [c for c in cases.CASES if law in LAWS[c.name] and c.kind in kinds]
  )


def test_every_score_states_its_laws():
  assert set(LAWS) == set(scores_lib.SCORES) == set(oracles.ORACLES)
  assert set().union(*LAWS.values()) == TESTED


@cases.every_score
@pytest.mark.parametrize(
  "dtype", [np.float32, *marks.exhaustive(np.float16, jnp.bfloat16)]
)
def test_order_of_examples_does_not_matter(score, dtype, rng, device_count):
  values, y_true = score.example(rng)
  values = values.astype(dtype)
  order = rng.permutation(len(y_true))
  expected = score(values, y_true)
  assert score(values[order], y_true[order]) == score.near(expected)


@cases.every_score_of_labels
def test_names_of_target_labels_do_not_matter(score, rng, device_count):
  values, labels = score.example(rng)
  renamed = np.array([3, 0, 4, 1, 2])[labels]
  assert score(values, renamed) == score.near(score(values, labels))


@cases.every_score_of_labels
def test_absent_target_classes_change_nothing(score, rng, device_count):
  values, labels = score.example(rng)
  expected = score(values, labels)
  assert score(values, labels, num_classes=40) == expected
  # Also in between: labels 0, 2, 4 ...
  assert score(values, 2 * labels) == score.near(expected)


@cases.every_score_of_targets
def test_order_of_targets_does_not_matter(score, rng, device_count):
  values, targets = score.example(rng)
  expected = score(values, targets)
  assert score(values, targets[:, ::-1]) == score.near(expected)


@cases.every_score_of_sets
def test_order_of_labels_does_not_matter(score, rng, device_count):
  values, sets = score.example(rng)
  expected = score(values, sets)
  assert score(values, sets[:, ::-1]) == score.near(expected)


@cases.every_score_of_sets
def test_labels_that_do_not_vary_change_nothing(score, rng, device_count):
  values, sets = score.example(rng)
  same = np.ones((len(sets), 1), int)
  more = np.concatenate([0 * same, sets[:, :1], same, sets[:, 1:]], axis=1)
  assert score(values, more) == score.near(score(values, sets))
  assert score(values, np.concatenate([same, 0 * same], axis=1)) is None


@cases.every_score_of_targets
def test_one_target_needs_no_column(score, rng):
  values, targets = score.example(rng, n=50)
  targets = targets[:, :1]
  assert score(values, targets[:, 0]) == score(values, targets)


@cases.every_score_and_n_leep
def test_devices_change_nothing_but_rounding(score, rng):
  values, y_true = score.example(rng, n=301)
  expected = score(values, y_true)
  for count in (1, 3, 8):
    with programs.limit(count):
      assert score(values, y_true) == score.near(expected)
      assert score(values, y_true) == score(values, y_true)


@cases.every_score
@pytest.mark.parametrize("n", [999, *marks.exhaustive(1024)])
def test_batches_change_nothing_but_rounding(
  score, n, rng, device_count, monkeypatch
):
  values, y_true = score.example(rng, n=n)
  expected = score(values, y_true)
  monkeypatch.setattr(storage, "_CHUNK_BYTES", 1)  # 64 examples a device
  # NumPy sums arrays on a host with one CPU; this is about what devices do.
  monkeypatch.setattr(programs, "are_host", lambda: False)
  batches = []
  original = sums_lib.sum_batches

  def spy(functions, data, *rest, **options):
    data = list(data)
    batches.append(len(data))
    return original(functions, data, *rest, **options)

  monkeypatch.setattr(sums_lib, "sum_batches", spy)
  assert score(values, y_true) == score.near(expected)
  # TransRate reads features on the host alone.
  expected = (
    [] if score.name == "trans_rate" else [-(-n // (64 * device_count))]
  )
  assert batches[:1] == expected


@cases.every_score
@pytest.mark.parametrize("size", [*marks.exhaustive(64), 100])
def test_outputs_on_devices_give_the_same(score, size, rng, device_count):
  values, y_true = score.example(rng)
  pairs = [
    (values[i : i + size, None, None], y_true[i : i + size])
    for i in range(0, len(y_true), size)
  ]

  # The "images" are the outputs themselves, as one pixel of 7 channels.
  def apply(state, images):
    outputs = images[:, 0, 0]
    return jnp.log(jnp.maximum(outputs, 1e-30)), outputs

  preprocessing = leep_jax.Preprocessing(mean=(0.0,) * 7, std=(1.0,) * 7)
  source = leep_jax.Source("given", apply, (), preprocessing)
  outputs = leep_jax.compute_outputs(
    source,
    pairs,
    keep="device",
    regression=score.kind == "targets",
    multi_label=score.kind == "multi_labels",
  )
  outputs.source_examples = oracles.otce.source_examples(7)
  value = jackknife.value(scores_lib.SCORES[score.name].parts(outputs))
  # A softmax of logarithms rounds once more.
  assert value == score.near(score(values, y_true), times=2)


@with_law("at most 0")
def test_at_most_0(score, rng):
  for n in (1, 300):
    value = score(*score.example(rng, n=n))
    if n > 1 or value is not None:
      assert value <= 0
      assert str(value) != "-0.0"


@with_law("at most leep")
def test_at_most_leep(score, rng, device_count):
  for n, width in ((60, 7), (60, 40), (300, 7)):
    values, labels = score.example(rng, n=n, width=width)
    assert score(values, labels) < leep_jax.leep(values, labels)


@with_law("at least 0")
def test_at_least_0(score, rng):
  for n in (1, 5, 300):
    assert score(*score.example(rng, n=n)) >= 0


@with_law("0 to 1")
def test_between_0_and_1(score, rng):
  assert 0 <= score(*score.example(rng)) <= 1


@with_law("-1 to 1")
def test_between_minus_1_and_1(score, rng):
  values, labels = score.example(rng, n=60)
  assert -1 <= score(values, labels) <= 1
  # Two bundles of directions, which labels tell apart, or cut across.
  bundles = np.repeat([[1.0, 2, 3], [3, 2, 1]], 2, axis=0)
  assert score(bundles, [0, 0, 1, 1]) == pytest.approx(1)
  assert score(bundles, [0, 1, 0, 1]) == pytest.approx(-0.5)


@with_law("permute source")
def test_names_of_source_labels_do_not_matter(score, rng, device_count):
  values, y_true = score.example(rng)
  order = rng.permutation(values.shape[1])
  expected = score(values, y_true)
  assert score(values[:, order], y_true) == score.near(expected)


@with_law("0 for one class", "labels")
def test_one_class_gives_0(score, rng, device_count):
  values, labels = score.example(rng)
  for same in (0 * labels, 0 * labels + 2):
    assert str(score(values, same)) == "0.0"


@with_law("duplicate")
def test_duplicated_data_change_nothing(score, rng, device_count):
  values, y_true = score.example(rng)
  twice = score(np.concatenate([values] * 2), np.concatenate([y_true] * 2))
  assert twice == score.near(score(values, y_true))


@with_law("affine")
def test_affine_maps_of_features_change_nothing(score, rng, device_count):
  features, labels = score.example(rng)
  matrix = rng.normal(size=(7, 7))
  assert np.linalg.cond(matrix) < 100
  expected = score(features, labels)
  for moved in (features @ matrix + 5, features * 10.0 ** np.arange(-3, 4)):
    assert score(moved, labels) == pytest.approx(expected, rel=1e-4)


@with_law("affine without ridge")
def test_least_squares_do_not_depend_on_units(score, rng, device_count):
  features, targets = score.example(rng)
  matrix = rng.normal(size=(7, 7))
  expected = score(features, targets, ridge=0)
  for moved in (features @ matrix + 5, features * 10.0 ** np.arange(-3, 4)):
    assert score(moved, targets, ridge=0) == pytest.approx(expected, rel=1e-4)


@with_law("rotate")
def test_rotations_of_features_change_nothing(score, rng, device_count):
  features, y_true = score.example(rng)
  rotation = np.linalg.qr(rng.normal(size=(7, 7)))[0]
  expected = score(features, y_true)
  assert score(features @ rotation, y_true) == pytest.approx(expected, rel=1e-5)


@with_law("unit")
def test_unit_of_features_does_not_matter(score, rng, device_count):
  features, y_true = score.example(rng)
  expected = score(features, y_true)
  for unit in (1e-3, 1e3):
    assert score(features * unit, y_true) == pytest.approx(expected, rel=1e-5)


@with_law("unit of each feature")
def test_units_of_features_do_not_matter(score, rng, device_count):
  features, y_true = score.example(rng)
  expected = score(features, y_true)
  moved = features * 10.0 ** np.arange(-3, 4) + np.arange(7.0)
  assert score(moved, y_true) == pytest.approx(expected, rel=1e-5)


@with_law("move")
def test_offset_of_features_does_not_matter(score, rng, device_count):
  features, y_true = score.example(rng)
  expected = score(features, y_true)
  moved = features + np.arange(7.0)
  assert score(moved, y_true) == pytest.approx(expected, rel=1e-5)


@with_law("move each example")
def test_offset_of_an_example_does_not_matter(score, rng, device_count):
  features, y_true = score.example(rng)
  expected = score(features, y_true)
  moved = features + rng.normal(size=(len(y_true), 1))
  assert score(moved, y_true) == pytest.approx(expected, rel=1e-5)


@with_law("0 to Y - 1")
def test_at_most_classes_less_1(score, rng):
  for n, width in ((300, 7), (12, 40)):
    features, labels = score.example(rng, n=n, width=width)
    value = score(features, labels)
    assert 0 <= value <= len(np.unique(labels)) - 1


@with_law("move targets")
def test_offset_of_targets_does_not_matter(score, rng, device_count):
  values, targets = score.example(rng)
  expected = score(values, targets)
  moved = targets + np.array([100, -9])
  assert score(values, moved) == pytest.approx(expected, rel=1e-5)


@with_law("unit of each target")
def test_units_of_targets_do_not_matter(score, rng, device_count):
  values, targets = score.example(rng)
  expected = score(values, targets)
  moved = targets * np.array([1e-3, 1e3]) + np.array([0.1, -9])
  assert score(values, moved) == pytest.approx(expected, rel=1e-5)


@with_law("square of the targets' unit")
def test_square_of_the_unit_of_targets(score, rng, device_count):
  values, targets = score.example(rng)
  expected = score(values, targets)
  for unit in (1e-3, 1e3):
    value = score(values, unit * targets)
    assert value / unit**2 == pytest.approx(expected, rel=1e-5)


@with_law("log of the targets' unit", "targets")
def test_logarithm_of_the_unit_of_targets(score, rng, device_count):
  values, targets = score.example(rng)
  expected = score(values, targets)
  for unit in (1e-3, 1e3):
    value = score(values, unit * targets)
    assert value + math.log(unit) == pytest.approx(expected, rel=1e-5)
