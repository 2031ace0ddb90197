"""The image processors of transformers, as fields of `Preprocessing`.

A `preprocessor_config.json` names a class, and states only what differs from
the defaults of that class. The class is found as `AutoImageProcessor` does.
"""

from collections.abc import Mapping
import math
import numbers
from typing import Any

from leep_jax import validation
from leep_jax.sources import config_keys, processor_classes

# Filters by Pillow's numbers, which transformers writes as `resample`.
_RESAMPLE = ("nearest", "lanczos", "bilinear", "bicubic", "box", "hamming")
_SUFFIX = "ImageProcessor"
_SWITCHES = (
  "do_resize", "do_center_crop", "do_rescale", "do_normalize",
  "do_flip_channel_order", "rescale_offset", "include_top",
)  # fmt: skip
# From this size on, transformers resizes images for ConvNeXt without cropping.
_CONVNEXT_UNCROPPED = 384
# LeViT's class resizes the shorter side to more than the size by this factor.
_LEVIT = 256 / 224
# These classes crop by a rule of their own.
_CROPPING = ("ConvNextImageProcessor", "PoolFormerImageProcessor")


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
    >>> fields["image_size"], fields["crop_mode"], fields["mean"]
    (384, 'squash', (0.5, 0.5, 0.5))
  """
  name = _class_name(stated, model)
  asked = _image_size(model)
  if name is None and not stated:
    return {} if asked is None else {"image_size": asked}
  # Null is "not stated".
  stated = {key: value for key, value in stated.items() if value is not None}
  usual = processor_classes.CLASSES.get(name or "", {})
  _check_keys(stated, usual, origin)
  options = {**processor_classes.ANY, **usual, **stated}
  if name == "MobileViTImageProcessor":
    options["do_normalize"] = False
  if name is None:
    options["do_center_crop"] = stated.get(
      "do_center_crop", "crop_size" in stated
    )
  for key in _SWITCHES:
    if not isinstance(options.get(key, False), bool):
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
    fields |= _geometry(options, name)
  elif options["do_center_crop"]:
    fields["image_size"] = _crop_size(options)
  side = fields.get("image_size")
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


def blue_first(stated: Mapping[str, Any], model: Mapping[str, Any]) -> bool:
  """Returns whether the network takes the channels in the order BGR.

  Args:
    stated: content of a `preprocessor_config.json`; empty if there is none.
    model: content of the `config.json` in the same folder.

  Raises:
    InputError: if the class is not known.

  Example:
    >>> from leep_jax.sources import processors
    >>> processors.blue_first({}, {"model_type": "mobilevit"})
    True
  """
  usual = processor_classes.CLASSES.get(_class_name(stated, model) or "", {})
  flips = stated.get("do_flip_channel_order")
  return bool(usual.get("do_flip_channel_order") if flips is None else flips)


def _class_name(stated, model):
  """Returns the class that `AutoImageProcessor` uses, or None if unknown."""
  name = stated.get("image_processor_type")
  if name is None:
    # The older name of the same key.
    name = stated.get("feature_extractor_type")
  if name is None:
    name = model.get("image_processor_type")
  if name is None:
    name = processor_classes.OF_MODEL.get(str(model.get("model_type")))
    if name is None and "crop_pct" in stated:  # as AutoImageProcessor guesses
      name = "ConvNextImageProcessor"
    if name is None:
      return None
  base = str(name).replace("FeatureExtractor", _SUFFIX)
  # These suffixes name an implementation of the same class.
  base = base.removesuffix("Fast").removesuffix("Pil")
  if base not in processor_classes.CLASSES:
    known = [x.removesuffix(_SUFFIX) for x in sorted(processor_classes.CLASSES)]
    raise validation.InputError(
      f"image_processor_type is {name!r}, which prepares images in ways that "
      f"are not known here; known are {_SUFFIX}s of {', '.join(known)}"
    )
  return base


def _image_size(model):
  """Returns the side of images that a `config.json` states, or None."""
  # Networks of texts and images state it of their image tower.
  tower = model.get("vision_config")
  for part in (model, tower if isinstance(tower, dict) else {}):
    size = part.get("image_size")
    if isinstance(size, (list, tuple)) and len(set(size)) == 1:
      size = size[0]
    if size is not None:
      return size
  return None


def _check_keys(stated, usual, origin):
  refused = config_keys.PROCESSOR_REFUSED
  for key, why in refused.items():
    if stated.get(key) and key not in usual:
      raise validation.InputError(
        f"{key} is {stated[key]!r}, but that is not done here: {why}"
      )
  known = (
    config_keys.PROCESSOR_USED
    | config_keys.PROCESSOR_IRRELEVANT
    | frozenset(refused)
  )
  if "crop_pct" not in usual:
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
  # Both are of EfficientNet's class: it subtracts 1 from scaled pixels, and
  # divides by the deviation once more.
  if options.get("rescale_offset"):
    mean = tuple(v + 1 for v in mean)
  if options.get("include_top"):
    again = channels("image_std", options["image_std"])
    std = tuple(v * w for v, w in zip(std, again, strict=True))
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


def sides(what: str, height: Any, width: Any) -> int | tuple[int, int]:
  """Returns the side of a square, or the height and width of another size.

  Args:
    what: what error messages call the size.
    height: in pixels.
    width: in pixels.

  Raises:
    InputError: if they are no integers from 1.

  Example:
    >>> from leep_jax.sources import processors
    >>> processors.sides("size", 224, 224)
    224
  """
  found = tuple(validation.at_least_1(what, side) for side in (height, width))
  return found[0] if height == width else (found[0], found[1])


def _square(what, height, width):
  if height != width:
    raise validation.InputError(
      f"{what} is {height} x {width}, but this class crops squares here"
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
  return _square("crop_size", height, width)


def _geometry(options, name):
  height, width = _size(
    "size", options["size"], square=options["default_to_square"]
  )
  cropped = _crop_size(options) if options["do_center_crop"] else None
  if width is not None and cropped is None and name not in _CROPPING:
    size = sides("size", height, width)
    return {"image_size": size, "crop": 1.0, "crop_mode": "squash"}
  edge = _square("size", height, height if width is None else width)
  # This class has a geometry of its own, with `crop_pct` in place of a crop.
  if name == "ConvNextImageProcessor":
    return _convnext(options, edge, width is None, cropped)
  if name == "LevitImageProcessor" and width is None:
    edge = int(_LEVIT * edge)
  elif name == "PoolFormerImageProcessor":
    # By the shorter side, even if both sides are stated.
    edge, width = int(edge / options["crop_pct"]), None
  if cropped is None:
    raise validation.InputError(
      f"size is shortest_edge {edge} without a crop (do_center_crop), but "
      "images are brought to one size here"
    )
  if cropped > edge:
    raise validation.InputError(
      f"crop_size is {cropped}, but size is {edge}: transformers would add a "
      "black border, which is not done here"
    )
  return {
    "image_size": cropped,
    "crop": _fraction(cropped, edge),
    "crop_mode": "center" if width is None else "squash",
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
    return {"image_size": edge, "crop": 1.0, "crop_mode": "squash"}
  return {
    "image_size": edge,
    "crop": options["crop_pct"],
    "crop_mode": "center",
    "crop_origin": "floor",
  }


def _fraction(size, edge):
  """Returns the crop fraction for which `floor(size / fraction)` is `edge`."""
  fraction = size / edge
  # Rounding of the quotient may lose a pixel.
  if math.floor(size / fraction) < edge:
    fraction = math.nextafter(fraction, 0)
  return fraction
