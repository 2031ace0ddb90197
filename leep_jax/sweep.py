r"""Scores and trains many sources for many tasks, resumably.

    python -m leep_jax.sweep --model=A,B,C --dataset=cifar100 --data_dir=DIR \
      --tasks='subsets(count=200,classes=2..100)' --scores=leep,nce,h_score \
      --transfer=retrain_head --output=runs/large --cache_dir=cache
    python -m leep_jax.sweep --output=runs/large --report

Each source sees the data once: its outputs are kept in --cache_dir. Each result
is a row in the folder --output, on disk as soon as it is there: scores have the
method `score`, trained models that of --transfer. The same command started
again does what is missing, and nothing twice. --dry_run prints what it would
do.

Several workers share the work with --worker=0/4 to --worker=3/4, on one or many
machines; each writes a file of its own.

--report prints the correlations of scores with truths, and writes them with
figures to the folder `report` in --output.

Exit status 0; 2 for a mistake in what was asked (one line on standard error),
130 when interrupted.
"""

import contextlib
import dataclasses
import pathlib
import sys
import time
from typing import Any

from absl import flags
from etils import epath

from leep_jax import (
  command,
  data,
  progress,
  scores as scores_lib,
  tasks as tasks_lib,
  validation,
)
from leep_jax.engine import cache, forward
from leep_jax.reports import results, sweep_report, tables
from leep_jax.tasks import task_scores
from leep_jax.transfer import recipe_flags, trials

FLAGS = flags.FlagValues()
_SOURCES = command.SourceFlags(FLAGS)
_RECIPE = recipe_flags.RecipeFlags(FLAGS)
_DATA = command.PairFlags(FLAGS)
_TASKS = flags.DEFINE_string(
  "tasks",
  "subsets(count=200)",
  "Target tasks, see leep_jax.tasks: subsets(count=200,classes=2..100), "
  "small(...), imbalanced(...), label_noise(...), examples_curve(...), "
  "few_shot(...), all; several are joined by +.",
  flag_values=FLAGS,
)
_SEED = flags.DEFINE_integer("seed", 0, "Of the tasks.", flag_values=FLAGS)
_SCORES = flags.DEFINE_list(
  "scores",
  "leep,nce,h_score",
  f"Comma-separated: {', '.join(scores_lib.SCORES)}.",
  flag_values=FLAGS,
)
_TRANSFER = flags.DEFINE_list(
  "transfer",
  "",
  f"Methods, comma-separated: {', '.join(trials.METHODS)}. Default: none.",
  flag_values=FLAGS,
)
_OUTPUT = flags.DEFINE_string(
  "output", None, "Folder for rows and the report.", flag_values=FLAGS
)
_CACHE_DIR = flags.DEFINE_string(
  "cache_dir",
  None,
  "Folder where outputs of sources are kept. Default: cache in --output.",
  flag_values=FLAGS,
)
_DTYPE_OF_SCORES = flags.DEFINE_enum(
  "forward_dtype",
  "float32",
  ["float32", "bfloat16"],
  "Of the forward pass.",
  flag_values=FLAGS,
)
_WORKER = flags.DEFINE_string(
  "worker", "0/1", "Which of how many workers this is.", flag_values=FLAGS
)
_DRY_RUN = flags.DEFINE_boolean(
  "dry_run",
  False,
  "Print what would be done: forward passes, cache, trials, time.",
  flag_values=FLAGS,
)
_REPORT = flags.DEFINE_boolean(
  "report",
  False,
  "Print and write correlations and figures of the rows there are.",
  flag_values=FLAGS,
)
_TRUTH = flags.DEFINE_enum(
  "truth",
  "accuracy",
  list(sweep_report.TRUTHS),
  "What --report compares scores with.",
  flag_values=FLAGS,
)
_PROBED = 256  # images that --dry_run times
_AT_ONCE = 256  # tasks that are scored together


def read_rows(folder: Any) -> list[dict[str, Any]]:
  """Returns the rows of all workers of a sweep, each once.

  Args:
    folder: of the sweep.

  Raises:
    InputError: if there are none, or a file is none of rows.
  """
  try:
    files = sorted(epath.Path(folder).expanduser().glob("rows-*.jsonl"))
  except ImportError as e:  # of the package of an object store
    raise validation.InputError(
      f"cannot read {folder}: {validation.reason(e)}"
    ) from e
  rows: dict[bytes, dict[str, Any]] = {}
  for file in files:
    for row in results.parse_rows(file.read_bytes(), name=str(file))[0]:
      rows.setdefault(trials.key(row), row)
  if not rows:
    raise validation.InputError(f"there are no rows in {folder}")
  return list(rows.values())


def _worker():
  """Index and count of workers."""
  index, slash, count = _WORKER.value.partition("/")
  if not (slash and index.isdigit() and count.isdigit()):
    raise validation.InputError(
      f"worker is {_WORKER.value!r}, but must be like 0/4"
    )
  if not int(index) < int(count):
    raise validation.InputError(
      f"worker is {_WORKER.value}, but they are counted from 0 to "
      f"{int(count) - 1}"
    )
  return int(index), int(count)


@dataclasses.dataclass(frozen=True)
class _Sweep:
  """Scores and trains sources, each for the same tasks by the same methods.

  Attributes:
    target: data and tasks.
    names: of scores.
    methods: of transfer.
    recipe: how methods train.
    cache: of the outputs of sources.
    rows: of this worker, to append to.
    others: rows of other workers, read at the start.
    worker: index and count of workers.
    checkpoints: folder of trainings that are under way.
  """

  target: trials.Target
  names: list[str]
  methods: list[str]
  recipe: Any
  cache: cache.Cache
  rows: Any
  others: list[dict[str, Any]]
  worker: tuple[int, int]
  checkpoints: str

  def outputs(self, source, dataset):
    """Outputs on one set, kept or computed now."""
    count = progress.Progress(
      f"{tables.short(source.name, 30)} {dataset.split}"
    )
    try:
      return self.cache.outputs(
        source,
        dataset,
        dtype=_DTYPE_OF_SCORES.value,
        progress=lambda done: count(done, len(dataset)),
      )
    finally:
      count.clear()

  def about(self, model, source):
    """What rows say of a source."""
    return {
      "model": model,
      "source_digest": cache.source_digest(source),
      "forward_dtype": _DTYPE_OF_SCORES.value,
    }

  def wanted(self, model, source):
    """Tasks to score, and tasks and seeds to train for, by method."""
    about = self.about(model, source)
    there = [*self.rows.rows, *self.others]
    done = {trials.key(row) for row in there}
    found: dict[str, Any] = {
      sweep_report.SCORED: [
        task
        for task in self.target.tasks
        if trials.key(self._score_row(about, task)) not in done
        and self._is_mine(model, task)
      ]
    }
    for method in self.methods:
      found[method] = [
        (task, seed)
        for task, seed in trials.missing(
          self.target, about, method, self.recipe, there
        )
        if self._is_mine(model, task)
      ]
    return found

  def needed(self, source, wanted):
    """Sets whose outputs are wanted and not cached yet."""
    used: dict[str, data.Dataset] = {}
    for method, found in wanted.items():
      # Scores read the training set. Heads are trained and tested on outputs.
      # The other methods read images.
      reads = {sweep_report.SCORED: 1, "retrain_head": 2, "probe": 2}
      for trial in found:
        task = trial if method == sweep_report.SCORED else trial[0]
        sets = self.target.sets(task.one_set)[: reads.get(method, 0)]
        used |= {dataset.split: dataset for dataset in sets}
    return [
      dataset
      for dataset in used.values()
      if not self.cache.has(source, dataset, dtype=_DTYPE_OF_SCORES.value)
    ]

  def _is_mine(self, model, task):
    index, count = self.worker
    return tasks_lib.share(f"{model} {task.name}", count) == index

  def _score_row(self, about, task):
    return {
      **about, **self.target.row(), **task.row(), "method": sweep_report.SCORED,
      "recipe": sorted(self.names), "seed": None,
    }  # fmt: skip

  def run(self, model, source):
    """Scores and trains what is missing of one source."""
    trials.check_model(model, self.methods, self.recipe)
    about, wanted = self.about(model, source), self.wanted(model, source)
    self._tell_other_digests(model, about["source_digest"])
    self._score(about, source, wanted[sweep_report.SCORED])
    for method in self.methods:
      count = progress.Progress(f"{tables.short(model, 30)} {method}")
      try:
        trials.run(
          source,
          self.target,
          wanted[method],
          method=method,
          about=about,
          recipe=self.recipe,
          outputs=self.outputs,
          on_row=self.rows.append,
          progress=count,
          checkpoints=self.checkpoints,
        )
      finally:
        count.clear()

  def _tell_other_digests(self, model, digest):
    """Notes rows of a source of this name that computed something else."""
    old = [
      row
      for row in self.rows.rows
      if row["model"] == model and row.get("source_digest") != digest
    ]
    if old:
      validation.note(
        f"{len(old)} rows of {model} are of other weights, preprocessing or "
        "code than it has now: they stay, and it is scored anew"
      )

  def _score(self, about, source, tasks):
    for one_set in (False, True):
      chosen = [task for task in tasks if task.one_set == one_set]
      if not chosen:
        continue
      outputs = self.outputs(source, self.target.sets(one_set)[0])
      for what in scores_lib.uninformative(outputs).values():
        if what.constant:
          validation.note(f"{source.name}: {what.why}")
      count = progress.Progress(
        f"{tables.short(source.name, 30)} scores", unit="tasks"
      )
      try:
        for start in range(0, len(chosen), _AT_ONCE):
          self._score_some(about, outputs, chosen, start, count)
      finally:
        count.clear()

  def _score_some(self, about, outputs, tasks, start, count):
    """Scores some tasks together; a row is there as soon as its scores are."""
    some = tasks[start : start + _AT_ONCE]
    started = time.perf_counter()

    def on_row(i, scores):
      nonlocal started
      now = time.perf_counter()
      row = {
        **self._score_row(about, some[i]),
        "scores": scores,
        "seconds": round(now - started, 6),
        **trials.made_by(),
      }
      started = now
      self.rows.append(row)
      count(start + i + 1, len(tasks))

    task_scores.score_tasks(outputs, some, names=self.names, on_row=on_row)


def _dry_run(sweep, models, overrides):
  """Prints what there is to do, with an estimate from a short measurement."""
  seconds = 0.0
  for model in models:
    try:
      source = command.load_source(model, overrides=overrides)
      wanted = sweep.wanted(model, source)
    except validation.InputError as e:
      print(f"error: {e}" if model in f"{e}" else f"error: {model}: {e}")
      continue
    counts = {name: len(found) for name, found in wanted.items() if found}
    needed = sweep.needed(source, wanted)
    images = sum(map(len, needed))
    text, size, passes = "", 0.0, 0.0
    if images:
      rate, width = _measure(source, needed[0])
      passes, size = images / rate, images * width / 1e6
      text = (
        f"; forward pass of {images:,} images, {size:,.0f} MB of cache, about "
        f"{passes:,.0f} s"
      )
    seconds += passes
    todo = ", ".join(f"{count:,} {name}" for name, count in counts.items())
    print(f"{model}: {todo or 'nothing to do'}{text}")
  print(f"forward passes: about {seconds:,.0f} s in all; training not counted")


def _measure(source, dataset):
  """Images a second, and bytes kept for each."""
  few, dtype = dataset.take(_PROBED), _DTYPE_OF_SCORES.value
  forward.compute_outputs(source, few, dtype=dtype)  # compiles
  start = time.perf_counter()
  outputs = forward.compute_outputs(source, few, dtype=dtype)
  rate = len(few) / (time.perf_counter() - start)
  width = sum(4 * outputs.store.shape(key)[1] for key in outputs.store.keys())
  return rate, width


def _run_report(folder):
  rows = read_rows(folder)
  written = pathlib.Path(folder).expanduser() / "report"
  try:
    found = sweep_report.write(rows, written, truth=_TRUTH.value)
  except OSError as e:
    raise validation.InputError(f"cannot write {written}: {e.strerror}") from e
  if not found:
    raise validation.InputError(
      f"{folder} has no task with both scores and trained models: run it with "
      "--transfer"
    )
  print(sweep_report.table(found))
  print(f"\nwritten to {written}")


def _known(flag, what, table):
  """The names of a list flag, each of which a table must have."""
  names = command.names(flag, what)
  for name in names:
    if name not in table:
      raise validation.unknown(what, name, table)
  return names


def _target():
  """The data and the tasks that the flags name."""
  train, test = _DATA.load_pair()
  tasks = tasks_lib.parse(
    _TASKS.value, train.labels(), test.labels(), seed=_SEED.value
  )
  return trials.Target(train, test, tasks)


def _open_rows(stack, folder, worker):
  """Rows of this worker, to append to, and those of all other workers."""
  rows: Any = results.NoRows()
  others = []
  if not _DRY_RUN.value:
    rows = stack.enter_context(
      results.Rows(folder / f"rows-{worker[0]}-of-{worker[1]}.jsonl")
    )
  for file in sorted(folder.glob("rows-*.jsonl")):
    if _DRY_RUN.value or file != rows.path:
      others += results.parse_rows(file.read_bytes(), name=str(file))[0]
  return rows, others


def _run_sources(sweep, models, overrides):
  """Scores and trains what is missing; returns the exit status."""
  before = len(sweep.rows.rows)
  status = command.for_each_source(
    models,
    lambda model: sweep.run(
      model, command.load_source(model, overrides=overrides)
    ),
  )
  count = len(sweep.rows.rows)
  print(
    f"{_OUTPUT.value}: {tables.count(count, 'row')}, {count - before} of them "
    "new"
  )
  return status


def _run() -> int:
  if not _OUTPUT.value:
    raise validation.InputError("--output is missing: which folder is it?")
  if _REPORT.value:
    _run_report(_OUTPUT.value)
    return 0
  names = _known(_SCORES, "score", scores_lib.SCORES)
  methods: list[str] = []
  if _TRANSFER.value:
    methods = _known(_TRANSFER, "method", trials.METHODS)
  recipe, worker = _RECIPE.recipe(), _worker()
  models, overrides = _SOURCES.names(), _SOURCES.overrides()
  target = _target()
  trials.check(target, methods, recipe)
  folder = epath.Path(_OUTPUT.value).expanduser()
  with contextlib.ExitStack() as stack:
    rows, others = _open_rows(stack, folder, worker)
    sweep = _Sweep(
      target=target,
      names=names,
      methods=methods,
      recipe=recipe,
      cache=cache.Cache(
        _CACHE_DIR.value or pathlib.Path(_OUTPUT.value) / "cache",
        on_note=lambda text: progress.write(f"note: {text}"),
      ),
      rows=rows,
      others=others,
      worker=worker,
      checkpoints=str(folder / "checkpoints"),
    )
    if _DRY_RUN.value:
      _dry_run(sweep, models, overrides)
      return 0
    return _run_sources(sweep, models, overrides)


def main(argv: list[str]) -> int:
  """Runs the command; returns its exit status.

  Args:
    argv: the program's name and its flags.
  """
  return command.main(argv, FLAGS, __doc__ or "", _run)


script = command.script(main)  # `leep-sweep`

if __name__ == "__main__":
  sys.exit(script())
