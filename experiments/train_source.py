r"""Trains a source model on a TFDS data set and writes it with its card.

    python -m experiments.train_source --arch=resnet14 --dataset=cifar10 \
      --data_dir=DIR --epochs=16 --output=cifar10_resnet14.safetensors

Purpose: trains the bundled sources in `leep_jax/sources/bundled/`. The recipe
is SGD with Nesterov momentum, a linear warm-up and a cosine schedule, weight
decay, label smoothing, and random crops and flips on the device.

After every epoch the script writes an Orbax checkpoint to the folder
`NAME.checkpoints`, next to `NAME.safetensors`. After an interruption, the same
command continues from the last checkpoint, to the same result. The item `model`
of a checkpoint is an NNX state without preprocessing. To score it, pass
`--model=ARCH@NAME.checkpoints/12/model` to `leep_jax.score`, with the flags
`--image_size`, `--mean` and `--std` that are printed at the start of training.
The script removes the folder when the output is written.

Cost: about 340 images/s for a ResNet-14 and 580 images/s for a ResNet-8 on two
CPU cores; `--dtype=bfloat16` is for accelerators.

What came out is in the cards `leep_jax/sources/bundled/*.json`, with the
measured test accuracies.

Exit status 0; 2 for an error in the input or a training that diverges (one line
on standard error), 130 when interrupted.
"""

from collections.abc import Callable
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
from flax import nnx
import jax
import jax.numpy as jnp
import numpy as np
import optax

from leep_jax import command, data, validation
from leep_jax.models import preprocessing as preprocessing_lib
from leep_jax.reports import results
from leep_jax.sources import catalog, checkpoints, matching, network
from leep_jax.transfer import augment
from leep_jax.transfer.checkpoints import Checkpoints

# `jax.random.key` ignores higher bits, so larger seeds would not be distinct.
_MAX_SEED = 2**32 - 1


def _option(default: Any, text: str) -> Any:
  """Declares a field that is also a flag, with the flag's description."""
  return dataclasses.field(default=default, metadata={"help": text})


@dataclasses.dataclass(frozen=True)
class Recipe:
  """Options of training. Training twice with one recipe gives the same result.

  Each attribute is also a flag of the same name, described by its text below.

  Raises:
    InputError: if a value is of a wrong type, unknown, or out of bounds.
  """

  arch: str = _option(
    "resnet14", "Architecture, one of leep_jax.sources.catalog."
  )
  epochs: int = _option(16, "Passes over the training split.")
  batch_size: int = _option(128, "Images per step.")
  learning_rate: float = _option(0.1, "Peak of the cosine schedule.")
  weight_decay: float = _option(5e-4, "L2 penalty of every parameter.")
  label_smoothing: float = _option(
    0.0, "Probability spread evenly over all classes, from 0 and below 1."
  )
  crop: int = _option(4, "Pixels of padding for random crops; 0 for none.")
  flip: bool = _option(True, "Whether half of the images are mirrored.")
  dtype: str = _option(
    "float32",
    "Type of activations and gradients, float32 or bfloat16; parameters are "
    "float32.",
  )
  seed: int = _option(0, "Seed of weights, order and augmentation.")

  def __post_init__(self):
    for name, kind, known in (
      ("arch", "architecture", catalog.ARCHITECTURES),
      ("dtype", "dtype", ("float32", "bfloat16")),
    ):
      value = getattr(self, name)
      if value not in list(known):
        raise validation.unknown(kind, str(value), known)
    for name in ("epochs", "batch_size"):
      validation.at_least_1(name, getattr(self, name))
    for name, bounds, fits in (
      ("learning_rate", "finite and above 0", lambda v: 0 < v < math.inf),
      ("weight_decay", "finite and at least 0", lambda v: 0 <= v < math.inf),
      ("label_smoothing", "from 0 and below 1", lambda v: 0 <= v < 1),
    ):
      value = getattr(self, name)
      if not (isinstance(value, (int, float)) and fits(value)):
        raise validation.InputError(
          f"{name} is {value!r}, but must be {bounds}"
        )
    for name, bound in (("crop", math.inf), ("seed", _MAX_SEED)):
      value = getattr(self, name)
      if not (isinstance(value, int) and 0 <= value <= bound):
        to = f" to {bound}" if bound < math.inf else ""
        raise validation.InputError(
          f"{name} is {value!r}, but must be an integer from 0{to}"
        )
    if not isinstance(self.flip, bool):
      raise validation.InputError(
        f"flip is {self.flip!r}, but must be True or False"
      )

  def __str__(self) -> str:
    smoothing = f", label smoothing {self.label_smoothing:g}"
    return (
      f"SGD, Nesterov momentum 0.9, peak learning rate {self.learning_rate:g} "
      f"(warm-up 10 %, cosine), weight decay {self.weight_decay:g}"
      f"{smoothing if self.label_smoothing else ''}, batch {self.batch_size}, "
      f"{self.epochs} epochs, crops of {self.crop} pixels"
      f"{' and flips' if self.flip else ''}, {self.dtype}, seed {self.seed}"
    )


_DEFINE: dict[type, Callable[..., flags.FlagHolder[Any]]] = {
  str: flags.DEFINE_string,
  int: flags.DEFINE_integer,
  float: flags.DEFINE_float,
  bool: flags.DEFINE_boolean,
}
# A set of flags for each command: modules of several commands can be imported
# without their flags colliding.
FLAGS = flags.FlagValues()
_RECIPE = {
  f.name: _DEFINE[type(f.default)](
    f.name, f.default, f.metadata["help"], flag_values=FLAGS
  )
  for f in dataclasses.fields(Recipe)
}
_DATASET = flags.DEFINE_string(
  "dataset",
  "cifar10",
  "TFDS data set with splits train and test, and images of one size.",
  flag_values=FLAGS,
)
_DATA_DIR = flags.DEFINE_string(
  "data_dir", None, "Folder of TFDS data sets.", flag_values=FLAGS
)
_LIMIT = flags.DEFINE_integer(
  "limit", None, "Train on this many examples.", flag_values=FLAGS
)
_OUTPUT = flags.DEFINE_string(
  "output",
  None,
  "File to write, .safetensors; its card (.json) is written beside it.",
  required=True,
  flag_values=FLAGS,
)


def _split(model: nnx.Module) -> tuple[Any, Any, Any]:
  """Splits a model into its definition, parameters, and all other state.

  The other state is the running statistics of BatchNorm.
  """
  graph, params, *rest = nnx.split(model, nnx.Param, ...)
  return graph, params, rest[0]


def make_step(recipe, graph, optimizer, preprocessing):
  """Returns a jitted step `(training, key, images, labels, index)`.

  `training` is the tuple `(params, rest, opt)`. The step returns the next tuple
  and the loss.
  """

  def loss_fn(params, rest, images, labels):
    # Parameters stay in float32, because small updates would be lost in
    # bfloat16. The copy in `dtype` exists only for this step.
    low = jax.tree.map(lambda x: x.astype(recipe.dtype), params)
    model = nnx.merge(graph, low, rest, copy=True)
    network.set_dtype(model, recipe.dtype)
    logits, _ = model(images.astype(recipe.dtype))
    wanted = optax.smooth_labels(
      jax.nn.one_hot(labels, logits.shape[1]), recipe.label_smoothing
    )
    # The exponentials of the loss need float32.
    logits = logits.astype(jnp.float32)
    loss = optax.softmax_cross_entropy(logits, wanted)
    return loss.mean(), _split(model)[2]

  @jax.jit
  def step(training, key, images, labels, index):
    params, rest, opt = training
    # Training images stay on the device; only the indices of a batch change.
    keys = augment.keys(key, 0, len(index))
    x = augment.augment(
      keys, images[index], shift=recipe.crop, flip=recipe.flip
    )
    grad_fn = jax.value_and_grad(loss_fn, has_aux=True)
    (loss, rest), grads = grad_fn(params, rest, preprocessing(x), labels[index])
    updates, opt = optimizer.update(grads, opt, params)
    return (optax.apply_updates(params, updates), rest, opt), loss

  return step


def make_accuracy(graph, preprocessing):
  """Returns a function `(params, rest, images, labels) -> accuracy`."""

  @jax.jit
  def correct(params, rest, images, labels):
    model = nnx.merge(graph, params, rest, copy=True)
    logits, _ = model(preprocessing(images))
    return jnp.sum(logits.argmax(-1) == labels)

  def accuracy(params, rest, images, labels):
    hits = 0
    for start in range(0, len(images), 1000):
      part = slice(start, start + 1000)
      hits += int(correct(params, rest, images[part], labels[part]))
    return hits / len(images)

  return accuracy


def train(recipe, model, train_set, test_set, preprocessing, checkpoints):
  """Trains a model, starting from its last checkpoint if there is one.

  Args:
    recipe: the recipe.
    model: a newly initialised network in evaluation mode.
    train_set: `(images [n, H, W, C] uint8, labels [n])`.
    test_set: test images and labels. Their accuracy is printed each epoch.
    preprocessing: function from images to the network's input.
    checkpoints: storage of the state after each epoch.

  Returns:
    The same model, trained, in evaluation mode.

  Raises:
    InputError: if the loss of an epoch is not finite; that epoch is not saved.
  """
  accuracy = make_accuracy(nnx.split(model)[0], preprocessing)
  model.train()
  graph, params, rest = _split(model)
  images, labels = map(jnp.asarray, train_set)
  steps = len(images) // recipe.batch_size
  schedule = optax.warmup_cosine_decay_schedule(
    init_value=0.01 * recipe.learning_rate,
    peak_value=recipe.learning_rate,
    warmup_steps=max(1, steps * recipe.epochs // 10),
    decay_steps=steps * recipe.epochs,
  )
  optimizer = optax.chain(
    optax.add_decayed_weights(recipe.weight_decay),
    optax.sgd(schedule, momentum=0.9, nesterov=True),
  )
  training = (params, rest, optimizer.init(params))
  if checkpoints.epochs:
    state = nnx.merge_state(params, rest)
    leaves, structure = jax.tree.flatten(training[2])
    found = checkpoints.restore(model=nnx.to_pure_dict(state), optimizer=leaves)
    nnx.replace_by_pure_dict(state, found["model"])
    opt = jax.tree.unflatten(structure, found["optimizer"])
    training = (*nnx.split_state(state, nnx.Param, ...), opt)
    print(f"continuing after epoch {checkpoints.epochs}", flush=True)
  step = make_step(recipe, graph, optimizer, preprocessing)
  key = jax.random.key(recipe.seed)
  started = time.time()
  for epoch in range(checkpoints.epochs, recipe.epochs):
    # The order depends only on seed and epoch, so that an interruption does not
    # change the result.
    rng = np.random.default_rng((recipe.seed, epoch))
    order = rng.permutation(len(images))[: steps * recipe.batch_size]
    losses = []
    for i, index in enumerate(order.reshape(steps, -1)):
      now = jax.random.fold_in(key, epoch * steps + i)
      training, loss = step(training, now, images, labels, index)
      losses.append(loss)
    mean_loss = np.mean(losses)
    if not np.isfinite(mean_loss):
      raise validation.InputError(
        f"the loss of epoch {epoch + 1} is {mean_loss:g}, not finite: is "
        f"learning_rate {recipe.learning_rate:g} too high?"
      )
    checkpoints.save(
      epoch + 1,
      model=nnx.to_pure_dict(nnx.merge_state(*training[:2])),
      optimizer=jax.tree.leaves(training[2]),
    )
    score = accuracy(*training[:2], *test_set)
    print(
      f"epoch {epoch + 1}/{recipe.epochs}  loss {mean_loss:.4f}  "
      f"test accuracy {score:.4f}  {time.time() - started:.0f} s",
      flush=True,
    )
  nnx.update(model, *training[:2])
  model.eval()
  return model


def _preprocessing(images):
  """Returns preprocessing with the mean and std of the training images."""
  # A sample, because a float64 copy of all images may need over a gigabyte.
  sample = images[:10_000] / 255.0
  mean, std = sample.mean((0, 1, 2)), sample.std((0, 1, 2))
  # Grey images become three equal channels, whose statistics are equal too.
  repeat = 3 // images.shape[3]
  return preprocessing_lib.Preprocessing(
    image_size=images.shape[1],
    mean=tuple(round(float(v), 4) for v in np.repeat(mean, repeat)),
    std=tuple(round(float(v), 4) for v in np.repeat(std, repeat)),
  )


def _flags(preprocessing):
  """Returns the preprocessing as flags of `leep_jax.score`."""
  mean, std = (
    ",".join(f"{value:g}" for value in values)
    for values in (preprocessing.mean, preprocessing.std)
  )
  return f"--image_size={preprocessing.image_size} --mean={mean} --std={std}"


def _write(model, card, output, test_set, preprocessing):
  """Writes weights and a card with the accuracy of the float16 file."""
  with tempfile.TemporaryDirectory() as folder:
    file = pathlib.Path(folder, "model.safetensors")
    with np.errstate(over="ignore"):  # infinite weights are refused below
      checkpoints.save(model, file)
    tensors, _ = checkpoints.read_tensors(file)
    for name, value in tensors.items():
      if not np.isfinite(value).all():
        raise validation.InputError(
          f"{name} is too large for the float16 of {output}: is the learning "
          "rate too high?"
        )
    # The file rounds weights, so the card states what a reader of it will get.
    matching.load_into(model, tensors, origin=str(output))
    graph, params, rest = _split(model)
    accuracy = make_accuracy(graph, preprocessing)
    card["test_accuracy"] = accuracy(params, rest, *test_set)
    checkpoints.save(model, file, metadata={"leep_jax": json.dumps(card)})
    content = file.read_bytes()
  text = json.dumps(card, indent=2) + "\n"
  # The card first, so that an interruption never leaves weights without one.
  results.replace_file(output.with_suffix(".json"), text.encode())
  results.replace_file(output, content)
  print(f"wrote {output}: test accuracy {card['test_accuracy']:.4f}")


def _check_fit(recipe, train_data):
  """Raises InputError if the recipe does not fit the images."""
  if len(train_data) < recipe.batch_size:
    raise validation.InputError(
      f"batch_size is {recipe.batch_size}, but there are {len(train_data)} "
      "images"
    )
  if train_data.image_shape is None:
    raise validation.InputError(
      f"images of {train_data.name} are of no one size, which training needs"
    )
  height, width, channels = train_data.image_shape
  if channels not in (1, 3):
    raise validation.InputError(
      f"images of {train_data.name} have {channels} channels, not 1 or 3"
    )
  if recipe.crop >= min(height, width):
    raise validation.InputError(
      f"crop is {recipe.crop}, but must be below the images' {height} x "
      f"{width} pixels"
    )
  architecture = catalog.ARCHITECTURES[recipe.arch]
  least = architecture.min_image_size
  fits, taken = height >= least, f"at least {least}"
  if architecture.fixed_image_size:
    side = architecture.preprocessing.image_size
    fits, taken = height == side, f"exactly {side}"
  if not fits:
    raise validation.InputError(
      f"images of {train_data.name} are {height} pixels high, but "
      f"{recipe.arch} takes {taken}"
    )


def _run() -> int:
  recipe = Recipe(**{name: flag.value for name, flag in _RECIPE.items()})
  if not _OUTPUT.value.endswith(".safetensors"):
    raise validation.InputError(
      f"output {_OUTPUT.value} must end in .safetensors"
    )
  output = results.check_path("output", _OUTPUT.value, (".safetensors",))
  results.check_path("card", output.with_suffix(".json"), (".json",))
  name, data_dir = _DATASET.value, _DATA_DIR.value
  train_data = data.load_dataset(
    name, split="train", data_dir=data_dir, limit=_LIMIT.value
  )
  test_data = data.load_dataset(name, split="test", data_dir=data_dir)
  _check_fit(recipe, train_data)
  what = f"{name}, {len(train_data):,} training images"
  checkpoints = Checkpoints(
    output.with_suffix(".checkpoints"),
    {"data": what, **dataclasses.asdict(recipe)},
  )
  with contextlib.closing(checkpoints):
    # If both exist, the command was interrupted before it removed the
    # checkpoints, and has to finish.
    if output.exists() and not checkpoints.epochs:
      raise validation.InputError(
        f"{output} exists already: remove it to train again"
      )
    train_set, test_set = train_data.load(), test_data.load()
    preprocessing = _preprocessing(train_set[0])
    print(f"preprocessing: {_flags(preprocessing)}", flush=True)
    model = catalog.build(recipe.arch, train_data.num_classes, seed=recipe.seed)
    train(recipe, model, train_set, test_set, preprocessing, checkpoints)
  card = {
    "architecture": recipe.arch,
    "image_size": preprocessing.image_size,
    "mean": preprocessing.mean,
    "std": preprocessing.std,
    "class_names": train_data.class_names,
    "data": what,
    "recipe": str(recipe),
    "test_examples": len(test_data),
    "licence": "Apache-2.0",
  }
  _write(model, card, output, test_set, preprocessing)
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
