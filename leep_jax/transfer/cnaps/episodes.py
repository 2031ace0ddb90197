"""Episodes, the tasks of meta-training, and its configuration."""

from collections.abc import Sequence
import dataclasses
import math
from typing import NamedTuple

import numpy as np
import optax

from leep_jax import validation
from leep_jax.transfer.cnaps import padding


@dataclasses.dataclass(frozen=True)
class Config:
  """How a CNAPs is meta-trained; training is deterministic.

  Attributes:
    epochs: number of epochs; a checkpoint is written after each.
    episodes: number of tasks in an epoch.
    tasks_per_step: number of tasks whose gradients are averaged for a step.
    ways: fewest and most classes of a task, uniformly distributed.
    shots: fewest and most support images a class, uniformly distributed on a
      logarithmic scale.
    support: bound of the support images of a task.
    queries: query images of a task, divided among its classes.
    learning_rate: of Adam at the start; a cosine schedule brings it to 0.
    film_penalty: factor of the sum of `(gamma - 1)^2 + beta^2`.
    head_penalty: factor of the sum of squares of the last layer of the head's
      generator, which is 0 as long as the head is the nearest class mean.
    seed: of the tasks; that of the weights is an argument of `create`.

  Raises:
    InputError: if a value is out of bounds.

  Example:
    >>> from leep_jax.transfer import cnaps
    >>> cnaps.Config(ways=(2, 4), shots=(1, 5)).ways
    (2, 4)
  """

  epochs: int = 10
  episodes: int = 250
  tasks_per_step: int = 2
  ways: tuple[int, int] = (5, 5)
  shots: tuple[int, int] = (12, 12)
  support: int = 64
  queries: int = 60
  learning_rate: float = 1e-3
  film_penalty: float = 1e-4
  head_penalty: float = 1.0
  seed: int = 0

  def __post_init__(self):
    for name in ("epochs", "episodes", "tasks_per_step", "support", "queries"):
      validation.at_least_1(name, getattr(self, name))
    for name, least in (("ways", 2), ("shots", 1)):
      low, high = getattr(self, name)
      if not least <= low <= high:
        raise validation.InputError(
          f"{name} are {low} to {high}, but must be from {least}, the fewest "
          "first"
        )
    for name in ("support", "queries"):
      least = self.ways[1] * (self.shots[0] if name == "support" else 1)
      if getattr(self, name) < least:
        raise validation.InputError(
          f"{name} is {getattr(self, name)}, but the largest task needs {least}"
        )
    for name in ("learning_rate", "film_penalty", "head_penalty"):
      value = getattr(self, name)
      if not 0 <= value < math.inf:
        raise validation.InputError(
          f"{name} is {value!r}, but must be finite and at least 0"
        )
    if not 0 <= self.seed < 2**32:
      raise validation.InputError(
        f"seed is {self.seed!r}, but must be an integer from 0 to {2**32 - 1}"
      )

  def optimizer(self) -> optax.GradientTransformation:
    """Returns Adam on the mean gradient of `tasks_per_step` tasks."""
    # Counted in steps of Adam: `MultiSteps` takes one for several tasks.
    count = max(1, self.epochs * self.episodes // self.tasks_per_step)
    schedule = optax.cosine_decay_schedule(self.learning_rate, count)
    steps = optax.MultiSteps(optax.adam(schedule), self.tasks_per_step)
    return steps.gradient_transformation()


class Episode(NamedTuple):
  """A task of meta-training; its support set is padded.

  Attributes:
    indices: `[N]` of the support images among all images.
    labels: `[N]`, 0 to W - 1.
    weights: `[N]`, 1 for a support image and 0 for padding.
    query_indices: `[M]` of the query images among all images.
    query_labels: `[M]`, 0 to W - 1.

  Example:
    >>> import numpy as np
    >>> from leep_jax.transfer import cnaps
    >>> cnaps.Episode(*np.zeros((5, 2))).weights
    array([0., 0.])
  """

  indices: np.ndarray
  labels: np.ndarray
  weights: np.ndarray
  query_indices: np.ndarray
  query_labels: np.ndarray


def sample_episode(
  number: int, classes: Sequence[Sequence[np.ndarray]], *, config: Config
) -> Episode:
  """Draws a task: a data set, some of its classes, and images of each class.

  The probability of a data set is in proportion to the square root of its
  number of classes.

  Args:
    number: of the task. The same number and seed give the same task.
    classes: for each data set and each of its classes, the indices of the
      images.
    config: bounds of the task, and the seed.

  Raises:
    InputError: if a data set has fewer classes, or a class fewer images, than
      the smallest task needs.

  Example:
    >>> import numpy as np
    >>> from leep_jax.transfer import cnaps
    >>> config = cnaps.Config(ways=(2, 2), shots=(3, 3), queries=4)
    >>> classes = [[np.arange(10), np.arange(10, 20)]]  # of one data set
    >>> episode = cnaps.sample_episode(0, classes, config=config)
    >>> int(episode.weights.sum()), episode.query_labels.tolist()
    (6, [0, 0, 1, 1])
  """
  # A stream for each number, so that a training that is resumed goes on with
  # the tasks that it would have had.
  rng = np.random.default_rng((config.seed, number))
  # The root keeps data sets of many classes from crowding out the others.
  chances = np.sqrt([len(groups) for groups in classes])
  groups = classes[rng.choice(len(classes), p=chances / chances.sum())]
  low, high = config.ways
  if len(groups) < low:
    raise validation.InputError(
      f"a data set has {len(groups)} classes, but tasks have {low} or more"
    )
  ways = int(rng.integers(low, min(high, len(groups)) + 1))
  chosen = [groups[i] for i in rng.permutation(len(groups))[:ways]]
  queries = np.bincount(np.arange(config.queries) % ways)
  smallest = min(map(len, chosen))
  low, high = config.shots
  # Support and queries are drawn without replacement from the same images.
  high = min(high, config.support // ways, smallest - max(queries))
  if high < low:
    raise validation.InputError(
      f"a class has {smallest} images, but a task of {ways} classes takes "
      f"{max(queries) + low} of each"
    )
  # Uniform on a logarithmic scale. The integer part of a number below high + 1
  # includes both ends.
  shots = math.exp(rng.uniform(math.log(low), math.log(high + 1)))
  shots = min(int(shots), high)
  support, query = [], []
  for indices, count in zip(chosen, queries, strict=True):
    drawn = rng.choice(indices, shots + count, replace=False)
    support.append(drawn[:shots])
    query.append(drawn[shots:])
  size = padding.rounded(ways * shots, padding.LEAST_SUPPORT)
  return Episode(
    padding.padded(np.concatenate(support), size).astype(np.int32),
    padding.padded(np.repeat(np.arange(ways), shots), size).astype(np.int32),
    padding.padded(np.ones(ways * shots, np.float32), size),
    np.concatenate(query).astype(np.int32),
    np.repeat(np.arange(ways), queries).astype(np.int32),
  )
