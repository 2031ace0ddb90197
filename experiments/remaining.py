"""What is left of the sweeps of the paper's sections, and how long it takes.

`experiments.reproduce` prints it. Rows are counted by the columns that a part
states: source, method, recipe, tasks, seeds, sizes of the data. (A sweep also
compares digests of the source and of the tasks, for which they would have to be
loaded: after a change of the code it may compute more than is said here.)

Seconds come from the first of these that there is:

1. rows that this run wrote, of the same section, method and source;
2. rows in `experiments/results`, likewise, from the same kind of device;
3. rows of another source, times the ratio of the two forward passes' times (of
   methods that run the network) or of the lengths of their outputs (of scores
   and heads), where both were measured on this machine.

Seconds of rows are in proportion to epochs and, of tasks with all examples of
their classes, to the size of the training set, where these differ. Forward
passes are counted exactly, with what an interrupted pass has done, and take as
long as `leep_jax.estimates` measures. What has no estimate is called unknown,
and the sum is then a lower bound.
"""

from collections.abc import Iterable, Mapping, Sequence
import contextlib
import dataclasses
import functools
import json
import pathlib
import re
from typing import Any

from absl import flags

from experiments import section
from leep_jax import (
  common_flags,
  data,
  estimates,
  sweep as sweep_lib,
  validation,
)
from leep_jax.engine import unfinished
from leep_jax.reports import results, sweep_report
from leep_jax.sources import catalog
from leep_jax.tasks import specs
from leep_jax.transfer import recipe_flags, trials

# Samplers whose tasks have all examples of their classes.
_WHOLE = ("subsets", "all")
# A trial: method, sampler, number of the task, seed.
Trial = tuple[str, str, int, int | None]


@dataclasses.dataclass(frozen=True)
class Left:
  """What is left of a sweep or script.

  Attributes:
    there: rows that are there.
    wanted: rows that there should be.
    measured: seconds that the others take, by rows that this run wrote.
    assumed: seconds by rows of other runs, and of forward passes.
    unknown: what has no estimate.
  """

  there: int
  wanted: int
  measured: float = 0.0
  assumed: float = 0.0
  unknown: tuple[str, ...] = ()

  def seconds(self, ratio: float) -> float:
    """Returns all seconds that are known.

    Args:
      ratio: of real seconds to those that were assumed.
    """
    return self.measured + self.assumed * ratio


class Asked:
  """What a part asks for, of each source, read as `leep_jax.sweep` reads it.

  Attributes:
    part: the part.
    recipes: by method, the JSON text of the column `recipe`; "" if it cannot be
      told.
    sets: the training and the test set, or None if they cannot be opened.
    trials: all of them; no trial has a row at first.
    epochs: of training.
  """

  def __init__(self, part: section.Part, command_line: Sequence[str]):
    """Reads the flags, and opens the data.

    Args:
      part: to run.
      command_line: of its sweep.

    Raises:
      InputError: if a flag is malformed.
    """
    defined = flags.FlagValues()
    recipe_of = recipe_flags.RecipeFlags(defined)
    pair = common_flags.PairFlags(defined)
    default = sweep_lib.FLAGS["scores"].default
    scores = flags.DEFINE_list("scores", default, "", flag_values=defined)
    defined(command_line, known_only=True)
    recipe = recipe_of.recipe()
    self.part, self.epochs = part, recipe.head.epochs
    self.sets = None
    self.recipes = {
      sweep_report.SCORED: _text(sorted(scores.value or ())),
      part.transfer: "",
    }
    # The sweep will say what is wrong with data or with a file.
    with contextlib.suppress(validation.InputError):
      self.sets = pair.load_pair()
    with contextlib.suppress(validation.InputError, OSError):
      self.recipes[part.transfer] = _text(recipe.of(part.transfer))
    seeds: dict[str, Iterable[int | None]] = {
      sweep_report.SCORED: [None],
      part.transfer: recipe.seeds_of(part.transfer),
    }
    self._samplers: dict[str, Any] = {}
    self._specs: dict[str, str] = {}
    self.trials: set[Trial] = set()
    for text in re.split("[+;]", part.tasks):
      sampler, count = specs.sampler_of(text.strip())
      spec = specs.spec_of(sampler)
      self._samplers[spec] = sampler
      self.trials |= {
        (method, spec, index, seed)
        for method, of_method in seeds.items()
        for index in range(count)
        for seed in of_method
      }

  @property
  def sizes(self) -> tuple[int, ...] | None:
    """Numbers of training and test examples."""
    return self.sets and (len(self.sets[0]), len(self.sets[1]))

  def done(self, rows: Iterable[results.Row], model: str) -> set[Trial]:
    """Returns the trials that have a row.

    Args:
      rows: of the part's folder.
      model: the source.
    """
    found = set()
    for row in rows:
      method, sizes = row["method"], (row["train_set"], row["test_set"])
      if (
        row["model"] == model
        and _text(row["recipe"]) == self.recipes.get(method)
        and sizes == (self.sizes or sizes)
      ):
        spec = self._spec_of(row["sampler"])
        found.add((method, spec, row["task_index"], row["seed"]))
    return found & self.trials

  def _spec_of(self, text):
    """The sampler of the part that a row states with all its defaults."""
    if text not in self._specs:
      stated, _ = specs.sampler_of(text)
      self._specs[text] = next(
        (
          spec
          for spec, sampler in self._samplers.items()
          if type(sampler) is type(stated)
          and all(
            value in (None, getattr(stated, name))
            for name, value in vars(sampler).items()
          )
        ),
        text,
      )
    return self._specs[text]

  def passes(self, lacking: Iterable[Trial]) -> list[data.Dataset]:
    """Returns the data sets of which trials read outputs.

    Args:
      lacking: trials.
    """
    if self.sets is None:
      return []
    used = {}
    for method, spec in {trial[:2] for trial in lacking}:
      scored = method == sweep_report.SCORED
      train, test = self.sets
      if self._samplers[spec].one_set:
        train = test
      if scored or trials.METHODS[method].reads_outputs:
        # Scores are of the training set alone; heads are tested too.
        for dataset in [train] if scored else [train, test]:
          used[dataset.split] = dataset
    return list(used.values())


@dataclasses.dataclass(frozen=True)
class Sweep:
  """A part of one source.

  Attributes:
    asked: what the part asks for.
    model: the source.
  """

  asked: Asked
  model: str

  @property
  def part(self) -> section.Part:
    """The part, of this source alone."""
    return dataclasses.replace(self.asked.part, models=(self.model,))

  def done(self, rows: Iterable[results.Row]) -> set[Trial]:
    """Returns the trials that have a row; arguments as of `Asked.done`."""
    return self.asked.done(rows, self.model)

  def same(self, trial: Trial) -> tuple[Any, ...]:
    """Returns what a row states of a trial."""
    asked = self.asked
    recipe = asked.recipes[trial[0]]
    return asked.part.folder, self.model, recipe, asked.sizes, trial

  def pass_of(self, dataset: data.Dataset) -> tuple[Any, ...]:
    """Returns what tells a forward pass from others.

    Args:
      dataset: of the pass.
    """
    return self.model, dataset.name, dataset.split, len(dataset)


def _text(recipe):
  return json.dumps(recipe, sort_keys=True)


class Estimator:
  """Says what is left of sweeps."""

  def __init__(self, folder: pathlib.Path):
    """Reads nothing yet.

    Args:
      folder: of the rows of all sections of this run.
    """
    self._folder = folder
    self._device = trials.made_by()["device"]
    self._overrides = catalog.Overrides()
    self._rates: dict[str, estimates.Rate | None] = {}
    self._tried: set[str] = set()
    # Those in `experiments/results` do not change.
    self._committed: dict[str, list[Any]] = {}

  def left(self, sweeps: Sequence[Sweep]) -> list[Left]:
    """Returns what is left of each sweep.

    Rows and forward passes that several sweeps need count for the first.

    Args:
      sweeps: in the order in which they run.
    """
    own: dict[str, list[Any]] = {}
    done_passes = self._done_passes()
    claimed: set[Any] = set()
    found = []
    for sweep in sweeps:
      done = sweep.done(_rows(self._folder, sweep.part.folder, own))
      lacking = {
        trial
        for trial in sweep.asked.trials - done
        if sweep.same(trial) not in claimed
      }
      claimed |= set(map(sweep.same, lacking))
      times = self._times(sweep, lacking, own)
      for dataset in sweep.asked.passes(lacking):
        key = sweep.pass_of(dataset)
        if key not in claimed:
          claimed.add(key)
          rest = len(dataset) - done_passes.get(key, 0)
          times.append(self._pass(sweep.model, rest))
      if lacking and sweep.asked.sets is None:
        times.append((None, False, "the data"))
      found.append(_sum(times, len(done), len(sweep.asked.trials)))
    return found

  def _times(self, sweep, lacking, own):
    """Seconds, whether this run measured them, and of what."""
    found = []
    for method in dict.fromkeys(trial[0] for trial in sorted(lacking, key=str)):
      count = sum(trial[0] == method for trial in lacking)
      seconds, measured = self._seconds(sweep, method, own)
      if seconds is not None:
        seconds *= count
      found.append((seconds, measured, f"{count} {method}"))
    return found

  def _seconds(self, sweep, method, own):
    """Seconds of one row, and whether this run measured them."""
    name, _, _ = sweep.part.folder.partition("/")
    for others in (False, True):
      for root, kept in (
        (self._folder, own), (section.RESULTS, self._committed),
      ):  # fmt: skip
        # Rows of the same target are preferred.
        for folders in ([sweep.part.folder], _folders(root, name)):
          rows = [
            row
            for folder in folders
            for row in _rows(root, folder, kept)
            if row["method"] == method
            and row["device"] == self._device
            and row["seconds"] is not None
          ]
          seconds = self._of_rows(sweep, rows, others=others)
          if seconds is not None:
            return seconds, root == self._folder and not others
    return None, False

  def _of_rows(self, sweep, rows, *, others):
    """Mean seconds of rows of the sweep's source, or of the others."""
    found = []
    for row in rows:
      if others == (row["model"] == sweep.model):
        continue
      factor = self._factor(row, sweep.model) if others else 1.0
      if factor is None:
        continue
      recipe = row["recipe"]
      if isinstance(recipe, dict) and "epochs" in recipe:
        factor *= sweep.asked.epochs / recipe["epochs"]
      whole = row["sampler"].partition("(")[0] in _WHOLE
      if whole and sweep.asked.sizes is not None:
        factor *= sweep.asked.sizes[0] / row["train_set"]
      found.append(row["seconds"] * factor)
    return sum(found) / len(found) if found else None

  def _factor(self, row, model):
    """How much longer a row of another source takes; None if it is unknown."""
    mine, other = self.rate(model), self.rate(row["model"])
    if mine is None or other is None:
      return None
    method = trials.METHODS.get(row["method"])
    if method is None or method.reads_outputs:
      return mine.width / other.width
    return other.per_second / mine.per_second

  def _pass(self, model, count):
    rate = self.rate(model)
    seconds = None if rate is None else count / rate.per_second
    return seconds, False, "a forward pass"

  def rate(self, model: str) -> estimates.Rate | None:
    """Returns how fast a source was measured to run on this machine.

    Args:
      model: name of the source.
    """
    if model not in self._rates:
      kept = estimates.KeptRates(self._overrides, "float32", None, "image")
      self._rates[model] = kept.get(model)
    return self._rates[model]

  def measure(self, sweeps: Sequence[Sweep]) -> None:
    """Measures sources that have to run and whose speed is unknown.

    Args:
      sweeps: what they run for.
    """
    own: dict[str, list[Any]] = {}
    done_passes = self._done_passes()
    for sweep in sweeps:
      done = sweep.done(_rows(self._folder, sweep.part.folder, own))
      for dataset in sweep.asked.passes(sweep.asked.trials - done):
        lacks = done_passes.get(sweep.pass_of(dataset)) != len(dataset)
        known = self.rate(sweep.model) or sweep.model in self._tried
        if lacks and not known:
          self._tried.add(sweep.model)
          # What cannot be loaded stays unknown, and its sweep says why.
          with contextlib.suppress(validation.InputError):
            self._rates[sweep.model] = estimates.measured(
              sweep.model,
              functools.partial(catalog.load_source, sweep.model),
              dataset,
              overrides=self._overrides,
            )

  def _done_passes(self) -> Mapping[Any, int]:
    """Examples of which outputs are cached, by source and data set."""
    found = {}
    # Passes that were interrupted first: complete ones replace them.
    for name in (unfinished.JOURNAL, "checksums.json"):
      cached = section.cache_folder(self._folder)
      for file in (*cached.glob(f".part-*/{name}"), *cached.glob(f"*/{name}")):
        try:
          read = json.loads(file.read_text())
          about = read["about"]
          size = about["examples"][0]
          key = about["model"], about["dataset"], about["split"], size
          found[key] = read.get("count", size)
        except (OSError, ValueError, KeyError, TypeError):
          pass  # Whatever is damaged is computed again.
    return found


def _folders(root, name):
  """Folders of the rows of all targets of a section."""
  return [f"{name}/{path.name}" for path in sorted((root / name).glob("*/"))]


def _rows(root, folder, kept):
  """The rows of a folder, read once for each `kept`."""
  if folder not in kept:
    kept[folder] = results.read_folder(root / folder)
  return kept[folder]


def _sum(times, there, wanted):
  measured = sum(s for s, by_us, _ in times if s is not None and by_us)
  assumed = sum(s for s, by_us, _ in times if s is not None and not by_us)
  unknown = tuple(what for s, _, what in times if s is None)
  return Left(there, wanted, measured, assumed, unknown)
