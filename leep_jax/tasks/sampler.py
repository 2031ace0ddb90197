"""The base class of samplers, and functions with which they draw tasks.

A sampler is a frozen dataclass. Its fields are its arguments in text (see
`specs`). `__post_init__` checks the arguments alone, `check` compares them with
the data, and `draw` draws one task.
"""

from collections.abc import Iterable, Sequence
import dataclasses
from typing import Any, ClassVar

import numpy as np

from leep_jax.data import splits
from leep_jax.tasks.pool import Pool
from leep_jax.tasks.task import Task


@dataclasses.dataclass(frozen=True)
class Sampler:
  """The base class of samplers.

  Attributes:
    name: of the sampler, in text.
    one_set: whether tasks also take their training examples from the test set.
    default_count: number of tasks that are drawn by default.

  Example:
    A sampler of two classes with all their examples:

    >>> import numpy as np
    >>> from leep_jax import tasks
    >>> from leep_jax.tasks import sampler
    >>> class Pairs(tasks.Sampler):
    ...   name = "pairs"
    ...   def draw(self, pool, seed, index):
    ...     chosen = pool.choose(sampler.generator(seed, index), 2)
    ...     return sampler.unnamed_task(
    ...       chosen, [pool.train[c] for c in chosen],
    ...       [pool.test[c] for c in chosen])
    >>> labels = np.arange(12) % 4
    >>> (task,) = tasks.draw(Pairs(), labels, labels.copy(), count=1, seed=0)
    >>> task.name, len(task.classes), len(task.train)
    ('pairs#0', 2, 6)
  """

  name: ClassVar[str]
  one_set: ClassVar[bool] = False
  # The number of tasks in section 5.1 of the LEEP paper.
  default_count: ClassVar[int] = 200

  def resolved(self, pool: Pool) -> "Sampler":
    """Returns the sampler with the defaults that depend on the pool.

    Args:
      pool: to draw from.
    """
    return self

  def check(self, pool: Pool) -> None:
    """Checks that tasks can be drawn from a pool.

    Args:
      pool: to draw from.

    Raises:
      InputError: if they cannot.
    """

  def draw(self, pool: Pool, seed: int, index: int) -> Task:
    """Draws one task.

    Args:
      pool: to draw from.
      seed: of all tasks.
      index: number of the task, from 0.
    """
    raise NotImplementedError

  def _set(self, **fields: Any) -> None:
    """Replaces fields by the values that their checks returned."""
    # The dataclasses are frozen, which forbids assignments, also in
    # `__post_init__`.
    for name, value in fields.items():
      object.__setattr__(self, name, value)


def generator(seed: int, index: int) -> np.random.Generator:
  """Returns the generator of random numbers for one task.

  Args:
    seed: of all tasks.
    index: number of the task.

  Example:
    >>> from leep_jax.tasks import sampler
    >>> first, again, other = (
    ...   sampler.generator(0, index).random() for index in (7, 7, 8)
    ... )
    >>> first == again, first == other
    (True, False)
  """
  # A stream for each task, so that task 7 does not depend on how many tasks are
  # drawn.
  sequence = np.random.SeedSequence(seed, spawn_key=(index,))
  return np.random.default_rng(sequence)


def unnamed_task(
  classes: Iterable[int],
  train: Sequence[np.ndarray],
  test: Sequence[np.ndarray],
  **drawn: float,
) -> Task:
  """Returns a task of some examples; its name follows from the sampler.

  Args:
    classes: of the task, in its order.
    train: indices of the training examples of each class.
    test: indices of the test examples of each class.
    **drawn: numbers that the sampler drew, for `Task.drawn`.

  Example:
    >>> import numpy as np
    >>> from leep_jax.tasks import sampler
    >>> task = sampler.unnamed_task(
    ...   (3, 5), [np.array([7, 1]), np.array([4])], [np.array([0])] * 2)
    >>> print(task.classes, task.train)
    (3, 5) [1 4 7]
  """
  return Task(
    "",
    tuple(classes),
    splits.ascending(list(train)),
    splits.ascending(list(test)),
    drawn=drawn,
  )
