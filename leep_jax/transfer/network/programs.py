"""Compiled programs: steps of training, and a part of an evaluation.

State of a run: `params`, the body's and the head's `(kernel [Y, D], bias [Y])`;
`rest`, what else the network holds (BatchNorm's statistics); `optimizer`; and
`alive`, whether all losses so far were finite.

Symbols: K steps, B examples of a batch on this device, Y classes of the group's
runs, of which `real [Y]` are the run's own; per device t runs.
"""

from collections.abc import Callable
import dataclasses
import functools
from typing import Any

import jax
import jax.numpy as jnp
import optax

from leep_jax.engine import programs
from leep_jax.transfer import runs as runs_lib
from leep_jax.transfer.augment import augment, keys
from leep_jax.transfer.config import NetworkConfig


@functools.lru_cache(maxsize=16)
def compiled(
  apply: Callable[..., Any],
  preprocessing: Callable[[Any], Any],
  config: NetworkConfig,
  data_parallel: bool,
) -> tuple[Callable[..., Any], Callable[..., Any]]:
  """Returns some steps of training, and a part of an evaluation, over devices.

  Args:
    apply: of `source.Network`.
    preprocessing: what turns raw images into the network's input.
    config: how to train.
    data_parallel: whether all devices train one run, each on its part of a
      batch, or each its own runs.
  """
  arithmetic = _Arithmetic(apply, preprocessing, config, data_parallel)
  fused = config.dtype == "float32"
  if data_parallel:
    return (
      programs.parallel(arithmetic.run_steps, fused=fused, donate=True),
      programs.parallel(arithmetic.evaluate, fused=fused),
    )
  return (
    programs.parallel(arithmetic.steps_of_runs, fused=fused, donate=True),
    programs.parallel(arithmetic.evaluate_runs, fused=fused),
  )


@dataclasses.dataclass(frozen=True)
class _Arithmetic:
  """What one device computes."""

  apply: Callable[..., Any]
  preprocessing: Callable[[Any], Any]
  config: NetworkConfig
  data_parallel: bool

  def log_probs(self, params, rest, images, real, *, train):
    """Log probabilities `[B, Y]`, and what else the network now holds."""
    dtype = self.config.dtype
    body, (kernel, bias) = params
    images = self.preprocessing(images).astype(dtype)
    options: dict[str, Any] = {}
    if train and self.data_parallel:
      options["synchronise"] = programs.synchronise_batch_norm
    with jax.default_matmul_precision(programs.precision(dtype)):
      features, rest = self.apply(body, rest, images, train=train, **options)
    with jax.default_matmul_precision(programs.precision("float32")):
      logits = features.astype(jnp.float32) @ kernel.T + bias[None]
    logits = runs_lib.mask_logits(logits, real[None])
    return jax.nn.log_softmax(logits), rest

  def add(self, tree):
    """Sums a pytree over the devices that train one run."""
    return programs.add_over_devices(tree) if self.data_parallel else tree

  def augmented(self, images, root, first):
    """Images of a step, augmented by keys of their own."""
    config = self.config
    if not config.shift and not config.flip:
      return images
    seed, epoch, step = root
    key = jax.random.key(seed)
    key = jax.random.fold_in(jax.random.fold_in(key, epoch), step)
    return augment(
      keys(key, first, len(images)),
      images,
      crop=config.shift,
      flip=config.flip,
    )

  def scaled(self, updates, rates):
    """Updates times the learning rates of head and body."""
    if self.config.frozen:
      return jax.tree.map(lambda u: rates[0] * u, updates)
    return tuple(
      jax.tree.map(lambda u, rate=rate: rate * u, part)
      for part, rate in zip(updates, rates[::-1], strict=True)
    )

  def one_step(self, state, batch, first, real):
    """A step of a run; also its loss, 0 where the run has no more steps."""
    (images, labels, weights), (root, rates, active) = batch
    frozen = self.config.frozen
    images = self.augmented(images, root, first)
    params = state["params"]

    def loss_of(trained):
      all_params = (params[0], trained) if frozen else trained
      logs, rest = self.log_probs(
        all_params, state["rest"], images, real, train=not frozen
      )
      wanted = jax.nn.one_hot(labels, len(real))
      return -jnp.sum(runs_lib.picked(logs, wanted) * weights), rest

    trained = params[1] if frozen else params
    (loss, rest), gradient = jax.value_and_grad(loss_of, has_aux=True)(trained)
    loss, gradient = self.add((loss, gradient))
    updates, optimizer = self.config.optimizer().update(
      gradient, state["optimizer"], trained
    )
    trained = optax.apply_updates(trained, self.scaled(updates, rates))
    alive = state["alive"] & (jnp.isfinite(loss) | ~active)
    new = {
      "params": (params[0], trained) if frozen else trained,
      "rest": rest,
      "optimizer": optimizer,
    }
    # A run that diverged, or has no more steps, stays as it is.
    chosen = jax.tree.map(
      lambda a, b: jnp.where(alive & active, a, b),
      new,
      {key: state[key] for key in new},
    )
    loss = jnp.where(active, jnp.where(alive, loss, jnp.nan), 0)
    return {**chosen, "alive": alive}, loss

  def run_steps(self, state, batch):
    """Steps of one run, from arrays `[K, ...]`; also their losses `[K]`."""
    examples, scalars, first, real = batch

    def step(state, part):
      return self.one_step(state, part, first, real)

    if examples[1].shape[0] > 1:
      return jax.lax.scan(step, state, (examples, scalars))
    # A CPU's convolutions take ten times as long inside a loop.
    state, loss = step(state, jax.tree.map(lambda x: x[0], (examples, scalars)))
    return state, loss[None]

  def evaluate(self, state, batch):
    """Adds a batch to the confusion `[Y, Y]` and the summed loss."""
    examples, real, totals = batch
    images, labels, weights = jax.tree.map(lambda x: x[0], examples)
    params, rest = state
    logs, _ = self.log_probs(params, rest, images, real, train=False)
    true = jax.nn.one_hot(labels, len(real)) * weights[:, None]
    said = jax.nn.one_hot(logs.argmax(axis=1), len(real))
    sums = self.add((true.T @ said, -jnp.sum(runs_lib.picked(logs, true))))
    return jax.tree.map(jnp.add, totals, sums)

  def steps_of_runs(self, state, batch):
    """`run_steps` of t runs."""
    examples, scalars, first, real = batch
    return jax.vmap(
      lambda state, e, s, r: self.run_steps(state, (e, s, first, r))
    )(state, examples, scalars, real)

  def evaluate_runs(self, state, batch):
    """`evaluate` of t runs."""
    return jax.vmap(lambda state, *batch: self.evaluate(state, batch))(
      state, *batch
    )
