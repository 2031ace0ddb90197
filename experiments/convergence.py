"""Compares fine-tuning with training from scratch, by epoch (section 5.5).

    python -m experiments.convergence --data_dir=DIR --weights=DIR --scale=cpu

Purpose: do fine-tuned models learn faster on tasks with high LEEP, and exceed a
reference by more? The reference is a network trained from scratch on the same
task, for 100 epochs (40 on Fashion-MNIST). The experiment uses the tasks and
the fine-tuned models of `small_tasks`, and trains those that are missing. It
takes the test accuracy of the fine-tuned model after each epoch, subtracts the
reference's final one, and averages the difference over the tasks of a level of
LEEP. There are five levels of equal width for CIFAR-100, two for Fashion-MNIST.

Scales: `paper` is 200 tasks, from the CIFAR-10 ResNet-20 and an ImageNet
ResNet-18. `cpu` is 30 tasks from the ResNet-20, with accuracies every 2 epochs
(every 4 on Fashion-MNIST); references are trained for as many epochs as
fine-tuned models, 30 on CIFAR-100. `smoke` uses digits.

Cost of `cpu`, besides that of `small_tasks`: half an hour of training on
CIFAR-100 and two hours on Fashion-MNIST, on two cores that also had other work.

What came out: on CIFAR-100, tasks of higher levels reach the reference earlier
and exceed it by more, as in the paper; on Fashion-MNIST they exceed it by less,
because their references are better. See "Convergence" in
`experiments/README.md`, and figures 4 and 8 there.
"""

from collections.abc import Mapping, Sequence
import dataclasses
import pathlib
import sys

import numpy as np

from experiments import section, small_tasks
from leep_jax.reports import correlation, results, sweep_report

# Number of levels by target. Others have 5, as in the paper.
LEVELS = {"fashion_mnist": 2}


def parts(scale: str, target: str) -> list[section.Part]:
  """Returns the sweeps of a scale and a target."""
  found = small_tasks.fine_tuning(scale, target)
  if scale == "cpu":
    # Each source needs references of its own, and larger ones have no curves.
    found = [dataclasses.replace(found[0], models=(section.CIFAR10,))]
  return [one for part in found for one in (part, _reference(scale, part))]


def _reference(scale, tuned):
  """Returns the sweep that trains from scratch for tasks of fine-tuning."""
  # The reference has these flags of fine-tuning. It needs no curve, because
  # only its final accuracy is used.
  copied, flags = ["--test_limit"], ["--curve=0"]
  if scale == "paper":
    flags.append(f"--epochs={40 if tuned.dataset == 'fashion_mnist' else 100}")
  else:
    copied.append("--epochs")
  flags += [flag for flag in tuned.flags if flag.startswith(tuple(copied))]
  return dataclasses.replace(
    tuned,
    folder=f"convergence/{tuned.dataset}",
    transfer="scratch",
    flags=tuple(flags),
  )


@dataclasses.dataclass(frozen=True)
class Convergence:
  """Differences from the reference, by level of LEEP.

  Attributes:
    levels: `[T, E]` differences of T tasks after E epochs, by name of the
      level.
    start: epoch of the first value.
    step: number of epochs from one value to the next.
    matched: the first measured epoch in which the mean difference is not below
      0, or None, by name of the level.
    gain: of LEEP with the difference after the last epoch.
    reference: of LEEP with the reference's accuracy.
  """

  levels: Mapping[str, np.ndarray]
  start: int
  step: int
  matched: Mapping[str, int | None]
  gain: correlation.Correlation
  reference: correlation.Correlation


def differences(
  tuned: Sequence[results.Row],
  references: Sequence[results.Row],
  *,
  count: int = 5,
) -> Convergence | None:
  """Returns accuracies minus the reference's final one, by level of LEEP.

  Args:
    tuned: rows of scores and of fine-tuning, for one source.
    references: rows of training from scratch.
    count: number of levels.

  Returns:
    The differences, or None if fewer than two tasks have a score, a curve and
    a reference.
  """
  final = {
    (row["task"], row["task_checksum"]): row["accuracy"]
    for row in references
    if row["method"] == "scratch" and row["accuracy"] is not None
  }
  leep = {
    (row["task"], row["task_checksum"]): row["scores"].get("leep")
    for row in tuned
    if row["method"] == sweep_report.SCORED
  }
  curves = {
    (row["task"], row["task_checksum"]): row["accuracies"]
    for row in tuned
    if row["method"] == "fine_tune" and row["accuracy"] is not None
  }
  tasks = [t for t in curves if t in final and leep.get(t) is not None]
  if len(tasks) < 2:
    return None
  values = np.array([curves[task] for task in tasks], float)
  # A curve has a value for each epoch, null where it was not measured.
  measured = np.isfinite(values).all(axis=0)
  epochs = np.flatnonzero(measured) + 1
  reference = np.array([final[task] for task in tasks])
  values = values[:, measured] - reference[:, None]
  scores = [leep[task] for task in tasks]
  levels, matched = {}, {}
  for number, level in enumerate(
    correlation.levels(scores, values[:, -1], count=count), start=1
  ):
    if level.n:
      name = f"level {number}"
      levels[name] = values[list(level.rows)]
      ahead = epochs[levels[name].mean(axis=0) >= 0]
      matched[name] = int(ahead[0]) if len(ahead) else None
  step = int(epochs[1] - epochs[0]) if len(epochs) > 1 else 1
  return Convergence(
    levels,
    int(epochs[0]),
    step,
    matched,
    correlation.correlate(scores, values[:, -1]),
    correlation.correlate(scores, reference),
  )


def measured(
  target: str, folder: pathlib.Path = section.RESULTS
) -> dict[str, Convergence]:
  """Returns the differences from the reference on a target, by source.

  Args:
    target: target data set.
    folder: folder of the rows of all sections.
  """
  tuned = section.measured("small_tasks", target, folder)
  references = section.measured("convergence", target, folder)
  by_model = {}
  for model in dict.fromkeys(row["model"] for row in references):
    found = differences(
      *(
        [row for row in rows if row["model"] == model]
        for rows in (tuned, references)
      ),
      count=LEVELS.get(target, 5),
    )
    if found is not None:
      by_model[model] = found
  return by_model


def table(found: Convergence) -> str:
  """Returns the differences by level of LEEP, as a Markdown table."""
  lines = [
    "| level of LEEP | tasks | first epoch not below the reference | final "
    "difference |",
    "|---|---|---|---|",
  ]
  for name, values in found.levels.items():
    last = values[:, -1]
    error = ""
    if len(last) > 1:
      error = f" ± {last.std(ddof=1) / np.sqrt(len(last)):.3f}"
    epoch = found.matched[name]
    lines.append(
      f"| {name.removeprefix('level ')} | {len(last)} | "
      f"{'none' if epoch is None else epoch} | {last.mean():+.3f}{error} |"
    )
  gain, reference = map(_with_p, (found.gain, found.reference))
  return "\n".join(lines) + (
    f"\n\nOver tasks, LEEP has r = {gain} with the final difference, and r = "
    f"{reference} with the accuracy of the reference."
  )


def _with_p(found):
  if found.pearson is None:
    return "undefined"
  return f"{found.pearson:.2f} (p = {found.p_value:.2g})"


SECTION = section.Section("convergence", ("cifar100", "fashion_mnist"), parts)

if __name__ == "__main__":
  sys.exit(section.main(sys.argv, SECTION, __doc__ or ""))
