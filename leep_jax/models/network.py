"""From a Flax NNX module to a source: to score it, and to train it.

Every network of this package becomes a source here, and so does a user's own.
"""

from collections.abc import Callable
import functools

from flax import nnx
import jax
import jax.numpy as jnp

from leep_jax import checks, devices, source as source_lib

_AS_THEY_ARE = source_lib.Preprocessing()


def from_nnx(
  name: str,
  model: nnx.Module,
  *,
  head: str,
  preprocessing: source_lib.Preprocessing = _AS_THEY_ARE,
  min_image_size: int = 1,
  init: Callable[[int], nnx.Module] | None = None,
) -> source_lib.Source:
  """Returns the source that a module is.

  Args:
    name: what tables and rows call it.
    model: called on images `[B, H, W, C]` it gives `(logits [B, Z], features
      [B, D])`. It is not changed; dropout and other randomness are off.
    head: where its last fully connected layer is, such as `fc` or `head.fc`.
    preprocessing: what turns raw images into the network's input.
    min_image_size: smallest side, in pixels, of an image it can be fed.
    init: what makes such a module with fresh weights from a seed; without it,
      the source cannot be trained from scratch.

  Raises:
    InputError: if the module has no parameters under `head`.
  """
  model = nnx.clone(model)
  model.eval()
  graph, state = nnx.split(model)
  within = _within(head)
  if not any(within(path) for path, _ in nnx.to_flat_state(state)):
    known = sorted({str(path[0]) for path, _ in nnx.to_flat_state(state)})
    raise checks.InputError(
      f"{name} has no layer {head!r}: its parts are {', '.join(known)}"
    )

  def apply(state, images):
    return nnx.merge(graph, state)(images)

  def trained(path, variable):
    return isinstance(variable, nnx.Param) and not within(path)

  def split(module):
    return nnx.split(module, trained, ...)

  @functools.lru_cache(maxsize=16)
  def definition(train, together, dtype):
    """The network in one mode, without values."""
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
  """Lets BatchNorm give what it is fed: its statistics stay float32.

  Left to itself, it would promote bfloat16 to float32.
  """
  for _, module in nnx.iter_modules(model):
    if isinstance(module, nnx.BatchNorm):
      module.dtype = jnp.dtype(dtype)


def _within(head):
  parts = tuple(head.split("."))
  return lambda path: tuple(map(str, path[: len(parts)])) == parts
