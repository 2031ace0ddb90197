"""Trials: one source trained for one task by one method with one seed.

What commands share: the data and tasks, outputs computed once, rows that say
how each was made, and which rows are missing.
"""

from collections.abc import Callable, Sequence
import dataclasses
import functools
import hashlib
import json
import pathlib
import subprocess
from typing import Any

import flax
import jax
import optax

from leep_jax import (
  checks,
  data,
  devices,
  outputs as outputs_lib,
  source as source_lib,
  tasks as tasks_lib,
  transfer,
  version,
)
from leep_jax.transfer import cnaps, config, runs

# Those whose results do not depend on a seed, and take no batches.
_WITHOUT_SEED = ("probe", "cnaps")
METHODS = ("retrain_head", "probe", "fine_tune", "scratch", "cnaps")

# What tells rows apart: the same values, the same numbers.
_SAME = (
  "model", "source_digest", "forward_dtype", "dataset", "data_version", "split",
  "test_split",
  "train_set", "test_set", "method", "task", "task_seed", "task_checksum",
  "seed", "recipe",
)  # fmt: skip

_CHECKOUT = pathlib.Path(version.__file__).parents[1]

ComputeOutputs = Callable[
  [source_lib.Source, data.Dataset], outputs_lib.Outputs
]


@dataclasses.dataclass(frozen=True)
class Recipe:
  """How each method trains.

  Attributes:
    head: of `retrain_head`.
    network: of `fine_tune` and `scratch`.
    l2: of `probe`.
    cnaps: file of a meta-trained CNAPs, of `cnaps`.
    seeds: trainings of each task.
  """

  head: transfer.Config = dataclasses.field(default_factory=transfer.Config)
  network: transfer.NetworkConfig = dataclasses.field(
    default_factory=transfer.NetworkConfig
  )
  l2: float = 0.0
  cnaps: str | None = None
  seeds: int = 1

  def of(self, method: str) -> dict[str, Any]:
    """Returns what decides the result of a method, besides its seed."""
    if method == "probe":
      return {"l2": self.l2}
    if method == "cnaps":
      file = pathlib.Path(self.cnaps or "")
      digest = hashlib.sha256(file.read_bytes()).hexdigest()[:16]
      return {"file": file.name, "digest": digest}
    how = self.head if method == "retrain_head" else self.network
    return {"optimizer": "sgd", **dataclasses.asdict(how)}

  def seeds_of(self, method: str) -> range:
    """Returns the seeds of a method; some depend on none."""
    return range(1 if method in _WITHOUT_SEED else self.seeds)


def key(row: dict[str, Any]) -> bytes:
  """Returns what tells a row from others that are of something else."""
  text = json.dumps([row.get(name) for name in _SAME], sort_keys=True)
  return hashlib.sha256(text.encode()).digest()


def check(target: "Target", methods: Sequence[str], recipe: Recipe) -> None:
  """Refuses what would only be refused after the first forward pass.

  Raises:
    InputError: if a task cannot be trained or tested on, or has fewer examples
      than a batch, a body is to be trained from scratch and frozen, or there is
      no CNAPs.
  """
  if "scratch" in methods:
    config.check_scratch(recipe.network)
  if not methods:
    return
  if "cnaps" in methods:
    if recipe.cnaps is None:
      raise checks.InputError("cnaps is asked for, but no file of one is given")
    cnaps.load(recipe.cnaps)
  size = recipe.head.batch_size
  if set(methods) <= set(_WITHOUT_SEED):
    size = 1
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
      raise checks.InputError(
        f"{recipe.cnaps} adapts {backbone}, not {model}: name that source"
      )


class Target:
  """A training and a test set, and tasks on them."""

  def __init__(
    self,
    train: data.Dataset,
    test: data.Dataset,
    tasks: Sequence[tasks_lib.Task],
  ):
    """Holds them; images are read when a network is trained on them."""
    self.train, self.test, self.tasks = train, test, tasks
    self._loaded: dict[int, Any] = {}

  def sets(self, one_set: bool) -> tuple[data.Dataset, data.Dataset]:
    """Returns what training and test places of tasks are places in."""
    return (self.test if one_set else self.train), self.test

  def row(self) -> dict[str, Any]:
    """Returns what rows say of the data."""
    return {
      "dataset": self.train.name,
      "data_version": self.train.version,
      "split": self.train.split,
      "test_split": self.test.split,
      "train_set": len(self.train),
      "test_set": len(self.test),
    }

  def images(self, dataset: data.Dataset) -> Any:
    """Returns a set in memory, or itself where a source must fit images."""
    if dataset.image_shape is None:
      return dataset
    if id(dataset) not in self._loaded:
      self._loaded[id(dataset)] = dataset.load()
    return self._loaded[id(dataset)]


def made_by() -> dict[str, Any]:
  """Returns what rows say of the machine and the versions."""
  return {
    "device": f"{devices.device_count()} {jax.devices()[0].device_kind}",
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
    rows: that there are.
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
    outputs: computes or remembers the source's outputs on a set.
    on_row: called with each row as soon as it is there.
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
    options: dict[str, Any] = {
      "tasks": tasks,
      "on_result": on_result,
      "progress": progress,
    }
    train, test = target.sets(one_set)
    if method in ("retrain_head", "probe"):
      kept = outputs(source, train), outputs(source, test)
      if method == "probe":
        transfer.probe_head(*kept, l2=recipe.l2, **options)
      else:
        transfer.retrain_head(*kept, config=recipe.head, seeds=seeds, **options)
      continue
    if method == "cnaps":
      adapted = cnaps.load(recipe.cnaps or "")
      cnaps.transfer(adapted, train.load(), test.load(), **options)
      continue
    function = transfer.fine_tune
    if method == "scratch":
      function = transfer.train_from_scratch
    function(
      source,
      target.images(train),
      target.images(test),
      config=recipe.network,
      seeds=seeds,
      directory=checkpoints,
      **options,
    )
