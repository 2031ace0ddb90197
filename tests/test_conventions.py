"""The rules of the house, kept by tests."""

import ast
import importlib
import inspect
import pathlib
import re

import pytest

import leep_jax
from leep_jax import scores

ROOT = pathlib.Path(leep_jax.__file__).parent
FILES = sorted(ROOT.rglob("*.py"))
# Modules import only from those before them.
ORDER = [
  "files", "checks", "file_kinds", "hub", "statistics", "devices", "resize", "source",
  "storage", "outputs", "forward", "jackknife", "scores", "tasks", "data",
  "orbax", "weights", "config_keys", "processors", "configs", "models", "cache",
  "task_scores", "transfer", "trials", "results", "correlation", "plots",
  "tables", "report", "command", "convert", "score", "task_matrix", "sweep",
]  # fmt: skip


def code(path):
  """The text without comments and docstrings."""
  return ast.unparse(_undocumented(ast.parse(path.read_text())))


def _undocumented(tree):
  for node in ast.walk(tree):
    if isinstance(
      node, (ast.Module, ast.FunctionDef, ast.ClassDef)
    ) and ast.get_docstring(node):
      node.body = node.body[1:] or [ast.Pass()]
  return tree


def imported(path):
  parts = path.relative_to(ROOT.parent).with_suffix("").parts
  return importlib.import_module(".".join(parts).removesuffix(".__init__"))


def public_functions(path):
  for node in ast.parse(path.read_text()).body:
    inside = node.body if isinstance(node, ast.ClassDef) else [node]
    for inner in inside:
      if isinstance(inner, ast.FunctionDef) and inner.name[0] != "_":
        yield inner


each_file = pytest.mark.parametrize("path", FILES, ids=lambda p: p.stem)


@each_file
def test_only_devices_names_device_primitives(path):
  if path.name != "devices.py":
    pattern = r"\b(pmap|psum|shard_map|all_gather|axis_name|process_\w+)\b"
    assert not re.search(pattern, code(path))


@each_file
def test_only_data_imports_tfds(path):
  if path.name != "tfds.py":
    assert "tensorflow" not in code(path)
  assert not re.search(r"import tensorflow\b", code(path))


@each_file
def test_modules_import_only_from_those_above(path):
  part = path.relative_to(ROOT).parts[0].removesuffix(".py")
  if part == "__init__" or path.stem == "__main__":  # a command, below all
    return
  above = ORDER[: ORDER.index(part) + 1]
  for node in ast.walk(ast.parse(path.read_text())):
    if isinstance(node, ast.ImportFrom) and node.module.startswith("leep_jax"):
      names = [node.module.partition(".")[2].partition(".")[0]]
      if node.module == "leep_jax":
        names = [alias.name for alias in node.names]
      assert set(names) <= set(above), f"{part} imports {names}"


@each_file
def test_public_names_are_documented(path):
  module = imported(path)
  assert module.__doc__, "no module docstring"
  for name, value in vars(module).items():
    mine = getattr(value, "__module__", None) == module.__name__
    if name.startswith("_") or not mine or not callable(value):
      continue
    assert inspect.getdoc(value), f"{name} has no docstring"
    for method, member in vars(value).items() if inspect.isclass(value) else ():
      kinds = (property, classmethod)
      if method[0] != "_" and (callable(member) or isinstance(member, kinds)):
        assert inspect.getdoc(getattr(value, method)), f"{name}.{method}"


@each_file
def test_options_are_keyword_only(path):
  for node in public_functions(path):
    assert not node.args.defaults, f"{node.name} takes options by position"


def test_scores_name_their_reference_and_direction():
  for name, row in scores.SCORES.items():
    text = inspect.getdoc(row.function)
    assert "Reference:" in text, name
    assert row.function is getattr(leep_jax, name)
    module = inspect.getmodule(row.function)
    assert module.__name__.startswith("leep_jax.scores.")


def test_no_public_function_has_the_name_of_a_module_beside_it():
  modules = {p.stem for p in ROOT.glob("*.py")}
  assert not modules & set(leep_jax.__all__)
  for package in (leep_jax, scores):
    for name in dir(package):
      value = getattr(package, name)
      if inspect.isfunction(value):
        folder = pathlib.Path(package.__file__).parent
        assert not (folder / f"{name}.py").exists()


def test_package_holds_no_code():
  body = ast.parse((ROOT / "__init__.py").read_text()).body
  kinds = {type(node) for node in body}
  assert kinds <= {ast.Expr, ast.ImportFrom, ast.Assign}
  assert len(leep_jax.__all__) <= 40
  assert all(hasattr(leep_jax, name) for name in leep_jax.__all__)


def test_importing_the_package_is_light():
  for name in (
    "tensorflow_datasets",
    "cv2",
    "sklearn",
    "matplotlib",
    "PIL",
    "huggingface_hub",
    "orbax",
  ):
    for path in FILES:
      for node in ast.parse(path.read_text()).body:
        if isinstance(node, (ast.Import, ast.ImportFrom)):
          assert name not in ast.unparse(node), path
