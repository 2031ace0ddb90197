"""The option `--choose` of `python -m leep_jax.score`.

The outputs of all sources are then kept until all are scored, where each fits
when it comes: in half of what is then free of an accelerator's memory, or of
the host's, or else in a file. What is computed of them is not kept: sums and
predictions of one set of sources are in memory at a time.
"""

from collections.abc import Callable, Collection, Sequence
import sys
from typing import Any

from absl import flags

from leep_jax import command, ensembles, progress, score_race, validation
from leep_jax.data import dataset as dataset_lib
from leep_jax.engine import hosts, outputs as outputs_lib
from leep_jax.reports import score_report, scored_source, tables
from leep_jax.scores import jackknife

# Scores that are a share, of which differences are in points.
_SHARES = ("probe_accuracy", "probe_balanced_accuracy")


def define(defined: flags.FlagValues) -> flags.FlagHolder[Any]:
  """Defines the flag `--choose`, and returns its holder.

  Args:
    defined: the flags of a command, to which it is added.

  Example:
    >>> from absl import flags
    >>> from leep_jax import score_choice
    >>> score_choice.define(flags.FlagValues()).name
    'choose'
  """
  return flags.DEFINE_integer(
    "choose",
    None,
    "Also choose so many sources to use together: the best one, and then each "
    "that adds most to those before it.",
    flag_values=defined,
  )


class Choosing:
  """A choice of sources, and the outputs that are kept for it.

  Attributes:
    lines: for the terminal, to print below the table.

  Example:
    >>> from leep_jax import score_choice
    >>> score_choice.Choosing(None).lines  # no choice is asked for
    []
  """

  def __init__(
    self,
    count: int | None,
    *,
    groups: int = jackknife.GROUPS,
    raced: bool = False,
  ):
    """Checks the flag.

    Args:
      count: value of `--choose`: the most sources in the set, or None.
      groups: of the jackknife.
      raced: whether `--race` is given.

    Raises:
      InputError: if it contradicts other flags, or there are several processes.
    """
    self.lines: list[str] = []
    self._count, self._groups = count, groups
    self._kept: dict[str, outputs_lib.Outputs] = {}
    if count is None:
      return
    if count < 2:
      raise validation.InputError(
        f"--choose={count} makes no set: choose 2 sources or more"
      )
    if raced:
      raise validation.InputError(
        "--choose needs the outputs of all sources on all examples, which "
        "--race does not have: leave out one of the two"
      )
    if hosts.count() > 1:
      raise validation.InputError(
        "--choose runs in one process: leave it out, or start one process"
      )

  def check(
    self,
    names: Collection[str],
    *,
    datasets: Sequence[dataset_lib.Dataset] = (),
    scores: Callable[[outputs_lib.Outputs], Sequence[str]] | None = None,
  ) -> None:
    """Refuses sources or data sets that allow no choice.

    Args:
      names: of the sources.
      datasets: the targets, if they are known.
      scores: returns the scores of such outputs, first the one that ranks.

    Raises:
      InputError: if there are fewer sources, several data sets, or the score
        is not one by which sets are chosen.
    """
    if self._count is None:
      return
    if len(datasets) > 1:
      raise validation.InputError(
        f"--choose is for one data set, but there are {len(datasets)}"
      )
    different = len(set(names))
    if self._count > different:
      raise validation.InputError(
        f"--choose={self._count} of {tables.count(different, 'source')}: name "
        "more by --model, or choose fewer"
      )
    if datasets and scores is not None:
      like = score_race.like(datasets[0])
      try:
        ensembles.ranking_score(like, rank_by=scores(like)[0])
      except validation.InputError as e:
        raise validation.InputError(f"--choose={self._count}: {e}") from e

  def keeping(
    self, name: str, make_outputs: Callable[[], outputs_lib.Outputs]
  ) -> Callable[[], outputs_lib.Outputs]:
    """Returns the function with its outputs kept, if a choice is asked for.

    Args:
      name: of the source.
      make_outputs: returns its outputs.
    """
    if self._count is None:
      return make_outputs

    def make():
      outputs = make_outputs()
      # Without the sums that scores will cache with the outputs.
      self._kept[name] = outputs.with_features(outputs.store)
      return outputs

    return make

  def choose(
    self, scored: Sequence[scored_source.ScoredSource], rank_by: str
  ) -> int:
    """Chooses, and adds columns to the rows; returns the exit status.

    Args:
      scored: the sources that could be scored.
      rank_by: the score that ranks.
    """
    rows = {source.row["model"]: source.row for source in scored}
    kept = {name: self._kept[name] for name in rows if name in self._kept}
    if self._count is None or len(kept) < 2:
      return 0
    count = min(self._count, len(kept))
    sets = progress.Progress("choosing", unit="sets")
    total = sum(len(kept) - i for i in range(count))
    done = 0

    def show(names):
      nonlocal done
      sets(done, total)
      done += 1

    try:
      choice = ensembles.choose(
        kept, count=count, rank_by=rank_by, groups=self._groups, on_set=show
      )
    except validation.InputError as e:
      command.print_error(f"--choose={self._count}: {e}")
      return 2
    except KeyboardInterrupt:
      print("\ninterrupted", file=sys.stderr)
      return 130
    except Exception as e:
      # Such as out of memory: the table can still be printed.
      why = f"{type(e).__name__}: {validation.reason(e)}"
      command.print_error(f"--choose={self._count} failed: {why}")
      return 2
    finally:
      sets.clear()
      self._kept.clear()
    for source in scored:
      source.row.update(_columns(choice, source.row["model"]))
    self.lines = _lines(choice, rows, self._count)
    return 0


def _columns(choice, name):
  """Columns of the row of a source; None where it was not chosen."""
  found: dict[str, Any] = dict.fromkeys(
    ("chosen", "set_score", "set_score_se", "set_gain", "set_gain_se")
  )
  if name in choice.names:
    place = choice.names.index(name)
    added = choice.members[place]
    found["chosen"] = place + 1
    for key, estimate in (("score", added.score), ("gain", added.gain)):
      if estimate is not None:
        found[f"set_{key}"] = estimate.value
        found[f"set_{key}_se"] = estimate.standard_error
  weights = choice.mixture.weights if choice.mixture else {}
  return {**found, "mixture_weight": weights.get(name)}


def _lines(choice, rows, asked):
  """The set as a table, and what to know of it."""
  short = dict(zip(rows, tables.short_names(list(rows)), strict=True))
  how = "one head on their joined features"
  if choice.rank_by == ensembles.OF_MIXTURES:
    how = "a mixture of their EEPs"
  title = f"To use together (--choose={asked}), by {choice.rank_by} of {how}."
  if len(choice.members) > 1:
    title += " Each source adds most to those above it:"
  else:
    title += " One source is enough:"
  return [
    "",
    *score_report.wrapped([title]),
    "",
    tables.blocks(choice.names, list(_table(choice))),
    "",
    *score_report.wrapped(_sentences(choice, rows, short)),
  ]


def _table(choice):
  """Columns of the set: its scores as it grows."""
  yield _column(choice.rank_by, [added.score for added in choice.members])
  others = choice.members[1:]
  if others:
    sure = [bool(added.surely_adds) for added in others]
    name, *cells = _column("adds", [added.gain for added in others], marks=sure)
    yield [name, "", *cells]
  losses = [added.log_loss for added in choice.members]
  if choice.rank_by != "probe_log_loss" and None not in losses:
    yield _column("probe_log_loss", losses)


def _column(name, estimates, *, marks=None):
  return tables.column(
    name,
    [estimate.value for estimate in estimates],
    [estimate.standard_error for estimate in estimates],
    marks=marks,
  )


def _sentences(choice, rows, short):
  """What the table does not say."""
  first, *others = choice.members
  if any(added.surely_adds for added in others):
    most = max(added.compared for added in others)
    yield (
      f"* more than chance (paired difference, {jackknife.LEVEL:.0%}"
      + (f", as the best of up to {most} tried)." if most > 1 else ").")
    )
  chance = [short[a.name] for a in others if a.surely_adds is False]
  if chance:
    verb = "adds" if len(chance) == 1 else "add"
    yield (
      f"What {validation.some(chance, most=5)} {verb} is more than its error, "
      "but may be chance."
    )
  if others:
    more = _difference(choice.rank_by, choice.gain)
    yield (
      f"{_all(choice).capitalize()} reach {more} more than {short[first.name]} "
      "alone."
    )
  if choice.rejected is not None:
    name, gain = choice.rejected.name, choice.rejected.gain
    text = "No other source adds more than its error."
    if gain.value > 0:
      more = _difference(choice.rank_by, gain)
      text += f" The most is {more}, of {short[name]}."
    yield text
  for name, why in choice.left_out.items():
    yield f"{short[name]} was not tried: {why}."
  yield from _cost(choice, rows, short)
  yield from _mixture(choice, short)


def _all(choice):
  count = len(choice.members)
  return "both" if count == 2 else f"all {count}"


def _difference(rank_by, estimate):
  """A gain with its error, of shares in points."""
  value, error, unit = estimate.value, estimate.standard_error, ""
  if rank_by in _SHARES:
    value, unit = 100 * value, " points"
    error = None if error is None else 100 * error
    text = f"{value:z.1f}" + ("" if error is None else f" ± {error:.1f}")
  else:
    (text,) = tables.cells([value], [error])
  return f"{text}{unit}"


def _cost(choice, rows, short):
  """What an example costs, if forward passes were timed."""
  chosen = [rows[name] for name in choice.names]
  if len(chosen) < 2 or chosen[0]["dataset"] == "predictions":
    return
  each = [1000 / row["examples_per_second"] for row in chosen]
  noun = tables.examples(chosen[0]).removesuffix("s")
  article = "An" if noun[0] in "aeiou" else "A"
  yield (
    f"{article} {noun} takes {sum(each):.2g} ms through {_all(choice)} "
    f"({1000 / sum(each):,.0f} a second), and {each[0]:.2g} ms through "
    f"{short[choice.names[0]]} alone."
  )


def _mixture(choice, short):
  """The mixture of the members: its weights, and what it reaches."""
  if len(choice.members) < 2:
    return
  if choice.mixture is None:
    yield f"They make no mixture of EEPs: {choice.without_mixture}."
    return
  found = choice.mixture
  score, equal = (
    tables.cells([e.value], [e.standard_error])[0]
    for e in (found.score, found.equal)
  )
  # Weights as they are written; smaller ones are nothing.
  used = {name: w for name, w in found.weights.items() if w >= 0.005}
  order = sorted(used, key=lambda name: -used[name])
  best = "weights " + ", ".join(f"{used[n]:.2f} {short[n]}" for n in order)
  if len(used) == 1:
    best = f"all weight on {short[order[0]]}"
  yield (
    f"A mixture of their EEPs, without a head, is best with {best}: leep_loo "
    f"{score}; with equal weights {equal}."
  )
