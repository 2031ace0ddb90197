"""Equal images: found whatever their files, and left out by their labels."""

import warnings

import numpy as np
import PIL.Image
import pytest

import leep_jax
from leep_jax import validation
from leep_jax.data import duplicates


def in_memory(images, labels, **changes):
  images, labels = np.asarray(images), np.asarray(labels)
  options = {
    "name": "mine", "split": "all", "num_classes": 3,
    "indices": np.arange(len(images)), "image_shape": images.shape[1:],
    "fetch": lambda i: (images[i], labels[i]), "all_labels": labels,
    **changes,
  }  # fmt: skip
  return leep_jax.Dataset(**options)


def pixels(*values):
  """One 2x2 image for each value."""
  return np.array(values, np.uint8).reshape(-1, 1, 1, 1) * np.ones(
    (2, 2, 1), np.uint8
  )


def lists(groups):
  return [group.tolist() for group in groups]


def caught(call, *args):
  with warnings.catch_warnings(record=True) as found:
    warnings.simplefilter("always")
    result = call(*args)
  return result, [str(w.message) for w in found]


def test_groups_are_positions_in_order():
  images = pixels(4, 1, 2, 1, 4, 3, 1)
  found = duplicates.find(in_memory(images, np.zeros(7, int)))
  assert lists(found) == [[0, 4], [1, 3, 6]]
  # Positions, not indices: the examples in use are others.
  some = in_memory(images, np.zeros(7, int), indices=np.array([6, 5, 3, 2]))
  assert lists(duplicates.find(some)) == [[0, 2]]


def test_no_image_occurs_twice():
  dataset = in_memory(pixels(1, 2, 3), [0, 1, 2])
  assert duplicates.find(dataset) == []
  dropped, notes = caught(duplicates.drop, dataset, [])
  assert (dropped.dataset, dropped.kept.tolist()) == (dataset, [0, 1, 2])
  assert not notes


def test_groups_cross_batches(monkeypatch):
  monkeypatch.setattr(duplicates, "_BATCH", 2)
  done = []
  dataset = in_memory(pixels(1, 2, 3, 4, 1), np.zeros(5, int))
  found = duplicates.find(dataset, progress=done.append)
  assert lists(found) == [[0, 4]]
  assert done == [2, 4, 5]


def test_shape_and_one_pixel_tell_images_apart():
  images = [
    np.zeros((2, 8, 3), np.uint8),
    np.zeros((4, 4, 3), np.uint8),  # the same bytes
    np.zeros((2, 8, 3), np.uint8),
    np.zeros((2, 8, 3), np.uint8),
  ]
  images[3][1, 7, 2] = 1
  dataset = leep_jax.Dataset(
    "made", "all", 2, np.arange(4), None,
    lambda i: ([images[j] for j in i], np.zeros(len(i), int)),
  )  # fmt: skip
  assert lists(duplicates.find(dataset)) == [[0, 2]]


@pytest.fixture
def folder(tmp_path, rng):
  """Two classes; one photo is in both, and in one twice, as other files."""
  photo, other = rng.integers(0, 256, (2, 6, 5, 3)).astype(np.uint8)
  for path, image in (
    ("cat/1.png", photo), ("cat/2.bmp", photo), ("cat/3.png", other),
    ("dog/1.png", photo), ("dog/2.png", other[:, :4]),
  ):  # fmt: skip
    (tmp_path / path).parent.mkdir(exist_ok=True)
    PIL.Image.fromarray(image).save(tmp_path / path)
  return leep_jax.load_dataset(f"folder:{tmp_path}")


def test_files_of_other_formats_are_equal_images(folder):
  (group,) = duplicates.find(folder)
  assert [folder.name_of(position) for position in group] == [
    "cat/1.png", "cat/2.bmp", "dog/1.png",
  ]  # fmt: skip


def test_copies_are_left_out_and_contradicting_labels_are_named(folder):
  dropped, notes = caught(duplicates.drop, folder, duplicates.find(folder))
  kept = [dropped.dataset.name_of(i) for i in range(len(dropped.dataset))]
  assert kept == ["cat/1.png", "cat/3.png", "dog/1.png", "dog/2.png"]
  assert lists(dropped.contradicting) == [[0, 1, 3]]
  assert notes[0].startswith("1 of 5 images of folder:")
  assert "cat/1.png = cat/2.bmp = dog/1.png" in notes[1]
  # Those that are left have no copies with the same label.
  (again,) = duplicates.find(dropped.dataset)
  assert dropped.dataset.labels()[again].tolist() == [0, 1]


def test_an_unreadable_image_is_named(tmp_path, folder):
  (tmp_path / "dog" / "2.png").write_bytes(b"no image")
  with pytest.raises(validation.DataError, match=r"dog/2\.png"):
    duplicates.find(folder)


def test_examples_without_files_have_numbers():
  dataset = in_memory(pixels(1, 2), [0, 1], indices=np.array([1, 0]))
  assert dataset.name_of(0) == "example 1"


def test_real_valued_targets_are_compared_too():
  targets = np.array([[0.5, 1.0], [0.5, 1.0], [0.5, 2.0]])
  dataset = in_memory(pixels(1, 1, 1), targets, num_classes=0)
  dropped, _ = caught(duplicates.drop, dataset, duplicates.find(dataset))
  assert dropped.kept.tolist() == [0, 2]
