"""What the tests of data share."""

import pytest
import tfds_sets


@pytest.fixture(scope="module")
def tfds_dir(tmp_path_factory):
  """A folder with all data sets of `tfds_sets`."""
  folder = tmp_path_factory.mktemp("tfds")
  for builder in tfds_sets.BUILDERS:
    tfds_sets.prepare(builder, folder)
  return str(folder)
