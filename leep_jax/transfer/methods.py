"""Methods of transfer by name, and the recipe by which each trains.

A new method is a function here that calls the method's file, and a row of
`METHODS`.
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
  """The options of all methods.

  Attributes:
    head: configuration of `retrain_head`.
    network: configuration of `fine_tune` and `scratch`.
    l2: strength of the penalty of `probe`.
    cnaps: file of a meta-trained CNAPs, for `cnaps`.
    seeds: number of trainings for each task, with seeds from 0.

  Example:
    >>> from leep_jax.transfer import methods
    >>> recipe = methods.Recipe(l2=0.1, seeds=3)
    >>> recipe.of("probe"), recipe.seeds_of("probe")
    ({'l2': 0.1}, range(0, 1))
  """

  head: Config = dataclasses.field(default_factory=Config)
  network: NetworkConfig = dataclasses.field(default_factory=NetworkConfig)
  l2: float = 0.0
  cnaps: str | None = None
  seeds: int = 1

  def of(self, method: str) -> dict[str, Any]:
    """Returns the options that decide a method's result, besides the seed."""
    return METHODS[method].recipe(self)

  def seeds_of(self, method: str) -> range:
    """Returns the seeds of a method; only 0 if its result depends on none."""
    return range(self.seeds if METHODS[method].seeded else 1)


@dataclasses.dataclass(frozen=True)
class Work:
  """The arguments of a method: one source, some tasks and some seeds.

  Attributes:
    source: to transfer.
    target: the data.
    one_set: whether the tasks' training examples, too, are in the test set.
    seeds: each task is trained for once with each.
    recipe: how to train.
    outputs: computes the source's outputs on a set.
    checkpoints: folder for checkpoints, or None.
    options: the arguments `tasks`, `on_result` and `progress` of all methods.

  Example:
    >>> import leep_jax
    >>> from leep_jax import data, tasks
    >>> from leep_jax.transfer import methods, target
    >>> train, test = data.load_pair("digits", limit=60, test_limit=60)
    >>> all_examples = tasks.all_examples(train.labels(), test.labels())
    >>> def pixels(source, dataset):
    ...   images, labels = dataset.load()
    ...   flat = images.reshape(len(images), -1)
    ...   return leep_jax.Outputs.from_arrays(features=flat, labels=labels)
    >>> found = []
    >>> work = methods.Work(
    ...   source=leep_jax.Source("pixels", lambda state, images: images, {}),
    ...   target=target.Target(train, test, [all_examples]),
    ...   one_set=False, seeds=(0,), recipe=methods.Recipe(l2=0.01),
    ...   outputs=pixels, checkpoints=None,
    ...   options={"tasks": [all_examples], "on_result": found.append},
    ... )
    >>> methods.METHODS["probe"].train(work)
    >>> found[0].method, found[0].accuracy > 0.5
    ('probe', True)
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
  """The check of a method that every recipe suits."""


@dataclasses.dataclass(frozen=True)
class Method:
  """A row of `METHODS`: one way to transfer a source.

  Attributes:
    summary: what is trained, in a few words.
    train: trains for all tasks and seeds of a `Work`.
    recipe: returns the options of a recipe that decide the result. Rows with
      the same options are not trained again.
    seeded: whether training draws batches, so that the result depends on a
      seed.
    reads_outputs: whether it reads outputs of the source, which sweeps cache,
      rather than images.
    check: raises `InputError` for a recipe that this method cannot use.

  Example:
    >>> from leep_jax.transfer import methods
    >>> methods.METHODS["probe"].seeded
    False
  """

  summary: str
  train: Callable[[Work], Any]
  recipe: Callable[[Recipe], dict[str, Any]]
  seeded: bool = True
  reads_outputs: bool = False
  check: Callable[[Recipe], Any] = _accept


def _outputs(work):
  """The source's outputs on the training and the test set."""
  return [work.outputs(work.source, s) for s in work.target.sets(work.one_set)]


def _retrain_head(work):
  config, seeds = work.recipe.head, work.seeds
  retrain_head(*_outputs(work), config=config, seeds=seeds, **work.options)


def _probe(work):
  probe_head(*_outputs(work), l2=work.recipe.l2, **work.options)


def _train_network(function):
  """The `train` of a method that trains a network on images."""

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
  # By content: another CNAPs in a file of the same name gives other results.
  file = pathlib.Path(recipe.cnaps or "")
  digest = hashlib.sha256(file.read_bytes()).hexdigest()[:16]
  return {"file": file.name, "digest": digest}


def _sgd(config):
  # All fields: with another value of any, a row is of another trial.
  return {"optimizer": "sgd", **dataclasses.asdict(config)}


METHODS: dict[str, Method] = {
  "retrain_head": Method(
    "softmax regression on frozen features",
    _retrain_head,
    lambda recipe: _sgd(recipe.head),
    reads_outputs=True,
  ),
  "probe": Method(
    "the same to its optimum",
    _probe,
    lambda recipe: {"l2": recipe.l2},
    seeded=False,
    reads_outputs=True,
  ),
  "fine_tune": Method(
    "the whole network",
    _train_network(fine_tune),
    lambda recipe: _sgd(recipe.network),
  ),
  "scratch": Method(
    "its architecture from initial weights",
    _train_network(train_from_scratch),
    lambda recipe: _sgd(recipe.network),
    check=lambda recipe: config_lib.check_scratch(recipe.network),
  ),
  "cnaps": Method(
    "adaptation by a meta-trained network",
    _cnaps,
    _file_of_cnaps,
    seeded=False,
    check=_check_cnaps,
  ),
}
