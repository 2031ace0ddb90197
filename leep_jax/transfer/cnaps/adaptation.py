"""Adapting to a task's support set, and classifying its queries."""

import functools

from flax import nnx
import jax
import numpy as np

from leep_jax import validation
from leep_jax.transfer.cnaps import padding
from leep_jax.transfer.cnaps.model import Adapted, Cnaps

_QUERIES = 256  # classified at a time


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
  """Classifies images of a task, adapted to its support set.

  Args:
    model: a CNAPs.
    support_images: `[N, H, W, C]`, uint8 or floats in [0, 1].
    support_labels: `[N]` integers from 0.
    query_images: `[M, H, W, C]`.

  Returns:
    `[M, W]` log probabilities in nats, W being one more than the largest
    label, and what was generated, on the host. A class without support images
    has probability 0.

  Raises:
    InputError: if there are no images, they are of another shape or range, or
      as many as there are labels, or all of one class.
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
    logs = _predict(graph, state, adapted, padding.padded(part, _QUERIES))
    found.append(np.asarray(logs)[: len(part), :ways])
  films, kernel, bias = jax.device_get(adapted)
  return np.concatenate(found), Adapted(films, kernel[:, :ways], bias[:ways])


def check_images(name: str, images: np.ndarray) -> None:
  """Refuses what are no images.

  Raises:
    InputError: if so.
  """
  images = validation.as_array(name, images)
  if images.ndim != 4 or images.shape[3] not in (1, 3):
    raise validation.InputError(
      f"{name} have shape {images.shape}, not [n, H, W, 3] or [n, H, W, 1]"
    )
  validation.images(name, images)
