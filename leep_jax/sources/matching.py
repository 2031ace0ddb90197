"""Matches the tensors of a checkpoint to the parameters of a network.

A checkpoint is a flat dictionary of named arrays. The attributes of a network
in `models/` have the names under which its weights are published (by timm or
torchvision), so that one rule serves all architectures: the parameter
`layer1/0/conv1/kernel` is the tensor `layer1.0.conv1.weight`, with its axes in
another order. Each architecture has a table of the names that other publishers
use (`Architecture.names`). Whatever matches nothing, on either side, is listed.
"""

from collections.abc import Iterable, Mapping, Sequence
import re
from typing import Any

from flax import nnx
import numpy as np
from numpy import typing as npt

from leep_jax import validation
from leep_jax.models.architecture import Names

# What wrappers of PyTorch put before every name.
_WRAPPERS: Names = ((r"^((module|_orig_mod|model|state_dict)\.)+", ""),)
# Counters that PyTorch's BatchNorm keeps and inference does not need.
_IGNORED = re.compile(r"(^|\.)num_batches_tracked$")
# The order of a kernel's axes: NNX has the output channels last, PyTorch first.
_TO_NNX = {4: (2, 3, 1, 0), 2: (1, 0)}
TO_TORCH = {4: (3, 2, 0, 1), 2: (1, 0)}
_EMPTY = np.empty(0)
# Prefixes are tried in the order of how many names have them. Each costs a pass
# over all names, and that of the network is among the first few.
_PREFIXES = 16
# Layers behind the features, and of other training objectives.
_HEADS = re.compile(
  r"(^|\.)(head\w*|fc|classifier\w*|linear|last_linear|pooler|pre_logits"
  r"|projector|projection_head|predictor)\."
)
_PUBLISHED = {
  "kernel": "weight", "scale": "weight", "embedding": "weight",
  "mean": "running_mean", "var": "running_var",
}  # fmt: skip


def published_name(path: tuple[Any, ...]) -> str:
  """Returns the published name of a parameter.

  Args:
    path: of the parameter in an NNX model.

  Example:
    >>> from leep_jax.sources import matching
    >>> matching.published_name(("layer1", 0, "bn1", "scale"))
    'layer1.0.bn1.weight'
  """
  *parents, last = map(str, path)
  return ".".join([*parents, _PUBLISHED.get(last, last)])


def axes(
  path: Sequence[Any], order: Mapping[int, tuple[int, ...]], ndim: int
) -> tuple[int, ...]:
  """Returns the new order of a parameter's axes; only those of kernels change.

  Args:
    path: of the parameter in an NNX model.
    order: the new orders of a kernel's axes, by their number: `TO_TORCH`.
    ndim: number of axes of the parameter.

  Example:
    >>> from leep_jax.sources import matching
    >>> matching.axes(("fc", "kernel"), matching.TO_TORCH, 2)
    (1, 0)
    >>> matching.axes(("fc", "bias"), matching.TO_TORCH, 1)
    (0,)
  """
  same = tuple(range(ndim))
  return order.get(ndim, same) if path[-1] == "kernel" else same


def rename(
  tensors: Mapping[str, npt.ArrayLike], names: Names
) -> dict[str, tuple[str, np.ndarray]]:
  """Gives tensors their published names, and joins the pieces of one tensor.

  Args:
    tensors: arrays by their names in the file.
    names: `Architecture.names`.

  Returns:
    For each published name, the name in the file and the array. A name that no
    substitution matches stays as it is.

  Example:
    >>> from leep_jax.sources import matching
    >>> matching.rename({"module.stem.w": [1.0]}, ((r"^stem\\.", "conv1."),))
    {'conv1.w': ('module.stem.w', array([1.]))}
  """
  pieces: dict[str, dict[str, str]] = {}
  for original in tensors:
    if _IGNORED.search(original):
      continue
    name = original
    for pattern, replacement in _WRAPPERS + names:
      name = re.sub(pattern, replacement, name)
    name, _, piece = name.partition("#")
    # A second tensor of the same name keeps its own: it is listed as left over.
    if piece in pieces.get(name, {}):
      name = original
    pieces.setdefault(name, {})[piece] = original
  renamed = {}
  for name, parts in pieces.items():
    # As text, which is in order for up to ten pieces.
    originals = [parts[piece] for piece in sorted(parts)]
    arrays = [np.asarray(tensors[original]) for original in originals]
    # Pieces that do not fit are left apart: `load_into` then refuses the shape.
    if len(arrays) > 1 and len({a.shape[1:] for a in arrays}) == 1:
      arrays = [np.concatenate(arrays)]
    renamed[name] = (" + ".join(originals), arrays[0])
  return renamed


def strip_prefix(
  tensors: Mapping[str, np.ndarray],
  model: nnx.Module,
  *,
  names: Names = (),
  added: str = "",
) -> tuple[dict[str, np.ndarray], list[str]]:
  """Removes the prefix that the tensors of a network have in a larger one.

  Training frameworks keep the network as an attribute of another module, such
  as `backbone` or `net`, whose name then comes before every tensor's.

  Args:
    tensors: arrays by their names in the file.
    model: the network; only the names of its parameters are used.
    names: `Architecture.names`.
    added: a prefix that some files lack, such as `vit.` where transformers
      saved the encoder alone.

  Returns:
    The tensors of the network (all of them, unless more names fit without some
    prefix), and the names of the other tensors.

  Raises:
    InputError: if two prefixes fit equally well, as of a student and a teacher.

  Example:
    >>> import numpy as np
    >>> from leep_jax.sources import catalog, matching
    >>> network = catalog.build("resnet8", 10)
    >>> tensors = {
    ...   f"net.{name}": value
    ...   for name, value in matching.published(network).items()
    ... } | {"decoder.weight": np.zeros(3)}
    >>> inside, others = matching.strip_prefix(tensors, network)
    >>> "conv1.weight" in inside, others
    (True, ['decoder.weight'])
  """
  wanted = {published_name(p) for p, _ in nnx.to_flat_state(nnx.state(model))}

  def matched(these: Iterable[str]) -> set[str]:
    return wanted & rename(dict.fromkeys(these, _EMPTY), names).keys()

  without = matched(tensors)
  counts = {
    prefix: len(
      matched([n[len(prefix) :] for n in tensors if n.startswith(prefix)])
    )
    for prefix in _commonest_prefixes(tensors)
  }
  if added and len(matched([added + name for name in tensors])) > len(without):
    return {added + name: value for name, value in tensors.items()}, []
  most = max(counts.values(), default=0)
  if most <= len(without):
    return dict(tensors), []
  best, *others = [prefix for prefix, count in counts.items() if count == most]
  # Both `net.` and `net.module.` fit one network: `rename` removes `module.`.
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
  # The head may be beside the backbone, under its published name.
  known = [name for name in beside if matched([name]) and name not in inside]
  inside |= {name: tensors[name] for name in known}
  return inside, [name for name in beside if name not in known]


def _commonest_prefixes(names: Iterable[str]) -> list[str]:
  """Returns prefixes that end in a dot: those of most names, shorter first."""
  counts: dict[str, int] = {}
  for name in names:
    for dot in re.finditer(r"\.", name):
      prefix = name[: dot.end()]
      counts[prefix] = counts.get(prefix, 0) + 1
  return sorted(counts, key=lambda p: (-counts[p], len(p)))[:_PREFIXES]


def fits(
  model: nnx.Module,
  tensors: Mapping[str, np.ndarray],
  *,
  names: Names,
  head: str,
  added: str = "",
) -> bool:
  """Returns whether tensors are those of a network, except for its last layer.

  Args:
    model: the network; only the names and shapes of its parameters are used.
    tensors: named arrays in PyTorch's layout.
    names: `Architecture.names`.
    head: published name of the last layer's weight.
    added: see `strip_prefix`.

  Example:
    >>> from leep_jax.sources import catalog, matching
    >>> tensors = matching.published(catalog.build("resnet8", 10))
    >>> [
    ...   matching.fits(
    ...     catalog.shapes(arch, 1), tensors, names=(), head="linear.weight"
    ...   )
    ...   for arch in ("resnet8", "resnet14")
    ... ]
    [True, False]
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
  tensors: Mapping[str, np.ndarray],
  *,
  origin: str,
  names: Names = (),
  head: str = "",
) -> bool:
  """Sets all parameters and running statistics of a model to a checkpoint's.

  Args:
    model: the model to fill; tensors are cast to the dtypes of its parameters.
    tensors: named arrays in PyTorch's layout.
    origin: what error messages call the checkpoint.
    names: `Architecture.names`.
    head: published name of the last layer's weight, if the checkpoint may lack
      that layer. The layer is then filled with zeros, and a norm beside it that
      is missing is as in a new network; tensors of a head with another name are
      left out. Notes say so.

  Returns:
    Whether the checkpoint has the last layer.

  Raises:
    InputError: if tensors are missing, left over, of another shape, or not
      finite; it names some. The model is then unchanged.

  Example:
    >>> from leep_jax.sources import catalog, matching
    >>> tensors = matching.published(catalog.build("resnet8", 10, seed=1))
    >>> model = catalog.shapes("resnet8", 10)
    >>> matching.load_into(model, tensors, origin="the file")
    True
  """
  state = nnx.state(model)
  flat = dict(nnx.to_flat_state(state))
  found = rename(tensors, names)
  missing, wrong, values = [], [], {}
  layer = head.rpartition(".")[0]
  headless = bool(layer) and head not in found
  # Networks that were trained without a head may lack the norm beside it, too,
  # such as ConvNeXt V2 after masked autoencoding. timm then has a new one.
  norm = f"{layer.rpartition('.')[0]}.norm."
  new = []
  for path, variable in flat.items():
    name = published_name(path)
    if headless and name.rpartition(".")[0] == layer:
      found.pop(name, None)
      # Nothing reads the logits of a head that is missing.
      values[path] = np.zeros(variable.shape, np.float32)
    elif headless and name not in found and name.startswith(norm):
      new.append(name)
      values[path] = np.full(variable.shape, path[-1] == "scale", np.float32)
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
      count, which = len(left_over), shortened(left_over)
      validation.note(
        f"{origin}: left out {count} tensors ({which}), of another head"
      )
    left_over = []
  if missing or wrong or left_over:
    raise validation.InputError(
      f"{origin} does not fit the architecture; "
      + _mismatches(missing, left_over, wrong)
    )
  if new:
    validation.note(
      f"{origin}: there is no {' or '.join(sorted(new))}: those of a new "
      "network are used, as timm does"
    )
  for path, variable in flat.items():
    # Files may have half precision, as the bundled ones: here it is widened.
    variable.set_value(np.asarray(values[path], variable.dtype))
  nnx.update(model, state)
  return not headless


def shortened(names: Iterable[str]) -> str:
  """Returns the first few names of tensors, of at most 90 characters each.

  Example:
    >>> from leep_jax.sources import matching
    >>> matching.shortened(["fc.weight", "fc.bias"])
    'fc.bias, fc.weight'
  """
  return validation.some((name[:90] for name in sorted(names)), count=False)


def _fitted(value, path, shape):
  """Returns a tensor in a parameter's layout, and what is wrong with it."""
  back = axes(path, TO_TORCH, len(shape))
  expected = tuple(shape[axis] for axis in back)
  if _without_ones(value.shape) == _without_ones(expected):
    # Publishers differ in axes of length 1, such as [C, 1, 1] for [C].
    value = value.reshape(expected)
  # NumPy gives bfloat16 the kind "V".
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
  return value.transpose(axes(path, _TO_NNX, value.ndim)), ""


def _mismatches(missing, left_over, wrong):
  """Lists the tensors that do not fit, by what is wrong with them."""
  return "; ".join(
    f"{len(those)} tensors {what}: {shortened(those)}"
    for what, those in (
      ("missing", missing),
      ("not of this architecture", left_over),
      ("of the wrong shape or type", wrong),
    )
    if those
  )


def _without_ones(shape):
  return [size for size in shape if size != 1]


def published(model: nnx.Module) -> dict[str, np.ndarray]:
  """Returns all parameters and running statistics by their published names.

  Args:
    model: a network of `models/`.

  Returns:
    Arrays in PyTorch's layout.

  Example:
    >>> from leep_jax.sources import catalog, matching
    >>> tensors = matching.published(catalog.build("resnet8", 10))
    >>> tensors["conv1.weight"].shape, tensors["linear.weight"].shape
    ((16, 3, 3, 3), (10, 64))
  """
  tensors = {}
  for path, variable in nnx.to_flat_state(nnx.state(model)):
    value = np.asarray(variable.get_value())
    order = axes(path, TO_TORCH, value.ndim)
    tensors[published_name(path)] = value.transpose(order)
  return tensors
