"""How a model is trained for a task."""

import dataclasses
import functools
import math

import jax
import numpy as np
import optax

from leep_jax import validation

SCHEDULES = ("constant", "cosine")


@dataclasses.dataclass(frozen=True)
class Config:
  """How a head is trained; the defaults are those of the LEEP paper.

  Attributes:
    epochs: passes over the task's training examples.
    batch_size: examples a step; the last batch of an epoch may be smaller (of
      networks, it is filled up for BatchNorm's statistics alone).
    learning_rate: of SGD, at the start.
    schedule: `constant`, or `cosine` down to 0.
    momentum: of SGD, 0 for none.
    weight_decay: added to the gradient, times the weights.
    curve: epochs between measurements of test accuracy, which can cost as much
      as training; 0 to measure after the last one only.

  Raises:
    InputError: if a value is unknown or out of bounds.
  """

  epochs: int = 100
  batch_size: int = 10
  learning_rate: float = 0.01
  schedule: str = "constant"
  momentum: float = 0.0
  weight_decay: float = 0.0
  curve: int = 1

  def __post_init__(self):
    validation.at_least_1("epochs", self.epochs)
    validation.at_least_1("batch_size", self.batch_size)
    if self.schedule not in SCHEDULES:
      raise validation.unknown("schedule", self.schedule, SCHEDULES)
    bounded("learning_rate", self.learning_rate)
    bounded("momentum", self.momentum, top=1)
    bounded("weight_decay", self.weight_decay)
    integer("curve", self.curve)

  def optimizer(self) -> optax.GradientTransformation:
    """Returns all of SGD but the learning rate, which differs by task."""
    parts = [optax.scale(-1.0)]
    if self.momentum:
      parts.insert(0, optax.trace(self.momentum))
    if self.weight_decay:
      parts.insert(0, optax.add_decayed_weights(self.weight_decay))
    return optax.chain(*parts)

  def factors(self, steps: int) -> np.ndarray:
    """Returns what each step's learning rate is multiplied by.

    Args:
      steps: of an epoch.

    Returns:
      `[epochs, steps]` float32, from 1 down.
    """
    return _factors(self.schedule, self.epochs, steps)

  def is_measured(self, epoch: int) -> bool:
    """Returns whether test accuracy is measured after an epoch, from 0."""
    last = epoch + 1 == self.epochs
    return last or (self.curve > 0 and (epoch + 1) % self.curve == 0)


@functools.lru_cache(maxsize=64)
def _factors(name, epochs, steps):
  count = epochs * steps
  schedule = optax.constant_schedule(1.0)
  if name == "cosine":
    schedule = optax.cosine_decay_schedule(1.0, count)
  factors = jax.vmap(schedule)(np.arange(count))
  factors = np.broadcast_to(np.asarray(factors, np.float32), count)
  return factors.reshape(epochs, steps)


@dataclasses.dataclass(frozen=True)
class NetworkConfig(Config):
  """How a network is trained; the defaults are those of the LEEP paper.

  Attributes:
    body_learning_rate: of all but the head; None for that of the head. With 0
      the body is frozen: BatchNorm keeps its running statistics too.
    nesterov: whether momentum is Nesterov's.
    clip: largest norm of the gradient of all weights; longer ones are scaled
      down to it. None for no bound.
    flip: whether half of the training images are mirrored.
    shift: pixels by which training images are shifted at most, at random.
    dtype: of activations and gradients, `float32` or `bfloat16`; weights and
      BatchNorm's statistics are float32.
  """

  body_learning_rate: float | None = None
  nesterov: bool = False
  clip: float | None = None
  flip: bool = False
  shift: int = 0
  dtype: str = "float32"

  def __post_init__(self):
    super().__post_init__()
    if self.body_learning_rate is not None:
      bounded("body_learning_rate", self.body_learning_rate)
    if self.clip is not None and not 0 < self.clip < math.inf:
      raise validation.InputError(
        f"clip is {self.clip!r}, but must be finite and above 0"
      )
    integer("shift", self.shift)
    if self.nesterov and not self.momentum:
      raise validation.InputError("nesterov needs a momentum above 0")
    if self.dtype not in ("float32", "bfloat16"):
      raise validation.unknown("dtype", self.dtype, ("float32", "bfloat16"))

  @property
  def frozen(self) -> bool:
    """Whether only the head is trained."""
    return self.body_learning_rate == 0

  def optimizer(self) -> optax.GradientTransformation:
    """Returns all of SGD but the learning rates."""
    parts = []
    if self.clip is not None:
      parts.append(optax.clip_by_global_norm(self.clip))
    if self.weight_decay:
      parts.append(optax.add_decayed_weights(self.weight_decay))
    if self.momentum:
      parts.append(optax.trace(self.momentum, nesterov=self.nesterov))
    return optax.chain(*parts, optax.scale(-1.0))


def bounded(name: str, value: float, *, top: float = math.inf) -> None:
  """Refuses a value that is not from 0 and below a bound.

  Raises:
    InputError: if so.
  """
  if not (isinstance(value, (int, float)) and 0 <= value < top):
    raise validation.InputError(
      f"{name} is {value!r}, but must be at least 0 and below {top:g}"
    )


def integer(name: str, value: int) -> None:
  """Refuses a value that is not an integer from 0.

  Raises:
    InputError: if so.
  """
  if not isinstance(value, int) or value < 0:
    raise validation.InputError(
      f"{name} is {value!r}, but must be an integer from 0"
    )


def check_scratch(config: NetworkConfig) -> None:
  """Refuses a configuration that nothing can be trained from scratch with.

  Raises:
    InputError: if the body is frozen.
  """
  if config.frozen:
    raise validation.InputError(
      "body_learning_rate is 0, which leaves fresh weights as they are"
    )
