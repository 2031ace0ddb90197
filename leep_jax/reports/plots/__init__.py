"""Figures: rankings, matrices of tasks, scores against transfer performance.

A new figure is a file here, a row of `FIGURES` and a row of `CHARTS` in
`tests/reports/test_plots.py`, whose tests then run for it.
"""

from collections.abc import Callable
from typing import Any

from leep_jax.reports.plots.epoch_curves import Curves, curves, curves_grid
from leep_jax.reports.plots.heat_maps import matrix
from leep_jax.reports.plots.level_bars import Levels, levels, levels_grid
from leep_jax.reports.plots.predictions import predicted_reached
from leep_jax.reports.plots.rankings import ranking
from leep_jax.reports.plots.scatter_plots import Panel, scatter, scatter_grid
from leep_jax.reports.plots.speed_charts import accuracy_speed
from leep_jax.reports.plots.style import check_plot

# Each writes one figure to `path`.
FIGURES: dict[str, Callable[..., Any]] = {
  "ranking": ranking,
  "matrix": matrix,
  "scatter": scatter,
  "scatter_grid": scatter_grid,
  "levels": levels,
  "levels_grid": levels_grid,
  "curves": curves,
  "curves_grid": curves_grid,
  "accuracy_speed": accuracy_speed,
  "predicted_reached": predicted_reached,
}

__all__ = [
  "FIGURES",
  "Curves",
  "Levels",
  "Panel",
  "accuracy_speed",
  "check_plot",
  "curves",
  "curves_grid",
  "levels",
  "levels_grid",
  "matrix",
  "predicted_reached",
  "ranking",
  "scatter",
  "scatter_grid",
]
