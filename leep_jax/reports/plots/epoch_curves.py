"""Values per epoch: the mean over runs, its standard error shaded."""

from collections.abc import Mapping, Sequence
import dataclasses
import os
from typing import Any

import numpy as np

from leep_jax import validation
from leep_jax.reports.plots import style


@dataclasses.dataclass(frozen=True, eq=False)
class Curves:
  """One of several charts of curves; its attributes are arguments of `curves`.

  Attributes:
    series: by name, `[T, E]` or `[E]`.
    value: name of the values.
    title: of this panel.
    start: epoch of the first value.
    step: epochs from one value to the next.

  Example:
    >>> from leep_jax.reports import plots
    >>> plots.Curves({"probe": [0.5, 0.7]}, "test accuracy", "digits").start
    1
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
    value: name of the values, for the axis.
    title: of the figure.
    path: file to write, `.png`, `.pdf` or `.svg`; replaced.
    start: epoch of the first value: 0 if that is before training.
    step: epochs from one value to the next.
    zero: whether to mark 0 by a line, for differences to a reference.
    ordered: whether series are steps from low to high, such as levels of a
      score: colours then go from dark to light.

  Raises:
    InputError: if there is nothing to draw, values are not finite or of
      another shape, or as `check_plot`.

  Reference: Nguyen et al., "LEEP", ICML 2020, figure 4.

  Example:
    >>> import pathlib, tempfile
    >>> from leep_jax.reports import plots
    >>> runs = {"fine_tune": [[0.5, 0.7, 0.8], [0.6, 0.7, 0.7]]}
    >>> with tempfile.TemporaryDirectory() as folder:
    ...   path = pathlib.Path(folder) / "curves.svg"
    ...   plots.curves(runs, value="test accuracy", title="digits", path=path)
    ...   path.exists()
    True
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
  """Draws a grid of charts of curves; a series has one style in all of them.

  Args:
    panels: rows of panels.
    title: of the figure.
    path: file to write, `.png`, `.pdf` or `.svg`; replaced.
    zero: as for `curves`.
    ordered: as for `curves`.

  Raises:
    InputError: as `curves`.

  Example:
    >>> import pathlib, tempfile
    >>> from leep_jax.reports import plots
    >>> panels = [plots.Curves({"probe": [0.5, value]}, "accuracy", name)
    ...           for name, value in (("digits", 0.7), ("cifar10", 0.6))]
    >>> with tempfile.TemporaryDirectory() as folder:
    ...   path = pathlib.Path(folder) / "curves.svg"
    ...   plots.curves_grid([panels], title="two targets", path=path)
    ...   path.exists()
    True
  """
  from matplotlib import colormaps

  style.check_plot(path)
  every = [panel for row in panels for panel in row]
  if not every or not all(panel.series for panel in every):
    raise validation.InputError("there are no curves to draw")
  names = dict.fromkeys(name for panel in every for name in panel.series)
  styles = {}
  for i, name in enumerate(names):
    styles[name] = {**style.series_style(i), "linewidth": 2, "markersize": 7}
    if ordered:
      share = i / max(len(names) - 1, 1)
      # The last colours of this map are too light for lines on white.
      styles[name]["color"] = colormaps["viridis"](0.85 * share)
  figure, laid_out = style.make_panels(panels, title, styles)
  for axes, panel, _ in laid_out:
    _draw_curves(axes, panel, styles, zero)
  style.draw_legend(figure, [(name, s) for name, s in styles.items() if name])
  style.save_figure(figure, path)


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
    # About ten marks a series, at other epochs for each: otherwise the marks
    # of curves that lie near each other would hide each other.
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
  style.name_axes(axes, "epoch", panel.value)
  axes.margins(x=0.02)
  axes.xaxis.set_major_locator(ticker.MaxNLocator(10, integer=True))


def _runs(name, values):
  array = validation.as_array(f"curve {name!r}", values)
  if array.ndim == 1:
    array = array[None]
  if array.ndim != 2 or not array.size:
    raise validation.InputError(
      f"curve {name!r} has shape {np.shape(values)}, not [runs, epochs]"
    )
  if array.dtype.kind not in "fiub" or not np.isfinite(array).all():
    raise validation.InputError(
      f"curve {name!r} holds values that are missing or no numbers: leave out "
      "runs that were not finished"
    )
  return array.astype(float)
