"""Mixtures of sources again, plainly: naive counts, and SciPy's optimiser."""

import numpy as np
import scipy.optimize


def held_out(probs, labels):
  """Each example's probability of its label by the counts of the others."""
  probs = np.asarray(probs, np.float64)
  probs = probs / probs.sum(axis=1, keepdims=True)
  found = np.full(len(labels), np.nan)
  for i, y in enumerate(labels):
    others = np.arange(len(labels)) != i
    same = others & (labels == y)
    if np.all(labels == y):
      found[i] = 1
    elif same.any():
      below = probs[others].sum(axis=0)
      above = probs[same].sum(axis=0)
      frequency = same.sum() / others.sum()
      some = np.where(below > 0, below, 1)
      found[i] = np.where(below > 0, above / some, frequency) @ probs[i]
  return found


def stacking_weights(q):
  """The weights that maximise the mean log of q w, by SLSQP."""
  count = q.shape[1]

  def loss(w):
    return -np.log(q @ w).mean(), -(q / (q @ w)[:, None]).mean(axis=0)

  found = scipy.optimize.minimize(
    loss,
    np.full(count, 1 / count),
    jac=True,
    method="SLSQP",
    bounds=[(1e-12, 1)] * count,
    constraints={"type": "eq", "fun": lambda w: w.sum() - 1},
    options={"ftol": 1e-14, "maxiter": 1000},
  )
  weights = np.clip(found.x, 0, None)
  return weights / weights.sum()
