"""Arrays as data sets: npz files, pairs of npy files, and digits."""

from collections.abc import Iterable, Sequence
import os
import re
from typing import Any

import numpy as np

from leep_jax import validation
from leep_jax.data import (
  dataset as dataset_lib,
  images as images_lib,
  label_sets,
)

# Usual names of arrays in lower case, those that are taken first before others.
# `np.savez` calls arrays without a name arr_0, arr_1, ...
_IMAGES = ("images", "image", "imgs", "img", "x", "data", "inputs", "arr_0")
_LABELS = (
  "labels", "label", "y", "target", "classes", "class", "arr_1",
)  # fmt: skip
_SPLITS = {
  "train": "train", "training": "train", "val": "val", "valid": "val",
  "validation": "val", "test": "test", "testing": "test", "extra": "extra",
}  # fmt: skip
_JOINED = re.compile(r"(x|y)(train|val|valid|test)")  # xtrain, yval


def digits() -> dataset_lib.Dataset:
  """Returns scikit-learn's digits: 1,797 images of 8x8 pixels in 10 classes.

  Example:
    >>> from leep_jax.data import arrays
    >>> dataset = arrays.digits()
    >>> len(dataset), dataset.num_classes
    (1797, 10)
  """
  import sklearn.datasets

  found = sklearn.datasets.load_digits()
  # Its pixels are 0 to 16.
  images = np.round(found.images * (255 / 16)).astype(np.uint8)[..., None]
  return _dataset("digits", "all", images, found.target)


def _parts(name):
  """Splits the name of an array in two, such as ("x", "train") for x_train."""
  words = re.split(r"[_\-./ ]+", name.lower())
  if len(words) == 1 and (joined := _JOINED.fullmatch(words[0])):
    words = list(joined.groups())
  splits = [_SPLITS[word] for word in words if word in _SPLITS]
  # Words that say nothing, as in train_set_x_orig.
  rest = [w for w in words if w not in _SPLITS and w not in ("set", "orig")]
  return "_".join(rest), splits[0] if splits else ""


def _by_split(names):
  """Returns the names of arrays by split, and then by what they are."""
  found: dict[str, dict[str, str]] = {}
  for name in names:
    what, split = _parts(name)
    found.setdefault(split, {}).setdefault(what, name)
  return found


def splits(names: Iterable[str]) -> list[str]:
  """Returns the splits of a file that have images.

  Args:
    names: of the arrays of the file.

  Example:
    >>> from leep_jax.data import arrays
    >>> arrays.splits(["x_train", "y_train", "x_test", "y_test"])
    ['train', 'test']
  """
  return [
    split
    for split, parts in _by_split(names).items()
    if split and any(what in parts for what in _IMAGES)
  ]


def _choose_split(path, names, split):
  """Returns the split to read; "" if the file has none."""
  found = splits(names)
  if not found:
    if split not in (None, "all"):
      raise validation.InputError(
        f"npz:{path} has no splits, but split is {split!r}"
      )
    return ""
  if split is None and ("train" in found or len(found) == 1):
    return "train" if "train" in found else found[0]
  wanted = _SPLITS.get((split or "").lower())
  if wanted in found:
    return wanted
  if split is None:
    raise validation.InputError(
      f"{path} has the splits {', '.join(found)}: choose one, as in "
      f"--split={found[0]}"
    )
  raise validation.InputError(
    f"{path} has no split {split!r}; it has {', '.join(found)}"
  )


def load(
  path: str,
  split: str | None,
  target: str | None,
  ignored: Sequence[int],
) -> dataset_lib.Dataset:
  """Opens an npz file with images and labels, or a pair of npy files.

  Args:
    path: `FILE.npz`; or `images.npy` with `labels.npy` in the same folder, or
      `x_train.npy` with `y_train.npy`.
    split: of the file, if the names of its arrays mention splits.
    target: name of an array of real-valued targets, instead of labels.
    ignored: labels of examples that are left out.

  Raises:
    InputError: if the file cannot be read, or has no images and labels.

  Example:
    >>> import pathlib, tempfile
    >>> import numpy as np
    >>> from leep_jax.data import arrays
    >>> with tempfile.TemporaryDirectory() as folder:
    ...   path = pathlib.Path(folder) / "a.npz"
    ...   images = np.arange(32, dtype=np.uint8).reshape(2, 4, 4)
    ...   np.savez(path, images=images, labels=["dog", "cat"])
    ...   dataset = arrays.load(str(path), None, None, ())
    >>> dataset.class_names, dataset.labels(), dataset.image_shape
    (('cat', 'dog'), array([1, 0], dtype=int32), (4, 4, 1))
  """
  name = f"npz:{path}"
  if not path:
    raise validation.InputError("npz: has no path: write npz:FILE")
  path = os.path.expanduser(path)
  part, is_target = "", False
  if path.lower().endswith(".npy"):
    if split not in (None, "all") or target is not None:
      raise validation.InputError(
        f"{path} is one array: it has no splits, and no targets beside it"
      )
    images, labels = _npy_pair(path)
  else:
    images, labels, part, is_target = _from_npz(path, split, target)
  images = _images(path, images)
  if is_target:
    labels, names = validation.real_targets(labels), None
    kept = np.arange(len(labels))
  elif validation.are_label_sets(labels):
    labels, names = validation.label_sets(labels), None
    kept = np.arange(len(labels))
    label_sets.note(path, labels)
  else:
    labels, kept, names = _labels(path, labels, len(images), ignored)
  if len(images) != len(labels):
    raise validation.InputError(
      f"{path} has {len(images)} images but {len(labels)} "
      f"{target or ('targets' if is_target else 'labels')}"
    )
  if len(kept) < len(labels):
    images, labels = images[kept], labels[kept]
  if labels.ndim == 1:
    # Only now, as labels to ignore, such as -1, would be refused.
    labels = validation.class_labels(labels)
    if names is None:
      validation.note_unused_classes(labels)
  return _dataset(name, part or "all", images, labels, names)


def _from_npz(path, split, target):
  """Reads images, labels or targets, the split, and whether it is targets."""
  found: dict[str, Any] = {}
  regression = target is not None

  def choose(names):
    nonlocal regression
    part = _choose_split(path, names, split)
    parts = _by_split(names).get(part, {})
    label = next((parts[what] for what in _LABELS if what in parts), None)
    if target is not None:
      label = target if target in names else parts.get(target.lower())
    elif label is None and "targets" in parts:
      label, regression = parts["targets"], True
    image = next((parts[what] for what in _IMAGES if what in parts), None)
    for what, name in (("images", image), (target or "labels", label)):
      if name is None:
        before = f"{part}_" if part else ""
        raise validation.InputError(
          f"{path} has no array {before + what!r}; it has "
          f"{validation.some(names) or 'none'}"
        )
    found.update(images=image, labels=label, split=part)
    return list(dict.fromkeys((image, label)))

  arrays = validation.read_npz(path, choose=choose)
  return (
    arrays[found["images"]], arrays[found["labels"]], found["split"], regression
  )  # fmt: skip


def _npy_pair(path):
  """Reads an array of images, and its labels in the same folder."""
  validation.check_file(path)
  folder, name = os.path.split(path)
  stem = os.path.splitext(name)[0]
  # The last pattern is an x that stands alone: X.npy and x_train.npy, but not
  # xray.npy.
  beside = [
    re.sub(old, new, stem)
    for old, new in (
      ("images", "labels"), ("image", "label"), ("imgs", "labels"),
      ("data", "labels"), ("data", "target"), (r"^[xX](?=$|[^a-z])", "y"),
    )
  ]  # fmt: skip
  beside = [other for other in beside if other != stem]
  for other in (*beside, "labels", "y"):
    found = os.path.join(folder, f"{other}.npy")
    if other != stem and validation.exists(found, "file"):
      return _npy(path), _npy(found)
  raise validation.InputError(
    f"{path} is one array: put its labels beside it as "
    f"{(*beside, 'labels')[0]}.npy, or write np.savez(FILE, images=..., "
    "labels=...)"
  )


def _npy(path):
  try:
    return np.load(path, allow_pickle=False)
  except Exception as e:  # OSError, ValueError, EOFError
    raise validation.InputError(
      f"cannot read {path} as npy ({validation.reason(e)}): is it damaged, or "
      "does it hold Python objects?"
    ) from e


def _images(path, images):
  """Returns images as `[n, H, W, 1 or 3]`, uint8 or floats in [0, 1]."""
  if images.ndim == 3:
    images = images[..., None]
  if images.ndim == 4 and images.shape[3] not in (1, 3):
    # Channels are first, as in PyTorch; with four, one of them is transparency.
    first = images.shape[1] in (1, 3)
    if first or (images.shape[1] == 4 and images.shape[3] != 4):
      images = np.moveaxis(images, 1, 3)
  if images.ndim != 4 or images.shape[3] not in (1, 3, 4):
    hint = ""
    if images.ndim == 2:
      hint = ": are they flat? Pass images.reshape(n, H, W, C)"
    elif images.ndim == 4 and images.shape[2] in (1, 3):
      hint = ": is n last? Pass np.moveaxis(images, -1, 0)"
    raise validation.InputError(
      f"images of {path} have shape {images.shape}, not [n, H, W] or "
      f"[n, H, W, C] with 1 or 3 channels (4 with transparency){hint}"
    )
  if images.size and images.shape[3] == 4:
    alpha, images = images[..., 3], images[..., :3]
    if alpha.min() < alpha.max():
      validation.note(f"images of {path} have transparency, which is left out")
  if images.dtype.kind in "iub" or images.dtype.kind == "f":
    images_lib.note_unit(path, [images])
  # Integers up to 255 may be 8 bits in a wider type: refused, with advice.
  if images.dtype == np.uint16 and images.size and images.max() > 255:
    images = images_lib.to_8_bits(images)
  return validation.images(f"images of {path}", images)


def plain_labels(labels: np.ndarray) -> np.ndarray:
  """Returns the labels of an npz file as `[n]` integers.

  Args:
    labels: `[n]` or `[n, 1]`, integers or text; text is numbered in
      alphabetical order. Others are returned unchanged.

  Example:
    >>> import numpy as np
    >>> from leep_jax import data
    >>> data.plain_labels(np.array([["dog"], ["cat"], ["dog"]]))
    array([1, 0, 1], dtype=int32)
  """
  if labels.ndim == 2 and labels.shape[1] == 1:
    labels = labels.ravel()
  if labels.ndim == 1 and labels.dtype.kind in "US":
    labels, _ = _numbered(_decoded(labels), np.arange(len(labels)))
  return labels


def _decoded(labels):
  """Returns text labels as str; bytes that are no UTF-8 are escaped."""
  if labels.dtype.kind == "S":
    return np.char.decode(labels, "utf-8", "backslashreplace")
  return labels


def _numbered(labels, kept):
  """Numbers text labels in alphabetical order.

  Args:
    labels: `[n]` text.
    kept: indices of the labels that count; others get any number.

  Returns:
    `[n]` int32, and the names of the classes.
  """
  # Of the examples in use: what is left out is no class.
  names = np.unique(labels[kept])
  return np.searchsorted(names, labels).astype(np.int32), tuple(names.tolist())


def named_labels(
  name: str, labels: np.ndarray, ignored: Sequence[int]
) -> tuple[np.ndarray, np.ndarray, tuple[str, ...]]:
  """Returns numbers of text labels, in alphabetical order of the classes.

  Args:
    name: of the data set, for a note.
    labels: `[n]` text.
    ignored: labels of examples that are left out.

  Returns:
    `[n]` int32, of which those left out have any number; the indices of the
    examples to keep; and the names of the classes.

  Example:
    >>> import numpy as np
    >>> from leep_jax.data import arrays
    >>> arrays.named_labels("mine", np.array(["dog", "cat"]), ())
    (array([1, 0], dtype=int32), array([0, 1]), ('cat', 'dog'))
  """
  # Integers are given to ignore, and texts are compared with them.
  kept = dataset_lib.not_ignored(name, labels, [f"{i}" for i in ignored])
  numbers, names = _numbered(labels, kept)
  return numbers, kept, names


def _labels(path, labels, count, ignored):
  """Returns labels `[n]`, the indices to keep, and names of classes or None."""
  # A column, as in MedMNIST's files, or a row.
  if labels.ndim == 2 and 1 in labels.shape and labels.size == count:
    labels = labels.ravel()
  if labels.ndim != 1 or not labels.size:
    validation.class_labels(labels)  # raises an error that says what they are
  if labels.dtype.kind in "US" and labels.size:
    return named_labels(path, _decoded(labels), ignored)
  kept = dataset_lib.not_ignored(path, labels, ignored)
  if labels.dtype.kind in "iu" and set(np.unique(labels[kept]).tolist()) == {
    0,
    255,
  }:
    raise validation.DataError(
      f"labels of {path} are 0 and 255: are they no and yes? Store labels // "
      "255"
    )
  return labels, kept, None


def _dataset(
  name: str,
  split: str,
  images: np.ndarray,
  labels: np.ndarray,
  names: tuple[str, ...] | None = None,
) -> dataset_lib.Dataset:
  classes = 0
  if labels.dtype.kind in "iu" and labels.size:
    classes = int(labels.max()) + 1
  return dataset_lib.Dataset(
    name=name,
    split=split,
    num_classes=classes if names is None else len(names),
    indices=np.arange(len(images)),
    image_shape=images.shape[1:],
    fetch=lambda i: (images[i], labels[i]),
    class_names=names,
    all_labels=labels,
    # An npz file states no version: its content is one.
    version=dataset_lib.digest((images.tobytes(), labels.tobytes())),
    in_memory=True,
  )


def pair(
  path: str, split: str | None, test_split: str | None
) -> tuple[str | None, str | None]:
  """Returns the splits of a file to train and to test on.

  Args:
    path: of the file.
    split: to train on, if the user named one.
    test_split: to test on, if the user named one.

  Returns:
    Both. The second is None if the file has no test split: a part of the first
    is to be held out.

  Raises:
    InputError: if it is no file of arrays.

  Example:
    >>> import pathlib, tempfile
    >>> import numpy as np
    >>> from leep_jax.data import arrays
    >>> with tempfile.TemporaryDirectory() as folder:
    ...   path = pathlib.Path(folder) / "a.npz"
    ...   np.savez(path, x_train=0, y_train=0, x_test=0, y_test=0)
    ...   arrays.pair(str(path), None, None)
    ('train', 'test')
  """
  # `load` refuses an empty path; an npy file has no splits.
  if not path or path.lower().endswith(".npy"):
    return split, test_split
  names: list[str] = []

  def choose(found):
    # Splits are told by the names of arrays: none is read.
    names.extend(found)
    return []

  validation.read_npz(path, choose=choose)
  found = splits(names)
  if not found:
    if test_split is not None:
      raise validation.InputError(
        f"npz:{path} has no splits, but test_split is {test_split!r}"
      )
    return split, None
  if test_split is None:
    test_split = next((part for part in ("test", "val") if part in found), None)
  return split or ("train" if "train" in found else None), test_split
