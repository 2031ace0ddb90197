"""Computes every score of four real sources on three real data sets.

    python -m experiments.benchmarks.real_scores --data_dir=DIR --weights=DIR

Purpose: what are the values, standard errors and durations of all scores on
real data, and are the standard errors right? The folder `--weights` contains
`resnet{20,32,44,56}_cifar10.safetensors`, the folder `--data_dir` the TFDS data
sets.

Cost: about six minutes on two CPU cores.

What came out is in `experiments/results/scores.md`. The columns s have the
seconds to compute one score with its standard error from stored outputs, after
compilation (in the second of two runs). An asterisk marks the best source of a
row and those that cannot be distinguished from it. The second table of each
data set compares the standard error of a score with what it estimates: the
standard deviation of the score over disjoint samples.
"""

import time
from typing import Any

from absl import app, flags
import numpy as np

import leep_jax
from leep_jax.engine import programs
from leep_jax.reports import tables
from leep_jax.scores import jackknife

_DATA_DIR = flags.DEFINE_string(
  "data_dir", None, "Folder of TFDS data sets.", required=True
)
_WEIGHTS = flags.DEFINE_string(
  "weights", None, "Folder of checkpoints.", required=True
)
_DATASETS = flags.DEFINE_list(
  "datasets", ["cifar10", "cifar100", "fashion_mnist"], "TFDS data sets."
)
_LIMIT = flags.DEFINE_integer("limit", None, "Use this many examples.")
_ARCHITECTURES = ("resnet20", "resnet32", "resnet44", "resnet56")
# Scores of class labels; the others are for regression.
NAMES = [
  n for n, row in leep_jax.SCORES.items() if "labels" in row.target_kinds
]


def measure(outputs):
  """Returns the estimate of each score, and the seconds that it took."""
  estimates, seconds = {}, {}
  for name in NAMES:
    for _ in range(2):  # the first run compiles
      # Outputs keep the sums that they have computed; this copy has none yet.
      fresh = outputs.with_features(outputs.store).grouped(jackknife.GROUPS)
      start, compiled = time.perf_counter(), programs.compile_seconds()
      estimates.update(leep_jax.estimate_scores(fresh, names=[name]))
      seconds[name] = time.perf_counter() - start
      seconds[name] -= programs.compile_seconds() - compiled
  return estimates, seconds


def report(dataset: str) -> None:
  """Prints the tables of one data set."""
  data = leep_jax.load_dataset(
    dataset, split="test", data_dir=_DATA_DIR.value, limit=_LIMIT.value
  )
  estimates: dict[str, Any] = {}
  seconds: dict[str, dict[str, float]] = {}
  for arch in _ARCHITECTURES:
    path = f"{_WEIGHTS.value}/{arch}_cifar10.safetensors"
    source = leep_jax.load_source(f"{arch}@{path}")
    start, compiled = time.perf_counter(), programs.compile_seconds()
    outputs = leep_jax.compute_outputs(source, data)
    forward = time.perf_counter() - start
    forward -= programs.compile_seconds() - compiled
    if not seconds:
      kept = outputs
    estimates[arch], seconds[arch] = measure(outputs)
    seconds[arch]["forward pass"] = forward
  print(f"## {dataset} test, {len(data):,} examples\n")
  heads = [f"{arch} | s" for arch in _ARCHITECTURES]
  print(f"| score | {' | '.join(heads)} |")
  print("|---" * (1 + 2 * len(heads)) + "|")
  for name in NAMES:
    row = [estimates[arch][name] for arch in _ARCHITECTURES]
    marks = jackknife.indistinguishable(row)
    cells = tables.cells(
      [e and e.value for e in row], [e and e.standard_error for e in row]
    )
    columns = [
      f"{cell}{'*' if mark else ''} | {seconds[arch][name]:.2f}"
      for cell, mark, arch in zip(cells, marks, _ARCHITECTURES, strict=True)
    ]
    print(f"| {name} | {' | '.join(columns)} |", flush=True)
  times = [f" | {seconds[a]['forward pass']:.2f}" for a in _ARCHITECTURES]
  print(f"| (forward pass) | {' |'.join(times)} |\n", flush=True)
  calibrate(kept, dataset, samples=20)


def calibrate(outputs, dataset: str, *, samples: int) -> None:
  """Compares standard errors with the spread of scores over samples."""
  order = np.random.default_rng(0).permutation(len(outputs))
  size = len(outputs) // samples
  values: dict[str, list[float]] = {name: [] for name in NAMES}
  errors: dict[str, list[float]] = {name: [] for name in NAMES}
  for i in range(samples):
    sample = outputs.select(order[i * size : (i + 1) * size])
    for name, estimate in leep_jax.estimate_scores(sample, names=NAMES).items():
      if estimate is not None and estimate.standard_error is not None:
        values[name].append(estimate.value)
        errors[name].append(estimate.standard_error)
  print(
    f"## Standard errors of {samples} disjoint samples of {size} examples of "
    f"{dataset}, {_ARCHITECTURES[0]}\n"
  )
  print("| score | their spread | their mean standard error | ratio |")
  print("|---|---|---|---|")
  for name in NAMES:
    if len(values[name]) > 1:
      spread, error = np.std(values[name], ddof=1), np.mean(errors[name])
      print(f"| {name} | {spread:.3g} | {error:.3g} | {error / spread:.2f} |")
  print(flush=True)


def main(argv):
  if len(argv) > 1:
    raise app.UsageError(f"unexpected arguments: {' '.join(argv[1:])}")
  for dataset in _DATASETS.value:
    report(dataset)


if __name__ == "__main__":
  app.run(main)
