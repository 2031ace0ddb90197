"""The table of scores: a new one is one file and one row.

Every score is "higher transfers better".
"""

from collections.abc import Callable, Iterable
import contextlib
import dataclasses
import functools
from typing import Any

import numpy as np

from leep_jax import checks, jackknife, outputs as outputs_lib, statistics
from leep_jax.scores import (
  gbc as _gbc,
  h_score as _h_score,
  leep as _leep,
  logme as _logme,
  n_leep as _n_leep,
  nce as _nce,
  parc as _parc,
  regression as _regression,
  trans_rate as _trans_rate,
)


@dataclasses.dataclass(frozen=True)
class Score:
  """A row of the table.

  Attributes:
    function: public function of arrays; its docstring defines the score.
    parts: of kept outputs, the score as a function of sums over examples, and
      those sums.
    needs: what the outputs have to hold: `probs`, `features`, or, for either
      probabilities or the numbers of a regressor, `outputs`.
    truths: what of the targets, at least one: `labels` (classes), `targets`
      (real numbers).
    first_look: statistics that it finalises, which one look at the outputs
      sums together with those of other scores.
  """

  function: Callable[..., float]
  parts: Callable[[outputs_lib.Outputs], jackknife.Parts]
  needs: str
  truths: tuple[str, ...] = ("labels",)
  first_look: tuple[Callable[..., Any], ...] = ()

  def missing(self, outputs: outputs_lib.Outputs) -> str | None:
    """Says what the outputs lack, or None if they have all."""
    if not outputs.has(self.needs):
      if self.needs == "probs" and outputs.without_probs:
        return outputs.without_probs
      return f"the source gives no {self.needs}"
    if not any(outputs.has(truth) for truth in self.truths):
      if self.truths == ("labels",):
        return "the targets are real numbers, not classes"
      return "the targets are classes, not real numbers"
    return None


# Z times the variance of the probabilities over examples, summed over source
# labels, below which they are taken to depend on the example by chance alone.
# Measured: 1.3 to 47 for trained networks on data of another kind, 0.0003 to
# 0.04 for a fresh head on trained features, 0 for a zeroed one.
_LEAST_SPREAD = 0.05

SCORES: dict[str, Score] = {
  "leep": Score(
    _leep.leep, _leep.leep_parts, "probs", first_look=(statistics.joint,)
  ),
  "nce": Score(
    _nce.nce,
    _nce.nce_parts,
    "probs",
    first_look=(statistics.dummy_label_counts,),
  ),
  "eep_accuracy": Score(
    _leep.eep_accuracy,
    _leep.eep_accuracy_parts,
    "probs",
    first_look=(statistics.joint,),
  ),
  "h_score": Score(
    _h_score.h_score,
    _h_score.h_score_parts,
    "features",
    first_look=(statistics.moments,),
  ),
  "regularized_h_score": Score(
    _h_score.regularized_h_score,
    _h_score.regularized_h_score_parts,
    "features",
    first_look=(statistics.moments,),
  ),
  "logme": Score(
    _logme.logme,
    _logme.logme_parts,
    "features",
    truths=("labels", "targets"),
    first_look=(statistics.moments,),
  ),
  "n_leep": Score(
    _n_leep.n_leep,
    _n_leep.n_leep_parts,
    "features",
    first_look=(statistics.moments,),
  ),
  "trans_rate": Score(
    _trans_rate.trans_rate, _trans_rate.trans_rate_parts, "features"
  ),
  "gbc": Score(
    _gbc.gbc,
    _gbc.gbc_parts,
    "features",
    first_look=(statistics.moments,),
  ),
  "parc": Score(_parc.parc, _parc.parc_parts, "features"),
  "lin_mse": Score(
    _regression.lin_mse,
    _regression.lin_mse_parts,
    "features",
    truths=("targets",),
    first_look=(statistics.moments,),
  ),
  "lab_mse": Score(
    _regression.lab_mse,
    _regression.lab_mse_parts,
    "outputs",
    truths=("targets",),
  ),
}


def compute_scores(
  outputs: outputs_lib.Outputs, *, names: Iterable[str] | None = None
) -> dict[str, float | None]:
  """Computes scores of one source's outputs.

  Args:
    outputs: from `compute_outputs` or `Outputs.from_arrays`.
    names: rows of `SCORES`; by default all.

  Returns:
    Scores by name; None where the outputs lack what one needs, or it is
    undefined for them.

  Raises:
    InputError: if a name is unknown, or the outputs are not distributions or
      not finite.
  """
  estimates = estimate_scores(outputs, names=names, groups=1)
  return {
    name: None if estimate is None else estimate.value
    for name, estimate in estimates.items()
  }


def estimate_scores(
  outputs: outputs_lib.Outputs,
  *,
  names: Iterable[str] | None = None,
  groups: int = jackknife.GROUPS,
  on_score: Callable[[str], None] | None = None,
  on_undefined: Callable[[str, str], None] | None = None,
) -> dict[str, jackknife.Estimate | None]:
  """Computes scores with their standard errors and intervals.

  Args:
    outputs: from `compute_outputs` or `Outputs.from_arrays`.
    names: rows of `SCORES`; by default all.
    groups: of examples that the jackknife leaves out in turn, at most n; 1
      gives values alone.
    on_score: called with the name of each score before it is computed.
    on_undefined: called with the name of a score that has no value, and why.

  Returns:
    Estimates by name; None where the outputs lack what a score needs, or it
    is undefined for them.

  Raises:
    InputError: if a name is unknown, or the outputs are not distributions or
      not finite.
  """
  if isinstance(names, str):
    names = (names,)
  names = tuple(SCORES if names is None else names)
  for name in names:
    if name not in SCORES:
      raise checks.unknown("score", name, SCORES)
  on_score = on_score or (lambda name: None)
  on_undefined = on_undefined or (lambda name, why: None)
  if min(groups, len(outputs)) != outputs.groups:
    outputs = outputs.grouped(groups)
  values: dict[str, jackknife.Estimate | None] = dict.fromkeys(names)
  possible = []
  for name in names:
    missing = SCORES[name].missing(outputs)
    if missing:
      on_undefined(name, missing)
    else:
      possible.append(name)
  for field in ("probs", "features"):
    # Moments of groups are looked at when they are needed, see `moments`.
    looked = outputs if field == "probs" else outputs.whole
    mine = [name for name in possible if SCORES[name].needs == field]
    try:
      looked.sum_all(s for name in mine for s in SCORES[name].first_look)
    except checks.InputError as e:
      if len(mine) == len(possible):
        raise
      for name in mine:  # scores of the other field need not suffer
        on_undefined(name, str(e))
        possible.remove(name)
  for name in possible:
    on_score(name)
    found = outputs.once(
      functools.partial(_estimate, SCORES[name]), key=("estimate", name)
    )
    if isinstance(found, jackknife.Estimate):
      values[name] = found
    else:
      on_undefined(name, found)
  return values


def _estimate(score, outputs) -> jackknife.Estimate | str:
  """The score with its values without each group, or why it has none."""
  sizes = outputs.group_counts.sum(axis=1)
  try:
    return jackknife.estimate(
      score.parts(outputs), sizes, examples=outputs.examples
    )
  except checks.UndefinedScore as e:
    return str(e)


def uninformative(outputs: outputs_lib.Outputs) -> dict[str, str]:
  """Says which outputs hardly depend on the example, and so tell nothing.

  Such a source is not poor: nothing is known of it. Its LEEP and NCE are near
  minus the entropy of the labels, as of any constant outputs.

  Args:
    outputs: from `compute_outputs` or `Outputs.from_arrays`.

  Returns:
    The reason by field, `probs` or `features`; fields that are informative are
    left out.
  """
  found: dict[str, str] = {}
  for field, judge in (
    ("probs", _uninformative_probs),
    ("features", _uninformative_features),
  ):
    if len(outputs) > 1 and outputs.has(field):
      # Values that are refused are so by the scores, which say why.
      with contextlib.suppress(checks.InputError):
        found[field] = judge(outputs.whole, len(outputs))
  return {field: why for field, why in found.items() if why}


def _uninformative_probs(outputs, count):
  sums = outputs.sum(statistics.spread)
  mean = sums["mass"] / count
  spread = len(mean) * (sums["square"] / count - mean @ mean)
  if spread >= _LEAST_SPREAD:
    return ""
  same = "the same" if spread < 1e-6 else "nearly the same"
  return (
    f"it gives every example {same} probabilities: is its head untrained or "
    "zeroed, or are its images fed wrongly?"
  )


def _uninformative_features(outputs, count):
  sums = outputs.sum(statistics.feature_spread)
  mean, square = sums["total"] / count, sums["square"] / count
  if np.any(square - mean**2 > 1e-10 * np.maximum(square, 1e-30)):
    return ""
  return (
    "it gives every example the same features: are its weights zero, or its "
    "images fed wrongly?"
  )
