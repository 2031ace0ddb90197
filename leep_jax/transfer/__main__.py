r"""Trains transferred models: the truth that scores predict.

    python -m leep_jax.transfer --model=fashion_mnist_resnet8 --dataset=digits
    python -m leep_jax.transfer --model=resnet20@FILE.safetensors \
      --dataset=fashion_mnist --data_dir=DIR --tasks='small(count=20)' \
      --method=retrain_head,fine_tune,scratch --seeds=3 --output=truth.jsonl

Methods: retrain_head (softmax regression on frozen features), probe (the same
to its optimum), fine_tune (all of the network), scratch (its architecture with
fresh weights). Prints the mean over tasks and seeds.

With --output, each result is a row, on disk as soon as it is there; the same
command started again goes on with what is missing. --checkpoints makes long
trainings of networks go on from their last checkpoint too.

Exit status 0; 2 for a mistake in what was asked (one line on standard error),
130 when interrupted.
"""

import contextlib
import dataclasses
import hashlib
import json
import sys
from typing import Any

from absl import flags
import jax
import numpy as np

import leep_jax
from leep_jax import (
  checks,
  command,
  data,
  devices,
  forward,
  results,
  tables,
  tasks as tasks_lib,
  transfer,
)
from leep_jax.models import zoo
from leep_jax.transfer import config as config_lib

METHODS = ("retrain_head", "probe", "fine_tune", "scratch")
FLAGS = flags.FlagValues()
_SOURCES = command.SourceFlags(FLAGS)
_DATASET = flags.DEFINE_string(
  "dataset",
  "digits",
  "Target data: a TFDS name, digits, folder:DIR, or npz:FILE.",
  flag_values=FLAGS,
)
_SPLIT = flags.DEFINE_string(
  "split",
  None,
  "Training set: a TFDS split, slices such as train[:20%] included, or a "
  "folder's sub-folder. Default: train.",
  flag_values=FLAGS,
)
_TEST_SPLIT = flags.DEFINE_string(
  "test_split",
  None,
  "Test set. Default: test, or a folder's val; where there are no splits, a "
  "fifth of each class.",
  flag_values=FLAGS,
)
_DATA_DIR = flags.DEFINE_string(
  "data_dir", None, "Where prepared TFDS data sets are.", flag_values=FLAGS
)
_LIMIT = flags.DEFINE_integer(
  "limit", None, "Use this many training examples.", flag_values=FLAGS
)
_TEST_LIMIT = flags.DEFINE_integer(
  "test_limit", None, "Use this many test examples.", flag_values=FLAGS
)
_TASKS = flags.DEFINE_string(
  "tasks",
  "all",
  "Target tasks: all, or samplers such as small(count=20,classes=4,"
  "examples=30), subsets(...), imbalanced(...), label_noise(...), "
  "examples_curve(...), few_shot(...).",
  flag_values=FLAGS,
)
_SEED = flags.DEFINE_integer("seed", 0, "Of the tasks.", flag_values=FLAGS)
_SEEDS = flags.DEFINE_integer(
  "seeds",
  1,
  "Trainings of each task: they differ in initial weights, order and "
  "augmentation.",
  flag_values=FLAGS,
)
_METHOD = flags.DEFINE_list(
  "method",
  "retrain_head",
  f"Comma-separated: {', '.join(METHODS)}.",
  flag_values=FLAGS,
)
_L2 = flags.DEFINE_float(
  "l2", 0.0, "Strength of the probe's penalty.", flag_values=FLAGS
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
_TEXTS = {
  "epochs": "Passes over a task's training examples.",
  "batch_size": "Examples per step.",
  "learning_rate": "Of SGD, at the start.",
  "schedule": "Of the learning rate: constant, or cosine down to 0.",
  "momentum": "Of SGD.",
  "weight_decay": "Added to the gradient, times the weights.",
  "curve": "Epochs between measurements of test accuracy; 0 for the last only.",
  "body_learning_rate": "Of all but the head, where it is another; 0 freezes.",
  "nesterov": "Whether momentum is Nesterov's.",
  "clip": "Largest norm of the gradient.",
  "flip": "Whether half of the training images are mirrored.",
  "crop": "Pixels by which training images are shifted at most.",
  "dtype": "Of activations and gradients: float32 or bfloat16.",
}
_KINDS: dict[Any, Any] = {
  int: flags.DEFINE_integer,
  float: flags.DEFINE_float,
  str: flags.DEFINE_string,
  bool: flags.DEFINE_boolean,
  float | None: flags.DEFINE_float,
}
# The crop of sources and that of augmentation differ.
_RENAMED = {"crop": "shift"}
_CONFIG: dict[str, Any] = {
  f.name: _KINDS[f.type](
    _RENAMED.get(f.name, f.name), f.default, _TEXTS[f.name], flag_values=FLAGS
  )
  for f in dataclasses.fields(transfer.NetworkConfig)
}


def _config(kind):
  """The configuration that the flags give."""
  return kind(
    **{f.name: _CONFIG[f.name].value for f in dataclasses.fields(kind)}
  )


class _Truth:
  """One source's data and tasks, and the training of one method."""

  def __init__(self, train, test, tasks):
    self.sets = {False: (train, test), True: (test, test)}
    self.tasks = tasks
    self._loaded: dict[int, Any] = {}

  def images(self, dataset):
    """A set in memory, where images need not be fitted to the source."""
    if dataset.image_shape is None:
      return dataset
    if id(dataset) not in self._loaded:
      self._loaded[id(dataset)] = dataset.load()
    return self._loaded[id(dataset)]

  def train(self, method, source, outputs, wanted, on_result, progress):
    """Trains what is wanted, `(task, seed)` pairs, in calls of like seeds."""
    for one_set, (train, test) in self.sets.items():
      by_seeds: dict[tuple[int, ...], list[tasks_lib.Task]] = {}
      for task in self.tasks:
        seeds = tuple(s for t, s in wanted if t is task)
        if seeds and task.one_set == one_set:
          by_seeds.setdefault(seeds, []).append(task)
      for seeds, tasks in by_seeds.items():
        options: dict[str, Any] = {"tasks": tasks, "on_result": on_result}
        if method in ("retrain_head", "probe"):
          sets = [outputs(source, dataset) for dataset in (train, test)]
          if method == "probe":
            transfer.probe_head(*sets, l2=_L2.value, **options)
          else:
            transfer.retrain_head(
              *sets, config=_config(transfer.Config), seeds=seeds, **options
            )
          continue
        function = transfer.fine_tune
        if method == "scratch":
          function = transfer.train_from_scratch
        function(
          source,
          self.images(train),
          self.images(test),
          config=_config(transfer.NetworkConfig),
          seeds=seeds,
          directory=_CHECKPOINTS.value,
          progress=progress,
          **options,
        )


def _recipe(method):
  """What decides a result besides source, data, task and seed."""
  if method == "probe":
    return {"l2": _L2.value}
  network = method in ("fine_tune", "scratch")
  kind = transfer.NetworkConfig if network else transfer.Config
  recipe = dataclasses.asdict(_config(kind))
  return recipe | ({"optimizer": "sgd"} if network else {})


_SAME = (
  "model", "dataset", "split", "test_split", "train_examples_of_set",
  "test_examples_of_set", "method", "task", "task_seed", "task_checksum",
  "seed", "recipe",
)  # fmt: skip


def _key(row):
  """What tells a row from others."""
  text = json.dumps([row.get(key) for key in _SAME], sort_keys=True)
  return hashlib.sha256(text.encode()).digest()


class _Outputs:
  """Outputs of the source at work on each data set, computed once."""

  def __init__(self):
    self._kept: dict[Any, Any] = {}

  def __call__(self, source, dataset):
    key = (source.name, id(dataset))
    if key not in self._kept:
      self._kept = {k: v for k, v in self._kept.items() if k[0] == source.name}
      progress = command.Progress(
        f"{tables.short(source.name, 30)} {dataset.split}", len(dataset)
      )
      try:
        self._kept[key] = forward.compute_outputs(
          source, dataset, progress=progress
        )
      finally:
        progress.clear()
    return self._kept[key]


def _transfer(model, source, truth, outputs, method, rows):
  """Trains what is missing of one source and method."""
  train, test = truth.sets[False]
  same = {
    "model": model,
    "dataset": train.name,
    "split": train.split,
    "test_split": test.split,
    "train_examples_of_set": len(train),
    "test_examples_of_set": len(test),
    "method": method,
    "recipe": _recipe(method),
  }
  seeds = range(1 if method == "probe" else _SEEDS.value)
  tasks = {task.name: task for task in truth.tasks}
  done = {_key(row) for row in rows.rows}
  wanted = [
    (task, seed)
    for task in truth.tasks
    for seed in seeds
    if _key({**same, **task.row(), "seed": seed}) not in done
  ]
  if not wanted:
    return
  label = f"{tables.short(model, 30)} {method}"
  shown: list[Any] = []

  def progress(images, total):
    if not shown:
      shown.append(command.Progress(label, total))
    shown[0](images)

  def on_result(result):
    rows.append(
      {
        **same,
        **tasks[result.task].row(),
        **result.row(),
        "device": f"{devices.device_count()} {jax.devices()[0].device_kind}",
        "version": leep_jax.__version__,
      }
    )

  try:
    truth.train(method, source, outputs, wanted, on_result, progress)
  finally:
    for line in shown:
      line.clear()


class _InMemory:
  """Rows where no file was asked for."""

  def __init__(self):
    self.rows: list[dict[str, Any]] = []
    self.append = self.rows.append


def _report(rows):
  """Prints means over tasks and seeds, by source and method."""
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
  best = sorted(groups.items(), key=lambda item: -_mean(item[1], "accuracy")[0])
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
  if any(len(group) > 1 for group in groups.values()):
    print("± is one standard error of the mean over tasks and seeds.")
  for row in rows:
    if row["diverged"] is not None:
      print(
        f"{short[row['model']]}, {row['method']}, {row['task']}, seed "
        f"{row['seed']}: the loss was not finite in epoch {row['diverged']}; "
        "is the learning rate too high?"
      )


def _mean(group, key):
  """Mean and its standard error, of runs that did not diverge."""
  values = [row[key] for row in group if row[key] is not None]
  if not values:
    return float("nan"), None
  error = None
  if len(values) > 1:
    error = float(np.std(values, ddof=1) / np.sqrt(len(values)))
  return float(np.mean(values)), error


def _run() -> int:
  methods = command.names(_METHOD, "method")
  for method in methods:
    if method not in METHODS:
      raise checks.unknown("method", method, METHODS)
  checks.at_least_1("seeds", _SEEDS.value)
  config_lib.bounded("l2", _L2.value)
  _config(transfer.NetworkConfig)  # refused before anything is loaded
  models = _SOURCES.names()
  overrides = _SOURCES.overrides()
  failed = False
  with contextlib.ExitStack() as stack:
    rows: Any = _InMemory()
    if _OUTPUT.value is not None:
      rows = stack.enter_context(results.Rows(_OUTPUT.value))
    before = len(rows.rows)
    train, test = data.load_pair(
      _DATASET.value,
      split=_SPLIT.value,
      test_split=_TEST_SPLIT.value,
      data_dir=_DATA_DIR.value,
      limit=_LIMIT.value,
      test_limit=_TEST_LIMIT.value,
    )
    labels = train.labels(), test.labels()
    tasks = tasks_lib.parse(_TASKS.value, *labels, seed=_SEED.value)
    truth, outputs = _Truth(train, test, tasks), _Outputs()
    status = 0
    try:
      for model in models:
        try:
          source = zoo.load_source(model, overrides=overrides)
          for method in methods:
            _transfer(model, source, truth, outputs, method, rows)
        except checks.InputError as e:
          failed = True
          text = f"{e}" if model in f"{e}" else f"{model}: {e}"
          print(f"error: {text}", file=sys.stderr)
    except KeyboardInterrupt:
      print("\ninterrupted", file=sys.stderr)
      status = 130
    if before:
      print(f"{tables.count(before, 'row')} were there already.")
    if rows.rows:
      _report(rows.rows)
  return status or (2 if failed else 0)


def main(argv: list[str]) -> int:
  """Runs the command; returns its exit status.

  Args:
    argv: the program's name and its flags.
  """
  return command.main(argv, FLAGS, __doc__ or "", _run)


if __name__ == "__main__":
  sys.exit(main(sys.argv))
