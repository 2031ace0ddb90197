"""Keras models, on Keras's JAX backend, as sources.

Pixels go through what `keras.applications` calls `preprocess_input`. Its models
have a row in `APPLICATIONS` for it. Other models take pixels in 0..255, as
Keras's own loaders give them, and mostly rescale them in their first layer.
"""

import dataclasses
import importlib.util
import os
import re
import sys
from typing import Any, NamedTuple

import jax
import jax.numpy as jnp

from leep_jax import validation
from leep_jax.models.preprocessing import Preprocessing
from leep_jax.sources import functions, keras_endings, source as source_lib

_IMAGENET = {"mean": (0.485, 0.456, 0.406), "std": (0.229, 0.224, 0.225)}
# The function `preprocess_input` in keras/src/applications/imagenet_utils.py
# (Keras 3.15) by its argument `mode`, for pixels in [0, 1].
MODES: dict[str, dict[str, Any]] = {
  "tf": {"mean": (0.5,) * 3, "std": (0.5,) * 3},
  "torch": _IMAGENET,
  # Of RGB; the channels are swapped afterwards.
  "caffe": {
    "mean": (123.68 / 255, 116.779 / 255, 103.939 / 255),
    "std": (1 / 255,) * 3,
  },
  # The model rescales pixels in 0..255 itself.
  "": {"mean": (0.0,) * 3, "std": (1 / 255,) * 3},
}
# Top-1 accuracies of keras.applications are those of a single crop of the
# centre (README of keras-team/keras-applications); 0.875 is its usual size.
_CROP = 0.875
# Layers that change the scale of pixels.
_RESCALING = ("Normalization", "Rescaling")
_SEED = "seed_generator_state"
_OPERATIONS = ("Multiply", "Subtract", "TrueDivide")
# Sides of images with which a model without a size is tried.
_TRIED_SIZES = (224, 32)


# Names that models of `keras.applications` give themselves, other than that of
# their function in another case: patterns, and the function.
_OTHER_NAMES = (
  (r"mobilenet_\d.*", "MobileNet"),
  (r"mobilenetv2_\d.*", "MobileNetV2"),
  (r"nasnet", "NASNetMobile"),
)


class Application(NamedTuple):
  """A model of `keras.applications`.

  Attributes:
    mode: key of `MODES`.
    image_size: side of the images that its weights are for, in pixels.
    parameters: number of its parameters.
    accuracy: top-1 accuracy on ImageNet, 0 to 1, in the table of
      https://keras.io/api/applications; None if it has none.

  Example:
    >>> from leep_jax.sources import keras_models
    >>> row = keras_models.APPLICATIONS["ResNet50"]
    >>> row.mode, row.image_size, row.parameters, row.accuracy
    ('caffe', 224, 25636712, 0.749)
  """

  mode: str
  image_size: int
  parameters: int
  accuracy: float | None


# By the name of the function that makes it.
APPLICATIONS = {
  "ConvNeXtBase": Application("", 224, 88_591_464, 0.853),
  "ConvNeXtLarge": Application("", 224, 197_767_336, 0.863),
  "ConvNeXtSmall": Application("", 224, 50_223_688, 0.823),
  "ConvNeXtTiny": Application("", 224, 28_589_128, 0.813),
  "ConvNeXtXLarge": Application("", 224, 350_196_968, 0.867),
  "DenseNet121": Application("torch", 224, 8_062_504, 0.75),
  "DenseNet169": Application("torch", 224, 14_307_880, 0.762),
  "DenseNet201": Application("torch", 224, 20_242_984, 0.773),
  "EfficientNetB0": Application("", 224, 5_330_571, 0.771),
  "EfficientNetB1": Application("", 240, 7_856_239, 0.791),
  "EfficientNetB2": Application("", 260, 9_177_569, 0.801),
  "EfficientNetB3": Application("", 300, 12_320_535, 0.816),
  "EfficientNetB4": Application("", 380, 19_466_823, 0.829),
  "EfficientNetB5": Application("", 456, 30_562_527, 0.836),
  "EfficientNetB6": Application("", 528, 43_265_143, 0.84),
  "EfficientNetB7": Application("", 600, 66_658_687, 0.843),
  "EfficientNetV2B0": Application("", 224, 7_200_312, 0.787),
  "EfficientNetV2B1": Application("", 240, 8_212_124, 0.798),
  "EfficientNetV2B2": Application("", 260, 10_178_374, 0.805),
  "EfficientNetV2B3": Application("", 300, 14_467_622, 0.82),
  "EfficientNetV2L": Application("", 480, 119_027_848, 0.857),
  "EfficientNetV2M": Application("", 480, 54_431_388, 0.853),
  "EfficientNetV2S": Application("", 384, 21_612_360, 0.839),
  "InceptionResNetV2": Application("tf", 299, 55_873_736, 0.803),
  "InceptionV3": Application("tf", 299, 23_851_784, 0.779),
  "MobileNet": Application("tf", 224, 4_253_864, 0.704),
  "MobileNetV2": Application("tf", 224, 3_538_984, 0.713),
  "MobileNetV3Large": Application("", 224, 5_507_432, None),
  "MobileNetV3Small": Application("", 224, 2_554_968, None),
  "NASNetLarge": Application("tf", 331, 88_949_818, 0.825),
  "NASNetMobile": Application("tf", 224, 5_326_716, 0.744),
  "ResNet101": Application("caffe", 224, 44_707_176, 0.764),
  "ResNet101V2": Application("tf", 224, 44_675_560, 0.772),
  "ResNet152": Application("caffe", 224, 60_419_944, 0.766),
  "ResNet152V2": Application("tf", 224, 60_380_648, 0.78),
  "ResNet50": Application("caffe", 224, 25_636_712, 0.749),
  "ResNet50V2": Application("tf", 224, 25_613_800, 0.76),
  "VGG16": Application("caffe", 224, 138_357_544, 0.713),
  "VGG19": Application("caffe", 224, 143_667_240, 0.713),
  "Xception": Application("tf", 299, 22_910_480, 0.79),
}


def applications() -> list[str]:
  """Returns the names of all models of `keras.applications`.

  Example:
    >>> from leep_jax.sources import keras_models
    >>> keras_models.applications()[:2]
    ['ConvNeXtBase', 'ConvNeXtLarge']
  """
  return sorted(APPLICATIONS)


def check_installed(package: str) -> None:
  """Refuses to go on without a package, which is not imported.

  Args:
    package: `keras` or `keras_hub`.

  Raises:
    InputError: if it is not installed.

  Example:
    >>> from leep_jax.sources import keras_models
    >>> keras_models.check_installed("keras")
  """
  if package not in sys.modules and importlib.util.find_spec(package) is None:
    what = "'leep_jax[keras]'" if package == "keras" else "keras-hub"
    raise validation.InputError(
      f"{package} is not installed: pip install {what}"
    )


def on_jax() -> Any:
  """Returns the module `keras`, which runs on JAX.

  Raises:
    InputError: if Keras 3 is not installed, or runs on another backend.

  Example:
    >>> from leep_jax.sources import keras_models
    >>> keras_models.on_jax().backend.backend()
    'jax'
  """
  check_installed("keras")
  if "keras" not in sys.modules:
    # Keras reads this when it is imported, and never again.
    backend = os.environ.setdefault("KERAS_BACKEND", "jax")
    if backend != "jax":
      raise validation.InputError(
        f"KERAS_BACKEND is {backend}, but a source runs on JAX: set "
        "KERAS_BACKEND=jax"
      )
  import keras

  if keras.__version__.startswith("2."):
    raise validation.InputError(
      f"Keras {keras.__version__} has no JAX backend: pip install "
      "'leep_jax[keras]'"
    )
  if keras.backend.backend() != "jax":
    raise validation.InputError(
      f"Keras was imported with its backend {keras.backend.backend()}, but a "
      "source runs on JAX: set the environment variable KERAS_BACKEND=jax "
      "before Python starts"
    )
  return keras


def from_keras(
  model: Any,
  *,
  name: str,
  preprocessing: Preprocessing | None = None,
  features: str | None = None,
) -> source_lib.Source:
  """Returns a source that runs a Keras model.

  Logits are the output before a final softmax, and features the input of the
  last `Dense` layer, or of a 1x1 convolution in its place. A model without such
  a layer has features alone: its output, averaged over space. The layers that
  are `trainable` can be fine-tuned; in that, too, BatchNorm keeps its running
  statistics, and nothing is dropped.

  Args:
    model: functional, sequential, or a subclass, with its weights; it takes one
      array of images `[B, H, W, C]`. Its layers are used, not copied.
    name: of the source, in tables and rows of results.
    preprocessing: of raw images, to the model's input. By default, that of
      `keras.applications` for one of its models (recognised by the name that it
      gives itself, such as `resnet50`), and pixels in 0..255 for others. A
      Keras input has RGB channels, except in that default for the ResNets (not
      V2) and VGGs of `keras.applications`, which take BGR.
    features: name of the layer whose output is the features, averaged over
      space. If the last layer is unknown here, outputs are then logits.

  Raises:
    InputError: if Keras runs on another backend, the model has no weights yet,
      or its input or output is not as above.

  Example:
    >>> import jax.numpy as jnp
    >>> from leep_jax import sources
    >>> from leep_jax.sources import keras_models
    >>> keras = keras_models.on_jax()  # import keras, with KERAS_BACKEND=jax
    >>> model = keras.Sequential([
    ...   keras.Input((32, 32, 3)),
    ...   keras.layers.Rescaling(1 / 255),
    ...   keras.layers.Conv2D(8, 3),
    ...   keras.layers.GlobalAveragePooling2D(),
    ...   keras.layers.Dense(10, activation="softmax"),
    ... ])
    >>> source = sources.from_keras(model, name="mine")
    >>> logits, features = source.apply(source.state, jnp.ones((1, 32, 32, 3)))
    >>> logits.shape, features.shape, source.preprocessing.image_size
    ((1, 10), (1, 8), 32)
  """
  on_jax()
  if not getattr(model, "built", False) or not model.variables:
    raise validation.InputError(
      f"{name} has no weights yet: call the model once on an image"
    )
  side, channels = _input(model, name)
  application = _application(model.name)
  bgr = False
  if preprocessing is None:
    bgr = application is not None and application.mode == "caffe"
    preprocessing = _preprocessing(model, name, application, side, channels)
  elif side is not None:
    check_size(name, side, preprocessing.image_size)

  def function(state, images):
    images = images[..., ::-1] if bgr else images
    return keras_endings.ending(model, state, images, features=features)

  state = state_of(model)
  found = _tried(name, function, state, preprocessing.image_size, channels)
  own = set() if found.head is None else {id(v) for v in found.head.variables}
  trained = (
    tuple(id(v) not in own for v in model.trainable_variables),
    tuple(False for _ in model.non_trainable_variables),
  )
  source = functions.from_function(
    name,
    lambda state, images: function(state, images)[:2],
    state,
    trained=trained,
    preprocessing=preprocessing,
    min_image_size=side or 1,
    without_probs=found.without_probs,
  )
  if not any(trained[0]):  # all layers are frozen
    source = dataclasses.replace(source, network=None)
  return source


def state_of(model: Any) -> tuple[tuple[jax.Array, ...], tuple[jax.Array, ...]]:
  """Returns the values of a model's trainable variables, and of the others.

  Args:
    model: of Keras, on its JAX backend.

  Example:
    >>> from leep_jax.sources import keras_models
    >>> keras = keras_models.on_jax()
    >>> model = keras.Sequential([keras.Input((4,)), keras.layers.Dense(2)])
    >>> [value.shape for value in keras_models.state_of(model)[0]]
    [(4, 2), (2,)]
  """
  # Seeds of dropout are drawn anew when a file is loaded. Nothing is drawn in
  # evaluation, and the cache has to recognise the source.
  return (
    tuple(v.value for v in model.trainable_variables),
    tuple(
      jnp.zeros_like(v.value) if v.name == _SEED else v.value
      for v in model.non_trainable_variables
    ),
  )


def check_size(
  name: str, side: int, image_size: int | tuple[int, int] | None
) -> None:
  """Refuses images of another size than a model takes.

  Args:
    name: of the source.
    side: of the images that the model takes.
    image_size: of its preprocessing.

  Raises:
    InputError: if they differ.

  Example:
    >>> from leep_jax.sources import keras_models
    >>> keras_models.check_size("mine", 224, 224)
  """
  if image_size != side:
    raise validation.InputError(
      f"the Keras model of {name} takes images of {side} pixels, but "
      f"image_size is {image_size}"
    )


def _input(model, name):
  """Side (None if it is free) and number of channels of the model's images."""
  shape = getattr(model, "input_shape", None)
  if shape is None:  # a subclass
    return None, 3
  if (
    not isinstance(shape, tuple)
    or len(shape) != 4
    or shape[1] != shape[2]
    or shape[3] is None
  ):
    raise validation.InputError(
      f"{name} takes {shape}, not one array of square images [B, H, W, C]: "
      "a source has one input, channels last"
    )
  return shape[1], shape[3]


def _application(own_name):
  """The row of a model of `keras.applications`, by its own name, or None."""
  plain = re.sub(r"\W|_", "", own_name.lower())
  for name, row in APPLICATIONS.items():
    if name.lower() == plain:
      return row
  for pattern, name in _OTHER_NAMES:
    if re.fullmatch(pattern, own_name.lower()):
      return APPLICATIONS[name]
  return None


def _preprocessing(model, name, application, side, channels):
  if application is not None and channels == 3:
    return Preprocessing(
      image_size=side or application.image_size,
      crop=_CROP,
      **MODES[application.mode],
    )
  if not any(map(_rescales, keras_endings.layers_of(model))):
    zeros, ones = (",".join([n] * channels) for n in "01")
    validation.note(
      f"{name} has no layer that rescales pixels: they are in 0..255, as "
      "Keras's loaders give them; if it was trained on pixels in [0, 1], pass "
      f"--mean={zeros} --std={ones}"
    )
  return Preprocessing(
    image_size=side,
    # As `image_dataset_from_directory` does, by default.
    crop_mode="center" if side is None else "squash",
    mean=(0.0,) * channels,
    std=(1 / 255,) * channels,
  )


def _rescales(layer):
  kind = type(layer).__name__
  # There are layers of these names, too.
  operation = not hasattr(layer, "trainable_weights")
  return kind in _RESCALING or (operation and kind in _OPERATIONS)


def _tried(name, function, state, image_size, channels):
  """What a function finds of a model, traced on images of a size it takes."""
  failure = Exception()
  sizes = _TRIED_SIZES if image_size is None else (image_size,)
  for size in sizes:
    found: list[keras_endings.Ending] = []

    def traced(state, images, found=found):
      found.append(function(state, images))
      return found[0][:2]

    shape = jax.ShapeDtypeStruct((1, size, size, channels), jnp.float32)
    try:
      jax.eval_shape(traced, state, shape)
      return found[0]
    except validation.InputError:
      raise
    except Exception as e:  # whatever the layers raise
      failure = e
  raise validation.InputError(
    f"{name} cannot be applied to images of {sizes[0]} pixels: "
    f"{type(failure).__name__}: {said(failure)}"
  ) from failure


def said(error: BaseException) -> str:
  """Returns an error of Keras as one line: its first does not say the reason.

  Example:
    >>> from leep_jax.sources import keras_models
    >>> keras_models.said(ValueError("In call().\\n\\n\x1b[1mWrong.\x1b[0m"))
    'In call(). Wrong.'
  """
  plain = re.sub(r"\x1b\[\d*m", "", str(error))
  return " ".join(plain.split()) or type(error).__name__
