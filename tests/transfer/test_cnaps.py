"""CNAPs: what must hold of any adaptation, and of meta-training."""

import contextlib
import dataclasses
import functools
import io
import json
import math

import cv2
from flax import nnx
import jax
import jax.numpy as jnp
import marks
import numpy as np
import pytest
from sklearn import metrics as sklearn_metrics
import tfds_sets

from experiments import train_cnaps
import leep_jax
from leep_jax import tasks, validation
from leep_jax.models import cifar_resnet
from leep_jax.reports import results
from leep_jax.sources import catalog
from leep_jax.transfer import checkpoints, cnaps
from leep_jax.transfer.cnaps import adaptation, model as model_lib, training

SIZE = 8
SHAPE = (SIZE, SIZE, 3)
CONFIG = cnaps.Config(
  epochs=2, episodes=3, tasks_per_step=1, ways=(2, 4), shots=(1, 4), queries=8
)


@functools.cache
def _made():
  model = cnaps.Cnaps(
    catalog.build("resnet8", 4, seed=7),
    architecture="resnet8",
    preprocessing=leep_jax.Preprocessing(
      image_size=SIZE, mean=(0.5, 0.4, 0.3), std=(0.3, 0.2, 0.1)
    ),
    rngs=nnx.Rngs(0),
  )
  model.eval()
  return model


def make():
  """An untrained CNAPs on a ResNet-8 of random weights; compiled once."""
  return nnx.clone(_made())


def stirred():
  """The same, generating something of every example."""
  model = make()
  rng = np.random.default_rng(3)
  for layer in (*(a.last for a in model.adapters), model.head.last):
    kernel = rng.normal(size=layer.kernel.shape) / 5
    layer.kernel.set_value(jnp.asarray(kernel, jnp.float32))
  return model


@pytest.fixture(scope="module")
def untrained():
  return make()


@pytest.fixture(scope="module")
def model():
  return stirred()


def examples(seed, counts):
  """Images around one pattern a class, and labels, in random order."""
  rng = np.random.default_rng(seed)
  patterns = np.random.default_rng(1).uniform(60, 190, (12, *SHAPE))
  labels = rng.permutation(np.repeat(np.arange(len(counts)), counts))
  images = patterns[labels] + rng.normal(0, 25, (len(labels), *SHAPE))
  return images.clip(0, 255).astype(np.uint8), labels


@pytest.fixture(scope="module")
def pool():
  """Images of two data sets, of 6 and 4 classes, and their places."""
  images, labels = examples(0, (12,) * 10)
  places = [np.flatnonzero(labels == c) for c in range(10)]
  return images, [places[:6], places[6:]]


def arrays(tree):
  return [np.asarray(x) for x in jax.tree.leaves(tree)]


def test_begins_as_the_nearest_class_mean(untrained):
  support, labels = examples(0, (5, 3, 4))
  query, _ = examples(1, (6, 6, 6))

  def features(images):
    x = untrained.preprocessing(images)
    return np.asarray(untrained.backbone(x)[1], np.float64)

  f, q = features(support), features(query)
  means = np.stack([f[labels == c].mean(axis=0) for c in range(3)])
  distances = ((q[:, None] - means[None]) ** 2).sum(axis=2)
  logits = -distances * model_lib._GAIN / 2
  expected = logits - np.log(np.exp(logits).sum(axis=1, keepdims=True))
  got, adapted = cnaps.log_probs(untrained, support, labels, query)
  np.testing.assert_allclose(got, expected, atol=1e-4)
  for film in adapted.films:
    np.testing.assert_array_equal(film[:, 0], 1)
    np.testing.assert_array_equal(film[:, 1], 0)


def test_order_of_examples_does_not_matter(model, rng):
  support, labels = examples(0, (5, 3, 4))
  query, _ = examples(1, (4, 4, 4))
  got, adapted = cnaps.log_probs(model, support, labels, query)
  order = rng.permutation(len(labels))
  again, other = cnaps.log_probs(model, support[order], labels[order], query)
  np.testing.assert_allclose(again, got, atol=1e-4)
  for a, b in zip(adapted.films, other.films, strict=True):
    np.testing.assert_allclose(a, b, atol=1e-5)


def test_order_of_classes_orders_their_probabilities(model):
  support, labels = examples(0, (5, 3, 4))
  query, _ = examples(1, (4, 4, 4))
  got, adapted = cnaps.log_probs(model, support, labels, query)
  new = np.array([2, 0, 1])  # class c becomes new[c]
  again, other = cnaps.log_probs(model, support, new[labels], query)
  np.testing.assert_allclose(again[:, new], got, atol=1e-4)
  np.testing.assert_allclose(other.kernel[:, new], adapted.kernel, atol=1e-5)


def test_every_part_depends_on_the_support_set(model):
  """Also FiLM of the last block, through what is generated for the first."""
  first, second = (
    cnaps.log_probs(model, *examples(seed, (4, 4)), examples(9, (2,))[0])[1]
    for seed in (0, 1)
  )
  for a, b in zip(first.films, second.films, strict=True):
    assert np.abs(a - b).max() > 1e-4
  changed = stirred()
  last = changed.adapters[0].last
  last.bias.set_value(jnp.ones_like(last.bias[...]))
  _, other = cnaps.log_probs(
    changed, *examples(0, (4, 4)), examples(9, (2,))[0]
  )
  for a, b in zip(first.films, other.films, strict=True):
    assert np.abs(a - b).max() > 1e-5


@pytest.mark.parametrize("shots", [1, *marks.exhaustive(2, 7, 50)])
@pytest.mark.parametrize("ways", [2, *marks.exhaustive(5), 10])
def test_shapes(model, ways, shots):
  support, labels = examples(0, (shots,) * ways)
  query, _ = examples(1, (2,) * ways)
  logs, adapted = cnaps.log_probs(model, support, labels, query)
  assert logs.shape == (2 * ways, ways)
  np.testing.assert_allclose(np.exp(logs).sum(axis=1), 1, rtol=1e-5)
  assert adapted.kernel.shape == (64, ways)
  assert adapted.bias.shape == (ways,)
  assert [f.shape for f in adapted.films] == [(2, 2, c) for c in (16, 32, 64)]


def test_sizes_near_each_other_are_compiled_once(model):
  adaptation._adapt.clear_cache()
  adaptation._predict.clear_cache()
  for ways, shots in ((2, 1), (3, 9), (5, 6), (8, 4)):
    support, labels = examples(0, (shots,) * ways)
    cnaps.log_probs(model, support, labels, support[: ways + shots])
  assert adaptation._adapt._cache_size() == 1
  assert adaptation._predict._cache_size() == 1


def test_padding_changes_nothing(model):
  support, labels = examples(0, (5, 3, 4))
  noise, _ = examples(5, (20,))
  adapt = functools.partial(adaptation._adapt, *nnx.split(model))
  plain = adapt(support, labels, np.ones(12, np.float32), 3)
  padded = adapt(
    np.concatenate([support, noise]),
    np.concatenate([labels, np.ones(20, np.int32)]),
    np.repeat(np.float32([1, 0]), [12, 20]),
    6,
  )
  for a, b in zip(plain.films, padded.films, strict=True):
    np.testing.assert_allclose(a, b, atol=1e-5)
  np.testing.assert_allclose(padded.kernel[:, :3], plain.kernel, atol=1e-5)
  np.testing.assert_allclose(padded.bias[:3], plain.bias, atol=1e-4)
  assert np.isneginf(padded.bias[3:]).all()


def test_queries_do_not_know_of_each_other(model, monkeypatch):
  support, labels = examples(0, (5, 3))
  query, _ = examples(1, (9, 9))
  whole, _ = cnaps.log_probs(model, support, labels, query)
  monkeypatch.setattr(adaptation, "_QUERIES", 5)
  parts, _ = cnaps.log_probs(model, support, labels, query)
  np.testing.assert_allclose(parts, whole, atol=1e-5)


def test_film_is_a_change_of_the_batch_norm(rng):
  # BN(x) g + b has scale g s and bias g t + b where BN has s and t.
  block = cifar_resnet.BasicBlock(4, 4, stride=1, rngs=nnx.Rngs(0))
  block.eval()
  x = jnp.asarray(rng.normal(size=(2, 6, 6, 4)), jnp.float32)
  film = jnp.asarray(rng.normal(size=(2, 2, 4)), jnp.float32)
  got = block(x, film)
  assert not np.allclose(got, block(x))
  for bn, (gamma, beta) in zip((block.bn1, block.bn2), film, strict=True):
    bn.bias.set_value(gamma * bn.bias[...] + beta)
    bn.scale.set_value(gamma * bn.scale[...])
  np.testing.assert_allclose(got, block(x), atol=1e-5)


def test_evaluation_agrees_with_scikit_learn(model):
  support, labels = examples(0, (4, 4, 4))
  query, truth = examples(1, (9, 5, 7))
  got = cnaps.evaluate(model, support, labels, query, truth, task="mine")
  logs, adapted = cnaps.log_probs(model, support, labels, query)
  said = logs.argmax(axis=1)
  assert got.accuracy == pytest.approx((said == truth).mean())
  f1 = sklearn_metrics.f1_score(truth, said, average="macro", zero_division=0)
  assert got.macro_f1 == pytest.approx(f1)
  probs = np.exp(logs.astype(np.float64))
  probs /= probs.sum(axis=1, keepdims=True)  # of float32
  loss = sklearn_metrics.log_loss(truth, probs)
  assert got.nll == pytest.approx(loss, rel=1e-5)
  assert (got.task, got.seed, got.method) == ("mine", 0, "cnaps")
  assert got.binary_f1 is None
  np.testing.assert_array_equal(got.params[0], adapted.kernel)


def test_transfer_is_evaluation_of_each_task(model):
  images, labels = examples(0, (12, 11, 10, 12))
  drawn = tasks.draw(
    tasks.FewShot(classes=2, examples=5), labels, labels, count=3, seed=0
  )
  both = images, labels
  rows = cnaps.transfer(model, both, both, tasks=drawn)
  assert [row.task for row in rows] == [task.name for task in drawn]
  for task, row in zip(drawn, rows, strict=True):
    alone = cnaps.evaluate(
      model,
      images[task.train],
      task.labels(labels, task.train),
      images[task.test],
      task.labels(labels, task.test),
    )
    assert row.accuracy == alone.accuracy
    assert row.binary_f1 == alone.binary_f1 is not None


@pytest.mark.parametrize("number", range(20))
def test_episodes(pool, number):
  _, classes = pool
  episode = cnaps.sample_episode(number, classes, config=CONFIG)
  real = episode.weights > 0
  support, labels = episode.indices[real], episode.labels[real]
  ways = labels.max() + 1
  shots = np.bincount(labels)
  assert 2 <= ways <= 4
  assert len(set(shots)) == 1
  assert 1 <= shots[0] <= 4
  queries = np.bincount(episode.query_labels)
  assert len(queries) == ways
  assert queries.sum() == 8
  assert np.ptp(queries) <= 1
  drawn = np.concatenate([support, episode.query_indices])
  assert len(np.unique(drawn)) == len(drawn)
  # Every class of a task is one of the same data set.
  owner = {p: (d, c) for d, g in enumerate(classes)
           for c, places in enumerate(g) for p in places}  # fmt: skip
  of = [owner[p] for p in drawn]
  told = np.concatenate([labels, episode.query_labels])
  assert len(set(zip(of, told.tolist(), strict=True))) == ways
  assert len({d for d, _ in of}) == 1
  again = cnaps.sample_episode(number, classes, config=CONFIG)
  for a, b in zip(episode, again, strict=True):
    np.testing.assert_array_equal(a, b)
  other = cnaps.sample_episode(number + 20, classes, config=CONFIG)
  assert not np.array_equal(other.query_indices, episode.query_indices)


def test_training_changes_the_adaptation_networks_alone(pool):
  model = make()
  before = nnx.to_flat_state(nnx.state(model))
  before = {path: np.array(v.get_value()) for path, v in before}
  cnaps.meta_train(model, *pool, config=CONFIG)
  for path, variable in nnx.to_flat_state(nnx.state(model)):
    same = np.array_equal(variable.get_value(), before[path])
    assert same == (path[0] == "backbone"), path
  _, trained, _ = cnaps.split(model)
  assert {path[0] for path, _ in nnx.to_flat_state(trained)} == {
    "encoder", "adapters", "head",
  }  # fmt: skip


def one_task(images, steps, film, head):
  """Trains on one task again and again.

  Returns:
    The losses, how far FiLM moved, and the norm of the head's last layer.
  """
  model = make()
  # Classes without a pattern: queries can only be learned by heart.
  places = np.split(np.random.default_rng(5).permutation(len(images)), 3)
  config = dataclasses.replace(
    CONFIG, epochs=1, episodes=steps, ways=(3, 3), shots=(8, 8),
    learning_rate=1e-2, film_penalty=film, head_penalty=head,
  )  # fmt: skip
  episode = cnaps.sample_episode(0, [places], config=config)
  step = cnaps.make_step(model, config=config)
  _, trained, frozen = cnaps.split(model)
  training = trained, config.optimizer().init(trained)
  losses = []
  for _ in range(steps):
    training, loss = step(training, frozen, jnp.asarray(images), episode)
    losses.append(float(loss))
  nnx.update(model, training[0])
  _, adapted = cnaps.log_probs(
    model,
    images[episode.indices[:24]],
    episode.labels[:24],
    images[episode.query_indices],
  )
  moved = sum(
    np.sum((f - np.array([1, 0])[None, :, None]) ** 2) for f in adapted.films
  )
  return losses, moved, np.linalg.norm(model.head.last.kernel[...])


@pytest.mark.exhaustive
def test_overfits_one_task_and_penalties_hold_it_back(pool):
  losses, moved, head = one_task(pool[0], 60, 0.0, 0.0)
  assert losses[0] > 1
  assert losses[-1] < 0.1
  _, held, _ = one_task(pool[0], 60, 10.0, 0.0)
  assert held < 0.1 * moved
  _, moved, held = one_task(pool[0], 60, 0.0, 10.0)
  assert held < 0.2 * head
  assert moved > 0.1


class Interrupted(Exception):
  """Stands for a machine that goes away."""


@pytest.mark.exhaustive
def test_interrupted_training_goes_on_to_the_same_result(pool, tmp_path):
  whole = cnaps.meta_train(make(), *pool, config=CONFIG)

  def stop(epoch, loss, model):
    if epoch == 2:  # reported, but without a checkpoint
      raise Interrupted

  def start(report=None):
    kept = checkpoints.Checkpoints(tmp_path / "kept", {"seed": 0})
    with contextlib.closing(kept):
      return kept.epochs, cnaps.meta_train(
        make(), *pool, config=CONFIG, checkpoints=kept, report=report
      )

  with pytest.raises(Interrupted):
    start(stop)
  done, parts = start()
  assert done == 1
  for a, b in zip(
    arrays(nnx.state(whole)), arrays(nnx.state(parts)), strict=True
  ):
    np.testing.assert_array_equal(a, b)
  reports = []
  done, again = start(lambda *args: reports.append(args))
  assert (done, reports) == (2, [])
  for a, b in zip(
    arrays(nnx.state(whole)), arrays(nnx.state(again)), strict=True
  ):
    np.testing.assert_array_equal(a, b)


def test_a_loss_that_is_not_finite_is_a_mistake(pool, tmp_path, monkeypatch):
  def poisoned(model, *, config):
    return lambda training, *_: (training, math.nan)

  monkeypatch.setattr(training, "make_step", poisoned)
  kept = checkpoints.Checkpoints(tmp_path / "kept", {})
  with pytest.raises(
    validation.InputError, match="the loss of epoch 1 is nan, not finite"
  ):
    cnaps.meta_train(make(), *pool, config=CONFIG, checkpoints=kept)
  assert not (tmp_path / "kept").exists()


def test_saved_models_are_read_again(model, tmp_path):
  path = tmp_path / "model.safetensors"
  cnaps.save(model, path, card={"recipe": "none"})
  assert cnaps.card(path)["recipe"] == "none"
  again = cnaps.load(path)
  assert again.preprocessing == model.preprocessing
  support, labels = examples(0, (5, 3, 4))
  a, b = (cnaps.log_probs(m, support, labels, support)[0]
          for m in (model, again))  # fmt: skip
  np.testing.assert_allclose(a, b, atol=0.1)  # of float16
  cnaps.save(again, path, card={})
  np.testing.assert_array_equal(
    cnaps.log_probs(cnaps.load(path), support, labels, support)[0], b
  )


def test_files_of_another_kind(tmp_path):
  with pytest.raises(validation.InputError, match="no checkpoint file at"):
    cnaps.load(tmp_path / "none.safetensors")
  source = catalog.bundled()["fashion_mnist_resnet8"]
  with pytest.raises(validation.InputError, match="is no CNAPs model"):
    cnaps.load(source)


def test_bundled_sources_are_backbones():
  model = cnaps.create("fashion_mnist_resnet8", seed=1)
  source = leep_jax.load_source("fashion_mnist_resnet8")
  x = np.random.default_rng(0).normal(size=(2, 28, 28, 3)).astype(np.float32)
  for a, b in zip(
    model.backbone(x), source.apply(source.state, x), strict=True
  ):
    np.testing.assert_array_equal(a, b)
  assert model.preprocessing == source.preprocessing


@pytest.mark.parametrize(
  ("name", "message"),
  [
    ("cifar10_resnet1", "unknown model 'cifar10_resnet1'; did you mean"),
    ("resnet50@x.safetensors", "no checkpoint at x.safetensors"),
    ("resnet8", "resnet8 is an architecture, not trained weights"),
  ],
)
def test_backbones_that_are_not(name, message):
  with pytest.raises(validation.InputError, match=message):
    cnaps.create(name)


def test_other_networks_are_refused(tmp_path):
  path = tmp_path / "x.safetensors"
  path.write_bytes(b"")
  with pytest.raises(validation.InputError, match="is no CIFAR ResNet, whose"):
    cnaps.create(f"resnet50@{path}")


@pytest.mark.parametrize(
  ("change", "message"),
  [
    ({"support_labels": [0, 1]}, "there are 4 support images and 2 labels"),
    (
      {"support_labels": [0] * 4, "query_labels": [0, 0]},
      "the support set has one class",
    ),
    ({"support_labels": [0, 1, 2, -1]}, "labels contain -1"),
    ({"query_labels": [0, 2]}, "queries are of class 2, of which there is no"),
    ({"query_labels": [0]}, "there are 2 query images and 1 labels"),
    (
      {"support_images": np.zeros((4, 8, 8), np.uint8)},
      r"support_images have shape \(4, 8, 8\)",
    ),
    ({"query_images": np.full((2, *SHAPE), 7.0)}, "query_images are floats"),
  ],
)
def test_what_cannot_be_evaluated(model, change, message):
  good = {
    "support_images": np.zeros((4, *SHAPE), np.uint8),
    "support_labels": [0, 1, 0, 1],
    "query_images": np.zeros((2, *SHAPE), np.uint8),
    "query_labels": [0, 1],
  }
  with pytest.raises(validation.InputError, match=message):
    cnaps.evaluate(model, *(good | change).values())


@pytest.mark.parametrize(
  ("options", "message"),
  [
    ({"epochs": 0}, "epochs is 0"),
    ({"ways": (1, 5)}, "ways are 1 to 5, but must be from 2, the fewest first"),
    ({"ways": (5, 3)}, "ways are 5 to 3"),
    ({"shots": (0, 3)}, "shots are 0 to 3, but must be from 1"),
    ({"support": 59}, "support is 59, but the largest task needs 60"),
    ({"queries": 4}, "queries is 4, but the largest task needs 5"),
    ({"learning_rate": math.nan}, "learning_rate is nan"),
    ({"film_penalty": -1.0}, "film_penalty is -1.0"),
    ({"head_penalty": math.inf}, "head_penalty is inf"),
    ({"seed": -1}, "seed is -1"),
  ],
)
def test_configurations_that_cannot_be(options, message):
  with pytest.raises(validation.InputError, match=message):
    cnaps.Config(**options)


@pytest.mark.parametrize(
  ("options", "message"),
  [
    ({"ways": (7, 8)}, "a data set has [46] classes, but tasks have 7"),
    ({"queries": 48}, "a class has 12 images, but a task of"),
  ],
)
def test_data_too_small_for_a_task(pool, options, message):
  config = dataclasses.replace(CONFIG, **options)
  with pytest.raises(validation.InputError, match=message):
    cnaps.sample_episode(0, pool[1], config=config)


class Classes(tfds_sets.Tiny):
  """50 classes, each of one shade."""

  SHAPE = (16, 16, 1)
  NAMES = tuple(f"class {i}" for i in range(50))

  def _split_generators(self, dl_manager):
    return {
      "train": self._generate_examples(200),
      "test": self._generate_examples(150),
    }

  def _generate_examples(self, count):
    for i in range(count):
      image = np.full(self.SHAPE, i % 50 * 5, np.uint8)
      _, png = cv2.imencode(".png", image)
      yield i, {"image": io.BytesIO(png.tobytes()), "label": i % 50}


@pytest.fixture(scope="module")
def command(tmp_path_factory):
  """Runs the command on small data: `run(output, *flags) -> status`."""
  folder = tmp_path_factory.mktemp("tfds")
  tfds_sets.prepare(Classes, folder)

  def run(output, *flags):
    return train_cnaps.main(
      [
        "train_cnaps",
        f"--data_dir={folder}",
        "--datasets=classes:0..39",
        "--validation=classes:40..44",
        "--backbone=fashion_mnist_resnet8",
        f"--output={output}",
        "--epochs=1",
        "--episodes=2",
        "--ways=2,3",
        "--shots=1,2",
        "--queries=3",
        "--validation_tasks=2",
        "--validation_shots=2",
        *flags,
      ]
    )

  return run


@pytest.mark.exhaustive
def test_command_writes_a_model_its_card_and_its_curve(
  command, tmp_path, capsys
):
  path = tmp_path / "tiny.safetensors"
  assert command(path) == 0
  printed = capsys.readouterr().out
  assert {p.name for p in tmp_path.iterdir()} == {
    "tiny.safetensors", "tiny.json", "tiny.jsonl",
  }  # fmt: skip
  card = json.loads(path.with_suffix(".json").read_text())
  assert card == cnaps.card(path)
  assert card["backbone"] == "fashion_mnist_resnet8"
  assert card["data"] == "classes:0..39; 160 training images"
  assert card["validation"].startswith("classes:40..44, 2 tasks of 5 classes")
  assert card["recipe"]["ways"] == [2, 3]
  assert card["kept_epoch"] == 1
  first, last = curve = read_curve(tmp_path)
  assert [(row["epoch"], row["tasks"]) for row in curve] == [(0, 0), (1, 2)]
  assert (first["loss"], last["loss"] > 0) == (None, True)
  reached = first["validation_accuracy"]
  assert card["untrained_validation_accuracy"] == reached
  assert f"validation accuracy {card['validation_accuracy']:.4f}" in printed
  assert cnaps.load(path).preprocessing.image_size == 28
  assert command(path) == 2
  assert "exists already: remove it" in capsys.readouterr().err


def read_curve(folder):
  path = folder / "tiny.jsonl"
  rows, _ = results.parse_rows(path.read_bytes(), name=path.name)
  return rows


@pytest.mark.exhaustive
def test_command_keeps_the_best_epoch_and_goes_on(
  command, tmp_path, monkeypatch
):
  """Of three epochs the second is best, and the third is interrupted."""
  path = tmp_path / "tiny.safetensors"
  reached = {0: 0.9, 1: 0.2, 2: 0.6, 3: 0.4}
  heads = {}

  def measure(model, examples, tasks):
    epoch = len(read_curve(tmp_path)) if heads else 0
    heads[epoch] = np.float16(model.head.last.bias[...])
    if epoch == 3 and not interrupted:
      interrupted.append(epoch)
      raise KeyboardInterrupt
    return reached.get(epoch, 0.0), 1.0

  interrupted = []
  monkeypatch.setattr(train_cnaps, "measure", measure)
  assert command(path, "--epochs=3") == 130
  assert [row["epoch"] for row in read_curve(tmp_path)] == [0, 1, 2]
  assert command(path, "--epochs=3") == 0
  curve = read_curve(tmp_path)
  assert [row["validation_accuracy"] for row in curve] == [0.9, 0.2, 0.6, 0.4]
  assert cnaps.card(path)["kept_epoch"] == 2
  kept = np.float16(cnaps.load(path).head.last.bias[...])
  np.testing.assert_array_equal(kept, heads[2])
  assert not np.array_equal(kept, heads[1])


@pytest.mark.parametrize(
  ("flag", "message"),
  [
    ("--ways=3", "ways is '3', but must be two integers, as in 3,10"),
    ("--validation_tasks=0", "count is 0"),
    ("--validation_shots=3", "examples"),
    ("--validation=classes:39..44", "classes of classes that are named before"),
    ("--validation=classes", "classes of classes that are named before"),
    (
      "--datasets=classes:0..many",
      "classes are '0..many', but must be a range",
    ),
    ("--datasets=classes:60..70", "classes:60..70 has no examples"),
    ("--output=x.npz", "output x.npz must end in .safetensors"),
    ("--backbone=resnet", "unknown model 'resnet'"),
  ],
)
def test_mistakes_are_one_line(command, tmp_path, capsys, flag, message):
  assert command(tmp_path / "tiny.safetensors", flag) == 2
  errors = capsys.readouterr().err
  assert errors.startswith("error: ")
  assert errors.count("\n") == 1
  assert message in errors
  assert not list(tmp_path.iterdir())


@pytest.mark.parametrize(
  ("text", "found"),
  [
    ("cifar10", ("cifar10", None)),
    ("cifar10:3.0.2", ("cifar10:3.0.2", None)),
    ("cifar100:3.0.2:60..99", ("cifar100:3.0.2", (60, 99))),
  ],
)
def test_classes_of_a_data_set(text, found):
  assert train_cnaps.classes_of(text) == found


def test_images_are_brought_to_one_size(rng):
  grey = rng.integers(0, 256, (3, 8, 8, 1), dtype=np.uint8)
  same = train_cnaps.resize(grey, size=8)
  np.testing.assert_array_equal(same, np.repeat(grey, 3, axis=3))
  larger = train_cnaps.resize(grey, size=12)
  assert larger.shape == (3, 12, 12, 3)
  assert larger.dtype == np.uint8
