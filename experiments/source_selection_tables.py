"""Section 5.7: what ranks 15 real sources as their converged heads do.

The accuracies and scores are those of `experiments.score_benchmark`, at the
largest size of each target. Symbols: S sources, in the order of
`score_benchmark.SOURCES`.
"""

from collections.abc import Iterator
import dataclasses
import functools
import pathlib

import numpy as np

from experiments import (
  ranking_metrics,
  score_benchmark,
  score_benchmark_rows,
  section,
  source_selection,
)
from leep_jax.reports import correlation, plots, sweep_report

TABLE = section.RESULTS / "source_selection.md"
TARGETS = {
  "cifar100": "CIFAR-100",
  "fashion_mnist": "Fashion-MNIST",
  "trashnet": "trashnet",
  "rsscn7_satellite": "RSSCN7",
  "sign_language_digits": "sign language",
}
# The paper's scores and LogME, a variant of H-score that is not constant if
# there are few examples, and what does not look at the target's examples.
SCORES = ("leep", "nce", "h_score", "regularized_h_score", "logme")
RANKERS = (
  *SCORES,
  *(name for name in score_benchmark_rows.STATIC if name != "any source"),
)
_NAMES = np.array(score_benchmark_rows.NAMES)
_DATA = np.array([source.data for source in score_benchmark.SOURCES.values()])
# Groups of sources by name. The CIFAR-10 ResNets are nearly one network.
GROUPS = {
  "all sources": np.ones(len(_NAMES), bool),
  "one of the CIFAR-10 ResNets": ~np.isin(
    _NAMES, ["resnet32", "resnet44", "resnet56"]
  ),
  "trained on ImageNet": _DATA == "imagenet",
}


@dataclasses.dataclass(frozen=True)
class Cell:
  """A target at its largest size.

  Attributes:
    target: name of the data set.
    size: training examples of each class.
    reached: `[S]` accuracies of converged heads, NaN for sources that were
      trained on the target.
    values: `[S]` by ranker, means over samples.
  """

  target: str
  size: int
  reached: np.ndarray
  values: dict[str, np.ndarray]


@functools.cache
def cells(folder: pathlib.Path | None = None) -> tuple[Cell, ...]:
  """Returns the targets at their largest sizes; none if there are no rows.

  Args:
    folder: of the rows of the benchmark, by default of those committed.
  """
  found = score_benchmark_rows.measured(folder=folder)
  result = []
  for target in TARGETS:
    sizes = [size for name, size in found.reached if name == target]
    if not sizes:
      continue
    size = max(sizes)
    key = target, size
    values = {name: found.values[name][key].mean(axis=0) for name in RANKERS}
    result.append(Cell(target, size, found.reached[key], values))
  return tuple(result)


def correlated(
  cell: Cell, ranker: str, kept: np.ndarray
) -> tuple[correlation.Correlation, float | None]:
  """Returns the correlation of a ranker with accuracy, and its regret.

  Args:
    cell: target.
    ranker: one of `RANKERS`.
    kept: `[S]`, the sources to compare.

  Returns:
    The correlation, and the points of accuracy that its first place loses
    against the best source, of equal ones their mean; None if the ranker is
    constant.
  """
  known = kept & np.isfinite(cell.reached) & np.isfinite(cell.values[ranker])
  values, reached = cell.values[ranker][known], cell.reached[known]
  # H-scores of few examples are equal up to rounding.
  if np.ptp(values) < 1e-6 * max(1, abs(values[0])):
    values = np.zeros(len(values))
  found = correlation.correlate(values.tolist(), reached.tolist())
  if found.pearson is None:
    return found, None
  return found, 100 * float(
    ranking_metrics.regret(values[None], reached[None])[0]
  )


def summary() -> str:
  """Returns r and regret of each ranker by target, for all sources."""
  lines = [
    f"| ranked by | {' | '.join(TARGETS.values())} |",
    "|---|" + "---|" * len(TARGETS),
  ]
  for ranker in RANKERS:
    shown = []
    for cell in cells():
      found, regret = correlated(cell, ranker, GROUPS["all sources"])
      shown.append(
        "-" if regret is None else f"{found.pearson:.2f} ({regret:.1f})"
      )
    lines.append(f"| {_title(ranker)} | {' | '.join(shown)} |")
  return "\n".join(lines)


def _title(ranker):
  return f"`{ranker}`" if ranker in SCORES else f"*{ranker}*"


def sources() -> str:
  """Returns accuracies of converged heads by source and target."""
  order = np.argsort(-np.nan_to_num(cells()[0].reached, nan=-1))
  published = cells()[0].values["published accuracy"]
  lines = [
    "| source | trained on | published accuracy | "
    f"{' | '.join(TARGETS.values())} |",
    "|---|---|---|" + "---|" * len(TARGETS),
  ]
  for i in order:
    shown = [_or_dash(cell.reached[i]) for cell in cells()]
    lines.append(
      f"| `{_NAMES[i]}` | {_DATA[i]} | {_or_dash(published[i])} | "
      f"{' | '.join(shown)} |"
    )
  return "\n".join(lines)


def _or_dash(value):
  return f"{value:.3f}" if np.isfinite(value) else "-"


def sentence() -> str:
  """Returns what the paper's own comparison gives: ImageNet, CIFAR-100."""
  cell = cells()[0]
  parts = []
  for ranker in (*SCORES, "published accuracy"):
    found, _ = correlated(cell, ranker, GROUPS["trained on ImageNet"])
    if found.pearson is not None:
      parts.append(f"{_title(ranker)} {found.pearson:.2f}")
  count = int(GROUPS["trained on ImageNet"].sum())
  return (
    f"Of the {count} sources trained on ImageNet alone, as in the paper, r on "
    f"CIFAR-100 is: {', '.join(parts)}."
  )


def blocks() -> Iterator[tuple[str, str]]:
  """Yields the name and text of each block of `TABLE`."""
  yield "scores", "\n\n".join(_scores(cell) for cell in cells())
  yield "selected", sources()
  yield "fine_tuned", fine_tuned()
  for name, kept in GROUPS.items():
    yield (
      name.replace(" ", "_"),
      "\n\n".join(_details(cell, kept) for cell in cells()),
    )


def _heading(cell):
  return f"{TARGETS[cell.target]}, {cell.size} training images a class:\n"


def _scores(cell):
  lines = [
    _heading(cell),
    f"| source | accuracy | {' | '.join(SCORES)} |",
    "|---|---|" + "---|" * len(SCORES),
  ]
  for i in np.argsort(-np.nan_to_num(cell.reached, nan=-1)):
    if np.isfinite(cell.reached[i]):
      shown = [f"{cell.values[name][i]:.4f}" for name in SCORES]
      lines.append(
        f"| `{_NAMES[i]}` | {cell.reached[i]:.3f} | {' | '.join(shown)} |"
      )
  return "\n".join(lines)


def _details(cell, kept):
  lines = [
    _heading(cell),
    "| ranked by | n | r | 95 % | p | Spearman | Kendall | regret |",
    "|---|---|---|---|---|---|---|---|",
  ]
  for ranker in RANKERS:
    found, regret = correlated(cell, ranker, kept)
    if regret is None:
      lines.append(f"| {_title(ranker)} | {found.n} |" + " - |" * 6)
      continue
    between = "-"
    if found.interval is not None:
      between = f"{found.interval[0]:.2f} to {found.interval[1]:.2f}"
    lines.append(
      f"| {_title(ranker)} | {found.n} | {found.pearson:.2f} | {between} | "
      f"{found.p_value:.1e} | {found.spearman:.2f} | {found.kendall:.2f} | "
      f"{regret:.1f} |"
    )
  return "\n".join(lines)


def fine_tuned() -> str:
  """Returns the tables of fine-tuned sources: accuracies, and correlations."""
  text = []
  for target in source_selection.SECTION.targets:
    rows = source_selection.with_accuracy(
      section.measured("source_selection", target)
    )
    for method, pairs in sweep_report.pairs(rows).items():
      text.append(f"{target}, {method}:\n\n{_sources(pairs)}")
    found = [
      row
      for row in sweep_report.correlations(rows)
      if row["model"] == "all sources"
    ]
    text.append(f"{target}:\n\n{sweep_report.table(found)}")
  return "\n\n".join(text)


def _sources(pairs):
  """Returns the table of sources, the most accurate first."""
  scores = list(pairs[0]["scores"])
  lines = [
    f"| source | test accuracy | {' | '.join(scores)} |",
    "|---|---|" + "---|" * len(scores),
  ]
  names = source_selection.labels([pair["model"] for pair in pairs])
  order = sorted(
    zip(names, pairs, strict=True),
    key=lambda item: -(item[1]["performance"] or 0),
  )
  for name, pair in order:
    accuracy = (
      "diverged"
      if pair["performance"] is None
      else f"{pair['performance']:.4f}"
    )
    cells = [
      "-" if pair["scores"][score] is None else f"{pair['scores'][score]:.4f}"
      for score in scores
    ]
    lines.append(f"| {name} | {accuracy} | {' | '.join(cells)} |")
  return "\n".join(lines)


def panels(folder: pathlib.Path, target: str) -> list[plots.Panel]:
  """Returns panels of accuracy against scores; none if there are no rows.

  Args:
    folder: of the rows of the benchmark.
    target: of `TARGETS`.
  """
  shown = ("leep", "nce", "regularized_h_score", "logme", "published accuracy")
  titles = ("LEEP", "NCE", "regularised H-score", "LogME", "published accuracy")
  found = []
  for cell in cells(folder):
    if cell.target != target:
      continue
    known = np.isfinite(cell.reached)
    found += [
      plots.Panel(
        [v if np.isfinite(v) else None for v in cell.values[name][known]],
        cell.reached[known].tolist(),
        title,
        "accuracy of heads",
        TARGETS[target],
        groups=_NAMES[known].tolist(),
      )
      for name, title in zip(shown, titles, strict=True)
    ]
  return found
