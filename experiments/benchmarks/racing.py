"""Races of sources: do they find the winner, and how many images do they need?

    python -m experiments.benchmarks.racing --outputs=FOLDER/a,FOLDER/b
    python -m experiments.benchmarks.racing --model=A,B,... \
      --dataset=folder:PHOTOS/a,folder:PHOTOS/b

Purpose: how often is the source that wins without a race still there at the end
of one, and what share of the images ran? The aim is the same winner, or one
that is not told apart from it, with a third of the forward passes or less.

Outputs of every source on all images are computed once, or read from folders
that contain one folder of `Outputs.save` for each source. Races are then run on
these outputs, with other samples in each draw.

Cost: a forward pass for each source, and a second to a few minutes for each
data set and draw, for the scores.

What came out is in `experiments/results/racing.md`. Columns: the winner without
a race; draws in which the race keeps it; draws in which its own winner is the
same; draws in which its winner is not told apart from that one (paired
difference, 95 %) or is the same; the median (and range) over draws of the
images that ran, as a share of those without a race; the median number of
sources left; and what a race would need that drops all sources but one after
the first sample.
"""

import pathlib

from absl import app, flags
import numpy as np

import leep_jax
from leep_jax import racing
from leep_jax.racing import samples
from leep_jax.scores import jackknife

_OUTPUTS = flags.DEFINE_list(
  "outputs", [], "Folders with one folder of saved outputs for each source."
)
_MODEL = flags.DEFINE_list(
  "model", [], "Sources; with --outputs, their folders (default all)."
)
_DATASET = flags.DEFINE_list("dataset", [], "Data sets, instead of --outputs.")
_SPLIT = flags.DEFINE_string("split", None, "Of the data sets.")
_DATA_DIR = flags.DEFINE_string("data_dir", None, "Folder of TFDS data sets.")
_LIMIT = flags.DEFINE_list("limit", [], "Numbers of images; default all.")
_DRAWS = flags.DEFINE_integer("draws", 20, "Races with other samples.")
_LEVEL = flags.DEFINE_float("level", jackknife.LEVEL, "As of `race`.")
_TOLERANCE = flags.DEFINE_float("tolerance", racing.TOLERANCE, "As of `race`.")
_START = flags.DEFINE_integer("start", None, "As of `race`.")
_RANK_BY = flags.DEFINE_string("rank_by", "probe_accuracy", "As of `race`.")

_HEAD = (
  "data",
  "images",
  "sources",
  "winner",
  "kept",
  "same",
  "same or tied",
  "images that ran",
  "left",
  "least",
)


def row(name: str, outputs: dict[str, leep_jax.Outputs], draws: int) -> str:
  """Returns the row of the table of one data set."""
  rank_by, count = _RANK_BY.value, len(next(iter(outputs.values())))
  full = {}
  for key, each in outputs.items():
    estimate = leep_jax.estimate_scores(each, names=[rank_by])[rank_by]
    if estimate is None:
      raise leep_jax.InputError(f"{key} has no {rank_by} on {name}")
    full[key] = estimate
  winner = max(full, key=lambda each: full[each].value)
  kept = same = tied = 0
  shares, left = [], []
  for seed in range(draws):
    race = racing.race_outputs(
      outputs,
      rank_by=rank_by,
      level=_LEVEL.value,
      tolerance=_TOLERANCE.value,
      start=_START.value,
      seed=seed,
    )
    first = race.survivors[0]
    kept += winner in [survivor.name for survivor in race.survivors]
    difference = leep_jax.paired_difference(full[winner], full[first.name])
    # Of equal scores, either is the winner.
    same += difference.value == 0
    interval = difference.interval()
    tied += difference.value == 0 or interval is None or interval[0] <= 0
    shares.append(race.forwarded / race.without_racing)
    left.append(len(race.survivors))
  classes = len(next(iter(outputs.values())).classes)
  sizes = samples.sizes(count, num_classes=classes, start=_START.value)
  first_size = sizes[0] if sizes else count
  least = (first_size * (len(outputs) - 1) + count) / (len(outputs) * count)
  cells = (
    name,
    f"{count:,}",
    len(outputs),
    winner,
    f"{kept}/{draws}",
    f"{same}/{draws}",
    f"{tied}/{draws}",
    f"{np.median(shares):.0%} ({min(shares):.0%} to {max(shares):.0%})",
    f"{np.median(left):g}",
    f"{least:.0%}",
  )
  return f"| {' | '.join(map(str, cells))} |"


def _computed():
  """Yields names of data sets, and the outputs of all sources on them."""
  for dataset in _DATASET.value:
    for limit in map(int, _LIMIT.value) if _LIMIT.value else [None]:
      data = leep_jax.load_dataset(
        dataset, split=_SPLIT.value, data_dir=_DATA_DIR.value, limit=limit
      )
      yield (
        dataset.rpartition("/")[2],
        {
          name.rpartition("/")[2].removesuffix(".safetensors"): (
            leep_jax.compute_outputs(leep_jax.load_source(name), data)
          )
          for name in _MODEL.value
        },
      )


def _saved():
  """As `_computed`, from folders."""
  for folder in map(pathlib.Path, _OUTPUTS.value):
    yield (
      folder.name,
      {
        path.name: leep_jax.Outputs.load(path)
        for path in sorted(folder.iterdir())
        if path.name in _MODEL.value or not _MODEL.value
      },
    )


def main(argv):
  if len(argv) > 1:
    raise app.UsageError(f"unexpected arguments: {' '.join(argv[1:])}")
  print(f"| {' | '.join(_HEAD)} |")
  print("|---" * len(_HEAD) + "|", flush=True)
  for found in (_saved(), _computed()):
    for name, outputs in found:
      print(row(name, outputs, _DRAWS.value), flush=True)


if __name__ == "__main__":
  app.run(main)
