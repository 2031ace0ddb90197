"""Compares reading folders of photos with torchvision and TFDS.

    python -m experiments.benchmarks.reading --photos=DIR

Purpose: how many photos a second are read, decoded, resized to 256, cropped to
224 and put into batches? `DIR` is a folder of small photos with a sub-folder
per class; a folder of large ones is made of them
(`experiments.benchmarks.mosaics`). The others are `ImageFolder` with a
`DataLoader` of torchvision and PyTorch, and a TFDS data set of the same files
in `array_record`: TFDS decodes its photos (by OpenCV) but does not resize them
without TensorFlow, so one row is of decoding alone, and in the others the same
transforms and loader follow as for torchvision.

Batches of leep_jax are uint8, which the device makes floats of; those of
`ToTensor` are float32. All read the same files, whose content the system has in
memory after the first turn.

Cost: two minutes on two CPU cores. Times are medians of interleaved
repetitions. It needs torch and torchvision (`pip install 'leep_jax[torch]'`).
What came out is in `experiments/results/reading.md`.
"""

import contextlib
import io
import os
import pathlib
import tempfile
import warnings

from absl import app, flags
import tensorflow_datasets as tfds

from experiments.benchmarks import mosaics, timing
import leep_jax

_PHOTOS = flags.DEFINE_string(
  "photos", None, "Folder of photos.", required=True
)
_REPEATS = flags.DEFINE_integer("repeats", 3, "Repetitions of each timing.")
_SIZE = (2000, 3000)
_LARGE = 32  # photos
_BATCH = 32
_NEEDS = leep_jax.Preprocessing(image_size=224, crop=224 / 256)
_KEPT: list[object] = []


def torchvision():
  """Imports torchvision, without its operators if they do not fit PyTorch."""
  import torch

  if not hasattr(torch.ops.torchvision, "nms"):
    # It registers what operators compute for shapes alone, and fails if there
    # are none. No image needs them.
    library = torch.library.Library("torchvision", "DEF")
    for name in ("nms", "qnms"):
      library.define(f"{name}(Tensor a, Tensor b, float c) -> Tensor")
    _KEPT.append(library)  # its operators go when it does
  with warnings.catch_warnings():
    warnings.simplefilter("ignore")
    import torchvision as found
    import torchvision.datasets
    import torchvision.transforms
  return found


class Photos(tfds.core.GeneratorBasedBuilder):  # type: ignore[misc]
  """A folder of photos as a TFDS data set, whose files are kept as they are."""

  VERSION = tfds.core.Version("1.0.0")
  folder = ""

  def _info(self):
    names = sorted(path.name for path in pathlib.Path(self.folder).iterdir())
    return tfds.core.DatasetInfo(
      builder=self,
      features=tfds.features.FeaturesDict(
        {
          "image": tfds.features.Image(encoding_format="jpeg"),
          "label": tfds.features.ClassLabel(names=names),
        }
      ),
    )

  def _split_generators(self, dl_manager):
    return {"train": self._generate_examples()}

  def _generate_examples(self):
    for path in sorted(pathlib.Path(self.folder).glob("*/*.jpg")):
      yield (
        str(path),
        {"image": io.BytesIO(path.read_bytes()), "label": path.parent.name},
      )


class Transformed:
  """The images of a TFDS data source, transformed, for a loader of PyTorch."""

  def __init__(self, source, transform):
    self.source, self.transform = source, transform

  def __len__(self):
    return len(self.source)

  def __getitem__(self, index):
    import PIL.Image

    row = self.source[index]
    return self.transform(PIL.Image.fromarray(row["image"])), row["label"]


def tfds_source(folder: str, directory: str):
  """Returns the same photos as TFDS reads them."""
  Photos.folder = folder
  builder = Photos(data_dir=directory, file_format="array_record")
  with contextlib.redirect_stdout(io.StringIO()):  # it says what it does
    builder.download_and_prepare(
      download_config=tfds.download.DownloadConfig(try_download_gcs=False)
    )
  return builder.as_data_source("train")


def readers(folder: str, directory: str):
  """Returns the number of photos, and functions that read all, by name."""
  import torch

  library = torchvision()
  transforms = library.transforms
  transform = transforms.Compose(
    [
      transforms.Resize(256),
      transforms.CenterCrop(224),
      transforms.ToTensor(),
    ]
  )
  images = library.datasets.ImageFolder(folder, transform)
  source = tfds_source(folder, directory)
  cores = os.cpu_count() or 1

  def own(*, fast):
    dataset = leep_jax.load_dataset(f"folder:{folder}", fast_decoding=fast)
    options, _ = _NEEDS.reading(dataset)
    return lambda: sum(len(x) for x, _ in dataset.batches(_BATCH, **options))

  def loaded(dataset, workers):
    loader = torch.utils.data.DataLoader(
      dataset, batch_size=_BATCH, num_workers=workers
    )
    return lambda: sum(len(x) for x, _ in loader)

  def decoded():
    return sum(row["image"].ndim == 3 for row in source)

  of_tfds = Transformed(source, transform)
  return len(images), {
    "leep_jax": own(fast=False),
    "leep_jax, fast_decoding": own(fast=True),
    "torchvision, 0 workers": loaded(images, 0),
    f"torchvision, {cores} workers": loaded(images, cores),
    "TFDS, decoding alone": decoded,
    "TFDS, 0 workers": loaded(of_tfds, 0),
    f"TFDS, {cores} workers": loaded(of_tfds, cores),
  }


def measure(what: str, folder: str, directory: str) -> None:
  """Prints images a second, and how many times as many leep_jax reads."""
  count, functions = readers(folder, directory)
  for name, function in functions.items():
    assert function() == count, name
  times = timing.interleaved(_REPEATS.value, *functions.values())
  own, fast = times[:2]
  for name, seconds in zip(functions, times, strict=True):
    print(
      f"| {what} | {name} | {count / seconds:,.1f} | {seconds / own:.2f} | "
      f"{seconds / fast:.2f} |",
      flush=True,
    )


def main(argv):
  if len(argv) > 1:
    raise app.UsageError(f"unexpected arguments: {' '.join(argv[1:])}")
  folder = _PHOTOS.value
  timing.versions()
  print(
    f"{os.cpu_count()} cores. Ratios: images a second of leep_jax, and of "
    "leep_jax with fast_decoding, over those of the row.\n"
  )
  print("| photos | read by | images/s | ratio | ratio, fast |")
  print("|---|---|---|---|---|")
  with tempfile.TemporaryDirectory() as directory:
    measure("as they are", folder, f"{directory}/small")
    large = pathlib.Path(directory) / "large"
    contents = mosaics.large_photos(folder, _LARGE, _SIZE)
    for i, content in enumerate(contents):
      path = large / "ab"[i % 2] / f"{i}.jpg"
      path.parent.mkdir(parents=True, exist_ok=True)
      path.write_bytes(content)
    measure(f"{_SIZE[1]} x {_SIZE[0]}", str(large), f"{directory}/tfds")


if __name__ == "__main__":
  app.run(main)
