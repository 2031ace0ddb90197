"""Sources that the bridge runs: folders, the cache, training, conversions."""

import dataclasses
import pathlib
import subprocess
import sys

import jax
import numpy as np
import pytest

import leep_jax
from leep_jax import convert, transfer
from leep_jax.bridge import program
from leep_jax.engine import cache
from leep_jax.sources import bridged, catalog, converted, eager, torch_model

networks = pytest.importorskip("networks_in_torch")
torch = networks.torch


def source(network=networks.Convolutional, **options):
  return bridged.from_torch(
    "mine",
    networks.made(network),
    example=torch.zeros(1, 3, 16, 16),
    **options,
  )


def test_scores_of_a_users_module():
  outputs = leep_jax.compute_outputs(
    source(), leep_jax.load_dataset("digits", limit=60)
  )
  assert outputs.probs.shape == (60, 5)
  assert outputs.features.shape == (60, 8)
  scores = leep_jax.compute_scores(outputs, names=["leep", "logme"])
  assert np.isfinite(list(scores.values())).all()


def test_without_a_classifier():
  found = bridged.from_torch(
    "mine",
    networks.made(networks.Convolutional, 0),
    example=torch.zeros(1, 3, 16, 16),
    classifier=False,
  )
  assert "no classifier" in found.without_probs
  assert found.preprocessing.image_size == 16


def test_an_example_of_several_images_is_refused():
  with pytest.raises(leep_jax.InputError, match=r"\(2, 3, 8, 8\), not one"):
    bridged.from_torch(
      "mine",
      networks.made(networks.Convolutional),
      example=torch.zeros(2, 3, 8, 8),
    )


def test_images_that_are_not_square(rng):
  network = networks.made(networks.Convolutional)
  tall = leep_jax.Preprocessing(image_size=(24, 16), crop_mode="squash")
  source = bridged.from_torch(
    "tall", network, example=torch.zeros(1, 3, 24, 16), preprocessing=tall
  )
  photos = rng.integers(0, 256, (3, 20, 40, 3), dtype=np.uint8)
  images = source.preprocessing(photos)
  assert images.shape == (3, 24, 16, 3)
  with torch.no_grad():
    expected = network(torch.tensor(np.asarray(images).transpose(0, 3, 1, 2)))
  np.testing.assert_allclose(
    source.apply(source.state, images)[0], expected, rtol=1e-4, atol=1e-5
  )
  with pytest.raises(leep_jax.InputError, match="example is 24 x 16 pixels, b"):
    bridged.from_torch(
      "tall", network, example=torch.zeros(1, 3, 24, 16),
      preprocessing=leep_jax.Preprocessing(image_size=16),
    )  # fmt: skip


def test_the_body_is_trained_and_the_head_is_not():
  found = source()
  network = found.network
  assert set(network.weights.params) == {
    "conv.weight", "bn.weight", "bn.bias", "gate.weight", "gate.bias",
  }  # fmt: skip
  images = np.ones((2, 16, 16, 3), np.float32)
  features, rest = network.apply(*network.weights, images, train=True)
  np.testing.assert_allclose(
    features, found.apply(found.state, images)[1], rtol=1e-5
  )
  # BatchNorm stays in evaluation mode: nothing is updated.
  assert jax.tree.all(jax.tree.map(np.array_equal, rest, network.weights.rest))


def test_fine_tuning_changes_the_body_and_not_the_statistics():
  rng = np.random.default_rng(0)
  images = rng.integers(0, 256, (32, 16, 16, 3)).astype(np.uint8)
  labels = np.arange(32) % 2
  images[labels == 1, :8] //= 4
  found = source()
  (tuned,) = transfer.fine_tune(
    found, (images, labels), (images, labels),
    config=transfer.NetworkConfig(epochs=30, batch_size=8, learning_rate=0.1),
    keep_params=True,
  )  # fmt: skip
  assert tuned.losses[-1] < 0.8 * tuned.losses[0]
  (params, rest), _ = tuned.params
  before = found.network.weights.params["conv.weight"]
  assert np.abs(np.asarray(params["conv.weight"]) - before).max() > 1e-3
  mean = "bn.running_mean"
  np.testing.assert_array_equal(
    rest["weights"][mean], found.state["weights"][mean]
  )
  with pytest.raises(leep_jax.InputError, match="trained from scratch"):
    transfer.train_from_scratch(found, (images, labels), (images, labels))


def as_converted():
  made, arrays = program.from_module(
    networks.made(networks.Attending),
    (torch.zeros(1, 3, 16, 16),),
    name="mine",
  )
  preprocessing = leep_jax.Preprocessing(
    image_size=16, mean=(0.5,) * 3, std=(0.25,) * 3
  )
  return converted.Converted(made, arrays, preprocessing, {"name": "mine"})


def test_a_converted_model_needs_no_pytorch(tmp_path):
  model = as_converted()
  converted.write(tmp_path, model)
  code = (
    "import sys, numpy as np, leep_jax\n"
    f"source = leep_jax.load_source({str(tmp_path)!r})\n"
    "images = np.linspace(0, 1, 2 * 16 * 16 * 3, dtype='f')\n"
    "out = source.apply(source.state, images.reshape(2, 16, 16, 3))[0]\n"
    "print(np.asarray(out).tolist(), source.preprocessing.mean[0])\n"
    "assert not {'torch', 'timm', 'transformers'} & set(sys.modules)\n"
  )
  found = subprocess.run(
    [sys.executable, "-c", code],
    check=True,
    capture_output=True,
    text=True,
    env={"JAX_PLATFORMS": "cpu", "PATH": "", "PYTHONPATH": _root()},
  )
  images = np.linspace(0, 1, 2 * 16 * 16 * 3, dtype="f").reshape(2, 16, 16, 3)
  expected = model.program.apply(model.arrays, images)[0]
  text, _, mean = found.stdout.rpartition(" ")
  np.testing.assert_allclose(
    np.array(eval(text)), expected, rtol=1e-4, atol=1e-5
  )
  assert float(mean) == 0.5


def _root():
  return str(pathlib.Path(leep_jax.__file__).parents[1])


def test_stablehlo_is_the_same_function_of_any_batch(tmp_path):
  from jax import export

  model = as_converted()
  converted.write(tmp_path, model, stablehlo=True)
  read = export.deserialize((tmp_path / "program.stablehlo").read_bytes())
  assert set(read.platforms) == {"cpu", "cuda", "tpu"}
  for batch in (1, 3):
    images = np.random.default_rng(batch).normal(size=(batch, 16, 16, 3))
    images = images.astype("f")
    for got, wanted in zip(
      read.call(model.arrays, images),
      model.program.apply(model.arrays, images),
      strict=True,
    ):
      np.testing.assert_allclose(got, wanted, rtol=1e-4, atol=1e-5)


def test_damaged_folders(tmp_path):
  model = as_converted()
  converted.write(tmp_path, model)
  text = (tmp_path / "program.json").read_text()
  (tmp_path / "program.json").write_text(text[:-20])
  with pytest.raises(leep_jax.InputError, match="cannot read.*is it damaged"):
    leep_jax.load_source(str(tmp_path))
  later = text.replace('{"version": 1, "program"', '{"version": 7, "program"')
  (tmp_path / "program.json").write_text(later)
  with pytest.raises(leep_jax.InputError, match="version 7, but 1 is known"):
    leep_jax.load_source(str(tmp_path))
  (tmp_path / "program.json").write_text(text)
  other = as_converted()
  other.arrays["weights"].pop("token")
  converted.write(tmp_path, other)
  with pytest.raises(leep_jax.InputError, match=r"lacks 1 tensors \(token\)"):
    leep_jax.load_source(str(tmp_path))


def test_the_size_of_a_converted_model_is_fixed(tmp_path):
  converted.write(tmp_path, as_converted())
  with pytest.raises(leep_jax.InputError, match="converted for images of 16"):
    leep_jax.load_source(
      str(tmp_path), overrides=catalog.Overrides(image_size=32)
    )
  found = leep_jax.load_source(
    str(tmp_path), overrides=catalog.Overrides(crop=0.5)
  )
  assert found.preprocessing.crop == 0.5
  with pytest.raises(leep_jax.InputError, match="converted model.*not native"):
    leep_jax.load_source(
      str(tmp_path), overrides=catalog.Overrides(backend="native")
    )


def test_what_the_command_refuses(capsys, tmp_path):
  assert convert.main(["convert", "a", "b", "c"]) == 2
  assert "3 names are given" in capsys.readouterr().err
  out = f"--output={tmp_path / 'out'}"
  assert convert.main(["convert", "cifar10_resnet14", out]) == 2
  assert "no configuration that names" in capsys.readouterr().err


@pytest.mark.parametrize(
  "network",
  [networks.Convolutional, networks.Attending, networks.ConvolutionAsHead],
)
def test_pytorch_itself_gives_the_same_outputs(network, device_count):
  module = networks.made(network)
  preprocessing = leep_jax.Preprocessing(
    image_size=16, mean=(0.5,) * 3, std=(0.25,) * 3
  )
  example = torch.zeros(1, 3, 16, 16)
  model = torch_model.TorchModel(module, (example,), "image", True, "")
  itself = eager.from_model("torch", model, preprocessing=preprocessing)
  through = bridged.from_torch(
    "mine", module, example=example, preprocessing=preprocessing
  )
  digits = leep_jax.load_dataset("digits", limit=37)
  one, other = (
    leep_jax.compute_outputs(s, digits, batch_size=16)
    for s in (itself, through)
  )
  np.testing.assert_allclose(one.probs, other.probs, rtol=1e-4, atol=1e-6)
  np.testing.assert_allclose(one.features, other.features, rtol=1e-4, atol=1e-5)


def test_pytorch_itself_runs_in_float32_and_cannot_be_trained():
  module = networks.made(networks.Convolutional)
  example = (torch.zeros(1, 3, 16, 16),)
  model = torch_model.TorchModel(module, example, "image", True, "")
  source = eager.from_model(
    "torch",
    model,
    preprocessing=leep_jax.Preprocessing(image_size=16),
    options="2.13",
  )
  digits = leep_jax.load_dataset("digits", limit=10)
  with pytest.raises(leep_jax.InputError, match="float32 alone"):
    leep_jax.compute_outputs(source, digits, dtype="bfloat16")
  assert source.network is None
  assert cache.source_digest(source) != cache.source_digest(
    dataclasses.replace(source, options="torch other")
  )
  with pytest.raises(leep_jax.InputError, match="state in its options"):
    cache.source_digest(dataclasses.replace(source, options=""))
