"""Measures the speed of `probe_accuracy`, as ratios within one run.

    python -m experiments.benchmarks.probe

Purpose: what do held-out predictions cost? The script compares
`probe_accuracy` with the moments of the features alone, which all scores of
features share, and with scikit-learn's `RidgeClassifierCV` on the same
standardised features and penalties.

Cost: minutes on two CPU cores. Times are of the processor, of all threads, so
that other jobs of the machine hardly matter; with `OPENBLAS_NUM_THREADS=1`,
threads that wait take none. They are medians of interleaved repetitions, after
compilation, which has a column of its own, in seconds of the clock.

What came out is in `experiments/results/probe_speed.md`.
"""

import statistics
import time

from absl import app, flags
import numpy as np
import sklearn.linear_model

from experiments.benchmarks import timing
import leep_jax
from leep_jax.engine import programs
from leep_jax.scores import moments, ridge

_REPEATS = flags.DEFINE_integer(
  "repeats", 5, "Number of repetitions of each timing."
)
_ONLY = flags.DEFINE_list("only", None, "Rows of the table, counted from 0.")
# Examples, features and classes, and whether scikit-learn takes part: it keeps
# an array of examples, classes and penalties, and takes minutes for the others.
_SIZES = (
  (2_000, 64, 10, True),
  (10_000, 512, 10, True),
  (10_000, 512, 1_000, False),
  (1_000, 2_048, 10, True),
  (20_000, 2_048, 10, False),
  (1_000_000, 64, 10, False),
)


def features(n: int, width: int, classes: int) -> tuple[np.ndarray, np.ndarray]:
  """Returns features `[n, width]`, Gaussian in each class, and labels."""
  rng = np.random.default_rng(0)
  labels = rng.integers(0, classes, n)
  centres = rng.normal(size=(classes, width)).astype(np.float32) / 4
  values = rng.standard_normal((n, width), np.float32)
  return values + centres[labels], labels


def measure(n: int, width: int, classes: int, *, compare: bool) -> None:
  """Prints one row of the table."""
  values, labels = features(n, width, classes)

  def outputs():
    return leep_jax.Outputs.from_arrays(features=values, labels=labels)

  def scikit_learn():
    scaled = (values - values.mean(axis=0)) / values.std(axis=0)
    sklearn.linear_model.RidgeClassifierCV(
      n * np.array(ridge.PENALTIES), store_cv_results=True
    ).fit(scaled, labels)

  def probe():
    leep_jax.probe_accuracy(values, labels)

  functions = [probe, lambda: moments.moments(outputs())]
  if compare:
    functions.append(scikit_learn)
  before = programs.compile_seconds()
  seconds = [_seconds(function) for function in functions]  # compiles
  compilation = programs.compile_seconds() - before
  repeats = [[_seconds(f) for f in functions] for _ in range(_REPEATS.value)]
  seconds = [statistics.median(x) for x in zip(*repeats, strict=True)]
  theirs = f"{seconds[2] / seconds[0]:.1f}" if compare else "-"
  print(
    f"| {n:,} x {width:,}, {classes:,} classes | {1e3 * seconds[0]:.0f} | "
    f"{compilation:.1f} | {seconds[0] / seconds[1]:.1f} | {theirs} |",
    flush=True,
  )


def _seconds(function):
  start = time.process_time()
  function()
  return time.process_time() - start


def main(argv):
  if len(argv) > 1:
    raise app.UsageError(f"unexpected arguments: {' '.join(argv[1:])}")
  timing.versions()
  print(
    "| features | CPU ms | compilation, s | over the moments | "
    "scikit-learn over it |\n|---|---|---|---|---|"
  )
  for row, (*size, compare) in enumerate(_SIZES):
    if not _ONLY.value or str(row) in _ONLY.value:
      measure(*size, compare=compare)


if __name__ == "__main__":
  app.run(main)
