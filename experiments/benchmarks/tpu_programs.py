"""This package's programs, as it calls them, at any size and without weights.

Each function makes the arguments of a program and calls what calls it. Inside
`tpu_compiler.compiled` the program is compiled, and nothing runs.
"""

from typing import Any

from flax import nnx
import jax
import numpy as np

import leep_jax
from leep_jax import transfer
from leep_jax.engine import programs, runners, statistics, sums
from leep_jax.sources import architectures, network

SOURCE_CLASSES = 1000
# The statistics of a first pass for LEEP, NCE, H-score and LogME.
FIRST = (
  statistics.probs_faults,
  statistics.features_faults,
  statistics.joint,
  statistics.dummy_label_counts,
  statistics.moments,
)
# And those of a second pass, which take the table P(y given z).
SECOND = (statistics.log_likelihood, statistics.correct)


def source(arch: str) -> leep_jax.Source:
  """Returns an architecture as a source whose weights are all 0."""
  row = architectures.ARCHITECTURES[arch]
  graph, state = nnx.split(architectures.shapes(arch, SOURCE_CLASSES))
  state = jax.tree.map(lambda x: np.zeros(x.shape, x.dtype), state)
  return network.from_nnx(
    arch,
    nnx.merge(graph, state),
    head=row.head.removesuffix(".weight"),
    preprocessing=row.preprocessing,
  )


def forward(
  found: leep_jax.Source, dtype: str, *, rows: int, side: int
) -> None:
  """A batch of `rows` square images for each device through a source."""
  shape = (rows * programs.device_count(), side, side, 3)
  runner = runners.of(found, dtype)
  runner.run(np.broadcast_to(np.uint8(0), shape), rows)


def pass_over_outputs(
  functions: tuple[Any, ...],
  *,
  classes: int,
  rows: int = 1024,
  features: int = 2048,
  groups: int = 1,
) -> None:
  """The two programs of a pass: adding a batch, and adding the devices."""
  shape = (programs.device_count(), rows)
  fields = {function.reads for function in functions}

  def zeros(width):
    return np.broadcast_to(np.float32(0), (*shape, width))

  batch = statistics.Batch(
    labels=np.zeros(shape, np.int32),
    weights=np.zeros(shape, np.float32),
    num_classes=classes,
    probs=zeros(SOURCE_CLASSES) if "probs" in fields else None,
    features=zeros(features) if "features" in fields else None,
    start=np.zeros(shape[:1], np.int32),
  )
  table = np.zeros((classes, SOURCE_CLASSES), np.float32)
  sums.sum_batches(
    functions,
    [batch],
    [(table,) if function in SECOND else () for function in functions],
    centre=(np.zeros(features, np.float32), np.float32(1)),
    groups=groups,
  )


def heads(
  count: int, *, examples: int, features: int, classes: int, batch_size: int
) -> None:
  """Training of heads for an epoch, and their test."""
  labels = np.arange(examples) % classes
  outputs = leep_jax.Outputs.from_arrays(
    features=np.zeros((examples, features), np.float32), labels=labels
  )
  transfer.retrain_head(
    outputs,
    outputs,
    config=transfer.Config(epochs=1, batch_size=batch_size),
    seeds=range(count),
  )


def fine_tuning(
  found: leep_jax.Source, dtype: str, *, rows: int, side: int, classes: int
) -> None:
  """A step of fine-tuning on `rows` images of each device."""
  size = rows * programs.device_count()
  images = np.zeros((size, side, side, 3), np.uint8)
  data = images, np.arange(size) % classes
  transfer.fine_tune(
    found,
    data,
    data,
    config=transfer.NetworkConfig(epochs=1, batch_size=size, dtype=dtype),
  )


def subsets(count: int, *, examples: int, classes: int) -> None:
  """LEEP of class subsets, each of half of the classes."""
  from leep_jax.tasks import subset_leep

  rng = np.random.default_rng(0)
  mask = np.zeros((count, classes), bool)
  for row in mask:
    row[rng.choice(classes, classes // 2, replace=False)] = True
  probs = np.zeros((examples, SOURCE_CLASSES), np.float32)
  indices = np.array_split(np.arange(examples), classes)
  joint = np.zeros((classes, SOURCE_CLASSES))
  subset_leep.log_likelihoods(probs, indices, joint, mask)
