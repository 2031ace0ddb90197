"""Measures ways to compute the sums of scores on a CPU, within one run.

    python -m experiments.benchmarks.ways

Purpose: why does `leep_jax/engine/host_sums.py` sum as it does? Each table has
the ways to compute one thing from the same arrays, with the time of each over
that of the way taken, which is the first. Some of the others are faster because
they do less: a plain argmax checks no rows, float32 has half the digits, and
XLA's sums are of an array that is on the device and was checked before.

Cost: about two minutes on two CPU cores. Times are medians of interleaved
repetitions, after compilation. Nothing else should run meanwhile.

What came out is in `experiments/results/ways.md`.
"""

from collections.abc import Callable
import sys

from absl import flags
import jax
import jax.numpy as jnp
import numpy as np
import scipy.sparse

from experiments.benchmarks import peers, timing
from leep_jax import command
from leep_jax.engine import host_sums, statistics

FLAGS = flags.FlagValues()
_REPEATS = flags.DEFINE_integer(
  "repeats", 7, "Number of repetitions of each timing.", flag_values=FLAGS
)
_SIZE = flags.DEFINE_integer(
  "size", 50_000, "Number of examples.", flag_values=FLAGS
)
_BLOCK = 256  # rows, of which a core's cache holds several times as many

Ways = dict[str, Callable[[], object]]


def class_sums(probs: np.ndarray, labels: np.ndarray) -> Ways:
  """Ways to sum the rows of each class, `[Y, Z]`."""
  order = np.argsort(labels, kind="stable")
  count = int(labels.max()) + 1
  rows = host_sums.HostRows(
    lambda: [probs],
    labels=labels,
    num_classes=count,
    totals=lambda: np.ones(len(probs), np.float32),
  )
  placed, where = jnp.asarray(probs), jnp.asarray(labels)
  segments = jax.jit(lambda x, y: jax.ops.segment_sum(x, y, num_segments=count))
  one_hot = jax.jit(lambda x, y: jax.nn.one_hot(y, count).T @ x)

  def blocks(add):
    def part(some):
      for start in range(some.start, some.stop, _BLOCK):
        chosen = order[start : min(start + _BLOCK, some.stop)]
        own = labels[chosen]
        add(probs[chosen], own, np.flatnonzero(np.diff(own, prepend=-1)))

    return host_sums.in_threads(part, len(order), probs.shape[1])

  def by_product(x, own, starts):
    ones = np.ones(len(own), np.float32)
    for first, end in zip(starts, [*starts[1:], len(own)], strict=True):
      _ = ones[first:end] @ x[first:end]

  def by_indicators(x, own, starts):
    _ = (np.arange(own[0], own[-1] + 1)[:, None] == own).astype(np.float32) @ x

  def whole_product():
    shape = (len(labels), labels, np.arange(len(labels) + 1))
    ones = np.ones(shape[0], np.float32)
    matrix = scipy.sparse.csc_array((ones, *shape[1:]), (count, shape[0]))
    return matrix @ probs

  return {
    "sparse product with sorted rows, in threads": lambda: host_sums.joint(
      rows
    ),
    "sparse product with rows in their order, one thread": whole_product,
    "blocks of sorted rows: a product with ones for each class": lambda: blocks(
      by_product
    ),
    "blocks of sorted rows: one product with indicators": lambda: blocks(
      by_indicators
    ),
    "blocks of sorted rows: `np.add.reduceat`": lambda: blocks(
      lambda x, own, starts: np.add.reduceat(x, starts, axis=0)
    ),
    "a NumPy loop over classes": lambda: [
      probs[labels == y].sum(axis=0) for y in range(count)
    ],
    "XLA's segment sum, array on the device": lambda: segments(
      placed, where
    ).block_until_ready(),
    "XLA's product with one-hot labels, array on the device": lambda: one_hot(
      placed, where
    ).block_until_ready(),
  }


def largest_labels(probs: np.ndarray, labels: np.ndarray) -> Ways:
  """Ways to find the most probable label of each row, and to check rows."""
  rows = host_sums.HostRows(
    lambda: [probs], labels=labels, num_classes=int(labels.max()) + 1
  )
  placed = jnp.asarray(probs)
  argmax = jax.jit(lambda x: jnp.argmax(x, axis=1))
  maxima = jax.jit(statistics.first_argmax)

  def checked_before():
    host_sums.row_sums([probs])
    return probs.argmax(axis=1)

  return {
    "blocks in threads, with the check of rows": lambda: (
      host_sums.dummy_label_counts(rows)
    ),
    "NumPy's argmax, without a check": lambda: probs.argmax(axis=1),
    "the check in threads, then NumPy's argmax": checked_before,
    "XLA's argmax, array on the device": lambda: argmax(
      placed
    ).block_until_ready(),
    "XLA's two maxima, array on the device": lambda: maxima(
      placed
    ).block_until_ready(),
  }


def grams(features: np.ndarray, labels: np.ndarray) -> Ways:
  """Ways to compute the products of features, `[D, D]`."""
  width = features.shape[1]
  rows = host_sums.HostRows(
    lambda: [features],
    labels=labels,
    num_classes=int(labels.max()) + 1,
    centre=(np.zeros(width), 1.0),
  )
  placed = jnp.asarray(features)
  product = jax.jit(lambda x: x.T @ x)

  def wide():
    values = features.astype(np.float64)
    return values.T @ values

  return {
    "float64, blocks in threads, with class sums": lambda: host_sums.moments(
      rows
    ),
    "NumPy's product in float32": lambda: features.T @ features,
    "NumPy's product in float64": wide,
    "XLA's product in float32, array on the device": lambda: product(
      placed
    ).block_until_ready(),
  }


def copies(probs: np.ndarray, labels: np.ndarray) -> Ways:
  """Ways for an array to reach a CPU "device"."""
  raw = np.empty(probs.nbytes + 64, np.uint8)
  offset = -raw.ctypes.data % 64
  aligned = raw[offset : offset + probs.nbytes].view(np.float32)
  aligned = aligned.reshape(probs.shape)
  aligned[:] = probs
  odd = raw[offset + 4 : offset + 4 + probs.nbytes].view(np.float32)

  def placed(array):
    return lambda: jax.device_put(array).block_until_ready()

  return {
    "an array aligned to 64 bytes": placed(aligned),
    "an array at another address": placed(odd.reshape(probs.shape)),
  }


def table(what: str, repeats: int, ways: Ways) -> None:
  """Prints a table of ways to compute one thing."""
  seconds = timing.interleaved(repeats, *ways.values())
  print(f"\n{what}:\n\n| way | ms | over the first |\n|---|---|---|")
  for name, own in zip(ways, seconds, strict=True):
    print(f"| {name} | {1e3 * own:.1f} | {own / seconds[0]:.2f} |", flush=True)


def _run() -> int:
  size, repeats = _SIZE.value, _REPEATS.value
  probs, features, labels = peers.inputs(size)
  print("From `python -m experiments.benchmarks.ways`.\n")
  timing.versions()
  kind = f"{size:,} x {probs.shape[1]:,} probabilities"
  classes = int(labels.max()) + 1
  table(
    f"Sums by class of {kind}, {classes} classes",
    repeats,
    class_sums(probs, labels),
  )
  table(f"Largest labels of {kind}", repeats, largest_labels(probs, labels))
  table(
    f"Products of {size:,} x {features.shape[1]} features",
    repeats,
    grams(features, labels),
  )
  table(f"Placing {kind} on the device", repeats, copies(probs, labels))
  return 0


if __name__ == "__main__":
  sys.exit(command.main(sys.argv, FLAGS, __doc__ or "", _run))
