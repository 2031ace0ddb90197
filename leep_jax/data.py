"""Names to labelled images: TFDS, a folder, an npz file, or digits.

A `Dataset` knows how many examples it has and can fetch any of them by index;
`batches` reads ahead in a background thread. TensorFlow is never imported:
TFDS reads `array_record` files through its data-source interface.
"""

from collections.abc import Callable, Iterator, Sequence
import dataclasses
import os
import pathlib
import queue
import threading
from typing import Any

import numpy as np

from leep_jax import checks

_IMAGE_SUFFIXES = (
  ".jpg", ".jpeg", ".jfif", ".png", ".webp", ".bmp", ".ppm", ".tif", ".tiff",
)  # fmt: skip
_SPLIT_NAMES = {"train", "training", "val", "valid", "validation", "test"}
_READ_AHEAD = 2  # batches that wait while one is being used


@dataclasses.dataclass(frozen=True)
class Dataset:
  """A labelled image data set.

  Attributes:
    name: what tables and rows call it.
    split: which part of it this is.
    num_classes: number of target classes, also those that never occur.
    indices: `[n]` int64, the examples in use, in order.
    image_shape: `(H, W, C)`, or None where images differ in size.
    fetch: `indices -> (images, labels)`, a sequence of `[H, W, C]` arrays
      (uint8 in 0..255, or floats in [0, 1]) and one of integer labels.
    class_names: names of the classes, where they are known.
  """

  name: str
  split: str
  num_classes: int
  indices: np.ndarray
  image_shape: tuple[int, int, int] | None
  fetch: Callable[[np.ndarray], tuple[Sequence[np.ndarray], Any]]
  class_names: tuple[str, ...] | None = None

  def __len__(self) -> int:
    return len(self.indices)

  def take(self, limit: int) -> "Dataset":
    """Returns `limit` examples drawn without replacement, always the same.

    They are drawn at random because data sets are often sorted by class, and
    keep their order. A `limit` of at least n changes nothing.
    """
    if limit < 1:
      raise checks.InputError(f"limit is {limit}, but must be at least 1")
    if limit >= len(self):
      return self
    rng = np.random.default_rng(0)
    chosen = np.sort(rng.choice(len(self), limit, replace=False))
    return dataclasses.replace(self, indices=self.indices[chosen])

  def batches(
    self, batch_size: int, *, image_size: int | None = None
  ) -> Iterator[tuple[np.ndarray, np.ndarray]]:
    """Yields `(images [B, H, W, C], labels [B])`; the last may be shorter.

    Args:
      batch_size: examples a batch.
      image_size: where images differ in size, the side in pixels to which
        each is resized (shorter side, then centre crop) before stacking.

    Raises:
      InputError: if images differ in size and `image_size` is None, or an
        image cannot be read.
    """
    if self.image_shape is None and image_size is None:
      raise checks.InputError(
        f"images of {self.name} differ in size, and the source names no size "
        "to bring them to"
      )

    size = image_size or 0

    def read(start):
      images, labels = self.fetch(self.indices[start : start + batch_size])
      if self.image_shape is None:
        images = [_fit(image, size) for image in images]
      return np.stack(images), np.asarray(labels)

    return _ahead(read, range(0, len(self), batch_size))

  def load(self) -> tuple[np.ndarray, np.ndarray]:
    """Returns all `(images [n, H, W, C], labels [n])` in memory."""
    images, labels = zip(*self.batches(1024), strict=True)
    return np.concatenate(images), np.concatenate(labels)


def _ahead(read, starts) -> Iterator[Any]:
  """Calls `read` on each start in a thread, a bounded number ahead."""
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
    thread.join()


def _fit(image: np.ndarray, size: int) -> np.ndarray:
  """Resizes the shorter side to `size` and crops the centre."""
  import cv2

  height, width = image.shape[:2]
  scale = size / min(height, width)
  shape = (max(size, round(width * scale)), max(size, round(height * scale)))
  how = cv2.INTER_AREA if scale < 1 else cv2.INTER_LINEAR
  channels = image.shape[2]
  image = cv2.resize(image, shape, interpolation=how)
  image = image.reshape(*image.shape[:2], channels)  # cv2 drops a grey axis
  top, left = (image.shape[0] - size) // 2, (image.shape[1] - size) // 2
  return image[top : top + size, left : left + size]


def load_dataset(
  name: str,
  *,
  split: str | None = None,
  data_dir: str | None = None,
  limit: int | None = None,
) -> Dataset:
  """Opens a labelled image data set by name.

  Args:
    name: `digits` (scikit-learn's, offline), `folder:DIR` (one sub-folder of
      images per class), `npz:FILE` (arrays `images` and `labels`), or the
      name of a TFDS data set.
    split: TFDS split with slicing such as `train[:20%]` (default `train`);
      for a folder, its sub-folder to use. The others have no splits.
    data_dir: where TFDS data sets are.
    limit: use only this many examples, see `Dataset.take`.

  Returns:
    The data set; images are read when they are asked for.

  Raises:
    InputError: if there is no such data set or split, or it has no images,
      no labels, or no examples.
  """
  kind, _, path = name.partition(":")
  if data_dir is not None and (name == "digits" or kind in ("folder", "npz")):
    raise checks.InputError(f"data_dir is for TFDS data sets, not for {name}")
  if name == "digits":
    dataset = _digits(split)
  elif kind == "folder":
    dataset = _folder(path, split)
  elif kind == "npz":
    dataset = _npz(path, split)
  else:
    dataset = _tfds(name, split or "train", data_dir)
  if not len(dataset):
    raise checks.InputError(f"data set {name} ({dataset.split}) is empty")
  return dataset if limit is None else dataset.take(limit)


def _no_split(name, split):
  if split not in (None, "all"):
    raise checks.InputError(f"{name} has no splits, but split is {split!r}")


def _digits(split):
  import sklearn.datasets

  _no_split("digits", split)
  digits = sklearn.datasets.load_digits()
  images = np.round(digits.images * (255 / 16)).astype(np.uint8)[..., None]
  return _from_arrays("digits", images, digits.target)


def _from_arrays(name, images, labels):
  classes = int(labels.max()) + 1 if labels.size else 0
  return Dataset(
    name=name,
    split="all",
    num_classes=classes,
    indices=np.arange(len(images)),
    image_shape=images.shape[1:],
    fetch=lambda i: (images[i], labels[i]),
  )


def _npz(path, split):
  name = f"npz:{path}"
  _no_split(name, split)
  arrays = checks.read_npz(path)
  for key in ("images", "labels"):
    if key not in arrays:
      raise checks.InputError(
        f"{path} has no array {key!r}; it has {', '.join(arrays) or 'none'}"
      )
  images, labels = arrays["images"], checks.class_labels(arrays["labels"])
  if images.ndim == 3:
    images = images[..., None]
  if images.ndim != 4 or images.shape[3] not in (1, 3):
    raise checks.InputError(
      f"images of {path} have shape {images.shape}, not [n, H, W] or "
      "[n, H, W, C] with 1 or 3 channels"
    )
  if len(images) != len(labels):
    raise checks.InputError(
      f"{path} has {len(images)} images but {len(labels)} labels"
    )
  checks.images(f"images of {path}", images)
  return _from_arrays(name, images, labels)


def _folder(path, split):
  root = pathlib.Path(path).expanduser()
  if split is not None:
    root = root / split
  if not root.is_dir():
    raise checks.InputError(f"no folder at {root}")
  classes = sorted(
    p.name for p in root.iterdir() if p.is_dir() and p.name[0] != "."
  )
  if classes and set(map(str.lower, classes)) <= _SPLIT_NAMES:
    raise checks.InputError(
      f"{root} holds the splits {', '.join(classes)}, not classes: choose one, "
      f"as in --split={classes[0]}"
    )
  files, labels = [], []
  for label, name in enumerate(classes):
    found = _image_files(root / name)
    if not found:
      raise checks.InputError(
        f"sub-folder {name} of {root} has no images "
        f"({' '.join(_IMAGE_SUFFIXES)}): move it away if it is no class"
      )
    files += found
    labels += [label] * len(found)
  if len(classes) < 2:
    raise checks.InputError(
      f"{root} has {len(classes)} sub-folders with images, but each class "
      "needs one, and there must be at least 2 classes"
    )
  target = np.asarray(labels, np.int32)
  return Dataset(
    name=f"folder:{path}",
    split=split or "all",
    num_classes=len(classes),
    indices=np.arange(len(files)),
    image_shape=None,
    fetch=lambda i: ([_read_image(files[j]) for j in i], target[i]),
    class_names=tuple(classes),
  )


def _image_files(folder):
  """Images anywhere below a folder, hidden files and folders left out."""
  return sorted(
    path
    for path in folder.rglob("*")
    if path.suffix.lower() in _IMAGE_SUFFIXES
    and not any(part[0] == "." for part in path.relative_to(folder).parts)
    and not path.is_dir()
  )


def _read_image(path):
  import cv2

  # A file that is no image is reported below, by an error of ours.
  cv2.utils.logging.setLogLevel(cv2.utils.logging.LOG_LEVEL_SILENT)
  # Decoded from bytes: imread cannot open every path.
  try:
    data = np.fromfile(path, np.uint8)
    image = cv2.imdecode(data, cv2.IMREAD_COLOR_RGB) if data.size else None
  except OSError as e:
    raise checks.InputError(f"cannot read {path}: {e.strerror}") from e
  except cv2.error:
    image = None
  if image is None:
    raise checks.InputError(f"cannot decode {path}: is it an image?")
  return image


def _tfds(name, split, data_dir):
  import tensorflow_datasets as tfds

  data_dir = os.path.expanduser(data_dir) if data_dir else None
  if data_dir is not None and not os.path.isdir(data_dir):
    raise checks.InputError(f"no folder at data_dir {data_dir}")
  try:
    builder = tfds.builder(name, data_dir=data_dir)
  except Exception as e:  # unknown name, or a configuration it has not
    known = tfds.list_builders(with_community_datasets=False)
    known = {*known, "digits", *(os.listdir(data_dir) if data_dir else ())}
    if name.split("/")[0].split(":")[0] in known:
      raise checks.InputError(
        f"TFDS cannot open {name!r}: {checks.reason(e)}"
      ) from e
    raise checks.unknown("data set", name, known) from e
  if not builder.is_prepared():
    raise checks.InputError(
      f"TFDS data set {name!r} is not prepared in {builder.data_path}; run "
      f"`tfds build {name} --file_format=array_record --data_dir=DIR` where "
      "TensorFlow is installed, then pass --data_dir=DIR"
    )
  features = builder.info.features
  image_key = _feature(features, tfds.features.Image, "image", name)
  label_key = _feature(features, tfds.features.ClassLabel, "label", name)
  try:
    source = builder.as_data_source(split=split)
  except NotImplementedError as e:
    raise checks.InputError(
      f"TFDS data set {name!r} is stored as {builder.info.file_format}, which "
      "needs TensorFlow; prepare it with --file_format=array_record"
    ) from e
  except ValueError as e:
    known = ", ".join(builder.info.splits)
    raise checks.InputError(
      f"cannot take split {split!r} of {name}: it has {known}; slices are "
      "written train[:20%] or test[100:200]"
    ) from e
  shape = features[image_key].shape
  label = features[label_key]

  def fetch(indices):
    rows = source.__getitems__(indices.tolist())
    return [r[image_key] for r in rows], [r[label_key] for r in rows]

  return Dataset(
    name=name,
    split=split,
    num_classes=label.num_classes,
    indices=np.arange(len(source)),
    image_shape=None if None in shape else shape,
    fetch=fetch,
    class_names=tuple(label.names) if label.num_classes else None,
  )


def _feature(features, kind, name, dataset):
  found = [k for k, v in features.items() if isinstance(v, kind)]
  if name in found:
    return name
  if len(found) == 1:
    return found[0]
  raise checks.InputError(
    f"TFDS data set {dataset!r} has {len(found) or 'no'} {name} features "
    f"({', '.join(found) or 'its features: ' + ', '.join(features)}), so it "
    "is not one labelled image classification task"
  )
