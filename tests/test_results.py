"""Rows are written whole or not at all."""

import csv
import json
import os
import stat

import pytest

import leep_jax
from leep_jax import results

ROWS = [{"model": "a,b", "leep": -1.25}, {"model": 'c"', "leep": None}]


def test_jsonl(tmp_path):
  path = tmp_path / "rows.jsonl"
  results.write_rows(path, ROWS)
  assert [json.loads(line) for line in path.read_text().splitlines()] == ROWS
  assert stat.S_IMODE(path.stat().st_mode) & 0o444
  results.write_rows(path, ROWS[:1])
  assert len(path.read_text().splitlines()) == 1
  assert os.listdir(tmp_path) == ["rows.jsonl"]


def test_csv(tmp_path):
  path = tmp_path / "rows.csv"
  results.write_rows(path, [*ROWS, {"model": "d", "nce": -2}])
  with open(path, newline="") as file:
    rows = list(csv.DictReader(file))
  assert rows[0] == {"model": "a,b", "leep": "-1.25", "nce": ""}
  assert rows[1] == {"model": 'c"', "leep": "", "nce": ""}
  assert rows[2] == {"model": "d", "leep": "", "nce": "-2"}


def test_failed_write_leaves_the_old_file(tmp_path, monkeypatch):
  path = tmp_path / "rows.jsonl"
  results.write_rows(path, ROWS)
  before = path.read_text()

  def full(_):
    raise OSError("disk full")

  monkeypatch.setattr(os, "fsync", full)
  with pytest.raises(OSError, match="disk full"):
    results.write_rows(path, ROWS * 2)
  assert path.read_text() == before
  assert os.listdir(tmp_path) == ["rows.jsonl"]


@pytest.mark.parametrize(
  ("name", "message"),
  [
    ("rows.txt", "must end in .jsonl or .csv, not '.txt'"),
    ("none/rows.csv", "cannot write output .*No such file"),
    ("folder.csv", "is a folder"),
  ],
)
def test_paths_that_cannot_be_written(tmp_path, name, message):
  (tmp_path / "folder.csv").mkdir()
  with pytest.raises(leep_jax.InputError, match=message):
    results.check_output(tmp_path / name)
