"""What a user states of a source, instead of its checkpoint's configuration."""

import dataclasses
from typing import Any

from leep_jax import validation
from leep_jax.models.preprocessing import Preprocessing

# A network of this package; a graph of PyTorch's run by JAX; PyTorch itself;
# Keras on JAX.
BACKENDS = ("native", "bridge", "torch", "keras")
# Fields that are not of `Preprocessing`.
_NOT_OF_IMAGES = ("num_classes", "tf_padding", "backend", "features")


@dataclasses.dataclass(frozen=True)
class Overrides:
  """Values that replace those of a checkpoint's configuration, unless None.

  Attributes:
    image_size: side of the network's input, in pixels.
    crop: crop fraction, see `Preprocessing`.
    interpolation: name of Pillow's filter.
    mean: mean of each channel.
    std: standard deviation of each channel.
    num_classes: number of source classes that the checkpoint must have.
    tf_padding: whether convolutions pad as TensorFlow does.
    backend: which code runs the model, one of `BACKENDS`; by default its native
      network if it has one, else the bridge.
    features: name of a value in the graph of a bridged model that is used as
      features, instead of the input of its last linear layer.

  Raises:
    InputError: if a value is out of range.

  Example:
    >>> from leep_jax.sources import catalog
    >>> catalog.Overrides(image_size=64, num_classes=10).preprocessing()
    {'image_size': 64}
  """

  image_size: int | None = None
  crop: float | None = None
  interpolation: str | None = None
  mean: tuple[float, ...] | None = None
  std: tuple[float, ...] | None = None
  num_classes: int | None = None
  tf_padding: bool | None = None
  backend: str | None = None
  features: str | None = None

  def __post_init__(self) -> None:
    if self.num_classes is not None:
      validation.at_least_1("num_classes", self.num_classes)
    if self.backend is not None and self.backend not in BACKENDS:
      raise validation.unknown("backend", self.backend, BACKENDS)
    # Wrong values are refused here, before anything is loaded. `Preprocessing`
    # wants as many means as deviations, so that the missing one is made up.
    stated = self.preprocessing()
    for one, other in (("mean", "std"), ("std", "mean")):
      if one in stated:
        stated.setdefault(other, (0.5,) * len(stated[one]))
    Preprocessing(**{"image_size": 1, **stated})

  def preprocessing(self) -> dict[str, Any]:
    """Returns the fields of `Preprocessing` that are replaced."""
    fields = dataclasses.asdict(self)
    return {
      key: value
      for key, value in fields.items()
      if value is not None and key not in _NOT_OF_IMAGES
    }
