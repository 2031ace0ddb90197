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
machines, or with --worker=any, which takes the next source that no other has;
each writes files of its own. --launch=slurm --workers=8 starts them.

--report prints the correlations of scores with transfer performance, and writes
them with figures to the folder `report` in --output.

Exit status 0; 2 for an error in the input (one line on standard error), 130
when interrupted.
"""

import contextlib
import dataclasses
import pathlib
import socket
import sys
import tempfile
from typing import Any
import uuid

from absl import flags

from leep_jax import (
  command,
  common_flags,
  estimates,
  launching,
  progress,
  scores as scores_lib,
  source_flags,
  sweep_rows,
  sweep_shares,
  tasks as tasks_lib,
  user_cache,
  validation,
)
from leep_jax.engine import cache
from leep_jax.reports import results, row_parts, sweep_report, tables
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
  "output",
  None,
  "Folder for rows and the report, local or of an object store such as "
  "gs://BUCKET/FOLDER.",
  flag_values=FLAGS,
)
_CACHE_DIR = flags.DEFINE_string(
  "cache_dir",
  None,
  "Local folder where outputs of sources are kept. Default: cache in --output, "
  "or, if that is an object store, sweep in the user's cache.",
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
  "worker",
  "0/1",
  "Which of how many workers this is; any: take one source after the other "
  "that no other worker has.",
  flag_values=FLAGS,
)
_LAUNCH = launching.LaunchFlags(FLAGS)
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
  rows: dict[bytes, dict[str, Any]] = {}
  for row in results.read_folder(folder):
    rows.setdefault(trials.key(row), row)
  if not rows:
    raise validation.InputError(f"there are no rows in {folder}")
  return list(rows.values())


def _dry_run(sweep, models, overrides):
  """Prints what is missing, with estimates from short measurements."""
  found = []

  def one(model):
    source = command.load_source(model, overrides=overrides)
    wanted = sweep.wanted(model, source)
    todo = [f"{len(x):,} {name}" for name, x in wanted.items() if x]
    print(f"{model}: {', '.join(todo) or 'nothing to do'}")
    needed = sweep.needed(source, wanted)
    if needed:
      rate = estimates.measured(
        model, source, needed[0], overrides=overrides, dtype=sweep.dtype
      )
      found.append(estimates.Passes(model, list(map(len, needed)), rate))

  status = command.for_each_source(models, one)
  noun = sweep.target.train.noun
  if found:
    print(f"\n{estimates.table(found, noun=noun)}\n")
  print(*estimates.total(found, noun=noun), sep="\n")
  disk = estimates.size(sum(p.bytes for p in found))
  folder = sweep.cache.folder
  print(f"outputs: {disk} in {folder} ({estimates.free(folder)})")
  print("scores and training are not counted")
  return status


def _run_report(folder):
  """Prints and writes correlations."""
  rows = read_rows(folder)
  written: Any = pathlib.Path(folder).expanduser() / "report"
  try:
    if row_parts.is_store(folder):
      written = f"{folder}/report"
      with tempfile.TemporaryDirectory() as made:
        found = sweep_report.write(
          rows, pathlib.Path(made), metric=_TRUTH.value
        )
        row_parts.put_folder(made, written)
    else:
      found = sweep_report.write(rows, written, metric=_TRUTH.value)
  except OSError as e:
    raise validation.InputError(
      f"cannot write {written}: {validation.reason(e)}"
    ) from e
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


def _rows_name():
  """The file of this worker's rows."""
  if _WORKER.value != sweep_shares.ANY:
    index, _, count = _WORKER.value.partition("/")
    return f"rows-{int(index)}-of-{int(count)}.jsonl"
  # Workers that have no number write a new file each.
  return f"rows-{socket.gethostname()}-{uuid.uuid4().hex[:8]}.jsonl"


def _folder() -> str:
  """The value of --output."""
  if not _OUTPUT.value:
    raise validation.InputError("--output is missing: which folder is it?")
  return _OUTPUT.value.rstrip("/") or "/"


def _beside(name):
  """A local folder in --output, or, if that is a store, in the user's cache."""
  if not row_parts.is_store(_folder()):
    return pathlib.Path(_folder()).expanduser() / name
  if _CACHE_DIR.value:
    return pathlib.Path(_CACHE_DIR.value).expanduser() / name
  kept = user_cache.folder()
  if kept is None:
    raise validation.InputError(
      f"--cache_dir is missing: outputs cannot be kept in {_OUTPUT.value}, but "
      "need a local folder"
    )
  return kept / "sweep" / name


def _cache():
  if _CACHE_DIR.value and row_parts.is_store(_CACHE_DIR.value):
    raise validation.InputError(
      f"cache_dir is {_CACHE_DIR.value}, but must be local: files in it are "
      "memory-mapped"
    )
  return cache.Cache(
    _CACHE_DIR.value or _beside("cache"),
    on_note=lambda text: progress.write(f"note: {text}"),
  )


def _run_sources(
  sweep: sweep_rows.Sweep, models: list[str], overrides: catalog.Overrides
) -> int:
  """Scores and trains what is missing; returns the exit status."""
  before = len(sweep.rows.rows)

  def run(model):
    if sweep.share.may_have(model):
      sweep.run(model, command.load_source(model, overrides=overrides))

  status = command.for_each_source(models, run)
  _tell(len(sweep.rows.rows), before)
  return status


def _tell(count, before):
  print(
    f"{_OUTPUT.value}: {tables.count(count, 'row')}, {count - before} of them "
    "new"
  )


def _run_any(
  sweep: sweep_rows.Sweep, models: list[str], overrides: catalog.Overrides
) -> int:
  """As `_run_sources`, of sources that no other worker has."""
  claims = sweep_shares.Claims(_beside("claims"))
  growing = results.GrowingFolder(_folder())

  def run(model):
    with claims.take(model) as mine:
      if mine:
        # Only now: another worker may have just finished this source.
        dataclasses.replace(sweep, others=growing.read()).run(
          model, command.load_source(model, overrides=overrides)
        )

  status = command.for_each_source(models, run)
  count = len(growing.read())
  _tell(count, count - len(sweep.rows.rows))
  if claims.left:
    count = len(claims.left)
    print(
      f"{tables.count(count, 'source')} with other workers: "
      f"{validation.some(claims.left)}"
    )
  return status


def _submit() -> int:
  """Starts workers; returns the exit status."""
  cluster, count = _LAUNCH.cluster, _LAUNCH.workers
  assert cluster is not None
  own = _WORKER.value == sweep_shares.ANY
  arguments = ["-m", "leep_jax.sweep", *_LAUNCH.passed_on([_WORKER.name])]
  folder, logs = _folder(), _beside("jobs")
  before = len(results.read_folder(folder))
  jobs = launching.submit(
    [
      [*arguments, f"--worker={sweep_shares.ANY if own else f'{i}/{count}'}"]
      for i in range(count)
    ],
    cluster=cluster,
    folder=logs,
    options=_LAUNCH.options(),
  )
  names = validation.some([job.job_id for job in jobs])
  print(f"{tables.count(count, 'job')} on {cluster}: {names}; logs in {logs}")
  if cluster != "local":
    return 0
  failed = launching.failures(jobs)
  for line in failed:
    command.print_error(line)
  _tell(len(results.read_folder(folder)), before)
  return 2 if failed else 0


def _run() -> int:
  folder = _folder()
  if _REPORT.value:
    _run_report(folder)
    return 0
  names = _known(_SCORES, "score", scores_lib.SCORES)
  methods: list[str] = []
  if _TRANSFER.value:
    methods = _known(_TRANSFER, "method", trials.METHODS)
  recipe = _RECIPE.recipe()
  models, overrides = _SOURCES.names(), _SOURCES.overrides()
  share = sweep_shares.parse(_WORKER.value, models)
  takes_any = _WORKER.value == sweep_shares.ANY
  if takes_any and row_parts.is_store(folder):
    raise validation.InputError(
      f"--worker=any needs locks, which {_OUTPUT.value} has not: number the "
      "workers, as in --worker=0/4"
    )
  if _LAUNCH.cluster is not None and _WORKER.present and not takes_any:
    raise validation.InputError(
      f"--launch starts every worker: leave out --worker={_WORKER.value}"
    )
  kept = _cache()
  if _LAUNCH.cluster is not None and not _DRY_RUN.value:
    return _submit()
  target = _target()
  _SOURCES.check_default(target.train)
  trials.check(target, methods, recipe)
  with contextlib.ExitStack() as stack:
    rows: Any = results.NoRows()
    # A dry run only reads, also while workers hold the locks of their files.
    if not _DRY_RUN.value:
      rows = stack.enter_context(results.Rows(f"{folder}/{_rows_name()}"))
    sweep = sweep_rows.Sweep(
      target=target,
      names=names,
      methods=methods,
      recipe=recipe,
      cache=kept,
      rows=rows,
      others=results.read_folder(folder),
      share=share,
      checkpoints=str(_beside("checkpoints")),
      dtype=_DTYPE_OF_SCORES.value,
    )
    if _DRY_RUN.value:
      return _dry_run(sweep, models, overrides)
    return (_run_any if takes_any else _run_sources)(sweep, models, overrides)


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
