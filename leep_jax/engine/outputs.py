"""A source model's outputs on a labelled data set, kept for every score.

An `Outputs` holds probabilities, features and labels of n examples, wherever
they fit (device memory, host memory, or files). They can be selected from and
summed over; sums that need nothing but the outputs are remembered, so scores
share them. `forward.compute_outputs` makes one from a source and a data set.

Where several hosts run one job, each may keep a part of the outputs: labels are
those of all examples, and sums are over all of them, the same on every host.
Whatever is then asked of the outputs, all hosts must ask, in the same order.
"""

from collections.abc import Callable, Hashable, Iterable, Iterator
import dataclasses
import functools
import hashlib
import json
import os
import pathlib
from typing import Any

import jax
import numpy as np

from leep_jax import validation
from leep_jax.engine import (
  hosts,
  programs,
  statistics,
  storage,
  sums as sums_lib,
)

_FAULTS = {
  "probs": statistics.probs_faults,
  "features": statistics.features_faults,
}


# Of an array whose rows are on several hosts, how much is brought to each.
_GATHERED_BYTES = 1 << 30


class Outputs:
  """A source's outputs on n labelled examples.

  Build one with `from_arrays`, `from_batches`, `load` or `compute_outputs`.

  Attributes:
    name: what error messages call the source.
    labels: `[n]` int32.
    num_classes: number of classes, also counting those that never occur.
    classes: `[Y]`, the labels that occur, ascending: sums are over these.
    class_counts: `[Y]`, how often each does.
    targets: `[n, T]` float64 targets of regression, or None. Labels are then
      all 0.
    store: where the arrays are.
    share: which examples the store holds: all, or one host's part of them.
    groups: G, the number of groups of examples for which sums are kept apart;
      example i belongs to group i modulo G.
    without_probs: why there are no probabilities, see `Source`; or empty.
    data: which examples of which data these are, where that is known.
  """

  def __init__(
    self,
    store: storage.Store,
    labels: np.ndarray | None = None,
    *,
    targets: np.ndarray | None = None,
    num_classes: int | None = None,
    name: str = "outputs",
    share: slice | None = None,
    without_probs: str = "",
    data: str = "",
  ):
    self.store = store
    self.data = data
    self.name = name
    self.without_probs = without_probs
    self.targets = targets
    if targets is not None:
      labels = np.zeros(len(targets), np.int32)
    self.labels = validation.class_labels(labels, num_classes=num_classes)
    if num_classes is None:
      validation.note_unused_classes(self.labels)
    self.num_classes = int(num_classes or self.labels.max() + 1)
    # Sums are over the classes that occur: others have no part in any score.
    self.classes, self._codes, self.class_counts = _compact(self.labels)
    self.over_hosts = share is not None
    self.share = share or slice(0, len(self.labels))
    self.groups = 1
    # Sums and what is made of them, by the number of groups and the function;
    # all views of the same outputs share it.
    self._memo: dict[tuple[int, Hashable], Any] = {}
    self._checked: set[str] = set()

  @classmethod
  def from_arrays(
    cls,
    *,
    labels: Any = None,
    targets: Any = None,
    probs: Any = None,
    logits: Any = None,
    features: Any = None,
    outputs: Any = None,
    num_classes: int | None = None,
    name: str = "outputs",
  ) -> "Outputs":
    """Wraps arrays of any framework, without copying NumPy ones.

    Args:
      labels: `[n]` integers.
      targets: `[n, T]` or `[n]` real numbers, instead of labels: a regression.
      probs: `[n, Z]`, rows that sum to 1, or None.
      logits: `[n, Z]` instead of `probs`; their softmax is taken.
      features: `[n, D]`, or None.
      outputs: `[n, K]` real numbers that a regressor predicts, or None.
      num_classes: Y; by default the largest label plus 1.
      name: what error messages call the source.

    Raises:
      InputError: if shapes, lengths or labels are not as above.
    """
    if labels is None and targets is None:
      raise validation.InputError(f"{name} has neither labels nor targets")
    if labels is not None and targets is not None:
      raise validation.InputError(
        f"{name} has both labels (classes) and targets (real numbers): pass "
        "one of them"
      )
    if labels is not None:
      labels = validation.class_labels(labels, num_classes=num_classes)
    else:
      targets = validation.real_targets(targets)
    if probs is not None and logits is not None:
      raise validation.InputError(f"{name} has both probs and logits: pass one")
    count = len(targets if labels is None else labels)
    what = "targets" if labels is None else "labels"
    arrays = {}
    if logits is not None:
      probs = _softmax(validation.rows("logits", logits, count, what), name)
    if probs is not None:
      arrays["probs"] = validation.rows("probs", probs, count, what)
    if features is not None:
      arrays["features"] = validation.rows("features", features, count, what)
    if outputs is not None:
      arrays["outputs"] = validation.rows("outputs", outputs, count, what)
    if not arrays:
      raise validation.InputError(
        f"{name} has neither probs, logits nor features"
      )
    return cls(
      storage.HostArrays(arrays),
      labels,
      targets=targets,
      num_classes=num_classes,
      name=name,
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
      InputError: as `from_arrays`; or if there is no batch, or batches differ
        in what they hold.
    """
    parts: dict[str, list[np.ndarray]] = {}
    keys: set[str] | None = None
    if not isinstance(batches, Iterable):
      raise validation.InputError(
        f"batches of {name} are a {type(batches).__name__}, which cannot be "
        "iterated"
      )
    for batch in batches:
      if not isinstance(batch, dict):
        if not isinstance(batch, (tuple, list)) or len(batch) != 2:
          raise validation.InputError(
            f"a batch of {name} is a {type(batch).__name__}, neither a "
            "dictionary nor a pair (probs, labels)"
          )
        batch = dict(zip(("probs", "labels"), batch, strict=True))
      unknown = set(batch) - {
        "probs", "logits", "features", "outputs", "labels", "targets",
      }  # fmt: skip
      if unknown or not {"labels", "targets"} & set(batch):
        raise validation.InputError(
          f"a batch of {name} has {', '.join(sorted(batch))}; it needs labels "
          "(or targets) and probs or logits or features"
        )
      batch = {key: validation.as_array(key, v) for key, v in batch.items()}
      lengths = {key: len(np.atleast_1d(v)) for key, v in batch.items()}
      if len(set(lengths.values())) > 1:
        raise validation.InputError(f"a batch of {name} has lengths {lengths}")
      if keys is not None and set(batch) != keys:
        raise validation.InputError(
          f"a batch of {name} has {', '.join(sorted(batch))}, an earlier one "
          f"{', '.join(sorted(keys))}"
        )
      keys = set(batch)
      for key, value in batch.items():
        # Copied: whoever yields batches may reuse a buffer.
        parts.setdefault(key, []).append(np.array(value))
    if not parts:
      raise validation.InputError(f"there are no examples: {name} had no batch")
    try:
      arrays = {key: np.concatenate(value) for key, value in parts.items()}
    except ValueError as e:
      raise validation.InputError(
        f"batches of {name} do not fit together: {e}"
      ) from e
    return cls.from_arrays(**arrays, num_classes=num_classes, name=name)

  @classmethod
  def load(cls, directory: str | os.PathLike[str]) -> "Outputs":
    """Opens what `save` wrote; arrays stay in their memory-mapped files.

    Raises:
      InputError: if there are no complete outputs in the folder.
    """
    root = pathlib.Path(directory)
    try:
      manifest = json.loads((root / storage.MANIFEST).read_text())
      arrays = {
        key: storage.FileArray(root / f"{key}.npy")
        for key in manifest["arrays"]
      }
      truth = {
        key: np.load(root / f"{key}.npy", allow_pickle=False)
        for key in manifest.get("truth", ["labels"])
      }
    except (OSError, ValueError, KeyError) as e:
      raise validation.InputError(
        f"no outputs to load in {root} ({validation.reason(e)})"
      ) from e
    for key, array in arrays.items():
      for what, values in truth.items():
        if array.shape[0] != len(values):
          raise validation.InputError(
            f"{root} is damaged: {array.shape[0]} rows of {key}, but "
            f"{len(values)} {what}"
          )
    return cls(
      storage.HostArrays(arrays),
      truth.get("labels"),
      targets=truth.get("targets"),
      num_classes=manifest["num_classes"],
      name=manifest["name"],
      without_probs=manifest.get("without_probs", ""),
    )

  def save(self, directory: str | os.PathLike[str]) -> None:
    """Writes all arrays to a new folder, which appears when it is complete.

    Raises:
      InputError: if the folder exists or cannot be made, or the arrays are
        spread over hosts.
    """
    self._refuse_over_hosts("saved")
    with storage.NewFolder(directory) as files:
      for key in self.store.keys():
        for chunk in self.store.chunks(key):
          files.append(key, chunk)
      files.finish(
        self.truth,
        num_classes=self.num_classes,
        name=self.name,
        without_probs=self.without_probs,
      )

  @property
  def truth(self) -> dict[str, np.ndarray]:
    """What there is to predict, by its name: `labels` or `targets`."""
    if self.targets is not None:
      return {"targets": self.targets}
    return {"labels": self.labels}

  def _of(
    self,
    store: storage.Store,
    truth: dict[str, Any],
    share: slice | None = None,
  ) -> "Outputs":
    """Outputs of these or some of these examples, kept in another store."""
    return Outputs(
      store,
      **truth,
      num_classes=self.num_classes,
      name=self.name,
      share=share if self.over_hosts else None,
      without_probs=self.without_probs,
    )

  def join_hosts(self) -> "Outputs":
    """Joins this host's outputs to those of the other hosts, in their order.

    Every host keeps its arrays, and knows the labels of all.

    Raises:
      LostHost: if a host has died.
    """
    if hosts.count() == 1:
      return self
    ((key, mine),) = self.truth.items()
    parts = hosts.gather(mine)
    start = sum(map(len, parts[: hosts.index()]))
    counts = hosts.gather(np.asarray([self.num_classes]))
    truth: dict[str, Any] = {key: np.concatenate(parts)}
    return Outputs(
      self.store,
      **truth,
      num_classes=int(np.max(counts)),
      name=self.name,
      share=slice(start, start + len(mine)),
      without_probs=self.without_probs,
    )

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
      what = f"{self.targets.shape[1]} targets"
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
    """One of the arrays, `[n, K]`; those of several hosts are brought here.

    Raises:
      UndefinedScore: if they are too much for that.
    """
    if not self.over_hosts:
      return self.store.array(key)
    size = 4 * len(self) * self.store.shape(key)[1]
    if size > _GATHERED_BYTES:
      raise validation.UndefinedScore(
        f"it needs the {key} of all examples in one place, {size / 2**30:.1f} "
        "GiB, but they are on several hosts: score it on one host"
      )
    return np.concatenate(hosts.gather(self.store.array(key)))

  def has(self, field: str) -> bool:
    """Whether there are `probs`, `features`, `labels` or `targets`.

    Args:
      field: one of these, or `outputs`: those of a regressor, or else `probs`.
    """
    if field in ("labels", "targets"):
      return field in self.truth
    if field == "outputs":
      return bool({"outputs", "probs"} & set(self.store.keys()))
    return field in self.store.keys()

  def grouped(self, groups: int) -> "Outputs":
    """Returns the same outputs with sums kept apart for groups of examples.

    Args:
      groups: G, at most n of which there will be.

    Raises:
      InputError: if there are too few examples for one of each group on each
        of several hosts.
    """
    validation.at_least_1("groups", groups)
    if self.over_hosts and len(self) < groups * hosts.count():
      raise validation.InputError(
        f"{len(self)} examples are too few for {groups} groups on each of "
        f"{hosts.count()} hosts: use fewer hosts or groups"
      )
    same = self.with_features(self.store)
    same._checked, same._memo = self._checked, self._memo
    same.data = self.data
    same.groups = min(groups, len(self))
    return same

  @property
  def whole(self) -> "Outputs":
    """The same outputs with sums over all examples alone."""
    return self if self.groups == 1 else self.grouped(1)

  def features_of_group(self, group: int) -> "Outputs":
    """Returns the features of one group, whose sums fit those of all.

    Args:
      group: from 0 to G - 1.
    """
    rows = slice(group, None, self.groups)
    start = self.share.start
    mine = slice((group - start) % self.groups, None, self.groups)
    features = self.once(_host_features)[mine]
    before = len(range(group, start, self.groups))
    part = self._of(
      storage.HostArrays({"features": features}),
      {key: values[rows] for key, values in self.truth.items()},
      slice(before, before + len(features)),
    )
    part.classes, part._codes = self.classes, self._codes[rows]
    part._checked = self._checked
    for centre in (_feature_centre, _target_centre):
      if centre is _feature_centre or self.targets is not None:
        part._memo[part.groups, centre] = self.once(centre)
    return part

  def once(
    self,
    function: Callable[["Outputs"], Any],
    *,
    key: Hashable | None = None,
  ) -> Any:
    """Returns `function(self)`, computed the first time and remembered.

    Args:
      function: of these outputs.
      key: what it is remembered under; by default the function itself.
    """
    place = (self.groups, function if key is None else key)
    if place not in self._memo:
      self._memo[place] = function(self)
    return self._memo[place]

  @property
  def examples(self) -> str:
    """A digest of the labels or targets and their order, 16 hex digits.

    Where the data are known, a colon and a digest of them follow.
    """
    return self.once(_digest)

  @property
  def group_of(self) -> np.ndarray:
    """`[n]`, the group of each example."""
    return np.arange(len(self)) % self.groups

  @property
  def group_counts(self) -> np.ndarray:
    """`[G, Y]` float64, how often each class occurs in each group."""
    cells = self.group_of * len(self.classes) + self._codes
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
    """Shift `[D]` and scale: sums over features are of (f - shift) / scale.

    Near the mean and the typical deviation of the first chunk, so that sums of
    squares neither cancel nor overflow. The shift is float32 unless the
    features are float64.
    """
    return self.once(_feature_centre)

  @property
  def target_centre(self) -> tuple[np.ndarray, np.ndarray]:
    """Mean and scale `[T]`: sums over targets are of (t - mean) / scale."""
    return self.once(_target_centre)

  def feature_chunks(self) -> Iterator[np.ndarray]:
    """Yields the features `[m, D]` on the host, piece by piece, in order."""
    if self.over_hosts:
      return iter((self._array("features"),))
    return self.store.chunks("features")

  def select(self, indices: Any) -> "Outputs":
    """Returns the outputs of some examples, in the order asked for.

    Args:
      indices: `[m]` integers, or `[n]` booleans.

    Raises:
      InputError: if there are no such examples, or they are spread over hosts.
    """
    self._refuse_over_hosts("selected from")
    try:
      truth = {key: values[indices] for key, values in self.truth.items()}
    except (IndexError, TypeError) as e:
      raise validation.InputError(
        f"cannot select from {len(self)} examples: {validation.reason(e)}"
      ) from e
    arrays = {k: self.store.array(k)[indices] for k in self.store.keys()}
    return self._of(storage.HostArrays(arrays), truth)

  def with_features(self, features: storage.Store) -> "Outputs":
    """Returns the same examples and groups with other features.

    Args:
      features: a store of the same rows, under the name `features`.
    """
    other = self._of(features, self.truth, self.share)
    other.groups = self.groups
    return other

  def sum(self, function: Callable[..., Any], *arguments: Any) -> Any:
    """Sums a statistic over all examples.

    Args:
      function: one of `statistics`, or a function like those.
      *arguments: arrays it takes after the batch. Without any, the sum is
        remembered.

    Returns:
      What `function` returns, as float64 arrays on the host.

    Raises:
      InputError: as `group_sums`.
    """
    sums = self.group_sums(function, *arguments)
    return jax.tree.map(lambda x: x.sum(axis=0), sums)

  def group_sums(self, function: Callable[..., Any], *arguments: Any) -> Any:
    """Sums a statistic over the examples of each group.

    Args:
      function: as of `sum`.
      *arguments: as of `sum`.

    Returns:
      What `function` returns, as float64 arrays `[G, ...]` on the host.

    Raises:
      InputError: if the outputs lack what it reads, rows of `probs` are not
        distributions, or features are not finite.
    """
    if arguments:
      return self._look((function,), (arguments,))[0]
    self.sum_all((function,))
    return self._memo[self.groups, function]

  def check(self, field: str) -> None:
    """Looks at `probs` or `features`, if no sum has done so.

    Raises:
      InputError: as `group_sums`.
    """
    if field not in self._checked:
      self.whole.sum(_FAULTS[field])

  def sum_all(self, functions: Iterable[Callable[..., Any]]) -> None:
    """Sums several statistics in one look, for them to be remembered."""
    new = [
      function
      for function in dict.fromkeys(functions)
      if (self.groups, function) not in self._memo
    ]
    for function in new:
      sums = self._sum_on_host(function)
      if sums is not None:
        self._memo[self.groups, function] = sums
    new = [f for f in new if (self.groups, f) not in self._memo]
    if new:
      found = self._look(tuple(new), ((),) * len(new))
      for function, sums in zip(new, found, strict=True):
        self._memo[self.groups, function] = sums

  def _sum_on_host(self, function):
    """Sums a statistic by NumPy, or returns None where devices do that."""
    field = function.reads
    if (
      function.on_host is None
      or self.over_hosts
      or jax.default_backend() != "cpu"
      or not self.has(field)
    ):
      return None
    chunks = self.store.host_chunks(field)
    if chunks is None:
      return None
    rows = self.group_of * len(self.classes) + self._codes
    count = self.groups * len(self.classes)
    sums = function.on_host(chunks, rows, count)
    if sums is None:
      return None
    self._checked.add(field)
    return sums.reshape(self.groups, len(self.classes), *sums.shape[1:])

  def map(
    self, field: str, function: Callable[..., Any], *arguments: Any
  ) -> storage.Store:
    """Applies a function of one field to all examples, on the devices.

    Args:
      field: `probs`, or `features` (shifted and scaled as for sums).
      function: `(rows [B, K], *arguments) -> [B, L]`.
      *arguments: arrays.

    Returns:
      A store of the results, `[n, L]` under the name of the field; of one
      host's examples where the others keep theirs.

    Raises:
      InputError: if rows of `probs` are not distributions, or features are
        not finite.
    """
    self.check(field)
    shift, truth = self._truth({field})
    placed = programs.replicate((arguments, shift))
    spread = _mapped(field, function)
    parts = []
    for batch in self.store.batches([field], truth):
      count = int(batch.weights.sum())  # any batch may end in padding
      parts.append(({field: spread(placed, batch)}, count))
    return storage.DeviceArrays(parts)

  def _truth(self, fields):
    """Shift and scale of the features, and what else makes a batch."""
    shift, centre = None, None
    if "features" in fields:
      shift, scale = self.feature_centre
      wide = self.store.is_wide("features")
      centre = (shift * 0 if wide else shift).astype(np.float32), scale
    targets = None
    if self.targets is not None:
      mean, unit = self.target_centre
      targets = self.targets[self.share]
      targets = ((targets - mean) / unit).astype(np.float32)
    return centre, storage.BatchContext(
      labels=self._codes[self.share],
      num_classes=len(self.classes),
      targets=targets,
      centre=shift,
      grouped=self.groups > 1,
    )

  def _batches(self, fields, truth):
    """Batches of the store that know their place among all examples."""
    for batch in self.store.batches(fields, truth):
      place = np.int32(self.share.start)
      yield dataclasses.replace(batch, start=batch.start + place)

  def _look(self, functions, arguments):
    fields = {function.reads for function in functions}
    for field in fields:
      if not self.has(field):
        raise validation.InputError(f"{self.name} has no {field}")
    unchecked = sorted(fields - self._checked)
    guards = tuple(
      _FAULTS[field] for field in unchecked if _FAULTS[field] not in functions
    )
    centre, truth = self._truth(fields)
    results = sums_lib.sum_batches(
      guards + functions,
      self._batches(sorted(fields), truth),
      ((),) * len(guards) + tuple(arguments),
      centre=centre,
      groups=self.groups,
      over_hosts=self.over_hosts,
    )
    found = dict(zip(guards + functions, results, strict=True))
    for field in unchecked:
      faults = {k: v.sum() for k, v in found[_FAULTS[field]].items()}
      _refuse(field, faults, len(self), self.name)
    self._checked.update(unchecked)
    if not all(np.all(np.isfinite(x)) for x in jax.tree.leaves(results)):
      raise validation.InputError(
        f"{' and '.join(sorted(fields))} of {self.name} are so large that "
        "their sums overflow float32"
      )
    return results[len(guards) :]


def _digest(outputs):
  found = hashlib.sha256()
  for key, values in outputs.truth.items():
    found.update(f"{key} {values.shape} {values.dtype}".encode())
    found.update(np.ascontiguousarray(values).data)
  digest = found.hexdigest()[:16]
  if not outputs.data:
    return digest
  data = outputs.data.encode(errors="surrogateescape")  # names of any bytes
  return f"{digest}:{hashlib.sha256(data).hexdigest()[:16]}"


def _host_features(outputs):
  return outputs.store.array("features")


def _target_centre(outputs):
  """Computes `Outputs.target_centre`."""
  if outputs.targets is None:
    raise validation.InputError(f"{outputs.name} has no targets")
  mean = outputs.targets.mean(axis=0)
  scale = np.abs(outputs.targets - mean).max(axis=0)
  return mean, np.where(scale > 0, scale, 1)


def _feature_centre(outputs):
  """Computes `Outputs.feature_centre`."""
  store = outputs.store
  first = np.asarray(next(iter(store.chunks("features"))), np.float64)
  with np.errstate(over="ignore", invalid="ignore"):
    shift = np.nan_to_num(first.mean(axis=0), posinf=0, neginf=0)
    if not store.is_wide("features"):
      shift = shift.astype(np.float32)
    scale = np.float32(np.abs(first - shift).mean())
  usable = np.isfinite(scale) and scale > np.finfo(np.float32).tiny
  scale = scale if usable else np.float32(1)
  if outputs.over_hosts:  # they need the same: that of the first
    shift = hosts.gather(shift)[0]
    scale = hosts.gather(np.asarray([scale]))[0][0]
  return shift, scale


@functools.lru_cache(maxsize=64)
def _mapped(field, function):
  """`function` of one field of a batch, over the devices; compiled once."""

  def apply(placed, batch):
    arguments, centre = placed
    rows = getattr(batch, field)
    if field == "features":
      shift, scale = centre
      rows = (rows.astype(np.float32) - shift[None]) / scale
    return function(rows, *arguments)

  return programs.parallel(apply)


def _compact(labels):
  """Labels that occur, each example's place among them, and their counts."""
  if labels.max() > 1_000_000:  # numbers of another kind, such as identifiers
    classes, codes, counts = np.unique(
      labels, return_inverse=True, return_counts=True
    )
    return classes, codes.astype(np.int32), counts
  counts = np.bincount(labels)
  classes = np.flatnonzero(counts)
  places = np.cumsum(counts > 0, dtype=np.int32) - 1
  return classes, places[labels], counts[classes]


def _refuse(field, faults, count, name):
  """Raises for the faults that a first look counted."""
  if faults["not_finite"]:
    beyond = ", or values beyond float32" if field == "features" else ""
    raise validation.InputError(
      f"{field} of {name}: {faults['not_finite']:.0f} of {count} rows hold "
      f"NaN or infinity{beyond}"
    )
  if field != "probs":
    return
  if faults["negative"]:
    raise validation.InputError(
      f"probs of {name}: {faults['negative']:.0f} of {count} rows hold "
      "negative entries: are these logits? Pass them as logits"
    )
  if faults["off"]:
    mean = faults["off_sum"] / faults["off"]
    if not faults["above"] and abs(mean - 1) < 0.05:
      hint = "are they rounded? Divide each row by its sum"
    elif not faults["above"]:
      hint = (
        "is there a sigmoid for each of several labels? These scores need one "
        "distribution over labels of which one is true"
      )
    elif abs(mean - 100) < 1:
      hint = "are these percentages? Divide by 100"
    else:
      hint = "are these logits? Pass them as logits"
    raise validation.InputError(
      f"probs of {name}: {faults['off']:.0f} of {count} rows do not sum to 1, "
      f"but to {mean:.4g} on average: {hint}"
    )


def _softmax(logits: np.ndarray, name: str) -> np.ndarray:
  """`[n, Z]` float32; minus infinity is a probability of 0.

  Raises:
    InputError: if logits are not finite, or are probabilities.
  """
  bits = -1
  probs = np.empty(logits.shape, np.float32)
  for start in range(0, len(logits), 4096):
    part = logits[start : start + 4096].astype(np.float64)
    top = part.max(axis=1, keepdims=True)
    if not np.all(np.isfinite(top)):  # the largest shows NaN and infinity
      raise validation.InputError(
        f"logits of {name}: {np.sum(~np.isfinite(top))} of {len(part)} rows "
        f"from row {start} hold NaN or infinity"
      )
    kinds = statistics.looks_like(part)
    bits &= int(np.bitwise_and.reduce(kinds))
    part = np.exp(part - top)
    probs[start : start + 4096] = part / part.sum(axis=1, keepdims=True)
  if len(logits) and bits & statistics.IS_DISTRIBUTION:
    raise validation.InputError(
      f"logits of {name} are probabilities: every row is non-negative and sums "
      "to 1 (or 100 %). Pass them as probs, each row divided by its sum"
    )
  return probs
