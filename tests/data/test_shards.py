"""WebDataset shards, as its own writer makes them."""

import gzip
import io
import pathlib
import warnings

import numpy as np
import pytest
import soundfile

import leep_jax
from leep_jax import validation
from leep_jax.data import shards

webdataset = pytest.importorskip("webdataset")


def write(folder, examples, *, each=3):
  """Writes shards of `each` examples; returns their pattern."""
  pattern = str(folder / "data-%04d.tar")
  with warnings.catch_warnings():
    warnings.simplefilter("ignore")
    with webdataset.ShardWriter(pattern, maxcount=each, verbose=0) as writer:
      for i, example in enumerate(examples):
        writer.write({"__key__": f"{i:05}", **example})
  count = -(-len(examples) // each)
  return f"wds:{folder}/data-{{0000..{count - 1:04}}}.tar"


def photo(value):
  return np.full((4, 6, 3), value, np.uint8)


def first_pixels(dataset):
  images, _ = dataset.fetch(dataset.indices)
  return [int(image[0, 0, 0]) for image in images]


@pytest.mark.parametrize("form", ["braces", "star", "choice"])
def test_images_with_classes(tmp_path, form):
  name = write(tmp_path, [{"png": photo(i), "cls": i % 3} for i in range(7)])
  if form == "star":
    name = f"wds:{tmp_path}/data-*.tar"
  if form == "choice":
    name = f"wds:{tmp_path}/data-{{0000,0001,0002}}.tar"
  dataset = leep_jax.load_dataset(name)
  assert (len(dataset), dataset.num_classes) == (7, 3)
  assert dataset.labels().tolist() == [i % 3 for i in range(7)]
  assert first_pixels(dataset) == list(range(7))
  assert first_pixels(dataset.take(2))[0] in range(7)


@pytest.mark.parametrize("key", ["label", "species"])
def test_labels_in_json(tmp_path, key):
  name = write(
    tmp_path,
    [{"png": photo(i), "json": {key: "ab"[i % 2], "x": 1}} for i in range(4)],
  )
  options = {} if key == "label" else {"label_column": key}
  dataset = leep_jax.load_dataset(name, **options)
  assert dataset.class_names == ("a", "b")
  assert dataset.labels().tolist() == [0, 1, 0, 1]


def test_texts(tmp_path):
  name = write(tmp_path, [{"txt": f"text {i}", "cls": i % 2} for i in range(4)])
  dataset = leep_jax.load_dataset(name)
  assert dataset.inputs == "text"
  assert dataset.load()[0].tolist() == [f"text {i}" for i in range(4)]


def test_images_go_before_texts(tmp_path):
  name = write(
    tmp_path,
    [{"png": photo(i), "txt": f"a {i}", "cls": i % 2} for i in range(4)],
  )
  assert leep_jax.load_dataset(name).inputs == "image"
  assert leep_jax.load_dataset(name, input_column="txt").inputs == "text"


def test_sounds(tmp_path):
  examples = []
  for i in range(3):
    stream = io.BytesIO()
    soundfile.write(stream, np.zeros(100 + i), 8000, format="FLAC")
    examples.append({"flac": stream.getvalue(), "cls": i % 2})
  dataset = leep_jax.load_dataset(write(tmp_path, examples))
  assert dataset.inputs == "audio"
  assert dataset.seconds == pytest.approx(102 / 8000)


def test_scores(tmp_path):
  rng = np.random.default_rng(0)
  images = rng.integers(0, 256, (12, 8, 8, 3), dtype=np.uint8)
  name = write(
    tmp_path, [{"png": x, "cls": i % 2} for i, x in enumerate(images)]
  )
  source = leep_jax.load_source("cifar10_resnet14")
  outputs = leep_jax.compute_outputs(source, leep_jax.load_dataset(name))
  assert outputs.probs.shape == (12, 10)
  assert outputs.labels.tolist() == [0, 1] * 6


def test_a_label_can_be_ignored(tmp_path):
  name = write(tmp_path, [{"png": photo(i), "cls": i - 1} for i in range(4)])
  with pytest.warns(validation.InputNote, match="1 of 4 .* whose label is -1"):
    dataset = leep_jax.load_dataset(name, ignore_label=-1)
  assert first_pixels(dataset) == [1, 2, 3]


def test_mistakes(tmp_path):
  with pytest.raises(leep_jax.InputError, match="2 of 2 shards are not there"):
    leep_jax.load_dataset(f"wds:{tmp_path}/x-{{0..1}}.tar")
  with pytest.raises(leep_jax.InputError, match="1 of 1 shards are not there"):
    leep_jax.load_dataset(f"wds:{tmp_path}/*.tar")
  with pytest.raises(leep_jax.InputError, match="no path: write wds:FILE.tar"):
    leep_jax.load_dataset("wds:")
  name = write(tmp_path, [{"png": photo(0), "cls": 0}, {"png": photo(1)}])
  with pytest.raises(leep_jax.InputError, match="1 of 2 .* no label .*: 00001"):
    leep_jax.load_dataset(name)
  with pytest.raises(
    leep_jax.InputError, match="with the extension jpg: its m"
  ):
    leep_jax.load_dataset(name, input_column="jpg")
  with pytest.raises(
    leep_jax.InputError, match="a pattern of the shards of th"
  ):
    leep_jax.load_dataset(name, split="train")
  (path,) = shards.expand(name.removeprefix("wds:"))
  zipped = tmp_path / "a.tar"
  zipped.write_bytes(gzip.compress(pathlib.Path(path).read_bytes()))
  with pytest.raises(leep_jax.InputError, match="is compressed, so .*: gunzip"):
    leep_jax.load_dataset(f"wds:{zipped}")
  zipped.write_bytes(b"no tar" * 1000)
  with pytest.raises(leep_jax.InputError, match="cannot read .* as a tar file"):
    leep_jax.load_dataset(f"wds:{zipped}")
