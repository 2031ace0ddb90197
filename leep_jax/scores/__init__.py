"""The table of scores, and functions that compute several of them in one pass.

A new score is one file in this package and one row of `SCORES`.

Symbols in all files: n examples, Y target classes, Z source classes, D
features, T columns of real-valued targets. Scores with a logarithm are in nats.
A higher value of any score means that the source transfers better. Different
scores are not comparable with each other, and neither are values of one score
on different target data sets.
"""

from collections.abc import Callable, Iterable
import dataclasses
import functools

from leep_jax import validation
from leep_jax.engine import outputs as outputs_lib, statistics
from leep_jax.engine.batch import Statistic
from leep_jax.scores import (
  average_precision as _average_precision,
  gbc as _gbc,
  h_score as _h_score,
  jackknife,
  label_sets as _label_sets,
  leave_one_out as _leave_one_out,
  leep as _leep,
  logme as _logme,
  n_leep as _n_leep,
  nce as _nce,
  parc as _parc,
  per_example,
  probe as _probe,
  regression as _regression,
  trans_rate as _trans_rate,
)
from leep_jax.scores.constant_outputs import Uninformative, uninformative

__all__ = [
  "SCORES", "TARGET_KINDS", "Score", "Uninformative", "compute_scores",
  "estimate_row", "estimate_scores", "uninformative",
]  # fmt: skip


# What targets can be, under the argument of `Outputs.from_arrays`.
TARGET_KINDS = {
  "labels": "classes",
  "targets": "real numbers",
  "multi_labels": "sets of labels",
}


@dataclasses.dataclass(frozen=True)
class Score:
  """A row of the table.

  Attributes:
    function: public function of arrays; its docstring defines the score.
    parts: function of `Outputs` that returns the score in two parts: sums over
      examples, and the function that turns these sums into the score. A score
      that is a mean of numbers of single examples returns those.
    needs: field that the outputs must have: `probs`, `features`, or `outputs`
      (the numbers that a regressor predicts or, without them, `probs`).
    target_kinds: kinds of targets for which the score is defined, keys of
      `TARGET_KINDS`.
    first_pass: statistics that the score needs and that depend only on the
      outputs, so that one pass over the outputs sums those of all scores.

  Example:
    >>> import leep_jax
    >>> leep_jax.SCORES["leep"].needs
    'probs'
    >>> leep_jax.SCORES["logme"].target_kinds
    ('labels', 'targets', 'multi_labels')
  """

  function: Callable[..., float]
  parts: Callable[
    [outputs_lib.Outputs], jackknife.Parts | per_example.PerExample
  ]
  needs: str
  target_kinds: tuple[str, ...] = ("labels",)
  first_pass: tuple[Statistic, ...] = ()

  def missing(self, outputs: outputs_lib.Outputs) -> str | None:
    """Returns why the outputs have no such score, or None if they have one.

    Args:
      outputs: of any source.
    """
    if not outputs.has(self.needs):
      if self.needs == "probs" and outputs.without_probs:
        return outputs.without_probs
      return f"the source gives no {self.needs}"
    (kind,) = outputs.targets_by_name
    if kind in self.target_kinds:
      return None
    needed = TARGET_KINDS[self.target_kinds[0]]
    return f"the targets are {TARGET_KINDS[kind]}, not {needed}"


# In the order in which tables print them. A score without `first_pass` reads
# the outputs on the host, or needs parameters that an earlier pass estimates.
SCORES: dict[str, Score] = {
  "probe_accuracy": Score(
    _probe.probe_accuracy,
    _probe.accuracy_parts,
    "features",
    first_pass=(statistics.moments,),
  ),
  "leep": Score(
    _leep.leep, _leep.leep_parts, "probs", first_pass=(statistics.joint,)
  ),
  "leep_loo": Score(
    _leave_one_out.leep_loo,
    _leave_one_out.leep_loo_parts,
    "probs",
    first_pass=(statistics.joint,),
  ),
  "nce": Score(
    _nce.nce,
    _nce.nce_parts,
    "probs",
    first_pass=(statistics.dummy_label_counts,),
  ),
  "nce_loo": Score(
    _leave_one_out.nce_loo,
    _leave_one_out.nce_loo_parts,
    "probs",
    first_pass=(statistics.dummy_label_counts,),
  ),
  "eep_accuracy": Score(
    _leep.eep_accuracy,
    _leep.eep_accuracy_parts,
    "probs",
    first_pass=(statistics.joint,),
  ),
  "h_score": Score(
    _h_score.h_score,
    _h_score.h_score_parts,
    "features",
    first_pass=(statistics.moments,),
  ),
  "regularized_h_score": Score(
    _h_score.regularized_h_score,
    _h_score.regularized_h_score_parts,
    "features",
    first_pass=(statistics.moments,),
  ),
  "logme": Score(
    _logme.logme,
    _logme.logme_parts,
    "features",
    target_kinds=("labels", "targets", "multi_labels"),
    first_pass=(statistics.moments,),
  ),
  "probe_log_loss": Score(
    _probe.probe_log_loss,
    _probe.log_loss_parts,
    "features",
    first_pass=(statistics.moments,),
  ),
  "probe_balanced_accuracy": Score(
    _probe.probe_balanced_accuracy,
    _probe.balanced_accuracy_parts,
    "features",
    first_pass=(statistics.moments,),
  ),
  "n_leep": Score(
    _n_leep.n_leep,
    _n_leep.n_leep_parts,
    "features",
    first_pass=(statistics.moments,),
  ),
  "trans_rate": Score(
    _trans_rate.trans_rate, _trans_rate.trans_rate_parts, "features"
  ),
  "gbc": Score(
    _gbc.gbc,
    _gbc.gbc_parts,
    "features",
    first_pass=(statistics.moments,),
  ),
  "parc": Score(_parc.parc, _parc.parc_parts, "features"),
  "probe_r2": Score(
    _probe.probe_r2,
    _probe.r2_parts,
    "features",
    target_kinds=("targets",),
    first_pass=(statistics.moments,),
  ),
  "probe_mse": Score(
    _probe.probe_mse,
    _probe.mse_parts,
    "features",
    target_kinds=("targets",),
    first_pass=(statistics.moments,),
  ),
  "lin_mse": Score(
    _regression.lin_mse,
    _regression.lin_mse_parts,
    "features",
    target_kinds=("targets",),
    first_pass=(statistics.moments,),
  ),
  "lab_mse": Score(
    _regression.lab_mse,
    _regression.lab_mse_parts,
    "outputs",
    target_kinds=("targets",),
  ),
  "probe_map": Score(
    _average_precision.probe_map,
    _average_precision.map_parts,
    "features",
    target_kinds=("multi_labels",),
    first_pass=(statistics.moments,),
  ),
  "mean_leep": Score(
    _label_sets.mean_leep,
    _label_sets.mean_leep_parts,
    "probs",
    target_kinds=("multi_labels",),
    first_pass=(_label_sets.label_joint,),
  ),
  "mean_nce": Score(
    _label_sets.mean_nce,
    _label_sets.mean_nce_parts,
    "probs",
    target_kinds=("multi_labels",),
    first_pass=(_label_sets.label_counts,),
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
    The scores by name; None for a score that is undefined for these outputs,
    or needs a field that they do not have.

  Raises:
    InputError: if a name is unknown, or the outputs are not distributions or
      not finite.

  Example:
    Two sources are compared on the same four target examples. The first gives
    both target classes to different source classes; the second gives every
    example the same distribution, which says nothing about the labels.

    >>> import leep_jax
    >>> labels = [0, 0, 1, 1]
    >>> sources = {
    ...   "informative": [[0.9, 0.1], [0.8, 0.2], [0.1, 0.9], [0.2, 0.8]],
    ...   "uninformative": [[0.5, 0.5]] * 4,
    ... }
    >>> for name, probs in sources.items():
    ...   outputs = leep_jax.Outputs.from_arrays(probs=probs, labels=labels)
    ...   scores = leep_jax.compute_scores(outputs, names=("leep", "nce"))
    ...   print(name, {key: round(value, 3) for key, value in scores.items()})
    informative {'leep': -0.295, 'nce': 0.0}
    uninformative {'leep': -0.693, 'nce': -0.693}

    A score whose field is missing is None:

    >>> leep_jax.compute_scores(outputs, names=("h_score",))
    {'h_score': None}
  """
  # One group means no jackknife: values without standard errors cost less.
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

  Standard errors are by the delete-a-group jackknife: examples are divided into
  groups, and each score is computed without each group.

  Args:
    outputs: from `compute_outputs` or `Outputs.from_arrays`.
    names: rows of `SCORES`; by default all.
    groups: number of groups for the jackknife; at most n are used, and 1 gives
      values without standard errors.
    on_score: called with the name of each score before it is computed.
    on_undefined: called with the name of each score that has no value, and
      with the reason.

  Returns:
    An `Estimate` by name; None for a score that is undefined for these
    outputs, or needs a field that they do not have.

  Raises:
    InputError: if a name is unknown, or the outputs are not distributions or
      not finite.

  Example:
    Two sources on the same 300 target examples. The outputs of both depend on
    the labels, those of the first one more.

    >>> import leep_jax
    >>> import numpy as np
    >>> rng = np.random.default_rng(0)
    >>> labels = rng.integers(0, 3, 300)
    >>> def leep_estimate(signal):
    ...   logits = signal * np.eye(3)[labels] + rng.normal(size=(300, 3))
    ...   outputs = leep_jax.Outputs.from_arrays(logits=logits, labels=labels)
    ...   return leep_jax.estimate_scores(outputs, names=("leep",))["leep"]
    >>> first, second = leep_estimate(2.0), leep_estimate(1.0)
    >>> for estimate in (first, second):
    ...   print(f"{estimate.value:.2f} +- {estimate.standard_error:.2f}")
    -0.70 +- 0.02
    -0.98 +- 0.02

    As both scores are of the same examples, their difference has a smaller
    error than either. Its 95 % interval excludes 0: the first source is better.

    >>> low, high = leep_jax.paired_difference(first, second).interval()
    >>> f"{low:.2f} to {high:.2f}"
    '0.22 to 0.34'
  """
  if isinstance(names, str):
    names = (names,)
  names = tuple(SCORES if names is None else names)
  for name in names:
    if name not in SCORES:
      raise validation.unknown("score", name, SCORES)
  on_score = on_score or (lambda name: None)
  on_undefined = on_undefined or (lambda name, why: None)
  # Sums are cached for one number of groups.
  if min(groups, len(outputs)) != outputs.groups:
    outputs = outputs.grouped(groups)
  values: dict[str, jackknife.Estimate | None] = dict.fromkeys(names)
  possible = []  # names of the scores that these outputs can have
  for name in names:
    missing = SCORES[name].missing(outputs)
    if missing:
      on_undefined(name, missing)
    else:
      possible.append(name)
  # One pass for each field: probabilities that are not distributions must not
  # prevent scores of the features, and vice versa.
  for field in ("probs", "features"):
    # D x D moments of every group would not fit in memory at once: here they
    # are summed over all examples, and later for one group after another.
    summed = outputs if field == "probs" else outputs.ungrouped
    readers = [name for name in possible if SCORES[name].needs == field]
    try:
      if field == "features" and len(outputs) <= (outputs.num_features or 0):
        # Most scores then use the products of examples, the smaller matrix.
        if readers:
          outputs.check(field)
        continue
      summed.sum_all(s for name in readers for s in SCORES[name].first_pass)
    except validation.InputError as e:
      if len(readers) == len(possible):  # no score has a value
        raise
      for name in readers:
        on_undefined(name, str(e))
        possible.remove(name)
  for name in possible:
    on_score(name)
    found = outputs.cached(
      functools.partial(estimate_row, SCORES[name]), key=("estimate", name)
    )
    if isinstance(found, jackknife.Estimate):
      values[name] = found
    else:
      on_undefined(name, found)
  return values


def estimate_row(
  score: Score, outputs: outputs_lib.Outputs
) -> jackknife.Estimate | str:
  """Returns a score with its error, or why these outputs have no value.

  Args:
    score: a row of `SCORES`.
    outputs: with what the score needs, in groups.

  Raises:
    InputError: if the outputs are not distributions or not finite.

  Example:
    >>> import leep_jax
    >>> from leep_jax import scores
    >>> outputs = leep_jax.Outputs.from_arrays(
    ...   features=[[0.0], [0.1], [1.0], [1.1]], labels=[0, 0, 1, 1])
    >>> scores.estimate_row(leep_jax.SCORES["probe_accuracy"], outputs).value
    1.0
  """
  sizes = outputs.group_counts.sum(axis=1)
  try:
    parts = score.parts(outputs)
    if isinstance(parts, per_example.PerExample):
      return parts.estimate(
        errors=outputs.groups > 1,
        examples=outputs.examples,
        clusters=outputs.clusters,
      )
    return jackknife.estimate(parts, sizes, examples=outputs.examples)
  except validation.UndefinedScore as e:
    return str(e)
