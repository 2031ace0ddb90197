"""The rules of the house, kept by tests."""

import ast
import graphlib
import importlib
import inspect
import pathlib
import re
import subprocess
import sys

import pytest

import leep_jax
from leep_jax import scores

ROOT = pathlib.Path(leep_jax.__file__).parent
FILES = sorted(ROOT.rglob("*.py"))
# Files by the names under which they are imported.
MODULES = {
  ".".join(path.relative_to(ROOT.parent).with_suffix("").parts).removesuffix(
    ".__init__"
  ): path
  for path in FILES
}
# Modules and packages, each importing only from those before it.
ORDER = re.findall(
  r"^\| `([\w/]+)(?:\.py|/)` \|", (ROOT.parent / "BUILD.md").read_text(), re.M
)
# Packages whose files and functions are short; the others are to follow.
SHORT = (
  "data",
  "engine",
  "ensembles",
  "models",
  "racing",
  "relations",
  "reports",
  "scores",
  "sources",
  "tasks",
  "transfer",
  "validation",
)
# Modules that `python -m` runs, and what they share; they are short too.
COMMANDS = [
  path
  for path in FILES
  if path.name == "command.py"
  or 'if __name__ == "__main__":' in path.read_text()
]


def imports(text):
  """Names of the package's modules that a file imports, anywhere in it."""
  for node in ast.walk(ast.parse(text)):
    if isinstance(node, ast.Import):
      found = [alias.name for alias in node.names]
    elif isinstance(node, ast.ImportFrom):
      assert not node.level, "imports are absolute"
      inner = [f"{node.module}.{alias.name}" for alias in node.names]
      found = [name if name in MODULES else node.module for name in inner]
    else:
      continue
    yield from (name for name in found if name.split(".")[0] == "leep_jax")


def part(name):
  """The row of the table that a module belongs to, such as `scores`."""
  _, first, *rest = name.split(".")
  return f"{first}/__main__" if rest[-1:] == ["__main__"] else first


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
    if isinstance(node, ast.ClassDef) and node.name.startswith("_"):
      continue
    inside = node.body if isinstance(node, ast.ClassDef) else [node]
    for inner in inside:
      if isinstance(inner, ast.FunctionDef) and inner.name[0] != "_":
        yield inner


each_file = pytest.mark.parametrize("path", FILES, ids=lambda p: p.stem)


@each_file
def test_only_two_modules_name_device_primitives(path):
  devices, hosts = r"pmap|psum|shard_map|axis_name", r"all_gather|process_\w+"
  if path != ROOT / "engine" / "programs.py":
    assert not re.search(rf"\b({devices})\b", code(path))
  if path != ROOT / "engine" / "hosts.py":
    assert not re.search(rf"\b({hosts})\b", code(path))


@each_file
def test_only_data_imports_tfds(path):
  if path.name != "tfds.py":
    assert "tensorflow" not in code(path)
  assert not re.search(r"import tensorflow\b", code(path))


def test_every_module_has_a_row():
  found = {part(name) for name in MODULES if name != "leep_jax"}
  assert sorted(ORDER) == sorted(found)


@pytest.mark.parametrize("name", sorted(MODULES.keys() - {"leep_jax"}))
def test_modules_import_only_from_those_above(name):
  above = ORDER[: ORDER.index(part(name)) + 1]
  for other in imports(MODULES[name].read_text()):
    assert other != "leep_jax", f"{name} imports the package it is in"
    assert part(other) in above, f"{name} imports {other}"


def test_no_circle_of_imports():
  graph = {name: imports(path.read_text()) for name, path in MODULES.items()}
  graphlib.TopologicalSorter(graph).prepare()  # raises CycleError


@pytest.mark.parametrize(
  ("text", "names"),
  [
    ("import leep_jax", ["leep_jax"]),
    ("import leep_jax.scores.nce as n, os", ["leep_jax.scores.nce"]),
    ("from leep_jax import data, leep", ["leep_jax.data", "leep_jax"]),
    ("def f():\n  from leep_jax.scores import nce", ["leep_jax.scores.nce"]),
    ("from leep_jax.scores.nce import nce", ["leep_jax.scores.nce"]),
    ("from leep_jax.scores import SCORES", ["leep_jax.scores"]),
    ("import leep_jaxx, jax", []),
  ],
)
def test_imports_are_found(text, names):
  assert list(imports(text)) == names


@pytest.mark.parametrize(
  "path",
  [
    path
    for path in FILES
    if path in COMMANDS or path.relative_to(ROOT).parts[0] in SHORT
  ],
)
def test_files_and_functions_are_short(path):
  text = path.read_text()
  assert text.count("\n") <= 500
  for node in ast.walk(_undocumented(ast.parse(text))):
    if isinstance(node, ast.FunctionDef):
      first = getattr(node.body[0], "lineno", node.end_lineno)
      assert node.end_lineno - first < 60, node.name


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
def test_public_functions_state_all_types(path):
  for node in public_functions(path):
    arguments = [*node.args.posonlyargs, *node.args.args, *node.args.kwonlyargs]
    untyped = [a.arg for a in arguments if a.annotation is None]
    assert not set(untyped) - {"self", "cls"}, node.name
    assert node.returns, f"{node.name} does not state what it returns"


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


@pytest.mark.parametrize(
  "path", [path for path in FILES if path.name == "__init__.py"], ids=str
)
def test_no_public_function_has_the_name_of_a_module_beside_it(path):
  package = imported(path)
  files = path.parent.glob("*.py"), path.parent.glob("*/__init__.py")
  beside = {p.stem for p in files[0]} | {p.parent.name for p in files[1]}
  for name in beside:
    assert not inspect.isfunction(getattr(package, name, None)), name
  assert not beside & set(getattr(package, "__all__", ()))


def test_package_holds_no_code():
  body = ast.parse((ROOT / "__init__.py").read_text()).body
  kinds = {type(node) for node in body}
  assert kinds <= {ast.Expr, ast.ImportFrom, ast.Assign}
  # Every score, and few other names.
  assert len(set(leep_jax.__all__) - scores.SCORES.keys()) <= 28
  assert all(hasattr(leep_jax, name) for name in leep_jax.__all__)


def test_libraries_of_models_are_imported_when_asked():
  optional = ["torch", "timm", "transformers", "keras", "equinox", "haiku"]
  code = f"""import importlib, sys
for name in {sorted(MODULES)}:
  importlib.import_module(name)
print(sorted(set({optional}) & sys.modules.keys()))"""
  found = subprocess.run(
    [sys.executable, "-c", code], capture_output=True, text=True, check=True
  )
  assert found.stdout.splitlines()[-1] == "[]"


def test_importing_the_package_is_light():
  for name in (
    "tensorflow_datasets",
    "cv2",
    "sklearn",
    "matplotlib",
    "PIL",
    "huggingface_hub",
    "orbax",
    "jinja2",
    "markupsafe",
  ):
    for path in FILES:
      for node in ast.parse(path.read_text()).body:
        found = []
        if isinstance(node, ast.Import):
          found = [alias.name for alias in node.names]
        elif isinstance(node, ast.ImportFrom):
          found = [node.module]
        assert name not in {part.split(".")[0] for part in found}, path
