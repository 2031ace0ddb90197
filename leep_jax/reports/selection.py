"""How good a choice among source models a score makes.

`scores` and `performances` are `[n]`, of n models for one task, as in
`correlation`.
"""

import numpy as np

from leep_jax import validation
from leep_jax.reports import correlation


def relative_top_k(
  scores: correlation.Column, performances: correlation.Column, *, k: int
) -> float:
  """Rel@k: the best performance of the k highest scores, over the best of all.

  It is at most 1. A model without a score is not chosen, but may be the best.
  Among models with equal scores, the worst are chosen first.

  Args:
    scores: `[n]` of n models for one task, numbers or None.
    performances: `[n]`, numbers.
    k: how many models are tried.

  Raises:
    InputError: if a performance is missing, as the best model is then not
      known, k is not in 1..n, or lengths differ.
    UndefinedScore: if no model has a score, or no performance is above 0.

  Reference: Li et al., "Ranking Neural Checkpoints", CVPR 2021.

  Example:
    The model with the highest score reaches 0.8; the best of all reaches 1.

    >>> from leep_jax.reports import selection
    >>> scores, accuracy = [-0.5, -0.7, -2.0], [0.8, 1.0, 0.6]
    >>> selection.relative_top_k(scores, accuracy, k=1)
    0.8
    >>> selection.relative_top_k(scores, accuracy, k=2)
    1.0
  """
  x, y = correlation.as_columns(
    {"scores": scores, "performances": performances}
  )
  if validation.at_least_1("k", k) > len(y):
    raise validation.InputError(f"k is {k}, but there are {len(y)} models")
  missing = int(np.sum(~np.isfinite(y)))
  if missing:
    raise validation.InputError(
      f"performances: {missing} of {len(y)} are missing, so the best model is "
      "not known: leave those models out?"
    )
  best = float(y.max())
  if best <= 0:
    raise validation.UndefinedScore(
      f"the best performance is {best:g}: what is reached cannot be divided by "
      "it"
    )
  scored = np.isfinite(x)
  if not scored.any():
    raise validation.UndefinedScore(f"none of {len(y)} models has a score")
  # By score, best first; among equal scores by performance, worst first.
  order = np.lexsort((y[scored], -x[scored]))
  return float(y[scored][order[:k]].max()) / best


def regret(
  scores: correlation.Column, performances: correlation.Column
) -> float:
  """What choosing by score loses, as a share of the best performance.

  Regret = (best performance - performance of the chosen model) / best. The
  chosen model is the one with the highest score, and among equal scores the
  worst model. 0 is the best regret; it is `1 - relative_top_k(..., k=1)`.

  Args:
    scores: `[n]` of n models for one task, numbers or None.
    performances: `[n]`, numbers.

  Raises:
    InputError: as `relative_top_k`.
    UndefinedScore: as `relative_top_k`.

  Reference: after Renggli et al., "Which Model to Transfer? Finding the Needle
  in the Growing Haystack", CVPR 2022, whose regret is the difference itself.

  Example:
    >>> from leep_jax.reports import selection
    >>> round(selection.regret([-0.5, -0.7, -2.0], [0.8, 1.0, 0.6]), 6)
    0.2
  """
  return 1 - relative_top_k(scores, performances, k=1)
