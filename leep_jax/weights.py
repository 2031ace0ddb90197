"""Foreign checkpoints to model state and back, by one table per architecture.

A checkpoint is a flat dictionary of named arrays in PyTorch's layout. The
tables below rewrite the path of a parameter in a Flax NNX model (`layer1/0/
conv1/kernel`) into its published name (`layer1.0.conv1.weight`), so that one
table serves reading and writing, and whatever matches nothing can be listed,
on either side.
"""

import pathlib
import re
from typing import Any

from flax import nnx
import numpy as np
import safetensors
import safetensors.numpy

from leep_jax import checks

# Architecture family -> substitutions (pattern, replacement), applied in order
# to the dotted NNX path of a parameter: they make its published name.
TABLES: dict[str, tuple[tuple[str, str], ...]] = {
  "cifar_resnet": (
    (r"\.(kernel|scale)$", ".weight"),
    (r"\.(mean|var)$", r".running_\1"),
  ),
}
# Counters that PyTorch's BatchNorm keeps and inference does not need.
_IGNORED = re.compile(r"(^|\.)num_batches_tracked$")
# NNX keeps the output channels last, PyTorch first.
_TO_NNX = {4: (2, 3, 1, 0), 2: (1, 0)}
_TO_TORCH = {4: (3, 2, 0, 1), 2: (1, 0)}


def _published_name(path: tuple[Any, ...], table) -> str:
  name = ".".join(map(str, path))
  for pattern, replacement in table:
    name = re.sub(pattern, replacement, name)
  return name


def read_tensors(
  path: str | pathlib.Path,
) -> tuple[dict[str, np.ndarray], dict[str, str]]:
  """Reads a checkpoint file.

  Args:
    path: a `.safetensors` or `.npz` file.

  Returns:
    The tensors by name, and the file's own string metadata (empty for npz).

  Raises:
    InputError: if the file is missing, damaged, or of another kind; pickles
      (`.pt`, `.pth`, `.bin`) are refused because reading one runs its code.
  """
  path = pathlib.Path(path)
  if not path.is_file():
    raise checks.InputError(f"no checkpoint file at {path}")
  if path.suffix in (".pt", ".pth", ".bin", ".pkl", ".ckpt"):
    raise checks.InputError(
      f"{path} looks like a pickle, which can run code when read; convert it: "
      "safetensors.torch.save_file(torch.load(FILE, weights_only=True), OUT)"
    )
  if path.suffix == ".npz":
    return checks.read_npz(path), {}
  try:
    with safetensors.safe_open(path, framework="np") as file:
      metadata = file.metadata() or {}
      return {k: file.get_tensor(k) for k in file.keys()}, metadata
  except Exception as e:  # safetensors raises several types
    raise checks.InputError(
      f"cannot read {path} as safetensors ({checks.reason(e)}): is the file "
      "damaged, or a download cut short?"
    ) from e


def load_into(
  model: nnx.Module, tensors: dict[str, np.ndarray], *, table: str, origin: str
) -> None:
  """Replaces every parameter and statistic of a model by a checkpoint's.

  Args:
    model: the model to fill; floating-point tensors become its dtype.
    tensors: named arrays in PyTorch's layout.
    table: row of `TABLES` to name the model's parameters by.
    origin: what error messages call the checkpoint.

  Raises:
    InputError: naming every tensor that is missing, left over, of another
      shape, or not finite; the model is then unchanged.
  """
  state = nnx.state(model)
  flat = dict(nnx.to_flat_state(state))
  left = {k for k in tensors if not _IGNORED.search(k)}
  missing, wrong, values = [], [], {}
  for path, variable in flat.items():
    name = _published_name(path, TABLES[table])
    if name not in tensors:
      missing.append(name)
      continue
    left.discard(name)
    value = np.asarray(tensors[name])
    if value.ndim in _TO_NNX:
      value = value.transpose(_TO_NNX[value.ndim])
    if value.shape != variable.shape:
      wrong.append(f"{name} {tensors[name].shape}")
    elif value.dtype.kind not in "fiu" and value.dtype.name != "bfloat16":
      wrong.append(f"{name} ({value.dtype})")
    elif not np.all(np.isfinite(value.astype(np.float32))):
      wrong.append(f"{name} (not finite)")
    else:
      values[path] = value
  problems = [
    f"{len(names)} tensors {what}: {', '.join(sorted(names))}"
    for what, names in (
      ("missing", missing),
      ("not of this architecture", left),
      ("of the wrong shape", wrong),
    )
    if names
  ]
  if problems:
    raise checks.InputError(
      f"{origin} does not fit the architecture; " + "; ".join(problems)
    )
  for path, variable in flat.items():
    variable.set_value(np.asarray(values[path], variable.dtype))
  nnx.update(model, state)


def save(
  model: nnx.Module,
  path: str | pathlib.Path,
  *,
  table: str,
  dtype: Any = np.float16,
  metadata: dict[str, str] | None = None,
) -> None:
  """Writes a model as safetensors with published names, for `load_into`.

  Args:
    model: the model to write.
    path: file to write.
    table: row of `TABLES` to name the parameters by.
    dtype: floating-point type of the tensors in the file.
    metadata: strings to keep in the file's header.
  """
  tensors = {}
  for parameter, variable in nnx.to_flat_state(nnx.state(model)):
    value = np.asarray(variable.get_value(), dtype)
    if value.ndim in _TO_TORCH:
      value = value.transpose(_TO_TORCH[value.ndim])
    name = _published_name(parameter, TABLES[table])
    tensors[name] = np.ascontiguousarray(value)
  safetensors.numpy.save_file(tensors, path, metadata=metadata)
