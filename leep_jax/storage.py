"""Where outputs stay: host arrays, device memory, or memory-mapped files.

Only `outputs.py` and `forward.py` use this module.
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

from leep_jax import checks, devices, statistics

# Bytes of one array, per device and call: enough to hide the call's cost.
_CHUNK_BYTES = 4 << 20
# As many times more where sums are kept apart for groups of examples, so that
# adding to all of them costs little against reading.
_GROUPED = 4
MANIFEST = "manifest.json"

# Arrays `[d, b, K]` by name, and how many of the d * b examples they hold.
Part = tuple[dict[str, Any], int]


@dataclasses.dataclass(frozen=True)
class Truth:
  """What statistics need of n examples besides the source's outputs.

  Attributes:
    labels: `[n]` int32.
    num_classes: of which every label is below.
    targets: `[n, T]` float32, or None.
    centre: `[D]`, subtracted from features that float32 cannot hold, or None.
    grouped: whether sums are kept apart for groups of examples.
  """

  labels: np.ndarray
  num_classes: int
  targets: np.ndarray | None = None
  centre: np.ndarray | None = None
  grouped: bool = False


def _make_batch(arrays, truth, start, count, rows):
  """A batch `[d, b, ...]` of the examples from `start`."""
  labels = truth.labels[start : start + count]
  targets = truth.targets
  if targets is not None:
    targets = devices.split(targets[start : start + count], rows)
  return statistics.Batch(
    labels=devices.split(labels, rows),
    weights=devices.split(np.ones(count, np.float32), rows),
    num_classes=truth.num_classes,
    targets=targets,
    start=start + rows * np.arange(devices.device_count(), dtype=np.int32),
    **arrays,
  )


class Store(abc.ABC):
  """Arrays `[n, K]` by name, wherever they are."""

  @abc.abstractmethod
  def keys(self) -> Iterable[str]:
    """Returns the names of the arrays."""

  @abc.abstractmethod
  def shape(self, key: str) -> tuple[int, ...]:
    """Returns the shape `[n, K]` of one."""

  @abc.abstractmethod
  def array(self, key: str) -> np.ndarray:
    """Returns one on the host, memory-mapped if it is in a file."""

  @abc.abstractmethod
  def only(self, key: str, *, name: str) -> "Store":
    """Returns a store of one of the arrays under another name."""

  @abc.abstractmethod
  def chunks(self, key: str) -> Iterator[np.ndarray]:
    """Yields one on the host, in pieces `[m, K]`."""

  @abc.abstractmethod
  def batches(
    self, keys: list[str], truth: Truth
  ) -> Iterator[statistics.Batch]:
    """Yields batches `[d, b, ...]` of some arrays, with labels and weights."""

  def is_wide(self, key: str) -> bool:
    """Whether values have more digits than float32."""
    return False

  def host_chunks(self, key: str) -> Iterator[np.ndarray] | None:
    """Yields floats that are on the host, in pieces as large as may be.

    None where they are on devices, or of a type that NumPy is slow with.
    """
    return None


class HostArrays(Store):
  """Outputs on the host: arrays, or `FileArray`s, which slice to arrays."""

  def __init__(self, arrays: dict[str, Any]):
    self._arrays = arrays

  def keys(self):
    return self._arrays

  def shape(self, key):
    return self._arrays[key].shape

  def array(self, key):
    array = self._arrays[key]
    return array if isinstance(array, np.ndarray) else array.array()

  def only(self, key, *, name):
    return HostArrays({name: self._arrays[key]})

  def host_chunks(self, key):
    array = self._arrays[key]
    if array.dtype not in (np.float32, np.float64):
      return None
    return iter([array]) if isinstance(array, np.ndarray) else self.chunks(key)

  def is_wide(self, key):
    dtype = self._arrays[key].dtype
    return dtype.kind in "iu" or (dtype.kind == "f" and dtype.itemsize > 4)

  def _rows(self, keys, *, times=1):
    """Examples per device and call.

    Of few sizes, for few compilations: powers of two, and for one call alone
    also some sizes between them, as padding is work.
    """
    enough = -(-len(self._arrays[keys[0]]) // devices.device_count())
    width = max(self.shape(key)[1] * 4 for key in keys)
    most = max(times * _CHUNK_BYTES // width, 64)
    unit = max(1 << (enough - 1).bit_length() >> 3, 1)
    return min(-(-enough // unit) * unit, 1 << (most.bit_length() - 1))

  def chunks(self, key):
    step = self._rows([key]) * devices.device_count()
    for start in range(0, self.shape(key)[0], step):
      yield self._arrays[key][start : start + step]

  def batches(self, keys, truth):
    rows = self._rows(keys, times=_GROUPED if truth.grouped else 1)
    step = rows * devices.device_count()
    for start in range(0, len(truth.labels), step):
      arrays = {}
      for key in keys:
        array = self._arrays[key][start : start + step]
        if key == "features" and self.is_wide(key):
          array = array - truth.centre
        arrays[key] = devices.split(_device_ready(array), rows)
      count = min(step, len(truth.labels) - start)
      yield _make_batch(arrays, truth, start, count, rows)


def _device_ready(array):
  """float32, but for half precision, which the device widens itself."""
  half = array.dtype.name in statistics.ROW_SUM_TOLERANCE
  with np.errstate(over="ignore"):  # infinity is refused by the first look
    return array if half else array.astype(np.float32, copy=False)


class PlacedArrays(Store):
  """Outputs in device memory, as the forward pass left them."""

  def __init__(self, parts: list[Part]):
    self._parts = [arrays for arrays, _ in parts]
    self._counts = [count for _, count in parts]

  def keys(self):
    return self._parts[0]

  def shape(self, key):
    return (sum(self._counts), self._parts[0][key].shape[2])

  def chunks(self, key):
    for part, count in zip(self._parts, self._counts, strict=True):
      yield on_host(part[key])[:count]

  def array(self, key):
    return np.concatenate(list(self.chunks(key)))

  def only(self, key, *, name):
    parts = [{name: arrays[key]} for arrays in self._parts]
    return PlacedArrays(list(zip(parts, self._counts, strict=True)))

  def batches(self, keys, truth):
    start = 0
    for part, count in zip(self._parts, self._counts, strict=True):
      arrays = {key: part[key] for key in keys}
      shape = part[keys[0]].shape
      batch = _make_batch(arrays, truth, start, count, shape[1])
      padded = count < shape[0] * shape[1]
      yield dataclasses.replace(batch, odd_padding=padded)
      start += count


def on_host(array: Any) -> np.ndarray:
  """Brings `[d, b, ...]` from the devices, as `[d * b, ...]`."""
  host = np.asarray(array)
  return host.reshape(-1, *host.shape[2:])


class FileArray:
  """An npy file, opened anew for each slice.

  What a memory map has read counts as this process's memory until the map is
  dropped; a map that lives as long as a slice keeps that constant.
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
    """Returns the whole file, memory-mapped."""
    return np.load(self._path, mmap_mode="r", allow_pickle=False)


def _widen(rows, *, is_probs):
  """bfloat16 as float32; rows that its rounding put off 1 are put right."""
  tolerance = statistics.ROW_SUM_TOLERANCE[rows.dtype.name]
  rows = rows.astype(np.float32)
  if is_probs:
    total = rows.sum(axis=1, keepdims=True)
    rows = rows / np.where(np.abs(total - 1) <= tolerance, total, 1)
  return rows


class NewFolder:
  """A folder of npy files that appears under its name when it is complete."""

  def __init__(self, directory: str | os.PathLike[str]):
    self.path = pathlib.Path(directory)
    self._files: dict[str, Any] = {}
    self._shapes: dict[str, tuple[int, ...]] = {}
    self._dtypes: dict[str, np.dtype] = {}

  def __enter__(self):
    if self.path.exists() and (
      not self.path.is_dir() or any(self.path.iterdir())
    ):
      raise checks.InputError(f"{self.path} exists: outputs are written once")
    try:
      self.path.parent.mkdir(parents=True, exist_ok=True)
      self._partial = pathlib.Path(
        tempfile.mkdtemp(prefix=f".{self.path.name}-", dir=self.path.parent)
      )
    except OSError as e:
      raise checks.InputError(f"cannot write outputs: {e}") from e
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
    self._files[key].write(np.ascontiguousarray(rows).data)
    count, *width = self._shapes[key]
    self._shapes[key] = (count + len(rows), *width)

  def _header(self, key):
    # NumPy pads the header so that the first axis can grow in place.
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
    truth: dict[str, np.ndarray],
    *,
    num_classes: int,
    name: str,
    without_probs: str = "",
  ) -> None:
    """Completes the folder, with labels or targets, and gives it its name."""
    for key, file in self._files.items():
      self._header(key)
      file.close()
    for key, values in truth.items():
      np.save(self._partial / f"{key}.npy", values)
    manifest = {
      "arrays": sorted(self._files),
      "truth": sorted(truth),
      "num_classes": num_classes,
      "name": name,
      "without_probs": without_probs,
    }
    (self._partial / MANIFEST).write_text(json.dumps(manifest))
    if self.path.exists():
      self.path.rmdir()  # empty, see __enter__
    self._partial.rename(self.path)

  def __exit__(self, *_):
    for file in self._files.values():
      file.close()
    shutil.rmtree(self._partial, ignore_errors=True)


def gather(parts: Iterable[Part], count: int) -> dict[str, np.ndarray]:
  """Copies parts of n = `count` examples into host arrays `[n, K]`."""
  arrays: dict[str, np.ndarray] = {}
  used = 0
  for part, rows in parts:
    for key, value in part.items():
      if key not in arrays:
        arrays[key] = np.empty((count, value.shape[-1]), value.dtype)
      arrays[key][used : used + rows] = on_host(value)[:rows]
    used += rows
  return arrays
