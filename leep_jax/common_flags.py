"""Flags that commands share: of sources, of data, of the processes of a job."""

from typing import Any

from absl import flags

from leep_jax import data, progress, validation
from leep_jax.data import duplicates
from leep_jax.engine import hosts
from leep_jax.sources import catalog, known, overrides as overrides_lib


class SourceFlags:
  """The flags that name sources, and those that override their configurations.

  Attributes:
    model: the flag `--model`.

  Example:
    >>> from absl import flags
    >>> from leep_jax import common_flags
    >>> defined = flags.FlagValues()
    >>> sources = common_flags.SourceFlags(defined)
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
    listed = None if self.model.value is None else names(self.model, "source")
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


class DataFlags:
  """The flags that name a data set.

  Example:
    >>> from absl import flags
    >>> from leep_jax import common_flags
    >>> defined = flags.FlagValues()
    >>> options = common_flags.DataFlags(defined)
    >>> _ = defined(["program", "--dataset=digits", "--limit=50"])
    >>> len(options.load())
    50
  """

  def __init__(
    self,
    defined: flags.FlagValues,
    *,
    split: str = "TFDS split, slices such as train[:20%] included (default "
    "train), or a folder's sub-folder.",
    limit: str = "Use this many examples, drawn at random but always the same.",
  ):
    """Defines the flags.

    Args:
      defined: the flags of a command, to which these are added.
      split: help on `--split`.
      limit: help on `--limit`.
    """
    self._dataset = flags.DEFINE_string(
      "dataset",
      "digits",
      "Target data: a TFDS name, digits, folder:DIR (one sub-folder of images, "
      "or of sounds, per class), csv:FILE (a text and its label in each row), "
      "or npz:FILE (arrays images, labels).",
      flag_values=defined,
    )
    self._split = flags.DEFINE_string("split", None, split, flag_values=defined)
    self._data_dir = flags.DEFINE_string(
      "data_dir",
      None,
      "Where prepared TFDS data sets are.",
      flag_values=defined,
    )
    self._limit = flags.DEFINE_integer(
      "limit", None, limit, flag_values=defined
    )
    self._ignore_label = flags.DEFINE_list(
      "ignore_label",
      None,
      "Integer labels that mark examples without one, such as 255 or -1: those "
      "are left out.",
      flag_values=defined,
    )
    self._input_column = flags.DEFINE_string(
      "input_column",
      None,
      "Of csv:FILE, the column of texts. Default: text, sentence, review, ...",
      flag_values=defined,
    )
    self._label_column = flags.DEFINE_string(
      "label_column",
      None,
      "Of csv:FILE, the column of labels. Default: label, class, target, ...",
      flag_values=defined,
    )
    self._drop_duplicates = flags.DEFINE_boolean(
      "drop_duplicates",
      False,
      "Leave out images, texts or sounds that equal an earlier one; all are "
      "read once to find them.",
      flag_values=defined,
    )
    self._skip_bad_images = flags.DEFINE_boolean(
      "skip_bad_images",
      False,
      "Leave out images or sounds that cannot be read, for every source alike; "
      "all are read once to find them.",
      flag_values=defined,
    )

  @property
  def all(self) -> tuple[flags.FlagHolder[Any], ...]:
    """All flags but `--ignore_label`, which chooses labels, not inputs."""
    return (
      self._dataset, self._split, self._data_dir, self._limit,
      self._skip_bad_images, self._drop_duplicates, self._input_column,
      self._label_column,
    )  # fmt: skip

  def ignored(self) -> tuple[int, ...]:
    """Returns the labels of examples that are to be left out.

    Raises:
      InputError: if they are not integers.
    """
    asked = self._ignore_label.value or []
    try:
      return tuple(int(text) for text in asked)
    except ValueError as e:
      raise validation.InputError(
        f"--ignore_label={','.join(asked)} must be integers"
      ) from e

  def load(self, *, target: str | None = None) -> data.Dataset:
    """Returns the data set.

    Args:
      target: name of real-valued targets.

    Raises:
      InputError: as `data.load_dataset`.
    """
    with progress.step(f"{self._dataset.value}: loading"):
      dataset = data.load_dataset(
        self._dataset.value,
        limit=self._limit.value,
        target=target,
        **self._options(),
      )
    return self._without_copies(dataset)

  @property
  def drops_duplicates(self) -> bool:
    """Whether equal images are left out."""
    return bool(self._drop_duplicates.value)

  def _without_copies(self, dataset):
    """The data set without duplicates, if they are to be left out."""
    if not self._drop_duplicates.value:
      return dataset
    with progress.step(f"{self._dataset.value}: searching for copies"):
      groups = duplicates.find(dataset)
    return duplicates.drop(dataset, groups).dataset

  def _options(self):
    return {
      "split": self._split.value,
      "data_dir": self._data_dir.value,
      "ignore_label": self.ignored() or None,
      "skip_bad_images": self._skip_bad_images.value,
      "input_column": self._input_column.value,
      "label_column": self._label_column.value,
    }


class PairFlags(DataFlags):
  """The flags that name a training and a test set.

  Example:
    >>> from absl import flags
    >>> from leep_jax import common_flags
    >>> defined = flags.FlagValues()
    >>> options = common_flags.PairFlags(defined)
    >>> _ = defined(["program", "--limit=50", "--test_limit=20"])
    >>> train, test = options.load_pair()
    >>> len(train), len(test)
    (50, 20)
  """

  def __init__(self, defined: flags.FlagValues):
    """Defines the flags.

    Args:
      defined: the flags of a command, to which these are added.
    """
    super().__init__(
      defined,
      split="Training set: a TFDS split, slices such as train[:20%] included, "
      "or a folder's sub-folder. Default: train.",
      limit="Use this many training examples.",
    )
    self._test_split = flags.DEFINE_string(
      "test_split",
      None,
      "Test set. Default: test, or a folder's val; where there are no splits, "
      "a fifth of each class.",
      flag_values=defined,
    )
    self._test_limit = flags.DEFINE_integer(
      "test_limit", None, "Use this many test examples.", flag_values=defined
    )

  def load_pair(self) -> tuple[data.Dataset, data.Dataset]:
    """Returns the training and the test set.

    Raises:
      InputError: as `data.load_pair`.
    """
    with progress.step(f"{self._dataset.value}: loading"):
      train, test = data.load_pair(
        self._dataset.value,
        test_split=self._test_split.value,
        limit=self._limit.value,
        test_limit=self._test_limit.value,
        **self._options(),
      )
    return self._without_copies(train), self._without_copies(test)


class HostFlags:
  """The flags that join the processes of one job.

  Attributes:
    all: their holders.

  Example:
    >>> from absl import flags
    >>> from leep_jax import common_flags
    >>> defined = flags.FlagValues()
    >>> joined = common_flags.HostFlags(defined)
    >>> _ = defined(["program"])
    >>> joined.start()  # one process alone
  """

  def __init__(self, defined: flags.FlagValues):
    """Defines the flags.

    Args:
      defined: the flags of a command, to which these are added.
    """
    self._distributed = flags.DEFINE_boolean(
      "distributed",
      False,
      "Share the work with the other processes of this job, as TPU pods, "
      "Slurm, Kubernetes and Open MPI start them.",
      flag_values=defined,
    )
    self._coordinator = flags.DEFINE_string(
      "coordinator",
      None,
      "HOST:PORT of the first of several processes, where nothing else tells "
      "them of each other. With --processes and --process.",
      flag_values=defined,
    )
    self._processes = flags.DEFINE_integer(
      "processes", None, "How many processes there are.", flag_values=defined
    )
    self._process = flags.DEFINE_integer(
      "process", None, "Which of them this is, from 0.", flag_values=defined
    )
    self.all = (
      self._distributed, self._coordinator, self._processes, self._process,
    )  # fmt: skip

  def start(self) -> None:
    """Joins the other processes, if there are any.

    Raises:
      InputError: if only some of the flags are given.
    """
    given = (
      self._coordinator.value,
      self._processes.value,
      self._process.value,
    )
    if any(value is not None for value in given):
      if None in given:
        raise validation.InputError(
          "--coordinator, --processes and --process are given together"
        )
      hosts.start(
        coordinator=self._coordinator.value,
        processes=self._processes.value,
        process=self._process.value,
      )
    elif self._distributed.value:
      hosts.start()


def names(flag: flags.FlagHolder[Any], what: str) -> list[str]:
  """Returns the values of a list flag, each once.

  Args:
    flag: a list flag.
    what: kind of the values, for the error.

  Raises:
    InputError: if a value is empty.

  Example:
    >>> from absl import flags
    >>> from leep_jax import common_flags
    >>> defined = flags.FlagValues()
    >>> scores = flags.DEFINE_list("scores", None, "", flag_values=defined)
    >>> _ = defined(["program", "--scores=leep, nce,leep"])
    >>> common_flags.names(scores, "score")
    ['leep', 'nce']
  """
  parts = [part.strip() for part in flag.value]
  if not parts or not all(parts):
    raise validation.InputError(f"--{flag.name} has an empty {what}")
  return list(dict.fromkeys(parts))


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
