"""From what a user writes after `--dataset=` to a `Dataset`."""

from collections.abc import Sequence
import dataclasses

import numpy as np

from leep_jax import validation
from leep_jax.data import (
  columns as columns_lib,
  dataset as dataset_lib,
  folders,
  kinds,
  splits,
)


def load_dataset(
  name: str,
  *,
  split: str | None = None,
  data_dir: str | None = None,
  limit: int | None = None,
  target: str | None = None,
  ignore_label: int | Sequence[int] | None = None,
  skip_bad_images: bool = False,
  fast_decoding: bool = False,
  input_column: str | None = None,
  label_column: str | None = None,
  split_column: str | None = None,
  group_column: str | None = None,
  min_box: int | None = None,
  streaming: bool = False,
) -> dataset_lib.Dataset:
  """Opens a labelled data set of images, texts or sounds by name.

  Args:
    name: `digits` (scikit-learn's, offline), `folder:DIR` (one sub-folder of
      images per class, rotated as their EXIF orientation says and converted to
      8 bits; or of sounds), `csv:FILE` (an input and its label in each row of a
      .csv, .tsv, .jsonl or .parquet file: a text, or the name of a file of an
      image or a sound), `hf:NAME` (of the Hugging Face hub, or a folder that
      `datasets` saved), `wds:SHARDS` (WebDataset's tar files), `coco:PATH`
      (boxes of COCO's JSON, each cut out), `masks:DIR` (images and their PNG
      masks, of which patches are cut out), `npz:FILE`
      (arrays `images` and `labels`, `x_train` and `y_train`, or `train_images`
      and `train_labels`; each text label is a class), or the name of a TFDS
      data set. A file needs no prefix.
    split: of a TFDS data set, with slices such as `train[:20%]` (default
      `train`). Of a folder, the sub-folder with the classes, or `.` if the
      folder itself has them but they look like splits. Of a file, a split that
      the names of its arrays mention, or its column of splits has (default
      `train`).
    data_dir: folder with TFDS data sets.
    limit: use only this many examples, see `Dataset.take`.
    target: for regression, the name of real-valued targets: an array `[n, T]`
      or `[n]` of an npz file (default `targets` if it has no `labels`), a
      numeric column of a table, or a numeric feature of a TFDS data set.
    ignore_label: labels that mark examples without a label. These are left out,
      and a note counts them.
    skip_bad_images: whether images that cannot be read are left out, with a
      note. All images are then read an additional time to find them. Otherwise,
      the first such image raises an error that names all of them. The same of
      sounds.
    fast_decoding: whether JPEGs that are far larger than a source needs are
      decoded at a half, a quarter or an eighth of their size. That is about
      twice as fast, and changes images and scores a little: `jpeg.decode`
      states by how much.
    input_column: of a table, the column of files or texts; by default one with
      a usual name, such as `image`, `path`, `file_name`, `text` or `review`.
    label_column: of a table, the column of labels; by default one with a usual
      name, such as `label`, `class`, `target` or `category`. Of examples that
      can have several labels, a column with lists of them or with `|` or `;`
      between them, or `a,b,c`: a column of 0 and 1 for each.
    split_column: of a table, the column of splits; by default one called
      `split`, `subset` or `partition`, if there is one.
    group_column: of a table, the column of groups of examples that depend on
      each other, such as photos of one patient. Standard errors are then those
      of groups, not of examples.
    min_box: of boxes and masks, the shortest side in pixels that is used, see
      `data.coco` and `data.masks` (default 16).
    streaming: of a Hugging Face data set, read `limit` examples without
      downloading all: those of the beginning, which are shuffled a little.

  Returns:
    The data set. Images and sounds are read later, batch by batch.

  Raises:
    InputError: if there is no such data set, split or column, or it has no
      inputs, no labels, or no examples.

  Example:
    >>> import leep_jax
    >>> digits = leep_jax.load_dataset("digits", limit=100)
    >>> len(digits), digits.num_classes, digits.image_shape
    (100, 10, (8, 8, 1))
  """
  kind, path = kinds.of(name)
  request = kinds.Request(
    path,
    split,
    data_dir,
    target,
    ignored=_ignored(ignore_label),
    columns=columns_lib.Columns(
      input_column, label_column, split_column, group_column
    ),
    skips_bad=skip_bad_images,
    min_box=min_box,
    fast=fast_decoding,
    streamed=_streamed(name, kind, limit) if streaming else None,
  )
  dataset = _load(name, kind, request)
  if limit is not None:
    dataset = dataset.take(limit)
  # After `limit`, as it reads all images that are left.
  return dataset.without_bad_images() if skip_bad_images else dataset


def _streamed(name, kind, limit):
  if not kind.can_stream:
    raise validation.InputError(
      f"streaming is for {kinds.having('can_stream')}, not for {name}"
    )
  if limit is None:
    raise validation.InputError(
      f"streaming {name} needs a limit: how many examples to read"
    )
  return validation.at_least_1("limit", limit)


def _ignored(labels):
  if labels is None:
    return ()
  found = labels if isinstance(labels, (tuple, list)) else (labels,)
  for label in found:
    # A bool is an int in Python.
    if isinstance(label, bool) or not isinstance(label, (int, np.integer)):
      raise validation.InputError(
        f"ignore_label is {label!r}, but must be integers"
      )
  return tuple(found)


def _load(
  name: str, kind: kinds.Kind, request: kinds.Request
) -> dataset_lib.Dataset:
  """Opens a data set, and checks that its kind has what was asked for."""
  if request.data_dir is not None and not kind.in_data_dir:
    raise validation.InputError(
      f"data_dir is for {kinds.having('in_data_dir')}, not for {name}"
    )
  if request.target is not None and not kind.has_targets:
    raise validation.InputError(
      f"{name} has classes, but no real-valued targets {request.target!r}: "
      f"those come from {kinds.having('has_targets')}"
    )
  if request.ignored and (not kind.has_integers or request.target is not None):
    raise validation.InputError(
      f"{name} has no integer labels to ignore, as "
      f"{kinds.having('has_integers')} have"
    )
  if any(request.columns) and not kind.has_columns:
    raise validation.InputError(
      "input_column, label_column, split_column and group_column are for "
      f"{kinds.having('has_columns')}, not for {name}"
    )
  if request.min_box is not None:
    validation.at_least_1("min_box", request.min_box)
    if not kind.has_boxes:
      raise validation.InputError(
        f"min_box is for {kinds.having('has_boxes')}, not for {name}"
      )
  dataset = kind.load(request)
  if not len(dataset):
    raise validation.InputError(f"data set {name} ({dataset.split}) is empty")
  if dataset.num_labels and request.ignored:
    raise validation.InputError(
      f"{name} has sets of labels, but no integer labels to ignore"
    )
  if dataset.reduces and not request.fast:
    return dataclasses.replace(dataset, reduces=False)
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
  fast_decoding: bool = False,
  input_column: str | None = None,
  label_column: str | None = None,
  split_column: str | None = None,
  group_column: str | None = None,
  min_box: int | None = None,
) -> tuple[dataset_lib.Dataset, dataset_lib.Dataset]:
  """Opens a training and a test set, which share no example and no image.

  Args:
    name: as for `load_dataset`.
    split: of the training set; by default `train`, or the name that a folder or
      a file has for it.
    test_split: of the test set; by default `test`, or `val` of a folder or a
      file. If there is none, a fifth of each class is held out, always the same
      examples (of boxes and masks, whole images).
    data_dir: folder with TFDS data sets.
    limit: number of training examples, see `Dataset.take`.
    test_limit: number of test examples.
    ignore_label: as for `load_dataset`.
    skip_bad_images: as for `load_dataset`, of both sets.
    fast_decoding: as for `load_dataset`.
    input_column: as for `load_dataset`.
    label_column: as for `load_dataset`.
    split_column: as for `load_dataset`.
    group_column: as for `load_dataset`. No group is in both sets.
    min_box: as for `load_dataset`.

  Raises:
    InputError: as `load_dataset`; or if both sets share an example or a group,
      or examples have sets of labels.

  Example:
    >>> from leep_jax import data
    >>> train, test = data.load_pair("digits")
    >>> (train.split, len(train)), (test.split, len(test))
    (('4/5', 1438), ('1/5', 359))
  """
  kind, path = kinds.of(name)
  request = kinds.Request(
    path,
    split,
    data_dir,
    ignored=_ignored(ignore_label),
    columns=columns_lib.Columns(
      input_column, label_column, split_column, group_column
    ),
    skips_bad=skip_bad_images,
    min_box=min_box,
    fast=fast_decoding,
  )
  split, test_split = kind.pair(request, test_split)
  if test_split is not None:
    if split == test_split:
      raise validation.InputError(
        f"split and test_split are both {split}: a model must not be tested on "
        "what it was trained on"
      )
    train, test = (
      _of_classes(_load(name, kind, dataclasses.replace(request, split=part)))
      for part in (split, test_split)
    )
    _check_disjoint(train, test)
    train, test = _same_classes(name, train, test)
  else:
    both = _load(name, kind, dataclasses.replace(request, split=split))
    _of_classes(both)
    positions = splits.holdout(both.labels(), seed=0, clusters=both.clusters)
    part = "" if split in (None, "all", ".") else f"{split} "
    train, test = (
      dataclasses.replace(
        both, split=part + share, indices=both.indices[chosen]
      )
      for share, chosen in zip(("4/5", "1/5"), positions, strict=True)
    )
  if limit is not None:
    train = train.take(limit)
  if test_limit is not None:
    test = test.take(test_limit)
  if skip_bad_images:
    train, test = train.without_bad_images(), test.without_bad_images()
  return train, test


def given_splits(
  name: str, *, split: str | None = None, split_column: str | None = None
) -> tuple[str | None, str | None]:
  """Returns the names of the splits for training and for testing.

  Args:
    name: as for `load_dataset`.
    split: for training, if the user named one.
    split_column: as for `load_dataset`.

  Returns:
    Both; None where there is none.

  Raises:
    InputError: as `load_dataset`.

  Example:
    >>> from leep_jax.data import load
    >>> load.given_splits("digits")
    (None, None)
  """
  kind, path = kinds.of(name)
  columns = columns_lib.Columns(split=split_column)
  return kind.pair(kinds.Request(path, split, columns=columns), None)


def _of_classes(dataset):
  """Returns the data set; sets of labels are refused."""
  if dataset.num_labels:
    raise validation.InputError(
      f"{dataset.name} has {dataset.num_labels} labels, of which an example "
      "can have any number (multi-label): training and tasks need one class an "
      "example. Scores of such data are those of python -m leep_jax.score"
    )
  return dataset


def _same_classes(name, train, test):
  """Gives the classes of the test set the numbers of the training set.

  Each set was opened on its own, and numbered the classes that it has.
  """
  if train.class_names == test.class_names:
    # Without names, a set has as many classes as its largest label says: one of
    # the two may lack the last.
    count = max(train.num_classes, test.num_classes)
    return (dataclasses.replace(d, num_classes=count) for d in (train, test))
  if train.class_names is None or test.class_names is None:
    raise validation.InputError(
      f"{name}: the classes of {train.split} and {test.split} differ: only one "
      "of them has names"
    )
  by_key = {folders.key(c): i for i, c in enumerate(train.class_names)}
  exact = {c: i for i, c in enumerate(train.class_names)}
  # The same name goes before one that differs in case, spaces or Unicode form.
  numbers = [exact.get(c, by_key.get(folders.key(c))) for c in test.class_names]
  strange = [
    c
    for c, number in zip(test.class_names, numbers, strict=True)
    if number is None
  ]
  if strange or len(set(numbers)) < len(numbers):
    missing = [c for i, c in enumerate(train.class_names) if i not in numbers]
    raise validation.InputError(
      f"{name}: the classes of {train.split} and {test.split} differ: "
      f"{validation.some(strange) or 'none'} only in {test.split}, "
      f"{validation.some(missing) or 'none'} only in {train.split}"
    )
  lacks = len(train.class_names) - len(numbers)
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
  return train, _relabelled(test, np.asarray(numbers, np.int32), train)


def _relabelled(dataset, numbers, like):
  """Returns a data set whose class i becomes class `numbers[i]` of another."""
  fetch = dataset.fetch

  def renamed(indices, **how):
    images, labels = fetch(indices, **how)
    return images, numbers[np.asarray(labels)]

  labels = dataset.all_labels
  return dataclasses.replace(
    dataset,
    fetch=renamed,
    num_classes=like.num_classes,
    class_names=like.class_names,
    all_labels=None if labels is None else numbers[labels],
    # Cached outputs have labels: those with other numbers must not be taken.
    version=dataset_lib.digest((dataset.version, numbers.tobytes())),
  )


def _check_disjoint(train, test):
  """Refuses TFDS splits that overlap, and groups in both sets."""
  if train.groups is not None:
    shared = np.intersect1d(train.groups, test.groups)
    if len(shared):
      raise validation.InputError(
        f"{len(shared):,} groups of {train.name} are in both {train.split} and "
        f"{test.split}: {validation.some(shared)}; a model must not be tested "
        "on groups that it was trained on: repair the splits"
      )
  for name, start, end in train.ranges:
    for other, other_start, other_end in test.ranges:
      first, last = max(start, other_start), min(end, other_end)
      if name == other and first < last:
        raise validation.InputError(
          f"split {train.split} and test_split {test.split} share examples "
          f"{first} to {last - 1} of {name}: a model must not be tested on "
          "what it was trained on"
        )
