"""Data sets by name: labelled inputs, and binary attributes without inputs.

dataset.py     Dataset: examples by index, in batches that are read ahead
load.py        load_dataset, load_pair
kinds.py       the table of kinds of data
folders.py, arrays.py, tables.py, ...   one file a kind
crops.py       parts of images, cut out when they are read
examples.py    from_examples, of Python objects
images.py      files of images, and the ranges of their values
audio.py       files of sounds
attributes.py  load_attributes, for the task matrix
splits.py      a data set without a test split, split in two
duplicates.py  inputs that occur several times
names.py       what to write instead of a name that is no data set
"""

from leep_jax.data.arrays import plain_labels
from leep_jax.data.attributes import binary, load_attributes
from leep_jax.data.dataset import Dataset, not_ignored
from leep_jax.data.examples import from_examples
from leep_jax.data.load import load_dataset, load_pair

__all__ = [
  "Dataset", "binary", "from_examples", "load_attributes", "load_dataset",
  "load_pair", "not_ignored", "plain_labels",
]  # fmt: skip
