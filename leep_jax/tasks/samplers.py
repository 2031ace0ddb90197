"""Samplers: how tasks are drawn from the labels of a data set and a seed.

Task t is a pure function of the labels, the sampler's fields, the seed and t:
task 7 of 10 is task 7 of 200, and a row of results is enough to draw it again.
Classes are drawn from those that occur in training and in test.

A new sampler is a subclass of `Sampler` and a row of `SAMPLERS`. Its fields are
its arguments in text (see `specs`); `__post_init__` checks them alone, `check`
against the data, and `draw` draws one task.

Reference: Nguyen, Hassner, Archambeau & Seeger, "LEEP: A New Measure to
Evaluate Transferability of Learned Representations", ICML 2020, section 5.
"""

import dataclasses
import functools
import itertools
from typing import Any, ClassVar

import numpy as np

from leep_jax.data import splits
from leep_jax.tasks import task as task_lib, values
from leep_jax.tasks.pool import Pool
from leep_jax.tasks.task import Task


@dataclasses.dataclass(frozen=True)
class Sampler:
  """How tasks are drawn; a subclass for each way."""

  name: ClassVar[str]  # in text
  one_set: ClassVar[bool] = False  # whether tasks train within the test set
  default_count: ClassVar[int] = 200

  def resolved(self, pool: Pool) -> "Sampler":
    """Returns the sampler with defaults that depend on the pool filled in."""
    return self

  def check(self, pool: Pool) -> None:
    """Refuses a pool that tasks cannot be drawn from.

    Raises:
      InputError: if so.
    """

  def draw(self, pool: Pool, seed: int, index: int) -> Task:
    """Returns the task of a number.

    Args:
      pool: to draw from.
      seed: of all tasks.
      index: the number of the task, from 0.
    """
    raise NotImplementedError

  def _set(self, **fields: Any) -> None:
    """Replaces fields by what their checks returned."""
    for name, value in fields.items():
      object.__setattr__(self, name, value)


def _rng(seed, index):
  sequence = np.random.SeedSequence(seed, spawn_key=(index,))
  return np.random.default_rng(sequence)


def _task(classes, train, test, **drawn):
  """A task, not yet named; `train` and `test` are lists of indices by class."""
  return Task(
    "",
    tuple(classes),
    splits.ascending(train),
    splits.ascending(test),
    drawn=drawn,
  )


class All(Sampler):
  """The one task of all examples of a training and a test set."""

  name: ClassVar[str] = "all"
  default_count: ClassVar[int] = 1

  def draw(self, pool: Pool, seed: int, index: int) -> Task:
    """See `Sampler`."""
    return task_lib.all_examples(pool.train_labels, pool.test_labels)


@dataclasses.dataclass(frozen=True)
class Subsets(Sampler):
  """Tasks of some of the classes, with all their examples.

  Attributes:
    classes: least and most classes of a task, drawn uniformly; by default from
      2 to all.

  Raises:
    InputError: if it is out of range; `check` if there are not as many classes.

  Reference: Nguyen et al., ICML 2020, section 5.1.
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
    return Subsets((2, max(len(pool.classes), 2)))

  def check(self, pool: Pool) -> None:
    """See `Sampler`."""
    assert self.classes is not None
    pool.check_classes(self.classes, self.classes[1])

  def draw(self, pool: Pool, seed: int, index: int) -> Task:
    """See `Sampler`."""
    assert self.classes is not None
    low, high = self.classes
    rng = _rng(seed, index)
    chosen = pool.choose(rng, int(rng.integers(low, high + 1)))
    return _task(
      chosen, [pool.train[c] for c in chosen], [pool.test[c] for c in chosen]
    )


@dataclasses.dataclass(frozen=True)
class Small(Sampler):
  """Tasks of few classes and few training examples of each.

  All test examples of the classes are tested on. With the same seed, more
  examples contain the fewer.

  Attributes:
    classes: of a task.
    examples: for training, of each class.

  Raises:
    InputError: if a field is out of range; `check` if there are not as many
      classes, or a class has fewer examples.

  Reference: Nguyen et al., ICML 2020, section 5.2.
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
    return _few(pool, _rng(seed, index), self.classes, self.examples)


def _check_few(pool, classes, examples):
  pool.check_classes(classes, classes)
  pool.check_examples(examples, examples)


def _few(pool, rng, classes, examples):
  """A task of `classes` times `examples`: more examples contain the fewer."""
  chosen = pool.choose(rng, classes)
  return _task(
    chosen,
    [rng.permutation(pool.train[c])[:examples] for c in chosen],
    [pool.test[c] for c in chosen],
    examples_per_class=examples,
  )


@dataclasses.dataclass(frozen=True)
class Imbalanced(Sampler):
  """Tasks of two classes, one with several times the examples of the other.

  The smaller is the task's class 1, the positive one of an F1. All test
  examples of the two are tested on.

  Attributes:
    minority: least and most training examples of the smaller class, drawn
      uniformly.
    ratio: how many times more the larger class has.

  Raises:
    InputError: if a field is out of range; `check` if there are not two
      classes, or one has fewer examples than the larger one may need.

  Reference: Nguyen et al., ICML 2020, section 5.3.
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
    rng = _rng(seed, index)
    chosen = rng.choice(pool.classes, 2, replace=False).tolist()
    low, high = self.minority
    few = int(rng.integers(low, high + 1))
    sizes = few * self.ratio, few
    return _task(
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

  Of n training labels, round(fraction n) become another class of the task,
  each of them as likely. Test labels stay as they are.

  Attributes:
    classes: of a task.
    examples: for training, of each class.
    fraction: of labels replaced, 0 to 1: one for all tasks; or least and most,
      where each further task takes the middle of a widest gap (the ends,
      halves, quarters, ...); or a list that the tasks take in turn.

  Raises:
    InputError: as `Small`.
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
    rng = _rng(seed, index)
    task = _few(pool, rng, self.classes, self.examples)
    noisy = task.train_labels(pool.train_labels)
    size = round(values.nth(self.fraction, index) * len(noisy))
    changed = rng.permutation(len(noisy))[:size]
    step = rng.integers(1, self.classes, size)  # never 0: never the same label
    noisy[changed] = (noisy[changed] + step) % self.classes
    drawn = {**task.drawn, "noise": size / len(noisy)}
    return dataclasses.replace(task, noisy=noisy, drawn=drawn)


@dataclasses.dataclass(frozen=True)
class ExamplesCurve(Sampler):
  """Tasks that differ in their number of examples a class, and nothing else.

  S tasks make a curve, one for each of S sizes. All have the same classes, and
  the larger contain the smaller. When all sizes are taken, the next curve
  starts with other classes.

  Attributes:
    classes: of a task.
    examples: for training, of each class: least and most, where all sizes
      between are taken, each further task in the middle of a widest gap; or a
      list of sizes, in that order.

  Raises:
    InputError: as `Small`.
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
    """Examples a class of the tasks of a curve, in their order."""
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
    curve, i = divmod(index, len(self.sizes))
    return _few(pool, _rng(seed, curve), self.classes, self.sizes[i])


@dataclasses.dataclass(frozen=True)
class FewShot(Sampler):
  """Tasks within one set: few examples for training, the others for test.

  The set is the test set, as in the paper.

  Attributes:
    classes: of a task.
    examples: for training, of each class; its others are tested on.

  Raises:
    InputError: if a field is out of range; `check` if there are not as many
      classes, or a class has no example left to test on.

  Reference: Nguyen et al., ICML 2020, section 5.4.
  """

  name: ClassVar[str] = "few_shot"
  one_set: ClassVar[bool] = True
  classes: int = 5
  examples: int = 50

  def __post_init__(self):
    self._set(
      classes=values.integer("classes", self.classes, 2),
      examples=values.integer("examples", self.examples, 1),
    )

  def check(self, pool: Pool) -> None:
    """See `Sampler`."""
    pool.check_classes(self.classes, self.classes)
    pool.check_examples(
      self.examples + 1, f"{self.examples} and one to test on"
    )

  def draw(self, pool: Pool, seed: int, index: int) -> Task:
    """See `Sampler`."""
    rng = _rng(seed, index)
    chosen = pool.choose(rng, self.classes)
    shuffled = [rng.permutation(pool.train[c]) for c in chosen]
    task = _task(
      chosen,
      [indices[: self.examples] for indices in shuffled],
      [indices[self.examples :] for indices in shuffled],
      examples_per_class=self.examples,
    )
    return dataclasses.replace(task, one_set=True)


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
