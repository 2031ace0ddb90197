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
    card: what else to keep in the file's header, of JSON's types.
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
  with np.errstate(over="ignore"):  # `load` refuses what is not finite
    checkpoints_lib.save(
      model, path, metadata={"leep_jax": json.dumps(content)}
    )


def load(path: str | pathlib.Path) -> Cnaps:
  """Reads a model that `save` wrote.

  Raises:
    InputError: if there is none, it is damaged, or of another kind.
  """
  tensors, metadata = checkpoints_lib.read_tensors(path)
  try:
    card = json.loads(metadata["leep_jax"])
    if card["method"] != "cnaps":
      raise ValueError(f"its method is {card['method']!r}")
    preprocessing = Preprocessing(
      **{key: card[key] for key in ("image_size", "mean", "std")}
    )
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
  """Returns what `save` kept in a file's header."""
  return json.loads(checkpoints_lib.read_metadata(path)["leep_jax"])
