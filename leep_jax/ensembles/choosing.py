"""Greedy choice of a set of sources: each adds most to those before it.

The first source is the best alone. Then the set with each of the others is
scored, held out, and the source whose set scores highest is added, until the
set is complete or nothing adds more than the standard error of what it adds.
With S sources a set of m takes at most S + (S - 1) + ... + (S - m + 1) scores.

A set need not be the best possible one: one source is added at a time, and none
is removed. And the gain of the source that adds most is somewhat too high, as
it is the largest of several; `Added.surely_adds` takes this into account.

References: Caruana, Niculescu-Mizil, Crew & Ksikes, "Ensemble selection from
libraries of models", ICML 2004 (forward selection by held-out performance);
Mustafa, Riquelme, Puigcerver, Pinto, Keysers & Houlsby, "Deep ensembles for
low-data transfer learning", 2020, arXiv 2010.06866 (of pre-trained models).
"""

from collections.abc import Callable, Mapping, Sequence
import dataclasses

from leep_jax import scores as scores_lib, validation
from leep_jax.engine import outputs as outputs_lib
from leep_jax.ensembles import features, mixtures, result
from leep_jax.scores import jackknife

# Held out: of others, a set with more features would be higher for that alone.
_OF_FEATURES = (
  "probe_accuracy", "probe_balanced_accuracy", "probe_log_loss", "probe_r2",
  "probe_mse", "probe_map",
)  # fmt: skip
OF_MIXTURES = "leep_loo"
_DEFAULTS = {
  "labels": "probe_accuracy",
  "targets": "probe_r2",
  "multi_labels": "probe_map",
}


def choose(
  outputs: Mapping[str, outputs_lib.Outputs],
  *,
  count: int = 3,
  rank_by: str | None = None,
  groups: int = jackknife.GROUPS,
  on_set: Callable[[Sequence[str]], None] | None = None,
) -> result.Choice:
  """Chooses a set of sources, each of which adds most to those before it.

  By a probe score, the score of a set is that of one head on the joined
  features of its sources (`ensembles.join`). By `leep_loo` it is the
  log-likelihood of the mixture of their EEPs with the best weights
  (`ensembles.mix`).

  Args:
    outputs: of the sources, by name, of the same examples in the same order.
    count: the most sources in the set.
    rank_by: `leep_loo` or one of the scores that start with `probe_`; by
      default `probe_accuracy`, for regression `probe_r2`, for several labels an
      example `probe_map`.
    groups: of the jackknife; 1 for no standard errors, and the choice then goes
      on while anything is added.
    on_set: called with the names of each set before it is scored.

  Returns:
    The choice. Its mixture is that of the members, whatever ranks.

  Raises:
    InputError: if `count` is not from 1 to the number of sources, `rank_by` is
      another score or not defined for the targets, or outputs are not of the
      same examples.
    UndefinedScore: if no source has the score.

  Reference: see the module.

  Example:
    The best source and the second one know the same classes. The third is worse
    than both, but knows others: it is what the first one needs.

    >>> import numpy as np
    >>> import leep_jax
    >>> rng = np.random.default_rng(0)
    >>> labels = np.arange(600) % 6
    >>> def source(known, noise):
    ...   signal = np.eye(6)[labels] * np.isin(np.arange(6), known)
    ...   features = signal + noise * rng.normal(size=(600, 6))
    ...   return leep_jax.Outputs.from_arrays(features=features, labels=labels)
    >>> choice = leep_jax.choose({
    ...   "best": source([0, 1, 2, 3], 0.3),
    ...   "second": source([0, 1, 2, 3], 0.32),
    ...   "other": source([3, 4, 5], 0.4)}, count=2)
    >>> for added in choice.members:
    ...   print(added.name, f"{added.score.value:.2f}")
    best 0.72
    other 0.94
  """
  features.check_same_examples(list(outputs.values()))
  validation.at_least_1("count", count)
  if count > len(outputs):
    raise validation.InputError(
      f"count is {count}, but there are {len(outputs)} sources"
    )
  rank_by = ranking_score(next(iter(outputs.values())), rank_by=rank_by)
  needed = scores_lib.SCORES[rank_by].needs
  left_out = {
    name: f"the source gives no {needed}"
    for name, one in outputs.items()
    if not one.has(needed)
  }
  usable = {k: v for k, v in outputs.items() if k not in left_out}
  if not usable:
    raise validation.UndefinedScore(f"no source has {rank_by}")
  if rank_by == OF_MIXTURES:
    evaluate = _of_mixtures(usable, groups)
  else:
    evaluate = _of_features(usable, rank_by, groups)
  members: list[result.Added] = []
  rejected = None
  while len(members) < min(count, len(usable)):
    added = _best_next(evaluate, members, sorted(usable), on_set, left_out)
    if added is None:
      break
    if not added.adds:
      rejected = added
      break
    members.append(added)
  if not members:
    raise validation.UndefinedScore(
      f"no source has {rank_by}: {next(iter(left_out.values()))}"
    )
  mixture, why = _mixture(outputs, [added.name for added in members], groups)
  return result.Choice(
    rank_by, tuple(members), rejected, left_out, mixture, why
  )


def ranking_score(
  outputs: outputs_lib.Outputs, *, rank_by: str | None = None
) -> str:
  """Returns the score by which a set is chosen.

  Args:
    outputs: with the labels or targets.
    rank_by: as of `choose`.

  Raises:
    InputError: if it is another score, or not defined for the targets.

  Example:
    >>> import leep_jax
    >>> from leep_jax import ensembles
    >>> ensembles.ranking_score(
    ...   leep_jax.Outputs.from_arrays(features=[[0.0]], targets=[0.5]))
    'probe_r2'
  """
  (kind,) = outputs.targets_by_name
  rank_by = rank_by or _DEFAULTS[kind]
  fit = [
    name
    for name in (*_OF_FEATURES, OF_MIXTURES)
    if kind in scores_lib.SCORES[name].target_kinds
  ]
  if rank_by not in fit:
    raise validation.InputError(
      f"a set is chosen by a held-out score ({', '.join(fit)}), not by "
      f"{rank_by}"
    )
  return rank_by


@dataclasses.dataclass(frozen=True, eq=False)
class _Candidate:
  """A scored set.

  Attributes:
    order: by which sets are compared: the score, and the log loss of equals.
    estimates: returns the estimates of the score and of the log loss or None.
  """

  order: tuple[float, ...]
  estimates: Callable[[], tuple[jackknife.Estimate, jackknife.Estimate | None]]


def _of_features(outputs, rank_by, groups):
  """A function of names to the candidate of a head on their joined features."""

  def evaluate(names):
    joined = features.join([outputs[name] for name in names])
    wanted = [rank_by]
    if joined.has("labels"):
      wanted.append("probe_log_loss")
    why: dict[str, str] = {}
    found = scores_lib.estimate_scores(
      joined, names=wanted, groups=groups, on_undefined=why.__setitem__
    )
    score, log_loss = found[rank_by], found.get("probe_log_loss")
    if score is None:
      raise validation.UndefinedScore(why[rank_by])
    order = (score.value, log_loss.value if log_loss else 0.0)
    return _Candidate(order, lambda: (score, log_loss))

  return evaluate


def _of_mixtures(outputs, groups):
  """A function of names to the candidate of their mixture."""
  known = mixtures.Probabilities(outputs, groups=groups)

  def evaluate(names):
    order = (known.score(names),)
    return _Candidate(order, lambda: (known.estimate(names), None))

  return evaluate


def _best_next(evaluate, members, names, on_set, left_out):
  """The source that adds most to the members; None if there is no other."""
  chosen = [added.name for added in members]
  best, best_name, compared = None, "", 0
  for name in names:
    if name in chosen or name in left_out:
      continue
    if on_set is not None:
      on_set([*chosen, name])
    try:
      candidate = evaluate([*chosen, name])
    except validation.UndefinedScore as e:
      if not members:
        left_out[name] = f"{e}"
      continue
    compared += 1
    if best is None or candidate.order > best.order:
      best, best_name = candidate, name
  if best is None:
    return None
  score, log_loss = best.estimates()
  if not members:
    return result.Added(best_name, score, None, compared, log_loss)
  before = members[-1]
  log_loss_gain = None
  if log_loss is not None and before.log_loss is not None:
    log_loss_gain = jackknife.paired_difference(log_loss, before.log_loss)
  gain = jackknife.paired_difference(score, before.score)
  return result.Added(best_name, score, gain, compared, log_loss, log_loss_gain)


def _mixture(outputs, names, groups):
  """The mixture of the members, or None and why."""
  members = {name: outputs[name] for name in names}
  for name, one in members.items():
    for field in ("labels", "probs"):
      if not one.has(field):
        return None, f"{name} has no {field}"
  try:
    return mixtures.mix(members, groups=groups), ""
  except validation.UndefinedScore as e:
    return None, f"{e}"
