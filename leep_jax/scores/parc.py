"""PARC: whether examples with similar features have the same label.

PARC is between -1 and 1 and has no unit; higher means that the source transfers
better. Symbols: n examples with D features; pairs are those of two different
examples.
"""

import numpy as np
import numpy.typing as npt

from leep_jax import validation
from leep_jax.engine import outputs as outputs_lib
from leep_jax.scores import jackknife, sampling

# Half a million pairs, which are sorted in about a tenth of a second.
MAX_EXAMPLES = 1000


def parc(
  features: npt.ArrayLike,
  labels: npt.ArrayLike,
  *,
  num_classes: int | None = None,
  max_examples: int = MAX_EXAMPLES,
) -> float:
  """Pairwise Annotation Representation Comparison, between -1 and 1.

  The Spearman correlation, over all pairs of examples, of the distances 1 -
  Pearson(f_i, f_j) between their features and 1 - Pearson(y_i, y_j) between
  their one-hot labels; equal distances share their mean rank. Higher transfers
  better. Published code multiplies by 100, standardises every feature first,
  and reduces to principal components in some experiments.

  Args:
    features: `[n, D]`, the source model's penultimate features.
    labels: `[n]`, target labels from 0.
    num_classes: Y; by default the largest label plus 1. PARC does not depend
      on it.
    max_examples: of more examples, this many are drawn at random. The draw
      depends on n only, so that all sources are compared on the same examples.
      The cost grows with its square.

  Raises:
    InputError: if there are no examples, lengths differ, labels are not
      integers in 0..Y-1, features are not finite, or `max_examples` is not an
      integer from 1.
    UndefinedScore: if all distances between features are the same, or all
      distances between labels (a single class, or a single example of each
      class), or the D features of an example are all equal, so that its
      correlation with others is undefined.

  Reference: Bolya, Mittapalli & Hoffman, "Scalable Diverse Model Selection for
  Accessible Transfer Learning", NeurIPS 2021, arXiv 2111.06977, section 4.

  Example:
    The first source gives similar features to examples of the same class, the
    second to examples of different classes.

    >>> import leep_jax
    >>> features = [[0, 1, 2], [0, 1, 3], [2, 1, 0], [3, 1, 0]]
    >>> f"{leep_jax.parc(features, [0, 0, 1, 1]):.3f}"
    '0.853'
    >>> f"{leep_jax.parc(features, [0, 1, 0, 1]):.3f}"
    '-0.426'
  """
  return jackknife.value(
    parc_parts(
      outputs_lib.Outputs.from_arrays(
        features=features, labels=labels, num_classes=num_classes
      ),
      max_examples=max_examples,
    )
  )


def parc_parts(
  outputs: outputs_lib.Outputs, *, max_examples: int = MAX_EXAMPLES
) -> jackknife.Parts:
  """Returns `parc` as a function of which groups of examples take part.

  Args:
    outputs: with features and labels.
    max_examples: see `parc`.

  Raises:
    InputError: as `parc`.
    UndefinedScore: as `parc`.

  Example:
    >>> import leep_jax
    >>> from leep_jax.scores import jackknife
    >>> from leep_jax.scores import parc
    >>> outputs = leep_jax.Outputs.from_arrays(
    ...   features=[[0, 1, 2], [0, 1, 3], [2, 1, 0], [3, 1, 0]],
    ...   labels=[0, 0, 1, 1])
    >>> round(jackknife.value(parc.parc_parts(outputs)), 3)
    0.853
  """
  chosen = sampling.sample(len(outputs), most=max_examples)
  outputs.check("features")
  far = pair_distances(np.asarray(outputs.features)[chosen], name="parc")
  first, second = np.triu_indices(len(chosen), 1)
  # Sorted here and not for each jackknife group: pairs that remain stay sorted.
  order = np.argsort(far, kind="stable")
  far, first, second = far[order], first[order], second[order]
  labels, groups = outputs.labels[chosen], outputs.group_of[chosen]
  differ = labels[first] != labels[second]

  def finalise(kept):
    remain = kept[first] & kept[second]
    return _rank_correlation(far[remain], differ[remain])

  return jackknife.Parts.of_examples(finalise, groups, outputs.groups)


def pair_distances(features: np.ndarray, *, name: str) -> np.ndarray:
  """Distances 1 - Pearson(f_i, f_j) of all pairs i < j, ordered by i and j.

  Distances that differ by rounding alone are made equal.

  Args:
    features: `[m, D]`.
    name: of the score, for its error.

  Returns:
    `[m (m - 1) / 2]`.

  Raises:
    UndefinedScore: if the D features of an example are all equal, so that its
      correlation with others is undefined.

  Example:
    >>> import numpy as np
    >>> from leep_jax.scores import parc
    >>> features = np.array([[0.0, 1.0], [0.0, 2.0], [1.0, 0.0]])
    >>> parc.pair_distances(features, name="parc").tolist()
    [0.0, 2.0, 2.0]
  """
  rows = features.astype(np.float64)
  size = np.abs(rows).max(axis=1)
  rows = rows - rows.mean(axis=1, keepdims=True)
  largest = np.abs(rows).max(axis=1, keepdims=True)
  # The mean is rounded, so that equal features minus it are not exactly 0.
  varies = largest[:, 0] > 1e-14 * size
  rows = rows / np.where(largest > 0, largest, 1)  # else squares may overflow
  length = np.linalg.norm(rows, axis=1, keepdims=True)
  if not np.all(varies):
    raise validation.UndefinedScore(
      f"{name} is undefined: {np.sum(~varies)} of {len(rows)} examples have "
      "equal features, which correlate with nothing"
    )
  # Pearson's correlation is the product of centred rows of length 1.
  rows = rows / length
  distances = 1 - rows @ rows.T
  # Equal distances must have equal ranks, though they are rounded differently.
  found: np.ndarray = distances[np.triu_indices(len(rows), 1)]
  return np.round(found, 12)


def _rank_correlation(values, differ) -> float:
  """Spearman correlation of ascending distances with whether labels differ.

  One-hot labels have only two different distances, and so two ranks. Pearson's
  correlation does not depend on the scale of the ranks: 0 and 1 do as well.
  """
  if differ.all() or not differ.any():
    what = "no two examples differ in" if not differ.any() else "no two share"
    raise validation.UndefinedScore(f"parc is undefined: {what} a label")
  # Runs of equal distances share their mean rank; ranks are centred.
  starts = np.flatnonzero(np.append(True, values[1:] != values[:-1]))
  sizes = np.diff(np.append(starts, len(values)))
  ranks = np.repeat(starts + (sizes - 1) / 2, sizes) - (len(values) - 1) / 2
  centred = differ - differ.mean()
  spread = np.sqrt((ranks @ ranks) * (centred @ centred))
  if spread == 0:
    raise validation.UndefinedScore(
      "parc is undefined: all examples are equally far apart"
    )
  return float(np.clip(ranks @ centred / spread, -1, 1))
