"""Data sets by name: TFDS without TensorFlow, folders, npz, digits."""

from concurrent import futures
import io
import os
import shutil
import sys
import threading
import time

import cv2
import numpy as np
import PIL.Image
import pytest
import tensorflow_datasets as tfds

import leep_jax
from leep_jax import data, validation
from leep_jax.data import dataset as dataset_lib, images as images_lib, load


class Made:
  """A small data set to prepare and read again without TensorFlow."""

  VERSION = tfds.core.Version("1.0.0")
  NAMES = ("cat", "dog")
  SHAPE: tuple = (6, 6, 3)
  LABEL = True

  def _info(self):
    features = {"image": tfds.features.Image(shape=self.SHAPE)}
    if self.LABEL:
      features["label"] = tfds.features.ClassLabel(names=self.NAMES)
    return tfds.core.DatasetInfo(
      builder=self, features=tfds.features.FeaturesDict(features)
    )

  def _split_generators(self, dl_manager):
    return {"train": self._generate_examples(20)}

  def _generate_examples(self, count):
    for i in range(count):
      # Encoded already: TFDS encodes arrays with TensorFlow.
      _, png = cv2.imencode(".png", np.full(self.SHAPE, i, np.uint8))
      example = {"image": io.BytesIO(png.tobytes())}
      if self.LABEL:
        example["label"] = i % 2
      yield i, example


class Tiny(Made, tfds.core.GeneratorBasedBuilder):
  """Images of one shape, with labels."""


class Unlabelled(Made, tfds.core.GeneratorBasedBuilder):
  """No labels."""

  LABEL = False


class Measured(Made, tfds.core.GeneratorBasedBuilder):
  """Images with real-valued targets, and no classes."""

  def _info(self):
    features = {
      "image": tfds.features.Image(shape=self.SHAPE),
      "age": tfds.features.Scalar(np.float32),
      "points": tfds.features.Tensor(shape=(3,), dtype=np.float64),
      "grid": tfds.features.Tensor(shape=(2, 2), dtype=np.float64),
      "name": tfds.features.Text(),
    }
    return tfds.core.DatasetInfo(
      builder=self, features=tfds.features.FeaturesDict(features)
    )

  def _generate_examples(self, count):
    for i in range(count):
      _, png = cv2.imencode(".png", np.full(self.SHAPE, i, np.uint8))
      yield (
        i,
        {
          "image": io.BytesIO(png.tobytes()),
          "age": i / 2,
          "points": np.arange(3.0) + i,
          "grid": np.zeros((2, 2)),
          "name": "x",
        },
      )


class Counted(Made, tfds.core.GeneratorBasedBuilder):
  """Labels that are integers, text or several, and no ClassLabel."""

  def _info(self):
    features = {
      "image": tfds.features.Image(shape=self.SHAPE),
      self.KIND: {
        "label": np.int64,
        "target": tfds.features.Text(),
        "labels": tfds.features.Sequence(
          tfds.features.ClassLabel(num_classes=3)
        ),
      }[self.KIND],
    }
    return tfds.core.DatasetInfo(
      builder=self, features=tfds.features.FeaturesDict(features)
    )

  def _generate_examples(self, count):
    for i in range(count):
      _, png = cv2.imencode(".png", np.full(self.SHAPE, i, np.uint8))
      label = {"label": i % 2, "target": "x", "labels": [0, 2]}[self.KIND]
      yield i, {"image": io.BytesIO(png.tobytes()), self.KIND: label}

  KIND = "label"


class Texts(Counted):
  """Labels that are text."""

  KIND = "target"


class Several(Counted):
  """Several labels an example."""

  KIND = "labels"


class Deep(Made, tfds.core.GeneratorBasedBuilder):
  """Images of 16 bits; every fourth has no label."""

  def _info(self):
    features = {
      "image": tfds.features.Image(shape=(40, 30, 1), dtype=np.uint16),
      "label": tfds.features.ClassLabel(num_classes=3),
    }
    return tfds.core.DatasetInfo(
      builder=self, features=tfds.features.FeaturesDict(features)
    )

  def _generate_examples(self, count):
    for i in range(count):
      values = np.full((40, 30), 257 * 12 * i, np.uint16)
      _, png = cv2.imencode(".png", values)
      label = -1 if i % 4 == 3 else i % 3
      yield i, {"image": io.BytesIO(png.tobytes()), "label": label}


class Clear(Made, tfds.core.GeneratorBasedBuilder):
  """Images with transparency."""

  SHAPE = (6, 6, 4)


def prepare(builder, folder):
  config = tfds.download.DownloadConfig(try_download_gcs=False)
  builder(data_dir=folder, file_format="array_record").download_and_prepare(
    download_config=config
  )


@pytest.fixture(scope="module")
def tfds_dir(tmp_path_factory):
  folder = tmp_path_factory.mktemp("tfds")
  prepare(Tiny, folder)
  prepare(Unlabelled, folder)
  for builder in (Measured, Counted, Texts, Several, Deep, Clear):
    prepare(builder, folder)
  return str(folder)


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
  source = leep_jax.Source("mean", mean_pixel, ())
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


@pytest.mark.parametrize(
  ("name", "message"),
  [
    ("photos", "photos is a folder: write folder:photos$"),
    ("./photos", "write folder:./photos$"),
    ("data.npz", "write npz:data.npz$"),
    ("x.npy", "write npz:x.npy$"),
    ("npy:x.npy", "write npz:x.npy$"),
    ("train.csv", "tables of file names and labels are not read yet; what is"),
    ("csv:train.csv", "tables of file names and labels are not read yet"),
    ("train.parquet", "tables of file names and labels are not read yet"),
    ("imagefolder:photos", "write folder:photos$"),
    ("Folder:photos", "write folder:photos$"),
    ("uoft-cs/cifar10", "TFDS has cifar10: write --dataset=cifar10$"),
    ("owner/birds", "Hugging Face hub are not read yet; save it as one sub"),
    ("huggingface:mnist", "TFDS has mnist"),
    ("hf://datasets/a/birds", "hub are not read yet"),
    ("https://x.org/a.zip", "is an address: download it"),
    ("photos.zip", "is an archive: unpack it"),
    ("a.h5", "of a kind that is not read"),
    ("/no/such/photos", "no file or folder at /no/such/photos"),
    ("cifar10[:20%]", "--dataset=cifar10 --split=train.:20%.$"),
    ("tfds:mnist", "write mnist$"),
    ("birds:train", "unknown kind of data 'birds'"),
    ("", "has no name"),
    ("photoz", "none of them close$"),
    ("mnists", "did you mean .*mnist"),
    ("prepared", "TFDS data set: write --dataset=prepared --data_dir=/"),
    ("prepared/1.0.0", "write --dataset=prepared --data_dir=/"),
    ("folder:data.npz", "is a file: folder:DIR is for a folder"),
    ("npz:photos", "photos is a folder, not a file"),
  ],
)
def test_names_that_are_no_data_set(tmp_path, monkeypatch, name, message):
  monkeypatch.chdir(tmp_path)
  (tmp_path / "photos" / "a").mkdir(parents=True)
  (tmp_path / "prepared" / "1.0.0").mkdir(parents=True)
  (tmp_path / "prepared" / "1.0.0" / "dataset_info.json").write_text("{}")
  np.savez("data.npz", images=np.zeros((2, 3, 3), np.uint8), labels=[0, 1])
  monkeypatch.setattr("socket.socket", None)  # nothing asks the network
  with pytest.raises(leep_jax.InputError, match=message):
    leep_jax.load_dataset(name)


def mean_pixel(state, images):
  values = images.mean(axis=(1, 2))
  return values, values


@pytest.mark.parametrize("keep", ["host", "disk", "device"])
@pytest.mark.parametrize(("target", "width"), [("age", 1), ("points", 3)])
def test_real_valued_targets(tfds_dir, target, width, keep, device_count):
  dataset = leep_jax.load_dataset("measured", data_dir=tfds_dir, target=target)
  assert dataset.num_classes == 0
  source = leep_jax.Source("mean", mean_pixel, ())
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
  source = leep_jax.Source("mean", mean_pixel, ())
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


def test_missing_data_dir():
  with pytest.raises(leep_jax.InputError, match="no folder at data_dir /none"):
    leep_jax.load_dataset("mnist", data_dir="/none")


def test_digits():
  dataset = leep_jax.load_dataset("digits")
  images, labels = dataset.load()
  assert images.shape == (1797, 8, 8, 1)
  assert (images.min(), images.max(), images.dtype) == (0, 255, np.uint8)
  assert (len(labels), dataset.num_classes) == (1797, 10)
  with pytest.raises(leep_jax.InputError, match="digits has no splits"):
    leep_jax.load_dataset("digits", split="train")


def test_limit_draws_across_classes():
  dataset = leep_jax.load_dataset("digits", limit=100)
  _, labels = dataset.load()
  assert len(labels) == 100
  assert set(labels) == set(range(10))
  np.testing.assert_array_equal(
    leep_jax.load_dataset("digits", limit=100).indices, dataset.indices
  )
  assert len(leep_jax.load_dataset("digits", limit=10**6)) == 1797


def write_image(path, image):
  path.parent.mkdir(parents=True, exist_ok=True)
  assert cv2.imwrite(str(path), image)


@pytest.fixture
def folder(tmp_path, rng):
  for i, (name, shape) in enumerate(
    [("bee/1.png", (20, 30)), ("ant/x/2.jpg", (40, 20)), ("ant/3.PNG", (9, 9))]
  ):
    write_image(tmp_path / name, np.full((*shape, 3), 50 * i, np.uint8))
  (tmp_path / "ant" / ".notes.txt").write_text("not an image")
  (tmp_path / ".hidden").mkdir()
  write_image(tmp_path / "bee/.cache/copy.png", np.zeros((4, 4, 3), np.uint8))
  return tmp_path


def fit(size):
  return leep_jax.Preprocessing(image_size=size).fit


def test_folder(folder):
  dataset = leep_jax.load_dataset(f"folder:{folder}")
  assert dataset.class_names == ("ant", "bee")
  ((images, labels),) = dataset.batches(10, fit=fit(16))
  assert images.shape == (3, 16, 16, 3)
  np.testing.assert_array_equal(labels, [0, 0, 1])
  means = 255 * images.mean((1, 2, 3))  # one is enlarged: all are floats
  np.testing.assert_allclose(means, [100, 50, 0], atol=1)
  with pytest.raises(leep_jax.InputError, match="differ in size"):
    next(dataset.batches(10))


def test_folder_images_keep_their_colours_and_centre(tmp_path):
  image = np.zeros((10, 30, 3), np.uint8)
  image[:, 10:20, 0] = 255  # OpenCV writes blue first
  write_image(tmp_path / "a" / "1.png", image)
  write_image(tmp_path / "b" / "1.png", image)
  dataset = leep_jax.load_dataset(f"folder:{tmp_path}")
  ((images, _),) = dataset.batches(2, fit=fit(10))
  np.testing.assert_array_equal(images[0], np.full((10, 10, 3), [0, 0, 255]))


@pytest.mark.parametrize("suffix", ["png", "jpeg", "webp", "tiff"])
def test_folder_images_are_turned_as_exif_says(tmp_path, suffix):
  values = np.zeros((16, 32, 3), np.uint8)
  values[:, 16:] = 255
  image = PIL.Image.fromarray(values)
  exif = image.getexif()
  exif[0x112] = 6  # to be turned clockwise
  image.save(tmp_path / f"1.{suffix}", exif=exif)
  read = images_lib.read(tmp_path / f"1.{suffix}")
  assert read.shape == (32, 16, 3)
  np.testing.assert_allclose(read, np.rot90(values, -1), atol=1)


@pytest.mark.parametrize("suffix", ["png", "tiff"])
def test_folder_images_of_16_bits_are_scaled_to_8(tmp_path, suffix, rng):
  values = rng.integers(0, 1 << 16, (8, 9), dtype=np.uint16)
  write_image(tmp_path / f"1.{suffix}", values)
  read = images_lib.read(tmp_path / f"1.{suffix}")
  assert (read.dtype, read.shape) == (np.uint8, (8, 9, 3))
  expected = np.repeat(values[..., None] / 257, 3, axis=2)
  np.testing.assert_allclose(read, expected, atol=1)


@pytest.mark.parametrize("shape", [(8, 8), (10, 13, 3), (40, 50, 3), (12, 30)])
@pytest.mark.parametrize("interpolation", ["bilinear", "bicubic"])
def test_scores_do_not_depend_on_how_images_are_stored(
  tmp_path, shape, interpolation, rng
):
  labels = np.repeat(np.arange(3), 20)
  images = rng.integers(0, 256, (60, *shape), dtype=np.uint8)
  images[labels == 1] //= 2
  np.savez(tmp_path / "a.npz", images=images, labels=labels)
  for i, (image, label) in enumerate(zip(images, labels, strict=True)):
    image = image[..., ::-1] if image.ndim == 3 else image
    write_image(tmp_path / "folder" / f"{label}" / f"{i:02}.png", image)
  weights = rng.normal(size=(16 * 16 * 3, 5)).astype(np.float32)

  def apply(weights, x):
    features = x.reshape(len(x), -1) @ weights
    return features, features

  source = leep_jax.Source(
    "linear", apply, weights,
    leep_jax.Preprocessing(16, crop=0.875, interpolation=interpolation),
  )  # fmt: skip
  one, other = (
    leep_jax.compute_scores(
      leep_jax.compute_outputs(source, leep_jax.load_dataset(name)),
      names=["leep", "nce", "logme", "h_score"],
    )
    for name in (f"npz:{tmp_path}/a.npz", f"folder:{tmp_path}/folder")
  )
  for name, value in one.items():
    assert value == pytest.approx(other[name], abs=1e-5), name


def many(count, fetch):
  return leep_jax.Dataset("made", "all", 2, np.arange(count), None, fetch)


def test_images_are_fetched_one_by_one_and_fitted_at_once():
  lock, held, most = threading.Lock(), 0, 0

  def fetch(indices):
    nonlocal held, most
    assert len(indices) == 1
    with lock:
      held += 1
      most = max(most, held)
    return [np.full((20, 30, 3), i, np.uint8) for i in indices], indices

  def bring(image):
    nonlocal held
    time.sleep(0.001)
    with lock:
      held -= 1
    return image[:10, :10]

  batches = list(many(100, fetch).batches(40, fit=bring))
  assert [len(images) for images, _ in batches] == [40, 40, 20]
  images, labels = (np.concatenate(x) for x in zip(*batches, strict=True))
  np.testing.assert_array_equal(images[:, 0, 0, 0], np.arange(100))
  np.testing.assert_array_equal(labels, np.arange(100))
  assert most <= os.cpu_count()


def test_stopping_early_drops_what_is_left_of_a_batch():
  fetched = []

  def fetch(indices):
    fetched.append(indices[0])
    time.sleep(0.1 if indices[0] >= 500 else 0)
    return [np.zeros((4, 4, 3), np.uint8)], indices

  threads = threading.active_count()
  batches = many(1000, fetch).batches(500, fit=lambda image: image)
  next(batches)
  batches.close()
  assert len(fetched) < 900
  assert threading.active_count() == threads


def test_an_error_of_one_image_ends_the_iteration():
  def fetch(indices):
    if indices[0] == 70:
      raise leep_jax.InputError("cannot read it")
    return [np.zeros((4, 4, 3), np.uint8)], indices

  threads = threading.active_count()
  batches = many(1000, fetch).batches(50, fit=lambda image: image)
  assert len(next(batches)[0]) == 50
  with pytest.raises(leep_jax.InputError, match="^cannot read it$"):
    next(batches)
  assert threading.active_count() == threads


def test_folder_split(folder):
  for name in ("val/x/1.png", "val/y/1.tiff", "train/x/1.png"):
    write_image(folder / "in" / name, np.zeros((4, 4, 3), np.uint8))
  dataset = leep_jax.load_dataset(f"folder:{folder}/in", split="val")
  assert (len(dataset), dataset.class_names) == (2, ("x", "y"))
  with pytest.raises(leep_jax.InputError, match="splits train, val, not clas"):
    leep_jax.load_dataset(f"folder:{folder}/in")
  with pytest.raises(leep_jax.InputError, match="no folder at .*test"):
    leep_jax.load_dataset(f"folder:{folder}", split="test")


def test_folder_mistakes(folder, tmp_path):
  (folder / "ant" / "4.png").write_bytes(b"no image")
  dataset = leep_jax.load_dataset(f"folder:{folder}")
  with pytest.raises(leep_jax.InputError, match="cannot decode .*4.png"):
    list(dataset.batches(10, fit=fit(8)))
  (folder / "ant" / "4.png").unlink()
  (folder / "ant" / "4.png").symlink_to(folder / "nowhere")
  with pytest.raises(leep_jax.InputError, match="cannot read .*4.png"):
    list(dataset.batches(10, fit=fit(8)))
  with pytest.raises(leep_jax.InputError, match="has 0 sub-folders"):
    leep_jax.load_dataset(f"folder:{folder / 'ant' / 'x'}")
  (folder / "empty").mkdir()
  with pytest.raises(leep_jax.InputError, match="empty .* no images"):
    leep_jax.load_dataset(f"folder:{folder}")


@pytest.mark.parametrize("shape", [(5, 8, 8), (5, 8, 8, 1), (5, 8, 8, 3)])
def test_npz(tmp_path, shape):
  images = np.arange(np.prod(shape), dtype=np.uint8).reshape(shape)
  np.savez(tmp_path / "a.npz", images=images, labels=[0, 1, 2, 0, 1])
  dataset = leep_jax.load_dataset(f"npz:{tmp_path / 'a.npz'}")
  loaded, labels = dataset.load()
  np.testing.assert_array_equal(loaded.reshape(shape), images)
  np.testing.assert_array_equal(labels, [0, 1, 2, 0, 1])
  assert dataset.num_classes == 3


@pytest.mark.parametrize(
  ("arrays", "message"),
  [
    ({"images": np.zeros((2, 4, 4), np.uint8)}, "no array 'labels'; it has im"),
    ({"labels": [0, 1]}, "no array 'images'"),
    ({"images": np.zeros((3, 4, 4), np.uint8), "labels": [0, 1]}, "3 images b"),
    (
      {"images": np.zeros((2, 5, 4, 5), np.uint8), "labels": [0, 1]},
      "1 or 3 c",
    ),
    ({"images": np.full((2, 4, 4), 255.0), "labels": [0, 1]}, "divide by 255"),
    ({"images": np.full((2, 4, 4), np.nan), "labels": [0, 1]}, "nan"),
    ({"images": np.zeros((2, 4, 4), int), "labels": [0, 1]}, "not uint8"),
    ({"images": np.zeros((2, 4, 4)), "labels": [0, -1]}, "contain -1"),
  ],
)
def test_npz_mistakes(tmp_path, arrays, message):
  np.savez(tmp_path / "a.npz", **arrays)
  with pytest.raises(leep_jax.InputError, match=message):
    leep_jax.load_dataset(f"npz:{tmp_path / 'a.npz'}")


def test_files_that_are_not_npz(tmp_path):
  (tmp_path / "a.npz").write_bytes(b"PK nonsense")
  for name, message in (("a.npz", "cannot read"), ("b.npz", "no file at")):
    with pytest.raises(leep_jax.InputError, match=message):
      validation.read_npz(tmp_path / name)
  np.savez(tmp_path / "c.npz", a=np.array([{}], dtype=object))
  with pytest.raises(leep_jax.InputError, match="Python objects"):
    validation.read_npz(tmp_path / "c.npz")


def test_reading_runs_ahead_but_bounded():
  reads = []
  pool = futures.ThreadPoolExecutor()
  source = dataset_lib._ahead(lambda i: reads.append(i) or i, range(100), pool)
  assert next(source) == 0
  deadline = time.time() + 5
  while len(reads) < 3 and time.time() < deadline:
    time.sleep(0.01)
  time.sleep(0.05)
  assert 2 <= len(reads) <= 5
  threads = threading.active_count()
  source.close()
  assert threading.active_count() == threads - 1


def test_errors_while_reading_reach_the_caller():
  def read(i):
    raise OSError("disk gone")

  with pytest.raises(OSError, match="disk gone"):
    next(dataset_lib._ahead(read, range(3), futures.ThreadPoolExecutor()))


def test_a_pair_shares_no_example(tmp_path):
  train, test = data.load_pair("digits")
  assert (len(train), len(test)) == (1438, 359)
  assert not set(train.indices) & set(test.indices)
  for label in range(10):
    share = np.sum(test.labels() == label) / np.sum(train.labels() == label)
    assert 0.2 < share < 0.3
  np.testing.assert_array_equal(train.labels(), train.load()[1])
  again, _ = data.load_pair("digits", limit=50, test_limit=20)
  assert len(again) == 50


def test_a_pair_of_a_folder(tmp_path):
  rng = np.random.default_rng(0)
  for part, count in (("train", 5), ("val", 2)):
    for name in ("cat", "dog"):
      folder = tmp_path / part / name
      folder.mkdir(parents=True)
      for i in range(count):
        image = rng.integers(0, 255, (4, 5, 3), dtype=np.uint8)
        PIL.Image.fromarray(image).save(folder / f"{i}.png")
  train, test = data.load_pair(f"folder:{tmp_path}")
  assert (train.split, test.split) == ("train", "val")
  assert (len(train), len(test)) == (10, 4)
  assert test.labels().tolist() == [0, 0, 1, 1]
  train, test = data.load_pair(f"folder:{tmp_path}/train")
  assert (len(train), len(test)) == (8, 2)
  for message, options in (
    ("split and test_split are both val", {"split": "val"}),
    ("no folder", {"test_split": "test"}),
  ):
    with pytest.raises(leep_jax.InputError, match=message):
      data.load_pair(f"folder:{tmp_path}", **options)
  (tmp_path / "val" / "dog").rename(tmp_path / "val" / "fox")
  with pytest.raises(leep_jax.InputError, match="classes of train and val"):
    data.load_pair(f"folder:{tmp_path}")


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


def test_a_row_is_all_that_a_new_kind_needs(monkeypatch):
  digits = leep_jax.load_dataset("digits")
  row = load.Kind("mine:N", "mine", lambda request: digits, lambda *x: x[1:])
  monkeypatch.setitem(load.KINDS, "mine", row)
  assert leep_jax.load_dataset("mine:1") is digits
  with pytest.raises(leep_jax.InputError, match="or mine:N"):
    leep_jax.load_dataset("min:abc")
