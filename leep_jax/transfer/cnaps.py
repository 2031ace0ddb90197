r"""CNAPs: a classifier for a new task from one look at its examples.

A backbone f stays as it was trained. For a task's support set of N labelled
images, adaptation networks generate all that differs between tasks:

- the FiLM parameters of every block of f, gamma and beta for each of its two
  BatchNorms: `BN(x) gamma + beta`. They come from z_G, an encoding of the
  support images, and z_AR, an encoding of the block's inputs on them under the
  modulations generated so far. Both are means over the support set, so that
  the order of its images does not matter.
- a linear head, weight and bias of class c by one network from the mean of its
  features, so that the order of classes does not matter either.

The networks generate differences: with their last layers at 0, as they begin,
FiLM changes nothing and the head is that of the nearest class mean, logits
`mean_c . x - |mean_c|^2 / 2`. Meta-training samples tasks from labelled images
and minimises the cross entropy of other images of the same classes, their
queries, plus the sum of `(gamma - 1)^2 + beta^2`, times a constant.

Symbols: N support images, M queries, W classes ("ways"), K images a class
("shots"), D features. Sizes are rounded up, so that few are compiled; what is
added has weight 0 or, of classes, a bias of minus infinity.

Reference: Requeima, Gordon, Bronskill, Nowozin, Turner. Fast and flexible
multi-task classification using conditional neural adaptive processes. NeurIPS
2019, arXiv 1906.07697.
"""

from collections.abc import Callable, Mapping, Sequence
import dataclasses
import functools
import itertools
import json
import math
import pathlib
import time
from typing import Any, NamedTuple

from flax import nnx
import jax
import jax.numpy as jnp
import numpy as np
import optax

from leep_jax import (
  checks,
  source as source_lib,
  tasks as tasks_lib,
  weights as weights_lib,
)
from leep_jax.models import cifar_resnet, layers, zoo
from leep_jax.transfer import checkpoints as checkpoints_lib, metrics

_ENCODED = 64  # numbers in z_G, in z_AR and in hidden layers
_CHANNELS = 32  # of the set encoder's convolutions
_SCALE = 0.1  # of what networks generate, so that it begins to differ slowly
# Of the first head: with 1, the bundled ResNets are so sure of the nearest mean
# that training would first spoil their features.
_GAIN = 0.15
_QUERIES = 256  # evaluated at a time
_LEAST_SUPPORT = 32  # what N and W are rounded up to, or a power of two
_LEAST_WAYS = 8

# Images [n, H, W, C], uint8 or floats in [0, 1], and their labels [n].
Examples = tuple[np.ndarray, np.ndarray]


class Adapted(NamedTuple):
  """What is generated for one task.

  Attributes:
    films: for each block `[2, 2, channels]`: BatchNorms, and gamma and beta.
    kernel: of the head, `[D, W]`.
    bias: of the head, `[W]`; minus infinity for a class without examples.
  """

  films: tuple[jax.Array, ...]
  kernel: jax.Array
  bias: jax.Array


def _linear(inputs, outputs, *, rngs, zero=False):
  if not zero:
    return nnx.Linear(inputs, outputs, rngs=rngs)
  init = nnx.initializers.zeros_init()
  return nnx.Linear(inputs, outputs, kernel_init=init, rngs=rngs)


class SetEncoder(nnx.Module):
  """z_G: a small convolutional network, averaged over the support set."""

  def __init__(self, *, rngs: nnx.Rngs):
    widths = (3, *(_CHANNELS,) * 3, _ENCODED)
    self.convs = nnx.List(
      [
        layers.conv(a, b, 3, use_bias=True, rngs=rngs)
        for a, b in itertools.pairwise(widths)
      ]
    )

  def __call__(self, images: jax.Array, weights: jax.Array) -> jax.Array:
    """Returns `[64]` of images `[N, H, W, 3]` whose weights sum to 1."""
    x = images
    for conv in self.convs:
      x = nnx.relu(conv(x))
      if min(x.shape[1:3]) > 1:
        x = nnx.max_pool(x, (2, 2), strides=(2, 2))
    return weights @ layers.global_average(x)


class BlockAdapter(nnx.Module):
  """z_AR of a block, and its FiLM parameters."""

  def __init__(self, inputs: int, outputs: int, *, rngs: nnx.Rngs):
    self.each = _linear(inputs, _ENCODED, rngs=rngs)
    self.together = _linear(_ENCODED, _ENCODED, rngs=rngs)
    self.first = _linear(2 * _ENCODED, _ENCODED, rngs=rngs)
    self.second = _linear(_ENCODED, _ENCODED, rngs=rngs)
    self.last = _linear(_ENCODED, 4 * outputs, rngs=rngs, zero=True)

  def __call__(
    self, z_g: jax.Array, x: jax.Array, weights: jax.Array
  ) -> jax.Array:
    """Returns `[2, 2, outputs]` from the block's input `[N, H, W, inputs]`."""
    each = nnx.relu(self.each(layers.global_average(x)))
    z_ar = self.together(weights @ each)
    h = nnx.elu(self.first(jnp.concatenate([z_g, z_ar])))
    h = h + nnx.elu(self.second(h))
    change = _SCALE * self.last(h).reshape(2, 2, -1)
    return change.at[:, 0].add(1)


class HeadGenerator(nnx.Module):
  """Weight and bias of a class, from the mean of its features."""

  def __init__(self, features: int, *, rngs: nnx.Rngs):
    self.gain = nnx.Param(jnp.full(features, _GAIN))
    self.first = _linear(features, _ENCODED, rngs=rngs)
    self.second = _linear(_ENCODED, _ENCODED, rngs=rngs)
    self.last = _linear(_ENCODED, features + 1, rngs=rngs, zero=True)

  def __call__(self, means: jax.Array) -> tuple[jax.Array, jax.Array]:
    """Returns kernel `[D, W]` and bias `[W]` from means `[W, D]`."""
    h = nnx.elu(self.first(means))
    h = h + nnx.elu(self.second(h))
    change = _SCALE * self.last(h)
    scaled = means * self.gain[...][None]
    bias = change[:, -1] - jnp.sum(means * scaled, axis=1) / 2
    return (scaled + change[:, :-1]).T, bias


class Cnaps(nnx.Module):
  """A frozen CIFAR ResNet and the networks that adapt it; see `create`.

  Attributes:
    backbone: the network that is modulated.
    encoder: of the support set.
    adapters: one for each block of the backbone.
    head: makes the classifier.
    architecture: name of the backbone's.
    preprocessing: what the backbone is fed.
  """

  def __init__(
    self,
    backbone: cifar_resnet.CifarResNet,
    *,
    architecture: str,
    preprocessing: source_lib.Preprocessing,
    rngs: nnx.Rngs,
  ):
    self.backbone = backbone
    self.architecture = architecture
    self.preprocessing = preprocessing
    self.encoder = SetEncoder(rngs=rngs)
    self.adapters = nnx.List(
      [
        BlockAdapter(
          block.conv1.in_features, block.conv2.out_features, rngs=rngs
        )
        for block in backbone.blocks
      ]
    )
    self.head = HeadGenerator(backbone.linear.in_features, rngs=rngs)

  def adapt(
    self,
    images: jax.Array,
    labels: jax.Array,
    weights: jax.Array,
    *,
    ways: int,
  ) -> Adapted:
    """Looks at a support set.

    Args:
      images: `[N, H, W, C]`, as `Preprocessing` takes them.
      labels: `[N]` integers from 0 to `ways` - 1.
      weights: `[N]`, 1 for an example and 0 for padding.
      ways: W.
    """
    x = self.preprocessing(images)
    shares = weights / weights.sum()
    z_g = self.encoder(x, shares)
    films = []
    x = self.backbone.stem(x)
    for block, adapter in zip(self.backbone.blocks, self.adapters, strict=True):
      films.append(adapter(z_g, x, shares))
      x = block(x, films[-1])
    member = jax.nn.one_hot(labels, ways) * weights[:, None]
    count = member.sum(axis=0)
    means = member.T @ layers.global_average(x)
    kernel, bias = self.head(means / jnp.maximum(count, 1)[:, None])
    return Adapted(tuple(films), kernel, jnp.where(count > 0, bias, -jnp.inf))

  def __call__(self, adapted: Adapted, images: jax.Array) -> jax.Array:
    """Returns logits `[M, W]` of queries `[M, H, W, C]`."""
    x = self.backbone.stem(self.preprocessing(images))
    for block, film in zip(self.backbone.blocks, adapted.films, strict=True):
      x = block(x, film)
    logits = layers.global_average(x) @ adapted.kernel
    return logits + adapted.bias[None]


def _assemble(architecture, num_classes, preprocessing, *, seed=0):
  """A Cnaps whose backbone has yet to be filled."""
  backbone = zoo.build(architecture, num_classes)
  assert isinstance(backbone, cifar_resnet.CifarResNet)
  model = Cnaps(
    backbone,
    architecture=architecture,
    preprocessing=preprocessing,
    rngs=nnx.Rngs(seed),
  )
  model.eval()
  return model


def create(backbone: str, *, seed: int = 0) -> Cnaps:
  """Returns a CNAPs that has yet to be meta-trained.

  It predicts as the nearest class mean in the backbone's features.

  Args:
    backbone: name of a source for `zoo.load_source`, of a CIFAR ResNet.
    seed: of the adaptation networks.

  Raises:
    InputError: if there is no such source, or it is another network.
  """
  known = {entry.name: entry.architecture for entry in zoo.entries()}
  architecture = known.get(backbone, backbone.partition("@")[0])
  zoo.check_source(backbone)
  if architecture not in cifar_resnet.ARCHITECTURES:
    raise checks.InputError(
      f"{backbone} is no CIFAR ResNet, whose blocks are what is modulated: "
      f"take one of {', '.join(cifar_resnet.ARCHITECTURES)}"
    )
  source = zoo.load_source(backbone)
  classes = source.state["linear"]["bias"].shape[0]
  model = _assemble(architecture, classes, source.preprocessing, seed=seed)
  nnx.update(model.backbone, source.state)
  return model


def save(
  model: Cnaps, path: str | pathlib.Path, *, card: Mapping[str, Any]
) -> None:
  """Writes a model, its backbone included, as float16 safetensors.

  Args:
    model: to write.
    path: of the file.
    card: what else to keep in the file's header, of JSON's types.
  """
  preprocessing = model.preprocessing
  content = {
    "method": "cnaps",
    "architecture": model.architecture,
    "image_size": preprocessing.image_size,
    "mean": preprocessing.mean,
    "std": preprocessing.std,
    **card,
  }
  with np.errstate(over="ignore"):  # `load` refuses what is not finite
    weights_lib.save(model, path, metadata={"leep_jax": json.dumps(content)})


def load(path: str | pathlib.Path) -> Cnaps:
  """Reads a model that `save` wrote.

  Raises:
    InputError: if there is none, it is damaged, or of another kind.
  """
  tensors, metadata = weights_lib.read_tensors(path)
  try:
    card = json.loads(metadata["leep_jax"])
    if card["method"] != "cnaps":
      raise ValueError(f"its method is {card['method']!r}")
    preprocessing = source_lib.Preprocessing(
      **{key: card[key] for key in ("image_size", "mean", "std")}
    )
    classes = len(tensors["backbone.linear.bias"])
    model = _assemble(card["architecture"], classes, preprocessing)
  except (KeyError, TypeError, ValueError) as e:
    raise checks.InputError(
      f"{path} is no CNAPs model ({checks.reason(e)}): was it written by "
      "transfer.cnaps.save?"
    ) from e
  weights_lib.load_into(model, tensors, origin=str(path))
  return model


def card(path: str | pathlib.Path) -> dict[str, Any]:
  """Returns what `save` kept in a file's header."""
  return json.loads(weights_lib.read_metadata(path)["leep_jax"])


def _rounded(count, least):
  """The next power of two, at least `least`: few sizes are compiled."""
  return max(least, 1 << (count - 1).bit_length())


def _padded(array, count):
  missing = ((0, count - len(array)), *((0, 0),) * (array.ndim - 1))
  return np.pad(array, missing)


@functools.partial(jax.jit, static_argnums=(0, 5))
def _adapt(graph, state, images, labels, weights, ways):
  model = nnx.merge(graph, state)
  return model.adapt(images, labels, weights, ways=ways)


@functools.partial(jax.jit, static_argnums=0)
def _predict(graph, state, adapted, images):
  return jax.nn.log_softmax(nnx.merge(graph, state)(adapted, images))


def log_probs(
  model: Cnaps,
  support_images: np.ndarray,
  support_labels: np.ndarray,
  query_images: np.ndarray,
) -> tuple[np.ndarray, Adapted]:
  """Classifies images of a task after one look at its support set.

  Args:
    model: a CNAPs.
    support_images: `[N, H, W, C]`, uint8 or floats in [0, 1].
    support_labels: `[N]` integers from 0.
    query_images: `[M, H, W, C]`.

  Returns:
    `[M, W]` log probabilities in nats, W being one more than the largest
    label, and what was generated, on the host. A class without support images
    has probability 0.

  Raises:
    InputError: if there are no images, they are of another shape or range, or
      as many as there are labels, or all of one class.
  """
  labels = checks.class_labels(support_labels)
  _check_images("support_images", support_images, model)
  _check_images("query_images", query_images, model)
  if len(support_images) != len(labels):
    raise checks.InputError(
      f"there are {len(support_images)} support images and {len(labels)} labels"
    )
  if len(np.unique(labels)) < 2:
    raise checks.InputError(
      "the support set has one class: a classifier needs two"
    )
  ways = int(labels.max()) + 1
  count = _rounded(len(labels), _LEAST_SUPPORT)
  graph, state = nnx.split(model)
  adapted = _adapt(
    graph,
    state,
    _padded(support_images, count),
    _padded(labels, count),
    _padded(np.ones(len(labels), np.float32), count),
    _rounded(ways, _LEAST_WAYS),
  )
  found = []
  for start in range(0, len(query_images), _QUERIES):
    part = query_images[start : start + _QUERIES]
    logs = _predict(graph, state, adapted, _padded(part, _QUERIES))
    found.append(np.asarray(logs)[: len(part), :ways])
  films, kernel, bias = jax.device_get(adapted)
  return np.concatenate(found), Adapted(films, kernel[:, :ways], bias[:ways])


def _check_images(name, images, model):
  images = checks.as_array(name, images)
  if images.ndim != 4 or images.shape[3] not in (1, 3):
    raise checks.InputError(
      f"{name} have shape {images.shape}, not [n, H, W, 3] or [n, H, W, 1]"
    )
  checks.images(name, images)


def evaluate(
  model: Cnaps,
  support_images: np.ndarray,
  support_labels: np.ndarray,
  query_images: np.ndarray,
  query_labels: np.ndarray,
  *,
  task: str = "task",
) -> metrics.Transferred:
  """Adapts to a support set and tests on queries.

  Args:
    model: a CNAPs.
    support_images: `[N, H, W, C]`, uint8 or floats in [0, 1].
    support_labels: `[N]` integers from 0 to W - 1.
    query_images: `[M, H, W, C]`.
    query_labels: `[M]`, of the same classes.
    task: what the result calls it.

  Returns:
    What was reached; without losses and accuracies by epoch, as there is no
    training. `params` are the generated head's.

  Raises:
    InputError: as `log_probs`, or if a query is of a class that has no support
      images.
  """
  started = time.monotonic()
  labels = checks.class_labels(query_labels)
  if len(query_images) != len(labels):
    raise checks.InputError(
      f"there are {len(query_images)} query images and {len(labels)} labels"
    )
  missing = np.setdiff1d(labels, np.asarray(support_labels))
  if len(missing):
    raise checks.InputError(
      f"queries are of class {int(missing[0])}, of which there is no support "
      "image"
    )
  logs, adapted = log_probs(model, support_images, support_labels, query_images)
  ways = logs.shape[1]
  confusion = np.zeros((ways, ways))
  np.add.at(confusion, (labels, logs.argmax(axis=1)), 1)
  chosen = logs[np.arange(len(labels)), labels]
  return metrics.transferred(
    confusion,
    -float(chosen.astype(np.float64).sum()),
    losses=np.zeros(0),
    accuracies=np.zeros(0),
    seconds=time.monotonic() - started,
    task=task,
    seed=0,
    method="cnaps",
    params=(adapted.kernel, adapted.bias),
  )


def transfer(
  model: Cnaps,
  train: Examples,
  test: Examples,
  *,
  tasks: Sequence[tasks_lib.Task],
  on_result: Callable[[metrics.Transferred], Any] = lambda result: None,
  progress: Callable[[int, int], Any] = lambda done, total: None,
) -> list[metrics.Transferred]:
  """Adapts to each task's training examples and tests on its test examples.

  Args:
    model: a CNAPs.
    train: images and labels of the training set (of the test set for tasks
      within one set, as those of `tasks.FewShot`).
    test: those of the test set.
    tasks: what to adapt to.
    on_result: called with each result as soon as it is there.
    progress: called with how many support and query images are done, and with
      how many there are.

  Returns:
    For each task what was reached, see `evaluate`.

  Raises:
    InputError: if a task cannot be trained or tested on (see `tasks.check`),
      or images are not as in `evaluate`.
  """
  tasks_lib.check(tasks, train[1], test[1])
  found = []
  done, total = 0, sum(len(task.train) + len(task.test) for task in tasks)
  for task in tasks:
    result = evaluate(
      model,
      train[0][task.train],
      task.train_labels(train[1]),
      test[0][task.test],
      task.test_labels(test[1]),
      task=task.name,
    )
    found.append(result)
    on_result(result)
    done += len(task.train) + len(task.test)
    progress(done, total)
  return found


@dataclasses.dataclass(frozen=True)
class Config:
  """How a CNAPs is meta-trained; the same gives the same result.

  Attributes:
    epochs: after each of which training can go on.
    episodes: tasks an epoch.
    tasks_per_step: whose gradients are averaged.
    ways: fewest and most classes of a task, drawn evenly.
    shots: fewest and most support images a class, drawn evenly on a
      logarithmic scale.
    support: most support images of a task.
    queries: query images of a task, spread over its classes.
    learning_rate: of Adam at the start; it falls to 0 as a cosine.
    film_penalty: what the sum of `(gamma - 1)^2 + beta^2` is multiplied by.
    seed: of the tasks; `create` takes that of the weights.

  Raises:
    InputError: if a value is out of bounds.
  """

  epochs: int = 8
  episodes: int = 200
  tasks_per_step: int = 2
  ways: tuple[int, int] = (3, 10)
  shots: tuple[int, int] = (1, 50)
  support: int = 256
  queries: int = 60
  learning_rate: float = 5e-4
  film_penalty: float = 1e-3
  seed: int = 0

  def __post_init__(self):
    for name in ("epochs", "episodes", "tasks_per_step", "support", "queries"):
      checks.at_least_1(name, getattr(self, name))
    for name, least in (("ways", 2), ("shots", 1)):
      low, high = getattr(self, name)
      if not least <= low <= high:
        raise checks.InputError(
          f"{name} are {low} to {high}, but must be from {least}, the fewest "
          "first"
        )
    for name in ("support", "queries"):
      least = self.ways[1] * (self.shots[0] if name == "support" else 1)
      if getattr(self, name) < least:
        raise checks.InputError(
          f"{name} is {getattr(self, name)}, but the largest task needs {least}"
        )
    for name in ("learning_rate", "film_penalty"):
      value = getattr(self, name)
      if not 0 <= value < math.inf:
        raise checks.InputError(
          f"{name} is {value!r}, but must be finite and at least 0"
        )
    if not 0 <= self.seed < 2**32:
      raise checks.InputError(
        f"seed is {self.seed!r}, but must be an integer from 0 to {2**32 - 1}"
      )

  def optimizer(self) -> optax.GradientTransformation:
    """Returns Adam on the mean gradient of some tasks."""
    count = max(1, self.epochs * self.episodes // self.tasks_per_step)
    schedule = optax.cosine_decay_schedule(self.learning_rate, count)
    steps = optax.MultiSteps(optax.adam(schedule), self.tasks_per_step)
    return steps.gradient_transformation()


class Episode(NamedTuple):
  """A task drawn for meta-training.

  Attributes:
    places: `[N]` of support images among all, rounded up in number.
    labels: `[N]`, 0 to W - 1.
    weights: `[N]`, 0 for padding.
    query_places: `[M]`.
    query_labels: `[M]`.
  """

  places: np.ndarray
  labels: np.ndarray
  weights: np.ndarray
  query_places: np.ndarray
  query_labels: np.ndarray


def sample_episode(
  number: int, classes: Sequence[Sequence[np.ndarray]], *, config: Config
) -> Episode:
  """Draws a task: a data set, classes of it, and images of each.

  Data sets are drawn with chances in proportion to the square root of their
  numbers of classes.

  Args:
    number: of the task; the same gives the same task.
    classes: for each data set and class in it, the places of its images.
    config: bounds of what is drawn, and the seed.

  Raises:
    InputError: if a data set has fewer classes, or a class fewer images, than
      the smallest task needs.
  """
  rng = np.random.default_rng((config.seed, number))
  chances = np.sqrt([len(groups) for groups in classes])
  groups = classes[rng.choice(len(classes), p=chances / chances.sum())]
  low, high = config.ways
  if len(groups) < low:
    raise checks.InputError(
      f"a data set has {len(groups)} classes, but tasks have {low} or more"
    )
  ways = int(rng.integers(low, min(high, len(groups)) + 1))
  chosen = [groups[i] for i in rng.permutation(len(groups))[:ways]]
  queries = np.bincount(np.arange(config.queries) % ways)
  smallest = min(map(len, chosen))
  low, high = config.shots
  high = min(high, config.support // ways, smallest - max(queries))
  if high < low:
    raise checks.InputError(
      f"a class has {smallest} images, but a task of {ways} classes takes "
      f"{max(queries) + low} of each"
    )
  # Whole numbers have equal chances on a logarithmic scale, both ends included.
  shots = math.exp(rng.uniform(math.log(low), math.log(high + 1)))
  shots = min(int(shots), high)
  support, query = [], []
  for places, count in zip(chosen, queries, strict=True):
    drawn = rng.choice(places, shots + count, replace=False)
    support.append(drawn[:shots])
    query.append(drawn[shots:])
  size = _rounded(ways * shots, _LEAST_SUPPORT)
  return Episode(
    _padded(np.concatenate(support), size).astype(np.int32),
    _padded(np.repeat(np.arange(ways), shots), size).astype(np.int32),
    _padded(np.ones(ways * shots, np.float32), size),
    np.concatenate(query).astype(np.int32),
    np.repeat(np.arange(ways), queries).astype(np.int32),
  )


def is_trained(path: Sequence[Any], value: Any) -> bool:
  """Whether a part of a model is one that meta-training changes."""
  return isinstance(value, nnx.Param) and path[0] != "backbone"


def split(model: Cnaps) -> tuple[Any, nnx.State, nnx.State]:
  """Returns the definition of a model, what is trained of it, and the rest."""
  graph, trained, *rest = nnx.split(model, is_trained, ...)
  return graph, trained, rest[0]


def make_step(
  model: Cnaps, *, config: Config
) -> Callable[..., tuple[Any, jax.Array]]:
  """Returns the compiled step of one task.

  Args:
    model: whose structure it is for.
    config: the rate, the penalty and the number of classes.

  Returns:
    A function `(training, frozen, images, episode) -> (training, loss)`, where
    `training` is what is trained (see `split`) and the optimiser's state,
    `frozen` the rest, and the loss in nats is that of the queries, without the
    penalty.
  """
  graph, _, _ = split(model)
  gradient_fn = _gradient(graph, _rounded(config.ways[1], _LEAST_WAYS))
  update = _update(config)

  def step(training, frozen, images, episode):
    gradient, loss = gradient_fn(
      training[0], frozen, images, episode, config.film_penalty
    )
    return update(gradient, *training), loss

  return step


@functools.lru_cache(maxsize=64)
def _update(config):
  optimizer = config.optimizer()

  @jax.jit
  def update(gradient, trained, opt):
    updates, opt = optimizer.update(gradient, opt, trained)
    return optax.apply_updates(trained, updates), opt

  return update


@functools.lru_cache(maxsize=64)
def _gradient(graph, ways):
  """Compiled apart from the optimiser, for all recipes alike."""

  def loss_fn(trained, frozen, images, episode, film_penalty):
    model = nnx.merge(graph, trained, frozen)
    adapted = model.adapt(
      images[episode.places], episode.labels, episode.weights, ways=ways
    )
    logits = model(adapted, images[episode.query_places])
    loss = optax.softmax_cross_entropy_with_integer_labels(
      logits, episode.query_labels
    ).mean()
    neutral = jnp.array([1.0, 0.0])[None, :, None]
    penalty = sum(jnp.sum((film - neutral) ** 2) for film in adapted.films)
    return loss + film_penalty * penalty, loss

  return jax.jit(jax.grad(loss_fn, has_aux=True))


def _restore(checkpoints, trained, opt):
  """The latest training, of the structure of this one."""
  leaves, structure = jax.tree.flatten(opt)
  found = checkpoints.restore(model=nnx.to_pure_dict(trained), optimizer=leaves)
  nnx.replace_by_pure_dict(trained, found["model"])
  return trained, jax.tree.unflatten(structure, found["optimizer"])


def meta_train(
  model: Cnaps,
  images: np.ndarray,
  classes: Sequence[Sequence[np.ndarray]],
  *,
  config: Config = Config(),
  checkpoints: checkpoints_lib.Checkpoints | None = None,
  report: Callable[[int, float, Cnaps], None] | None = None,
) -> Cnaps:
  """Trains the adaptation networks on sampled tasks, from a checkpoint on.

  Args:
    model: from `create`; it is changed.
    images: `[n, H, W, C]` uint8 of all data sets, brought to one size.
    classes: for each data set and class in it, the places of its images.
    config: how to train.
    checkpoints: where the state after each epoch is kept.
    report: called after each epoch with its number from 1, its mean loss in
      nats and the model.

  Returns:
    The same model.

  Raises:
    InputError: if there are no images or too few for a task, or the loss of an
      epoch is not finite, which is then not kept.
  """
  _check_images("images", images, model)
  _, trained, frozen = split(model)
  training = trained, config.optimizer().init(trained)
  first = 0
  if checkpoints is not None and checkpoints.epochs:
    first = checkpoints.epochs
    training = _restore(checkpoints, *training)
  step = make_step(model, config=config)
  placed = jnp.asarray(images)
  for epoch in range(first, config.epochs):
    losses = []
    for i in range(config.episodes):
      number = epoch * config.episodes + i
      episode = sample_episode(number, classes, config=config)
      training, loss = step(training, frozen, placed, episode)
      losses.append(loss)
    mean_loss = float(np.mean(jax.device_get(losses)))
    if not math.isfinite(mean_loss):
      raise checks.InputError(
        f"the loss of epoch {epoch + 1} is {mean_loss:g}, not finite: is "
        f"learning_rate {config.learning_rate:g} too high?"
      )
    if checkpoints is not None:
      trained, opt = training
      checkpoints.save(
        epoch + 1,
        model=nnx.to_pure_dict(trained),
        optimizer=jax.tree.leaves(opt),
      )
    nnx.update(model, training[0])
    if report is not None:
      report(epoch + 1, mean_loss, model)
  nnx.update(model, training[0])
  return model
