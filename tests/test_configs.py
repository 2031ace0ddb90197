"""Configurations as timm and transformers write them beside checkpoints."""

import json
import math

import pytest

import leep_jax
from leep_jax import configs


def write(folder, config=None, images=None):
  for name, content in (
    ("config.json", config),
    ("preprocessor_config.json", images),
  ):
    if content is not None:
      (folder / name).write_text(json.dumps(content))
  return configs.read(folder)


def processed(folder, **images):
  fields = write(folder, {"num_labels": 2}, images).preprocessing
  return leep_jax.Preprocessing(**fields)


def test_nothing_is_stated_without_files(tmp_path):
  assert configs.read(tmp_path) == configs.Config()


TIMM = {
  "architecture": "resnet18",
  "num_classes": 7,
  "num_features": 512,
  "pretrained_cfg": {
    "tag": "tv_in1k",
    "custom_load": False,
    "input_size": [3, 224, 224],
    "fixed_input_size": False,
    "interpolation": "bilinear",
    "crop_pct": 0.95,
    "crop_mode": "center",
    "mean": [0.1, 0.2, 0.3],
    "std": [0.4, 0.5, 0.6],
    "num_classes": 1000,
    "pool_size": [7, 7],
    "first_conv": "conv1",
    "classifier": "fc",
  },
}


def test_timm(tmp_path):
  config = write(tmp_path, TIMM)
  assert leep_jax.Preprocessing(**config.preprocessing) == (
    leep_jax.Preprocessing(
      image_size=224,
      mean=(0.1, 0.2, 0.3),
      std=(0.4, 0.5, 0.6),
      crop=0.95,
      interpolation="bilinear",
    )
  )
  assert config.num_classes == 7  # of the file, not of the original
  assert config.options == {}


def test_timm_of_long_ago_has_all_at_the_top(tmp_path):
  flat = {"architecture": "vit_x", **TIMM["pretrained_cfg"]}
  config = write(tmp_path, flat)
  assert config.preprocessing["crop"] == 0.95
  assert config.num_classes == 1000


def test_timm_from_tensorflow(tmp_path):
  config = write(tmp_path, TIMM | {"architecture": "tf_efficientnet_b0"})
  assert config.options == {"norm_eps": 1e-3, "tf_padding": True}


def test_timm_squashes(tmp_path):
  stated = TIMM["pretrained_cfg"] | {"crop_mode": "squash", "crop_pct": 1.0}
  config = write(tmp_path, TIMM | {"pretrained_cfg": stated})
  assert config.preprocessing["squash"]


MOBILENET = {
  "model_type": "mobilenet_v1",
  "hidden_act": "relu6",
  "id2label": {str(i): "x" for i in range(1001)},
  "layer_norm_eps": 0.002,
  "tf_padding": False,
}


def test_transformers_mobilenet(tmp_path):
  images = {
    "do_resize": True,
    "size": {"shortest_edge": 146},
    "do_center_crop": True,
    "crop_size": {"height": 128, "width": 128},
    "resample": 2,
    "do_rescale": True,
    "rescale_factor": 1 / 255,
    "do_normalize": True,
    "image_mean": [0.5] * 3,
    "image_std": [0.5] * 3,
  }
  config = write(tmp_path, MOBILENET, images)
  assert config.num_classes == 1001
  assert config.options == {"norm_eps": 0.002, "tf_padding": False}
  fields = config.preprocessing
  assert (fields["image_size"], fields["squash"]) == (128, False)
  assert math.floor(128 / fields["crop"]) == 146
  assert fields["interpolation"] == "bilinear"


def test_transformers_defaults_of_networks(tmp_path):
  assert write(tmp_path, {"model_type": "mobilenet_v1"}).options == {
    "norm_eps": 1e-3,
    "tf_padding": True,
  }
  assert write(tmp_path, {"model_type": "vit"}).options == {"norm_eps": 1e-12}
  assert write(tmp_path, {"model_type": "convnext"}).options == {
    "head_norm_eps": 1e-12
  }


@pytest.mark.parametrize("size", [224, {"height": 224, "width": 224}])
def test_transformers_vit_squashes(tmp_path, size):
  got = processed(
    tmp_path, size=size, resample=3, image_mean=[0.5] * 3, image_std=[0.5] * 3
  )
  assert got == leep_jax.Preprocessing(
    image_size=224,
    mean=(0.5,) * 3,
    std=(0.5,) * 3,
    interpolation="bicubic",
    squash=True,
  )


@pytest.mark.parametrize(
  ("size", "crop_pct", "expected"),
  [
    ({"shortest_edge": 224}, 0.9, (224, 0.9, False)),
    ({"shortest_edge": 224}, None, (224, 0.875, False)),
    (224, 0.875, (224, 0.875, False)),
    ({"shortest_edge": 384}, 0.875, (384, 1.0, True)),  # whole from 384 on
  ],
)
def test_transformers_convnext(tmp_path, size, crop_pct, expected):
  got = processed(tmp_path, size=size, crop_pct=crop_pct, resample=3)
  assert (got.image_size, got.crop, got.squash) == expected


@pytest.mark.parametrize("edge", range(224, 300))
def test_crop_fractions_give_the_edge_back(tmp_path, edge):
  got = processed(tmp_path, size={"shortest_edge": edge}, crop_size=224)
  assert math.floor(224 / got.crop) == edge


def test_scales(tmp_path):
  plain = processed(
    tmp_path, image_mean=[0.5] * 3, image_std=[0.25] * 3, rescale_factor=1 / 255
  )
  assert plain.mean == (0.5,) * 3
  # Pixels doubled: (2 x - 0.5) / 0.25 = (x - 0.25) / 0.125.
  doubled = processed(
    tmp_path, image_mean=[0.5] * 3, image_std=[0.25] * 3, rescale_factor=2 / 255
  )
  assert doubled.mean == pytest.approx((0.25,) * 3)
  assert doubled.std == pytest.approx((0.125,) * 3)
  # Not scaled at all: (255 x - 127.5) / 51 = (x - 0.5) / 0.2.
  raw = processed(
    tmp_path, image_mean=[127.5] * 3, image_std=[51] * 3, do_rescale=False
  )
  assert raw.mean == pytest.approx((0.5,) * 3)
  assert raw.std == pytest.approx((0.2,) * 3)
  bare = processed(tmp_path, do_normalize=False)
  assert (bare.mean, bare.std) == ((0.0,) * 3, (1.0,) * 3)


@pytest.mark.parametrize(
  ("config", "images", "message"),
  [
    (TIMM | {"pretrained_cfg": {"crop_mode": "border"}}, None, "'border'"),
    (
      TIMM | {"pretrained_cfg": {"input_size": [3, 200, 300]}},
      None,
      "input_size is 200 x 300, but images are made square",
    ),
    (
      TIMM | {"pretrained_cfg": {"crop_pct": "90%"}},
      None,
      "crop is '90%', but must be above 0",
    ),
    (
      MOBILENET | {"hidden_act": "swish"},
      None,
      "hidden_act is 'swish', but mobilenet_v1 is computed with relu6",
    ),
    (TIMM | {"model_args": {"img_size": 9}}, None, "model_args .*not known"),
    (TIMM | {"model_args": 3}, None, "cannot be understood: AttributeError"),
    (TIMM | {"num_classes": 10.7}, None, "num_classes is 10.7"),
    (
      TIMM | {"pretrained_cfg": {"mean": ["a", "b", "c"]}},
      None,
      "configuration in .*mean is .'a', 'b', 'c'., not one number a channel",
    ),
    (
      TIMM | {"pretrained_cfg": {"std": [math.inf] * 3}},
      None,
      "configuration in .*one finite number a channel",
    ),
    (
      TIMM | {"pretrained_cfg": {"input_size": [3, math.inf, math.inf]}},
      None,
      "input_size is inf",
    ),
    ({}, {"rescale_factor": 0}, "rescale_factor is 0, but must be above 0"),
    ({}, {"resample": 9}, "resample is 9, but Pillow's filters are 0 to 5"),
    ({}, {"size": {"longest": 3}}, "size has longest, but known are height"),
    (
      {},
      {"size": {"height": 3, "width": 4}},
      "size is 3 x 4, but images are made square",
    ),
  ],
)
def test_what_is_not_known_is_refused(tmp_path, config, images, message):
  with pytest.raises(leep_jax.InputError, match=message) as e:
    write(tmp_path, config, images)
  assert "\n" not in str(e.value)


def test_damaged_files(tmp_path):
  (tmp_path / "config.json").write_text("{")
  with pytest.raises(leep_jax.InputError, match="as JSON .*cut short"):
    configs.read(tmp_path)
  (tmp_path / "config.json").write_text("[]")
  with pytest.raises(leep_jax.InputError, match="no JSON object"):
    configs.read(tmp_path)
