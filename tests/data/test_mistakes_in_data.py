"""What people get wrong in data: told in one line, and never silently used."""

import gzip
import math
import tarfile
import warnings

import numpy as np
import pandas as pd
import PIL.Image
import pytest

import leep_jax
from leep_jax import data
from leep_jax.data import inspection, shards

datasets = pytest.importorskip("datasets")

pytestmark = pytest.mark.filterwarnings(
  "ignore::pytest.PytestUnraisableExceptionWarning", "ignore::ResourceWarning"
)


def photo(path, value):
  path.parent.mkdir(parents=True, exist_ok=True)
  PIL.Image.fromarray(np.full((8, 8, 3), value, np.uint8)).save(path)


def table(path, rows, columns=("file", "label")):
  pd.DataFrame(rows, columns=columns).to_csv(path, index=False)
  return str(path)


def test_files_of_another_folder_are_not_taken(tmp_path):
  photo(tmp_path / "photos" / "glass" / "1.png", 10)
  photo(tmp_path / "photos" / "paper" / "1.png", 20)
  photo(tmp_path / "photos" / "paper" / "2.png", 30)
  path = table(
    tmp_path / "t.csv",
    [("glass/1.png", "glass"), ("glass/2.png", "glass"), ("paper/1.png", "p")],
  )
  # glass/1.png is below; paper/2.png is no glass/2.png.
  with pytest.raises(leep_jax.InputError, match="1 of 3 files .* glass/2.png"):
    leep_jax.load_dataset(path)
  path = table(
    tmp_path / "t.csv", [("glass/1.png", "glass"), ("paper/1.png", "paper")]
  )
  with pytest.warns(validation_note(), match="found by their names"):
    dataset = leep_jax.load_dataset(path)
  images, _ = dataset.fetch(dataset.indices)
  assert [int(image[0, 0, 0]) for image in images] == [10, 20]


def validation_note():
  return leep_jax.validation.InputNote


def test_paths_of_another_computer(tmp_path):
  photo(tmp_path / "deep" / "1.png", 10)
  photo(tmp_path / "deep" / "2.png", 20)
  path = table(
    tmp_path / "t.csv", [("/home/me/x/1.png", "a"), ("/home/me/y/2.png", "b")]
  )
  with pytest.warns(validation_note(), match="found by their names"):
    assert len(leep_jax.load_dataset(path)) == 2
  # With one name twice, nothing says which file is which.
  path = table(
    tmp_path / "t.csv", [("/home/me/x/1.png", "a"), ("/home/me/y/1.png", "b")]
  )
  with pytest.raises(leep_jax.InputError, match="2 of 2 files"):
    leep_jax.load_dataset(path)
  path = table(tmp_path / "t.csv", [("https://a.b/1.png", "a")])
  with pytest.raises(leep_jax.InputError, match="addresses: download"):
    leep_jax.load_dataset(path)


def test_paths_of_windows(tmp_path):
  photo(tmp_path / "img" / "1.png", 10)
  path = table(tmp_path / "t.csv", [("img\\1.png", "a")])
  assert len(leep_jax.load_dataset(path)) == 1


def test_missing_labels_and_groups_are_no_class(tmp_path):
  frame = pd.DataFrame(
    {"text": ["a", "b"], "label": [1.0, math.nan], "who": [math.nan, 2.0]}
  )
  frame.to_parquet(tmp_path / "t.parquet")
  path = str(tmp_path / "t.parquet")
  with pytest.raises(leep_jax.InputError, match="1 of 2 rows .* no label"):
    leep_jax.load_dataset(path)
  frame["label"] = [1, 0]
  frame.to_parquet(path)
  with pytest.raises(leep_jax.InputError, match="1 of 2 examples .* no who"):
    leep_jax.load_dataset(path, group_column="who")
  for missing in (None, math.nan, ""):
    with pytest.raises(
      leep_jax.InputError, match="1 of 2 examples .* no label"
    ):
      data.from_examples([("a", "x"), ("b", missing)])


def test_lists_of_python_objects_are_sets():
  for labels in (
    [[0, 1, 1], [0, 0, 1]],
    [np.array([0, 1, 1]), np.array([0, 0, 1])],
  ):
    with pytest.warns(validation_note(), match="multi-label"):
      dataset = data.from_examples(list(zip("ab", labels, strict=True)))
    assert (dataset.num_labels, dataset.num_classes) == (3, 0)
    assert dataset.labels().tolist() == [
      [False, True, True], [False, False, True],
    ]  # fmt: skip
  with pytest.warns(validation_note(), match="multi-label"):
    dataset = data.from_examples([("a", ["x", "y"]), ("b", []), ("c", ["y"])])
  assert dataset.class_names == ("x", "y")
  _, labels = dataset.fetch(np.arange(3))
  assert labels.tolist() == [[True, True], [False, False], [False, True]]


def test_lists_are_no_classes(tmp_path):
  one_hot = [("a", np.array([0, 1, 0])), ("b", np.array([1, 0, 0]))]
  with pytest.raises(leep_jax.InputError, match="has one of 3 labels: pass"):
    data.from_examples(one_hot)
  with pytest.raises(leep_jax.InputError, match="that of example 1 is 'y'"):
    data.from_examples([("a", ["x", "y"]), ("b", "y")])
  with tarfile.open(tmp_path / "0.tar", "w") as tar:
    for name, text in (
      ("a.txt", "good"), ("a.json", '{"tags": ["x", "y"]}'),
      ("b.txt", "bad"), ("b.json", '{"tags": ["x"]}'),
    ):  # fmt: skip
      (tmp_path / name).write_text(text)
      tar.add(tmp_path / name, name)
  with pytest.raises(leep_jax.InputError, match="are lists, such as"):
    leep_jax.load_dataset(f"wds:{tmp_path}/0.tar", label_column="tags")


@pytest.mark.parametrize(
  "cells", [["['x', 'y']", "['y']", "[]"], ["[1, 1]", "[0, 1]", "[0, 0]"]]
)
def test_lists_that_pandas_wrote(tmp_path, cells):
  frame = pd.DataFrame({"text": ["a", "b", "c"], "label": cells})
  frame.to_csv(tmp_path / "t.csv", index=False)
  with warnings.catch_warnings():
    warnings.simplefilter("ignore")
    dataset = leep_jax.load_dataset(str(tmp_path / "t.csv"))
  assert dataset.num_labels == 2
  assert dataset.labels().tolist() == [
    [True, True], [False, True], [False, False],
  ]  # fmt: skip


def test_images_of_pillow_with_16_bits():
  image = PIL.Image.fromarray(np.full((8, 8), 0x7F00, np.uint16))
  dataset = data.from_examples([(image, "a"), (image, "b")])
  images, _ = dataset.load()
  assert images.shape == (2, 8, 8, 3)
  assert (images == 0x7F).all()


@pytest.mark.parametrize(
  ("labels", "message"),
  [
    (["Glass", "glass", "paper", "paper"], "only in case or spaces"),
    ([f"{0.37 * i:.3f}" for i in range(1, 20)], "real-valued targets"),
    ([f"id{i}" for i in range(20)], "occurs once"),
  ],
)
def test_labels_that_may_be_none(tmp_path, labels, message):
  path = table(
    tmp_path / "t.csv",
    [(f"text {i}", label) for i, label in enumerate(labels)],
    ("text", "label"),
  )
  with pytest.warns(validation_note(), match=message):
    leep_jax.load_dataset(path)


@pytest.mark.parametrize(
  ("columns", "message", "count"),
  [
    ({"label": "xyxy", "class": "pqpq"}, "those of column 'label'", 4),
    ({"label": "xyxy", "split": ["val", "val", "test", "test"]}, "all rows", 4),
    ({"label": "xyxy", "split": ["train", "TRAIN", "test", "test"]}, "case", 2),
  ],
)
def test_columns_that_may_be_others(tmp_path, columns, message, count):
  columns = {name: list(values) for name, values in columns.items()}
  frame = pd.DataFrame({"text": list("abcd"), **columns})
  frame.to_csv(tmp_path / "t.csv", index=False)
  with pytest.warns(validation_note(), match=message):
    dataset = leep_jax.load_dataset(str(tmp_path / "t.csv"))
  assert len(dataset) == count
  assert dataset.class_names == ("x", "y")


def test_files_that_datasets_names_in_parquet(tmp_path):
  for i in range(4):
    photo(tmp_path / f"{i}.png", 30 * i)
  found = datasets.Dataset.from_dict(
    {
      "image": [str(tmp_path / f"{i}.png") for i in range(4)],
      "label": [0, 1] * 2,
    }
  ).cast_column("image", datasets.Image())
  # Its own writer embeds contents; others keep the paths.
  paths = [{"bytes": None, "path": row["path"]}
           for row in found.cast_column("image", datasets.Image(decode=False))
           ["image"]]  # fmt: skip
  frame = pd.DataFrame({"image": paths, "label": [0, 1] * 2})
  frame.to_parquet(tmp_path / "t.parquet")
  dataset = leep_jax.load_dataset(str(tmp_path / "t.parquet"))
  images, _ = dataset.fetch(dataset.indices)
  assert [int(image[0, 0, 0]) for image in images] == [0, 30, 60, 90]


def test_formats_of_tables(tmp_path):
  (tmp_path / "pipe.csv").write_text("text|label\na|x\nb|y\n")
  assert len(leep_jax.load_dataset(str(tmp_path / "pipe.csv"))) == 2
  (tmp_path / "z.csv").write_bytes(gzip.compress(b"text,label\na,b\n"))
  with pytest.raises(leep_jax.InputError, match="packed by gzip"):
    leep_jax.load_dataset(str(tmp_path / "z.csv"))
  frame = pd.DataFrame({"text": ["a", "b"], "label": [0, 1]})
  frame.to_json(tmp_path / "t.json")
  with pytest.raises(leep_jax.InputError, match='orient="records"'):
    leep_jax.load_dataset(str(tmp_path / "t.json"))
  (tmp_path / "c.json").write_text('{"images": [], "annotations": []}')
  with pytest.raises(leep_jax.InputError, match="write coco:"):
    leep_jax.load_dataset(str(tmp_path / "c.json"))


def test_names_of_other_kinds(tmp_path):
  found = datasets.Dataset.from_dict({"text": ["a"], "label": [0]})
  found.save_to_disk(tmp_path / "saved")
  with pytest.raises(leep_jax.InputError, match="write hf:"):
    leep_jax.load_dataset(str(tmp_path / "saved"))
  with pytest.raises(leep_jax.InputError, match="choose classes or real"):
    leep_jax.load_dataset(
      f"hf:{tmp_path / 'saved'}", label_column="label", target="label"
    )
  (tmp_path / "w").mkdir()
  (tmp_path / "w" / "b.tar").touch()
  (tmp_path / "w" / "a.tar").touch()
  assert shards.expand(str(tmp_path / "w")) == [
    str(tmp_path / "w" / "a.tar"), str(tmp_path / "w" / "b.tar"),
  ]  # fmt: skip
  with pytest.raises(leep_jax.InputError, match="write wds:"):
    leep_jax.load_dataset(str(tmp_path / "w" / "a.tar"))


def test_frames_of_a_video_are_one_group(rng):
  base = rng.integers(0, 256, (9, 8, 3))
  frames = [
    np.kron(base + rng.integers(-2, 3, base.shape), np.ones((4, 4, 1)))
    .clip(0, 255)
    .astype(np.uint8)
    for _ in range(300)
  ]  # fmt: skip
  found = inspection.inspect(data.from_examples([(f, "a") for f in frames]))
  assert len(found.near) == 1
  assert len(found.near[0]) >= 290
