"""Rows to figures: a ranking of sources, and a matrix of tasks.

Figures are drawn without pyplot, so nothing outside a call changes, and a file
appears complete or not at all, as in `results`. Matplotlib is imported when
something is drawn.
"""

from collections.abc import Sequence
import io
import os
import pathlib
import textwrap
from typing import Any

import numpy as np

from leep_jax import checks, results

_SUFFIXES = (".png", ".pdf", ".svg")
_DPI = 200
_WIDTH = 10  # inches: with 5.6 of height, a slide
_BEST, _OTHER = "#0b5394", "#6b6b6b"


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
  axes.grid(axis="both", color="#e4e4e4", linewidth=0.8)
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
  _legend(figure, legend)
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


def _legend(figure, entries):
  from matplotlib.legend_handler import HandlerLine2D
  from matplotlib.lines import Line2D

  lines = [Line2D([], [], **style) for _, style in entries]
  if lines:
    figure.legend(
      lines,
      [text for text, _ in entries],
      loc="outside lower left",
      ncols=len(entries),
      fontsize=12,
      frameon=False,
      # An interval has a mark at both its ends.
      handler_map={
        line: HandlerLine2D(numpoints=1 + (line.get_marker() == "|"))
        for line in lines
      },
    )


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
  path = pathlib.Path(path).expanduser()
  image = io.BytesIO()
  figure.savefig(image, format=path.suffix[1:].lower())
  results.replace_file(path, image.getvalue())
