r"""Meta-trains a CNAPs model on sampled tasks and writes it with its card.

    python -m experiments.train_cnaps --data_dir=DIR \
      --output=cnaps_tiny_imagenet32_resnet14.safetensors

Purpose: trains the model for section 5.4 of the LEEP paper. Tasks are drawn
from the training images of tiny_imagenet32, cifar10 and fashion_mnist, resized
for the backbone. The last tenth of a data set's classes is held out if that is
at least five classes, which is the case only for tiny_imagenet32. After every
epoch the script prints the accuracy on 10 tasks of held-out classes (5 classes,
50 support images each). At the end it measures the accuracy on `--tasks` tasks
of held-out classes, and on as many tasks of `--test`, by default the test
images of cifar100, which are not used for training. The card also has the
accuracy of the nearest class mean of the frozen features on the same tasks.

The recipe is `cnaps.Config`: Adam with a cosine schedule on the mean gradient
of two tasks. After every epoch the script writes an Orbax checkpoint to the
folder `NAME.checkpoints`, next to `NAME.safetensors`. After an interruption,
the same command continues from the last checkpoint, to the same result. It
removes the folder when the output is written.

Cost: 0.5 to 1 s a task on two CPU cores with other work, 27 minutes for the
1,600 tasks of the defaults.

What came out is in the card in `experiments/results/meta_transfer/`: the CNAPs
model is one percentage point less accurate than the nearest class mean, both on
50 tasks of cifar100 and on 50 tasks of held-out classes, so its training does
not pay yet. The held-out classes are new to the CNAPs model, but not to its
backbone, which was trained on all classes of tiny_imagenet32.

Exit status 0; 2 for an error in the input or a training that diverges (one line
on standard error), 130 when interrupted.
"""

import contextlib
import dataclasses
import json
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
from leep_jax.transfer import checkpoints as checkpoints_lib, cnaps

# Number of classes of the tasks that measure accuracy.
_WAYS = 5
# Number of tasks that measure accuracy after each epoch.
_TASKS_PER_EPOCH = 10
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
  ["tiny_imagenet32", "cifar10", "fashion_mnist"],
  "TFDS data sets. Training tasks are drawn from their training splits.",
  flag_values=FLAGS,
)
_TEST = flags.DEFINE_string(
  "test",
  "cifar100",
  "TFDS data set. Test tasks are drawn from its test split.",
  flag_values=FLAGS,
)
_DATA_DIR = flags.DEFINE_string(
  "data_dir", None, "Folder of TFDS data sets.", flag_values=FLAGS
)
_LIMIT = flags.DEFINE_integer(
  "limit", None, "Use this many examples of each data set.", flag_values=FLAGS
)
_TASKS = flags.DEFINE_integer(
  "tasks", 50, "Number of tasks that measure accuracy.", flag_values=FLAGS
)
_SHOTS = flags.DEFINE_integer(
  "test_shots",
  50,
  "Support images per class of these tasks; the others are queries.",
  flag_values=FLAGS,
)
_OUTPUT = flags.DEFINE_string(
  "output",
  None,
  "File to write, .safetensors; its card (.json) is written beside it.",
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


def held_out(count: int) -> int:
  """Returns how many of a data set's last classes are held out.

  Args:
    count: number of its classes.
  """
  # A task needs `_WAYS` classes, so fewer held-out ones would be of no use.
  return count // 10 if count // 10 >= _WAYS else 0


def accuracy(
  model: cnaps.Cnaps, examples: cnaps.Examples, tasks: list[tasks_lib.Task]
) -> float:
  """Returns the mean accuracy on tasks drawn from one set of images."""
  rows = cnaps.transfer(model, examples, examples, tasks=tasks)
  return float(np.mean([row.accuracy for row in rows]))


def _config():
  values = {}
  for name, flag in _CONFIG.items():
    values[name] = flag.value
    if isinstance(flag.value, list):
      try:
        low, high = map(int, flag.value)
      except ValueError as e:
        raise validation.InputError(
          f"{name} is {','.join(flag.value)!r}, but must be two integers, as "
          "in 3,10"
        ) from e
      values[name] = low, high
  return cnaps.Config(**values)


def _load(name, split, size):
  dataset = data.load_dataset(
    name, split=split, data_dir=_DATA_DIR.value, limit=_LIMIT.value
  )
  if dataset.image_shape is None:
    raise validation.InputError(f"images of {name} differ in size")
  images, labels = dataset.load()
  return resize(images, size=size), validation.class_labels(labels)


def _load_all(size):
  """Loads the training splits of all data sets as one.

  Returns:
    A tuple of the images; their labels, which are distinct between data sets;
    the labels of the classes for training, a list for each data set; and the
    labels of all held-out classes.
  """
  images, labels, trained, excluded = [], [], [], []
  first = 0
  for name in _DATASETS.value:
    x, y = _load(name, "train", size)
    count = int(y.max()) + 1
    kept = count - held_out(count)
    images.append(x)
    labels.append(y + first)
    trained.append(first + np.arange(kept))
    excluded.append(first + np.arange(kept, count))
    first += count
  return (
    np.concatenate(images),
    np.concatenate(labels),
    trained,
    np.concatenate(excluded),
  )


def _write(model, card, output, measured):
  """Writes the model and its card, with the accuracies of the float16 file."""
  with tempfile.TemporaryDirectory() as folder:
    file = pathlib.Path(folder, "model.safetensors")
    cnaps.save(model, file, card=card)
    # The file rounds weights, so the card states what a reader of it will get.
    model = cnaps.load(file)
    for name, (examples, tasks) in measured.items():
      reached = card[f"{name}_accuracy"] = accuracy(model, examples, tasks)
      print(f"{name} accuracy {reached:.4f}", flush=True)
    cnaps.save(model, file, card=card)
    content, kept = file.read_bytes(), cnaps.card(file)
  text = json.dumps(kept, indent=2) + "\n"
  # The card first, so that an interruption never leaves weights without one.
  results.replace_file(output.with_suffix(".json"), text.encode())
  results.replace_file(output, content)
  print(f"wrote {output}")


def _select(examples, classes):
  """Returns the examples of the given classes, and tasks drawn from them."""
  images, labels = examples
  chosen = np.isin(labels, classes)
  part = images[chosen], labels[chosen]
  tasks = tasks_lib.draw(
    tasks_lib.FewShot(classes=_WAYS, examples=_SHOTS.value),
    part[1],
    part[1],
    count=_TASKS.value,
    seed=0,
  )
  return part, tasks


def _make_report(epochs, measured):
  """Returns a function that prints the loss and accuracy of an epoch.

  Args:
    epochs: number of epochs.
    measured: examples and tasks of held-out classes, or None.
  """
  started = time.time()

  def report(epoch, loss, model):
    text = f"epoch {epoch}/{epochs}  loss {loss:.4f}"
    if measured is not None:
      examples, tasks = measured
      score = accuracy(model, examples, tasks[:_TASKS_PER_EPOCH])
      text += f"  held-out accuracy {score:.4f}"
    print(f"{text}  {time.time() - started:.0f} s", flush=True)

  return report


def _run() -> int:
  config = _config()
  if not _OUTPUT.value.endswith(".safetensors"):
    raise validation.InputError(
      f"output {_OUTPUT.value} must end in .safetensors"
    )
  output = results.check_path("output", _OUTPUT.value, (".safetensors",))
  results.check_path("card", output.with_suffix(".json"), (".json",))
  model = cnaps.create(_BACKBONE.value, seed=config.seed)
  size = model.preprocessing.image_size
  tested = _load(_TEST.value, "test", size)
  images, labels, trained, excluded = _load_all(size)
  measured = {"test": _select(tested, np.unique(tested[1]))}
  if len(excluded):
    measured["held_out"] = _select((images, labels), excluded)
  what = {
    "backbone": _BACKBONE.value,
    "data": f"{', '.join(_DATASETS.value)}; {len(images):,} training images",
    "recipe": dataclasses.asdict(config),
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
    card = {
      **what,
      "test": f"{_TEST.value}, {len(measured['test'][1])} tasks of {_WAYS} "
      f"classes, {_SHOTS.value} images each",
      "held_out_classes": len(excluded),
      "licence": "Apache-2.0",
    }
    # The CNAPs model starts as the nearest class mean of its backbone.
    for name, (examples, tasks) in measured.items():
      reached = accuracy(model, examples, tasks)
      card[f"nearest_mean_{name}_accuracy"] = reached
      print(f"nearest class mean: {name} accuracy {reached:.4f}", flush=True)
    cnaps.meta_train(
      model,
      images,
      [[np.flatnonzero(labels == c) for c in group] for group in trained],
      config=config,
      checkpoints=checkpoints,
      report=_make_report(config.epochs, measured.get("held_out")),
    )
  _write(model, card, output, measured)
  checkpoints.remove()
  return 0


def main(argv: list[str]) -> int:
  """Runs the command; returns its exit status.

  Args:
    argv: the program's name and its flags.
  """
  return command.main(argv, FLAGS, __doc__ or "", _run)


if __name__ == "__main__":
  sys.exit(main(sys.argv))
