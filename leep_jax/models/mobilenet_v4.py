"""MobileNet V4 (Qin et al., 2024): convolutional ones, and hybrids.

Designs of `efficientnet.EfficientNet` with universal inverted blocks; hybrids
have attention, too. Some make images smaller by pooling. The blocks' strings,
the factors and the preprocessing are facts of timm 1.0.31
(`models/mobilenetv3.py`).
"""

import dataclasses

from leep_jax.models.block_strings import rounded
from leep_jax.models.efficientnet import INCEPTION, Design, row

_SMALL_STAGES = (
  "cn_r1_k3_s2_e1_c32 cn_r1_k1_s1_e1_c32",
  "cn_r1_k3_s2_e1_c96 cn_r1_k1_s1_e1_c64",
  "uir_r1_a5_k5_s2_e3_c96 uir_r4_a0_k3_s1_e2_c96 uir_r1_a3_k0_s1_e4_c96",
  "uir_r1_a3_k3_s2_e6_c128 uir_r1_a5_k5_s1_e4_c128 uir_r1_a0_k5_s1_e4_c128"
  " uir_r1_a0_k5_s1_e3_c128 uir_r2_a0_k3_s1_e4_c128",
  "cn_r1_k1_s1_c960",
)
_MEDIUM_STAGES = (
  "er_r1_k3_s2_e4_c48",
  "uir_r1_a3_k5_s2_e4_c80 uir_r1_a3_k3_s1_e2_c80",
  "uir_r1_a3_k5_s2_e6_c160 uir_r2_a3_k3_s1_e4_c160 uir_r1_a3_k5_s1_e4_c160"
  " uir_r1_a3_k3_s1_e4_c160 uir_r1_a3_k0_s1_e4_c160 uir_r1_a0_k0_s1_e2_c160"
  " uir_r1_a3_k0_s1_e4_c160",
  "uir_r1_a5_k5_s2_e6_c256 uir_r1_a5_k5_s1_e4_c256 uir_r2_a3_k5_s1_e4_c256"
  " uir_r1_a0_k0_s1_e4_c256 uir_r1_a3_k0_s1_e4_c256 uir_r1_a3_k5_s1_e2_c256"
  " uir_r1_a5_k5_s1_e4_c256 uir_r2_a0_k0_s1_e4_c256 uir_r1_a5_k0_s1_e2_c256",
  "cn_r1_k1_s1_c960",
)
_LARGE_STAGES = (
  "er_r1_k3_s2_e4_c48",
  "uir_r1_a3_k5_s2_e4_c96 uir_r1_a3_k3_s1_e4_c96",
  "uir_r1_a3_k5_s2_e4_c192 uir_r3_a3_k3_s1_e4_c192 uir_r1_a3_k5_s1_e4_c192"
  " uir_r5_a5_k3_s1_e4_c192 uir_r1_a3_k0_s1_e4_c192",
  "uir_r4_a5_k5_s2_e4_c512 uir_r1_a5_k0_s1_e4_c512 uir_r1_a5_k3_s1_e4_c512"
  " uir_r2_a5_k0_s1_e4_c512 uir_r1_a5_k3_s1_e4_c512 uir_r1_a5_k5_s1_e4_c512"
  " uir_r3_a5_k0_s1_e4_c512",
  "cn_r1_k1_s1_c960",
)


def _alternating(attention, blocks):
  """Blocks with attention before each."""
  return " ".join(f"{attention} {block}" for block in blocks)


_HYBRID_MEDIUM_STAGES = (
  *_MEDIUM_STAGES[:2],
  "uir_r1_a3_k5_s2_e6_c160 uir_r1_a0_k0_s1_e2_c160 uir_r1_a3_k3_s1_e4_c160"
  " uir_r1_a3_k5_s1_e4_c160 "
  + _alternating(
    "mqa_r1_k3_h4_s1_v2_d64_c160",
    ("uir_r1_a3_k3_s1_e4_c160", "uir_r1_a3_k0_s1_e4_c160") * 2,
  ),
  "uir_r1_a5_k5_s2_e6_c256 uir_r1_a5_k5_s1_e4_c256 uir_r2_a3_k5_s1_e4_c256"
  " uir_r1_a0_k0_s1_e2_c256 uir_r1_a3_k5_s1_e2_c256 uir_r1_a0_k0_s1_e2_c256"
  " uir_r1_a0_k0_s1_e4_c256 "
  + _alternating(
    "mqa_r1_k3_h4_s1_d64_c256",
    (
      "uir_r1_a3_k0_s1_e4_c256",
      "uir_r1_a5_k5_s1_e4_c256",
      "uir_r1_a5_k0_s1_e4_c256",
      "uir_r1_a5_k0_s1_e4_c256",
    ),
  ),
  "cn_r1_k1_s1_c960",
)
_HYBRID_LARGE_STAGES = (
  *_LARGE_STAGES[:2],
  "uir_r1_a3_k5_s2_e4_c192 uir_r3_a3_k3_s1_e4_c192 uir_r1_a3_k5_s1_e4_c192"
  " uir_r2_a5_k3_s1_e4_c192 "
  + _alternating(
    "mqa_r1_k3_h8_s1_v2_d48_c192",
    ("uir_r1_a5_k3_s1_e4_c192",) * 3 + ("uir_r1_a3_k0_s1_e4_c192",),
  ),
  "uir_r4_a5_k5_s2_e4_c512 uir_r1_a5_k0_s1_e4_c512 uir_r1_a5_k3_s1_e4_c512"
  " uir_r2_a5_k0_s1_e4_c512 uir_r1_a5_k3_s1_e4_c512 uir_r1_a5_k5_s1_e4_c512 "
  + _alternating("mqa_r1_k3_h8_s1_d64_c512", ("uir_r1_a5_k0_s1_e4_c512",) * 4),
  "cn_r1_k1_s1_c960",
)


def _design(stages, stem, *, width=1.0):
  return Design(
    stages,
    "relu",
    width=width,
    # Narrow networks keep the channels of the stem.
    stem=stem if width < 1 else rounded(stem * width),
    pooled=True,
    head_bias=False,
    head_norm=True,
  )


_SMALL = _design(_SMALL_STAGES, 32)
_MEDIUM = _design(_MEDIUM_STAGES, 32)
_LARGE = _design(_LARGE_STAGES, 24)
_HYBRID_MEDIUM = dataclasses.replace(
  _design(_HYBRID_MEDIUM_STAGES, 32), layer_scale=True
)
_HYBRID_LARGE = dataclasses.replace(
  _design(_HYBRID_LARGE_STAGES, 24), layer_scale=True, activation="gelu"
)
ARCHITECTURES = {
  f"mobilenetv4_{name}": row(
    design, f"mobilenetv4_{name}", image_size=size, crop=crop, **extra
  )
  for name, design, size, crop, extra in (
    ("conv_small", _SMALL, 224, 0.875, {}),
    (
      "conv_small_050",
      _design(_SMALL_STAGES, 32, width=0.5),
      224,
      0.875,
      INCEPTION,
    ),
    ("conv_medium", _MEDIUM, 256, 0.95, {}),
    ("conv_large", _LARGE, 384, 0.95, {}),
    (
      "conv_aa_medium",
      dataclasses.replace(_MEDIUM, pooling="average"),
      256,
      0.95,
      {},
    ),
    (
      "conv_blur_medium",
      dataclasses.replace(_MEDIUM, pooling="blur"),
      224,
      0.95,
      {},
    ),
    (
      "conv_aa_large",
      dataclasses.replace(_LARGE, pooling="average"),
      448,
      0.95,
      {},
    ),
    ("hybrid_medium", _HYBRID_MEDIUM, 256, 0.95, {}),
    ("hybrid_large", _HYBRID_LARGE, 384, 0.95, {}),
  )
}
