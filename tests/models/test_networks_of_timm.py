"""Networks of timm, saved as on its hub, compute here what they compute there.

One of each kind of design, the smallest; `test_all_tensors` has all rows.
"""

import warnings

import jax
import marks
import numpy as np
import publishers
import pytest
import references

import leep_jax
from leep_jax.sources import catalog, loading

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
  images = np.random.default_rng(0).normal(size=(2, side, side, 3))
  images = images.astype(np.float32)
  with torch.no_grad():
    maps = model.forward_features(torch.tensor(images.transpose(0, 3, 1, 2)))
    features = model.forward_head(maps, pre_logits=True).numpy()
    logits = model.forward_head(maps).numpy()
  return images, logits, features


def close(got, expected):
  size = np.abs(expected).max()
  np.testing.assert_allclose(got, expected, rtol=0, atol=1e-4 * size)


@pytest.mark.parametrize("name", [*SMALL, *marks.exhaustive(*OTHERS)])
def test_outputs(name, tmp_path):
  images, expected, expected_features = save(name, tmp_path, num_classes=5)
  arch = loading.architecture_of(name, tmp_path)
  assert name in catalog.ARCHITECTURES[arch].timm
  source = leep_jax.load_source(f"{arch}@{tmp_path}")
  logits, features = jax.jit(source.apply)(source.state, images)
  close(features, expected_features)
  close(logits, expected)
