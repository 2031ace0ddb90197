"""Who owns compiled programs: what is computed, not the objects that ask."""

import gc
import os
import weakref

from flax import nnx
import jax
import jax.numpy as jnp
import numpy as np
import pytest

import leep_jax
from leep_jax.engine import cache, programs, sums as sums_lib, uncomputed
from leep_jax.sources import network

IMAGES = np.random.default_rng(0).integers(0, 256, (16, 8, 8, 3), np.uint8)
LABELS = np.arange(16) % 3
CLASSES = 5


class Net(nnx.Module):
  def __init__(self, seed):
    rngs = nnx.Rngs(seed)
    self.conv = nnx.Conv(3, 4, (3, 3), rngs=rngs)
    self.fc = nnx.Linear(4, CLASSES, rngs=rngs)

  def __call__(self, x):
    features = nnx.relu(self.conv(x)).mean(axis=(1, 2))
    return self.fc(features), features


def nnx_source(seed):
  return network.from_nnx("net", Net(seed), head="fc")


def own_closure(seed):
  """A source whose function refers to its weights, as a user may write it."""
  kernel = jax.random.normal(jax.random.key(seed), (3, CLASSES))

  def apply(state, images):
    features = images.mean(axis=(1, 2))
    return features @ kernel, features

  return leep_jax.Source("own", apply, {})


def scores(source):
  outputs = leep_jax.compute_outputs(source, [(IMAGES, LABELS)])
  return leep_jax.compute_scores(outputs, names=["leep"])


@pytest.mark.parametrize("make", [nnx_source, own_closure])
def test_a_source_loaded_again_compiles_nothing(make):
  first = scores(make(0))
  before = list(programs._programs)
  assert scores(make(0)) == first
  assert scores(make(1)) != first  # other weights, the same program
  assert list(programs._programs) == before


@pytest.mark.parametrize("make", [nnx_source, own_closure])
def test_a_dropped_source_is_freed(make):
  source = make(0)
  scores(source)
  refs = [weakref.ref(source.apply)]
  refs += [weakref.ref(x) for x in jax.tree.leaves(source.state)]
  del source
  gc.collect()
  assert [ref() for ref in refs] == [None] * len(refs)


def test_weights_in_a_closure_are_freed():
  kernel = jnp.ones((3, CLASSES))
  ref = weakref.ref(kernel)
  source = leep_jax.Source("own", lambda _, x, k=kernel: x.mean((1, 2)) @ k, {})
  del kernel
  scores(source)
  del source
  gc.collect()
  assert ref() is None


def inner_jit(seed):
  kernel = jnp.asarray(np.random.default_rng(seed).normal(size=(3, CLASSES)))
  predict = jax.jit(lambda x: x.mean((1, 2)) @ kernel)
  return leep_jax.Source("own", lambda _, x: predict(x), {}), kernel


def inside_a_scan(seed):
  kernel = jnp.asarray(np.random.default_rng(seed).normal(size=(3, CLASSES)))
  predict = jax.jit(lambda x: x.mean((0, 1)) @ kernel)
  return leep_jax.Source(
    "own", lambda _, x: jax.lax.map(predict, x), {}
  ), kernel


def callback(seed):
  kernel = np.random.default_rng(seed).normal(size=(3, CLASSES))

  def apply(_, x):
    shape = jax.ShapeDtypeStruct((len(x), CLASSES), np.float32)
    return jax.pure_callback(
      lambda x: (np.asarray(x) @ kernel).astype(np.float32),
      shape,
      x.mean((1, 2)),
    )

  return leep_jax.Source("own", apply, {}), kernel


@pytest.mark.parametrize("make", [inner_jit, inside_a_scan, callback])
def test_weights_that_operations_do_not_show(make, one_device):
  found = []
  for seed in range(2):
    source, kernel = make(seed)
    probs = leep_jax.compute_outputs(source, [(IMAGES, LABELS)]).probs
    logits = (IMAGES / 255.0).mean((1, 2)) @ np.asarray(kernel)
    wanted = np.exp(logits) / np.exp(logits).sum(axis=1, keepdims=True)
    np.testing.assert_allclose(probs, wanted, rtol=1e-4)
    found.append(source)
  if make is inner_jit:
    assert len(set(map(cache.source_digest, found))) == 2
  else:
    with pytest.raises(leep_jax.InputError, match="told from other sources"):
      cache.source_digest(found[0])


def test_weights_of_an_inner_jit_are_freed():
  # Those of a jit inside a loop stay: JAX's own cache of loops refers to them.
  source, kernel = inner_jit(0)
  ref = weakref.ref(kernel)
  scores(source)
  del source, kernel
  gc.collect()
  assert ref() is None


def test_an_inner_jit_is_compiled_once():
  scores(inner_jit(0)[0])
  before = len(programs._programs)
  scores(inner_jit(1)[0])
  assert len(programs._programs) == before


def test_reloading_does_not_grow_the_process():
  def resident():
    with open("/proc/self/statm") as file:
      return int(file.read().split()[1]) * os.sysconf("SC_PAGE_SIZE")

  if not os.path.exists("/proc/self/statm"):
    pytest.skip("no /proc here")
  for seed in range(3):
    scores(nnx_source(seed))
  gc.collect()
  before = resident()
  for seed in range(20):
    scores(nnx_source(seed))
  gc.collect()
  # A program is about 20 MB: none of the 20 may have been made anew.
  assert resident() - before < 40e6


def test_functions_that_compute_the_same_are_equal():
  x = np.ones((2, 3), np.float32)

  def scaled(factor):
    return lambda x: x * factor + 1

  (one, _), (same, _), (other, _) = (
    programs.trace(scaled(f), x) for f in (2.0, 2.0, 3.0)
  )
  assert one == same
  assert hash(one) == hash(same)
  assert one != other
  wide, _ = programs.trace(scaled(2.0), np.ones((2, 4), np.float32))
  assert one != wide
  tupled, _ = programs.trace(lambda x: (x * 2.0 + 1,), x)
  assert one != tupled


def test_arrays_that_a_function_refers_to_are_given_apart():
  x, kernel = np.ones((2, 3), np.float32), jnp.arange(3.0)
  traced, constants = programs.trace(lambda x: x @ kernel, x)
  assert len(constants) == 1
  np.testing.assert_array_equal(traced(x, traced.given(constants)), [3, 3])
  np.testing.assert_array_equal(traced(x, [kernel + 1]), [6, 6])


def test_scores_asked_again_cost_no_pass(monkeypatch, rng):
  outputs = leep_jax.Outputs.from_arrays(
    probs=rng.dirichlet(np.ones(5), 300),
    features=rng.normal(size=(300, 8)),
    labels=rng.integers(0, 3, 300),
  )
  first = leep_jax.estimate_scores(outputs)
  plain = leep_jax.compute_scores(outputs)

  def refuse(*args, **kwargs):
    raise AssertionError("a pass over the outputs")

  monkeypatch.setattr(sums_lib, "sum_batches", refuse)
  again = leep_jax.estimate_scores(outputs)
  assert {k: e and e.value for k, e in again.items()} == {
    k: e and e.value for k, e in first.items()
  }
  assert leep_jax.compute_scores(outputs) == plain
  with pytest.raises(AssertionError, match="a pass"):
    leep_jax.compute_scores(outputs.select(np.arange(100)), names=["leep"])


def test_compiled_for_other_devices_nothing_runs():
  double = programs.parallel(lambda x: 2 * x)
  total = programs.parallel(lambda x: programs.add_over_devices(x.sum()))
  with programs.compile_for(jax.local_devices()[:2]) as compiled:
    assert programs.device_count() == 2
    placed = programs.replicate(np.ones(3, np.float32))
    found = total(double(placed))
  assert found.shape == (2,)
  assert len(compiled) == 2
  for read in (
    np.asarray,
    list,
    lambda x: x[0],
    lambda x: x.addressable_data(0),
    lambda x: x.block_until_ready(),
  ):
    with pytest.raises(uncomputed.NotComputed, match="only compiled"):
      read(found)
  # Outside, the same functions run.
  with programs.limit(2):
    assert total(double(programs.replicate(np.ones(3)))).tolist() == [12, 12]


def test_an_error_ends_compiling_for_other_devices():
  with (
    pytest.raises(ValueError, match="mine"),
    programs.compile_for(jax.local_devices()[:1]),
  ):
    raise ValueError("mine")
  assert programs.device_count() == 8


def test_a_score_can_be_compiled_alone():
  """The package's own calls, up to the first result that one reads."""
  outputs = leep_jax.Outputs.from_arrays(
    probs=np.full((16, 2), 0.5), labels=LABELS
  )
  with (
    programs.compile_for(jax.local_devices()) as compiled,
    pytest.raises(uncomputed.NotComputed),
  ):
    leep_jax.compute_scores(outputs, names=["leep"])
  assert len(compiled) == 2  # one adds a batch, one the devices
  assert leep_jax.compute_scores(outputs, names=["leep"])["leep"] < 0


def test_an_unknown_option_of_a_tpus_compiler_is_left_out():
  class Lowered:
    def compile(self, compiler_options=None):
      if compiler_options:
        raise jax.errors.JaxRuntimeError(f"{error}: 'xla_jf'")
      return "compiled"

  class Device:
    platform = "tpu"

  error = "INVALID_ARGUMENT: No such compile option"
  program = programs.parallel(abs, one_collective=True)
  assert program._compile([Device], Lowered()) == "compiled"
  error = "RESOURCE_EXHAUSTED"
  with pytest.raises(jax.errors.JaxRuntimeError, match=error):
    program._compile([Device], Lowered())
