"""What the commands of the package share: flags, mistakes, exit statuses."""

from collections.abc import Callable
import os
import sys

from absl import flags, logging

from leep_jax import checks


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
  try:
    if {"--help", "-h", "-help"} & set(argv):
      print(f"{doc}\n{defined.get_help()}", flush=True)
      return 0
    defined.unparse_flags()  # what an earlier call in this process has set
    rest = defined(argv)[1:]
    if rest:
      raise checks.InputError(
        f"unexpected argument {rest[0]!r}: options are written --name=value"
      )
    status = run()
    sys.stdout.flush()
    return status
  except (checks.InputError, flags.Error) as e:
    print(f"error: {checks.reason(e)}", file=sys.stderr)
    return 2
  except KeyboardInterrupt:
    print("\ninterrupted", file=sys.stderr)
    return 130
  except BrokenPipeError:  # whoever read the table has seen enough of it
    os.dup2(os.open(os.devnull, os.O_WRONLY), sys.stdout.fileno())
    return 0
