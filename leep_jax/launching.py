"""Starts the workers of a sweep as jobs, by submitit: on Slurm or here."""

from collections.abc import Mapping, Sequence
import dataclasses
import os
import subprocess
import sys
from typing import Any

from absl import flags

from leep_jax import validation

CLUSTERS = ("slurm", "local")


class LaunchFlags:
  """The flags that start workers.

  Example:
    >>> from absl import flags
    >>> from leep_jax import launching
    >>> defined = flags.FlagValues()
    >>> launch = launching.LaunchFlags(defined)
    >>> _ = defined(["program", "--launch=slurm", "--workers=8",
    ...   "--launch_options=timeout_min=60,slurm_partition=gpu"])
    >>> launch.cluster, launch.workers, launch.options()
    ('slurm', 8, {'timeout_min': 60, 'slurm_partition': 'gpu'})
  """

  def __init__(self, defined: flags.FlagValues):
    """Defines the flags.

    Args:
      defined: the flags of a command, to which these are added.
    """
    self._defined = defined
    self._launch = flags.DEFINE_enum(
      "launch",
      None,
      CLUSTERS,
      "Start --workers processes as jobs, by submitit: an array of Slurm, or "
      "local ones, which are waited for.",
      flag_values=defined,
    )
    self._workers = flags.DEFINE_integer(
      "workers", 1, "With --launch: how many.", flag_values=defined
    )
    self._options = flags.DEFINE_list(
      "launch_options",
      [],
      "With --launch: parameters of submitit for each job, such as "
      "timeout_min=600,gpus_per_node=1,slurm_partition=gpu.",
      flag_values=defined,
    )

  @property
  def cluster(self) -> str | None:
    """Where workers are to be started; None if they are not.

    Raises:
      InputError: if flags contradict each other.
    """
    if self._launch.value is None:
      for flag in (self._workers, self._options):
        if flag.present:
          raise validation.InputError(
            f"--{flag.name} has no meaning without --launch"
          )
    return self._launch.value

  @property
  def workers(self) -> int:
    """How many.

    Raises:
      InputError: if there are none.
    """
    validation.at_least_1("workers", self._workers.value)
    return self._workers.value

  def options(self) -> dict[str, Any]:
    """Returns the parameters for submitit; those of digits are integers.

    Raises:
      InputError: if one is not of the form name=value.
    """
    found: dict[str, Any] = {}
    for text in self._options.value:
      name, equals, value = text.partition("=")
      if not (name and equals):
        raise validation.InputError(
          f"--launch_options has {text!r}, but must be like timeout_min=600"
        )
      found[name] = int(value) if value.isdecimal() else value
    return found

  def passed_on(self, but: Sequence[str]) -> list[str]:
    """Returns the flags of the command line that workers get too.

    Args:
      but: names of flags that they do not get.
    """
    mine = {self._launch.name, self._workers.name, self._options.name, *but}
    given = (self._defined[name] for name in self._defined)
    return [
      flag.serialize()
      for flag in given
      if flag.present and flag.name not in mine
    ]


@dataclasses.dataclass
class Job:
  """A command in a process of its own; starts anew when it is preempted.

  Attributes:
    arguments: of Python.

  Example:
    >>> from leep_jax import launching
    >>> launching.Job(["-c", "print('done')"])()
  """

  arguments: Sequence[str]

  def __call__(self) -> None:
    """Runs the command.

    Raises:
      CalledProcessError: if it fails.
    """
    command = [sys.executable, *self.arguments]
    self._process = subprocess.Popen(command)
    status = self._process.wait()
    if status:
      raise subprocess.CalledProcessError(status, command)

  def checkpoint(self) -> Any:
    """Returns what submitit starts after a timeout or preemption: the same.

    Rows that are written are not computed again.
    """
    import submitit

    self._process.kill()
    return submitit.helpers.DelayedSubmission(Job(self.arguments))


def submit(
  commands: Sequence[Sequence[str]],
  *,
  cluster: str,
  folder: str | os.PathLike[str],
  options: Mapping[str, Any],
) -> list[Any]:
  """Starts commands as jobs.

  Args:
    commands: the arguments of Python, of each job.
    cluster: one of `CLUSTERS`.
    folder: for what the jobs print, on a file system that they share.
    options: parameters of `submitit.AutoExecutor`.

  Returns:
    Jobs of submitit.

  Raises:
    InputError: if submitit is not installed, there is no such cluster here, or
      a parameter is unknown.

  Example:
    >>> import tempfile
    >>> from leep_jax import launching
    >>> with tempfile.TemporaryDirectory() as folder:
    ...   (job,) = launching.submit(
    ...     [["-c", "print('done')"]], cluster="local", folder=folder,
    ...     options={"timeout_min": 1})
    ...   job.result()
    ...   print("done" in job.stdout())
    True
  """
  # It would configure logging anew, which closes the handlers that there are.
  os.environ.setdefault("SUBMITIT_LOG_LEVEL", "NOCONFIG")
  try:
    import submitit
  except ImportError as e:
    raise validation.InputError(
      "--launch needs submitit: pip install 'leep_jax[slurm]'"
    ) from e
  try:
    executor = submitit.AutoExecutor(folder=os.fspath(folder), cluster=cluster)
    executor.update_parameters(name="leep_sweep", **options)
  # Of a missing program or a wrong parameter, by submitit's own checks.
  except (AssertionError, LookupError, NameError, RuntimeError, TypeError,
          ValueError) as e:  # fmt: skip
    raise validation.InputError(
      f"cannot start jobs on {cluster}: {validation.reason(e)}"
    ) from e
  try:
    with executor.batch():
      return [executor.submit(Job(list(command))) for command in commands]
  except (OSError, subprocess.CalledProcessError, RuntimeError) as e:
    # Of sbatch too, such as of an unknown partition.
    raise validation.InputError(
      f"cannot start jobs on {cluster}: {validation.reason(e)}"
    ) from e


def failures(jobs: Sequence[Any]) -> list[str]:
  """Waits for jobs; returns a line about each that failed.

  Args:
    jobs: as `submit` returns them.

  Example:
    >>> from leep_jax import launching
    >>> launching.failures([])
    []
  """
  found = []
  for job in jobs:
    if job.exception() is None:
      continue
    printed = (job.stderr() or "").splitlines()
    errors = [line for line in printed if line.startswith("error: ")]
    last = (errors or printed or ["it printed nothing"])[-1]
    found.append(f"job {job.job_id}: {last.removeprefix('error: ')}")
  return found
