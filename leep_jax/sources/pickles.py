"""Pickled checkpoints of PyTorch, written as safetensors.

No code of the file runs: what is not a tensor or a plain value is left out,
such as the options of a training run.
"""

from collections import OrderedDict
from collections.abc import Mapping
import importlib
import os
import pathlib
import pickle
import re
from typing import Any
import warnings

import numpy as np

from leep_jax import validation

# Usual keys of the network's tensors; the first that is found is used. They may
# be nested, at most three levels deep, as in {"model": {"state_dict": ...}}.
_KEYS = (
  "state_dict", "model_state_dict", "model_state", "model", "state_dict_ema",
  "model_ema", "net", "network", "params_ema", "params", "weights", "module",
)  # fmt: skip
_DEPTH = 3
# Two texts of torch's errors: a type that `weights_only` does not allow, and a
# dictionary of a type of its own.
_DICTIONARY = re.compile(r"Can only SETITEMS? for .* got <class '(.*?)'>")
_UNKNOWN = re.compile(r"GLOBAL (\S+) was not an allowed global")
# Types of NumPy that consist of numbers only, so that reading them is safe.
_NUMPY = re.compile(
  r"numpy\.(_?core\.multiarray\.(_reconstruct|scalar)|ndarray|dtype"
  r"|dtypes\.\w+)|_codecs\.encode"
)


def to_safetensors(
  path: str | os.PathLike[str],
  out: str | os.PathLike[str],
  *,
  key: str | None = None,
) -> tuple[int, str]:
  """Writes the tensors of a PyTorch checkpoint as safetensors.

  Args:
    path: a file of `torch.save` with tensors by name, a dictionary that has
      them inside, or a network.
    out: the file to write.
    key: under which the tensors are; by default, usual keys are tried.

  Returns:
    The number of tensors, and the keys under which they were, joined by dots.

  Raises:
    InputError: if PyTorch is not installed, the file cannot be read, or it has
      no tensors by name there.

  Example:
    >>> import pathlib, tempfile
    >>> from leep_jax.sources import pickles
    >>> with tempfile.TemporaryDirectory() as folder:
    ...   path = pathlib.Path(folder) / "model.pth"
    ...   out = path.with_suffix(".safetensors")
    ...   try:
    ...     import torch
    ...     torch.save({"state_dict": {"fc.weight": torch.zeros(2, 3)}}, path)
    ...     converted = pickles.to_safetensors(path, out)
    ...   except ImportError:  # PyTorch is not installed
    ...     converted = (1, "state_dict")
    >>> converted
    (1, 'state_dict')
  """
  try:
    import safetensors.torch
    import torch
  except ImportError as e:
    raise validation.InputError(
      f"PyTorch reads such files and is needed here ({validation.reason(e)}): "
      "pip install torch"
    ) from e
  path, out = pathlib.Path(path).expanduser(), pathlib.Path(out).expanduser()
  if not path.is_file():
    raise validation.InputError(f"no file at {path}")
  if out.exists() and out.samefile(path):
    raise validation.InputError(
      f"{out} is the file to read: name another to write"
    )
  where, found = _find(_load(torch, path), path, key)
  # Cloned: safetensors refuses tensors that share memory or have strides.
  tensors = {
    name: value.detach().cpu().clone().contiguous()
    for name, value in found.items()
  }
  try:
    safetensors.torch.save_file(tensors, out)
  except Exception as e:  # of the disk, or of a type of tensor
    raise validation.InputError(
      f"cannot write {out}: {type(e).__name__}: {validation.reason(e)}"
    ) from e
  return len(tensors), where


class _Unread:
  """Stands in for a type that the file names, whose code is not run.

  Attributes:
    content: the state of the object in the file; of a module, its tensors.
  """

  content: Any = None

  def __new__(cls, *_: Any, **__: Any) -> "_Unread":
    return object.__new__(cls)

  def __init__(self, *_: Any, **__: Any):
    pass

  def __setstate__(self, content: Any) -> None:
    self.content = content


def _load(torch, path):
  """Reads a file, with `_Unread` in place of all types that are not plain.

  torch names one unknown type at a time, so that the file is read again until
  all of them are known.
  """
  known: dict[str, Any] = {}
  while True:
    try:
      allowed = torch.serialization.safe_globals(
        [(value, name) for name, value in known.items()]
      )
      with allowed, warnings.catch_warnings():
        warnings.simplefilter("ignore")
        return torch.load(path, map_location="cpu", weights_only=True)
    except Exception as e:  # torch raises many types for damaged files
      text = " ".join(str(e).split())
      unknown = _UNKNOWN.search(text)
      # torch's error leaves "builtins." out.
      name = unknown[1] if unknown else ""
      name = name if "." in name else f"builtins.{name}"
      if unknown and name not in known:
        # torch names one type an error: the file is read again until all are
        # known.
        known |= _types(name)
      elif found := _DICTIONARY.search(text):
        known[found[1]] = OrderedDict
      elif isinstance(e, pickle.UnpicklingError) and "tar" in text:
        raise validation.InputError(
          f"cannot read {path}: it is of a version of PyTorch before 0.4"
        ) from e
      else:
        # Only the end of torch's error is shown: before it, torch advises to
        # run the code of the file.
        why = text.rpartition("WeightsUnpickler error: ")[2][:200]
        raise validation.InputError(
          f"cannot read {path} as a checkpoint of PyTorch "
          f"({why or type(e).__name__}): is it damaged, or of another kind?"
        ) from e


def _types(name):
  """Returns the types as which a type of the file is read, by their names."""
  # The stand-in has the name of the type, so that torch's errors mention it.
  stand_in = {name: type(name, (_Unread,), {"__module__": "builtins"})}
  if not _NUMPY.fullmatch(name):
    return stand_in
  module, _, attribute = name.rpartition(".")
  try:
    found = getattr(importlib.import_module(module), attribute)
  except (ImportError, AttributeError):
    return stand_in
  if found is not np.dtype:
    return {name: found}
  # Each dtype has a type of its own, which the file does not name.
  kinds = {type(np.dtype(code)) for code in "?bBhHiIlLqQefdSU"}
  return {name: found} | {f"numpy.dtypes.{k.__name__}": k for k in kinds}


def _tensors(content) -> dict[str, Any]:
  """Returns the tensors in a dictionary or a network, by name."""
  import torch

  if isinstance(content, _Unread):
    return _of_module(content)
  if not isinstance(content, Mapping):
    return {}
  found = {}
  for name, value in content.items():
    if isinstance(value, np.ndarray) and value.dtype.kind in "fiub":
      value = torch.from_numpy(np.ascontiguousarray(value))
    if isinstance(name, str) and isinstance(value, torch.Tensor):
      found[name] = value
  return found


def _of_module(module: _Unread, prefix: str = "") -> dict[str, Any]:
  """Returns the state of a network that was saved as an object."""
  import torch

  content = module.content
  if not isinstance(content, dict) or "_modules" not in content:
    return {}
  # `state_dict` would leave them out as well.
  left_out = content.get("_non_persistent_buffers_set") or ()
  found = {
    prefix + name: value
    for kind in ("_parameters", "_buffers")
    for name, value in content.get(kind, {}).items()
    if isinstance(value, torch.Tensor) and name not in left_out
  }
  for name, child in content["_modules"].items():
    if isinstance(child, _Unread):
      found |= _of_module(child, f"{prefix}{name}.")
  return found


def _find(content, path, key):
  """Returns the keys of the tensors, joined by dots, and the tensors."""
  if key is not None:
    for part in key.split("."):
      if not isinstance(content, Mapping) or part not in content:
        keys = list(content) if isinstance(content, Mapping) else []
        raise validation.InputError(f"{path} has no {key!r}; {_named(keys)}")
      content = content[part]
  inside, tensors = _search(content, _DEPTH)
  where = ".".join([key, *inside] if key else inside)
  if not tensors:
    keys = list(content) if isinstance(content, Mapping) else []
    raise validation.InputError(
      f"{path} holds no tensors by name{f' under {where!r}' if where else ''}; "
      f"{_named(keys)}. If they are deeper, pass --key=NAME.NAME"
    )
  return where, tensors


def _search(content, depth):
  """Returns the first usual keys with tensors below, and these tensors."""
  if depth and isinstance(content, Mapping):
    for key in _KEYS:
      if isinstance(content.get(key), Mapping | _Unread):
        inside, tensors = _search(content[key], depth - 1)
        if tensors:
          return (key, *inside), tensors
  return (), _tensors(content)


def _named(keys):
  if not keys:
    return "it is no dictionary"
  more = f" and {len(keys) - 5} more" if len(keys) > 5 else ""
  return f"its keys are {', '.join(str(k)[:40] for k in keys[:5])}{more}"
