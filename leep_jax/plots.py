"""Rows to figures: rankings, matrices of tasks, scores against transfer.

Figures are drawn without pyplot, so nothing outside a call changes, and a file
appears complete or not at all, as in `results`. Matplotlib is imported when
something is drawn.
"""

from collections.abc import Mapping, Sequence
import dataclasses
import io
import math
import os
import pathlib
import textwrap
from typing import Any

import numpy as np

from leep_jax import checks, correlation as correlation_lib, results

_SUFFIXES = (".png", ".pdf", ".svg")
_DPI = 200
_WIDTH = 10  # inches: with 5.6 of height, a slide
_BEST, _OTHER = "#0b5394", "#6b6b6b"
_GRID = {"color": "#e4e4e4", "linewidth": 0.8}
# Series differ in colour and marker: to be told apart without colours, too.
_COLORS = (
  _BEST, "#d1660f", "#2e7d4f", "#9c2f7f", "#8a7a00", "#0f8ea3", "#8b4513",
  "#d6569e", "#4a4a4a", "#6a4fb3", "#c08a00", "#5f9e2f",
)  # fmt: skip
_MARKERS = "osD^vPX<>"


def check_plot(path: str | os.PathLike[str]) -> None:
  """Finds out before the work whether a figure can be written to a path.

  Raises:
    InputError: if the suffix is none of `.png`, `.pdf` and `.svg`, or the file
      cannot be made or replaced.
  """
  results.check_path("plot", path, _SUFFIXES)


def ranking(
  names: Sequence[str],
  values: Sequence[float | None],
  errors: Any,
  *,
  score: str,
  title: str,
  marked: Sequence[bool] | None,
  path: str | os.PathLike[str],
  interval: str = "95 % interval",
) -> None:
  """Draws one score of several sources, best on top, each with its interval.

  Args:
    names: of the m sources; long ones are cut in the middle.
    values: `[m]`, higher is better; None where the score is undefined: such
      sources are listed below the others.
    errors: `[m, 2]`, the low and high end of each value's interval, or None; a
      source whose ends are None or NaN is drawn without one.
    score: name of the score.
    title: what was scored, on what.
    marked: `[m]`, which sources cannot be told apart from the best: they have
      its colour, the others are grey. None: nothing is known of that.
    path: file to write, `.png`, `.pdf` or `.svg`; replaced.
    interval: what the legend calls the intervals.

  Raises:
    InputError: if there are no sources, or as `check_plot`.
  """
  check_plot(path)
  if not names:
    raise checks.InputError("there are no sources to draw")
  numbers = np.array([np.nan if v is None else v for v in values], float)
  defined = np.isfinite(numbers)
  order = np.argsort(np.where(defined, -numbers, np.inf), kind="stable")
  like_best = np.zeros(len(names), bool) if marked is None else marked
  like_best = np.array(like_best, bool) & defined
  like_best[order[0]] = defined.any()
  ends = np.full((len(names), 2), np.nan)
  if errors is not None:
    ends[:] = np.asarray(errors, float)

  figure = _figure(_WIDTH, max(5.6, 1.9 + 0.3 * len(names)), title)
  axes = figure.add_subplot()
  colors = [_BEST if like_best[i] else _OTHER for i in order]
  for y, (i, color) in enumerate(zip(order, colors, strict=True)):
    if not defined[i]:
      continue
    if np.isfinite(ends[i]).all():
      axes.plot(ends[i], [y, y], **_interval(color))
    axes.plot(numbers[i], y, **_dot(like_best[i]))
  axes.margins(x=0.06)
  # Few sources stay near each other, and the best is on top.
  room = max(0.0, (3 - len(names)) / 2)
  axes.set_ylim(len(names) - 0.4 + room, -0.6 - room)
  axes.grid(axis="both", **_GRID)
  axes.set_axisbelow(True)
  axes.set_xlabel(f"{score} (higher is better)", fontsize=13, parse_math=False)
  axes.ticklabel_format(axis="x", useOffset=False)
  axes.locator_params(axis="x", nbins=6)
  axes.tick_params(axis="x", labelsize=12)
  if not defined.any():
    axes.set_xticks([])
  # The values stand in a column of their own, where no interval crosses them.
  beside = axes.twinx()
  beside.set_ylim(axes.get_ylim())
  size = 13 if len(names) <= 15 else 11
  texts = [_number(numbers[i], 4) if defined[i] else "undefined" for i in order]
  _label(axes.yaxis, [_fit(names[i], 44) for i in order], colors, size)
  _label(beside.yaxis, texts, colors, size)
  for side in (axes, beside):
    side.spines[:].set_visible(False)

  legend = []
  if defined.any():
    together = like_best.sum() > 1
    text = "best, and sources not told apart from it" if together else "best"
    legend.append((text, {**_dot(True), "linestyle": "none"}))
  if (defined & ~like_best).any():
    legend.append(("others", {**_dot(False), "linestyle": "none"}))
  if (np.isfinite(ends).all(axis=1) & defined).any():
    legend.append((interval, _interval(_OTHER)))
  _legend(figure, legend, columns=len(legend))
  _save(figure, path)


def matrix(
  values: Any,
  names: Sequence[str],
  *,
  title: str,
  label: str,
  path: str | os.PathLike[str],
  side: Any = None,
  side_label: str = "hardness",
) -> None:
  """Draws a square matrix of tasks as a heat map, with numbers if it is small.

  Args:
    values: `[A, A]`, rows are sources and columns are targets.
    names: of the A tasks; long ones are cut in the middle.
    title: what was computed, on what.
    label: what the values are, for the colour bar.
    path: file to write, `.png`, `.pdf` or `.svg`; replaced.
    side: `[A]`, one number of each target, drawn as a bar above its column.
    side_label: what that number is.

  Raises:
    InputError: if there are no tasks, or as `check_plot`.
  """
  from matplotlib import colormaps, colors

  check_plot(path)
  if not names:
    raise checks.InputError("there are no tasks to draw")
  values = np.asarray(values, float)
  count = len(names)
  few = count <= 12
  short = [_fit(name, 32) for name in names]
  room = 1.2 + 0.08 * max(map(len, short))
  cells = min(max(count * (0.62 if few else 0.24), 3.6), 40)  # inches
  bars = 0.0 if side is None else 1.1
  figure = _figure(cells + room + 1.2, cells + room + bars + 0.4, title)
  grid = figure.add_gridspec(
    1 if side is None else 2,
    1,
    height_ratios=[cells] if side is None else [bars, cells],
  )
  axes = figure.add_subplot(grid[-1, 0])
  low, high = np.nanmin(values), np.nanmax(values)
  norm = colors.Normalize(low if low < high else high - 1, high)
  image = axes.imshow(
    values, norm=norm, cmap="viridis", aspect="auto", interpolation="nearest"
  )
  bar = figure.colorbar(image, ax=axes, pad=0.02, fraction=0.04, aspect=25)
  bar.set_label(label, fontsize=12)
  bar.ax.tick_params(labelsize=11)
  size = 12 if few else min(9, 50 * cells / count)
  black = ["black"] * count
  _label(axes.yaxis, short, black, size)
  _label(axes.xaxis, short, black, size)
  for text in axes.get_xticklabels():
    text.set(rotation=90)
    if few:
      text.set(rotation=40, ha="right", rotation_mode="anchor")
  axes.set_xlabel("target", fontsize=13)
  axes.set_ylabel("source", fontsize=13)
  axes.spines[:].set_visible(False)
  if few:
    shades = colormaps["viridis"](norm(values))[..., :3] @ (0.3, 0.59, 0.11)
    for (row, column), value in np.ndenumerate(values):
      axes.text(
        column,
        row,
        _number(value, 2),
        ha="center",
        va="center",
        fontsize=12,
        color="black" if shades[row, column] > 0.5 else "white",
      )
  if side is not None:
    above = figure.add_subplot(grid[0, 0], sharex=axes)
    side = np.asarray(side, float)
    drawn = above.bar(np.arange(count), side, color=_BEST, width=0.7)
    if few:
      above.bar_label(drawn, [_number(v, 2) for v in side], fontsize=11)
    above.margins(y=0.2)
    above.set_ylabel(side_label, fontsize=12)
    above.tick_params(axis="x", bottom=False, labelbottom=False)
    above.tick_params(axis="y", labelsize=10)
    above.locator_params(axis="y", nbins=3)
    above.spines[["top", "right"]].set_visible(False)
  _save(figure, path)


@dataclasses.dataclass(frozen=True, eq=False)
class Panel:
  """One scatter plot of several: see `scatter` for its attributes.

  Attributes:
    scores: `[n]`, numbers or None.
    truths: `[n]`, numbers or None.
    score: what the scores are.
    truth: what the truths are.
    title: of this panel.
    groups: `[n]` names, or None.
    correlation: of all points, or None.
  """

  scores: Any
  truths: Any
  score: str
  truth: str
  title: str = ""
  groups: Sequence[str] | None = None
  correlation: correlation_lib.Correlation | None = None


def scatter(
  scores: Any,
  truths: Any,
  *,
  score: str,
  truth: str,
  title: str,
  path: str | os.PathLike[str],
  groups: Sequence[str] | None = None,
  correlation: correlation_lib.Correlation | None = None,
) -> None:
  """Draws what transfer reached against a score, with the fitted line.

  A corner gives Pearson's r, its p value and its interval. With groups, each
  has a colour and a marker, and a line and an r of its own; if each is too
  small for that (one point a model), there is one line for all.

  Args:
    scores: `[n]`, numbers or None; a point lacks neither.
    truths: `[n]`, numbers or None.
    score: what the scores are, below the axis.
    truth: what the truths are, beside the axis.
    title: what was compared, on what.
    path: file to write, `.png`, `.pdf` or `.svg`; replaced.
    groups: `[n]` names of what the points belong to, models for one.
    correlation: what the corner says of all points. None: computed here, and
      with groups only if they have none of their own.

  Raises:
    InputError: if there are no points, or as `check_plot` and
      `correlation.correlate`.

  Reference: Nguyen et al., "LEEP", ICML 2020, figure 1.
  """
  check_plot(path)
  panel = Panel(scores, truths, score, truth, "", groups, correlation)
  if not _points(panel)[0].size:
    raise checks.InputError("there are no points to draw")
  _scatter([[panel]], title, path)


def scatter_grid(
  panels: Sequence[Sequence[Panel]],
  *,
  title: str,
  path: str | os.PathLike[str],
) -> None:
  """Draws scatter plots beside and below each other, groups in one style.

  A panel without points stays, empty. Beside the first panel of a row, only
  panels with another truth name theirs.

  Args:
    panels: rows of panels.
    title: what was compared, on what.
    path: file to write, `.png`, `.pdf` or `.svg`; replaced.

  Raises:
    InputError: if there are no panels, or as `scatter`.
  """
  check_plot(path)
  if not any(panels):
    raise checks.InputError("there are no panels to draw")
  _scatter(panels, title, path)


def _scatter(rows, title, path):
  names = dict.fromkeys(
    str(name) for row in rows for panel in row for name in panel.groups or ()
  )
  styles = {name: _series(i) for i, name in enumerate(names)}
  figure, places = _panels(rows, title, styles)
  drawn = []
  for axes, panel, first in places:
    drawn.append((axes, *_draw_panel(axes, panel, styles)))
    beside = first is not None and panel.truth == first.truth
    _axes(axes, panel.score, "" if beside else panel.truth)
  _legend(figure, [(n, {**s, "linestyle": "none"}) for n, s in styles.items()])
  # Where a corner is free is known once sizes are.
  figure.draw_without_rendering()
  for axes, entries, points in drawn:
    _corner(axes, entries, points)
  _save(figure, path)


def _panels(rows, title, names):
  """A figure with room for panels in rows and a legend of names below them.

  Returns it, and for each panel its axes, itself and what it stands beside: the
  first of its row, or None.
  """
  columns = max(map(len, rows))
  single = len(rows) == columns == 1
  width = max(_WIDTH, 4.4 * columns)
  height = 5.6 if single else 0.9 + 3.7 * len(rows)
  figure = _figure(width, height + _names_height(names, width), title)
  grid = figure.add_gridspec(len(rows), columns)
  places = []
  for i, row in enumerate(rows):
    for j, panel in enumerate(row):
      axes = figure.add_subplot(grid[i, j])
      axes.set_title(
        _fit(panel.title, {1: 80, 2: 42}.get(columns, 34)),
        loc="left",
        fontsize=13,
        parse_math=False,
      )
      places.append((axes, panel, row[0] if j else None))
  return figure, places


def _points(panel):
  """Scores, truths and groups of the points; of one group, if there is none."""
  (x, y), kept = correlation_lib.complete(
    {"scores": panel.scores, "truths": panel.truths}
  )
  groups = panel.groups
  if groups is None:
    return x, y, np.full(len(x), "")
  if len(groups) != len(kept):
    raise checks.InputError(
      f"groups has {len(groups)} names, but there are {len(kept)} points"
    )
  return x, y, np.array([str(name) for name in groups])[kept]


def _draw_panel(axes, panel, styles):
  """Draws points and lines; returns corner entries and what is in the way."""
  x, y, groups = _points(panel)
  if not len(x):
    axes.set(xticks=[], yticks=[])
    return [("no points", {"linestyle": "none"})], np.zeros((0, 2))
  size = 8 if len(x) <= 40 else 6
  taken = [np.stack([x, y], axis=1)]
  entries = []

  def fit(mask, style, found, text):
    line = {"color": style["color"], "linewidth": 2}
    ends = _fitted(x[mask], y[mask])
    axes.plot(*ends, **line, zorder=3)
    first, last = ends.T
    taken.append(np.linspace(first, last, 60))
    entries.append((text or _correlation(found), {**style, **line}))

  for name in dict.fromkeys(groups):
    mask = groups == name
    style = styles.get(name, _series(0))
    axes.plot(
      x[mask],
      y[mask],
      **{**style, "linestyle": "none", "markersize": size},
      alpha=0.7,
      markeredgecolor="white",
      markeredgewidth=0.6,
    )
    if panel.groups is not None:
      found = correlation_lib.correlate(x[mask], y[mask], samples=1)
      if found.pearson is not None:
        fit(mask, style, found, None)
  if entries and panel.correlation is None:
    return entries, np.concatenate(taken)
  found = panel.correlation
  if found is None:
    found = correlation_lib.correlate(x, y)
  text = _correlation(found)
  if found.interval is not None:
    low, high = (_number(end, 3) for end in found.interval)
    text += f"\n{100 * found.level:g} % interval {low} to {high}"
  if entries:
    text = f"all: {text}"
  if found.pearson is None or x.min() == x.max():
    entries.append((text, {"linestyle": "none"}))
  else:
    color = _OTHER if panel.groups is not None else _BEST
    fit(np.full(len(x), True), {"color": color}, found, text)
  return entries, np.concatenate(taken)


def _fitted(x, y):
  """Ends of the least-squares line, `[2, 2]`: both x, both y."""
  away = x - x.mean()
  slope = away @ y / (away @ away)
  ends = np.array([x.min(), x.max()])
  return np.stack([ends, y.mean() + slope * (ends - x.mean())])


def _correlation(found):
  if found.pearson is None:
    return "r undefined"
  p = f"p = {found.p_value:.3f}" if found.p_value >= 0.001 else "p < 0.001"
  return f"r = {_number(found.pearson, 3)} ({p})"


def _corner(axes, entries, points):
  """Puts a legend into the emptiest corner, or above all points."""
  # Of one line for all points, nobody asks which it is.
  plain = len(entries) == 1 and "marker" not in entries[0][1]
  many = len(entries) > 4
  narrow = axes.bbox.width < 4.4 * axes.figure.dpi
  legend = axes.legend(
    _handles(entries),
    [text for text, _ in entries],
    ncols=2 if many else 1,
    loc="upper left",
    fontsize=9 if many and narrow else 12,
    frameon=False,
    borderpad=0.2,
    handlelength=0 if plain else 1.5,
    handletextpad=0 if plain else 0.5,
    columnspacing=0.8,
  )
  legend.set_in_layout(False)
  if plain:
    legend.legend_handles[0].set_visible(False)
  box, room = legend.get_window_extent(), axes.bbox
  pad = 0.14 * axes.figure.dpi
  width, height = box.width + pad, box.height + pad
  x, y = axes.transData.transform(points).T
  left, right = x < room.x0 + width, x > room.x1 - width
  low, high = y < room.y0 + height, y > room.y1 - height
  inside = {
    "upper left": left & high,
    "lower right": right & low,
    "upper right": right & high,
    "lower left": left & low,
  }
  place = min(inside, key=lambda corner: inside[corner].sum())
  if inside[place].any():
    place = "upper left"
    bottom, top = axes.get_ylim()
    share = min(height / room.height, 0.6)
    axes.set_ylim(bottom, bottom + (top - bottom) / (1 - share))
    axes.set_yticks([y for y in axes.get_yticks() if bottom <= y <= top])
  legend.set_loc(place)


@dataclasses.dataclass(frozen=True, eq=False)
class Levels:
  """One chart of levels of several: see `levels` for its attributes.

  Attributes:
    series: levels by name.
    score: what the levels are of.
    truth: what the bars are.
    title: of this panel.
  """

  series: Mapping[str, Sequence[correlation_lib.Level]]
  score: str
  truth: str
  title: str = ""


def levels(
  series: Mapping[str, Sequence[correlation_lib.Level]],
  *,
  score: str,
  truth: str,
  title: str,
  path: str | os.PathLike[str],
) -> None:
  """Draws the mean truth of each level of a score, with standard errors.

  The number above a bar counts its tasks. Levels without any have no bar.

  Args:
    series: levels by name, as `correlation.levels` gives them; several series
      (ways of transfer) stand beside each other. One name may be empty.
    score: what the levels are of.
    truth: what the bars are.
    title: what was compared, on what.
    path: file to write, `.png`, `.pdf` or `.svg`; replaced.

  Raises:
    InputError: if there is nothing to draw, series differ in how many levels
      they have, or as `check_plot`.

  Reference: Nguyen et al., "LEEP", ICML 2020, figure 2.
  """
  levels_grid([[Levels(series, score, truth)]], title=title, path=path)


def levels_grid(
  panels: Sequence[Sequence[Levels]],
  *,
  title: str,
  path: str | os.PathLike[str],
) -> None:
  """Draws charts of levels beside and below each other, series in one style.

  Args:
    panels: rows of panels.
    title: what was compared, on what.
    path: file to write, `.png`, `.pdf` or `.svg`; replaced.

  Raises:
    InputError: as `levels`.
  """
  check_plot(path)
  every = [panel for row in panels for panel in row]
  if not every or not all(any(panel.series.values()) for panel in every):
    raise checks.InputError("there are no levels to draw")
  names = dict.fromkeys(name for panel in every for name in panel.series)
  styles = {
    name: {"color": _series(i)["color"], "marker": "s", "markersize": 11}
    for i, name in enumerate(names)
  }
  figure, places = _panels(panels, title, styles)
  for axes, panel, _ in places:
    _draw_levels(axes, panel, styles, alone=len(every) == 1)
  entries = [(n, {**s, "linestyle": "none"}) for n, s in styles.items() if n]
  _legend(figure, entries)
  _save(figure, path)


def _draw_levels(axes, panel, styles, *, alone):
  series = panel.series
  counts = {len(found) for found in series.values()}
  if len(counts) > 1:
    raise checks.InputError(
      f"series have {' and '.join(map(str, sorted(counts)))} levels: bars "
      "beside each other are of the same level"
    )
  count = counts.pop()
  width = 0.8 / len(series)
  small = 12 if alone and len(series) * count <= 20 else 9
  for i, (name, found) in enumerate(series.items()):
    for place, level in enumerate(found):
      x = place + (i - (len(series) - 1) / 2) * width
      top = level.mean or 0.0
      if level.mean is not None:
        axes.bar(x, level.mean, 0.92 * width, color=styles[name]["color"])
      if level.standard_error is not None:
        axes.errorbar(
          x,
          level.mean,
          level.standard_error,
          color="black",
          capsize=min(4, 24 * width),
          linewidth=1.3,
        )
        top += level.standard_error
      axes.annotate(
        str(level.n),
        (x, max(top, 0)),
        (0, 3),
        textcoords="offset points",
        ha="center",
        fontsize=small,
        color=_OTHER,
      )
  what = " (above the bars: how many tasks)" if alone else ""
  _axes(axes, f"level of {panel.score}{what}", panel.truth)
  axes.grid(visible=False, axis="x")
  axes.axhline(0, color="black", linewidth=0.8)
  axes.margins(y=0.1)
  texts = [str(place + 1) for place in range(count)]
  edges = {tuple((e.low, e.high) for e in found) for found in series.values()}
  shared = edges.pop()
  if not edges and count <= 6:
    wide = shared[0][1] - shared[0][0]
    digits = max(0, 1 - math.floor(math.log10(wide)))
    to = " to " if alone else "\nto "
    texts = [
      f"{text}\n{_number(low, digits)}{to}{_number(high, digits)}"
      for text, (low, high) in zip(texts, shared, strict=True)
    ]
  _label(axes.xaxis, texts, ["black"] * count, 12 if alone else 9)


@dataclasses.dataclass(frozen=True, eq=False)
class Curves:
  """One chart of curves of several: see `curves` for its attributes.

  Attributes:
    series: by name, `[T, E]` or `[E]`.
    value: what the values are.
    title: of this panel.
    start: epoch of the first value.
    step: epochs from one value to the next.
  """

  series: Mapping[str, Any]
  value: str
  title: str = ""
  start: int = 1
  step: int = 1


def curves(
  series: Mapping[str, Any],
  *,
  value: str,
  title: str,
  path: str | os.PathLike[str],
  start: int = 1,
  step: int = 1,
  zero: bool = False,
  ordered: bool = False,
) -> None:
  """Draws values per epoch: the mean over runs, its standard error shaded.

  Args:
    series: by name, `[T, E]` values of T runs after E epochs, or `[E]` of one.
      Lengths may differ.
    value: what the values are, beside the axis.
    title: what was compared, on what.
    path: file to write, `.png`, `.pdf` or `.svg`; replaced.
    start: epoch of the first value: 0 if that is before training.
    step: epochs from one value to the next.
    zero: whether a line marks 0, for differences to a reference.
    ordered: whether series are steps from low to high, as levels of a score
      are: colours then run likewise.

  Raises:
    InputError: if there is nothing to draw, values are not finite or of
      another shape, or as `check_plot`.

  Reference: Nguyen et al., "LEEP", ICML 2020, figure 4.
  """
  panel = Curves(series, value, start=start, step=step)
  curves_grid([[panel]], title=title, path=path, zero=zero, ordered=ordered)


def curves_grid(
  panels: Sequence[Sequence[Curves]],
  *,
  title: str,
  path: str | os.PathLike[str],
  zero: bool = False,
  ordered: bool = False,
) -> None:
  """Draws charts of curves beside and below each other, series in one style.

  Args:
    panels: rows of panels.
    title: what was compared, on what.
    path: file to write, `.png`, `.pdf` or `.svg`; replaced.
    zero: as for `curves`.
    ordered: as for `curves`.

  Raises:
    InputError: as `curves`.
  """
  from matplotlib import colormaps

  check_plot(path)
  every = [panel for row in panels for panel in row]
  if not every or not all(panel.series for panel in every):
    raise checks.InputError("there are no curves to draw")
  names = dict.fromkeys(name for panel in every for name in panel.series)
  styles = {}
  for i, name in enumerate(names):
    styles[name] = {**_series(i), "linewidth": 2, "markersize": 7}
    if ordered:
      share = i / max(len(names) - 1, 1)
      styles[name]["color"] = colormaps["viridis"](0.85 * share)
  figure, places = _panels(panels, title, styles)
  for axes, panel, _ in places:
    _draw_curves(axes, panel, styles, zero)
  _legend(figure, [(name, s) for name, s in styles.items() if name])
  _save(figure, path)


def _draw_curves(axes, panel, styles, zero):
  from matplotlib import ticker

  runs = {name: _runs(name, values) for name, values in panel.series.items()}
  longest = max(values.shape[1] for values in runs.values())
  if zero:
    axes.axhline(0, color="black", linewidth=1.2)
  for i, (name, values) in enumerate(runs.items()):
    count, length = values.shape
    epochs = panel.start + panel.step * np.arange(length)
    mean = values.mean(axis=0)
    # Marks of different series do not hide each other.
    every = max(1, longest // 10)
    axes.plot(epochs, mean, **styles[name], markevery=(i % every, every))
    if count > 1:
      error = values.std(axis=0, ddof=1) / np.sqrt(count)
      axes.fill_between(
        epochs,
        mean - error,
        mean + error,
        color=styles[name]["color"],
        alpha=0.2,
        linewidth=0,
      )
  _axes(axes, "epoch", panel.value)
  axes.margins(x=0.02)
  axes.xaxis.set_major_locator(ticker.MaxNLocator(10, integer=True))


def _runs(name, values):
  array = checks.as_array(f"curve {name!r}", values)
  if array.ndim == 1:
    array = array[None]
  if array.ndim != 2 or not array.size:
    raise checks.InputError(
      f"curve {name!r} has shape {np.shape(values)}, not [runs, epochs]"
    )
  if array.dtype.kind not in "fiub" or not np.isfinite(array).all():
    raise checks.InputError(
      f"curve {name!r} holds values that are missing or no numbers: leave out "
      "runs that were not finished"
    )
  return array.astype(float)


def _series(i):
  """Style of the i-th of several series."""
  size = len(_COLORS)
  return {
    "color": _COLORS[i % size],
    "marker": _MARKERS[(i + i // size) % len(_MARKERS)],
    "markersize": 8,
  }


def _axes(axes, x, y):
  """Names the axes, in the style of all charts."""
  axes.set_xlabel(x, fontsize=13, parse_math=False)
  axes.set_ylabel(y, fontsize=13, parse_math=False)
  axes.tick_params(labelsize=12, length=0)
  axes.grid(visible=True, **_GRID)
  axes.set_axisbelow(True)
  axes.spines[:].set_visible(False)
  for side in (axes.xaxis, axes.yaxis):
    side.get_major_formatter().set_useOffset(False)


def _figure(width, height, title):
  from matplotlib.figure import Figure
  from matplotlib.layout_engine import ConstrainedLayoutEngine

  figure = Figure(
    figsize=(width, height),
    dpi=_DPI,
    layout=ConstrainedLayoutEngine(w_pad=0.12, h_pad=0.12),
    facecolor="white",
  )
  lines = textwrap.wrap(title, int(width * 7.8))
  figure.suptitle(
    "\n".join(lines),
    x=0.01,
    ha="left",
    fontsize=15,
    fontweight="bold",
    parse_math=False,
  )
  return figure


def _dot(like_best):
  """Filled or hollow: to be told apart without colours, too."""
  color = _BEST if like_best else _OTHER
  fill = color if like_best else "white"
  return {
    "marker": "o",
    "markersize": 9,
    "markerfacecolor": fill,
    "markeredgecolor": color,
    "markeredgewidth": 2,
  }


def _interval(color):
  """A line whose ends show beside a dot that covers the rest."""
  return {
    "color": color,
    "linewidth": 1.8,
    "marker": "|",
    "markersize": 11,
    "markeredgewidth": 1.8,
  }


def _label(axis, texts, colors, size):
  """Puts one text at each row or column."""
  axis.set_ticks(range(len(texts)), texts, fontsize=size, parse_math=False)
  axis.set_tick_params(length=0)
  for text, color in zip(axis.get_ticklabels(), colors, strict=True):
    text.set_color(color)


def _handles(entries):
  from matplotlib.lines import Line2D

  return [Line2D([], [], **style) for _, style in entries]


def _columns(names, width):
  """How many names stand beside each other in a legend."""
  longest = max([len(_fit(name, 44)) for name in names], default=0)
  return max(1, min(len(names), int(width * 9 / (longest + 7))))


def _names_height(names, width):
  """Inches that a legend of many names needs, beyond its first line."""
  lines = -(-len(names) // _columns(names, width))
  return 0.25 * max(0, lines - 1)


def _legend(figure, entries, columns=None):
  from matplotlib.legend_handler import HandlerLine2D

  lines = _handles(entries)
  if not lines:
    return
  names = [_fit(text, 44) for text, _ in entries]
  legend = figure.legend(
    lines,
    names,
    loc="outside lower left",
    ncols=columns or _columns(names, figure.get_figwidth()),
    fontsize=12,
    frameon=False,
    # An interval has a mark at both its ends.
    handler_map={
      line: HandlerLine2D(numpoints=1 + (line.get_marker() == "|"))
      for line in lines
    },
  )
  for text in legend.get_texts():
    text.set_parse_math(False)


def _fit(name, width):
  """A name in one line of at most `width` characters, cut in the middle."""
  name = " ".join(name.split())
  if len(name) <= width:
    return name
  tail = (width - 1) // 2
  return f"{name[: width - 1 - tail]}…{name[-tail:]}"


def _number(value, digits):
  """Never minus zero, and with the minus sign that axes have."""
  return f"{value:z.{digits}f}".replace("-", "\N{MINUS SIGN}")


def _save(figure, path):
  import matplotlib

  path = pathlib.Path(path).expanduser()
  suffix = path.suffix[1:].lower()
  # The same chart is the same file: no date, no random names of parts.
  dates = {"svg": {"Date": None}, "pdf": {"CreationDate": None}}
  image = io.BytesIO()
  with matplotlib.rc_context({"svg.hashsalt": "leep_jax"}):
    figure.savefig(image, format=suffix, metadata=dates.get(suffix))
  results.replace_file(path, image.getvalue())
