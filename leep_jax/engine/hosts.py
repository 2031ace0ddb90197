"""Many processes that run one job: start-up, gathering, agreement.

A *host* is one of the processes of a job: each has devices of its own, and all
of them run the same program. The functions here are collective: every host must
call them, in the same order.
"""

from collections.abc import Callable, Iterator
from typing import Any, TypeVar

import jax
from jax.experimental import multihost_utils
import numpy as np

from leep_jax import validation

# A host that sends no heartbeat for this long counts as dead; the others stop.
_SILENCE = 30  # seconds
# Upper bound on what one collective brings to each host, from all of them.
_GATHERED_BYTES = 256 << 20
# The largest array of all examples that may be gathered on every host.
_ROWS_BYTES = 1 << 30
_Result = TypeVar("_Result")


class LostHost(RuntimeError):
  """A collective has failed, so this host cannot go on either.

  Example:
    >>> from leep_jax.engine import hosts
    >>> raise hosts.LostHost("what 4 hosts do together failed")
    Traceback (most recent call last):
    ...
    leep_jax.engine.hosts.LostHost: what 4 hosts do together failed
  """


def start(
  *,
  coordinator: str | None = None,
  processes: int | None = None,
  process: int | None = None,
) -> None:
  """Joins this process to the others of a job, before anything uses JAX.

  Without arguments JAX finds the others on TPU pods, Slurm, Kubernetes and Open
  MPI. If a host dies, JAX stops the others after about half a minute.

  Args:
    coordinator: `HOST:PORT` of the first process: its address and a free port
      that the others can reach.
    processes: the number of processes; for 1, nothing is done.
    process: the index of this process, from 0.

  Raises:
    InputError: if only some of the arguments are given, one is out of range, no
      job is found, or it cannot be joined.

  Example:
    >>> from leep_jax.engine import hosts
    >>> hosts.start(coordinator="10.0.0.1:9876", processes=1, process=0)
    >>> hosts.count()
    1
  """
  given = (coordinator, processes, process)
  if any(x is None for x in given) and any(x is not None for x in given):
    raise validation.InputError(
      "one process of several needs all of coordinator, processes and process"
    )
  if coordinator is not None and processes is not None and process is not None:
    validation.at_least_1("processes", processes)
    if not 0 <= process < processes:
      raise validation.InputError(
        f"process is {process}, but must be from 0 to {processes - 1}: there "
        f"are {processes} processes"
      )
    name, _, port = coordinator.rpartition(":")
    if not name or not port.isdecimal():
      raise validation.InputError(
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
  except Exception as e:  # JAX and each cluster raise types of their own
    if coordinator is None and isinstance(e, ValueError):
      raise validation.InputError(
        "found no job of several processes (TPU pod, Slurm, Kubernetes, Open "
        "MPI): elsewhere give coordinator, processes and process"
      ) from e
    raise validation.InputError(
      f"cannot join the other processes: {validation.reason(e)}"
    ) from e


def count() -> int:
  """Returns the number of hosts of the job.

  Example:
    >>> from leep_jax.engine import hosts
    >>> hosts.count()
    1
  """
  return jax.process_count()


def index() -> int:
  """Returns the index of this host, from 0.

  Example:
    >>> from leep_jax.engine import hosts
    >>> hosts.index()
    0
  """
  return jax.process_index()


def share(examples: int) -> slice:
  """Returns the slice of so many examples that is this host's share.

  Shares differ by at most one example.

  Example:
    >>> from leep_jax.engine import hosts
    >>> hosts.share(100)  # of one host
    slice(0, 100, None)
  """
  return slice(
    index() * examples // count(), (index() + 1) * examples // count()
  )


def _exchange(data: np.ndarray) -> Iterator[np.ndarray]:
  """Yields pieces `[H, m]` of the bytes `[k]` of H hosts, each a collective.

  The number of bytes k must be the same on all hosts.
  """
  size = (
    max(_GATHERED_BYTES // count() // 8, 1) * 8
  )  # float64 numbers are not split
  for first in range(0, len(data), size):
    try:
      # A collective goes through arrays of the devices, where JAX makes float64
      # float32: bytes arrive as they are.
      piece = multihost_utils.process_allgather(data[first : first + size])
    except Exception as e:  # each kind of network raises its own
      raise LostHost(
        f"what {count()} hosts do together failed ({validation.reason(e)}): "
        "has one of them stopped?"
      ) from e
    yield piece


def gather(values: np.ndarray) -> list[np.ndarray]:
  """Returns the arrays of all hosts, in the order of hosts.

  Args:
    values: `[m, ...]`; m may be different on each host.

  Raises:
    LostHost: if a host has died.

  Example:
    >>> import numpy as np
    >>> from leep_jax.engine import hosts
    >>> hosts.gather(np.arange(3))[0].tolist()  # of one host
    [0, 1, 2]
  """
  if count() == 1:
    return [values]
  data = np.ascontiguousarray(values).reshape(-1).view(np.uint8)
  # Arrays of a collective must have one shape on all hosts: lengths are
  # exchanged first, and shorter arrays are padded.
  (sizes,) = _exchange(np.asarray([data.size], np.int64).view(np.uint8))
  sizes = sizes.view(np.int64)[:, 0]
  data = np.append(data, np.zeros(sizes.max() - data.size, np.uint8))
  # Without any rows there is no piece, and nothing to concatenate.
  empty = np.zeros((count(), 0), np.uint8)
  rows = np.concatenate([empty, *_exchange(data)], axis=1)
  return [
    row[:size].copy().view(values.dtype).reshape(-1, *values.shape[1:])
    for row, size in zip(rows, sizes, strict=True)
  ]


def check_gathered(rows: int, width: int, name: str) -> None:
  """Refuses an array that is too large to be gathered on every host.

  Args:
    rows: of all hosts together.
    width: K, float32 numbers in a row.
    name: what the error calls the array.

  Raises:
    UndefinedScore: if it is larger than 1 GiB.

  Example:
    >>> from leep_jax.engine import hosts
    >>> hosts.check_gathered(1_000_000, 2048, "features")
    Traceback (most recent call last):
    ...
    leep_jax.validation.errors.UndefinedScore: it needs the features of all ...
  """
  size = 4 * rows * width
  if size > _ROWS_BYTES:
    raise validation.UndefinedScore(
      f"it needs the {name} of all examples in one place, {size / 2**30:.1f} "
      "GiB, but they are on several hosts: score it on one host"
    )


def agree(work: Callable[[], _Result]) -> _Result:
  """Returns this host's `work()` when all hosts have finished theirs.

  Work that may fail on one host alone, such as reading a file, must be done
  here: otherwise the others would wait for that host forever.

  Raises:
    InputError: on all hosts, if the work has failed on one of several.
    LostHost: if a host has died.

  Example:
    >>> from leep_jax.engine import hosts
    >>> hosts.agree(lambda: 2 + 2)
    4
  """
  if count() == 1:
    return work()
  failed, said = None, ""
  try:
    result = work()
  # The hosts cannot agree on anything without the one that is lost.
  except LostHost:
    raise
  except Exception as e:
    failed, said = e, validation.reason(e)
    if not isinstance(e, validation.InputError):
      said = f"{type(e).__name__}: {said}"
  # All hosts must raise the same type of error: callers handle types
  # differently, and hosts that go on differently wait for each other forever.
  is_data = isinstance(failed, validation.DataError)
  kinds = np.concatenate(gather(np.asarray([is_data], np.uint8)))
  parts = gather(np.frombuffer(said.encode(), np.uint8))
  texts = [part.tobytes().decode() for part in parts]
  for i, text in enumerate(texts):
    if text:
      where = "" if len(set(texts)) == 1 else f"host {i}: "
      kind = validation.DataError if kinds[i] else validation.InputError
      raise kind(f"{where}{text}") from failed
  return result


def on_first_host(work: Callable[[], None]) -> None:
  """Does work on the first host while the others wait.

  Raises:
    InputError: on all hosts, if it has failed.
    LostHost: if a host has died.

  Example:
    >>> from leep_jax.engine import hosts
    >>> hosts.on_first_host(lambda: print("written"))
    written
  """
  agree(work if index() == 0 else lambda: None)


def add(sums: Any) -> Any:
  """Sums a pytree of float64 arrays over hosts; all get the same bits.

  Example:
    >>> import numpy as np
    >>> from leep_jax.engine import hosts
    >>> hosts.add({"joint": np.ones(2)})["joint"].tolist()  # of one host
    [1.0, 1.0]
  """
  leaves, structure = jax.tree.flatten(sums)
  flat = np.concatenate([x.ravel() for x in leaves])
  # Added by NumPy, in float64 and in the order of hosts on each of them: a sum
  # on the devices would be in float32.
  parts = [x.view(np.float64).sum(axis=0) for x in _exchange(flat.view("u1"))]
  ends = np.cumsum([x.size for x in leaves])
  total = np.split(np.concatenate(parts), ends[:-1])
  return jax.tree.unflatten(
    structure,
    [x.reshape(leaf.shape) for x, leaf in zip(total, leaves, strict=True)],
  )
