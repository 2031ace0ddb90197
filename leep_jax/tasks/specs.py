"""Samplers as text, and the tasks that a text or a row of results states.

The text of a sampler is its name and its fields:
`small(classes=5,examples=50)`. Where it asks for tasks, it may also state their
number: `small(count=200,classes=5)`. Fields that are left out have their
default.
"""

from collections.abc import Mapping
import dataclasses
import re
from typing import Any

import numpy.typing as npt

from leep_jax import validation
from leep_jax.tasks import pool as pools, samplers, values
from leep_jax.tasks.sampler import Sampler
from leep_jax.tasks.task import Task


def spec_of(sampler: Sampler) -> str:
  """Returns the text of a sampler.

  Args:
    sampler: any.

  Example:
    >>> from leep_jax import tasks
    >>> from leep_jax.tasks import specs
    >>> specs.spec_of(tasks.Imbalanced(minority=(3, 8)))
    'imbalanced(minority=3..8,ratio=5)'
  """
  parts = [
    f"{field.name}={values.text_of(getattr(sampler, field.name))}"
    for field in dataclasses.fields(sampler)
    # None is a default that depends on the data, see `Sampler.resolved`.
    if getattr(sampler, field.name) is not None
  ]
  return f"{sampler.name}({','.join(parts)})" if parts else sampler.name


def sampler_of(spec: str) -> tuple[Sampler, Any]:
  """Reads a sampler and a number of tasks from text.

  Args:
    spec: the text.

  Returns:
    The sampler, and the number as it was stated: it is not checked.

  Raises:
    InputError: if the sampler or an argument is unknown, malformed, out of
      range or stated twice.

  Example:
    >>> from leep_jax.tasks import specs
    >>> specs.sampler_of("small(count=3,examples=20)")
    (Small(classes=5, examples=20), 3)
  """
  match = re.fullmatch(r"(\w+)\s*(?:\((.*)\))?", spec)
  if not match:
    raise validation.InputError(
      "expected a sampler and its arguments, as small(classes=5,examples=50)"
    )
  name, text = match.groups()
  if name not in samplers.SAMPLERS:
    raise validation.unknown("sampler", name, samplers.SAMPLERS)
  kind = samplers.SAMPLERS[name]
  given = _arguments(text or "")
  fields = [field.name for field in dataclasses.fields(kind)]
  if given and not fields:
    raise validation.InputError(f"{name} takes no arguments, but has {text}")
  for key in given:
    if key not in ("count", *fields):
      raise validation.unknown(f"argument of {name}", key, ("count", *fields))
  # No field of the sampler: it says how many tasks, and not which.
  count = given.pop("count", kind.default_count)
  return kind(**given), count


def _arguments(text):
  """Values by name, from a text such as `count=200,classes=2..100`."""
  found: dict[str, Any] = {}
  if not text.strip():
    return found
  for part in re.split(r",(?![^\[]*\])", text):  # no comma inside a list
    name, equals, value = (x.strip() for x in part.partition("="))
    if not equals:
      raise validation.InputError(f"{part.strip()!r} is not argument=value")
    if name in found:
      raise validation.InputError(f"{name} is given twice")
    try:
      found[name] = values.value_of(value)
    except ValueError as e:
      raise validation.InputError(
        f"{name} is {value!r}, but must be a number, a range low..high or a "
        "list [a,b,c]"
      ) from e
  return found


def draw(
  sampler: Sampler,
  train_labels: npt.ArrayLike,
  test_labels: npt.ArrayLike,
  *,
  count: int | None = None,
  seed: int,
) -> list[Task]:
  """Draws tasks.

  Args:
    sampler: the sampler.
    train_labels: `[N]` labels of the training set; `FewShot` does not use them.
    test_labels: `[M]` labels of the test set.
    count: number of tasks; by default 200, and 1 for `All`.
    seed: of the draws.

  Raises:
    InputError: if an argument is out of range, there are too few classes or
      examples for the sampler, or training and test labels are the same array.

  Example:
    >>> import numpy as np
    >>> from leep_jax import tasks
    >>> train, test = np.repeat(np.arange(4), 10), np.repeat(np.arange(4), 5)
    >>> small = tasks.Small(classes=2, examples=3)
    >>> [task.classes for task in tasks.draw(
    ...   small, train, test, count=2, seed=0)]
    [(2, 3), (1, 2)]
  """
  sampler, pool = _prepared(sampler, train_labels, test_labels)
  if count is None:
    count = sampler.default_count
  count = values.integer("count", count, 1)
  seed = values.integer("seed", seed, 0)
  return [_named(sampler, pool, seed, index) for index in range(count)]


def _prepared(sampler, train_labels, test_labels):
  """The sampler with all its defaults, and its pool; both are checked."""
  if sampler.one_set:
    pool = pools.of_one_set(test_labels)
  else:
    pool = pools.of_two_sets(train_labels, test_labels)
  # Before `spec_of`: rows then state defaults that depend on the data.
  sampler = sampler.resolved(pool)
  sampler.check(pool)
  return sampler, pool


def _named(sampler, pool, seed, index) -> Task:
  """A task with its name, and with the fields that draw it again."""
  task, spec = sampler.draw(pool, seed, index), spec_of(sampler)
  return dataclasses.replace(
    task,
    name=task.name or f"{spec}#{index}",
    spec=spec,
    seed=seed,
    index=index,
  )


def parse(
  spec: str,
  train_labels: npt.ArrayLike,
  test_labels: npt.ArrayLike,
  *,
  seed: int,
) -> list[Task]:
  """Draws the tasks that a line of text describes.

  Samplers have the names of `samplers.SAMPLERS`. Several are joined by `+` or
  `;`. Ranges are `low..high`, lists `[a,b,c]`.

  Args:
    spec: such as `subsets(count=200,classes=2..100)+all`.
    train_labels: `[N]` labels of the training set.
    test_labels: `[M]` labels of the test set.
    seed: of the draws.

  Returns:
    The tasks in order; no two have the same name.

  Raises:
    InputError: if a sampler or argument is unknown, malformed or stated twice,
      or as `draw`.

  Example:
    >>> import numpy as np
    >>> from leep_jax import tasks
    >>> train, test = np.repeat(np.arange(4), 10), np.repeat(np.arange(4), 5)
    >>> for task in tasks.parse(
    ...   "small(count=2,classes=2,examples=3)+all", train, test, seed=0):
    ...   print(task.name, len(task.train))
    small(classes=2,examples=3)#0 6
    small(classes=2,examples=3)#1 6
    all 40
  """
  tasks: list[Task] = []
  specs = set()
  for part in re.split("[+;]", spec):
    part = part.strip()
    try:
      sampler, count = sampler_of(part)
      drawn = draw(sampler, train_labels, test_labels, count=count, seed=seed)
      # Names of tasks follow from the text: they would occur twice.
      if drawn[0].spec in specs:
        raise validation.InputError(f"{drawn[0].spec} is asked for twice")
    except validation.InputError as e:
      raise validation.InputError(f"tasks {part!r}: {e}") from e
    specs.add(drawn[0].spec)
    tasks += drawn
  return tasks


def from_row(
  row: Mapping[str, Any],
  train_labels: npt.ArrayLike,
  test_labels: npt.ArrayLike,
) -> Task:
  """Draws the task of a row of results again.

  Args:
    row: with the fields of `Task.row`, and possibly others.
    train_labels: `[N]` labels of the training set.
    test_labels: `[M]` labels of the test set.

  Raises:
    InputError: if no sampler drew the task of the row, or the checksum of the
      new task differs.

  Example:
    >>> import numpy as np
    >>> from leep_jax import tasks
    >>> train, test = np.repeat(np.arange(4), 10), np.repeat(np.arange(4), 5)
    >>> first = tasks.parse(
    ...   "small(count=8,classes=2,examples=3)", train, test, seed=0)[7]
    >>> again = tasks.from_row(first.row(), train, test)
    >>> np.array_equal(again.train, first.train)
    True
  """
  try:
    name, spec, checksum = row["task"], row["sampler"], row["task_checksum"]
    seed, index = row["task_seed"], row["task_index"]
  except KeyError as e:
    raise validation.InputError(f"the row of a task lacks {e.args[0]!r}") from e
  if not spec:
    raise validation.InputError(
      f"no sampler drew task {name}: it cannot be drawn again"
    )
  try:
    sampler, _ = sampler_of(spec)
    sampler, pool = _prepared(sampler, train_labels, test_labels)
    seed = values.integer("task_seed", seed, 0)
    index = values.integer("task_index", index, 0)
  except validation.InputError as e:
    raise validation.InputError(f"task {name}: {e}") from e
  task = dataclasses.replace(_named(sampler, pool, seed, index), name=name)
  found = task.row()["task_checksum"]
  if found != checksum:
    raise validation.InputError(
      f"task {name} turns out another one, of checksum {found} and not "
      f"{checksum}: was it drawn from other labels, or by another NumPy?"
    )
  return task
