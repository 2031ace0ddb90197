"""All sources whose names are known: bundled, published, timm's and Keras's.

`python -m leep_jax.models --list=PATTERN` prints them. Names of sources in a
file, for `--models=FILE`, are read here, too.
"""

from collections.abc import Sequence
import dataclasses
import fnmatch
import os
import pathlib
import re

from leep_jax import validation
from leep_jax.sources import (
  architectures,
  catalog,
  keras_models,
  named,
  timm_names,
)

NATIVE = "native"
BRIDGE = "bridge"
KERAS = "keras"
# Of ImageNet, which all weights of `keras.applications` are for.
_IMAGENET_CLASSES = 1000


@dataclasses.dataclass(frozen=True)
class Known:
  """A source whose name is known.

  Attributes:
    name: of the source, as `--model` takes it.
    parameters: number of parameters.
    image_size: height and width of its input, in pixels.
    num_classes: of its classifier; 0 if it has none.
    accuracy: published top-1 accuracy on its own data, 0 to 1, or None.
    backend: what computes its outputs: `native`, a network of this package in
      Flax NNX; `bridge`, the graph of the PyTorch network run by JAX; or
      `keras`, Keras on JAX.

  Example:
    >>> from leep_jax.sources import known
    >>> [row] = known.matching(["resnet50.tv_in1k"])
    >>> row.num_classes, row.accuracy, row.backend
    (1000, 0.76156, 'native')
  """

  name: str
  parameters: int
  image_size: tuple[int, int]
  num_classes: int
  accuracy: float | None
  backend: str


def backend(architecture: str) -> str:
  """Returns what computes the outputs of an architecture, see `Known`.

  Args:
    architecture: the name that any publisher uses.

  Example:
    >>> from leep_jax.sources import known
    >>> known.backend("resnet50"), known.backend("mixer_b16_224")
    ('native', 'bridge')
  """
  native = architecture.lower() in architectures.of_timm()
  return NATIVE if native else BRIDGE


def matching(patterns: Sequence[str]) -> list[Known]:
  """Returns the known sources whose names match, sorted by name.

  Args:
    patterns: as a shell writes them, with `*`, `?` and `[...]`; a source has to
      match one of them. The case of letters does not matter.

  Raises:
    InputError: if a pattern matches nothing; it says which names are near.

  Example:
    >>> from leep_jax.sources import known
    >>> [row.name for row in known.matching(["cifar10_*", "RESNET18.tv*"])]
    ['cifar10_resnet14', 'resnet18.tv_in1k']
  """
  rows = _rows()
  found: dict[str, Known] = {}
  for pattern in patterns:
    short = pattern.lower().removeprefix("timm/")
    names = fnmatch.filter(rows, short)
    if not names:
      raise validation.unknown("model", pattern, _near(pattern, rows))
    found |= {name: rows[name] for name in names}
  return sorted(found.values(), key=lambda row: row.name.lower())


def _near(pattern, names):
  """What a pattern may have meant: names, and patterns of architectures."""
  archs = {name.partition(".")[0] for name in names}
  # Families too, as convnext of convnext_atto.
  families = archs | {arch.split("_")[0] for arch in archs}
  patterns = {f"{family}*" for family in families}
  if "." in pattern or not validation.nearest(pattern, patterns):
    return names
  return patterns


def _rows() -> dict[str, Known]:
  """All known sources, by their names in lower case."""
  rows = {
    name: Known(
      model.name,
      model.parameters,
      model.image_size,
      model.num_classes,
      model.accuracy,
      backend(model.architecture),
    )
    for name, model in timm_names.models().items()
  }
  # Published sources have timm's names, too.
  for entry in named.entries():
    rows[entry.name.lower()] = Known(
      entry.name,
      entry.parameters,
      (entry.image_size, entry.image_size),
      entry.num_classes,
      entry.accuracy,
      backend(entry.architecture),
    )
  for name, application in keras_models.APPLICATIONS.items():
    side = application.image_size
    rows[f"keras/{name}".lower()] = Known(
      f"keras/{name}",
      application.parameters,
      (side, side),
      _IMAGENET_CLASSES,
      application.accuracy,
      KERAS,
    )
  return rows


def asked(listed: Sequence[str] | None, path: str | None) -> list[str]:
  """Returns the names of sources that a command is given, each once.

  Args:
    listed: names, which come first, or None.
    path: of a file of further names, see `in_file`, or None.

  Returns:
    The names; if neither is given, those of the bundled sources.

  Raises:
    InputError: if a source cannot be loaded, see `catalog.check_source`; if the
      file cannot be read, or names no source.

  Example:
    >>> from leep_jax.sources import known
    >>> known.asked(["cifar10_resnet14"], None)
    ['cifar10_resnet14']
  """
  # Names, and where they stand.
  found = dict.fromkeys(listed or (), "")
  if path is not None:
    found = in_file(path) | found
    # Those of the list come first.
    found = dict.fromkeys(listed or (), "") | found
  elif listed is None:
    found = dict.fromkeys(named.names(), "")
  for name, where in found.items():
    try:
      catalog.check_source(name)
    except validation.InputError as e:
      if not where:
        raise
      raise validation.InputError(f"{where}: {e}") from e
  return list(found)


def in_file(path: str) -> dict[str, str]:
  """Returns the names that a file has, one a line, each once.

  Args:
    path: of a text file. A `#` at the start of a line or after a space begins a
      comment; empty lines mean nothing.

  Returns:
    For each name where it stands first, for errors: the file and the line.

  Raises:
    InputError: if the file cannot be read, or has no names.

  Example:
    >>> import os, pathlib, tempfile
    >>> from leep_jax.sources import known
    >>> with tempfile.TemporaryDirectory() as folder:
    ...   path = pathlib.Path(folder) / "mine.txt"
    ...   _ = path.write_text("a  # small\\n\\nb\\na\\n")
    ...   list(known.in_file(str(path)))
    ['a', 'b']
  """
  full = os.path.expanduser(path)
  validation.check_file(full)
  try:
    # Editors on Windows begin a file with a mark of its encoding.
    text = pathlib.Path(full).read_text(encoding="utf-8-sig")
  except OSError as e:
    raise validation.InputError(f"cannot read {path}: {e.strerror}") from e
  except UnicodeDecodeError as e:
    raise validation.InputError(
      f"{path} is no text: it has to name one source a line"
    ) from e
  found: dict[str, str] = {}
  for number, line in enumerate(text.splitlines(), 1):
    name = re.split(r"(?:^|\s)#", line)[0].strip()
    if "," in name and not pathlib.Path(name).expanduser().exists():
      raise validation.InputError(
        f"{path}, line {number}: {name!r} has a comma: write one name a line"
      )
    if name:
      found.setdefault(name, f"{path}, line {number}")
  if not found:
    raise validation.InputError(
      f"{path} names no source: it has to, one a line"
    )
  return found
