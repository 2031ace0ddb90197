"""Sources in a race whose outputs are computed as it needs them."""

from collections.abc import Callable, Sequence
import time

import jax
import numpy as np

from leep_jax import validation
from leep_jax.data import dataset as dataset_lib
from leep_jax.engine import (
  forward,
  hosts,
  joining,
  outputs as outputs_lib,
  programs,
)
from leep_jax.sources import catalog, source as source_lib

AnySource = str | source_lib.Source | Callable[[], source_lib.Source]


class Loaded:
  """Sources in memory, for one race or several.

  Attributes:
    names: of the sources.

  Example:
    >>> from leep_jax.racing import forwarded
    >>> loaded = forwarded.Loaded(["fashion_mnist_resnet8"], names=["mine"])
    >>> loaded.get(0).name, loaded.names
    ('fashion_mnist_resnet8', ['mine'])
  """

  def __init__(
    self,
    sources: Sequence[AnySource],
    *,
    names: Sequence[str] | None = None,
    races: int = 1,
  ):
    """Loads nothing.

    Args:
      sources: as of `race`.
      names: of the sources, by default their own.
      races: how many races share them.
    """
    self._sources = list(sources)
    self._named = names is not None
    self.names = list(names or map(_name, self._sources))
    self._kept: dict[int, source_lib.Source] = {}
    # What does not fit stays until another is loaded, where the next race may
    # need it at once.
    self._last: tuple[int, source_lib.Source] | None = None
    self._races = [races] * len(self._sources)
    self._memory = programs.memory_budget()[1] // 2

  def get(self, index: int) -> source_lib.Source:
    """Returns a source, which is kept if memory allows it.

    Args:
      index: of the source.

    Raises:
      InputError: as `load_source`; if a function returns something else.
    """
    given = self._kept.get(index, self._sources[index])
    if self._last is not None and self._last[0] == index:
      given = self._last[1]
    if isinstance(given, source_lib.Source):
      return given
    self._last = None
    source = catalog.load_source(given) if isinstance(given, str) else given()
    if not isinstance(source, source_lib.Source):
      raise validation.InputError(
        f"{self.names[index]} returned a {type(source).__name__}, not a Source"
      )
    if not self._named and not isinstance(given, str):
      self.names[index] = source.name
    if sum(map(_bytes, [source, *self._kept.values()])) <= self._memory:
      self._kept[index] = source
    elif self._races[index] > 1:
      self._last = index, source
    return source

  def leave(self, index: int) -> None:
    """Gives back the memory of a source that no race needs any more.

    Args:
      index: of the source, which one race is done with.
    """
    self._races[index] -= 1
    if self._races[index] <= 0:
      self._kept.pop(index, None)


class Forwarded:
  """Sources whose outputs a forward pass computes.

  Attributes:
    names: of the sources.
    seconds: that each of them has run, without loading and compilation.
    labels: `[n]`, or None for regression.

  Example:
    >>> import numpy as np
    >>> import leep_jax
    >>> from leep_jax.racing import forwarded
    >>> digits = leep_jax.load_dataset("digits", limit=100)
    >>> sources = forwarded.Forwarded(["fashion_mnist_resnet8"], digits)
    >>> sources.run(0, np.array([5, 9]), 1)
    >>> sources.run(0, np.array([7]), 2)
    >>> sources.outputs(0).labels == digits.labels()[[5, 7, 9]]
    array([ True,  True,  True])
  """

  def __init__(
    self,
    sources: Sequence[AnySource] | Loaded,
    dataset: dataset_lib.Dataset,
    *,
    batch_size: int | None = None,
    dtype: str = "float32",
    progress: Callable[[str, int, int, int], None] | None = None,
  ):
    """Reads the labels; loads no source.

    Args:
      sources: as of `race`, or those that several races share.
      dataset: as of `race`.
      batch_size: as of `race`.
      dtype: as of `race`.
      progress: as of `race`.

    Raises:
      InputError: if an argument is wrong, or there are several processes.
    """
    if not isinstance(dataset, dataset_lib.Dataset):
      raise validation.InputError(
        f"a race needs a Dataset, not a {type(dataset).__name__}: it draws "
        "samples of the examples"
      )
    if hosts.count() > 1:
      raise validation.InputError(
        "a race runs in one process: score without it, or start one process"
      )
    if batch_size is not None:
      validation.at_least_1("batch_size", batch_size)
    if dtype not in forward.DTYPES:
      raise validation.unknown("dtype", str(dtype), forward.DTYPES)
    self._loaded = sources if isinstance(sources, Loaded) else Loaded(sources)
    self._dataset = dataset
    self._batch_size, self._dtype = batch_size, dtype
    self._progress = progress
    self.names = self._loaded.names
    self.seconds = [0.0] * len(self.names)
    self.labels = dataset.labels() if dataset.num_classes else None
    self._outputs: dict[int, outputs_lib.Outputs] = {}
    self._positions: dict[int, np.ndarray] = {}

  def __len__(self) -> int:
    """The number of examples."""
    return len(self._dataset)

  def run(self, source: int, positions: np.ndarray, number: int) -> None:
    """Runs further examples through a source.

    Args:
      source: its index.
      positions: `[m]` of the examples, none of which has run before.
      number: of the round, for `progress`.

    Raises:
      InputError: as `load_source` and `compute_outputs`.
    """
    loaded, name = self._loaded.get(source), self.names[source]
    told = self._progress or (lambda *_: None)
    start, compiled = time.perf_counter(), programs.compile_seconds()
    part = forward.compute_part(
      loaded,
      self._dataset,
      positions,
      batch_size=self._batch_size,
      dtype=self._dtype,
      progress=lambda done: told(name, number, done, len(positions)),
      check_mode=source not in self._outputs,
    )
    if source in self._outputs:
      parts = [self._outputs[source], part]
      places = [self._positions[source], positions]
      part = joining.join(
        parts,
        places,
        self._dataset,
        source=loaded,
        batch_size=self._batch_size,
      )
      positions = np.sort(np.concatenate(places))
    self._outputs[source], self._positions[source] = part, positions
    self.seconds[source] += time.perf_counter() - start
    self.seconds[source] -= programs.compile_seconds() - compiled

  def outputs(self, source: int) -> outputs_lib.Outputs:
    """Returns the outputs of all examples that have run, in their order.

    Args:
      source: its index.
    """
    return self._outputs[source]

  def leave(self, source: int) -> None:
    """Gives back the memory of a source that runs no further examples.

    Args:
      source: its index.
    """
    self._loaded.leave(source)


def _name(source):
  """What a source is called before it is loaded."""
  if isinstance(source, source_lib.Source):
    return source.name
  return (
    source if isinstance(source, str) else getattr(source, "__name__", "source")
  )


def _bytes(source):
  return sum(np.asarray(x).nbytes for x in jax.tree.leaves(source.state))
