r"""Trains transferred models, whose performance scores predict.

    python -m leep_jax.transfer --model=fashion_mnist_resnet8 --dataset=digits
    python -m leep_jax.transfer --model=resnet20@FILE.safetensors \
      --dataset=fashion_mnist --data_dir=DIR --tasks='small(count=20)' \
      --method=retrain_head,fine_tune,scratch --seeds=3 --output=rows.jsonl

Prints the mean over tasks and seeds for each source and method of --method.

With --output, each result is a row, written as soon as it is known. The same
command started again trains what is missing. With --checkpoints, trainings of
networks go on from their last checkpoint.

Exit status 0; 2 for an error in the input (one line on standard error), 130
when interrupted.
"""

import contextlib
import sys
from typing import Any

from absl import flags
import numpy as np

from leep_jax import (
  command,
  common_flags,
  progress,
  source_flags,
  tasks as tasks_lib,
  validation,
)
from leep_jax.engine import cache, forward
from leep_jax.reports import results, tables
from leep_jax.transfer import recipe_flags, trials

FLAGS = flags.FlagValues()
_SOURCES = source_flags.SourceFlags(FLAGS)
_DATA = common_flags.PairFlags(FLAGS)
_TASKS = flags.DEFINE_string(
  "tasks",
  "all",
  "Target tasks, such as small(count=20,classes=4,examples=30); several are "
  f"joined by +. Samplers: {', '.join(tasks_lib.SAMPLERS)} (leep_jax.tasks).",
  flag_values=FLAGS,
)
_SEED = flags.DEFINE_integer("seed", 0, "Of the tasks.", flag_values=FLAGS)
_METHOD = flags.DEFINE_list(
  "method",
  "retrain_head",
  "Comma-separated: "
  + ", ".join(f"{name} ({m.summary})" for name, m in trials.METHODS.items())
  + ".",
  flag_values=FLAGS,
)
_OUTPUT = flags.DEFINE_string(
  "output",
  None,
  "File for one row per task, seed and method, .jsonl; added to.",
  flag_values=FLAGS,
)
_CHECKPOINTS = flags.DEFINE_string(
  "checkpoints",
  None,
  "Folder for checkpoints of networks in training; emptied at the end.",
  flag_values=FLAGS,
)
_RECIPE = recipe_flags.RecipeFlags(FLAGS)


class _Outputs:
  """Outputs of a source on each data set, computed once.

  Those of the source before are dropped: outputs of many sources would fill the
  memory.
  """

  def __init__(self):
    self._kept: dict[Any, Any] = {}

  def __call__(self, source, dataset):
    key = (source.name, id(dataset))
    if key not in self._kept:
      # Sources come in turn: outputs of earlier ones only take memory.
      self._kept = {k: v for k, v in self._kept.items() if k[0] == source.name}
      count = progress.Progress(
        f"{tables.short(source.name, 30)} {dataset.split}", total=len(dataset)
      )
      try:
        self._kept[key] = forward.compute_outputs(
          source, dataset, progress=count
        )
      finally:
        count.clear()
    return self._kept[key]


def _transfer(model, source, target, outputs, method, rows):
  """Trains what is missing of one source and method; returns all its rows."""
  about = {"model": model}
  # The digest tells whether earlier rows are of the same weights and code. It
  # takes time, and without a file there are no earlier rows.
  if _OUTPUT.value is not None:
    about["source_digest"] = cache.source_digest(source)
  recipe = _RECIPE.recipe()
  asked = trials.asked(target, about, method, recipe)
  wanted = trials.missing(target, about, method, recipe, rows.rows)
  count = progress.Progress(f"{tables.short(model, 30)} {method}")
  try:
    trials.run(
      source, target, wanted, method=method, about=about, recipe=recipe,
      outputs=outputs, on_row=rows.append, progress=count,
      checkpoints=_CHECKPOINTS.value,
    )  # fmt: skip
  finally:
    count.clear()
  return [row for row in rows.rows if trials.key(row) in asked]


def _report(rows):
  """Prints the means over tasks and seeds, by source and method."""
  groups: dict[tuple[str, str], list[dict[str, Any]]] = {}
  for row in rows:
    groups.setdefault((row["model"], row["method"]), []).append(row)
  shown = tables.short_names(list(dict.fromkeys(m for m, _ in groups)))
  short = dict(zip(dict.fromkeys(m for m, _ in groups), shown, strict=True))
  first = rows[0]
  count = len({row["task"] for row in rows})
  print(
    f"{first['dataset']}: {tables.count(count, 'task')}, "
    f"{tables.count(len({row['seed'] for row in rows}), 'seed')}. Test set "
    "means.\n"
  )
  lines = [["model", "method", "accuracy", "macro F1", "nll", "runs"]]
  best = sorted(
    groups.items(), key=lambda item: -(_mean(item[1], "accuracy")[0] or 0)
  )
  for (model, method), group in best:
    cells = [
      tables.cells([value], [error])[0]
      for value, error in (
        _mean(group, key) for key in ("accuracy", "macro_f1", "nll")
      )
    ]
    lines.append([short[model], method, *cells, f"{len(group)}"])
  widths = [max(map(len, column)) for column in zip(*lines, strict=True)]
  for line in lines:
    left = [c.ljust(w) for c, w in zip(line[:2], widths[:2], strict=True)]
    right = [c.rjust(w) for c, w in zip(line[2:], widths[2:], strict=True)]
    print("  ".join([*left, *right]).rstrip())
  print()
  if any(_mean(group, "accuracy")[1] for group in groups.values()):
    tasks = len({row["task"] for row in rows}) > 1
    print(
      "± is one standard error of the mean over "
      f"{'tasks' if tasks else 'seeds'}."
    )
  for row in rows:
    if row["diverged"] is not None:
      print(
        f"{short[row['model']]}, {row['method']}, {row['task']}, seed "
        f"{row['seed']}: the loss was not finite in epoch {row['diverged']}; "
        "is the learning rate too high?"
      )


def _mean(group, key):
  """The mean over tasks and its standard error, of runs that did not diverge.

  Seeds of a task are averaged first. With one task, the error is over seeds.
  """
  by_task: dict[str, list[float]] = {}
  for row in group:
    if row[key] is not None:
      by_task.setdefault(row["task"], []).append(row[key])
  values = [float(np.mean(found)) for found in by_task.values()]
  # With one task, the error is that of the mean over its seeds.
  if len(by_task) == 1:
    (values,) = by_task.values()
  if not values:
    return None, None
  error = None
  if len(values) > 1:
    error = float(np.std(values, ddof=1) / np.sqrt(len(values)))
  return float(np.mean(values)), error


def _run() -> int:
  methods = common_flags.names(_METHOD, "method")
  for method in methods:
    if method not in trials.METHODS:
      raise validation.unknown("method", method, trials.METHODS)
  recipe = _RECIPE.recipe()  # refused before anything is loaded
  models = _SOURCES.names()
  overrides = _SOURCES.overrides()
  with contextlib.ExitStack() as stack:
    rows: Any = results.NoRows()
    if _OUTPUT.value is not None:
      rows = stack.enter_context(results.Rows(_OUTPUT.value))
    before = len(rows.rows)
    train, test = _DATA.load_pair()
    _SOURCES.check_default(train)
    labels = train.labels(), test.labels()
    tasks = tasks_lib.parse(_TASKS.value, *labels, seed=_SEED.value)
    target, outputs = trials.Target(train, test, tasks), _Outputs()
    trials.check(target, methods, recipe)
    shown: list[dict[str, Any]] = []

    def run(model):
      trials.check_model(model, methods, recipe)
      source = command.load_source(model, overrides=overrides)
      for method in methods:
        shown.extend(_transfer(model, source, target, outputs, method, rows))

    status = command.for_each_source(models, run)
    # Rows of this report that were not added just now.
    there = len(shown) - (len(rows.rows) - before)
    if there > 0:
      verb = "was" if there == 1 else "were"
      print(f"{tables.count(there, 'row')} {verb} there already.")
    if shown:
      _report(shown)
  return status


def main(argv: list[str]) -> int:
  """Runs the command; returns its exit status.

  Args:
    argv: the program's name and its flags.
  """
  return command.main(argv, FLAGS, __doc__ or "", _run)


script = command.script(main)  # `leep-transfer`

if __name__ == "__main__":
  sys.exit(script())
