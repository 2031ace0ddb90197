"""Writes Table 1 of the LEEP paper, published beside measured (section 5.6).

    python -m experiments.table_1 [--results=DIR --output=DIR]

Purpose: computes all correlations of LEEP, NCE and H-score with accuracy (or
F1) after transfer, from the rows of the other sections. A line can be measured
with several sources: the table shows the first of `section.STAND_INS`, and the
range of the others. For a line that was not measured, the table has the command
that measures it. The script also draws figures 1 to 9. `experiments.blocks`
calls it, and writes the Markdown tables from the same rows.

Cost: half a minute; nothing is trained.

What came out: `results/table_1.md`, the figures in the same folder, and "What
does not, and why" in `experiments/README.md`.
"""

from collections.abc import Mapping, Sequence
import csv
import dataclasses
import math
import pathlib
import sys
from typing import Any

from absl import flags
import numpy as np

from experiments import figures, ranking_metrics, section
from leep_jax import command, validation
from leep_jax.reports import correlation, results, sweep_report, tables

FLAGS = flags.FlagValues()
_RESULTS = flags.DEFINE_string(
  "results",
  str(section.RESULTS),
  "Folder of the rows of all sections.",
  flag_values=FLAGS,
)
_OUTPUT = flags.DEFINE_string(
  "output",
  None,
  "Folder for the table and figures. Default: the folder of the rows.",
  flag_values=FLAGS,
)
SCORES = ("leep", "nce", "h_score")
PUBLISHED = section.RESULTS.parent / "published" / "table_1.csv"
_SECTIONS = {
  "5.1": "large_tasks",
  "5.2": "small_tasks",
  "5.3": "imbalanced_tasks",
  "5.4": "meta_transfer",
}
_TASKS = 200  # tasks of the paper, for the standard error of a published r
# Training images of CIFAR-100 and Fashion-MNIST; CNAPs has none.
_WHOLE = (50_000, 60_000, 0)


@dataclasses.dataclass(frozen=True)
class Variant:
  """Correlations of a line that was measured otherwise.

  Attributes:
    name: what is different: the source, or a setting in words.
    r: by score, None where undefined.
    n: number of tasks.
  """

  name: str
  r: Mapping[str, float | None]
  n: int

  def differs(self, score: str, published: float) -> bool:
    """Returns whether r differs from the published one, see `differ`."""
    r = self.r[score]
    return r is not None and differ(r, self.n, published)


@dataclasses.dataclass(frozen=True)
class Line:
  """A line of Table 1.

  Attributes:
    published: the line of `published/table_1.csv`.
    model: the source that the table shows, or None.
    found: its correlations, by score.
    setting: numbers of tasks, epochs and images, where they differ between
      lines.
    others: other sources of the same training data.
  """

  published: dict[str, str]
  model: str | None
  found: dict[str, correlation.Correlation]
  setting: str
  others: Sequence[Variant] = ()

  @property
  def section(self) -> str:
    """Returns the name of the section's module."""
    return _SECTIONS[self.published["section"]]

  @property
  def command(self) -> str:
    """Returns the command that measures this line at the paper's scale."""
    return (
      f"python -m experiments.{self.section} --scale=paper "
      f"--datasets={self.published['target']} "
      f"--transfer={self.published['method']} --data_dir=DIR --weights=DIR "
      "--output=experiments/results"
    )

  def value(self, score: str) -> float:
    """Returns the published r of a score."""
    return float(self.published[score])

  def contradicts(self, score: str) -> bool:
    """Returns whether the published r is outside the measured interval."""
    found = self.found.get(score)
    if found is None or found.interval is None:
      return False
    low, high = found.interval
    return not low <= self.value(score) <= high

  def differs(self, score: str) -> bool:
    """Returns whether the measured r differs from the published, see `differ`.

    Unlike `contradicts`, this allows for the sampling error of the published r
    as well.
    """
    found = self.found.get(score)
    if found is None or found.pearson is None:
      return False
    return differ(found.pearson, found.n, self.value(score))


def number(name: str) -> str:
  """Returns the number of a section of this name in the paper."""
  return next(key for key, value in _SECTIONS.items() if value == name)


def fisher_z(r: float) -> float:
  """Returns Fisher's z of a correlation, finite also for 1 and -1."""
  bound = 1 - 1e-9
  return math.atanh(max(-bound, min(bound, r)))


def differ(r: float, n: int, published: float) -> bool:
  """Returns whether r of n tasks differs from a published one, at p < 0.05.

  The test compares Fisher's z of both, whose variance is 1 / (n - 3).
  """
  if n < 4:
    return False
  error = math.sqrt(1 / (n - 3) + 1 / (_TASKS - 3))
  return abs(fisher_z(r) - fisher_z(published)) > 1.96 * error


def lines(folder: pathlib.Path = section.RESULTS) -> list[Line]:
  """Returns all lines of Table 1.

  Args:
    folder: folder of the rows of all sections.
  """
  with PUBLISHED.open(newline="") as file:
    published = list(csv.DictReader(file))
  return [_line(line, folder) for line in published]


def _line(published, folder):
  name, target = _SECTIONS[published["section"]], published["target"]
  rows = section.measured(name, target, folder)
  metric = section.metric_of(name)
  found = []
  for stem, (trained_on, _) in section.STAND_INS.items():
    if trained_on == published["source"]:
      chosen = [row for row in rows if row["model"].startswith(stem)]
      pairs = section.pairs_of(chosen, published["method"], metric)
      if pairs:
        found.append((chosen, pairs))
  if not found:
    return Line(published, None, {}, "")
  (chosen, pairs), *others = found
  names = {pair["task"] for pair in pairs}
  trained = [
    row
    for row in chosen
    if row["method"] == published["method"] and row["task"] in names
  ]
  return Line(
    published,
    trained[0]["model"],
    {
      score: correlation.correlate(*sweep_report.columns(pairs, score))
      for score in SCORES
    },
    _setting(trained),
    [
      Variant(
        section.short_name(own[0]["model"]),
        {score: pearson(*sweep_report.columns(own, score)) for score in SCORES},
        len(own),
      )
      for _, own in others
    ],
  )


def pearson(scores: Any, performances: Any) -> float | None:
  """Returns r, or None if a column is constant up to rounding.

  Args:
    scores: `[n]`, numbers or None.
    performances: `[n]`, numbers or None.
  """
  # With too few examples, H-scores are equal up to rounding.
  r = ranking_metrics.pearson(
    np.array([scores], float), np.array([performances], float)
  )[0]
  return float(r) if np.isfinite(r) else None


def _setting(rows):
  """Describes the size of an experiment from its rows."""
  recipe = rows[0]["recipe"]
  parts = [f"{len({row['task'] for row in rows})} tasks"]
  if "epochs" in recipe:
    parts.append(tables.count(recipe["epochs"], "epoch"))
  # Tasks are drawn from the training set, and some have all its images.
  if rows[0]["train_set"] not in _WHOLE:
    parts.append(f"{rows[0]['train_set']:,} images")
  # Both targets have 10,000 test images.
  if rows[0]["test_set"] < 10_000:
    parts.append(f"{rows[0]['test_set']:,} test images")
  if rows[0]["model"] == section.FINE_TUNED:
    parts.append(f"{section.FINE_TUNED_SIZE} pixels")
  return ", ".join(parts)


def table(found: Sequence[Line]) -> str:
  """Returns Table 1 as Markdown."""
  text = [
    "| transfer | source → target | tasks (section) | score | published r | "
    "measured r | 95 % | measured with | setting | other sources |",
    "|---|---|---|---|---|---|---|---|---|---|",
  ]
  for line in found:
    facts = line.published
    regime = facts["regime"].replace("_", ", ")
    head = (
      f"| {facts['method']} | {facts['source']} → {facts['target']} | "
      f"{regime} ({facts['section']}) |"
    )
    if line.model is None:
      values = ", ".join(f"{line.value(s):.3f}" for s in SCORES)
      text.append(
        f"{head} leep, nce, h_score | {values} | not run: `{line.command}` | "
        "- | - | - | - |"
      )
      continue
    for score in SCORES:
      got = line.found[score]
      text.append(
        f"{head} {score} | {_published(line, score)} | "
        f"{_r(got)}{mark(line, score)} | {interval(got)} | "
        f"{_model(line.model)} | {line.setting} | {_others(line, score)} |"
      )
  return "\n".join(text)


def _others(line, score):
  """Returns the range over other sources, their number, and how many differ."""
  known = [one.r[score] for one in line.others if one.r[score] is not None]
  if not known:
    return "-"
  count = f"{len(known)}"
  if differing := sum(
    one.differs(score, line.value(score)) for one in line.others
  ):
    count += f", {differing} ‡"
  return f"{span(known)} ({count})"


def span(values: Sequence[float]) -> str:
  """Returns the smallest and the largest of some r as text."""
  low, high = f"{min(values):.3f}", f"{max(values):.3f}"
  return low if len(values) == 1 else f"{low} to {high}"


def interval(got: correlation.Correlation) -> str:
  """Returns the interval as text, or a dash if there is none."""
  if got.interval is None:
    return "-"
  return f"{got.interval[0]:.3f} to {got.interval[1]:.3f}"


def measured_beside_published(line: Line, score: str) -> str:
  """Returns the text `measured (published)` for a score, with its marks."""
  return (
    f"{_r(line.found[score])}{mark(line, score)} ({_published(line, score)})"
  )


def _published(line, score):
  weak = score == "h_score" and line.published["h_score_significant"] == "false"
  return f"{line.value(score):.3f}" + "\\*" * weak


def _r(got):
  if got.pearson is None:
    return "undefined"
  weak = "\\*" if got.p_value is not None and got.p_value > 0.05 else ""
  return f"{got.pearson:.3f}{weak}"


def mark(line: Line, score: str) -> str:
  """Returns the mark of an r that differs, or "". `NOTES` explains them."""
  if line.differs(score):
    return " ‡"
  return " †" if line.contradicts(score) else ""


def _model(name):
  return f"`{section.short_name(name)}`"


NOTES = (
  "\\* p > 0.05. † the published r is outside the measured 95 % interval (of "
  "the bootstrap). ‡ the difference is more than the chance in both samples "
  "explains (Fisher's z, p < 0.05). Both take tasks as independent, although "
  "they share classes and images."
)
_OTHERS = (
  "Other sources are of the same training data (Tiny-ImageNet counts as "
  "ImageNet); in brackets are their number, and of how many the difference is "
  "‡."
)


def page(found: Sequence[Line]) -> str:
  """Returns Table 1 and its notes as Markdown."""
  return f"{table(found)}\n\n{NOTES} {_OTHERS}\n"


def _run() -> int:
  folder = pathlib.Path(_RESULTS.value)
  if not folder.is_dir():
    raise validation.InputError(f"--results={folder} is no folder")
  output = pathlib.Path(_OUTPUT.value or folder)
  output.mkdir(parents=True, exist_ok=True)
  found = lines(folder)
  text = page(found)
  results.replace_file(output / "table_1.md", text.encode())
  print(text)
  for name in figures.draw(folder, output):
    print(f"wrote {output / name}")
  return 0


def main(argv: list[str]) -> int:
  """Runs the command; returns its exit status.

  Args:
    argv: the program's name and its flags.
  """
  return command.main(argv, FLAGS, __doc__ or "", _run)


if __name__ == "__main__":
  sys.exit(main(sys.argv))
