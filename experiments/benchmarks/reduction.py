"""Measures what decoding photos at a part of their size changes.

    python -m experiments.benchmarks.reduction --photos=DIR,DIR --model=NAME,...

Purpose: with `--fast_decoding`, `leep_jax/data/jpeg.py` decodes a photo at a
half, a quarter or an eighth if it then still has `SPARE` times the pixels that
a source wants, in both directions. How much do resized images and scores differ
from those of the whole photo, and how much is to spare? To compare with, images
are resized in the other order, height first, as Pillow 13 does with tall ones:
that only rounds otherwise.

`DIR` is a folder of photos with a sub-folder per class. Scores are of these
photos, with the bundled sources, whose images are small; and of photos that are
put together from 5 x 5 of a class, at their full detail, with the models of
`--model`. Resized images are of larger ones, put together in the same way,
resized to the largest size that each reduction allows: the worst case.

Cost: eight minutes on two CPU cores with two folders of 450 photos and three
models. What came out is in `experiments/results/reduction.md`.
"""

import contextlib
import pathlib
import tempfile

from absl import app, flags
import numpy as np

from experiments.benchmarks import mosaics, timing
import leep_jax
from leep_jax.data import images, jpeg
from leep_jax.models import preprocessing
from leep_jax.sources import named

_PHOTOS = flags.DEFINE_list("photos", None, "Folders of photos.", required=True)
_MODEL = flags.DEFINE_list("model", [], "Sources for the larger photos.")
_SPARES = (1.5, 2.0, 2.5, 4.0)
_SIZE = (2000, 3000)  # of the photos whose resized images are compared
_SCORES = ("leep", "probe_accuracy")


@contextlib.contextmanager
def sparing(spare):
  """Decodes with other pixels to spare."""
  before, jpeg.SPARE = jpeg.SPARE, spare
  try:
    yield
  finally:
    jpeg.SPARE = before


def levels(contents: list[bytes]) -> None:
  """Prints how much resized images differ, in levels of 0..255."""
  print("| to spare | filter | reduced by | mean | 99.9 % | largest |")
  print("|---|---|---|---|---|---|")
  for spare in _SPARES:
    for filter_name in ("bilinear", "bicubic", "lanczos"):
      for by in (2, 4, 8):
        side = int(_SIZE[0] / by / spare)
        source = leep_jax.Preprocessing(side, interpolation=filter_name)
        found = []
        for content in contents:
          with sparing(spare):
            part = jpeg.decode(content, source.resized)
          whole = images.decode(content, name="")
          assert part is not None
          assert isinstance(whole, np.ndarray)
          assert -(-_SIZE[0] // by) == part.pixels.shape[0]
          found.append(
            np.abs(source.fit(part).astype(int) - source.fit(whole)).ravel()
          )
        all_of = np.concatenate(found)
        print(
          f"| {spare:g} | {filter_name} | {by} | {all_of.mean():.2f} | "
          f"{np.percentile(all_of, 99.9):.0f} | {all_of.max()} |",
          flush=True,
        )


def scores(name: str, folder: str, models) -> None:
  """Prints how much scores differ, and in their standard errors."""

  def estimates(model, *, fast):
    dataset = leep_jax.load_dataset(f"folder:{folder}", fast_decoding=fast)
    outputs = leep_jax.compute_outputs(model, dataset)
    return leep_jax.estimate_scores(outputs, names=list(_SCORES))

  for model_name in models:
    model = leep_jax.load_source(model_name)
    whole = estimates(model, fast=False)
    with _height_first():
      found = {"whole, height first": estimates(model, fast=False)}
    for spare in _SPARES:
      with sparing(spare):
        left = _left(folder, model.preprocessing)
        if left not in {*found, "all"}:
          found[left] = estimates(model, fast=True)
    for left, part in found.items():
      cells = []
      for score in _SCORES:
        change = part[score].value - whole[score].value
        error = whole[score].standard_error
        cells += [f"{whole[score].value:.4f}", f"{change:+.4f}"]
        cells.append(f"{abs(change) / error:.3f}")
      print(
        f"| {name} | {pathlib.Path(model_name).name} | {left} | "
        f"{' | '.join(cells)} |",
        flush=True,
      )


@contextlib.contextmanager
def _height_first():
  """Resizes the height first, as Pillow 13 does with tall images."""
  before = preprocessing._resized

  def resized(part, *, size, kept, box, interpolation):
    turned = before(
      part.swapaxes(0, 1).copy(),
      size=size[::-1],
      kept=kept[::-1],
      box=(box[1], box[0], box[3], box[2]),
      interpolation=interpolation,
    )
    return turned.swapaxes(0, 1).copy()

  preprocessing._resized = resized
  try:
    yield
  finally:
    preprocessing._resized = before


def _left(folder, needs):
  """Returns how many pixels are left for one that is wanted, as text."""
  path = next(iter(sorted(pathlib.Path(folder).rglob("*.jpg"))))
  found = images.read(path, wanted=needs.resized)
  if not isinstance(found, jpeg.Reduced):
    return "all"
  wanted = needs.resized(*found.size)
  return f"{min(np.divide(found.pixels.shape[:2], wanted)):.2f}"


def write_mosaics(folder: str, directory: pathlib.Path) -> None:
  """Writes as many photos as there are, each of 5 x 5 of one class."""
  rng = np.random.default_rng(0)
  for inner in sorted(pathlib.Path(folder).iterdir()):
    paths = sorted(inner.glob("*.jpg"))
    photos = [images.read(path) for path in paths]
    (directory / inner.name).mkdir(parents=True)
    for i in range(len(photos)):
      path = directory / inner.name / f"{i}.jpg"
      path.write_bytes(mosaics.jpeg_of(mosaics.mosaic(photos, (5, 5), rng)))


def main(argv):
  if len(argv) > 1:
    raise app.UsageError(f"unexpected arguments: {' '.join(argv[1:])}")
  timing.versions()
  contents = [
    c for f in _PHOTOS.value for c in mosaics.large_photos(f, 4, _SIZE)
  ]
  print(
    f"Differences of resized images in levels of 0..255, of {len(contents)} "
    f"photos of {_SIZE[1]} x {_SIZE[0]} (JPEG, quality {mosaics.QUALITY}), to "
    "the size at which just so many pixels are to spare in both directions:\n"
  )
  levels(contents)
  print(
    "\nDifferences of scores. What is left: pixels for each one wanted, in the "
    "direction with fewer; or all, resized in the other order. Then the score "
    "of whole photos, its change, and the change in standard errors:\n"
  )
  columns = [f"{s} | change | / error" for s in _SCORES]
  print(f"| photos | source | left | {' | '.join(columns)} |")
  print("|---|---|---|---|---|---|---|---|---|")
  for folder in _PHOTOS.value:
    name = pathlib.Path(folder).name
    scores(name, folder, named.bundled())
    with tempfile.TemporaryDirectory() as directory:
      write_mosaics(folder, pathlib.Path(directory) / "made")
      scores(f"{name}, 5 x 5", f"{directory}/made", _MODEL.value)


if __name__ == "__main__":
  app.run(main)
