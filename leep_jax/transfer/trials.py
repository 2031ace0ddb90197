"""Trials: a trial trains one source for one task by one method with one seed.

Commands write a row for each trial. A row states everything that its numbers
depend on, so that a command that is started again finds the trials that are
missing.
"""

from collections.abc import Callable, Sequence
import functools
import hashlib
import json
import pathlib
import subprocess
from typing import Any

import flax
import jax
import optax

from leep_jax import tasks as tasks_lib, validation, version
from leep_jax.engine import programs
from leep_jax.sources import source as source_lib
from leep_jax.transfer import cnaps, runs
from leep_jax.transfer.methods import METHODS, ComputeOutputs, Recipe, Work
from leep_jax.transfer.target import Target

__all__ = [
  "METHODS",
  "Recipe",
  "Target",
  "asked",
  "check",
  "check_model",
  "commit",
  "key",
  "made_by",
  "missing",
  "run",
]

# The columns that the numbers of a row depend on. Rows that agree in all of
# these are of the same trial.
_SAME = (
  "model", "source_digest", "forward_dtype", "dataset", "data_version", "split",
  "test_split",
  "train_set", "test_set", "method", "task", "task_seed", "task_checksum",
  "seed", "recipe",
)  # fmt: skip

_CHECKOUT = pathlib.Path(version.__file__).parents[1]


def key(row: dict[str, Any]) -> bytes:
  """Returns a digest of the columns that the numbers of a row depend on.

  Args:
    row: of a file of results.

  Example:
    >>> from leep_jax.transfer import trials
    >>> first = {"model": "resnet18", "seed": 0, "seconds": 1.5}
    >>> again = {**first, "seconds": 2.0}
    >>> trials.key(first) == trials.key(again)
    True
  """
  text = json.dumps([row.get(name) for name in _SAME], sort_keys=True)
  return hashlib.sha256(text.encode()).digest()


def check(target: Target, methods: Sequence[str], recipe: Recipe) -> None:
  """Refuses tasks and recipes before the first forward pass.

  Args:
    target: data and tasks.
    methods: names in `METHODS`.
    recipe: how to train.

  Raises:
    InputError: if a task cannot be trained or tested on, or has fewer examples
      than a batch, or a method cannot use the recipe.

  Example:
    >>> from leep_jax import data, tasks
    >>> from leep_jax.transfer import trials
    >>> train, test = data.load_pair("digits", limit=20, test_limit=60)
    >>> task = tasks.all_examples(train.labels(), test.labels())
    >>> target = trials.Target(train, test, [task])
    >>> trials.check(target, ["probe"], trials.Recipe())
    Traceback (most recent call last):
    ...
    leep_jax.validation.errors.InputError: task all: example 11 is of ...
  """
  if not methods:
    return
  for method in methods:
    METHODS[method].check(recipe)
  seeded = any(METHODS[method].seeded for method in methods)
  # Methods without seeds, the probe and CNAPs, take no batches.
  size = recipe.head.batch_size if seeded else 1
  for one_set in (False, True):
    tasks = [task for task in target.tasks if task.one_set == one_set]
    if tasks:
      train, test = target.sets(one_set)
      # Made for its checks alone.
      runs.make(train.labels(), test.labels(), tasks, [0], batch_size=size)


def check_model(model: str, methods: Sequence[str], recipe: Recipe) -> None:
  """Refuses a source that a method cannot use, before any work.

  Args:
    model: name of the source.
    methods: names in `METHODS`.
    recipe: how to train.

  Raises:
    InputError: if the source is not the backbone of the recipe's CNAPs.

  Example:
    >>> from leep_jax.transfer import trials
    >>> trials.check_model("resnet18", ["probe"], trials.Recipe())
  """
  if "cnaps" in methods and recipe.cnaps is not None:
    backbone = cnaps.card(recipe.cnaps).get("backbone", model)
    if backbone != model:
      raise validation.InputError(
        f"{recipe.cnaps} adapts {backbone}, not {model}: name that source"
      )


def made_by() -> dict[str, Any]:
  """Returns the columns that state the devices and the versions.

  Example:
    >>> from leep_jax.transfer import trials
    >>> sorted(trials.made_by())
    ['commit', 'device', 'flax', 'jax', 'optax', 'version']
  """
  return {
    "device": f"{programs.device_count()} {jax.devices()[0].device_kind}",
    "jax": jax.__version__,
    "flax": flax.__version__,
    "optax": optax.__version__,
    "version": version.__version__,
    "commit": commit(),
  }


@functools.cache
def commit() -> str | None:
  """Returns the commit of this checkout, with a + if its code was changed.

  None if the package does not run from a checkout.

  Example:
    >>> from leep_jax.transfer import trials
    >>> trials.commit() is None or len(trials.commit()) >= 12
    True
  """
  if not (_CHECKOUT / ".git").exists():
    return None
  try:
    head = _git("rev-parse", "--short=12", "HEAD")
    # Results are written into the checkout too; only its code counts.
    code = "leep_jax", "experiments/*.py"
    changed = _git("status", "--porcelain", *code)
  except (OSError, subprocess.CalledProcessError):
    # git is not installed, or there is no commit yet.
    return None
  return head + "+" * bool(changed)


def _git(*arguments: str) -> str:
  """What git prints about this checkout."""
  return subprocess.run(
    ["git", "-C", str(_CHECKOUT), *arguments],
    check=True,
    capture_output=True,
    text=True,
  ).stdout.strip()


def asked(
  target: Target, about: dict[str, Any], method: str, recipe: Recipe
) -> dict[bytes, tuple[tasks_lib.Task, int]]:
  """Returns all trials of a method.

  Args:
    target: data and tasks.
    about: columns that describe the source.
    method: name in `METHODS`.
    recipe: how it trains.

  Returns:
    Tasks and seeds by the keys of their rows, see `key`.

  Example:
    >>> from leep_jax import data, tasks
    >>> from leep_jax.transfer import trials
    >>> train, test = data.load_pair("digits", limit=60, test_limit=60)
    >>> task = tasks.all_examples(train.labels(), test.labels())
    >>> target, recipe = trials.Target(train, test, [task]), trials.Recipe()
    >>> found = trials.asked(target, {"model": "mine"}, "probe", recipe)
    >>> [(task.name, seed) for task, seed in found.values()]
    [('all', 0)]
  """
  same = _about(target, about, method, recipe)
  return {
    key({**same, **task.row(), "seed": seed}): (task, seed)
    for task in target.tasks
    for seed in recipe.seeds_of(method)
  }


def missing(
  target: Target,
  about: dict[str, Any],
  method: str,
  recipe: Recipe,
  rows: Sequence[dict[str, Any]],
) -> list[tuple[tasks_lib.Task, int]]:
  """Returns the trials of a method that have no row yet.

  Args:
    target: data and tasks.
    about: columns that describe the source.
    method: name in `METHODS`.
    recipe: how it trains.
    rows: that earlier starts of the command wrote.

  Returns:
    Tasks and seeds.

  Example:
    >>> from leep_jax import data, tasks
    >>> from leep_jax.transfer import trials
    >>> train, test = data.load_pair("digits", limit=60, test_limit=60)
    >>> task = tasks.all_examples(train.labels(), test.labels())
    >>> target, recipe = trials.Target(train, test, [task]), trials.Recipe()
    >>> len(trials.missing(target, {"model": "mine"}, "probe", recipe, []))
    1
  """
  done = {key(row) for row in rows if row.get("method") == method}
  return [
    trial
    for name, trial in asked(target, about, method, recipe).items()
    if name not in done
  ]


def _about(target, about, method, recipe):
  """The columns that all rows of a source and a method share."""
  return {
    **about,
    **target.row(),
    "method": method,
    "recipe": recipe.of(method),
  }


def run(
  source: source_lib.Source,
  target: Target,
  wanted: Sequence[tuple[tasks_lib.Task, int]],
  *,
  method: str,
  about: dict[str, Any],
  recipe: Recipe,
  outputs: ComputeOutputs,
  on_row: Callable[[dict[str, Any]], Any],
  progress: Callable[[int, int], Any] = lambda done, total: None,
  checkpoints: str | None = None,
) -> None:
  """Runs trials of one source and method.

  Args:
    source: to transfer.
    target: data and tasks.
    wanted: tasks and seeds, see `missing`.
    method: name in `METHODS`.
    about: columns that describe the source.
    recipe: how to train.
    outputs: computes the source's outputs on a set.
    on_row: called with each row as soon as it is known.
    progress: see `transfer.fine_tune`.
    checkpoints: folder for checkpoints, see `transfer.fine_tune`.

  Raises:
    InputError: as the functions of `transfer`.

  Example:
    >>> import leep_jax
    >>> from leep_jax import data, tasks
    >>> from leep_jax.transfer import trials
    >>> train, test = data.load_pair("digits", limit=60, test_limit=60)
    >>> task = tasks.all_examples(train.labels(), test.labels())
    >>> def pixels(source, dataset):
    ...   images, labels = dataset.load()
    ...   flat = images.reshape(len(images), -1)
    ...   return leep_jax.Outputs.from_arrays(features=flat, labels=labels)
    >>> rows = []
    >>> trials.run(
    ...   leep_jax.Source("pixels", lambda state, images: images, {}),
    ...   trials.Target(train, test, [task]), [(task, 0)], method="probe",
    ...   about={"model": "pixels"}, recipe=trials.Recipe(l2=0.01),
    ...   outputs=pixels, on_row=rows.append,
    ... )
    >>> rows[0]["model"], rows[0]["task"], rows[0]["accuracy"] > 0.5
    ('pixels', 'all', True)
  """
  same = _about(target, about, method, recipe)
  by_name = {task.name: task for task, _ in wanted}

  def on_result(result):
    task = by_name[result.task]
    on_row({**same, **task.row(), **result.row(), **made_by()})

  # One call for the tasks that lack the same seeds: the more runs a call has,
  # the more of them train at the same time.
  groups: dict[tuple[bool, tuple[int, ...]], list[tasks_lib.Task]] = {}
  for task in by_name.values():
    seeds = tuple(s for t, s in wanted if t is task)
    groups.setdefault((task.one_set, seeds), []).append(task)
  for (one_set, seeds), tasks in groups.items():
    work = Work(
      source=source,
      target=target,
      one_set=one_set,
      seeds=seeds,
      recipe=recipe,
      outputs=outputs,
      checkpoints=checkpoints,
      options={"tasks": tasks, "on_result": on_result, "progress": progress},
    )
    METHODS[method].train(work)
