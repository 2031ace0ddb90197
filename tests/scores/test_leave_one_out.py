"""Leave-one-out LEEP and NCE: their formulas, noise, rare labels, errors."""

import dataclasses
import math

import cases
import jax
import jax.numpy as jnp
import marks
import numpy as np
import oracles
import pytest

import leep_jax
from leep_jax import validation
from leep_jax.engine import programs, statistics
from leep_jax.scores import held_out_sums

BOTH = pytest.mark.parametrize("name", ["leep_loo", "nce_loo"])


def outputs_of(probs, labels):
  return leep_jax.Outputs.from_arrays(probs=probs, labels=labels)


def estimate(name, outputs):
  return leep_jax.estimate_scores(outputs, names=[name])[name]


def random(rng, n, sharpness=1.0, width=7, classes=3):
  logits = rng.normal(size=(n, width))
  noise = rng.normal(size=(n, classes))
  labels = (logits[:, :classes] + noise).argmax(axis=1)
  return oracles.softmax(sharpness * logits), labels


def no_knowledge(labels):
  """The value of constant outputs: each label by its frequency elsewhere."""
  size = np.bincount(labels)[labels]
  return np.log((size[size > 1] - 1) / (len(labels) - 1)).mean()


def test_leep_loo_by_hand():
  # theta = (.8 .2), (.6 .4), (.3 .7), (.5 .5); y = 0, 0, 1, 1.
  # .8 * .6/1.4 + .2 * .4/1.6, .6 * .8/1.6 + .4 * .2/1.4,
  # .3 * .5/1.9 + .7 * .5/1.1, .5 * .3/1.7 + .5 * .7/1.3.
  probs = [[0.8, 0.2], [0.6, 0.4], [0.3, 0.7], [0.5, 0.5]]
  value = leep_jax.leep_loo(probs, [0, 0, 1, 1])
  expected = np.log([0.392857, 0.357143, 0.397129, 0.357466]).mean()
  assert value == pytest.approx(expected, abs=2e-6)


def test_smoothed_leep_loo_by_hand():
  # The same; f = 1/3. Mass 2.2, 1.8; squares 1.34, .94: s = .609091, .522222.
  # 1: (.6 + .203030) / (1.4 + .609091), (.4 + .174074) / (1.6 + .522222).
  # .8 * .399698 + .2 * .270506 = .373860. Likewise .350270, .374926, .348761.
  probs = [[0.8, 0.2], [0.6, 0.4], [0.3, 0.7], [0.5, 0.5]]
  value = leep_jax.leep_loo(probs, [0, 0, 1, 1], smoothing=1)
  expected = np.log([0.373860, 0.350270, 0.374926, 0.348761]).mean()
  assert value == pytest.approx(expected, abs=2e-6)


def test_nce_loo_by_hand():
  # z = 0, 0, 0, 1, 1 with y = 0, 0, 1, 1, 1: f = 1/4 for y = 0, else 1/2.
  # (1 + 1/4) / 3 twice, (0 + 1/2) / 3, (1 + 1/2) / 2 twice.
  value = leep_jax.nce_loo([0, 0, 0, 1, 1], [0, 0, 1, 1, 1])
  expected = np.log([5 / 12, 5 / 12, 1 / 6, 3 / 4, 3 / 4]).mean()
  assert value == pytest.approx(expected, abs=1e-9)


@pytest.mark.parametrize("sharpness", [0.3, 1, 3])
def test_without_smoothing_it_is_the_closed_form(sharpness, rng, device_count):
  probs, labels = random(rng, 300, sharpness)
  joint = oracles.joint(probs, labels, 3)
  given = (joint[labels] - probs) / (joint.sum(axis=0) - probs)
  expected = np.log((given * probs).sum(axis=1)).mean()
  value = leep_jax.leep_loo(probs, labels)
  assert value == pytest.approx(expected, abs=1e-6)


def test_without_smoothing_it_is_the_eep_of_the_others(rng):
  probs, labels = random(rng, 30)
  probs[:3] = 0
  probs[np.arange(3), [0, 1, 2]] = 0.5
  probs = np.insert(probs, 7, 0, axis=1)
  probs[:3, 7] = 0.5
  probs[3:, 0] += probs[3:, 2]
  probs[3:, 2] = 0  # a label that only the third example has
  logs = []
  for i, y in enumerate(labels):
    others = np.arange(30) != i
    eep = leep_jax.EEP.fit(probs[others], labels[others])
    logs.append(np.log(eep.predict_proba(probs[[i]])[0, y]))
  value = leep_jax.leep_loo(probs, labels)
  assert value == pytest.approx(np.mean(logs), abs=1e-5)


@pytest.mark.parametrize("n", [20, 300])
@pytest.mark.parametrize("sharpness", [0.1, 1, 10])
def test_without_smoothing_it_is_at_most_leep(n, sharpness, rng):
  for _ in range(3):
    probs, labels = random(rng, n, sharpness, width=30)
    value = leep_jax.leep_loo(probs, labels)
    # Classes that have one example are in LEEP alone.
    if np.bincount(labels).min() > 1:
      assert value <= leep_jax.leep(probs, labels)


@pytest.mark.parametrize("smoothing", [0, 0.1, 1, 2.5])
@BOTH
def test_any_smoothing_equals_the_oracle(name, smoothing, rng):
  probs, labels = random(rng, 200)
  probs = probs.astype(np.float32)
  value = getattr(leep_jax, name)(probs, labels, smoothing=smoothing)
  expected = getattr(oracles, name)(probs, labels, smoothing)
  assert value == pytest.approx(expected, abs=1e-6)


def test_noise_is_not_taken_for_knowledge(rng, device_count):
  n, classes, width = 100, 10, 1000
  probs = oracles.softmax(3 * rng.normal(size=(n, width)))
  labels = rng.integers(0, classes, n)
  chance = -leep_jax.task_hardness(labels)
  # In this sample LEEP is 1.5 nats above what the labels' frequencies give.
  assert leep_jax.leep(probs, labels) > chance + 1
  assert leep_jax.nce(probs, labels) > chance + 2
  smooth = leep_jax.leep_loo(probs, labels, smoothing=1)
  for value, near in (
    (leep_jax.leep_loo(probs, labels), 0.2),
    (smooth, 0.1),
    (leep_jax.nce_loo(probs, labels), 0.1),
  ):
    assert value < chance
    assert value == pytest.approx(no_knowledge(labels), abs=near)


@BOTH
def test_constant_outputs_have_the_value_of_frequencies(name, rng):
  _, labels = random(rng, 50)
  for smoothing in (0, 1):
    value = getattr(leep_jax, name)(
      np.full((50, 4), 0.25), labels, smoothing=smoothing
    )
    assert value == pytest.approx(no_knowledge(labels), abs=1e-6)


@pytest.mark.parametrize("own", [3, 10, 15, 20, 40, 60])
def test_labels_that_nearly_one_example_has(own, rng, device_count):
  n = 300
  logits = own * np.eye(n) + rng.normal(size=(n, n))
  probs = oracles.softmax(logits).astype(np.float32)
  labels = rng.integers(0, 5, n)
  expected = oracles.leep_loo(probs, labels, smoothing=1)
  value = leep_jax.leep_loo(probs, labels, smoothing=1)
  assert value == pytest.approx(expected, abs=1e-6)
  expected = oracles.leep_loo(probs, labels)
  assert leep_jax.leep_loo(probs, labels) == pytest.approx(expected, abs=1e-6)
  result = estimate("leep_loo", outputs_of(probs, labels))
  assert result.value == pytest.approx(expected, abs=1e-6)
  assert result.standard_error < 0.3
  # Labels of others have a small probability at most.
  assert expected == pytest.approx(no_knowledge(labels), abs=0.1)


def test_one_hot_probabilities_make_leep_loo_nce_loo(rng, device_count):
  probs, labels = random(rng, 100, width=40)
  hard = np.eye(40)[probs.argmax(axis=1)]
  expected = leep_jax.nce_loo(probs, labels)
  assert leep_jax.nce_loo(hard, labels) == expected
  assert leep_jax.nce_loo(probs.argmax(axis=1), labels) == (
    pytest.approx(expected)
  )
  value = leep_jax.leep_loo(hard, labels, smoothing=1)
  assert value == pytest.approx(expected, abs=1e-6)


def test_plain_leep_loo_of_one_hot_probabilities_says_what_to_do():
  probs, labels = np.eye(2)[[0, 0, 0, 1, 1, 1]], [5, 5, 3, 3, 3, 5]
  reasons = {}
  outputs = outputs_of(probs, labels)
  found = leep_jax.estimate_scores(
    outputs, names=["leep_loo", "nce_loo"], on_undefined=reasons.__setitem__
  )
  assert found["leep_loo"] is None
  assert found["nce_loo"] is not None
  assert reasons == {
    "leep_loo": "leep_loo without smoothing is minus infinity: the others' "
    "counts give 1 example of class 3 and 1 of other classes probability 0, as "
    "no other of the class has their source labels: use nce_loo, or smoothing=1"
  }
  assert oracles.leep_loo(probs, np.array(labels)) is None


def test_dividing_a_source_label_changes_nothing(rng):
  probs, labels = random(rng, 100)
  divided = np.concatenate([probs[:, :1] / 2] * 2 + [probs[:, 1:]], axis=1)
  assert leep_jax.leep_loo(divided, labels) == pytest.approx(
    leep_jax.leep_loo(probs, labels), abs=1e-6
  )


@BOTH
def test_it_tends_to_the_score_of_all_examples(name, rng):
  score = getattr(leep_jax, name)
  whole = getattr(leep_jax, name.removesuffix("_loo"))
  probs, labels = random(rng, 400)
  gaps, smooth = [], []
  for times in (1, 16):
    data = np.concatenate([probs] * times), np.concatenate([labels] * times)
    gaps.append(whole(*data) - score(*data))
    smooth.append(abs(score(*data, smoothing=2) - score(*data, smoothing=1)))
  assert 0 < gaps[1] < gaps[0] / 8
  assert smooth[1] < smooth[0] / 8


@BOTH
def test_a_class_with_one_example_is_left_out_of_the_mean(name, rng):
  score = getattr(leep_jax, name)
  probs, labels = random(rng, 60)
  labels[17] = 3
  value = score(probs, labels)
  assert value == pytest.approx(getattr(oracles, name)(probs, labels), abs=1e-6)
  # Also for an example that no class resembles, which is alone with its label.
  probs[17] = np.eye(7)[0]
  assert math.isfinite(score(probs, labels))
  result = estimate(name, outputs_of(probs, labels))
  assert result.standard_error < 0.2


@BOTH
def test_classes_of_one_example_each_have_no_score(name):
  probs = [[0.5, 0.5], [0.2, 0.8], [0.9, 0.1]]
  with pytest.raises(
    validation.UndefinedScore, match=f"{name} is undefined.*only one of its"
  ):
    getattr(leep_jax, name)(probs, [0, 1, 2])
  outputs = outputs_of(probs, [0, 1, 2])
  assert leep_jax.compute_scores(outputs, names=[name]) == {name: None}


@BOTH
def test_without_smoothing_there_may_be_no_value(name):
  probs, labels = np.eye(2)[[0, 0, 0, 1]], [0, 0, 1, 1]
  score = getattr(leep_jax, name)
  with pytest.raises(
    validation.UndefinedScore, match="without smoothing.*give 1 example"
  ):
    score(probs, labels, smoothing=0)
  assert math.isfinite(score(probs, labels, smoothing=1))
  # The last example, alone with its label, has the frequency of its class.
  alone = score(np.eye(2)[[0, 0, 1]], [0, 0, 0], smoothing=0)
  assert alone == 0
  value = score(np.eye(3)[[0, 0, 1, 2]], [0, 0, 1, 1], smoothing=0)
  assert value == pytest.approx(np.log([1, 1, 1 / 3, 1 / 3]).mean())


@BOTH
def test_a_copy_of_each_example_tells_its_label(name, rng):
  probs, labels = random(rng, 100, sharpness=10, width=300)
  twice = np.concatenate([probs] * 2), np.concatenate([labels] * 2)
  score = getattr(leep_jax, name)
  assert score(*twice) > score(probs, labels) + 0.1


@BOTH
@pytest.mark.parametrize("smoothing", [-1, math.nan, math.inf])
def test_bad_smoothing(name, smoothing):
  for probs in ([[0.5, 0.5]] * 2, [0, 1]):
    if name == "nce_loo" or np.ndim(probs) == 2:
      with pytest.raises(leep_jax.InputError, match="smoothing is"):
        getattr(leep_jax, name)(probs, [0, 0], smoothing=smoothing)


def test_labels_may_be_large_numbers(rng):
  _, labels = cases.example("nce_loo", rng)
  source = rng.integers(0, 9, len(labels))
  expected = leep_jax.nce_loo(source, labels)
  assert leep_jax.nce_loo(source * 10**8, labels * 10**8) == expected
  with pytest.raises(leep_jax.InputError, match="2 source labels, but 3"):
    leep_jax.nce_loo([0, 1], [0, 1, 1])


def test_values_do_not_depend_on_the_jackknife(rng):
  probs, labels = random(rng, 103)
  for count in (1, 8):
    with programs.limit(count):
      outputs = outputs_of(probs, labels)
      value = leep_jax.leep_loo(probs, labels)
      result = estimate("leep_loo", outputs)
      assert result.value == pytest.approx(value, abs=1e-6)


# Standard errors.


def brute_force(outputs):
  group_of = outputs.grouped(20).group_of
  return np.array(
    [
      leep_jax.compute_scores(
        outputs.select(group_of != g), names=["leep_loo"]
      )["leep_loo"]
      for g in range(20)
    ]
  )


@pytest.mark.parametrize(
  ("n", "sharpness", "width", "bound", "near"),
  [(300, 1, 7, 0.1, 0.02), (4000, 1, 7, 0.02, 0.004)],
)
def test_deleted_values_are_right_to_second_order(
  n, sharpness, width, bound, near, rng
):
  outputs = outputs_of(*random(rng, n, sharpness, width))
  result = estimate("leep_loo", outputs)
  exact = dataclasses.replace(result, deleted=brute_force(outputs))
  error = exact.standard_error
  assert np.abs(result.deleted - exact.deleted).max() < bound * error
  assert result.standard_error == pytest.approx(error, rel=near)


def test_the_gradient_is_that_of_the_log_likelihood(rng):
  probs, labels = random(rng, 40, sharpness=3)
  probs, joint = probs.astype(np.float32), oracles.joint(probs, labels, 3)
  batch = statistics.Batch(
    labels=labels, weights=np.ones(40, np.float32), num_classes=3, probs=probs
  )
  joint[0] = probs[labels == 0].max(axis=0) * 1.1  # the largest is dominant
  rest = held_out_sums.mass_of_the_rest(batch, joint.astype(np.float32))
  assert np.all(rest[0] != joint[0])
  rest = np.where(np.arange(3)[:, None] == 0, joint * 0.1, joint)
  arrays = joint, rest, joint.sum(axis=0) - joint, np.full(7, 0.3)
  arrays = (*arrays, np.array([0.2, 0.3, 0.5]))
  arrays = tuple(jnp.asarray(x, jnp.float32) for x in arrays)

  def log_likelihood(*arrays):
    return held_out_sums.log_likelihood(batch, *arrays)["log_likelihood"]

  found = held_out_sums.responsibilities(batch, *arrays)["gradient"]
  slopes = jax.grad(log_likelihood, (0, 1, 2, 3, 4))(*arrays)
  names = "joint", "rest", "other", "weight", "frequency"
  for name, slope, array in zip(names, slopes, arrays, strict=True):
    expected = slope if name == "frequency" else slope * array
    assert np.abs(expected).max() > 0
    np.testing.assert_allclose(
      found[name], expected, rtol=2e-4, atol=1e-6, err_msg=name
    )
  # If all terms of a ratio grow alike, it does not change.
  change = found["own"] + sum(found[name].sum() for name in names[:4])
  assert change == pytest.approx(0, abs=1e-4)


@pytest.mark.parametrize("draws", [*marks.exhaustive(150)])
def test_errors_at_five_examples_for_each_source_label(draws, rng, one_device):
  results = [
    estimate("leep_loo", outputs_of(*random(rng, 300, 20, 60)))
    for _ in range(draws)
  ]
  spread = np.std([result.value for result in results])
  error = np.sqrt(np.mean([result.standard_error**2 for result in results]))
  # About a third too large, as first-order errors are here. Repeating the
  # score without each group gives errors that are nearly twice the spread.
  assert 0.95 * spread < error < 1.6 * spread


@BOTH
@pytest.mark.parametrize("draws", [100, *marks.exhaustive(400)])
def test_errors_are_those_of_drawing_again(name, draws, rng, one_device):
  results = [
    estimate(name, outputs_of(*random(rng, 400, 2))) for _ in range(draws)
  ]
  spread = np.std([result.value for result in results])
  error = np.sqrt(np.mean([result.standard_error**2 for result in results]))
  assert error == pytest.approx(spread, rel=0.25)


@BOTH
def test_paired_differences(name, rng):
  probs, labels = random(rng, 400)
  like = oracles.softmax(np.log(probs) + 0.1 * rng.normal(size=probs.shape))
  other = oracles.softmax(rng.normal(size=probs.shape))
  first, second, third = (
    estimate(name, outputs_of(x, labels)) for x in (probs, like, other)
  )
  near = leep_jax.paired_difference(first, second)
  assert near.standard_error < math.hypot(
    first.standard_error, second.standard_error
  )
  assert leep_jax.paired_difference(first, third).interval()[0] > 0
