"""Colours, sizes, axes and legends of all figures, and how they are saved.

Figures are drawn without pyplot, which has global state: a call changes nothing
but its file. Files are replaced atomically, as in `results`. Matplotlib takes
most of a second to import, and is imported when a figure is drawn.
"""

from collections.abc import Iterable, Sequence
import io
import os
import pathlib
import textwrap
from typing import TYPE_CHECKING, Any, Protocol, TypeVar

from leep_jax.reports import results

if TYPE_CHECKING:
  from matplotlib import axes as axes_lib, axis as axis_lib, figure as figures
  from matplotlib.lines import Line2D

_SUFFIXES = (".png", ".pdf", ".svg")
_DPI = 200
WIDTH = 10  # inches: with 5.6 of height, a slide
BEST, OTHER = "#0b5394", "#6b6b6b"
# Series differ in colour and marker, for readers who cannot tell colours.
_COLORS = (
  BEST, "#d1660f", "#2e7d4f", "#9c2f7f", "#8a7a00", "#0f8ea3", "#8b4513",
  "#d6569e", "#4a4a4a", "#6a4fb3", "#c08a00", "#5f9e2f",
)  # fmt: skip
# One fewer than colours: the pairs only repeat after a hundred series.
_MARKERS = "osD^vPX<>"

Style = dict[str, Any]  # keyword arguments of Matplotlib's lines
GRID: Style = {"color": "#e4e4e4", "linewidth": 0.8}
Entries = Sequence[tuple[str, Style]]  # of a legend


class Titled(Protocol):
  """A panel of a figure: any object with a title.

  Example:
    >>> from leep_jax.reports import plots
    >>> plots.Panel([], [], "LEEP", "accuracy", title="digits").title
    'digits'
  """

  @property
  def title(self) -> str:
    """Returns the title of the panel."""


P = TypeVar("P", bound=Titled)


def check_plot(path: str | os.PathLike[str]) -> None:
  """Checks that a figure can be written to a path, before it is drawn.

  Args:
    path: of the file.

  Raises:
    InputError: if the suffix is none of `.png`, `.pdf` and `.svg`, or the file
      cannot be made or replaced.

  Example:
    >>> from leep_jax.reports import plots
    >>> plots.check_plot("ranking.jpg")
    Traceback (most recent call last):
      ...
    leep_jax...InputError: plot ranking.jpg must end in .png, .pdf or .svg, ...
  """
  results.check_path("plot", path, _SUFFIXES)


def make_panels(
  rows: Sequence[Sequence[P]], title: str, names: Iterable[str]
) -> tuple["figures.Figure", list[tuple["axes_lib.Axes", P, P | None]]]:
  """Lays out panels in rows, with room for a legend below them.

  Args:
    rows: of panels.
    title: of the figure.
    names: in the legend.

  Returns:
    The figure, and for each panel its axes, the panel itself, and the first
    panel of its row, or None where it is the first.

  Example:
    >>> from leep_jax.reports import plots
    >>> from leep_jax.reports.plots import style
    >>> panel = plots.Panel([], [], "LEEP", "accuracy", title="digits")
    >>> figure, [(axes, _, first)] = style.make_panels([[panel]], "", [])
    >>> axes.get_title(loc="left"), first
    ('digits', None)
  """
  names = list(names)
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
        # Characters of this size that fit above panels of so many columns.
        fit_name(panel.title, {1: 80, 2: 42}.get(columns, 34)),
        loc="left",
        fontsize=13,
        parse_math=False,
      )
      found.append((axes, panel, row[0] if j else None))
  return figure, found


def series_style(i: int) -> Style:
  """Returns the style of one of several series: its colour and marker.

  Args:
    i: number of the series, from 0.

  Example:
    >>> from leep_jax.reports.plots import style
    >>> style.series_style(0)["marker"], style.series_style(1)["marker"]
    ('o', 's')
  """
  size = len(_COLORS)
  return {
    "color": _COLORS[i % size],
    "marker": _MARKERS[(i + i // size) % len(_MARKERS)],
    "markersize": 8,
  }


def name_axes(axes: "axes_lib.Axes", x: str, y: str) -> None:
  """Names the axes, in the style of all charts.

  Args:
    axes: of one panel.
    x: name of the axis below.
    y: name of the axis beside.

  Example:
    >>> from leep_jax.reports.plots import style
    >>> axes = style.make_figure(4, 3, "").add_subplot()
    >>> style.name_axes(axes, "LEEP", "test accuracy")
    >>> axes.get_xlabel(), axes.get_ylabel()
    ('LEEP', 'test accuracy')
  """
  axes.set_xlabel(x, fontsize=13, parse_math=False)
  axes.set_ylabel(y, fontsize=13, parse_math=False)
  axes.tick_params(labelsize=12, length=0)
  axes.grid(visible=True, **GRID)
  axes.set_axisbelow(True)
  axes.spines[:].set_visible(False)
  for side in (axes.xaxis, axes.yaxis):
    formatter: Any = side.get_major_formatter()
    # Otherwise ticks may be differences to a number in a corner.
    formatter.set_useOffset(False)


def make_figure(width: float, height: float, title: str) -> "figures.Figure":
  """Returns an empty figure with a title.

  Args:
    width: in inches.
    height: in inches.
    title: of the figure; long ones are wrapped.

  Example:
    >>> from leep_jax.reports.plots import style
    >>> figure = style.make_figure(10, 5.6, "digits")
    >>> figure.get_suptitle(), float(figure.get_figwidth())
    ('digits', 10.0)
  """
  from matplotlib.figure import Figure
  from matplotlib.layout_engine import ConstrainedLayoutEngine

  figure = Figure(
    figsize=(width, height),
    dpi=_DPI,
    layout=ConstrainedLayoutEngine(w_pad=0.12, h_pad=0.12),
    facecolor="white",
  )
  # About 7.8 characters of this size and weight fit into an inch.
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


def dot_style(like_best: bool) -> Style:
  """Returns the style of a source: filled or hollow, so not by colour alone.

  Args:
    like_best: whether the source may be the best.

  Example:
    >>> from leep_jax.reports.plots import style
    >>> style.dot_style(False)["markerfacecolor"]
    'white'
  """
  color = BEST if like_best else OTHER
  fill = color if like_best else "white"
  return {
    "marker": "o",
    "markersize": 9,
    "markerfacecolor": fill,
    "markeredgecolor": color,
    "markeredgewidth": 2,
  }


def interval_style(color: str) -> Style:
  """Returns the style of an interval, with marks at its ends.

  A short interval is hidden by the dot of its value, but the marks are higher
  than the dot.

  Args:
    color: of the line.

  Example:
    >>> from leep_jax.reports.plots import style
    >>> style.interval_style(style.BEST)["marker"]
    '|'
  """
  return {
    "color": color,
    "linewidth": 1.8,
    "marker": "|",
    "markersize": 11,
    "markeredgewidth": 1.8,
  }


def guide_line() -> Style:
  """Returns the style of a line that is no data, such as a diagonal.

  Example:
    >>> from leep_jax.reports.plots import style
    >>> style.guide_line()["linestyle"]
    '--'
  """
  return {"color": OTHER, "linestyle": "--", "linewidth": 1.2}


def label_ticks(
  axis: "axis_lib.Axis",
  texts: Sequence[str],
  colors: Sequence[str],
  size: float,
) -> None:
  """Writes one text at each row or column.

  Args:
    axis: whose ticks are at 0, 1, 2, ...
    texts: for the ticks.
    colors: of the texts.
    size: of the texts, in points.

  Example:
    >>> from leep_jax.reports.plots import style
    >>> axes = style.make_figure(4, 3, "").add_subplot()
    >>> style.label_ticks(axes.yaxis, ["a", "b"], ["black", style.BEST], 12)
    >>> [text.get_text() for text in axes.get_yticklabels()]
    ['a', 'b']
  """
  axis.set_ticks(range(len(texts)), texts, fontsize=size, parse_math=False)
  axis.set_tick_params(length=0)
  for text, color in zip(axis.get_ticklabels(), colors, strict=True):
    text.set_color(color)


def legend_handles(entries: Entries) -> list["Line2D"]:
  """Returns one line for each entry of a legend.

  Args:
    entries: pairs of text and style.

  Example:
    >>> from leep_jax.reports.plots import style
    >>> (line,) = style.legend_handles([("best", style.dot_style(True))])
    >>> line.get_marker()
    'o'
  """
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


def draw_legend(
  figure: "figures.Figure", entries: Entries, *, columns: int | None = None
) -> None:
  """Draws a legend below the panels.

  Args:
    figure: of the panels.
    entries: pairs of text and style; without any, there is no legend.
    columns: of the legend; by default as many as fit.

  Example:
    >>> from leep_jax.reports.plots import style
    >>> figure = style.make_figure(10, 5.6, "")
    >>> style.draw_legend(figure, [("best", style.dot_style(True))])
    >>> [text.get_text() for text in figure.legends[0].get_texts()]
    ['best']
  """
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


def fit_name(name: str, width: int) -> str:
  """Returns a name in one line, cut in the middle if it is too long.

  Args:
    name: to fit.
    width: most characters to use.

  Example:
    >>> from leep_jax.reports.plots import style
    >>> style.fit_name("mobilenet_v1_025", 9)
    'mobi…_025'
  """
  name = " ".join(name.split())
  if len(name) <= width:
    return name
  tail = (width - 1) // 2
  return f"{name[: width - 1 - tail]}…{name[-tail:]}"


def format_number(value: float, digits: int) -> str:
  """Formats a number as Matplotlib's axes do, with a minus sign, not a hyphen.

  Args:
    value: to format; -0.0 and what rounds to it has no sign.
    digits: after the decimal point.

  Example:
    >>> from leep_jax.reports.plots import style
    >>> ascii(style.format_number(-1.25, 1)), style.format_number(-0.001, 2)
    ("'\\\\u22121.2'", '0.00')
  """
  return f"{value:z.{digits}f}".replace("-", "\N{MINUS SIGN}")


def save_figure(figure: "figures.Figure", path: str | os.PathLike[str]) -> None:
  """Writes a figure in the format of the file's suffix.

  Args:
    figure: to write.
    path: file to write, `.png`, `.pdf` or `.svg`; replaced.

  Example:
    >>> import pathlib, tempfile
    >>> from leep_jax.reports.plots import style
    >>> with tempfile.TemporaryDirectory() as folder:
    ...   path = pathlib.Path(folder) / "empty.png"
    ...   style.save_figure(style.make_figure(2, 2, ""), path)
    ...   path.read_bytes()[1:4]
    b'PNG'
  """
  import matplotlib

  path = pathlib.Path(path).expanduser()
  suffix = path.suffix[1:].lower()
  # Equal figures are equal files, so that tests and git can compare them: no
  # date, and no random names of parts.
  dates = {"svg": {"Date": None}, "pdf": {"CreationDate": None}}
  image = io.BytesIO()
  with matplotlib.rc_context({"svg.hashsalt": "leep_jax"}):
    figure.savefig(image, format=suffix, metadata=dates.get(suffix))
  results.replace_file(path, image.getvalue())
