"""The option `--dry_run` of `python -m leep_jax.score`: what would it cost?"""

from collections.abc import Sequence
import functools
from typing import Any

from absl import flags
import numpy as np

from leep_jax import command, data, estimates, validation
from leep_jax.engine import hosts
from leep_jax.sources import catalog


def define(defined: flags.FlagValues) -> flags.FlagHolder[Any]:
  """Defines the flag `--dry_run`, and returns its holder.

  Args:
    defined: the flags of a command, to which it is added.

  Example:
    >>> from absl import flags
    >>> from leep_jax import score_dry_run
    >>> score_dry_run.define(flags.FlagValues()).name
    'dry_run'
  """
  return flags.DEFINE_boolean(
    "dry_run",
    False,
    "Score nothing: print forward passes, examples, time and bytes, from "
    "speeds that are measured now, or were before.",
    flag_values=defined,
  )


def run(
  models: Sequence[str],
  datasets: Sequence[data.Dataset],
  *,
  overrides: catalog.Overrides,
  dtype: str,
  batch_size: int | None,
  raced: bool,
) -> int:
  """Prints what scoring would cost; returns the exit status.

  Args:
    models: names of the sources.
    datasets: the targets.
    overrides: what replaces the configuration of checkpoints.
    dtype: of the forward pass.
    batch_size: as of `forward.compute_outputs`.
    raced: whether `--race` is given.

  Raises:
    InputError: if there are several processes.

  Example:
    >>> import leep_jax
    >>> from leep_jax import score_dry_run
    >>> from leep_jax.sources import catalog
    >>> score_dry_run.run(
    ...   ["fashion_mnist_resnet8"], [leep_jax.load_dataset("digits")],
    ...   overrides=catalog.Overrides(), dtype="float32", batch_size=None,
    ...   raced=False)
    source  ...
    1 forward pass, 1,797 images: ...
    0
  """
  if hosts.count() > 1:
    raise validation.InputError(
      "--dry_run measures one process: leave out --distributed"
    )
  found: list[estimates.Passes] = []

  def one(model):
    rate = estimates.measured(
      model,
      functools.partial(command.load_source, model, overrides=overrides),
      datasets[0],
      overrides=overrides,
      dtype=dtype,
      batch_size=batch_size,
    )
    found.append(estimates.Passes(model, [len(x) for x in datasets], rate))

  status = command.for_each_source(models, one)
  if not found:
    return status
  noun = datasets[0].noun
  print(estimates.table(found, noun=noun), end="\n\n")
  print(*estimates.total(found, noun=noun), sep="\n")
  largest = max(p.rate.width for p in found) * max(len(x) for x in datasets)
  print(
    "outputs: at most "
    f"{estimates.size(largest)} at a time, on disk only if memory is short"
  )
  print("scores are not counted")
  if raced:
    counts = {
      i: (len(x), len(np.unique(x.labels())) if x.num_classes else 0)
      for i, x in enumerate(datasets)
    }
    seconds = sum(p.seconds for p in found)
    print(*estimates.race(counts, len(found), seconds), sep="\n")
  return status
