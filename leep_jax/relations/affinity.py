r"""Affinities of sources to targets, from trained transfers, as in Taskonomy.

For a target, w_ij is the share of trials in which source i beat source j: they
transferred to the same task by the same method with the same seed, and i had
the higher metric on the test set; equal ones count half. Clipped to [0.001,
0.999], the ratios w_ij / w_ji say how many times better i is than j. The
affinities of the sources are the principal eigenvector of the matrix of ratios,
divided by its sum: positive, higher transfers better, and comparable over
targets whose metrics are not.

Taskonomy compares two sources on each test image. Rows of results have one
number for each training, so here a trial is a task and a seed: with few of
them, the affinities say little more than the ranks.

Symbols: S sources, T trials.

Reference: Zamir, Sax, Shen, Guibas, Malik, Savarese. Taskonomy: Disentangling
Task Transfer Learning. CVPR 2018, arXiv 1804.08328, section 3.3 (ordinal
normalisation by the analytic hierarchy process).
"""

from collections.abc import Iterable, Mapping, Sequence
import dataclasses
import json
import math
from typing import Any

import numpy as np
import numpy.typing as npt

from leep_jax import validation
from leep_jax.reports import sweep_report

# Bounds of a share, in place of a prior: no source is infinitely better.
_LEAST = 0.001
TARGETS = ("dataset", "task")
# What the trials of a target have in common, and what tells them apart.
_DATA = ("dataset", "data_version", "split", "test_split")
_TRIAL = (*_DATA, "task", "task_checksum", "seed")
_NEEDED = ("model", "dataset", "task", "seed")


def win_rates(metrics: npt.ArrayLike) -> np.ndarray:
  """Returns the shares of trials that each source wins against each other.

  Args:
    metrics: `[S, T]`, higher is better; NaN of a training that diverged, which
      loses to all that did not.

  Returns:
    `[S, S]` float64: w_ij, with w_ij + w_ji = 1 and 1/2 on the diagonal.

  Raises:
    InputError: if there are no trials.

  Example:
    >>> from leep_jax import relations
    >>> metrics = [[0.9, 0.8, 0.7], [0.5, 0.8, 0.6]]
    >>> relations.win_rates(metrics).round(3).tolist()
    [[0.5, 0.833], [0.167, 0.5]]

  Reference: Zamir et al. Taskonomy. CVPR 2018, section 3.3.
  """
  values = validation.as_array("metrics", metrics).astype(np.float64)
  if values.ndim != 2 or not values.size:
    raise validation.InputError("metrics must be [S, T], with at least a trial")
  values = np.where(np.isnan(values), -np.inf, values)
  # One source at a time: nothing is of size S x S x T.
  return np.array([
    ((row > values) + 0.5 * (row == values)).mean(axis=1) for row in values
  ])  # fmt: skip


def eigenvector(rates: np.ndarray) -> np.ndarray:
  """Returns the affinities of sources that win so often against each other.

  Args:
    rates: `[S, S]` of `win_rates`.

  Returns:
    `[S]` float64, positive, of sum 1.

  Example:
    >>> import numpy as np
    >>> from leep_jax.relations import affinity
    >>> rates = np.array([[0.5, 0.75], [0.25, 0.5]])
    >>> affinity.eigenvector(rates).round(4).tolist()
    [0.75, 0.25]

  Reference: Zamir et al. Taskonomy. CVPR 2018, section 3.3; Saaty. A scaling
  method for priorities in hierarchical structures. Journal of Mathematical
  Psychology, 1977.
  """
  clipped = np.clip(rates, _LEAST, 1 - _LEAST)
  values, vectors = np.linalg.eig(clipped / clipped.T)
  # Of a positive matrix it is real and positive, up to its sign (Perron).
  found: np.ndarray = np.abs(vectors[:, values.real.argmax()].real)
  return found / found.sum()


@dataclasses.dataclass(frozen=True)
class Affinities:
  """Affinities of sources to targets.

  Attributes:
    sources: names of the S sources.
    targets: names of the targets.
    values: `[S, targets]`; NaN where a source was not transferred.
    trials: of each target, how many trials each of its sources has.

  Example:
    >>> import numpy as np
    >>> from leep_jax.relations import affinity
    >>> found = affinity.Affinities(("a",), ("t",), np.ones((1, 1)), (2,))
    >>> found.values.shape
    (1, 1)
  """

  sources: tuple[str, ...]
  targets: tuple[str, ...]
  values: np.ndarray
  trials: tuple[int, ...]


def affinities(
  rows: Iterable[Mapping[str, Any]],
  *,
  metric: str = "accuracy",
  method: str | None = None,
  by: str = "dataset",
) -> Affinities:
  """Computes the affinities of all sources to all targets.

  Args:
    rows: of `leep_jax.transfer` or `leep_jax.sweep`; those of scores are left
      out.
    metric: one of `sweep_report.METRICS`, on the test set.
    method: of transfer; needed if rows are of several.
    by: what a target is: a `dataset`, whose tasks and seeds are the trials, or
      a `task`, whose seeds are.

  Raises:
    InputError: if a row lacks a column, rows are of several methods or recipes,
      or of two sources of one name; a target has one source, or its sources
      were not trained on the same trials.

  Example:
    >>> from leep_jax import relations
    >>> same = {"dataset": "digits", "task": "all", "method": "probe"}
    >>> found = relations.affinities([
    ...   {**same, "model": model, "seed": seed, "accuracy": accuracy}
    ...   for model, both in {"a": (0.9, 0.8), "b": (0.7, 0.8)}.items()
    ...   for seed, accuracy in enumerate(both)
    ... ])
    >>> found.sources, found.targets, found.values.round(2).tolist()
    (('a', 'b'), ('digits',), [[0.75], [0.25]])

  Reference: Zamir, Sax, Shen, Guibas, Malik, Savarese. Taskonomy: Disentangling
  Task Transfer Learning. CVPR 2018, arXiv 1804.08328, section 3.3.
  """
  if metric not in sweep_report.METRICS:
    raise validation.unknown("metric", metric, sweep_report.METRICS)
  if by not in TARGETS:
    raise validation.unknown("kind of target", by, TARGETS)
  trained = _trained(list(rows), metric, method)
  sweep_report.check_sources(trained)
  by_target: dict[str, dict[str, dict[Any, float]]] = {}
  for row, name in zip(trained, _target_names(trained, by), strict=True):
    value = row[metric]
    if value is None:
      if not row.get("diverged"):
        raise validation.InputError(
          f"{metric} of task {row['task']} of {row['dataset']} is null, though "
          "its training has not diverged: binary_f1 is of tasks of two classes"
        )
      value = math.nan
    trials = by_target.setdefault(name, {}).setdefault(row["model"], {})
    trials[tuple(str(row.get(key)) for key in _TRIAL)] = value
  sources = tuple(dict.fromkeys(row["model"] for row in trained))
  values = np.full((len(sources), len(by_target)), np.nan)
  for column, (name, by_source) in enumerate(by_target.items()):
    metrics = _table(name, by_source)
    rows_of = [sources.index(source) for source in by_source]
    values[rows_of, column] = eigenvector(win_rates(metrics))
  counts = [len(next(iter(x.values()))) for x in by_target.values()]
  return Affinities(sources, tuple(by_target), values, tuple(counts))


def _trained(rows, metric, method):
  """The rows of one method of transfer."""
  rows = [row for row in rows if row.get("method") != sweep_report.SCORED]
  for row in rows:
    for key in (*_NEEDED, "method", metric):
      if key not in row:
        raise validation.InputError(
          f"a row has no column {key}, but {validation.some(row, most=4)}: are "
          "these rows of python -m leep_jax.transfer or leep_jax.sweep?"
        )
  if not rows:
    raise validation.InputError("there are no rows of trained transfers")
  methods = list(dict.fromkeys(row["method"] for row in rows))
  if method is not None:
    if method not in methods:
      raise validation.unknown("method of these rows", method, methods)
    rows = [row for row in rows if row["method"] == method]
  elif len(methods) > 1:
    raise validation.InputError(
      f"rows are of {len(methods)} methods ({validation.some(methods)}): "
      f"choose one, such as method={methods[0]}"
    )
  # A data set's own: few images may be trained on for more epochs.
  recipes: dict[Any, set[str]] = {}
  for row in rows:
    found = json.dumps(row.get("recipe"), sort_keys=True)
    recipes.setdefault(row["dataset"], set()).add(found)
    if len(recipes[row["dataset"]]) > 1:
      raise validation.InputError(
        f"rows of {row['dataset']} were trained by {row['method']} with "
        "different options: their trials do not compare"
      )
  return rows


def _target_names(rows, by) -> Sequence[str]:
  """The name of each row's target, with the data's split where it matters."""
  keys = [tuple(str(row.get(key)) for key in _DATA) for row in rows]
  several: dict[str, set[Any]] = {}
  for key in keys:
    several.setdefault(key[0], set()).add(key)
  names = []
  for row, key in zip(rows, keys, strict=True):
    name = key[0] if len(several[key[0]]) == 1 else " ".join(key)
    names.append(name if by == "dataset" else f"{name} {row['task']}")
  return names


def _table(target, by_source):
  """The metrics `[S, T]` of a target's sources, on the same trials."""
  if len(by_source) == 1:
    raise validation.InputError(
      f"{target} has one source, {next(iter(by_source))}: affinities compare "
      "two or more"
    )
  every = dict.fromkeys(key for trials in by_source.values() for key in trials)
  for source, trials in by_source.items():
    missing = [key for key in every if key not in trials]
    if missing:
      about = dict(zip(_TRIAL, missing[0], strict=True))
      raise validation.InputError(
        f"{source} lacks {len(missing)} of the {len(every)} trials of other "
        f"sources on {target}, such as task {about['task']}, seed "
        f"{about['seed']}: sources must be trained on the same tasks"
      )
  return [[trials[key] for key in every] for trials in by_source.values()]
