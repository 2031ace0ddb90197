"""MobileNet V2 (Sandler et al., 2018) at several widths and depths.

Designs of `efficientnet.EfficientNet`, without squeeze-and-excitation and with
ReLU6. Tensors may have timm's or torchvision's names.
"""

from leep_jax.models.block_strings import rounded
from leep_jax.models.efficientnet import Design, row

_STAGES = (
  "ds_r1_k3_s1_c16",
  "ir_r2_k3_s2_e6_c24",
  "ir_r3_k3_s2_e6_c32",
  "ir_r4_k3_s2_e6_c64",
  "ir_r3_k3_s1_e6_c96",
  "ir_r3_k3_s2_e6_c160",
  "ir_r1_k3_s1_e6_c320",
)
_DEPTHS = (1, 2, 3, 4, 3, 3, 1)

# Stage and index of all blocks in order: torchvision counts blocks through all
# stages, from 1 on.
_BLOCKS = [(s, b) for s, depth in enumerate(_DEPTHS) for b in range(depth)]
# torchvision numbers the layers of a block. The numbers differ between the
# first block, without an expansion, and the others.
_PLAIN = {"0.0": "conv_dw", "0.1": "bn1", "1": "conv_pw", "2": "bn2"}
_EXPANDED = {
  "0.0": "conv_pw", "0.1": "bn1", "1.0": "conv_dw", "1.1": "bn2",
  "2": "conv_pwl", "3": "bn3",
}  # fmt: skip


def _block(match):
  """The published name of a layer of a block in torchvision's files."""
  number, (layer, _, name) = int(match[1]) - 1, match[2].rpartition(".")
  layers = _EXPANDED if number else _PLAIN
  if layer not in layers:  # left as it is, and listed as unmatched
    return match[0]
  stage, block = _BLOCKS[number]
  return f"blocks.{stage}.{block}.{layers[layer]}.{name}"


_TORCHVISION = (
  (r"^features\.0\.0\.", "conv_stem."),
  (r"^features\.0\.1\.", "bn1."),
  (r"^features\.18\.0\.", "conv_head."),
  (r"^features\.18\.1\.", "bn2."),
  (r"^features\.(1[0-7]|[1-9])\.conv\.(.*)$", _block),
  (r"^classifier\.1\.", "classifier."),
)

ARCHITECTURES = {
  **{
    f"mobilenetv2_{percent:03}": row(
      Design(
        _STAGES,
        "relu6",
        width=percent / 100,
        stem=rounded(32 * percent / 100),
        # A narrower network has as many features.
        features=max(1280, rounded(1280 * percent / 100)),
      ),
      f"mobilenetv2_{percent:03}",
      names=_TORCHVISION,
    )
    for percent in (100, 140, 75, 50, 35)
  },
  # Deeper ones, whose first and last layers are not wider.
  **{
    f"mobilenetv2_{name}": row(
      Design(_STAGES, "relu6", width=width, depth=depth, fixed_ends=True),
      f"mobilenetv2_{name}",
    )
    for name, width, depth in (("110d", 1.1, 1.2), ("120d", 1.2, 1.4))
  },
}
