"""EfficientNets V2, X and H: designs of `efficientnet.EfficientNet`.

References: Tan & Le, EfficientNetV2, 2021; Li et al., Searching for Fast Model
Families on Datacenter Accelerators, 2021. The blocks' strings, the factors and
the preprocessing are facts of timm 1.0.31 (`models/efficientnet.py`).
"""

import dataclasses
from typing import Any

from leep_jax.models.block_strings import rounded
from leep_jax.models.efficientnet import INCEPTION, Design, row, twins
from leep_jax.models.mobile_layers import Squeeze

_V2_B_STAGES = (
  "cn_r1_k3_s1_e1_c16_skip",
  "er_r2_k3_s2_e4_c32",
  "er_r2_k3_s2_e4_c48",
  "ir_r3_k3_s2_e4_c96_se0.25",
  "ir_r5_k3_s1_e6_c112_se0.25",
  "ir_r8_k3_s2_e6_c192_se0.25",
)
# Factors of width and depth, image size, crop and other fields.
_V2_B: dict[str, tuple[float, float, int, float, dict[str, Any]]] = {
  "b0": (1.0, 1.0, 192, 0.875, {}),
  "b1": (1.0, 1.1, 192, 0.882, {}),
  "b2": (1.1, 1.2, 208, 0.89, {}),
  "b3": (1.2, 1.4, 240, 0.9, {"crop_mode": "squash", **INCEPTION}),
}
_S_STAGES = (
  "cn_r2_k3_s1_e1_c24_skip",
  "er_r4_k3_s2_e4_c48",
  "er_r4_k3_s2_e4_c64",
  "ir_r6_k3_s2_e4_c128_se0.25",
  "ir_r9_k3_s1_e6_c160_se0.25",
  "ir_r15_k3_s2_e6_c256_se0.25",
)
# From before the authors published theirs.
_RW_STAGES = (
  "er_r2_k3_s1_e1_c24",
  *_S_STAGES[1:-1],
  "ir_r15_k3_s2_e6_c272_se0.25",
)
_M_STAGES = (
  "cn_r3_k3_s1_e1_c24_skip",
  "er_r5_k3_s2_e4_c48",
  "er_r5_k3_s2_e4_c80",
  "ir_r7_k3_s2_e4_c160_se0.25",
  "ir_r14_k3_s1_e6_c176_se0.25",
  "ir_r18_k3_s2_e6_c304_se0.25",
  "ir_r5_k3_s1_e6_c512_se0.25",
)
_L_STAGES = (
  "cn_r4_k3_s1_e1_c32_skip",
  "er_r7_k3_s2_e4_c64",
  "er_r7_k3_s2_e4_c96",
  "ir_r10_k3_s2_e4_c192_se0.25",
  "ir_r19_k3_s1_e6_c224_se0.25",
  "ir_r25_k3_s2_e6_c384_se0.25",
  "ir_r7_k3_s1_e6_c640_se0.25",
)
_XL_STAGES = (
  "cn_r4_k3_s1_e1_c32_skip",
  "er_r8_k3_s2_e4_c64",
  "er_r8_k3_s2_e4_c96",
  "ir_r16_k3_s2_e4_c192_se0.25",
  "ir_r24_k3_s1_e6_c256_se0.25",
  "ir_r32_k3_s2_e6_c512_se0.25",
  "ir_r8_k3_s1_e6_c640_se0.25",
)
_X_STAGES = (
  # `d1`: folded, so that the first convolutions are of fewer pixels.
  "ds_r1_k3_s1_e1_c16_se0.25_d1",
  "er_r2_k3_s2_e6_c24_se0.25_nre",
  "er_r2_k5_s2_e6_c40_se0.25_nre",
  "ir_r3_k3_s2_e6_c80_se0.25",
  "ir_r3_k5_s1_e6_c112_se0.25",
  "ir_r4_k5_s2_e6_c192_se0.25",
  "ir_r1_k3_s1_e6_c320_se0.25",
)
_H_STAGES = (
  _X_STAGES[0],
  *(stage.replace("_e6_", "_e4_") for stage in _X_STAGES[1:4]),
  *_X_STAGES[4:],
)
_T = Design(
  _S_STAGES, "silu", width=0.8, depth=0.9, stem=24, features=rounded(1280 * 0.8)
)
ARCHITECTURES = {
  **{
    # Only TensorFlow's weights exist.
    f"tf_efficientnetv2_{name}": row(
      Design(
        _V2_B_STAGES,
        "silu",
        width=width,
        depth=depth,
        smallest=0,
        stem=rounded(32 * width, smallest=0),
        features=rounded(1280 * width, smallest=0),
        norm_eps=1e-3,
        tf_padding=True,
      ),
      f"tf_efficientnetv2_{name}",
      image_size=size,
      crop=crop,
      **extra,
    )
    for name, (width, depth, size, crop, extra) in _V2_B.items()
  },
  **{
    f"efficientnetv2_{name}": row(
      Design(stages, "silu", stem=stem),
      *twins(f"efficientnetv2_{name}"),
      image_size=size,
      crop=1.0,
    )
    for name, stages, stem, size in (
      ("s", _S_STAGES, 24, 288),
      ("m", _M_STAGES, 24, 320),
      ("l", _L_STAGES, 32, 384),
      ("xl", _XL_STAGES, 32, 384),
    )
  },
  **{
    name: row(design, name, image_size=size, crop=1.0)
    for name, design, size in (
      ("efficientnetv2_rw_t", _T, 224),
      (
        "gc_efficientnetv2_rw_t",
        dataclasses.replace(_T, squeeze=Squeeze(context=True)),
        224,
      ),
      (
        "efficientnetv2_rw_s",
        Design(_RW_STAGES, "silu", stem=24, features=1792),
        288,
      ),
      (
        "efficientnetv2_rw_m",
        Design(
          _RW_STAGES,
          "silu",
          width=1.2,
          depth=(1.2,) * 4 + (1.6,) * 2,
          stem=rounded(24 * 1.2),
          features=rounded(1792 * 1.2),
        ),
        320,
      ),
    )
  },
  **{
    f"efficientnet_{name}": row(
      Design(
        stages,
        "silu",
        width=width,
        depth=depth,
        stem=rounded(32 * width),
        features=rounded(1280 * width),
      ),
      f"efficientnet_{name}",
      image_size=size,
      crop=crop,
      crop_mode="center" if name == "x_b3" else "squash",
    )
    for name, stages, width, depth, size, crop in (
      ("x_b3", _X_STAGES, 1.2, 1.4, 288, 0.95),
      ("x_b5", _X_STAGES, 1.6, 2.2, 448, 1.0),
      ("h_b5", _H_STAGES, 1.92, 2.2, 448, 1.0),
    )
  },
}
