"""Mixtures of sources: weighted means of what their EEPs predict.

Sources have labels of their own, so their probabilities cannot be averaged.
But each source's EEP predicts *target* labels. A mixture predicts label y of
example i with the probability sum_s w_s p_s(y given x_i), where the weights w
are at least 0 and sum to 1. Here p_s is leave-one-out, as in `leep_loo`:
example i is left out of the counts that predict it.

The weights maximise the mean log-likelihood of these held-out probabilities,
which is stacking of predictive distributions. They are fitted to the same n
examples, so the maximum is too high: as a maximum-likelihood fit of k - 1 free
numbers, k the weights above 0, by (k - 1) / n nats to first order. (The Hessian
of the mean log-likelihood is minus the mean of the outer products of its
examples' gradients. So the first-order change of an example's log-likelihood,
when it is left out of the fit of the weights, has exactly this mean.) That is
subtracted.

References: Wolpert, "Stacked generalization", Neural Networks 1992; Breiman,
"Stacked regressions", Machine Learning 1996; Yao, Vehtari, Simpson & Gelman,
"Using stacking to average Bayesian predictive distributions", Bayesian Analysis
2018; Akaike, "A new look at the statistical model identification", IEEE
Transactions on Automatic Control 1974 (the correction). With equal weights it
is E-LEEP, held out: Agostinelli, Uijlings, Mensink & Ferrari, "Transferability
metrics for selecting source model ensembles", CVPR 2022, arXiv 2111.13011.

Symbols: n examples, S sources, G groups of examples.
"""

from collections.abc import Mapping
import dataclasses

import numpy as np

from leep_jax import validation
from leep_jax.engine import outputs as outputs_lib, passes
from leep_jax.ensembles import features, weights as weights_lib
from leep_jax.scores import held_out_sums, held_out_table, jackknife


@dataclasses.dataclass(frozen=True, eq=False)
class Mixture:
  """A mixture of sources with the best weights.

  Attributes:
    weights: by source; they sum to 1.
    score: mean log-likelihood of the labels in nats, held out and corrected for
      the fit of the weights; at most 0. Of one source it is `leep_loo`.
    equal: the same with equal weights, which are not fitted (held-out E-LEEP).
    maximum: the mean log-likelihood with these weights, not corrected.
    gap: no other weights have a maximum that is higher by more than this.

  Example:
    >>> from leep_jax import ensembles
    >>> from leep_jax.scores import jackknife
    >>> import numpy as np
    >>> score = jackknife.Estimate(-0.7, np.zeros(0), np.array([9]))
    >>> ensembles.Mixture({"a": 1.0}, score, score, -0.7, 0.0).score.value
    -0.7
  """

  weights: Mapping[str, float]
  score: jackknife.Estimate
  equal: jackknife.Estimate
  maximum: float
  gap: float


def mix(
  outputs: Mapping[str, outputs_lib.Outputs],
  *,
  groups: int = jackknife.GROUPS,
) -> Mixture:
  """Returns the mixture of sources with the best weights.

  Args:
    outputs: of the sources, by name, with probabilities and labels; of the same
      examples in the same order.
    groups: of the jackknife; 1 for no standard errors.

  Raises:
    InputError: if they are of other examples, or have no probabilities or
      labels.
    UndefinedScore: if no class has two examples, or an example has probability
      0 for each source.

  Reference: see the module; standard errors to first order, as of `leep_loo`.

  Example:
    Two sources, each of which knows two of four classes from each other.

    >>> import numpy as np
    >>> import leep_jax
    >>> from leep_jax import ensembles
    >>> labels = np.arange(400) % 4
    >>> def source(*known):
    ...   at = np.where(np.isin(labels, known), labels, 4)
    ...   return leep_jax.Outputs.from_arrays(
    ...     probs=0.9 * np.eye(5)[at] + 0.02, labels=labels)
    >>> sources = {"a": source(0, 1), "b": source(2, 3)}
    >>> found = ensembles.mix(sources)
    >>> {name: round(weight, 3) for name, weight in found.weights.items()}
    {'a': 0.5, 'b': 0.5}
    >>> alone = ensembles.mix({"a": sources["a"]}).score
    >>> print(f"{alone.value:.2f} to {found.score.value:.2f}")
    -0.46 to -0.41
  """
  known = Probabilities(outputs, groups=groups)
  return known.mixture(list(outputs))


class Probabilities:
  """Held-out probabilities of the true labels by each source's EEP.

  Example:
    >>> import leep_jax
    >>> from leep_jax.ensembles import mixtures
    >>> outputs = leep_jax.Outputs.from_arrays(
    ...   probs=[[0.5, 0.5]] * 4, labels=[0, 0, 1, 1])
    >>> known = mixtures.Probabilities({"a": outputs}, groups=2)
    >>> round(known.optimum(["a"]).value, 4)  # log 1/3
    -1.0986
  """

  def __init__(
    self, outputs: Mapping[str, outputs_lib.Outputs], *, groups: int
  ):
    """Computes them, of one source after another.

    Args:
      outputs: as of `mix`.
      groups: as of `mix`.

    Raises:
      InputError: as `mix`.
      UndefinedScore: if no class has two examples.
    """
    features.check_same_examples(list(outputs.values()))
    for name, one in outputs.items():
      for field in ("probs", "labels"):
        if not one.has(field):
          raise validation.InputError(
            f"{name} has no {field}, which mixtures need"
          )
    self._outputs, self._groups = outputs, groups
    self._first = first = next(iter(outputs.values())).grouped(groups)
    counts = first.class_counts
    # A class with one example is not predicted, but a single class is.
    known = (counts > 1) | (len(counts) == 1)
    if not known.any():
      raise validation.UndefinedScore(
        "mixtures are undefined: each example is the only one of its class, so "
        "that none is predicted by others"
      )
    self._used = known[first.codes]
    self._group = first.group_of[self._used]
    self._each = {
      name: _likelihoods(self._fresh(name).ungrouped) for name in outputs
    }

  def _fresh(self, name):
    """The outputs of a source in groups, whose sums are not kept."""
    one = self._outputs[name]
    return one.with_features(one.store).grouped(self._groups)

  def optimum(self, names: list[str]) -> weights_lib.Optimum:
    """Returns the best weights of some sources.

    Args:
      names: of the sources.

    Raises:
      UndefinedScore: if an example has probability 0 for each of them.
    """
    return weights_lib.best(self._rows(names))

  def score(self, names: list[str]) -> float:
    """Returns the corrected mean log-likelihood of the mixture of sources.

    Args:
      names: of the sources.

    Raises:
      UndefinedScore: as `optimum`.
    """
    found = self.optimum(names)
    return min(found.value - self._excess(found), 0.0)

  def estimate(self, names: list[str]) -> jackknife.Estimate:
    """Returns `score` with its errors.

    Args:
      names: of the sources.

    Raises:
      UndefinedScore: as `optimum`.
    """
    found = self.optimum(names)
    return self._estimate(names, found.weights, self._excess(found))

  def mixture(self, names: list[str]) -> Mixture:
    """Returns the mixture of some sources, with its errors.

    Args:
      names: of the sources.

    Raises:
      UndefinedScore: as `optimum`.
    """
    found = self.optimum(names)
    equal = np.full(len(names), 1 / len(names))
    score = self._estimate(names, found.weights, self._excess(found))
    return Mixture(
      dict(zip(names, found.weights.tolist(), strict=True)),
      score,
      score if len(names) == 1 else self._estimate(names, equal, 0.0),
      found.value,
      found.gap,
    )

  def _excess(self, optimum):
    """By how much the maximum is too high."""
    return optimum.free / int(self._used.sum())

  def _rows(self, names):
    """Probabilities `[n, S]` of the examples that are predicted."""
    rows = np.stack([self._each[name] for name in names], axis=1)[self._used]
    none = np.count_nonzero(~rows.any(axis=1))
    if none:
      raise validation.UndefinedScore(
        f"the mixture of {' and '.join(names)} is minus infinity: the others' "
        f"counts give {none:,} examples probability 0"
      )
    return rows

  def _estimate(self, names, weights, excess):
    """The mean log-likelihood with some weights minus `excess`."""
    rows = self._rows(names)
    mixed = rows @ weights
    logs, first = np.log(mixed), self._first
    value = min(float(logs.mean()) - excess, 0.0)
    groups = first.groups
    sizes = first.group_counts.sum(axis=1)
    deleted = np.zeros(0)
    if groups > 1:
      used = np.bincount(self._group, minlength=groups)
      left = np.bincount(self._group, logs, minlength=groups)
      total = logs.sum() - left
      for name, weight, row in zip(names, weights, rows.T, strict=True):
        if weight:  # the share of each example that the source explains
          share = np.zeros(len(first))
          share[self._used] = weight * row / mixed
          total += _changes(self._fresh(name), share)
      rest = len(logs) - used
      deleted = np.where(rest > 0, total / np.maximum(rest, 1), np.nan)
      deleted = np.minimum(deleted - excess, 0.0)
    return jackknife.Estimate(value, deleted, sizes, first.examples)


def _likelihoods(outputs):
  """Held-out probabilities of the labels `[n]`, float64 of float32."""
  outputs.check("probs")
  _, table = held_out_table.of(outputs)
  blocks = passes.over(outputs, {"probs"}).stream_of_batches(
    "probs", held_out_sums.likelihoods, table.arguments()
  )
  found = np.concatenate([block[:, 0] for block in blocks])
  return outputs.gathered(found.astype(np.float64))


def _changes(outputs, share):
  """How a sum of log-likelihoods changes as the table loses a group, `[G]`.

  To first order, as in `leep_loo_parts`. At the best weights, the mixture's
  log-likelihood does not change to first order with the weights.

  Args:
    outputs: of one source, in groups.
    share: `[n]`, the derivative of the mixture's log-likelihood of an example
      by that of the source.
  """
  groups, table = held_out_table.of(outputs)
  pass_ = passes.over(outputs, {"probs"}, weights=share)
  (found,) = pass_.sums(
    [held_out_sums.responsibilities], [table.arguments()], check=()
  )
  sums = {"groups": groups, "gradient": found["gradient"]}
  # A sum over all but one group, as the jackknife takes it.
  parts = jackknife.Parts.by_group(
    lambda left: table.change(left["groups"], left["gradient"]), sums
  )
  sizes = outputs.group_counts.sum(axis=1)
  return jackknife.estimate(parts, sizes).deleted
