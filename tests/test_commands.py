"""What all commands share: entry points, exit statuses, progress lines."""

import importlib
import pathlib
import sys
import tomllib

import pytest

import leep_jax

ROOT = pathlib.Path(leep_jax.__file__).parent
PROJECT = tomllib.loads((ROOT.parent / "pyproject.toml").read_text())["project"]
SCRIPTS = PROJECT["scripts"]


def module_of(name):
  return importlib.import_module(SCRIPTS[name].partition(":")[0])


def test_every_command_has_a_script():
  commands = [
    path.relative_to(ROOT.parent).with_suffix("")
    for path in ROOT.rglob("*.py")
    if 'if __name__ == "__main__":' in path.read_text()
  ]
  found = {target.partition(":")[0] for target in SCRIPTS.values()}
  assert found == {".".join(path.parts) for path in commands}
  for name, target in SCRIPTS.items():
    module = target.partition(":")[0].removesuffix(".__main__")
    assert module == f"leep_jax.{name.removeprefix('leep-').replace('-', '_')}"


@pytest.mark.parametrize("name", SCRIPTS)
def test_scripts_explain_themselves(name, monkeypatch, capsys):
  module = module_of(name)
  monkeypatch.setattr(sys, "argv", [name, "--help"])
  assert getattr(module, SCRIPTS[name].partition(":")[2])() == 0
  assert capsys.readouterr().out.startswith(module.__doc__)


@pytest.mark.parametrize("name", SCRIPTS)
def test_scripts_have_the_exit_status_of_the_command(name, monkeypatch, capsys):
  monkeypatch.setattr(sys, "argv", [name, "--no_such_flag=1"])
  assert module_of(name).script() == 2
  out, err = capsys.readouterr()
  assert not out
  assert err.startswith("error: ")
  assert err.count("\n") == 1
