"""timm's pre-trained models: what is known of them without their weights.

`timm_names.csv` has a row for each name of timm 1.0.31 that has weights;
`experiments/timm_table.py` writes it, and says where each number is from.
Nothing here imports timm.
"""

from collections.abc import Mapping
import csv
import dataclasses
import functools
import pathlib
import types

_TABLE = pathlib.Path(__file__).parent / "timm_names.csv"


@dataclasses.dataclass(frozen=True)
class TimmModel:
  """What is known of one of timm's models.

  Attributes:
    name: with the tag of its weights, such as `resnet50.a1_in1k`.
    parameters: number of parameters.
    image_size: height and width of the images in timm's evaluation, in pixels.
    num_classes: of its classifier; 0 if it has none.
    accuracy: published top-1 accuracy on ImageNet's validation set at that
      size, 0 to 1, or None.
    licence: of the weights, as timm writes it; empty if timm does not state it.
    default: whether the architecture's name without a tag means these weights.

  Example:
    >>> from leep_jax.sources import timm_names
    >>> model = timm_names.find("resnet50.tv_in1k")
    >>> model.architecture, model.image_size, model.licence
    ('resnet50', (224, 224), 'bsd-3-clause')
  """

  name: str
  parameters: int
  image_size: tuple[int, int]
  num_classes: int
  accuracy: float | None
  licence: str
  default: bool

  @property
  def architecture(self) -> str:
    """The name without its tag."""
    return self.name.partition(".")[0]


@functools.cache
def models() -> Mapping[str, TimmModel]:
  """Returns timm's models by their names in lower case, sorted.

  Example:
    >>> from leep_jax.sources import timm_names
    >>> len(timm_names.models())
    1826
  """
  with _TABLE.open(newline="", encoding="utf-8") as file:
    rows = [_model(row) for row in csv.DictReader(file)]
  return types.MappingProxyType({row.name.lower(): row for row in rows})


def find(name: str) -> TimmModel | None:
  """Returns the model of a name, or None if timm has no such weights.

  Args:
    name: an architecture with a tag, or alone, which means its default tag;
      the case of letters does not matter.

  Example:
    >>> from leep_jax.sources import timm_names
    >>> timm_names.find("ResNet50").name
    'resnet50.a1_in1k'
    >>> timm_names.find("resnet50.no_such_tag") is None
    True
  """
  return models().get(name.lower()) or _defaults().get(name.lower())


def default_tag(architecture: str) -> str | None:
  """Returns the model that timm means by an architecture alone.

  Args:
    architecture: its name; the case of letters does not matter.

  Returns:
    The name with its tag, or None if timm has no weights of it.

  Example:
    >>> from leep_jax.sources import timm_names
    >>> timm_names.default_tag("resnet50")
    'resnet50.a1_in1k'
  """
  found = _defaults().get(architecture.lower())
  return None if found is None else found.name


@functools.cache
def _defaults():
  """The models whose tags are defaults, by architecture in lower case."""
  return {m.architecture.lower(): m for m in models().values() if m.default}


def _model(row):
  height, _, width = row["image_size"].partition("x")
  return TimmModel(
    name=row["name"],
    parameters=int(row["parameters"]),
    image_size=(int(height), int(width or height)),
    num_classes=int(row["num_classes"]),
    accuracy=round(float(row["top1"]) / 100, 5) if row["top1"] else None,
    licence=row["licence"],
    default=row["default"] == "1",
  )
