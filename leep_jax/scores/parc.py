"""PARC: do examples that look alike to the source have the same label?"""

from typing import Any

import numpy as np

from leep_jax import checks, jackknife, outputs as outputs_lib

MAX_EXAMPLES = 1000


def parc(
  features: Any,
  labels: Any,
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
    max_examples: of more examples, this many are drawn at random by their
      place, the same of every source: pairs are of the order of its square.

  Raises:
    InputError: if there are no examples, lengths differ, labels are not
      integers in 0..Y-1, features are not finite, or `max_examples` is not an
      integer from 1.
    UndefinedScore: if no two distances between features differ, or none
      between labels (one class, or one example of each), or all features of
      an example are equal, so that it has no correlation.

  Reference: Bolya, Mittapalli & Hoffman, "Scalable Diverse Model Selection for
  Accessible Transfer Learning", NeurIPS 2021, arXiv 2111.06977, section 4.
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
  """`parc` as a function of which groups take part."""
  checks.at_least_1("max_examples", max_examples)
  outputs.check("features")
  chosen = np.arange(len(outputs))
  if len(outputs) > max_examples:
    rng = np.random.default_rng(0)
    chosen = np.sort(rng.choice(chosen, max_examples, replace=False))
  rows = np.asarray(outputs.features)[chosen].astype(np.float64)
  size = np.abs(rows).max(axis=1)
  rows = rows - rows.mean(axis=1, keepdims=True)
  largest = np.abs(rows).max(axis=1, keepdims=True)
  # Equal features are equal but for the rounding of their mean.
  some = largest[:, 0] > 1e-14 * size
  rows = rows / np.where(largest > 0, largest, 1)  # no square overflows
  length = np.linalg.norm(rows, axis=1, keepdims=True)
  if not np.all(some):
    raise checks.UndefinedScore(
      f"parc is undefined: {np.sum(~some)} of {len(rows)} examples have equal "
      "features, which correlate with nothing"
    )
  distances = 1 - (rows / length) @ (rows / length).T
  first, second = np.triu_indices(len(chosen), 1)
  # Equal rows are at distance 0 but for rounding, which is no order.
  far = np.round(distances[first, second], 12)
  # Sorted once: leaving pairs out leaves the others in order.
  order = np.argsort(far, kind="stable")
  far, first, second = far[order], first[order], second[order]
  labels, groups = outputs.labels[chosen], outputs.group_of[chosen]
  differ = labels[first] != labels[second]

  def finalise(kept):
    both = kept[first] & kept[second]
    return _rank_correlation(far[both], differ[both])

  return jackknife.Parts.of_examples(finalise, groups, outputs.groups)


def _rank_correlation(values, differ) -> float:
  """Spearman correlation of ascending distances with whether labels differ.

  Between one-hot labels there are but two distances, so theirs are two ranks.
  """
  if differ.all() or not differ.any():
    what = "no two examples differ in" if not differ.any() else "no two share"
    raise checks.UndefinedScore(f"parc is undefined: {what} a label")
  # Equal distances share their mean rank.
  starts = np.flatnonzero(np.append(True, values[1:] != values[:-1]))
  sizes = np.diff(np.append(starts, len(values)))
  ranks = np.repeat(starts + (sizes - 1) / 2, sizes) - (len(values) - 1) / 2
  side = differ - differ.mean()
  spread = np.sqrt((ranks @ ranks) * (side @ side))
  if spread == 0:
    raise checks.UndefinedScore(
      "parc is undefined: all examples are equally far apart"
    )
  return float(np.clip(ranks @ side / spread, -1, 1))
