"""Arrays as data: their names, shapes, units, and labels that mean none."""

import re

import numpy as np
import pytest

import leep_jax
from leep_jax import data, score, validation

IMAGES = np.arange(6 * 8 * 9 * 3, dtype=np.uint8).reshape(6, 8, 9, 3)
LABELS = np.arange(6) % 3


def save(folder, **arrays):
  np.savez(folder / "a.npz", **arrays)
  return f"npz:{folder / 'a.npz'}"


def load(folder, options=None, **arrays):
  return leep_jax.load_dataset(save(folder, **arrays), **(options or {}))


@pytest.mark.parametrize(
  ("images", "labels"),
  [
    ("images", "labels"), ("image", "label"), ("x", "y"), ("X", "y"),
    ("X", "Y"), ("data", "target"), ("data", "labels"), ("imgs", "labels"),
    ("arr_0", "arr_1"), ("train_images", "train_labels"),
    ("x_train", "y_train"), ("X_train", "y_train"), ("train_x", "train_y"),
    ("train_set_x_orig", "train_set_y_orig"), ("xtrain", "ytrain"),
    ("images_train", "labels_train"), ("test_images", "test_labels"),
    ("Images", "Labels"),
  ],
)  # fmt: skip
@pytest.mark.parametrize("column", [False, True])
def test_names_of_arrays(tmp_path, images, labels, column):
  truth = LABELS[:, None] if column else LABELS
  other = np.zeros(4)
  dataset = load(tmp_path, **{images: IMAGES, labels: truth, "other": other})
  found, found_labels = dataset.load()
  np.testing.assert_array_equal(found, IMAGES)
  np.testing.assert_array_equal(found_labels, LABELS)
  assert dataset.num_classes == 3


MEDMNIST = {
  f"{split}_{what}": array[: {"train": 6, "val": 3, "test": 4}[split]]
  for split in ("train", "val", "test")
  for what, array in (("images", IMAGES), ("labels", LABELS[:, None]))
}


def test_splits_of_arrays(tmp_path):
  name = save(tmp_path, **MEDMNIST)
  sizes = {None: 6, "train": 6, "val": 3, "validation": 3, "test": 4}
  for split, size in sizes.items():
    dataset = leep_jax.load_dataset(name, split=split)
    assert len(dataset) == size
  assert leep_jax.load_dataset(name).split == "train"
  with pytest.raises(
    leep_jax.InputError, match="no split 'extra'; it has train, val, test"
  ):
    leep_jax.load_dataset(name, split="extra")
  train, test = data.load_pair(name)
  assert [(len(d), d.split) for d in (train, test)] == [
    (6, "train"), (4, "test"),
  ]  # fmt: skip
  train, test = data.load_pair(name, test_split="val")
  assert len(test) == 3
  with pytest.raises(leep_jax.InputError, match="split and test_split are bo"):
    data.load_pair(name, split="test")


def test_a_pair_of_arrays_without_a_test_set(tmp_path):
  many = {"x_train": np.repeat(IMAGES, 5, 0), "y_train": np.repeat(LABELS, 5)}
  train, test = data.load_pair(save(tmp_path, **many))
  assert (len(train), len(test)) == (24, 6)
  assert (train.split, test.split) == ("train 4/5", "train 1/5")
  name = save(tmp_path, x_a_val=IMAGES, x_val=IMAGES, y_val=LABELS)
  assert leep_jax.load_dataset(name).split == "val"
  with pytest.raises(leep_jax.InputError, match="has no splits, but test_sp"):
    data.load_pair(
      save(tmp_path, images=IMAGES, labels=LABELS), test_split="test"
    )


def test_classes_of_a_pair_of_arrays(tmp_path):
  text = np.asarray(["cat", "dog", "eel"])
  name = save(
    tmp_path, x_train=IMAGES, y_train=text[LABELS], x_test=IMAGES[:2],
    y_test=text[[2, 0]],
  )  # fmt: skip
  with pytest.warns(validation.InputNote, match="lacks 1 of the 3 classes"):
    _, test = data.load_pair(name)
  assert test.labels().tolist() == [2, 0]
  assert test.class_names == ("cat", "dog", "eel")
  name = save(
    tmp_path, x_train=IMAGES, y_train=LABELS, x_test=IMAGES, y_test=LABELS % 2
  )
  assert data.load_pair(name)[1].num_classes == 3


@pytest.mark.parametrize("kind", ["U", "S"])
def test_text_labels_are_classes_by_name(tmp_path, kind):
  names = np.asarray(["eel", "cat", "d\xf6g"])
  text = names if kind == "U" else np.char.encode(names, "utf-8")
  dataset = load(tmp_path, images=IMAGES, labels=text[LABELS])
  assert dataset.class_names == ("cat", "d\xf6g", "eel")
  assert dataset.labels().tolist() == [2, 0, 1, 2, 0, 1]
  assert dataset.num_classes == 3


def test_shapes_of_images(tmp_path):
  first = load(tmp_path, images=IMAGES.transpose(0, 3, 1, 2), labels=LABELS)
  np.testing.assert_array_equal(first.load()[0], IMAGES)
  alpha = np.full((6, 8, 9, 1), 255, np.uint8)
  both = np.concatenate([IMAGES, alpha], axis=3)
  for images in (both, both.transpose(0, 3, 1, 2)):
    dataset = load(tmp_path, images=images, labels=LABELS)
    np.testing.assert_array_equal(dataset.load()[0], IMAGES)
  both[0, 0, 0, 3] = 7
  with pytest.warns(
    validation.InputNote, match="transparency, which is left out"
  ):
    load(tmp_path, images=both, labels=LABELS)


@pytest.mark.parametrize(
  ("images", "message"),
  [
    (IMAGES.reshape(6, -1), "are they flat"),
    (np.moveaxis(IMAGES, 0, 3), "is n last"),
    (np.zeros((6, 8, 9, 5), np.uint8), "1 or 3 channels"),
    (np.zeros(6, np.uint8), "1 or 3 channels"),
    (np.uint8(3), "1 or 3 channels"),
    (np.zeros((0, 8, 9, 3), np.uint8), "no pixels"),
    (np.full((6, 8, 9), "x"), "not uint8"),
    (np.zeros((6, 8, 9), np.complex64), "not uint8"),
    (IMAGES > 9, "is 1 white[?] Pass images.astype"),
    (IMAGES.astype(int), "and from 0 to 255: 8 bits[?] Pass images.astype"),
    (IMAGES.astype(int) * 16, "12 bits[?] Pass .images // 16..astype"),
    (IMAGES.astype(int) * 256, "16 bits[?] Pass .images // 256..astype"),
    (IMAGES.astype(np.int16) - 9, "which value is black"),
    (IMAGES / 1.0, "from 0 to 255, .*divide by 255"),
    (IMAGES * 257.0, "65535"),
    (IMAGES / 100 - 1.5, "normalised already"),
    (IMAGES / 255 - 0.5, "less 0.5[?] Pass images [+] 0.5"),
    (IMAGES / 127.5 - 1, r"in \[-1, 1\][?] Pass .images [+] 1. / 2"),
    (IMAGES / 170 - 0.2, r"clip to \[0, 1\]"),
    (IMAGES / 250, r"from 0 to 1.02, .* clip to \[0, 1\]"),
    (IMAGES * 1.05 - 9, "clip to 0..255 and divide by 255"),
  ],
)
def test_images_in_another_unit(tmp_path, images, message):
  with pytest.raises(leep_jax.InputError, match=message):
    load(tmp_path, images=images, labels=LABELS)


@pytest.mark.parametrize(
  ("dtype", "excess"),
  [(np.float32, 1e-7), (np.float64, 9e-7), (np.float16, 1e-3)],
)
def test_rounding_is_clipped(tmp_path, dtype, excess):
  images = np.linspace(-excess, 1 + excess, 6 * 8 * 9 * 3).astype(dtype)
  assert images.min() < 0
  assert images.max() > 1
  dataset = load(tmp_path, images=images.reshape(IMAGES.shape), labels=LABELS)
  found = dataset.load()[0]
  assert (found.min(), found.max(), found.dtype) == (0, 1, dtype)
  np.testing.assert_allclose(found.ravel(), images, atol=2 * excess)


def test_rounding_is_clipped_in_batches_of_any_iterable():
  images = np.linspace(-1e-7, 1 + 1e-7, IMAGES.size).reshape(IMAGES.shape)
  source = leep_jax.Source(
    "m",
    lambda s, x: (x.mean((1, 2)),) * 2,
    (),
    leep_jax.Preprocessing(mean=(0.5,) * 3, std=(0.5,) * 3),
  )
  outputs = leep_jax.compute_outputs(source, [(images, LABELS)])
  assert len(outputs) == 6
  with pytest.raises(leep_jax.InputError, match="1.0001.* clip to"):
    leep_jax.compute_outputs(source, [(images * 1.0001, LABELS)])


@pytest.mark.parametrize(
  ("images", "message"),
  [
    (IMAGES % 2, "hold only 0 and 1 of 255"),
    (IMAGES / 255 / 255, "divided by 255 twice"),
    (IMAGES.astype(np.uint16) * 16, "4080 of 65535, .* 12 bits.* by 16"),
  ],
)
def test_units_that_are_suspicious(tmp_path, images, message):
  with pytest.warns(validation.InputNote, match=message):
    load(tmp_path, images=images, labels=LABELS)


def test_16_bits_are_scaled_to_8(tmp_path):
  images = IMAGES.astype(np.uint16) * 257
  found = load(tmp_path, images=images, labels=LABELS).load()[0]
  np.testing.assert_array_equal(found, IMAGES)


# What is said of labels that are no classes.
MULTI = np.asarray([[1, 0, 1], [0, 0, 0], [0, 1, 0]])
ONE_HOT = np.eye(3)[[2, 0, 1]]


@pytest.mark.parametrize(
  ("labels", "message"),
  [
    (MULTI, r"several labels .* all as multi_labels=, or .*labels\[:, 0\]"),
    (MULTI.astype(bool), "several labels"),
    (MULTI * 1.0, "several labels"),
    (np.asarray([[3, 7], [2, 1], [0, 5]]), "several labels"),
    (np.asarray([[0, 0], [0, 1], [1, 1]]), "several labels"),
    (np.asarray([[2, 0], [2, 0], [0, 2]]), "several labels"),
    (ONE_HOT, r"one-hot[?] Pass labels.argmax\(axis=1\)$"),
    (ONE_HOT.astype(bool), "one-hot"),
    (np.full((3, 2), 0.5), "probabilities of the classes"),
    (np.zeros((1, 3), int), r"a row[?] Pass labels.ravel\(\)$"),
    (np.zeros((3, 1), int), r"a column[?] Pass labels.ravel\(\)$"),
    (np.zeros((3, 4, 4), int), "one label a pixel"),
    (np.asarray([0, np.nan, 1]), "NaN, not an integer, in 1 of 3 .* missing"),
    (np.asarray(["a", "b", "a"]), "text[?] Pass np.unique"),
    (np.asarray([0, -1, 1]), "unlabelled examples, 1 of 3.*ignore_label=-1$"),
    (np.asarray([-100, -1, 1]), "contain -100, .*, 2 of 3.*=-100,-1$"),
    (np.asarray([-1, 1, 1]), "no and yes[?] Pass labels > 0"),
    (np.asarray([0, 1, 2, 255]), "and else 0 to 2: .*1 of 4.*_label=255$"),
    (np.asarray([*range(19), 255]), "and else 0 to 18: .*ignore_label=255$"),
  ],
)
def test_labels_that_are_no_classes(labels, message):
  probs = np.full((len(labels), 2), 0.5)
  if labels.shape == (1, 3):
    probs = np.full((3, 2), 0.5)
  with pytest.raises(validation.DataError, match=message) as error:
    leep_jax.leep(probs, labels)
  if "one-hot" not in str(error.value):
    assert "argmax" not in str(error.value)


@pytest.mark.parametrize("labels", [[0, 255], [3, 250, 255], [0, 1, 254, 255]])
def test_255_may_be_a_class(labels):
  assert validation.class_labels(labels).tolist() == labels
  assert validation.class_labels([0, 1, 2, 255], num_classes=256)[3] == 255


def test_255_above_the_classes_marks_what_has_no_label():
  with pytest.raises(validation.DataError, match="--ignore_label=255"):
    validation.class_labels([0, 3, 255], num_classes=19)
  with pytest.raises(validation.DataError, match="counted from 1"):
    validation.class_labels([1, 19], num_classes=19)


def test_ignored_labels_are_left_out(tmp_path):
  labels = np.asarray([0, 255, 1, -1, 2, 255])
  name = save(tmp_path, images=IMAGES, labels=labels)
  with pytest.warns(validation.InputNote, match="3 of 6 .* label is 255, -1$"):
    dataset = leep_jax.load_dataset(name, ignore_label=[255, -1])
  images, found = dataset.load()
  np.testing.assert_array_equal(images, IMAGES[[0, 2, 4]])
  assert found.tolist() == [0, 1, 2]
  assert dataset.num_classes == 3
  with pytest.raises(leep_jax.InputError, match="ignore_label is 2.5"):
    leep_jax.load_dataset(name, ignore_label=2.5)
  with pytest.raises(leep_jax.InputError, match="digits has no integer labels"):
    leep_jax.load_dataset("digits", ignore_label=3)
  name = save(tmp_path, images=IMAGES, labels=np.full(6, 255))
  with pytest.raises(
    validation.DataError, match="all examples .* label is 255"
  ):
    leep_jax.load_dataset(name, ignore_label=255)


def test_no_and_yes_as_0_and_255(tmp_path):
  with pytest.raises(validation.DataError, match="0 and 255: .*labels // 255"):
    load(tmp_path, images=IMAGES, labels=255 * (LABELS > 0))


def test_ignored_labels_of_predictions(tmp_path, capsys, rng):
  logits = rng.normal(size=(60, 4))
  labels = rng.integers(0, 3, 60)
  np.savez(tmp_path / "kept.npz", logits=logits[:50], labels=labels[:50])
  labels[50:] = -1
  np.savez(tmp_path / "all.npz", logits=logits, labels=labels)
  arguments = ["score", "--scores=leep", f"--predictions={tmp_path}/all.npz"]
  assert score.main(arguments) == 2
  assert "--ignore_label=-1" in capsys.readouterr().err
  assert score.main([*arguments, "--ignore_label=-1"]) == 0
  out, err = capsys.readouterr()
  assert "10 of 60 examples" in err
  assert score.main([*arguments[:2], f"--predictions={tmp_path}/kept.npz"]) == 0
  expected = capsys.readouterr().out
  (value,) = re.findall("^1 .* (-[0-9.]+) ±", out, re.MULTILINE)
  assert f" {value} ±" in expected


def test_pairs_of_npy_files(tmp_path):
  for images, labels in (
    ("images", "labels"), ("x", "y"), ("X_train", "y_train"),
    ("train_images", "train_labels"), ("data", "target"),
  ):  # fmt: skip
    np.save(tmp_path / f"{images}.npy", IMAGES)
    name = f"npz:{tmp_path / images}.npy"
    with pytest.raises(leep_jax.InputError, match="put its labels beside it"):
      leep_jax.load_dataset(name)
    np.save(tmp_path / f"{labels}.npy", LABELS)
    dataset = leep_jax.load_dataset(name)
    np.testing.assert_array_equal(dataset.load()[0], IMAGES)
    assert dataset.labels().tolist() == LABELS.tolist()
    (tmp_path / f"{labels}.npy").unlink()


@pytest.mark.parametrize(
  ("arrays", "message"),
  [
    ({}, "no array 'images'; it has none"),
    ({"train_images": IMAGES}, "no array 'train_labels'; it has train_images"),
    ({"a": 1, "b": 2, "c": 3, "d": 4, "e": 5}, "it has a, b, c and 2 more"),
    ({"val_x": IMAGES, "test_x": IMAGES}, "the splits val, test: choose one"),
    (
      {"images": IMAGES, "labels": np.asarray([{}] * 6, object)},
      "'labels' of .* holds Python objects, .*astype.str",
    ),
    ({"images": IMAGES, "labels": LABELS[:4]}, "6 images but 4 labels"),
  ],
)
def test_arrays_that_are_missing(tmp_path, arrays, message):
  with pytest.raises(leep_jax.InputError, match=message):
    load(tmp_path, **arrays)


def test_python_objects_that_are_not_needed_are_not_read(tmp_path):
  junk = np.asarray([{}], dtype=object)
  assert len(load(tmp_path, images=IMAGES, labels=LABELS, junk=junk)) == 6


@pytest.mark.parametrize(
  ("content", "message"),
  [
    (b"", "it is empty"),
    (b"\x89HDF\r\n\x1a\n", "it is an HDF5 file"),
    (b"\x80\x04abc", "it is a pickle"),
    (b"<html>", "it is an HTML page"),
    (b"version https://git-lfs.github.com/spec/v1", "a Git LFS pointer"),
    (b"PK\x05\x06" + bytes(18), "no array 'images'"),
    (b"PK\x03\x04 cut off", "is it damaged"),
    (b"\xff" * 99, "is it damaged"),
  ],
)
def test_files_that_are_no_npz(tmp_path, content, message):
  (tmp_path / "a.npz").write_bytes(content)
  for open_it in (leep_jax.load_dataset, data.load_pair):
    with pytest.raises(leep_jax.InputError, match=message):
      open_it(f"npz:{tmp_path / 'a.npz'}")
