"""Data and outputs of sources, for scripts that read what sweeps cached."""

from collections.abc import Iterator, Sequence
import contextlib
import dataclasses
import pathlib

from absl import flags

from experiments import section
import leep_jax
from leep_jax import data
from leep_jax.engine import cache


@dataclasses.dataclass(frozen=True)
class Opened:
  """Where data and outputs are.

  Attributes:
    data_dir: folder of TFDS data sets, absolute, or None.
    kept: the outputs of sources.
  """

  data_dir: str | None
  kept: cache.Cache

  def pair(
    self,
    target: str,
    *,
    limit: int | None = None,
    test_limit: int | None = None,
  ) -> tuple[leep_jax.Dataset, leep_jax.Dataset]:
    """Returns the training and the test set of a target."""
    return data.load_pair(
      target, data_dir=self.data_dir, limit=limit, test_limit=test_limit
    )

  def outputs(
    self, model: str, datasets: Sequence[leep_jax.Dataset]
  ) -> list[leep_jax.Outputs]:
    """Returns a source's outputs on data sets, computed where none are kept."""
    source = leep_jax.load_source(model)
    return [self.kept.outputs(source, dataset) for dataset in datasets]


class CachedOutputs:
  """The flags `data_dir`, `weights` and `cache_dir` of a script."""

  def __init__(self, defined: flags.FlagValues):
    """Defines the flags.

    Args:
      defined: the script's flags.
    """
    self._data_dir = flags.DEFINE_string(
      "data_dir", None, "Folder of TFDS data sets.", flag_values=defined
    )
    self._weights = flags.DEFINE_string(
      "weights", ".", "Folder of the sources' files.", flag_values=defined
    )
    self._cache_dir = flags.DEFINE_string(
      "cache_dir",
      "runs/cpu/cache",
      "Folder of outputs of sources, such as that of a section's sweeps.",
      flag_values=defined,
    )

  @contextlib.contextmanager
  def opened(self) -> Iterator[Opened]:
    """Changes to the folder of the sources' files.

    Raises:
      InputError: if there is none.
    """
    # Absolute, because they are named from the working directory of before.
    given = self._data_dir.value
    opened = Opened(
      given and str(pathlib.Path(given).resolve()),
      cache.Cache(pathlib.Path(self._cache_dir.value).resolve()),
    )
    with section.working_directory(self._weights.value):
      yield opened
