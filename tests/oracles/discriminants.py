"""Scores of linear discriminant analyses, in the features' own coordinates."""

import numpy as np
import scipy.linalg
import scipy.special


def by_class(features, labels):
  """Class means `[Y, D]`, shares, and covariances of all and within classes."""
  classes, codes = np.unique(labels, return_inverse=True)
  means = np.stack([features[labels == y].mean(axis=0) for y in classes])
  total = np.atleast_2d(np.cov(features, rowvar=False, bias=True))
  inside = features - means[codes]
  return (
    means,
    np.bincount(codes) / len(codes),
    codes,
    total,
    inside.T @ inside / len(codes),
  )


def shrunk(matrix, amount, instead):
  size = len(matrix)
  average = np.trace(matrix)
  if average <= 1e-12 * np.trace(instead):
    average = np.trace(instead)
  return (1 - amount) * matrix + amount * average / size * np.eye(size)


def lda(features, labels, amount=None):
  """Probabilities `[n, Y]`, codes of the labels, and the shrinkage."""
  features = np.asarray(features, np.float64)
  features = features - features.mean(axis=0)
  means, shares, codes, total, within = by_class(features, labels)
  if amount is None:
    amount = max(np.exp(-5 * np.linalg.eigvalsh(within)[-1]), 1e-10)
  if not np.trace(total) > 1e-20:
    logits = np.tile(np.log(shares), (len(codes), 1))
  else:
    inverse = np.linalg.inv(shrunk(within, amount, total))
    logits = np.stack(
      [
        np.log(share) - np.einsum("ij,jk,ik->i", d, inverse, d) / 2
        for share, d in zip(shares, features - means[:, None], strict=True)
      ],
      axis=1,
    )
  return scipy.special.softmax(logits, axis=1), codes, amount


def mean_true(probs, codes):
  return probs[np.arange(len(codes)), codes].mean()


def etran_lda(features, labels):
  return mean_true(*lda(features, labels)[:2])


def sfda(features, labels):
  features = np.asarray(features, np.float64)
  probs, codes, amount = lda(features, labels)
  soft = scipy.special.softmax(probs, axis=1)[np.arange(len(codes)), codes]
  means = by_class(features, labels)[0]
  mixed = features.copy()
  for i, (kept, code) in enumerate(zip(soft, codes, strict=True)):
    if len(means) > 1:
      others = np.delete(means, code, axis=0).mean(axis=0)
      mixed[i] = kept * features[i] + (1 - kept) * others
  return mean_true(*lda(mixed, labels, amount)[:2])


def etran_energy(features, labels, *, share=1.0):
  del labels
  found = scipy.special.logsumexp(np.asarray(features, np.float64), axis=1)
  return np.sort(found)[: max(int(share * len(found)), 1)].mean()


def components(features):
  """At most 64 principal components with variance, and their shrinkage."""
  features = np.asarray(features, np.float64)
  features = features - features.mean(axis=0)
  _, values, axes = np.linalg.svd(features, full_matrices=False)
  kept = values > 1e-5 * max(values[0], 1e-20)
  points = features @ axes[kept][:64].T
  return points, max(np.exp(-points[:, :32].var(axis=0).sum()), 1e-10)


def ncti_ncc(features, labels):
  return mean_true(*ncti_lda(features, labels))


def ncti_lda(features, labels):
  points, amount = components(features)
  if not points.shape[1]:
    points, amount = np.zeros((len(points), 1)), 1.0
  return lda(points, labels, amount)[:2]


def ncti_variability(features, labels):
  probs, codes = ncti_lda(features, labels)
  total = sum(
    np.linalg.norm(probs[codes == code], ord="nuc") for code in np.unique(codes)
  )
  return -np.log(total / np.sqrt(len(codes)))


def ncti_seli(features, labels):
  points, amount = components(features)
  count = min(len(np.unique(labels)) - 1, points.shape[1])
  if not count:
    return 0.0
  _, _, _, total, within = by_class(points, labels)
  total, within = (shrunk(x, amount, total) for x in (total, within))
  # Of components of variance 1: singular, or without directions.
  scaled = within / np.outer(*[points.std(axis=0)] * 2)
  if np.linalg.eigvalsh(scaled)[0] < 1e-7 or 1 - amount < 1e-7:
    return None
  _, directions = scipy.linalg.eigh(total - within, within)
  moved = points @ directions[:, -count:]
  return np.linalg.norm(moved, ord="nuc") / np.sqrt(len(points))
