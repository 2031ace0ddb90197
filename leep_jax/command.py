"""How the commands run: sources in turn, errors and exit statuses."""

from collections.abc import Callable, Iterator, Sequence
import contextlib
import os
import shlex
import sys
import warnings

from absl import flags, logging

from leep_jax import progress, validation
from leep_jax.engine import programs
from leep_jax.reports import results, tables
from leep_jax.sources import catalog, source as source_lib


def print_error(error: object, *, about: str = "") -> None:
  """Prints an error as one line on standard error.

  Args:
    error: with a message.
    about: name of a source or file, which is put in front unless the message
      includes it.

  Example:
    >>> import contextlib, io
    >>> from leep_jax import command
    >>> with contextlib.redirect_stderr(io.StringIO()) as printed:
    ...   command.print_error("no file there", about="a.npz")
    >>> printed.getvalue()
    'error: a.npz: no file there\\n'
  """
  text = f"{error}"
  if about not in text:
    text = f"{about}: {text}"
  progress.write(f"error: {validation.one_line(text)}")


def print_text(text: str) -> None:
  """Prints a text, also where the terminal has no plus-minus sign.

  Args:
    text: of several lines.

  Example:
    >>> from leep_jax import command
    >>> command.print_text("0.95 ± 0.01")
    0.95 ± 0.01
  """
  try:
    text.encode(sys.stdout.encoding or "utf-8")
  except UnicodeEncodeError:
    text = text.replace(" ± ", " +- ").replace("±", "+-")
  print(text)


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
      # Also an InputError, but the rows of no other source could be written.
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
    # 128 + 2, the number of SIGINT, as shells report it.
    return 130
  return status


@contextlib.contextmanager
def _notes_printed() -> Iterator[None]:
  """Prints each note about input once, as one line on standard error."""
  told: set[str] = set()

  def show(message, category, filename, lineno, file=None, line=None):
    # Other warnings are shown as Python shows them.
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
  """Runs a command.

  Args:
    argv: the program's name and its flags.
    defined: the flags of the command.
    doc: text that `--help` prints above the flags.
    run: called when the flags are parsed; returns the exit status.

  Returns:
    The exit status: that of `run`; 2 for an error in the input, which is
    printed as one line on standard error; 130 when interrupted.

  Example:
    >>> from absl import flags
    >>> from leep_jax import command
    >>> defined = flags.FlagValues()
    >>> count = flags.DEFINE_integer("count", 1, "", flag_values=defined)
    >>> def run():
    ...   print(count.value)
    ...   return 0
    >>> command.main(["program", "--count=3"], defined, "Counts.", run)
    3
    0
  """
  logging.set_verbosity(logging.ERROR)
  # Names of files are bytes, which need not be text.
  if hasattr(sys.stdout, "reconfigure"):
    sys.stdout.reconfigure(errors="backslashreplace")
  try:
    if {"--help", "-h", "-help"} & set(argv):
      print(f"{doc}\n{defined.get_help()}", flush=True)
      return 0
    # An earlier call in this process may have set flags.
    defined.unparse_flags()
    rest = defined(argv)[1:]
    if rest:
      raise validation.InputError(
        f"unexpected argument {rest[0]!r}: options are written --name=value"
      )
    programs.use_compilation_cache()
    with _notes_printed():
      status = run()
    # Here, where a closed pipe is handled, and not at exit.
    sys.stdout.flush()
    return status
  except (validation.InputError, flags.Error) as e:
    print_error(validation.reason(e))
    return 2
  except KeyboardInterrupt:
    print("\ninterrupted", file=sys.stderr)
    return 130
  except BrokenPipeError:
    # The reader, such as `head`, has closed the pipe, into which Python would
    # flush once more at exit.
    os.dup2(os.open(os.devnull, os.O_WRONLY), sys.stdout.fileno())
    return 0


def line(module: str, defined: flags.FlagValues) -> str:
  """Returns the command line of what is running, as a shell reads it.

  Args:
    module: of the command.
    defined: its flags, of which those that were given are part of it.

  Example:
    >>> from absl import flags
    >>> from leep_jax import command
    >>> defined = flags.FlagValues()
    >>> _ = flags.DEFINE_string("dataset", "", "", flag_values=defined)
    >>> _ = flags.DEFINE_integer("limit", 1, "", flag_values=defined)
    >>> _ = defined(["program", "--dataset=folder:my data"])
    >>> command.line("leep_jax.score", defined)
    "python -m leep_jax.score '--dataset=folder:my data'"
  """
  all_flags = [defined[name] for name in defined]
  given = [flag.serialize() for flag in all_flags if flag.present]
  return shlex.join(["python", "-m", module, *given])


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
