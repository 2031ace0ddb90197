"""F-OTCE and OTCE: by hand, against exact transport, and what is refused."""

import cases
import numpy as np
from oracles import otce as oracle
import pytest
import scipy.optimize

import leep_jax
from leep_jax import predictions, validation
from leep_jax.scores import jackknife, otce, transport


def known(features, labels):
  return {"source_features": features, "source_labels": labels}


def test_f_otce_by_hand():
  # Source examples at 0, 0, 9 of labels a, b, b; the target has 1 and 10 and
  # classes 0 and 1, twice 10: thirds of mass. The first goes to a and b alike,
  # one of the others too, one to the last b: joint 1/6 1/6 | 1/6 1/2.
  source = known([[0.0], [0.0], [9.0]], [0, 1, 1])
  value = leep_jax.f_otce(
    [[1.0], [10.0], [10.0]], [0, 1, 1], regularisation=0.02, **source
  )
  expected = np.log(1 / 2) / 3 + np.log(1 / 4) / 6 + np.log(3 / 4) / 2
  assert value == pytest.approx(expected, abs=1e-4)


def test_differences_by_hand():
  # 0 to 1, 10 to 12: squared distances 1 and 4.
  source = known([[0.0], [10.0]], [0, 1])
  found = otce.differences([[1.0], [12.0]], [0, 1], **source)
  assert found.domain == pytest.approx(2.5)
  assert found.task == pytest.approx(0, abs=1e-6)
  found = otce.differences([[1.0], [7.0]], [0, 1], regularisation=2, **source)
  value = leep_jax.f_otce([[1.0], [7.0]], [0, 1], regularisation=2, **source)
  assert found.task == pytest.approx(-value, rel=1e-9)
  assert found.task > 0.1


@pytest.mark.parametrize("shape", [(30, 30), (20, 60)])
def test_little_regularisation_is_exact_transport(shape, rng):
  # As the authors' demonstration code has it.
  m, n = shape
  source, target = rng.normal(size=(m, 2)), rng.normal(size=(n, 2))
  cost = ((source[:, None] - target) ** 2).sum(axis=2)
  copies = np.repeat(cost, n // m, axis=0)
  rows, columns = scipy.optimize.linear_sum_assignment(copies)
  exact = copies[rows, columns].sum() / n
  errors = []
  for share in (1, 0.1, 0.01):
    found = transport.coupling(cost, regularisation=share)
    np.testing.assert_allclose(found.sum(axis=0), 1 / n, atol=1e-6)
    np.testing.assert_allclose(found.sum(axis=1), 1 / m, atol=1e-6)
    errors.append((found * cost).sum() - exact)
  assert errors[0] > errors[1] > errors[2] > -1e-6
  assert errors[2] < 0.02 * exact


@pytest.mark.parametrize("shape", [(30, 30), (1, 9), (9, 1), (7, 50)])
@pytest.mark.parametrize("offset", [0, 1e3])
def test_coupling_is_that_of_plain_updates(shape, offset, rng):
  source, target = (rng.normal(size=(count, 3)) for count in shape)
  cost = ((source[:, None] - target - offset) ** 2).sum(axis=2)
  for share in (1, 0.1):
    found = transport.coupling(cost, regularisation=share)
    expected = oracle.coupling(cost, share)
    assert np.abs(found - expected).sum() < 1e-5


def test_what_is_common_to_rows_or_columns_does_not_matter(rng):
  cost = rng.random((20, 30))
  found = transport.coupling(cost, regularisation=0.1)
  moved = cost + 100 * rng.random((20, 1)) + 100 * rng.random(30)
  other = transport.coupling(7 * moved, regularisation=0.1)
  np.testing.assert_allclose(other, found, atol=1e-8)
  constant = transport.coupling(np.full((2, 5), 3.0), regularisation=0.1)
  np.testing.assert_array_equal(constant, np.full((2, 5), 0.1))


def test_unit_origin_and_rotation_of_both(rng):
  features, labels = cases.example("f_otce", rng)
  source, z = oracle.source_examples(7)
  expected = leep_jax.f_otce(features, labels, **known(source, z))
  turn = np.linalg.qr(rng.normal(size=(7, 7)))[0]
  for unit in (1e-3, 1, 1e30):
    value = leep_jax.f_otce(
      unit * (features @ turn + 5),
      labels,
      **known(unit * (source @ turn + 5), z),
    )
    assert value == pytest.approx(expected, rel=1e-5)


def test_deleted_values_have_the_coupling_of_all(rng):
  features, labels = cases.example("f_otce", rng)
  source, z = oracle.source_examples(7)
  outputs = leep_jax.Outputs.from_arrays(
    features=features, labels=labels, **known(source, z)
  )
  found = leep_jax.estimate_scores(outputs, names=["f_otce"], groups=6)
  cost = ((source[:, None].astype(float) - features) ** 2).sum(axis=2)
  shares = oracle.coupling(cost, 0.1)
  for group, value in enumerate(found["f_otce"].deleted):
    kept = np.arange(300) % 6 != group
    joint = np.array(
      [[shares[z == a][:, kept & (labels == b)].sum() for b in range(5)]
       for a in range(4)]
    )  # fmt: skip
    joint /= joint.sum()
    entropy = -(joint * np.log(joint / joint.sum(axis=1, keepdims=True))).sum()
    assert value == pytest.approx(-entropy, abs=1e-5)


def test_a_sample_of_examples(rng):
  features, labels = cases.example("f_otce", rng)
  source = known(*oracle.source_examples(7))
  everything = leep_jax.f_otce(features, labels, **source)
  some = leep_jax.f_otce(features, labels, max_examples=60, **source)
  assert some != everything
  assert some == leep_jax.f_otce(features, labels, max_examples=60, **source)
  assert some == pytest.approx(everything, abs=0.3)


def test_without_source_examples(rng):
  features, labels = cases.example("f_otce", rng, n=20)
  outputs = leep_jax.Outputs.from_arrays(features=features, labels=labels)
  reasons = {}
  found = leep_jax.estimate_scores(
    outputs, names=["f_otce"], on_undefined=reasons.__setitem__
  )
  assert found == {"f_otce": None}
  assert "source_features and source_labels" in reasons["f_otce"]
  with pytest.raises(leep_jax.InputError, match="no source examples"):
    otce.f_otce_parts(outputs)


def test_source_examples_in_a_file(rng, tmp_path):
  features, labels = cases.example("f_otce", rng, n=90)
  source = known(*oracle.source_examples(7))
  np.savez(tmp_path / "a.npz", features=features, labels=labels, **source)
  outputs = predictions.read(f"{tmp_path}/a.npz")
  expected = leep_jax.f_otce(features, labels, **source)
  assert jackknife.value(otce.f_otce_parts(outputs)) == expected
  # There are as many source examples, which have no label 0 to be ignored.
  with pytest.warns(validation.InputNote, match="of 90 examples"):
    outputs = predictions.read(f"{tmp_path}/a.npz", ignored=[0])
  kept = labels != 0
  assert len(outputs) == kept.sum()
  expected = leep_jax.f_otce(features[kept], labels[kept], **source)
  assert jackknife.value(otce.f_otce_parts(outputs)) == expected
  selected = outputs.select(np.arange(9))
  assert len(selected.source_examples[1]) == 90


@pytest.mark.parametrize(
  ("change", "message"),
  [
    ({"source_features": None}, "needs source_features, source_labels and fea"),
    ({"source_labels": None}, "needs source_features, source_labels and feat"),
    ({"source_features": [[1.0], [2.0]]}, "have 1 columns, but features 2: bo"),
    ({"source_features": [[1.0, 2.0]]}, "1 rows, but there are 2 source_lab"),
    ({"source_features": [[1.0, np.nan]] * 2}, "2 of 2 rows hold NaN or inf"),
    ({"source_labels": [0.5, 1]}, "contain 0.5, not an integer"),
    ({"regularisation": 0}, "regularisation is 0, but must be above 0"),
    ({"regularisation": np.nan}, "regularisation is nan"),
    ({"max_examples": 0}, "max_examples is 0"),
  ],
)
def test_mistakes(change, message):
  options = known([[0.0, 1.0], [1.0, 0.0]], [0, 1]) | change
  with pytest.raises(leep_jax.InputError, match=message):
    leep_jax.f_otce([[0.0, 1.0], [1.0, 0.0]], [0, 1], **options)


def test_transport_that_does_not_converge(rng):
  source, target = rng.normal(size=(60, 2)), rng.normal(size=(61, 2))
  with pytest.raises(validation.UndefinedScore, match="larger regularisation"):
    leep_jax.f_otce(
      target, np.arange(61) % 2, **known(source, np.zeros(60, int)),
      regularisation=1e-6,
    )  # fmt: skip


def test_otce_is_fitted_to_accuracies(rng):
  tasks = [otce.Differences(*pair) for pair in rng.random((9, 2)) * [1e6, 1]]
  accuracies = [0.9 - 2e-7 * x.domain - 0.3 * x.task for x in tasks]
  fitted = otce.fit(tasks, accuracies)
  assert fitted.domain == pytest.approx(-2e-7)
  assert fitted.task == pytest.approx(-0.3)
  assert fitted.intercept == pytest.approx(0.9)
  assert fitted.of(tasks[0]) == pytest.approx(accuracies[0])
  noisy = np.array(accuracies) + 0.1 * rng.normal(size=9)
  residuals = noisy - [otce.fit(tasks, noisy).of(x) for x in tasks]
  # Least squares: residuals are orthogonal to what is fitted.
  for column in ([x.domain / 1e6 for x in tasks], [x.task for x in tasks]):
    assert abs(residuals @ column) < 1e-9
  with pytest.raises(leep_jax.InputError, match="2 tasks and 2 accuracies"):
    otce.fit(tasks[:2], accuracies[:2])
  with pytest.raises(leep_jax.InputError, match="9 tasks and 2 accuracies"):
    otce.fit(tasks, accuracies[:2])
