"""The classes of image processors of transformers, with their defaults."""

from collections.abc import Mapping
from typing import Any

_SQUARE = {"height": 224, "width": 224}
_CLIP = {
  "image_mean": (0.48145466, 0.4578275, 0.40821073),
  "image_std": (0.26862954, 0.26130258, 0.27577711),
}
_IMAGENET = {
  "image_mean": (0.485, 0.456, 0.406), "image_std": (0.229, 0.224, 0.225),
}  # fmt: skip
# Defaults of all classes, which a class may replace, and a file both.
ANY: Mapping[str, Any] = {
  "default_to_square": True,
  "do_center_crop": False,
  "do_normalize": True,
  "do_rescale": True,
  "do_resize": True,
  "image_mean": (0.5, 0.5, 0.5),
  "image_std": (0.5, 0.5, 0.5),
  "resample": 2,
  "rescale_factor": 1 / 255,
}
_MOBILENET = {
  "size": {"shortest_edge": 256}, "default_to_square": False,
  "do_center_crop": True, "crop_size": _SQUARE,
}  # fmt: skip
_SHORTER_SIDE = {
  "size": {"shortest_edge": 224}, "default_to_square": False, "resample": 3,
  "do_center_crop": True, "crop_size": _SQUARE,
}  # fmt: skip
# Classes that resize, crop and normalise, with their defaults in transformers
# 5. Earlier versions had the same classes under these names, with "Fast" at
# their end or "FeatureExtractor" in them. A key that other classes do not have
# is one that the class obeys.
CLASSES: Mapping[str, Mapping[str, Any]] = {
  "ViTImageProcessor": {"size": _SQUARE},
  "BeitImageProcessor": {
    "size": _SQUARE, "resample": 3, "crop_size": _SQUARE,
  },
  "DeiTImageProcessor": {
    "size": {"height": 256, "width": 256}, "resample": 3,
    "do_center_crop": True, "crop_size": _SQUARE,
  },
  # It resizes floats, so that its pixels are not rounded to 8 bits.
  "DINOv3ViTImageProcessor": {"size": _SQUARE, **_IMAGENET},
  "ConvNextImageProcessor": {
    "size": {"shortest_edge": 384}, "default_to_square": False, "resample": 3,
    "crop_pct": 224 / 256,
  },
  "EfficientNetImageProcessor": {
    "size": {"height": 346, "width": 346}, "resample": 3,
    "crop_size": {"height": 289, "width": 289},
    "rescale_offset": False, "include_top": True,
  },
  "LevitImageProcessor": {**_SHORTER_SIDE, **_IMAGENET},
  "MobileNetV1ImageProcessor": _MOBILENET,
  "MobileNetV2ImageProcessor": _MOBILENET,
  # It never normalises, whatever a file says.
  "MobileViTImageProcessor": {
    **_SHORTER_SIDE, "crop_size": {"height": 256, "width": 256},
    "do_normalize": False, "do_flip_channel_order": True,
  },
  "PoolFormerImageProcessor": {
    **_SHORTER_SIDE, **_IMAGENET, "crop_pct": 0.9,
  },
  "BitImageProcessor": {**_SHORTER_SIDE, **_CLIP},
  "ChineseCLIPImageProcessor": {**_SHORTER_SIDE, **_CLIP},
  "CLIPImageProcessor": {**_SHORTER_SIDE, **_CLIP},
  "SiglipImageProcessor": {
    "size": _SQUARE, "default_to_square": False, "resample": 3,
  },
  "BlipImageProcessor": {
    "size": {"height": 384, "width": 384}, "resample": 3, **_CLIP,
  },
  "PvtImageProcessor": {"size": _SQUARE, "resample": 3, **_IMAGENET},
  "SegformerImageProcessor": {
    "size": {"height": 512, "width": 512}, **_IMAGENET,
  },
}  # fmt: skip
_MODELS = {
  "Beit": "beit data2vec-vision",
  "Bit": "bit dinov2 dinov2_with_registers focalnet hiera pixio",
  "Blip": "blip",
  "ChineseCLIP": "chinese_clip",
  "CLIP": "clip clip_vision_model aimv2 aimv2_vision_model metaclip_2 mlcd",
  "ConvNext": "convnext convnextv2 cvt regnet resnet",
  "DeiT": "deit",
  "DINOv3ViT": "dinov3_vit dinov3_convnext",
  "EfficientNet": "efficientnet",
  "Levit": "levit",
  "MobileNetV1": "mobilenet_v1",
  "MobileNetV2": "mobilenet_v2",
  "MobileViT": "mobilevit mobilevitv2",
  "PoolFormer": "poolformer",
  "Pvt": "pvt pvt_v2",
  "Segformer": "segformer",
  "Siglip": "siglip siglip_vision_model",
  "ViT": "dinat ijepa swiftformer swin swinv2 vit vit_mae vit_msn",
  # These prepare images in ways that are not done here.
  "Donut": "donut-swin",
  "ImageGPT": "imagegpt",
  "Perceiver": "perceiver",
  "PPLCNet": "pp_lcnet",
  "Siglip2": "siglip2 siglip2_vision_model",
  "TextNet": "textnet",
}
# The class of a `model_type` whose files name none, as in transformers'
# models/auto/image_processing_auto.py. That has none for the image tower of a
# network of texts and images alone, for `dinov2_with_registers` and
# `dinov3_convnext`: their published files name these.
OF_MODEL: Mapping[str, str] = {
  kind: f"{name}ImageProcessor"
  for name, kinds in _MODELS.items()
  for kind in kinds.split()
}
