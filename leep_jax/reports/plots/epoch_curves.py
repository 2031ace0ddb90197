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
