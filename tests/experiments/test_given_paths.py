"""What is missing is told before anything is computed."""

import pathlib

import numpy as np
import PIL.Image
import pytest

from experiments import (
  given_paths,
  large_tasks,
  remaining,
  reproduce,
  score_benchmark,
  section,
)
import leep_jax

FILES = list(
  dict.fromkeys(
    model.partition("@")[2]
    for part in large_tasks.parts("cpu", "cifar100")
    for model in part.models
    if "@" in model
  )
)
PHOTOS = "trashnet", "rsscn7_satellite", "sign_language_digits"


@pytest.fixture(autouse=True)
def nothing_else(monkeypatch, tmp_path):
  """No sweep is prepared before all checks are done."""

  def asked(*arguments):
    raise AssertionError("before the paths were checked")

  monkeypatch.setattr(remaining, "Asked", asked)
  monkeypatch.chdir(tmp_path)


@pytest.fixture
def errors(capsys):
  """The lines that a call prints, all of them errors."""

  def run(*flags):
    assert reproduce.main(["reproduce", *flags]) == 2
    lines = capsys.readouterr().err.splitlines()
    assert all(line.startswith("error: ") for line in lines)
    return lines

  return run


def put(folder, *names):
  folder.mkdir(parents=True, exist_ok=True)
  for name in names:
    (folder / name).touch()
  return folder


@pytest.mark.parametrize("dry", [(), ("--dry_run",)])
def test_data_and_files_of_sources(errors, tmp_path, dry):
  put(tmp_path / "empty")
  flags = "--only=5.1", *dry
  weights, data = errors("--data_dir=none", "--weights=empty", *flags)
  assert f"--weights=empty lacks {FILES[0]}, " in weights
  assert f" and {len(FILES) - 3} more: pass the folder" in weights
  assert "--data_dir=none is no folder" in data
  # One file alone is missing, and the data set.
  *others, last = FILES
  put(tmp_path / "empty", *others)
  weights, data = errors("--data_dir=empty", "--weights=empty", *flags)
  assert f"--weights=empty lacks {last}: pass" in weights
  assert "--data_dir=empty: cannot open cifar100: TFDS data set" in data
  put(tmp_path / "empty", last)
  (data,) = errors("--data_dir=empty", "--weights=empty", *flags)
  assert "cifar100" in data
  weights, _ = errors("--data_dir=empty", f"--weights=empty/{last}", *flags)
  assert f"--weights=empty/{last} is no folder" in weights


def test_an_empty_folder_of_a_source(tmp_path):
  _, folder = section.RESNET50.split("@")
  put(tmp_path / folder)
  with pytest.raises(leep_jax.InputError, match=f"lacks {folder}: pass"):
    given_paths.check_weights(str(tmp_path), [section.RESNET50])
  put(tmp_path / folder, "model.safetensors")
  given_paths.check_weights(str(tmp_path), [section.RESNET50])


def test_sources_without_files(tmp_path):
  # Of this package and of the hub.
  models = section.BUNDLED, section.RESNET18, "resnet50.tv_in1k"
  given_paths.check_weights(str(tmp_path), models)


@pytest.mark.parametrize("only", ["5.2", "5.7"])
def test_other_steps_need_data_and_files(monkeypatch, errors, only):
  asked = {}
  for kind in ("weights", "data"):
    monkeypatch.setattr(
      given_paths,
      f"check_{kind}",
      lambda folder, names, kind=kind: asked.update({kind: set(names)}),
    )
  with pytest.raises(AssertionError, match="before the paths"):
    reproduce.main(["reproduce", f"--only={only}", "--scale=cpu"])
  # Recipes of `factors` are trained on CIFAR-10.
  assert ("cifar10" in asked["data"]) == (only == "5.2")
  if only == "5.7":
    assert len(asked["weights"]) >= len(score_benchmark.SOURCES)
    assert "mobilenetv2_100@mobilenetv2_100_inat_insects" in asked["weights"]


def test_photos(errors, tmp_path):
  flags = "--scale=smoke", "--only=5.1", "--photos=photos"
  (line,) = errors(*flags)
  assert "--photos=photos is no folder" in line
  put(tmp_path / "photos" / PHOTOS[0], "a.jpg")
  (line,) = errors(*flags)
  missing = ", ".join(PHOTOS[1:])
  assert f"--photos=photos has no folder {missing}: pass a folder of" in line
  for name in PHOTOS[1:]:
    put(tmp_path / "photos" / name)
  (line,) = errors(*flags)
  # One without classes.
  assert line.startswith("error: --photos=photos: ")
  assert PHOTOS[0] in line
  image = PIL.Image.fromarray(np.zeros((4, 4, 3), np.uint8))
  for name in PHOTOS:
    for label in "ab":
      folder = put(tmp_path / "photos" / name / label)
      image.save(folder / "1.png")
  (tmp_path / "photos" / PHOTOS[0] / "a.jpg").unlink()
  given_paths.check_photos("photos", PHOTOS)


def test_output(errors, tmp_path, monkeypatch):
  file = put(tmp_path, "file") / "file"
  flags = "--scale=smoke", "--only=5.1"
  (line,) = errors(*flags, "--output=file", "--dry_run")
  assert f"--output={file} is no folder" in line
  (line,) = errors(*flags, "--output=file/in/it")
  assert f"--output={file / 'in' / 'it'}: {file} is no folder" in line
  given_paths.check_output(tmp_path / "new" / "folder")
  monkeypatch.setattr(given_paths.os, "access", lambda path, mode: False)
  with pytest.raises(leep_jax.InputError, match=r"cannot be written"):
    given_paths.check_output(tmp_path / "new")


def test_a_folder_that_cannot_be_made(errors, monkeypatch):
  monkeypatch.undo()

  def mkdir(self, **options):
    raise OSError(30, "Read-only file system")

  monkeypatch.setattr(pathlib.Path, "mkdir", mkdir)
  monkeypatch.setattr(remaining.Estimator, "measure", lambda self, steps: None)
  (line,) = errors("--scale=smoke", "--only=5.1", "--output=new")
  assert "new cannot be made: Read-only file system" in line
