r"""What do the correlations of Table 1 depend on? One factor at a time.

    python -m experiments.factors --data_dir=DIR --weights=DIR \
      --cache_dir=runs/cpu/cache

Purpose: LEEP and NCE correlate less with the accuracy of re-trained heads than
the LEEP paper says, in sections 5.2 and 5.3. The paper leaves open how long
"trained" is, how features are scaled, and more. This script measures the
correlations of a line of Table 1 again, with one of these changed: the
training of the head, its features, the examples that are tested and scored,
the tasks, the sharpness of the source's probabilities, and, with `--recipes`,
how the source was trained.

`--recipes` is a folder of sources of one architecture that differ in their
training on CIFAR-10. `--train_recipes` trains them there first, by
`experiments.train_source` (see `RECIPES`).

Each setting is a row of `experiments/results/factors.jsonl`; rows that exist
are not computed again.

Cost: 20 minutes on two CPU cores after the forward passes of `small_tasks`,
half of them for sources of 1,024 and 2,048 features; 4 for each recipe.

What came out is in `experiments/README.md`: what moves r most of all is how
long the head is trained.
"""

from collections.abc import Iterator, Mapping, Sequence
import dataclasses
import functools
import pathlib
import subprocess
import sys
from typing import Any

from absl import flags
import numpy as np

from experiments import cached_outputs, section
import leep_jax
from leep_jax import (
  command,
  progress,
  tasks as tasks_lib,
  transfer,
  validation,
)
from leep_jax.reports import results, sweep_report
from leep_jax.tasks import task_scores
from leep_jax.transfer import metrics, trials

FLAGS = flags.FlagValues()
_CACHED = cached_outputs.CachedOutputs(FLAGS)
_RECIPES = flags.DEFINE_string(
  "recipes", None, "Folder of sources of several recipes.", flag_values=FLAGS
)
_TRAIN = flags.DEFINE_boolean(
  "train_recipes", False, "Train those that are missing.", flag_values=FLAGS
)
_SECTIONS = flags.DEFINE_list(
  "sections",
  None,
  "Names of the sections' modules. Default: all.",
  flag_values=FLAGS,
)
_FILE = "factors.jsonl"
_OUTPUT = flags.DEFINE_string(
  "output",
  str(section.RESULTS / _FILE),
  "File of the rows.",
  flag_values=FLAGS,
)
SCORES = ("leep", "nce", "h_score", "regularized_h_score", "leep_loo")
_COUNT = 200  # tasks
_ROOT = section.RESULTS.parents[1]
# The paper's epochs by section and target.
_EPOCHS = {
  ("small_tasks", "cifar100"): 100,
  ("small_tasks", "fashion_mnist"): 50,
  ("imbalanced_tasks", "cifar100"): 20,
  ("imbalanced_tasks", "fashion_mnist"): 20,
}


@dataclasses.dataclass(frozen=True)
class Setting:
  """How a correlation is measured; the defaults are those of Table 1.

  Attributes:
    epochs: of the head, as a factor of the paper's number.
    learning_rate: of the head.
    head: `sgd`, or `converged` for the optimum of the penalised likelihood.
    features: `raw`; `standardised` to mean 0 and variance 1 over all training
      images; or `unit`, of length 1.
    head_seed: of the head's initial weights and its order of examples.
    tested_on: the test images of the task's classes; `half`, 50 of each; or
      `unused`, the training images that the task leaves.
    scored_on: the task's training images; its `test` images; or `all` training
      images of its classes.
    task_seed: of the sampler.
    class_sizes: `equal` or, of a balanced task, `random`: as many images, drawn
      without regard to their class.
    temperature: by which the logarithms of the source's probabilities are
      divided.
    recipe: how the source was trained, or an empty string for the source of the
      line.
  """

  epochs: float = 1.0
  learning_rate: float = 0.01
  head: str = "sgd"
  features: str = "raw"
  head_seed: int = 0
  tested_on: str = "test"
  scored_on: str = "task"
  task_seed: int = 0
  class_sizes: str = "equal"
  temperature: float = 1.0
  recipe: str = ""


BASE = Setting()
# Values of each factor besides that of `BASE`.
FACTORS: dict[str, tuple[Any, ...]] = {
  "epochs": (0.05, 0.1, 0.25, 0.5, 2.0, 4.0),
  "learning_rate": (0.001, 0.1),
  "head": ("converged",),
  "features": ("standardised", "unit"),
  "head_seed": (1,),
  "tested_on": ("half", "unused"),
  "scored_on": ("test", "all"),
  "task_seed": (1, 2),
  "class_sizes": ("random",),
  "temperature": (0.5, 2.0, 4.0),
}
# Recipes of a ResNet-8, as flags of `experiments.train_source`: all have those
# of the first, except what each names.
_ARCH = "resnet8"
_OF_ALL = {"arch": _ARCH, "epochs": 4, "limit": 10000}
RECIPES: dict[str, dict[str, Any]] = {
  "the bundled recipe": {},
  "another seed": {"seed": 1},
  "no augmentation": {"crop": 0, "flip": False},
  "a quarter of the epochs": {"epochs": 1},
  "no weight decay": {"weight_decay": 0.0},
  "label smoothing 0.1": {"label_smoothing": 0.1},
}


@dataclasses.dataclass(frozen=True)
class Line:
  """A line of Table 1: the tasks of a section from one source.

  Attributes:
    section: name of the section's module.
    target: target data set.
    model: the source.
    varied: values of the factors that are changed, one at a time.
  """

  section: str
  target: str
  model: str
  varied: Mapping[str, Sequence[Any]]

  def settings(self) -> Iterator[Setting]:
    """Yields the settings, the default first."""
    yield BASE
    for factor, values in self.varied.items():
      if factor == "class_sizes" and self.section == "imbalanced_tasks":
        continue
      for value in values:
        yield dataclasses.replace(BASE, **{factor: value})


LINES = (
  *(Line(*key, section.CIFAR10, FACTORS) for key in _EPOCHS),
  *(
    Line(*key, model, {"epochs": (0.05, 0.1, 0.25, 0.5)})
    for model in (section.MOBILENET_100, section.RESNET50)
    for key in _EPOCHS
  ),
)
# The line on which recipes are compared.
_OF_RECIPES = ("small_tasks", "cifar100")


class Measuring:
  """Outputs of one source on a target, and correlations on its tasks."""

  def __init__(
    self,
    line: Line,
    train: leep_jax.Outputs,
    test: leep_jax.Outputs,
  ):
    """Keeps the outputs.

    Args:
      line: the line of Table 1.
      train: the source's outputs on the training set.
      test: the same on the test set.
    """
    self._line = line
    self._train, self._test = train, test

  def row(self, setting: Setting) -> dict[str, Any]:
    """Returns means of performance, and correlations by metric and score."""
    tasks = self.tasks(setting)
    scores = self._scores(setting, tasks)
    reached = self._reached(setting, tasks)
    found: dict[str, Any] = {"mean": {}, "r": {}}
    for metric in sweep_report.METRICS:
      values = [getattr(result, metric) for result in reached]
      if values[0] is None:
        continue
      found["mean"][metric] = round(float(np.mean(values)), 5)
      found["r"][metric] = {
        name: _r([row[name] for row in scores], values) for name in SCORES
      }
    return found

  def tasks(self, setting: Setting) -> list[tasks_lib.Task]:
    """Returns the tasks of a setting."""
    imbalanced = self._line.section == "imbalanced_tasks"
    shape = (4, 30) if self._line.target == "fashion_mnist" else (5, 50)
    drawn = tasks_lib.draw(
      tasks_lib.Imbalanced() if imbalanced else tasks_lib.Small(*shape),
      self._train.labels,
      self._test.labels,
      count=_COUNT,
      seed=setting.task_seed,
    )
    return [self._changed(setting, task) for task in drawn]

  def _changed(self, setting, task):
    train, test = task.train, task.test
    every = functools.partial(_of_classes, classes=task.classes)
    rng = np.random.default_rng((setting.task_seed, task.index))
    if setting.class_sizes == "random":
      pool = every(self._train.labels)
      train = rng.permutation(pool)[: len(train)]
    if setting.tested_on == "half":
      labels = np.asarray(self._test.labels)[test]
      halves = [test[labels == c] for c in task.classes]
      test = np.concatenate([half[: len(half) // 2] for half in halves])
    if setting.tested_on == "unused":
      test = np.setdiff1d(every(self._train.labels), train)
    return dataclasses.replace(task, train=train, test=test)

  def _scores(self, setting, tasks):
    outputs = self._train
    if setting.scored_on == "test":
      outputs = self._test
      tasks = [dataclasses.replace(t, train=t.test) for t in tasks]
    if setting.scored_on == "all":
      labels = self._train.labels
      tasks = [
        dataclasses.replace(t, train=_of_classes(labels, classes=t.classes))
        for t in tasks
      ]
    if setting.temperature != 1:
      outputs = _sharpened(outputs, setting.temperature)
    return task_scores.score_tasks(outputs, tasks, names=SCORES)

  def _reached(self, setting, tasks) -> list[metrics.Transferred]:
    train = _scaled(self._train, self._train, setting.features)
    test = train
    if setting.tested_on != "unused":
      test = _scaled(self._test, self._train, setting.features)
    if setting.head == "converged":
      return transfer.probe_head(train, test, tasks=tasks, l2=0.01)
    epochs = _EPOCHS[self._line.section, self._line.target]
    config = transfer.Config(
      epochs=max(1, round(epochs * setting.epochs)),
      learning_rate=setting.learning_rate,
      curve=0,
    )
    return transfer.retrain_head(
      train, test, tasks=tasks, config=config, seeds=[setting.head_seed]
    )


def _r(scores, values):
  """The correlation and its 95 % interval, or None if it is undefined."""
  # With too few examples, H-scores are equal up to rounding.
  if np.ptp(scores) < 1e-9:
    return None
  return section.r_with_interval(scores, values)


def _of_classes(labels, *, classes):
  return np.flatnonzero(np.isin(labels, classes))


def _sharpened(outputs, temperature):
  """Outputs whose probabilities have another temperature."""
  # A softmax in float32 can give 0, whose logarithm is not finite.
  logits = np.log(np.maximum(outputs.probs, 1e-30)) / temperature
  return leep_jax.Outputs.from_arrays(
    logits=logits, features=outputs.features, labels=outputs.labels
  )


def _scaled(outputs, train, how):
  """Outputs with other features; `train` are those of the training set."""
  if how == "raw":
    return outputs
  features = np.asarray(outputs.features, np.float64)
  if how == "unit":
    features = features / np.linalg.norm(features, axis=1, keepdims=True)
  else:
    mean, std = _moments(train)
    features = (features - mean) / np.where(std > 0, std, 1)
  return leep_jax.Outputs.from_arrays(
    features=features.astype(np.float32), labels=outputs.labels
  )


def _moments(outputs):
  features = np.asarray(outputs.features, np.float64)
  return features.mean(axis=0), features.std(axis=0)


def rows_of() -> list[results.Row]:
  """Returns the committed rows; none if the command was not run."""
  return section.rows_in(section.RESULTS / _FILE)


def key(row: results.Row) -> tuple[Any, ...]:
  """Returns what tells a row from others."""
  setting = tuple(sorted(row["setting"].items()))
  return row["section"], row["target"], row["model"], setting


def changed(setting: Setting) -> dict[str, Any]:
  """Returns the fields of a setting that are not those of Table 1."""
  return {
    name: value
    for name, value in dataclasses.asdict(setting).items()
    if value != getattr(BASE, name)
  }


def _outputs(line, model, opened):
  """Outputs of a source on the training and the test set of a line."""
  fewer: dict[str, int] = {}
  if line.model in (section.MOBILENET_100, section.RESNET50, _ARCH):
    fewer = section.FEWER_IMAGES[line.target]
  return opened.outputs(model, opened.pair(line.target, **fewer))


def _measure(line, settings, rows, outputs) -> None:
  """Appends the rows of a line that are missing.

  Args:
    line: the line.
    settings: those to measure.
    rows: to append to.
    outputs: function that returns the source's outputs on both sets.
  """
  done = set(map(key, rows.rows))
  wanted = []
  for setting in settings:
    row = {
      "section": line.section,
      "target": line.target,
      "model": line.model,
      "setting": changed(setting),
    }
    if key(row) not in done:
      wanted.append((setting, row))
  if not wanted:
    return
  name = f"{line.section} {line.target} {section.short_name(line.model)}"
  progress.write(f"{name}: outputs")
  measuring = Measuring(line, *outputs())
  for i, (setting, row) in enumerate(wanted):
    progress.write(
      f"{name}: setting {i + 1} of {len(wanted)}, {row['setting']}"
    )
    rows.append(
      {**row, "n": _COUNT, **measuring.row(setting), **trials.made_by()}
    )


def _train_recipes(folder: pathlib.Path, data_dir: str | None) -> None:
  """Trains the sources of several recipes that are missing."""
  folder.mkdir(parents=True, exist_ok=True)
  for recipe, options in RECIPES.items():
    file = _file(folder, recipe)
    if file.exists():
      continue
    progress.write(f"training a source: {recipe}")
    given = {**_OF_ALL, **options, "data_dir": data_dir, "output": file}
    flags_of = [f"--{k}={v}" for k, v in given.items() if v is not None]
    # In a process of its own, as flags of a call keep their values in the next.
    command_line = [sys.executable, "-m", "experiments.train_source", *flags_of]
    # In the folder of the package `experiments`, which may not be installed.
    found = subprocess.run(command_line, check=False, cwd=_ROOT)
    if found.returncode:
      raise validation.InputError(f"no source was trained with {recipe}")


def _file(folder, recipe):
  return folder / f"{recipe.replace(' ', '_')}.safetensors"


def _run() -> int:
  # Absolute, because sources are loaded in another working directory.
  output = pathlib.Path(_OUTPUT.value).resolve()
  recipes = _RECIPES.value and pathlib.Path(_RECIPES.value).resolve()
  known = list(dict.fromkeys(line.section for line in LINES))
  sections = _SECTIONS.value or known
  for name in sections:
    if name not in known:
      raise validation.unknown("section", name, known)
  with results.Rows(str(output)) as rows, _CACHED.opened() as opened:
    if recipes and _TRAIN.value:
      _train_recipes(recipes, opened.data_dir)

    def measure(line, settings, model):
      outputs = functools.partial(_outputs, line, model, opened)
      _measure(line, settings, rows, outputs)

    for line in LINES:
      if line.section in sections:
        measure(line, [*line.settings()], line.model)
    for recipe in RECIPES if recipes else ():
      measure(
        Line(*_OF_RECIPES, _ARCH, {}),
        [dataclasses.replace(BASE, recipe=recipe)],
        f"{_ARCH}@{_file(recipes, recipe)}",
      )
  return 0


def main(argv: list[str]) -> int:
  """Runs the command; returns its exit status.

  Args:
    argv: the program's name and its flags.
  """
  return command.main(argv, FLAGS, __doc__ or "", _run)


if __name__ == "__main__":
  sys.exit(main(sys.argv))
