"""Rows of `experiments.benchmarks.accelerator`, and the table made of them.

A row is one measurement. The rows of a case were measured in one go, in turns:
they have one `run`, and ratios are of rows of one run alone.
"""

from collections.abc import Iterable, Iterator, Sequence
import json
import statistics
from typing import Any

Row = dict[str, Any]
# What rows of the same work have in common. The commit is not among it: rows of
# a changed package go to a new file.
_SAME = ("kind", "case", "settings", "size", "device", "devices", "versions")
_HEADER = (
  "measured",
  "of",
  "over",
  "speed ratio",
  "range",
  "rates",
  "compiling",
)


def key(row: Row) -> str:
  """Returns what rows of the same work, device and versions share."""
  return json.dumps([row[field] for field in _SAME], sort_keys=True)


def complete(rows: Iterable[Row]) -> dict[str, list[Row]]:
  """Returns the rows of the last complete run of each case, by `key`.

  A run that was killed has fewer rows than its rows say.
  """
  found: dict[tuple[str, str], list[Row]] = {}
  for row in rows:
    found.setdefault((key(row), row["run"]), []).append(row)
  return {
    what: group
    for (what, _), group in found.items()
    if len(group) == group[0]["rows"]
  }


def speed(row: Row) -> float | None:
  """Returns the amount of work in a second; None if it was not measured."""
  return row["amount"] / row["seconds"] if row.get("seconds") else None


def measured(times: Sequence[float], first: float, compiling: float) -> Row:
  """Returns the fields of a row for the seconds of its repeats.

  Args:
    times: seconds of each repeat.
    first: seconds of the call before.
    compiling: those of them that compilation took.
  """
  median = statistics.median(times)
  return {
    "seconds": _rounded(median),
    "lowest": _rounded(min(times)),
    "highest": _rounded(max(times)),
    "times": [_rounded(t) for t in times],
    "first_seconds": _rounded(first),
    "compile_seconds": _rounded(compiling),
  }


def _rounded(value: float) -> float:
  return float(f"{value:.5g}")


def table(rows: Iterable[Row]) -> str:
  """Returns a Markdown table of speed ratios for each device and versions."""
  found: dict[str, list[list[Row]]] = {}
  for group in complete(rows).values():
    found.setdefault(about(group[0]), []).append(group)
  parts = []
  for title, groups in found.items():
    lines = [f"{title}\n", f"| {' | '.join(_HEADER)} |"]
    lines.append("|---" * len(_HEADER) + "|")
    # Kinds and cases stay in the order in which they were first measured.
    kinds = list(dict.fromkeys(group[0]["kind"] for group in groups))
    cases = list(dict.fromkeys(group[0]["case"] for group in groups))
    groups.sort(
      key=lambda group: (
        kinds.index(group[0]["kind"]), cases.index(group[0]["case"])
      )
    )  # fmt: skip
    for group in groups:
      lines += [f"| {' | '.join(cells)} |" for cells in _ratios(group)]
    parts.append("\n".join(lines))
  return "\n\n".join(parts)


def about(row: Row) -> str:
  """Returns the device and versions of a row in words."""
  versions = ", ".join(f"{k} {v}" for k, v in row["versions"].items() if v)
  return f"{row['devices']} x {row['device']}, size {row['size']}; {versions}"


def _ratios(group: list[Row]) -> Iterator[list[str]]:
  """Yields cells for each pair of a case's rows that are compared."""
  by_name = {row["variant"]: row for row in group}
  compared = {name for row in group for name in row["over"]}
  for row in group:
    if not row["over"] and row["variant"] not in compared:
      # Such as a case whose preparation failed.
      yield [_what(row), row["variant"], "-", "-", "-", _rate(row), "-"]
    for name in row["over"]:
      if name not in by_name:
        continue
      other = by_name[name]
      cells = [_what(row), row["variant"], name]
      ours, theirs = speed(row), speed(other)
      if ours is None or theirs is None:
        yield [*cells, "-", "-", f"{_rate(row)} / {_rate(other)}", "-"]
        continue
      # Turn by turn: what slows the machine down slows both.
      scale = row["amount"] / other["amount"]
      turns = [
        scale * b / a for a, b in zip(row["times"], other["times"], strict=True)
      ]
      yield [
        *cells,
        f"{ours / theirs:.3g}",
        f"{min(turns):.3g}-{max(turns):.3g}",
        f"{_rate(row)} / {_rate(other)}",
        f"{row['compile_seconds']:.1f} / {other['compile_seconds']:.1f} s",
      ]


def _what(row: Row) -> str:
  settings = row["settings"]
  named = [
    f"{v}" if k == "dtype" else f"{k} {v:,}" for k, v in settings.items()
  ]
  what = row["kind"]
  if row["case"] != what:
    what += f" {row['case']}"
  return ", ".join([what, *named])


def _rate(row: Row) -> str:
  found = speed(row)
  if found is None:
    return f"not measured: {row['failed']}"
  return (
    f"{found:,.4g} {row['unit']}/s"
    if found < 100
    else (f"{found:,.0f} {row['unit']}/s")
  )
