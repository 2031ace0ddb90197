r"""Which form of H-score has the published sign on subsets of classes (5.1)?

    python -m experiments.h_score_forms --data_dir=DIR --weights=DIR

Purpose: on random subsets of the classes of CIFAR-100, the LEEP paper states a
positive correlation of H-score with accuracy, and `experiments.large_tasks`
measures a negative one. This script computes forms of H-score that the paper
may have used, and forms of accuracy that it may have compared them with, for
the tasks and accuracies of `large_tasks`.

Each form is a row of `h_score_forms.jsonl` in the folder `--results`; the file
is written anew.

Symbols: S, the covariance of the features of a task's training images; B, that
of their class means; Y classes, D features.

Cost: 5 minutes on two CPU cores, most of it forward passes.

What came out is in `experiments/results/table_1_details.md`.
"""

import dataclasses
import pathlib
import sys
from typing import Any

from absl import flags
import numpy as np

from experiments import cached_outputs, section
from leep_jax import command, progress, validation
from leep_jax.reports import results
from leep_jax.transfer import trials

FLAGS = flags.FlagValues()
_CACHED = cached_outputs.CachedOutputs(FLAGS)
_RESULTS = flags.DEFINE_string(
  "results",
  str(section.RESULTS),
  "Folder of the rows of `large_tasks`, and of the new rows.",
  flag_values=FLAGS,
)
_FILE = "h_score_forms.jsonl"
_MODELS = (section.CIFAR10, section.MOBILENET)
_LIMIT = 10_000  # images, as in `large_tasks`
_FEW = 20  # images of a class
# What H-scores are compared with.
AGAINST = (
  "accuracy",
  "accuracy at equal classes",
  "accuracy - 1/Y",
  "Y accuracy",
)


@dataclasses.dataclass(frozen=True)
class Features:
  """Covariances of the features of a task.

  Attributes:
    total: S `[D, D]`.
    between: B `[D, D]`.
    classes: Y.
  """

  total: np.ndarray
  between: np.ndarray
  classes: int


def of_task(features: np.ndarray, labels: np.ndarray) -> Features:
  """Returns the covariances of a task.

  Args:
    features: `[n, D]`.
    labels: `[n]`.
  """
  known, index = np.unique(labels, return_inverse=True)
  means = np.stack([features[labels == c].mean(axis=0) for c in known])
  return Features(np.cov(features.T), np.cov(means[index].T), len(known))


def h_score(total: np.ndarray, between: np.ndarray) -> float:
  """Returns tr(S^+ B) of Bao et al., ICIP 2019."""
  return float(np.trace(np.linalg.pinv(total, hermitian=True) @ between))


def forms(
  features: np.ndarray,
  probs: np.ndarray,
  labels: np.ndarray,
  *,
  everywhere: np.ndarray,
) -> dict[str, float]:
  """Returns the forms of H-score of a task.

  Args:
    features: `[n, D]` of its training images.
    probs: `[n, Z]` of the source.
    labels: `[n]`.
    everywhere: `[D, D]` covariance of the features of all images of the target.
  """
  own = of_task(features, labels)
  score = h_score(own.total, own.between)
  few = np.concatenate(
    [np.flatnonzero(labels == c)[:_FEW] for c in np.unique(labels)]
  )
  fewer = of_task(features[few], labels[few])
  of_probs = of_task(probs, labels)
  variances = np.diag(own.total)
  ratios = np.diag(own.between)[variances > 0] / variances[variances > 0]
  return {
    "tr(S^-1 B), its definition": score,
    "divided by Y - 1": score / (own.classes - 1),
    "divided by Y": score / own.classes,
    "divided by min(D, Y - 1)": score / min(len(variances), own.classes - 1),
    "S of all images of the target": h_score(everywhere, own.between),
    "sum of the features' ratios of variances": float(ratios.sum()),
    f"of {_FEW} images of each class": h_score(fewer.total, fewer.between),
    "of the source's probabilities": h_score(of_probs.total, of_probs.between),
    "minus tr(S)": -float(variances.sum()),
  }


def compared(
  values: np.ndarray, accuracy: np.ndarray, classes: np.ndarray
) -> dict[str, Any]:
  """Returns correlations `[r, low, high]` with each of `AGAINST`.

  Args:
    values: `[tasks]` of a form of H-score.
    accuracy: `[tasks]`.
    classes: `[tasks]` numbers of classes.
  """
  logs = np.log(classes)
  pairs = {
    "accuracy": (values, accuracy),
    # The partial correlation given the logarithm of the number of classes.
    "accuracy at equal classes": (
      residuals(values, logs),
      residuals(accuracy, logs),
    ),
    "accuracy - 1/Y": (values, accuracy - 1 / classes),
    "Y accuracy": (values, classes * accuracy),
  }
  found = {}
  for name in AGAINST:
    r = section.r_with_interval(*pairs[name])
    assert r is not None
    found[name] = r
  return found


def residuals(values: np.ndarray, other: np.ndarray) -> np.ndarray:
  """Returns residuals of a linear regression on `other`.

  The correlation of two such residuals is the partial correlation given
  `other`.
  """
  design = np.stack([np.ones(len(other)), other], axis=1)
  return values - design @ np.linalg.lstsq(design, values, rcond=None)[0]


def _rows(model, outputs, trained):
  """The rows of a source; `trained` are rows of heads of `large_tasks`."""
  # Indices in rows are those of the sample of `_LIMIT` images.
  features = np.asarray(outputs.features, np.float64)
  probs = np.asarray(outputs.probs, np.float64)
  labels = np.asarray(outputs.labels)
  everywhere = np.cov(features.T)
  columns: dict[str, list[float]] = {}
  for i, row in enumerate(trained):
    progress.write(f"{model}: task {i + 1} of {len(trained)}")
    own = np.isin(labels, row["classes"])
    found = forms(features[own], probs[own], labels[own], everywhere=everywhere)
    for name, value in found.items():
      columns.setdefault(name, []).append(value)
  accuracy = np.array([row["accuracy"] for row in trained])
  classes = np.array([row["num_classes"] for row in trained])
  return [
    {
      "model": model,
      "form": name,
      "n": len(trained),
      "r": compared(np.array(values), accuracy, classes),
      **trials.made_by(),
    }
    for name, values in columns.items()
  ]


def _run() -> int:
  # Absolute, because sources are loaded in another working directory.
  kept = pathlib.Path(_RESULTS.value).resolve()
  measured = section.measured("large_tasks", "cifar100", kept)
  found = []
  with _CACHED.opened() as opened:
    train, _ = opened.pair("cifar100", limit=_LIMIT)
    for model in _MODELS:
      trained = [
        row
        for row in measured
        if row["model"] == model and row["method"] == "retrain_head"
      ]
      if not trained:
        raise validation.InputError(
          f"there are no heads of {model}: run experiments.large_tasks"
        )
      (outputs,) = opened.outputs(model, [train])
      found += _rows(model, outputs, trained)
  results.write_rows(kept / _FILE, found)
  print(table(found))
  return 0


def rows_of() -> list[results.Row]:
  """Returns the committed rows; none if the command was not run."""
  return section.rows_in(section.RESULTS / _FILE)


def table(rows: list[results.Row]) -> str:
  """Returns the correlations as a Markdown table, a row for each form."""
  lines = [
    f"| source | form of H-score | {' | '.join(AGAINST)} |",
    "|---|---|" + "---|" * len(AGAINST),
  ]
  for row in rows:
    cells = [f"{row['r'][name][0]:.3f}" for name in AGAINST]
    name = section.short_name(row["model"])
    lines.append(f"| {name} | {row['form']} | {' | '.join(cells)} |")
  return "\n".join(lines)


def main(argv: list[str]) -> int:
  """Runs the command; returns its exit status.

  Args:
    argv: the program's name and its flags.
  """
  return command.main(argv, FLAGS, __doc__ or "", _run)


if __name__ == "__main__":
  sys.exit(main(sys.argv))
