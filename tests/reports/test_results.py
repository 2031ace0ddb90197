"""Rows are written whole or not at all."""

import csv
import json
import os
import stat
import subprocess
import sys

import pytest

import leep_jax
from leep_jax.reports import results

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


def test_rows_are_added_and_read_again(tmp_path):
  path = tmp_path / "rows.jsonl"
  with results.Rows(path) as rows:
    assert rows.rows == []
    rows.append({"a": 1, "b": None})
    assert json.loads(path.read_text()) == {"a": 1, "b": None}
  with results.Rows(path) as rows:
    rows.append({"a": 2})
    assert rows.rows == [{"a": 1, "b": None}, {"a": 2}]
  assert path.read_text() == '{"a": 1, "b": null}\n{"a": 2}\n'


def test_headers_hold_what_rows_share(tmp_path):
  path = tmp_path / "rows.jsonl"
  lines = '{"header":{"m":"a","n":1}}', '{"x":1}', '{"x":2,"n":3}'
  path.write_text("\n".join((*lines, '{"header":{}}', '{"x":4}', "")))
  expected = [{"m": "a", "n": 1, "x": 1}, {"m": "a", "n": 3, "x": 2}, {"x": 4}]
  with results.Rows(path) as rows:
    assert rows.rows == expected
    rows.append({"x": 5})
  with results.Rows(path) as rows:
    assert rows.rows == [*expected, {"x": 5}]


@pytest.mark.parametrize("torn", ['{"a": 3', '{"a": 3}', "\0\0\0", '{"\n'])
def test_a_torn_last_line_is_cut_off(tmp_path, torn):
  path = tmp_path / "rows.jsonl"
  path.write_text('{"a": 1}\n{"a": 2}\n' + torn)
  with results.Rows(path) as rows:
    assert rows.rows == [{"a": 1}, {"a": 2}]
    rows.append({"a": 4})
  assert path.read_text() == '{"a": 1}\n{"a": 2}\n{"a": 4}\n'


def test_two_processes_never_write_one_file(tmp_path):
  path = tmp_path / "rows.jsonl"
  refused = pytest.raises(leep_jax.InputError, match="by another process")
  with results.Rows(path), refused:
    results.Rows(path)
  results.Rows(path).close()


def test_a_file_is_free_when_its_process_is_dead(tmp_path):
  """Also if it was killed and could not let go of the file."""
  path = tmp_path / "rows.jsonl"
  path.write_text('{"a": 1}\n')
  hold = "import filelock, sys; lock = filelock.FileLock(sys.argv[1]); "
  hold += "lock.acquire(); print(flush=True); sys.stdin.read()"
  command = [sys.executable, "-c", hold, str(tmp_path / ".rows.jsonl.lock")]
  pipes = {"stdin": subprocess.PIPE, "stdout": subprocess.PIPE}
  with subprocess.Popen(command, **pipes) as other:
    other.stdout.readline()
    with pytest.raises(leep_jax.InputError, match="by another process"):
      results.Rows(path)
    other.kill()
  with results.Rows(path) as rows:
    assert rows.rows == [{"a": 1}]


def test_rows_that_cannot_be_written(tmp_path, monkeypatch):
  path = tmp_path / "rows.jsonl"
  for bad, message in (
    (tmp_path / "rows.csv", "must end in .jsonl"),
    ("/proc/no/rows.jsonl", "cannot write output"),
  ):
    with pytest.raises(leep_jax.InputError, match=message):
      results.Rows(bad)
  path.write_text('nothing\n{"a": 1}\n')
  with pytest.raises(leep_jax.InputError, match="line 1 of output"):
    results.Rows(path)
  path.unlink()
  with results.Rows(path) as rows:
    rows.append({"a": 1})

    def full(_):
      raise OSError(28, "No space left on device")

    with monkeypatch.context() as patched:
      patched.setattr(os, "fsync", full)
      with pytest.raises(leep_jax.InputError, match="No space left"):
        rows.append({"a": 2})
    assert path.read_text() == '{"a": 1}\n'
    rows.append({"a": 3})
  assert path.read_text() == '{"a": 1}\n{"a": 3}\n'
