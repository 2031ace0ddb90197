"""Names of Keras models: of `keras.applications`, files, presets of KerasHub.

    keras/NAME, keras:NAME, keras.applications.NAME, ...@FILE
    FILE.keras, FILE.h5
    keras_hub/PRESET, keras_hub:PRESET, hf://keras/PRESET, a preset's folder

NAME may have any capitalisation. `...@FILE` reads the weights of an application
from a file, instead of those that Keras downloads to `~/.keras/models`.
"""

from collections.abc import Mapping
import contextlib
import dataclasses
import json
import os
import pathlib
import re
import sys
from typing import Any, NamedTuple

import jax
import numpy as np

from leep_jax import validation
from leep_jax.models.preprocessing import Preprocessing
from leep_jax.sources import (
  keras_models,
  overrides as overrides_lib,
  source as source_lib,
)

_APPLICATION = re.compile(
  r"(?:keras[/: ]|keras\.applications\.)(?!/)(.+)", re.I
)
_PRESET = re.compile(r"keras_hub[/:](?!/)(.+)|(?:hf://)?(keras/.+)", re.I)
_FILES = (".keras", ".h5", ".hdf5")
# What files begin with: an archive, and HDF5.
_MARKS = {".keras": b"PK\3\4", ".h5": b"\x89HDF", ".hdf5": b"\x89HDF"}
_FILTERS = {"lanczos3": "lanczos", "nearest": "nearest", "bilinear": "bilinear",
            "bicubic": "bicubic"}  # fmt: skip


class KerasName(NamedTuple):
  """What the name of a Keras model means.

  Attributes:
    kind: `application`, `file` or `preset`.
    what: name of the application, known or not; path of the file; preset.
    weights: path of a file with the application's weights, or "".

  Example:
    >>> from leep_jax.sources import keras_names
    >>> keras_names.parse("keras/resnet50v2")
    KerasName(kind='application', what='ResNet50V2', weights='')
  """

  kind: str
  what: str
  weights: str = ""


def parse(name: str) -> KerasName | None:
  """Returns what a name means, or None if it is of another kind.

  Args:
    name: what the user wrote.

  Example:
    >>> from leep_jax.sources import keras_names
    >>> keras_names.parse("runs/best.keras").kind
    'file'
    >>> keras_names.parse("keras/resnet_50_imagenet").what
    'hf://keras/resnet_50_imagenet'
    >>> keras_names.parse("resnet50.a1_in1k") is None
    True
  """
  found = _APPLICATION.fullmatch(name)
  stem, _, weights = (found[1] if found else "").partition("@")
  for known in keras_models.applications():
    if known.lower() == stem.lower():
      return KerasName("application", known, weights)
  if "@" not in name and name.lower().endswith(_FILES):
    return KerasName("file", name)
  if _is_preset(pathlib.Path(name)):
    return KerasName("preset", name)
  hub = _PRESET.fullmatch(name)
  if hub:
    return KerasName("preset", hub[1] or f"hf://{hub[2]}")
  return KerasName("application", stem, weights) if found else None


def _is_preset(folder):
  """Whether a folder is as KerasHub's `save_to_preset` writes it."""
  try:
    config = json.loads((folder / "config.json").read_text())
    return str(config["registered_name"]).startswith("keras_hub>")
  except (OSError, ValueError, KeyError, TypeError):
    return False


def check(name: str, parsed: KerasName) -> None:
  """Refuses what cannot be loaded, without loading it or importing Keras.

  Args:
    name: what the user wrote.
    parsed: what it means.

  Raises:
    InputError: if Keras or KerasHub is not installed, there is no such
      application, or no such file.

  Example:
    >>> import leep_jax
    >>> from leep_jax.sources import keras_names
    >>> try:
    ...   keras_names.check("a.keras", keras_names.parse("a.keras"))
    ... except leep_jax.InputError as error:
    ...   print(error)
    no Keras model at a.keras
  """
  keras_models.check_installed("keras")
  if parsed.kind == "preset":
    try:
      keras_models.check_installed("keras_hub")
    except validation.InputError as e:
      # An application whose name is misspelt looks like a preset.
      stem = parsed.what.rpartition("/")[2]
      near = validation.nearest(stem, keras_models.APPLICATIONS)
      hint = f"did you mean keras/{near[0]}? " if near else ""
      raise validation.InputError(
        f"{name} is no model of keras.applications; {hint}Presets of KerasHub "
        f"need it: {e}"
      ) from e
  if parsed.kind == "application":
    if parsed.what not in keras_models.APPLICATIONS:
      raise validation.unknown(
        "model of keras.applications", parsed.what, keras_models.APPLICATIONS
      )
    if parsed.weights and not os.path.exists(_path(parsed.weights)):
      raise validation.InputError(f"no weights at {parsed.weights}")
  if parsed.kind == "file":
    _check_file(parsed.what)


def _check_file(name):
  path = _path(name)
  if path.is_dir():
    raise validation.InputError(
      f"{name} is a folder, not a file that Keras saved: write it with "
      f"model.save({name!r})"
    )
  if not path.exists():
    raise validation.InputError(f"no Keras model at {name}")
  with path.open("rb") as file:
    mark = _MARKS[path.suffix.lower()]
    if file.read(len(mark)) != mark:
      raise validation.InputError(
        f"{name} is no file that Keras saved: is it damaged, or a page that a "
        "server sent instead?"
      )


def _path(name):
  return pathlib.Path(name).expanduser()


def load(
  name: str, parsed: KerasName, overrides: overrides_lib.Overrides
) -> source_lib.Source:
  """Loads a Keras model as a source.

  Args:
    name: what the user wrote, which names the source.
    parsed: what it means.
    overrides: what replaces its preprocessing.

  Raises:
    InputError: if weights cannot be downloaded, a file is damaged or needs the
      user's code, or the model has another number of classes.

  Example:
    >>> import pathlib, tempfile
    >>> from leep_jax.sources import catalog, keras_models, keras_names
    >>> keras = keras_models.on_jax()
    >>> model = keras.Sequential([
    ...   keras.Input((8, 8, 3)), keras.layers.Rescaling(1 / 255),
    ...   keras.layers.Flatten(), keras.layers.Dense(5),
    ... ])
    >>> with tempfile.TemporaryDirectory() as folder:
    ...   path = str(pathlib.Path(folder) / "model.keras")
    ...   model.save(path)
    ...   parsed = keras_names.parse(path)
    ...   source = keras_names.load("mine", parsed, catalog.Overrides())
    >>> source.name, source.num_parameters
    ('mine', 965)
  """
  if overrides.tf_padding is not None:
    raise validation.InputError(f"tf_padding is not for Keras models ({name})")
  if overrides.backend not in (None, "keras"):
    raise validation.InputError(
      f"{name} is a model of Keras, which runs with --backend=keras alone, not "
      f"{overrides.backend}"
    )
  keras = keras_models.on_jax()
  preprocessing = None
  # Keras shows the progress of downloads on standard output, where tables are.
  with (
    contextlib.redirect_stdout(sys.stderr),
    jax.numpy_rank_promotion("allow"),
  ):
    if parsed.kind == "application":
      model = _application(keras, parsed)
    elif parsed.kind == "file":
      model = _saved(keras, parsed.what)
    else:
      model, preprocessing = _preset(parsed.what)
  source = keras_models.from_keras(
    model,
    name=name,
    preprocessing=preprocessing,
    features=overrides.features,
  )
  return _overridden(source, overrides)


def _application(keras, parsed):
  """A model of `keras.applications` with its weights."""
  make = getattr(keras.applications, parsed.what)
  side = keras_models.APPLICATIONS[parsed.what].image_size
  weights = str(_path(parsed.weights)) if parsed.weights else "imagenet"
  try:
    return make(
      weights=weights,
      input_shape=(side, side, 3),
      classifier_activation=None,
    )
  except Exception as e:  # Keras raises this type itself
    why = keras_models.said(e)
    address = re.search(r"https://\S+?\.h5", why)
    if parsed.weights or not address:
      raise validation.InputError(
        f"cannot read the weights of keras/{parsed.what}"
        f"{' in ' if parsed.weights else ''}{parsed.weights}: {why}"
      ) from e
    raise validation.InputError(
      f"cannot download the weights of keras/{parsed.what}: put "
      f"{address[0]} into ~/.keras/models, pass keras/{parsed.what}@FILE, or "
      "name a file of the model, FILE.keras"
    ) from e


def _saved(keras, name):
  """The model in a file; one that contains code is refused."""
  try:
    return keras.saving.load_model(_path(name), compile=False, safe_mode=True)
  except Exception as e:  # whatever Keras and the layers raise
    why = keras_models.said(e)
    # Keras prints the model's configuration before the reason.
    missing = re.search(r"Could not locate [^.]*", why)
    raise validation.InputError(
      f"cannot load {name}: {missing[0] if missing else why[:300]}; a model "
      "with layers or functions of your own is loaded in Python, and made a "
      "source by leep_jax.sources.from_keras"
    ) from e


def _preset(preset):
  """A model of KerasHub and its preprocessing."""
  import keras_hub

  converter = None
  try:
    try:
      model = keras_hub.models.ImageClassifier.from_preset(preset)
      converter = getattr(model.preprocessor, "image_converter", None)
    except (TypeError, ValueError):  # a preset without a classifier
      model = keras_hub.models.Backbone.from_preset(preset)
    if converter is None:
      converter = keras_hub.layers.ImageConverter.from_preset(preset)
  except Exception as e:  # whatever KerasHub and the hubs raise
    raise validation.InputError(
      f"cannot load the KerasHub preset {preset}: {type(e).__name__}: "
      f"{keras_models.said(e)}"
    ) from e
  config = dict(converter.get_config())
  config["image_size"] = config.get("image_size") or model.input_shape[1:3]
  return model, converted(config)


def converted(config: Mapping[str, Any]) -> Preprocessing:
  """Returns the preprocessing of KerasHub's `ImageConverter`.

  It scales pixels in 0..255 and adds an offset.

  Args:
    config: of the layer, from `get_config`.

  Raises:
    InputError: if images are padded.

  Example:
    >>> from leep_jax.sources import keras_names
    >>> keras_names.converted({
    ...   "image_size": (224, 224), "scale": 1 / 127.5, "offset": -1,
    ...   "crop_to_aspect_ratio": True, "interpolation": "bilinear"}).mean
    (0.5, 0.5, 0.5)
  """
  size = config.get("image_size") or (None, None)
  interpolation = str(config.get("interpolation", "bilinear"))
  if config.get("pad_to_aspect_ratio"):
    raise validation.InputError(
      f"the KerasHub preset brings images to {size} by padding with black, "
      "which is not done here"
    )
  if interpolation not in _FILTERS:
    raise validation.unknown("interpolation", interpolation, _FILTERS)
  scale, offset = (
    np.broadcast_to(np.asarray(value, np.float64), 3)
    for value in (
      1.0 if config.get("scale") is None else config["scale"],
      0.0 if config.get("offset") is None else config["offset"],
    )
  )
  cropped = config.get("crop_to_aspect_ratio", True)
  return Preprocessing(
    image_size=None if size[0] is None else tuple(size),
    mean=tuple(-offset / (255 * scale)),
    std=tuple(1 / (255 * scale)),
    interpolation=_FILTERS[interpolation],
    crop_mode="center" if size[0] is None or cropped else "squash",
  )


def _overridden(source, overrides):
  """The source with what the user states instead of its own."""
  preprocessing = dataclasses.replace(
    source.preprocessing, **overrides.preprocessing()
  )
  if source.min_image_size > 1:
    keras_models.check_size(
      source.name, source.min_image_size, preprocessing.image_size
    )
  if overrides.num_classes is not None:
    side = preprocessing.image_size or source.min_image_size
    shape = (1, side, side, len(preprocessing.mean))
    logits = jax.eval_shape(
      source.apply, source.state, jax.ShapeDtypeStruct(shape, np.float32)
    )[0]
    classes = None if source.without_probs else logits.shape[1]
    if classes != overrides.num_classes:
      raise validation.InputError(
        f"{source.name} has {classes or 'no'} classes, not "
        f"{overrides.num_classes}"
      )
  return dataclasses.replace(source, preprocessing=preprocessing)
