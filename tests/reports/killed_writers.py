"""Processes that write rows and are killed at random, until all is written.

    python killed_writers.py FOLDER KIND SOURCES TASKS PROCESSES SEED

KIND is `share` (each process has a fixed part) or `claims` (they take sources
from one list). A killed process starts again. Half of the kills come from
outside, at any moment; the others in the middle of a write, of which a part is
on the disk. Prints the number of kills of both sorts.

Not a test by itself: one process imports the package, and its children, which
are cheap to start, are what is killed.
"""

import os
import random
import signal
import sys
import time
import warnings

from leep_jax import sweep_shares
from leep_jax.reports import results, row_parts

# Children use neither threads nor devices of their parent.
warnings.filterwarnings("ignore", message="os.fork")


def value(model, task):
  return f"{model} on {task}: " + "x" * (hash((model, task)) % 50 + 20)


def die_in_write(rows, draw):
  """Writes a part of what it should, and is gone."""
  if rows._parts is not None:
    files = rows._parts._files
    real = files.pipe_file

    def pipe_file(path, content):
      # A file replaces another: cut at any byte, also before its last row.
      real(path, content[: draw.randrange(len(content) + 1)])
      os.kill(os.getpid(), signal.SIGKILL)

    files.pipe_file = pipe_file
    return
  real_file = rows._file

  class Cut:
    def __getattr__(self, name):
      return getattr(real_file, name)

    def write(self, content):
      os.write(real_file.fileno(), content[: draw.randrange(len(content))])
      os.kill(os.getpid(), signal.SIGKILL)

  rows._file = Cut()


def work(folder, kind, process, count, models, tasks, draw):
  """What `python -m leep_jax.sweep` does, without sources and scores."""
  row_parts._FULL = 4096  # so that there are many files
  share = sweep_shares.parse(
    "any" if kind == "claims" else f"{process}/{count}", models
  )
  claims = sweep_shares.Claims(f"{folder}/claims")
  # The append in which it dies, if it lives so long.
  fatal = draw.randrange(1, len(models) * len(tasks) // count)
  growing = results.GrowingFolder(folder)

  def missing(model):
    # Files of other processes have rows of this source only if it is claimed.
    there = growing.read() if kind == "claims" else rows.rows
    done = {row["task"] for row in there if row["model"] == model}
    return [
      task for task in tasks if share.has(model, task) and task not in done
    ]

  def write(model):
    nonlocal fatal
    for task in missing(model):
      fatal -= 1
      if not fatal:
        die_in_write(rows, draw)
      rows.append({"model": model, "task": task, "value": value(model, task)})

  name = f"rows-{process}-of-{count}.jsonl"
  with results.Rows(f"{folder}/{name}") as rows:
    for model in models:
      if not share.may_have(model):
        continue
      if kind == "claims":
        with claims.take(model) as mine:
          if mine:
            write(model)
      else:
        write(model)


def start(draw, *arguments):
  child = os.fork()
  if child:
    return child
  status = 1
  try:
    work(*arguments, random.Random(draw.random()))
    status = 0
  finally:
    os._exit(status)


def main(folder, kind, sources, tasks, count, seed):
  count, draw = int(count), random.Random(int(seed))
  models = [f"source{i}" for i in range(int(sources))]
  tasks = [f"task{i}" for i in range(int(tasks))]

  def begin(process):
    draw.random()  # another course for the next one
    return start(draw, folder, kind, process, count, models, tasks)

  running = {begin(process): process for process in range(count)}
  killed = set()
  inside = 0
  while running:
    time.sleep(draw.expovariate(1 / 0.01))
    if len(killed) < 5 * count:
      chosen = draw.choice(list(running))
      os.kill(chosen, signal.SIGKILL)
      killed.add(chosen)
    for child in list(running):
      ended, status = os.waitpid(child, os.WNOHANG)
      if not ended:
        continue
      process = running.pop(child)
      if os.WIFSIGNALED(status):
        inside += child not in killed
        running[begin(process)] = process
      elif os.waitstatus_to_exitcode(status):
        sys.exit(f"process {process} failed")
  print(f"{len(killed)} {inside}")


if __name__ == "__main__":
  main(*sys.argv[1:])
