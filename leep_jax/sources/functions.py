"""Turns a pure function and its arrays into a source that can also be trained.

Models of any library of JAX become sources here: `jax_libraries.py` and
`keras_models.py` make the function.
"""

from collections.abc import Callable
from typing import Any

import jax
import jax.numpy as jnp

from leep_jax import validation
from leep_jax.models import preprocessing as preprocessing_lib
from leep_jax.sources import source as source_lib

_NO_PREPROCESSING = preprocessing_lib.Preprocessing()


def from_function(
  name: str,
  function: source_lib.Apply,
  state: Any,
  *,
  trained: Any = None,
  preprocessing: preprocessing_lib.Preprocessing = _NO_PREPROCESSING,
  min_image_size: int = 1,
  init: Callable[[int], Any] | None = None,
  without_probs: str = "",
) -> source_lib.Source:
  """Returns a source that calls a pure function, and can be fine-tuned.

  Fine-tuning changes weights only: the function runs as it does in evaluation,
  so that BatchNorm keeps its running statistics, and nothing is dropped.

  Args:
    name: of the source, in tables and rows of results.
    function: `(state, images [B, H, W, C]) -> logits [B, Z]`, or `-> (logits,
      features [B, D])`. Only with features can the source be fine-tuned.
    state: pytree of arrays.
    trained: pytree like `state` with True for each array that fine-tuning
      changes; by default all floating-point arrays.
    preprocessing: of raw images, to the function's input.
    min_image_size: smallest side, in pixels, of an image that it can process.
    init: function of a seed that returns a new random state. Without it, the
      source cannot be trained from scratch.
    without_probs: why outputs are no distribution over classes, see `Source`.

  Example:
    >>> import jax.numpy as jnp
    >>> from leep_jax import sources
    >>> def function(state, images):
    ...   features = images.mean(axis=(1, 2)) @ state["body"]
    ...   return features @ state["head"], features
    >>> state = {"body": jnp.ones((3, 4)), "head": jnp.ones((4, 5))}
    >>> source = sources.from_function(
    ...   "mine", function, state, trained={"body": True, "head": False})
    >>> source.network.weights.params["body"].shape
    (3, 4)
    >>> source.network.weights.params["head"] is None
    True
  """
  if trained is None:
    trained = jax.tree.map(_is_real, state)

  def divided(state):
    return source_lib.Weights(
      jax.tree.map(lambda x, yes: x if yes else None, state, trained),
      jax.tree.map(lambda x, yes: None if yes else x, state, trained),
    )

  def features_of(params, rest, images, *, train, synchronise=None):
    # Cast inside what is differentiated: see `network.from_nnx`.
    low = jax.tree.map(
      lambda x: x.astype(images.dtype) if _is_real(x) else x, (params, rest)
    )
    outputs = function(_joined(*low), images)
    if not isinstance(outputs, (tuple, list)) or len(outputs) != 2:
      raise validation.InputError(
        f"{name} cannot be fine-tuned: it returns logits alone, without the "
        "features that a new head is trained on"
      )
    return outputs[1], rest

  return source_lib.Source(
    name=name,
    apply=function,
    state=state,
    preprocessing=preprocessing,
    min_image_size=min_image_size,
    network=source_lib.Network(
      weights=divided(state),
      apply=features_of,
      init=None if init is None else lambda seed: divided(init(seed)),
    ),
    without_probs=without_probs,
  )


def _is_real(leaf) -> bool:
  return hasattr(leaf, "dtype") and jnp.issubdtype(leaf.dtype, jnp.floating)


def _joined(params, rest):
  """Puts together what is None in one of two pytrees."""
  return jax.tree.map(
    lambda a, b: b if a is None else a,
    params,
    rest,
    is_leaf=lambda x: x is None,
  )
