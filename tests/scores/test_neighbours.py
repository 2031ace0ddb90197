"""Nearest neighbours and class means: by hand, ties, groups, and samples."""

import cases
import numpy as np
import oracles
from oracles import neighbours
import pytest
import sklearn.neighbors

import leep_jax
from leep_jax import validation
from leep_jax.scores import class_means, knn

NAMES = ("knn_accuracy", "class_mean_accuracy")
PARTS = {
  "knn_accuracy": knn.knn_accuracy_parts,
  "class_mean_accuracy": class_means.class_mean_accuracy_parts,
}


def outputs_of(features, labels, clusters=None):
  outputs = leep_jax.Outputs.from_arrays(features=features, labels=labels)
  outputs.clusters = clusters
  return outputs


def of_angles(degrees):
  radians = np.deg2rad(degrees)
  return np.stack([np.cos(radians), np.sin(radians)], axis=1)


def test_knn_accuracy_by_hand():
  # The nearest of 0, 10, 25, 45, 70 degrees: 10, 0, 10, 25, 45. Lengths do not
  # matter.
  features = of_angles([0, 10, 25, 45, 70]) * [[1], [9], [2], [5], [1]]
  labels = [0, 0, 1, 1, 0]
  assert leep_jax.knn_accuracy(features, labels) == 3 / 5
  # The two nearest of 0, 10 and 70 are 10 and 25, 0 and 25, 45 and 25: votes
  # 0 1, 0 1, 1 1, of which the nearer class is predicted. Those of 25 and 45:
  # 10 and 45, 25 and 70: 0 1 (the nearer is 0), 1 0 (the nearer is 1).
  assert leep_jax.knn_accuracy(features, labels, neighbours=2) == 3 / 5
  # Of the three nearest, two are of class 1 for 0, 10 and 70, and of class 0
  # for 25 and 45: all wrong.
  assert leep_jax.knn_accuracy(features, labels, neighbours=3) == 0


def test_class_mean_accuracy_by_hand():
  # Class 0 has 0, 2, 7 and class 1 has 11, 12, with the mean 11.5. Without
  # itself, 7 is 6 from the mean of 0 and 2, and 4.5 from 11.5: wrong. 11 is 1
  # from 12 and 8 from 3.
  features, labels = np.array([[0.0], [2], [7], [11], [12]]), [0, 0, 0, 1, 1]
  assert leep_jax.class_mean_accuracy(features, labels) == 4 / 5
  # With itself, as classifiers have it, 7 is 4 from the mean 3: right.
  squares = (features - [3.0, 11.5]) ** 2
  assert np.mean(squares.argmin(axis=1) == labels) == 1


def test_an_example_is_not_its_own_neighbour(rng):
  # With itself among those that predict it, any source is perfect.
  features, labels = rng.normal(size=(200, 5)), rng.integers(0, 4, 200)
  similar, _ = neighbours.cosines(features)
  assert np.mean(labels[similar.argmax(axis=1)] == labels) == 1
  value = leep_jax.knn_accuracy(features, labels)
  np.fill_diagonal(similar, -2)
  assert value == np.mean(labels[similar.argmax(axis=1)] == labels) < 0.5


def test_ties_of_votes_go_to_the_nearer_class():
  # One vote for each class; scikit-learn takes the smaller label. The last two
  # have a neighbour of their class beside them.
  features = of_angles([0, 5, 20, 110, 112])
  labels = np.array([1, 1, 0, 2, 2])
  other = sklearn.neighbors.KNeighborsClassifier(2, metric="cosine")
  other.fit(features[1:], labels[1:])
  assert other.predict(features[:1]) == 0
  outputs = outputs_of(features, labels)
  right = knn.knn_accuracy_parts(outputs, neighbours=2).contributions
  assert right.tolist() == [1, 1, 0, 1, 1]


@pytest.mark.parametrize("count", [1, 2, 5, 40, 1000])
def test_knn_accuracy_of_more_neighbours(count, rng):
  features, labels = cases.example("knn_accuracy", rng)
  expected = neighbours.knn_accuracy(features, labels, count)
  assert leep_jax.knn_accuracy(features, labels, neighbours=count) == expected


@pytest.mark.parametrize("count", [1, 4])
def test_copies_vote_together(count, rng):
  # All examples occur three times; every copy of the nearest is a neighbour.
  features = np.repeat(rng.normal(size=(100, 3)), 3, axis=0)
  labels = rng.integers(0, 3, 300)
  value = leep_jax.knn_accuracy(features, labels, neighbours=count)
  assert value == neighbours.knn_accuracy(features, labels, count)
  order = rng.permutation(300)
  other = leep_jax.knn_accuracy(
    features[order], labels[order], neighbours=count
  )
  assert other == value


def test_features_that_tell_nothing():
  features, labels = np.ones((7, 3)), np.array([0, 0, 0, 0, 1, 1, 2])
  assert leep_jax.knn_accuracy(features, labels) == 4 / 7
  assert leep_jax.knn_accuracy(0 * features, labels) == 4 / 7
  # All means are equally near: the first class, but for its only example.
  assert leep_jax.class_mean_accuracy(features, labels) == 4 / 7
  assert leep_jax.class_mean_accuracy(features, 2 - labels) == 0


@pytest.mark.parametrize("name", NAMES)
def test_one_class_and_single_examples(name, rng):
  score, features = getattr(leep_jax, name), rng.normal(size=(6, 4))
  assert score(features, np.zeros(6, int)) == 1
  assert score(features, np.arange(6)) == 0
  assert score(features, [0, 0, 0, 0, 0, 1]) < 1
  with pytest.raises(validation.UndefinedScore, match="undefined"):
    score(features[:1], [0])


@pytest.mark.parametrize("name", NAMES)
def test_more_features_than_examples(name, rng):
  features, labels = cases.example(name, rng, n=30, width=80)
  expected = oracles.ORACLES[name](features, labels)
  assert getattr(leep_jax, name)(features, labels) == expected


@pytest.mark.parametrize("scale", [1e-30, 1e30])
def test_features_whose_squares_overflow(scale, rng):
  features, labels = cases.example("knn_accuracy", rng)
  for name in NAMES:
    expected = oracles.ORACLES[name](features, labels)
    assert getattr(leep_jax, name)(features * scale, labels) == expected


@pytest.mark.parametrize("name", NAMES)
def test_whole_groups_are_left_out(name, rng):
  # Three nearly equal examples a patient: with them, any source is good.
  patient = np.repeat(np.arange(60), 3)
  features = rng.normal(size=(60, 4))[patient]
  features += 1e-2 * rng.normal(size=features.shape)
  labels = rng.integers(0, 3, 60)[patient]
  labels[::7] = rng.integers(0, 3, len(labels[::7]))
  order = rng.permutation(180)
  features, labels, patient = features[order], labels[order], patient[order]
  outputs = outputs_of(features.astype(np.float32), labels, patient)
  found = leep_jax.estimate_scores(outputs, names=[name])[name]
  oracle = oracles.ORACLES[name]
  assert found.value == oracle(outputs.features, labels, clusters=patient)
  assert found.value != oracle(outputs.features, labels)
  assert len(found.sizes) == 60
  with pytest.raises(validation.UndefinedScore, match="group"):
    PARTS[name](outputs_of(features, labels, 0 * patient))


def test_a_sample_of_examples(rng):
  features, labels = cases.example("knn_accuracy", rng)
  outputs = outputs_of(features, labels)
  parts = knn.knn_accuracy_parts(outputs, max_examples=120)
  assert len(parts.contributions) == len(parts.chosen) == 120
  some = parts.chosen
  expected = neighbours.knn_accuracy(features[some], labels[some])
  assert parts.value == expected
  outputs.clusters = np.arange(300) // 3
  parts = knn.knn_accuracy_parts(outputs, max_examples=120)
  clusters = len(set(outputs.clusters[some]))
  assert len(parts.estimate(clusters=outputs.clusters).sizes) == clusters


@pytest.mark.parametrize("size", [255, 256, 257, 600])
def test_blocks_of_examples(size, rng):
  features, labels = cases.example("knn_accuracy", rng, n=size)
  expected = neighbours.knn_accuracy(features, labels, 3)
  assert leep_jax.knn_accuracy(features, labels, neighbours=3) == expected


@pytest.mark.parametrize(
  ("options", "message"),
  [
    ({"neighbours": 0}, "neighbours is 0"),
    ({"neighbours": 1.5}, "neighbours is 1.5"),
    ({"max_examples": 0}, "max_examples is 0"),
  ],
)
def test_bad_options(options, message):
  with pytest.raises(leep_jax.InputError, match=message):
    leep_jax.knn_accuracy([[1.0], [2.0]], [0, 1], **options)


def test_features_far_from_the_origin(rng):
  """Directions that differ by 1e-4 are told apart in float32."""
  labels = np.repeat(np.arange(4), 10)
  features = 0.3 * (rng.normal(size=(40, 8)) + 3 * np.eye(8)[labels]) + 1000
  expected = neighbours.knn_accuracy(features, labels)
  assert expected > 0.8
  assert leep_jax.knn_accuracy(features, labels) == expected
