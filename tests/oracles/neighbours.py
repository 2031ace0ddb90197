"""Scores of nearest neighbours and class means, one example at a time."""

import numpy as np

# Similarities and distances that are equal up to this share do not decide.
_ROUNDING = 1e-6


def cosines(features):
  rows = np.asarray(features, np.float64)
  length = np.linalg.norm(rows, axis=1, keepdims=True)
  rows = rows / np.where(length > 0, length, 1)
  spread = ((rows - rows.mean(axis=0)) ** 2).sum(axis=1).max()
  return rows @ rows.T, _ROUNDING * (spread if spread > 1e-12 else 1)


def knn_accuracy(features, labels, neighbours=1, clusters=None):
  n = len(labels)
  clusters = np.arange(n) if clusters is None else clusters
  if len(set(clusters)) == 1:
    return None
  (similar, rounding), right = cosines(features), []
  for i in range(n):
    others = np.flatnonzero(clusters != clusters[i])
    k = min(neighbours, len(others))
    last = np.sort(similar[i, others])[-k]
    near = others[similar[i, others] >= last - rounding]
    votes = np.bincount(labels[near], minlength=labels.max() + 1)
    total = np.bincount(
      labels[near], similar[i, near], minlength=labels.max() + 1
    )
    best = np.where(votes == votes.max(), total / votes.max(), -np.inf)
    right.append(np.argmax(best >= best.max() - rounding) == labels[i])
  return np.mean(right)


def class_mean_accuracy(features, labels, clusters=None):
  n = len(labels)
  clusters = np.arange(n) if clusters is None else clusters
  if len(set(clusters)) == 1:
    return None
  # Lengths near those of differences, as rounding is a share of them.
  f = np.asarray(features, np.float64)
  f = f - f.mean(axis=0)
  right = []
  for i in range(n):
    others = clusters != clusters[i]
    squares, largest = {}, 0
    for y in np.unique(labels[others]):
      mean = f[others & (labels == y)].mean(axis=0)
      squares[y] = ((f[i] - mean) ** 2).sum()
      largest = max(largest, (mean**2).sum())
    limit = min(squares.values()) + _ROUNDING * ((f[i] ** 2).sum() + largest)
    right.append(min(y for y in squares if squares[y] <= limit) == labels[i])
  return np.mean(right)


def concept_variance(features, labels):
  """Pair by pair, as Vilalta and Drissi define it."""
  f = np.asarray(features, np.float64)
  f = f[:, np.ptp(f, axis=0) > 0]
  if len(f) < 2 or not f.shape[1]:
    return None
  f = (f - f.min(axis=0)) / np.ptp(f, axis=0)
  varied = []
  for i in range(len(f)):
    d = np.delete(np.linalg.norm(f - f[i], axis=1), i)
    left = np.maximum(np.sqrt(f.shape[1]) - d, 1e-9)
    exponents = -2.0 * d / left
    w = 2 ** (exponents - exponents.max())
    varied.append(w @ (np.delete(labels, i) != labels[i]) / w.sum())
  return -np.mean(varied)


ORACLES = {
  "concept_variance": concept_variance,
  "knn_accuracy": knn_accuracy,
  "class_mean_accuracy": class_mean_accuracy,
}
