"""What all commands share: entry points, exit statuses, progress lines."""

import importlib
import os
import pathlib
import subprocess
import sys
import tomllib

import pytest
import running

import leep_jax
from leep_jax import progress as progress_lib

ROOT = pathlib.Path(leep_jax.__file__).parent
PROJECT = tomllib.loads((ROOT.parent / "pyproject.toml").read_text())["project"]
SCRIPTS = PROJECT["scripts"]


def module_of(name):
  return importlib.import_module(SCRIPTS[name].partition(":")[0])


def test_every_command_has_a_script():
  commands = [
    path.relative_to(ROOT.parent).with_suffix("")
    for path in ROOT.rglob("*.py")
    if 'if __name__ == "__main__":' in path.read_text()
  ]
  found = {target.partition(":")[0] for target in SCRIPTS.values()}
  assert found == {".".join(path.parts) for path in commands}
  for name, target in SCRIPTS.items():
    module = target.partition(":")[0].removesuffix(".__main__")
    assert module == f"leep_jax.{name.removeprefix('leep-').replace('-', '_')}"


@pytest.mark.parametrize("name", SCRIPTS)
def test_scripts_explain_themselves(name, monkeypatch, capsys):
  module = module_of(name)
  monkeypatch.setattr(sys, "argv", [name, "--help"])
  assert getattr(module, SCRIPTS[name].partition(":")[2])() == 0
  assert capsys.readouterr().out.startswith(module.__doc__)


@pytest.mark.parametrize("name", SCRIPTS)
def test_scripts_have_the_exit_status_of_the_command(name, monkeypatch, capsys):
  monkeypatch.setattr(sys, "argv", [name, "--no_such_flag=1"])
  assert module_of(name).script() == 2
  out, err = capsys.readouterr()
  assert not out
  assert err.startswith("error: ")
  assert err.count("\n") == 1


def test_progress_is_for_terminals_only(capsys, monkeypatch):
  def count():
    progress = progress_lib.Progress("m", total=10)
    progress(5)
    progress(10)
    progress.scoring("leep")
    progress.clear()
    late = progress_lib.Progress("late", unit="tasks")
    late(2, 4)
    late.clear()
    with progress_lib.step("m: loading"):
      pass

  count()
  assert capsys.readouterr() == ("", "")
  monkeypatch.setattr(sys.stderr, "isatty", lambda: True)
  count()
  out, err = capsys.readouterr()
  assert not out
  shown = [text.rstrip() for text in err.split("\r") if text.strip()]
  assert shown[0] == "m: compiling"
  assert shown[1].startswith("m:  50%")
  assert "5/10" in shown[1]
  assert "images/s" in shown[1]
  assert "m: leep" in shown
  assert "2/4" in err
  assert "m: loading" in shown
  assert err.endswith("\r")


def test_notes_are_printed_above_progress(capsys, monkeypatch):
  monkeypatch.setattr(sys.stderr, "isatty", lambda: True)
  progress = progress_lib.Progress("m", total=10)
  progress_lib.write("note: n")
  progress.clear()
  lines = capsys.readouterr().err.split("\n")
  assert len(lines) == 2
  assert lines[0].endswith("\rnote: n")
  assert "m: compiling" in lines[1]


def test_progress_is_seen_on_a_terminal():
  pty, termios = pytest.importorskip("pty"), pytest.importorskip("termios")
  outer, inner = pty.openpty()
  termios.tcsetwinsize(inner, (24, 80))
  subprocess.run(
    [sys.executable, "-m", "leep_jax.score", "--limit=100", "--groups=1"],
    check=True, stdout=subprocess.PIPE, stderr=inner, timeout=300,
  )  # fmt: skip
  shown = os.read(outer, 1 << 16)
  os.close(inner)
  os.close(outer)
  for text in ("digits: loading", "_resnet8: loading", "_resnet8: compiling"):
    assert text.encode() in shown


@pytest.mark.parametrize(
  ("module", "text"),
  [
    ("score", "Ranks source models"),
    ("similarity", "Says how similar"),
    ("sweep", "Scores and trains many sources"),
    ("transfer.__main__", "Trains transferred models"),
    ("task_matrix", "Transfer between binary tasks"),
    ("relations.__main__", "Relations between data sets, tasks and sources"),
    ("models.__main__", "Lists"),
    ("convert", "Writes a PyTorch model"),
  ],
)
def test_help_explains_every_flag(module, text, capsys):
  command = importlib.import_module(f"leep_jax.{module}")
  status, out, err = running.run(capsys, command, "--help")
  assert (status, err) == (0, "")
  assert text in out
  for name in command.FLAGS:
    assert f"--{name}" in out or f"--[no]{name}" in out
