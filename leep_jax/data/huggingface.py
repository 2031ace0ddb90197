"""Data sets of the Hugging Face library `datasets`.

hf:OWNER/NAME[:CONFIG]     of the hub
hf:DIR                     saved by save_to_disk, or a folder that it reads
"""

from collections.abc import Sequence
import os
from typing import Any

import numpy as np

from leep_jax import validation
from leep_jax.data import (
  columns as columns_lib,
  dataset as dataset_lib,
  files,
  folders,
  label_sets,
)

# Files of `save_to_disk`.
_SAVED = ("dataset_dict.json", "state.json")
# Examples among which streamed ones are shuffled, as sets are often sorted.
_BUFFER = 10_000


def load(
  name: str,
  split: str | None,
  *,
  target: str | None = None,
  ignored: Sequence[int] = (),
  columns: columns_lib.Columns = columns_lib.UNNAMED,
  first: int | None = None,
) -> dataset_lib.Dataset:
  """Opens a data set of the library `datasets`, memory-mapped.

  Args:
    name: `OWNER/NAME[:CONFIG]` of the hub, or a folder: saved by
      `save_to_disk`, or with files that `datasets.load_dataset` understands,
      such as images with `metadata.csv`.
    split: name of a split; by default the one for training. Of the hub, slices
      such as `train[:20%]` too.
    target: name of a column of real numbers, instead of labels.
    ignored: labels of examples that are left out.
    columns: names of the columns.
    first: stream instead of downloading all: so many examples are read into
      memory, from the beginning, shuffled a buffer at a time.

  Raises:
    InputError: if `datasets` is missing or cannot load it, or there are no
      inputs or no labels.

  Example:
    >>> import leep_jax
    >>> from leep_jax.data import huggingface
    >>> try:
    ...   huggingface.load("", None)
    ... except leep_jax.InputError as error:
    ...   print(error)
    hf: has no path: write hf:OWNER/NAME or hf:DIR
  """
  full = f"hf:{name}"
  columns_lib.check_one_kind(columns, target)
  if first is None:
    chosen, found = _open(name, split)
  else:
    chosen, found = _stream(name, split, first)
  inputs, kind = _inputs(full, found, columns.inputs)
  labels_column = _labels_column(full, found, target or columns.labels)
  if inputs == labels_column:
    raise validation.InputError(
      f"column {inputs!r} of {full} cannot be inputs and labels at once"
    )
  labels, kept, names, classes = _labels(
    full, found, labels_column, ignored, real=target is not None
  )
  column = _undecoded(found, inputs, kind).select(kept)
  read = _reader(full, column, inputs, kind)
  return dataset_lib.Dataset(
    name=full,
    split=chosen,
    num_classes=classes,
    groups=_groups(full, found, columns.groups, kept),
    indices=np.arange(len(kept)),
    image_shape=None,
    fetch=lambda indices, **how: (
      [read(int(i), **how) for i in indices],
      labels[indices],
    ),
    class_names=names,
    all_labels=labels,
    version=dataset_lib.digest(
      (
        # That of examples in memory is drawn anew each time.
        found._fingerprint if first is None else _content(column),
        inputs,
        labels.tobytes(),
        kept.tobytes(),
      )
    ),
    inputs=kind,
    reduces=kind == "image",
    seconds=_seconds(read, len(kept)) if kind == "audio" else 0.0,
  )


def pair(
  name: str, split: str | None, test_split: str | None
) -> tuple[str | None, str | None]:
  """Returns the splits to train and to test on, as `tables.pair`.

  Args:
    name: of the data set.
    split: to train on, if the user named one.
    test_split: to test on, if the user named one.

  Raises:
    InputError: as `load`.

  Example:
    >>> from leep_jax.data import huggingface
    >>> huggingface.pair("owner/name", "train[:80%]", "train[80%:]")
    ('train[:80%]', 'train[80%:]')
  """
  if split is not None and test_split is not None:
    return split, test_split
  return folders.pair_of(_split_names(name), split, test_split)


def _library() -> Any:
  import huggingface_hub

  try:
    import datasets
  except ImportError as e:
    raise validation.InputError(
      f"data sets hf:NAME are read by the library datasets, which is not there "
      f"({validation.reason(e)}): pip install 'leep_jax[hf]'"
    ) from e
  datasets.disable_progress_bars()
  # It would print a line on each attempt to reach the hub; the error says it.
  huggingface_hub.utils.logging.set_verbosity_error()
  return datasets


def _called(name, function, *args, **kwargs):
  """Calls the library; whatever it raises becomes one line."""
  try:
    return function(*args, **kwargs)
  except Exception as e:
    offline = "connection" in f"{type(e).__name__}{e}".lower()
    advice = ": is there no connection?" if offline else ""
    raise validation.InputError(
      f"datasets cannot load hf:{name}: {type(e).__name__}: "
      f"{validation.reason(e)[:200]}{advice}"
    ) from e


def _parts(name):
  """Splits OWNER/NAME:CONFIG; a folder has no configuration."""
  if not name:
    raise validation.InputError(
      "hf: has no path: write hf:OWNER/NAME or hf:DIR"
    )
  path = os.path.expanduser(name)
  if os.path.isdir(path):
    return path, None
  name = name.removeprefix("//").removeprefix("datasets/")  # hf://datasets/...
  repository, _, config = name.partition(":")
  return repository, config or None


def _saved(path):
  return any(os.path.isfile(os.path.join(path, file)) for file in _SAVED)


def _split_names(name):
  datasets = _library()
  path, config = _parts(name)
  if not os.path.isdir(path):
    return _called(name, datasets.get_dataset_split_names, path, config)
  if _saved(path):
    found = _called(name, datasets.load_from_disk, path)
  else:
    found = _called(name, datasets.load_dataset, path)
  return list(found) if isinstance(found, dict) else []


def _open(name, split):
  """Returns the name of the split, and the split itself."""
  datasets = _library()
  path, config = _parts(name)
  if not os.path.isdir(path):
    found = _called(
      name, datasets.load_dataset, path, config, split=split or "train"
    )
    return split or "train", found
  load = datasets.load_from_disk if _saved(path) else datasets.load_dataset
  found = _called(name, load, path)
  if not isinstance(found, dict):  # one split alone
    if split not in (None, "all"):
      raise validation.InputError(
        f"hf:{name} has no splits, but split is {split!r}"
      )
    return "all", found
  names = list(found)
  split = split or folders.with_role(names, "train") or names[0]
  if split not in names:
    raise validation.unknown(f"split of hf:{name}", split, names)
  return split, found[split]


def _stream(name, split, first):
  """Returns the name of the split, and some of its examples."""
  datasets = _library()
  path, config = _parts(name)
  if os.path.isdir(path) and _saved(path):
    raise validation.InputError(
      f"hf:{name} is on this disk, where nothing needs to be streamed"
    )
  split = split or "train"
  stream = _called(
    name, datasets.load_dataset, path, config, split=split, streaming=True
  )

  def examples():
    rows = stream.shuffle(seed=0, buffer_size=_BUFFER).take(first)
    # Files stay as they are: decoded, photos would not fit into memory.
    return list(rows if stream.features is None else rows.decode(False))

  features = stream.features
  rows = _called(name, examples)
  if features is None:  # of a format that states none
    return split, datasets.Dataset.from_list(rows)
  return split, datasets.Dataset.from_list(rows, features=features)


def _inputs(full, found, asked):
  """The name of the column of inputs, and what they are."""
  kinds = {name: _kind(value) for name, value in found.features.items()}
  if asked is not None:
    if not kinds.get(asked):
      raise _no_column(full, kinds, "images, sounds or texts", asked)
    return asked, kinds[asked]
  for wanted in ("image", "audio"):
    for name, kind in kinds.items():
      if kind == wanted:
        return name, kind
  texts = [name for name, kind in kinds.items() if kind == "text"]
  usual = columns_lib.usual_text(texts)
  if usual is None:
    raise _no_column(full, kinds, "images, sounds or texts", None)
  return usual, "text"


def _no_column(full, kinds, what, asked):
  shown = validation.some(map(repr, kinds))
  if asked is not None:
    return validation.InputError(
      f"{full} has no column {asked!r} of {what}; it has {shown}"
    )
  return validation.InputError(
    f"{full} has no column of {what} with a usual name; it has {shown}: name "
    "it by --input_column or --label_column"
  )


def _kind(feature):
  datasets = _library()
  if isinstance(feature, datasets.Image):
    return "image"
  if isinstance(feature, datasets.Audio):
    return "audio"
  is_text = getattr(feature, "dtype", "") in ("string", "large_string")
  return "text" if is_text else ""


def _labels_column(full, found, asked):
  names = list(found.features)
  if asked is not None:
    if asked not in names:
      raise _no_column(full, names, "labels", asked)
    return asked
  datasets = _library()
  classes = [
    name
    for name, value in found.features.items()
    if isinstance(value, datasets.ClassLabel)
  ]
  # Several columns of classes are told apart by their names.
  usual = columns_lib.usual_label(classes) or columns_lib.usual_label(names)
  if usual is None and len(classes) == 1:
    return classes[0]
  if usual is None:
    raise _no_column(full, names, "labels", None)
  return usual


def _labels(full, found, column, ignored, *, real):
  """As `columns.numbered`; for targets, with 0 classes."""
  values = found.with_format(None)[column]
  missing = [i for i, value in enumerate(values) if value is None]
  if missing:
    raise validation.DataError(
      f"{len(missing):,} of {len(found):,} rows of {full} have no {column}: "
      f"rows {validation.some(missing)}"
    )
  everything = np.arange(len(found))
  if real:
    return validation.real_targets(list(values)), everything, None, 0
  feature = found.features[column]
  # Of a list of labels, the feature is that of one of them.
  of_sets = getattr(getattr(feature, "feature", None), "names", None)
  sets = label_sets.of_cells(list(values), names=of_sets)
  if sets is not None:
    label_sets.note(full, sets[0])
    return sets[0], everything, sets[1], 0
  names = getattr(feature, "names", None)
  if names is not None:
    labels = np.asarray(list(values))
    if (labels == -1).all():
      raise validation.DataError(
        f"all labels of {full} are -1: this split has none; choose another"
      )
    kept = dataset_lib.not_ignored(full, labels, ignored)
    labels = validation.class_labels(labels[kept])
    return labels, kept, tuple(names), len(names)
  text = [columns_lib.as_text(value) for value in values]
  return columns_lib.numbered(full, text, ignored)


def _groups(full, found, column, kept):
  if column is None:
    return None
  if column not in found.features:
    raise _no_column(full, list(found.features), "groups", column)
  values = found.with_format(None)[column]
  return columns_lib.group_names(full, column, [values[int(i)] for i in kept])


def _content(rows):
  """A digest of all values."""
  batches = rows.data.table.to_batches()
  return dataset_lib.digest(b.serialize().to_pybytes() for b in batches)


def _undecoded(found, column, kind):
  """The rows, whose files are decoded as those of folders are."""
  datasets = _library()
  found = found.with_format(None).select_columns([column])
  if kind == "image":
    return found.cast_column(column, datasets.Image(decode=False))
  if kind == "audio":
    return found.cast_column(column, datasets.Audio(decode=False))
  return found


def _reader(full, rows, column, kind):
  def read(index, **how):
    value = rows[index][column]
    if kind == "text":
      return "" if value is None else value
    name = f"row {index} of {full}"
    if value is None:
      raise validation.DataError(f"cannot read {name}: it is empty")
    if value.get("bytes") is not None:
      return files.decoder(kind)(value["bytes"], name=name, **how)
    return files.reader(kind)(value["path"], name=name, **how)

  return read


def _seconds(read, count):
  return max(read(i).seconds for i in range(count))
