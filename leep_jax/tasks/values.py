"""Arguments of samplers: checked, as text, and read from text.

An argument is a number, a range (a tuple of its least and most, `2..5` in
text) or a list (`[1,5,20]`).
"""

from collections.abc import Callable
import re
from typing import Any

import numpy as np

from leep_jax import validation

Number = int | float


def text_of(value: Any) -> str:
  """Returns an argument as `value_of` reads it.

  >>> from leep_jax.tasks.values import text_of
  >>> text_of((2, 5)), text_of([1, 5, 20]), text_of((5, 5))
  ('2..5', '[1,5,20]', '5')
  """
  if isinstance(value, list):
    return f"[{','.join(map(text_of, value))}]"
  if isinstance(value, tuple):
    return "..".join(dict.fromkeys(map(text_of, value)))
  return f"{value}"


def value_of(text: str) -> Number | tuple[Number, Number] | list[Number]:
  """Returns the argument that a text stands for.

  >>> from leep_jax.tasks.values import value_of
  >>> value_of("2..5"), value_of("[1,5,20]"), value_of("0.5")
  ((2, 5), [1, 5, 20], 0.5)

  Raises:
    ValueError: if it is none.
  """
  if text.startswith("[") and text.endswith("]"):
    return [_number(x) for x in text[1:-1].split(",")]
  low, dots, high = text.partition("..")
  return (_number(low), _number(high)) if dots else _number(text)


def _number(text):
  return int(text) if re.fullmatch(r"\s*-?\d+\s*", text) else float(text)


def integer(name: str, value: Any, least: int) -> int:
  """Returns an integer.

  Raises:
    InputError: if it is none, or below `least`.
  """
  if (
    isinstance(value, bool)
    or not isinstance(value, (int, np.integer))
    or value < least
  ):
    raise validation.InputError(
      f"{name} is {text_of(value)}, but must be an integer from {least}"
    )
  return int(value)


def integers(name: str, least: int) -> Callable[[Any], int]:
  """Returns the function that checks one of several integers."""
  return lambda value: integer(name, value, least)


def fraction(value: Any) -> float:
  """Returns a number from 0 to 1.

  Raises:
    InputError: if it is none.
  """
  number = isinstance(value, (int, float, np.integer, np.floating))
  if not number or not 0 <= value <= 1:
    raise validation.InputError(
      f"fraction is {text_of(value)}, but must be a number from 0 to 1"
    )
  return float(value)


def interval(
  name: str, value: Any, check: Callable[[Any], Any]
) -> tuple[Any, Any]:
  """Returns least and most, of a range or of one number.

  Args:
    name: of the argument.
    value: the range, or the number.
    check: returns one of the two, or refuses it.

  Raises:
    InputError: if it is no range.
  """
  if not isinstance(value, tuple):
    value = value, value
  if len(value) != 2:
    raise validation.InputError(
      f"{name} is {text_of(value)}, but a range has two ends, least and most"
    )
  low, high = map(check, value)
  if low > high:
    raise validation.InputError(
      f"{name} is {text_of(value)}: is the range upside down?"
    )
  return low, high


def interval_or_list(
  name: str, value: Any, check: Callable[[Any], Any]
) -> tuple[Any, Any] | list[Any]:
  """Returns least and most as `interval`, or a list that is not empty.

  Raises:
    InputError: as `interval`, or if the list is empty.
  """
  if not isinstance(value, list):
    return interval(name, value, check)
  if not value:
    raise validation.InputError(f"{name} is an empty list")
  return [check(x) for x in value]


def nth(values: tuple[Any, Any] | list[Any], index: int) -> Any:
  """Returns the value that the task of a number takes.

  Of a list, they are taken in turn. Of a range first the ends, then the middle
  of a widest gap each.

  >>> from leep_jax.tasks.values import nth
  >>> [nth((0, 1), i) for i in range(5)]
  [0, 1, 0.5, 0.25, 0.75]

  Reference: van der Corput, "Verteilungsfunktionen", 1935 (base 2).
  """
  if isinstance(values, list):
    return values[index % len(values)]
  low, high = values
  if index < 2:
    return values[index]
  bits = f"{index - 1:b}"
  return low + (high - low) * int(bits[::-1], 2) / 2 ** len(bits)
