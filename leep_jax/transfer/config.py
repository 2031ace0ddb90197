"""Configurations of training: of a head, and of a network."""

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
  """How a head is trained by SGD; the defaults are those of the LEEP paper.

  Attributes:
    epochs: passes over the task's training examples.
    batch_size: examples a step. The last batch of an epoch may be smaller; that
      of a network is filled up, for BatchNorm's statistics alone.
    learning_rate: at the start.
    schedule: of the learning rate: `constant`, or `cosine` down to 0.
    momentum: from 0 (none) to below 1.
    weight_decay: factor of the weights that is added to their gradient.
    curve: number of epochs between two measurements of the test accuracy, each
      of which can cost as much as an epoch. With 0 it is measured at the end
      only.

  Raises:
    InputError: if a value is unknown or out of bounds.

  Example:
    >>> from leep_jax import transfer
    >>> config = transfer.Config(epochs=2, schedule="cosine")
    >>> config.factors(2).round(2)
    array([[1.  , 0.85],
           [0.5 , 0.15]], dtype=float32)
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
    """Returns SGD without the learning rate, which differs by task and step."""
    # Momentum accumulates the gradient with the decay, as PyTorch's SGD does.
    parts = [optax.scale(-1.0)]
    if self.momentum:
      parts.insert(0, optax.trace(self.momentum))
    if self.weight_decay:
      parts.insert(0, optax.add_decayed_weights(self.weight_decay))
    return optax.chain(*parts)

  def factors(self, steps: int) -> np.ndarray:
    """Returns the factor of the learning rate at each step.

    Args:
      steps: number of steps in an epoch.

    Returns:
      `[epochs, steps]` float32, from 1 down.
    """
    return _factors(self.schedule, self.epochs, steps)

  def is_measured(self, epoch: int) -> bool:
    """Tells whether the test accuracy is measured after an epoch.

    Args:
      epoch: counted from 0.
    """
    last = epoch + 1 == self.epochs
    return last or (self.curve > 0 and (epoch + 1) % self.curve == 0)


# Cached, as each run of a group asks for them.
@functools.lru_cache(maxsize=64)
def _factors(name: str, epochs: int, steps: int) -> np.ndarray:
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
    body_learning_rate: of all weights but the head's; None for that of the
      head. With 0 the body is frozen, BatchNorm's running statistics included.
    nesterov: whether momentum is Nesterov's.
    clip: bound of the norm of the gradient of all weights; a longer gradient is
      scaled down to it. None for no bound.
    flip: whether training images are mirrored, each with probability 1/2.
    shift: largest random shift of training images, in pixels.
    dtype: of activations and gradients, `float32` or `bfloat16`. Weights and
      BatchNorm's statistics are float32.

  Example:
    >>> from leep_jax import transfer
    >>> transfer.NetworkConfig(body_learning_rate=0).frozen
    True
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
    """Returns SGD without the learning rates, which differ by task and step."""
    # Clipped first: the bound is on the gradient of the loss alone.
    parts = []
    if self.clip is not None:
      parts.append(optax.clip_by_global_norm(self.clip))
    if self.weight_decay:
      parts.append(optax.add_decayed_weights(self.weight_decay))
    if self.momentum:
      parts.append(optax.trace(self.momentum, nesterov=self.nesterov))
    return optax.chain(*parts, optax.scale(-1.0))


def bounded(name: str, value: float, *, top: float = math.inf) -> None:
  """Refuses a value that is negative, or not below a bound.

  Args:
    name: of the value.
    value: to check.
    top: the bound.

  Raises:
    InputError: if so.

  Example:
    >>> from leep_jax.transfer import config
    >>> config.bounded("momentum", 0.9, top=1)
    >>> config.bounded("momentum", 1.5, top=1)
    Traceback (most recent call last):
    ...
    leep_jax.validation.errors.InputError: momentum is 1.5, but must be at ...
  """
  if not (isinstance(value, (int, float)) and 0 <= value < top):
    raise validation.InputError(
      f"{name} is {value!r}, but must be at least 0 and below {top:g}"
    )


def integer(name: str, value: int) -> None:
  """Refuses a value that is no integer, or negative.

  Args:
    name: of the value.
    value: to check.

  Raises:
    InputError: if so.

  Example:
    >>> from leep_jax.transfer import config
    >>> config.integer("shift", 4)
  """
  if not isinstance(value, int) or value < 0:
    raise validation.InputError(
      f"{name} is {value!r}, but must be an integer from 0"
    )


def check_scratch(config: NetworkConfig) -> None:
  """Refuses a configuration by which no body is trained from scratch.

  Args:
    config: to check.

  Raises:
    InputError: if the body is frozen.

  Example:
    >>> from leep_jax import transfer
    >>> from leep_jax.transfer import config
    >>> config.check_scratch(transfer.NetworkConfig())
    >>> config.check_scratch(transfer.NetworkConfig(body_learning_rate=0))
    Traceback (most recent call last):
    ...
    leep_jax.validation.errors.InputError: body_learning_rate is 0, which ...
  """
  if config.frozen:
    raise validation.InputError(
      "body_learning_rate is 0, which leaves fresh weights as they are"
    )
