"""Concept variance: how often neighbouring examples differ in class.

It is between -1 and 0 and has no unit; higher means that the source transfers
better. Symbols: n examples, D features f that vary, of which m are compared.
"""

import numpy as np
import numpy.typing as npt

from leep_jax import validation
from leep_jax.engine import outputs as outputs_lib
from leep_jax.scores import jackknife, sampling

# Four million pairs, 32 MB.
MAX_EXAMPLES = 2000
# How fast weights fall with distance: the value of Vilalta and Drissi.
ALPHA = 2.0
# Distances of opposite corners, which would have the weight 0.
_LEAST = 1e-9
# Differences that are rounding alone.
_ROUNDING = 1e-12


def concept_variance(
  features: npt.ArrayLike,
  labels: npt.ArrayLike,
  *,
  num_classes: int | None = None,
  alpha: float = ALPHA,
  max_examples: int = MAX_EXAMPLES,
) -> float:
  """Minus the concept variation of the labels, between -1 and 0.

  - 1/n sum_i sum_j w_ij [y_j != y_i] / sum_j w_ij over the other examples j,
  with w_ij = 2^(-alpha d_ij / (sqrt(D) - d_ij)). The distances d_ij are
  Euclidean, of features that are scaled to [0, 1] one by one, so that sqrt(D)
  is the largest possible. Features that do not vary are left out. Higher
  transfers better: neighbours then share their class. With many features,
  distances hardly differ, and the score is near that of labels without any
  pattern, minus the share of pairs of examples that differ in class.

  The paper names this measure for choosing models, with D features of a source
  as attributes. Its own scaling could not be checked: this is the measure as it
  was defined for attributes.

  Args:
    features: `[n, D]`, the source model's penultimate features.
    labels: `[n]`, target labels from 0.
    num_classes: Y; by default the largest label plus 1. The score does not
      depend on it.
    alpha: above 0; with more, only nearer examples count.
    max_examples: of more examples, this many are drawn at random. The draw
      depends on n only. The cost grows with its square.

  Raises:
    InputError: if there are no examples, lengths differ, labels are not
      integers in 0..Y-1, features are not finite, alpha is not above 0 or
      `max_examples` is not an integer from 1.
    UndefinedScore: if there is only one example, or no feature varies.

  Reference: Vilalta & Drissi, "A Characterization of Difficult Problems in
  Classification", ICMLA 2002 (concept variation); Singh, Hess & Vanschoren,
  "Occam's model: Selecting simpler representations for better transferability
  estimation", 2025, arXiv 2502.06925.

  Example:
    The first source gives similar features to examples of the same class, the
    second to examples of different classes.

    >>> import leep_jax
    >>> features = [[0.0], [0.1], [0.9], [1.0]]
    >>> f"{leep_jax.concept_variance(features, [0, 0, 1, 1]):.3f}"
    '-0.002'
    >>> f"{leep_jax.concept_variance(features, [0, 1, 0, 1]):.3f}"
    '-1.000'
  """
  return jackknife.value(
    concept_variance_parts(
      outputs_lib.Outputs.from_arrays(
        features=features, labels=labels, num_classes=num_classes
      ),
      alpha=alpha,
      max_examples=max_examples,
    )
  )


def concept_variance_parts(
  outputs: outputs_lib.Outputs,
  *,
  alpha: float = ALPHA,
  max_examples: int = MAX_EXAMPLES,
) -> jackknife.Parts:
  """Returns `concept_variance` as a function of which groups take part.

  Features are scaled by all examples, also if the jackknife leaves a group out.

  Args:
    outputs: with features and labels.
    alpha: see `concept_variance`.
    max_examples: see `concept_variance`.

  Raises:
    InputError: as `concept_variance`.
    UndefinedScore: as `concept_variance`.

  Example:
    >>> import leep_jax
    >>> from leep_jax.scores import concept_variance, jackknife
    >>> outputs = leep_jax.Outputs.from_arrays(
    ...   features=[[0.0], [1.0], [0.0], [1.0]], labels=[0, 1, 0, 1])
    >>> parts = concept_variance.concept_variance_parts(outputs)
    >>> round(jackknife.value(parts), 3)
    0.0
  """
  if not alpha > 0:
    raise validation.InputError(f"alpha is {alpha}, but must be above 0")
  chosen = sampling.sample(len(outputs), most=max_examples)
  outputs.check("features")
  weights = _weights(np.asarray(outputs.features)[chosen], alpha)
  labels, groups = outputs.labels[chosen], outputs.group_of[chosen]
  differ = weights * (labels[:, None] != labels)

  def finalise(kept):
    if kept.sum() < 2:
      raise validation.UndefinedScore(
        "concept_variance is undefined: there is no other example"
      )
    kept = kept.astype(np.float64)
    # 0 - x and not -x, which is -0.0 if all neighbours agree.
    each = differ @ kept / np.maximum(weights @ kept, np.finfo(float).tiny)
    return 0 - float(np.clip(each @ kept / kept.sum(), 0, 1))

  return jackknife.Parts.of_examples(finalise, groups, outputs.groups)


def _weights(features, alpha):
  """Weights `[m, m]` of pairs of examples; 0 of an example and itself."""
  features = features.astype(np.float64)
  low, high = features.min(axis=0), features.max(axis=0)
  varies = high - low > _ROUNDING * np.maximum(np.abs(low), np.abs(high))
  if not varies.any():
    raise validation.UndefinedScore(
      "concept_variance is undefined: no feature varies"
    )
  low, high = low[varies], high[varies]
  # About their middle, so that squares keep their digits.
  rows = (features[:, varies] - low) / (high - low) - 0.5
  squares = (rows**2).sum(axis=1)
  distances = squares[:, None] + squares - 2 * rows @ rows.T
  distances = np.sqrt(np.maximum(distances, 0))
  rest = np.sqrt(rows.shape[1]) - distances
  exponents = -alpha * distances / np.maximum(rest, _LEAST)
  # The nearest neighbour has the weight 1: of few features, all weights of an
  # example could else be 0.
  np.fill_diagonal(exponents, -np.inf)
  if len(rows) > 1:
    exponents -= exponents.max(axis=1, keepdims=True)
  return np.exp2(exponents)
