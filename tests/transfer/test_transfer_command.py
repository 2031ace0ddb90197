"""python -m leep_jax.transfer, and what mistakes with it look like."""

import json
import re
import subprocess

import networks
import numpy as np
import pytest
import running

from experiments import meta_transfer
from leep_jax import transfer
from leep_jax.engine import programs
from leep_jax.transfer import __main__ as command, trials

NET = "--model=test_transfer_command:make"


def make():
  return networks.make_source()


@pytest.fixture
def npz(tmp_path):
  images, labels = networks.images_of(0, 120)
  path = tmp_path / "data.npz"
  np.savez(path, images=images, labels=labels)
  return f"--dataset=npz:{path}"


def run(capsys, *flags):
  with programs.limit(1):
    return running.run(capsys, command, *flags)


def read(path):
  return [json.loads(line) for line in path.read_text().splitlines()]


def timeless(rows):
  return [{k: v for k, v in row.items() if k != "seconds"} for row in rows]


def test_rows_and_table(capsys, npz, tmp_path):
  path = tmp_path / "rows.jsonl"
  flags = (
    NET, npz, "--epochs=2", "--batch_size=8", "--seeds=2",
    "--method=retrain_head,probe,fine_tune,scratch",
    "--tasks=small(count=2,classes=3,examples=10)", f"--output={path}",
  )  # fmt: skip
  status, out, err = run(capsys, *flags)
  assert (status, err) == (0, "")
  rows = read(path)
  assert [(r["method"], r["task_index"], r["seed"]) for r in rows] == [
    (method, task, seed)
    for method in ("retrain_head", "probe", "fine_tune", "scratch")
    for task in range(2)
    for seed in range(1 if method == "probe" else 2)
  ]
  assert all(0 <= row["accuracy"] <= 1 for row in rows)
  assert all(
    len(row["losses"]) == 2 for row in rows if row["method"] != "probe"
  )
  assert rows[0]["train_examples"] == 30
  for method in ("retrain_head", "probe", "fine_tune", "scratch"):
    mean = np.mean([r["accuracy"] for r in rows if r["method"] == method])
    (line,) = (x for x in out.splitlines() if f" {method} " in x)
    assert float(line.split()[2]) == pytest.approx(mean, abs=0.01)
  # Started again, nothing is done twice.
  status, out, err = run(capsys, *flags)
  assert (status, err) == (0, "")
  assert "14 rows were there already" in out
  assert read(path) == rows
  # What is missing is the same as in the first place.
  path.write_text("".join(json.dumps(r) + "\n" for r in rows[::3]))
  run(capsys, *flags)
  key = lambda r: (r["method"], r["task"], r["seed"])  # noqa: E731
  found = sorted(timeless(read(path)), key=key)
  for row, other in zip(found, sorted(timeless(rows), key=key), strict=True):
    for k in row:
      if isinstance(row[k], float):
        assert row[k] == pytest.approx(other[k], abs=1e-5), k
      elif k not in ("losses", "accuracies"):
        assert row[k] == other[k]
  # Another recipe is another row, and the table shows what was asked for.
  _, out, _ = run(
    capsys, *flags[:-3], "--method=retrain_head", "--epochs=3", *flags[-2:]
  )
  assert len(read(path)) == 18
  assert "probe" not in out
  # And so is another preprocessing.
  _, out, _ = run(capsys, *flags, "--mean=0.4")
  assert len(read(path)) == 32
  assert "already" not in out
  path.write_text('{"a": 1}\n')
  assert run(capsys, *flags)[0] == 0


def test_default_is_all_of_digits(capsys):
  flags = ("--model=fashion_mnist_resnet8", "--epochs=20", "--batch_size=50")
  status, out, err = run(capsys, *flags, "--curve=0", "--learning_rate=0.1")
  assert (status, err) == (0, "")
  (line,) = (x for x in out.splitlines() if "retrain_head" in x)
  assert 0.7 < float(line.split()[2]) < 1
  assert "digits: 1 task, 1 seed" in out


def test_a_diverging_run_is_told_and_others_finish(capsys, npz, tmp_path):
  path = tmp_path / "rows.jsonl"
  status, out, err = run(
    capsys, NET, npz, "--method=fine_tune,retrain_head", "--epochs=4",
    "--learning_rate=1e30", f"--output={path}",
  )  # fmt: skip
  assert (status, err) == (0, "")
  tuned, head = read(path)
  assert tuned["diverged"] >= 1
  assert tuned["accuracy"] is None
  assert "the loss was not finite in epoch" in out
  assert head["method"] == "retrain_head"


def test_killed_and_started_again(capsys, npz, tmp_path):
  path, folder = tmp_path / "rows.jsonl", tmp_path / "checkpoints"
  flags = [
    NET, npz, "--method=fine_tune", "--epochs=6", "--batch_size=8",
    "--tasks=small(count=3,classes=3,examples=12)", f"--output={path}",
    f"--checkpoints={folder}",
  ]  # fmt: skip
  program = (
    "import os, sys, time\n"
    "from leep_jax.transfer import __main__ as c\n"
    "from leep_jax.transfer.network.group import Group\n"
    "measure, path = Group._measure, sys.argv[1]\n"
    "def stop_after_a_row(self, *a):\n"
    "  while os.path.exists(path) and os.path.getsize(path):\n"
    "    time.sleep(1)\n"
    "  return measure(self, *a)\n"
    "Group._measure = stop_after_a_row\n"
    "sys.exit(c.main(['transfer', *sys.argv[2:]]))\n"
  )
  process = running.start("-c", program, str(path), *flags, XLA_FLAGS="")
  running.wait_until(lambda: path.exists() and path.stat().st_size, process)
  process.kill()
  process.communicate()
  before = read(path)
  assert 1 <= len(before) < 3
  with path.open("a") as file:
    file.write('{"torn')
  status, _, err = run(capsys, *flags)
  assert (status, err) == (0, "")
  rows = read(path)
  assert rows[: len(before)] == before
  assert [r["task_index"] for r in rows] == [0, 1, 2]
  whole = tmp_path / "whole.jsonl"
  run(capsys, *flags[:-2], f"--output={whole}")
  for row, other in zip(rows, read(whole), strict=True):
    assert row["nll"] == pytest.approx(other["nll"], abs=1e-5)


MISTAKES = [
  (("--method=finetune",), "unknown method 'finetune'; did you mean fine_tune"),
  (("--learning_rate=-1",), "learning_rate is -1.0"),
  (("--output=rows.csv",), "must end in .jsonl"),
  (("--output=/proc/no/rows.jsonl",), "cannot write output"),
  (("--output=.",), "must end in .jsonl"),
  (("--seeds=0",), "seeds is 0"),
  (("--l2=-2",), "l2 is -2"),
  (("--tasks=smal(count=2)",), "did you mean small"),
  (("--tasks=small(classes=9)",), "classes"),
  (("--batch_size=1000",), "batch_size is 1000, but task all has 96"),
  (("--split=train",), "has no splits"),
  (("--test_split=test",), "has no splits"),
  (("--model=nothing",), "unknown model 'nothing'"),
  (("--epochs=x",), "epochs"),
  (("--clip=0", "--method=fine_tune"), "clip is 0"),
  (("--shift=-1",), "shift is -1"),
  (
    ("--method=retrain_head,scratch", "--body_learning_rate=0"),
    "leaves fresh weights",
  ),
  (
    ("--method=fine_tune", "--checkpoints=/proc/no"),
    "cannot write checkpoints",
  ),
]


@pytest.mark.parametrize(("flags", "message"), MISTAKES)
def test_mistakes_are_one_line(capsys, npz, flags, message):
  status, out, err = run(capsys, NET, npz, *flags)
  assert status == 2
  assert out == ""
  assert err.startswith("error: ")
  assert err.count("\n") == 1
  assert message in err


def test_one_bad_source_does_not_stop_the_others(capsys, npz):
  status, out, err = run(
    capsys, "--model=no_such_module:make,test_transfer_command:make", npz,
    "--epochs=1",
  )  # fmt: skip
  assert status == 2
  assert err.count("\n") == 1
  assert "retrain_head" in out


def test_the_library_is_exported():
  assert transfer.__all__ == sorted(transfer.__all__)


FEW = "--tasks=few_shot(count=1,classes=3,examples=5)"


@pytest.mark.parametrize(
  ("flags", "message"),
  [
    ((), "cnaps is asked for, but no file of one is given"),
    (("--cnaps=none.safetensors",), "none.safetensors"),
    (
      (f"--cnaps={meta_transfer.MODEL}",),
      "adapts tiny_imagenet32_resnet14, not cifar10_resnet14: name that",
    ),
  ],
)
def test_mistakes_with_cnaps(capsys, flags, message):
  status, out, err = run(
    capsys, "--model=cifar10_resnet14", "--method=cnaps", FEW, *flags
  )
  assert (status, out) == (2, "")
  assert err.startswith("error: ")
  assert message in err
  assert err.count("\n") == 1


def test_commits_of_rows(tmp_path, monkeypatch):
  """A row names the commit of the checkout, and whether it was changed."""
  package = tmp_path / "leep_jax"
  package.mkdir()
  (package / "__init__.py").write_text("")
  monkeypatch.setattr(trials, "_CHECKOUT", tmp_path)

  def commit():
    trials.commit.cache_clear()
    return trials.commit()

  def git(*arguments):
    who = "-c", "user.name=a", "-c", "user.email=a@b"
    subprocess.run(["git", *who, *arguments], cwd=tmp_path, check=True)

  assert commit() is None
  git("init", "-q")
  assert commit() is None  # nothing is committed yet
  git("add", ".")
  git("commit", "-qm", "a")
  clean = commit()
  assert re.fullmatch(r"[0-9a-f]{12}", clean)
  (package / "__init__.py").write_text("a = 1")
  assert commit() == f"{clean}+"
  trials.commit.cache_clear()
