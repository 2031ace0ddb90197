"""What a network expects of a sound: its rate, length and features."""

from collections.abc import Callable
import dataclasses
import math
from typing import Any, ClassVar

import jax
import numpy as np

from leep_jax import validation
from leep_jax.data import audio, dataset as dataset_lib

# As in transformers' Wav2Vec2FeatureExtractor: silence stays finite.
_LEAST_VARIANCE = 1e-7


@dataclasses.dataclass(frozen=True)
class AudioPreprocessing:
  """Prepares sounds as a network's own feature extractor does.

  A sound is resampled, cut off at the end if it is longer than the longest
  length, and padded with zeros at the end if it is shorter. All sounds of a
  data set get one length: that of its longest, but not above `max_seconds`.

  Attributes:
    rate: samples a second that the network takes.
    max_seconds: longest length of a sound.
    normalise: whether each sound is brought to mean 0 and variance 1, before it
      is padded.
    seconds: length of all sounds; None for that of the data set.
    extract: makes features `features` of samples `[T]`; None if the network
      takes the samples.
    features: shape of what `extract` returns, such as `(frames, mel)`.
    masked: whether the network takes, beside the samples, a mask that is 1 for
      those of the sound and 0 for the zeros after it.
    version: what tells apart different functions `extract`.

  Example:
    >>> import numpy as np
    >>> from leep_jax.data import audio
    >>> from leep_jax.models import audio_preprocessing
    >>> sounds = audio_preprocessing.AudioPreprocessing(
    ...   rate=4, seconds=2.0, normalise=False)
    >>> sounds.fit(audio.Sound(np.ones(6, np.float32), 4)).tolist()
    [1.0, 1.0, 1.0, 1.0, 1.0, 1.0, 0.0, 0.0]
  """

  inputs: ClassVar[str] = "audio"

  rate: int = 16000
  max_seconds: float = 10.0
  normalise: bool = True
  seconds: float | None = None
  extract: Callable[[np.ndarray], np.ndarray] | None = dataclasses.field(
    default=None, repr=False, compare=False
  )
  features: tuple[int, ...] = ()
  masked: bool = False
  version: str = ""

  def __post_init__(self) -> None:
    validation.at_least_1("rate", self.rate)
    for name in ("max_seconds", "seconds"):
      value = getattr(self, name)
      if value is not None and not 0 < value < math.inf:
        raise validation.InputError(f"{name} is {value}, but must be above 0")

  @property
  def samples(self) -> int:
    """T, the samples of each sound."""
    seconds = self.max_seconds if self.seconds is None else self.seconds
    return max(round(seconds * self.rate), 1)

  def fit(self, sound: audio.Sound) -> np.ndarray:
    """Returns the network's input for a sound, float32.

    It is `[T]`, or `[T, 2]` with a mask, or `features`.

    Args:
      sound: of any rate and length.

    Raises:
      InputError: if it is no sound.
    """
    if not isinstance(sound, audio.Sound):
      raise validation.InputError(
        f"an input is a {type(sound).__name__}, but the source takes sounds"
      )
    samples = _resampled(sound, self.rate)[: self.samples]
    if self.normalise:
      # In float64, as sums over many samples lose digits.
      exact = samples.astype(np.float64)
      scale = math.sqrt(exact.var() + _LEAST_VARIANCE)
      samples = ((exact - exact.mean()) / scale).astype(np.float32)
    if self.extract is not None:
      return np.asarray(self.extract(samples), np.float32)
    padded = np.pad(samples, (0, self.samples - len(samples)))
    if not self.masked:
      return padded
    mask = np.arange(self.samples) < len(samples)
    return np.stack([padded, mask.astype(np.float32)], axis=1)

  def reading(
    self, dataset: dataset_lib.Dataset
  ) -> tuple[dict[str, Any], "AudioPreprocessing"]:
    """Returns options of `Dataset.batches`, and what is left to do then."""
    fitted = self
    if self.seconds is None and dataset.seconds:
      seconds = min(dataset.seconds, self.max_seconds)
      fitted = dataclasses.replace(self, seconds=seconds)
    return {"fit": fitted.fit}, fitted

  def checked(self, batch: Any) -> np.ndarray:
    """Returns a batch as `__call__` takes it.

    Args:
      batch: real numbers, stacked results of `fit`.

    Raises:
      InputError: if it is something else.
    """
    array = validation.as_array("sounds", batch)
    if array.dtype.kind != "f":
      raise validation.InputError(
        f"inputs are {array.dtype} of shape {array.shape}, but the source "
        "takes sounds, float32"
      )
    if not np.isfinite(array).all():
      raise validation.InputError("sounds hold NaN or infinity")
    return array.astype(np.float32, copy=False)

  def check_shape(self, shape: tuple[int, ...]) -> None:
    """Refuses arrays of another shape than stacked results of `fit`.

    Args:
      shape: which should be `[B, T]`, `[B, T, 2]` or `[B, *features]`.

    Raises:
      InputError: if it is another.
    """
    mask = (2,) if self.masked else ()
    good = shape[2:] == mask and len(shape) > 1
    if self.features:
      good = shape[1:] == self.features
    if not good:
      expected: tuple[object, ...] = self.features or ("T", *mask)
      what = ", ".join(map(str, expected))
      raise validation.InputError(
        f"inputs have shape {shape}, but the source takes sounds [B, {what}]"
      )

  def trials(self, least: int) -> list[jax.ShapeDtypeStruct]:
    """Returns inputs with which a network can be traced.

    Args:
      least: has no meaning here.
    """
    # A second of sound is enough for every network.
    shape = self.features or (self.rate, 2)[: 1 + self.masked]
    return [jax.ShapeDtypeStruct((2, *shape), np.float32)]

  def size(self, dataset: dataset_lib.Dataset) -> int:
    """Returns the pixels of an image that takes about as long as a sound."""
    _, fitted = self.reading(dataset)
    # A step of wav2vec 2.0 is 320 samples; a patch of an image is 256 pixels.
    return math.prod(self.features) if self.features else fitted.samples

  def __call__(self, sounds: jax.Array) -> jax.Array:
    """Returns sounds as they are: all is done on the host.

    Args:
      sounds: `[B, T]` or `[B, *features]`.
    """
    return sounds


def _resampled(sound, rate):
  """Returns the samples of a sound at another rate."""
  if sound.rate == rate:
    return sound.samples
  from scipy import signal

  # Polyphase filtering, as no sound above half the new rate may be left.
  common = math.gcd(rate, sound.rate)
  found = signal.resample_poly(
    sound.samples, rate // common, sound.rate // common
  )
  return found.astype(np.float32)
