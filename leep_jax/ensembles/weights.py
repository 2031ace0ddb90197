"""The weights of a mixture that maximise its log-likelihood.

The mean over examples of log sum_s w_s q_s[i] is concave in the weights w,
which are at least 0 and sum to 1. Symbols: n examples, S sources, q `[n, S]`
their probabilities of the true labels.
"""

import dataclasses

import numpy as np

# The optimum is at most so far above, in nats per example.
TOLERANCE = 1e-9
_STEPS = 100
_HALVINGS = 30
# Sources whose probabilities depend on each other linearly make the Hessian
# singular; it gets this share of its mean diagonal more.
_RIDGE = 1e-12


@dataclasses.dataclass(frozen=True, eq=False)
class Optimum:
  """Weights, and how good they are.

  Attributes:
    weights: `[S]`.
    value: the mean log-likelihood, in nats.
    gap: the maximum is at most this much above the value, as the concave
      function lies below its tangent there: max_s mean_i q_s[i] / mix[i] - 1.
    free: the number of weights above 0, of sources with equal probabilities
      counted once, minus 1.

  Example:
    >>> import numpy as np
    >>> from leep_jax.ensembles import weights
    >>> weights.Optimum(np.array([0.5, 0.5]), -0.7, 0.0, 1).free
    1
  """

  weights: np.ndarray
  value: float
  gap: float
  free: int


def best(probabilities: np.ndarray) -> Optimum:
  """Returns the weights that maximise mean_i log sum_s w_s q_s[i].

  Newton's method from equal weights: a step maximises the second-order
  expansion over weights of at least 0, a problem of non-negative least squares
  in S unknowns, and is halved until the value rises. Where it does not, a step
  of expectation maximisation, w_s mean_i q_s[i] / mix[i], always does. Sources
  with the same probabilities share a weight equally.

  Args:
    probabilities: `[n, S]`, in each row at least one above 0.

  Reference: Yao, Vehtari, Simpson & Gelman, "Using stacking to average Bayesian
  predictive distributions", Bayesian Analysis 2018, equation 5 (the problem);
  Kim, Carbonetto, Stephens & Anitescu, "A fast algorithm for maximum likelihood
  estimation of mixture proportions using sequential quadratic programming",
  Journal of Computational and Graphical Statistics 2020 (the method).

  Example:
    Each source is sure of other examples. By symmetry, both count the same.

    >>> import numpy as np
    >>> from leep_jax.ensembles import weights
    >>> found = weights.best(np.array([[0.9, 0.1], [0.1, 0.9]]))
    >>> found.weights.round(6).tolist(), round(found.value, 4)
    ([0.5, 0.5], -0.6931)
  """
  q, source = _distinct(np.asarray(probabilities, np.float64))
  w = np.full(q.shape[1], 1 / q.shape[1])
  for _ in range(_STEPS):
    ratios = q / (q @ w)[:, None]
    slope = ratios.mean(axis=0)
    if slope.max() - 1 <= TOLERANCE:
      break
    w = _step(q, w, ratios, slope)
  mixed = q @ w
  gap = float(np.max((q / mixed[:, None]).mean(axis=0)) - 1)
  free = int(np.count_nonzero(w)) - 1
  weights = (w / np.bincount(source))[source]
  return Optimum(weights, float(np.log(mixed).mean()), max(gap, 0.0), free)


def _distinct(q):
  """The different columns, in an order of their values, and which each is."""
  keys = [column.tobytes() for column in q.T]
  order = sorted(set(keys))
  source = np.array([order.index(key) for key in keys])
  _, first = np.unique(source, return_index=True)
  return q[:, first], source


def _step(q, w, ratios, slope):
  """The weights after a step; `slope` `[S]` is the gradient at `w`."""
  aim = _newton(ratios, slope)
  if aim is not None:
    start, rise = np.log(q @ w).mean(), slope @ (aim - w)
    for halving in range(_HALVINGS):
      share = 0.5**halving
      new = w + share * (aim - w)
      mixed = q @ new
      needed = start + 1e-4 * share * rise
      if np.all(mixed > 0) and np.log(mixed).mean() >= needed:
        return new
  return w * slope


def _newton(ratios, slope):
  """Where the second-order expansion has its maximum, or None.

  Of mean log(q v) - sum v over all v >= 0, whose maximum is that over weights
  that sum to 1: 1/2 v H v - (2 slope - 1) v is least, with H = ratios^T ratios
  / n. With H = R^T R that is |R v - b|, R^T b = 2 slope - 1.
  """
  import scipy.linalg
  import scipy.optimize

  hessian = ratios.T @ ratios / len(ratios)
  ridge = _RIDGE * np.trace(hessian) / len(hessian)
  try:
    root = np.linalg.cholesky(hessian + ridge * np.eye(len(hessian))).T
    right = scipy.linalg.solve_triangular(root, 2 * slope - 1, trans="T")
    aim, _ = scipy.optimize.nnls(root, right)
  except (np.linalg.LinAlgError, RuntimeError):  # rounding; too many steps
    return None
  total = aim.sum()
  return aim / total if total > 0 else None
