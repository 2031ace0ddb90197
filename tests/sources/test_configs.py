"""Configurations as timm and transformers write them beside checkpoints."""

import json
import math
import re
import warnings

import numpy as np
import publishers
import pytest

import leep_jax
from leep_jax import validation
from leep_jax.sources import (
  catalog,
  checkpoints,
  config_keys,
  configs,
  loading,
  matching,
)


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
  assert config.preprocessing["crop_mode"] == "squash"


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
  assert (fields["image_size"], fields["crop_mode"]) == (128, "center")
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
    crop_mode="squash",
  )


def test_transformers_tall_images(tmp_path):
  got = processed(tmp_path, size={"height": 384, "width": 128}, resample=3)
  assert (got.image_size, got.crop_mode) == ((384, 128), "squash")


@pytest.mark.parametrize(
  ("size", "crop_pct", "expected"),
  [
    ({"shortest_edge": 224}, 0.9, (224, 0.9, "center")),
    ({"shortest_edge": 224}, None, (224, 0.875, "center")),
    (224, 0.875, (224, 0.875, "center")),
    ({"shortest_edge": 384}, 0.875, (384, 1.0, "squash")),  # whole from 384 on
  ],
)
def test_transformers_convnext(tmp_path, size, crop_pct, expected):
  got = processed(tmp_path, size=size, crop_pct=crop_pct, resample=3)
  assert (got.image_size, got.crop, got.crop_mode) == expected


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
    (
      TIMM | {"pretrained_cfg": {"crop_mode": "middle"}},
      None,
      "unknown crop_mode 'middle'; known: border, center, squash",
    ),
    (
      TIMM | {"pretrained_cfg": {"input_size": [3, 200, 0]}},
      None,
      "input_size is 0",
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
    (
      TIMM | {"pretrained_cfg": {"input_size": [224, 224]}},
      None,
      r"input_size is \[224, 224\], not channels, height and width",
    ),
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
      {"size": {"height": 3, "width": 0}},
      "size is 0",
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


def read_pair(folder, **config):
  return write(folder, {"model_type": "vit", **config})


@pytest.mark.parametrize(
  ("kind", "key", "value", "message"),
  [
    ("vit", "hidden_act", "gelu_new", "gelu_new', but vit is computed with ge"),
    ("vit", "hidden_act", "gelu_pytorch_tanh", "is 'gelu_pytorch_tanh', but"),
    ("vit", "num_channels", 1, "num_channels is 1, but vit .* with 3"),
    ("vit", "num_attention_heads", "12", "num_attention_heads is '12', but mu"),
    ("vit", "layer_norm_eps", "1e-6", "layer_norm_eps is '1e-6', but must be"),
    ("vit", "pruned_heads", {"0": [1]}, "pruned_heads .*heads are left out"),
    ("vit", "quantization_config", {"bits": 4}, "its weights are quantised"),
    ("vit", "per_layer_config", {"0": {}}, "layers differ from each other"),
    ("vit", "auto_map", {"AutoModel": "a.B"}, "auto_map is .*of its own"),
    (
      "vit",
      "problem_type",
      "multi",
      "unknown problem_type 'multi'; did you mean multi",
    ),
    ("convnext", "patch_size", 2, "patch_size is 2, but convnext .* with 4"),
    ("convnext", "num_stages", 3, "num_stages is 3, but convnext"),
    ("mobilenet_v1", "hidden_act", "relu", "'relu', but mobilenet_v1 is"),
    ("mobilenet_v1", "output_stride", 16, "output_stride is 16, but mobil"),
    ("mobilenet_v1", "tf_padding", "no", "tf_padding is 'no', not true or"),
    ("resnet", "downsample_in_bottleneck", True, "True, but resnet is compu"),
    ("resnet", "downsample_in_first_stage", True, "True, but resnet is compu"),
    ("resnet", "embedding_size", 32, "embedding_size is 32, but resnet"),
  ],
)
def test_other_networks_of_transformers(tmp_path, kind, key, value, message):
  with pytest.raises(leep_jax.InputError, match=message) as e:
    write(tmp_path, {"model_type": kind, key: value})
  assert "\n" not in str(e.value)
  # Null states nothing.
  write(tmp_path, {"model_type": kind, key: None})


@pytest.mark.parametrize(
  ("architecture", "args", "options"),
  [
    ("vit_small_patch16_224", {"num_heads": 12}, {"num_heads": 12}),
    (
      "deit3_small_patch16_224",
      {"act_layer": "gelu_tanh", "init_values": 1e-5},
      {"activation": "gelu_tanh"},
    ),
    ("mobilenetv2_100", {"pad_type": "same"}, {"tf_padding": True}),
    ("efficientnet_b0", {"pad_type": ""}, {"tf_padding": False}),
    (
      "tf_efficientnet_lite0",
      {"act_layer": "relu6"},
      {"norm_eps": 1e-3, "tf_padding": True},
    ),
    ("mobilenetv1_100", {"bn_eps": 0.001}, {"norm_eps": 0.001}),
    (
      "tf_efficientnet_b0",
      {"bn_eps": 0.002},
      {"norm_eps": 0.002, "tf_padding": True},
    ),
    ("efficientnet_es", {"act_layer": "relu"}, {}),
    ("efficientnetv2_s", {"act_layer": "silu", "bn_eps": 0}, {"norm_eps": 0}),
    (
      "tf_mobilenetv3_large_075",
      {"act_layer": "hard_swish"},
      {"norm_eps": 1e-3, "tf_padding": True},
    ),
    ("mobilenetv4_hybrid_large", {"act_layer": "gelu"}, {}),
    ("resnet50", {"drop_rate": 0.5, "in_chans": 3, "stem_width": 64}, {}),
    ("convnext_tiny", {"norm_eps": 1e-6, "conv_mlp": None}, {}),
  ],
)
def test_model_args_of_timm(tmp_path, architecture, args, options):
  config = {**TIMM, "architecture": architecture, "model_args": args}
  assert write(tmp_path, config).options == options


@pytest.mark.parametrize(
  ("architecture", "args", "message"),
  [
    ("vit_small_patch16_224", {"qk_norm": True}, "qk_norm is True, but vit_s"),
    ("vit_small_patch16_224", {"act_layer": "relu"}, "act_layer 'relu'"),
    ("vit_small_patch16_224", {"norm_layer": "rmsnorm"}, "'rmsnorm'} change"),
    ("mobilenetv2_100", {"pad_type": "reflect"}, "pad_type is 'reflect', but"),
    ("mobilenetv2_100", {"act_layer": "silu"}, "act_layer is 'silu', but"),
    ("efficientnet_lite0", {"act_layer": "silu"}, "act_layer is 'silu', but"),
    (
      "mobilenetv4_conv_small",
      {"act_layer": "gelu"},
      "act_layer is 'gelu', but",
    ),
    (
      "mobilenetv3_rw",
      {"head_bias": True},
      "'head_bias': True.* for mobilenetv3",
    ),
    ("resnet50", {"pad_type": "same"}, "'pad_type': 'same'.* for resnet50"),
    ("resnet50", {"output_stride": 8}, "output_stride is 8, but resnet50"),
    ("convnext_tiny", {"conv_bias": False}, "conv_bias is False, but convnex"),
    ("darknet53", {"in_chans": 1}, "in_chans is 1, but darknet53"),
  ],
)
def test_other_networks_of_timm(tmp_path, architecture, args, message):
  config = {**TIMM, "architecture": architecture, "model_args": args}
  with pytest.raises(leep_jax.InputError, match=message):
    write(tmp_path, config)


def test_heads_are_as_stated(tmp_path):
  """No shape tells them: 12 were once computed as 6."""
  small = {"hidden_size": 384, "num_hidden_layers": 12}
  stated = read_pair(tmp_path, num_attention_heads=12, **small)
  assert stated.options["num_heads"] == 12
  assert stated.network == small
  # Left out beside a width, they are ViTConfig's.
  assert read_pair(tmp_path, **small).options["num_heads"] == 12
  assert "num_heads" not in read_pair(tmp_path).options


@pytest.mark.parametrize(
  ("config", "reason"),
  [
    ({"problem_type": "multi_label_classification"}, "multi_label.*sigmoid"),
    ({"problem_type": "regression"}, "regression in .*numbers, not classes"),
    ({"problem_type": "single_label_classification"}, "^$"),
    ({"problem_type": None, "num_labels": 5}, "^$"),
    ({"num_labels": 1}, "states 1 class:"),
    ({"id2label": {"0": "age"}}, "states 1 class:"),
    ({"function_to_apply": "sigmoid"}, "function_to_apply is sigmoid in"),
    ({"function_to_apply": "softmax"}, "^$"),
    ({"architectures": ["ViTModel"]}, "architectures is ViTModel.*no head"),
    ({"architectures": ["ViTForImageClassification"]}, "^$"),
    (
      {
        **TIMM,
        "model_type": "timm_wrapper",
        "problem_type": "multi_label_classification",
      },
      "multi_label_classification",
    ),
    ({**TIMM, "num_classes": 0}, "has no classifier"),
  ],
)
def test_heads_that_are_no_softmax(tmp_path, config, reason):
  found = write(tmp_path, config)
  assert re.search(reason, found.without_probs)


def test_settings_for_evaluation_win(tmp_path):
  stated = {
    **TIMM["pretrained_cfg"],
    "test_input_size": [3, 288, 288],
    "test_crop_pct": 1.0,
  }
  fields = write(tmp_path, TIMM | {"pretrained_cfg": stated}).preprocessing
  assert (fields["image_size"], fields["crop"]) == (288, 1.0)
  # A network of one size keeps it.
  stated["fixed_input_size"] = True
  fields = write(tmp_path, TIMM | {"pretrained_cfg": stated}).preprocessing
  assert fields["image_size"] == 224
  # transformers' wrapper of timm evaluates at the size of training.
  del stated["fixed_input_size"]
  wrapped = TIMM | {"model_type": "timm_wrapper", "pretrained_cfg": stated}
  fields = write(tmp_path, wrapped).preprocessing
  assert (fields["image_size"], fields["crop"]) == (224, 0.95)


@pytest.mark.parametrize("name", ["DeiT", "ViT"])
def test_a_number_is_a_square(tmp_path, name):
  stated = {
    "feature_extractor_type": f"{name}FeatureExtractor",
    "size": 256,
    "crop_size": 224,
    "do_center_crop": True,
  }
  fields = write(tmp_path, {"model_type": "vit"}, stated).preprocessing
  assert (fields["image_size"], fields["crop_mode"]) == (224, "squash")
  assert fields["crop_origin"] == "floor"


@pytest.mark.parametrize(
  ("images", "message"),
  [
    ({"do_resize": False}, "do_resize is false: .*set do_resize to true"),
    ({"do_resize": "false"}, "do_resize is 'false', not true or false"),
    ({"do_pad": True}, "do_pad is True, .*adds a border"),
    ({"do_flip_channel_order": True}, "takes blue first"),
    ({"image_processor_type": "VivitImageProcessor"}, "'VivitImageProcessor'"),
    (
      {
        "image_processor_type": "EfficientNetImageProcessor",
        "include_top": "no",
      },
      "include_top is 'no', not true or false",
    ),
    (
      {"image_processor_type": "MobileViTImageProcessor", "crop_size": 192},
      "do_flip_channel_order is true, but the networks of this package take",
    ),
    (
      {"image_processor_type": "MobileViTImageProcessor"},
      "crop_size is 256, but size is 224: transformers would add a black",
    ),
    ({"size": {"shortest_edge": 224}}, "shortest_edge 224 without a crop"),
    ({"size": {"longest_edge": 224}}, "size has longest_edge, but known are"),
    (
      {"size": {"shortest_edge": 224, "longest_edge": 300}},
      "size has shortest_edge, longest_edge, but known are",
    ),
    ({"size": {"max_height": 9, "max_width": 9}}, "has max_height, max_width"),
    ({"size": [224, 2.5]}, "size is 2.5, but must be an integer"),
    (
      {"size": [224, 300], "do_center_crop": True, "crop_size": 200},
      "size is 224 x 300, but this class crops squares here",
    ),
    ({"size": [224]}, r"size is .224., not a height and a width"),
    ({"size": 200.5}, "size is 200.5, but must be an integer"),
    ({"do_center_crop": True}, "do_center_crop is true, but crop_size is miss"),
    (
      {"do_center_crop": True, "crop_size": 300},
      "crop_size is 300, but size is 224: transformers would add a black",
    ),
    ({"resample": True}, "resample is True, but Pillow's filters"),
    ({"image_mean": ["0.5"] * 3}, "image_mean is .*not one number a channel"),
    ({"image_mean": [123.675, 116.28, 103.53]}, "mean 123.675 is on the scale"),
    ({"image_std": [58.395] * 3}, "std 58.395 is .*divide by 255; here"),
  ],
)
def test_preparations_that_are_not_done(tmp_path, images, message):
  with pytest.raises(leep_jax.InputError, match=message) as e:
    write(tmp_path, {"model_type": "vit"}, images)
  assert "\n" not in str(e.value)
  assert len(str(e.value)) < 600


@pytest.mark.parametrize("kind", ["siglip2", "perceiver", "imagegpt"])
def test_models_whose_images_are_prepared_otherwise(tmp_path, kind):
  with pytest.raises(leep_jax.InputError, match="in ways that are not known"):
    write(tmp_path, {"model_type": kind})


@pytest.mark.parametrize(
  ("name", "probs"),
  [
    ("PoolFormerForImageClassification", True),
    ("SwiftFormerModel", False),
    ("SegformerForSemanticSegmentation", False),
    ("PoolFormerForSomethingElse", False),
  ],
)
def test_names_of_networks_that_have_a_head(name, probs):
  found = configs.without_probs({"architectures": [name]}, 5)
  assert (found == "") == probs


def test_convnext_crops_by_its_own_rules(tmp_path):
  for images, message in (
    ({"size": {"height": 224, "width": 224}}, "takes shortest_edge"),
    (
      {"size": {"shortest_edge": 224}, "do_center_crop": True, "crop_size": 9},
      "crop_size is 9, but size is 224: .*crop twice",
    ),
  ):
    with pytest.raises(leep_jax.InputError, match=message):
      write(tmp_path, {"model_type": "convnext"}, images)


@pytest.mark.parametrize(
  ("mean", "message"),
  [
    ([123.675, 116.28, 103.53], "mean 123.675 is on the scale 0..255: divide"),
    ([124, 116, 104], "mean 124 is on the scale 0..255"),
    (127.5, "mean 127.5 is on the scale 0..255"),
  ],
)
def test_means_of_pixels_to_255(tmp_path, mean, message):
  stated = {"input_size": [3, 224, 224], "mean": mean}
  with pytest.raises(leep_jax.InputError, match=message):
    write(tmp_path, TIMM | {"pretrained_cfg": stated})


def test_scaled_or_not(tmp_path):
  images = {"do_rescale": False, "image_mean": 0.4, "image_std": 0.2}
  with pytest.warns(
    validation.InputNote, match="0..1, but .* 0..255.*do_rescale"
  ):
    fields = write(tmp_path, {"model_type": "vit"}, images).preprocessing
  assert fields["mean"] == pytest.approx((0.4 / 255,) * 3)  # what it says


def test_sizes_that_two_files_state_differently(tmp_path):
  config = {"model_type": "convnext", "image_size": 224}
  with pytest.warns(validation.InputNote, match="384 pixels.*--image_size=224"):
    fields = write(tmp_path, config).preprocessing
  assert (fields["image_size"], fields["crop_mode"]) == (384, "squash")


def test_keys_that_nobody_knows_are_told(tmp_path):
  for config, images, message in (
    ({"model_type": "vit", "attention_kind": 3}, None, "says attention_kind"),
    ({"model_type": "vit", "output_stride": 8}, None, "says output_stride"),
    ({"model_type": "vit"}, {"do_blur": True}, "preprocessor_.*says do_blur"),
    ({"model_type": "vit"}, {"crop_pct": 0.9}, "says crop_pct, which"),
    (TIMM | {"colour": "bgr"}, None, "config.json says colour, which is not"),
    (TIMM | dict.fromkeys("abcde", 1), None, "says a, b, c and 2 more"),
  ):
    with pytest.warns(validation.InputNote, match=message):
      write(tmp_path, config, images)
    (tmp_path / "preprocessor_config.json").unlink(missing_ok=True)
  write(tmp_path, TIMM | {"colour": None})  # null is not stated


@pytest.mark.parametrize("kind", config_keys.TRANSFORMERS)
def test_every_key_that_transformers_writes_is_known(tmp_path, kind):
  transformers = publishers.load("transformers")
  config = transformers.AutoConfig.for_model(kind)
  # What this version would save, and what earlier ones and generation do.
  content = {**config.to_dict(), "num_beams": 1, "torchscript": False}
  content["architectures"] = ["SomeForImageClassification"]
  content["id2label"] = {str(i): f"LABEL_{i}" for i in range(7)}
  found = write(tmp_path, json.loads(json.dumps(content)), {"size": 384})
  assert found.transformers == kind
  assert found.num_classes == 7


def test_every_key_that_transformers_takes_is_known():
  publishers.load("transformers")
  from transformers.generation.configuration_utils import GenerationConfig
  from transformers.processing_utils import ImagesKwargs

  assert set(ImagesKwargs.__annotations__) - {"pad_size"} <= (
    config_keys.PROCESSOR_USED
    | config_keys.PROCESSOR_IRRELEVANT
    | set(config_keys.PROCESSOR_REFUSED)
  )
  generation = GenerationConfig._get_default_generation_params()
  assert set(generation) <= config_keys.TRANSFORMERS_IRRELEVANT


@pytest.mark.parametrize(
  ("name", "arch"),
  [
    ("resnet50", "resnet50"),
    ("vit_small_patch16_224", "vit_small_16"),
    ("convnext_tiny", "convnext_tiny"),
    ("senet154", "gluon_senet154"),
    ("mobilenetv1_100", "mobilenet_v1_100"),
    ("mobilenetv2_100", "mobilenetv2_100"),
    ("tf_efficientnet_b0", "efficientnet_b0"),
    ("tf_efficientnet_lite0", "efficientnet_lite0"),
    ("mobilenetv3_small_050", "mobilenetv3_small_050"),
    ("darknet53", "darknet53"),
    ("legacy_senet154", "senet154"),
  ],
)
def test_every_key_that_timm_writes_is_known(tmp_path, name, arch):
  timm = publishers.load("timm")
  from timm.models import _hub

  model = timm.create_model(name, num_classes=5)
  _hub.save_config_for_hf(model, tmp_path / "config.json")
  found = configs.read(tmp_path)
  assert (found.timm, found.num_classes) == (name, 5)
  loading.check_network(arch, found)
  for key in timm.models.PretrainedCfg.__dataclass_fields__:
    assert key in (
      config_keys.TIMM_USED
      | config_keys.TIMM_IRRELEVANT
      | set(config_keys.TIMM_REFUSED)
    )


def test_heads_are_computed_as_transformers_does(tmp_path, rng):
  torch = pytest.importorskip("torch")
  transformers = publishers.load("transformers")
  torch.manual_seed(0)
  config = transformers.ViTConfig(
    hidden_size=384, intermediate_size=1536, num_labels=5,
    num_attention_heads=12, initializer_range=0.1,
  )  # fmt: skip
  theirs = transformers.ViTForImageClassification(config).eval()
  theirs.save_pretrained(tmp_path)
  source = catalog.load_source(f"vit_small_16@{tmp_path}")
  # Without a preprocessor_config.json: ViTImageProcessor's.
  assert source.preprocessing == leep_jax.Preprocessing(
    image_size=224, mean=(0.5,) * 3, std=(0.5,) * 3, crop_mode="squash"
  )
  images = rng.normal(size=(1, 224, 224, 3)).astype(np.float32)
  with torch.no_grad():
    expected = theirs(torch.from_numpy(images.transpose(0, 3, 1, 2))).logits
  logits, _ = source.apply(source.state, images)
  np.testing.assert_allclose(logits, expected, rtol=1e-4, atol=1e-4)
  six = catalog.build("vit_small_16", 5, norm_eps=1e-12)
  matching.load_into(
    six,
    checkpoints.read_tensors(tmp_path / "model.safetensors")[0],
    names=catalog.ARCHITECTURES["vit_small_16"].names,
    origin="it",
  )
  assert np.abs(six(images)[0] - np.asarray(expected)).max() > 0.1
  # A configuration of another network is refused by the key that says so.
  content = json.loads((tmp_path / "config.json").read_text())
  for key, value, message in (
    ("num_hidden_layers", 24, "num_hidden_layers is 24, but .* has 12"),
    ("hidden_size", 768, "hidden_size is 768, but vit_small_16 has 384"),
    ("patch_size", [32, 32], "patch_size is 32, but vit_small_16 has 16"),
    ("image_size", 384, "image_size is 384, but vit_small_16 has 224"),
    ("num_attention_heads", 7, "num_heads is 7, but must divide the width 38"),
  ):
    write(tmp_path, content | {key: value}, {"size": 224})
    with pytest.raises(leep_jax.InputError, match=message):
      catalog.load_source(f"vit_small_16@{tmp_path}")


@pytest.mark.parametrize(
  ("arch", "config", "message"),
  [
    (
      "convnext_tiny",
      {"model_type": "convnext", "depths": [3, 3, 27, 3]},
      r"depths is \(3, 3, 27, 3\), but convnext_tiny has \(3, 3, 9, 3\)",
    ),
    (
      "mobilenet_v1_025",
      {"model_type": "mobilenet_v1", "depth_multiplier": 0.5},
      "depth_multiplier is 0.5, but mobilenet_v1_025 has 0.25",
    ),
    (
      "mobilenet_v1_025",
      {"model_type": "mobilenet_v1", "min_depth": 16},
      "min_depth is 16, but mobilenet_v1_025 has at most 8",
    ),
    (
      "vit_small_16",
      {"architecture": "vit_small_patch16_224", "model_args": {"depth": 6}},
      "depth is 6, but vit_small_16 has 12",
    ),
    (
      "resnet50",
      {"architecture": "resnet50", "model_args": {"avg_down": True}},
      "avg_down is True, but resnet50 has False",
    ),
    (
      "seresnet18",
      {"architecture": "seresnet18", "model_args": {"stem_type": "deep"}},
      "stem_type is deep, but seresnet18 has ",
    ),
    (
      "convnext_tiny",
      {"architecture": "convnext_tiny", "model_args": {"norm_eps": 1e-5}},
      "norm_eps is 1e-05, but convnext_tiny has 1e-06",
    ),
    (
      "convnextv2_atto",
      {"architecture": "convnextv2_atto", "model_args": {"use_grn": False}},
      "use_grn is False, but convnextv2_atto has True",
    ),
    (
      "vit_small_16",
      {
        "architecture": "vit_small_patch16_224",
        "model_args": {"class_token": False},
      },
      "class_token is False, but vit_small_16 has True",
    ),
    (
      "vit_small_16",
      {"model_type": "vit", "qkv_bias": False},
      "qkv_bias is False, but vit_small_16 has True",
    ),
  ],
)
def test_other_sizes_are_refused(tmp_path, arch, config, message):
  found = write(tmp_path, config)
  with pytest.raises(leep_jax.InputError, match=message):
    loading.check_network(arch, found)


def test_sources_say_why_they_have_no_probabilities(tmp_path):
  checkpoints.save(catalog.build("resnet8", 3), tmp_path / "model.safetensors")
  config = {"num_labels": 3, "problem_type": "multi_label_classification"}
  write(tmp_path, config)
  source = catalog.load_source(f"resnet8@{tmp_path}")
  assert "multi_label_classification" in source.without_probs
  write(tmp_path, {"num_labels": 3})
  assert not catalog.load_source(f"resnet8@{tmp_path}").without_probs


@pytest.mark.parametrize(
  ("given", "message"),
  [
    ({"mean": (123.675, 116.28, 103.53)}, "255: divide by 255; here"),
    ({"std": (58.395, 57.12, 57.375)}, "std 58.395 is on the scale 0..255"),
    ({"mean": (0.485,) * 3, "std": (58.395,) * 3}, "std 58.395 is on"),
  ],
)
def test_flags_on_the_scale_of_8_bits_are_refused(given, message):
  with pytest.raises(leep_jax.InputError, match=message):
    catalog.Overrides(**given)


@pytest.mark.parametrize(
  ("config", "message"),
  [
    ({"color_order": "BGR"}, "color_order is 'BGR', but images are fed as RGB"),
    (
      {"data_preprocessor": {"mean": [123.675], "to_rgb": True}},
      "data_preprocessor is .* not read here",
    ),
  ],
)
def test_inputs_that_are_prepared_otherwise_are_refused(
  tmp_path, config, message
):
  for whole in (
    {"model_type": "vit", **config},
    {"architecture": "resnet50", "pretrained_cfg": config},
  ):
    (tmp_path / "config.json").write_text(json.dumps(whole))
    with pytest.raises(leep_jax.InputError, match=message):
      configs.read(tmp_path)


@pytest.mark.parametrize(
  "config",
  [
    {
      "architecture": "resnet50",
      "pretrained_cfg": {"problem_type": "multi_label_classification"},
    },
    {"model_type": "vit", "architectures": ["ViTForMaskedImageModeling"]},
    {"model_type": "vit", "head_activation": "sigmoid"},
  ],
)
def test_other_heads_are_told(tmp_path, config):
  (tmp_path / "config.json").write_text(json.dumps(config))
  with warnings.catch_warnings():
    warnings.simplefilter("ignore", validation.InputNote)
    assert configs.read(tmp_path).without_probs
