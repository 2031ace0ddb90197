"""Vision transformers by family: what the tensors of a file do not tell.

Tensors tell the sizes of a network and which layers it has. They do not tell
its activation, how many heads its attention has, what is added to variances,
and how images were prepared. These are a family's, a row of `_FAMILIES` with
timm's names of its networks (timm 1.0.31, `models/vision_transformer.py` and
`models/deit.py`). Two rows of one size, S/16 and B/16, have names of their own.
"""

from collections.abc import Mapping
import dataclasses
import functools
from typing import Any, NamedTuple

from leep_jax.models import vit, vit_files
from leep_jax.models.architecture import Architecture, imagenet

_HALF: dict[str, Any] = {"mean": (0.5,) * 3, "std": (0.5,) * 3}
_RAW: dict[str, Any] = {"mean": (0.0,) * 3, "std": (1.0,) * 3}
_CLIP: dict[str, Any] = {
  "mean": (0.48145466, 0.4578275, 0.40821073),
  "std": (0.26862954, 0.26130258, 0.27577711),
}


class _Family(NamedTuple):
  """Networks that differ in what tensors tell alone.

  Attributes:
    design: of the network that is built where there are no tensors.
    images: fields of `Preprocessing`, those of most of the weights.
    timm: timm's names of the networks, without what all of them begin with.
    start: what they begin with.
    transformers: the `model_type` in transformers' configurations.
    resample: the filter for position embeddings; None if they never are.
    configured: further names in timm's configurations.
    projects: whether a head without a bias is a projection, not a classifier.
  """

  design: vit.Design
  images: Mapping[str, Any]
  timm: str
  start: str = "vit_"
  transformers: str | None = None
  resample: str | None = "bicubic"
  configured: str = ""
  projects: bool = False


_QUICK_CLIP = (
  "base_patch16_{}224 base_patch32_{}224 gigantic_patch14_{}224 "
  "huge_patch14_{}224 huge_patch14_{}378 large_patch14_{}224 "
  "large_patch14_{}336"
)
_FAMILIES: Mapping[str, _Family] = {
  "vit": _Family(
    vit.Design(),
    {**_HALF, "crop": 0.9},
    """base_patch8_224 base_patch16_384 base_patch32_224 base_patch32_384
    huge_patch14_224 large_patch16_224 large_patch16_384 large_patch32_224
    large_patch32_384 small_patch16_384 small_patch32_224
    small_patch32_384 tiny_patch16_224 tiny_patch16_384""",
    transformers="vit",
  ),
  "vit_dino": _Family(vit.Design(), {"crop": 0.9}, "small_patch8_224"),
  "vit_miil": _Family(
    vit.Design(qkv_bias=False),
    {**_RAW, "crop": 0.875, "interpolation": "bilinear"},
    "base_patch16_224_miil",
  ),
  "deit": _Family(
    vit.Design(),
    {"crop": 0.9},
    """base_patch16_224 base_patch16_384 small_patch16_224 tiny_patch16_224
    base_distilled_patch16_224 base_distilled_patch16_384
    small_distilled_patch16_224 tiny_distilled_patch16_224""",
    start="deit_",
    transformers="deit",
  ),
  "deit3": _Family(
    vit.Design(layer_scale=True, embed_prefix=False),
    {"crop": 0.9},
    """base_patch16_224 base_patch16_384 huge_patch14_224 large_patch16_224
    large_patch16_384 medium_patch16_224 small_patch16_224
    small_patch16_384""",
    start="deit3_",
  ),
  "flexivit": _Family(
    vit.Design(image_size=240, embed_prefix=False),
    {**_HALF, "crop": 0.95},
    "base large small",
    start="flexivit_",
    resample=None,
  ),
  "vit_dinov2": _Family(
    vit.Design(patch_size=14, image_size=518, layer_scale=True),
    {"crop": 1.0},
    "base_patch14_dinov2 giant_patch14_dinov2 large_patch14_dinov2 "
    "small_patch14_dinov2",
    transformers="dinov2",
  ),
  "vit_dinov2_reg": _Family(
    vit.Design(
      patch_size=14,
      image_size=518,
      layer_scale=True,
      registers=4,
      embed_prefix=False,
    ),
    {"crop": 1.0},
    "base_patch14_reg4_dinov2 giant_patch14_reg4_dinov2 "
    "large_patch14_reg4_dinov2 small_patch14_reg4_dinov2",
    transformers="dinov2_with_registers",
  ),
  "vit_tipsv2": _Family(
    vit.Design(
      patch_size=14,
      image_size=448,
      layer_scale=True,
      registers=1,
      embed_prefix=False,
    ),
    {**_RAW, "crop": 1.0},
    "base_patch14_reg1_tipsv2 giant_patch14_reg1_tipsv2 "
    "large_patch14_reg1_tipsv2 so400m_patch14_reg1_tipsv2",
  ),
  "vit_radio": _Family(
    vit.Design(image_size=512, registers=7, embed_prefix=False, norm=""),
    {**_CLIP, "crop": 1.0},
    """base_patch16_radio_v3 giant_patch16_radio_v3 huge_patch16_radio_v3
    huge_patch16_radio_v4 large_patch16_radio_v3 so400m_patch16_radio_v4""",
    resample=None,
  ),
  "vit_intern": _Family(
    vit.Design(patch_size=14, image_size=448, layer_scale=True, norm=""),
    {"crop": 1.0},
    "intern300m_patch14_448",
  ),
  "vit_gap": _Family(
    vit.Design(image_size=256, class_token=False, layer_scale=True),
    {**_HALF, "crop": 0.95},
    """medium_patch16_gap_240 medium_patch16_gap_256 medium_patch16_gap_384
    betwixt_patch16_reg1_gap_256 betwixt_patch16_reg4_gap_256
    betwixt_patch16_reg4_gap_384 little_patch16_reg1_gap_256
    little_patch16_reg4_gap_256 medium_patch16_reg1_gap_256
    medium_patch16_reg4_gap_256 mediumd_patch16_reg4_gap_256
    mediumd_patch16_reg4_gap_384 wee_patch16_reg1_gap_256
    so150m_patch16_reg4_gap_256 so150m_patch16_reg4_gap_384
    so150m2_patch16_reg1_gap_256 so150m2_patch16_reg1_gap_384
    so150m2_patch16_reg1_gap_448""",
  ),
  "vit_ijepa": _Family(
    vit.Design(width=1280, depth=32, mlp_width=5120, class_token=False),
    {"crop": 0.9},
    "giant_patch16_gap_224 huge_patch14_gap_224 huge_patch16_gap_448",
  ),
  "vit_rpn": _Family(
    vit.Design(
      class_token=False, post_norm=True, qkv_bias=False, norm="fc_norm"
    ),
    {**_HALF, "crop": 0.9},
    "base_patch16_rpn_224",
  ),
  "eva_large": _Family(
    vit.Design(
      width=1024,
      depth=24,
      mlp_width=4096,
      patch_size=14,
      image_size=196,
      pool="avg",
      norm="fc_norm",
    ),
    {**_CLIP, "crop": 1.0},
    "large_patch14_196 large_patch14_336",
    start="eva_",
  ),
  "beit3": _Family(
    vit.Design(pool="avg", norm="fc_norm", norm_eps=1e-5, inner_norms=True),
    {"crop": 1.0},
    "base_patch16_224 large_patch16_224",
    start="beit3_",
  ),
  "vit_clip": _Family(
    vit.Design(norm_eps=1e-5, pre_norm=True, patch_bias=False),
    {**_CLIP, "crop": 1.0},
    """base_patch16_clip_224 base_patch16_clip_384 base_patch16_plus_clip_240
    base_patch32_clip_224 base_patch32_clip_256 base_patch32_clip_384
    base_patch32_clip_448 betwixt_patch32_clip_224 giant_patch14_clip_224
    gigantic_patch14_clip_224 gigantic_patch14_clip_378 huge_patch14_clip_224
    huge_patch14_clip_336 huge_patch14_clip_378 large_patch14_clip_224
    large_patch14_clip_336 medium_patch16_clip_224 medium_patch32_clip_224
    xsmall_patch16_clip_224""",
    projects=True,
  ),
  "vit_clip_quickgelu": _Family(
    vit.Design(
      norm_eps=1e-5, pre_norm=True, patch_bias=False, activation="quick_gelu"
    ),
    {**_CLIP, "crop": 1.0},
    _QUICK_CLIP.replace("{}", "clip_quickgelu_"),
    # timm has one repository for both names.
    configured=_QUICK_CLIP.replace("{}", "clip_"),
    projects=True,
  ),
  "vit_siglip": _Family(
    vit.Design(class_token=False, pool="map"),
    {**_HALF, "crop": 0.9},
    """base_patch16_siglip_224 base_patch16_siglip_256 base_patch16_siglip_384
    base_patch16_siglip_512 large_patch16_siglip_256 large_patch16_siglip_384
    so400m_patch14_siglip_224 so400m_patch14_siglip_378
    so400m_patch14_siglip_384""",
  ),
  "vit_siglip_tanh": _Family(
    vit.Design(class_token=False, pool="map", activation="gelu_tanh"),
    {**_HALF, "crop": 0.9},
    """base_patch32_siglip_256 large_patch16_siglip_512
    so400m_patch16_siglip_256 so400m_patch16_siglip_384
    so400m_patch16_siglip_512""",
  ),
  "vit_siglip_giantopt": _Family(
    vit.Design(
      width=1536,
      depth=40,
      mlp_width=6144,
      image_size=256,
      num_heads=16,
      class_token=False,
      pool="map",
      activation="gelu_tanh",
    ),
    {**_HALF, "crop": 0.9},
    "giantopt_patch16_siglip_256 giantopt_patch16_siglip_384",
  ),
  "vit_siglip_gap": _Family(
    vit.Design(class_token=False, pool="avg"),
    {**_HALF, "crop": 0.9},
    """base_patch16_siglip_gap_224 base_patch16_siglip_gap_256
    base_patch16_siglip_gap_384 base_patch16_siglip_gap_512
    large_patch16_siglip_gap_256 large_patch16_siglip_gap_384
    so400m_patch14_siglip_gap_224 so400m_patch14_siglip_gap_378
    so400m_patch14_siglip_gap_384 so400m_patch14_siglip_gap_448
    so400m_patch14_siglip_gap_896""",
  ),
  "vit_siglip_gap_tanh": _Family(
    vit.Design(class_token=False, pool="avg", activation="gelu_tanh"),
    {**_HALF, "crop": 0.9},
    """base_patch32_siglip_gap_256 large_patch16_siglip_gap_512
    so400m_patch16_siglip_gap_256 so400m_patch16_siglip_gap_384
    so400m_patch16_siglip_gap_512""",
  ),
  "vit_siglip_gap_giantopt": _Family(
    vit.Design(
      width=1536,
      depth=40,
      mlp_width=6144,
      image_size=256,
      num_heads=16,
      class_token=False,
      pool="avg",
      activation="gelu_tanh",
    ),
    {**_HALF, "crop": 0.9},
    "giantopt_patch16_siglip_gap_256 giantopt_patch16_siglip_gap_384",
  ),
  "aimv2": _Family(
    vit.Design(
      width=1024,
      depth=24,
      mlp_width=2816,
      patch_size=14,
      head_width=128,
      activation="silu",
      mlp="gated",
      class_token=False,
      norm_eps=1e-5,
      rms_norm=True,
      patch_norm=True,
      qkv_bias=False,
      proj_bias=False,
    ),
    {**_CLIP, "crop": 1.0},
    """1b_patch14_224 1b_patch14_336 1b_patch14_448 3b_patch14_224
    3b_patch14_336 3b_patch14_448 huge_patch14_224 huge_patch14_336
    huge_patch14_448 large_patch14_224 large_patch14_336 large_patch14_448""",
    start="aimv2_",
  ),
  # timm's for its own tests, of half a million parameters, with weights.
  "test_vit": _Family(
    vit.Design(width=64, depth=6, mlp_width=192, image_size=160, head_width=32),
    {**_HALF, "crop": 0.95},
    "vit vit2",
    start="test_",
  ),
  "test_vit3": _Family(
    vit.Design(
      width=96,
      depth=9,
      mlp_width=192,
      image_size=160,
      head_width=32,
      class_token=False,
      registers=1,
      layer_scale=True,
      pool="map",
      pool_prefix=True,
    ),
    {**_HALF, "crop": 0.95},
    "vit3",
    start="test_",
  ),
}


def _stated(usual: vit.Design, **changes: Any) -> dict[str, Any]:
  """Returns what configurations state of a design, by their keys."""
  design = dataclasses.replace(usual, **changes)
  return {
    # transformers' names
    "hidden_size": design.width,
    "intermediate_size": design.mlp_width,
    "num_hidden_layers": design.depth,
    "image_size": design.image_size,
    "num_register_tokens": design.registers,
    "use_swiglu_ffn": design.mlp != "plain",
    # timm's
    "embed_dim": design.width,
    "depth": design.depth,
    "img_size": design.image_size,
    "class_token": design.class_token,
    "reg_tokens": design.registers,
    "no_embed_class": not design.embed_prefix,
    "pre_norm": design.pre_norm,
    "final_norm": bool(design.norm),
    "fc_norm": design.norm == "fc_norm",
    "proj_bias": design.proj_bias,
    "scale_attn_norm": design.inner_norms,
    "scale_mlp_norm": design.inner_norms,
    # of both
    "patch_size": design.patch_size,
    "qkv_bias": design.qkv_bias,
  }


def _row(family: _Family, fixed: tuple[str, ...] = ()) -> Architecture:
  design = family.design
  return Architecture(
    build=functools.partial(vit.VisionTransformer, design),
    head="head.weight",
    preprocessing=imagenet(
      **{"image_size": design.image_size, **family.images}
    ),
    min_image_size=design.image_size,
    fixed_image_size=True,
    names=vit_files.NAMES,
    options=("norm_eps", "num_heads", "activation", "pool", "image_size"),
    stated=functools.partial(_stated, design),
    timm=tuple(family.start + name for name in family.timm.split()),
    configured=tuple(family.start + name for name in family.configured.split()),
    transformers=family.transformers,
    pool=None,
    infer=functools.partial(vit_files.infer, usual=design, fixed=fixed),
    adapt=functools.partial(
      vit_files.adapt, usual=design, resample=family.resample
    ),
    projects=family.projects,
  )


ARCHITECTURES: dict[str, Architecture] = {
  f"vit_{name}_16": _row(
    _Family(
      vit.Design(width=width, mlp_width=4 * width),
      # timm's evaluation of Google's weights.
      {**_HALF, "crop": 0.9},
      f"vit_{name}_patch16_224",
      start="",
      transformers="vit",
    ),
    vit_files.SIZES,
  )
  for name, width in (("small", 384), ("base", 768))
} | {name: _row(family) for name, family in _FAMILIES.items()}
