"""Checkpoints as Orbax's own guides write them."""

import warnings

from flax import nnx
import jax
import jax.numpy as jnp
import numpy as np
import optax
import orbax.checkpoint as ocp
from orbax.checkpoint import v1
import pytest

import leep_jax
from leep_jax.sources import catalog, orbax


def network(seed):
  return catalog.build("resnet8", 3, seed=seed)


def saved(path, content):
  with ocp.StandardCheckpointer() as checkpointer:
    checkpointer.save(path, content)
  return path


def same(path, model):
  with warnings.catch_warnings():
    warnings.simplefilter("ignore", leep_jax.validation.InputNote)
    source = leep_jax.load_source(f"resnet8@{path}")
  jax.tree.map(
    np.testing.assert_array_equal,
    jax.tree.leaves(source.state),
    jax.tree.leaves(nnx.state(model)),
  )


def test_a_manager_gives_its_newest_step(tmp_path):
  old, new = network(1), network(2)
  with ocp.CheckpointManager(tmp_path / "run") as manager:
    for step, model in ((9, old), (10, new)):
      manager.save(step, args=ocp.args.StandardSave(nnx.state(model)))
  same(tmp_path / "run", new)
  same(tmp_path / "run" / "9", old)
  (tmp_path / "run" / "11").mkdir()  # nothing was written
  same(tmp_path / "run", new)


@pytest.mark.parametrize("item", ["state", "model", "network"])
def test_items_of_any_name(tmp_path, item):
  model = network(1)
  args = ocp.args.Composite(**{item: ocp.args.StandardSave(nnx.state(model))})
  with ocp.CheckpointManager(tmp_path / "run") as manager:
    manager.save(5, args=args)
  for path in ("run", "run/5", f"run/5/{item}"):
    same(tmp_path / path, model)


def test_of_several_items_the_network_is_meant(tmp_path):
  model = network(1)
  for items, ok in ((("extra", "params"), True), (("a", "b"), False)):
    args = {
      item: ocp.args.StandardSave(nnx.state(network(2))) for item in items
    }
    if ok:
      args["params"] = ocp.args.StandardSave(nnx.state(model))
    folder = tmp_path / items[0]
    with ocp.CheckpointManager(folder) as manager:
      manager.save(5, args=ocp.args.Composite(**args))
    if ok:
      same(folder, model)
    else:
      with pytest.raises(leep_jax.InputError, match=r"2 items \(a, b\)"):
        leep_jax.load_source(f"resnet8@{folder}")


@pytest.mark.filterwarnings("ignore:Use `save` instead:DeprecationWarning")
def test_the_newer_interface(tmp_path):
  model = network(1)
  pure = nnx.to_pure_dict(nnx.state(model))
  v1.save_pytree(tmp_path / "v1", pure)
  with v1.training.Checkpointer(tmp_path / "run") as checkpointer:
    checkpointer.save_pytree(7, pure)
  for path in ("v1", "v1/state", "run", "run/7"):
    same(tmp_path / path, model)


@pytest.mark.parametrize("within", ["model", "params", "optimizer"])
def test_a_network_beside_or_inside_its_optimizer(tmp_path, within):
  model = network(1)
  optimizer = nnx.Optimizer(model, optax.adam(0.1), wrt=nnx.Param)
  state = nnx.state(model)
  content = {
    "model": {"model": state, "optimizer": nnx.state(optimizer)},
    "params": {"params": state, "opt_state": nnx.state(optimizer), "step": 3},
    "optimizer": {"optimizer": {"model": state, "opt_state": {"a": {
      "mu": state}}, "step": jnp.array(3)}},
  }[within]  # fmt: skip
  path = saved(tmp_path / "run", content)
  same(path, model)
  with pytest.warns(
    leep_jax.validation.InputNote, match="values of an optimizer"
  ):
    leep_jax.load_source(f"resnet8@{path}")


def test_a_step_that_was_not_finished(tmp_path):
  (tmp_path / "_CHECKPOINT_METADATA").write_text("{}")
  with pytest.raises(leep_jax.InputError, match="no arrays.* to its end"):
    leep_jax.load_source(f"resnet8@{tmp_path}")


def test_collections_of_linen(tmp_path):
  tree = {
    "params": {"bn": {"scale": np.ones(2, np.float32)}},
    "batch_stats": {"bn": {"mean": np.zeros(2, np.float32)}},
  }
  found = orbax.read(saved(tmp_path / "run", tree))
  assert set(found) == {("bn", "scale"), ("bn", "mean")}
