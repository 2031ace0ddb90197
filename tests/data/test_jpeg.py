"""Photos decoded at a part of their size: nearly the same, and never smaller
than wanted."""

import io
import pathlib
import tarfile

import cv2
import numpy as np
import PIL.Image
import pytest

import leep_jax
from leep_jax.data import images, jpeg

NEEDS = leep_jax.Preprocessing(image_size=40, crop=0.8)  # 50 are wanted


def smooth(height, width):
  """Waves with another phase in each channel, and no two sides alike."""
  y, x = np.mgrid[:height, :width] / 40
  waves = [np.sin(x + c) + np.cos(y * 1.3 - c) + x / 9 for c in range(3)]
  return np.clip(127 + 50 * np.stack(waves, axis=2), 0, 255).astype(np.uint8)


def content_of(pixels, *, orientation=None, kind="JPEG", **options):
  exif = PIL.Image.Exif()
  if orientation:
    exif[0x112] = orientation
  file = io.BytesIO()
  PIL.Image.fromarray(pixels).save(
    file, kind, **{"quality": 95, "exif": exif, **options}
  )
  return file.getvalue()


def fitted(content, needs=NEEDS):
  """The fitted image of the whole photo, that of a part, and the part."""
  part = images.decode(content, name="part", wanted=needs.resized)
  whole = images.decode(content, name="whole")
  return needs.fit(whole).astype(int), needs.fit(part).astype(int), part


@pytest.mark.parametrize("orientation", range(9))
def test_every_orientation(orientation):
  # 7 and 5 pixels stand over at the right and at the bottom.
  content = content_of(smooth(501, 607), orientation=orientation)
  whole, part, reduced = fitted(content)
  turned = orientation > 4
  assert reduced.pixels.shape[:2] == ((152, 126) if turned else (126, 152))
  assert reduced.size == ((607, 501) if turned else (501, 607))
  assert whole.shape == part.shape == (40, 40, 3)
  assert np.abs(whole - part).max() <= 2
  # A pixel aside is more than that: places are compared, too.
  assert np.abs(whole[:, 1:] - part[:, :-1]).max() > 10
  assert np.abs(whole[1:] - part[:-1]).max() > 10


@pytest.mark.parametrize("orientation", [1, 3, 6, 8])
def test_what_stands_over_lies_where_the_photo_ends(orientation):
  # White but for the last row and column, which are repeated beyond the end.
  pixels = np.full((401, 401, 3), 255, np.uint8)
  content = content_of(pixels, orientation=orientation)
  (left, upper, right, lower) = jpeg.decode(content, lambda *_: (40, 40)).box
  assert right - left == lower - upper == 401 / 4
  assert (left > 0) == (orientation in (3, 6))
  assert (upper > 0) == (orientation in (3, 8))


@pytest.mark.parametrize("mode", ["center", "squash", "border"])
@pytest.mark.parametrize("size", [50, (30, 60), (60, 30)])
@pytest.mark.parametrize(
  "filter_name", ["bilinear", "hamming", "bicubic", "lanczos"]
)
def test_all_ways_to_crop(mode, size, filter_name):
  needs = leep_jax.Preprocessing(
    size, crop=0.9, crop_mode=mode, interpolation=filter_name
  )
  whole, part, reduced = fitted(content_of(smooth(800, 500)), needs)
  assert isinstance(reduced, jpeg.Reduced)
  assert whole.shape == part.shape
  assert np.abs(whole - part).max() <= 3


@pytest.mark.parametrize(("height", "width"), [(640, 480), (1000, 333)])
def test_never_fewer_pixels_than_there_are_to_spare(height, width):
  content = content_of(smooth(height, width))
  reductions = set()
  for side in range(5, 400, 7):
    needs = leep_jax.Preprocessing(side)
    wanted = needs.resized(height, width)
    found = jpeg.decode(content, needs.resized)
    by = 1 if found is None else round(height / found.pixels.shape[0])
    reductions.add(by)
    least = min(height / wanted[0], width / wanted[1])
    assert by == 1 or least / by >= jpeg.SPARE
    # And the next reduction would leave too few.
    assert by == 8 or least / (2 * by) < jpeg.SPARE
  assert reductions == {1, 2, 4, 8}


def test_kinds_of_jpegs():
  pixels = smooth(600, 600)
  for options in ({"progressive": True}, {"subsampling": 0}):
    whole, part, reduced = fitted(content_of(pixels, **options))
    assert isinstance(reduced, jpeg.Reduced)
    assert np.abs(whole - part).max() <= 2
  whole, part, reduced = fitted(content_of(pixels[..., 0]))
  assert isinstance(reduced, jpeg.Reduced)  # grey
  assert part.shape == (40, 40, 3)
  assert np.abs(whole - part).max() <= 2


def test_what_is_not_reduced_is_as_before():
  inks = io.BytesIO()
  PIL.Image.fromarray(smooth(600, 600)).convert("CMYK").save(inks, "JPEG")
  others = [
    inks.getvalue(),
    content_of(smooth(600, 600), kind="PNG"),
    content_of(smooth(600, 600), kind="WEBP"),
    content_of(smooth(120, 600)),  # high enough for no reduction
  ]
  for content in others:
    found = images.decode(content, name="", wanted=NEEDS.resized)
    np.testing.assert_array_equal(found, images.decode(content, name=""))


def test_cut_photos_are_refused(rng):
  noise = rng.integers(0, 256, (500, 500, 3), dtype=np.uint8)
  content = content_of(noise)
  for end in (len(content) - 2, len(content) // 2, 700):
    with pytest.raises(leep_jax.InputError, match="it ends too early"):
      images.decode(content[:end], name="cut", wanted=NEEDS.resized)


def test_a_preview_inside_is_not_taken_for_the_photo():
  preview = content_of(smooth(80, 60))
  content = content_of(smooth(500, 600), exif=b"Exif\0\0" + preview)
  assert jpeg.decode(content, NEEDS.resized).size == (500, 600)


def test_damaged_orientations():
  # Those that neither library knows: the photo is not rotated.
  content = content_of(smooth(500, 600), exif=b"Exif\0\0II*\0\xff\xff\xff\x7f")
  assert jpeg.decode(content, NEEDS.resized).size == (500, 600)


def test_a_library_that_reduces_otherwise(monkeypatch):
  content = content_of(smooth(500, 600))
  monkeypatch.setattr(cv2, "imdecode", lambda *_: smooth(500, 600))
  assert jpeg.decode(content, NEEDS.resized) is None


def folder_of(root, contents):
  for i, content in enumerate(contents):
    path = root / "ab"[i % 2] / f"{i}.jpg"
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_bytes(content)
  return f"folder:{root}"


def shards_of(root, contents):
  with tarfile.open(root / "0.tar", "w") as tar:
    for i, content in enumerate(contents):
      for name, part in ((f"{i}.jpg", content), (f"{i}.cls", b"%d" % (i % 2))):
        member = tarfile.TarInfo(name)
        member.size = len(part)
        tar.addfile(member, io.BytesIO(part))
  return f"wds:{root / '0.tar'}"


def parquet_of(root, contents):
  arrow = pytest.importorskip("pyarrow")
  parquet = pytest.importorskip("pyarrow.parquet")
  rows = {
    "image": [{"bytes": content, "path": None} for content in contents],
    "label": [i % 2 for i in range(len(contents))],
  }
  parquet.write_table(arrow.table(rows), root / "data.parquet")
  return f"csv:{root / 'data.parquet'}"


def hub_of(root, contents):
  datasets = pytest.importorskip("datasets")
  features = datasets.Features(
    {
      "image": datasets.Image(),
      "label": datasets.ClassLabel(names=["a", "b"]),
    }
  )
  rows = {
    "image": [{"bytes": content, "path": None} for content in contents],
    "label": [i % 2 for i in range(len(contents))],
  }
  datasets.Dataset.from_dict(rows, features=features).save_to_disk(root / "hf")
  return f"hf:{root / 'hf'}"


@pytest.mark.parametrize("make", [folder_of, shards_of, parquet_of, hub_of])
def test_data_sets_of_files(tmp_path, make, monkeypatch):
  contents = [content_of(smooth(400 + i, 500)) for i in range(4)]
  contents.append(content_of(smooth(90, 90)))
  name = make(pathlib.Path(tmp_path), contents)
  seen = []
  original = leep_jax.Preprocessing.fit

  def fit(self, image):
    seen.append(isinstance(image, jpeg.Reduced))
    return original(self, image)

  monkeypatch.setattr(leep_jax.Preprocessing, "fit", fit)
  loaded = {}
  for fast in (False, True):
    dataset = leep_jax.load_dataset(name, fast_decoding=fast)
    options, _ = NEEDS.reading(dataset)
    seen.clear()
    loaded[fast], _ = dataset.load(**options)
    assert seen.count(True) == 4 * fast
    assert len(seen) == 5
    assert dataset.read_version == dataset.version + " reduced" * fast
  exact = [NEEDS.fit(images.decode(c, name="")) for c in contents]
  order = np.argsort([i % 2 for i in range(5)], kind="stable")
  if make is folder_of:
    exact = [exact[i] for i in order]
  np.testing.assert_array_equal(loaded[False], exact)
  difference = np.abs(loaded[True].astype(int) - loaded[False])
  assert 0 < difference.max() <= 2


@pytest.mark.parametrize("filter_name", ["nearest", "box"])
def test_whole_pixels_are_those_of_the_whole_photo(tmp_path, filter_name):
  name = folder_of(tmp_path, [content_of(smooth(400, 400))] * 2)
  dataset = leep_jax.load_dataset(name, fast_decoding=True)
  needs = leep_jax.Preprocessing(40, interpolation=filter_name)
  assert "wanted" not in needs.reading(dataset)[0]
