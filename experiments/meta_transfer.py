"""Compares scores with accuracy after meta-transfer by CNAPs (section 5.4).

    python -m experiments.meta_transfer --data_dir=DIR --scale=cpu

Purpose: do scores predict the accuracy of a classifier that is not trained on
the task, but adapted to it by other networks? There are 200 tasks of 5 random
classes of CIFAR-100. Of the 100 test images of each class, 50 are for
adaptation and 50 for the test.

The CNAPs model is in `results/meta_transfer`; the JSON file beside it has the
details. `experiments.train_cnaps` meta-trained it on other classes of CIFAR-100
and on CIFAR-10, so that tasks are drawn from the labels 60 to 99 alone. The
source that is scored is its backbone, the bundled Tiny-ImageNet ResNet-14. The
paper's backbone is an ImageNet ResNet-18.

For comparison, the same tasks are also given to the model before its
meta-training, which classifies by the nearest class mean of the same features.
Its rows are in a folder of their own, which Table 1 does not read.

Scales: `cpu` and `paper` are the same 200 tasks. `smoke` uses digits.

Cost: 8 minutes on one CPU core, half of them for the comparison.

What came out: Table 1 of `experiments/README.md` has the r of LEEP, NCE and
H-score, published and measured; its block `meta` has the accuracies.
"""

import atexit
import functools
import json
import pathlib
import shutil
import sys
import tempfile

import numpy as np

from experiments import section
from leep_jax.reports import sweep_report
from leep_jax.transfer import cnaps

SOURCE = "tiny_imagenet32_resnet14"
MODEL = section.RESULTS / "meta_transfer" / f"cnaps_{SOURCE}.safetensors"
TASKS = "few_shot(count=200,classes=5,examples=50,among=60..99)"
# The section of the rows of the model before its meta-training.
UNTRAINED = "meta_transfer_untrained"
_SCORES = "leep", "nce", "h_score"


@functools.cache
def untrained() -> pathlib.Path:
  """Writes the model before its meta-training; returns the path of the file.

  The file is always the same. It is removed at the end of the process.
  """
  folder = pathlib.Path(tempfile.mkdtemp())
  atexit.register(shutil.rmtree, folder, ignore_errors=True)
  path = folder / f"cnaps_{SOURCE}_untrained.safetensors"
  cnaps.save(cnaps.create(SOURCE), path, card={"backbone": SOURCE})
  return path


def parts(scale: str, target: str) -> list[section.Part]:
  """Returns the sweeps of a scale and a target."""
  tasks = TASKS
  if scale == "smoke":
    tasks = "few_shot(count=4,classes=5,examples=10)"
  return [
    section.Part(
      f"{name}/{target}",
      target,
      (SOURCE,),
      tasks,
      "cnaps",
      section.flags_of({**section.SCORES, "cnaps": str(model)}),
    )
    for name, model in (("meta_transfer", MODEL), (UNTRAINED, untrained()))
  ]


def text() -> str:
  """Returns what meta-training did to the CNAPs of section 5.4.

  It comes from the model's card, its validation curve, and the rows of the
  tasks with the model before and after its meta-training.
  """
  card = json.loads(MODEL.with_suffix(".json").read_text())
  curve = _epochs()
  kept = curve[card["kept_epoch"]]
  after, before = (
    section.measured(name, "cifar100") for name in ("meta_transfer", UNTRAINED)
  )
  return (
    f"Its meta-training (`{card['data']}`) took {curve[-1]['tasks']:,} tasks "
    f"in {curve[-1]['epoch']} epochs. After each, its accuracy was measured in "
    f"validation (`{card['validation']}`). The weights of epoch "
    f"{kept['epoch']}, after {kept['tasks']:,} tasks, are kept because they "
    "are the best in validation, so that this accuracy is optimistic. Target "
    f"tasks are `{after[0]['sampler']}`. Before meta-training, the model "
    "classifies by the nearest class mean of its backbone's features.\n\n"
    f"{_reached(curve[0], kept, before, after)}"
  )


def _epochs():
  """Returns the rows of the meta-training, one for each epoch."""
  return section.rows_in(MODEL.with_suffix(".jsonl"))


def _reached(first, kept, before, after):
  """Returns the table of the CNAPs before and after its meta-training."""
  head = "CNAPs", "validation", "target tasks", *_SCORES
  lines = [f"| {' | '.join(head)} |", f"|{'---|' * len(head)}"]
  by_task = []
  for name, row, rows in (
    ("before meta-training", first, before),
    ("after it", kept, after),
  ):
    reached = {r["task"]: r["accuracy"] for r in rows if r["method"] == "cnaps"}
    by_task.append(reached)
    found = {r["score"]: r for r in sweep_report.correlations(rows)}
    cells = [
      name,
      f"{row['validation_accuracy']:.3f}",
      f"{np.mean(list(reached.values())):.3f}",
      *(_with_interval(found[score]) for score in _SCORES),
    ]
    lines.append(f"| {' | '.join(cells)} |")
  old, new = by_task
  gains = np.array([new[task] - old[task] for task in old])
  error = gains.std(ddof=1) / np.sqrt(len(gains))
  table = "\n".join(lines)
  return (
    f"{table}\n\nAccuracies are means over tasks. The other columns are r of a "
    f"score with the accuracies of the {len(gains)} target tasks, and its 95 % "
    f"interval. Meta-training changes the accuracy on a target task by "
    f"{gains.mean():+.3f} (standard error over tasks, which share classes: "
    f"{error:.3f}); it is higher on {np.sum(gains > 0)} tasks and lower on "
    f"{np.sum(gains < 0)}."
  )


def _with_interval(row):
  return f"{row['pearson']:.3f} ({row['low']:.3f} to {row['high']:.3f})"


def validation_curve() -> str:
  """Returns the table of the epochs of the meta-training."""
  lines = [
    "| training tasks | their loss | validation loss | accuracy | seconds |",
    "|---|---|---|---|---|",
  ]
  for row in _epochs():
    loss = "-" if row["loss"] is None else f"{row['loss']:.3f}"
    lines.append(
      f"| {row['tasks']:,} | {loss} | {row['validation_loss']:.3f} | "
      f"{row['validation_accuracy']:.4f} | {row['seconds']:.0f} |"
    )
  return "\n".join(lines)


SECTION = section.Section("meta_transfer", ("cifar100",), parts)

if __name__ == "__main__":
  sys.exit(section.main(sys.argv, SECTION, __doc__ or ""))
