"""Arrays as data sets: npz files, pairs of npy files, and digits."""

from collections.abc import Sequence
import os
import re
from typing import Any

import numpy as np

from leep_jax import validation
from leep_jax.data import dataset as dataset_lib, images as images_lib

# What files call their arrays, in lower case, most wanted first.
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
  """Returns scikit-learn's digits."""
  import sklearn.datasets

  found = sklearn.datasets.load_digits()
  images = np.round(found.images * (255 / 16)).astype(np.uint8)[..., None]
  return _dataset("digits", "all", images, found.target)


def _parts(name):
  """Which array of which split a name is of, such as ("x", "train")."""
  words = re.split(r"[_\-./ ]+", name.lower())
  if len(words) == 1 and (joined := _JOINED.fullmatch(words[0])):
    words = list(joined.groups())
  splits = [_SPLITS[word] for word in words if word in _SPLITS]
  rest = [w for w in words if w not in _SPLITS and w not in ("set", "orig")]
  return "_".join(rest), splits[0] if splits else ""


def _by_split(names):
  """Names of arrays: of each split, by what they are."""
  found: dict[str, dict[str, str]] = {}
  for name in names:
    what, split = _parts(name)
    found.setdefault(split, {}).setdefault(what, name)
  return found


def splits(names: list[str]) -> list[str]:
  """Returns the splits that hold images, of the names of a file's arrays."""
  return [
    split
    for split, parts in _by_split(names).items()
    if split and any(what in parts for what in _IMAGES)
  ]


def _choose_split(path, names, split):
  """The split to read; "" where there are none."""
  there = splits(names)
  if not there:
    if split not in (None, "all"):
      raise validation.InputError(
        f"npz:{path} has no splits, but split is {split!r}"
      )
    return ""
  if split is None and ("train" in there or len(there) == 1):
    return "train" if "train" in there else there[0]
  wanted = _SPLITS.get((split or "").lower())
  if wanted in there:
    return wanted
  if split is None:
    raise validation.InputError(
      f"{path} has the splits {', '.join(there)}: choose one, as in "
      f"--split={there[0]}"
    )
  raise validation.InputError(
    f"{path} has no split {split!r}; it has {', '.join(there)}"
  )


def load(
  path: str,
  split: str | None,
  target: str | None,
  ignored: Sequence[int],
) -> dataset_lib.Dataset:
  """Opens an npz file with images and labels, or a pair of npy files.

  Args:
    path: `FILE.npz`, or `images.npy` with `labels.npy` beside it (`x_train.npy`
      with `y_train.npy`).
    split: of the file, where the names of its arrays speak of splits.
    target: array of real-valued targets, instead of labels.
    ignored: labels of examples that are left out.

  Raises:
    InputError: if the file cannot be read, or does not hold images and labels.
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
    images, truth = _npy_pair(path)
  else:
    images, truth, part, is_target = _from_npz(path, split, target)
  images = _images(path, images)
  if is_target:
    truth, names = validation.real_targets(truth), None
    kept = np.arange(len(truth))
  else:
    truth, kept, names = _labels(path, truth, len(images), ignored)
  if len(images) != len(truth):
    raise validation.InputError(
      f"{path} has {len(images)} images but {len(truth)} "
      f"{target or ('targets' if is_target else 'labels')}"
    )
  if len(kept) < len(truth):
    images, truth = images[kept], truth[kept]
  if not is_target:
    truth = validation.class_labels(truth)
    if names is None:
      validation.note_unused_classes(truth)
  return _dataset(name, part or "all", images, truth, names)


def _from_npz(path, split, target):
  """Images, labels or targets, the split, and whether they are targets."""
  found: dict[str, Any] = {}
  regression = target is not None

  def choose(names):
    nonlocal regression
    part = _choose_split(path, names, split)
    parts = _by_split(names).get(part, {})
    truth = next((parts[what] for what in _LABELS if what in parts), None)
    if target is not None:
      truth = target if target in names else parts.get(target.lower())
    elif truth is None and "targets" in parts:
      truth, regression = parts["targets"], True
    image = next((parts[what] for what in _IMAGES if what in parts), None)
    for what, name in (("images", image), (target or "labels", truth)):
      if name is None:
        before = f"{part}_" if part else ""
        raise validation.InputError(
          f"{path} has no array {before + what!r}; it has "
          f"{validation.some(names) or 'none'}"
        )
    found.update(images=image, truth=truth, split=part)
    return list(dict.fromkeys((image, truth)))

  arrays = validation.read_npz(path, choose=choose)
  return (
    arrays[found["images"]], arrays[found["truth"]], found["split"], regression
  )  # fmt: skip


def _npy_pair(path):
  """Arrays of a file and of the one with labels beside it."""
  validation.check_file(path)
  folder, name = os.path.split(path)
  stem = os.path.splitext(name)[0]
  beside = [
    re.sub(old, new, stem)
    for old, new in (
      ("images", "labels"), ("image", "label"), ("imgs", "labels"),
      ("data", "labels"), ("data", "target"), (r"^[xX](?=$|[^a-z])", "y"),
    )
  ]  # fmt: skip
  beside = [other for other in beside if other != stem]
  for other in (*beside, "labels", "y"):
    there = os.path.join(folder, f"{other}.npy")
    if other != stem and validation.exists(there, "file"):
      return _npy(path), _npy(there)
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
  """Images as [n, H, W, 1 or 3] uint8 or floats in [0, 1], with notes."""
  if images.ndim == 3:
    images = images[..., None]
  if images.ndim == 4 and images.shape[3] not in (1, 3):
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
  if images.dtype == np.uint16 and images.size and images.max() > 255:
    images = images_lib.to_8_bits(images)
  return validation.images(f"images of {path}", images)


def plain_labels(labels: np.ndarray) -> np.ndarray:
  """Returns labels as an npz file may hold them, as `[n]` integers.

  Args:
    labels: `[n]` or `[n, 1]`, integers or text; text is numbered in the order
      of its letters. Others are returned as they are.
  """
  if labels.ndim == 2 and labels.shape[1] == 1:
    labels = labels.ravel()
  if labels.ndim == 1 and labels.dtype.kind in "US":
    labels = np.unique(labels, return_inverse=True)[1]
  return labels


def _labels(path, labels, count, ignored):
  """Labels `[n]`, the places that are kept, and names of classes, if any."""
  if labels.ndim == 2 and 1 in labels.shape and labels.size == count:
    labels = labels.ravel()
  if labels.ndim != 1 or not labels.size:
    validation.class_labels(labels)  # says what they may be
  if labels.dtype.kind in "US" and labels.size:
    if labels.dtype.kind == "S":
      labels = np.char.decode(labels, "utf-8", "backslashreplace")
    kept = dataset_lib.not_ignored(path, labels, [f"{i}" for i in ignored])
    names = np.unique(labels[kept])
    # Those left out have any place: it is not used.
    labels = np.searchsorted(names, labels).astype(np.int32)
    return labels, kept, tuple(names.tolist())
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


def _dataset(name, split, images, labels, names=None):
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
    version=dataset_lib.digest((images.tobytes(), labels.tobytes())),
    in_memory=True,
  )


def pair(
  path: str, split: str | None, test_split: str | None
) -> tuple[str | None, str | None]:
  """Returns the splits of a file to train and to test on.

  Args:
    path: of the file.
    split: to train on, if it was said.
    test_split: to test on, if it was said.

  Returns:
    Both; the second is None where there is none, and a part of the first is to
    be held out.

  Raises:
    InputError: if it is no file of arrays.
  """
  if not path or path.lower().endswith(".npy"):
    return split, test_split  # refused when it is opened, or one array
  names: list[str] = []

  def choose(there):
    names.extend(there)
    return []

  validation.read_npz(path, choose=choose)
  there = splits(names)
  if not there:
    if test_split is not None:
      raise validation.InputError(
        f"npz:{path} has no splits, but test_split is {test_split!r}"
      )
    return split, None
  if test_split is None:
    test_split = next((part for part in ("test", "val") if part in there), None)
  return split or ("train" if "train" in there else None), test_split
