"""Networks of timm, saved as on its hub, compute here what they compute there.

One of each kind of design, the smallest; names and shapes of tensors are
compared for all.
"""

import dataclasses
import warnings

from flax import nnx
import jax
import marks
import numpy as np
import publishers
import pytest
import references
import timm_networks

import leep_jax
from leep_jax.models import convnext, convnext_designs, resnet
from leep_jax.sources import (
  architectures,
  catalog,
  checkpoints,
  loading,
  matching,
)

RESNETS = ["test_resnet", "resnet10t", "resnetblur18", "ecaresnetlight"]
MORE_RESNETS = [
  "resnet14t", "resnet18d", "resnet26", "resnet50c", "resnet50s", "seresnet18",
  "ecaresnet26t", "seresnext26d_32x4d", "resnetaa34d", "resnet50_gn",
  "wide_resnet50_2", "resnetrs50", "resnext50_32x4d", "senet154",
  "seresnextaa101d_32x8d",
]  # fmt: skip
CONVNEXTS = ["test_convnext", "test_convnext3", "convnext_zepto_rms_ols"]
MORE_CONVNEXTS = [
  "test_convnext2", "convnext_atto", "convnext_atto_ols", "convnext_atto_rms",
  "convnext_nano_ols", "convnext_tiny_hnf", "convnext_zepto_rms",
]  # fmt: skip
SMALL = [*RESNETS, *CONVNEXTS, "convnextv2_atto"]
OTHERS = [*MORE_RESNETS, *MORE_CONVNEXTS]


def save(name, folder, **options):
  """Writes a network of timm with random weights, and returns its outputs."""
  timm = publishers.load("timm")
  torch = pytest.importorskip("torch")
  with warnings.catch_warnings():
    warnings.simplefilter("ignore")
    model = timm.create_model(name, **options).eval()
  model.load_state_dict(
    {
      key: torch.tensor(references.tensor(key, value.shape))
      for key, value in model.state_dict().items()
    }
  )
  timm.models.save_for_hf(model, folder, safe_serialization=True)
  # Odd, so that windows at the end are partly outside, in all stages. Where
  # averages stride, timm leaves those out, and its shapes then do not agree.
  side = 64 if "aa" in name else 67
  images = timm_networks.images(side)
  return images, *timm_networks.outputs(model, images)


@pytest.mark.parametrize("name", [*SMALL, *marks.exhaustive(*OTHERS)])
def test_outputs(name, tmp_path):
  images, expected, expected_features = save(name, tmp_path, num_classes=5)
  arch = loading.architecture_of(name, tmp_path)
  assert name in catalog.ARCHITECTURES[arch].timm
  source = leep_jax.load_source(f"{arch}@{tmp_path}")
  logits, features = jax.jit(source.apply)(source.state, images)
  timm_networks.close(features, expected_features)
  timm_networks.close(logits, expected)


@pytest.mark.exhaustive
@pytest.mark.parametrize(
  "arch", [*resnet.ARCHITECTURES, *convnext.ARCHITECTURES]
)
def test_tensors_and_evaluation(arch):
  timm = publishers.load("timm")
  torch = pytest.importorskip("torch")
  row = catalog.ARCHITECTURES[arch]
  for name in row.timm:
    assert architectures.of_timm()[name] == arch
    with torch.device("meta"):
      theirs = timm.create_model(name).state_dict()
    ours = catalog.shapes(arch, 1000)
    # Some layers are 1x1 convolutions there: sides of 1 do not count.
    assert {
      matching.published_name(path): sorted(n for n in value.shape if n > 1)
      for path, value in nnx.to_flat_state(nnx.state(ours))
    } == {
      key: sorted(n for n in value.shape if n > 1)
      for key, value in theirs.items()
      if not key.endswith("num_batches_tracked")
    }
    # These have torchvision's evaluation here.
    if name not in (
      "resnet18",
      "resnet34",
      "resnet50",
      "resnet101",
      "resnet152",
    ):
      assert row.preprocessing == timm_networks.preprocessing(name)


def test_a_hidden_layer_before_the_last(tmp_path):
  # As in convnext_large_mlp, which is too large for a test.
  sizes = {"depths": (1, 1, 1, 1), "dims": (8, 16, 24, 32)}
  images, expected, expected_features = save(
    "convnext_atto", tmp_path, num_classes=5, head_hidden_size=24, **sizes
  )
  design = convnext_designs.Design(*sizes.values(), hidden=24)
  model = convnext.ConvNeXt(design, 5, rngs=nnx.Rngs(0))
  tensors, _ = checkpoints.read_tensors(tmp_path / "model.safetensors")
  matching.load_into(model, tensors, origin="the file")
  logits, features = jax.jit(lambda model: model(images))(model)
  timm_networks.close(features, expected_features)
  timm_networks.close(logits, expected)


@pytest.mark.parametrize("normed", [True, False])
def test_without_a_head(normed, tmp_path):
  images, _, expected = save("convnextv2_atto", tmp_path, num_classes=0)
  path = tmp_path / "model.safetensors"
  tensors, _ = checkpoints.read_tensors(path)
  if not normed:  # as its weights after masked autoencoding
    weight, bias = (
      tensors.pop(f"head.norm.{last}") for last in ("weight", "bias")
    )
    expected = (expected - bias[None]) / weight[None]
    references.save(tensors, path)
  with pytest.warns(leep_jax.validation.InputNote) as notes:
    source = leep_jax.load_source(f"convnextv2_atto@{tmp_path}")
  assert any("has no classifier" in str(note.message) for note in notes)
  missing = any("no head.norm.bias or" in str(note.message) for note in notes)
  assert missing is not normed
  logits, features = source.apply(source.state, images)
  assert logits is None
  timm_networks.close(features, expected)


def test_a_projection_is_no_classifier(tmp_path, monkeypatch):
  """timm gives CLIP's towers a head with a bias of zeros."""
  save("test_convnext2", tmp_path, num_classes=5)
  path = tmp_path / "model.safetensors"
  tensors, _ = checkpoints.read_tensors(path)
  tensors["head.fc.bias"] = np.zeros(5, np.float32)
  references.save(tensors, path)
  row = catalog.ARCHITECTURES["test_convnext2"]
  assert leep_jax.load_source(f"test_convnext2@{tmp_path}").without_probs == ""
  row = dataclasses.replace(row, projects=True)
  monkeypatch.setitem(catalog.ARCHITECTURES, "test_convnext2", row)
  with pytest.warns(leep_jax.validation.InputNote, match="space of texts"):
    source = leep_jax.load_source(f"test_convnext2@{tmp_path}")
  assert "is no classifier" in source.without_probs
