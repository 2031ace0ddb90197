"""Damaged checkpoints of all kinds: a source or one line, never a traceback."""

import json
import shutil
import warnings

from flax import nnx
import numpy as np
import pytest

import leep_jax
from leep_jax import validation
from leep_jax.sources import catalog, checkpoints, matching

_TRIES = 25


@pytest.fixture(scope="module")
def good(tmp_path_factory):
  """A checkpoint in every form that is read, and its configuration."""
  import orbax.checkpoint as ocp

  folder = tmp_path_factory.mktemp("good")
  model = catalog.build("resnet8", 3)
  hub = folder / "hub"
  hub.mkdir()
  checkpoints.save(model, hub / "model.safetensors")
  config = {
    "architecture": "resnet8",
    "num_classes": 3,
    "pretrained_cfg": {"input_size": [3, 32, 32], "mean": [0.5, 0.5, 0.5]},
  }
  (hub / "config.json").write_text(json.dumps(config))
  np.savez(folder / "model.npz", **matching.published(model))
  with ocp.StandardCheckpointer() as checkpointer:
    checkpointer.save(folder / "orbax", nnx.state(model))
  for path in (hub, folder / "model.npz", folder / "orbax"):
    attempt(path)
  return folder


def attempt(path):
  """Loads a source, or checks what refuses it; returns whether it loaded."""
  try:
    with warnings.catch_warnings():
      warnings.simplefilter("ignore", validation.InputNote)
      leep_jax.load_source(f"resnet8@{path}")
  except validation.InputError as e:
    text = str(e)
    assert len(text) <= 600, text
    assert "\n" not in text, text
    return False
  return True


def damaged(content, rng):
  """Bytes cut short, flipped, or written over."""
  content = bytearray(content)
  how, at = rng.integers(4), int(rng.integers(len(content)))
  if rng.random() < 0.5:
    at = at % min(400, len(content))  # near the beginning, where headers are
  if how == 0:
    return bytes(content[:at])
  if how == 1:
    content[at] ^= 1 << int(rng.integers(8))
  if how == 2:
    content[at : at + 8] = rng.bytes(8)
  if how == 3:
    content[at:at] = rng.bytes(3)
  return bytes(content)


@pytest.mark.parametrize(
  "name", ["hub/model.safetensors", "hub/config.json", "model.npz"]
)
def test_damaged_files(good, tmp_path, name, rng):
  shutil.copytree(good, tmp_path / "copy")
  path = tmp_path / "copy" / name
  content = path.read_bytes()
  loaded = 0
  for _ in range(_TRIES):
    path.write_bytes(damaged(content, rng))
    loaded += attempt(path.parent if "hub" in name else path)
  assert loaded < _TRIES  # something was damaged


# Orbax leaves its own coroutines behind when it fails.
@pytest.mark.filterwarnings("ignore::pytest.PytestUnraisableExceptionWarning")
@pytest.mark.filterwarnings("ignore:coroutine .* never awaited")
def test_damaged_orbax_checkpoints(good, tmp_path, rng):
  files = [p for p in sorted((good / "orbax").rglob("*")) if p.is_file()]
  for i, original in enumerate(files):
    copy = tmp_path / str(i)
    shutil.copytree(good / "orbax", copy)
    file = copy / original.relative_to(good / "orbax")
    file.write_bytes(damaged(original.read_bytes() or b"0", rng))
    attempt(copy)
    file.unlink()
    attempt(copy)


@pytest.mark.parametrize(
  "value",
  [None, [], {}, "", "text", 0, -1, 1e400, [1], [3, 0, 0], {"a": None}, True],
)
def test_odd_values_in_a_configuration(good, tmp_path, value):
  shutil.copytree(good / "hub", tmp_path / "hub")
  for key in ("architecture", "num_classes", "pretrained_cfg", "model_type"):
    config = {"architecture": "resnet8", key: value}
    (tmp_path / "hub" / "config.json").write_text(json.dumps(config))
    attempt(tmp_path / "hub")
  for key in ("input_size", "mean", "std", "crop_pct", "interpolation"):
    config = {"architecture": "resnet8", "pretrained_cfg": {key: value}}
    (tmp_path / "hub" / "config.json").write_text(json.dumps(config))
    attempt(tmp_path / "hub")
  for key in ("size", "image_mean", "resample", "crop_size", "do_rescale"):
    (tmp_path / "hub" / "config.json").write_text("{}")
    (tmp_path / "hub" / "preprocessor_config.json").write_text(
      json.dumps({key: value})
    )
    attempt(tmp_path / "hub")


def test_odd_paths(tmp_path):
  (tmp_path / "empty").write_bytes(b"")
  (tmp_path / "folder.safetensors").mkdir()
  (tmp_path / "link.safetensors").symlink_to(tmp_path / "none")
  (tmp_path / "loop").symlink_to(tmp_path / "loop")
  (tmp_path / "hub").mkdir()
  (tmp_path / "hub" / "model.safetensors").mkdir()
  (tmp_path / "links").mkdir()
  (tmp_path / "links" / "model.safetensors").symlink_to(tmp_path / "none")
  (tmp_path / "configured").mkdir()
  (tmp_path / "configured" / "config.json").mkdir()
  (tmp_path / "indexed").mkdir()
  (tmp_path / "indexed" / "model.safetensors.index.json").write_text(
    '{"weight_map": {"a": "b.safetensors"}}'
  )
  (tmp_path / "one" / "1").mkdir(parents=True)
  for path in (*tmp_path.iterdir(), tmp_path / "none", "a\0b", "x" * 400, ""):
    assert not attempt(path)


@pytest.mark.parametrize("content", [
  {"conv1.weight": np.zeros((16, 3, 3, 3), np.int8)},
  {"a" * 500: np.zeros(1)},
  {f"{'x' * 300}.{i}": np.zeros(1) for i in range(100)},
  {"linear.weight": np.zeros((0, 64), np.float32)},
  {"linear.weight": np.zeros((2, 3, 4), np.float32)},
  {"": np.zeros(1)},
  {},
])  # fmt: skip
def test_odd_tensors(tmp_path, content):
  np.savez(tmp_path / "a.npz", **content)
  assert not attempt(tmp_path / "a.npz")
