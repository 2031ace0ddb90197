"""Scores of many tasks from one source's outputs, exact and batched.

Tasks with all examples of their classes are scored from sums of each class
(`subset_scores`). For tasks with some of the examples, one vmapped function of
gathered rows computes LEEP and NCE, on all devices. Other scores are computed
for one task after another.
"""

from collections.abc import Callable, Sequence
import functools

import jax
import jax.numpy as jnp
import numpy as np

from leep_jax import scores as scores_lib, validation
from leep_jax.engine import outputs as outputs_lib, programs
from leep_jax.tasks import subset_scores
from leep_jax.tasks.task import Task

# Probabilities that are gathered on a device at a time: 64 MiB.
_MOST_NUMBERS = 1 << 24

Row = dict[str, float | None]


def score_tasks(
  outputs: outputs_lib.Outputs,
  tasks: Sequence[Task],
  *,
  names: Sequence[str],
  on_row: Callable[[int, Row], object] = lambda index, row: None,
) -> list[Row]:
  """Scores a source for each task.

  Args:
    outputs: of the set that contains the tasks' training examples.
    tasks: to score, on their training examples and labels.
    names: rows of `scores.SCORES`.
    on_row: called with the index of each task and its scores, as soon as they
      are computed.

  Returns:
    For each task its scores by name; None where a score is undefined.

  Raises:
    InputError: if a score is unknown, or the outputs lack a field that it
      needs.

  Example:
    >>> import leep_jax
    >>> import numpy as np
    >>> from leep_jax import tasks
    >>> from leep_jax.tasks import task_scores
    >>> labels = np.arange(60) % 3
    >>> probs = 0.9 * np.eye(3)[labels] + 0.1 / 3  # it knows the classes
    >>> outputs = leep_jax.Outputs.from_arrays(probs=probs, labels=labels)
    >>> spec = "all+small(count=1,classes=2,examples=5)"
    >>> drawn = tasks.parse(spec, labels, labels.copy(), seed=0)
    >>> names = ["leep", "nce"]
    >>> for row in task_scores.score_tasks(outputs, drawn, names=names):
    ...   print({name: round(value, 4) for name, value in row.items()})
    {'leep': -0.1354, 'nce': 0.0}
    {'leep': -0.0845, 'nce': 0.0}
  """
  for name in names:
    if name not in scores_lib.SCORES:
      raise validation.unknown("score", name, scores_lib.SCORES)
  fast = {n for n in names if scores_lib.SCORES[n].missing(outputs) is None}
  rows: list[Row] = [{} for _ in tasks]
  by_class = _by_class(outputs, tasks)
  chosen = [i for i in range(len(tasks)) if by_class[i]]
  if chosen:
    mask = np.zeros((len(chosen), outputs.num_classes), bool)
    for subset, i in zip(mask, chosen, strict=True):
      subset[list(tasks[i].classes)] = True
    for name in fast & set(subset_scores.OF_SUBSETS):
      for i, value in zip(
        chosen, subset_scores.OF_SUBSETS[name](outputs, mask), strict=True
      ):
        rows[i][name] = float(value)
  sampled = [i for i in range(len(tasks)) if not by_class[i]]
  if sampled and {"leep", "nce"} & fast:
    found = _sampled(outputs, [tasks[i] for i in sampled])
    for i, values in zip(sampled, found, strict=True):
      rows[i] |= {name: values[name] for name in names if name in values}
  for i, (task, row) in enumerate(zip(tasks, rows, strict=True)):
    missing = [name for name in names if name not in row]
    if missing:
      row |= scores_lib.compute_scores(_own(outputs, task), names=missing)
    rows[i] = {name: row[name] for name in names}
    on_row(i, rows[i])
  return rows


def _by_class(outputs, tasks):
  """Marks the tasks that have all examples of their classes."""
  counts = np.bincount(outputs.labels, minlength=outputs.num_classes)
  return [
    # With other labels than the data set's, sums of its classes are not theirs.
    task.noisy is None and len(task.train) == counts[list(task.classes)].sum()
    for task in tasks
  ]


def _own(outputs, task):
  """The outputs of a task's training examples, with its own labels."""
  arrays = {
    key: outputs.store.array(key)[task.train] for key in outputs.store.keys()
  }
  return outputs_lib.Outputs.from_arrays(
    **arrays, labels=task.train_labels(outputs.labels), name=outputs.name
  )


def _sampled(outputs, tasks) -> list[dict[str, float]]:
  """LEEP and NCE of tasks that are samples of examples."""
  outputs.check("probs")
  probs = outputs.probs
  rows = max(len(task.train) for task in tasks)
  # Rounded up, as are the classes below: each shape is compiled.
  rows = -(-rows // 64) * 64
  classes = max(len(task.classes) for task in tasks)
  classes = 1 << (classes - 1).bit_length()
  count = programs.device_count()
  most = max(1, _MOST_NUMBERS // (rows * probs.shape[1]))
  found: list[dict[str, float]] = []
  for start in range(0, len(tasks), most * count):
    part = tasks[start : start + most * count]
    labels = np.full((len(part), rows), -1, np.int32)
    gathered = np.zeros((len(part), rows, probs.shape[1]), np.float32)
    for i, task in enumerate(part):
      labels[i, : len(task.train)] = task.train_labels(outputs.labels)
      gathered[i, : len(task.train)] = probs[task.train]
    batch = [
      programs.split(x, -(-len(part) // count)) for x in (gathered, labels)
    ]
    sums, counts = _compiled(classes)((), batch)
    sums = _gather(sums, len(part)).astype(np.float64)
    counts = _gather(counts, len(part)).astype(np.float64)
    for task, total, table in zip(part, sums, counts, strict=True):
      n = len(task.train)
      mass = table.sum(axis=0, keepdims=True)
      # NCE from counts; an empty cell adds 0 log 1.
      terms = np.where(table > 0, table, 1) / np.where(mass > 0, mass, 1)
      nce = float(np.sum(table * np.log(terms)) / n)
      found.append({"leep": min(float(total / n), 0.0), "nce": min(nce, 0.0)})
  return found


def _gather(array, count):
  array = np.asarray(array)
  return array.reshape(-1, *array.shape[2:])[:count]


# Cached, as programs are compiled again for each new function.
@functools.lru_cache(maxsize=16)
def _compiled(classes):
  """Summed log-likelihood `[T]` and counts `[T, Y, Z]`, over devices."""

  def one(probs, labels):
    inside = labels >= 0
    true = jax.nn.one_hot(labels, classes)  # zeros for -1
    # Accelerators would round the factors to bfloat16.
    with jax.default_matmul_precision("highest"):
      joint = true.T @ probs
      mass = joint.sum(axis=0, keepdims=True)
      given = joint / jnp.where(mass > 0, mass, 1)
      likelihood = jnp.sum(probs * (true @ given), axis=1)
    # Padding has likelihood 0: log 1 adds nothing in its place.
    logs = jnp.log(jnp.where(inside, likelihood, 1))
    said = jax.nn.one_hot(probs.argmax(axis=1), probs.shape[1])
    return logs.sum(), true.T @ said

  def all_of(_, batch):
    return jax.vmap(one)(*batch)

  return programs.parallel(all_of, fused=True)
