"""How similar the features of two sources are, on the same target examples.

Sources whose features are nearly the same will transfer alike: one of them is
enough, and an ensemble of them gains little. None of these numbers says how
well a source transfers, and none reads the labels. Each measure makes a vector
of one source's features that depends on products or distances of examples; the
similarity of two sources is the product of their vectors, of length 1.

Symbols: m examples, n or a sample of them, with D features f; the sources may
differ in D.
"""

from collections.abc import Callable, Iterable, Sequence
import dataclasses
from typing import Any

import numpy as np
import numpy.typing as npt

from leep_jax import validation
from leep_jax.engine import outputs as outputs_lib
from leep_jax.scores import jackknife, moments, parc, sampling

# Two million pairs of examples, 16 MB a source.
MAX_EXAMPLES = 2000


def cka(
  first: outputs_lib.Outputs | npt.ArrayLike,
  second: outputs_lib.Outputs | npt.ArrayLike,
  *,
  debiased: bool = False,
  max_examples: int = MAX_EXAMPLES,
) -> float:
  """Linear centred kernel alignment (CKA) of two sources' features; 0 to 1.

  CKA = <K, L> / (|K| |L|), where K = X X^T and L = Z Z^T are the products of
  the examples' features, minus the mean of each feature. It depends neither on
  rotations of the features nor on their unit, and is 1 for features that are
  the same up to these. With fewer examples than features it is too high; the
  debiased form leaves out products of an example with itself, and can be
  slightly negative.

  Args:
    first: `[n, D]` features, or a source's outputs with features.
    second: those of another source for the same examples in the same order.
    debiased: whether K and L are centred so that the products of independent
      features are 0 on average (the unbiased HSIC).
    max_examples: of more examples, this many are drawn at random. The draw
      depends on n only.

  Raises:
    InputError: if the examples are not the same, features are missing or not
      finite, or `max_examples` is not an integer from 1.
    UndefinedScore: if the features of all examples are the same, or there are
      fewer than 4 for the debiased form.

  Reference: Kornblith, Norouzi, Lee & Hinton, "Similarity of Neural Network
  Representations Revisited", ICML 2019, arXiv 1905.00414, section 3. Debiased:
  Song et al., "Feature Selection via Dependence Maximization", JMLR 2012;
  Nguyen, Raghu & Kornblith, "Do Wide and Deep Networks Learn the Same Things?",
  ICLR 2021, arXiv 2010.15327, equation 3.

  Example:
    >>> import leep_jax
    >>> features = [[0.0, 0.0], [1.0, 0.0], [0.0, 2.0], [1.0, 2.0]]
    >>> rotated = [[0.0, 0.0], [0.0, 3.0], [6.0, 0.0], [6.0, 3.0]]
    >>> round(leep_jax.cka(features, rotated), 4)
    1.0
    >>> round(leep_jax.cka(features, [[0.0], [1.0], [0.0], [1.0]]), 4)
    0.2425
  """
  measure = "debiased_cka" if debiased else "cka"
  return _of_two(first, second, measure, max_examples)


def rsa(
  first: outputs_lib.Outputs | npt.ArrayLike,
  second: outputs_lib.Outputs | npt.ArrayLike,
  *,
  max_examples: int = MAX_EXAMPLES,
) -> float:
  """Representation similarity analysis (RSA) of two sources; -1 to 1.

  The Spearman correlation, over all pairs of examples, of the dissimilarities
  1 - Pearson(f_i, f_j) of both sources' features; equal ones share their mean
  rank.

  Args:
    first: `[n, D]` features, or a source's outputs with features.
    second: those of another source for the same examples in the same order.
    max_examples: see `cka`.

  Raises:
    InputError: as `cka`.
    UndefinedScore: if all pairs of examples are equally dissimilar for a
      source, or all features of an example are equal.

  Reference: Dwivedi & Roig, "Representation Similarity Analysis for Efficient
  Task Taxonomy & Transfer Learning", CVPR 2019, arXiv 1904.11740, section 3.

  Example:
    >>> import leep_jax
    >>> features = [[0, 1, 2], [0, 1, 3], [2, 1, 0], [3, 1, 1]]
    >>> shifted = [[5, 6, 7], [1, 2, 4], [9, 8, 7], [3, 1, 1]]
    >>> round(leep_jax.rsa(features, shifted), 4)
    1.0
  """
  return _of_two(first, second, "rsa", max_examples)


def similarity_matrix(
  sources: Iterable[outputs_lib.Outputs | npt.ArrayLike],
  *,
  measure: str = "cka",
  max_examples: int = MAX_EXAMPLES,
) -> np.ndarray:
  """Similarities of many sources with each other, `[A, A]`.

  Args:
    sources: `[n, D]` features or outputs of each, of the same examples. They
      are read one by one, and may come from a generator that forgets each.
    measure: `cka`, `debiased_cka` or `rsa`.
    max_examples: see `cka`.

  Raises:
    InputError: as `cka`; or if the measure is unknown, or there is no source.
    UndefinedScore: as `cka` and `rsa`.

  Example:
    >>> import leep_jax
    >>> features = [[0.0, 0.0], [1.0, 0.0], [0.0, 2.0], [1.0, 2.0]]
    >>> one = [[0.0], [1.0], [0.0], [1.0]]
    >>> leep_jax.similarity_matrix([features, one]).round(2).tolist()
    [[1.0, 0.24], [0.24, 1.0]]
  """
  return similarities(
    [
      representation(source, measure=measure, max_examples=max_examples)
      for source in sources
    ]
  )


def _of_two(first, second, measure, max_examples):
  found = similarity_matrix(
    (first, second), measure=measure, max_examples=max_examples
  )
  return float(found[0, 1])


@dataclasses.dataclass(frozen=True, eq=False)
class Representation:
  """What a measure compares of a source.

  Attributes:
    name: what error messages call the source.
    count: n, the number of its examples.
    examples: a digest of them (`Outputs.examples`), or empty.
    vector: of length 1.
    wide: whether it has as many features as examples were compared, or more.

  Example:
    >>> import numpy as np
    >>> from leep_jax.scores import between_sources
    >>> between_sources.Representation("a", 3, "", np.array([0.6, 0.8])).count
    3
  """

  name: str
  count: int
  examples: str
  vector: np.ndarray
  wide: bool = False


def representation(
  source: outputs_lib.Outputs | npt.ArrayLike,
  *,
  measure: str,
  max_examples: int = MAX_EXAMPLES,
) -> Representation:
  """Returns what a measure compares of one source, a vector.

  Args:
    source: `[n, D]` features, or outputs with features.
    measure: a key of `MEASURES`.
    max_examples: see `cka`.

  Raises:
    InputError: as `similarity_matrix`.
    UndefinedScore: as `cka` and `rsa`.

  Example:
    >>> from leep_jax.scores import between_sources
    >>> found = between_sources.representation([[0.0], [2.0]], measure="cka")
    >>> found.vector.round(4).tolist()  # of 1, -1 and 1, with -1 twice
    [0.5, -0.7071, 0.5]
  """
  if measure not in MEASURES:
    raise validation.unknown("measure", measure, MEASURES)
  if isinstance(source, outputs_lib.Outputs):
    outputs, examples = source, source.examples
  else:  # arrays may be of any examples
    outputs, examples = _unlabelled(source), ""
  if not outputs.has("features"):
    raise validation.InputError(f"{outputs.name} has no features to compare")
  chosen = sampling.sample(len(outputs), most=max_examples)
  outputs.check("features")
  vector = MEASURES[measure](np.asarray(outputs.features)[chosen])
  length = np.linalg.norm(vector)
  if not length > 0:
    raise validation.UndefinedScore(
      f"{measure} is undefined: all pairs of examples of {outputs.name} are "
      "equally similar"
    )
  return Representation(
    outputs.name,
    len(outputs),
    examples,
    vector / length,
    wide=len(chosen) <= (outputs.num_features or 0),
  )


def _unlabelled(features) -> outputs_lib.Outputs:
  features = validation.as_array("features", features)
  labels = np.zeros(len(np.atleast_1d(features)), np.int32)
  return outputs_lib.Outputs.from_arrays(
    features=features, labels=labels, name="the source"
  )


def similarities(sources: Sequence[Representation]) -> np.ndarray:
  """Returns the similarities of sources with each other, `[A, A]`.

  Args:
    sources: by the same measure.

  Raises:
    InputError: if there is no source, or their examples are not the same.

  Example:
    >>> from leep_jax.scores import between_sources
    >>> one = between_sources.representation([[0.0], [2.0]], measure="cka")
    >>> between_sources.similarities([one, one]).round(6).tolist()
    [[1.0, 1.0], [1.0, 1.0]]
  """
  if not sources:
    raise validation.InputError("there are no sources to compare")
  first = sources[0]
  for other in sources[1:]:
    if other.count != first.count:
      raise validation.InputError(
        f"{first.name} has {first.count} examples, but {other.name} "
        f"{other.count}: sources are compared on the same examples"
      )
    if not jackknife.same_examples(first.examples, other.examples):
      raise validation.InputError(
        f"{first.name} and {other.name} have other labels, or other data: "
        "sources are compared on the same examples in one order"
      )
  vectors = np.stack([source.vector for source in sources])
  return np.clip(vectors @ vectors.T, -1, 1)


def _products(features):
  """X X^T `[m, m]` of features minus their means."""
  rows = moments.centred(_unlabelled(features))
  return rows @ rows.T


def _flat(matrix):
  """A symmetric matrix as a vector whose products are those of matrices."""
  rows, columns = np.triu_indices(len(matrix))
  weights = np.where(rows == columns, 1, np.sqrt(2))
  return weights * matrix[rows, columns]


def _cka(features) -> np.ndarray:
  return _flat(_products(features))


def _debiased_cka(features) -> np.ndarray:
  """The products without their diagonal, centred without bias."""
  m = len(features)
  if m < 4:
    raise validation.UndefinedScore(
      f"debiased_cka is undefined of {m} examples: it needs 4"
    )
  matrix = _products(features)
  if not np.any(matrix):  # rounding must not decide
    return np.zeros(1)
  np.fill_diagonal(matrix, 0)
  sums = matrix.sum(axis=1)
  matrix -= (sums[:, None] + sums) / (m - 2)
  matrix += sums.sum() / ((m - 1) * (m - 2))
  np.fill_diagonal(matrix, 0)
  return _flat(matrix)


def _rsa(features) -> np.ndarray:
  """Ranks of the dissimilarities, minus their mean."""
  import scipy.stats

  ranks = scipy.stats.rankdata(parc.pair_distances(features, name="rsa"))
  # Of no pair there is no mean; ranks that are all equal are exactly 0 here.
  return ranks - (len(ranks) + 1) / 2


# How similarities are measured, by name.
MEASURES: dict[str, Callable[[Any], np.ndarray]] = {
  "cka": _cka,
  "debiased_cka": _debiased_cka,
  "rsa": _rsa,
}
