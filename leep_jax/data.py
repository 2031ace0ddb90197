"""Names to labelled images: TFDS, a folder, an npz file, or digits.

A `Dataset` knows how many examples it has and can fetch any of them by index;
`batches` reads ahead in background threads. TensorFlow is never imported:
TFDS reads `array_record` files through its data-source interface.

`load_attributes` reads yes-or-no labels without their images.
"""

from collections.abc import Callable, Iterator, Sequence
from concurrent import futures
import csv
import dataclasses
import functools
import hashlib
import os
import pathlib
import queue
import threading
from typing import Any

import numpy as np

from leep_jax import checks, splits

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
      InputError: if images differ in size and `fit` is None, or an image
        cannot be read.
    """
    pool = futures.ThreadPoolExecutor(os.cpu_count())
    fetch = self.fetch
    if self.image_shape is None:
      if fit is None:
        raise checks.InputError(
          f"images of {self.name} differ in size, and the source names no size "
          "to bring them to"
        )
      fetch = functools.partial(_fetch_fitted, fetch, fit, pool)

    def read(start):
      images, labels = fetch(self.indices[start : start + batch_size])
      return np.stack(images), np.asarray(labels)

    return _ahead(read, range(0, len(self), batch_size), pool)

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


def load_dataset(
  name: str,
  *,
  split: str | None = None,
  data_dir: str | None = None,
  limit: int | None = None,
  target: str | None = None,
) -> Dataset:
  """Opens a labelled image data set by name.

  Args:
    name: `digits` (scikit-learn's, offline), `folder:DIR` (one sub-folder of
      images per class, turned as their EXIF orientation says and brought to 8
      bits), `npz:FILE` (arrays `images` and `labels`), or the name of a TFDS
      data set.
    split: TFDS split with slicing such as `train[:20%]` (default `train`);
      for a folder, its sub-folder to use. The others have no splits.
    data_dir: where TFDS data sets are.
    limit: use only this many examples, see `Dataset.take`.
    target: for regression, the name of real-valued targets: an array `[n, T]`
      or `[n]` of an npz file (default `targets` where it has no `labels`), or a
      numeric feature of a TFDS data set.

  Returns:
    The data set; images are read when they are asked for.

  Raises:
    InputError: if there is no such data set or split, or it has no images,
      no labels, or no examples.
  """
  kind, _, path = name.partition(":")
  if data_dir is not None and (name == "digits" or kind in ("folder", "npz")):
    raise checks.InputError(f"data_dir is for TFDS data sets, not for {name}")
  if target is not None and (name == "digits" or kind == "folder"):
    raise checks.InputError(
      f"{name} has classes, but no real-valued targets {target!r}: those come "
      "from npz files and TFDS data sets"
    )
  if name == "digits":
    dataset = _digits(split)
  elif kind == "folder":
    dataset = _folder(path, split)
  elif kind == "npz":
    dataset = _npz(path, split, target)
  else:
    dataset = _tfds(name, split or "train", data_dir, target)
  if not len(dataset):
    raise checks.InputError(f"data set {name} ({dataset.split}) is empty")
  return dataset if limit is None else dataset.take(limit)


def load_pair(
  name: str,
  *,
  split: str | None = None,
  test_split: str | None = None,
  data_dir: str | None = None,
  limit: int | None = None,
  test_limit: int | None = None,
) -> tuple[Dataset, Dataset]:
  """Opens a training and a test set, which share no example.

  Args:
    name: as for `load_dataset`.
    split: of the training set; by default `train`.
    test_split: of the test set; by default `test`, or a folder's `val`. Where
      there are no splits, a fifth of each class is held out, always the same.
    data_dir: where TFDS data sets are.
    limit: of the training set, see `Dataset.take`.
    test_limit: of the test set.

  Raises:
    InputError: as `load_dataset` does, or if both share an example.
  """
  kind, _, path = name.partition(":")
  has_splits = name != "digits" and kind != "npz"
  if kind == "folder":
    root = pathlib.Path(path).expanduser()
    found = [part for part in ("test", "val") if (root / part).is_dir()]
    has_splits = split is not None or (root / "train").is_dir()
    test_split = test_split or (found[0] if found and has_splits else None)
  if has_splits:
    split, test_split = split or "train", test_split or "test"
    if split == test_split:
      raise checks.InputError(
        f"split and test_split are both {split}: a model must not be tested on "
        "what it was trained on"
      )
    train, test = (
      load_dataset(name, split=part, data_dir=data_dir)
      for part in (split, test_split)
    )
    _check_apart(train, test)
  else:
    if test_split is not None:
      raise checks.InputError(
        f"{name} has no splits, but test_split is {test_split!r}"
      )
    whole = load_dataset(name, split=split, data_dir=data_dir)
    labels = whole.labels()
    places, test_places = splits.holdout(labels, seed=0)
    train, test = (
      dataclasses.replace(whole, split=part, indices=whole.indices[chosen])
      for part, chosen in (("4/5", places), ("1/5", test_places))
    )
  if train.class_names != test.class_names:
    raise checks.InputError(
      f"{name}: the classes of {split} and {test_split} differ"
    )
  if limit is not None:
    train = train.take(limit)
  return train, test if test_limit is None else test.take(test_limit)


def _check_apart(train, test):
  """Refuses TFDS splits that overlap."""
  for name, start, end in train.ranges:
    for other, other_start, other_end in test.ranges:
      first, last = max(start, other_start), min(end, other_end)
      if name == other and first < last:
        raise checks.InputError(
          f"split {train.split} and test_split {test.split} share examples "
          f"{first} to {last - 1} of {name}: a model must not be tested on "
          "what it was trained on"
        )


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
  classes = 0
  if labels.dtype.kind in "iu" and labels.size:
    classes = int(labels.max()) + 1
  return Dataset(
    name=name,
    split="all",
    num_classes=classes,
    indices=np.arange(len(images)),
    image_shape=images.shape[1:],
    fetch=lambda i: (images[i], labels[i]),
    all_labels=labels,
    version=_digest((images.tobytes(), np.asarray(labels).tobytes())),
  )


def _npz(path, split, target):
  name = f"npz:{path}"
  _no_split(name, split)
  arrays = checks.read_npz(path)
  if target is None and "targets" in arrays and "labels" not in arrays:
    target = "targets"
  for key in ("images", target or "labels"):
    if key not in arrays:
      raise checks.InputError(
        f"{path} has no array {key!r}; it has {', '.join(arrays) or 'none'}"
      )
  images = arrays["images"]
  if target is None:
    labels = checks.class_labels(arrays["labels"])
  else:
    labels = checks.real_targets(arrays[target])
  if images.ndim == 3:
    images = images[..., None]
  if images.ndim != 4 or images.shape[3] not in (1, 3):
    raise checks.InputError(
      f"images of {path} have shape {images.shape}, not [n, H, W] or "
      "[n, H, W, C] with 1 or 3 channels"
    )
  if len(images) != len(labels):
    raise checks.InputError(
      f"{path} has {len(images)} images but {len(labels)} {target or 'labels'}"
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
    all_labels=target,
    version=_digest(
      (str(p.relative_to(root)), p.stat().st_size, p.stat().st_mtime_ns)
      for p in files
    ),
  )


def _digest(parts):
  """Of parts, 16 hexadecimal digits."""
  found = hashlib.sha256()
  for part in parts:
    found.update(part if isinstance(part, bytes) else repr(part).encode())
  return found.hexdigest()[:16]


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
  """Returns a file's image, `[H, W, 3]` uint8.

  It is turned as its EXIF orientation says, unlike by torchvision's loader;
  16 bits are scaled to 8; grey is repeated, and transparency left out.
  """
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


def _tfds_builder(name, data_dir):
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
  return builder


def _tfds_source(builder, name, split, **options):
  try:
    return builder.as_data_source(split=split, **options)
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


def _tfds(name, split, data_dir, target):
  import tensorflow_datasets as tfds

  builder = _tfds_builder(name, data_dir)
  features = builder.info.features
  image_key = _feature(features, tfds.features.Image, "image", name)
  if target is None:
    label_key = _feature(features, tfds.features.ClassLabel, "label", name)
  else:
    label_key = _numeric_feature(features, target, name)
  source = _tfds_source(builder, name, split)
  shape = features[image_key].shape
  label = features[label_key]
  classes = label.num_classes if target is None else 0

  def fetch(indices):
    rows = source.__getitems__(indices.tolist())
    return [r[image_key] for r in rows], [r[label_key] for r in rows]

  return Dataset(
    name=name,
    split=split,
    num_classes=classes,
    indices=np.arange(len(source)),
    image_shape=None if None in shape else shape,
    fetch=fetch,
    class_names=tuple(label.names) if classes else None,
    version=str(builder.version),
    ranges=_ranges(builder, split),
  )


def _ranges(builder, split):
  """The parts of whole splits that a split is."""
  import tensorflow_datasets as tfds

  sizes = {
    name: info.num_examples for name, info in builder.info.splits.items()
  }
  read = tfds.core.ReadInstruction.from_spec(split)
  return tuple(
    (
      part.splitname,
      part.from_ or 0,
      sizes[part.splitname] if part.to is None else part.to,
    )
    for part in read.to_absolute(builder.info.splits)
  )


def _numeric_feature(features, name, dataset):
  """Checks that a TFDS feature holds one or more numbers."""
  if name not in features:
    raise checks.unknown(f"feature of {dataset}", name, features)
  feature = features[name]
  shape, dtype = feature.shape, feature.np_dtype
  if (
    len(shape) > 1
    or None in shape
    or np.dtype(dtype).kind not in "fiub"
    or hasattr(feature, "names")
  ):
    raise checks.InputError(
      f"feature {name!r} of {dataset} is {type(feature).__name__} of shape "
      f"{shape}, not real numbers [T]"
    )
  return name


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


def load_attributes(
  name: str,
  *,
  attributes: Sequence[str] | None = None,
  split: str | None = None,
  data_dir: str | None = None,
) -> tuple[np.ndarray, tuple[str, ...]]:
  """Reads yes-or-no labels: several of each example, without its image.

  Args:
    name: `csv:FILE` (a row of names, then rows of 0 and 1, or of -1 and 1 as
      in CelebA's list), `npz:FILE` (an array `attributes` `[n, A]` of 0 and 1,
      optionally `attribute_names` `[A]`), or the name of a TFDS data set.
    attributes: names of those to read, in order; TFDS features inside others
      are written `attributes/Smiling`. Default: all columns of a file that
      hold nothing else than 0 and 1, all boolean or two-class TFDS features.
    split: TFDS split with slicing (default `train`).
    data_dir: where TFDS data sets are.

  Returns:
    `[n, A]` uint8, each 0 or 1, and the A names.

  Raises:
    InputError: if there is no such data set, split or attribute, no attribute
      or no example at all, or a value that is neither 0 nor 1.
  """
  kind, _, path = name.partition(":")
  if attributes is not None:
    attributes = tuple(dict.fromkeys(attributes))
    if not attributes:
      raise checks.InputError("attributes is empty: leave it out to read all")
  if name == "digits" or kind == "folder":
    raise checks.InputError(
      f"{name} has one label an example, no attributes: they come from "
      "csv:FILE, npz:FILE or a TFDS data set"
    )
  if kind in ("csv", "npz"):
    if data_dir is not None:
      raise checks.InputError(f"data_dir is for TFDS data sets, not for {name}")
    _no_split(name, split)
    read = _csv_attributes if kind == "csv" else _npz_attributes
    values, names = read(os.path.expanduser(path), attributes)
  else:
    values, names = _tfds_attributes(
      name, split or "train", data_dir, attributes
    )
  return binary(values, names=names), tuple(names)


def binary(values: Any, *, names: Sequence[str] | None = None) -> np.ndarray:
  """Returns attributes as `[n, A]` uint8, each 0 or 1.

  Args:
    values: `[n, A]` booleans or numbers.
    names: what error messages call the A attributes; by default, their place.

  Raises:
    InputError: if there are no examples or no attributes, or a value is
      neither 0 nor 1.
  """
  values = checks.as_array("attributes", values)
  if values.ndim != 2:
    raise checks.InputError(
      f"attributes have shape {values.shape}, not [n, A]: one row an example, "
      "one column an attribute"
    )
  if not values.size:
    what = "attributes" if len(values) else "examples"
    raise checks.InputError(f"there are no {what}: the shape is {values.shape}")
  if values.dtype.kind not in "biuf":
    raise checks.InputError(f"attributes are {values.dtype}, not 0 and 1")
  odd = (values != 0) & (values != 1)
  if odd.any():
    row, column = map(int, np.unravel_index(odd.argmax(), odd.shape))
    value = float(values[row, column])
    cause = "has it more than two values?"
    if value == -1:
      cause = "does -1 mean no? Then pass attributes > 0"
    elif np.isnan(value):
      cause = "is it missing?"
    raise checks.InputError(
      f"attribute {column if names is None else names[column]} of example "
      f"{row} is {value:g}, not 0 or 1: {cause}"
    )
  return values.astype(np.uint8)


def _known(names, chosen):
  """Refuses names chosen that are unknown; where none are, chooses all."""
  for name in names if chosen is None else chosen:
    if name not in names:
      inside = [path for path in names if path.endswith(f"/{name}")]
      raise checks.unknown("attribute", name, inside or names)
  return names if chosen is None else chosen


def _unique(path, names):
  for name in names:
    if names.count(name) > 1:
      raise checks.InputError(
        f"{path} names two attributes {name!r}: is the row of names missing?"
      )


def _npz_attributes(path, chosen):
  arrays = checks.read_npz(path)
  if "attributes" not in arrays:
    raise checks.InputError(
      f"{path} has no array 'attributes'; it has {', '.join(arrays) or 'none'}"
    )
  values = arrays["attributes"]
  count = values.shape[1] if values.ndim == 2 else 0
  names = [f"attribute_{i}" for i in range(count)]
  if "attribute_names" in arrays:
    names = arrays["attribute_names"].astype(str).ravel().tolist()
    if count and len(names) != count:
      raise checks.InputError(
        f"{path} has {count} attributes, but {len(names)} attribute_names"
      )
    _unique(path, names)
  if not count:  # of a shape that is refused later
    return values, names
  chosen = _known(names, chosen)
  return values[:, [names.index(name) for name in chosen]], chosen


# What a cell of a CSV file says; a column holds 0 and 1, or -1 and 1.
_CELLS = {
  "0": 0, "0.0": 0, "false": 0, "1": 1, "1.0": 1, "true": 1, "-1": 2, "-1.0": 2,
}  # fmt: skip
_NO_CELL = 3


def _csv_attributes(path, chosen):
  header, table, odd = _read_csv(path)
  zero, _, minus, other = ((table == code).any(axis=0) for code in range(4))
  usable = ~other & ~(zero & minus)
  if chosen is None:
    names = [n for n, good in zip(header, usable, strict=True) if good and n]
    if not names:
      raise checks.InputError(
        f"{path} has no column of 0 and 1, or -1 and 1, of "
        f"{', '.join(header)[:60]}: are there commas between them?"
      )
  else:
    names = _known([name for name in header if name], chosen)
  columns = [header.index(name) for name in names]
  for name, column in zip(names, columns, strict=True):
    if other[column]:
      line, cell = odd[column]
      cause = "has it more than two values" if cell.strip() else "is it missing"
      raise checks.InputError(
        f"{name} in line {line} of {path} is {cell!r}, not 0 or 1: {cause}?"
      )
    if not usable[column]:
      raise checks.InputError(
        f"{name} of {path} is both 0 and -1, not 0 and 1 or -1 and 1: does one "
        "of them mark what is unknown?"
      )
  return table[:, columns] == 1, names


def _read_csv(path):
  """The header, the cells `[n, columns]` as codes, and odd cells.

  These are by column the first one that no code stands for, with its line.
  Cells become codes line by line: as text they would take far more memory.
  """
  if not os.path.isfile(path):
    raise checks.InputError(f"no file at {path}")
  codes = bytearray()
  odd: dict[int, tuple[int, str]] = {}
  try:
    with open(path, encoding="utf-8-sig", newline="") as file:
      reader = csv.reader(file)
      header = [name.strip() for name in next(reader, [])]
      _unique(path, [name for name in header if name])
      for row in reader:
        if not row:
          continue
        if len(row) != len(header):
          raise checks.InputError(
            f"line {reader.line_num} of {path} has {len(row)} values, but "
            f"there are {len(header)} names in line 1"
          )
        new = bytes(_CELLS.get(c.strip().lower(), _NO_CELL) for c in row)
        if _NO_CELL in new:
          for i, code in enumerate(new):
            if code == _NO_CELL:
              odd.setdefault(i, (reader.line_num, row[i]))
        codes += new
  except (OSError, UnicodeDecodeError, csv.Error) as e:
    raise checks.InputError(
      f"cannot read {path} as CSV ({checks.reason(e)})"
    ) from e
  if not codes:
    raise checks.InputError(f"{path} has no examples: no rows below line 1")
  table = np.frombuffer(codes, np.uint8).reshape(-1, len(header))
  return header, table, odd


def _tfds_attributes(name, split, data_dir, chosen):
  import tensorflow_datasets as tfds

  def is_binary(feature):
    if isinstance(feature, tfds.features.ClassLabel):
      return feature.num_classes == 2
    return _is_scalar(feature, "b")

  builder = _tfds_builder(name, data_dir)
  nested = tfds.features.FeaturesDict
  leaves = dict(_leaves(builder.info.features, nested))
  if chosen is None:
    chosen = [path for path, feature in leaves.items() if is_binary(feature)]
    if not chosen:
      raise checks.InputError(
        f"TFDS data set {name!r} has no boolean or two-class features; it has "
        f"{', '.join(leaves)}"
      )
  for path in _known(list(leaves), chosen):
    if not _is_scalar(leaves[path], "biu"):
      what = " ".join(repr(leaves[path]).split())
      raise checks.InputError(
        f"feature {path} of TFDS data set {name!r} is {what}, not one boolean "
        "or integer an example"
      )
  source = _tfds_source(
    builder,
    name,
    split,
    deserialize_method=tfds.decode.DeserializeMethod.RAW_BYTES,
  )
  if not len(source):
    raise checks.InputError(f"data set {name} ({split}) is empty")
  # A dictionary of the chosen features alone: images are not decoded. (TFDS's
  # own PartialDecoding needs TensorFlow.)
  wanted: dict[str, Any] = {}
  for path in chosen:
    *folders, last = path.split("/")
    inside = wanted
    for folder in folders:
      inside = inside.setdefault(folder, {})
    inside[last] = leaves[path]
  features = nested(wanted)

  def read(start):
    stop = min(start + 1024, len(source))
    for record in source.__getitems__(list(range(start, stop))):
      example = features.deserialize_example_np(record)
      found = dict(_leaves(example, dict))
      yield [int(found[path]) for path in chosen]

  starts = range(0, len(source), 1024)
  return np.asarray([row for start in starts for row in read(start)]), chosen


def _leaves(tree, kind, folder=""):
  """Yields what nested dictionaries of a kind hold, each with its path."""
  for key, value in tree.items():
    if isinstance(value, kind):
      yield from _leaves(value, kind, f"{folder}{key}/")
    else:
      yield folder + key, value


def _is_scalar(feature, kinds):
  """Whether a TFDS feature is one number of these kinds, of NumPy's letters."""
  return feature.shape == () and np.dtype(feature.np_dtype).kind in kinds
