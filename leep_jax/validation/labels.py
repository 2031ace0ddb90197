"""Checks of class labels."""

import numpy as np
from numpy import typing as npt

from leep_jax.validation import arrays, errors


def class_labels(
  labels: npt.ArrayLike | None, *, num_classes: int | None = None
) -> np.ndarray:
  """Returns class labels as `[n]` int32.

  Args:
    labels: `[n]` integers, or floats with integer values; None is refused.
    num_classes: number of classes, which labels must be below, if it is known.

  Raises:
    DataError: if there are no labels, they are not one-dimensional, one is
      fractional, negative or too large, or 255 seems to mark examples without
      a label, as in segmentation.

  Example:
    >>> from leep_jax import validation
    >>> validation.class_labels([0.0, 1.0, 1.0])
    array([0, 1, 1], dtype=int32)
  """
  array = arrays.as_array("labels", labels)
  if array.ndim != 1:
    raise errors.DataError(
      f"labels have shape {array.shape}, not [n]{_cause_of_shape(array)}"
    )
  if not array.size:
    raise errors.DataError("there are no examples: labels are empty")
  if not arrays.is_real(array):
    hint = ""
    if array.dtype.kind in "USO":
      hint = ": text? Pass np.unique(labels, return_inverse=True)[1]"
    raise errors.DataError(f"labels are {array.dtype}, not integers{hint}")
  if array.dtype.kind not in "iub":
    array = array.astype(np.float64)
    missing = np.isnan(array).sum()
    if missing:
      raise errors.DataError(
        f"labels hold NaN, not an integer, in {missing:,} of {len(array):,} "
        "examples: are they missing? Leave those examples out"
      )
    # Infinity equals its floor.
    odd = array[(array != np.floor(array)) | np.isinf(array)]
    if odd.size:
      raise errors.DataError(
        f"labels contain {float(odd[0]):g}, not an integer: is this a "
        "regression target? Pass it as targets"
      )
  _refuse_out_of_range(array, num_classes)
  return array.astype(np.int32)


def label_sets(multi_labels: npt.ArrayLike | None) -> np.ndarray:
  """Returns sets of labels as `[n, T]` booleans.

  Args:
    multi_labels: `[n, T]` of 0 and 1, whether an example has each of T labels;
      None is refused.

  Raises:
    DataError: if there are none, or they are of another shape or have other
      values.

  Example:
    >>> from leep_jax import validation
    >>> validation.label_sets([[0, 1], [1, 1]]).tolist()
    [[False, True], [True, True]]
  """
  array = arrays.as_array("multi_labels", multi_labels)
  if array.ndim != 2 or not array.shape[1]:
    raise errors.DataError(
      f"multi_labels have shape {array.shape}, not [n, T]: one column a label"
    )
  if not len(array):
    raise errors.DataError("there are no examples: multi_labels are empty")
  if not arrays.is_real(array):
    raise errors.DataError(f"multi_labels are {array.dtype}, not 0 and 1")
  odd = (array != 0) & (array != 1)  # NaN too
  if odd.any():
    rows = np.count_nonzero(odd.any(axis=1))
    raise errors.DataError(
      f"multi_labels contain {float(array[odd][0]):g}, not 0 or 1, in {rows:,} "
      f"of {len(array):,} examples: does it mark labels that are not known? "
      "Leave those examples out, or make it 0 or 1"
    )
  return array.astype(bool)


def are_label_sets(labels: np.ndarray) -> bool:
  """Tells whether an array of labels holds sets, and not a class an example.

  Args:
    labels: of any shape and type.

  Example:
    One label an example is a class: that is not said by columns.

    >>> import numpy as np
    >>> from leep_jax import validation
    >>> validation.are_label_sets(np.array([[0, 1, 1], [0, 0, 0]]))
    True
    >>> validation.are_label_sets(np.array([[0, 1, 0], [1, 0, 0]]))  # one-hot
    False
  """
  if labels.ndim != 2 or labels.shape[1] < 2 or not len(labels):
    return False
  if not arrays.is_real(labels) or not np.all((labels == 0) | (labels == 1)):
    return False
  # A row, as `scipy.io.loadmat` makes it of labels.
  return len(labels) > 1 and not np.all(labels.sum(axis=1) == 1)


def note_unused_classes(labels: np.ndarray) -> None:
  """Notes a label that is far above all others, which is hardly a class.

  Args:
    labels: `[n]` integers of all examples: a batch may lack any class.

  Example:
    >>> import warnings
    >>> import numpy as np
    >>> from leep_jax import validation
    >>> with warnings.catch_warnings(record=True) as caught:
    ...   warnings.simplefilter("always")
    ...   validation.note_unused_classes(np.array([0, 1, 2, 999]))
    >>> print(caught[0].message)
    labels contain 999, and else at most 2: if it marks unlabelled examples,
    leave them out: --ignore_label=999
  """
  high = int(labels.max())
  others = labels[labels != high]
  if others.size and high > 255 and high > 10 * (int(others.max()) + 1):
    errors.note(
      f"labels contain {high}, and else at most {int(others.max())}: if it "
      f"marks unlabelled examples, leave them out: --ignore_label={high}"
    )


def _cause_of_shape(array):
  """Guesses what labels of the wrong shape are, and says what to do."""
  if array.ndim > 2:
    return ": one label a pixel? Pass one an example"
  if array.ndim < 2 or not array.size:
    return ""
  if 1 in array.shape:
    what = "column" if array.shape[1] == 1 else "row"
    return f": are they a {what}? Pass labels.ravel()"
  if arrays.is_real(array):
    sums = array.astype(np.float64).sum(axis=1)
    if np.all(sums == 1) and np.all((array == 0) | (array == 1)):
      return ": are they one-hot? Pass labels.argmax(axis=1)"
    if np.all(array >= 0) and np.allclose(sums, 1, rtol=0, atol=1e-3):
      return (
        ": are they probabilities of the classes? Pass one class an example, "
        "or all as targets= (regression)"
      )
  if are_label_sets(array):
    return (
      ": several labels an example? Pass all as multi_labels=, or one of them, "
      "labels[:, 0]"
    )
  return (
    ": several labels an example? Pass one of them, labels[:, 0], all as "
    "targets= (regression), or 0 and 1 of each as multi_labels="
  )


def _refuse_out_of_range(array, num_classes):
  """Refuses labels below 0, above the largest class, or that mean "none".

  Data sets mark examples without a label by -1, by 255 (as in segmentation), or
  by the largest number of the type; each would else be counted as a class.
  """
  low, high = int(array.min()), int(array.max())
  if low < 0:
    found = np.unique(array)
    if found.tolist() == [-1, 1]:
      raise errors.DataError(
        "labels contain -1, and else 1: are they no and yes? Pass labels > 0"
      )
    raise errors.DataError(
      f"labels contain {low}, but classes are counted from 0: "
      f"{_ignored(array, found[found < 0].astype(int))}"
    )
  if num_classes is not None:
    arrays.at_least_1("num_classes", num_classes)
  bound = np.iinfo(np.int32).max if num_classes is None else num_classes
  top = np.iinfo(array.dtype).max if array.dtype.kind in "iu" else 0
  # 255 of uint8 has a rule of its own below, as it may be a class.
  if num_classes is None and high == top and top > 255:
    others = array[array != high]
    if others.size and int(others.max()) < top // 2:
      raise errors.DataError(
        f"labels contain {high}, the largest {array.dtype}, and else at most "
        f"{int(others.max())}: {_ignored(array, [high])}"
      )
  others = array[array != 255]
  next_highest = int(others.max()) if others.size else -1
  if high == 255 and (
    next_highest < bound <= 255
    if num_classes is not None
    # If every class from 0 to the next highest occurs and then none up to 255,
    # 255 is no class. Above 240, a few classes may merely be missing.
    else 1 <= next_highest < 240 and len(np.unique(others)) > next_highest
  ):
    raise errors.DataError(
      f"labels contain 255, and else 0 to {next_highest}: "
      f"{_ignored(array, [255])}"
    )
  if high >= bound:
    hint = ": are they counted from 1?" if high == bound else ""
    raise errors.DataError(
      f"labels contain {high}, but there are {bound} classes (0 to "
      f"{bound - 1}){hint}"
    )


def _ignored(array, values):
  """Says what to do about labels that mark examples without one."""
  count = np.isin(array, values).sum()
  shown = ",".join(f"{int(value)}" for value in values[:3])
  return (
    f"does it mark unlabelled examples, {count:,} of {len(array):,}? Leave "
    f"them out: --ignore_label={shown}"
  )
