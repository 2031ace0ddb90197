"""Folders of converted models: what runs a PyTorch network without PyTorch.

    program.json         the graph, where its classifier is, the preprocessing
    tokenizer.json, ...  what the preprocessing of texts and sounds reads
    model.safetensors    weights, and constants as `constants/NAME`
    program.stablehlo    the same function for other tools, of `jax.export`

The last is optional. The others are what this package reads: they run in any
dtype, and can be fine-tuned.
"""

import dataclasses
import json
import pathlib
from typing import Any

import numpy as np
import safetensors.numpy

from leep_jax import validation, version
from leep_jax.bridge import heads, program as program_lib, running
from leep_jax.models.audio_preprocessing import AudioPreprocessing
from leep_jax.models.preprocessing import Preprocessing
from leep_jax.models.text_preprocessing import TextPreprocessing
from leep_jax.sources import (
  bridged,
  checkpoints,
  hearing,
  overrides as overrides_lib,
  source as source_lib,
  tokenizing,
  transformers_models,
)

_PROGRAM = "program.json"
_WEIGHTS = "model.safetensors"
_STABLEHLO = "program.stablehlo"
_CONSTANTS = "constants/"
_VERSION = 1


@dataclasses.dataclass(frozen=True)
class Converted:
  """A converted model.

  Attributes:
    program: its network.
    arrays: `weights` and `constants`, each by name.
    preprocessing: of raw inputs.
    files: content of the files that the preprocessing of texts and sounds
      reads, by name; of images, none.
    origin: what was converted, and by which versions of which libraries.

  Example:
    >>> import dataclasses
    >>> from leep_jax.sources import converted
    >>> [field.name for field in dataclasses.fields(converted.Converted)]
    ['program', 'arrays', 'preprocessing', 'origin', 'files']
  """

  program: program_lib.Program
  arrays: dict[str, dict[str, np.ndarray]]
  preprocessing: Preprocessing | TextPreprocessing | AudioPreprocessing
  origin: dict[str, str]
  files: dict[str, bytes] = dataclasses.field(default_factory=dict)


def is_converted(path: pathlib.Path) -> bool:
  """Returns whether a path is a folder that `write` wrote.

  Args:
    path: of a file or folder.

  Example:
    >>> import pathlib
    >>> from leep_jax.sources import converted
    >>> converted.is_converted(pathlib.Path("no_such_folder"))
    False
  """
  return (path / _PROGRAM).is_file()


def write(
  folder: pathlib.Path, model: Converted, *, stablehlo: bool = False
) -> None:
  """Writes a converted model.

  Args:
    folder: is made if it is missing.
    model: what to write.
    stablehlo: whether to write `program.stablehlo` as well, which takes about
      as long as compiling the network.

  Raises:
    InputError: if it cannot be written.

  Example:
    >>> import pathlib, tempfile
    >>> from leep_jax.bridge import graph, heads, program
    >>> from leep_jax.models.preprocessing import Preprocessing
    >>> from leep_jax.sources import converted
    >>> nodes = (graph.Node("y", "mean.dim", (graph.Ref("x"), [2, 3])),)
    >>> network = graph.Graph(("x",), {}, (), (), nodes, "y")
    >>> head = heads.without_classifier(network, "it has none")
    >>> model = converted.Converted(
    ...   program.Program(network, head, "image"),
    ...   {"weights": {}, "constants": {}}, Preprocessing(image_size=8), {})
    >>> with tempfile.TemporaryDirectory() as folder:
    ...   converted.write(pathlib.Path(folder), model)
    ...   converted.read(pathlib.Path(folder)) == model
    True
  """
  tensors = {
    **model.arrays["weights"],
    **{_CONSTANTS + k: v for k, v in model.arrays["constants"].items()},
  }
  content = {
    "version": _VERSION,
    "program": json.loads(model.program.to_json()),
    "preprocessing": _described(model),
    "origin": model.origin,
  }
  # Made first: a folder is not left half written.
  exported = _stablehlo(model) if stablehlo else None
  try:
    folder.mkdir(parents=True, exist_ok=True)
    # Tensors without elements or of one number have to be contiguous, too.
    safetensors.numpy.save_file(
      {k: np.ascontiguousarray(v).reshape(v.shape) for k, v in tensors.items()},
      folder / _WEIGHTS,
    )
    for name, file in model.files.items():
      (folder / name).write_bytes(file)
    if exported is not None:
      (folder / _STABLEHLO).write_bytes(exported)
    # Last: a folder with it is complete.
    (folder / _PROGRAM).write_text(json.dumps(content), encoding="utf-8")
  except OSError as e:
    raise validation.InputError(
      f"cannot write {folder}: {validation.reason(e)}"
    ) from e


def _described(model: Converted) -> dict[str, Any]:
  """The preprocessing as JSON: its fields, or what it is read from."""
  if isinstance(model.preprocessing, Preprocessing):
    return dataclasses.asdict(model.preprocessing)
  return {"inputs": model.preprocessing.inputs}


def _preprocessing(
  folder: pathlib.Path, stated: dict[str, Any]
) -> Preprocessing | TextPreprocessing | AudioPreprocessing:
  """The preprocessing that `_described` describes."""
  if stated.get("inputs") == "text":
    return tokenizing.read(folder, transformers_models.read_config(folder))
  if stated.get("inputs") == "audio":
    return hearing.read(folder)
  fields: dict[str, Any] = {
    key: tuple(value) if isinstance(value, list) else value
    for key, value in stated.items()
  }
  return Preprocessing(**fields)


def _stablehlo(model: Converted) -> bytes:
  """The function of weights and images, for any number of images."""
  import jax
  from jax import export
  import jax.numpy as jnp

  if not isinstance(model.preprocessing, Preprocessing):
    raise validation.InputError(
      f"{_STABLEHLO} is written of networks of images, not of "
      f"{model.preprocessing.inputs}"
    )
  (batch,) = export.symbolic_shape("batch")
  sides = model.preprocessing.sides
  if sides is None:
    raise validation.InputError("images have no size: give image_size")
  channels = len(model.preprocessing.mean)
  images = jax.ShapeDtypeStruct((batch, *sides, channels), jnp.float32)
  arrays = jax.tree.map(jnp.asarray, model.arrays)
  arrays = jax.tree.map(
    lambda x: jax.ShapeDtypeStruct(x.shape, x.dtype), arrays
  )
  exported = export.export(
    jax.jit(model.program.apply), platforms=("cpu", "cuda", "tpu")
  )(arrays, images)
  try:
    return bytes(exported.serialize())
  except ImportError as e:  # the one package that only this needs
    raise validation.InputError(
      f"{_STABLEHLO} cannot be written ({validation.reason(e)}): pip install "
      "'leep_jax[torch]', or pass --nostablehlo"
    ) from e


def read(folder: pathlib.Path) -> Converted:
  """Reads a folder that `write` wrote.

  Args:
    folder: of the model.

  Raises:
    InputError: if a file is missing or damaged, or of a later version.

  Example:
    >>> import pathlib
    >>> import leep_jax
    >>> from leep_jax.sources import converted
    >>> try:
    ...   converted.read(pathlib.Path("no_such_folder"))
    ... except leep_jax.InputError as error:
    ...   print(str(error)[:40])
    cannot read no_such_folder/program.json
  """
  try:
    content = json.loads((folder / _PROGRAM).read_text(encoding="utf-8"))
    written = content["version"]
    if written != _VERSION:
      raise validation.InputError(
        f"{folder} has version {written}, but {_VERSION} is known: convert the "
        f"model again with leep_jax {version.__version__}"
      )
    program = program_lib.Program.from_json(json.dumps(content["program"]))
    running.check(program.graph, f"{folder}")
    preprocessing = _preprocessing(folder, content["preprocessing"])
    origin = dict(content["origin"])
  except validation.InputError:
    raise
  except (OSError, ValueError, TypeError, KeyError, AttributeError) as e:
    raise validation.InputError(
      f"cannot read {folder / _PROGRAM} ({type(e).__name__}: "
      f"{validation.reason(e)}): is it damaged, or of another tool?"
    ) from e
  tensors, _ = checkpoints.read_tensors(folder / _WEIGHTS)
  constants = {
    k.removeprefix(_CONSTANTS): v
    for k, v in tensors.items()
    if k.startswith(_CONSTANTS)
  }
  weights = {k: v for k, v in tensors.items() if not k.startswith(_CONSTANTS)}
  wanted = {
    *program.graph.weights.values(),
    *(_CONSTANTS + c for c in program.graph.constants),
  }
  if missing := wanted - tensors.keys():
    raise validation.InputError(
      f"{folder / _WEIGHTS} lacks {len(missing)} tensors "
      f"({validation.some(sorted(missing), count=False)}): is it of another "
      "model?"
    )
  arrays = {"weights": weights, "constants": constants}
  return Converted(program, arrays, preprocessing, origin)


def load(
  name: str, folder: pathlib.Path, overrides: overrides_lib.Overrides
) -> source_lib.Source:
  """Returns the source of a folder that `write` wrote.

  Args:
    name: of the source.
    folder: of the model.
    overrides: what replaces its preprocessing; its image size is fixed.

  Raises:
    InputError: as `read`, or if overrides do not fit.

  Example:
    >>> import pathlib, tempfile
    >>> from leep_jax.bridge import graph, heads, program
    >>> from leep_jax.models.preprocessing import Preprocessing
    >>> from leep_jax.sources import catalog, converted
    >>> network = graph.Graph(("x",), {}, (), (), (), "x")
    >>> head = heads.without_classifier(network, "it has none")
    >>> model = converted.Converted(
    ...   program.Program(network, head, "image"),
    ...   {"weights": {}, "constants": {}}, Preprocessing(image_size=8), {})
    >>> with tempfile.TemporaryDirectory() as folder:
    ...   path = pathlib.Path(folder)
    ...   converted.write(path, model)
    ...   converted.load("mine", path, catalog.Overrides()).without_probs
    'it has none'
  """
  return as_source(name, read(folder), overrides)


def as_source(
  name: str, model: Converted, overrides: overrides_lib.Overrides
) -> source_lib.Source:
  """Returns the source that runs a converted model.

  Args:
    name: of the source.
    model: the model.
    overrides: what replaces its preprocessing.

  Raises:
    InputError: if overrides do not fit.

  Example:
    >>> import leep_jax
    >>> from leep_jax.bridge import graph, heads, program
    >>> from leep_jax.models.preprocessing import Preprocessing
    >>> from leep_jax.sources import catalog, converted
    >>> network = graph.Graph(("x",), {}, (), (), (), "x")
    >>> head = heads.without_classifier(network, "it has none")
    >>> model = converted.Converted(
    ...   program.Program(network, head, "image"),
    ...   {"weights": {}, "constants": {}}, Preprocessing(image_size=8), {})
    >>> try:
    ...   converted.as_source("mine", model, catalog.Overrides(image_size=9))
    ... except leep_jax.InputError as error:
    ...   print(error)
    image_size is 9, but mine was converted for images of 8 pixels: convert it
    again with that size
  """
  fixed = getattr(model.preprocessing, "image_size", None)
  size = overrides.image_size
  if fixed is not None and size not in (None, fixed):
    raise validation.InputError(
      f"image_size is {size}, but {name} was converted for "
      f"images of {fixed} pixels: convert it again with that size"
    )
  for what, value in (
    ("tf_padding", overrides.tf_padding),
    ("source_classes", overrides.num_classes),
    ("pooling", overrides.pooling),
  ):
    if value is not None:
      raise validation.InputError(
        f"{what} is {value}, but {name} is converted, and what its network "
        "computes was chosen then"
      )
  found = overrides.applied(name, model.preprocessing)
  program = model.program
  if overrides.features is not None:
    head = heads.named(program.graph, overrides.features, program.head)
    program = dataclasses.replace(program, head=head)
  return bridged.from_program(name, program, model.arrays, preprocessing=found)
