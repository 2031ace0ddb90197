"""The ranking of sources as rows, a table with its notes, and a chart.

`python -m leep_jax.score` computes the scores; this module writes about them.
"""

from collections.abc import Iterable, Iterator, Mapping, Sequence
import os
import textwrap
from typing import Any

import jax
import numpy as np

from leep_jax import scores as scores_lib
from leep_jax.engine import hosts, programs
from leep_jax.reports import answer, cautions, plots, scored_source, tables
from leep_jax.reports.scored_source import ScoredSource
from leep_jax.scores import jackknife, nce

# Scores whose unit is the nat, and whose value for a source that knows nothing
# is minus the entropy of the labels.
_IN_NATS = ("leep", "nce", "n_leep", "mean_leep", "mean_nce")


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
    >>> from leep_jax.reports import score_report, scored_source
    >>> alone = scored_source.ScoredSource({}, {}, {}, np.array([0, 1]))
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
  """Formats the answer and the table, with what a reader needs to judge them.

  Args:
    scored: the sources.
    names: of scores, the first of which ranks. A held-out score (`leep_loo`) is
      shown only where the score that it belongs to differs from it by more
      than its standard error.
    best: see `best_sources`.

  Returns:
    Lines of at most 80 columns, without a final newline.

  Example:
    >>> import leep_jax
    >>> from leep_jax.reports import score_report, scored_source
    >>> outputs = leep_jax.Outputs.from_arrays(
    ...   probs=[[0.9, 0.1], [0.2, 0.8]], labels=[0, 1]
    ... )
    >>> estimates = leep_jax.estimate_scores(outputs, names=["nce"], groups=1)
    >>> row = scored_source.make_row(
    ...   "mine", outputs, estimates, dataset="two", split="all", seconds=0.5
    ... )
    >>> scored = scored_source.ScoredSource(row, estimates, {}, outputs.labels)
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
  names = shown(scored, names)
  lines = [
    _heading(scored[0], names[0]),
    "",
    *_paragraph(answer.sentences(scored, names[0], best)),
    tables.format_table(
      rows, list(names), marks=None if best is None else dict(best)
    ),
    "",
    *wrapped(legend(scored, best)),
    *wrapped(remarks(scored, names)),
    *wrapped(_baseline(scored[0], names)),
    cost(rows),
  ]
  return "\n".join(lines)


def ranked_first(
  scored: Sequence[ScoredSource], names: Sequence[str]
) -> list[str]:
  """Moves the first score that a source has to the front, where it ranks.

  Args:
    scored: the sources.
    names: of scores, in the order in which they should rank.

  Example:
    >>> import numpy as np
    >>> from leep_jax.reports import score_report, scored_source
    >>> source = scored_source.ScoredSource(
    ...   {"probe_accuracy": None, "leep": -1.0}, {}, {}, np.array([0, 1]))
    >>> score_report.ranked_first([source], ["probe_accuracy", "leep"])
    ['leep', 'probe_accuracy']
  """
  some = [n for n in names if any(s.row.get(n) is not None for s in scored)]
  first = some[0] if some else names[0]
  return [first, *(name for name in names if name != first)]


def shown(scored: Sequence[ScoredSource], names: Sequence[str]) -> list[str]:
  """Returns the names without held-out scores that say nothing new.

  Args:
    scored: the sources.
    names: of scores.

  Example:
    >>> import numpy as np
    >>> from leep_jax.reports import score_report, scored_source
    >>> source = scored_source.ScoredSource(
    ...   {"leep": -1.0, "leep_se": 0.1, "leep_loo": -1.05, "leep_loo_se": 0.1},
    ...   {}, {}, np.array([0, 1]))
    >>> score_report.shown([source], ["leep", "leep_loo"])
    ['leep']
  """

  def differs(row, name, held_out):
    value, other = row.get(name), row.get(held_out)
    if value is None or other is None:
      return False
    return abs(value - other) > (row.get(f"{name}_se") or 0.0)

  return [
    name
    for name in names
    if not name.endswith("_loo")
    or name.removesuffix("_loo") not in names
    or any(differs(s.row, name.removesuffix("_loo"), name) for s in scored)
  ]


def _paragraph(sentences):
  """Lines of the answer, and an empty line below."""
  return [*wrapped(sentences), ""] if sentences else []


def wrapped(texts: Iterable[str]) -> list[str]:
  """Returns lines of at most 80 columns; later lines of a text are indented.

  Args:
    texts: without line breaks.

  Example:
    >>> from leep_jax.reports import score_report
    >>> for line in score_report.wrapped([f"{'-' * 70} two words"]):
    ...   print(line)
    ---------------------------------------------------------------------- two
      words
  """
  return [
    line
    for text in texts
    for line in textwrap.wrap(text, tables.WIDTH, subsequent_indent="  ")
  ]


def _heading(source, name):
  """What was scored on what, and what ranks."""
  count, kind = source.row["num_target_classes"], "class"
  if count is None:
    count, kind = source.targets.shape[1], "target"
  sets = source.kind == "multi_labels"
  what = tables.count(count, "label" if sets else kind)
  if sets:
    mean = source.targets.sum(axis=1).mean()
    what += f" (multi-label, {mean:.1f} on average)"
  return (
    f"{scored_source.dataset_and_split(source.row)}: "
    f"{tables.count(source.row['num_examples'], 'example')}, {what}. "
    f"Best first by {name}."
  )


def legend(
  scored: Sequence[ScoredSource], best: Mapping[str, list[bool]] | None
) -> Iterator[str]:
  """Yields what the signs in the table mean, if they occur.

  Args:
    scored: the sources.
    best: see `best_sources`.

  Example:
    >>> import numpy as np
    >>> from leep_jax.reports import score_report, scored_source
    >>> alone = scored_source.ScoredSource({}, {}, {}, np.array([0, 1]))
    >>> list(score_report.legend([alone], None))
    []
  """
  known = [e for s in scored for e in s.estimates.values() if e]
  sizes = {len(e.deleted) for e in known} - {0}
  if best:
    yield (
      "* best of its column, or not told apart from it (paired differences, "
      f"{jackknife.LEVEL:.0%})."
    )
  if not sizes:
    return
  dataset = scored[0].dataset
  if dataset is not None and dataset.clusters is not None:
    held_out = [f"{n}_loo" for n in ("leep", "nce")]
    held_out = [n for n in held_out if any(n in s.estimates for s in scored)]
    yield (
      f"± is one standard error, between {max(sizes):,} groups of examples "
      f"that belong together. {_means(scored)} leave out one group at a time"
      + (f", {' and '.join(held_out)} one example." if held_out else ".")
    )
    return
  # Scores that are means over examples have groups of one example each.
  groups = {len(e.deleted) for e in known if np.any(e.sizes != 1)} - {0}
  if groups:
    yield f"± is one standard error, from {max(groups)} groups of examples" + (
      f" (of {_means(scored).lower()}, from examples)."
      if sizes - groups
      else "."
    )
  else:
    yield "± is one standard error, from the variation over examples."


def _means(scored) -> str:
  """What scores of the table that are means over examples are called."""
  names = dict.fromkeys(name for s in scored for name in s.estimates)
  near = [n for n in names if n in ("knn_accuracy", "class_mean_accuracy")]
  probes = any(name.startswith("probe_") for name in names)
  return ", ".join(["Probe scores"] * (probes or not near) + near)


def remarks(
  scored: Sequence[ScoredSource], names: Sequence[str]
) -> Iterator[str]:
  """Yields notes on sources, why scores are missing, and cautions.

  Args:
    scored: the sources.
    names: of the scores that are shown.

  Example:
    >>> import numpy as np
    >>> from leep_jax.reports import score_report, scored_source
    >>> source = scored_source.ScoredSource(
    ...   {"model": "mine", "note": None, "num_source_classes": None,
    ...    "leep": None}, {"leep": None},
    ...   {"leep": "there are no probs"}, np.array([0, 1]))
    >>> list(score_report.remarks([source], ["leep"]))
    ['mine has no leep: there are no probs.']
  """
  short = tables.short_names([source.row["model"] for source in scored])
  # Scores that are missing for one reason are named in one line.
  missing: dict[tuple[str, str], list[str]] = {}
  for model, source in zip(short, scored, strict=True):
    for name, why in source.undefined.items():
      missing.setdefault((model, why), []).append(name)
    if source.row["note"] not in (None, *source.undefined.values()):
      yield f"{model}: {source.row['note']}"
  for (model, why), missed in missing.items():
    stop = "" if why.endswith("?") else "."
    yield f"{model} has no {', '.join(missed)}: {why}{stop}"
  yield from cautions.of_comparison(scored, names)


def _baseline(source, names) -> Iterator[str]:
  """The range of scores in nats; regression has none."""
  in_nats = [
    name
    for name in _IN_NATS
    if name in names and source.kind in scores_lib.SCORES[name].target_kinds
  ]
  if in_nats:
    *most, last = in_nats
    those = f"{', '.join(most)} and {last} are" if most else f"{last} is"
    tasks = [source.targets]
    if source.kind == "multi_labels":  # those that vary count
      tasks = [y for y in source.targets.T if y.any() and not y.all()]
    hardness = -float(np.mean([nce.task_hardness(y) for y in tasks or [[0]]]))
    yield (
      f"{those} in nats: 0 is perfect, {hardness:z.4f} is a source that knows "
      "nothing."
    )


def cost(rows: Sequence[Mapping[str, Any]]) -> str:
  """Returns devices and seconds of the whole command.

  Args:
    rows: of all sources.

  Example:
    >>> from leep_jax.reports import score_report
    >>> score_report.cost([{"devices": 8, "seconds": 2.5}])
    '8 cpu devices; 2.5 s, and ... s of compilation.'
  """
  count, processes = rows[0]["devices"], ""
  if hosts.count() > 1:
    processes = f" of {hosts.count()} processes"
  return (
    f"{count} {jax.default_backend()} device{'s' * (count > 1)}{processes}; "
    f"{sum(row['seconds'] for row in rows):.1f} s, and "
    f"{programs.compile_seconds():.1f} s of compilation."
  )


def page_lines(
  scored: Sequence[ScoredSource],
  names: Sequence[str],
  best: Mapping[str, list[bool]] | None,
) -> tuple[list[str], list[str]]:
  """Returns the text of an HTML report: the answer, and what to know of it.

  Args:
    scored: the sources.
    names: of scores, the first of which ranks.
    best: see `best_sources`.

  Example:
    >>> import numpy as np
    >>> from leep_jax.reports import score_report, scored_source
    >>> row = {
    ...   "model": "mine", "dataset": "two", "split": "all", "num_examples": 2,
    ...   "num_target_classes": 2, "note": None,
    ... }
    >>> scored = scored_source.ScoredSource(row, {}, {}, np.array([0, 1]))
    >>> score_report.page_lines([scored], ["nce"], None)
    (['two: 2 examples, 2 classes. Best first by nce.'], [])
  """
  sentences = answer.sentences(scored, names[0], best)
  known = list(remarks(scored, names))
  return sentences or [_heading(scored[0], names[0])], known


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
    >>> from leep_jax.reports import score_report, scored_source
    >>> row = {
    ...   "model": "mine", "dataset": "two", "split": "all", "num_examples": 2,
    ...   "leep": -0.1, "leep_low": -0.2, "leep_high": 0.0,
    ... }
    >>> scored = scored_source.ScoredSource(row, {}, {}, np.array([0, 1]))
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
  title = scored_source.dataset_and_split(first)
  title += f": {first['num_examples']:,} examples"
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
      inputs=tables.examples(first),
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
