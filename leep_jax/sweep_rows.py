"""The rows of a sweep: which are missing, and how they are computed."""

from collections.abc import Mapping
import dataclasses
import time
from typing import Any

from leep_jax import (
  data,
  progress,
  scores as scores_lib,
  sweep_shares,
  validation,
)
from leep_jax.engine import cache as cache_lib, outputs as outputs_lib
from leep_jax.reports import sweep_report, tables
from leep_jax.sources import source as source_lib
from leep_jax.tasks import task_scores
from leep_jax.transfer import trials

# Tasks that are scored in one call, over which the cost of a call is spread.
_AT_ONCE = 256


@dataclasses.dataclass(frozen=True)
class Sweep:
  """Scores and trains sources, each for the same tasks by the same methods.

  Attributes:
    target: data and tasks.
    names: of scores.
    methods: of transfer.
    recipe: how methods train.
    cache: of the outputs of sources.
    rows: of this worker, to append to.
    others: rows of other workers, as they are read.
    share: what this worker does.
    checkpoints: folder for checkpoints of trainings.
    dtype: of the forward pass.

  Example:
    >>> import tempfile
    >>> import leep_jax
    >>> from leep_jax import data, sweep_rows, sweep_shares, tasks
    >>> from leep_jax.engine import cache
    >>> from leep_jax.reports import results
    >>> from leep_jax.transfer import trials
    >>> train, test = data.load_pair("digits", limit=60, test_limit=60)
    >>> task = tasks.all_examples(train.labels(), test.labels())
    >>> source = leep_jax.load_source("fashion_mnist_resnet8")
    >>> with tempfile.TemporaryDirectory() as folder:
    ...   sweep = sweep_rows.Sweep(
    ...     target=trials.Target(train, test, [task]), names=["leep"],
    ...     methods=["probe"], recipe=trials.Recipe(),
    ...     cache=cache.Cache(folder), rows=results.NoRows(), others=[],
    ...     share=sweep_shares.Share(0, 1, ["mine"]), checkpoints=folder,
    ...     dtype="float32",
    ...   )
    ...   wanted = sweep.wanted("mine", source)
    >>> {method: len(found) for method, found in wanted.items()}
    {'score': 1, 'probe': 1}
  """

  target: trials.Target
  names: list[str]
  methods: list[str]
  recipe: trials.Recipe
  cache: cache_lib.Cache
  rows: Any
  others: list[dict[str, Any]]
  share: sweep_shares.Share
  checkpoints: str
  dtype: str

  def outputs(
    self, source: source_lib.Source, dataset: data.Dataset
  ) -> outputs_lib.Outputs:
    """Returns the source's outputs on a set, from the cache if it has them."""
    count = progress.Progress(
      f"{tables.short(source.name, 30)} {dataset.split}"
    )
    try:
      return self.cache.outputs(
        source,
        dataset,
        dtype=self.dtype,
        progress=lambda done: count(done, len(dataset)),
      )
    finally:
      count.clear()

  def about(self, model: str, source: source_lib.Source) -> dict[str, Any]:
    """Returns the columns that describe a source."""
    return {
      "model": model,
      "source_digest": cache_lib.source_digest(source),
      "forward_dtype": self.dtype,
    }

  def wanted(self, model: str, source: source_lib.Source) -> dict[str, Any]:
    """Returns what is missing: tasks to score; tasks and seeds by method."""
    about = self.about(model, source)
    # Of all workers: with another number of them, tasks are shared otherwise.
    there = [*self.rows.rows, *self.others]
    done = {trials.key(row) for row in there}
    found: dict[str, Any] = {
      sweep_report.SCORED: [
        task
        for task in self.target.tasks
        if trials.key(self._score_row(about, task)) not in done
        and self.share.has(model, task.name)
      ]
    }
    for method in self.methods:
      found[method] = [
        (task, seed)
        for task, seed in trials.missing(
          self.target, about, method, self.recipe, there
        )
        if self.share.has(model, task.name)
      ]
    return found

  def needed(
    self, source: source_lib.Source, wanted: Mapping[str, Any]
  ) -> list[data.Dataset]:
    """Returns the sets whose outputs are needed and not cached yet."""
    used: dict[str, data.Dataset] = {}
    for method, found in wanted.items():
      scores = method == sweep_report.SCORED
      if not scores and not trials.METHODS[method].reads_outputs:
        continue
      for trial in found:
        task = trial if scores else trial[0]
        sets = self.target.sets(task.one_set)
        # Scores are of the training set alone; heads are tested too.
        used |= {x.split: x for x in (sets[:1] if scores else sets)}
    return [
      dataset
      for dataset in used.values()
      if not self.cache.has(source, dataset, dtype=self.dtype)
    ]

  def _score_row(self, about, task):
    return {
      **about, **self.target.row(), **task.row(), "method": sweep_report.SCORED,
      # Sorted, so that the order of --scores does not make it another row.
      "recipe": sorted(self.names), "seed": None,
    }  # fmt: skip

  def run(self, model: str, source: source_lib.Source) -> None:
    """Scores and trains what is missing of one source."""
    trials.check_model(model, self.methods, self.recipe)
    about, wanted = self.about(model, source), self.wanted(model, source)
    self._tell_other_digests(model, about["source_digest"])
    self._score(about, source, wanted[sweep_report.SCORED])
    for method in self.methods:
      count = progress.Progress(f"{tables.short(model, 30)} {method}")
      try:
        trials.run(
          source,
          self.target,
          wanted[method],
          method=method,
          about=about,
          recipe=self.recipe,
          outputs=self.outputs,
          on_row=self.rows.append,
          progress=count,
          checkpoints=self.checkpoints,
        )
      finally:
        count.clear()

  def _tell_other_digests(self, model, digest):
    """Notes earlier rows of the same name but of another source."""
    old = [
      row
      for row in self.rows.rows
      if row["model"] == model and row.get("source_digest") != digest
    ]
    if old:
      validation.note(
        f"{len(old)} rows of {model} are of other weights, preprocessing or "
        "code than it has now: they stay, and it is scored anew"
      )

  def _score(self, about, source, tasks):
    for one_set in (False, True):
      chosen = [task for task in tasks if task.one_set == one_set]
      if not chosen:
        continue
      outputs = self.outputs(source, self.target.sets(one_set)[0])
      for what in scores_lib.uninformative(outputs).values():
        if what.constant:
          validation.note(f"{source.name}: {what.why}")
      count = progress.Progress(
        f"{tables.short(source.name, 30)} scores", unit="tasks"
      )
      try:
        for start in range(0, len(chosen), _AT_ONCE):
          self._score_some(about, outputs, chosen, start, count)
      finally:
        count.clear()

  def _score_some(self, about, outputs, tasks, start, count):
    """Scores up to `_AT_ONCE` tasks; each row is written when it is known."""
    some = tasks[start : start + _AT_ONCE]
    started = time.perf_counter()

    def on_row(i, scores):
      nonlocal started
      now = time.perf_counter()
      row = {
        **self._score_row(about, some[i]),
        "scores": scores,
        "seconds": round(now - started, 6),
        **trials.made_by(),
      }
      started = now
      self.rows.append(row)
      count(start + i + 1, len(tasks))

    task_scores.score_tasks(outputs, some, names=self.names, on_row=on_row)
