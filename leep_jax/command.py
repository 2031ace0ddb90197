"""What the commands of the package share: flags, mistakes, exit statuses."""

from collections.abc import Callable, Iterator, Sequence
import contextlib
import os
import sys
import warnings

from absl import flags, logging

from leep_jax import data, progress, validation
from leep_jax.engine import programs
from leep_jax.reports import results, tables
from leep_jax.sources import catalog, source as source_lib


class SourceFlags:
  """The flags that name sources, and what replaces their configurations."""

  def __init__(self, defined: flags.FlagValues):
    """Defines them among those of a command."""
    self.model = flags.DEFINE_list(
      "model",
      None,
      "Sources, comma-separated: a name that python -m leep_jax.models lists, "
      "ARCH@CHECKPOINT (a file, a folder, or hf://owner/name[@revision]), or "
      "package.module:factory. Default: all bundled sources.",
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
    self._tf_padding = flags.DEFINE_boolean(
      "tf_padding",
      None,
      "Whether convolutions pad as TensorFlow does, instead of what the "
      "checkpoint says.",
      flag_values=defined,
    )

  @property
  def all(self) -> tuple[flags.FlagHolder, ...]:
    """The flags themselves."""
    return (
      self.model, self._image_size, self._crop, self._interpolation,
      self._mean, self._std, self._source_classes, self._tf_padding,
    )  # fmt: skip

  def names(self) -> list[str]:
    """Returns the sources asked for, each once.

    Raises:
      InputError: if one cannot be loaded, see `catalog.check_source`.
    """
    asked = list(catalog.names())
    if self.model.value is not None:
      asked = names(self.model, "source")
    for name in asked:
      catalog.check_source(name)
    return asked

  def overrides(self) -> catalog.Overrides:
    """Returns what replaces the configuration of checkpoints."""
    return catalog.Overrides(
      image_size=self._image_size.value,
      crop=self._crop.value,
      interpolation=self._interpolation.value,
      mean=_numbers(self._mean),
      std=_numbers(self._std),
      num_classes=self._source_classes.value,
      tf_padding=self._tf_padding.value,
    )


class DataFlags:
  """The flags that name a data set."""

  def __init__(
    self,
    defined: flags.FlagValues,
    *,
    split: str = "TFDS split, slices such as train[:20%] included (default "
    "train), or a folder's sub-folder.",
    limit: str = "Use this many examples, drawn at random but always the same.",
  ):
    """Defines them among those of a command.

    Args:
      defined: the flags of the command.
      split: help on the flag of that name.
      limit: help on the flag of that name.
    """
    self._dataset = flags.DEFINE_string(
      "dataset",
      "digits",
      "Target data: a TFDS name, digits, folder:DIR (one sub-folder of images "
      "per class), or npz:FILE (arrays images, labels).",
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
    self._skip_bad_images = flags.DEFINE_boolean(
      "skip_bad_images",
      False,
      "Leave out images that cannot be read, for every source alike; all are "
      "read once to find them.",
      flag_values=defined,
    )

  @property
  def all(self) -> tuple[flags.FlagHolder, ...]:
    """The flags that say which images, not which labels."""
    return (
      self._dataset, self._split, self._data_dir, self._limit,
      self._skip_bad_images,
    )  # fmt: skip

  def ignored(self) -> tuple[int, ...]:
    """Returns the labels that mark examples without one.

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
      return data.load_dataset(
        self._dataset.value,
        limit=self._limit.value,
        target=target,
        **self._options(),
      )

  def _options(self):
    return {
      "split": self._split.value,
      "data_dir": self._data_dir.value,
      "ignore_label": self.ignored() or None,
      "skip_bad_images": self._skip_bad_images.value,
    }


class PairFlags(DataFlags):
  """The flags that name a training and a test set."""

  def __init__(self, defined: flags.FlagValues):
    """Defines them among those of a command."""
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
      return data.load_pair(
        self._dataset.value,
        test_split=self._test_split.value,
        limit=self._limit.value,
        test_limit=self._test_limit.value,
        **self._options(),
      )


def names(flag: flags.FlagHolder, what: str) -> list[str]:
  """Returns the parts of a list flag, each once.

  Raises:
    InputError: if one is empty.
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


def print_error(error: object, *, about: str = "") -> None:
  """Prints a mistake as one line on standard error.

  Args:
    error: what is wrong.
    about: the source or file it is about, which is named unless `error` does.
  """
  text = f"{error}"
  if about not in text:
    text = f"{about}: {text}"
  progress.write(f"error: {validation.one_line(text)}")


def load_source(
  name: str, *, overrides: catalog.Overrides
) -> source_lib.Source:
  """Loads a source, and shows that this is under way.

  Args:
    name: of the source, see `catalog.load_source`.
    overrides: what replaces the configuration of its checkpoint.

  Raises:
    InputError: as `catalog.load_source`.

  Example:
    >>> from leep_jax import command
    >>> from leep_jax.sources import catalog
    >>> source = command.load_source(
    ...   "fashion_mnist_resnet8", overrides=catalog.Overrides()
    ... )
    >>> source.name
    'fashion_mnist_resnet8'
  """
  with progress.step(f"{tables.short(name, 30)}: loading"):
    return catalog.load_source(name, overrides=overrides)


def for_each_source(models: Sequence[str], run: Callable[[str], object]) -> int:
  """Runs a function on each source, going on after one that is refused.

  Args:
    models: names of sources.
    run: called with each name.

  Returns:
    The exit status: 2 if a source was refused, 130 when interrupted, else 0.

  Raises:
    CannotWriteError: if `run` does: no later row could be written either.

  Example:
    >>> from leep_jax import command
    >>> command.for_each_source(["a", "b"], print)
    a
    b
    0
  """
  status = 0
  try:
    for model in models:
      try:
        run(model)
      except results.CannotWriteError:
        raise
      except validation.DataError as e:
        # Every other source would meet the same mistake in the data.
        print_error(e)
        return 2
      except validation.InputError as e:
        status = 2
        print_error(e, about=model)
  except KeyboardInterrupt:
    print("\ninterrupted", file=sys.stderr)
    return 130
  return status


@contextlib.contextmanager
def _notes_printed() -> Iterator[None]:
  """Prints each note about input once, as one line on standard error."""
  told: set[str] = set()

  def show(message, category, filename, lineno, file=None, line=None):
    text = str(message)
    if not issubclass(category, validation.InputNote):
      usual(message, category, filename, lineno, file, line)
    elif text not in told:
      told.add(text)
      progress.write(f"note: {text}")

  with warnings.catch_warnings():
    warnings.simplefilter("always", validation.InputNote)
    usual, warnings.showwarning = warnings.showwarning, show
    yield


def main(
  argv: list[str], defined: flags.FlagValues, doc: str, run: Callable[[], int]
) -> int:
  """Runs a command; returns its exit status.

  Args:
    argv: the program's name and its flags.
    defined: the flags that the command knows.
    doc: what `--help` prints above the flags.
    run: called when the flags are read; returns the status.

  Returns:
    What `run` does; 2 for a mistake in what was asked, which is one line on
    standard error; 130 when interrupted.
  """
  logging.set_verbosity(logging.ERROR)
  if hasattr(sys.stdout, "reconfigure"):  # names of files may be no text
    sys.stdout.reconfigure(errors="backslashreplace")
  try:
    if {"--help", "-h", "-help"} & set(argv):
      print(f"{doc}\n{defined.get_help()}", flush=True)
      return 0
    defined.unparse_flags()  # what an earlier call in this process has set
    rest = defined(argv)[1:]
    if rest:
      raise validation.InputError(
        f"unexpected argument {rest[0]!r}: options are written --name=value"
      )
    programs.use_compilation_cache()
    with _notes_printed():
      status = run()
    sys.stdout.flush()
    return status
  except (validation.InputError, flags.Error) as e:
    print_error(validation.reason(e))
    return 2
  except KeyboardInterrupt:
    print("\ninterrupted", file=sys.stderr)
    return 130
  except BrokenPipeError:  # whoever read the table has seen enough of it
    os.dup2(os.open(os.devnull, os.O_WRONLY), sys.stdout.fileno())
    return 0


def script(main: Callable[[list[str]], int]) -> Callable[[], int]:
  """Returns a command as `[project.scripts]` of pyproject.toml names it.

  Args:
    main: takes the program's name and its flags; returns the exit status.

  Returns:
    A function that takes no arguments, as entry points do: it reads `sys.argv`.

  Example:
    >>> from leep_jax import command
    >>> command.script(lambda argv: 0)()
    0
  """

  def run():
    return main(sys.argv)

  return run
