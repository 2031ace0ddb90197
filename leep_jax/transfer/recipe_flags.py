"""Flags of the commands that train heads and networks."""

import dataclasses
from typing import Any

from absl import flags

from leep_jax import validation
from leep_jax.transfer import config
from leep_jax.transfer.config import Config, NetworkConfig
from leep_jax.transfer.methods import Recipe

# Help for each field of `NetworkConfig`, which has those of `Config`.
_TEXTS = {
  "epochs": "Passes over a task's training examples.",
  "batch_size": "Examples per step.",
  "learning_rate": "Of SGD, at the start.",
  "schedule": "Of the learning rate: constant, or cosine down to 0.",
  "momentum": "Of SGD.",
  "weight_decay": "Added to the gradient, times the weights.",
  "curve": "Epochs between measurements of test accuracy; 0 for the last only.",
  "body_learning_rate": "Of all but the head, where it is another; 0 freezes.",
  "nesterov": "Whether momentum is Nesterov's.",
  "clip": "Largest norm of the gradient.",
  "flip": "Whether half of the training images are mirrored.",
  "shift": "Pixels by which training images are shifted at most.",
  "dtype": "Of activations and gradients: float32 or bfloat16.",
}
# How a flag is defined, by the type of its field.
_KINDS: dict[Any, Any] = {
  int: flags.DEFINE_integer,
  float: flags.DEFINE_float,
  str: flags.DEFINE_string,
  bool: flags.DEFINE_boolean,
  float | None: flags.DEFINE_float,
}


class RecipeFlags:
  """The flags from which a `Recipe` is made.

  Example:
    >>> from absl import flags
    >>> from leep_jax.transfer import recipe_flags
    >>> defined = flags.FlagValues()
    >>> options = recipe_flags.RecipeFlags(defined)
    >>> _ = defined(["program", "--epochs=3", "--seeds=2"])
    >>> options.recipe().head.epochs, options.recipe().seeds
    (3, 2)
  """

  def __init__(self, defined: flags.FlagValues):
    """Defines the flags.

    Args:
      defined: the flags of a command, to which these are added.
    """
    self._config = {
      # Types and not their names, as `config` does not postpone annotations.
      f.name: _KINDS[f.type](
        f.name, f.default, _TEXTS[f.name], flag_values=defined
      )
      for f in dataclasses.fields(NetworkConfig)
    }
    self._l2 = flags.DEFINE_float(
      "l2", 0.0, "Strength of the probe's penalty.", flag_values=defined
    )
    self._cnaps = flags.DEFINE_string(
      "cnaps",
      None,
      "File of a meta-trained CNAPs, for the method of that name.",
      flag_values=defined,
    )
    self._seeds = flags.DEFINE_integer(
      "seeds",
      1,
      "Trainings of each task: they differ in initial weights, order and "
      "augmentation.",
      flag_values=defined,
    )

  def recipe(self) -> Recipe:
    """Returns the recipe that the flags state.

    Raises:
      InputError: if a value is unknown or out of bounds.
    """
    validation.at_least_1("seeds", self._seeds.value)
    config.bounded("l2", self._l2.value)
    return Recipe(
      head=self._of(Config),
      network=self._of(NetworkConfig),
      l2=self._l2.value,
      cnaps=self._cnaps.value,
      seeds=self._seeds.value,
    )

  def _of(self, kind):
    names = (f.name for f in dataclasses.fields(kind))
    return kind(**{name: self._config[name].value for name in names})
