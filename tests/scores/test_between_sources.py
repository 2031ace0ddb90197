"""CKA and RSA of two sources: by hand, by formulas, and what is refused."""

import numpy as np
import pytest
import scipy.spatial
import scipy.stats

import leep_jax
from leep_jax import validation
from leep_jax.scores import between_sources

MEASURES = tuple(between_sources.MEASURES)


def two(rng, n=60, widths=(7, 5)):
  shared = rng.normal(size=(n, 3))
  return [
    shared @ rng.normal(size=(3, d)) + rng.normal(size=(n, d)) for d in widths
  ]


def similar(first, second, measure):
  return leep_jax.similarity_matrix([first, second], measure=measure)[0, 1]


def by_features(x, z):
  """CKA from products of features, the other form of the paper."""
  x, z = x - x.mean(axis=0), z - z.mean(axis=0)
  norms = np.linalg.norm(x.T @ x) * np.linalg.norm(z.T @ z)
  return np.linalg.norm(x.T @ z) ** 2 / norms


def unbiased_hsic(first, second):
  """Song et al., JMLR 2012, equation 4."""
  n, ones = len(first), np.ones(len(first))
  first, second = (m - np.diag(np.diag(m)) for m in (first, second))
  total = np.trace(first @ second)
  total += first.sum() * second.sum() / ((n - 1) * (n - 2))
  total -= 2 / (n - 2) * ones @ first @ second @ ones
  return total / (n * (n - 3))


def of_measure(first, second, measure):
  if measure == "cka":
    return by_features(first, second)
  if measure == "debiased_cka":
    pair = first @ first.T, second @ second.T
    norms = [unbiased_hsic(products, products) for products in pair]
    return unbiased_hsic(*pair) / np.sqrt(np.prod(norms))
  far = [
    scipy.spatial.distance.pdist(x, "correlation") for x in (first, second)
  ]
  return scipy.stats.spearmanr(*far).statistic


@pytest.mark.parametrize("measure", MEASURES)
@pytest.mark.parametrize("widths", [(7, 5), (90, 5)])
def test_similarities_are_those_of_formulas(measure, widths, rng):
  first, second = two(rng, widths=widths)
  expected = of_measure(first, second, measure)
  assert similar(first, second, measure) == pytest.approx(expected, abs=1e-10)


def test_cka_by_hand():
  # X = 1, -1, 0, 0 and Z = 1, 0, -1, 0: X'Z is 1, X'X and Z'Z are 2.
  first, second = [[1.0], [-1], [0], [0]], [[1.0], [0], [-1], [0]]
  assert leep_jax.cka(first, second) == pytest.approx(1 / 4)
  # Without products of an example with itself, K has -1 between the first two,
  # L between the first and the third. Centred: row sums -1 -1 0 0 and -1 0 -1
  # 0, total -2. K12 = -1 + 2/2 - 2/6, K13 = K14 = K23 = K24 = 1/2 - 1/3, K34 =
  # -1/3: -1/3, four times 1/6, -1/3, and likewise L. Products: K12 L12 = K13
  # L13 = K24 L24 = K34 L34 = -1/18, the other two 1/36; squares: 2/9 + 4/36.
  value = leep_jax.cka(first, second, debiased=True)
  assert value == pytest.approx((-4 / 18 + 2 / 36) / (2 / 9 + 4 / 36))


def test_rsa_by_hand():
  # Two examples go up and one down: dissimilarities 0 2 2. In the second source
  # the first and the third go up: 2 0 2. Ranks 1 2.5 2.5 and 2.5 1 2.5.
  up, down = [0.0, 1.0], [1.0, 0.0]
  value = leep_jax.rsa([up, up, down], [up, down, up])
  assert value == pytest.approx(-0.5)
  assert leep_jax.rsa([up, up, down], [down, down, up]) == pytest.approx(1)


@pytest.mark.parametrize("measure", MEASURES)
def test_what_a_measure_does_not_see(measure, rng):
  first, second = two(rng)
  expected = similar(first, second, measure)
  moved = 100 * first + 3
  if measure != "rsa":  # which sees directions
    moved = moved @ np.linalg.qr(rng.normal(size=(7, 7)))[0] + np.arange(7)
  assert similar(moved, second, measure) == pytest.approx(expected)
  assert similar(second, first, measure) == pytest.approx(expected)
  assert similar(first, moved, measure) == pytest.approx(1)
  order = rng.permutation(len(first))
  assert similar(first[order], second[order], measure) == pytest.approx(
    expected
  )
  assert abs(expected - similar(first[order], second, measure)) > 1e-3


def test_cka_of_few_examples_is_biased(rng):
  first, second = rng.normal(size=(30, 200)), rng.normal(size=(30, 200))
  assert leep_jax.cka(first, second) > 0.8
  assert abs(leep_jax.cka(first, second, debiased=True)) < 0.1


@pytest.mark.parametrize("measure", MEASURES)
def test_matrix_of_outputs(measure, rng):
  features = [*two(rng), rng.normal(size=(60, 9))]
  labels = rng.integers(0, 3, 60)
  outputs = [
    leep_jax.Outputs.from_arrays(features=x, labels=labels) for x in features
  ]
  matrix = leep_jax.similarity_matrix(iter(outputs), measure=measure)
  np.testing.assert_allclose(np.diag(matrix), 1)
  np.testing.assert_array_equal(matrix, matrix.T)
  for i, j in ((0, 1), (0, 2), (1, 2)):
    expected = of_measure(features[i], features[j], measure)
    assert matrix[i, j] == pytest.approx(expected, abs=1e-10)


@pytest.mark.parametrize("measure", MEASURES)
def test_a_sample_of_examples(measure, rng):
  first, second = two(rng, n=300)
  value = leep_jax.similarity_matrix(
    [first, second], measure=measure, max_examples=100
  )[0, 1]
  everything = similar(first, second, measure)
  assert value != everything
  assert value == pytest.approx(everything, abs=0.15)


def test_constant_features_are_similar_to_nothing(rng):
  first, second = two(rng)
  for measure, message in (
    ("cka", "cka is undefined: all pairs of examples of the source"),
    ("debiased_cka", "debiased_cka is undefined: all pairs"),
    ("rsa", "rsa is undefined: 60 of 60 examples have equal features"),
  ):
    for value in (0.0, 0.1, 1e6):
      with pytest.raises(validation.UndefinedScore, match=message):
        similar(first, 0 * second + value, measure)
  with pytest.raises(validation.UndefinedScore, match="rsa is undefined: all"):
    similar(first, np.tile(second[:1], (60, 1)), "rsa")
  with pytest.raises(validation.UndefinedScore, match="3 examples: it needs 4"):
    leep_jax.cka(first[:3], second[:3], debiased=True)
  for measure in ("cka", "rsa"):  # one example has no pair
    with pytest.raises(validation.UndefinedScore, match="all pairs"):
      similar(first[:1], second[:1], measure)


def test_what_is_refused(rng):
  first, second = two(rng)
  labels = rng.integers(0, 3, 60)
  outputs = leep_jax.Outputs.from_arrays(features=first, labels=labels)
  other = leep_jax.Outputs.from_arrays(features=second, labels=2 - labels)
  probs = leep_jax.Outputs.from_arrays(probs=np.eye(60), labels=labels)
  bad = np.where(np.arange(60)[:, None] == 3, np.nan, first)
  for pair, message in (
    ((first, second[:9]), "60 examples, but the source 9"),
    ((outputs, other), "other labels, or other data"),
    ((outputs, probs), "outputs has no features to compare"),
    ((first, bad), "1 of 60 rows hold NaN"),
    ((first, [1.0, 2.0]), "features has shape"),
    (([], []), "features .* empty|empty"),
  ):
    with pytest.raises(leep_jax.InputError, match=message):
      leep_jax.cka(*pair)
  # Arrays have no labels: they may be of the same examples.
  assert leep_jax.cka(outputs, second) == leep_jax.cka(first, second)
  with pytest.raises(leep_jax.InputError, match="no sources"):
    leep_jax.similarity_matrix([])
  with pytest.raises(leep_jax.InputError, match="'CKA'; did you mean cka"):
    leep_jax.similarity_matrix([first], measure="CKA")
  with pytest.raises(leep_jax.InputError, match="max_examples is 0"):
    leep_jax.rsa(first, second, max_examples=0)
