"""Segmentation: images with masks, of which patches of one class are cut out.

    masks:DIR      images/NAME.jpg and masks/NAME.png
                   images/SPLIT/... and masks/SPLIT/..., or SPLIT/images/...

A mask has the number of a class for each pixel; 255 is none. Of each image, and
each class that covers at least `min_box` x `min_box` pixels of it, one example
is made: a square patch with a side of a quarter of the image's shorter side (at
least `min_box`), whose centre is a pixel of that class, drawn with a fixed
seed; at a border it is moved inside the image. Its label is that pixel's class.
So a class counts once an image, however large it is there.

Scores of segmentation on sampled pixels, one label each, are those of
Agostinelli et al., "Transferability metrics for selecting source model
ensembles", CVPR 2022. They take the features of a segmentation network there; a
classifier sees a patch instead.
"""

from collections.abc import Sequence
from concurrent import futures
import glob
import os
from typing import NamedTuple
import zlib

import numpy as np

from leep_jax import validation
from leep_jax.data import (
  crops as crops_lib,
  dataset as dataset_lib,
  folders,
  images,
  splits,
)

# Names of folders, in lower case; those that come first go before others.
_IMAGES = ("images", "image", "imgs", "img", "jpegimages")
_MASKS = (
  "masks", "mask", "segmentationclass", "labels", "label", "annotations",
)  # fmt: skip
# Usual number of pixels without a class, such as borders.
_NONE = 255
_PATCHES_A_SIDE = 4
_LISTS = "ImageSets/Segmentation"  # of Pascal VOC


class _Mask(NamedTuple):
  """What a mask holds.

  Attributes:
    size: height and width.
    values: numbers that occur.
    counts: how many pixels have each.
    pixels: `[k, 2]`, row and column of a pixel of each, drawn.
  """

  size: tuple[int, int]
  values: np.ndarray
  counts: np.ndarray
  pixels: np.ndarray


def load(
  path: str,
  split: str | None,
  *,
  ignored: Sequence[int] = (),
  min_box: int = crops_lib.MIN_BOX,
  skips_bad: bool = False,
) -> dataset_lib.Dataset:
  """Opens a folder of images and masks; all masks are read.

  Args:
    path: of the folder.
    split: which of its splits; by default the one for training by its name.
    ignored: numbers of classes that are left out, besides 255.
    min_box: shortest side of a patch, in pixels; classes that cover fewer
      pixels of an image than a square of it are left out there.
    skips_bad: whether masks that cannot be read, or have no image, are left
      out.

  Raises:
    InputError: if there are no such folders, masks cannot be read, have colours
      instead of numbers, or have no image.

  Example:
    >>> import pathlib, tempfile
    >>> import numpy as np
    >>> import PIL.Image
    >>> from leep_jax.data import masks
    >>> mask = np.zeros((80, 120), np.uint8)
    >>> mask[40:] = 1
    >>> with tempfile.TemporaryDirectory() as folder:
    ...   for name, content in (("images", 100 * mask), ("masks", mask)):
    ...     (pathlib.Path(folder) / name).mkdir()
    ...     PIL.Image.fromarray(content).save(f"{folder}/{name}/a.png")
    ...   dataset = masks.load(folder, None)
    ...   patches, labels = dataset.fetch(dataset.indices)
    >>> patches[0].shape, labels.tolist(), dataset.files
    ((20, 20, 3), [0, 1], ['a.png class 0', 'a.png class 1'])
  """
  name = f"masks:{path}"
  found = _splits(path)
  chosen = splits.choose(name, list(found), split)
  names, paths, masks = _pairs(name, found[chosen], skips_bad)
  read, kept = _read_all(name, masks, names, skips_bad)
  where, pixels, labels = _examples(name, read, min_box)
  used = dataset_lib.not_ignored(name, labels, ignored)
  where, pixels, labels = where[used], pixels[used], labels[used]
  validation.note_unused_classes(labels)
  sizes = np.asarray([mask.size for mask in read])
  crops = crops_lib.Crops(
    [paths[i] for i in kept],
    sizes,
    where,
    _patches(sizes[where], pixels, min_box),
    [
      f"{names[kept[i]]} class {label}"
      for i, label in zip(where, labels, strict=True)
    ],
  )
  return crops_lib.dataset(
    name,
    crops,
    labels,
    num_classes=int(labels.max()) + 1,
    class_names=None,
    split=chosen,
  )


def pair(
  path: str, split: str | None, test_split: str | None
) -> tuple[str | None, str | None]:
  """Returns the splits of a folder to train and to test on.

  Args:
    path: of the folder.
    split: to train on, if the user named one.
    test_split: to test on, if the user named one.

  Returns:
    Both. The second is None if there is no test split: a part of the first is
    to be held out.

  Raises:
    InputError: if there are no such folders.

  Example:
    >>> import pathlib, tempfile
    >>> from leep_jax.data import masks
    >>> with tempfile.TemporaryDirectory() as folder:
    ...   for split in ("train", "val"):
    ...     for name in ("images", "masks"):
    ...       (pathlib.Path(folder) / split / name).mkdir(parents=True)
    ...   masks.pair(folder, None, None)
    ('train', 'val')
  """
  return folders.pair_of(list(_splits(path)), split, test_split)


class _Place(NamedTuple):
  """Where the images and masks of a split are.

  Attributes:
    images: folder.
    masks: folder.
    names: file that lists the names of those of the split, as Pascal VOC has.
  """

  images: str
  masks: str
  names: str | None = None


def _splits(path):
  """Where each split is; `all` is one without a name."""
  if not path:
    raise validation.InputError("masks: has no path: write masks:DIR")
  root = os.path.expanduser(path)
  if not validation.exists(root, "dir"):
    raise validation.InputError(f"no folder at {root}")
  beside = _beside(root)
  if beside is not None:
    inside = [set(_folders(folder)) for folder in beside]
    names = sorted(inside[0] & inside[1])
    if names and all(map(folders.role, names)):
      return {n: _Place(*(os.path.join(b, n) for b in beside)) for n in names}
    place = _Place(*beside)
    lists = sorted(glob.glob(os.path.join(root, _LISTS, "*.txt")))
    return {"all": place} | {
      os.path.basename(file).removesuffix(".txt"): place._replace(names=file)
      for file in lists
    }
  found = {n: _beside(os.path.join(root, n)) for n in _folders(root)}
  named = {name: _Place(*both) for name, both in found.items() if both}
  if not named:
    raise validation.InputError(
      f"{root} has no folders images and masks, nor splits with them; it has "
      f"{validation.some(found) or 'no folders'}: write the images in images/ "
      "and a PNG file of the same name for each in masks/"
    )
  return named


def _folders(path):
  return sorted(e.name for e in os.scandir(path) if e.is_dir())


def _beside(root):
  """The folders of images and of masks in a folder, if it has both."""
  by_lower = {name.lower(): name for name in _folders(root)}
  both = []
  for usual in (_IMAGES, _MASKS):
    names = [by_lower[name] for name in usual if name in by_lower]
    if not names:
      return None
    both.append(os.path.join(root, names[0]))
  return both[0], both[1]


def _pairs(name, place, skips_bad):
  """Names and paths of the images that have masks, and paths of the masks."""
  found = _files(place.images, images.SUFFIXES)
  masks = _files(place.masks, {".png"})
  if place.names is not None:
    with open(place.names, encoding="utf-8") as file:
      listed = set(file.read().split())
    found = {stem: found[stem] for stem in found.keys() & listed}
    masks = {stem: masks[stem] for stem in masks.keys() & listed}
  lost = sorted(masks.keys() - found.keys())
  both = sorted(masks.keys() & found.keys())
  if not both or (lost and not skips_bad):
    advice = "names must be the same, but for the suffix"
    if both:
      advice += ", or leave those masks out with --skip_bad_images"
    raise validation.DataError(
      f"{len(lost):,} of {len(masks):,} PNG masks in {place.masks} have no "
      f"image in {place.images}"
      + (f": {validation.some(lost)}; {advice}" if lost else "")
    )
  if lost:
    validation.note(
      f"{len(lost):,} of {len(masks):,} masks of {name} left out, which have "
      f"no image: {validation.some(lost)}"
    )
  bare = sorted(found.keys() - masks.keys())
  if bare:
    validation.note(
      f"{len(bare):,} of {len(found):,} images of {name} left out, which have "
      f"no mask: {validation.some(bare)}"
    )
  paths = [found[stem] for stem in both]
  shown = [os.path.relpath(path, place.images) for path in paths]
  return shown, paths, [masks[stem] for stem in both]


def _files(folder, suffixes):
  """Files below a folder, by their relative paths without suffix."""
  found = {}
  for where, _, names in os.walk(folder, followlinks=True):
    for name in sorted(names):
      stem, suffix = os.path.splitext(name)
      if suffix.lower() in suffixes and name[0] != ".":
        path = os.path.join(where, name)
        found[os.path.relpath(os.path.join(where, stem), folder)] = path
  return found


def _read_all(name, paths, names, skips_bad):
  """The content of masks that can be used, and their indices."""

  def read(path, shown):
    try:
      return _read(path, shown)
    except validation.DataError as e:
      return f"{e}"

  with futures.ThreadPoolExecutor(os.cpu_count()) as pool:
    found = list(pool.map(read, paths, names))
  bad = [text for text in found if isinstance(text, str)]
  kept = [i for i, mask in enumerate(found) if not isinstance(mask, str)]
  if bad:
    count = f"{len(bad):,} of {len(paths):,} masks of {name}"
    if not (skips_bad and kept):
      advice = "; or leave them out with --skip_bad_images" if kept else ""
      raise validation.DataError(
        f"{count} cannot be used: {validation.some(bad)}{advice}"
      )
    validation.note(
      f"{count} left out, which cannot be used: {validation.some(bad)}"
    )
  return [found[i] for i in kept], kept


def _read(path, name):
  """Reads a mask, and draws a pixel of each of its numbers."""
  import PIL.Image

  try:
    with PIL.Image.open(path) as opened:
      # Palettes only say how numbers are shown.
      if opened.mode not in ("P", "L", "1", "I", "I;16"):
        raise validation.DataError(
          f"{path} has colours ({opened.mode}), not the number of a class for "
          "each pixel: write it with a palette, or in grey"
        )
      mask = np.asarray(opened)
  except validation.DataError:
    raise
  except Exception as e:  # Pillow's decoders raise many types
    raise validation.DataError(
      f"cannot decode {path}: {validation.reason(e)}"
    ) from e
  flat = mask.ravel()
  if mask.dtype == np.uint8:  # faster than a sort
    counts = np.bincount(flat)
    values = np.flatnonzero(counts)
    counts = counts[values]
  else:
    values, counts = np.unique(flat.astype(np.int64), return_counts=True)
  drawn = []
  for value, count in zip(values.tolist(), counts.tolist(), strict=True):
    # Of the name and the class, so that other images do not matter.
    rng = np.random.default_rng([zlib.crc32(name.encode()), value])
    drawn.append(np.flatnonzero(flat == value)[rng.integers(count)])
  pixels = np.stack(np.divmod(drawn, mask.shape[1]), axis=1)
  return _Mask(mask.shape, values, counts, pixels)


def _examples(name, masks, min_box):
  """Images, pixels and labels of the examples."""
  numbers = _numbers(name, masks)
  where, pixels, labels = [], [], []
  total = 0
  for i, mask in enumerate(masks):
    for k, value in enumerate(mask.values.tolist()):
      if value not in numbers:
        continue
      total += 1
      if mask.counts[k] >= min_box**2:
        where.append(i)
        pixels.append(mask.pixels[k])
        labels.append(numbers[value])
  if len(labels) < total:
    text = (
      f"{total - len(labels):,} of {total:,} classes of images of {name} left "
      f"out, which cover fewer than {min_box**2:,} pixels (--min_box={min_box})"
    )
    if not labels:
      raise validation.DataError(text)
    validation.note(text)
  elif not total:
    raise validation.DataError(f"masks of {name} hold only 255, which is none")
  return (
    np.asarray(where), np.asarray(pixels), validation.class_labels(labels)
  )  # fmt: skip


def _numbers(name, masks):
  """Labels by the numbers in masks."""
  present = set(np.concatenate([mask.values for mask in masks]).tolist())
  if present == {0, _NONE}:
    validation.note(
      f"masks of {name} hold only 0 and 255, so 255 is taken for class 1"
    )
    return {0: 0, _NONE: 1}
  return {value: value for value in present - {_NONE}}


def _patches(sizes, pixels, min_box):
  """Left, top, right and bottom of squares around pixels."""
  shorter = sizes.min(axis=1)
  side = np.minimum(np.maximum(shorter // _PATCHES_A_SIDE, min_box), shorter)
  first = pixels - side[:, None] // 2
  first = np.clip(first, 0, sizes - side[:, None])
  return np.hstack([first[:, ::-1], first[:, ::-1] + side[:, None]])
