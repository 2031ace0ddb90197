"""Transfer performance against a score, with fitted lines."""

from collections.abc import Sequence
import dataclasses
import os

import numpy as np

from leep_jax import validation
from leep_jax.reports import correlation as correlation_lib
from leep_jax.reports.plots import style


@dataclasses.dataclass(frozen=True, eq=False)
class Panel:
  """One of several scatter plots; its attributes are arguments of `scatter`.

  Attributes:
    scores: `[n]`, numbers or None.
    performances: `[n]`, numbers or None.
    score: name of the score.
    performance: name of the measure of performance.
    title: of this panel.
    groups: `[n]` names, or None.
    correlation: of all points, or None.

  Example:
    >>> from leep_jax.reports import plots
    >>> panel = plots.Panel([-2.0, -1.0], [0.5, 0.7], "LEEP", "accuracy")
    >>> panel.groups is None
    True
  """

  scores: correlation_lib.Column
  performances: correlation_lib.Column
  score: str
  performance: str
  title: str = ""
  groups: Sequence[str] | None = None
  correlation: correlation_lib.Correlation | None = None


def scatter(
  scores: correlation_lib.Column,
  performances: correlation_lib.Column,
  *,
  score: str,
  performance: str,
  title: str,
  path: str | os.PathLike[str],
  groups: Sequence[str] | None = None,
  correlation: correlation_lib.Correlation | None = None,
) -> None:
  """Draws transfer performance against a score, with the fitted line.

  One corner states Pearson's r, its p value and its interval. Each group has a
  colour, a marker, a line and an r of its own; if all groups are too small for
  a line (one point a model), there is one line for all points.

  Args:
    scores: `[n]`, numbers or None; rows with a missing value are not drawn.
    performances: `[n]`, numbers or None.
    score: name of the score, for the axis below.
    performance: name of the measure of performance, for the axis beside.
    title: of the figure.
    path: file to write, `.png`, `.pdf` or `.svg`; replaced.
    groups: `[n]` names of the groups of points, such as their models.
    correlation: of all points, for the corner. By default it is computed here,
      with groups only if none of them has one.

  Raises:
    InputError: if there are no points, or as `check_plot` and
      `correlation.correlate`.

  Reference: Nguyen et al., "LEEP", ICML 2020, figure 1.

  Example:
    >>> import pathlib, tempfile
    >>> from leep_jax.reports import plots
    >>> leep, accuracy = [-2.1, -1.4, -0.9, -0.7], [0.61, 0.77, 0.84, 0.88]
    >>> with tempfile.TemporaryDirectory() as folder:
    ...   path = pathlib.Path(folder) / "scatter.svg"
    ...   plots.scatter(leep, accuracy, score="LEEP (nats)", title="digits",
    ...                 performance="test accuracy", path=path)
    ...   path.exists()
    True
  """
  style.check_plot(path)
  panel = Panel(
    scores, performances, score, performance, "", groups, correlation
  )
  if not _points(panel)[0].size:
    raise validation.InputError("there are no points to draw")
  _scatter([[panel]], title, path)


def scatter_grid(
  panels: Sequence[Sequence[Panel]],
  *,
  title: str,
  path: str | os.PathLike[str],
) -> None:
  """Draws a grid of scatter plots; a group has one style in all of them.

  A panel without points is drawn empty. Panels after the first of a row name
  their measure of performance only if it is another one.

  Args:
    panels: rows of panels.
    title: of the figure.
    path: file to write, `.png`, `.pdf` or `.svg`; replaced.

  Raises:
    InputError: if there are no panels, or as `scatter`.

  Example:
    >>> import pathlib, tempfile
    >>> from leep_jax.reports import plots
    >>> panels = [plots.Panel([-2, -1, 0], [0.2, 0.5, 0.9], name, "accuracy")
    ...           for name in ("LEEP", "NCE")]
    >>> with tempfile.TemporaryDirectory() as folder:
    ...   path = pathlib.Path(folder) / "scatter.svg"
    ...   plots.scatter_grid([panels], title="digits", path=path)
    ...   path.exists()
    True
  """
  style.check_plot(path)
  if not any(panels):
    raise validation.InputError("there are no panels to draw")
  _scatter(panels, title, path)


def _scatter(rows, title, path):
  names = dict.fromkeys(
    str(name) for row in rows for panel in row for name in panel.groups or ()
  )
  styles = {name: style.series_style(i) for i, name in enumerate(names)}
  figure, laid_out = style.make_panels(rows, title, styles)
  drawn = []
  for axes, panel, first in laid_out:
    drawn.append((axes, *_draw_panel(axes, panel, styles)))
    beside = first is not None and panel.performance == first.performance
    style.name_axes(axes, panel.score, "" if beside else panel.performance)
  style.draw_legend(
    figure, [(n, {**s, "linestyle": "none"}) for n, s in styles.items()]
  )
  # Which corner is free depends on sizes, known once the figure is laid out.
  figure.draw_without_rendering()
  for axes, entries, points in drawn:
    _corner(axes, entries, points)
  style.save_figure(figure, path)


def _points(panel):
  """Scores, performances and groups of the points; by default one group, ""."""
  (x, y), kept = correlation_lib.complete(
    {"scores": panel.scores, "performances": panel.performances}
  )
  groups = panel.groups
  if groups is None:
    return x, y, np.full(len(x), "")
  if len(groups) != len(kept):
    raise validation.InputError(
      f"groups has {len(groups)} names, but there are {len(kept)} points"
    )
  return x, y, np.array([str(name) for name in groups])[kept]


def _draw_panel(axes, panel, styles):
  """Draws points and lines.

  Returns the entries of the legend in a corner, and points `[n, 2]` that it
  should not cover.
  """
  x, y, groups = _points(panel)
  if not len(x):
    axes.set(xticks=[], yticks=[])
    return [("no points", {"linestyle": "none"})], np.zeros((0, 2))
  size = 8 if len(x) <= 40 else 6
  taken = [np.stack([x, y], axis=1)]
  entries = []

  def fit(mask, marks, found, text):
    line = {"color": marks["color"], "linewidth": 2}
    ends = _fitted(x[mask], y[mask])
    axes.plot(*ends, **line, zorder=3)
    first, last = ends.T
    # Points along the line, so that no legend is drawn over it.
    taken.append(np.linspace(first, last, 60))
    entries.append((text or _correlation(found), {**marks, **line}))

  for name in dict.fromkeys(groups):
    mask = groups == name
    marks = styles.get(name, style.series_style(0))
    axes.plot(
      x[mask],
      y[mask],
      **{**marks, "linestyle": "none", "markersize": size},
      alpha=0.7,
      markeredgecolor="white",
      markeredgewidth=0.6,
    )
    if panel.groups is not None:
      # One sample: the interval, which takes most of the time, is not shown.
      found = correlation_lib.correlate(x[mask], y[mask], samples=1)
      if found.pearson is not None:
        fit(mask, marks, found, None)
  if entries and panel.correlation is None:
    return entries, np.concatenate(taken)
  found = panel.correlation
  if found is None:
    found = correlation_lib.correlate(x, y)
  text = _correlation(found)
  if found.interval is not None:
    low, high = (style.format_number(end, 3) for end in found.interval)
    text += f"\n{100 * found.level:g} % interval {low} to {high}"
  if entries:
    text = f"all: {text}"
  if found.pearson is None or x.min() == x.max():
    entries.append((text, {"linestyle": "none"}))
  else:
    color = style.OTHER if panel.groups is not None else style.BEST
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
  return f"r = {style.format_number(found.pearson, 3)} ({p})"


def _corner(axes, entries, points):
  """Draws a legend in the emptiest corner, or above all points."""
  # A single line for all points needs no marker in the legend.
  plain = len(entries) == 1 and "marker" not in entries[0][1]
  many = len(entries) > 4
  narrow = axes.bbox.width < 4.4 * axes.figure.dpi
  legend = axes.legend(
    style.legend_handles(entries),
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
  # Otherwise the layout might change again, after sizes have been measured.
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
  corner = min(inside, key=lambda name: inside[name].sum())
  if inside[corner].any():
    corner = "upper left"
    bottom, top = axes.get_ylim()
    # Room above all points for the legend; at most three fifths of the axis.
    share = min(height / room.height, 0.6)
    axes.set_ylim(bottom, bottom + (top - bottom) / (1 - share))
    # The room has no ticks, as no values are there.
    axes.set_yticks([y for y in axes.get_yticks() if bottom <= y <= top])
  legend.set_loc(corner)
