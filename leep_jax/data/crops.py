"""Data sets whose examples are parts of images, cut out when they are read."""

from collections.abc import Sequence
import dataclasses

import numpy as np

from leep_jax import validation
from leep_jax.data import dataset as dataset_lib, files as files_lib, images

# Shorter sides than this show little of what they are of.
MIN_BOX = 16


@dataclasses.dataclass(frozen=True)
class Crops:
  """Parts of images, those of one image beside each other.

  Attributes:
    paths: of `M` images.
    sizes: `[M, 2]`, their heights and widths as the annotations have them.
    images: `[N]`, which image each part is of.
    boxes: `[N, 4]`, left, top, right and bottom of each, in pixels inside the
      image.
    shown: what messages call the parts.

  Example:
    >>> import numpy as np
    >>> from leep_jax.data import crops
    >>> parts = crops.Crops(
    ...   ["a.png"], np.array([[8, 6]]), np.zeros(1, int),
    ...   np.array([[1, 2, 5, 8]]), ["a.png box 1"])
    >>> len(parts)
    1
  """

  paths: Sequence[str]
  sizes: np.ndarray
  images: np.ndarray
  boxes: np.ndarray
  shown: Sequence[str]

  def __len__(self) -> int:
    return len(self.boxes)

  def read(self, indices: Sequence[int] | np.ndarray) -> list[np.ndarray]:
    """Returns parts; an image is decoded once for neighbours of it.

    Args:
      indices: of parts.

    Raises:
      DataError: if an image cannot be read, or has another size than the
        annotations say.
    """
    found: list[np.ndarray] = []
    last, image = -1, np.zeros((0, 0, 3), np.uint8)
    for i in indices:
      if self.images[i] != last:
        last = self.images[i]
        image = _read(self.paths[last], self.sizes[last], self.shown[i])
      left, top, right, bottom = self.boxes[i]
      # A copy: a view would keep the whole image in memory.
      found.append(image[top:bottom, left:right].copy())
    return found


def _read(path, size, name):
  """An image of a size: turned as its EXIF says, or as it is stored."""
  image = np.asarray(images.read(path, name=name))
  height, width = size
  if image.shape[:2] == (height, width):
    return image
  if image.shape[:2] == (width, height):
    # The annotations are of the image as it is stored.
    image = np.asarray(images.read(path, name=name, turned=False))
    if image.shape[:2] == (height, width):
      return image
  raise validation.DataError(
    f"cannot use {name}: the image has {image.shape[1]} x {image.shape[0]} "
    f"pixels, but its annotation is of {width} x {height}"
  )


def dataset(
  name: str,
  crops: Crops,
  labels: np.ndarray,
  *,
  num_classes: int,
  class_names: tuple[str, ...] | None,
  split: str = "all",
) -> dataset_lib.Dataset:
  """Returns a data set of parts of images, which are read batch by batch.

  Args:
    name: of the data set.
    crops: `N` parts.
    labels: `[N]` integers.
    num_classes: number of classes.
    class_names: if they are known.
    split: which part of the data this is.

  Example:
    >>> import tempfile
    >>> import numpy as np
    >>> import PIL.Image
    >>> from leep_jax.data import crops
    >>> with tempfile.TemporaryDirectory() as folder:
    ...   path = f"{folder}/a.png"
    ...   PIL.Image.fromarray(np.zeros((8, 6, 3), np.uint8)).save(path)
    ...   parts = crops.Crops(
    ...     [path], np.array([[8, 6]]), np.zeros(1, int),
    ...     np.array([[1, 2, 5, 8]]), ["a.png box 1"])
    ...   found = crops.dataset(
    ...     "mine", parts, np.array([0]), num_classes=1, class_names=None)
    ...   images, labels = found.fetch(found.indices)
    >>> images[0].shape, found.files
    ((6, 4, 3), ['a.png box 1'])
  """
  images.note_files(name, [crops.paths[i] for i in np.unique(crops.images)])
  return dataset_lib.Dataset(
    name=name,
    split=split,
    num_classes=num_classes,
    indices=np.arange(len(crops)),
    image_shape=None,
    fetch=lambda indices: (crops.read(indices), labels[indices]),
    class_names=class_names,
    all_labels=labels,
    version=dataset_lib.digest(
      [
        *map(files_lib.stamp, crops.paths),
        *crops.shown,
        crops.boxes.tobytes(),
        labels.tobytes(),
      ]
    ),
    files=crops.shown,
    part_of=crops.images,
  )
