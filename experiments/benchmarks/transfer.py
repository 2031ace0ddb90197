"""Measures the speed of training for transfer, as ratios within one run.

    python -m experiments.benchmarks.transfer

Purpose: how fast are head re-training and fine-tuning? The script re-trains 200
heads in the LEEP paper's setting of small tasks (5 classes x 50 examples, 64
features, batch 10, 100 epochs), and compares the time with a Python loop over a
jitted Optax step that trains one head after another (measured on every tenth
task). The aim is to be at least 50 times as fast. It also compares the images
per second of fine-tuning with those of the jitted value and gradient alone, for
the same network and batch. The aim is a ratio of at least 0.8.

Cost: about two minutes on two CPU cores. Times are medians of interleaved
repetitions, after compilation.

What came out is in `experiments/results/transfer_speed.md`: heads are trained
44 times as fast, which does not meet the aim of 50; fine-tuning meets its own.
Heads train in a thread for each of two cores: 0.5 s in place of 0.9 s. Of a
step, gathering features takes a third, the products a half. Four other layouts
of the same step (features first or heads last in memory, batched products, each
with and without XLA's fused kernels) took 1.4 to 12 times as long.
"""

from collections.abc import Callable
import functools
import sys

from absl import flags
import jax
import jax.numpy as jnp
import numpy as np
import optax

from experiments.benchmarks import timing
import leep_jax
from leep_jax import command, tasks as tasks_lib, transfer
from leep_jax.engine import programs
from leep_jax.sources import catalog

FLAGS = flags.FlagValues()
_REPEATS = flags.DEFINE_integer(
  "repeats", 5, "Number of repetitions of each timing.", flag_values=FLAGS
)
_TASKS, _CLASSES, _EXAMPLES, _WIDTH, _EVERY = 200, 5, 50, 64, 10


def heads(
  count: int = _TASKS,
) -> tuple[tuple[leep_jax.Outputs, leep_jax.Outputs], list[tasks_lib.Task]]:
  """Returns features of 100 classes, and tasks of 5 of them."""
  rng = np.random.default_rng(0)
  labels = np.arange(10_000) % 100
  features = rng.normal(size=(100, _WIDTH))[labels]
  features += rng.normal(size=features.shape)
  outputs = leep_jax.Outputs.from_arrays(
    features=features.astype(np.float32), labels=labels
  )
  test = leep_jax.Outputs.from_arrays(
    features=features[:2000].astype(np.float32), labels=labels[:2000]
  )
  spec = f"small(count={count},classes={_CLASSES},examples={_EXAMPLES})"
  tasks = tasks_lib.parse(spec, labels, labels[:2000], seed=0)
  return (outputs, test), tasks


def sequential_training(outputs, tasks, config):
  """Returns a Python loop over a jitted step, without the test at the end.

  It is what one would write without this package.
  """
  optimizer = optax.sgd(config.learning_rate)

  def loss(params, x, y):
    kernel, bias = params
    logits = x @ kernel + bias[None]
    return optax.softmax_cross_entropy_with_integer_labels(logits, y).mean()

  @jax.jit
  def step(params, state, x, y):
    gradient = jax.grad(loss)(params, x, y)
    updates, state = optimizer.update(gradient, state, params)
    return optax.apply_updates(params, updates), state

  def run():
    for task in tasks:
      features = np.asarray(outputs.features)[task.train]
      labels = task.train_labels(outputs.labels)
      rng = np.random.default_rng(0)
      params = jnp.zeros((_WIDTH, _CLASSES)), jnp.zeros(_CLASSES)
      state = optimizer.init(params)
      for _ in range(config.epochs):
        order = rng.permutation(len(labels))
        for start in range(0, len(labels), config.batch_size):
          batch = order[start : start + config.batch_size]
          params, state = step(params, state, features[batch], labels[batch])
      jax.block_until_ready(params)

  return run


def head_retraining(repeats):
  """Prints how much faster heads are trained at the same time."""
  (train, test), tasks = heads()
  config = transfer.Config(curve=0)
  ours = functools.partial(
    transfer.retrain_head, train, test, tasks=tasks, config=config
  )
  loop = sequential_training(train, tasks[::_EVERY], config)
  fast, slow = timing.interleaved(repeats, ours, loop)
  slow *= _EVERY
  timing.report(
    "200 head re-trainings, one after another over ours", slow / fast, 50,
    f"{slow:.1f} s over {fast:.2f} s",
  )  # fmt: skip


def tuning(
  source: leep_jax.Source,
  images: np.ndarray,
  labels: np.ndarray,
  *,
  batch_size: int,
  dtype: str = "float32",
  epochs: int = 2,
) -> tuple[Callable[[], object], Callable[[], object], int]:
  """Returns the bare gradient of all steps, fine-tuning, and their images.

  The bare gradient is a jitted value and gradient, of one batch that is on the
  device, as often as there are steps.
  """
  config = transfer.NetworkConfig(
    epochs=epochs, batch_size=batch_size, curve=0, dtype=dtype
  )
  test = images[:batch_size], labels[:batch_size]
  network = source.network
  assert network is not None
  weights = network.weights
  x = jax.jit(source.preprocessing)(images[:batch_size]).astype(dtype)
  y = jnp.asarray(labels[:batch_size])
  classes = int(labels.max()) + 1
  shape = jax.eval_shape(
    lambda x: network.apply(*weights, x, train=True)[0], x
  ).shape
  head = jnp.zeros((classes, shape[1])), jnp.zeros(classes)

  @jax.jit
  def bare(params, rest, head):
    def loss(both):
      body, (kernel, bias) = both
      features, new = network.apply(body, rest, x, train=True)
      logits = features.astype(kernel.dtype) @ kernel.T + bias[None]
      losses = optax.softmax_cross_entropy_with_integer_labels(logits, y)
      return losses.mean(), new

    with jax.default_matmul_precision(programs.precision(dtype)):
      return jax.value_and_grad(loss, has_aux=True)((params, head))

  steps = epochs * (len(images) // batch_size)

  def loop():
    result = None
    for _ in range(steps):
      result = bare(*weights, head)
    jax.block_until_ready(result)

  def ours():
    transfer.fine_tune(source, (images, labels), test, config=config)

  return loop, ours, steps * batch_size


def fine_tuning(name, batch_size, repeats):
  """Prints the speed of fine-tuning a source on digits, over its gradient."""
  source = catalog.load_source(name)
  images, labels = leep_jax.load_dataset("digits").load()
  count = max(10 * batch_size, 1000)
  loop, ours, done = tuning(
    source, images[:count], labels[:count], batch_size=batch_size
  )
  fast, slow = timing.interleaved(repeats, loop, ours)
  timing.report(
    f"fine-tuning {name}, batch {batch_size}: images/s over the bare gradient",
    fast / slow, 0.8, f"{done / slow:,.0f} over {done / fast:,.0f}",
  )  # fmt: skip


def _run() -> int:
  timing.header()
  head_retraining(_REPEATS.value)
  for batch_size in (10, 64):
    fine_tuning("cifar10_resnet14", batch_size, _REPEATS.value)
  return 0


if __name__ == "__main__":
  sys.exit(command.main(sys.argv, FLAGS, __doc__ or "", _run))
