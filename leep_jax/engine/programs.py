"""Compiled, data-parallel functions: the only module that names pmap or psum.

`parallel` runs a pure function on the examples of a batch, spread over the
devices of this process; inside it, `add_over_devices` sums over them. `trace`
tells what a function computes, so that programs are kept under values, never
under the identity of a closure.

A batch for d devices is a pytree of arrays `[d, b, ...]`: b examples for each.
"""

import collections
from collections.abc import Callable, Iterator, Sequence
import contextlib
import dataclasses
import functools
import hashlib
import os
import platform
import re
import time
from typing import Any

from flax import nnx
import jax
import numpy as np

from leep_jax.engine import hosts

_AXIS = "devices"
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
  return sum(int(x[0]) for x in hosts.gather(np.asarray([device_count()])))


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


class _Program:
  """A pmapped function, compiled ahead of its first call with a shape.

  Compiling ahead tells compile time from run time, and a call costs a quarter
  of one through pmap's own dispatch. Programs are kept under the function
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
    used = _devices()
    shapes = ((x.shape, x.dtype) for x in leaves)
    key = (self._key, used, structure, *shapes)
    if key not in _programs:
      start = time.perf_counter()
      _programs[key] = self._compile(used, args)
      _Program.seconds += time.perf_counter() - start
      while len(_programs) > _MOST_PROGRAMS:
        _programs.popitem(last=False)
    _programs.move_to_end(key)
    return _programs[key](*args)

  def _compile(self, used, args):
    # JAX's caches keep the function they are given, and what it refers to,
    # until they are cleared. So they get a wrapper that is emptied afterwards.
    lent = [self._function]

    def call(*args):
      return lent[0](*args)

    mapped = jax.pmap(call, axis_name=_AXIS, devices=used, **self._options)
    lowered = mapped.lower(*args)
    lent.clear()
    options = self._compiler_options.get(used[0].platform)
    return lowered.compile(compiler_options=options)

  def programs(self) -> list[Any]:
    """Returns the compiled programs of this function that are kept now."""
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
  function: Callable[..., Any], *args: Any, over_devices: bool = False
) -> tuple[Traced, list[jax.Array]]:
  """Returns what a function computes, and the arrays that it refers to.

  Args:
    function: pure, of pytrees of arrays.
    *args: arrays, or their shapes (`jax.ShapeDtypeStruct`).
    over_devices: whether the function calls `add_over_devices`. It is then
      traced for as many devices as this process feeds.

  Example:
    >>> import jax.numpy as jnp
    >>> from leep_jax.engine import programs
    >>> x, weights = jnp.ones((2, 3)), jnp.ones(3)
    >>> traced, constants = programs.trace(lambda x: x @ weights, x)
    >>> traced(constants, x).tolist()
    [3.0, 3.0]
  """
  start = time.perf_counter()
  axes = [(_AXIS, device_count())] if over_devices else None
  closed, shapes = jax.make_jaxpr(function, axis_env=axes, return_shape=True)(
    *args
  )
  _Program.seconds += time.perf_counter() - start
  return Traced(str(closed.jaxpr), closed.jaxpr, shapes), closed.consts


def compile_seconds() -> float:
  """Returns the seconds that compilation has taken in this process so far."""
  return _Program.seconds


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


_copy = _Program(lambda _, tree: tree, in_axes=(0, None))


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
  function: Callable[..., Any],
  *,
  fused: bool = False,
  donate: bool = False,
) -> Callable[..., Any]:
  """Spreads a pure function over all devices of this process.

  Args:
    function: of the parts of its arguments that one device has, such as a state
      and examples `[b, ...]`. It may call `add_over_devices`.
    fused: whether a CPU may fuse products, which spoils bfloat16.
    donate: whether the memory of the first argument is given to the results.

  Returns:
    A function of arguments with a leading axis of devices `[d, ...]` (see
    `replicate` and `split`), whose results have that axis too. It compiles once
    for each shape; a call returns before the devices have finished.

  Example:
    >>> import numpy as np
    >>> from leep_jax.engine import programs
    >>> with programs.limit(1):
    ...   scale = programs.replicate(np.float32(2))
    ...   images = programs.split(np.ones((3, 2), np.float32), 3)
    ...   scaled = programs.parallel(lambda scale, x: scale * x)(scale, images)
    >>> scaled.shape
    (1, 3, 2)
  """
  return _Program(
    function,
    compiler_options=None if fused else _UNFUSED,
    donate_argnums=(0,) if donate else (),
  )


def add_over_devices(tree: Any) -> Any:
  """Sums a pytree over the devices, inside a function given to `parallel`.

  Example:
    >>> import numpy as np
    >>> from leep_jax.engine import programs
    >>> total = programs.parallel(lambda x: programs.add_over_devices(x.sum()))
    >>> with programs.limit(1):
    ...   total(np.ones((1, 5), np.float32)).tolist()
    [5.0]
  """
  return jax.lax.psum(tree, _AXIS)


def synchronise_batch_norm(model: nnx.Module) -> None:
  """Has BatchNorm take its statistics over all devices, inside `parallel`.

  Args:
    model: the module, which is changed.

  Example:
    >>> from flax import nnx
    >>> from leep_jax.engine import programs
    >>> norm = nnx.BatchNorm(3, rngs=nnx.Rngs(0))
    >>> programs.synchronise_batch_norm(norm)
    >>> norm.axis_name is None
    False
  """
  for _, module in nnx.iter_modules(model):
    if isinstance(module, nnx.BatchNorm):
      module.axis_name = _AXIS
