"""Collects what an HTML report shows: confusions, surprising labels, copies."""

from collections import Counter
from collections.abc import Callable, Mapping, Sequence
import contextlib
import dataclasses
import io
import os
from typing import Any

import numpy as np

from leep_jax import scores as scores_lib, validation
from leep_jax.data import duplicates
from leep_jax.engine import outputs as outputs_lib
from leep_jax.reports import (
  html_report,
  score_report,
  scored_source,
  tables,
)
from leep_jax.scores import head_predictions

_MOST_IMAGES = 24
_MOST_NAMES = 6  # of copies of one image
_SIDE, _QUALITY = 128, 80


def predictions(
  outputs: outputs_lib.Outputs,
  uninformative: Mapping[str, scores_lib.Uninformative],
) -> head_predictions.Judged | None:
  """Returns the held-out predictions of a new head, if there can be one.

  Those of `probe_predictions` also hold all probabilities, which for many
  sources with many classes need too much memory.

  Args:
    outputs: of a source.
    uninformative: see `scores.uninformative`: constant features predict
      nothing.

  Example:
    >>> import leep_jax
    >>> from leep_jax.reports import page_content
    >>> outputs = leep_jax.Outputs.from_arrays(
    ...   features=[[0.0], [0.1], [1.0], [1.1]], labels=[0, 0, 1, 1])
    >>> page_content.predictions(outputs, {}).predicted.tolist()
    [0, 0, 1, 1]
    >>> without = leep_jax.Outputs.from_arrays(
    ...   probs=[[0.5, 0.5], [0.2, 0.8]], labels=[0, 1])
    >>> page_content.predictions(without, {}) is None
    True
  """
  features = uninformative.get("features")
  if features is not None and features.constant:
    return None
  if not (outputs.has("features") and outputs.has("labels")):
    return None
  try:
    return head_predictions.judged(outputs)
  except validation.InputError:  # the score probe_accuracy says why
    return None


def page(
  scored: Sequence[scored_source.ScoredSource],
  names: Sequence[str],
  *,
  best: Mapping[str, list[bool]] | None,
  command: str = "",
  search: bool = True,
  progress: Callable[[int, int], None] | None = None,
) -> html_report.Page:
  """Collects what a page shows of scored sources.

  Args:
    scored: the sources. Those with `predictions` are judges of the labels; the
      `dataset` of the first has the images and the names of classes and files.
    names: of scores, the first of which ranks.
    best: see `score_report.best_sources`.
    command: that makes the page.
    search: whether to search for equal images, which reads all of them.
    progress: called with the numbers of images that were searched and of all.

  Example:
    >>> import numpy as np
    >>> from leep_jax.reports import page_content, scored_source
    >>> row = {
    ...   "model": "mine", "dataset": "predictions", "split": "all",
    ...   "num_examples": 2, "num_target_classes": 2, "note": None, "nce": -0.5,
    ... }
    >>> scored = scored_source.ScoredSource(row, {}, {}, np.array([0, 1]))
    >>> page = page_content.page([scored], ["nce"], best=None)
    >>> page.judges, page.copies_found is None
    (0, True)
  """
  sentences, remarks = score_report.page_lines(scored, names, best)
  found = html_report.Page(
    dataset=scored_source.dataset_and_split(scored[0].row),
    sentences=sentences,
    rows=[source.row for source in scored],
    scores=names,
    best=best,
    warnings=[*remarks, *_other_targets(scored)],
    command=command,
  )
  dataset = scored[0].dataset
  judges = [s for s in _ranked(scored, names[0]) if s.predictions is not None]
  if judges:
    # Sources that were scored on other labels judge other examples.
    judges = [s for s in judges if s.has_same_targets(judges[0])]
    found = dataclasses.replace(
      found, **_judged(judges, dataset), judges=len(judges)
    )
  if dataset is None or not search:
    return found
  count = len(dataset)
  try:
    groups = duplicates.find(
      dataset, progress=lambda done: progress(done, count) if progress else None
    )
  except validation.DataError as e:
    # An image is gone since the sources were scored, which still counts.
    problem = f"no search for equal {dataset.noun}: {e}"
    return dataclasses.replace(found, warnings=[*found.warnings, problem])
  return dataclasses.replace(found, **_copies(groups, dataset))


def write(
  path: str | os.PathLike[str],
  scored: Sequence[scored_source.ScoredSource],
  names: Sequence[str],
  **options: Any,
) -> None:
  """Writes the page of scored sources, replacing the file atomically.

  Args:
    path: of the file, `.html` or `.htm`.
    scored: see `page`.
    names: see `page`.
    **options: see `page`.

  Raises:
    InputError: as `html_report.check`.

  Example:
    >>> import pathlib, tempfile
    >>> import numpy as np
    >>> from leep_jax.reports import page_content, scored_source
    >>> row = {
    ...   "model": "mine", "dataset": "predictions", "split": "all",
    ...   "num_examples": 2, "num_target_classes": 2, "note": None, "nce": -0.5,
    ... }
    >>> scored = scored_source.ScoredSource(row, {}, {}, np.array([0, 1]))
    >>> with tempfile.TemporaryDirectory() as folder:
    ...   path = pathlib.Path(folder) / "report.html"
    ...   page_content.write(path, [scored], ["nce"], best=None)
    ...   path.exists()
    True
  """
  html_report.write(path, page(scored, names, **options))


def _other_targets(scored):
  """A warning about sources that were scored on other labels."""
  first, *rest = scored
  others = [s.row["model"] for s in rest if not s.has_same_targets(first)]
  if others:
    yield (
      f"{validation.some(others)} and {first.row['model']} were scored on "
      "different labels: their scores do not compare sources"
    )


def _ranked(scored, name):
  """The sources, best first; those without the score come last."""
  order = tables.best_first([source.row.get(name) for source in scored])
  return [scored[i] for i in order]


def _judged(judges, dataset):
  """The confusion matrix of the first source, and the surprising examples."""
  labels = judges[0].targets
  classes = np.unique(labels)
  confusion = head_predictions.confusion_matrix(
    labels, judges[0].predictions.predicted, classes
  )
  return {
    "source": judges[0].row["model"],
    "class_names": [_class_name(dataset, label) for label in classes],
    "confusion": confusion,
    "surprising": [
      _surprising(position, labels[position], judges, dataset)
      for position in surprising(labels, [s.predictions for s in judges])
    ],
  }


def surprising(
  labels: np.ndarray, found: Sequence[head_predictions.Judged]
) -> np.ndarray:
  """Returns the examples whose labels are least expected, at most 24.

  Of those that more than half of the sources predict wrongly, these have the
  lowest probability of the label, by the mean of its logarithm.

  Args:
    labels: `[n]`.
    found: predictions of each source.

  Example:
    >>> import numpy as np
    >>> from leep_jax.reports import page_content
    >>> from leep_jax.scores import head_predictions
    >>> judged = head_predictions.Judged(
    ...   np.array([0, 1, 1]), np.array([-0.1, -0.2, -5.0]), np.array([5.0]))
    >>> page_content.surprising(np.array([0, 1, 0]), [judged]).tolist()
    [2]
  """
  wrong = np.sum([judged.predicted != labels for judged in found], axis=0)
  mean = np.mean([judged.log_likelihood for judged in found], axis=0)
  most_wrong = np.flatnonzero(2 * wrong > len(found))
  order = np.argsort(mean[most_wrong], kind="stable")
  return most_wrong[order][:_MOST_IMAGES]


def _surprising(position, label, judges, dataset):
  predicted = [int(s.predictions.predicted[position]) for s in judges]
  others = Counter(each for each in predicted if each != label)
  (most, votes), *_ = others.most_common(1)
  mean = np.mean([s.predictions.log_likelihood[position] for s in judges])
  return html_report.Example(
    _name(dataset, position),
    _class_name(dataset, label),
    **_shown(dataset, position),
    predicted=_class_name(dataset, most),
    votes=votes,
    probability=float(np.exp(mean)),
  )


def _copies(groups, dataset):
  """The groups of equal images; those with different labels come first."""
  labels = dataset.labels() if groups else np.zeros(0)
  differ = [len(np.unique(labels[group], axis=0)) > 1 for group in groups]
  order = sorted(range(len(groups)), key=lambda i: not differ[i])
  return {
    "copies": [
      _group(groups[i], labels, dataset) for i in order[:_MOST_IMAGES]
    ],
    "copies_found": len(groups),
    "copies_left_out": sum(len(group) - 1 for group in groups),
  }


def _group(group, labels, dataset):
  # One of each label comes first, so that labels that differ are shown.
  _, first = np.unique(labels[group], axis=0, return_index=True)
  rest = np.setdiff1d(np.arange(len(group)), first)
  shown = group[np.concatenate([np.sort(first), rest])][:_MOST_NAMES]
  return html_report.Copies(
    [
      html_report.Example(
        _name(dataset, position),
        _class_name(dataset, labels[position]),
        **(_shown(dataset, position) if i == 0 else {}),
      )
      for i, position in enumerate(shown)
    ],
    len(group),
  )


def _name(dataset, position):
  return f"example {position}" if dataset is None else dataset.name_of(position)


def _class_name(dataset, label):
  if np.ndim(label):  # real-valued targets
    return ", ".join(f"{number:.4g}" for number in label)
  if dataset is None or dataset.class_names is None:
    return f"{label:.4g}" if isinstance(label, np.floating) else f"{label}"
  return dataset.class_names[label]


def _shown(dataset, position):
  """The thumbnail or text of an example; nothing if there is none."""
  if dataset is None or dataset.inputs == "audio":
    return {}
  with contextlib.suppress(validation.DataError):
    (found,), _ = dataset.fetch(dataset.indices[[position]])
    if dataset.inputs == "text":
      return {"text": " ".join(found.split())}
    return {"image": thumbnail(found)}
  return {}


def thumbnail(image: np.ndarray) -> bytes:
  """Returns a JPEG of at most 128 pixels a side; small images are enlarged.

  Args:
    image: `[H, W, 1 or 3]`, uint8, or floats in [0, 1].

  Example:
    >>> import numpy as np
    >>> from leep_jax.reports import page_content
    >>> page_content.thumbnail(np.zeros((300, 400, 3), np.uint8))[:2]
    b'\\xff\\xd8'
  """
  import PIL.Image

  if image.dtype != np.uint8:
    image = np.round(np.clip(image, 0, 1) * 255).astype(np.uint8)
  if image.shape[2] == 1:
    image = np.repeat(image, 3, axis=2)
  small = PIL.Image.fromarray(image)
  # Each pixel of a small image becomes a square, so that it stays sharp.
  times = _SIDE // max(small.size)
  if times > 1:
    small = small.resize(
      (small.width * times, small.height * times), PIL.Image.Resampling.NEAREST
    )
  small.thumbnail((_SIDE, _SIDE))
  file = io.BytesIO()
  small.save(file, "JPEG", quality=_QUALITY)
  return file.getvalue()
