"""Flags that commands share: of data, and of the processes of a job."""

from typing import Any

from absl import flags

from leep_jax import data, progress, validation
from leep_jax.data import duplicates, load, names as data_names
from leep_jax.engine import hosts

# Flags that name a column of a table: of what.
_COLUMNS = {
  "input_column": "files or texts. Default: image, path, file_name, ..., text, "
  "sentence, ...",
  "label_column": "labels. Default: label, class, target, ...",
  "split_column": "splits. Default: split, subset or partition, if there is "
  "one.",
  "group_column": "groups of examples that depend on each other, such as "
  "patient: errors are then those of groups, and no group is on both sides of "
  "a split.",
}


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
      "Target data (scores take several, comma-separated): a TFDS name, "
      "digits, folder:DIR (one sub-folder of images, or of sounds, per class), "
      "csv:FILE (a text or the name of a file, and "
      "its label, in each row; also .tsv, .jsonl and .parquet), hf:NAME (of "
      "the Hugging Face hub, or a folder saved by datasets), wds:SHARDS "
      "(WebDataset), coco:PATH (boxes of COCO's JSON, each cut out), masks:DIR "
      "(images and masks, of which patches are cut out), or npz:FILE (arrays "
      "images, labels).",
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
    self._columns = {
      name: flags.DEFINE_string(
        name, None, f"Of csv:FILE, the column of {what}", flag_values=defined
      )
      for name, what in _COLUMNS.items()
    }
    self._streaming = flags.DEFINE_boolean(
      "streaming",
      False,
      "Of hf:NAME, read --limit examples of the beginning, without downloading "
      "all.",
      flag_values=defined,
    )
    self._min_box = flags.DEFINE_integer(
      "min_box",
      None,
      "Of coco:PATH, boxes with a shorter side are left out; of masks:DIR, "
      "classes that cover fewer pixels of an image than its square. Default: "
      "16.",
      flag_values=defined,
    )
    self._drop_duplicates = flags.DEFINE_boolean(
      "drop_duplicates",
      False,
      "Leave out images, texts or sounds that equal an earlier one; all are "
      "read once to find them.",
      flag_values=defined,
    )
    self._fast_decoding = flags.DEFINE_boolean(
      "fast_decoding",
      False,
      "Decode JPEGs that are far larger than a source needs at a part of their "
      "size: faster, and scores change by a part of their standard errors.",
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
      self._skip_bad_images, self._fast_decoding, self._drop_duplicates,
      *self._columns.values(), self._min_box, self._streaming,
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

  def load(self) -> data.Dataset:
    """Returns the data set.

    Raises:
      InputError: as `data.load_dataset`; or if there are several.
    """
    return self._load(self._only(), None)

  def load_training(self) -> tuple[data.Dataset, str | None]:
    """Returns the data set, and the name of the test split beside it, if any.

    Of several splits it is by default that for training.

    Raises:
      InputError: as `load`.
    """
    name, split = self._only(), self._split.value
    column = self._columns["split_column"].value
    split, test = load.given_splits(name, split=split, split_column=column)
    # Without a split for training, it is all examples: those for testing too.
    beside = None if split in (None, test) else test
    return self._load(name, None, split=split), beside

  def load_test(self, split: str) -> data.Dataset:
    """Returns a test set as it is, with the copies in it.

    Args:
      split: as `load_training` returns it.

    Raises:
      InputError: as `data.load_dataset`.
    """
    return data.load_dataset(
      self._only(),
      limit=self._limit.value,
      **{**self._options(), "split": split},
    )

  def _only(self):
    (name,) = self._names(most=1)
    return name

  def _names(self, most):
    names = data_names.several(self._dataset.value)
    if most is not None and len(names) > most:
      raise validation.InputError(
        f"--dataset names {len(names)} data sets ({validation.some(names)}), "
        "but this takes one at a time"
      )
    return names

  def load_all(
    self, *, target: str | None = None, most: int | None = None
  ) -> list[data.Dataset]:
    """Returns all data sets that `--dataset` names.

    Args:
      target: name of real-valued targets.
      most: how many there may be.

    Raises:
      InputError: as `data.load_dataset`; or if there are more.
    """
    return [self._load(name, target) for name in self._names(most)]

  def _load(self, name, target, *, split=None):
    with progress.step(f"{name}: loading"):
      dataset = data.load_dataset(
        name,
        limit=self._limit.value,
        target=target,
        streaming=self._streaming.value,
        **{**self._options(), "split": split or self._split.value},
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
    with progress.step(f"{dataset.name}: searching for copies"):
      groups = duplicates.find(dataset)
    return duplicates.drop(dataset, groups).dataset

  def _options(self):
    return {
      "split": self._split.value,
      "data_dir": self._data_dir.value,
      "ignore_label": self.ignored() or None,
      "skip_bad_images": self._skip_bad_images.value,
      "fast_decoding": self._fast_decoding.value,
      "min_box": self._min_box.value,
      **{name: flag.value for name, flag in self._columns.items()},
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
    name = self._only()
    with progress.step(f"{name}: loading"):
      train, test = data.load_pair(
        name,
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
