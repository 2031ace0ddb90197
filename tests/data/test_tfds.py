"""TFDS data sets, read without TensorFlow."""

import shutil
import sys

import networks
import numpy as np
import pytest

import leep_jax
from leep_jax import data, validation


def test_tfds(tfds_dir):
  dataset = leep_jax.load_dataset("tiny", data_dir=tfds_dir)
  assert (len(dataset), dataset.num_classes) == (20, 2)
  assert dataset.class_names == ("cat", "dog")
  images, labels = dataset.load()
  assert images.shape == (20, 6, 6, 3)
  assert images.dtype == np.uint8
  np.testing.assert_array_equal(images[:, 0, 0, 0] % 2, labels)
  assert "tensorflow" not in sys.modules


@pytest.mark.parametrize(
  ("split", "count"), [("train[:20%]", 4), ("train[5:8]", 3), ("train", 20)]
)
def test_tfds_slices(tfds_dir, split, count):
  dataset = leep_jax.load_dataset("tiny", data_dir=tfds_dir, split=split)
  assert len(dataset) == count
  assert dataset.split == split


@pytest.mark.parametrize(
  ("name", "options", "message"),
  [
    ("unlabelled", {}, "no label features .*its features: image"),
    (
      "tiny",
      {"split": "test"},
      "cannot take split 'test' of tiny: it has train",
    ),
    ("tiny", {"split": "train["}, "cannot take split 'train\\['"),
    ("tiny", {"split": "train[:0]"}, "cannot take split .train.:0"),
    ("tiny", {"limit": 0}, "limit is 0"),
    ("tiny/large", {}, "cannot open 'tiny/large'"),
    ("tinny", {}, "unknown data set 'tinny'; did you mean .*tiny"),
    ("mnist", {}, "not prepared in .*file_format=array_record"),
    ("measured", {}, "no label features"),
    ("measured", {"target": "agee"}, "feature of measured 'agee'; .* age"),
    ("measured", {"target": "grid"}, r"is Tensor of shape \(2, 2\), not real"),
    ("measured", {"target": "name"}, "is Text .*not real numbers"),
    ("tiny", {"target": "label"}, "is ClassLabel .*not real numbers"),
  ],
)
def test_tfds_mistakes(tfds_dir, name, options, message):
  with pytest.raises(leep_jax.InputError, match=message):
    leep_jax.load_dataset(name, data_dir=tfds_dir, **options)


@pytest.mark.parametrize(
  ("name", "message"),
  [
    ("counted", "label of .* is int64, not a ClassLabel.* --target=label$"),
    ("texts", "target of .* is Text, not a ClassLabel.* which reads text$"),
    ("several", "labels of .* is Sequence, not a ClassLabel.* choose one$"),
  ],
)
def test_labels_of_tfds_that_are_no_class(tfds_dir, name, message):
  with pytest.raises(leep_jax.InputError, match=message):
    leep_jax.load_dataset(name, data_dir=tfds_dir)


def test_integer_labels_of_tfds_as_targets(tfds_dir):
  dataset = leep_jax.load_dataset("counted", data_dir=tfds_dir, target="label")
  assert set(dataset.labels()) == {0, 1}


@pytest.mark.parametrize("inside", ["tiny", "tiny/1.0.0", "tiny/", "tiny/."])
def test_a_data_set_as_its_own_data_dir(tfds_dir, inside, monkeypatch):
  monkeypatch.chdir(tfds_dir)
  for folder in (f"{tfds_dir}/{inside}", inside):
    with pytest.raises(
      leep_jax.InputError, match="own folder: pass its parent, --data_dir=(.*)"
    ) as error:
      leep_jax.load_dataset("tiny", data_dir=folder)
    parent = str(error.value).rpartition("=")[2]
    assert len(leep_jax.load_dataset("tiny", data_dir=parent)) == 20


@pytest.mark.parametrize("name", ["Tiny", "TINY", "ti-ny", "T_iny:1.0.0"])
def test_names_of_tfds_in_another_case(tfds_dir, name):
  dataset = leep_jax.load_dataset(name, data_dir=tfds_dir)
  assert dataset.name == "tiny" + name[5:]
  assert len(dataset) == 20


def test_tfds_images_of_16_bits_and_labels_of_none(tfds_dir):
  with pytest.warns(
    validation.InputNote, match="5 of 20 .* whose label is -1$"
  ):
    dataset = leep_jax.load_dataset("deep", data_dir=tfds_dir, ignore_label=-1)
  images, labels = dataset.load()
  assert images.dtype == np.uint8
  np.testing.assert_array_equal(images[:, 0, 0, 0] // 12 % 3, labels)
  np.testing.assert_array_equal(dataset.labels(), labels)
  assert len(dataset) == 15
  source = leep_jax.Source("mean", networks.mean_pixel, ())
  whole = leep_jax.load_dataset("deep", data_dir=tfds_dir)
  with pytest.raises(validation.DataError, match="--ignore_label=-1"):
    leep_jax.compute_outputs(source, whole)


def test_tfds_images_with_transparency(tfds_dir):
  dataset = leep_jax.load_dataset("clear", data_dir=tfds_dir)
  assert dataset.image_shape == (6, 6, 3)
  assert dataset.load()[0].shape == (20, 6, 6, 3)


@pytest.mark.parametrize("damage", ["cut", "gone", "noise", "folder"])
def test_damaged_files_of_tfds(tfds_dir, tmp_path, damage):
  shutil.copytree(f"{tfds_dir}/tiny", tmp_path / "tiny")
  (path,) = tmp_path.rglob("*.array_record*")
  content = path.read_bytes()
  if damage in ("gone", "folder"):
    path.unlink()
    if damage == "folder":
      path.mkdir()
  else:
    half = content[: len(content) // 2]
    path.write_bytes(half if damage == "cut" else half + bytes(len(half)))
  with pytest.raises(leep_jax.InputError, match="cannot"):
    leep_jax.load_dataset("tiny", data_dir=str(tmp_path)).load()
  with pytest.raises(leep_jax.InputError, match="cannot|no boolean|two-class"):
    data.load_attributes("tiny", data_dir=str(tmp_path))


def test_missing_data_dir():
  with pytest.raises(leep_jax.InputError, match="no folder at data_dir /none"):
    leep_jax.load_dataset("mnist", data_dir="/none")


def test_labels_of_tfds(tfds_dir):
  train, test = data.load_pair(
    "tiny", split="train[50%:]", test_split="train[:30%]", data_dir=tfds_dir
  )
  np.testing.assert_array_equal(train.labels(), train.load()[1])
  assert 0 < len(test) < len(train)


@pytest.mark.parametrize(
  ("split", "test_split"),
  [
    ("train", "train[:50%]"),
    ("train[:50%]", "train[25%:]"),
    ("train[:10]", "train[0:5]"),
    ("train", "train"),
  ],
)
def test_splits_that_overlap(tfds_dir, split, test_split):
  with pytest.raises(leep_jax.InputError, match="tested on what it was"):
    data.load_pair(
      "tiny", split=split, test_split=test_split, data_dir=tfds_dir
    )
