"""Vision transformers: the names of timm that they serve, and other files."""

import json

from flax import nnx
import jax
import marks
import numpy as np
import publishers
import pytest
import references
import timm_networks

import leep_jax
from leep_jax.models import vit, vit_files, vit_rows
from leep_jax.sources import architectures, catalog, loading, matching

# timm's names by those of rows, without test networks.
SERVED = {
  name: arch
  for arch, row in vit_rows.ARCHITECTURES.items()
  for name in row.timm
}


def filled(model):
  """Sets all tensors of a PyTorch model; returns it in evaluation mode."""
  torch = pytest.importorskip("torch")
  with torch.no_grad():
    for name, value in model.named_parameters():
      value.copy_(torch.tensor(references.tensor(name, tuple(value.shape))))
  return model.eval()


def run(source, side, *, seed=0):
  x = timm_networks.images(side, seed=seed)
  return x, jax.jit(source.apply)(source.state, x)


def saved(model, name, folder, **args):
  """A folder as timm pushes it to the hub."""
  from timm.models import _hub

  references.save(
    {k: v.numpy() for k, v in model.state_dict().items()},
    folder / "model.safetensors",
  )
  _hub.save_config_for_hf(model, folder / "config.json", model_args=args)
  config = json.loads((folder / "config.json").read_text())
  if "img_size" in args:
    config["pretrained_cfg"]["input_size"] = [3, *(args["img_size"],) * 2]
    (folder / "config.json").write_text(json.dumps(config))


def of_timm(name, folder, **options):
  timm = publishers.load("timm")
  classes = timm.get_pretrained_cfg(name).num_classes
  model = timm.create_model(name, num_classes=classes, **options)
  saved(filled(model), name, folder, **options)
  return model


# The smallest network of each kind, with fewer blocks where it is large.
KINDS = {
  "deit_tiny_patch16_224": {"img_size": 64},
  "deit_tiny_distilled_patch16_224": {"img_size": 64, "depth": 2},
  "deit3_small_patch16_224": {"depth": 2},
  "flexivit_small": {"depth": 2},
  "test_vit": {},
  "test_vit2": {},
  "test_vit3": {},
  "vit_small_patch8_224": {"depth": 2},
  "vit_small_patch14_dinov2": {"depth": 2, "img_size": 70},
  "vit_giant_patch14_dinov2": {"depth": 1, "img_size": 56},
  "vit_small_patch14_reg4_dinov2": {"depth": 2, "img_size": 70},
  "vit_base_patch14_reg1_tipsv2": {"depth": 1, "img_size": 56},
  "vit_base_patch16_radio_v3": {"depth": 1, "img_size": 64},
  "vit_intern300m_patch14_448": {"depth": 1, "img_size": 56},
  "vit_medium_patch16_gap_240": {"depth": 2},
  "vit_wee_patch16_reg1_gap_256": {"depth": 2},
  "vit_so150m_patch16_reg4_gap_256": {"depth": 1},
  "vit_so150m2_patch16_reg1_gap_256": {"depth": 1},
  "vit_huge_patch14_gap_224": {"depth": 1, "img_size": 56},
  "vit_base_patch16_rpn_224": {"depth": 2, "img_size": 64},
  "vit_base_patch16_224_miil": {"depth": 2, "img_size": 64},
  "eva_large_patch14_196": {"depth": 1},
  "beit3_base_patch16_224": {"depth": 1, "img_size": 64},
  "vit_xsmall_patch16_clip_224": {"depth": 2},
  "vit_giant_patch14_clip_224": {"depth": 1, "img_size": 56},
  "vit_base_patch32_clip_quickgelu_224": {"depth": 2},
  "vit_base_patch16_siglip_224": {"depth": 2, "img_size": 64},
  "vit_so400m_patch14_siglip_384": {"depth": 1, "img_size": 60},
  "vit_so400m_patch16_siglip_256": {"depth": 1, "img_size": 64},
  "vit_giantopt_patch16_siglip_gap_256": {"depth": 1, "img_size": 64},
  "vit_base_patch16_siglip_gap_224": {"depth": 2, "img_size": 64},
  "aimv2_large_patch14_224": {"depth": 1, "img_size": 56},
}  # fmt: skip
_QUICK = ("deit_tiny_distilled_patch16_224", "test_vit2", "test_vit3")


@pytest.mark.parametrize(
  "name", [*_QUICK, *marks.exhaustive(*(k for k in KINDS if k not in _QUICK))]
)
def test_folders_of_timm(tmp_path, name):
  model = of_timm(name, tmp_path, **KINDS[name])
  arch = loading.architecture_of("it", tmp_path)
  assert arch == SERVED[name]
  classifier = model.num_classes > 0
  if classifier:
    source = leep_jax.load_source(f"{arch}@{tmp_path}")
  else:
    with pytest.warns(leep_jax.validation.InputNote, match="has no classifier"):
      source = leep_jax.load_source(f"{arch}@{tmp_path}")
  assert bool(source.without_probs) != classifier
  side = source.preprocessing.image_size
  assert side == KINDS[name].get("img_size", model.patch_embed.img_size[0])
  x, (logits, features) = run(source, side)
  expected, expected_features = timm_networks.outputs(model, x)
  timm_networks.close(features, expected_features)
  if classifier:
    timm_networks.close(logits, expected)
  else:
    assert logits is None


def torch_name(module):
  """The activation that a module of timm computes."""
  tanh = getattr(module, "approximate", "none") == "tanh"
  return {
    "GELU": "gelu_tanh" if tanh else "gelu",
    "GELUTanh": "gelu_tanh",
    "QuickGELU": "quick_gelu",
    "SiLU": "silu",
  }[type(module).__name__]


@pytest.mark.exhaustive
@pytest.mark.parametrize("name", sorted(SERVED))
def test_every_name_of_timm_has_these_tensors(name):
  timm = publishers.load("timm")
  options = (
    {} if SERVED[name] in ("vit_small_16", "vit_base_16") else {"depth": 2}
  )
  theirs = timm.create_model(name, device="meta", num_classes=5, **options)
  shapes = {k: tuple(v.shape) for k, v in theirs.state_dict().items()}
  arch = architectures.aliases()[name]
  row = catalog.ARCHITECTURES[arch]
  # No values: `infer` reads shapes alone.
  empty = {k: np.broadcast_to(np.float32(0), v) for k, v in shapes.items()}
  options = row.infer(empty, {})
  ours = catalog.shapes(arch, 5, **options)
  found = {}
  for path, variable in nnx.to_flat_state(nnx.state(ours)):
    axes = matching.axes(path, matching.TO_TORCH, len(variable.shape))
    found[matching.published_name(path)] = tuple(
      variable.shape[axis] for axis in axes
    )
  assert found == shapes
  design, block = ours.design, theirs.blocks[0]
  assert design.heads == block.attn.num_heads
  assert design.activation == torch_name(block.mlp.act)
  assert design.norm_eps == block.norm1.eps
  assert design.post_norm == (type(block).__name__ == "ResPostBlock")
  pool = "distilled" if design.dist_token else theirs.global_pool
  assert design.pooling == pool
  assert design.pool_prefix == theirs.pool_include_prefix
  # Tensors do not tell pixels at the border that are in no patch.
  assert design.grid == theirs.patch_embed.grid_size[0]
  # Weights of one network differ in how images were prepared: the usual values
  # are those of some of them.
  used = [timm.get_pretrained_cfg(n) for n in timm.list_pretrained(f"{name}.*")]
  assert any(
    np.allclose(row.preprocessing.mean, cfg.mean)
    and np.allclose(row.preprocessing.std, cfg.std)
    and row.preprocessing.interpolation == cfg.interpolation
    for cfg in used
  )


@pytest.mark.parametrize("side", [96, 32])
def test_images_of_another_size_as_timm(tmp_path, side):
  timm = publishers.load("timm")
  torch = pytest.importorskip("torch")
  model = of_timm("test_vit", tmp_path, img_size=64)
  other = timm.create_model("test_vit", img_size=side).eval()
  # What `create_model` does to the tensors of a file.
  fit = timm.models.vision_transformer.checkpoint_filter_fn
  other.load_state_dict(fit(model.state_dict(), other))
  source = leep_jax.load_source(
    f"test_vit@{tmp_path}", overrides=catalog.Overrides(image_size=side)
  )
  assert source.preprocessing.image_size == source.min_image_size == side
  x, (logits, _) = run(source, side)
  with torch.no_grad():
    timm_networks.close(logits, other(torch.tensor(x.transpose(0, 3, 1, 2))))


def test_networks_that_are_not_resampled(tmp_path):
  of_timm("flexivit_small", tmp_path, img_size=64, depth=1)
  for side in (96, 8):
    with pytest.raises(
      leep_jax.InputError, match=f"image_size is {side}, but .* of 64 pixels al"
    ):
      leep_jax.load_source(
        f"flexivit@{tmp_path}", overrides=catalog.Overrides(image_size=side)
      )


SMALL = {
  "hidden_size": 64, "num_hidden_layers": 2, "num_attention_heads": 4,
  "image_size": 56, "patch_size": 14, "num_labels": 5,
}  # fmt: skip


@pytest.mark.parametrize(
  ("kind", "options", "side"),
  [
    ("ViTForImageClassification", {"intermediate_size": 96}, 56),
    ("ViTForImageClassification", {"qkv_bias": False}, 56),
    ("DeiTForImageClassification", {"hidden_act": "gelu"}, 56),
    ("DeiTForImageClassificationWithTeacher", {}, 56),
    ("Dinov2ForImageClassification", {}, 56),
    ("Dinov2ForImageClassification", {"use_swiglu_ffn": True}, 84),
    ("Dinov2Model", {"mlp_ratio": 2}, 42),
    ("Dinov2WithRegistersForImageClassification", {}, 84),
    ("Dinov2WithRegistersModel", {"num_register_tokens": 2}, 42),
  ],
)
@pytest.mark.filterwarnings("ignore::leep_jax.validation.InputNote")
def test_networks_of_transformers(tmp_path, kind, options, side):
  torch = pytest.importorskip("torch")
  transformers = publishers.load("transformers")
  network = getattr(transformers, kind)
  theirs = network(network.config_class(**SMALL | options))
  filled(theirs).save_pretrained(tmp_path)
  size = {"height": side, "width": side}
  images = {"do_resize": True, "size": size, "do_center_crop": False}
  (tmp_path / "preprocessor_config.json").write_text(json.dumps(images))
  arch = loading.architecture_of("it", tmp_path)
  source = leep_jax.load_source(f"{arch}@{tmp_path}")
  x, (logits, features) = run(source, side)
  with torch.no_grad():
    found = theirs(torch.tensor(x.transpose(0, 3, 1, 2)))
  if "Model" in kind:
    timm_networks.close(features, found.pooler_output)
    assert "no classifier" in source.without_probs
  else:
    timm_networks.close(logits, found.logits)


def small(folder, arch="vit", **options):
  sizes = {"width": 64, "depth": 1, "mlp_width": 128, "image_size": 32}
  model = catalog.build(arch, 5, **sizes | options)
  tensors = {
    name: references.tensor(name, value.shape)
    for name, value in matching.published(model).items()
  }
  return tensors, folder / "model.safetensors"


def test_projections_are_no_classifiers(tmp_path):
  tensors, path = small(tmp_path, "vit_clip")
  references.save(tensors, path)
  assert not leep_jax.load_source(f"vit_clip@{path}").without_probs
  tensors["head.bias"][:] = 0
  references.save(tensors, path)
  with pytest.warns(leep_jax.validation.InputNote, match="no classifier"):
    source = leep_jax.load_source(f"vit_clip@{path}")
  assert "projects to a space of texts" in source.without_probs
  assert run(source, 32)[1][0] is None
  # timm's repository for both activations names the other one.
  (tmp_path / "config.json").write_text(
    json.dumps({"architecture": "vit_base_patch16_clip_224"})
  )
  with pytest.warns(leep_jax.validation.InputNote, match="no classifier"):
    quick = leep_jax.load_source(
      f"vit_clip_quickgelu@{tmp_path}",
      overrides=catalog.Overrides(image_size=32),
    )
  assert "quick" in quick.options
  assert not np.allclose(run(source, 32)[1][1], run(quick, 32)[1][1], atol=1e-4)


def test_files_that_are_no_such_network(tmp_path):
  tensors, path = small(tmp_path)
  whole = dict(tensors)
  tensors["pos_embed"] = tensors["pos_embed"][:, :3]
  references.save(tensors, path)
  with pytest.raises(leep_jax.InputError, match="has 3 positions.*no squares"):
    leep_jax.load_source(f"vit@{path}")
  del whole["pos_embed"]
  references.save(whole, path)
  with pytest.raises(
    leep_jax.InputError, match="1 tensors missing: pos_embed$"
  ):
    leep_jax.load_source(f"vit@{path}")


@pytest.mark.parametrize(
  ("options", "message"),
  [
    ({"num_heads": 7}, "num_heads is 7, but must divide the width 768"),
    ({"num_heads": 0}, "num_heads"),
    ({"activation": "relu"}, "unknown activation 'relu'"),
    ({"pool": "max"}, "unknown pooling 'max'"),
    ({"pool": "token", "class_token": False}, "no class token"),
  ],
)
def test_designs_that_are_refused(options, message):
  with pytest.raises(leep_jax.InputError, match=message):
    vit.Design(**options)


@pytest.mark.parametrize(
  ("args", "message"),
  [
    ({"class_token": False}, "class_token is False, but vit has True"),
    ({"reg_tokens": 4}, "reg_tokens is 4, but vit has 0"),
    ({"depth": 12}, "depth is 12, but vit has 1"),
    ({"img_size": 48}, "img_size is 48, but vit has 32"),
    ({"act_layer": "relu"}, "unknown act_layer 'relu'"),
    ({"global_pool": "avgmax"}, "unknown pooling 'avgmax'"),
  ],
)
def test_configurations_of_other_networks(tmp_path, args, message):
  references.save(*small(tmp_path))
  config = {"architecture": "vit_tiny_patch16_224", "model_args": args}
  (tmp_path / "config.json").write_text(json.dumps(config))
  with pytest.raises(leep_jax.InputError, match=message):
    leep_jax.load_source(f"vit@{tmp_path}")


def test_what_a_configuration_sets(tmp_path):
  references.save(*small(tmp_path))
  seen = []
  for args in ({}, {"act_layer": "quickgelu"}, {"num_heads": 4},
               {"global_pool": "avg", "init_values": None}):  # fmt: skip
    config = {
      "architecture": "vit_tiny_patch16_224",
      "model_args": args,
      "pretrained_cfg": {"input_size": [3, 32, 32]},
    }
    (tmp_path / "config.json").write_text(json.dumps(config))
    source = leep_jax.load_source(f"vit@{tmp_path}")
    seen.append(np.asarray(run(source, 32)[1][1]))
  for i, other in enumerate(seen[1:]):
    assert np.abs(other - seen[0]).max() > 1e-3, i


def test_no_name_is_served_twice():
  assert len(SERVED) == sum(
    len(row.timm) for row in vit_rows.ARCHITECTURES.values()
  )
  assert set(vit_files.SIZES) <= set(vars(vit.Design()))
