"""Measures speed and memory of the engine, as ratios within one run.

    python -m experiments.benchmarks.engine

Purpose: is LEEP about as fast as reading its input? Is scoring a source about
as fast as its forward pass alone? Is memory independent of the number of
examples when outputs are on disk? The printed bounds are the aims of this
project.

Cost: about three minutes on two CPU cores. Times are medians of interleaved
repetitions, after compilation. Memory is the peak resident set of a child
process, because other work has already raised that of this one.

What came out is in `experiments/results/engine.md`. All bounds are met. A ratio
to the forward pass below 1 is possible on a CPU: the package compiles networks
with other options (see `leep_jax/engine/programs.py`) than JAX's defaults,
which the forward pass alone has.
"""

import json
import statistics
import subprocess
import sys

from absl import app, flags
import jax
import jax.numpy as jnp
import numpy as np

from experiments.benchmarks import timing
import leep_jax
from leep_jax.sources import catalog

_MEMORY_TASK = flags.DEFINE_string(
  "memory_task", None, "Internal: what the child process measures, as JSON."
)
# The scores that `leep_jax.score` computes by default.
DEFAULT_SCORES = ("leep", "nce", "h_score", "eep_accuracy")
_REPEATS = flags.DEFINE_integer(
  "repeats", 9, "Number of repetitions of each timing."
)


def wide_probabilities(n: int = 50_000, z: int = 1_000):
  """Returns probabilities `[n, z]` float32 and labels of 100 classes."""
  rng = np.random.default_rng(0)
  probs = rng.random((n, z), dtype=np.float32)
  # The power makes rows less uniform, as those of real classifiers are.
  probs **= 8
  probs /= probs.sum(axis=1, keepdims=True)
  return probs, rng.integers(0, 100, n)


def leep_against_reading(repeats: int) -> None:
  """Compares LEEP of 50,000 x 1,000 with two sums over the same array.

  LEEP has to read its input twice.
  """
  probs, labels = wide_probabilities()
  read, leep = timing.interleaved(
    repeats,
    lambda: (probs.sum(), probs.sum()),
    lambda: leep_jax.leep(probs, labels),
  )
  timing.report(
    "leep 50,000 x 1,000, over reading it twice",
    leep / read,
    4,
    f"{1e3 * leep:.0f} ms over {1e3 * read:.0f} ms",
  )


def scoring_against_forward(repeats: int) -> None:
  """Compares scoring a source with its jitted forward pass alone."""
  rng = np.random.default_rng(0)
  source = leep_jax.load_source(catalog.names()[0])
  batch, count = 256, 16
  images = rng.integers(0, 256, (batch * count, 32, 32, 3), dtype=np.uint8)
  labels = rng.integers(0, 100, len(images))
  batches = [
    (images[i : i + batch], labels[i : i + batch])
    for i in range(0, len(images), batch)
  ]

  @jax.jit
  def forward(state, x):
    logits, features = source.apply(state, source.preprocessing(x))
    return jax.nn.softmax(logits), features

  def bare():
    done = [forward(source.state, x) for x, _ in batches]
    jax.block_until_ready(done)

  def scored():
    outputs = leep_jax.compute_outputs(source, batches, num_classes=100)
    leep_jax.compute_scores(outputs, names=DEFAULT_SCORES)

  plain, full = timing.interleaved(repeats, bare, scored)
  timing.report(
    f"scoring {len(images):,} images, over the bare forward pass",
    full / plain,
    1.05,
    f"{len(images) / full:,.0f} images/s over {len(images) / plain:,.0f}",
  )


def peak_bytes() -> int:
  """Returns the peak resident set of this process since `reset_peak`."""
  with open("/proc/self/status", encoding="ascii") as file:
    for line in file:
      if line.startswith("VmHWM:"):
        return int(line.split()[1]) * 1024
  raise RuntimeError("no VmHWM in /proc/self/status: this needs Linux")


def reset_peak() -> int:
  """Resets the peak to the current resident set, and returns it.

  Writing 5 to clear_refs resets it, see proc(5).
  """
  with open("/proc/self/clear_refs", "w", encoding="ascii") as file:
    file.write("5")
  return peak_bytes()


def leep_memory() -> dict[str, int]:
  """Measures the peak bytes of LEEP of 50,000 x 1,000 beyond the array."""
  probs, labels = wide_probabilities()
  leep_jax.leep(probs, labels)  # compiles
  before = reset_peak()
  leep_jax.leep(probs, labels)
  return {"above": peak_bytes() - before, "array": probs.nbytes}


def disk_memory(n: int) -> dict[str, int]:
  """Measures the peak bytes of scoring n examples with outputs on disk."""
  state = jnp.asarray(
    np.random.default_rng(0).normal(size=(12, 1000)), jnp.float32
  )

  def apply(state, images):
    features = jnp.tile(images.reshape(len(images), -1), (1, 16))
    return jnp.matmul(features[:, :12], state), features

  def batches():
    rng = np.random.default_rng(1)
    for start in range(0, n, 512):
      size = min(512, n - start)
      images = rng.integers(0, 256, (size, 2, 2, 3), dtype=np.uint8)
      yield images, rng.integers(0, 100, size)

  source = leep_jax.Source("linear", apply, state)
  outputs = leep_jax.compute_outputs(source, batches(), keep="disk")
  values = leep_jax.compute_scores(outputs, names=DEFAULT_SCORES)
  assert all(value is not None for value in values.values())
  return {"peak": peak_bytes()}


def in_child(**task) -> dict[str, int]:
  """Measures memory in a child process, and returns what it prints."""
  command = [sys.executable, "-m", "experiments.benchmarks.engine"]
  command.append(f"--memory_task={json.dumps(task)}")
  done = subprocess.run(command, check=True, capture_output=True, text=True)
  return json.loads(done.stdout.splitlines()[-1])


def main(argv):
  if len(argv) > 1:
    raise app.UsageError(f"unexpected arguments: {' '.join(argv[1:])}")
  if _MEMORY_TASK.value:
    task = json.loads(_MEMORY_TASK.value)
    result = disk_memory(task["n"]) if "n" in task else leep_memory()
    print(json.dumps(result))
    return
  timing.header()
  leep_against_reading(_REPEATS.value)
  scoring_against_forward(_REPEATS.value)
  memory = in_child()
  timing.report(
    "leep 50,000 x 1,000: MB above the array, over 64",
    memory["above"] / 64e6,
    1,
    f"{memory['above'] / 1e6:.1f} MB above {memory['array'] / 1e6:.0f} MB",
  )
  # Peaks differ by a few percent from run to run, so these are medians too.
  peaks = [(in_child(n=n)["peak"] for n in (20_000, 200_000)) for _ in range(5)]
  small, large = map(statistics.median, zip(*peaks, strict=True))
  timing.report(
    "peak memory at 200,000 examples over 20,000, outputs on disk",
    large / small,
    1.05,
    f"{large / 1e6:.0f} MB over {small / 1e6:.0f} MB",
  )


if __name__ == "__main__":
  app.run(main)
