"""TransRate: how many bits the features spend on telling the classes apart."""

from typing import Any

import numpy as np

from leep_jax import checks, jackknife, outputs as outputs_lib

EPS = 1e-4
_ROWS = 4096  # at a time


def trans_rate(
  features: Any,
  labels: Any,
  *,
  num_classes: int | None = None,
  eps: float = EPS,
) -> float:
  """TransRate, in nats, at least 0; higher transfers better.

  TransRate = R(F) - sum_c n_c/n R(F_c), with the coding rate R(F) = 1/2 log
  det(I + D/(n eps^2) F^T F) of features less the mean of all. It depends on
  the unit of the features: the smaller they are against `eps`, the smaller it
  is. Where classes have fewer examples than features it counts dimensions.

  Published code (also that in the paper's appendix) takes 1/(n eps) for D/(n
  eps^2) and averages classes equally, whatever their size.

  Args:
    features: `[n, D]`, the source model's penultimate features.
    labels: `[n]`, target labels from 0.
    num_classes: Y; by default the largest label plus 1. TransRate does not
      depend on it.
    eps: the distortion allowed in coding a feature, above 0.

  Raises:
    InputError: if there are no examples, lengths differ, labels are not
      integers in 0..Y-1, features are not finite, or `eps` is not above 0.

  Reference: Huang, Huang, Rong, Yang & Wei, "Frustratingly Easy
  Transferability Estimation", ICML 2022, arXiv 2106.09362, equation 4.
  """
  return jackknife.value(
    trans_rate_parts(
      outputs_lib.Outputs.from_arrays(
        features=features, labels=labels, num_classes=num_classes
      ),
      eps=eps,
    )
  )


def trans_rate_parts(
  outputs: outputs_lib.Outputs, *, eps: float = EPS
) -> jackknife.Parts:
  """`trans_rate` as a function of which groups take part.

  Moments are float64 sums on the host: the rate weighs directions of little
  variance as much as others. Of a class with fewer examples than features the
  products of examples stand in for those of features.
  """
  if not eps > 0 or not np.isfinite(eps):
    raise checks.InputError(f"eps is {eps}, but must be above 0")
  outputs.check("features")
  counts = outputs.group_counts
  features = np.asarray(outputs.features)
  n = len(outputs)
  mean = features.mean(axis=0, dtype=np.float64)
  totals = np.zeros((outputs.groups, features.shape[1]))
  for part in _pieces(np.arange(n)):
    member = np.arange(outputs.groups)[:, None] == outputs.group_of[part]
    totals += member @ (np.asarray(features[part], np.float64) - mean)
  # How far the mean of those that are left is from it; the first row is all.
  moves = np.zeros((outputs.groups + 1, features.shape[1]))
  left = np.append(n, n - counts.sum(axis=1))
  if outputs.groups > 1:
    moves[1:] = -totals / left[1:, None]
  rates = _rates(features, np.arange(n), outputs.group_of, mean, moves, eps)
  for label, count in zip(outputs.classes, counts.T, strict=True):
    chosen = np.flatnonzero(outputs.labels == label)
    size = np.append(len(chosen), len(chosen) - count)
    groups = outputs.group_of[chosen]
    inside = _rates(features, chosen, groups, mean, moves, eps)
    rates -= size / np.maximum(left, 1) * inside
  rates = np.maximum(rates, 0)  # but for rounding it is, as log det is concave

  def finalise(sums):
    gone = np.flatnonzero(sums["kept"] == 0)
    return float(rates[gone[0] + 1 if len(gone) else 0])

  # What is added up is which groups take part.
  return jackknife.Parts.by_group(finalise, {"kept": np.eye(outputs.groups)})


def _pieces(indices):
  for start in range(0, len(indices), _ROWS):
    yield indices[start : start + _ROWS]


def _rates(features, chosen, groups, mean, moves, eps):
  """Coding rates `[G + 1]` of some examples: of all, and without each group.

  Args:
    features: `[n, D]`.
    chosen: `[m]`, the examples.
    groups: `[m]`, their groups.
    mean: `[D]`, taken from the features.
    moves: `[G + 1, D]`, what is taken from them besides.
    eps: distortion.
  """
  dimensions = features.shape[1]
  if len(chosen) <= dimensions:
    rows = np.asarray(features[chosen], np.float64) - mean
    products, along = rows @ rows.T, rows @ moves.T
  else:
    grams = np.zeros((len(moves) - 1, dimensions, dimensions))
    totals = np.zeros((len(moves) - 1, dimensions))
    for g in range(len(grams)):
      for part in _pieces(chosen[groups == g]):
        rows = np.asarray(features[part], np.float64) - mean
        grams[g] += rows.T @ rows
        totals[g] += rows.sum(axis=0)
    gram, total = grams.sum(axis=0), totals.sum(axis=0)
  rates = np.zeros(len(moves))
  for g in range(len(moves) if len(moves) > 2 else 1):
    kept = groups != g - 1  # all for g = 0
    count = kept.sum()
    if not count:
      continue
    move = moves[g]
    if len(chosen) <= dimensions:
      shift = along[kept, g]
      matrix = products[np.ix_(kept, kept)] - shift[:, None] - shift[None]
      matrix += move @ move
    else:
      matrix, rest = gram.copy(), total.copy()
      if g:
        matrix -= grams[g - 1]
        rest -= totals[g - 1]
      outer = np.outer(rest, move)
      matrix += count * np.outer(move, move) - outer - outer.T
    matrix *= dimensions / (count * eps**2)
    matrix[np.diag_indices(len(matrix))] += 1
    rates[g] = np.linalg.slogdet(matrix)[1] / 2
  return rates
