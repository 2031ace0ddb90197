"""Checks of the paths that `experiments.reproduce` was given.

It runs for hours: what is missing is told before anything is computed. Each
function raises an `InputError` of one line, which names the flag and its value,
what is missing, and what to do.
"""

from collections.abc import Callable, Iterable, Sequence
import os
import pathlib

from experiments import section
import leep_jax
from leep_jax import command, data, validation
from leep_jax.sources import catalog


def check_all(checks: Iterable[Callable[[], None]]) -> None:
  """Runs all checks.

  Args:
    checks: functions of this file with their arguments.

  Raises:
    InputError: if one does; of several, the others are printed.
  """
  wrong = []
  for check in checks:
    try:
      check()
    except validation.InputError as e:
      wrong.append(e)
  for error in wrong[:-1]:
    command.print_error(error)
  if wrong:
    raise wrong[-1]


def check_output(folder: pathlib.Path) -> None:
  """Checks that a folder is there and can be written, or can be made.

  Args:
    folder: value of `--output`, absolute.

  Raises:
    InputError: if it cannot.
  """
  path = folder
  while not os.path.lexists(path):
    path = path.parent
  within = "" if path == folder else f": {path}"
  if not path.is_dir():
    raise validation.InputError(
      f"--output={folder}{within} is no folder: pass another one"
    )
  if not os.access(path, os.W_OK | os.X_OK):
    raise validation.InputError(
      f"--output={folder}{within} cannot be written: pass another folder"
    )


def check_weights(folder: str, models: Iterable[str]) -> None:
  """Checks that the files of sources are there.

  Args:
    folder: value of `--weights`.
    models: names of the sources. Bundled ones and those of the hub need no
      file.

  Raises:
    InputError: if the folder or a file is missing.
  """
  _check_folder("weights", folder)
  missing = []
  with section.working_directory(folder):
    for model in dict.fromkeys(models):
      path = pathlib.Path(model.rpartition("@")[2])
      try:
        catalog.check_source(model)
        there = not path.is_dir() or any(path.iterdir())
      except validation.InputError:
        there = False
      if not there:
        missing.append(str(path))
  if missing:
    raise validation.InputError(
      f"--weights={folder} lacks {validation.some(dict.fromkeys(missing))}: "
      "pass the folder of the sources' files (experiments/README.md says where "
      "they are published)"
    )


def check_data(folder: str | None, targets: Iterable[str]) -> None:
  """Checks that data sets can be opened.

  Args:
    folder: value of `--data_dir`, or None.
    targets: names of the data sets.

  Raises:
    InputError: if the folder or a data set is missing.
  """
  if folder is not None:
    _check_folder("data_dir", folder)
  wrong = {}
  for target in dict.fromkeys(targets):
    try:
      # Absolute, as sweeps are given it.
      data.load_pair(target, data_dir=folder and os.path.abspath(folder))
    except validation.InputError as e:
      wrong[target] = e
  if wrong:
    first = next(iter(wrong.values()))
    given = "no --data_dir" if folder is None else f"--data_dir={folder}"
    raise validation.InputError(
      f"{given}: cannot open {validation.some(wrong)}: {first}"
    )


def check_photos(folder: str, names: Sequence[str]) -> None:
  """Checks that a folder has folders of photos.

  Args:
    folder: value of `--photos`.
    names: of the folders in it, each with a folder of images for each class.

  Raises:
    InputError: if one is missing, or has no classes.
  """
  _check_folder("photos", folder)
  paths = [pathlib.Path(folder).absolute() / name for name in names]
  missing = [path.name for path in paths if not path.is_dir()]
  if missing:
    raise validation.InputError(
      f"--photos={folder} has no folder {validation.some(missing)}: pass a "
      f"folder of the folders {validation.some(names)}"
    )
  for path in paths:
    try:
      leep_jax.load_dataset(f"folder:{path}")
    except validation.InputError as e:
      raise validation.InputError(f"--photos={folder}: {e}") from e


def _check_folder(flag, folder):
  if not os.path.isdir(folder):
    raise validation.InputError(
      f"--{flag}={folder} is no folder: pass one that is there"
    )
