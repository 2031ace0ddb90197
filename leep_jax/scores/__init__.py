"""The scores: a table of them, and functions that compute several in one pass.

A new score is one file in this package and one row of `SCORES`.

Symbols in all files: n examples, Y target classes, Z source classes, D
features, T columns of real-valued targets. Scores with a logarithm are in nats.
A higher value of any score means that the source transfers better. Different
scores are not comparable with each other, and neither are values of one score
on different target data sets.
"""

from leep_jax.scores.constant_outputs import Uninformative, uninformative
from leep_jax.scores.estimating import (
  compute_scores,
  estimate_row,
  estimate_scores,
)
from leep_jax.scores.table import SCORES, TARGET_KINDS, Score

__all__ = [
  "SCORES",
  "TARGET_KINDS",
  "Score",
  "Uninformative",
  "compute_scores",
  "estimate_row",
  "estimate_scores",
  "uninformative",
]
