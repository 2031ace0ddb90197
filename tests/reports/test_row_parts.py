"""Rows in object stores: files are replaced, never overwritten."""

import json
import uuid

import fsspec
import pytest

import leep_jax
from leep_jax.reports import results, row_parts


@pytest.fixture(params=["memory", "file"])
def folder(request, tmp_path):
  if request.param == "memory":
    return f"memory://{uuid.uuid4().hex}"
  return f"file://{tmp_path}/new"


def names(folder):
  files, root = fsspec.url_to_fs(folder)
  return sorted(path.rpartition("/")[2] for path in files.ls(root, False))


def put(folder, name, content):
  files, root = fsspec.url_to_fs(folder)
  files.pipe_file(f"{root}/{name}", content)


def test_rows_are_there_after_each_append(folder):
  path = f"{folder}/rows.jsonl"
  with results.Rows(path) as rows:
    assert rows.rows == []
    for i in range(3):
      rows.append({"a": i})
      assert results.read_folder(folder, prefix="rows.") == [
        {"a": j} for j in range(i + 1)
      ]
  assert len(names(folder)) == 1
  with results.Rows(path) as rows:
    rows.append({"a": 3})
    assert rows.rows == [{"a": j} for j in range(4)]
  assert len(names(folder)) == 2


def test_files_are_followed_by_others(folder, monkeypatch):
  monkeypatch.setattr(row_parts, "_FULL", 100)
  wanted = [{"a": "x" * 30, "b": i} for i in range(20)]
  with results.Rows(f"{folder}/rows-0-of-1.jsonl") as rows:
    for row in wanted:
      rows.append(row)
  found = names(folder)
  assert len(found) == 7
  assert results.read_folder(folder) == wanted
  files, root = fsspec.url_to_fs(folder)
  # In the order of their names, they are one file.
  text = b"".join(files.cat_file(f"{root}/{name}") for name in found)
  assert [json.loads(line) for line in text.splitlines()] == wanted


STEM = "rows-0-of-1.0123456789ab"


def test_the_longest_complete_file_counts(folder):
  with results.Rows(f"{folder}/rows-1-of-2.jsonl") as rows:
    rows.append({"other": 0})
  put(folder, f"{STEM}.0000000000-0000000001.jsonl", b'{"a": 0}\n')
  both = b'{"a": 0}\n{"a": 1}\n'
  # Killed before the shorter file was deleted.
  put(folder, f"{STEM}.0000000000-0000000002.jsonl", both)
  # Killed while this was written.
  put(folder, f"{STEM}.0000000000-0000000003.jsonl", both + b'{"a"')
  put(folder, f"{STEM}.0000000003-0000000004.jsonl", b"")
  assert results.read_folder(folder) == [{"a": 0}, {"a": 1}, {"other": 0}]


def test_whole_files_are_read_too(folder):
  put_here = b'{"a": 0}\n'
  with results.Rows(f"{folder}/rows-0-of-1.jsonl") as rows:
    rows.append({"a": 1})
  put(folder, "rows-0-of-1.jsonl", put_here)
  put(folder, "other.jsonl", b"no row")
  with results.Rows(f"{folder}/rows-0-of-1.jsonl") as rows:
    assert rows.rows == [{"a": 1}, {"a": 0}]


def test_a_file_that_is_replaced_while_it_is_read(monkeypatch):
  folder = f"memory://{uuid.uuid4().hex}"
  rows = results.Rows(f"{folder}/rows-0-of-1.jsonl")
  rows.append({"a": 0})
  files, _ = fsspec.url_to_fs(folder)
  listed = type(files).ls

  def ls(self, path, detail=True, **options):
    found = listed(self, path, detail=detail, **options)
    if len(rows.rows) < 4:
      rows.append({"a": len(rows.rows)})
    return found

  monkeypatch.setattr(type(files), "ls", ls)
  assert results.read_folder(folder) == [{"a": i} for i in range(4)]


def test_what_cannot_be_written(monkeypatch):
  folder = f"memory://{uuid.uuid4().hex}"
  rows = results.Rows(f"{folder}/rows-0-of-1.jsonl")
  rows.append({"a": 0})
  files, _ = fsspec.url_to_fs(folder)

  class NoLogin(Exception):
    """As clients of stores have errors of their own."""

  def refuse(*_):
    raise NoLogin("log in first")

  with monkeypatch.context() as patched:
    patched.setattr(type(files), "pipe_file", refuse)
    with pytest.raises(results.CannotWriteError, match="log in first"):
      rows.append({"a": 1})
    with pytest.raises(leep_jax.InputError, match=r"write .*log in first"):
      results.Rows(f"{folder}/rows-1-of-1.jsonl")
  rows.append({"a": 2})
  assert results.read_folder(folder) == [{"a": 0}, {"a": 2}]


@pytest.mark.parametrize(
  ("path", "message"),
  [
    ("nowhere://bucket/rows.jsonl", "Protocol not known: nowhere"),
    ("memory://bucket/rows.csv", "must end in .jsonl, not '.csv'"),
  ],
)
def test_other_places_are_refused(path, message):
  with pytest.raises(leep_jax.InputError, match=message):
    results.Rows(path)


def test_an_unknown_store_is_refused_by_readers():
  with pytest.raises(leep_jax.InputError, match="cannot read nowhere://x"):
    results.read_folder("nowhere://x")
  assert results.read_folder(f"memory://{uuid.uuid4().hex}") == []
