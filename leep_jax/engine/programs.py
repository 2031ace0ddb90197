"""Compiled, data-parallel functions: the only module that names pmap or psum.

`parallel` runs a pure function on the examples of a batch, spread over the
devices of this process. Inside it, `add_over_devices` sums over the devices.

Compiled programs are cached under values: the function (compared by equality),
shapes, dtypes, options and devices. `trace` makes a function equal to every
other one that computes the same, so that a source that is loaded again compiles
nothing, and no program keeps the weights of a source alive.

A batch for d devices is a pytree of arrays `[d, b, ...]`: b examples for each.
"""

import collections
from collections.abc import Callable, Iterator, Sequence
import contextlib
import hashlib
import math
import os
import platform as platform_lib
import threading
import time
from typing import Any

from flax import nnx
import jax
import numpy as np

from leep_jax import user_cache
from leep_jax.engine import hosts, tracing, uncomputed

_AXIS = "devices"
# With JAX 0.11 the CPU's fused YNN kernels return NaN for bfloat16 networks
# (`test_bfloat16_scores_are_within_the_stated_tolerance`), and forward passes
# take up to twice as long with them; sums, and gradients in float32, need them.
# ConvNeXt gains a tenth by vectors of the processor's own width.
_UNFUSED = {
  "cpu": {
    "xla_cpu_experimental_ynn_fusion_type": "",
    "xla_cpu_prefer_vector_width": "512",
  }
}
# Sums over devices become one operation whatever their size. A TPU's compiler
# makes several of more than some 30 MB. Joined to one array here instead, they
# would be copied, which takes 20 times as long as the rest of the program.
_JOINED = {"tpu": {"xla_jf_crs_combiner_threshold_in_bytes": str(1 << 40)}}
# A compiled program takes up to a few hundred of the 65,530 memory maps that
# Linux allows a process. Without any left, a compilation kills the process.
_MOST_PROGRAMS = 256
# The size of the folder of compiled programs; JAX deletes the oldest.
_COMPILED_BYTES = 4 << 30
# Least recently used first.
_programs: collections.OrderedDict[Any, Callable[..., Any]] = (
  collections.OrderedDict()
)
_lock = threading.RLock()
_limit: int | None = None
# What `compile_for` compiles for, and where it puts what it has compiled.
_target: tuple[tuple[Any, ...], list[Any]] | None = None


@contextlib.contextmanager
def limit(count: int) -> Iterator[None]:
  """Uses only this process's first `count` devices, inside a `with` block.

  Example:
    >>> from leep_jax.engine import programs
    >>> with programs.limit(1):
    ...   programs.device_count()
    1
  """
  global _limit
  before, _limit = _limit, count
  try:
    yield
  finally:
    _limit = before


@contextlib.contextmanager
def compile_for(devices: Sequence[Any]) -> Iterator[list[Any]]:
  """Compiles for devices that need not be there, inside a `with` block.

  Nothing runs: a function of `parallel` that is called in the block is compiled
  for the shapes of its arguments, and returns shapes, which other functions
  take. Reading such a result raises `uncomputed.NotComputed`. Whatever depends
  on the platform is as it is on these devices.

  Args:
    devices: such as those of a topology of JAX.

  Returns:
    A context, whose value is a list: of each call its `jax.stages.Compiled`.

  Example:
    >>> import jax
    >>> import numpy as np
    >>> from leep_jax.engine import programs
    >>> total = programs.parallel(lambda x: programs.add_over_devices(x.sum()))
    >>> with programs.compile_for(jax.local_devices()[:1]) as compiled:
    ...   found = total(np.ones((1, 5), np.float32))
    >>> found.shape, len(compiled)
    ((1,), 1)
    >>> np.asarray(found)
    Traceback (most recent call last):
    ...
    leep_jax.engine.uncomputed.NotComputed: this was only compiled, for ...
  """
  global _target
  before, _target = _target, (tuple(devices), [])
  # JAX cannot read such programs from its cache, so they are not written.
  option = "jax_persistent_cache_min_compile_time_secs"
  least = jax.config.values[option]
  jax.config.update(option, math.inf)
  try:
    yield _target[1]
  finally:
    _target = before
    jax.config.update(option, least)


def _devices() -> tuple[jax.Device, ...]:
  if _target is not None:
    return _target[0]
  return tuple(jax.local_devices()[:_limit])


def platform() -> str:
  """Returns what programs are compiled for, such as `cpu` or `tpu`.

  Example:
    >>> from leep_jax.engine import programs
    >>> programs.platform() in ("cpu", "gpu", "tpu")
    True
  """
  return _devices()[0].platform


def device_count() -> int:
  """Returns the number of devices that this process uses.

  Example:
    >>> from leep_jax.engine import programs
    >>> with programs.limit(1):
    ...   programs.device_count()
    1
  """
  return len(_devices())


def are_host() -> bool:
  """Returns whether one CPU is all devices: NumPy can then compute as well.

  Several devices on a CPU are simulated, and compute as accelerators do.

  Example:
    >>> from leep_jax.engine import programs
    >>> with programs.limit(1):
    ...   programs.are_host() == (programs.platform() == "cpu")
    True
  """
  return platform() == "cpu" and device_count() == 1


def all_device_count() -> int:
  """Returns the number of devices that all hosts use.

  Example:
    >>> from leep_jax.engine import programs
    >>> programs.all_device_count() == programs.device_count()  # of one host
    True
  """
  return sum(int(x[0]) for x in hosts.gather(np.asarray([device_count()])))


def memory_budget() -> tuple[int, int]:
  """Returns the bytes for outputs on each device, and on the host.

  Half of what is free now; a CPU "device" shares the host's memory, and gets 0.

  Example:
    >>> from leep_jax.engine import programs
    >>> on_device, on_host = programs.memory_budget()
    >>> on_host > 0
    True
  """
  device = jax.local_devices()[0]
  free = 0
  if device.platform != "cpu":
    stats = device.memory_stats() or {}
    free = stats.get("bytes_limit", 0) - stats.get("bytes_in_use", 0)
  try:
    host = os.sysconf("SC_AVPHYS_PAGES") * os.sysconf("SC_PAGE_SIZE")
  except (AttributeError, ValueError, OSError):  # not a POSIX system
    host = 8 << 30
  return free // 2, host // 2


def split(array: np.ndarray, rows: int) -> np.ndarray:
  """Reshapes up to d * `rows` examples `[m, ...]` to `[d, rows, ...]`.

  Zeros are appended to a smaller batch. A full one is not copied.

  Example:
    >>> import numpy as np
    >>> from leep_jax.engine import programs
    >>> with programs.limit(1):
    ...   programs.split(np.ones((3, 2)), 4).shape
    (1, 4, 2)
  """
  count = device_count()
  missing = count * rows - len(array)
  if missing:
    padding = np.zeros((missing, *array.shape[1:]), array.dtype)
    array = np.concatenate([array, padding])
  # All padding is at the end, as `storage.on_host` and callers expect.
  return array.reshape(count, rows, *array.shape[1:])


class _Program:
  """A pmapped function, compiled ahead of its first call with a shape.

  A call then takes a quarter of the time of one through pmap. Functions that
  are equal, such as two of `Traced`, share their programs.
  """

  seconds = 0.0  # that tracing and compiling have taken, of all instances

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
    # A function that equals itself only: its programs go with this object.
    is_value = getattr(function, "is_value", True)
    self._programs = _programs if is_value else collections.OrderedDict()

  def __call__(self, *args: Any) -> Any:
    used = _devices()
    if _target is not None:
      return self._compile_only(used, args, _target[1])
    leaves, structure = jax.tree.flatten(args)
    shapes = ((x.shape, x.dtype) for x in leaves)
    # The structure has the static fields of a `Batch`, such as `num_classes`.
    key = (self._key, used, structure, *shapes)
    with _lock:  # of threads that need the same program, one compiles it
      if key not in self._programs:
        start = time.perf_counter()
        self._programs[key] = self._compile(used, self._lower(used, args))
        _Program.seconds += time.perf_counter() - start
        while len(self._programs) > _MOST_PROGRAMS:
          self._programs.popitem(last=False)
      self._programs.move_to_end(key)
      program = self._programs[key]
    return program(*args)

  def _compile(self, used, lowered):
    options = self._compiler_options.get(used[0].platform)
    try:
      return lowered.compile(compiler_options=options)
    except jax.errors.JaxRuntimeError as e:
      # Results are the same without an option that a compiler does not know.
      if used[0].platform != "tpu" or "No such compile option" not in str(e):
        raise
      return lowered.compile()

  def _compile_only(self, used, args, compiled):
    """Compiles a call, and returns the shapes of its results."""
    lowered = self._lower(used, uncomputed.as_shapes(args))
    compiled.append(self._compile(used, lowered))
    return uncomputed.results(lowered.out_info)

  def _lower(self, used, args):
    # JAX's caches keep the function that they get, and what it refers to: this
    # wrapper is emptied afterwards.
    lent = [self._function]

    def call(*args):
      return lent[0](*args)

    mapped = jax.pmap(call, axis_name=_AXIS, devices=used, **self._options)
    lowered = mapped.lower(*args)
    lent.clear()
    return lowered

  def programs(self) -> list[Any]:
    """Returns the compiled programs of this function that are kept now."""
    return [
      program for key, program in self._programs.items() if key[0] == self._key
    ]


def trace(
  function: Callable[..., Any], *args: Any, over_devices: bool = False
) -> tuple[tracing.Traced, list[Any]]:
  """Returns the operations of a function, and the arrays that it refers to.

  Args:
    function: pure, of pytrees of arrays.
    *args: its arguments: arrays, or shapes (`jax.ShapeDtypeStruct`).
    over_devices: whether the function calls `add_over_devices`. It is then
      traced for the devices of this process.

  Example:
    >>> import jax.numpy as jnp
    >>> from leep_jax.engine import programs
    >>> x, weights = jnp.ones((2, 3)), jnp.ones(3)
    >>> traced, constants = programs.trace(lambda x: x @ weights, x)
    >>> traced(x, traced.given(constants)).tolist()
    [3.0, 3.0]
  """
  start = time.perf_counter()
  # pmap, which defines the axis, is not there yet while a sum over it is
  # traced.
  axes = [(_AXIS, device_count())] if over_devices else None
  found = tracing.trace(function, *args, axis_env=axes)
  _Program.seconds += time.perf_counter() - start
  return found


def compile_seconds() -> float:
  """Returns the seconds that compilation has taken in this process so far.

  Example:
    >>> import numpy as np
    >>> from leep_jax.engine import programs
    >>> before = programs.compile_seconds()
    >>> cube = programs.parallel(lambda x: x**3 + 1)
    >>> with programs.limit(1):
    ...   cube(np.full((1, 2), 2.0, np.float32)).tolist()
    [[9.0, 9.0]]
    >>> programs.compile_seconds() > before
    True
  """
  return _Program.seconds


def use_compilation_cache() -> None:
  """Turns on JAX's cache of compiled programs, in `user_cache.folder()`.

  A folder that is already JAX's `jax_compilation_cache_dir` stays.

  Example:
    >>> from leep_jax.engine import programs
    >>> programs.use_compilation_cache()
  """
  kept = user_cache.folder()
  chosen = jax.config.values["jax_compilation_cache_dir"]
  if kept is None or chosen is not None:
    return
  # A program compiled for one processor can crash another, of the same home.
  mine = hashlib.sha256(_processor().encode()).hexdigest()[:8]
  folder = os.fspath(kept / f"compiled-{mine}")
  jax.config.update("jax_compilation_cache_dir", folder)
  jax.config.update("jax_compilation_cache_max_size", _COMPILED_BYTES)
  jax.config.update("jax_persistent_cache_min_compile_time_secs", 0)
  jax.config.update("jax_persistent_cache_min_entry_size_bytes", -1)


def _processor() -> str:
  """Returns the processor's properties, on which compiled code depends."""
  flags: list[str] = []
  with contextlib.suppress(OSError), open("/proc/cpuinfo", "rb") as file:
    # Of the first core: x86 has a line "flags", ARM "Features".
    flags = [str(x) for x in file if x.startswith((b"flags", b"Features"))]
  return f"{platform_lib.machine()} {platform_lib.processor()} {flags[:1]}"


def forget_programs() -> None:
  """Frees compiled programs; a function that is called again compiles again.

  Example:
    >>> import numpy as np
    >>> from leep_jax.engine import programs
    >>> double = programs.parallel(lambda x: 2 * x)
    >>> with programs.limit(1):
    ...   _ = double(np.ones((1, 2), np.float32))
    >>> len(double.programs())
    1
    >>> programs.forget_programs()
    >>> len(double.programs())
    0
  """
  _programs.clear()
  jax.clear_caches()


_copy = _Program(lambda _, tree: tree, in_axes=(0, None))


def precision(dtype: str) -> str | None:
  """Returns JAX's setting of the precision of products in a dtype.

  By default accelerators multiply float32 in fewer bits. A CPU does not, and
  fuses fewer operations where the precision is set: there it is None.

  Example:
    >>> from leep_jax.engine import programs
    >>> programs.precision("bfloat16") is None
    True
  """
  return "highest" if dtype == "float32" and platform() != "cpu" else None


def replicate(tree: Any) -> Any:
  """Places a copy of every array on each device; returns arrays `[d, ...]`.

  Example:
    >>> import numpy as np
    >>> from leep_jax.engine import programs
    >>> with programs.limit(1):
    ...   programs.replicate(np.zeros((2, 3))).shape
    (1, 2, 3)
  """
  if not jax.tree.leaves(tree):
    return tree
  if _target is not None:
    return uncomputed.results(tree, axes=(device_count(),))
  # pmap takes the number of copies from an argument with an axis of devices.
  return _copy(np.zeros(device_count(), np.int8), tree)


def parallel(
  function: Callable[..., Any],
  *,
  fused: bool = False,
  donate: bool = False,
  one_collective: bool = False,
) -> Callable[..., Any]:
  """Spreads a pure function over all devices of this process.

  Args:
    function: of the parts of its arguments that one device has, such as a state
      and examples `[b, ...]`. It may call `add_over_devices`.
    fused: whether a CPU may fuse products, which spoils bfloat16.
    donate: whether the memory of the first argument is given to the results.
    one_collective: whether a TPU adds all sums over devices at once, however
      large they are, instead of some of them while it still computes others.

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
    compiler_options={
      **({} if fused else _UNFUSED),
      **(_JOINED if one_collective else {}),
    },
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
