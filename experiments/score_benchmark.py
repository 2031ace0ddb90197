r"""Which score should be trusted, with how many examples?

    python -m experiments.score_benchmark --photos=DIR --data_dir=DIR \
      --weights=DIR

Purpose: every score of class labels is computed for 15 real sources on samples
of 5, 20, 50 and 100 examples a class of six targets: three folders of photos
(`--photos`), digits, Fashion-MNIST and CIFAR-100 (`--data_dir`). A converged
head (`transfer.probe_head`) is trained on the same samples and tested on the
other examples; the accuracy that a source *reaches* at a size is the mean over
five samples. The sources that can be afforded are fine-tuned, too.

Work is done in stages, each with a file of rows in
`experiments/results/score_benchmark/`; rows that exist are not computed again,
and `--stages` and `--targets` name some of them:

- `facts`: sizes of the sources.
- `heads`: reached accuracies.
- `scores`: of three of the five samples (of one by `n_leep`, and where a sample
  has thousands of examples). A score that is new in `leep_jax.SCORES` is added
  to the samples that lack it.
- `probes`: intervals of `probe_accuracy`, and the sources that it does not tell
  apart from the best.
- `fine_tuning`: accuracies of fine-tuned networks of small images.
- `costs`: seconds of each score of one sample.

Left out are sources trained on the labels of the target, and sizes for which a
class would have fewer than `_LEAST` examples left to test.

Cost: about four hours on two CPU cores, half an hour of which are the forward
passes.

What came out is in `experiments/results/score_benchmark.md`, which
`python -m experiments.blocks` writes from the rows.
"""

from collections.abc import Callable, Iterator, Sequence
import dataclasses
import functools
import pathlib
import sys
import time
from typing import Any

from absl import flags
import numpy as np

import leep_jax
from leep_jax import command, progress, tasks as tasks_lib, transfer, validation
from leep_jax.engine import programs
from leep_jax.reports import results
from leep_jax.scores import jackknife

FLAGS = flags.FlagValues()
_PHOTOS = flags.DEFINE_string(
  "photos", None, "Folder of folders of photos.", flag_values=FLAGS
)
_DATA_DIR = flags.DEFINE_string(
  "data_dir", None, "Folder of TFDS data sets.", flag_values=FLAGS
)
_WEIGHTS = flags.DEFINE_string(
  "weights", None, "Folder of checkpoints.", flag_values=FLAGS
)
_OUTPUTS = flags.DEFINE_string(
  "outputs",
  None,
  "Folder in which outputs of sources are kept; by default none are.",
  flag_values=FLAGS,
)
_ROWS = flags.DEFINE_string(
  "rows",
  None,
  "Folder of the rows; by default results/score_benchmark.",
  flag_values=FLAGS,
)
_STAGES = flags.DEFINE_list(
  "stages", None, "Stages to do; by default all.", flag_values=FLAGS
)
_TARGETS = flags.DEFINE_list(
  "targets", None, "Targets; by default all.", flag_values=FLAGS
)
FOLDER = pathlib.Path(__file__).parent / "results" / "score_benchmark"
SIZES = (5, 20, 50, 100)  # examples a class
DRAWS = 5  # samples of each size
_SCORED = 3  # how many of them are scored
_SLOW = ("n_leep",)  # scores of one sample only
_LARGE = 4000  # examples; of such samples, one is scored
_LEAST = 8  # examples of each class to test on
# The penalty of the trained head. Any from 1e-4 to 0.1 gives about the same
# accuracy on the photos.
L2 = 0.03


@dataclasses.dataclass(frozen=True)
class Source:
  """A pre-trained network.

  Attributes:
    name: of `leep_jax.load_source`, with {} for the folder `--weights`.
    data: what it was trained on.
  """

  name: str
  data: str


SOURCES = {
  "resnet50": Source("resnet50@{}/resnet50_tf", "imagenet"),
  "efficientnet_lite0": Source(
    "efficientnet_lite0@{}/tf_efficientnet_lite0", "imagenet"
  ),
  "mobilenet_v1_100": Source(
    "mobilenet_v1_100@{}/mobilenet_v1_1.0_224", "imagenet"
  ),
  "mobilenet_v1_075": Source(
    "mobilenet_v1_075@{}/mobilenet_v1_0.75_192", "imagenet"
  ),
  "mobilenet_v1_050": Source(
    "mobilenet_v1_050@{}/mobilenet_v1_0.5_160", "imagenet"
  ),
  "mobilenet_v1_025": Source(
    "mobilenet_v1_025@{}/mobilenet_v1_0.25_128", "imagenet"
  ),
  "mobilenetv2_insects": Source(
    "mobilenetv2_100@{}/mobilenetv2_100_inat_insects", "insects"
  ),
  "tiny_imagenet32_resnet14": Source(
    "tiny_imagenet32_resnet14", "tiny_imagenet"
  ),
  "cifar100_resnet14": Source("cifar100_resnet14", "cifar100"),
  "cifar10_resnet14": Source("cifar10_resnet14", "cifar10"),
  "fashion_mnist_resnet8": Source("fashion_mnist_resnet8", "fashion_mnist"),
  **{
    f"resnet{depth}": Source(
      f"resnet{depth}@{{}}/resnet{depth}_cifar10.safetensors", "cifar10"
    )
    for depth in (20, 32, 44, 56)
  },
}
# Those that two CPU cores can fine-tune: small images and few layers.
_FINE_TUNED = (
  "tiny_imagenet32_resnet14", "cifar100_resnet14", "cifar10_resnet14",
  "fashion_mnist_resnet8", "resnet20", "resnet32",
)  # fmt: skip


@dataclasses.dataclass(frozen=True)
class Target:
  """A labelled data set of which samples are drawn.

  Attributes:
    name: of `leep_jax.load_dataset`, with {} for the folder `--photos`.
    split: of which examples are drawn.
    per_class: how many examples of a class take part, the first of a random
      order; None for all.
  """

  name: str
  split: str | None = None
  per_class: int | None = None


TARGETS = {
  "trashnet": Target("folder:{}/trashnet"),
  "rsscn7_satellite": Target("folder:{}/rsscn7_satellite"),
  "sign_language_digits": Target("folder:{}/sign_language_digits"),
  "digits": Target("digits"),
  "fashion_mnist": Target("fashion_mnist", split="test", per_class=200),
  "cifar100": Target("cifar100", split="train", per_class=120),
}
# What is computed of class labels.
SCORES = tuple(
  name for name, row in leep_jax.SCORES.items() if "labels" in row.target_kinds
)


def sources_of(target: str) -> list[str]:
  """Returns the sources that were not trained on the target's labels."""
  return [name for name, source in SOURCES.items() if source.data != target]


@functools.cache
def dataset_of(target: str) -> leep_jax.Dataset:
  """Returns the examples of a target that take part."""
  row = TARGETS[target]
  dataset = leep_jax.load_dataset(
    row.name.format(_PHOTOS.value),
    split=row.split,
    data_dir=_DATA_DIR.value if row.split else None,
  )
  if row.per_class is None:
    return dataset
  labels, rng = dataset.labels(), np.random.default_rng(0)
  chosen = [
    rng.permutation(np.flatnonzero(labels == y))[: row.per_class]
    for y in np.unique(labels)
  ]
  indices = dataset.indices[np.sort(np.concatenate(chosen))]
  return dataclasses.replace(dataset, indices=indices)


def draw(labels: np.ndarray, size: int, seed: int) -> tasks_lib.Task | None:
  """Draws a sample; all other examples test what is trained on it.

  Args:
    labels: `[n]`, of a target.
    size: examples of each class.
    seed: of the sample.

  Returns:
    The sample, or None if too few examples of a class would be left.
  """
  classes, counts = np.unique(labels, return_counts=True)
  if counts.min() < size + _LEAST:
    return None
  rng = np.random.default_rng([size, seed])
  train = [rng.permutation(np.flatnonzero(labels == y))[:size] for y in classes]
  chosen = np.sort(np.concatenate(train))
  others = np.setdiff1d(np.arange(len(labels)), chosen)
  return tasks_lib.Task(f"{size}.{seed}", tuple(classes), chosen, others)


def samples(target: str, *, draws: int) -> dict[Any, tasks_lib.Task]:
  """Returns the samples of a target by size and seed."""
  labels = dataset_of(target).labels()
  drawn = {
    (size, seed): draw(labels, size, seed)
    for size in SIZES
    for seed in range(draws)
  }
  return {key: task for key, task in drawn.items() if task is not None}


def scored(target: str) -> dict[Any, tasks_lib.Task]:
  """Returns the samples of a target that are scored."""
  drawn = samples(target, draws=min(_SCORED, DRAWS))
  return {
    (size, seed): task
    for (size, seed), task in drawn.items()
    if not seed or len(task.train) <= _LARGE
  }


def outputs_of(target: str, name: str) -> leep_jax.Outputs:
  """Runs a source on all examples of a target, or loads its kept outputs."""
  kept = None
  if _OUTPUTS.value:
    kept = pathlib.Path(_OUTPUTS.value) / target / name
    if kept.exists():
      return leep_jax.Outputs.load(kept)
  progress.write(f"{target}: {name}: forward pass")
  source = leep_jax.load_source(SOURCES[name].name.format(_WEIGHTS.value))
  outputs = leep_jax.compute_outputs(source, dataset_of(target))
  if kept is not None:
    kept.parent.mkdir(parents=True, exist_ok=True)
    outputs.save(kept)
  return outputs


def _sample(target, name, size, seed) -> dict[str, Any]:
  """The columns that say of which source and sample a row is."""
  return {"target": target, "model": name, "size": size, "seed": seed}


def _key(row):
  return row["target"], row["model"], row["size"], row["seed"]


def heads(target: str, rows: results.Rows) -> None:
  """Trains the heads that are missing.

  Args:
    target: a key of `TARGETS`.
    rows: to which rows are appended.
  """
  done = set(map(_key, rows.rows))
  for name in sources_of(target):
    wanted = {
      key: task
      for key, task in samples(target, draws=DRAWS).items()
      if (target, name, *key) not in done
    }
    if not wanted:
      continue
    outputs = outputs_of(target, name)
    for i, ((size, seed), task) in enumerate(wanted.items()):
      progress.write(f"{target}: {name}: head {i + 1} of {len(wanted)}")
      (found,) = transfer.probe_head(outputs, outputs, tasks=[task], l2=L2)
      rows.append(
        {
          **_sample(target, name, size, seed),
          "accuracy": round(found.accuracy, 5),
        }
      )  # fmt: skip


def scores(target: str, rows: results.Rows) -> None:
  """Computes the scores that are missing; arguments as of `heads`."""
  done: dict[Any, set[str]] = {}
  for row in rows.rows:
    done.setdefault(_key(row), set()).update(row["scores"])
  for name in sources_of(target):
    wanted = {}
    for (size, seed), task in scored(target).items():
      lacking = [
        score
        for score in SCORES
        if score not in done.get((target, name, size, seed), ())
        and not (score in _SLOW and seed)
      ]
      if lacking:
        wanted[size, seed] = task, lacking
    if not wanted:
      continue
    outputs = outputs_of(target, name)
    for (size, seed), (task, lacking) in wanted.items():
      progress.write(f"{target}: {name}: scores of sample {size}.{seed}")
      found = leep_jax.compute_scores(outputs.select(task.train), names=lacking)
      rows.append(
        {
          **_sample(target, name, size, seed),
          "scores": {k: _rounded(v) for k, v in found.items()},
        }
      )  # fmt: skip


def _rounded(value):
  return value if value is None else float(f"{value:.6g}")


def probes(target: str, rows: results.Rows) -> None:
  """Compares all expected accuracies; arguments as of `heads`."""
  done = set(map(_key, rows.rows))
  names = sources_of(target)
  for (size, seed), task in scored(target).items():
    if (target, names[-1], size, seed) in done:
      continue
    progress.write(f"{target}: probes of sample {size}.{seed}")
    found = []
    for name in names:
      sample = outputs_of(target, name).select(task.train)
      estimates = leep_jax.estimate_scores(sample, names=["probe_accuracy"])
      found.append(estimates["probe_accuracy"])
    best = jackknife.indistinguishable(found)
    for name, probe, may in zip(names, found, best, strict=True):
      low, high = (probe and probe.interval()) or (np.nan, np.nan)
      rows.append(
        {
          **_sample(target, name, size, seed),
          "low": round(low, 5), "high": round(high, 5), "may_be_best": may,
        }
      )  # fmt: skip


# Of a task of few examples: as many epochs as make some hundred steps.
_TUNING = transfer.NetworkConfig(
  epochs=30,
  batch_size=20,
  learning_rate=0.01,
  momentum=0.9,
  schedule="cosine",
  curve=0,
)
_TUNED_SIZES = (5, 20)
_TUNED_DRAWS = 1


def fine_tuning(target: str, rows: results.Rows) -> None:
  """Fine-tunes the sources that can be afforded; arguments as of `heads`."""
  done = set(map(_key, rows.rows))
  dataset = dataset_of(target)
  for name in sources_of(target):
    wanted = {
      key: task
      for key, task in samples(target, draws=min(_TUNED_DRAWS, DRAWS)).items()
      if name in _FINE_TUNED
      and key[0] in _TUNED_SIZES
      and (target, name, *key) not in done
    }
    source = None
    for (size, seed), task in wanted.items():
      progress.write(f"{target}: {name}: fine-tuning on {size}.{seed}")
      source = source or leep_jax.load_source(
        SOURCES[name].name.format(_WEIGHTS.value)
      )
      (found,) = transfer.fine_tune(
        source, dataset, dataset, tasks=[task], config=_TUNING, seeds=[seed]
      )
      rows.append(
        {
          **_sample(target, name, size, seed),
          "accuracy": round(found.accuracy, 5),
        }
      )  # fmt: skip


def facts(_: str, rows: results.Rows) -> None:
  """Writes what is known of all sources without any target.

  Args:
    rows: to which rows are appended.
  """
  done = {row["model"] for row in rows.rows}
  for name in SOURCES.keys() - done:
    source = leep_jax.load_source(SOURCES[name].name.format(_WEIGHTS.value))
    blank = leep_jax.Dataset(
      name="blank",
      split="all",
      num_classes=1,
      indices=np.zeros(1, np.int64),
      image_shape=(224, 224, 3),
      fetch=lambda i: (np.zeros((len(i), 224, 224, 3), np.uint8), 0 * i),
    )
    outputs = leep_jax.compute_outputs(source, blank)
    rows.append(
      {
        "model": name,
        "parameters": source.num_parameters,
        "features": outputs.num_features,
        "labels": outputs.num_source_classes,
      }
    )


_TIMED = "digits", "mobilenet_v1_100", 100
_REPEATS = 3


def costs(target: str, rows: results.Rows) -> None:
  """Times each score of one sample, after compilation.

  Args:
    target: anything but that of `_TIMED` has no costs.
    rows: to which rows are appended.
  """
  timed, name, size = _TIMED
  # Without source examples there is nothing to time.
  wanted = [s for s in SCORES if not leep_jax.SCORES[s].source_examples]
  missing = set(wanted) - {row["score"] for row in rows.rows}
  if target != timed or not missing:
    return
  task = draw(dataset_of(target).labels(), size, 0)
  assert task is not None
  sample = outputs_of(target, name).select(task.train)
  for score in (s for s in wanted if s in missing):
    progress.write(f"costs: {score}")
    seconds = {
      key: _seconds(sample, score, groups)
      for key, groups in (("value", 1), ("with_error", jackknife.GROUPS))
    }
    rows.append({"score": score, **seconds})


def _seconds(sample, score, groups) -> float:
  """The median seconds of a score."""
  found = []
  for _ in range(_REPEATS + 1):
    # Outputs keep what was computed of them: these have nothing yet.
    fresh = sample.with_features(sample.store)
    start, compiled = time.perf_counter(), programs.compile_seconds()
    leep_jax.estimate_scores(fresh, names=[score], groups=groups)
    found.append(time.perf_counter() - start)
    found[-1] -= programs.compile_seconds() - compiled
  return float(f"{np.median(found[1:]):.3g}")


STAGES: dict[str, Callable[[str, results.Rows], None]] = {
  "facts": facts,
  "heads": heads,
  "scores": scores,
  "probes": probes,
  "fine_tuning": fine_tuning,
  "costs": costs,
}


def _chosen(asked, known, what) -> Iterator[str]:
  for name in asked or known:
    if name not in known:
      raise validation.unknown(what, name, known)
    yield name


def _run() -> int:
  folder = pathlib.Path(_ROWS.value or FOLDER)
  targets = list(_chosen(_TARGETS.value, TARGETS, "target"))
  for stage in list(_chosen(_STAGES.value, STAGES, "stage")):
    with results.Rows(folder / f"{stage}.jsonl") as rows:
      for target in targets:
        STAGES[stage](target, rows)
  return 0


def main(argv: Sequence[str]) -> int:
  """Runs the benchmark; returns its exit status."""
  return command.main(list(argv), FLAGS, __doc__ or "", _run)


if __name__ == "__main__":
  sys.exit(main(sys.argv))
