"""Data sources and data sets of Grain."""

import numpy as np
import pytest

import leep_jax
from leep_jax import data

grain = pytest.importorskip("grain.python")


class Photos(grain.RandomAccessDataSource):
  """Nine images of three classes, as a user's own source gives them."""

  def __len__(self):
    return 9

  def __getitem__(self, index):
    image = np.full((8, 8, 3), 20 * index, np.uint8)
    return {"image": image, "label": index % 3}


def test_a_data_source():
  dataset = data.from_examples(Photos())
  assert (len(dataset), dataset.num_classes) == (9, 3)
  assert dataset.labels().tolist() == [0, 1, 2] * 3
  images, _ = dataset.load()
  assert images[:, 0, 0, 0].tolist() == list(range(0, 180, 20))


def test_a_map_dataset_with_transformations():
  pipeline = (
    grain.MapDataset.source(Photos())
    .shuffle(seed=0)
    .map(lambda x: (255 - x["image"], "abc"[x["label"]]))
  )
  dataset = data.from_examples(pipeline)
  assert dataset.class_names == ("a", "b", "c")
  images, labels = dataset.load()
  # Each image has its own label, in the pipeline's order.
  assert ((255 - images[:, 0, 0, 0]) // 20 % 3).tolist() == labels.tolist()
  source = leep_jax.load_source("fashion_mnist_resnet8")
  outputs = leep_jax.compute_outputs(source, dataset)
  assert outputs.labels.tolist() == labels.tolist()


def test_an_iterable_data_loader():
  loader = grain.DataLoader(
    data_source=Photos(),
    sampler=grain.IndexSampler(
      9, shuffle=False, num_epochs=1, shard_options=grain.NoSharding()
    ),
    worker_count=0,
  )
  dataset = data.from_examples(loader)
  assert dataset.labels().tolist() == [0, 1, 2] * 3
