"""Tables that name files, with splits, in the formats that pandas writes."""

import io

import numpy as np
import PIL.Image
import pytest
import soundfile

import leep_jax
from leep_jax import data, validation

pandas = pytest.importorskip("pandas")
FORMATS = ["csv", "tsv", "jsonl", "json", "parquet"]


def write(frame, path):
  kind = path.suffix[1:]
  if kind in ("jsonl", "json"):
    frame.to_json(path, orient="records", lines=kind == "jsonl")
  elif kind == "parquet":
    frame.to_parquet(path)
  else:
    frame.to_csv(path, index=False, sep="\t" if kind == "tsv" else ",")
  return f"csv:{path}"


def picture(value):
  image = PIL.Image.fromarray(np.full((4, 6, 3), value, np.uint8))
  stream = io.BytesIO()
  image.save(stream, "PNG")
  return stream.getvalue()


@pytest.fixture
def photos(tmp_path):
  """Six photos, whose pixels are their number, in a folder beside a table."""
  (tmp_path / "photos").mkdir()
  for i in range(6):
    (tmp_path / "photos" / f"{i}.png").write_bytes(picture(i))
  return pandas.DataFrame(
    {
      "file_name": [f"photos/{i}.png" for i in range(6)],
      "label": ["cat", "dog"] * 3,
      "split": ["train"] * 4 + ["test"] * 2,
    }
  )


def first_pixels(dataset):
  images, _ = dataset.fetch(dataset.indices)
  return [int(image[0, 0, 0]) for image in images]


@pytest.mark.parametrize("kind", FORMATS)
def test_images(photos, tmp_path, kind):
  name = write(photos, tmp_path / f"all.{kind}")
  dataset = leep_jax.load_dataset(name)
  assert (dataset.split, len(dataset)) == ("train", 4)
  assert (dataset.inputs, dataset.class_names) == ("image", ("cat", "dog"))
  assert first_pixels(dataset) == [0, 1, 2, 3]
  assert dataset.labels().tolist() == [0, 1, 0, 1]
  assert dataset.name_of(2) == "photos/2.png"
  assert len(leep_jax.load_dataset(name, split="all")) == 6
  train, test = data.load_pair(name)
  assert (train.split, test.split) == ("train", "test")
  assert first_pixels(test) == [4, 5]
  with pytest.raises(
    leep_jax.InputError, match="unknown split of .* 'tset'; d"
  ):
    leep_jax.load_dataset(name, split="tset")


def test_the_same_table_in_each_format_is_the_same_data(photos, tmp_path):
  photos["label"] = [3, 1, 0, 2, 1, 0]
  found = [
    leep_jax.load_dataset(write(photos, tmp_path / f"all.{kind}"))
    for kind in FORMATS
  ]
  assert len({dataset.version for dataset in found}) == 1
  assert found[0].num_classes == 4
  assert found[0].class_names is None


def test_columns_with_other_names(photos, tmp_path):
  photos.columns = ["where", "animal", "part"]
  name = write(photos, tmp_path / "all.csv")
  dataset = leep_jax.load_dataset(
    name, input_column="where", label_column="animal", split_column="part",
    split="test",
  )  # fmt: skip
  assert first_pixels(dataset) == [4, 5]


def test_ids_without_suffix_below_the_table(photos, tmp_path):
  photos = photos.drop(columns=["file_name", "split"])
  photos.insert(0, "image_id", [f"{i}" for i in range(6)])
  name = write(photos, tmp_path / "all.csv")
  with pytest.warns(validation.InputNote, match="found by their names, in fol"):
    dataset = leep_jax.load_dataset(name)
  assert first_pixels(dataset) == list(range(6))


def test_files_that_are_missing(photos, tmp_path):
  photos.loc[[1, 2, 4, 5], "file_name"] = ["a.png", "b.png", "c.png", "d.png"]
  name = write(photos, tmp_path / "all.csv")
  with pytest.raises(
    leep_jax.InputError,
    match=r"4 of 6 files .* a.png, b.png, c.png, d.png \(lines 3, 4, 6, 7\); a",
  ):
    leep_jax.load_dataset(name, split="all")
  with pytest.warns(validation.InputNote, match="4 of 6 images .* left out"):
    dataset = leep_jax.load_dataset(name, split="all", skip_bad_images=True)
  assert first_pixels(dataset) == [0, 3]
  # Nothing is found: the folder is wrong.
  photos["file_name"] = "x.png"
  name = write(photos, tmp_path / "all.csv")
  with pytest.raises(leep_jax.InputError, match="relative to that folder"):
    leep_jax.load_dataset(name, skip_bad_images=True)


@pytest.mark.parametrize("nested", [True, False])
def test_images_inside_parquet(tmp_path, nested):
  contents = [picture(i) for i in range(4)]
  frame = pandas.DataFrame(
    {
      "image": [{"bytes": c, "path": None} if nested else c for c in contents],
      "label": [0, 1, 0, 1],
    }
  )
  dataset = leep_jax.load_dataset(write(frame, tmp_path / "a.parquet"))
  assert first_pixels(dataset) == [0, 1, 2, 3]
  frame.loc[2, "image"] = None
  with pytest.raises(leep_jax.InputError, match="1 of 4 rows .* row 3"):
    leep_jax.load_dataset(write(frame, tmp_path / "a.parquet"))


def test_sounds(tmp_path):
  for i in range(3):
    soundfile.write(tmp_path / f"{i}.wav", np.full(100 + i, 0.5), 8000)
  frame = pandas.DataFrame(
    {"file": [f"{i}.wav" for i in range(3)], "class": ["a", "b", "a"]}
  )
  dataset = leep_jax.load_dataset(write(frame, tmp_path / "a.csv"))
  assert dataset.inputs == "audio"
  assert dataset.seconds == pytest.approx(102 / 8000)
  frame["audio"] = [
    {"bytes": (tmp_path / f"{i}.wav").read_bytes(), "path": f"{i}.wav"}
    for i in range(3)
  ]
  inside = leep_jax.load_dataset(
    write(frame.drop(columns="file"), tmp_path / "a.parquet")
  )
  assert inside.inputs == "audio"
  assert inside.seconds == dataset.seconds
  (one,), _ = inside.fetch(np.array([1]))
  assert len(one.samples) == 101


def test_texts_beside_files_are_texts_if_asked_for(photos, tmp_path):
  photos["caption"] = [f"photo {i}" for i in range(6)]
  name = write(photos, tmp_path / "all.csv")
  dataset = leep_jax.load_dataset(name, input_column="caption")
  assert dataset.inputs == "text"


@pytest.mark.parametrize(
  ("name", "content", "message"),
  [
    ("a.jsonl", '{"text": "a"}\n[1]\n{"text"\n', "2 of 3 lines .* line 2, 3"),
    ("a.json", "[{]", "cannot read .* as JSON"),
    ("a.json", "[1, {}]", "1 of 2 objects .* are no JSON object: object 1"),
    ("a.jsonl", "\n", "has no examples"),
    ("a.parquet", "text,label\n", "cannot read .* as Parquet"),
    ("a.csv", "text,label\na,x,y\nb\nc,x\n", "2 of 3 rows .* line 2 has 3, li"),
    ("a.csv", "text,stars\na,x\nb,1\nc,y\n", "2 of 3 targets .* 'x': lines 2,"),
  ],
)
def test_damaged_tables(tmp_path, name, content, message):
  path = tmp_path / name
  path.write_text(content)
  with pytest.raises(leep_jax.InputError, match=message):
    leep_jax.load_dataset(
      f"csv:{path}", target="stars" if "stars" in content else None
    )
