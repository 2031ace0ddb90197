"""Columns of tables: their usual names, and labels as they are written."""

from collections.abc import Sequence
import re
from typing import Any, NamedTuple

import numpy as np

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
  if value is None:
    return ""
  if isinstance(value, float) and value.is_integer():
    return str(int(value))
  return str(value).strip()


def labels_of(
  name: str, values: Sequence[str], ignored: Sequence[int]
) -> tuple[np.ndarray, np.ndarray, tuple[str, ...] | None]:
  """Returns numbers of labels that are text, integers or names of classes.

  Args:
    name: of the data set, for a note.
    values: the labels.
    ignored: labels of examples that are left out.

  Returns:
    `[n]` integers; the indices of the examples to keep; and the names of the
    classes, or None if all labels are integers.

  Example:
    >>> from leep_jax.data import columns
    >>> columns.labels_of("mine", ["2", "0"], ())[0], columns.labels_of(
    ...   "mine", ["dog", "cat"], ())[2]
    (array([2, 0]), ('cat', 'dog'))
  """
  if all(_INTEGER.fullmatch(value) for value in values):
    labels = np.asarray(list(map(int, values)))
    return labels, dataset_lib.not_ignored(name, labels, ignored), None
  return arrays.named_labels(name, np.asarray(values), ignored)
