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
  host_sums,
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
    totals: function that returns `host_sums.row_sums` of the probabilities, or
      None.

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
  totals: Callable[[], np.ndarray | None] | None = None

  def sums(
    self,
    functions: Sequence[Statistic],
    arguments: Sequence[tuple[Any, ...]],
    *,
    check: Sequence[str],
  ) -> Sequence[Any]:
    """Sums statistics, on the devices or, if faster, by NumPy.

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
    results: list[Any] = [
      self._on_host(*pair) for pair in zip(functions, arguments, strict=True)
    ]
    rest = [i for i, sums in enumerate(results) if sums is None]
    # NumPy returns no sums of rows with faults: those fields have none.
    sound = {f.reads for i, f in enumerate(functions) if results[i] is not None}
    if rest:
      found = self._on_devices(
        [functions[i] for i in rest],
        [arguments[i] for i in rest],
        [field for field in check if field not in sound],
      )
      for i, sums in zip(rest, found, strict=True):
        results[i] = sums
    if not all(np.all(np.isfinite(x)) for x in jax.tree.leaves(results)):
      fields = sorted({function.reads for function in functions})
      raise validation.InputError(
        f"{' and '.join(fields)} of {self.name} are so large that their sums "
        "overflow float32"
      )
    return results

  def _on_devices(self, functions, arguments, check):
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
      weights=None if context.weights is None else context.weights[rows],
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

  def runs_on_host(self, function: Statistic) -> bool:
    """Returns whether NumPy sums a statistic: in float64, by `host_sums`."""
    return (
      function.on_host is not None
      and self.context.weights is None
      and not self.over_hosts
      and programs.are_host()
      and self.store.host_chunks(function.reads) is not None
    )

  def _on_host(self, function, arguments):
    """Sums a statistic by NumPy; None where devices must, or rows have faults.

    The devices count the faults.
    """
    if not self.runs_on_host(function):
      return None
    group_of = self.group_of
    if group_of is None and self.groups > 1:
      group_of = np.arange(self.count) % self.groups
    centre = None
    if self.centre is not None and self.context.centre is not None:
      # The whole shift: of wide features, a store subtracts it for the devices.
      centre = self.context.centre, self.centre[1]
    rows = host_sums.HostRows(
      lambda: self.store.host_chunks(function.reads) or (),
      labels=self.context.labels,
      num_classes=self.context.num_classes,
      group_of=group_of,
      groups=self.groups,
      totals=self.totals,
      targets=self.context.targets,
      centre=centre,
    )
    return function.on_host(rows, *arguments)

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

  def stream_of_batches(
    self, field: str, function: Callable[..., Any], arguments: tuple[Any, ...]
  ) -> Iterator[np.ndarray]:
    """As `stream`, of a function `(batch, *arguments) -> [B, L]`.

    It also sees labels. Features in the batch are not shifted.
    """
    for rows, n in self._apply(field, _OfBatch(function), arguments):
      yield storage.on_host(rows)[:n]

  def _apply(self, field, function, arguments):
    """Yields results `[d, b, L]` on devices, and how many are of examples."""
    placed = programs.replicate((arguments, self.centre))
    if not isinstance(function, _OfBatch):
      function = _OfField(field, function)
    spread = programs.parallel(function)
    for batch in self.store.batches([field], self.context):
      # Any batch may end in padding.
      yield spread(placed, batch), int(batch.weights.sum())

  def _batches(self, fields):
    """Batches of the store with their positions among all examples."""
    for batch in self.store.batches(fields, self.context):
      first = batch.start + np.int32(self.start)
      yield dataclasses.replace(batch, start=first)


def over(
  outputs: Any,
  fields: Collection[str],
  *,
  weights: np.ndarray | None = None,
) -> Pass:
  """Returns a pass over some arrays of an `Outputs`.

  Args:
    outputs: the `Outputs`, whose module imports this one.
    fields: of `probs` and `features`.
    weights: `[n]`, how much each example counts in sums; by default 1.

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
      weights=None if weights is None else weights[outputs.share],
    ),
    centre=centre,
    start=outputs.share.start,
    count=len(outputs),
    groups=outputs.groups,
    group_of=outputs.group_of if by_cluster else None,
    over_hosts=outputs.over_hosts,
    name=outputs.name,
    totals=lambda: outputs.ungrouped.cached(_row_sums),
  )


def _row_sums(outputs):
  return host_sums.row_sums(outputs.store.host_chunks("probs"))


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


@dataclasses.dataclass(frozen=True)
class _OfBatch:
  """A function of a batch; equal ones share a compiled program."""

  function: Callable[..., Any]

  def __call__(self, placed, batch):
    arguments, _ = placed
    return self.function(batch, *arguments)
