"""Columns of tables: their usual names, and labels as they are written."""

from collections.abc import Sequence
import math
import re
from typing import Any, NamedTuple

import numpy as np

from leep_jax import validation
from leep_jax.data import arrays, dataset as dataset_lib

# In lower case; those that come first are taken before others.
TEXTS = (
  "text", "sentence", "review", "content", "comment", "tweet", "utterance",
  "message", "question", "query", "document", "abstract", "body", "title",
)  # fmt: skip
LABELS = (
  "label", "labels", "class", "target", "category", "sentiment", "intent",
  "emotion", "topic", "y", "class_name", "label_name", "species", "diagnosis",
)  # fmt: skip
_REAL = re.compile(r"[+-]?\d*\.\d+([eE][+-]?\d+)?")
_INTEGER = re.compile(r"[+-]?\d{1,18}")


class Columns(NamedTuple):
  """Names of columns that a user states; None for a usual name, or for none.

  Attributes:
    inputs: of texts, files, or contents of files.
    labels: of classes.
    split: of splits.
    groups: of groups of examples that belong together.

  Example:
    >>> from leep_jax.data import columns
    >>> columns.Columns(labels="diagnosis").labels
    'diagnosis'
  """

  inputs: str | None = None
  labels: str | None = None
  split: str | None = None
  groups: str | None = None


UNNAMED = Columns()


def check_one_kind(columns: Columns, target: str | None) -> None:
  """Refuses a column of labels and one of targets at once.

  Args:
    columns: that the user named.
    target: name of a column of real-valued targets.

  Raises:
    InputError: if both are named.

  Example:
    >>> from leep_jax.data import columns
    >>> columns.check_one_kind(columns.Columns(labels="species"), None)
  """
  if columns.labels is not None and target is not None:
    raise validation.InputError(
      f"label_column {columns.labels} and target {target}: choose classes or "
      "real-valued targets"
    )


def usual_text(names: Sequence[str]) -> str | None:
  """Returns the column that is texts by its name; None if there is none.

  Args:
    names: of columns.

  Example:
    >>> from leep_jax.data import columns
    >>> columns.usual_text(["id", "Review"])
    'Review'
  """
  return _first_usual(names, TEXTS)


def usual_label(names: Sequence[str]) -> str | None:
  """Returns the column that is labels by its name; None if there is none.

  Args:
    names: of columns.

  Example:
    >>> from leep_jax.data import columns
    >>> columns.usual_label(["id", "category"])
    'category'
  """
  return _first_usual(names, LABELS)


def _first_usual(names, usual):
  by_lower = {name.lower(): name for name in names}
  return next((by_lower[name] for name in usual if name in by_lower), None)


def as_text(value: Any) -> str:
  """Returns the value of a cell as text; empty if it is missing.

  Args:
    value: of any type.

  Example:
    >>> from leep_jax.data import columns
    >>> columns.as_text(2.0), columns.as_text(" cat"), columns.as_text(None)
    ('2', 'cat', '')
  """
  if value is None or (isinstance(value, float) and math.isnan(value)):
    return ""
  if isinstance(value, float) and value.is_integer():
    return str(int(value))
  return str(value).strip()


class Numbered(NamedTuple):
  """Labels as numbers of classes.

  Attributes:
    labels: `[m]` int32, of the examples that are kept.
    kept: `[m]`, their indices.
    names: of the classes, or None if all labels are integers.
    classes: how many there are.

  Example:
    >>> from leep_jax.data import columns
    >>> columns.numbered("mine", ["1", "0", "1"], ()).classes
    2
  """

  labels: np.ndarray
  kept: np.ndarray
  names: tuple[str, ...] | None
  classes: int


def numbered(
  name: str, values: Sequence[str], ignored: Sequence[int]
) -> Numbered:
  """Returns numbers of labels that are text, integers or names of classes.

  Args:
    name: of the data set, for a note.
    values: `[n]` labels.
    ignored: labels of examples that are left out.

  Raises:
    InputError: if labels are lists, or integers are negative or too large.

  Example:
    >>> from leep_jax.data import columns
    >>> columns.numbered("mine", ["1", "0"], ()).labels.tolist()
    [1, 0]
    >>> columns.numbered("mine", ["dog", "cat"], ()).names
    ('cat', 'dog')
  """
  listed = next((v for v in values if v[:1] == "[" and v[-1:] == "]"), None)
  if listed is not None:
    raise validation.InputError(
      f"labels of {name} are lists, such as {listed[:40]}: sets of labels come "
      "from tables, npz files and Hugging Face data sets"
    )
  names = None
  if all(_INTEGER.fullmatch(value) for value in values):
    labels = np.asarray(list(map(int, values)))
    kept = dataset_lib.not_ignored(name, labels, ignored)
  else:
    labels, kept, names = arrays.named_labels(name, np.asarray(values), ignored)
  # Only now, as labels to ignore, such as -1, would be refused.
  labels = validation.class_labels(labels[kept])
  if names is None:
    validation.note_unused_classes(labels)
  else:
    _note_odd_names(name, names, len(labels))
  return Numbered(
    labels, kept, names, len(names) if names else int(labels.max()) + 1
  )


def _note_odd_names(name, names, count):
  """Notes classes that may be no classes, or one."""
  by_key: dict[str, list[str]] = {}
  for each in names:
    by_key.setdefault(" ".join(each.casefold().split()), []).append(each)
  alike = [" = ".join(map(repr, some)) for some in by_key.values() if some[1:]]
  if alike:
    validation.note(
      f"classes of {name} differ only in case or spaces, and are kept apart: "
      f"{validation.some(alike)}"
    )
  numbers = [each for each in names if _REAL.fullmatch(each)]
  if len(numbers) > max(len(names) / 2, 10):
    validation.note(
      f"{len(numbers):,} labels of {name} are numbers, such as {numbers[0]}, "
      "and taken as classes: for real-valued targets, name their column by "
      "--target"
    )
  elif len(names) == count > 10:
    validation.note(
      f"each of the {count:,} labels of {name} occurs once: are they labels?"
    )


def group_names(name: str, column: str, values: Sequence[Any]) -> np.ndarray:
  """Returns the groups of examples by name, `[n]`.

  Args:
    name: of the data set.
    column: that has them.
    values: `[n]`, numbers or text.

  Raises:
    DataError: if some are missing.

  Example:
    >>> from leep_jax.data import columns
    >>> columns.group_names("mine", "patient", [7, "8", 7]).tolist()
    ['7', '8', '7']
  """
  found = list(map(as_text, values))
  missing = [i for i, value in enumerate(found) if not value]
  if missing:
    raise validation.DataError(
      f"{len(missing):,} of {len(found):,} examples of {name} have no "
      f"{column}, such as example {missing[0]}: give those that belong to no "
      "other a group of their own"
    )
  if len(set(found)) == 1 < len(found):
    validation.note(
      f"all examples of {name} are of one group, {column} {found[0]}: there "
      "are no standard errors"
    )
  return np.asarray(found)
