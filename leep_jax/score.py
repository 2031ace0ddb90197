r"""Ranks source models for a target data set, from one forward pass each.

    python -m leep_jax.score
    python -m leep_jax.score --model=resnet20@FILE.safetensors \
      --dataset=cifar100 --split=test --data_dir=DIR --output=scores.jsonl
    python -m leep_jax.score --predictions=a.npz,b.npz
    srun python -m leep_jax.score --distributed  # all processes, one job

Prints a table, best first by the first score named, each score with its
standard error. Exit status 0; 2 for a mistake in what was asked (one line on
standard error), 130 when interrupted. Rows of the sources that were finished
are written and printed all the same. Of several processes the first one prints
and writes, and all have the same status; if one dies the others stop with an
error too.
"""

from collections.abc import Callable
import dataclasses
import functools
import sys
import textwrap
import time
from typing import Any

from absl import flags
import jax
import numpy as np

from leep_jax import command, data, scores as scores_lib, validation, version
from leep_jax.engine import forward, hosts, outputs as outputs_lib, programs
from leep_jax.reports import plots, results, tables
from leep_jax.scores import jackknife, nce
from leep_jax.sources import catalog

# Flags of this command alone, so that several commands can be imported.
FLAGS = flags.FlagValues()
_SOURCES = command.SourceFlags(FLAGS)
_DATA = command.DataFlags(FLAGS)
_PREDICTIONS = flags.DEFINE_list(
  "predictions",
  None,
  "Instead of models and data: npz files of outputs, comma-separated, each "
  "with labels (or, for regression, targets), logits or probs, and optionally "
  "features.",
  flag_values=FLAGS,
)
_TARGET = flags.DEFINE_string(
  "target",
  None,
  "For regression: the numeric feature of a TFDS data set, or the array of an "
  "npz file (default targets), that holds real-valued targets.",
  flag_values=FLAGS,
)
_CLASSIFICATION = ("leep", "nce", "regularized_h_score", "eep_accuracy")
_REGRESSION = ("logme", "lin_mse", "lab_mse")
_SCORES = flags.DEFINE_list(
  "scores",
  None,
  "Scores, comma-separated, the first of which ranks, or all: "
  f"{', '.join(scores_lib.SCORES)}. Default: {','.join(_CLASSIFICATION)}; for "
  f"regression {','.join(_REGRESSION)}.",
  flag_values=FLAGS,
)
_GROUPS = flags.DEFINE_integer(
  "groups",
  jackknife.GROUPS,
  "Groups of examples that standard errors are taken from; 1 for none.",
  flag_values=FLAGS,
)
_BATCH_SIZE = flags.DEFINE_integer(
  "batch_size",
  None,
  "Images per forward call, over all devices.",
  flag_values=FLAGS,
)
_DTYPE = flags.DEFINE_enum(
  "dtype",
  "float32",
  ["float32", "bfloat16"],
  "Of the forward pass.",
  flag_values=FLAGS,
)
_OUTPUT = flags.DEFINE_string(
  "output",
  None,
  "File for one row per source, .jsonl or .csv; replaced.",
  flag_values=FLAGS,
)
_PLOT = flags.DEFINE_string(
  "plot",
  None,
  "File for a chart of the ranking with its intervals, .png, .pdf or .svg; "
  "replaced.",
  flag_values=FLAGS,
)
_DISTRIBUTED = flags.DEFINE_boolean(
  "distributed",
  False,
  "Share the work with the other processes of this job, as TPU pods, Slurm, "
  "Kubernetes and Open MPI start them.",
  flag_values=FLAGS,
)
_COORDINATOR = flags.DEFINE_string(
  "coordinator",
  None,
  "HOST:PORT of the first of several processes, where nothing else tells them "
  "of each other. With --processes and --process.",
  flag_values=FLAGS,
)
_PROCESSES = flags.DEFINE_integer(
  "processes", None, "How many processes there are.", flag_values=FLAGS
)
_PROCESS = flags.DEFINE_integer(
  "process", None, "Which of them this is, from 0.", flag_values=FLAGS
)


@dataclasses.dataclass(frozen=True)
class _Scored:
  """One source, scored."""

  row: dict[str, Any]
  estimates: dict[str, jackknife.Estimate | None]
  undefined: dict[str, str]  # why, by score
  truth: np.ndarray  # labels or targets

  def same_examples(self, other: "_Scored") -> bool:
    return np.array_equal(self.truth, other.truth)


def _score(
  name: str,
  names: Callable[[outputs_lib.Outputs], list[str]],
  dataset: tuple[str, str],
  make_outputs: Callable[[], outputs_lib.Outputs],
  progress: command.Progress,
) -> _Scored:
  """Scores one source; times it without compilation."""
  start, compiled = time.perf_counter(), programs.compile_seconds()
  undefined: dict[str, str] = {}
  try:
    outputs = make_outputs()
    nothing = scores_lib.uninformative(outputs)
    estimates = scores_lib.estimate_scores(
      outputs,
      names=names(outputs),
      groups=_GROUPS.value,
      on_score=progress.scoring,
      on_undefined=undefined.__setitem__,
    )
    for score in estimates:
      # Not ranked, as if it were poor: nothing is known of it.
      what = nothing.get(scores_lib.SCORES[score].needs)
      if what is not None and what.constant:
        estimates[score] = None
        undefined[score] = what.why
  finally:
    progress.clear()
  seconds = time.perf_counter() - start
  seconds -= programs.compile_seconds() - compiled
  targets = outputs.targets
  row = {
    "model": name,
    "dataset": dataset[0],
    "split": dataset[1],
    "num_examples": len(outputs),
    "num_source_classes": outputs.num_source_classes,
    "num_features": outputs.num_features,
    "num_target_classes": outputs.num_classes if targets is None else None,
    **_columns(estimates),
    "note": "; ".join(what.why for what in nothing.values()) or None,
    "seconds": round(seconds, 3),
    "examples_per_second": round(len(outputs) / seconds, 1),
    "devices": programs.all_device_count(),
    "version": version.__version__,
  }
  truth = outputs.labels if targets is None else targets
  return _Scored(row, estimates, undefined, truth)


def _columns(estimates):
  """Columns of a row: each score, its standard error and interval."""
  columns: dict[str, float | None] = {}
  for name, estimate in estimates.items():
    error = interval = None
    if estimate is not None:
      error, interval = estimate.standard_error, estimate.interval()
    columns[name] = None if estimate is None else estimate.value
    columns[f"{name}_se"] = error
    columns[f"{name}_low"], columns[f"{name}_high"] = interval or (None, None)
  return columns


class _Names:
  """Which scores were asked for; `all` and the default depend on targets."""

  def __init__(self, asked: list[str] | None):
    for name in asked or ():
      if name not in scores_lib.SCORES and name != "all":
        raise validation.unknown("score", name, (*scores_lib.SCORES, "all"))
    self._asked = asked
    self.chosen: list[str] = []

  def __call__(self, outputs: outputs_lib.Outputs) -> list[str]:
    """Returns them; the first source decides for all."""
    if not self.chosen:
      regression = outputs.has("targets")
      asked = self._asked or (_REGRESSION if regression else _CLASSIFICATION)
      fit = [
        name
        for name, score in scores_lib.SCORES.items()
        if any(outputs.has(kind) for kind in score.target_kinds)
      ]
      if not {*fit, "all"} & set(asked):
        kinds = ("real-valued targets", "classes")
        have, need = kinds if regression else kinds[::-1]
        raise validation.InputError(
          f"--scores={','.join(asked)} need {need}, but these are {have}"
        )
      self.chosen = [name for name in asked if name != "all"]
      if "all" in asked:
        self.chosen += [name for name in fit if name not in self.chosen]
    return self.chosen


def _score_models(models, overrides, names, dataset, on_row, on_error):
  """Scores each source on a data set, going on after one that fails."""
  for name in models:
    try:
      source = hosts.agree(
        functools.partial(catalog.load_source, name, overrides=overrides)
      )
      mine = hosts.share(len(dataset))
      progress = command.Progress(
        tables.short(name, 30), mine.stop - mine.start
      )
      compute = functools.partial(
        forward.compute_outputs,
        source,
        dataset,
        batch_size=_BATCH_SIZE.value,
        dtype=_DTYPE.value,
        progress=progress,
        over_hosts=True,
      )
      where = (dataset.name, dataset.split)
      scored = _score(name, names, where, compute, progress)
    except validation.DataError as e:  # would be the same for every source
      on_error(f"{e}")
      return
    except validation.InputError as e:
      on_error(f"{e}" if name in f"{e}" else f"{name}: {e}")
    except hosts.LostHost:
      raise
    except Exception as e:  # out of memory, say: the others are still scored
      failure = f"{name} failed: {type(e).__name__}: {validation.reason(e)}"
      if hosts.count() > 1:  # other hosts, which know nothing of it, wait
        raise hosts.LostHost(failure) from e
      on_error(failure)
    else:
      on_row(scored)


def _score_predictions(paths, names, on_row, on_error):
  """Scores each file of outputs, going on after one that fails."""
  first = None
  for path in paths:
    try:
      scored = _score_file(path, names)
      if first is not None and first.truth.ndim != scored.truth.ndim:
        raise validation.InputError(
          f"{first.row['model']} and {path} hold labels (classes) and targets "
          "(real numbers): their scores do not compare"
        )
    except validation.InputError as e:
      on_error(f"{e}" if path in f"{e}" else f"{path}: {e}")
      continue
    on_row(scored)
    if first is not None and not scored.same_examples(first):
      print(
        f"note: {first.row['model']} and {path} hold different labels, so "
        "their scores do not compare sources",
        file=sys.stderr,
      )
    first = first or scored


def _score_file(path, names):
  arrays: dict[str, Any] = validation.read_npz(path)
  if not {"labels", "targets"} & set(arrays):
    raise validation.InputError(
      "no array labels (classes) or targets (real numbers); the file has "
      f"{', '.join(arrays) or 'none'}"
    )
  known = ("probs", "logits", "features", "outputs", "labels", "targets")
  arrays = {key: arrays[key] for key in known if key in arrays}
  if "labels" in arrays:
    arrays["labels"] = data.plain_labels(arrays["labels"])
  if "labels" in arrays and _DATA.ignored():
    labels = arrays["labels"]
    kept = data.not_ignored(path, labels, _DATA.ignored())
    arrays = {
      key: array[kept] if array.shape[:1] == labels.shape else array
      for key, array in arrays.items()
    }
  outputs = outputs_lib.Outputs.from_arrays(**arrays, name=path)
  progress = command.Progress(tables.short(path, 30), len(outputs))
  where = ("predictions", "all")
  return _score(path, names, where, lambda: outputs, progress)


def _marks(scored, names):
  """Which sources cannot be told apart from the best, by score.

  None where there is nothing to compare: one source, or other examples.
  """
  if len(scored) < 2 or not all(map(scored[0].same_examples, scored)):
    return None
  return {
    name: jackknife.indistinguishable([s.estimates[name] for s in scored])
    for name in names
    if any(s.row[f"{name}_se"] is not None for s in scored)
  }


def _report(scored, names, marks):
  """Prints the table with what a reader needs to judge it."""
  rows = [s.row for s in scored]
  first = rows[0]
  count, kind = first["num_target_classes"], "class"
  if count is None:
    count, kind = scored[0].truth.shape[1], "target"
  print(
    f"{_where(first)}: {tables.count(first['num_examples'], 'example')}, "
    f"{tables.count(count, kind)}. Best first by {names[0]}.\n"
  )
  _print(tables.format_table(rows, names, marks=marks))
  print()
  groups = max(
    (len(e.deleted) for s in scored for e in s.estimates.values() if e),
    default=0,
  )
  if marks:
    print(
      "* best of its column, or not told apart from it (paired differences, "
      f"{jackknife.LEVEL:.0%})."
    )
  if groups:
    _print(f"± is one standard error, from {groups} groups of examples.")
  short = tables.short_names([row["model"] for row in rows])
  without: dict[tuple[str, str], list[str]] = {}
  for i, source in enumerate(scored):
    for name, why in source.undefined.items():
      without.setdefault((short[i], why), []).append(name)
    if source.row["note"] not in (None, *source.undefined.values()):
      _wrap(f"{short[i]}: {source.row['note']}")
  for (model, why), missing in without.items():
    stop = "" if why.endswith("?") else "."
    _wrap(f"{model} has no {', '.join(missing)}: {why}{stop}")
  saturated = [
    short[i]
    for i, source in enumerate(scored)
    if "h_score" in names
    and source.estimates["h_score"] is not None
    and (source.row["num_features"] or 0) >= source.row["num_examples"]
  ]
  if saturated:
    _wrap(
      f"h_score tells nothing of {validation.some(saturated)}: with no more "
      "examples than features it is the same for any source; "
      "regularized_h_score is not."
    )
  in_nats = [name for name in ("leep", "nce", "n_leep") if name in names]
  if in_nats and scored[0].truth.ndim == 1:
    *most, last = in_nats
    those = f"{', '.join(most)} and {last} are" if most else f"{last} is"
    _wrap(
      f"{those} in nats: 0 is perfect, "
      f"{-nce.task_hardness(scored[0].truth):z.4f} is a source that knows "
      "nothing."
    )
  count, several = first["devices"], ""
  if hosts.count() > 1:
    several = f" of {hosts.count()} processes"
  print(
    f"{count} {jax.default_backend()} device{'s' * (count > 1)}{several}; "
    f"{sum(r['seconds'] for r in rows):.1f} s, and "
    f"{programs.compile_seconds():.1f} s of compilation."
  )


def _wrap(text: str) -> None:
  print("\n".join(textwrap.wrap(text, tables.WIDTH, subsequent_indent="  ")))


def _where(row):
  """The data set and split of a row, in words."""
  return row["dataset"] + (f" {row['split']}" if row["split"] != "all" else "")


def _print(text):
  """Prints, also where the terminal has no plus-minus sign."""
  try:
    text.encode(sys.stdout.encoding or "utf-8")
  except UnicodeEncodeError:
    text = text.replace(" ± ", " +- ").replace("±", "+-")
  print(text)


def _draw(scored, names, marks, path):
  """Draws the ranking by the first score."""
  name = names[0]
  ends = [(s.row[f"{name}_low"], s.row[f"{name}_high"]) for s in scored]
  first = scored[0].row
  plots.ranking(
    tables.short_names([s.row["model"] for s in scored]),
    [s.row[name] for s in scored],
    [None if low is None else (low, high) for low, high in ends],
    score=name,
    title=f"{_where(first)}: {first['num_examples']:,} examples",
    marked=marks.get(name) if marks else None,
    path=path,
  )


def _start() -> None:
  """Joins the other processes, if there are any."""
  given = (_COORDINATOR.value, _PROCESSES.value, _PROCESS.value)
  if any(value is not None for value in given):
    if None in given:
      raise validation.InputError(
        "--coordinator, --processes and --process are given together"
      )
    hosts.start(
      coordinator=_COORDINATOR.value,
      processes=_PROCESSES.value,
      process=_PROCESS.value,
    )
  elif _DISTRIBUTED.value:
    hosts.start()


def _check_files() -> None:
  if _OUTPUT.value is not None:
    results.check_output(_OUTPUT.value)
  if _PLOT.value is not None:
    plots.check_plot(_PLOT.value)


def _check_predictions() -> None:
  """Refuses flags that say how outputs are made, where they are given."""
  for flag in (
    *_SOURCES.all, *_DATA.all, _TARGET, _BATCH_SIZE, _DTYPE, _DISTRIBUTED,
    _COORDINATOR, _PROCESSES, _PROCESS,
  ):  # fmt: skip
    if flag.present:
      raise validation.InputError(
        f"--{flag.name} has no meaning with --predictions, which hold outputs "
        "and labels"
      )


def _run() -> int:
  asked = None if _SCORES.value is None else command.names(_SCORES, "score")
  names = _Names(asked)
  validation.at_least_1("groups", _GROUPS.value)
  if _PREDICTIONS.value is not None:
    _check_predictions()
  _start()
  hosts.on_first_host(_check_files)
  if _BATCH_SIZE.value is not None:
    validation.at_least_1("batch_size", _BATCH_SIZE.value)
  scored: list[_Scored] = []
  failed: list[str] = []

  def on_error(message):
    failed.append(message)
    command.print_error(message)

  try:
    if _PREDICTIONS.value is not None:
      paths = command.names(_PREDICTIONS, "file")
      _score_predictions(paths, names, scored.append, on_error)
    else:
      models = _SOURCES.names()
      overrides = _SOURCES.overrides()
      dataset = hosts.agree(lambda: _DATA.load(target=_TARGET.value))
      _score_models(models, overrides, names, dataset, scored.append, on_error)
  except KeyboardInterrupt:
    print("\ninterrupted", file=sys.stderr)
    status = 130
  except hosts.LostHost as e:
    on_error(f"{e}")
    status = 1
  else:
    status = 2 if failed else 0
  if not scored:
    return status
  marks = _marks(scored, names.chosen)

  def write():
    if _OUTPUT.value:
      results.write_rows(_OUTPUT.value, [s.row for s in scored])
    if _PLOT.value:
      _draw(scored, names.chosen, marks, _PLOT.value)

  if status in (0, 2):  # first: printing can fail
    hosts.on_first_host(write)
  elif hosts.index() == 0:  # the others may be gone
    write()
  if hosts.index() == 0:
    _report(scored, names.chosen, marks)
  return status


def main(argv: list[str]) -> int:
  """Runs the command; returns its exit status.

  Args:
    argv: the program's name and its flags.
  """
  return command.main(argv, FLAGS, __doc__ or "", _run)


if __name__ == "__main__":
  sys.exit(main(sys.argv))
