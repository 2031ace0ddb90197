"""Source models, in the form that the rest of the package uses.

A source is a pure function of a state and prepared images, texts or sounds,
together with the preprocessing that its weights were trained with. A `Source`
can be made of any model of Flax, Haiku or plain JAX, and is then used as the
bundled ones are.
"""

from collections.abc import Callable
import dataclasses
from typing import Any, NamedTuple

import jax

from leep_jax import validation
from leep_jax.data import dataset as dataset_lib
from leep_jax.models.audio_preprocessing import AudioPreprocessing
from leep_jax.models.preprocessing import Preprocessing
from leep_jax.models.text_preprocessing import TextPreprocessing

# apply(state, inputs) -> logits [B, Z], or (logits, features [B, D]). Inputs
# are images [B, H, W, C] or sounds [B, ...], float32 or bfloat16; or tokens of
# texts [B, L, K], int32.
Apply = Callable[[Any, Any], Any]


class Weights(NamedTuple):
  """The arrays of a network that is to be trained.

  Attributes:
    params: pytree of the arrays that gradients change.
    rest: pytree of all others: BatchNorm's running statistics, and the last
      layer, which is not used.

  Example:
    >>> import leep_jax
    >>> source = leep_jax.load_source("cifar10_resnet14")
    >>> source.network.weights.params["conv1"]["kernel"].get_value().shape
    (3, 3, 3, 16)
  """

  params: Any
  rest: Any


@dataclasses.dataclass(frozen=True)
class Network:
  """A source's network up to its features, in a form that can be trained.

  Attributes:
    weights: of the source.
    apply: pure function `(params, rest, images, *, train, synchronise=None) ->
      (features [B, D], rest)` of normalised images; their dtype is that of the
      arithmetic. With `train`, BatchNorm uses the statistics of the batch and
      updates those in `rest`. If the batch is spread over devices,
      `synchronise` is called with the module, see
      `programs.synchronise_batch_norm`.
    init: takes a seed and returns random initial `Weights`; None if unknown.

  Example:
    >>> import jax.numpy as jnp
    >>> import leep_jax
    >>> network = leep_jax.load_source("cifar10_resnet14").network
    >>> features, rest = network.apply(
    ...   *network.weights, jnp.zeros((2, 32, 32, 3)), train=True)
    >>> features.shape
    (2, 64)
  """

  weights: Weights
  apply: Callable[..., tuple[jax.Array, Any]]
  init: Callable[[int], Weights] | None = None


@dataclasses.dataclass(frozen=True)
class Source:
  """A pre-trained classifier, or encoder, of images, texts or sounds.

  Attributes:
    name: of the source, in tables and rows of results.
    apply: pure function `(state, images) -> logits [B, Z]`, or
      `-> (logits [B, Z], features [B, D])`. Without features there are no
      scores of features. Instead of images, it may take what the preprocessing
      makes of texts or sounds.
    state: pytree of arrays, the first argument of `apply`.
    preprocessing: makes the network's input of raw images, texts or sounds.
    min_image_size: smallest side, in pixels, of an image that it can process.
    network: the same network in a form that can be trained; None if there is
      none. `sources.network.from_nnx` makes both.
    options: everything besides weights and preprocessing that changes its
      outputs, such as how convolutions pad; part of the key of cached outputs.
    without_probs: why its outputs are no distribution over classes, or empty.
      For example, the network has no head, or a sigmoid for each of several
      labels. Only scores of features are then defined, and `apply` may return
      None for the logits.
    on_host: whether `apply` is Python code of NumPy arrays, such as a model of
      another framework, that JAX can neither compile nor train.

  Example:
    >>> import jax.numpy as jnp
    >>> import leep_jax
    >>> def apply(state, images):
    ...   features = images.mean(axis=(1, 2))  # [B, 3]
    ...   return features @ state["kernel"], features
    >>> source = leep_jax.Source(
    ...   name="mean colour", apply=apply, state={"kernel": jnp.ones((3, 5))})
    >>> logits, features = source.apply(source.state, jnp.ones((2, 8, 8, 3)))
    >>> logits.shape, features.shape
    ((2, 5), (2, 3))
  """

  name: str
  apply: Apply
  state: Any
  preprocessing: Preprocessing | TextPreprocessing | AudioPreprocessing = (
    dataclasses.field(default_factory=Preprocessing)
  )
  min_image_size: int = 1
  network: Network | None = None
  options: str = ""
  without_probs: str = ""
  on_host: bool = False

  @property
  def num_parameters(self) -> int:
    """Number of all numbers in the state, statistics of BatchNorm included."""
    return sum(
      x.size for x in jax.tree.leaves(self.state) if hasattr(x, "size")
    )

  @property
  def noun(self) -> str:
    """What it takes, such as `images`."""
    return dataset_lib.INPUTS[self.preprocessing.inputs]

  def reading(
    self, dataset: dataset_lib.Dataset
  ) -> tuple[dict[str, Any], "Source"]:
    """Returns how to read a data set for this source.

    Args:
      dataset: of what the source takes.

    Returns:
      Options of `Dataset.batches`, and the source with what is left to do for
      its preprocessing.

    Raises:
      InputError: if it takes images and the data set has texts, for example.
    """
    if dataset.inputs != self.preprocessing.inputs:
      raise validation.InputError(
        f"{self.name} takes {dataset_lib.INPUTS[self.preprocessing.inputs]}, "
        f"but {dataset.name} has {dataset.noun}"
      )
    options, left = self.preprocessing.reading(dataset)
    return options, dataclasses.replace(self, preprocessing=left)

  def check_inputs(self, shape: tuple[int, ...]) -> None:
    """Refuses inputs that the source cannot process.

    Args:
      shape: of the inputs; of images, it should be `[B, H, W, C]`.

    Raises:
      InputError: if they have another shape, or images are too small.
    """
    self.preprocessing.check_shape(shape)
    if not isinstance(self.preprocessing, Preprocessing):
      return
    # Images that are resized may have any size before.
    side = min(self.preprocessing.sides or shape[1:3])
    if side < self.min_image_size:
      raise validation.InputError(
        f"images are {side} pixels a side, but {self.name} takes at least "
        f"{self.min_image_size}"
      )
