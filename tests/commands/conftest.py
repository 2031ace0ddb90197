"""Data that tests of several commands share."""

import networks
import numpy as np
import pytest


@pytest.fixture(scope="module")
def npz(tmp_path_factory):
  """The flag of a data set of 120 small images in an npz file."""
  images, labels = networks.images_of(0, 120)
  path = tmp_path_factory.mktemp("data") / "data.npz"
  np.savez(path, images=images, labels=labels)
  return f"--dataset=npz:{path}"
