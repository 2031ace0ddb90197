"""Flags that name sources, and override their configurations."""

from typing import Any

from absl import flags

from leep_jax import common_flags, data, validation
from leep_jax.sources import catalog, known, overrides as overrides_lib


class SourceFlags:
  """The flags that name sources, and those that override their configurations.

  Attributes:
    model: the flag `--model`.

  Example:
    >>> from absl import flags
    >>> from leep_jax import source_flags
    >>> defined = flags.FlagValues()
    >>> sources = source_flags.SourceFlags(defined)
    >>> _ = defined(["program", "--model=cifar10_resnet14", "--crop=0.9"])
    >>> sources.names(), sources.overrides().crop
    (['cifar10_resnet14'], 0.9)
  """

  def __init__(self, defined: flags.FlagValues):
    """Defines the flags.

    Args:
      defined: the flags of a command, to which these are added.
    """
    self.model = flags.DEFINE_list(
      "model",
      None,
      "Sources, comma-separated: a name that python -m leep_jax.models lists, "
      "a name of timm, owner/name of the hub, a folder or file laid out so, "
      "ARCH@CHECKPOINT (a file, a folder, or hf://owner/name[@revision]), "
      "keras/NAME, FILE.keras, or package.module:factory. Default: all bundled "
      "sources.",
      flag_values=defined,
    )
    self._models = flags.DEFINE_string(
      "models",
      None,
      "File with one such name a line, besides those of --model; # begins a "
      "comment.",
      flag_values=defined,
    )
    self._define_images(defined)
    self._define_texts_and_sounds(defined)
    self._define_backends(defined)

  def _define_images(self, defined):
    self._image_size = flags.DEFINE_integer(
      "image_size",
      None,
      "Side of the sources' input in pixels, instead of the checkpoint's own.",
      flag_values=defined,
    )
    self._crop = flags.DEFINE_float(
      "crop",
      None,
      "Crop fraction, above 0 and at most 1, instead of the checkpoint's own.",
      flag_values=defined,
    )
    self._interpolation = flags.DEFINE_string(
      "interpolation",
      None,
      "Pillow's filter that resizes, instead of the checkpoint's own: nearest, "
      "box, bilinear, hamming, bicubic or lanczos.",
      flag_values=defined,
    )
    self._mean = flags.DEFINE_list(
      "mean",
      None,
      "Mean of each channel, comma-separated, instead of the checkpoint's own.",
      flag_values=defined,
    )
    self._std = flags.DEFINE_list(
      "std",
      None,
      "Standard deviation of each channel, instead of the checkpoint's own.",
      flag_values=defined,
    )
    self._source_classes = flags.DEFINE_integer(
      "source_classes",
      None,
      "Number of source classes that each checkpoint must have.",
      flag_values=defined,
    )
    # None and not False, which would override what checkpoints say.
    self._tf_padding = flags.DEFINE_boolean(
      "tf_padding",
      None,
      "Whether convolutions pad as TensorFlow does, instead of what the "
      "checkpoint says.",
      flag_values=defined,
    )

  def _define_texts_and_sounds(self, defined):
    self._pooling = flags.DEFINE_enum(
      "pooling",
      None,
      overrides_lib.POOLINGS,
      "Of encoders of texts or sounds without a classifier: features are those "
      "of the first token, or the mean over all. Default: what the checkpoint "
      "states or its kind of network does.",
      flag_values=defined,
    )
    self._max_tokens = flags.DEFINE_integer(
      "max_tokens",
      None,
      "Most tokens of a text; longer ones are cut off. Default: what the "
      "tokenizer states, at most 512.",
      flag_values=defined,
    )
    self._max_seconds = flags.DEFINE_float(
      "max_seconds",
      None,
      "Longest length of a sound; longer ones are cut off. Default: 10 for "
      "networks of waveforms.",
      flag_values=defined,
    )

  def _define_backends(self, defined):
    self._backend = flags.DEFINE_enum(
      "backend",
      None,
      list(overrides_lib.BACKENDS),
      "What runs the sources: their network in this package (native); the "
      "graph that PyTorch exports, in JAX (bridge); PyTorch itself (torch); "
      "Keras on JAX (keras). Default: native where there is such a network, "
      "else bridge.",
      flag_values=defined,
    )
    self._features = flags.DEFINE_string(
      "features",
      None,
      "With --backend=bridge: name of the value in the network's graph that is "
      "used as features, instead of the input of its last linear layer.",
      flag_values=defined,
    )

  @property
  def all(self) -> tuple[flags.FlagHolder[Any], ...]:
    """All flags that are defined here."""
    return (
      self.model, self._models, self._image_size, self._crop,
      self._interpolation, self._mean, self._std, self._source_classes,
      self._tf_padding, self._pooling, self._max_tokens, self._max_seconds,
      self._backend, self._features,
    )  # fmt: skip

  def names(self) -> list[str]:
    """Returns the names of the sources that are asked for, each once.

    Those of `--model` come before those of the file of `--models`.

    Raises:
      InputError: if one cannot be loaded, see `catalog.check_source`; if the
        file cannot be read, or names no source.
    """
    listed = (
      None
      if self.model.value is None
      else common_flags.names(self.model, "source")
    )
    return known.asked(listed, self._models.value)

  def check_default(self, dataset: data.Dataset) -> None:
    """Refuses data that the sources used by default do not take.

    Args:
      dataset: the target data.

    Raises:
      InputError: if no source is named, and the data set has no images.
    """
    named = self.model.value is not None or self._models.value is not None
    if not named and dataset.inputs != "image":
      raise validation.InputError(
        f"the bundled sources take images, but {dataset.name} has "
        f"{dataset.noun}: name sources of {dataset.noun} with --model"
      )

  def overrides(self) -> catalog.Overrides:
    """Returns the values that override configurations of checkpoints."""
    return catalog.Overrides(
      image_size=self._image_size.value,
      crop=self._crop.value,
      interpolation=self._interpolation.value,
      mean=_numbers(self._mean),
      std=_numbers(self._std),
      num_classes=self._source_classes.value,
      tf_padding=self._tf_padding.value,
      pooling=self._pooling.value,
      max_tokens=self._max_tokens.value,
      max_seconds=self._max_seconds.value,
      backend=self._backend.value,
      features=self._features.value,
    )


def _numbers(flag):
  """The value of a list flag as numbers."""
  if flag.value is None:
    return None
  try:
    return tuple(float(value) for value in flag.value)
  except ValueError as e:
    raise validation.InputError(
      f"--{flag.name}={','.join(flag.value)} is no list of numbers"
    ) from e
