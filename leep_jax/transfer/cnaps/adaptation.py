"""Adaptation to a task's support set, and classification of its queries."""

import functools

from flax import nnx
import jax
import numpy as np

from leep_jax import validation
from leep_jax.transfer.cnaps import padding
from leep_jax.transfer.cnaps.model import Adapted, Cnaps

_QUERIES = 256  # classified at a time


# Compiled for the definition of the network, a value. Weights are arguments, so
# a network that is loaded again compiles nothing.
@functools.partial(jax.jit, static_argnums=(0, 5))
def _adapt(graph, state, images, labels, weights, ways):
  model = nnx.merge(graph, state)
  return model.adapt(images, labels, weights, ways=ways)


@functools.partial(jax.jit, static_argnums=0)
def _predict(graph, state, adapted, images):
  return jax.nn.log_softmax(nnx.merge(graph, state)(adapted, images))


def log_probs(
  model: Cnaps,
  support_images: np.ndarray,
  support_labels: np.ndarray,
  query_images: np.ndarray,
) -> tuple[np.ndarray, Adapted]:
  """Adapts to a task's support set, and classifies its queries.

  Args:
    model: a CNAPs.
    support_images: `[N, H, W, C]`, uint8 or floats in [0, 1].
    support_labels: `[N]` integers from 0.
    query_images: `[M, H, W, C]`.

  Returns:
    Log-probabilities `[M, W]` in nats, where W is the largest label plus 1, and
    the generated parameters on the host. A class without support images has the
    probability 0.

  Raises:
    InputError: if there are no images, their shape or range is wrong, there are
      not as many labels, or all are of one class.

  Example:
    >>> import numpy as np
    >>> from leep_jax.transfer import cnaps
    >>> images = np.zeros((4, 8, 8, 1), np.uint8)
    >>> images[1::2] = 255  # class 0 is black, class 1 white
    >>> model = cnaps.create("fashion_mnist_resnet8")
    >>> logs, adapted = cnaps.log_probs(
    ...   model, images, np.array([0, 1, 0, 1]), images[:2]
    ... )
    >>> logs.argmax(axis=1).tolist(), adapted.bias.shape
    ([0, 1], (2,))
  """
  labels = validation.class_labels(support_labels)
  check_images("support_images", support_images)
  check_images("query_images", query_images)
  if len(support_images) != len(labels):
    raise validation.InputError(
      f"there are {len(support_images)} support images and {len(labels)} labels"
    )
  if len(np.unique(labels)) < 2:
    raise validation.InputError(
      "the support set has one class: a classifier needs two"
    )
  ways = int(labels.max()) + 1
  count = padding.rounded(len(labels), padding.LEAST_SUPPORT)
  graph, state = nnx.split(model)
  adapted = _adapt(
    graph,
    state,
    padding.padded(support_images, count),
    padding.padded(labels, count),
    padding.padded(np.ones(len(labels), np.float32), count),
    padding.rounded(ways, padding.LEAST_WAYS),
  )
  found = []
  for start in range(0, len(query_images), _QUERIES):
    part = query_images[start : start + _QUERIES]
    # The last queries are padded as well, so that one shape is compiled.
    logs = _predict(graph, state, adapted, padding.padded(part, _QUERIES))
    found.append(np.asarray(logs)[: len(part), :ways])
  films, kernel, bias = jax.device_get(adapted)
  return np.concatenate(found), Adapted(films, kernel[:, :ways], bias[:ways])


def check_images(name: str, images: np.ndarray) -> None:
  """Refuses arrays that are not images.

  Args:
    name: of the array.
    images: to check.

  Raises:
    InputError: if the shape or the range is wrong.

  Example:
    >>> import numpy as np
    >>> from leep_jax.transfer.cnaps import adaptation
    >>> adaptation.check_images("images", np.zeros((2, 8, 8, 3), np.uint8))
  """
  images = validation.as_array(name, images)
  if images.ndim != 4 or images.shape[3] not in (1, 3):
    raise validation.InputError(
      f"{name} have shape {images.shape}, not [n, H, W, 3] or [n, H, W, 1]"
    )
  validation.images(name, images)
