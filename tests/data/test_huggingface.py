"""Data sets that the library datasets saves and reads."""

import gc
import warnings

import numpy as np
import PIL.Image
import pytest
import soundfile

import leep_jax
from leep_jax import data

datasets = pytest.importorskip("datasets")

# The library leaves files open.
pytestmark = pytest.mark.filterwarnings(
  "ignore::pytest.PytestUnraisableExceptionWarning", "ignore::ResourceWarning"
)


@pytest.fixture(autouse=True)
def own_cache(tmp_path, monkeypatch):
  monkeypatch.setattr(
    datasets.config, "HF_DATASETS_CACHE", str(tmp_path / "cache")
  )
  yield
  with warnings.catch_warnings():
    # Close the files here, not within a test of another file.
    warnings.simplefilter("ignore", ResourceWarning)
    gc.collect()


def photo(value):
  return PIL.Image.fromarray(np.full((4, 6, 3), value, np.uint8))


def saved(folder, columns, *, features=None, test=0):
  """Saves a data set, the last `test` rows as its test split."""
  found = datasets.Dataset.from_dict(columns, features=features)
  if test:
    first = len(found) - test
    found = datasets.DatasetDict(
      {
        "train": found.select(range(first)),
        "validation": found.select(range(first, len(found))),
      }
    )
  found.save_to_disk(folder)
  return f"hf:{folder}"


IMAGES = datasets.Features(
  {"img": datasets.Image(), "label": datasets.ClassLabel(names=["cat", "dog"])}
)


def first_pixels(dataset):
  images, _ = dataset.fetch(dataset.indices)
  return [int(image[0, 0, 0]) for image in images]


def test_images(tmp_path):
  name = saved(
    tmp_path / "a",
    {"img": [photo(i) for i in range(6)], "label": [0, 1, 0, 1, 0, 1]},
    features=IMAGES,
    test=2,
  )
  dataset = leep_jax.load_dataset(name)
  assert (dataset.split, len(dataset)) == ("train", 4)
  assert (dataset.class_names, dataset.num_classes) == (("cat", "dog"), 2)
  assert first_pixels(dataset) == [0, 1, 2, 3]
  train, test = data.load_pair(name)
  assert (train.split, test.split) == ("train", "validation")
  assert first_pixels(test) == [4, 5]
  again = leep_jax.load_dataset(name)
  assert again.version == dataset.version != test.version
  with pytest.raises(
    leep_jax.InputError, match="unknown split of hf:.* 'test'"
  ):
    leep_jax.load_dataset(name, split="test")


def test_a_folder_with_metadata(tmp_path):
  for i in range(4):
    photo(i).save(tmp_path / f"{i}.png")
  rows = "".join(f"{i}.png,{'ab'[i % 2]}\n" for i in range(4))
  (tmp_path / "metadata.csv").write_text(f"file_name,species\n{rows}")
  dataset = leep_jax.load_dataset(f"hf:{tmp_path}")
  assert dataset.class_names == ("a", "b")
  assert first_pixels(dataset) == [0, 1, 2, 3]


def test_texts_and_other_columns(tmp_path):
  name = saved(
    tmp_path / "a",
    {"id": ["x", "y"], "review": ["good", "bad"], "stars": [5, 1],
     "y": ["p", "n"]},
  )  # fmt: skip
  dataset = leep_jax.load_dataset(name)
  assert dataset.load()[0].tolist() == ["good", "bad"]
  assert dataset.class_names == ("n", "p")
  assert leep_jax.load_dataset(name, input_column="id").load()[0][0] == "x"
  assert leep_jax.load_dataset(name, label_column="stars").num_classes == 6
  real = leep_jax.load_dataset(name, target="stars")
  assert real.labels().tolist() == [[5.0], [1.0]]


def test_sounds(tmp_path):
  paths = [str(tmp_path / f"{i}.wav") for i in range(3)]
  for i, path in enumerate(paths):
    soundfile.write(path, np.zeros(100 + i), 8000)
  files = [{"bytes": None, "path": path} for path in paths]
  found = datasets.Dataset.from_dict({"audio": files, "label": [0, 1, 0]})
  found = found.cast_column("audio", datasets.Audio(decode=False))
  found.save_to_disk(tmp_path / "a")
  dataset = leep_jax.load_dataset(f"hf:{tmp_path / 'a'}")
  assert dataset.inputs == "audio"
  assert dataset.seconds == pytest.approx(102 / 8000)


def test_a_name_of_the_hub(monkeypatch):
  found = datasets.Dataset.from_dict({"text": ["a", "b"], "label": [0, 1]})
  asked = []

  def load_dataset(path, config, *, split):
    asked.append((path, config, split))
    return found

  monkeypatch.setattr(datasets, "load_dataset", load_dataset)
  dataset = leep_jax.load_dataset("hf:owner/name:small", split="train[:50%]")
  assert asked == [("owner/name", "small", "train[:50%]")]
  assert (dataset.name, len(dataset)) == ("hf:owner/name:small", 2)


def test_scores(tmp_path):
  rng = np.random.default_rng(0)
  pixels = rng.integers(0, 256, (12, 8, 8, 3), dtype=np.uint8)
  name = saved(
    tmp_path / "a",
    {"img": list(map(PIL.Image.fromarray, pixels)), "label": [0, 1] * 6},
    features=IMAGES,
  )
  source = leep_jax.load_source("cifar10_resnet14")
  outputs = leep_jax.compute_outputs(source, leep_jax.load_dataset(name))
  assert outputs.probs.shape == (12, 10)


@pytest.mark.parametrize(
  ("columns", "options", "message"),
  [
    ({"text": ["a"], "label": [0]}, {"split": "test"}, "has no splits, but sp"),
    ({"a": [1], "label": [0]}, {}, "no column of images, sounds or texts with"),
    ({"text": ["a"], "b": [0]}, {}, "no column of labels with a usual name"),
    (
      {"text": ["a"], "label": [0]},
      {"input_column": "b"},
      "no column 'b' of i",
    ),
    (
      {"text": ["a"], "label": [0]},
      {"label_column": "b"},
      "no column 'b' of l",
    ),
    ({"text": ["a", "b"], "label": [0, None]}, {}, "1 of 2 rows .* no label: "),
  ],
)
def test_mistakes(tmp_path, columns, options, message):
  name = saved(tmp_path / "a", columns)
  with pytest.raises(leep_jax.InputError, match=message):
    leep_jax.load_dataset(name, **options)


def test_what_datasets_raises_is_one_line(monkeypatch):
  def load_dataset(*args, **kwargs):
    raise ConnectionError("Couldn't reach\nthe hub")

  monkeypatch.setattr(datasets, "load_dataset", load_dataset)
  with pytest.raises(leep_jax.InputError, match="is there no connection") as e:
    leep_jax.load_dataset("hf:owner/name")
  assert "\n" not in str(e.value)


def test_streaming(tmp_path):
  rows = "".join(f"text {i},{'ab'[i % 2]}\n" for i in range(50))
  (tmp_path / "data").mkdir()
  (tmp_path / "data" / "train.csv").write_text(f"text,label\n{rows}")
  name = f"hf:{tmp_path / 'data'}"
  dataset = leep_jax.load_dataset(name, limit=20, streaming=True)
  assert (len(dataset), dataset.class_names) == (20, ("a", "b"))
  texts, labels = dataset.fetch(dataset.indices)
  numbers = [int(text.split()[1]) for text in texts]
  assert [n % 2 for n in numbers] == labels.tolist()
  assert sorted(numbers) != list(range(20))  # shuffled in a buffer
  # The same examples each time, so that outputs are found in the cache.
  again = leep_jax.load_dataset(name, limit=20, streaming=True)
  assert again.version == dataset.version
  fewer = leep_jax.load_dataset(name, limit=10, streaming=True)
  assert fewer.version != dataset.version


def test_streaming_of_photos_keeps_files(tmp_path):
  folder = tmp_path / "photos" / "train"
  for i in range(6):
    (folder / "ab"[i % 2]).mkdir(parents=True, exist_ok=True)
    photo(20 * i).save(folder / "ab"[i % 2] / f"{i}.png")
  dataset = leep_jax.load_dataset(
    f"hf:{tmp_path / 'photos'}", limit=4, streaming=True
  )
  assert dataset.class_names == ("a", "b")
  pixels = first_pixels(dataset)
  labels = dataset.labels().tolist()
  assert [p // 20 % 2 for p in pixels] == labels


def test_what_cannot_be_streamed(tmp_path):
  with pytest.raises(leep_jax.InputError, match="needs a limit"):
    leep_jax.load_dataset(f"hf:{tmp_path}", streaming=True)
  with pytest.raises(
    leep_jax.InputError, match="streaming is for data sets of"
  ):
    leep_jax.load_dataset("digits", limit=5, streaming=True)
  name = saved(tmp_path / "a", {"text": ["a", "b"], "label": [0, 1]})
  with pytest.raises(leep_jax.InputError, match="nothing needs to be streamed"):
    leep_jax.load_dataset(name, limit=1, streaming=True)


def test_lists_of_classes_are_sets_of_labels(tmp_path):
  kinds = datasets.Sequence(datasets.ClassLabel(names=["cat", "dog", "cow"]))
  name = saved(
    tmp_path / "a",
    {"text": list("wxyz"), "labels": [[0, 2], [], [1], [2]]},
    features=datasets.Features(
      {"text": datasets.Value("string"), "labels": kinds}
    ),
  )
  with pytest.warns(leep_jax.validation.InputNote, match="multi-label"):
    dataset = leep_jax.load_dataset(name)
  assert (dataset.num_labels, dataset.num_classes) == (3, 0)
  assert dataset.class_names == ("cat", "dog", "cow")
  assert dataset.labels().astype(int).tolist() == [
    [1, 0, 1], [0, 0, 0], [0, 1, 0], [0, 0, 1],
  ]  # fmt: skip


def test_lists_of_texts_are_sets_of_labels(tmp_path):
  name = saved(
    tmp_path / "a",
    {"text": list("xyz"), "label": [["red", "big"], ["red"], ["small"]]},
  )
  with pytest.warns(leep_jax.validation.InputNote, match="multi-label"):
    dataset = leep_jax.load_dataset(name)
  assert dataset.class_names == ("big", "red", "small")
  _, labels = dataset.fetch(dataset.indices)
  assert labels.astype(int).tolist() == [[1, 1, 0], [0, 1, 0], [0, 0, 1]]
