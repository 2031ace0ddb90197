"""Data sets with real-valued targets."""

import networks
import numpy as np
import pytest

import leep_jax


@pytest.mark.parametrize("keep", ["host", "disk", "device"])
@pytest.mark.parametrize(("target", "width"), [("age", 1), ("points", 3)])
def test_real_valued_targets(tfds_dir, target, width, keep, device_count):
  dataset = leep_jax.load_dataset("measured", data_dir=tfds_dir, target=target)
  assert dataset.num_classes == 0
  source = leep_jax.Source("mean", networks.mean_pixel, ())
  outputs = leep_jax.compute_outputs(source, dataset, keep=keep, batch_size=7)
  assert outputs.targets.shape == (20, width)
  # A pixel is i of 255, and so are the targets but for a line.
  pixels = outputs.features[:, :1].astype(np.float64) * 255
  slope = {"age": 0.5, "points": 1.0}[target]
  expected = slope * pixels + np.arange(width)
  np.testing.assert_allclose(outputs.targets, expected, atol=1e-4)
  values = leep_jax.compute_scores(outputs, names=["lin_mse", "leep"])
  assert values["leep"] is None
  assert values["lin_mse"] < 0


def test_regression_of_any_iterable(rng):
  images = rng.integers(0, 256, (30, 4, 4, 3), dtype=np.uint8)
  targets = images.mean(axis=(1, 2, 3)) + rng.normal(size=30)
  batches = [(images[i : i + 8], targets[i : i + 8]) for i in range(0, 30, 8)]
  source = leep_jax.Source("mean", networks.mean_pixel, ())
  outputs = leep_jax.compute_outputs(source, batches, regression=True)
  np.testing.assert_array_equal(outputs.targets[:, 0], targets)
  with pytest.raises(leep_jax.InputError, match="a regression target"):
    leep_jax.compute_outputs(source, batches)
  batches[0] = (images[:8], rng.normal(size=(8, 2)))
  with pytest.raises(leep_jax.InputError, match="differ in their number of ta"):
    leep_jax.compute_outputs(source, batches, regression=True)


def test_outputs_of_regression_are_saved_and_selected(tmp_path, rng):
  targets = rng.normal(size=(9, 2))
  outputs = leep_jax.Outputs.from_arrays(
    features=rng.normal(size=(9, 3)), targets=targets
  )
  outputs.save(tmp_path / "kept")
  loaded = leep_jax.Outputs.load(tmp_path / "kept")
  np.testing.assert_array_equal(loaded.targets, targets)
  np.testing.assert_array_equal(loaded.select([3, 1]).targets, targets[[3, 1]])
  assert "2 targets" in repr(loaded)


@pytest.mark.parametrize(
  ("targets", "message"),
  [
    ([[1.0], [np.nan]], "1 of 2 rows hold NaN or infinity"),
    (np.zeros((2, 2, 2)), "shape .2, 2, 2., not"),
    (["a", "b"], "not real numbers"),
    ([], "targets are empty"),
    ([1.0], "2 rows, but there are 1 targets"),
  ],
)
def test_bad_targets(targets, message):
  with pytest.raises(leep_jax.InputError, match=message):
    leep_jax.lin_mse(np.eye(2), targets)


def test_npz_targets(tmp_path):
  images = np.zeros((3, 4, 4), np.uint8)
  np.savez(tmp_path / "a.npz", images=images, targets=[0.5, 1.5, 2.0])
  dataset = leep_jax.load_dataset(f"npz:{tmp_path / 'a.npz'}")
  np.testing.assert_array_equal(dataset.load()[1], [[0.5], [1.5], [2.0]])
  np.savez(tmp_path / "b.npz", images=images, labels=[0, 1, 1], ages=[3, 1, 2])
  name = f"npz:{tmp_path / 'b.npz'}"
  assert leep_jax.load_dataset(name).num_classes == 2
  ages = leep_jax.load_dataset(name, target="ages").load()[1]
  np.testing.assert_array_equal(ages, [[3], [1], [2]])
  with pytest.raises(leep_jax.InputError, match="no array 'age'"):
    leep_jax.load_dataset(name, target="age")
