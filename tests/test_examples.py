"""The examples in docstrings: they run, and public names have one."""

import doctest
import importlib
import inspect
import pathlib

import pytest

import leep_jax

ROOT = pathlib.Path(leep_jax.__file__).parent
OPTIONS = doctest.ELLIPSIS | doctest.NORMALIZE_WHITESPACE


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


@pytest.mark.parametrize("name", NAMES)
def test_public_names_have_an_example(name):
  assert not _without_example(_module(name))
