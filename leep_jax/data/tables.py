"""Tables of texts and labels, one example a row: csv and tsv files.

Rows are read by Python's own csv module, which keeps line ends inside quoted
texts, and numbers and words such as "NA" as they are written.
"""

from collections.abc import Iterator, Sequence
import contextlib
import csv
import os
import re
import sys

import numpy as np

from leep_jax import validation
from leep_jax.data import arrays, dataset as dataset_lib

# Usual names of columns, in lower case; those that come first are taken before
# others.
_TEXTS = (
  "text", "sentence", "review", "content", "comment", "tweet", "utterance",
  "message", "question", "query", "document", "abstract", "body", "title",
)  # fmt: skip
_LABELS = (
  "label", "labels", "class", "target", "category", "sentiment", "intent",
  "emotion", "topic", "y",
)  # fmt: skip
_SEPARATORS = ",;\t"
# Of a field; by default the csv module refuses texts above 128 KiB.
_LONGEST_FIELD = min(sys.maxsize, (1 << 31) - 1)
_INTEGER = re.compile(r"[+-]?\d{1,18}")


def load(
  path: str,
  split: str | None,
  target: str | None,
  ignored: Sequence[int],
  columns: tuple[str | None, str | None],
) -> dataset_lib.Dataset:
  """Opens a csv or tsv file whose rows are texts with a label.

  Args:
    path: of the file. Its first row names the columns; they are separated by
      the comma, semicolon or tab of which that row has most.
    split: None or `all`: a file has no splits.
    target: name of a column of real-valued targets, instead of labels.
    ignored: labels of examples that are left out.
    columns: names of the columns of texts and of labels; None for the first
      that has a usual name, such as `text` and `label`.

  Raises:
    InputError: if the file cannot be read, it has no such columns, or labels
      are missing.

  Example:
    >>> import pathlib, tempfile
    >>> from leep_jax.data import tables
    >>> with tempfile.TemporaryDirectory() as folder:
    ...   path = pathlib.Path(folder) / "a.csv"
    ...   _ = path.write_text('text,label\\n"Good, really",pos\\nBad,neg\\n')
    ...   dataset = tables.load(str(path), None, None, (), (None, None))
    >>> dataset.class_names, dataset.labels(), dataset.fetch([0])[0]
    (('neg', 'pos'), array([1, 0], dtype=int32), ['Good, really'])
  """
  name = f"csv:{path}"
  if not path:
    raise validation.InputError("csv: has no path: write csv:FILE")
  if split not in (None, "all"):
    raise validation.InputError(f"{name} has no splits, but split is {split!r}")
  path = os.path.expanduser(path)
  texts, values, lines = _columns(path, *columns, target)
  _check_present(path, texts, values, lines)
  if target is not None:
    labels, names = _numbers(path, values, lines), None
  else:
    labels, kept, names = _labels(path, values, ignored)
    if len(kept) < len(labels):
      texts, labels = [texts[i] for i in kept], labels[kept]
    # Only now, as labels to ignore, such as -1, would be refused.
    labels = validation.class_labels(labels)
    if names is None:
      validation.note_unused_classes(labels)
  classes = len(names) if names is not None else 0
  if target is None and names is None:
    classes = int(labels.max()) + 1
  return dataset_lib.Dataset(
    name=name,
    split="all",
    num_classes=classes,
    indices=np.arange(len(texts)),
    image_shape=None,
    fetch=lambda indices: ([texts[i] for i in indices], labels[indices]),
    class_names=names,
    all_labels=labels,
    version=dataset_lib.digest((*texts, labels.tobytes())),
    in_memory=True,
    inputs="text",
  )


def _columns(path, input_column, label_column, target):
  """Returns texts, labels as text, and the lines at which they end."""
  rows = _read(path)
  header = rows[0][1]
  if label_column is not None and target is not None:
    raise validation.InputError(
      f"label_column {label_column} and target {target}: choose classes or "
      "real-valued targets"
    )
  inputs = _find(path, header, input_column, _TEXTS, "texts", "input_column")
  which = _find(
    path, header, target or label_column, _LABELS, "labels", "label_column"
  )
  if inputs == which:
    raise validation.InputError(
      f"column {header[inputs]!r} of {path} cannot be texts and labels at once"
    )
  found = [(row[inputs], row[which].strip(), line) for line, row in rows[1:]]
  if not found:
    raise validation.InputError(f"{path} has no examples: no rows below line 1")
  texts, values, lines = map(list, zip(*found, strict=True))
  return texts, values, lines


def _find(path, header, asked, usual, what, option):
  """Returns the index of the column that is asked for, or has a usual name."""
  if asked is not None:
    if header.count(asked) == 1:
      return header.index(asked)
    if asked in header:
      raise validation.InputError(
        f"{path} has {header.count(asked)} columns {asked!r}: rename them"
      )
    raise validation.InputError(
      f"{path} has no column {asked!r}; it has {_shown(header)}"
    )
  names = [name.lower() for name in header]
  for name in usual:
    if names.count(name) == 1:
      return names.index(name)
  raise validation.InputError(
    f"{path} has no column of {what} with a usual name ({usual[0]}, "
    f"{usual[1]}, ...); its first row is {_shown(header)}: name the column "
    f"by --{option}=NAME, or write a row of names above"
  )


def _shown(header):
  """Returns a few names of columns; those of a text as a header are long."""
  return validation.some(
    repr(name if len(name) < 40 else f"{name[:39]}…") for name in header
  )


def _read(path) -> list[tuple[int, list[str]]]:
  """Returns the rows of a file, each with the number of its last line."""
  validation.check_file(path)
  try:
    # Excel writes a byte order mark, which would be part of the first name.
    with _long_fields(), open(path, encoding="utf-8-sig", newline="") as file:
      head = file.readline()
      separator = max(_SEPARATORS, key=head.count)
      file.seek(0)
      try:
        return list(_rows(path, file, separator, csv.QUOTE_MINIMAL))
      except (csv.Error, validation.InputError):
        if separator != "\t":
          raise
        # Many tsv files have no quoting: a quote in them is a character.
        file.seek(0)
        return list(_rows(path, file, separator, csv.QUOTE_NONE))
  except UnicodeDecodeError as e:
    raise validation.InputError(
      f"cannot read {path} as UTF-8 ({validation.reason(e)}): save it in that "
      "encoding"
    ) from e
  except (OSError, csv.Error) as e:
    raise validation.InputError(
      f"cannot read {path} as a table ({validation.reason(e)}): is a quote not "
      "closed, or not doubled inside a quoted text?"
    ) from e


def _rows(path, file, separator, quoting) -> Iterator[tuple[int, list[str]]]:
  # Strict: a quote that is not closed would hide the lines after it.
  reader = csv.reader(file, delimiter=separator, quoting=quoting, strict=True)
  count = 0
  for row in reader:
    if not row:
      continue
    if not count:
      count, row = len(row), [name.strip() for name in row]
    if len(row) != count:
      raise validation.InputError(
        f"line {reader.line_num} of {path} has {len(row)} values, but there "
        f"are {count} names in line 1: is a text with {separator!r} inside not "
        "quoted?"
      )
    yield reader.line_num, row
  if not count:
    raise validation.InputError(f"{path} is empty")


@contextlib.contextmanager
def _long_fields() -> Iterator[None]:
  """Allows long fields; the csv module has one limit for the process."""
  before = csv.field_size_limit(_LONGEST_FIELD)
  try:
    yield
  finally:
    csv.field_size_limit(before)


def _check_present(path, texts, values, lines):
  """Refuses rows without a label; notes those without a text."""
  missing = [
    line for line, value in zip(lines, values, strict=True) if not value
  ]
  if missing:
    raise validation.DataError(
      f"{len(missing):,} of {len(lines):,} rows of {path} have no label: lines "
      f"{validation.some(missing)}; remove them, or give them one"
    )
  empty = [
    line for line, text in zip(lines, texts, strict=True) if not text.strip()
  ]
  if empty:
    validation.note(
      f"{len(empty):,} of {len(lines):,} texts of {path} are empty, and are "
      f"used all the same: lines {validation.some(empty)}"
    )


def _numbers(path, values, lines):
  """Returns real-valued targets `[n, 1]`."""
  found = []
  for value, line in zip(values, lines, strict=True):
    try:
      found.append(float(value))
    except ValueError as e:
      raise validation.DataError(
        f"line {line} of {path} has the target {value!r}, which is no number"
      ) from e
  return validation.real_targets(found)


def _labels(path, values, ignored):
  """Returns labels `[n]`, the indices to keep, and names of classes or None."""
  if all(_INTEGER.fullmatch(value) for value in values):
    labels = np.asarray(list(map(int, values)))
    return labels, dataset_lib.not_ignored(path, labels, ignored), None
  return arrays.named_labels(path, np.asarray(values), ignored)
