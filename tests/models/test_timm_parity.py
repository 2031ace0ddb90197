"""Networks of mobile blocks compute what timm's networks of that name do."""

import json
import warnings

from flax import nnx
import jax
import marks
import numpy as np
import publishers
import pytest
import safetensors.numpy
import timm_networks

import leep_jax
from leep_jax.models import (
  efficientnet,
  efficientnet_v2,
  mnasnet,
  mobilenet_v1,
  mobilenet_v2,
  mobilenet_v3,
  mobilenet_v4,
)
from leep_jax.sources import architectures, matching

ROWS = {
  arch: row
  for module in (
    efficientnet, efficientnet_v2, mnasnet, mobilenet_v1, mobilenet_v2,
    mobilenet_v3, mobilenet_v4,
  )
  for arch, row in module.ARCHITECTURES.items()
}  # fmt: skip
# timm has one name of MobileNet V1's widths; the others are not there.
NAMES = [
  (arch, name)
  for arch, row in ROWS.items()
  for name in row.timm
  if name not in ("mobilenetv1_025", "mobilenetv1_050", "mobilenetv1_075")
]
# One of each kind of block, head and option, and the smallest that has it.
KINDS = [
  "tf_efficientnet_b0", "efficientnet_b1", "efficientnet_es",
  "tf_efficientnet_em", "tf_efficientnet_lite1", "efficientnet_x_b3",
  "tf_efficientnetv2_b0", "tf_efficientnetv2_b3", "efficientnetv2_rw_t",
  "gc_efficientnetv2_rw_t", "efficientnetv2_rw_s", "mnasnet_small",
  "mnasnet_050", "semnasnet_050", "spnasnet_100", "fbnetc_100", "mixnet_s",
  "tf_mixnet_s", "mixnet_m", "tinynet_e", "mobilenet_edgetpu_v2_m",
  "test_efficientnet", "mobilenetv1_100h", "mobilenetv1_125", "mobilenetv2_035",
  "mobilenetv2_110d", "mobilenetv3_small_050", "tf_mobilenetv3_small_075",
  "tf_mobilenetv3_small_minimal_100", "tf_mobilenetv3_large_minimal_100",
  "mobilenetv3_large_100", "mobilenetv3_rw", "hardcorenas_a", "fbnetv3_b",
  "lcnet_050", "mobilenetv4_conv_small_050", "mobilenetv4_conv_aa_medium",
  "mobilenetv4_conv_blur_medium", "mobilenetv4_hybrid_medium",
  "mobilenetv4_hybrid_large",
]  # fmt: skip
# Run without being asked for.
QUICK = ["mobilenetv3_small_050", "test_efficientnet"]
# timm sets this epsilon only where it loads weights.
CODED = {"fbnetc_100": {"bn_eps": 1e-3}}


def random_model(name, **options):
  """A network of timm with random weights and statistics, in evaluation."""
  timm = publishers.load("timm")
  import torch

  with torch.random.fork_rng(devices=[]):
    torch.manual_seed(0)
    with warnings.catch_warnings():
      warnings.simplefilter("ignore")
      model = timm.create_model(name, **CODED.get(name, {}), **options)
    for module in model.modules():
      if isinstance(module, torch.nn.BatchNorm2d):
        torch.nn.init.normal_(module.weight, 1, 0.2)
        torch.nn.init.normal_(module.bias, std=0.2)
        module.momentum = 1.0
      if hasattr(module, "gamma"):  # otherwise so small that nothing shows
        torch.nn.init.normal_(module.gamma, std=0.5)
    # The running statistics become those of a batch. With others, deep networks
    # forget their input, or enlarge what rounding changes.
    with torch.no_grad():
      model.train()(torch.randn(16, 3, 75, 75))
  return model.eval()


def write(model, folder, *, name, classes):
  """Writes what timm's repositories have."""
  folder.mkdir()
  safetensors.numpy.save_file(
    {key: value.numpy() for key, value in model.state_dict().items()},
    folder / "model.safetensors",
  )
  config = {
    "architecture": name,
    "num_classes": classes,
    "num_features": model.num_features,
    "pretrained_cfg": {"input_size": [3, 64, 64], "num_classes": classes},
  }
  (folder / "config.json").write_text(json.dumps(config))


@pytest.mark.parametrize(
  "name", [*QUICK, *marks.exhaustive(*(n for n in KINDS if n not in QUICK))]
)
def test_logits_and_features(name, tmp_path):
  model = random_model(name, num_classes=7)
  folder = tmp_path / name
  write(model, folder, name=name, classes=7)
  source = leep_jax.load_source(f"{name}@{folder}")
  (folder / "model.safetensors").unlink()
  # Strides meet sides of 75, 38, 19, 10 and 5 pixels: TensorFlow's padding of
  # odd and even ones differs.
  images = timm_networks.images(75)
  got = jax.jit(source.apply)(source.state, images)
  theirs = timm_networks.outputs(model, images)
  for ours, expected in zip(got, theirs, strict=True):
    # Different images have different outputs: no layer has lost them.
    difference = np.abs(expected[0] - expected[1]).max()
    assert difference > 0.01 * np.abs(expected).max()
    timm_networks.close(ours, expected)


def test_a_name_stands_for_a_configuration(tmp_path):
  name = "tf_mobilenetv3_small_075"
  model = random_model(name, num_classes=7)
  folder = tmp_path / name
  write(model, folder, name=name, classes=7)
  stated = leep_jax.load_source(f"{name}@{folder}")
  (folder / "config.json").unlink()
  file = folder / "model.safetensors"
  assert leep_jax.load_source(f"{name}@{file}").options == stated.options
  plain = leep_jax.load_source(f"{name.removeprefix('tf_')}@{file}")
  assert plain.options == "mobilenetv3_small_075 []"


def test_without_a_head(tmp_path):
  name = "mobilenetv3_small_050"
  model = random_model(name, num_classes=0)
  folder = tmp_path / name
  write(model, folder, name=name, classes=0)
  with pytest.warns(leep_jax.validation.InputNote, match="has no classifier"):
    source = leep_jax.load_source(f"{name}@{folder}")
  images = timm_networks.images(64)
  logits, features = source.apply(source.state, images)
  assert logits is None
  timm_networks.close(features, timm_networks.outputs(model, images)[1])


@pytest.mark.exhaustive
@pytest.mark.parametrize(("arch", "name"), NAMES)
def test_tensors(arch, name):
  timm = publishers.load("timm")
  import torch

  assert architectures.aliases()[name] == arch
  with torch.device("meta"):
    model = timm.create_model(name)
  expected = {
    key: tuple(value.shape)
    for key, value in model.state_dict().items()
    if not key.endswith("num_batches_tracked")
  }
  network = architectures.shapes(arch, 1000)
  found = {}
  for path, variable in nnx.to_flat_state(nnx.state(network)):
    shape = variable.shape
    order = matching.axes(path, matching.TO_TORCH, len(shape))
    found[matching.published_name(path)] = tuple(shape[i] for i in order)
  assert found == expected


@pytest.mark.exhaustive
def test_preprocessing_without_a_configuration():
  for arch, name in NAMES:
    row = ROWS[arch]
    if name == row.timm[0]:
      assert row.preprocessing == timm_networks.preprocessing(name), arch
