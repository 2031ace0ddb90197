"""The scores again, plainly, in float64 NumPy: what the package must match.

Each takes a source's outputs and `labels` or `targets`, and gives None where
the score is undefined.
"""

import warnings

import numpy as np
import scipy.optimize
import scipy.special
import scipy.stats
import sklearn.covariance
import sklearn.decomposition
import sklearn.linear_model
import sklearn.metrics
import sklearn.mixture

import leep_jax
from leep_jax.scores import gaussian_mixture
from oracles import bounds, discriminants, neighbours, otce


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


def leep_loo(probs, labels, smoothing=0.0):
  probs = np.asarray(probs, np.float64)
  probs = probs / probs.sum(axis=1, keepdims=True)
  mass = probs.sum(axis=0)
  some = np.where(mass > 0, mass, 1)
  weight = smoothing * (probs**2).sum(axis=0) / some
  logs = []
  for i, y in enumerate(labels):
    others = np.arange(len(labels)) != i
    same = others & (labels == y)
    if np.all(labels == y):
      frequency = 1.0
    elif same.any():
      frequency = same.sum() / others.sum()
    else:
      continue
    below = probs[others].sum(axis=0) + weight
    above = probs[same].sum(axis=0) + weight * frequency
    given = np.where(
      below > 0, above / np.where(below > 0, below, 1), frequency
    )
    if not given @ probs[i]:
      return None  # minus infinity
    logs.append(np.log(given @ probs[i]))
  return np.mean(logs) if logs else None


def nce_loo(probs, labels, smoothing=1.0):
  dummy = np.asarray(probs, np.float64).argmax(1)
  logs = []
  for i, (y, z) in enumerate(zip(labels, dummy, strict=True)):
    rest = np.delete(labels, i)
    if np.all(labels == y):
      logs.append(0.0)
    elif y in rest:
      there = rest[np.delete(dummy, i) == z]
      frequency = np.mean(rest == y)
      if len(there) + smoothing:
        above = np.sum(there == y) + smoothing * frequency
        frequency = above / (len(there) + smoothing)
      logs.append(np.log(frequency))
  return np.mean(logs) if logs else None


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


def logme(features, labels=None, targets=None, multi_labels=None):
  """Evidence from the n x n covariance of the targets, and a search."""
  features = np.asarray(features, np.float64)
  values, vectors = np.linalg.eigh(features @ features.T)
  values = np.clip(values, 0, None)
  if multi_labels is not None:
    targets = multi_labels[:, np.ptp(multi_labels, axis=0) > 0]
    if not targets.size:
      return None
  if targets is None:
    targets = (labels[:, None] == np.unique(labels)).astype(np.float64)

  def negative(log_ratio, squares):
    variances = 1 + values / np.exp(log_ratio)
    noise = np.mean(squares / variances)
    variances = variances * noise
    return 0.5 * np.mean(np.log(2 * np.pi * variances) + squares / variances)

  best = []
  for squares in (vectors.T @ targets).T ** 2:
    starts = np.linspace(-40, 40, 161)
    start = min(starts, key=lambda x: negative(x, squares))
    found = scipy.optimize.minimize_scalar(
      negative, (start - 0.5, start + 0.5), args=(squares,), tol=1e-12
    )
    best.append(-min(found.fun, negative(start, squares)))
  return np.mean(best)


def centred(features):
  features = np.asarray(features, np.float64)
  return features - features.mean(axis=0)


def principal(features, keep):
  """The features on their first principal components, with variance."""
  features = centred(features)
  if len(features) == 1 or not features.any():
    return np.zeros((len(features), 0))
  model = sklearn.decomposition.PCA(svd_solver="full").fit(features)
  variances = model.explained_variance_
  variances = variances[variances > 1e-10 * variances[0]]
  return model.transform(features)[:, : min(keep(variances), len(variances))]


def reduced(features):
  """Principal components with 80 % of the variance, of mean variance 1."""

  def enough(variances):
    parts = np.cumsum(variances) / variances.sum()
    return np.searchsorted(parts, 0.8 * (1 - 1e-9)) + 1

  points = principal(features, enough)
  if not points.shape[1]:
    return np.zeros((len(points), 1))
  return points / np.sqrt(points.var(axis=0).mean())


def n_leep(features, labels):
  """By scikit-learn's own fit, for data with one best fit."""
  if len(labels) == 1:
    return 0.0
  points = reduced(features)
  model = sklearn.mixture.GaussianMixture(
    min(5 * len(np.unique(labels)), len(points)),
    covariance_type="diag",
    n_init=5,
    random_state=0,
  )
  with warnings.catch_warnings():
    warnings.simplefilter("ignore")
    posterior = model.fit(points).predict_proba(points)
  return leep(posterior, labels)


def posterior_of_fit(features, labels):
  """scikit-learn's posterior of the mixture that leep_jax fits."""
  outputs = leep_jax.Outputs.from_arrays(features=features, labels=labels)
  points = reduced(features)
  known = leep_jax.Outputs.from_arrays(features=points, labels=labels)
  (log_weights, centres, precisions), _ = gaussian_mixture.fit(
    known,
    gaussian_mixture.hashes(outputs),
    components=5 * len(np.unique(labels)),
  )
  model = sklearn.mixture.GaussianMixture(
    len(log_weights), covariance_type="diag"
  )
  model.weights_, model.means_ = np.exp(log_weights), centres
  model.precisions_cholesky_ = np.sqrt(precisions)
  shift, scale = known.feature_centre
  return model.predict_proba((points - shift) / scale)


def coding_rate(features, eps=1e-4):
  n, dimensions = features.shape
  # Of the singular values: beside the products of large features, the 1 of
  # directions without variance would be rounding.
  squares = np.linalg.svd(features, compute_uv=False) ** 2
  return np.log1p(squares * dimensions / (n * eps**2)).sum() / 2


def trans_rate(features, labels):
  features = centred(features)
  rate = coding_rate(features)
  for y in np.unique(labels):
    inside = features[labels == y]
    rate -= len(inside) / len(features) * coding_rate(inside)
  return rate


def gbc(features, labels, *, covariance="spherical", dimensions=64):
  points = principal(features, lambda variances: dimensions)
  return gbc_of(points, labels, covariance)


def gbc_of(points, labels, covariance):
  """Of principal components."""
  classes = np.unique(labels)
  if not points.shape[1]:
    return -float(len(classes) * (len(classes) - 1))
  floor = 1e-6 * points.var(axis=0).mean()
  gaussians = []
  for y in classes:
    inside = points[labels == y]
    variance = inside.var(axis=0)
    if covariance == "spherical":
      variance = np.full_like(variance, variance.mean())
    gaussians.append((inside.mean(axis=0), np.maximum(variance, floor)))
  total = 0.0
  for c, (mean, variance) in enumerate(gaussians):
    for other, (mean_other, variance_other) in enumerate(gaussians):
      if c != other:
        both = (variance + variance_other) / 2
        distance = np.sum((mean - mean_other) ** 2 / both) / 8
        distance += np.sum(np.log(both)) / 2
        distance -= np.sum(np.log(variance) + np.log(variance_other)) / 4
        total += np.exp(-distance)
  return -total


def parc(features, labels):
  if len(labels) == 1 or len(np.unique(labels)) == 1:
    return None
  upper = np.triu_indices(len(labels), 1)
  one_hot = labels[:, None] == np.unique(labels)
  far = np.corrcoef(np.asarray(features, np.float64))[upper].round(10)
  label = np.corrcoef(one_hot.astype(np.float64))[upper].round(10)
  if np.ptp(far) == 0 or np.ptp(label) == 0:
    return None
  return scipy.stats.spearmanr(1 - far, 1 - label).statistic


def lin_mse(features, targets, *, ridge=1.0):
  features = np.asarray(features, np.float64)
  targets = np.asarray(targets, np.float64).reshape(len(features), -1)
  model = sklearn.linear_model.LinearRegression()
  if ridge:
    model = sklearn.linear_model.Ridge(
      alpha=ridge * len(features), solver="svd"
    )
  with warnings.catch_warnings():
    warnings.simplefilter("ignore")
    model.fit(features, targets)
  squares = (targets - model.predict(features).reshape(targets.shape)) ** 2
  return -squares.sum() / len(features) - ridge * np.sum(model.coef_**2)


def lab_mse(probs, targets, **options):
  return lin_mse(probs, targets, **options)


PENALTIES = 10.0 ** np.arange(-4, 3.5, 0.5)


def refits(features, targets, penalties=PENALTIES):
  """Predictions `[L, n, C]` of each example by a ridge fit without it.

  Features are standardised with all examples; the intercept has no penalty.
  """
  features = np.asarray(features, np.float64)
  n = len(features)
  features = features[:, np.ptp(features, axis=0) > 0]
  features = (features - features.mean(axis=0)) / features.std(axis=0)
  inputs = np.concatenate([np.ones((n, 1)), features], axis=1)
  penalised = np.diag([0.0] + [1.0] * features.shape[1])
  found = []
  for penalty in penalties:
    matrix = inputs.T @ inputs + n * penalty * penalised
    predicted = []
    for x, t in zip(inputs, targets, strict=True):
      right = inputs.T @ targets - np.outer(x, t)
      predicted.append(x @ np.linalg.solve(matrix - np.outer(x, x), right))
    found.append(predicted)
  return np.array(found)


def best_refit(features, targets):
  """The predictions `[n, C]` with the least squared error."""
  found = refits(features, targets)
  return found[((found - targets) ** 2).sum(axis=(1, 2)).argmin()]


def head_scores(features, labels):
  """Held-out predictions of one-hot labels at the class shares of all."""
  one_hot = (labels[:, None] == np.unique(labels)).astype(np.float64)
  n, shares = len(labels), one_hot.mean(axis=0)
  without = (n * shares - one_hot) / (n - 1)
  return best_refit(features, one_hot) + shares - without, one_hot


def probe_recalls(features, labels):
  """The share of each class that is predicted, None of one example."""
  if len(labels) == 1:
    return None
  scores, one_hot = head_scores(features, labels)
  # The first of equal scores: rounding must not decide.
  largest = scores.max(axis=1, keepdims=True)
  right = (scores > largest - 1e-6).argmax(axis=1) == one_hot.argmax(axis=1)
  return right @ one_hot / one_hot.sum(axis=0), one_hot.mean(axis=0)


def probe_accuracy(features, labels):
  found = probe_recalls(features, labels)
  return None if found is None else found[0] @ found[1]


def probe_balanced_accuracy(features, labels):
  found = probe_recalls(features, labels)
  return None if found is None else found[0].mean()


def log_softmax(scores, betas):
  return scipy.special.log_softmax(np.reshape(betas, (-1, 1)) * scores, axis=1)


def best_beta(scores, one_hot):
  def slope(beta):
    probs = np.exp(log_softmax(scores, beta))
    return np.sum((probs - one_hot) * scores)

  if slope(50) <= 0:
    return 50.0
  if slope(0) >= 0:
    return 0.0
  return scipy.optimize.brentq(slope, 0, 50, xtol=1e-12)


def held_out_betas(scores, one_hot, *, short=0.05):
  """The best beta without each example; short steps are Newton's first."""
  best = best_beta(scores, one_hot)
  probs = np.exp(log_softmax(scores, best))
  slopes = ((probs - one_hot) * scores).sum(axis=1)
  squares = (probs * scores**2).sum(axis=1) - (probs * scores).sum(axis=1) ** 2
  found = []
  for i in range(len(scores)):
    others = np.arange(len(scores)) != i
    beta = best
    if squares[others].sum() > 0:
      beta = best - slopes[others].sum() / squares[others].sum()
    beta = np.clip(beta, 0, 50)
    if abs(beta - best) > short * best:
      beta = best_beta(scores[others], one_hot[others])
    found.append(beta)
  return np.array(found)


def probe_log_loss(features, labels):
  if len(labels) == 1:
    return None
  scores, one_hot = head_scores(features, labels)
  logs = log_softmax(scores, held_out_betas(scores, one_hot))
  return np.sum(logs * one_hot) / len(labels)


def probe_r2(features, targets):
  varies = np.ptp(targets, axis=0) > 0
  if len(targets) == 1 or not varies.any():
    return None
  scaled = (targets - targets.mean(axis=0))[:, varies]
  scaled = scaled / np.abs(scaled).max(axis=0)
  errors = (best_refit(features, scaled) - scaled) ** 2
  return np.mean(1 - errors.sum(axis=0) / (scaled**2).sum(axis=0))


def probe_mse(features, targets):
  if len(targets) == 1:
    return None
  scale = np.abs(targets - targets.mean(axis=0)).max(axis=0)
  found = best_refit(features, targets / scale) * scale
  return -((found - targets) ** 2).sum() / len(targets)


def over_labels(score, values, multi_labels):
  """The mean of a score over labels that vary, each as two classes."""
  found = [score(values, y) for y in multi_labels.T if np.ptp(y)]
  return np.mean(found) if found else None


def mean_leep(probs, multi_labels):
  return over_labels(leep, probs, multi_labels)


def mean_nce(probs, multi_labels):
  return over_labels(nce, probs, multi_labels)


def probe_map(features, multi_labels):
  if not np.ptp(multi_labels, axis=0).any():
    return None
  n, shares = len(multi_labels), multi_labels.mean(axis=0)
  without = (n * shares - multi_labels) / (n - 1)
  scores = best_refit(features, multi_labels) + shares - without
  # Rounding must not rank equal scores.
  return np.mean(
    [
      sklearn.metrics.average_precision_score(y, s.round(6))
      for y, s in zip(multi_labels.T, scores.T, strict=True)
      if np.ptp(y)
    ]
  )


ORACLES = {
  "probe_accuracy": probe_accuracy,
  "probe_log_loss": probe_log_loss,
  "probe_balanced_accuracy": probe_balanced_accuracy,
  "probe_r2": probe_r2,
  "probe_mse": probe_mse,
  "leep": leep,
  "leep_loo": leep_loo,
  "nce": nce,
  "nce_loo": nce_loo,
  "eep_accuracy": eep_accuracy,
  "h_score": h_score,
  "regularized_h_score": regularized_h_score,
  "logme": logme,
  "n_leep": n_leep,
  "trans_rate": trans_rate,
  "gbc": gbc,
  "pactran_dirichlet": bounds.pactran_dirichlet,
  "pactran_gamma": bounds.pactran_gamma,
  "pactran_gaussian": bounds.pactran_gaussian,
  "sfda": discriminants.sfda,
  "etran_energy": discriminants.etran_energy,
  "etran_lda": discriminants.etran_lda,
  "ncti_variability": discriminants.ncti_variability,
  "ncti_seli": discriminants.ncti_seli,
  "ncti_ncc": discriminants.ncti_ncc,
  "parc": parc,
  **neighbours.ORACLES,
  **otce.ORACLES,
  "lin_mse": lin_mse,
  "lab_mse": lab_mse,
  "probe_map": probe_map,
  "mean_leep": mean_leep,
  "mean_nce": mean_nce,
}
