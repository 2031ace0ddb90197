"""The scripts under experiments/ run, on data small enough for a test."""

import json
import subprocess
import sys

import numpy as np
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


def test_train_source_writes_a_source_and_its_card(tmp_path):
  test_data.prepare(TrainTest, tmp_path)
  path = tmp_path / "tiny.safetensors"
  done = subprocess.run(
    [
      sys.executable,
      "-m",
      "experiments.train_source",
      "--arch=resnet8",
      "--dataset=train_test",
      f"--data_dir={tmp_path}",
      "--epochs=2",
      "--batch_size=8",
      f"--output={path}",
    ],
    check=True,
    capture_output=True,
    text=True,
    cwd=train_source.__file__.rsplit("/", 2)[0],
  )
  assert "epoch 2/2" in done.stdout
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
