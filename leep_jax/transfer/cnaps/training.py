"""Meta-training of the adaptation networks, on tasks drawn at random."""

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
  """Tells whether meta-training changes an array of a model.

  Args:
    path: of the array in the model.
    value: the variable there.

  Example:
    >>> from flax import nnx
    >>> import jax.numpy as jnp
    >>> from leep_jax.transfer import cnaps
    >>> weight = nnx.Param(jnp.ones(2))
    >>> [cnaps.is_trained([part], weight) for part in ("backbone", "head")]
    [False, True]
  """
  return isinstance(value, nnx.Param) and path[0] != "backbone"


def split(model: Cnaps) -> tuple[Any, nnx.State[Any, Any], nnx.State[Any, Any]]:
  """Splits a model into its definition, trained arrays, and frozen arrays.

  Args:
    model: to split.

  Example:
    >>> from leep_jax.transfer import cnaps
    >>> _, trained, frozen = cnaps.split(cnaps.create("fashion_mnist_resnet8"))
    >>> sorted(trained), sorted(frozen)
    (['adapters', 'encoder', 'head'], ['backbone'])
  """
  graph, trained, *rest = nnx.split(model, is_trained, ...)
  return graph, trained, rest[0]


def make_step(
  model: Cnaps, *, config: Config
) -> Callable[..., tuple[Any, jax.Array]]:
  """Returns a compiled step, which trains on one task.

  Args:
    model: of the structure that the step is for.
    config: of which the learning rate, the penalties and the number of
      classes are used.

  Returns:
    A function `(training, frozen, images, episode) -> (training, loss)`.
    `training` is a pair, the trained arrays (see `split`) and the optimiser's
    state; `frozen` are the other arrays. The loss is the mean cross entropy of
    the queries in nats, without the penalty.

  Example:
    >>> import numpy as np
    >>> from leep_jax.transfer import cnaps
    >>> images = np.arange(40, dtype=np.uint8)[:, None, None, None]
    >>> images = np.broadcast_to(images, (40, 8, 8, 1))
    >>> classes = [[np.arange(20), np.arange(20, 40)]]  # of one data set
    >>> config = cnaps.Config(
    ...   epochs=1, episodes=2, ways=(2, 2), shots=(1, 4), queries=8
    ... )
    >>> model = cnaps.create("fashion_mnist_resnet8")
    >>> _, trained, frozen = cnaps.split(model)
    >>> step = cnaps.make_step(model, config=config)
    >>> episode = cnaps.sample_episode(0, classes, config=config)
    >>> training = trained, config.optimizer().init(trained)
    >>> training, loss = step(training, frozen, images, episode)
    >>> loss.shape, bool(loss > 0)
    ((), True)
  """
  graph, _, _ = split(model)
  # One number for all tasks, or each number of classes would be compiled.
  ways = padding.rounded(config.ways[1], padding.LEAST_WAYS)
  gradient_fn = _gradient(graph, ways)
  update = _update(config)

  def step(training, frozen, images, episode):
    gradient, loss = gradient_fn(
      training[0],
      frozen,
      images,
      episode,
      (config.film_penalty, config.head_penalty),
    )
    return update(gradient, *training), loss

  return step


@functools.lru_cache(maxsize=64)
def _update(config):
  """The compiled step of the optimiser."""
  optimizer = config.optimizer()

  @jax.jit
  def update(gradient, trained, opt):
    updates, opt = optimizer.update(gradient, opt, trained)
    return optax.apply_updates(trained, updates), opt

  return update


@functools.lru_cache(maxsize=64)
def _gradient(graph, ways):
  """The compiled gradient, which all learning rates and penalties share."""

  def loss_fn(trained, frozen, images, episode, penalties):
    model = nnx.merge(graph, trained, frozen)
    adapted = model.adapt(
      images[episode.indices], episode.labels, episode.weights, ways=ways
    )
    logits = model(adapted, images[episode.query_indices])
    loss = optax.softmax_cross_entropy_with_integer_labels(
      logits, episode.query_labels
    ).mean()
    # Gamma and beta that change nothing.
    neutral = jnp.array([1.0, 0.0])[None, :, None]
    film = sum(jnp.sum((film - neutral) ** 2) for film in adapted.films)
    last = jax.tree.leaves(nnx.state(model.head.last))
    head = sum(jnp.sum(x**2) for x in last)
    film_penalty, head_penalty = penalties
    return loss + film_penalty * film + head_penalty * head, loss

  return jax.jit(jax.grad(loss_fn, has_aux=True))


def _restore(checkpoints, trained, opt):
  """The trained arrays and the optimiser's state of the latest checkpoint."""
  # Checkpoints are of lists and dictionaries, which optax's states are not.
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
  """Trains the adaptation networks on sampled tasks.

  Args:
    model: from `create`; it is changed in place.
    images: `[n, H, W, C]` uint8 of all data sets, resized to one size.
    classes: for each data set and each of its classes, the indices of the
      images.
    config: how to train.
    checkpoints: where a checkpoint is written after each epoch. If there is one
      already, training goes on from it.
    report: called after each epoch, before its checkpoint, with its number from
      1, its mean loss in nats, and the model. The last epoch that was reported
      may be reported again after an interruption.

  Returns:
    The model.

  Raises:
    InputError: if there are no images or too few for a task, or the loss of an
      epoch is not finite; no checkpoint is then written.

  Example:
    >>> import numpy as np
    >>> from leep_jax.transfer import cnaps
    >>> images = np.arange(40, dtype=np.uint8)[:, None, None, None]
    >>> images = np.broadcast_to(images, (40, 8, 8, 1))
    >>> classes = [[np.arange(20), np.arange(20, 40)]]  # of one data set
    >>> config = cnaps.Config(
    ...   epochs=1, episodes=2, ways=(2, 2), shots=(1, 4), queries=8
    ... )
    >>> losses = []
    >>> model = cnaps.meta_train(
    ...   cnaps.create("fashion_mnist_resnet8"), images, classes, config=config,
    ...   report=lambda epoch, loss, model: losses.append(loss),
    ... )
    >>> len(losses)
    1
  """
  check_images("images", images)
  _, trained, frozen = split(model)
  training = trained, config.optimizer().init(trained)
  first = 0
  if checkpoints is not None and checkpoints.epochs:
    first = checkpoints.epochs
    training = _restore(checkpoints, *training)
  step = make_step(model, config=config)
  # All images stay on the device, and each step sends indices only.
  placed = jnp.asarray(images)
  for epoch in range(first, config.epochs):
    losses = []
    for i in range(config.episodes):
      number = epoch * config.episodes + i
      episode = sample_episode(number, classes, config=config)
      training, loss = step(training, frozen, placed, episode)
      losses.append(loss)
    # Read once an epoch: reading each loss would wait for the device each time.
    mean_loss = float(np.mean(jax.device_get(losses)))
    if not math.isfinite(mean_loss):
      raise validation.InputError(
        f"the loss of epoch {epoch + 1} is {mean_loss:g}, not finite: is "
        f"learning_rate {config.learning_rate:g} too high?"
      )
    nnx.update(model, training[0])
    # First the report: after an interruption between the two, the epoch is
    # trained and reported again. Otherwise its report would be missing.
    if report is not None:
      report(epoch + 1, mean_loss, model)
    if checkpoints is not None:
      trained, opt = training
      checkpoints.save(
        epoch + 1,
        model=nnx.to_pure_dict(trained),
        optimizer=jax.tree.leaves(opt),
      )
  # Also where a checkpoint of the last epoch leaves nothing to train.
  nnx.update(model, training[0])
  return model
