"""Files of meta-trained CNAPs: float16 safetensors, backbone included."""

from collections.abc import Mapping
import json
import pathlib
from typing import Any

import numpy as np

from leep_jax import validation
from leep_jax.models.preprocessing import Preprocessing
from leep_jax.sources import checkpoints as checkpoints_lib, matching
from leep_jax.transfer.cnaps.model import Cnaps, assemble


def save(
  model: Cnaps, path: str | pathlib.Path, *, card: Mapping[str, Any]
) -> None:
  """Writes a model, its backbone included, as float16 safetensors.

  Args:
    model: to write.
    path: of the file.
    card: further entries of the file's header, of JSON's types.

  Example:
    >>> import pathlib, tempfile
    >>> from leep_jax.transfer import cnaps
    >>> model = cnaps.create("fashion_mnist_resnet8")
    >>> with tempfile.TemporaryDirectory() as folder:
    ...   path = pathlib.Path(folder) / "cnaps.safetensors"
    ...   cnaps.save(model, path, card={"backbone": "fashion_mnist_resnet8"})
    ...   cnaps.card(path)["backbone"], cnaps.load(path).architecture
    ('fashion_mnist_resnet8', 'resnet8')
  """
  preprocessing = model.preprocessing
  content = {
    "method": "cnaps",
    "architecture": model.architecture,
    "image_size": preprocessing.image_size,
    "mean": preprocessing.mean,
    "std": preprocessing.std,
    **card,
  }
  # What is too large for float16 becomes infinite, which `load` refuses.
  with np.errstate(over="ignore"):
    checkpoints_lib.save(
      model, path, metadata={"leep_jax": json.dumps(content)}
    )


def load(path: str | pathlib.Path) -> Cnaps:
  """Reads a model that `save` wrote.

  Args:
    path: of the file.

  Raises:
    InputError: if there is no such file, or it is damaged or no CNAPs.

  Example:
    >>> import pathlib, tempfile
    >>> from leep_jax.transfer import cnaps
    >>> model = cnaps.create("fashion_mnist_resnet8")
    >>> with tempfile.TemporaryDirectory() as folder:
    ...   path = pathlib.Path(folder) / "cnaps.safetensors"
    ...   cnaps.save(model, path, card={})
    ...   loaded = cnaps.load(path)
    >>> loaded.architecture
    'resnet8'
  """
  tensors, metadata = checkpoints_lib.read_tensors(path)
  try:
    card = json.loads(metadata["leep_jax"])
    if card["method"] != "cnaps":
      raise ValueError(f"its method is {card['method']!r}")
    preprocessing = Preprocessing(
      **{key: card[key] for key in ("image_size", "mean", "std")}
    )
    # The backbone's own head is in the file; cards need not state its size.
    classes = len(tensors["backbone.linear.bias"])
    model = assemble(card["architecture"], classes, preprocessing)
  except (KeyError, TypeError, ValueError) as e:
    raise validation.InputError(
      f"{path} is no CNAPs model ({validation.reason(e)}): was it written by "
      "transfer.cnaps.save?"
    ) from e
  matching.load_into(model, tensors, origin=str(path))
  return model


def card(path: str | pathlib.Path) -> dict[str, Any]:
  """Returns the entries that `save` wrote into a file's header.

  Args:
    path: of the file.

  Example:
    >>> import pathlib, tempfile
    >>> from leep_jax.transfer import cnaps
    >>> model = cnaps.create("fashion_mnist_resnet8")
    >>> with tempfile.TemporaryDirectory() as folder:
    ...   path = pathlib.Path(folder) / "cnaps.safetensors"
    ...   cnaps.save(model, path, card={"epochs": 8})
    ...   cnaps.card(path)["epochs"]
    8
  """
  content: dict[str, Any] = json.loads(
    checkpoints_lib.read_metadata(path)["leep_jax"]
  )
  return content
