"""Storage of outputs: in host memory, in device memory, or in files.

A `Store` holds named arrays `[n, K]` of n examples and yields them in batches
for d devices, `[d, b, K]` with b examples for each. Scores do not use this
module: `outputs.py` and `forward.py` do.
"""

import abc
from collections.abc import Iterable, Iterator
import dataclasses
import json
import os
import pathlib
import shutil
import tempfile
from typing import Any

import numpy as np

from leep_jax import validation
from leep_jax.engine import batch as batch_lib, programs

# Bytes of one array in one call of a compiled program, for each device: so many
# that the time of the call itself is negligible.
_CHUNK_BYTES = 4 << 20
# With sums for each group, calls take so many times more bytes: adding to all
# groups takes time that does not depend on the size of the batch.
_GROUPED_FACTOR = 4
MANIFEST = "manifest.json"

# Arrays `[d, b, K]` by name, and how many of the d * b rows are examples: the
# others, at the end, are padding.
Part = tuple[dict[str, Any], int]


@dataclasses.dataclass(frozen=True)
class BatchContext:
  """What makes batches of n examples, besides the source's outputs.

  Attributes:
    labels: `[n]` int32, in 0..num_classes-1.
    num_classes: number of classes.
    targets: `[n, T]` float32, or None.
    centre: `[D]`, the shift that is subtracted on the host from features with
      more digits than float32, or None.
    grouped: whether sums are separate for groups of examples.
    weights: `[n]`, how much each example counts, or None for 1.

  Example:
    >>> import numpy as np
    >>> from leep_jax.engine import storage
    >>> context = storage.BatchContext(
    ...   labels=np.array([0, 1, 1], np.int32), num_classes=2)
    >>> store = storage.HostArrays({"probs": np.full((3, 4), 0.25)})
    >>> (batch,) = store.batches(["probs"], context)
    >>> int(batch.weights.sum())  # the rest is padding
    3
  """

  labels: np.ndarray
  num_classes: int
  targets: np.ndarray | None = None
  centre: np.ndarray | None = None
  grouped: bool = False
  weights: np.ndarray | None = None


def _make_batch(arrays, context, start, count, rows):
  """Makes a batch `[d, b, ...]` of the examples from `start`, b = `rows`."""
  labels = context.labels[start : start + count]
  targets = context.targets
  if targets is not None:
    targets = programs.split(targets[start : start + count], rows)
  weights = np.ones(count, np.float32)
  if context.weights is not None:
    weights = context.weights[start : start + count].astype(np.float32)
  return batch_lib.Batch(
    labels=programs.split(labels, rows),
    weights=programs.split(weights, rows),
    num_classes=context.num_classes,
    targets=targets,
    # The first index of each device, which sees its own rows only.
    start=start + rows * np.arange(programs.device_count(), dtype=np.int32),
    **arrays,
  )


class Store(abc.ABC):
  """Named arrays `[n, K]`, kept by subclasses in one kind of memory each.

  Example:
    >>> import numpy as np
    >>> from leep_jax.engine import storage
    >>> store = storage.HostArrays({"features": np.zeros((10, 3))})
    >>> isinstance(store, storage.Store), store.shape("features")
    (True, (10, 3))
  """

  @abc.abstractmethod
  def keys(self) -> Iterable[str]:
    """Returns the names of the arrays."""

  @abc.abstractmethod
  def shape(self, key: str) -> tuple[int, ...]:
    """Returns the shape `[n, K]` of an array."""

  @abc.abstractmethod
  def array(self, key: str) -> np.ndarray:
    """Returns an array on the host, memory-mapped if it is in a file."""

  @abc.abstractmethod
  def only(self, key: str, *, name: str) -> "Store":
    """Returns a store of one of the arrays, under another name."""

  @abc.abstractmethod
  def chunks(self, key: str) -> Iterator[np.ndarray]:
    """Yields an array on the host in pieces `[m, K]`, in order."""

  @abc.abstractmethod
  def batches(
    self, keys: list[str], context: BatchContext
  ) -> Iterator[batch_lib.Batch]:
    """Yields batches `[d, b, ...]` of some arrays, in order.

    Args:
      keys: names of the arrays.
      context: labels and targets of the batches.
    """

  def is_wide(self, key: str) -> bool:
    """Returns whether values of an array have more digits than float32."""
    return False

  def host_chunks(self, key: str) -> Iterator[np.ndarray] | None:
    """Returns chunks of floats on the host, as large as possible.

    None if they are on devices, or of a type or order with which NumPy is slow.
    """
    return None


class HostArrays(Store):
  """Arrays on the host, or `FileArray`s, whose slices are arrays.

  Example:
    >>> import numpy as np
    >>> from leep_jax.engine import storage
    >>> store = storage.HostArrays({"features": np.arange(6.0).reshape(3, 2)})
    >>> store.is_wide("features")  # float64
    True
    >>> print(next(store.chunks("features")))
    [[0. 1.]
     [2. 3.]
     [4. 5.]]
  """

  def __init__(self, arrays: dict[str, Any]):
    self._arrays = arrays

  def keys(self) -> Iterable[str]:
    return self._arrays

  def shape(self, key: str) -> tuple[int, ...]:
    return self._arrays[key].shape

  def array(self, key: str) -> np.ndarray:
    array = self._arrays[key]
    return array if isinstance(array, np.ndarray) else array.array()

  def rows(self, key: str) -> Any:
    """Returns what slices of rows are read from: an array, or a file's."""
    return self._arrays[key]

  def only(self, key: str, *, name: str) -> Store:
    return HostArrays({name: self._arrays[key]})

  def host_chunks(self, key: str) -> Iterator[np.ndarray] | None:
    array = self._arrays[key]
    if array.dtype not in (np.float32, np.float64):
      return None
    if not isinstance(array, np.ndarray):
      return self.chunks(key)
    # NumPy and SciPy are slow with other orders, or copy the array.
    return iter([array]) if array.flags.c_contiguous else None

  def is_wide(self, key: str) -> bool:
    dtype = self._arrays[key].dtype
    # Integers too: float32 represents those up to 2^24 only.
    return dtype.kind in "iu" or (dtype.kind == "f" and dtype.itemsize > 4)

  def _rows(self, keys, *, times=1):
    """Returns the examples for each device in one call.

    Each size is a compilation, so there are few sizes: powers of two and, where
    all examples fit in one call, four steps between them, because padding takes
    time.
    """
    enough = -(-len(self._arrays[keys[0]]) // programs.device_count())
    # In bytes of float32; 64 rows at least, however wide they are.
    width = max(self.shape(key)[1] * 4 for key in keys)
    most = max(times * _CHUNK_BYTES // width, 64)
    # An eighth of the next power of two: a quarter of the one below.
    unit = max(1 << (enough - 1).bit_length() >> 3, 1)
    return min(-(-enough // unit) * unit, 1 << (most.bit_length() - 1))

  def chunks(self, key: str) -> Iterator[np.ndarray]:
    step = self._rows([key]) * programs.device_count()
    for start in range(0, self.shape(key)[0], step):
      yield self._arrays[key][start : start + step]

  def batches(
    self, keys: list[str], context: BatchContext
  ) -> Iterator[batch_lib.Batch]:
    rows = self._rows(keys, times=_GROUPED_FACTOR if context.grouped else 1)
    step = rows * programs.device_count()
    for start in range(0, len(context.labels), step):
      arrays = {}
      for key in keys:
        array = self._arrays[key][start : start + step]
        # In float64: converted to float32 first, values with a large mean
        # would lose the digits that differ between examples.
        if key == "features" and self.is_wide(key):
          array = array - context.centre
        arrays[key] = programs.split(_device_ready(array), rows)
      count = min(step, len(context.labels) - start)
      yield _make_batch(arrays, context, start, count, rows)


def _device_ready(array):
  """Returns float32, or half precision as it is.

  The device widens half precision itself: half the bytes are copied to it, and
  statistics see which rounding to expect.
  """
  half = array.dtype.name in batch_lib.ROW_SUM_TOLERANCE
  with np.errstate(over="ignore"):  # the first pass refuses infinity
    return array if half else array.astype(np.float32, copy=False)


class DeviceArrays(Store):
  """Arrays in device memory, in the parts that the forward pass produced.

  Example:
    >>> import jax.numpy as jnp
    >>> from leep_jax.engine import storage
    >>> part = {"features": jnp.ones((2, 4, 3))}  # 4 rows for each of 2 devices
    >>> store = storage.DeviceArrays([(part, 7)])  # of which 1 is padding
    >>> store.shape("features")
    (7, 3)
  """

  def __init__(self, parts: list[Part]):
    self._parts = [arrays for arrays, _ in parts]
    self._counts = [count for _, count in parts]

  def keys(self) -> Iterable[str]:
    return self._parts[0]

  def shape(self, key: str) -> tuple[int, ...]:
    return (sum(self._counts), self._parts[0][key].shape[2])

  def chunks(self, key: str) -> Iterator[np.ndarray]:
    for part, count in zip(self._parts, self._counts, strict=True):
      yield on_host(part[key])[:count]

  def array(self, key: str) -> np.ndarray:
    return np.concatenate(list(self.chunks(key)))

  def only(self, key: str, *, name: str) -> Store:
    parts = [{name: arrays[key]} for arrays in self._parts]
    return DeviceArrays(list(zip(parts, self._counts, strict=True)))

  def batches(
    self, keys: list[str], context: BatchContext
  ) -> Iterator[batch_lib.Batch]:
    start = 0
    # Parts are batches: nothing is copied.
    for part, count in zip(self._parts, self._counts, strict=True):
      arrays = {key: part[key] for key in keys}
      shape = part[keys[0]].shape
      batch = _make_batch(arrays, context, start, count, shape[1])
      # Padding contains outputs of blank images, which may be NaN. A weight of
      # 0 does not remove NaN, so sums replace it.
      padded = count < shape[0] * shape[1]
      yield dataclasses.replace(batch, odd_padding=padded)
      start += count


def on_host(array: Any) -> np.ndarray:
  """Copies an array `[d, b, ...]` from the devices, as `[d * b, ...]`.

  Example:
    >>> import jax.numpy as jnp
    >>> from leep_jax.engine import storage
    >>> storage.on_host(jnp.ones((2, 4, 3))).shape
    (8, 3)
  """
  host = np.asarray(array)
  return host.reshape(-1, *host.shape[2:])


class FileArray:
  """An npy file that is opened again for each slice.

  Pages that a memory map has read count as memory of the process as long as the
  map exists. With one map a slice, they never add up to the size of the file.

  Example:
    >>> import pathlib, tempfile
    >>> import numpy as np
    >>> from leep_jax.engine import storage
    >>> with tempfile.TemporaryDirectory() as folder:
    ...   path = pathlib.Path(folder) / "features.npy"
    ...   np.save(path, np.arange(6.0).reshape(3, 2))
    ...   array = storage.FileArray(path)
    ...   print(array.shape, len(array), array[2])
    (3, 2) 3 [4. 5.]
  """

  def __init__(self, path: pathlib.Path):
    self._path = path
    array = self.array()
    self.shape, self.dtype = array.shape, array.dtype

  def __len__(self):
    return self.shape[0]

  def __getitem__(self, part):
    return self.array()[part]

  def array(self) -> np.ndarray:
    """Returns the array of the file, memory-mapped."""
    return np.load(self._path, mmap_mode="r", allow_pickle=False)


def _widen(rows, *, is_probs):
  """Returns bfloat16 rows as float32.

  Rows of rounded probabilities may not sum to 1. As float32 they would be
  refused, so they are scaled here, where the dtype is known.
  """
  tolerance = batch_lib.ROW_SUM_TOLERANCE[rows.dtype.name]
  rows = rows.astype(np.float32)
  if is_probs:
    total = rows.sum(axis=1, keepdims=True)
    rows = rows / np.where(np.abs(total - 1) <= tolerance, total, 1)
  return rows


class NewFolder:
  """A folder of npy files that gets its final name when it is complete.

  Until then it has a temporary name, so that an interrupted process leaves no
  folder that looks complete.

  Example:
    >>> import pathlib, tempfile
    >>> import numpy as np
    >>> from leep_jax.engine import storage
    >>> with tempfile.TemporaryDirectory() as temporary:
    ...   path = pathlib.Path(temporary) / "outputs"
    ...   with storage.NewFolder(path) as folder:
    ...     for _ in range(2):  # arrays arrive in pieces
    ...       folder.append("features", np.ones((3, 2), np.float32))
    ...     labels = np.zeros(6, np.int32)
    ...     folder.finish({"labels": labels}, num_classes=1, name="example")
    ...   print(np.load(path / "features.npy").shape)
    (6, 2)
  """

  def __init__(self, directory: str | os.PathLike[str]):
    self.path = pathlib.Path(directory)
    self._files: dict[str, Any] = {}
    self._shapes: dict[str, tuple[int, ...]] = {}
    self._dtypes: dict[str, np.dtype] = {}

  def __enter__(self):
    if self.path.exists() and (
      not self.path.is_dir() or any(self.path.iterdir())
    ):
      raise validation.InputError(
        f"{self.path} exists: outputs are written once"
      )
    try:
      self.path.parent.mkdir(parents=True, exist_ok=True)
      # Beside the final folder: only within one file system is a rename atomic.
      self._partial = pathlib.Path(
        tempfile.mkdtemp(prefix=f".{self.path.name}-", dir=self.path.parent)
      )
    except OSError as e:
      raise validation.InputError(f"cannot write outputs: {e}") from e
    return self

  def append(self, key: str, rows: np.ndarray) -> None:
    """Appends rows `[m, K]` to one array; half precision is widened."""
    if rows.dtype.name == "bfloat16":  # which npy files do not know
      rows = _widen(rows, is_probs=key == "probs")
    if key not in self._files:
      self._files[key] = open(self._partial / f"{key}.npy", "wb+")
      self._shapes[key] = (0, *rows.shape[1:])
      self._dtypes[key] = rows.dtype
      self._header(key)
    # NumPy's buffer is written as it is: npy files are a header and these
    # bytes.
    self._write(key, np.ascontiguousarray(rows).data)
    count, *width = self._shapes[key]
    self._shapes[key] = (count + len(rows), *width)

  def _write(self, key, data):
    self._files[key].write(data)

  def _header(self, key):
    # NumPy pads headers so that the number of rows can grow: the header of
    # `finish` has the size of this one.
    self._files[key].seek(0)
    np.lib.format.write_array_header_1_0(
      self._files[key],
      {
        "descr": np.lib.format.dtype_to_descr(self._dtypes[key]),
        "fortran_order": False,
        "shape": self._shapes[key],
      },
    )

  def finish(
    self,
    targets: dict[str, np.ndarray],
    *,
    num_classes: int,
    name: str,
    without_probs: str = "",
  ) -> None:
    """Writes labels or targets and the manifest, and gives the folder its name.

    Args:
      targets: arrays `[n, ...]` by their names, `labels` or `targets`.
      num_classes: number of classes.
      name: of the source, for error messages.
      without_probs: the reason why there are no probabilities, or empty.
    """
    for key, values in targets.items():
      np.save(self._partial / f"{key}.npy", values)
    self._complete(targets, num_classes, name, without_probs)
    if self.path.exists():
      self.path.rmdir()  # empty, see __enter__
    self._partial.rename(self.path)

  def _complete(self, targets, num_classes, name, without_probs):
    """Writes the final headers and the manifest."""
    for key, file in self._files.items():
      self._header(key)
      file.close()
    manifest = {
      "arrays": sorted(self._files.keys() - targets.keys()),
      "truth": sorted(targets),  # the key that folders in use have
      "num_classes": num_classes,
      "name": name,
      "without_probs": without_probs,
    }
    (self._partial / MANIFEST).write_text(json.dumps(manifest))

  def __exit__(self, *_):
    for file in self._files.values():
      file.close()
    # `finish` has renamed it; there is something to delete only after an error.
    shutil.rmtree(self._partial, ignore_errors=True)


def gather(parts: Iterable[Part], count: int) -> dict[str, np.ndarray]:
  """Copies parts of n = `count` examples into host arrays `[n, K]`.

  Example:
    >>> import jax.numpy as jnp
    >>> from leep_jax.engine import storage
    >>> parts = [({"features": jnp.ones((2, 4, 3))}, 8)] * 2
    >>> storage.gather(parts, 16)["features"].shape
    (16, 3)
  """
  # Into arrays of the final size: joining pieces would hold them twice.
  arrays: dict[str, np.ndarray] = {}
  used = 0
  for part, rows in parts:
    for key, value in part.items():
      if key not in arrays:
        arrays[key] = np.empty((count, value.shape[-1]), value.dtype)
      arrays[key][used : used + rows] = on_host(value)[:rows]
    used += rows
  return arrays
