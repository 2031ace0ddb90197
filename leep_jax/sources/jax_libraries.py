"""Models of Flax Linen, Equinox and Haiku as sources.

Each function takes a model with its weights, as its library keeps them, and
returns a source that is scored and fine-tuned like those of this package. In
fine-tuning, too, models run in evaluation mode: BatchNorm keeps its running
statistics. The model returns logits `[B, Z]`, or `(logits, features [B, D])`;
if it returns logits alone, `head` says which layer makes them, and the features
are the input of that layer.

Symbols: B images, Z source classes, D features.
"""

from collections.abc import Callable, Mapping
import inspect
from typing import Any

import jax

from leep_jax import validation
from leep_jax.models import preprocessing as preprocessing_lib
from leep_jax.sources import functions, source as source_lib

_NO_PREPROCESSING = preprocessing_lib.Preprocessing()
_NOTHING: Mapping[str, Any] = {}


def from_linen(
  name: str,
  model: Any,
  variables: Mapping[str, Any],
  *,
  head: str = "",
  options: Mapping[str, Any] = _NOTHING,
  preprocessing: preprocessing_lib.Preprocessing = _NO_PREPROCESSING,
  min_image_size: int = 1,
  init: Callable[[int], Mapping[str, Any]] | None = None,
) -> source_lib.Source:
  """Returns a source that runs a module of Flax Linen.

  Args:
    name: of the source, in tables and rows of results.
    model: the module, called on images `[B, H, W, C]`.
    variables: its collections, `params` and others such as `batch_stats`.
    head: path of the last fully connected layer, such as `Dense_0` or
      `head/fc`, whose input is the features; "" if the model returns them.
    options: keyword arguments of the call that set its evaluation mode, such as
      `{"train": False}` or `{"deterministic": True}`.
    preprocessing: of raw images, to the model's input.
    min_image_size: smallest side, in pixels, of an image that it can process.
    init: function of a seed that returns new variables. Without it, the source
      cannot be trained from scratch.

  Raises:
    InputError: if there are no parameters under `head`.

  Example:
    >>> from flax import linen
    >>> import jax, jax.numpy as jnp
    >>> from leep_jax import sources
    >>> class Net(linen.Module):
    ...   @linen.compact
    ...   def __call__(self, images):
    ...     x = linen.relu(linen.Conv(8, (3, 3))(images))
    ...     return linen.Dense(10)(x.mean(axis=(1, 2)))
    >>> images = jnp.zeros((1, 32, 32, 3))
    >>> variables = Net().init(jax.random.key(0), images)
    >>> source = sources.from_linen("mine", Net(), variables, head="Dense_0")
    >>> logits, features = source.apply(source.state, images)
    >>> logits.shape, features.shape
    ((1, 10), (1, 8))
  """
  from flax import linen

  path = tuple(head.split("/")) if head else ()
  state = dict(variables)
  if "params" not in state:
    raise validation.InputError(
      f"the variables of {name} are {validation.some(sorted(state))}, without "
      'params: pass {"params": params, ...}, as init returns them'
    )
  _check_head(name, head, _paths(state["params"]))

  def function(state, images):
    inputs: list[Any] = []

    def watch(method, args, kwargs, context):
      if context.module.path == path and context.method_name == "__call__":
        inputs.append(args[0])
      return method(*args, **kwargs)

    if not path:
      return model.apply(state, images, mutable=False, **options)
    with linen.intercept_methods(watch):
      outputs = model.apply(state, images, mutable=False, **options)
    return _with_features(name, head, outputs, inputs)

  def is_trained(keys, leaf):
    collection, *inner = (_key(part) for part in keys)
    in_head = bool(path) and tuple(inner[: len(path)]) == path
    return collection == "params" and not in_head

  return functions.from_function(
    name,
    function,
    state,
    trained=jax.tree_util.tree_map_with_path(is_trained, state),
    preprocessing=preprocessing,
    min_image_size=min_image_size,
    init=None if init is None else lambda seed: dict(init(seed)),
  )


def from_haiku(
  name: str,
  transformed: Any,
  params: Mapping[str, Any],
  *,
  state: Mapping[str, Any] | None = None,
  head: str = "",
  options: Mapping[str, Any] = _NOTHING,
  preprocessing: preprocessing_lib.Preprocessing = _NO_PREPROCESSING,
  min_image_size: int = 1,
  init: Callable[[int], Any] | None = None,
) -> source_lib.Source:
  """Returns a source that runs a transformed function of Haiku.

  Args:
    name: of the source, in tables and rows of results.
    transformed: what `hk.transform`, `hk.transform_with_state` or
      `hk.without_apply_rng` returned, of a function of images `[B, H, W, C]`.
    params: its parameters.
    state: of `hk.transform_with_state`, such as statistics of BatchNorm.
    head: name of the last linear layer, a key of `params` such as `linear` or
      `net/~/linear`, whose input is the features; "" if the function returns
      them.
    options: keyword arguments of the call that set its evaluation mode, such as
      `{"is_training": False}`.
    preprocessing: of raw images, to the function's input.
    min_image_size: smallest side, in pixels, of an image that it can process.
    init: function of a seed that returns new params, or `(params, state)` if
      there is a state. Without it, the source cannot be trained from scratch.

  Raises:
    InputError: if there are no parameters of `head`.

  Example:
    >>> import haiku as hk
    >>> import jax, jax.numpy as jnp
    >>> from leep_jax import sources
    >>> def net(images):
    ...   x = jax.nn.relu(hk.Conv2D(8, 3)(images))
    ...   return hk.Linear(10)(x.mean(axis=(1, 2)))
    >>> transformed, images = hk.transform(net), jnp.zeros((1, 32, 32, 3))
    >>> params = transformed.init(jax.random.key(0), images)
    >>> source = sources.from_haiku(
    ...   "mine", transformed, params, head="linear")
    >>> logits, features = source.apply(source.state, images)
    >>> logits.shape, features.shape
    ((1, 10), (1, 8))
  """
  import haiku

  _check_head(name, head, params)
  stateful = state is not None
  # `without_apply_rng` takes this argument away.
  random = "rng" in inspect.signature(transformed.apply).parameters
  no_key = (None,) if random else ()

  def outputs_of(arrays, images):
    outputs = transformed.apply(*arrays, *no_key, images, **options)
    return outputs[0] if stateful else outputs

  def function(arrays, images):
    inputs: list[Any] = []

    def watch(method, args, kwargs, context):
      # A module has no name before `__init__` has run.
      called = context.method_name == "__call__"
      if called and context.module.module_name == head:
        inputs.append(args[0])
      return method(*args, **kwargs)

    if not head:
      return outputs_of(arrays, images)
    with haiku.intercept_methods(watch):
      outputs = outputs_of(arrays, images)
    return _with_features(name, head, outputs, inputs)

  def arrays_of(made):
    return tuple(made) if stateful else (made,)

  arrays = (params, state) if stateful else (params,)

  def is_trained(keys, leaf):
    number, module = (_key(part) for part in keys[:2])
    return number == 0 and module != head

  return functions.from_function(
    name,
    function,
    arrays,
    trained=jax.tree_util.tree_map_with_path(is_trained, arrays),
    preprocessing=preprocessing,
    min_image_size=min_image_size,
    init=None if init is None else lambda seed: arrays_of(init(seed)),
  )


def from_equinox(
  name: str,
  model: Any,
  *,
  state: Any = None,
  head: Callable[[Any], Any] | None = None,
  channels_first: bool = True,
  options: Mapping[str, Any] = _NOTHING,
  preprocessing: preprocessing_lib.Preprocessing = _NO_PREPROCESSING,
  min_image_size: int = 1,
  init: Callable[[int], Any] | None = None,
) -> source_lib.Source:
  """Returns a source that runs a module of Equinox.

  Args:
    name: of the source, in tables and rows of results.
    model: the module, called on one image, `model(image)` or `model(image,
      state)`. It is copied, in inference mode.
    state: the `eqx.nn.State` of a model with BatchNorm or the like.
    head: function of the model that returns its last linear layer, such as
      `lambda model: model.fc`, if the model returns the outputs of that layer
      alone; its input is the features.
    channels_first: whether an image is `[C, H, W]`, as Equinox's convolutions
      expect, and not `[H, W, C]`.
    options: keyword arguments of the call, such as `{"key": None}`.
    preprocessing: of raw images, to the model's input.
    min_image_size: smallest side, in pixels, of an image that it can process.
    init: function of a seed that returns a new model, or `(model, state)` if
      there is a state. Without it, the source cannot be trained from scratch.

  Raises:
    InputError: if `head` finds no layer.

  Example:
    >>> import equinox as eqx
    >>> import jax, jax.numpy as jnp
    >>> from leep_jax import sources
    >>> class Net(eqx.Module):
    ...   conv: eqx.nn.Conv2d
    ...   fc: eqx.nn.Linear
    ...   def __init__(self, key):
    ...     self.conv = eqx.nn.Conv2d(3, 8, 3, key=key)
    ...     self.fc = eqx.nn.Linear(8, 10, key=key)
    ...   def __call__(self, image):  # [C, H, W]
    ...     return self.fc(jax.nn.relu(self.conv(image)).mean(axis=(1, 2)))
    >>> source = sources.from_equinox(
    ...   "mine", Net(jax.random.key(0)), head=lambda model: model.fc)
    >>> images = jnp.zeros((1, 32, 32, 3))
    >>> logits, features = source.apply(source.state, images)
    >>> logits.shape, features.shape
    ((1, 10), (1, 8))
  """
  import equinox

  model = equinox.nn.inference_mode(model)
  params, static = equinox.partition(model, equinox.is_array)
  trained = jax.tree.map(equinox.is_inexact_array, params)
  if head is not None:
    trained = _without_head(name, head, trained)

  def function(arrays, images):
    whole = equinox.combine(arrays[0], static)
    if channels_first:
      images = images.transpose(0, 3, 1, 2)

    def called(module, image):
      outputs = module(image, *arrays[1:], **options)
      return outputs if state is None else outputs[0]

    if head is None:
      return jax.vmap(lambda image: called(whole, image))(images)
    body = equinox.tree_at(head, whole, replace=equinox.nn.Identity())
    features = jax.vmap(lambda image: called(body, image))(images)
    return jax.vmap(head(whole))(features), features

  def arrays_of(made):
    module, *others = (made,) if state is None else made
    return (equinox.filter(module, equinox.is_array), *others)

  others = () if state is None else (state,)
  return functions.from_function(
    name,
    function,
    (params, *others),
    trained=(trained, *jax.tree.map(lambda _: False, others)),
    preprocessing=preprocessing,
    min_image_size=min_image_size,
    init=None if init is None else lambda seed: arrays_of(init(seed)),
  )


def _without_head(name, head, trained):
  """The pytree `trained` with False for the arrays of the head."""
  import equinox

  try:
    return equinox.tree_at(
      head, trained, jax.tree.map(lambda _: False, head(trained))
    )
  except (AttributeError, IndexError, KeyError, TypeError, ValueError) as e:
    raise validation.InputError(
      f"head finds no layer in {name}: {type(e).__name__}: "
      f"{validation.reason(e)}"
    ) from e


def _with_features(name, head, outputs, inputs):
  """Logits and features, the last input of the head."""
  if not inputs:
    raise validation.InputError(f"{name} does not call its layer {head!r}")
  logits = outputs[0] if isinstance(outputs, (tuple, list)) else outputs
  return logits, inputs[-1]


def _check_head(name, head, known):
  if head and head not in known:
    raise validation.unknown(f"layer of {name}", head, known)


def _key(part):
  """The name, number or attribute of a part of a path in a pytree."""
  for attribute in ("key", "idx", "name"):
    if hasattr(part, attribute):
      return getattr(part, attribute)
  return str(part)


def _paths(params):
  """Paths of all modules with parameters, such as `head/fc`."""
  return {
    "/".join(str(_key(part)) for part in keys[:-1])
    for keys, _ in jax.tree_util.tree_leaves_with_path(params)
  }
