r"""The converged head: softmax regression to its optimum, by L-BFGS.

With weights `W [Y, D]` and `b [Y]`, the objective is the mean cross entropy of
all training examples plus `l2 / 2 ||W||^2`. It is convex, so the result depends
on no initial weights, order of examples or learning rate. With `l2 = 0` the
negative optimum is the log-likelihood of Property 1 of the LEEP paper: an upper
bound of LEEP if the head can express the EEP. Classes that hyperplanes separate
have the optimum 0 at infinite weights; the iterations stop before.
"""

from collections.abc import Callable, Sequence
import functools
import time
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np
import optax

from leep_jax import tasks as tasks_lib, validation
from leep_jax.engine.outputs import Outputs
from leep_jax.transfer import config as config_lib, metrics, runs as runs_lib
from leep_jax.transfer.head import check_outputs


def probe_head(
  train: Outputs,
  test: Outputs,
  *,
  tasks: Sequence[tasks_lib.Task] | None = None,
  l2: float = 0.0,
  iterations: int = 500,
  tolerance: float = 1e-6,
  on_result: Callable[[metrics.Transferred], Any] = lambda result: None,
  progress: Callable[[int, int], Any] = lambda done, total: None,
) -> list[metrics.Transferred]:
  """Fits the optimal head of a source for each task.

  Args:
    train: outputs of the source on the training set, with features.
    test: the same on the test set.
    tasks: to fit a head for; by default one task of all examples.
    l2: strength of the penalty, for features of unit variance.
    iterations: of L-BFGS, at most.
    tolerance: the iterations stop once no element of the gradient is larger.
    on_result: called with each result as soon as it is known.
    progress: called with the number of tasks done and the number of all tasks.

  Returns:
    A result for each task. `losses` has one element, the mean training cross
    entropy without the penalty: the negative optimal log-likelihood.

  Raises:
    InputError: if a source has no features, a task cannot be trained or tested
      on (see `tasks.check`), or an option is out of bounds.

  Example:
    >>> import leep_jax
    >>> from leep_jax import transfer
    >>> outputs = leep_jax.Outputs.from_arrays(
    ...   features=[[0.0], [1.0], [2.0], [3.0]],
    ...   labels=[0, 1, 0, 1],  # of which no line separates the classes
    ... )
    >>> (found,) = transfer.probe_head(outputs, outputs)
    >>> round(found.nll, 4), found.losses.round(4).tolist()
    (0.5869, [0.5869])

  Reference: Nguyen, Hassner, Archambeau, Seeger. LEEP. ICML 2020, Property 1;
  Liu, Nocedal. On the limited memory BFGS method. Math. Programming, 1989.
  """
  check_outputs(train, test)
  config_lib.bounded("l2", l2)
  config_lib.bounded("tolerance", tolerance)
  validation.at_least_1("iterations", iterations)
  # The optimum does not depend on a seed.
  runs = runs_lib.make(train.labels, test.labels, tasks, [0])
  features, test_features = (
    np.asarray(outputs.features, np.float32) for outputs in (train, test)
  )
  results = []
  for run in runs:
    started = time.monotonic()
    # `l2` is for features of unit variance, and L-BFGS likes equal scales.
    x, centre, scale = _standardised(features[run.task.train])
    # With fewer examples than features, the optimum from zero weights lies in
    # the span of the examples: on its axes, the same problem is smaller.
    x, axes = _in_their_span(x)
    # Rounded up to a power of two: few shapes are compiled for many tasks.
    rows = 1 << (len(x) - 1).bit_length()
    weights = np.zeros(rows, np.float32)
    weights[: len(x)] = 1 / len(x)
    columns = x.shape[1] if axes is None else rows
    x = np.pad(x, ((0, rows - len(x)), (0, columns - x.shape[1])))
    # Any valid labels: weights are 0 there.
    labels = np.resize(run.labels, rows)
    kernel, bias = _fit(run.classes, iterations)(
      x, labels, weights, np.float32(l2), np.float32(tolerance)
    )
    # The same head, for features as they are.
    kernel = np.asarray(kernel, np.float64).T
    if axes is not None:
      kernel = axes.T @ kernel[: len(axes)]
    kernel = kernel / scale[:, None]
    bias = np.asarray(bias, np.float64) - centre @ kernel
    nll, _ = _evaluate(features[run.task.train], run.labels, kernel, bias)
    test_nll, confusion = _evaluate(
      test_features[run.task.test], run.test_labels, kernel, bias
    )
    result = metrics.transferred(
      confusion,
      test_nll,
      losses=np.array([nll / len(run.labels)]),
      accuracies=np.array([np.trace(confusion) / confusion.sum()]),
      task=run.task.name,
      seed=run.seed,
      method="probe",
      seconds=time.monotonic() - started,
      params=(kernel, bias),
    )
    on_result(result)
    results.append(result)
    progress(len(results), len(runs))
  return results


def _standardised(features):
  """Features of mean 0 and variance 1, their means and their deviations."""
  features = features.astype(np.float64)
  centre, scale = features.mean(axis=0), features.std(axis=0)
  # The variation of nearly constant features is rounding noise: divided by it
  # they would be as large as all others.
  scale = np.where(scale > 1e-6 * scale.max(initial=0), scale, 1)
  scale = np.where(scale > 0, scale, 1)
  return ((features - centre) / scale).astype(np.float32), centre, scale


def _in_their_span(x):
  """Examples `[n, D]` on axes `[n, D]` of their span; no axes if n >= D."""
  if len(x) >= x.shape[1]:
    return x, None
  left, singular, axes = np.linalg.svd(
    x.astype(np.float64), full_matrices=False
  )
  return (left * singular).astype(np.float32), axes


# Cached, as JAX compiles each new function again.
@functools.lru_cache(maxsize=64)
def _fit(classes, iterations):
  """The compiled minimisation, for heads of so many classes."""
  optimizer = optax.lbfgs(memory_size=20)

  @jax.jit
  def fit(x, labels, weights, l2, tolerance):
    wanted = jax.nn.one_hot(labels, classes) * weights[:, None]

    def loss(params):
      kernel, bias = params
      logits = jnp.dot(x, kernel.T, precision="highest") + bias[None]
      logs = jax.nn.log_softmax(logits)
      return -jnp.sum(wanted * logs) + l2 / 2 * jnp.sum(kernel**2)

    # The line search has evaluated both at the point where it stopped.
    value_and_grad = optax.value_and_grad_from_state(loss)

    def step(carry):
      params, state, _, done = carry
      value, gradient = value_and_grad(params, state=state)
      updates, state = optimizer.update(
        gradient, state, params, value=value, grad=gradient, value_fn=loss
      )
      largest = jnp.maximum(*(jnp.abs(g).max() for g in gradient))
      return optax.apply_updates(params, updates), state, largest, done + 1

    def goes_on(carry):
      _, _, largest, done = carry
      return (done < iterations) & (largest > tolerance)

    params = jnp.zeros((classes, x.shape[1])), jnp.zeros(classes)
    start = (params, optimizer.init(params), jnp.inf, 0)
    return jax.lax.while_loop(goes_on, step, start)[0]

  return fit


def _evaluate(features, labels, kernel, bias):
  """Summed negative log-likelihood and confusion `[Y, Y]`, in float64."""
  import scipy.special

  logits = features.astype(np.float64) @ kernel + bias
  logs = scipy.special.log_softmax(logits, axis=1)
  confusion = np.zeros((len(bias), len(bias)))
  np.add.at(confusion, (labels, logits.argmax(axis=1)), 1)
  return -logs[np.arange(len(labels)), labels].sum(), confusion
