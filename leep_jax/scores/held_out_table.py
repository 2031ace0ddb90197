"""The table of leave-one-out LEEP: what predicts an example's target label.

`held_out_sums` sums what the table holds, and what it predicts. Symbols: G
groups of examples, Y target classes, Z source classes.
"""

from collections.abc import Mapping

import jax
import numpy as np

from leep_jax.engine import outputs as outputs_lib, statistics
from leep_jax.scores import held_out_sums

_ARGUMENTS = "joint", "rest", "other", "weight", "frequency"

Sums = Mapping[str, np.ndarray]


class Table:
  """What predicts the label of an example, before that example is left out.

  Attributes:
    joint: `[Y, Z]`, the mass of both labels.
    rest: `[Y, Z]`, that without a dominant example, see `held_out_sums`.
    other: `[Y, Z]`, the mass of z in all other classes.
    weight: `[Z]`, the weight s(z) of the label frequencies.
    own: what an example adds to the mass, as a share of its probabilities.
    frequency: `[Y]`, the frequency of a class among the others of an example
      of this class.

  Example:
    >>> import leep_jax
    >>> from leep_jax.scores import held_out_table
    >>> outputs = leep_jax.Outputs.from_arrays(
    ...   probs=[[0.75, 0.25], [0.5, 0.5], [0.25, 0.75]], labels=[0, 0, 1])
    >>> _, table = held_out_table.of(outputs)
    >>> print(table.joint, table.frequency)
    [[1.25 0.75]
     [0.25 0.75]] [0.5 0. ]
  """

  def __init__(self, sums: Sums, smoothing: float, size: int):
    """Computes the table from sums.

    Args:
      sums: over some of the examples, as `of` returns them for each group.
      smoothing: see `leep_loo`.
      size: n, of all examples.
    """
    self._smoothing, self._size = smoothing, size
    counts = sums["counts"]
    # P(y given z) is of ratios. Without a group, all terms are scaled to the
    # size that all groups have: otherwise, each of them would change by the
    # share of the group, and not by how the group differs from the others.
    self.own = size / counts.sum()
    self.joint = np.maximum(sums["joint"], 0) * self.own
    self.rest = np.maximum(sums["rest"], 0) * self.own
    # Sums of the classes before and after each: the total minus the class
    # would leave rounding where a class has nearly all of the mass.
    zero = np.zeros_like(self.joint[:1])
    before = np.cumsum(np.concatenate([zero, self.joint[:-1]]), axis=0)
    after = np.cumsum(np.concatenate([zero, self.joint[:0:-1]]), axis=0)[::-1]
    self.other = before + after
    self.weight = np.zeros(self.joint.shape[1])
    if smoothing:
      mass = self.joint.sum(axis=0)
      # Without the group that has all its mass, a label has rounding instead
      # of 0, and no ratio. A weight is at most 1.
      some = mass > 1e-9 * size
      ratio = np.maximum(sums["squares"], 0) / np.where(some, mass, np.inf)
      self.weight = smoothing * np.minimum(ratio * self.own, 1) * self.own
    others = counts.sum() - 1
    single = np.count_nonzero(counts) == 1
    self.frequency = np.maximum(counts - 1, 0) / max(others, 1)
    if single:  # also if it has one example
      self.frequency = (counts > 0).astype(np.float64)

  def arguments(self) -> tuple[np.ndarray, ...]:
    """Returns what the statistics of `held_out_sums` take, in float32."""
    return tuple(np.asarray(getattr(self, x), np.float32) for x in _ARGUMENTS)

  def change(self, sums: Sums, gradient: Sums) -> float:
    """Returns how a log-likelihood changes to first order with other sums.

    Args:
      sums: of the examples that are left.
      gradient: of their log-likelihood, as `held_out_sums.responsibilities`
        returns it.
    """
    now = Table(sums, self._smoothing, self._size)
    total = 0.0
    for name, slope in gradient.items():
      old, new = getattr(self, name), getattr(now, name)
      change = new - old
      if name in ("joint", "rest", "other", "weight"):  # by their logarithms
        change = change / np.where(old > 0, old, np.inf)
      total += np.sum(slope * change)
    return float(total)


def of(
  outputs: outputs_lib.Outputs, *, smoothing: float = 0.0
) -> tuple[dict[str, np.ndarray], Table]:
  """Returns sums over each group, arrays `[G, ...]`, and the table of all.

  Args:
    outputs: with probabilities and labels.
    smoothing: see `leep_loo`.

  Raises:
    InputError: if rows of the probabilities are not distributions.

  Example:
    >>> import leep_jax
    >>> from leep_jax.scores import held_out_table
    >>> outputs = leep_jax.Outputs.from_arrays(
    ...   probs=[[0.75, 0.25], [0.25, 0.75]], labels=[0, 1])
    >>> groups, table = held_out_table.of(outputs.grouped(2))
    >>> groups["counts"].tolist()
    [[1.0, 0.0], [0.0, 1.0]]
  """
  groups = {
    "joint": outputs.group_sums(statistics.joint),
    "counts": outputs.group_counts,
  }
  if smoothing:
    groups["squares"] = outputs.group_sums(held_out_sums.label_squares)
  total = groups["joint"].sum(axis=0)
  groups["rest"] = outputs.group_sums(
    held_out_sums.mass_of_the_rest, total.astype(np.float32)
  )
  sums = jax.tree.map(lambda x: x.sum(axis=0), groups)
  return groups, Table(sums, smoothing, len(outputs))
