"""Every row of SCORES: goldens, oracles, laws, defined answers, errors."""

import math
import re

import jax.numpy as jnp
import numpy as np
import oracles
import pytest

import leep_jax
from leep_jax import devices, scores as scores_lib, storage
from leep_jax.scores import leep as leep_lib, nce as nce_lib

SCORES = scores_lib.SCORES
# What each row of SCORES obeys besides the laws of all of them.
LAWS = {
  "leep": {"at most 0", "permute source", "0 for one class", "duplicate"},
  "nce": {"at most 0", "permute source", "0 for one class", "duplicate"},
  "eep_accuracy": {"permute source", "at most 1", "duplicate"},
  "h_score": {
    "affine",
    "rotate",
    "at most Y - 1",
    "0 for one class",
    "duplicate",
  },
  "regularized_h_score": {"rotate", "at most Y - 1", "0 for one class"},
  "logme": {"rotate"},
}


def example(name, rng, n=999, width=7, classes=5):
  """Inputs of a score with something to find, and labels."""
  labels = rng.integers(0, classes, n)
  centres = rng.normal(size=(classes, width))
  values = centres[labels] + rng.normal(size=(n, width))
  if SCORES[name].needs == "probs":
    values = oracles.softmax(values)
  return values.astype(np.float32), labels


def score(name, *args, **options):
  return SCORES[name].function(*args, **options)


every_score = pytest.mark.parametrize("name", SCORES)


def with_law(law):
  rows = [name for name in SCORES if law in LAWS[name]]
  assert rows
  return pytest.mark.parametrize("name", rows)


def test_every_score_states_its_laws():
  assert set(LAWS) == set(SCORES) == set(oracles.ORACLES)


@every_score
def test_docstring_defines_the_score(name):
  text = SCORES[name].function.__doc__
  for part in ("Args:", "Raises:", "Reference:", "[n, "):
    assert part in text
  assert re.search(r"Reference: .*\d{4}", text, re.DOTALL)


# Goldens, worked by hand.


def test_leep_by_hand():
  # theta = (.8 .2), (.6 .4), (.3 .7); y = 0, 0, 1. Mass of z: 1.7, 1.3.
  # P(0|z) = 1.4/1.7, .6/1.3; P(1|z) = .3/1.7, .7/1.3.
  # p1 = .8*14/17 + .2*6/13 = .751131, p2 = .6*14/17 + .4*6/13 = .678733,
  # p3 = .3*3/17 + .7*7/13 = .429864; mean log = (-.286175 - .387527 - .844287)
  # / 3 = -.505996.
  probs = [[0.8, 0.2], [0.6, 0.4], [0.3, 0.7]]
  assert leep_jax.leep(probs, [0, 0, 1]) == pytest.approx(-0.505996, abs=2e-6)


def test_nce_by_hand():
  # z = 0, 0, 0, 1 with y = 0, 0, 1, 1: z=0 has labels 2:1, z=1 is pure.
  # (2 log(2/3) + log(1/3)) / 4 = (-.810930 - 1.098612) / 4 = -.477386.
  probs = [[0.9, 0.1], [0.6, 0.4], [0.5, 0.5], [0.2, 0.8]]
  value = leep_jax.nce(probs, [0, 0, 1, 1])
  assert value == pytest.approx(-0.477386, abs=1e-6)


def test_eep_accuracy_by_hand():
  # As in the LEEP example all three probabilities of the truth but the third
  # exceed 1/2: 2 of 3.
  probs = [[0.8, 0.2], [0.6, 0.4], [0.3, 0.7]]
  assert leep_jax.eep_accuracy(probs, [0, 0, 1]) == pytest.approx(2 / 3)


def test_h_score_by_hand():
  # f = 0, 2, 4, 6 with y = 0, 0, 1, 1: variance 5, class means 1 and 5 about
  # 3: variance 4. H = 4/5.
  value = leep_jax.h_score([[0.0], [2.0], [4.0], [6.0]], [0, 0, 1, 1])
  assert value == pytest.approx(0.8, abs=1e-6)


# Against float64.


@every_score
@pytest.mark.parametrize("n", [2, 17, 999])
def test_equals_float64_oracle(name, n, rng, device_count):
  values, labels = example(name, rng, n=n)
  expected = oracles.ORACLES[name](values, labels)
  assert score(name, values, labels) == pytest.approx(
    expected, abs=1e-6, rel=1e-6
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


def test_h_score_with_a_large_offset(rng):
  features, labels = example("h_score", rng, n=5000)
  expected = oracles.h_score(features, labels)
  moved = (features.astype(np.float64) + 1000).astype(np.float32)
  # The features themselves lose 1000 * 2^-24 to the offset, the sums nothing.
  assert leep_jax.h_score(moved, labels) == pytest.approx(expected, rel=1e-4)


@pytest.mark.parametrize("dtype", [np.float32, np.float64])
@pytest.mark.parametrize("offset", [0, 1e4])
@pytest.mark.parametrize("unit", [1e-18, 1, 1e18])
def test_h_score_in_any_unit(dtype, offset, unit, rng):
  features, labels = example("h_score", rng)
  moved = ((features.astype(np.float64) + offset) * unit).astype(dtype)
  expected = oracles.h_score(moved.astype(np.float64) / unit, labels)
  assert leep_jax.h_score(moved, labels) == pytest.approx(expected, rel=1e-4)


@pytest.mark.parametrize("condition", [1e2, 1e3, 1e4])
def test_h_score_of_ill_conditioned_features(condition, rng, device_count):
  features, labels = example("h_score", rng, n=2000, width=64)
  rotation = np.linalg.qr(rng.normal(size=(64, 64)))[0]
  spread = np.logspace(0, -np.log10(condition), 64)
  features = ((features * spread) @ rotation).astype(np.float32)
  values = features.astype(np.float64) - features.mean(0, dtype=np.float64)
  u, _, _ = np.linalg.svd(values, full_matrices=False)
  means = np.stack([u[labels == y].sum(0) for y in range(5)])
  expected = (means**2 / np.bincount(labels)[:, None]).sum()
  assert leep_jax.h_score(features, labels) == pytest.approx(expected, rel=1e-5)


@pytest.mark.parametrize("n", [127, 128, 129, 130])
def test_h_score_about_as_many_examples_as_features(n, rng, device_count):
  features, labels = example("h_score", rng, n=n, width=128)
  assert leep_jax.h_score(features, labels) == pytest.approx(
    oracles.h_score(features, labels), rel=1e-4
  )
  if n <= 129:  # n - 1 dimensions between n examples explain every label
    assert leep_jax.h_score(features, labels) == pytest.approx(4, rel=1e-4)


def test_features_too_large_for_float32():
  with pytest.raises(leep_jax.InputError, match="values beyond float32"):
    leep_jax.h_score(np.array([[1e39], [-1e39], [0]]), [0, 1, 1])


def test_labels_may_be_large_numbers(rng):
  probs, labels = example("leep", rng)
  assert leep_jax.leep(probs, labels * 10**8) == leep_jax.leep(probs, labels)
  assert leep_jax.nce(probs, labels * 10**8) == leep_jax.nce(probs, labels)


# Laws of every score.


@every_score
@pytest.mark.parametrize("dtype", [np.float32, np.float16, jnp.bfloat16])
def test_order_of_examples_does_not_matter(name, dtype, rng, device_count):
  values, labels = example(name, rng)
  values = values.astype(dtype)
  order = rng.permutation(len(labels))
  assert score(name, values[order], labels[order]) == pytest.approx(
    score(name, values, labels), abs=1e-6, rel=1e-6
  )


@every_score
def test_names_of_target_labels_do_not_matter(name, rng, device_count):
  values, labels = example(name, rng)
  renamed = np.array([3, 0, 4, 1, 2])[labels]
  assert score(name, values, renamed) == pytest.approx(
    score(name, values, labels), abs=1e-6, rel=1e-6
  )


@every_score
def test_absent_target_classes_change_nothing(name, rng, device_count):
  values, labels = example(name, rng)
  expected = score(name, values, labels)
  assert score(name, values, labels, num_classes=40) == expected
  # Also in between: labels 0, 2, 4 ...
  assert score(name, values, 2 * labels) == pytest.approx(
    expected, abs=1e-6, rel=1e-6
  )


@with_law("duplicate")
def test_duplicated_data_change_nothing(name, rng, device_count):
  values, labels = example(name, rng)
  twice = score(name, np.concatenate([values] * 2), np.tile(labels, 2))
  assert twice == pytest.approx(score(name, values, labels), abs=1e-6, rel=1e-6)


@every_score
def test_devices_change_nothing_but_rounding(name, rng):
  values, labels = example(name, rng, n=1003)
  expected = score(name, values, labels)
  for count in (1, 3, 8):
    with devices.limit(count):
      assert score(name, values, labels) == pytest.approx(
        expected, abs=1e-6, rel=1e-6
      )
      assert score(name, values, labels) == score(name, values, labels)


@every_score
@pytest.mark.parametrize("n", [999, 1024])
def test_batches_change_nothing_but_rounding(
  name, n, rng, device_count, monkeypatch
):
  values, labels = example(name, rng, n=n)
  expected = score(name, values, labels)
  monkeypatch.setattr(storage, "_CHUNK_BYTES", 1)  # 64 examples a device
  batches = []
  original = devices.sum_batches

  def spy(functions, data, *rest, **options):
    data = list(data)
    batches.append(len(data))
    return original(functions, data, *rest, **options)

  monkeypatch.setattr(devices, "sum_batches", spy)
  assert score(name, values, labels) == pytest.approx(
    expected, abs=1e-6, rel=1e-6
  )
  assert batches[0] == -(-n // (64 * device_count))


@every_score
@pytest.mark.parametrize("size", [1000, 64, 100])
def test_outputs_on_devices_give_the_same(name, size, rng, device_count):
  values, labels = example(name, rng)
  pairs = [
    (values[i : i + size, None, None], labels[i : i + size])
    for i in range(0, len(labels), size)
  ]

  # The "images" are the outputs themselves, as one pixel of 7 channels.
  def apply(state, images):
    outputs = images[:, 0, 0]
    return jnp.log(jnp.maximum(outputs, 1e-30)), outputs

  preprocessing = leep_jax.Preprocessing(mean=(0.0,) * 7, std=(1.0,) * 7)
  source = leep_jax.Source("given", apply, (), preprocessing)
  outputs = leep_jax.compute_outputs(source, pairs, keep="device")
  assert SCORES[name].of_outputs(outputs) == pytest.approx(
    score(name, values, labels), abs=2e-6, rel=2e-6
  )


@every_score
@pytest.mark.parametrize("dtype", [np.float16, jnp.bfloat16, np.float64])
def test_other_dtypes_lose_only_what_they_round(name, dtype, rng, device_count):
  values, labels = example(name, rng)
  rounded = values.astype(dtype)
  if name == "eep_accuracy":
    expected = oracles.ORACLES[name](rounded.astype(np.float32), labels)
    tolerance = 1 / len(labels)  # a tie may fall either way
  else:
    expected = oracles.ORACLES[name](rounded.astype(np.float64), labels)
    tolerance = 1e-6
  assert score(name, rounded, labels) == pytest.approx(
    expected, abs=tolerance, rel=1e-6
  )
  assert score(name, jnp.asarray(rounded), jnp.asarray(labels)) == (
    pytest.approx(expected, abs=tolerance, rel=1e-6)
  )


@every_score
def test_one_example_has_an_answer(name, rng, device_count):
  values, _ = example(name, rng, n=1)
  expected = oracles.ORACLES[name](values, np.array([3]))
  assert score(name, values, [3]) == pytest.approx(expected, abs=1e-6)


@every_score
def test_identical_rows_have_an_answer(name, rng, device_count):
  values, labels = example(name, rng)
  same = np.repeat(values[:1], len(values), axis=0)
  expected = oracles.ORACLES[name](same, labels)
  assert score(name, same, labels) == pytest.approx(expected, abs=1e-6)


def test_identical_rows_tell_nothing(rng):
  probs, labels = example("leep", rng)
  same = np.repeat(probs[:1], len(probs), axis=0)
  share = np.bincount(labels) / len(labels)
  entropy = -(share * np.log(share)).sum()
  assert leep_jax.leep(same, labels) == pytest.approx(-entropy, abs=1e-6)
  assert leep_jax.nce(same, labels) == pytest.approx(-entropy, abs=1e-6)
  assert leep_jax.eep_accuracy(same, labels) == pytest.approx(share.max())
  assert leep_jax.h_score(same, labels) == 0


# Laws of some.


@with_law("at most 0")
def test_at_most_0(name, rng):
  for n in (1, 5, 300):
    assert score(name, *example(name, rng, n=n)) <= 0


@with_law("at most 1")
def test_between_0_and_1(name, rng):
  assert 0 <= score(name, *example(name, rng)) <= 1


@with_law("permute source")
def test_names_of_source_labels_do_not_matter(name, rng, device_count):
  values, labels = example(name, rng)
  order = rng.permutation(values.shape[1])
  assert score(name, values[:, order], labels) == pytest.approx(
    score(name, values, labels), abs=1e-6
  )


@with_law("0 for one class")
def test_one_class_gives_0(name, rng, device_count):
  values, labels = example(name, rng)
  assert score(name, values, 0 * labels) == 0
  assert score(name, values, 0 * labels + 2) == 0


@with_law("affine")
def test_affine_maps_of_features_change_nothing(name, rng, device_count):
  features, labels = example(name, rng)
  matrix = rng.normal(size=(7, 7))
  assert np.linalg.cond(matrix) < 100
  expected = score(name, features, labels)
  for moved in (features @ matrix + 5, features * 10.0 ** np.arange(-3, 4)):
    assert score(name, moved, labels) == pytest.approx(expected, rel=1e-4)


@with_law("rotate")
def test_rotations_and_units_of_features_change_nothing(
  name, rng, device_count
):
  features, labels = example(name, rng)
  rotation = np.linalg.qr(rng.normal(size=(7, 7)))[0]
  expected = score(name, features, labels)
  for moved in (features @ rotation, features * 1e3, features * 1e-3):
    assert score(name, moved, labels) == pytest.approx(expected, rel=1e-5)


@with_law("at most Y - 1")
def test_at_most_classes_less_1(name, rng):
  for n, width in ((300, 7), (12, 40)):
    features, labels = example(name, rng, n=n, width=width)
    value = score(name, features, labels)
    assert 0 <= value <= len(np.unique(labels)) - 1


# Laws between scores.


def test_one_hot_probabilities_make_leep_nce(rng, device_count):
  probs, labels = example("nce", rng)
  hard = np.eye(7)[probs.argmax(1)]
  assert leep_jax.leep(hard, labels) == pytest.approx(
    leep_jax.nce(hard, labels), abs=1e-6
  )
  assert leep_jax.leep(hard.astype(int), labels) == leep_jax.leep(hard, labels)


def test_property_1(rng):
  # The family of p(y given x) = sum_z A[y, z] theta[z] holds the EEP. EM from
  # it climbs towards the best of that family.
  probs, labels = example("leep", rng)
  probs = probs.astype(np.float64)
  table = leep_jax.EEP.fit(probs, labels).conditional
  for _ in range(200):
    parts = probs * table[labels]
    parts /= parts.sum(axis=1, keepdims=True)
    table = np.stack([parts[labels == y].sum(0) for y in range(5)])
    table /= table.sum(axis=0)
  best = np.log((probs * table[labels]).sum(axis=1)).mean()
  assert leep_jax.leep(probs, labels) < best


def test_property_2(rng, device_count):
  for _ in range(5):
    probs, labels = example("leep", rng)
    bound = leep_jax.nce(probs, labels) + np.log(probs.max(1)).mean()
    assert leep_jax.leep(probs, labels) >= bound - 1e-6


# Defined answers.


def test_a_source_label_without_mass_counts_as_0(rng, device_count):
  probs, labels = example("leep", rng)
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


@pytest.mark.parametrize("bad", ["constant", "copy", "sum", "large constant"])
def test_h_score_ignores_redundant_features(bad, rng, device_count):
  features, labels = example("h_score", rng)
  extra = {
    "constant": np.full((len(labels), 1), 0.1),
    "copy": features[:, :1],
    "sum": features.sum(1, keepdims=True),
    "large constant": np.full((len(labels), 1), 1e6),
  }[bad]
  wide = np.concatenate([features, extra], axis=1).astype(np.float32)
  assert leep_jax.h_score(wide, labels) == pytest.approx(
    leep_jax.h_score(features, labels), rel=1e-4
  )


def test_h_score_with_fewer_examples_than_features(rng, device_count):
  features, labels = example("h_score", rng, n=20, width=64)
  # The features span all directions between examples: labels are explained.
  classes = len(np.unique(labels))
  assert leep_jax.h_score(features, labels) == pytest.approx(
    classes - 1, rel=1e-5
  )


def test_regularized_h_score_by_hand():
  # f = 0, 2, 4, 6 as above: one feature is its own average variance, so
  # shrinkage changes nothing but the factor 1 - a, and a = 0 for D = 1.
  value = leep_jax.regularized_h_score(
    [[0.0], [2.0], [4.0], [6.0]], [0, 0, 1, 1]
  )
  assert value == pytest.approx(0.8, abs=1e-6)


def test_logme_by_hand():
  # f = 1, 1, 1, 1 with y = 1, 1, 1, 0: F^T F = 4, along F y has 9/4 of its 3.
  # Evidence: variances t(1 + 4/r) once and t three times. The best have t =
  # .75/3 = .25 and t(1 + 4/r) = 2.25: log p = -(4 log 2 pi + 3 log .25 + log
  # 2.25 + 4)/2 = -(7.351508 - 4.158883 + .810930 + 4)/2 = -4.001778.
  # y = 0, 0, 0, 1: along F 1/4 of 1, t = .25 and .25: no slope, and log p =
  # -(7.351508 + 4 log .25 + 4)/2 = -2.903165. Mean of -1.000444 and -.725791.
  value = leep_jax.logme(np.ones((4, 1)), [1, 1, 1, 0])
  assert value == pytest.approx(-0.863118, abs=1e-6)


def test_logme_with_fewer_examples_than_features(rng, device_count):
  features, labels = example("logme", rng, n=20, width=64)
  expected = oracles.logme(features, labels)
  assert leep_jax.logme(features, labels) == pytest.approx(expected, abs=1e-6)


@pytest.mark.parametrize("n", [100, 300])
@pytest.mark.parametrize("change", ["offset", "spectrum", "sorted"])
def test_logme_of_ill_conditioned_features(n, change, rng):
  features, labels = example("logme", rng, n=n, width=32)
  if change == "offset":
    features = features + 100
  if change == "spectrum":
    features = features * np.logspace(-3, 3, 32)
  if change == "sorted":
    features = features + 100.0 * labels[:, None]
  features = features.astype(np.float32)
  expected = oracles.logme(features, labels)
  assert leep_jax.logme(features, labels) == pytest.approx(expected, abs=1e-6)


def test_an_infinite_logme_leaves_the_other_scores(rng):
  labels = np.array([0, 1, 0, 1])
  outputs = leep_jax.Outputs.from_arrays(
    probs=np.eye(2)[labels], features=np.eye(2)[labels], labels=labels
  )
  values = leep_jax.compute_scores(outputs, names=["leep", "logme"])
  assert values == {"leep": 0, "logme": None}


def test_logme_of_features_that_hold_the_answer():
  with pytest.raises(leep_jax.InputError, match="infinite: 2 dimensions .*fit"):
    leep_jax.logme(np.eye(2)[[0, 1, 0, 1]], [0, 1, 0, 1])


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


# Errors: the value, the bound, the likely cause.


@pytest.mark.parametrize(
  ("probs", "message"),
  [
    ([[2.0, 5.0], [1.0, 0.5]], "do not sum to 1, but to 4.25 .*logits"),
    ([[2.0, -1.0], [0.5, 0.5]], "1 of 2 rows hold negative .*logits"),
    ([[0.5, 0.4], [0.5, 0.5]], "1 of 2 rows do not sum to 1, but to 0.9"),
    ([[math.nan, 1.0], [0.5, 0.5]], "1 of 2 rows hold NaN"),
    ([[math.inf, 1.0], [0.5, 0.5]], "1 of 2 rows hold NaN or inf"),
    ([[0.0, 0.0], [0.5, 0.5]], "do not sum to 1, but to 0 "),
    ([[[0.5, 0.5]]], r"shape \(1, 1, 2\), not \[n, columns\]"),
    ([[1.0]], "1 rows, but there are 2 labels"),
    ([[], []], "not \\[n, columns\\]"),
    ([["a", "b"], ["c", "d"]], "not real numbers"),
  ],
)
@pytest.mark.parametrize("name", ["leep", "nce", "eep_accuracy"])
def test_bad_probabilities(name, probs, message):
  with pytest.raises(leep_jax.InputError, match=message):
    score(name, probs, [0, 1])


@pytest.mark.parametrize(
  ("labels", "message"),
  [
    ([0, -1], "contain -1, but classes are counted from 0"),
    ([0, 1.5], "contain 1.5, not an integer"),
    ([0, math.nan], "contain nan, not an integer"),
    ([0, 5], "contain 5, but there are 3 classes .*from 1"),
    ([[1, 0], [0, 1]], "one-hot"),
    ([[1], [0]], "a column.* Pass labels.ravel"),
    (0, r"labels have shape \(\), not \[n\]$"),
    (["cat", "dog"], "not integers"),
    ([1j, 0], "complex128, not integers"),
    ([[0], [1, 2]], "cannot be made an array"),
    ([0, 1, 1], "2 rows, but there are 3 labels"),
    ([], "empty"),
  ],
)
@every_score
def test_bad_labels(name, labels, message):
  with pytest.raises(leep_jax.InputError, match=message):
    score(name, [[0.5, 0.5], [0.5, 0.5]], labels, num_classes=3)


def test_bad_features():
  with pytest.raises(leep_jax.InputError, match="1 of 2 rows hold NaN"):
    leep_jax.h_score([[math.nan], [1.0]], [0, 1])


def test_rows_may_be_off_by_rounding_only(rng):
  probs, labels = example("leep", rng)
  expected = leep_jax.leep(probs, labels)
  assert leep_jax.leep(probs * 1.0005, labels) == pytest.approx(
    expected, abs=1e-6
  )
  with pytest.raises(leep_jax.InputError, match="do not sum to 1"):
    leep_jax.leep(probs * 1.01, labels)


def test_unknown_score():
  outputs = leep_jax.Outputs.from_arrays(probs=[[1.0]], labels=[0])
  with pytest.raises(leep_jax.InputError, match="'lep'; did you mean leep"):
    leep_jax.compute_scores(outputs, names=["lep"])


# The EEP as a classifier, and the table.


def test_eep_predicts_new_examples(rng, device_count):
  probs, labels = example("leep", rng)
  other, truth = probs[700:], labels[700:]
  eep = leep_jax.EEP.fit(probs[:700], labels[:700])
  predicted = eep.predict_proba(other)
  table = oracles.joint(probs[:700], labels[:700], 5)
  np.testing.assert_allclose(
    predicted, other @ (table / table.sum(0)).T, atol=1e-6
  )
  assert predicted.shape == (299, 5)
  np.testing.assert_array_equal(eep.predict(other), predicted.argmax(1))
  assert np.mean(eep.predict(other) == truth) > 0.4


def test_leep_is_the_likelihood_of_the_eep(rng, device_count):
  probs, labels = example("leep", rng)
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


def test_compute_scores_shares_looks(rng, monkeypatch):
  probs, labels = example("leep", rng)
  outputs = leep_jax.Outputs.from_arrays(
    probs=probs, features=probs, labels=labels
  )
  looks = []
  original = devices.sum_batches
  monkeypatch.setattr(
    devices,
    "sum_batches",
    lambda functions, *rest, **options: (
      looks.append([f.__name__ for f in functions])
      or original(functions, *rest, **options)
    ),
  )
  values = leep_jax.compute_scores(outputs)
  assert list(values) == list(SCORES)
  assert looks == [
    ["probs_faults", "joint", "dummy_label_counts"],
    ["moments", "norm_moments", "features_faults"],
    ["log_likelihood"],
    ["whitened_moments"],  # rows that sum to 1 are linearly dependent
    ["correct"],
  ]
  for name, value in values.items():
    assert value == score(name, probs, labels)


def test_compute_scores_without_features(rng):
  probs, labels = example("leep", rng)
  outputs = leep_jax.Outputs.from_arrays(probs=probs, labels=labels)
  values = leep_jax.compute_scores(outputs, names=["h_score", "leep"])
  assert values == {"h_score": None, "leep": leep_jax.leep(probs, labels)}


def test_conditional_and_entropy_of_tables():
  table = np.array([[2.0, 0, 1], [0, 0, 1]])
  np.testing.assert_allclose(
    leep_lib.conditional_distribution(table), [[1, 0.75, 0.5], [0, 0.25, 0.5]]
  )
  assert nce_lib.negative_conditional_entropy(table) == pytest.approx(
    -0.5 * math.log(2)
  )
