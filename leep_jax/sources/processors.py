"""The image processors of transformers, as fields of `Preprocessing`.

A `preprocessor_config.json` names a class, and states only what differs from
the defaults of that class. The class is found as `AutoImageProcessor` does.
"""

from collections.abc import Mapping
import math
import numbers
from typing import Any

from leep_jax import validation
from leep_jax.sources import config_keys

# Filters by Pillow's numbers, which transformers writes as `resample`.
_RESAMPLE = ("nearest", "lanczos", "bilinear", "bicubic", "box", "hamming")
_SQUARE = {"height": 224, "width": 224}
_CLIP = {
  "image_mean": (0.48145466, 0.4578275, 0.40821073),
  "image_std": (0.26862954, 0.26130258, 0.27577711),
}
# Defaults of all classes, which a class may replace, and a file both.
_ANY: dict[str, Any] = {
  "default_to_square": True,
  "do_center_crop": False,
  "do_normalize": True,
  "do_rescale": True,
  "do_resize": True,
  "image_mean": (0.5, 0.5, 0.5),
  "image_std": (0.5, 0.5, 0.5),
  "resample": 2,
  "rescale_factor": 1 / 255,
}
_MOBILENET = {
  "size": {"shortest_edge": 256}, "default_to_square": False,
  "do_center_crop": True, "crop_size": _SQUARE,
}  # fmt: skip
_SHORTER_SIDE = {
  "size": {"shortest_edge": 224}, "default_to_square": False, "resample": 3,
  "do_center_crop": True, "crop_size": _SQUARE, **_CLIP,
}  # fmt: skip
# Classes that resize, crop and normalise, and do nothing else, with their
# defaults in transformers 5. Earlier versions had the same classes under these
# names, with "Fast" at their end or "FeatureExtractor" in them.
_CLASSES: Mapping[str, dict[str, Any]] = {
  "ViTImageProcessor": {"size": _SQUARE},
  "DeiTImageProcessor": {
    "size": {"height": 256, "width": 256}, "resample": 3,
    "do_center_crop": True, "crop_size": _SQUARE,
  },
  "ConvNextImageProcessor": {
    "size": {"shortest_edge": 384}, "default_to_square": False, "resample": 3,
    "crop_pct": 224 / 256,
  },
  "MobileNetV1ImageProcessor": _MOBILENET,
  "MobileNetV2ImageProcessor": _MOBILENET,
  "BitImageProcessor": _SHORTER_SIDE,
  "CLIPImageProcessor": _SHORTER_SIDE,
  "SiglipImageProcessor": {
    "size": _SQUARE, "default_to_square": False, "resample": 3,
  },
  "PvtImageProcessor": {
    "size": _SQUARE, "resample": 3,
    "image_mean": (0.485, 0.456, 0.406), "image_std": (0.229, 0.224, 0.225),
  },
}  # fmt: skip
# The class of a `model_type` whose files name none.
_OF_MODEL = {
  "vit": "ViTImageProcessor",
  "deit": "DeiTImageProcessor",
  "dinov2": "BitImageProcessor",
  "dinov2_with_registers": "BitImageProcessor",
  "convnext": "ConvNextImageProcessor",
  "mobilenet_v1": "MobileNetV1ImageProcessor",
  "resnet": "ConvNextImageProcessor",
}
# From this size on, transformers resizes images for ConvNeXt without cropping.
_CONVNEXT_UNCROPPED = 384


def read(
  stated: Mapping[str, Any], model: Mapping[str, Any], origin: str
) -> dict[str, Any]:
  """Returns fields of `Preprocessing`.

  Args:
    stated: content of a `preprocessor_config.json`; empty if there is none.
    model: content of the `config.json` in the same folder.
    origin: what notes call the two files.

  Raises:
    InputError: if it asks for something that is not implemented.

  Example:
    >>> from leep_jax.sources import processors
    >>> fields = processors.read({"size": 384}, {"model_type": "vit"}, "mine")
    >>> fields["image_size"], fields["squash"], fields["mean"]
    (384, True, (0.5, 0.5, 0.5))
  """
  name = _class_name(stated, model)
  if name is None and not stated:
    size = model.get("image_size")
    return {} if size is None else {"image_size": size}
  _check_keys(stated, name, origin)
  # Null is "not stated".
  stated = {key: value for key, value in stated.items() if value is not None}
  options = {**_ANY, **(_CLASSES[name] if name else {}), **stated}
  if name is None:
    options["do_center_crop"] = stated.get(
      "do_center_crop", "crop_size" in stated
    )
  for key in ("do_resize", "do_center_crop", "do_rescale", "do_normalize"):
    if not isinstance(options[key], bool):
      raise validation.InputError(
        f"{key} is {options[key]!r}, not true or false"
      )
  fields = _normalisation(options, origin) | {
    "interpolation": _interpolation(options["resample"])
  }
  if not options["do_resize"]:
    raise validation.InputError(
      "do_resize is false: the network was fed images of the size they had, "
      "but here they are brought to one size; if size "
      f"{options.get('size')} is right for yours, set do_resize to true"
    )
  if "size" in options:
    fields |= _geometry(options, convnext=name == "ConvNextImageProcessor")
  elif options["do_center_crop"]:
    fields["image_size"] = _crop_size(options)
  side, asked = fields.get("image_size"), model.get("image_size")
  # The defaults of a class may not be the size that the network was trained
  # with.
  if not stated.keys() & {"size", "crop_size"} and isinstance(asked, int):
    if side not in (None, asked):
      validation.note(
        f"{origin}: no size in preprocessor_config.json, so that images are "
        f"{side} pixels a side, as {name} makes them by default; config.json "
        f"says image_size {asked}: --image_size={asked} feeds that"
      )
    elif side is None:
      fields["image_size"] = asked
  return fields


def _class_name(stated, model):
  """Returns the class that `AutoImageProcessor` uses, or None if unknown."""
  name = stated.get("image_processor_type")
  if name is None:
    # The older name of the same key.
    name = stated.get("feature_extractor_type")
  if name is None:
    name = model.get("image_processor_type")
  if name is None:
    name = _OF_MODEL.get(str(model.get("model_type")))
    if name is None and "crop_pct" in stated:  # no other class has it
      name = "ConvNextImageProcessor"
    return name
  base = str(name).replace("FeatureExtractor", "ImageProcessor")
  # These suffixes name an implementation of the same class.
  base = base.removesuffix("Fast").removesuffix("Pil")
  if base not in _CLASSES:
    raise validation.InputError(
      f"image_processor_type is {name!r}, which prepares images in ways that "
      f"are not known here; known are {', '.join(sorted(_CLASSES))}"
    )
  return base


def _check_keys(stated, name, origin):
  for key, why in config_keys.PROCESSOR_REFUSED.items():
    if stated.get(key):
      raise validation.InputError(
        f"{key} is {stated[key]!r}, but that is not done here: {why}"
      )
  known = (
    config_keys.PROCESSOR_USED
    | config_keys.PROCESSOR_IRRELEVANT
    | frozenset(config_keys.PROCESSOR_REFUSED)
  )
  if name != "ConvNextImageProcessor":
    known -= {"crop_pct"}  # other classes ignore it
  note_unknown(stated, known, f"{origin}: preprocessor_config.json")


def note_unknown(
  stated: Mapping[str, Any], known: frozenset[str], origin: str
) -> None:
  """Notes keys that are not null and in no table of `config_keys`.

  Args:
    stated: a configuration.
    known: keys in the tables.
    origin: what the note calls the configuration.

  Example:
    >>> import warnings
    >>> from leep_jax.sources import processors
    >>> with warnings.catch_warnings(record=True) as caught:
    ...   warnings.simplefilter("always")
    ...   processors.note_unknown({"a": 1, "b": 2}, frozenset("a"), "the file")
    >>> print(caught[0].message)
    the file says b, which is not known here and changes nothing
  """
  keys = [key for key in stated if key not in known and stated[key] is not None]
  if keys:
    more = f" and {len(keys) - 3} more" if len(keys) > 3 else ""
    validation.note(
      f"{origin} says {', '.join(map(str, keys[:3]))}{more}, which is not "
      "known here and changes nothing"
    )


def channels(name: str, values: Any) -> tuple[float, ...]:
  """Returns one number for each of three channels.

  Args:
    name: what error messages call the numbers.
    values: three numbers, or one for all channels.

  Raises:
    InputError: if they are no numbers.

  Example:
    >>> from leep_jax.sources import processors
    >>> processors.channels("mean", [0.5])
    (0.5, 0.5, 0.5)
  """
  if not isinstance(values, (list, tuple)):
    values = [values]
  for value in values:
    if isinstance(value, bool) or not isinstance(value, numbers.Real):
      raise validation.InputError(
        f"{name} is {values!r}, not one number a channel"
      )
  return tuple(map(float, values)) * (3 if len(values) == 1 else 1)


def _normalisation(options: Mapping[str, Any], origin: str) -> dict[str, Any]:
  # Pixels are in [0, 1] here and in [0, scale] in transformers, before they are
  # normalised: mean and std are divided by the scale.
  scale = 255.0
  if options["do_rescale"]:
    (factor, *_) = channels("rescale_factor", options["rescale_factor"])
    if not 0 < factor < math.inf:
      raise validation.InputError(
        f"rescale_factor is {factor:g}, but must be above 0"
      )
    scale *= factor
  mean, std = channels("", 0), channels("", 1)
  if options["do_normalize"]:
    mean = channels("image_mean", options["image_mean"])
    std = channels("image_std", options["image_std"])
    if scale > 100 and 0 < max(mean) <= 1 and max(std) <= 1:
      validation.note(
        f"{origin}: image_mean {mean[0]:g} and image_std {std[0]:g} are on the "
        f"scale 0..1, but the network is fed pixels of 0..{scale:g}, as "
        "do_rescale and rescale_factor say: were they divided by 255 before? "
        "Then set do_rescale to true and rescale_factor to 1/255"
      )
  if not math.isclose(scale, 1):
    mean = tuple(v / scale for v in mean)
    std = tuple(v / scale for v in std)
  return {"mean": mean, "std": std}


def _interpolation(how):
  if isinstance(how, bool) or how not in range(len(_RESAMPLE)):
    raise validation.InputError(
      f"resample is {how!r}, but Pillow's filters are 0 to {len(_RESAMPLE) - 1}"
    )
  return _RESAMPLE[how]


def _size(name, size, *, square):
  """Returns a height and a width, or the shorter side and None."""
  if isinstance(size, (list, tuple)):
    if len(size) != 2:
      raise validation.InputError(f"{name} is {size}, not a height and a width")
    size = dict(zip(("height", "width"), size, strict=True))
  elif not isinstance(size, dict):
    keys = ("height", "width") if square else ("shortest_edge",)
    size = dict.fromkeys(keys, size)
  size = {key: value for key, value in size.items() if value is not None}
  if set(size) == {"height", "width"}:
    return size["height"], size["width"]
  if set(size) == {"shortest_edge"}:
    return size["shortest_edge"], None
  raise validation.InputError(
    f"{name} has {', '.join(map(str, size)) or 'no keys'}, but known are "
    "height and width, or shortest_edge"
  )


def square(what: str, height: Any, width: Any) -> int:
  """Returns the side of a square.

  Args:
    what: what error messages call the size.
    height: in pixels.
    width: in pixels.

  Raises:
    InputError: if they differ, or are no integers from 1.

  Example:
    >>> from leep_jax.sources import processors
    >>> processors.square("size", 224, 224)
    224
  """
  if height != width:
    raise validation.InputError(
      f"{what} is {height} x {width}, but images are made square"
    )
  return validation.at_least_1(what, height)


def _crop_size(options):
  if "crop_size" not in options:
    raise validation.InputError(
      "do_center_crop is true, but crop_size is missing"
    )
  height, width = _size("crop_size", options["crop_size"], square=True)
  if width is None:
    raise validation.InputError(
      "crop_size has shortest_edge, but height and width are known"
    )
  return square("crop_size", height, width)


def _geometry(options, *, convnext):
  height, width = _size(
    "size", options["size"], square=options["default_to_square"]
  )
  edge = square("size", height, height if width is None else width)
  cropped = _crop_size(options) if options["do_center_crop"] else None
  # This class has a geometry of its own, with `crop_pct` in place of a crop.
  if convnext:
    return _convnext(options, edge, width is None, cropped)
  if cropped is None:
    if width is None:
      raise validation.InputError(
        f"size is shortest_edge {edge} without a crop (do_center_crop), but "
        "images are made square"
      )
    return {"image_size": edge, "crop": 1.0, "squash": True}
  if cropped > edge:
    raise validation.InputError(
      f"crop_size is {cropped}, but size is {edge}: transformers would add a "
      "black border, which is not done here"
    )
  return {
    "image_size": cropped,
    "crop": _fraction(cropped, edge),
    "squash": width is not None,
    "crop_origin": "floor",
  }


def _convnext(options, edge, by_shorter_side, cropped):
  """The rules of ConvNextImageProcessor: `crop_pct`, below 384 pixels only."""
  if not by_shorter_side:
    raise validation.InputError(
      "size has height and width, but ConvNextImageProcessor takes "
      "shortest_edge"
    )
  if cropped not in (None, edge):
    raise validation.InputError(
      f"crop_size is {cropped}, but size is {edge}: ConvNextImageProcessor "
      "would crop twice, which is not done here"
    )
  if edge >= _CONVNEXT_UNCROPPED:
    return {"image_size": edge, "crop": 1.0, "squash": True}
  return {
    "image_size": edge,
    "crop": options["crop_pct"],
    "squash": False,
    "crop_origin": "floor",
  }


def _fraction(size, edge):
  """Returns the crop fraction for which `floor(size / fraction)` is `edge`."""
  fraction = size / edge
  # Rounding of the quotient may lose a pixel.
  if math.floor(size / fraction) < edge:
    fraction = math.nextafter(fraction, 0)
  return fraction
