"""Rows of processes that are killed at random: none is lost, none doubled."""

import collections
import pathlib

import pytest
import running

from leep_jax.reports import results

SCRIPT = pathlib.Path(__file__).parent / "killed_writers.py"


# A store has no locks, so that processes claim nothing there.
@pytest.mark.parametrize(
  ("place", "kind"),
  [("files", "share"), ("files", "claims"), ("store", "share")],
)
def test_none_is_lost_and_none_doubled(tmp_path, place, kind):
  # A store that other processes see too, and that may hold cut files.
  folder = f"file://{tmp_path}" if place == "store" else str(tmp_path)
  process = running.start(str(SCRIPT), folder, kind, "100", "100", "8", "0")
  out, err = process.communicate()
  assert process.returncode == 0, err
  outside, inside = map(int, out.split())
  assert min(outside, inside) >= 4
  assert outside + inside >= 20
  rows = results.read_folder(folder)
  assert len(rows) == 10_000
  found = collections.Counter((row["model"], row["task"]) for row in rows)
  assert len(found) == 10_000
  assert set(found.values()) == {1}
  for row in rows:
    assert row["value"].startswith(f"{row['model']} on {row['task']}: x")
    assert set(row["value"].partition(": ")[2]) == {"x"}
