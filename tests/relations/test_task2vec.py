"""Embeddings of tasks: Fisher information, its invariances, and distances."""

import dataclasses

from flax import nnx
import jax
import jax.numpy as jnp
import networks
import numpy as np
import pytest
import scipy.spatial.distance
import scipy.special

import leep_jax
from leep_jax import relations, tasks as tasks_lib, transfer, validation
from leep_jax.relations import fisher, task2vec
from leep_jax.sources import network

IMAGES, LABELS = networks.images_of(0, 22)
L2 = 0.1


class Deep(nnx.Module):
  """Two convolutions and a linear layer below the head; D = 5."""

  def __init__(self, seed=0):
    rngs = nnx.Rngs(seed)
    self.conv = nnx.Conv(1, 4, (3, 3), strides=2, rngs=rngs)
    self.bn = nnx.BatchNorm(4, rngs=rngs)
    self.conv2 = nnx.Conv(4, 6, (2, 2), use_bias=False, rngs=rngs)
    self.fc = nnx.Linear(6, 5, rngs=rngs)
    self.head = nnx.Linear(5, 3, rngs=rngs)

  def __call__(self, x):
    x = nnx.tanh(self.conv2(nnx.relu(self.bn(self.conv(x)))))
    features = nnx.tanh(self.fc(x.mean(axis=(1, 2))))
    return self.head(features), features


def make_probe():
  return network.from_nnx(
    "deep", Deep(), head="head", preprocessing=networks.PREPROCESSING
  )


PROBE = make_probe()
FILTERS = 4 + 6 + 5


def embed(images=IMAGES, labels=LABELS, **options):
  return relations.embed(PROBE, (images, labels), **{"l2": L2, **options})


def head_of(images, labels):
  outputs = leep_jax.compute_outputs(PROBE, [(images, labels)])
  (found,) = transfer.probe_head(outputs, outputs, l2=L2)
  return found.params


def brute_force(images, labels, *, empirical=False):
  """The definition: a gradient for each example and class, in float64."""
  kernel, bias = head_of(images, labels)
  params, rest = PROBE.network.weights
  flat = nnx.to_flat_state(params)
  total = 0
  with jax.enable_x64(True):
    params, rest, kernel, bias = jax.tree.map(
      lambda x: jnp.asarray(np.asarray(x, np.float64)),
      (params, rest, kernel, bias),
    )

    def log_probs(params, image):
      prepared = (jnp.asarray(image, jnp.float64) / 255 - 0.5) / 0.5
      features, _ = PROBE.network.apply(
        params, rest, prepared[None], train=False
      )
      return jax.nn.log_softmax(features[0] @ kernel + bias)

    for image, label in zip(images, labels, strict=True):
      logs = log_probs(params, image)
      assert logs.dtype == jnp.float64
      for y, p in enumerate(np.exp(logs)):
        weight = float(y == label) if empirical else float(p)
        gradient = jax.grad(lambda w, y=y, i=image: log_probs(w, i)[y])(params)
        leaves = [v.get_value() for _, v in nnx.to_flat_state(gradient)]
        total += weight * np.concatenate([
          np.mean(np.square(leaf), axis=tuple(range(leaf.ndim - 1)))
          for (path, _), leaf in zip(flat, leaves, strict=True)
          if path[-1] == "kernel"
        ])  # fmt: skip
  return total / len(images)


def test_exact_is_the_mean_over_examples_and_classes(device_count):
  (found,) = embed()
  assert found.shape == (FILTERS,)
  assert found.dtype == np.float64
  assert (found > 0).any()
  np.testing.assert_allclose(found, brute_force(IMAGES, LABELS), rtol=2e-4)


def test_empirical_takes_the_true_class(device_count):
  (found,) = embed(form="empirical")
  expected = brute_force(IMAGES, LABELS, empirical=True)
  np.testing.assert_allclose(found, expected, rtol=2e-4)
  assert np.abs(found / embed()[0] - 1).max() > 0.05


@pytest.mark.parametrize(
  ("classes", "width", "scale"),
  [(2, 5, 1), (4, 5, 1), (9, 5, 1), (6, 6, 1), (4, 5, 30), (3, 1, 1)],
)
def test_directions_factor_the_covariance(rng, classes, width, scale):
  features = rng.normal(size=(7, width)) * scale
  kernel, bias = rng.normal(size=(width, classes)), rng.normal(size=classes)
  found = fisher.directions(features, kernel, bias)
  count = fisher.count(classes, width, form="exact")
  assert found.shape == (7, count, width)
  probs = scipy.special.softmax(features @ kernel + bias, axis=1)
  for own, p in zip(found, probs, strict=True):
    expected = kernel @ (np.diag(p) - np.outer(p, p)) @ kernel.T
    np.testing.assert_allclose(own.T @ own, expected, rtol=0, atol=1e-12)


def test_drawn_classes_have_the_covariance_on_average(rng):
  features = np.tile(rng.normal(size=(1, 3)), (40_000, 1))
  kernel, bias = rng.normal(size=(3, 4)), rng.normal(size=4)
  drawn = fisher.directions(
    features, kernel, bias, form="monte_carlo", rng=rng
  )[:, 0]
  (exact,) = fisher.directions(features[:1], kernel, bias)
  mean = drawn.T @ drawn / len(drawn)
  np.testing.assert_allclose(mean, exact.T @ exact, rtol=0, atol=0.02)
  # Of a class that is drawn from the head's own distribution, it is 0.
  np.testing.assert_allclose(drawn.mean(axis=0), 0, rtol=0, atol=0.02)


def test_drawn_classes_depend_on_the_seed_alone():
  first, again, other = (
    embed(form="monte_carlo", seed=seed) for seed in (0, 0, 1)
  )
  np.testing.assert_array_equal(first, again)
  assert (first != other).any()
  # Near the exact value: it is one draw of each of 22 examples.
  assert 0.3 < first.sum() / embed().sum() < 3


def test_neither_order_nor_copies_nor_names_of_classes_count(rng):
  (expected,) = embed()
  order = rng.permutation(len(IMAGES))
  for images, labels in (
    (IMAGES[order], LABELS[order]),
    (np.tile(IMAGES, (2, 1, 1, 1)), np.tile(LABELS, 2)),
    (IMAGES, np.array([3, 1, 0, 2])[LABELS]),
    (IMAGES, LABELS + 3),  # classes 0 to 2 do not occur
  ):
    (found,) = embed(images, labels)
    np.testing.assert_allclose(found, expected, rtol=2e-3)


def test_tasks_share_calls_and_do_not_change_each_other(device_count):
  parts = [(0, 1), (1, 2, 3), (2, 0), (0, 1, 2, 3)]
  tasks = []
  for classes in parts:
    own = np.flatnonzero(np.isin(LABELS, classes))
    tasks.append(tasks_lib.Task(str(classes), classes, own, own))
  found = embed(tasks=tasks)
  for task, row in zip(tasks, found, strict=True):
    labels = task.train_labels(LABELS)
    (alone,) = embed(IMAGES[task.train], labels)
    np.testing.assert_allclose(row, alone, rtol=2e-3)


def test_sizes_of_calls_do_not_matter(monkeypatch, one_device):
  images, labels = np.tile(IMAGES, (2, 1, 1, 1)), np.arange(44) % 6
  expected = embed(images, labels)
  for most, rows, numbers in ((1, 16, 1 << 20), (2, 3, 1 << 20), (3, 16, 500)):
    monkeypatch.setattr(fisher, "_MOST_DIRECTIONS", most)
    monkeypatch.setattr(fisher, "_MOST_ROWS", rows)
    monkeypatch.setattr(fisher, "_MOST_NUMBERS", numbers)
    monkeypatch.setattr(task2vec, "_MOST_NUMBERS", 20 * most)
    np.testing.assert_allclose(embed(images, labels), expected, rtol=1e-5)


def test_progress_counts_backward_passes():
  told = []
  embed(progress=lambda done, total: told.append((done, total)))
  assert told[-1] == (22 * 3, 22 * 3)


def test_labels_with_noise_are_those_of_the_head():
  task = tasks_lib.all_examples(LABELS, LABELS)
  noisy = np.roll(LABELS, 1).astype(np.int32)
  task = dataclasses.replace(task, noisy=noisy)
  found = embed(tasks=[task])
  np.testing.assert_allclose(found, embed(IMAGES, noisy), rtol=2e-3)


def test_what_cannot_be_a_probe_is_refused():
  pixels = leep_jax.Source("pixels", networks.mean_pixel, {})
  with pytest.raises(leep_jax.InputError, match="pixels cannot be a probe"):
    relations.embed(pixels, (IMAGES, LABELS))

  class Bare(nnx.Module):
    def __init__(self):
      self.scale = nnx.Param(jnp.ones(64))
      self.head = nnx.Linear(64, 2, rngs=nnx.Rngs(0))

    def __call__(self, x):
      features = x.reshape(len(x), -1) * self.scale[None]
      return self.head(features), features

  bare = network.from_nnx(
    "bare", Bare(), head="head", preprocessing=networks.PREPROCESSING
  )
  with pytest.raises(leep_jax.InputError, match="bare has no convolutions"):
    relations.embed(bare, (IMAGES, LABELS))
  with pytest.raises(leep_jax.InputError, match="one class in training"):
    embed(IMAGES, np.zeros(22, int))
  with pytest.raises(leep_jax.InputError, match="unknown form 'exakt'"):
    embed(form="exakt")


def test_distance_by_hand():
  # a / (a + b) is (1/4, 3/4) and b / (a + b) is (3/4, 1/4): cos 6/10.
  assert relations.distance([1, 3], [3, 1]) == pytest.approx(0.4, abs=1e-15)
  # Filters that say nothing of both tasks do not count; of one, they do.
  assert relations.distance([1, 3, 0], [3, 1, 0]) == pytest.approx(0.4)
  assert relations.distance([1, 0], [0, 1]) == 1
  cos = (1 / 4) / np.sqrt((1 / 4 + 1) * (1 / 4))
  assert relations.distance([1, 1], [1, 0]) == pytest.approx(1 - cos)


def test_distances_equal_scipy(rng):
  rows = rng.gamma(0.3, size=(5, 40))
  found = relations.distances(rows)
  for i, a in enumerate(rows):
    for j, b in enumerate(rows):
      expected = scipy.spatial.distance.cosine(a / (a + b), b / (a + b))
      assert found[i, j] == pytest.approx(expected, abs=1e-12)
  assert (found >= 0).all()
  assert (np.diagonal(found) == 0).all()
  np.testing.assert_array_equal(found, found.T)
  # As large or small as information may be: no number is added to it.
  for scale in (1e-12, 1e12):
    scaled = relations.distances(rows * scale)
    np.testing.assert_allclose(scaled, found, rtol=0, atol=1e-12)


def test_asymmetric_distance_is_lower_for_complex_sources(rng):
  rows = rng.gamma(0.3, size=(3, 40))
  symmetric = relations.distances(rows)
  found = relations.distances(rows, alpha=0.15, trivial=2.0)
  to_trivial = [relations.distance(row, np.full(40, 2.0)) for row in rows]
  expected = symmetric - 0.15 * np.array(to_trivial)[:, None]
  np.testing.assert_allclose(found, expected, rtol=0, atol=1e-15)


@pytest.mark.parametrize("value", [-1.0, np.nan, np.inf])
def test_what_is_no_information_is_refused(value):
  with pytest.raises(leep_jax.InputError, match="must be finite and at least"):
    relations.distance([1, value], [1, 1])


def test_embeddings_of_zeros_have_no_distance():
  with pytest.raises(validation.UndefinedScore, match="of sure is 0 every"):
    relations.distances([[1, 2], [0, 0]], names=["a", "sure"])
