"""Data sets by name: digits, folders, npz files, and names that are none."""

import cv2
import numpy as np
import PIL.Image
import pytest

import leep_jax
from leep_jax import data, validation
from leep_jax.data import images as images_lib, kinds


@pytest.mark.parametrize(
  ("name", "message"),
  [
    ("photos", "photos is a folder: write folder:photos$"),
    ("./photos", "write folder:./photos$"),
    ("x.npy", "write npz:x.npy$"),
    ("npy:x.npy", "write npz:x.npy$"),
    ("train.csv", "^no file at train.csv$"),
    ("tsv:there.tsv", "is a table: write csv:there.tsv$"),
    ("csv:train.csv", "no file at train.csv"),
    ("train.xlsx", "of this kind are not read; save it as .* .csv, .tsv, .par"),
    ("imagefolder:photos", "write folder:photos$"),
    ("Folder:photos", "write folder:photos$"),
    ("uoft-cs/cifar10", "TFDS has cifar10: write --dataset=cifar10$"),
    ("owner/birds", "if it is one of the Hugging .* write hf:owner/birds$"),
    ("huggingface:mnist", "TFDS has mnist"),
    ("datasets:a/birds", "the Hugging Face hub, write hf:a/birds$"),
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
  (tmp_path / "there.tsv").write_text("text\tlabel\na\tx\nb\ty\n")
  with pytest.raises(leep_jax.InputError, match=message):
    leep_jax.load_dataset(name)


@pytest.mark.parametrize("name", ["there.tsv", "there.npz"])
def test_a_file_needs_no_prefix(tmp_path, monkeypatch, name):
  monkeypatch.chdir(tmp_path)
  (tmp_path / "there.tsv").write_text("text\tlabel\na\tx\nb\ty\n")
  np.savez("there.npz", images=np.zeros((2, 3, 3), np.uint8), labels=[0, 1])
  assert len(leep_jax.load_dataset(name)) == 2


def test_digits():
  dataset = leep_jax.load_dataset("digits")
  images, labels = dataset.load()
  assert images.shape == (1797, 8, 8, 1)
  assert (images.min(), images.max(), images.dtype) == (0, 255, np.uint8)
  assert (len(labels), dataset.num_classes) == (1797, 10)
  with pytest.raises(leep_jax.InputError, match="digits has no splits"):
    leep_jax.load_dataset("digits", split="train")


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


def test_a_row_is_all_that_a_new_kind_needs(monkeypatch):
  digits = leep_jax.load_dataset("digits")
  row = kinds.Kind(
    "mine:N", "mine", lambda request: digits, lambda r, t: (r.split, t)
  )
  monkeypatch.setitem(kinds.KINDS, "mine", row)
  assert leep_jax.load_dataset("mine:1") is digits
  with pytest.raises(leep_jax.InputError, match="or mine:N"):
    leep_jax.load_dataset("min:abc")
