"""How a Keras model ends: its logits before a softmax, and its features.

Keras gives what layers compute only for functional models. Here, layers of any
model are watched while the model is called: each call's input and output are
noted, and followed back from the model's output to the last layer with weights,
the head. JAX traces such a call once; compiled programs do not watch.

Symbols: B images, Z source classes, D features.
"""

from collections.abc import Iterator, Sequence
import contextlib
import math
from typing import Any, NamedTuple

import jax
import jax.numpy as jnp

from leep_jax import validation

_HEADS = ("Dense", "Conv2D")
_METHODS = ("call", "quantized_call")
# Operations that neither change the order of classes nor mix them.
_PASSED = ("Dropout", "Flatten", "Identity", "Reshape", "Squeeze")
_ACTIVATIONS = ("Activation", "LogSoftmax", "Sigmoid", "Softmax")
_DISTRIBUTIONS = {"softmax", "log_softmax", "logsoftmax"}


class Call(NamedTuple):
  """One call of a layer.

  Attributes:
    layer: of Keras, or an operation of a functional model.
    given: its first argument.
    linear: what it computed before its activation function.
    output: what it returned.

  Example:
    >>> from leep_jax.sources import keras_endings
    >>> keras_endings.Call(None, 1, 2, 3).output
    3
  """

  layer: Any
  given: Any
  linear: Any
  output: Any


class Ending(NamedTuple):
  """What a model computes.

  Attributes:
    logits: `[B, Z]`, or None if the model has no head.
    features: `[B, D]`.
    head: the layer whose input is the features; None if there is none.
    without_probs: see `Source`.

  Example:
    >>> from leep_jax.sources import keras_endings
    >>> keras_endings.Ending(None, [[1.0]], None, "no head").logits is None
    True
  """

  logits: Any
  features: Any
  head: Any
  without_probs: str


def layers_of(model: Any) -> list[Any]:
  """Returns all layers and operations in a model, inner ones included.

  Args:
    model: of Keras.

  Example:
    >>> from leep_jax.sources import keras_endings, keras_models
    >>> keras = keras_models.on_jax()
    >>> model = keras.Sequential([keras.Input((4,)), keras.layers.Dense(2)])
    >>> [type(layer).__name__ for layer in keras_endings.layers_of(model)]
    ['InputLayer', 'Dense']
  """
  found = {}
  for layer in model._flatten_layers(include_self=True):
    # Functional models also have operations that are no layers.
    for one in (layer, *getattr(layer, "operations", ())):
      found[id(one)] = one
  del found[id(model)]
  return list(found.values())


def ending(
  model: Any,
  state: tuple[Sequence[jax.Array], Sequence[jax.Array]],
  images: jax.Array,
  *,
  features: str | None = None,
) -> Ending:
  """Calls a model in evaluation mode, and finds its logits and features.

  Args:
    model: of Keras, on its JAX backend.
    state: values of its trainable variables, and of the others.
    images: `[B, H, W, C]`; their dtype is that of the arithmetic.
    features: name of the layer whose output is the features, averaged over
      space; by default, they are the input of the last `Dense`, or of a 1x1
      convolution in its place.

  Raises:
    InputError: if the model does not return one array, or does not call the
      layer.

  Example:
    >>> import jax.numpy as jnp
    >>> from leep_jax.sources import keras_endings, keras_models
    >>> keras = keras_models.on_jax()
    >>> model = keras.Sequential([
    ...   keras.Input((8, 8, 3)),
    ...   keras.layers.GlobalAveragePooling2D(),
    ...   keras.layers.Dense(5, activation="softmax"),
    ... ])
    >>> state = keras_models.state_of(model)
    >>> found = keras_endings.ending(model, state, jnp.zeros((2, 8, 8, 3)))
    >>> found.logits.shape, found.features.shape, type(found.head).__name__
    ((2, 5), (2, 3), 'Dense')
  """
  layers = layers_of(model)
  with (
    # Keras adds vectors to arrays of more axes throughout.
    jax.numpy_rank_promotion("allow"),
    _computing(layers, images.dtype),
    _watching(layers) as calls,
  ):
    output, _ = model.stateless_call(*state, images, training=False)
    if isinstance(output, (list, tuple)) and len(output) == 1:
      (output,) = output
    if not hasattr(output, "shape") or output.ndim < 2:
      raise validation.InputError(
        f"the Keras model {model.name} returns "
        f"{getattr(output, 'shape', type(output).__name__)}, not one array of "
        "a row an image: make a keras.Model of that output"
      )
    return _found(model, calls, output, features)


def _found(model, calls, output, features):
  """The ending, of the calls of all layers and the model's output."""
  logits, why = None, ""
  head, activations, stop = _head(calls, output)
  if head is not None:
    logits, why = _logits(head.linear, activations)
  elif output.ndim == 2 and (stop is None or (features and _is_own(stop))):
    # Of its last operations nothing is known: if they are a softmax, the
    # forward pass refuses the probabilities.
    logits, why = _logits(output, [])
    head = next((call for call in reversed(calls) if _is_dense(call)), None)
  else:
    why = f"the Keras model ends in {type(stop).__name__}, which is no head"
  if features:
    named = [call for call in calls if call.layer.name == features]
    if not named:
      raise validation.unknown(
        f"layer of {model.name}", features, {c.layer.name for c in calls}
      )
    values = _pooled(named[-1].output)
  elif head is not None:
    values = head.given.reshape(len(output), -1)
  else:
    values = _pooled(output)
  return Ending(logits, values, None if head is None else head.layer, why)


def _head(calls, output):
  """Follows the output back to the head.

  Returns:
    The call of the head or None; the names of activations after it; and the
    layer that ended the search, or None if it was an operation.
  """
  activations: list[str] = []
  for call in reversed(calls):
    # A model's output is that of its last layer.
    if call.output is not output or not _is_leaf(call.layer):
      continue
    kind = type(call.layer).__name__
    own = getattr(call.layer, "activation", None)
    if _is_dense(call):
      return call, [*activations, _name(own)], None
    if kind in _ACTIVATIONS:
      activations.append(kind.lower() if own is None else _name(own))
    elif kind not in _PASSED:
      return None, [], call.layer if _is_layer(call.layer) else None
    output = call.given
  return None, [], None


def _is_layer(layer):
  """Whether it is a layer, and no operation such as a division."""
  return hasattr(layer, "trainable_weights")


def _is_leaf(layer):
  """Whether no layers are inside a layer."""
  return not _is_layer(layer) or not list(
    layer._flatten_layers(include_self=False)
  )


def _is_own(layer):
  """Whether the class of a layer is a user's own."""
  return type(layer).__module__.partition(".")[0] not in ("keras", "keras_hub")


def _is_dense(call):
  """Whether a call computes one row of numbers an image from such a row."""
  kind = type(call.layer).__name__
  if kind not in _HEADS:
    return False
  # A 1x1 convolution of pooled features, in MobileNet.
  return all(
    math.prod(x.shape[1:-1]) == 1 and x.ndim == (2 if kind == "Dense" else 4)
    for x in (call.given, call.linear)
  )


def _logits(values, activations):
  """Logits `[B, Z]`, and why they are of no distribution over classes."""
  logits = values.reshape(len(values), -1)
  after = [name for name in activations if name != "linear"]
  if logits.shape[1] == 1 and after == ["sigmoid"]:
    # A sigmoid of s is a softmax of (0, s).
    return jnp.concatenate([jnp.zeros_like(logits), logits], axis=1), ""
  if logits.shape[1] == 1:
    return logits, "the Keras model has one output: there is no choice"
  others = [name for name in after if name not in _DISTRIBUTIONS]
  if others:
    return logits, f"the Keras model ends in {others[0]}, not softmax"
  return logits, ""


def _pooled(values):
  """The mean over all axes between the first and the last."""
  return values.mean(axis=tuple(range(1, values.ndim - 1)))


def _name(activation):
  return getattr(activation, "__name__", type(activation).__name__).lower()


@contextlib.contextmanager
def _computing(layers, dtype) -> Iterator[None]:
  """Has layers compute in bfloat16, if that is the dtype.

  Layers cast their inputs to the dtype that they were made for.
  """
  changed = []
  try:
    for layer in layers if dtype == jnp.bfloat16 else ():
      policy = getattr(layer, "dtype_policy", None)
      # Quantised layers stay as they are.
      if policy is not None and policy.name == "float32":
        changed.append((layer, policy))
        layer.dtype_policy = "mixed_bfloat16"
    yield
  finally:
    for layer, policy in changed:
      layer.dtype_policy = policy


@contextlib.contextmanager
def _watching(layers) -> Iterator[list[Call]]:
  """Notes all calls of layers, in their order."""
  calls: list[Call] = []
  # Set in the dictionary of the layer: Keras tracks attributes.
  watched = [
    (layer, method)
    for layer in layers
    for method in _METHODS
    if hasattr(layer, method) and method not in vars(layer)
  ]
  try:
    for layer, method in watched:
      vars(layer)[method] = _noting(layer, getattr(layer, method), calls)
    yield calls
  finally:
    for layer, method in watched:
      vars(layer).pop(method, None)


def _noting(layer, function, calls):
  """The function of a layer, which then also notes its calls."""

  def noting(*args, **kwargs):
    activation: Any = getattr(layer, "activation", None)
    fused = activation is not None and type(layer).__name__ in _HEADS
    if fused:
      vars(layer)["activation"] = None
    try:
      linear = function(*args, **kwargs)
    finally:
      if fused:
        vars(layer)["activation"] = activation
    output = activation(linear) if fused else linear
    given = args[0] if args else next(iter(kwargs.values()), None)
    calls.append(Call(layer, given, linear, output))
    return output

  return noting
