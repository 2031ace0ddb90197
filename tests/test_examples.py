"""The examples in docstrings: they run, and public names have one."""

import doctest
import importlib
import inspect
import pathlib

import pytest

import leep_jax

ROOT = pathlib.Path(leep_jax.__file__).parent
OPTIONS = doctest.ELLIPSIS | doctest.NORMALIZE_WHITESPACE
# Modules in which public functions and classes without an example are left.
# Whoever writes the last of a module's examples deletes its name here.
INCOMPLETE = {
  "command",
  "engine.cache",
  "engine.forward",
  "engine.hosts",
  "engine.outputs",
  "engine.programs",
  "engine.statistics",
  "engine.sums",
  "reports.bootstrap",
  "reports.correlation",
  "reports.plots.epoch_curves",
  "reports.plots.heat_maps",
  "reports.plots.level_bars",
  "reports.plots.rankings",
  "reports.plots.scatter_plots",
  "reports.plots.style",
  "reports.results",
  "reports.sweep_report",
  "reports.tables",
  "score",
  "scores.jackknife",
  "scores.nce",
  "sweep",
  "task_matrix",
  "tasks.pool",
  "tasks.samplers",
  "tasks.specs",
  "tasks.subset_leep",
  "tasks.subset_scores",
  "tasks.task",
  "tasks.task_scores",
  "tasks.values",
  "transfer.augment",
  "transfer.checkpoints",
  "transfer.cnaps.adaptation",
  "transfer.cnaps.episodes",
  "transfer.cnaps.evaluation",
  "transfer.cnaps.files",
  "transfer.cnaps.model",
  "transfer.cnaps.padding",
  "transfer.cnaps.training",
  "transfer.config",
  "transfer.head",
  "transfer.methods",
  "transfer.metrics",
  "transfer.network.batches",
  "transfer.network.group",
  "transfer.network.job",
  "transfer.network.placement",
  "transfer.network.programs",
  "transfer.network.training",
  "transfer.probe",
  "transfer.recipe_flags",
  "transfer.runs",
  "transfer.target",
  "transfer.trials",
}


def _names():
  """Modules and packages by their names inside the package, "" for itself."""
  for path in sorted(ROOT.rglob("*.py")):
    parts = path.relative_to(ROOT).with_suffix("").parts
    if parts[-1] != "__main__":  # a command, run by importing it
      yield ".".join(parts).removesuffix("__init__").removesuffix(".")


def _module(name):
  return importlib.import_module(f"leep_jax.{name}".removesuffix("."))


def _examples(module):
  """The docstrings with examples; each starts with no names imported."""
  found = doctest.DocTestFinder().find(module, globs={})
  return [test for test in found if test.examples]


def _without_example(module):
  """Public functions and classes that have no example, nor their methods."""
  shown = {test.name for test in _examples(module)}
  return [
    name
    for name, value in vars(module).items()
    if name[0] != "_"
    and (inspect.isroutine(value) or inspect.isclass(value))
    and value.__module__ == module.__name__
    and not any(
      f"{full}.".startswith(f"{module.__name__}.{name}.") for full in shown
    )
  ]


NAMES = list(_names())
WITH_EXAMPLES = [name for name in NAMES if _examples(_module(name))]


@pytest.mark.parametrize("name", WITH_EXAMPLES)
def test_examples_run(name):
  report = []
  runner = doctest.DocTestRunner(optionflags=OPTIONS)
  for test in _examples(_module(name)):
    runner.run(test, out=report.append)
  assert not runner.failures, "".join(report)


@pytest.mark.parametrize("name", sorted(set(NAMES) - INCOMPLETE))
def test_public_names_have_an_example(name):
  assert not _without_example(_module(name))


def test_incomplete_modules_are_incomplete():
  """The list of what is left to do names modules, and only unfinished ones."""
  assert not INCOMPLETE - set(NAMES)
  done = [name for name in INCOMPLETE if not _without_example(_module(name))]
  assert not done, "these have all their examples: delete them from INCOMPLETE"


def test_exported_names_have_an_example():
  for name in leep_jax.__all__:
    value = getattr(leep_jax, name)
    if callable(value):
      home = value.__module__.removeprefix("leep_jax.")
      if home not in INCOMPLETE:
        assert name not in _without_example(_module(home)), name
