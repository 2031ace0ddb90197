"""A source model as the rest of the package sees it: one pure function.

A source is a pure function of a state and normalised images, with the
preprocessing that its weights were trained with. Whoever has a Flax, Haiku or
plain JAX model builds a `Source` from it and is served as the bundled models.
"""

from collections.abc import Callable
import dataclasses
from typing import Any, NamedTuple

import jax

from leep_jax import validation
from leep_jax.models.preprocessing import Preprocessing

# apply(state, images [B, H, W, C]) -> logits [B, Z], or (logits, features
# [B, D]); images are float32 or bfloat16.
Apply = Callable[[Any, jax.Array], Any]


class Weights(NamedTuple):
  """What a network has learnt, its last fully connected layer left out of it.

  Attributes:
    params: pytree of the arrays that training changes by their gradients.
    rest: pytree of all others: BatchNorm's running statistics, and the last
      layer, which is not used.
  """

  params: Any
  rest: Any


@dataclasses.dataclass(frozen=True)
class Network:
  """A source's network up to its features, in a form that can be trained.

  Attributes:
    weights: those of the source.
    apply: pure function `(params, rest, images, *, train, synchronise=None) ->
      (features [B, D], rest)` of normalised images, whose type is that of the
      arithmetic. With `train`, BatchNorm takes the batch's statistics and
      updates those in `rest`. `synchronise` is called with the module where the
      batch is spread over devices: see `programs.synchronise_batch_norm`.
    init: `seed -> Weights`, freshly drawn; None where it is unknown.
  """

  weights: Weights
  apply: Callable[..., tuple[jax.Array, Any]]
  init: Callable[[int], Weights] | None = None


@dataclasses.dataclass(frozen=True)
class Source:
  """A pre-trained classifier.

  Attributes:
    name: what tables and rows call it.
    apply: pure function `(state, images) -> logits [B, Z]`, or
      `-> (logits [B, Z], features [B, D])`; a source without features has no
      feature scores.
    state: pytree of arrays handed to `apply`.
    preprocessing: what turns raw images into the network's input.
    min_image_size: smallest side, in pixels, of an image it can be fed.
    network: the same network, to be fine-tuned or trained from scratch; None
      where it can only be applied. `models.network.from_nnx` gives both.
    options: what besides weights and preprocessing decides its outputs, such
      as how convolutions pad.
    without_probs: why its outputs are no distribution over labels of which
      one is true, as those of a network without a head or with a sigmoid for
      each of several labels; empty where they are. Scores of features are
      then all there is, and `apply` may return None for the logits.
  """

  name: str
  apply: Apply
  state: Any
  preprocessing: Preprocessing = dataclasses.field(
    default_factory=Preprocessing
  )
  min_image_size: int = 1
  network: Network | None = None
  options: str = ""
  without_probs: str = ""

  def check_images(self, shape: tuple[int, ...]) -> None:
    """Refuses images that the source cannot be fed.

    Args:
      shape: of images, `[B, H, W, C]`.

    Raises:
      InputError: if it is another, or they are too small.
    """
    channels = len(self.preprocessing.mean)
    if len(shape) != 4 or shape[3] not in (1, channels):
      hint = ": are channels first?" if shape[1:2] == (channels,) else ""
      raise validation.InputError(
        f"images have shape {shape}, not [B, H, W, 1 or {channels}]{hint}"
      )
    side = self.preprocessing.image_size or min(shape[1:3])
    if side < self.min_image_size:
      raise validation.InputError(
        f"images are {side} pixels a side, but {self.name} takes at least "
        f"{self.min_image_size}"
      )
