"""Sources ranked by one score, each with its interval."""

from collections.abc import Sequence
import os

import numpy as np
import numpy.typing as npt

from leep_jax import validation
from leep_jax.reports.plots import style


def ranking(
  names: Sequence[str],
  values: Sequence[float | None],
  errors: npt.ArrayLike | Sequence[tuple[float, float] | None] | None,
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
    title: of the figure.
    marked: `[m]`, which sources do not differ significantly from the best: they
      have its colour, the others are grey. None if this is not known.
    path: file to write, `.png`, `.pdf` or `.svg`; replaced.
    interval: name of the intervals in the legend.

  Raises:
    InputError: if there are no sources, or as `check_plot`.

  Example:
    >>> import pathlib, tempfile
    >>> from leep_jax.reports import plots
    >>> with tempfile.TemporaryDirectory() as folder:
    ...   path = pathlib.Path(folder) / "ranking.svg"
    ...   plots.ranking(["a", "b"], [-1.9, -0.5], [[-2.0, -1.8], [-0.6, -0.4]],
    ...                 score="leep", title="digits", marked=None, path=path)
    ...   path.exists()
    True
  """
  style.check_plot(path)
  if not names:
    raise validation.InputError("there are no sources to draw")
  numbers = np.array([np.nan if v is None else v for v in values], float)
  defined = np.isfinite(numbers)
  # Undefined scores come last; equal ones stay in the order given.
  order = np.argsort(np.where(defined, -numbers, np.inf), kind="stable")
  like_best = np.zeros(len(names), bool) if marked is None else marked
  like_best = np.array(like_best, bool) & defined
  like_best[order[0]] = defined.any()
  ends = np.full((len(names), 2), np.nan)
  if errors is not None:
    ends[:] = np.asarray(errors, float)

  height = max(5.6, 1.9 + 0.3 * len(names))
  figure = style.make_figure(style.WIDTH, height, title)
  axes = figure.add_subplot()
  axes.set_xlabel(f"{score} (higher is better)", fontsize=13, parse_math=False)
  _draw_rows(axes, numbers[order], ends[order], like_best[order])
  _draw_labels(
    axes, [names[i] for i in order], numbers[order], like_best[order]
  )
  entries = _legend_entries(numbers, ends, like_best, interval)
  style.draw_legend(figure, entries, columns=len(entries))
  style.save_figure(figure, path)


def _draw_rows(axes, numbers, ends, like_best):
  """Draws dots and intervals, best on top."""
  for y, (number, interval, best) in enumerate(
    zip(numbers, ends, like_best, strict=True)
  ):
    if not np.isfinite(number):
      continue
    if np.isfinite(interval).all():
      color = style.BEST if best else style.OTHER
      axes.plot(interval, [y, y], **style.interval_style(color))
    axes.plot(number, y, **style.dot_style(best))
  axes.margins(x=0.06)
  # One or two sources are drawn near the middle, not at the edges.
  room = max(0.0, (3 - len(numbers)) / 2)
  # From high to low, as row 0 is on top.
  axes.set_ylim(len(numbers) - 0.4 + room, -0.6 - room)
  axes.grid(axis="both", **style.GRID)
  axes.set_axisbelow(True)
  axes.ticklabel_format(axis="x", useOffset=False)
  axes.locator_params(axis="x", nbins=6)
  axes.tick_params(axis="x", labelsize=12)
  if not np.isfinite(numbers).any():
    axes.set_xticks([])


def _draw_labels(axes, names, numbers, like_best):
  """Writes names on the left, and values where no interval crosses them."""
  right = axes.twinx()
  right.set_ylim(axes.get_ylim())
  size = 13 if len(names) <= 15 else 11
  colors = [style.BEST if best else style.OTHER for best in like_best]
  texts = [
    style.format_number(number, 4) if np.isfinite(number) else "undefined"
    for number in numbers
  ]
  short = [style.fit_name(name, 44) for name in names]
  style.label_ticks(axes.yaxis, short, colors, size)
  style.label_ticks(right.yaxis, texts, colors, size)
  for side in (axes, right):
    side.spines[:].set_visible(False)


def _legend_entries(numbers, ends, like_best, interval):
  """Pairs of text and style, for the kinds of source that the figure shows."""
  defined = np.isfinite(numbers)
  entries = []
  if defined.any():
    several = like_best.sum() > 1
    text = "best, and sources not told apart from it" if several else "best"
    entries.append((text, {**style.dot_style(True), "linestyle": "none"}))
  if (defined & ~like_best).any():
    others = {**style.dot_style(False), "linestyle": "none"}
    entries.append(("others", others))
  if (np.isfinite(ends).all(axis=1) & defined).any():
    entries.append((interval, style.interval_style(style.OTHER)))
  return entries
