"""What lies beside a checkpoint: how it was evaluated, as its hub states it.

`config.json` in timm's form, or `config.json` and `preprocessor_config.json` in
transformers'. What they do not state stays as the architecture has it.
"""

from collections.abc import Mapping
import dataclasses
import json
import math
import pathlib
from typing import Any

from leep_jax import checks, source as source_lib

# Pillow's numbers, which transformers writes as `resample`.
_RESAMPLE = ("nearest", "lanczos", "bilinear", "bicubic", "box", "hamming")
# What transformers computes unless the configuration says otherwise.
_TRANSFORMERS: dict[str, dict[str, Any]] = {
  "mobilenet_v1": {
    "act": "relu6", "norm_eps": 1e-3, "tf_padding": True,
  },
  "vit": {"act": "gelu", "norm_eps": 1e-12},
  "convnext": {"act": "gelu", "head_norm_eps": 1e-12},
}  # fmt: skip
# Above this size, transformers' ConvNeXt is fed without a crop.
_CONVNEXT_WHOLE = 384


@dataclasses.dataclass(frozen=True)
class Config:
  """What a configuration states.

  Attributes:
    preprocessing: fields of `Preprocessing`.
    num_classes: number of source classes, or None.
    options: of the network: `norm_eps`, `head_norm_eps`, `tf_padding`.
    timm: what timm calls the network, or None.
    transformers: the `model_type` of transformers, or None.
    pool: what timm calls the pooling before the head, or None.
  """

  preprocessing: Mapping[str, Any] = dataclasses.field(default_factory=dict)
  num_classes: int | None = None
  options: Mapping[str, Any] = dataclasses.field(default_factory=dict)
  timm: str | None = None
  transformers: str | None = None
  pool: str | None = None


def read(folder: pathlib.Path) -> Config:
  """Reads the configuration in a folder; an empty one where there is none.

  Args:
    folder: where `config.json` and `preprocessor_config.json` may be.

  Raises:
    InputError: if a file is damaged, or asks for what is not known here.
  """
  config = _read_json(folder / "config.json")
  images = _read_json(folder / "preprocessor_config.json")
  try:
    if "pretrained_cfg" in config or "architecture" in config:
      found = _timm(config)
    else:
      found = _transformers(config, images)
    # Refused here, where it is known who says so.
    source_lib.Preprocessing(**{"image_size": 1, **found.preprocessing})
    return found
  except checks.InputError as e:
    raise checks.InputError(f"configuration in {folder}: {e}") from e
  except (
    ArithmeticError,
    TypeError,
    ValueError,
    LookupError,
    AttributeError,
  ) as e:
    raise checks.InputError(
      f"the configuration in {folder} cannot be understood: "
      f"{type(e).__name__}: {checks.reason(e)}"
    ) from e


def _read_json(path):
  if not path.is_file():
    return {}
  try:
    content = json.loads(path.read_text(encoding="utf-8"))
  except (OSError, ValueError) as e:
    raise checks.InputError(
      f"cannot read {path} as JSON ({checks.reason(e)}): is the download cut "
      "short?"
    ) from e
  if not isinstance(content, dict):
    raise checks.InputError(f"{path} holds no JSON object")
  return content


def _square(what, height, width):
  if height != width:
    raise checks.InputError(
      f"{what} is {height} x {width}, but images are made square"
    )
  return checks.at_least_1(what, height)


def _timm(config):
  stated = {**config, **config.get("pretrained_cfg", {})}
  fields: dict[str, Any] = {}
  if "input_size" in stated:
    fields["image_size"] = _square("input_size", *stated["input_size"][1:])
  for name in ("mean", "std"):
    if name in stated:
      fields[name] = tuple(stated[name])
  if "crop_pct" in stated:
    fields["crop"] = float(stated["crop_pct"])
  if "interpolation" in stated:
    how = stated["interpolation"]
    # Drawn anew for each training image; evaluation takes bilinear.
    fields["interpolation"] = "bilinear" if how == "random" else how
  mode = stated.get("crop_mode") or "center"
  if mode not in ("center", "squash"):
    raise checks.InputError(
      f"crop_mode is {mode!r}, but known are center and squash"
    )
  fields["squash"] = mode == "squash"
  if config.get("model_args"):
    raise checks.InputError(
      f"model_args {config['model_args']} change the network in ways that are "
      "not known here"
    )
  options: dict[str, Any] = {}
  if str(config.get("architecture", "")).startswith("tf_"):
    options = {"norm_eps": 1e-3, "tf_padding": True}
  # timm writes the number that the file has at the top, the original's below.
  classes = config.get("num_classes", stated.get("num_classes"))
  return Config(
    fields,
    _count(classes),
    options,
    timm=config.get("architecture"),
    pool=config.get("global_pool"),
  )


def _count(classes):
  return None if classes is None else checks.at_least_1("num_classes", classes)


def _transformers(config, images):
  kind = config.get("model_type")
  options = dict(_TRANSFORMERS.get(kind, {}))
  act = options.pop("act", None)
  if act is not None and config.get("hidden_act", act) != act:
    raise checks.InputError(
      f"hidden_act is {config['hidden_act']!r}, but {kind} is computed with "
      f"{act}"
    )
  for name, usual in list(options.items()):
    stated = "layer_norm_eps" if name.endswith("norm_eps") else name
    options[name] = config.get(stated, usual)
  classes = config.get("num_labels")
  if config.get("id2label"):
    classes = len(config["id2label"])
  fields = _images(images) if images else {}
  if not fields and "image_size" in config:
    fields = {"image_size": int(config["image_size"])}
  return Config(fields, _count(classes), options, transformers=kind)


def defaults(kind: str) -> Config:
  """What transformers computes where no configuration says otherwise.

  Args:
    kind: a `model_type`; of an unknown one nothing is stated.
  """
  return _transformers({"model_type": kind}, {})


def _images(stated):
  """Fields of `Preprocessing` from a `preprocessor_config.json`."""
  fields: dict[str, Any] = {"mean": (0.0,) * 3, "std": (1.0,) * 3}
  # Pixels are scaled to [0, 1] here, to 255 * factor there.
  scale = 1.0
  if not stated.get("do_rescale", True):
    scale = 255.0
  elif "rescale_factor" in stated:
    scale = 255 * stated["rescale_factor"]
  if stated.get("do_normalize", True):
    fields["mean"] = tuple(stated.get("image_mean", (0.5,) * 3))
    fields["std"] = tuple(stated.get("image_std", (0.5,) * 3))
  if not math.isclose(scale, 1):
    fields["mean"] = tuple(v / scale for v in fields["mean"])
    fields["std"] = tuple(v / scale for v in fields["std"])
  how = stated.get("resample", _RESAMPLE.index("bilinear"))
  if how not in range(len(_RESAMPLE)):
    raise checks.InputError(
      f"resample is {how!r}, but Pillow's filters are 0 to {len(_RESAMPLE) - 1}"
    )
  fields["interpolation"] = _RESAMPLE[how]
  return fields | _geometry(stated)


def _geometry(stated):
  kind = stated.get(
    "image_processor_type", stated.get("feature_extractor_type")
  )
  size, crop = stated.get("size"), stated.get("crop_size")
  if not stated.get("do_center_crop", crop is not None):
    crop = None
  if isinstance(crop, dict):
    crop = _square("crop_size", crop["height"], crop["width"])
  if size is None:
    return {} if crop is None else {"image_size": int(crop)}
  if isinstance(size, dict) and "height" in size:
    edge, squash = _square("size", size["height"], size["width"]), True
  elif isinstance(size, dict):
    edge, squash = int(size["shortest_edge"]), False
  else:  # a number: the shorter side where a crop follows, else both
    edge, squash = int(size), crop is None
  if "crop_pct" in stated or "ConvNext" in str(kind):
    whole = edge >= _CONVNEXT_WHOLE
    fraction = stated.get("crop_pct") or 224 / 256
    return {
      "image_size": edge,
      "crop": 1.0 if whole else float(fraction),
      "squash": whole,
    }
  image_size = edge if crop is None else int(crop)
  return {
    "image_size": image_size,
    "crop": _fraction(image_size, edge),
    "squash": squash,
  }


def _fraction(size, edge):
  """The crop fraction of which `floor(size / fraction)` is `edge`."""
  fraction = size / edge
  if math.floor(size / fraction) < edge:
    fraction = math.nextafter(fraction, 0)
  return fraction
