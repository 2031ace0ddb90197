"""Checkpoints to model state and back.

A checkpoint is a flat dictionary of named arrays. The attributes of a network
in `models/` have the names under which its weights are published (timm's or
torchvision's), so that what is left to do for a parameter is the same for all
architectures: `layer1/0/conv1/kernel` is `layer1.0.conv1.weight`, with its axes
in another order. What other publishers call a tensor is told by one table per
architecture, beside the network. Whatever matches nothing is listed, on either
side.
"""

from collections.abc import Sequence
import json
import pathlib
import re
from typing import Any

from flax import nnx
import numpy as np
import safetensors
import safetensors.numpy

from leep_jax import validation
from leep_jax.models.architecture import Names
from leep_jax.sources import file_kinds, orbax

# What wrappers of PyTorch put before every name.
_WRAPPERS: Names = ((r"^((module|_orig_mod|model|state_dict)\.)+", ""),)
# Counters that PyTorch's BatchNorm keeps and inference does not need.
_IGNORED = re.compile(r"(^|\.)num_batches_tracked$")
# The order of a kernel's axes: NNX has the output channels last, PyTorch first.
_TO_NNX = {4: (2, 3, 1, 0), 2: (1, 0)}
_TO_TORCH = {4: (3, 2, 0, 1), 2: (1, 0)}
_EMPTY = np.empty(0)
# How many prefixes are tried: those of most names first.
_PREFIXES = 16
# What is not part of the network up to its features.
_HEADS = re.compile(
  r"(^|\.)(head\w*|fc|classifier\w*|linear|last_linear|pooler|pre_logits"
  r"|projector|projection_head|predictor)\."
)
_INDEX = "model.safetensors.index.json"
_PUBLISHED = {
  "kernel": "weight", "scale": "weight", "embedding": "weight",
  "mean": "running_mean", "var": "running_var",
}  # fmt: skip


def published_name(path: tuple[Any, ...]) -> str:
  """The published name of a parameter, by its path in an NNX model."""
  *parents, last = map(str, path)
  return ".".join([*parents, _PUBLISHED.get(last, last)])


def _axes(path, order, ndim):
  """The order that a parameter's axes are brought to; only kernels have one."""
  same = tuple(range(ndim))
  return order.get(ndim, same) if path[-1] == "kernel" else same


def read_tensors(
  path: str | pathlib.Path,
) -> tuple[dict[str, np.ndarray], dict[str, str]]:
  """Reads a checkpoint.

  Args:
    path: a safetensors or npz file, whatever its name ends with; the index of
      a safetensors file in several parts (`.index.json`); or the folder of an
      Orbax checkpoint of an NNX state.

  Returns:
    The tensors by name, in PyTorch's layout, and the file's own string
    metadata (only safetensors has some).

  Raises:
    InputError: if there is none, it is damaged, or of another kind
      (`file_kinds`); pickles are refused because reading one can run code.
  """
  path = pathlib.Path(path).expanduser()
  if orbax.is_tree(path):
    return _read_orbax(path), {}
  if not path.is_file():
    raise validation.InputError(f"no checkpoint file at {path}")
  if path.name.endswith(".index.json"):
    return _read_parts(path), {}
  kind = file_kinds.kind_of(path)
  if kind is not None and not kind.readable:
    raise kind.refusal(path)
  if kind is not None and kind.name == "npz":
    return _of_flax(validation.read_npz(path)), {}
  try:
    with safetensors.safe_open(path, framework="np") as file:
      metadata = file.metadata() or {}
      return {k: file.get_tensor(k) for k in file.keys()}, metadata
  except Exception as e:  # safetensors raises several types
    raise validation.InputError(
      f"cannot read {path} as safetensors ({validation.reason(e)}): is the "
      "file damaged, or a download cut short?"
    ) from e


def read_metadata(path: str | pathlib.Path) -> dict[str, str]:
  """Returns the string metadata of a safetensors file, without its tensors."""
  with safetensors.safe_open(path, framework="np") as file:
    return file.metadata() or {}


def find(folder: pathlib.Path) -> pathlib.Path:
  """Returns what `read_tensors` is to read of a folder laid out as on the hub.

  Raises:
    InputError: if there is no checkpoint in it, or several and none is called
      `model.safetensors`.
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
  refusal = file_kinds.folder_refusal(folder)
  if refusal is not None:
    raise refusal
  raise validation.InputError(
    f"{folder} has no checkpoint: no model.safetensors, no Orbax metadata"
  )


def _of_flax(tensors):
  """Brings flat arrays of Flax to PyTorch's names and layout; others stay.

  Names are `a/b/kernel`, perhaps within `params/`. Attention's kernels have an
  axis of heads: `[D, H, D / H]`, and `[H, D / H, D]` at its output.
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
    elif layer in ("query", "key", "value") and array.ndim == 2:
      array = array.reshape(-1)
    order = _axes(parts, _TO_TORCH, array.ndim)
    found[published_name(tuple(parts))] = array.transpose(order)
  return found


def _read_parts(path):
  """Reads the parts that an index names."""
  try:
    parts = sorted(set(json.loads(path.read_text())["weight_map"].values()))
    outside = [part for part in parts if pathlib.PurePath(part).name != part]
    if outside:
      raise ValueError(f"{outside[0]} is not beside it")
  except (OSError, ValueError, TypeError, KeyError, AttributeError) as e:
    raise validation.InputError(
      f"cannot read {path} as the index of a checkpoint "
      f"({validation.reason(e)})"
    ) from e
  tensors: dict[str, np.ndarray] = {}
  for part in parts:
    tensors |= read_tensors(path.parent / part)[0]
  return tensors


def _read_orbax(path):
  """Reads an Orbax checkpoint of an NNX state as published tensors."""
  tensors = {}
  for parts, array in orbax.read(path).items():
    order = _axes(parts, _TO_TORCH, array.ndim)
    tensors[published_name(parts)] = array.transpose(order)
  return tensors


def rename(
  tensors: dict[str, np.ndarray], names: Names
) -> dict[str, tuple[str, np.ndarray]]:
  """Brings the names in a file to the published ones.

  Args:
    tensors: arrays by their names in the file.
    names: table of the architecture.

  Returns:
    By published name, the name in the file and the array; pieces are joined.
    Names that no substitution knows stay as they are.
  """
  pieces: dict[str, dict[str, str]] = {}
  for original in tensors:
    if _IGNORED.search(original):
      continue
    name = original
    for pattern, replacement in _WRAPPERS + names:
      name = re.sub(pattern, replacement, name)
    name, _, piece = name.partition("#")
    if piece in pieces.get(name, {}):  # two of one name: shown as left over
      name = original
    pieces.setdefault(name, {})[piece] = original
  renamed = {}
  for name, parts in pieces.items():
    originals = [parts[piece] for piece in sorted(parts)]
    arrays = [np.asarray(tensors[original]) for original in originals]
    if len(arrays) > 1 and len({a.shape[1:] for a in arrays}) == 1:
      arrays = [np.concatenate(arrays)]
    renamed[name] = (" + ".join(originals), arrays[0])
  return renamed


def strip_prefix(
  tensors: dict[str, np.ndarray],
  model: nnx.Module,
  *,
  names: Names = (),
  added: str = "",
) -> tuple[dict[str, np.ndarray], list[str]]:
  """Removes what stands before the names of a network that is part of another.

  Training frameworks keep a network as a part of something, such as
  `backbone.` or `net.`, which then comes before every name.

  Args:
    tensors: arrays by their names in the file.
    model: the network, of which names alone are used.
    names: table of the architecture.
    added: what files of a part of a network leave out before every name.

  Returns:
    The network's tensors: all, if no prefix makes more names fit; and the names
    of those beside it.

  Raises:
    InputError: if two parts fit alike, as a student and a teacher do.
  """
  wanted = {published_name(p) for p, _ in nnx.to_flat_state(nnx.state(model))}

  def fitting(some):
    return wanted & rename(dict.fromkeys(some, _EMPTY), names).keys()

  here = fitting(tensors)
  counted: dict[str, int] = {}
  for name in tensors:
    for dot in re.finditer(r"\.", name):
      prefix = name[: dot.end()]
      counted[prefix] = counted.get(prefix, 0) + 1
  likely = sorted(counted, key=lambda p: (-counted[p], len(p)))[:_PREFIXES]
  fits = {
    prefix: len(
      fitting([n[len(prefix) :] for n in tensors if n.startswith(prefix)])
    )
    for prefix in likely
  }
  if added and len(fitting([added + name for name in tensors])) > len(here):
    return {added + name: value for name, value in tensors.items()}, []
  most = max(fits.values(), default=0)
  if most <= len(here):
    return tensors, []
  best, *others = [prefix for prefix, count in fits.items() if count == most]
  if others and not others[0].startswith(best):
    raise validation.InputError(
      f"the file holds the network twice, under {best} and {others[0]}: write "
      "a file with the tensors of one"
    )
  inside = {
    name.removeprefix(best): value
    for name, value in tensors.items()
    if name.startswith(best)
  }
  beside = [name for name in tensors if not name.startswith(best)]
  known = [name for name in beside if fitting([name]) and name not in inside]
  inside |= {name: tensors[name] for name in known}
  return inside, [name for name in beside if name not in known]


def fits(
  model: nnx.Module,
  tensors: dict[str, np.ndarray],
  *,
  names: Names,
  head: str,
  added: str = "",
) -> bool:
  """Whether tensors are those of a network, its last layer left out.

  Args:
    model: the network, of which names and shapes alone are used.
    tensors: named arrays in PyTorch's layout.
    names: table of the architecture.
    head: published name of the last layer's weight.
    added: see `strip_prefix`.
  """
  inside, _ = strip_prefix(tensors, model, names=names, added=added)
  found = rename(inside, names)
  layer = head.rpartition(".")[0]
  wanted = {
    published_name(path): (path, variable.shape)
    for path, variable in nnx.to_flat_state(nnx.state(model))
    if published_name(path).rpartition(".")[0] != layer
  }
  others = [name for name in found if name not in wanted]
  return wanted.keys() <= found.keys() and not (
    any(_fitted(found[name][1], *wanted[name])[1] for name in wanted)
    or any(
      n.rpartition(".")[0] != layer and not _HEADS.search(n) for n in others
    )
  )


def load_into(
  model: nnx.Module,
  tensors: dict[str, np.ndarray],
  *,
  origin: str,
  names: Names = (),
  head: str = "",
) -> bool:
  """Replaces every parameter and statistic of a model by a checkpoint's.

  Args:
    model: the model to fill; floating-point tensors become its dtype.
    tensors: named arrays in PyTorch's layout.
    origin: what error messages call the checkpoint.
    names: table of the architecture.
    head: published name of the last layer's weight, if the checkpoint may lack
      that layer: it is then filled with zeros, and a head of another name is
      left out, with a note.

  Returns:
    Whether the checkpoint has the last layer.

  Raises:
    InputError: naming some of the tensors that are missing, left over, of
      another shape, or not finite; the model is then unchanged.
  """
  state = nnx.state(model)
  flat = dict(nnx.to_flat_state(state))
  found = rename(tensors, names)
  missing, wrong, values = [], [], {}
  layer = head.rpartition(".")[0]
  headless = bool(layer) and head not in found
  for path, variable in flat.items():
    name = published_name(path)
    if headless and name.rpartition(".")[0] == layer:
      found.pop(name, None)
      values[path] = np.zeros(variable.shape, np.float32)
    elif name not in found:
      missing.append(name)
    else:
      original, value = found.pop(name)
      value, problem = _fitted(value, path, variable.shape)
      values[path] = value
      if problem:
        wrong.append(f"{original} {problem}")
  left_over = [name for name, _ in found.values()]
  if headless and not missing and all(_HEADS.search(n) for n in left_over):
    if left_over:
      validation.note(f"{origin}: left out {some(left_over)}, of another head")
    left_over = []
  if missing or wrong or left_over:
    raise validation.InputError(
      f"{origin} does not fit the architecture; "
      + _told(missing, left_over, wrong)
    )
  for path, variable in flat.items():
    variable.set_value(np.asarray(values[path], variable.dtype))
  nnx.update(model, state)
  return not headless


def _fitted(value, path, shape):
  """A tensor as a parameter has it, and what is wrong with it, if anything."""
  back = _axes(path, _TO_TORCH, len(shape))
  expected = tuple(shape[axis] for axis in back)
  if _without_ones(value.shape) == _without_ones(expected):
    value = value.reshape(expected)  # [C, 1, 1] for [C], and the like
  if value.dtype.kind != "f" and value.dtype.name != "bfloat16":
    return (
      value,
      f"({value.dtype}): is it quantised? Take the unquantised weights",
    )
  if value.shape != expected:
    problem = f"{value.shape}, not {expected}"
    others = value.shape[:1] + value.shape[2:]
    if len(expected) == 4 and expected[1] == 3 and others == (
      expected[0], *expected[2:],
    ):  # fmt: skip
      problem += f": a network for {value.shape[1]}-channel images, not 3"
    return value, problem
  if not np.all(np.isfinite(value.astype(np.float32))):
    return value, "(not finite)"
  return value.transpose(_axes(path, _TO_NNX, value.ndim)), ""


def _told(missing, left_over, wrong):
  """What does not fit, shortly."""
  return "; ".join(
    f"{len(those)} tensors {what}: {_first(those)}"
    for what, those in (
      ("missing", missing),
      ("not of this architecture", left_over),
      ("of the wrong shape or type", wrong),
    )
    if those
  )


def some(names: Sequence[str]) -> str:
  """Returns how many tensors there are, and the first of their names."""
  return f"{len(names)} tensors ({_first(names)})"


def _first(names):
  shown = ", ".join(name[:90] for name in sorted(names)[:3])
  return shown + (", ..." if len(names) > 3 else "")


def _without_ones(shape):
  return [size for size in shape if size != 1]


def published(model: nnx.Module) -> dict[str, np.ndarray]:
  """Returns all parameters and statistics by their published names.

  Args:
    model: any of `models/`.

  Returns:
    Arrays in PyTorch's layout.
  """
  tensors = {}
  for path, variable in nnx.to_flat_state(nnx.state(model)):
    value = np.asarray(variable.get_value())
    order = _axes(path, _TO_TORCH, value.ndim)
    tensors[published_name(path)] = value.transpose(order)
  return tensors


def save(
  model: nnx.Module,
  path: str | pathlib.Path,
  *,
  dtype: Any = np.float16,
  metadata: dict[str, str] | None = None,
) -> None:
  """Writes a model as safetensors with published names, for `load_into`.

  Args:
    model: the model to write.
    path: file to write.
    dtype: floating-point type of the tensors in the file.
    metadata: strings to keep in the file's header.
  """
  tensors = {
    name: np.ascontiguousarray(value, dtype)
    for name, value in published(model).items()
  }
  safetensors.numpy.save_file(tensors, path, metadata=metadata)
