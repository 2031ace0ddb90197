"""Writes the files of this folder: what reference definitions compute.

    python tests/golden/generate.py resnet18             # writes resnet18.json
    python tests/golden/generate.py --check              # compares all of them

Needs torch, torchvision and timm. Each reference definition gets the weights
of `references.tensor` and the images of `references.images`, and runs in
float64 on the CPU. `--check` writes nothing: it says for each file how far the
new numbers are from the committed ones, and fails where they differ.

A new architecture is a row of `DEFINITIONS`; small networks do where tensors
tell the sizes. All present ones can be had from
torchvision and timm. timm has one MobileNet v1, whose narrower versions are
made with `channel_multiplier`.
"""

import argparse
import json
import pathlib
import sys

import numpy as np

FOLDER = pathlib.Path(__file__).resolve().parent
sys.path.insert(0, str(FOLDER.parent))  # for the two modules below

import publishers
import references


def _small(name, patch=16, heads=2):
  """A vision transformer of timm: two blocks, images of 4 x 4 patches."""
  options = {
    "depth": 2,
    "embed_dim": 128,
    "num_heads": heads,
    "img_size": 4 * patch,
    "num_classes": 10,
  }
  return "timm", name, options, "head"


# Library, name there, options, and the layer whose input are the features.
DEFINITIONS = {
  **{
    f"resnet{depth}": ("torchvision", f"resnet{depth}", {}, "fc")
    for depth in (18, 34, 50, 101, 152)
  },
  **{
    f"mobilenet_v1_{round(100 * width):03}": (
      "timm",
      "mobilenetv1_100",
      {"channel_multiplier": width},
      "classifier",
    )
    for width in (0.25, 0.5, 0.75, 1.0)
  },
  **{
    f"convnext_{size}": ("timm", f"convnext_{size}", {}, "head.fc")
    for size in ("tiny", "small", "base")
  },
  # One of each kind; `test_networks_of_timm.py` compares others with timm.
  **{
    name: ("timm", name, {}, "fc")
    for name in (
      "resnet10t",
      "seresnext26d_32x4d",
      "ecaresnet26t",
      "resnetblur18",
      "resnetaa34d",
      "resnet50_gn",
      "resnetrs50",
      "test_resnet",
    )
  },
  **{
    name: ("timm", name, {}, "head.fc")
    for name in (
      "convnext_atto_ols",
      "convnext_zepto_rms_ols",
      "convnext_tiny_hnf",
      "convnextv2_atto",
      "test_convnext3",
    )
  },
  **{
    f"vit_{size}_16": ("timm", f"vit_{size}_patch16_224", {}, "head")
    for size in ("small", "base")
  },
  **{
    arch: _small(name, **options)
    for arch, name, options in (
      ("vit", "vit_tiny_patch16_224", {}),
      ("vit_dino", "vit_small_patch8_224", {"patch": 8}),
      ("vit_miil", "vit_base_patch16_224_miil", {}),
      ("deit", "deit_tiny_distilled_patch16_224", {}),
      ("deit3", "deit3_small_patch16_224", {}),
      ("flexivit", "flexivit_small", {}),
      ("vit_dinov2", "vit_giant_patch14_dinov2", {"patch": 14}),
      ("vit_dinov2_reg", "vit_small_patch14_reg4_dinov2", {"patch": 14}),
      ("vit_tipsv2", "vit_base_patch14_reg1_tipsv2", {"patch": 14}),
      ("vit_radio", "vit_base_patch16_radio_v3", {}),
      ("vit_intern", "vit_intern300m_patch14_448", {"patch": 14}),
      ("vit_gap", "vit_wee_patch16_reg1_gap_256", {}),
      ("vit_ijepa", "vit_huge_patch14_gap_224", {"patch": 14}),
      ("vit_rpn", "vit_base_patch16_rpn_224", {}),
      ("eva_large", "eva_large_patch14_196", {"patch": 14}),
      ("beit3", "beit3_base_patch16_224", {}),
      ("vit_clip", "vit_base_patch16_plus_clip_240", {}),
      ("vit_clip_quickgelu", "vit_base_patch16_clip_quickgelu_224", {}),
      ("vit_siglip", "vit_base_patch16_siglip_224", {}),
      ("vit_siglip_tanh", "vit_base_patch32_siglip_256", {"patch": 32}),
      ("vit_siglip_giantopt", "vit_giantopt_patch16_siglip_256", {"heads": 16}),
      ("vit_siglip_gap", "vit_base_patch16_siglip_gap_224", {}),
      ("vit_siglip_gap_tanh", "vit_base_patch32_siglip_gap_256", {"patch": 32}),
      (
        "vit_siglip_gap_giantopt",
        "vit_giantopt_patch16_siglip_gap_256",
        {"heads": 16},
      ),
      ("aimv2", "aimv2_large_patch14_224", {"patch": 14, "heads": 1}),
      ("test_vit", "test_vit2", {"heads": 4}),
      ("test_vit3", "test_vit3", {"heads": 4}),
    )
  },
  "efficientnet_b0": ("timm", "efficientnet_b0", {}, "classifier"),
  **{
    f"efficientnet_lite{i}": (
      "timm",
      f"efficientnet_lite{i}",
      {},
      "classifier",
    )
    for i in range(5)
  },
  # One of each kind of network of mobile blocks; `test_timm_parity.py` compares
  # the others with timm itself.
  **{
    name: ("timm", name, {}, "classifier")
    for name in (
      "mobilenetv2_100",
      "mobilenetv3_small_050",
      "mobilenetv4_hybrid_medium",
      "tf_efficientnetv2_b0",
      "mixnet_s",
    )
  },
  "darknet53": ("timm", "darknet53", {}, "head.fc"),
  "senet154": ("timm", "legacy_senet154", {}, "last_linear"),
}
# Values of each image that a file keeps; norms stand for the others.
KEPT = 24
# Relative to the largest number. The committed files differ by up to 4e-7 from
# what is computed today, about as much as another rounding of the float32
# weights makes. The tests of our networks allow 1e-5.
TOLERANCE = 1e-6


def build(library, name, options):
  """The model, and the evaluation that its library states for it."""
  if library == "timm":
    timm = publishers.load("timm")
    if "channel_multiplier" in options:
      # The function behind `mobilenetv1_100`, which fixes this argument at 1.
      make = timm.models.efficientnet._gen_mobilenet_v1
      model = make(name, **options)
    else:
      model = timm.create_model(name, pretrained=False, **options)
    keys = ("mean", "std", "input_size", "crop_pct", "interpolation")
    stated = {key: model.default_cfg[key] for key in keys}
    if "img_size" in options:
      stated["input_size"] = (3, *(options["img_size"],) * 2)
  else:
    publishers.load("timm")  # defines what torchvision may lack
    models = publishers.load("torchvision").models
    model = models.get_model(name, weights=None, **options)
    # The oldest weights: newer ones were evaluated at other resolutions.
    evaluation = models.get_model_weights(name).IMAGENET1K_V1.transforms()
    (crop,), (resize,) = evaluation.crop_size, evaluation.resize_size
    stated = {
      "mean": evaluation.mean,
      "std": evaluation.std,
      "input_size": (3, crop, crop),
      "crop_pct": crop / resize,
      "interpolation": evaluation.interpolation.value,
    }
  return model, {
    k: list(v) if isinstance(v, (tuple, list)) else v for k, v in stated.items()
  }


def compute(arch):
  """The content of the file of an architecture."""
  import torch

  library, name, options, head = DEFINITIONS[arch]
  model, stated = build(library, name, options)
  shapes = {k: list(v.shape) for k, v in model.state_dict().items()}
  model.load_state_dict(
    {k: torch.tensor(references.tensor(k, s)) for k, s in shapes.items()}
  )
  model.double().eval()
  seen = []
  model.get_submodule(head).register_forward_pre_hook(
    lambda module, inputs: seen.append(inputs[0])
  )
  mean, std = np.asarray(stated["mean"]), np.asarray(stated["std"])
  side = options.get("img_size")
  images = (references.images()[:, :side, :side] / 255 - mean) / std
  images = torch.tensor(images.transpose(0, 3, 1, 2))
  with torch.no_grad():
    logits = model(images).numpy()
    features = seen[0].numpy()
    if hasattr(model, "head_dist"):
      # Two heads read a token each: features are their mean.
      tokens = model.forward_features(images)
      features = model.forward_head(tokens, pre_logits=True).numpy()
  return {
    "architecture": arch,
    "definition": " ".join(
      [library, ", ".join([name, *(f"{k}={v}" for k, v in options.items())])]
    ),
    "input": stated,
    "norm_eps": {
      type(module).__name__: module.eps
      for module in model.modules()
      if hasattr(module, "eps")
    },
    "parameters": sum(p.numel() for p in model.parameters()),
    "head": head,
    "tensors": shapes,
    "num_features": features.shape[1],
    **{
      key: [[float(f"{v:.9g}") for v in row[:KEPT]] for row in values]
      for key, values in (("logits", logits), ("features", features))
    },
    **{
      f"{key}_norm": np.linalg.norm(values, axis=1).tolist()
      for key, values in (("logits", logits), ("features", features))
    },
  }


NUMBERS = ("logits", "features", "logits_norm", "features_norm")


def difference(new, old):
  """The largest relative difference of numbers; names of other keys."""
  far = [
    np.abs(np.subtract(new[key], old[key])).max() / np.abs(old[key]).max()
    for key in NUMBERS
  ]
  others = (new.keys() | old.keys()) - set(NUMBERS)
  return max(far), sorted(k for k in others if new.get(k) != old.get(k))


def main():
  parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
  parser.add_argument("architectures", nargs="*", default=sorted(DEFINITIONS))
  parser.add_argument("--check", action="store_true", help="write nothing")
  arguments = parser.parse_args()
  failed = False
  for arch in arguments.architectures:
    path = FOLDER / f"{arch}.json"
    new = compute(arch)
    if not arguments.check:
      path.write_text(json.dumps(new))
      continue
    text = path.read_text()
    far, others = difference(new, json.loads(text))
    same = "the same bytes" if text == json.dumps(new) else f"within {far:.1e}"
    rest = "".join(f"; {key} differs" for key in others)
    print(f"{arch}: {same}{rest}", flush=True)
    failed |= far > TOLERANCE or bool(others)
  return int(failed)


if __name__ == "__main__":
  sys.exit(main())
