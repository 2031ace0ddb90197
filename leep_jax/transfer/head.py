r"""Head re-training: softmax regression on frozen features, many heads at once.

SGD minimises the mean cross entropy over the weights `W [Y, D]` and `b [Y]`, in
an order of examples that is drawn anew for each epoch. All heads of a device
take a step in one compiled operation, in a scan over steps and epochs. The
features of the data set stay on the device; a step gathers the rows it needs.
Where a head has fewer steps, classes or examples than another, the rest is
masked. Its initial weights and its order depend on no other head.

Symbols: T heads, S steps of an epoch, B examples of a batch, D features, Y
classes.
"""

from collections.abc import Callable, Sequence
from concurrent import futures
import dataclasses
import functools
import threading
import time
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np

from leep_jax import tasks as tasks_lib, validation
from leep_jax.engine import host_sums, programs
from leep_jax.engine.outputs import Outputs
from leep_jax.transfer import metrics, runs as runs_lib
from leep_jax.transfer.config import Config, NetworkConfig

DEFAULT = Config()
# Bounds of what trains at once on a device; 64 MiB of float32 weights.
_MOST_WEIGHTS = 1 << 24
_MOST_HEADS = 256
_MOST_INDICES = 1 << 22  # of examples, sent in one call: 16 MiB
_TEST_ROWS = 256  # test examples of each head that are evaluated at a time
_HEADS_OF_THREAD = 16  # fewer are not worth a thread of their own
_UNROLLED = 16  # largest batch whose gradient is summed example by example


def retrain_head(
  train: Outputs,
  test: Outputs,
  *,
  tasks: Sequence[tasks_lib.Task] | None = None,
  config: Config = DEFAULT,
  seeds: Sequence[int] = (0,),
  on_result: Callable[[metrics.Transferred], Any] = lambda result: None,
  progress: Callable[[int, int], Any] = lambda done, total: None,
) -> list[metrics.Transferred]:
  """Re-trains the head of a source for each task and seed.

  Args:
    train: outputs of the source on the training set, with features.
    test: the same on the test set.
    tasks: to train for; by default one task of all examples.
    config: how to train.
    seeds: a head of each task is trained with each seed.
    on_result: called with each result as soon as its group of heads is trained.
    progress: called with the number of examples trained on so far, and with
      their number in all epochs.

  Returns:
    A result for each task and seed, all seeds of a task in turn.

  Raises:
    InputError: if a source has no features, a task cannot be trained or tested
      on (see `tasks.check`), or has fewer examples than a batch.

  Example:
    >>> import numpy as np
    >>> import leep_jax
    >>> from leep_jax import transfer
    >>> labels = np.arange(40) % 2
    >>> features = np.random.default_rng(0).normal(size=(40, 3))
    >>> features[:, 0] += 4 * labels
    >>> outputs = leep_jax.Outputs.from_arrays(features=features, labels=labels)
    >>> config = transfer.Config(epochs=20, learning_rate=0.1)
    >>> found = transfer.retrain_head(
    ...   outputs, outputs, config=config, seeds=[0, 1]
    ... )
    >>> [result.seed for result in found], found[0].accuracy > 0.9
    ([0, 1], True)

  Reference: Nguyen, Hassner, Archambeau, Seeger. LEEP. ICML 2020, section 5.
  """
  check_outputs(train, test)
  if isinstance(config, NetworkConfig):
    raise validation.InputError(
      "config is a NetworkConfig, but a head is trained by a Config"
    )
  runs = runs_lib.make(
    train.labels, test.labels, tasks, seeds, batch_size=config.batch_size
  )
  width = train.num_features or 0
  features, indices = zip(
    *(
      _used_features(outputs, [getattr(run.task, part) for run in runs])
      for outputs, part in ((train, "train"), (test, "test"))
    ),
    strict=True,
  )
  if features[1].shape[1] != width:
    raise validation.InputError(
      f"{train.name} has {width} features, but {test.name} "
      f"{features[1].shape[1]}: are they of one source?"
    )
  runs = [
    dataclasses.replace(
      run, task=dataclasses.replace(run.task, train=own, test=test_own)
    )
    for run, own, test_own in zip(runs, *indices, strict=True)
  ]
  placed = programs.replicate(features)
  found: list[Any] = [None] * len(runs)
  total = sum(len(run.labels) for run in runs) * config.epochs
  done = 0
  for group in runs_lib.groups(
    runs,
    config.batch_size,
    numbers=_MOST_WEIGHTS // width,
    most=min(_MOST_HEADS, max(1, _MOST_WEIGHTS // (config.batch_size * width))),
  ):
    before = done

    def report(epochs, before=before, group=group):
      examples = sum(len(run.labels) for run in group)
      progress(before + epochs * examples, total)

    done += sum(len(run.labels) for run in group) * config.epochs
    results = _train(group, config, placed, report)
    for run, result in zip(group, results, strict=True):
      found[run.index] = result
      on_result(result)
  return found


def _used_features(outputs, indices):
  """Features of the examples that occur in runs, and the runs' rows in them.

  The last row is all zeros: the index -1 stands for no example.
  """
  used = np.unique(np.concatenate(indices))
  features = np.asarray(outputs.features[used], np.float32)
  features = np.concatenate([features, np.zeros_like(features[:1])])
  return features, [
    np.searchsorted(used, own).astype(np.int32) for own in indices
  ]


def check_outputs(*sets: Outputs) -> None:
  """Refuses outputs that a head cannot be trained on.

  Args:
    *sets: outputs on a training set, a test set.

  Raises:
    InputError: if outputs have no features, or no labels.

  Example:
    >>> import leep_jax
    >>> from leep_jax.transfer import head
    >>> outputs = leep_jax.Outputs.from_arrays(
    ...   probs=[[0.5, 0.5]] * 2, labels=[0, 1], name="mine"
    ... )
    >>> head.check_outputs(outputs)
    Traceback (most recent call last):
    ...
    leep_jax.validation.errors.InputError: mine has no features of labelled ...
  """
  for outputs in sets:
    if not outputs.has("features") or not outputs.has("labels"):
      raise validation.InputError(
        f"{outputs.name} has no features of labelled examples to train a head "
        "on"
      )


def _train(group, config, placed, report) -> list[metrics.Transferred]:
  """Trains a group of heads.

  XLA computes the small operations of a step in one thread of a CPU. Parts of
  the group then train at the same time, one a core.
  """
  parts = 1
  if programs.are_host():
    parts = min(host_sums.cores(), max(len(group) // _HEADS_OF_THREAD, 1))
  if parts == 1:
    return _train_part(group, config, placed, report, parts)
  stopped = threading.Event()

  def train(i):
    def report_first(epochs):
      if stopped.is_set():
        raise futures.CancelledError
      if i == 0:
        report(epochs)

    return _train_part(group[i::parts], config, placed, report_first, parts)

  found: list[Any] = [None] * len(group)
  with futures.ThreadPoolExecutor(parts) as pool:
    try:
      trained = [pool.submit(train, i) for i in range(parts)]
      done, _ = futures.wait(trained, return_when=futures.FIRST_EXCEPTION)
      for part in done:
        part.result()  # raises what a part has raised
    except BaseException:  # an interrupt, or the failure of one part
      stopped.set()
      raise
  for i, part in enumerate(trained):
    found[i::parts] = part.result()
  return found


def _train_part(group, config, placed, report, parts):
  """Trains some heads, as many epochs a call as indices may be sent.

  As many `parts` as stated are trained at the same time.
  """
  started = time.monotonic()
  count = len(group)
  steps = max(run.steps(config.batch_size) for run in group)
  real = runs_lib.real_classes(group)
  # Rates and measured epochs are data: other values compile no other program.
  run_epochs, evaluate = _compiled(
    config.momentum, config.weight_decay, real.shape[1]
  )
  params = runs_lib.initial_heads(
    group, placed[0].shape[-1], classes=real.shape[1]
  )
  spread = functools.partial(runs_lib.spread, count=count)
  state = spread((params, config.optimizer().init(params)))
  rates = np.zeros((count, config.epochs, steps), np.float32)
  for rate, run in zip(rates, group, strict=True):
    own = run.steps(config.batch_size)
    rate[:, :own] = config.learning_rate * config.factors(own)
  measured = np.array([config.is_measured(e) for e in range(config.epochs)])
  test, real = spread(_test_set(group)), spread(real)
  orders = [run.orders() for run in group]
  at_once = _MOST_INDICES // (count * steps * config.batch_size)
  at_once = min(max(at_once, 1), config.epochs)
  curves = []
  for start in range(0, config.epochs, at_once):
    part = slice(start, min(start + at_once, config.epochs))
    order = _orders(group, orders, part, steps, config.batch_size)
    epochs = programs.replicate(measured[part])
    batch = (state, real, test, epochs, *spread((*order, rates[:, part])))
    state, *curve = run_epochs(placed, batch)
    curves.append(curve)
    # The devices work on this call while the host draws the next orders; what
    # is reported as done is the call before.
    if len(curves) > 1:
      curves[-2][0].block_until_ready()
      report(start)
  losses, accuracies = (
    np.concatenate([runs_lib.gather(c[i], count) for c in curves], axis=1)
    for i in range(2)
  )
  confusion, nll = (
    runs_lib.gather(x, count) for x in evaluate(placed, (state[0], real, test))
  )
  kernels, biases = (runs_lib.gather(x, count) for x in state[0])
  seconds = (time.monotonic() - started) / (count * parts)
  return [
    metrics.transferred(
      confusion[i, : run.classes, : run.classes],
      nll[i],
      losses=losses[i],
      accuracies=accuracies[i],
      task=run.task.name,
      seed=run.seed,
      method="retrain_head",
      seconds=seconds,
      params=(kernels[i, : run.classes].T, biases[i, : run.classes]),
    )
    for i, run in enumerate(group)
  ]


def _test_set(group):
  """Indices `[T, m]` of test examples, -1 for none, and their labels."""
  most = max(len(run.test_labels) for run in group)
  # Full parts of `_TEST_ROWS`, over which the evaluation scans.
  most = -(-most // _TEST_ROWS) * _TEST_ROWS
  indices = np.full((len(group), most), -1, np.int32)
  labels = np.zeros((len(group), most), np.int32)
  for i, run in enumerate(group):
    indices[i, : len(run.test_labels)] = run.task.test
    labels[i, : len(run.test_labels)] = run.test_labels
  return indices, labels


def _orders(group, rngs, part, steps, batch_size):
  """Indices and labels `[T, epochs, steps, B]` in the order of training."""
  epochs = part.stop - part.start
  shape = (len(group), epochs, steps * batch_size)
  indices, labels = np.full(shape, -1, np.int32), np.zeros(shape, np.int32)
  for i, (run, rng) in enumerate(zip(group, rngs, strict=True)):
    n = len(run.labels)
    # `network.batches` draws the same orders, one epoch at a time.
    order = rng.permuted(np.tile(np.arange(n), (epochs, 1)), axis=1)
    indices[i, :, :n] = run.task.train[order]
    labels[i, :, :n] = run.labels[order]
  full = (len(group), epochs, steps, batch_size)
  return indices.reshape(full), labels.reshape(full)


def _logits(params, x, real):
  """`[T, B, Y]`, minus infinity for classes that a head does not have."""
  kernel, bias = params
  z = jnp.einsum("tbd,tyd->tby", x, kernel) + bias[:, None]
  return runs_lib.mask_logits(z, real[:, None])


def _loss_and_gradient(params, x, labels, weights, real):
  """Mean cross entropy `[T]` of a batch of each task, and its gradient."""
  logits = _logits(params, x, real)
  wanted = jax.nn.one_hot(labels, real.shape[1])
  # The gradient by hand takes one exponential a logit and one logarithm an
  # example. Automatic differentiation of log_softmax takes more.
  top = logits.max(axis=2, keepdims=True)
  powers = jnp.exp(logits - top)
  total = powers.sum(axis=2, keepdims=True)
  picked = runs_lib.picked(logits, wanted) - (top + jnp.log(total))[:, :, 0]
  slope = (powers / total - wanted) * weights[:, :, None]
  # One loop over all heads is faster than T small matrix products.
  if x.shape[1] <= _UNROLLED:
    gradient = sum(
      slope[:, i, :, None] * x[:, i, None] for i in range(x.shape[1])
    )
  else:
    gradient = jnp.einsum("tby,tbd->tyd", slope, x)
  return -jnp.sum(picked * weights, axis=1), (gradient, slope.sum(axis=1))


def _compiled(momentum, weight_decay, classes):
  """The functions over devices that train for some epochs, and that test."""
  config = Config(momentum=momentum, weight_decay=weight_decay)
  arithmetic = _Arithmetic(config, classes)
  functions = _Train(arithmetic), _Evaluate(arithmetic)
  return tuple(programs.parallel(f, fused=True) for f in functions)


@dataclasses.dataclass(frozen=True)
class _Arithmetic:
  """What one device computes for its T heads.

  Attributes:
    config: only its momentum and weight decay are used.
    classes: Y, the largest number of classes of any head.
  """

  config: Config
  classes: int

  def step(self, carry, batch, features, real):
    """One step of all heads; in the form that `jax.lax.scan` takes."""
    params, opt, loss = carry
    indices, labels, rate = batch
    inside = indices >= 0
    count = inside.sum(axis=1, keepdims=True)
    weights = inside / jnp.maximum(count, 1).astype(jnp.float32)
    x = features[indices]
    new_loss, gradient = _loss_and_gradient(params, x, labels, weights, real)
    updates, new_opt = self.config.optimizer().update(gradient, opt, params)
    active = count[:, 0] > 0

    # Where a head has no more steps, its rate is 0.
    params = jax.tree.map(
      lambda p, u: p + _with_axes_of(u, rate) * u, params, updates
    )
    # Nor may its momentum decay: the next epoch goes on from it.
    opt = jax.tree.map(
      lambda new, old: jnp.where(_with_axes_of(new, active), new, old),
      new_opt,
      opt,
    )
    return (params, opt, loss + new_loss * count[:, 0]), None

  def train(self, placed, batch):
    """Trains for some epochs.

    Returns:
      The new state, and losses and accuracies `[T, epochs]`.
    """
    features, test_features = placed
    (params, opt), real, test, measured, indices, labels, rates = batch
    # The same number in each epoch, so those of the first are counted.
    examples = (indices[:, 0] >= 0).sum(axis=(1, 2))

    def accuracy(params):
      confusion, _ = self.measure(test_features, params, real, test)
      return jnp.trace(confusion, axis1=1, axis2=2) / confusion.sum((1, 2))

    def epoch(carry, parts):
      params, opt = carry
      is_measured, *parts = parts
      zero = jnp.zeros(len(real))
      (params, opt, loss), _ = jax.lax.scan(
        lambda c, b: self.step(c, b, features, real),
        (params, opt, zero),
        tuple(parts),
      )
      unknown = jnp.full(len(real), jnp.nan)
      right = jax.lax.cond(is_measured, accuracy, lambda _: unknown, params)
      return (params, opt), (loss / jnp.maximum(examples, 1), right)

    # A scan is over the first axis, here epochs and inside them steps; the
    # heads' axis comes after.
    parts = [jnp.moveaxis(x, 0, 2) for x in (indices, labels, rates)]
    state, curve = jax.lax.scan(epoch, (params, opt), (measured, *parts))
    return state, *(jnp.moveaxis(x, 0, 1) for x in curve)

  def measure(self, features, params, real, test):
    """Tests all heads.

    Returns:
      Confusion matrices `[T, Y, Y]` and the summed negative log-likelihood
      `[T]`.
    """
    classes = self.classes
    # Scanned over: the logits of all test examples and heads at once may not
    # fit in memory.
    pieces = [
      jnp.moveaxis(x.reshape(len(x), -1, _TEST_ROWS), 0, 1) for x in test
    ]

    def add(carry, piece):
      confusion, nll = carry
      indices, labels = piece
      x = features[indices]
      log_probs = jax.nn.log_softmax(_logits(params, x, real))
      # Padding has label 0 too, which must not count.
      true = jax.nn.one_hot(labels, classes) * (indices >= 0)[:, :, None]
      said = jax.nn.one_hot(log_probs.argmax(axis=2), classes)
      confusion += jnp.einsum("tmy,tmz->tyz", true, said)
      nll -= runs_lib.picked(log_probs, true).sum(axis=1)
      return (confusion, nll), None

    zero = jnp.zeros((len(real), classes, classes)), jnp.zeros(len(real))
    return jax.lax.scan(add, zero, tuple(pieces))[0]

  def evaluate(self, placed, batch):
    """`measure` of the test set."""
    params, real, test = batch
    return self.measure(placed[1], params, real, test)


# Compiled programs are kept under the function. Unlike bound methods, these are
# equal where their values are, so no program is compiled twice.
@dataclasses.dataclass(frozen=True)
class _Train:
  """`_Arithmetic.train`, known by its values."""

  arithmetic: _Arithmetic

  def __call__(self, placed, batch):
    return self.arithmetic.train(placed, batch)


@dataclasses.dataclass(frozen=True)
class _Evaluate:
  """`_Arithmetic.evaluate`, known by its values."""

  arithmetic: _Arithmetic

  def __call__(self, placed, batch):
    return self.arithmetic.evaluate(placed, batch)


def _with_axes_of(array, vector):
  """A vector `[T]` in the shape that broadcasts with `[T, ...]`."""
  return vector.reshape(-1, *(1,) * (array.ndim - 1))
