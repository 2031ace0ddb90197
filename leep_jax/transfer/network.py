r"""Training a whole network: fine-tuning, and from scratch.

A run is one task with one seed: the network up to its features, a new head
`W [Y, D]` and `b [Y]`, and SGD on the mean cross entropy of batches in an order
drawn anew for each epoch. BatchNorm is in training mode. Where there are as
many runs as devices, each device trains its own, side by side; where there are
fewer, all devices train one, each on its part of every batch, with BatchNorm
over the whole batch. Both are the same up to rounding.

The last batch of an epoch may be smaller. It is filled up with the examples
that the epoch began with, which have no part in the loss.
"""

from collections.abc import Callable, Iterator, Sequence
import contextlib
import dataclasses
import functools
import hashlib
import os
import pathlib
import time
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np
import optax

from leep_jax import (
  checks,
  data,
  devices,
  source as source_lib,
  tasks as tasks_lib,
)
from leep_jax.transfer import (
  checkpoints as checkpoints_lib,
  config as config_lib,
  metrics,
  runs as runs_lib,
)
from leep_jax.transfer.augment import augment, keys
from leep_jax.transfer.checkpoints import Checkpoints
from leep_jax.transfer.config import NetworkConfig

DEFAULT = NetworkConfig()
# Weights that one device may hold, runs side by side on it, and how many of
# their steps are one call. A CPU has no use for the latter two.
_MOST_WEIGHTS = 1 << 26
_SIDE_BY_SIDE = 8
_STEPS_AT_ONCE = 8
_TEST_ROWS = 250  # examples of a run that are evaluated at a time
_SAVE_SECONDS = 60.0
_RUN_AHEAD = 2  # calls

Images = tuple[np.ndarray, np.ndarray]


def fine_tune(
  source: source_lib.Source,
  train: data.Dataset | Images,
  test: data.Dataset | Images,
  *,
  tasks: Sequence[tasks_lib.Task] | None = None,
  config: NetworkConfig = DEFAULT,
  seeds: Sequence[int] = (0,),
  keep_params: bool = False,
  directory: str | os.PathLike[str] | None = None,
  save_seconds: float = _SAVE_SECONDS,
  on_result: Callable[[metrics.Transferred], Any] = lambda result: None,
  progress: Callable[[int, int], Any] = lambda done, total: None,
) -> list[metrics.Transferred]:
  """Trains all of a source, with a new head, for each task and seed.

  Args:
    source: where the weights start; one with a `network`.
    train: the training set, or its `(images [N, H, W, C], labels [N])`, uint8
      or floats in [0, 1].
    test: the same of the test set.
    tasks: what to train for; by default the one task of all examples.
    config: how to train.
    seeds: one run for each.
    keep_params: whether results hold the trained weights.
    directory: folder for checkpoints, so that the same call goes on after an
      interruption; each is removed when its run is done. Default: none.
    save_seconds: least time between two checkpoints.
    on_result: called with each result of a group as soon as it is there.
    progress: called with the training images done, and to do in all.

  Where there are fewer runs than devices, as many devices as divide the batch
  train one run together.

  Returns:
    For each task, and each seed in it, what was reached. A run whose loss is
    not finite stops and says so; the others finish.

  Raises:
    InputError: if the source has no network to train, images do not fit it, a
      task cannot be trained or tested on (see `tasks.check`) or has fewer
      examples than a batch, or checkpoints are of something else.

  Reference: Nguyen, Hassner, Archambeau, Seeger. LEEP. ICML 2020, section 5.
  """
  network = _network(source)
  job = _Job(
    source, lambda seed: network.weights, "fine_tune", config, train, test,
    keep_params, directory, save_seconds,
  )  # fmt: skip
  return _train_all(job, tasks, seeds, on_result, progress)


def train_from_scratch(
  source: source_lib.Source,
  train: data.Dataset | Images,
  test: data.Dataset | Images,
  *,
  tasks: Sequence[tasks_lib.Task] | None = None,
  config: NetworkConfig = DEFAULT,
  seeds: Sequence[int] = (0,),
  keep_params: bool = False,
  directory: str | os.PathLike[str] | None = None,
  save_seconds: float = _SAVE_SECONDS,
  on_result: Callable[[metrics.Transferred], Any] = lambda result: None,
  progress: Callable[[int, int], Any] = lambda done, total: None,
) -> list[metrics.Transferred]:
  """Trains the source's architecture with fresh weights, drawn by the seed.

  Arguments, results and errors are those of `fine_tune`.

  Raises:
    InputError: also if fresh weights cannot be drawn, or the body is frozen.

  Reference: Nguyen, Hassner, Archambeau, Seeger. LEEP. ICML 2020, section 5.5.
  """
  init = _network(source).init
  if init is None:
    raise checks.InputError(
      f"{source.name} cannot be trained from scratch: it does not say how "
      "fresh weights are drawn (init of models.network.from_nnx)"
    )
  config_lib.check_scratch(config)
  init = functools.lru_cache(maxsize=8)(init)
  job = _Job(
    source, init, "scratch", config, train, test, keep_params, directory,
    save_seconds,
  )  # fmt: skip
  return _train_all(job, tasks, seeds, on_result, progress)


def _network(source) -> source_lib.Network:
  if source.network is None:
    raise checks.InputError(
      f"{source.name} can be applied but not trained: make it with "
      "leep_jax.models.network.from_nnx, or give its Source a network"
    )
  return source.network


class _Job:
  """What all runs of a call share."""

  def __init__(
    self, source, init, method, config, train, test, keep_params, directory,
    save_seconds,
  ):  # fmt: skip
    if not isinstance(config, NetworkConfig):
      raise checks.InputError(
        f"config is a {type(config).__name__}, but a network is trained by a "
        "NetworkConfig"
      )
    self.init, self.method, self.config = init, method, config
    self.keep_params = keep_params
    self.source, self.sets = _load(source, (train, test))
    self.save_seconds = save_seconds
    self.directory = None
    if directory is not None:
      self.directory = pathlib.Path(directory).expanduser()
      checkpoints_lib.check_folder(self.directory)

  @functools.cached_property
  def digest(self) -> str:
    """Of what decides all results: images, preprocessing, configuration."""
    found = hashlib.sha256()
    for images, _ in self.sets:
      found.update(repr((images.shape, images.dtype.name)).encode())
      found.update(np.ascontiguousarray(images).data)
    about = (self.source.preprocessing, self.method, self.config)
    found.update(repr((*about, jax.__version__)).encode())
    return found.hexdigest()

  def checkpoints(self, run: runs_lib.Run) -> Checkpoints | None:
    """Those of one run, so that another company can go on with it."""
    if self.directory is None:
      return None
    found = hashlib.sha256(self.digest.encode())
    for leaf in jax.tree.leaves(self.init(run.seed)):
      found.update(np.asarray(leaf).tobytes())
    for array in (run.task.train, run.labels, run.task.test, run.test_labels):
      found.update(array.tobytes())
    what = {
      "source": self.source.name,
      "task": run.task.name,
      "seed": int(run.seed),
      "contents": found.hexdigest(),
    }
    name = hashlib.sha256(repr(what).encode()).hexdigest()[:16]
    return Checkpoints(self.directory / name, what)


def _train_all(
  job, tasks, seeds, on_result, progress
) -> list[metrics.Transferred]:
  config = job.config
  runs = runs_lib.make(
    job.sets[0][1], job.sets[1][1], tasks, seeds, batch_size=config.batch_size
  )
  numbers = sum(x.size for x in jax.tree.leaves(job.source.network.weights))
  on_cpu = jax.default_backend() == "cpu"
  most = 1 if on_cpu else min(_SIDE_BY_SIDE, _MOST_WEIGHTS // numbers)
  total = sum(len(run.labels) for run in runs) * config.epochs
  classes = max(run.classes for run in runs)
  found: list[Any] = [None] * len(runs)
  done = 0
  with contextlib.ExitStack() as stack:
    saved = {}
    for run in runs:
      saved[run.place] = job.checkpoints(run)
      if saved[run.place] is not None:
        stack.callback(saved[run.place].close)
    # Those that have come equally far go on together.
    by_epochs: dict[int, list[runs_lib.Run]] = {}
    for run in runs:
      epochs = saved[run.place].epochs if saved[run.place] else 0
      by_epochs.setdefault(epochs, []).append(run)
    for alike in by_epochs.values():
      for group in _groups(alike, config.batch_size, max(most, 1)):
        before, images = done, sum(len(run.labels) for run in group)

        def report(epochs, before=before, images=images):
          progress(before + epochs * images, total)

        own = [saved[run.place] for run in group]
        results = _Training(job, group, classes).run(own, report)
        done += images * config.epochs
        for run, checkpoints, result in zip(group, own, results, strict=True):
          found[run.place] = result
          on_result(result)
          if checkpoints is not None:
            checkpoints.close()
            checkpoints.remove()
  return found


def _groups(runs, batch_size, most) -> Iterator[list[runs_lib.Run]]:
  """Groups side by side, of as many runs as devices, or else single runs."""
  count = devices.device_count()
  if len(runs) < count:
    yield from ([run] for run in runs)
    return
  for group in runs_lib.groups(runs, batch_size, numbers=1 << 62, most=most):
    if len(group) < count:
      yield from ([run] for run in group)
    else:
      yield group


def _load(source, sets):
  """Images and labels in memory, checked, and a source that takes them."""
  preprocessing = source.preprocessing
  loaded = []
  for dataset in sets:
    if isinstance(dataset, data.Dataset):
      fit = None
      if dataset.image_shape is None and preprocessing.image_size:
        fit = preprocessing.fit
        source = dataclasses.replace(source, preprocessing=preprocessing.fitted)
      dataset = dataset.load(fit=fit)
    images, labels = np.asarray(dataset[0]), checks.class_labels(dataset[1])
    if len(images) != len(labels):
      raise checks.InputError(
        f"there are {len(images)} images but {len(labels)} labels"
      )
    images = checks.images(
      "images", images, normalised=preprocessing.takes_any_range
    )
    source.check_images(images.shape)
    loaded.append((images, labels))
  return source, loaded


class _Training:
  """A group of runs on its way through the epochs."""

  def __init__(self, job, group, classes):
    self.job, self.group = job, group
    self.source, self.config = job.source, job.config
    self.images = [images for images, _ in job.sets]
    self.together = len(group) < devices.device_count()
    # As many classes for all groups, so that they share a compilation.
    self.real = np.array([np.arange(classes) < run.classes for run in group])
    self.steps = max(run.steps(self.config.batch_size) for run in group)
    self.at_once = 1
    if jax.default_backend() != "cpu":
      self.at_once = _largest_divisor(self.steps, _STEPS_AT_ONCE)
    weights = [job.init(run.seed) for run in group]
    width = _width(self.source, weights[0], self.images[0])
    heads = runs_lib.initial_heads(group, width, classes=classes)
    stacked = jax.tree.map(lambda *x: np.stack(x), *weights)
    params = (stacked.params, heads)
    self.initial = {
      "params": params,
      "rest": stacked.rest,
      "optimizer": jax.vmap(self.config.optimizer().init)(
        heads if self.config.frozen else params
      ),
      "alive": np.ones(len(group), bool),
    }

  def run(self, checkpoints, report) -> list[metrics.Transferred]:
    """Trains to the end, from the last checkpoints on, one for each run."""
    started = time.monotonic()
    count, epochs = len(self.group), self.config.epochs
    with devices.limit(self._devices()):
      state, start = self.initial, 0
      curves = {
        "losses": np.full((count, epochs), np.nan, np.float32),
        "accuracies": np.full((count, epochs), np.nan, np.float32),
      }
      if checkpoints[0] is not None and checkpoints[0].epochs:
        start = checkpoints[0].epochs
        state, curves = _restored(checkpoints, state, curves)
      state = self._place(state)
      step, measure = _compiled(
        self.source.network.apply,
        self.source.preprocessing,
        self.config,
        self.together,
      )
      orders = [run.orders() for run in self.group]
      for _ in range(start):
        self._orders(orders)
      rates = self._rates()
      saved = time.monotonic()
      confusion = nll = None
      for epoch in range(start, epochs):
        state, losses = self._epoch(
          step, state, epoch, self._orders(orders), rates[:, epoch]
        )
        curves["losses"][:, epoch] = losses
        if self.config.is_measured(epoch):
          confusion, nll = self._measure(measure, state)
          right = np.trace(confusion, axis1=1, axis2=2)
          curves["accuracies"][:, epoch] = right / confusion.sum((1, 2))
        report(epoch + 1)
        over = not np.isfinite(losses).any() or epoch + 1 == epochs
        due = time.monotonic() - saved >= self.job.save_seconds
        if checkpoints[0] is not None and due and not over:
          kept = jax.tree.leaves(self._fetch(state))
          for i, own in enumerate(checkpoints):
            own.save(
              epoch + 1,
              state=[leaf[i : i + 1] for leaf in kept],
              curves={k: v[i : i + 1] for k, v in curves.items()},
            )
          saved = time.monotonic()
        if over:
          break
      if confusion is None:
        confusion, nll = self._measure(measure, state)
      params = self._fetch(state) if self.job.keep_params else None
    seconds = (time.monotonic() - started) / count
    return [
      self._result(i, run, confusion, nll, curves, params, seconds)
      for i, run in enumerate(self.group)
    ]

  def _result(self, i, run, confusion, nll, curves, state, seconds):
    params = None
    if state is not None:
      own = jax.tree.map(lambda x: x[i], state)
      body, (kernel, bias) = own["params"]
      params = (
        source_lib.Weights(body, own["rest"]),
        (kernel[: run.classes].T, bias[: run.classes]),
      )
    return metrics.transferred(
      confusion[i, : run.classes, : run.classes],
      nll[i],
      losses=curves["losses"][i],
      accuracies=curves["accuracies"][i],
      task=run.task.name,
      seed=run.seed,
      method=self.job.method,
      seconds=seconds,
      params=params,
    )

  def _devices(self):
    """As many devices as a batch can be split over."""
    count = devices.device_count()
    if self.together:
      return _largest_divisor(self.config.batch_size, count)
    return count

  def _place(self, state):
    if self.together:
      return devices.replicate(jax.tree.map(lambda x: np.asarray(x)[0], state))
    return runs_lib.spread(state, len(self.group))

  def _fetch(self, state):
    """The state `[T, ...]` on the host."""
    if self.together:  # the same on every device
      return jax.tree.map(lambda x: np.asarray(x.addressable_data(0)), state)
    return jax.tree.map(lambda x: runs_lib.gather(x, len(self.group)), state)

  def _spread(self, tree, examples=True):
    """Arrays `[T, ...]` to the devices; those of examples are `[T, S, B]`."""
    if not self.together:
      return runs_lib.spread(tree, len(self.group))
    if not examples:
      return devices.replicate(jax.tree.map(lambda x: x[0], tree))
    count = devices.device_count()

    def part(x):
      x = x[0]
      x = x.reshape(x.shape[0], count, -1, *x.shape[2:])
      return np.ascontiguousarray(np.moveaxis(x, 1, 0))

    return jax.tree.map(part, tree)

  def _orders(self, rngs):
    """Places, labels and weights `[T, S, B]` of an epoch's examples."""
    size = self.config.batch_size
    shape = (len(self.group), self.steps * size)
    places, labels = np.zeros(shape, np.int32), np.zeros(shape, np.int32)
    weights = np.zeros(shape, np.float32)
    for i, (run, rng) in enumerate(zip(self.group, rngs, strict=True)):
      n = len(run.labels)
      filled = run.steps(size) * size
      # The same draw as for heads.
      order = rng.permuted(np.arange(n)[None], axis=1)[0]
      order = np.resize(order, filled)
      places[i, :filled] = run.task.train[order]
      labels[i, :filled] = run.labels[order]
      weights[i, :n] = 1
    full = (len(self.group), self.steps, size)
    weights = weights.reshape(full)
    weights /= np.maximum(weights.sum(axis=2, keepdims=True), 1)
    return places.reshape(full), labels.reshape(full), weights

  def _rates(self):
    """Learning rates of head and body, `[T, E, S, 2]`."""
    config = self.config
    body = config.body_learning_rate
    both = [
      config.learning_rate,
      config.learning_rate if body is None else body,
    ]
    rates = np.zeros(
      (len(self.group), config.epochs, self.steps, 2), np.float32
    )
    for rate, run in zip(rates, self.group, strict=True):
      own = run.steps(config.batch_size)
      rate[:, :own] = config.factors(own)[:, :, None] * np.asarray(
        both, np.float32
      )
    return rates

  def _epoch(self, step, state, epoch, order, rates):
    """One pass over the training examples; also mean losses `[T]`."""
    places, labels, weights = order
    counts = (weights > 0).sum(axis=2)
    real = self._spread(self.real, examples=False)
    ahead: list[Any] = []
    losses = []
    for first in range(0, self.steps, self.at_once):
      part = slice(first, first + self.at_once)
      roots = np.array(
        [
          [
            (run.seed & 0xFFFFFFFF, epoch, first + k)
            for k in range(self.at_once)
          ]
          for run in self.group
        ],
        np.uint32,
      )
      examples = (
        self.images[0][places[:, part]], labels[:, part], weights[:, part],
      )  # fmt: skip
      active = counts[:, part] > 0
      batch = (
        self._spread(examples),
        self._spread((roots, rates[:, part], active), examples=False),
        self._first_places(),
        real,
      )
      state, loss = step(state, batch)
      losses.append(loss)
      ahead.append(loss)
      if len(ahead) > _RUN_AHEAD:
        ahead.pop(0).block_until_ready()
    each = np.concatenate([self._per_run(loss) for loss in losses], axis=1)
    return state, (each * counts).sum(axis=1) / counts.sum(axis=1)

  def _per_run(self, array):
    """`[T, ...]` of an output."""
    if self.together:
      return np.asarray(array.addressable_data(0))
    return runs_lib.gather(array, len(self.group))

  def _first_places(self):
    """Where in the batch a device's examples begin."""
    count = devices.device_count()
    if not self.together:
      return np.zeros(count, np.int32)
    return np.arange(count, dtype=np.int32) * (self.config.batch_size // count)

  def _measure(self, measure, state):
    """Confusion `[T, Y, Y]` and summed negative log-likelihood `[T]`."""
    most = max(len(run.test_labels) for run in self.group)
    rows = min(_TEST_ROWS, most)
    if self.together:
      rows = -(-rows // devices.device_count()) * devices.device_count()
    shape = (len(self.group), -(-most // rows) * rows)
    places, labels = np.zeros(shape, np.int32), np.zeros(shape, np.int32)
    weights = np.zeros(shape, np.float32)
    for i, run in enumerate(self.group):
      n = len(run.test_labels)
      places[i, :n], labels[i, :n] = run.task.test, run.test_labels
      weights[i, :n] = 1
    real = self._spread(self.real, examples=False)
    classes = self.real.shape[1]
    totals = self._spread(
      (
        np.zeros((len(self.group), classes, classes), np.float32),
        np.zeros(len(self.group), np.float32),
      ),
      examples=False,
    )
    state = (state["params"], state["rest"])
    for first in range(0, shape[1], rows):
      part = slice(first, first + rows)
      examples = (
        self.images[1][places[:, None, part]],
        labels[:, None, part],
        weights[:, None, part],
      )
      totals = measure(state, (self._spread(examples), real, totals))
    confusion, nll = totals
    return self._per_run(confusion), self._per_run(nll)


def _restored(checkpoints, state, curves):
  """State and curves `[T, ...]` of the runs' checkpoints."""
  leaves, structure = jax.tree.flatten(state)
  parts = [
    own.restore(
      state=[np.asarray(leaf)[i : i + 1] for leaf in leaves],
      curves={key: values[i : i + 1] for key, values in curves.items()},
    )
    for i, own in enumerate(checkpoints)
  ]
  stacked = jax.tree.map(lambda *x: np.concatenate(x), *parts)
  return jax.tree.unflatten(structure, stacked["state"]), stacked["curves"]


def _largest_divisor(number, most):
  return next(k for k in range(most, 0, -1) if number % k == 0)


def _width(source, weights, images):
  """D, the width of the features."""
  network = source.network

  def features(weights, images):
    images = source.preprocessing(images)
    return network.apply(*weights, images, train=False, together=False)[0]

  shape = jax.eval_shape(features, weights, images[:1]).shape
  return shape[1]


@functools.lru_cache(maxsize=16)
def _compiled(apply, preprocessing, config, together):
  """Some steps of training, and a part of an evaluation, over devices."""
  optimizer = config.optimizer()
  fused = config.dtype == "float32"

  def log_probs(params, rest, images, real, *, train):
    body, (kernel, bias) = params
    images = preprocessing(images).astype(config.dtype)
    with jax.default_matmul_precision(devices.precision(config.dtype)):
      features, rest = apply(
        body, rest, images, train=train, together=together and train
      )
    with jax.default_matmul_precision(devices.precision("float32")):
      logits = features.astype(jnp.float32) @ kernel.T + bias[None]
    logits = runs_lib.mask_logits(logits, real[None])
    return jax.nn.log_softmax(logits), rest

  def one_step(state, batch, first, real, add):
    (images, labels, weights), (root, rates, active) = batch
    if config.shift or config.flip:
      seed, epoch, step = root
      key = jax.random.key(seed)
      key = jax.random.fold_in(jax.random.fold_in(key, epoch), step)
      images = augment(
        keys(key, first, len(images)),
        images,
        crop=config.shift,
        flip=config.flip,
      )

    def loss_of(trained):
      params = (state["params"][0], trained) if config.frozen else trained
      logs, rest = log_probs(
        params, state["rest"], images, real, train=not config.frozen
      )
      wanted = jax.nn.one_hot(labels, len(real))
      return -jnp.sum(runs_lib.picked(logs, wanted) * weights), rest

    params = state["params"]
    trained = params[1] if config.frozen else params
    (loss, rest), gradient = jax.value_and_grad(loss_of, has_aux=True)(trained)
    loss, gradient = add((loss, gradient))
    updates, opt = optimizer.update(gradient, state["optimizer"], trained)
    if config.frozen:
      updates = jax.tree.map(lambda u: rates[0] * u, updates)
    else:
      updates = tuple(
        jax.tree.map(lambda u, rate=rate: rate * u, part)
        for part, rate in zip(updates, rates[::-1], strict=True)
      )
    trained = optax.apply_updates(trained, updates)
    alive = state["alive"] & (jnp.isfinite(loss) | ~active)
    new = {
      "params": (params[0], trained) if config.frozen else trained,
      "rest": rest,
      "optimizer": opt,
    }
    chosen = jax.tree.map(
      lambda a, b: jnp.where(alive & active, a, b),
      new,
      {key: state[key] for key in new},
    )
    loss = jnp.where(active, jnp.where(alive, loss, jnp.nan), 0)
    return {**chosen, "alive": alive}, loss

  def run_steps(state, batch, add):
    """Steps of one run: arrays `[K, ...]`."""
    examples, scalars, first, real = batch

    def step(state, part):
      return one_step(state, part, first, real, add)

    if examples[1].shape[0] > 1:
      return jax.lax.scan(step, state, (examples, scalars))
    # A CPU's convolutions take ten times as long inside a loop.
    state, loss = step(state, jax.tree.map(lambda x: x[0], (examples, scalars)))
    return state, loss[None]

  def evaluate(state, batch, add):
    examples, real, totals = batch
    images, labels, weights = jax.tree.map(lambda x: x[0], examples)
    params, rest = state
    logs, _ = log_probs(params, rest, images, real, train=False)
    true = jax.nn.one_hot(labels, len(real)) * weights[:, None]
    said = jax.nn.one_hot(logs.argmax(axis=1), len(real))
    sums = add((true.T @ said, -jnp.sum(runs_lib.picked(logs, true))))
    return jax.tree.map(jnp.add, totals, sums)

  if together:
    return (
      devices.together(run_steps, fused=fused, donate=True),
      devices.together(evaluate, fused=fused),
    )

  def alone(tree):
    return tree

  def steps_of_all(state, batch):
    examples, scalars, first, real = batch
    return jax.vmap(
      lambda state, e, s, r: run_steps(state, (e, s, first, r), alone)
    )(state, examples, scalars, real)

  def measure_all(state, batch):
    return jax.vmap(lambda state, *batch: evaluate(state, batch, alone))(
      state, *batch
    )

  return (
    devices.parallel(steps_of_all, fused=fused, donate=True),
    devices.parallel(measure_all, fused=fused),
  )
