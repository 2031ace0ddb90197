"""MobileNet V2 (Sandler et al., 2018), in Flax NNX.

Its blocks are those of EfficientNets, without squeeze-and-excitation and with
ReLU6. Attributes have timm's names; files of torchvision are read too. Images
are `[B, H, W, 3]`, normalised, with sides of at least 32 pixels.
"""

import functools

import jax

from leep_jax.models import efficientnet
from leep_jax.models.architecture import Architecture, imagenet
from leep_jax.models.efficientnet import Stage

_STAGES = (
  Stage(1, 3, 1, 1, 16),
  Stage(2, 3, 2, 6, 24),
  Stage(3, 3, 2, 6, 32),
  Stage(4, 3, 2, 6, 64),
  Stage(3, 3, 1, 6, 96),
  Stage(3, 3, 2, 6, 160),
  Stage(1, 3, 1, 6, 320),
)

# Stage and index of all blocks in order: torchvision counts blocks through all
# stages, from 1 on.
_BLOCKS = [
  (s, b) for s, stage in enumerate(_STAGES) for b in range(stage.blocks)
]
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


ARCHITECTURES = {
  "mobilenetv2_100": Architecture(
    build=functools.partial(
      efficientnet.EfficientNet,
      efficientnet.Design(_STAGES, activation=jax.nn.relu6, gated=False),
    ),
    head="classifier.weight",
    preprocessing=imagenet(),
    min_image_size=32,
    names=(  # torchvision
      (r"^features\.0\.0\.", "conv_stem."),
      (r"^features\.0\.1\.", "bn1."),
      (r"^features\.18\.0\.", "conv_head."),
      (r"^features\.18\.1\.", "bn2."),
      (r"^features\.(1[0-7]|[1-9])\.conv\.(.*)$", _block),
      (r"^classifier\.1\.", "classifier."),
    ),
    options=("norm_eps", "tf_padding"),
    timm=("mobilenetv2_100",),
  )
}
