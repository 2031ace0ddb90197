"""A source model's outputs on a labelled data set, kept for every score.

An `Outputs` holds probabilities, features and labels of n examples, wherever
they fit (device memory, host memory, or files). They can be selected from and
summed over; sums that need nothing but the outputs are remembered, so scores
share them. `forward.compute_outputs` makes one from a source and a data set.
"""

from collections.abc import Callable, Iterable, Iterator
import json
import os
import pathlib
from typing import Any

import jax
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
    num_classes: number of classes, also counting those that never occur.
    classes: `[Y]`, the labels that occur, ascending: sums are over these.
    class_counts: `[Y]`, how often each does.
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
    # Sums are over the classes that occur: others have no part in any score.
    self.classes, self._codes, self.class_counts = _compact(self.labels)
    self._sums: dict[Callable[..., Any], Any] = {}
    self._checked: set[str] = set()
    self._centre: tuple[np.ndarray, np.float32] | None = None

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
      probs = _softmax(checks.rows("logits", logits, len(labels)), name)
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
    if not isinstance(batches, Iterable):
      raise checks.InputError(
        f"batches of {name} are a {type(batches).__name__}, which cannot be "
        "iterated"
      )
    for batch in batches:
      if not isinstance(batch, dict):
        if not isinstance(batch, (tuple, list)) or len(batch) != 2:
          raise checks.InputError(
            f"a batch of {name} is a {type(batch).__name__}, neither a "
            "dictionary nor a pair (probs, labels)"
          )
        batch = dict(zip(("probs", "labels"), batch, strict=True))
      unknown = set(batch) - {"probs", "logits", "features", "labels"}
      if unknown or "labels" not in batch:
        raise checks.InputError(
          f"a batch of {name} has {', '.join(sorted(batch))}; it needs labels "
          "and probs or logits or features"
        )
      batch = {key: checks.as_array(key, v) for key, v in batch.items()}
      lengths = {key: len(np.atleast_1d(v)) for key, v in batch.items()}
      if len(set(lengths.values())) > 1:
        raise checks.InputError(f"a batch of {name} has lengths {lengths}")
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
  def feature_centre(self) -> tuple[np.ndarray, np.float32]:
    """Shift `[D]` and scale: sums over features are of (f - shift) / scale.

    Near the mean and the typical deviation of the first chunk, so that sums of
    squares neither cancel nor overflow. The shift is float32 unless the
    features are float64.
    """
    if self._centre is None:
      first = np.asarray(next(iter(self._store.chunks("features"))), np.float64)
      with np.errstate(over="ignore", invalid="ignore"):
        shift = np.nan_to_num(first.mean(axis=0), posinf=0, neginf=0)
        if not self._store.is_wide("features"):
          shift = shift.astype(np.float32)
        scale = np.float32(np.abs(first - shift).mean())
      usable = np.isfinite(scale) and scale > np.finfo(np.float32).tiny
      self._centre = shift, scale if usable else np.float32(1)
    return self._centre

  def feature_chunks(self) -> Iterator[np.ndarray]:
    """Yields the features `[m, D]` on the host, piece by piece, in order."""
    return self._store.chunks("features")

  def select(self, indices: Any) -> "Outputs":
    """Returns the outputs of some examples, in the order asked for.

    Args:
      indices: `[m]` integers, or `[n]` booleans.
    """
    try:
      labels = self.labels[indices]
    except (IndexError, TypeError) as e:
      raise checks.InputError(
        f"cannot select from {len(self)} examples: {checks.reason(e)}"
      ) from e
    arrays = {k: self._store.array(k)[indices] for k in self._store.keys()}
    return Outputs(
      storage.HostArrays(arrays),
      labels,
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
    batches = self._store.batches(
      ["probs"], self._codes, len(self.classes), None
    )
    parts = [storage.on_host(spread(placed, batch.probs)) for batch in batches]
    return np.concatenate(parts)[: len(self)]

  def _look(self, functions, arguments):
    fields = {function.reads for function in functions}
    for field in fields:
      if not self.has(field):
        raise checks.InputError(f"{self.name} has no {field}")
    unchecked = sorted(fields - self._checked)
    guards = tuple(
      _FAULTS[field] for field in unchecked if _FAULTS[field] not in functions
    )
    shift, centre = None, None
    if "features" in fields:
      shift, scale = self.feature_centre
      wide = self._store.is_wide("features")
      centre = (shift * 0 if wide else shift).astype(np.float32), scale
    results = devices.sum_batches(
      guards + functions,
      self._store.batches(
        sorted(fields), self._codes, len(self.classes), shift
      ),
      ((),) * len(guards) + tuple(arguments),
      centre=centre,
    )
    found = dict(zip(guards + functions, results, strict=True))
    for field in unchecked:
      _refuse(field, found[_FAULTS[field]], len(self), self.name)
    self._checked.update(unchecked)
    if not all(np.all(np.isfinite(x)) for x in jax.tree.leaves(results)):
      raise checks.InputError(
        f"{' and '.join(sorted(fields))} of {self.name} are so large that "
        "their sums overflow float32"
      )
    return results[len(guards) :]


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
    raise checks.InputError(
      f"{field} of {name}: {faults['not_finite']:.0f} of {count} rows hold "
      f"NaN or infinity{beyond}"
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


def _softmax(logits: np.ndarray, name: str) -> np.ndarray:
  """`[n, Z]` float32; minus infinity is a probability of 0."""
  probs = np.empty(logits.shape, np.float32)
  for start in range(0, len(logits), 4096):
    part = logits[start : start + 4096].astype(np.float64)
    top = part.max(axis=1, keepdims=True)
    if not np.all(np.isfinite(top)):  # the largest shows NaN and infinity
      raise checks.InputError(
        f"logits of {name}: {np.sum(~np.isfinite(top))} of {len(part)} rows "
        f"from row {start} hold NaN or infinity"
      )
    part = np.exp(part - top)
    probs[start : start + 4096] = part / part.sum(axis=1, keepdims=True)
  return probs
