"""Folders of images: splits and classes, links, and files that are damaged."""

import io
import os
import pathlib
import shutil
import unicodedata

import cv2
import numpy as np
import PIL.Image
import pytest

import leep_jax
from leep_jax import data, validation
from leep_jax.data import images as images_lib


def picture(path, value=0, **options):
  path.parent.mkdir(parents=True, exist_ok=True)
  image = np.full((6, 7, 3), 10 * value + 5, np.uint8)
  PIL.Image.fromarray(image).convert(options.pop("mode", "RGB")).save(
    path, **options
  )


def make(root, *folders, count=2):
  for folder in folders:
    for i in range(count):
      picture(root / folder / f"{i}.png", i)
  return f"folder:{root}"


def classes(name, **options):
  return leep_jax.load_dataset(name, **options).class_names


SPLITS = {
  "Training Testing": "Training",
  "seg_train seg_test": "seg_train",
  "seg_train seg_test seg_pred": "seg_train",
  "training_set test_set": "training_set",
  "fold_0 fold_1 fold_2": "fold_0",
  "train test extra": "train",
  "train eval": "train",
  "train2017 val2017": "train2017",
  "TrainSet ValSet": "TrainSet",
  "imagesTr imagesTs": "imagesTr",
  "one two": "one",  # by structure alone
  "labelled sketches": "labelled",
}


@pytest.mark.parametrize("names", SPLITS)
@pytest.mark.parametrize("wrapped", ["", "images", "a/b"])
def test_splits_are_no_classes(tmp_path, names, wrapped):
  root = tmp_path / wrapped
  for split in names.split():
    inner = ["cat", "dog", "eel"][: 2 if split in ("two", "extra") else 3]
    make(root, *(f"{split}/{name}" for name in inner))
    if split == "seg_pred":  # unlabelled
      shutil.rmtree(root / split)
      picture(root / split / "1.png")
  if not wrapped:
    picture(root / "cover.png")
  name = f"folder:{tmp_path}"
  expected = f"{wrapped}/{SPLITS[names]}".lstrip("/")
  with pytest.raises(leep_jax.InputError, match=f"--split={expected}([;. ]|$)"):
    leep_jax.load_dataset(name)
  found = classes(name, split=expected)
  assert found in (("cat", "dog"), ("cat", "dog", "eel"))


def test_splits_beside_what_is_none(tmp_path):
  splits = [
    f"{s}/{c}" for s in ("train", "test", "val") for c in ("ill", "well")
  ]
  for i, root in enumerate(("", "chest_xray/")):
    name = make(tmp_path / "chest", *(root + s for s in splits))
    picture(tmp_path / "chest/__MACOSX/train/1.png")
    with pytest.raises(leep_jax.InputError, match=r"as in --split=train;"):
      leep_jax.load_dataset(name)
    assert data.load_pair(name)[i].split == ("train", "test")[i]
  name = make(tmp_path / "flat", "train/a", "train/b", "test", "docs")
  with pytest.raises(leep_jax.InputError, match="--split=train;"):
    leep_jax.load_dataset(name)
  name = make(tmp_path / "two", *(f"{s}/{c}" for s in "pqr" for c in "ab"), "m")
  with pytest.raises(leep_jax.InputError, match="--split=p;"):
    leep_jax.load_dataset(name)


def test_a_split_inside_a_folder_of_its_own_name(tmp_path):
  for split in ("seg_train", "seg_test"):
    make(tmp_path / split, f"{split}/sea", f"{split}/town")
  picture(tmp_path / "seg_pred/seg_pred/1.png")
  name = f"folder:{tmp_path}"
  with pytest.raises(leep_jax.InputError, match="--split=seg_train/seg_train;"):
    leep_jax.load_dataset(name)
  assert classes(name, split="seg_train/seg_train") == ("sea", "town")
  with pytest.raises(leep_jax.InputError, match="--split=seg_test/seg_test$"):
    leep_jax.load_dataset(name, split="seg_test")
  with pytest.raises(leep_jax.InputError, match="has 0 sub-folders with ima"):
    leep_jax.load_dataset(name, split="seg_pred/seg_pred")
  train, test = data.load_pair(name)
  assert (train.split, test.split) == (
    "seg_train/seg_train", "seg_test/seg_test",
  )  # fmt: skip


def test_the_classes_in_one_folder(tmp_path):
  name = make(tmp_path / "photos", "photos/cat", "photos/dog")
  picture(tmp_path / "photos/__MACOSX/photos/cat/._0.png")
  picture(tmp_path / "photos/__MACOSX/x/0.png")
  with pytest.raises(leep_jax.InputError, match="write --split=photos$"):
    leep_jax.load_dataset(name)
  assert classes(name, split="photos") == ("cat", "dog")
  train, test = data.load_pair(name, split="photos")
  assert (train.split, test.split) == ("photos 4/5", "photos 1/5")
  assert len(train) == len(test) == 2
  name = make(tmp_path / "deep", "a/b/cat", "a/b/dog")
  with pytest.raises(leep_jax.InputError, match="write --split=a/b$"):
    leep_jax.load_dataset(name)
  assert classes(name, split="a/b") == ("cat", "dog")
  with pytest.raises(leep_jax.InputError, match="write --split=a/b$"):
    leep_jax.load_dataset(name, split="a")


def test_classes_with_sub_folders_of_the_same_names(tmp_path):
  name = make(
    tmp_path, "cat/2019", "cat/2020", "dog/2019", "dog/2020", "eel/2019",
    "eel/2020",
  )  # fmt: skip
  with pytest.raises(
    leep_jax.InputError,
    match="splits, or classes with .* write --split=cat; .*, --split=[.]$",
  ):
    leep_jax.load_dataset(name)
  assert classes(name, split=".") == ("cat", "dog", "eel")
  assert classes(name, split="cat") == ("2019", "2020")
  assert leep_jax.load_dataset(name, split=".").split == "all"


@pytest.mark.parametrize(
  "folders",
  [
    ("cat/a", "cat/b", "dog/c", "dog/d"),  # sub-folders of other names
    ("cat/images", "dog/images"),  # one alone is no set of classes
    ("cat/a", "cat/b", "dog"),
    ("bullet_train", "steam_train"),
    ("valid", "invalid"),
    ("cat", "dog/old", "dog/new", "eel"),
  ],
)
def test_classes_are_no_splits(tmp_path, folders):
  name = make(tmp_path, *folders)
  expected = sorted({folder.split("/")[0] for folder in folders})
  assert classes(name) == tuple(expected)


def test_splits_inside_classes_are_all_read(tmp_path):
  name = make(tmp_path, "cat/train", "cat/test", "dog/train", "dog/test")
  with pytest.warns(
    validation.InputNote, match="hold the splits test, train: im"
  ):
    dataset = leep_jax.load_dataset(name)
  assert dataset.class_names == ("cat", "dog")
  assert len(dataset) == 8


def test_splits_without_classes(tmp_path):
  name = make(tmp_path, "train", "test")
  with pytest.raises(leep_jax.InputError, match="none of them a sub-folder"):
    leep_jax.load_dataset(name)
  assert classes(name, split=".") == ("test", "train")
  with pytest.raises(leep_jax.InputError, match="2 images lie beside them"):
    leep_jax.load_dataset(name, split="train")
  with pytest.raises(leep_jax.InputError, match="no folder at .*holds test, t"):
    leep_jax.load_dataset(name, split="Train")


@pytest.mark.parametrize(
  ("folders", "expected"),
  [
    ("Training Testing", ("Training", "Testing")),
    ("seg_train seg_test seg_val", ("seg_train", "seg_test")),
    ("training_set val_set", ("training_set", "val_set")),
    ("images/train images/eval", ("images/train", "images/eval")),
  ],
)
def test_a_pair_of_splits_by_any_name(tmp_path, folders, expected):
  name = make(
    tmp_path, *(f"{s}/{c}" for s in folders.split() for c in ("cat", "dog"))
  )
  train, test = data.load_pair(name)
  assert (train.split, test.split) == expected


def test_a_pair_of_folds_is_chosen(tmp_path):
  name = make(
    tmp_path, *(f"fold_{i}/{c}" for i in range(3) for c in ("cat", "dog"))
  )
  with pytest.raises(leep_jax.InputError, match="choose one"):
    data.load_pair(name)
  train, test = data.load_pair(name, split="fold_1", test_split="fold_2")
  assert (len(train), len(test)) == (4, 4)
  with pytest.raises(leep_jax.InputError, match="which split is for training"):
    data.load_pair(name, test_split="fold_2")


def test_classes_of_a_pair_whose_names_look_the_same(tmp_path):
  nfd = unicodedata.normalize("NFD", "caf\xe9")
  name = make(tmp_path, "train/Dog", "train/caf\xe9", "train/ant ")
  make(tmp_path, f"val/{nfd}", "val/ant", "val/dog")
  with pytest.warns(validation.InputNote, match="same but for case, spaces"):
    train, test = data.load_pair(name)
  assert test.class_names == train.class_names == ("Dog", "ant ", "caf\xe9")
  assert test.labels().tolist() == [1, 1, 2, 2, 0, 0]
  assert list(test.fetch(np.asarray([4, 0]))[1]) == [0, 1]


def test_a_test_set_may_lack_classes_but_not_have_others(tmp_path):
  name = make(tmp_path, "train/a", "train/b", "train/c", "test/a", "test/c")
  with pytest.warns(
    validation.InputNote, match="lacks 1 of the 3 classes of tr"
  ):
    _, test = data.load_pair(name)
  assert test.labels().tolist() == [0, 0, 2, 2]
  assert test.num_classes == 3
  make(tmp_path, "test/z")
  with pytest.raises(leep_jax.InputError, match="z only in test, b only in tr"):
    data.load_pair(name)


def test_classes_that_look_the_same(tmp_path):
  name = make(tmp_path, "cat", "Cat", "dog")
  with pytest.warns(validation.InputNote, match="'Cat' and 'cat'$"):
    assert classes(name) == ("Cat", "cat", "dog")


def test_empty_classes_are_named(tmp_path):
  name = make(tmp_path, "cat", "dog")
  (tmp_path / "eel").mkdir()
  (tmp_path / "eel" / "1.heic").write_bytes(b"x")
  with pytest.raises(leep_jax.InputError, match=r"eel .*no images \(.heic 1\)"):
    leep_jax.load_dataset(name)


def test_what_is_no_image_is_counted(tmp_path):
  name = make(tmp_path, "a", "b")
  for i in range(3):
    (tmp_path / "a" / f"{i}.txt").write_text("x")
  (tmp_path / "b" / "more").mkdir()
  (tmp_path / "b" / "more" / "1.mp4").write_text("x")
  (tmp_path / "b" / "notes").write_text("x")
  for litter in ("Thumbs.db", ".DS_Store", "desktop.ini"):
    (tmp_path / "b" / litter).write_text("x")
  (tmp_path / "README.md").write_text("x")
  (tmp_path / "c").symlink_to(tmp_path / "nowhere")  # a class that is gone
  picture(tmp_path / "cover.jpg")
  with pytest.warns(
    validation.InputNote,
    match=r"^7 files left out \(.txt 3, .*broken links 1.* of folder:",
  ):
    assert len(leep_jax.load_dataset(name)) == 4


FORMATS = (
  "gif", "pgm", "pbm", "ppm", "bmp", "tiff", "jp2", "avif", "webp", "tga",
  "pcx", "jfif", "dib", "png", "jpg",
)  # fmt: skip


@pytest.mark.parametrize("suffix", FORMATS)
def test_formats(tmp_path, suffix):
  format = {"tga": "TGA", "jfif": "JPEG", "pbm": "PPM"}.get(suffix)
  mode = {"pbm": "1", "pgm": "L"}.get(suffix, "RGB")
  picture(tmp_path / f"1.{suffix}", 9, mode=mode, format=format)
  image = images_lib.read(tmp_path / f"1.{suffix}")
  assert (image.shape, image.dtype) == ((6, 7, 3), np.uint8)
  assert abs(image.mean() - 95) < (100 if suffix == "pbm" else 3)


def test_files_without_a_suffix_are_told_by_their_first_bytes(tmp_path):
  name = make(tmp_path, "a", "b", count=1)
  for i, format in enumerate(("JPEG", "PNG", "GIF", "WEBP", "PPM", "TIFF")):
    picture(tmp_path / "a" / f"image{i}", i, format=format)
    picture(tmp_path / "b" / f"image.{i}", i, format=format)
  picture(tmp_path / "b" / "photo.jpg?w=300", 2, format="JPEG")
  dataset = leep_jax.load_dataset(name)
  assert len(dataset) == 15
  for image in dataset.fetch(np.arange(15))[0]:
    assert image.shape == (6, 7, 3)


def test_the_first_frame_is_read(tmp_path):
  frames = [
    PIL.Image.fromarray(np.full((6, 7, 3), 60 * i, np.uint8)) for i in (1, 2, 3)
  ]
  for suffix in ("gif", "tiff", "webp", "png"):
    path = tmp_path / "a" / f"1.{suffix}"
    path.parent.mkdir(exist_ok=True)
    frames[0].save(path, save_all=True, append_images=frames[1:])
    assert abs(images_lib.read(path).mean() - 60) < 3
  make(tmp_path, "b")
  with pytest.warns(
    validation.InputNote, match="^2 of 6 images .* several pages"
  ):
    leep_jax.load_dataset(f"folder:{tmp_path}")


def test_links_are_followed_and_circles_are_not(tmp_path):
  name = make(tmp_path / "in", "a", "b")
  make(tmp_path, "more", count=5)
  (tmp_path / "in/a/more").symlink_to(tmp_path / "more")
  (tmp_path / "in/b/also").symlink_to(tmp_path / "more")
  (tmp_path / "in/b/again").symlink_to(tmp_path / "more")
  (tmp_path / "in/c").symlink_to(tmp_path / "more")
  (tmp_path / "in/a/up").symlink_to(tmp_path / "in")
  (tmp_path / "in/a/top").symlink_to(tmp_path)
  (tmp_path / "in/a/self").symlink_to(tmp_path / "in/a")
  (tmp_path / "more/back").symlink_to(tmp_path / "in/a")
  (tmp_path / "in/b/9.png").symlink_to(tmp_path / "more/0.png")
  dataset = leep_jax.load_dataset(name)
  counts = np.bincount(dataset.labels())
  assert dataset.class_names == ("a", "b", "c")
  assert counts.tolist() == [2 + 5, 3 + 5 + 2, 5 + 2]


def damaged(root):
  """Ten good images, and six that cannot be read."""
  name = make(root, "a", "b", count=5)
  good = io.BytesIO()
  PIL.Image.fromarray(
    np.random.default_rng(0).integers(0, 256, (60, 70, 3), dtype=np.uint8)
  ).save(good, "JPEG")
  (root / "a" / "6.jpg").write_bytes(good.getvalue()[:-900])
  (root / "a" / "7.jpg").symlink_to(root / "nowhere")
  (root / "a" / "8.png").write_bytes(b"")
  (root / "b" / "6.png").write_bytes(b"<!DOCTYPE html><html>")
  (root / "b" / "7.jpeg").write_bytes(b"version https://git-lfs.github.com/")
  os.mkfifo(root / "b" / "8.png")
  return name


REASONS = {
  "a/6.jpg": "decode a/6.jpg: it ends too early",
  "a/7.jpg": "read a/7.jpg: No such file or directory: a broken link?",
  "a/8.png": "decode a/8.png: it is empty",
  "b/6.png": "decode b/6.png: it is an HTML page",
  "b/7.jpeg": "decode b/7.jpeg: it is a Git LFS pointer",
  "b/8.png": "read b/8.png: it is no regular file",
}


def test_all_bad_images_are_named_at_once(tmp_path):
  dataset = leep_jax.load_dataset(damaged(tmp_path))
  assert len(dataset) == 16
  for i, path in enumerate(sorted(REASONS)):
    place = {0: 5, 1: 6, 2: 7, 3: 13, 4: 14, 5: 15}[i]
    with pytest.raises(validation.DataError, match=f"^cannot {REASONS[path]}"):
      dataset.fetch(np.asarray([place]))
  with pytest.raises(
    validation.DataError,
    match="^6 of 16 images of .* cannot decode a/6.jpg: .* a/7.jpg.* a/8.png: "
    "it is empty and 3 more; .* --skip_bad_images",
  ):
    list(dataset.batches(4, fit=lambda image: image))


def test_bad_images_are_left_out(tmp_path):
  name = damaged(tmp_path)
  with pytest.warns(
    validation.InputNote, match="^6 of 16 images of .* left out"
  ):
    dataset = leep_jax.load_dataset(name, skip_bad_images=True)
  images, labels = dataset.load(fit=lambda image: image)
  assert images.shape == (10, 6, 7, 3)
  assert labels.tolist() == [0] * 5 + [1] * 5
  assert leep_jax.load_dataset(name).version == dataset.version
  with pytest.warns(validation.InputNote, match="left out"):
    train, test = data.load_pair(name, skip_bad_images=True)
  assert len(train) + len(test) == 10
  for path in tmp_path.glob("*/?.png"):
    if path.is_file():
      path.write_bytes(b"")
  with pytest.raises(
    validation.DataError, match="^16 of 16 images .* cannot be"
  ):
    leep_jax.load_dataset(name, skip_bad_images=True)


def test_images_that_may_not_be_read(tmp_path, monkeypatch):
  name = make(tmp_path, "a", "b")
  dataset = leep_jax.load_dataset(name)
  real = open

  def closed(path, *args, **options):
    if str(path).endswith("1.png"):
      raise PermissionError(13, "Permission denied")
    return real(path, *args, **options)

  monkeypatch.setattr("builtins.open", closed)
  with pytest.raises(
    validation.DataError, match="2 of 4 .*a/1.png: Permission d"
  ):
    list(dataset.batches(4, fit=lambda image: image))


def test_folders_that_may_not_be_read(tmp_path, monkeypatch):
  name = make(tmp_path, "a", "b/more")
  real = os.scandir

  def closed(path):
    if str(path).endswith("more"):
      raise PermissionError(13, "Permission denied")
    return real(path)

  monkeypatch.setattr("os.scandir", closed)
  with pytest.raises(leep_jax.InputError, match="b/more: Permission denied"):
    leep_jax.load_dataset(name)


@pytest.mark.parametrize(
  "format", ["JPEG", "PNG", "GIF", "BMP", "TIFF", "WEBP"]
)
@pytest.mark.parametrize("share", [0.9, 0.5])
def test_images_that_end_too_early(tmp_path, format, share, rng):
  content = io.BytesIO()
  values = cv2.resize(rng.integers(0, 256, (9, 9, 3), dtype=np.uint8), (90, 80))
  PIL.Image.fromarray(values).save(content, format)
  (tmp_path / "a").write_bytes(
    content.getvalue()[: int(share * len(content.getvalue()))]
  )
  with pytest.raises(validation.DataError, match="cannot decode .*"):
    images_lib.read(tmp_path / "a")


def test_a_cut_jpeg_that_a_library_fills_with_grey(tmp_path, monkeypatch, rng):
  content = io.BytesIO()
  preview = io.BytesIO()
  values = cv2.resize(rng.integers(0, 256, (9, 9, 3), dtype=np.uint8), (90, 80))
  image = PIL.Image.fromarray(values)
  image.save(preview, "JPEG")
  image.save(content, "JPEG", exif=b"Exif\0\0" + preview.getvalue())
  monkeypatch.setattr(  # as older versions of OpenCV do
    images_lib, "_decode_with_opencv", lambda *_, **__: values
  )
  path = tmp_path / "a.jpg"
  path.write_bytes(content.getvalue()[:-100])
  with pytest.raises(validation.DataError, match="it ends too early"):
    images_lib.read(path)
  path.write_bytes(content.getvalue() + b"more")
  np.testing.assert_array_equal(images_lib.read(path), values)


def ramp(top, dtype):
  return np.linspace(0, top, 48 * 60).reshape(48, 60).astype(dtype)


@pytest.mark.parametrize(
  ("values", "suffix", "message"),
  [
    (ramp(1, np.float32), "tif", "it is a float32 TIFF: convert it to 8 bits"),
    (ramp(255, np.int32), "tif", "it is an int32 TIFF: convert it to 8 bits"),
  ],
)
def test_types_of_numbers_that_are_refused(tmp_path, values, suffix, message):
  PIL.Image.fromarray(values).save(tmp_path / f"a.{suffix}")
  with pytest.raises(validation.DataError, match=message):
    images_lib.read(tmp_path / f"a.{suffix}")


@pytest.mark.parametrize("depth", [np.float32, np.float64, np.int16])
def test_colours_of_other_types_are_refused(tmp_path, depth):
  values = np.dstack([ramp(1, depth)] * 3)
  assert cv2.imwrite(str(tmp_path / "a.tif"), values)
  with pytest.raises(
    validation.DataError, match=f"{np.dtype(depth)} TIFF: conv"
  ):
    images_lib.read(tmp_path / "a.tif")


@pytest.mark.parametrize("suffix", ["png", "tif"])
def test_12_bits_in_16(tmp_path, suffix):
  path = tmp_path / "a" / f"1.{suffix}"
  path.parent.mkdir()
  PIL.Image.fromarray(ramp(4095, np.uint16)).save(path)
  make(tmp_path, "b")
  with pytest.warns(
    validation.InputNote, match="4095 of 65535, .*Multiply .* 16$"
  ):
    leep_jax.load_dataset(f"folder:{tmp_path}")
  PIL.Image.fromarray(ramp(65535, np.uint16)).save(path)
  leep_jax.load_dataset(f"folder:{tmp_path}")


@pytest.mark.parametrize("top", [15, 255, 1023, 4095, 65535])
def test_what_is_white_in_a_pgm_is_in_its_header(tmp_path, top):
  values = ramp(top, np.uint16 if top > 255 else np.uint8)
  content = values.astype(">u2" if top > 255 else "u1").tobytes()
  path = tmp_path / "a.pgm"
  path.write_bytes(b"P5\n# by hand\n60 48\n%d\n" % top + content)
  expected = np.repeat(values[..., None] * (255 / top), 3, axis=2)
  np.testing.assert_allclose(images_lib.read(path), expected, atol=1)


def test_masks_of_0_and_1(tmp_path):
  for name in ("a/1.png", "b/1.png"):
    (tmp_path / name).parent.mkdir()
    image = (ramp(1, float) > 0.5).astype(np.uint8)
    PIL.Image.fromarray(image).save(tmp_path / name)
  with pytest.warns(validation.InputNote, match="hold only 0 and 1 of 255"):
    leep_jax.load_dataset(f"folder:{tmp_path}")


def test_transparency_is_left_out(tmp_path, rng):
  values = rng.integers(0, 256, (8, 9, 4), dtype=np.uint8)
  for name in ("a/1.png", "b/1.png"):
    (tmp_path / name).parent.mkdir()
    PIL.Image.fromarray(values).save(tmp_path / name)
  with pytest.warns(
    validation.InputNote, match="2 of 2 .*transparency, which is"
  ):
    dataset = leep_jax.load_dataset(f"folder:{tmp_path}")
  np.testing.assert_array_equal(dataset.fetch([0])[0][0], values[..., :3])


@pytest.mark.parametrize(
  "name",
  [
    "two words", "-dash", "caf\xe9", "new\nline", "tab\t", b"\xff\xfe".decode(
      "utf-8", "surrogateescape"
    ), "x" * 200, "1.jpg", "a'b\"c", "%s{0}", "\u202eabc",
  ],
)  # fmt: skip
def test_names_of_all_kinds(tmp_path, name):
  make(tmp_path, name, f"{name}2")
  (tmp_path / name / f"{name}.png").write_bytes(b"")
  dataset = leep_jax.load_dataset(f"folder:{tmp_path}")
  assert dataset.class_names == (name, f"{name}2")
  with pytest.raises(validation.DataError, match="^1 of 5 ") as error:
    list(dataset.batches(3, fit=lambda image: image))
  text = str(error.value)
  assert text.isprintable()
  assert len(text) <= 600


@pytest.mark.parametrize(
  ("path", "message"),
  [
    ("", "folder: has no path"),
    ("/none", "no folder at /none"),
    ("x\0y", r"no folder at x\\x00y"),
    ("x" * 5000, "no folder at xxx"),
    (__file__, "is a file"),
  ],
)
def test_paths_that_are_no_folder(path, message):
  for load in (leep_jax.load_dataset, data.load_pair):
    with pytest.raises(leep_jax.InputError, match=message):
      load(f"folder:{path}")


def test_the_home_folder(tmp_path, monkeypatch):
  monkeypatch.setenv("HOME", str(tmp_path))
  make(tmp_path / "photos", "a", "b")
  assert classes("folder:~/photos") == ("a", "b")
  assert pathlib.Path("~/photos").expanduser() == tmp_path / "photos"


def test_a_class_that_is_left_without_images_is_told(tmp_path):
  for name in "ab":
    for i in range(3):
      picture(tmp_path / name / f"{i}.png", i)
  for file in (tmp_path / "a").iterdir():
    file.write_bytes(b"")
  with pytest.warns(validation.InputNote) as told:
    data.load_dataset(f"folder:{tmp_path}", skip_bad_images=True)
  assert "3 of 6 images" in str(told[0].message)
  assert "1 of 2 classes" in str(told[1].message)
