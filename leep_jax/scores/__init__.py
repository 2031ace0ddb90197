"""The table of scores: a new one is one file and one row.

Every score is "higher transfers better".
"""

from collections.abc import Callable, Iterable
import contextlib
import dataclasses
from typing import Any

from leep_jax import checks, outputs as outputs_lib, statistics
from leep_jax.scores import (
  h_score as _h_score,
  leep as _leep,
  logme as _logme,
  nce as _nce,
)


@dataclasses.dataclass(frozen=True)
class Score:
  """A row of the table.

  Attributes:
    function: public function of arrays; its docstring defines the score.
    of_outputs: the same of kept outputs.
    first_look: statistics that it finalises, which one look at the outputs
      sums together with those of other scores.
  """

  function: Callable[..., float]
  of_outputs: Callable[[outputs_lib.Outputs], float]
  first_look: tuple[Callable[..., Any], ...]

  @property
  def needs(self) -> str:
    """What the source has to give: `probs` or `features`."""
    return self.first_look[0].reads  # type: ignore[attr-defined]


SCORES: dict[str, Score] = {
  "leep": Score(_leep.leep, _leep.leep_of, (statistics.joint,)),
  "nce": Score(_nce.nce, _nce.nce_of, (statistics.dummy_label_counts,)),
  "h_score": Score(
    _h_score.h_score, _h_score.h_score_of, (statistics.moments,)
  ),
  "regularized_h_score": Score(
    _h_score.regularized_h_score,
    _h_score.regularized_h_score_of,
    (statistics.moments, statistics.norm_moments),
  ),
  "logme": Score(_logme.logme, _logme.logme_of, (statistics.features_faults,)),
  "eep_accuracy": Score(
    _leep.eep_accuracy, _leep.eep_accuracy_of, (statistics.joint,)
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
    Scores by name; None where the source gives no probabilities or no
    features to compute one from, or the score is infinite for them.

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
  possible = [name for name in names if outputs.has(SCORES[name].needs)]
  for field in ("probs", "features"):
    outputs.sum_all(
      statistic
      for name in possible
      if SCORES[name].needs == field
      for statistic in SCORES[name].first_look
    )
  values: dict[str, float | None] = dict.fromkeys(names)
  for name in possible:
    with contextlib.suppress(checks.UndefinedScore):
      values[name] = SCORES[name].of_outputs(outputs)
  return values
