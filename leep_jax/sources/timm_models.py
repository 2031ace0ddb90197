"""PyTorch networks of timm, ready for the bridge."""

import pathlib
from typing import Any

from leep_jax.sources import configs, torch_model


def build(
  name: str,
  folder: pathlib.Path,
  config: configs.Config,
  *,
  image_size: int | tuple[int, int] | None = None,
) -> torch_model.TorchModel:
  """Returns the network of a folder in timm's layout.

  timm itself builds it and reads its weights. PyTorch is needed.

  Args:
    name: of the source, in error messages.
    folder: with timm's `config.json`, and safetensors: `checkpoints.alone`.
    config: what is read of it.
    image_size: side of the images, or height and width, if not that of the
      configuration.

  Raises:
    InputError: if a library is missing or cannot read the folder.

  Example:
    >>> import pathlib, tempfile
    >>> import leep_jax
    >>> from leep_jax.sources import configs, timm_models
    >>> with tempfile.TemporaryDirectory() as folder:
    ...   try:
    ...     timm_models.build(
    ...       "mine", pathlib.Path(folder), configs.Config(timm="resnet18"))
    ...   except leep_jax.InputError as error:  # no weights, or no PyTorch
    ...     refused = True
    >>> refused
    True
  """
  torch_model.require_torch(name, "timm")
  size = image_size or config.preprocessing.get("image_size")
  import timm

  # Only some networks take another size than that of their configuration.
  options: dict[str, Any] = {}
  if size and not _takes(timm, config.timm, size):
    options["img_size"] = size
  try:
    module: Any = timm.create_model(
      f"local-dir:{folder.resolve()}", pretrained=True, **options
    )
  except TypeError as e:
    if "img_size" not in str(e):
      raise torch_model.failed(name, "timm", e) from e
    module = timm.create_model(f"local-dir:{folder.resolve()}", pretrained=True)
  except Exception as e:  # whatever timm's code raises
    raise torch_model.failed(name, "timm", e) from e
  sides = size or module.pretrained_cfg["input_size"][1:]
  classifies = bool(module.num_classes)
  without = config.without_probs or ("" if classifies else torch_model.HEADLESS)
  example = torch_model.example_of_images(sides)
  return torch_model.TorchModel(module, example, "image", classifies, without)


def _takes(timm, arch, size):
  """Whether a network of timm is built for images of a size without saying."""
  try:
    stated = timm.get_pretrained_cfg(arch)
  except RuntimeError:
    return True
  sides = (size, size) if isinstance(size, int) else tuple(size)
  return stated is None or tuple(stated.input_size[1:]) == sides
