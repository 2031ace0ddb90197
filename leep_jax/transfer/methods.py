"""Methods of transfer by name, and the recipe by which each trains.

A new method is a function here and a row of `METHODS`.
"""

from collections.abc import Callable
import dataclasses
import hashlib
import pathlib
from typing import Any

from leep_jax import data, validation
from leep_jax.engine import outputs as outputs_lib
from leep_jax.sources import source as source_lib
from leep_jax.transfer import cnaps, config as config_lib
from leep_jax.transfer.config import Config, NetworkConfig
from leep_jax.transfer.head import retrain_head
from leep_jax.transfer.network import fine_tune, train_from_scratch
from leep_jax.transfer.probe import probe_head
from leep_jax.transfer.target import Target

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

  head: Config = dataclasses.field(default_factory=Config)
  network: NetworkConfig = dataclasses.field(default_factory=NetworkConfig)
  l2: float = 0.0
  cnaps: str | None = None
  seeds: int = 1

  def of(self, method: str) -> dict[str, Any]:
    """Returns what decides the result of a method, besides its seed."""
    return METHODS[method].recipe(self)

  def seeds_of(self, method: str) -> range:
    """Returns the seeds of a method; some depend on none."""
    return range(self.seeds if METHODS[method].seeded else 1)


@dataclasses.dataclass(frozen=True)
class Work:
  """What a method is to train: some tasks, for some seeds.

  Attributes:
    source: where it starts.
    target: the data.
    one_set: whether the tasks train within the test set.
    seeds: one training of each task for each.
    recipe: how to train.
    outputs: computes the source's outputs on a set.
    checkpoints: folder for them, or None.
    options: `tasks`, `on_result` and `progress`, which all methods take.
  """

  source: source_lib.Source
  target: Target
  one_set: bool
  seeds: tuple[int, ...]
  recipe: Recipe
  outputs: ComputeOutputs
  checkpoints: str | None
  options: dict[str, Any]


def _accept(recipe):
  """Refuses no recipe."""


@dataclasses.dataclass(frozen=True)
class Method:
  """A way to transfer a source.

  Attributes:
    train: does it.
    recipe: what of a recipe decides the result.
    seeded: whether the result depends on a seed, and training takes batches.
    check: refuses a recipe that nothing can be trained by.
  """

  train: Callable[[Work], Any]
  recipe: Callable[[Recipe], dict[str, Any]]
  seeded: bool = True
  check: Callable[[Recipe], Any] = _accept


def _retrain_head(work):
  kept = [work.outputs(work.source, s) for s in work.target.sets(work.one_set)]
  config, seeds = work.recipe.head, work.seeds
  retrain_head(*kept, config=config, seeds=seeds, **work.options)


def _probe(work):
  kept = [work.outputs(work.source, s) for s in work.target.sets(work.one_set)]
  probe_head(*kept, l2=work.recipe.l2, **work.options)


def _train_network(function):
  """A method that trains networks on images."""

  def train(work):
    sets = work.target.sets(work.one_set)
    function(
      work.source,
      *map(work.target.images, sets),
      config=work.recipe.network,
      seeds=work.seeds,
      directory=work.checkpoints,
      **work.options,
    )

  return train


def _cnaps(work):
  model = cnaps.load(work.recipe.cnaps or "")
  train, test = work.target.sets(work.one_set)
  cnaps.transfer(model, train.load(), test.load(), **work.options)


def _check_cnaps(recipe):
  if recipe.cnaps is None:
    raise validation.InputError(
      "cnaps is asked for, but no file of one is given"
    )
  cnaps.load(recipe.cnaps)


def _file_of_cnaps(recipe):
  file = pathlib.Path(recipe.cnaps or "")
  digest = hashlib.sha256(file.read_bytes()).hexdigest()[:16]
  return {"file": file.name, "digest": digest}


def _sgd(config):
  return {"optimizer": "sgd", **dataclasses.asdict(config)}


METHODS: dict[str, Method] = {
  "retrain_head": Method(_retrain_head, lambda recipe: _sgd(recipe.head)),
  "probe": Method(_probe, lambda recipe: {"l2": recipe.l2}, seeded=False),
  "fine_tune": Method(
    _train_network(fine_tune), lambda recipe: _sgd(recipe.network)
  ),
  "scratch": Method(
    _train_network(train_from_scratch),
    lambda recipe: _sgd(recipe.network),
    check=lambda recipe: config_lib.check_scratch(recipe.network),
  ),
  "cnaps": Method(_cnaps, _file_of_cnaps, seeded=False, check=_check_cnaps),
}
