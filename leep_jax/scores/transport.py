"""Entropic optimal transport between two sets of examples, in float64.

Symbols: m and n examples, each with the same mass; cost `[m, n]`; coupling P
`[m, n]` with row sums 1/m and column sums 1/n.
"""

import numpy as np

from leep_jax import validation

# Deviations of costs, as a share of the largest, that are rounding.
_ROUNDING = 1e-12
# The largest difference of the sums of P from those asked for, in total.
_TOLERANCE = 1e-6
_ITERATIONS = 20_000
_CHECK_EVERY = 20
# The regularisation falls to its value in steps, each of which starts from the
# potentials of the one before.
_STEP = 4
# Scalings further from 1 are put into the potentials, before they overflow.
_LARGEST = 1e50


def coupling(cost: np.ndarray, *, regularisation: float) -> np.ndarray:
  """Returns the P with the least <P, cost> + eps sum P log P.

  By Sinkhorn's scalings of rows and columns, with potentials that keep them
  near 1 and a regularisation that falls to eps.

  Args:
    cost: `[m, n]`.
    regularisation: eps as a share of the standard deviation of the costs minus
      the means of their rows and columns, which alone matter; above 0. With
      less, P is nearer to the exact transport, and takes more iterations.

  Returns:
    `[m, n]`, whose row and column sums differ from 1/m and 1/n by at most 1e-6
    in total.

  Raises:
    UndefinedScore: if the scalings do not converge.

  Reference: Cuturi, "Sinkhorn Distances: Lightspeed Computation of Optimal
  Transport", NeurIPS 2013; Schmitzer, "Stabilized Sparse Scaling Algorithms for
  Entropy Regularized Transport Problems", SIAM Journal on Scientific Computing
  2019, arXiv 1610.06519 (potentials, steps).

  Example:
    >>> import numpy as np
    >>> from leep_jax.scores import transport
    >>> cost = np.array([[0.0, 4.0], [4.0, 0.0]])
    >>> transport.coupling(cost, regularisation=0.1).round(3).tolist()
    [[0.5, 0.0], [0.0, 0.5]]
  """
  largest = np.abs(cost).max()
  # What is the same for all of a row or column does not change P.
  cost = cost / (largest if largest > 0 else 1)
  cost = cost - cost.mean(axis=1, keepdims=True) - cost.mean(axis=0)
  cost += -cost.mean()
  spread = cost.std()
  if spread <= _ROUNDING:
    return np.full(cost.shape, 1 / cost.size)
  cost /= spread
  rows, columns = np.zeros(len(cost)), np.zeros(cost.shape[1])
  eps = max(float(np.abs(cost).max()), regularisation)
  remaining = _ITERATIONS
  while True:
    kernel, used, converged = _scale(cost, rows, columns, eps, remaining)
    remaining -= used
    if eps == regularisation and converged:
      found: np.ndarray = kernel
      return found
    if remaining <= 0:
      raise validation.UndefinedScore(
        f"optimal transport has not converged after {_ITERATIONS} iterations: "
        "use a larger regularisation"
      )
    eps = max(eps / _STEP, regularisation)


def _scale(cost, rows, columns, eps, most):
  """Scales rows and columns of exp((rows + columns - cost) / eps) in turn.

  Changes the potentials in place.

  Returns:
    The scaled kernel, the iterations made, and whether its sums are right.
  """
  first, second = cost.shape

  def kernel_of():
    return np.exp((rows[:, None] + columns[None] - cost) / eps)

  def absorb():
    rows[:] += eps * np.log(left)
    columns[:] += eps * np.log(right)

  # An update of the rows by logarithms, so that no row of the kernel is 0.
  free = (columns[None] - cost) / eps
  top = free.max(axis=1)
  sums = np.exp(free - top[:, None]).sum(axis=1)
  rows[:] = -eps * (top + np.log(sums) + np.log(first))
  kernel = kernel_of()
  left, right = np.ones(first), np.ones(second)
  for iteration in range(1, most + 1):
    column_sums = kernel.T @ left
    # A column that is 0 so far is rescued when the potentials take its scaling.
    right = 1 / (second * np.maximum(column_sums, 1 / _LARGEST**2))
    product = kernel @ right
    if iteration % _CHECK_EVERY == 0:
      error = np.abs(left * product - 1 / first).sum()
      if error <= _TOLERANCE:
        absorb()
        return left[:, None] * kernel * right, iteration, True
    left = 1 / (first * product)
    size = max(left.max(), right.max(), 1 / left.min(), 1 / right.min())
    if size > _LARGEST:
      absorb()
      kernel = kernel_of()
      left, right = np.ones(first), np.ones(second)
  absorb()
  return kernel, most, False
