"""Turns a Flax NNX module into a source, which can be scored and trained.

All networks of this package become sources here, and so can a user's own.
"""

from collections.abc import Callable
import functools

from flax import nnx
import jax
import jax.numpy as jnp

from leep_jax import checks, devices, source as source_lib

_NO_PREPROCESSING = source_lib.Preprocessing()


def from_nnx(
  name: str,
  model: nnx.Module,
  *,
  head: str,
  preprocessing: source_lib.Preprocessing = _NO_PREPROCESSING,
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
    >>> from leep_jax.models import network
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
  model = nnx.clone(model)
  model.eval()
  # A pure function of its state is all that the rest of the package sees.
  graph, state = nnx.split(model)
  within = _within(head)
  if not any(within(path) for path, _ in nnx.to_flat_state(state)):
    known = sorted({str(path[0]) for path, _ in nnx.to_flat_state(state)})
    raise checks.InputError(
      f"{name} has no layer {head!r}: its parts are {', '.join(known)}"
    )

  def apply(state, images):
    return nnx.merge(graph, state)(images)

  apply.in_evaluation = True  # type: ignore[attr-defined]

  # Trained with a head of its own, a network does not need that of the source.
  # Running means are no parameters, and are updated by the forward pass.
  def trained(path, variable):
    return isinstance(variable, nnx.Param) and not within(path)

  def split(module):
    return nnx.split(module, trained, ...)

  @functools.lru_cache(maxsize=16)
  def definition(train, together, dtype):
    """The graph definition of the network in one mode, without values."""
    module = nnx.merge(graph, state)
    if train:
      module.set_attributes(use_running_average=False, raise_if_not_found=False)
    set_dtype(module, dtype)
    if together:
      devices.join_batch_norm(module)
    return split(module)[0]

  def train_apply(params, rest, images, *, train, together):
    defined = definition(train, together, images.dtype.name)
    low = jax.tree.map(lambda x: x.astype(images.dtype), params)
    rest = jax.tree.map(jnp.asarray, rest)  # BatchNorm sets parts of it
    module = nnx.merge(defined, low, rest, copy=True)
    # Calling the module updates its running means in place; they are returned,
    # as the caller sees a pure function.
    _, features = module(images)
    leaves = jax.tree.leaves(split(module)[2])
    return features, jax.tree.unflatten(jax.tree.structure(rest), leaves)

  def weights(module):
    module.eval()
    return source_lib.Weights(*split(module)[1:])

  return source_lib.Source(
    name=name,
    apply=apply,
    state=state,
    preprocessing=preprocessing,
    min_image_size=min_image_size,
    network=source_lib.Network(
      weights=weights(model),
      apply=train_apply,
      init=None if init is None else lambda seed: weights(init(seed)),
    ),
  )


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
    >>> from leep_jax.models import layers, network
    >>> norm = layers.batch_norm(3, rngs=nnx.Rngs(0))
    >>> network.set_dtype(norm, "bfloat16")
    >>> norm(jnp.ones((2, 4, 4, 3), jnp.bfloat16)).dtype.name
    'bfloat16'
  """
  for _, module in nnx.iter_modules(model):
    if isinstance(module, nnx.BatchNorm):
      module.dtype = jnp.dtype(dtype)


def _within(head):
  """Returns a function that tells whether a path is that of the head."""
  parts = tuple(head.split("."))
  return lambda path: tuple(map(str, path[: len(parts)])) == parts
