"""Models that PyTorch itself runs, whose outputs JAX then takes.

The reference that the bridge is compared with, and a choice for processors on
which PyTorch is faster.
"""

from typing import Any

import numpy as np

from leep_jax.bridge import export
from leep_jax.sources import source as source_lib, torch_model


def from_model(
  name: str,
  model: torch_model.TorchModel,
  *,
  preprocessing: Any,
  options: str = "",
) -> source_lib.Source:
  """Returns a source that PyTorch runs on the host.

  Its features are the input of the last linear layer that the network runs, or
  of the layer that timm calls its classifier, with the mean over places or
  tokens. Without a classifier they are its output.

  Args:
    name: of the source, in tables and rows of results.
    model: the network.
    preprocessing: of raw inputs, to the network's input.
    options: what else its outputs depend on, such as versions of libraries.

  Example:
    >>> import numpy as np
    >>> from leep_jax.models.preprocessing import Preprocessing
    >>> from leep_jax.sources import eager, torch_model
    >>> try:
    ...   import torch
    ...   layers = torch.nn.Flatten(), torch.nn.Linear(12, 5)
    ...   module = torch.nn.Sequential(*layers)
    ...   model = torch_model.TorchModel(
    ...     module, (torch.zeros(1, 3, 2, 2),), "image", True, "")
    ...   source = eager.from_model(
    ...     "mine", model, preprocessing=Preprocessing())
    ...   found = source.apply(source.state, np.ones((4, 2, 2, 3), np.float32))
    ...   shapes = [x.shape for x in found]
    ... except ImportError:  # PyTorch is not installed
    ...   shapes = [(4, 5), (4, 12)]
    >>> shapes
    [(4, 5), (4, 12)]
  """
  module = model.module.eval()
  last = _classifiers(model) if model.has_classifier else ()

  def apply(state: Any, inputs: np.ndarray) -> Any:
    """Runs the module, whose weights are also those of `state`."""
    import torch

    seen: dict[Any, Any] = {}
    hooks = [
      layer.register_forward_pre_hook(
        lambda layer, given: seen.__setitem__(layer, given[0])
      )
      for layer in last
    ]
    try:
      with torch.inference_mode():
        found = (
          module(*_arguments(model.inputs, len(model.example), inputs))
          .float()
          .numpy()
        )
    finally:
      for hook in hooks:
        hook.remove()
    if not model.has_classifier:
      return None, _pooled(found, channels_first=found.ndim == 4)
    parts = [
      _pooled(
        seen[layer].float().numpy(), channels_first=_is_convolution(layer)
      )
      for layer in last
    ]
    return found, np.concatenate(parts, axis=1)

  return source_lib.Source(
    name=name,
    apply=apply,
    state={
      k: export.array(v, copy=False) for k, v in module.state_dict().items()
    },
    preprocessing=preprocessing,
    options=f"torch {options}",
    without_probs=model.without_probs,
    on_host=True,
  )


def _arguments(inputs, count, array):
  """The module's arguments for a batch in this package's layout."""
  import torch

  tensor = torch.from_numpy(np.array(array))  # which PyTorch may write to
  if inputs == "image":
    return [tensor.permute(0, 3, 1, 2)]
  if inputs == "text":
    return [tensor[..., k].long() for k in range(tensor.shape[-1])]
  if count == 2:  # samples, and which of them are padding
    return [tensor[..., 0], tensor[..., 1].long()]
  return [tensor]


def _classifiers(model):
  """The layers whose inputs are the features."""
  import torch

  module = model.module
  if hasattr(module, "get_classifier"):  # timm
    found = module.get_classifier()
    layers = found if isinstance(found, (tuple, list)) else (found,)
    inner = [_last_linear(layer) for layer in layers]
    if all(layer is not None for layer in inner):
      return tuple(inner)
  order: list[Any] = []
  hooks = [
    layer.register_forward_pre_hook(lambda layer, _: order.append(layer))
    for layer in module.modules()
    if isinstance(layer, torch.nn.Linear) or _is_convolution(layer)
  ]
  try:
    with torch.inference_mode():
      module(*model.example)
  finally:
    for hook in hooks:
      hook.remove()
  return tuple(order[-1:])


def _last_linear(module):
  import torch

  found = [
    layer
    for layer in module.modules()
    if isinstance(layer, torch.nn.Linear) or _is_convolution(layer)
  ]
  return found[-1] if found else None


def _is_convolution(layer):
  import torch

  return isinstance(layer, torch.nn.Conv2d)


def _pooled(value, *, channels_first):
  """`[B, D]`, the mean over places or tokens."""
  axis = 1 if channels_first else value.ndim - 1
  others = tuple(i for i in range(1, value.ndim) if i != axis)
  return value.mean(axis=others)
