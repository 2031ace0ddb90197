"""Where the parts of an HTML report's figures lie, as plain numbers.

The template draws them: a chart of accuracy against speed, cells of a confusion
matrix, and bars of recall.
"""

from collections.abc import Sequence
import dataclasses
import itertools
import math

import numpy as np

from leep_jax.scores import per_example

# Pixels. Text is 12 pixels high, and about 6.7 wide a character.
_CHARACTER, _LINE = 6.7, 15
_LEFT, _RIGHT, _TOP, _BOTTOM = 58, 14, 12, 46
# From these shares of its row on, a cell has the next colour.
_RIGHT_SHARES = (0.0, 0.2, 0.4, 0.6, 0.8, 0.95)
_WRONG_SHARES = (0.0, 0.02, 0.05, 0.1, 0.2, 0.4)


@dataclasses.dataclass(frozen=True)
class Dot:
  """One source in a chart, in pixels from the upper left corner.

  Attributes:
    x: of the dot.
    y: of the dot.
    low: y of the lower end of its interval, or None.
    high: y of the upper end, or None.
    text: beside the dot.
    text_x: where the text is.
    text_y: its base line.
    anchor: which part of the text is there: start, middle or end.
    title: what a pointer on the dot shows.
    front: whether no source is both faster and more accurate.

  Example:
    >>> from leep_jax.reports import html_figures
    >>> chart = html_figures.accuracy_speed(
    ...   ["a"], [0.9], [None], [100.0], width=400, height=300, percent=True)
    >>> chart.dots[0].text, chart.dots[0].front
    ('a', True)
  """

  x: float
  y: float
  low: float | None
  high: float | None
  text: str
  text_x: float
  text_y: float
  anchor: str
  title: str
  front: bool


@dataclasses.dataclass(frozen=True)
class Chart:
  """A chart of accuracy against speed, see `accuracy_speed`.

  Attributes:
    width: in pixels.
    height: in pixels.
    left: edge of the area of the dots.
    right: edge of the area of the dots.
    top: edge of the area of the dots.
    bottom: edge of the area of the dots.
    x_ticks: positions and texts.
    y_ticks: positions and texts.
    dots: one for each source that has both numbers.
    front: corners of the line that separates what no source reaches.

  Example:
    >>> from leep_jax.reports import html_figures
    >>> chart = html_figures.accuracy_speed(
    ...   ["a"], [0.9], [None], [100.0], width=400, height=300, percent=True)
    >>> [text for _, text in chart.x_ticks]
    ['50', '100', '200']
  """

  width: int
  height: int
  left: int
  right: int
  top: int
  bottom: int
  x_ticks: list[tuple[float, str]]
  y_ticks: list[tuple[float, str]]
  dots: list[Dot]
  front: list[tuple[float, float]]


def pareto(
  values: Sequence[float | None], speeds: Sequence[float | None]
) -> list[bool]:
  """Tells which sources are not beaten in both value and speed.

  A source is beaten by one that is as good in both, and better in one.

  Args:
    values: `[m]`, higher is better; None where there is none.
    speeds: `[m]`, higher is better; None where there is none.

  Example:
    >>> from leep_jax.reports import html_figures
    >>> html_figures.pareto([0.9, 0.8, 0.7, None], [10, 30, 20, 99])
    [True, True, False, False]
  """
  points = list(zip(values, speeds, strict=True))
  known = [(v, s) for v, s in points if v is not None and s is not None]
  return [
    v is not None
    and s is not None
    and not any(a >= v and b >= s and (a, b) != (v, s) for a, b in known)
    for v, s in points
  ]


def accuracy_speed(
  names: Sequence[str],
  values: Sequence[float | None],
  intervals: Sequence[tuple[float, float] | None],
  speeds: Sequence[float | None],
  *,
  width: int,
  height: int,
  percent: bool,
) -> Chart:
  """Lays out a chart of accuracy against speed, on a logarithmic axis.

  Where a name has no room, the number of the source stands for it, from 1.

  Args:
    names: of the m sources, best first.
    values: `[m]`, such as expected accuracies.
    intervals: `[m]`, the ends of their intervals, or None.
    speeds: `[m]`, examples per second.
    width: of the chart in pixels.
    height: of the chart in pixels.
    percent: whether values are shares, which ticks show in per cent.

  Example:
    >>> from leep_jax.reports import html_figures
    >>> chart = html_figures.accuracy_speed(
    ...   ["a", "b"], [0.9, 0.8], [(0.85, 0.95), None], [100, 900],
    ...   width=400, height=300, percent=True)
    >>> [text for _, text in chart.y_ticks]
    ['80 %', '85 %', '90 %', '95 %']
  """
  known = [
    i
    for i, (value, speed) in enumerate(zip(values, speeds, strict=True))
    if value is not None and speed is not None and speed > 0
  ]
  chart = Chart(
    width, height, _LEFT, width - _RIGHT, _TOP, height - _BOTTOM, [], [], [], []
  )
  if not known:
    return chart
  front = pareto(values, speeds)
  ends = [end for i in known for end in intervals[i] or (values[i],)]
  x_of = _scale(
    [math.log10(speeds[i] or 1) for i in known],
    chart.left, chart.right, least=math.log10(5),
  )  # fmt: skip
  y_of = _scale(ends, chart.bottom, chart.top, least=0.02)
  chart.x_ticks.extend(
    (x, f"{number:,g}")
    for number in _log_ticks(chart.left, chart.right, x_of)
    if chart.left <= (x := x_of(math.log10(number))) <= chart.right
  )
  chart.y_ticks.extend(_y_ticks(y_of, ends, percent))
  spots = []
  for i in known:
    low, high = (None, None)
    if (interval := intervals[i]) is not None:
      low, high = map(y_of, interval)
    spots.append(
      _Spot(i, x_of(math.log10(speeds[i] or 1)), y_of(values[i]), low, high)
    )
  chart.front.extend(_steps([s for s in spots if front[s.number]], chart))
  places = _place_names(chart, spots, names, front)
  for spot in spots:
    text, x, y, anchor = places[spot.number]
    title = _title(
      names[spot.number], values[spot.number], speeds[spot.number], percent
    )
    chart.dots.append(
      Dot(
        spot.x, spot.y, spot.low, spot.high, text, x, y, anchor, title,
        front[spot.number],
      )
    )  # fmt: skip
  return chart


def _title(name, value, speed, percent):
  shown = f"{100 * value:.1f} %" if percent else f"{value:.4g}"
  return f"{name}: {shown}, {speed:,.0f} per second"


class _Scale:
  """A linear function of numbers to pixels, with room at both ends."""

  def __init__(self, numbers, start, end, least):
    low, high = min(numbers), max(numbers)
    room = max(0.08 * (high - low), (least - (high - low)) / 2)
    self.low, self.high = low - room, high + room
    self.start, self.end = start, end

  def __call__(self, number):
    share = (number - self.low) / (self.high - self.low)
    return round(self.start + share * (self.end - self.start), 1)


def _scale(numbers, start, end, *, least):
  return _Scale(numbers, start, end, least)


def _log_ticks(left, right, x_of):
  """1, 2 and 5 times powers of 10; fewer where they would be too dense."""
  decades = range(math.floor(x_of.low), math.ceil(x_of.high) + 1)
  for digits in ((1, 2, 5), (1,)):
    found = [digit * 10.0**k for k in decades for digit in digits]
    found = [t for t in found if x_of.low <= math.log10(t) <= x_of.high]
    if len(found) <= (right - left) / 45:
      return found
  return found[:: -(-len(found) // 7)]


def _y_ticks(y_of, ends, percent):
  """Four to seven round numbers; shares are at most 1."""
  span = y_of.high - y_of.low
  unit = 10.0 ** math.floor(math.log10(span / 4))
  step = next(
    unit * factor for factor in (1, 2, 5, 10) if span / (unit * factor) <= 7
  )
  digits = max(0, -math.floor(math.log10(step * (100 if percent else 1))))
  found = []
  for k in range(math.ceil(y_of.low / step), math.floor(y_of.high / step) + 1):
    number = k * step
    if percent and not -1e-9 <= number <= 1 + 1e-9:
      continue
    text = (
      f"{100 * number:z.{digits}f} %" if percent else f"{number:z.{digits}f}"
    )
    found.append((y_of(number), text.replace("-", "\N{MINUS SIGN}")))
  return found


@dataclasses.dataclass(frozen=True)
class _Spot:
  """A dot that has no text yet, in pixels."""

  number: int
  x: float
  y: float
  low: float | None = None
  high: float | None = None

  @property
  def boxes(self):
    """The boxes `(left, top, right, bottom)` that it covers."""
    yield self.x - 7, self.y - 7, self.x + 7, self.y + 7
    if self.low is not None and self.high is not None:
      yield self.x - 6, self.high - 1, self.x + 6, self.low + 1


def _place_names(chart, spots, names, front):
  """Finds room for names: text, x, y and anchor of each spot's number.

  Those of the front come first, then in the order of the ranking. If no place
  is free for a name, its number is put where it covers least.
  """
  taken = [box for spot in spots for box in spot.boxes]
  for (x0, y0), (x1, y1) in itertools.pairwise(chart.front):
    taken.append(
      (min(x0, x1) - 1, min(y0, y1) - 1, max(x0, x1) + 1, max(y0, y1) + 1)
    )
  places = {}
  for spot in sorted(spots, key=lambda s: (not front[s.number], s.number)):
    tries = [
      (_covered(box, taken, chart), text, x, y, anchor, box)
      for text in (names[spot.number], f"{spot.number + 1}")
      for x, y, anchor, box in _candidates(spot, text)
    ]
    name_free = next((t for t in tries if t[0] == 0), None)
    numbers = tries[len(tries) // 2 :]
    chosen = name_free or min(numbers, key=lambda t: t[0])
    _, text, x, y, anchor, box = chosen
    taken.append(box)
    places[spot.number] = text, round(x, 1), round(y, 1), anchor
  return places


def _candidates(spot, text):
  """Yields places for a text: beside the dot, above and below the interval."""
  width = _CHARACTER * len(text)
  above = (spot.y if spot.high is None else spot.high) - 9
  below = (spot.y if spot.low is None else spot.low) + 17
  for y in (spot.y + 4, spot.y - 9, spot.y + 18):
    for x, anchor in ((spot.x + 11, "start"), (spot.x - 11, "end")):
      left = x if anchor == "start" else x - width
      yield x, y, anchor, (left, y - 11, left + width, y - 11 + _LINE)
  for y in (above, below):
    left = spot.x - width / 2
    yield spot.x, y, "middle", (left, y - 11, left + width, y - 11 + _LINE)


def _covered(box, taken, chart):
  """The area of a box that is covered already, or lies outside."""
  area = (chart.left, chart.top, chart.right, chart.bottom)
  left, top, right, bottom = box
  outside = (right - left) * (bottom - top) - _overlaps(box, [area])
  return round(float(outside + _overlaps(box, taken)), 3)


def _overlaps(box, others):
  """The sum of the areas that a box shares with others."""
  others = np.asarray(others)
  sizes = np.minimum(box[2:], others[:, 2:]) - np.maximum(
    box[:2], others[:, :2]
  )
  return np.maximum(sizes, 0).prod(axis=1).sum()


def _steps(dots, chart):
  """Corners of the line that all sources lie on, or below and left of."""
  corners = []
  y = chart.bottom
  for dot in sorted(dots, key=lambda d: (-d.x, -d.y)):
    corners += [(dot.x, y), (dot.x, dot.y)]
    y = dot.y
  if corners:
    corners.append((chart.left, y))
  return corners


@dataclasses.dataclass(frozen=True)
class Recall:
  """How many examples of a class are predicted correctly.

  Attributes:
    name: of the class.
    count: number of its examples.
    share: that is predicted correctly.
    low: end of the 95 % interval of the share.
    high: other end.

  Example:
    >>> import numpy as np
    >>> from leep_jax.reports import html_figures
    >>> (a, b) = html_figures.recalls(np.array([[9, 1], [4, 6]]), ["a", "b"])
    >>> a.name, a.share
    ('b', 0.6)
  """

  name: str
  count: int
  share: float
  low: float
  high: float


def recalls(confusion: np.ndarray, names: Sequence[str]) -> list[Recall]:
  """Returns the recall of each class that has examples, lowest first.

  Args:
    confusion: `[Y, Y]`, counts by true (row) and predicted (column) class.
    names: of the Y classes.

  Example:
    >>> import numpy as np
    >>> from leep_jax.reports import html_figures
    >>> found = html_figures.recalls(np.array([[9, 1], [4, 6]]), ["a", "b"])
    >>> [f"{r.share} in {r.low:.2f} to {r.high:.2f}" for r in found]
    ['0.6 in 0.31 to 0.83', '0.9 in 0.60 to 0.98']
  """
  found = []
  for i, name in enumerate(names):
    count, correct = int(confusion[i].sum()), int(confusion[i, i])
    if not count:
      continue
    share = per_example.Proportion(
      correct / count, np.zeros(count), np.ones(count)
    )
    low, high = share.interval() or (0.0, 1.0)
    found.append(Recall(name, count, share.value, float(low), float(high)))
  return sorted(found, key=lambda recall: recall.share)


def shades(confusion: np.ndarray) -> list[list[str]]:
  """Returns the class of each cell's colour: r1 to r6, w1 to w6, or zero.

  Cells with correct predictions (r) and wrong ones (w) have a scale each, of
  the share of their row.

  Args:
    confusion: `[Y, Y]`, counts by true (row) and predicted (column) class.

  Example:
    >>> import numpy as np
    >>> from leep_jax.reports import html_figures
    >>> html_figures.shades(np.array([[97, 3], [0, 10]]))
    [['r6', 'w2'], ['zero', 'r6']]
  """
  totals = np.maximum(confusion.sum(axis=1, keepdims=True), 1)
  found = []
  for i, row in enumerate(confusion / totals):
    cells = []
    for j, share in enumerate(row.tolist()):
      steps = _RIGHT_SHARES if i == j else _WRONG_SHARES
      step = sum(share >= start for start in steps)
      cells.append("zero" if share == 0 else f"{'r' if i == j else 'w'}{step}")
    found.append(cells)
  return found


def confusions(
  confusion: np.ndarray, names: Sequence[str], *, most: int
) -> list[tuple[str, str, int, float]]:
  """Returns the largest confusions: true class, predicted one, count, share.

  Args:
    confusion: `[Y, Y]`, counts by true (row) and predicted (column) class.
    names: of the Y classes.
    most: how many to return.

  Example:
    >>> import numpy as np
    >>> from leep_jax.reports import html_figures
    >>> html_figures.confusions(
    ...   np.array([[9, 1], [4, 6]]), ["a", "b"], most=1)
    [('b', 'a', 4, 0.4)]
  """
  wrong = confusion - np.diag(np.diag(confusion))
  order = np.argsort(-wrong, axis=None, kind="stable")[:most]
  found = []
  for i, j in zip(*np.unravel_index(order, wrong.shape), strict=True):
    if wrong[i, j]:
      share = float(wrong[i, j] / confusion[i].sum())
      found.append((names[i], names[j], int(wrong[i, j]), share))
  return found
