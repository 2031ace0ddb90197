"""Which score chooses the source with which a new head does best, on photos?

    python -m experiments.photo_folders --photos=DIR --weights=DIR

Purpose: eleven sources (ImageNet and iNaturalist networks of `--weights`, and
the bundled ones) are scored on samples of 10, 20 and 40 photos a class of
three folders of `--photos`. A converged head (`transfer.probe_head`) is then
trained on the same photos and tested on all others. The accuracy that a source
*reaches* at a size is the mean over the samples.

Cost: about 40 minutes on two CPU cores. Rows that exist in
`experiments/results/photo_folders.jsonl` are not computed again.

What came out is in `experiments/results/photo_folders.md`, which
`python -m experiments.blocks` writes from the rows.
"""

from collections.abc import Sequence
import pathlib
import sys

from absl import flags
import numpy as np
import scipy.stats

import leep_jax
from leep_jax import command, progress, tasks as tasks_lib, transfer
from leep_jax.reports import plots, results
from leep_jax.scores import jackknife

FLAGS = flags.FlagValues()
_PHOTOS = flags.DEFINE_string(
  "photos", None, "Folder of folders of photos.", flag_values=FLAGS
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
_DRAWS = flags.DEFINE_integer(
  "draws", 10, "Samples of each size.", flag_values=FLAGS
)
RESULTS = pathlib.Path(__file__).parent / "results"
ROWS = RESULTS / "photo_folders.jsonl"
TABLE = RESULTS / "photo_folders.md"
FOLDERS = ("trashnet", "rsscn7_satellite", "sign_language_digits")
SIZES = (10, 20, 40)  # photos a class
# Checkpoints of `--weights`, by the names of their rows.
SOURCES = {
  "resnet50": "resnet50@{}/resnet50_tf",
  "efficientnet_lite0": "efficientnet_lite0@{}/tf_efficientnet_lite0",
  "mobilenet_v1_100": "mobilenet_v1_100@{}/mobilenet_v1_1.0_224",
  "mobilenet_v1_075": "mobilenet_v1_075@{}/mobilenet_v1_0.75_192",
  "mobilenet_v1_050": "mobilenet_v1_050@{}/mobilenet_v1_0.5_160",
  "mobilenet_v1_025": "mobilenet_v1_025@{}/mobilenet_v1_0.25_128",
  "mobilenetv2_insects": "mobilenetv2_100@{}/mobilenetv2_100_inat_insects",
  "cifar100_resnet14": "cifar100_resnet14",
  "tiny_imagenet32_resnet14": "tiny_imagenet32_resnet14",
  "cifar10_resnet14": "cifar10_resnet14",
  "fashion_mnist_resnet8": "fashion_mnist_resnet8",
}
N_LEEP_DRAWS = 3
# The penalty of the trained head. Any from 1e-4 to 0.1 gives about the same
# accuracy on these folders.
L2 = 0.03
SCORES = tuple(
  name for name, row in leep_jax.SCORES.items() if "labels" in row.target_kinds
)


def draw(labels: np.ndarray, size: int, seed: int) -> tasks_lib.Task:
  """Draws the photos of a sample; all others test the head.

  Args:
    labels: `[n]`, of a folder.
    size: photos of each class.
    seed: of the sample.
  """
  rng = np.random.default_rng([size, seed])
  classes = np.unique(labels)
  train = [rng.permutation(np.flatnonzero(labels == y))[:size] for y in classes]
  chosen = np.sort(np.concatenate(train))
  others = np.setdiff1d(np.arange(len(labels)), chosen)
  return tasks_lib.Task(f"{size}.{seed}", tuple(classes), chosen, others)


def outputs_of(name: str, folder: str) -> leep_jax.Outputs:
  """Runs a source on all photos of a folder, or loads its kept outputs."""
  kept = None
  if _OUTPUTS.value:
    kept = pathlib.Path(_OUTPUTS.value) / folder / name
    if kept.exists():
      return leep_jax.Outputs.load(kept)
  source = leep_jax.load_source(SOURCES[name].format(_WEIGHTS.value))
  dataset = leep_jax.load_dataset(f"folder:{_PHOTOS.value}/{folder}")
  outputs = leep_jax.compute_outputs(source, dataset)
  if kept is not None:
    kept.parent.mkdir(parents=True, exist_ok=True)
    outputs.save(kept)
  return outputs


def run_folder(folder: str, rows: results.Rows) -> None:
  """Computes the rows of a folder that are missing.

  Args:
    folder: of photos.
    rows: to which they are appended.
  """
  done = {(row["folder"], row["size"], row["draw"]) for row in rows.rows}
  labels = leep_jax.load_dataset(f"folder:{_PHOTOS.value}/{folder}").labels()
  wanted = [
    (size, seed, draw(labels, size, seed))
    for size in SIZES
    for seed in range(_DRAWS.value)
    if (folder, size, seed) not in done
  ]
  if not wanted:
    return
  outputs, reached = {}, {}
  for name in SOURCES:
    outputs[name] = outputs_of(name, folder)
    progress.write(f"{folder}: {name}: training heads")
    reached[name] = transfer.probe_head(
      outputs[name],
      outputs[name],
      tasks=[task for _, _, task in wanted],
      l2=L2,
    )
  for i, (size, seed, task) in enumerate(wanted):
    progress.write(f"{folder}: {size} photos a class, sample {seed}")
    # n_leep takes as long as all others.
    names = [n for n in SCORES if n != "n_leep" or seed < N_LEEP_DRAWS]
    probes, scores = [], []
    for name in SOURCES:
      sample = outputs[name].select(task.train)
      estimates = leep_jax.estimate_scores(sample, names=["probe_accuracy"])
      probes.append(estimates["probe_accuracy"])
      scores.append(leep_jax.compute_scores(sample, names=names))
    best = jackknife.indistinguishable(probes)
    for name, probe, found, may in zip(
      SOURCES, probes, scores, best, strict=True
    ):
      low, high = (probe and probe.interval()) or (np.nan, np.nan)
      values = {k: v if v is None else round(v, 5) for k, v in found.items()}
      rows.append(
        {
          "folder": folder, "size": size, "draw": seed, "model": name,
          "reached": round(reached[name][i].accuracy, 5), **values,
          "low": round(low, 5), "high": round(high, 5), "may_be_best": may,
        }
      )  # fmt: skip


def _run() -> int:
  with results.Rows(ROWS) as rows:
    for folder in FOLDERS:
      run_folder(folder, rows)
  return 0


def _arrays(rows, cell, key):
  """Values `[sources, draws]` of a column."""
  folder, size = cell
  found = {
    (row["model"], row["draw"]): row[key]
    for row in rows
    if (row["folder"], row["size"]) == (folder, size) and key in row
  }
  draws = sorted({number for _, number in found})
  return np.array(
    [
      [np.nan if found[m, d] is None else found[m, d] for d in draws]
      for m in SOURCES
    ],
    float,
  )


def choice(values: np.ndarray, reached: np.ndarray) -> tuple[float, float]:
  """Returns how well a score orders the sources, and what its choice loses.

  Args:
    values: `[sources, draws]`, NaN where the score is undefined.
    reached: `[sources]`, the accuracy that each reaches.

  Returns:
    Spearman's correlation and the regret, means over draws; NaN if the score is
    undefined, or the same for all sources.
  """
  ranks, regrets = [], []
  for column in values.T:
    known = np.isfinite(column)
    if known.sum() < len(column) or np.ptp(column) < 1e-9:
      return np.nan, np.nan
    ranks.append(scipy.stats.spearmanr(column, reached).statistic)
    regrets.append(reached.max() - reached[column.argmax()])
  return float(np.mean(ranks)), float(np.mean(regrets))


def table(rows: Sequence[results.Row]) -> str:
  """Returns the tables of `photo_folders.md`, in Markdown."""
  cells = [(folder, size) for folder in FOLDERS for size in SIZES]
  reached = {c: _arrays(rows, c, "reached").mean(axis=1) for c in cells}
  head = " | ".join(f"{folder.split('_')[0]} {size}" for folder, size in cells)
  lines = [
    f"| score | {head} | least, mean | regret: mean, most |",
    f"|---|{'---|' * len(cells)}---|---|",
  ]
  order = []
  for score in SCORES:
    found = np.array(
      [choice(_arrays(rows, c, score), reached[c]) for c in cells]
    )
    rank, regret = found.T
    # A score without a value for a source chooses nothing.
    order.append((-np.nan_to_num(rank, nan=-1).mean(), score, rank, regret))
  for _, score, rank, regret in sorted(order, key=lambda x: x[:2]):
    lines.append(
      f"| `{score}` | {' | '.join(map(_two, rank))} | "
      f"{_two(rank.min())}, {_two(rank.mean())} | "
      f"{_points(regret.mean())}, {_points(regret.max())} |"
    )
  return "\n".join([*lines, "", *_probe_lines(rows, cells, reached)])


def _two(value):
  return "-" if np.isnan(value) else f"{value:.2f}"


def _points(value):
  return "-" if np.isnan(value) else f"{100 * value:.1f}"


def _probe_lines(rows, cells, reached):
  """How far to trust `probe_accuracy`: bias, intervals, ties."""
  yield (
    "| folder, photos a class | best source | reached | bias | mean error | "
    "intervals that hold it | ties hold the best | tied |"
  )
  yield "|---|---|---|---|---|---|---|---|"
  every = []
  for cell in cells:
    performance = reached[cell]
    values = _arrays(rows, cell, "probe_accuracy")
    low, high = (_arrays(rows, cell, key) for key in ("low", "high"))
    tied = _arrays(rows, cell, "may_be_best")
    error = values.mean(axis=1) - performance
    found = (
      error.mean(),
      np.abs(error).mean(),
      np.mean((low <= performance[:, None]) & (performance[:, None] <= high)),
      tied[performance.argmax()].mean(),
      tied.sum(axis=0).mean(),
    )
    every.append(found)
    yield (
      f"| {cell[0]}, {cell[1]} | {list(SOURCES)[performance.argmax()]} | "
      f"{100 * performance.max():.1f} | {_trust(found)}"
    )
  yield f"| mean | | | {_trust(np.mean(every, axis=0))}"


def _trust(found):
  bias, error, covered, held, tied = found
  return (
    f"{100 * bias:+.1f} | {100 * error:.1f} | {100 * covered:.0f} % | "
    f"{100 * held:.0f} % | {tied:.1f} of {len(SOURCES)} |"
  )


def draw_reached(
  rows: Sequence[results.Row], path: pathlib.Path, *, size: int = 20
) -> None:
  """Draws what sources reach against what `probe_accuracy` expects.

  Args:
    rows: of this experiment.
    path: of the figure.
    size: photos of each class.
  """
  predicted, reached = (
    np.stack([_arrays(rows, (f, size), key).mean(axis=1) for f in FOLDERS])
    for key in ("probe_accuracy", "reached")
  )
  plots.predicted_reached(
    predicted.ravel().tolist(),
    reached.ravel().tolist(),
    names=list(SOURCES) * len(FOLDERS),
    value="accuracy",
    title=f"Three folders, {size} photos a class",
    path=path,
  )


def main(argv: list[str]) -> int:
  """Runs the experiment; returns its exit status."""
  return command.main(argv, FLAGS, __doc__ or "", _run)


if __name__ == "__main__":
  sys.exit(main(sys.argv))
