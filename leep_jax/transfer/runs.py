"""Runs: one task with one seed each, and what every method does with them.

Initial heads, orders of examples and groups are those of the run alone, so that
methods can be compared and a result does not depend on the others in its group.
"""

from collections.abc import Iterator, Sequence
import dataclasses
import math
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np

from leep_jax import tasks as tasks_lib, validation
from leep_jax.engine import programs


@dataclasses.dataclass(frozen=True)
class Run:
  """One task with one seed, on its way to a group."""

  task: tasks_lib.Task
  seed: int
  labels: np.ndarray
  test_labels: np.ndarray
  index: int  # among the results

  @property
  def classes(self) -> int:
    """Y."""
    return len(self.task.classes)

  def steps(self, batch_size: int) -> int:
    """Returns how many steps an epoch has."""
    return -(-len(self.labels) // batch_size)

  def orders(self) -> np.random.Generator:
    """Returns what draws the order of examples, epoch after epoch."""
    return np.random.default_rng((self.seed, 1))


def make(
  labels: np.ndarray,
  test_labels: np.ndarray,
  tasks: Sequence[tasks_lib.Task] | None,
  seeds: Sequence[int],
  *,
  batch_size: int = 1,
) -> list[Run]:
  """Returns a run for each task, and each seed in it.

  Args:
    labels: `[N]` of the training set.
    test_labels: `[M]` of the test set.
    tasks: to train for; by default the one task of all examples.
    seeds: one run for each.
    batch_size: examples that every task must have at least.

  Raises:
    InputError: if a task cannot be trained or tested on (see `tasks.check`),
      or has fewer examples than a batch.
  """
  if tasks is None:
    tasks = [tasks_lib.all_examples(labels, test_labels)]
  for seed in seeds:
    if not isinstance(seed, (int, np.integer)) or seed < 0:
      raise validation.InputError(
        f"seeds contain {seed!r}, but must be integers from 0"
      )
  tasks_lib.check(tasks, labels, test_labels)
  runs: list[Run] = []
  for task in tasks:
    if len(task.train) < batch_size:
      raise validation.InputError(
        f"batch_size is {batch_size}, but task {task.name} has "
        f"{len(task.train)} training examples"
      )
    own = task.train_labels(labels), task.test_labels(test_labels)
    for seed in seeds:
      runs.append(Run(task, seed, *own, index=len(runs)))
  return runs


def groups(
  runs: Sequence[Run], batch_size: int, *, numbers: int, most: int
) -> Iterator[list[Run]]:
  """Yields groups of runs that train at a time, of about as many steps each.

  Args:
    runs: to group.
    batch_size: examples a step.
    numbers: that a device may hold for each class of all its runs.
    most: runs a device may hold at all.
  """
  left = sorted(runs, key=lambda run: (run.steps(batch_size), run.classes))
  count = programs.device_count()
  while left:
    steps = 2 * left[0].steps(batch_size)
    group: list[Run] = []
    for run in left[: most * count]:
      classes = max(other.classes for other in (*group, run))
      fit = max(1, numbers // classes) * count
      if run.steps(batch_size) > steps or len(group) >= fit:
        break
      group.append(run)
    yield group
    left = left[len(group) :]


def real_classes(group: Sequence[Run]) -> np.ndarray:
  """Returns which of the most classes each run has, `[T, Y]`."""
  classes = max(run.classes for run in group)
  return np.array([np.arange(classes) < run.classes for run in group])


def initial_heads(
  group: Sequence[Run], width: int, *, classes: int
) -> tuple[np.ndarray, np.ndarray]:
  """Returns kernels `[T, Y, D]` and biases `[T, Y]` of zeros.

  Kernels are normal of variance 1 / D, and zero where a run has no class.

  Args:
    group: runs.
    width: D.
    classes: Y, at least those of every run.
  """
  kernels = np.zeros((len(group), classes, width), np.float32)
  for kernel, run in zip(kernels, group, strict=True):
    rng = np.random.default_rng((run.seed, 0))
    drawn = rng.normal(size=(run.classes, width)) / math.sqrt(width)
    kernel[: run.classes] = drawn
  return kernels, np.zeros((len(group), classes), np.float32)


def spread(tree: Any, count: int) -> Any:
  """Spreads arrays `[T, ...]` of that many runs to `[d, t, ...]`."""
  rows = -(-count // programs.device_count())
  return jax.tree.map(lambda x: programs.split(np.asarray(x), rows), tree)


def gather(array: Any, count: int) -> np.ndarray:
  """Returns `[d, t, ...]` of the devices as `[T, ...]`."""
  array = np.asarray(array)
  return array.reshape(-1, *array.shape[2:])[:count]


def mask_logits(logits: jax.Array, real: jax.Array) -> jax.Array:
  """Takes away classes that a run has not."""
  return jnp.where(real, logits, -jnp.inf)


def picked(log_probs: jax.Array, wanted: jax.Array) -> jax.Array:
  """Log-probabilities where `wanted` is above 0, summed over classes."""
  return jnp.sum(jnp.where(wanted > 0, log_probs, 0), axis=-1)
