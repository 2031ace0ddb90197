"""Programs of training are kept by what they compute, and keep no weights."""

import gc
import weakref

from flax import nnx
import jax
import jax.numpy as jnp
import networks
import numpy as np
import pytest

import leep_jax
from leep_jax import transfer
from leep_jax.engine import programs
from leep_jax.sources import source as source_lib
from leep_jax.transfer import cnaps
from leep_jax.transfer.cnaps import adaptation, training

CONFIG = transfer.NetworkConfig(epochs=1, batch_size=16, momentum=0.9)
SETS = networks.images_of(0, 32), networks.images_of(1, 16)
TRAIN = [transfer.fine_tune, transfer.train_from_scratch]


def nnx_source(seed):
  return networks.make_source(seed=seed)


def own_closure(seed):
  """A source whose body refers to some of its weights, as users may write."""
  draw = np.random.default_rng(seed)
  fixed = jnp.asarray(draw.normal(size=(8, 6)), jnp.float32)

  def init(seed):
    shift = np.random.default_rng(seed).normal(size=6)
    return source_lib.Weights({"shift": jnp.asarray(shift, jnp.float32)}, {})

  def body(params, rest, images, *, train, synchronise=None):
    features = images.mean(axis=(1, 3)) @ fixed.astype(images.dtype)
    return jax.nn.relu(features + params["shift"][None]), rest

  def apply(state, images):
    features, _ = body(*state, images, train=False)
    return features, features

  weights = init(seed)
  preprocessing = networks.PREPROCESSING
  body.weights = fixed
  return leep_jax.Source(
    "own",
    apply,
    weights,
    preprocessing,
    network=source_lib.Network(weights, body, init),
  )


SOURCES = [nnx_source, own_closure]


def numbers(found):
  return [(r.nll, r.accuracy, *r.losses) for r in found]


@pytest.mark.parametrize("train", TRAIN)
@pytest.mark.parametrize("make", SOURCES)
def test_a_source_loaded_again_compiles_nothing(make, train, device_count):
  first = numbers(train(make(0), *SETS, config=CONFIG))
  before = list(programs._programs)
  assert numbers(train(make(0), *SETS, config=CONFIG)) == first
  assert list(programs._programs) == before
  # Other weights are other numbers, by the same program.
  assert numbers(train(make(1), *SETS, config=CONFIG, seeds=[1])) != first
  assert list(programs._programs) == before


@pytest.mark.parametrize("train", TRAIN)
@pytest.mark.parametrize("make", SOURCES)
def test_weights_of_a_dropped_source_are_freed(make, train):
  source = make(0)
  train(source, *SETS, config=CONFIG)
  arrays = jax.tree.leaves(source.network.weights)
  if make is own_closure:
    arrays.append(source.network.apply.weights)
  refs = [weakref.ref(x) for x in arrays]
  del source, arrays
  gc.collect()
  assert [ref() for ref in refs] == [None] * len(refs)


def test_many_trainings_keep_no_more_programs():
  for make in SOURCES:
    transfer.fine_tune(make(0), *SETS, config=CONFIG)
    before = list(programs._programs)
    for seed in range(20):
      transfer.fine_tune(make(seed), *SETS, config=CONFIG)
    assert list(programs._programs) == before


def test_own_constants_of_another_value_are_another_program():
  """A table in the source's code is part of the program."""

  def scaled(factor):
    source = own_closure(0)
    body = source.network.apply
    table = np.full((1, 6), factor, np.float32)

    def apply(params, rest, images, **options):
      features, rest = body(params, rest, images, **options)
      return features * table, rest

    network = source_lib.Network(source.network.weights, apply)
    return leep_jax.Source(
      "own", source.apply, source.state, source.preprocessing, network=network
    )

  one, two, again = (
    numbers(transfer.fine_tune(scaled(factor), *SETS, config=CONFIG))
    for factor in (1.0, 2.0, 1.0)
  )
  assert one == again
  assert one != two


def test_heads_of_the_same_options_share_a_program(rng):
  outputs = leep_jax.Outputs.from_arrays(
    features=rng.normal(size=(30, 4)),
    probs=rng.dirichlet(np.ones(3), 30),
    labels=np.arange(30) % 3,
  )
  config = transfer.Config(epochs=2)
  transfer.retrain_head(outputs, outputs, config=config)
  before = list(programs._programs)
  transfer.retrain_head(outputs, outputs, config=config, seeds=[5])
  assert list(programs._programs) == before


def test_a_cnaps_made_again_compiles_nothing(rng):
  images = rng.integers(0, 256, (40, 8, 8, 1)).astype(np.uint8)
  labels = np.arange(40) % 4
  classes = [[np.flatnonzero(labels == c) for c in range(4)]]
  config = cnaps.Config(
    epochs=1, episodes=2, ways=(3, 4), shots=(1, 2), queries=8
  )
  refs, sizes = [], []
  for _ in range(2):
    model = cnaps.create("fashion_mnist_resnet8")
    cnaps.meta_train(model, images, classes, config=config)
    cnaps.log_probs(model, images[:20], labels[:20], images[20:])
    leaves = jax.tree.leaves(nnx.state(model))
    refs += [weakref.ref(x) for x in leaves]
    graph = training.split(model)[0]
    sizes.append(
      (
        adaptation._adapt._cache_size(),
        adaptation._predict._cache_size(),
        training._gradient(graph, 8)._cache_size(),
        training._gradient.cache_info().currsize,
        training._update(config)._cache_size(),
      )
    )
    del model, leaves, graph
  gc.collect()
  assert sizes[0] == sizes[1]
  assert [ref() for ref in refs] == [None] * len(refs)
