"""Turns a Flax NNX module into a source, which can be scored and trained.

All networks of this package become sources here, and so can a user's own.
"""

from collections.abc import Callable, Sequence
import dataclasses
from typing import Any

from flax import nnx
import jax
import jax.numpy as jnp

from leep_jax import validation
from leep_jax.models import preprocessing as preprocessing_lib
from leep_jax.sources import source as source_lib

_NO_PREPROCESSING = preprocessing_lib.Preprocessing()


def from_nnx(
  name: str,
  model: nnx.Module,
  *,
  head: str,
  preprocessing: preprocessing_lib.Preprocessing = _NO_PREPROCESSING,
  min_image_size: int = 1,
  init: Callable[[int], nnx.Module] | None = None,
) -> source_lib.Source:
  """Returns a source that runs a module.

  Args:
    name: of the source, in tables and rows of results.
    model: called on images `[B, H, W, C]` it returns `(logits [B, Z], features
      [B, D])`. It is copied and not changed; dropout and other randomness are
      off.
    head: path of the last fully connected layer, such as `fc` or `head.fc`.
    preprocessing: of raw images, to the network's input.
    min_image_size: smallest side, in pixels, of an image that it can process.
    init: function of a seed that returns such a module with new weights.
      Without it, the source cannot be trained from scratch.

  Raises:
    InputError: if the module has no parameters under `head`.

  Example:
    >>> from flax import nnx
    >>> import jax.numpy as jnp
    >>> import leep_jax
    >>> from leep_jax.sources import network
    >>> class Linear(nnx.Module):
    ...   def __init__(self, *, rngs):
    ...     self.fc = nnx.Linear(12, 5, rngs=rngs)
    ...   def __call__(self, images):
    ...     features = images.reshape(len(images), -1)  # 2 * 2 * 3 = 12
    ...     return self.fc(features), features
    >>> source = network.from_nnx("mine", Linear(rngs=nnx.Rngs(0)), head="fc")
    >>> logits, features = source.apply(source.state, jnp.ones((4, 2, 2, 3)))
    >>> logits.shape, features.shape
    ((4, 5), (4, 12))
  """
  # The caller's module stays in its mode, which is part of the definition that
  # `nnx.split` returns.
  model = nnx.clone(model)
  model.eval()
  graph, state = nnx.split(model)
  body = _Body(graph, tuple(head.split(".")))
  if not any(body.in_head(path) for path, _ in nnx.to_flat_state(state)):
    known = sorted({str(path[0]) for path, _ in nnx.to_flat_state(state)})
    raise validation.InputError(
      f"{name} has no layer {head!r}: its parts are {', '.join(known)}"
    )

  def apply(state, images):
    return nnx.merge(graph, state)(images)

  # `output_checks` need not test whether this function is in training mode.
  apply.in_evaluation = True  # type: ignore[attr-defined]
  return source_lib.Source(
    name=name,
    apply=apply,
    state=state,
    preprocessing=preprocessing,
    min_image_size=min_image_size,
    network=source_lib.Network(
      weights=body.weights(model),
      apply=body,
      init=None if init is None else lambda seed: body.weights(init(seed)),
    ),
  )


@dataclasses.dataclass(frozen=True)
class _Body:
  """A network up to its features, as `Network.apply` describes.

  Attributes:
    graph: definition of the module, including the head.
    head: path of its last layer, whose parameters are not trained: a run has a
      head of its own.
  """

  graph: nnx.GraphDef[nnx.Module]
  head: tuple[str, ...]

  def in_head(self, path: Sequence[Any]) -> bool:
    """Returns whether the parameter at a path belongs to the head."""
    return tuple(map(str, path[: len(self.head)])) == self.head

  def split(self, module: nnx.Module) -> tuple[Any, Any, Any]:
    """Returns the definition, what gradients change, and the other arrays.

    Running means are no parameters: the forward pass updates them.
    """

    def trained(path, variable):
      return isinstance(variable, nnx.Param) and not self.in_head(path)

    graph, *states = nnx.split(module, trained, ...)
    params, rest = states
    return graph, params, rest

  def weights(self, module: nnx.Module) -> source_lib.Weights:
    """Returns the arrays of a module, which is put in evaluation mode."""
    module.eval()
    return source_lib.Weights(*self.split(module)[1:])

  def __call__(
    self,
    params: Any,
    rest: Any,
    images: jax.Array,
    *,
    train: bool,
    synchronise: Callable[[nnx.Module], None] | None = None,
  ) -> tuple[jax.Array, Any]:
    """Returns features `[B, D]` and the updated `rest`."""
    # The cast is inside what is differentiated: in bfloat16 too, gradients and
    # updates are those of float32 parameters.
    low = jax.tree.map(lambda x: x.astype(images.dtype), params)
    rest = jax.tree.map(jnp.asarray, rest)  # BatchNorm sets parts of it
    module = nnx.merge(self.graph, low, rest, copy=True)
    if train:
      # Networks such as ViT have no layer with this attribute.
      module.set_attributes(use_running_average=False, raise_if_not_found=False)
    set_dtype(module, images.dtype.name)
    if synchronise is not None:
      synchronise(module)
    # Calling the module updates its running means in place; they are returned,
    # as the caller sees a pure function.
    _, features = module(images)
    leaves = jax.tree.leaves(self.split(module)[2])
    return features, jax.tree.unflatten(jax.tree.structure(rest), leaves)


def set_dtype(model: nnx.Module, dtype: str) -> None:
  """Sets the dtype that a module's BatchNorms return.

  Their statistics stay float32. Without a dtype, a BatchNorm promotes its
  result to that of its statistics: the layers after it would run in float32.

  Args:
    model: the module, which is changed.
    dtype: `float32` or `bfloat16`.

  Example:
    >>> from flax import nnx
    >>> import jax.numpy as jnp
    >>> from leep_jax.models import layers
    >>> from leep_jax.sources import network
    >>> norm = layers.batch_norm(3, rngs=nnx.Rngs(0))
    >>> network.set_dtype(norm, "bfloat16")
    >>> norm(jnp.ones((2, 4, 4, 3), jnp.bfloat16)).dtype.name
    'bfloat16'
  """
  for _, module in nnx.iter_modules(model):
    if isinstance(module, nnx.BatchNorm):
      module.dtype = jnp.dtype(dtype)
