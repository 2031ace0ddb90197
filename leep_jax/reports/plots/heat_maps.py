"""Matrices of sources and targets as heat maps."""

from collections.abc import Sequence
import os

import numpy as np
import numpy.typing as npt

from leep_jax import validation
from leep_jax.reports.plots import style


def matrix(
  values: npt.ArrayLike,
  names: Sequence[str],
  *,
  title: str,
  label: str,
  path: str | os.PathLike[str],
  targets: Sequence[str] | None = None,
  by_target: bool = False,
  side: npt.ArrayLike | None = None,
  side_label: str = "hardness",
  column_label: str = "target",
) -> None:
  """Draws a matrix as a heat map, with numbers if it is small.

  Args:
    values: `[A, B]`, rows are sources and columns are targets; NaN where there
      is no value.
    names: of the A sources; long ones are cut in the middle.
    title: of the figure.
    label: name of the values, for the colour bar.
    path: file to write, `.png`, `.pdf` or `.svg`; replaced.
    targets: names of the B targets, if they are not those of the sources.
    by_target: whether each column has a range of colours of its own, from its
      lowest to its highest value, as values of different targets do not
      compare.
    side: `[B]`, one number of each target, drawn as a bar above its column.
    side_label: name of that number.
    column_label: what the columns are.

  Raises:
    InputError: if there are no tasks, or as `check_plot`.

  Example:
    >>> import pathlib, tempfile
    >>> from leep_jax.reports import plots
    >>> with tempfile.TemporaryDirectory() as folder:
    ...   path = pathlib.Path(folder) / "matrix.svg"
    ...   plots.matrix([[0, -0.3], [-0.2, 0]], ["smiling", "young"],
    ...                title="faces", label="NCE (nats)", path=path)
    ...   path.exists()
    True
  """
  from matplotlib import colors

  style.check_plot(path)
  if not names:
    raise validation.InputError("there are no tasks to draw")
  values = np.asarray(values, float)
  rows = [style.fit_name(name, 32) for name in names]
  columns = [style.fit_name(name, 32) for name in targets or names]
  count = max(len(rows), len(columns))
  few = count <= 12  # numbers of 12 points fit into their cells
  left, below = (1.2 + 0.08 * max(map(len, n)) for n in (rows, columns))
  each = 0.62 if few else 0.24  # inches
  wide, cells = (min(max(len(n) * each, 3.6), 40) for n in (columns, rows))
  bars = 0.0 if side is None else 1.1
  figure = style.make_figure(
    wide + left + 1.2, cells + below + bars + 0.4, title
  )
  grid = figure.add_gridspec(
    1 if side is None else 2,
    1,
    height_ratios=[cells] if side is None else [bars, cells],
  )
  axes = figure.add_subplot(grid[-1, 0])
  shown = _by_target(values) if by_target else values
  low, high = np.nanmin(shown), np.nanmax(shown)
  # A range of width 0 has no colours: equal values get the highest one.
  norm = colors.Normalize(low if low < high else high - 1, high)
  image = axes.imshow(
    shown, norm=norm, cmap="viridis", aspect="auto", interpolation="nearest"
  )
  bar = figure.colorbar(image, ax=axes, pad=0.02, fraction=0.04, aspect=25)
  bar.set_label(label, fontsize=12)
  if by_target:
    bar.set_ticks([low, high], labels=["lowest", "best"])
  bar.ax.tick_params(labelsize=11)
  size = 12 if few else min(9, 50 * max(cells, wide) / count)
  style.label_ticks(axes.yaxis, rows, ["black"] * len(rows), size)
  style.label_ticks(axes.xaxis, columns, ["black"] * len(columns), size)
  for text in axes.get_xticklabels():
    text.set(rotation=90)
    if few:
      text.set(rotation=40, ha="right", rotation_mode="anchor")
  axes.set_xlabel(column_label, fontsize=13)
  axes.set_ylabel("source", fontsize=13)
  axes.spines[:].set_visible(False)
  if few:
    _draw_numbers(axes, values, norm(shown))
  if side is not None:
    above = figure.add_subplot(grid[0, 0], sharex=axes)
    _draw_bars(above, np.asarray(side, float), side_label, numbered=few)
  style.save_figure(figure, path)


def _by_target(values):
  """Values as a part of the range of their column."""
  low, high = np.nanmin(values, axis=0), np.nanmax(values, axis=0)
  span = np.where(high > low, high - low, 1)
  # All of a column are best if all are equal.
  return np.where(high > low, (values - low) / span, values * 0 + 1)


def _draw_numbers(axes, values, shares):
  """Writes each value into its cell, black on light and white on dark."""
  from matplotlib import colormaps

  # The luma of ITU-R BT.601: how bright the eye sees red, green and blue.
  shades = colormaps["viridis"](shares)[..., :3] @ (0.3, 0.59, 0.11)
  for (row, column), value in np.ndenumerate(values):
    axes.text(
      column,
      row,
      "-" if np.isnan(value) else style.format_number(value, 2),
      ha="center",
      va="center",
      fontsize=12,
      # A cell without a value has no colour.
      color="black"
      if shades[row, column] > 0.5 or np.isnan(value)
      else "white",
    )


def _draw_bars(axes, values, label, *, numbered):
  """Draws one bar above each column."""
  bars = axes.bar(np.arange(len(values)), values, color=style.BEST, width=0.7)
  if numbered:
    texts = [style.format_number(value, 2) for value in values]
    axes.bar_label(bars, texts, fontsize=11)
  axes.margins(y=0.2)
  axes.set_ylabel(label, fontsize=12)
  axes.tick_params(axis="x", bottom=False, labelbottom=False)
  axes.tick_params(axis="y", labelsize=10)
  axes.locator_params(axis="y", nbins=3)
  axes.spines[["top", "right"]].set_visible(False)
