"""Data sets: examples by index, in batches that are read ahead."""

import collections
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
from leep_jax.data import jpeg

# Batches that are ready while one is in use. Two even out batches that take
# longer, such as those of large photos; more would only take memory.
_READ_AHEAD = 2
# After an image could not be read, others are searched for this many seconds,
# so that the user can repair all. Time is checked between groups of images.
_SEARCH_SECONDS = 60.0
_GROUP = 256
# What one example can be, and what several are called.
INPUTS = {"image": "images", "text": "texts", "audio": "sounds"}


@dataclasses.dataclass(frozen=True)
class Dataset:
  """A labelled data set of images, texts or sounds.

  Attributes:
    name: what tables and rows call it.
    split: which part of it this is.
    num_classes: number of target classes, including those that never occur; 0
      if targets are real numbers or sets of labels.
    indices: `[n]` int64, the examples in use, in order.
    image_shape: `(H, W, C)`; None if images differ in size, and for texts and
      sounds.
    fetch: takes indices and returns their inputs and labels: a sequence of
      `[H, W, C]` arrays (uint8 in 0..255, or floats in [0, 1]), of texts, or of
      `audio.Sound`, and one of integer labels, real-valued targets or sets of
      labels. It is called from several threads if images differ in size, and
      for sounds. Where `reduces` is true, it also takes `wanted`, see
      `batches`.
    class_names: names of the classes, or of the labels of sets, if they are
      known.
    all_labels: labels of all examples, including those not in use, if they are
      known without reading images. Sets of labels are `[N, T]` booleans here.
    version: of the data, as TFDS states it, or a digest of a file or folder.
    ranges: of a TFDS split, the ranges of examples that it consists of, as
      `(name of the split, first, end)`.
    in_memory: whether inputs are in memory, so that all can be read.
    files: names of the files of all inputs, including those not in use, if each
      is a file.
    inputs: what an example is, a key of `INPUTS`.
    part_of: `[N]` integers, of all examples that are parts of a file: which
      file it is. Neighbours of one file are fetched at once.
    seconds: length of the longest sound, including those not in use; 0 of
      images and texts.
    groups: of all examples, including those not in use, the names of the groups
      that they belong to, if some depend on each other, such as photos of one
      patient. Without them, parts of one file are a group.
    reduces: whether photos that are far larger than wanted are decoded at a
      part of their size.

  Example:
    >>> import numpy as np
    >>> from leep_jax import data
    >>> images = np.zeros((5, 8, 8, 1), np.uint8)
    >>> labels = np.array([0, 1, 2, 1, 0])
    >>> dataset = data.Dataset(
    ...   name="mine", split="all", num_classes=3, indices=np.arange(5),
    ...   image_shape=(8, 8, 1), fetch=lambda i: (images[i], labels[i]))
    >>> [labels.tolist() for _, labels in dataset.batches(2)]
    [[0, 1], [2, 1], [0]]
  """

  name: str
  split: str
  num_classes: int
  indices: np.ndarray
  image_shape: tuple[int, int, int] | None
  fetch: Callable[..., tuple[Any, Any]]
  class_names: tuple[str, ...] | None = None
  all_labels: np.ndarray | None = None
  version: str = ""
  ranges: tuple[tuple[str, int, int], ...] = ()
  in_memory: bool = False
  files: Sequence[str] | None = None
  inputs: str = "image"
  part_of: np.ndarray | None = None
  seconds: float = 0.0
  groups: np.ndarray | None = None
  reduces: bool = False

  def __len__(self) -> int:
    return len(self.indices)

  @property
  def num_labels(self) -> int:
    """T, if an example can have any number of T labels; else 0."""
    labels = self.all_labels
    sets = labels is not None and labels.dtype == bool and labels.ndim == 2
    return labels.shape[1] if labels is not None and sets else 0

  @property
  def noun(self) -> str:
    """What several inputs are called: images, texts or sounds."""
    return INPUTS[self.inputs]

  @property
  def clusters(self) -> np.ndarray | None:
    """`[n]` numbers of the groups of the examples; None without groups."""
    known = self.part_of if self.groups is None else self.groups
    if known is None:
      return None
    return np.unique(known[self.indices], return_inverse=True)[1]

  @property
  def read_version(self) -> str:
    """The version, and how it is read if that changes inputs a little."""
    return f"{self.version} reduced" if self.reduces else self.version

  def name_of(self, position: int) -> str:
    """Returns the name of an example's file, or its number.

    Args:
      position: of the example, from 0 to n - 1.
    """
    index = int(self.indices[position])
    return f"example {index}" if self.files is None else self.files[index]

  def take(self, limit: int) -> "Dataset":
    """Returns at most `limit` examples, always the same ones, in their order.

    They are drawn at random, as data sets are often sorted by class.

    Args:
      limit: number of examples; if there are fewer, all are returned.

    Raises:
      InputError: if it is below 1.
    """
    if limit < 1:
      raise validation.InputError(f"limit is {limit}, but must be at least 1")
    if limit >= len(self):
      return self
    # Drawn, as the examples of a folder are ordered by class. The seed is
    # fixed, so that all sources are scored on the same examples.
    rng = np.random.default_rng(0)
    chosen = np.sort(rng.choice(len(self), limit, replace=False))
    return dataclasses.replace(self, indices=self.indices[chosen])

  def batches(
    self,
    batch_size: int,
    *,
    fit: Callable[[Any], np.ndarray] | None = None,
    stack: Callable[[Sequence[Any]], np.ndarray] | None = None,
    wanted: jpeg.Wanted | None = None,
  ) -> Iterator[tuple[np.ndarray, np.ndarray]]:
    """Yields `(inputs [B, ...], labels [B])`; the last may be shorter.

    Images that differ in size, and sounds, are read and fitted one by one
    (parts of one image together), in as many threads as there are processors,
    so that few are in memory at their full size.

    Args:
      batch_size: number of examples of a batch.
      fit: of images that differ in size or sounds, a function that brings each
        to one size before they are stacked, such as `Preprocessing.fit`. It is
        called from several threads. In a batch with float32 images, uint8 ones
        are divided by 255.
      stack: makes one array of the inputs of a batch; by default images `[B, H,
        W, C]`, or texts `[B]` of dtype object.
      wanted: takes the height and the width of an image, and returns those that
        `fit` resizes it to. If the data set `reduces`, `fit` gets a
        `jpeg.Reduced` of a photo that is far larger.

    Raises:
      InputError: if inputs differ in size and `fit` is None.
      DataError: if an input cannot be read; it names all such inputs.
    """
    pool = futures.ThreadPoolExecutor(os.cpu_count())
    fetch = self.fetch
    fitted = self.image_shape is None and self.inputs != "text"
    stack = stack or (_objects if self.inputs == "text" else np.stack)
    if fitted and fit is None:
      raise validation.InputError(
        f"{self.noun} of {self.name} differ in size, and the source names no "
        "size to bring them to"
      )
    if fitted and wanted is not None and self.reduces:
      fetch = functools.partial(fetch, wanted=wanted)

    def begin(start):
      indices = self.indices[start : start + batch_size]
      if fitted:
        found = self._fetch_fitted(fetch, fit, pool, indices)
      else:
        found = functools.partial(fetch, indices)

      def end():
        inputs, labels = found()
        return stack(inputs), np.asarray(labels)

      return end

    ready = _ahead(begin, range(0, len(self), batch_size), pool)
    return self._naming_all_bad(ready)

  def _naming_all_bad(
    self, batches: Iterator[tuple[np.ndarray, np.ndarray]]
  ) -> Iterator[tuple[np.ndarray, np.ndarray]]:
    """Yields batches; if an input cannot be read, searches for others."""
    try:
      yield from batches
    except validation.DataError as e:
      bad, read = self._bad_images(seconds=_SEARCH_SECONDS)
      if not bad:  # a file with many images was damaged
        raise
      some_only = "" if read == len(self) else f"the first {read:,} of "
      raise validation.DataError(
        f"{len(bad):,} of {some_only}{len(self):,} {self.noun} of {self.name} "
        f"cannot be read: {validation.some(bad.values())}; repair or remove "
        "them, or leave them out with --skip_bad_images"
      ) from e

  def _bad_images(self, *, seconds=float("inf")):
    """Reads inputs one by one to find those that cannot be read.

    Args:
      seconds: after which the search ends.

    Returns:
      The reasons by position in the data set, and the number of inputs read.
    """
    bad: dict[int, str] = {}
    if self.in_memory:
      return bad, len(self)

    def why(positions):
      try:
        self.fetch(self.indices[positions])
      except validation.DataError as e:
        if len(positions) > 1:  # which of the parts of an image
          return {
            p: text for one in positions for p, text in why([one]).items()
          }
        return {positions[0]: f"{e}"}
      return {}

    start, runs = time.monotonic(), iter(self._runs(self.indices))
    done = 0
    pool = futures.ThreadPoolExecutor(os.cpu_count())
    try:
      while group := list(itertools.islice(runs, _GROUP)):
        for found in pool.map(why, group):
          bad |= found
        done += sum(map(len, group))
        if time.monotonic() - start > seconds:
          break
    finally:
      pool.shutdown(cancel_futures=True)
    return bad, done

  def _runs(self, indices):
    """Positions in `indices`, in lists of those to be fetched together."""
    positions = np.arange(len(indices))
    starts = positions
    if self.part_of is not None:
      starts = np.flatnonzero(np.diff(self.part_of[indices], prepend=-1))
    return [run.tolist() for run in np.split(positions, starts[1:])]

  def _fetch_fitted(self, fetch, fit, pool, indices):
    """Fetches inputs in threads, and fits each immediately.

    Returns:
      A function that waits for them, and returns inputs and labels.
    """

    def one(positions):
      inputs, labels = fetch(indices[positions])
      return [fit(each) for each in inputs], labels

    fetched = pool.map(one, self._runs(indices))

    def end():
      parts = list(fetched)
      images = [image for part, _ in parts for image in part]
      labels = [label for _, part in parts for label in part]
      # `Preprocessing.fit` returns uint8, but floats for images that it
      # enlarges: a batch has one dtype.
      if any(image.dtype != np.uint8 for image in images):
        images = [
          image / np.float32(255) if image.dtype == np.uint8 else image
          for image in images
        ]
      return images, labels

    return end

  def unreadable(self) -> dict[int, str]:
    """Returns why inputs cannot be read, by their positions; all are read."""
    return self._bad_images()[0]

  def without_bad_images(self) -> "Dataset":
    """Returns the examples whose inputs can be read; a note names the others.

    All files are read to find them.

    Raises:
      DataError: if none can be read.
    """
    bad = self.unreadable()
    if not bad:
      return self
    count = f"{len(bad):,} of {len(self):,} {self.noun} of {self.name}"
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
          f"{self.noun} left: {validation.some(names[i] for i in lost)}"
        )
    return dataclasses.replace(self, indices=np.delete(self.indices, list(bad)))

  def labels(self) -> np.ndarray:
    """Returns the labels `[n]`; inputs are read only if they must be."""
    if self.all_labels is not None:
      known: np.ndarray = self.all_labels[self.indices]
      return known
    read = _ahead(
      lambda start: lambda: self.fetch(self.indices[start : start + 1000])[1],
      range(0, len(self), 1000),
      # Only because `_ahead` shuts a pool down: labels are read by its own
      # thread.
      futures.ThreadPoolExecutor(1),
    )
    return np.concatenate(list(read))

  def load(
    self,
    *,
    fit: Callable[[Any], np.ndarray] | None = None,
    wanted: jpeg.Wanted | None = None,
  ) -> tuple[np.ndarray, np.ndarray]:
    """Returns all `(inputs [n, ...], labels [n])` in memory.

    Args:
      fit: as for `batches`.
      wanted: as for `batches`.

    Raises:
      InputError: as `batches` does.
    """
    inputs, labels = zip(
      *self.batches(1024, fit=fit, wanted=wanted), strict=True
    )
    return np.concatenate(inputs), np.concatenate(labels)


def _objects(inputs):
  """Returns texts as an array of objects: NumPy's own text has one length."""
  found = np.empty(len(inputs), object)
  found[:] = inputs
  return found


def _ahead(begin, starts, pool) -> Iterator[Any]:
  """Yields `begin(start)()` of each start; a thread reads a few of them ahead.

  Each is begun before one waits for the one before, so that the pool never
  waits for work. When the iterator ends, work that waits in it is cancelled.
  """
  ready: queue.Queue[tuple[Any, BaseException | None]] = queue.Queue(
    _READ_AHEAD
  )
  stop = threading.Event()

  # If the consumer has stopped, the queue stays full: waiting must end then.
  def put(item):
    while not stop.is_set():
      try:
        return ready.put(item, timeout=0.1)
      except queue.Full:
        continue

  def work():
    begun: collections.deque[Callable[[], Any]] = collections.deque()
    try:
      for start in starts:
        if stop.is_set():
          return
        begun.append(begin(start))
        if len(begun) > 1:
          put((begun.popleft()(), None))
      for end in begun:
        put((end(), None))
      put((None, None))
    except BaseException as e:  # the consumer raises it, in its own thread
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
    # In this order: the thread may wait for the queue or for the pool, and only
    # ends once both let it go.
    stop.set()
    pool.shutdown(cancel_futures=True)
    thread.join()


def digest(parts: Iterable[Any]) -> str:
  """Returns a digest of parts, 16 hexadecimal digits.

  Args:
    parts: bytes, or objects of which `repr` states all that matters.

  Example:
    >>> from leep_jax.data import dataset
    >>> dataset.digest(("a.png", 120)) == dataset.digest(("a.png", 121))
    False
  """
  found = hashlib.sha256()
  for part in parts:
    found.update(part if isinstance(part, bytes) else repr(part).encode())
  return found.hexdigest()[:16]


def not_ignored(
  name: str, labels: np.ndarray, ignored: Sequence[Any]
) -> np.ndarray:
  """Returns the indices of the examples that are not to be left out.

  Args:
    name: of the data set, for the note that counts the others.
    labels: `[n]`.
    ignored: labels that mark examples without a label.

  Raises:
    DataError: if all examples are to be left out.

  Example:
    >>> import warnings
    >>> import numpy as np
    >>> from leep_jax import data
    >>> with warnings.catch_warnings(record=True) as caught:
    ...   warnings.simplefilter("always")
    ...   kept = data.not_ignored("mine", np.array([0, 255, 1]), [255])
    >>> kept, str(caught[0].message)
    (array([0, 2]), '1 of 3 examples of mine left out, whose label is 255')
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
