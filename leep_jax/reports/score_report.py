"""The ranking of sources as rows, a table with its notes, and a chart.

`python -m leep_jax.score` computes the scores; this module writes about them.
"""

from collections.abc import Iterator, Mapping, Sequence
import dataclasses
import os
import textwrap
from typing import Any

import jax
import numpy as np

from leep_jax import data, validation, version
from leep_jax.engine import hosts, outputs as outputs_lib, programs
from leep_jax.reports import plots, tables
from leep_jax.scores import head_predictions, jackknife, nce

Estimates = Mapping[str, jackknife.Estimate | None]
# Scores whose unit is the nat, and whose value for a source that knows nothing
# is minus the entropy of the labels.
_IN_NATS = ("leep", "nce", "n_leep")


@dataclasses.dataclass(frozen=True)
class ScoredSource:
  """One source with its scores on a data set.

  Attributes:
    row: what `--output` writes, see `make_row`.
    estimates: by score; None where it is undefined.
    undefined: by score, why it is undefined.
    targets: `[n]` labels, or `[n, T]` real-valued targets, of the examples.
    predictions: of a new head on its features, if they were asked for.
    dataset: that was scored, if there is one.

  Example:
    >>> import numpy as np
    >>> from leep_jax.reports import score_report
    >>> a, b = (
    ...   score_report.ScoredSource({}, {}, {}, np.array(labels))
    ...   for labels in ([0, 1], [1, 1])
    ... )
    >>> a.has_same_targets(b)
    False
  """

  row: dict[str, Any]
  estimates: Estimates
  undefined: Mapping[str, str]
  targets: np.ndarray
  predictions: head_predictions.Judged | None = None
  dataset: data.Dataset | None = None

  def has_same_targets(self, other: "ScoredSource") -> bool:
    """Tells whether both were scored on the same labels or targets."""
    return np.array_equal(self.targets, other.targets)


def make_row(
  model: str,
  outputs: outputs_lib.Outputs,
  estimates: Estimates,
  *,
  dataset: str,
  split: str,
  seconds: float,
  note: str | None = None,
) -> dict[str, Any]:
  """Returns the row of a source in `--output`.

  Args:
    model: name of the source.
    outputs: what its scores were computed from.
    estimates: by score; None where it is undefined.
    dataset: name of the data set.
    split: of the data set.
    seconds: taken, without compilation.
    note: a remark on the outputs.

  Returns:
    Plain numbers and strings. A score `s` has the columns `s`, `s_se`, `s_low`
    and `s_high`: its value, standard error and interval.

  Example:
    >>> import leep_jax
    >>> from leep_jax.reports import score_report
    >>> outputs = leep_jax.Outputs.from_arrays(
    ...   probs=[[0.9, 0.1], [0.2, 0.8]], labels=[0, 1]
    ... )
    >>> row = score_report.make_row(
    ...   "mine", outputs, leep_jax.estimate_scores(outputs, names=["nce"]),
    ...   dataset="two", split="all", seconds=0.5,
    ... )
    >>> row["model"], row["nce"], row["examples_per_second"]
    ('mine', 0.0, 4.0)
  """
  regression = outputs.targets is not None
  return {
    "model": model,
    "dataset": dataset,
    "split": split,
    "num_examples": len(outputs),
    "num_source_classes": outputs.num_source_classes,
    "num_features": outputs.num_features,
    "num_target_classes": None if regression else outputs.num_classes,
    **_columns(estimates),
    "note": note,
    "seconds": round(seconds, 3),
    "examples_per_second": round(len(outputs) / seconds, 1),
    "devices": programs.all_device_count(),
    "version": version.__version__,
  }


def _columns(estimates):
  """Columns of a row: each score, its standard error and interval."""
  columns: dict[str, float | None] = {}
  for name, estimate in estimates.items():
    error = interval = None
    if estimate is not None:
      error, interval = estimate.standard_error, estimate.interval()
    columns[name] = None if estimate is None else estimate.value
    columns[f"{name}_se"] = error
    columns[f"{name}_low"], columns[f"{name}_high"] = interval or (None, None)
  return columns


def best_sources(
  scored: Sequence[ScoredSource], names: Sequence[str]
) -> dict[str, list[bool]] | None:
  """Finds the sources that cannot be told apart from the best, by score.

  Args:
    scored: m sources.
    names: of scores.

  Returns:
    For each score that has standard errors `[m]` booleans. None where there is
    nothing to compare: one source, or sources scored on other examples.

  Example:
    >>> import numpy as np
    >>> from leep_jax.reports import score_report
    >>> alone = score_report.ScoredSource({}, {}, {}, np.array([0, 1]))
    >>> score_report.best_sources([alone], ["leep"]) is None
    True
  """
  if len(scored) < 2 or not all(map(scored[0].has_same_targets, scored)):
    return None
  return {
    name: jackknife.indistinguishable([s.estimates[name] for s in scored])
    for name in names
    if any(s.row[f"{name}_se"] is not None for s in scored)
  }


def format_report(
  scored: Sequence[ScoredSource],
  names: Sequence[str],
  best: Mapping[str, list[bool]] | None,
) -> str:
  """Formats the table, with what a reader needs to judge it.

  Args:
    scored: the sources.
    names: of scores, the first of which ranks.
    best: see `best_sources`.

  Returns:
    Lines of at most 80 columns, without a final newline.

  Example:
    >>> import leep_jax
    >>> from leep_jax.reports import score_report
    >>> outputs = leep_jax.Outputs.from_arrays(
    ...   probs=[[0.9, 0.1], [0.2, 0.8]], labels=[0, 1]
    ... )
    >>> estimates = leep_jax.estimate_scores(outputs, names=["nce"], groups=1)
    >>> row = score_report.make_row(
    ...   "mine", outputs, estimates, dataset="two", split="all", seconds=0.5
    ... )
    >>> scored = score_report.ScoredSource(row, estimates, {}, outputs.labels)
    >>> print(score_report.format_report([scored], ["nce"], None))
    two: 2 examples, 2 classes. Best first by nce.
    <BLANKLINE>
       model     nce  images/s
    1  mine   0.0000         4
    <BLANKLINE>
    nce is in nats: 0 is perfect, -0.6931 is a source that knows nothing.
    ...
  """
  rows = [source.row for source in scored]
  short = tables.short_names([row["model"] for row in rows])
  lines = [
    _heading(scored[0], names[0]),
    "",
    tables.format_table(
      rows, list(names), marks=None if best is None else dict(best)
    ),
    "",
    *_legend(scored, best),
    *map(_wrapped, _remarks(scored, short)),
    *map(_wrapped, _saturated(scored, names, short)),
    *map(_wrapped, _baseline(scored[0], names)),
    _cost(rows),
  ]
  return "\n".join(lines)


def _wrapped(text):
  return "\n".join(textwrap.wrap(text, tables.WIDTH, subsequent_indent="  "))


def _heading(source, name):
  """What was scored on what, and what ranks."""
  count, kind = source.row["num_target_classes"], "class"
  if count is None:
    count, kind = source.targets.shape[1], "target"
  return (
    f"{_dataset_and_split(source.row)}: "
    f"{tables.count(source.row['num_examples'], 'example')}, "
    f"{tables.count(count, kind)}. Best first by {name}."
  )


def _dataset_and_split(row):
  return row["dataset"] + (f" {row['split']}" if row["split"] != "all" else "")


def _legend(scored, best) -> Iterator[str]:
  """What the signs in the table mean, if they occur."""
  groups = max(
    (len(e.deleted) for s in scored for e in s.estimates.values() if e),
    default=0,
  )
  if best:
    yield (
      "* best of its column, or not told apart from it (paired differences, "
      f"{jackknife.LEVEL:.0%})."
    )
  if groups:
    yield f"± is one standard error, from {groups} groups of examples."


def _remarks(scored, short) -> Iterator[str]:
  """Notes on sources, then why scores are missing."""
  # Scores that are missing for one reason are named in one line.
  missing: dict[tuple[str, str], list[str]] = {}
  for model, source in zip(short, scored, strict=True):
    for name, why in source.undefined.items():
      missing.setdefault((model, why), []).append(name)
    if source.row["note"] not in (None, *source.undefined.values()):
      yield f"{model}: {source.row['note']}"
  for (model, why), names in missing.items():
    stop = "" if why.endswith("?") else "."
    yield f"{model} has no {', '.join(names)}: {why}{stop}"


def _saturated(scored, names, short) -> Iterator[str]:
  """A warning about H-scores that are the same for any source.

  With n <= D the features fit any labels, so the H-score is their rank.
  """
  if "h_score" not in names:
    return
  found = [
    model
    for model, source in zip(short, scored, strict=True)
    if source.estimates["h_score"] is not None
    and (source.row["num_features"] or 0) >= source.row["num_examples"]
  ]
  if found:
    yield (
      f"h_score tells nothing of {validation.some(found)}: with no more "
      "examples than features it is the same for any source; "
      "regularized_h_score is not."
    )


def _baseline(source, names) -> Iterator[str]:
  """The range of scores in nats; regression has none."""
  in_nats = [name for name in _IN_NATS if name in names]
  if in_nats and source.targets.ndim == 1:
    *most, last = in_nats
    those = f"{', '.join(most)} and {last} are" if most else f"{last} is"
    hardness = -nce.task_hardness(source.targets)
    yield (
      f"{those} in nats: 0 is perfect, {hardness:z.4f} is a source that knows "
      "nothing."
    )


def _cost(rows):
  """Devices and seconds of the whole command."""
  count, processes = rows[0]["devices"], ""
  if hosts.count() > 1:
    processes = f" of {hosts.count()} processes"
  return (
    f"{count} {jax.default_backend()} device{'s' * (count > 1)}{processes}; "
    f"{sum(row['seconds'] for row in rows):.1f} s, and "
    f"{programs.compile_seconds():.1f} s of compilation."
  )


def page_lines(
  scored: Sequence[ScoredSource], names: Sequence[str]
) -> tuple[list[str], list[str]]:
  """Returns the text of an HTML report: the answer, and remarks on sources.

  Args:
    scored: the sources.
    names: of scores, the first of which ranks.

  Example:
    >>> import numpy as np
    >>> from leep_jax.reports import score_report
    >>> row = {
    ...   "model": "mine", "dataset": "two", "split": "all", "num_examples": 2,
    ...   "num_target_classes": 2, "note": None,
    ... }
    >>> scored = score_report.ScoredSource(row, {}, {}, np.array([0, 1]))
    >>> score_report.page_lines([scored], ["nce"])
    (['two: 2 examples, 2 classes. Best first by nce.'], [])
  """
  short = tables.short_names([source.row["model"] for source in scored])
  remarks = [*_remarks(scored, short), *_saturated(scored, names, short)]
  return [_heading(scored[0], names[0])], remarks


def draw(
  scored: Sequence[ScoredSource],
  names: Sequence[str],
  best: Mapping[str, list[bool]] | None,
  *,
  path: str | os.PathLike[str],
) -> None:
  """Draws the ranking by the first score.

  If that is the expected accuracy, and there are speeds of several sources, it
  draws the accuracy against the speed.

  Args:
    scored: the sources.
    names: of scores.
    best: see `best_sources`.
    path: file to write, `.png`, `.pdf` or `.svg`; replaced.

  Example:
    >>> import pathlib, tempfile
    >>> import numpy as np
    >>> from leep_jax.reports import score_report
    >>> row = {
    ...   "model": "mine", "dataset": "two", "split": "all", "num_examples": 2,
    ...   "leep": -0.1, "leep_low": -0.2, "leep_high": 0.0,
    ... }
    >>> scored = score_report.ScoredSource(row, {}, {}, np.array([0, 1]))
    >>> with tempfile.TemporaryDirectory() as folder:
    ...   path = pathlib.Path(folder) / "ranking.svg"
    ...   score_report.draw([scored], ["leep"], None, path=path)
    ...   path.exists()
    True
  """
  name = names[0]
  ends = [(s.row[f"{name}_low"], s.row[f"{name}_high"]) for s in scored]
  first = scored[0].row
  short = tables.short_names([source.row["model"] for source in scored])
  values = [source.row[name] for source in scored]
  intervals = [None if low is None else (low, high) for low, high in ends]
  title = f"{_dataset_and_split(first)}: {first['num_examples']:,} examples"
  defined = sum(value is not None for value in values)
  # Files of predictions were read, which says nothing of their sources.
  timed = first["dataset"] != "predictions"
  if name == "probe_accuracy" and timed and defined > 1:
    speeds = [source.row["examples_per_second"] for source in scored]
    plots.accuracy_speed(
      short,
      values,
      intervals,
      speeds,
      value="expected accuracy",
      title=title,
      path=path,
    )
    return
  plots.ranking(
    short,
    values,
    intervals,
    score=name,
    title=title,
    marked=best.get(name) if best else None,
    path=path,
  )
