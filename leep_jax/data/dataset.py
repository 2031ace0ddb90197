"""Data sets: examples by number, in batches that are read ahead."""

from collections.abc import Callable, Iterable, Iterator, Sequence
from concurrent import futures
import dataclasses
import functools
import hashlib
import itertools
import os
import queue
import threading
import time
from typing import Any

import numpy as np

from leep_jax import validation

_READ_AHEAD = 2  # batches that wait while one is being used
_LOOKING = 60.0  # seconds for finding the other bad images after a first one
_AT_ONCE = 256  # images that are looked at between two looks at the clock


@dataclasses.dataclass(frozen=True)
class Dataset:
  """A labelled image data set.

  Attributes:
    name: what tables and rows call it.
    split: which part of it this is.
    num_classes: number of target classes, also those that never occur; 0 if
      targets are real numbers.
    indices: `[n]` int64, the examples in use, in order.
    image_shape: `(H, W, C)`, or None where images differ in size.
    fetch: `indices -> (images, labels)`, a sequence of `[H, W, C]` arrays
      (uint8 in 0..255, or floats in [0, 1]) and one of integer labels, or of
      real-valued targets; called from several threads where images differ in
      size.
    class_names: names of the classes, where they are known.
    all_labels: labels of all examples there are, where they are known without
      reading images.
    version: of the data, where they have one; of a file or folder, a digest of
      what it holds.
    ranges: for a TFDS split, the parts of whole splits that it is, `(name,
      from, to)`.
    in_memory: whether no image can turn out to be unreadable.
  """

  name: str
  split: str
  num_classes: int
  indices: np.ndarray
  image_shape: tuple[int, int, int] | None
  fetch: Callable[[np.ndarray], tuple[Sequence[np.ndarray], Any]]
  class_names: tuple[str, ...] | None = None
  all_labels: np.ndarray | None = None
  version: str = ""
  ranges: tuple[tuple[str, int, int], ...] = ()
  in_memory: bool = False

  def __len__(self) -> int:
    return len(self.indices)

  def take(self, limit: int) -> "Dataset":
    """Returns `limit` examples drawn without replacement, always the same.

    They are drawn at random because data sets are often sorted by class, and
    keep their order. A `limit` of at least n changes nothing.
    """
    if limit < 1:
      raise validation.InputError(f"limit is {limit}, but must be at least 1")
    if limit >= len(self):
      return self
    rng = np.random.default_rng(0)
    chosen = np.sort(rng.choice(len(self), limit, replace=False))
    return dataclasses.replace(self, indices=self.indices[chosen])

  def batches(
    self,
    batch_size: int,
    *,
    fit: Callable[[np.ndarray], np.ndarray] | None = None,
  ) -> Iterator[tuple[np.ndarray, np.ndarray]]:
    """Yields `(images [B, H, W, C], labels [B])`; the last may be shorter.

    Images that differ in size are read and fitted one by one, in as many
    threads as there are processors, so that few are in memory before they are
    fitted.

    Args:
      batch_size: examples a batch.
      fit: where images differ in size, what brings each to one size before
        stacking, such as `Preprocessing.fit`; called from several threads. In
        a batch with float32 images, uint8 ones become float32, over 255.

    Raises:
      InputError: if images differ in size and `fit` is None.
      DataError: if an image cannot be read; it names all of those.
    """
    pool = futures.ThreadPoolExecutor(os.cpu_count())
    fetch = self.fetch
    if self.image_shape is None:
      if fit is None:
        raise validation.InputError(
          f"images of {self.name} differ in size, and the source names no size "
          "to bring them to"
        )
      fetch = functools.partial(_fetch_fitted, fetch, fit, pool)

    def read(start):
      images, labels = fetch(self.indices[start : start + batch_size])
      return np.stack(images), np.asarray(labels)

    ready = _ahead(read, range(0, len(self), batch_size), pool)
    return self._naming_all_bad_images(ready)

  def _naming_all_bad_images(self, batches):
    """Yields batches; where an image fails, looks for the others that will."""
    try:
      yield from batches
    except validation.DataError as e:
      bad, looked_at = self._bad_images(seconds=_LOOKING)
      if not bad:  # it was not one image alone
        raise
      some_only = (
        "" if looked_at == len(self) else f"the first {looked_at:,} of "
      )
      raise validation.DataError(
        f"{len(bad):,} of {some_only}{len(self):,} images of {self.name} "
        f"cannot be read: {validation.some(bad.values())}; repair or remove "
        "them, or leave them out with --skip_bad_images"
      ) from e

  def _bad_images(self, *, seconds=float("inf")):
    """Reads each image; returns why by place, and how many were read."""
    bad: dict[int, str] = {}
    if self.in_memory:
      return bad, len(self)

    def why(index):
      try:
        self.fetch(np.asarray([index]))
      except validation.DataError as e:
        return f"{e}"
      return None

    start, places = time.monotonic(), iter(range(len(self)))
    done = 0
    pool = futures.ThreadPoolExecutor(os.cpu_count())
    try:
      while some := list(itertools.islice(places, _AT_ONCE)):
        reasons = pool.map(why, self.indices[some])
        bad |= {
          place: text
          for place, text in zip(some, reasons, strict=True)
          if text is not None
        }
        done += len(some)
        if time.monotonic() - start > seconds:
          break
    finally:
      pool.shutdown(cancel_futures=True)
    return bad, done

  def without_bad_images(self) -> "Dataset":
    """Returns the examples whose images can be read; a note names the others.

    Each image is read once for it.

    Raises:
      DataError: if none can be read.
    """
    bad, _ = self._bad_images()
    if not bad:
      return self
    count = f"{len(bad):,} of {len(self):,} images of {self.name}"
    reasons = validation.some(bad.values())
    if len(bad) == len(self):
      raise validation.DataError(f"{count} cannot be read: {reasons}")
    validation.note(f"{count} left out, which cannot be read: {reasons}")
    if self.all_labels is not None and self.num_classes:
      kept = np.delete(self.all_labels[self.indices], list(bad))
      lost = np.setdiff1d(self.all_labels[self.indices], kept)
      if lost.size:
        names = self.class_names or range(self.num_classes)
        validation.note(
          f"{lost.size} of {self.num_classes} classes of {self.name} have no "
          f"image left: {validation.some(names[i] for i in lost)}"
        )
    return dataclasses.replace(self, indices=np.delete(self.indices, list(bad)))

  def labels(self) -> np.ndarray:
    """Returns the labels `[n]`; images are read only where they must be."""
    if self.all_labels is not None:
      return self.all_labels[self.indices]
    read = _ahead(
      lambda start: self.fetch(self.indices[start : start + 1000])[1],
      range(0, len(self), 1000),
      futures.ThreadPoolExecutor(1),
    )
    return np.concatenate(list(read))

  def load(
    self, *, fit: Callable[[np.ndarray], np.ndarray] | None = None
  ) -> tuple[np.ndarray, np.ndarray]:
    """Returns all `(images [n, H, W, C], labels [n])` in memory.

    Args:
      fit: as for `batches`.

    Raises:
      InputError: as `batches` does.
    """
    images, labels = zip(*self.batches(1024, fit=fit), strict=True)
    return np.concatenate(images), np.concatenate(labels)


def _fetch_fitted(fetch, fit, pool, indices):
  """Fetches images one by one and fits each at once, in threads."""

  def one(index):
    (image,), (label,) = fetch(np.asarray([index]))
    return fit(image), label

  images, labels = map(list, zip(*pool.map(one, indices), strict=True))
  if any(image.dtype != np.uint8 for image in images):
    images = [
      image / np.float32(255) if image.dtype == np.uint8 else image
      for image in images
    ]
  return images, labels


def _ahead(read, starts, pool) -> Iterator[Any]:
  """Calls `read` on each start in a thread, a bounded number ahead.

  What `read` has left to do in the pool is dropped when the iterator ends.
  """
  ready: queue.Queue = queue.Queue(_READ_AHEAD)
  stop = threading.Event()

  def put(item):
    while not stop.is_set():
      try:
        return ready.put(item, timeout=0.1)
      except queue.Full:
        continue

  def work():
    try:
      for start in starts:
        if stop.is_set():
          return
        put((read(start), None))
      put((None, None))
    except BaseException as e:  # handed to the consumer, which raises it
      put((None, e))

  thread = threading.Thread(target=work, daemon=True)
  thread.start()
  try:
    while True:
      item, error = ready.get()
      if error is not None:
        raise error
      if item is None:
        return
      yield item
  finally:
    stop.set()
    pool.shutdown(cancel_futures=True)
    thread.join()


def digest(parts: Iterable[Any]) -> str:
  """Returns a digest of parts, 16 hexadecimal digits."""
  found = hashlib.sha256()
  for part in parts:
    found.update(part if isinstance(part, bytes) else repr(part).encode())
  return found.hexdigest()[:16]


def not_ignored(
  name: str, labels: np.ndarray, ignored: Sequence[Any]
) -> np.ndarray:
  """Returns the places of the labels that are not to be left out.

  Args:
    name: of the data set, for the note that counts them.
    labels: `[n]`.
    ignored: labels that mark examples without one.

  Raises:
    DataError: if all are.
  """
  if not len(ignored) or labels.ndim != 1:
    return np.arange(len(labels) if labels.ndim else 0)
  left_out = np.isin(labels, list(ignored))
  which = f"whose label is {validation.some(ignored)}"
  if left_out.all():
    raise validation.DataError(f"all examples of {name} are ones {which}")
  validation.note(
    f"{left_out.sum():,} of {len(labels):,} examples of {name} left out, "
    f"{which}"
  )
  return np.flatnonzero(~left_out)
