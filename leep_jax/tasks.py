"""Target tasks: which classes of a data set, and which of its examples.

Pure NumPy. A task names examples by their places in a training and a test set,
so that one forward pass over each serves any number of tasks. Its own labels
are 0 to Y - 1, in the order of its classes.

Samplers draw tasks from labels and a seed. Task t is a pure function of the
labels, the sampler's arguments, the seed and t: task 7 of 10 is task 7 of 200,
and a row of results is enough to draw it again. Classes are drawn from those
that occur in training and in test.

Reference: Nguyen, Hassner, Archambeau & Seeger, "LEEP: A New Measure to
Evaluate Transferability of Learned Representations", ICML 2020, section 5.
"""

from collections.abc import Callable, Mapping, Sequence
import dataclasses
import inspect
import itertools
import re
from typing import Any
import zlib

import numpy as np

from leep_jax import checks


@dataclasses.dataclass(frozen=True)
class Task:
  """A classification task.

  Attributes:
    name: what rows call it.
    classes: the data set's labels of its Y classes, in the task's order.
    train: `[n]` places of its examples in the training set.
    test: `[m]` places of its examples in the test set.
    noisy: `[n]` own labels in place of those of the training examples, or None.
    one_set: whether `train`, too, names places in the test set.
    spec: the sampler with all its arguments but `count`, as `parse` reads it;
      empty where none drew the task.
    seed: of the sampler.
    index: its number among the sampler's tasks, from 0.
    drawn: what else the sampler chose for it, such as examples a class.
  """

  name: str
  classes: tuple[int, ...]
  train: np.ndarray
  test: np.ndarray
  noisy: np.ndarray | None = None
  one_set: bool = False
  spec: str = ""
  seed: int = 0
  index: int = 0
  drawn: Mapping[str, int | float] = dataclasses.field(default_factory=dict)

  def labels(self, labels: np.ndarray, places: np.ndarray) -> np.ndarray:
    """Returns the task's own labels, 0 to Y - 1, of some examples.

    Args:
      labels: `[N]` labels of the training or the test set.
      places: `train` or `test`.

    Raises:
      InputError: if an example is of none of the task's classes.
    """
    order = np.argsort(self.classes)
    ranked = np.asarray(self.classes)[order]
    wanted = labels[places]
    found = np.minimum(np.searchsorted(ranked, wanted), len(ranked) - 1)
    odd = ranked[found] != wanted
    if odd.any():
      raise checks.InputError(
        f"task {self.name}: example {int(places[odd.argmax()])} is of class "
        f"{int(wanted[odd.argmax()])}, which is none of its {len(ranked)} "
        "classes: does the test set have classes that training has not?"
      )
    return order[found].astype(np.int32)

  def train_labels(self, labels: np.ndarray) -> np.ndarray:
    """Returns `[n]` int32, own labels to train with, noise included.

    Args:
      labels: `[N]` labels of the training set (of the test set if `one_set`).

    Raises:
      InputError: as `labels`.
    """
    clean = self.labels(labels, self.train)
    return clean if self.noisy is None else self.noisy

  def test_labels(self, labels: np.ndarray) -> np.ndarray:
    """Returns `[m]` int32, own labels to test with; they have no noise.

    Args:
      labels: `[M]` labels of the test set.

    Raises:
      InputError: as `labels`.
    """
    return self.labels(labels, self.test)

  def row(self) -> dict[str, Any]:
    """Returns plain JSON values, from which `from_row` draws the task again."""
    return {
      "task": self.name,
      "sampler": self.spec,
      "task_seed": self.seed,
      "task_index": self.index,
      "num_classes": len(self.classes),
      "classes": list(self.classes),
      "train_examples": len(self.train),
      "test_examples": len(self.test),
      **self.drawn,
      "task_checksum": self._checksum(),
    }

  def _checksum(self):
    """Of its examples, as eight hexadecimal digits."""
    found = 0
    for array in (self.classes, self.train, self.test, self.noisy):
      values = np.asarray(() if array is None else array, "<i4")
      found = zlib.crc32(
        values.tobytes(), zlib.crc32(b"%d " % values.size, found)
      )
    return f"{found:08x}"


def whole(train: np.ndarray, test: np.ndarray, *, name: str = "all") -> Task:
  """Returns the task of all examples of a training and a test set.

  Args:
    train: `[N]` labels of the training set.
    test: `[M]` labels of the test set.
    name: of the task.
  """
  return Task(
    name=name,
    classes=tuple(int(c) for c in np.unique(train)),
    train=np.arange(len(train), dtype=np.int32),
    test=np.arange(len(test), dtype=np.int32),
    spec="all",
  )


def share(name: str, count: int) -> int:
  """Returns which of `count` workers has what is called so, from 0."""
  return zlib.crc32(name.encode()) % count


def check(tasks: Sequence[Task], train: np.ndarray, test: np.ndarray) -> None:
  """Refuses tasks that nothing can be trained or tested on.

  Args:
    tasks: to check.
    train: `[N]` labels of the training set.
    test: `[M]` labels of the test set.

  Raises:
    InputError: if there is no task; or one has no examples, places outside the
      sets, fewer than two classes in training, or test examples of other
      classes; or trains on test examples, or on a set it was not drawn from.
  """
  if not tasks:
    raise checks.InputError("there are no tasks to train")
  for task in tasks:
    if task.one_set and not np.array_equal(train, test):
      raise checks.InputError(
        f"task {task.name} trains on examples of the test set, but another "
        "training set is given: pass the test set for both"
      )
    for what, places, labels in (
      ("training", task.train, train),
      ("test", task.test, test),
    ):
      if not len(places):
        raise checks.InputError(f"task {task.name} has no {what} examples")
      if np.min(places) < 0 or np.max(places) >= len(labels):
        raise checks.InputError(
          f"task {task.name} names {what} example {int(np.max(places))}, but "
          f"there are {len(labels)}"
        )
    own = task.train_labels(train)
    if len(own) != len(task.train):
      raise checks.InputError(
        f"task {task.name} has {len(own)} noisy labels of {len(task.train)} "
        "training examples"
      )
    present = np.unique(own)
    if present[0] < 0 or present[-1] >= len(task.classes):
      raise checks.InputError(
        f"task {task.name} has noisy labels {present[0]} to {present[-1]}, but "
        f"its own are 0 to {len(task.classes) - 1}"
      )
    if len(present) < 2:
      raise checks.InputError(
        f"task {task.name} has one class in training: a classifier needs two"
      )
    tested = np.unique(task.test_labels(test))
    missing = np.setdiff1d(tested, present)
    if len(missing):
      raise checks.InputError(
        f"task {task.name} is tested on class {task.classes[missing[0]]}, of "
        "which it has no training example"
      )
    if task.one_set:
      both = np.intersect1d(task.train, task.test)
      if len(both):
        raise checks.InputError(
          f"task {task.name} is tested on {len(both)} of its training "
          f"examples, the first of them {int(both[0])}"
        )


def holdout(
  labels: Any, *, fraction: float = 0.2, seed: int
) -> tuple[np.ndarray, np.ndarray]:
  """Splits a set without a test split into two, class by class.

  Of a class with k examples, round(fraction k) are for test, but at least one
  and not all; the example of a class with only one is for training.

  Args:
    labels: `[N]` integers.
    fraction: of the examples, for test; between 0 and 1.
    seed: of the draw.

  Returns:
    Places of training and of test examples, int32, ascending: together they
    are all, and none is in both.

  Raises:
    InputError: if the fraction is out of range, or no class has two examples.
  """
  if not 0 < fraction < 1:
    raise checks.InputError(
      f"fraction is {fraction!r}, but must be above 0 and below 1"
    )
  rng = np.random.default_rng(_integer("seed", seed, 0))
  train, test = [], []
  for places in _by_class(checks.class_labels(labels)).values():
    size = max(round(fraction * len(places)), 1)
    size = min(size, len(places) - 1)
    shuffled = rng.permutation(places)
    test.append(shuffled[:size])
    train.append(shuffled[size:])
  if not any(map(len, test)):
    raise checks.InputError(
      f"no class has two examples, so none of {len(train)} can be held out for "
      "test: are these class labels?"
    )
  return _ascending(train), _ascending(test)


def subsets(
  train_labels: Any,
  test_labels: Any,
  *,
  count: int = 200,
  classes: tuple[int, int] | None = None,
  seed: int,
) -> list[Task]:
  """Tasks of some of the classes, with all their examples.

  Args:
    train_labels: `[N]` labels of the training set.
    test_labels: `[M]` labels of the test set.
    count: number of tasks.
    classes: least and most classes of a task, drawn uniformly; by default from
      2 to all.
    seed: of the draws.

  Raises:
    InputError: if an argument is out of range, there are not as many classes,
      or training and test labels are one array.

  Reference: Nguyen et al., ICML 2020, section 5.1.
  """
  pool = _two_sets(train_labels, test_labels)
  return _subsets(pool, classes=classes).tasks(count, seed)


def small(
  train_labels: Any,
  test_labels: Any,
  *,
  count: int = 200,
  classes: int = 5,
  examples: int = 50,
  seed: int,
) -> list[Task]:
  """Tasks of few classes and few training examples of each.

  All test examples of the classes are tested on. With the same seed, more
  examples contain the fewer.

  Args:
    train_labels: `[N]` labels of the training set.
    test_labels: `[M]` labels of the test set.
    count: number of tasks.
    classes: of a task.
    examples: for training, of each class.
    seed: of the draws.

  Raises:
    InputError: as `subsets`, or if a class has fewer examples.

  Reference: Nguyen et al., ICML 2020, section 5.2.
  """
  pool = _two_sets(train_labels, test_labels)
  sampler = _small(pool, classes=classes, examples=examples)
  return sampler.tasks(count, seed)


def imbalanced(
  train_labels: Any,
  test_labels: Any,
  *,
  count: int = 200,
  minority: tuple[int, int] = (30, 60),
  ratio: int = 5,
  seed: int,
) -> list[Task]:
  """Tasks of two classes, one with several times the examples of the other.

  The smaller is the task's class 1, the positive one of an F1. All test
  examples of the two are tested on.

  Args:
    train_labels: `[N]` labels of the training set.
    test_labels: `[M]` labels of the test set.
    count: number of tasks.
    minority: least and most training examples of the smaller class, drawn
      uniformly.
    ratio: how many times more the larger class has.
    seed: of the draws.

  Raises:
    InputError: as `subsets`, or if a class has fewer examples than the larger
      one may need.

  Reference: Nguyen et al., ICML 2020, section 5.3.
  """
  pool = _two_sets(train_labels, test_labels)
  sampler = _imbalanced(pool, minority=minority, ratio=ratio)
  return sampler.tasks(count, seed)


def label_noise(
  train_labels: Any,
  test_labels: Any,
  *,
  count: int = 200,
  classes: int = 5,
  examples: int = 50,
  fraction: float | tuple[float, float] | list[float] = (0.0, 0.5),
  seed: int,
) -> list[Task]:
  """The tasks of `small`, with some training labels replaced.

  Of n training labels, round(fraction n) become another class of the task,
  each of them as likely. Test labels stay as they are.

  Args:
    train_labels: `[N]` labels of the training set.
    test_labels: `[M]` labels of the test set.
    count: number of tasks.
    classes: of a task.
    examples: for training, of each class.
    fraction: of labels replaced, 0 to 1: one for all tasks; or least and most,
      where each further task takes the middle of a widest gap (the ends,
      halves, quarters, ...); or a list that the tasks take in turn.
    seed: of the draws.

  Raises:
    InputError: as `small`.
  """
  pool = _two_sets(train_labels, test_labels)
  sampler = _label_noise(
    pool, classes=classes, examples=examples, fraction=fraction
  )
  return sampler.tasks(count, seed)


def examples_curve(
  train_labels: Any,
  test_labels: Any,
  *,
  count: int = 200,
  classes: int = 5,
  examples: int | tuple[int, int] | list[int] = (1, 50),
  seed: int,
) -> list[Task]:
  """Tasks that differ in their number of examples a class, and nothing else.

  S tasks make a curve, one for each of S sizes. All have the same classes, and
  the larger contain the smaller. When all sizes are taken, the next curve
  starts with other classes.

  Args:
    train_labels: `[N]` labels of the training set.
    test_labels: `[M]` labels of the test set.
    count: number of tasks; S for each curve.
    classes: of a task.
    examples: for training, of each class: least and most, where all sizes
      between are taken, each further task in the middle of a widest gap; or a
      list of sizes, in that order.
    seed: of the draws.

  Raises:
    InputError: as `small`.
  """
  pool = _two_sets(train_labels, test_labels)
  sampler = _examples_curve(pool, classes=classes, examples=examples)
  return sampler.tasks(count, seed)


def few_shot(
  labels: Any,
  *,
  count: int = 200,
  classes: int = 5,
  examples: int = 50,
  seed: int,
) -> list[Task]:
  """Tasks within one set: few examples for training, the others for test.

  Args:
    labels: `[N]` labels of the set that `train` and `test` both name places
      in; for the paper, the test set.
    count: number of tasks.
    classes: of a task.
    examples: for training, of each class; its others are tested on.
    seed: of the draws.

  Raises:
    InputError: if an argument is out of range, there are not as many classes,
      or a class has no example left to test on.

  Reference: Nguyen et al., ICML 2020, section 5.4.
  """
  sampler = _few_shot(_one_set(labels), classes=classes, examples=examples)
  return sampler.tasks(count, seed)


def parse(
  spec: str, train_labels: Any, test_labels: Any, *, seed: int
) -> list[Task]:
  """Draws the tasks that a line of text asks for.

  Samplers are named as their functions here, and `all` for `whole`:
  `small(count=200,classes=5,examples=50)`. Ranges are `low..high`, lists
  `[a,b,c]`; what is not given has the function's default. Several samplers are
  joined by `+` or `;`. The tasks of `few_shot` are within the test set.

  Args:
    spec: such as `subsets(count=200,classes=2..100)+all`.
    train_labels: `[N]` labels of the training set.
    test_labels: `[M]` labels of the test set.
    seed: of the draws.

  Returns:
    The tasks in order; no two have the same name.

  Raises:
    InputError: if a sampler or argument is unknown, malformed or given twice,
      or as the sampler.
  """
  tasks: list[Task] = []
  specs = set()
  for part in re.split("[+;]", spec):
    part = part.strip()
    try:
      sampler, count = _read(part, train_labels, test_labels)
      if sampler.spec in specs:
        raise checks.InputError(f"{sampler.spec} is asked for twice")
      specs.add(sampler.spec)
      tasks += sampler.tasks(count, seed)
    except checks.InputError as e:
      raise checks.InputError(f"tasks {part!r}: {e}") from e
  return tasks


def from_row(
  row: Mapping[str, Any], train_labels: Any, test_labels: Any
) -> Task:
  """Draws the task of a row again.

  Args:
    row: with what `Task.row` gave; it may hold more.
    train_labels: `[N]` labels of the training set.
    test_labels: `[M]` labels of the test set.

  Raises:
    InputError: if the row is not of a task that a sampler drew, or the task
      turns out another one.
  """
  try:
    name, spec, checksum = row["task"], row["sampler"], row["task_checksum"]
    seed, index = row["task_seed"], row["task_index"]
  except KeyError as e:
    raise checks.InputError(f"the row of a task lacks {e.args[0]!r}") from e
  if not spec:
    raise checks.InputError(
      f"no sampler drew task {name}: it cannot be drawn again"
    )
  try:
    sampler, _ = _read(spec, train_labels, test_labels)
    task = sampler.task(
      _integer("task_seed", seed, 0), _integer("task_index", index, 0)
    )
  except checks.InputError as e:
    raise checks.InputError(f"task {name}: {e}") from e
  task = dataclasses.replace(task, name=name)
  found = task.row()["task_checksum"]
  if found != checksum:
    raise checks.InputError(
      f"task {name} turns out another one, of checksum {found} and not "
      f"{checksum}: was it drawn from other labels, or by another NumPy?"
    )
  return task


@dataclasses.dataclass(frozen=True)
class _Pool:
  """What is drawn from: places by class, and the classes to choose among."""

  train_labels: np.ndarray
  test_labels: np.ndarray
  train: dict[int, np.ndarray]
  test: dict[int, np.ndarray]
  classes: np.ndarray

  def choose(self, rng, count):
    return np.sort(rng.choice(self.classes, count, replace=False)).tolist()

  def check_classes(self, text, most):
    if most > len(self.classes):
      raise checks.InputError(
        f"classes is {text}, but the number of those with training and test "
        f"examples is {len(self.classes)}"
      )

  def check_examples(self, least, needed):
    counts = [len(self.train[c]) for c in self.classes.tolist()]
    fewest = int(np.argmin(counts))
    if counts[fewest] < least:
      raise checks.InputError(
        f"class {self.classes[fewest]} has {counts[fewest]} examples to draw "
        f"from, but {needed} are needed"
      )


def _two_sets(train_labels, test_labels):
  if train_labels is test_labels:
    raise checks.InputError(
      "training and test labels are one array: tasks would be tested on what "
      "they are trained on; split the set with holdout, or use few_shot"
    )
  train = checks.class_labels(train_labels)
  test = checks.class_labels(test_labels)
  places, test_places = _by_class(train), _by_class(test)
  both = np.intersect1d(list(places), list(test_places))
  return _Pool(train, test, places, test_places, both)


def _one_set(labels):
  labels = checks.class_labels(labels)
  places = _by_class(labels)
  return _Pool(labels, labels, places, places, np.array(list(places)))


def _by_class(labels):
  """Places of each class's examples, ascending."""
  order = np.argsort(labels, kind="stable").astype(np.int32)
  classes, starts = np.unique(labels[order], return_index=True)
  return dict(zip(classes.tolist(), np.split(order, starts[1:]), strict=True))


def _ascending(places):
  return np.sort(np.concatenate(places))


def _rng(seed, index):
  sequence = np.random.SeedSequence(seed, spawn_key=(index,))
  return np.random.default_rng(sequence)


@dataclasses.dataclass(frozen=True)
class _Sampler:
  """How tasks are drawn: with which arguments, and one by its number."""

  spec: str
  draw: Callable[[int, int], Task]  # of a seed and an index

  def task(self, seed, index):
    task = self.draw(seed, index)
    return dataclasses.replace(
      task,
      name=task.name or f"{self.spec}#{index}",
      spec=self.spec,
      seed=seed,
      index=index,
    )

  def tasks(self, count, seed):
    count, seed = _integer("count", count, 1), _integer("seed", seed, 0)
    return [self.task(seed, index) for index in range(count)]


def _task(classes, train, test, **drawn):
  """A task yet without a name; `train` and `test` are lists by class."""
  return Task(
    "", tuple(classes), _ascending(train), _ascending(test), drawn=drawn
  )


def _all(pool):
  return _Sampler(
    "all", lambda seed, index: whole(pool.train_labels, pool.test_labels)
  )


def _subsets(pool, *, classes):
  if classes is None:
    classes = 2, max(len(pool.classes), 2)
  low, high = _range("classes", classes, lambda v: _integer("classes", v, 2))
  pool.check_classes(_text(classes), high)

  def draw(seed, index):
    rng = _rng(seed, index)
    chosen = pool.choose(rng, rng.integers(low, high + 1))
    return _task(
      chosen, [pool.train[c] for c in chosen], [pool.test[c] for c in chosen]
    )

  return _Sampler(_spec("subsets", classes=(low, high)), draw)


def _few(pool, rng, classes, examples):
  """A task of `classes` times `examples`: more examples contain the fewer."""
  chosen = pool.choose(rng, classes)
  return _task(
    chosen,
    [rng.permutation(pool.train[c])[:examples] for c in chosen],
    [pool.test[c] for c in chosen],
    examples_per_class=examples,
  )


def _check_few(pool, classes, examples):
  classes = _integer("classes", classes, 2)
  pool.check_classes(classes, classes)
  pool.check_examples(examples, examples)
  return classes


def _small(pool, *, classes, examples):
  examples = _integer("examples", examples, 1)
  classes = _check_few(pool, classes, examples)
  return _Sampler(
    _spec("small", classes=classes, examples=examples),
    lambda seed, index: _few(pool, _rng(seed, index), classes, examples),
  )


def _imbalanced(pool, *, minority, ratio):
  low, high = _range("minority", minority, lambda v: _integer("minority", v, 1))
  ratio = _integer("ratio", ratio, 1)
  pool.check_classes(2, 2)
  pool.check_examples(high * ratio, f"{high} x {ratio} = {high * ratio}")

  def draw(seed, index):
    rng = _rng(seed, index)
    chosen = rng.choice(pool.classes, 2, replace=False).tolist()
    few = int(rng.integers(low, high + 1))
    return _task(
      chosen,
      [
        rng.permutation(pool.train[c])[:size]
        for c, size in zip(chosen, (few * ratio, few), strict=True)
      ],
      [pool.test[c] for c in chosen],
      minority=few,
      majority=few * ratio,
    )

  spec = _spec("imbalanced", minority=(low, high), ratio=ratio)
  return _Sampler(spec, draw)


def _label_noise(pool, *, classes, examples, fraction):
  examples = _integer("examples", examples, 1)
  classes = _check_few(pool, classes, examples)
  fraction = _range_or_list("fraction", fraction, _fraction)

  def draw(seed, index):
    rng = _rng(seed, index)
    task = _few(pool, rng, classes, examples)
    noisy = task.train_labels(pool.train_labels)
    size = round(_taken(fraction, index) * len(noisy))
    changed = rng.permutation(len(noisy))[:size]
    step = rng.integers(1, classes, size)  # never 0: never the same label
    noisy[changed] = (noisy[changed] + step) % classes
    drawn = {**task.drawn, "noise": size / len(noisy)}
    return dataclasses.replace(task, noisy=noisy, drawn=drawn)

  spec = _spec(
    "label_noise", classes=classes, examples=examples, fraction=fraction
  )
  return _Sampler(spec, draw)


def _examples_curve(pool, *, classes, examples):
  examples = _range_or_list(
    "examples", examples, lambda v: _integer("examples", v, 1)
  )
  classes = _check_few(pool, classes, max(examples))
  sizes = examples
  if isinstance(examples, tuple):
    low, high = examples
    steps = (round(_taken(examples, i)) for i in itertools.count())
    found: dict[int, None] = {}  # keeps their order
    while len(found) <= high - low:
      found[next(steps)] = None
    sizes = list(found)

  def draw(seed, index):
    curve, place = divmod(index, len(sizes))
    return _few(pool, _rng(seed, curve), classes, sizes[place])

  spec = _spec("examples_curve", classes=classes, examples=examples)
  return _Sampler(spec, draw)


def _few_shot(pool, *, classes, examples):
  classes = _integer("classes", classes, 2)
  examples = _integer("examples", examples, 1)
  pool.check_classes(classes, classes)
  pool.check_examples(examples + 1, f"{examples} and one to test on")

  def draw(seed, index):
    rng = _rng(seed, index)
    chosen = pool.choose(rng, classes)
    shuffled = [rng.permutation(pool.train[c]) for c in chosen]
    task = _task(
      chosen,
      [places[:examples] for places in shuffled],
      [places[examples:] for places in shuffled],
      examples_per_class=examples,
    )
    return dataclasses.replace(task, one_set=True)

  spec = _spec("few_shot", classes=classes, examples=examples)
  return _Sampler(spec, draw)


# By name: how it draws, and the function whose defaults its arguments have.
_SAMPLERS: dict[str, tuple[Callable[..., _Sampler], Callable[..., Any]]] = {
  "subsets": (_subsets, subsets),
  "small": (_small, small),
  "imbalanced": (_imbalanced, imbalanced),
  "label_noise": (_label_noise, label_noise),
  "examples_curve": (_examples_curve, examples_curve),
  "few_shot": (_few_shot, few_shot),
}


def _taken(values, index):
  """Which of a list, or of a range (its ends, then middles of gaps), is next.

  Reference: van der Corput, "Verteilungsfunktionen", 1935 (base 2).
  """
  if isinstance(values, list):
    return values[index % len(values)]
  low, high = values
  if index < 2:
    return values[index]
  bits = f"{index - 1:b}"
  return low + (high - low) * int(bits[::-1], 2) / 2 ** len(bits)


def _read(part, train_labels, test_labels):
  """The sampler that a text asks for, and of how many tasks."""
  match = re.fullmatch(r"(\w+)\s*(?:\((.*)\))?", part)
  if not match:
    raise checks.InputError(
      "expected a sampler and its arguments, as small(classes=5,examples=50)"
    )
  name, text = match.groups()
  if name not in ("all", *_SAMPLERS):
    raise checks.unknown("sampler", name, ("all", *_SAMPLERS))
  given = _arguments(text or "")
  if name == "all":
    if given:
      raise checks.InputError(f"all takes no arguments, but has {text}")
    return _all(_two_sets(train_labels, test_labels)), 1
  make, function = _SAMPLERS[name]
  arguments = dict(inspect.getfullargspec(function).kwonlydefaults or {})
  for key in given:
    if key not in arguments:
      raise checks.unknown(f"argument of {name}", key, arguments)
  arguments.update(given)
  count = arguments.pop("count")
  if name == "few_shot":
    pool = _one_set(test_labels)
  else:
    pool = _two_sets(train_labels, test_labels)
  return make(pool, **arguments), count


def _arguments(text):
  """Values by name, of a text such as `count=200,classes=2..100`."""
  found: dict[str, Any] = {}
  if not text.strip():
    return found
  for part in re.split(r",(?![^\[]*\])", text):  # no comma inside a list
    name, equals, value = (x.strip() for x in part.partition("="))
    if not equals:
      raise checks.InputError(f"{part.strip()!r} is not argument=value")
    if name in found:
      raise checks.InputError(f"{name} is given twice")
    try:
      found[name] = _value(value)
    except ValueError as e:
      raise checks.InputError(
        f"{name} is {value!r}, but must be a number, a range low..high or a "
        "list [a,b,c]"
      ) from e
  return found


def _value(text):
  if text.startswith("[") and text.endswith("]"):
    return [_number(x) for x in text[1:-1].split(",")]
  low, dots, high = text.partition("..")
  return (_number(low), _number(high)) if dots else _number(text)


def _number(text):
  return int(text) if re.fullmatch(r"\s*-?\d+\s*", text) else float(text)


def _text(value):
  """A value as `_value` reads it."""
  if isinstance(value, list):
    return f"[{','.join(map(_text, value))}]"
  if isinstance(value, tuple):
    return "..".join(dict.fromkeys(map(_text, value)))  # 5, not 5..5
  return f"{value}"


def _spec(name, **arguments):
  parts = [f"{key}={_text(value)}" for key, value in arguments.items()]
  return f"{name}({','.join(parts)})"


def _integer(name, value, least):
  if (
    isinstance(value, bool)
    or not isinstance(value, (int, np.integer))
    or value < least
  ):
    raise checks.InputError(
      f"{name} is {_text(value)}, but must be an integer from {least}"
    )
  return int(value)


def _fraction(value):
  number = isinstance(value, (int, float, np.integer, np.floating))
  if not number or not 0 <= value <= 1:
    raise checks.InputError(
      f"fraction is {_text(value)}, but must be a number from 0 to 1"
    )
  return float(value)


def _range(name, value, convert):
  """Least and most, of those two or of one number."""
  if not isinstance(value, tuple):
    value = value, value
  if len(value) != 2:
    raise checks.InputError(
      f"{name} is {_text(value)}, but a range has two ends, least and most"
    )
  low, high = map(convert, value)
  if low > high:
    raise checks.InputError(
      f"{name} is {_text(value)}: is the range upside down?"
    )
  return low, high


def _range_or_list(name, value, convert):
  if not isinstance(value, list):
    return _range(name, value, convert)
  if not value:
    raise checks.InputError(f"{name} is an empty list")
  return [convert(x) for x in value]
