"""Checks of what a user hands in, made once, before any work.

Every refusal is an `InputError`, one line that names the value, the bound and
the likely cause.
"""

from collections.abc import Callable, Iterable, Sequence
import difflib
import os
from typing import Any
import warnings

import numpy as np

from leep_jax import files

LONGEST = 600  # characters of what is said of an input


def one_line(text: str) -> str:
  """Returns text as one line that any terminal can print, cut in the middle.

  Names of files may hold line ends, and bytes that are no text.
  """
  text = "".join(c if c.isprintable() else ascii(c)[1:-1] for c in text)
  if len(text) <= LONGEST:
    return text
  # The end is kept: advice is there.
  return f"{text[: LONGEST // 2]} ... {text[5 - LONGEST // 2 :]}"


class InputError(ValueError):
  """Input that cannot be used: one line with the value, bound and cause."""

  def __init__(self, text: str = ""):
    """Keeps one line, of at most `LONGEST` characters."""
    super().__init__(one_line(text))


class DataError(InputError):
  """A data set that cannot be used, whichever the source model is."""


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
  warnings.warn(one_line(text), InputNote, stacklevel=2)


def some(names: Iterable[object], *, most: int = 3) -> str:
  """Returns the first few names, and how many more there are.

  Example:
    >>> from leep_jax import validation
    >>> validation.some(["a", "b", "c", "d", "e"])
    'a, b, c and 2 more'
  """
  shown = [f"{name}" for name in names]
  if len(shown) <= most + 1:
    return ", ".join(shown)
  return f"{', '.join(shown[:most])} and {len(shown) - most:,} more"


def unknown(
  kind: str, name: str, known: Iterable[str], *, cutoff: float | None = None
) -> InputError:
  """Returns an error for an unknown `name`, with the nearest known names.

  Args:
    kind: what it is a name of.
    name: what was given.
    known: what could have been.
    cutoff: how alike names must be to be shown, 0 to 1; by default, see
      `nearest`.
  """
  known = sorted(known)
  if cutoff is None:
    near = nearest(name, known)
  else:
    near = difflib.get_close_matches(name, known, n=3, cutoff=cutoff)
  if near:
    hint = f"did you mean {', '.join(near)}?"
  elif len(known) <= 20:
    hint = f"known: {', '.join(known)}"
  else:
    hint = f"{len(known)} names are known, none of them close"
  return InputError(f"unknown {kind} {name[:200]!r}; {hint}")


def nearest(name: str, known: Iterable[str]) -> list[str]:
  """Returns at most three known names that `name` may be a slip of.

  They begin with it, or differ from it in a letter or two: names that only
  share some letters are of something else.
  """
  wanted = name.lower()
  cutoff = 0.8 if len(wanted) > 5 else 0.75
  likeness = {
    other: difflib.SequenceMatcher(None, wanted, other.lower()).ratio()
    for other in known
  }
  near = [
    other
    for other, ratio in likeness.items()
    if ratio >= cutoff
    or (len(wanted) >= 3 and other.lower().startswith(wanted))
  ]
  return sorted(near, key=lambda other: -likeness[other])[:3]


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
      fractional, negative or too large, or 255 marks what has no label.
  """
  array = as_array("labels", labels)
  if array.ndim != 1:
    raise DataError(
      f"labels have shape {array.shape}, not [n]{_cause_of_shape(array)}"
    )
  if not array.size:
    raise DataError("there are no examples: labels are empty")
  if not is_real(array):
    hint = ""
    if array.dtype.kind in "USO":
      hint = ": text? Pass np.unique(labels, return_inverse=True)[1]"
    raise DataError(f"labels are {array.dtype}, not integers{hint}")
  if array.dtype.kind not in "iub":
    array = array.astype(np.float64)
    missing = np.isnan(array).sum()
    if missing:
      raise DataError(
        f"labels hold NaN, not an integer, in {missing:,} of {len(array):,} "
        "examples: are they missing? Leave those examples out"
      )
    odd = array[(array != np.floor(array)) | np.isinf(array)]
    if odd.size:
      raise DataError(
        f"labels contain {float(odd[0]):g}, not an integer: is this a "
        "regression target? Pass it as targets"
      )
  _refuse_out_of_range(array, num_classes)
  return array.astype(np.int32)


def tell_unused_classes(labels: np.ndarray) -> None:
  """Notes a label far above all others, which is hardly a class.

  Args:
    labels: `[n]` integers, those of all examples: a batch may lack any class.
  """
  high = int(labels.max())
  others = labels[labels != high]
  if others.size and high > 255 and high > 10 * (int(others.max()) + 1):
    note(
      f"labels contain {high}, and else at most {int(others.max())}: if it "
      f"marks unlabelled examples, leave them out: --ignore_label={high}"
    )


def _cause_of_shape(array):
  """What labels that are not one-dimensional may be, with what to do."""
  if array.ndim > 2:
    return ": one label a pixel? Pass one an example"
  if array.ndim < 2 or not array.size:
    return ""
  if 1 in array.shape:
    what = "column" if array.shape[1] == 1 else "row"
    return f": are they a {what}? Pass labels.ravel()"
  if is_real(array):
    sums = array.astype(np.float64).sum(axis=1)
    if np.all(sums == 1) and np.all((array == 0) | (array == 1)):
      return ": are they one-hot? Pass labels.argmax(axis=1)"
    if np.all(array >= 0) and np.allclose(sums, 1, rtol=0, atol=1e-3):
      return (
        ": are they probabilities of the classes? Pass one class an example, "
        "or all as targets= (regression)"
      )
  return (
    ": several labels an example? Pass one of them, labels[:, 0], or all as "
    "targets= (regression)"
  )


def _refuse_out_of_range(array, num_classes):
  """Refuses labels below 0, above the largest class, or that mean "none"."""
  low, high = int(array.min()), int(array.max())
  if low < 0:
    found = np.unique(array)
    if found.tolist() == [-1, 1]:
      raise DataError(
        "labels contain -1, and else 1: are they no and yes? Pass labels > 0"
      )
    raise DataError(
      f"labels contain {low}, but classes are counted from 0: "
      f"{_ignored(array, found[found < 0].astype(int))}"
    )
  if num_classes is not None:
    at_least_1("num_classes", num_classes)
  bound = np.iinfo(np.int32).max if num_classes is None else num_classes
  top = np.iinfo(array.dtype).max if array.dtype.kind in "iu" else 0
  if num_classes is None and high == top and top > 255:
    others = array[array != high]
    if others.size and int(others.max()) < top // 2:
      raise DataError(
        f"labels contain {high}, the largest {array.dtype}, and else at most "
        f"{int(others.max())}: {_ignored(array, [high])}"
      )
  others = array[array != 255]
  next_highest = int(others.max()) if others.size else -1
  if high == 255 and (
    next_highest < bound <= 255
    if num_classes is not None
    # Among all classes from 0 up to far below, it is no class.
    else 1 <= next_highest < 240 and len(np.unique(others)) > next_highest
  ):
    raise DataError(
      f"labels contain 255, and else 0 to {next_highest}: "
      f"{_ignored(array, [255])}"
    )
  if high >= bound:
    hint = ": are they counted from 1?" if high == bound else ""
    raise DataError(
      f"labels contain {high}, but there are {bound} classes (0 to "
      f"{bound - 1}){hint}"
    )


def _ignored(array, values):
  """What to do about labels that mark examples without one."""
  count = np.isin(array, values).sum()
  shown = ",".join(f"{int(value)}" for value in values[:3])
  return (
    f"does it mark unlabelled examples, {count:,} of {len(array):,}? Leave "
    f"them out: --ignore_label={shown}"
  )


def as_array(name: str, values: Any) -> np.ndarray:
  """Returns a NumPy array, of NumPy's, JAX's, PyTorch's or nested lists.

  Raises:
    InputError: if rows differ in length, or it is no array at all.
  """
  try:
    return np.asarray(values)
  except Exception as e:  # each framework raises its own
    raise InputError(f"{name} cannot be made an array: {reason(e)}") from e


def is_real(array: np.ndarray) -> bool:
  """Returns whether an array holds real numbers or booleans."""
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


def images(
  name: str, array: np.ndarray, *, normalised: bool = False
) -> np.ndarray:
  """Checks the values of images, uint8 or floats in [0, 1].

  Args:
    name: what error messages call them.
    array: images of any shape.
    normalised: whether floats outside [0, 1] are allowed.

  Returns:
    The images; floats that leave [0, 1] by rounding only are clipped.

  Raises:
    InputError: if they are of another type, not finite, or out of range.
  """
  if not array.size:
    raise InputError(f"{name} have no pixels: their shape is {array.shape}")
  if array.dtype == np.uint8:
    return array
  if array.dtype.kind in "iub":
    raise InputError(
      f"{name} are {array.dtype}, not uint8 in 0..255 or floats in [0, 1], "
      f"and from {int(array.min())} to {int(array.max())}: "
      f"{_unit_of_integers(int(array.min()), int(array.max()))}"
    )
  if array.dtype.kind != "f" and array.dtype.name != "bfloat16":
    raise InputError(
      f"{name} are {array.dtype}, not uint8 in 0..255 or floats in [0, 1]"
    )
  low, high = float(array.min()), float(array.max())
  if not (np.isfinite(low) and np.isfinite(high)):
    raise InputError(f"{name} hold NaN or infinity")
  if normalised or (low >= 0 and high <= 1):
    return array
  # One step of the type above 1, or what arithmetic in float32 leaves.
  rounding = {"float16": 2e-3, "bfloat16": 2e-2}.get(array.dtype.name, 1e-6)
  if low >= -rounding and high <= 1 + rounding:
    return np.clip(array, 0, 1)
  raise InputError(
    f"{name} are floats from {low:.9g} to {high:.9g}, not in [0, 1]: "
    f"{_unit_of_floats(low, high)}"
  )


def _unit_of_integers(low, high):
  """What integers that are no uint8 may count, with what to do."""
  if low >= 0 and high <= 1:
    return "is 1 white? Pass images.astype(np.uint8) * np.uint8(255)"
  if low < 0:
    return "which value is black, and which white? Bring them to 0..255"
  for bits, top in ((8, 255), (10, 1023), (12, 4095), (14, 16383), (16, 65535)):
    if high <= top:
      what = "images" if bits == 8 else f"(images // {1 << (bits - 8)})"
      return f"{bits} bits? Pass {what}.astype(np.uint8)"
  return "which value is white? Bring them to 0..255"


def _unit_of_floats(low, high):
  """In which unit floats outside [0, 1] may be, with what to do."""
  if -0.5 <= low < -0.25 and high <= 0.5:
    return "are they less 0.5? Pass images + 0.5"
  if low >= -0.5 and high <= 1.5:
    return "clip to [0, 1], as by images.clip(0, 1)"
  if -1.01 <= low < 0 and high <= 1.01:
    return "are they in [-1, 1]? Pass (images + 1) / 2"
  if low >= 0 and high > 255.5:
    top = next((x for x in (1023, 4095, 16383, 65535) if high <= x), None)
    if top is not None:
      return f"divide by the largest value there can be, {top}?"
    return "divide by the largest value there can be"
  if high > 16 and low >= -64 and high <= 320:
    clipped = "" if low >= 0 and high <= 255.5 else "clip to 0..255 and "
    return f"{clipped}divide by 255 or store uint8"
  return (
    "are they normalised already, where the source does that? Pass them as "
    "they were before"
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
  if not is_real(array):
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
  if not is_real(array):
    raise InputError(f"{name} is {array.dtype}, not real numbers")
  if len(array) != count:
    raise InputError(
      f"{name} has {len(array)} rows, but there are {count} {what}"
    )
  return array


def read_npz(
  path: str | os.PathLike[str],
  *,
  choose: Callable[[list[str]], Sequence[str]] | None = None,
) -> dict[str, np.ndarray]:
  """Returns arrays of an npz file, without running pickled code.

  Args:
    path: of the file.
    choose: given the names of all arrays, returns those to read; default all.

  Raises:
    InputError: if the file is missing or is not an npz file, or one of the
      arrays cannot be read.
  """
  path = os.path.expanduser(path)
  check_file(path)
  try:
    file = open(path, "rb")
  except OSError as e:
    raise InputError(f"cannot read {path}: {e.strerror}") from e
  with file:
    try:
      arrays = np.load(file, allow_pickle=False)
    except Exception as e:  # zipfile, OSError, ValueError: all mean the same
      raise InputError(f"cannot read {path} as npz: {_no_npz(path, e)}") from e
    if isinstance(arrays, np.ndarray):
      raise InputError(
        f"{path} holds one array {arrays.shape}, no npz file of named ones: "
        "write np.savez(FILE, images=..., labels=...)"
      )
    with arrays:
      names = list(arrays.files)
      names = names if choose is None else list(choose(names))
      return {name: _array(arrays, path, name) for name in names}


def check_file(path: str) -> None:
  """Checks that there is a file.

  Raises:
    InputError: if there is none, or it is a folder.
  """
  if exists(path, "dir"):
    raise InputError(f"{path} is a folder, not a file")
  if not exists(path, "file"):
    raise InputError(f"no file at {path}")


def exists(path: str | os.PathLike[str], kind: str) -> bool:
  """Returns whether there is a `file` or a `dir`; a name may be anything."""
  try:
    return os.path.isfile(path) if kind == "file" else os.path.isdir(path)
  except ValueError:  # a character of value 0 in it
    return False


def _array(arrays, path, name):
  """One array of an open npz file."""
  try:
    found = arrays[name]
  except Exception as e:
    if "allow_pickle" in f"{e}":
      raise InputError(
        f"array {name!r} of {path} holds Python objects, which are not read: "
        "is it text? Save it .astype(str); lists of arrays, of one shape"
      ) from e
    raise InputError(
      f"cannot read array {name!r} of {path} ({reason(e)}): is it damaged?"
    ) from e
  if not isinstance(found, np.ndarray):  # bytes of a member that is no array
    raise InputError(f"{name!r} of {path} is no array: is it another archive?")
  return found


def _no_npz(path, error):
  """Why a file is no npz file."""
  try:
    with open(path, "rb") as file:
      kind = files.kind(file.read(512))
  except OSError as e:
    return e.strerror or f"{e}"
  if kind is not None and not kind.startswith("a zip"):
    return f"it is {kind}"
  return f"{reason(error)}; is it damaged?"
