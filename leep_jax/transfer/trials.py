"""Trials: one source trained for one task by one method with one seed.

What commands share: the data and tasks, outputs computed once, rows that say
how each was made, and which rows are missing.
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

# What tells rows apart: the same values, the same numbers.
_SAME = (
  "model", "source_digest", "forward_dtype", "dataset", "data_version", "split",
  "test_split",
  "train_set", "test_set", "method", "task", "task_seed", "task_checksum",
  "seed", "recipe",
)  # fmt: skip

_CHECKOUT = pathlib.Path(version.__file__).parents[1]


def key(row: dict[str, Any]) -> bytes:
  """Returns what tells a row from others that are of something else."""
  text = json.dumps([row.get(name) for name in _SAME], sort_keys=True)
  return hashlib.sha256(text.encode()).digest()


def check(target: Target, methods: Sequence[str], recipe: Recipe) -> None:
  """Refuses what would only be refused after the first forward pass.

  Raises:
    InputError: if a task cannot be trained or tested on, or has fewer examples
      than a batch, a body is to be trained from scratch and frozen, or there is
      no CNAPs.
  """
  if not methods:
    return
  for method in methods:
    METHODS[method].check(recipe)
  seeded = any(METHODS[method].seeded for method in methods)
  size = recipe.head.batch_size if seeded else 1
  for one_set in (False, True):
    tasks = [task for task in target.tasks if task.one_set == one_set]
    if tasks:
      train, test = target.sets(one_set)
      runs.make(train.labels(), test.labels(), tasks, [0], batch_size=size)


def check_model(model: str, methods: Sequence[str], recipe: Recipe) -> None:
  """Refuses a source before the work that its methods cannot use.

  Raises:
    InputError: if it is not the backbone of the CNAPs.
  """
  if "cnaps" in methods and recipe.cnaps is not None:
    backbone = cnaps.card(recipe.cnaps).get("backbone", model)
    if backbone != model:
      raise validation.InputError(
        f"{recipe.cnaps} adapts {backbone}, not {model}: name that source"
      )


def made_by() -> dict[str, Any]:
  """Returns what rows say of the machine and the versions."""
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
  """Returns the commit of this checkout, with + where its code was changed.

  None where the package is installed rather than run from a checkout.
  """
  if not (_CHECKOUT / ".git").exists():
    return None
  try:
    head = _git("rev-parse", "--short=12", "HEAD")
    code = "leep_jax", "experiments/*.py"
    changed = _git("status", "--porcelain", *code)
  except (OSError, subprocess.CalledProcessError):  # no git, no commit yet
    return None
  return head + "+" * bool(changed)


def _git(*arguments):
  return subprocess.run(
    ["git", "-C", str(_CHECKOUT), *arguments],
    check=True,
    capture_output=True,
    text=True,
  ).stdout.strip()


def asked(
  target: Target, about: dict[str, Any], method: str, recipe: Recipe
) -> dict[bytes, tuple[tasks_lib.Task, int]]:
  """Returns the tasks and seeds of a method, by the keys of their rows.

  Args:
    target: data and tasks.
    about: what rows say of the source.
    method: one of `METHODS`.
    recipe: how it trains.
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
  """Returns the tasks and seeds of a method that have no row yet.

  Args:
    target: data and tasks.
    about: what rows say of the source.
    method: one of `METHODS`.
    recipe: how it trains.
    rows: of earlier starts.
  """
  done = {key(row) for row in rows if row.get("method") == method}
  return [
    trial
    for name, trial in asked(target, about, method, recipe).items()
    if name not in done
  ]


def _about(target, about, method, recipe):
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
  """Trains a source by one method.

  Args:
    source: where it starts.
    target: data and tasks.
    wanted: tasks and seeds, see `missing`.
    method: one of `METHODS`.
    about: what rows say of the source.
    recipe: how to train.
    outputs: computes the source's outputs on a set.
    on_row: called with each row as soon as it is known.
    progress: see `transfer.fine_tune`.
    checkpoints: folder for them, see there.

  Raises:
    InputError: as the functions of `transfer`.
  """
  same = _about(target, about, method, recipe)
  by_name = {task.name: task for task, _ in wanted}

  def on_result(result):
    task = by_name[result.task]
    on_row({**same, **task.row(), **result.row(), **made_by()})

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
