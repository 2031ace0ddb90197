"""Draws figures 1 to 9 of the LEEP paper from committed rows.

`experiments.table_1` and `experiments.blocks` call `draw`. It leaves out
figures that have no rows. Each function `_figure_N` takes the folder of the
rows and the path of the figure, and returns whether it drew the figure.
"""

from collections.abc import Callable, Iterator, Sequence
import contextlib
import dataclasses
import pathlib

from experiments import (
  convergence,
  score_benchmark,
  score_benchmark_tables,
  section,
  source_selection,
  source_selection_tables,
)
from leep_jax import validation
from leep_jax.reports import correlation, plots, sweep_report

_METHODS = {
  "retrain_head": "head re-training",
  "fine_tune": "fine-tuning",
  "cnaps": "CNAPs",
}
_TARGETS = {"cifar100": "CIFAR-100", "fashion_mnist": "Fashion-MNIST"}
_SCORES = {
  "leep": "LEEP",
  "nce": "NCE",
  "h_score": "H-score",
  "logme": "LogME",
  source_selection.SOURCE_ACCURACY: "accuracy on its own data",
}


def draw(
  folder: pathlib.Path = section.RESULTS, output: pathlib.Path | None = None
) -> Iterator[str]:
  """Draws the figures that have rows; yields the names of the files.

  Args:
    folder: folder of the rows of all sections.
    output: folder for the figures, by default the folder of the rows.
  """
  output = output or folder
  for number, figure in FIGURES.items():
    name = f"figure_{number}.png"
    if figure(folder, output / name):
      yield name


@dataclasses.dataclass(frozen=True)
class _Pairs:
  """Pairs of scores and transfer performance of a source and a target.

  Attributes:
    source: name of the source in titles.
    target: name of the target data set.
    methods: pairs by name of the transfer method.
  """

  source: str
  target: str
  methods: dict[str, list[sweep_report.Pair]]

  @property
  def title(self) -> str:
    return f"{self.source} → {_TARGETS.get(self.target, self.target)}"


def _pairs(folder, name, *, targets=("cifar100",)) -> list[_Pairs]:
  """Returns pairs of a section for each target and source of Table 1.

  Of several sources of the same training data, the first that a method has rows
  of is shown, as in Table 1.
  """
  found = []
  metric = section.metric_of(name)
  for target in targets:
    rows = section.measured(name, target, folder)
    shown = set()
    for stem, (trained_on, source) in section.STAND_INS.items():
      chosen = [row for row in rows if row["model"].startswith(stem)]
      methods = {}
      for method, method_name in _METHODS.items():
        pairs = section.pairs_of(chosen, method, metric)
        if pairs and (trained_on, method) not in shown:
          shown.add((trained_on, method))
          methods[method_name] = pairs
      if methods:
        found.append(_Pairs(source, target, methods))
  return found


def _letters(panels: Sequence[str]) -> list[str]:
  """Numbers titles as (a), (b), ..., unless there is only one."""
  if len(panels) == 1:
    return list(panels)
  return [f"({'abcdefgh'[i]}) {title}" for i, title in enumerate(panels)]


def _rows_of(panels, columns=2):
  """Divides panels into the rows of a grid."""
  return [panels[i : i + columns] for i in range(0, len(panels), columns)]


def _figure_1(folder, path) -> bool:
  found = _pairs(folder, "large_tasks")
  panels = []
  titles = _letters([pairs.title for pairs in found])
  for title, pairs in zip(titles, found, strict=True):
    every = [(m, pair) for m, group in pairs.methods.items() for pair in group]
    scores, accuracies = sweep_report.columns(
      [pair for _, pair in every], "leep"
    )
    panels.append(
      plots.Panel(
        scores,
        accuracies,
        "LEEP",
        "test accuracy",
        title,
        groups=[method for method, _ in every],
      )
    )
  if not panels:
    return False
  plots.scatter_grid(
    _rows_of(panels),
    title="LEEP against test accuracy: subsets of the classes of CIFAR-100",
    path=path,
  )
  return True


def _series(pairs):
  """Returns levels of LEEP by method.

  All methods have the same bins, so that their bars can be compared.
  """
  columns = {
    method: sweep_report.columns(group, "leep")
    for method, group in pairs.methods.items()
  }
  every = [x for scores, _ in columns.values() for x in scores if x is not None]
  series = {}
  for method, (scores, performance) in columns.items():
    # If all scores are equal, there are no levels.
    with contextlib.suppress(validation.UndefinedScore):
      series[method] = correlation.levels(
        scores, performance, between=(min(every), max(every))
      )
  return series


def _levels(found, metric, path, title):
  """Draws five levels of LEEP, with a panel for each source and target."""
  panels = []
  titles = _letters([pairs.title for pairs in found])
  for name, pairs in zip(titles, found, strict=True):
    series = _series(pairs)
    if series:
      panels.append(plots.Levels(series, "LEEP", metric, name))
  if not panels:
    return False
  plots.levels_grid(_rows_of(panels), title=title, path=path)
  return True


def _figure_2(folder, path) -> bool:
  rows_of_panels = []
  for name, title, metric in (
    ("small_tasks", "(a) balanced", "mean test accuracy"),
    ("imbalanced_tasks", "(b) imbalanced", "mean test F1"),
  ):
    # As in the paper: only sources trained on ImageNet, to CIFAR-100.
    found = [x for x in _pairs(folder, name) if "ImageNet" in x.source]
    panels = []
    for pairs in found:
      series = _series(pairs)
      if series:
        panels.append(
          plots.Levels(series, "LEEP", metric, f"{title}, {pairs.source}")
        )
    if panels:
      rows_of_panels.append(panels)
  if not rows_of_panels:
    return False
  plots.levels_grid(
    rows_of_panels,
    title="Small target data sets of five levels of LEEP: CIFAR-100",
    path=path,
  )
  return True


def _figure_3(folder, path) -> bool:
  return _levels(
    _pairs(folder, "meta_transfer"),
    "mean test accuracy",
    path,
    "CNAPs on tasks of five levels of LEEP",
  )


def _curves(folder, targets, path, title):
  """Draws the convergence of fine-tuning, a panel per source and target."""
  panels = []
  for target in targets:
    measured = convergence.measured(target, folder)
    for stem, (_, source) in section.STAND_INS.items():
      panels += [
        (f"{source} → {_TARGETS.get(target, target)}", found)
        for model, found in measured.items()
        if model.startswith(stem)
      ]
  if not panels:
    return False
  names = _letters([name for name, _ in panels])
  plots.curves_grid(
    _rows_of(
      [
        plots.Curves(
          found.levels,
          "accuracy beyond the reference",
          name,
          start=found.start,
          step=found.step,
        )
        for name, (_, found) in zip(names, panels, strict=True)
      ]
    ),
    title=title,
    path=path,
    zero=True,
    ordered=True,
  )
  return True


def _figure_4(folder, path) -> bool:
  return _curves(
    folder,
    ("cifar100",),
    path,
    "Fine-tuned models against models trained from scratch, by level of LEEP",
  )


def _selection(folder, path, methods, title, targets):
  """Draws accuracy against each score, a row per target and method.

  Heads are those of `experiments.score_benchmark`, unless the section itself
  has trained some, as at the scale `paper`.
  """
  rows_of_panels = []
  for target in targets:
    rows = source_selection.with_accuracy(
      section.measured("source_selection", target, folder)
    )
    found = sweep_report.pairs(rows)
    if "retrain_head" in methods and "retrain_head" not in found:
      heads = source_selection_tables.panels(
        folder / score_benchmark.FOLDER.name, target
      )
      if heads:
        rows_of_panels.append(heads)
    rows_of_panels += [
      [
        plots.Panel(
          *sweep_report.columns(pairs, score),
          name,
          f"accuracy, {_METHODS[method.partition(' ')[0]]}",
          _TARGETS[target],
          groups=source_selection.labels([pair["model"] for pair in pairs]),
        )
        for score, name in _SCORES.items()
      ]
      for method, pairs in found.items()
      if method.partition(" ")[0] in methods and pairs
    ]
  if not rows_of_panels:
    return False
  plots.scatter_grid(rows_of_panels, title=title, path=path)
  return True


def _figure_5(folder, path) -> bool:
  return _selection(
    folder,
    path,
    ("retrain_head",),
    "Test accuracy of re-trained heads against what predicts it, by source",
    source_selection_tables.TARGETS,
  )


def _figure_6(folder, path) -> bool:
  return _levels(
    _pairs(folder, "small_tasks", targets=tuple(_TARGETS)),
    "mean test accuracy",
    path,
    "Small, balanced tasks of five levels of LEEP",
  )


def _figure_7(folder, path) -> bool:
  return _levels(
    _pairs(folder, "imbalanced_tasks", targets=tuple(_TARGETS)),
    "mean test F1",
    path,
    "Small, imbalanced tasks of five levels of LEEP",
  )


def _figure_8(folder, path) -> bool:
  return _curves(
    folder,
    tuple(_TARGETS),
    path,
    "Fine-tuned models against models trained from scratch, both targets",
  )


def _figure_9(folder, path) -> bool:
  return _selection(
    folder,
    path,
    ("retrain_head", "fine_tune"),
    "Test accuracy after both ways of transfer, by source",
    _TARGETS,
  )


def _figure_10(folder, path) -> bool:
  return score_benchmark_tables.draw_reached(
    path, folder=folder / score_benchmark.FOLDER.name
  )


Figure = Callable[[pathlib.Path, pathlib.Path], bool]
FIGURES: dict[int, Figure] = {
  1: _figure_1, 2: _figure_2, 3: _figure_3, 4: _figure_4, 5: _figure_5,
  6: _figure_6, 7: _figure_7, 8: _figure_8, 9: _figure_9, 10: _figure_10,
}  # fmt: skip
