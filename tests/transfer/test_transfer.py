"""Head re-training against plain loops of NumPy, alone and in groups."""

import math

import networks
import numpy as np
import pytest

import leep_jax
from leep_jax import tasks, transfer
from leep_jax.engine import programs
from leep_jax.transfer import head, metrics

WIDTH = networks.WIDTH


@pytest.fixture(scope="module")
def data():
  return networks.clusters(0, 1200), networks.clusters(1, 600)


def task(data, seed, classes=3, per_class=21):
  """A task of some classes, with all their test examples."""
  train, test = data
  rng = np.random.default_rng(seed)
  chosen = rng.choice(8, classes, replace=False)
  return tasks.Task(
    name=f"task {seed}",
    classes=tuple(int(c) for c in chosen),
    train=np.concatenate(
      [
        rng.choice(np.flatnonzero(train.labels == c), per_class, replace=False)
        for c in chosen
      ]
    ),
    test=np.flatnonzero(np.isin(test.labels, chosen)),
  )


def softmax(z):
  e = np.exp(z - z.max(axis=1, keepdims=True))
  return e / e.sum(axis=1, keepdims=True)


def loop(data, task, seed, config):
  """The same SGD, one step after another, in float64."""
  train, test = data
  x = np.asarray(train.features, np.float64)[task.train]
  y = task.labels(train.labels, task.train)
  n, classes = len(y), len(task.classes)
  kernel = np.random.default_rng((seed, 0)).normal(size=(classes, WIDTH))
  kernel = (kernel / math.sqrt(WIDTH)).astype(np.float32).astype(np.float64)
  bias = np.zeros(classes)
  order = np.random.default_rng((seed, 1))
  velocity, step, losses = [0, 0], 0, []
  total = config.epochs * -(-n // config.batch_size)
  for _ in range(config.epochs):
    shuffled = order.permuted(np.arange(n)[None], axis=1)[0]
    loss = 0
    for start in range(0, n, config.batch_size):
      batch = shuffled[start : start + config.batch_size]
      probs = softmax(x[batch] @ kernel.T + bias)
      loss -= np.log(probs[np.arange(len(batch)), y[batch]]).sum()
      slope = (probs - np.eye(classes)[y[batch]]) / len(batch)
      rate = config.learning_rate
      if config.schedule == "cosine":
        rate *= 0.5 * (1 + np.cos(np.pi * step / total))
      for i, (weights, gradient) in enumerate(
        ((kernel, slope.T @ x[batch]), (bias, slope.sum(axis=0)))
      ):
        gradient = gradient + config.weight_decay * weights
        velocity[i] = config.momentum * velocity[i] + gradient
        weights -= rate * velocity[i]
      step += 1
    losses.append(loss / n)
  x = np.asarray(test.features, np.float64)[task.test]
  probs = softmax(x @ kernel.T + bias)
  return kernel.T, bias, losses, probs, task.labels(test.labels, task.test)


CONFIGS = [
  transfer.Config(epochs=15),  # 7 steps each: 105 steps
  transfer.Config(
    epochs=15, momentum=0.9, weight_decay=0.01, schedule="cosine"
  ),
  transfer.Config(epochs=34, batch_size=21, learning_rate=0.1),
]


@pytest.mark.parametrize("config", CONFIGS)
def test_equals_a_plain_loop(data, config):
  one = task(data, 0)
  (got,) = head.retrain_head(*data, tasks=[one], config=config, seeds=[5])
  kernel, bias, losses, probs, labels = loop(data, one, 5, config)
  np.testing.assert_allclose(got.params[0], kernel, atol=1e-5)
  np.testing.assert_allclose(got.params[1], bias, atol=1e-5)
  np.testing.assert_allclose(got.losses, losses, atol=1e-5)
  said = probs.argmax(axis=1)
  assert got.accuracy == pytest.approx((said == labels).mean())
  assert got.accuracies[-1] == pytest.approx(got.accuracy)
  nll = -np.log(probs[np.arange(len(labels)), labels]).mean()
  assert got.nll == pytest.approx(nll, abs=1e-5)
  each = [
    2 * np.sum((said == c) & (labels == c))
    / (np.sum(said == c) + np.sum(labels == c))
    for c in range(3)
  ]  # fmt: skip
  assert got.macro_f1 == pytest.approx(np.mean(each))
  assert got.binary_f1 is None
  assert (got.task, got.seed, got.method) == ("task 0", 5, "retrain_head")
  assert got.diverged is None


def mixed(data):
  """64 tasks of many sizes and numbers of classes."""
  return [
    task(data, i, classes=2 + i % 5, per_class=5 + 7 * (i % 9))
    for i in range(64)
  ]


def same(a, b):
  np.testing.assert_allclose(a.params[0], b.params[0], atol=1e-6)
  np.testing.assert_allclose(a.losses, b.losses, atol=1e-6)
  assert a.accuracy == pytest.approx(b.accuracy)
  assert a.nll == pytest.approx(b.nll, abs=1e-6)
  assert a.binary_f1 == pytest.approx(b.binary_f1)


def test_a_task_does_not_know_of_its_group(data):
  many = mixed(data)
  config = transfer.Config(epochs=6)
  together = head.retrain_head(*data, tasks=many, config=config)
  assert [r.task for r in together] == [t.name for t in many]
  for i in (0, 8, 17, 63):
    (alone,) = head.retrain_head(*data, tasks=[many[i]], config=config)
    same(together[i], alone)


def test_more_devices_change_rounding_alone(data):
  many, config = mixed(data)[:11], transfer.Config(epochs=3)
  spread = head.retrain_head(*data, tasks=many, config=config, seeds=[0, 1])
  with programs.limit(1):
    one = head.retrain_head(*data, tasks=many, config=config, seeds=[0, 1])
  assert [(r.task, r.seed) for r in spread] == [(r.task, r.seed) for r in one]
  for a, b in zip(spread, one, strict=True):
    same(a, b)


def test_seeds_differ_and_repeat(data):
  config = transfer.Config(epochs=2)
  first, second = head.retrain_head(
    *data, tasks=[task(data, 0)], config=config, seeds=[0, 1]
  )
  again, _ = head.retrain_head(
    *data, tasks=[task(data, 0)], config=config, seeds=[0, 7]
  )
  assert not np.allclose(first.params[0], second.params[0])
  np.testing.assert_array_equal(first.params[0], again.params[0])


@pytest.mark.exhaustive
def test_memory_in_pieces_changes_nothing(data, monkeypatch):
  many, config = mixed(data)[:9], transfer.Config(epochs=5)
  whole = head.retrain_head(*data, tasks=many, config=config)
  monkeypatch.setattr(head, "_MOST_WEIGHTS", 100)
  monkeypatch.setattr(head, "_MOST_INDICES", 100)
  monkeypatch.setattr(head, "_MOST_HEADS", 2)
  for a, b in zip(
    head.retrain_head(*data, tasks=many, config=config), whole, strict=True
  ):
    same(a, b)


def test_without_a_curve_the_end_is_the_same(data):
  plain = head.retrain_head(*data, config=transfer.Config(epochs=2, curve=0))
  curved = head.retrain_head(*data, config=transfer.Config(epochs=2))
  same(plain[0], curved[0])
  assert np.isnan(plain[0].accuracies[:-1]).all()


def test_one_that_diverges_lets_the_others_finish(data):
  train, test = data
  features = np.array(train.features)
  wild, calm = task(data, 0), task(data, 1)
  only = np.setdiff1d(wild.train, calm.train)[0]
  features[only] *= 1e30
  train = leep_jax.Outputs.from_arrays(features=features, labels=train.labels)
  config = transfer.Config(epochs=4, learning_rate=1e10)
  first, second = head.retrain_head(
    train, test, tasks=[wild, calm], config=config
  )
  assert first.diverged in range(1, 5)
  assert math.isnan(first.accuracy)
  (alone,) = head.retrain_head(*data, tasks=[calm], config=config)
  assert second.diverged is None
  np.testing.assert_array_equal(second.params[0], alone.params[0])


def test_two_classes_have_a_binary_f1(data):
  config = transfer.Config(epochs=3)
  one = task(data, 3, classes=2)
  (got,) = head.retrain_head(*data, tasks=[one], config=config)
  *_, probs, labels = loop(data, one, 0, config)
  said = probs.argmax(axis=1)
  right = np.sum((said == 1) & (labels == 1))
  assert got.binary_f1 == pytest.approx(
    2 * right / (np.sum(said == 1) + np.sum(labels == 1))
  )


def test_f1_of_a_class_that_is_never_right_is_0():
  # 3 of class 0 right, 1 taken for 1; 2 of class 1 taken for 0.
  # F1 of 0: 2 * 3 / (4 + 5); of 1: 0.
  got = metrics.f1(np.array([[3, 1], [2, 0]]))
  np.testing.assert_allclose(got, [6 / 9, 0])
  assert metrics.f1(np.zeros((2, 2))).tolist() == [0, 0]


@pytest.mark.parametrize(
  ("options", "message"),
  [
    ({"epochs": 0}, "epochs is 0"),
    ({"batch_size": -1}, "batch_size is -1"),
    ({"schedule": "linear"}, "unknown schedule 'linear'"),
    ({"learning_rate": -0.1}, "learning_rate is -0.1, but must be at least 0"),
    ({"momentum": 1}, "momentum is 1, but must be at least 0 and below 1"),
    ({"weight_decay": math.nan}, "weight_decay is nan"),
  ],
)
def test_configurations_that_cannot_be(options, message):
  with pytest.raises(leep_jax.InputError, match=message):
    transfer.Config(**options)


def test_what_cannot_be_trained(data):
  with pytest.raises(leep_jax.InputError, match="batch_size is 100, but task"):
    head.retrain_head(
      *data, tasks=[task(data, 0)], config=transfer.Config(batch_size=100)
    )
  bare = leep_jax.Outputs.from_arrays(
    probs=np.full((4, 2), 0.5), labels=[0, 1, 0, 1]
  )
  with pytest.raises(leep_jax.InputError, match="has no features"):
    head.retrain_head(bare, bare)


def test_one_compilation_for_all_learning_rates(data):
  before = programs.compile_seconds()
  for rate in (0.0123, 0.0456):
    config = transfer.Config(epochs=2, learning_rate=rate)
    head.retrain_head(*data, config=config)
    seconds, before = (
      programs.compile_seconds() - before,
      (programs.compile_seconds()),
    )
  assert seconds == 0


def test_a_config_of_networks_is_refused(data):
  with pytest.raises(leep_jax.InputError, match="trained by a Config"):
    head.retrain_head(*data, config=transfer.NetworkConfig(clip=1.0))


def test_f1_leaves_out_classes_that_do_not_occur():
  found = metrics.transferred(
    np.diag([3.0, 2, 0]), 1.0, losses=np.zeros(1), accuracies=np.zeros(1),
    task="t", seed=0, method="probe", seconds=0.0,
  )  # fmt: skip
  assert found.macro_f1 == 1
