"""Photos prepared as timm and transformers themselves prepare them."""

import dataclasses
import json
import warnings

import jax
import numpy as np
import PIL.Image
import publishers
import pytest

import leep_jax
from leep_jax.sources import configs, processor_classes

# Height and width: landscape, portrait, square, odd, small, extreme.
SHAPES = [
  (375, 500), (500, 333), (300, 300), (257, 301), (64, 64), (40, 53),
  (900, 260), (230, 1200), (225, 224), (30, 200),
]  # fmt: skip
HALF = [0.5] * 3
IMAGENET = {
  "image_mean": [0.485, 0.456, 0.406], "image_std": [0.229, 0.224, 0.225],
}  # fmt: skip
SMALL = {"height": 224, "width": 224}
LARGE = {"height": 256, "width": 256}
KEYS = """image_processor_type size resample do_resize do_rescale image_mean
image_std rescale_factor do_normalize do_center_crop crop_size
default_to_square do_convert_rgb"""
# Of transformers: a model_type and a preprocessor_config.json.
TRANSFORMERS = {
  "ViT as it is saved": (
    "vit",
    {
      "image_processor_type": "ViTImageProcessor", "do_resize": True,
      "size": SMALL, "resample": 2, "do_rescale": True,
      "rescale_factor": 1 / 255, "do_normalize": True, "image_mean": HALF,
      "image_std": HALF, "do_convert_rgb": None,
    },
  ),
  "ViT with its type alone": (
    "vit", {"image_processor_type": "ViTImageProcessorFast"}
  ),
  "ViT by a number": (
    "vit",
    {"feature_extractor_type": "ViTFeatureExtractor", "size": 224, **IMAGENET},
  ),
  "ViT by a list": ("vit", {"size": [192, 192], "resample": 3}),
  "ViT with a crop size that it does not use": (
    "vit", {"size": SMALL, "crop_size": 200}
  ),
  "DeiT by numbers": (
    "vit",
    {
      "feature_extractor_type": "DeiTFeatureExtractor", "size": 256,
      "crop_size": 224, "do_center_crop": True, "resample": 3, **IMAGENET,
    },
  ),
  "DeiT with its type alone": (
    "vit", {"image_processor_type": "DeiTImageProcessor"}
  ),
  "DeiT with an odd margin": (
    "deit", {"size": {"height": 235, "width": 235}, "crop_size": SMALL}
  ),
  "DeiT without a crop": ("deit", {"size": LARGE, "do_center_crop": False}),
  "ConvNeXt by a part": (
    "convnext", {"size": {"shortest_edge": 224}, "crop_pct": 0.95, **IMAGENET}
  ),
  "ConvNeXt by its part": (
    "convnext",
    {
      "feature_extractor_type": "ConvNextFeatureExtractor", "size": 224,
      "resample": 2,
    },
  ),
  "ConvNeXt at 384": (
    "convnext", {"size": {"shortest_edge": 384}, "crop_pct": 0.875}
  ),
  "ConvNeXt with its type alone": (
    "convnext", {"image_processor_type": "ConvNextImageProcessor"}
  ),
  "ResNet": ("resnet", {"size": 224, "crop_pct": 0.875, **IMAGENET}),
  "MobileNet with nothing": ("mobilenet_v1", {"do_resize": True}),
  "MobileNet, small": (
    "mobilenet_v1",
    {"size": {"shortest_edge": 146}, "crop_size": 128},
  ),
  "MobileNet of both sides": ("mobilenet_v1", {"size": LARGE}),
  "BiT": ("vit", {"image_processor_type": "BitImageProcessor"}),
  "CLIP": (
    "vit",
    {
      "image_processor_type": "CLIPImageProcessor",
      "size": {"shortest_edge": 231},
    },
  ),
  "SigLIP": ("vit", {"image_processor_type": "SiglipImageProcessor"}),
  "PVT": ("vit", {"image_processor_type": "PvtImageProcessor"}),
  "MobileNet V2": (
    "mobilenet_v1", {"image_processor_type": "MobileNetV2ImageProcessor"}
  ),
  "BEiT": ("beit", {"image_processor_type": "BeitImageProcessor"}),
  "BEiT by numbers": (
    "data2vec-vision",
    {
      "feature_extractor_type": "BeitFeatureExtractor", "size": 192,
      "crop_size": 160, "do_center_crop": True, "resample": 2,
    },
  ),
  "LeViT": ("levit", {"feature_extractor_type": "LevitFeatureExtractor"}),
  "LeViT, small": (
    "levit", {"size": {"shortest_edge": 131}, "crop_size": 117, **IMAGENET}
  ),
  "LeViT of both sides": ("levit", {"size": LARGE, "crop_size": 200}),
  "PoolFormer": ("poolformer", {"do_resize": True}),
  "PoolFormer by a part": (
    "poolformer", {"size": {"shortest_edge": 160}, "crop_pct": 0.95,
    "crop_size": 150},
  ),
  "PoolFormer of both sides": ("poolformer", {"size": SMALL}),
  "EfficientNet": ("efficientnet", {"do_resize": True}),
  "EfficientNet as published": (
    "efficientnet",
    {
      "image_processor_type": "EfficientNetImageProcessor", "resample": 0,
      "size": SMALL, "crop_size": {"height": 289, "width": 289},
      "image_mean": IMAGENET["image_mean"], "image_std": [0.47, 0.48, 0.49],
      "rescale_offset": False, "include_top": True,
    },
  ),
  "EfficientNet, normalised once": (
    "efficientnet", {"size": SMALL, "include_top": False}
  ),
  "EfficientNet of -1 to 1": (
    "efficientnet",
    {
      "size": SMALL, "include_top": False, "do_normalize": False,
      "rescale_offset": True, "rescale_factor": 1 / 127.5,
    },
  ),
  "MobileViT": (
    "mobilevit",
    {
      "feature_extractor_type": "MobileViTFeatureExtractor",
      "size": {"shortest_edge": 288}, "resample": 2,
    },
  ),
  "MobileViT of red first": (
    "mobilevitv2",
    {
      "size": {"shortest_edge": 180}, "crop_size": 160, "do_normalize": True,
      "do_flip_channel_order": False,
    },
  ),
  "SegFormer": ("segformer", {"do_reduce_labels": True}),
  "SegFormer, small": ("segformer", {"size": 128, "reduce_labels": False}),
  "Chinese CLIP": (
    "chinese_clip",
    {"size": {"shortest_edge": 100}, "crop_size": {"height": 96, "width": 96}},
  ),
  "BLIP": ("blip", {"size": LARGE}),
  "nearest": ("mobilenet_v1", {"resample": 0}),
  "Lanczos": ("mobilenet_v1", {"resample": 1}),
  "box": ("mobilenet_v1", {"resample": 4}),
  "Hamming": ("mobilenet_v1", {"resample": 5}),
  "pixels of 0 to 255": (
    "vit",
    {"do_rescale": False, "image_mean": [127.5] * 3, "image_std": [51.0] * 3},
  ),
  "pixels of 0 to 2": (
    "vit",
    {"rescale_factor": 1 / 127.5, "image_mean": [1, 1, 1], "image_std": 1.0},
  ),
  "no normalisation": ("vit", {"do_normalize": False, **IMAGENET}),
  "numbers for all channels": ("vit", {"image_mean": 0.4, "image_std": 0.2}),
}  # fmt: skip
TIMM_KEYS = """input_size test_input_size interpolation crop_pct test_crop_pct
crop_mode mean std"""
# Of timm: pretrained_cfg.
TIMM = {
  "nothing": {"tag": "a"},
  "nulls": dict.fromkeys(TIMM_KEYS.split()),
  "empty": {"interpolation": "", "crop_mode": "", "crop_pct": 0, "mean": []},
  "ResNet": {"interpolation": "bilinear", "crop_pct": 0.875},
  "ViT": {
    "interpolation": "bicubic", "crop_pct": 0.9, "mean": HALF, "std": HALF,
    "fixed_input_size": True, "test_input_size": [3, 384, 384],
  },
  "evaluation": {
    "crop_pct": 0.875, "test_input_size": [3, 288, 288], "test_crop_pct": 1.0,
  },
  "an odd margin": {"crop_pct": 0.95, "input_size": [3, 224, 224]},
  "part for evaluation": {"crop_pct": 0.875, "test_crop_pct": 0.965},
  "squash": {"crop_mode": "squash", "crop_pct": 0.9},
  "squash all": {"crop_mode": "squash", "crop_pct": 1.0},
  "border": {"crop_mode": "border", "crop_pct": 1.0, "mean": HALF},
  "border, cropped": {"crop_mode": "border", "crop_pct": 0.8},
  "tall": {"input_size": [3, 256, 192], "crop_pct": 0.9},
  "tall, squashed": {
    "input_size": [3, 256, 192], "crop_pct": 1.0, "crop_mode": "squash",
  },
  "wide, border": {
    "input_size": [3, 96, 224], "crop_pct": 0.9, "crop_mode": "border",
  },
  "Darknet": {"input_size": [3, 256, 256], "crop_pct": 0.887},
  "box": {"interpolation": "box"},
  "Hamming": {"interpolation": "hamming"},
}  # fmt: skip


@pytest.fixture
def photos(rng, monkeypatch):
  """One of each shape; Pillow resizes their widths first, as before 13."""
  resize = PIL.Image.Image.resize

  def width_first(self, size, resample=None, box=None, reducing_gap=None):
    assert reducing_gap is None
    left, upper, right, lower = box or (0, 0, *self.size)
    narrow = resize(
      self, (size[0], self.height), resample, (left, 0, right, self.height)
    )
    return resize(narrow, size, resample, (0, upper, size[0], lower))

  monkeypatch.setattr(PIL.Image.Image, "resize", width_first)
  # Noise, where one pixel more or less shows.
  return [rng.integers(0, 256, (*s, 3), dtype=np.uint8) for s in SHAPES]


def write(folder, config, images=None):
  (folder / "config.json").write_text(json.dumps(config))
  if images is not None:
    (folder / "preprocessor_config.json").write_text(json.dumps(images))


def read(folder):
  config = configs.read(folder, network=False)
  return leep_jax.Preprocessing(**config.preprocessing)


def check(ours, theirs, photos, *, on_device=False):
  """Compares inputs of networks, in levels of 8 bits."""
  # What one level makes, and by how much Pillow rounds where an image grows:
  # half a level in each of two passes, and more with negative lobes.
  level = 1 / 255 / np.asarray(ours.std)
  slack = {"bicubic": 1.15, "lanczos": 1.3}.get(ours.interpolation, 1.0)
  for photo in photos:
    expected = theirs(photo)
    fitted = ours.fit(photo)
    got = np.asarray(ours.fitted(fitted[None]))[0]
    assert got.shape == expected.shape
    difference = np.abs(got - expected) / level
    grown = fitted.dtype == np.float32
    assert difference.max() <= (slack if grown else 0) + 1e-3, photo.shape
    if not on_device:
      continue
    got = np.asarray(jax.jit(ours)(photo[None]))[0]
    difference = np.abs(got - expected) / level
    if grown:
      assert difference.max() <= slack + 1e-3, photo.shape
    else:
      assert difference.max() <= 1 + 1e-3, photo.shape
      assert (difference < 1e-2).mean() > 0.999, photo.shape


def transformers_processor(folder, **options):
  transformers = publishers.load("transformers")
  with warnings.catch_warnings():
    warnings.simplefilter("ignore")
    processor = transformers.AutoImageProcessor.from_pretrained(
      str(folder), **options
    )

  def apply(photo):
    values = processor(PIL.Image.fromarray(photo), return_tensors="np")
    pixels = values["pixel_values"][0].transpose(1, 2, 0)
    # The network turns them then, not the preprocessing.
    flips = getattr(processor, "do_flip_channel_order", False)
    return pixels[..., ::-1] if flips else pixels

  return apply


@pytest.mark.parametrize("name", TRANSFORMERS)
def test_transformers(name, tmp_path, photos):
  kind, images = TRANSFORMERS[name]
  write(tmp_path, {"model_type": kind}, images)
  theirs = transformers_processor(tmp_path, backend="pil")
  on_device = name in ("DeiT by numbers", "ConvNeXt by a part", "MobileNet V2")
  check(read(tmp_path), theirs, photos, on_device=on_device)


@pytest.mark.parametrize(
  "stated", [{"do_resize": True}, {"size": {"height": 96, "width": 96}}]
)
def test_dinov3_resizes_floats(stated, tmp_path, photos):
  """With torchvision alone; here pixels that shrink are rounded to 8 bits."""
  write(tmp_path, {"model_type": "dinov3_vit"}, stated)
  theirs = transformers_processor(tmp_path)
  ours = read(tmp_path)
  level = 1 / 255 / np.asarray(ours.std)
  for photo in photos[:4]:
    got = np.asarray(ours.fitted(ours.fit(photo)[None]))[0]
    # Pillow rounds after each of two passes.
    assert (np.abs(got - theirs(photo)) / level).max() <= 1.02


def auto_classes():
  """The class of each model_type, by transformers' own table."""
  publishers.load("transformers")
  from transformers.models.auto import image_processing_auto as auto

  return {
    kind: next(filter(None, (names.get("pil"), names.get("torchvision"))))
    for kind, names in auto.IMAGE_PROCESSOR_MAPPING_NAMES.items()
  }


def test_classes_of_model_types_are_those_of_transformers():
  theirs = auto_classes()
  from transformers.models.auto import modeling_auto as auto

  ours = processor_classes.OF_MODEL
  # transformers wraps networks of timm, whose configuration is another.
  missing = {"timm_wrapper", "hgnet_v2", "shieldgemma2"}
  assert missing.isdisjoint(ours)
  assert set(auto.MODEL_FOR_IMAGE_CLASSIFICATION_MAPPING_NAMES) - missing <= (
    set(ours)
  )
  without = {
    "dinov2_with_registers", "dinov3_convnext", "clip_vision_model",
    "siglip_vision_model", "siglip2_vision_model",
  }  # fmt: skip
  assert set(ours) - set(theirs) == without
  for kind in set(ours) - without:
    assert theirs[kind].removesuffix("Pil") == ours[kind], kind


@pytest.mark.parametrize("name", processor_classes.CLASSES)
def test_defaults_are_those_of_the_class(name):
  transformers = publishers.load("transformers")
  theirs = getattr(transformers, f"{name}Pil", None)
  theirs = getattr(transformers, name) if theirs is None else theirs
  stated = {**processor_classes.ANY, **processor_classes.CLASSES[name]}
  for key, value in stated.items():
    default = getattr(theirs, key, None)
    default = tuple(default) if isinstance(default, list) else default
    # None is for false, or for a size that is not used.
    assert (default or False) == value, key


def test_transformers_5_nests_it(tmp_path, photos):
  write(tmp_path, {"model_type": "vit"}, {"size": 100, "resample": 0})
  _, images = TRANSFORMERS["DeiT by numbers"]
  (tmp_path / "processor_config.json").write_text(
    json.dumps({"image_processor": images, "processor_class": "Some"})
  )
  theirs = transformers_processor(tmp_path, backend="pil")
  check(read(tmp_path), theirs, photos[:4])


@pytest.mark.parametrize("images", [None, dict.fromkeys(KEYS.split())])
@pytest.mark.parametrize(
  ("kind", "name"),
  [
    ("vit", "ViTImageProcessorPil"),
    ("deit", "DeiTImageProcessorPil"),
    ("convnext", "ConvNextImageProcessorPil"),
    ("resnet", "ConvNextImageProcessorPil"),
    ("mobilenet_v1", "MobileNetV1ImageProcessorPil"),
  ],
)
def test_defaults_where_nothing_is_stated(images, kind, name, tmp_path, photos):
  """Without a file, and with nulls: those of the class."""
  transformers = publishers.load("transformers")
  write(tmp_path, {"model_type": kind}, images)
  processor = getattr(transformers, name)()

  def theirs(photo):
    values = processor(PIL.Image.fromarray(photo), return_tensors="np")
    return values["pixel_values"][0].transpose(1, 2, 0)

  check(read(tmp_path), theirs, photos)


def test_torchvision_differs_by_a_level(tmp_path, photos):
  """The backend that transformers takes where torchvision is installed."""
  kind, images = TRANSFORMERS["MobileNet, small"]
  write(tmp_path, {"model_type": kind}, images)
  theirs = transformers_processor(tmp_path, backend="torchvision")
  ours = read(tmp_path)
  for photo in photos[:4]:
    got = np.asarray(ours.fitted(ours.fit(photo)[None]))[0]
    level = 1 / 255 / np.asarray(ours.std)
    assert (np.abs(got - theirs(photo)) / level).max() <= 1 + 1e-3


@pytest.mark.parametrize("nested", [True, False])
@pytest.mark.parametrize("name", TIMM)
def test_timm(name, nested, tmp_path, photos):
  publishers.load("timm")
  import timm.data

  stated = TIMM[name]
  config = {"architecture": "resnet18", "num_classes": 3}
  write(tmp_path, config | ({"pretrained_cfg": stated} if nested else stated))
  settings = timm.data.resolve_data_config(
    pretrained_cfg=stated,
    use_test_size=not stated.get("fixed_input_size", False),
  )
  transform = timm.data.create_transform(**settings)

  def theirs(photo):
    return transform(PIL.Image.fromarray(photo)).numpy().transpose(1, 2, 0)

  on_device = nested and name in (
    "evaluation", "an odd margin", "squash", "border", "tall", "wide, border"
  )  # fmt: skip
  check(read(tmp_path), theirs, photos, on_device=on_device)


def test_origins_differ(photos):
  ours = leep_jax.Preprocessing(image_size=224, crop=0.95)
  theirs = dataclasses.replace(ours, crop_origin="floor")
  for one, first in ((ours, 6), (theirs, 5)):
    size, kept, border = one._geometry((224, 224), 300, 300)
    assert (size, border) == ((235, 235), [(0, 0), (0, 0)])
    assert kept == [slice(first, first + 224)] * 2
  assert (ours.fit(photos[2]) != theirs.fit(photos[2])).mean() > 0.5
