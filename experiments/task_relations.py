"""Which tasks are near each other, by Task2Vec, P2L and trained transfers?

    python -m experiments.task_relations --data_dir=DIR

Purpose: a check of `leep_jax.relations` on four data sets, digits,
Fashion-MNIST, CIFAR-10 and CIFAR-100, with the four bundled sources. 600
training images of each set, divided into two random halves of the same classes,
are eight tasks. The two halves of a set should be nearest, then the two sets of
CIFAR, and digits nearer to Fashion-MNIST than to CIFAR. Distances are computed
in three forms of the Fisher information and with three strengths of the head's
penalty. P2L compares the same 600 images, with the sizes of the whole sets. For
the affinities, a converged head of each source is trained on 20 tasks of 5
classes with 20 examples each of every set.

Cost: about 20 minutes on two CPU cores. Rows that exist in
`experiments/results/task_relations/` are not computed again.

What came out is in `experiments/results/task_relations.md`, whose tables
`python -m experiments.blocks` writes from the rows; CSV files and heat maps of
the matrices are beside the rows.
"""

from collections.abc import Iterator, Sequence
import pathlib
import sys
import time
from typing import Any

from absl import flags
import numpy as np
import scipy.stats

import leep_jax
from leep_jax import command, progress, relations, tasks as tasks_lib
from leep_jax.relations import affinity, p2l
from leep_jax.reports import plots, results
from leep_jax.transfer import __main__ as transfer

FLAGS = flags.FlagValues()
_DATA_DIR = flags.DEFINE_string(
  "data_dir", None, "Folder of the TFDS data sets.", flag_values=FLAGS
)
RESULTS = pathlib.Path(__file__).parent / "results"
TABLE = RESULTS / "task_relations.md"
FOLDER = RESULTS / "task_relations"
ROWS = FOLDER / "matrices.jsonl"
TRAINED = FOLDER / "trained.jsonl"
SETS = ("digits", "fashion_mnist", "cifar10", "cifar100")
PROBE = "tiny_imagenet32_resnet14"
PROBES = (
  PROBE,
  "cifar100_resnet14",
  "cifar10_resnet14",
  "fashion_mnist_resnet8",
)
LIMIT = 600
L2 = 0.01
# Probe, form and penalty of each matrix of distances; the first is shown whole.
SETTINGS = (
  (PROBE, "exact", L2),
  (PROBE, "empirical", L2),
  *((PROBE, "monte_carlo", l2) for l2 in (0.001, L2, 0.1)),
  *((probe, "monte_carlo", L2) for probe in PROBES[1:]),
)


def load(name: str, *, limit: int | None = LIMIT) -> leep_jax.Dataset:
  """Returns a training set.

  Args:
    name: one of `SETS`.
    limit: number of images.
  """
  # The digits are not of TFDS.
  where = None if name == "digits" else _DATA_DIR.value
  return leep_jax.load_dataset(name, limit=limit, data_dir=where)


def halves(name: str, labels: np.ndarray) -> list[tasks_lib.Task]:
  """Divides a set into two tasks of other images and the same classes.

  Args:
    name: of the set.
    labels: `[n]` of its images.
  """
  order = np.random.default_rng(0).permutation(len(labels))
  first, second = order[: len(order) // 2], order[len(order) // 2 :]
  both = np.intersect1d(labels[first], labels[second])
  tasks = []
  for letter, part in (("a", first), ("b", second)):
    own = np.sort(part[np.isin(labels[part], both)])
    name_of = f"{name} {letter}"
    tasks.append(tasks_lib.Task(name_of, tuple(both.tolist()), own, own))
  return tasks


def compute_distances(rows: results.Rows) -> None:
  """Computes the matrices of distances that are missing."""
  done = {(r["model"], r["form"], r["l2"]) for r in rows.rows if "form" in r}
  for model, form, l2 in SETTINGS:
    if (model, form, l2) in done:
      continue
    probe = leep_jax.load_source(model)
    found: list[np.ndarray] = []
    names: list[str] = []
    start = time.monotonic()
    for name in SETS:
      progress.write(f"{model}, {form}, l2 {l2}: {name}")
      dataset = load(name)
      tasks = halves(name, dataset.labels())
      found.extend(
        relations.embed(probe, dataset, tasks=tasks, form=form, l2=l2)
      )
      names += [task.name for task in tasks]
    values = relations.distances(np.array(found), names=names)
    rows.append(
      {
        "model": model, "form": form, "l2": l2, "names": names,
        "values": values.round(5).tolist(),
        "seconds": round(time.monotonic() - start, 1),
      }
    )  # fmt: skip


def compute_p2l(rows: results.Rows) -> None:
  """Computes sizes and divergences, if they are missing."""
  if any("divergences" in row for row in rows.rows):
    return
  source = leep_jax.load_source(PROBE)
  means = [
    p2l.mean_features(leep_jax.compute_outputs(source, load(name)))
    for name in SETS
  ]
  divergences = [[relations.divergence(s, t) for t in means] for s in means]
  rows.append(
    {
      "model": PROBE, "names": SETS,
      "sizes": [len(load(name, limit=None)) for name in SETS],
      "divergences": np.round(divergences, 5).tolist(),
    }
  )  # fmt: skip


def train(name: str) -> None:
  """Trains the heads of all sources on the tasks of a set that are missing."""
  arguments = [
    f"--dataset={name}", f"--output={TRAINED}", "--method=probe", "--l2=0.01",
    "--tasks=small(count=20,classes=5,examples=20)",
  ]  # fmt: skip
  if name != "digits":
    arguments += [f"--data_dir={_DATA_DIR.value}", "--limit=5000",
                  "--test_limit=2000"]  # fmt: skip
  if transfer.main(["transfer", *arguments]):
    raise SystemExit(f"heads were not trained on {name}")


def read(path: pathlib.Path) -> list[dict[str, Any]]:
  """Returns the committed rows of a file."""
  return results.parse_rows(path.read_bytes(), name=str(path))[0]


def write_matrices(rows: Sequence[results.Row]) -> None:
  """Writes the CSV file and the heat map of each matrix."""
  first = _distances(rows)[0]
  (sized,) = [row for row in rows if "divergences" in row]
  found = relations.affinities(read(TRAINED))
  for name, values, sources, targets, label in (
    ("task2vec", first["values"], first["names"], first["names"], "distance"),
    ("p2l", _p2l(sized), sized["names"], sized["names"], "P2L (nats)"),
    ("affinity", found.values, found.sources, found.targets, "affinity"),
  ):
    results.write_rows(
      FOLDER / f"{name}.csv",
      [
        {"source": source, **dict(zip(targets, row, strict=True))}
        for source, row in zip(
          sources, np.round(values, 5).tolist(), strict=True
        )
      ],
    )
    plots.matrix(
      values, sources, targets=targets, title=name, label=label,
      path=FOLDER / f"{name}.png",
    )  # fmt: skip


def _distances(rows):
  """The rows of distances, in the order of `SETTINGS`."""
  by_setting = {
    (row["model"], row["form"], row["l2"]): row for row in rows if "form" in row
  }
  return [by_setting[setting] for setting in SETTINGS]


def _p2l(row):
  """`[A, A]` P2L, sources in rows."""
  return np.log(row["sizes"])[:, None] - np.array(row["divergences"])


def table(rows: Sequence[results.Row], found: affinity.Affinities) -> str:
  """Returns the tables of `task_relations.md`, in Markdown.

  Args:
    rows: of `ROWS`.
    found: affinities of the trained heads.
  """
  first = _distances(rows)[0]
  (sized,) = [row for row in rows if "divergences" in row]
  names = sized["names"]
  lines = [
    f"Task2Vec distances, `{first['model']}`, {first['form']}:",
    _matrix(first["names"], first["names"], first["values"]),
    "How the distances depend on form, penalty and probe:",
    "\n".join(_settings(rows)),
    f"P2L of `{sized['model']}`, alpha 1 (sizes: "
    f"{', '.join(f'{size:,}' for size in sized['sizes'])}):",
    _matrix(names, names, _p2l(sized)),
    "The divergence in it:",
    _matrix(names, names, sized["divergences"]),
    f"Affinities by accuracy of {found.trials[0]} converged heads each:",
    _matrix(found.sources, found.targets, found.values),
  ]
  return "\n\n".join(lines)


def _matrix(sources, targets, values):
  lines = [f"| source | {' | '.join(targets)} |", "|---" * (len(targets) + 1)]
  lines[1] += "|"
  for name, row in zip(sources, values, strict=True):
    cells = " | ".join(f"{value:.3f}" for value in row)
    lines.append(f"| {name} | {cells} |")
  return "\n".join(lines)


def _settings(rows) -> Iterator[str]:
  yield (
    "| probe | form | l2 | halves | two sets | nearest is the other half | "
    "nearest set of digits | Spearman with the first | seconds |"
  )
  yield "|---|---|---|---|---|---|---|---|---|"
  above = np.triu_indices(2 * len(SETS), 1)
  for row in _distances(rows):
    values = np.array(row["values"])
    own = values[np.arange(0, 8, 2), np.arange(1, 8, 2)]
    blocks = values.reshape(4, 2, 4, 2).mean(axis=(1, 3))
    others = np.where(np.eye(8, dtype=bool), np.inf, values).argmin(axis=1)
    right = np.sum(others == np.arange(8) ^ 1)
    rank = scipy.stats.spearmanr(
      np.array(_distances(rows)[0]["values"])[above], values[above]
    ).statistic
    yield (
      f"| `{row['model']}` | {row['form']} | {row['l2']:g} | {own.mean():.3f} "
      f"| {blocks[np.triu_indices(4, 1)].mean():.3f} | {right} of 8 | "
      f"{SETS[1 + blocks[0, 1:].argmin()]} | {rank:.3f} | "
      f"{row['seconds']:.0f} |"
    )


def _run() -> int:
  FOLDER.mkdir(parents=True, exist_ok=True)
  with results.Rows(ROWS) as rows:
    compute_p2l(rows)
    for name in SETS:
      train(name)
    compute_distances(rows)
  write_matrices(rows.rows)
  return 0


def main(argv: list[str]) -> int:
  """Runs the experiment; returns its exit status."""
  return command.main(argv, FLAGS, __doc__ or "", _run)


if __name__ == "__main__":
  sys.exit(main(sys.argv))
