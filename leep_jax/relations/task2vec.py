r"""Task2Vec: tasks as vectors, by the Fisher information of a probe network.

All tasks have the same probe network. The embedding of a task has a number for
each filter of it: the Fisher information of the filter's weights for the task,
with a converged head of the task's own (see `fisher`). It is at least 0, and
depends neither on the order of examples nor on names or number of classes.

The distance of two embeddings a and b is the cosine distance of a / (a + b)
and b / (a + b), element by element: filters differ in their information by
orders of magnitude, and so all count alike. It is 0 for proportional embeddings
and at most 1; lower is nearer.

Symbols: T tasks, F filters.

Published code (awslabs/aws-cv-task2vec) has another form as well, in which
noise on the weights is trained; here there is none. Its form `montecarlo`
squares the gradient of the mean loss of a batch, not of an example: in
expectation the information divided by the size of the batch, with the noise of
all pairs of examples. BatchNorm is then in training mode, so that an example's
gradient depends on its batch. Its head is trained for ten epochs, examples are
drawn with replacement, classes alike, and the scales of BatchNorm count as
filters. It adds 1e-8 to a + b.

Reference: Achille, Lam, Tewari, Ravichandran, Maji, Fowlkes, Soatto, Perona.
Task2Vec: Task Embedding for Meta-Learning. ICCV 2019, arXiv 1902.03545.
"""

from collections.abc import Callable, Iterator, Sequence
import dataclasses
from typing import Any

import numpy as np
import numpy.typing as npt

from leep_jax import data, tasks as tasks_lib, transfer, validation
from leep_jax.engine import forward
from leep_jax.relations import fisher
from leep_jax.sources import source as source_lib
from leep_jax.transfer.network import job

# The strength of the head's penalty, for features of unit variance. Without
# one, a head that separates the classes is sure of everything, and the
# information is 0. With less, the embeddings of few examples differ by chance
# (`experiments/results/task_relations.md`).
L2 = 0.01
# The weight of a source's complexity in the asymmetric distance.
ALPHA = 0.15
_FORWARD_ROWS = 256
# Numbers of the matrices from which directions are computed, at a time.
_MOST_NUMBERS = 1 << 22


def embed(
  source: source_lib.Source,
  dataset: data.Dataset | job.Images,
  *,
  tasks: Sequence[tasks_lib.Task] | None = None,
  form: str = "exact",
  l2: float = L2,
  seed: int = 0,
  progress: Callable[[int, int], Any] = lambda done, total: None,
) -> np.ndarray:
  """Embeds tasks on one data set.

  All images run through the network once, and the heads of all tasks are fitted
  to their features. The information then costs min(Y - 1, D) backward passes an
  example (`exact`), or one, on all devices of this process.

  Args:
    source: the probe network, one of images of this package.
    dataset: of images, or its `(images [n, H, W, C], labels [n])`, uint8 or
      floats in [0, 1].
    tasks: of which the training examples are used; by default one task of all
      examples.
    form: of the information, one of `fisher.FORMS`: the mean over all classes
      as the head predicts them, a class drawn from that distribution, or the
      true class.
    l2: strength of the head's penalty, see `transfer.probe_head`.
    seed: of the classes that are drawn.
    progress: called with the number of backward passes done, and of all.

  Returns:
    `[T, F]` float64, at least 0.

  Raises:
    InputError: if the source is no such network, images do not fit it, or a
      task has fewer than two classes.

  Example:
    >>> import leep_jax
    >>> from leep_jax import relations
    >>> probe = leep_jax.load_source("fashion_mnist_resnet8")
    >>> digits = leep_jax.load_dataset("digits", limit=30)
    >>> found = relations.embed(probe, digits, form="monte_carlo")
    >>> len(found), bool((found >= 0).all())
    (1, True)

  Reference: Achille, Lam, Tewari, Ravichandran, Maji, Fowlkes, Soatto, Perona.
  Task2Vec: Task Embedding for Meta-Learning. ICCV 2019, arXiv 1902.03545,
  section 2.
  """
  if form not in fisher.FORMS:
    raise validation.unknown("form", form, fisher.FORMS)
  fisher.probe_network(source)  # refused before images are read
  source, images, labels = job.load_set(source, dataset)
  if tasks is None:
    tasks = [tasks_lib.all_examples(labels, labels)]
  squares = fisher.Squares(source)
  outputs = forward.compute_outputs(
    source,
    [
      (images[i : i + _FORWARD_ROWS], labels[i : i + _FORWARD_ROWS])
      for i in range(0, len(images), _FORWARD_ROWS)
    ],
  )
  heads = transfer.probe_head(
    outputs,
    outputs,
    # The head is not tested here.
    tasks=[
      dataclasses.replace(task, test=task.train, one_set=False)
      for task in tasks
    ],
    l2=l2,
  )
  features = np.asarray(outputs.features)
  work = _Work(images, labels, features, form, seed, squares)
  found = np.zeros((len(tasks), squares.filters))
  # Tasks with equally many directions in a row share calls.
  by_width: dict[int, list[int]] = {}
  counts = [
    fisher.count(len(task.classes), features.shape[1], form=form)
    for task in tasks
  ]
  for i, count in enumerate(counts):
    by_width.setdefault(squares.width(count), []).append(i)
  sizes = [len(task.train) for task in tasks]
  done, total = 0, sum(n * k for n, k in zip(sizes, counts, strict=True))
  for width, members in by_width.items():
    rows = work.rows([(i, tasks[i], heads[i].params) for i in members], width)
    for examples, owners, directions in _full(rows, squares.rows(width)):
      np.add.at(found, owners, squares(images[examples], directions))
      done = min(total, done + len(examples) * width)
      progress(done, total)
  return found / np.array(sizes)[:, None]


@dataclasses.dataclass(frozen=True)
class _Work:
  """What the rows of all tasks are made of."""

  images: np.ndarray
  labels: np.ndarray
  features: np.ndarray
  form: str
  seed: int
  squares: fisher.Squares

  def rows(self, members, width) -> Iterator[tuple[np.ndarray, ...]]:
    """Yields images' indices, tasks' numbers and directions `[m, width, D]`."""
    for i, task, (kernel, bias) in members:
      # A task's own generator: its draws do not depend on the other tasks.
      rng = np.random.default_rng(self.seed)
      own = task.train_labels(self.labels)
      size = max(1, _MOST_NUMBERS // (kernel.size + len(kernel)))
      for start in range(0, len(own), size):
        examples = task.train[start : start + size]
        found = fisher.directions(
          self.features[examples],
          kernel,
          bias,
          form=self.form,
          labels=own[start : start + size],
          rng=rng,
        )
        n, count, features = found.shape
        parts = -(-count // width)
        # Directions of 0 add nothing.
        found = np.pad(found, ((0, 0), (0, parts * width - count), (0, 0)))
        yield (
          np.repeat(examples, parts),
          np.full(n * parts, i),
          found.reshape(n * parts, width, features),
        )


def _full(blocks, size) -> Iterator[tuple[np.ndarray, ...]]:
  """Divides blocks of rows into batches of `size` rows; the last is smaller."""
  left: list[tuple[np.ndarray, ...]] = []
  waiting = 0
  for block in blocks:
    left.append(block)
    waiting += len(block[0])
    if waiting < size:
      continue
    joined = [np.concatenate(arrays) for arrays in zip(*left, strict=True)]
    whole = waiting - waiting % size
    for start in range(0, whole, size):
      yield tuple(array[start : start + size] for array in joined)
    left, waiting = [tuple(array[whole:] for array in joined)], waiting % size
  if waiting:
    yield tuple(np.concatenate(arrays) for arrays in zip(*left, strict=True))


def distance(first: npt.ArrayLike, second: npt.ArrayLike) -> float:
  """Returns the distance of two embeddings, 0 to 1; lower is nearer.

  1 - cos(a / (a + b), b / (a + b)), without the filters where a and b are 0:
  neither task says anything of them.

  Args:
    first: a, `[F]`.
    second: b, `[F]`.

  Raises:
    UndefinedScore: if an embedding is 0 everywhere.

  Example:
    >>> from leep_jax import relations
    >>> relations.distance([1.0, 2.0, 0.0], [2.0, 4.0, 0.0])  # proportional
    0.0
    >>> round(relations.distance([1.0, 3.0], [3.0, 1.0]), 4)
    0.4

  Reference: Achille et al. Task2Vec. ICCV 2019, section 3 (symmetric distance).
  """
  return float(distances(np.array([first, second]))[0, 1])


def distances(
  embeddings: npt.ArrayLike,
  *,
  names: Sequence[str] | None = None,
  alpha: float = 0.0,
  trivial: float = 1.0,
) -> np.ndarray:
  """Returns the distances from source tasks (rows) to targets (columns).

  With d of `distance` and the trivial embedding t0, that of task a to task b is

      d(a, b) - alpha d(a, t0),

  which is lower for complex source tasks. With `alpha` 0 it is symmetric.

  Args:
    embeddings: `[T, F]`.
    names: of the tasks, in errors.
    alpha: weight of the complexity; the paper found 0.15 best (`ALPHA`).
    trivial: the information of each filter in t0. Published code has 1, the
      precision of its prior where that is not trained.

  Returns:
    `[T, T]` float64, with d 0 on the diagonal.

  Raises:
    InputError: if values are negative or not finite.
    UndefinedScore: if an embedding is 0 everywhere.

  Example:
    >>> from leep_jax import relations
    >>> relations.distances([[1, 3], [3, 1], [2, 6]]).round(2).tolist()
    [[0.0, 0.4, 0.0], [0.4, 0.0, 0.38], [0.0, 0.38, 0.0]]

  Reference: Achille, Lam, Tewari, Ravichandran, Maji, Fowlkes, Soatto, Perona.
  Task2Vec: Task Embedding for Meta-Learning. ICCV 2019, arXiv 1902.03545,
  section 3 (asymmetric distance).
  """
  rows = np.atleast_2d(validation.as_array("embeddings", embeddings))
  rows = rows.astype(np.float64)
  if not np.isfinite(rows).all() or (rows < 0).any():
    raise validation.InputError(
      "embeddings must be finite and at least 0, as Fisher information is"
    )
  for i, row in enumerate(rows):
    if not row.any():
      name = names[i] if names is not None else f"number {i}"
      raise validation.UndefinedScore(
        f"the embedding of {name} is 0 everywhere: is its head sure of every "
        "example? A larger l2 keeps it from that"
      )
  found = np.zeros((len(rows), len(rows)))
  for i in range(len(rows)):
    for j in range(i):
      found[i, j] = found[j, i] = _distance(rows[i], rows[j])
  if alpha:
    t0 = np.full(rows.shape[1], float(trivial))
    found -= alpha * np.array([[_distance(row, t0)] for row in rows])
  return found


def _distance(a, b):
  total = a + b
  used = total > 0
  a, b = a[used] / total[used], b[used] / total[used]
  product = np.linalg.norm(a) * np.linalg.norm(b)
  # Rounding: the cosine of proportional vectors may exceed 1.
  return max(0.0, 1 - float(a @ b) / product)
