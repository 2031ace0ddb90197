"""Which scores the command computes, and which of them ranks."""

from leep_jax import scores as scores_lib, validation
from leep_jax.engine import outputs as outputs_lib

CLASSIFICATION = (
  "probe_accuracy", "leep", "leep_loo", "nce", "regularized_h_score",
)  # fmt: skip
REGRESSION = ("probe_r2", "logme", "lin_mse", "lab_mse")


class AskedScores:
  """The scores that were asked for; `all` and the default depend on the data.

  Attributes:
    chosen: their names, first the one that ranks; empty before the first source
      has outputs.

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
    self.chosen: list[str] = []

  def names(self, outputs: outputs_lib.Outputs) -> list[str]:
    """Returns the scores; the first source's outputs decide for all sources."""
    if self.chosen:
      return self.chosen
    regression = outputs.has("targets")
    asked = self._asked or (REGRESSION if regression else CLASSIFICATION)
    fit = [
      name
      for name, score in scores_lib.SCORES.items()
      if any(outputs.has(kind) for kind in score.target_kinds)
    ]
    kinds = ("real-valued targets", "classes")
    have, need = kinds if regression else kinds[::-1]
    if not {*fit, "all"} & set(asked):
      raise validation.InputError(
        f"--scores={','.join(asked)} need {need}, but these are {have}"
      )
    if self._rank_by is not None and self._rank_by not in fit:
      raise validation.InputError(
        f"--rank_by={self._rank_by} needs {need}, but these are {have}"
      )
    chosen = [self._rank_by] if self._rank_by else []
    chosen += [name for name in asked if name != "all"]
    if "all" in asked:
      chosen += fit
    self.chosen = list(dict.fromkeys(chosen))
    return self.chosen
