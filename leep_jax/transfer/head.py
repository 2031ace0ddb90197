r"""Head re-training: softmax regression on frozen features, many at a time.

For weights `W [Y, D]` and `b [Y]`, SGD on the mean cross entropy of batches in
an order drawn anew for each epoch. Tasks train side by side on every device:
one step of all of them is one compiled operation, in a scan over steps and
epochs. The features of the data set are placed once; a step gathers the rows
that it needs. What a task has less of than others (steps, classes, examples) is
masked, and neither its order nor its initial weights know of the others.
"""

from collections.abc import Iterator, Sequence
import dataclasses
import functools
import math
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np
import optax

from leep_jax import checks, devices, tasks as tasks_lib
from leep_jax.outputs import Outputs
from leep_jax.transfer import metrics

# Numbers that the heads of one device may have, and indices sent at a time.
_MOST_WEIGHTS = 1 << 24
_MOST_HEADS = 256
_MOST_INDICES = 1 << 22
_TEST_ROWS = 256  # of each task, evaluated at a time
_UNROLLED = 16  # largest batch whose gradient is added up example by example


@dataclasses.dataclass(frozen=True)
class Config:
  """How a head is trained; the defaults are those of the LEEP paper.

  Attributes:
    epochs: passes over the task's training examples.
    batch_size: examples a step; the last batch of an epoch may be smaller.
    learning_rate: of SGD, at the start.
    schedule: `constant`, or `cosine` down to 0.
    momentum: of SGD, 0 for none.
    weight_decay: added to the gradient, times the weights.
    curve: whether test accuracy is measured after every epoch; it can cost as
      much as training.
  """

  epochs: int = 100
  batch_size: int = 10
  learning_rate: float = 0.01
  schedule: str = "constant"
  momentum: float = 0.0
  weight_decay: float = 0.0
  curve: bool = True

  def __post_init__(self):
    checks.at_least_1("epochs", self.epochs)
    checks.at_least_1("batch_size", self.batch_size)
    if self.schedule not in ("constant", "cosine"):
      raise checks.unknown("schedule", self.schedule, ("constant", "cosine"))
    for name, top in (
      ("learning_rate", math.inf), ("momentum", 1), ("weight_decay", math.inf),
    ):  # fmt: skip
      value = getattr(self, name)
      if not 0 <= value < top:
        raise checks.InputError(
          f"{name} is {value!r}, but must be at least 0 and below {top:g}"
        )

  def optimizer(self) -> optax.GradientTransformation:
    """Returns all of SGD but the learning rate, which differs by task."""
    parts = [optax.scale(-1.0)]
    if self.momentum:
      parts.insert(0, optax.trace(self.momentum))
    if self.weight_decay:
      parts.insert(0, optax.add_decayed_weights(self.weight_decay))
    return optax.chain(*parts)

  def learning_rates(self, steps: int) -> np.ndarray:
    """Returns the learning rate of each step, `[epochs, steps]` float32."""
    count = self.epochs * steps
    schedule = optax.constant_schedule(self.learning_rate)
    if self.schedule == "cosine":
      schedule = optax.cosine_decay_schedule(self.learning_rate, count)
    rates = jax.vmap(schedule)(np.arange(count))
    rates = np.broadcast_to(np.asarray(rates, np.float32), count)
    return rates.reshape(self.epochs, steps)


@dataclasses.dataclass(frozen=True)
class _Head:
  """One task with one seed, on its way to a group."""

  task: tasks_lib.Task
  seed: int
  labels: np.ndarray
  test_labels: np.ndarray
  place: int  # among the results

  @property
  def classes(self) -> int:
    return len(self.task.classes)

  def steps(self, batch_size: int) -> int:
    return -(-len(self.labels) // batch_size)


def retrain_head(
  train: Outputs,
  test: Outputs,
  *,
  tasks: Sequence[tasks_lib.Task] | None = None,
  config: Config = Config(),
  seeds: Sequence[int] = (0,),
) -> list[metrics.Transferred]:
  """Re-trains the head of a source for each task and seed.

  Args:
    train: outputs of the source on the training set, with features.
    test: the same on the test set.
    tasks: what to train for; by default the one task of all examples.
    config: how to train.
    seeds: one head for each.

  Returns:
    For each task, and each seed in it, what was reached.

  Raises:
    InputError: if a source has no features, a task cannot be trained or tested
      on (see `tasks.check`), or has fewer examples than a batch.

  Reference: Nguyen, Hassner, Archambeau, Seeger. LEEP. ICML 2020, section 5.
  """
  for outputs in (train, test):
    if not outputs.has("features") or not outputs.has("labels"):
      raise checks.InputError(
        f"{outputs.name} has no features of labelled examples to train a head "
        "on"
      )
  labels, test_labels = train.labels, test.labels
  if tasks is None:
    tasks = [tasks_lib.whole(labels, test_labels)]
  tasks_lib.check(tasks, labels, test_labels)
  heads: list[_Head] = []
  for task in tasks:
    if len(task.train) < config.batch_size:
      raise checks.InputError(
        f"batch_size is {config.batch_size}, but task {task.name} has "
        f"{len(task.train)} training examples"
      )
    own = task.labels(labels, task.train), task.labels(test_labels, task.test)
    for seed in seeds:
      heads.append(_Head(task, seed, *own, place=len(heads)))
  features = [
    np.asarray(outputs.features, np.float32) for outputs in (train, test)
  ]
  placed = devices.replicate(tuple(features))
  found: list[Any] = [None] * len(heads)
  for group in _groups(heads, config, features[0].shape[1]):
    for head, result in zip(group, _train(group, config, placed), strict=True):
      found[head.place] = result
  return found


def _groups(heads, config, width) -> Iterator[list[_Head]]:
  """Heads that train together: of about as many steps, as many as fit."""
  heads = sorted(heads, key=lambda h: (h.steps(config.batch_size), h.classes))
  count = devices.device_count()
  while heads:
    steps = 2 * heads[0].steps(config.batch_size)
    group: list[_Head] = []
    for head in heads[: _MOST_HEADS * count]:
      classes = max(h.classes for h in (*group, head))
      most = max(1, _MOST_WEIGHTS // (classes * width)) * count
      if head.steps(config.batch_size) > steps or len(group) >= most:
        break
      group.append(head)
    yield group
    heads = heads[len(group) :]


def _train(group, config, placed) -> list[metrics.Transferred]:
  """Trains a group, a number of epochs at a time."""
  width = placed[0].shape[-1]
  steps = max(head.steps(config.batch_size) for head in group)
  classes = max(head.classes for head in group)
  rows = -(-len(group) // devices.device_count())
  spread = functools.partial(_spread, rows=rows)
  run, evaluate = _compiled(config, classes)
  kernels = np.zeros((len(group), classes, width), np.float32)
  for kernel, head in zip(kernels, group, strict=True):
    rng = np.random.default_rng((head.seed, 0))
    shape = (head.classes, width)
    kernel[: head.classes] = rng.normal(size=shape) / math.sqrt(width)
  params = kernels, np.zeros((len(group), classes), np.float32)
  state = spread((params, config.optimizer().init(params)))
  real = np.array([np.arange(classes) < head.classes for head in group])
  rates = np.zeros((len(group), config.epochs, steps), np.float32)
  for rate, head in zip(rates, group, strict=True):
    own = head.steps(config.batch_size)
    rate[:, :own] = config.learning_rates(own)
  test = spread(_test_set(group))
  real = spread(real)
  orders = [np.random.default_rng((head.seed, 1)) for head in group]
  at_once = _MOST_INDICES // (len(group) * steps * config.batch_size)
  at_once = min(max(at_once, 1), config.epochs)
  curves = []
  for start in range(0, config.epochs, at_once):
    part = slice(start, min(start + at_once, config.epochs))
    order = _orders(group, orders, part, steps, config.batch_size)
    batch = (state, real, test, *spread((*order, rates[:, part])))
    state, *curve = run(placed, batch)
    curves.append(curve)
  losses, accuracies = (
    np.concatenate([_gather(curve[i], len(group)) for curve in curves], axis=1)
    for i in range(2)
  )
  confusion, nll = (
    _gather(x, len(group)) for x in evaluate(placed, (state[0], real, test))
  )
  kernels, biases = (_gather(x, len(group)) for x in state[0])
  return [
    _result(head, *numbers)
    for head, *numbers in zip(
      group, losses, accuracies, confusion, nll, kernels, biases, strict=True
    )
  ]


def _spread(tree, *, rows):
  return jax.tree.map(lambda x: devices.split(np.asarray(x), rows), tree)


def _gather(array, count):
  """From `[d, b, ...]` on the devices to `[count, ...]`."""
  array = np.asarray(array)
  return array.reshape(-1, *array.shape[2:])[:count]


def _test_set(group):
  """Places `[T, m]` of test examples, -1 for none, and their labels."""
  most = max(len(head.test_labels) for head in group)
  most = -(-most // _TEST_ROWS) * _TEST_ROWS
  places = np.full((len(group), most), -1, np.int32)
  labels = np.zeros((len(group), most), np.int32)
  for i, head in enumerate(group):
    places[i, : len(head.test_labels)] = head.task.test
    labels[i, : len(head.test_labels)] = head.test_labels
  return places, labels


def _orders(group, rngs, part, steps, batch_size):
  """Places and labels `[T, epochs, steps, B]` in the order of training."""
  epochs = part.stop - part.start
  shape = (len(group), epochs, steps * batch_size)
  places, labels = np.full(shape, -1, np.int32), np.zeros(shape, np.int32)
  for i, (head, rng) in enumerate(zip(group, rngs, strict=True)):
    n = len(head.labels)
    order = rng.permuted(np.tile(np.arange(n), (epochs, 1)), axis=1)
    places[i, :, :n] = head.task.train[order]
    labels[i, :, :n] = head.labels[order]
  full = (len(group), epochs, steps, batch_size)
  return places.reshape(full), labels.reshape(full)


def _logits(params, x, real):
  kernel, bias = params
  z = jnp.einsum("tbd,tyd->tby", x, kernel) + bias[:, None]
  return jnp.where(real[:, None], z, -jnp.inf)


def _loss_and_gradient(params, x, labels, weights, real):
  """Mean cross entropy `[T]` of a batch of each task, and its gradient."""
  log_probs = jax.nn.log_softmax(_logits(params, x, real))
  wanted = jax.nn.one_hot(labels, real.shape[1])
  picked = jnp.sum(jnp.where(wanted > 0, log_probs, 0), axis=2)
  slope = (jnp.exp(log_probs) - wanted) * weights[:, :, None]
  if x.shape[1] <= _UNROLLED:  # one loop instead of T small products
    gradient = sum(
      slope[:, i, :, None] * x[:, i, None] for i in range(x.shape[1])
    )
  else:
    gradient = jnp.einsum("tby,tbd->tyd", slope, x)
  return -jnp.sum(picked * weights, axis=1), (gradient, slope.sum(axis=1))


@functools.lru_cache(maxsize=64)
def _compiled(config, classes):
  """Training for some epochs, and the last evaluation, over devices."""
  optimizer = config.optimizer()

  def step(carry, batch, features, real):
    params, opt, loss = carry
    places, labels, rate = batch
    inside = places >= 0
    count = inside.sum(axis=1, keepdims=True)
    weights = inside / jnp.maximum(count, 1).astype(jnp.float32)
    x = features[jnp.maximum(places, 0)]
    new_loss, gradient = _loss_and_gradient(params, x, labels, weights, real)
    updates, new_opt = optimizer.update(gradient, opt, params)
    active = count[:, 0] > 0

    def choose(new, old):
      return jnp.where(_beside(active, new), new, old)

    params = jax.tree.map(
      lambda p, u: choose(p + _beside(rate, u) * u, p), params, updates
    )
    opt = jax.tree.map(choose, new_opt, opt)
    return (params, opt, loss + new_loss * count[:, 0]), None

  def train(placed, batch):
    features, test_features = placed
    (params, opt), real, test, places, labels, rates = batch
    examples = (places[:, 0] >= 0).sum(axis=(1, 2))

    def epoch(carry, parts):
      params, opt = carry
      zero = jnp.zeros(len(real))
      (params, opt, loss), _ = jax.lax.scan(
        lambda c, b: step(c, b, features, real), (params, opt, zero), parts
      )
      right = jnp.full(len(real), jnp.nan)
      if config.curve:
        confusion, _ = measure(test_features, params, real, test)
        right = jnp.trace(confusion, axis1=1, axis2=2) / confusion.sum((1, 2))
      return (params, opt), (loss / jnp.maximum(examples, 1), right)

    parts = [jnp.moveaxis(x, 0, 2) for x in (places, labels, rates)]
    state, curve = jax.lax.scan(epoch, (params, opt), tuple(parts))
    return state, *(jnp.moveaxis(x, 0, 1) for x in curve)

  def measure(features, params, real, test):
    """Confusion `[T, Y, Y]` and summed negative log-likelihood `[T]`."""
    pieces = [
      jnp.moveaxis(x.reshape(len(x), -1, _TEST_ROWS), 0, 1) for x in test
    ]

    def add(carry, piece):
      confusion, nll = carry
      places, labels = piece
      x = features[jnp.maximum(places, 0)]
      log_probs = jax.nn.log_softmax(_logits(params, x, real))
      true = jax.nn.one_hot(labels, classes) * (places >= 0)[:, :, None]
      said = jax.nn.one_hot(log_probs.argmax(axis=2), classes)
      confusion += jnp.einsum("tmy,tmz->tyz", true, said)
      nll -= jnp.where(true > 0, log_probs, 0).sum(axis=(1, 2))
      return (confusion, nll), None

    zero = jnp.zeros((len(real), classes, classes)), jnp.zeros(len(real))
    return jax.lax.scan(add, zero, tuple(pieces))[0]

  def last(placed, batch):
    params, real, test = batch
    return measure(placed[1], params, real, test)

  return tuple(devices.parallel(f, network=False) for f in (train, last))


def _beside(vector, array):
  """Brings `[T]` to the axes of `[T, ...]`."""
  return vector.reshape(-1, *(1,) * (array.ndim - 1))


def _result(head, losses, accuracies, confusion, nll, kernel, bias):
  classes = head.classes
  confusion = confusion[:classes, :classes]
  odd = ~np.isfinite(losses)
  diverged = int(odd.argmax()) + 1 if odd.any() else None
  accuracy = np.trace(confusion) / confusion.sum()
  scores = metrics.f1(confusion)
  numbers = [accuracy, scores.mean(), nll / confusion.sum()]
  if not np.isfinite(nll):
    diverged = diverged or len(losses)
  if diverged is not None:
    numbers = [math.nan] * 3
  binary = None
  if classes == 2:
    binary = float(scores[1]) if diverged is None else math.nan
  return metrics.Transferred(
    task=head.task.name,
    seed=head.seed,
    method="retrain_head",
    accuracy=float(numbers[0]),
    macro_f1=float(numbers[1]),
    binary_f1=binary,
    nll=float(numbers[2]),
    losses=losses,
    accuracies=accuracies,
    diverged=diverged,
    params=(kernel[:classes].T, bias[:classes]),
  )
