"""Compares scores for choosing a source for one target (section 5.7).

    python -m experiments.source_selection --data_dir=DIR --weights=DIR \
      --scale=cpu

Purpose: which score finds the best of many sources? The experiment scores each
source on the target's training set, transfers it, and compares LEEP, NCE,
H-score, LogME and the source's accuracy on its own data with the test accuracy.

Scales: at `cpu`, heads are those of `experiments.score_benchmark`, which trains
them to convergence for 15 sources (`--stages=facts,heads,scores`); the sweeps
here fine-tune ten of them on 1,000 images for 5 epochs, tested on 1,000 images,
among them an EfficientNet-Lite0 of 48 pixels.
`paper` uses the paper's nine ImageNet sources and all training images for 100
epochs, heads and fine-tuning. SENet-154 is published only as a pickle: convert
it to `senet154.safetensors` first (`python -m leep_jax.models` prints its
address). `smoke` uses two bundled sources and digits.

Cost of `cpu`: 70 minutes for fine-tuning, for both targets on two cores; an
hour for the benchmark's heads and scores of these targets.

What came out: for heads, LEEP, NCE, H-score and LogME all find the best source,
or one that is nearly as good; a source's accuracy on its own data does so only
among sources of the same data. For fine-tuning with so few images and epochs,
none of them does. See "Choosing a source" in `experiments/README.md`, figures 5
and 9 there, and `results/source_selection.md`.
"""

from collections.abc import Sequence
import csv
import dataclasses
import sys

from experiments import section
from leep_jax.reports import results, sweep_report
from leep_jax.sources import catalog

SOURCE_ACCURACY = "source_accuracy"
_SCORES = "leep,nce,h_score,logme"
_SENET = "senet154@senet154.safetensors"
_FILES = (
  "mobilenet_v1_075@mobilenet_v1_0.75_192",
  "mobilenet_v1_050@mobilenet_v1_0.5_160",
  section.MOBILENET,
)
_PAPER = (
  "resnet18.tv_in1k",
  "resnet34.tv_in1k",
  "resnet50.tv_in1k",
  "mobilenet_v1_1.0_224",
  *_FILES,
  "darknet53.c2ns_in1k",
  _SENET,
)


def sources(scale: str, target: str) -> tuple[str, ...]:
  """Returns the sources to compare, without those trained on the target."""
  bundled = tuple(e.name for e in catalog.entries() if e.origin == "bundled")
  bundled = tuple(n for n in bundled if not n.startswith(f"{target}_"))
  resnets = tuple(
    f"resnet{n}@resnet{n}_cifar10.safetensors" for n in (20, 32, 44, 56)
  )
  return {
    "smoke": bundled[:2],
    # Two cores do not afford the larger MobileNets.
    "cpu": (*bundled, *resnets, *_FILES[:0:-1]),
    "paper": _PAPER,
  }[scale]


def parts(scale: str, target: str) -> list[section.Part]:
  """Returns the sweeps of a scale and a target."""
  methods: dict[str, dict[str, int]] = {
    "smoke": {
      "retrain_head": {"epochs": 2, "limit": 200},
      "fine_tune": {"epochs": 1, "limit": 50, "test_limit": 100},
    },
    # Heads are those of `experiments.score_benchmark`.
    "cpu": {"fine_tune": {"epochs": 5, "limit": 1000, "test_limit": 1000}},
    "paper": {"retrain_head": {"epochs": 100}, "fine_tune": {"epochs": 100}},
  }[scale]
  found = [
    section.Part(
      f"source_selection/{target}",
      target,
      sources(scale, target),
      "all",
      method,
      section.flags_of({"curve": 0, "scores": _SCORES, **options}),
    )
    for method, options in methods.items()
  ]
  if scale == "cpu":
    small = section.flags_of({"image_size": section.FINE_TUNED_SIZE})
    found += [
      dataclasses.replace(
        part, models=(section.FINE_TUNED,), flags=part.flags + small
      )
      for part in found
    ]
  return found


def accuracies() -> dict[str, float]:
  """Returns the published test accuracy of sources on their own data."""
  path = section.RESULTS.parent / "published" / "source_accuracy.csv"
  with path.open(newline="") as file:
    known = {r["model"]: float(r["accuracy"]) for r in csv.DictReader(file)}
  for entry in catalog.entries():
    if entry.accuracy is not None:
      known[entry.name] = entry.accuracy
      if entry.architecture == "senet154":
        # The converted file has a name of its own.
        known[_SENET] = entry.accuracy
  return known


def labels(models: Sequence[str]) -> list[str]:
  """Returns names for tables and figures, without files if they differ."""
  short = [section.short_name(model) for model in models]
  return short if len(set(short)) == len(short) else list(models)


def with_accuracy(rows: Sequence[results.Row]) -> list[results.Row]:
  """Returns rows with one more score: the source's accuracy on its own data."""
  known = accuracies()
  return [
    {
      **row,
      "scores": {**row["scores"], SOURCE_ACCURACY: known.get(row["model"])},
    }
    if row["method"] == sweep_report.SCORED
    else row
    for row in rows
  ]


SECTION = section.Section(
  "source_selection",
  ("cifar100", "fashion_mnist"),
  parts,
  prepare=with_accuracy,
)

if __name__ == "__main__":
  sys.exit(section.main(sys.argv, SECTION, __doc__ or ""))
