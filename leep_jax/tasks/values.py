"""Arguments of samplers: their checks and their form in text.

An argument is a number, a range (a tuple of its lowest and highest value,
`2..5` in text) or a list (`[1,5,20]`).
"""

from collections.abc import Callable, Sequence
import re
from typing import Any, TypeVar

import numpy as np

from leep_jax import validation

Number = int | float
Argument = Number | tuple[Number, Number] | list[Number]
N = TypeVar("N", int, float)


def text_of(value: Any) -> str:
  """Returns an argument as text, which `value_of` reads.

  Args:
    value: of any kind: error messages also write values that are refused.

  Example:
    >>> from leep_jax.tasks import values
    >>> values.text_of((2, 5)), values.text_of([1, 5, 20])
    ('2..5', '[1,5,20]')
    >>> values.text_of((5, 5))  # a range of one number
    '5'
  """
  if isinstance(value, list):
    return f"[{','.join(map(text_of, value))}]"
  if isinstance(value, tuple):
    # Equal ends are written once, as a number, which `interval` reads as both.
    return "..".join(dict.fromkeys(map(text_of, value)))
  return f"{value}"


def value_of(text: str) -> Argument:
  """Reads an argument from text.

  Args:
    text: a number, `low..high` or `[a,b,c]`.

  Raises:
    ValueError: if the text is none of these.

  Example:
    >>> from leep_jax.tasks import values
    >>> [values.value_of(text) for text in ("2..5", "[1,5,20]", "0.5")]
    [(2, 5), [1, 5, 20], 0.5]
  """
  if text.startswith("[") and text.endswith("]"):
    return [_number(x) for x in text[1:-1].split(",")]
  low, dots, high = text.partition("..")
  return (_number(low), _number(high)) if dots else _number(text)


def _number(text):
  # An integer stays one, as `integer` refuses floats.
  return int(text) if re.fullmatch(r"\s*-?\d+\s*", text) else float(text)


def integer(name: str, value: Any, least: int) -> int:
  """Checks that an argument is an integer.

  Args:
    name: of the argument, for the message.
    value: to check.
    least: smallest value that is allowed.

  Returns:
    The value as a Python integer.

  Raises:
    InputError: if it is not an integer, or below `least`.

  Example:
    >>> from leep_jax.tasks import values
    >>> values.integer("examples", 0, 1)
    Traceback (most recent call last):
      ...
    leep_jax...InputError: examples is 0, but must be an integer from 1
  """
  if (
    # To Python, True is an int.
    isinstance(value, bool)
    or not isinstance(value, (int, np.integer))
    or value < least
  ):
    raise validation.InputError(
      f"{name} is {text_of(value)}, but must be an integer from {least}"
    )
  return int(value)


def integers(name: str, least: int) -> Callable[[Any], int]:
  """Returns a function that checks one of several integers, as `integer`.

  Args:
    name: of the argument.
    least: smallest value that is allowed.

  Example:
    >>> from leep_jax.tasks import values
    >>> values.integers("minority", 1)(30)
    30
  """
  return lambda value: integer(name, value, least)


def fraction(value: Any) -> float:
  """Checks that an argument is a number from 0 to 1.

  Args:
    value: to check.

  Returns:
    The value as a Python float.

  Raises:
    InputError: if it is not.

  Example:
    >>> from leep_jax.tasks import values
    >>> values.fraction(0.25)
    0.25
  """
  number = isinstance(value, (int, float, np.integer, np.floating))
  if not number or not 0 <= value <= 1:
    raise validation.InputError(
      f"fraction is {text_of(value)}, but must be a number from 0 to 1"
    )
  return float(value)


def interval(name: str, value: Any, check: Callable[[Any], N]) -> tuple[N, N]:
  """Checks that an argument is a range, or one number.

  Args:
    name: of the argument.
    value: the range, or the number.
    check: returns each end of the range, or raises `InputError`.

  Returns:
    The lowest and the highest value.

  Raises:
    InputError: if it is not a range.

  Example:
    >>> from leep_jax.tasks import values
    >>> check = values.integers("classes", 2)
    >>> values.interval("classes", (2, 5), check)
    (2, 5)
    >>> values.interval("classes", 5, check)
    (5, 5)
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
  name: str, value: Any, check: Callable[[Any], N]
) -> tuple[N, N] | list[N]:
  """Checks that an argument is a range or number, or a list that is not empty.

  Args:
    name: of the argument.
    value: the range, number or list.
    check: returns each number, or raises `InputError`.

  Returns:
    The range as `interval`, or the list.

  Raises:
    InputError: as `interval`, or if the list is empty.

  Example:
    >>> from leep_jax.tasks import values
    >>> values.interval_or_list("fraction", [0, 0.5], values.fraction)
    [0.0, 0.5]
  """
  if not isinstance(value, list):
    return interval(name, value, check)
  if not value:
    raise validation.InputError(f"{name} is an empty list")
  return [check(x) for x in value]


def nth(values: tuple[N, N] | Sequence[N], index: int) -> N | float:
  """Returns the value of an argument for one of several tasks.

  Tasks take the values of a list in turn. Of a range, the first two tasks take
  the ends, and each further task the middle of a widest gap: any number of
  tasks covers the range evenly, and more tasks add to the values of the fewer.

  Args:
    values: a range (a tuple) or a list.
    index: of the task, from 0.

  Reference: van der Corput, "Verteilungsfunktionen", 1935 (base 2).

  Example:
    >>> from leep_jax.tasks import values
    >>> [values.nth((0, 1), i) for i in range(5)]
    [0, 1, 0.5, 0.25, 0.75]
    >>> [values.nth([1, 5], i) for i in range(3)]
    [1, 5, 1]
  """
  if isinstance(values, list):
    return values[index % len(values)]
  low, high = values
  if index < 2:
    return values[index]
  # The bits of the number in reverse order, after the binary point.
  bits = f"{index - 1:b}"
  return low + (high - low) * int(bits[::-1], 2) / 2 ** len(bits)
