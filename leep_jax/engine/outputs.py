"""`Outputs`: what a source returned for a labelled data set.

An `Outputs` keeps probabilities, features and labels of n examples in device
memory, host memory or files. Examples can be selected, and statistics summed
over them. Sums that take no other arguments are cached, so that scores share
them. `forward.compute_outputs` makes an `Outputs` from a source and a data set.

Several hosts of a job may each keep a part of the arrays. Labels and sums are
then those of all examples, and all hosts must call the same methods in order.
"""

from collections.abc import Callable, Hashable, Iterable, Iterator
import copy
import os
import pathlib
from typing import Any

import jax
import numpy as np

from leep_jax import validation
from leep_jax.engine import (
  building,
  centring,
  examples,
  hosts,
  passes,
  row_checks,
  storage,
)
from leep_jax.engine.batch import Statistic


class Outputs:
  """A source's outputs on n labelled examples.

  Build one with `from_arrays`, `from_batches`, `load` or `compute_outputs`.

  Attributes:
    name: what error messages call the source.
    labels: `[n]` int32.
    num_classes: number of classes, including those that never occur.
    classes: `[Y]`, the labels that occur, ascending: the rows of sums.
    class_counts: `[Y]`, how many examples each of them has.
    codes: `[n]` int32, the index in `classes` of each example's label.
    targets: `[n, T]` float64 targets of regression, or sets of labels as 0 and
      1, or None. All labels are 0 where there are targets.
    multi_label: whether targets are sets of labels.
    store: the arrays.
    share: the examples that the store holds: all, or one host's part.
    over_hosts: whether the store holds one host's part.
    groups: G, the number of groups of examples with separate sums: the examples
      i modulo G, or whole clusters.
    clusters: `[n]` integers, equal for examples that depend on each other, such
      as photos of one patient; or None.
    without_probs: the reason why there are no probabilities (see `Source`), or
      empty.
    data: a description of the data set and the examples, if known.
    source_examples: features and labels of the source's own data, or None.

  Example:
    >>> import leep_jax
    >>> outputs = leep_jax.Outputs.from_arrays(
    ...   probs=[[0.9, 0.1], [0.8, 0.2], [0.3, 0.7]], labels=[0, 0, 1])
    >>> outputs
    Outputs(outputs: probs=(3, 2), 2 classes)
    >>> round(leep_jax.compute_scores(outputs, names=["leep"])["leep"], 4)
    -0.3853
  """

  def __init__(
    self,
    store: storage.Store,
    labels: np.ndarray | None = None,
    *,
    targets: np.ndarray | None = None,
    multi_labels: np.ndarray | None = None,
    num_classes: int | None = None,
    name: str = "outputs",
    share: slice | None = None,
    without_probs: str = "",
    data: str = "",
    clusters: np.ndarray | None = None,
    source_examples: tuple[np.ndarray, np.ndarray] | None = None,
  ):
    self.store, self.source_examples = store, source_examples
    self.data = data
    self.name = name
    self.without_probs = without_probs
    self.multi_label = multi_labels is not None
    if multi_labels is not None:
      targets = multi_labels.astype(np.float64)
    self.targets = targets
    if targets is not None:
      labels = np.zeros(len(targets), np.int32)
    self.labels = validation.class_labels(labels, num_classes=num_classes)
    if num_classes is None:
      validation.note_unused_classes(self.labels)
    self.num_classes = int(num_classes or self.labels.max() + 1)
    # Classes without examples would add rows of zeros to every sum.
    self.classes, self.codes, self.class_counts = examples.compact(self.labels)
    self.over_hosts = share is not None
    self.share = share or slice(0, len(self.labels))
    self.groups = 1
    self.clusters = clusters
    # Sums and values by number of groups and function; all views share it.
    self._memo: dict[tuple[int, Any], Any] = {}
    self._checked: set[str] = set()

  @classmethod
  def from_arrays(
    cls,
    *,
    labels: Any = None,
    targets: Any = None,
    multi_labels: Any = None,
    probs: Any = None,
    logits: Any = None,
    features: Any = None,
    outputs: Any = None,
    source_features: Any = None,
    source_labels: Any = None,
    num_classes: int | None = None,
    name: str = "outputs",
  ) -> "Outputs":
    """Wraps arrays of any framework, without copying NumPy ones.

    Args:
      labels: `[n]` integers.
      targets: `[n, T]` or `[n]` real numbers, instead of labels: a regression.
      multi_labels: `[n, T]` of 0 and 1, instead of labels: an example can have
        any number of T labels.
      probs: `[n, Z]`, rows that sum to 1, or None.
      logits: `[n, Z]` instead of `probs`; their softmax is taken.
      features: `[n, D]`, or None.
      outputs: `[n, K]` real numbers that a regressor predicts, or None.
      source_features: `[m, D]`, of examples of the source's own data, or None.
      source_labels: `[m]`, their labels from 0.
      num_classes: Y; by default the largest label plus 1.
      name: what error messages call the source.

    Raises:
      InputError: if shapes, lengths or labels are not as above.
    """
    return cls(
      **building.from_arrays(
        name=name,
        labels=labels,
        targets=targets,
        multi_labels=multi_labels,
        probs=probs,
        logits=logits,
        features=features,
        outputs=outputs,
        source_features=source_features,
        source_labels=source_labels,
        num_classes=num_classes,
      )
    )

  @classmethod
  def from_batches(
    cls,
    batches: Iterable[Any],
    *,
    num_classes: int | None = None,
    name: str = "outputs",
  ) -> "Outputs":
    """Collects outputs that arrive in batches of any size, on the host.

    Args:
      batches: of dictionaries with the arguments of `from_arrays`, or of
        pairs `(probs [B, Z], labels [B])`.
      num_classes: Y; by default the largest label plus 1.
      name: what error messages call the source.

    Raises:
      InputError: as `from_arrays`; or if there is no batch, or batches have
        different fields.
    """
    arrays = building.join_batches(batches, name=name)
    return cls.from_arrays(**arrays, num_classes=num_classes, name=name)

  @classmethod
  def load(cls, directory: str | os.PathLike[str]) -> "Outputs":
    """Opens a folder that `save` wrote; arrays stay memory-mapped.

    Raises:
      InputError: if there are no complete outputs in the folder.
    """
    return cls(**building.from_folder(pathlib.Path(directory)))

  def save(self, directory: str | os.PathLike[str]) -> None:
    """Writes a new folder, which appears when complete; no source examples.

    Raises:
      InputError: if the folder exists or cannot be made, or the arrays are
        spread over hosts.
    """
    self._refuse_over_hosts("saved")
    building.write(
      directory,
      self.store,
      self.targets_by_name,
      num_classes=self.num_classes,
      name=self.name,
      without_probs=self.without_probs,
    )

  @property
  def targets_by_name(self) -> dict[str, np.ndarray]:
    """Labels, targets or sets of labels, under that argument of `Outputs`."""
    if self.targets is None:
      return {"labels": self.labels}
    if self.multi_label:
      return {"multi_labels": self.targets > 0}
    return {"targets": self.targets}

  def _refuse_over_hosts(self, what):
    if self.over_hosts:
      raise validation.InputError(
        f"{self.name} cannot be {what} where hosts keep parts of it: run on "
        "one host"
      )

  def __len__(self) -> int:
    return len(self.labels)

  def __repr__(self) -> str:
    sizes = ", ".join(f"{k}={self.store.shape(k)}" for k in self.store.keys())
    what = f"{self.num_classes} classes"
    if self.targets is not None:
      kind = "labels an example can have" if self.multi_label else "targets"
      what = f"{self.targets.shape[1]} {kind}"
    return f"Outputs({self.name}: {sizes}, {what})"

  @property
  def probs(self) -> np.ndarray | None:
    """`[n, Z]` probabilities on the host (memory-mapped if on disk)."""
    return self._array("probs") if self.has("probs") else None

  @property
  def features(self) -> np.ndarray | None:
    """`[n, D]` features on the host (memory-mapped if on disk), or None."""
    return self._array("features") if self.has("features") else None

  def _array(self, key):
    """Returns an array `[n, K]`; on several hosts, it is gathered from all."""
    if self.over_hosts:
      hosts.check_gathered(len(self), self.store.shape(key)[1], key)
    return self.gathered(self.store.array(key))

  def gathered(self, rows: np.ndarray) -> np.ndarray:
    """Joins the rows of all hosts, where each has its own examples."""
    return np.concatenate(hosts.gather(rows)) if self.over_hosts else rows

  def has(self, field: str) -> bool:
    """Returns whether there is a field of `from_arrays`.

    Args:
      field: its name. A regressor's `outputs` may be `probs`.
    """
    if field in ("labels", "targets", "multi_labels"):
      return field in self.targets_by_name
    if field == "outputs":
      return bool({"outputs", "probs"} & set(self.store.keys()))
    return field in self.store.keys()

  def grouped(self, groups: int) -> "Outputs":
    """Returns a view of the same outputs with separate sums for G groups.

    Args:
      groups: G; no more than there are examples, or clusters, are made.

    Raises:
      InputError: on several hosts, if there are clusters, or too few examples
        for one of each group on each.
    """
    validation.at_least_1("groups", groups)
    if self.over_hosts and groups > 1:
      examples.check_over_hosts(len(self), groups, self.clusters)
    most = len(self) if self.clusters is None else len(set(self.clusters))
    view = copy.copy(self)  # with the same caches
    view.groups = min(groups, most)
    return view

  @property
  def ungrouped(self) -> "Outputs":
    """A view of the same outputs with sums over all examples only."""
    return self if self.groups == 1 else self.grouped(1)

  def features_of_group(self, group: int) -> "Outputs":
    """Returns outputs with the features of one group of examples.

    Classes, shift and scale stay those of all examples, so that sums can be
    added and subtracted.

    Args:
      group: from 0 to G - 1.
    """
    rows = np.flatnonzero(self.group_of == group)
    first, end = np.searchsorted(rows, [self.share.start, self.share.stop])
    mine = rows[first:end] - self.share.start
    # Kept: `array` of a store on devices copies all of it.
    features = self.cached(lambda o: o.store.array("features"), key="features")
    features = features[mine]
    part = self.with_features(storage.HostArrays({"features": features}))
    part._checked = self._checked
    part.labels, part.codes = self.labels[rows], self.codes[rows]
    if self.targets is not None:
      part.targets = self.targets[rows]
      part._memo[1, centring.target_centre] = self.target_centre
    part._memo[1, centring.feature_centre] = self.feature_centre
    part.share = slice(first, end)
    part.groups, part.clusters = 1, None
    return part

  def cached(
    self,
    function: Callable[["Outputs"], Any],
    *,
    key: Hashable | None = None,
  ) -> Any:
    """Returns `function(self)`, which is computed once and cached.

    Args:
      function: of these outputs.
      key: the key under which it is cached; by default the function itself.
    """
    key = (self.groups, function if key is None else key)
    if key not in self._memo:
      self._memo[key] = function(self)
    return self._memo[key]

  @property
  def examples(self) -> str:
    """A digest of labels (or targets) and data set: `examples.digest`."""
    return self.cached(
      lambda o: examples.digest(o.targets_by_name, data=o.data), key="examples"
    )

  @property
  def group_of(self) -> np.ndarray:
    """`[n]`, the group of each example."""
    return self.cached(
      lambda o: examples.groups_of(len(o), o.groups, o.clusters), key="group_of"
    )

  @property
  def group_counts(self) -> np.ndarray:
    """`[G, Y]` float64, the examples of each class in each group."""
    cells = self.group_of * len(self.classes) + self.codes
    counts = np.bincount(cells, minlength=self.groups * len(self.classes))
    return counts.reshape(self.groups, -1).astype(np.float64)

  @property
  def num_source_classes(self) -> int | None:
    """Z, or None without probabilities."""
    return self.store.shape("probs")[1] if self.has("probs") else None

  @property
  def num_features(self) -> int | None:
    """D, or None without features."""
    return self.store.shape("features")[1] if self.has("features") else None

  @property
  def feature_centre(self) -> tuple[np.ndarray, np.float32]:
    """Shift `[D]` and scale of features, `centring.feature_centre`."""
    return self.cached(centring.feature_centre)

  @property
  def target_centre(self) -> tuple[np.ndarray, np.ndarray]:
    """Mean and scale `[T]` of targets, `centring.target_centre`."""
    return self.cached(centring.target_centre)

  def feature_chunks(self) -> Iterator[np.ndarray]:
    """Yields the features in order, in chunks `[m, D]` on the host."""
    if self.over_hosts:
      return iter((self._array("features"),))
    return self.store.chunks("features")

  def select(self, indices: Any) -> "Outputs":
    """Returns the outputs of some examples, in the order of the indices.

    Args:
      indices: `[m]` integers, or `[n]` booleans.

    Raises:
      InputError: if there are no such examples, or they are spread over hosts.
    """
    self._refuse_over_hosts("selected from")
    try:
      targets = {k: v[indices] for k, v in self.targets_by_name.items()}
    except (IndexError, TypeError) as e:
      raise validation.InputError(
        f"cannot select from {len(self)} examples: {validation.reason(e)}"
      ) from e
    arrays = {k: self.store.array(k)[indices] for k in self.store.keys()}
    return Outputs(
      storage.HostArrays(arrays),
      **targets,
      num_classes=self.num_classes,
      name=self.name,
      without_probs=self.without_probs,
      clusters=None if self.clusters is None else self.clusters[indices],
      source_examples=self.source_examples,
    )

  def with_features(self, features: storage.Store) -> "Outputs":
    """Returns the same examples and groups with other features.

    Args:
      features: a store of as many rows, under the name `features`.
    """
    other = copy.copy(self)
    other.store, other._memo, other._checked = features, {}, set()
    return other

  def sum(self, function: Statistic, *arguments: Any) -> Any:
    """Sums a statistic over all examples: `group_sums` without the groups."""
    sums = self.group_sums(function, *arguments)
    return jax.tree.map(lambda x: x.sum(axis=0), sums)

  def group_sums(self, function: Statistic, *arguments: Any) -> Any:
    """Sums a statistic over the examples of each group.

    Args:
      function: one of `statistics`, or a function like those.
      *arguments: arrays it takes after the batch. A sum without arguments is
        cached.

    Returns:
      What `function` returns, as float64 arrays `[G, ...]` on the host.

    Raises:
      InputError: if the field that it reads is missing, rows of `probs` are
        not distributions, or features are not finite.
    """
    if arguments:
      return self._pass_sums((function,), (arguments,))[0]
    self.sum_all((function,))
    return self._memo[self.groups, function]

  def check(self, field: str) -> None:
    """Checks the rows of `probs` or `features`, unless a sum has done so.

    Raises:
      InputError: as `group_sums`.
    """
    if field not in self._checked:
      self.ungrouped.sum(row_checks.FAULTS[field])

  def sum_all(self, functions: Iterable[Statistic]) -> None:
    """Sums several statistics in one pass; the sums are cached.

    Args:
      functions: statistics that take nothing but the batch.

    Raises:
      InputError: as `group_sums`.
    """
    missing = [
      function
      for function in dict.fromkeys(functions)
      if (self.groups, function) not in self._memo
    ]
    if missing:
      found = self._pass_sums(tuple(missing), ((),) * len(missing))
      for function, sums in zip(missing, found, strict=True):
        self._memo[self.groups, function] = sums

  def _pass_sums(self, functions, arguments):
    fields = {function.reads for function in functions}
    for field in fields:
      if not self.has(field):
        raise validation.InputError(f"{self.name} has no {field}")
    unchecked = sorted(fields - self._checked)
    sums = passes.over(self, fields).sums(functions, arguments, check=unchecked)
    self._checked.update(unchecked)
    return sums

  def map(
    self, field: str, function: Callable[..., Any], *arguments: Any
  ) -> storage.Store:
    """Applies a function of one field to all examples, on the devices.

    Args:
      field: `probs`, or `features` (shifted and scaled as for sums).
      function: `(rows [B, K], *arguments) -> [B, L]`.
      *arguments: arrays.

    Returns:
      A store of the results, `[n, L]`, under the name of the field. On several
      hosts, each has the results of its own examples.

    Raises:
      InputError: if rows of `probs` or `features` have faults.
    """
    self.check(field)
    return passes.over(self, {field}).map(field, function, arguments)
