"""The base class of samplers: the interface through which tasks are drawn."""

import dataclasses
from typing import Any, ClassVar

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
    >>> class Pairs(tasks.Sampler):
    ...   name = "pairs"
    ...   def draw(self, pool, seed, index):
    ...     a, b = pool.choose(np.random.default_rng([seed, index]), 2)
    ...     return tasks.Task(
    ...       "", (a, b), np.append(pool.train[a], pool.train[b]),
    ...       np.append(pool.test[a], pool.test[b]))
    >>> labels = np.arange(12) % 4
    >>> (task,) = tasks.draw(Pairs(), labels, labels.copy(), count=1, seed=0)
    >>> task.name, len(task.classes), len(task.train)
    ('pairs#0', 2, 6)
  """

  name: ClassVar[str]
  one_set: ClassVar[bool] = False
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
