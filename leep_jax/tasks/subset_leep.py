"""LEEP of many class-subset tasks: one matrix product for a block of examples.

The examples of a class are divided into blocks, and blocks are distributed over
devices. A block is multiplied once with the conditional probabilities of all
tasks that contain its class.

Symbols: n examples, Y target labels, Z source labels, T tasks; per device m
blocks of B examples, each with K tasks.
"""

import collections
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np

from leep_jax.engine import host_sums, programs

# Most examples of one class in one matrix product.
_BLOCK = 1024
# The fixed cost of a product, in examples that would take as long.
_START = 16
# The same on a host with one CPU: what stays in a core's cache.
_HOST_BLOCK = 256
# Bytes of probabilities per device and call.
_CALL_BYTES = 8 << 20
_PRECISION = jax.lax.Precision.HIGHEST  # else accelerators round to bfloat16


def log_likelihoods(
  probs: np.ndarray,
  indices: list[np.ndarray],
  joint: np.ndarray,
  mask: np.ndarray,
) -> np.ndarray:
  """Returns the summed log-likelihood of tasks under their EEPs, `[T]`.

  Args:
    probs: `[n, Z]`.
    indices: for each class, the rows of its examples.
    joint: `[Y, Z]`, the joint mass of target and source labels.
    mask: `[T, Y]`, the classes of each task.

  Example:
    >>> import numpy as np
    >>> from leep_jax.tasks import subset_leep
    >>> probs = np.array([[0.9, 0.1], [0.2, 0.8]], np.float32)  # one a class
    >>> indices, mask = [np.array([0]), np.array([1])], np.array([[True, True]])
    >>> sums = subset_leep.log_likelihoods(
    ...   probs, indices, probs.astype(np.float64), mask)
    >>> print((sums / 2).round(4))  # LEEP of both classes
    [-0.2911]
  """
  if programs.are_host():
    return _on_host(probs, indices, joint, mask)
  mass = np.zeros((_size(len(mask)), joint.shape[1]), np.float32)
  # Summed in float64, and rounded once for the devices.
  mass[: len(mask)] = mask.astype(np.float64) @ joint
  placed = programs.replicate((joint.astype(np.float32), mass))
  tasks = [np.flatnonzero(column) for column in mask.T]
  # Classes of one width share a compiled program.
  groups: dict[int, list[int]] = {}
  for y, members in enumerate(tasks):
    if len(members):  # one more column, for the sum of each row
      groups.setdefault(_size(len(members) + 1), []).append(y)
  totals = np.zeros(len(mask))
  ahead: collections.deque[Any] = collections.deque()

  def collect():
    sums, blocks = ahead.popleft()
    centres, rests = (
      np.asarray(x, np.float64).reshape(-1, x.shape[-1]) for x in sums
    )
    for y, count, block in blocks:
      members = tasks[y]
      sums = count * centres[block] + rests[block]
      totals[members] += sums[: len(members)]

  for width, classes in groups.items():
    for batch, blocks in _batches(probs, indices, tasks, classes, width):
      # Devices compute one batch while the host fills the next. `_batches` has
      # two buffers, so the batch before must be finished first.
      ahead.append((_spread(placed, batch), blocks))
      if len(ahead) > 1:
        collect()
  while ahead:
    collect()
  return totals


def _on_host(probs, indices, joint, mask):
  """`log_likelihoods` by NumPy, in one thread a core."""
  mass = (mask.astype(np.float64) @ joint).astype(np.float32)
  joint = joint.astype(np.float32)
  tasks = [np.flatnonzero(column) for column in mask.T]
  blocks = [
    (y, rows[start : start + _HOST_BLOCK])
    for y, rows in enumerate(indices)
    for start in range(0, len(rows) if len(tasks[y]) else 0, _HOST_BLOCK)
  ]

  def add(part):
    sums, known = np.zeros(len(mask)), None
    for y, mine in blocks[part]:
      if y != known:  # the blocks of a class follow each other
        above, least = _table(joint[y], mass[tasks[y]])
        known = y
      rows = probs[mine].astype(np.float32, copy=False)
      logs = rows @ above.T
      logs /= rows.sum(axis=1, keepdims=True)
      logs += least  # as `_block_sums` adds it
      np.log(logs, out=logs)
      sums[tasks[y]] += logs.sum(axis=0, dtype=np.float64)
    return sums

  work = _HOST_BLOCK * probs.shape[1] * max(map(len, tasks))
  return np.sum(host_sums.in_threads(add, len(blocks), work), axis=0)


def _table(joint, mass):
  """P(y given z) of one class y: above its least value, and that `[K]`.

  Args:
    joint: `[Z]`, of the class.
    mass: `[K, Z]`, of the tasks that contain it.
  """
  some = mass > 0
  table = np.divide(joint, mass, out=np.ones_like(mass), where=some)
  least = table.min(axis=1)
  table -= least[:, None]
  table[~some] = 0
  return table, least


def _size(count: int) -> int:
  """`count`, or somewhat more: one of few sizes, as each is compiled."""
  # At most an eighth more: multiples of an eighth of the next power of two.
  count = max(count, 16)
  unit = max(1 << (count - 1).bit_length() >> 3, 1)
  return -(-count // unit) * unit


def _batches(probs, indices, tasks, classes, width):
  """Yields batches for `_block_sums`, with the class of each block.

  Args:
    probs: `[n, Z]`.
    indices: for each class, the rows of its examples.
    tasks: for each class, the tasks that contain it.
    classes: to yield.
    width: K, the number of columns.

  Yields:
    A batch whose memory is used again after the next one, and for each block
    its class, its number of examples, and its index in the batch `[d * m]`.
  """
  count, source = programs.device_count(), probs.shape[1]
  rows = _block(np.array([len(indices[y]) for y in classes]))
  every = [(y, s) for y in classes for s in range(0, len(indices[y]), rows)]
  most = max(_CALL_BYTES // (4 * rows * source), 1)
  # Powers of two, so that few sizes are compiled. Blocks that are not used cost
  # no work, as devices loop over those that are.
  enough = -(-len(every) // count)
  size = min(1 << (enough - 1).bit_length(), most)
  columns = np.full((len(indices), width), -1, np.int32)
  for y in classes:
    columns[y, : len(tasks[y])] = tasks[y]
  buffers = [
    np.zeros((count * size, rows, source), np.float32)
    for _ in range(min(2, -(-len(every) // (count * size))))
  ]
  for turn, start in enumerate(range(0, len(every), count * size)):
    blocks = every[start : start + count * size]
    buffer = buffers[turn % 2]
    batch = {
      "counts": np.zeros(count * size, np.int32),
      "labels": np.zeros(count * size, np.int32),
    }
    # Devices have equal shares; the last ones may have fewer blocks, or none.
    share = -(-len(blocks) // count)
    used = np.clip(len(blocks) - share * np.arange(count), 0, share)
    made = []
    for i, (y, first) in enumerate(blocks):
      slot = i // share * size + i % share
      mine = indices[y][first : first + rows]
      # Later rows keep values of an earlier batch; `counts` masks them.
      buffer[slot, : len(mine)] = probs[mine]
      batch["counts"][slot], batch["labels"][slot] = len(mine), y
      made.append((y, len(mine), slot))
    batch.update(rows=buffer, columns=columns[batch["labels"]])
    batch = {
      key: value.reshape(count, size, *value.shape[1:])
      for key, value in batch.items()
    }
    yield {**batch, "used": used.astype(np.int32)}, made


def _block(counts):
  """The number of rows in a block, for the least work with these classes."""
  sizes = np.arange(_START, _BLOCK + 1, _START)
  blocks = -(-counts[:, None] // sizes[None])
  return int(sizes[(blocks.sum(axis=0) * (sizes + _START)).argmin()])


def _block_sums(placed, batch):
  """Log-likelihoods of blocks of examples, each of one class; on one device.

  Args:
    placed: `joint` `[Y, Z]`, and `mass` `[T, Z]`, its sum over the classes of
      each task.
    batch: for m blocks, `rows` `[m, B, Z]`; `counts` `[m]`, the number of rows
      that are examples; `labels` `[m]`, their class; `columns` `[m, K]`, the
      tasks, followed by at least one -1; and `used`, the number of blocks that
      contain examples.

  Returns:
    `centres` and `rests`, `[m, K]`: the log-likelihood of a block's c examples
    in its k-th task is c * centre + rest, so that few digits are lost.
  """
  joint, mass = placed
  rows, columns = batch["rows"], batch["columns"]
  counts, labels = batch["counts"], batch["labels"]

  def table(i):
    """P(y given z) of the block's class in each task, in two parts.

    These are its part above the smallest value over z, `[K, Z]`, and that
    value, `[K]`. In columns of -1 they are 1 and 0, for the sum of each row.
    """
    chosen, other = mass[columns[i]], columns[i] < 0
    some = chosen > 0
    conditional = joint[labels[i]][None] / jnp.where(some, chosen, 1)
    least = jnp.where(some, conditional, 1).min(axis=1)
    above = jnp.where(some, conditional - least[:, None], 0)
    return jnp.where(other[:, None], 1, above), jnp.where(other, 0, least)

  def add(i, state):
    known, centres, rests = state
    # The blocks of a class follow each other and share its table.
    fresh = (i == 0) | (labels[i] != labels[i - 1])
    known = jax.lax.cond(fresh, lambda _: table(i), lambda same: same, known)
    above, least = known
    right = jnp.matmul(rows[i], above.T, precision=_PRECISION)
    # The smallest value is added after the long sums over source labels. For
    # constant probabilities P(y given z), rounding would otherwise not cancel,
    # and LEEP would differ from its exact value.
    logs = jnp.log(least[None] + right / right[:, -1:])
    valid = (jnp.arange(rows.shape[1]) < counts[i])[:, None]
    # Summed about their mean, logarithms keep digits that a float32 sum would
    # lose; c * centre is added in float64 on the host.
    centre = jnp.where(valid, logs, 0).sum(axis=0) / counts[i]
    rest = jnp.where(valid, logs - centre[None], 0).sum(axis=0)
    return known, centres.at[i].set(centre), rests.at[i].set(rest)

  zeros = jnp.zeros(columns.shape, jnp.float32)
  none = jnp.zeros((columns.shape[1], rows.shape[2]), jnp.float32)
  state = ((none, zeros[0]), zeros, zeros)
  return jax.lax.fori_loop(0, batch["used"], add, state)[1:]


_spread = programs.parallel(_block_sums, fused=True)
