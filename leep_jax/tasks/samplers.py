"""Samplers: how tasks are drawn from the labels of a data set and a seed.

Task t is a pure function of the labels, the sampler's fields, the seed and t:
task 7 of 10 is task 7 of 200, and a row of results is enough to draw it again.
Classes are drawn from those that occur in training and in test.

`SAMPLERS` is the table of samplers; a new one is a row there, and a subclass of
`Sampler` in a file of its own or here.

Reference: Nguyen, Hassner, Archambeau & Seeger, "LEEP: A New Measure to
Evaluate Transferability of Learned Representations", ICML 2020, section 5.
"""

import dataclasses
import functools
import itertools
from typing import ClassVar

from leep_jax.tasks import sampler as base, task as task_lib, values
from leep_jax.tasks.pool import Pool
from leep_jax.tasks.sampler import Sampler
from leep_jax.tasks.task import Task


class All(Sampler):
  """The single task of all examples of a training and a test set.

  Example:
    >>> import numpy as np
    >>> from leep_jax import tasks
    >>> train, test = np.array([0, 1, 2, 0]), np.array([0, 1, 2])
    >>> (task,) = tasks.draw(tasks.All(), train, test, seed=0)
    >>> task.name, len(task.train), len(task.test)
    ('all', 4, 3)
  """

  name: ClassVar[str] = "all"
  default_count: ClassVar[int] = 1

  def draw(self, pool: Pool, seed: int, index: int) -> Task:
    """See `Sampler`."""
    return task_lib.all_examples(pool.train_labels, pool.test_labels)


@dataclasses.dataclass(frozen=True)
class Subsets(Sampler):
  """Tasks of some of the classes, with all their examples.

  Attributes:
    classes: smallest and largest number of classes of a task, drawn uniformly;
      by default from 2 to all.

  Raises:
    InputError: if it is out of range; in `check` if there are fewer classes.

  Reference: Nguyen et al., ICML 2020, section 5.1.

  Example:
    >>> import numpy as np
    >>> from leep_jax import tasks
    >>> train, test = np.arange(40) % 10, np.arange(20) % 10
    >>> for task in tasks.draw(
    ...   tasks.Subsets((2, 4)), train, test, count=3, seed=0):
    ...   print(task.classes, len(task.train))
    (0, 2, 6, 7) 16
    (2, 3, 5) 12
    (0, 4, 6) 12
  """

  name: ClassVar[str] = "subsets"
  classes: tuple[int, int] | None = None

  def __post_init__(self):
    if self.classes is not None:
      check = values.integers("classes", 2)
      self._set(classes=values.interval("classes", self.classes, check))

  def resolved(self, pool: Pool) -> Sampler:
    """See `Sampler`."""
    if self.classes is not None:
      return self
    # At least 2, also with fewer classes: `check` then says what is missing.
    return Subsets((2, max(len(pool.classes), 2)))

  def check(self, pool: Pool) -> None:
    """See `Sampler`."""
    assert self.classes is not None
    pool.check_classes(self.classes, self.classes[1])

  def draw(self, pool: Pool, seed: int, index: int) -> Task:
    """See `Sampler`."""
    assert self.classes is not None
    low, high = self.classes
    rng = base.generator(seed, index)
    chosen = pool.choose(rng, int(rng.integers(low, high + 1)))
    return base.unnamed_task(
      chosen, [pool.train[c] for c in chosen], [pool.test[c] for c in chosen]
    )


@dataclasses.dataclass(frozen=True)
class Small(Sampler):
  """Tasks of few classes with few training examples each.

  Tasks are tested on all test examples of their classes. With the same seed,
  a task with more examples contains those of the task with fewer.

  Attributes:
    classes: number of classes of a task.
    examples: number of training examples of each class.

  Raises:
    InputError: if a field is out of range; in `check` if there are fewer
      classes, or a class has fewer examples.

  Reference: Nguyen et al., ICML 2020, section 5.2.

  Example:
    >>> import numpy as np
    >>> from leep_jax import tasks
    >>> train, test = np.arange(40) % 4, np.arange(20) % 4
    >>> (task,) = tasks.draw(
    ...   tasks.Small(classes=2, examples=3), train, test, count=1, seed=0)
    >>> print(task.classes, train[task.train], len(task.test))
    (2, 3) [2 3 2 3 2 3] 10
  """

  name: ClassVar[str] = "small"
  classes: int = 5
  examples: int = 50

  def __post_init__(self):
    self._set(
      examples=values.integer("examples", self.examples, 1),
      classes=values.integer("classes", self.classes, 2),
    )

  def check(self, pool: Pool) -> None:
    """See `Sampler`."""
    _check_few(pool, self.classes, self.examples)

  def draw(self, pool: Pool, seed: int, index: int) -> Task:
    """See `Sampler`."""
    return _few(pool, base.generator(seed, index), self.classes, self.examples)


def _check_few(pool, classes, examples):
  pool.check_classes(classes, classes)
  pool.check_examples(examples, examples)


def _few(pool, rng, classes, examples) -> Task:
  """A task of `classes` times `examples`."""
  # The first of a permutation of all: with the same `rng`, more examples
  # contain the fewer.
  chosen = pool.choose(rng, classes)
  return base.unnamed_task(
    chosen,
    [rng.permutation(pool.train[c])[:examples] for c in chosen],
    [pool.test[c] for c in chosen],
    examples_per_class=examples,
  )


@dataclasses.dataclass(frozen=True)
class Imbalanced(Sampler):
  """Tasks of two classes, one with several times the examples of the other.

  The smaller class is class 1 of the task, for which the F1 score counts. Tasks
  are tested on all test examples of both classes.

  Attributes:
    minority: smallest and largest number of training examples of the smaller
      class, drawn uniformly.
    ratio: examples of the larger class, divided by those of the smaller.

  Raises:
    InputError: if a field is out of range; in `check` if there are fewer than
      two classes, or a class has fewer examples than the larger one may need.

  Reference: Nguyen et al., ICML 2020, section 5.3.

  Example:
    >>> import numpy as np
    >>> from leep_jax import tasks
    >>> train, test = np.arange(90) % 3, np.arange(30) % 3
    >>> (task,) = tasks.draw(
    ...   tasks.Imbalanced(minority=(4, 6)), train, test, count=1, seed=0)
    >>> np.bincount(task.train_labels(train)).tolist()
    [20, 4]
  """

  name: ClassVar[str] = "imbalanced"
  minority: tuple[int, int] = (30, 60)
  ratio: int = 5

  def __post_init__(self):
    check = values.integers("minority", 1)
    self._set(
      minority=values.interval("minority", self.minority, check),
      ratio=values.integer("ratio", self.ratio, 1),
    )

  def check(self, pool: Pool) -> None:
    """See `Sampler`."""
    high, ratio = self.minority[1], self.ratio
    pool.check_classes(2, 2)
    pool.check_examples(high * ratio, f"{high} x {ratio} = {high * ratio}")

  def draw(self, pool: Pool, seed: int, index: int) -> Task:
    """See `Sampler`."""
    rng = base.generator(seed, index)
    # Not `Pool.choose`, which sorts: either class may be the smaller one.
    chosen = rng.choice(pool.classes, 2, replace=False).tolist()
    low, high = self.minority
    few = int(rng.integers(low, high + 1))
    sizes = few * self.ratio, few
    return base.unnamed_task(
      chosen,
      [
        rng.permutation(pool.train[c])[:size]
        for c, size in zip(chosen, sizes, strict=True)
      ],
      [pool.test[c] for c in chosen],
      minority=few,
      majority=few * self.ratio,
    )


@dataclasses.dataclass(frozen=True)
class LabelNoise(Sampler):
  """The tasks of `Small`, with some training labels replaced.

  Of n training labels, round(fraction n) become another class of the task, all
  with the same probability. Test labels are not changed.

  Attributes:
    classes: number of classes of a task.
    examples: number of training examples of each class.
    fraction: share of labels that are replaced, 0 to 1: a number for all tasks;
      or a range, which tasks divide evenly (the ends, halves, quarters, ...);
      or a list that the tasks take in turn. See `values.nth`.

  Raises:
    InputError: as `Small`.

  Example:
    >>> import numpy as np
    >>> from leep_jax import tasks
    >>> train, test = np.arange(40) % 4, np.arange(20) % 4
    >>> noisy = tasks.LabelNoise(classes=3, examples=4)
    >>> for task in tasks.draw(noisy, train, test, count=3, seed=0):
    ...   clean = task.labels(train, task.train)
    ...   print(task.drawn["noise"], np.sum(task.train_labels(train) != clean))
    0.0 0
    0.5 6
    0.25 3
  """

  name: ClassVar[str] = "label_noise"
  classes: int = 5
  examples: int = 50
  fraction: float | tuple[float, float] | list[float] = (0.0, 0.5)

  def __post_init__(self):
    self._set(
      examples=values.integer("examples", self.examples, 1),
      classes=values.integer("classes", self.classes, 2),
      fraction=values.interval_or_list(
        "fraction", self.fraction, values.fraction
      ),
    )

  def check(self, pool: Pool) -> None:
    """See `Sampler`."""
    _check_few(pool, self.classes, self.examples)

  def draw(self, pool: Pool, seed: int, index: int) -> Task:
    """See `Sampler`."""
    assert not isinstance(self.fraction, float)  # `__post_init__` replaced it
    rng = base.generator(seed, index)
    task = _few(pool, rng, self.classes, self.examples)
    noisy = task.train_labels(pool.train_labels)
    size = round(values.nth(self.fraction, index) * len(noisy))
    changed = rng.permutation(len(noisy))[:size]
    step = rng.integers(1, self.classes, size)  # never 0: never the same label
    noisy[changed] = (noisy[changed] + step) % self.classes
    # The share after rounding, and not the fraction that was asked for.
    drawn = {**task.drawn, "noise": size / len(noisy)}
    return dataclasses.replace(task, noisy=noisy, drawn=drawn)


@dataclasses.dataclass(frozen=True)
class ExamplesCurve(Sampler):
  """Tasks that differ only in their number of training examples of a class.

  S tasks with S sizes are a curve: all have the same classes, and the training
  examples of a larger task contain those of a smaller one. After S tasks, the
  next curve has other classes.

  Attributes:
    classes: number of classes of a task.
    examples: number of training examples of each class: a range, whose ends,
      middle, and so on are taken first (see `values.nth`), until all its sizes
      are; or a list of sizes, in its order.

  Raises:
    InputError: as `Small`.

  Example:
    >>> import numpy as np
    >>> from leep_jax import tasks
    >>> curve = tasks.ExamplesCurve(classes=2, examples=(1, 5))
    >>> curve.sizes
    [1, 5, 3, 2, 4]
    >>> train, test = np.arange(40) % 4, np.arange(20) % 4
    >>> [len(task.train) for task in tasks.draw(
    ...   curve, train, test, count=6, seed=0)]
    [2, 10, 6, 4, 8, 2]
  """

  name: ClassVar[str] = "examples_curve"
  classes: int = 5
  examples: int | tuple[int, int] | list[int] = (1, 50)

  def __post_init__(self):
    check = values.integers("examples", 1)
    self._set(
      examples=values.interval_or_list("examples", self.examples, check),
      classes=values.integer("classes", self.classes, 2),
    )

  @functools.cached_property
  def sizes(self) -> list[int]:
    """Numbers of examples of a class, in the order of a curve's tasks."""
    if not isinstance(self.examples, tuple):
      assert isinstance(self.examples, list)
      return self.examples
    low, high = self.examples
    found: dict[int, None] = {}  # keeps their order
    for i in itertools.count():
      found[round(values.nth((low, high), i))] = None
      if len(found) > high - low:
        return list(found)
    raise AssertionError

  def check(self, pool: Pool) -> None:
    """See `Sampler`."""
    _check_few(pool, self.classes, max(self.sizes))

  def draw(self, pool: Pool, seed: int, index: int) -> Task:
    """See `Sampler`."""
    # All tasks of a curve draw from one stream: the same classes, and the same
    # permutations of their examples.
    curve, i = divmod(index, len(self.sizes))
    return _few(pool, base.generator(seed, curve), self.classes, self.sizes[i])


@dataclasses.dataclass(frozen=True)
class FewShot(Sampler):
  """Tasks within one set: few examples for training, the others for testing.

  The set is the test set, as in the paper.

  Attributes:
    classes: number of classes of a task.
    examples: number of training examples of each class; the task is tested on
      the other examples of the class.
    among: smallest and largest label of the classes that tasks may have; by
      default tasks may have all classes.

  Raises:
    InputError: if a field is out of range; in `check` if there are fewer
      classes, or a class has no example left to test on.

  Reference: Nguyen et al., ICML 2020, section 5.4.

  Example:
    >>> import numpy as np
    >>> from leep_jax import tasks
    >>> labels = np.arange(40) % 4  # 10 examples of each class
    >>> (task,) = tasks.draw(
    ...   tasks.FewShot(classes=3, examples=2), labels, labels, count=1, seed=0)
    >>> len(task.train), len(task.test), task.one_set
    (6, 24, True)
    >>> (task,) = tasks.draw(
    ...   tasks.FewShot(classes=2, examples=2, among=(2, 3)), labels, labels,
    ...   count=1, seed=0)
    >>> task.classes
    (2, 3)
  """

  name: ClassVar[str] = "few_shot"
  one_set: ClassVar[bool] = True
  classes: int = 5
  examples: int = 50
  among: tuple[int, int] | None = None

  def __post_init__(self):
    self._set(
      classes=values.integer("classes", self.classes, 2),
      examples=values.integer("examples", self.examples, 1),
    )
    if self.among is not None:
      check = values.integers("among", 0)
      self._set(among=values.interval("among", self.among, check))

  def _allowed(self, pool):
    """The pool of the classes that tasks may have."""
    return pool if self.among is None else pool.among(*self.among)

  def check(self, pool: Pool) -> None:
    """See `Sampler`."""
    pool = self._allowed(pool)
    pool.check_classes(self.classes, self.classes)
    pool.check_examples(
      self.examples + 1, f"{self.examples} and one to test on"
    )

  def draw(self, pool: Pool, seed: int, index: int) -> Task:
    """See `Sampler`."""
    rng = base.generator(seed, index)
    chosen = self._allowed(pool).choose(rng, self.classes)
    shuffled = [rng.permutation(pool.train[c]) for c in chosen]
    task = base.unnamed_task(
      chosen,
      [indices[: self.examples] for indices in shuffled],
      [indices[self.examples :] for indices in shuffled],
      examples_per_class=self.examples,
    )
    return dataclasses.replace(task, one_set=True)


# By the names that text has for them.
SAMPLERS: dict[str, type[Sampler]] = {
  kind.name: kind
  for kind in (
    All,
    Subsets,
    Small,
    Imbalanced,
    LabelNoise,
    ExamplesCurve,
    FewShot,
  )
}
