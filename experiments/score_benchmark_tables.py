"""What `experiments.score_benchmark` measured, as Markdown tables.

The accuracies that the sources *reach* in a cell (a target at one size) are
means over samples; a metric of a score is computed for each sample, and
averaged over samples, then over cells. Intervals are of the bootstrap that
draws sources and targets anew (Owen, "The Pigeonhole Bootstrap", Annals of
Applied Statistics 2007), which allows for a result that hangs on one source or
one target.
"""

from collections.abc import Callable, Iterator, Mapping, Sequence
import dataclasses
import functools
import pathlib

import numpy as np

from experiments import (
  ranking_metrics,
  score_benchmark,
  score_benchmark_rows as rows_lib,
)
from leep_jax.reports import plots

TABLE = score_benchmark.FOLDER.parent / "score_benchmark.md"
_BOOTSTRAP = 200
_APART = 0.02  # accuracies of a pair that differ at least so much count
_PHOTOS = ("trashnet", "rsscn7_satellite", "sign_language_digits")
Metric = Callable[[np.ndarray, np.ndarray], np.ndarray]
METRICS: dict[str, Metric] = {
  "weighted tau": ranking_metrics.weighted_kendall,
  "Spearman": ranking_metrics.spearman,
  "Pearson": ranking_metrics.pearson,
  "regret": lambda x, y: 100 * ranking_metrics.regret(x, y),
}


@functools.cache
def _draws() -> tuple[np.ndarray, np.ndarray]:
  """Sources `[B, S]` and how often targets `[B, T]` were drawn."""
  rng = np.random.default_rng(0)
  sources = rng.integers(
    0, len(rows_lib.NAMES), (_BOOTSTRAP, len(rows_lib.NAMES))
  )
  count = len(score_benchmark.TARGETS)
  targets = rng.multinomial(count, np.full(count, 1 / count), _BOOTSTRAP)
  return sources, targets


def _mean(found, weights=None):
  """Means `[...]` over cells `[C, ...]`, of those that are defined."""
  defined = np.isfinite(found)
  weights = np.where(defined, 1 if weights is None else weights, 0)
  total = weights.sum(axis=0)
  sums = np.where(defined, found * weights, 0).sum(axis=0)
  return np.where(total > 0, sums / np.where(total > 0, total, 1), np.nan)


@dataclasses.dataclass(frozen=True)
class Summary:
  """A metric of a score over cells.

  Attributes:
    cells: `[C]`, its mean over samples, NaN where it is undefined.
    drawn: `[B]`, its mean over cells when sources and targets are drawn anew.
  """

  cells: np.ndarray
  drawn: np.ndarray

  @property
  def value(self) -> float:
    """The mean over cells."""
    return float(_mean(self.cells))

  @property
  def undefined(self) -> int:
    """The number of cells without a value."""
    return int(np.sum(~np.isfinite(self.cells)))

  def interval(self) -> tuple[float, float]:
    """The interval of 95 %."""
    low, high = np.nanpercentile(self.drawn, [2.5, 97.5])
    return float(low), float(high)


def summary(
  found: rows_lib.Measured,
  score: str,
  metric: Metric,
  cells: Sequence[rows_lib.Cell],
) -> Summary | None:
  """Returns a metric of a score; None if no cell has a value."""
  sources, targets = _draws()
  names = list(score_benchmark.TARGETS)
  each, drawn, weights = [], [], []
  for cell in cells:
    values = found.values[score].get(cell)
    if values is None:
      values = np.full((1, len(rows_lib.NAMES)), np.nan)
    reached = found.reached[cell]
    each.append(_mean(metric(values, np.broadcast_to(reached, values.shape))))
    several = values[:, sources]  # [samples, B, S]
    accuracy = np.broadcast_to(reached[sources], several.shape)
    metrics = metric(
      several.reshape(-1, len(rows_lib.NAMES)),
      accuracy.reshape(-1, len(rows_lib.NAMES)),
    )
    drawn.append(_mean(metrics.reshape(len(values), -1)))
    weights.append(targets[:, names.index(cell[0])])
  result = Summary(np.array(each), _mean(np.array(drawn), np.array(weights)))
  return result if np.isfinite(result.value) else None


def without_each(
  found: rows_lib.Measured, score: str, metric: Metric
) -> tuple[float, float]:
  """Returns the least value without a source, and without a target."""
  cells = found.cells()

  def value(hidden, kept):
    each = []
    for cell in kept:
      values = found.values[score].get(cell)
      if values is not None:
        reached = np.where(hidden, np.nan, found.reached[cell])
        each.append(
          _mean(metric(values, np.broadcast_to(reached, values.shape)))
        )
    return _mean(np.array(each)) if each else np.nan

  everyone = np.zeros(len(rows_lib.NAMES), bool)
  of_sources = [
    value(np.arange(len(rows_lib.NAMES)) == i, cells)
    for i in range(len(rows_lib.NAMES))
  ]
  of_targets = [
    value(everyone, [cell for cell in cells if cell[0] != target])
    for target in {target for target, _ in cells}
  ]
  return float(np.nanmin(of_sources)), float(np.nanmin(of_targets))


def one_slope(found: rows_lib.Measured, score: str) -> float:
  """Returns r over all cells at once, of values minus their means in a cell.

  It is 1 if a difference of scores means the same difference of accuracies
  wherever it occurs.
  """
  products = np.zeros(3)
  for cell, values in found.values[score].items():
    if cell in found.reached:
      for row in values:
        x, y = row, found.reached[cell]
        both = np.isfinite(x) & np.isfinite(y)
        if both.sum() >= 2:
          x, y = x[both] - x[both].mean(), y[both] - y[both].mean()
          products += [x @ y, x @ x, y @ y]
  return products[0] / np.sqrt(products[1] * products[2] or np.nan)


def _in_order(found, score):
  apart = functools.partial(ranking_metrics.pairs_in_order, apart=_APART)
  each = [
    _mean(apart(values, np.broadcast_to(found.reached[cell], values.shape)))
    for cell, values in found.values[score].items()
    if cell in found.reached and np.isfinite(values).any()
  ]
  return float(_mean(np.array(each))) if each else np.nan


def _not_told_apart(
  by_score: Mapping[str, Summary], *, sign: int = 1
) -> set[str]:
  """Names of the best score and of those that are not told apart from it."""
  complete = {k: v for k, v in by_score.items() if not v.undefined}
  if not complete:
    return set()
  best = max(complete, key=lambda k: sign * complete[k].value)
  return {
    name
    for name, found in complete.items()
    if np.nanpercentile(
      sign * (complete[best].drawn - found.drawn), 2.5
    ) <= 0
  }  # fmt: skip


def _number(value, digits=2):
  return (
    "-" if value is None or not np.isfinite(value) else f"{value:.{digits}f}"
  )


def _with_interval(found: Summary | None, *, digits=2, marked=False) -> str:
  if found is None:
    return "-"
  low, high = found.interval()
  missing = f", {found.undefined} undefined" if found.undefined else ""
  return (
    f"{found.value:.{digits}f}{'*' * marked} ({low:.{digits}f} to "
    f"{high:.{digits}f}{missing})"
  )


def _summaries(found, metric, cells) -> dict[str, Summary]:
  every = {
    name: summary(found, name, METRICS[metric], cells) for name in found.values
  }
  return {name: value for name, value in every.items() if value is not None}


def ranking(found: rows_lib.Measured) -> str:
  """Returns the table of all scores over all cells."""
  cells = found.cells()
  by_metric = {m: _summaries(found, m, cells) for m in METRICS}
  tau, regret = by_metric["weighted tau"], by_metric["regret"]
  best = _not_told_apart(tau), _not_told_apart(regret, sign=-1)
  lines = [
    "| score | weighted tau | Spearman | Pearson | regret, points | most | "
    "pairs in order | one slope | least tau without a source, a target |",
    "|---|---|---|---|---|---|---|---|---|",
  ]
  for name in sorted(
    regret, key=lambda k: (-tau[k].value if k in tau else 2, k)
  ):
    least = ("-", "-")
    if name in tau:
      least = tuple(
        map(_number, without_each(found, name, METRICS["weighted tau"]))
      )
    lines.append(
      f"| {_label(name)} | "
      f"{_with_interval(tau.get(name), marked=name in best[0])} | "
      f"{_with_interval(by_metric['Spearman'].get(name))} | "
      f"{_with_interval(by_metric['Pearson'].get(name))} | "
      f"{_with_interval(regret[name], digits=1, marked=name in best[1])} | "
      f"{_number(np.nanmax(regret[name].cells), 1)} | "
      f"{_number(_in_order(found, name))} | "
      f"{_number(one_slope(found, name))} | {', '.join(least)} |"
    )
  return "\n".join(lines)


def _label(name):
  return f"*{name}*" if name in rows_lib.STATIC else f"`{name}`"


def by_size(found: rows_lib.Measured) -> str:
  """Returns the table of weighted tau and regret at each size."""
  sizes = [s for s in score_benchmark.SIZES if found.cells(size=s)]
  columns = {}
  for size in sizes:
    cells = found.cells(size=size)
    tau = _summaries(found, "weighted tau", cells)
    regret = _summaries(found, "regret", cells)
    columns[size] = tau, regret, _not_told_apart(regret, sign=-1)
  head = " | ".join(
    f"{size} ({len(found.cells(size=size))} targets)" for size in sizes
  )
  lines = [f"| score | {head} |", f"|---|{'---|' * len(sizes)}"]

  def order(name):
    values = [columns[s][1][name].value for s in sizes if name in columns[s][1]]
    return np.mean(values), name

  for name in sorted(
    {n for _, regret, _ in columns.values() for n in regret}, key=order
  ):
    cells_of = []
    for size in sizes:
      tau, regret, best = columns[size]
      value = regret[name].value if name in regret else np.nan
      rank = tau[name].value if name in tau else np.nan
      mark = "*" * (name in best)
      cells_of.append(f"{_number(value, 1)}{mark}, {_number(rank)}")
    lines.append(f"| {_label(name)} | {' | '.join(cells_of)} |")
  return "\n".join(lines)


def spread(found: rows_lib.Measured) -> str:
  """Returns the table of the accuracies that sources reach."""
  lines = [
    "| target, examples a class | sources | least | median | most | best | "
    "within 1 point of it |",
    "|---|---|---|---|---|---|---|",
  ]
  for (target, size), reached in found.reached.items():
    known = 100 * reached[np.isfinite(reached)]
    near = int(np.sum(known >= known.max() - 1))
    lines.append(
      f"| {target}, {size} | {len(known)} | {known.min():.1f} | "
      f"{np.median(known):.1f} | {known.max():.1f} | "
      f"{rows_lib.NAMES[int(np.nanargmax(reached))]} | {near} |"
    )
  return "\n".join(lines)


def trust(found: rows_lib.Measured) -> Iterator[str]:
  """Yields a table about `probe_accuracy`: bias, intervals, ties."""
  rows = rows_lib.rows_of("probes")
  low, high, tied = (
    rows_lib.by_cell(rows, key) for key in ("low", "high", "may_be_best")
  )
  yield (
    "| target, examples a class | bias | mean error | intervals that hold it | "
    "ties hold the best | tied |"
  )
  yield "|---|---|---|---|---|---|"
  every = []
  for cell, reached in found.reached.items():
    if cell not in low:
      continue
    kept = np.isfinite(reached)
    reached = reached[kept]
    values = found.values["probe_accuracy"][cell][:, kept].mean(axis=0)
    ends = low[cell][:, kept], high[cell][:, kept]
    ties = tied[cell][:, kept]
    error = values - reached
    every.append(
      (
        error.mean(),
        np.abs(error).mean(),
        np.mean((ends[0] <= reached) & (reached <= ends[1])),
        ties[:, reached.argmax()].mean(),
        ties.sum(axis=1).mean(),
      )
    )
    yield f"| {cell[0]}, {cell[1]} | {_trust(every[-1])} of {len(reached)} |"
  if every:
    yield f"| mean | {_trust(np.mean(every, axis=0))} |"


def _trust(found):
  bias, error, covered, held, tied = found
  return (
    f"{100 * bias:+.1f} | {100 * error:.1f} | {100 * covered:.0f} % | "
    f"{100 * held:.0f} % | {tied:.1f}"
  )


def draw_reached(
  path: pathlib.Path, *, folder: pathlib.Path, size: int = 20
) -> bool:
  """Draws what sources reach against what `probe_accuracy` expects.

  Args:
    path: of the figure.
    folder: of the rows.
    size: examples of each class.

  Returns:
    Whether there are rows to draw.
  """
  found = rows_lib.measured(folder=folder)
  cells = [(f, size) for f in _PHOTOS if (f, size) in found.reached]
  if not cells:
    return False
  predicted = [found.values["probe_accuracy"][c].mean(axis=0) for c in cells]
  plots.predicted_reached(
    np.concatenate(predicted).tolist(),
    np.concatenate([found.reached[c] for c in cells]).tolist(),
    names=list(rows_lib.NAMES) * len(cells),
    value="accuracy",
    title=f"Three folders, {size} photos a class",
    path=path,
  )
  return True


def blocks() -> Iterator[tuple[str, str]]:
  """Yields the names and texts of the blocks of `score_benchmark.md`."""
  heads = rows_lib.measured()
  yield "ranking", ranking(heads)
  yield "by_size", by_size(heads)
  yield "spread", spread(heads)
  yield "trust", "\n".join(trust(heads))
  tuned = rows_lib.measured("fine_tuning")
  yield "tuned", ranking(tuned)
  yield "tuned_spread", spread(tuned)


_SHORT = (
  "probe_accuracy", "pactran_gaussian", "leep", "nce", rows_lib.ELSEWHERE,
  "any source",
)  # fmt: skip


def short() -> str:
  """Returns the table of the README: regret by number of examples a class."""
  found = rows_lib.measured()
  sizes = [s for s in score_benchmark.SIZES if found.cells(size=s)]
  head = " | ".join(map(str, sizes))
  lines = [f"| score | {head} |", f"|---|{'---|' * len(sizes)}"]
  columns = []
  for size in sizes:
    regret = _summaries(found, "regret", found.cells(size=size))
    columns.append((regret, _not_told_apart(regret, sign=-1)))
  for name in _SHORT:
    cells = []
    for regret, best in columns:
      one = regret.get(name)
      value = np.nan if one is None or one.undefined else one.value
      mark = "*" * (name in best)
      cells.append(f"{_number(value, 1)}{mark}")
    lines.append(f"| {_label(name)} | {' | '.join(cells)} |")
  return "\n".join(lines)
