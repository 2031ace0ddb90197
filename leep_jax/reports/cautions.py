"""What a reader of scores must know before trusting them, one line each.

Some cautions are about one source on these examples (`of_source`), others about
comparing several (`of_comparison`).
"""

from collections.abc import Iterable, Iterator, Mapping, Sequence
import hashlib

import numpy as np

from leep_jax import scores as scores_lib, validation
from leep_jax.engine import outputs as outputs_lib
from leep_jax.reports import tables
from leep_jax.reports.scored_source import ScoredSource
from leep_jax.sources import named

# A class with fewer examples has no reliable held-out recall.
_FEW = 5
# Rows of outputs are compared if they have at most this many numbers in all.
_MOST_COMPARED = 1 << 28


def duplicates(outputs: outputs_lib.Outputs) -> int:
  """Counts the examples whose outputs equal those of an earlier example.

  Images that are there twice have equal outputs; so do, for a poor network,
  images that hardly differ.

  Args:
    outputs: of any source. Those of several hosts, and very large ones, are not
      compared: the count is then 0.

  Example:
    >>> import leep_jax
    >>> from leep_jax.reports import cautions
    >>> outputs = leep_jax.Outputs.from_arrays(
    ...   features=[[1.0, 2.0], [1.0, 3.0], [1.0, 2.0]], labels=[0, 1, 0])
    >>> cautions.duplicates(outputs)
    1
  """
  field = "features" if outputs.has("features") else "probs"
  if outputs.over_hosts or not outputs.has(field):
    return 0
  if np.prod(outputs.store.shape(field)) > _MOST_COMPARED:
    return 0
  seen: set[bytes] = set()
  for chunk in outputs.store.chunks(field):
    for row in np.ascontiguousarray(chunk):
      seen.add(hashlib.blake2b(row.tobytes(), digest_size=12).digest())
  return len(outputs) - len(seen)


def saturated(score: str, outputs: outputs_lib.Outputs) -> str | None:
  """Returns why an H-score says nothing of these outputs, or None.

  With no more examples than features, the features fit any labels, and the
  H-score is the same number for every source.

  Args:
    score: its name.
    outputs: of any source.

  Example:
    >>> import numpy as np
    >>> import leep_jax
    >>> from leep_jax.reports import cautions
    >>> outputs = leep_jax.Outputs.from_arrays(
    ...   features=np.eye(3, 5), labels=[0, 1, 0])
    >>> print(cautions.saturated("h_score", outputs))
    with no more examples (3) than features (5) it is the same number for every
    source; regularized_h_score is not
  """
  width = outputs.num_features
  if score != "h_score" or width is None or len(outputs) > width:
    return None
  return (
    f"with no more examples ({len(outputs):,}) than features ({width:,}) it is "
    "the same number for every source; regularized_h_score is not"
  )


def meaningless(
  names: Iterable[str],
  outputs: outputs_lib.Outputs,
  nothing: Mapping[str, scores_lib.Uninformative],
) -> list[tuple[str, str]]:
  """Returns scores whose number says nothing of the source, and why.

  It would rank as that of a poor, or of a good source.

  Args:
    names: of scores.
    outputs: of the source.
    nothing: as `scores.uninformative` returns it.

  Example:
    >>> import numpy as np
    >>> import leep_jax
    >>> from leep_jax import scores
    >>> from leep_jax.reports import cautions
    >>> outputs = leep_jax.Outputs.from_arrays(
    ...   features=np.ones((4, 2)), labels=[0, 1, 0, 1])
    >>> nothing = scores.uninformative(outputs)
    >>> [s for s, _ in cautions.meaningless(["logme"], outputs, nothing)]
    ['logme']
  """
  found = []
  for score in names:
    what = nothing.get(scores_lib.SCORES[score].needs)
    why = saturated(score, outputs)
    if what is not None and what.constant:
      why = what.why
    if why is not None:
      found.append((score, why))
  return found


def of_source(
  model: str,
  outputs: outputs_lib.Outputs,
  *,
  dataset: str,
  class_names: Sequence[str] | None = None,
  droppable: bool = True,
) -> tuple[str, ...]:
  """Returns the cautions on one source.

  Args:
    model: name of the source.
    outputs: of the source.
    dataset: name of the target data set.
    class_names: of the target's classes, if they are known.
    droppable: whether `--drop_duplicates` could leave duplicates out.

  Example:
    >>> import numpy as np
    >>> import leep_jax
    >>> from leep_jax.reports import cautions
    >>> outputs = leep_jax.Outputs.from_arrays(
    ...   features=np.eye(8, 2), labels=[0, 0, 0, 0, 0, 0, 1, 1])
    >>> for text in cautions.of_source("mine", outputs, dataset="photos"):
    ...   print(text)
    5 of 8 examples have the outputs of another example: they may be duplicates,
    which make held-out scores too high; --drop_duplicates leaves copies out.
    class 1 has 2 examples: what is said of so small a class is chance.
  """
  return tuple(_of_source(model, outputs, dataset, class_names, droppable))


def _of_source(model, outputs, dataset, class_names, droppable):
  entry = {e.name: e for e in named.entries()}.get(model)
  if entry is not None and dataset == entry.data:
    yield (
      f"{model} was trained on {dataset}, whose classes are the target's: it "
      "does better here than on new classes."
    )
  count = duplicates(outputs)
  # A network that gives all examples one output is another finding.
  if 0 < count < len(outputs) - 1:
    advice = "; --drop_duplicates leaves copies out" if droppable else ""
    yield (
      f"{count:,} of {len(outputs):,} examples have the outputs of another "
      "example: they may be duplicates, which make held-out scores too high"
      f"{advice}."
    )
  if outputs.targets is None and len(outputs.classes) == 1:
    yield "All examples have one label: scores say nothing of the source."
  elif outputs.targets is None:
    yield from _small(
      "class", outputs.classes, outputs.class_counts, class_names
    )
  elif outputs.multi_label:
    yield from _of_sets(outputs, class_names)


def _names(labels, names):
  return [str(label) if names is None else names[label] for label in labels]


def _small(what, labels, counts, names) -> Iterator[str]:
  """On classes or labels of few examples."""
  few = np.flatnonzero(counts < _FEW)
  each = _names(labels[few], names)
  plural = tables.count(2, what).removeprefix("2 ")
  if few.size == 1:
    number = tables.count(int(counts[few[0]]), "example")
    yield (
      f"{what} {each[0]} has {number}: what is said of so small a {what} is "
      "chance."
    )
  elif few.size:
    yield (
      f"{few.size} {plural} have fewer than {_FEW} examples "
      f"({validation.some(each)}): what is said of so small {plural} is chance."
    )


def _of_sets(outputs, names) -> Iterator[str]:
  """On labels, of which examples have any number."""
  counts, n = outputs.targets.sum(axis=0).astype(int), len(outputs)
  labels = np.arange(len(counts))
  varies = (counts > 0) & (counts < n)
  if not varies.all():
    each = validation.some(_names(labels[~varies], names))
    yield (
      f"{np.sum(~varies)} of {tables.count(len(counts), 'label')} never or "
      f"always occur ({each}): they are left out of means over labels."
    )
  # What few examples lack is as rare as what few have.
  rare = np.minimum(counts, n - counts)
  yield from _small("label", labels[varies], rare[varies], names)


def of_comparison(
  scored: Sequence[ScoredSource], names: Sequence[str]
) -> list[str]:
  """Returns the cautions on comparing sources, and those on each, once.

  Args:
    scored: the sources.
    names: of the scores that are shown.

  Example:
    >>> import numpy as np
    >>> from leep_jax.reports import cautions, scored_source
    >>> scored = [
    ...   scored_source.ScoredSource(
    ...     {"model": f"m{count}", "num_source_classes": count, "leep": -1.0},
    ...     {}, {}, np.array([0, 1]))
    ...   for count in (10, 1000)
    ... ]
    >>> for text in cautions.of_comparison(scored, ["leep"]):
    ...   print(text)
    Sources differ in their numbers of labels (10 to 1,000): leep is higher for
    more labels, whatever they know.
  """
  found = [text for source in scored for text in source.cautions]
  return [
    *_by_source(scored, found), *_labels(scored, names), *_optimism(scored),
  ]  # fmt: skip


def _by_source(scored, found) -> Iterator[str]:
  """Each caution once; one that all sources have differs only in counts."""
  seen = set()
  for text in found:
    # Sources see the same examples: the first count of duplicates is enough.
    kind = "duplicates" if "may be duplicates" in text else text
    if kind not in seen:
      seen.add(kind)
      yield text


def _labels(scored, names) -> Iterator[str]:
  """On scores that depend on the number of source labels."""
  counts = {s.row.get("num_source_classes") for s in scored} - {None}
  shown = [name for name in ("leep", "nce") if name in names]
  # A label or two more, such as "background", change little.
  if shown and len(counts) > 1 and max(counts) > 1.1 * min(counts):
    are = "is" if len(shown) == 1 else "are"
    yield (
      f"Sources differ in their numbers of labels ({min(counts):,} to "
      f"{max(counts):,}): {' and '.join(shown)} {are} higher for more labels, "
      "whatever they know."
    )


def _optimism(scored) -> Iterator[str]:
  """On scores that are too high by more than sources differ."""
  for name in ("leep", "nce"):
    pairs = [(s.row.get(name), s.row.get(f"{name}_loo")) for s in scored]
    known = [(a, b) for a, b in pairs if a is not None and b is not None]
    if len(known) < 2:
      continue
    values = sorted((a for a, _ in known), reverse=True)
    excess = [a - b for a, b in known]
    if max(excess) - min(excess) > values[0] - values[1]:
      yield (
        f"{name} is {min(excess):.2f} to {max(excess):.2f} nats higher than "
        f"held out ({name}_loo), which varies by more than the best two differ."
      )
