"""Images, texts or sounds that occur several times in a data set.

A copy of an example among those that a head is fitted to makes its prediction
too easy, and copies with different labels are mistakes in the labels.
"""

from collections.abc import Callable, Iterator, Sequence
import dataclasses
import hashlib
from typing import Any

import numpy as np

from leep_jax import validation
from leep_jax.data import audio, dataset as dataset_lib

_BATCH = 256
_DIGEST = 16  # bytes: two of 2^64 different images would be taken for equal


def find(
  dataset: dataset_lib.Dataset,
  *,
  progress: Callable[[int], None] | None = None,
) -> list[np.ndarray]:
  """Returns groups of examples whose images are equal, pixel by pixel.

  All images are read once, and 16 bytes of each are kept. Files may differ, as
  the same photo stored as PNG and BMP does. Images that were resized or
  compressed again are not equal. Texts are compared character by character,
  sounds sample by sample.

  Args:
    dataset: to search.
    progress: called with the number of examples done after each batch.

  Returns:
    The groups of two or more, as ascending positions in the data set: example
    p is that of `dataset.indices[p]`. They are ordered by their first example.

  Raises:
    DataError: if an image cannot be read.

  Example:
    >>> import numpy as np
    >>> from leep_jax import data
    >>> from leep_jax.data import duplicates
    >>> images = np.array([5, 9, 5, 7, 9], np.uint8).reshape(5, 1, 1, 1)
    >>> dataset = data.Dataset(
    ...   name="mine", split="all", num_classes=2, indices=np.arange(5),
    ...   image_shape=(1, 1, 1), fetch=lambda i: (images[i], np.zeros(len(i))))
    >>> [group.tolist() for group in duplicates.find(dataset)]
    [[0, 2], [1, 4]]
  """
  return groups_of(digests(dataset, progress=progress))


def digests(
  dataset: dataset_lib.Dataset,
  *,
  progress: Callable[[int], None] | None = None,
) -> np.ndarray:
  """Returns the digests of all inputs, `[n, 16]` bytes.

  Args:
    dataset: to read.
    progress: as for `find`.

  Raises:
    DataError: if an input cannot be read.

  Example:
    >>> import leep_jax
    >>> from leep_jax.data import duplicates
    >>> duplicates.digests(leep_jax.load_dataset("digits", limit=5)).shape
    (5, 16)
  """
  found = np.zeros((len(dataset), _DIGEST), np.uint8)
  done = 0
  for rows in _digests(dataset):
    found[done : done + len(rows)] = rows
    done += len(rows)
    if progress is not None:
      progress(done)
  return found


def groups_of(digests: np.ndarray) -> list[np.ndarray]:
  """Returns groups of equal rows, as `find` does.

  Args:
    digests: `[n, B]` bytes.

  Example:
    >>> import numpy as np
    >>> from leep_jax.data import duplicates
    >>> duplicates.groups_of(np.array([[1], [2], [1]], np.uint8))
    [array([0, 2])]
  """
  _, group_of = np.unique(digests, axis=0, return_inverse=True)
  # Sorted by group, and in a group by position.
  order = np.argsort(group_of, kind="stable")
  groups = np.split(order, np.flatnonzero(np.diff(group_of[order])) + 1)
  return sorted(
    (group for group in groups if len(group) > 1), key=lambda group: group[0]
  )


def _digests(dataset) -> Iterator[np.ndarray]:
  """Yields digests `[B, 16]` of the images, batch by batch."""
  if dataset.image_shape is None and dataset.inputs != "text":
    # In place of resizing, in as many threads as there are processors.
    for digests, _ in dataset.batches(_BATCH, fit=digest):
      yield digests
  else:
    for inputs, _ in dataset.batches(_BATCH):
      yield np.stack([digest(each) for each in inputs])


def digest(each: Any) -> np.ndarray:
  """Returns 16 bytes that tell inputs apart.

  Args:
    each: an image, a text, or an `audio.Sound`.

  Example:
    >>> from leep_jax.data import duplicates
    >>> duplicates.digest("a").shape
    (16,)
  """
  found = hashlib.blake2b(digest_size=_DIGEST)
  if isinstance(each, str):
    # Lone surrogates are no UTF-8, but a file's text may have them.
    found.update(each.encode("utf-8", "surrogatepass"))
    return np.frombuffer(found.digest(), np.uint8)
  array, rate = each, ""
  if isinstance(each, audio.Sound):
    array, rate = each.samples, f" {each.rate}"
  # The same bytes in another shape or type are another image.
  found.update(f"{(array.shape, array.dtype.str)!r}{rate}".encode())
  found.update(np.ascontiguousarray(array).data)
  return np.frombuffer(found.digest(), np.uint8)


@dataclasses.dataclass(frozen=True, eq=False)
class Dropped:
  """A data set without copies, and the copies whose labels contradict.

  Attributes:
    dataset: with the examples that are kept, in their order.
    kept: their positions in the data set before.
    contradicting: the groups with different labels, as positions before.

  Example:
    >>> import leep_jax
    >>> from leep_jax.data import duplicates
    >>> digits = leep_jax.load_dataset("digits")
    >>> found = duplicates.drop(digits, duplicates.find(digits))
    >>> found.dataset is digits, found.kept.shape, found.contradicting
    (True, (1797,), [])
  """

  dataset: dataset_lib.Dataset
  kept: np.ndarray
  contradicting: list[np.ndarray]


def drop(dataset: dataset_lib.Dataset, groups: Sequence[np.ndarray]) -> Dropped:
  """Leaves out copies; a note counts them.

  Of equal images with one label, the first is kept. Of equal images with
  several labels, the first with each label is kept, as nothing says which label
  is right, and a second note names such images.

  Args:
    dataset: with classes, or with real-valued targets, which are compared as
      labels are.
    groups: of equal images, as `find` returns them.

  Example:
    >>> import warnings
    >>> import numpy as np
    >>> from leep_jax import data
    >>> from leep_jax.data import duplicates
    >>> images, labels = np.zeros((3, 1, 1, 1), np.uint8), np.array([0, 0, 1])
    >>> images[2] = 7
    >>> dataset = data.Dataset(
    ...   name="mine", split="all", num_classes=2, indices=np.arange(3),
    ...   image_shape=(1, 1, 1), fetch=lambda i: (images[i], labels[i]))
    >>> with warnings.catch_warnings(record=True) as caught:
    ...   warnings.simplefilter("always")
    ...   found = duplicates.drop(dataset, duplicates.find(dataset))
    >>> len(found.dataset), str(caught[0].message)
    (2, '1 of 3 images of mine left out, which are copies of others')
  """
  n = len(dataset)
  if not groups:
    return Dropped(dataset, np.arange(n), [])
  labels = dataset.labels()
  keep, contradicting = np.ones(n, bool), []
  for group in groups:
    _, first = np.unique(labels[group], axis=0, return_index=True)
    keep[group] = False
    keep[group[first]] = True
    if len(first) > 1:
      contradicting.append(group)
  kept = np.flatnonzero(keep)
  if len(kept) < n:
    validation.note(
      f"{n - len(kept):,} of {n:,} {dataset.noun} of {dataset.name} left out, "
      "which are copies of others"
    )
  if contradicting:
    names = [
      " = ".join(dataset.name_of(position) for position in group[:3])
      for group in contradicting
    ]
    validation.note(
      f"{len(contradicting):,} {dataset.noun} of {dataset.name} occur with "
      f"different labels, all of which are kept: {validation.some(names)}"
    )
  return Dropped(
    dataclasses.replace(dataset, indices=dataset.indices[kept]),
    kept,
    contradicting,
  )
