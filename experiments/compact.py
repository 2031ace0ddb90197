"""Rewrites the committed rows so that they take a third of the space.

    python -m experiments.compact

Purpose: each row states in full how it was made, and in a sweep nearly all of
that is the same from row to row. This script writes the fields that consecutive
rows share once, in a line `{"header": {...}}` before them;
`results.parse_rows` gives every row its fields back. It rounds losses to four
significant digits, because nothing reads them and their last digits differ
between machines. It replaces a curve of accuracies by null if the curve has
only the final accuracy.

The file ends with an empty header, so that a sweep can append to it. Run the
script again after such a sweep; a test fails otherwise.

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

# Fields that differ between the rows of one method, source and commit.
_OF_A_ROW = frozenset(
  (
    "task", "task_seed", "task_index", "task_checksum", "classes",
    "num_classes", "train_examples", "test_examples", "minority", "majority",
    "seed", "scores", "accuracy", "macro_f1", "binary_f1", "nll", "losses",
    "accuracies", "diverged", "seconds", "module", "name", "kind", "reason",
    "operations", "logits_error", "features_error", "nodes", "image_size",
    "short", "epoch", "tasks", "loss", "validation_accuracy",
    "validation_loss",
  )
)  # fmt: skip
_DIGITS = 4


def files(folder: pathlib.Path = section.RESULTS) -> Iterator[pathlib.Path]:
  """Yields the files of committed rows."""
  yield from sorted(folder.rglob("*.jsonl"))


def compact(rows: Sequence[results.Row]) -> bytes:
  """Returns rows as JSON lines with headers, in their original order."""
  lines = []
  for _, group in itertools.groupby(map(_shorten, rows), key=_kind):
    run = list(group)
    first, *others = run
    header = {
      name: value
      for name, value in first.items()
      if all(row[name] == value for row in others)
    }
    lines.append({"header": header})
    lines += [
      {name: value for name, value in row.items() if name not in header}
      for row in run
    ]
  # Ends the last header, which must not apply to rows appended later.
  lines.append({"header": {}})
  return "".join(f"{_text(line)}\n" for line in lines).encode()


def _kind(row):
  """Returns what rows under one header share: field names and most values."""
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
