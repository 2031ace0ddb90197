"""Data sets whose inputs are files of images or sounds."""

from collections.abc import Callable, Sequence
import os
from typing import Any

import numpy as np

from leep_jax.data import audio, dataset as dataset_lib, images


def dataset(
  name: str,
  paths: Sequence[str],
  labels: np.ndarray,
  *,
  shown: Sequence[str],
  num_classes: int,
  class_names: tuple[str, ...] | None,
  split: str = "all",
  inputs: str = "image",
) -> dataset_lib.Dataset:
  """Returns a data set of files, which are read batch by batch.

  Args:
    name: of the data set.
    paths: `N` files.
    labels: `[N]` integers, or `[N, T]` real-valued targets.
    shown: what messages call the files.
    num_classes: 0 if targets are real numbers.
    class_names: if they are known.
    split: which part of the data this is.
    inputs: `image` or `audio`.

  Example:
    >>> import pathlib, tempfile
    >>> import numpy as np
    >>> import PIL.Image
    >>> from leep_jax.data import files
    >>> with tempfile.TemporaryDirectory() as folder:
    ...   path = f"{folder}/a.png"
    ...   PIL.Image.fromarray(np.zeros((8, 6, 3), np.uint8)).save(path)
    ...   found = files.dataset(
    ...     "mine", [path], np.array([0]), shown=["a"], num_classes=1,
    ...     class_names=None)
    ...   images, labels = found.fetch([0])
    >>> images[0].shape, found.files
    ((8, 6, 3), ['a'])
  """
  seconds = 0.0
  if inputs == "audio":
    seconds = max(map(audio.seconds, paths))
  else:
    images.note_files(name, paths)
  read = reader(inputs)
  return dataset_lib.Dataset(
    name=name,
    split=split,
    num_classes=num_classes,
    indices=np.arange(len(paths)),
    image_shape=None,
    fetch=lambda indices, **how: (
      [read(paths[i], name=shown[i], **how) for i in indices],
      labels[indices],
    ),
    class_names=class_names,
    all_labels=labels,
    # Sizes and times stand for the content, which is not read.
    version=dataset_lib.digest(
      [
        *((s, *stamp(p)) for s, p in zip(shown, paths, strict=True)),
        labels.tobytes(),
      ]
    ),
    files=shown,
    inputs=inputs,
    reduces=inputs == "image",
    seconds=seconds,
  )


def decoder(inputs: str) -> Callable[..., Any]:
  """Returns the function `(content, *, name)` of the contents of files.

  Args:
    inputs: `image` or `audio`.

  Example:
    >>> from leep_jax.data import files, images
    >>> files.decoder("image") is images.decode
    True
  """
  return audio.decode if inputs == "audio" else images.decode


def reader(inputs: str) -> Callable[..., Any]:
  """Returns the function `(path, *, name)` of files.

  Args:
    inputs: `image` or `audio`.

  Example:
    >>> from leep_jax.data import files, images
    >>> files.reader("image") is images.read
    True
  """
  return audio.read if inputs == "audio" else images.read


def stamp(path: str) -> tuple[int, int]:
  """Returns the size of a file and when it was written; 0 if there is none.

  Args:
    path: of the file.

  Example:
    >>> from leep_jax.data import files
    >>> files.stamp("no_such_file")
    (0, 0)
  """
  try:
    about = os.stat(path)
  except OSError:
    try:
      about = os.lstat(path)  # a broken link has a size and a time of its own
    except OSError:
      return 0, 0
  return about.st_size, about.st_mtime_ns
