"""Transfer performance at each level of a score, as bars."""

from collections.abc import Mapping, Sequence
import dataclasses
import math
import os

from leep_jax import validation
from leep_jax.reports import correlation as correlation_lib
from leep_jax.reports.plots import style


@dataclasses.dataclass(frozen=True, eq=False)
class Levels:
  """One of several charts of levels; its attributes are arguments of `levels`.

  Attributes:
    series: levels by name.
    score: name of the score.
    performance: name of the measure of performance.
    title: of this panel.

  Example:
    >>> from leep_jax.reports import correlation, plots
    >>> found = correlation.levels([-2, -1, 0], [0.2, 0.5, 0.9], count=2)
    >>> plots.Levels({"probe": found}, "LEEP", "test accuracy").score
    'LEEP'
  """

  series: Mapping[str, Sequence[correlation_lib.Level]]
  score: str
  performance: str
  title: str = ""


def levels(
  series: Mapping[str, Sequence[correlation_lib.Level]],
  *,
  score: str,
  performance: str,
  title: str,
  path: str | os.PathLike[str],
) -> None:
  """Draws the mean performance of each level of a score, with standard errors.

  The number above a bar is the number of its tasks. Levels without tasks have
  no bar.

  Args:
    series: levels by name, as `correlation.levels` returns them; bars of
      several series (methods of transfer) are beside each other. The name of a
      single series may be empty.
    score: name of the score, for the axis below.
    performance: name of the measure of performance, for the axis beside.
    title: of the figure.
    path: file to write, `.png`, `.pdf` or `.svg`; replaced.

  Raises:
    InputError: if there is nothing to draw, series have different numbers of
      levels, or as `check_plot`.

  Reference: Nguyen et al., "LEEP", ICML 2020, figure 2.

  Example:
    >>> import pathlib, tempfile
    >>> from leep_jax.reports import correlation, plots
    >>> found = correlation.levels([-2, -1, 0], [0.2, 0.5, 0.9], count=2)
    >>> with tempfile.TemporaryDirectory() as folder:
    ...   path = pathlib.Path(folder) / "levels.svg"
    ...   plots.levels({"probe": found}, score="LEEP", title="digits",
    ...                performance="test accuracy", path=path)
    ...   path.exists()
    True
  """
  levels_grid([[Levels(series, score, performance)]], title=title, path=path)


def levels_grid(
  panels: Sequence[Sequence[Levels]],
  *,
  title: str,
  path: str | os.PathLike[str],
) -> None:
  """Draws a grid of charts of levels; a series has one style in all of them.

  Args:
    panels: rows of panels.
    title: of the figure.
    path: file to write, `.png`, `.pdf` or `.svg`; replaced.

  Raises:
    InputError: as `levels`.

  Example:
    >>> import pathlib, tempfile
    >>> from leep_jax.reports import correlation, plots
    >>> found = correlation.levels([-2, -1, 0], [0.2, 0.5, 0.9], count=2)
    >>> panels = [plots.Levels({"probe": found}, "LEEP", measure)
    ...           for measure in ("accuracy", "macro F1")]
    >>> with tempfile.TemporaryDirectory() as folder:
    ...   path = pathlib.Path(folder) / "levels.svg"
    ...   plots.levels_grid([panels], title="digits", path=path)
    ...   path.exists()
    True
  """
  style.check_plot(path)
  every = [panel for row in panels for panel in row]
  if not every or not all(any(panel.series.values()) for panel in every):
    raise validation.InputError("there are no levels to draw")
  names = dict.fromkeys(name for panel in every for name in panel.series)
  styles = {
    name: {
      "color": style.series_style(i)["color"],
      "marker": "s",
      "markersize": 11,
    }
    for i, name in enumerate(names)
  }
  figure, laid_out = style.make_panels(panels, title, styles)
  for axes, panel, _ in laid_out:
    _draw_levels(axes, panel, styles, alone=len(every) == 1)
  entries = [(n, {**s, "linestyle": "none"}) for n, s in styles.items() if n]
  style.draw_legend(figure, entries)
  style.save_figure(figure, path)


def _draw_levels(axes, panel, styles, *, alone):
  """Draws one panel; `alone` if the figure has no other."""
  series = panel.series
  counts = {len(found) for found in series.values()}
  if len(counts) > 1:
    raise validation.InputError(
      f"series have {' and '.join(map(str, sorted(counts)))} levels: bars "
      "beside each other are of the same level"
    )
  count = counts.pop()
  width = 0.8 / len(series)
  small = 12 if alone and len(series) * count <= 20 else 9
  for i, (name, found) in enumerate(series.items()):
    for bar, level in enumerate(found):
      # Bars of a level stand side by side, centred on its tick.
      x = bar + (i - (len(series) - 1) / 2) * width
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
        color=style.OTHER,
      )
  what = " (above the bars: how many tasks)" if alone else ""
  style.name_axes(axes, f"level of {panel.score}{what}", panel.performance)
  axes.grid(visible=False, axis="x")
  axes.axhline(0, color="black", linewidth=0.8)
  axes.margins(y=0.1)
  texts = [str(i + 1) for i in range(count)]
  edges = {tuple((e.low, e.high) for e in found) for found in series.values()}
  shared = edges.pop()
  # Edges are written only if all series have the same, and if there is room.
  if not edges and count <= 6:
    wide = shared[0][1] - shared[0][0]
    digits = max(0, 1 - math.floor(math.log10(wide)))  # two of a bin's width
    to = " to " if alone else "\nto "
    for i, ends in enumerate(shared):
      low, high = (style.format_number(end, digits) for end in ends)
      texts[i] += f"\n{low}{to}{high}"
  style.label_ticks(axes.xaxis, texts, ["black"] * count, 12 if alone else 9)
