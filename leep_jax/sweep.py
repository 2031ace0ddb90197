r"""Scores and trains many sources for many tasks, resumably.

    python -m leep_jax.sweep --model=A,B,C --dataset=cifar100 --data_dir=DIR \
      --tasks='subsets(count=200,classes=2..100)' --scores=leep,nce,h_score \
      --transfer=retrain_head --output=runs/large --cache_dir=cache
    python -m leep_jax.sweep --output=runs/large --report

Each source makes one pass over the data: its outputs are cached in --cache_dir.
Each result is a row of a file in the folder --output, written as soon as it is
known. Rows of scores have the method `score`, those of trained models their
method of --transfer. The same command started again computes the rows that are
missing, and no others. --dry_run prints what it would do.

Several workers share the work with --worker=0/4 to --worker=3/4, on one or many
machines; each writes a file of its own.

--report prints the correlations of scores with transfer performance, and writes
them with figures to the folder `report` in --output.

Exit status 0; 2 for an error in the input (one line on standard error), 130
when interrupted.
"""

import contextlib
import pathlib
import sys
import time
from typing import Any

from absl import flags
from etils import epath

from leep_jax import (
  command,
  common_flags,
  progress,
  scores as scores_lib,
  source_flags,
  sweep_rows,
  tasks as tasks_lib,
  validation,
)
from leep_jax.engine import cache, forward
from leep_jax.reports import results, sweep_report, tables
from leep_jax.sources import catalog
from leep_jax.transfer import recipe_flags, trials

FLAGS = flags.FlagValues()
_SOURCES = source_flags.SourceFlags(FLAGS)
_RECIPE = recipe_flags.RecipeFlags(FLAGS)
_DATA = common_flags.PairFlags(FLAGS)
_TASKS = flags.DEFINE_string(
  "tasks",
  "subsets(count=200)",
  "Target tasks, such as subsets(count=200,classes=2..100); several are joined "
  f"by +. Samplers: {', '.join(tasks_lib.SAMPLERS)} (see leep_jax.tasks).",
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
# Named as the column of committed tables is, which had this name first.
_TRUTH = flags.DEFINE_enum(
  "truth",
  "accuracy",
  list(sweep_report.METRICS),
  "What --report compares scores with.",
  flag_values=FLAGS,
)
_PROBED = 256  # examples on which --dry_run measures the speed


def read_rows(folder: Any) -> list[dict[str, Any]]:
  """Returns the rows of all workers of a sweep, each once.

  Args:
    folder: the sweep's `--output`.

  Raises:
    InputError: if there are no rows, or a file is damaged.

  Example:
    >>> import pathlib, tempfile
    >>> from leep_jax import sweep
    >>> with tempfile.TemporaryDirectory() as folder:
    ...   for worker in range(2):
    ...     file = pathlib.Path(folder) / f"rows-{worker}-of-2.jsonl"
    ...     _ = file.write_text('{"model": "a", "method": "score"}\\n')
    ...   sweep.read_rows(folder)
    [{'model': 'a', 'method': 'score'}]
  """
  try:
    files = sorted(epath.Path(folder).expanduser().glob("rows-*.jsonl"))
  except ImportError as e:
    # The package of an object store, such as gs://, is not installed.
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


def _dry_run(sweep, models, overrides):
  """Prints what is missing, with estimates from a short measurement."""
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
    total = sum(map(len, needed))
    text, size, passes = "", 0.0, 0.0
    if total:
      rate, width = _measure(source, needed[0])
      passes, size = total / rate, total * width / 1e6
      text = (
        f"; forward pass of {total:,} {needed[0].noun}, {size:,.0f} MB of "
        f"cache, about {passes:,.0f} s"
      )
    seconds += passes
    todo = ", ".join(f"{count:,} {name}" for name, count in counts.items())
    print(f"{model}: {todo or 'nothing to do'}{text}")
  print(f"forward passes: about {seconds:,.0f} s in all; training not counted")


def _measure(source, dataset):
  """Speed in examples a second, and bytes of cached outputs for each."""
  few, dtype = dataset.take(_PROBED), _DTYPE_OF_SCORES.value
  # Once untimed, which compiles.
  forward.compute_outputs(source, few, dtype=dtype)
  start = time.perf_counter()
  outputs = forward.compute_outputs(source, few, dtype=dtype)
  rate = len(few) / (time.perf_counter() - start)
  width = sum(4 * outputs.store.shape(key)[1] for key in outputs.store.keys())
  return rate, width


def _run_report(folder):
  """Prints and writes correlations."""
  rows = read_rows(folder)
  written = pathlib.Path(folder).expanduser() / "report"
  try:
    found = sweep_report.write(rows, written, metric=_TRUTH.value)
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
  names = common_flags.names(flag, what)
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
  # A dry run only reads, also while workers hold the locks of their files.
  if not _DRY_RUN.value:
    rows = stack.enter_context(
      results.Rows(folder / f"rows-{worker[0]}-of-{worker[1]}.jsonl")
    )
  for file in sorted(folder.glob("rows-*.jsonl")):
    # The worker's own rows are in `rows` already.
    if _DRY_RUN.value or file != rows.path:
      others += results.parse_rows(file.read_bytes(), name=str(file))[0]
  return rows, others


def _run_sources(
  sweep: sweep_rows.Sweep, models: list[str], overrides: catalog.Overrides
) -> int:
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
  _SOURCES.check_default(target.train)
  trials.check(target, methods, recipe)
  folder = epath.Path(_OUTPUT.value).expanduser()
  with contextlib.ExitStack() as stack:
    rows, others = _open_rows(stack, folder, worker)
    sweep = sweep_rows.Sweep(
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
      dtype=_DTYPE_OF_SCORES.value,
    )
    if _DRY_RUN.value:
      _dry_run(sweep, models, overrides)
      return 0
    return _run_sources(sweep, models, overrides)


def main(argv: list[str]) -> int:
  """Runs the command; returns its exit status.

  Args:
    argv: the program's name and its flags.

  Example:
    >>> import tempfile
    >>> from leep_jax import sweep
    >>> with tempfile.TemporaryDirectory() as folder:
    ...   sweep.main(
    ...     ["sweep", "--model=fashion_mnist_resnet8", "--limit=100",
    ...      "--test_limit=50", "--tasks=all", "--scores=nce",
    ...      f"--output={folder}"]
    ...   )
    /...: 1 row, 1 of them new
    0
  """
  return command.main(argv, FLAGS, __doc__ or "", _run)


script = command.script(main)  # `leep-sweep`

if __name__ == "__main__":
  sys.exit(script())
