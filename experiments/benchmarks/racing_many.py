"""Races of hundreds of sources: what share of the forward passes is left?

    python -m experiments.benchmarks.racing_many --data_dir=DIR --draws=3 \
      > experiments/results/racing_many.md

Purpose: `experiments.benchmarks.racing` measures races of eight to eleven real
sources. A sweep has a thousand, which no machine here holds. So these are
synthetic, of two kinds that the first column tells apart:

- *drawn*: outputs drawn at random, of --sources sources. A source of signal s
  has 16 features: s times the label's unit vector plus normal noise, half of
  whose variance all sources share, as images that are hard are hard for most.
  `even`: signals even between 0 and 3. `crowded`: half of the signals between
  2.7 and 3, the others as before. `few good`: one source in 100 between 2.5
  and 3, the others below 1.5.
- *perturbed*: --perturbed copies of the bundled fashion_mnist_resnet8, whose
  kernels have normal noise added: of each one's standard deviation times
  0.01 to 1, even in its logarithm. They run on test images of fashion_mnist.

Cost: a forward pass of each perturbed source (10 minutes on one core for 200
sources and 2,000 images), and a second to minutes for each draw.
"""

import dataclasses
import sys

from absl import app, flags
import jax
import numpy as np

from experiments.benchmarks import racing
import leep_jax
from leep_jax import progress

_SOURCES = flags.DEFINE_integer("sources", 1000, "Of each drawn case.")
_PERTURBED = flags.DEFINE_integer("perturbed", 200, "Perturbed sources.")
_IMAGES = flags.DEFINE_list("images", ["2000", "10000"], "Of drawn cases.")
_PHOTOS = flags.DEFINE_list("photos", ["1000", "2000"], "Of perturbed sources.")

_TEXT = """\
# Races of many sources

From `python -m experiments.benchmarks.racing_many`, which says how the sources
are made: **all of them are synthetic**, drawn at random or copies of one
network with noise in their weights. Columns as in
[races of real sources](racing.md):
probe_accuracy, level 95 %, tolerance 0.005, the default first sample, {draws}
draws of samples.
"""
_CLASSES, _FEATURES = 10, 16


def signals(case: str, count: int, rng: np.random.Generator) -> np.ndarray:
  """Returns the signals `[count]` of the sources of a drawn case."""
  if case == "even":
    return rng.uniform(0, 3, count)
  if case == "crowded":
    return np.where(
      np.arange(count) % 2, rng.uniform(0, 3, count), rng.uniform(2.7, 3, count)
    )
  return np.where(
    np.arange(count) % 100, rng.uniform(0, 1.5, count),
    rng.uniform(2.5, 3, count),
  )  # fmt: skip


def drawn(case: str, count: int, images: int) -> dict[str, leep_jax.Outputs]:
  """Returns outputs of the sources of a case, drawn at random."""
  rng = np.random.default_rng(0)
  labels = rng.integers(0, _CLASSES, images)
  units = np.eye(_FEATURES, dtype=np.float32)[labels]
  shape = images, _FEATURES
  shared = rng.normal(size=shape).astype(np.float32)
  return {
    f"{case}_{i}": leep_jax.Outputs.from_arrays(
      features=signal * units
      + np.sqrt(0.5)
      * (shared + rng.standard_normal(size=shape, dtype=np.float32)),
      labels=labels,
    )
    for i, signal in enumerate(signals(case, count, rng))
  }


def perturbed(count: int, images: int) -> dict[str, leep_jax.Outputs]:
  """Returns outputs of copies of one network with noise in their weights."""
  rng = np.random.default_rng(0)
  dataset = leep_jax.load_dataset(
    "fashion_mnist",
    split="test",
    data_dir=racing._DATA_DIR.value,
    limit=images,
  )
  source = leep_jax.load_source("fashion_mnist_resnet8")
  found = {}
  told = progress.Progress("perturbed", total=count, unit="sources")
  for i, scale in enumerate(np.geomspace(0.01, 1, count)):
    state = jax.tree.map(
      lambda x, scale=scale: (
        np.asarray(
          x + scale * np.std(x) * rng.normal(size=np.shape(x)), np.float32
        )
        # Not the statistics of batch norm: a variance stays positive.
        if np.ndim(x) > 1
        else x
      ),
      source.state,
    )
    noisy = dataclasses.replace(source, state=state)
    found[f"perturbed_{i}"] = leep_jax.compute_outputs(
      noisy, dataset, keep="host"
    )
    told(i + 1, count)
  told.clear()
  return found


def main(argv):
  if len(argv) > 1:
    raise app.UsageError(f"unexpected arguments: {' '.join(argv[1:])}")
  draws = racing._DRAWS.value
  print(_TEXT.format(draws=draws))
  print(f"| {' | '.join(racing._HEAD)} |")
  print("|---" * len(racing._HEAD) + "|", flush=True)
  for images in map(int, _IMAGES.value):
    for case in ("even", "crowded", "few good"):
      outputs = drawn(case, _SOURCES.value, images)
      print(racing.row(f"drawn, {case}", outputs, draws), flush=True)
      del outputs
  sizes = sorted(map(int, _PHOTOS.value))
  if not _PERTURBED.value:
    return
  full = perturbed(_PERTURBED.value, sizes[-1])
  for size in sizes:
    outputs = full
    if size < sizes[-1]:
      outputs = {k: o.select(np.arange(size)) for k, o in full.items()}
    print(racing.row("perturbed", outputs, draws), flush=True)


if __name__ == "__main__":
  sys.exit(app.run(main))
