"""The answer in words: which source to start from, and how sure that is.

`python -m leep_jax.score` prints these sentences above its table.
"""

from collections.abc import Mapping, Sequence
import math

from leep_jax import validation
from leep_jax.reports import tables
from leep_jax.reports.scored_source import ScoredSource
from leep_jax.scores import jackknife

# What a score says of a new head, in words; others only rank.
_EXPECTED = {
  "probe_accuracy": "accuracy",
  "probe_balanced_accuracy": "balanced accuracy",
  "probe_r2": "R^2",
  "probe_map": "mean average precision",
}
# Scores that are a share, and are written as a percentage.
_SHARES = ("probe_accuracy", "probe_balanced_accuracy")
# A source is called faster if it is by this factor.
_FASTER = 1.5
# More examples than this many times those at hand are not advised.
_MOST_TIMES = 50


def sentences(
  scored: Sequence[ScoredSource],
  rank_by: str,
  best: Mapping[str, list[bool]] | None,
) -> list[str]:
  """Returns the answer, one paragraph an element.

  Args:
    scored: the sources.
    rank_by: the score that ranks.
    best: by score, which sources are not told apart from the best one; None
      where sources do not compare.

  Example:
    >>> import numpy as np
    >>> import leep_jax
    >>> from leep_jax.reports import answer, score_report, scored_source
    >>> rng = np.random.default_rng(0)
    >>> labels = rng.integers(0, 3, 200)
    >>> def source(name, signal, speed):
    ...   features = signal * np.eye(3)[labels] + rng.normal(size=(200, 3))
    ...   outputs = leep_jax.Outputs.from_arrays(
    ...     features=features, labels=labels)
    ...   estimates = leep_jax.estimate_scores(
    ...     outputs, names=["probe_accuracy"])
    ...   row = scored_source.make_row(
    ...     name, outputs, estimates, dataset="made", split="all",
    ...     seconds=1, examples_per_second=speed)
    ...   return scored_source.ScoredSource(row, estimates, {}, labels)
    >>> scored = [source("small", 1, 900), source("large", 2, 100)]
    >>> best = score_report.best_sources(scored, ["probe_accuracy"])
    >>> for text in answer.sentences(scored, "probe_accuracy", best):
    ...   print(text.split(". ")[0])
    Start from large (expected accuracy of a new head 89.5 % ± 2.2)
  """
  known = [i for i, s in enumerate(scored) if s.row.get(rank_by) is not None]
  if not known:
    return []
  names = tables.short_names([s.row["model"] for s in scored])
  first = max(known, key=lambda i: (scored[i].row[rank_by], -i))
  if len(scored) == 1:
    if rank_by not in _EXPECTED:
      return []
    if "eliminated_in_round" in scored[0].row:  # what is left of a race
      what = _expected(scored[0].row, rank_by, of="a new head")
      return [f"Start from {names[0]} ({what}), which is left of the race."]
    what = _expected(scored[first].row, rank_by, of="a new head on it")
    return [f"{names[first]}: {what}."]
  lines = [_first(scored, names, first, rank_by, best)]
  lines += _more_examples(scored, names, known, rank_by, best)
  lines += _disagreement(scored, names, first, rank_by, best)
  return lines


def _first(scored, names, first, rank_by, best):
  """Which source to start from, and which others may be as good."""
  row = scored[first].row
  if rank_by in _EXPECTED:
    what = _expected(row, rank_by, of="a new head")
    text = f"Start from {names[first]} ({what})."
  else:
    (value,) = tables.cells([row[rank_by]], [row.get(f"{rank_by}_se")])
    text = f"Best by {rank_by}: {names[first]} ({value})."
  if best is None:
    return f"{text} The sources were scored on different examples."
  if rank_by not in best:
    return text
  tied = [i for i, may in enumerate(best[rank_by]) if may and i != first]
  tied.sort(key=lambda i: -scored[i].row[rank_by])
  unknown = [i for i, s in enumerate(scored) if s.row.get(rank_by) is None]
  if len(unknown) == len(scored) - 1:
    return f"{text} The others have no {rank_by}."
  if not tied:
    all_others = "all others that have this score" if unknown else "all others"
    return f"{text} It is told apart from {all_others}."
  others = validation.some([names[i] for i in tied], most=5)
  return (
    f"{text} Not told apart: {others}{_fastest(scored, names, first, tied)}"
  )


def _expected(row, rank_by, *, of):
  """`expected accuracy of a new head 95.7 % ± 0.7`."""
  value, error = row[rank_by], row.get(f"{rank_by}_se")
  if rank_by in _SHARES:
    text = f"{100 * value:.1f} %"
    error = None if error is None else f"{100 * error:.1f}"
  else:
    text = f"{value:.3f}"
    error = None if error is None else f"{error:.3f}"
  text += "" if error is None else f" ± {error}"
  return f"expected {_EXPECTED[rank_by]} of {of} {text}"


def _fastest(scored, names, first, tied):
  """The end of the sentence on sources that are not told apart."""
  speed = [s.row.get("examples_per_second") for s in scored]
  if scored[first].row["dataset"] == "predictions" or not all(speed):
    return "."  # the outputs were made elsewhere
  fastest = max([first, *tied], key=lambda i: speed[i])
  times = speed[fastest] / speed[first]
  if fastest == first:
    if speed[first] < _FASTER * max(speed[i] for i in tied):
      return "."
    return f"; of these {names[first]} is the fastest."
  if times < _FASTER:
    return "."
  digits = 0 if times >= 3 else 1
  return f"; of these {names[fastest]} is the fastest (x {times:.{digits}f})."


def _more_examples(scored, names, known, rank_by, best):
  """How many examples would tell the best three apart, if these do not."""
  if best is None or rank_by not in best:
    return
  order = sorted(known, key=lambda i: -scored[i].row[rank_by])[:3]
  first = scored[order[0]].estimates[rank_by]
  tied = [scored[i].estimates[rank_by] for i in order[1:] if best[rank_by][i]]
  if not tied:
    return
  n = scored[order[0]].row["num_examples"]
  needed = max(
    examples_needed(jackknife.paired_difference(first, other), n, len(tied))
    for other in tied
  )
  what = f"the best {'two' if len(tied) == 1 else 'three'}"
  if needed > _MOST_TIMES * n:
    yield (
      f"{tables.count(n, 'example')} cannot tell {what} apart, nor could "
      f"{_MOST_TIMES} times as many if the differences stay as they are. "
      "Choose by speed or size, or train a head on each."
    )
  elif needed > n:
    yield (
      f"To tell {what} apart, about {_rounded(needed):,} examples would be "
      f"needed instead of {n:,}, if the differences stay as they are."
    )


def examples_needed(
  difference: jackknife.Estimate, n: int, comparisons: int
) -> float:
  """Returns about how many examples would show that a difference is not 0.

  With as large a difference, its standard error falls with the square root of
  the number of examples.

  Args:
    difference: of two scores of the same examples.
    n: how many these are.
    comparisons: that share the error probability 5 %.

  Example:
    >>> import numpy as np
    >>> from leep_jax.reports import answer
    >>> from leep_jax.scores import per_example
    >>> a = per_example.PerExample.mean(np.repeat([1.0, 0.0], [85, 15]))
    >>> b = per_example.PerExample.mean(np.repeat([1.0, 0.0], [80, 20]))
    >>> difference = a.estimate().minus(b.estimate())
    >>> round(answer.examples_needed(difference, 100, 1))
    85
  """
  error = difference.standard_error
  if error is None or not difference.value:
    return math.inf
  import scipy.stats

  level = 1 - (1 - jackknife.LEVEL) / comparisons
  quantile = scipy.stats.norm.ppf((1 + level) / 2)
  return float(n * (quantile * error / difference.value) ** 2)


def _rounded(number):
  """Two digits: more would claim to know the differences better."""
  unit = 10 ** max(math.floor(math.log10(number)) - 1, 0)
  return round(number / unit) * unit


def _disagreement(scored, names, first, rank_by, best):
  """Scores whose first place is another source, and what that would lose.

  Sources that are not told apart from the first are no disagreement.
  """
  if best is None:  # sources do not compare
    return
  if rank_by not in _SHARES:
    yield from _other_expectation(scored, names, first, best)
    return
  others: dict[int, list[str]] = {}
  for name in scored[first].estimates:
    values = [s.row.get(name) for s in scored]
    known = [i for i, value in enumerate(values) if value is not None]
    if name.startswith("probe_") or first not in known:
      continue
    chosen = max(known, key=lambda i: values[i])
    lower = scored[chosen].row.get(rank_by)
    if (
      chosen != first and lower is not None and not _tied(best, rank_by, chosen)
    ):
      others.setdefault(chosen, []).append(name)
  for chosen, scores in others.items():
    loss = scored[first].row[rank_by] - scored[chosen].row[rank_by]
    *most, last = scores
    verb = "rank" if most else "ranks"
    those = f"{', '.join(most)} and {last}" if most else last
    yield (
      f"{those} {verb} {names[chosen]} first, which is expected to reach "
      f"{100 * loss:.1f} points less."
    )


def _tied(best, name, i):
  return name in best and best[name][i]


def _other_expectation(scored, names, first, best):
  """That the expected accuracy speaks for another source, if it does."""
  name = "probe_accuracy"
  values = [s.row.get(name) for s in scored]
  if values[first] is None or _tied(best, name, first):
    return
  chosen = max(
    (i for i, value in enumerate(values) if value is not None),
    key=lambda i: values[i],
  )
  gain = 100 * (values[chosen] - values[first])
  if gain > 0:
    yield (
      f"But a new head on {names[chosen]} is expected to reach {gain:.1f} "
      "points more (probe_accuracy)."
    )
