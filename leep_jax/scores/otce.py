"""OTCE: what source examples' labels say of target labels, by transport.

Examples of the source model's own data are matched with target examples by
optimal transport between their features. OTCE needs source examples, which
other scores do not: `Outputs.from_arrays(source_features=, source_labels=)`.
F-OTCE is in nats and at most 0; higher means that the source transfers better.

Symbols: m source examples with features g and labels z; n target examples with
features f and labels y; P `[m, n]` the coupling, whose rows sum to 1/m and
columns to 1/n.
"""

from collections.abc import Sequence
import dataclasses

import numpy as np
import numpy.typing as npt

from leep_jax import validation
from leep_jax.engine import outputs as outputs_lib
from leep_jax.scores import jackknife, nce, sampling, transport

REGULARISATION = 0.1
# Of the source and of the target: a million costs, coupled in seconds.
MAX_EXAMPLES = 1000


def f_otce(
  features: npt.ArrayLike,
  labels: npt.ArrayLike,
  *,
  source_features: npt.ArrayLike,
  source_labels: npt.ArrayLike,
  num_classes: int | None = None,
  regularisation: float = REGULARISATION,
  max_examples: int = MAX_EXAMPLES,
) -> float:
  """F-OTCE, -H(Y given Z) under an optimal coupling, in nats; at most 0.

  P has the least sum_ij P_ij |g_i - f_j|^2 + eps P_ij log P_ij, and P(y, z) is
  the sum of P_ij over the pairs with these labels: F-OTCE = sum_yz P(y, z) log
  (P(y, z) / P(z)). Higher transfers better. The authors' demonstration code
  takes the exact transport, without the entropic term: the score depends on
  eps, so compare only values of one `regularisation`.

  Args:
    features: `[n, D]`, the source model's features of target examples.
    labels: `[n]`, target labels from 0.
    source_features: `[m, D]`, its features of source examples.
    source_labels: `[m]`, source labels from 0.
    num_classes: Y; by default the largest label plus 1. F-OTCE does not depend
      on it.
    regularisation: eps as a share of the costs' standard deviation, see
      `transport.coupling`.
    max_examples: of more source or target examples, this many are drawn at
      random. The draw depends on their numbers only.

  Raises:
    InputError: if there are no examples, lengths or D differ, labels are not
      integers from 0, features are not finite, or an option is out of range.
    UndefinedScore: if the transport does not converge.

  Reference: Tan, Zhang, Li, Huang & Zhang, "Transferability-Guided Cross-Domain
  Cross-Task Transfer Learning", IEEE TNNLS 2025, arXiv 2207.05510; Tan, Li &
  Huang, "OTCE: A Transferability Metric for Cross-Domain Cross-Task
  Representations", CVPR 2021, arXiv 2103.13843, section 3.

  Example:
    Target examples of class 0 are near source examples of class 1, and the
    other way round.

    >>> import leep_jax
    >>> known = {"source_features": [[0.0], [1.0], [8.0], [9.0]],
    ...          "source_labels": [0, 0, 1, 1]}
    >>> target = [[9.0], [8.0], [1.0], [0.0]]
    >>> f"{leep_jax.f_otce(target, [0, 0, 1, 1], **known):z.4f}"
    '0.0000'
    >>> f"{leep_jax.f_otce(target, [0, 1, 0, 1], **known):.4f}"
    '-0.6931'
  """
  return jackknife.value(
    f_otce_parts(
      outputs_lib.Outputs.from_arrays(
        features=features,
        labels=labels,
        num_classes=num_classes,
        source_features=source_features,
        source_labels=source_labels,
      ),
      regularisation=regularisation,
      max_examples=max_examples,
    )
  )


def f_otce_parts(
  outputs: outputs_lib.Outputs,
  *,
  regularisation: float = REGULARISATION,
  max_examples: int = MAX_EXAMPLES,
) -> jackknife.Parts:
  """Returns `f_otce` as sums and a function of them.

  The coupling is that of all examples, also if the jackknife leaves a group
  out: its error is that of target examples alone, for given source examples.

  Args:
    outputs: with features and labels, and source examples.
    regularisation: see `f_otce`.
    max_examples: see `f_otce`.

  Raises:
    InputError: as `f_otce`.
    UndefinedScore: as `f_otce`.

  Example:
    >>> import leep_jax
    >>> from leep_jax.scores import jackknife, otce
    >>> outputs = leep_jax.Outputs.from_arrays(
    ...   features=[[0.0], [9.0]], labels=[0, 1],
    ...   source_features=[[0.0], [1.0], [9.0]], source_labels=[0, 0, 0])
    >>> f"{jackknife.value(otce.f_otce_parts(outputs)):.4f}"
    '-0.6931'
  """
  found = _couple(outputs, regularisation, max_examples)
  groups = outputs.group_of[found.chosen]
  # [n, Z] for each target example, added to the row of its group and class.
  shares = found.coupling.T @ found.one_hot
  joint = np.zeros((outputs.groups, len(outputs.classes), shares.shape[1]))
  np.add.at(joint, (groups, outputs.codes[found.chosen]), shares)
  return jackknife.Parts.by_group(nce.negative_conditional_entropy, joint)


@dataclasses.dataclass(frozen=True, eq=False)
class _Coupled:
  """A coupling `[m, n]`, its costs, and the examples it is of."""

  coupling: np.ndarray
  cost: np.ndarray
  chosen: np.ndarray  # [n], target examples
  one_hot: np.ndarray  # [m, Z], source labels that occur


def _couple(outputs, regularisation, max_examples) -> _Coupled:
  if not 0 < regularisation < np.inf:
    raise validation.InputError(
      f"regularisation is {regularisation}, but must be above 0"
    )
  if outputs.source_examples is None:
    raise validation.InputError(f"{outputs.name} has no source examples")
  source, labels = outputs.source_examples
  mine = sampling.sample(len(source), most=max_examples)
  chosen = sampling.sample(len(outputs), most=max_examples)
  outputs.check("features")
  first = np.asarray(source)[mine].astype(np.float64)
  second = np.asarray(outputs.features)[chosen].astype(np.float64)
  # Near 0, so that squares keep their digits, and near 1, so that they exist.
  middle = second.mean(axis=0)
  first, second = first - middle, second - middle
  unit = max(np.abs(first).max(), np.abs(second).max()) or 1.0
  first, second = first / unit, second / unit
  cost = (first**2).sum(axis=1)[:, None] + (second**2).sum(axis=1)
  cost = np.maximum(cost - 2 * first @ second.T, 0)
  one_hot = labels[mine][:, None] == np.unique(labels[mine])
  found = transport.coupling(cost, regularisation=regularisation)
  return _Coupled(found, cost * unit**2, chosen, one_hot.astype(np.float64))


@dataclasses.dataclass(frozen=True)
class Differences:
  """How much a target differs from the source's own data and labels.

  Attributes:
    domain: W_D, the mean squared distance of examples that are coupled.
    task: W_T, the conditional entropy of target labels given source labels,
      in nats: minus F-OTCE.

  Example:
    >>> from leep_jax.scores import otce
    >>> otce.Differences(domain=2.0, task=0.7).task
    0.7
  """

  domain: float
  task: float


def differences(
  features: npt.ArrayLike,
  labels: npt.ArrayLike,
  *,
  source_features: npt.ArrayLike,
  source_labels: npt.ArrayLike,
  regularisation: float = REGULARISATION,
  max_examples: int = MAX_EXAMPLES,
) -> Differences:
  """Returns the two differences that OTCE adds, W_D and W_T.

  W_D = sum_ij P_ij |g_i - f_j|^2, and W_T = H(Y given Z), with P and its labels
  as `f_otce` has them.

  Args:
    features: as `f_otce`.
    labels: as `f_otce`.
    source_features: as `f_otce`.
    source_labels: as `f_otce`.
    regularisation: as `f_otce`.
    max_examples: as `f_otce`.

  Raises:
    InputError: as `f_otce`.
    UndefinedScore: as `f_otce`.

  Reference: Tan, Li & Huang, CVPR 2021, arXiv 2103.13843, section 3.

  Example:
    >>> from leep_jax.scores import otce
    >>> found = otce.differences(
    ...   [[0.0], [9.0]], [0, 1],
    ...   source_features=[[1.0], [7.0]], source_labels=[3, 5])
    >>> round(found.domain, 2), abs(round(found.task, 4))
    (2.5, 0.0)
  """
  outputs = outputs_lib.Outputs.from_arrays(
    features=features,
    labels=labels,
    source_features=source_features,
    source_labels=source_labels,
  )
  found = _couple(outputs, regularisation, max_examples)
  codes = outputs.codes[found.chosen]
  target = (codes[:, None] == np.arange(len(outputs.classes))).astype(float)
  joint = target.T @ found.coupling.T @ found.one_hot
  return Differences(
    float((found.coupling * found.cost).sum()),
    abs(nce.negative_conditional_entropy(joint)),
  )


@dataclasses.dataclass(frozen=True)
class Otce:
  """OTCE, a weighted sum of both differences that predicts accuracy.

  Attributes:
    domain: the weight of W_D.
    task: the weight of W_T.
    intercept: added to the sum.

  Example:
    >>> from leep_jax.scores import otce
    >>> fitted = otce.Otce(domain=-0.1, task=-0.2, intercept=0.9)
    >>> round(fitted.of(otce.Differences(domain=1.0, task=2.0)), 4)
    0.4
  """

  domain: float
  task: float
  intercept: float

  def of(self, found: Differences) -> float:
    """Returns the score of a target task, higher if it transfers better."""
    return self.domain * found.domain + self.task * found.task + self.intercept


def fit(auxiliary: Sequence[Differences], accuracies: Sequence[float]) -> Otce:
  """Fits the weights of OTCE to accuracies after transfer, by least squares.

  OTCE = a W_D + b W_T + c. The authors standardise both differences before;
  that changes a, b and c, and not their sum.

  Args:
    auxiliary: differences of tasks on which transfer was tried, at least 3.
    accuracies: those that transfer reached, one for each task.

  Raises:
    InputError: if there are fewer than 3 tasks, or another number of
      accuracies.

  Reference: Tan, Li & Huang, CVPR 2021, arXiv 2103.13843, section 3.

  Example:
    >>> from leep_jax.scores import otce
    >>> tasks = [otce.Differences(*pair) for pair in ((1, 1), (2, 1), (1, 3))]
    >>> fitted = otce.fit(tasks, [0.7, 0.6, 0.3])
    >>> round(fitted.domain, 4), round(fitted.task, 4)
    (-0.1, -0.2)
  """
  if len(auxiliary) < 3 or len(auxiliary) != len(accuracies):
    raise validation.InputError(
      f"there are {len(auxiliary)} tasks and {len(accuracies)} accuracies: "
      "OTCE needs at least 3 tasks, and an accuracy of each"
    )
  rows = np.array([(each.domain, each.task, 1.0) for each in auxiliary])
  # Columns of one unit, as squared distances may be far from 1.
  unit = np.abs(rows).max(axis=0)
  unit = np.where(unit > 0, unit, 1)
  weights = np.linalg.lstsq(rows / unit, np.asarray(accuracies, float))[0]
  return Otce(*(weights / unit).tolist())
