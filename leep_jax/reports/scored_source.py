"""`ScoredSource`: one source's scores on a data set, and its row of results."""

from collections.abc import Mapping
import dataclasses
from typing import Any

import numpy as np

from leep_jax import data, version
from leep_jax.engine import outputs as outputs_lib, programs
from leep_jax.scores import head_predictions, jackknife

Estimates = Mapping[str, jackknife.Estimate | None]


@dataclasses.dataclass(frozen=True)
class ScoredSource:
  """One source with its scores on a data set.

  Attributes:
    row: what `--output` writes, see `make_row`.
    estimates: by score; None where it is undefined.
    undefined: by score, why it is undefined.
    targets: of the examples, `[n]` labels, `[n, T]` real-valued targets, or
      `[n, T]` booleans, sets of labels.
    cautions: what a reader of these scores must know, one sentence each.
    predictions: of a new head on its features, if they were asked for.
    dataset: that was scored, if there is one.

  Example:
    >>> import numpy as np
    >>> from leep_jax.reports import scored_source
    >>> a, b = (
    ...   scored_source.ScoredSource({}, {}, {}, np.array(labels))
    ...   for labels in ([0, 1], [1, 1])
    ... )
    >>> a.has_same_targets(b)
    False
  """

  row: dict[str, Any]
  estimates: Estimates
  undefined: Mapping[str, str]
  targets: np.ndarray
  cautions: tuple[str, ...] = ()
  predictions: head_predictions.Judged | None = None
  dataset: data.Dataset | None = None

  @property
  def kind(self) -> str:
    """What the targets are, a key of `scores.TARGET_KINDS`."""
    if self.targets.ndim == 1:
      return "labels"
    return "multi_labels" if self.targets.dtype == bool else "targets"

  def has_same_targets(self, other: "ScoredSource") -> bool:
    """Tells whether both were scored on the same labels or targets."""
    return np.array_equal(self.targets, other.targets)


def make_row(
  model: str,
  outputs: outputs_lib.Outputs,
  estimates: Estimates,
  *,
  dataset: str,
  split: str,
  seconds: float,
  examples_per_second: float | None = None,
  num_parameters: int | None = None,
  note: str | None = None,
  inputs: str = "images",
) -> dict[str, Any]:
  """Returns the row of a source in `--output`.

  Args:
    model: name of the source.
    outputs: what its scores were computed from.
    estimates: by score; None where it is undefined.
    dataset: name of the data set.
    split: of the data set.
    seconds: taken in all, without compilation.
    examples_per_second: of the forward pass; by default of all seconds.
    num_parameters: of the source, if it is known.
    note: a remark on the outputs.
    inputs: what the examples are, see `Dataset.noun`.

  Returns:
    Plain numbers and strings. A score `s` has the columns `s`, `s_se`, `s_low`
    and `s_high`: its value, standard error and interval. Rows of other inputs
    than images have a column `inputs`, those of sets of labels `num_labels`.

  Example:
    >>> import leep_jax
    >>> from leep_jax.reports import scored_source
    >>> outputs = leep_jax.Outputs.from_arrays(
    ...   probs=[[0.9, 0.1], [0.2, 0.8]], labels=[0, 1]
    ... )
    >>> row = scored_source.make_row(
    ...   "mine", outputs, leep_jax.estimate_scores(outputs, names=["nce"]),
    ...   dataset="two", split="all", seconds=0.5,
    ... )
    >>> row["model"], row["nce"], row["examples_per_second"]
    ('mine', 0.0, 4.0)
  """
  return {
    "model": model,
    "dataset": dataset,
    "split": split,
    "num_examples": len(outputs),
    "num_source_classes": outputs.num_source_classes,
    "num_features": outputs.num_features,
    "num_target_classes": None
    if outputs.targets is not None
    else outputs.num_classes,
    **_columns(estimates),
    "note": note,
    "seconds": round(seconds, 3),
    "examples_per_second": round(
      examples_per_second or len(outputs) / seconds, 1
    ),
    "num_parameters": num_parameters,
    "devices": programs.all_device_count(),
    "version": version.__version__,
    **({} if inputs == "images" else {"inputs": inputs}),
    **_labels(outputs),
  }


def _labels(outputs):
  """How many labels an example can have, if it can have several."""
  if outputs.targets is None or not outputs.multi_label:
    return {}
  return {"num_labels": outputs.targets.shape[1]}


def _columns(estimates):
  """Columns of a row: each score, its standard error and interval."""
  columns: dict[str, float | None] = {}
  for name, estimate in estimates.items():
    error = interval = None
    if estimate is not None:
      error, interval = estimate.standard_error, estimate.interval()
    columns[name] = None if estimate is None else estimate.value
    columns[f"{name}_se"] = error
    columns[f"{name}_low"], columns[f"{name}_high"] = interval or (None, None)
  return columns


def dataset_and_split(row: Mapping[str, Any]) -> str:
  """Returns the name of the data set of a row, with the split if it is a part.

  Args:
    row: of `make_row`.

  Example:
    >>> from leep_jax.reports import scored_source
    >>> scored_source.dataset_and_split({"dataset": "cifar10", "split": "test"})
    'cifar10 test'
  """
  split = row.get("split", "all")
  return row["dataset"] + (f" {split}" if split != "all" else "")
