"""What a user states of a source, instead of its checkpoint's configuration."""

import dataclasses
from typing import Any

from leep_jax import validation
from leep_jax.data.dataset import INPUTS
from leep_jax.models.audio_preprocessing import AudioPreprocessing
from leep_jax.models.preprocessing import Preprocessing
from leep_jax.models.text_preprocessing import TextPreprocessing

# A network of this package; a graph of PyTorch's run by JAX; PyTorch itself;
# Keras on JAX.
BACKENDS = ("native", "bridge", "torch", "keras")
# Fields that are not of `Preprocessing`.
_NOT_OF_IMAGES = (
  "num_classes", "tf_padding", "backend", "features", "pooling", "max_tokens",
  "max_seconds",
)  # fmt: skip
# How the hidden states of an encoder become features: those of the first token,
# or their mean.
POOLINGS = ("token", "mean")


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
    pooling: of an encoder of texts or sounds, one of `POOLINGS`.
    max_tokens: most tokens of a text.
    max_seconds: longest length of a sound.

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
  pooling: str | None = None
  max_tokens: int | None = None
  max_seconds: float | None = None

  def __post_init__(self) -> None:
    if self.num_classes is not None:
      validation.at_least_1("num_classes", self.num_classes)
    if self.backend is not None and self.backend not in BACKENDS:
      raise validation.unknown("backend", self.backend, BACKENDS)
    if self.pooling is not None and self.pooling not in POOLINGS:
      raise validation.unknown("pooling", self.pooling, POOLINGS)
    if self.max_tokens is not None:
      validation.at_least_1("max_tokens", self.max_tokens)
    if self.max_seconds is not None:
      AudioPreprocessing(max_seconds=self.max_seconds)
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

  def check_inputs(self, name: str, inputs: str) -> None:
    """Refuses values that are for other inputs than a source takes.

    Args:
      name: of the source.
      inputs: what it takes, such as `text`.

    Raises:
      InputError: if there are such values.

    Example:
      >>> import leep_jax
      >>> from leep_jax.sources import catalog
      >>> try:
      ...   catalog.Overrides(max_tokens=64).check_inputs("resnet50", "image")
      ... except leep_jax.InputError as error:
      ...   print(error)
      max_tokens is for texts, but resnet50 takes images
    """
    stated = {
      "image": list(self.preprocessing()),
      "text": ["max_tokens"] if self.max_tokens is not None else [],
      "audio": ["max_seconds"] if self.max_seconds is not None else [],
    }
    for kind, fields in stated.items():
      if fields and kind != inputs:
        raise validation.InputError(
          f"{fields[0]} is for {INPUTS[kind]}, but {name} takes "
          f"{INPUTS[inputs]}"
        )
    if self.pooling is not None and inputs == "image":
      raise validation.InputError(
        f"pooling is for texts and sounds, but {name} takes images"
      )

  def applied(
    self,
    name: str,
    preprocessing: Preprocessing | TextPreprocessing | AudioPreprocessing,
  ) -> Preprocessing | TextPreprocessing | AudioPreprocessing:
    """Returns a preprocessing with the values that are stated here.

    Args:
      name: of the source.
      preprocessing: of a source of images, texts or sounds.

    Raises:
      InputError: if a value does not fit.

    Example:
      >>> from leep_jax.models.preprocessing import Preprocessing
      >>> from leep_jax.sources import catalog
      >>> catalog.Overrides(crop=0.5).applied(
      ...   "mine", Preprocessing(image_size=8)).crop
      0.5
    """
    self.check_inputs(name, preprocessing.inputs)
    if isinstance(preprocessing, Preprocessing):
      return dataclasses.replace(preprocessing, **self.preprocessing())
    if isinstance(preprocessing, TextPreprocessing):
      if self.max_tokens is None:
        return preprocessing
      return dataclasses.replace(preprocessing, max_length=self.max_tokens)
    if self.max_seconds is None:
      return preprocessing
    return dataclasses.replace(preprocessing, max_seconds=self.max_seconds)
