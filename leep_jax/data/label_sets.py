"""Sets of labels in tables: several columns of 0 and 1, or lists in one."""

from collections.abc import Sequence
import re
from typing import Any

import numpy as np

from leep_jax import validation

_YES = ("1", "true", "yes")
_NO = ("0", "false", "no")
_SEPARATORS = ("|", ";")


def note(name: str, labels: np.ndarray) -> None:
  """Notes that examples have sets of labels, as it was not asked for.

  Args:
    name: of the data set.
    labels: `[n, T]` booleans.

  Example:
    >>> import warnings
    >>> import numpy as np
    >>> from leep_jax.data import label_sets
    >>> with warnings.catch_warnings(record=True) as caught:
    ...   warnings.simplefilter("always")
    ...   label_sets.note("mine", np.array([[True, True], [False, False]]))
    >>> print(caught[0].message)
    mine has 2 labels, of which an example can have any number (multi-label):
    1.0 on average
  """
  validation.note(
    f"{name} has {labels.shape[1]} labels, of which an example can have any "
    f"number (multi-label): {labels.sum(axis=1).mean():.1f} on average"
  )


def of_columns(
  names: Sequence[str], columns: Sequence[Sequence[Any]]
) -> tuple[np.ndarray, tuple[str, ...]]:
  """Returns sets of labels that have a column each, and the labels' names.

  Args:
    names: of T columns.
    columns: their values: 0 or 1, false or true, no or yes.

  Raises:
    DataError: if there are other values.

  Example:
    >>> from leep_jax.data import label_sets
    >>> found, names = label_sets.of_columns(
    ...   ["cat", "dog"], [["1", "0"], ["1", "1"]])
    >>> found.tolist()
    [[True, True], [False, True]]
  """
  found = np.zeros((len(columns[0]), len(names)), bool)
  odd = []
  for t, (name, values) in enumerate(zip(names, columns, strict=True)):
    texts = np.asarray([_text(value).lower() for value in values], object)
    found[:, t] = np.isin(texts, _YES)
    for i in np.flatnonzero(~np.isin(texts, _YES + _NO)).tolist():
      odd.append(f"{name!r} has {_text(values[i])!r}")
  if odd:
    raise validation.DataError(
      "columns of labels hold other values than 0 and 1: "
      f"{validation.some(odd)}"
    )
  return found, tuple(names)


def of_cells(
  cells: Sequence[Any], *, names: Sequence[str] | None = None
) -> tuple[np.ndarray, tuple[str, ...] | None] | None:
  """Returns sets of labels that are in one column, and the labels' names.

  Cells are lists of labels, lists of one 0 or 1 for each label, or texts with
  labels between `|` or `;`. A class may have such a sign in its name: texts are
  sets where labels are fewer than the different cells, as they recur.

  Args:
    cells: `[n]`.
    names: of labels that are numbers from 0.

  Returns:
    `[n, T]` booleans, and names or None; None if cells are no sets.

  Example:
    >>> from leep_jax.data import label_sets
    >>> found, names = label_sets.of_cells(["cat|dog", "dog", "cat"])
    >>> names, found.tolist()
    (('cat', 'dog'), [[True, True], [False, True], [True, False]])
    >>> label_sets.of_cells(["cat; kitty", "dog; puppy"]) is None
    True
  """
  lists = [_listed(cell) for cell in cells]
  if any(each is None for each in lists):
    lists = _separated(cells)
  if lists is None:
    return None
  hot = _hot(lists)
  if hot is not None:
    return hot, tuple(names) if names and len(names) == hot.shape[1] else None
  texts = [[_text(label) for label in each] for each in lists]
  if names is not None:
    texts = [[_named(names, text) for text in each] for each in texts]
    known = list(names)
  else:
    known = sorted({text for each in texts for text in each} - {""}, key=_order)
  at = {label: t for t, label in enumerate(known)}
  found = np.zeros((len(cells), len(known)), bool)
  for i, each in enumerate(texts):
    found[i, [at[text] for text in each if text]] = True
  return found, tuple(known)


def _text(value):
  if isinstance(value, bool | np.bool_):
    return f"{int(value)}"
  if isinstance(value, float) and value.is_integer():
    return f"{int(value)}"
  return "" if value is None else f"{value}".strip()


def _order(text):
  """Numbers in their order, before texts in that of the alphabet."""
  return (0, int(text), "") if re.fullmatch(r"\d{1,18}", text) else (1, 0, text)


def _listed(cell):
  """A list of labels; None if a cell is none."""
  if isinstance(cell, np.ndarray):
    cell = cell.tolist()
  return list(cell) if isinstance(cell, list | tuple) else None


def _separated(cells):
  """Lists of the labels in texts; None if texts are single labels."""
  texts = [cell if isinstance(cell, str) else "" for cell in cells]
  if all(text[:1] == "[" and text[-1:] == "]" for text in texts):
    # As pandas writes lists to csv, and NumPy arrays.
    items = [re.findall(r"[^\s,'\"\[\]][^,'\"\[\]]*", t) for t in texts]
    if not any("," in text for text in texts):
      items = [" ".join(each).split() for each in items]
    return [[part.strip() for part in each] for each in items]
  for separator in _SEPARATORS:
    if not any(separator in text for text in texts):
      continue
    lists = [
      [part.strip() for part in text.split(separator) if part.strip()]
      for text in texts
    ]
    labels = {label for each in lists for label in each}
    if len(labels) < len(set(texts)):
      return lists
  return None


def _hot(lists):
  """`[n, T]` if lists have a 0 or 1 for each label; a set repeats none."""
  lengths = {len(each) for each in lists}
  if len(lengths) != 1 or lengths <= {0, 1}:
    return None
  if all(len(set(map(_text, each))) == len(each) for each in lists):
    return None
  if any(_text(value) not in ("0", "1") for each in lists for value in each):
    return None
  return np.asarray([[_text(v) == "1" for v in each] for each in lists])


def _named(names, text):
  if text.isdigit() and int(text) < len(names):
    return names[int(text)]
  raise validation.DataError(
    f"a set of labels has {text!r}, but there are {len(names)} labels (0 to "
    f"{len(names) - 1})"
  )
