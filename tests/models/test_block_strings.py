"""Strings of blocks: what they say, and how networks are scaled."""

import publishers
import pytest

from leep_jax.models import block_strings


@pytest.mark.parametrize(
  ("text", "expected"),
  [
    (
      "ir_r3_k3.5_a1.1_p1.1_s2_e2.5_c40_se0.5_nsw_noskip",
      {"kind": "ir", "kernels": (3, 5), "first": (1, 1), "last": (1, 1),
       "stride": 2, "expansion": 2.5, "channels": 40, "squeezed": 0.5,
       "activation": "silu", "skip": False},
    ),
    (
      "er_r1_k3_s1_e4_c24_fc16_gs64",
      {"kind": "er", "expanded_from": 16, "group_size": 64, "channels": 24},
    ),
    (
      "mqa_r1_k3_h4_s1_v2_d64_c160",
      {"heads": 4, "head_size": 64, "key_stride": 2, "fold": False},
    ),
    ("ds_r1_k3_s1_c16_d1", {"fold": True, "head_size": 0, "skip": None}),
    ("cn_r2_k1_s1_c960_skip", {"kind": "cn", "skip": True, "kernels": (1,)}),
  ],
)  # fmt: skip
def test_options(text, expected):
  block, repeats = block_strings.parse(text)
  assert {key: getattr(block, key) for key in expected} == expected
  assert repeats == int(text.split("_r")[1][0])


@pytest.mark.parametrize("text", ["ir_r1_k3_c16_nxx", "ir_x", "ir_r1_kk3"])
def test_unknown_options(text):
  with pytest.raises(ValueError, match="unknown option"):
    block_strings.parse(text)


@pytest.mark.parametrize(
  ("channels", "options", "expected"),
  [
    (16 * 1.1, {}, 16),
    (24 * 0.35, {}, 8),
    (3, {}, 8),
    # 16 would be more than a tenth less than 18.
    (18, {}, 24),
    (18, {"smallest": 0}, 16),
    (17, {"smallest": 0.95}, 24),
    (40, {"divisor": 16}, 48),
  ],
)
def test_rounding(channels, options, expected):
  assert block_strings.rounded(channels, **options) == expected


def kinds(strings, **options):
  return [
    [block.channels for block in stage]
    for stage in block_strings.stages(strings, **options)
  ]


def test_depth():
  stages = ["cn_r1_c8", "ir_r1_s2_c16 ir_r3_c24", "ir_r2_c32"]
  assert kinds(stages) == [[8], [16, 24, 24, 24], [32, 32]]
  # 4 blocks become 5: the kind that strides is repeated least.
  assert kinds(stages, depth=1.1) == [[8] * 2, [16] + [24] * 4, [32] * 3]
  assert kinds(stages, depth=1.1, nearest=True) == kinds(stages)
  fixed = kinds(stages, depth=1.1, fixed_ends=True)
  assert fixed == [[8], [16] + [24] * 4, [32] * 2]
  each = kinds(stages, depth=(3.0, 1.0, 1.0))
  assert each == [[8] * 3, [16, 24, 24, 24], [32, 32]]
  (_, stage, _) = block_strings.stages(stages)
  assert [block.stride for block in stage] == [2, 1, 1, 1]


def test_folding_ends_at_the_next_stride():
  first, second = block_strings.stages(
    ["ds_r2_s1_c16_se0.25_d1", "er_r2_s2_e6_c24_se0.25"]
  )
  assert [block.fold for block in first] == [True, False]
  assert [block.widening for block in (*first, *second)] == [4, 4, 1, 1]
  assert [block.squeezed for block in first] == [0.0625, 0.25]
  assert [block.stride for block in second] == [1, 1]
  assert [block.expansion for block in second] == [1.5, 6]


@pytest.mark.exhaustive
@pytest.mark.parametrize("depth", [0.6, 1.2, 2.2, 5.3])
@pytest.mark.parametrize("nearest", [True, False])
def test_as_timm(depth, nearest):
  publishers.load("timm")
  from timm.models import _efficientnet_builder as builder

  stages = [
    "ds_r1_k3_s1_c16",
    "ir_r1_k3_s2_e4_c24 ir_r5_k5_s1_e2_c32",
    "ir_r2_k3_s2_e6_c80 ir_r3_k5_s1_e3_c96 ir_r1_k3_s1_e6_c120",
  ]
  decoded = builder.decode_arch_def(
    [stage.split() for stage in stages],
    depth,
    depth_trunc="round" if nearest else "ceil",
  )
  assert kinds(stages, depth=depth, nearest=nearest) == [
    [block["out_chs"] for block in stage] for stage in decoded
  ]
  for channels in range(1, 2000, 7):
    for smallest in (0, 0.9, 0.95):
      assert block_strings.rounded(
        channels * depth, smallest=smallest
      ) == builder.round_channels(channels, depth, round_limit=smallest)
