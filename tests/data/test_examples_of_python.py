"""Data sets of Python objects."""

import numpy as np
import PIL.Image
import pytest

import leep_jax
from leep_jax import data

RNG = np.random.default_rng(0)
IMAGES = RNG.integers(0, 256, (6, 8, 8, 3), dtype=np.uint8)
NAMES = ["cat", "dog"] * 3


class Source:
  """As a data source of Grain, or a data set of PyTorch."""

  def __init__(self, items):
    self.items, self.read = items, 0

  def __len__(self):
    return len(self.items)

  def __getitem__(self, index):
    self.read += 1
    return self.items[index]


@pytest.mark.parametrize("form", ["list", "iterable", "source", "mappings"])
def test_images(form):
  items = list(zip(IMAGES, NAMES, strict=True))
  if form == "mappings":
    items = [{"image": x, "label": y} for x, y in items]
  examples = {"iterable": iter(items), "source": Source(items)}
  dataset = data.from_examples(examples.get(form, items))
  assert dataset.class_names == ("cat", "dog")
  assert dataset.image_shape == (8, 8, 3)
  images, labels = dataset.load()
  np.testing.assert_array_equal(images, IMAGES)
  assert labels.tolist() == [0, 1] * 3


def test_pillow_and_sizes_that_differ():
  items = [(PIL.Image.new("L", (4 + i, 5)), i % 2) for i in range(4)]
  dataset = data.from_examples(items)
  assert dataset.image_shape is None
  (image,), _ = dataset.fetch(np.array([3]))
  assert image.shape == (5, 7, 3)


def test_known_classes_need_no_pass():
  source = Source([(x, i % 2) for i, x in enumerate(IMAGES)] * 100)
  dataset = data.from_examples(source, class_names=["a", "b"])
  assert source.read < 30
  assert dataset.num_classes == 2
  assert dataset.labels().tolist() == [0, 1] * 300


def test_texts_and_sounds():
  texts = data.from_examples(zip(["a", "b"], [1, 0], strict=True))
  assert (texts.inputs, texts.load()[0].tolist()) == ("text", ["a", "b"])
  sounds = data.from_examples(
    [((np.zeros(80), 8000), 0), ((np.ones(40), 8000), 1)]
  )
  assert (sounds.inputs, sounds.seconds) == ("audio", 0.01)


def test_scores():
  items = list(zip(IMAGES, NAMES, strict=True))
  source = leep_jax.load_source("cifar10_resnet14")
  scores = leep_jax.compute_scores(
    leep_jax.compute_outputs(source, data.from_examples(iter(items))),
    names=["leep"],
  )
  assert np.isfinite(scores["leep"])


@pytest.mark.parametrize(
  ("examples", "options", "message"),
  [
    ([], {}, "mine has no examples"),
    ([1], {}, "is a int, not .input, label. or a mapping"),
    ([(object(), 1)], {}, "is a object, no image, text or sound"),
    ([{"a": "x", "b": 1}], {}, "keys a, b: which is the input"),
    ([("x", 2)], {"class_names": ["a", "b"]}, "label"),
  ],
)
def test_mistakes(examples, options, message):
  with pytest.raises(leep_jax.InputError, match=message):
    data.from_examples(iter(examples), name="mine", **options)
