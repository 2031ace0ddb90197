"""Small networks found by search: MNASNet, FBNet-C, MixNet, TinyNet and others.

Designs of `efficientnet.EfficientNet`.

References: Tan et al., MnasNet, 2019; Stamoulis et al., Single-Path NAS, 2019;
Wu et al., FBNet, 2019; Tan & Le, MixConv, 2019; Han et al., Model Rubik's Cube
(TinyNet), 2020. The blocks' strings, the factors and the preprocessing are
facts of timm 1.0.31 (`models/efficientnet.py`).
"""

from typing import Any

from leep_jax.models import efficientnet
from leep_jax.models.block_strings import rounded
from leep_jax.models.efficientnet import INCEPTION, Design, row, twins

_B1_STAGES = (
  "ds_r1_k3_s1_c16_noskip",
  "ir_r3_k3_s2_e3_c24",
  "ir_r3_k5_s2_e3_c40",
  "ir_r3_k5_s2_e6_c80",
  "ir_r2_k3_s1_e6_c96",
  "ir_r4_k5_s2_e6_c192",
  "ir_r1_k3_s1_e6_c320_noskip",
)
# With squeeze-and-excitation.
_A1_STAGES = (
  "ds_r1_k3_s1_e1_c16_noskip",
  "ir_r2_k3_s2_e6_c24",
  "ir_r3_k5_s2_e3_c40_se0.25",
  "ir_r4_k3_s2_e6_c80",
  "ir_r2_k3_s1_e6_c112_se0.25",
  "ir_r3_k5_s2_e6_c160_se0.25",
  "ir_r1_k3_s1_e6_c320",
)
_MNAS_SMALL_STAGES = (
  "ds_r1_k3_s1_c8",
  "ir_r1_k3_s2_e3_c16",
  "ir_r2_k3_s2_e6_c16",
  "ir_r4_k5_s2_e6_c32_se0.25",
  "ir_r3_k3_s1_e6_c32_se0.25",
  "ir_r3_k5_s2_e6_c88_se0.25",
  "ir_r1_k3_s1_e6_c144",
)
_SINGLE_PATH_STAGES = (
  "ds_r1_k3_s1_c16_noskip",
  "ir_r3_k3_s2_e3_c24",
  "ir_r1_k5_s2_e6_c40 ir_r3_k3_s1_e3_c40",
  "ir_r1_k5_s2_e6_c80 ir_r3_k3_s1_e3_c80",
  "ir_r1_k5_s1_e6_c96 ir_r3_k5_s1_e3_c96",
  "ir_r4_k5_s2_e6_c192",
  "ir_r1_k3_s1_e6_c320_noskip",
)
_FBNET_C_STAGES = (
  "ir_r1_k3_s1_e1_c16",
  "ir_r1_k3_s2_e6_c24 ir_r2_k3_s1_e1_c24",
  "ir_r1_k5_s2_e6_c32 ir_r1_k5_s1_e3_c32 ir_r1_k5_s1_e6_c32 ir_r1_k3_s1_e6_c32",
  "ir_r1_k5_s2_e6_c64 ir_r1_k5_s1_e3_c64 ir_r2_k5_s1_e6_c64",
  "ir_r3_k5_s1_e6_c112 ir_r1_k5_s1_e3_c112",
  "ir_r4_k5_s2_e6_c184",
  "ir_r1_k3_s1_e6_c352",
)
_MIX_S_STAGES = (
  "ds_r1_k3_s1_e1_c16",
  "ir_r1_k3_a1.1_p1.1_s2_e6_c24 ir_r1_k3_a1.1_p1.1_s1_e3_c24",
  "ir_r1_k3.5.7_s2_e6_c40_se0.5_nsw ir_r3_k3.5_a1.1_p1.1_s1_e6_c40_se0.5_nsw",
  "ir_r1_k3.5.7_p1.1_s2_e6_c80_se0.25_nsw ir_r2_k3.5_p1.1_s1_e6_c80_se0.25_nsw",
  "ir_r1_k3.5.7_a1.1_p1.1_s1_e6_c120_se0.5_nsw"
  " ir_r2_k3.5.7.9_a1.1_p1.1_s1_e3_c120_se0.5_nsw",
  "ir_r1_k3.5.7.9.11_s2_e6_c200_se0.5_nsw"
  " ir_r2_k3.5.7.9_p1.1_s1_e6_c200_se0.5_nsw",
)
_MIX_M_STAGES = (
  "ds_r1_k3_s1_e1_c24",
  "ir_r1_k3.5.7_a1.1_p1.1_s2_e6_c32 ir_r1_k3_a1.1_p1.1_s1_e3_c32",
  "ir_r1_k3.5.7.9_s2_e6_c40_se0.5_nsw ir_r3_k3.5_a1.1_p1.1_s1_e6_c40_se0.5_nsw",
  "ir_r1_k3.5.7_s2_e6_c80_se0.25_nsw"
  " ir_r3_k3.5.7.9_a1.1_p1.1_s1_e6_c80_se0.25_nsw",
  "ir_r1_k3_s1_e6_c120_se0.5_nsw ir_r3_k3.5.7.9_a1.1_p1.1_s1_e3_c120_se0.5_nsw",
  "ir_r1_k3.5.7.9_s2_e6_c200_se0.5_nsw"
  " ir_r3_k3.5.7.9_p1.1_s1_e6_c200_se0.5_nsw",
)


def _edge_v2(channels, group):
  """The stages of a MobileNet for Edge TPUs; some convolve by groups."""
  c = channels
  return (
    f"cn_r1_k1_s1_c{c[0]}",
    f"er_r1_k3_s2_e8_c{c[1]} er_r1_k3_s1_e4_gs{group}_c{c[1]}",
    f"er_r1_k3_s2_e8_c{c[2]} er_r1_k3_s1_e4_gs{group}_c{c[2]}"
    f" er_r1_k3_s1_e4_c{c[2]} er_r1_k3_s1_e4_gs{group}_c{c[2]}",
    f"er_r1_k3_s2_e8_c{c[3]} ir_r3_k3_s1_e4_c{c[3]}",
    f"ir_r1_k3_s1_e8_c{c[4]} ir_r3_k3_s1_e4_c{c[4]}",
    f"ir_r1_k3_s2_e8_c{c[5]} ir_r3_k3_s1_e4_c{c[5]}",
    f"ir_r1_k3_s1_e8_c{c[6]}",
  )


def _mixed(stages, *, stem, width=1.0, depth=1.0):
  return Design(
    stages, "relu", width=width, depth=depth, nearest=True,
    stem=rounded(stem * width), features=1536,
  )  # fmt: skip


_BILINEAR: dict[str, Any] = {"interpolation": "bilinear"}
_MNAS = {
  **{
    f"{name}_{percent:03}": row(
      Design(
        stages,
        "relu",
        width=percent / 100,
        stem=rounded(32 * percent / 100),
      ),
      f"{name}_{percent:03}",
    )
    for name, stages in (("mnasnet", _B1_STAGES), ("semnasnet", _A1_STAGES))
    for percent in (100, 75, 50, 140)
  },
  "mnasnet_small": row(
    Design(_MNAS_SMALL_STAGES, "relu", stem=8), "mnasnet_small"
  ),
  "spnasnet_100": row(
    Design(_SINGLE_PATH_STAGES, "relu"), "spnasnet_100", **_BILINEAR
  ),
  "fbnetc_100": row(
    # timm sets this epsilon in code, if it loads weights.
    Design(_FBNET_C_STAGES, "relu", stem=16, features=1984, norm_eps=1e-3),
    "fbnetc_100",
    **_BILINEAR,
  ),
}
_MIX = {
  "mixnet_s": row(_mixed(_MIX_S_STAGES, stem=16), *twins("mixnet_s")),
  "mixnet_m": row(_mixed(_MIX_M_STAGES, stem=24), *twins("mixnet_m")),
  "mixnet_l": row(
    _mixed(_MIX_M_STAGES, stem=24, width=1.3), *twins("mixnet_l")
  ),
  "mixnet_xl": row(
    _mixed(_MIX_M_STAGES, stem=24, width=1.6, depth=1.2), "mixnet_xl"
  ),
}
_TINY = {
  f"tinynet_{name}": row(
    Design(efficientnet.STAGES, "silu", width=width, depth=depth, nearest=True),
    f"tinynet_{name}",
    image_size=size,
  )
  for name, width, depth, size in (
    ("a", 1.0, 1.2, 192),
    ("b", 0.75, 1.1, 188),
    ("c", 0.54, 0.85, 184),
    ("d", 0.54, 0.695, 152),
    ("e", 0.51, 0.6, 106),
  )
}
_EDGE = {
  "mobilenet_edgetpu_v2_m": row(
    Design(
      _edge_v2((32, 64, 80, 160, 192, 240, 320), 64),
      "relu",
      stem=64,
      stem_kernel=5,
      features=1344,
    ),
    "mobilenet_edgetpu_v2_m",
    crop=0.9,
    **INCEPTION,
  ),
}
_TEST = {
  "test_efficientnet": row(
    Design(
      (
        "cn_r1_k3_s1_e1_c16_skip",
        "er_r1_k3_s2_e4_c24",
        "er_r1_k3_s2_e4_c32",
        "ir_r1_k3_s2_e4_c48_se0.25",
        "ir_r1_k3_s2_e4_c64_se0.25",
      ),
      "silu",
      smallest=0,
      stem=24,
      features=256,
    ),
    "test_efficientnet",
    image_size=160,
    crop=0.95,
  ),
}
ARCHITECTURES = {**_MNAS, **_MIX, **_TINY, **_EDGE, **_TEST}
