"""All sources whose names are known: bundled, published, and timm's.

`python -m leep_jax.models --list=PATTERN` prints them.
"""

from collections.abc import Sequence
import dataclasses
import fnmatch

from leep_jax import validation
from leep_jax.sources import architectures, named, timm_names

NATIVE = "native"
BRIDGE = "bridge"


@dataclasses.dataclass(frozen=True)
class Known:
  """A source whose name is known.

  Attributes:
    name: of the source, as `--model` takes it.
    parameters: number of parameters.
    image_size: height and width of its input, in pixels.
    num_classes: of its classifier; 0 if it has none.
    accuracy: published top-1 accuracy on its own data, 0 to 1, or None.
    backend: what computes its outputs: `native`, a network of this package in
      Flax NNX, or `bridge`, the graph of the PyTorch network run by JAX.

  Example:
    >>> from leep_jax.sources import known
    >>> [row] = known.matching(["resnet50.tv_in1k"])
    >>> row.num_classes, row.accuracy, row.backend
    (1000, 0.76156, 'native')
  """

  name: str
  parameters: int
  image_size: tuple[int, int]
  num_classes: int
  accuracy: float | None
  backend: str


def backend(architecture: str) -> str:
  """Returns what computes the outputs of an architecture, see `Known`.

  Args:
    architecture: the name that any publisher uses.

  Example:
    >>> from leep_jax.sources import known
    >>> known.backend("resnet50"), known.backend("mixer_b16_224")
    ('native', 'bridge')
  """
  native = architecture.lower() in architectures.aliases()
  return NATIVE if native else BRIDGE


def matching(patterns: Sequence[str]) -> list[Known]:
  """Returns the known sources whose names match, sorted by name.

  Args:
    patterns: as a shell writes them, with `*`, `?` and `[...]`; a source has to
      match one of them. The case of letters does not matter.

  Raises:
    InputError: if a pattern matches nothing; it says which names are near.

  Example:
    >>> from leep_jax.sources import known
    >>> [row.name for row in known.matching(["cifar10*", "RESNET18.tv*"])]
    ['cifar10_resnet14', 'resnet18.tv_in1k']
  """
  rows = _rows()
  found: dict[str, Known] = {}
  for pattern in patterns:
    names = fnmatch.filter(rows, pattern.lower())
    if not names:
      raise validation.unknown("model", pattern, _near(pattern, rows))
    found |= {name: rows[name] for name in names}
  return sorted(found.values(), key=lambda row: row.name.lower())


def _near(pattern, names):
  """What a pattern may have meant: names, and patterns of architectures."""
  archs = {name.partition(".")[0] for name in names}
  # Families too, as convnext of convnext_atto.
  families = archs | {arch.split("_")[0] for arch in archs}
  patterns = {f"{family}*" for family in families}
  if "." in pattern or not validation.nearest(pattern, patterns):
    return names
  return patterns


def _rows() -> dict[str, Known]:
  """All known sources, by their names in lower case."""
  rows = {
    name: Known(
      model.name,
      model.parameters,
      model.image_size,
      model.num_classes,
      model.accuracy,
      backend(model.architecture),
    )
    for name, model in timm_names.models().items()
  }
  # Published sources have timm's names, too.
  for entry in named.entries():
    rows[entry.name.lower()] = Known(
      entry.name,
      entry.parameters,
      (entry.image_size, entry.image_size),
      entry.num_classes,
      entry.accuracy,
      backend(entry.architecture),
    )
  return rows
