"""TransRate: mutual information of features and labels, by coding rates.

TransRate is in nats and at least 0; higher means that the source transfers
better. Symbols: n examples, n_c of class c, D features F `[n, D]`, G groups of
examples.
"""

import numpy as np
import numpy.typing as npt

from leep_jax import validation
from leep_jax.engine import host_sums, outputs as outputs_lib
from leep_jax.scores import jackknife

EPS = 1e-4
# Features are read this many rows at a time, as they may be in a file that is
# larger than memory.
_ROWS = 4096


def trans_rate(
  features: npt.ArrayLike,
  labels: npt.ArrayLike,
  *,
  num_classes: int | None = None,
  eps: float = EPS,
) -> float:
  """TransRate, in nats, at least 0; higher transfers better.

  TransRate = R(F) - sum_c n_c/n R(F_c), with the coding rate R(F) = 1/2 log
  det(I + D/(n eps^2) F^T F), where the mean of all features is subtracted from
  F and from F_c, the features of class c. TransRate depends on the unit of the
  features: it falls as they get smaller in relation to `eps`. Where classes
  have fewer examples than features, it mostly counts dimensions.

  Published code (also that in the paper's appendix) has 1/(n eps) in place of
  D/(n eps^2), and gives all classes the same weight, whatever their size.

  Args:
    features: `[n, D]`, the source model's penultimate features.
    labels: `[n]`, target labels from 0.
    num_classes: Y; by default the largest label plus 1. TransRate does not
      depend on it.
    eps: distortion that is allowed in coding the features, above 0.

  Raises:
    InputError: if there are no examples, lengths differ, labels are not
      integers in 0..Y-1, features are not finite, or `eps` is not above 0.

  Reference: Huang, Huang, Rong, Yang & Wei, "Frustratingly Easy
  Transferability Estimation", ICML 2022, arXiv 2106.09362, equation 4.

  Example:
    In the first source, the features of each class lie in another direction
    from the mean. In the second, all classes have the same features, which
    carry no information about the labels.

    >>> import leep_jax
    >>> labels = [0, 0, 1, 1, 2, 2]
    >>> apart = [[0, 0], [0, 0], [1, 0], [1, 0], [0, 1], [0, 1]]
    >>> same = [[0, 1], [1, 0], [0, 1], [1, 0], [0, 1], [1, 0]]
    >>> for features in (apart, same):
    ...   print(f"{leep_jax.trans_rate(features, labels, eps=0.1):.4f}")
    1.4706
    0.0000
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
  """Returns `trans_rate` as a function of which groups of examples take part.

  Moments are float64 sums on the host, as directions of little variance add as
  much to the coding rate as others. For a class with fewer examples than
  features, the products of examples `[n_c, n_c]` can replace those of features
  `[D, D]`: det(I + F F^T) is det(I + F^T F).

  Args:
    outputs: with features and labels.
    eps: see `trans_rate`.

  Raises:
    InputError: as `trans_rate`.

  Example:
    >>> import leep_jax
    >>> from leep_jax.scores import jackknife
    >>> from leep_jax.scores import trans_rate
    >>> outputs = leep_jax.Outputs.from_arrays(
    ...   features=[[0, 0], [1, 0], [0, 1]], labels=[0, 1, 2])
    >>> round(jackknife.value(trans_rate.trans_rate_parts(outputs)), 4)
    8.3556
  """
  if not eps > 0 or not np.isfinite(eps):
    raise validation.InputError(f"eps is {eps}, but must be above 0")
  features = np.asarray(outputs.features)
  n = len(outputs)
  # The mean shows whether values are finite, without another pass.
  with np.errstate(over="ignore", invalid="ignore"):
    mean = _mean(features)
  if not np.all(np.isfinite(mean)):
    outputs.check("features")
  if outputs.groups == 1:
    with np.errstate(over="ignore", invalid="ignore"):
      value = _of_classes(features, outputs, mean, eps)
    if not np.isfinite(value):  # squares beyond float64
      outputs.check("features")
    return jackknife.Parts.by_group(lambda _: value, {})
  counts = outputs.group_counts
  totals = np.zeros((outputs.groups, features.shape[1]))
  for part in _pieces(np.arange(n)):
    # A product with indicators `[G, rows]` adds up the rows of each group.
    member = np.arange(outputs.groups)[:, None] == outputs.group_of[part]
    totals += member @ (np.asarray(features[part], np.float64) - mean)
  # Without a group, the mean of the rest is another one. Row 0 is for all
  # examples, row g + 1 for those without group g.
  moves = np.zeros((outputs.groups + 1, features.shape[1]))
  left = np.append(n, n - counts.sum(axis=1))
  moves[1:] = -totals / left[1:, None]
  rates = _rates(features, np.arange(n), outputs.group_of, mean, moves, eps)
  for label, count in zip(outputs.classes, counts.T, strict=True):
    chosen = np.flatnonzero(outputs.labels == label)
    size = np.append(len(chosen), len(chosen) - count)
    groups = outputs.group_of[chosen]
    inside = _rates(features, chosen, groups, mean, moves, eps)
    rates -= size / left * inside
  rates = np.maximum(rates, 0)  # log det is concave; below 0 is rounding

  def finalise(sums):
    missing = np.flatnonzero(sums["kept"] == 0)
    return float(rates[missing[0] + 1 if len(missing) else 0])

  # All values are computed above, where groups share most of the work. The
  # sums of the jackknife only say which group is left out.
  return jackknife.Parts.by_group(finalise, {"kept": np.eye(outputs.groups)})


def _mean(features):
  """The mean of the features `[D]`, in float64."""

  def add(part):
    total = np.zeros(features.shape[1])
    for some in _pieces(np.arange(part.start, part.stop)):
      total += features[some[0] : some[-1] + 1].sum(axis=0, dtype=np.float64)
    return total

  return np.sum(host_sums.in_threads(add, *features.shape), axis=0) / len(
    features
  )


def _of_classes(features, outputs, mean, eps):
  """TransRate of all examples."""
  n, dimensions = features.shape
  rows_of = [np.flatnonzero(outputs.labels == y) for y in outputs.classes]
  # The rate of a class with few examples needs their products: those of
  # features have eigenvalues of 0, to which 1 is added beside much larger ones.
  large = [rows for rows in rows_of if len(rows) > dimensions]
  small = [rows for rows in rows_of if len(rows) <= dimensions]

  def rate(matrix, count):
    matrix *= dimensions / (count * eps**2)
    return count / n * _log_det(matrix) / 2

  def room():  # that is used again: new pages take as long as the products
    return (
      np.empty((_ROWS, dimensions), features.dtype),
      np.empty((_ROWS, dimensions)),
      np.empty((dimensions, dimensions)),
    )

  def gram(chosen, raw, rows, product):
    for i, part in enumerate(_pieces(chosen)):
      f = rows[: len(part)]
      # With a mode other than "raise", NumPy writes without a copy.
      some = np.take(features, part, axis=0, out=raw[: len(part)], mode="clip")
      np.subtract(some, mean, out=f)
      if i:
        product += f.T @ f
      else:
        np.matmul(f.T, f, out=product)
    return product

  def of_large(part):
    total, rates, memory = np.zeros((dimensions, dimensions)), 0.0, room()
    for chosen in large[part]:
      own = gram(chosen, *memory)
      total += own
      rates += rate(own, len(chosen))
    return total, rates

  def of_small(part):
    rates = 0.0
    for chosen in small[part]:
      rows = features[chosen] - mean
      rates += rate(rows @ rows.T, len(chosen))
    return gram(np.concatenate(small[part]), *room()), rates

  found = []
  for function, classes in ((of_large, large), (of_small, small)):
    if classes:
      size = sum(map(len, classes)) * dimensions // len(classes)
      found += host_sums.in_threads(function, len(classes), size)
  total = sum(matrix for matrix, _ in found)
  with host_sums.small_matrices(dimensions):
    value = rate(total, n) - sum(rates for _, rates in found)
  return max(float(value), 0.0)  # log det is concave; below 0 is rounding


def _log_det(matrix):
  """log det(I + `matrix`), which is positive semi-definite, and changed."""
  import scipy.linalg.lapack

  matrix[np.diag_indices(len(matrix))] += 1
  # The transpose is the same matrix, in LAPACK's order.
  factor, failed = scipy.linalg.lapack.dpotrf(matrix.T, lower=1, clean=0)
  if failed:  # rounding, beside which 1 is nothing
    return np.linalg.slogdet(matrix)[1]
  return 2 * np.log(np.diag(factor)).sum()


def _pieces(indices):
  for start in range(0, len(indices), _ROWS):
    yield indices[start : start + _ROWS]


def _rates(features, chosen, groups, mean, moves, eps):
  """Coding rates `[G + 1]` of chosen examples: of all, and without each group.

  Args:
    features: `[n, D]`.
    chosen: `[m]`, indices of the examples.
    groups: `[m]`, their groups.
    mean: `[D]`, subtracted from the features.
    moves: `[G + 1, D]`, subtracted besides, as the mean depends on the group.
    eps: distortion.
  """
  dimensions = features.shape[1]
  if len(chosen) <= dimensions:
    rows = np.asarray(features[chosen], np.float64) - mean
    products, along = rows @ rows.T, rows @ moves.T
  else:
    # Products of each group, so that those without one are a difference.
    grams = np.zeros((len(moves) - 1, dimensions, dimensions))
    totals = np.zeros((len(moves) - 1, dimensions))
    for g in range(len(grams)):
      for part in _pieces(chosen[groups == g]):
        rows = np.asarray(features[part], np.float64) - mean
        grams[g] += rows.T @ rows
        totals[g] += rows.sum(axis=0)
    gram, total = grams.sum(axis=0), totals.sum(axis=0)
  rates = np.zeros(len(moves))
  for g in range(len(moves)):
    kept = groups != g - 1  # for g = 0, no group has this number: all
    count = kept.sum()
    if not count:
      continue
    move = moves[g]
    if len(chosen) <= dimensions:
      # (f - move)(f' - move)^T, expanded: no products of features again.
      shift = along[kept, g]
      matrix = products[np.ix_(kept, kept)] - shift[:, None] - shift[None]
      matrix += move @ move
    else:
      matrix, rest = gram.copy(), total.copy()
      if g:
        matrix -= grams[g - 1]
        rest -= totals[g - 1]
      outer = np.outer(rest, move)
      # Sum of (f - move)^T (f - move), expanded about the moments that are
      # known.
      matrix += count * np.outer(move, move) - outer - outer.T
    rates[g] = _log_det(matrix * (dimensions / (count * eps**2))) / 2
  return rates
