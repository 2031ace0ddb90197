"""Networks of images of transformers, compared with their own code.

Each is saved with its image processor, in a folder as on the hub.
"""

import numpy as np
import PIL.Image
import publishers
import pytest

import leep_jax
from leep_jax.sources import catalog

TOLERANCE = 1e-4
VISION = {
  "hidden_size": 16, "num_hidden_layers": 2, "num_attention_heads": 2,
  "image_size": 32, "patch_size": 8,
}  # fmt: skip
TEXT = {
  "hidden_size": 16, "num_hidden_layers": 1, "num_attention_heads": 2,
  "intermediate_size": 32, "vocab_size": 50,
}  # fmt: skip
WIDE = {**VISION, "intermediate_size": 32}
TOWERS = {"vision_config": WIDE, "text_config": TEXT}
SQUARE = {"size": {"height": 32, "width": 32}}
CROPPED = {
  "size": {"shortest_edge": 40}, "crop_size": {"height": 32, "width": 32},
}  # fmt: skip
DEPTHS = {"depths": [1, 1, 1, 1]}
# The configuration and its arguments, the head, the image processor and its
# arguments.
FOLDERS = {
  "Swin": (
    {
      "image_size": 32, "patch_size": 4, "embed_dim": 8, "depths": [1, 1],
      "num_heads": [1, 2], "window_size": 4,
    },
    "ForImageClassification", "ViT", SQUARE,
  ),
  "Dinov2": (VISION, "Model", "Bit", CROPPED),
  "Beit": (
    {**WIDE, "use_relative_position_bias": True}, "ForImageClassification",
    "Beit", SQUARE,
  ),
  "MobileViT": (
    {
      "image_size": 64, "hidden_sizes": [8, 12, 16], "num_attention_heads": 2,
      "neck_hidden_sizes": [4, 4, 8, 8, 8, 8, 16],
    },
    "ForImageClassification", "MobileViT",
    {
      "size": {"shortest_edge": 72}, "crop_size": {"height": 64, "width": 64},
    },
  ),
  "CLIP": ({**TOWERS, "projection_dim": 8}, "Model", "CLIP", CROPPED),
  "Siglip": (TOWERS, "Model", "Siglip", SQUARE),
  "ViTMAE": (
    {
      **WIDE, "decoder_hidden_size": 8, "decoder_num_hidden_layers": 1,
      "decoder_num_attention_heads": 2, "decoder_intermediate_size": 16,
    },
    "ForPreTraining", "ViT", SQUARE,
  ),
  "RegNet": (
    {
      "embedding_size": 8, "hidden_sizes": [8, 16], "depths": [1, 2],
      "groups_width": 8,
    },
    "ForImageClassification", "ConvNext", {"size": {"shortest_edge": 32}},
  ),
  "Levit": (
    {
      "image_size": 64, "hidden_sizes": [16, 24, 32], "depths": [1, 1, 1],
      "num_attention_heads": [1, 2, 2], "key_dim": [8, 8, 8],
    },
    "ForImageClassificationWithTeacher", "Levit",
    {"size": {"shortest_edge": 64}, "crop_size": {"height": 64, "width": 64}},
  ),
  "PoolFormer": (
    {**DEPTHS, "hidden_sizes": [4, 8, 8, 8]}, "ForImageClassification",
    "PoolFormer", {**CROPPED, "size": {"shortest_edge": 32}},
  ),
  "EfficientNet": (
    {
      "image_size": 32, "width_coefficient": 0.1, "depth_coefficient": 0.1,
      "hidden_dim": 128,
    },
    "ForImageClassification", "EfficientNet", SQUARE,
  ),
  "Segformer": (
    {
      **DEPTHS, "hidden_sizes": [8, 8, 16, 16],
      "num_attention_heads": [1, 1, 2, 2],
    },
    "ForImageClassification", "Segformer",
    {"size": {"height": 64, "width": 64}},
  ),
}  # fmt: skip
QUICK = ("Swin", "CLIP")


@pytest.fixture(autouse=True)
def own_cache(tmp_path, monkeypatch):
  monkeypatch.setenv("LEEP_JAX_CACHE", str(tmp_path / "cache"))


@pytest.fixture
def photos(rng):
  return rng.integers(0, 256, (6, 90, 100, 3)).astype(np.uint8)


def made(transformers, kind, pixels):
  """A network whose outputs differ between images."""
  import torch

  arguments, head, *_ = FOLDERS[kind]
  classes = {"num_labels": 3} if "Classification" in head else {}
  config = getattr(transformers, f"{kind}Config")(**arguments, **classes)
  torch.manual_seed(0)
  model = getattr(transformers, f"{kind}{head}")(config).eval()
  norms = [m for m in model.modules() if hasattr(m, "running_mean")]
  with torch.no_grad():
    for parameter in model.parameters():
      if parameter.ndim > 1:
        parameter.mul_(4)
    for norm in norms:
      # Its statistics become those of the images.
      norm.momentum = 1.0
      norm.train()
    if norms:
      model(pixel_values=pixels)
  return model.eval()


def expected(transformers, folder, model, pixels):
  """Its logits, or features, by transformers' own code."""
  import torch

  with torch.no_grad():
    if hasattr(model, "decoder"):
      tower = transformers.ViTModel.from_pretrained(
        folder, add_pooling_layer=False
      ).eval()
      return tower(pixel_values=pixels).last_hidden_state[:, 0].numpy()
    found = getattr(model, "vision_model", model)(pixel_values=pixels)
  logits = getattr(found, "logits", None)
  return (found.pooler_output if logits is None else logits).numpy()


@pytest.mark.parametrize(
  "kind",
  [
    kind if kind in QUICK else pytest.param(kind, marks=pytest.mark.exhaustive)
    for kind in FOLDERS
  ],
)
def test_outputs_are_those_of_transformers(tmp_path, photos, kind):
  transformers = publishers.load("transformers")
  _, head, name, options = FOLDERS[kind]
  processor = getattr(transformers, f"{name}ImageProcessorPil")(**options)
  pixels = processor(
    [PIL.Image.fromarray(photo) for photo in photos], return_tensors="pt"
  )["pixel_values"]
  model = made(transformers, kind, pixels)
  folder = tmp_path / "model"
  model.save_pretrained(folder)
  processor.save_pretrained(folder)
  # This one is native otherwise.
  backend = "bridge" if kind == "Dinov2" else None
  source = leep_jax.load_source(
    str(folder), overrides=catalog.Overrides(backend=backend)
  )
  prepared = source.preprocessing
  fitted = np.stack([prepared.fit(photo) for photo in photos])
  logits, features = source.apply(source.state, prepared.fitted(fitted))
  classifies = "Classification" in head
  assert (source.without_probs == "") == classifies
  assert features.shape[0] == len(photos)
  wanted = expected(transformers, folder, model, pixels)
  scale = np.abs(wanted).max()
  # They would differ if images were prepared in another way.
  assert np.ptp(wanted, axis=0).max() > 100 * TOLERANCE * scale
  np.testing.assert_allclose(
    logits if classifies else features,
    wanted,
    rtol=0,
    atol=TOLERANCE * max(scale, 1),
  )
