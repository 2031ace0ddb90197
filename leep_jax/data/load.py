"""Names to data sets: the table of kinds of data, one row a kind."""

from collections.abc import Callable, Sequence
import dataclasses

import numpy as np

from leep_jax import validation
from leep_jax.data import arrays, dataset as dataset_lib, folders, splits, tfds


@dataclasses.dataclass(frozen=True)
class _Asked:
  """What was asked for: the part of the name behind the colon, and options."""

  path: str
  split: str | None
  data_dir: str | None
  target: str | None
  ignored: Sequence[int]


@dataclasses.dataclass(frozen=True)
class Kind:
  """One kind of data.

  Attributes:
    load: opens a data set.
    pair: `(path, split, test_split) -> splits` to train and to test on; the
      second is None where a part of the first is to be held out.
    has_targets: whether there may be real-valued targets.
    has_integers: whether labels are integers, one of which can be ignored.
    in_data_dir: whether `data_dir` says where it is.
  """

  load: Callable[[_Asked], dataset_lib.Dataset]
  pair: Callable[[str, str | None, str | None], tuple[str | None, str | None]]
  has_targets: bool = False
  has_integers: bool = False
  in_data_dir: bool = False


def _load_digits(asked):
  if asked.split not in (None, "all"):
    raise validation.InputError(
      f"digits has no splits, but split is {asked.split!r}"
    )
  return arrays.digits()


KINDS = {
  "digits": Kind(_load_digits, lambda path, *splits: splits),
  "folder": Kind(lambda a: folders.load(a.path, a.split), folders.pair),
  "npz": Kind(
    lambda a: arrays.load(a.path, a.split, a.target, a.ignored),
    arrays.pair,
    has_targets=True,
    has_integers=True,
  ),
}
_TFDS = Kind(
  lambda a: tfds.load(
    a.path, a.split or "train", a.data_dir, a.target, a.ignored
  ),
  lambda path, split, test_split: (split or "train", test_split or "test"),
  has_targets=True,
  has_integers=True,
  in_data_dir=True,
)


def _kind(name):
  """The kind of data of a name, and what is behind the colon."""
  prefix, colon, path = name.partition(":")
  if name == "digits" or (colon and prefix in KINDS and prefix != "digits"):
    return KINDS[prefix], path
  return _TFDS, name


def load_dataset(
  name: str,
  *,
  split: str | None = None,
  data_dir: str | None = None,
  limit: int | None = None,
  target: str | None = None,
  ignore_label: int | Sequence[int] | None = None,
  skip_bad_images: bool = False,
) -> dataset_lib.Dataset:
  """Opens a labelled image data set by name.

  Args:
    name: `digits` (scikit-learn's, offline), `folder:DIR` (one sub-folder of
      images per class, turned as their EXIF orientation says and brought to 8
      bits), `npz:FILE` (arrays `images` and `labels`, `x_train` and `y_train`,
      or `train_images` and `train_labels`; text labels are classes by name), or
      the name of a TFDS data set.
    split: TFDS split with slicing such as `train[:20%]` (default `train`); for
      a folder, its sub-folder to use, `.` for itself where its classes look
      like splits; for a file, where its arrays have splits (default `train`).
    data_dir: where TFDS data sets are.
    limit: use only this many examples, see `Dataset.take`.
    target: for regression, the name of real-valued targets: an array `[n, T]`
      or `[n]` of an npz file (default `targets` where it has no `labels`), or a
      numeric feature of a TFDS data set.
    ignore_label: labels that mark examples without one, which are left out; a
      note counts them.
    skip_bad_images: whether images that cannot be read are left out, which a
      note names; all are read once to find them. Else the first one to be met
      raises an error that names all of them.

  Returns:
    The data set; images are read when they are asked for.

  Raises:
    InputError: if there is no such data set or split, or it has no images,
      no labels, or no examples.
  """
  dataset = _load(name, split, data_dir, target, _ignored(ignore_label))
  if limit is not None:
    dataset = dataset.take(limit)
  return dataset.without_bad_images() if skip_bad_images else dataset


def _ignored(labels):
  if labels is None:
    return ()
  found = labels if isinstance(labels, (tuple, list)) else (labels,)
  for label in found:
    if isinstance(label, bool) or not isinstance(label, (int, np.integer)):
      raise validation.InputError(
        f"ignore_label is {label!r}, but must be integers"
      )
  return tuple(found)


def _load(name, split, data_dir, target, ignored):
  """The data set, not empty."""
  kind, path = _kind(name)
  if data_dir is not None and not kind.in_data_dir:
    raise validation.InputError(
      f"data_dir is for TFDS data sets, not for {name}"
    )
  if target is not None and not kind.has_targets:
    raise validation.InputError(
      f"{name} has classes, but no real-valued targets {target!r}: those come "
      "from npz files and TFDS data sets"
    )
  if ignored and (not kind.has_integers or target is not None):
    raise validation.InputError(
      f"{name} has no integer labels to ignore, as npz files and TFDS data "
      "sets have"
    )
  dataset = kind.load(_Asked(path, split, data_dir, target, ignored))
  if not len(dataset):
    raise validation.InputError(f"data set {name} ({dataset.split}) is empty")
  return dataset


def load_pair(
  name: str,
  *,
  split: str | None = None,
  test_split: str | None = None,
  data_dir: str | None = None,
  limit: int | None = None,
  test_limit: int | None = None,
  ignore_label: int | Sequence[int] | None = None,
  skip_bad_images: bool = False,
) -> tuple[dataset_lib.Dataset, dataset_lib.Dataset]:
  """Opens a training and a test set, which share no example.

  Args:
    name: as for `load_dataset`.
    split: of the training set; by default `train`, or what a folder or a file
      calls it.
    test_split: of the test set; by default `test`, or `val` of a folder or a
      file. Where there is none, a fifth of each class is held out, always the
      same.
    data_dir: where TFDS data sets are.
    limit: of the training set, see `Dataset.take`.
    test_limit: of the test set.
    ignore_label: as for `load_dataset`.
    skip_bad_images: as for `load_dataset`, of both sets.

  Raises:
    InputError: as `load_dataset` does, or if both share an example.
  """
  kind, path = _kind(name)
  ignored = _ignored(ignore_label)
  split, test_split = kind.pair(path, split, test_split)
  if test_split is not None:
    if split == test_split:
      raise validation.InputError(
        f"split and test_split are both {split}: a model must not be tested on "
        "what it was trained on"
      )
    train, test = (
      _load(name, part, data_dir, None, ignored) for part in (split, test_split)
    )
    _check_apart(train, test)
    train, test = _same_classes(name, train, test)
  else:
    all_of_it = _load(name, split, data_dir, None, ignored)
    places = splits.holdout(all_of_it.labels(), seed=0)
    part = "" if split in (None, "all", ".") else f"{split} "
    train, test = (
      dataclasses.replace(
        all_of_it, split=part + share, indices=all_of_it.indices[chosen]
      )
      for share, chosen in zip(("4/5", "1/5"), places, strict=True)
    )
  if limit is not None:
    train = train.take(limit)
  if test_limit is not None:
    test = test.take(test_limit)
  if skip_bad_images:
    train, test = train.without_bad_images(), test.without_bad_images()
  return train, test


def _same_classes(name, train, test):
  """Both sets, the test set's labels as the training set counts its classes."""
  if train.class_names == test.class_names:
    count = max(train.num_classes, test.num_classes)
    return (dataclasses.replace(d, num_classes=count) for d in (train, test))
  if train.class_names is None or test.class_names is None:
    raise validation.InputError(
      f"{name}: the classes of {train.split} and {test.split} differ: only one "
      "of them has names"
    )
  by_key = {folders.key(c): i for i, c in enumerate(train.class_names)}
  exact = {c: i for i, c in enumerate(train.class_names)}
  places = [exact.get(c, by_key.get(folders.key(c))) for c in test.class_names]
  strange = [
    c
    for c, place in zip(test.class_names, places, strict=True)
    if place is None
  ]
  if strange or len(set(places)) < len(places):
    missing = [c for i, c in enumerate(train.class_names) if i not in places]
    raise validation.InputError(
      f"{name}: the classes of {train.split} and {test.split} differ: "
      f"{validation.some(strange) or 'none'} only in {test.split}, "
      f"{validation.some(missing) or 'none'} only in {train.split}"
    )
  lacks = len(train.class_names) - len(places)
  renamed = [c for c in test.class_names if c not in exact]
  if lacks:
    validation.note(
      f"{test.split} of {name} lacks {lacks} of the {len(train.class_names)} "
      f"classes of {train.split}"
    )
  if renamed:
    validation.note(
      f"classes of {test.split} and {train.split} of {name} are the same but "
      f"for case, spaces or form of Unicode: {validation.some(renamed)}"
    )
  return train, _relabelled(test, np.asarray(places, np.int32), train)


def _relabelled(dataset, places, like):
  """A data set whose class i is class `places[i]` of another."""
  fetch = dataset.fetch

  def renamed(indices):
    images, labels = fetch(indices)
    return images, places[np.asarray(labels)]

  labels = dataset.all_labels
  return dataclasses.replace(
    dataset,
    fetch=renamed,
    num_classes=like.num_classes,
    class_names=like.class_names,
    all_labels=None if labels is None else places[labels],
    version=dataset_lib.digest((dataset.version, places.tobytes())),
  )


def _check_apart(train, test):
  """Refuses TFDS splits that overlap."""
  for name, start, end in train.ranges:
    for other, other_start, other_end in test.ranges:
      first, last = max(start, other_start), min(end, other_end)
      if name == other and first < last:
        raise validation.InputError(
          f"split {train.split} and test_split {test.split} share examples "
          f"{first} to {last - 1} of {name}: a model must not be tested on "
          "what it was trained on"
        )
