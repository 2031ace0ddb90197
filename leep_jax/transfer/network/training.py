"""The functions that fine-tune a source and train its network from scratch."""

from collections.abc import Callable, Iterator, Sequence
import contextlib
import functools
import os
from typing import Any

import jax

from leep_jax import data, tasks as tasks_lib, validation
from leep_jax.data.dataset import INPUTS
from leep_jax.engine import programs
from leep_jax.sources import source as source_lib
from leep_jax.transfer import config as config_lib, metrics, runs as runs_lib
from leep_jax.transfer.config import NetworkConfig
from leep_jax.transfer.network.group import Group
from leep_jax.transfer.network.job import Images, Job

DEFAULT = NetworkConfig()
# Bounds of the runs that one device trains at the same time: 256 MiB of float32
# weights, and a number of runs. A CPU trains one at a time, as it gains nothing
# from several.
_MOST_WEIGHTS = 1 << 26
_MOST_RUNS = 8
_SAVE_SECONDS = 60.0


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
  """Trains a source's network, with a new head, for each task and seed.

  If there are fewer runs than devices, each run is data-parallel, over as many
  devices as divide the batch.

  Args:
    source: whose weights the runs start from; it needs a `network`.
    train: the training set, or its `(images [N, H, W, C], labels [N])`, uint8
      or floats in [0, 1].
    test: the same for the test set.
    tasks: to train for; by default one task of all examples.
    config: how to train.
    seeds: a run of each task is made with each seed.
    keep_params: whether results include the trained weights.
    directory: folder for checkpoints, from which the same call goes on after an
      interruption. Each is removed when its run is done. Default: none.
    save_seconds: least time between two checkpoints.
    on_result: called with each result as soon as its group of runs is trained.
    progress: called with the number of training images done, and with their
      number in all epochs of all runs.

  Returns:
    A result for each task and seed, all seeds of a task in turn. A run whose
    loss is not finite stops, with `diverged` set; the others go on.

  Raises:
    InputError: if the source has no network to train, images do not fit it, a
      task cannot be trained or tested on (see `tasks.check`) or has fewer
      examples than a batch, or checkpoints are of another training.

  Example:
    >>> import numpy as np
    >>> import leep_jax
    >>> from leep_jax import transfer
    >>> images = np.random.default_rng(0).integers(0, 256, (8, 8, 8, 1))
    >>> images, labels = images.astype(np.uint8), np.arange(8) % 2
    >>> (found,) = transfer.fine_tune(
    ...   leep_jax.load_source("fashion_mnist_resnet8"),
    ...   (images, labels), (images, labels),
    ...   config=transfer.NetworkConfig(epochs=2, batch_size=8),
    ... )
    >>> found.method, len(found.losses), bool(np.isfinite(found.losses).all())
    ('fine_tune', 2, True)

  Reference: Nguyen, Hassner, Archambeau, Seeger. LEEP. ICML 2020, section 5.
  """
  network = _network(source)
  job = Job(
    source,
    (train, test),
    init=lambda seed: network.weights,
    method="fine_tune",
    config=config,
    keep_params=keep_params,
    directory=directory,
    save_seconds=save_seconds,
  )
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
  """Trains a source's architecture from initial weights, drawn by the seed.

  Args, Returns and Raises are as for `fine_tune`.

  Raises:
    InputError: also if the source has no `init` that draws weights, or the body
      is frozen.

  Example:
    >>> import numpy as np
    >>> import leep_jax
    >>> from leep_jax import transfer
    >>> images = np.random.default_rng(0).integers(0, 256, (8, 8, 8, 1))
    >>> images, labels = images.astype(np.uint8), np.arange(8) % 2
    >>> (found,) = transfer.train_from_scratch(
    ...   leep_jax.load_source("fashion_mnist_resnet8"),
    ...   (images, labels), (images, labels),
    ...   config=transfer.NetworkConfig(epochs=2, batch_size=8),
    ... )
    >>> found.method, len(found.losses)
    ('scratch', 2)

  Reference: Nguyen, Hassner, Archambeau, Seeger. LEEP. ICML 2020, section 5.5.
  """
  init = _network(source).init
  if init is None:
    raise validation.InputError(
      f"{source.name} cannot be trained from scratch: it does not say how "
      "fresh weights are drawn (init of sources.from_nnx)"
    )
  config_lib.check_scratch(config)
  job = Job(
    source,
    (train, test),
    # A run asks for its weights twice: for its checkpoint, and to train.
    init=functools.lru_cache(maxsize=8)(init),
    method="scratch",
    config=config,
    keep_params=keep_params,
    directory=directory,
    save_seconds=save_seconds,
  )
  return _train_all(job, tasks, seeds, on_result, progress)


def _network(source: source_lib.Source) -> source_lib.Network:
  """The network of a source, which must have one, of images."""
  if source.preprocessing.inputs != "image":
    raise validation.InputError(
      f"{source.name} takes {INPUTS[source.preprocessing.inputs]}, and only "
      "networks of images are trained: choose --method=retrain_head or probe"
    )
  if source.network is None:
    raise validation.InputError(
      f"{source.name} can be applied but not trained: make it with a function "
      "of leep_jax.sources, of a model that is not frozen, or give its Source "
      "a network"
    )
  return source.network


def _train_all(
  job, tasks, seeds, on_result, progress
) -> list[metrics.Transferred]:
  config = job.config
  runs = runs_lib.make(
    job.sets[0][1], job.sets[1][1], tasks, seeds, batch_size=config.batch_size
  )
  numbers = sum(x.size for x in jax.tree.leaves(job.source.network.weights))
  on_cpu = programs.platform() == "cpu"
  most = 1 if on_cpu else min(_MOST_RUNS, _MOST_WEIGHTS // numbers)
  total = sum(len(run.labels) for run in runs) * config.epochs
  # Of all runs, so that the heads of all groups have one shape.
  classes = max(run.classes for run in runs)
  found: list[Any] = [None] * len(runs)
  done = 0
  # Closed at the end also if a run fails: checkpoints are written in the
  # background.
  with contextlib.ExitStack() as stack:
    saved = {}
    for run in runs:
      saved[run.index] = job.checkpoints(run)
      if saved[run.index] is not None:
        stack.callback(saved[run.index].close)
    # Runs of a group go on from the same epoch.
    by_epochs: dict[int, list[runs_lib.Run]] = {}
    for run in runs:
      epochs = saved[run.index].epochs if saved[run.index] else 0
      by_epochs.setdefault(epochs, []).append(run)
    for alike in by_epochs.values():
      for group in _groups(alike, config.batch_size, max(most, 1)):
        before, images = done, sum(len(run.labels) for run in group)

        def report(epochs, before=before, images=images):
          progress(before + epochs * images, total)

        own = [saved[run.index] for run in group]
        results = Group(job, group, classes).run(own, report)
        done += images * config.epochs
        for run, checkpoints, result in zip(group, own, results, strict=True):
          found[run.index] = result
          # Handed over before its checkpoint is removed: if the process is
          # killed between, the result is not lost.
          on_result(result)
          if checkpoints is not None:
            checkpoints.close()
            checkpoints.remove()
  return found


def _groups(runs, batch_size, most) -> Iterator[list[runs_lib.Run]]:
  """Groups of at least as many runs as devices; the other runs alone.

  Fewer runs would leave devices idle; a single run is data-parallel.
  """
  count = programs.device_count()
  if len(runs) < count:
    yield from ([run] for run in runs)
    return
  # `most` bounds the memory; heads are small beside bodies.
  for group in runs_lib.groups(runs, batch_size, numbers=1 << 62, most=most):
    if len(group) < count:
      yield from ([run] for run in group)
    else:
      yield group
