"""Files of weights: safetensors, npz and Orbax, read and written.

Whatever the format, a checkpoint is read as tensors by name in PyTorch's
layout, which `matching.py` brings to a network. Pickles are refused, because
reading one can run code.
"""

from collections.abc import Iterator, Mapping
import contextlib
import json
import os
import pathlib
import tempfile

from flax import nnx
import numpy as np
from numpy import typing as npt
import safetensors
import safetensors.numpy

from leep_jax import file_kinds, validation
from leep_jax.sources import matching, orbax

_INDEX = "model.safetensors.index.json"


def read_tensors(
  path: str | os.PathLike[str],
) -> tuple[dict[str, np.ndarray], dict[str, str]]:
  """Reads a checkpoint.

  Args:
    path: a safetensors or npz file, whatever its name ends with; the index of
      a safetensors file in several parts (`.index.json`); or the folder of an
      Orbax checkpoint of an NNX state.

  Returns:
    The tensors by name, in PyTorch's layout, and the file's string metadata,
    which only safetensors has.

  Raises:
    InputError: if there is no such file, or it is damaged or of another kind
      (see `file_kinds`).

  Example:
    >>> import pathlib, tempfile
    >>> import numpy as np
    >>> from leep_jax.sources import checkpoints
    >>> with tempfile.TemporaryDirectory() as folder:
    ...   path = pathlib.Path(folder) / "weights.npz"
    ...   np.savez(path, weight=np.zeros((10, 64)))
    ...   tensors, metadata = checkpoints.read_tensors(path)
    >>> tensors["weight"].shape, metadata
    ((10, 64), {})
  """
  path = pathlib.Path(path).expanduser()
  if orbax.is_tree(path):
    return _read_orbax(path), {}
  if not path.is_file():
    raise validation.InputError(f"no checkpoint file at {path}")
  if path.name.endswith(".index.json"):
    return _read_parts(path), {}
  kind = _kind(path)
  if kind is not None and not kind.readable:
    raise _refusal(path, kind)
  if kind is not None and kind.name == "npz":
    return _of_flax(validation.read_npz(path)), {}
  with _readable(path), safetensors.safe_open(path, framework="np") as file:
    metadata = file.metadata() or {}
    return {k: file.get_tensor(k) for k in file.keys()}, metadata


@contextlib.contextmanager
def _readable(path: pathlib.Path) -> Iterator[None]:
  """Turns what safetensors raises into an error that names the file."""
  try:
    yield
  except Exception as e:  # safetensors raises several types
    raise validation.InputError(
      f"cannot read {path} as safetensors ({validation.reason(e)}): is the "
      "file damaged, or a download cut short?"
    ) from e


def _kind(path: pathlib.Path) -> file_kinds.Kind | None:
  try:
    return file_kinds.of_checkpoint(path)
  except (OSError, ValueError) as e:
    raise validation.InputError(
      f"cannot read {path}: {validation.reason(e)}"
    ) from e


def _refusal(
  path: pathlib.Path, kind: file_kinds.Kind
) -> validation.InputError:
  """Returns the error that refuses a file of a kind, and says what to do."""
  return validation.InputError(f"{path} is {kind.name}{kind.checkpoint}")


def read_metadata(path: str | os.PathLike[str]) -> dict[str, str]:
  """Returns the string metadata of a safetensors file; tensors are not read.

  Args:
    path: of the file.

  Example:
    >>> from leep_jax.sources import catalog, checkpoints
    >>> path = catalog.bundled()["cifar10_resnet14"]
    >>> sorted(checkpoints.read_metadata(path))
    ['leep_jax']
  """
  with safetensors.safe_open(path, framework="np") as file:
    return dict(file.metadata() or {})


def find(folder: pathlib.Path) -> pathlib.Path:
  """Returns the checkpoint in a folder, for `read_tensors`.

  Args:
    folder: laid out as a repository of the hub is, or by Orbax.

  Raises:
    InputError: if there is no checkpoint in it, or several and none is called
      `model.safetensors`.

  Example:
    >>> import pathlib, tempfile
    >>> from leep_jax.sources import checkpoints
    >>> with tempfile.TemporaryDirectory() as folder:
    ...   path = pathlib.Path(folder) / "epoch_9.safetensors"
    ...   path.write_bytes(b"...") > 0
    ...   checkpoints.find(pathlib.Path(folder)).name
    True
    'epoch_9.safetensors'
  """
  inside = orbax.find(folder)
  if inside is not None:
    return inside
  for name in ("model.safetensors", _INDEX):
    if (folder / name).is_file():
      return folder / name
  found = sorted(p for p in folder.glob("*.safetensors") if p.is_file())
  if len(found) == 1:
    return found[0]
  if found:
    raise validation.InputError(
      f"{folder} has {len(found)} checkpoints "
      f"({', '.join(p.name for p in found)}), none called model.safetensors: "
      "name one of them"
    )
  raise _folder_refusal(folder) or validation.InputError(
    f"{folder} has no checkpoint: no model.safetensors, no Orbax metadata"
  )


@contextlib.contextmanager
def alone(path: pathlib.Path) -> Iterator[pathlib.Path]:
  """A folder with one safetensors checkpoint and its configuration, no more.

  Other libraries choose what they read of a folder. They could take another
  file than the user named, or a pickle, which may run any code.

  Args:
    path: of a safetensors file, or of a folder laid out as on the hub.

  Yields:
    The folder, of links.

  Raises:
    InputError: if there is no safetensors file, or a damaged one.

  Example:
    >>> import pathlib, tempfile
    >>> import leep_jax
    >>> from leep_jax.sources import checkpoints
    >>> with tempfile.TemporaryDirectory() as folder:
    ...   path = pathlib.Path(folder) / "model.safetensors"
    ...   _ = path.write_bytes(b"cut short")
    ...   try:
    ...     with checkpoints.alone(path):
    ...       pass
    ...   except leep_jax.InputError as error:
    ...     print(f"{error}"[:12])
    cannot read
  """
  folder = path if path.is_dir() else path.parent
  file = find(folder) if path.is_dir() else path
  whole = file.name.endswith(".index.json")
  parts = _parts(file) if whole else [file]
  for part in parts:
    with _readable(part), safetensors.safe_open(part, framework="np"):
      pass
  # The names that libraries look for.
  links = {part: part.name for part in parts}
  links[file] = _INDEX if whole else "model.safetensors"
  for beside in folder.glob("*.json"):
    if not beside.name.endswith(".index.json"):
      links[beside] = beside.name
  with tempfile.TemporaryDirectory() as name:
    view = pathlib.Path(name)
    for target, link in links.items():
      (view / link).symlink_to(target.resolve())
    yield view


def _folder_refusal(folder: pathlib.Path) -> validation.InputError | None:
  """Returns an error with advice if a folder has a file of a known kind."""
  if (folder / "saved_model.pb").exists():
    return validation.InputError(
      f"{folder} is a TensorFlow SavedModel, not read here: {file_kinds.SOURCE}"
    )
  for path in sorted(p for p in folder.iterdir() if p.is_file()):
    kind = _kind(path)
    # JSON is what lies beside a checkpoint: it is not what is wrong.
    if kind and not kind.readable and not kind.name.startswith("JSON"):
      return _refusal(path, kind)
  return None


def _of_flax(tensors):
  """Gives flat arrays of Flax the names and layout of PyTorch; others stay.

  Names are `a/b/kernel`, perhaps below `params/`. Kernels of attention have an
  axis of H heads: `[D, H, D / H]` of its inputs, `[H, D / H, D]` of its output.
  """
  if not any(name.endswith("/kernel") for name in tensors):
    return tensors
  found = {}
  for name, array in tensors.items():
    parts = name.removeprefix("params/").removeprefix("opt/target/").split("/")
    layer = parts[-2] if len(parts) > 1 else ""
    if parts[-1] == "kernel" and array.ndim == 3:
      if layer == "out":
        array = array.reshape(-1, array.shape[-1])
      else:
        array = array.reshape(array.shape[0], -1)
    # Their biases are [H, D / H].
    elif layer in ("query", "key", "value") and array.ndim == 2:
      array = array.reshape(-1)
    order = matching.axes(parts, matching.TO_TORCH, array.ndim)
    found[matching.published_name(tuple(parts))] = array.transpose(order)
  return found


def _parts(path):
  """The files that the index of a checkpoint in several parts names."""
  try:
    parts = sorted(set(json.loads(path.read_text())["weight_map"].values()))
    # An index is a download: its paths must not lead to other folders.
    outside = [part for part in parts if pathlib.PurePath(part).name != part]
    if outside:
      raise ValueError(f"{outside[0]} is not beside it")
  except (OSError, ValueError, TypeError, KeyError, AttributeError) as e:
    raise validation.InputError(
      f"cannot read {path} as the index of a checkpoint "
      f"({validation.reason(e)})"
    ) from e
  return [path.parent / part for part in parts]


def _read_parts(path):
  tensors: dict[str, np.ndarray] = {}
  for part in _parts(path):
    tensors |= read_tensors(part)[0]
  return tensors


def _read_orbax(path):
  """Reads an Orbax checkpoint of an NNX state as published tensors."""
  tensors = {}
  for parts, array in orbax.read(path).items():
    order = matching.axes(parts, matching.TO_TORCH, array.ndim)
    tensors[matching.published_name(parts)] = array.transpose(order)
  return tensors


def save(
  model: nnx.Module,
  path: str | os.PathLike[str],
  *,
  dtype: npt.DTypeLike = np.float16,
  metadata: Mapping[str, str] | None = None,
) -> None:
  """Writes a model as a safetensors file with the published names.

  Args:
    model: the model to write.
    path: file to write.
    dtype: floating-point type of the tensors in the file.
    metadata: strings for the file's header.

  Example:
    >>> import pathlib, tempfile
    >>> from leep_jax.sources import catalog, checkpoints
    >>> model = catalog.build("resnet8", 10)
    >>> with tempfile.TemporaryDirectory() as folder:
    ...   path = pathlib.Path(folder) / "model.safetensors"
    ...   checkpoints.save(model, path, metadata={"data": "cifar10"})
    ...   tensors, metadata = checkpoints.read_tensors(path)
    >>> tensors["linear.bias"].dtype.name, metadata
    ('float16', {'data': 'cifar10'})
  """
  tensors = {
    name: np.ascontiguousarray(value, dtype)
    for name, value in matching.published(model).items()
  }
  header = None if metadata is None else dict(metadata)
  safetensors.numpy.save_file(tensors, path, metadata=header)
