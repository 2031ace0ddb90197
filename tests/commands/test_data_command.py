"""The command that says what may be wrong with data."""

import numpy as np
import PIL.Image
import pytest

from leep_jax.data import __main__ as data_main


def photo(seed, *, grey=False):
  """A picture of smooth shapes, as photos have them."""
  rng = np.random.default_rng(seed)
  small = rng.integers(0, 256, (8, 8, 3), dtype=np.uint8)
  image = PIL.Image.fromarray(small).resize(
    (64, 48), PIL.Image.Resampling.BICUBIC
  )
  return image.convert("L").convert("RGB") if grey else image


@pytest.fixture
def folder(tmp_path):
  for i, name in enumerate(["cat", "dog"]):
    (tmp_path / "photos" / name).mkdir(parents=True)
    for j in range(4):
      image = photo(10 * i + j)
      image.save(tmp_path / "photos" / name / f"{j}.png")
  return tmp_path / "photos"


def run(capsys, folder, *options):
  status = data_main.main(["data", f"--dataset=folder:{folder}", *options])
  return status, *capsys.readouterr()


def test_nothing_is_wrong(capsys, folder):
  status, printed, _ = run(capsys, folder)
  assert status == 0
  lines = printed.splitlines()
  assert lines[0].endswith("8 images of 2 classes")
  assert lines[1:3] == ["  cat  4", "  dog  4"]
  assert lines[3] == "pixels: 48 high, 64 wide"
  assert lines[4:] == [
    "no images are equal to others", "no images are nearly equal to others",
  ]  # fmt: skip


def test_what_is_wrong(capsys, folder):
  photo(0).save(folder / "dog" / "copy.png")
  photo(2).resize((60, 45)).save(folder / "dog" / "again.jpg", quality=80)
  photo(30, grey=True).save(folder / "dog" / "grey.png")
  photo(31).resize((40, 20)).save(folder / "dog" / "tiny.png")
  photo(32).save(folder / "dog" / "more.png")
  (folder / "cat" / "broken.jpg").write_bytes(b"no image")
  status, printed, _ = run(capsys, folder)
  assert status == 0
  for line in (
    "classes differ in size: the largest has 2.2 times the examples of the",
    "cannot be read: cannot decode cat/broken.jpg: ",
    "1 of 13 images are shorter than 32 pixels at one side: dog/tiny.png",
    "1 of 13 images are grey, 12 have colour: dog/grey.png",
    "2 of 13 images are equal to others, in 1 group, 1 of them with differ",
    "  cat/0.png = dog/copy.png",
    "2 of 13 images are nearly equal to others, in 1 group, 1 of them with",
    "  cat/2.png = dog/again.jpg",
  ):
    assert line in printed


def test_copies_in_the_test_set(capsys, tmp_path):
  for split, first in (("train", 0), ("test", 4)):
    for i, name in enumerate(["cat", "dog"]):
      (tmp_path / split / name).mkdir(parents=True)
      for j in range(first, first + 4):
        photo(10 * i + j).save(tmp_path / split / name / f"{j}.png")
  status, printed, _ = run(capsys, tmp_path, "--split=train")
  assert status == 0
  assert "no images of test are equal to others here" in printed
  photo(12).save(tmp_path / "test" / "cat" / "copy.bmp")
  photo(2).resize((60, 45)).save(tmp_path / "test" / "cat" / "near.jpg")
  status, printed, _ = run(capsys, tmp_path, "--split=train")
  assert status == 0
  for line in (
    "8 images of 2 classes",
    "no images are equal to others\n",
    "1 of 10 images of test are equal to others here: a head would be tested",
    "  dog/2.png = cat/copy.bmp",
    "1 of 10 images of test are nearly equal to others here",
    "  cat/2.png = cat/near.jpg",
  ):
    assert line in printed
  # A test set is not compared with another.
  status, printed, _ = run(capsys, tmp_path, "--split=test")
  assert "others here" not in printed


@pytest.mark.parametrize("options", [[], ["--model=cifar10_resnet14"]])
def test_a_sheet(capsys, folder, tmp_path, options):
  path = tmp_path / "sheet.png"
  status, printed, _ = run(capsys, folder, f"--sheet={path}", *options)
  assert status == 0
  assert "2 rows of classes: cat, dog" in printed
  side = 32 if options else 224
  sheet = PIL.Image.open(path)
  assert sheet.size[1] == 2 * (side + 4)
  pixels = np.asarray(sheet)
  names = sheet.size[0] - 6 * (side + 4)
  assert (pixels[:, :names] < 128).any()  # of the classes
  assert len(np.unique(pixels[:side, names : names + side])) > 50


def test_mistakes(capsys, folder, tmp_path):
  status, _, error = run(capsys, folder, f"--sheet={tmp_path}/no/sheet.png")
  assert (status, error.count("\n")) == (2, 1)
  table = tmp_path / "a.csv"
  table.write_text("text,label\na,x\nb,y\na,y\n")
  command = ["data", f"--dataset={table}"]
  assert data_main.main(command) == 0
  assert "2 of 3 texts are equal to others" in capsys.readouterr().out
  assert data_main.main([*command, f"--sheet={tmp_path}/a.png"]) == 2
  assert "draws images, but csv:" in capsys.readouterr().err


def test_sets_of_labels_and_numbers(capsys, tmp_path, rng):
  images = rng.integers(0, 256, (12, 40, 40, 3), dtype=np.uint8)
  images[5] = images[2]
  labels = np.zeros((12, 3), int)
  labels[:6, 0] = labels[3:10, 1] = 1
  np.savez(tmp_path / "sets.npz", images=images, labels=labels)
  sheet = tmp_path / "sheet.png"
  status = data_main.main([
    "data", f"--dataset=npz:{tmp_path}/sets.npz", f"--sheet={sheet}",
  ])  # fmt: skip
  printed = capsys.readouterr().out
  assert status == 0
  assert (
    "12 images of 2 labels, of which an example can have several" in printed
  )
  assert "  1  7\n  0  6\n1 class without examples: 2\n" in printed
  assert "2 of 12 images are equal to others, in 1 group, 1 of them" in printed
  with PIL.Image.open(sheet) as drawn:
    assert drawn.size[1] == 2 * 228
  np.savez(tmp_path / "numbers.npz", images=images, targets=np.arange(12.0))
  status = data_main.main([
    "data", f"--dataset=npz:{tmp_path}/numbers.npz", f"--sheet={sheet}",
  ])  # fmt: skip
  assert status == 0
  assert "12 images of real-valued targets" in capsys.readouterr().out
