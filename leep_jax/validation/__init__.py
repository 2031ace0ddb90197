"""Checks of what a user passes in, made once, before any work.

errors.py   InputError and its subclasses, notes, and words for them
arrays.py   arrays of numbers, images, counts
labels.py   class labels
files.py    files, and npz files as arrays

Everything is used as `validation.NAME`. Whatever is refused is an `InputError`:
one line that names the value, the bound and the likely cause.
"""

from leep_jax.validation.arrays import (
  as_array,
  at_least_1,
  images,
  is_real,
  real_targets,
  rows,
)
from leep_jax.validation.errors import (
  LONGEST,
  DataError,
  InputError,
  InputNote,
  UndefinedScore,
  nearest,
  note,
  one_line,
  reason,
  some,
  unknown,
)
from leep_jax.validation.files import check_file, exists, read_npz
from leep_jax.validation.labels import (
  are_label_sets,
  class_labels,
  label_sets,
  note_unused_classes,
)

__all__ = [
  "DataError", "InputError", "InputNote", "LONGEST", "UndefinedScore",
  "are_label_sets", "as_array", "at_least_1", "check_file", "class_labels",
  "exists", "images", "is_real", "label_sets", "nearest", "note",
  "note_unused_classes", "one_line", "read_npz", "real_targets", "reason",
  "rows", "some", "unknown",
]  # fmt: skip
