"""One pass over the outputs: a sum of statistics, or a function of each row.

A `Pass` knows what makes a batch of a store: labels, targets, the shift of the
features, and where its examples stand among all. `Outputs` makes one for each
pass.
"""

from collections.abc import Callable, Collection, Iterator, Sequence
import dataclasses
from typing import Any

import jax
import numpy as np

from leep_jax import validation
from leep_jax.engine import (
  programs,
  row_checks,
  storage,
  sums as sums_lib,
)
from leep_jax.engine.batch import Statistic


@dataclasses.dataclass(frozen=True)
class Pass:
  """What a pass over the examples of a store needs.

  Attributes:
    store: the arrays.
    context: labels, targets and shift, as batches of the store need them.
    centre: shift `[D]` and scale of the features on the devices, or None where
      no features are read.
    start: index of the store's first example among those of all hosts.
    count: n, the examples of all hosts.
    groups: G; example i belongs to group i modulo G.
    group_of: `[n]`, the group of each example where that is another.
    over_hosts: whether the store has one host's part of the examples.
    name: what error messages call the source.

  Example:
    >>> import numpy as np
    >>> from leep_jax.engine import passes, statistics, storage
    >>> context = storage.BatchContext(
    ...   labels=np.array([0, 1, 1], np.int32), num_classes=2
    ... )
    >>> store = storage.HostArrays({"probs": np.full((3, 2), 0.5)})
    >>> one = passes.Pass(store, context, count=3, name="mine")
    >>> (joint,) = one.sums([statistics.joint], [()], check=["probs"])
    >>> joint.tolist()  # [G, Y, Z], here of one group
    [[[0.5, 0.5], [1.0, 1.0]]]
  """

  store: storage.Store
  context: storage.BatchContext
  _: dataclasses.KW_ONLY
  count: int
  name: str
  centre: tuple[np.ndarray, np.float32] | None = None
  start: int = 0
  groups: int = 1
  group_of: np.ndarray | None = None
  over_hosts: bool = False

  def sums(
    self,
    functions: Sequence[Statistic],
    arguments: Sequence[tuple[Any, ...]],
    *,
    check: Sequence[str],
  ) -> Sequence[Any]:
    """Sums statistics over the devices.

    Args:
      functions: the statistics.
      arguments: for each of them, the arrays it takes after the batch.
      check: fields whose rows have not been checked: this pass counts their
        faults too.

    Returns:
      For each function its sums, float64 arrays `[G, ...]`.

    Raises:
      InputError: if rows have faults, or sums overflow.
    """
    if self.group_of is not None:
      return self._sums_of_each(functions, arguments, check)
    fields = sorted({function.reads for function in functions})
    guards = [row_checks.FAULTS[field] for field in check]
    # A count of faults may itself be among the statistics.
    guards = [guard for guard in guards if guard not in functions]
    every = (*guards, *functions)
    results = sums_lib.sum_batches(
      every,
      self._batches(fields),
      (*((),) * len(guards), *arguments),
      centre=self.centre,
      groups=self.groups,
      over_hosts=self.over_hosts,
    )
    found = dict(zip(every, results, strict=True))
    # Faults are refused before overflow: NaN in one row makes its sums NaN,
    # too.
    for field in check:
      faults = {k: v.sum() for k, v in found[row_checks.FAULTS[field]].items()}
      row_checks.refuse(field, faults, count=self.count, name=self.name)
    if not all(np.all(np.isfinite(x)) for x in jax.tree.leaves(results)):
      raise validation.InputError(
        f"{' and '.join(fields)} of {self.name} are so large that their sums "
        "overflow float32"
      )
    return results[len(guards) :]

  def _sums_of_each(self, functions, arguments, check):
    """Sums over one group after another, where groups are any examples."""
    if check:  # of all examples, so that errors count all faults
      whole = dataclasses.replace(self, groups=1, group_of=None)
      whole.sums(
        [row_checks.FAULTS[f] for f in check], [()] * len(check), check=check
      )
    fields = sorted({function.reads for function in functions})
    parts = [
      self._of_group(group, fields).sums(functions, arguments, check=())
      for group in range(self.groups)
    ]
    return jax.tree.map(lambda *sums: np.concatenate(sums), *parts)

  def _of_group(self, group, fields):
    rows = np.flatnonzero(self.group_of == group)
    context = self.context
    context = dataclasses.replace(
      context,
      labels=context.labels[rows],
      targets=None if context.targets is None else context.targets[rows],
      grouped=False,
    )
    return dataclasses.replace(
      self,
      store=storage.HostArrays(
        {field: self.store.array(field)[rows] for field in fields}
      ),
      context=context,
      count=len(rows),
      groups=1,
      group_of=None,
    )

  def host_sums(self, function: Statistic) -> np.ndarray | None:
    """Sums a statistic by NumPy, where that is faster than the devices are.

    Args:
      function: a statistic with an `on_host`.

    Returns:
      The sums `[G, Y, ...]`; None where the devices must do it, or rows have
      faults, which a pass over the devices then counts.
    """
    assert function.on_host is not None
    if self.over_hosts or programs.platform() != "cpu":
      return None
    chunks = self.store.host_chunks(function.reads)
    if chunks is None:
      return None
    classes = self.context.num_classes
    # Cells [G, Y] are counted as one axis, and separated afterwards.
    group_of = self.group_of
    if group_of is None:
      group_of = np.arange(self.count) % self.groups
    rows = group_of * classes + self.context.labels
    sums = function.on_host(chunks, rows, self.groups * classes)
    if sums is None:
      return None
    return sums.reshape(self.groups, classes, *sums.shape[1:])

  def map(
    self, field: str, function: Callable[..., Any], arguments: tuple[Any, ...]
  ) -> storage.Store:
    """Applies a function `(rows [B, K], *arguments) -> [B, L]` on the devices.

    Returns:
      A store of the results under the name of the field.
    """
    return storage.DeviceArrays(
      [
        ({field: rows}, n)
        for rows, n in self._apply(field, function, arguments)
      ]
    )

  def stream(
    self, field: str, function: Callable[..., Any], arguments: tuple[Any, ...]
  ) -> Iterator[np.ndarray]:
    """Yields the rows that `map` would store, batch by batch, on the host.

    Device memory in use does not grow with the number of examples.
    """
    for rows, n in self._apply(field, function, arguments):
      yield storage.on_host(rows)[:n]

  def _apply(self, field, function, arguments):
    """Yields results `[d, b, L]` on devices, and how many are of examples."""
    placed = programs.replicate((arguments, self.centre))
    spread = programs.parallel(_OfField(field, function))
    for batch in self.store.batches([field], self.context):
      # Any batch may end in padding.
      yield spread(placed, batch), int(batch.weights.sum())

  def _batches(self, fields):
    """Batches of the store with their positions among all examples."""
    for batch in self.store.batches(fields, self.context):
      first = batch.start + np.int32(self.start)
      yield dataclasses.replace(batch, start=first)


def over(outputs: Any, fields: Collection[str]) -> Pass:
  """Returns a pass over some arrays of an `Outputs`.

  Args:
    outputs: the `Outputs`, whose module imports this one.
    fields: of `probs` and `features`.

  Example:
    >>> import numpy as np
    >>> import leep_jax
    >>> from leep_jax.engine import passes
    >>> outputs = leep_jax.Outputs.from_arrays(
    ...   features=np.eye(3), labels=[0, 1, 0]
    ... )
    >>> passes.over(outputs.grouped(2), {"features"}).groups
    2
  """
  shift, centre = None, None
  if "features" in fields:
    shift, scale = outputs.feature_centre
    # The store subtracts the shift of features that have more digits than
    # float32, before they lose them.
    wide = outputs.store.is_wide("features")
    centre = (shift * 0 if wide else shift).astype(np.float32), scale
  targets = None
  if outputs.targets is not None:
    mean, unit = outputs.target_centre
    targets = outputs.targets[outputs.share]
    # In float64: converted first, targets with a large mean would lose digits.
    targets = ((targets - mean) / unit).astype(np.float32)
  by_cluster = outputs.clusters is not None and outputs.groups > 1
  return Pass(
    outputs.store,
    storage.BatchContext(
      labels=outputs.codes[outputs.share],
      num_classes=len(outputs.classes),
      targets=targets,
      centre=shift,
      grouped=outputs.groups > 1,
    ),
    centre=centre,
    start=outputs.share.start,
    count=len(outputs),
    groups=outputs.groups,
    group_of=outputs.group_of if by_cluster else None,
    over_hosts=outputs.over_hosts,
    name=outputs.name,
  )


@dataclasses.dataclass(frozen=True)
class _OfField:
  """A function of one field of a batch; equal ones share a compiled program."""

  field: str
  function: Callable[..., Any]

  def __call__(self, placed, batch):
    arguments, centre = placed
    rows = getattr(batch, self.field)
    if self.field == "features":
      shift, scale = centre
      # As `sums` shifts and scales them, so that a function may use its sums.
      rows = (rows.astype(np.float32) - shift[None]) / scale
    return self.function(rows, *arguments)
