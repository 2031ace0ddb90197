"""PyTorch networks of folders laid out as on the hub: timm and transformers.

The library that wrote a folder builds the network and reads its weights, so
that they are what the library itself would use. PyTorch is needed here.
"""

from collections.abc import Mapping
import json
import pathlib
from typing import Any, NamedTuple

from leep_jax import validation
from leep_jax.sources import bridged, checkpoints, configs

# The class of a network without a head, where transformers' own choice for
# `AutoModel` would add layers with random weights or draw random numbers.
_ENCODERS: Mapping[str, str] = {
  "vit_mae": "ViTModel", "clip": "CLIPVisionModel",
  "siglip": "SiglipVisionModel", "siglip2": "Siglip2VisionModel",
}  # fmt: skip
_HEADLESS = "its checkpoint has no classifier"


class TorchModel(NamedTuple):
  """A PyTorch network, ready to be exported.

  Attributes:
    module: called on `example` it returns logits or features, one tensor.
    example: its arguments, tensors of a batch of one.
    inputs: one of `program.INPUTS`.
    without_probs: why it returns features; empty if it returns logits.

  Example:
    >>> from leep_jax.sources import torch_models
    >>> torch_models.TorchModel._fields
    ('module', 'example', 'inputs', 'without_probs')
  """

  module: Any
  example: tuple[Any, ...]
  inputs: str
  without_probs: str


def build(
  name: str,
  folder: pathlib.Path,
  config: configs.Config,
  *,
  image_size: int | None = None,
) -> TorchModel:
  """Returns the network of a folder.

  Args:
    name: of the source, in error messages.
    folder: with `config.json` of timm or transformers, and safetensors.
    config: what is read of it.
    image_size: side of the images, if not that of the configuration.

  Raises:
    InputError: if a library is missing or cannot read the folder, or there is
      no safetensors file.
  """
  if config.timm is None and config.transformers is None:
    raise validation.InputError(
      f"{name} has no configuration that names its network: put the "
      "config.json of timm or transformers beside it, or pass ARCH@PATH"
    )
  # Found here, so that no pickle is read by the libraries below.
  checkpoints.find(folder)
  size = image_size or config.preprocessing.get("image_size")
  if config.timm is not None:
    return _of_timm(name, folder, config, size)
  return _of_transformers(name, folder, config, size)


def _failed(name, library, error):
  return validation.InputError(
    f"{library} cannot build {name}: {type(error).__name__}: "
    f"{validation.reason(error)[:300]}"
  )


def _of_timm(name, folder, config, size):
  bridged.require_torch(name, "timm")
  import timm
  import torch

  # Only some networks take another size than that of their configuration.
  options = {}
  if size and not _takes(timm, config.timm, size):
    options["img_size"] = size
  try:
    module: Any = timm.create_model(
      f"local-dir:{folder.resolve()}", pretrained=True, **options
    )
  except TypeError as e:
    if "img_size" not in str(e):
      raise _failed(name, "timm", e) from e
    module = timm.create_model(f"local-dir:{folder.resolve()}", pretrained=True)
  except Exception as e:  # whatever timm's code raises
    raise _failed(name, "timm", e) from e
  side = size or module.pretrained_cfg["input_size"][-1]
  without = config.without_probs or ("" if module.num_classes else _HEADLESS)
  return TorchModel(module, (torch.zeros(1, 3, side, side),), "image", without)


def _takes(timm, arch, size):
  """Whether a network of timm is built for images of a size without saying."""
  try:
    stated = timm.get_pretrained_cfg(arch)
  except RuntimeError:
    return True
  return stated is None or stated.input_size[-1] == size


def _of_transformers(name, folder, config, size):
  bridged.require_torch(name, "transformers")
  import torch
  import transformers

  try:
    stated = json.loads((folder / "config.json").read_text(encoding="utf-8"))
    declared = (stated.get("architectures") or [""])[0]
    if declared.endswith("ForImageClassification"):
      kind, without = declared, config.without_probs
    else:
      kind = _ENCODERS.get(str(config.transformers), "AutoModel")
      without = config.without_probs or _HEADLESS
    if not hasattr(transformers, kind):
      raise validation.InputError(
        f"{name} is a {kind}, which transformers {transformers.__version__} "
        "does not have: is it of a newer version?"
      )
    model = getattr(transformers, kind).from_pretrained(
      folder, use_safetensors=True, **_encoder_options(kind)
    )
  except validation.InputError:
    raise
  except Exception as e:  # whatever transformers' code raises
    raise _failed(name, "transformers", e) from e
  side = size or 224
  example = torch.zeros(1, 3, side, side)
  return TorchModel(_one_tensor(model), (example,), "image", without)


def _encoder_options(kind):
  # The pooling layers of these are of another task, and have random weights in
  # most files.
  return {"add_pooling_layer": False} if kind == "ViTModel" else {}


def _one_tensor(model):
  """A module that returns the logits, or else the features, of a model."""
  import torch

  class OneTensor(torch.nn.Module):
    def __init__(self):
      super().__init__()
      self.model = model

    def forward(self, pixels):
      found = self.model(pixel_values=pixels)
      logits = getattr(found, "logits", None)
      if logits is not None:
        return logits
      pooled = getattr(found, "pooler_output", None)
      if pooled is not None:
        return pooled.flatten(1)
      # Tokens [B, N, D], of which the first is the class's; or maps.
      last = found.last_hidden_state
      return last[:, 0] if last.ndim == 3 else last

  return OneTensor()
