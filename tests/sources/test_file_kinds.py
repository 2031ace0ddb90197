"""Files of other kinds are told by their first bytes, whatever their names."""

import gzip
import io
import json
import pickle
import tarfile
import zipfile

import numpy as np
import pytest
import safetensors.numpy

import leep_jax
from leep_jax import file_kinds
from leep_jax.sources import checkpoints


def zipped(*names):
  buffer = io.BytesIO()
  with zipfile.ZipFile(buffer, "w") as archive:
    for name in names:
      archive.writestr(name, b"x")
  return buffer.getvalue()


def tarred():
  buffer = io.BytesIO()
  with tarfile.open(fileobj=buffer, mode="w") as archive:
    archive.addfile(tarfile.TarInfo("model.safetensors"))
  return buffer.getvalue()


def array():
  buffer = io.BytesIO()
  np.save(buffer, np.zeros(3))
  return buffer.getvalue()


WHOLE = safetensors.numpy.save({"w": np.zeros(3, np.float32)})
CONVERT = "leep_jax.convert FILE OUT.safetensors"


@pytest.mark.parametrize(
  ("name", "content", "words"),
  [
    ("a.pth", zipped("a/data.pkl", "a/data/0"), ("PyTorch", CONVERT)),
    ("a.safetensors", zipped("a/data.pkl"), ("PyTorch", CONVERT)),
    ("a.pt", zipped("a/data.pkl", "a/constants.pkl"), ("TorchScript", "jit")),
    ("model_best.pth.tar", b"PK", ("pickle", "cut short", CONVERT)),
    ("a.bin", pickle.dumps({"w": 1}, 2), ("a pickle", CONVERT)),
    ("a.safetensors", pickle.dumps({"w": 1}, 4), ("a pickle", CONVERT)),
    ("a.ckpt", b"\xffunknown", ("pickle", CONVERT)),
    ("a.bin", b"Entry not found", ("short text", "download")),
    ("a.npz", gzip.compress(b"x", mtime=0), ("gzip", "unpack")),
    ("a.h5", b"\x89HDF\r\n\x1a\n" + bytes(50), ("HDF5", "Source")),
    (
      "a.keras",
      zipped("metadata.json", "config.json", "model.weights.h5"),
      ("Keras", "Source"),
    ),
    ("a.zip", zipped("model.safetensors"), ("is a zip", "unpack")),
    ("flax_model.msgpack", b"\x82\xa6params\x80", ("msgpack", "Flax")),
    ("a.bin", b"\xde\x00\x10\xa6params\x80", ("msgpack", "Flax")),
    ("a.safetensors", b"\x08\x07\x12\x07pytorch", ("ONNX", "Source")),
    ("a.bin", b"\x1c\x00\x00\x00TFL3" + bytes(20), ("TFLite", "Source")),
    (
      "model.ckpt-1.index",
      bytes(40) + b"\x57\xfb\x80\x8b\x24\x75\x47\xdb",
      ("TensorFlow checkpoint", "load_checkpoint"),
    ),
    (
      "model.ckpt-1.data-00000-of-00001",
      bytes(40),
      ("TensorFlow checkpoint", "load_checkpoint"),
    ),
    ("saved_model.pb", b"\x08\x01\x12\x04", ("SavedModel",)),
    ("a.safetensors", b"\n<!DOCTYPE html><html>", ("web page", "/resolve/")),
    (
      "model.safetensors",
      b"version https://git-lfs.github.com/spec/v1\noid sha256:0\nsize 9\n",
      ("Git LFS pointer", "git lfs pull"),
    ),
    ("a.tar", tarred(), ("tar file", "unpack")),
    ("a.bin", b"GGUF\x03\x00\x00\x00", ("GGUF",)),
    ("config.json", json.dumps({"a": 1}).encode(), ("JSON", "checkpoint")),
    ("a.npy", array(), ("npy", "savez")),
    ("a.safetensors", b"", ("empty", "download")),
    ("a.safetensors", WHOLE[:30], ("cut short", "download")),
    ("a.safetensors", WHOLE[:-3], ("damaged", "cut short")),
    ("a.npz", b"PK\x03\x04", ("cut short", "download")),
    ("a.safetensors", b"\xffnothing known", ("safetensors", "damaged")),
  ],
)
def test_kinds_and_their_advice(tmp_path, name, content, words):
  (tmp_path / name).write_bytes(content)
  for path in (tmp_path / name, tmp_path):
    if path == tmp_path and name.endswith((".safetensors", ".json")):
      continue
    if path == tmp_path and words[-1] == "cut short":
      continue
    with pytest.raises(leep_jax.InputError) as caught:
      leep_jax.load_source(f"resnet8@{path}")
    text = str(caught.value)
    assert all(word in text for word in words), text
    assert len(text) <= 600
    assert "\n" not in text


def test_what_can_be_read_is_read_whatever_its_name(tmp_path):
  for name in ("a.bin", "b.pth", "c.safetensors", "d"):
    (tmp_path / name).write_bytes(WHOLE)
    assert set(checkpoints.read_tensors(tmp_path / name)[0]) == {"w"}
  np.savez(tmp_path / "e.npz", w=np.zeros(3))
  renamed = (tmp_path / "e.npz").rename(tmp_path / "e.bin")
  assert set(checkpoints.read_tensors(renamed)[0]) == {"w"}


def test_saved_models_are_told_by_their_folder(tmp_path):
  (tmp_path / "saved_model.pb").write_bytes(b"\x08\x01\x12\x04")
  (tmp_path / "variables").mkdir()
  with pytest.raises(leep_jax.InputError, match="TensorFlow SavedModel"):
    leep_jax.load_source(f"resnet8@{tmp_path}")


def test_prefix_of_a_tensorflow_checkpoint(tmp_path):
  (tmp_path / "model.ckpt-7.index").write_bytes(b"x")
  with pytest.raises(leep_jax.InputError, match="part of a TensorFlow check"):
    leep_jax.load_source(f"resnet8@{tmp_path / 'model.ckpt-7'}")


def test_no_kind_is_told_of_what_is_unknown(tmp_path):
  (tmp_path / "a").write_bytes(b"\xffunknown")
  assert file_kinds.of_checkpoint(tmp_path / "a") is None
