"""The door: what a user hands in is checked here, once, before any work.

Every refusal is an `InputError`, one line that names the value, the bound and
the likely cause.
"""

from collections.abc import Iterable
import difflib
import os
from typing import Any
import warnings

import numpy as np


class InputError(ValueError):
  """Input that cannot be used: one line with the value, bound and cause."""


class UndefinedScore(InputError):
  """Input for which one score has no finite value, though others may."""


class InputNote(UserWarning):
  """What a user should know of input that is used all the same: one line."""


def note(text: str) -> None:
  """Tells the user of something about their input, without refusing it.

  In Python it is a warning of the category `InputNote`; the commands print it
  on standard error, once, as a line that begins with "note:".

  Args:
    text: one line: what was found, how often, and what was done.
  """
  warnings.warn(text, InputNote, stacklevel=2)


def unknown(
  kind: str, name: str, known: Iterable[str], *, cutoff: float = 0.5
) -> InputError:
  """Returns an error for an unknown `name`, with the nearest known names.

  Args:
    kind: what it is a name of.
    name: what was given.
    known: what could have been.
    cutoff: how alike names must be to be shown, 0 to 1.
  """
  known = sorted(known)
  near = difflib.get_close_matches(name, known, n=3, cutoff=cutoff)
  if near:
    hint = f"did you mean {', '.join(near)}?"
  elif len(known) <= 20:
    hint = f"known: {', '.join(known)}"
  else:
    hint = f"{len(known)} names are known, none of them close"
  return InputError(f"unknown {kind} {name[:200]!r}; {hint}")


def reason(error: BaseException) -> str:
  """Returns the first line of what an exception says, or else its type."""
  lines = str(error).strip().splitlines()
  return lines[0] if lines else type(error).__name__


def class_labels(labels: Any, *, num_classes: int | None = None) -> np.ndarray:
  """Returns class labels as `[n]` int32.

  Args:
    labels: `[n]` integers, or floats with integer values.
    num_classes: number of classes they must lie below, if known.

  Raises:
    InputError: if there are none, or they are not one-dimensional, or
      fractional, negative or too large.
  """
  array = as_array("labels", labels)
  if array.ndim != 1:
    hint = ""
    if array.ndim == 2:
      column = array.shape[1] == 1
      hint = "a column? Pass labels.ravel()"
      if not column:
        hint = "one-hot? Pass labels.argmax(axis=1)"
      hint = f": are they {hint}"
    raise InputError(f"labels have shape {array.shape}, not [n]{hint}")
  if not array.size:
    raise InputError("there are no examples: labels are empty")
  if not _is_real(array):
    raise InputError(f"labels are {array.dtype}, not integers")
  if array.dtype.kind not in "iub":
    array = array.astype(np.float64)
    odd = array[~(array == np.floor(array)) | np.isinf(array)]
    if odd.size:
      raise InputError(
        f"labels contain {float(odd[0]):g}, not an integer: is this a "
        "regression target? Pass it as targets"
      )
  low, high = array.min(), array.max()
  if low < 0:
    raise InputError(
      f"labels contain {int(low)}, but classes are counted from 0: does it "
      "mark unlabelled examples?"
    )
  if num_classes is not None:
    at_least_1("num_classes", num_classes)
  bound = np.iinfo(np.int32).max if num_classes is None else num_classes
  if high >= bound:
    raise InputError(
      f"labels contain {int(high)}, but there are {bound} classes (0 to "
      f"{bound - 1}): are they counted from 1?"
    )
  return array.astype(np.int32)


def as_array(name: str, values: Any) -> np.ndarray:
  """Returns a NumPy array, of NumPy's, JAX's, PyTorch's or nested lists.

  Raises:
    InputError: if rows differ in length, or it is no array at all.
  """
  try:
    return np.asarray(values)
  except Exception as e:  # each framework raises its own
    raise InputError(f"{name} cannot be made an array: {reason(e)}") from e


def _is_real(array):
  # JAX's bfloat16 is a float that NumPy does not know as one.
  return array.dtype.kind in "fiub" or array.dtype.name == "bfloat16"


def at_least_1(name: str, value: Any) -> int:
  """Returns a count.

  Raises:
    InputError: if it is not an integer of at least 1.
  """
  if not isinstance(value, (int, np.integer)) or value < 1:
    raise InputError(f"{name} is {value!r}, but must be an integer from 1")
  return int(value)


def images(name: str, array: np.ndarray, *, normalised: bool = False) -> None:
  """Checks the values of images, uint8 or floats in [0, 1].

  Args:
    name: what error messages call them.
    array: images of any shape.
    normalised: whether floats outside [0, 1] are allowed.

  Raises:
    InputError: if they are of another type, not finite, or out of range.
  """
  if not array.size:
    raise InputError(f"{name} have no pixels: their shape is {array.shape}")
  if array.dtype == np.uint8:
    return
  if array.dtype.kind != "f" and array.dtype.name != "bfloat16":
    raise InputError(
      f"{name} are {array.dtype}, not uint8 in 0..255 or floats in [0, 1]"
    )
  low, high = float(array.min(initial=0)), float(array.max(initial=0))
  if not (np.isfinite(low) and np.isfinite(high)):
    raise InputError(f"{name} hold NaN or infinity")
  if not normalised and not (low >= 0 and high <= 1):
    raise InputError(
      f"{name} are floats from {low:g} to {high:g}, not in [0, 1]: divide by "
      "255 or store uint8; or are they normalised already, where the source "
      "does that?"
    )


def real_targets(targets: Any) -> np.ndarray:
  """Returns targets of regression as `[n, T]` float64.

  Args:
    targets: `[n, T]` or `[n]` real numbers.

  Raises:
    InputError: if there are none, or they are of another shape or type, or not
      finite.
  """
  array = as_array("targets", targets)
  if array.ndim == 1:
    array = array[:, None]
  if array.ndim != 2 or not array.shape[1]:
    raise InputError(f"targets have shape {array.shape}, not [n, T] or [n]")
  if not len(array):
    raise InputError("there are no examples: targets are empty")
  if not _is_real(array):
    raise InputError(f"targets are {array.dtype}, not real numbers")
  array = array.astype(np.float64)
  bad = ~np.isfinite(array).all(axis=1)
  if bad.any():
    raise InputError(
      f"targets: {bad.sum()} of {len(array)} rows hold NaN or infinity: do "
      "they mark missing values? Leave those examples out"
    )
  return array


def rows(name: str, array: Any, count: int, what: str) -> np.ndarray:
  """Returns `[n, K]` real numbers with one row per label, not copied.

  Args:
    name: what error messages call the array.
    array: NumPy or JAX array, or nested lists.
    count: number of examples.
    what: what there is one of for each: `labels` or `targets`.

  Raises:
    InputError: if it is not two-dimensional, has no columns, is not of real
      numbers, or its length differs from `count`.
  """
  array = as_array(name, array)
  if array.ndim != 2 or not array.shape[1]:
    raise InputError(f"{name} has shape {array.shape}, not [n, columns]")
  if not _is_real(array):
    raise InputError(f"{name} is {array.dtype}, not real numbers")
  if len(array) != count:
    raise InputError(
      f"{name} has {len(array)} rows, but there are {count} {what}"
    )
  return array


def read_npz(path: str | os.PathLike[str]) -> dict[str, np.ndarray]:
  """Returns all arrays of an npz file, without running pickled code.

  Raises:
    InputError: if the file is missing or is not an npz file.
  """
  path = os.path.expanduser(path)
  if not os.path.isfile(path):
    raise InputError(f"no file at {path}")
  try:
    with np.load(path, allow_pickle=False) as arrays:
      return {key: arrays[key] for key in arrays.files}
  except Exception as e:  # zipfile, OSError, ValueError: all mean the same here
    raise InputError(
      f"cannot read {path} as npz ({reason(e)}): is it damaged, or are there "
      "Python objects in it?"
    ) from e
