r"""Ranks source models for a target data set, from one forward pass each.

    python -m leep_jax.score
    python -m leep_jax.score --model=resnet20@FILE.safetensors \
      --dataset=cifar100 --split=test --data_dir=DIR --output=scores.jsonl
    python -m leep_jax.score --dataset=digits,folder:photos --plot=map.png
    python -m leep_jax.score --predictions=a.npz,b.npz
    srun python -m leep_jax.score --distributed  # all processes, one job

Prints which source to start from, and a table, best first by `--rank_by`, each
score with its standard error. Exit status 0; 2 for an error in the input (one
line on standard error), 130 when interrupted. Sources that were finished before
are written and printed all the same. Of several processes the first one prints
and writes, and all have the same status; if one dies, the others stop with an
error.
"""

from collections.abc import Callable
import functools
import sys
import time

from absl import flags

from leep_jax import (
  asked_scores,
  command,
  common_flags,
  data,
  predictions as predictions_lib,
  progress,
  score_choice,
  score_dry_run,
  score_race,
  scores as scores_lib,
  source_flags,
  validation,
)
from leep_jax.engine import forward, hosts, outputs as outputs_lib, programs
from leep_jax.reports import (
  cautions,
  html_report,
  page_content,
  plots,
  results,
  score_report,
  scored_source,
  tables,
  target_table,
)
from leep_jax.scores import jackknife

# A set of flags for each command: modules of several commands can be imported
# without their flags colliding.
FLAGS = flags.FlagValues()
_SOURCES = source_flags.SourceFlags(FLAGS)
_DATA = common_flags.DataFlags(FLAGS)
_PREDICTIONS = flags.DEFINE_list(
  "predictions",
  None,
  "Instead of models and data: npz files, comma-separated, with labels ([n, T] "
  "of 0 and 1 for several an example; or targets), logits or probs, and maybe "
  "features (for f_otce also source_features and source_labels).",
  flag_values=FLAGS,
)
_TARGET = flags.DEFINE_string(
  "target",
  None,
  "For regression: the numeric feature of a TFDS data set, or the array of an "
  "npz file (default targets), that holds real-valued targets.",
  flag_values=FLAGS,
)
_SCORES = flags.DEFINE_list(
  "scores",
  None,
  "Scores, comma-separated, or all: "
  f"{', '.join(scores_lib.SCORES)}. Default: "
  f"{','.join(asked_scores.CLASSIFICATION)}; for regression "
  f"{','.join(asked_scores.REGRESSION)}; of several labels an example "
  f"{','.join(asked_scores.MULTI_LABEL)}.",
  flag_values=FLAGS,
)
_RANK_BY = flags.DEFINE_string(
  "rank_by",
  None,
  "The score that ranks. Default: the first of --scores.",
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
_MATRIX = flags.DEFINE_string(
  "matrix",
  None,
  "File for the score that ranks, a row for each source and a column for each "
  "data set, .csv or .jsonl; replaced.",
  flag_values=FLAGS,
)
_PLOT = flags.DEFINE_string(
  "plot",
  None,
  "File for a chart of the ranking with its intervals (of expected accuracy "
  "against speed, if probe_accuracy ranks; of several data sets, a heat map), "
  ".png, .pdf or .svg; replaced.",
  flag_values=FLAGS,
)
_REPORT = flags.DEFINE_string(
  "report",
  None,
  "File for one HTML page of the ranking, what a new head will confuse, labels "
  "that may be wrong and copies (which reads all examples once more), "
  ".html; replaced.",
  flag_values=FLAGS,
)
_RACING = score_race.RaceFlags(FLAGS)
_CHOOSE = score_choice.define(FLAGS)
_DRY_RUN = score_dry_run.define(FLAGS)
_HOSTS = common_flags.HostFlags(FLAGS)


def _score(
  name: str,
  asked: asked_scores.AskedScores,
  dataset: data.Dataset | None,
  make_outputs: Callable[[], outputs_lib.Outputs],
  count: progress.Progress,
  *,
  num_parameters: int | None = None,
  meter: progress.Meter | None = None,
) -> scored_source.ScoredSource:
  """Scores one source, and measures the time without compilation.

  Without a data set, the outputs are those of a file.
  """
  where, split = "predictions", "all"
  if dataset is not None:
    where, split = dataset.name, dataset.split
  start, compiled = time.perf_counter(), programs.compile_seconds()
  undefined: dict[str, str] = {}
  try:
    outputs = make_outputs()
    # Speeds compare sources, and those of one architecture compile only once.
    passed = time.perf_counter() - start
    passed -= programs.compile_seconds() - compiled
    nothing = scores_lib.uninformative(outputs)
    estimates = scores_lib.estimate_scores(
      outputs,
      names=asked.names(outputs),
      groups=_GROUPS.value,
      on_score=count.scoring,
      on_undefined=undefined.__setitem__,
    )
    for score, why in cautions.meaningless(estimates, outputs, nothing):
      estimates[score], undefined[score] = None, why
  finally:
    count.clear()
  seconds = time.perf_counter() - start
  seconds -= programs.compile_seconds() - compiled
  row = scored_source.make_row(
    name,
    outputs,
    estimates,
    dataset=where,
    split=split,
    seconds=seconds,
    # Outputs that were computed elsewhere say nothing of a forward pass.
    examples_per_second=(meter and meter.rate())
    or (len(outputs) / passed if num_parameters else None),
    num_parameters=num_parameters,
    note="; ".join(what.why for what in nothing.values()) or None,
    inputs="images" if dataset is None else dataset.noun,
  )
  (targets,) = outputs.targets_by_name.values()
  predictions = None
  if _REPORT.value:
    predictions = page_content.predictions(outputs, nothing)
  return scored_source.ScoredSource(
    row,
    estimates,
    undefined,
    targets,
    cautions.of_source(
      name,
      outputs,
      dataset=where,
      class_names=None if dataset is None else dataset.class_names,
      droppable=num_parameters is not None and not _DATA.drops_duplicates,
    ),
    predictions,
    dataset,
  )


def _score_models(models, overrides, asked, datasets, choice, on_row, on_error):
  """Scores each source on the data sets, going on after one that fails."""
  usable = list(datasets)
  for name in models:
    load = functools.partial(command.load_source, name, overrides=overrides)
    source = None
    for dataset in list(usable):
      try:
        source = source or hosts.agree(load)
        on_row(_score_model(name, source, asked, dataset, choice))
      except validation.DataError as e:
        # Every other source would meet the same mistake in the data.
        on_error(f"{e}")
        usable.remove(dataset)
        continue
      except validation.InputError as e:
        on_error(f"{e}" if name in f"{e}" else f"{name}: {e}")
      except hosts.LostHost:
        raise
      except Exception as e:
        # Such as out of memory: smaller sources can still be scored.
        failure = f"{name} failed: {type(e).__name__}: {validation.reason(e)}"
        # Other hosts know nothing of it and would wait for this one.
        if hosts.count() > 1:
          raise hosts.LostHost(failure) from e
        on_error(failure)
      if source is None:
        break


def _score_model(name, source, asked, dataset, choice):
  mine = hosts.share(len(dataset))
  count = progress.Progress(
    tables.short(name, 30), total=mine.stop - mine.start, unit=dataset.noun
  )
  meter = progress.Meter(count)
  compute = functools.partial(
    forward.compute_outputs,
    source,
    dataset,
    batch_size=_BATCH_SIZE.value,
    dtype=_DTYPE.value,
    progress=meter,
    over_hosts=True,
  )
  return _score(
    name,
    asked,
    dataset,
    choice.keeping(name, compute),
    count,
    num_parameters=source.num_parameters,
    meter=meter,
  )


def _race_models(models, overrides, asked, datasets, race, on_row, on_error):
  """Scores sources in races, see `score_race`."""
  sizes: dict[str, int] = {}

  def load(name):
    source = command.load_source(name, overrides=overrides)
    sizes[name] = source.num_parameters
    return source

  def score(name, outputs, dataset):
    count = progress.Progress(tables.short(name, 30), total=len(outputs))
    return _score(
      name, asked, dataset, lambda: outputs, count, num_parameters=sizes[name]
    )

  score_race.run(
    race,
    models,
    datasets,
    rank_by=lambda dataset: asked.names(score_race.like(dataset))[0],
    load=load,
    score=score,
    batch_size=_BATCH_SIZE.value,
    dtype=_DTYPE.value,
    on_row=on_row,
    on_error=on_error,
  )


def _score_predictions(paths, asked, choice, on_row, on_error):
  """Scores each file of outputs, going on after one that fails."""
  first = None
  for path in paths:
    try:
      scored = _score_file(path, asked, choice)
      if first is not None and first.kind != scored.kind:
        kinds = [scores_lib.TARGET_KINDS[s.kind] for s in (first, scored)]
        raise validation.InputError(
          f"{first.row['model']} and {path} hold {' and '.join(kinds)}: their "
          "scores do not compare"
        )
    except validation.InputError as e:
      on_error(f"{e}" if path in f"{e}" else f"{path}: {e}")
      continue
    on_row(scored)
    if first is not None and not scored.has_same_targets(first):
      progress.write(
        f"note: {first.row['model']} and {path} hold different labels, so "
        "their scores do not compare sources"
      )
    first = first or scored


def _score_file(path, asked, choice):
  """Scores the outputs in a file."""
  outputs = predictions_lib.read(path, ignored=_DATA.ignored())
  count = progress.Progress(tables.short(path, 30), total=len(outputs))
  return _score(path, asked, None, choice.keeping(path, lambda: outputs), count)


def _check_files() -> None:
  """Refuses files that could not be written at the end."""
  for flag, check in (
    (_OUTPUT, results.check_output),
    (_MATRIX, results.check_output),
    (_PLOT, plots.check_plot),
    (_REPORT, html_report.check),
  ):
    if flag.value is not None:
      check(flag.value)


def _check_predictions() -> None:
  """Refuses flags of sources and data, which files of outputs do not need."""
  for flag in (
    *_SOURCES.all, *_DATA.all, _TARGET, _BATCH_SIZE, _DTYPE, *_RACING.all,
    *_HOSTS.all, _DRY_RUN,
  ):  # fmt: skip
    if flag.present:
      raise validation.InputError(
        f"--{flag.name} has no meaning with --predictions, which hold outputs "
        "and labels"
      )


def _score_all(
  asked: asked_scores.AskedScores,
  scored: list[scored_source.ScoredSource],
  race: score_race.RaceReport | None,
  choice: score_choice.Choosing,
) -> int:
  """Appends every source to `scored`; returns the exit status."""
  failed: list[str] = []

  def note(message):
    failed.append(message)
    command.print_error(message)

  try:
    if _PREDICTIONS.value is not None:
      paths = common_flags.names(_PREDICTIONS, "file")
      choice.check(paths)
      _score_predictions(paths, asked, choice, scored.append, note)
    else:
      models = _SOURCES.names()
      overrides = _SOURCES.overrides()
      most = 1 if _REPORT.value else None
      datasets = hosts.agree(
        lambda: _DATA.load_all(target=_TARGET.value, most=most)
      )
      for dataset in datasets:
        _SOURCES.check_default(dataset)
      choice.check(models, datasets=datasets, scores=asked.names)
      if _DRY_RUN.value:
        return score_dry_run.run(
          models, datasets, overrides=overrides, dtype=_DTYPE.value,
          batch_size=_BATCH_SIZE.value, raced=race is not None,
        )  # fmt: skip
      work = (models, overrides, asked)
      if race is not None:
        _race_models(*work, datasets, race, scored.append, note)
      else:
        _score_models(*work, datasets, choice, scored.append, note)
  except KeyboardInterrupt:
    print("\ninterrupted", file=sys.stderr)
    return 130
  except hosts.LostHost as e:
    command.print_error(e)
    return 1
  return 2 if failed else 0


def _write(scored, asked, status, race, choice):
  """Writes the files and prints the table; returns the exit status."""
  found = target_table.targets(scored, asked.of, left=race.rows if race else ())
  for target in found:
    first = asked.of(target.scored[0].kind)[0]
    if _RANK_BY.value and target.rank_by != first and hosts.index() == 0:
      progress.write(
        f"note: no source has {first}: {target.rank_by} ranks instead"
      )
  one = found[0] if len(found) == 1 else None
  if one and status in (0, 2):
    status = choice.choose(one.scored, one.rank_by) or status

  def write():
    if _OUTPUT.value:
      rows = [source.row for source in scored]
      results.write_rows(_OUTPUT.value, rows + (race.rows if race else []))
    if _MATRIX.value:
      target_table.write_matrix(found, _MATRIX.value)
    if _PLOT.value and one:
      score_report.draw(one.scored, one.names, one.best, path=_PLOT.value)
    elif _PLOT.value:
      target_table.draw(found, _PLOT.value)
    if _REPORT.value and one:
      count = progress.Progress("searching for copies", unit="examples")
      page_content.write(
        _REPORT.value,
        scored,
        one.names,
        best=one.best,
        command=command.line("leep_jax.score", FLAGS),
        search=status in (0, 2),
        progress=count,
      )
      count.clear()

  # Files come first: whoever reads the table may close the pipe.
  if status in (0, 2):
    hosts.on_first_host(write)
  elif hosts.index() == 0:  # no collective: other hosts may have died
    write()
  if hosts.index() == 0:
    if one:
      text = score_report.format_report(scored, one.names, one.best)
    else:
      text = target_table.format_report(found)
    more = choice.lines if race is None else [race.text()]
    command.print_text("\n".join([text, *more]))
  return status


def _run() -> int:
  asked = asked_scores.AskedScores(
    None if _SCORES.value is None else common_flags.names(_SCORES, "score"),
    _RANK_BY.value,
  )
  validation.at_least_1("groups", _GROUPS.value)
  if _PREDICTIONS.value is not None:
    _check_predictions()
  _HOSTS.start()
  hosts.on_first_host(_check_files)
  if _BATCH_SIZE.value is not None:
    validation.at_least_1("batch_size", _BATCH_SIZE.value)
  race = _RACING.report()
  choice = score_choice.Choosing(
    _CHOOSE.value, groups=_GROUPS.value, raced=race is not None
  )
  scored: list[scored_source.ScoredSource] = []
  status = _score_all(asked, scored, race, choice)
  return _write(scored, asked, status, race, choice) if scored else status


def main(argv: list[str]) -> int:
  """Runs the command; returns its exit status.

  Args:
    argv: the program's name and its flags.

  Example:
    >>> from leep_jax import score
    >>> score.main(
    ...   ["score", "--model=fashion_mnist_resnet8", "--limit=100",
    ...    "--scores=nce", "--groups=1"]
    ... )
    digits: 100 examples, 10 classes. Best first by nce.
    <BLANKLINE>
       model                      nce  images/s  parameters
    1  fashion_mnist_resnet8  -1...
    0
  """
  return command.main(argv, FLAGS, __doc__ or "", _run)


script = command.script(main)  # `leep-score`

if __name__ == "__main__":
  sys.exit(script())
