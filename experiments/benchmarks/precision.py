"""Compares a forward pass in bfloat16 with one in float32.

    python -m experiments.benchmarks.precision --data_dir=DIR --weights=DIR

Purpose: how much does `--dtype=bfloat16` change scores, and the speed?
`experiments/guide/models.md` states the tolerance: 0.02 nats for LEEP, 0.1 nats
for NCE (the most probable source label can change if two are close) and 2 % for
H-score. The sources are the bundled ones and, with `--weights`, the checkpoints
in DIR: `ARCH_*.safetensors` files and `mobilenet_v1_WIDTH_SIZE` folders.
Statistics are float32 in both cases.

Cost: about five minutes on two CPU cores.

What came out is in `experiments/results/precision.md`: all differences are
within the tolerance. CPUs have no fast bfloat16 arithmetic, so the speeds there
do not apply to accelerators.
"""

import pathlib
import sys
import time

from absl import flags

from experiments.benchmarks import timing
import leep_jax
from leep_jax import command
from leep_jax.engine import programs
from leep_jax.sources import catalog

FLAGS = flags.FlagValues()
_DATASET = flags.DEFINE_string(
  "dataset", "digits", "Target data set.", flag_values=FLAGS
)
_SPLIT = flags.DEFINE_string(
  "split", None, "Split of a TFDS data set.", flag_values=FLAGS
)
_DATA_DIR = flags.DEFINE_string(
  "data_dir", None, "Folder of TFDS data sets.", flag_values=FLAGS
)
_WEIGHTS = flags.DEFINE_string(
  "weights", None, "Folder of checkpoints.", flag_values=FLAGS
)
_LIMIT = flags.DEFINE_integer(
  "limit", 1000, "Use this many examples.", flag_values=FLAGS
)
# Maps the width in a folder's name to the width in the architecture's name.
_WIDTHS = {"0.25": "025", "0.5": "050", "0.75": "075", "1.0": "100"}
# The largest difference, and whether it is relative to the score, by score.
TOLERANCE = {
  "leep": (0.02, False),
  "nce": (0.1, False),
  "h_score": (0.02, True),
}


def sources() -> list[str]:
  """Returns the names of bundled sources and of those in `--weights`."""
  names = list(catalog.names())
  if _WEIGHTS.value:
    folder = pathlib.Path(_WEIGHTS.value)
    for path in sorted(folder.glob("*.safetensors")):
      names.append(f"{path.name.partition('_')[0]}@{path}")
    for path in sorted(folder.glob("mobilenet_v1_*_*")):
      width = _WIDTHS[path.name.split("_")[2]]
      names.append(f"mobilenet_v1_{width}@{path}")
  return names


def measure(source, dataset, dtype):
  """Returns scores, and images per second without compilation."""
  start, compiled = time.perf_counter(), programs.compile_seconds()
  outputs = leep_jax.compute_outputs(source, dataset, dtype=dtype)
  seconds = time.perf_counter() - start - programs.compile_seconds() + compiled
  scores = leep_jax.compute_scores(outputs, names=list(TOLERANCE))
  return scores, len(dataset) / seconds


def _run() -> int:
  dataset = leep_jax.load_dataset(
    _DATASET.value,
    split=_SPLIT.value,
    data_dir=_DATA_DIR.value,
    limit=_LIMIT.value,
  )
  timing.header()
  for name in sources():
    source = leep_jax.load_source(name)
    exact, speed = measure(source, dataset, "float32")
    rough, fast = measure(source, dataset, "bfloat16")
    short = name.rpartition("/")[2].removesuffix(".safetensors")
    where = f"{short} on {dataset.name}"
    for score, (bound, relative) in TOLERANCE.items():
      change = abs(rough[score] - exact[score])
      timing.report(
        f"{where}: {score} in bfloat16, {'relative ' * relative}difference",
        change / abs(exact[score]) if relative else change,
        bound,
        f"{rough[score]:.5f} for {exact[score]:.5f}",
      )
    timing.report(
      f"{where}: images/s in bfloat16, over float32",
      fast / speed,
      None,
      f"{fast:,.0f} over {speed:,.0f}",
    )
  return 0


if __name__ == "__main__":
  sys.exit(command.main(sys.argv, FLAGS, __doc__ or "", _run))
