"""Sets of labels: several labels an example, in arrays and tables."""

import json

import numpy as np
import pytest

import leep_jax
from leep_jax import data, validation
from leep_jax.data import label_sets

IMAGES = np.arange(6 * 8 * 9 * 3, dtype=np.uint8).reshape(6, 8, 9, 3)
SETS = np.array([[1, 0, 1], [0, 0, 0], [0, 1, 0], [1, 1, 1], [0, 0, 1]] * 2)[:6]


@pytest.mark.parametrize("dtype", [np.uint8, bool, float])
def test_arrays(tmp_path, dtype):
  np.savez(tmp_path / "a.npz", images=IMAGES, labels=SETS.astype(dtype))
  with pytest.warns(validation.InputNote, match=r"3 labels.*multi-label.*1.5"):
    dataset = leep_jax.load_dataset(f"npz:{tmp_path}/a.npz")
  assert (dataset.num_labels, dataset.num_classes) == (3, 0)
  np.testing.assert_array_equal(dataset.load()[1], SETS > 0)
  part = dataset.take(3)
  np.testing.assert_array_equal(part.labels(), SETS[part.indices] > 0)


def test_one_hot_rows_are_no_sets(tmp_path):
  np.savez(tmp_path / "a.npz", images=IMAGES, labels=np.eye(3)[[0, 1, 2] * 2])
  with pytest.raises(leep_jax.InputError, match="one-hot"):
    leep_jax.load_dataset(f"npz:{tmp_path}/a.npz")


@pytest.mark.filterwarnings("ignore::leep_jax.validation.InputNote")
def test_training_and_ignored_labels_are_refused(tmp_path):
  np.savez(tmp_path / "a.npz", images=IMAGES, labels=SETS)
  with pytest.raises(leep_jax.InputError, match="training and tasks need one"):
    data.load_pair(f"npz:{tmp_path}/a.npz")
  with pytest.raises(leep_jax.InputError, match="no integer labels to ignore"):
    leep_jax.load_dataset(f"npz:{tmp_path}/a.npz", ignore_label=0)


def table(tmp_path, text, name="a.csv", **options):
  (tmp_path / name).write_text(text)
  return leep_jax.load_dataset(f"csv:{tmp_path / name}", **options)


def test_columns(tmp_path):
  text = "text,cat,dog\nx,1,0\ny,0,0\nz,yes,True\n"
  dataset = table(tmp_path, text, label_column="cat,dog")
  assert dataset.class_names == ("cat", "dog")
  assert dataset.labels().tolist() == [[1, 0], [0, 0], [1, 1]]
  with pytest.raises(leep_jax.InputError, match="'dog' has '2'"):
    table(tmp_path, text.replace("True", "2"), label_column="cat,dog")
  with pytest.raises(leep_jax.InputError, match="no column 'dig'"):
    table(tmp_path, text, label_column="cat,dig")


@pytest.mark.parametrize("sign", ["|", ";", " ; "])
def test_texts_with_separators(tmp_path, sign):
  text = f"text,label\nx,cat{sign}dog\ny,dog\nz,cat\n"
  with pytest.warns(validation.InputNote, match="2 labels.*multi-label"):
    dataset = table(tmp_path, text)
  assert dataset.class_names == ("cat", "dog")
  assert dataset.labels().tolist() == [[1, 1], [0, 1], [1, 0]]


def test_classes_may_have_separators_in_their_names(tmp_path):
  dataset = table(tmp_path, "text,label\nx,cat; kitty\ny,dog; puppy\n")
  assert (dataset.num_classes, dataset.num_labels) == (2, 0)


@pytest.mark.filterwarnings("ignore::leep_jax.validation.InputNote")
def test_lists(tmp_path):
  def of(*cells):
    rows = [{"text": "x", "labels": cell} for cell in cells]
    return table(tmp_path, "\n".join(map(json.dumps, rows)), "a.jsonl")

  dataset = of(["cat", "dog"], [], ["cat"])
  assert dataset.class_names == ("cat", "dog")
  assert dataset.labels().tolist() == [[1, 1], [0, 0], [1, 0]]
  dataset = of([10, 2], [2], [10, 3])  # numbers in their order
  assert dataset.class_names == ("2", "3", "10")
  assert dataset.labels().tolist() == [[1, 0, 1], [1, 0, 0], [0, 1, 1]]
  dataset = of([1, 0, 1], [0, 0, 0], [0, 1, 0])
  assert dataset.labels().tolist() == [[1, 0, 1], [0, 0, 0], [0, 1, 0]]


def test_numbers_of_names():
  found, names = label_sets.of_cells([[0, 2], [2]], names=["a", "b", "c"])
  assert names == ("a", "b", "c")
  assert found.tolist() == [[1, 0, 1], [0, 0, 1]]
  with pytest.raises(leep_jax.InputError, match=r"'3', .* 3 labels .0 to 2."):
    label_sets.of_cells([[3]], names=["a", "b", "c"])
