"""Which scores the command computes, and which of them ranks."""

from leep_jax import scores as scores_lib, validation
from leep_jax.engine import outputs as outputs_lib

CLASSIFICATION = (
  "probe_accuracy", "leep", "leep_loo", "nce", "regularized_h_score",
)  # fmt: skip
REGRESSION = ("probe_r2", "logme", "lin_mse", "lab_mse")
MULTI_LABEL = ("probe_map", "mean_leep", "mean_nce", "logme")
_DEFAULTS = {
  "labels": CLASSIFICATION, "targets": REGRESSION, "multi_labels": MULTI_LABEL,
}  # fmt: skip


class AskedScores:
  """The scores that were asked for; `all` and the default depend on the data.

  Example:
    >>> import leep_jax
    >>> from leep_jax import asked_scores
    >>> outputs = leep_jax.Outputs.from_arrays(features=[[0.0]], labels=[0])
    >>> asked_scores.AskedScores(["leep"], "nce").names(outputs)
    ['nce', 'leep']
  """

  def __init__(self, asked: list[str] | None, rank_by: str | None):
    """Checks the names.

    Args:
      asked: values of `--scores`; None for the default.
      rank_by: value of `--rank_by`.

    Raises:
      InputError: if a name is unknown.
    """
    for name in asked or ():
      if name not in scores_lib.SCORES and name != "all":
        raise validation.unknown("score", name, (*scores_lib.SCORES, "all"))
    if rank_by is not None and rank_by not in scores_lib.SCORES:
      raise validation.unknown("score", rank_by, scores_lib.SCORES)
    self._asked = asked
    self._rank_by = rank_by

  def names(self, outputs: outputs_lib.Outputs) -> list[str]:
    """Returns the scores of a source's outputs, first the one that ranks."""
    (kind,) = outputs.targets_by_name
    return self.of(kind)

  def of(self, kind: str) -> list[str]:
    """Returns the scores of one kind of targets, first the one that ranks.

    Args:
      kind: a key of `scores.TARGET_KINDS`.

    Raises:
      InputError: if those that were asked for are not defined for it.
    """
    asked = self._asked or _DEFAULTS[kind]
    fit = [
      name
      for name, score in scores_lib.SCORES.items()
      if kind in score.target_kinds
    ]
    have = _words(kind)
    if not {*fit, "all"} & set(asked):
      raise validation.InputError(
        f"--scores={','.join(asked)} need {_needed(asked)}, but these are "
        f"{have}; they have {', '.join(fit)}"
      )
    if self._rank_by is not None and self._rank_by not in fit:
      raise validation.InputError(
        f"--rank_by={self._rank_by} needs {_needed([self._rank_by])}, but "
        f"these are {have}; they have {', '.join(fit)}"
      )
    chosen = [self._rank_by] if self._rank_by else []
    chosen += [name for name in asked if name != "all"]
    if "all" in asked:
      # Scores that need more than outputs are computed if they are named.
      chosen += [n for n in fit if not scores_lib.SCORES[n].source_examples]
    return list(dict.fromkeys(chosen))


def _words(kind):
  words = scores_lib.TARGET_KINDS[kind]
  return "real-valued targets" if kind == "targets" else words


def _needed(names):
  """What scores are defined for that these targets are not."""
  kinds = [scores_lib.SCORES[name].target_kinds[0] for name in names]
  return " or ".join(dict.fromkeys(map(_words, kinds)))
