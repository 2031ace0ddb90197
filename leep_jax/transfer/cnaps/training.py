"""Meta-training: the adaptation networks learn from tasks drawn at random."""

from collections.abc import Callable, Sequence
import functools
import math
from typing import Any

from flax import nnx
import jax
import jax.numpy as jnp
import numpy as np
import optax

from leep_jax import validation
from leep_jax.transfer import checkpoints as checkpoints_lib
from leep_jax.transfer.cnaps import padding
from leep_jax.transfer.cnaps.adaptation import check_images
from leep_jax.transfer.cnaps.episodes import Config, sample_episode
from leep_jax.transfer.cnaps.model import Cnaps

DEFAULT = Config()


def is_trained(path: Sequence[Any], value: Any) -> bool:
  """Whether a part of a model is one that meta-training changes."""
  return isinstance(value, nnx.Param) and path[0] != "backbone"


def split(model: Cnaps) -> tuple[Any, nnx.State, nnx.State]:
  """Returns the definition of a model, what is trained of it, and the rest."""
  graph, trained, *rest = nnx.split(model, is_trained, ...)
  return graph, trained, rest[0]


def make_step(
  model: Cnaps, *, config: Config
) -> Callable[..., tuple[Any, jax.Array]]:
  """Returns the compiled step of one task.

  Args:
    model: whose structure it is for.
    config: the rate, the penalty and the number of classes.

  Returns:
    A function `(training, frozen, images, episode) -> (training, loss)`, where
    `training` is what is trained (see `split`) and the optimiser's state,
    `frozen` the rest, and the loss in nats is that of the queries, without the
    penalty.
  """
  graph, _, _ = split(model)
  ways = padding.rounded(config.ways[1], padding.LEAST_WAYS)
  gradient_fn = _gradient(graph, ways)
  update = _update(config)

  def step(training, frozen, images, episode):
    gradient, loss = gradient_fn(
      training[0], frozen, images, episode, config.film_penalty
    )
    return update(gradient, *training), loss

  return step


@functools.lru_cache(maxsize=64)
def _update(config):
  optimizer = config.optimizer()

  @jax.jit
  def update(gradient, trained, opt):
    updates, opt = optimizer.update(gradient, opt, trained)
    return optax.apply_updates(trained, updates), opt

  return update


@functools.lru_cache(maxsize=64)
def _gradient(graph, ways):
  """Compiled without the optimiser, so that all configurations share it."""

  def loss_fn(trained, frozen, images, episode, film_penalty):
    model = nnx.merge(graph, trained, frozen)
    adapted = model.adapt(
      images[episode.places], episode.labels, episode.weights, ways=ways
    )
    logits = model(adapted, images[episode.query_places])
    loss = optax.softmax_cross_entropy_with_integer_labels(
      logits, episode.query_labels
    ).mean()
    neutral = jnp.array([1.0, 0.0])[None, :, None]
    penalty = sum(jnp.sum((film - neutral) ** 2) for film in adapted.films)
    return loss + film_penalty * penalty, loss

  return jax.jit(jax.grad(loss_fn, has_aux=True))


def _restore(checkpoints, trained, opt):
  """The latest training, of the structure of this one."""
  leaves, structure = jax.tree.flatten(opt)
  found = checkpoints.restore(model=nnx.to_pure_dict(trained), optimizer=leaves)
  nnx.replace_by_pure_dict(trained, found["model"])
  return trained, jax.tree.unflatten(structure, found["optimizer"])


def meta_train(
  model: Cnaps,
  images: np.ndarray,
  classes: Sequence[Sequence[np.ndarray]],
  *,
  config: Config = DEFAULT,
  checkpoints: checkpoints_lib.Checkpoints | None = None,
  report: Callable[[int, float, Cnaps], None] | None = None,
) -> Cnaps:
  """Trains the adaptation networks on sampled tasks, from a checkpoint on.

  Args:
    model: from `create`; it is changed.
    images: `[n, H, W, C]` uint8 of all data sets, brought to one size.
    classes: for each data set and class in it, the indices of its images.
    config: how to train.
    checkpoints: where the state after each epoch is kept.
    report: called after each epoch with its number from 1, its mean loss in
      nats and the model.

  Returns:
    The same model.

  Raises:
    InputError: if there are no images or too few for a task, or the loss of an
      epoch is not finite, which is then not kept.
  """
  check_images("images", images)
  _, trained, frozen = split(model)
  training = trained, config.optimizer().init(trained)
  first = 0
  if checkpoints is not None and checkpoints.epochs:
    first = checkpoints.epochs
    training = _restore(checkpoints, *training)
  step = make_step(model, config=config)
  placed = jnp.asarray(images)
  for epoch in range(first, config.epochs):
    losses = []
    for i in range(config.episodes):
      number = epoch * config.episodes + i
      episode = sample_episode(number, classes, config=config)
      training, loss = step(training, frozen, placed, episode)
      losses.append(loss)
    mean_loss = float(np.mean(jax.device_get(losses)))
    if not math.isfinite(mean_loss):
      raise validation.InputError(
        f"the loss of epoch {epoch + 1} is {mean_loss:g}, not finite: is "
        f"learning_rate {config.learning_rate:g} too high?"
      )
    if checkpoints is not None:
      trained, opt = training
      checkpoints.save(
        epoch + 1,
        model=nnx.to_pure_dict(trained),
        optimizer=jax.tree.leaves(opt),
      )
    nnx.update(model, training[0])
    if report is not None:
      report(epoch + 1, mean_loss, model)
  nnx.update(model, training[0])
  return model
