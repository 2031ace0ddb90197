r"""Ranks source models for a target data set, from one forward pass each.

    python -m leep_jax.score
    python -m leep_jax.score --model=resnet20@FILE.safetensors \
      --dataset=cifar100 --split=test --data_dir=DIR --output=scores.jsonl
    python -m leep_jax.score --predictions=a.npz,b.npz

Prints a table, best first by the first score named. Exit status 0; 2 for a
mistake in what was asked (one line on standard error), 130 when interrupted.
Rows of the sources that were finished are written and printed all the same.
"""

from collections.abc import Callable
import functools
import os
import sys
import time
from typing import Any

from absl import flags, logging
import jax
import numpy as np

import leep_jax
from leep_jax import (
  checks,
  data,
  devices,
  forward,
  outputs as outputs_lib,
  results,
  scores as scores_lib,
)
from leep_jax.models import zoo

# Flags of this command alone, so that several commands can be imported.
FLAGS = flags.FlagValues()
_MODEL = flags.DEFINE_list(
  "model",
  None,
  "Sources, comma-separated: a bundled name, ARCH@CHECKPOINT, or "
  "package.module:factory. Default: all bundled sources.",
  flag_values=FLAGS,
)
_DATASET = flags.DEFINE_string(
  "dataset",
  "digits",
  "Target data: a TFDS name, digits, folder:DIR (one sub-folder of images per "
  "class), or npz:FILE (arrays images, labels).",
  flag_values=FLAGS,
)
_SPLIT = flags.DEFINE_string(
  "split",
  None,
  "TFDS split, slices such as train[:20%] included (default train), or a "
  "folder's sub-folder.",
  flag_values=FLAGS,
)
_DATA_DIR = flags.DEFINE_string(
  "data_dir", None, "Where prepared TFDS data sets are.", flag_values=FLAGS
)
_PREDICTIONS = flags.DEFINE_list(
  "predictions",
  None,
  "Instead of models and data: npz files of outputs, comma-separated, each "
  "with logits or probs, labels, and optionally features.",
  flag_values=FLAGS,
)
_SCORES = flags.DEFINE_list(
  "scores",
  ["leep", "nce", "h_score", "eep_accuracy"],
  f"Scores, comma-separated, of: {', '.join(scores_lib.SCORES)}. The first "
  "one ranks.",
  flag_values=FLAGS,
)
_LIMIT = flags.DEFINE_integer(
  "limit",
  None,
  "Use this many examples, drawn at random but always the same.",
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

_WIDTH = 80


class _Progress:
  """A line on standard error that counts examples; only on a terminal."""

  def __init__(self, label: str, total: int):
    self._label, self._total = label, total
    self._shown = sys.stderr.isatty()
    self._start = time.perf_counter()
    self._show(f"{label}: compiling")

  def _show(self, text):
    if self._shown:
      print(
        f"\r\033[K{text[: _WIDTH - 1]}", end="", file=sys.stderr, flush=True
      )

  def __call__(self, done: int) -> None:
    rate = done / (time.perf_counter() - self._start)
    left = (self._total - done) / rate
    self._show(
      f"{self._label}: {done:,}/{self._total:,} images  {rate:,.0f}/s  "
      f"{left:.0f} s left"
    )

  def clear(self) -> None:
    self._show("")


def _row(
  name: str,
  names: list[str],
  dataset: tuple[str, str],
  make_outputs: Callable[[], outputs_lib.Outputs],
) -> tuple[dict[str, Any], np.ndarray]:
  """Scores one source: its row, timed without compilation, and the labels."""
  start, compiled = time.perf_counter(), devices.compile_seconds()
  outputs = make_outputs()
  values = scores_lib.compute_scores(outputs, names=names)
  seconds = time.perf_counter() - start
  seconds -= devices.compile_seconds() - compiled
  row = {
    "model": name,
    "dataset": dataset[0],
    "split": dataset[1],
    "num_examples": len(outputs),
    "num_source_classes": outputs.num_source_classes,
    "num_target_classes": outputs.num_classes,
    **values,
    "seconds": round(seconds, 3),
    "examples_per_second": round(len(outputs) / seconds, 1),
    "devices": devices.device_count(),
    "version": leep_jax.__version__,
  }
  return row, outputs.labels


def _score_models(models, names, dataset, on_row, on_error):
  """Scores each source on a data set, going on after one that fails."""
  for name in models:
    progress = _Progress(_short(name, 30), len(dataset))
    try:
      compute = functools.partial(
        forward.compute_outputs,
        zoo.load_source(name),
        dataset,
        batch_size=_BATCH_SIZE.value,
        dtype=_DTYPE.value,
        progress=progress,
      )
      scored = _row(name, names, (dataset.name, dataset.split), compute)
    except checks.InputError as e:
      progress.clear()
      on_error(f"{e}" if name in f"{e}" else f"{name}: {e}")
    else:
      progress.clear()
      on_row(*scored)


def _score_predictions(paths, names, on_row, on_error):
  """Scores each file of outputs, going on after one that fails."""
  first = None
  for path in paths:
    try:
      row, labels = _prediction_row(path, names)
    except checks.InputError as e:
      on_error(f"{e}" if path in f"{e}" else f"{path}: {e}")
      continue
    on_row(row, labels)
    if first is not None and not np.array_equal(first[1], labels):
      print(
        f"note: {first[0]} and {path} hold different labels, so their scores "
        "do not compare sources",
        file=sys.stderr,
      )
    first = first or (path, labels)


def _prediction_row(path, names):
  arrays: dict[str, Any] = checks.read_npz(path)
  if "labels" not in arrays:
    raise checks.InputError(
      f"no array labels; the file has {', '.join(arrays) or 'none'}"
    )
  known = ("probs", "logits", "features", "labels")
  arrays = {key: arrays[key] for key in known if key in arrays}
  outputs = outputs_lib.Outputs.from_arrays(**arrays, name=path)
  return _row(path, names, ("predictions", "all"), lambda: outputs)


def _short(name: str, width: int, *, folders: int = 0) -> str:
  """`ARCH@long/path/FILE.safetensors` as `ARCH@FILE`, cut in the middle.

  Args:
    name: of a source.
    width: most columns to use.
    folders: how many of the file's folders to keep.
  """
  arch, at, path = name.rpartition("@")
  path = "/".join(path.rstrip("/").split("/")[-1 - folders :])
  path = path.removesuffix(".safetensors").removesuffix(".npz")
  name = arch + at + path
  if len(name) <= width:
    return name
  tail = (width - 2) // 2
  return f"{name[: width - 2 - tail]}..{name[-tail:]}"


def _short_names(names: list[str], width: int = 28) -> list[str]:
  """Short names that tell sources apart, with folders where they must."""
  for folders in range(4):
    short = [_short(name, width, folders=folders) for name in names]
    if len(set(short)) == len(set(names)):  # as different as they were
      return short
  return [f"{name[: width - 4]} #{i + 1}" for i, name in enumerate(short)]


def format_table(rows: list[dict[str, Any]], names: list[str]) -> str:
  """Formats rows as a ranked table of at most 80 columns.

  Args:
    rows: as `--output` writes them.
    names: scores to show; the first one ranks, best first.

  Returns:
    Lines without a final newline; scores that do not fit go into further
    blocks below.
  """
  ranked = sorted(
    rows,
    key=lambda row: (row[names[0]] is None, -(row[names[0]] or 0.0)),
  )
  ranks = [str(i + 1) for i in range(len(rows))]
  models = ["model", *_short_names([row["model"] for row in ranked])]
  left = [max(map(len, ranks)), max(map(len, models))]
  columns = [[name, *(_number(row[name]) for row in ranked)] for name in names]
  rates = [f"{row['examples_per_second']:,.0f}" for row in ranked]
  columns.append(["images/s", *rates])
  blocks: list[list[list[str]]] = []
  used = _WIDTH
  for column in columns:
    width = max(map(len, column)) + 2
    if used + width > _WIDTH:
      blocks.append([])
      used = sum(left) + 2
    blocks[-1].append([cell.rjust(width) for cell in column])
    used += width
  lines = []
  for block in blocks:
    lines.append("")
    for i, (rank, model) in enumerate(zip(["", *ranks], models, strict=True)):
      cells = "".join(column[i] for column in block)
      lines.append(f"{rank:>{left[0]}}  {model:<{left[1]}}{cells}")
  return "\n".join(lines[1:])


def _number(value: float | None) -> str:
  return "-" if value is None else f"{value:.4f}"


def _report(rows, names, labels):
  """Prints the table with what a reader needs to judge it."""
  first = rows[0]
  where = first["dataset"]
  if first["split"] != "all":
    where += f" {first['split']}"
  print(
    f"{where}: {first['num_examples']:,} examples, "
    f"{first['num_target_classes']} classes. Best first by {names[0]}.\n"
  )
  print(format_table(rows, names))
  print()
  short = _short_names([row["model"] for row in rows])
  for name in names:
    without = [short[i] for i, row in enumerate(rows) if row[name] is None]
    if without:
      needs = scores_lib.SCORES[name].needs
      print(
        f"{name} is undefined for {', '.join(without)}: no {needs}, or none "
        "that it can use"
      )
  if {"leep", "nce"} & set(names):
    print(
      "leep and nce are in nats: 0 is perfect, "
      f"{-leep_jax.task_hardness(labels):.4f} is a source that knows nothing."
    )
  count = first["devices"]
  print(
    f"{count} {jax.default_backend()} device{'s' * (count > 1)}; "
    f"{sum(r['seconds'] for r in rows):.1f} s, and "
    f"{devices.compile_seconds():.1f} s of compilation."
  )


def _names(flag, what):
  names = [name.strip() for name in flag.value]
  if not names or not all(names):
    raise checks.InputError(f"--{flag.name} has an empty {what}")
  return list(dict.fromkeys(names))


def _run() -> int:
  names = _names(_SCORES, "score")
  for name in names:
    if name not in scores_lib.SCORES:
      raise checks.unknown("score", name, scores_lib.SCORES)
  if _OUTPUT.value is not None:
    results.check_output(_OUTPUT.value)
  if _BATCH_SIZE.value is not None:
    checks.at_least_1("batch_size", _BATCH_SIZE.value)
  rows: list[dict[str, Any]] = []
  labels: list[np.ndarray] = []
  failed: list[str] = []

  def on_row(row, its_labels):
    rows.append(row)
    labels.append(its_labels)

  def on_error(message):
    failed.append(message)
    print(f"error: {message}", file=sys.stderr)

  try:
    if _PREDICTIONS.value is not None:
      for flag in (
        _MODEL, _DATASET, _SPLIT, _DATA_DIR, _LIMIT, _BATCH_SIZE, _DTYPE,
      ):  # fmt: skip
        if flag.present:
          raise checks.InputError(
            f"--{flag.name} has no meaning with --predictions, which hold "
            "outputs and labels"
          )
      paths = _names(_PREDICTIONS, "file")
      _score_predictions(paths, names, on_row, on_error)
    else:
      models = zoo.names()
      if _MODEL.value is not None:
        models = _names(_MODEL, "source")
      for name in models:
        zoo.check_source(name)
      dataset = data.load_dataset(
        _DATASET.value,
        split=_SPLIT.value,
        data_dir=_DATA_DIR.value,
        limit=_LIMIT.value,
      )
      _score_models(models, names, dataset, on_row, on_error)
  except KeyboardInterrupt:
    print("\ninterrupted", file=sys.stderr)
    status = 130
  else:
    status = 2 if failed else 0
  if rows and _OUTPUT.value:  # first: printing can fail
    results.write_rows(_OUTPUT.value, rows)
  if rows:
    _report(rows, names, labels[0])
  return status


def main(argv: list[str]) -> int:
  """Runs the command; returns its exit status.

  Args:
    argv: the program's name and its flags.
  """
  logging.set_verbosity(logging.ERROR)
  if {"--help", "-h", "-help"} & set(argv):
    print(f"{__doc__}\n{FLAGS.get_help()}")
    return 0
  try:
    rest = FLAGS(argv)[1:]
    if rest:
      raise checks.InputError(
        f"unexpected argument {rest[0]!r}: options are written --name=value"
      )
    status = _run()
    sys.stdout.flush()
    return status
  except (checks.InputError, flags.Error) as e:
    print(f"error: {checks.reason(e)}", file=sys.stderr)
    return 2
  except KeyboardInterrupt:
    print("\ninterrupted", file=sys.stderr)
    return 130
  except BrokenPipeError:  # whoever read the table has seen enough of it
    os.dup2(os.open(os.devnull, os.O_WRONLY), sys.stdout.fileno())
    return 0


if __name__ == "__main__":
  sys.exit(main(sys.argv))
