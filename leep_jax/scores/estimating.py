"""Scores of one source's outputs, all of them from the same passes."""

from collections.abc import Callable, Iterable
import functools

from leep_jax import validation
from leep_jax.engine import outputs as outputs_lib
from leep_jax.scores import jackknife, per_example
from leep_jax.scores.table import SCORES, Score


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
