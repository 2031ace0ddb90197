"""Patches of images with masks, whose pixels say where they are."""

import numpy as np
import PIL.Image
import pytest

import leep_jax
from leep_jax import data, validation

SIZE = (80, 120)  # height, width: patches have 20 pixels


def picture(number, size=SIZE):
  """Row, column and a number of the image as its three channels."""
  rows, columns = np.indices(size)
  channels = [rows, columns, np.full(size, number)]
  return np.stack(channels, axis=2).astype(np.uint8)


def mask(*areas, background=0):
  """A mask of areas `(class, top, left, height, width)`."""
  found = np.full(SIZE, background, np.uint8)
  for label, top, left, height, width in areas:
    found[top : top + height, left : left + width] = label
  return found


def save(path, pixels, palette=False):
  path.parent.mkdir(parents=True, exist_ok=True)
  image = PIL.Image.fromarray(pixels)
  if palette:
    image.putpalette(
      np.random.default_rng(0).integers(0, 256, 768, np.uint8).tobytes()
    )
    assert image.mode == "P"
  image.save(path)


def write(folder, masks, *, images="images", labels="masks", **options):
  for i, one in enumerate(masks):
    save(folder / images / f"{i}.png", picture(i))
    save(folder / labels / f"{i}.png", one, **options)
  return f"masks:{folder}"


MASKS = [
  mask((1, 0, 0, 20, 20), (3, 60, 90, 20, 30), (255, 40, 40, 30, 30)),
  mask((2, 30, 30, 16, 16), background=3),
]


def check(dataset, masks):
  """Patches are inside, and their centres are of the class of their label."""
  patches, labels = dataset.fetch(dataset.indices)
  for patch, label in zip(patches, labels, strict=True):
    assert patch.shape == (20, 20, 3)
    top, left, number = patch[0, 0].tolist()
    np.testing.assert_array_equal(
      patch, picture(number)[top : top + 20, left : left + 20]
    )
    # At a border the centre is another: the class is somewhere in the patch.
    inside = masks[number][top : top + 20, left : left + 20]
    assert label in inside
    if 0 < top < 60 and 0 < left < 100:
      assert inside[10, 10] == label


@pytest.mark.parametrize("palette", [True, False])
def test_a_patch_for_each_class_of_an_image(tmp_path, palette):
  name = write(tmp_path, MASKS, palette=palette)
  dataset = leep_jax.load_dataset(name)
  assert dataset.files == [
    "0.png class 0", "0.png class 1", "0.png class 3",
    "1.png class 2", "1.png class 3",
  ]  # fmt: skip
  assert dataset.labels().tolist() == [0, 1, 3, 2, 3]
  assert (dataset.num_classes, dataset.class_names) == (4, None)
  assert (dataset.split, dataset.image_shape) == ("all", None)
  check(dataset, MASKS)


def test_pixels_are_drawn_over_the_whole_class(tmp_path):
  """The same always, whatever other images there are."""
  masks = [mask((1, 0, 60, 80, 60)) for _ in range(40)]
  name = write(tmp_path, masks)
  dataset = leep_jax.load_dataset(name)
  check(dataset, masks)
  patches, labels = dataset.fetch(dataset.indices)
  for label, first in ((0, 0), (1, 60)):
    left = [p[0, 0, 1] + 10 - first for p in np.stack(patches)[labels == label]]
    assert np.mean(left) == pytest.approx(30, abs=8)
    assert np.std(left) == pytest.approx(60 / 12**0.5, abs=5)
  write(tmp_path, [mask((1, 0, 0, 9, 9))])
  (tmp_path / "images/1.png").unlink()
  (tmp_path / "masks/1.png").unlink()
  with pytest.warns(validation.InputNote, match="1 of 78 classes of images"):
    fewer = leep_jax.load_dataset(name)
  after, _ = fewer.fetch(fewer.indices[1:])
  np.testing.assert_array_equal(np.stack(after), np.stack(patches[4:]))


def test_small_classes_are_left_out(tmp_path):
  masks = [mask((1, 5, 5, 15, 17), (2, 40, 40, 16, 16))]
  name = write(tmp_path, masks)
  with pytest.warns(
    validation.InputNote,
    match=r"^1 of 3 classes .* fewer than 256 pixels \(--min_box=16\)$",
  ):
    dataset = leep_jax.load_dataset(name)
  assert dataset.labels().tolist() == [0, 2]
  assert len(leep_jax.load_dataset(name, min_box=15)) == 3
  with pytest.raises(leep_jax.InputError, match="^3 of 3 classes .*=100"):
    leep_jax.load_dataset(name, min_box=100)
  with pytest.warns(validation.InputNote, match="left out"):
    dataset = leep_jax.load_dataset(name, min_box=60)
  assert dataset.fetch([0])[0][0].shape == (60, 60, 3)


def test_labels_to_ignore(tmp_path):
  name = write(tmp_path, MASKS)
  with pytest.warns(
    validation.InputNote, match="^3 of 5 examples .* whose label is 0, 3$"
  ):
    dataset = leep_jax.load_dataset(name, ignore_label=[0, 3])
  assert dataset.files == ["0.png class 1", "1.png class 2"]
  assert dataset.num_classes == 3


def test_masks_of_0_and_255(tmp_path):
  name = write(tmp_path, [mask((255, 0, 0, 40, 120))])
  with pytest.warns(validation.InputNote, match="255 is taken for class 1$"):
    dataset = leep_jax.load_dataset(name)
  assert dataset.labels().tolist() == [0, 1]
  name = write(tmp_path / "b", [np.full(SIZE, 255, np.uint8)])
  with pytest.raises(leep_jax.InputError, match="hold only 255, which is none"):
    leep_jax.load_dataset(name)


@pytest.mark.parametrize(
  ("images", "masks", "splits"),
  [
    ("{}/images", "{}/masks", ("train", "val")),
    ("images/{}", "annotations/{}", ("training", "validation")),
    ("Images/{}/a", "labels/{}/a", ("train", "test")),
  ],
)
def test_folders_of_splits(tmp_path, images, masks, splits):
  for split, ones in zip(splits, (MASKS, MASKS[1:]), strict=True):
    write(
      tmp_path, ones, images=images.format(split), labels=masks.format(split)
    )
  name = f"masks:{tmp_path}"
  dataset = leep_jax.load_dataset(name)
  assert (dataset.split, len(dataset)) == (splits[0], 5)
  train, test = data.load_pair(name)
  assert (train.split, test.split) == splits
  assert (len(train), len(test), test.num_classes) == (5, 2, 4)
  with pytest.raises(leep_jax.InputError, match="unknown split of .* 'x'"):
    leep_jax.load_dataset(name, split="x")


def test_pascal_voc(tmp_path):
  """Its splits are lists of names; most of its photos have no mask."""
  for i, one in enumerate(MASKS):
    save(tmp_path / f"JPEGImages/2007_{i}.jpg", picture(i))
    save(tmp_path / f"SegmentationClass/2007_{i}.png", one, palette=True)
  save(tmp_path / "JPEGImages/2008_0.jpg", picture(7))
  (tmp_path / "Annotations").mkdir()
  lists = tmp_path / "ImageSets/Segmentation"
  lists.mkdir(parents=True)
  (lists / "train.txt").write_text("2007_1\n")
  (lists / "val.txt").write_text("2007_0\n")
  name = f"masks:{tmp_path}"
  train, test = data.load_pair(name)
  assert train.files == ["2007_1.jpg class 2", "2007_1.jpg class 3"]
  assert (train.split, test.split, len(test)) == ("train", "val", 3)
  with pytest.warns(validation.InputNote, match="1 of 3 images .* no mask: 20"):
    assert len(leep_jax.load_dataset(name, split="all")) == 5


def test_masks_that_cannot_be_used(tmp_path):
  name = write(tmp_path, [*MASKS, *MASKS, *MASKS])
  for i in (1, 2, 4):
    save(tmp_path / f"masks/{i}.png", picture(0))
  (tmp_path / "masks/5.png").write_bytes(b"no image")
  with pytest.raises(leep_jax.InputError) as error:
    leep_jax.load_dataset(name)
  for text in (
    "4 of 6 masks of ",
    "masks/1.png has colours (RGB), not the number of a class",
    "masks/5.png: cannot identify",
    "--skip_bad_images",
  ):
    assert text in str(error.value)
  with pytest.warns(validation.InputNote, match="^4 of 6 masks .* left out"):
    dataset = leep_jax.load_dataset(name, skip_bad_images=True)
  assert [file[0] for file in dataset.files] == ["0"] * 3 + ["3"] * 2
  check(dataset, [*MASKS, *MASKS])


def test_masks_without_images(tmp_path):
  name = write(tmp_path, [MASKS[0]] * 3)
  for i in (1, 2):
    (tmp_path / f"images/{i}.png").unlink()
  with pytest.raises(
    leep_jax.InputError, match="^2 of 3 PNG masks .*: 1, 2; n"
  ):
    leep_jax.load_dataset(name)
  with pytest.warns(validation.InputNote, match="2 of 3 masks .* no image"):
    assert len(leep_jax.load_dataset(name, skip_bad_images=True)) == 3
  (tmp_path / "images/0.png").unlink()
  with pytest.raises(leep_jax.InputError, match="^3 of 3 PNG masks"):
    leep_jax.load_dataset(name, skip_bad_images=True)


@pytest.mark.filterwarnings("ignore:.*have no images left")
def test_images_of_another_size(tmp_path):
  name = write(tmp_path, MASKS)
  save(tmp_path / "images/1.png", picture(0, (40, 60)))
  dataset = leep_jax.load_dataset(name)
  fit = leep_jax.Preprocessing(image_size=16).fit
  with pytest.raises(
    leep_jax.InputError,
    match="^2 of 5 images .* cannot use 1.png class 2: the image has 60 x 40",
  ):
    list(dataset.batches(9, fit=fit))
  with pytest.warns(validation.InputNote, match="2 of 5 images .* left out"):
    kept = leep_jax.load_dataset(name, skip_bad_images=True)
  assert len(kept) == 3


def test_masks_of_16_bits(tmp_path):
  name = write(tmp_path, [np.full(SIZE, 300, np.uint16)])
  assert leep_jax.load_dataset(name).labels().tolist() == [300]


@pytest.mark.parametrize("name", ["masks:", "masks:{}", "masks:{}/none"])
def test_names_that_are_no_folder_of_masks(tmp_path, name):
  (tmp_path / "photos").mkdir()
  with pytest.raises(
    leep_jax.InputError, match="has no path|it has photos: write the|no folder"
  ):
    leep_jax.load_dataset(name.format(tmp_path))
