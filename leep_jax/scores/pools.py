"""Scores of a source among others: sums of terms that are scaled over them.

ETran and NCTI add terms of different units. Each term is scaled to 0 for the
least of the sources that are compared and 1 for the largest, so that the sum of
a source depends on which others there are. It has no standard error. Higher
means that the source transfers better, among these.
"""

from collections.abc import Mapping, Sequence

import numpy as np

from leep_jax import validation

# As in the authors' code.
ETRAN = {"etran_energy": 0.15, "etran_lda": 0.85}
NCTI = {"ncti_variability": 1.0, "ncti_seli": 1.0, "ncti_ncc": 1.0}


def over_pool(
  scores: Sequence[Mapping[str, float | None]], weights: Mapping[str, float]
) -> list[float]:
  """Returns the sum of scaled terms of each source.

  The sum over terms t of w_t (t - min t) / (max t - min t), over the sources. A
  term that is the same for all of them adds nothing.

  Args:
    scores: of each source, the terms by name, as `compute_scores` returns them.
    weights: w of the terms: `ETRAN` or `NCTI`.

  Raises:
    InputError: if there are no sources, or one has no value of a term.

  References: Gholami et al., "ETran: Energy-Based Transferability Estimation",
  ICCV 2023, arXiv 2308.02027; Wang et al., "How Far Pre-trained Models Are from
  Neural Collapse on the Target Dataset Informs their Transferability", ICCV
  2023.

  Example:
    >>> from leep_jax.scores import pools
    >>> sources = [
    ...   {"etran_energy": 5.0, "etran_lda": 0.5},
    ...   {"etran_energy": 7.0, "etran_lda": 0.7},
    ...   {"etran_energy": 6.0, "etran_lda": 0.9},
    ... ]
    >>> [round(x, 3) for x in pools.over_pool(sources, pools.ETRAN)]
    [0.0, 0.575, 0.925]
  """
  if not scores:
    raise validation.InputError("there are no sources to scale terms over")
  total = np.zeros(len(scores))
  for name, weight in weights.items():
    found = [source.get(name) for source in scores]
    if any(value is None for value in found):
      raise validation.InputError(
        f"source {found.index(None)} of the pool has no {name}"
      )
    values = np.array(found, np.float64)
    width = np.ptp(values)
    if width:
      total += weight * (values - values.min()) / width
  return total.tolist()
