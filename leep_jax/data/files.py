"""Files of images or sounds: where they are, and data sets of them."""

import collections
from collections.abc import Callable, Sequence
import functools
import os
import re
from typing import Any

import numpy as np

from leep_jax import validation
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
  groups: np.ndarray | None = None,
) -> dataset_lib.Dataset:
  """Returns a data set of files, which are read batch by batch.

  Args:
    name: of the data set.
    paths: `N` files.
    labels: `[N]` integers, or `[N, T]` real-valued targets.
    shown: what messages call the files.
    num_classes: 0 if targets are real numbers or sets of labels.
    class_names: if they are known.
    split: which part of the data this is.
    inputs: `image` or `audio`.
    groups: `[N]`, see `Dataset`.

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
    groups=groups,
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


class Finder:
  """The files that another file names: relative to its folder, or below it.

  Attributes:
    folder: of the file that names them.
    searched: whether files were found only by their names, by a search.

  Example:
    >>> import pathlib, tempfile
    >>> from leep_jax.data import files
    >>> with tempfile.TemporaryDirectory() as folder:
    ...   (pathlib.Path(folder) / "photos").mkdir()
    ...   (pathlib.Path(folder) / "photos" / "a.png").touch()
    ...   finder = files.Finder(f"{folder}/list.csv")
    ...   found = [finder.path(name) for name in ("photos/a.png", "a", "b.png")]
    >>> [path and path[-12:] for path in found], finder.searched
    (['photos/a.png', 'photos/a.png', None], True)
  """

  def __init__(
    self, source: str, *, beside: Sequence[str] = (), root: str | None = None
  ):
    """States where files may be.

    Args:
      source: the file that names them.
      beside: folders relative to that of the file, in which names are looked up
        after it.
      root: the folder below which files are searched by their names; by
        default, that of the file.
    """
    self.folder = os.path.dirname(os.path.abspath(source))
    self.searched = False
    self._source = source
    self._root = root or self.folder
    found = [os.path.normpath(os.path.join(self.folder, b)) for b in beside]
    self._places = [self.folder, *filter(os.path.isdir, found)]

  def path(self, value: str, *, moved: bool = False) -> str | None:
    """Returns the path of a file, or None if it is not there.

    Args:
      value: a path, or the name of a file, for a search also without suffix.
        A search keeps to the folder that a path names: another one may have
        files of the same names, but of another class.
      moved: whether a path that begins at a root, as of another computer, may
        be found in any folder.
    """
    for name in (value, value.replace("\\", "/")):  # as Windows writes it
      for place in self._places:
        path = os.path.join(place, os.path.expanduser(name))
        if os.path.isfile(path):
          return path
    *folders, base = value.replace("\\", "/").split("/")
    found = self._below.get(base, [])
    anywhere = moved and re.match(r"/|[A-Za-z]:", value.replace("\\", "/"))
    if folders and folders[-1] not in ("", ".") and not anywhere:
      found = [
        path
        for path in found
        if os.path.basename(os.path.dirname(path)) == folders[-1]
      ]
    if len(found) != 1 or "://" in value:
      return None
    self.searched = True
    return found[0]

  def paths(
    self,
    values: Sequence[str],
    *,
    where: Callable[[list[int]], str] | None = None,
    skips_bad: bool = False,
  ) -> list[str]:
    """Returns the paths of all files; a note says if they were searched.

    Args:
      values: as `path` takes them.
      where: says in which places of the source some of the values are, by their
        indices.
      skips_bad: whether files may be missing, but not all of them.

    Raises:
      DataError: if files are not there.
    """
    bases = [re.split(r"[/\\]", value)[-1] for value in values]
    times = collections.Counter(bases)
    paths = [
      self.path(value, moved=times[base] == 1)
      for value, base in zip(values, bases, strict=True)
    ]
    missing = [i for i, path in enumerate(paths) if path is None]
    if missing and not (skips_bad and len(missing) < len(paths)):
      names = validation.some(values[i] or "(empty)" for i in missing)
      advice = "write them relative to that folder"
      if all("://" in values[i] for i in missing):
        advice = "they are addresses: download the files"
      elif len(missing) < len(paths):
        advice = "add them, or leave them out with --skip_bad_images"
      places = f" ({where(missing)})" if where is not None else ""
      raise validation.DataError(
        f"{len(missing):,} of {len(paths):,} files that {self._source} names "
        f"are not in {self._root}: {names}{places}; {advice}"
      )
    if self.searched:
      validation.note(
        f"files of {self._source} were found by their names, in folders below "
        f"{self._root}"
      )
    return [
      os.path.join(self.folder, value) if path is None else path
      for value, path in zip(values, paths, strict=True)
    ]

  @functools.cached_property
  def _below(self) -> dict[str, list[str]]:
    """Files by name, with and without suffix."""
    found: dict[str, list[str]] = {}
    for where, _, names in os.walk(self._root):
      for name in names:
        stem, suffix = os.path.splitext(name)
        usable = suffix.lower() in audio.SUFFIXES | images.SUFFIXES
        for key in (name, stem) if usable else (name,):
          found.setdefault(key, []).append(os.path.join(where, name))
    return found
