"""Many devices: the only module that names pmap, psum, an axis or a process.

Four services. `sum_batches` adds a statistic over batches, apart for each of G
groups of examples: every device keeps running sums of its own in donated
buffers, with compensation, and one collective at the end adds the devices.
`parallel` runs a pure function on the examples of a batch, spread over the
devices. `together` does so where devices need each other's sums: training one
network on parts of each batch. `start` joins several processes to one job;
`gather`, `agree` and sums `over_hosts` are what they do together.

A *host* is one of the processes of a job: each has devices of its own, and all
of them run the same program. What hosts do together, all must do, in the same
order.

A batch for d devices is a pytree of arrays `[d, b, ...]`: b examples for each.
"""

import collections
from collections.abc import Callable, Iterable, Iterator, Sequence
import contextlib
import dataclasses
import functools
import hashlib
import os
import platform
import re
import time
from typing import Any, TypeVar

from flax import nnx
import jax
from jax.experimental import multihost_utils
import jax.numpy as jnp
import numpy as np

from leep_jax import checks, statistics

_AXIS = "devices"
# A host that has been silent for so long is dead, and the others stop.
_SILENCE = 30  # seconds
# Of what one collective brings to every device, from all hosts together.
_GATHERED_BYTES = 256 << 20
_RUN_AHEAD = 1  # batches
# With JAX 0.11 the CPU's fused YNN kernels return NaN for bfloat16 networks
# (`test_bfloat16_scores_are_within_the_stated_tolerance`). The forward pass of
# any network is nearly as fast without them; gradients in float32, and sums,
# need them for speed.
_UNFUSED = {"cpu": {"xla_cpu_experimental_ynn_fusion_type": ""}}
# A compiled program takes up to some hundred of the 65,530 memory maps that
# Linux allows a process; beyond them, compiling ends it without a word.
_MOST_PROGRAMS = 256
_COMPILED_BYTES = 4 << 30  # of compiled programs kept on disk
_programs: collections.OrderedDict[Any, Callable[..., Any]] = (
  collections.OrderedDict()  # the one used last is the last
)
_limit: int | None = None
_ADDRESS = re.compile(r"0x[0-9a-f]{6,}")
_Result = TypeVar("_Result")


class LostHost(RuntimeError):
  """What hosts do together has failed: this host cannot go on either."""


def start(
  *,
  coordinator: str | None = None,
  processes: int | None = None,
  process: int | None = None,
) -> None:
  """Joins this process to the others of a job, before anything uses JAX.

  Without arguments JAX finds the others: on TPU pods, Slurm, Kubernetes and
  Open MPI. If a host dies, JAX stops the others in about half a minute.

  Args:
    coordinator: `HOST:PORT`, an address of the first process and a free port
      there that the others reach.
    processes: how many there are; nothing is done for 1.
    process: which of them this is, from 0.

  Raises:
    InputError: if only some of the arguments are given, they do not fit, no
      job is found, or it cannot be joined.
  """
  given = (coordinator, processes, process)
  if any(x is None for x in given) and any(x is not None for x in given):
    raise checks.InputError(
      "one process of several needs all of coordinator, processes and process"
    )
  if coordinator is not None and processes is not None and process is not None:
    checks.at_least_1("processes", processes)
    if not 0 <= process < processes:
      raise checks.InputError(
        f"process is {process}, but must be from 0 to {processes - 1}: there "
        f"are {processes} processes"
      )
    name, _, port = coordinator.rpartition(":")
    if not name or not port.isdecimal():
      raise checks.InputError(
        f"coordinator is {coordinator!r}, but must be HOST:PORT"
      )
    if processes == 1:
      return
  jax.config.update("jax_cpu_collectives_implementation", "gloo")
  try:
    jax.distributed.initialize(
      coordinator,
      processes,
      process,
      heartbeat_timeout_seconds=_SILENCE,
      shutdown_timeout_seconds=_SILENCE,
    )
  except Exception as e:  # JAX and each kind of cluster raise their own
    if coordinator is None and isinstance(e, ValueError):
      raise checks.InputError(
        "found no job of several processes (TPU pod, Slurm, Kubernetes, Open "
        "MPI): elsewhere give coordinator, processes and process"
      ) from e
    raise checks.InputError(
      f"cannot join the other processes: {checks.reason(e)}"
    ) from e


def hosts() -> int:
  """Returns how many hosts the job has."""
  return jax.process_count()


def host() -> int:
  """Returns which of the hosts this is, from 0."""
  return jax.process_index()


def share(count: int) -> slice:
  """Returns which of `count` examples are this host's: neighbours.

  Shares differ by at most one example.
  """
  return slice(host() * count // hosts(), (host() + 1) * count // hosts())


def _exchange(data: np.ndarray) -> Iterator[np.ndarray]:
  """Yields pieces `[H, m]` of the bytes `[k]` of H hosts, each a collective.

  k must be the same on all hosts.
  """
  size = max(_GATHERED_BYTES // hosts() // 8, 1) * 8  # whole float64 numbers
  for first in range(0, len(data), size):
    try:
      piece = multihost_utils.process_allgather(data[first : first + size])
    except Exception as e:  # each kind of network raises its own
      raise LostHost(
        f"what {hosts()} hosts do together failed ({checks.reason(e)}): has "
        "one of them stopped?"
      ) from e
    yield piece


def gather(values: np.ndarray) -> list[np.ndarray]:
  """Returns every host's array, in the order of hosts.

  Args:
    values: `[m, ...]`; between hosts only m may differ.

  Raises:
    LostHost: if a host has died.
  """
  if hosts() == 1:
    return [values]
  data = np.ascontiguousarray(values).reshape(-1).view(np.uint8)
  (sizes,) = _exchange(np.asarray([data.size], np.int64).view(np.uint8))
  sizes = sizes.view(np.int64)[:, 0]
  data = np.append(data, np.zeros(sizes.max() - data.size, np.uint8))
  empty = np.zeros((hosts(), 0), np.uint8)
  rows = np.concatenate([empty, *_exchange(data)], axis=1)
  return [
    row[:size].copy().view(values.dtype).reshape(-1, *values.shape[1:])
    for row, size in zip(rows, sizes, strict=True)
  ]


def agree(work: Callable[[], _Result]) -> _Result:
  """Returns this host's `work()` when all hosts have done theirs.

  Whatever may fail on one host alone, such as reading a file, belongs inside:
  else the others would wait for that host.

  Raises:
    InputError: on all hosts, if the work has failed on one of several.
    LostHost: if a host has died.
  """
  if hosts() == 1:
    return work()
  failed, said = None, ""
  try:
    result = work()
  except LostHost:
    raise
  except Exception as e:
    failed, said = e, checks.reason(e)
    if not isinstance(e, checks.InputError):
      said = f"{type(e).__name__}: {said}"
  # All hosts raise the same kind of error, or they would go on differently.
  is_data = isinstance(failed, checks.DataError)
  kinds = np.concatenate(gather(np.asarray([is_data], np.uint8)))
  parts = gather(np.frombuffer(said.encode(), np.uint8))
  texts = [part.tobytes().decode() for part in parts]
  for i, text in enumerate(texts):
    if text:
      where = "" if len(set(texts)) == 1 else f"host {i}: "
      kind = checks.DataError if kinds[i] else checks.InputError
      raise kind(f"{where}{text}") from failed
  return result


def on_first_host(work: Callable[[], None]) -> None:
  """Does work on the first host while the others wait.

  Raises:
    InputError: on all hosts, if it has failed.
    LostHost: if a host has died.
  """
  agree(work if host() == 0 else lambda: None)


def _add_hosts(sums):
  """Adds a pytree of float64 arrays over hosts, the same to the last bit."""
  leaves, structure = jax.tree.flatten(sums)
  flat = np.concatenate([x.ravel() for x in leaves])
  parts = [x.view(np.float64).sum(axis=0) for x in _exchange(flat.view("u1"))]
  ends = np.cumsum([x.size for x in leaves])
  total = np.split(np.concatenate(parts), ends[:-1])
  return jax.tree.unflatten(
    structure,
    [x.reshape(leaf.shape) for x, leaf in zip(total, leaves, strict=True)],
  )


@contextlib.contextmanager
def limit(count: int) -> Iterator[None]:
  """Uses only this process's first `count` devices, inside a `with` block."""
  global _limit
  before, _limit = _limit, count
  try:
    yield
  finally:
    _limit = before


def _devices() -> tuple[jax.Device, ...]:
  return tuple(jax.local_devices()[:_limit])


def device_count() -> int:
  """Returns how many devices this process feeds."""
  return len(_devices())


def all_device_count() -> int:
  """Returns how many devices all hosts feed."""
  return sum(int(x[0]) for x in gather(np.asarray([device_count()])))


def memory_budget() -> tuple[int, int]:
  """Returns bytes for kept outputs: on each device, and on the host.

  Half of what is free now. A CPU "device" shares the host's memory: 0 there.
  """
  device = jax.local_devices()[0]
  free = 0
  if device.platform != "cpu":
    stats = device.memory_stats() or {}
    free = stats.get("bytes_limit", 0) - stats.get("bytes_in_use", 0)
  try:
    host = os.sysconf("SC_AVPHYS_PAGES") * os.sysconf("SC_PAGE_SIZE")
  except (ValueError, OSError):  # not a POSIX system
    host = 8 << 30
  return free // 2, host // 2


def split(array: np.ndarray, rows: int) -> np.ndarray:
  """Spreads up to d * `rows` examples `[m, ...]` to `[d, rows, ...]`.

  Missing examples become zeros; a full batch is not copied.
  """
  count = device_count()
  missing = count * rows - len(array)
  if missing:
    padding = np.zeros((missing, *array.shape[1:]), array.dtype)
    array = np.concatenate([array, padding])
  return array.reshape(count, rows, *array.shape[1:])


class _Mapped:
  """A pmapped function, compiled ahead of its first call with a shape.

  So compile time can be told from run time; a call also costs a quarter of
  what it does through pmap's own dispatch. Programs are kept under the function
  itself: functions that are equal, such as two of `Traced`, share theirs.
  """

  seconds = 0.0  # spent tracing and compiling, by all of them

  def __init__(
    self,
    function: Callable[..., Any],
    *,
    compiler_options: dict[str, dict[str, str]] | None = None,
    **options: Any,
  ):
    self._function, self._options = function, options
    self._compiler_options = compiler_options or {}
    self._key = (function, repr((options, self._compiler_options)))

  def __call__(self, *args: Any) -> Any:
    leaves, structure = jax.tree.flatten(args)
    where = _devices()
    shapes = ((x.shape, x.dtype) for x in leaves)
    key = (self._key, where, structure, *shapes)
    if key not in _programs:
      start = time.perf_counter()
      _programs[key] = self._compile(where, args)
      _Mapped.seconds += time.perf_counter() - start
      while len(_programs) > _MOST_PROGRAMS:
        _programs.popitem(last=False)
    _programs.move_to_end(key)
    return _programs[key](*args)

  def _compile(self, where, args):
    # JAX's caches keep what they are handed, and what it refers to, until they
    # are cleared: that must not be the function.
    lent = [self._function]

    def call(*args):
      return lent[0](*args)

    mapped = jax.pmap(call, devices=where, **self._options)
    lowered = mapped.lower(*args)
    lent.clear()
    options = self._compiler_options.get(where[0].platform)
    return lowered.compile(compiler_options=options)

  def programs(self) -> list[Any]:
    """Returns what is compiled of it now."""
    return [
      program for key, program in _programs.items() if key[0] == self._key
    ]


@dataclasses.dataclass(frozen=True, eq=False)
class Traced:
  """A function of arrays of certain shapes, known by what it computes.

  Two are equal if they compute the same, whatever Python made them: a program
  that was compiled for one serves the other. Arrays that the function refers
  to, such as the weights of a model that it closes over, are no part of it:
  `trace` gives them apart, to be handed in at each call.

  Attributes:
    text: the operations, as JAX prints them.
    jaxpr: the same as JAX's data structure.
    shapes: of the results, a pytree of `jax.ShapeDtypeStruct`.
  """

  text: str
  jaxpr: Any
  shapes: Any

  def __call__(self, constants: Sequence[jax.Array], *args: Any) -> Any:
    leaves = jax.tree.leaves(args)
    results = jax.core.eval_jaxpr(self.jaxpr, constants, *leaves)
    return jax.tree.unflatten(jax.tree.structure(self.shapes), results)

  def __eq__(self, other: object) -> bool:
    return isinstance(other, Traced) and self._key == other._key

  def __hash__(self) -> int:
    return hash(self._key)

  @functools.cached_property
  def _key(self):
    # An address in the text may later be that of another object.
    apart = id(self) if _ADDRESS.search(self.text) else 0
    digest = hashlib.sha256(self.text.encode()).hexdigest()
    return digest, jax.tree.structure(self.shapes), apart


def without_addresses(text: str) -> str:
  """Returns the text of a `Traced` without what differs between processes."""
  return _ADDRESS.sub("0x", text)


def trace(
  function: Callable[..., Any], *args: Any
) -> tuple[Traced, list[jax.Array]]:
  """Returns what a function computes, and the arrays that it refers to.

  Args:
    function: pure, of pytrees of arrays.
    *args: arrays, or their shapes (`jax.ShapeDtypeStruct`).

  Example:
    >>> import jax.numpy as jnp
    >>> from leep_jax import devices
    >>> x, weights = jnp.ones((2, 3)), jnp.ones(3)
    >>> traced, constants = devices.trace(lambda x: x @ weights, x)
    >>> traced(constants, x).tolist()
    [3.0, 3.0]
  """
  start = time.perf_counter()
  closed, shapes = jax.make_jaxpr(function, return_shape=True)(*args)
  _Mapped.seconds += time.perf_counter() - start
  return Traced(str(closed.jaxpr), closed.jaxpr, shapes), closed.consts


def compile_seconds() -> float:
  """Returns the seconds that compilation has taken in this process so far."""
  return _Mapped.seconds


def use_compilation_cache() -> None:
  """Has compiled programs kept on disk, for later processes.

  They are in the folder that the environment's LEEP_JAX_CACHE names (`off` for
  none), by default in the user's cache folder. What JAX's own setting says,
  `jax_compilation_cache_dir`, is left as it is.
  """
  folder = os.environ.get("LEEP_JAX_CACHE") or None
  chosen = jax.config.values["jax_compilation_cache_dir"]
  if folder == "off" or chosen is not None:
    return
  if folder is None:
    caches = os.environ.get("XDG_CACHE_HOME") or os.path.join("~", ".cache")
    folder = os.path.join(caches, "leep_jax")
  # Machines that share a home may differ: what is compiled for one processor
  # can crash another.
  mine = hashlib.sha256(_processor().encode()).hexdigest()[:8]
  folder = os.path.join(os.path.expanduser(folder), f"compiled-{mine}")
  jax.config.update("jax_compilation_cache_dir", folder)
  jax.config.update("jax_compilation_cache_max_size", _COMPILED_BYTES)
  jax.config.update("jax_persistent_cache_min_compile_time_secs", 0.1)
  jax.config.update("jax_persistent_cache_min_entry_size_bytes", -1)


def _processor() -> str:
  """What tells processors apart for which a compiler generates other code."""
  try:
    with open("/proc/cpuinfo", encoding="utf-8") as file:
      flags = [x for x in file if x.startswith(("flags", "Features"))]
  except OSError:
    flags = []
  return f"{platform.machine()} {platform.processor()} {flags[:1]}"


def forget_programs() -> None:
  """Gives back what compiled programs hold; used again, they are made anew."""
  _programs.clear()
  jax.clear_caches()


_copy = _Mapped(lambda _, tree: tree, in_axes=(0, None))


def precision(dtype: str) -> str | None:
  """Returns the precision of products of a type, for JAX's setting of it.

  Left to themselves, accelerators multiply float32 in fewer bits. A CPU does
  not, and fuses less where it is told not to.
  """
  exact = dtype == "float32" and jax.devices()[0].platform != "cpu"
  return "highest" if exact else None


def replicate(tree: Any) -> Any:
  """Places a copy of every array on each device, once."""
  if not jax.tree.leaves(tree):
    return tree
  # pmap needs one argument with an axis of devices to know how many copies.
  return _copy(np.zeros(device_count(), np.int8), tree)


def parallel(
  function: Callable[[Any, Any], Any],
  *,
  fused: bool = False,
  donate: bool = False,
) -> Callable[[Any, Any], Any]:
  """Spreads a pure function `(state, batch) -> outputs` over all devices.

  Args:
    function: of a state and the examples `[b, ...]` of one device.
    fused: whether a CPU may fuse products, which spoils bfloat16.
    donate: whether the memory of the state is given away, to what comes out.

  Returns:
    A function of a state from `replicate` and a batch `[d, b, ...]`, whose
    outputs keep the axes `[d, b]`. Each shape is compiled once; a call returns
    before the devices have finished.
  """
  return _Mapped(
    function,
    compiler_options=None if fused else _UNFUSED,
    donate_argnums=(0,) if donate else (),
  )


def together(
  function: Callable[[Any, Any, Callable[[Any], Any]], Any],
  *,
  fused: bool = False,
  donate: bool = False,
) -> Callable[[Any, Any], Any]:
  """Spreads one step of a network over all devices.

  Args:
    function: of a state, the part `[b, ...]` of a batch that is one device's,
      and a function that adds a pytree over the devices. What it returns must
      be the same on each of them.
    fused: as for `parallel`.
    donate: whether the memory of the state is given away, to what comes out.

  Returns:
    A function of a state from `replicate` and a batch `[d, b, ...]`, whose
    outputs have a leading axis of devices, as a state has.
  """

  def step(state, batch):
    return function(state, batch, lambda tree: jax.lax.psum(tree, _AXIS))

  return _Mapped(
    step,
    axis_name=_AXIS,
    compiler_options=None if fused else _UNFUSED,
    donate_argnums=(0,) if donate else (),
  )


def join_batch_norm(model: nnx.Module) -> None:
  """Lets BatchNorm take its statistics over all devices, inside `together`."""
  for _, module in nnx.iter_modules(model):
    if isinstance(module, nnx.BatchNorm):
      module.axis_name = _AXIS


def sum_batches(
  functions: tuple[Callable[..., Any], ...],
  batches: Iterable[statistics.Batch],
  arguments: tuple[tuple[Any, ...], ...],
  *,
  centre: tuple[np.ndarray, np.float32] | None = None,
  groups: int = 1,
  over_hosts: bool = False,
) -> tuple[Any, ...]:
  """Adds statistics over batches and devices, in one pass.

  Args:
    functions: statistics to add up.
    batches: with leading axes `[d, b]`, on the host or the devices.
    arguments: for each statistic, the arrays it takes after the batch.
    centre: shift `[D]` to subtract from the features, and scale to divide
      them by, both float32.
    groups: G; an example belongs to the group of its place among all, modulo
      G, however it is batched.
    over_hosts: whether the batches are a part of those of all hosts, which
      add them to the same sums; all statistics meet in one collective.

  Returns:
    For each statistic its sums, float64 arrays `[G, ...]` on the host.

  Raises:
    ValueError: if there is no batch.
    InputError: if this fails on one of several hosts.
    LostHost: if a host has died.
  """
  add = functools.partial(
    _sum_here, functions, batches, arguments, centre, groups
  )
  if over_hosts and hosts() > 1:
    return _add_hosts(agree(add))
  return add()


def _sum_here(functions, batches, arguments, centre, groups):
  """`sum_batches` over the devices of this host."""
  step, finish = _compile(functions, groups)
  placed = replicate((arguments, centre))
  running = None
  ahead: collections.deque[jax.Array] = collections.deque()
  for batch in batches:
    if running is None:
      running = _zeros(functions, batch, arguments, centre, groups)
    running, done = step(running, batch, placed)
    # Devices work while the host reads on, but only so far: what waits for
    # them takes memory.
    ahead.append(done)
    if len(ahead) > _RUN_AHEAD:
      ahead.popleft().block_until_ready()
  if running is None:
    raise ValueError("there is no batch to add up")
  # The result is the same on every device: one is read.
  parts = jax.tree.map(lambda x: x.addressable_data(0), finish(running))
  parts = jax.device_get(parts)
  return jax.tree.map(
    lambda *p: sum(np.asarray(x, np.float64)[0] for x in p), *parts
  )


@functools.lru_cache(maxsize=256)
def _compile(functions, groups):
  """Returns the pmapped step, with donated running sums, and the last sum."""

  def step(running, batch, placed):
    def add(_, group):
      return None, _scan(functions, *group, *placed)

    first = batch.start % groups
    batch = dataclasses.replace(batch, start=None)
    if groups == 1:  # without the copies of a loop
      _, new = add(None, (jax.tree.map(lambda x: x[0], running), batch))
      new = jax.tree.map(lambda x: x[None], new)
    else:  # one after the other: only one has its statistics in the making
      apart = _regroup(batch, first, groups)
      _, new = jax.lax.scan(add, None, (running, apart))
    return new, batch.weights[0]

  def finish(running):
    total, lost = running
    # Each float32 is split in two halves of 12 bits: where devices hold like
    # amounts, as equal shares of the data do, the sums of halves are exact.
    high = jax.tree.map(_high_bits, total)
    low = jax.tree.map(jnp.subtract, total, high)
    return jax.lax.psum((high, low, lost), _AXIS)

  return (
    _Mapped(step, axis_name=_AXIS, donate_argnums=0),
    _Mapped(finish, axis_name=_AXIS),
  )


def _regroup(batch, first, groups):
  """A batch `[b, ...]` as `[G, m, ...]`, padded so that groups are in place.

  Its first example is of the group `first`.
  """
  examples = batch.labels.shape[0]
  size = -(-(examples + groups - 1) // groups)

  def place(x):
    padded = jnp.zeros((size * groups, *x.shape[1:]), x.dtype)
    padded = jax.lax.dynamic_update_slice_in_dim(padded, x, first, 0)
    return jnp.moveaxis(padded.reshape(size, groups, *x.shape[1:]), 1, 0)

  return jax.tree.map(place, batch)


def _high_bits(x):
  bits = jax.lax.bitcast_convert_type(x, jnp.int32) & ~0xFFF
  return jax.lax.bitcast_convert_type(bits, jnp.float32)


def _add_up(functions, batch, arguments, centre):
  """The statistics of one batch on one device, as float32."""
  used = batch.weights[:, None] > 0
  if batch.odd_padding and batch.probs is not None:
    batch = dataclasses.replace(batch, probs=jnp.where(used, batch.probs, 0))
  if batch.features is not None:
    shift, scale = centre
    features = (batch.features.astype(jnp.float32) - shift[None]) / scale
    batch = dataclasses.replace(batch, features=jnp.where(used, features, 0))
  sums = tuple(
    function(batch, *extra)
    for function, extra in zip(functions, arguments, strict=True)
  )
  return jax.tree.map(lambda x: jnp.asarray(x, jnp.float32), sums)


def _scan(functions, running, batch, arguments, centre):
  """Adds a batch in pieces of so many examples, with compensation."""

  def add(running, piece):
    sums = _add_up(functions, piece, arguments, centre)
    total, lost = running
    new = jax.tree.map(jnp.add, total, sums)
    lost = jax.tree.map(_add_rounding, lost, total, sums, new)
    return (new, lost), None

  examples = batch.labels.shape[0]
  most = min(function.max_batch for function in functions)
  if examples <= most:
    return add(running, batch)[0]
  pieces, rest = divmod(examples, most)
  whole = pieces * most
  shape = (pieces, most)
  head = jax.tree.map(lambda x: x[:whole].reshape(*shape, *x.shape[1:]), batch)
  running, _ = jax.lax.scan(add, running, head)
  if rest:
    running, _ = add(running, jax.tree.map(lambda x: x[whole:], batch))
  return running


def _add_rounding(lost, a, b, total):
  """Adds what `total = a + b` rounded away (two-sum of Knuth)."""
  virtual = total - a
  return lost + ((a - (total - virtual)) + (b - virtual))


def _zeros(functions, batch, arguments, centre, groups):
  """Running sums of zero, shaped as the statistics of a batch, `[G, ...]`."""
  leaves, structure = jax.tree.flatten((batch, arguments, centre))
  shapes = _shapes(
    functions, structure, tuple((x.shape, jnp.result_type(x)) for x in leaves)
  )

  def zeros():
    return jax.tree.map(
      lambda s: np.zeros((device_count(), groups, *s.shape), np.float32),
      shapes,
    )

  return zeros(), zeros()


@functools.lru_cache(maxsize=256)
def _shapes(functions, structure, leaves):
  """Shapes of the statistics of one device's batch."""
  batch, arguments, centre = jax.tree.unflatten(
    structure, [jax.ShapeDtypeStruct(*leaf) for leaf in leaves]
  )
  one = jax.tree.map(
    lambda x: jax.ShapeDtypeStruct(x.shape[1:], x.dtype), batch
  )
  abstract = functools.partial(_add_up, functions)
  return jax.eval_shape(abstract, one, arguments, centre)
