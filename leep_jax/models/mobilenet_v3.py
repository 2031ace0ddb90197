"""MobileNet V3 and its relatives: HardCoRe-NAS, FBNet V3, PP-LCNet.

Designs of `efficientnet.EfficientNet` whose last layer before the head comes
after pooling: its outputs are the features.

References: Howard et al., Searching for MobileNetV3, 2019; Nayman et al.,
HardCoRe-NAS, 2021; Dai et al., FBNetV3, 2021; Cui et al., PP-LCNet, 2021. The
blocks' strings, the factors and the preprocessing are facts of timm 1.0.31
(`models/mobilenetv3.py`, `models/hardcorenas.py`).
"""

import dataclasses
from typing import Any

from leep_jax.models.block_strings import rounded
from leep_jax.models.efficientnet import INCEPTION, Design, row, twins
from leep_jax.models.mobile_layers import Squeeze

_LARGE_STAGES = (
  "ds_r1_k3_s1_e1_c16_nre",
  "ir_r1_k3_s2_e4_c24_nre ir_r1_k3_s1_e3_c24_nre",
  "ir_r3_k5_s2_e3_c40_se0.25_nre",
  "ir_r1_k3_s2_e6_c80 ir_r1_k3_s1_e2.5_c80 ir_r2_k3_s1_e2.3_c80",
  "ir_r2_k3_s1_e6_c112_se0.25",
  "ir_r3_k5_s2_e6_c160_se0.25",
  "cn_r1_k1_s1_c960",
)
_SMALL_STAGES = (
  "ds_r1_k3_s2_e1_c16_se0.25_nre",
  "ir_r1_k3_s2_e4.5_c24_nre ir_r1_k3_s1_e3.67_c24_nre",
  "ir_r1_k5_s2_e4_c40_se0.25 ir_r2_k5_s1_e6_c40_se0.25",
  "ir_r2_k5_s1_e3_c48_se0.25",
  "ir_r3_k5_s2_e6_c96_se0.25",
  "cn_r1_k1_s1_c576",
)
# Without squeeze-and-excitation, larger kernels and hard swish.
_LARGE_MINIMAL_STAGES = (
  "ds_r1_k3_s1_e1_c16",
  "ir_r1_k3_s2_e4_c24 ir_r1_k3_s1_e3_c24",
  "ir_r3_k3_s2_e3_c40",
  "ir_r1_k3_s2_e6_c80 ir_r1_k3_s1_e2.5_c80 ir_r2_k3_s1_e2.3_c80",
  "ir_r2_k3_s1_e6_c112",
  "ir_r3_k3_s2_e6_c160",
  "cn_r1_k1_s1_c960",
)
_SMALL_MINIMAL_STAGES = (
  "ds_r1_k3_s2_e1_c16",
  "ir_r1_k3_s2_e4.5_c24 ir_r1_k3_s1_e3.67_c24",
  "ir_r1_k3_s2_e4_c40 ir_r2_k3_s1_e6_c40",
  "ir_r2_k3_s1_e3_c48",
  "ir_r3_k3_s2_e6_c96",
  "cn_r1_k1_s1_c576",
)
_SQUEEZE = Squeeze(hard=True, activation="relu", of_expanded=True, divisor=8)


def _design(stages, *, width=1.0, depth=1.0, features=1280):
  return Design(
    stages,
    "hard_swish",
    width=width,
    depth=depth,
    # Narrow networks keep the channels of the stem.
    stem=16 if width < 0.75 else rounded(16 * width),
    features=features,
    pooled=True,
    squeeze=_SQUEEZE,
  )


def _minimal(stages, features):
  # Only TensorFlow's weights exist.
  return dataclasses.replace(
    _design(stages, features=features),
    activation="relu",
    norm_eps=1e-3,
    tf_padding=True,
  )


_BILINEAR: dict[str, Any] = {"interpolation": "bilinear"}
_V3 = {
  "mobilenetv3_large_100": row(
    _design(_LARGE_STAGES), *twins("mobilenetv3_large_100")
  ),
  "mobilenetv3_large_075": row(
    _design(_LARGE_STAGES, width=0.75),
    *twins("mobilenetv3_large_075"),
    **_BILINEAR,
  ),
  "mobilenetv3_large_150d": row(
    _design(_LARGE_STAGES, width=1.5, depth=1.2),
    "mobilenetv3_large_150d",
    image_size=256,
    crop=0.95,
    **_BILINEAR,
    **INCEPTION,
  ),
  **{
    f"mobilenetv3_small_{percent:03}": row(
      _design(_SMALL_STAGES, width=percent / 100, features=1024),
      # None of width 0.5 was published by TensorFlow.
      *twins(f"mobilenetv3_small_{percent:03}")[: 1 if percent == 50 else 2],
    )
    for percent in (100, 75, 50)
  },
  **{
    f"tf_mobilenetv3_{name}": row(
      _minimal(stages, features),
      f"tf_mobilenetv3_{name}",
      **_BILINEAR,
      **INCEPTION,
    )
    for name, stages, features in (
      ("large_minimal_100", _LARGE_MINIMAL_STAGES, 1280),
      ("small_minimal_100", _SMALL_MINIMAL_STAGES, 1024),
    )
  },
  # From before the authors published theirs.
  "mobilenetv3_rw": row(
    Design(
      ("ds_r1_k3_s1_e1_c16_nre_noskip", *_LARGE_STAGES[1:]),
      "hard_swish",
      stem=16,
      pooled=True,
      head_bias=False,
      squeeze=Squeeze(hard=True, of_expanded=True),
      norm_eps=1e-3,
    ),
    "mobilenetv3_rw",
  ),
}

_HARDCORE_STAGES = {
  "a": (
    "ir_r1_k5_s2_e3_c24_nre ir_r1_k5_s1_e3_c24_nre_se0.25",
    "ir_r1_k5_s2_e3_c40_nre ir_r1_k5_s1_e6_c40_nre_se0.25",
    "ir_r2_k5_s2_e6_c80_se0.25",
    "ir_r2_k5_s1_e6_c112_se0.25",
    "ir_r2_k5_s2_e6_c192_se0.25",
  ),
  "b": (
    "ir_r1_k5_s2_e3_c24_nre ir_r1_k5_s1_e3_c24_nre_se0.25"
    " ir_r1_k3_s1_e3_c24_nre",
    "ir_r3_k5_s2_e3_c40_nre",
    "ir_r2_k5_s2_e3_c80 ir_r2_k3_s1_e3_c80",
    "ir_r1_k5_s1_e3_c112 ir_r3_k3_s1_e3_c112",
    "ir_r2_k5_s2_e6_c192_se0.25 ir_r1_k3_s1_e3_c192_se0.25",
  ),
  "c": (
    "ir_r1_k5_s2_e3_c24_nre ir_r1_k5_s1_e3_c24_nre_se0.25",
    "ir_r4_k5_s2_e3_c40_nre",
    "ir_r1_k5_s2_e4_c80 ir_r1_k5_s1_e6_c80_se0.25 ir_r2_k3_s1_e3_c80",
    "ir_r1_k5_s1_e6_c112_se0.25 ir_r3_k3_s1_e3_c112",
    "ir_r2_k5_s2_e6_c192_se0.25 ir_r1_k3_s1_e3_c192_se0.25",
  ),
  "d": (
    "ir_r2_k5_s2_e3_c24_nre_se0.25",
    "ir_r1_k5_s2_e3_c40_nre_se0.25 ir_r1_k5_s1_e4_c40_nre_se0.25"
    " ir_r1_k3_s1_e3_c40_nre_se0.25",
    "ir_r1_k5_s2_e4_c80_se0.25 ir_r3_k3_s1_e3_c80_se0.25",
    "ir_r1_k3_s1_e4_c112_se0.25 ir_r1_k5_s1_e4_c112_se0.25"
    " ir_r1_k3_s1_e3_c112_se0.25 ir_r1_k5_s1_e3_c112_se0.25",
    "ir_r3_k5_s2_e6_c192_se0.25 ir_r1_k3_s1_e6_c192_se0.25",
  ),
  "e": (
    "ir_r2_k5_s2_e3_c24_nre_se0.25",
    "ir_r1_k5_s2_e6_c40_nre_se0.25 ir_r2_k5_s1_e4_c40_nre_se0.25"
    " ir_r1_k3_s1_e3_c40_nre_se0.25",
    "ir_r1_k5_s2_e4_c80_se0.25 ir_r1_k3_s1_e6_c80_se0.25",
    "ir_r3_k5_s1_e6_c112_se0.25 ir_r1_k5_s1_e3_c112_se0.25",
    "ir_r3_k5_s2_e6_c192_se0.25 ir_r1_k3_s1_e6_c192_se0.25",
  ),
  "f": (
    "ir_r2_k5_s2_e3_c24_nre_se0.25",
    "ir_r2_k5_s2_e6_c40_nre_se0.25",
    "ir_r2_k5_s2_e6_c80_se0.25 ir_r2_k3_s1_e3_c80_se0.25",
    "ir_r1_k3_s1_e6_c112_se0.25 ir_r2_k5_s1_e6_c112_se0.25"
    " ir_r1_k3_s1_e3_c112_se0.25",
    "ir_r2_k5_s2_e6_c192_se0.25 ir_r2_k3_s1_e6_c192_se0.25",
  ),
}
_HARDCORE = {
  f"hardcorenas_{name}": row(
    dataclasses.replace(
      _design(("ds_r1_k3_s1_e1_c16_nre", *stages, "cn_r1_k1_s1_c960")), stem=32
    ),
    f"hardcorenas_{name}",
    **_BILINEAR,
  )
  for name, stages in _HARDCORE_STAGES.items()
}

# Channels of the stem, image size and stages.
_FBNET = {
  "b": (
    16,
    224,
    (
      "ds_r2_k3_s1_e1_c16",
      "ir_r1_k5_s2_e4_c24 ir_r3_k5_s1_e2_c24",
      "ir_r1_k5_s2_e5_c40_se0.25 ir_r4_k5_s1_e3_c40_se0.25",
      "ir_r1_k5_s2_e5_c72 ir_r4_k3_s1_e3_c72",
      "ir_r1_k3_s1_e5_c120_se0.25 ir_r5_k5_s1_e3_c120_se0.25",
      "ir_r1_k3_s2_e6_c184_se0.25 ir_r5_k5_s1_e4_c184_se0.25"
      " ir_r1_k5_s1_e6_c224_se0.25",
      "cn_r1_k1_s1_c1344",
    ),
  ),
  "d": (
    24,
    224,
    (
      "ds_r2_k3_s1_e1_c16",
      "ir_r1_k3_s2_e5_c24 ir_r5_k3_s1_e2_c24",
      "ir_r1_k5_s2_e4_c40_se0.25 ir_r4_k3_s1_e3_c40_se0.25",
      "ir_r1_k3_s2_e5_c72 ir_r4_k3_s1_e3_c72",
      "ir_r1_k3_s1_e5_c128_se0.25 ir_r6_k5_s1_e3_c128_se0.25",
      "ir_r1_k3_s2_e6_c208_se0.25 ir_r5_k5_s1_e5_c208_se0.25"
      " ir_r1_k5_s1_e6_c240_se0.25",
      "cn_r1_k1_s1_c1440",
    ),
  ),
  "g": (
    32,
    240,
    (
      "ds_r3_k3_s1_e1_c24",
      "ir_r1_k5_s2_e4_c40 ir_r4_k5_s1_e2_c40",
      "ir_r1_k5_s2_e4_c56_se0.25 ir_r4_k5_s1_e3_c56_se0.25",
      "ir_r1_k5_s2_e5_c104 ir_r4_k3_s1_e3_c104",
      "ir_r1_k3_s1_e5_c160_se0.25 ir_r8_k5_s1_e3_c160_se0.25",
      "ir_r1_k3_s2_e6_c264_se0.25 ir_r6_k5_s1_e5_c264_se0.25"
      " ir_r2_k5_s1_e6_c288_se0.25",
      "cn_r1_k1_s1_c1728",
    ),
  ),
}
_FBNET_V3 = {
  f"fbnetv3_{name}": row(
    Design(
      stages,
      "hard_swish",
      smallest=0.95,
      stem=stem,
      features=1984,
      pooled=True,
      head_bias=False,
      squeeze=Squeeze(hard=True, divisor=8, smallest=0.95),
    ),
    f"fbnetv3_{name}",
    image_size=size,
    crop=0.95,
    **_BILINEAR,
  )
  for name, (stem, size, stages) in _FBNET.items()
}

_LCNET_STAGES = (
  "dsa_r1_k3_s1_c32",
  "dsa_r2_k3_s2_c64",
  "dsa_r2_k3_s2_c128",
  "dsa_r1_k3_s2_c256 dsa_r1_k5_s1_c256",
  "dsa_r4_k5_s1_c256",
  "dsa_r2_k5_s2_c512_se0.25",
)
_LCNET = {
  f"lcnet_{percent:03}": row(
    Design(
      _LCNET_STAGES,
      "hard_swish",
      width=percent / 100,
      stem=rounded(16 * percent / 100),
      pooled=True,
      squeeze=Squeeze(hard=True, activation="relu"),
    ),
    f"lcnet_{percent:03}",
  )
  for percent in (100, 75, 50)
}

ARCHITECTURES = {**_V3, **_HARDCORE, **_FBNET_V3, **_LCNET}
