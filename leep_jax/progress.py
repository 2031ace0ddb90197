"""Lines on standard error that say what a command is doing.

They are drawn by tqdm, and only where standard error is a terminal.
"""

from collections.abc import Callable, Iterator
import contextlib
import sys
import time

import tqdm

from leep_jax.reports import tables

_TEXT_ALONE = "{desc}"


def _line(text: str, *, total: int | None = None, unit: str = "") -> tqdm.tqdm:
  """Draws a line of text, which can become a bar."""
  return tqdm.tqdm(
    desc=text[: tables.WIDTH - 1],
    total=total,
    unit=unit,
    bar_format=_TEXT_ALONE,
    disable=None,  # None stands for "unless on a terminal"
    dynamic_ncols=True,
    leave=False,
  )


@contextlib.contextmanager
def step(text: str) -> Iterator[None]:
  """Shows a text while the body of a `with` statement runs.

  Example:
    >>> from leep_jax import progress
    >>> with progress.step("resnet50: loading"):
    ...   pass
  """
  line = _line(text)
  try:
    yield
  finally:
    line.close()


def write(text: str) -> None:
  """Prints a line on standard error, above the lines of progress.

  Example:
    >>> from leep_jax import progress
    >>> progress.write("note: 3 examples have no label")
  """
  tqdm.tqdm.write(text, file=sys.stderr)


class Meter:
  """Measures how fast examples are done, without the first batch.

  The first batch includes what happens once, such as tracing.

  Example:
    >>> from leep_jax import progress
    >>> meter = progress.Meter(lambda done: None)
    >>> meter(64)
    >>> meter.rate() is None  # nothing was done since the first call
    True
    >>> meter(100)
    >>> meter.rate() > 0
    True
  """

  def __init__(self, show: Callable[[int], object]):
    """Starts to measure.

    Args:
      show: called with the number of examples done.
    """
    self._show = show
    self._calls: list[tuple[int, float]] = []

  def __call__(self, done: int) -> None:
    """Notes how many examples are done."""
    self._calls.append((done, time.perf_counter()))
    self._show(done)

  def rate(self) -> float | None:
    """Returns examples per second after the first batch; None if unknown."""
    if len(self._calls) < 2:
      return None
    (done, start), (more, end) = self._calls[0], self._calls[-1]
    return (more - done) / (end - start) if more > done else None


class Progress:
  """A line that counts examples: how many are done, how fast, the time left.

  Example:
    >>> from leep_jax import progress
    >>> count = progress.Progress("resnet50", total=64)
    >>> count(32)
    >>> count.clear()
  """

  def __init__(
    self, label: str, *, total: int | None = None, unit: str = "images"
  ):
    """Shows that compilation has begun, if the total is known.

    Args:
      label: what is under way.
      total: number of examples to come. Without it, the line appears with the
        first call, which has to state it.
      unit: what is counted.
    """
    self._label, self._unit = label, f" {unit}"
    self._line: tqdm.tqdm | None = None
    self._counts = False
    if total is not None:
      self._show(f"{label}: compiling", total=total)

  def _show(self, text, *, total=None):
    """Shows a text, on a new line if there is none yet."""
    if self._line is None:
      self._line = _line(text, total=total, unit=self._unit)
    else:
      self._line.bar_format = _TEXT_ALONE
      self._line.set_description_str(text[: tables.WIDTH - 1])
    self._counts = False

  def __call__(self, done: int, total: int | None = None) -> None:
    """Shows how many examples are done, of a total that may be stated late."""
    if self._line is None:
      self._show(self._label, total=total)
    line = self._line
    assert line is not None
    if not self._counts:
      # The first batch includes compilation. Rates count from its end, or the
      # time left would be far too long.
      line.unpause()
      line.initial = line.n = done
      line.total = total or line.total
      line.bar_format = None
      line.set_description_str(self._label)
      self._counts = True
    else:
      line.update(done - line.n)

  def scoring(self, name: str) -> None:
    """Shows which score is being computed."""
    self._show(f"{self._label}: {name}")

  def clear(self) -> None:
    """Takes the line away."""
    if self._line is not None:
      self._line.close()
      self._line = None
