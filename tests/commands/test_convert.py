"""Checkpoints of PyTorch become safetensors, as training scripts write them."""

import argparse
import collections
import enum
import pathlib

import numpy as np
import pytest

import leep_jax
from leep_jax import convert
from leep_jax.sources import checkpoints, matching, pickles

torch = pytest.importorskip("torch")


class Settings(dict):
  """A dictionary of a type of its own, as configurations are."""


class Mode(enum.Enum):
  TRAIN = 1


class Net(torch.nn.Module):
  """A network that is written whole, code and all."""

  def __init__(self):
    super().__init__()
    self.conv = torch.nn.Conv2d(3, 4, 3)
    self.rest = torch.nn.Sequential(torch.nn.BatchNorm2d(4), torch.nn.ReLU())
    self.register_buffer("scratch", torch.zeros(3), persistent=False)


STATE = {"a.weight": torch.arange(6.0).reshape(2, 3), "a.bias": torch.ones(2)}
OTHER = {"a.weight": torch.zeros(2, 3), "a.bias": torch.zeros(2)}


def written(content, tmp_path, *flags, **options):
  torch.save(content, tmp_path / "model.pth", **options)
  out = tmp_path / "model.safetensors"
  argv = ["convert", str(tmp_path / "model.pth"), str(out), *flags]
  assert convert.main(argv) == 0
  return checkpoints.read_tensors(out)[0]


@pytest.mark.parametrize(
  "content",
  [
    STATE,
    collections.OrderedDict(STATE),
    {"state_dict": STATE, "epoch": 3, "optimizer": {"state": {0: OTHER}}},
    {"model": STATE, "args": argparse.Namespace(lr=0.1, out=pathlib.Path("x"))},
    {"model_state_dict": STATE, "best": np.float64(0.7)},
    {"model_state": STATE, "mode": Mode.TRAIN, "config": Settings(lr=1)},
    {"state_dict": {"model": STATE}},
    {"net": STATE, "params": {"lr": 0.1}},
    {"network": STATE},
    {"params": STATE},
    {"weights": STATE},
    {"module": STATE, "a.bias": OTHER["a.bias"]},
    {"state_dict_ema": STATE},
    {"state_dict": STATE, "state_dict_ema": OTHER},
    {**STATE, "epoch": 3},
    {"state_dict": {k: torch.nn.Parameter(v) for k, v in STATE.items()}},
    {k: v.numpy() for k, v in STATE.items()},
  ],
)
@pytest.mark.parametrize("zipped", [True, False])
def test_tensors_are_found(tmp_path, content, zipped, capsys):
  tensors = written(content, tmp_path, _use_new_zipfile_serialization=zipped)
  assert set(tensors) == set(STATE)
  for name, value in STATE.items():
    np.testing.assert_array_equal(tensors[name], value.numpy())
  out = capsys.readouterr().out
  assert out.count("\n") == 1
  assert "2 tensors" in out


def test_another_place_can_be_named(tmp_path):
  content = {"state_dict": OTHER, "deep": {"er": STATE}}
  tensors = written(content, tmp_path, "--key=deep.er")
  assert tensors["a.bias"].tolist() == [1, 1]


def test_shared_and_strided_tensors(tmp_path):
  whole = torch.arange(12.0).reshape(3, 4)
  tensors = written({"a": whole, "b": whole.T, "c": whole[1]}, tmp_path)
  np.testing.assert_array_equal(tensors["b"], whole.numpy().T)
  np.testing.assert_array_equal(tensors["c"], whole[1].numpy())


def test_a_network_written_whole(tmp_path):
  net = Net()
  tensors = written({"model": net, "epoch": 1}, tmp_path)
  state = net.state_dict()
  assert set(tensors) == set(state)
  for name, value in state.items():
    np.testing.assert_array_equal(tensors[name], value.numpy())


class Evil:
  """Runs code where it is unpickled as usual."""

  def __init__(self, path):
    self.path = path

  def __reduce__(self):
    return open, (self.path, "w")


def test_no_code_of_the_file_runs(tmp_path):
  torch.save({"state_dict": STATE, "x": Evil(tmp_path / "ran")},
             tmp_path / "a.pth")  # fmt: skip
  pickles.to_safetensors(tmp_path / "a.pth", tmp_path / "a.safetensors")
  assert not (tmp_path / "ran").exists()


@pytest.mark.parametrize(
  ("content", "words"),
  [
    ({"optimizer": OTHER, "epoch": 3}, ("no tensors", "optimizer, epoch")),
    ([1, 2], ("no tensors", "no dictionary")),
    (b"damaged", ("cannot read", "damaged")),
    (b"", ("cannot read",)),
  ],
)
def test_mistakes_are_one_line(tmp_path, content, words, capsys):
  path = tmp_path / "a.pth"
  if isinstance(content, bytes):
    path.write_bytes(content)
  else:
    torch.save(content, path)
  for argv in ([path, tmp_path / "b.safetensors"],):
    assert convert.main(["convert", *map(str, argv)]) == 2
    error = capsys.readouterr().err
    assert error.startswith("error: ")
    assert error.count("\n") == 1
    assert len(error) <= 600
    assert all(word in error for word in words), error


def test_mistakes_in_the_files_named(tmp_path, capsys):
  torch.save(STATE, tmp_path / "a.pth")
  for argv, words in (
    ([tmp_path / "a.pth"], "1 names are given"),
    ([tmp_path / "none", "b"], "no file at"),
    ([tmp_path / "a.pth", tmp_path / "a.pth"], "name another"),
    ([tmp_path / "a.pth", tmp_path / "no" / "b"], "cannot write"),
    ([tmp_path / "a.pth", tmp_path / "b", "--key=z"], "has no 'z'; its keys"),
  ):
    assert convert.main(["convert", *map(str, argv)]) == 2
    assert words in capsys.readouterr().err


def test_the_advice_on_a_pickle_works(tmp_path):
  model = leep_jax.sources.catalog.build("resnet8", 3)
  state = {
    f"module.{name}": torch.tensor(value)
    for name, value in matching.published(model).items()
  }
  torch.save({"state_dict": state, "epoch": 1}, tmp_path / "model.pth.tar")
  with pytest.raises(leep_jax.InputError, match="leep_jax.convert FILE OUT"):
    leep_jax.load_source(f"resnet8@{tmp_path / 'model.pth.tar'}")
  out = tmp_path / "out.safetensors"
  pickles.to_safetensors(tmp_path / "model.pth.tar", out)
  assert leep_jax.load_source(f"resnet8@{out}").state
