"""Expected accuracy of sources against their speed."""

from collections.abc import Sequence
import dataclasses
import os

import numpy as np

from leep_jax import validation
from leep_jax.reports import html_figures
from leep_jax.reports.plots import style

_FRONT = "no source is both faster and better"


@dataclasses.dataclass(frozen=True)
class _Panel:
  title: str = ""


def accuracy_speed(
  names: Sequence[str],
  values: Sequence[float | None],
  intervals: Sequence[tuple[float, float] | None],
  speeds: Sequence[float | None],
  *,
  value: str,
  title: str,
  path: str | os.PathLike[str],
  inputs: str = "images",
) -> None:
  """Draws the expected accuracy of sources against their speed.

  A dashed line joins the sources for which no other is both faster and more
  accurate; these are filled, the others hollow.

  Args:
    names: of the m sources; long ones are cut in the middle.
    values: `[m]`, such as expected accuracies, or None.
    intervals: `[m]`, the ends of each value's interval, or None.
    speeds: `[m]`, examples per second, or None.
    value: name of the values, for the axis beside.
    title: of the figure.
    path: file to write, `.png`, `.pdf` or `.svg`; replaced.
    inputs: what examples are called.

  Raises:
    InputError: if no source has both numbers, or as `check_plot`.

  Example:
    >>> import pathlib, tempfile
    >>> from leep_jax.reports import plots
    >>> with tempfile.TemporaryDirectory() as folder:
    ...   path = pathlib.Path(folder) / "speed.svg"
    ...   plots.accuracy_speed(
    ...     ["a", "b"], [0.9, 0.8], [(0.85, 0.95), None], [100, 900],
    ...     value="expected accuracy", title="digits", path=path)
    ...   path.exists()
    True
  """
  style.check_plot(path)
  front = html_figures.pareto(values, speeds)
  drawn = [
    (name, number, ends, speed, on)
    for name, number, ends, speed, on in zip(
      names, values, intervals, speeds, front, strict=True
    )
    if number is not None and speed is not None and speed > 0
  ]
  if not drawn:
    raise validation.InputError("there are no sources to draw")
  styles = [_dot(i, on) for i, (*_, on) in enumerate(drawn)]
  shown = [name for name, *_ in drawn]
  figure, [(axes, _, _)] = style.make_panels(
    [[_Panel()]], title, [*shown, _FRONT]
  )
  style.name_axes(axes, f"{inputs} per second", value)
  _make_logarithmic(axes)
  best = sorted((speed, number) for _, number, _, speed, on in drawn if on)
  line = style.guide_line()
  axes.plot(*np.transpose(best), **line, drawstyle="steps-pre", zorder=1)
  for (_, number, ends, speed, _), marks in zip(drawn, styles, strict=True):
    if ends is not None:
      error = {**style.interval_style(marks["color"]), "marker": "_"}
      axes.plot([speed, speed], ends, **error)
    axes.plot(speed, number, **marks)
  axes.margins(x=0.08, y=0.08)
  entries = list(zip(shown, styles, strict=True))
  if len(best) > 1:
    entries.append((_FRONT, line))
  style.draw_legend(figure, entries)
  style.save_figure(figure, path)


def _dot(i, on):
  marks = {**style.series_style(i), "linestyle": "none", "markeredgewidth": 2}
  return marks if on else {**marks, "markerfacecolor": "white"}


def _make_logarithmic(axes):
  from matplotlib import ticker

  axes.set_xscale("log")
  axes.xaxis.set_major_locator(ticker.LogLocator(subs=(1, 2, 5)))
  axes.xaxis.set_minor_locator(ticker.NullLocator())
  axes.xaxis.set_major_formatter(ticker.StrMethodFormatter("{x:,g}"))
