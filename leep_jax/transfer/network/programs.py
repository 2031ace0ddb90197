"""Compiled steps of training, and compiled evaluation.

The state of a run is a dictionary: `params`, the weights of the body and of the
head `(kernel [Y, D], bias [Y])`; `rest`, the network's other arrays, such as
BatchNorm's statistics; `optimizer`; and `alive`, whether all losses so far were
finite.

Symbols: K steps, B examples of a batch on this device, Y classes of the group's
runs, of which `real [Y]` are the run's own; t runs on this device.
"""

from collections.abc import Callable
import dataclasses
from typing import Any

import jax
import jax.numpy as jnp
import optax

from leep_jax.engine import programs
from leep_jax.transfer import runs as runs_lib
from leep_jax.transfer.augment import augment, keys
from leep_jax.transfer.config import NetworkConfig


class Compiled:
  """The compiled functions of a source, traced once for each shape.

  Arrays that the source's function closes over, such as weights in a user's own
  function, belong to this object and are freed with it: compiled programs do
  not refer to them.

  Example:
    >>> import numpy as np
    >>> import leep_jax
    >>> from leep_jax import transfer
    >>> from leep_jax.engine import programs
    >>> from leep_jax.transfer.network.programs import Compiled
    >>> def apply(params, rest, images, *, train):
    ...   return images.mean(axis=(1, 2)) * params, rest
    >>> compiled = Compiled(
    ...   apply, leep_jax.Preprocessing(), transfer.NetworkConfig()
    ... )
    >>> measure = compiled.measure(data_parallel=True)
    >>> head = np.eye(3, dtype=np.float32), np.zeros(3, np.float32)
    >>> images, labels = np.zeros((1, 4, 2, 2, 3)), np.array([[0, 0, 1, 2]])
    >>> with programs.limit(1):
    ...   state = programs.replicate(((np.float32(1), head), {}))
    ...   totals = programs.replicate((np.zeros((3, 3)), np.float32(0)))
    ...   examples = images[None], labels[None], np.ones((1, 1, 4))
    ...   batch = examples, programs.replicate(np.ones(3, bool)), totals
    ...   confusion, nll = measure(state, batch)
    >>> confusion[0].tolist()
    [[2.0, 0.0, 0.0], [1.0, 0.0, 0.0], [1.0, 0.0, 0.0]]
  """

  def __init__(
    self,
    apply: Callable[..., Any],
    preprocessing: Callable[[Any], Any],
    config: NetworkConfig,
  ):
    """Compiles nothing yet.

    Args:
      apply: see `source.Network`.
      preprocessing: turns raw images into the network's input.
      config: how to train.
    """
    self._source = apply, preprocessing
    self._config = config
    self._found: dict[Any, Callable[..., Any]] = {}

  def step(self, *, data_parallel: bool) -> Callable[..., Any]:
    """Returns a function of some steps: `(state, batch) -> (state, losses)`.

    The new state takes the memory of the one that is passed in.

    Args:
      data_parallel: see `Placement`.
    """
    arithmetic = _Arithmetic(*self._source, self._config, data_parallel)
    return self._compile(
      arithmetic.run_steps if data_parallel else arithmetic.steps_of_runs,
      # The state before is not read again: its memory is that of the new state.
      donate=True,
    )

  def measure(self, *, data_parallel: bool) -> Callable[..., Any]:
    """Returns a function that tests a batch: `(state, batch) -> totals`.

    Args:
      data_parallel: see `Placement`.
    """
    arithmetic = _Arithmetic(*self._source, self._config, data_parallel)
    return self._compile(
      arithmetic.evaluate if data_parallel else arithmetic.evaluate_runs
    )

  def _compile(
    self, function: Callable[..., Any], *, donate: bool = False
  ) -> Callable[..., Any]:
    """A function over devices; all its calls have the shapes of the first."""
    program: Callable[..., Any] | None = None

    def run(state, batch):
      nonlocal program
      # Flattening the arguments at each step to look the program up would cost
      # more than a step of a small network.
      if program is None:
        program = self._find(function, (state, batch), donate)
      return program(state, batch)

    return run

  def _find(self, function, args, donate):
    """The program of a function for arguments `[d, ...]` of some shapes."""
    leaves, structure = jax.tree.flatten(args)
    key = (
      # The name alone tells which function of `_Arithmetic` it is, and whether
      # it is data-parallel; sources and options are those of this object.
      function.__name__,
      programs.device_count(),
      structure,
      *((x.shape, x.dtype) for x in leaves),
    )
    if key not in self._found:
      shapes = jax.tree.map(
        # A device sees no axis of devices.
        lambda x: jax.ShapeDtypeStruct(x.shape[1:], x.dtype),
        args,
      )
      traced, constants = programs.trace(function, *shapes, over_devices=True)
      program = programs.parallel(
        traced,
        # See `engine.programs`: fused kernels return NaN for bfloat16 networks.
        fused=self._config.dtype == "float32",
        donate=donate,
      )
      given = programs.replicate(traced.given(constants))
      self._found[key] = lambda state, batch: program(state, batch, given)
    return self._found[key]


@dataclasses.dataclass(frozen=True)
class _Arithmetic:
  """The computation of one device."""

  apply: Callable[..., Any]
  preprocessing: Callable[[Any], Any]
  config: NetworkConfig
  data_parallel: bool

  def log_probs(self, params, rest, images, real, *, train):
    """Log-probabilities `[B, Y]`, and the updated `rest`."""
    dtype = self.config.dtype
    body, (kernel, bias) = params
    images = self.preprocessing(images).astype(dtype)
    options: dict[str, Any] = {}
    if train and self.data_parallel:
      options["synchronise"] = programs.synchronise_batch_norm
    with jax.default_matmul_precision(programs.precision(dtype)):
      features, rest = self.apply(body, rest, images, train=train, **options)
    # The head is small and in float32 whatever the body's type.
    with jax.default_matmul_precision(programs.precision("float32")):
      logits = features.astype(jnp.float32) @ kernel.T + bias[None]
    logits = runs_lib.mask_logits(logits, real[None])
    return jax.nn.log_softmax(logits), rest

  def add(self, tree):
    """Sums a pytree over the devices that train one run."""
    return programs.add_over_devices(tree) if self.data_parallel else tree

  def augmented(self, images, root, first):
    """Images of a step, each augmented by a key of its own."""
    config = self.config
    if not config.shift and not config.flip:
      return images
    seed, epoch, step = root
    key = jax.random.key(seed)
    # By epoch and step: augmentation depends neither on how steps are divided
    # into calls, nor on where a training was resumed.
    key = jax.random.fold_in(jax.random.fold_in(key, epoch), step)
    return augment(
      keys(key, first, len(images)),
      images,
      shift=config.shift,
      flip=config.flip,
    )

  def scaled(self, updates, rates):
    """Updates times the learning rates `(head, body)`."""
    if self.config.frozen:
      return jax.tree.map(lambda u: rates[0] * u, updates)
    # Parameters are `(body, head)`: the other way round.
    return tuple(
      jax.tree.map(lambda u, rate=rate: rate * u, part)
      for part, rate in zip(updates, rates[::-1], strict=True)
    )

  def one_step(self, state, batch, first, real):
    """A step of a run, and its loss: 0 where the run has no more steps."""
    (images, labels, weights), (root, rates, active) = batch
    frozen = self.config.frozen
    images = self.augmented(images, root, first)
    params = state["params"]

    def loss_of(trained):
      all_params = (params[0], trained) if frozen else trained
      logs, rest = self.log_probs(
        # A frozen body extracts features as in `retrain_head`: with the running
        # statistics of BatchNorm, which do not change.
        all_params,
        state["rest"],
        images,
        real,
        train=not frozen,
      )
      wanted = jax.nn.one_hot(labels, len(real))
      return -jnp.sum(runs_lib.picked(logs, wanted) * weights), rest

    trained = params[1] if frozen else params
    (loss, rest), gradient = jax.value_and_grad(loss_of, has_aux=True)(trained)
    # Weights sum to 1 over the batches of all devices: sums are means.
    loss, gradient = self.add((loss, gradient))
    updates, optimizer = self.config.optimizer().update(
      gradient, state["optimizer"], trained
    )
    trained = optax.apply_updates(trained, self.scaled(updates, rates))
    # Steps that a run does not have say nothing of it.
    alive = state["alive"] & (jnp.isfinite(loss) | ~active)
    new = {
      "params": (params[0], trained) if frozen else trained,
      "rest": rest,
      "optimizer": optimizer,
    }
    # A run that has diverged, or has no more steps, stays as it is. Nothing of
    # it reaches other runs, so the group trains on.
    chosen = jax.tree.map(
      lambda a, b: jnp.where(alive & active, a, b),
      new,
      {key: state[key] for key in new},
    )
    loss = jnp.where(active, jnp.where(alive, loss, jnp.nan), 0)
    return {**chosen, "alive": alive}, loss

  def run_steps(self, state, batch):
    """Steps of one run on arrays `[K, ...]`, and their losses `[K]`."""
    examples, scalars, first, real = batch

    def step(state, part):
      return self.one_step(state, part, first, real)

    if examples[1].shape[0] > 1:
      return jax.lax.scan(step, state, (examples, scalars))
    # A CPU's convolutions take ten times as long inside a loop.
    state, loss = step(state, jax.tree.map(lambda x: x[0], (examples, scalars)))
    return state, loss[None]

  def evaluate(self, state, batch):
    """Adds a batch to the confusion matrix `[Y, Y]` and the summed loss."""
    examples, real, totals = batch
    # The axis of steps has length 1.
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
