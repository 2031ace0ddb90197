"""The scores again, plainly, in float64 NumPy: what the package must match."""

import numpy as np
import scipy.optimize
import sklearn.covariance


def softmax(logits):
  e = np.exp(logits - logits.max(axis=1, keepdims=True))
  return e / e.sum(axis=1, keepdims=True)


def joint(probs, labels, num_classes):
  probs = np.asarray(probs, np.float64)
  probs = probs / probs.sum(axis=1, keepdims=True)
  return np.stack([probs[labels == y].sum(0) for y in range(num_classes)])


def eep(probs, labels):
  """Predictive distributions `[n, Y]` of the EEP fitted to the same data."""
  table = joint(probs, labels, labels.max() + 1)
  mass = table.sum(0)
  table = np.divide(table, mass, out=np.zeros_like(table), where=mass > 0)
  probs = np.asarray(probs, np.float64)
  return probs / probs.sum(axis=1, keepdims=True) @ table.T


def leep(probs, labels):
  return np.log(eep(probs, labels)[np.arange(len(labels)), labels]).mean()


def eep_accuracy(probs, labels):
  return np.mean(eep(probs, labels).argmax(1) == labels)


def nce(probs, labels):
  dummy = np.asarray(probs, np.float64).argmax(1)
  total = 0.0
  for z in np.unique(dummy):
    counts = np.unique(labels[dummy == z], return_counts=True)[1]
    total += (counts * np.log(counts / counts.sum())).sum()
  return total / len(labels)


def h_score(features, labels):
  features = np.asarray(features, np.float64)
  means = np.zeros_like(features)
  for y in np.unique(labels):
    means[labels == y] = features[labels == y].mean(0)
  between = np.atleast_2d(np.cov(means, rowvar=False, bias=True))
  within = np.atleast_2d(np.cov(features, rowvar=False, bias=True))
  return np.trace(np.linalg.pinv(within, rcond=1e-10, hermitian=True) @ between)


def regularized_h_score(features, labels):
  features = np.asarray(features, np.float64)
  if len(features) == 1:
    return 0.0
  means = np.zeros_like(features)
  for y in np.unique(labels):
    means[labels == y] = features[labels == y].mean(0)
  model = sklearn.covariance.LedoitWolf().fit(features)
  between = np.cov(means, rowvar=False, bias=True)
  if not np.any(model.covariance_):
    return 0.0
  # Two examples are not shrunk: the pseudo-inverse is then that of H-score.
  inverse = np.linalg.pinv(model.covariance_, rcond=1e-10, hermitian=True)
  return (1 - model.shrinkage_) * np.trace(inverse @ between)


def logme(features, labels):
  """Evidence from the n x n covariance of the targets, and a search."""
  features = np.asarray(features, np.float64)
  values, vectors = np.linalg.eigh(features @ features.T)
  values = np.clip(values, 0, None)

  def negative(log_ratio, squares):
    variances = 1 + values / np.exp(log_ratio)
    noise = np.mean(squares / variances)
    variances = variances * noise
    return 0.5 * np.mean(np.log(2 * np.pi * variances) + squares / variances)

  best = []
  for y in np.unique(labels):
    squares = (vectors.T @ (labels == y)) ** 2
    starts = np.linspace(-40, 40, 161)
    start = min(starts, key=lambda x: negative(x, squares))
    found = scipy.optimize.minimize_scalar(
      negative, (start - 0.5, start + 0.5), args=(squares,), tol=1e-12
    )
    best.append(-min(found.fun, negative(start, squares)))
  return np.mean(best)


ORACLES = {
  "leep": leep,
  "nce": nce,
  "eep_accuracy": eep_accuracy,
  "h_score": h_score,
  "regularized_h_score": regularized_h_score,
  "logme": logme,
}
