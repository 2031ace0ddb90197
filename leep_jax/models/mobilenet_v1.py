"""MobileNet V1 (Howard et al., 2017) at several widths.

Depthwise 3x3 and pointwise 1x1 convolutions with ReLU6: designs of
`efficientnet.EfficientNet`. Tensors may have timm's or transformers' names.
"""

import dataclasses

from leep_jax.models.block_strings import rounded
from leep_jax.models.efficientnet import INCEPTION, Design, row

_STAGES = (
  "dsa_r1_k3_s1_c64",
  "dsa_r2_k3_s2_c128",
  "dsa_r2_k3_s2_c256",
  "dsa_r6_k3_s2_c512",
  "dsa_r2_k3_s2_c1024",
)
_DEPTHS = (1, 2, 2, 6, 2)

# Stage and index of all blocks in order. transformers counts depthwise and
# pointwise convolutions through all stages, two a block.
_BLOCKS = [(s, b) for s, depth in enumerate(_DEPTHS) for b in range(depth)]


def _layer(match):
  """The published name of a layer in transformers' files."""
  number = int(match[1])
  if number >= 2 * len(_BLOCKS):  # left as it is, and listed as unmatched
    return match[0]
  stage, block = _BLOCKS[number // 2]
  point = number % 2
  # Of each pair, the depthwise convolution is first.
  layer = ("conv_dw", "conv_pw")[point]
  if match[2] == "normalization":
    layer = ("bn1", "bn2")[point]
  return f"blocks.{stage}.{block}.{layer}."


def _design(width, features=0):
  # The width multiplies the channels of all layers.
  return Design(
    _STAGES, "relu6", width=width, stem=rounded(32 * width), features=features
  )


ARCHITECTURES = {
  **{
    f"mobilenet_v1_{percent:03}": dataclasses.replace(
      row(
        _design(percent / 100),
        f"mobilenetv1_{percent:03}",
        # timm's names need no translation.
        names=(  # transformers
          (r"^mobilenet_v1\.conv_stem\.convolution\.", "conv_stem."),
          (r"^mobilenet_v1\.conv_stem\.normalization\.", "bn1."),
          (
            r"^mobilenet_v1\.layer\.(\d+)\.(convolution|normalization)\.",
            _layer,
          ),
        ),
        # TensorFlow's networks take pixels in [-1, 1].
        **INCEPTION,
      ),
      stated={
        "depth_multiplier": percent / 100,
        # A lower bound of channels, which no layer here goes below.
        "min_depth": range(32 * percent // 100 + 1),
      },
      transformers="mobilenet_v1",
    )
    for percent in (100, 75, 50, 25)
  },
  "mobilenet_v1_125": row(
    _design(1.25), "mobilenetv1_125", crop=0.9, **INCEPTION
  ),
  # With one more layer before the head.
  "mobilenet_v1_100h": row(
    _design(1.0, features=1024), "mobilenetv1_100h", **INCEPTION
  ),
}
