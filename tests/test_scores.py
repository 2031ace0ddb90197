"""Every row of SCORES: goldens, oracles, laws, defined answers, errors."""

import dataclasses
import itertools
import math
import re

import jax.numpy as jnp
import numpy as np
import oracles
import pytest
import sklearn.mixture

import leep_jax
from leep_jax import scores as scores_lib, validation
from leep_jax.engine import programs, statistics, storage, sums as sums_lib
from leep_jax.scores import (
  gaussian_mixture,
  jackknife,
  leep as leep_lib,
  logme as logme_lib,
  nce as nce_lib,
)

SCORES = scores_lib.SCORES
# What each row of SCORES obeys besides the laws of all of them.
LAWS = {
  "leep": {"at most 0", "permute source", "0 for one class", "duplicate"},
  "nce": {"at most 0", "permute source", "0 for one class", "duplicate"},
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
  "parc": {"-1 to 1", "move each example", "unit"},
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
}
TESTED = set()


@dataclasses.dataclass(frozen=True)
class Case:
  """A row of SCORES with one kind of truth, `labels` or `targets`."""

  name: str
  truth: str = "labels"

  def __str__(self):
    return self.name + " of targets" * (self.truth == "targets")

  def __call__(self, values, truth, **options):
    """The score, or None where it is undefined."""
    row = SCORES[self.name]
    try:
      if self.truth == row.target_kinds[0]:
        return row.function(values, truth, **options)
      return row.function(values, None, **{self.truth: truth}, **options)
    except validation.UndefinedScore:
      return None

  def oracle(self, values, truth):
    return oracles.ORACLES[self.name](values, **{self.truth: truth})

  def example(self, rng, n=300, width=7, classes=5):
    """Inputs with something to find, and labels or targets."""
    labels = rng.integers(0, classes, n)
    cluster, spread = labels, 1
    if self.name == "n_leep":
      # As many clusters as the mixture has Gaussians, for it to have one best
      # fit, and labels that they tell in part.
      cluster, spread = rng.integers(0, 5 * classes, n), 10
      labels = np.where(rng.random(n) < 0.3, labels, cluster % classes)
    centres = spread * rng.normal(size=(5 * classes, width))
    values = centres[cluster] + rng.normal(size=(n, width))
    targets = values @ rng.normal(size=(width, 2)) + rng.normal(size=(n, 2))
    if SCORES[self.name].needs in ("probs", "outputs"):
      values = oracles.softmax(values)
    truth = labels if self.truth == "labels" else targets
    return values.astype(np.float32), truth

  def near(self, expected, times=1):
    """What differs from a value by rounding only; None is itself."""
    if expected is None:
      return None
    # Rounding grows in the steps that fit a mixture.
    tolerance = times * (1e-5 if self.name == "n_leep" else 1e-6)
    return pytest.approx(expected, abs=tolerance, rel=tolerance)


CASES = [
  Case(name, t) for name, row in SCORES.items() for t in row.target_kinds
]


def example(name, rng, **options):
  return Case(name).example(rng, **options)


def each(cases):
  assert cases
  return pytest.mark.parametrize("score", cases, ids=str)


every_score = each(CASES)
every_score_of_labels = each([c for c in CASES if c.truth == "labels"])
every_score_of_targets = each([c for c in CASES if c.truth == "targets"])


def with_law(law, *truths):
  """Runs a test for all rows that state a law."""
  TESTED.add(law)
  truths = truths or ("labels", "targets")
  return each([c for c in CASES if law in LAWS[c.name] and c.truth in truths])


def test_every_score_states_its_laws():
  assert set(LAWS) == set(SCORES) == set(oracles.ORACLES)
  assert set().union(*LAWS.values()) == TESTED


@pytest.mark.parametrize("name", SCORES)
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


def test_leep_bounds_by_hand():
  # The same; z = 0, 0, 1 tell y, so NCE = 0, and theta is .8, .6, .7 there:
  # mean log (-.223144 - .510826 - .356675) / 3 = -.363548. With P(y|z) = 14/17,
  # 14/17, 7/13 it is (-.417300 - .704982 - .975714) / 3 = -.699332. A head that
  # gives .9, .5, .8: mean log (-.105361 - .693147 - .223144) / 3 = -.340551.
  bounds = leep_jax.leep_bounds(
    [[0.8, 0.2], [0.6, 0.4], [0.3, 0.7]],
    [0, 0, 1],
    head_probs=[[0.9, 0.1], [0.5, 0.5], [0.2, 0.8]],
  )
  assert bounds.lower == pytest.approx(-0.363548, abs=2e-6)
  assert bounds.proven == pytest.approx(-0.699332, abs=2e-6)
  assert bounds.leep == pytest.approx(-0.505996, abs=2e-6)
  assert bounds.head == pytest.approx(-0.340551, abs=2e-6)


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


def test_logme_of_targets_by_hand():
  # f = 1, 1, 1, 1 with t = 1, 2, 3, 2: along F 8^2/4 = 16 of 18, and 2 in the
  # other three directions: variances 16 and 2/3. log p = -(4 log 2 pi + 3 log
  # 2/3 + log 16 + 4)/2 = -(7.351508 - 1.216395 + 2.772589 + 4)/2 = -6.453851.
  value = leep_jax.logme(np.ones((4, 1)), None, targets=[1, 2, 3, 2])
  assert value == pytest.approx(-6.453851 / 4, abs=1e-6)


def test_n_leep_by_hand():
  # Two pairs far apart and two Gaussians: each example belongs to its pair's.
  # Labels 0, 0 and 0, 1: NCE = 2 log(1/2) / 4 = -.346574.
  value = leep_jax.n_leep(
    [[0.0], [1.0], [100.0], [101.0]], [0, 0, 0, 1], components=2
  )
  assert value == pytest.approx(-0.346574, abs=1e-6)


def test_trans_rate_by_hand():
  # f = 0, 0, 0, 4 with y = 0, 0, 0, 1, less 1, and eps = 1: R = log(1 + 12/4)/2
  # = .693147; of class 0 log(1 + 1)/2 = .346574, of class 1 log(1 + 9)/2 =
  # 1.151293. .693147 - 3/4 .346574 - 1/4 1.151293 = .145394.
  features = [[0.0], [0.0], [0.0], [4.0]]
  value = leep_jax.trans_rate(features, [0, 0, 0, 1], eps=1)
  assert value == pytest.approx(0.145394, abs=1e-6)


def test_gbc_by_hand():
  # f = 0, 2 and 4, 8: means 1 and 6, variances 1 and 4, V = 2.5. B = 25/2.5/8 +
  # log(2.5 / sqrt(1*4))/2 = 1.25 + .111572; twice exp(-1.361572) = .512516.
  features = [[0.0], [2.0], [4.0], [8.0]]
  for covariance in ("spherical", "diagonal"):
    value = leep_jax.gbc(features, [0, 0, 1, 1], covariance=covariance)
    assert value == pytest.approx(-0.512516, abs=1e-6)


def test_parc_by_hand():
  # Less 2: (-1 0 1), (-1 1 0), (1 0 -1), (1 -1 0), of length sqrt 2. Distances
  # of 12 13 14 23 24 34: .5 2 1.5 1.5 2 .5, ranks less 3.5: -2 2 0 0 2 -2. Do
  # labels differ: 0 1 1 1 1 0, ranks less 3.5: -2 1 1 1 1 -2. Correlation
  # (4 + 2 + 0 + 0 + 2 + 4) / sqrt(16 * 12) = .866025.
  features = [[1.0, 2, 3], [1, 3, 2], [3, 2, 1], [3, 1, 2]]
  value = leep_jax.parc(features, [0, 0, 1, 1])
  assert value == pytest.approx(0.866025, abs=1e-6)


def test_lin_mse_by_hand():
  # f = -1, 0, 1 with t = 1, 0, 2: b = 1, and over a 2/3 - 2 a/3 + a^2 (2/3 +
  # lambda). lambda = 1: a = .2 and 2/3 - .2/3 = .6; 0: a = .5 and .5.
  features, targets = [[-1.0], [0.0], [1.0]], [1, 0, 2]
  assert leep_jax.lin_mse(features, targets) == pytest.approx(-0.6)
  assert leep_jax.lin_mse(features, targets, ridge=0) == pytest.approx(-0.5)


def test_lab_mse_by_hand():
  # theta = (1 0), (.5 .5), (0 1) with t = 1, 0, 2: a slope s over the second
  # costs |A|^2 = s^2/2 with A = (-s/2 s/2). 2/3 - 2 s/6 + s^2 (1/6 + 1/2): s =
  # .25 and 2/3 - .25/6 = .625.
  probs = [[1.0, 0.0], [0.5, 0.5], [0.0, 1.0]]
  assert leep_jax.lab_mse(probs, [1, 0, 2]) == pytest.approx(-0.625)


# Against float64.


@every_score
@pytest.mark.parametrize("n", [2, 17, 300])
def test_equals_float64_oracle(score, n, rng, device_count):
  values, truth = score.example(rng, n=n)
  assert score(values, truth) == score.near(score.oracle(values, truth))


@every_score
def test_more_features_than_examples(score, rng):
  values, truth = score.example(rng, n=30, width=64)
  # Where features explain all, a little of what is left is rounding.
  assert score(values, truth) == pytest.approx(
    score.oracle(values, truth), abs=1e-5, rel=1e-5
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
def test_order_of_examples_does_not_matter(score, dtype, rng, device_count):
  values, truth = score.example(rng)
  values = values.astype(dtype)
  order = rng.permutation(len(truth))
  expected = score(values, truth)
  assert score(values[order], truth[order]) == score.near(expected)


@every_score_of_labels
def test_names_of_target_labels_do_not_matter(score, rng, device_count):
  values, labels = score.example(rng)
  renamed = np.array([3, 0, 4, 1, 2])[labels]
  assert score(values, renamed) == score.near(score(values, labels))


@every_score_of_labels
def test_absent_target_classes_change_nothing(score, rng, device_count):
  values, labels = score.example(rng)
  expected = score(values, labels)
  assert score(values, labels, num_classes=40) == expected
  # Also in between: labels 0, 2, 4 ...
  assert score(values, 2 * labels) == score.near(expected)


@every_score_of_targets
def test_order_of_targets_does_not_matter(score, rng, device_count):
  values, targets = score.example(rng)
  expected = score(values, targets)
  assert score(values, targets[:, ::-1]) == score.near(expected)


@every_score_of_targets
def test_one_target_needs_no_column(score, rng):
  values, targets = score.example(rng, n=50)
  targets = targets[:, :1]
  assert score(values, targets[:, 0]) == score(values, targets)


@every_score
def test_devices_change_nothing_but_rounding(score, rng):
  values, truth = score.example(rng, n=301)
  expected = score(values, truth)
  for count in (1, 3, 8):
    with programs.limit(count):
      assert score(values, truth) == score.near(expected)
      assert score(values, truth) == score(values, truth)


@every_score
@pytest.mark.parametrize("n", [999, 1024])
def test_batches_change_nothing_but_rounding(
  score, n, rng, device_count, monkeypatch
):
  values, truth = score.example(rng, n=n)
  expected = score(values, truth)
  monkeypatch.setattr(storage, "_CHUNK_BYTES", 1)  # 64 examples a device
  # NumPy counts arrays on the host; this is about what devices do.
  monkeypatch.setattr(statistics.dummy_label_counts, "on_host", None)
  batches = []
  original = sums_lib.sum_batches

  def spy(functions, data, *rest, **options):
    data = list(data)
    batches.append(len(data))
    return original(functions, data, *rest, **options)

  monkeypatch.setattr(sums_lib, "sum_batches", spy)
  assert score(values, truth) == score.near(expected)
  assert batches[0] == -(-n // (64 * device_count))


@every_score
@pytest.mark.parametrize("size", [64, 100])
def test_outputs_on_devices_give_the_same(score, size, rng, device_count):
  values, truth = score.example(rng)
  pairs = [
    (values[i : i + size, None, None], truth[i : i + size])
    for i in range(0, len(truth), size)
  ]

  # The "images" are the outputs themselves, as one pixel of 7 channels.
  def apply(state, images):
    outputs = images[:, 0, 0]
    return jnp.log(jnp.maximum(outputs, 1e-30)), outputs

  preprocessing = leep_jax.Preprocessing(mean=(0.0,) * 7, std=(1.0,) * 7)
  source = leep_jax.Source("given", apply, (), preprocessing)
  outputs = leep_jax.compute_outputs(
    source, pairs, keep="device", regression=score.truth == "targets"
  )
  value = jackknife.value(SCORES[score.name].parts(outputs))
  # A softmax of logarithms rounds once more.
  assert value == score.near(score(values, truth), times=2)


@every_score
@pytest.mark.parametrize("dtype", [np.float16, jnp.bfloat16, np.float64])
def test_other_dtypes_lose_only_what_they_round(
  score, dtype, rng, device_count
):
  values, truth = score.example(rng)
  rounded = values.astype(dtype)
  if score.name == "eep_accuracy":
    expected = score.oracle(rounded.astype(np.float32), truth)
    expected = pytest.approx(expected, abs=1 / len(truth))  # of ties
  else:
    expected = score.near(score.oracle(rounded.astype(np.float64), truth))
  assert score(rounded, truth) == expected
  assert score(jnp.asarray(rounded), truth) == expected


@every_score
def test_one_example_has_an_answer(score, rng, device_count):
  values, _ = score.example(rng, n=1)
  truth = np.array([3]) if score.truth == "labels" else np.array([[3.0, 4.0]])
  assert score(values, truth) == score.near(score.oracle(values, truth))


@every_score
def test_identical_rows_have_an_answer(score, rng, device_count):
  values, truth = score.example(rng)
  same = np.repeat(values[:1], len(values), axis=0)
  assert score(same, truth) == score.near(score.oracle(same, truth))


def test_identical_rows_tell_nothing(rng):
  probs, labels = example("leep", rng)
  same = np.repeat(probs[:1], len(probs), axis=0)
  share = np.bincount(labels) / len(labels)
  entropy = -(share * np.log(share)).sum()
  assert leep_jax.leep(same, labels) == pytest.approx(-entropy, abs=1e-6)
  assert leep_jax.nce(same, labels) == pytest.approx(-entropy, abs=1e-6)
  assert leep_jax.eep_accuracy(same, labels) == pytest.approx(share.max())
  assert leep_jax.h_score(same, labels) == 0
  assert leep_jax.n_leep(same, labels) == pytest.approx(-entropy, abs=1e-6)
  assert leep_jax.trans_rate(same, labels) == 0
  assert leep_jax.gbc(same, labels) == -5 * 4
  variance = labels.var()
  assert leep_jax.lin_mse(same, labels) == pytest.approx(-variance, abs=1e-6)


# Laws of some.


@with_law("at most 0")
def test_at_most_0(score, rng):
  for n in (1, 300):
    value = score(*score.example(rng, n=n))
    assert value <= 0
    assert str(value) != "-0.0"


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
  values, truth = score.example(rng)
  order = rng.permutation(values.shape[1])
  expected = score(values, truth)
  assert score(values[:, order], truth) == score.near(expected)


@with_law("0 for one class", "labels")
def test_one_class_gives_0(score, rng, device_count):
  values, labels = score.example(rng)
  for same in (0 * labels, 0 * labels + 2):
    assert str(score(values, same)) == "0.0"


@with_law("duplicate")
def test_duplicated_data_change_nothing(score, rng, device_count):
  values, truth = score.example(rng)
  twice = score(np.concatenate([values] * 2), np.concatenate([truth] * 2))
  assert twice == score.near(score(values, truth))


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
  features, truth = score.example(rng)
  rotation = np.linalg.qr(rng.normal(size=(7, 7)))[0]
  expected = score(features, truth)
  assert score(features @ rotation, truth) == pytest.approx(expected, rel=1e-5)


@with_law("unit")
def test_unit_of_features_does_not_matter(score, rng, device_count):
  features, truth = score.example(rng)
  expected = score(features, truth)
  for unit in (1e-3, 1e3):
    assert score(features * unit, truth) == pytest.approx(expected, rel=1e-5)


@with_law("move")
def test_offset_of_features_does_not_matter(score, rng, device_count):
  features, truth = score.example(rng)
  expected = score(features, truth)
  moved = features + np.arange(7.0)
  assert score(moved, truth) == pytest.approx(expected, rel=1e-5)


@with_law("move each example")
def test_offset_of_an_example_does_not_matter(score, rng, device_count):
  features, truth = score.example(rng)
  expected = score(features, truth)
  moved = features + rng.normal(size=(len(truth), 1))
  assert score(moved, truth) == pytest.approx(expected, rel=1e-5)


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


# Laws between scores.


def test_one_hot_probabilities_make_leep_nce(rng, device_count):
  probs, labels = example("nce", rng)
  hard = np.eye(7)[probs.argmax(1)]
  assert leep_jax.leep(hard, labels) == pytest.approx(
    leep_jax.nce(hard, labels), abs=1e-6
  )
  assert leep_jax.leep(hard.astype(int), labels) == leep_jax.leep(hard, labels)
  bounds = leep_jax.leep_bounds(hard, labels)
  assert bounds.lower == pytest.approx(bounds.leep, abs=1e-6)
  assert bounds.proven == pytest.approx(bounds.leep, abs=1e-6)


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


def test_n_leep_of_well_separated_clusters_is_their_nce(rng):
  cluster = rng.integers(0, 6, 300)
  features = 20 * np.eye(6)[cluster] + rng.normal(size=(300, 6))
  labels = np.where(rng.random(300) < 0.7, cluster % 3, 2)
  value = leep_jax.n_leep(features, labels, components=6, variance=1.0)
  assert value == pytest.approx(leep_jax.nce(cluster, labels), abs=1e-6)


def test_lab_mse_is_lin_mse_of_the_outputs(rng):
  probs, targets = Case("lab_mse", "targets").example(rng, n=50)
  assert leep_jax.lab_mse(probs, targets) == leep_jax.lin_mse(probs, targets)
  # A regressor's predictions are outputs, too.
  values = 100 * rng.normal(size=(50, 3))
  assert leep_jax.lab_mse(values, targets) == pytest.approx(
    oracles.lin_mse(values, targets), rel=1e-6
  )


# The mixture of N-LEEP, against scikit-learn's.


def mixtures(rng, n=400):
  """A function of iterations that fits a mixture to clusters that overlap."""
  features = rng.normal(size=(n, 3)) + 3 * rng.integers(0, 3, (n, 1))
  outputs = leep_jax.Outputs.from_arrays(features=features, labels=[0] * n)
  keys = rng.integers(0, 2**32, n, dtype=np.uint32)

  def fit(iterations):
    return gaussian_mixture.fit(
      outputs,
      keys,
      components=4,
      restarts=1,
      iterations=iterations,
      tolerance=0.0,
    )

  shift, scale = outputs.feature_centre
  return (features - shift) / scale, fit


@pytest.mark.parametrize("steps", [1, 20])
@pytest.mark.filterwarnings("ignore:.*did not converge")
def test_n_leep_fits_as_scikit_learn(steps, rng, device_count):
  points, fit = mixtures(rng)
  weights, centres, precisions = fit(2)[0]
  theirs = sklearn.mixture.GaussianMixture(
    len(weights),
    covariance_type="diag",
    weights_init=np.exp(weights) / np.exp(weights).sum(),
    means_init=centres,
    precisions_init=precisions,
    reg_covar=0,
    tol=0,
    max_iter=steps,
  ).fit(points)
  (weights, centres, precisions), likelihood = fit(2 + steps)
  np.testing.assert_allclose(np.exp(weights), theirs.weights_, rtol=1e-3)
  np.testing.assert_allclose(centres, theirs.means_, atol=1e-3)
  np.testing.assert_allclose(precisions, theirs.precisions_, rtol=1e-3)
  assert likelihood == pytest.approx(theirs.score(points), abs=1e-5)


def test_likelihood_of_a_mixture_never_falls(rng):
  _, fit = mixtures(rng)
  values = [fit(steps)[1] for steps in range(1, 30)]
  assert np.all(np.diff(values) > -1e-6)
  assert values[-1] > values[0] + 0.01


def test_n_leep_is_leep_of_the_posterior(rng):
  # Clusters that overlap: components are shared.
  labels = rng.integers(0, 3, 300)
  features = rng.normal(size=(300, 4)) + labels[:, None]
  posterior = oracles.posterior_of_fit(features, labels)
  assert np.sum((posterior > 0.1) & (posterior < 0.9)) > 100
  assert leep_jax.n_leep(features, labels) == pytest.approx(
    oracles.leep(posterior, labels), abs=1e-5
  )


def test_order_and_devices_do_not_matter_to_the_start_of_n_leep(rng):
  labels = rng.integers(0, 3, 300)
  features = rng.normal(size=(300, 4)) + labels[:, None]
  expected = leep_jax.n_leep(features, labels)
  order = rng.permutation(300)
  with programs.limit(3):
    value = leep_jax.n_leep(features[order], labels[order])
  assert value == pytest.approx(expected, abs=1e-4)


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
@pytest.mark.parametrize("name", ["h_score", "gbc", "lin_mse"])
def test_redundant_features_are_ignored(bad, name, rng, device_count):
  score = Case(name, SCORES[name].target_kinds[0])
  features, truth = score.example(rng)
  extra = {
    "constant": np.full((len(truth), 1), 0.1),
    "copy": features[:, :1],
    "sum": features.sum(1, keepdims=True),
    "large constant": np.full((len(truth), 1), 1e6),
  }[bad]
  wide = np.concatenate([features, extra], axis=1).astype(np.float32)
  expected = score.oracle(wide, truth)
  if "constant" in bad or name == "h_score":
    expected = score(features, truth)
  assert score(wide, truth) == pytest.approx(expected, rel=1e-4)


def test_h_score_with_fewer_examples_than_features(rng, device_count):
  features, labels = example("h_score", rng, n=20, width=64)
  # The features span all directions between examples: labels are explained.
  classes = len(np.unique(labels))
  assert leep_jax.h_score(features, labels) == pytest.approx(
    classes - 1, rel=1e-5
  )


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
  assert leep_jax.logme(features, labels) == pytest.approx(expected, abs=2e-6)


def test_logme_has_the_higher_of_two_maxima(rng):
  # In 5 of these 5,000 the highest point of a coarse grid is by the lower one.
  ratios = np.logspace(-15, 15, 2001)
  for _ in range(100):
    values = np.exp(4 * rng.normal(size=5))
    inside = np.exp(3 * rng.normal(size=(50, 5)))
    outside = 10 * np.exp(rng.normal(size=50))
    odds = values / ratios[:, None]
    noise = (outside[:, None] + inside @ (1 / (1 + odds)).T) / 100
    fit = np.log(2 * np.pi * np.e * noise)
    some = -0.5 * (fit + np.log1p(odds).sum(axis=1) / 100)
    found = logme_lib.max_log_evidence(values, inside, outside, 100)
    assert np.all(found > some.max(axis=1) - 1e-9)


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
  with pytest.raises(leep_jax.InputError, match="infinite: .* fit target 0"):
    leep_jax.logme([[1.0], [2.0], [3.0]], None, targets=[2, 4, 6])
  with pytest.raises(leep_jax.InputError, match="infinite: all targets are 0"):
    leep_jax.logme([[1.0], [2.0], [3.0]], None, targets=[0, 0, 0])


@pytest.mark.parametrize(
  ("features", "labels", "message"),
  [
    ([[1.0, 2], [2, 1], [3, 1]], [1, 1, 1], "no two examples differ in a"),
    ([[1.0, 2], [2, 1], [3, 1]], [0, 1, 2], "no two share a label"),
    ([[1.0, 2], [3, 3], [3, 1]], [0, 1, 1], "1 of 3 examples have equal feat"),
    ([[1.0, 2], [3, 4], [5, 6]], [0, 1, 1], "all examples are equally far"),
    ([[1.0], [2.0], [3.0]], [0, 1, 1], "3 of 3 examples have equal features"),
  ],
)
def test_undefined_parc(features, labels, message):
  with pytest.raises(
    validation.UndefinedScore, match=f"parc is undefined: {message}"
  ):
    leep_jax.parc(features, labels)


def test_parc_of_many_examples_is_that_of_some(rng):
  features, labels = example("parc", rng)
  value = leep_jax.parc(features, labels, max_examples=150)
  assert value == leep_jax.parc(features, labels, max_examples=150)
  everything = leep_jax.parc(features, labels)
  assert value != everything
  assert value == pytest.approx(everything, abs=0.1)


@pytest.mark.parametrize("covariance", ["spherical", "diagonal"])
@pytest.mark.parametrize("dimensions", [2, 64])
def test_options_of_gbc(covariance, dimensions, rng, device_count):
  features, labels = example("gbc", rng)
  options = {"covariance": covariance, "dimensions": dimensions}
  expected = oracles.gbc(features, labels, **options)
  assert leep_jax.gbc(features, labels, **options) == pytest.approx(
    expected, rel=1e-5
  )


def test_gbc_of_classes_with_one_example_each():
  # Variances of 0 become a millionth of that of all, and nothing overlaps.
  assert leep_jax.gbc([[0.0, 1], [2, 0], [3, 5]], [0, 1, 2]) == 0


@pytest.mark.parametrize("eps", [1e-2, 10])
def test_eps_of_trans_rate(eps, rng):
  features, labels = example("trans_rate", rng)
  moved = oracles.centred(features)
  expected = oracles.coding_rate(moved, eps)
  for y in range(5):
    share = np.mean(labels == y)
    expected -= share * oracles.coding_rate(moved[labels == y], eps)
  value = leep_jax.trans_rate(features, labels, eps=eps)
  assert value == pytest.approx(expected, rel=1e-6)


@pytest.mark.parametrize("ridge", [0, 1e-3, 10])
@pytest.mark.parametrize("width", [7, 64])
def test_ridge_of_lin_mse(ridge, width, rng):
  score = Case("lin_mse", "targets")
  features, targets = score.example(rng, n=200, width=width)
  features *= np.logspace(-2, 2, width).astype(np.float32)
  expected = oracles.lin_mse(features, targets, ridge=ridge)
  value = leep_jax.lin_mse(features, targets, ridge=ridge)
  assert value == pytest.approx(expected, rel=1e-5)


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
@pytest.mark.parametrize("name", ["leep", "nce", "eep_accuracy", "leep_bounds"])
def test_bad_probabilities(name, probs, message):
  with pytest.raises(leep_jax.InputError, match=message):
    getattr(leep_jax, name)(probs, [0, 1])


@pytest.mark.parametrize(
  ("head", "error", "message"),
  [
    ([[1.0], [1.0]], leep_jax.InputError, "1 columns, but labels contain 1"),
    ([[2.0, 3], [1, 0]], leep_jax.InputError, "do not sum to 1"),
    (
      [[1.0, 0], [1, 0]],
      validation.UndefinedScore,
      "1 true labels probability 0",
    ),
  ],
)
def test_bad_heads(head, error, message):
  with pytest.raises(error, match=message):
    leep_jax.leep_bounds([[0.5, 0.5]] * 2, [0, 1], head_probs=head)


@pytest.mark.parametrize(
  ("labels", "message"),
  [
    ([0, -1], "contain -1, but classes are counted from 0"),
    ([0, 1.5], "contain 1.5, not an integer"),
    ([0, math.nan], "hold NaN, not an integer"),
    ([0, 5], "contain 5, but there are 3 classes"),
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
@every_score_of_labels
def test_bad_labels(score, labels, message):
  with pytest.raises(leep_jax.InputError, match=message):
    score([[0.5, 0.5], [0.5, 0.5]], labels, num_classes=3)


@pytest.mark.parametrize(
  ("targets", "message"),
  [
    ([0.5, math.nan], "1 of 2 rows hold NaN or infinity: do they mark missing"),
    ([[[1.0]]], r"targets have shape \(1, 1, 1\), not \[n, T\]"),
    (["a", "b"], "not real numbers"),
    ([1.0, 2.0, 3.0], "2 rows, but there are 3 targets"),
    ([], "empty"),
  ],
)
@every_score_of_targets
def test_bad_targets(score, targets, message):
  with pytest.raises(leep_jax.InputError, match=message):
    score([[0.5, 0.5], [0.5, 0.5]], targets)


@pytest.mark.parametrize(
  "name", [name for name, row in SCORES.items() if row.needs == "features"]
)
def test_bad_features(name):
  score = Case(name, SCORES[name].target_kinds[0])
  with pytest.raises(leep_jax.InputError, match="1 of 2 rows hold NaN"):
    score([[math.nan], [1.0]], [0, 1])


@pytest.mark.parametrize(
  ("name", "options", "message"),
  [
    ("gbc", {"covariance": "diag"}, "'diag'; did you mean diagonal"),
    ("gbc", {"dimensions": 0}, "dimensions is 0"),
    ("parc", {"max_examples": 1.5}, "max_examples is 1.5"),
    ("trans_rate", {"eps": 0}, "eps is 0, but must be above 0"),
    ("trans_rate", {"eps": math.inf}, "eps is inf"),
    ("lin_mse", {"ridge": -1}, "ridge is -1, but must be at least 0"),
    ("lin_mse", {"ridge": math.nan}, "ridge is nan"),
    ("n_leep", {"variance": 0}, r"variance is 0, but must be in \(0, 1\]"),
    ("n_leep", {"components": 0}, "components is 0"),
    ("n_leep", {"restarts": 0}, "restarts is 0"),
    ("n_leep", {"iterations": 0}, "iterations is 0"),
    ("n_leep", {"tolerance": -1}, "tolerance is -1"),
  ],
)
def test_bad_options(name, options, message):
  features = [[1.0, 2.0], [2.0, 1.0], [0.0, 3.0]]
  with pytest.raises(leep_jax.InputError, match=message):
    SCORES[name].function(features, [0, 1, 1], **options)


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
  other, truth = probs[200:], labels[200:]
  eep = leep_jax.EEP.fit(probs[:200], labels[:200])
  predicted = eep.predict_proba(other)
  table = oracles.joint(probs[:200], labels[:200], 5)
  np.testing.assert_allclose(
    predicted, other @ (table / table.sum(0)).T, atol=1e-6
  )
  assert predicted.shape == (100, 5)
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


def looks_of(monkeypatch):
  """A list to which each look at outputs adds what it sums."""
  looks = []
  original = sums_lib.sum_batches
  monkeypatch.setattr(
    sums_lib,
    "sum_batches",
    lambda functions, *rest, **options: (
      looks.append([f.__name__ for f in functions])
      or original(functions, *rest, **options)
    ),
  )
  return looks


def test_compute_scores_shares_looks(rng, monkeypatch):
  probs, labels = example("leep", rng)
  outputs = leep_jax.Outputs.from_arrays(
    probs=probs, features=probs, labels=labels
  )
  looks = looks_of(monkeypatch)
  values = leep_jax.compute_scores(outputs)
  # Steps of fitting a mixture are one look each.
  assert [names for names, _ in itertools.groupby(looks)] == [
    ["joint"],  # hard labels are counted by NumPy, which checks rows too
    ["features_faults", "moments"],
    ["log_likelihood"],
    ["correct"],
    ["whitened_moments"],  # rows that sum to 1 are linearly dependent
    ["norm_moments"],
    ["features_faults", "expectation"],  # of features projected before
    ["expectation"],
    ["mixture_joint"],
    ["mixture_log_likelihood"],
    ["class_squares"],
  ]
  assert list(values) == list(SCORES)
  for name, value in values.items():
    if "labels" in SCORES[name].target_kinds:
      assert value == Case(name)(probs, labels)


def test_scores_of_targets_share_looks(rng, monkeypatch):
  probs, targets = Case("lab_mse", "targets").example(rng)
  outputs = leep_jax.Outputs.from_arrays(
    probs=probs, features=probs, targets=targets
  )
  looks = looks_of(monkeypatch)
  values = leep_jax.compute_scores(outputs)
  assert looks == [
    ["features_faults", "moments"],
    ["whitened_moments"],
    ["features_faults", "moments"],  # of probabilities taken for features
    ["whitened_moments"],
  ]
  for name, value in values.items():
    if "targets" in SCORES[name].target_kinds:
      assert value == Case(name, "targets")(probs, targets)
    else:
      assert value is None


def test_why_a_score_has_no_value(rng):
  probs, labels = example("leep", rng, n=9)
  reasons = {}
  for outputs in (
    leep_jax.Outputs.from_arrays(probs=probs, labels=0 * labels),
    leep_jax.Outputs.from_arrays(features=probs, labels=0 * labels),
    leep_jax.Outputs.from_arrays(features=probs, targets=labels),
  ):
    leep_jax.estimate_scores(
      outputs,
      names=["h_score", "leep", "parc", "lin_mse"],
      on_undefined=lambda name, why: reasons.setdefault(name, []).append(why),
    )
  assert reasons == {
    "h_score": [
      "the source gives no features",
      "the targets are real numbers, not classes",
    ],
    "leep": ["the source gives no probs", "the source gives no probs"],
    "parc": [
      "the source gives no features",
      "parc is undefined: no two examples differ in a label",
      "the targets are real numbers, not classes",
    ],
    "lin_mse": [
      "the source gives no features",
      "the targets are classes, not real numbers",
    ],
  }


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


# Digits where they are hard to keep.


def exact_logme(features, targets):
  """By singular values, with what is left of the targets projected twice."""
  u, singular, _ = np.linalg.svd(
    features.astype(np.float64), full_matrices=False
  )
  left = targets - u @ (u.T @ targets)
  left -= u @ (u.T @ left)
  return logme_lib.max_log_evidence(
    singular**2, (u.T @ targets).T ** 2, (left**2).sum(0), len(features)
  ).mean()


@pytest.mark.parametrize("apart", [30, 1000])
@pytest.mark.parametrize("order", ["random", "sorted"])
def test_logme_of_classes_far_apart(apart, order, rng, device_count):
  labels = rng.integers(0, 4, 2000)
  if order == "sorted":
    labels = np.sort(labels)
  features = rng.normal(size=(2000, 20))
  features += apart * rng.normal(size=(4, 20))[labels]
  features = features.astype(np.float32)
  assert leep_jax.logme(features, labels) == pytest.approx(
    exact_logme(features, np.eye(4)[labels]), abs=3e-6
  )


@pytest.mark.parametrize("offset", [1e4, 1e7])
def test_logme_of_float64_features_with_an_offset(offset, rng):
  labels = rng.integers(0, 3, 400)
  features = rng.normal(size=(400, 10)) + np.eye(10)[labels] + offset
  assert leep_jax.logme(features, labels) == pytest.approx(
    exact_logme(features, np.eye(3)[labels]), abs=1e-6
  )


def test_logme_of_targets_with_an_offset(rng):
  features = np.append(rng.normal(size=(500, 5)), np.ones((500, 1)), axis=1)
  features = features.astype(np.float32)
  targets = features[:, :2] + rng.normal(size=(500, 2)) + 1e6
  assert leep_jax.logme(features, None, targets=targets) == pytest.approx(
    exact_logme(features, targets), abs=1e-6
  )


@pytest.mark.parametrize("apart", [10, 1000])
@pytest.mark.parametrize("covariance", ["spherical", "diagonal"])
def test_gbc_of_classes_far_apart(apart, covariance, rng, device_count):
  labels = rng.integers(0, 4, 400)
  features = rng.normal(size=(400, 5))
  features[:, 0] += np.where(labels < 2, apart, -apart)
  features = features.astype(np.float32)
  value = leep_jax.gbc(features, labels, covariance=covariance)
  expected = oracles.gbc(features, labels, covariance=covariance)
  assert value == pytest.approx(expected, rel=1e-6)


@pytest.mark.parametrize("offset", [1e4, 1e8])
def test_h_score_of_few_float64_examples_with_an_offset(offset, rng):
  labels = np.arange(15) % 5
  features = rng.normal(size=(15, 20)) + offset
  assert leep_jax.h_score(features, labels) == pytest.approx(4, abs=1e-6)


@pytest.mark.parametrize("value", [0.1, 0.3, 1e7])
def test_parc_of_equal_features_is_undefined(value, rng):
  features = rng.random((6, 3))
  features[0] = value
  with pytest.raises(validation.UndefinedScore, match="1 of 6 examples"):
    leep_jax.parc(features, [0, 1, 0, 1, 0, 1])


def test_no_negative_zero():
  assert math.copysign(1, leep_jax.task_hardness([0, 0])) == 1
