"""Networks trained whole: against heads, across devices, and interrupted."""

import dataclasses

import jax
import jax.numpy as jnp
import networks
import numpy as np
import pytest

import leep_jax
from leep_jax import tasks, transfer
from leep_jax.engine import programs
from leep_jax.sources import network
from leep_jax.transfer import augment as augment_lib


@pytest.fixture(scope="module")
def source():
  return networks.make_source()


@pytest.fixture(scope="module")
def sets():
  return networks.images_of(0, 80), networks.images_of(1, 40)


def task(seed, per_class, classes=(0, 2, 3)):
  """A task of some classes; small and large ones differ in steps."""
  places = np.arange(80)
  train = [places[places % 4 == c][seed : seed + per_class] for c in classes]
  test = [np.arange(40)[np.arange(40) % 4 == c] for c in classes]
  return tasks.Task(
    name=f"task {seed} {per_class}",
    classes=classes,
    train=np.concatenate(train),
    test=np.concatenate(test),
  )


def equal(one, other, *, atol):
  np.testing.assert_allclose(one.losses, other.losses, atol=atol)
  np.testing.assert_allclose(one.nll, other.nll, atol=atol)
  pairs = zip(
    jax.tree.leaves(one.params), jax.tree.leaves(other.params), strict=True
  )
  for a, b in pairs:
    np.testing.assert_allclose(a, b, atol=atol)


def test_a_frozen_body_is_head_retraining(source, sets, device_count):
  options = {"epochs": 4, "batch_size": 6, "learning_rate": 0.1}
  config = transfer.NetworkConfig(body_learning_rate=0.0, **options)
  chosen = [task(0, 5), task(3, 11)]
  found = transfer.fine_tune(
    source, *sets, tasks=chosen, config=config, seeds=[0, 7], keep_params=True
  )
  outputs = [leep_jax.compute_outputs(source, [part]) for part in sets]
  heads = transfer.retrain_head(
    *outputs, tasks=chosen, config=transfer.Config(**options), seeds=[0, 7]
  )
  for one, other in zip(found, heads, strict=True):
    np.testing.assert_allclose(one.losses, other.losses, atol=1e-6)
    np.testing.assert_array_equal(one.accuracies, other.accuracies)
    for a, b in zip(one.params[1], other.params, strict=True):
      np.testing.assert_allclose(a, b, atol=1e-6)
    assert (one.accuracy, one.task) == (other.accuracy, other.task)
  kept = jax.tree.leaves(source.network.weights)
  for a, b in zip(kept, jax.tree.leaves(found[0].params[0]), strict=True):
    np.testing.assert_array_equal(a, b)


CONFIGS = [
  transfer.NetworkConfig(epochs=4, batch_size=16),
  transfer.NetworkConfig(
    epochs=4, batch_size=16, learning_rate=0.1, body_learning_rate=0.02,
    momentum=0.9, nesterov=True, weight_decay=1e-3, clip=1.0, flip=True,
    shift=2, schedule="cosine",
  ),
]  # fmt: skip


@pytest.mark.parametrize("config", CONFIGS, ids=["paper", "everything"])
def test_eight_devices_are_as_one(source, sets, config):
  found = []
  for count in (1, 8):
    with programs.limit(count):
      found += transfer.fine_tune(
        source, *sets, config=config, keep_params=True
      )
  equal(*found, atol=1e-4)  # after 20 steps
  assert found[0].losses[-1] < found[0].losses[0]
  mean, changed = (w.rest["bn"]["mean"][...] for w in (
    source.network.weights, found[0].params[0],
  ))  # fmt: skip
  assert np.abs(mean - changed).max() > 1e-3


def plain_loop(source, sets, task, seed, config):
  """The same SGD in float64, one step after another, written out."""
  (images, labels), (test_images, test_labels) = sets
  params, rest = source.network.weights
  draw = np.random.default_rng((seed, 0))
  kernel = draw.normal(size=(len(task.classes), 6)) / np.sqrt(6)
  weights = {
    "kernel": params["conv"]["kernel"][...],
    "bias": params["conv"]["bias"][...],
    "scale": params["bn"]["scale"][...],
    "shift": params["bn"]["bias"][...],
    "W": kernel.astype(np.float32),
    "b": np.zeros(len(task.classes)),
  }
  weights = {k: np.asarray(v, np.float64) for k, v in weights.items()}
  mean, var = (np.asarray(rest["bn"][k][...], float) for k in ("mean", "var"))
  x, y = images[task.train], task.train_labels(labels)
  n, size = len(y), config.batch_size

  def forward(weights, images, stats=None):
    z = jax.lax.conv_general_dilated(
      (jnp.asarray(images, jnp.float64) / 255 - 0.5) / 0.5,
      weights["kernel"], (2, 2), "SAME",
      dimension_numbers=("NHWC", "HWIO", "NHWC"),
    ) + weights["bias"][None, None, None]  # fmt: skip
    m, v = stats or (z.mean((0, 1, 2)), z.var((0, 1, 2)))
    z = (z - m[None, None, None]) / jnp.sqrt(v + 1e-5)[None, None, None]
    z = (
      z * weights["scale"][None, None, None]
      + weights["shift"][None, None, None]
    )
    features = jax.nn.relu(z).mean((1, 2))
    logits = features @ weights["W"].T + weights["b"][None]
    return jax.nn.log_softmax(logits), (m, v)

  def loss(weights, images, labels):
    logs, stats = forward(weights, images)
    return -logs[jnp.arange(len(labels)), labels].mean(), stats

  orders, step, losses = np.random.default_rng((seed, 1)), 0, []
  velocity = dict.fromkeys(weights, 0.0)
  total = config.epochs * -(-n // size)
  for _ in range(config.epochs):
    order = orders.permuted(np.arange(n)[None], axis=1)[0]
    losses.append(0)
    for start in range(0, n, size):
      batch = order[start : start + size]
      filled = np.concatenate([batch, order[: size - len(batch)]])
      (value, (m, v)), gradient = jax.value_and_grad(loss, has_aux=True)(
        weights, x[filled], y[batch]
      )
      losses[-1] += float(value) * len(batch) / n
      mean, var = 0.9 * mean + 0.1 * m, 0.9 * var + 0.1 * v
      gradient = {k: np.asarray(g) for k, g in gradient.items()}
      norm = np.sqrt(sum((g**2).sum() for g in gradient.values()))
      if config.clip and norm > config.clip:
        gradient = {k: g * config.clip / norm for k, g in gradient.items()}
      factor = 1.0
      if config.schedule == "cosine":
        factor = 0.5 * (1 + np.cos(np.pi * step / total))
      for k in weights:
        g = gradient[k] + config.weight_decay * weights[k]
        velocity[k] = config.momentum * velocity[k] + g
        g = (
          g + config.momentum * velocity[k] if config.nesterov else velocity[k]
        )
        rate = config.learning_rate
        if k not in "Wb" and config.body_learning_rate is not None:
          rate = config.body_learning_rate
        weights[k] = weights[k] - factor * rate * g
      step += 1
  logs, _ = forward(weights, test_images[task.test], (mean, var))
  wanted = task.test_labels(test_labels)
  nll = -np.asarray(logs)[np.arange(len(wanted)), wanted].mean()
  return weights, mean, var, losses, nll


@pytest.mark.parametrize(
  "options",
  [
    {},
    {"momentum": 0.9, "weight_decay": 0.01, "clip": 0.5},
    {
      "momentum": 0.9, "nesterov": True, "weight_decay": 0.01,
      "schedule": "cosine", "body_learning_rate": 0.02,
    },
  ],
)  # fmt: skip
def test_equals_a_plain_loop(source, sets, one_device, options):
  config = transfer.NetworkConfig(
    epochs=4, batch_size=7, learning_rate=0.1, **options
  )
  one = task(0, 11)  # whose last batch is smaller
  (found,) = transfer.fine_tune(
    source, *sets, tasks=[one], config=config, seeds=[3], keep_params=True
  )
  with jax.enable_x64(True):
    weights, mean, var, losses, nll = plain_loop(source, sets, one, 3, config)
  (params, rest), (kernel, bias) = found.params
  for got, wanted in (
    (params["conv"]["kernel"][...], weights["kernel"]),
    (params["bn"]["scale"][...], weights["scale"]),
    (rest["bn"]["mean"][...], mean),
    (rest["bn"]["var"][...], var),
    (kernel.T, weights["W"]),
    (bias, weights["b"]),
    (found.losses, losses),
    (found.nll, nll),
  ):
    np.testing.assert_allclose(got, wanted, atol=1e-5)


def test_side_by_side_is_as_alone(source, sets):
  many = [task(i, n) for i in range(5) for n in (5, 9)]
  config = transfer.NetworkConfig(epochs=2, batch_size=4, curve=0)
  with programs.limit(4):
    group = transfer.fine_tune(
      source, *sets, tasks=many, config=config, keep_params=True
    )
  with programs.limit(1):
    for i in (0, 3, 9):
      (alone,) = transfer.fine_tune(
        source, *sets, tasks=[many[i]], config=config, keep_params=True
      )
      equal(alone, group[i], atol=1e-5)


def test_runs_in_one_program_are_as_one_after_the_other(
  source, sets, monkeypatch, one_device
):
  """What accelerators do: runs vmapped, several steps a call."""
  many = [task(0, 5), task(1, 6), task(2, 9)]
  config = transfer.NetworkConfig(epochs=2, batch_size=5, flip=True)
  apart = transfer.fine_tune(
    source, *sets, tasks=many, config=config, keep_params=True
  )
  monkeypatch.setattr(programs, "platform", lambda: "gpu")
  beside = transfer.fine_tune(
    source, *sets, tasks=many, config=config, keep_params=True
  )
  for one, other in zip(apart, beside, strict=True):
    equal(one, other, atol=1e-5)


class Stop(Exception):
  pass


@pytest.mark.parametrize("count", [1, 8])
def test_interrupted_training_goes_on(source, sets, tmp_path, count):
  config = CONFIGS[1]
  options = {"config": config, "keep_params": True}
  many = [None, [task(0, 8), task(1, 8), task(0, 20)]][count == 1]

  def stop(done, total):
    if done > 0.7 * total:
      raise Stop

  with programs.limit(count):
    (*_, whole) = transfer.fine_tune(source, *sets, tasks=many, **options)
    with pytest.raises(Stop):
      transfer.fine_tune(
        source, *sets, tasks=many, directory=tmp_path, save_seconds=0,
        progress=stop, **options,
      )  # fmt: skip
    assert any(tmp_path.iterdir())
    seen = []
    (*_, resumed) = transfer.fine_tune(
      source, *sets, tasks=many, directory=tmp_path, save_seconds=0,
      progress=lambda done, total: seen.append(done / total), **options,
    )  # fmt: skip
  assert seen[0] > 0.4 or count == 1
  equal(whole, resumed, atol=0)
  assert not any(tmp_path.iterdir())


def test_another_training_does_not_go_on(source, sets, tmp_path):
  """Its checkpoints are told apart by all that decides the result."""
  config = transfer.NetworkConfig(epochs=3, batch_size=16)

  def stop(done, total):
    if done > total / 2:
      raise Stop

  def start(source, sets, **options):
    transfer.fine_tune(
      source, *sets, config=config, directory=tmp_path, save_seconds=0,
      progress=stop, **options,
    )  # fmt: skip

  images, labels = sets[0]
  changed = images.copy()
  changed[1, 0, 0] ^= 1
  other = dataclasses.replace(networks.PREPROCESSING, mean=(0.4,))
  for i, (model, data, options) in enumerate(
    (
      (source, sets, {}),
      (dataclasses.replace(source, preprocessing=other), sets, {}),
      (source, ((changed, labels), sets[1]), {}),
      (source, sets, {"seeds": [1]}),
    )
  ):
    with pytest.raises(Stop):
      start(model, data, **options)
    assert len(list(tmp_path.iterdir())) == i + 1


def test_runs_go_on_in_other_company(source, sets, tmp_path):
  config = transfer.NetworkConfig(epochs=4, batch_size=8)
  many = [task(i, 8) for i in range(4)]

  def stop(done, total):
    if done > total / 2:
      raise Stop

  with programs.limit(4):
    whole = transfer.fine_tune(source, *sets, tasks=many, config=config)
    with pytest.raises(Stop):
      transfer.fine_tune(
        source, *sets, tasks=many, config=config, directory=tmp_path,
        save_seconds=0, progress=stop,
      )  # fmt: skip
  assert len(list(tmp_path.iterdir())) == 4
  with programs.limit(1):
    part = transfer.fine_tune(
      source, *sets, tasks=many[1:], config=config, directory=tmp_path
    )
  for one, other in zip(whole[1:], part, strict=True):
    np.testing.assert_allclose(one.losses, other.losses, atol=1e-5)
  assert len(list(tmp_path.iterdir())) == 1


def test_from_scratch_learns_and_depends_on_the_seed(source, sets):
  config = transfer.NetworkConfig(
    epochs=30, batch_size=16, learning_rate=0.2, momentum=0.9, curve=10
  )
  one, two = transfer.train_from_scratch(
    source, *sets, config=config, seeds=[0, 1], keep_params=True
  )
  assert min(one.accuracy, two.accuracy) > 0.7
  assert one.method == "scratch"
  assert np.isfinite(one.accuracies).sum() == 3
  assert one.accuracies[-1] == np.float32(one.accuracy)
  kernels = [r.params[0].params["conv"]["kernel"][...] for r in (one, two)]
  assert np.abs(kernels[0] - kernels[1]).max() > 0.01


def test_a_run_that_diverges_lets_others_finish(source, sets):
  def init(seed):
    net = networks.Net(seed)
    if seed == 1:
      net.conv.bias[...] = jnp.full(6, jnp.nan)
    return net

  broken = network.from_nnx(
    "net",
    networks.Net(),
    head="head",
    preprocessing=networks.PREPROCESSING,
    init=init,
  )
  config = transfer.NetworkConfig(epochs=3, batch_size=16)
  with programs.limit(1):
    good, bad, last = transfer.train_from_scratch(
      broken, *sets, config=config, seeds=[0, 1, 2]
    )
  (alone,) = transfer.train_from_scratch(source, *sets, config=config)
  assert good.diverged is None
  assert last.diverged is None
  assert good.nll == pytest.approx(alone.nll, abs=1e-5)
  assert bad.diverged == 1
  assert np.isnan(bad.accuracy)
  assert bad.row()["accuracy"] is None


def test_a_learning_rate_that_diverges_is_told(source, sets):
  config = transfer.NetworkConfig(epochs=6, batch_size=16, learning_rate=1e30)
  (found,) = transfer.fine_tune(source, *sets, config=config)
  assert found.diverged is not None
  assert np.isnan([found.accuracy, found.macro_f1, found.nll]).all()


def test_bfloat16_is_close(source, sets):
  config = transfer.NetworkConfig(epochs=4, batch_size=16, learning_rate=0.1)
  low = dataclasses.replace(config, dtype="bfloat16")
  found = [
    transfer.fine_tune(source, *sets, config=c, keep_params=True)[0]
    for c in (config, low)
  ]
  difference = np.abs(found[0].losses - found[1].losses).max()
  assert 0 < difference < 0.02
  assert all(x.dtype == np.float32 for x in jax.tree.leaves(found[1].params))


def test_clipping_bounds_the_steps(source, sets):
  config = transfer.NetworkConfig(
    epochs=1, batch_size=16, learning_rate=0.5, clip=0.01, curve=0
  )
  (found,) = transfer.fine_tune(source, *sets, config=config, keep_params=True)
  moved = jax.tree.map(
    lambda a, b: np.sum((a - b) ** 2),
    source.network.weights.params,
    found.params[0].params,
  )
  moved = np.sqrt(sum(jax.tree.leaves(moved)))
  assert 1e-4 < moved <= 5 * 0.5 * 0.01


def test_augmentation():
  images = jnp.asarray(networks.images_of(0, 6)[0])
  keys = augment_lib.keys(jax.random.key(0), 0, 6)
  same = augment_lib.augment(keys, images, shift=0, flip=False)
  np.testing.assert_array_equal(same, images)
  found = np.asarray(augment_lib.augment(keys, images, shift=2, flip=True))
  again = augment_lib.augment(keys[2:4], images[2:4], shift=2, flip=True)
  np.testing.assert_array_equal(found[2:4], again)
  part = augment_lib.keys(jax.random.key(0), 2, 2)
  assert (jax.random.key_data(part) == jax.random.key_data(keys[2:4])).all()
  padded = np.pad(images, ((0, 0), (2, 2), (2, 2), (0, 0)))
  for image, big in zip(found, padded, strict=True):
    choices = [
      big[top : top + 8, left : left + 8][:, ::way]
      for top in range(5)
      for left in range(5)
      for way in (1, -1)
    ]
    assert any(np.array_equal(image, choice) for choice in choices)


def test_a_users_network(source):
  with pytest.raises(leep_jax.InputError, match=r"no layer 'fc'.*bn, conv"):
    networks.make_source(head="fc")
  model = networks.Net()
  images = jnp.asarray(networks.images_of(0, 5)[0])
  logits, features = source.apply(source.state, images / 127.5 - 1)
  model.eval()
  np.testing.assert_allclose(logits, model(images / 127.5 - 1)[0], atol=1e-6)
  assert features.shape == (5, 6)


def bad(source, sets):
  (images, labels), test = sets
  alone = dataclasses.replace(source, network=None)
  no_init = network.from_nnx(
    "net", networks.Net(), head="head", preprocessing=networks.PREPROCESSING
  )
  frozen = transfer.NetworkConfig(body_learning_rate=0.0)
  one = tasks.Task("one", (2,), np.arange(2, 80, 4), np.arange(2, 40, 4))
  missing = tasks.Task("odd", (0, 1), np.arange(0, 80, 4), np.arange(1, 40, 4))
  small = tasks.Task("few", (0, 1), np.array([0, 1, 4, 5, 8]), np.arange(0, 2))
  whole = (source, sets[0], test)
  tune, scratch = transfer.fine_tune, transfer.train_from_scratch
  return {
    "can be applied but not trained": lambda: tune(alone, sets[0], test),
    "does not say how fresh": lambda: scratch(no_init, sets[0], test),
    "leaves fresh weights": lambda: scratch(*whole, config=frozen),
    "one class in training": lambda: tune(*whole, tasks=[one]),
    "class": lambda: tune(*whole, tasks=[missing]),
    "batch_size is 10, but task few has 5": (
      lambda: tune(*whole, tasks=[small])
    ),
    "80 images but 79 labels": (
      lambda: tune(source, (images, labels[1:]), test)
    ),
    r"images have shape \(80, 8, 8\)": (
      lambda: tune(source, (images[..., 0], labels), test)
    ),
    "there are no tasks": lambda: tune(*whole, tasks=[]),
    "dtype 'float16'": lambda: transfer.NetworkConfig(dtype="float16"),
    "nesterov needs": lambda: transfer.NetworkConfig(nesterov=True),
    "shift is 1.5": lambda: transfer.NetworkConfig(shift=1.5),
    "learning_rate is '0.1'": lambda: transfer.Config(learning_rate="0.1"),
    "trained by a NetworkConfig": (
      lambda: tune(*whole, config=transfer.Config())
    ),
    "seeds contain -1": lambda: tune(*whole, seeds=[-1]),
    "cannot write checkpoints": lambda: tune(*whole, directory="/proc/no"),
    "clip is 0": lambda: transfer.NetworkConfig(clip=0),
    "body_learning_rate is -1": (
      lambda: transfer.NetworkConfig(body_learning_rate=-1)
    ),
  }


@pytest.mark.parametrize("number", range(18))
def test_mistakes_are_told(source, sets, number):
  message, call = list(bad(source, sets).items())[number]
  with pytest.raises(leep_jax.InputError, match=message) as found:
    call()
  assert "\n" not in str(found.value)
