r"""Meta-trains a CNAPs model on sampled tasks and writes it with its card.

    python -m experiments.train_cnaps --data_dir=DIR \
      --output=cnaps_tiny_imagenet32_resnet14.safetensors

Purpose: trains the model for section 5.4 of the LEEP paper. Tasks are drawn
from the training images of some classes of cifar100 and of all of cifar10,
resized for the backbone. `NAME:LOW..HIGH` names the classes of a data set by
their labels. The labels of cifar100 are in alphabetical order, so their ranges
are arbitrary in meaning: 0 to 49 are for training, 50 to 59 for validation, and
60 to 99 are left for the target tasks of `experiments.meta_transfer`.

Before the first epoch and after each, the script measures the accuracy on the
same validation tasks (5 classes, 50 support images each), which are drawn from
test images. It writes these rows to `NAME.jsonl`, next to `NAME.safetensors`:
the number of epochs and of training tasks, the mean loss of training tasks in
the epoch and of validation tasks (cross entropy of queries in nats), and the
seconds since the row before. Epoch 0 is the model before its training, which
classifies by the nearest class mean of the frozen features. What is written at
the end are the weights of the epoch of the highest validation accuracy.

The recipe is `cnaps.Config`: Adam with a cosine schedule on the mean gradient
of two tasks. After every epoch the script writes an Orbax checkpoint to the
folder `NAME.checkpoints`, and the best weights to `NAME.best.safetensors`.
After an interruption, the same command continues from the last checkpoint, to
the same result. It removes both when the output is written.

Why this recipe: in short trials in which only the head was trained, training
tasks of as many support images as target tasks raised the accuracy in
validation, and those of 5 images a class lowered it, as their means are noisy.
The generator of the head learned the training classes by heart, as they are
few, unless its penalty was high.
A task of 5 classes with 12 images each costs less than half of one with 50.

Cost: 43 minutes on one CPU core with other work, of which the validation takes
about a tenth.

What came out: the block `meta` of `experiments/README.md`, computed from the
card, the rows of validation and those of section 5.4. Classes of validation and
target tasks are new to the CNAPs model. Its backbone was trained on
tiny_imagenet32, whose classes may be similar.

Exit status 0; 2 for an error in the input or a training that diverges (one line
on standard error), 130 when interrupted.
"""

import contextlib
import dataclasses
import json
import math
import pathlib
import sys
import tempfile
import time
from typing import Any

from absl import flags
import jax
import numpy as np

from leep_jax import command, data, tasks as tasks_lib, validation
from leep_jax.models import preprocessing as preprocessing_lib
from leep_jax.reports import results
from leep_jax.tasks import values
from leep_jax.transfer import checkpoints as checkpoints_lib, cnaps

# Number of classes of validation tasks.
_WAYS = 5
_RECIPE = cnaps.Config()
_HELP = {
  "epochs": "Number of epochs; each ends with a checkpoint and an accuracy.",
  "episodes": "Number of tasks per epoch.",
  "tasks_per_step": "Number of tasks whose gradients are averaged.",
  "ways": "Smallest and largest number of classes of a task.",
  "shots": "Smallest and largest number of support images per class.",
  "support": "Largest number of support images of a task.",
  "queries": "Number of query images of a task.",
  "learning_rate": "Initial learning rate of Adam.",
  "film_penalty": "L2 penalty of FiLM scales around 1 and shifts around 0.",
  "head_penalty": "L2 penalty of the last layer of the head's generator.",
  "seed": "Seed of weights and tasks.",
}

# A set of flags for each command: modules of several commands can be imported
# without their flags colliding.
FLAGS = flags.FlagValues()


def _define(field: dataclasses.Field[Any]) -> flags.FlagHolder[Any]:
  """Defines the flag for a field of the recipe."""
  default, text = getattr(_RECIPE, field.name), _HELP[field.name]
  if isinstance(default, tuple):
    default = [str(number) for number in default]
    return flags.DEFINE_list(field.name, default, text, flag_values=FLAGS)
  define: Any = (
    flags.DEFINE_float if isinstance(default, float) else flags.DEFINE_integer
  )
  return define(field.name, default, text, flag_values=FLAGS)


_CONFIG = {f.name: _define(f) for f in dataclasses.fields(cnaps.Config)}
_BACKBONE = flags.DEFINE_string(
  "backbone",
  "tiny_imagenet32_resnet14",
  "Source to adapt: a CIFAR ResNet, named as for `leep_jax.score --model`.",
  flag_values=FLAGS,
)
_DATASETS = flags.DEFINE_list(
  "datasets",
  ["cifar100:0..49", "cifar10"],
  "TFDS data sets, each with the range of its classes, by default all. "
  "Training tasks are drawn from their training splits.",
  flag_values=FLAGS,
)
_VALIDATION = flags.DEFINE_string(
  "validation",
  "cifar100:50..59",
  "Data set and classes. Validation tasks are drawn from its test split.",
  flag_values=FLAGS,
)
_DATA_DIR = flags.DEFINE_string(
  "data_dir", None, "Folder of TFDS data sets.", flag_values=FLAGS
)
_LIMIT = flags.DEFINE_integer(
  "limit", None, "Use this many examples of each data set.", flag_values=FLAGS
)
_VALIDATION_TASKS = flags.DEFINE_integer(
  "validation_tasks", 20, "Number of validation tasks.", flag_values=FLAGS
)
_SHOTS = flags.DEFINE_integer(
  "validation_shots",
  50,
  "Support images per class of validation tasks; the others are queries.",
  flag_values=FLAGS,
)
_OUTPUT = flags.DEFINE_string(
  "output",
  None,
  "File to write, .safetensors; its card (.json) and the validation curve "
  "(.jsonl) are written beside it.",
  required=True,
  flag_values=FLAGS,
)


def resize(images: np.ndarray, *, size: int) -> np.ndarray:
  """Resizes images `[n, H, W, 1 or 3]` to `[n, size, size, 3]` uint8."""
  fit = jax.jit(preprocessing_lib.Preprocessing(image_size=size))
  parts = [
    # Without mean and std, preprocessing returns values from 0 to 1.
    np.rint(np.asarray(fit(images[i : i + 1000])) * 255).astype(np.uint8)
    for i in range(0, len(images), 1000)
  ]
  return np.concatenate(parts)


def classes_of(text: str) -> tuple[str, tuple[int, int] | None]:
  """Reads a data set and its classes.

  Args:
    text: `NAME`, or `NAME:LOW..HIGH` for the classes of these labels.

  Returns:
    The name, and the smallest and largest label, or None for all classes.

  Raises:
    InputError: if the range is none.
  """
  name, colon, labels = text.rpartition(":")
  # A colon alone also comes before the version of a data set.
  if not colon or ".." not in labels:
    return text, None
  try:
    among = values.value_of(labels)
  except ValueError as e:
    raise validation.InputError(
      f"classes are {labels!r}, but must be a range, as in 0..49"
    ) from e
  return name, values.interval("classes", among, values.integers("classes", 0))


def measure(
  model: cnaps.Cnaps, examples: cnaps.Examples, tasks: list[tasks_lib.Task]
) -> tuple[float, float]:
  """Returns the mean accuracy and loss on tasks drawn from one set of images.

  Args:
    model: to measure.
    examples: the images and their labels.
    tasks: drawn from them. The loss is the cross entropy of queries in nats.
  """
  rows = cnaps.transfer(model, examples, examples, tasks=tasks)
  accuracies = [row.accuracy for row in rows]
  return float(np.mean(accuracies)), float(np.mean([row.nll for row in rows]))


def _config():
  given = {}
  for name, flag in _CONFIG.items():
    given[name] = flag.value
    if isinstance(flag.value, list):
      try:
        low, high = map(int, flag.value)
      except ValueError as e:
        raise validation.InputError(
          f"{name} is {','.join(flag.value)!r}, but must be two integers, as "
          "in 3,10"
        ) from e
      given[name] = low, high
  return cnaps.Config(**given)


def _load(text, split, size):
  """Loads a data set: the images and labels of the classes that are named."""
  name, among = classes_of(text)
  dataset = data.load_dataset(
    name, split=split, data_dir=_DATA_DIR.value, limit=_LIMIT.value
  )
  if dataset.image_shape is None:
    raise validation.InputError(f"images of {name} differ in size")
  images, labels = dataset.load()
  labels = validation.class_labels(labels)
  if among is not None:
    low, high = among
    chosen = (labels >= low) & (labels <= high)
    images, labels = images[chosen], labels[chosen]
  if not len(labels):
    raise validation.InputError(f"{text} has no examples")
  return resize(images, size=size), labels


def _load_training(size):
  """Loads the training splits of all data sets as one.

  Returns:
    The images, and for each data set and each of its classes, their indices.
  """
  images, classes, first = [], [], 0
  for text in _DATASETS.value:
    x, y = _load(text, "train", size)
    images.append(x)
    classes.append([first + np.flatnonzero(y == c) for c in np.unique(y)])
    first += len(y)
  return np.concatenate(images), classes


def _load_validation(size):
  """Loads a test split, and draws the validation tasks from it."""
  images, labels = _load(_VALIDATION.value, "test", size)
  sampler = tasks_lib.FewShot(classes=_WAYS, examples=_SHOTS.value)
  count = _VALIDATION_TASKS.value
  tasks = tasks_lib.draw(sampler, labels, labels, count=count, seed=0)
  return (images, labels), tasks


def _check_disjoint():
  """Refuses classes that are used twice: they would not be new to the model."""
  seen: dict[str, list[tuple[float, float]]] = {}
  for text in (*_DATASETS.value, _VALIDATION.value):
    name, among = classes_of(text)
    low, high = among or (0, math.inf)
    if any(low <= b and a <= high for a, b in seen.get(name, [])):
      raise validation.InputError(
        f"{text} has classes of {name} that are named before: those for "
        "training and validation must differ"
      )
    seen.setdefault(name, []).append((low, high))


class _Curve:
  """The validation curve, and the weights of its best epoch.

  Attributes:
    rows: one for each epoch, from epoch 0, the model before meta-training.
  """

  def __init__(self, output, examples, tasks):
    self._path = output.with_suffix(".jsonl")
    self._best = output.with_suffix(".best.safetensors")
    self._measured = examples, tasks
    self._since = time.monotonic()
    self.rows = []

  def start(self, model, epochs):
    """Reads the rows of the epochs done, or measures epoch 0.

    Args:
      model: before meta-training.
      epochs: number of epochs done.
    """
    if epochs:
      # An epoch that was reported without a checkpoint is trained again.
      content = self._path.read_bytes() if self._path.exists() else b""
      rows, _ = results.parse_rows(content, name=str(self._path))
      self.rows = [row for row in rows if row["epoch"] <= epochs]
      if len(self.rows) != epochs + 1:
        raise validation.InputError(
          f"{self._path} lacks rows of the {epochs} epochs done: remove the "
          "checkpoints to start anew"
        )
    else:
      self.add(0, None, model)

  def add(self, epoch, loss, model):
    """Measures an epoch, and keeps the weights if they are the best so far."""
    reached, nll = measure(model, *self._measured)
    row = {
      "epoch": epoch,
      "tasks": epoch * _CONFIG["episodes"].value,
      "loss": loss,
      "validation_accuracy": reached,
      "validation_loss": nll,
      "seconds": round(time.monotonic() - self._since, 1),
    }
    self._since = time.monotonic()
    before = [
      kept["validation_accuracy"] for kept in self.rows if kept["epoch"]
    ]
    # Not of epoch 0: what is written is a model that was meta-trained.
    if epoch and row["validation_accuracy"] > max(before, default=-1):
      cnaps.save(model, self._best, card={})
    self.rows.append(row)
    results.write_rows(self._path, self.rows)
    print(json.dumps(row), flush=True)

  @property
  def best(self):
    """The row of the best epoch, and its model."""
    row = max(self.rows[1:], key=lambda row: row["validation_accuracy"])
    return row, cnaps.load(self._best)

  def remove(self):
    """Removes the weights; the rows stay."""
    self._best.unlink(missing_ok=True)


def _write(model, card, output, measured):
  """Writes the model and its card, with the accuracy of the float16 file."""
  reached, _ = measure(model, *measured)
  card["validation_accuracy"] = reached
  print(f"validation accuracy {reached:.4f}", flush=True)
  with tempfile.TemporaryDirectory() as folder:
    file = pathlib.Path(folder, "model.safetensors")
    cnaps.save(model, file, card=card)
    content, kept = file.read_bytes(), cnaps.card(file)
  text = json.dumps(kept, indent=2) + "\n"
  # The card first, so that an interruption never leaves weights without one.
  results.replace_file(output.with_suffix(".json"), text.encode())
  results.replace_file(output, content)
  print(f"wrote {output}")


def _run() -> int:
  config = _config()
  _check_disjoint()
  if not _OUTPUT.value.endswith(".safetensors"):
    raise validation.InputError(
      f"output {_OUTPUT.value} must end in .safetensors"
    )
  output = results.check_path("output", _OUTPUT.value, (".safetensors",))
  results.check_path("card", output.with_suffix(".json"), (".json",))
  model = cnaps.create(_BACKBONE.value, seed=config.seed)
  size = model.preprocessing.image_size
  measured = _load_validation(size)
  images, classes = _load_training(size)
  what = {
    "backbone": _BACKBONE.value,
    "data": f"{', '.join(_DATASETS.value)}; {len(images):,} training images",
    "recipe": dataclasses.asdict(config),
    "validation": f"{_VALIDATION.value}, {len(measured[1])} tasks of {_WAYS} "
    f"classes, {_SHOTS.value} images each",
  }
  checkpoints = checkpoints_lib.Checkpoints(
    output.with_suffix(".checkpoints"), what
  )
  with contextlib.closing(checkpoints):
    # If both exist, the command was interrupted before it removed the
    # checkpoints, and has to finish.
    if output.exists() and not checkpoints.epochs:
      raise validation.InputError(
        f"{output} exists already: remove it to train again"
      )
    if checkpoints.epochs:
      print(f"continuing after epoch {checkpoints.epochs}", flush=True)
    curve = _Curve(output, *measured)
    curve.start(model, checkpoints.epochs)
    cnaps.meta_train(
      model,
      images,
      classes,
      config=config,
      checkpoints=checkpoints,
      report=curve.add,
    )
  row, best = curve.best
  card = {
    **what,
    "kept": "the weights of the epoch of the best accuracy in validation",
    "kept_epoch": row["epoch"],
    "licence": "Apache-2.0",
    # The CNAPs model starts as the nearest class mean of its backbone.
    "untrained_validation_accuracy": curve.rows[0]["validation_accuracy"],
  }
  _write(best, card, output, measured)
  checkpoints.remove()
  curve.remove()
  return 0


def main(argv: list[str]) -> int:
  """Runs the command; returns its exit status.

  Args:
    argv: the program's name and its flags.
  """
  return command.main(argv, FLAGS, __doc__ or "", _run)


if __name__ == "__main__":
  sys.exit(main(sys.argv))
