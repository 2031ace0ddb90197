"""Names to labelled images, and to yes-or-no attributes without images.

dataset.py     Dataset: examples by number, batches that are read ahead
load.py        load_dataset, load_pair: the table of kinds of data
folders.py, arrays.py, tfds.py     one file a kind
images.py      files of images, and what their numbers mean
attributes.py  load_attributes, for the task matrix
"""

from leep_jax.data.arrays import plain_labels
from leep_jax.data.attributes import binary, load_attributes
from leep_jax.data.dataset import Dataset, not_ignored
from leep_jax.data.load import load_dataset, load_pair

__all__ = [
  "Dataset", "binary", "load_attributes", "load_dataset", "load_pair",
  "not_ignored", "plain_labels",
]  # fmt: skip
