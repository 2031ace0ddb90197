"""python -m leep_jax.sweep: rows, once each, whatever happens in between."""

import json
import random
import subprocess
import sys
import time

import networks
import pytest
import running

import leep_jax
from leep_jax import sweep, tasks
from leep_jax.engine import programs
from leep_jax.reports import results, sweep_report

TASKS = (
  "--tasks=subsets(count=3,classes=2..4)+small(count=3,classes=3,examples=8)"
)
MODELS = "--model=test_sweep:one,test_sweep:two"


def one():
  return networks.make_source()


def two():
  source = networks.make_source()
  source.state["conv"]["bias"][...] += 0.5
  return source


@pytest.fixture
def flags(npz):
  return [
    MODELS, npz, TASKS, "--transfer=retrain_head", "--epochs=2",
    "--batch_size=8", "--seeds=2",
  ]  # fmt: skip


def run(*arguments):
  with programs.limit(1):
    return sweep.main(["sweep", *arguments])


def rows_of(folder):
  return {
    json.dumps([row[k] for k in ("model", "task", "method", "seed")]): {
      k: v for k, v in row.items() if k != "seconds"
    }
    for row in sweep.read_rows(folder)
  }


def count_lines(folder):
  return sum(
    len(path.read_text().splitlines()) for path in folder.glob("rows-*")
  )


@pytest.fixture(scope="module")
def whole(npz, tmp_path_factory):
  """An undisturbed sweep."""
  folder = tmp_path_factory.mktemp("whole")
  status = run(
    MODELS, npz, TASKS, "--transfer=retrain_head", "--epochs=2",
    "--batch_size=8", "--seeds=2", f"--output={folder}",
  )  # fmt: skip
  assert status == 0
  return folder


def test_rows(whole, npz):
  rows = sweep.read_rows(whole)
  assert len(rows) == 2 * 6 * (1 + 2) == count_lines(whole)
  train, test = leep_jax.data.load_pair(npz.removeprefix("--dataset="))
  source = one()
  outputs = leep_jax.compute_outputs(source, train)
  for row in rows:
    if row["method"] != "score" or row["model"] != "test_sweep:one":
      continue
    task = tasks.from_row(row, train.labels(), test.labels())
    own = leep_jax.Outputs.from_arrays(
      probs=outputs.probs[task.train],
      features=outputs.features[task.train],
      labels=task.train_labels(outputs.labels),
    )
    expected = leep_jax.compute_scores(own, names=list(row["scores"]))
    for name, value in row["scores"].items():
      assert value == pytest.approx(expected[name], abs=1e-5)


def test_again_does_nothing(whole, flags, capsys):
  before = count_lines(whole)
  assert run(*flags, f"--output={whole}") == 0
  assert "0 of them new" in capsys.readouterr().out
  assert count_lines(whole) == before


def test_more_seeds_and_tasks_add_to_it(whole, flags, tmp_path, capsys):
  folder = tmp_path / "more"
  folder.mkdir()
  for path in whole.glob("rows-*"):
    (folder / path.name).write_bytes(path.read_bytes())
  assert run(*flags[:-1], "--seeds=3", f"--output={folder}") == 0
  assert "12 of them new" in capsys.readouterr().out
  found = rows_of(folder)
  assert found.items() >= rows_of(whole).items()


def test_cut_anywhere_ends_the_same(whole, flags, tmp_path):
  """What a crash leaves is the beginning of the file, at any byte."""
  (path,) = whole.glob("rows-*")
  content, expected = path.read_bytes(), rows_of(whole)
  draw = random.Random(0)
  for moment in range(16):
    folder = tmp_path / f"{moment}"
    folder.mkdir()
    cut = draw.randrange(len(content))
    (folder / path.name).write_bytes(content[:cut])
    cached = f"--cache_dir={whole / 'cache'}"
    assert run(*flags, cached, f"--output={folder}") == 0
    found = rows_of(folder)
    assert found.keys() == expected.keys()
    assert count_lines(folder) == len(expected)
    for name, row in expected.items():
      same(found[name], row)


def same(row, other):
  for key, value in other.items():
    if isinstance(value, float):
      assert row[key] == pytest.approx(value, abs=1e-5), key
    elif isinstance(value, dict) and key == "scores":
      assert row[key] == pytest.approx(value, abs=1e-5)
    elif key not in ("losses", "accuracies"):
      assert row[key] == value, key


@pytest.mark.exhaustive
def test_killed_at_random_moments(whole, flags, tmp_path):
  folder = tmp_path / "killed"
  expected = rows_of(whole)
  draw = random.Random(1)
  arguments = ["-m", "leep_jax.sweep", *flags, f"--output={folder}"]
  for rows in (0, 1, len(expected) // 3, len(expected) // 2):
    process = running.start(*arguments, XLA_FLAGS="")
    running.wait_until(
      lambda rows=rows: folder.exists() and count_lines(folder) >= rows, process
    )
    time.sleep(0.5 * draw.random())
    process.kill()
    process.communicate()
  process = running.start(*arguments, XLA_FLAGS="")
  _, err = process.communicate()
  assert (process.returncode, err) == (0, "")
  found = rows_of(folder)
  assert found.keys() == expected.keys()
  assert count_lines(folder) == len(expected)
  for name, row in expected.items():
    same(found[name], row)


def test_workers_share_the_work(whole, flags, tmp_path):
  cached = f"--cache_dir={whole / 'cache'}"
  folder = tmp_path / "shared"
  for i in range(3):
    assert run(*flags, cached, f"--worker={i}/3", f"--output={folder}") == 0
  assert len(list(folder.glob("rows-*"))) == 3
  assert count_lines(folder) == len(rows_of(whole))
  assert rows_of(folder).keys() == rows_of(whole).keys()


def test_two_processes_do_not_write_one_file(flags, tmp_path, capsys):
  with results.Rows(tmp_path / "rows-0-of-1.jsonl"):
    assert run(*flags, f"--output={tmp_path}") == 2
  assert "by another process" in capsys.readouterr().err


def test_a_damaged_cache_is_told(whole, flags, tmp_path, capsys):
  folder = tmp_path / "damaged"
  assert run(*flags[:-4], f"--output={folder}") == 0
  for path in folder.glob("cache/*/probs.npy"):
    path.write_bytes(path.read_bytes()[:-1])
  (folder / "rows-0-of-1.jsonl").unlink()
  assert run(*flags[:-4], f"--output={folder}") == 0
  err = capsys.readouterr().err
  assert err.count("computed again") == 2
  assert err.count("\n") == 2
  expected = rows_of(whole)
  for name, row in rows_of(folder).items():
    same(row, expected[name])


def test_dry_run_does_nothing(flags, tmp_path, capsys):
  folder = tmp_path / "dry"
  assert run(*flags, f"--output={folder}", "--dry_run") == 0
  out = capsys.readouterr().out
  assert not folder.exists()
  for name in ("one", "two"):
    assert f"test_sweep:{name}: 6 score, 12 retrain_head\n" in out
  assert "4 forward passes, 240 images" in out
  assert f"in {folder}/cache (" in out


def test_report(whole, capsys):
  assert run(f"--output={whole}", "--report") == 0
  out = capsys.readouterr().out
  found = sweep_report.correlations(sweep.read_rows(whole))
  assert len(found) == 9
  for row in found:
    assert row["n"] == (12 if row["model"] == "all sources" else 6)
    assert f"{row['pearson']:.3f}" in out
  folder = whole / "report"
  assert (folder / "correlations.csv").read_text().count("\n") == 10
  assert (folder / "retrain_head_leep.png").stat().st_size > 1000
  assert (folder / "retrain_head_leep_levels.png").exists()


def test_report_by_hand():
  """Truths 0.5, 0.7 (mean of 0.6 and 0.8), 0.9 for scores -3, -2, -1: r = 1."""
  rows = []
  for i, truths in enumerate(([0.5], [0.6, 0.8], [0.9, None])):
    same = {"model": "m", "dataset": "d", "task": f"{i}", "task_checksum": ""}
    rows.append({**same, "method": "score", "scores": {"leep": i - 3.0}})
    rows += [{**same, "method": "probe", "accuracy": t} for t in truths]
  (found,) = sweep_report.correlations(rows)
  assert found["pearson"] == pytest.approx(1)
  assert (found["n"], found["method"], found["model"]) == (3, "probe", "m")


def test_report_of_scores_that_are_all_the_same(tmp_path):
  rows = []
  for i in range(6):
    same = {"model": "m", "dataset": "d", "task": f"{i}", "task_checksum": ""}
    scores = {"leep": -1.0 - i, "h_score": 4.0 + 1e-13 * i}
    rows.append({**same, "method": "score", "scores": scores})
    rows.append({**same, "method": "probe", "accuracy": 0.1 * i})
  leep, h_score = sweep_report.write(rows, tmp_path / "report")
  assert leep["pearson"] == pytest.approx(-1)
  assert h_score["pearson"] is None
  assert h_score["reason"]


def test_recipes_and_targets_are_told_apart():
  """r of each recipe alone; choices among sources of one and the same task."""
  rows = []
  for model, better in (("a", 1), ("b", 0)):
    for i, checksum in enumerate("xyz"):
      same = {
        "model": model, "dataset": "d", "task": "t", "task_checksum": checksum,
      }  # fmt: skip
      score = -3.0 + i + better / 2
      rows.append({**same, "method": "score", "scores": {"leep": score}})
      for epochs in (1, 9):
        truth = 0.2 * i + 0.1 * better + 0.1
        if epochs == 1:
          truth = 1 - truth
        rows.append(
          {
            **same,
            "method": "probe",
            "recipe": {"l2": 0, "epochs": epochs},
            "accuracy": truth,
          }
        )
  found = sweep_report.correlations(rows)
  assert {row["method"] for row in found} == {
    "probe (epochs=1)", "probe (epochs=9)",
  }  # fmt: skip
  for row in found:
    sign = -1 if row["method"] == "probe (epochs=1)" else 1
    assert row["pearson"] == pytest.approx(sign, abs=0.01)
    assert row["n"] == (6 if row["model"] == "all sources" else 3)
    if row["model"] == "all sources" and sign == 1:
      assert (row["top_1"], row["regret"]) == (1, 0)
  rows[0]["source_digest"] = "other"
  with pytest.raises(leep_jax.InputError, match="two sources that differ"):
    sweep_report.pairs(rows)


MISTAKES = [
  ([], "--output is missing"),
  (["--output="], "--output is missing"),
  (["--output=/proc/no/run"], "cannot write output"),
  (["--worker=4/4", "--output=x"], "counted from 0 to 3"),
  (["--worker=a", "--output=x"], "must be like 0/4"),
  (["--scores=leap", "--output=x"], "did you mean leep"),
  (["--transfer=head", "--output=x"], "unknown method 'head'"),
  (["--tasks=subsets(classes=2..500)", "--output=x"], "classes"),
  (["--report", "--output=x"], "no rows in x"),
]


@pytest.mark.parametrize(("arguments", "message"), MISTAKES)
def test_mistakes_are_one_line(
  npz, tmp_path, monkeypatch, capsys, arguments, message
):
  monkeypatch.chdir(tmp_path)
  assert run(MODELS, npz, *arguments) == 2
  out, err = capsys.readouterr()
  assert out == ""
  assert err.startswith("error: ")
  assert err.count("\n") == 1
  assert message in err


def test_a_bad_source_does_not_stop_the_others(npz, tmp_path, capsys):
  status = run(
    "--model=no_such:make,test_sweep:one", npz, TASKS, f"--output={tmp_path}"
  )
  assert status == 2
  assert capsys.readouterr().err.count("\n") == 1
  assert len(sweep.read_rows(tmp_path)) == 6


OWN_CODE = """
import jax
import leep_jax

SHARPNESS = 1.0

def make():
  kernel = jax.random.normal(jax.random.key(0), (3, 4))

  def apply(kernel, images):
    features = images.mean(axis=(1, 2))
    return features @ kernel * SHARPNESS, features

  return leep_jax.Source("own", apply, kernel)
"""


def test_a_change_in_own_code_is_seen(npz, tmp_path):
  """From the same output folder, and from a cache that folders share."""

  def sweep_into(folder):
    done = subprocess.run(
      [
        sys.executable, "-m", "leep_jax.sweep", "--model=own_code:make", npz,
        "--tasks=all", "--scores=leep", f"--output={folder}",
        "--cache_dir=cache",
      ],
      cwd=tmp_path,
      capture_output=True,
      text=True,
      check=True,
    )  # fmt: skip
    rows = sweep.read_rows(tmp_path / folder)
    return [row["scores"]["leep"] for row in rows], done.stderr

  code = tmp_path / "own_code.py"
  code.write_text(OWN_CODE)
  (old,), _ = sweep_into("a")
  code.write_text(OWN_CODE + "# a comment changes nothing\n")
  assert sweep_into("a")[0] == [old]
  code.write_text(OWN_CODE.replace("SHARPNESS = 1.0", "SHARPNESS = 40.0"))
  (first, new), said = sweep_into("a")
  assert first == old
  assert abs(new - old) > 1e-3
  assert "note: 1 rows of own_code:make are of other weights" in said
  assert sweep_into("b")[0] == [new]
