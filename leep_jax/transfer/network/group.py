"""A group of runs that train at the same time, from first to last epoch."""

from collections.abc import Callable, Sequence
import time
from typing import Any

import jax
import numpy as np

from leep_jax.engine import programs
from leep_jax.sources import source as source_lib
from leep_jax.transfer import metrics, runs as runs_lib
from leep_jax.transfer.checkpoints import Checkpoints
from leep_jax.transfer.network import batches
from leep_jax.transfer.network.job import Job
from leep_jax.transfer.network.placement import Placement, largest_divisor
from leep_jax.transfer.runs import Run

# Several steps in one call keep an accelerator busy. On a CPU a call is one
# step: its convolutions are slow inside a loop (see `programs`).
_STEPS_A_CALL = 8
_TEST_ROWS = 250  # test examples of a run that are evaluated at a time
# Calls that wait for the devices while the host prepares the next batch; each
# holds its images in memory.
_CALLS_AHEAD = 2


class Group:
  """Runs that train at the same time: their state, curves and checkpoints.

  Attributes:
    job: what all runs of the call share.
    group: the T runs.
    source: whose network is trained.
    config: how to train.
    images: of training and test set.
    placement: of the runs on devices.
    real: `[T, Y]`, which classes each run has.
    steps: S, the largest number of steps in an epoch of any run.
    steps_a_call: number of steps in one call of a compiled function.
    initial: state that the runs start from.

  Example:
    >>> import numpy as np
    >>> import leep_jax
    >>> from leep_jax import transfer
    >>> from leep_jax.transfer import runs
    >>> from leep_jax.transfer.network.group import Group
    >>> from leep_jax.transfer.network.job import Job
    >>> source = leep_jax.load_source("fashion_mnist_resnet8")
    >>> images, labels = np.zeros((4, 28, 28, 1), np.uint8), np.arange(4) % 2
    >>> job = Job(
    ...   source, ((images, labels), (images, labels)),
    ...   init=lambda seed: source.network.weights, method="fine_tune",
    ...   config=transfer.NetworkConfig(batch_size=2), keep_params=False,
    ...   directory=None, save_seconds=60,
    ... )
    >>> group = Group(job, runs.make(labels, labels, None, [0]), 2)
    >>> group.steps, group.real.tolist()
    (2, [[True, True]])
  """

  def __init__(self, job: Job, group: Sequence[Run], classes: int):
    """Makes the state that the runs start from.

    Args:
      job: what all runs of the call share.
      group: T runs.
      classes: Y, the largest number of classes of any run of the call, so that
        all groups share their programs.
    """
    self.job, self.group = job, group
    self.source, self.config = job.source, job.config
    self.images = [images for images, _ in job.sets]
    # A group has one run, or as many as there are devices or more.
    self.placement = Placement(len(group), len(group) < programs.device_count())
    self.real = np.array([np.arange(classes) < run.classes for run in group])
    self.steps = max(run.steps(self.config.batch_size) for run in group)
    self.steps_a_call = 1
    if programs.platform() != "cpu":
      # A divisor, so that all calls of an epoch have one shape.
      self.steps_a_call = largest_divisor(self.steps, _STEPS_A_CALL)
    weights = [job.init(run.seed) for run in group]
    width = _width(self.source, weights[0], self.images[0])
    heads = runs_lib.initial_heads(group, width, classes=classes)
    stacked = jax.tree.map(lambda *x: np.stack(x), *weights)
    params = (stacked.params, heads)
    self.initial = {
      "params": params,
      "rest": stacked.rest,
      # A frozen body is not trained, so the optimiser has no state for it.
      "optimizer": jax.vmap(self.config.optimizer().init)(
        heads if self.config.frozen else params
      ),
      "alive": np.ones(len(group), bool),
    }

  def run(
    self,
    checkpoints: Sequence[Checkpoints | None],
    report: Callable[[int], Any],
  ) -> list[metrics.Transferred]:
    """Trains to the end, from the last checkpoints if there are any.

    Args:
      checkpoints: of each run, or None; all after the same number of epochs.
      report: called with the number of epochs done.

    Returns:
      A result for each run.
    """
    started = time.monotonic()
    count = self.placement.device_count(self.config.batch_size)
    with programs.limit(count):
      confusion, nll, curves, params = self._run(checkpoints, report)
    seconds = (time.monotonic() - started) / len(self.group)
    return [
      self._result(i, run, confusion, nll, curves, params, seconds)
      for i, run in enumerate(self.group)
    ]

  def _run(self, checkpoints, report):
    epochs, config = self.config.epochs, self.config
    state, curves, start = self._start(checkpoints)
    state = self.placement.put_state(state)
    data_parallel = self.placement.data_parallel
    step = self.job.compiled.step(data_parallel=data_parallel)
    measure = self.job.compiled.measure(data_parallel=data_parallel)
    rngs = [run.orders() for run in self.group]
    # The generators go on from where they were when the checkpoint was written.
    for _ in range(start):
      self._examples(rngs)
    rates = batches.learning_rates(self.group, config, steps=self.steps)
    saved = time.monotonic()
    confusion = nll = None
    for epoch in range(start, epochs):
      state, losses = self._epoch(
        step, state, epoch, self._examples(rngs), rates[:, epoch]
      )
      curves["losses"][:, epoch] = losses
      if config.is_measured(epoch):
        confusion, nll = self._measure(measure, state)
        right = np.trace(confusion, axis1=1, axis2=2)
        curves["accuracies"][:, epoch] = right / confusion.sum((1, 2))
      report(epoch + 1)
      # If all runs have diverged, nothing is left to train.
      over = not np.isfinite(losses).any() or epoch + 1 == epochs
      due = time.monotonic() - saved >= self.job.save_seconds
      # After the last epoch, results are handed over instead.
      if checkpoints[0] is not None and due and not over:
        self._save(checkpoints, epoch + 1, state, curves)
        saved = time.monotonic()
      if over:
        break
    # As where all runs have diverged before the first measurement.
    if confusion is None:
      confusion, nll = self._measure(measure, state)
    params = self.placement.get(state) if self.job.keep_params else None
    return confusion, nll, curves, params

  def _start(self, checkpoints):
    """The state and curves `[T, ...]` to go on from, and the epochs done."""
    shape = (len(self.group), self.config.epochs)
    # NaN stays where an accuracy is not measured, and after all runs diverged.
    curves = {
      "losses": np.full(shape, np.nan, np.float32),
      "accuracies": np.full(shape, np.nan, np.float32),
    }
    if checkpoints[0] is None or not checkpoints[0].epochs:
      return self.initial, curves, 0
    # Checkpoints are of lists and dictionaries, which optax's states are not.
    leaves, structure = jax.tree.flatten(self.initial)
    parts = [
      own.restore(
        state=[np.asarray(leaf)[i : i + 1] for leaf in leaves],
        curves={key: values[i : i + 1] for key, values in curves.items()},
      )
      for i, own in enumerate(checkpoints)
    ]
    stacked = jax.tree.map(lambda *x: np.concatenate(x), *parts)
    state = jax.tree.unflatten(structure, stacked["state"])
    return state, stacked["curves"], checkpoints[0].epochs

  def _save(self, checkpoints, epochs, state, curves):
    """Writes a checkpoint of each run."""
    leaves = jax.tree.leaves(self.placement.get(state))
    for i, own in enumerate(checkpoints):
      own.save(
        epochs,
        state=[leaf[i : i + 1] for leaf in leaves],
        curves={key: values[i : i + 1] for key, values in curves.items()},
      )

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

  def _examples(self, rngs):
    return batches.of_epoch(
      self.group, rngs, steps=self.steps, batch_size=self.config.batch_size
    )

  def _epoch(self, step, state, epoch, examples, rates):
    """Trains for an epoch; returns the new state and mean losses `[T]`."""
    indices, labels, weights = examples
    counts = (weights > 0).sum(axis=2)
    put, calls = self.placement, range(0, self.steps, self.steps_a_call)
    real = put.put_scalars(self.real)
    losses: list[Any] = []
    for first in calls:
      part = slice(first, first + self.steps_a_call)
      roots = batches.random_roots(
        self.group, epoch=epoch, first=first, steps=self.steps_a_call
      )
      active = counts[:, part] > 0
      batch = (
        put.put_examples(
          (
            self.images[0][indices[:, part]],
            labels[:, part],
            weights[:, part],
          )
        ),
        put.put_scalars((roots, rates[:, part], active)),
        put.first_examples(self.config.batch_size),
        real,
      )
      state, loss = step(state, batch)
      losses.append(loss)
      # Batches are handed over as they are made; without a bound, all of an
      # epoch would wait in memory.
      if len(losses) > _CALLS_AHEAD:
        losses[-1 - _CALLS_AHEAD].block_until_ready()
    each = np.concatenate([put.get(loss) for loss in losses], axis=1)
    # A loss is the mean of its batch, and the last batch may be smaller.
    return state, (each * counts).sum(axis=1) / counts.sum(axis=1)

  def _measure(self, measure, state):
    """Confusions `[T, Y, Y]` and summed losses `[T]` on the test set."""
    put, count = self.placement, programs.device_count()
    rows = min(_TEST_ROWS, max(len(run.test_labels) for run in self.group))
    if put.data_parallel:
      # Each device has an equal part of a batch.
      rows = -(-rows // count) * count
    indices, labels, weights = batches.of_test(self.group, rows=rows)
    real = put.put_scalars(self.real)
    shape = (len(self.group), self.real.shape[1], self.real.shape[1])
    totals = put.put_scalars(
      (np.zeros(shape, np.float32), np.zeros(shape[0], np.float32))
    )
    state = (state["params"], state["rest"])
    for first in range(0, indices.shape[1], rows):
      part = slice(first, first + rows)
      examples = (
        # An axis of one step, as `put_examples` takes batches of several.
        self.images[1][indices[:, None, part]],
        labels[:, None, part],
        weights[:, None, part],
      )
      totals = measure(state, (put.put_examples(examples), real, totals))
    return put.get(totals)


def _width(source, weights, images):
  """D, the number of features, found without running the network."""
  network = source.network

  def features(weights, images):
    images = source.preprocessing(images)
    return network.apply(*weights, images, train=False)[0]

  shape = jax.eval_shape(features, weights, images[:1]).shape
  return shape[1]
