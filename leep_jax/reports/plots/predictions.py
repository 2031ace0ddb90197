"""What sources were expected to reach, and what they reached."""

from collections.abc import Sequence
import dataclasses
import os

import numpy as np

from leep_jax import validation
from leep_jax.reports.plots import style

Intervals = Sequence[tuple[float, float] | None]
_EQUAL = "reached as predicted"


@dataclasses.dataclass(frozen=True)
class _Panel:
  title: str = ""


def predicted_reached(
  predicted: Sequence[float],
  reached: Sequence[float],
  *,
  names: Sequence[str],
  value: str,
  title: str,
  path: str | os.PathLike[str],
  predicted_intervals: Intervals | None = None,
  reached_intervals: Intervals | None = None,
) -> None:
  """Draws what sources reached against what was predicted of them.

  Both axes have the same range. Above the diagonal, more was reached than
  predicted.

  Args:
    predicted: `[m]`, such as `probe_accuracy` of m sources.
    reached: `[m]`, such as the test accuracy of their new heads.
    names: of the sources, whose points have a colour and a marker; a source may
      occur several times, as on several data sets.
    value: name of the values, such as accuracy.
    title: of the figure.
    path: file to write, `.png`, `.pdf` or `.svg`; replaced.
    predicted_intervals: `[m]`, the ends of intervals, or None.
    reached_intervals: `[m]`, the ends of intervals, or None.

  Raises:
    InputError: if there are no sources, lengths differ, values are not finite,
      or as `check_plot`.

  Example:
    >>> import pathlib, tempfile
    >>> from leep_jax.reports import plots
    >>> with tempfile.TemporaryDirectory() as folder:
    ...   path = pathlib.Path(folder) / "reached.svg"
    ...   plots.predicted_reached(
    ...     [0.9, 0.8], [0.91, 0.77], names=["a", "b"], value="accuracy",
    ...     title="digits", path=path, reached_intervals=[(0.88, 0.94), None])
    ...   path.exists()
    True
  """
  style.check_plot(path)
  x, y = np.asarray(predicted, float), np.asarray(reached, float)
  none: Intervals = [None] * len(x)
  across, along = predicted_intervals or none, reached_intervals or none
  lengths = [len(part) for part in (x, y, names, across, along)]
  if not len(x) or len(set(lengths)) > 1:
    raise validation.InputError(
      "predicted and reached values, names and intervals must be of the same "
      f"sources, at least one, but there are {', '.join(map(str, lengths))}"
    )
  if not (np.isfinite(x).all() and np.isfinite(y).all()):
    raise validation.InputError(
      "predicted or reached values are missing or infinite: leave out those "
      "sources"
    )
  unique = dict.fromkeys(names)
  styles = {
    name: {**style.series_style(i), "linestyle": "none"}
    for i, name in enumerate(unique)
  }
  figure, [(axes, _, _)] = style.make_panels(
    [[_Panel()]], title, [*unique, _EQUAL]
  )
  style.name_axes(axes, f"predicted {value}", f"reached {value}")
  line = style.guide_line()
  low, high = _limits([*x, *y], [*across, *along])
  axes.plot([low, high], [low, high], **line, zorder=1)
  for i, name in enumerate(names):
    color = {"color": styles[name]["color"], "linewidth": 1.8}
    if (ends := across[i]) is not None:
      axes.plot(ends, [y[i], y[i]], **color, marker="|")
    if (ends := along[i]) is not None:
      axes.plot([x[i], x[i]], ends, **color, marker="_")
    axes.plot(x[i], y[i], **styles[name])
  axes.set(xlim=(low, high), ylim=(low, high))
  style.draw_legend(figure, [*styles.items(), (_EQUAL, line)])
  style.save_figure(figure, path)


def _limits(values, intervals):
  """One range for both axes, with room around all that is drawn."""
  ends = [end for pair in intervals if pair is not None for end in pair]
  low, high = min([*values, *ends]), max([*values, *ends])
  room = max(0.06 * (high - low), 0.005)
  return low - room, high + room
