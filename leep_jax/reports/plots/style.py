"""What all figures share: colours, sizes, axes, legends, and how files appear.

Figures are drawn without pyplot, so nothing outside a call changes, and a file
appears complete or not at all, as in `results`. Matplotlib is imported when
something is drawn.
"""

import io
import os
import pathlib
import textwrap

from leep_jax.reports import results

_SUFFIXES = (".png", ".pdf", ".svg")
_DPI = 200
WIDTH = 10  # inches: with 5.6 of height, a slide
BEST, OTHER = "#0b5394", "#6b6b6b"
GRID = {"color": "#e4e4e4", "linewidth": 0.8}
# Series differ in colour and marker, for readers who cannot tell colours.
_COLORS = (
  BEST, "#d1660f", "#2e7d4f", "#9c2f7f", "#8a7a00", "#0f8ea3", "#8b4513",
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


def make_panels(rows, title, names):
  """Lays out panels in rows, with room for a legend of names below them.

  Returns the figure, and for each panel its axes, the panel itself, and the
  first panel of its row, or None where it is the first.
  """
  columns = max(map(len, rows))
  single = len(rows) == columns == 1
  width = max(WIDTH, 4.4 * columns)
  height = 5.6 if single else 0.9 + 3.7 * len(rows)
  figure = make_figure(width, height + _names_height(names, width), title)
  grid = figure.add_gridspec(len(rows), columns)
  found = []
  for i, row in enumerate(rows):
    for j, panel in enumerate(row):
      axes = figure.add_subplot(grid[i, j])
      axes.set_title(
        fit_name(panel.title, {1: 80, 2: 42}.get(columns, 34)),
        loc="left",
        fontsize=13,
        parse_math=False,
      )
      found.append((axes, panel, row[0] if j else None))
  return figure, found


def series_style(i):
  """Style of the i-th of several series."""
  size = len(_COLORS)
  return {
    "color": _COLORS[i % size],
    "marker": _MARKERS[(i + i // size) % len(_MARKERS)],
    "markersize": 8,
  }


def name_axes(axes, x, y):
  """Names the axes, in the style of all charts."""
  axes.set_xlabel(x, fontsize=13, parse_math=False)
  axes.set_ylabel(y, fontsize=13, parse_math=False)
  axes.tick_params(labelsize=12, length=0)
  axes.grid(visible=True, **GRID)
  axes.set_axisbelow(True)
  axes.spines[:].set_visible(False)
  for side in (axes.xaxis, axes.yaxis):
    side.get_major_formatter().set_useOffset(False)


def make_figure(width, height, title):
  """An empty figure with a title, its sides in inches."""
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


def dot_style(like_best):
  """Filled or hollow, so that colour is not needed to tell them apart."""
  color = BEST if like_best else OTHER
  fill = color if like_best else "white"
  return {
    "marker": "o",
    "markersize": 9,
    "markerfacecolor": fill,
    "markeredgecolor": color,
    "markeredgewidth": 2,
  }


def interval_style(color):
  """A line whose ends show beside a dot that covers the rest."""
  return {
    "color": color,
    "linewidth": 1.8,
    "marker": "|",
    "markersize": 11,
    "markeredgewidth": 1.8,
  }


def label_ticks(axis, texts, colors, size):
  """Writes one text at each row or column."""
  axis.set_ticks(range(len(texts)), texts, fontsize=size, parse_math=False)
  axis.set_tick_params(length=0)
  for text, color in zip(axis.get_ticklabels(), colors, strict=True):
    text.set_color(color)


def legend_handles(entries):
  """Lines for a legend, of pairs of text and style."""
  from matplotlib.lines import Line2D

  return [Line2D([], [], **style) for _, style in entries]


def _columns(names, width):
  """Number of columns of a legend."""
  longest = max([len(fit_name(name, 44)) for name in names], default=0)
  return max(1, min(len(names), int(width * 9 / (longest + 7))))


def _names_height(names, width):
  """Height in inches of a legend, without its first line."""
  lines = -(-len(names) // _columns(names, width))
  return 0.25 * max(0, lines - 1)


def draw_legend(figure, entries, *, columns=None):
  """Draws a legend below the panels, of pairs of text and style."""
  from matplotlib.legend_handler import HandlerLine2D

  lines = legend_handles(entries)
  if not lines:
    return
  names = [fit_name(text, 44) for text, _ in entries]
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


def fit_name(name, width):
  """A name in one line of at most `width` characters, cut in the middle."""
  name = " ".join(name.split())
  if len(name) <= width:
    return name
  tail = (width - 1) // 2
  return f"{name[: width - 1 - tail]}…{name[-tail:]}"


def format_number(value, digits):
  """Never minus zero, and with the minus sign that axes have."""
  return f"{value:z.{digits}f}".replace("-", "\N{MINUS SIGN}")


def save_figure(figure, path):
  """Writes a figure; the file's suffix says its format."""
  import matplotlib

  path = pathlib.Path(path).expanduser()
  suffix = path.suffix[1:].lower()
  # Equal figures are equal files: no date, no random names of parts.
  dates = {"svg": {"Date": None}, "pdf": {"CreationDate": None}}
  image = io.BytesIO()
  with matplotlib.rc_context({"svg.hashsalt": "leep_jax"}):
    figure.savefig(image, format=suffix, metadata=dates.get(suffix))
  results.replace_file(path, image.getvalue())
