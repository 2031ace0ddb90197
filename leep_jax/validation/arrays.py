"""Checks of arrays and counts: images, targets, rows of numbers."""

import numpy as np
from numpy import typing as npt

from leep_jax.validation import errors


def as_array(name: str, values: object) -> np.ndarray:
  """Returns values as a NumPy array.

  Args:
    name: what error messages call the values.
    values: an array of NumPy, JAX or PyTorch, or nested lists.

  Raises:
    InputError: if they are no array, for example if rows differ in length.

  Example:
    >>> from leep_jax import validation
    >>> validation.as_array("features", [[1.0, 2.0], [3.0, 4.0]]).shape
    (2, 2)
  """
  try:
    return np.asarray(values)
  except Exception as e:  # each framework raises its own
    raise errors.InputError(
      f"{name} cannot be made an array: {errors.reason(e)}"
    ) from e


def is_real(array: np.ndarray) -> bool:
  """Returns whether an array consists of real numbers or booleans.

  Example:
    >>> import numpy as np
    >>> from leep_jax import validation
    >>> validation.is_real(np.ones(2)), validation.is_real(np.array(["a"]))
    (True, False)
  """
  # NumPy gives JAX's bfloat16 the kind "V", that of any bytes.
  return array.dtype.kind in "fiub" or array.dtype.name == "bfloat16"


def at_least_1(name: str, value: object) -> int:
  """Returns a count as an int.

  Args:
    name: what error messages call the count.
    value: the count.

  Raises:
    InputError: if it is not an integer of at least 1.

  Example:
    >>> from leep_jax import validation
    >>> validation.at_least_1("num_classes", 10)
    10
  """
  if not isinstance(value, (int, np.integer)) or value < 1:
    raise errors.InputError(
      f"{name} is {value!r}, but must be an integer from 1"
    )
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
    The images. Floats that are outside [0, 1] by a rounding error are clipped.

  Raises:
    InputError: if they are of another type, not finite, or out of range.

  Example:
    >>> import numpy as np
    >>> from leep_jax import validation
    >>> try:
    ...   validation.images("images", np.linspace(-1, 1, 48).reshape(4, 4, 3))
    ... except validation.InputError as error:
    ...   print(error)
    images are floats from -1 to 1, not in [0, 1]: are they in [-1, 1]? Pass
    (images + 1) / 2
  """
  if not array.size:
    raise errors.InputError(
      f"{name} have no pixels: their shape is {array.shape}"
    )
  if array.dtype == np.uint8:
    return array
  if array.dtype.kind in "iub":
    raise errors.InputError(
      f"{name} are {array.dtype}, not uint8 in 0..255 or floats in [0, 1], "
      f"and from {int(array.min())} to {int(array.max())}: "
      f"{_unit_of_integers(int(array.min()), int(array.max()))}"
    )
  if array.dtype.kind != "f" and array.dtype.name != "bfloat16":
    raise errors.InputError(
      f"{name} are {array.dtype}, not uint8 in 0..255 or floats in [0, 1]"
    )
  low, high = float(array.min()), float(array.max())
  if not (np.isfinite(low) and np.isfinite(high)):
    raise errors.InputError(f"{name} hold NaN or infinity")
  if normalised or (low >= 0 and high <= 1):
    return array
  # Two steps of the type above 1; of float32 and float64, what a few operations
  # in float32 lose.
  rounding = {"float16": 2e-3, "bfloat16": 2e-2}.get(array.dtype.name, 1e-6)
  if low >= -rounding and high <= 1 + rounding:
    clipped: np.ndarray = np.clip(array, 0, 1)
    return clipped
  raise errors.InputError(
    f"{name} are floats from {low:.9g} to {high:.9g}, not in [0, 1]: "
    f"{_unit_of_floats(low, high)}"
  )


def _unit_of_integers(low, high):
  """Guesses the unit of integers that are no uint8, and says what to do."""
  if low >= 0 and high <= 1:
    return "is 1 white? Pass images.astype(np.uint8) * np.uint8(255)"
  if low < 0:
    return "which value is black, and which white? Bring them to 0..255"
  # Cameras and medical devices deliver 10, 12 or 14 bits in wider integers.
  for bits, top in ((8, 255), (10, 1023), (12, 4095), (14, 16383), (16, 65535)):
    if high <= top:
      what = "images" if bits == 8 else f"(images // {1 << (bits - 8)})"
      return f"{bits} bits? Pass {what}.astype(np.uint8)"
  return "which value is white? Bring them to 0..255"


def _unit_of_floats(low, high):
  """Guesses the unit of floats outside [0, 1], and says what to do."""
  # The likeliest cause first: these ranges overlap.
  if -0.5 <= low < -0.25 and high <= 0.5:
    return "are they less 0.5? Pass images + 0.5"
  if low >= -0.5 and high <= 1.5:
    # Resampling with a cubic filter overshoots by up to half the contrast.
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


def real_targets(targets: npt.ArrayLike) -> np.ndarray:
  """Returns targets of regression as `[n, T]` float64.

  Args:
    targets: `[n, T]` or `[n]` real numbers.

  Raises:
    InputError: if there are none, or they are of another shape or type, or not
      finite.

  Example:
    >>> from leep_jax import validation
    >>> validation.real_targets([1, 2, 3]).shape
    (3, 1)
  """
  array = as_array("targets", targets)
  if array.ndim == 1:
    array = array[:, None]
  if array.ndim != 2 or not array.shape[1]:
    raise errors.InputError(
      f"targets have shape {array.shape}, not [n, T] or [n]"
    )
  if not len(array):
    raise errors.InputError("there are no examples: targets are empty")
  if not is_real(array):
    raise errors.InputError(f"targets are {array.dtype}, not real numbers")
  array = array.astype(np.float64)
  bad = ~np.isfinite(array).all(axis=1)
  if bad.any():
    raise errors.InputError(
      f"targets: {bad.sum()} of {len(array)} rows hold NaN or infinity: do "
      "they mark missing values? Leave those examples out"
    )
  return array


def rows(name: str, array: npt.ArrayLike, count: int, what: str) -> np.ndarray:
  """Returns `[n, K]` real numbers with one row per example, not copied.

  Args:
    name: what error messages call the array.
    array: NumPy or JAX array, or nested lists.
    count: number of examples.
    what: what `count` counts, `labels` or `targets`.

  Raises:
    InputError: if it is not two-dimensional, has no columns, is not of real
      numbers, or its length differs from `count`.

  Example:
    >>> from leep_jax import validation
    >>> validation.rows("features", [[1.0], [2.0]], 2, "labels").shape
    (2, 1)
  """
  array = as_array(name, array)
  if array.ndim != 2 or not array.shape[1]:
    raise errors.InputError(f"{name} has shape {array.shape}, not [n, columns]")
  if not is_real(array):
    raise errors.InputError(f"{name} is {array.dtype}, not real numbers")
  if len(array) != count:
    raise errors.InputError(
      f"{name} has {len(array)} rows, but there are {count} {what}"
    )
  return array
