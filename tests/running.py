"""Commands of the package, run in this process or started in another."""

import os
import pathlib
import subprocess
import sys
import time

from absl.testing import flagsaver

import leep_jax

ROOT = pathlib.Path(leep_jax.__file__).parents[1]


def main(command, *arguments):
  """Runs a command's module in this process; returns its exit status."""
  # Flags keep their values until they are parsed again.
  saved = flagsaver.save_flag_values(command.FLAGS)
  try:
    return command.main(["command", *arguments])
  finally:
    flagsaver.restore_flag_values(saved, command.FLAGS)


def run(capsys, command, *arguments):
  """Runs a command's module in this process: status, output, errors."""
  status = main(command, *arguments)
  return status, *capsys.readouterr()


def start(*arguments, cwd=ROOT, **environment):
  """Starts Python, which finds the modules that this process finds."""
  return subprocess.Popen(
    [sys.executable, *arguments],
    cwd=cwd,
    env={**os.environ, "PYTHONPATH": os.pathsep.join(sys.path), **environment},
    stdout=subprocess.PIPE,
    stderr=subprocess.PIPE,
    text=True,
  )


def wait_until(condition, process):
  """Waits for what a process does; fails if it ends without doing it."""
  while not condition():
    if process.poll() is not None:
      assert condition(), process.communicate()[1]
    time.sleep(0.02)
