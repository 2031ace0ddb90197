"""The scripts under experiments/ run, on data small enough for a test."""

import json
import signal
import subprocess
import sys

import numpy as np
import pytest
import test_data

from experiments import train_source
from experiments.benchmarks import engine, timing
import leep_jax
from leep_jax import weights
from leep_jax.models import zoo


class TrainTest(test_data.Tiny):
  """Two splits, as training needs them."""

  SHAPE = (16, 16, 3)

  def _split_generators(self, dl_manager):
    return {
      "train": self._generate_examples(40),
      "test": self._generate_examples(20),
    }


def train(folder, output, *flags):
  """Starts a training of two epochs; returns the process."""
  return subprocess.Popen(
    [
      sys.executable,
      "-m",
      "experiments.train_source",
      "--arch=resnet8",
      "--dataset=train_test",
      f"--data_dir={folder}",
      "--epochs=2",
      "--batch_size=8",
      f"--output={output}",
      *flags,
    ],
    stdout=subprocess.PIPE,
    stderr=subprocess.PIPE,
    text=True,
    cwd=train_source.__file__.rsplit("/", 2)[0],
  )


def finish(process):
  printed, errors = process.communicate()
  assert not process.returncode, errors
  return printed


def test_train_source_writes_a_source_and_its_card(tmp_path):
  test_data.prepare(TrainTest, tmp_path)
  path = tmp_path / "tiny.safetensors"
  printed = finish(train(tmp_path, path))
  assert not path.with_suffix(".checkpoints").exists()
  assert "epoch 2/2" in printed
  card = json.loads(path.with_suffix(".json").read_text())
  assert card["data"] == "train_test, 40 training images"
  assert (card["image_size"], card["test_examples"]) == (16, 20)
  tensors, metadata = weights.read_tensors(path)
  assert tensors["linear.weight"].shape == (2, 64)
  assert tensors["linear.weight"].dtype == np.float16
  assert json.loads(metadata["leep_jax"])["class_names"] == ["cat", "dog"]
  source = zoo.load_source(f"resnet8@{path}")
  assert source.preprocessing.image_size == 16
  dataset = leep_jax.load_dataset(
    "train_test", split="test", data_dir=str(tmp_path)
  )
  outputs = leep_jax.compute_outputs(source, dataset)
  measured = np.mean(outputs.probs.argmax(axis=1) == outputs.labels)
  assert measured == card["test_accuracy"]


def test_interrupted_training_goes_on_to_the_same_result(tmp_path):
  test_data.prepare(TrainTest, tmp_path)
  whole, parts = tmp_path / "whole.safetensors", tmp_path / "parts.safetensors"
  finish(train(tmp_path, whole, "--epochs=3"))
  process = train(tmp_path, parts, "--epochs=3")
  for line in process.stdout:
    if line.startswith("epoch 2/3"):  # whose checkpoint is being written now
      process.send_signal(signal.SIGINT)
      break
  process.communicate()
  assert process.returncode
  assert not parts.exists()
  checkpoints = parts.with_suffix(".checkpoints")
  (epoch,) = (int(p.name) for p in checkpoints.iterdir() if p.name.isdigit())
  assert epoch in (1, 2)
  model = zoo.load_source(f"resnet8@{checkpoints}/{epoch}/model")
  assert model.state
  # Another recipe must not go on with it.
  other = train(tmp_path, parts, "--epochs=3", "--learning_rate=0.5")
  assert "holds a training with learning_rate 0.1" in other.communicate()[1]
  assert other.returncode
  assert f"going on after epoch {epoch}" in finish(
    train(tmp_path, parts, "--epochs=3")
  )
  assert parts.read_bytes() == whole.read_bytes()
  cards = [path.with_suffix(".json").read_text() for path in (whole, parts)]
  assert cards[0] == cards[1]


@pytest.mark.parametrize(
  "flag", ["--dtype=bfloat16", "--label_smoothing=0.1", "--noflip"]
)
def test_recipes(tmp_path, flag):
  test_data.prepare(TrainTest, tmp_path)
  path = tmp_path / "tiny.safetensors"
  finish(train(tmp_path, path, "--epochs=1", flag))
  recipe = json.loads(path.with_suffix(".json").read_text())["recipe"]
  said = {"--dtype=bfloat16": "bfloat16", "--label_smoothing=0.1": "0.1"}
  assert said.get(flag, "crops of 4 pixels, float32") in recipe


def test_augmentation_shifts_and_flips(rng):
  import jax

  images = rng.integers(0, 256, (64, 8, 8, 3), dtype=np.uint8)
  got = np.asarray(train_source.augment(jax.random.key(0), images, crop=0))
  axes = (1, 2, 3)
  flipped = (got == images[:, :, ::-1]).all(axes)
  kept = (got == images).all(axes)
  assert np.all(flipped | kept)
  assert 0.2 < flipped.mean() < 0.8
  moved = train_source.augment(jax.random.key(0), images, crop=2)
  assert moved.shape == images.shape
  assert not np.array_equal(moved, got)


def test_benchmark_measures_medians_and_memory():
  calls = []
  a, b = timing.interleaved(3, lambda: calls.append(1), lambda: calls.append(2))
  assert calls == [1, 2] * 4
  assert a >= 0
  assert b >= 0
  assert engine.disk_memory(600)["peak"] > 0
