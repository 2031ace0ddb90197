"""PACTran: bounds of log evidences, with all arrays in memory."""

import numpy as np
import scipy.special


def one_hot(labels):
  return (labels[:, None] == np.unique(labels)).astype(np.float64)


def variational(probs, labels, *, gamma, steps):
  """The bound of either prior, after steps of coordinate ascent."""
  probs = np.asarray(probs, np.float64)
  s = probs / probs.sum(axis=1, keepdims=True)
  wanted = one_hot(labels)
  prior = wanted.mean(axis=0)[:, None]
  q, scale = s, np.ones(len(s))
  for _ in range(steps):
    a = prior + wanted.T @ q
    if gamma:
      b = 1 + (s / scale[:, None]).sum(axis=0)
      table = scipy.special.digamma(a) - np.log(b)
      scale = s @ (a / b).sum(axis=0)
    else:
      table = scipy.special.digamma(a) - scipy.special.digamma(a.sum(axis=0))
    with np.errstate(divide="ignore"):
      q = scipy.special.softmax(np.log(s) + wanted @ table, axis=1)
  a = prior + wanted.T @ q
  ratio = np.divide(q, s, out=np.ones_like(q), where=q > 0)
  divergence = np.sum(q * np.log(ratio))
  log_gamma = scipy.special.gammaln
  if gamma:
    b = 1 + (s / scale[:, None]).sum(axis=0)
    bound = np.sum(log_gamma(a) - log_gamma(prior) - a * np.log(b))
    bound -= np.sum(np.log(scale) - 1)
  else:
    bound = np.sum(log_gamma(a) - log_gamma(prior))
    bound -= np.sum(log_gamma(a.sum(axis=0)) - log_gamma(prior.sum()))
  return (bound - divergence) / len(s)


def pactran_dirichlet(probs, labels, *, steps=10):
  return variational(probs, labels, gamma=False, steps=steps)


def pactran_gamma(probs, labels, *, steps=10):
  return variational(probs, labels, gamma=True, steps=steps)


def best_head(features, labels, ridge):
  """The optimal head `[Y, D + 1]`, by Newton's method with all of a Hessian."""
  rows = np.concatenate([features, np.ones((len(features), 1))], axis=1)
  wanted = one_hot(labels)
  n, (classes, width) = len(rows), (wanted.shape[1], rows.shape[1])
  penalties = np.append(np.full(width - 1, ridge), 0)

  def objective(head):
    logs = scipy.special.log_softmax(rows @ head.T, axis=1)
    return -np.sum(logs * wanted) / n + np.sum(penalties * head**2) / 2

  head = np.zeros((classes, width))
  for _ in range(100):
    probs = scipy.special.softmax(rows @ head.T, axis=1)
    slope = (probs - wanted).T @ rows / n + penalties * head
    weights = probs[:, :, None] * (np.eye(classes) - probs[:, None])
    hessian = np.einsum("iab,ij,ik->ajbk", weights, rows, rows) / n
    hessian = hessian.reshape(classes * width, -1)
    hessian += np.diag(np.tile(penalties, classes))
    # The same bias for all classes changes nothing: hence least squares.
    step = np.linalg.lstsq(hessian, -slope.ravel(), rcond=1e-13)[0]
    step, rate = step.reshape(head.shape), 1.0
    while objective(head + rate * step) > objective(head) and rate > 1e-9:
      rate /= 2
    head = head + rate * step
    if np.abs(slope).max() < 1e-12:
      break
  return head, objective(head)


def pactran_gaussian(features, labels, *, spread=0.1, variance=1.0):
  features = np.asarray(features, np.float64)
  features = features - features.mean(axis=0)
  n, dimensions = features.shape
  head, loss = best_head(features, labels, 1 / (spread * n))
  logits = features @ head[:, :-1].T + head[:, -1]
  probs = scipy.special.softmax(logits, axis=1)
  uncertain = (probs * (1 - probs)).sum(axis=1)
  trace = np.mean((features**2).sum(axis=1) * uncertain)
  product, size = spread * n, probs.shape[1] * dimensions
  temperature = product / (variance / dimensions)
  flatness = np.log(1 + product / size * trace)
  return -loss - size / (2 * temperature) * flatness
