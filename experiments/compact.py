"""Rewrites the committed rows so that they take a third of the space.

    python -m experiments.compact

Purpose: rows say in full how each was made, and in a sweep nearly all of that
is the same from row to row. The fields that are equal in a run of rows are
written once, in a line `{"header": {...}}` before it; `results.parse_rows`
gives every row its fields back. Nothing reads these rows' losses, whose last
digits differ between machines: four significant digits are kept. A curve of
accuracies that holds the final accuracy alone is null.

The file ends with an empty header, so that a sweep can append to it. Run this
again after one; a test fails otherwise.

Cost: seconds. What came out: 9.8 MB of JSON lines became 3.4 MB (1.2 and
0.9 MB as git compresses them).
"""

from collections.abc import Iterator, Sequence
import itertools
import json
import pathlib
import sys

from absl import flags

from experiments import section
from leep_jax import command
from leep_jax.reports import results

# What differs between the rows of one method, source and commit.
_OF_A_ROW = frozenset(
  (
    "task", "task_seed", "task_index", "task_checksum", "classes",
    "num_classes", "train_examples", "test_examples", "minority", "majority",
    "seed", "scores", "accuracy", "macro_f1", "binary_f1", "nll", "losses",
    "accuracies", "diverged", "seconds",
  )
)  # fmt: skip
_DIGITS = 4


def files(folder: pathlib.Path = section.RESULTS) -> Iterator[pathlib.Path]:
  """Yields the files of committed rows."""
  yield from sorted(folder.rglob("*.jsonl"))


def compact(rows: Sequence[results.Row]) -> bytes:
  """Returns rows as lines and headers, in the order in which they came."""
  lines = []
  for _, run in itertools.groupby(map(_shorten, rows), key=_kind):
    held = list(run)
    first, *others = held
    header = {
      name: value
      for name, value in first.items()
      if all(row[name] == value for row in others)
    }
    lines.append({"header": header})
    lines += [
      {name: value for name, value in row.items() if name not in header}
      for row in held
    ]
  lines.append({"header": {}})
  return "".join(f"{_text(line)}\n" for line in lines).encode()


def _kind(row):
  """What the rows under one header share: the names and most values."""
  return list(row), {k: v for k, v in row.items() if k not in _OF_A_ROW}


def _shorten(row):
  row = dict(row)
  if row.get("losses") is not None:
    row["losses"] = [_round(value) for value in row["losses"]]
  if _only_last(row.get("accuracies") or ()):
    row["accuracies"] = None
  return row


def _round(value):
  return value if value is None else float(f"{value:.{_DIGITS}g}")


def _only_last(curve: Sequence[float | None]) -> bool:
  return len(curve) > 1 and all(value is None for value in curve[:-1])


def _text(line):
  return json.dumps(line, allow_nan=False, separators=(",", ":"))


def _run() -> int:
  for path in files():
    old = path.read_bytes()
    new = compact(results.parse_rows(old, name=str(path))[0])
    if new != old:
      results.replace_file(path, new)
      print(f"{path}: {len(old):,} to {len(new):,} bytes")
  return 0


if __name__ == "__main__":
  sys.exit(command.main(sys.argv, flags.FlagValues(), __doc__ or "", _run))
