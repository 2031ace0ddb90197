"""Boxes of files in COCO's form, on images whose pixels say where they are."""

import json

import numpy as np
import PIL.Image
import pytest

import leep_jax
from leep_jax import data, validation
from leep_jax.data import images as images_lib

SIZE = (60, 100)  # height, width


def picture(number, size=SIZE):
  """Row, column and a number of the image as its three channels."""
  rows, columns = np.indices(size)
  channels = [rows, columns, np.full(size, number)]
  return np.stack(channels, axis=2).astype(np.uint8)


def write(folder, file, boxes, *, count=3, names=("cat", "dog"), images=None):
  """Writes images beside each other, and a file with boxes (image, class, box).

  Ids of images begin at 10, those of categories at 5 and descend.
  """
  (folder / file).parent.mkdir(parents=True, exist_ok=True)
  where = folder / (images or (folder / file).parent.relative_to(folder))
  where.mkdir(parents=True, exist_ok=True)
  for i in range(count):
    PIL.Image.fromarray(picture(i)).save(where / f"{i}.png")
  content = {
    "images": [
      {"id": 10 + i, "file_name": f"{i}.png", "width": 100, "height": 60}
      for i in range(count)
    ],
    "categories": [
      {"id": 5 + i, "name": name, "supercategory": "animal"}
      for i, name in reversed(list(enumerate(names)))
    ],
    "annotations": [
      {
        "id": 100 + i, "image_id": 10 + image, "category_id": 5 + label,
        "bbox": box, "iscrowd": 0, "area": box[2] * box[3], "segmentation": [],
      }
      for i, (image, label, box) in enumerate(boxes)
    ],
  }  # fmt: skip
  save(folder / file, content)
  return content


def save(path, content):
  path.write_text(json.dumps(content))


def places(dataset):
  """Left, top, width, height and number of the image, from the pixels."""
  found, _ = dataset.fetch(dataset.indices)
  return [
    (int(p[0, 0, 1]), int(p[0, 0, 0]), p.shape[1], p.shape[0], int(p[0, 0, 2]))
    for p in found
  ]


BOXES = [
  (2, 1, [10, 20, 30, 25]),
  (0, 0, [0.5, 1.2, 20, 20.5]),  # rounded outwards
  (2, 0, [80, 40, 40, 40]),  # clipped
  (0, 1, [50, 0, 16, 60]),
]


def test_boxes_are_cut_out(tmp_path):
  write(tmp_path, "boxes.json", BOXES)
  with pytest.warns(validation.InputNote, match="^1 of 3 images .* have no bo"):
    dataset = leep_jax.load_dataset(f"coco:{tmp_path}/boxes.json")
  assert places(dataset) == [
    (0, 1, 21, 21, 0),
    (50, 0, 16, 60, 0),
    (10, 20, 30, 25, 2),
    (80, 40, 20, 20, 2),
  ]
  assert dataset.labels().tolist() == [0, 1, 1, 0]
  assert (dataset.class_names, dataset.num_classes) == (("cat", "dog"), 2)
  assert dataset.files[2:] == ["2.png box 1", "2.png box 2"]
  assert (dataset.split, dataset.image_shape) == ("all", None)
  with pytest.raises(leep_jax.InputError, match="unknown split of .* 'train'"):
    leep_jax.load_dataset(f"coco:{tmp_path}/boxes.json", split="train")


def test_groups_and_small_boxes_are_left_out(tmp_path):
  boxes = [*BOXES, (1, 0, [5, 5, 15, 40]), (1, 1, [5, 5, 0, 9])]
  # Inside the image, only 10 pixels of it are left.
  boxes += [(1, 0, [90, 5, 30, 30]), (1, 1, [0, 0, 90, 50])]
  content = write(tmp_path, "boxes.json", boxes)
  content["annotations"][-1]["iscrowd"] = 1
  save(tmp_path / "boxes.json", content)
  name = f"coco:{tmp_path}/boxes.json"
  with pytest.warns(
    validation.InputNote,
    match=r"^4 of 8 boxes of .* left out: 1 around groups \(iscrowd\), 1 witho"
    r"ut area, 2 with a side below 16 pixels \(--min_box\)$",
  ):
    assert len(leep_jax.load_dataset(name)) == 4
  with pytest.warns(validation.InputNote, match="^2 of 8 boxes"):
    smaller = leep_jax.load_dataset(name, min_box=10)
  assert places(smaller)[2:4] == [(5, 5, 15, 40, 1), (90, 5, 10, 30, 1)]
  assert smaller.files[2:4] == ["1.png box 1", "1.png box 3"]
  with pytest.raises(leep_jax.InputError, match="^8 of 8 boxes .* left out"):
    leep_jax.load_dataset(name, min_box=61)
  with pytest.raises(leep_jax.InputError, match="min_box is 0"):
    leep_jax.load_dataset(name, min_box=0)
  with pytest.raises(
    leep_jax.InputError,
    match="^min_box is for COCO files and folders of masks, not for digits$",
  ):
    leep_jax.load_dataset("digits", min_box=9)


@pytest.mark.filterwarnings("ignore:.*have no box")
@pytest.mark.parametrize(
  ("file", "images", "split"),
  [
    ("{}/_annotations.coco.json", "{}", "train"),
    ("annotations/instances_{}2017.json", "{}2017", "train2017"),
    ("annotations/{}.json", "images/{}", "train"),
    ("annotations/{}.json", "{}/images", "train"),
    ("{}/labels.json", "{}/data", "train"),
    ("{}.json", "images/{}", "train"),
  ],
)
def test_folders_of_splits(tmp_path, file, images, split):
  tests = [(i, i % 2, [40 + i, 3, 20, 20]) for i in range(2)]
  for part, boxes, count in (("train", BOXES, 3), ("val", tests, 2)):
    write(
      tmp_path, file.format(part), boxes, count=count,
      images=images.format(part),
    )  # fmt: skip
  # COCO has files of captions beside those of boxes.
  if "instances" in file:
    save(tmp_path / "annotations/captions_train2017.json", {"images": []})
  name = f"coco:{tmp_path}"
  dataset = leep_jax.load_dataset(name)
  train, test = data.load_pair(name)
  assert dataset.split == split
  assert train.version == dataset.version != test.version
  assert places(test) == [(40, 3, 20, 20, 0), (41, 3, 20, 20, 1)]
  assert test.split == split.replace("train", "val")
  with pytest.raises(leep_jax.InputError, match="unknown split of .* 'b'"):
    leep_jax.load_dataset(name, split="b")


def test_which_file_is_not_clear(tmp_path):
  with pytest.raises(leep_jax.InputError, match="has no JSON file"):
    leep_jax.load_dataset(f"coco:{tmp_path}")
  for file in ("a.json", "b.json"):
    save(tmp_path / file, {})
  with pytest.raises(
    leep_jax.InputError, match="2 JSON files of 1 splits: a.j"
  ):
    leep_jax.load_dataset(f"coco:{tmp_path}")
  (tmp_path / "a.json").rename(tmp_path / "val.json")
  (tmp_path / "b.json").rename(tmp_path / "test.json")
  with pytest.raises(leep_jax.InputError, match="splits test, val: choose one"):
    leep_jax.load_dataset(f"coco:{tmp_path}")
  for name in ("coco:", f"coco:{tmp_path}/c.json"):
    with pytest.raises(leep_jax.InputError, match="has no path|no file at"):
      leep_jax.load_dataset(name)


@pytest.mark.filterwarnings("ignore:.*have no box")
def test_images_elsewhere_below(tmp_path):
  content = write(tmp_path, "a/boxes.json", BOXES, images="a/deep/down")
  content["images"][0]["file_name"] = "C:\\photos\\0.png"
  save(tmp_path / "a/boxes.json", content)
  with pytest.warns(validation.InputNote, match="found by their names"):
    dataset = leep_jax.load_dataset(f"coco:{tmp_path}/a/boxes.json")
  assert [place[-1] for place in places(dataset)] == [0, 0, 2, 2]


@pytest.mark.filterwarnings("ignore:.*have no box")
def test_missing_images(tmp_path):
  write(tmp_path, "boxes.json", BOXES)
  name = f"coco:{tmp_path}/boxes.json"
  (tmp_path / "0.png").unlink()
  with pytest.raises(leep_jax.InputError, match="^1 of 2 files .*: 0.png; add"):
    leep_jax.load_dataset(name)
  with pytest.warns(
    validation.InputNote, match=r"2 of 4 images .* 0.png box 1"
  ):
    dataset = leep_jax.load_dataset(name, skip_bad_images=True)
  assert [place[-1] for place in places(dataset)] == [2, 2]
  (tmp_path / "2.png").unlink()
  with pytest.raises(leep_jax.InputError, match="^2 of 2 files .* that folder"):
    leep_jax.load_dataset(name, skip_bad_images=True)


@pytest.mark.filterwarnings("ignore:.*have no box")
def test_faults_are_found_at_once(tmp_path):
  faults = [
    (0, 0, [100, 0, 20, 20]),
    (0, 0, [-30, 0, 20, 20]),
    (0, 0, [5, 5, -20, 20]),
    (9, 0, [0, 0, 20, 20]),
    (0, 7, [0, 0, 20, 20]),
    (0, 0, [0, 0, float("nan"), 20]),
  ]
  content = write(tmp_path, "boxes.json", [*BOXES, *faults])
  content["annotations"][0].pop("bbox")
  save(tmp_path / "boxes.json", content)
  name = f"coco:{tmp_path}/boxes.json"
  with pytest.raises(leep_jax.InputError) as error:
    leep_jax.load_dataset(name)
  for text in (
    "7 of 10 annotations of ",
    "2 have no bbox of four numbers (id 100, 109: [0, 0, nan, 20])",
    "2 lie outside their images (id 104: [100, 0, 20, 20] of 100 x 60, 105:",
    "1 have sides below 0 (id 106: [5, 5, -20, 20])",
    "1 are of unknown images (id 107: 19)",
    "1 are of unknown categories (id 108: 12)",
    "--skip_bad_images",
  ):
    assert text in str(error.value)
  with pytest.warns(validation.InputNote, match="^7 of 10 .* left out, which"):
    assert len(leep_jax.load_dataset(name, skip_bad_images=True)) == 3


@pytest.mark.parametrize(
  ("change", "message"),
  [
    (lambda c: c.pop("annotations"), "has no list annotations; it has images"),
    (lambda c: c.clear(), "no list images and no list anno.* has nothing"),
    (
      lambda c: c["images"][1].update(width=None),
      "1 of 3 images of .* have no width and height: 1.png; write",
    ),
    (lambda c: c["images"][1].pop("file_name"), "1 of 3 images .* numbers 2$"),
    (lambda c: c["images"][1].update(id=10), "images of .* share ids: 10"),
    (lambda c: c["categories"][1].pop("name"), "1 of 2 categories .* no id or"),
    (lambda c: c["categories"][1].update(id="a"), "are no integers: a"),
    (lambda c: c["categories"].clear(), "0 of 0 categories"),
    (lambda c: c["annotations"].clear(), "3 of 3 images .* have no box"),
  ],
)
def test_files_of_another_form(tmp_path, change, message):
  content = write(tmp_path, "boxes.json", BOXES)
  change(content)
  save(tmp_path / "boxes.json", content)
  with pytest.raises(leep_jax.InputError, match=message):
    leep_jax.load_dataset(f"coco:{tmp_path}/boxes.json")


@pytest.mark.parametrize("text", ["{", "[]", "\xff"])
def test_files_that_are_not_json_of_this_form(tmp_path, text):
  (tmp_path / "a.json").write_bytes(text.encode("latin-1"))
  with pytest.raises(leep_jax.InputError, match="as JSON|is it of detections"):
    leep_jax.load_dataset(f"coco:{tmp_path}/a.json")


@pytest.mark.filterwarnings("ignore:.*have no box")
def test_categories_without_boxes_are_classes(tmp_path):
  write(tmp_path, "a.json", BOXES, names=("cat", "dog", "fox"))
  with pytest.warns(validation.InputNote, match="1 of 3 categories .* fox$"):
    dataset = leep_jax.load_dataset(f"coco:{tmp_path}/a.json")
  assert dataset.num_classes == 3


@pytest.mark.parametrize("orientation", [1, 3, 6, 8])
@pytest.mark.parametrize("stored", [True, False])
def test_photos_that_exif_turns(tmp_path, orientation, stored):
  """Width and height of the file say which of both the boxes are of."""
  write(tmp_path, "a.json", [(0, 0, [60, 10, 30, 20])], count=1, names=["a"])
  exif = PIL.Image.Exif()
  exif[274] = orientation
  image = picture(9)
  if not stored:
    # Stored so that it is the picture once it is turned.
    turns = {1: 0, 3: 2, 6: 1, 8: 3}[orientation]
    image = np.rot90(image, turns)
  PIL.Image.fromarray(image).save(tmp_path / "0.png", exif=exif)
  dataset = leep_jax.load_dataset(f"coco:{tmp_path}/a.json")
  ((found,), _) = dataset.fetch(dataset.indices)
  if stored and orientation == 3:  # both have this size: it is turned
    expected = picture(9)[::-1, ::-1][10:30, 60:90]
  else:
    expected = picture(9)[10:30, 60:90]
  np.testing.assert_array_equal(found, expected)


def test_images_of_another_size(tmp_path):
  write(tmp_path, "a.json", [(0, i, [5, 5, 20, 20]) for i in range(2)], count=1)
  PIL.Image.fromarray(picture(0, (60, 90))).save(tmp_path / "0.png")
  dataset = leep_jax.load_dataset(f"coco:{tmp_path}/a.json")
  fit = leep_jax.Preprocessing(image_size=16).fit
  with pytest.raises(
    leep_jax.InputError,
    match="^2 of 2 images .* cannot use 0.png box 1: the image has 90 x 60 pi.*"
    "of 100 x 60; repair",
  ):
    list(dataset.batches(4, fit=fit))


@pytest.mark.filterwarnings("ignore:.*have no box")
def test_an_image_is_decoded_once_a_batch(tmp_path, monkeypatch):
  boxes = [(i % 3, i % 2, [3 * i, i, 20, 20]) for i in range(24)]
  write(tmp_path, "a.json", boxes)
  dataset = leep_jax.load_dataset(f"coco:{tmp_path}/a.json")
  fit = leep_jax.Preprocessing(image_size=20).fit
  one_by_one = [dataset.fetch(np.asarray([i]))[0][0] for i in range(24)]
  read, seen = images_lib.read, []
  monkeypatch.setattr(
    images_lib, "read", lambda path, **o: seen.append(path) or read(path, **o)
  )
  batches, labels = dataset.load(fit=fit)
  assert sorted(map(str, seen)) == [f"{tmp_path}/{i}.png" for i in range(3)]
  np.testing.assert_array_equal(batches, np.stack(one_by_one))
  assert labels.tolist() == dataset.labels().tolist()
  # Batches of ten: an image may be in two of them.
  seen.clear()
  assert len(list(dataset.batches(10, fit=fit))) == 3
  assert len(seen) == 5


def test_images_are_held_out_whole(tmp_path):
  boxes = [(i // 3, (i // 3) % 2, [i, i, 20, 20]) for i in range(30)]
  write(tmp_path, "a.json", boxes, count=10)
  train, test = data.load_pair(f"coco:{tmp_path}/a.json")
  groups = [set(part.part_of[part.indices]) for part in (train, test)]
  assert not groups[0] & groups[1]
  assert (len(train), len(test)) == (24, 6)
  assert set(test.labels()) == {0, 1}


def test_the_version_is_of_the_boxes_and_the_files(tmp_path):
  boxes = [(0, i, [5, 5, 20, 20]) for i in range(2)]
  content = write(tmp_path, "a.json", boxes, count=1)
  name = f"coco:{tmp_path}/a.json"
  first = leep_jax.load_dataset(name).version
  assert leep_jax.load_dataset(name).version == first
  content["annotations"][0]["bbox"][0] -= 1
  content["annotations"][1]["bbox"][0] += 1
  save(tmp_path / "a.json", content)
  second = leep_jax.load_dataset(name).version
  PIL.Image.fromarray(picture(200)).save(tmp_path / "0.png")
  assert len({first, second, leep_jax.load_dataset(name).version}) == 3


def test_boxes_as_parts_of_images(tmp_path):
  content = write(tmp_path, "boxes.json", BOXES)
  for one in content["annotations"]:
    one["bbox"] = [0.1, 0.2, 0.5, 0.5]
  save(tmp_path / "boxes.json", content)
  with pytest.raises(leep_jax.InputError, match="at most 1, as parts"):
    leep_jax.load_dataset(f"coco:{tmp_path}/boxes.json")
