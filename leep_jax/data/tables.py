"""Tables: inputs, labels, splits and groups as columns, one example a row.

Inputs are texts, names of files of images or sounds beside the table, or, in
Parquet files, the content of such files.
"""

from collections.abc import Callable, Sequence
import os
from typing import Any

import numpy as np

from leep_jax import validation
from leep_jax.data import (
  audio,
  columns as columns_lib,
  dataset as dataset_lib,
  files as files_lib,
  folders,
  images,
  label_sets,
  table_files,
)

# Usual names of columns, in lower case; those that come first are taken before
# others. Such a column has the inputs if its values are files.
_FILES = (
  "image", "image_path", "img", "img_path", "audio", "sound", "path", "file",
  "file_name", "filename", "filepath", "file_path", "image_name", "image_file",
  "image_id", "img_id", "id_code", "images", "paths", "files",
)  # fmt: skip
_SPLITS = ("split", "subset", "partition")
# How many values of a column are looked at to see what they are.
_SAMPLED = 50


def load(
  path: str,
  split: str | None,
  *,
  target: str | None = None,
  ignored: Sequence[int] = (),
  columns: columns_lib.Columns = columns_lib.UNNAMED,
  skips_bad: bool = False,
) -> dataset_lib.Dataset:
  """Opens a table with an input and its label in each row.

  Args:
    path: of a csv, tsv, JSON lines or Parquet file, see `table_files.read`.
    split: value of the column of splits; `all` for all rows. By default the one
      that is for training by its name, and all rows without such a column.
    target: name of a column of real-valued targets, instead of labels.
    ignored: labels of examples that are left out.
    columns: names of the columns.
    skips_bad: whether files may be missing, which are left out later.

  Raises:
    InputError: if the file cannot be read, it has no such columns, or labels or
      files are missing.

  Example:
    >>> import pathlib, tempfile
    >>> from leep_jax.data import tables
    >>> with tempfile.TemporaryDirectory() as folder:
    ...   path = pathlib.Path(folder) / "a.csv"
    ...   _ = path.write_text('text,label\\n"Good, really",pos\\nBad,neg\\n')
    ...   dataset = tables.load(str(path), None)
    >>> dataset.class_names, dataset.labels(), dataset.fetch([0])[0]
    (('neg', 'pos'), array([1, 0], dtype=int32), ['Good, really'])
  """
  name = f"csv:{path}"
  table = _open(path)
  found = files_lib.Finder(table.path)
  inputs, kind, which = _inputs_and_labels(table, found, columns, target)
  chosen, rows = _rows_of_split(table, columns.split, split)
  raw = table.column(which[0])
  values = [columns_lib.as_text(raw[i]) for i in rows]
  _check_labels(table, rows, values)
  sets = None if target is not None else _label_sets(table, rows, which, raw)
  if target is not None:
    labels, names, classes = _numbers(table, rows, values), None, 0
  elif sets is not None:
    (labels, names), classes = sets, 0
  else:
    labels, kept, names, classes = columns_lib.numbered(path, values, ignored)
    rows = rows[kept]
  about = {
    "split": chosen, "num_classes": classes, "class_names": names,
    "groups": _groups(table, rows, columns.groups),
  }  # fmt: skip
  column = table.column(inputs)
  cells = [_path_of(column[i]) for i in rows]
  if kind == "text":
    return _of_texts(name, table, rows, cells, labels, about)
  if any(isinstance(cell, bytes | dict) for cell in cells):
    return _of_contents(name, table, rows, cells, labels, about, kind)
  shown = list(map(columns_lib.as_text, cells))
  paths = found.paths(
    shown,
    where=lambda missing: table.where([rows[i] for i in missing]),
    skips_bad=skips_bad,
  )
  return files_lib.dataset(
    name, paths, labels, shown=shown, inputs=kind, **about
  )


def pair(
  path: str,
  split: str | None,
  test_split: str | None,
  *,
  columns: columns_lib.Columns = columns_lib.UNNAMED,
) -> tuple[str | None, str | None]:
  """Returns the splits of a table to train and to test on.

  Args:
    path: of the file.
    split: to train on, if the user named one.
    test_split: to test on, if the user named one.
    columns: names of the columns.

  Returns:
    Both. The second is None if there is no test split: a part of the first is
    to be held out.

  Raises:
    InputError: if the file cannot be read.

  Example:
    >>> import pathlib, tempfile
    >>> from leep_jax.data import tables
    >>> with tempfile.TemporaryDirectory() as folder:
    ...   path = pathlib.Path(folder) / "a.csv"
    ...   _ = path.write_text("text,label,split\\na,0,train\\nb,1,valid\\n")
    ...   tables.pair(str(path), None, None)
    ('train', 'valid')
  """
  table = _open(path)
  index = _split_column(table, columns.split)
  if index is None:
    return split, test_split
  names = list(dict.fromkeys(map(columns_lib.as_text, table.column(index))))
  return folders.pair_of(names, split, test_split)


def _path_of(cell):
  """The path where a cell of the library datasets has it and no content."""
  if isinstance(cell, dict) and cell.get("bytes") is None and cell.get("path"):
    return cell["path"]
  return cell


def _open(path):
  if not path:
    raise validation.InputError("csv: has no path: write csv:FILE")
  return table_files.read(os.path.expanduser(path))


def _inputs_and_labels(table, found, columns, target):
  """Returns the column of inputs, what it holds, and the columns of labels."""
  columns_lib.check_one_kind(columns, target)
  kinds: dict[int, str] = {}

  def has_files(index):
    kinds[index] = _kind(table.column(index), found)
    return kinds[index] != "text"

  if columns.inputs is not None:
    inputs = _named(table, columns.inputs)
    has_files(inputs)
  else:
    inputs = _usual(table, _FILES, has_files)
    if inputs is None:
      inputs = _usual(table, columns_lib.TEXTS)
  if inputs is None:
    raise _no_column(table, "texts or files", ("text", "image"), "input_column")
  asked = target or columns.labels
  labels = [_usual(table, columns_lib.LABELS)]
  if asked is None:
    _note_other_labels(table, labels[0], inputs)
  else:
    several = asked not in table.names and "," in asked and target is None
    parts = asked.split(",") if several else [asked]
    labels = [_named(table, part.strip()) for part in parts]
  if labels[0] is None:
    raise _no_column(table, "labels", columns_lib.LABELS, "label_column")
  if inputs in labels:
    raise validation.InputError(
      f"column {table.names[inputs]!r} of {table.path} cannot be inputs and "
      "labels at once"
    )
  return inputs, kinds.get(inputs, "text"), labels


def _note_other_labels(table, chosen, inputs):
  """Notes further columns whose names are those of labels."""
  others = [
    name
    for index, name in enumerate(table.names)
    if name.lower() in columns_lib.LABELS and index not in (chosen, inputs)
  ]
  if chosen is not None and others:
    validation.note(
      f"labels of {table.path} are those of column {table.names[chosen]!r}; "
      f"--label_column names another, such as {validation.some(others)}"
    )


def _named(table, name):
  """Returns the index of a column that the user named."""
  count = table.names.count(name)
  if count == 1:
    return table.names.index(name)
  if count:
    raise validation.InputError(
      f"{table.path} has {count} columns {name!r}: rename them"
    )
  raise validation.InputError(
    f"{table.path} has no column {name!r}; it has {_shown(table.names)}"
  )


def _usual(table, usual, fits: Callable[[int], bool] | None = None):
  """Returns the index of the first column of a usual name; None if none."""
  names = [name.lower() for name in table.names]
  for name in usual:
    if names.count(name) == 1:
      index = names.index(name)
      if fits is None or fits(index):
        return index
  return None


def _no_column(table, what, usual, option):
  return validation.InputError(
    f"{table.path} has no column of {what} with a usual name ({usual[0]}, "
    f"{usual[1]}, ...); its first row is {_shown(table.names)}: name the "
    f"column by --{option}=NAME, or write a row of names above"
  )


def _shown(header):
  """Returns a few names of columns; those of a text as a header are long."""
  return validation.some(
    repr(name if len(name) < 40 else f"{name[:39]}…") for name in header
  )


def _kind(values, found):
  """What the values of a column are: `image`, `audio` or `text`."""
  sample = [value for value in values[:_SAMPLED] if value not in (None, "")]
  kinds = set()
  for value in sample:
    if isinstance(value, bytes):
      kinds.add("image")
      continue
    if isinstance(value, dict):  # as the library datasets writes files
      name = f"{value.get('path') or ''}".lower()
      sound = os.path.splitext(name)[1] in audio.SUFFIXES
      kinds.add("audio" if sound or "sampling_rate" in value else "image")
      continue
    suffix = os.path.splitext(f"{value}")[1].lower()
    if suffix not in audio.SUFFIXES | images.SUFFIXES:
      # Ids of images often lack the suffix; texts have spaces.
      path = None if " " in f"{value}".strip() else found.path(f"{value}")
      suffix = os.path.splitext(path or "")[1].lower()
    if suffix in audio.SUFFIXES:
      kinds.add("audio")
    else:
      kinds.add("image" if suffix in images.SUFFIXES else "text")
  return kinds.pop() if len(kinds) == 1 else "text"


def _split_column(table, asked):
  if asked is not None:
    return _named(table, asked)
  return _usual(table, _SPLITS)


def _rows_of_split(table, asked, split):
  """Returns the name of the split, and the indices of its rows."""
  everything = np.arange(len(table))
  index = _split_column(table, asked)
  if index is None:
    if split in (None, "all"):
      return "all", everything
    raise validation.InputError(
      f"csv:{table.path} has no splits, but split is {split!r}: name the "
      "column of splits by --split_column=NAME"
    )
  values = [columns_lib.as_text(value) for value in table.column(index)]
  names = list(dict.fromkeys(values))
  if split is None:
    split = folders.with_role(names, "train")
    if split is None:
      validation.note(
        f"no split of {table.path} is for training by its name "
        f"({validation.some(names)}): all rows are used"
      )
      split = "all"
  if split == "all" and split not in names:
    return "all", everything
  if split not in names:
    raise validation.unknown(f"split of {table.path}", split, names)
  same = [name for name in names if name.casefold() == split.casefold()]
  if len(same) > 1:
    validation.note(
      f"splits {validation.some(map(repr, same))} of {table.path} differ only "
      "in case, and are taken as one"
    )
  return split, np.flatnonzero(np.isin(np.asarray(values, object), same))


def _groups(table, rows, asked):
  if asked is None:
    return None
  values = table.column(_named(table, asked))
  return columns_lib.group_names(table.path, asked, [values[i] for i in rows])


def _check_labels(table, rows, values):
  missing = [i for i, value in zip(rows, values, strict=True) if not value]
  if missing:
    raise validation.DataError(
      f"{len(missing):,} of {len(rows):,} rows of {table.path} have no label: "
      f"{table.where(missing)}; remove them, or give them one"
    )


def _label_sets(table, rows, columns, first):
  """Returns sets of labels and their names; None if a row has one class."""
  if len(columns) > 1:
    cells = [first, *(table.column(index) for index in columns[1:])]
    return label_sets.of_columns(
      [table.names[index] for index in columns],
      [[column[i] for i in rows] for column in cells],
    )
  found = label_sets.of_cells([first[i] for i in rows])
  if found is not None:
    label_sets.note(table.path, found[0])
  return found


def _numbers(table, rows, values):
  """Returns real-valued targets `[n, 1]`."""
  found, bad = [], []
  for i, value in zip(rows, values, strict=True):
    try:
      found.append(float(value))
    except ValueError:
      bad.append((i, value))
  if bad:
    where = table.where([i for i, _ in bad])
    raise validation.DataError(
      f"{len(bad):,} of {len(rows):,} targets of {table.path} are no numbers, "
      f"such as {bad[0][1]!r}: {where}"
    )
  return validation.real_targets(found)


def _of_texts(name, table, rows, cells, labels, about):
  texts = ["" if cell is None else f"{cell}" for cell in cells]
  empty = [i for i, t in zip(rows, texts, strict=True) if not t.strip()]
  if empty:
    validation.note(
      f"{len(empty):,} of {len(rows):,} texts of {table.path} are empty, and "
      f"are used all the same: {table.where(empty)}"
    )
  return dataset_lib.Dataset(
    name=name,
    indices=np.arange(len(texts)),
    image_shape=None,
    fetch=lambda indices: ([texts[i] for i in indices], labels[indices]),
    all_labels=labels,
    version=dataset_lib.digest((*texts, labels.tobytes())),
    in_memory=True,
    inputs="text",
    **about,
  )


def _of_contents(name, table, rows, cells, labels, about, kind):
  """A data set of files whose content is in the table."""
  contents: list[Any] = [
    cell.get("bytes") if isinstance(cell, dict) else cell for cell in cells
  ]
  missing = [
    i for i, c in zip(rows, contents, strict=True) if not isinstance(c, bytes)
  ]
  if missing:
    raise validation.DataError(
      f"{len(missing):,} of {len(rows):,} rows of {table.path} have no content "
      f"of a file: {table.where(missing)}"
    )
  decode = files_lib.decoder(kind)
  places = [f"{table.unit} {table.places[i]}" for i in rows]
  shown = [f"{place} of {table.path}" for place in places]
  seconds = 0.0
  if kind == "audio":
    seconds = max(map(audio.seconds, contents))
  return dataset_lib.Dataset(
    name=name,
    indices=np.arange(len(contents)),
    image_shape=None,
    fetch=lambda indices, **how: (
      [decode(contents[i], name=shown[i], **how) for i in indices],
      labels[indices],
    ),
    all_labels=labels,
    version=dataset_lib.digest((*contents, labels.tobytes())),
    inputs=kind,
    reduces=kind == "image",
    seconds=seconds,
    **about,
  )
