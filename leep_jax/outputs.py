"""A source model's outputs on a labelled data set, kept for every score.

An `Outputs` holds probabilities, features and labels of n examples, wherever
they fit (device memory, host memory, or files). They can be selected from and
summed over; sums that need nothing but the outputs are remembered, so scores
share them. `forward.compute_outputs` makes one from a source and a data set.
"""

from collections.abc import Callable, Iterable
import json
import os
import pathlib
from typing import Any

import numpy as np

from leep_jax import checks, devices, statistics, storage

_FAULTS = {
  "probs": statistics.probs_faults,
  "features": statistics.features_faults,
}


class Outputs:
  """A source's outputs on n labelled examples.

  Build one with `from_arrays`, `from_batches`, `load` or `compute_outputs`.

  Attributes:
    name: what error messages call the source.
    labels: `[n]` int32.
    num_classes: Y, also counting classes that never occur.
  """

  def __init__(
    self,
    store: storage.Store,
    labels: np.ndarray,
    *,
    num_classes: int | None = None,
    name: str = "outputs",
  ):
    self._store = store
    self.name = name
    self.labels = checks.class_labels(labels, num_classes=num_classes)
    self.num_classes = int(num_classes or self.labels.max() + 1)
    self._sums: dict[Callable[..., Any], Any] = {}
    self._checked: set[str] = set()
    self._shift: np.ndarray | None = None

  @classmethod
  def from_arrays(
    cls,
    *,
    labels: Any,
    probs: Any = None,
    logits: Any = None,
    features: Any = None,
    num_classes: int | None = None,
    name: str = "outputs",
  ) -> "Outputs":
    """Wraps arrays of any framework, without copying NumPy ones.

    Args:
      labels: `[n]` integers.
      probs: `[n, Z]`, rows that sum to 1, or None.
      logits: `[n, Z]` instead of `probs`; their softmax is taken.
      features: `[n, D]`, or None.
      num_classes: Y; by default the largest label plus 1.
      name: what error messages call the source.

    Raises:
      InputError: if shapes, lengths or labels are not as above.
    """
    labels = checks.class_labels(labels, num_classes=num_classes)
    if probs is not None and logits is not None:
      raise checks.InputError(f"{name} has both probs and logits: pass one")
    arrays = {}
    if logits is not None:
      probs = _softmax(checks.rows("logits", logits, len(labels)))
    if probs is not None:
      arrays["probs"] = checks.rows("probs", probs, len(labels))
    if features is not None:
      arrays["features"] = checks.rows("features", features, len(labels))
    if not arrays:
      raise checks.InputError(f"{name} has neither probs, logits nor features")
    return cls(
      storage.HostArrays(arrays), labels, num_classes=num_classes, name=name
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
    for batch in batches:
      if not isinstance(batch, dict):
        batch = dict(zip(("probs", "labels"), batch, strict=True))
      if keys is not None and set(batch) != keys:
        raise checks.InputError(
          f"a batch of {name} has {', '.join(sorted(batch))}, an earlier one "
          f"{', '.join(sorted(keys))}"
        )
      keys = set(batch)
      for key, value in batch.items():
        # Copied: whoever yields batches may reuse a buffer.
        parts.setdefault(key, []).append(np.array(value))
    if not parts:
      raise checks.InputError(f"there are no examples: {name} had no batch")
    try:
      arrays = {key: np.concatenate(value) for key, value in parts.items()}
    except ValueError as e:
      raise checks.InputError(
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
      labels = np.load(root / "labels.npy", allow_pickle=False)
    except (OSError, ValueError, KeyError) as e:
      raise checks.InputError(
        f"no outputs to load in {root} ({checks.reason(e)})"
      ) from e
    for key, array in arrays.items():
      if array.shape[0] != len(labels):
        raise checks.InputError(
          f"{root} is damaged: {array.shape[0]} rows of {key}, but "
          f"{len(labels)} labels"
        )
    return cls(
      storage.HostArrays(arrays),
      labels,
      num_classes=manifest["num_classes"],
      name=manifest["name"],
    )

  def save(self, directory: str | os.PathLike[str]) -> None:
    """Writes all arrays to a new folder, which appears when it is complete.

    Raises:
      InputError: if the folder exists or cannot be made.
    """
    with storage.NewFolder(directory) as files:
      for key in self._store.keys():
        for chunk in self._store.chunks(key):
          files.append(key, chunk)
      files.finish(self.labels, num_classes=self.num_classes, name=self.name)

  def __len__(self) -> int:
    return len(self.labels)

  def __repr__(self) -> str:
    sizes = ", ".join(f"{k}={self._store.shape(k)}" for k in self._store.keys())
    return f"Outputs({self.name}: {sizes}, {self.num_classes} classes)"

  @property
  def probs(self) -> np.ndarray | None:
    """`[n, Z]` probabilities on the host (memory-mapped if on disk)."""
    return self._store.array("probs") if self.has("probs") else None

  @property
  def features(self) -> np.ndarray | None:
    """`[n, D]` features on the host (memory-mapped if on disk), or None."""
    return self._store.array("features") if self.has("features") else None

  def has(self, field: str) -> bool:
    """Whether there are `probs` or `features`."""
    return field in self._store.keys()

  @property
  def num_source_classes(self) -> int | None:
    """Z, or None without probabilities."""
    return self._store.shape("probs")[1] if self.has("probs") else None

  @property
  def num_features(self) -> int | None:
    """D, or None without features."""
    return self._store.shape("features")[1] if self.has("features") else None

  @property
  def feature_shift(self) -> np.ndarray:
    """`[D]` float32 that sums over features subtract: near their mean."""
    if self._shift is None:
      first = next(iter(self._store.chunks("features")))
      mean = np.asarray(first, np.float64).mean(axis=0)
      self._shift = np.nan_to_num(mean).astype(np.float32)
    return self._shift

  def select(self, indices: Any) -> "Outputs":
    """Returns the outputs of some examples, in the order asked for.

    Args:
      indices: `[m]` integers, or `[n]` booleans.
    """
    arrays = {k: self._store.array(k)[indices] for k in self._store.keys()}
    return Outputs(
      storage.HostArrays(arrays),
      self.labels[indices],
      num_classes=self.num_classes,
      name=self.name,
    )

  def sum(self, function: Callable[..., Any], *arguments: Any) -> Any:
    """Sums a statistic over all examples.

    Args:
      function: one of `statistics`, or a function like those.
      *arguments: arrays it takes after the batch. Without any, the sum is
        remembered.

    Returns:
      What `function` returns, as float64 arrays on the host.

    Raises:
      InputError: if the outputs lack what it reads, rows of `probs` are not
        distributions, or features are not finite.
    """
    if arguments:
      return self._look((function,), (arguments,))[0]
    if function not in self._sums:
      self.sum_all((function,))
    return self._sums[function]

  def sum_all(self, functions: Iterable[Callable[..., Any]]) -> None:
    """Sums several statistics in one look, for `sum` to remember."""
    new = tuple(dict.fromkeys(f for f in functions if f not in self._sums))
    if new:
      self._sums.update(
        zip(new, self._look(new, ((),) * len(new)), strict=True)
      )

  def map_probs(
    self, function: Callable[..., Any], *arguments: Any
  ) -> np.ndarray:
    """Applies a function of probabilities to all examples, in chunks.

    Args:
      function: `(probs [B, Z], *arguments) -> [B, K]`.
      *arguments: arrays.

    Returns:
      `[n, K]` on the host.

    Raises:
      InputError: if rows of `probs` are not distributions.
    """
    self.sum(statistics.probs_faults)  # looks at the probabilities, so checks

    spread = devices.parallel(lambda extra, probs: function(probs, *extra))
    placed = devices.replicate(arguments)
    batches = self._store.batches(["probs"], self.labels, self.num_classes)
    parts = [storage.on_host(spread(placed, batch.probs)) for batch in batches]
    return np.concatenate(parts)[: len(self)]

  def _look(self, functions, arguments):
    fields = {function.reads for function in functions}
    for field in fields:
      if not self.has(field):
        raise checks.InputError(f"{self.name} has no {field}")
    unchecked = sorted(fields - self._checked)
    guards = tuple(_FAULTS[field] for field in unchecked)
    shift = self.feature_shift if "features" in fields else None
    results = devices.sum_batches(
      guards + functions,
      self._store.batches(sorted(fields), self.labels, self.num_classes),
      ((),) * len(guards) + tuple(arguments),
      shift=shift,
    )
    for field, faults in zip(unchecked, results, strict=False):
      _refuse(field, faults, len(self), self.name)
    self._checked.update(unchecked)
    return results[len(guards) :]


def _refuse(field, faults, count, name):
  """Raises for the faults that a first look counted."""
  if faults["not_finite"]:
    raise checks.InputError(
      f"{field} of {name}: {faults['not_finite']:.0f} of {count} rows hold "
      "NaN or infinity"
    )
  if field != "probs":
    return
  if faults["negative"]:
    raise checks.InputError(
      f"probs of {name}: {faults['negative']:.0f} of {count} rows hold "
      "negative entries: are these logits? Pass their softmax"
    )
  if faults["off"]:
    raise checks.InputError(
      f"probs of {name}: {faults['off']:.0f} of {count} rows do not sum to 1, "
      f"but to {faults['off_sum'] / faults['off']:.4g} on average: are these "
      "logits? Pass their softmax"
    )


def _softmax(logits: np.ndarray) -> np.ndarray:
  probs = np.empty(logits.shape, np.float32)
  for start in range(0, len(logits), 4096):
    part = logits[start : start + 4096].astype(np.float32)
    if not np.all(np.isfinite(part)):
      raise checks.InputError("logits hold NaN or infinity")
    part = np.exp(part - part.max(axis=1, keepdims=True))
    probs[start : start + 4096] = part / part.sum(axis=1, keepdims=True)
  return probs
