"""What may be wrong with a data set: sizes of classes, copies, odd images."""

from collections.abc import Callable, Iterator, Sequence
import dataclasses

import numpy as np

from leep_jax.data import dataset as dataset_lib, duplicates

# Images whose shorter side has fewer pixels are called tiny.
TINY = 32
# Images whose hashes differ in at most so many of 64 bits, and whose 8x9 means
# differ by no more levels on average, are near copies.
NEAR_BITS = 3
NEAR_LEVELS = 3.0
# Hashes with fewer bits set, or more not, are of images without a structure.
_LEAST_BITS = 8
_BATCH = 256
# Channels of grey images differ by no more than this: JPEG rounds them apart.
_GREY = 4


@dataclasses.dataclass(frozen=True)
class Inspection:
  """What was found in a data set. Examples are positions in it.

  Attributes:
    counts: `[Y]`, how many examples each class, or label of sets, has; empty
      if targets are real numbers.
    sizes: `[n, 2]`, height and width of each image; empty of texts and sounds.
    grey: images without colour.
    copies: groups of equal inputs.
    near: groups of images that look alike but are not equal; copies have one
      example in them.
    digests: `[n, 16]` bytes, equal for equal inputs.
    looks: of images, the hashes `[n]` and means `[n, 72]` of what they look
      like.

  Example:
    >>> import numpy as np
    >>> from leep_jax import data
    >>> from leep_jax.data import inspection
    >>> images = np.zeros((3, 8, 6, 3), np.uint8)
    >>> images[2] = 200
    >>> found = inspection.inspect(data.from_examples(
    ...   list(zip(images, ["cat", "dog", "dog"]))))
    >>> found.counts.tolist(), found.sizes[0].tolist(), len(found.tiny)
    ([1, 2], [8, 6], 3)
    >>> [group.tolist() for group in found.copies]
    [[0, 1]]
  """

  counts: np.ndarray
  sizes: np.ndarray
  grey: np.ndarray
  copies: Sequence[np.ndarray]
  near: Sequence[np.ndarray]
  digests: np.ndarray
  looks: tuple[np.ndarray, np.ndarray] | None = None

  @property
  def tiny(self) -> np.ndarray:
    """Images whose shorter side has fewer than `TINY` pixels."""
    if not len(self.sizes):
      return np.zeros(0, int)
    return np.flatnonzero(self.sizes.min(axis=1) < TINY)


def inspect(
  dataset: dataset_lib.Dataset,
  *,
  progress: Callable[[int], None] | None = None,
) -> Inspection:
  """Reads all inputs once, and returns what may be wrong with them.

  Near copies are found by the difference hash of an image: whether each of 8x8
  areas is brighter than the one at its right.

  Args:
    dataset: with labels; without images that cannot be read.
    progress: called with the number of examples done after each batch.

  Raises:
    DataError: if an input cannot be read.

  Example:
    >>> import leep_jax
    >>> from leep_jax.data import inspection
    >>> found = inspection.inspect(leep_jax.load_dataset("digits", limit=50))
    >>> int(found.counts.sum()), len(found.grey), len(found.copies)
    (50, 50, 0)
  """
  labels = dataset.labels()
  if dataset.num_classes:
    counts = np.bincount(labels, minlength=dataset.num_classes)
  elif dataset.num_labels:
    counts = labels.sum(axis=0)
  else:
    counts = np.zeros(0, int)
  if dataset.inputs != "image":
    digests = duplicates.digests(dataset, progress=progress)
    copies = duplicates.groups_of(digests)
    none = np.zeros(0, int)
    return Inspection(counts, none.reshape(0, 2), none, copies, (), digests)
  rows = []
  for batch in _descriptions(dataset):
    rows.append(batch)
    if progress is not None:
      progress(sum(map(len, rows)))
  found = np.concatenate(rows)
  sizes = found[:, :8].copy().view(np.int32)
  hashes = found[:, 9:17].copy().view(np.uint64)[:, 0]
  means, digests = found[:, 17:89].astype(np.int16), found[:, 89:]
  copies = duplicates.groups_of(digests)
  return Inspection(
    counts,
    sizes,
    np.flatnonzero(found[:, 8]),
    copies,
    _near(hashes, means, copies),
    digests,
    (hashes, means),
  )


# Positions in a first data set, and those in a second.
Shared = list[tuple[np.ndarray, np.ndarray]]


def across(first: Inspection, second: Inspection) -> tuple[Shared, Shared]:
  """Returns inputs of one data set that are in another, such as a test set.

  Args:
    first: what was found in one data set.
    second: what was found in the other.

  Returns:
    Groups of equal inputs, and groups of images that look alike. Each has
    examples of both data sets.

  Example:
    >>> import numpy as np
    >>> from leep_jax import data
    >>> from leep_jax.data import inspection
    >>> def found(*levels):
    ...   return inspection.inspect(data.from_examples(
    ...     [(np.full((8, 8, 3), x, np.uint8), "cat") for x in levels]))
    >>> equal, near = inspection.across(found(1, 2), found(3, 2))
    >>> [(a.tolist(), b.tolist()) for a, b in equal], near
    ([([1], [1])], [])
  """
  count = len(first.digests)

  def shared(groups):
    parts = [(g[g < count], g[g >= count] - count) for g in groups]
    return [(a, b) for a, b in parts if len(a) and len(b)]

  copies = duplicates.groups_of(np.concatenate([first.digests, second.digests]))
  near: list[np.ndarray] = []
  if first.looks is not None and second.looks is not None:
    hashes, means = map(
      np.concatenate, zip(first.looks, second.looks, strict=True)
    )
    near = _near(hashes, means, copies)
  return shared(copies), shared(near)


def _descriptions(dataset) -> Iterator[np.ndarray]:
  """Yields rows of bytes: size, whether it is grey, hash, means, digest."""
  if dataset.image_shape is None:
    for rows, _ in dataset.batches(_BATCH, fit=_described):
      yield rows
  else:
    for images, _ in dataset.batches(_BATCH):
      yield np.stack([_described(image) for image in images])


def _described(image):
  size = np.asarray(image.shape[:2], np.int32).view(np.uint8)
  low = image.min(axis=2).astype(np.float32)
  high = image.max(axis=2).astype(np.float32)
  grey = np.asarray([(high - low).max() <= _GREY], np.uint8)
  return np.concatenate([size, grey, _hash(image), duplicates.digest(image)])


def _hash(image):
  """The difference hash, 8 bytes, and the means of 8x9 areas."""
  import cv2

  scale = 1 if image.dtype == np.uint8 else 255
  grey = scale * image.astype(np.float32).mean(axis=2)
  small = cv2.resize(grey, (9, 8), interpolation=cv2.INTER_AREA)
  bits = np.packbits(small[:, :-1] > small[:, 1:] + 1)
  return np.concatenate([bits, small.round().astype(np.uint8).ravel()])


def _near(hashes, means, copies):
  """Groups of similar hashes; of equal images only the first takes part."""
  taking = np.ones(len(hashes), bool)
  for group in copies:
    taking[group[1:]] = False
  bits = np.bitwise_count(hashes)
  taking &= (bits >= _LEAST_BITS) & (bits <= 64 - _LEAST_BITS)
  positions = np.flatnonzero(taking)
  group_of = np.arange(len(hashes))
  # Of four parts of two hashes that differ in three bits, one is equal.
  parts = hashes[positions, None] >> np.arange(0, 64, 16, dtype=np.uint64)
  for column in (parts & np.uint64(0xFFFF)).T:
    order = np.argsort(column, kind="stable")
    ends = np.flatnonzero(np.diff(column[order])) + 1
    for group in np.split(positions[order], ends):
      for i, one in enumerate(group[:-1]):
        # Frames of a video would be compared all with all.
        others = group[i + 1 :]
        others = others[group_of[others] != group_of[one]]
        apart = np.bitwise_count(hashes[one] ^ hashes[others])
        others = others[apart <= NEAR_BITS]
        levels = np.abs(means[others] - means[one]).mean(axis=1)
        near = np.unique(group_of[others[levels <= NEAR_LEVELS]])
        if len(near):
          group_of[np.isin(group_of, near)] = group_of[one]
  found = duplicates.groups_of(group_of[positions, None])
  return [positions[group] for group in found]
