"""Keras models as sources: parity with Keras, endings, names, mistakes."""

import importlib.util
import os
import subprocess
import sys
import urllib.error
import warnings

import jax
import jax.numpy as jnp
import marks
import numpy as np
import pytest

import leep_jax
from leep_jax import transfer, validation
from leep_jax.engine import cache
from leep_jax.sources import (
  catalog,
  from_keras,
  keras_endings,
  keras_models,
  keras_names,
)

# Importing Keras would choose its usual backend.
if importlib.util.find_spec("keras") is None:
  pytest.skip("Keras is not installed", allow_module_level=True)
keras = keras_models.on_jax()
layers = keras.layers
SIDE = 12
# The smallest model of each module of keras.applications.
SMALLEST = (
  "MobileNetV3Small", "MobileNet", "MobileNetV2", "ConvNeXtTiny", "DenseNet121",
  "EfficientNetB0", "EfficientNetV2B0", "InceptionResNetV2", "InceptionV3",
  "NASNetMobile", "ResNet50", "ResNet50V2", "VGG16", "VGG19", "Xception",
)  # fmt: skip


@pytest.fixture(autouse=True)
def _vectors_are_added():
  """Keras adds vectors to arrays, which the tests' settings refuse."""
  keras.utils.set_random_seed(0)
  with jax.numpy_rank_promotion("allow"):
    yield


def module_of(name):
  """The module of keras.applications that makes a model."""
  return sys.modules[getattr(keras.applications, name).__module__]


def body(channels=3):
  """The input and features of a small network, with random statistics."""
  images = keras.Input((SIDE, SIDE, channels))
  x = layers.Rescaling(1 / 255)(images)
  x = layers.Conv2D(6, 3, strides=2)(x)
  x = layers.BatchNormalization(
    moving_mean_initializer=keras.initializers.RandomNormal(0.1),
    moving_variance_initializer=keras.initializers.RandomUniform(0.5, 2),
  )(x)
  x = layers.Activation("relu")(x)
  return images, layers.Dropout(0.5)(layers.GlobalAveragePooling2D()(x))


def network(*ending, channels=3):
  images, x = body(channels)
  for layer in ending:
    x = layer(x)
  return keras.Model(images, x)


def pixels(rng, side=SIDE, channels=3, count=4):
  return rng.integers(0, 256, (count, side, side, channels), dtype=np.uint8)


def run(source, images):
  return source.apply(source.state, source.preprocessing(images))


def test_all_applications_have_a_row():
  made = {
    name
    for name in dir(keras.applications)
    if name[0].isupper() and callable(getattr(keras.applications, name))
  }
  assert set(keras_models.applications()) == made


@pytest.mark.parametrize("name", keras_models.applications())
def test_pixels_are_those_of_preprocess_input(name, rng):
  images = pixels(rng)
  module = module_of(name)
  expected = module.preprocess_input(images.astype(np.float32))
  row = keras_models.APPLICATIONS[name]
  found = leep_jax.Preprocessing(**keras_models.MODES[row.mode])(images)
  if row.mode == "caffe":
    found = found[..., ::-1]
  np.testing.assert_allclose(found, expected, rtol=1e-5, atol=2e-5)


def centred(logits):
  logits = np.asarray(logits, np.float64)
  return logits - logits.mean(axis=1, keepdims=True)


def normalised(model, module, images):
  """Has BatchNorm use the statistics of images: random ones fade out.

  Of few images, variances near 0 would make the last layers chaotic. Returns
  the first two images, and what the model takes of them.
  """
  given = module.preprocess_input(images.astype(np.float32))
  for layer in keras_endings.layers_of(model):
    if isinstance(layer, layers.BatchNormalization):
      layer.momentum = 0.0
  _, others = jax.jit(
    lambda state: model.stateless_call(*state, given, training=True)
  )(keras_models.state_of(model))
  for variable, value in zip(
    model.non_trainable_variables, others, strict=True
  ):
    variable.assign(value)
  return images[:2], given[:2]


def check_parity(model, source, images, given):
  """Logits are those of Keras's probabilities, up to a number an image."""
  apply = jax.jit(source.apply)
  logits, _ = apply(source.state, images)
  # Those of deep networks with random weights are nearly 0.
  head = [layer for layer in keras_endings.layers_of(model)
          if hasattr(layer, "kernel")
          and layer.kernel.shape[-1] == logits.shape[1]][-1]  # fmt: skip
  head.kernel.assign(head.kernel.value * 3 / logits.std())
  logits, features = apply(keras_models.state_of(model), images)
  expected = centred(np.log(model.predict(given, verbose=0)))
  assert expected.std() > 1
  np.testing.assert_allclose(centred(logits), expected, atol=0.01)
  # The features are what the head makes the logits of.
  kernel = np.asarray(head.kernel.value).reshape(features.shape[1], -1)
  np.testing.assert_allclose(
    logits, features @ kernel + np.asarray(head.bias.value)[None], atol=0.01
  )
  assert not source.without_probs
  return logits, features


@pytest.mark.parametrize(
  "name", [SMALLEST[0], *marks.exhaustive(*SMALLEST[1:])]
)
def test_applications_compute_what_keras_does(name, rng):
  model = getattr(keras.applications, name)(weights=None)
  side = keras_models.APPLICATIONS[name].image_size
  images, given = normalised(
    model, module_of(name), pixels(rng, side, count=16)
  )
  source = from_keras(model, name=name)
  assert source.preprocessing.image_size == side
  assert source.preprocessing.crop == 0.875
  assert keras_models.APPLICATIONS[name].parameters == model.count_params()
  logits, _ = check_parity(
    model, source, source.preprocessing.fitted(images), given
  )
  assert logits.shape == (2, 1000)
  # Images are told apart: channels in another order would be noticed.
  assert np.abs(logits[0] - logits[1]).max() > 0.1


@pytest.mark.exhaustive
@pytest.mark.parametrize("name", SMALLEST)
def test_applications_without_a_top_have_features(name, rng):
  model = getattr(keras.applications, name)(
    weights=None, include_top=False, input_shape=(96, 96, 3)
  )
  images, given = normalised(model, module_of(name), pixels(rng, 96, count=16))
  source = from_keras(model, name=name)
  logits, features = jax.jit(source.apply)(
    source.state, source.preprocessing.fitted(images)
  )
  expected = model.predict(given, verbose=0).mean(axis=(1, 2))
  assert logits is None
  assert "which is no head" in source.without_probs
  np.testing.assert_allclose(
    features, expected, rtol=1e-3, atol=1e-3 * np.abs(expected).max()
  )


@keras.saving.register_keras_serializable("leep_jax_tests")
class Subclass(keras.Model):
  """A model whose softmax is no layer."""

  def __init__(self, **options):
    super().__init__(**options)
    self.conv = layers.Conv2D(6, 3)
    self.pool = layers.GlobalAveragePooling2D()
    self.fc = layers.Dense(5)

  def call(self, images, training=False):
    assert training is False
    return self.fc(self.pool(self.conv(images / 255)))


class Head(layers.Layer):
  """A last layer that is unknown here."""

  def build(self, shape):
    self.weight = self.add_weight(shape=(shape[-1], 5))

  def call(self, x):
    return keras.ops.matmul(x, self.weight)


def nested():
  inner = keras.Model(*body())
  return keras.Sequential(
    [keras.Input((SIDE, SIDE, 3)), inner, layers.Dense(5, "softmax")]
  )


def convolutional():
  images, x = body()
  x = layers.Reshape((1, 1, 6))(x)
  x = layers.Conv2D(5, 1)(x)
  return keras.Model(images, layers.Softmax()(layers.Flatten()(x)))


@pytest.mark.parametrize(
  "make",
  [
    lambda: network(layers.Dense(5, "softmax")),
    lambda: network(layers.Dense(5), layers.Activation("softmax")),
    lambda: network(layers.Dense(5), layers.Softmax()),
    lambda: network(layers.Dense(5), keras.ops.softmax),
    nested,
    convolutional,
  ],
)
def test_logits_are_before_the_softmax(make, rng):
  model = make()
  images = pixels(rng)
  source = from_keras(model, name="mine")
  logits, features = check_parity(
    model, source, source.preprocessing(images), images.astype(np.float32)
  )
  assert (logits.shape, features.shape) == ((4, 5), (4, 6))


def test_logits_without_a_softmax(rng):
  images = pixels(rng)
  for model in (network(layers.Dense(5)), Subclass()):
    expected = model.predict(images.astype(np.float32), verbose=0)
    with warnings.catch_warnings():  # a subclass does not show its division
      warnings.simplefilter("ignore", validation.InputNote)
      source = from_keras(model, name="mine")
    logits, features = run(source, images)
    np.testing.assert_allclose(logits, expected, rtol=1e-4, atol=1e-5)
    assert features.shape == (4, 6)
    assert not source.without_probs


@pytest.mark.parametrize(
  ("ending", "reason", "width"),
  [
    ([layers.Dense(5, "sigmoid")], "ends in sigmoid, not softmax", 6),
    ([layers.Dense(5), layers.Activation("tanh")], "ends in tanh", 6),
    ([layers.Dense(1)], "has one output: there is no choice", 6),
    ([], "ends in GlobalAveragePooling2D, which is no head", 6),
    ([layers.Dense(5), layers.LayerNormalization()], "LayerNormalization", 5),
    ([Head()], "ends in Head, which is no head", 5),
  ],
)
def test_endings_that_are_no_distribution(ending, reason, width, rng):
  source = from_keras(network(*ending), name="mine")
  assert reason in source.without_probs
  images = pixels(rng)
  outputs = leep_jax.compute_outputs(source, [(images, np.arange(4) % 2)])
  assert outputs.features.shape == (4, width)
  assert outputs.probs is None


def test_one_sigmoid_is_a_choice_of_two(rng):
  model = network(layers.Dense(1, "sigmoid"))
  images = pixels(rng)
  source = from_keras(model, name="mine")
  probs = jax.nn.softmax(run(source, images)[0])
  expected = model.predict(images.astype(np.float32), verbose=0)
  np.testing.assert_allclose(probs[:, 1:], expected, rtol=1e-5)
  assert not source.without_probs


def test_features_of_a_named_layer(rng):
  model = network(layers.Dense(7, "relu", name="wide"), Head(name="own"))
  images = pixels(rng)
  source = from_keras(model, name="mine", features="wide")
  logits, features = run(source, images)
  expected = model.predict(images.astype(np.float32), verbose=0)
  np.testing.assert_allclose(logits, expected, rtol=1e-4, atol=1e-5)
  assert features.shape == (4, 7)
  assert not source.without_probs
  with pytest.raises(leep_jax.InputError, match="unknown layer .*mean wide"):
    from_keras(model, name="mine", features="wido")


def test_models_that_are_no_sources():
  images, x = body()
  other = keras.Input((3,))
  for model, message in (
    (keras.Model(images, [x, x]), "not one array of a row an image"),
    (keras.Model([images, other], x), "not one array of square images"),
    (keras.Model(other, layers.Dense(2)(other)), "not one array of square"),
    (Subclass(), "no weights yet: call the model once"),
  ):
    with pytest.raises(leep_jax.InputError, match=message):
      from_keras(model, name="mine")
  with pytest.raises(leep_jax.InputError, match="12 pixels, but image_size is"):
    from_keras(
      keras.Model(images, x), name="mine",
      preprocessing=leep_jax.Preprocessing(image_size=8),
    )  # fmt: skip


def test_a_probability_that_no_layer_shows_is_refused(rng):
  class Hidden(Subclass):
    def call(self, images, training=False):
      return keras.ops.softmax(super().call(images))

  model = Hidden()
  images = pixels(rng, count=32)
  model(images.astype(np.float32))
  with pytest.warns(validation.InputNote, match="no layer that rescales"):
    source = from_keras(model, name="mine")
  with pytest.raises(leep_jax.InputError, match="returns probabilities"):
    leep_jax.compute_outputs(source, [(images, np.arange(32) % 2)])


def test_the_model_stays_as_it_is(rng):
  model = network(layers.Dense(5, "softmax"))
  before = [dict(vars(layer)) for layer in keras_endings.layers_of(model)]
  images = jnp.zeros((1, SIDE, SIDE, 3), jnp.bfloat16)
  from_keras(model, name="mine").apply(keras_models.state_of(model), images)
  for layer, old in zip(keras_endings.layers_of(model), before, strict=True):
    new = vars(layer)
    assert new.keys() == old.keys()
    for key in ("activation", "_dtype_policy"):
      assert new.get(key) is old.get(key)


def test_half_precision_computes_in_it():
  source = from_keras(network(layers.Dense(5, "softmax")), name="mine")
  half = jax.tree.map(lambda x: x.astype(jnp.bfloat16), source.state)
  images = jnp.zeros((1, SIDE, SIDE, 3), jnp.bfloat16)
  jaxpr = jax.make_jaxpr(source.apply)(half, images)
  products = [
    equation
    for equation in jaxpr.eqns
    if equation.primitive.name in ("conv_general_dilated", "dot_general")
  ]
  assert len(products) == 2
  for equation in products:
    assert {v.aval.dtype.name for v in equation.invars} == {"bfloat16"}


def test_a_note_on_pixels_that_no_layer_rescales():
  images = keras.Input((SIDE, SIDE, 1))
  x = layers.GlobalAveragePooling2D()(layers.Conv2D(4, 3)(images))
  model = keras.Model(images, layers.Dense(3)(x))
  with pytest.warns(validation.InputNote, match="pass --mean=0 --std=1$"):
    source = from_keras(model, name="mine")
  white = np.full((1, SIDE, SIDE, 1), 255, np.uint8)
  assert source.preprocessing.crop_mode == "squash"
  np.testing.assert_allclose(source.preprocessing(white), 255, rtol=1e-6)


def test_scores_of_a_saved_model(tmp_path, device_count):
  model = network(layers.Dense(5, "softmax"))
  path = tmp_path / "model.keras"
  model.save(path)
  digits = leep_jax.load_dataset("digits", limit=64)
  sources = [
    *(leep_jax.load_source(str(path)) for _ in range(2)),
    from_keras(model, name="mine"),
  ]
  first, second = (
    leep_jax.compute_scores(
      leep_jax.compute_outputs(s, digits), names=["leep", "h_score"]
    )
    for s in sources[1:]
  )
  for name, value in first.items():
    assert value == pytest.approx(second[name], rel=1e-5), name
  digests = {cache.source_digest(source) for source in sources}
  assert len(digests) == 1


def test_fine_tuning(rng):
  images = pixels(rng, count=16)
  labels = np.arange(16) % 2
  images[labels == 1] //= 4
  model = network(layers.Dense(5, "softmax"))
  source = from_keras(model, name="mine")
  before = jax.tree.map(np.asarray, source.network.weights)
  # Convolution and BatchNorm, and their running statistics.
  assert [p.shape for p in jax.tree.leaves(before.params)] == [
    (3, 3, 3, 6), (6,), (6,), (6,)
  ]  # fmt: skip
  (found,) = transfer.fine_tune(
    source, (images, labels), (images, labels),
    config=transfer.NetworkConfig(
      epochs=40, batch_size=16, learning_rate=0.1
    ),
    keep_params=True,
  )  # fmt: skip
  assert found.losses[-1] < 0.7 * found.losses[0]
  assert found.accuracy == 1
  for layer in model.layers:
    layer.trainable = False
  with pytest.raises(leep_jax.InputError, match="but not trained"):
    transfer.fine_tune(
      from_keras(model, name="mine"), (images, labels), (images, labels)
    )


@pytest.mark.parametrize(
  ("name", "expected"),
  [
    ("keras/ResNet50V2", ("application", "ResNet50V2", "")),
    ("keras:resnet50v2", ("application", "ResNet50V2", "")),
    ("keras.applications.RESNET50v2", ("application", "ResNet50V2", "")),
    ("Keras/VGG16@a.h5", ("application", "VGG16", "a.h5")),
    ("keras:ResNet5", ("application", "ResNet5", "")),
    ("resnet50.keras", ("file", "resnet50.keras", "")),
    ("dir/my.H5", ("file", "dir/my.H5", "")),
    ("keras_hub:resnet_50_imagenet", ("preset", "resnet_50_imagenet", "")),
    ("keras_hub/kaggle://o/m/keras/v", ("preset", "kaggle://o/m/keras/v", "")),
    ("keras/vit_base", ("preset", "hf://keras/vit_base", "")),
    ("hf://keras/vit_base", ("preset", "hf://keras/vit_base", "")),
  ],
)
def test_names(name, expected):
  kind, parsed = catalog.parse(name)
  assert kind is catalog.KINDS["keras"]
  assert parsed == expected


@pytest.mark.parametrize(
  ("name", "message"),
  [
    ("keras:ResNet5", "unknown model of keras.applications .*ResNet50"),
    ("keras/VGG16@no.h5", "no weights at no.h5"),
    ("no/model.keras", "no Keras model at no/model.keras"),
    ("model.keras", "is no file that Keras saved"),
    ("folder.keras", "is a folder, not a file that Keras saved"),
  ],
)
def test_names_of_nothing(name, message, tmp_path, monkeypatch):
  monkeypatch.chdir(tmp_path)
  (tmp_path / "model.keras").write_text("<!DOCTYPE html>")
  (tmp_path / "folder.keras").mkdir()
  with pytest.raises(leep_jax.InputError, match=message):
    catalog.check_source(name)


def test_packages_that_are_missing(monkeypatch):
  for package, name, message in (
    ("keras", "keras/VGG16", r"pip install 'leep_jax\[keras\]'"),
    ("keras_hub", "keras_hub:a", "keras_hub is not installed: pip install"),
  ):
    monkeypatch.delitem(sys.modules, package, raising=False)
    monkeypatch.setattr("importlib.util.find_spec", lambda name: None)
    with pytest.raises(leep_jax.InputError, match=message):
      catalog.check_source(name)
    monkeypatch.undo()


def test_weights_that_cannot_be_downloaded(monkeypatch, tmp_path):
  def no_network(*args, **kwargs):
    raise urllib.error.URLError("no network")

  monkeypatch.setattr("keras.src.utils.file_utils.urlretrieve", no_network)
  monkeypatch.setenv("KERAS_HOME", str(tmp_path))
  with pytest.raises(leep_jax.InputError) as caught:
    leep_jax.load_source("keras/mobilenetv3small")
  assert "https://storage.googleapis.com" in str(caught.value)
  assert "keras/MobileNetV3Small@FILE" in str(caught.value)
  assert "\n" not in str(caught.value)


@pytest.mark.exhaustive
def test_an_application_with_weights_of_a_file(tmp_path):
  model = keras.applications.MobileNetV3Small(weights=None)
  path = tmp_path / "small.weights.h5"
  model.save_weights(path)
  source = leep_jax.load_source(
    f"keras:mobilenetv3SMALL@{path}",
    overrides=catalog.Overrides(crop=1.0, num_classes=1000),
  )
  assert source.preprocessing.crop == 1
  jax.tree.map(
    np.testing.assert_array_equal, source.state, keras_models.state_of(model)
  )
  path.write_bytes(path.read_bytes()[:5000])
  with pytest.raises(leep_jax.InputError, match="cannot read the weights of"):
    leep_jax.load_source(f"keras/MobileNetV3Small@{path}")


def test_files_that_need_code(tmp_path):
  path = tmp_path / "model.keras"
  network(layers.Lambda(lambda x: 2 * x)).save(path)
  with pytest.raises(leep_jax.InputError, match=r"cannot load .*from_keras"):
    leep_jax.load_source(str(path))
  network(Head()).save(path)
  with pytest.raises(leep_jax.InputError, match=r"cannot load .*'Head'"):
    leep_jax.load_source(str(path))
  path.write_bytes(path.read_bytes()[:3000])
  with pytest.raises(leep_jax.InputError, match="cannot load"):
    leep_jax.load_source(str(path))


def test_overrides(tmp_path):
  path = tmp_path / "model.keras"
  network(layers.Dense(5)).save(path)

  def load(**stated):
    return leep_jax.load_source(
      str(path), overrides=catalog.Overrides(**stated)
    )

  changed = load(mean=(0.0,) * 3, std=(1.0,) * 3, crop=0.5).preprocessing
  assert (changed.std, changed.crop) == ((1.0,) * 3, 0.5)
  assert load(num_classes=5).state
  for stated, message in (
    ({"image_size": 24}, "takes images of 12 pixels, but image_size is 24"),
    ({"num_classes": 4}, "has 5 classes, not 4"),
    ({"tf_padding": True}, "tf_padding is not for Keras models"),
  ):
    with pytest.raises(leep_jax.InputError, match=message):
      load(**stated)


def test_another_backend():
  code = """import leep_jax
from leep_jax.sources import keras_models
for _ in range(2):
  try:
    keras_models.on_jax()
  except leep_jax.InputError as error:
    print(error)
  import keras
"""
  ended = subprocess.run(
    [sys.executable, "-c", code],
    env={**os.environ, "KERAS_BACKEND": "numpy"},
    capture_output=True,
    text=True,
    check=True,
  )
  before, after = ended.stdout.splitlines()
  assert "KERAS_BACKEND is numpy" in before
  assert "imported with its backend numpy" in after


def test_presets_of_keras_hub(tmp_path, rng):
  hub = pytest.importorskip("keras_hub")
  backbone = hub.models.ResNetBackbone(
    input_conv_filters=[64], input_conv_kernel_sizes=[7],
    stackwise_num_filters=[64, 16], stackwise_num_blocks=[1, 1],
    stackwise_num_strides=[1, 2], block_type="basic_block",
    image_shape=(32, 32, 3),
  )  # fmt: skip
  converter = hub.layers.ResNetImageConverter(
    image_size=(32, 32), scale=1 / 127.5, offset=-1.0,
    crop_to_aspect_ratio=False,
  )  # fmt: skip
  model = hub.models.ResNetImageClassifier(
    backbone=backbone, num_classes=7,
    preprocessor=hub.models.ResNetImageClassifierPreprocessor(
      image_converter=converter
    ),
  )  # fmt: skip
  images = pixels(rng, 32)
  given = images.astype(np.float32) / 127.5 - 1
  model.save_to_preset(str(tmp_path / "classifier"))
  source = leep_jax.load_source(str(tmp_path / "classifier"))
  assert source.preprocessing.crop_mode == "squash"
  logits, features = run(source, images)
  np.testing.assert_allclose(
    logits, model(given, training=False), rtol=1e-3, atol=1e-4
  )
  assert features.shape == (4, 16)
  backbone.save_to_preset(str(tmp_path / "backbone"))
  converter.save_to_preset(str(tmp_path / "backbone"))
  source = leep_jax.load_source(str(tmp_path / "backbone"))
  assert "no head" in source.without_probs
  np.testing.assert_allclose(run(source, images)[1], features, rtol=1e-3)


def test_what_keras_hub_does_to_images():
  config = {"image_size": (8, 8), "scale": [0.1, 0.2, 0.4], "offset": None}
  images = np.full((1, 8, 8, 3), 10, np.uint8)
  found = keras_names.converted(config)
  np.testing.assert_allclose(found(images)[0, 0, 0], [1, 2, 4], rtol=1e-5)
  assert keras_names.converted({**config, "image_size": (8, 9)}).sides == (8, 9)
  with pytest.raises(leep_jax.InputError, match="by padding with black"):
    keras_names.converted({**config, "pad_to_aspect_ratio": True})
