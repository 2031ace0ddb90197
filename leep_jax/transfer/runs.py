"""Runs: a run is the training for one task with one seed.

Runs train in groups. The initial head and the order of examples of a run depend
on its task and seed alone. So methods start from the same head, and a result
does not depend on the other runs of the group.
"""

from collections.abc import Iterator, Sequence
import dataclasses
import math
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np
import numpy.typing as npt

from leep_jax import tasks as tasks_lib, validation
from leep_jax.engine import programs


@dataclasses.dataclass(frozen=True)
class Run:
  """The training for one task with one seed.

  Attributes:
    task: to train for.
    seed: of the initial head and the order of examples.
    labels: `[n]` the task's own labels of its training examples.
    test_labels: `[m]` those of its test examples.
    index: position among the results.

  Example:
    >>> import numpy as np
    >>> from leep_jax.transfer import runs
    >>> run, other = runs.make(np.arange(6) % 3, np.arange(3), None, [0, 1])
    >>> run.classes, run.steps(4), other.seed, other.index
    (3, 2, 1, 1)
  """

  task: tasks_lib.Task
  seed: int
  labels: np.ndarray
  test_labels: np.ndarray
  index: int

  @property
  def classes(self) -> int:
    """Y, the number of classes."""
    return len(self.task.classes)

  def steps(self, batch_size: int) -> int:
    """Returns the number of steps in an epoch."""
    return -(-len(self.labels) // batch_size)

  def orders(self) -> np.random.Generator:
    """Returns a generator that draws an order of examples for each epoch."""
    # Stream 1 of the seed; `initial_heads` draws from stream 0.
    return np.random.default_rng((self.seed, 1))


def make(
  labels: np.ndarray,
  test_labels: np.ndarray,
  tasks: Sequence[tasks_lib.Task] | None,
  seeds: Sequence[int],
  *,
  batch_size: int = 1,
) -> list[Run]:
  """Returns the runs of all tasks, each task with all seeds in turn.

  Args:
    labels: `[N]` of the training set.
    test_labels: `[M]` of the test set.
    tasks: to train for; by default one task of all examples.
    seeds: a run is made of each task with each seed.
    batch_size: number of training examples that a task must have at least.

  Raises:
    InputError: if a task cannot be trained or tested on (see `tasks.check`),
      or has fewer examples than a batch.

  Example:
    >>> import numpy as np
    >>> from leep_jax.transfer import runs
    >>> labels = np.array([0, 1, 0, 1])
    >>> [run.seed for run in runs.make(labels, labels, None, [3, 5])]
    [3, 5]
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
  """Yields groups of runs that train at the same time.

  Shorter runs of a group wait for the longest one, so the numbers of steps in a
  group differ by a factor of at most 2.

  Args:
    runs: to group.
    batch_size: examples a step.
    numbers: bound of classes times runs on a device, from its memory.
    most: bound of runs on a device.

  Example:
    >>> import numpy as np
    >>> from leep_jax.engine import programs
    >>> from leep_jax.transfer import runs
    >>> labels = np.arange(8) % 2
    >>> with programs.limit(1):
    ...   made = runs.make(labels, labels, None, [0, 1, 2])
    ...   groups = list(runs.groups(made, 4, numbers=100, most=2))
    >>> [len(group) for group in groups]
    [2, 1]
  """
  # Runs with similar steps and classes are neighbours, which wastes least.
  left = sorted(runs, key=lambda run: (run.steps(batch_size), run.classes))
  count = programs.device_count()
  while left:
    # The first run has the fewest steps.
    steps = 2 * left[0].steps(batch_size)
    group: list[Run] = []
    for run in left[: most * count]:
      # All heads of a group are padded to the most classes of any.
      classes = max(other.classes for other in (*group, run))
      fit = max(1, numbers // classes) * count
      if run.steps(batch_size) > steps or len(group) >= fit:
        break
      group.append(run)
    yield group
    left = left[len(group) :]


def real_classes(group: Sequence[Run]) -> np.ndarray:
  """Tells which classes each run has.

  Args:
    group: T runs.

  Returns:
    `[T, Y]` booleans, where Y is the largest number of classes of any run.

  Example:
    >>> import numpy as np
    >>> from leep_jax.transfer import runs
    >>> labels = np.arange(6) % 3
    >>> runs.real_classes(runs.make(labels, labels, None, [0, 1])).tolist()
    [[True, True, True], [True, True, True]]
  """
  classes = max(run.classes for run in group)
  return np.array([np.arange(classes) < run.classes for run in group])


def initial_heads(
  group: Sequence[Run], width: int, *, classes: int
) -> tuple[np.ndarray, np.ndarray]:
  """Draws the initial head of each run.

  Args:
    group: T runs.
    width: D, the number of features.
    classes: Y, at least as many as any run has.

  Returns:
    Kernels `[T, Y, D]`, normal with variance 1 / D and 0 for classes that a run
    does not have, and biases `[T, Y]` of 0.

  Example:
    >>> import numpy as np
    >>> from leep_jax.transfer import runs
    >>> made = runs.make(np.array([0, 1]), np.array([0, 1]), None, [0])
    >>> kernels, biases = runs.initial_heads(made, 4, classes=3)
    >>> kernels.shape, kernels[0, 2].tolist(), biases.tolist()
    ((1, 3, 4), [0.0, 0.0, 0.0, 0.0], [[0.0, 0.0, 0.0]])
  """
  kernels = np.zeros((len(group), classes, width), np.float32)
  for kernel, run in zip(kernels, group, strict=True):
    # Stream 0 of the seed; `Run.orders` is stream 1.
    rng = np.random.default_rng((run.seed, 0))
    # In the shape of the run's own head, so that its draw does not depend on
    # the other runs of the group.
    drawn = rng.normal(size=(run.classes, width)) / math.sqrt(width)
    kernel[: run.classes] = drawn
  return kernels, np.zeros((len(group), classes), np.float32)


def spread(tree: Any, count: int) -> Any:
  """Spreads the arrays of runs over the devices.

  Args:
    tree: pytree of arrays `[T, ...]`.
    count: T, the number of runs.

  Returns:
    Arrays `[d, t, ...]`, for t runs on each of d devices, padded with zeros.

  Example:
    >>> import numpy as np
    >>> from leep_jax.engine import programs
    >>> from leep_jax.transfer import runs
    >>> with programs.limit(1):
    ...   spread = runs.spread({"rate": np.ones(3)}, 3)
    >>> spread["rate"].shape, runs.gather(spread["rate"], 3).shape
    ((1, 3), (3,))
  """
  rows = -(-count // programs.device_count())
  return jax.tree.map(lambda x: programs.split(np.asarray(x), rows), tree)


def gather(array: npt.ArrayLike, count: int) -> np.ndarray:
  """Returns the array of runs that `spread` has spread over devices.

  Args:
    array: `[d, t, ...]`.
    count: T, the number of runs.

  Returns:
    `[T, ...]` on the host.

  Example:
    >>> import numpy as np
    >>> from leep_jax.transfer import runs
    >>> runs.gather(np.array([[0, 1], [2, 0]]), 3).tolist()
    [0, 1, 2]
  """
  found = np.asarray(array)
  return found.reshape(-1, *found.shape[2:])[:count]


def mask_logits(logits: jax.Array, real: jax.Array) -> jax.Array:
  """Gives classes that a run does not have the probability 0.

  Args:
    logits: `[..., Y]`.
    real: booleans that broadcast to `logits`.

  Example:
    >>> import jax.numpy as jnp
    >>> from leep_jax.transfer import runs
    >>> runs.mask_logits(jnp.zeros(3), jnp.array([True, True, False])).tolist()
    [0.0, 0.0, -inf]
  """
  return jnp.where(real, logits, -jnp.inf)


def picked(log_probs: jax.Array, wanted: jax.Array) -> jax.Array:
  """Sums log-probabilities over the classes that are wanted.

  A product would be NaN: masked classes have the log-probability -inf.

  Args:
    log_probs: `[..., Y]`.
    wanted: `[..., Y]`, such as one-hot labels; above 0 where a class counts.

  Returns:
    `[...]`.

  Example:
    >>> import jax.numpy as jnp
    >>> from leep_jax.transfer import runs
    >>> logs = jnp.array([-0.5, -jnp.inf])
    >>> float(runs.picked(logs, jnp.array([1.0, 0.0])))
    -0.5
  """
  return jnp.sum(jnp.where(wanted > 0, log_probs, 0), axis=-1)
