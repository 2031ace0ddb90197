"""Exact sums of statistics over batches, devices, hosts and groups.

Every device keeps running sums of its own, in float32 with compensation, in
donated buffers; one collective at the end adds the devices.
"""

import collections
from collections.abc import Callable, Iterable, Sequence
import dataclasses
import functools
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np

from leep_jax.engine import hosts, programs
from leep_jax.engine.batch import Batch, Statistic

# How many batches may wait for the devices: what waits takes memory.
_RUN_AHEAD = 1


def sum_batches(
  functions: Sequence[Statistic],
  batches: Iterable[Batch],
  arguments: Sequence[tuple[Any, ...]],
  *,
  centre: tuple[np.ndarray, np.float32] | None = None,
  groups: int = 1,
  over_hosts: bool = False,
) -> tuple[Any, ...]:
  """Sums statistics over batches and devices, in one pass.

  Args:
    functions: the statistics.
    batches: with leading axes `[d, b]`, on the host or the devices.
    arguments: for each statistic, the arrays it takes after the batch.
    centre: shift `[D]`, subtracted from the features, and scale, which then
      divides them, both float32.
    groups: G. An example belongs to the group of its index among all examples
      modulo G, however examples are batched.
    over_hosts: whether each host has a part of the batches. The sums are then
      over all hosts, with one collective for all statistics.

  Returns:
    For each statistic its sums, float64 arrays `[G, ...]` on the host.

  Raises:
    ValueError: if there is no batch.
    InputError: if this fails on one of several hosts.
    LostHost: if a host has died.

  Example:
    >>> import numpy as np
    >>> from leep_jax.engine import programs, statistics, sums
    >>> batch = statistics.Batch(  # of one device
    ...   labels=np.array([[0, 1]], np.int32),
    ...   weights=np.ones((1, 2), np.float32),
    ...   probs=np.array([[[0.75, 0.25], [0.5, 0.5]]], np.float32),
    ...   num_classes=2, start=np.zeros(1, np.int32),
    ... )
    >>> with programs.limit(1):
    ...   (joint,) = sums.sum_batches([statistics.joint], [batch, batch], [()])
    >>> joint.tolist()
    [[[1.5, 0.5], [1.0, 1.0]]]
  """
  add = functools.partial(
    _sum_here, tuple(functions), batches, tuple(arguments), centre, groups
  )
  if over_hosts and hosts.count() > 1:
    return hosts.add(hosts.agree(add))
  return add()


def _sum_here(functions, batches, arguments, centre, groups):
  """Sums over the devices of this host."""
  step, finish = compiled(functions, groups)
  placed = programs.replicate((arguments, centre))
  running = None
  ahead: collections.deque[jax.Array] = collections.deque()
  for batch in batches:
    if running is None:
      running = _zeros(functions, batch, arguments, centre, groups)
    running, done = step(running, batch, placed)
    # The host reads on while the devices work, but waits for them after a few
    # batches, which take memory.
    ahead.append(done)
    if len(ahead) > _RUN_AHEAD:
      ahead.popleft().block_until_ready()
  if running is None:
    raise ValueError("there is no batch to add up")
  # The result is the same on every device.
  parts = jax.tree.map(lambda x: x.addressable_data(0), finish(running))
  parts = jax.device_get(parts)
  # The parts of a sum are added in float64, where their digits have room. The
  # first axis is that of one device.
  return jax.tree.map(
    lambda *p: sum(np.asarray(x, np.float64)[0] for x in p), *parts
  )


def compiled(
  functions: tuple[Statistic, ...], groups: int
) -> tuple[Callable[..., Any], Callable[..., Any]]:
  """Returns the programs of a pass: one adds a batch, one adds devices.

  Args:
    functions: statistics to sum.
    groups: G.

  Example:
    >>> from leep_jax.engine import statistics, sums
    >>> step, finish = sums.compiled((statistics.joint,), 20)
    >>> step.programs()  # a program is compiled when a batch comes
    []
  """
  return (
    programs.parallel(_Step(functions, groups), fused=True, donate=True),
    programs.parallel(_finish, fused=True, one_collective=True),
  )


@dataclasses.dataclass(frozen=True)
class _Step:
  """Adds a batch to the running sums of one device.

  Equal steps share a compiled program (see `programs.parallel`).
  """

  functions: tuple[Statistic, ...]
  groups: int

  def __call__(self, running, batch, placed):
    def add(_, group):
      return None, _scan(self.functions, *group, *placed)

    first = batch.start % self.groups
    # A scalar cannot be divided among groups or pieces; no statistic reads it.
    batch = dataclasses.replace(batch, start=None)
    if self.groups == 1:  # without the copies that a loop makes
      _, new = add(None, (jax.tree.map(lambda x: x[0], running), batch))
      new = jax.tree.map(lambda x: x[None], new)
    else:
      # A loop over groups, not vmap: only one group's statistics are then in
      # memory besides the running sums.
      regrouped = _regroup(batch, first, self.groups)
      _, new = jax.lax.scan(add, None, (running, regrouped))
    # The weights are returned as something small to wait for.
    return new, batch.weights[0]


def _finish(running):
  """Sums the running sums of all devices."""
  total, lost = running
  # Each float32 is split into two halves of 12 bits. Devices hold sums of
  # similar size, as shares of the data are equal: the sums of halves are exact.
  high = jax.tree.map(_high_bits, total)
  low = jax.tree.map(jnp.subtract, total, high)
  return programs.add_over_devices((high, low, lost))


def _regroup(batch, first, groups):
  """Rearranges a batch `[b, ...]` by group to `[G, m, ...]`, with padding.

  Its first example belongs to the group `first`.
  """
  examples = batch.labels.shape[0]
  # Room for the largest `first`, G - 1: shapes cannot depend on its value.
  size = -(-(examples + groups - 1) // groups)

  def place(x):
    # Padding has weight 0. Row by row in an array [m, G], example i is in
    # column (first + i) modulo G, which is its group.
    padded = jnp.zeros((size * groups, *x.shape[1:]), x.dtype)
    padded = jax.lax.dynamic_update_slice_in_dim(padded, x, first, 0)
    return jnp.moveaxis(padded.reshape(size, groups, *x.shape[1:]), 1, 0)

  return jax.tree.map(place, batch)


def _high_bits(x):
  """Returns float32 with the last 12 bits of its mantissa set to 0."""
  bits = jax.lax.bitcast_convert_type(x, jnp.int32) & ~0xFFF
  return jax.lax.bitcast_convert_type(bits, jnp.float32)


def _add_up(functions, batch, arguments, centre):
  """Computes the statistics of one batch on one device, as float32."""
  used = batch.weights[:, None] > 0
  if batch.odd_padding and batch.probs is not None:
    batch = dataclasses.replace(batch, probs=jnp.where(used, batch.probs, 0))
  if batch.features is not None:
    shift, scale = centre
    # Shifting makes padding other than 0, so that it is always replaced.
    features = (batch.features.astype(jnp.float32) - shift[None]) / scale
    batch = dataclasses.replace(batch, features=jnp.where(used, features, 0))
  sums = tuple(
    function(batch, *extra)
    for function, extra in zip(functions, arguments, strict=True)
  )
  return jax.tree.map(lambda x: jnp.asarray(x, jnp.float32), sums)


def _scan(functions, running, batch, arguments, centre):
  """Adds a batch in pieces of at most `max_batch` examples, compensated."""

  def add(running, piece):
    sums = _add_up(functions, piece, arguments, centre)
    total, lost = running
    # What rounding loses is added up separately. Added to the total here, it
    # would be lost again.
    new = jax.tree.map(jnp.add, total, sums)
    lost = jax.tree.map(_add_rounding, lost, total, sums, new)
    return (new, lost), None

  examples = batch.labels.shape[0]
  most = min(function.max_batch for function in functions)
  if examples <= most:
    return add(running, batch)[0]
  pieces, rest = divmod(examples, most)
  full = pieces * most
  shape = (pieces, most)
  head = jax.tree.map(lambda x: x[:full].reshape(*shape, *x.shape[1:]), batch)
  running, _ = jax.lax.scan(add, running, head)
  if rest:
    running, _ = add(running, jax.tree.map(lambda x: x[full:], batch))
  return running


def _add_rounding(lost, a, b, total):
  """Adds the rounding error of `total = a + b` to `lost` (Knuth's two-sum)."""
  virtual = total - a
  return lost + ((a - (total - virtual)) + (b - virtual))


def _zeros(functions, batch, arguments, centre, groups):
  """Returns running sums of zero in the shapes of the statistics."""
  leaves, structure = jax.tree.flatten((batch, arguments, centre))
  shapes = _shapes(
    functions, structure, tuple((x.shape, jnp.result_type(x)) for x in leaves)
  )

  def zeros():
    return jax.tree.map(
      lambda s: np.zeros(
        (programs.device_count(), groups, *s.shape), np.float32
      ),
      shapes,
    )

  return zeros(), zeros()


@functools.lru_cache(maxsize=256)
def _shapes(functions, structure, leaves):
  """Returns the shapes of the statistics of one device's batch."""
  batch, arguments, centre = jax.tree.unflatten(
    structure, [jax.ShapeDtypeStruct(*leaf) for leaf in leaves]
  )
  one = jax.tree.map(
    lambda x: jax.ShapeDtypeStruct(x.shape[1:], x.dtype), batch
  )
  abstract = functools.partial(_add_up, functions)
  return jax.eval_shape(abstract, one, arguments, centre)
