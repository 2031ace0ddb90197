"""Sums of statistics by NumPy, for arrays in host memory on a CPU.

Where a CPU is the only device, its memory is the host's, and XLA's programs
read arrays in it several times more slowly than memory allows. Functions here
have the sums of the statistic of the same name in `statistics.py`, of all
groups at once, and for the same arguments after the batch. They return None for
rows with faults, which the statistic on devices then counts.

One thread a core reads rows in blocks that stay in its cache. Rows of float32
are summed in float32 up to `_PIECE` rows, and in float64 beyond.
"""

from collections.abc import Callable, Iterable, Iterator
from concurrent import futures
import contextlib
import dataclasses
import functools
import itertools
import os
import threading
from typing import Any, TypeVar, cast

import numpy as np

from leep_jax.engine.batch import DEFAULT_ROW_SUM_TOLERANCE

# Numbers of a block, which are read several times: half of a core's cache.
_BLOCK = 1 << 18
# Rows of features of a block: products of fewer are slower.
_PRODUCT_ROWS = 2048
# Examples that are summed in float32 before float64 takes the sum.
_PIECE = 64
# Below this many numbers a thread costs more than it gains.
_LEAST_OF_THREAD = 1 << 17
_SMALL = 1024  # rows and columns of a matrix
# Chunks of an array in memory, which bounds what sums of pieces take.
_CHUNK_ROWS = 1 << 16

_T = TypeVar("_T")
_lock = threading.Lock()
# Blocks that need one thread of OpenBLAS now, and what restores the others.
_users, _limiter = 0, cast(Any, None)


@dataclasses.dataclass(frozen=True)
class HostRows:
  """The rows of one field in host memory, and what sums of them need.

  Attributes:
    chunks: function that returns the rows, in order, as arrays `[m, K]` of
      float32 or float64.
    labels: `[n]` integers below `num_classes`.
    num_classes: Y.
    groups: G.
    group_of: `[n]` integers below `groups`, or None for a single group.
    totals: function that returns the `row_sums` of probabilities, which several
      sums need; by default they are computed anew.
    targets: `[n, T]` float32, or None.
    centre: shift `[D]`, subtracted from features, and scale, which then divides
      them.

  Example:
    >>> import numpy as np
    >>> from leep_jax.engine import host_sums
    >>> probs = np.array([[0.75, 0.25], [0.5, 0.5]])
    >>> rows = host_sums.HostRows(
    ...   lambda: [probs], labels=np.array([0, 1]), num_classes=2
    ... )
    >>> host_sums.joint(rows).tolist()
    [[[0.75, 0.25], [0.5, 0.5]]]
  """

  chunks: Callable[[], Iterable[np.ndarray]]
  _: dataclasses.KW_ONLY
  labels: np.ndarray
  num_classes: int
  groups: int = 1
  group_of: np.ndarray | None = None
  totals: Callable[[], np.ndarray | None] | None = None
  targets: np.ndarray | None = None
  centre: tuple[np.ndarray, Any] | None = None

  @property
  def cells(self) -> np.ndarray:
    """`[n]`, the row of an example's sum among the G Y of all groups."""
    cells = self.labels.astype(np.int64)
    if self.group_of is not None:
      cells += self.group_of * self.num_classes
    # NumPy sorts integers of 16 bits ten times as fast as others.
    small = self.groups * self.num_classes <= np.iinfo(np.int16).max
    return cells.astype(np.int16) if small else cells

  def located(self) -> Iterator[tuple[np.ndarray, slice]]:
    """Yields chunks and where their rows are among all."""
    start = 0
    for chunk in self.chunks():
      for first in range(0, len(chunk), _CHUNK_ROWS):
        part = chunk[first : first + _CHUNK_ROWS]
        yield part, slice(start, start + len(part))
        start += len(part)


def row_sums(
  chunks: Iterable[np.ndarray],
  *,
  each: Callable[[np.ndarray, int], None] | None = None,
) -> np.ndarray | None:
  """Returns the sums `[n]` of rows of probabilities; None if one has faults.

  Args:
    chunks: arrays `[m, Z]` of float32 or float64.
    each: called with blocks of rows, while they are in a core's cache, and the
      index of their first row; in any order, from several threads.

  Example:
    >>> import numpy as np
    >>> from leep_jax.engine import host_sums
    >>> host_sums.row_sums([np.array([[0.25, 0.75]])]).tolist()
    [1.0]
    >>> host_sums.row_sums([np.array([[25.0, 75.0]])]) is None
    True
  """
  found: list[np.ndarray] = []
  for chunk in chunks:
    ones = np.ones(chunk.shape[1], chunk.dtype)
    total = np.empty(len(chunk), chunk.dtype)
    before = sum(map(len, found))

    def add(part, chunk=chunk, ones=ones, total=total, before=before):
      for block in _blocks(part, chunk.shape[1], numbers=2 * _BLOCK):
        some = chunk[block]
        np.matmul(some, ones, out=total[block])
        off = np.abs(total[block] - 1).max()
        # Comparisons with NaN are false: written so, NaN is a fault, too.
        if not (some.min() >= 0 and off <= DEFAULT_ROW_SUM_TOLERANCE):
          return False
        if each is not None:
          each(some, before + block.start)
      return True

    if not all(in_threads(add, *chunk.shape)):
      return None
    found.append(total)
  return np.concatenate(found)


def joint(rows: HostRows) -> np.ndarray | None:
  """`statistics.joint`: `[G, Y, Z]`.

  Example:
    >>> import numpy as np
    >>> from leep_jax.engine import host_sums
    >>> probs = np.array([[0.75, 0.25], [0.5, 0.5]])
    >>> rows = host_sums.HostRows(
    ...   lambda: [probs], labels=np.array([0, 1]), num_classes=2
    ... )
    >>> host_sums.joint(rows).tolist()
    [[[0.75, 0.25], [0.5, 0.5]]]
  """
  totals = _totals(rows)
  if totals is None:
    return None
  return _cell_sums(rows, (1 / totals,))[0]


def dummy_label_counts(rows: HostRows) -> np.ndarray | None:
  """`statistics.dummy_label_counts`: `[G, Y, Z]`.

  Example:
    >>> import numpy as np
    >>> from leep_jax.engine import host_sums
    >>> probs = np.array([[0.75, 0.25], [0.5, 0.5]])
    >>> rows = host_sums.HostRows(
    ...   lambda: [probs], labels=np.array([0, 1]), num_classes=2
    ... )
    >>> host_sums.dummy_label_counts(rows).tolist()
    [[[1.0, 0.0], [1.0, 0.0]]]
  """
  largest = np.empty(len(rows.labels), np.intp)

  def label(some, first):
    some.argmax(axis=1, out=largest[first : first + len(some)])

  # Rows are read once, to be checked and labelled.
  num_source = next(iter(rows.chunks())).shape[1]
  if row_sums(rows.chunks(), each=label) is None:
    return None
  cells = rows.cells.astype(np.int64) * num_source + largest
  size = rows.groups * rows.num_classes * num_source
  counts = np.bincount(cells, minlength=size).astype(np.float64)
  return counts.reshape(rows.groups, rows.num_classes, num_source)


def log_likelihood(
  rows: HostRows, conditional: np.ndarray
) -> np.ndarray | None:
  """`statistics.log_likelihood`: `[G]`.

  Example:
    >>> import numpy as np
    >>> from leep_jax.engine import host_sums
    >>> probs = np.array([[0.75, 0.25], [0.5, 0.5]])
    >>> rows = host_sums.HostRows(
    ...   lambda: [probs], labels=np.array([0, 1]), num_classes=2
    ... )
    >>> table = np.array([[0.6, 1 / 3], [0.4, 2 / 3]])
    >>> host_sums.log_likelihood(rows, table).round(3).tolist()
    [-1.257]
  """
  right = _right(rows, conditional)
  return None if right is None else _log_sums(rows, right)


def responsibilities(
  rows: HostRows, conditional: np.ndarray
) -> dict[str, np.ndarray] | None:
  """`statistics.responsibilities`: `log_likelihood` `[G]`, `parts` `[G, Y, Z]`.

  The parts of a label are its row of the table, times the sum of its rows of
  probabilities divided by the likelihoods.

  Example:
    >>> import numpy as np
    >>> from leep_jax.engine import host_sums
    >>> probs = np.array([[0.75, 0.25], [0.5, 0.5]])
    >>> rows = host_sums.HostRows(
    ...   lambda: [probs], labels=np.array([0, 1]), num_classes=2
    ... )
    >>> table = np.full((2, 2), 0.5)
    >>> host_sums.responsibilities(rows, table)["parts"].tolist()
    [[[0.75, 0.25], [0.5, 0.5]]]
  """
  right = _right(rows, conditional)
  if right is None:
    return None
  sums = _cell_sums(rows, (1 / np.where(right > 0, right, 1),))[0]
  parts = sums * np.asarray(conditional, np.float64)
  return {"log_likelihood": _log_sums(rows, right), "parts": parts}


def moments(rows: HostRows) -> dict[str, np.ndarray] | None:
  """`statistics.moments` in float64, of one group.

  Example:
    >>> import numpy as np
    >>> from leep_jax.engine import host_sums
    >>> features = np.array([[1.0, 2.0], [3.0, 4.0]])
    >>> rows = host_sums.HostRows(
    ...   lambda: [features], labels=np.array([0, 1]), num_classes=2,
    ...   centre=(np.zeros(2), 1.0),
    ... )
    >>> host_sums.moments(rows)["gram"].tolist()
    [[[10.0, 14.0], [14.0, 20.0]]]
  """
  if rows.groups > 1 or rows.centre is None:
    return None
  shift, scale = rows.centre
  shift = np.asarray(shift, np.float64)
  sums: Any = None
  for chunk, where in rows.located():
    labels = rows.labels[where]
    targets = None if rows.targets is None else rows.targets[where]

    def add(part, chunk=chunk, labels=labels, targets=targets):
      width = chunk.shape[1]
      gram = np.zeros((width, width))
      by_class = np.zeros((rows.num_classes, width))
      cross = np.zeros((0 if targets is None else targets.shape[1], width))
      # Memory that is used again: new pages take as long as the products.
      room = np.empty((min(_PRODUCT_ROWS, part.stop - part.start), width))
      product = np.empty_like(gram)
      for start in range(part.start, part.stop, _PRODUCT_ROWS):
        block = slice(start, min(start + _PRODUCT_ROWS, part.stop))
        f = room[: block.stop - block.start]
        np.subtract(chunk[block], shift, out=f)
        gram += np.matmul(f.T, f, out=product)
        by_class += _indicators(labels[block], rows.num_classes) @ f
        if targets is not None:
          cross += targets[block].T.astype(np.float64) @ f
      return [gram, by_class, cross]

    for part in in_threads(add, *chunk.shape):
      sums = part if sums is None else list(map(np.add, sums, part))
  gram, by_class, cross = sums
  if not np.isfinite(np.trace(gram)):
    return None
  unit = float(scale)
  found = {
    "gram": gram[None] / unit**2,
    "class_sums": by_class[None] / unit,
  }
  return (
    found if rows.targets is None else {**found, "cross": cross[None] / unit}
  )


def _totals(rows):
  return row_sums(rows.chunks()) if rows.totals is None else rows.totals()


def _right(rows, conditional):
  """The likelihood of each example's label, `[n]`; None if rows have faults."""
  if _totals(rows) is None:
    return None
  right = np.empty(len(rows.labels))
  for chunk, where in rows.located():
    table = np.asarray(conditional, chunk.dtype)
    ones = np.ones(chunk.shape[1], chunk.dtype)
    labels, here = rows.labels[where], right[where]

    def add(part, chunk=chunk, known=(table, ones, labels, here)):
      table, ones, labels, here = known
      room = np.empty(
        (_block_rows(chunk.shape[1]), chunk.shape[1]), chunk.dtype
      )
      for block in _blocks(part, chunk.shape[1]):
        some = chunk[block]
        # With a mode other than "raise", NumPy writes without a copy.
        of_label = np.take(
          table, labels[block], axis=0, out=room[: len(some)], mode="clip"
        )
        # Summed in the same way: where P(y given z) = 1 for all z, the
        # likelihood is then exactly 1, whatever the rounding.
        own = np.einsum("ij,ij->i", some, of_label)
        here[block] = own / np.einsum("ij,j->i", some, ones).astype(np.float64)

    in_threads(add, *chunk.shape)
  return right


def _log_sums(rows, right):
  # Of a likelihood of 0; `Pass.sums` refuses minus infinity.
  with np.errstate(divide="ignore"):
    logs = np.log(right)
  if rows.group_of is None:
    return logs.sum(keepdims=True)
  return np.bincount(rows.group_of, weights=logs, minlength=rows.groups)


def _cell_sums(rows, weights):
  """Sums rows times their weights, `[G, Y, Z]`, for each array of weights."""
  import scipy.sparse

  cells = rows.cells
  sums: Any = 0
  for chunk, where in rows.located():
    order = np.argsort(cells[where], kind="stable")
    sorted_cells = cells[where][order]
    # A piece begins where the cell changes, and after `_PIECE` examples.
    changes = np.flatnonzero(np.diff(sorted_cells, prepend=-1))
    starts = np.union1d(changes, np.arange(0, len(order), _PIECE))
    ends = np.append(starts[1:], len(order))
    given = [w[where][order].astype(chunk.dtype) for w in weights]

    def add(part, chunk=chunk, at=(starts, ends, order), given=given):
      starts, ends, order = at
      first, end = starts[part.start], ends[part.stop - 1]
      pointers = np.append(starts[part], end) - first
      found = []
      for values in given:
        # A sparse product reads each row once, in any order.
        pieces = scipy.sparse.csr_array(
          (values[first:end], order[first:end], pointers),
          shape=(part.stop - part.start, len(chunk)),
        )
        found.append(pieces @ chunk)
      return found

    size = chunk.size // len(starts)
    results = in_threads(add, len(starts), size)
    of_cell = scipy.sparse.csr_array(
      (np.ones(len(starts)), (sorted_cells[starts], np.arange(len(starts)))),
      shape=(rows.groups * rows.num_classes, len(starts)),
    )
    sums = sums + np.stack(
      [
        of_cell @ np.concatenate(pieces).astype(np.float64)
        for pieces in zip(*results, strict=True)
      ]
    )
  return sums.reshape(len(weights), rows.groups, rows.num_classes, -1)


def _indicators(labels, num_classes):
  """A sparse matrix `[Y, m]` of ones where an example has a label."""
  import scipy.sparse

  count = len(labels)
  return scipy.sparse.csc_array(
    (np.ones(count), labels, np.arange(count + 1)), shape=(num_classes, count)
  )


def _block_rows(width, numbers=_BLOCK):
  return max(numbers // max(width, 1), 1)


def _blocks(part, width, numbers=_BLOCK):
  """Divides a slice of rows into slices that stay in a core's cache."""
  step = _block_rows(width, numbers)
  for start in range(part.start, part.stop, step):
    yield slice(start, min(start + step, part.stop))


def in_threads(
  function: Callable[[slice], _T], count: int, width: int
) -> list[_T]:
  """Calls a function of parts of `range(count)`, each in a thread of its own.

  There are no more threads than the process has cores, and fewer where there is
  little to do.

  Args:
    function: of a slice.
    count: n.
    width: how many numbers the function reads for each of the n.

  Returns:
    The results, in order.

  Example:
    >>> from leep_jax.engine import host_sums
    >>> host_sums.in_threads(lambda part: (part.start, part.stop), 3, 1)
    [(0, 3)]
  """
  threads = min(cores(), max(count * width // _LEAST_OF_THREAD, 1), count)
  bounds = np.linspace(0, count, threads + 1).astype(int).tolist()
  parts = [slice(*pair) for pair in itertools.pairwise(bounds)]
  # OpenBLAS's own threads would wait for each other.
  with _one_blas_thread():
    if threads == 1:
      return [function(parts[0])]
    with futures.ThreadPoolExecutor(threads) as pool:
      return list(pool.map(function, parts))


@contextlib.contextmanager
def small_matrices(size: int) -> Iterator[None]:
  """Has one thread compute with matrices, inside a `with` block, if small.

  Threads of OpenBLAS wait for each other longer than a small product takes.

  Args:
    size: rows and columns of the matrices.

  Example:
    >>> import numpy as np
    >>> from leep_jax.engine import host_sums
    >>> with host_sums.small_matrices(2):
    ...   np.linalg.cholesky(4 * np.eye(2)).tolist()
    [[2.0, 0.0], [0.0, 2.0]]
  """
  if size > _SMALL:
    yield
    return
  with _one_blas_thread():
    yield


@contextlib.contextmanager
def _one_blas_thread() -> Iterator[None]:
  """Has OpenBLAS use one thread a call, inside a `with` block.

  The limit is the process's: of blocks that overlap, in several threads, the
  first sets it, and the last restores what it was.
  """
  global _users, _limiter
  with _lock:
    if not _users:
      _limiter = _blas().limit(limits=1)
    _users += 1
  try:
    yield
  finally:
    with _lock:
      _users -= 1
      if not _users:
        _limiter.restore_original_limits()


def cores() -> int:
  """Returns the number of cores that this process may use.

  Example:
    >>> from leep_jax.engine import host_sums
    >>> host_sums.cores() >= 1
    True
  """
  if hasattr(os, "sched_getaffinity"):  # which containers limit
    return len(os.sched_getaffinity(0))
  return os.cpu_count() or 1


@functools.cache
def _blas():
  import scipy.linalg.blas  # noqa: F401, its library is found besides NumPy's
  import threadpoolctl

  return threadpoolctl.ThreadpoolController()
