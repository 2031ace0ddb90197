"""A network small enough to be trained in tests, and images for it."""

from flax import nnx
import numpy as np

import leep_jax
from leep_jax.sources import network

PREPROCESSING = leep_jax.Preprocessing(image_size=8, mean=(0.5,), std=(0.5,))
WIDTH = 16  # of the features of `clusters`


class Net(nnx.Module):
  """A convolution, BatchNorm and a head."""

  def __init__(self, seed=0):
    rngs = nnx.Rngs(seed)
    self.conv = nnx.Conv(1, 6, (3, 3), strides=2, rngs=rngs)
    self.bn = nnx.BatchNorm(6, momentum=0.9, rngs=rngs)
    self.head = nnx.Linear(6, 3, rngs=rngs)

  def __call__(self, x):
    features = nnx.relu(self.bn(self.conv(x))).mean(axis=(1, 2))
    return self.head(features), features


def make_source(*, seed=0, **options):
  options = {"head": "head", "preprocessing": PREPROCESSING, **options}
  return network.from_nnx("net", Net(seed), init=Net, **options)


def images_of(seed, count):
  """Images whose halves are darker by class, of 4 classes."""
  rng = np.random.default_rng(seed)
  labels = np.arange(count) % 4
  images = rng.integers(0, 256, (count, 8, 8, 1))
  images[labels == 1, :4] //= 4
  images[labels == 2, :, :4] //= 4
  images[labels == 3, ::2] //= 4
  return images.astype(np.uint8), labels


def mean_pixel(state, images):
  """The function of a source without weights: the mean of each channel."""
  values = images.mean(axis=(1, 2))
  return values, values


def clusters(seed, count, classes=8):
  """Outputs of features alone: a cluster for each class."""
  rng = np.random.default_rng(seed)
  labels = rng.integers(0, classes, count)
  centres = np.random.default_rng(99).normal(size=(classes, WIDTH))
  features = centres[labels] + rng.normal(size=(count, WIDTH))
  return leep_jax.Outputs.from_arrays(
    features=features.astype(np.float32), labels=labels
  )
