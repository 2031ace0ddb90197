"""Standard errors: against formulas, brute force, and drawing again."""

import dataclasses
import math

import jax.numpy as jnp
import marks
import numpy as np
import oracles
import pytest

import leep_jax
from leep_jax import scores as scores_lib
from leep_jax.engine import programs
from leep_jax.scores import jackknife

SCORES = scores_lib.SCORES
# Undefined of one example, besides probes; or without source examples.
PAIRS = (
  "parc",
  "concept_variance",
  "knn_accuracy",
  "class_mean_accuracy",
  "f_otce",
)
Estimate = leep_jax.Estimate


def example(rng, n=100, width=7, classes=3):
  """Features of clusters far apart, with other scores still in between."""
  cluster = rng.integers(0, 5 * classes, n)
  features = 10 * rng.normal(size=(5 * classes, width))[cluster]
  features += rng.normal(size=(n, width))
  labels = np.where(rng.random(n) < 0.7, cluster % classes, 0)
  return features.astype(np.float32), labels


def both_outputs(features, labels, rng):
  """The same examples with labels, with targets, and with sets of labels."""
  arrays = {"probs": oracles.softmax(features / 10), "features": features}
  targets = features @ rng.normal(size=(features.shape[1], 2))
  targets = targets + 20 * rng.normal(size=targets.shape)
  return (
    leep_jax.Outputs.from_arrays(**arrays, labels=labels),
    leep_jax.Outputs.from_arrays(**arrays, targets=targets),
    leep_jax.Outputs.from_arrays(**arrays, multi_labels=targets > 0),
  )


def estimate(name, outputs, groups=20):
  return leep_jax.estimate_scores(outputs, names=[name], groups=groups)[name]


def of_mean(values, groups):
  """The mean as a score."""
  member = np.arange(groups)[:, None] == np.arange(len(values)) % groups
  sizes = member.sum(axis=1)
  rest = (values.sum() - member @ values) / (len(values) - sizes)
  return Estimate(values.mean(), rest, sizes)


# Against the formula.


def test_standard_error_of_a_mean(rng):
  values = rng.normal(size=40)
  expected = values.std(ddof=1) / math.sqrt(40)
  assert of_mean(values, 40).standard_error == pytest.approx(expected)
  means = values.reshape(8, 5).mean(axis=0)
  grouped = Estimate(
    values.mean(), (values.mean() * 5 - means) / 4, np.full(5, 8)
  )
  expected = means.std(ddof=1) / math.sqrt(5)
  assert grouped.standard_error == pytest.approx(expected)


def test_groups_of_unequal_size_are_weighted():
  # Values 0, 2, 4 | 6: without the first group 6, without the second 2, of 3.
  # n/m = 4/3 and 4: pseudo-values 4/3*3 - 1/3*6 = 2 and 4*3 - 3*2 = 6, those of
  # the groups; less 3 squared over 1/3 and 3: (1*3 + 9/3)/2 = 3.
  result = Estimate(3.0, np.array([6.0, 2.0]), np.array([3.0, 1.0]))
  assert result.standard_error == pytest.approx(math.sqrt(3))


@pytest.mark.parametrize("n", [20, 23, 39, 50])
def test_squared_standard_error_of_a_mean_is_unbiased(n, rng):
  squares = [
    of_mean(x, 20).standard_error ** 2 for x in rng.normal(size=(5000, n))
  ]
  assert np.mean(squares) == pytest.approx(1 / n, rel=0.02)


def test_interval_is_students(rng):
  result = of_mean(rng.normal(size=10), 10)
  low, high = result.interval(level=0.9)
  # The 95 % quantile of Student's t with 9 degrees of freedom is 1.833113.
  half = 1.833113 * result.standard_error
  assert (low + high) / 2 == pytest.approx(result.value)
  assert (high - low) / 2 == pytest.approx(half, rel=1e-6)
  wide = result.interval(level=0.99)
  assert wide[0] < low < high < wide[1]


@pytest.mark.parametrize("level", [0, 1, 95, math.nan])
def test_bad_levels(level):
  with pytest.raises(leep_jax.InputError, match="level is .* between 0 and 1"):
    Estimate(0.0, np.zeros(2), np.ones(2)).interval(level=level)


# Against brute force.


def brute_force(name, outputs, groups):
  """The score of all examples but those of each group, computed anew."""
  group_of = outputs.grouped(groups).group_of
  values = [
    leep_jax.compute_scores(outputs.select(group_of != g), names=[name])[name]
    for g in range(groups)
  ]
  return np.array(values, np.float64)


# Values without a group that neglect terms of second order.
FIRST_ORDER = ("pactran_dirichlet", "pactran_gamma", "pactran_gaussian")
EXACT = [
  (name, y_true, n, width)
  for name, row in SCORES.items()
  for y_true in row.target_kinds
  # Fewer features than examples, also in unequal groups, about as many, more.
  for n, width in [(60, 7), (63, 7), (25, 20), (20, 20), (18, 20)]
  # Accuracies and probes have an error from single examples, without groups.
  if name
  not in ("leep", "leep_loo", "eep_accuracy", "n_leep", "mean_leep", "f_otce")
  # Features stay scaled by all examples.
  and name not in ("concept_variance", *FIRST_ORDER)
  and not name.startswith("probe_")
  and not name.endswith("_accuracy")
  and (name != "h_score" or n > width)
  # Principal axes do not matter where all are kept, and no more are lost.
  and (not name.startswith(("gbc", "ncti_")) or n >= 60)
]


@pytest.mark.parametrize(
  ("name", "y_true", "n", "width"),
  [
    case
    if case[2] in (60, 18)
    else pytest.param(*case, marks=pytest.mark.exhaustive)
    for case in EXACT
  ],
)
def test_deleted_values_are_those_of_the_other_examples(
  name, y_true, n, width, rng
):
  features, labels = example(rng, n, width)
  kinds = list(scores_lib.TARGET_KINDS)
  outputs = both_outputs(features, labels, rng)[kinds.index(y_true)]
  result = estimate(name, outputs, groups=6)
  assert result.sizes.sum() == n
  # As many examples as features nearly fit a class, which magnifies rounding.
  near = 1e-4 if name == "logme" and n == 25 else 1e-5
  np.testing.assert_allclose(
    result.deleted, brute_force(name, outputs, 6), rtol=near, atol=near
  )


def test_deleted_gbc_has_the_principal_axes_of_all(rng):
  features, labels = example(rng)
  axes = {"covariance": "diagonal", "dimensions": 2}
  outputs = leep_jax.Outputs.from_arrays(features=features, labels=labels)
  outputs = outputs.grouped(6)
  result = jackknife.estimate(
    SCORES["gbc"].parts(outputs, **axes), outputs.group_counts.sum(axis=1)
  )
  points = oracles.principal(features, lambda variances: 2)
  for group in range(6):
    kept = outputs.group_of != group
    expected = oracles.gbc_of(points[kept], labels[kept], "diagonal")
    assert result.deleted[group] == pytest.approx(expected, rel=1e-5)


def test_deleted_mean_leep_is_the_mean_of_those_of_labels(rng):
  features, labels = example(rng)
  sets = both_outputs(features, labels, rng)[2]
  probs, found = sets.probs, estimate("mean_leep", sets, groups=6)
  each = [
    estimate(
      "leep",
      leep_jax.Outputs.from_arrays(probs=probs, labels=y.astype(int)),
      groups=6,
    ).deleted
    for y in sets.targets.T
  ]
  np.testing.assert_allclose(found.deleted, np.mean(each, axis=0), atol=1e-6)


@pytest.mark.parametrize(("n", "bound"), [(300, 0.1), (4000, 0.02)])
def test_deleted_leep_is_right_to_second_order(n, bound, rng):
  logits = rng.normal(size=(n, 7))
  labels = (logits[:, :3] + rng.normal(size=(n, 3))).argmax(axis=1)
  probs = oracles.softmax(logits)
  outputs = leep_jax.Outputs.from_arrays(probs=probs, labels=labels)
  result = estimate("leep", outputs)
  exact = dataclasses.replace(result, deleted=brute_force("leep", outputs, 20))
  error = exact.standard_error
  assert np.abs(result.deleted - exact.deleted).max() < bound * error
  assert result.standard_error == pytest.approx(error, rel=bound / 5)
  # Without the change of the table it would be far from it.
  log = np.log(oracles.eep(probs, labels)[np.arange(n), labels])
  assert np.abs(of_mean(log, 20).deleted - exact.deleted).max() > bound * error


@pytest.mark.parametrize("name", FIRST_ORDER)
@pytest.mark.parametrize(("n", "bound"), [(300, 0.3), (3000, 0.25)])
def test_deleted_values_are_right_to_first_order(name, n, bound, rng):
  labels = rng.integers(0, 3, n)
  features = rng.normal(size=(3, 7))[labels] + rng.normal(size=(n, 7))
  outputs, *_ = both_outputs(features.astype(np.float32), labels, rng)
  result = estimate(name, outputs)
  exact = brute_force(name, outputs, 20)
  # A constant for all groups has no part in the standard error.
  moved = exact - exact.mean() - (result.deleted - result.deleted.mean())
  error = dataclasses.replace(result, deleted=exact).standard_error
  assert np.abs(moved).max() < bound * np.abs(exact - exact.mean()).max()
  assert result.standard_error == pytest.approx(error, rel=bound)


def test_deleted_eep_accuracy_has_the_table_of_all(rng):
  features, labels = example(rng)
  outputs, *_ = both_outputs(features, labels, rng)
  right = oracles.eep(outputs.probs, labels).argmax(axis=1) == labels
  right = right.astype(np.float64)
  result = estimate("eep_accuracy", outputs)
  np.testing.assert_allclose(result.deleted, of_mean(right, 20).deleted)


def test_deleted_n_leep_has_the_mixture_of_all(rng):
  labels = rng.integers(0, 3, 300)
  features = rng.normal(size=(300, 4)) + labels[:, None]
  posterior = oracles.posterior_of_fit(features, labels)
  of_posterior = leep_jax.Outputs.from_arrays(probs=posterior, labels=labels)
  expected = estimate("leep", of_posterior)
  outputs = leep_jax.Outputs.from_arrays(features=features, labels=labels)
  result = estimate("n_leep", outputs)
  assert result.value == pytest.approx(expected.value, abs=1e-5)
  np.testing.assert_allclose(result.deleted, expected.deleted, atol=1e-5)


# Few examples.


def test_fewer_examples_than_groups(rng):
  features, labels = example(rng, n=7)
  outputs = leep_jax.Outputs.from_arrays(features=features, labels=labels)
  result = estimate("regularized_h_score", outputs, groups=20)
  np.testing.assert_array_equal(result.sizes, np.ones(7))
  np.testing.assert_allclose(
    result.deleted, brute_force("regularized_h_score", outputs, 7), atol=1e-6
  )


def test_a_saturated_h_score_has_no_standard_error(rng):
  features, labels = example(rng, n=18, width=20)
  outputs = leep_jax.Outputs.from_arrays(features=features, labels=labels)
  result = estimate("h_score", outputs, groups=6)
  assert result.value == pytest.approx(len(np.unique(labels)) - 1)
  assert result.standard_error is None


def test_one_example_has_no_standard_error():
  outputs = leep_jax.Outputs.from_arrays(
    probs=[[0.5, 0.5]], features=[[1.0, 2.0]], labels=[0]
  )
  for name, result in leep_jax.estimate_scores(outputs).items():
    kinds = leep_jax.SCORES[name].target_kinds
    if name in PAIRS or "probe_" in name or "labels" not in kinds:
      assert result is None
    else:
      assert result.standard_error is None
      assert result.interval() is None


def test_a_group_that_a_score_cannot_miss(rng):
  # Without the only example of class 1, PARC is undefined: so is its error.
  features = rng.normal(size=(9, 4))
  outputs = leep_jax.Outputs.from_arrays(
    features=features, labels=[0] * 8 + [1]
  )
  result = estimate("parc", outputs)
  assert np.isnan(result.deleted).tolist() == [False] * 8 + [True]
  assert result.standard_error is None
  assert result.interval() is None
  assert math.isfinite(result.value)


def test_one_group_gives_values_alone(rng):
  outputs, *_ = both_outputs(*example(rng), rng)
  result = estimate("leep", outputs, groups=1)
  assert result.standard_error is None
  assert result.value == leep_jax.leep(outputs.probs, outputs.labels)


# The same wherever sums are made.


def on_devices(outputs, size):
  """The same outputs in device memory, in batches that need padding."""
  width = outputs.num_features
  source = leep_jax.Source(
    "given",
    lambda state, x: (jnp.log(x[:, 0, 0, width:]), x[:, 0, 0, :width]),
    (),
    leep_jax.Preprocessing(mean=(0.0,) * 2 * width, std=(1.0,) * 2 * width),
  )
  images = np.concatenate([outputs.features, outputs.probs], axis=1)
  regression = outputs.targets is not None
  y_true = outputs.targets if regression else outputs.labels
  batches = (
    (images[i : i + size, None, None].astype(np.float32), y_true[i : i + size])
    for i in range(0, len(outputs), size)
  )
  return leep_jax.compute_outputs(
    source,
    batches,
    keep="device",
    regression=regression and not outputs.multi_label,
    multi_label=outputs.multi_label,
  )


@pytest.mark.parametrize(
  "where", [*marks.exhaustive("3 devices", "8 devices"), "kept there"]
)
def test_groups_do_not_depend_on_devices_or_batches(where, rng):
  for outputs in both_outputs(*example(rng, n=230), rng):
    with programs.limit(1):
      expected = leep_jax.estimate_scores(outputs)
    with programs.limit(3 if where == "3 devices" else 8):
      moved = on_devices(outputs, 100) if where == "kept there" else outputs
      found = leep_jax.estimate_scores(moved)
    assert_same(found, expected)


def assert_same(found, expected):
  assert found.keys() == expected.keys()
  for name, result in found.items():
    if expected[name] is None:
      assert result is None
    else:
      np.testing.assert_array_equal(result.sizes, expected[name].sizes)
      near = {"rtol": 2e-5, "atol": 2e-5, "err_msg": name}
      np.testing.assert_allclose(result.value, expected[name].value, **near)
      np.testing.assert_allclose(result.deleted, expected[name].deleted, **near)


@pytest.mark.exhaustive
def test_values_are_those_without_groups(rng):
  for outputs in both_outputs(*example(rng, n=230), rng):
    values = leep_jax.compute_scores(outputs)
    for name, result in leep_jax.estimate_scores(outputs).items():
      if values[name] is None:
        assert result is None
      else:
        assert result.value == pytest.approx(values[name], rel=1e-5, abs=1e-6)


# Against drawing the examples again.


def draw(rng, n):
  logits = rng.normal(size=(n, 3))
  noise = rng.normal(size=(n, 2))
  return oracles.softmax(2 * logits), (logits[:, :2] + noise).argmax(axis=1)


@pytest.mark.parametrize("name", ["leep", "nce"])
def test_intervals_cover_the_true_value(name, rng, one_device):
  y_true = oracles.ORACLES[name](*draw(rng, 500_000))
  results = []
  for _ in range(200):
    probs, labels = draw(rng, 400)
    outputs = leep_jax.Outputs.from_arrays(probs=probs, labels=labels)
    results.append(estimate(name, outputs))
  spread = np.std([result.value for result in results])
  error = np.sqrt(np.mean([result.standard_error**2 for result in results]))
  assert error == pytest.approx(spread, rel=0.15)
  intervals = [result.interval() for result in results]
  covered = np.mean([low <= y_true <= high for low, high in intervals])
  assert 0.91 <= covered <= 0.99


# Differences of sources.


def sources(rng, n=400):
  """LEEP of a source, of a like one, and of another one."""
  logits = rng.normal(size=(n, 5))
  labels = (logits[:, :3] + rng.normal(size=(n, 3))).argmax(axis=1)
  like = logits + 0.1 * rng.normal(size=logits.shape)
  return [
    estimate(
      "leep",
      leep_jax.Outputs.from_arrays(probs=oracles.softmax(x), labels=labels),
    )
    for x in (logits, like, rng.normal(size=logits.shape))
  ]


def test_paired_differences_of_like_sources_are_narrow(rng):
  first, second, other = sources(rng)
  unpaired = math.hypot(first.standard_error, second.standard_error)
  difference = leep_jax.paired_difference(first, second)
  assert difference.value == first.value - second.value
  assert difference.standard_error < 0.25 * unpaired
  low, high = leep_jax.paired_difference(first, other).interval()
  assert low > 0
  back = leep_jax.paired_difference(other, first).interval()
  assert back == pytest.approx((-high, -low))


def test_equal_sources_do_not_differ(rng):
  first, _, _ = sources(rng)
  difference = leep_jax.paired_difference(first, first)
  assert difference.value == difference.standard_error == 0
  assert difference.interval() == (0, 0)


def test_paired_differences_need_the_same_examples(rng):
  features, labels = example(rng)
  outputs = leep_jax.Outputs.from_arrays(features=features, labels=labels)
  result = estimate("h_score", outputs)
  fewer = estimate("h_score", outputs.select(np.arange(99)))
  with pytest.raises(
    leep_jax.InputError, match="100 and 99 examples .*no pair"
  ):
    leep_jax.paired_difference(result, fewer)
  groups = estimate("h_score", outputs, groups=10)
  with pytest.raises(leep_jax.InputError, match="in 20 and 10 groups"):
    leep_jax.paired_difference(result, groups)


def test_which_sources_may_be_the_best(rng):
  first, like, other = sources(rng)
  marks = jackknife.indistinguishable([other, None, first, first, like])
  assert marks[:4] == [False, False, True, True]
  assert jackknife.indistinguishable([other]) == [True]
  assert jackknife.indistinguishable([None, None]) == [False, False]
  assert jackknife.indistinguishable([]) == []


def test_the_best_source_is_compared_with_all_others_at_once():
  # Differences of 3 with a standard error of 1 and 9 degrees of freedom: p is
  # .015 for each, which 2 comparisons at 5 % tell apart, and 4 do not.
  best = Estimate(3.0, np.full(10, 3.0), np.ones(10))
  wave = math.sqrt(1 / 9) * np.resize([1.0, -1.0], 10)
  worse = Estimate(0.0, wave, np.ones(10))
  assert leep_jax.paired_difference(best, worse).standard_error == (
    pytest.approx(1)
  )
  marks = jackknife.indistinguishable
  assert marks([best, worse, worse]) == [True, False, False]
  assert marks([best, worse, worse, worse, worse]) == [True] * 5
  assert marks([best, worse, worse], level=0.999) == [True] * 3


def test_a_source_without_standard_error_may_be_the_best():
  best = Estimate(1.0, np.array([1.0, math.nan]), np.ones(2))
  worse = Estimate(0.0, np.array([0.0, 0.1]), np.ones(2))
  assert jackknife.indistinguishable([best, worse]) == [True, True]
