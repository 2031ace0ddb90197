"""Small TFDS data sets that tests prepare, without TensorFlow."""

import io

import cv2
import numpy as np
import tensorflow_datasets as tfds


class Made:
  """A small data set to prepare and read again without TensorFlow."""

  VERSION = tfds.core.Version("1.0.0")
  NAMES = ("cat", "dog")
  SHAPE: tuple = (6, 6, 3)
  LABEL = True

  def _info(self):
    features = {"image": tfds.features.Image(shape=self.SHAPE)}
    if self.LABEL:
      features["label"] = tfds.features.ClassLabel(names=self.NAMES)
    return tfds.core.DatasetInfo(
      builder=self, features=tfds.features.FeaturesDict(features)
    )

  def _split_generators(self, dl_manager):
    return {"train": self._generate_examples(20)}

  def _generate_examples(self, count):
    for i in range(count):
      # Encoded already: TFDS encodes arrays with TensorFlow.
      _, png = cv2.imencode(".png", np.full(self.SHAPE, i, np.uint8))
      example = {"image": io.BytesIO(png.tobytes())}
      if self.LABEL:
        example["label"] = i % 2
      yield i, example


class Tiny(Made, tfds.core.GeneratorBasedBuilder):
  """Images of one shape, with labels."""


class Unlabelled(Made, tfds.core.GeneratorBasedBuilder):
  """No labels."""

  LABEL = False


class Measured(Made, tfds.core.GeneratorBasedBuilder):
  """Images with real-valued targets, and no classes."""

  def _info(self):
    features = {
      "image": tfds.features.Image(shape=self.SHAPE),
      "age": tfds.features.Scalar(np.float32),
      "points": tfds.features.Tensor(shape=(3,), dtype=np.float64),
      "grid": tfds.features.Tensor(shape=(2, 2), dtype=np.float64),
      "name": tfds.features.Text(),
    }
    return tfds.core.DatasetInfo(
      builder=self, features=tfds.features.FeaturesDict(features)
    )

  def _generate_examples(self, count):
    for i in range(count):
      _, png = cv2.imencode(".png", np.full(self.SHAPE, i, np.uint8))
      yield (
        i,
        {
          "image": io.BytesIO(png.tobytes()),
          "age": i / 2,
          "points": np.arange(3.0) + i,
          "grid": np.zeros((2, 2)),
          "name": "x",
        },
      )


class Counted(Made, tfds.core.GeneratorBasedBuilder):
  """Labels that are integers, text or several, and no ClassLabel."""

  def _info(self):
    features = {
      "image": tfds.features.Image(shape=self.SHAPE),
      self.KIND: {
        "label": np.int64,
        "target": tfds.features.Text(),
        "labels": tfds.features.Sequence(
          tfds.features.ClassLabel(num_classes=3)
        ),
      }[self.KIND],
    }
    return tfds.core.DatasetInfo(
      builder=self, features=tfds.features.FeaturesDict(features)
    )

  def _generate_examples(self, count):
    for i in range(count):
      _, png = cv2.imencode(".png", np.full(self.SHAPE, i, np.uint8))
      label = {"label": i % 2, "target": "x", "labels": [0, 2]}[self.KIND]
      yield i, {"image": io.BytesIO(png.tobytes()), self.KIND: label}

  KIND = "label"


class Texts(Counted):
  """Labels that are text."""

  KIND = "target"


class Several(Counted):
  """Several labels an example."""

  KIND = "labels"


class Deep(Made, tfds.core.GeneratorBasedBuilder):
  """Images of 16 bits; every fourth has no label."""

  def _info(self):
    features = {
      "image": tfds.features.Image(shape=(40, 30, 1), dtype=np.uint16),
      "label": tfds.features.ClassLabel(num_classes=3),
    }
    return tfds.core.DatasetInfo(
      builder=self, features=tfds.features.FeaturesDict(features)
    )

  def _generate_examples(self, count):
    for i in range(count):
      values = np.full((40, 30), 257 * 12 * i, np.uint16)
      _, png = cv2.imencode(".png", values)
      label = -1 if i % 4 == 3 else i % 3
      yield i, {"image": io.BytesIO(png.tobytes()), "label": label}


class Clear(Made, tfds.core.GeneratorBasedBuilder):
  """Images with transparency."""

  SHAPE = (6, 6, 4)


BUILDERS = (
  Tiny, Unlabelled, Measured, Counted, Texts, Several, Deep, Clear,
)  # fmt: skip


def prepare(builder, folder):
  config = tfds.download.DownloadConfig(try_download_gcs=False)
  builder(data_dir=folder, file_format="array_record").download_and_prepare(
    download_config=config
  )
